"""The histogram of distances, in the words and looks of the widget's: filled inside the ball, outlined beyond."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from ._consistency_charts import GREY, LEGEND
from ._heat_maps import MAP_BLUE

POSTERIOR, BEYOND, PRIOR = "posterior", "posterior, beyond the edge", "P(X) alone"
_HEADROOM = 1.2
"""How much higher the axis of shares is than the highest bar: there stands the label of the edge."""


def histogram(
    d: np.ndarray, weight: np.ndarray, prior: np.ndarray, *, edge: float, bins: int, width: int | str
) -> alt.LayerChart:
    """Shares of finite distances by weight, of ``prior`` (which may be empty) as steps, and the edge of the ball."""
    everything = np.concatenate([d, prior])
    bounds = np.linspace(0, max(float(everything.max()) * 1.0001, 1e-9), bins + 1)
    beyond = (bounds[:-1] + bounds[1:]) / 2 > edge  # of nothing, where there is no edge
    series = np.where(beyond, BEYOND, POSTERIOR)
    table = _shares(d, weight, bounds, series)
    if len(prior):
        steps = _shares(prior, np.ones(len(prior)), bounds, np.full(bins, PRIOR))
        table = pd.concat([table, steps], ignore_index=True)
    names = [name for name in (POSTERIOR, BEYOND, PRIOR) if (table["series"] == name).any()]
    top = _HEADROOM * float(table["share"].max())
    layers = [_bars(table[table["share"] > 0], names, top)]
    if len(prior):
        layers += _steps(table[table["series"] == PRIOR])
    if np.isfinite(edge):
        layers += _edge(float(edge), left=edge > 0.6 * bounds[-1])
    return alt.layer(*layers).properties(width=width, height=160)


def _shares(values: np.ndarray, weight: np.ndarray, bounds: np.ndarray, series: np.ndarray) -> pd.DataFrame:
    shares = np.histogram(values, bounds, weights=weight)[0] / weight.sum()
    return pd.DataFrame({"from": bounds[:-1], "to": bounds[1:], "share": shares, "series": series})


def _bars(table: pd.DataFrame, names: list[str], top: float) -> alt.Chart:
    """The bars; those of P(X) are there for their words and the key, and are drawn as steps."""
    looks = {POSTERIOR: (MAP_BLUE, MAP_BLUE), BEYOND: ("transparent", MAP_BLUE), PRIOR: ("transparent", GREY)}
    fill, stroke = (alt.Scale(domain=names, range=[looks[name][which] for name in names]) for which in (0, 1))
    return (
        alt.Chart(table)
        .mark_bar(binSpacing=1, strokeWidth=alt.expr(f"datum.series === '{PRIOR}' ? 0 : 1"))
        .encode(
            x=alt.X("from:Q", bin="binned", title="distance d (standardised units per coordinate)"),
            x2="to:Q",
            y=alt.Y(
                "share:Q",
                stack=None,
                scale=alt.Scale(domain=[0, top], nice=False),
                axis=alt.Axis(format="%", tickCount=5, grid=False),
                title="share of weight",
            ),
            fill=alt.Fill("series:N", scale=fill, legend=LEGEND),
            stroke=alt.Stroke("series:N", scale=stroke, legend=LEGEND),
            tooltip=[
                "series:N",
                alt.Tooltip("from:Q", format=".3f"),
                alt.Tooltip("to:Q", format=".3f"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )


def _steps(table: pd.DataFrame) -> list[alt.Chart]:
    """The outline of what P(X) alone would have given; a pale line below it, so that it is seen on the bars."""
    first, last = float(table["from"].iloc[0]), float(table["to"].iloc[-1])
    at = [first, *table["from"], last, last]
    shares = [0.0, *table["share"], float(table["share"].iloc[-1]), 0.0]
    base = alt.Chart(pd.DataFrame({"d": at, "share": shares, "order": range(len(at))}))
    base = base.encode(x="d:Q", y="share:Q", order="order:Q")
    look = {"interpolate": "step-after", "aria": False}
    return [
        base.mark_line(color="white", strokeWidth=3, opacity=0.7, **look),
        base.mark_line(color=GREY, strokeWidth=1.5, **look),
    ]


def _edge(edge: float, *, left: bool) -> list[alt.Chart]:
    """The rule at the edge of the ball, and above the bars, ``left`` or right of it, what it is."""
    base = alt.Chart(pd.DataFrame({"d": [edge], "name": [f"edge of the ball {edge:.2f}"]}))
    rule = base.mark_rule(strokeDash=[4, 2], size=1.2)
    label = base.mark_text(align="right" if left else "left", dx=-4 if left else 4, dy=2, baseline="top")
    return [
        rule.encode(x="d:Q", tooltip=["name:N", alt.Tooltip("d:Q", format=".3f")]),
        label.encode(x="d:Q", y=alt.value(0), text="name:N"),
    ]
