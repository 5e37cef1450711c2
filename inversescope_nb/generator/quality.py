"""How good a generator is, site by site: what its run card says.

For every site and some bandwidths, inputs of P(X) drawn with a seed that training never used are inverted
(at temperature 1, every sample re-run), and the medians over them are kept: ESS/n, resolution bits, share of
samples that P(X) cannot make, share of copies, and how often each verdict was given.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..inversion import invert

if TYPE_CHECKING:
    from ..models import LanguageModel
    from ..prompts import PromptDistribution
    from .generator import Generator


BANDWIDTHS = (0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Bandwidths that a site's usual one is chosen from."""
OWN_SHARE = 0.05
"""What the picked input itself should have of the posterior at most."""
DRAWS = 32
"""Samples that the share is estimated from."""
SMALL = 0.01
"""A P(X) is small if a typical input has more of it than this."""


def usual_bandwidths(
    lm: LanguageModel,
    generator: Generator,
    inputs: Sequence[Sequence[int]],
    cancel: threading.Event | None = None,
) -> dict[str, float]:
    """For each site, 0.1 or the smallest bandwidth at which an input itself has at most 5 % of its posterior.

    The share is P(x_hat) / Z with Z from `DRAWS` samples, the median over `inputs`; where the generator misses what is
    near, Z is found too small and a wider bandwidth chosen. Bandwidths within the trained range; sites where none is
    wide enough get the widest. Where P(X) is so small that an input has 1 % of it before anything is known, all keep
    0.1.
    """
    low, high = generator.config.bandwidths
    allowed = [e for e in BANDWIDTHS if low <= e <= high] or [min(max(BANDWIDTHS[0], low), high)]
    prior = generator.prompts.log_probs(inputs, lm)
    if prior is None:
        prior = [float(x.sum()) for x in generator.prior_log_probs(inputs)]
    if np.exp(np.median(prior)) > SMALL:
        return dict.fromkeys(generator.sites, allowed[0])
    usual: dict[str, float] = {}
    for site in generator.sites:

        def wide_enough(bandwidth: float, site: str = site) -> bool:
            found = [
                invert(lm, generator, x, site=site, bandwidth=bandwidth, n=DRAWS, bank=0, cancel=cancel, progress=False)
                for x in inputs
            ]
            shares = [1.0 if np.isnan(v.picked_share) else v.picked_share for v in found]
            return bool(np.median(shares) <= OWN_SHARE)

        if wide_enough(allowed[0]):  # as most are
            usual[site] = allowed[0]
        else:  # the share falls as the bandwidth grows
            usual[site] = allowed[min(bisect.bisect_left(allowed, True, lo=1, key=wide_enough), len(allowed) - 1)]
    return usual


def measure_quality(
    lm: LanguageModel,
    generator: Generator,
    *,
    sites: Sequence[str] | None = None,
    bandwidths: Sequence[float] = (0.1, 0.3),
    n_picks: int = 16,
    n_samples: int = 64,
    seed: int = 987_654,
    picks: PromptDistribution | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
    cancel: threading.Event | None = None,
) -> list[dict[str, Any]]:
    """One row a site and bandwidth: medians over `n_picks` inputs, drawn with another seed than training's.

    They are drawn from `picks` (the same prompts cut at slots, say), by default from the generator's own P(X), which
    is the prior of every inversion in either case.

    Returns:
        rows with site, bandwidth, ess_ratio, bits (resolution, median; None where most inversions have no sample of
        any weight), off_support, copies, khat, verdicts.
    """
    picked = (generator.prompts if picks is None else picks).draw(n_picks, lm, seed=seed)
    sites = list(generator.sites if sites is None else sites)
    rows: list[dict[str, Any]] = []
    cells = [(s, e) for s in sites for e in bandwidths]
    for i, (site, bandwidth) in enumerate(cells):
        found = [
            invert(
                lm, generator, x, site=site, bandwidth=bandwidth, n=n_samples, seed=seed, cancel=cancel, progress=False
            )
            for x in picked
        ]
        median = {
            "ess_ratio": [v.ess / v.n for v in found],
            "bits": [v.bits for v in found],
            "off_support": [v.off_support_share for v in found],
            "copies": [v.copy_share for v in found],
            "khat": [v.khat for v in found],
        }
        row = {name: _median(values) for name, values in median.items()}
        verdicts = dict(Counter(str(v.verdict) for v in found).most_common())
        rows.append({"site": site, "bandwidth": bandwidth, **row, "verdicts": verdicts})
        if on_progress is not None:
            on_progress(i + 1, len(cells), site)
    return rows


def _median(values: Sequence[float]) -> float | None:
    """The median of what is known, infinite values among them; None where it is not finite, or nothing is known."""
    known = [v for v in values if not math.isnan(v)]
    median = float(np.median(known)) if known else math.nan
    return round(median, 4) if math.isfinite(median) else None
