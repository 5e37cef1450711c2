"""Checks of the exercises in ``notebooks/method.ipynb``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Checked, not_yet, right

if TYPE_CHECKING:
    from ..exact import ActivationTable
    from ..reports import ConsistencyReport

OWN_SHARE, LEAST_BITS = 0.05, 2.0
"""What exercise 1 asks for: the pick's share of the posterior at most, and bits at least."""
HIGH = 0.7
"""Rates that exercise 3 looks among."""


def check_1(answer: Any, table: ActivationTable, pick: int) -> Checked:
    """Whether a bandwidth is neither so narrow that the pick is alone nor so wide that nothing is narrowed down.

    Args:
        answer: a bandwidth.
        table: the activations of all inputs.
        pick: row of the picked input.
    """
    if answer is None:
        return not_yet("Give a number; table.posterior_of(table.u[pick], eps) tells what it does.")
    try:
        eps = float(answer)
    except (TypeError, ValueError):
        return not_yet(f"This is a {type(answer).__name__}; a bandwidth is one number.")
    if not 1e-6 <= eps <= 1e6:  # nan too
        return not_yet("A bandwidth is a positive number; here it lies between 0 and 1.")
    found = table.posterior_of(table.u[pick], eps)
    own = float(found.p[pick])
    if own > OWN_SHARE:
        return not_yet(
            f"Too narrow: the pick itself has {own:.0%} of the posterior, so every feature looks consistent."
        )
    if found.bits < LEAST_BITS:
        return not_yet(f"Too wide: only {found.bits:.2f} bits, so the ball around the pick holds much of P(X).")
    return right(f"The pick has {own:.1%} of the posterior, at {found.bits:.1f} resolution bits.")


def _weights(log_prior: np.ndarray, log_q: np.ndarray, d: np.ndarray, eps: float) -> np.ndarray:
    log_w = log_prior - d**2 / (2 * eps**2) - log_q
    return np.exp(log_w - log_w.max())


def check_2(answer: Any) -> Checked:
    """Whether a function computes the weighted rate without copies, on made-up samples.

    Args:
        answer: ``weighted_rate(agree, log_prior, log_q, d, bandwidth, is_copy)``.
    """
    if not callable(answer):
        return not_yet("Give the function itself, without calling it.")
    rng = np.random.default_rng(0)
    n, eps = 60, 0.1
    agree, is_copy = rng.random(n) < 0.5, np.arange(n) < 8
    agree = agree | is_copy
    d = np.where(is_copy, 0.0, rng.uniform(0.02, 0.25, n))
    log_q, log_prior = rng.normal(-5.0, 1.0, n), rng.normal(-9.0, 0.7, n)
    log_prior[-6:] = -math.inf
    try:
        value = answer(agree.copy(), log_prior.copy(), log_q.copy(), d.copy(), eps, is_copy.copy())
    except Exception as error:  # a learner's code may raise anything
        return not_yet(f"It raised {type(error).__name__}: {error}")
    if value is None:
        return not_yet("It returns None. A weight is P(x) k(d) / q(x); log_prior and log_q are logarithms.")
    try:
        value = float(value)
    except (TypeError, ValueError):
        return not_yet(f"It returns a {type(value).__name__}; a rate is one number.")

    def rate(weight: np.ndarray) -> float:
        return float(weight[agree].sum() / weight.sum())

    inside, kept = np.isfinite(log_prior), ~is_copy
    w, k = _weights(log_prior, log_q, d, eps), np.exp(-(d**2) / (2 * eps**2))
    squared = _weights(log_prior, log_q, math.sqrt(2) * d, eps)
    zero, p = np.zeros(n), np.where(inside, log_prior, -math.inf)
    if math.isclose(value, rate(w * kept), rel_tol=1e-6):
        return right("Weights turn averages over what the generator proposed into averages over the posterior.")
    everything = np.ones(n)
    plain = "that is the plain mean, which is biased as the generator is. Weigh each by P(x) k(d) / q(x)."
    counted = "Copies of the pick count in yours. They agree for certain: leave them out."
    for words, wrong in (
        (f"Every sample counts once in yours: {plain}", everything),
        (f"Every sample inside P(X) counts once in yours: {plain}", inside * 1.0),
        (
            "q(x) is missing: divide by it. What the generator proposes too often must count for less.",
            _weights(p, zero, d, eps),
        ),
        ("Only the kernel counts in yours: P(x) and q(x) are missing.", k),
        ("P(x) is missing: samples outside P(X) weigh nothing, and likely inputs more.", _weights(zero, log_q, d, eps)),
        ("The kernel is missing: P(x) / q(x) alone gives the rate in P(X).", _weights(p, log_q, zero, eps)),
        ("Almost: the kernel is exp(-d² / 2ε²), with the 2.", squared),
        ("You multiply by q(x): divide by it.", _weights(p, -log_q, d, eps)),
    ):
        if math.isclose(value, rate(wrong * kept), rel_tol=1e-6):
            return not_yet(words)
        if math.isclose(value, rate(wrong), rel_tol=1e-6):
            return not_yet(f"{words} And copies of the pick count in yours: leave them out.")
    if math.isclose(value, rate(w), rel_tol=1e-6):
        return not_yet(counted)
    if math.isclose(value, float((w * kept * agree).mean()), rel_tol=1e-6):
        return not_yet("The mean of weight times agreement is no rate: divide by the sum of the weights.")
    if math.isclose(value, float((w * kept)[agree].sum()), rel_tol=1e-6) or not 0 <= value <= 1:
        return not_yet("Divide by the sum of the weights: a rate lies between 0 and 1.")
    if math.isnan(value):
        return not_yet("It is not a number: is there an inf minus inf, or a division by zero?")
    return not_yet(f"It gives {value:.3f} on a test case where {rate(w * kept):.3f} is right.")


def check_3(answer: Any, report: ConsistencyReport) -> Checked:
    """Whether the feature named is the one whose high rate says least.

    Args:
        answer: name of a feature.
        report: the report with chance levels.
    """
    frame = report.to_frame().set_index("feature")
    if answer is None:
        return not_yet("Look at fcr and chance side by side.")
    name = getattr(answer, "name", answer)
    if not isinstance(name, str) or name not in frame.index:
        return not_yet(f"The report has no feature {name!r:.40}; it has {', '.join(frame.index)}.")
    row = frame.loc[name]
    high = frame[frame["fcr"] >= HIGH]
    if len(high) == 0:
        return not_yet(f"No rate of this report is {HIGH:g} or higher: run the cell above as it was.")
    if row["fcr"] < HIGH:
        return not_yet(
            f"Its rate is {row['fcr']:.2f}, below {HIGH:g}. A low rate can mislead too, where the bandwidth is coarse; "
            "but here a high one is looked for."
        )
    if name != high["fcr_star"].idxmin():
        return not_yet(f"Its rate is {row['fcr']:.2f}, chance {row['chance']:.2f}: another is nearer to its chance.")
    return right(
        f"{row['fcr']:.2f} agree, and {row['chance']:.2f} would by chance: corrected, {row['fcr_star']:.2f} is left."
    )
