"""From what pairs of patches moved to a mean with its interval and test; see :mod:`inversescope_nb.causal.usage`.

Axis names: m (picks), p (pairs of a pick).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from .._statistics import bootstrap_counts, percentile_interval

if TYPE_CHECKING:
    from jaxtyping import Float, Int

PER_PICK = ("flipped", "equal", "equal_stretched", "random", "d_flipped", "d_equal")
"""What is known of each pair, beside its two sources."""
RESAMPLES = 2000
Z = 1.959964
FEW_SOURCES = 20
"""Different inputs on either side of all pairs of a row, below which its interval and test are rough."""
NOISE = 1e-9
"""Movements that differ by less are the same."""


def row_of(
    values: Sequence[np.ndarray | None], groups: Sequence[int], permutations: int, seed: int, *, signed: bool = False
) -> tuple[dict, list[dict]]:
    """The mean over picks with its interval and test, and what each pick says.

    `signed`: whether movement has a direction, so that a mean below 0 says something too: the test is then two-sided.
    """
    known = [i for i, pairs in enumerate(values) if pairs is not None and len(pairs)]
    per_pick = [
        {"pick": i, "group": int(groups[i]), "n_pairs": len(values[i]), **dict(zip(PER_PICK, mean, strict=True))}
        for i, mean in ((i, values[i][:, : len(PER_PICK)].mean(0).tolist()) for i in known)
    ]
    row = {
        "n_undefined": sum(pairs is None for pairs in values),
        "n_unpaired": sum(pairs is not None and not len(pairs) for pairs in values),
        "n_groups": len({groups[i] for i in known}),
        "n_pairs": sum(len(values[i]) for i in known),
        **{name: float(np.mean([pick[name] for pick in per_pick])) if known else float("nan") for name in PER_PICK},
    }
    difference = np.array([pick["flipped"] - pick["equal"] for pick in per_pick])
    difference[np.abs(difference) < NOISE] = 0.0  # else a test would read signs off rounding
    codes = np.unique([groups[i] for i in known], return_inverse=True)[1]
    use = float(difference.mean()) if known else float("nan")
    low, high, p_value, fewest = float("nan"), float("nan"), float("nan"), 0
    if known:
        by_source, fewest = _source_variance([values[i] for i in known], use)
    if row["n_groups"] > 1:
        counts = bootstrap_counts(codes, RESAMPLES, seed)
        low, high = percentile_interval(counts @ difference / counts.sum(-1))
        low, high = use - math.hypot(use - low, Z * by_source**0.5), use + math.hypot(high - use, Z * by_source**0.5)
        if permutations:
            by_pick = float(((difference - use) ** 2).sum()) / len(difference) ** 2
            spread = math.sqrt(by_source + by_pick)
            p_value = sign_flip_test(difference, codes, permutations, seed, two_sided=signed)
            p_value = max(p_value, _normal(use, spread, two_sided=signed))
    notes = ""
    if row["n_groups"] and fewest < FEW_SOURCES:
        notes = f"Only {fewest} different inputs are on one side of all pairs: interval and test are rough."
    found = {"n_sources": fewest, "use": use, "low": low, "high": high, "p_value": p_value, "q_value": float("nan")}
    return {**row, **found, "notes": notes}, per_pick


def _normal(use: float, spread: float, *, two_sided: bool) -> float:
    """p-value of a mean with that standard deviation."""
    if spread <= NOISE:
        return float(use == 0 if two_sided else use <= 0)
    return 2 * NormalDist().cdf(-abs(use) / spread) if two_sided else NormalDist().cdf(-use / spread)


def _source_variance(values: Sequence[np.ndarray], use: float) -> tuple[float, int]:
    """What sources add to the variance of the mean, and how many there are on the side that has fewer.

    Of the mean over picks of means over pairs, with pairs clustered by their flipped and by their equal source.
    """
    weight = np.concatenate([np.full(len(pairs), 1 / (len(pairs) * len(values))) for pairs in values])
    pairs = np.concatenate(values)
    residual = weight * (pairs[:, 0] - pairs[:, 1] - use)
    total, fewest = 0.0, len(pairs)
    for column in (-2, -1):
        codes = np.unique(pairs[:, column], return_inverse=True)[1]
        sums = np.bincount(codes, weights=residual)
        # a source that is in one pair only adds nothing that its pick has not added already
        shared = np.bincount(codes) > 1
        total += float((sums[shared] ** 2).sum())
        fewest = min(fewest, len(sums))
    return total, fewest


@lru_cache(maxsize=16)
def _signs(n: int, permutations: int, seed: int) -> np.ndarray:
    """Signs of n groups: all there are, or so many draws."""
    if 2**n <= permutations:
        return (1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)).astype(np.int8)
    return np.random.default_rng([seed, 7]).choice(np.array([-1, 1], dtype=np.int8), size=(permutations, n))


def sign_flip_test(
    difference: Float[np.ndarray, " m"],
    groups: Int[np.ndarray, " m"],
    permutations: int,
    seed: int,
    *,
    two_sided: bool = False,
) -> float:
    """p-value of 'flipped and equal may be exchanged', whole groups at once; one-sided unless told.

    p = (1 + #{T* >= T}) / (B + 1); all sign flips are looked at where there are no more than `permutations`.

    >>> sign_flip_test(np.ones(3), np.arange(3), 1000, 0), sign_flip_test(-np.ones(3), np.arange(3), 1000, 0)
    (0.125, 1.0)
    >>> sign_flip_test(-np.ones(3), np.arange(3), 1000, 0, two_sided=True)
    0.25
    """
    sums = np.bincount(groups, weights=difference)
    signs = _signs(len(sums), permutations, seed)
    drawn, seen = signs @ sums, sums.sum()
    if two_sided:
        drawn, seen = np.abs(drawn), abs(seen)
    beyond = drawn >= seen - 1e-12 * np.abs(sums).sum()
    if 2 ** len(sums) <= permutations:
        return float(beyond.mean())
    return float((1 + beyond.sum()) / (permutations + 1))
