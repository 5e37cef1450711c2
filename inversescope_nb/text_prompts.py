"""Lists of texts as a prompt distribution, and the files and data sets that they are read from.

Every text is as likely as any other; P of a cut input sums over all texts that begin with it.
"""

from __future__ import annotations

import json
import math
import random
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._arguments import check_model, draw_count, whole_number
from .cuts import check_cut, cut_weights, n_bos
from .errors import BadPrompt, InvalidArgument, ModelLoadError, suggest
from .prompts import Prompt, PromptDistribution

if TYPE_CHECKING:
    from .models import LanguageModel


class TextPrompts(PromptDistribution):
    """A list of texts, uniformly; see :meth:`PromptDistribution.from_texts`."""

    def __init__(self, texts: Sequence[str | Prompt], *, name: str, cut: str) -> None:
        if isinstance(texts, (str, Prompt)):
            raise BadPrompt(f"{name}: one text was given, not a list", hint="give a list: [text]")
        if not isinstance(texts, Iterable):
            raise BadPrompt(f"{name}: a {type(texts).__name__} was given, not texts", hint="give a list: [text]")
        self.prompts = tuple(t if isinstance(t, Prompt) else Prompt(t) for t in texts)
        if not self.prompts or any(not isinstance(p.text, str) or not p.text.strip() for p in self.prompts):
            what = "no text" if not self.prompts else "an empty text, or something that is no text"
            raise BadPrompt(f"{name}: {what}", hint="every text needs at least one token")
        self.name, self.cut = name, check_cut(cut)
        lacking = next((p for p in self.prompts if cut.startswith("slot:") and cut[5:] not in p.slots), None)
        if lacking is not None:
            raise InvalidArgument(
                f"{name}: {lacking.text[:40]!r} has no slot {cut[5:]!r}", hint="give Prompt(text, slots={name: span})"
            )
        self._rows_of: dict[str, _Rows] = {}

    def sample(self, n: int, *, seed: int) -> list[Prompt]:
        return random.Random(seed).choices(self.prompts, k=draw_count(n))

    def enumerate(self) -> Iterator[tuple[Prompt, float]]:
        for prompt in self.prompts:
            yield prompt, 1 / len(self.prompts)

    def longest(self, lm: LanguageModel) -> int:
        return self._known(lm).longest

    def log_prob(self, token_ids: Sequence[int], lm: LanguageModel) -> float | None:
        p = self._known(lm).probability(tuple(token_ids))
        return math.log(p) if p > 0 else -math.inf

    def _known(self, lm: LanguageModel) -> _Rows:
        """The texts as token ids, encoded once a tokenizer."""
        check_model(lm)
        if lm.tokenizer_hash not in self._rows_of:
            self._rows_of[lm.tokenizer_hash] = _Rows(self._rows(lm), self.cut, n_bos(lm))
        return self._rows_of[lm.tokenizer_hash]

    def readings(self, text: str) -> list[tuple[dict[str, Hashable], bool]]:
        wanted = _letters(text)
        texts = [(_letters(p.text), p) for p in self.prompts] if wanted else []
        return [(dict(p.labels), whole == wanted) for whole, p in texts if whole.startswith(wanted)]

    def _slots_at_end(self, text: str) -> set[str | None]:
        wanted = _letters(text)
        found: set[str | None] = set()
        for prompt in self.prompts if wanted else ():
            if _letters(prompt.text).startswith(wanted):
                ends = {_letters(prompt.text[:stop]): slot for slot, (_, stop) in prompt.slots.items()}
                found.add(ends.get(wanted))
        return found

    def cut_at(self, cut: str) -> PromptDistribution:
        return TextPrompts(self.prompts, name=self.name, cut=cut)

    def to_spec(self) -> dict[str, Any]:
        texts = [_to_json(p) for p in self.prompts]
        return {"kind": "texts", "name": self.name, "cut": self.cut, "texts": texts}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The texts that :meth:`to_spec` described."""
        return cls([_from_json(entry) for entry in spec["texts"]], name=spec["name"], cut=spec["cut"])


class _Rows:
    """Token ids of texts, and how probable each of their beginnings is: without listing those, of which texts that
    are cut anywhere have as many as tokens.

    Args:
        rows: (ids of a whole text, (slot, tokens kept when cut after it), probability) of each.
        cut: where texts are cut.
        n_bos: tokens in front of every text.
    """

    def __init__(
        self, rows: Iterable[tuple[tuple[int, ...], list[tuple[str, int]], float]], cut: str, n_bos: int
    ) -> None:
        anywhere = {"random": 1.0, "slots+random": 0.5}.get(cut, 0.0)  # the share of cuts that may be anywhere
        self._few: dict[tuple[int, ...], float] = {}
        """The probability of every beginning that ends at a slot or with its text."""
        self._bos, self.longest, found = n_bos, 0, []
        for row, ends, p in rows:
            length = len(row) - n_bos
            if anywhere:
                found.append((row, anywhere * p / length))
                self.longest = max(self.longest, len(row))
            if anywhere < 1:
                for kept, share in cut_weights("slots" if anywhere else cut, length, ends).items():
                    beginning = row[: kept + n_bos]
                    self._few[beginning] = self._few.get(beginning, 0.0) + (1 - anywhere) * p * share
                    self.longest = max(self.longest, len(beginning))
        found.sort()
        self._whole = [row for row, _ in found]
        self._up_to = np.concatenate([[0.0], np.cumsum([p for _, p in found])])

    def probability(self, ids: tuple[int, ...]) -> float:
        """Of an input: over all texts that begin with it. Those stand beside each other."""
        p = self._few.get(ids, 0.0)
        if len(ids) <= self._bos or not self._whole:
            return p
        first, last = bisect_left(self._whole, ids), bisect_left(self._whole, (*ids[:-1], ids[-1] + 1))
        return p + float(self._up_to[last] - self._up_to[first]) if last > first else p


def _to_json(prompt: Prompt) -> str | dict[str, Any]:
    """A bare text, or an object where there are slots or labels that JSON can hold."""
    labels = {k: v for k, v in prompt.labels.items() if v is None or isinstance(v, (str, int, float, bool))}
    if not labels and not prompt.slots:
        return prompt.text
    return {"text": prompt.text, "labels": labels, "slots": {k: list(v) for k, v in prompt.slots.items()}}


def _from_json(entry: str | Mapping[str, Any]) -> str | Prompt:
    if isinstance(entry, str):
        return entry
    return Prompt(entry["text"], entry["labels"], {k: (v[0], v[1]) for k, v in entry["slots"].items()})


def texts_of_file(given: str | Path) -> list[str]:
    """The texts of a ``.txt`` or ``.jsonl`` file; see :meth:`PromptDistribution.from_file`."""
    if not isinstance(given, (str, Path)):
        raise InvalidArgument(
            f"a file cannot be a {type(given).__name__}", hint="give the path of a .txt or .jsonl file"
        )
    path = Path(given).expanduser()
    if not path.is_file():
        raise ModelLoadError(f"no such file: {given}", hint="give a .txt or .jsonl file, one prompt a line")
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as e:
        raise ModelLoadError(f"{given} is not UTF-8: {e}", hint="save it as UTF-8") from e
    if path.suffix != ".jsonl":
        return lines
    try:
        return [json.loads(line)["text"] for line in lines]
    except (ValueError, KeyError, TypeError) as e:
        raise BadPrompt(f"{given} is not JSON lines with a 'text' each: {e}", hint='one {"text": "..."} a line') from e


def texts_of_dataset(path: str, *, split: str, column: str, limit: int) -> list[str]:
    """The first texts of a data set; see :meth:`PromptDistribution.from_dataset`."""
    from .loading import first_line, location

    try:
        from datasets import load_dataset
        from huggingface_hub import HfApi
    except ImportError as e:
        raise ModelLoadError("data sets need the package datasets", hint="pip install inversescope-nb[train]") from e
    limit = whole_number("limit", limit, least=1, hint="10000 is the usual choice")
    try:
        where = location(path, "give a folder, or the name of a data set on the Hub")
        if not Path(where).is_dir():
            HfApi().dataset_info(where, timeout=10)  # one question instead of half a minute of retries while offline
        rows = list(load_dataset(where, split=split, streaming=True).take(limit))
    except Exception as e:  # whatever the Hub, the network or a file raised becomes one kind of error
        raise ModelLoadError(
            f"cannot read the data set {path!r}, split {split!r}: {first_line(e)}",
            hint="check its name, its split and the connection",
        ) from e
    if rows and column not in rows[0]:
        raise InvalidArgument(
            f"{path} has no column {column!r}.{suggest(column, rows[0])}", hint=f"its columns: {', '.join(rows[0])}"
        )
    return [row[column] for row in rows if isinstance(row[column], str) and row[column].strip()]


def _letters(text: str) -> str:
    """A text without its spaces: tokenizers that split words off punctuation write others."""
    return "".join(text.split())
