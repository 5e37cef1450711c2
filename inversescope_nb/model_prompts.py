"""What the model itself writes: a length drawn from 1..max_tokens, then that many tokens at temperature 1.

Writing begins after BOS, or EOS where there is none; that token is part of an input only where texts get a BOS
too (``lm.text_bos_id``). Special tokens, and ids that the tokenizer does not have, are left out and the rest is
renormalised, so log P(x) of an input of k tokens is exactly -log(max_tokens) + the sum of the model's own
log-probabilities. Every token of every text can be the last. Axis names: n (inputs), pos (tokens), vocab.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ._arguments import check_model, draw_count, whole_number
from ._draws import refuse_nan, tokens_at
from ._forward import forward_inputs
from .cuts import n_bos
from .errors import Cancelled, InvalidArgument
from .hooks import evaluation_mode
from .prompts import PromptDistribution

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .models import LanguageModel

_LOGITS_PER_BATCH = 1 << 26  # 256 MB of float32
_ROWS_AT_ONCE = 256  # each keeps a cache of keys and values; on a GPU, where steps of few rows cost as much, more:
_MOST_ROWS, _CACHE_BYTES = 4096, 1 << 31
_GOING = 0.75  # of a batch: where no more rows than that are still being written, the others are taken out of it


class ModelPrompts(PromptDistribution):
    """Samples of a model, cut at a random length; see :meth:`PromptDistribution.from_model`."""

    def __init__(self, lm: LanguageModel, *, max_tokens: int) -> None:
        check_model(lm)
        start = lm.bos_id if lm.bos_id is not None else lm.eos_id
        if start is None:
            raise InvalidArgument(
                f"{lm.name} has neither BOS nor EOS to start writing from", hint="use from_texts or from_dataset"
            )
        allowed = f"allowed: 1 to {lm.n_ctx - 1}"
        max_tokens = whole_number("max_tokens", max_tokens, least=1, hint=allowed)
        if max_tokens >= lm.n_ctx:
            raise InvalidArgument(f"max_tokens={max_tokens} is beyond the context of {lm.name}", hint=allowed)
        self.lm, self.max_tokens, self.start_id = lm, max_tokens, start
        self.name, self.cut = f"samples of {lm.name}, at most {max_tokens} tokens", "random"
        special = {i for i in lm.tokenizer.all_special_ids if i < lm.vocab_size}
        self._banned = torch.tensor(sorted(special | set(range(len(lm.tokenizer), lm.vocab_size))), dtype=torch.long)
        self._hidden = 1 - n_bos(lm)  # tokens in front of an input that are no part of it

    def draw(self, n: int, lm: LanguageModel, *, seed: int, cancel: threading.Event | None = None) -> list[list[int]]:
        return self.draw_share(n, lm, share=slice(None), seed=seed, cancel=cancel)

    def draw_share(
        self, n: int, lm: LanguageModel, *, share: slice, seed: int, cancel: threading.Event | None = None
    ) -> list[list[int]]:
        """Some of what :meth:`draw` draws, and no others are written: each has random numbers of its own."""
        self._check(lm)
        n = draw_count(n)
        rng = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, self.max_tokens + 1, (n,), generator=rng)
        numbers = torch.rand(n, max(lengths.tolist(), default=0), generator=rng, dtype=torch.float64)[share]
        lengths = lengths[share]
        longest_first = lengths.argsort(descending=True, stable=True)  # those of one batch end at about the same time
        out: list[list[int]] = [[]] * len(lengths)
        for part in longest_first.split(self._rows_at_once(lm)):
            rows = self._write(lm, lengths[part].tolist(), numbers[part], cancel)
            for i, row in zip(part.tolist(), rows, strict=True):
                out[i] = row
        return out

    def draw_texts(
        self, n: int, lm: LanguageModel, *, seed: int, cancel: threading.Event | None = None
    ) -> list[list[int]]:
        self._check(lm)
        rng = torch.Generator().manual_seed(seed)
        numbers = torch.rand(draw_count(n), self.max_tokens, generator=rng, dtype=torch.float64)
        parts = numbers.split(self._rows_at_once(lm))
        return [row for part in parts for row in self._write(lm, [self.max_tokens] * len(part), part, cancel)]

    def _rows_at_once(self, lm: LanguageModel) -> int:
        """How many inputs are written side by side."""
        if lm.device.type == "cpu":
            return _ROWS_AT_ONCE
        row = 2 * lm.n_layers * lm.d_model * lm.dtype.itemsize * self.max_tokens  # of keys and values, at most
        return max(_ROWS_AT_ONCE, min(_MOST_ROWS, _CACHE_BYTES // row))

    def _write(
        self, lm: LanguageModel, lengths: list[int], numbers: Float[Tensor, "n pos"], cancel: threading.Event | None
    ) -> list[list[int]]:
        """One input of each length, the longest first; rows that are done are left out, a quarter of them at a time."""
        ids = torch.full((len(lengths), 1), self.start_id, device=lm.device)
        numbers = numbers.T[..., None].contiguous().to(lm.device, torch.float32 if lm.device.type == "mps" else None)
        cache, broken, going = None, torch.zeros((), dtype=torch.bool, device=lm.device), len(lengths)
        written: list[list[int]] = []  # from the shortest on
        with lm.lock, evaluation_mode(lm.model), torch.inference_mode():
            for step in range(lengths[0] if lengths else 0):
                if cancel is not None and cancel.is_set():
                    raise Cancelled("writing inputs was stopped")
                while lengths[going - 1] <= step:
                    going -= 1
                if going <= _GOING * len(ids) and hasattr(cache, "reorder_cache"):
                    written += reversed(ids[going:].tolist())
                    ids = ids[:going]
                    cache.reorder_cache(torch.arange(going))
                new = ids if cache is None else ids[:, -1:]
                output = lm.model(input_ids=new, past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                probabilities = self._log_softmax(output.logits[:, -1].float()).exp()
                broken |= probabilities[:, 0].isnan().any().to(lm.device)
                ids = torch.cat([ids, tokens_at(probabilities, numbers[step, : len(ids)]).to(lm.device)], 1)
            refuse_nan(broken)
        written += reversed(ids.tolist())
        return [row[self._hidden : k + 1] for row, k in zip(reversed(written), lengths, strict=True)]

    def longest(self, lm: LanguageModel) -> int:
        return self.max_tokens + n_bos(lm)

    def log_prob(self, token_ids: Sequence[int], lm: LanguageModel) -> float | None:
        found = self.log_probs([token_ids], lm)
        return None if found is None else found[0]

    def log_probs(self, inputs: Sequence[Sequence[int]], lm: LanguageModel) -> list[float] | None:
        self._check(lm)
        rows = [[*[self.start_id] * self._hidden, *x] for x in inputs]
        banned = set(self._banned.tolist())
        possible = [
            i
            for i, row in enumerate(rows)
            if 2 <= len(row) <= self.max_tokens + 1
            and row[0] == self.start_id
            and all(0 <= token < lm.vocab_size and token not in banned for token in row[1:])
        ]
        out = [-math.inf] * len(rows)
        size = max(1, _LOGITS_PER_BATCH // (self.max_tokens * lm.vocab_size))
        for at in range(0, len(possible), size):
            part = possible[at : at + size]
            batch = lm.encode([rows[i] for i in part])
            scores = self._token_scores(lm, batch.token_ids.to(lm.device), batch.lengths.to(lm.device))
            for i, score in zip(part, scores, strict=True):
                out[i] = float(score[: len(rows[i]) - 1].double().sum()) - math.log(self.max_tokens)
        return out

    def _token_scores(
        self, lm: LanguageModel, ids: Int[Tensor, "n pos"], lengths: Int[Tensor, " n"]
    ) -> Float[Tensor, "n pos-1"]:
        """Log-probability of every token behind the first, nats."""
        with lm.lock, evaluation_mode(lm.model), torch.inference_mode():
            logits = lm.model(**forward_inputs(lm, ids, lengths)).logits[:, :-1].float()
            return self._log_softmax(logits).gather(-1, ids[:, 1:, None].to(logits.device))[..., 0].cpu()

    def _log_softmax(self, logits: Float[Tensor, "*n vocab"]) -> Float[Tensor, "*n vocab"]:
        return logits.index_fill(-1, self._banned.to(logits.device), -math.inf).log_softmax(-1)

    def _check(self, lm: LanguageModel) -> None:
        if lm.model is not self.lm.model and lm.fingerprint != self.lm.fingerprint:
            raise InvalidArgument(
                f"these prompts are samples of {self.lm.name}, not of {lm.name}", hint="from_model(lm) again"
            )

    def to_spec(self) -> dict[str, Any]:
        """What is to be known beside the model itself: :meth:`bound_to` makes it whole again."""
        about = {"name": self.name, "max_tokens": self.max_tokens, "model": self.lm.fingerprint}
        return {"kind": "model", "cut": self.cut, **about}

    @property
    def fingerprint(self) -> str:
        return _fingerprint(self.to_spec())


class UnboundPrompts(PromptDistribution):
    """Samples of a model that is not at hand: their name, and what is to be known to draw them once it is."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.name, self.cut = spec["name"], spec["cut"]
        self._spec = {name: spec[name] for name in ("kind", "cut", "name", "max_tokens", "model")}

    def bound_to(self, lm: LanguageModel) -> PromptDistribution:
        """The samples of this model, if it is the one; else what this is."""
        is_it = lm.fingerprint == self._spec["model"]
        return ModelPrompts(lm, max_tokens=self._spec["max_tokens"]) if is_it else self

    def to_spec(self) -> dict[str, Any]:
        return dict(self._spec)

    @property
    def fingerprint(self) -> str:
        return _fingerprint(self._spec)


def _fingerprint(spec: Mapping[str, Any]) -> str:
    return f"model-{spec['model'][:8]}-{spec['max_tokens']}"
