"""How far a generator is from the exact posterior, over many picked inputs: what the gap benchmarks share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from inversescope_nb.exact import ActivationTable
from inversescope_nb.generator import Generator

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


def gaps(
    table: ActivationTable, generator: Generator, bandwidth: float, *, amount: float = 0.0, picks: int = 256,
    draws: int = 32, seed: int = 0,
) -> Gap:  # fmt: skip
    """The mean gap over inputs drawn from P(X), each estimated from draws of its own exact posterior."""
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
    condition = generator.condition_on(table.site.name, centres, bandwidth).repeat(draws)
    with torch.inference_mode():
        log_q = np.array([float(x.sum()) for x in generator.log_probs(inputs, condition, batch_size=1024)])
    each = (log_p - log_q.reshape(picks, draws)).mean(1)
    return Gap(float(each.mean()), float(each.std(ddof=1) / math.sqrt(picks)), float(np.mean(entropies)))
