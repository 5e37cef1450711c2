"""Directions: draws from the von Mises-Fisher law on the sphere, whose log density is kappa times a cosine.

Axis names: n (draws), d (coordinates).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def von_mises_fisher(
    centre: Float[Tensor, "n d"], kappa: Float[Tensor, "n 1"], generator: torch.Generator | None = None
) -> Float[Tensor, "n d"]:
    """A unit vector around each unit vector of `centre`, with density proportional to exp(kappa cos) (d >= 2).

    The cosine is drawn by Wood's rejection (Simulation of the von Mises Fisher distribution, 1994); what is
    across it is uniform.
    """
    w = _cosines(kappa[:, 0].double(), centre.shape[1], generator)[:, None].to(centre)
    across = _normal(centre.shape, generator).to(centre)
    across = across - (across * centre).sum(1, keepdim=True) * centre
    across = across / across.norm(dim=1, keepdim=True)
    return w * centre + (1 - w.square()).clamp(min=0).sqrt() * across


def _cosines(kappa: Float[Tensor, " n"], d: int, generator: torch.Generator | None = None) -> Float[Tensor, " n"]:
    m = d - 1
    b = m / (2 * kappa + (4 * kappa.square() + m * m).sqrt())
    x0 = (1 - b) / (1 + b)
    best = kappa * x0 + m * torch.log1p(-x0.square())
    found = torch.empty_like(kappa)
    left = torch.arange(len(kappa))
    while len(left):
        # Beta(m/2, m/2) from two chi-squares of m degrees
        one, two = (_normal((len(left), m), generator).square().sum(1) for _ in range(2))
        z = one / (one + two)
        w = (1 - (1 + b[left]) * z) / (1 - (1 - b[left]) * z)
        height = torch.rand(len(left), generator=generator, dtype=torch.float64).log()
        accepted = kappa[left] * w + m * torch.log1p(-x0[left] * w) - best[left] >= height
        found[left[accepted]] = w[accepted]
        left = left[~accepted]
    return found


def _normal(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def mean_cosine(kappa: Float[Tensor, "*n"], d: int) -> Float[Tensor, "*n"]:
    """The mean cosine: Amos's lower bound on a ratio of Bessel functions (1974).

    At most 0.02 below the truth (0.04 in the plane, d = 2), exact at both ends, and the better the more coordinates
    there are.

    >>> round(float(mean_cosine(torch.tensor(2.0), 3)), 3)  # the truth is coth(2) - 1/2 = 0.537
    0.522
    """
    return kappa / ((d - 1) / 2 + (kappa.square() + ((d + 1) / 2) ** 2).sqrt())


def bits_of_direction(kappa: float, d: int) -> float:
    """KL of the law from the uniform one, in bits: what a direction seen through this noise can say at most."""
    angle = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)[1:-1]
    flat = (d - 2) * angle.sin().log()
    flat = flat - flat.logsumexp(0)
    log_mean = (flat + kappa * angle.cos()).logsumexp(0)
    law = (flat + kappa * angle.cos() - log_mean).exp()
    return float((kappa * (law * angle.cos()).sum() - log_mean) / math.log(2))
