"""Feature consistency from labels and weights: the rate, its chance level and intervals (tests: `_permutation`).

Everything follows from one matrix. Pick j stands for the posterior samples of its activation; M[i, j]
is the share of them that carry the label of pick i. The rate is the mean of the diagonal; chance is
the mean off it, over pairs of picks of different groups. In both an undefined sample is a
disagreement. Without copies, the samples of pick j are those that differ from its own input, and no
input is ever compared with itself: that holds for chance just as for the rate.

The rate is InverseScope's FCR (Luo, Zhou, Dong, arXiv 2506.07406); the rest is this package's own.
Axis names: m (picks; i: whose label, j: whose samples), n (samples of a pick), b (resamples).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._statistics import (
    bootstrap_counts,
    effective_sample_size,
    normalise,
    percentile_interval,
    truncate,
    wilson,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

EDGE = 1.959964**2
"""A rate p over G effective groups counts as near 0 or 1 if G * min(p, 1 - p) is below this, z^2 = 3.84 for
95 %: the bootstrap then sees too few dissenting groups (it covered 37 to 90 % in simulations). Wilson's
interval is right for groups that agree wholly or not at all, and too wide (99 %) for groups that each
dissent a little; to go by the spread that is seen covered only 71 % where few dissent and none was picked."""
RESAMPLES = 2000
ALL = 1 - 1e-9
"""A weight that is as good as everything."""


@dataclass(frozen=True)
class Sampled:
    """The samples of all picks at one site, without their labels."""

    weights: Float[np.ndarray, "m n"]
    """Importance weights, in any scale; 0 where a pick has fewer samples than others."""
    drawn: Bool[np.ndarray, "m n"]
    """True for samples, False for the padding of picks with fewer."""
    inputs: Int[np.ndarray, "m n"]
    """A code of each sample's token ids."""
    pick_inputs: Int[np.ndarray, " m"]
    """The codes of the picked inputs themselves."""
    groups: Int[np.ndarray, " m"]
    """Which picks belong together (one prompt, one entity), as codes."""

    @property
    def truncated(self) -> Float[np.ndarray, "m n"]:
        """The weights, truncated and normalised pick by pick: what other picks drew does not matter."""
        return truncate(self.weights, self.drawn.sum(-1))

    def select(self, picks: np.ndarray) -> Sampled:
        """The same for some of the picks."""
        return Sampled(*(getattr(self, name)[picks] for name in self.__dataclass_fields__))


def shares(labels: Int[np.ndarray, " m"], sample_labels: Int[np.ndarray, "m n"], weights: np.ndarray) -> np.ndarray:
    """[i, j]: the weighted share of the samples of pick j with the label of pick i.

    Codes below 0 never match.
    """
    values, columns = np.unique(labels, return_inverse=True)
    at = np.searchsorted(values, sample_labels).clip(max=len(values) - 1)
    hit = (values[at] == sample_labels) & (sample_labels >= 0)
    table = np.zeros((len(sample_labels), len(values)))
    np.add.at(table, (np.nonzero(hit)[0], at[hit]), weights[hit])
    return table[:, columns].T


def agreement(
    labels: Int[np.ndarray, " m"],
    sample_labels: Int[np.ndarray, "m n"],
    sampled: Sampled,
    *,
    weighted: bool = True,
    copies: bool = False,
) -> Float[np.ndarray, "i j"]:
    """The matrix M of this module; NaN where nothing is left to compare with.

    Args:
        labels: codes of the picks' labels, all defined (>= 0).
        sample_labels: codes of the samples' labels, -1 where undefined.
        weighted: with importance weights (truncated) rather than all samples alike.
        copies: count samples that equal the picked input.
    """
    weights = sampled.truncated if weighted else normalise(sampled.drawn)
    matrix = shares(labels, sample_labels, weights)
    left = np.broadcast_to(weights.sum(-1), matrix.shape)  # 1, or 0 for a pick without samples
    if not copies:
        equal = shares(sampled.pick_inputs, sampled.inputs, weights)
        own = np.diag(equal)
        other = np.where(sampled.pick_inputs[:, None] == sampled.pick_inputs, 0.0, equal)
        matrix = matrix - own * (labels[:, None] == labels) - other
        left = left - own - other
    valid = left > 1 - ALL
    return np.divide(matrix, left, out=np.full(matrix.shape, np.nan), where=valid).clip(0, 1)


def effective_samples(sampled: Sampled) -> Float[np.ndarray, " m"]:
    """The effective sample size of each pick without its copies, for intervals of single picks."""
    weights = np.where(sampled.inputs == sampled.pick_inputs[:, None], 0.0, sampled.truncated)
    return effective_sample_size(weights)


def effective_groups(groups: np.ndarray) -> float:
    """How many groups of equal size weigh as these: where one holds most picks, all is about that one.

    >>> effective_groups(np.array([0, 0, 1, 1])), round(effective_groups(np.repeat([0, 1], [9, 1])), 2)
    (2.0, 1.22)
    """
    return float(effective_sample_size(np.unique(groups, return_counts=True)[1].astype(np.float64)))


@dataclass(frozen=True)
class Rate:
    """A feature consistency rate over picks, beside what chance gives. NaN where not defined."""

    fcr: float
    """Mean share of samples that agree with their pick."""
    low: float
    """Lower end of its 95 % interval over groups of picks."""
    high: float
    """Upper end."""
    chance: float
    """The same for labels and samples of picks of different groups."""
    star: float
    """(fcr - chance) / (1 - chance)."""
    star_low: float
    """Lower end of its 95 % interval."""
    star_high: float
    """Upper end."""
    star_by_label: float
    """The corrected rate of each label, averaged over labels."""


def corrected(fcr: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """(fcr - chance) / (1 - chance); NaN at chance 1, where every input has the same label.

    >>> corrected(np.array([1.0, 0.5, 1.0]), np.array([0.5, 0.5, 1.0])).tolist()
    [1.0, 0.0, nan]
    """
    fcr, room = np.asarray(fcr, dtype=np.float64), 1 - np.asarray(chance, dtype=np.float64)
    return np.divide(fcr - chance, room, out=np.full(np.shape(fcr - room), np.nan), where=room > 1 - ALL)


def rate(matrix: Float[np.ndarray, "m m"], labels: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> Rate:
    """The rate of one agreement matrix with its chance level and intervals.

    The interval is a percentile bootstrap over whole groups; near 0 or 1 (see `EDGE`) it is Wilson's
    with the effective number of groups. Pairs within a group, hence copies of one pick in a resample, never
    enter chance.
    """
    own = np.diag(matrix)
    known = np.isfinite(own)
    if not known.any():
        return Rate(*[np.nan] * 8)
    matrix, own = matrix[np.ix_(known, known)], own[known]
    labels, groups = labels[known], np.unique(groups[known], return_inverse=True)[1]
    pairs = (groups[:, None] != groups) & np.isfinite(matrix)
    across = np.where(pairs, matrix, 0.0)

    def estimate(counts: Float[np.ndarray, "b m"]) -> tuple[np.ndarray, np.ndarray]:
        n_pairs = np.einsum("bi,bi->b", counts @ pairs, counts)
        sums = np.einsum("bi,bi->b", counts @ across, counts)
        chance = np.divide(sums, n_pairs, out=np.full(len(counts), np.nan), where=n_pairs > 0)
        return counts @ own / counts.sum(-1), chance

    (fcr,), (chance,) = estimate(np.ones((1, len(own))))
    low, high, star_low, star_high = np.nan, np.nan, np.nan, np.nan
    if groups.max() > 0:
        n_groups = effective_groups(groups)
        if n_groups * min(fcr, 1 - fcr) < EDGE:
            low, high = (float(end) for end in wilson(fcr, n_groups))
            star_low, star_high = (float(corrected(end, chance)) for end in (low, high))
        else:
            resampled = estimate(bootstrap_counts(groups, RESAMPLES, seed))
            low, high = percentile_interval(resampled[0])
            star_low, star_high = percentile_interval(corrected(*resampled))
    by_label = _corrected_by_label(own, across, pairs, labels)
    star = float(corrected(fcr, chance))
    return Rate(float(fcr), low, high, float(chance), star, star_low, star_high, by_label)


def _corrected_by_label(own: np.ndarray, across: np.ndarray, pairs: np.ndarray, labels: np.ndarray) -> float:
    """Mean over labels of each label's corrected rate, so that frequent labels do not decide alone."""
    values = []
    for label in np.unique(labels):
        mine = labels == label
        if pairs[mine].any():
            values.append(corrected(own[mine].mean(), across[mine].sum() / pairs[mine].sum()))
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def paired_difference(
    first: Float[np.ndarray, " m"], second: Float[np.ndarray, " m"], groups: np.ndarray, *, seed: int = 0
) -> tuple[float, float, float]:
    """first - second over the picks that both have, with its 95 % interval over groups; NaN ends for one group.

    A percentile bootstrap; where too few groups differ from the usual difference for that (see `EDGE`), Newcombe's
    interval from the two rates' own (Statistics in Medicine 17, 1998, method 10), which takes them as independent.
    """
    known = np.isfinite(first) & np.isfinite(second)
    if not known.any():
        return float("nan"), float("nan"), float("nan")
    first, second, groups = first[known], second[known], np.unique(groups[known], return_inverse=True)[1]
    difference, n_groups = first - second, effective_groups(groups)
    found = float(difference.mean())
    if groups.max() == 0:
        return found, float("nan"), float("nan")
    usual = np.abs(difference - np.median(difference)) < 1 - ALL
    dissent = len(np.unique(groups[~usual])) / (groups.max() + 1)
    if n_groups * dissent < EDGE:
        (p, low, high), (q, lower, upper) = ((x.mean(), *wilson(x.mean(), n_groups)) for x in (first, second))
        return found, found - float(np.hypot(p - low, upper - q)), found + float(np.hypot(high - p, q - lower))
    counts = bootstrap_counts(groups, RESAMPLES, seed)
    low, high = percentile_interval(counts @ difference / counts.sum(-1))
    return found, low, high
