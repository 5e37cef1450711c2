"""Tokens as a reader can tell them apart: invisible, reordering and undecodable characters become glyphs.

The front end has the same rules (``js/src/lib/glyphs.ts``); both are tested on ``js/test/glyphs.json``.
"""

from __future__ import annotations

import unicodedata

_NAMED = {
    "\n": "\u23ce",
    "\r": "\u240d",
    "\t": "\u21e5",
    "\u007f": "\u2421",
    "\u00a0": "\u237d",
    "\u00ad": "SHY",
    "\u061c": "ALM",
    "\u180e": "MVS",
    "\u200b": "ZWSP",
    "\u200c": "ZWNJ",
    "\u200d": "ZWJ",
    "\u200e": "LRM",
    "\u200f": "RLM",
    "\u2028": "LSEP",
    "\u2029": "PSEP",
    "\u202a": "LRE",
    "\u202b": "RLE",
    "\u202c": "PDF",
    "\u202d": "LRO",
    "\u202e": "RLO",
    "\u2060": "WJ",
    "\u2066": "LRI",
    "\u2067": "RLI",
    "\u2068": "FSI",
    "\u2069": "PDI",
    "\ufeff": "BOM",
    "\ufffd": "bytes",
}
_BLANK = {
    0x115F, 0x1160, 0x202F, 0x205F, 0x2800, 0x3000, 0x3164, 0xFFA0, *range(0x2000, 0x200B), *range(0x2061, 0x2065),
    *range(0x206A, 0x2070), *range(0xE0100, 0xE01F0),
}  # fmt: skip


def _glyph(character: str) -> str | None:
    """What stands for a character that would not be seen; None for one that is."""
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if 0xFE00 <= code <= 0xFE0F:
        return f"VS{code - 0xFE00 + 1}"
    hidden = 0x80 <= code < 0xA0 or 0xD800 <= code < 0xE000 or 0xFFF9 <= code <= 0xFFFB or 0xE0000 <= code < 0xE0080
    return f"U+{code:X}" if hidden or code in _BLANK else None


def pieces(token: str) -> list[str]:
    """The token in pieces, each a glyph or plain text.

    >>> pieces(" a\\n"), pieces("")
    (['·', 'a', '⏎'], ['∅'])
    """
    if not token:
        return ["\u2205"]
    plain, out = "", []
    for i, character in enumerate(token):
        # A space inside a token is plain; one at its edge is what tells " the" from "the".
        edge = i in (0, len(token) - 1) or not token.strip(" ")
        glyph = ("\u00b7" if edge else None) if character == " " else _glyph(character)
        if glyph is None:
            alone = not plain and unicodedata.category(character).startswith("M")  # it would land on what is before
            plain += "\u25cc" + character if alone else character
            continue
        if plain:
            out.append(plain)
            plain = ""
        out.append(glyph)
    return [*out, plain] if plain else out


def visible(token: str) -> str:
    """The token with its glyphs in place.

    >>> visible(" Mary")
    '·Mary'
    """
    return "".join(pieces(token))
