"""How far a generator is from the exact posterior while it trains, where its P(X) is small enough to list.

KL(P(x; v, eps) || q(x | v)) in nats for v = u_hat + a eps sqrt(D) n, at a = 0 (the clean activation, which goes in
when it is used), 1/2 and 1 (what it is trained on): a fault of the conditioning shows as a rise toward a = 0.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import NotEnumerable
from ..exact import ActivationTable, activation_table

if TYPE_CHECKING:
    from ..models import LanguageModel
    from ..prompts import PromptDistribution
    from .generator import Generator

AMOUNTS = {"gap_clean": 0.0, "gap_half": 0.5, "gap_noised": 1.0}
"""Names of the curves, and how much of the kernel's noise each sees."""
BANDWIDTH = 0.1
SITES = 3
PICKS = 16
DRAWS = 8


class GapProbe:
    """Exact posteriors of a few inputs at a few sites, for a generator to be held against again and again.

    Args:
        lm: the target.
        generator: whose sites and moments are used; the first, the middle and the last site that vary.
        prompts: P(X).
        limit: inputs that P(X) may have; with more, or where it cannot be listed, nothing is measured.
        seed: of picks and noise.
    """

    def __init__(
        self,
        lm: LanguageModel,
        generator: Generator,
        prompts: PromptDistribution,
        *,
        limit: int,
        seed: int,
        cancel: threading.Event | None = None,
    ) -> None:
        low, high = generator.config.bandwidths
        self.bandwidth, self.seed = min(max(BANDWIDTH, low), high), seed
        names = [site for site in generator.sites if not generator.statistics(site).is_constant]
        chosen = dict.fromkeys(names[round(i * (len(names) - 1) / (SITES - 1))] for i in range(SITES) if names)
        self.tables: list[ActivationTable] = []
        try:
            for site in chosen if limit else ():
                moments = generator.statistics(site)
                table = activation_table(
                    lm, prompts, site, statistics=moments, limit=limit, cancel=cancel, progress=False
                )
                self.tables.append(table)
        except NotEnumerable:
            self.tables = []
        if self.tables:
            rng = np.random.default_rng(seed)
            p = np.exp(self.tables[0].log_prior)
            self.rows = rng.choice(len(p), PICKS, p=p / p.sum()).tolist()

    def measure(self, generator: Generator) -> dict[str, float]:
        """The mean gap over sites and picks at each amount of noise, nats; nothing where P(X) is too large."""
        found: dict[str, list[float]] = {name: [] for name in AMOUNTS if self.tables}
        for table in self.tables:
            for row in self.rows:
                for name, amount in AMOUNTS.items():
                    u = table.u[row : row + 1]
                    if amount:
                        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + row)
                        u = table.statistics.kernel.noise(u, u.new_full((1, 1), amount * self.bandwidth), rng)
                    posterior = table.posterior_of(u[0], self.bandwidth)
                    found[name].append(posterior.gap(generator, draws=DRAWS, seed=self.seed + row)[0])
        return {name: float(np.mean(gaps)) for name, gaps in found.items()}
