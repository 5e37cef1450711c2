"""How near is near: standardised units, distance and kernel of one site.

u = (z - mean) / scale, with scale^2 the mean over coordinates of the variance on P(X): one scalar a site, so
directions keep their relative sizes. d = |u - u_hat| / sqrt(D) is a distance per coordinate: two background
inputs lie about sqrt(2) apart at any width D. The kernel at bandwidth eps is exp(-d^2 / 2 eps^2), the
density (up to a constant) of the noise u_hat = u + eps sqrt(D) n, n ~ N(0, I), on which generators are
trained: training noise is the kernel's width.

That is the default. Other metrics change the units, so that d stays the same formula; a hard ball changes the
kernel's shape; each is trained on the noise that it is the density of (:class:`Kernel`).
Axis names: n (inputs), d (coordinates of the site).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ._sphere import bits_of_direction, mean_cosine, von_mises_fisher
from .errors import InvalidArgument, suggest

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

BANDWIDTHS = (0.02, 1.0)
"""Smallest and largest bandwidth that generators are trained at."""

FLAT = 1e-6
"""A site varies on P(X) only if its scale exceeds this times its root-mean-square size."""

SHRINKAGE = 0.01
"""How far ``whitened`` and ``per_coordinate`` draw variances toward their mean, lest flat directions be magnified."""

METRICS = ("scaled", "per_coordinate", "whitened", "cosine")
SHAPES = ("gaussian", "ball")

_ROWS = 65_536  # activations that are in double precision at a time
_ROUNDING = 1e-6  # a bandwidth may have gone through float32


@dataclass(frozen=True)
class Kernel:
    """Which inputs count as near: a metric, which fixes the units u, and a shape.

    Args:
        metric: ``"scaled"``: one scale for all coordinates (the default); ``"per_coordinate"``: each coordinate in
            units of its own spread; ``"whitened"``: each principal direction in units of its own (Mahalanobis
            distance, for residual streams where a few giant directions hold nearly all variance); both with
            variances drawn toward their mean by `SHRINKAGE`; ``"cosine"``: directions of z - mean alone,
            |u| = sqrt(D), where d^2 = 2 (1 - cos).
        shape: ``"gaussian"``: exp(-d^2 / 2 eps^2); ``"ball"``: 1 where d <= eps, else 0.

    Its noise is the law that it is the density of: normal in the metric's units, von Mises-Fisher with
    kappa = 1 / eps^2 for ``"cosine"``, uniform in the ball of radius eps sqrt(D).

    >>> Kernel("whitened").log(torch.tensor([0.0, 0.2]), 0.1)
    tensor([ 0., -2.])
    """

    metric: str = "scaled"
    shape: str = "gaussian"

    def __post_init__(self) -> None:
        for name, allowed in (("metric", METRICS), ("shape", SHAPES)):
            value = getattr(self, name)
            if value not in allowed:
                raise InvalidArgument(
                    f"{name}={value!r}.{suggest(str(value), allowed)}", hint=f"allowed: {', '.join(allowed)}"
                )
        if self.metric == "cosine" and self.shape == "ball":
            raise InvalidArgument("there is no ball of directions", hint="metric='cosine' has shape='gaussian'")

    def log(self, d: Float[Tensor, "*n"], bandwidth: float) -> Float[Tensor, "*n"]:
        """log k(d) in nats: 0 at the centre; a tensor or an array, as d is."""
        if self.shape == "ball":
            where = torch.where if isinstance(d, torch.Tensor) else np.where
            return where(d <= bandwidth * (1 + _ROUNDING), 0.0, -math.inf)
        return -(d**2) / (2 * bandwidth**2)

    def noise(
        self, u: Float[Tensor, "n d"], bandwidth: Float[Tensor, "n 1"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "n d"]:
        """A draw from the kernel around each u, on the CPU."""
        root = math.sqrt(u.shape[-1])
        if self.metric == "cosine":
            return von_mises_fisher(u / root, bandwidth.clamp(min=1e-6) ** -2, generator) * root
        noise = torch.randn(u.shape, generator=generator, dtype=u.dtype, device=u.device)
        if self.shape == "ball":
            reach = torch.rand(len(u), 1, generator=generator, dtype=u.dtype, device=u.device) ** (1 / u.shape[-1])
            noise = noise / noise.norm(dim=-1, keepdim=True) * reach
        return u + bandwidth * root * noise

    def filter(self, eigenvalues: Float[Tensor, " d"], bandwidth: Float[Tensor, "n 1"]) -> Float[Tensor, "n d"]:
        """Factors, along the principal directions, of the best linear estimate of u from the noised u (Wiener's).

        lambda / (lambda + noise variance); for ``"cosine"`` the noised u is also shorter along u.
        """
        return eigenvalues * self.slopes(eigenvalues, bandwidth)

    def slopes(self, eigenvalues: Float[Tensor, " d"], bandwidth: Float[Tensor, "n 1"]) -> Float[Tensor, "n d"]:
        """The same for anything else that is estimated: factors of y's covariances with the principal coordinates.

        The best linear estimate of y from the noised u, whose principal coordinates are c, is the sum of
        cov(y, c_i) slope_i c_i, where slope_i = 1 / (lambda_i + noise variance).
        """
        width = len(eigenvalues)
        if self.metric == "cosine":
            kept = mean_cosine(bandwidth**-2, width)
            return kept / (kept**2 * eigenvalues + 1 - kept**2)
        variance = bandwidth**2 * (width / (width + 2) if self.shape == "ball" else width)
        return 1 / (eigenvalues + variance)

    def bits_bound(self, eigenvalues: Float[Tensor, " d"], bandwidth: float) -> float:
        """Bits that u can say through this noise at most; for the normal one, a Gaussian channel's capacity.

        1/2 sum log2(1 + lambda / (eps^2 D)), at most 1 / (2 ln 2 eps^2) at any width.
        """
        width, values = len(eigenvalues), eigenvalues.double().clamp(min=0)
        if self.metric == "cosine":
            return bits_of_direction(bandwidth**-2, width)
        if self.shape == "gaussian":
            return float(torch.log2(1 + values / (bandwidth**2 * width)).sum() / 2)
        # differential entropies: at most a normal's of the same covariance, less the ball's volume
        most = (2 * math.pi * math.e * (values + bandwidth**2 * width / (width + 2))).log().sum() / 2
        radius = bandwidth * math.sqrt(width)
        volume = width / 2 * math.log(math.pi) - math.lgamma(width / 2 + 1) + width * math.log(radius)
        return max(0.0, (float(most) - volume) / math.log(2))


@dataclass(frozen=True, eq=False)
class SiteStatistics:
    """First and second moments of one site's activations on P(X), in a kernel's units."""

    mean: Float[Tensor, " d"]
    """Mean activation."""
    scale: float
    """Root of the mean coordinate variance; 1 where the site does not vary."""
    eigenvalues: Float[Tensor, " d"]
    """Variances of u along its principal directions, largest first; they sum to D."""
    eigenvectors: Float[Tensor, "d d"]
    """Principal directions, one a column."""
    is_constant: bool
    """Whether the site does not vary on P(X) (the embedding of a fixed last token)."""
    kernel: Kernel = field(default_factory=Kernel)
    """The metric of these units, and the kernel's shape."""
    gains: Float[Tensor, " d"] | None = None
    """What (z - mean) / scale is multiplied with, along coordinates or (whitened) principal directions; None: 1."""

    @property
    def width(self) -> int:
        """Coordinates D."""
        return len(self.mean)

    def cpu(self) -> SiteStatistics:
        """The same with its tensors on the CPU."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: t.cpu() for name, t in tensors.items() if isinstance(t, torch.Tensor)})

    @property
    def top_share(self) -> float:
        """Share of the variance along the first principal direction."""
        return float(self.eigenvalues[0] / self.eigenvalues.sum().clamp(min=1e-30))

    def standardise(self, z: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Activations in standardised units."""
        u = (z - self.mean.to(z)) / self.scale
        if self.kernel.metric == "cosine":
            return u / u.norm(dim=-1, keepdim=True).clamp(min=1e-30) * math.sqrt(self.width)
        return self._stretched(u, self.gains)

    def restore(self, u: Float[Tensor, "*n d"], like: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """The activation of given standardised units; a direction gets the length of `like` (about the mean)."""
        mean = self.mean.to(u)
        if self.kernel.metric == "cosine":
            return mean + u / math.sqrt(self.width) * (like.to(u) - mean).norm(dim=-1, keepdim=True)
        return mean + self.scale * self._stretched(u, None if self.gains is None else 1 / self.gains)

    def _stretched(self, u: Float[Tensor, "*n d"], gains: Float[Tensor, " d"] | None) -> Float[Tensor, "*n d"]:
        if gains is None:
            return u
        if self.kernel.metric == "per_coordinate":
            return u * gains.to(u)
        axes = self.eigenvectors.to(u)
        return ((u @ axes) * gains.to(u)) @ axes.T

    def distance(self, z: Float[Tensor, "*n d"], centre: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
        """d between activations, computed in double precision."""
        return distance(self.standardise(z).double(), self.standardise(centre).double())

    def channel_bits_bound(self, bandwidth: float) -> float:
        """Bits that an activation seen through the kernel's noise can carry at most; see :meth:`Kernel.bits_bound`."""
        return 0.0 if self.is_constant else self.kernel.bits_bound(self.eigenvalues, bandwidth)


def site_statistics(
    activations: Float[Tensor, "n d"], weights: Float[Tensor, " n"] | None = None, *, kernel: Kernel | None = None
) -> SiteStatistics:
    """Moments of activations from P(X): of a sample, or of all inputs with their probabilities as `weights`.

    >>> s = site_statistics(torch.tensor([[0.0, 2.0], [2.0, 2.0]]))
    >>> s.mean.tolist(), round(s.scale, 3), s.eigenvalues.tolist()
    ([1.0, 2.0], 0.707, [2.0, 0.0])
    """
    kernel = kernel or Kernel()
    if activations.ndim != 2 or len(activations) < (2 if weights is None else 1):
        raise InvalidArgument(f"activations of shape {tuple(activations.shape)}", hint="needs [n, d] with n >= 2")
    if kernel.metric == "cosine" and activations.shape[1] < 2:
        raise InvalidArgument("a site of one coordinate has no directions", hint="metric='scaled'")
    if not bool(activations.isfinite().all()):
        raise InvalidArgument("activations are not finite", hint="run the target in float32 or bfloat16")
    wide = {"dtype": torch.float64, "device": activations.device}
    p = torch.ones(len(activations), **wide) if weights is None else weights.to(**wide)
    blocks = list(zip(activations.split(_ROWS), (p / p.sum()).split(_ROWS), strict=True))
    mean = sum(share @ z.double() for z, share in blocks)
    variances = sum(share @ (z.double() - mean).square() for z, share in blocks)
    variance, size = float(variances.mean()), float(sum(share @ z.double().square() for z, share in blocks).mean())
    constant = not variance > FLAT**2 * size
    scale = 1.0 if constant else math.sqrt(variance)
    gains = _gains(variances / scale**2) if kernel.metric == "per_coordinate" and not constant else None
    second = torch.zeros(len(mean), len(mean), **wide)
    for z, share in blocks:
        u = (z.double() - mean) / scale
        if gains is not None:
            u = u * gains
        elif kernel.metric == "cosine":
            u = u / u.norm(dim=1, keepdim=True).clamp(min=1e-30) * math.sqrt(u.shape[1])
        second += u.T @ (u * share[:, None])
    eigenvalues, eigenvectors = torch.linalg.eigh(second)
    if kernel.metric == "whitened" and not constant:
        gains = _gains(eigenvalues.clamp(min=0))  # grows as the variance falls, and so keeps the order
        eigenvalues = eigenvalues * gains.square()
        gains = gains.flip(0)
    return SiteStatistics(
        mean.float(), scale, eigenvalues.flip(0).clamp(min=0).float(), eigenvectors.flip(1).float(), constant,
        kernel, None if gains is None else gains.float(),
    )  # fmt: skip


def _gains(variances: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """1 / spread of each axis, variances (of mean 1) drawn toward their mean; the mean variance stays 1."""
    gains = ((1 - SHRINKAGE) * variances + SHRINKAGE).rsqrt()
    return gains / (variances * gains.square()).mean().sqrt()


def distance(u: Float[Tensor, "*n d"], centre: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
    """d = |u - centre| / sqrt(D).

    >>> distance(torch.tensor([3.0, 4.0]), torch.zeros(2))
    tensor(3.5355)
    """
    return (u - centre).norm(dim=-1) / math.sqrt(u.shape[-1])


def check_bandwidth(bandwidth: float, allowed: tuple[float, float] = BANDWIDTHS) -> float:
    """The bandwidth as a float; raises `InvalidArgument` where it is not positive or outside what was trained."""
    try:
        value = float(bandwidth)
    except (TypeError, ValueError):
        value = math.nan
    if not value > 0 or not math.isfinite(value):
        raise InvalidArgument(f"bandwidth={bandwidth!r} must be a number > 0", hint="0.1 is the usual choice")
    low, high = allowed
    if not low * (1 - _ROUNDING) <= value <= high * (1 + _ROUNDING):
        raise InvalidArgument(
            f"bandwidth={value:g} is outside the range this generator was trained at", hint=f"{low:g} to {high:g}"
        )
    return value
