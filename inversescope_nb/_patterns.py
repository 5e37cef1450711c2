"""Regular expressions that people write: read with a clear error, searched for a limited time.

A pattern such as ``(a|aa)+$`` can search a short text for ever, and while Python's own `re` searches, nothing else of
the process runs, not even a Stop. The package `regex` reads nearly the same patterns, gives up in time, and lets other
threads run meanwhile.
"""

from __future__ import annotations

import math
import re

import regex

from .errors import InvalidArgument

LIMIT_S = 0.5
"""Seconds that one search, or one pass over a list, may take."""


MOST_REPEATED = 100_000
"""What the numbers in braces of one pattern may multiply to: compiling ``((a{999}){999}){999}`` takes all memory."""
_BRACES = re.compile(r"\{(\d*)(?:,(\d*))?\}")


def read_pattern(pattern: str) -> regex.Pattern[str]:
    """The pattern, ready to search with.

    Raises:
        InvalidArgument: it is no regular expression, or repeats too often.
    """
    if isinstance(pattern, str):
        counts = (max(int(n or 1) for n in found) for found in _BRACES.findall(pattern))
        if math.prod(max(1, count) for count in counts) > MOST_REPEATED:
            raise InvalidArgument(
                f"{pattern!r:.80} repeats more than {MOST_REPEATED:,} times",
                hint="the numbers in braces, multiplied, are its size in memory: make them smaller, or write + or *",
            )
    try:
        return regex.compile(pattern)
    except (regex.error, TypeError) as e:
        raise InvalidArgument(
            f"'{pattern}' is no regular expression: {e}",
            hint=r"escape special characters, such as \( for a bracket",
        ) from e


def bracketed(pattern: str) -> int | tuple[int, ...]:
    """Which groups a pattern is about that somebody typed: all that stand in brackets, or the whole match.

    >>> bracketed("[0-9]"), bracketed("([0-9])"), bracketed("(.) (.)")
    (0, 1, (1, 2))
    """
    groups = read_pattern(pattern).groups
    return groups if groups < 2 else tuple(range(1, groups + 1))


def search(pattern: regex.Pattern[str], text: str, limit_s: float = LIMIT_S) -> regex.Match[str] | None:
    """The first match in a text, or None.

    Raises:
        InvalidArgument: not found within the time.

    >>> search(read_pattern("b+"), "abbc").group()
    'bb'
    """
    try:
        if limit_s <= 0:
            raise TimeoutError
        return pattern.search(text, timeout=limit_s, concurrent=True)
    except TimeoutError as e:
        raise InvalidArgument(
            f"the pattern {pattern.pattern!r} takes too long on {text[:40]!r}",
            hint="repeats of alternatives or repeats, such as (a|aa)+ or (a+)+, are what is slow: write it without",
        ) from e
