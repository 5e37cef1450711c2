"""Rows that are packed into a saved page come out as they were, to the digits that are shown."""

from __future__ import annotations

import base64
import json
import zlib

from inversescope_nb._packed_rows import in_room, packed


def unpacked(text: str) -> list[dict]:
    columns = json.loads(zlib.decompress(base64.b64decode(text)))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_rows_come_out_as_they_were_without_what_no_page_needs():
    rows = [
        {"rank": 0, "tokens": ["<bos>", "\u00e9\u2028<"], "d": 123.4567891, "weight": 2e-9, "count": 1, "ids": [1, 2]},
        {"rank": 1, "tokens": [], "d": None, "weight": 0.0, "count": 12345678, "ids": [1]},
    ]
    assert unpacked(packed(rows)) == [
        {"rank": 0, "tokens": ["<bos>", "\u00e9\u2028<"], "d": 123.457, "weight": 2e-9, "count": 1},
        {"rank": 1, "tokens": [], "d": None, "weight": 0.0, "count": 12345678},
    ]
    assert unpacked(packed([])) == []


def test_nothing_in_it_can_end_a_script_element():
    assert not set("<>&\"'\\") & set(packed([{"text": "</script>"}]))


def test_only_the_first_rows_are_kept_where_all_would_need_too_much_room() -> None:
    rows = [{"text": str(i**9), "ids": [i]} for i in range(2000)]
    assert in_room(rows) is rows
    kept = in_room(rows, 4000)
    assert kept == rows[: len(kept)]
    assert len(packed(kept)) <= 4000 < len(packed(rows[: len(kept) * 3 // 2])), "and not many fewer than could be"
    assert in_room(rows, 1) == rows[:1]
    assert in_room([], 1) == []
