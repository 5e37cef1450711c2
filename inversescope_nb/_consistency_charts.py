"""The two faces of a consistency chart: points with whiskers for few sites, a heat map for many."""

from __future__ import annotations

import re
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from .reports import UNRELIABLE
from .verdicts import DOUBTFUL

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
"""Okabe and Ito's palette."""
GREY = "#767676"
"""Passes contrast on white and on near-black."""
COMPONENTS = (
    "resid_pre", "z", "result", "attn_raw", "attn_out", "resid_mid", "mlp_raw", "mlp_out", "resid_post"
)  # fmt: skip
"""Order of components in charts: the order of the forward pass."""
WIDTH, PANEL, ROW_HEIGHT = 380, 250, 18
PALE = 0.5
"""Share of inversions that are not to be believed from which a cell of a heat map is pale."""
WIDE = 700
"""Pixels within which the panels of a heat map stand side by side."""
MANY_COMPONENTS = 9
"""Columns of a heat map from which on there is room for a title under them."""
HEADS = "replace(datum.label, /^z (?=[0-9])/, 'head ')"
"""What stands under a column: of what heads hold, their number, as on the widget's map."""
LEGEND = alt.Legend(title=None, orient="top", offset=4)
_MARKS = ["consistency", "chance"]
_TICK = "M-0.22,-1H0.22V1H-0.22Z"  # an upright bar, as a symbol that the legend shows too
_SUBTITLE = "weighted, without copies of the picked input; whiskers: 95 % interval"


def prepared(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the columns that charts add, and plain types."""
    if "verdict_counts" in frame.columns:
        frame = frame.assign(doubtful=[_doubtful_share(counts) for counts in frame["verdict_counts"]])
    wanted = (
        "site layer kind head feature bandwidth fcr fcr_low fcr_high chance chance_prior fcr_star "
        "p_value q_value n_groups ess_ratio bits doubtful notes"
    )
    frame = frame.reindex(columns=[c for c in wanted.split() if c in frame.columns])
    frame = frame.astype({c: np.float64 for c in ("layer", "head") if c in frame.columns})
    if frame.get("bandwidth") is not None and frame["bandwidth"].nunique() > 1:
        frame = frame.assign(row=frame["site"] + frame["bandwidth"].map(lambda b: f"  (bandwidth {b:g})"))
    else:
        frame = frame.assign(row=frame["site"])
    return frame


def _doubtful_share(verdict_counts: Any) -> float:
    """Share of the inversions behind a rate that are not to be believed.

    >>> _doubtful_share("RELIABLE: 3, LOW_ESS: 1")
    0.25
    """
    counts = {name: int(count) for name, count in re.findall(r"(\w+): (\d+)", str(verdict_counts))}
    return sum(count for name, count in counts.items() if name in DOUBTFUL) / max(1, sum(counts.values()))


def tooltip(frame: pd.DataFrame) -> list[alt.Tooltip]:
    """All that a row knows, in a fixed order."""
    titles = {
        "feature": "feature",
        "site": "site",
        "bandwidth": "bandwidth",
        "fcr": "consistency",
        "fcr_low": "95 % from",
        "fcr_high": "to",
        "chance": "chance",
        "chance_prior": "in all prompts",
        "fcr_star": "corrected for chance",
        "q_value": "q-value",
        "n_groups": "groups of picks",
        "bits": "bits",
        "notes": "notes",
    }
    return [
        alt.Tooltip(f"{c}:{'N' if c in ('feature', 'site', 'notes') else 'Q'}", title=title, format=_format(c))
        for c, title in titles.items()
        if c in frame.columns
    ]


def _format(column: str) -> Any:
    if column in ("feature", "site", "notes"):
        return alt.Undefined
    return {"n_groups": "d", "bandwidth": "~g", "q_value": ".2~g", "bits": ".2f"}.get(column, ".3f")


def points(frame: pd.DataFrame, width: int | str) -> alt.TopLevelMixin:
    """Points with whiskers and ticks of chance, a panel per feature."""
    features = list(dict.fromkeys(frame["feature"]))
    title = f"Consistency of {features[0]!r}" if len(features) == 1 else "Feature consistency"
    heading = alt.TitleParams(title, anchor="start", subtitle=_SUBTITLE)
    agree = "share of samples that agree with the picked input" if len(features) == 1 else "share that agrees"
    scale = alt.Scale(domain=[0, 1])
    y = alt.Y("row:N", sort=list(dict.fromkeys(frame["row"])), title=None, axis=alt.Axis(labelLimit=320))
    base = alt.Chart().encode(y=y)

    def mark(column: str, name: str, size: int) -> alt.Chart:
        return (
            base.transform_calculate(what=f"'{name}'")
            .mark_point(filled=True, size=size, opacity=1)
            .encode(
                x=alt.X(f"{column}:Q", scale=scale, axis=alt.Axis(format="%", tickCount=5), title=agree),
                color=alt.Color("what:N", scale=alt.Scale(domain=_MARKS, range=[BLUE, ORANGE]), legend=LEGEND),
                shape=alt.Shape("what:N", scale=alt.Scale(domain=_MARKS, range=["circle", _TICK]), legend=LEGEND),
                tooltip=tooltip(frame),
            )
        )

    layers = []
    level = "chance" if "chance" in frame.columns and frame["chance"].notna().any() else "chance_prior"
    if level in frame.columns:
        layers.append(mark(level, _MARKS[1], 170))
    if {"fcr_low", "fcr_high"} <= set(frame.columns):
        whiskers = base.mark_rule(color=BLUE, size=2)
        layers.append(whiskers.encode(x=alt.X("fcr_low:Q", scale=scale, title=agree), x2="fcr_high:Q"))
    layers.append(mark("fcr", _MARKS[0], 70))
    layered = alt.layer(*layers, data=frame).properties(height=alt.Step(ROW_HEIGHT))
    if len(features) == 1:
        return layered.properties(width=width, title=heading)
    panels = layered.properties(width=PANEL if width == "container" else width * 2 // 3)
    facet = alt.Facet("feature:N", sort=features, title=None, header=alt.Header(labelFontWeight="bold"))
    return panels.facet(facet, columns=2 if len(features) == 4 else 3).properties(title=heading)


def heatmap(frame: pd.DataFrame, *, select: bool = False, chosen: str = "") -> alt.TopLevelMixin:
    """Layers against components and heads, coloured by the corrected rate, pale where most inversions failed; a dot
    marks q <= 0.05.

    With ``select`` a click on a cell selects its site, and the cells of the site in the parameter ``chosen`` are
    framed, in all panels.
    """
    frame = frame.assign(component=components_of(frame))
    components = sorted(frame["component"].unique(), key=component_order)
    features = list(dict.fromkeys(frame["feature"]))
    base = grid(frame, components)
    cells = base.mark_rect(stroke="white", strokeWidth=0.5).encode(
        color=alt.Color(
            "fcr_star:Q",
            scale=alt.Scale(scheme="viridis", domain=[0, 1], clamp=True),
            legend=alt.Legend(title="corrected", format="%", orient="bottom", direction="horizontal"),
        )
    )
    if "doubtful" in frame.columns:
        cells = cells.encode(
            opacity=alt.when(f"datum.doubtful >= {PALE}").then(alt.value(0.35)).otherwise(alt.value(1))
        )
    if select:
        here = "datum.site === chosen"
        cells = cells.encode(
            stroke=alt.when(here).then(alt.value(VERMILION)).otherwise(alt.value("white")),
            strokeWidth=alt.when(here).then(alt.value(2.5)).otherwise(alt.value(0.5)),
        ).add_params(
            alt.selection_point(name="site", fields=["site", "feature"], toggle=False),
            alt.param(name="chosen", value=chosen),
        )
        cells.mark.cursor = "pointer"
    layers = [cells]
    if "q_value" in frame.columns:
        dots = base.transform_filter("datum.q_value !== null && datum.q_value <= 0.05").transform_calculate(
            weak=f"indexof(datum.notes || '', '{UNRELIABLE}') === 0"
        )
        dots = dots.mark_point(aria=False, size=14, stroke="black", strokeWidth=0.8, opacity=1).encode(
            fill=alt.when("datum.weak").then(alt.value("transparent")).otherwise(alt.value("white"))
        )
        if select:
            dots.mark.cursor = "pointer"
        layers.append(dots)
    layered = alt.layer(*layers).properties(width=alt.Step(20), height=alt.Step(20))
    title = alt.TitleParams(
        "Feature consistency, corrected for chance",
        subtitle=[
            "0 %: as by chance, 100 %: every sample agrees",
            "a dot: told from chance at q ≤ 0.05; an empty dot: that too, but a quarter",
            "of the inversions or more are not to be relied on; pale: half of them or more",
        ],
        anchor="start",
    )
    split = [c for c in ("feature", "bandwidth") if c in frame.columns and frame[c].nunique() > 1]
    if not split:
        title.text = f"Consistency of {features[0]!r}, corrected for chance"
        return layered.properties(title=title)
    bold = alt.Header(labelFontWeight="bold")
    if split == ["feature"]:
        columns = max(1, WIDE // (20 * len(components) + 60))
        return layered.facet(
            alt.Facet("feature:N", sort=features, title=None, header=bold), columns=columns
        ).properties(title=title)
    encodings: dict[str, Any] = {}
    if "feature" in split:
        encodings["column"] = alt.Column("feature:N", sort=features, title=None, header=bold)
    if "bandwidth" in split:
        encodings["row"] = alt.Row("bandwidth:O", title="bandwidth")
    return layered.facet(**encodings).properties(title=title)


def grid(frame: pd.DataFrame, components: list[str]) -> alt.Chart:
    """Layers against components, the first layer above, as on the map of the model."""
    title = "component" if len(components) >= MANY_COMPONENTS else None  # else wider than the panel
    component = alt.X("component:N", sort=components, title=title, axis=alt.Axis(labelAngle=-60, labelExpr=HEADS))
    layer = alt.Y("layer:O", title="layer", axis=alt.Axis(format="d"))
    return alt.Chart(frame).encode(x=component, y=layer, tooltip=tooltip(frame))


def components_of(frame: pd.DataFrame) -> list[str]:
    heads = frame["head"] if "head" in frame.columns else [np.nan] * len(frame)
    return [k if pd.isna(h) else f"{k} {int(h)}" for k, h in zip(frame["kind"], heads, strict=True)]


def component_order(name: str) -> tuple[int, int]:
    kind, _, head = name.partition(" ")
    return COMPONENTS.index(kind) if kind in COMPONENTS else len(COMPONENTS), int(head or 0)
