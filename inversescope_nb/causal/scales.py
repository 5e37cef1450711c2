"""A gentler intervention: multiply an activation by a number, given or learned (Activation Scaling, arXiv 2410.04962).

Scaling keeps the direction of what a site says and changes how loudly it says it; 0 removes it, -1 turns it round.
:func:`scaling` tries given factors at one site at a time; :func:`learn_scales` learns one factor for each site, all
at work together, such that the model prefers the other answer while the factors stay near 1. Only the picked token's
activations are scaled.

Axis names: s (sites).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._agreement import RESAMPLES, effective_groups
from .._arguments import check_model, seed_number, whole_number
from .._picks import GroupBy, Targets
from .._progress import Progress, reported
from .._statistics import bootstrap_counts, percentile_interval, wilson
from ..errors import Cancelled, InvalidArgument
from .outputs import Answers, Original
from .targets import causal_picks, patchable

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from ..models import LanguageModel
    from ..sites import Site

FACTORS = (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0)
SCALING_COLUMNS = {
    "site": "where: the canonical name; 'all' where learned factors work together",
    "factor": "what the activation was multiplied with; NaN for all together",
    "n_targets": "picked inputs",
    "kl": "mean KL(original || scaled) of the next-token distribution, in nats",
    "kl_low": "lower end of its 95 % interval (bootstrap over groups)",
    "kl_high": "upper end",
    "difference": "mean logit of the answer less that of the other; NaN without `answers`",
    "difference_low": "lower end of its 95 % interval",
    "difference_high": "upper end",
    "n_answers": "picks with both answers, behind `difference` and `flipped`; without `answers` all",
    "flipped": "share of picks whose answer changes: the difference's sign; without `answers` the likeliest token",
    "flipped_low": "lower end of its 95 % interval (Wilson, by effective groups)",
    "flipped_high": "upper end",
}  # fmt: skip
"""Columns of `ScalingReport.to_frame` and what they mean."""


@dataclass(frozen=True, repr=False)
class ScalingReport:
    """What scaled activations do to the output; made by :func:`scaling` and :func:`learn_scales`."""

    rows: tuple[Mapping[str, Any], ...]
    """With the keys of `SCALING_COLUMNS`."""
    settings: Mapping[str, Any]
    """What was done."""

    def to_frame(self) -> pd.DataFrame:
        """One row per site and factor; columns as in `SCALING_COLUMNS`."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=list(SCALING_COLUMNS))

    def chart(self) -> alt.TopLevelMixin:
        """Effects against factors, a line for each site; see `charts.scaling_chart`."""
        from ..charts import scaling_chart

        return scaling_chart(self.to_frame())

    def summary(self, limit: int = 8) -> str:
        """A few plain sentences, the largest effects first."""
        lines = [f"{self.settings['n_targets']} picked inputs, scaled at the picked token only."]
        ranked = sorted(self.rows, key=lambda row: (-np.nan_to_num(row["flipped"], nan=-1.0), -row["kl"]))
        for row in ranked[:limit]:
            by = (
                "learned factors at all sites"
                if math.isnan(row["factor"])
                else f"{row['site']} times {row['factor']:.3g}"
            )
            ends = f"[{row['flipped_low']:.2f}, {row['flipped_high']:.2f}]"
            lines.append(
                f"{by}: {row['flipped']:.0%} of the answers change {ends}, the output moves by {row['kl']:.3g} nats"
            )
        if len(ranked) > limit:
            lines.append(f"... and {len(ranked) - limit} more rows in to_frame().")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<ScalingReport of {len(self.rows)} rows>\n{self.summary(3)}"


def scaling(
    lm: LanguageModel,
    targets: Targets,
    sites: str | Site | Sequence[str | Site],
    *,
    factors: Sequence[float] = FACTORS,
    answers: Answers = None,
    n_targets: int = 32,
    position: int = -1,
    slot: str | None = None,
    group_by: GroupBy = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> ScalingReport:
    """Multiplies activations by given factors, one site at a time.

    Args:
        lm, targets, sites, answers, n_targets, position, slot, group_by: as in :func:`inversescope_nb.causal.use`.
        factors: what to multiply with; 1 changes nothing.
        seed: of the picks and the intervals.
        on_progress: called with (done, total, message).
        progress: whether to show a bar when nothing else listens (only for work of more than a second).
        cancel: looked at between sites and factors.

    >>> import inversescope_nb as isn
    >>> lm, task = isn.load_model(), isn.tasks.ioi()
    >>> report = isn.causal.scaling(lm, task.held_out, "blocks.3.hook_attn_out", factors=[0, 1], n_targets=8)
    >>> report.to_frame()["factor"].tolist(), report.to_frame()["kl"].tolist()[1]
    ([0.0, 1.0], 0.0)
    """
    check_model(lm)
    places, factors, seed = patchable(lm, sites), _factors(factors), seed_number(seed)
    n_targets = whole_number("n_targets", n_targets, least=1, hint="32 is the usual choice")
    picks = causal_picks(lm, targets, n=n_targets, position=position, slot=slot, group_by=group_by, seed=seed)
    originals = picks.originals(lm, answers)
    rows = []
    with reported(on_progress, progress, "scaling") as report:
        for site in places:
            for factor in factors:
                if cancel is not None and cancel.is_set():
                    raise Cancelled("scaling was stopped")
                found = [original.scaled(lm, site, factor) for original in originals]
                moved = [(float(e.kl[0]), float(e.difference[0]), bool(e.same_top[0])) for e in found]
                rows.append(scaled_row(site.name, factor, originals, moved, picks.groups, seed, answers is not None))
                if report is not None:
                    report(len(rows), len(places) * len(factors), f"scaling {site.name}")
    return ScalingReport(tuple(rows), {"target_model": lm.name, "n_targets": len(originals), "seed": seed})


def _factors(factors: Sequence[float]) -> list[float]:
    try:
        found = list(dict.fromkeys(float(factor) for factor in factors))
    except (TypeError, ValueError):
        found = []
    if not found or not all(map(math.isfinite, found)):
        raise InvalidArgument(f"factors={factors!r:.60}", hint="numbers, such as (0, 0.5, 1, 2); 1 changes nothing")
    return found


def scaled_row(
    site: str,
    factor: float,
    originals: Sequence[Original],
    moved: Sequence[tuple[float, float, bool]],
    groups: Sequence[int],
    seed: int,
    answered: bool,
) -> dict[str, Any]:
    """Means over picks of (kl, difference, whether the likeliest token stays); `answered`: whether by answers."""
    kl, difference, same = (np.array(values, dtype=float) for values in zip(*moved, strict=True))
    before = np.array([original.difference for original in originals])
    known = np.isfinite(before) & np.isfinite(difference)
    counted = known if answered else np.ones(len(kl), dtype=bool)
    flipped = np.sign(before[known]) != np.sign(difference[known]) if answered else same == 0
    codes = np.unique(groups, return_inverse=True)[1]
    found = {"site": site, "factor": factor, "n_targets": len(originals)}
    for name, values, of in (("kl", kl, np.ones(len(kl), bool)), ("difference", difference, known)):
        ends = _interval(values[of], codes[of], seed)
        mean = float(values[of].mean()) if of.any() else float("nan")
        found |= {name: mean, f"{name}_low": ends[0], f"{name}_high": ends[1]}
    share = low = high = float("nan")
    if counted.any():
        share = float(flipped.mean())
        low, high = (float(end) for end in wilson(share, effective_groups(codes[counted])))
    return {**found, "n_answers": int(counted.sum()), "flipped": share, "flipped_low": low, "flipped_high": high}


def _interval(values: np.ndarray, groups: np.ndarray, seed: int) -> tuple[float, float]:
    if len(np.unique(groups)) < 2:
        return float("nan"), float("nan")
    counts = bootstrap_counts(np.unique(groups, return_inverse=True)[1], RESAMPLES, seed)
    return percentile_interval(counts @ values / counts.sum(-1))
