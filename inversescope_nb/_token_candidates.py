"""Features that `proposals` looks at where lengths vary: bounds of the length."""

from __future__ import annotations

from collections.abc import Sequence

from .features import Feature

BOUNDS = 8
"""Bounds of the length that are looked at on either side, the nearest to the picked input's."""


def at_least(n: int) -> Feature:
    """Whether an input has so many tokens or more, BOS counted.

    >>> from inversescope_nb.features import InputText
    >>> at_least(2)(InputText("a", ("<bos>", "a"))), at_least(3)(InputText("a", ("<bos>", "a")))
    (True, False)
    """
    name = f"at least {n} tokens"
    return Feature(
        name, lambda text: len(text.tokens) >= n, "BOS counted",
        f"isn.features.Feature({name!r}, lambda text: len(text.tokens) >= {n})",
    )  # fmt: skip


def at_most(n: int) -> Feature:
    """Whether an input has so many tokens or fewer, BOS counted."""
    name = f"at most {n} tokens"
    return Feature(
        name, lambda text: len(text.tokens) <= n, "BOS counted",
        f"isn.features.Feature({name!r}, lambda text: len(text.tokens) <= {n})",
    )  # fmt: skip


def bounds(length: int, lengths: Sequence[int]) -> list[Feature]:
    """At least and at most so many tokens, for lengths that inputs have; none that says "all" or "just this length".

    Which bound is held is read off one half of the samples and tested on the other, as anything else is.

    >>> [bound.name for bound in bounds(8, [4, 6, 8, 12])]
    ['at least 8 tokens', 'at least 6 tokens', 'at most 8 tokens']
    >>> bounds(8, [8, 8])
    []
    """
    known = sorted({length, *lengths})
    below, above = [n for n in known if n <= length], [n for n in known if n >= length]
    found = [at_least(n) for n in below[::-1] if n > known[0] and (n < length or len(above) > 1)][:BOUNDS]
    return found + [at_most(n) for n in above if n < known[-1] and (n > length or len(below) > 1)][:BOUNDS]
