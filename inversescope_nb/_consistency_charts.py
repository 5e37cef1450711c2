"""What charts of rates share, and the chart of few sites: points with whiskers; `_heat_maps` has that of many."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from .reports import UNRELIABLE

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
"""Okabe and Ito's palette."""
GREY = "#767676"
"""Passes contrast on white and on near-black."""
COMPONENTS = (
    "resid_pre", "z", "result", "attn_raw", "attn_out", "resid_mid", "mlp_raw", "mlp_out", "resid_post"
)  # fmt: skip
"""Order of components in charts: the order of the forward pass."""
WIDTH, PANEL, ROW_HEIGHT = 380, 250, 18
ROOM, GAP, NARROWEST = 820, 20, 140
"""Pixels within which panels of points stand side by side, between two of them, and of a panel at least."""
LABEL, LETTER = 320, 5.6
"""Pixels of a row's label at most, and of a letter of it."""
LEGEND = alt.Legend(title=None, orient="top", offset=4)
RATE, CHANCE, DOUBTED = "consistency", "chance", "consistency, not to be relied on"
_WEAK = f"indexof(datum.notes || '', '{UNRELIABLE}') === 0"
_TICK = "M-0.22,-1H0.22V1H-0.22Z"  # an upright bar, as a symbol that the legend shows too
_SUBTITLE = "weighted, without copies of the picked input; whiskers: 95 % interval"


def prepared(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the columns that charts add, and plain types."""
    wanted = (
        "site layer kind head feature bandwidth fcr fcr_low fcr_high chance chance_prior chance_defined fcr_star "
        "p_value q_value n_groups ess_ratio bits notes"
    )
    frame = frame.reindex(columns=[c for c in wanted.split() if c in frame.columns])
    if "chance_defined" in frame.columns:
        defined = frame.pop("chance_defined")
        if frame["chance"].isna().all():  # of one input, against what could have been it
            frame = frame.assign(chance_prior=defined.fillna(frame["chance_prior"]))
    frame = frame.astype({c: np.float64 for c in ("layer", "head") if c in frame.columns})
    if frame.get("bandwidth") is not None and frame["bandwidth"].nunique() > 1:
        frame = frame.assign(row=frame["site"] + frame["bandwidth"].map(lambda b: f"  (bandwidth {b:g})"))
    else:
        frame = frame.assign(row=frame["site"])
    return frame


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
        "fcr_star": "above chance",
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
    y = alt.Y("row:N", sort=list(dict.fromkeys(frame["row"])), title=None, axis=alt.Axis(labelLimit=LABEL))
    base = alt.Chart().encode(y=y)

    doubted = "notes" in frame.columns and frame["notes"].fillna("").str.startswith(UNRELIABLE).any()
    names, colours, shapes = [RATE, CHANCE], [BLUE, ORANGE], ["circle", _TICK]
    if doubted:
        names, colours, shapes = [RATE, DOUBTED, CHANCE], [BLUE, GREY, ORANGE], ["circle", "square", _TICK]

    def mark(column: str, name: str, size: int) -> alt.Chart:
        return (
            base.transform_calculate(what=name)
            .mark_point(filled=True, size=size, opacity=1)
            .encode(
                x=alt.X(f"{column}:Q", scale=scale, axis=alt.Axis(format="%", tickCount=5), title=agree),
                color=alt.Color("what:N", scale=alt.Scale(domain=names, range=colours), legend=LEGEND),
                shape=alt.Shape("what:N", scale=alt.Scale(domain=names, range=shapes), legend=LEGEND),
                tooltip=tooltip(frame),
            )
        )

    layers = []
    level = "chance" if "chance" in frame.columns and frame["chance"].notna().any() else "chance_prior"
    if level in frame.columns:
        layers.append(mark(level, f"'{CHANCE}'", 170))
    if {"fcr_low", "fcr_high"} <= set(frame.columns):
        colour = alt.when(_WEAK).then(alt.value(GREY)).otherwise(alt.value(BLUE)) if doubted else alt.value(BLUE)
        whiskers = base.mark_rule(size=2)
        layers.append(whiskers.encode(color=colour, x=alt.X("fcr_low:Q", scale=scale, title=agree), x2="fcr_high:Q"))
    layers.append(mark("fcr", f"{_WEAK} ? '{DOUBTED}' : '{RATE}'" if doubted else f"'{RATE}'", 70))
    layered = alt.layer(*layers, data=frame).properties(height=alt.Step(ROW_HEIGHT))
    if len(features) == 1:
        return layered.properties(width=width, title=heading)
    columns = 2 if len(features) == 4 else min(3, len(features))
    wanted = PANEL if width == "container" else width * 2 // 3
    panels = layered.properties(
        width=min(wanted, _room(frame["row"], columns)) if width in ("container", WIDTH) else wanted
    )
    facet = alt.Facet("feature:N", sort=features, title=None, header=alt.Header(labelFontWeight="bold"))
    return panels.facet(facet, columns=columns).properties(title=heading).resolve_axis(x="independent")


def _room(rows: pd.Series, columns: int) -> int:
    """Pixels that each of the panels side by side can have, right of the labels of their rows."""
    labels = min(LABEL, LETTER * rows.str.len().max())
    return max(NARROWEST, int(ROOM - labels - GAP * columns) // columns)


def components_of(frame: pd.DataFrame) -> list[str]:
    heads = frame["head"] if "head" in frame.columns else [np.nan] * len(frame)
    return [k if pd.isna(h) else f"{k} {int(h)}" for k, h in zip(frame["kind"], heads, strict=True)]


def component_order(name: str) -> tuple[int, int]:
    kind, _, head = name.partition(" ")
    return COMPONENTS.index(kind) if kind in COMPONENTS else len(COMPONENTS), int(head or 0)
