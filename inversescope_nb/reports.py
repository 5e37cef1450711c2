"""What a consistency study found: one row per site, bandwidth and feature, and the picks behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._agreement import paired_difference
from ._files import write_result
from ._json import number, plain
from .errors import InvalidArgument, ModelLoadError, suggest

if TYPE_CHECKING:
    import altair as alt

ROW_COLUMNS = {
    "site": "where: the canonical name",
    "layer": "its block",
    "kind": "its component",
    "head": "its head, if it is one head's",
    "feature": "the hypothesis",
    "bandwidth": "width of the kernel, in standardised units",
    "n_targets": "picked inputs",
    "n_groups": "groups of those that count (what the interval resamples)",
    "n_undefined": "picks dropped because the feature is undefined for them",
    "n_dropped": "picks dropped because no sample but copies of themselves had weight",
    "fcr_plain": "the paper's estimator: samples unweighted, copies of the pick included",
    "fcr": "weighted, without copies of the pick: the figure to quote",
    "fcr_low": "lower end of its 95 % interval",
    "fcr_high": "upper end of its 95 % interval",
    "fcr_with_copies": "weighted, with copies",
    "fcr_channel": "weighted, samples of the noised activation (the pick is then one of their kind); if asked for",
    "fcr_shuffled": "control: the paper's estimator where every activation is another pick's (of another group)",
    "fcr_dropped": "control: the same where the generator sees no activation at all",
    "chance": "the weighted estimator for labels and samples of picks of different groups",
    "chance_prior": "agreement of the labels with inputs from P(X)",
    "chance_defined": "the same with those for which the feature is defined (20 or more of them), times `defined`",
    "defined": "weight of samples for which the feature is defined, without copies; others count as disagreeing",
    "fcr_star": "(fcr - chance) / (1 - chance)",
    "fcr_star_low": "lower end of its 95 % interval",
    "fcr_star_high": "upper end of its 95 % interval",
    "fcr_star_by_label": "fcr_star of each label, averaged over labels",
    "p_value": "permutation test of 'the feature is independent of the samples'",
    "q_value": "p_value after Benjamini and Hochberg over all rows",
    "ess_median": "median effective sample size of the inversions",
    "ess_ratio": "that over the number of samples",
    "bits": "mean resolution bits of the inversions",
    "bits_bound": "bits that any activation of the site can say at most, on average, through noise of this width",
    "copy_share": "mean weight of copies of the pick among its samples",
    "verdict_counts": "verdicts of the inversions",
    "notes": "what to beware of",
}
"""Columns of `ConsistencyReport.to_frame` and what they mean."""

PICK_COLUMNS = {
    "site": "where",
    "feature": "the hypothesis",
    "bandwidth": "width of the kernel",
    "pick": "index of the picked input",
    "group": "which picks belong together",
    "label": "the picked input's label, as text",
    "fcr_plain": "share of samples that agree, unweighted, with copies",
    "fcr": "weighted, without copies",
    "fcr_low": "lower end of its 95 % interval (Wilson, n = ess)",
    "fcr_high": "upper end of its 95 % interval",
    "fcr_with_copies": "weighted, with copies",
    "fcr_channel": "weighted, samples of the noised activation",
    "defined": "weight of samples for which the feature is defined, without copies",
    "ess": "effective sample size without copies",
    "verdict": "verdict of the inversion",
}
"""Columns of `ConsistencyReport.picks_frame` and what they mean."""

_TEXT = {"site", "kind", "feature", "verdict_counts", "notes", "label", "verdict"}
_WHOLE = {"layer", "head", "n_targets", "n_groups", "n_undefined", "n_dropped", "pick", "group"}
UNRELIABLE = "Not to be relied on"
"""How a note begins that says that many inversions behind a row are not to be believed."""


def is_doubtful(notes: Any) -> bool:
    """Whether the notes of a row say that its inversions are not to be relied on; there may be none.

    >>> is_doubtful("Not to be relied on: an inversion with few effective samples."), is_doubtful(None)
    (True, False)
    """
    return str(notes or "").startswith(UNRELIABLE)


COARSE = "Coarse here"
"""How a note begins that says that the bandwidth does not resolve the site, so that a low rate there says little."""


def is_coarse(notes: Any) -> bool:
    """Whether the notes of a row say that the bandwidth does not resolve its site; there may be none.

    >>> is_coarse("Only 4 picks count. Coarse here: one direction holds 90 % of it."), is_coarse(None)
    (True, False)
    """
    return COARSE in str(notes or "")


SIGNIFICANT = 0.05
"""The false discovery rate that `ConsistencyReport.summary` speaks of."""


LITTLE = 4.0
"""Bits that pass through a bandwidth at most, on average, below which little can be found at a site."""
FEW_GROUPS = 10
"""Below this number of groups an interval over groups is rough."""
IGNORED = 0.1
"""Corrected rate up to which a feature counts as ignored."""


@dataclass(frozen=True, repr=False)
class ConsistencyReport:
    """How consistently the samples of activations share a feature with the input that was picked."""

    rows: tuple[Mapping[str, Any], ...]
    """One per site, bandwidth and feature, with the keys of `ROW_COLUMNS`."""
    picks: tuple[Mapping[str, Any], ...]
    """One per row and pick for which the feature is defined, with the keys of `PICK_COLUMNS`."""
    settings: Mapping[str, Any]
    """What the study was: P(X), target model, numbers of picks, samples and permutations, seed."""

    def to_frame(self) -> pd.DataFrame:
        """One row per site, bandwidth and feature; columns as in `ROW_COLUMNS`."""
        return _frame(self.rows, ROW_COLUMNS)

    def picks_frame(self) -> pd.DataFrame:
        """One row per pick of each of those; columns as in `PICK_COLUMNS`."""
        return _frame(self.picks, PICK_COLUMNS)

    def chart(self) -> alt.Chart | alt.LayerChart | alt.FacetChart:
        """The rates with their intervals and chance levels; see `charts.consistency_chart`."""
        from .charts import consistency_chart

        return consistency_chart(self.to_frame())

    def linked_chart(self) -> alt.TopLevelMixin:
        """Rates, bits and effective samples of every site, and one site in detail; see `charts.linked_chart`."""
        from .charts import linked_chart

        return linked_chart(self.to_frame())

    def difference(
        self, first: str, second: str, *, feature: str | None = None, bandwidth: float | None = None
    ) -> pd.DataFrame:
        """How much more consistent one site is than another, on the picks that both have.

        The interval resamples groups of picks, each with its two rates together, so what makes a pick
        easy or hard at both sites cancels.

        Args:
            first, second: canonical names of sites.
            feature, bandwidth: only this one; None: all.

        Returns:
            columns feature, bandwidth, n_picks, difference (fcr at first - fcr at second), low, high.

        Raises:
            InvalidArgument: a site, feature or bandwidth that the report does not have.
        """
        frame = self.picks_frame()
        for column, value in (
            ("site", first),
            ("site", second),
            ("feature", feature),
            ("bandwidth", bandwidth),
        ):
            known = list(dict.fromkeys(row[column] for row in self.rows))
            if value is not None and value not in known:
                raise InvalidArgument(
                    f"the report has no {column} {value!r}.{suggest(str(value), map(str, known))}",
                    hint=f"it has {', '.join(map(str, known)) or 'none'}",
                )
        out = []
        for (name, width), part in frame.groupby(["feature", "bandwidth"], sort=False):
            if (feature is not None and name != feature) or (bandwidth is not None and width != bandwidth):
                continue
            table = part.pivot(index=["pick", "group"], columns="site", values="fcr")
            table = table.reindex(columns=list(dict.fromkeys([first, second]))).dropna()
            groups = table.index.get_level_values("group").to_numpy(dtype=np.int64)
            values = [table[site].to_numpy(dtype=np.float64) for site in (first, second)]
            estimate, low, high = paired_difference(*values, groups, seed=self.settings.get("seed", 0))
            out.append((name, width, len(table), estimate, low, high))
        return pd.DataFrame(out, columns=["feature", "bandwidth", "n_picks", "difference", "low", "high"])

    # -- what is held and what is not --------------------------------------------------------------

    def held(self) -> pd.DataFrame:
        """The rows whose feature is told from chance (q of 0.05 at most), the most consistent first."""
        frame = self.to_frame()
        return frame[(frame["q_value"] <= SIGNIFICANT) & (frame["fcr_star"] > 0)].sort_values(
            "fcr_star", ascending=False, kind="stable"
        )

    def ignored(self, below: float = IGNORED) -> pd.DataFrame:
        """The rows whose feature varies freely: inputs that share an activation agree on it hardly more than others do.

        Not that nothing was found, but that little can be there: the upper end of the interval of `fcr_star` is
        `below` at most, over ten groups of picks or more, by inversions that can be relied on and at a bandwidth that
        lets four bits pass and resolves the site. At another bandwidth the same site may hold the feature. Each row is
        a claim of its own, at 95 %: of many rows some are wrong.

        Args:
            below: the corrected rate from which on a feature is not ignored.
        """
        if not 0 < below < 1:
            raise InvalidArgument(f"below={below!r}", hint=f"a rate between 0 and 1; {IGNORED} is the usual choice")
        frame = self.to_frame()
        sound = np.array([not is_doubtful(notes) and not is_coarse(notes) for notes in frame["notes"]], dtype=bool)
        sound &= ~(frame["bits_bound"] < LITTLE).to_numpy() & (frame["n_groups"] >= FEW_GROUPS).to_numpy(dtype=bool)
        return frame[(frame["fcr_star_high"] <= below).to_numpy() & sound].sort_values("fcr_star_high", kind="stable")

    # -- words ---------------------------------------------------------------------------------

    def summary(self, limit: int = 8) -> str:
        """A few plain sentences: the study, then its rows from the most to the least consistent."""
        s = self.settings
        head = f"{s['n_targets']} picked input{'s' * (s['n_targets'] != 1)}, {s['n_samples']} samples each"
        if s.get("prompts"):
            head += f"; everything is relative to the prompts of {s['prompts']}"
        ranked = sorted(self.rows, key=lambda row: -np.nan_to_num(row["fcr_star"], nan=-9.0))
        lines = [head + ".", *(describe(row) for row in ranked[:limit])]
        if len(ranked) > limit:
            lines.append(f"... and {len(ranked) - limit} more rows in to_frame().")
        free: dict[str, list[str]] = {}
        for row in self.ignored().to_dict("records"):
            free.setdefault(row["feature"], []).append(f"{row['site']} ({row['bandwidth']:g})")
        for feature, places in list(free.items())[:limit]:
            more = f" and {len(places) - 3} more" if len(places) > 3 else ""
            lines.append(f"{feature!r} varies freely at {', '.join(places[:3])}{more}.")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<ConsistencyReport of {len(self.rows)} rows>\n{self.summary(3)}"

    # -- files ---------------------------------------------------------------------------------

    def to_json(self, path: str | Path | None = None) -> str:
        """The report as JSON, also written to `path` if one is given."""
        content = {"format": 1, "settings": dict(self.settings), "rows": self.rows, "picks": self.picks}
        text = json.dumps(plain(content), allow_nan=False)
        if path is not None:
            write_result(path, text)
        return text

    @classmethod
    def from_json(cls, source: str | Path) -> ConsistencyReport:
        """The report that `to_json` wrote, from its text or (a `Path`) its file.

        Raises:
            ModelLoadError: no such file.
            InvalidArgument: it is no report.
        """
        if isinstance(source, Path):
            if not source.is_file():
                raise ModelLoadError(f"no such file: {source}", hint="give a file that to_json wrote")
            source = source.read_text(encoding="utf-8")
        try:
            found = json.loads(source)
            rows = tuple(_row(row, ROW_COLUMNS) for row in found["rows"])
            picks = tuple(_row(row, PICK_COLUMNS) for row in found["picks"])
            return cls(rows, picks, found["settings"])
        except (ValueError, KeyError, TypeError) as e:
            raise InvalidArgument("this is no consistency report", hint="give what to_json returned") from e


def describe(row: Mapping[str, Any]) -> str:
    """One row of a report as a sentence."""
    where = f"{row['feature']!r} at {row['site']}, bandwidth {row['bandwidth']:g}"
    if np.isnan(row["fcr"]):
        return f"{where}: no estimate. {row['notes']}".rstrip()
    interval = "" if np.isnan(row["fcr_low"]) else f" [{row['fcr_low']:.2f}, {row['fcr_high']:.2f}]"
    text = f"{where}: {row['fcr']:.2f}{interval} of the inputs with that activation agree with the pick"
    if not np.isnan(row["chance"]):
        text += f", {row['chance']:.2f} by chance"
    if not np.isnan(row["chance_prior"]):
        text += f" ({row['chance_prior']:.2f} in all prompts)"
    if not np.isnan(row["fcr_star"]):
        text += f"; corrected {row['fcr_star']:.2f}"
    if not np.isnan(row["q_value"]):
        told = "told" if row["q_value"] <= SIGNIFICANT else "not told"
        text += f", {told} from chance (q = {row['q_value']:.2g})"
    return f"{text}. {row['notes']}".rstrip()


def _frame(rows: tuple[Mapping[str, Any], ...], columns: Mapping[str, str]) -> pd.DataFrame:
    """A frame with fixed columns and types, also when there are no rows."""
    frame = pd.DataFrame(list(rows), columns=list(columns))
    kinds = {c: "Int64" if c in _WHOLE else object if c in _TEXT else np.float64 for c in columns}
    return frame.astype(kinds)


def _row(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """One row read back: null is NaN in columns of numbers and None elsewhere."""
    if "defined" not in row:  # a report of an earlier version, whose chance_defined was of something else
        row = {**row, "chance_defined": None, "defined": None}
    row = {"bits_bound": None, "fcr_shuffled": None, "fcr_dropped": None, **row}
    return {c: row[c] if c in _TEXT | _WHOLE else number(row[c]) for c in columns}
