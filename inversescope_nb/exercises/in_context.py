"""Checks of the exercises in ``notebooks/in_context.ipynb``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InverseScopeError
from ..features import Feature, InputText
from .base import Checked, not_yet, right

if TYPE_CHECKING:
    from ..banks import Bank
    from ..causal import UseReport
    from ..models import LanguageModel
    from ..prompts import Prompt
    from ..tasks.base import Task

HELD, LEAST = 0.8, 20
"""What exercise 2 asks for: the least rate of the task, and the fewest effective inputs."""
MAPPED = 0.35
"""Bandwidth of the notebook's map, where exercise 2 begins."""


def check_1(answer: Any, task: Task) -> Checked:
    """Whether a feature is the word of the last complete demonstration.

    Args:
        answer: the feature, or a function of a text.
        task: ``isn.tasks.in_context()``.
    """
    if answer is None:
        return not_yet("Replace None by isn.Feature('last demonstration', your function). Split the text at ' , '.")
    if not callable(answer):
        return not_yet(f"This is a {type(answer).__name__}; a feature is made of a function from a text to a label.")
    last = answer if isinstance(answer, Feature) else Feature("last demonstration", answer)
    prompts = task.split("all", cut="end").sample(60, seed=4)
    labels = [prompt.labels for prompt in prompts]
    early = [f"{one['Q1']} :" for one in labels[:8]]
    try:
        found = last.labels([InputText(prompt.text) for prompt in prompts])
    except InverseScopeError as e:
        return not_yet(f"It raised an error: {e}")
    if all(label is None for label in found):
        return not_yet("It is undefined for every whole prompt.")
    last_pairs = [(one[f"Q{one['shots']}"], one[f"A{one['shots']}"]) for one in labels]
    mistakes = {
        "the query": [one["query"] for one in labels],
        "the first demonstration's word": [one["Q1"] for one in labels],
        "the last demonstration's answer, not its word": [one[f"A{one['shots']}"] for one in labels],
        "the second demonstration's word, which is the last of two only": [one["Q2"] for one in labels],
        "the whole demonstration": [f"{word} : {reply}" for word, reply in last_pairs],
    }
    for words, wrong in mistakes.items():
        if found == wrong:
            return not_yet(f"This is {words}.")
    wanted = [one[f"Q{one['shots']}"] for one in labels]
    off = [(p.text, a, b) for p, a, b in zip(prompts, found, wanted, strict=True) if a != b]
    if off:
        text, got, word = off[0]
        return not_yet(f"Wrong for {len(off)} of {len(prompts)} prompts: of {text!r} it is {word!r}, not {got!r:.60}.")
    try:
        before = last.labels([InputText(text) for text in early])
    except InverseScopeError as e:
        return not_yet(f"It does for whole prompts, but where no demonstration is complete it raised an error: {e}")
    if any(label is not None for label in before):
        return not_yet(f"It does for whole prompts. But {early[0]!r} shows no whole demonstration: return None there.")
    return right("Now measure it: isn.consistency_of(..., [your feature, FIRST]). Is a late word kept longer?")


def check_2(answer: Any, lm: LanguageModel, bank: Bank, picks: Sequence[Prompt], site: str) -> Checked:
    """Whether a bandwidth shows the task by enough inputs.

    Args:
        answer: the bandwidth.
        lm, bank, picks, site: with which the bank's inputs are weighed again at that bandwidth.
    """
    from ..baselines import neighbours
    from ..rates import consistency_of
    from ..tasks import in_context

    if answer is None:
        return not_yet(
            f"Give a number. Begin with the map's {MAPPED:g}: is it the rate that fails there, or the number of "
            "inputs? A narrow bandwidth leaves few inputs; among those of a wide one are other tasks."
        )
    if isinstance(answer, bool) or not isinstance(answer, int | float | np.number):
        return not_yet(f"A bandwidth is one number; this is a {type(answer).__name__}.")
    width = float(answer)
    if not math.isfinite(width) or width <= 0:
        return not_yet("A bandwidth is a positive number.")
    task = in_context()
    whole = task.split("all", cut="end")
    try:
        found = [neighbours(lm, whole, x, site=site, bandwidth=width, bank=bank, progress=False) for x in picks]
        row = consistency_of(found, task.features["task"], permutations=0).to_frame().iloc[0]
    except InverseScopeError as e:
        return not_yet(f"It raised an error: {e}")
    rate, ess = float(np.nan_to_num(row["fcr"])), float(row["ess_median"])
    measured = f"rate {rate:.2f}, chance {row['chance']:.2f}, {ess:.0f} effective inputs"
    if math.isclose(width, MAPPED) and (ess < LEAST or rate < HELD):
        return not_yet(f"This is the map's, and it will not do at this site: {measured}. Which way to go from there?")
    if ess < LEAST:
        return not_yet(f"Too narrow: {measured}. A rate of so few inputs is a matter of luck.")
    if rate < HELD:
        return not_yet(f"Too wide: {measured}. Inputs of other tasks count as near.")
    return right(
        f"{measured}. Enough inputs, and they agree. Another site has another range: one bandwidth for a whole map is "
        "too wide for some sites and too narrow for others."
    )


def check_3(answer: Any, used: UseReport, site: str) -> Checked:
    """Which feature has the smallest share of its flips' effect that is use.

    Args:
        answer: the feature's name.
        used: the report of the notebook.
        site: where.
    """
    if answer is None:
        return not_yet("Divide the column use by the column flipped, in the rows of that site.")
    frame = used.to_frame()
    rows = frame[(frame["site"] == site) & (frame["measure"] == "kl")].set_index("feature")
    name = getattr(answer, "name", answer)
    if not isinstance(name, str) or name not in rows.index:
        return not_yet(f"Give the name of one feature of {', '.join(rows.index)}; this is {name!r:.40}.")
    share = (rows["use"] / rows["flipped"]).sort_values()
    row = rows.loc[name]
    if name == share.index[0]:
        return right(
            f"Flips of {name!r} move the output by {row['flipped']:.1f} nats, but patches that keep it by "
            f"{row['equal']:.1f}: nearly all of it comes from what else a patch brings along."
        )
    if name == share.index[-1]:
        return not_yet(f"For {name!r} the largest share is use ({share[name]:.0%}): there flipped misleads least.")
    if name == rows["flipped"].idxmax():
        return not_yet(f"{name!r} has the largest flipped. Which part of it is left without what equal moves?")
    return not_yet(f"For {name!r} {share[name]:.0%} of flipped is use; another feature has less.")
