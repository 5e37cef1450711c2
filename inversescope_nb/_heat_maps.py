"""Heat maps of layers against components, in the look of the widget's map of the model.

Cells are filled with the map's blue, the more the higher their number; what is not to be relied on has the map's
ochre edge. The blue's opacity is what grows, so that 0 is the page's own colour, light or dark; on a dark page the
widget's chart takes the dark map's blue for it.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from ._consistency_charts import GREY, VERMILION, component_order, components_of, tooltip
from .reports import COARSE, SIGNIFICANT, UNRELIABLE, is_coarse, is_doubtful

MAP_BLUE, OCHRE, INK = "#1f6fc4", "#a87400", "#24292f"
"""Of the widget's map; the ochre is one that can be seen on white and on near-black."""
BLUES = [f"rgba(31, 111, 196, {opacity})" for opacity in (0.04, 1)]
WIDE, HIGH = 630, 480
"""Pixels within which panels stand side by side, and which the rows of one should not need more of."""
MARGIN = 70
"""Pixels that axis and gaps of the panels side by side take."""
STEPS, CELL, EDGE = (20, 40), 0.8, 0.925
"""Pixels from cell to cell at least and at most; the shares of that which are filled, and which an edge goes around."""
MANY_COMPONENTS = 9
"""Columns from which on there is room for a title under them."""
HEADS = "replace(datum.label, /^z (?=[0-9])/, 'head ')"
"""What stands under a column: of what heads hold, their number, as on the widget's map."""
TOLD, IN_DOUBT = f"above chance, q \u2264 {SIGNIFICANT:g}", "a quarter of the inversions or more in doubt"
UNRESOLVED = "the bandwidth is coarse here: a low rate says little"
_BOLD = alt.Header(labelFontWeight="bold")


def heatmap(frame: pd.DataFrame, *, select: bool = False, chosen: str = "") -> alt.TopLevelMixin:
    """Layers against components and heads, filled by the rate above chance, with an edge where many inversions failed,
    and another where the bandwidth does not resolve the site; a dot marks q <= 0.05.

    With ``select`` a click on a cell selects its site, and the cells of the site in the parameter ``chosen`` are
    framed, in all panels.
    """
    frame = frame.assign(component=components_of(frame))
    components = sorted(frame["component"].unique(), key=component_order)
    features = list(dict.fromkeys(frame["feature"]))
    side = step(len(components), frame["layer"].nunique(), panels=len(features))
    base = grid(frame, components)
    layers = [_framed(_rates(base), chosen) if select else _rates(base)]
    notes = frame["notes"].fillna("") if "notes" in frame.columns else pd.Series(dtype=str)
    edges = {IN_DOUBT: OCHRE} if notes.map(is_doubtful).any() else {}
    edges |= {UNRESOLVED: GREY} if notes.map(lambda note: is_coarse(note) and not is_doubtful(note)).any() else {}
    if edges:
        layers.insert(0, _edges(base, EDGE * side, edges))  # below the cells, whose frame is above
    if "q_value" in frame.columns:
        layers.append(_dots(base, frame["q_value"] <= SIGNIFICANT))
    if select:
        for layer in layers:
            layer.mark.cursor = "pointer"
    layered = alt.layer(*layers).properties(width=alt.Step(side), height=alt.Step(side))
    one = f"Consistency of {features[0]!r}, above chance"
    heading = alt.TitleParams(
        one if len(features) == 1 else "Feature consistency, above chance",
        subtitle="0 %: as by chance; 100 %: every sample agrees",
        anchor="start",
    )
    return _split(layered, frame, features, side * len(components)).properties(title=heading)


def step(columns: int, rows: int, *, panels: int = 1) -> int:
    """Pixels from cell to cell, so that a panel, or two beside each other, fit in the room there is."""
    across = (WIDE - MARGIN) // min(panels, 2)
    return min(max(min(across // columns, HIGH // rows), STEPS[0]), STEPS[1])


def filled(base: alt.Chart, colour: Any) -> alt.Chart:
    """The cells of a grid, filled by a number."""
    size = alt.RelativeBandSize(band=CELL)
    edge = "rgba(31, 111, 196, 0.45)"
    return base.mark_rect(width=size, height=size, stroke=edge, strokeWidth=0.75).encode(color=colour)


def grid(frame: pd.DataFrame, components: list[str]) -> alt.Chart:
    """Layers against components, the first layer above, as on the map of the model."""
    title = "component" if len(components) >= MANY_COMPONENTS else None  # else wider than the panel
    component = alt.X("component:N", sort=components, title=title, axis=alt.Axis(labelAngle=-60, labelExpr=HEADS))
    layer = alt.Y("layer:O", title="layer", axis=alt.Axis(format="d"))
    return alt.Chart(frame).encode(x=component, y=layer, tooltip=tooltip(frame))


def _rates(base: alt.Chart) -> alt.Chart:
    """The cells; one without a rate above chance (where chance is 1, say) is an outline."""
    legend = alt.Legend(title="above chance", format="%", orient="bottom", direction="horizontal")
    colour = alt.Color("fcr_star:Q", scale=alt.Scale(range=BLUES, domain=[0, 1], clamp=True), legend=legend)
    cells = filled(base, alt.when("!isValid(datum.fcr_star)").then(alt.value("transparent")).otherwise(colour))
    cells.mark.invalid = None
    return cells


def _framed(cells: alt.Chart, chosen: str) -> alt.Chart:
    """The same, of which one can be clicked, and those of the chosen site are framed."""
    here = "datum.site === chosen"
    return cells.encode(
        stroke=alt.when(here).then(alt.value(VERMILION)).otherwise(alt.value(cells.mark.stroke)),
        strokeWidth=alt.when(here).then(alt.value(2.5)).otherwise(alt.value(cells.mark.strokeWidth)),
    ).add_params(
        alt.selection_point(name="site", fields=["site", "feature"], toggle=False),
        alt.param(name="chosen", value=chosen),
    )


def _key(**look: Any) -> alt.Legend:
    return alt.Legend(title=None, orient="top", direction="vertical", offset=2, labelLimit=260, **look)


def _edges(base: alt.Chart, side: float, edges: dict[str, str]) -> alt.Chart:
    scale = alt.Scale(domain=list(edges), range=list(edges.values()))
    legend = _key(symbolType="square", symbolSize=120, symbolDash=[3, 2], symbolStrokeWidth=1.5)
    return (
        base.transform_calculate(
            doubt=f"indexof(datum.notes || '', '{UNRELIABLE}') === 0 ? '{IN_DOUBT}' : "
            f"indexof(datum.notes || '', '{COARSE}') >= 0 ? '{UNRESOLVED}' : ''"
        )
        .transform_filter("datum.doubt !== ''")
        .mark_point(aria=False, shape="square", size=side**2, strokeWidth=1.5, strokeDash=[3, 2], opacity=1)
        .encode(stroke=alt.Stroke("doubt:N", scale=scale, legend=legend))
    )


def _dots(base: alt.Chart, told: pd.Series) -> alt.Chart:
    legend = _key(symbolStrokeColor=GREY, symbolStrokeWidth=1, symbolSize=36) if told.any() else None
    return (
        base.transform_filter(f"datum.q_value !== null && datum.q_value <= {SIGNIFICANT}")
        .transform_calculate(told=f"'{TOLD}'")
        .mark_point(aria=False, size=16, stroke="white", strokeWidth=0.8, opacity=1)
        .encode(fill=alt.Fill("told:N", scale=alt.Scale(domain=[TOLD], range=[INK]), legend=legend))
    )


def _split(layered: alt.LayerChart, frame: pd.DataFrame, features: list[str], width: int) -> alt.TopLevelMixin:
    """A panel for each feature and each bandwidth, where there are several."""
    several = [c for c in ("feature", "bandwidth") if c in frame.columns and frame[c].nunique() > 1]
    if not several:
        return layered
    if several == ["feature"]:
        facet = alt.Facet("feature:N", sort=features, title=None, header=_BOLD)
        columns = max(1, (WIDE - MARGIN) // width)
        faceted = layered.facet(facet, columns=columns)
        # else the place of a panel that is not there has an axis
        return faceted.resolve_axis(x="independent") if len(features) % columns else faceted
    encodings: dict[str, Any] = {"row": alt.Row("bandwidth:O", title="bandwidth")}
    if "feature" in several:
        encodings["column"] = alt.Column("feature:N", sort=features, title=None, header=_BOLD)
    return layered.facet(**encodings)
