"""What comparisons and pins show without a kernel: a static picture, and the state of a saved page.

All text is escaped; nothing in it is trusted (see :mod:`inversescope_nb.export`).
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._packed_rows import packed
from ._static_table import TD, shown
from .widgets.messages import IDLE

if TYPE_CHECKING:
    from .widgets.comparison import Comparison
    from .widgets.pins import Pins

_SHOWN = 10
_SIDE = "display:inline-block;vertical-align:top;width:48%;min-width:300px;margin-right:1%"
_STATE = ("words", "first", "second", "listed", "unit", "revision", "code")


def _tokens(summary: Mapping[str, Any]) -> str:
    """The picked input; what only one of the two fixes is framed, and the frame says so when pointed at."""
    parts = []
    for token, said in zip(summary["tokens"], summary["differs"], strict=True):
        frame = f';border:2px solid #c4600f;font-weight:bold" title="{html.escape(said)}' if said else ""
        mark = "\u2260\u202f" if said else ""
        parts.append(f'<span style="font-family:monospace;padding:0 3px{frame}">{mark}{shown(token)}</span>')
    return "".join(parts)


def _side(summary: Mapping[str, Any], rows: list[dict[str, Any]]) -> str:
    fixed = summary["fixed"]
    answer = f"<p>{html.escape(fixed['sentence'])}</p>" if fixed else ""
    counts = summary["counts"]
    lines = []
    for row in rows[:_SHOWN]:
        numbers = ["\u2013" if d is None else f"{d:.3f}" for d in (row["d"], row["d_other"])]
        cells = [*numbers, shown(row["text"]), "in both" if row["place"] == "both" else ""]
        lines.append("<tr>" + "".join(f'<td style="{TD}">{cell}</td>' for cell in cells) + "</tr>")
    head = "".join(f'<th style="{TD}">{name}</th>' for name in ("d", "d to the other", "input", ""))
    where = f"{html.escape(summary['site'])}, \u03b5 = {summary['bandwidth']:g}"
    return (
        f'<div style="{_SIDE}"><p><b>{summary["name"].capitalize()}</b> {where}</p><p>{_tokens(summary)}</p>{answer}'
        f"<p><b>{html.escape(summary['verdict_words'])}</b> {counts['only']} inputs only here, "
        f"{counts['both']} in both, of {counts['all']}</p>"
        f'<table style="border-collapse:collapse;font-size:13px"><tr>{head}</tr>{"".join(lines)}</table></div>'
    )


def compared(comparison: Comparison) -> str:
    """Both sides, as plain HTML without scripts; empty where nothing is compared."""
    sides, words = comparison.sides, comparison.words
    if sides is None:
        return ""
    head = f"<p><b>{html.escape(words['sentence'])}</b></p><p>{html.escape(words['overlap'])}</p>"
    return head + "".join(_side(side.summary, side.listed(comparison.listed)) for side in sides)


def _page(content: str) -> str:
    return f'<div style="font-family:sans-serif;font-size:13px">{content}</div>'


def comparison_fragment(comparison: Comparison) -> str:
    """What a comparison shows, as plain HTML without scripts."""
    return _page(compared(comparison) or "<p>Nothing is compared yet.</p>")


def pins_fragment(pins: Pins) -> str:
    """The pinned inversions, as plain HTML without scripts."""
    lines = [
        f"<li>{shown(pin['tokens'][-1])} at {html.escape(pin['site'])}, \u03b5 = {pin['bandwidth']:g}</li>"
        for pin in pins.pins
    ]
    return _page(f"<ul>{''.join(lines)}</ul>" if lines else "<p>Nothing is pinned yet.</p>")


def saved(comparison: Comparison) -> dict[str, Any]:
    """A comparison in a saved page, with all of its rows: there is nobody to ask for more."""
    state = {name: getattr(comparison, name) for name in _STATE}
    state |= {"status": dict(IDLE), "frozen": True, "error": None, "frozen_traits": []}
    rows = [] if comparison.sides is None else [packed(side.rows) for side in comparison.sides]
    return {"module": "comparison", "state": state, "packed": {"all_rows": rows}}
