"""Inversions without inverting: where a generator's q can be listed like the posterior, draws from it cost nothing.

Samples, weights and shares are those that :func:`inversescope_nb.invert` and a consistency report would find
(tests/test_estimators.py holds them against each other), so that thousands of studies with fresh picks and fresh
samples can be held against exact rates. Axis names: x (all inputs, as picks and as samples), m (picks of one study),
n (samples of one pick), r (repetitions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

import inversescope_nb as isn
from inversescope_nb._agreement import EDGE, Sampled, agreement, effective_samples, rate
from inversescope_nb._statistics import effective_sample_size, wilson
from inversescope_nb.exact import ActivationTable
from inversescope_nb.features import Feature

if TYPE_CHECKING:
    from jaxtyping import Float, Int

NEAR = 0.02
"""Rates within this of 0 or 1 are reported apart."""


@dataclass(frozen=True, eq=False)
class Listed:
    """Posterior and generator of every picked input; made by :meth:`of`."""

    table: ActivationTable
    """All inputs, in the generator's units."""
    generator: isn.Generator
    """What is held against them."""
    prompts: isn.PromptDistribution
    """Those inputs, as P(X)."""
    bandwidth: float
    """Width of the kernel."""
    log_p: Float[np.ndarray, "x x"]
    """log P(x; z_hat, eps) of every input (column) for every pick (row), nats."""
    log_q: Float[np.ndarray, "x x"]
    """The same of the generator."""
    bits: Float[np.ndarray, " x"]
    """Exact resolution bits of every pick."""

    @staticmethod
    def of(
        table: ActivationTable, generator: isn.Generator, prompts: isn.PromptDistribution, bandwidth: float
    ) -> Listed:
        """Every input is picked once, and every input scored for it."""
        site, m = table.site.name, 8
        posteriors, log_q = list(table.posteriors(table.u, bandwidth)), []
        with torch.inference_mode():
            for u in table.u.split(m):
                condition = generator.condition_on(site, u, bandwidth).repeat(len(table.inputs))
                scored = generator.log_probs(table.inputs * len(u), condition, batch_size=m * len(table.inputs))
                log_q.append(np.array([float(x.sum()) for x in scored]).reshape(len(u), -1))
        return Listed(
            table, generator, prompts, bandwidth, np.array([p.log_p for p in posteriors]), np.concatenate(log_q),
            np.array([p.bits for p in posteriors]),
        )  # fmt: skip

    def gap(self) -> float:
        """KL(posterior || generator), nats, the mean over P(X)."""
        return float(self._prior @ (np.exp(self.log_p) * (self.log_p - self.log_q)).sum(1))

    def distance(self) -> Float[np.ndarray, " x"]:
        """Total variation between posterior and generator of every pick; what is off the support counts."""
        return np.maximum(np.exp(self.log_p) - np.exp(self.log_q), 0).sum(1)

    def exact(self, feature: Feature, *, copies: bool = False) -> Float[np.ndarray, " x"]:
        """The exact rate of every pick; NaN where it is undefined."""
        codes, p = self.table.codes(feature), np.exp(self.log_p)
        if not copies:
            p = p * (1 - np.eye(len(p)))
        same = np.where(codes[:, None] == codes, p, 0.0).sum(1)
        left = p.sum(1)
        return np.where((codes >= 0) & (left > 1e-9), same / np.maximum(left, 1e-300), np.nan)

    def draw(
        self, rng: np.random.Generator, picks: Int[np.ndarray, " m"], n: int
    ) -> tuple[Int[np.ndarray, "m n"], Float[np.ndarray, "m n"]]:
        """Samples of q for each pick, -1 where P(X) cannot make one, and p / q of each, whose mean over q is 1."""
        reached = np.exp(self.log_q[picks]).cumsum(1)
        rows = np.array([np.searchsorted(c, rng.random(n)) for c in reached])
        off = rows == len(self.log_q)  # beyond all that q gives to P(X)'s inputs
        inside = np.where(off, 0, rows)
        ratio = self.log_p[picks[:, None], inside] - self.log_q[picks[:, None], inside]
        return np.where(off, -1, rows), np.where(off, 0.0, np.exp(ratio))

    @property
    def _prior(self) -> Float[np.ndarray, " x"]:
        p = np.exp(self.table.log_prior)
        return p / p.sum()

    def fresh(self, rng: np.random.Generator, m: int) -> Int[np.ndarray, " m"]:
        """Picks drawn from P(X)."""
        return rng.choice(len(self.log_p), m, p=self._prior)


def sampled_of(rows: np.ndarray, weights: np.ndarray, picks: np.ndarray) -> Sampled:
    """As a report holds them; equal picks are one group."""
    groups = np.unique(picks, return_inverse=True)[1]
    return Sampled(weights, np.ones(weights.shape, dtype=bool), rows, picks, groups)


def singles(listed: Listed, features: Sequence[Feature], *, picks: int, n: int, seed: int = 0) -> pd.DataFrame:
    """Fresh picks and their estimates, as a report's frame of picks has them, beside the truth."""
    rng = np.random.default_rng(seed)
    at = listed.fresh(rng, picks)
    rows, weights = listed.draw(rng, at, n)
    sampled = sampled_of(rows, weights, at)
    bits = listed.bits[at] - np.log2(weights.mean(1))
    ess, frames = effective_samples(sampled), []
    for feature in features:
        codes = np.append(listed.table.codes(feature), -1)  # the last for what P(X) cannot make
        each = {
            name: np.array([agreement(codes[at[i : i + 1]], codes[rows[i : i + 1]], sampled.select(np.array([i])),
                                      **how)[0, 0] for i in range(picks)])
            for name, how in {"fcr": {}, "fcr_plain": {"weighted": False, "copies": True}}.items()
        }  # fmt: skip
        low, high = wilson(np.nan_to_num(each["fcr"]), ess)
        frame = pd.DataFrame({"row": at, "feature": feature.name, **each, "fcr_low": low, "fcr_high": high, "ess": ess})
        frame["exact"], frame["exact_with_copies"] = listed.exact(feature)[at], listed.exact(feature, copies=True)[at]
        frames.append(frame.assign(bits=bits, exact_bits=listed.bits[at]))
    found = pd.concat(frames, ignore_index=True)
    return judged(found[found["exact"].notna() & found["fcr"].notna()])


def judged(found: pd.DataFrame) -> pd.DataFrame:
    """With columns for whether an interval holds the truth, and whether the truth is near 0 or 1."""
    covered = (found["fcr_low"] <= found["exact"]) & (found["exact"] <= found["fcr_high"])
    return found.assign(covered=covered, extreme=np.minimum(found["exact"], 1 - found["exact"]) < NEAR)


def studies(
    listed: Listed, features: Sequence[Feature], *, repetitions: int, m: int, n: int, seed: int = 0
) -> pd.DataFrame:
    """How often a study's interval holds the mean exact rate over P(X): every study has fresh picks and samples."""
    rng, rows_found = np.random.default_rng(seed), []
    exact = {f.name: listed.exact(f) for f in features}
    truth = {name: float(np.average(v[k := np.isfinite(v)], weights=listed._prior[k])) for name, v in exact.items()}
    for r in range(repetitions):
        at = listed.fresh(rng, m)
        rows, weights = listed.draw(rng, at, n)
        sampled = sampled_of(rows, weights, at)
        for feature in features:
            codes = np.append(listed.table.codes(feature), -1)
            defined = np.flatnonzero(codes[at] >= 0)
            matrix = agreement(codes[at[defined]], codes[rows[defined]], sampled.select(defined))
            rows_found.append(study(feature.name, matrix, codes[at[defined]], sampled.groups[defined], seed=r))
    return coverage(rows_found, truth)


def study(name: str, matrix: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int) -> dict[str, Any]:
    """A study's rate with its interval, and whether the rate was so near 0 or 1 that the interval is Wilson's."""
    found, n_groups = rate(matrix, labels, groups, seed=seed), len(np.unique(groups))
    edge = n_groups * min(found.fcr, 1 - found.fcr) < EDGE
    return {"feature": name, "fcr": found.fcr, "low": found.low, "high": found.high, "edge": edge}


def coverage(found: Sequence[dict[str, Any]], truth: dict[str, float]) -> pd.DataFrame:
    """A line a feature: how many of the studies' intervals hold the truth, and how many counted as near 0 or 1."""
    lines = []
    for name, part in pd.DataFrame(found).groupby("feature", sort=False):
        holds = (part["low"] <= truth[name]) & (truth[name] <= part["high"])
        lines.append(
            {
                "feature": name,
                "exact": truth[name],
                "mean estimate": part["fcr"].mean(),
                "studies": len(part),
                "coverage": holds.mean(),
                "missed below": (part["high"] < truth[name]).mean(),
                "missed above": (part["low"] > truth[name]).mean(),
                "width": (part["high"] - part["low"]).mean(),
                "near 0 or 1": part["edge"].mean(),
            }
        )
    return pd.DataFrame(lines)


def variances(
    listed: Listed, features: Sequence[Feature], picks: np.ndarray, *, repetitions: int, n: int, seed: int = 0
) -> pd.DataFrame:
    """The variance of a pick's rate over repeated inversions, beside what its effective sample size predicts."""
    rng, found = np.random.default_rng(seed), []
    for pick in picks:
        at = np.full(repetitions, pick)
        rows, weights = listed.draw(rng, at, n)
        left = np.where(rows == pick, 0.0, sampled_of(rows, weights, at).truncated)
        ess = effective_sample_size(left)
        for feature in features:
            codes = np.append(listed.table.codes(feature), -1)
            each = (left * (codes[rows] == codes[pick])).sum(1) / left.sum(1)
            mean = each.mean()
            found.append(
                {
                    "row": int(pick),
                    "feature": feature.name,
                    "rate": mean,
                    "variance": each.var(ddof=1),
                    "predicted": mean * (1 - mean) * (1 / ess).mean(),
                    "ess": ess.mean(),
                }
            )
    return pd.DataFrame(found)
