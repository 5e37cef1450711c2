"""How far two rankings agree: Spearman's correlation with an interval and a permutation test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

PERMUTATIONS = 9999
_ALL = 7
"""Values up to which every order is looked at."""
_Z = 1.959964


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation."""

    rho: float
    """From -1 to 1; NaN where one side does not vary, or fewer than 3 pairs are known."""
    low: float
    """Lower end of its 95 % interval (Fisher's z, variance of Bonett and Wright, 2000); NaN for n < 5, or rho of 1."""
    high: float
    """Upper end."""
    p_value: float
    """Two-sided permutation test of 'the two rankings have nothing to do with each other'."""
    n: int
    """Pairs."""

    def __str__(self) -> str:
        interval = "" if math.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"rank correlation {self.rho:.2f}{interval}, p = {self.p_value:.2g}, n = {self.n}"


def rank_correlation(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"], *, seed: int = 0
) -> RankCorrelation:
    """Spearman's correlation of what is known of both; ties share their mean rank.

    The interval takes the pairs as a sample of many alike: of all heads of one model, say, it is a rough guide.

    >>> rank_correlation(np.arange(4.0), np.array([0.0, 1.0, 3.0, 2.0])).rho
    0.8
    """
    known = np.isfinite(first) & np.isfinite(second)
    a, b = _ranks(first[known]), _ranks(second[known])
    n, nan = len(a), float("nan")
    if n < 3 or not a.std() or not b.std():
        return RankCorrelation(nan, nan, nan, nan, n)
    a, b = (a - a.mean()) / np.linalg.norm(a - a.mean()), (b - b.mean()) / np.linalg.norm(b - b.mean())
    rho = float(np.clip(round(float(a @ b), 12), -1, 1))
    if n <= _ALL:
        orders = np.array(list(permutations(range(n))))
        p_value = float((np.abs(b[orders] @ a) >= abs(rho) - 1e-9).mean())
    else:
        rng = np.random.default_rng(seed)
        orders = rng.permuted(np.tile(np.arange(n), (PERMUTATIONS, 1)), axis=1)
        p_value = (1 + int((np.abs(b[orders] @ a) >= abs(rho) - 1e-9).sum())) / (PERMUTATIONS + 1)
    low, high = nan, nan
    if n >= 5 and abs(rho) < 1:  # of a perfect agreement, Fisher's interval would be a point
        z, half = math.atanh(rho), _Z * math.sqrt((1 + rho**2 / 2) / (n - 3))
        low, high = math.tanh(z - half), math.tanh(z + half)
    return RankCorrelation(rho, low, high, p_value, n)


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks from 1; equal values share their mean rank."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[codes]
