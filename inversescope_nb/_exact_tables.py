"""All inputs of a P(X) with their activations at one site, and the exact posteriors that follow from them.

Made by :mod:`inversescope_nb.exact`. Axis names: n (all inputs of P(X)), d (site width), m (points).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ._arguments import check_generator, check_statistics, seed_number, whole_number
from .errors import InvalidArgument
from .features import Feature, InputText, as_features
from .kernels import SiteStatistics, check_bandwidth, distance
from .picking import cut
from .sites import Site

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .generator import Generator
    from .models import LanguageModel
    from .prompts import Prompt

ROWS = 65_536
"""Rows whose distances are computed at a time."""
_DISTANCES = 1 << 25  # distances held at a time: a quarter of a gigabyte


@dataclass(frozen=True, eq=False)
class ActivationTable:
    """Every input of a P(X) with its activation at one site; one pass serves any number of picks."""

    lm: LanguageModel
    """The target."""
    site: Site
    """Where the activations were read."""
    inputs: list[list[int]]
    """All inputs, as token ids."""
    log_prior: Float[np.ndarray, " n"]
    """log P(x), nats."""
    u: Float[Tensor, "n d"]
    """Standardised activations."""
    statistics: SiteStatistics
    """Moments that they were standardised with."""
    _codes: dict[Feature, np.ndarray] = field(default_factory=dict, repr=False)

    def posterior(
        self, target: str | Prompt | Sequence[int], bandwidth: float, *, position: int = -1
    ) -> ExactPosterior:
        """The posterior of one picked input."""
        ids, _ = cut(self.lm, target, position)
        z = self.lm.activations([ids], [self.site])[self.site.name]
        return self.posterior_of(self.statistics.standardise(z)[0], bandwidth, picked=ids)

    def posterior_of(
        self, centre: Float[Tensor, " d"], bandwidth: float, *, picked: list[int] | None = None
    ) -> ExactPosterior:
        """The posterior around any point in standardised units (a noised activation, say)."""
        bandwidth = check_bandwidth(bandwidth, (1e-6, 1e6))
        there = centre.to(self._device)
        blocks = [distance(block.to(self._device), there).cpu() for block in self.u.split(ROWS)]
        return self._posterior(torch.cat(blocks).double().numpy(), centre, bandwidth, picked)

    @property
    def _device(self) -> torch.device:
        """Where distances are computed: where the target runs, but for devices that cannot count in float64."""
        device = self.lm.device
        return torch.device("cpu") if device.type == "mps" else device

    def posteriors(self, centres: Float[Tensor, "m d"], bandwidth: float) -> Iterator[ExactPosterior]:
        """The posteriors around many points, one after the other, at a fraction of their cost one by one.

        Runs where the target does; of all distances only those of a few points are in memory at a time.
        """
        bandwidth = check_bandwidth(bandwidth, (1e-6, 1e6))
        device, width = self._device, self.u.shape[1]
        for some in centres.split(max(1, _DISTANCES // len(self.u))):
            wanted = some.to(device, torch.float64)
            squares = torch.empty(len(some), len(self.u), dtype=torch.float64)
            for at in range(0, len(self.u), ROWS):
                block = self.u[at : at + ROWS].to(device, torch.float64)
                norms = wanted.square().sum(1)[:, None] + block.square().sum(1)
                squares[:, at : at + len(block)] = (norms - 2 * wanted @ block.T).cpu()
            for centre, d2 in zip(some, squares, strict=True):
                yield self._posterior((d2.clamp(min=0) / width).sqrt().numpy(), centre, bandwidth, None)

    def _posterior(
        self, d: Float[np.ndarray, " n"], centre: Float[Tensor, " d"], bandwidth: float, picked: list[int] | None
    ) -> ExactPosterior:
        log_joint = self.log_prior + self.statistics.kernel.log(d, bandwidth)
        log_z = float(np.logaddexp.reduce(log_joint))
        if not math.isfinite(log_z):
            raise InvalidArgument(
                f"no input of P(X) lies within {bandwidth:g} of this point", hint="a wider ball, or shape='gaussian'"
            )
        return ExactPosterior(self, picked, bandwidth, d, log_joint - log_z, -log_z / math.log(2), centre)

    def in_units(self, statistics: SiteStatistics) -> ActivationTable:
        """The same inputs in the units of other moments (a generator's own), without running the target again."""
        check_statistics(statistics)
        if self.statistics.kernel.metric == "cosine":
            raise InvalidArgument("directions have lost their lengths", hint="activation_table(..., statistics=...)")
        u = torch.empty_like(self.u)
        for at in range(0, len(u), ROWS):
            block = self.u[at : at + ROWS]
            u[at : at + ROWS] = statistics.standardise(self.statistics.restore(block, block))
        return replace(self, u=u, statistics=statistics)

    def draw(self, n: int, *, seed: int) -> Int[np.ndarray, " n"]:
        """Rows of `n` inputs drawn from P(X)."""
        p = np.exp(self.log_prior)
        return np.random.default_rng(seed_number(seed)).choice(len(p), n, p=p / p.sum())

    def noised(self, rows: Int[np.ndarray, " n"], bandwidth: float, *, amount: float = 1.0, seed: int = 0) -> Tensor:
        """Standardised activations [n, d] of some inputs, seen through `amount` times the kernel's noise."""
        u = self.u[torch.from_numpy(np.asarray(rows))]
        if amount == 0:
            return u
        rng = torch.Generator().manual_seed(seed)
        return self.statistics.kernel.noise(u, u.new_full((len(u), 1), amount * bandwidth), rng)

    def channel_bits(self, bandwidth: float, *, draws: int = 256, seed: int = 0) -> tuple[float, float]:
        """Mutual information of an input and its noised activation v, in bits, and its standard error.

        I = E log2 P(x | v) / P(x), exact but for the draws of x and of the noise.
        """
        draws = whole_number("draws", draws, least=2, hint="256 is the usual choice")
        rows = self.draw(draws, seed=seed)
        v = self.noised(rows, bandwidth, seed=seed)
        found = (p.log_p[row] for row, p in zip(rows, self.posteriors(v, bandwidth), strict=True))
        bits = (np.fromiter(found, np.float64, draws) - self.log_prior[rows]) / math.log(2)
        return float(bits.mean()), float(bits.std(ddof=1) / math.sqrt(draws))

    def label(self, features: Sequence[Feature]) -> None:
        """Finds the labels of several features that :meth:`codes` gives, reading every input only once."""
        wanted = [f for f in as_features(features) if f not in self._codes]
        known: list[dict[Hashable, int]] = [{} for _ in wanted]
        codes = np.full((len(wanted), len(self.inputs)), -1)
        for row, ids in enumerate(self.inputs if wanted else ()):
            text = InputText.from_ids(ids, self.lm)
            for i, f in enumerate(wanted):
                if (label := f(text)) is not None:
                    codes[i, row] = known[i].setdefault(label, len(known[i]))
        self._codes.update(zip(wanted, codes, strict=True))

    def codes(self, feature: Feature) -> Int[np.ndarray, " n"]:
        """A code for the label of every input, negative where it is undefined; found once a feature."""
        (f,) = as_features(feature)
        self.label([f])
        return self._codes[f]


@dataclass(frozen=True, eq=False)
class ExactPosterior:
    """P(x; z_hat, eps) over all inputs; made by :func:`exact_posterior`."""

    table: ActivationTable
    """All inputs."""
    picked: list[int] | None
    """The picked input's token ids."""
    bandwidth: float
    """Kernel width eps."""
    d: Float[np.ndarray, " n"]
    """Distances, standardised units per coordinate."""
    log_p: Float[np.ndarray, " n"]
    """log of the posterior, nats."""
    bits: float
    """Resolution bits: -log2 of the kernel's mean over P(X)."""
    centre: Float[Tensor, " d"]
    """Where the kernel stands, standardised units."""

    @property
    def p(self) -> Float[np.ndarray, " n"]:
        """Posterior probabilities; they sum to 1."""
        return np.exp(self.log_p)

    @property
    def entropy(self) -> float:
        """Entropy of the posterior, nats."""
        return float(-(self.p * np.where(self.p > 0, self.log_p, 0.0)).sum())

    def sample(self, n: int, *, seed: int) -> list[list[int]]:
        """`n` independent draws."""
        n = whole_number("n", n, least=0, hint="as many as you like")
        return [self.table.inputs[i] for i in self._rows(n, seed_number(seed))]

    def _rows(self, n: int, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).choice(len(self.d), n, p=self.p / self.p.sum())

    def fcr(self, feature: Feature, *, copies: bool = True) -> float | None:
        """Exact feature consistency rate of the picked input; None where it is undefined.

        That is where the feature is undefined for the pick, or where nothing but copies of it has any weight.

        Args:
            feature: the hypothesis.
            copies: whether the picked input itself counts among the posterior's inputs.
        """
        if self.picked is None:
            return None
        (f,) = as_features(feature)
        label = f(InputText.from_ids(self.picked, self.table.lm))
        if label is None:
            return None
        p = self.p.copy()
        if not copies:
            p[[x == self.picked for x in self.table.inputs]] = 0.0
        rows = np.flatnonzero(p > 1e-12 * p.max())
        if not p.any():
            return None
        same = [f(InputText.from_ids(self.table.inputs[i], self.table.lm)) == label for i in rows]
        return float(p[rows][same].sum() / p[rows].sum())

    def gap(self, generator: Generator, *, draws: int = 512, seed: int = 0) -> tuple[float, float]:
        """KL(posterior || generator) in nats, and its standard error, from draws of the posterior.

        Raises:
            InvalidArgument: fewer than 2 draws, or the posterior was standardised by other moments than the
                generator's, in which the same bandwidth means another kernel.
        """
        site = self.table.site.name
        check_generator(generator)
        own, used = generator.statistics(site), self.table.statistics
        draws = whole_number("draws", draws, least=2, hint="512 is the usual choice")
        if abs(own.scale / used.scale - 1) > 1e-4 or own.kernel != used.kernel:
            raise InvalidArgument(
                f"the posterior is standardised by scale {used.scale:g} for {used.kernel}, the generator by "
                f"{own.scale:g} for {own.kernel}",
                hint="give statistics=generator.statistics(site) to exact_posterior or activation_table",
            )
        rows = self._rows(draws, seed)
        condition = generator.condition_on(site, self.centre[None], self.bandwidth)
        log_q = generator.log_probs([self.table.inputs[i] for i in rows], condition)
        difference = self.log_p[rows] - np.array([float(x.sum()) for x in log_q])
        return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(draws))
