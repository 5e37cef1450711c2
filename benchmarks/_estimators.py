"""What the estimators of an inversion are worth, where the posterior is known exactly.

Everything here is measured on real inversions and reports; studies over many of them are drawn from a pool that was
inverted once. (`_listed` has studies with fresh inversions throughout, where P(X) is small enough for that.)
Axis names: m (picked inputs), n (samples of one), r (repetitions).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from _listed import coverage, judged, sampled_of, study

import inversescope_nb as isn
from inversescope_nb._agreement import agreement
from inversescope_nb.exact import ActivationTable
from inversescope_nb.features import Feature
from inversescope_nb.information import channel_bits

if TYPE_CHECKING:
    from jaxtyping import Float, Int

COLUMNS = ["feature", "fcr", "fcr_plain", "fcr_low", "fcr_high", "ess"]


@dataclass(frozen=True, eq=False)
class Case:
    """A target whose inputs are listed, a generator for one of its sites, a bandwidth and hypotheses."""

    table: ActivationTable
    """All inputs, in the generator's units."""
    prompts: isn.PromptDistribution
    """Those inputs, as P(X)."""
    generator: isn.Generator
    """Trained for the site."""
    bandwidth: float
    """Width of the kernel."""
    features: Sequence[Feature]
    """What is asked."""

    def invert(self, row: int, n: int, seed: int) -> isn.Inversion:
        """One picked input's inversion, under the P(X) that was listed."""
        t = self.table
        return isn.invert(
            t.lm, self.generator, t.inputs[row], site=t.site, bandwidth=self.bandwidth, n=n, seed=seed, bank=0,
            prior=self.prompts, progress=False,
        )  # fmt: skip

    def exact(self, rows: Int[np.ndarray, " m"]) -> pd.DataFrame:
        """Exact rates with and without copies, and bits, a row a pick (numbered by `at`) and feature defined for it."""
        found = []
        centres = self.table.noised(rows, self.bandwidth, amount=0.0)
        for at, (row, posterior) in enumerate(zip(rows, self.table.posteriors(centres, self.bandwidth), strict=True)):
            p, own = posterior.p, float(posterior.p[row])
            for feature in self.features:
                codes = self.table.codes(feature)
                if codes[row] >= 0:
                    same = float(p[codes == codes[row]].sum())
                    exact = (same - own) / (1 - own) if own < 1 - 1e-9 else math.nan
                    found.append((at, int(row), feature.name, exact, same, posterior.bits))
        return pd.DataFrame(found, columns=["at", "row", "feature", "exact", "exact_with_copies", "exact_bits"])


@dataclass(frozen=True, eq=False)
class Pool:
    """Picks that were inverted once."""

    picks: Int[np.ndarray, " m"]
    """Their rows in the table."""
    rows: Int[np.ndarray, "m n"]
    """Rows of their samples, -1 for one that P(X) cannot make."""
    weights: Float[np.ndarray, "m n"]
    """Importance weights."""
    ess_ratio: Float[np.ndarray, " m"]
    """ESS / n."""
    found: pd.DataFrame
    """Estimates of single picks beside the truth."""


def inverted(case: Case, picks: np.ndarray, *, n: int, seed: int = 0) -> Pool:
    """Inverts every pick once, and holds its report against the truth."""
    index = {tuple(ids): i for i, ids in enumerate(case.table.inputs)}
    rows, weights = np.full((len(picks), n), -1), np.zeros((len(picks), n))
    frames, ratios = [], []
    for at, pick in enumerate(picks):
        found = case.invert(int(pick), n, seed + at)
        rows[at] = [index.get(tuple(ids), -1) for ids in found.samples]
        weights[at] = found.weight
        ratios.append(found.ess / n)
        frame = isn.consistency_of(found, case.features, permutations=0).picks_frame()
        frames.append(frame[COLUMNS].assign(at=at, bits=found.bits, verdict=str(found.verdict)))
    measured = pd.concat(frames).merge(case.exact(picks), on=["at", "feature"])
    return Pool(picks, rows, weights, np.array(ratios), judged(measured[measured["exact"].notna()]))


def errors(found: pd.DataFrame) -> pd.DataFrame:
    """Mean absolute error and bias of the rates of single picks, and how often their intervals hold the truth."""
    rows = []
    for name, part in found.groupby("feature", sort=False):
        inner, outer = part[~part["extreme"]], part[part["extreme"]]
        plain = part["fcr_plain"] - part["exact_with_copies"]
        deviation = np.sqrt(part["exact"] * (1 - part["exact"]) / part["ess"])
        rows.append(
            {
                "feature": name,
                "exact": part["exact"].mean(),
                "weighted: error": (part["fcr"] - part["exact"]).abs().mean(),
                "of sampling alone": math.sqrt(2 / math.pi) * deviation.mean(),
                "bias": (part["fcr"] - part["exact"]).mean(),
                "plain: error": plain.abs().mean(),
                "plain: bias": plain.mean(),
                "picks": len(inner),
                "coverage": inner["covered"].mean(),
                "picks near 0 or 1": len(outer),
                "coverage there": outer["covered"].mean(),
            }
        )
    return pd.DataFrame(rows)


def pooled_studies(case: Case, pool: Pool, *, repetitions: int, m: int, seed: int = 0) -> pd.DataFrame:
    """How often a study's interval holds the mean exact rate of the pool, picks drawn from it with replacement.

    With replacement, so that picks are as independent as fresh ones: drawn without, studies of 48 of 300 picks would
    vary less than they should. An input that is drawn twice is one group, as in any report.
    """
    rng, found = np.random.default_rng(seed), []
    sampled = sampled_of(pool.rows, pool.weights, pool.picks)
    coded = {f.name: np.append(case.table.codes(f), -1) for f in case.features}
    for r in range(repetitions):
        at = rng.integers(len(pool.picks), size=m)
        for name, codes in coded.items():
            defined = at[codes[pool.picks[at]] >= 0]
            labels = codes[pool.picks[defined]]
            matrix = agreement(labels, codes[pool.rows[defined]], sampled.select(defined))
            found.append(study(name, matrix, labels, sampled.groups[defined], seed=r))
    return coverage(found, pool.found.groupby("feature")["exact"].mean().to_dict())


def variances(case: Case, picks: np.ndarray, *, n: int, repetitions: int, seed: int = 0) -> pd.DataFrame:
    """The variance of a pick's rate over repeated inversions, beside what its effective sample size predicts."""
    frames = []
    for k, pick in enumerate(picks):
        for r in range(repetitions):
            found = case.invert(int(pick), n, seed + 1000 * k + r)
            frame = isn.consistency_of(found, case.features, permutations=0).picks_frame()
            frames.append(frame[COLUMNS].assign(row=int(pick)))
    each = pd.concat(frames).groupby(["row", "feature"], sort=False)
    spread = each["fcr"].agg(rate="mean", variance="var").reset_index()
    inverse = each["ess"].agg(lambda ess: (1 / ess).mean()).to_numpy()
    return spread.assign(predicted=spread["rate"] * (1 - spread["rate"]) * inverse)


def channel(case: Case, *, n: int, seed: int = 0) -> dict[str, float]:
    """The channel bits as the package reports them, and the exact ones of the same noised pairs."""
    t, site = case.table, case.table.site.name
    options = {"bandwidth": case.bandwidth, "prompts": case.prompts, "n": n, "seed": seed}
    bound = channel_bits(t.lm, case.generator, t.site, progress=False, **options)
    inputs = case.prompts.draw(n, t.lm, seed=seed)
    v = case.generator.noised(site, t.lm.activations(inputs, [t.site])[site], case.bandwidth, seed=seed)
    log_q = np.array([float(x.sum()) for x in case.generator.log_probs(
        inputs, case.generator.condition_on(site, v, case.bandwidth))])  # fmt: skip
    index = {tuple(ids): i for i, ids in enumerate(t.inputs)}
    rows = np.array([index[tuple(ids)] for ids in inputs])
    posteriors = t.posteriors(v.cpu(), case.bandwidth)
    log_p = np.array([p.log_p[row] for row, p in zip(rows, posteriors, strict=True)])
    exact, short = (log_p - t.log_prior[rows]) / math.log(2), (log_p - log_q) / math.log(2)
    return {
        "pairs": n,
        "bound": bound.bits,
        "exact": float(exact.mean()),
        "exact_se": float(exact.std(ddof=1) / math.sqrt(n)),
        "short": float(exact.mean() - bound.bits),
        "short_se": float(short.std(ddof=1) / math.sqrt(n)),
    }


def separability(case: Case, picks: np.ndarray, *, n: int, seed: int = 0) -> pd.DataFrame:
    """How well generated and exact samples of a pick can be told apart: by a classifier, and by the best there is.

    The best accuracy is (1 + TV) / 2 with TV = E_q max(0, 1 - p / q).
    """
    centres = case.table.noised(picks, case.bandwidth, amount=0.0)
    index = {tuple(ids): i for i, ids in enumerate(case.table.inputs)}
    found = []
    for k, posterior in enumerate(case.table.posteriors(centres, case.bandwidth)):
        condition = case.generator.condition_on(case.table.site.name, centres[k][None], case.bandwidth)
        drawn = [ids for ids, _ in case.generator.sample(condition, n, seed=seed + k)]
        log_q = np.array([float(x.sum()) for x in case.generator.log_probs(drawn, condition)])
        at = [index.get(tuple(ids), -1) for ids in drawn]
        log_p = np.array([posterior.log_p[i] if i >= 0 else -np.inf for i in at])
        short = np.maximum(0.0, 1 - np.exp(np.minimum(log_p - log_q, 50)))
        accuracy = told_apart(drawn, posterior.sample(n, seed=seed + k), seed=seed + k)
        tv = float(short.mean())
        found.append({"row": int(picks[k]), "best": (1 + tv) / 2, "classifier": accuracy, "tv": tv})
    return pd.DataFrame(found)


def told_apart(generated: Sequence[Sequence[int]], real: Sequence[Sequence[int]], *, seed: int) -> float:
    """Accuracy of a logistic regression that learns on half of two equally large samples, on the other half.

    It sees the tokens at every position, alone and in pairs.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    n, rng = len(real), np.random.default_rng(seed)
    learns = np.concatenate([rng.permutation(len(x)) < len(x) // 2 for x in (generated, real)])
    is_real = np.r_[np.zeros(len(generated)), np.ones(n)]
    seen = np.array([_described(ids) for ids in (*generated, *real)], dtype=object)
    model = make_pipeline(DictVectorizer(), LogisticRegression(C=0.05, max_iter=300))
    model.fit(seen[learns], is_real[learns])
    return float(model.score(seen[~learns], is_real[~learns]))


def _described(ids: Sequence[int]) -> dict[str, int]:
    """Tokens at each position, and pairs of them."""
    named = {f"{i}:{t}": 1 for i, t in enumerate(ids)}
    pairs = {f"{i},{j}:{ids[i]},{ids[j]}": 1 for i in range(len(ids)) for j in range(i + 1, len(ids))}
    return named | pairs


def bits(found: pd.DataFrame) -> dict[str, float]:
    """Errors of the resolution bits."""
    each = found.drop_duplicates("at")
    off = each["bits"] - each["exact_bits"]
    return {"picks": len(each), "exact": each["exact_bits"].mean(), "error": off.abs().mean(), "bias": off.mean()}
