"""Tokens as one can tell them apart; the front end is tested on the same cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inversescope_nb._glyphs import pieces, visible

CASES = json.loads((Path(__file__).parents[1] / "js" / "test" / "glyphs.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("token", "expected"), CASES, ids=[ascii(token) for token, _ in CASES])
def test_a_token_in_pieces(token, expected):
    assert pieces(token) == expected
    assert visible(token) == "".join(expected)


def test_half_of_a_character_is_its_code():
    assert visible("\ud83d") == "U+D83D"
