"""Checks of the exercises in ``notebooks/attributes.ipynb``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._statistics import effective_sample_size
from ..baselines import Accuracy, Probe
from ..baselines.labelled import Labelled
from ..errors import InverseScopeError
from ..features import Feature, InputText
from ..kernels import site_statistics
from .base import Checked, not_yet, right

if TYPE_CHECKING:
    from ..baselines import Neighbours
    from ..models import LanguageModel
    from ..prompts import Prompt
    from ..tasks.base import Task

SHARE, WIDER = 0.8, 1.25
"""Of exercise 2: the share of the weight that must be right, at a bandwidth so many times as wide no longer."""
LEAST, MOST = 0.1, 0.9
"""Of exercise 3: which share of the prompts may be held out."""


def check_1(answer: Any, task: Task) -> Checked:
    """Whether a feature is the language of European cities, and undefined elsewhere.

    Args:
        answer: the feature, or a function of a text.
        task: ``isn.tasks.attributes()``.
    """
    if answer is None:
        return not_yet("Replace None by isn.Feature('European language', your function of a text).")
    if not callable(answer):
        return not_yet(f"This is a {type(answer).__name__}; a feature is made of a function from a text to a label.")
    feature = answer if isinstance(answer, Feature) else Feature("European language", answer)
    prompts = task.split("all").sample(120, seed=12)
    wanted = [p.labels["language"] if p.labels["continent"] == "Europe" else None for p in prompts]
    early = "My friend moved to"
    try:
        found = feature.labels([InputText(p.text) for p in prompts])
        (undecided,) = feature.labels([InputText(early)])
    except InverseScopeError as e:
        return not_yet(f"It raised an error: {e}")
    outside = [(p, a) for p, a, b in zip(prompts, found, wanted, strict=True) if b is None and a is not None]
    if outside:
        prompt, label = outside[0]
        hint = (
            "that is a language, but of a city elsewhere" if label == prompt.labels["language"] else "that is a label"
        )
        return not_yet(f"For {prompt.text!r} it returns {label!r}: {hint}. Undefined means None.")
    inside = [(p, a, b) for p, a, b in zip(prompts, found, wanted, strict=True) if b is not None and a != b]
    if inside:
        prompt, label, language = inside[0]
        if label is None:
            return not_yet(f"It is undefined for {prompt.text!r}, which is about a European city.")
        if label in (prompt.labels["country"], prompt.labels["continent"], prompt.labels["city"]):
            return not_yet(f"For {prompt.text!r} it returns {label!r}, which is not the language.")
        return not_yet(f"For {prompt.text!r} it returns {label!r}, not {language!r}.")
    if undecided is not None:
        return not_yet(f"For {early!r} it returns {undecided!r}: no city is there yet. Return None.")
    defined = sum(b is not None for b in wanted)
    return right(
        f"It is defined for {defined} of {len(prompts)} prompts. Picks elsewhere are dropped from its rate; "
        "samples elsewhere count as disagreeing."
    )


def check_2(answer: Any, neighbours: Sequence[Neighbours], feature: Feature) -> Checked:
    """Whether a bandwidth is about the widest at which most of the weight has the right label.

    Args:
        answer: the bandwidth.
        neighbours: of the picks at one site.
        feature: whose label most of the weight should share.
    """
    if answer is None:
        return not_yet("Replace None by a number. At which distances do the neighbours lie: found.d, for one of them?")
    if isinstance(answer, bool) or not isinstance(answer, int | float | np.number):
        return not_yet(f"This is a {type(answer).__name__}; a bandwidth is one number.")
    if not np.isfinite(answer) or answer <= 0:
        return not_yet(f"A bandwidth is a width: more than 0, not {answer!r}.")
    share, samples = share_and_samples(neighbours, feature, float(answer))
    told = f"At {answer:g} the mean share is {share:.2f} and the median effective sample size {samples:.1f}"
    if share < SHARE:
        return not_yet(f"{told}: the kernel is too wide, inputs of other labels weigh too much. Go narrower.")
    if (wider := share_and_samples(neighbours, feature, WIDER * float(answer))[0]) >= SHARE:
        return not_yet(f"{told}. At {WIDER * answer:.3g} the share is still {wider:.2f}. Go wider.")
    return right(f"{told}. Narrower, the share rises and fewer inputs carry it; wider, other labels come in.")


def share_and_samples(neighbours: Sequence[Neighbours], feature: Feature, bandwidth: float) -> tuple[float, float]:
    """The mean share of the weight that agrees with the pick, and the median effective sample size.

    Picks for which the feature is undefined are left out, and so are copies of a pick.
    """
    shares, samples = [], []
    for found in neighbours:
        label, others = feature(found.text), np.flatnonzero(~found.is_copy)
        if label is None or not len(others):
            continue
        d = found.d[others].astype(np.float64)
        weight = np.exp(-(d**2 - (d**2).min()) / (2 * bandwidth**2))
        weight /= weight.sum()
        shares.append(sum(w for w, i in zip(weight, others, strict=True) if feature(found.texts[i]) == label))
        samples.append(effective_sample_size(weight))
    return (float(np.mean(shares)), float(np.median(samples))) if shares else (0.0, 0.0)


def check_3(answer: Any, lm: LanguageModel, prompts: Sequence[Prompt], feature: Feature, site: str) -> Checked:
    """Whether a split holds cities out; says what a probe scores with it, and with one that holds prompts out.

    Args:
        answer: one True (held out) or False a prompt.
        lm: the target model.
        prompts: those that are split.
        feature: what the probe names.
        site: where, at the city's last token.
    """
    if answer is None:
        return not_yet(
            "Replace None by a list with True for each prompt that is held out. Labels: prompt.labels['city']."
        )
    if isinstance(answer, str) or not isinstance(answer, Sequence | np.ndarray):
        return not_yet(f"This is a {type(answer).__name__}; give a list, with one True or False for each prompt.")
    if len(answer) != len(prompts):
        return not_yet(f"{len(answer)} values for {len(prompts)} prompts; give one for each.")
    if not all(isinstance(x, bool | np.bool_) for x in answer):
        return not_yet("Its values must be True or False: whether a prompt is held out, not which city or fold it is.")
    held_out = np.array(answer, dtype=bool)
    if not LEAST <= held_out.mean() <= MOST:
        return not_yet(f"{held_out.mean():.0%} of the prompts are held out; take {LEAST:.0%} to {MOST:.0%}.")
    sides = [{p.labels["city"] for p, out in zip(prompts, held_out, strict=True) if out == side} for side in _SIDES]
    if both := sorted(sides[0] & sides[1]):
        return not_yet(f"{len(both)} cities are on both sides, such as {both[0]}: the probe can remember them.")
    inputs = _at_the_city(lm, prompts)
    labels = feature.labels([InputText.from_ids(ids, lm) for ids in inputs])
    names = [{x for x, out in zip(labels, held_out, strict=True) if out == side} for side in _SIDES]
    if alone := sorted(map(str, names[1] - names[0])):
        return not_yet(
            f"No city is on both sides. But the label {alone[0]} is held out and never learned: mix the labels."
        )
    try:
        fair = probe_accuracy(lm, inputs, feature, site, held_out)
        usual = probe_accuracy(lm, inputs, feature, site, np.random.default_rng(0).permutation(held_out))
    except InverseScopeError as e:
        return not_yet(f"The probe could not learn: {e}")
    return right(
        f"With cities held out the probe is right for {fair.value:.0%} (always the label that was learned more often: "
        f"{fair.chance:.0%}); with as many prompts held out at random, {usual.value:.0%}. "
        "What lies between is memory of cities."
    )


_SIDES = (False, True)


def _at_the_city(lm: LanguageModel, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
    """Token ids of each prompt, up to the last one of its city."""
    encoded = lm.encode(list(prompts))
    ends = encoded.slot_positions["CITY"].tolist()
    return [tuple(row[: end + 1]) for row, end in zip(encoded.token_ids.tolist(), ends, strict=True)]


def probe_accuracy(
    lm: LanguageModel, inputs: Sequence[tuple[int, ...]], feature: Feature, site: str, held_out: np.ndarray
) -> Accuracy:
    """Accuracy of a logistic probe on the inputs that are held out."""
    place = lm.site(site)
    z = lm.activations([list(ids) for ids in inputs], [place])[place.name]
    units = site_statistics(z)
    data = Labelled(lm, place, list(inputs), units.standardise(z), units, None, held_out)
    return Probe.fitted(data, feature).accuracy
