"""Tokens that end inside a character: which bytes they are.

A decoder shows U+FFFD for bytes that are no character, so that all such tokens look alike. Here they are written as
SentencePiece's byte tokens are, ``<0xE2>``, whatever the tokenizer.
"""

from __future__ import annotations

import re
from functools import cache

UNDECODABLE = "\ufffd"
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def spelled(token: str, decoded: str) -> str:
    """The text of a token, with the bytes in it that are no character as ``<0xE2>``.

    Args:
        token: as it stands in the vocabulary: GPT-2's letters for bytes, or a byte token of SentencePiece.
        decoded: what its tokenizer makes of it.

    Returns:
        ``decoded`` itself where nothing in it is undecodable, or where the vocabulary does not say its bytes.

    >>> spelled("\u0120\u00e2\u0124", " \ufffd")
    ' <0xE2><0x82>'
    """
    if UNDECODABLE not in decoded:
        return decoded
    if _BYTE_TOKEN.fullmatch(token):
        return token
    letters = _byte_of_letter()
    if not all(letter in letters for letter in token):
        return decoded
    text = bytes(letters[letter] for letter in token).decode("utf-8", errors="surrogateescape")
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if "\udc80" <= c <= "\udcff" else c for c in text)


@cache
def _byte_of_letter() -> dict[str, int]:
    """GPT-2's letters for the 256 bytes: printable ones stand for themselves, the others for U+0100 and after."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
