"""Charts of causal checks: effect against dose, use at sites, use beside consistency, effects of scaled activations."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from ._consistency_charts import BLUE, GREEN, GREY, LEGEND, ORANGE, PANEL, ROW_HEIGHT, SKY, VERMILION

_COLOURS = [BLUE, VERMILION, GREEN, ORANGE, GREY, SKY]
_DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [1, 3], [4, 1]]
_APART = 0.02  # of the largest dose
_SHAPES = ["circle", "square", "cross", "diamond", "triangle-up", "triangle-down"]
_PATCHES = ("flips it", "keeps it", "random, as far as a flip")
MOST = 2 * len(_COLOURS)
"""Sites that are drawn as lines, the first ones: colours come twice, with other shapes and dashes."""
_BANDS = 3  # lines that have a band each: more of them hide one another
_UNITS = {"kl": "KL in nats", "shift": "shift in logits"}
_FOUND_SHAPES = {
    "held and used": ("circle", BLUE),
    "held, no use found": ("square", ORANGE),
    "used, not found held": ("triangle-up", VERMILION),
    "neither found": ("cross", GREY),
    "not tested": ("diamond", SKY),
}


def doses(frame: pd.DataFrame, words: dict[str, str], width: int | str) -> alt.LayerChart:
    """Mean effect against dose, a line for each kind of patch, with the middle half of its samples as whiskers."""
    frame = frame.assign(patch=frame["kind"].map(words))
    groups = frame.groupby(["patch", "dose"], sort=False)["kl"]
    table = groups.agg(kl="mean", low=lambda v: v.quantile(0.25), high=lambda v: v.quantile(0.75), n="size")
    table = table.reset_index()
    names = [words[kind] for kind in words if words[kind] in set(table["patch"])]
    apart = table["patch"].map(names.index) - (len(names) - 1) / 2  # side by side, for else their whiskers hide
    table["at"] = table["dose"] + _APART * table["dose"].max() * apart
    colour = alt.Color("patch:N", scale=alt.Scale(domain=names, range=_COLOURS[: len(names)]), legend=_wide())
    base = alt.Chart(table).encode(
        x=alt.X(
            "at:Q",
            title="displacement, as a multiple of the sample's own",
            scale=alt.Scale(zero=True, nice=False),
            axis=alt.Axis(values=sorted(table["dose"].unique()), format="~g"),
        ),
        color=colour,
    )
    moved = "KL from the original output, nats"
    y = alt.Y("kl:Q", title=moved)
    dash = alt.StrokeDash("patch:N", scale=alt.Scale(domain=names, range=_DASHES[: len(names)]), legend=None)
    whisker = base.mark_rule(opacity=0.6).encode(y=alt.Y("low:Q", title=moved), y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash)
    tips = [
        "patch:N", "dose:Q", alt.Tooltip("kl:Q", format=".3g", title="mean KL"),
        alt.Tooltip("low:Q", format=".3g", title="middle half from"), alt.Tooltip("high:Q", format=".3g", title="to"),
        "n:Q",
    ]  # fmt: skip
    shape = alt.Shape("patch:N", scale=alt.Scale(domain=names, range=_SHAPES[: len(names)]), legend=_wide())
    points = base.mark_point(filled=True, size=50, opacity=1).encode(y=y, shape=shape, tooltip=tips)
    title = _note("Mean over samples; whiskers: the middle half")
    return alt.layer(whisker, line, points).properties(width=width, height=220, title=title)


def uses(frame: pd.DataFrame) -> alt.TopLevelMixin:
    """Movement by patches that flip a feature, that keep it and at random: a row for each site, a panel a feature."""
    long = pd.concat(
        [
            frame.assign(patch=words, moved=frame[column])
            for column, words in zip(("flipped", "equal", "random"), _PATCHES, strict=True)
        ]
    )
    long = long.astype({c: np.float64 for c in ("layer", "head")})
    sites = list(dict.fromkeys(frame["site"]))
    y = alt.Y("site:N", sort=sites, title=None, axis=alt.Axis(labelLimit=260))
    tips = [
        "feature:N", "site:N", "patch:N", alt.Tooltip("moved:Q", format=".3g"), alt.Tooltip("use:Q", format=".3g"),
        alt.Tooltip("low:Q", format=".3g", title="95 % from"), alt.Tooltip("high:Q", format=".3g", title="to"),
        alt.Tooltip("q_value:Q", format=".2g", title="q-value"),
    ]  # fmt: skip
    scale = alt.Scale(domain=list(_PATCHES), range=[VERMILION, BLUE, GREY])
    panels = [c for c in ("feature", "measure") if long[c].nunique() > 1]
    measure = frame["measure"].iloc[0] if frame["measure"].nunique() == 1 else ""
    moved = f"movement of the output: {_UNITS[measure]}" if measure and not panels else "movement of the output"
    base = alt.Chart(long).encode(y=y)
    span = base.mark_rule(color=GREY, opacity=0.6).encode(x=alt.X("flipped:Q", title=moved), x2="equal:Q")
    points = base.mark_point(filled=True, size=55, opacity=1).encode(
        x=alt.X("moved:Q", title=moved, axis=alt.Axis(tickCount=5)),
        color=alt.Color("patch:N", scale=scale, legend=LEGEND),
        shape=alt.Shape("patch:N", scale=alt.Scale(domain=scale.domain, range=_SHAPES[: len(_PATCHES)]), legend=LEGEND),
        tooltip=tips,
    )
    chart = alt.layer(span, points).properties(width=PANEL, height=ROW_HEIGHT * len(sites))
    if not panels:
        return chart
    long["panel"] = long["feature"] + ", " + long["measure"].map(_UNITS)
    faceted = alt.layer(span, points, data=long).properties(width=PANEL, height=ROW_HEIGHT * len(sites))
    facet = alt.Facet("panel:N", title=None, sort=list(dict.fromkeys(long["panel"])))
    panelled = faceted.facet(facet=facet, columns=2 if len(panels) == 2 else 3).resolve_axis(x="independent")
    return panelled if measure else panelled.resolve_scale(x="independent")  # nats and logits have no scale in common


def besides(frame: pd.DataFrame, width: int | str) -> alt.TopLevelMixin:
    """Each site as a point: how consistent it is for a feature, and how much its label is used."""
    frame = frame.astype({c: np.float64 for c in ("layer", "head")})
    names = [name for name in _FOUND_SHAPES if (frame["found"] == name).any()]
    colours, shapes = [_FOUND_SHAPES[n][1] for n in names], [_FOUND_SHAPES[n][0] for n in names]
    tips = [
        "feature:N",
        "site:N",
        alt.Tooltip("fcr_star:Q", format=".2f"),
        alt.Tooltip("use:Q", format=".3g"),
        "found:N",
        "notes:N",
    ]
    base = alt.Chart(frame).encode(
        x=alt.X("fcr_star:Q", title="consistency above chance (FCR*)"),
        y=alt.Y("use:Q", title="use: flipped less kept"),
        color=alt.Color("found:N", scale=alt.Scale(domain=names, range=colours), legend=_wide()),
    )
    doubt = alt.Opacity("doubtful:N", scale=alt.Scale(domain=[False, True], range=[1, 0.35]), legend=None)
    points = base.mark_point(filled=True, size=70).encode(
        opacity=doubt,
        shape=alt.Shape("found:N", scale=alt.Scale(domain=names, range=shapes), legend=_wide()),
        tooltip=tips,
    )
    held = base.mark_rule(opacity=0.5).encode(x="fcr_star_low:Q", x2="fcr_star_high:Q")
    used = base.mark_rule(opacity=0.5).encode(y="use_low:Q", y2="use_high:Q")
    chart = alt.layer(held, used, points).properties(width=width, height=240)
    note = "Faint: the rate is not to be relied on" if frame["doubtful"].any() else ""
    title = _note(note) if note else alt.Undefined
    if frame["feature"].nunique() < 2:
        return chart.properties(title=title)
    chart = alt.layer(held, used, points, data=frame).properties(width=PANEL, height=200)
    facet = alt.Facet("feature:N", title=None, sort=list(dict.fromkeys(frame["feature"])))
    return chart.facet(facet=facet, columns=3, title=title).resolve_scale(y="independent")


def scalings(frame: pd.DataFrame, width: int | str) -> alt.LayerChart:
    """Share of answers that change against the factor, a line for each site, of a few with Wilson's band."""
    frame = frame[np.isfinite(frame["factor"])]
    every = list(dict.fromkeys(frame["site"]))
    sites = every[:MOST]
    frame = frame[frame["site"].isin(sites)]

    def looks(values: list) -> alt.Scale:
        return alt.Scale(domain=sites, range=[values[(i + i // len(values)) % len(values)] for i in range(len(sites))])

    colours = alt.Scale(domain=sites, range=[_COLOURS[i % len(_COLOURS)] for i in range(len(sites))])
    colour = alt.Color("site:N", scale=colours, legend=_wide())
    dash = alt.StrokeDash("site:N", scale=looks(_DASHES), legend=None)
    shape = alt.Shape("site:N", scale=looks(_SHAPES), legend=_wide())
    scale = alt.Scale(domain=[0, 1])
    ticks = alt.Axis(values=sorted(frame["factor"].unique()), format="~g")
    base = alt.Chart(frame).encode(x=alt.X("factor:Q", title="factor (1: as it is)", axis=ticks), color=colour)
    share = "share of answers that change"
    y = alt.Y("flipped:Q", title=share, scale=scale, axis=alt.Axis(format="%"))
    band = base.mark_area(opacity=0.12).encode(y=alt.Y("flipped_low:Q", scale=scale, title=share), y2="flipped_high:Q")
    tips = [
        "site:N", "factor:Q", alt.Tooltip("flipped:Q", format=".0%"), alt.Tooltip("kl:Q", format=".3g"),
        alt.Tooltip("difference:Q", format=".3g"),
    ]  # fmt: skip
    line = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash)
    points = base.mark_point(filled=True, size=50, opacity=1).encode(y=y, shape=shape, tooltip=tips)
    layers = [band, line, points] if len(sites) <= _BANDS else [line, points]
    chart = alt.layer(*layers).properties(width=width, height=220)
    if len(every) <= MOST:
        return chart
    return chart.properties(title=_note(f"The first {MOST} of {len(every)} sites"))


def _note(words: str) -> alt.TitleParams:
    return alt.TitleParams(words, anchor="start", fontSize=11, fontWeight="normal")


def _wide() -> alt.Legend:
    return alt.Legend(title=None, orient="top", labelLimit=260, columns=2, symbolOpacity=1, symbolStrokeWidth=0)
