"""What a study of use found, and how it stands beside rates of consistency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._ranks import RankCorrelation, rank_correlation
from ..errors import InvalidArgument
from ..reports import SIGNIFICANT, ConsistencyReport, is_doubtful

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

MEASURES = {
    "kl": "KL(original || patched) of the next-token distribution, in nats",
    "shift": "by how much the answer's logit falls against the other's",
}
"""How movement of the output is measured."""

USE_COLUMNS = {
    "site": "where: the canonical name",
    "layer": "its block",
    "kind": "its component",
    "head": "its head, if it is one head's",
    "feature": "the hypothesis",
    "measure": "how movement is measured: one of `MEASURES`",
    "n_targets": "picked inputs",
    "n_undefined": "picks for which the feature is undefined",
    "n_unpaired": "picks without a source that flips it and one that keeps it (of `shift`: or without answers)",
    "n_groups": "groups of picks that count (what the interval resamples)",
    "n_pairs": "pairs of patches, all picks together",
    "n_sources": "different inputs that they come from, on the side that has fewer",
    "flipped": "mean movement by patches with another label",
    "equal": "mean movement by patches with the same label",
    "equal_stretched": "the same, stretched to the length of those with another label",
    "random": "mean movement by displacements of that length in directions drawn evenly",
    "d_flipped": "mean distance of patches with another label; two inputs lie about 1.4 apart",
    "d_equal": "mean distance of patches with the same label",
    "use": "flipped - equal, averaged over picks: the figure to quote; of `shift` below 0 where flips help the answer",
    "low": "lower end of its 95 % interval",
    "high": "upper end of its 95 % interval",
    "p_value": "one-sided for kl, two-sided for shift: sign flips of groups of picks, or with sources as clusters, "
    "whichever is larger",
    "q_value": "p_value after Benjamini and Hochberg over all rows",
    "notes": "what to beware of",
}
"""Columns of `UseReport.to_frame` and what they mean."""

USE_PICK_COLUMNS = {
    "site": "where",
    "feature": "the hypothesis",
    "measure": "how movement is measured",
    "pick": "index of the picked input",
    "group": "which picks belong together",
    "n_pairs": "pairs of patches",
    "flipped": "mean movement by patches with another label",
    "equal": "mean movement by patches with the same label",
    "equal_stretched": "the same, stretched to the length of those with another label",
    "random": "mean movement by displacements of that length in directions drawn evenly",
    "d_flipped": "mean distance of patches with another label",
    "d_equal": "mean distance of patches with the same label",
}
"""Columns of `UseReport.picks_frame` and what they mean."""

BESIDE = ("fcr", "fcr_star", "fcr_star_low", "fcr_star_high", "q_value", "notes")
"""Columns of a consistency report that stand beside use."""


@dataclass(frozen=True, repr=False)
class UseReport:
    """Whether the output moves further where a patch flips a feature; made by :func:`use`."""

    rows: tuple[Mapping[str, Any], ...]
    """One per site, feature and measure, with the keys of `USE_COLUMNS`."""
    picks: tuple[Mapping[str, Any], ...]
    """One per row and pick that counts, with the keys of `USE_PICK_COLUMNS`."""
    settings: Mapping[str, Any]
    """What the study was."""

    def to_frame(self) -> pd.DataFrame:
        """One row per site, feature and measure; columns as in `USE_COLUMNS`."""
        import pandas as pd

        frame = pd.DataFrame(list(self.rows), columns=list(USE_COLUMNS))
        return frame.astype({"layer": "Int64", "head": "Int64"})

    def picks_frame(self) -> pd.DataFrame:
        """One row per pick of each of those; columns as in `USE_PICK_COLUMNS`."""
        import pandas as pd

        return pd.DataFrame(list(self.picks), columns=list(USE_PICK_COLUMNS))

    def beside(
        self, consistency: ConsistencyReport, *, bandwidth: float | None = None, measure: str = "kl"
    ) -> pd.DataFrame:
        """Consistency and use of the same features at the same sites: what is held, and what is used.

        Args:
            consistency: what `consistency` returned for those sites and features.
            bandwidth: which of its bandwidths; None: the only one.
            measure: which of `MEASURES`.

        Returns:
            columns site, layer, kind, head, feature, those of `BESIDE` (q_value as fcr_q), use, use_low, use_high,
            use_q, ``found``: "held and used", "held, no use found", "used, not found held", "neither found", or "not
            tested" where one of them was not, and ``doubtful``: whether the rate is not to be relied on.

        Raises:
            InvalidArgument: several bandwidths and none chosen, another measure, or nothing in common.
        """
        if measure not in {row["measure"] for row in self.rows}:
            raise InvalidArgument(
                f"measure={measure!r}", hint=f"measured: {', '.join(sorted({row['measure'] for row in self.rows}))}"
            )
        held = consistency.to_frame()
        widths = sorted(held["bandwidth"].unique())
        if bandwidth is None and len(widths) > 1:
            raise InvalidArgument(f"the rates are of the bandwidths {widths}", hint="choose one: bandwidth=")
        if bandwidth is not None:
            held = held[np.isclose(held["bandwidth"], bandwidth)]
            if held.empty:
                raise InvalidArgument(f"no rate is of the bandwidth {bandwidth!r}", hint=f"there are {widths}")
        held = held[["site", "feature", *BESIDE]].rename(columns={"q_value": "fcr_q"})
        mine = self.to_frame()
        mine = mine[mine["measure"] == measure]
        mine = mine[["site", "layer", "kind", "head", "feature", "use", "low", "high", "q_value"]]
        mine = mine.rename(columns={"low": "use_low", "high": "use_high", "q_value": "use_q"})
        both = mine.merge(held, on=["site", "feature"], how="inner")
        if both.empty:
            raise InvalidArgument(
                "the two reports have no site and feature in common",
                hint="measure the same features at the same sites; heads by their z in both",
            )
        is_held = (both["fcr_q"] <= SIGNIFICANT) & (both["fcr_star"] > 0)
        is_used = both["use_q"] <= SIGNIFICANT
        tested = both["fcr_q"].notna() & both["use_q"].notna()
        both["found"] = [
            FOUND[bool(h), bool(u)] if t else NOT_TESTED for h, u, t in zip(is_held, is_used, tested, strict=True)
        ]
        both["doubtful"] = [is_doubtful(notes) for notes in both["notes"]]
        first = ["site", "layer", "kind", "head", "feature"]
        return both[first + [c for c in both.columns if c not in first]]

    def agreement(
        self, consistency: ConsistencyReport, *, bandwidth: float | None = None, measure: str = "kl", seed: int = 0
    ) -> dict[str, RankCorrelation]:
        """For each feature, how far the ranks of sites by consistency and by use agree (Spearman).

        By how large use is: of ``shift`` its sign does not count.

        Raises:
            InvalidArgument: see :meth:`beside`.
        """
        both = self.beside(consistency, bandwidth=bandwidth, measure=measure)
        size = np.abs if measure == "shift" else np.asarray
        return {
            feature: rank_correlation(part["fcr_star"].to_numpy(float), size(part["use"].to_numpy(float)), seed=seed)
            for feature, part in both.groupby("feature", sort=False)
        }

    def chart(self) -> alt.TopLevelMixin:
        """Use with its interval at each site; see `charts.use_chart`."""
        from ..charts import use_chart

        return use_chart(self.to_frame())

    def summary(self, limit: int = 8) -> str:
        """A few plain sentences, the most used first."""
        s = self.settings
        lines = [
            f"{s['n_targets']} picked inputs, patches from {s['n_sources']} others, up to {s['n_pairs']} pairs each."
        ]
        ranked = sorted(self.rows, key=lambda row: -np.nan_to_num(row["use"], nan=-np.inf))
        for row in ranked[:limit]:
            where = f"{row['feature']!r} at {row['site']} ({row['measure']})"
            if np.isnan(row["use"]):
                lines.append(f"{where}: no pair of patches, one that flips it and one that keeps it.")
                continue
            told = "" if np.isnan(row["q_value"]) else f", q = {row['q_value']:.2g}"
            moved = ", ".join(f"{words} move the output by {row[name]:.3g}" for name, words in _PATCHES.items())
            interval = f"[{row['low']:.2g}, {row['high']:.2g}]"
            lines.append(f"{where}: patches {moved}; use {row['use']:.3g} {interval}{told}")
        if len(ranked) > limit:
            lines.append(f"... and {len(ranked) - limit} more rows in to_frame().")
        if s["reads_later"]:
            lines.append("Only the patched token was changed: what later tokens read elsewhere is intact.")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<UseReport of {len(self.rows)} rows>\n{self.summary(3)}"


NOT_TESTED = "not tested"
_PATCHES = {"flipped": "that flip it", "equal": "that keep it", "random": "in random directions, as far away"}
FOUND = {
    (True, True): "held and used",
    (True, False): "held, no use found",
    (False, True): "used, not found held",
    (False, False): "neither found",
}
"""(told from chance, told to be used) -> words. What was not found may be there: the study may be small."""
