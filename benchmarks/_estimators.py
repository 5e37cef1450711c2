"""What the estimators of an inversion are worth, where the posterior is known exactly.

Axis names: m (picked inputs), r (repetitions), n (samples).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

import inversescope_nb as isn
from inversescope_nb._statistics import truncate
from inversescope_nb.exact import ActivationTable
from inversescope_nb.features import Feature
from inversescope_nb.rates import consistency_of

NEAR = 0.02
"""Rates within this of 0 or 1 are reported apart."""


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

    def exact(self, rows: np.ndarray) -> pd.DataFrame:
        """Exact rates with and without copies, entropies and bits of picked inputs, a row a pick and feature."""
        found = []
        centres = self.table.noised(rows, self.bandwidth, amount=0.0)
        for row, posterior in zip(rows, self.table.posteriors(centres, self.bandwidth), strict=True):
            p = posterior.p
            for feature in self.features:
                codes = self.table.codes(feature)
                if codes[row] < 0:
                    continue
                same = float(p[codes == codes[row]].sum())
                own = float(p[row])
                found.append(
                    {
                        "row": int(row),
                        "feature": feature.name,
                        "exact": (same - own) / (1 - own) if own < 1 - 1e-9 else math.nan,
                        "exact_with_copies": same,
                        "exact_bits": posterior.bits,
                    }
                )
        return pd.DataFrame(found)


def per_pick(case: Case, rows: np.ndarray, *, n: int, seed: int = 0) -> tuple[pd.DataFrame, list[isn.Inversion]]:
    """Each pick's estimates beside the exact rates; and the inversions."""
    exact = case.exact(rows)
    inversions = [case.invert(int(row), n, seed + i) for i, row in enumerate(rows)]
    frames = []
    for inversion, row in zip(inversions, rows, strict=True):
        report = consistency_of(inversion, case.features, permutations=0)
        frame = report.picks_frame()
        frame["row"], frame["bits"] = int(row), inversion.bits
        frame["ess_all"], frame["verdict"] = inversion.ess, str(inversion.verdict)
        frames.append(frame)
    columns = ["row", "feature", "fcr", "fcr_plain", "fcr_with_copies", "fcr_low", "fcr_high", "ess", "ess_all", "bits"]
    measured = pd.concat(frames)[[*columns, "verdict"]]
    # a row may be picked twice: merge on the order of picks
    exact["pick"] = exact.groupby(["row", "feature"]).cumcount()
    measured["pick"] = measured.groupby(["row", "feature"]).cumcount()
    found = measured.merge(exact, on=["row", "feature", "pick"])
    found["covered"] = (found["fcr_low"] <= found["exact"]) & (found["exact"] <= found["fcr_high"])
    found["extreme"] = np.minimum(found["exact"], 1 - found["exact"]) < NEAR
    return found, inversions


def errors(found: pd.DataFrame) -> pd.DataFrame:
    """Mean absolute error and bias of the rates of single picks, and how often their intervals hold the truth."""
    rows = []
    for name, part in found.groupby("feature", sort=False):
        inner, outer = part[~part["extreme"]], part[part["extreme"]]
        rows.append(
            {
                "feature": name,
                "exact": part["exact"].mean(),
                "weighted: error": (part["fcr"] - part["exact"]).abs().mean(),
                "bias": (part["fcr"] - part["exact"]).mean(),
                "plain: error": (part["fcr_plain"] - part["exact_with_copies"]).abs().mean(),
                "plain: bias": (part["fcr_plain"] - part["exact_with_copies"]).mean(),
                "picks": len(inner),
                "coverage": inner["covered"].mean(),
                "picks near 0 or 1": len(outer),
                "coverage there": outer["covered"].mean(),
            }
        )
    return pd.DataFrame(rows)


def population(
    case: Case, found: pd.DataFrame, inversions: Sequence[isn.Inversion], *, studies: int, m: int, seed: int = 0
) -> pd.DataFrame:
    """How often a study's interval holds the mean exact rate of all picks: studies of `m` picks drawn from those."""
    rng = np.random.default_rng(seed)
    truth = found.groupby("feature")["exact"].mean()
    hits: dict[str, list[tuple[bool, float]]] = {f.name: [] for f in case.features}
    for _ in range(studies):
        some = rng.choice(len(inversions), m, replace=False)
        frame = consistency_of(
            [inversions[i] for i in some], case.features, permutations=0, seed=int(rng.integers(2**31))
        )
        for row in frame.to_frame().itertuples():
            holds = row.fcr_low <= truth[row.feature] <= row.fcr_high
            hits[row.feature].append((holds, row.fcr_high - row.fcr_low, row.fcr))
    return pd.DataFrame(
        {
            "feature": name,
            "exact": truth[name],
            "studies": len(each),
            "coverage": np.mean([h for h, *_ in each]),
            "width": np.mean([w for _, w, _ in each]),
            "mean estimate": np.mean([e for *_, e in each]),
        }
        for name, each in hits.items()
        if each
    )


def variances(case: Case, rows: np.ndarray, *, n: int, repetitions: int, seed: int = 0) -> pd.DataFrame:
    """The variance of the weighted rate over repeated inversions of one pick, beside what its ESS predicts."""
    found = []
    for k, row in enumerate(rows):
        runs = [case.invert(int(row), n, seed + 1000 * k + r) for r in range(repetitions)]
        for feature in case.features:
            label = feature(runs[0].text)
            if label is None:
                continue
            each = []
            for run in runs:
                weights = truncate(run.weight)
                each.append(float(weights[[feature(t) == label for t in run.texts]].sum()))
            mean, ess = float(np.mean(each)), float(np.mean([1 / run.ess for run in runs]))
            found.append(
                {
                    "row": int(row),
                    "feature": feature.name,
                    "rate": mean,
                    "variance": float(np.var(each, ddof=1)),
                    "predicted": mean * (1 - mean) * ess,
                }
            )
    return pd.DataFrame(found)


def separability(case: Case, rows: np.ndarray, *, n: int, seed: int = 0) -> pd.DataFrame:
    """How well generated and exact samples of a pick can be told apart: by a classifier, and by the best there is.

    The best accuracy is (1 + TV) / 2 with TV = E_q max(0, 1 - p / q). The classifier sees the tokens at every
    position, alone and in pairs, learns on half of the samples and is scored on the other.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    centres = case.table.noised(rows, case.bandwidth, amount=0.0)
    index = {tuple(ids): i for i, ids in enumerate(case.table.inputs)}
    found = []
    for k, posterior in enumerate(case.table.posteriors(centres, case.bandwidth)):
        condition = case.generator.condition_on(case.table.site.name, centres[k][None], case.bandwidth)
        drawn = [ids for ids, _ in case.generator.sample(condition, n, seed=seed + k)]
        log_q = np.array([float(x.sum()) for x in case.generator.log_probs(drawn, condition)])
        at = [index.get(tuple(ids), -1) for ids in drawn]
        log_p = np.array([posterior.log_p[i] if i >= 0 else -np.inf for i in at])
        tv = float(np.maximum(0.0, 1 - np.exp(np.minimum(log_p - log_q, 50))).mean())
        real = posterior.sample(n, seed=seed + k)
        inputs, is_real = [*drawn, *real], np.r_[np.zeros(n), np.ones(n)]
        half = np.random.default_rng(seed + k).permutation(2 * n) < n
        seen = [_described(ids) for ids in inputs]
        model = make_pipeline(DictVectorizer(), LogisticRegression(C=0.1, max_iter=300))
        model.fit([x for x, h in zip(seen, half, strict=True) if h], is_real[half])
        score = model.score([x for x, h in zip(seen, half, strict=True) if not h], is_real[~half])
        found.append({"row": int(rows[k]), "best": (1 + tv) / 2, "classifier": float(score), "tv": tv})
    return pd.DataFrame(found)


def _described(ids: Sequence[int]) -> dict[str, int]:
    """Tokens at each position, and neighbouring pairs of them."""
    named = {f"{i}:{t}": 1 for i, t in enumerate(ids)}
    pairs = {f"{i},{j}:{ids[i]},{ids[j]}": 1 for i in range(len(ids)) for j in range(i + 1, len(ids))}
    return named | pairs


def bits(found: pd.DataFrame) -> dict[str, float]:
    """Errors of the resolution bits."""
    each = found.drop_duplicates(["row", "pick"])
    off = each["bits"] - each["exact_bits"]
    return {"picks": len(each), "exact": each["exact_bits"].mean(), "error": off.abs().mean(), "bias": off.mean()}
