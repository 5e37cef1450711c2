"""What a widget shows, without a kernel: one self-contained HTML file, and a static picture.

`page` keeps the front end's own code and state in one file that needs no network: the gallery still
pages, filters and sorts. `fragment` is plain HTML and SVG without scripts or style sheets, for viewers
that strip both (nbconvert, GitHub). All text is escaped; nothing in it is trusted.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from ._packed_rows import in_room, packed
from ._static_table import SHOWN, TABLE, TD, prompt, samples, shown, token
from ._version import __version__
from .reports import is_doubtful
from .widgets.messages import IDLE, STATIC

if TYPE_CHECKING:
    from .widgets import ConsistencyPanel, InverseScopeWidget, SampleGallery, SiteSweep, TokenPicker

_OF_A_CHART = ("spec", "embed_options", "_vl_selections", "_params", "file_name", "caption")
_MODULES = ("scope", "token_picker", "sample_gallery", "consistency_panel", "site_sweep", "comparison", "chart")


def _interval(rate: Mapping[str, Any], *, grey: bool) -> str:
    """FCR, its interval and chance as a small picture; grey and hollow where it is not to be believed."""
    colour, fill = ("#8b949e", "none") if grey else ("#2f81d6", "#2f81d6")
    low, high, fcr = (150 * (rate["fcr"] if rate[k] is None else rate[k]) + 5 for k in ("low", "high", "fcr"))
    tick = ""
    if rate["chance"] is not None:
        x = 150 * rate["chance"] + 5
        tick = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="16" stroke="#8b949e" stroke-width="3"/>'
    return (
        '<svg width="160" height="18" style="vertical-align:middle">'
        '<line x1="5" x2="155" y1="9" y2="9" stroke="#8884"/>'
        f'{tick}<line x1="{low:.1f}" x2="{high:.1f}" y1="9" y2="9" stroke="{colour}" stroke-width="2"/>'
        f'<circle cx="{fcr:.1f}" cy="9" r="4.5" fill="{fill}" stroke="{colour}"/></svg>'
    )


def _hypotheses(panel: ConsistencyPanel) -> str:
    lines = []
    for row in panel.rows:
        rate = row["across"] or row["here"]
        if not rate or rate["fcr"] is None:
            cells = [shown(row["name"]), html.escape(row["note"] or ""), ""]
        else:
            over = "across inputs" if row["across"] else "this input"
            chance = "" if rate["chance"] is None else f", chance {rate['chance']:.2f}"
            between = "" if rate["low"] is None else f" ({rate['low']:.2f}\u2013{rate['high']:.2f})"
            numbers = f"{rate['fcr']:.2f}{between}{chance}"
            grey = is_doubtful(row["across"].get("notes")) if row["across"] else bool(panel.doubt)
            words = f'<span style="color:#8b949e">{numbers}, {over}, in doubt</span>' if grey else f"{numbers}, {over}"
            cells = [shown(row["name"]), words, _interval(rate, grey=grey)]
        lines.append("<tr>" + "".join(f'<td style="{TD}">{cell}</td>' for cell in cells) + "</tr>")
    if not lines:
        return ""
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in (panel.doubt, panel.chance_note) if note)
    return f'<p><b>Feature consistency</b></p><table style="{TABLE}">{"".join(lines)}</table>{notes}'


def _page(*parts: str) -> str:
    return f'<div style="font-family:sans-serif;font-size:13px">{"".join(parts)}</div>'


def picker_fragment(picker: TokenPicker) -> str:
    """A picker's tokens with their shading, as plain HTML without scripts."""
    values = picker.values or [None] * len(picker.tokens)
    top = picker.values_max or max((abs(v) for v in values if v is not None), default=0.0) or 1.0
    shaded = zip(picker.tokens, values, strict=False)  # while a prompt is edited, its values are still the last one's
    tokens = " ".join(token(t, v, top, picked=i == picker.index) for i, (t, v) in enumerate(shaded))
    steps = (-1, -0.5, 0.5, 1) if picker.diverging else (0.5, 1)
    scale = " ".join(token(f"{v * top:{'+' if picker.diverging else ''}.2g}", v * top, top) for v in steps)
    words = f"{html.escape(picker.values_label)} {scale} {html.escape(picker.values_unit)}"
    return _page(f"<p>{tokens}</p>", f"<p>{words}</p>" if picker.values else "")


def _inputs(gallery: SampleGallery) -> str:
    """The verdict, the numbers and the first inputs of an inversion."""
    summary = gallery.summary
    bits = "" if summary["bits"] is None else f" \u00b7 {summary['bits']:.1f} bits"
    effective = f"{summary['ess']:.0f} effective of {summary['n']} samples"
    verdict, reason, prior = (html.escape(summary[k]) for k in ("verdict_words", "verdict_reason", "prior"))
    words = " ".join([reason, *map(html.escape, summary["remarks"])])
    fixed = summary["fixed"]
    answer = f"<p><b>{html.escape(fixed['sentence'])}</b></p>" if fixed else ""
    head = f"{answer}<p><b>{verdict}</b> {words}</p><p>{effective}{bits} \u00b7 relative to {prior}</p>"
    return head + samples(gallery.rows, summary)


def _where(tokens: Sequence[str], picked: int, site: str, bandwidth: float, states: Sequence[str] = ()) -> str:
    """The prompt, and in words where in it the activation is read."""
    at = f"read at token {picked} (of 0 to {len(tokens) - 1}), <b>{shown(tokens[picked])}</b>, " if tokens else ""
    return prompt(tokens, picked, states) + f"<p>{at}{html.escape(site)}, \u03b5 = {bandwidth:g}</p>"


def _states(summary: Mapping[str, Any]) -> Sequence[str]:
    return summary["fixed"]["states"] if summary.get("fixed") else ()


def gallery_fragment(gallery: SampleGallery) -> str:
    """An inversion's inputs, as plain HTML without scripts."""
    summary = gallery.summary
    if not gallery.rows:
        return _page("<p>No inversion is shown yet.</p>")
    tokens = summary["tokens"]
    where = _where(tokens, len(tokens) - 1, summary["site"], summary["bandwidth"], _states(summary))
    return _page(where, _inputs(gallery))


def panel_fragment(panel: ConsistencyPanel) -> str:
    """Hypotheses and their rates, as plain HTML without scripts."""
    return _page(_hypotheses(panel) or "<p>No hypothesis is under test yet.</p>")


def sweep_fragment(sweep: SiteSweep) -> str:
    """The highest rates of a sweep, as plain HTML without scripts."""
    rows = sorted(sweep.rows, key=lambda row: -(row.get("fcr_star") or 0.0))
    if not rows:
        return _page("<p>No sweep was made yet.</p>")
    lines = []
    for row in rows[:SHOWN]:
        numbers = [f"{row[k]:.2f}" if row.get(k) is not None else "\u2013" for k in ("fcr", "chance", "fcr_star")]
        numbers[0] += " \u2020" if is_doubtful(row.get("notes")) else ""
        cells = [shown(row["feature"]), html.escape(row["site"]), *numbers]
        lines.append("<tr>" + "".join(f'<td style="{TD}">{cell}</td>' for cell in cells) + "</tr>")
    names = ("hypothesis", "site", "FCR", "chance", "FCR*")
    head = "".join(f'<th style="{TD}">{name}</th>' for name in names)
    rest = f"<p>and {len(rows) - SHOWN} more</p>" if len(rows) > SHOWN else ""
    rest += "<p>\u2020 Not to be relied on.</p>" if any(is_doubtful(row.get("notes")) for row in rows[:SHOWN]) else ""
    words = f"<p><b>Across the model</b> {html.escape(sweep.where)}</p>"
    table = f'<table style="{TABLE}"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    return _page(words, table, rest)


def fragment(widget: InverseScopeWidget) -> str:
    """The state of the widget now, as plain HTML without scripts."""
    picker, gallery, summary = widget.picker, widget.gallery, widget.gallery.summary
    read = summary.get("tokens") or picker.tokens[: picker.index + 1]  # what the inputs below belong to
    rest = picker.tokens[len(read) :] if picker.tokens[: len(read)] == read else []
    site, bandwidth = summary.get("site", widget.site), summary.get("bandwidth", widget.bandwidth)
    head = f"<p><b>InverseScope</b> {html.escape(widget.model_name)}</p>"
    where = _where([*read, *rest], len(read) - 1, site, bandwidth, _states(summary))
    if gallery.rows:
        from .comparison_page import compared

        parts = (_inputs(gallery), compared(widget.comparison), _hypotheses(widget.panel))
        return _page(head, where, *parts, sweep_fragment(widget.sweep) if widget.sweep.rows else "")
    return _page(head, where, "<p>Nothing was inverted yet. Run the notebook to pick a token and see its inputs.</p>")


def _state(widget: Any, names: Sequence[str], **changed: Any) -> dict[str, Any]:
    state = {name: getattr(widget, name) for name in names}
    return {**state, **changed, "error": None, "frozen_traits": ["text", "prompt", "position", "site", "bandwidth"]}


def _saved(widget: InverseScopeWidget, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    gallery, panel, picker, sweep = widget.gallery, widget.panel, widget.picker, widget.sweep
    refs = {name: f"anywidget:{name}" for name in ("picker", "gallery", "panel")}
    refs["sweep"] = "anywidget:sweep" if sweep.rows else None
    scope = _state(
        widget,
        (
            "prompt",
            "position",
            "site",
            "bandwidth",
            "bandwidth_range",
            "bound",
            "n",
            "model_name",
            "site_map",
            "map_by",
            "map_choices",
            "map_values",
            "map_note",
            "stale",
            "code",
        ),
        busy=False,
        status=dict(IDLE),
        offer=None,
        frozen=True,
        maps={choice["name"]: widget.map_colours(choice["name"]) for choice in widget.map_choices},
        **refs,
    )
    shown = ("text", "tokens", "position", "values", "values_label", "values_unit", "values_max", "diverging")
    charts = {"panel": panel.chart, "sweep": sweep.chart if sweep.rows else None}
    drawn = {name: chart for name, chart in charts.items() if chart is not None and chart.spec}
    widgets = {
        "scope": {"module": "scope", "state": scope},
        "picker": {"module": "token_picker", "state": _state(picker, shown, examples=[], editable=False, frozen=True)},
        "gallery": {
            "module": "sample_gallery",
            "state": _state(gallery, ("summary", "first_page", "revision", "unit", "layout", "query")),
            "rows": packed(rows),
        },
        "panel": {
            "module": "consistency_panel",
            "state": _state(
                panel,
                (
                    "rows",
                    "ready",
                    "chance_note",
                    "doubt",
                    "measured",
                    "where",
                    "place",
                    "proposals",
                    "curves",
                    "drawn",
                    "code",
                ),
                features=[],
                measure_label="",
                bandwidths_label="",
                frozen=True,
                status=dict(IDLE),
                chart="anywidget:chart of the panel" if "panel" in drawn else None,
            ),
        },
    }
    if sweep.rows:
        state = _state(
            sweep,
            ("rows", "where", "partial", "code", "stale"),
            can_sweep=False,
            label="",
            note="",
            frozen=True,
            status=dict(IDLE),
        )
        chart = "anywidget:chart of the sweep" if "sweep" in drawn else None
        widgets["sweep"] = {"module": "site_sweep", "state": {**state, "chart": chart}}
    if widget.comparison.sides is not None:
        from .comparison_page import saved

        scope["comparison"] = "anywidget:comparison"
        widgets["comparison"] = saved(widget.comparison)
    for name, chart in drawn.items():
        state = {key: getattr(chart, key) for key in _OF_A_CHART}
        widgets[f"chart of the {name}"] = {"module": "chart", "state": state}
    used = {entry["module"] for entry in widgets.values()}
    modules = {name: (STATIC / f"{name}.js").read_text(encoding="utf-8") for name in _MODULES if name in used}
    return {"root": "scope", "widgets": widgets, "modules": modules}


def embed(data: Any) -> str:
    """JSON that can stand inside a script element: no ``<`` in it can end the element.

    >>> embed("</script>")
    '"\\\\u003c/script>"'
    """
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def page(widget: InverseScopeWidget) -> str:
    """What the widget shows now, as one HTML file that works without a network or a kernel."""
    css = (STATIC / "isn.css").read_text(encoding="utf-8")
    viewer = (STATIC / "viewer.js").read_text(encoding="utf-8")
    title = html.escape(f"InverseScope: {widget.site} of {widget.lm.name}")
    rows, n = in_room(widget.gallery.rows), len(widget.gallery.rows)
    fewer = (
        f" Of {n:,} different inputs the nearest {len(rows):,} are in it: it is kept small." if len(rows) < n else ""
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0 auto; padding: 20px; max-width: 1180px; background: #ffffff; color: #1f2328; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #16191d; color: #e6e9ec; }} }}
{css}</style>
</head>
<body>
<main>
<div id="isn-view"></div>
<div id="isn-static">{fragment(widget)}</div>
<p style="font: 12px sans-serif; opacity: 0.85; margin-top: 24px">Saved on {date.today().isoformat()} with
inversescope_nb {__version__}: a copy of what was shown, in which nothing is computed anew. Other pins and tabs are not
in it.{fewer}</p>
</main>
<script type="application/json" id="isn-saved">{embed(_saved(widget, rows))}</script>
<script type="module">
{viewer}</script>
</body>
</html>
"""
