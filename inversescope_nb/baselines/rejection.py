"""Rejection sampling: draws from P(X), each kept with the probability that the kernel gives it.

What is kept are exact and independent draws from the posterior; it takes 2^bits passes of the target for each.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._arguments import sample_count, seed_number, whole_number
from .._progress import Progress, reported
from .._statistics import wilson
from ..banks import PIECE, draw_bank
from .searched import Pick, Searched, moments

if TYPE_CHECKING:
    from ..kernels import Kernel, SiteStatistics
    from ..models import LanguageModel
    from ..prompts import Prompt, PromptDistribution
    from ..sites import Site

BANK = 2000
"""Draws that moments are measured on where none are given; they are searched too."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Rejection(Searched):
    """Exact draws from the posterior, as many as there was time for; made by :func:`rejection`."""

    def _reason(self) -> str:
        if not self.samples:
            return f"none of {self.bank_size} inputs drawn from P(X) was kept"
        return f"{self.n} exact draws from the posterior, kept of {self.bank_size} inputs drawn from P(X)"


def rejection(
    lm: LanguageModel,
    prompts: PromptDistribution,
    target: str | Prompt | Sequence[int],
    *,
    site: str | Site,
    position: int = -1,
    bandwidth: float = 0.1,
    n: int = 64,
    passes: int = 20_000,
    kernel: Kernel | None = None,
    statistics: SiteStatistics | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> Rejection:
    """Up to `n` exact draws from the posterior, from at most `passes` draws of P(X).

    All have the same weight. :attr:`bits` are those of the share that was kept; where nothing was, they are the
    least that this many misses allow (the 95 % end of Wilson's interval), and their standard error is NaN.
    Other arguments as of :func:`inversescope_nb.baselines.neighbours`.

    >>> import inversescope_nb as isn
    >>> lm, task = isn.load_model(), isn.tasks.addition()
    >>> found = isn.baselines.rejection(lm, task.prompts, "4 3 7 + 5 6 8 =", site="resid_post.3", bandwidth=1.0, n=8)
    >>> len(found), found.weight.tolist() == [1 / 8] * 8
    (8, True)
    """
    pick = Pick.of(lm, prompts, target, site, position, bandwidth, kernel)
    n, seed = sample_count(n), seed_number(seed)
    passes = whole_number("passes", passes, least=2, hint="20000 is the usual choice")
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    units, tried = statistics, 0
    inputs: list[list[int]] = []
    parts: list[torch.Tensor] = []
    with reported(on_progress, progress, "rejection") as report:
        while tried < passes and len(inputs) < n:
            size = min(BANK if units is None else 4 * PIECE, passes - tried)
            drawn = draw_bank(lm, prompts, size, seed=rng.randrange(2**31), cancel=cancel)
            z = drawn.activations(pick.site.name, cancel=cancel)
            units = moments(z, units, kernel)
            log_k = units.kernel.log(units.distance(z, pick.z_hat), pick.bandwidth).numpy()
            kept = np.flatnonzero(np.log(numbers.random(len(z))) <= log_k)
            stop = kept[n - len(inputs) - 1] + 1 if len(kept) >= n - len(inputs) else len(z)
            kept = kept[kept < stop]
            tried += int(stop)
            inputs += [drawn.inputs[i] for i in kept]
            parts.append(z[torch.from_numpy(kept)])
            if report is not None:
                report(tried, passes, f"{len(inputs)} of {n} kept")
    found = len(inputs)
    share = found / tried
    least = float(wilson(0.0, tried)[1])
    return Rejection.measured(
        pick, inputs, torch.cat(parts), units, kept=range(found), bank_size=tried,
        weight=np.full(found, 1 / max(found, 1)), ess=float(found), khat=-math.inf if found else math.nan,
        bits=-math.log2(share or least),
        bits_stderr=math.sqrt((1 - share) / found) / math.log(2) if found else math.nan,
    )  # fmt: skip
