"""Solutions of the exercises in ``stories.ipynb``; the checks are in ``inversescope_nb.exercises.stories``."""

from __future__ import annotations

import inversescope_nb as isn


def solution_1(texts):
    """A list of texts, cut after any token."""
    return isn.PromptDistribution.from_texts(texts, cut="random")


def solution_2():
    """Kish's effective sample size."""
    return lambda weights: weights.sum() ** 2 / (weights**2).sum()


def solution_3():
    """A share of 2^-bits of all draws lies near, so one near draw takes 2^bits."""
    return lambda effective, bits: effective * 2.0**bits
