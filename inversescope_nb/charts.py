"""Charts: pure functions from frames and inversions to altair charts, usable offline.

Colours are Okabe and Ito's (distinguishable with every common colour vision), heat maps in the blue of the
widget's map of the model; colour is never the only channel. Every chart is a plain Vega-Lite specification with
its data inside, and a chart of nothing is a sentence that says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import pandas as pd

from . import _bandwidth_charts, _causal_charts, _consistency_charts, _distance_charts, _heat_maps, _linked_chart
from ._consistency_charts import (
    BLUE,
    GREEN,
    GREY,
    LEGEND,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    component_order,
    components_of,
    prepared,
    tooltip,
)

if TYPE_CHECKING:
    from .generator import Generator
    from .inversion import Inversion

MANY_SITES = 12
"""With more sites than this, `consistency_chart` is a heat map of layers and components."""
_LN2 = np.log(2)


def consistency_chart(
    frame: pd.DataFrame,
    *,
    heatmap: bool | None = None,
    width: int | str = WIDTH,
    select: bool = False,
    chosen: str = "",
) -> alt.TopLevelMixin:
    """Feature consistency rates with their 95 % intervals and chance levels.

    Few sites: one row per site, a panel per feature: a point with whiskers, a tick at chance. Many: a heat
    map of layers against components and heads, filled by the rate corrected for chance.

    Args:
        frame: as of `ConsistencyReport.to_frame`.
        heatmap: force one of the two; None: by the number of sites.
        width: pixels of a panel, or ``"container"`` (charts without panels side by side only).
        select: whether a click on a cell of the heat map selects its site and feature, which `inversescope_nb.Chart`
            (or altair's own ``JupyterChart``) then has in its selection ``site``.
        chosen: with ``select``, the site whose cells are framed: the parameter ``chosen``, which those widgets can
            change without drawing anew.

    >>> import pandas as pd
    >>> consistency_chart(pd.DataFrame()).to_dict()["mark"]["type"]
    'text'
    """
    if len(frame) == 0 or not {"site", "feature", "fcr"} <= set(frame.columns):
        return message("No consistency to show yet: choose a feature and run it.")
    frame = prepared(frame)
    if frame["fcr"].isna().all():
        return message("No estimate: the feature is undefined, or only copies of the picks were sampled.")
    many = frame["site"].nunique() > MANY_SITES if heatmap is None else heatmap
    return _heat_maps.heatmap(frame, select=select, chosen=chosen) if many else _consistency_charts.points(frame, width)


def linked_chart(frame: pd.DataFrame) -> alt.TopLevelMixin:
    """A whole sweep in one chart: rates above chance, bits and effective samples of every site, and one site in detail.

    A click on a site, in any of the panels above, shows it below, over bandwidths where there are several; a menu
    chooses the bandwidth of the panels above. A dot marks what is told from chance (q of 0.05 at most).

    Args:
        frame: as of `ConsistencyReport.to_frame`.
    """
    if len(frame) == 0 or frame["fcr"].isna().all():
        return message("No consistency to show yet: choose a feature and run it.")
    return _linked_chart.linked(frame)


def bandwidth_chart(frame: pd.DataFrame, *, width: int | str = WIDTH) -> alt.TopLevelMixin:
    """Feature consistency over bandwidths: a line with its 95 % band for each hypothesis, dashed at its chance.

    Points whose inversions have too few effective samples, or whose generator missed the activation, are hollow.

    Args:
        frame: of one site, as of :func:`across_bandwidths` or `consistency` with several bandwidths; the first six
            features are drawn.
        width: pixels, or ``"container"``.

    >>> import pandas as pd
    >>> bandwidth_chart(pd.DataFrame()).to_dict()["mark"]["type"]
    'text'
    """
    if len(frame) == 0 or not {"bandwidth", "feature", "fcr"} <= set(frame.columns):
        return message("No bandwidths to show yet: choose a feature and run it.")
    known = frame[frame["fcr"].notna()]
    if len(known) == 0:
        return message("No estimate: the feature is undefined, or only copies of the picks were sampled.")
    return _bandwidth_charts.lines(known, width)


def distance_histogram(inversion: Inversion, *, bins: int = 40, width: int | str = WIDTH) -> alt.TopLevelMixin:
    """How near the samples lie to the picked activation, beside draws from P(X) alone, as the widget shows it.

    Bars are shares of the weight: filled inside the ball, within whose edge, the rule, 95 % of it lies, and
    outlined beyond. Steps are shares of the draws.

    Args:
        inversion: what `invert` returned; its `prior_d` (if any) is drawn beside.
        bins: equal bins of d, in standardised units per coordinate.
        width: pixels, or ``"container"``.
    """
    d, weight = np.asarray(inversion.d, dtype=float), np.asarray(inversion.weight, dtype=float)
    prior = np.asarray(getattr(inversion, "prior_d", ()), dtype=float)
    keep = np.isfinite(d)
    if not keep.any() or not weight[keep].any():
        return message("No sample lies near the picked activation: there is no distance to show.")
    chart = _distance_charts.histogram(
        d[keep], weight[keep], prior[np.isfinite(prior)], edge=inversion.ball_edge, bins=bins, width=width
    )
    title = alt.TitleParams(
        "How near the samples are",
        subtitle=f"{inversion.site}, bandwidth {inversion.bandwidth:g}",
        anchor="start",
    )
    return chart.properties(title=title)


def information_chart(source: pd.DataFrame | Inversion, *, width: int | str = WIDTH) -> alt.TopLevelMixin:
    """What activations say, in bits: by layer and component (a frame), or by token (an inversion).

    A frame as of `ConsistencyReport.to_frame` gives mean resolution bits over layers, a line per
    component. An inversion gives log2 q(x_t | activation) - log2 q(x_t) of the tokens of its heaviest
    samples: blue tokens are made likelier by the activation, vermilion ones less likely; a shading, not a
    measurement.
    """
    if isinstance(source, pd.DataFrame):
        return _bits_by_layer(source, width)
    return _bits_by_token(source)


def message(text: str) -> alt.Chart:
    """A chart that only says something."""
    return (
        alt.Chart(pd.DataFrame({"text": [text]}))
        .mark_text(fontSize=13, color=GREY)
        .encode(text="text:N")
        .properties(width=WIDTH, height=60)
    )


def _bits_by_layer(frame: pd.DataFrame, width: int | str) -> alt.TopLevelMixin:
    """Mean resolution bits over layers: a line per component, or a heat map where there are many."""
    if len(frame) == 0 or "bits" not in frame.columns or frame["bits"].isna().all():
        return message("No information to show yet: invert some activations first.")
    frame = prepared(frame).drop_duplicates(["row"])
    frame = frame.assign(component=components_of(frame))
    components = sorted(frame["component"].unique(), key=component_order)
    title = alt.TitleParams(
        "What the activations say about their input",
        subtitle="minus log2 of the share of P(X) that they cannot be told from",
        anchor="start",
    )
    several = "bandwidth" in frame.columns and frame["bandwidth"].nunique() > 1
    palette = [BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY]
    if len(components) > len(palette):
        scale = alt.Scale(range=_heat_maps.BLUES, zero=True)
        cells = _heat_maps.filled(
            _heat_maps.grid(frame, components), alt.Color("bits:Q", scale=scale, legend=alt.Legend(title="bits"))
        )
        step = alt.Step(_heat_maps.step(len(components), frame["layer"].nunique()))
        cells = cells.properties(width=step, height=step)
        return (cells.facet(row=alt.Row("bandwidth:O")) if several else cells).properties(title=title)
    line = alt.Chart(frame).encode(
        x=alt.X("layer:O", title="layer", axis=alt.Axis(format="d", labelAngle=0)),
        y=alt.Y("bits:Q", title="mean resolution (bits)", scale=alt.Scale(zero=True)),
        color=alt.Color("component:N", scale=alt.Scale(domain=components, range=palette[: len(components)])),
        shape=alt.Shape("component:N", scale=alt.Scale(domain=components)),
        tooltip=tooltip(frame),
    )
    dashed = line
    if several:
        strokes = alt.Legend(symbolType="M-1,0H1", symbolStrokeColor=GREY, symbolFillColor="transparent")
        dashed = line.encode(strokeDash=alt.StrokeDash("bandwidth:O", legend=strokes))
    both = alt.layer(dashed.mark_line(), line.mark_point(filled=True, size=60, opacity=1))
    return both.properties(width=width, height=220, title=title)


def _bits_by_token(inversion: Inversion, rows: int = 12) -> alt.TopLevelMixin:
    """The tokens of the heaviest distinct samples, shaded by what the activation says about each."""
    weight = np.asarray(inversion.weight, dtype=float)
    first: dict[tuple[int, ...], int] = {}
    total: Counter[tuple[int, ...]] = Counter()
    for i in np.flatnonzero(weight > 0):
        first.setdefault(tuple(inversion.samples[i]), int(i))
        total[tuple(inversion.samples[i])] += weight[i]
    heaviest = {ids: first[ids] for ids, _ in total.most_common(rows)}
    if not heaviest:
        return message("No sample has weight: there is nothing to shade.")
    information = inversion.token_information()
    cells = [
        {"sample": rank + 1, "position": t, "token": token, "bits": float(nats / _LN2)}
        for rank, i in enumerate(heaviest.values())
        for t, (token, nats) in enumerate(zip(inversion.texts[i].tokens, information[i], strict=False))
    ]
    frame = pd.DataFrame(cells)
    bound = max(1.0, float(np.nanmax(np.abs(frame["bits"]))))
    widest = int(frame["token"].map(len).max())
    base = alt.Chart(frame).encode(
        x=alt.X("position:O", title="position (BOS counted)", axis=alt.Axis(labelAngle=0, orient="top")),
        y=alt.Y("sample:O", title="sample, heaviest first"),
        tooltip=["token:N", "position:O", alt.Tooltip("bits:Q", format=".2f")],
    )
    shade = base.mark_rect(stroke="white").encode(
        color=alt.Color(
            "bits:Q",
            scale=alt.Scale(domain=[-bound, 0, bound], range=["#E8853F", "#F7F7F7", "#4A9CCB"]),
            legend=alt.Legend(title="bits"),
        )
    )
    text = base.mark_text(fontSize=11, color="black").encode(text="token:N")
    title = alt.TitleParams(
        "What the activation says about each token",
        subtitle=f"{inversion.site}, bandwidth {inversion.bandwidth:g}; a shading, not a measurement",
        anchor="start",
    )
    return alt.layer(shade, text).properties(width=alt.Step(max(26, 7 * widest + 8)), height=alt.Step(22), title=title)


_CURVES = {
    "nll": ("with its activation, noised", BLUE),
    "nll_prior": ("without", ORANGE),
    "gap_noised": ("gap to the exact posterior, noised", GREEN),
    "gap_half": ("gap, half the noise", SKY),
    "gap_clean": ("gap, clean activation", PURPLE),
}


def training_chart(
    generator_or_run_card: Generator | Mapping[str, Any], *, width: int | str = WIDTH
) -> alt.TopLevelMixin:
    """How a generator learned: held-out nats an input with its activation and without, and the gap where it is known.

    Args:
        generator_or_run_card: a generator, or its ``run_card``; trainings that it went on from stand before it.
        width: pixels, or ``"container"``.
    """
    card = getattr(generator_or_run_card, "run_card", generator_or_run_card)
    cards = [card]
    while cards[0].get("went_on_from"):
        cards.insert(0, cards[0]["went_on_from"])
    rows, before = [], 0
    for one in cards:
        batch = one.get("config", {}).get("batch_size", 1)
        for point in one.get("history", ()):
            rows += [
                {"examples": before + point["step"] * batch, "nats": point[name], "curve": words}
                for name, (words, _) in _CURVES.items()
                if name in point
            ]
        before = one.get("examples_seen", before)
    if not rows:
        return message("No curve to show: this generator's training was not measured.")
    frame = pd.DataFrame(rows)
    shown = [(words, colour) for words, colour in _CURVES.values() if (frame["curve"] == words).any()]
    return (
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(
            x=alt.X("examples:Q", title="examples seen"),
            y=alt.Y("nats:Q", title="nats an input, held out", scale=alt.Scale(zero=False)),
            color=alt.Color(
                "curve:N",
                scale=alt.Scale(domain=[w for w, _ in shown], range=[c for _, c in shown]),
                legend=LEGEND,
                title=None,
            ),
            strokeDash=alt.StrokeDash("curve:N", legend=None),
            tooltip=["curve:N", alt.Tooltip("examples:Q", format=","), alt.Tooltip("nats:Q", format=".3f")],
        )
        .properties(width=width)
    )


def dose_chart(frame: pd.DataFrame, *, width: int | str = WIDTH) -> alt.TopLevelMixin:
    """How far patches move the output against how far they are displaced; bands hold the middle half of the draws.

    Args:
        frame: as of `causal.PatchReport.to_frame`.
        width: pixels, or ``"container"``.
    """
    from .causal.patches import KINDS

    if len(frame) == 0:
        return message("Nothing was patched yet.")
    return _causal_charts.doses(frame, KINDS, width)


def use_chart(frame: pd.DataFrame) -> alt.TopLevelMixin:
    """Movement by patches that flip a feature beside that by patches that keep it, a row for each site.

    Args:
        frame: as of `causal.UseReport.to_frame`.
    """
    if len(frame) == 0 or frame["use"].isna().all():
        return message("No use to show: no pick has both a patch that flips the feature and one that keeps it.")
    return _causal_charts.uses(frame)


def beside_chart(frame: pd.DataFrame, *, width: int | str = WIDTH) -> alt.TopLevelMixin:
    """Consistency against use: what a site holds and what of it is used; whiskers are 95 % intervals.

    Args:
        frame: as of `causal.UseReport.beside`.
        width: pixels, of one feature.
    """
    if len(frame) == 0 or frame["use"].isna().all() or frame["fcr_star"].isna().all():
        return message("Nothing to compare: no site has both a rate and a measure of use.")
    return _causal_charts.besides(frame, width)


def scaling_chart(frame: pd.DataFrame, *, width: int | str = WIDTH) -> alt.TopLevelMixin:
    """Share of answers that change as an activation is multiplied, a line for each of the first twelve sites.

    Args:
        frame: as of `causal.ScalingReport.to_frame`.
        width: pixels, or ``"container"``.
    """
    if len(frame) == 0 or frame["factor"].isna().all():
        return message("Nothing was scaled yet.")
    return _causal_charts.scalings(frame, width)
