"""Checks of the exercises in ``notebooks/ioi.ipynb``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InverseScopeError
from ..features import Feature, InputText
from .base import Checked, not_yet, right

if TYPE_CHECKING:
    from ..models import LanguageModel
    from ..reports import ConsistencyReport
    from ..tasks.base import Task

_CLOSE = 0.02
"""How far a mean that was read off a table may lie from the mean."""


def check_1(answer: Any, task: Task) -> Checked:
    """Whether a feature says that the subject is the first name of an IOI prompt.

    Args:
        answer: the feature, or a function of a text.
        task: ``isn.tasks.ioi()``.
    """
    if answer is None:
        return not_yet("Replace None by isn.Feature('subject first', your function of a text).")
    if not callable(answer):
        return not_yet(f"This is a {type(answer).__name__}; a feature is made of a function from a text to a label.")
    feature = answer if isinstance(answer, Feature) else Feature("subject first", answer)
    prompts = task.split("all", cut="end").sample(40, seed=11)
    wanted = [prompt.labels["order"] == "BABA" for prompt in prompts]
    cut = [prompt.text.rpartition(" . ")[0] for prompt in prompts]
    try:
        found = feature.labels([InputText(prompt.text) for prompt in prompts])
        early = feature.labels([InputText(text) for text in cut])
    except InverseScopeError as e:
        return not_yet(f"It raised an error: {e}")
    if any(label is not None and not isinstance(label, bool | np.bool_) for label in found):
        return not_yet("A yes-or-no feature returns True or False; this one returned something else.")
    if all(label is None for label in found):
        return not_yet("It is undefined for every whole prompt.")
    if [bool(label) for label in found] == [not label for label in wanted]:
        return not_yet("It is the other way round: True should mean that the subject was named first.")
    wrong = [prompt.text for prompt, a, b in zip(prompts, found, wanted, strict=True) if a is None or bool(a) != b]
    if wrong:
        return not_yet(f"It is wrong for {len(wrong)} of {len(prompts)} prompts, such as {wrong[0]!r}.")
    if any(label is not None for label in early):
        return not_yet(
            f"It does for whole prompts. But {cut[0]!r} does not show yet who the subject is: return None there."
        )
    return right("For whole prompts, and undefined while the subject stands only once.")


def check_2(answer: Any, report: ConsistencyReport) -> Checked:
    """Which feature of the report has the highest mean chance, and how high it is.

    Args:
        answer: (name of a feature, its mean chance).
        report: the report of the notebook.
    """
    if answer is None:
        return not_yet("Group report.to_frame() by feature and average the column chance.")
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return not_yet("Give two things: (name of the feature, its mean chance).")
    frame = report.to_frame()
    chance = frame.groupby("feature")["chance"].mean()
    name, level = answer
    name = getattr(name, "name", name)
    if name not in chance.index:
        return not_yet(f"There is no feature {name!r} in the report; there are {', '.join(chance.index)}.")
    if name != chance.idxmax():
        rates = frame.groupby("feature")["fcr"].mean()
        why = "that is the highest rate, not the highest chance" if name == rates.idxmax() else "another's is higher"
        return not_yet(f"Not {name!r}: {why}.")
    try:
        far = abs(float(level) - chance.max()) > _CLOSE
    except (TypeError, ValueError):
        return not_yet("The second thing is a number: the mean of the column chance.")
    if far:
        return not_yet(f"The feature is right; its mean chance is not {float(level):.3f}. Average the column chance.")
    return right("A rate is only as good as its distance from this level: that is what fcr_star is for.")


def check_3(answer: Any, lm: LanguageModel, task: Task) -> Checked:
    """Which head lowers the difference of logits most where it is removed.

    Args:
        answer: the name of a head's site.
        lm: the target model.
        task: ``isn.tasks.ioi()``.
    """
    from ..causal import scaling

    heads = lm.sites("blocks.*.attn.hook_z.*")
    if answer is None:
        return not_yet("Run isn.causal.scaling with factors=[0] and sort its frame by difference.")
    try:
        name = lm.site(answer).name
    except (InverseScopeError, AttributeError, TypeError, ValueError):
        return not_yet(f"{answer!r:.60} is no site of this model; heads are named like {heads[0]!r}.")
    if name not in heads:
        return not_yet(f"{name} is no head; heads are named like {heads[0]!r}.")
    answers = task.features["indirect_object"], task.features["subject"]
    frame = scaling(lm, task.held_out, heads, factors=[0], answers=answers, progress=False).to_frame()
    difference = frame.set_index("site")["difference"]
    if name == difference.idxmin():
        return right("Without it the model is least sure of the answer. Is it among the heads that hold the subject?")
    if name == difference.idxmax():
        return not_yet("That one raises the difference most: sort the other way.")
    rank = int((difference < difference[name]).sum())
    return not_yet(f"{rank} other head{'s' if rank > 1 else ''} lower the difference more.")
