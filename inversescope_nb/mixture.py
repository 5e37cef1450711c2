"""Mixtures of prompt distributions: one of several, chosen with given weights.

log P(x) = log sum_i w_i P_i(x), so an input that several parts can make counts once for each.
"""

from __future__ import annotations

import hashlib
import math
import numbers
import random
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arguments import check_prompts, draw_count
from .errors import InvalidArgument, NotEnumerable
from .prompts import TOO_MANY, Prompt, PromptDistribution

if TYPE_CHECKING:
    from .models import LanguageModel


class Mixture(PromptDistribution):
    """One of several distributions; see :meth:`PromptDistribution.mixture`."""

    def __init__(self, parts: tuple[PromptDistribution, ...], weights: tuple[float, ...], name: str) -> None:
        if (
            not parts
            or len(parts) != len(weights)
            or not all(isinstance(w, numbers.Real) and math.isfinite(w) and w >= 0 for w in weights)
            or sum(weights) <= 0
        ):
            raise InvalidArgument(
                f"a mixture of {len(parts)} parts with weights {weights}",
                hint="one finite weight >= 0 for each part, not all 0",
            )
        for part in parts:
            check_prompts(part, "a part")
        total = 1.0 if math.isclose(sum(weights), 1.0) else sum(weights)  # so that saved weights come back as they are
        kept = [(part, w / total) for part, w in zip(parts, weights, strict=True) if w > 0]
        self.parts, self.name = tuple(part for part, _ in kept), name
        self.weights = tuple(w for _, w in kept)
        self.cut = " | ".join(dict.fromkeys(part.cut for part in self.parts))

    def _choose(self, n: int, rng: random.Random) -> list[tuple[PromptDistribution, int, int]]:
        picks = rng.choices(range(len(self.parts)), self.weights, k=draw_count(n))
        return [(part, picks.count(i), rng.randrange(2**31)) for i, part in enumerate(self.parts)]

    def sample(self, n: int, *, seed: int) -> list[Prompt]:
        rng = random.Random(seed)
        prompts = [p for part, k, s in self._choose(n, rng) if k for p in part.sample(k, seed=s)]
        rng.shuffle(prompts)
        return prompts

    def draw(self, n: int, lm: LanguageModel, *, seed: int, cancel: threading.Event | None = None) -> list[list[int]]:
        rng = random.Random(seed)
        inputs = [x for part, k, s in self._choose(n, rng) if k for x in part.draw(k, lm, seed=s, cancel=cancel)]
        rng.shuffle(inputs)
        return inputs

    def draw_texts(
        self, n: int, lm: LanguageModel, *, seed: int, cancel: threading.Event | None = None
    ) -> list[list[int]]:
        self.check_cuts_anywhere()  # as all parts do, or it does not
        rng = random.Random(seed)
        texts = [x for part, k, s in self._choose(n, rng) if k for x in part.draw_texts(k, lm, seed=s, cancel=cancel)]
        rng.shuffle(texts)
        return texts

    def longest(self, lm: LanguageModel) -> int:
        return max(part.longest(lm) for part in self.parts)

    def enumerate(self) -> Iterator[tuple[Prompt, float]]:
        for part, weight in zip(self.parts, self.weights, strict=True):
            for prompt, p in part.enumerate():
                yield prompt, weight * p

    def at_least(self, lm: LanguageModel) -> int:
        return max(part.at_least(lm) for part in self.parts)

    def inputs(
        self,
        lm: LanguageModel,
        *,
        limit: int = 2_000_000,
        on_progress: Callable[[int, int, str], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> dict[tuple[int, ...], float]:
        self.check_size(lm, limit)
        total: dict[tuple[int, ...], float] = {}
        for part, weight in zip(self.parts, self.weights, strict=True):
            for ids, p in part.inputs(lm, limit=limit, on_progress=on_progress, cancel=cancel).items():
                total[ids] = total.get(ids, 0.0) + weight * p
            if len(total) > limit:
                raise NotEnumerable(f"{self.name} has more than {limit:,} inputs", hint=TOO_MANY)
        return total

    def log_prob(self, token_ids: Sequence[int], lm: LanguageModel) -> float | None:
        found = self.log_probs([token_ids], lm)
        return None if found is None else found[0]

    def log_probs(self, inputs: Sequence[Sequence[int]], lm: LanguageModel) -> list[float] | None:
        total = np.full(len(inputs), -np.inf)
        for part, weight in zip(self.parts, self.weights, strict=True):
            found = part.log_probs(inputs, lm)
            if found is None:
                return None
            total = np.logaddexp(total, np.array(found, dtype=np.float64) + math.log(weight))
        return total.tolist()

    def readings(self, text: str) -> list[tuple[dict[str, Hashable], bool]]:
        return [reading for part in self.parts for reading in part.readings(text)]

    def _slots_at_end(self, text: str) -> set[str | None]:
        return set().union(*(part._slots_at_end(text) for part in self.parts))

    def cut_at(self, cut: str) -> PromptDistribution:
        return Mixture(tuple(part.cut_at(cut) for part in self.parts), self.weights, self.name)

    def bound_to(self, lm: LanguageModel) -> PromptDistribution:
        parts = [part.bound_to(lm) for part in self.parts]
        return self if parts == list(self.parts) else Mixture(tuple(parts), self.weights, self.name)

    def to_spec(self) -> dict[str, Any]:
        parts = [part.to_spec() for part in self.parts]
        return {"kind": "mixture", "name": self.name, "weights": list(self.weights), "parts": parts}

    @property
    def fingerprint(self) -> str:
        try:
            return super().fingerprint
        except NotEnumerable:  # a part that has no specification still has a fingerprint
            parts = [f"{part.fingerprint} {weight}" for part, weight in zip(self.parts, self.weights, strict=True)]
            return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
