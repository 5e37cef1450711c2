"""Tokens and inputs as plain HTML that can do without its styles.

nbconvert and JupyterLab leave the styles of a notebook's HTML as they are; GitHub takes away every style, class, span
and SVG. So a state is a glyph, a token that differs from the picked input's is bold, inputs are cells of a table, and
`unstyled` text says in numbers what the shading says: a style hides it, so it is seen only where there are no styles.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ._glyphs import visible

TABLE = "border-collapse:collapse;font-size:13px"
TD = "padding:2px 10px 2px 0;text-align:left;vertical-align:baseline;border-bottom:1px solid #8884"
STATES = {"pinned": ("\u25a0", "fixed"), "leaning": ("\u25e7", "leaning"), "free": ("\u25a1", "free")}
"""Glyph and word of what an activation does to a token, as in the widget; what P(X) gives has none."""
SHOWN = 25
_COLUMNS = 12
"""Tokens of the picked input up to which its inputs stand under it."""
_SAID = 0.5
"""Share of the scale's top from which a number stands beside a token."""


def shown(token: str) -> str:
    """A token with glyphs for what would not be seen, escaped for HTML."""
    return html.escape(visible(token))


def unstyled(markup: str) -> str:
    """Markup that is seen only where styles are taken away."""
    return f'<span style="display:none">{markup}</span>'


def _glyph(state: str) -> str:
    return STATES[state][0] if state in STATES else ""


def token(
    text: str, value: float | None, top: float, *, picked: bool = False, bold: bool = False, bits: bool = False
) -> str:
    """One token, shaded by its value; ``bits``: the value is in nats, and is said in bits where it is large."""
    share = 0.0 if value is None else max(-1.0, min(1.0, value / top))
    colour = "31,111,196" if share >= 0 else "196,96,15"
    style = "font-family:monospace;padding:0 3px;margin:0 1px;display:inline-block;color:inherit;background:none"
    if abs(share) >= 0.02:
        line = "solid" if share > 0 else "dashed"
        tint = f"rgba({colour},{abs(share) * 0.38:.2f})"
        style += f";background:{tint};border-bottom:{abs(share) * 4:.1f}px {line} rgb({colour})"
    style += ";outline:2px solid #2f81d6" if picked else ""
    words = f"<b>{shown(text)}</b>" if picked or bold else shown(text)
    said = bits and value is not None and abs(share) >= _SAID
    number = unstyled(f"<sup>{_signed(value / math.log(2))}</sup>") if said else ""
    return f'<code style="{style}">{words}</code>{number}'


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\u2212")


def prompt(tokens: Sequence[str], picked: int, states: Sequence[str] = ()) -> str:
    """A prompt's tokens, the picked one outlined and named, with what becomes of each."""
    glyphs = [*map(_glyph, states), *[""] * (len(tokens) - len(states))]
    each = enumerate(zip(glyphs, tokens, strict=True))
    line = " ".join(glyph + token(text, None, 1.0, picked=i == picked) for i, (glyph, text) in each)
    key = " \u00b7 ".join(f"{glyph} {word}" for state, (glyph, word) in STATES.items() if state in states)
    return f"<p>{line}</p>" + (f"<p>{key}</p>" if key else "")


def samples(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> str:
    """The nearest inputs, one row each; short ones token by token under the picked input."""
    picked, top = summary["tokens"], summary["info_max"]
    aligned = len(picked) <= _COLUMNS
    columns = ["input"]
    if aligned:
        states = summary["fixed"]["states"] if summary["fixed"] else [""] * len(picked)
        columns = [_glyph(state) + shown(text) for state, text in zip(states, picked, strict=True)]
    head = "".join(f'<th style="{TD}">{name}</th>' for name in ("d", "weight", "count", *columns))
    lines, beyond = [], False
    for row in rows[:SHOWN]:
        if summary["ball_edge"] is not None and not row["in_ball"] and not beyond:
            beyond = True
            words = f"edge of the ball, d = {summary['ball_edge']:.3f}"
            style = f"{TD};border-bottom:2px dashed #888"
            lines.append(f'<tr><td colspan="{3 + len(columns)}" style="{style}">{words}</td></tr>')
        notes = [("the picked input", row["is_copy"]), ("outside P(X)", not row["on_support"])]
        cells = (
            "\u2013" if row["d"] is None else f"{row['d']:.3f}",
            f"{100 * row['weight']:.1f}\u202f%",
            " ".join([f"\u00d7{row['count']}", *(f"<i>{words}</i>" for words, true in notes if true)]),
            *(_under(row, picked, top) if aligned else [" ".join(_tokens(row, picked, top, aligned=False))]),
        )
        lines.append("<tr>" + "".join(f'<td style="{TD}">{cell}</td>' for cell in cells) + "</tr>")
    rest = f"<p>and {len(rows) - SHOWN} more</p>" if len(rows) > SHOWN else ""
    table = f'<table style="{TABLE}"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    return _key(top, aligned=aligned) + table + rest


def _key(top: float, *, aligned: bool) -> str:
    bits = top / math.log(2)
    scale = " ".join(token(_signed(share * bits), share * top, top) for share in (-1, -0.5, 0.5, 1))
    said = unstyled(f" (as a number from {_SAID * bits:.1f} on)")
    words = "Given the activation, a token is likelier (+) or less likely (\u2212), in bits"
    bold = " Bold: not the picked input's." if aligned else ""
    return f"<p>{words}{said}: {scale}.{bold}</p>"


def _tokens(row: Mapping[str, Any], picked: Sequence[str], top: float, *, aligned: bool) -> list[str]:
    same = [at is not None and picked[at] == text for text, at in zip(row["tokens"], row["at"], strict=True)]
    each = zip(row["tokens"], row["info"], same, strict=True)
    return [token(text, value, top, bold=aligned and not same, bits=True) for text, value, same in each]


def _under(row: Mapping[str, Any], picked: Sequence[str], top: float) -> list[str]:
    """A cell per token of the picked input; what stands for none of them goes with the next that does."""
    cells: list[list[str]] = [[] for _ in picked]
    waiting: list[str] = []
    for markup, at in zip(_tokens(row, picked, top, aligned=True), row["at"], strict=True):
        waiting.append(markup)
        if at is not None:
            cells[at] += waiting
            waiting = []
    cells[-1] += waiting
    return [" ".join(cell) or "\u2013" for cell in cells]
