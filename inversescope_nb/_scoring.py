"""From the samples of a study and its features to the rows of a report."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._agreement import Sampled, agreement, effective_groups, effective_samples, rate
from ._permutation import Exchange, permutation_test
from ._statistics import benjamini_hochberg, truncate, wilson
from .features import Feature, InputText
from .reports import COARSE, FEW_GROUPS, LITTLE, UNRELIABLE, ConsistencyReport
from .verdicts import DOUBTFUL

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from ._study import Cell, PickSamples

PERMUTATIONS_PER_ROW = 20
"""At least this many permutations for each row of a sweep, so that a corrected p-value can be small."""
NEARLY_CONSTANT = 0.99
"""Above this chance level a feature hardly varies, and correcting for chance divides by almost nothing."""
MANY = 0.25
"""From this share of the picks on, inversions that are not to be believed are named."""
FEW_DEFINED = 20
"""Inputs from P(X) for which a feature is defined, below which no chance is taken over them."""


class Labels:
    """Labels of inputs as codes, each input labelled once per feature; -1 where undefined.

    Args:
        features: the features of the study.
        text_of: token ids -> the text that features see.
        within: a further feature to permute within levels of.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        text_of: Callable[[tuple[int, ...]], InputText],
        within: Feature | None,
    ) -> None:
        self.features, self.within = tuple(features), within
        self._text_of = text_of
        self._texts: dict[tuple[int, ...], InputText] = {}
        self._known: dict[Feature, dict[tuple[int, ...], int]] = {}
        self._codes: dict[Feature, dict[Hashable, int]] = {}

    def of(self, feature: Feature, inputs: Sequence[tuple[int, ...]]) -> Int[np.ndarray, " n"]:
        """Codes of the labels of inputs given as token ids."""
        known = self._known.setdefault(feature, {})
        new = list(dict.fromkeys(ids for ids in inputs if ids not in known))
        for ids in new:
            if ids not in self._texts:
                self._texts[ids] = self._text_of(ids)
        found = feature.labels([self._texts[ids] for ids in new])  # in one call, which may be vectorised
        known |= {ids: self._code(feature, label) for ids, label in zip(new, found, strict=True)}
        return np.array([known[ids] for ids in inputs], dtype=np.int64)

    def of_texts(self, feature: Feature, texts: Sequence[str]) -> Int[np.ndarray, " n"]:
        """Codes of the labels of texts."""
        return np.array([self._code(feature, label) for label in feature.labels(texts)], dtype=np.int64)

    def names(self, feature: Feature) -> dict[int, str]:
        """Code -> label as text."""
        return {code: str(label) for label, code in self._codes.get(feature, {}).items()}

    def _code(self, feature: Feature, label: Hashable | None) -> int:
        codes = self._codes.setdefault(feature, {})
        return -1 if label is None else codes.setdefault(label, len(codes))


@dataclass(frozen=True)
class Study:
    """A cell and who its picks are."""

    cell: Cell
    """The samples."""
    groups: tuple[int, ...]
    """Which picks belong together, as codes that all studies of a report share."""
    numbers: tuple[int, ...]
    """The number of each pick in the report: equal numbers at two sites are the same pick."""


def report(
    studies: Sequence[Study],
    labels: Labels,
    prior_texts: Sequence[str],
    settings: Mapping[str, Any],
    dropped: Sequence[tuple[int, ...]] = (),
) -> ConsistencyReport:
    """The report of some cells; `dropped`: inputs that the generator wrote without seeing an activation."""
    rows, picks = [], []
    n_rows = len(studies) * len(labels.features)
    permutations = settings["permutations"] and max(settings["permutations"], PERMUTATIONS_PER_ROW * n_rows)
    prior = {feature: labels.of_texts(feature, prior_texts) for feature in labels.features}
    unconditioned = {feature: labels.of(feature, dropped) for feature in labels.features}
    for study in studies:
        sampled = _sampled(study.cell, study.groups)
        for feature in labels.features:
            scored = _score(study, sampled, feature, labels)
            rest = prior[feature], unconditioned[feature]
            rows.append(_row(study.cell, sampled, scored, *rest, permutations, settings["seed"]))
            picks.extend(_pick_rows(study, scored, labels.names(feature)))
    q_values = benjamini_hochberg(np.array([row["p_value"] for row in rows]))
    for row, q in zip(rows, q_values.tolist(), strict=True):
        row["q_value"] = q
    return ConsistencyReport(tuple(rows), tuple(picks), {**settings, "permutations": permutations})


def _sampled(cell: Cell, groups: Sequence[int]) -> Sampled:
    """The samples of a cell as arrays, short rows padded with weight 0."""
    shape = len(cell.picks), max(len(pick.samples) for pick in cell.picks)
    weights, drawn = np.zeros(shape), np.zeros(shape, dtype=bool)
    inputs = np.full(shape, -1, dtype=np.int64)
    codes: dict[tuple[int, ...], int] = {}
    for i, pick in enumerate(cell.picks):
        n = len(pick.samples)
        weights[i, :n], drawn[i, :n] = pick.weights, True
        inputs[i, :n] = [codes.setdefault(ids, len(codes)) for ids in pick.samples]
    own = [codes.setdefault(pick.prompt_ids, len(codes)) for pick in cell.picks]
    return Sampled(weights, drawn, inputs, np.array(own, dtype=np.int64), np.array(groups, dtype=np.int64))


@dataclass(frozen=True)
class _Scored:
    """One feature on the picks of one cell for which it is defined."""

    feature: Feature
    picks: Int[np.ndarray, " m"]
    """Their indices in the cell."""
    labels: Int[np.ndarray, " m"]
    groups: Int[np.ndarray, " m"]
    levels: Int[np.ndarray, " m"] | None
    """Labels of the feature to permute within."""
    matrix: Float[np.ndarray, "m m"]
    """Agreement, weighted and without copies."""
    plain: Float[np.ndarray, "m m"]
    """Agreement, unweighted and with copies."""
    exchange: Exchange
    """The same, ready for labels to be exchanged."""
    shares: dict[str, Float[np.ndarray, " m"]]
    """Estimator -> each pick's own share; NaN where there is none."""
    ess: Float[np.ndarray, " m"]
    """Effective sample size without copies."""
    low: Float[np.ndarray, " m"]
    high: Float[np.ndarray, " m"]


def _score(study: Study, sampled: Sampled, feature: Feature, labels: Labels) -> _Scored:
    """Labels and agreement; a pick for which the feature is undefined is dropped first."""
    picks = study.cell.picks
    own = labels.of(feature, [pick.prompt_ids for pick in picks])
    defined = np.flatnonzero(own >= 0)
    own, part = own[defined], sampled.select(defined)
    samples = np.full(part.inputs.shape, -1, dtype=np.int64)
    for row, i in enumerate(defined):
        samples[row, : len(picks[i].samples)] = labels.of(feature, picks[i].samples)
    levels = None
    if labels.within is not None:
        levels = labels.of(labels.within, [picks[i].prompt_ids for i in defined])
    matrix = agreement(own, samples, part)
    plain = agreement(own, samples, part, weighted=False, copies=True)
    shares = {
        "fcr_plain": np.diag(plain),
        "fcr": np.diag(matrix),
        "fcr_with_copies": np.diag(agreement(own, samples, part, copies=True)),
        "fcr_channel": _channel_shares([picks[i] for i in defined], own, feature, labels),
        "defined": np.diag(agreement(np.zeros_like(own), np.where(samples >= 0, 0, -1), part)),
    }
    ess = effective_samples(part)
    known = np.isfinite(shares["fcr"])
    low, high = (np.where(known, end, np.nan) for end in wilson(np.nan_to_num(shares["fcr"]), ess))
    exchange = Exchange.of(own, samples, part)
    return _Scored(feature, defined, own, part.groups, levels, matrix, plain, exchange, shares, ess, low, high)


def _channel_shares(
    picks: Sequence[PickSamples], own: np.ndarray, feature: Feature, labels: Labels
) -> Float[np.ndarray, " m"]:
    """Each pick's agreement with the samples of its noised activation, copies included: it is one of their kind."""
    found = np.full(len(picks), np.nan)
    for k, pick in enumerate(picks):
        weights = truncate(np.array(pick.channel_weights)) if pick.channel_samples else np.zeros(0)
        if weights.any():
            found[k] = weights[labels.of(feature, pick.channel_samples) == own[k]].sum()
    return found


def _row(
    cell: Cell, sampled: Sampled, scored: _Scored, prior: np.ndarray, dropped: np.ndarray, permutations: int, seed: int
) -> dict[str, Any]:
    """One row of a report, without its q-value."""
    estimate = rate(scored.matrix, scored.labels, scored.groups, seed=seed)
    known = np.isfinite(scored.shares["fcr"])
    low, high = estimate.low, estimate.high
    if known.sum() == 1:
        low, high = float(scored.low[known][0]), float(scored.high[known][0])
    p_value = float("nan")
    if permutations:
        p_value = permutation_test(
            scored.exchange.matrix,
            scored.labels,
            scored.groups,
            permutations=permutations,
            seed=_own_seed(seed, cell, scored.feature),
            within=scored.levels,
            met=scored.exchange.met,
        )
    row = {
        "site": cell.site,
        "layer": cell.layer,
        "kind": cell.kind,
        "head": cell.head,
        "feature": scored.feature.name,
        "bandwidth": cell.bandwidth,
        "n_targets": len(cell.picks),
        "n_groups": len(np.unique(scored.groups[known])),
        "n_undefined": len(cell.picks) - len(scored.picks),
        "n_dropped": int((~known).sum()),
        "fcr_plain": _mean(scored.shares["fcr_plain"]),
        "fcr": estimate.fcr,
        "fcr_low": low,
        "fcr_high": high,
        "fcr_with_copies": _mean(scored.shares["fcr_with_copies"]),
        "fcr_channel": _mean(scored.shares["fcr_channel"]),
        "fcr_shuffled": _shuffled(scored),
        "fcr_dropped": _agreeing(dropped, scored.labels[known]),
        "chance": estimate.chance,
        "chance_prior": _agreeing(prior, scored.labels[known]),
        "chance_defined": _chance_defined(prior, scored.labels[known], scored.shares["defined"][known]),
        "defined": _mean(scored.shares["defined"]),
        "fcr_star": estimate.star,
        "fcr_star_low": estimate.star_low,
        "fcr_star_high": estimate.star_high,
        "fcr_star_by_label": estimate.star_by_label,
        "p_value": p_value,
        "q_value": float("nan"),
        **_quality(cell, sampled),
    }
    return {**row, "notes": _notes(row, permutations, _cautions(cell), effective_groups(scored.groups[known]))}


def _shuffled(scored: _Scored) -> float:
    """The plain estimator over all pairs of a pick's label and the samples of a pick of another group."""
    across = scored.groups[:, None] != scored.groups
    return _mean(scored.plain[across])


def _agreeing(prior: np.ndarray, labels: np.ndarray) -> float:
    """Mean share of the prior's labels that agree; NaN without any."""
    return _mean((prior == labels[:, None]).mean(-1)) if len(prior) else float("nan")


def _chance_defined(prior: np.ndarray, labels: np.ndarray, defined: np.ndarray) -> float:
    """What the rate would be if, where the feature is defined, samples agreed as inputs of P(X) do.

    Samples for which it is not defined do not agree in the rate, so they do not here: each pick's share of
    agreeing inputs is taken times ``defined``. NaN where fewer than `FEW_DEFINED` inputs of P(X) have a label.
    """
    known = prior[prior >= 0]
    if len(known) < FEW_DEFINED:
        return float("nan")
    return _mean((known == labels[:, None]).mean(-1) * defined)


def _own_seed(seed: int, cell: Cell, feature: Feature) -> int:
    """A seed for the test of one row: with one for all, ties would fall alike in every row of a sweep."""
    return random.Random(f"{seed} {cell.site} {cell.bandwidth!r} {feature.name}").getrandbits(62)


def _pick_rows(study: Study, scored: _Scored, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """The picks behind one row."""
    return [
        {
            "site": study.cell.site,
            "feature": scored.feature.name,
            "bandwidth": study.cell.bandwidth,
            "pick": study.numbers[i],
            "group": int(scored.groups[k]),
            "label": names[int(scored.labels[k])],
            **{name: float(values[k]) for name, values in scored.shares.items()},
            "fcr_low": float(scored.low[k]),
            "fcr_high": float(scored.high[k]),
            "ess": float(scored.ess[k]),
            "verdict": study.cell.picks[i].verdict,
        }
        for k, i in enumerate(scored.picks)
    ]


def _quality(cell: Cell, sampled: Sampled) -> dict[str, Any]:
    """How good the inversions of a cell are, whatever the feature."""
    copies = sampled.inputs == sampled.pick_inputs[:, None]
    counts = Counter(pick.verdict for pick in cell.picks)
    return {
        "ess_median": float(np.median([pick.ess for pick in cell.picks])),
        "ess_ratio": float(np.median([pick.ess / max(1, len(pick.samples)) for pick in cell.picks])),
        "bits": _mean(np.array([pick.bits if math.isfinite(pick.bits) else math.nan for pick in cell.picks])),
        "bits_bound": cell.bits_bound,
        "copy_share": float((sampled.truncated * copies).sum(-1).mean()),
        "verdict_counts": ", ".join(f"{name}: {count}" for name, count in counts.most_common()),
    }


def _doubtful(cell: Cell) -> str:
    """How many of the inversions are not to be believed, by verdict; nothing where they are few."""
    counts = Counter(pick.verdict for pick in cell.picks if pick.verdict in DOUBTFUL)
    if counts.total() < MANY * len(cell.picks):
        return ""
    if len(cell.picks) == 1:
        return f"{UNRELIABLE}: an inversion {next(DOUBTFUL[name] for name in counts)}."
    named = ", ".join(f"{count} {DOUBTFUL[name]}" for name, count in counts.most_common())
    return f"{UNRELIABLE}: of {len(cell.picks)} inversions {named}."


def _cautions(cell: Cell) -> str:
    """What to beware of in all rates of a cell: inversions that are not to be believed, a bandwidth that is coarse."""
    coarse = (
        f"{COARSE}: one direction holds {cell.coarse_share:.0%} of this site's variance, so this bandwidth does not "
        "tell apart what lies along others; a low rate does not say that the feature is not held."
    )
    return " ".join(note for note in (_doubtful(cell), coarse if cell.coarse_share else "") if note)


def _notes(row: Mapping[str, Any], permutations: int, cautions: str, groups: float) -> str:
    """What to beware of, in sentences."""
    notes = [cautions] if cautions else []
    if row["n_undefined"] == row["n_targets"]:
        notes.append("The feature is undefined for every picked input.")
    elif row["n_undefined"]:
        notes.append(f"Undefined for {row['n_undefined']} of {row['n_targets']} picked inputs, which do not count.")
    if row["n_undefined"] < row["n_targets"] and np.isnan(row["fcr"]):
        notes.append("No sample but copies of the picks has weight: try a larger bandwidth.")
    if row["bits_bound"] < LITTLE:
        notes.append(f"So wide a bandwidth lets {row['bits_bound']:.1f} bits pass at most, on average.")
    if row["chance"] > NEARLY_CONSTANT:
        notes.append(f"Chance is above {NEARLY_CONSTANT}: the feature hardly varies over these picks.")
    if 1 < row["n_groups"] < FEW_GROUPS:
        notes.append(f"Only {row['n_groups']} picks, or groups of picks, count: the interval is rough.")
    elif row["n_groups"] > 1 and round(groups, 1) < FEW_GROUPS:
        notes.append(f"{row['n_groups']} groups so uneven that they count as {groups:.1f}: the interval is rough.")
    if row["n_groups"] == 1 and row["n_targets"] > 1 + row["n_undefined"] + row["n_dropped"]:
        notes.append("All picks are one group: no interval and no chance level.")
    if permutations and np.isnan(row["p_value"]) and row["n_groups"] > 1:
        notes.append("All picks agree on it, or differ within groups only: it cannot be told from chance here.")
    return " ".join(notes)


def _mean(values: np.ndarray) -> float:
    """The mean of what is not NaN."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
