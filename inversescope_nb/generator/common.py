"""Common coordinates: what the activations of all sites say of an input, in the same terms.

Sites have bases of their own: heads above all, whose width is their own too. A map of each would have to be learned
from that site's share of the examples. But how their bases lie to each other can be measured without any training: run
inputs of P(X), take all sites' activations of an input as one long vector (each in standardised units, over the root of
its width, so that every site counts alike), and let y be its first principal components, of mean variance 1. Then
cov(y, u) of each site turns what was read there, noised or not, into its best linear estimate of the same y
(:class:`~inversescope_nb.generator.conditioning.SiteEncoder`).

Axis names: n (inputs), d (site width), y (common coordinates).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..kernels import SiteStatistics

log = logging.getLogger(__name__)
_SPARE = 64  # components beyond those asked for, with which the randomised SVD finds the last ones well
_ROUNDS = 3


def n_coordinates(wanted: int, statistics: Mapping[str, SiteStatistics]) -> int:
    """How many there are: none for a single site that varies, and no more than all sites together have."""
    widths = [s.width for s in statistics.values() if not s.is_constant]
    return 0 if len(widths) < 2 else min(wanted, sum(widths))


def covariances(
    units: Mapping[str, Float[Tensor, "n d"]], statistics: Mapping[str, SiteStatistics], size: int
) -> dict[str, Float[Tensor, "y d"]]:
    """Of every site: covariances of the common coordinates with its principal ones.

    Args:
        units: site name -> activations of the same inputs at all sites, standardised.
        statistics: their moments.
        size: common coordinates; from :func:`n_coordinates`.

    Of fewer inputs than `size` the last coordinates are zero. Uses torch's random state (a randomised SVD).
    """
    joint = torch.cat([u.float() / u.shape[1] ** 0.5 for u in units.values()], 1)
    left, spread, _ = torch.svd_lowrank(joint, q=min(size + _SPARE, *joint.shape), niter=_ROUNDS)
    share = float(spread[:size].square().sum() / joint.square().sum().clamp(min=1e-30))
    log.info("%d common coordinates hold %.1f %% of the variance of %d sites", size, 100 * share, len(units))
    y = torch.zeros(len(joint), size, dtype=joint.dtype, device=joint.device)
    found = min(size, len(spread))
    y[:, :found] = left[:, :found] * spread[:found]
    y = y / y.square().mean().sqrt().clamp(min=1e-30)
    return {name: y.T @ (u.float() @ statistics[name].eigenvectors) / len(y) for name, u in units.items()}
