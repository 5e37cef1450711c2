"""A gallery's rows in little room, for pages that hold thousands of them.

Column by column, numbers to six digits, without the token ids, which no page needs: as JSON, deflated, in base64 (so
that no ``<`` is in it). The front end's ``lib/packed.ts`` reads it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

_LEFT_OUT = ("ids",)
_DIGITS = 6
ROOM = 1_400_000
"""Characters that the rows of a page may need: with the front end's own code it is below 3 MB then."""


def packed(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as text.

    >>> json.loads(zlib.decompress(base64.b64decode(packed([{"d": 1 / 3, "ids": [1]}, {"d": None, "ids": [2]}]))))
    {'d': [0.333333, None]}
    """
    names = [name for name in (rows[0] if rows else ()) if name not in _LEFT_OUT]
    columns = {name: [_short(row[name]) for row in rows] for name in names}
    text = json.dumps(columns, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode("ascii")


def in_room(rows: Sequence[Mapping[str, Any]], room: int = ROOM) -> Sequence[Mapping[str, Any]]:
    """As many of the first rows as need no more than `room` characters when they are packed.

    >>> rows = [{"text": str(i**9), "ids": []} for i in range(2000)]
    >>> len(in_room(rows)), len(packed(in_room(rows, 4000))) <= 4000 < len(packed(rows))
    (2000, True)
    """
    while len(rows) > 1 and (size := len(packed(rows))) > room:
        rows = rows[: max(1, min(len(rows) - 1, int(0.97 * len(rows) * room / size)))]
    return rows


def _short(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
