"""Draws of P(X) weighed by the kernel: what a search answers with where no chain walks. Axis names: n (draws)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._statistics import effective_sample_size, pareto_khat

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True)
class Shown:
    """Some of many draws, which stand for all."""

    inputs: list[list[int]]
    """Token ids."""
    weights: Float[np.ndarray, " k"]
    """They sum to 1."""
    z: Float[Tensor, "k d"] | None
    """Their activations, as they were read; None where these were not kept."""


class Weighed:
    """Independent draws, each with a weight whose mean is Z = E over P(X) of the kernel."""

    log_w: Float[np.ndarray, " n"]
    """log of the weights."""

    def __len__(self) -> int:
        return len(self.log_w)

    @property
    def weights(self) -> Float[np.ndarray, " n"]:
        """In units of the largest; all 0 where a ball holds none."""
        log_w = self.log_w
        top = log_w.max(initial=-math.inf)
        return np.exp(log_w - top) if math.isfinite(top) else np.zeros(len(log_w))

    @property
    def ess(self) -> float:
        """Effective number of the draws."""
        weights = self.weights
        return float(effective_sample_size(weights)) if weights.any() else 0.0

    @property
    def khat(self) -> float:
        """Tail index of their weights."""
        return float(pareto_khat(self.log_w))

    @property
    def log_z(self) -> tuple[float, float]:
        """log of the mean kernel over P(X), nats, and its standard error."""
        weights = self.weights
        mean = float(weights.mean())
        return float(self.log_w.max()) + math.log(mean), float(weights.std()) / mean / math.sqrt(len(weights))


class Draws(Weighed):
    """Inputs, each a draw, and their activations."""

    def __init__(self, inputs: Sequence[list[int]], log_w: Float[np.ndarray, " n"], z: Float[Tensor, "n d"]) -> None:
        self.inputs, self.log_w, self.z = inputs, log_w, z

    def sample(self, n: int, numbers: np.random.Generator) -> Shown:
        """At most `n` of them."""
        chosen, weights = thinned(self.weights, n, numbers)
        return Shown([self.inputs[i] for i in chosen], weights, self.z[torch.from_numpy(chosen)])


def thinned(
    weights: Float[np.ndarray, " m"], n: int, numbers: np.random.Generator
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """At most `n` of many, each once, with new weights whose expectations are the old ones, and which sum to 1.

    What weighs more than a threshold stays as it is; of all else some stay, with that weight each (Fearnhead and
    Clifford 2003, J. R. Stat. Soc. B 65, section 3: no such thinning changes weights by less, in mean square).

    >>> rows, weights = thinned(np.array([5.0, 1, 0, 1, 1, 1, 1]), 3, np.random.default_rng(0))
    >>> len(rows), weights.tolist()
    (3, [0.5, 0.25, 0.25])
    """
    weights = weights / weights.sum()
    rows = np.flatnonzero(weights)
    if len(rows) <= n:
        return rows, weights[rows]
    rows = rows[np.argsort(-weights[rows], kind="stable")]
    kept = np.arange(n)  # how many stay as they are, if the others share what is left among n - kept places
    left = np.cumsum(weights[rows][::-1])[::-1][:n]
    is_small = weights[rows[:n]] < left / (n - kept)
    first = int(np.argmax(is_small)) if is_small.any() else n - 1
    small = rows[first:]
    marks = (np.arange(n - first) + numbers.random()) / (n - first) * left[first]
    some = np.minimum(np.searchsorted(np.cumsum(weights[small]), marks, side="right"), len(small) - 1)
    new = np.concatenate([weights[rows[:first]], np.full(n - first, left[first] / (n - first))])
    return np.concatenate([rows[:first], small[some]]), new / new.sum()
