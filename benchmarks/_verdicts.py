"""What is true of an inversion, by the exact posterior, beside what its verdict was made from.

Axis names: n (samples, draws or all inputs of P(X)), m (picked inputs), f (features).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

import inversescope_nb as isn
from inversescope_nb._statistics import truncate
from inversescope_nb.exact import ActivationTable, ExactPosterior
from inversescope_nb.verdicts import STARVED

DRAWS = 512
"""Draws of each exact posterior that the generator's misses are measured on."""
SIGMAS, RATE_SLACK, BITS_SLACK = 3.0, 0.02, 0.3
"""An estimate is off beyond so many of its own standard errors and the slack (of bits: the larger of the two)."""
MISSED, RARE, LEAST, SHARE, MANY = 0.1, 0.3, 10, 0.1, 50
"""What the verdicts' words claim: shares of the posterior missed and starved; effective samples, alone and of n."""
NOTHING = 0.2
"""Bits that an activation of 'no information' may have at most."""


@dataclass(frozen=True, eq=False)
class Setting:
    """A generator of some quality, asked about some P(X) at one site."""

    target: str
    """Name of the target."""
    quality: str
    """How the generator was trained."""
    generator: isn.Generator
    """It."""
    table: ActivationTable
    """All inputs of the P(X) that is asked about, in the generator's units."""
    prompts: isn.PromptDistribution
    """That P(X)."""
    bandwidths: Sequence[float]
    """Widths of the kernel."""
    _index: dict[tuple[int, ...], int] = field(default_factory=dict, repr=False)

    @cached_property
    def codes(self) -> np.ndarray:
        """Labels [f, n] of all inputs: tokens at three places, and two that nothing can know."""
        tokens = np.array(self.table.inputs, dtype=np.int64)  # the targets' inputs are all of one length
        longest = tokens.shape[1]
        mixed = (tokens * (7919 + 104_729 * np.arange(longest))).sum(1) % 1_000_003
        first = int(len(np.unique(tokens[:, 0])) == 1)
        places = [first, (longest + first) // 2 - 1, longest - 1 - int(len(np.unique(tokens[:, -1])) == 1)]
        return np.stack([*tokens.T[places], mixed % 3, mixed // 7 % 2])

    def row(self, ids: Sequence[int]) -> int:
        """The row of an input; -1 where P(X) cannot make it."""
        if not self._index:
            self._index.update({tuple(x): i for i, x in enumerate(self.table.inputs)})
        return self._index.get(tuple(ids), -1)

    def invert(self, row: int, bandwidth: float, n: int, seed: int) -> isn.Inversion:
        """One picked input's inversion, with a bank."""
        t = self.table
        return isn.invert(
            t.lm, self.generator, t.inputs[row], site=t.site, bandwidth=bandwidth, n=n, seed=seed,
            prior=self.prompts, progress=False,
        )  # fmt: skip


def without_bank(inversion: isn.Inversion) -> isn.Inversion:
    """The same inversion, as with ``bank=0``."""
    none = np.zeros(0)
    return replace(
        inversion, prior_d=none, bank_log_ratio=none, bank_marks=none.astype(int), bank_own=none.astype(bool)
    )


def truth(setting: Setting, row: int, posterior: ExactPosterior, rng: np.random.Generator) -> dict[str, float]:
    """What is true of one picked input and one generator, whatever was sampled."""
    p = posterior.p
    drawn, counts = np.unique(rng.choice(len(p), DRAWS, p=p / p.sum()), return_counts=True)
    condition = setting.generator.condition_on(setting.table.site.name, posterior.centre[None], posterior.bandwidth)
    inputs = [setting.table.inputs[i] for i in drawn]
    log_q = np.array([float(x.sum()) for x in setting.generator.log_probs(inputs, condition)])
    log_ratio = posterior.log_p[drawn] - log_q
    share = counts / DRAWS

    def held(ratio: float) -> float:
        return float(share[log_ratio > math.log(ratio)].sum())

    moved = float((p * np.where(p > 0, posterior.log_p - setting.table.log_prior, 0.0)).sum())
    found = {
        "exact_bits": posterior.bits,
        "moved_bits": moved / math.log(2),
        "starved": held(STARVED),
        "missed_64": held(64),
        "missed_256": held(256),
        "missed_1024": held(1024),
        "exact_ess": float(1 / (share * np.exp(np.minimum(log_ratio, 700))).sum()),
        "own_share": float(p[row]),
    }
    rates = [min(1.0, float(p[codes == codes[row]].sum())) for codes in setting.codes]  # rounding: never above 1
    return found | {f"rate_{i}": rate for i, rate in enumerate(rates)}


def measured(setting: Setting, row: int, inversion: isn.Inversion, true: dict[str, float]) -> dict[str, float | str]:
    """The figures of an inversion, and how far its estimates are off."""
    rows = np.array([setting.row(x) for x in inversion.samples])
    weight = np.where(rows >= 0, truncate(inversion.weight), 0.0)
    estimates = [float(weight[codes[rows] == codes[row]].sum()) for codes in setting.codes]
    exact = np.array([true[f"rate_{i}"] for i in range(len(estimates))])
    error = np.abs(np.array(estimates) - exact)
    allowed = SIGMAS * np.sqrt(exact * (1 - exact) / max(inversion.ess, 1e-9)) + RATE_SLACK
    bits_error = inversion.bits - true["exact_bits"]
    stderr = inversion.bits_stderr
    return {
        "n": inversion.n,
        "ess": inversion.ess,
        "khat": inversion.khat,
        "bits": inversion.bits,
        "bits_stderr": stderr,
        "picked_log_ratio": inversion.picked_log_weight - float(np.logaddexp.reduce(inversion.log_weight)),
        "copies": inversion.copy_share,
        "rates_off": int((error > allowed).sum()),
        "worst_rate": float(error.max()),
        "bits_error": bits_error,
        "off": bool((error > allowed).any() or not abs(bits_error) <= max(BITS_SLACK, SIGMAS * stderr)),
    }


def bank_figures(inversion: isn.Inversion) -> dict[str, float]:
    """What a bank says."""
    share = inversion.bank_share
    with np.errstate(over="ignore", invalid="ignore"):
        ess = float(share.sum() ** 2 / np.square(share).sum()) if share.any() else 0.0
    return {
        "bank_mass": float(share.sum()),
        "bank_ess": ess,
        "bank_missed": inversion.missed_share,
        "bank_starved": inversion.starved_share,
    }


def study(setting: Setting, *, picks: int, samples: Sequence[int], seed: int = 0) -> Iterator[dict]:
    """A row for every inversion: of each bandwidth, pick and number of samples, with a bank and without."""
    rng = np.random.default_rng(seed)
    for k, bandwidth in enumerate(setting.bandwidths):
        rows = setting.table.draw(picks, seed=seed + 7919 * k)
        centres = setting.table.noised(rows, bandwidth, amount=0.0)
        for i, (row, posterior) in enumerate(zip(rows, setting.table.posteriors(centres, bandwidth), strict=True)):
            true = truth(setting, int(row), posterior, rng)
            for n in samples:
                inversion = setting.invert(int(row), bandwidth, n, seed + 10_000 * k + i)
                common = {
                    "target": setting.target, "site": setting.table.site.name, "quality": setting.quality,
                    "bandwidth": bandwidth, "pick": i, **true, **measured(setting, int(row), inversion, true),
                }  # fmt: skip
                for bank, each in ((True, inversion), (False, without_bank(inversion))):
                    yield {**common, "bank": bank, "verdict": str(each.verdict), "reason": each.verdict_reason,
                           **bank_figures(each)}  # fmt: skip


def variances(setting: Setting, *, repetitions: int, picks: int = 1, n: int = 64, seed: int = 0) -> Iterator[dict]:
    """Of some picks, the variance of each weighted rate over repeated inversions, beside r (1 - r) / ESS."""
    for k, bandwidth in enumerate(setting.bandwidths[::2]):
        rows = setting.table.draw(picks, seed=seed + k)
        centres = setting.table.noised(rows, bandwidth, amount=0.0)
        for row, posterior in zip(rows, setting.table.posteriors(centres, bandwidth), strict=True):
            runs = [setting.invert(int(row), bandwidth, n, seed + r) for r in range(repetitions)]
            inside = [np.array([setting.row(x) for x in run.samples]) for run in runs]
            weights = [truncate(run.weight) for run in runs]
            inverse = float(np.mean([1 / max(run.ess, 1.0) for run in runs]))
            for f, codes in enumerate(setting.codes):
                same = [(at >= 0) & (codes[at] == codes[row]) for at in inside]
                each = np.array([w[s].sum() for w, s in zip(weights, same, strict=True)])
                rate = float(posterior.p[codes == codes[row]].sum())
                yield {
                    "target": setting.target, "quality": setting.quality, "bandwidth": bandwidth, "label": f,
                    "rate": rate, "ess_ratio": 1 / inverse / n, "predicted": rate * (1 - rate) * inverse,
                    "variance": float(each.var(ddof=1)), "squared_error": float(np.square(each - rate).mean()),
                }  # fmt: skip
