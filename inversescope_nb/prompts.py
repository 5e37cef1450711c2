"""Prompt distributions P(X): which inputs are thought possible, and how probable each one is.

An input is a sequence of token ids that ENDS at the site (nothing after it reaches the activation
of a causal model), so a distribution has two halves: which prompts, and where each is cut:

- ``end``: after the last token; ``slot:NAME``: after the last token of that slot;
- ``slots``: after one of the prompt's slots or its end, each as likely;
- ``random``: after any token behind BOS, each as likely;
- ``slots+random``: half the one, half the other.

BOS is part of an input where the tokenizer puts one in front of texts (``lm.text_bos_id``). Every result of
this package is relative to its P(X), so every result states it.
Axis names: n (inputs), pos (tokens of one input).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._arguments import check_model, whole_number
from .cuts import cut_weights, n_bos, slot_ends
from .errors import Cancelled, InvalidArgument, NotEnumerable

if TYPE_CHECKING:
    from .mixture import Mixture
    from .models import LanguageModel
    from .templates import Template
    from .text_prompts import TextPrompts

TOO_MANY = "raise limit= if time and memory allow, or do not list: draw(n, lm, seed=0) and invert() need no listing"
_BLOCK = 4096  # prompts listed between two looks at `cancel`
PIECE = 64
"""Prompts encoded between two looks at `cancel`."""


@dataclass(frozen=True)
class Prompt:
    """One text with what is known about it."""

    text: str
    """The text, without BOS."""
    labels: Mapping[str, Hashable] = field(default_factory=dict)
    """Names to values, such as ``{"subject": "John"}``."""
    slots: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Names to half-open character spans of :attr:`text`."""


def agreed(readings: Sequence[Mapping[str, Hashable]]) -> dict[str, Hashable] | None:
    """The labels on which all readings agree; None of no reading.

    >>> agreed([{"a": 1, "b": 2}, {"a": 1, "b": 3}]), agreed([])
    ({'a': 1}, None)
    """
    if not readings:
        return None
    first, *others = readings
    missing = object()
    return {k: v for k, v in first.items() if all(other.get(k, missing) == v for other in others)}


class PromptDistribution:
    """Inputs that are thought possible, with their probabilities.

    Made by :meth:`from_texts`, :meth:`from_templates`, :meth:`from_model`, :meth:`from_file`,
    :meth:`from_dataset` or :meth:`mixture`; the tasks bring their own.

    >>> P = PromptDistribution.from_texts(["a b", "a c"], cut="end")
    >>> [round(p, 2) for _, p in P.enumerate()]
    [0.5, 0.5]
    """

    name: str
    cut: str

    def sample(self, n: int, *, seed: int) -> list[Prompt]:
        """`n` whole (uncut) prompts; the same for the same seed."""
        raise NotEnumerable(f"{self.name} has no whole prompts, only cut inputs", hint="use .draw(n, lm, seed=0)")

    def enumerate(self) -> Iterator[tuple[Prompt, float]]:
        """All whole prompts with their probabilities; raises `NotEnumerable` where there is no end to them."""
        raise NotEnumerable(f"the inputs of {self.name} cannot be listed", hint="use .sample(n, seed=0)")

    def draw(self, n: int, lm: LanguageModel, *, seed: int, cancel: threading.Event | None = None) -> list[list[int]]:
        """`n` inputs as token ids, BOS first where texts get one, each cut at its site.

        `cancel` is looked at while they are encoded, or written by a model; `Cancelled` is raised.
        """
        check_model(lm)
        rng = random.Random(seed)
        prompts = self.sample(n, seed=rng.randrange(2**31))
        bos = n_bos(lm)
        out = []
        for start in range(0, len(prompts), PIECE):
            if cancel is not None and cancel.is_set():
                raise Cancelled("drawing inputs was stopped")
            encoded = lm.encode(prompts[start : start + PIECE])
            for i, length in enumerate(encoded.lengths.tolist()):
                weights = cut_weights(self.cut, length - bos, slot_ends(encoded, i, bos))
                kept = rng.choices(list(weights), list(weights.values()))[0]
                out.append(encoded.token_ids[i, : kept + bos].tolist())
        return out

    def longest(self, lm: LanguageModel) -> int:
        """Tokens of the longest input, BOS counted; the longest of 2,000 draws where that is not known."""
        return max(map(len, self.draw(2_000, lm, seed=0)))

    def at_least(self, lm: LanguageModel) -> int:
        """How many inputs there are for certain, as far as that is known without listing them."""
        return 1

    def check_size(self, lm: LanguageModel, limit: int) -> None:
        """Raises `NotEnumerable` where it is certain that there are more than `limit` inputs."""
        check_model(lm)
        limit = whole_number("limit", limit, least=1, hint="2,000,000 is the usual choice")
        known = self.at_least(lm)
        if known > limit:
            shown = f"{known:,}" if known < 10**12 else f"{known:.2g}"
            raise NotEnumerable(f"{self.name} has at least {shown} inputs, limit is {limit:,}", hint=TOO_MANY)

    def inputs(
        self,
        lm: LanguageModel,
        *,
        limit: int = 2_000_000,
        on_progress: Callable[[int, int, str], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> dict[tuple[int, ...], float]:
        """Every cut input (token ids) with its probability, duplicates summed; raises `NotEnumerable`, or `Cancelled`.

        `on_progress` is called with (inputs so far, limit, message): how many there are shows at the end.
        """
        self.check_size(lm, limit)
        total: dict[tuple[int, ...], float] = {}
        bos, rows = n_bos(lm), self._rows(lm)
        while block := list(itertools.islice(rows, _BLOCK)):
            if cancel is not None and cancel.is_set():
                raise Cancelled("listing inputs was stopped")
            for row, ends, p in block:
                for kept, share in cut_weights(self.cut, len(row) - bos, ends).items():
                    total[row[: kept + bos]] = total.get(row[: kept + bos], 0.0) + p * share
            if len(total) > limit:
                raise NotEnumerable(f"{self.name} has more than {limit:,} inputs", hint=TOO_MANY)
            if on_progress is not None:
                on_progress(len(total), limit, "listing inputs")
        return total

    def _rows(self, lm: LanguageModel) -> Iterator[tuple[tuple[int, ...], list[tuple[str, int]], float]]:
        """Every whole prompt: ids, BOS first; (slot, tokens kept when cut after it); probability."""
        bos, prompts = n_bos(lm), self.enumerate()
        while block := list(itertools.islice(prompts, _BLOCK)):
            encoded = lm.encode([prompt for prompt, _ in block])
            for i, (length, (_, p)) in enumerate(zip(encoded.lengths.tolist(), block, strict=True)):
                yield tuple(encoded.token_ids[i, :length].tolist()), slot_ends(encoded, i, bos), p

    def log_prob(self, token_ids: Sequence[int], lm: LanguageModel) -> float | None:
        """log P of one cut input in nats: ``-inf`` off the support, None where it cannot be known."""
        return None

    @property
    def cuts_anywhere(self) -> bool:
        """Whether an input is the beginning of a text, cut after any token, each as likely."""
        return self.cut == "random"

    def check_cuts_anywhere(self) -> None:
        """Raises `InvalidArgument` where an input is something else than that."""
        if not self.cuts_anywhere:
            raise InvalidArgument(
                f"{self.name} cuts its texts at {self.cut}, not after any token", hint="make it with cut='random'"
            )

    def draw_texts(
        self, n: int, lm: LanguageModel, *, seed: int, cancel: threading.Event | None = None
    ) -> list[list[int]]:
        """`n` whole texts, of which a beginning, cut at a token drawn evenly, is a draw of P(X): one pass of the target
        reads as many inputs as a text has tokens.

        Raises:
            InvalidArgument: inputs are not made that way.
        """
        check_model(lm)
        self.check_cuts_anywhere()
        texts = self.sample(n, seed=seed)
        if cancel is not None and cancel.is_set():
            raise Cancelled("drawing inputs was stopped")
        return lm.encode(texts).rows()

    def log_probs(self, inputs: Sequence[Sequence[int]], lm: LanguageModel) -> list[float] | None:
        """:meth:`log_prob` of many inputs; None where any of them cannot be known."""
        memo: dict[tuple[int, ...], float] = {}
        for key in dict.fromkeys(map(tuple, inputs)):
            found = self.log_prob(key, lm)
            if found is None:
                return None
            memo[key] = found
        return [memo[tuple(ids)] for ids in inputs]

    def parse(self, text: str) -> dict[str, Hashable] | None:
        """The labels that a text, or the beginning of one, shows; None off the support.

        A text that is a whole prompt is read as one. Where several readings are left, only the labels on which
        all of them agree are given: the others are not decided by what is there.
        """
        if not isinstance(text, str):
            raise InvalidArgument(f"a {type(text).__name__} cannot be parsed", hint="give a text")
        readings = self.readings(text)
        labels = [found for found, is_whole in readings if is_whole] or [found for found, _ in readings]
        return agreed(labels)

    def readings(self, text: str) -> list[tuple[dict[str, Hashable], bool]]:
        """(labels, whether it is a whole prompt) for every way this distribution can make a text or its beginning."""
        return []

    def slot_at_end(self, text: str) -> str | None:
        """The slot whose value a text, or the beginning of one, ends with; None where it ends with no slot's, or
        where it can be read in several ways that do not agree.

        >>> P = PromptDistribution.from_templates(["{A} and {B} left"], {"A": ["Ann"], "B": ["Tom", "Tim"]})
        >>> P.slot_at_end("Ann and Tim"), P.slot_at_end("Ann and")
        ('B', None)
        """
        found = self._slots_at_end(text)
        return found.pop() if len(found) == 1 else None

    def _slots_at_end(self, text: str) -> set[str | None]:
        """What it ends with by each reading: a slot, or None for something else."""
        return set()

    @property
    def slot_of_cut(self) -> str | None:
        """The slot behind which every input is cut; None where that is none, or not the same for all."""
        is_one = self.cut.startswith("slot:") and " | " not in self.cut  # of a mixture all cuts are named
        return self.cut.removeprefix("slot:") if is_one else None

    def cut_at(self, cut: str) -> PromptDistribution:
        """The same prompts cut elsewhere.

        Args:
            cut: ``"end"``, after the last token; ``"slot:NAME"``, after that slot; ``"slots"``, after a slot or at the
                end; ``"random"``, after any token; ``"slots+random"``, half and half.

        Raises:
            InvalidArgument: no such cut, or a prompt without that slot.
            NotEnumerable: its inputs are not made by cutting prompts.

        >>> P = PromptDistribution.from_templates(["{A} and {B} left"], {"A": ["Ann"], "B": ["Tom", "Tim"]})
        >>> P.cut_at("slot:B").cut
        'slot:B'
        """
        raise NotEnumerable(f"{self.name} cannot be cut elsewhere", hint="make it anew with cut=")

    def bound_to(self, lm: LanguageModel) -> PromptDistribution:
        """The same, with the model that its inputs are samples of; itself where they are of none, or of another."""
        return self

    def to_spec(self) -> dict[str, Any]:
        """JSON that :meth:`from_spec` rebuilds the distribution from; kept in every run card."""
        raise NotEnumerable(f"{self.name} has no specification", hint="pass it again where it is needed, as prior=")

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with the distribution."""
        return hashlib.sha256(json.dumps(self.to_spec(), sort_keys=True).encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, cut at {self.cut}>"

    # -- ways to make one ---------------------------------------------------------------------

    @classmethod
    def from_texts(cls, texts: Sequence[str | Prompt], *, name: str = "texts", cut: str = "random") -> TextPrompts:
        """Every text as likely as any other (a text given twice is twice as likely).

        Args:
            texts: one or more.
            name: of the distribution, wherever it is named.
            cut: where inputs end: ``"random"``, after any token; ``"end"``, after the last; for texts with slots see
                :meth:`cut_at`. An activation is read at an input's last token: picks should end where inputs may.
        """
        from .text_prompts import TextPrompts

        return TextPrompts(texts, name=name, cut=cut)

    @classmethod
    def from_file(cls, path: str | Path, *, name: str | None = None, cut: str = "random") -> TextPrompts:
        """One prompt a line (``.txt``), or one JSON object with a ``text`` a line (``.jsonl``); empty lines skipped.

        Raises:
            ModelLoadError: there is no such file, or it is not UTF-8.
            BadPrompt: a line of a ``.jsonl`` has no ``text``, or there is no line at all.
        """
        from .text_prompts import TextPrompts, texts_of_file

        return TextPrompts(texts_of_file(path), name=name or Path(path).stem, cut=cut)

    @classmethod
    def from_dataset(
        cls, path: str, *, split: str = "train", column: str = "text", limit: int = 10_000, cut: str = "random"
    ) -> TextPrompts:
        """The first `limit` rows of a Hugging Face data set, streamed (extra ``train``: datasets); empty texts skipped.

        Raises:
            ModelLoadError: the data set cannot be fetched, or ``datasets`` is not installed.
            InvalidArgument: it has no such column.
        """
        from .text_prompts import TextPrompts, texts_of_dataset

        texts = texts_of_dataset(path, split=split, column=column, limit=limit)
        return TextPrompts(texts, name=f"{path}:{split}", cut=cut)

    @classmethod
    def from_templates(
        cls,
        templates: Sequence[str | Template],
        slots: Mapping[str, Sequence[str]] | None = None,
        *,
        name: str = "templates",
        cut: str = "slots+random",
    ) -> PromptDistribution:
        """Templates with ``{NAME}`` slots, each filled uniformly.

        Args:
            templates: texts with slots.
            slots: name -> the values that it may take.
            name: of the distribution, wherever it is named.
            cut: where inputs end; see :meth:`cut_at`.

        >>> P = PromptDistribution.from_templates(["{A} likes {B} ."], {"A": ["Ann", "Bo"], "B": ["tea"]})
        >>> sorted(p.text for p, _ in P.enumerate())
        ['Ann likes tea .', 'Bo likes tea .']
        """
        from .template_prompts import TemplatePrompts

        return TemplatePrompts.build(templates, slots or {}, name=name, cut=cut)

    @classmethod
    def from_model(cls, lm: LanguageModel, *, max_tokens: int = 64) -> PromptDistribution:
        """What the model itself writes: a length drawn from 1..max_tokens, then that many tokens."""
        from .model_prompts import ModelPrompts

        return ModelPrompts(lm, max_tokens=max_tokens)

    @classmethod
    def mixture(
        cls, parts: Sequence[PromptDistribution], weights: Sequence[float] | None = None, *, name: str = "mixture"
    ) -> Mixture:
        """One of several distributions, chosen with the given weights (equal by default)."""
        from .mixture import Mixture

        if not isinstance(parts, Sequence) or not isinstance(weights, Sequence | None):
            wrong = ("parts", parts) if not isinstance(parts, Sequence) else ("weights", weights)
            raise InvalidArgument(
                f"{wrong[0]} is a {type(wrong[1]).__name__}",
                hint="give a list of PromptDistributions, and one of weights",
            )
        return Mixture(tuple(parts), tuple(weights) if weights is not None else (1.0,) * len(parts), name)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> PromptDistribution:
        """The distribution that :meth:`to_spec` described; of samples of a model those of none, until :meth:`bound_to`
        gives them theirs."""
        if not isinstance(spec, Mapping):
            raise InvalidArgument(
                f"a specification cannot be a {type(spec).__name__}", hint="give what to_spec returned"
            )
        kind = spec.get("kind")
        try:
            return cls._of_kind(kind, spec)
        except KeyError as e:
            raise InvalidArgument(
                f"a specification of kind {kind!r} lacks {e}", hint="give what to_spec returned"
            ) from e

    @classmethod
    def _of_kind(cls, kind: Any, spec: Mapping[str, Any]) -> PromptDistribution:
        if kind == "texts":
            from .text_prompts import TextPrompts

            return TextPrompts.from_spec(spec)
        if kind == "model":
            from .model_prompts import UnboundPrompts

            return UnboundPrompts(spec)
        if kind == "mixture":
            parts = [cls.from_spec(part) for part in spec["parts"]]
            return cls.mixture(parts, spec["weights"], name=spec["name"])
        if kind == "templates":
            return cls.from_templates(spec["templates"], spec["slots"], name=spec["name"], cut=spec["cut"])
        if kind == "task":
            from .tasks import get_prompts

            return get_prompts(spec["task"], split=spec["split"], cut=spec["cut"])
        raise InvalidArgument(
            f"a prompt distribution of kind {kind!r} cannot be rebuilt from its specification",
            hint="pass the distribution itself, e.g. invert(..., prior=my_prompts)",
        )
