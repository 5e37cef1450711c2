"""From a (noised) activation to condition tokens.

1. A best linear estimate, in closed form at every bandwidth. A norm layer here would turn the longer noised vector into
   a change of scale, and noise outside the data's directions would drown wide sites, so norms come only later.
   *Of common coordinates* (where there are several sites): the first principal components y of the activations of all
   sites taken together (:mod:`~inversescope_nb.generator.common`), y = cov(y, u) (cov(u) + eps^2 D)^-1 u_hat. So all
   sites, whatever their basis and width, speak of the input in the same terms, and what is learned of one serves all.
   *Of the site's own u*: the Wiener filter U diag(lambda / (lambda + eps^2 D)) U^T.
2. One linear map of the common coordinates; or one a site of its own u, and one more for the residual stream and what
   is added to it, which share a basis. Embeddings of the site and of log eps are added.
3. A residual MLP shared by all sites, read out as `n_tokens` condition tokens.

Axis names: n (examples), d (site width), y (common coordinates), c (condition width), token (condition tokens).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..kernels import SiteStatistics

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


class SiteEncoder(nn.Module):
    """Maps activations of any of its sites, at any bandwidth, to condition tokens.

    Args:
        statistics: site name -> moments on P(X); fixes the sites, their order and widths.
        width: condition width c.
        n_tokens: condition tokens an activation becomes.
        n_blocks: residual MLP blocks.
        expansion: their hidden width in units of `width`.
        n_common: common coordinates that activations are turned into; 0: none, each site has a map of its own. Their
            covariances with each site's are buffers, zero until they are set or loaded.
    """

    def __init__(
        self,
        statistics: Mapping[str, SiteStatistics],
        *,
        width: int,
        n_tokens: int,
        n_blocks: int,
        expansion: int,
        n_common: int = 0,
    ) -> None:
        super().__init__()
        self.sites = tuple(statistics)
        self.index = {name: i for i, name in enumerate(self.sites)}
        self.n_tokens, self.n_common = n_tokens, n_common
        self.kernel = next(iter(statistics.values())).kernel
        for i, s in enumerate(statistics.values()):
            self.register_buffer(f"mean_{i}", s.mean.clone())
            self.register_buffer(f"eigenvalues_{i}", s.eigenvalues.clone())
            self.register_buffer(f"eigenvectors_{i}", s.eigenvectors.clone())
            if s.gains is not None:
                self.register_buffer(f"gains_{i}", s.gains.clone())
        self.register_buffer("scales", torch.tensor([s.scale for s in statistics.values()]))
        self.register_buffer("constant", torch.tensor([s.is_constant for s in statistics.values()]))
        widths = [s.width for s in statistics.values()]
        if n_common:
            self.from_common = nn.Linear(n_common, width, bias=False)
            for i, w in enumerate(widths):
                self.register_buffer(f"covariances_{i}", torch.zeros(n_common, w))
        else:
            self._make_own_maps(widths, width)
        self.site = nn.Embedding(len(self.sites), width)
        self.bandwidth = nn.Sequential(nn.Linear(5, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
            )
            for _ in range(n_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, n_tokens * width)
        nn.init.normal_(self.site.weight, std=0.5)

    def _make_own_maps(self, widths: list[int], width: int) -> None:
        residual = ["hook_z" not in name for name in self.sites]  # all but what heads hold before their output map
        # where there is none, the widest: they need not share anything, and have their own maps as well
        self.shares = residual if any(residual) else [w == max(widths) for w in widths]
        self.common = nn.Linear(widths[self.shares.index(True)], width, bias=False)
        self.first = nn.ModuleList(nn.Linear(w, width, bias=False) for w in widths)

    def set_common(self, covariances: Mapping[str, Float[Tensor, "y d"]]) -> None:
        """Sets each site's covariances of the common coordinates with its principal ones."""
        for name, found in covariances.items():
            getattr(self, f"covariances_{self.index[name]}").copy_(found)

    @torch.no_grad()
    def fold(self) -> None:
        """Multiplies what was learned of the common coordinates into the covariances, where those are the larger.

        The same function of activations, in fewer numbers; to be called when training is over.
        """
        learned = self.from_common.weight if self.n_common else None
        if learned is None or self.n_common <= len(learned):
            return
        self.n_common = len(learned)
        for i in range(len(self.sites)):
            setattr(self, f"covariances_{i}", learned @ getattr(self, f"covariances_{i}"))
        size = {"in_features": self.n_common, "out_features": self.n_common, "bias": False}
        # the usual first weights are not drawn: the caller's random state stays as it is
        self.from_common = nn.utils.skip_init(nn.Linear, **size, device=learned.device, dtype=learned.dtype)
        nn.init.eye_(self.from_common.weight)

    def statistics(self, site: str) -> SiteStatistics:
        """The moments of one of its sites."""
        i = self.index[site]
        values, vectors = getattr(self, f"eigenvalues_{i}"), getattr(self, f"eigenvectors_{i}")
        return SiteStatistics(
            getattr(self, f"mean_{i}"), float(self.scales[i]), values, vectors, bool(self.constant[i]),
            self.kernel, getattr(self, f"gains_{i}", None),
        )  # fmt: skip

    def forward(
        self,
        activations: Sequence[tuple[int, Float[Tensor, "k d"]]],
        bandwidths: Float[Tensor, " n"],
    ) -> Float[Tensor, "n token c"]:
        """Condition tokens of a batch.

        Args:
            activations: (index of the site, its examples in standardised units), a group a site; the
                groups' examples, one group after the other, are the batch.
            bandwidths: eps of each example, in the same order.
        """
        parts, sites, at = [], [], 0
        for i, u in activations:
            parts.append(self._first(i, u, bandwidths[at : at + len(u), None]))
            sites += [i] * len(u)
            at += len(u)
        index: Int[Tensor, " n"] = torch.tensor(sites, device=bandwidths.device)
        h = torch.cat(parts) + self.site(index) + self.bandwidth(_bandwidth_features(bandwidths))
        for block in self.blocks:
            h = h + block(h)
        return self.out(self.norm(h)).unflatten(-1, (self.n_tokens, -1))

    def _first(self, i: int, u: Float[Tensor, "k d"], eps: Float[Tensor, "k 1"]) -> Float[Tensor, "k c"]:
        """The best linear estimate, and its map."""
        values, vectors = getattr(self, f"eigenvalues_{i}"), getattr(self, f"eigenvectors_{i}")
        coordinates = u @ vectors
        if self.n_common:
            slopes = self.kernel.slopes(values, eps)
            return self.from_common((coordinates * slopes) @ getattr(self, f"covariances_{i}").T)
        estimate = (coordinates * self.kernel.filter(values, eps)) @ vectors.T
        own = self.first[i](estimate)
        return own + self.common(estimate) if self.shares[i] else own


def _bandwidth_features(bandwidths: Float[Tensor, " n"]) -> Float[Tensor, "n 5"]:
    """Smooth features of log eps, of order 1 over the trained range."""
    t = (torch.log10(bandwidths) + 0.85) / 0.85
    return torch.stack([t, *(f(math.pi * k * t) for k in (0.5, 1.0) for f in (torch.sin, torch.cos))], -1)
