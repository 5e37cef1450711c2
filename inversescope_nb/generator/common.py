"""Common coordinates: what the activations of all sites say of an input, in the same terms.

Sites have bases of their own: heads above all, whose width is their own too. A map of each would have to be learned
from that site's share of the examples. But how their bases lie to each other can be measured without any training: run
inputs of P(X), take all sites' activations of an input as one long vector (each in standardised units, over the root of
its width, so that every site counts alike), and let y be its first principal components, of mean variance 1. Then
cov(y, u) of each site turns what was read there, noised or not, into its best linear estimate of the same y
(:class:`~inversescope_nb.generator.conditioning.SiteEncoder`). Covariances are those about the sites' means, or for
``metric="cosine"`` second moments of directions.

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
_RIDGE = 2.0  # in units of D / n: how far covariances with directions of little variance are drawn toward zero
_TOO_LITTLE = 0.8  # of a site's variance


def n_coordinates(wanted: int, statistics: Mapping[str, SiteStatistics]) -> int:
    """How many there are: none for a single site that varies, and no more than all sites together have."""
    widths = [s.width for s in statistics.values() if not s.is_constant]
    return 0 if len(widths) < 2 else min(wanted, sum(widths))


def covariances(
    activations: Mapping[str, Float[Tensor, "n d"]], statistics: Mapping[str, SiteStatistics], size: int
) -> dict[str, Float[Tensor, "y d"]]:
    """Of every site: covariances of the common coordinates with its principal ones.

    Args:
        activations: site name -> activations of the same inputs at all sites, on the CPU.
        statistics: their moments.
        size: common coordinates; from :func:`n_coordinates`.

    Moments of n inputs along directions of small variance are mostly chance where D is not far below n, and a best
    estimate would divide by those variances: covariances along a direction of variance lambda are taken by
    lambda / (lambda + 2 D / n). Of fewer inputs than `size` the last coordinates are zero; so is all of a site that
    does not vary. Uses torch's random state (a randomised SVD); the signs of the coordinates do not depend on it.
    """
    varying = {name: s for name, s in statistics.items() if not s.is_constant}
    n = len(next(iter(activations.values())))
    joint = torch.empty(n, sum(s.width for s in varying.values()))
    parts, at = {}, 0
    for name, s in varying.items():
        parts[name] = joint[:, at : at + s.width]
        parts[name].copy_(s.standardise(activations[name].float())).div_(s.width**0.5)
        at += s.width
    left, spread, _ = torch.svd_lowrank(joint, q=min(size + _SPARE, *joint.shape), niter=_ROUNDS)
    left, spread = left[:, :size], spread[:size]
    left = left * left.gather(0, left.abs().argmax(0)[None]).sign()
    _tell(left, spread, parts)
    y = torch.zeros(n, size)
    y[:, : len(spread)] = left * spread
    y /= y.square().mean().sqrt().clamp(min=1e-30)
    found = {name: torch.zeros(size, s.width) for name, s in statistics.items()}
    for name, s in varying.items():
        ridge = s.eigenvalues / (s.eigenvalues + _RIDGE * s.width / n)
        found[name] = (y.T @ parts[name]) @ s.eigenvectors * (s.width**0.5 / n * ridge)
    return found


def _tell(left: Float[Tensor, "n y"], spread: Float[Tensor, " y"], parts: Mapping[str, Float[Tensor, "n d"]]) -> None:
    """Logs how much of the sites' variance the coordinates hold."""
    whole = {name: float(part.norm()) ** 2 for name, part in parts.items()}
    held = {name: float((left.T @ part).norm()) ** 2 / whole[name] for name, part in parts.items()}
    worst = min(held, key=held.get)
    share = float(spread.square().sum()) / sum(whole.values())
    log.log(
        logging.WARNING if held[worst] < _TOO_LITTLE else logging.INFO,
        "%d common coordinates hold %.1f %% of the variance of %d sites; least, %.1f %%, at %s",
        len(spread), 100 * share, len(parts), 100 * held[worst], worst,
    )  # fmt: skip
