"""Ways to answer what an activation says, on the same picks; and ways to name a label, at the same noised activations.

Axis names: m (picked inputs), n (inputs of one answer).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

import inversescope_nb as isn
from inversescope_nb.baselines import AtomClassifier, Dictionary, Probe
from inversescope_nb.baselines.dictionary import build
from inversescope_nb.baselines.labelled import Labelled, most_common
from inversescope_nb.baselines.searched import Searched
from inversescope_nb.exact import ActivationTable
from inversescope_nb.features import Feature, InputText
from inversescope_nb.kernels import SiteStatistics

Answer = isn.Inversion | Searched
SETTINGS = tuple(
    {"k": k, "threshold": threshold, "atoms": 512, "centre": centre}
    for centre, k, threshold in (
        (True, 1, 0.4), (True, 1, 0.1), (True, 1, 0.03), (True, 4, 0.4), (True, 4, 0.1), (True, 4, 0.03),
        (False, 1, 0.02), (False, 4, 0.02),
    )
)  # fmt: skip
"""Dictionaries, of which the best on inputs of its own is taken for each feature."""


@dataclass(frozen=True, eq=False)
class Method:
    """One way to answer."""

    name: str
    """What tables call it."""
    answer: Callable[[list[int], int], Answer]
    """Of a picked input and a seed."""
    units: SiteStatistics
    """Moments that its kernel is in."""
    passes: int
    """Inputs that the target runs on for one pick."""
    once: int = 0
    """Those before the first pick: what a training or a bank took."""
    seconds_once: float = 0.0
    """How long that took."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is exact."""

    table: ActivationTable
    """All inputs."""
    features: Sequence[Feature]
    """What is asked."""
    bandwidth: float
    """Width of the kernel."""

    def of(self, rows: np.ndarray, units: SiteStatistics) -> pd.DataFrame:
        """Exact rates without copies, the prior's rates and bits; a row a pick (numbered by `at`) and feature."""
        table, found = self.table.in_units(units), []
        p_x = np.exp(table.log_prior)
        shares = {f.name: np.bincount(c[c >= 0], p_x[c >= 0]) / p_x[c >= 0].sum() for f, c in self.codes()}
        for at, (row, posterior) in enumerate(zip(rows, table.posteriors(table.u[rows], self.bandwidth), strict=True)):
            p = posterior.p
            own = float(p[row])
            for feature, codes in self.codes():
                if codes[row] >= 0 and own < 1 - 1e-9:
                    rate = (float(p[codes == codes[row]].sum()) - own) / (1 - own)
                    found.append((at, feature.name, rate, shares[feature.name][codes[row]], posterior.bits))
        return pd.DataFrame(found, columns=["at", "feature", "exact", "prior", "exact_bits"])

    def codes(self) -> list[tuple[Feature, np.ndarray]]:
        """Features with the codes of all labels."""
        return [(f, self.table.codes(f)) for f in self.features]


def answered(method: Method, truth: Truth, exact: pd.DataFrame, rows: np.ndarray, *, seed: int) -> pd.DataFrame:
    """A row a pick and feature: what a method says, beside what is true.

    Where it finds nothing, the prior's rate is its answer: what is known without it.
    """
    frames = []
    for at, row in enumerate(rows):
        began = time.monotonic()
        found = method.answer(truth.table.inputs[row], seed + at)
        seconds = time.monotonic() - began
        about = {"at": at, "ess": found.ess, "bits": found.bits, "seconds": seconds}
        frame = pd.DataFrame({"feature": [f.name for f in truth.features], "fcr": np.nan})
        if len(found):
            said = isn.consistency_of(found, truth.features, permutations=0).picks_frame()
            frame["fcr"] = frame["feature"].map(said.set_index("feature")["fcr"])
        frames.append(frame.assign(**about))
    each = exact.merge(pd.concat(frames), on=["at", "feature"])
    said = each["fcr"].notna()
    return each.assign(
        method=method.name, said=said, error=(each["fcr"].where(said, each["prior"]) - each["exact"]).abs()
    )


def row_of(method: Method, each: pd.DataFrame, features: Sequence[Feature]) -> dict[str, object]:
    """One line of the table."""
    picks = each.drop_duplicates("at")
    by_pick = each.groupby("at")["error"].mean()
    off = (picks["bits"] - picks["exact_bits"]).abs()
    return {
        "method": method.name,
        "passes once": method.once,
        "passes a pick": method.passes,
        "seconds once": method.seconds_once,
        "seconds a pick": picks["seconds"].mean(),
        "ESS": picks["ess"].median(),
        "answers": each["said"].mean(),
        **{f.name: each.loc[each["feature"] == f.name, "error"].mean() for f in features},
        "mean error": by_pick.mean(),
        "se": by_pick.std(ddof=1) / np.sqrt(len(by_pick)),
        "bits error": off.mean() if np.isfinite(off).all() else np.nan,
    }


def beaten(table: pd.DataFrame, ours: str) -> list[str]:
    """Where another method is better than ours at one pick, in words; a line a method."""
    own, lines = table.set_index("method").loc[ours], []
    columns = [c for c in table.columns if c not in ("method", "se", "answers", "passes once", "seconds once")]
    for _, other in table[table["method"] != ours].iterrows():
        sign = {c: -1 if c == "ESS" else 1 for c in columns}
        better = [f"{c} {other[c]:.3g} ({own[c]:.3g})" for c in columns if sign[c] * other[c] < sign[c] * own[c]]
        if better:
            lines.append(f"{other['method']}: {', '.join(better)}")
    return lines


# -- attribute classifiers -----------------------------------------------------------------------


def posterior_mode(found: isn.Inversion, feature: Feature, otherwise: Hashable) -> Hashable:
    """The label that has most of the weight of an inversion's samples."""
    shares: dict[Hashable, float] = {}
    for text, weight in zip(found.texts, found.weight, strict=True):
        if weight > 0 and (label := feature(text)) is not None:
            shares[label] = shares.get(label, 0.0) + float(weight)
    return max(shares, key=shares.__getitem__) if shares else otherwise


def exact_modes(truth: Truth, units: SiteStatistics, v: torch.Tensor) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """For each feature the code that is likeliest at every noised activation, and how likely it is."""
    found: dict[str, list[tuple[int, float]]] = {f.name: [] for f in truth.features}
    for posterior in truth.table.in_units(units).posteriors(v, truth.bandwidth):
        p = posterior.p
        for feature, codes in truth.codes():
            shares = np.bincount(codes[codes >= 0], p[codes >= 0])
            best = int(shares.argmax())
            found[feature.name].append((best, float(shares[best] / shares.sum())))
    return {name: tuple(map(np.array, zip(*pairs, strict=True))) for name, pairs in found.items()}


def best_atoms(data: Labelled, feature: Feature, dictionaries: Sequence[Dictionary]) -> tuple[AtomClassifier, dict]:
    """The best of several dictionaries for a feature, by their accuracy on what was held out of `data`."""
    fitted = [(AtomClassifier.fitted(data, feature, d), s) for d, s in zip(dictionaries, SETTINGS, strict=True)]
    return max(fitted, key=lambda pair: pair[0].accuracy.value)


def classified(
    truth: Truth, generator: isn.Generator, prompts: isn.PromptDistribution, *, learned: int, tests: int, samples: int,
    seed: int,
) -> pd.DataFrame:  # fmt: skip
    """A line a feature: how often each way names the label of a fresh input from its noised activation."""
    table, lm = truth.table, truth.table.lm
    site, units = table.site, generator.statistics(table.site.name)
    data = Labelled.drawn(
        lm, prompts, site=site, position=-1, bandwidth=truth.bandwidth, n=learned, held_out=0.25, kernel=None,
        statistics=units, seed=seed, on_progress=None, cancel=None,
    )  # fmt: skip
    seen, rows = set(data.inputs), table.draw(4 * tests, seed=seed + 1)
    rows = np.array([r for r in rows if tuple(table.inputs[r]) not in seen][:tests])
    z = lm.activations([table.inputs[r] for r in rows], [site])[site.name]
    v = torch.cat(
        [generator.noised(site.name, z[i : i + 1], truth.bandwidth, seed=seed + i).cpu() for i in range(len(z))]
    )
    inversions = [
        isn.invert(lm, generator, table.inputs[r], site=site, bandwidth=truth.bandwidth, n=samples, prior=prompts,
                   seed=seed + i, noise_seed=seed + i, bank=0, progress=False)
        for i, r in enumerate(rows)
    ]  # fmt: skip
    modes, lines = exact_modes(truth, units, v), []
    dictionaries = [build(data, **setting) for setting in SETTINGS]
    for feature, codes in truth.codes():
        labels = [feature(InputText.from_ids(table.inputs[r], lm)) for r in rows]
        at = np.array([i for i, label in enumerate(labels) if label is not None])
        usual = most_common([x for x in data.labels(feature) if x is not None])
        best, likely = modes[feature.name]
        probe, (atoms, setting) = Probe.fitted(data, feature), best_atoms(data, feature, dictionaries)
        right = {
            "exact mode": best[at] == codes[rows[at]],
            "generator's mode": [posterior_mode(inversions[i], feature, usual) == labels[i] for i in at],
            "probe": [a == labels[i] for a, i in zip(probe.predict_at(v[at]), at, strict=True)],
            "dictionary": [a == labels[i] for a, i in zip(atoms.predict_at(v[at]), at, strict=True)],
            "most common label": [usual == labels[i] for i in at],
        }
        shares = {name: float(np.mean(x)) for name, x in right.items()}
        ahead = np.asarray(right["probe"], float) - np.asarray(right["generator's mode"], float)
        lines.append(
            {"feature": feature.name, "best possible": likely[at].mean(), **shares, "tests": len(at),
             "probe ahead of generator by": ahead.mean(), "se": ahead.std(ddof=1) / np.sqrt(len(at)),
             "dictionary's setting": str(setting), "atoms": len(atoms.dictionary.atoms)}
        )  # fmt: skip
    return pd.DataFrame(lines)
