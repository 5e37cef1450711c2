"""Checks of the exercises in ``notebooks/stories.ipynb``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InverseScopeError
from ..prompts import PromptDistribution
from .base import Checked, not_yet, right

if TYPE_CHECKING:
    from ..models import LanguageModel


def check_1(answer: Any, lm: LanguageModel, texts: Sequence[str]) -> Checked:
    """Whether a P(X) holds these texts, each as likely as any other, cut after any token.

    Args:
        answer: a prompt distribution.
        lm: the target model, whose tokenizer writes its inputs.
        texts: the texts.
    """
    if answer is None:
        return not_yet("isn.PromptDistribution.from_texts(texts, cut=...) makes one of a list.")
    if isinstance(answer, str | list | tuple):
        return not_yet("These are texts; make them a P(X) with isn.PromptDistribution.from_texts(...).")
    if not isinstance(answer, PromptDistribution):
        return not_yet(f"This is a {type(answer).__name__}; isn.PromptDistribution.from_texts(...) makes a P(X).")
    wanted = PromptDistribution.from_texts(texts, cut="random").inputs(lm)
    try:
        found = answer.inputs(lm, limit=100_000)
    except InverseScopeError as error:
        return not_yet(f"Its inputs cannot be listed: {error}")
    if answer.cut == "end" and set(found) <= set(wanted):
        return not_yet("Its inputs are the whole texts alone, so only last tokens can be picked: cut='random'.")
    if missing := [ids for ids in wanted if ids not in found]:
        return not_yet(f"It lacks {lm.decode(list(missing[0]))!r}, with which one of the texts begins.")
    if more := [ids for ids in found if ids not in wanted]:
        return not_yet(f"It holds {lm.decode(list(more[0]))!r} too, with which none of the texts begins.")
    if any(not math.isclose(found[ids], p, rel_tol=1e-6) for ids, p in wanted.items()):
        return not_yet("The inputs are right, their probabilities are not: each text once, each cut as likely.")
    return right(f"{len(wanted)} inputs of {len(texts)} texts: a generator trained on it serves any of their tokens.")


def check_2(answer: Any) -> Checked:
    """Whether a function counts the effective samples of weights.

    Args:
        answer: ``effective(weights)``, of an array.
    """
    if not callable(answer):
        return not_yet("Give the function itself, without calling it.")
    weights = np.random.default_rng(0).gamma(0.3, size=40)
    try:
        value = answer(weights.copy())
    except Exception as error:  # a learner's code may raise anything
        return not_yet(f"It raised {type(error).__name__}: {error}")
    if value is None:
        return not_yet("It returns None.")
    try:
        value = float(value)
    except (TypeError, ValueError):
        return not_yet(f"It returns a {type(value).__name__}; how many samples count is one number.")
    wanted = float(weights.sum() ** 2 / (weights**2).sum())
    if math.isclose(value, wanted, rel_tol=1e-6):
        return right("Weights that are all equal count in full; where one has all the weight, it is 1.")
    for words, wrong in (
        ("That counts the weights, whatever they are.", float(len(weights))),
        ("That is its inverse.", 1 / wanted),
        ("The weights are not normalised: (sum of w) squared over the sum of squares.", 1 / float((weights**2).sum())),
        ("That is one over the largest share; a fair figure too, but another.", weights.sum() / weights.max()),
    ):
        if math.isclose(value, float(wrong), rel_tol=1e-6):
            return not_yet(words)
    return not_yet(f"It gives {value:.3f} for weights of which {wanted:.3f} count.")


def check_3(answer: Any) -> Checked:
    """Whether a function says how many draws neighbours need.

    Args:
        answer: ``draws(effective, bits)``.
    """
    if not callable(answer):
        return not_yet("Give the function itself, without calling it.")
    found = []
    for effective, bits in ((1.0, 10.0), (40.0, 10.0), (40.0, 3.0)):
        try:
            found.append(float(answer(effective, bits)))
        except Exception as error:  # a learner's code may raise anything
            return not_yet(f"It raised {type(error).__name__}: {error}")
    if not math.isclose(found[1], 40 * found[0], rel_tol=1e-6):
        return not_yet("Forty effective samples need forty times as many draws as one does.")
    if math.isclose(found[0], 10.0):
        return not_yet("Bits are logarithms: each more halves the share of draws that lie near.")
    if math.isclose(found[0], math.exp(10.0), rel_tol=1e-6):
        return not_yet("That would be nats.")
    if math.isclose(found[0], 2.0**-10, rel_tol=1e-6):
        return not_yet("That is the share of draws that lies near; how many does it take until one does?")
    if all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(found, (2.0**10, 40 * 2.0**10, 320.0), strict=True)):
        return right("At 20 bits one effective neighbour takes a million draws: that is what a generator is for.")
    return not_yet(f"For one effective sample at 10 bits it gives {found[0]:.6g}; the share of near draws is 2^-bits.")
