"""What shares with their intervals say of one token: pinned, leaning, free, given or unknown."""

from __future__ import annotations

import math
from typing import NamedTuple

PINNED = 0.9
"""Share of the samples from which a token may be called pinned, and share of P(X)'s inputs from which it is given."""
SURELY = 0.5
"""What the lower end of a pinned token's interval reaches at least; it takes some ten effective samples."""
LEAN = 0.2
"""Share of what P(X) leaves open that a leaning token's samples agree on at least: (share - chance) / (1 - chance)."""
ALPHA = 0.05
"""Chance that any of one result's intervals misses, at most (Bonferroni, two shares a token)."""
STATES = {
    "pinned": "nearly all inputs near the activation have this token there, and surely more than P(X)'s do",
    "leaning": "surely more of them have it than P(X)'s do, but not nearly all; it may only go along with what is held",
    "free": "it is surely not pinned, there or elsewhere, and hardly more have it than P(X)'s do, as far as they tell",
    "given": "nearly all of P(X)'s inputs have it there: the activation need not hold it",
    "unknown": "too few effective samples tell pinned from free, or the inversion is not to be believed",
}
"""What can be said of a token, and what it means."""


class Share(NamedTuple):
    """A share of inputs with its interval."""

    share: float
    """The estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


def above(one: Share, other: Share) -> bool:
    """Whether one share is surely larger and by `LEAN` of what the other leaves open, or more.

    The interval of the difference is Newcombe's, of the two shares' own (Statistics in Medicine 17, 1998, method 10).

    >>> above(Share(0.8, 0.7, 0.9), Share(0.5, 0.4, 0.6)), above(Share(0.8, 0.5, 0.9), Share(0.5, 0.4, 0.6))
    (True, False)
    """
    gain = one.share - other.share
    return gain > math.hypot(one.share - one.low, other.high - other.share) and gain >= LEAN * (1 - other.share)


def state_of(at: Share, prior: Share, by_length: Share, *, nothing: bool = False, seen: bool = True) -> str:
    """One of :data:`STATES`.

    Args:
        at: share of the samples that have the token.
        prior: of P(X)'s inputs.
        by_length: of random inputs of the samples' lengths.
        nothing: whether the activation is known to say nothing.
        seen: whether P(X) is known to make the picked input.
    """
    if prior.share >= PINNED:
        return "given"
    if nothing:
        return "free"
    if above(at, prior) and above(at, by_length):
        return "pinned" if at.share >= PINNED and at.low >= SURELY else "leaning"
    return "unknown" if at.high >= PINNED or (not seen and at.share == prior.share == 0) else "free"
