"""Inputs of a P(X) that can all be listed, with the share that each has of them.

A generator covers all of P(X), a listed set S only a part: its prior here is P(X) itself, restricted to S. So the
exact posterior on S is the one on P(X), given that the input is of S.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np

import inversescope_nb as isn
from inversescope_nb.errors import InvalidArgument
from inversescope_nb.prompts import PromptDistribution

_ASKED = 128  # inputs whose probability under P(X) is compared with the listing's


class Listed(PromptDistribution):
    """Some inputs as token ids, each with its probability."""

    def __init__(self, name: str, probabilities: Mapping[tuple[int, ...], float]) -> None:
        self.name, self.cut = name, "end"
        self._probabilities = dict(probabilities)

    def inputs(self, lm, *, limit: int = 2_000_000, on_progress=None, cancel=None) -> dict[tuple[int, ...], float]:
        self.check_size(lm, limit)
        return self._probabilities

    def at_least(self, lm) -> int:
        return len(self._probabilities)


def sums() -> PromptDistribution:
    """All 810,000 sums, cut at `=`."""
    return isn.tasks.get_prompts("addition", cut="end")


def ioi() -> PromptDistribution:
    """All fillings of one template up to the name that stands twice, 505,512 of them.

    "Then , Mary and John went to the store . John": two of 119 names, one of 36 places.
    """
    whole = isn.tasks.get_task("ioi").templates["train"][0]
    text = whole.text[: whole.text.index("{S2}") + len("{S2}")]
    slots = tuple(slot for slot in whole.slots if f"{{{slot.name}}}" in text)
    return PromptDistribution.from_templates([isn.Template(text, slots)], name="ioi", cut="end")


def letters() -> PromptDistribution:
    """All 729 rows of six of A, B, C: the inputs of the published sorter."""
    rows = ["".join(row) for row in itertools.product("ABC", repeat=6)]
    return PromptDistribution.from_texts(rows, name="letters", cut="end")


SETS: dict[str, Callable[[], PromptDistribution]] = {"sums": sums, "ioi": ioi}
"""Name -> what is listed, of the packaged model."""
ALL_SETS = SETS | {"letters": letters}
"""The same, and the published sorter's."""


def restricted(prompts: PromptDistribution, part: PromptDistribution, lm: isn.LanguageModel) -> Listed:
    """P(X) restricted to the inputs of `part`, in sorted order: P(x) / P(S).

    Where P(X) gives 128 of them, drawn at random, the same ratio to `part`'s own probabilities, that is what `part`
    already is; else every one is asked for, which takes its time.

    Raises:
        InvalidArgument: P(X) cannot make an input of S, or cannot say how probable it is.
    """
    listed = part.inputs(lm)
    inputs, p = list(listed), np.array(list(listed.values()))
    rows = np.random.default_rng(0).choice(len(inputs), min(_ASKED, len(inputs)), replace=False)
    ratio = _log_probs(prompts, [inputs[i] for i in rows], lm) - np.log(p[rows])
    if np.ptp(ratio) > 1e-6:
        own = _log_probs(prompts, inputs, lm)
        p = np.exp(own - np.logaddexp.reduce(own))
    return Listed(part.name, dict(sorted(zip(inputs, (p / math.fsum(p)).tolist(), strict=True))))


def _log_probs(prompts: PromptDistribution, inputs: list[tuple[int, ...]], lm: isn.LanguageModel) -> np.ndarray:
    found = prompts.log_probs(inputs, lm)
    if found is None or not np.isfinite(found).all():
        raise InvalidArgument(
            f"{prompts.name} cannot make, or cannot score, an input of this set",
            hint="the generator must be trained on a P(X) that holds the set",
        )
    return np.array(found)
