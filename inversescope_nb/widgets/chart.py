"""Altair charts that draw without a network, and the chart of the consistency panel.

Altair's own ``JupyterChart`` loads Vega from a CDN. `Chart` is a subclass with its own front end in
which Vega is bundled; altair's class, and so every other chart of the user, stays as it is. Replace
``.chart`` rather than the widget; observe ``_vl_selections``, since a new chart drops observers on
``.selections``.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import traitlets as t

from ..reports import is_doubtful
from .messages import STATIC, heard_while_cells_run

BLUE, GREY = "#2f81d6", "#8b949e"
HERE, ACROSS = "this input", "across inputs"


class Chart(alt.JupyterChart):
    """An Altair chart as a widget that works offline; what `inversescope_nb.charts` draws, for instance.

    Viewers without a kernel show it as SVG, where ``vl-convert-python`` (extra ``notebook``) is installed.

    >>> Chart(alt.Chart(pd.DataFrame({"x": [1]})).mark_point().encode(x="x")).spec["mark"]["type"]
    'point'
    """

    _esm = STATIC / "chart.js"
    _css = STATIC / "isn.css"

    file_name = t.Unicode("chart").tag(sync=True)
    """What the files of its picture are called, without their ending."""
    caption = t.Unicode("").tag(sync=True)
    """What stands above the picture in those files, such as what it was measured at."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        heard_while_cells_run(self)

    @t.default("embed_options")
    def _default_options(self) -> dict[str, Any]:
        return {"actions": False, "renderer": "svg"}

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and a picture for viewers without a kernel."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        if self.chart is None or importlib.util.find_spec("vl_convert") is None:
            return data, metadata
        picture = io.StringIO()
        self.chart.save(picture, format="svg")
        return {**(data or {}), "image/svg+xml": picture.getvalue()}, metadata


def frame_of(rows: Sequence[dict[str, Any]], *, doubtful: bool = False) -> pd.DataFrame:
    """Long form of the panel's rows: hypothesis, over, fcr, low, high, chance, doubtful."""
    records = [
        {
            "hypothesis": row["name"],
            "over": over,
            **{k: row[key][k] for k in ("fcr", "low", "high", "chance")},
            "doubtful": doubtful if over == HERE else is_doubtful(row[key].get("notes")),
        }
        for row in rows
        for key, over in (("here", HERE), ("across", ACROSS))
        if row[key] is not None and row[key]["fcr"] is not None
    ]
    return pd.DataFrame(records, columns=["hypothesis", "over", "fcr", "low", "high", "chance", "doubtful"])


def hypothesis_chart(rows: Sequence[dict[str, Any]], *, doubtful: bool = False) -> alt.LayerChart:
    """FCR with its interval and a tick at chance, one line per hypothesis and kind of estimate.

    Rates that are not to be relied on are grey, and their marks are not filled: those for this input where they are
    ``doubtful``, those across inputs where their notes say so.
    """
    frame = frame_of(rows, doubtful=doubtful)
    order = [row["name"] for row in rows]
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "hypothesis:N",
            sort=order,
            title=None,
            axis=alt.Axis(labelLimit=170, labelPadding=10, ticks=False, domain=False),
        ),
        yOffset=alt.YOffset("over:N", sort=[HERE, ACROSS]),
    )
    kinds = [kind for kind in (HERE, ACROSS) if (frame["over"] == kind).any()]
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format=".2f", values=[0, 0.25, 0.5, 0.75, 1])
    tooltip = ["hypothesis", "over", *(alt.Tooltip(f"{c}:Q", format=".3f") for c in ("fcr", "low", "high", "chance"))]
    colour = alt.when("datum.doubtful").then(alt.value(GREY)).otherwise(alt.value(BLUE))
    fill = alt.when("datum.doubtful").then(alt.value("transparent")).otherwise(alt.value(BLUE))
    interval = base.mark_rule(strokeWidth=2).encode(
        color=colour,
        x=alt.X("low:Q", scale=scale, axis=axis, title="FCR (grey tick: chance)"),
        x2="high:Q",
        tooltip=tooltip,
    )
    chance = base.mark_tick(color=GREY, thickness=3, size=13).encode(x=alt.X("chance:Q", scale=scale), tooltip=tooltip)
    point = base.mark_point(size=70, opacity=1).encode(
        stroke=colour,
        fill=fill,
        x=alt.X("fcr:Q", scale=scale),
        shape=alt.Shape(
            "over:N",
            scale=alt.Scale(domain=[HERE, ACROSS], range=["circle", "diamond"]),
            legend=alt.Legend(title=None, orient="top", symbolFillColor=BLUE, symbolStrokeColor=BLUE, values=kinds),
        ),
        tooltip=tooltip,
    )
    return alt.layer(chance, interval, point).properties(width="container", height=alt.Step(17))
