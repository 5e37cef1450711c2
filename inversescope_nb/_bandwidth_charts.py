"""The chart of rates over bandwidths: a line with its interval for each hypothesis, and the line of its chance."""

from __future__ import annotations

import altair as alt
import pandas as pd

from ._consistency_charts import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, WIDTH, prepared, tooltip
from .reports import is_doubtful

COLOURS = [BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY]
_SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]
MOST = len(COLOURS)
"""Hypotheses that are drawn, the first ones."""


def lines(frame: pd.DataFrame, width: int | str = WIDTH) -> alt.LayerChart:
    """The chart of a frame with rates; see `charts.bandwidth_chart`."""
    doubtful = [is_doubtful(notes) for notes in frame["notes"]]
    level = frame["chance"].fillna(frame["chance_defined"]).fillna(frame["chance_prior"])
    ess = frame["ess_median"]
    frame = prepared(frame).drop(columns="row")
    frame = frame.assign(level=level, ess=ess, points=["hollow" if d else "filled" for d in doubtful])
    names = list(dict.fromkeys(frame["feature"]))[:MOST]
    frame = frame[frame["feature"].isin(names)]
    words = [alt.Tooltip("ess:Q", title="effective samples", format=".0f"), *tooltip(frame)]
    legend = alt.Legend(title=None, orient="top", labelLimit=220, columns=2, symbolOpacity=1)
    colour = alt.Color("feature:N", scale=alt.Scale(domain=names, range=COLOURS[: len(names)]), legend=legend)
    shape = alt.Shape("feature:N", scale=alt.Scale(domain=names, range=_SHAPES[: len(names)]), legend=legend)
    y_title = "FCR (dashed: chance)"
    base = alt.Chart(frame).encode(
        x=alt.X(
            "bandwidth:Q", scale=alt.Scale(type="log", nice=False, padding=12), title="bandwidth",
            axis=alt.Axis(values=sorted(set(frame["bandwidth"])), format="~g", grid=False, labelOverlap=True),
        ),
        color=colour,
    )  # fmt: skip
    scale, axis = alt.Scale(domain=[0, 1]), alt.Axis(format=".2f", values=[0, 0.25, 0.5, 0.75, 1])
    band = base.mark_area(opacity=0.16).encode(
        y=alt.Y("fcr_low:Q", scale=scale, axis=axis, title=y_title), y2="fcr_high:Q"
    )
    chance = base.mark_line(strokeDash=[4, 3], strokeWidth=1.5, opacity=0.9).encode(y=alt.Y("level:Q", scale=scale))
    line = base.mark_line(strokeWidth=2).encode(y=alt.Y("fcr:Q", scale=scale))
    seen = base.encode(y=alt.Y("fcr:Q", scale=scale), shape=shape, tooltip=words)
    filled = seen.transform_filter("datum.points === 'filled'").mark_point(filled=True, size=60, opacity=1)
    hollow = seen.transform_filter("datum.points === 'hollow'").mark_point(
        filled=False, size=60, opacity=1, strokeWidth=2
    )
    chart = alt.layer(band, chance, line, filled, hollow).properties(width=width, height=190)
    if not any(doubtful):
        return chart
    note = "Hollow: not to be relied on"
    return chart.properties(title=alt.TitleParams(note, anchor="start", fontSize=11, fontWeight="normal"))
