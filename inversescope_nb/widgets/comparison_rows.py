"""From a `Contrast` to what a comparison shows: the rows of both inversions, their summaries, words and counts.

All numbers are the contrast's own: nothing is estimated here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..contrasting import WHICH
from ..errors import InvalidArgument, suggest
from .gallery_rows import PAGE, rows_of, summary_of
from .messages import as_json

if TYPE_CHECKING:
    from ..contrasting import Contrast, OneSide

LISTS = {"all": "all inputs", "only": "only here", "both": "in both"}
"""What the two lists show: all samples, those inside one ball only, those inside both."""
POINTS = 300
"""Inputs of one inversion that the picture shows at most."""
_SAID = {
    "first": ("fixed here, not in the second", "fixed in the first, not here"),
    "second": ("fixed in the second, not here", "fixed here, not in the first"),
    "apart": ("fixed here; the second fixes another token", "fixed here; the first fixes another token"),
}


@dataclass(frozen=True)
class Shown:
    """What a comparison shows of one inversion: its rows and its summary."""

    rows: list[dict[str, Any]]
    """One dict a distinct input, nearest first, with the distance to the other activation and the side it lies on."""
    summary: dict[str, Any]
    """As a gallery's, with the counts of each list and what is marked in the head."""

    def listed(self, which: str) -> list[dict[str, Any]]:
        """The rows of one of `LISTS`."""
        return self.rows if which == "all" else [row for row in self.rows if row["place"] == which]


def check_list(which: Any) -> str:
    """The name of a list; raises `InvalidArgument` for one that there is not."""
    if which not in LISTS:
        raise InvalidArgument(
            f"no list is named {which!r}.{suggest(str(which), LISTS)}", hint=f"allowed: {', '.join(LISTS)}"
        )
    return which


def shown_of(side: OneSide) -> Shown:
    """The rows and the summary of one side."""
    inv = side.inversion
    at = {tuple(ids): i for i, ids in reversed(list(enumerate(inv.samples)))}
    rows = rows_of(inv)
    summary = summary_of(inv, rows)
    for row in rows:
        i = at[tuple(row["ids"])]
        row["d_other"] = as_json(float(side.d_other[i]))
        row["in_other"] = bool(side.inside_other[i])
        row["place"] = {side.name: "only", "both": "both"}.get(str(side.side[i]), "out")
    shown = Shown(rows, summary)
    summary["name"] = side.name
    summary["position"] = inv.position
    summary["counts"] = {which: len(shown.listed(which)) for which in LISTS}
    summary["shared"] = as_json(list(side.shared)) if not side.doubt else None
    return shown


def words_of(found: Contrast, shown: tuple[Shown, Shown]) -> dict[str, Any]:
    """What stands above the two lists: the sentences, the tokens side by side, the picture's points."""
    pairs = [
        {
            "which": pair.which,
            "words": WHICH[pair.which],
            "first": None if pair.first is None else pair.first.position,
            "second": None if pair.second is None else pair.second.position,
        }
        for pair in found.tokens
    ]
    for index, (name, one) in enumerate(zip(("first", "second"), shown, strict=True)):
        marks = [""] * len(one.summary["tokens"])
        for pair in pairs:
            if pair[name] is not None and pair["which"] in _SAID:
                marks[pair[name]] = _SAID[pair["which"]][index]
        one.summary["differs"] = marks
    overlap = any(one.summary["counts"]["both"] for one in shown)
    return as_json(
        {
            "sentence": found.sentence if overlap or found.doubt else f"No input is near both. {found.sentence}",
            "overlap": found.overlap,
            "doubt": found.doubt,
            "pairs": pairs,
            "apart": list(found.apart),
            "sites": len({str(side.inversion.site) for side in (found.first, found.second)}),
            "picture": _picture(found, shown),
        }
    )


def _picture(found: Contrast, shown: tuple[Shown, Shown]) -> dict[str, Any]:
    """Each distinct input as (distance to the first, to the second), and both edges."""
    from ..contrasted import edge_of

    points = []
    for name, one in zip(("first", "second"), shown, strict=True):
        for row in one.rows[:POINTS]:
            d, other = row["d"], row["d_other"]
            if d is not None and other is not None:
                x, y = (d, other) if name == "first" else (other, d)
                points.append([round(x, 4), round(y, 4), name, row["place"]])
    edges = [edge_of(side.inversion) for side in (found.first, found.second)]
    return {"points": points, "edges": [edge if math.isfinite(edge) else None for edge in edges]}


def page_of(shown: tuple[Shown, Shown], which: str, side: int, start: int) -> dict[str, Any]:
    """At most `PAGE` rows of one side's list."""
    rows = shown[side].listed(check_list(which))
    start = max(0, int(start))
    return {"start": start, "matching": len(rows), "rows": rows[start : start + PAGE]}
