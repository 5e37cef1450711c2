"""A feature whose labels stand in a table: one row an input, its text or token ids in one column, its label in another.

pandas is not imported: whoever has a data frame has it already.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, suggest
from .base import Feature
from .text import InputText

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 3  # rows that an error message names


def from_frame(
    frame: pd.DataFrame,
    label: str = "label",
    *,
    text: str = "text",
    ids: str | None = None,
    name: str | None = None,
    strip: bool = True,
) -> Feature:
    """The label that a data frame gives a text; undefined for a text that is not in it.

    An input must be the whole text of a row: one that was cut at a token is another text, with a row of its own.
    A row without a label (None, NaN, NA) says nothing. A text may stand in several rows that say the same.

    Args:
        frame: a pandas data frame; later changes of it do not change the feature.
        label: the column of labels.
        text: the column of texts.
        ids: look inputs up by their token ids (BOS included) in this column of lists instead of by their text.
        name: what tables call it; None: the column's name.
        strip: whether white space around a text does not count.

    Raises:
        InvalidArgument: no such column, a row without a text, a label that is none, or two labels for one text.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"text": ["a dog", "a cat", "a rock"], "kind": ["loud", "quiet", None]})
    >>> kind = from_frame(frame, "kind")
    >>> kind.labels(["a cat", " a dog ", "a rock", "a cow"])
    ['quiet', 'loud', None, None]
    """
    if not (hasattr(frame, "columns") and hasattr(frame, "isna")):
        raise InvalidArgument(
            f"frame is a {type(frame).__name__}, not a data frame",
            hint="give a pandas.DataFrame; pandas.DataFrame({'text': [...], 'label': [...]}) makes one",
        )
    key_column = text if ids is None else ids
    keys, labels = _column(frame, key_column), _column(frame, label)
    rows = frame.index.tolist()
    read = (lambda value: _text_key(value, strip)) if ids is None else _ids_key
    found = [read(value) for value in keys.tolist()]
    if wrong := [row for row, key in zip(rows, found, strict=True) if key is None]:
        what = "text" if ids is None else "list of token ids"
        raise InvalidArgument(
            f"column {key_column!r} has no {what} in {_rows(wrong)}", hint=f"drop those rows, or give each a {what}"
        )
    table = _table(found, labels.tolist(), labels.isna().tolist(), rows, label)
    if not table:
        raise InvalidArgument(f"column {label!r} has no label at all", hint="give a frame with labelled rows")

    def by_text(text: InputText) -> Hashable | None:
        return table.get(_text_key(text, strip))

    def by_ids(text: InputText) -> Hashable | None:
        if text and not text.token_ids:
            raise ValueError("the text came without token ids; make it with InputText.from_ids(ids, lm)")
        return table.get(tuple(text.token_ids))

    by, own = ("texts", "text") if ids is None else ("lists of token ids", "token ids")
    return Feature(
        str(label) if name is None else name,
        by_text if ids is None else by_ids,
        f"column {label!r} of a table of {len(table)} {by}",
        undefined=f"inputs whose {own} the table does not have, or has without a label",
    )


def _column(frame: pd.DataFrame, name: Any) -> pd.Series:
    """A column; one that is missing, or there twice, is refused."""
    names = list(frame.columns)
    if names.count(name) != 1:
        many = names.count(name)
        said = f"there are {many} columns named {name!r}" if many else f"the frame has no column {name!r:.60}."
        raise InvalidArgument(
            said if many else said + suggest(str(name), map(str, names)),
            hint=f"its columns: {', '.join(map(str, names)) or 'none'}",
        )
    return frame[name]


def _text_key(value: Any, strip: bool) -> str | None:
    if not isinstance(value, str):
        return None
    return str(value).strip() if strip else str(value)


def _ids_key(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return None
    try:
        return tuple(operator.index(one) for one in value)
    except TypeError:
        return None


def _table(
    keys: list[Hashable], labels: list[Any], missing: list[bool], rows: list[Any], column: str
) -> dict[Hashable, Hashable]:
    """Key -> label; contradictions are refused with their rows."""
    table: dict[Hashable, Hashable] = {}
    row_of: dict[Hashable, Any] = {}
    apart: list[str] = []
    for key, label, none, row in zip(keys, labels, missing, rows, strict=True):
        if none:
            continue
        try:
            hash(label)
        except TypeError:
            raise InvalidArgument(
                f"column {column!r} has the label {label!r:.60} ({type(label).__name__}) in {_rows([row])}",
                hint="a label is a str, int, bool or a tuple of those",
            ) from None
        if key not in table:
            table[key], row_of[key] = label, row
        elif table[key] != label:
            shown = repr(key) if len(repr(key)) <= 60 else repr(key)[:59] + "…"
            apart.append(f"{shown} is {table[key]!r} in row {row_of[key]!r} and {label!r} in row {row!r}")
    if apart:
        more = f"; and {len(apart) - _NAMED} more" if len(apart) > _NAMED else ""
        raise InvalidArgument(
            f"column {column!r} contradicts itself: {'; '.join(apart[:_NAMED])}{more}",
            hint="keep one row for each text: frame.drop_duplicates('text')",
        )
    return table


def _rows(rows: list[Any]) -> str:
    named = ", ".join(repr(row) for row in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"row{'s' if len(rows) > 1 else ''} {named}{more}"
