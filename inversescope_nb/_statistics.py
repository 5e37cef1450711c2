"""Estimators that know nothing of models: weights of importance sampling, intervals, corrections.

Pure numpy, deterministic for a given seed. Axis names: n (samples), m (picks), b (resamples).

Sources: truncated weights, Ionides 2008 (J. Comput. Graph. Stat. 17); effective sample size, Kong
1992; k-hat, Vehtari et al. (arXiv 1507.02646) with the generalised Pareto fit of Zhang and Stephens
2009 (Technometrics 51); Wilson 1927 (JASA 22); Fisher's exact test, Fisher 1935 (J. R. Stat. Soc. 98);
Benjamini and Hochberg 1995 (J. R. Stat. Soc. B 57).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

KHAT_UNRELIABLE = 0.7
"""Above this k-hat, importance-weighted averages are not to be trusted (Vehtari et al.)."""
_TIE = 1e-12  # relative to the largest weight
_ROUNDING = 1e-9  # of shares that are sums of weights


# -- importance weights ----------------------------------------------------------------------------


def normalise(weights: Float[np.ndarray, "... n"]) -> Float[np.ndarray, "... n"]:
    """Weights that sum to 1; all 0 where none is positive.

    >>> normalise(np.array([1.0, 3.0])).tolist(), normalise(np.array([0.0, 0.0])).tolist()
    ([0.25, 0.75], [0.0, 0.0])
    """
    weights = np.asarray(weights, dtype=np.float64)
    total = weights.sum(-1, keepdims=True)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def truncate(
    weights: Float[np.ndarray, "... n"], n: Int[np.ndarray, " ..."] | None = None
) -> Float[np.ndarray, "... n"]:
    """Weights cut at mean * sqrt(n), then normalised: a little bias for a bounded variance.

    `n`: how many were drawn, where rows are filled up with weights of 0.

    >>> truncate(np.array([6.0, 1.0, 1.0, 0.0])).tolist()  # mean 2, so nothing above 4
    [0.6666666666666666, 0.16666666666666666, 0.16666666666666666, 0.0]
    """
    weights = np.asarray(weights, dtype=np.float64)
    n = np.maximum(weights.shape[-1] if n is None else np.asarray(n)[..., None], 1)
    cap = weights.sum(-1, keepdims=True) / np.sqrt(n)
    return normalise(np.minimum(weights, cap))


def effective_sample_size(weights: Float[np.ndarray, "... n"]) -> Float[np.ndarray, " ..."]:
    """(sum w)^2 / sum w^2: how many unweighted samples these are worth; 0 where no weight is positive.

    >>> effective_sample_size(np.ones(8)).item(), effective_sample_size(np.array([1.0, 0.0])).item()
    (8.0, 1.0)
    """
    squares = np.asarray(np.square(normalise(weights)).sum(-1))
    return np.divide(1.0, squares, out=np.zeros_like(squares), where=squares > 0)


def generalised_pareto_fit(excess: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Shape k and scale of a generalised Pareto distribution, by Zhang and Stephens' (2009) estimator.

    A likelihood-weighted average over a grid of the profile likelihood's one parameter, without
    iteration; k > 0 is a heavy tail (as in Vehtari et al.; Zhang and Stephens' own k is -k).

    Args:
        excess: at least 5 positive values, in any order.
    """
    x = np.sort(np.asarray(excess, dtype=np.float64))
    n = len(x)
    grid = 30 + int(np.sqrt(n))
    j = np.arange(1, grid + 1)
    quartile = x[int(n / 4 + 0.5) - 1]
    theta = 1 / x[-1] + (1 - np.sqrt(grid / (j - 0.5))) / (3 * quartile)
    k = np.log1p(-theta[:, None] * x).mean(-1)
    # at theta = 0 the law is exponential, of rate lim -theta / k = 1 / mean
    rate = np.divide(-theta, k, out=np.full_like(k, 1 / x.mean()), where=k != 0)
    log_likelihood = n * (np.log(rate) - k - 1)
    weights = normalise(np.exp(log_likelihood - log_likelihood.max()))
    theta_hat = float((theta * weights).sum())
    k_hat = float(np.log1p(-theta_hat * x).mean())
    return k_hat, -k_hat / theta_hat if k_hat else float(x.mean())


def pareto_khat(log_weights: Float[np.ndarray, " n"]) -> float:
    """k-hat of Pareto-smoothed importance sampling: how heavy the tail of the weights is.

    Fitted to the min(n/5, 3 sqrt(n)) largest weights and drawn toward 0.5 by a prior worth ten
    samples (Vehtari et al., appendix C); where ties leave fewer than 5 above the cutoff, the cutoff
    moves down. Above `KHAT_UNRELIABLE`, averages with these weights are not to be trusted. -inf for
    weights that are all equal; NaN where fewer than 5 stand out (always for n <= 20).
    """
    log_weights = np.sort(np.asarray(log_weights, dtype=np.float64))
    n = len(log_weights)
    tail = int(np.ceil(min(0.2 * n, 3 * np.sqrt(n))))
    if tail < 5 or not np.isfinite(log_weights[-1]):
        return float("nan")
    weights = np.exp(log_weights - log_weights[-1])
    if weights[0] > 1 - _TIE:
        return float("-inf")
    below = weights[weights < weights[-5] - _TIE]  # any of these leaves at least 5 above it
    if len(below) == 0:
        return float("nan")
    excess = weights - min(weights[-tail - 1], below[-1])
    excess = excess[excess > _TIE]
    k, _ = generalised_pareto_fit(excess)
    return float((k * len(excess) + 5) / (len(excess) + 10))


# -- intervals and corrections ---------------------------------------------------------------------


def wilson(share: np.ndarray | float, n: np.ndarray | float, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a share; n may be an effective sample size. (0, 1) where n is 0.

    >>> [round(float(end), 3) for end in wilson(1.0, 20)]
    [0.839, 1.0]
    """
    share, n = np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64)
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    centre = share * n + z2 / 2
    half = np.sqrt(z2 * (n * share * (1 - share) + z2 / 4))
    return np.clip((centre - half) / (n + z2), 0, 1), np.clip((centre + half) / (n + z2), 0, 1)


def fisher(share: float, n: float, other: float, m: float) -> float:
    """p-value of Fisher's exact test of 'no larger than the other': at least this share of n, given both together.

    n and m may be effective sample sizes: they are rounded down, and the counts so that they differ less.

    >>> round(fisher(1.0, 3, 0.0, 3), 3), fisher(0.5, 8, 0.5, 8) > 0.5, fisher(1.0, 0.5, 0.0, 9)
    (0.05, True, 1.0)
    """
    n, m = int(n + _ROUNDING), int(m + _ROUNDING)
    if n < 1 or m < 1:
        return 1.0
    hits, others = math.floor(share * n + _ROUNDING), math.ceil(other * m - _ROUNDING)
    k = np.arange(hits, min(n, hits + others) + 1)
    log_ways = _log_choose(n, k) + _log_choose(m, hits + others - k) - _log_choose(n + m, np.array(hits + others))
    return float(min(1.0, np.exp(log_ways).sum()))


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    """log of n over k; -inf where k is no number of n things."""
    ways = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) if 0 <= i <= n else -math.inf
        for i in np.atleast_1d(k)
    ]
    return np.array(ways)


def benjamini_hochberg(p_values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """q-values: the false discovery rate at which each test would pass. NaN stays NaN and is not counted.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, np.nan])).round(3).tolist()
    [0.03, 0.04, 0.04, nan]
    """
    p = np.asarray(p_values, dtype=np.float64)
    q = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested])]
    steps = p[order] * len(order) / np.arange(1, len(order) + 1)
    q[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1.0)
    return q


def group_codes(groups: np.ndarray | list) -> np.ndarray:
    """0, 1, 2, ... in order of first appearance.

    >>> group_codes(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    seen: dict = {}
    return np.array([seen.setdefault(g, len(seen)) for g in groups], dtype=np.int64)


def bootstrap_counts(groups: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """How often each pick occurs in each resample when whole groups are drawn with replacement.

    Args:
        groups: [m] codes 0..G-1 as of `group_codes`.

    Returns:
        [b, m] whole numbers; picks of one group share theirs.
    """
    n_groups = int(groups.max()) + 1
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=resamples)
    return drawn[:, groups].astype(np.float64)


def percentile_interval(values: Float[np.ndarray, " b"], level: float = 0.95) -> tuple[float, float]:
    """The central share of the resampled values, NaN among them left out; (NaN, NaN) of none."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
