"""Charts of causal checks: effect against dose, use at sites, use beside consistency, effects of scaled activations."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from ._consistency_charts import BLUE, GREEN, GREY, LEGEND, ORANGE, PANEL, ROW_HEIGHT, SKY, VERMILION

_COLOURS = [BLUE, VERMILION, GREEN, ORANGE, GREY, SKY]
_DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [1, 3], [4, 1]]
_SHAPES = ["circle", "square", "cross"]
_PATCHES = ("flips it", "keeps it", "random, as far as a flip")
MOST = len(_COLOURS)
"""Sites that are drawn as lines, the first ones."""
_FOUND_SHAPES = {
    "held and used": ("circle", BLUE),
    "held, no use found": ("square", ORANGE),
    "used, not found held": ("triangle-up", VERMILION),
    "neither found": ("cross", GREY),
    "not tested": ("diamond", SKY),
}


def doses(frame: pd.DataFrame, words: dict[str, str], width: int | str) -> alt.LayerChart:
    """Mean effect against dose, a line for each kind of patch, with the middle half of its draws."""
    frame = frame.assign(patch=frame["kind"].map(words))
    groups = frame.groupby(["patch", "dose"], sort=False)["kl"]
    table = groups.agg(kl="mean", low=lambda v: v.quantile(0.25), high=lambda v: v.quantile(0.75), n="size")
    table = table.reset_index()
    names = [words[kind] for kind in words if words[kind] in set(table["patch"])]
    colour = alt.Color("patch:N", scale=alt.Scale(domain=names, range=_COLOURS[: len(names)]), legend=_wide())
    base = alt.Chart(table).encode(
        x=alt.X("dose:Q", title="displacement, as a multiple of the sample's own", scale=alt.Scale(zero=True)),
        color=colour,
    )
    moved = "KL from the original output, nats"
    y = alt.Y("kl:Q", title=moved)
    dash = alt.StrokeDash("patch:N", scale=alt.Scale(domain=names, range=_DASHES[: len(names)]), legend=_wide())
    band = base.mark_area(opacity=0.12).encode(y=alt.Y("low:Q", title=moved), y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash)
    tips = ["patch:N", "dose:Q", alt.Tooltip("kl:Q", format=".3g", title="mean KL"), "n:Q"]
    points = base.mark_point(filled=True, size=45, opacity=1).encode(y=y, tooltip=tips)
    return alt.layer(band, line, points).properties(width=width, height=220)


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
    base = alt.Chart(long).encode(y=y)
    span = base.mark_rule(color=GREY, opacity=0.6).encode(x=alt.X("flipped:Q"), x2="equal:Q")
    points = base.mark_point(filled=True, size=55, opacity=1).encode(
        x=alt.X("moved:Q", title="movement of the output (KL in nats, or shift of logits)"),
        color=alt.Color("patch:N", scale=scale, legend=LEGEND),
        shape=alt.Shape(
            "patch:N", scale=alt.Scale(domain=scale.domain, range=["circle", "square", "cross"]), legend=LEGEND
        ),
        tooltip=tips,
    )
    chart = alt.layer(span, points).properties(width=PANEL, height=ROW_HEIGHT * len(sites))
    panels = [c for c in ("feature", "measure") if long[c].nunique() > 1]
    if not panels:
        return chart
    long["panel"] = long[panels].agg(", ".join, axis=1)
    faceted = alt.layer(span, points, data=long).properties(width=PANEL, height=ROW_HEIGHT * len(sites))
    return faceted.facet(facet=alt.Facet("panel:N", title=None, sort=list(dict.fromkeys(long["panel"]))), columns=3)


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
    title = alt.TitleParams(note, anchor="start", fontSize=11, fontWeight="normal") if note else alt.Undefined
    if frame["feature"].nunique() < 2:
        return chart.properties(title=title)
    chart = alt.layer(held, used, points, data=frame).properties(width=PANEL, height=200)
    facet = alt.Facet("feature:N", title=None, sort=list(dict.fromkeys(frame["feature"])))
    return chart.facet(facet=facet, columns=3, title=title).resolve_scale(y="independent")


def scalings(frame: pd.DataFrame, width: int | str) -> alt.LayerChart:
    """Share of answers that change against the factor, a line with Wilson's band for each site."""
    frame = frame[np.isfinite(frame["factor"])]
    sites = list(dict.fromkeys(frame["site"]))[:MOST]
    frame = frame[frame["site"].isin(sites)]
    colour = alt.Color("site:N", scale=alt.Scale(domain=sites, range=_COLOURS[: len(sites)]), legend=_wide())
    dash = alt.StrokeDash("site:N", scale=alt.Scale(domain=sites, range=_DASHES[: len(sites)]), legend=_wide())
    scale = alt.Scale(domain=[0, 1])
    base = alt.Chart(frame).encode(x=alt.X("factor:Q", title="factor (1: as it is)"), color=colour)
    share = "share of answers that change"
    y = alt.Y("flipped:Q", title=share, scale=scale, axis=alt.Axis(format="%"))
    band = base.mark_area(opacity=0.12).encode(y=alt.Y("flipped_low:Q", scale=scale, title=share), y2="flipped_high:Q")
    tips = [
        "site:N", "factor:Q", alt.Tooltip("flipped:Q", format=".0%"), alt.Tooltip("kl:Q", format=".3g"),
        alt.Tooltip("difference:Q", format=".3g"),
    ]  # fmt: skip
    line = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash)
    points = base.mark_point(filled=True, size=45, opacity=1).encode(y=y, tooltip=tips)
    return alt.layer(band, line, points).properties(width=width, height=220)


def _wide() -> alt.Legend:
    return alt.Legend(title=None, orient="top", labelLimit=260, columns=2, symbolOpacity=1)
