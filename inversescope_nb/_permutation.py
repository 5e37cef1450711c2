"""Is a label independent of the samples? p-values by exchanging the labels of the picks.

1. The statistic is the agreement of picks with their own samples, copies of the picked input left out.
2. Whole groups of picks exchange labels. A picked input keeps its new label wherever it is met among the samples of
   another pick; all other samples keep theirs. A label drawn anew for every input then gives p-values that are
   exactly uniform, however few inputs there are (tests/test_p_values.py).
3. p = (1 + #{T* >= T}) / (B + 1), ties broken at random.

Where the site knows nothing of the label, but P(X) has few inputs, p is too large rather than too small: of K inputs
with one activation and evenly many of each label, the K - 1 others carry the pick's label a little less often than
all K do, by (1 - share) / (K - 1). Counting copies would cure that, and would find the label of every site that
tells its inputs apart. Rates without copies are biased by as much: it is their meaning, not the test, that differs.
Axis names: m (picks; i: whose label, j: whose samples, k: who is met among them), b (permutations).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._agreement import ALL, Sampled, shares

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_CHUNK = 4096  # permutations at a time
_CELLS = 1 << 23  # comparisons of a pick with one that is met, at a time


@dataclass(frozen=True)
class Exchange:
    """Agreement without copies, taken apart into what exchanging labels changes and what it does not."""

    matrix: Float[np.ndarray, "i j"]
    """Share of pick j's samples that carry the label of pick i and are no picked input; NaN where nothing but copies
    is left."""
    met: Float[np.ndarray, "k j"]
    """Share of pick j's samples that are the picked input of k, another one than j's."""

    @staticmethod
    def of(labels: Int[np.ndarray, " m"], sample_labels: Int[np.ndarray, "m n"], sampled: Sampled) -> Exchange:
        """From codes of labels; those of picks are all defined (>= 0), those of samples -1 where undefined."""
        weights, inputs = sampled.truncated, sampled.pick_inputs
        equal, same = shares(inputs, sampled.inputs, weights), inputs[:, None] == inputs
        own = np.diag(equal)
        left = weights.sum(-1) - own
        known = left > 1 - ALL
        times = (same & known).sum(-1).clip(min=1)  # one input may be picked more than once
        met = np.where(same | ~known[:, None], 0.0, equal / times[:, None])
        alike = (labels[:, None] == labels) * 1.0
        matrix = shares(labels, sample_labels, weights) - own * alike - alike @ met
        return Exchange(*(np.divide(x, left, out=np.full(x.shape, np.nan), where=known) for x in (matrix, met)))


def permutation_test(
    matrix: Float[np.ndarray, "m m"],
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    permutations: int,
    seed: int,
    within: np.ndarray | None = None,
    met: Float[np.ndarray, "m m"] | None = None,
) -> float:
    """p-value of 'the label is independent of the samples', by permuting labels over fixed sample sets.

    Whole groups exchange their labels: groups with one label among all such groups, others member by
    member among groups of the same size; with `within`, only among groups with the same levels of another
    feature g (the null is then independence given g). The statistic is the mean over groups of their mean
    agreement: were a large group to count more, a label that is common among picks and prompts alike
    would look like a finding. NaN where no exchange changes anything: nothing was tested.

    Args:
        matrix: agreement; the label of pick i with the samples of pick j.
        labels, groups: [m] codes.
        within: [m] codes of g's labels.
        met: see :class:`Exchange`, whose `matrix` it belongs to; None: no pick is met among others' samples.
    """
    known = np.isfinite(np.diag(matrix))
    matrix, labels, groups = matrix[np.ix_(known, known)], labels[known], groups[known]
    levels = np.zeros(len(matrix), dtype=np.int64) if within is None else within[known]
    classes = _exchangeable(labels, groups, levels)
    if all(len({tuple(labels[group]) for group in members}) == 1 for members in classes):
        return float("nan")
    rng = np.random.default_rng(seed)
    m, above = len(matrix), 0.0
    codes = np.unique(groups, return_inverse=True)[1]
    weights = 1.0 / np.bincount(codes)[codes] / (codes.max() + 1)
    who, whose = np.nonzero(np.zeros((m, m)) if met is None else met[np.ix_(known, known)])
    counts = np.zeros(0) if met is None else met[np.ix_(known, known)][who, whose] * weights[whose]

    def statistic(source: Int[np.ndarray, "b m"]) -> Float[np.ndarray, " b"]:
        of_others = _weighted_mean(matrix[source, np.arange(m)], weights)
        new = labels[source]
        return (of_others + (new[:, who] == new[:, whose]) @ counts).round(12)

    (observed,), tie = statistic(np.arange(m)[None]), rng.random()
    chunk = min(_CHUNK, max(1, _CELLS // max(1, len(who))))
    for start in range(0, permutations, chunk):
        drawn = statistic(_exchanged(classes, m, min(chunk, permutations - start), rng))
        above += (drawn > observed).sum() + ((drawn == observed) & (rng.random(len(drawn)) > tie)).sum()
    return float((1 + above) / (permutations + 1))


def _exchanged(classes: list[list[np.ndarray]], m: int, b: int, rng: np.random.Generator) -> Int[np.ndarray, "b m"]:
    """Whose label each pick gets, `b` times."""
    source = np.tile(np.arange(m), (b, 1))
    for members in classes:
        order = rng.random((b, len(members))).argsort(-1)
        width = max(map(len, members))
        table = np.array([np.resize(group, width) for group in members])  # short groups repeat
        slot = np.repeat(np.arange(len(members)), [len(group) for group in members])
        column = np.concatenate([np.arange(len(group)) for group in members])
        source[:, np.concatenate(members)] = table[order[:, slot], column]
    return source


def _exchangeable(labels: np.ndarray, groups: np.ndarray, levels: np.ndarray) -> list[list[np.ndarray]]:
    """Classes of two or more groups that may exchange labels, each group as the indices of its members."""
    classes: dict[tuple, list[np.ndarray]] = {}
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        pure = len(set(zip(labels[members].tolist(), levels[members].tolist(), strict=True))) == 1
        key = ("pure", levels[members[0]]) if pure else ("mixed", *levels[members])
        classes.setdefault(key, []).append(members)
    return [members for members in classes.values() if len(members) > 1]


def _weighted_mean(values: Float[np.ndarray, "b m"], weights: Float[np.ndarray, " m"]) -> np.ndarray:
    """Weighted means of rows over what is not NaN."""
    known = np.isfinite(values)
    return np.where(known, values, 0.0) @ weights / (known @ weights)
