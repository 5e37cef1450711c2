"""What one activation fixes and another does not: two results of `fixed`, token beside token, and in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ._fixed_states import PINNED
from ._fixed_words import named, quoted, rooms
from .alignment import align

if TYPE_CHECKING:
    from .fixing import Fixed, FixedToken

WHICH = {
    "first": "the first fixes its token there, and the second surely does not",
    "second": "the second fixes its token there, and the first surely does not",
    "both": "both fix the same token",
    "apart": "each fixes its token, and these are two different ones",
    "neither": "neither fixes a token there, or P(X) gives it anyway",
    "unknown": "the samples of one of them are too few to say",
}
"""What can be said of a pair of tokens that stand for each other, and what it means."""


@dataclass(frozen=True, kw_only=True)
class TokenPair:
    """Two tokens of two picked inputs that stand for each other, or one that stands alone."""

    first: FixedToken | None
    """Of the first input; None where nothing of it stands there."""
    second: FixedToken | None
    """Of the second."""

    @property
    def which(self) -> str:
        """One of :data:`WHICH`."""
        one, two = _held(self.first), _held(self.second)
        if one is None or two is None:
            return "unknown"
        if one and two:
            return "both" if self.first.token_id == self.second.token_id else "apart"
        return "first" if one else "second" if two else "neither"


def _held(token: FixedToken | None) -> bool | None:
    """Whether a token is fixed; None where that is open. What is not there is not fixed."""
    if token is None:
        return False
    if token.state == "pinned" or token.elsewhere:
        return True
    return None if token.state == "unknown" or (token.state == "leaning" and token.high >= PINNED) else False


def paired(first: Fixed, second: Fixed) -> tuple[TokenPair, ...]:
    """The tokens of two inputs, those that stand for each other together, in the order of both inputs.

    Cuts of one prompt share their places; others are aligned (:mod:`inversescope_nb.alignment`).
    """
    a, b = first.tokens, second.tokens
    mine, theirs = [t.token_id for t in a], [t.token_id for t in b]
    shorter = min(len(mine), len(theirs))
    one_prompt = mine[:shorter] == theirs[:shorter]
    at = [j if j < len(a) else None for j in range(len(b))] if one_prompt else align(mine, theirs)
    pairs, done = [], 0
    for token, i in zip(b, at, strict=True):
        if i is not None:
            pairs += [TokenPair(first=t, second=None) for t in a[done:i]]
            done = i + 1
        pairs.append(TokenPair(first=None if i is None else a[i], second=token))
    return tuple(pairs + [TokenPair(first=t, second=None) for t in a[done:]])


def sentence_of(pairs: Sequence[TokenPair], doubts: Sequence[tuple[str, str]]) -> str:
    """The sentence; `doubts` are (whose, why) of what cannot be judged."""
    if doubts:
        return f"What they fix cannot be compared: of the {doubts[0][0]}, {doubts[0][1]}."
    groups = {which: [p for p in pairs if p.which == which] for which in WHICH}
    mine, theirs = [p.first for p in groups["first"]], [p.second for p in groups["second"]]
    common = [p.first for p in groups["both"]]
    apart = groups["apart"]
    room = rooms([len(mine), len(theirs), len(apart), len(common)])
    said = []
    if mine:
        said.append(f"only the first fixes {named(mine, room[0], _unlikely)}")
    if theirs:
        said.append(f"only the second fixes {named(theirs, room[1], _unlikely)}")
    if apart:
        said.append(_apart(apart, room[2]))
    if common:
        said.append(f"both fix {named(common, room[3], _unlikely)}")
    if not mine and not theirs and not apart:
        open_ = f", as far as can be told ({len(groups['unknown'])} undecided)" if groups["unknown"] else ""
        said.insert(0, f"neither fixes a token that the other does not{open_}")
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}."


def _unlikely(token: FixedToken) -> float:
    """First what P(X) makes least likely."""
    return token.prior


def _apart(pairs: Sequence[TokenPair], room: int) -> str:
    """Which tokens the two fix at the same places; neighbours are named together."""
    runs = [[pairs[0]]]
    for before, pair in pairwise(pairs):
        if pair.first.position == before.first.position + 1 and pair.second.position == before.second.position + 1:
            runs[-1].append(pair)
        else:
            runs.append([pair])
    words = []
    for run in runs[:room]:
        mine, theirs = (
            "".join(t.token for t in side) for side in zip(*((p.first, p.second) for p in run), strict=True)
        )
        words.append(f"{quoted(mine)} where the second fixes {quoted(theirs)}")
    if len(runs) > room:
        words.append(f"{len(runs) - room} more that differ")
    return f"the first fixes {', '.join(words)}"
