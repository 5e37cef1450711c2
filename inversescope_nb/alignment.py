"""Which token of another input stands where a token of the picked one stood.

1. Inputs of one length are compared place by place.
2. Otherwise the last tokens stand for each other (the activation is read there), and so do equal first ones (BOS).
3. What lies between is cut at its longest common stretches (`difflib`, Ratcliff and Obershelp's gestalt matching);
   stretches that were replaced are paired from the right, since what is near the reader is most alike. Of stretches
   that match equally well, the one nearest to the end counts.

Axis names: n (inputs), pos (tokens of the picked one).
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

T = TypeVar("T", bound=Hashable)


def align(picked: Sequence[T], other: Sequence[T]) -> list[int | None]:
    """For every position of `other`, the index of the position of `picked` that it stands for.

    Args:
        picked: tokens of the picked input, as ids or strings.
        other: tokens of another one; the two may differ in length.

    Returns:
        one index (from 0) or None for each token of `other`; the indices rise.

    >>> align("the cat sat".split(), "the dog sat".split())
    [0, 1, 2]
    >>> align("John gave it to Mary".split(), "Then John gave it to Mary".split())
    [None, 0, 1, 2, 3, 4]
    >>> align("<bos> 4 3 7 + 5 =".split(), "<bos> 8 7 + 5 =".split())
    [0, 2, 3, 4, 5, 6]
    """
    return list(_aligned(tuple(picked), tuple(other)))


@lru_cache(maxsize=1 << 15)  # the same samples are aligned for a list, for what they have in common, at every bandwidth
def _aligned(picked: tuple[T, ...], other: tuple[T, ...]) -> tuple[int | None, ...]:
    """:func:`align`."""
    n, m = len(picked), len(other)
    if n == m:
        return tuple(range(n))
    found: list[int | None] = [None] * m
    if not n or not m:
        return tuple(found)
    found[-1] = n - 1
    first = int(min(n, m) > 1 and picked[0] == other[0])
    if first:
        found[0] = 0
    # backwards, so that ties and leftovers go to the right
    mine, theirs = list(picked[first : n - 1])[::-1], list(other[first : m - 1])[::-1]
    for kind, a, a_end, b, b_end in SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
        if kind in ("equal", "replace"):
            for i, j in zip(range(a, a_end), range(b, b_end), strict=False):
                found[m - 2 - j] = n - 2 - i
    return tuple(found)


def compare(
    picked: Sequence[T], inputs: Sequence[Sequence[T]]
) -> tuple[Int[np.ndarray, "n pos"], Bool[np.ndarray, "n pos"], Bool[np.ndarray, "n pos"]]:
    """Each token of the picked input in many others.

    Returns:
        ``[n, pos]`` the position that stands for the token's in each input, -1 for none; whether the same token is
        there; whether it is anywhere in that input.

    >>> places, same, anywhere = compare("John saw Mary".split(), ["then Mary saw John".split()])
    >>> places.tolist(), same.tolist(), anywhere.tolist()
    ([[1, 2, 3]], [[False, True, False]], [[True, True, True]])
    """
    known: dict[tuple[T, ...], tuple[list[int], list[bool], list[bool]]] = {}
    for other in inputs:
        if (key := tuple(other)) not in known:
            places, present = [-1] * len(picked), set(other)
            for j, i in enumerate(align(picked, other)):
                if i is not None:
                    places[i] = j
            same = [j >= 0 and other[j] == token for j, token in zip(places, picked, strict=True)]
            known[key] = places, same, [token in present for token in picked]
    shape = len(inputs), len(picked)
    columns = zip(*(known[tuple(other)] for other in inputs), strict=True) if inputs else ((), (), ())
    places, same, present = (np.array(c, t).reshape(shape) for c, t in zip(columns, (int, bool, bool), strict=True))
    return places, same, present


def random_like(
    inputs: Sequence[Sequence[T]], others: Sequence[Sequence[T]], *, first: int = 0, seed: int = 0
) -> list[list[T]]:
    """Inputs as long as some, of tokens of others drawn one by one: what is the same by chance and length alone.

    Args:
        inputs: whose lengths count; of each, the `first` tokens (BOS) stay.
        others: last tokens are drawn from theirs, all others from what stands between their ends.

    >>> random_like([["B", "x", "y", "z"]], [["B", "a", "="]], first=1)
    [['B', 'a', 'a', '=']]
    """
    rng = random.Random(seed)
    ends = [x[-1] for x in others if len(x) > first]
    middles = [token for x in others for token in x[first:-1]] or ends
    found = []
    for x in inputs:
        n = len(x) - first
        new = [*rng.choices(middles, k=n - 1), rng.choice(ends)] if n > 0 and ends else []
        found.append([*x[:first], *new])
    return found
