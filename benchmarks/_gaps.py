"""How far a generator is from the exact posterior, over many picked inputs: what the gap benchmarks share.

Axis names: m (picked inputs), r (draws of each one's exact posterior), d (site width).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from inversescope_nb.exact import ActivationTable
from inversescope_nb.generator import Generator

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

AMOUNTS = (0.0, 0.5, 1.0)
"""Shares of the kernel's noise that the inverted activations carry: 0 is what users invert, 1 what training shows."""


@dataclass(frozen=True)
class Gap:
    """KL(exact posterior || generator), nats."""

    mean: float
    """Over picked inputs."""
    stderr: float
    """Of the mean."""
    entropy: float
    """Mean entropy of the exact posteriors, nats."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws of the exact posteriors of many picks, against which generators of one site in the same units are held."""

    site: str
    """The site."""
    bandwidth: float
    """Width of the kernel."""
    centres: Float[Tensor, "m d"]
    """The activations that are inverted, standardised."""
    inputs: Sequence[Sequence[int]]
    """m * r inputs as token ids, a pick's one after the other."""
    log_p: Float[np.ndarray, "m r"]
    """Their exact log posterior, nats."""
    entropy: float
    """Mean entropy of the posteriors, nats."""

    @classmethod
    def of(
        cls, table: ActivationTable, bandwidth: float, *, amount: float = 0.0, picks: int, draws: int, seed: int
    ) -> Draws:
        """`draws` inputs of the posterior of each of `picks` inputs drawn from P(X), seen through `amount` noise."""
        rows = table.draw(picks, seed=seed)
        centres = table.noised(rows, bandwidth, amount=amount, seed=seed + 1)
        rng = np.random.default_rng(seed + 2)
        inputs: list[list[int]] = []
        log_p, entropies = np.zeros((picks, draws)), []
        for i, posterior in enumerate(table.posteriors(centres, bandwidth)):
            p = posterior.p
            drawn = rng.choice(len(p), draws, p=p / p.sum())
            inputs += [table.inputs[j] for j in drawn]
            log_p[i] = posterior.log_p[drawn]
            entropies.append(posterior.entropy)
        return cls(table.site.name, bandwidth, centres, inputs, log_p, float(np.mean(entropies)))

    def gap(self, generator: Generator) -> Gap:
        """The mean over picks of what the generator's log q lacks."""
        condition = generator.condition_on(self.site, self.centres, self.bandwidth).repeat(self.log_p.shape[1])
        with torch.inference_mode():
            log_q = np.array([float(x.sum()) for x in generator.log_probs(self.inputs, condition, batch_size=1024)])
        each = (self.log_p - log_q.reshape(self.log_p.shape)).mean(1)
        return Gap(float(each.mean()), float(each.std(ddof=1) / math.sqrt(len(each))), self.entropy)


def gaps(
    table: ActivationTable, generator: Generator, bandwidth: float, *, amount: float = 0.0, picks: int = 256,
    draws: int = 32, seed: int = 0,
) -> Gap:  # fmt: skip
    """The gap of a generator in whose units `table` is; for several generators make the `Draws` once."""
    return Draws.of(table, bandwidth, amount=amount, picks=picks, draws=draws, seed=seed).gap(generator)
