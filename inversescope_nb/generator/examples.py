"""What a generator learns from: inputs, each with a site, a bandwidth, a noised activation and whether it is seen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from .data import last_activations

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..models import LanguageModel
    from .generator import Generator

GROUP = 64
"""Inputs, at least, whose activations are read together, in two batches of like length; on a GPU 32 times as many."""


class Examples:
    """Makes the examples of a generator.

    Args:
        lm: the target, which is run on every input.
        generator: whose sites, units and kernel they have.
        bandwidths: the smallest and the largest; each example's is log-uniform between them.
        own: which of the inputs this process makes examples of.
    """

    def __init__(
        self, lm: LanguageModel, generator: Generator, bandwidths: tuple[float, float], own: slice = slice(None)
    ) -> None:
        self.lm, self.kernel, self.index = lm, generator.kernel, generator.encoder.index
        self.bandwidths, self.own = bandwidths, own
        # on the CPU, where activations arrive
        self.statistics = {site: generator.statistics(site).cpu() for site in generator.sites}

    def __call__(
        self, inputs: list[list[int]], rng: torch.Generator, drop: float, names: Sequence[str]
    ) -> list[dict[str, Any]]:
        """This process's share of inputs: each with one of the sites, a bandwidth, a noised activation and whether it
        sees it. Random numbers are drawn for all of them, so that they do not depend on how many processes there are.
        """
        n = len(inputs)
        sites = [names[i] for i in torch.randint(len(names), (n,), generator=rng).tolist()]
        low, high = self.bandwidths
        eps = torch.exp(torch.empty(n).uniform_(math.log(low), math.log(high), generator=rng))
        keep = (torch.rand(n, generator=rng) >= drop).tolist()
        units = dict(zip(range(n)[self.own], self._units(inputs[self.own], sites[self.own]), strict=True))
        widths, noised = [self.statistics[site].width for site in sites], {}
        for width in sorted(set(widths)):
            rows = [i for i in range(n) if widths[i] == width]
            u = torch.stack([units.get(i, torch.ones(width)) for i in rows])
            noised |= dict(zip(rows, self.kernel.noise(u, eps[rows, None], rng), strict=True))
        bandwidths = eps.tolist()
        return [
            {"ids": inputs[i], "site": self.index[sites[i]], "u": noised[i], "eps": bandwidths[i], "keep": keep[i]}
            for i in range(n)[self.own]
        ]

    def _units(self, inputs: list[list[int]], sites: list[str]) -> list[Float[Tensor, " d"]]:
        """The standardised activation of each input at its own site.

        Inputs are run in groups by the depth of their sites: a forward pass ends at the deepest that it has to reach.
        """
        found: list[Any] = [None] * len(inputs)
        order = sorted(range(len(inputs)), key=lambda i: self.lm.site(sites[i]).layer)
        size = GROUP if self.lm.device.type == "cpu" else 32 * GROUP
        n_groups = max(1, len(order) // size)
        edges = [len(order) * k // n_groups for k in range(n_groups + 1)]
        for group in (order[a:b] for a, b in itertools.pairwise(edges)):
            names = list(dict.fromkeys(sites[i] for i in group))
            z = last_activations(self.lm, [inputs[i] for i in group], names, batch_size=size // 2)
            for name in names:
                rows = [row for row, i in enumerate(group) if sites[i] == name]
                for row, u in zip(rows, self.statistics[name].standardise(z[name][rows]), strict=True):
                    found[group[row]] = u
        return found
