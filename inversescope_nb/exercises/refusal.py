"""Checks of the exercises in ``notebooks/refusal.ipynb``."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InverseScopeError
from ..features import Feature, InputText
from .base import Checked, not_yet, right

if TYPE_CHECKING:
    import pandas as pd

    from ..banks import Bank
    from ..models import LanguageModel
    from ..prompts import Prompt
    from ..tasks.base import Task

HARM, WIDER = 0.9, 1.25
"""What exercise 2 asks for: the least rate of harm, which a bandwidth so many times as wide must not reach."""
MOST, NEITHER = 0.9, 0.5
"""What exercise 3 asks for: answers said to change at least, and the largest mean difference of logits that is none."""


def _harms(task: Task) -> dict[str, dict[str, bool]]:
    """Verb -> request -> whether it is harmful."""
    found: dict[str, dict[str, bool]] = defaultdict(dict)
    for prompt, _ in task.split("all", cut="end").enumerate():
        found[prompt.labels["verb"]][prompt.labels["request"]] = prompt.labels["harmful"]
    return found


def check_1(answer: Any, task: Task) -> Checked:
    """Whether a feature is the best guess of harm by the verb alone.

    Args:
        answer: the feature, or a function of a text.
        task: ``isn.tasks.refusal()``.
    """
    if answer is None:
        return not_yet("Replace None by isn.Feature('guess by verb', your function): read the verb with VERB(text).")
    if not callable(answer):
        return not_yet(f"This is a {type(answer).__name__}; a feature is made of a function from a text to a label.")
    guess = answer if isinstance(answer, Feature) else Feature("guess by verb", answer)
    harms = _harms(task)
    most = {verb: 2 * sum(found.values()) > len(found) for verb, found in harms.items()}
    tied = {verb for verb, found in harms.items() if 2 * sum(found.values()) == len(found)}
    prompts = task.split("all", cut="end").sample(200, seed=5)
    wanted = [most[prompt.labels["verb"]] for prompt in prompts]
    truth = [prompt.labels["harmful"] for prompt in prompts]
    early = [prompt.text[: prompt.slots["REQUEST"][0]].strip() for prompt in prompts]
    try:
        found = guess.labels([InputText(prompt.text) for prompt in prompts])
        before = guess.labels([InputText(text) for text in early if text])
    except InverseScopeError as e:
        return not_yet(f"It raised an error: {e}")
    if any(label is not None and not isinstance(label, bool | np.bool_) for label in found):
        return not_yet("A yes-or-no feature returns True or False; this one returned something else.")
    if any(label is None for label in found):
        missing = next(prompt.text for prompt, label in zip(prompts, found, strict=True) if label is None)
        return not_yet(f"It is undefined for a whole prompt: {missing!r}.")
    if [bool(label) for label in found] == truth:
        return not_yet("This is harm itself, read off verb and object. Use the verb alone.")
    if [bool(label) for label in found] == [not label for label in wanted]:
        return not_yet("It is the other way round: True should mean that most requests with that verb are harmful.")
    off = [p for p, a, b in zip(prompts, found, wanted, strict=True) if bool(a) != b]
    if off and all(p.labels["verb"] in tied for p in off):
        return not_yet(f"Only ties are off ({off[0].labels['verb']!r}): half is not most, so a tie is False.")
    if off and all(bool(a) for p, a in zip(prompts, found, strict=True) if p in off):
        return not_yet(f"It says True too often, as for {off[0].labels['verb']!r}: most, not any, of its requests.")
    if off:
        return not_yet(f"It is wrong for {len(off)} of {len(prompts)} prompts, such as {off[0].text!r}.")
    if any(label is not None for label in before):
        return not_yet("It does for whole prompts. But before the request stands there, it should be None.")
    agrees = float(np.mean([a == b for a, b in zip(wanted, truth, strict=True)]))
    return right(
        f"It agrees with harm on {agrees:.0%} of 200 prompts: a site that holds the verb alone would look as if it "
        "held harm. So compare within a verb."
    )


def check_2(answer: Any, lm: LanguageModel, bank: Bank, picks: Sequence[Prompt], site: str) -> Checked:
    """Whether a bandwidth is about the widest that shows harm.

    Args:
        answer: the bandwidth.
        lm, bank, picks, site: with which the bank's inputs are weighed again at that bandwidth.
    """
    from ..baselines import neighbours
    from ..rates import consistency_of
    from ..tasks import refusal

    if answer is None:
        return not_yet("Give a number. The map's is a start: does one that is a quarter wider still agree on harm?")
    if isinstance(answer, bool) or not isinstance(answer, int | float | np.number):
        return not_yet(f"A bandwidth is one number; this is a {type(answer).__name__}.")
    width = float(answer)
    if not math.isfinite(width) or width <= 0:
        return not_yet("A bandwidth is a positive number.")
    task = refusal()
    whole = task.split("all", cut="end")
    features = [task.features["harmful"], task.features["verb"]]

    def rates(bandwidth: float) -> tuple[float, str]:
        found = [neighbours(lm, whole, x, site=site, bandwidth=bandwidth, bank=bank, progress=False) for x in picks]
        rows = consistency_of(found, features, permutations=0).to_frame().set_index("feature")
        fcr = rows["fcr"].fillna(0.0)  # only copies of the picks had weight: nothing was near
        ess = float(rows["ess_median"].iloc[0])
        said = f"at {bandwidth:.3g} harm {fcr['harmful']:.2f}, verb {fcr['verb']:.2f}, {ess:.0f} effective inputs"
        return float(fcr["harmful"]), said

    try:
        (harm, here), (still, beyond) = rates(width), rates(WIDER * width)
    except InverseScopeError as e:
        return not_yet(f"It raised an error: {e}")
    if harm < HARM:
        return not_yet(f"Too wide, or so narrow that nothing counts: {here}. It should agree on harm for {HARM:.0%}.")
    if still >= HARM:
        return not_yet(f"It can be wider: {here}; {beyond}.")
    return right(
        f"{here}; {beyond}. Harm is the coarser fact: it survives where the words are blurred long ago. And so wide a "
        "bandwidth would hide everything finer."
    )


def check_3(answer: Any, flips: pd.DataFrame) -> Checked:
    """Whether a row claims that answers change although the model prefers none.

    Args:
        answer: (site, factor).
        flips: the frame of the notebook: columns site, factor, flipped, difference.
    """
    if answer is None:
        return not_yet("Look for a row with flipped near 1 and a difference near 0.")
    if isinstance(answer, str) or not isinstance(answer, tuple | list) or len(answer) != 2:
        return not_yet("Give two things: (site, factor).")
    site, factor = answer
    try:
        factor = float(factor)
    except (TypeError, ValueError):
        return not_yet(f"The second thing is a factor, a number; this is {factor!r:.40}.")
    if not ((flips["flipped"] >= MOST) & (flips["difference"].abs() <= NEITHER)).any():
        return not_yet(
            "No row of this frame is like that (a model whose last norm adds a bias has none): look at others."
        )
    rows = flips[(flips["site"] == str(site)) & np.isclose(flips["factor"], factor)]
    if rows.empty:
        return not_yet(f"The frame has no row for {site!s:.60} with factor {factor:g}.")
    row = rows.iloc[0]
    if row["flipped"] < MOST:
        return not_yet(f"There only {row['flipped']:.0%} of the answers are said to change.")
    if abs(row["difference"]) > NEITHER:
        return not_yet(
            f"There the answers do change sides: the other leads by {-row['difference']:.1f} in logits. (Whether the "
            "model then says it is another question.)"
        )
    return right(
        f"The mean difference of logits is {row['difference']:.2f}: nothing is left to prefer. A tie is no sign of its "
        "own, so it was counted as a change."
    )
