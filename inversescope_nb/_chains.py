"""What Markov chains are worth: effective sample sizes, and whether chains have met. Pure numpy.

Axis names: c (chains), r (states of each, in order).
Source: Vehtari, Gelman, Simpson, Carpenter and Buerkner 2021 (Bayesian Analysis 16; arXiv 1903.08008), sections 3 and
4, without ranks; the sum over lags ends as in Geyer 1992 (Statistical Science 7). Other sources at the functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def _halves(values: Float[np.ndarray, "c r"]) -> Float[np.ndarray, "2c r/2"]:
    """Each chain cut into two, so that one that drifts disagrees with itself."""
    half = values.shape[1] // 2
    return np.concatenate([values[:, :half], values[:, -half:]])


def chain_ess(values: Float[np.ndarray, "c r"]) -> float:
    """How many independent draws all states are worth for the mean of a quantity; NaN where it never varies.

    Chains that have not met count as little as they are: their disagreement is part of the variance. Of fewer than four
    states a chain nothing is known: 0.

    >>> rng = np.random.default_rng(0)
    >>> 3000 < chain_ess(rng.normal(size=(8, 500))) < 5000
    True
    >>> stuck = np.repeat(rng.normal(size=(8, 1)), 500, 1) + 0.01 * rng.normal(size=(8, 500))
    >>> chain_ess(stuck) < 16
    True
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape[1] < 4:
        return 0.0
    x = _halves(values)
    n_chains, n = x.shape
    within = float(x.var(1, ddof=1).mean())
    between = float(x.mean(1).var(ddof=1)) if n_chains > 1 else 0.0
    variance = within * (n - 1) / n + between
    if variance <= 1e-12 * max(1.0, float(np.abs(x).max()) ** 2):
        return float("nan")
    centred = x - x.mean(1, keepdims=True)
    spectrum = np.fft.rfft(centred, 2 * n, axis=1)
    covariances = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=1)[:, :n].mean(0) / n
    correlations = 1 - (within - covariances * n / (n - 1)) / variance
    correlations[0] = 1.0
    total, least = -1.0, np.inf  # -1 + 2 (sums of pairs), Geyer's initial monotone sequence
    for lag in range(0, n - 1, 2):
        pair = float(correlations[lag] + correlations[lag + 1])
        if pair < 0:
            break
        least = min(least, pair)
        total += 2 * least
    return float(n_chains * n / max(total, 1 / np.log10(max(10.0, n_chains * n))))


def nested_r_hat(values: Float[np.ndarray, "c r"], origins: Int[np.ndarray, " c"]) -> float:
    """How much wider all chains are together than those of one origin are: 1 where chains of all origins have met.

    Of chains that are many and short it asks only what matters, whether it can be seen where they came from (Margossian
    et al. 2024, Bayesian Analysis; arXiv 2110.13017). 1 where nothing varies, infinite where only origins differ.

    Args:
        values: states of a quantity.
        origins: whole numbers; chains of one origin began in the same way.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(8, 200))
    >>> nested_r_hat(x, np.arange(8) // 4) < 1.01 < nested_r_hat(x + np.arange(8)[:, None] // 4, np.arange(8) // 4)
    True
    """
    values = np.asarray(values, dtype=np.float64)
    groups = [values[origins == origin] for origin in np.unique(origins)]
    between = float(np.var([group.mean() for group in groups], ddof=1)) if len(groups) > 1 else 0.0
    within = float(np.mean([group.var() for group in groups]))
    if within <= 1e-12 * max(1.0, float(np.abs(values).max()) ** 2):
        return 1.0 if between <= within else float("inf")
    return float(np.sqrt(1 + between / within))
