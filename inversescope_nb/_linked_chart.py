"""One chart of a sweep in linked parts: rates, bits and effective samples of every site, and one site in detail."""

from __future__ import annotations

import altair as alt
import pandas as pd

from ._bandwidth_charts import COLOURS
from ._consistency_charts import BLUE, GREY, ORANGE, ROW_HEIGHT
from .reports import SIGNIFICANT, is_doubtful

_CELL, _BARS, _DETAIL = 58, 110, 420
_AT = "datum.bandwidth === chosen_bandwidth"


def linked(frame: pd.DataFrame) -> alt.VConcatChart:
    """The chart of a frame with rates; see `charts.linked_chart`."""
    columns = "site feature bandwidth fcr fcr_low fcr_high fcr_star chance q_value bits bits_bound ess_ratio notes"
    frame = frame.reindex(columns=columns.split())
    frame["doubtful"] = [is_doubtful(notes) for notes in frame["notes"].fillna("")]
    sites, names = (list(dict.fromkeys(frame[c])) for c in ("site", "feature"))
    widths = sorted({float(b) for b in frame["bandwidth"]})
    start = max(widths, key=lambda b: (frame["bandwidth"] == b).sum())
    menu = alt.binding_select(options=widths, name="bandwidth ") if len(widths) > 1 else alt.Undefined
    bandwidth = alt.param(name="chosen_bandwidth", value=start, bind=menu)
    best = frame.loc[frame["fcr_star"].idxmax(), "site"] if frame["fcr_star"].notna().any() else sites[0]
    site = alt.selection_point(name="chosen_site", fields=["site"], value=[{"site": best}], empty=False)
    height = ROW_HEIGHT * len(sites)
    y = alt.Y("site:N", sort=sites, title=None, axis=alt.Axis(labelLimit=240))
    bare = alt.Y("site:N", sort=sites, title=None, axis=None)
    framed = alt.condition(site, alt.value("black"), alt.value("transparent"))

    base = alt.Chart(frame).transform_filter(_AT)
    tips = [
        "site:N", "feature:N", alt.Tooltip("fcr:Q", format=".2f"), alt.Tooltip("fcr_star:Q", format=".2f"),
        alt.Tooltip("chance:Q", format=".2f"), alt.Tooltip("q_value:Q", format=".2g"), "notes:N",
    ]  # fmt: skip
    x = alt.X("feature:N", sort=names, title=None, axis=alt.Axis(labelAngle=-40, labelLimit=120))
    shade = alt.Color("fcr_star:Q", scale=alt.Scale(domain=[0, 1], clamp=True, scheme="blues"), title="FCR*")
    cells = base.mark_rect(strokeWidth=1.5, cursor="pointer").encode(x=x, y=y, color=shade, stroke=framed, tooltip=tips)
    told = base.transform_filter(f"datum.q_value !== null && datum.q_value <= {SIGNIFICANT}")
    dots = told.mark_point(filled=True, color="black", size=14, opacity=1).encode(x=x, y=y)
    dashed = {"fillOpacity": 0, "stroke": GREY, "strokeDash": [2, 2], "strokeWidth": 1.5}
    doubt = base.transform_filter("datum.doubtful").mark_rect(**dashed).encode(x=x, y=y, tooltip=tips)
    layers = [cells.add_params(site), doubt, dots] if frame["doubtful"].any() else [cells.add_params(site), dots]
    heat = alt.layer(*layers).properties(width=_CELL * len(names), height=height)

    one = base.transform_aggregate(
        bits="mean(bits)", bits_bound="mean(bits_bound)", ess_ratio="mean(ess_ratio)", groupby=["site"]
    )
    bits = one.mark_bar(color=BLUE, cursor="pointer").encode(
        x=alt.X("bits:Q", title="bits, orange: at most"),
        y=bare,
        stroke=framed,
        tooltip=["site:N", alt.Tooltip("bits:Q", format=".1f")],
    )
    bound = one.mark_tick(color=ORANGE, thickness=2).encode(
        x="bits_bound:Q", y=bare, tooltip=[alt.Tooltip("bits_bound:Q", format=".1f", title="bits at most, on average")]
    )
    ess = one.mark_bar(color=GREY, cursor="pointer").encode(
        x=alt.X("ess_ratio:Q", title="effective share of samples", scale=alt.Scale(domain=[0, 1])), y=bare,
        stroke=framed, tooltip=["site:N", alt.Tooltip("ess_ratio:Q", format=".2f")],
    )  # fmt: skip
    parts = [alt.layer(bits, bound), ess]
    right = [part.properties(width=_BARS, height=height) for part in parts]
    top = alt.hconcat(heat, *right).resolve_scale(color="independent")
    detail = _detail(frame, names, site, several=len(widths) > 1)
    words = f"Click a site. Dot: told from chance (q at most {SIGNIFICANT:g})."
    if frame["doubtful"].any():
        words += " Dashed or grey: not to be relied on."
    title = alt.TitleParams(words, anchor="start", fontSize=11, fontWeight="normal")
    both = alt.vconcat(top, detail).add_params(bandwidth).resolve_scale(color="independent", shape="independent")
    return both.properties(title=title)


def _detail(frame: pd.DataFrame, names: list[str], site: alt.Parameter, *, several: bool) -> alt.LayerChart:
    """One site: over bandwidths where there are several, else a row for each feature."""
    base = alt.Chart(frame).transform_filter(site)
    scale = alt.Scale(domain=[0, 1])
    tips = ["site:N", "feature:N", "bandwidth:Q", alt.Tooltip("fcr:Q", format=".2f"), "notes:N"]
    if several:
        axis = alt.Axis(values=sorted(set(frame["bandwidth"])), format="~g", grid=False, labelOverlap=True)
        x = alt.X("bandwidth:Q", scale=alt.Scale(type="log", nice=False, padding=12), title="bandwidth", axis=axis)
        y = alt.Y("fcr:Q", scale=scale, title="FCR (dashed: chance)")
        palette = alt.Scale(domain=names, range=[COLOURS[i % len(COLOURS)] for i in range(len(names))])
        colour = alt.Color("feature:N", scale=palette, legend=alt.Legend(title=None, symbolOpacity=1))
        weak = alt.condition("datum.doubtful", alt.value(GREY), colour)
        layers = [
            base.mark_area(opacity=0.14).encode(x=x, y=alt.Y("fcr_low:Q", scale=scale), y2="fcr_high:Q", color=colour),
            base.mark_line(strokeDash=[4, 3]).encode(x=x, y=alt.Y("chance:Q", scale=scale), color=colour),
            base.mark_line().encode(x=x, y=y, color=colour),
            base.mark_point(filled=True, size=40, opacity=1).encode(x=x, y=y, color=weak, tooltip=tips),
        ]
    else:
        row = alt.Y("feature:N", sort=names, title=None)
        sure = alt.condition("datum.doubtful", alt.value(GREY), alt.value(BLUE))
        layers = [
            base.mark_rule().encode(
                x=alt.X("fcr_low:Q", scale=scale, title="FCR, orange: chance"), x2="fcr_high:Q", y=row
            ),
            base.mark_point(filled=True, size=60, opacity=1).encode(x="fcr:Q", y=row, color=sure, tooltip=tips),
            base.mark_tick(color=ORANGE, thickness=2).encode(x="chance:Q", y=row, tooltip=[alt.Tooltip("chance:Q")]),
        ]
    name = base.transform_aggregate(groupby=["site"]).mark_text(align="left", fontWeight="bold", dy=-8)
    label = name.encode(text="site:N", x=alt.value(0), y=alt.value(0))
    return alt.layer(*layers, label).properties(width=_DETAIL, height=170 if several else max(60, 24 * len(names)))
