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
    "first": "the first fixes its token, and the second surely does not",
    "second": "the second fixes its token, and the first surely does not",
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
    which: str
    """One of :data:`WHICH`: a token is held where it is fixed at its place, or at no fixed place."""


def _judged(first: FixedToken | None, second: FixedToken | None, a: Fixed, b: Fixed) -> TokenPair:
    """A pair with what can be said of it; a token that stands alone may still be held, elsewhere, by the other."""
    one, two = _held(first), _held(second)
    unlike = first is not None and second is not None and first.token_id != second.token_id
    if first is None or (unlike and two and not one):  # what the second holds here the first may hold at another place
        one = two and _anywhere(second, a)
    elif second is None or (unlike and one and not two):
        two = one and _anywhere(first, b)
    elif unlike and one and two:  # two tokens at one place, unless each holds both, at no fixed place
        unlike = not (_anywhere(first, b) and _anywhere(second, a))
    else:
        unlike = False
    if one is None or two is None:
        which = "unknown"
    elif one and two:
        which = "apart" if unlike and _held(first) and _held(second) else "both"
    else:
        which = "first" if one else "second" if two else "neither"
    return TokenPair(first=first, second=second, which=which)


def _anywhere(token: FixedToken, other: Fixed) -> bool | None:
    """Whether another input holds this very token at any place; None where that is open."""
    held = [_held(t) for t in other.tokens if t.token_id == token.token_id]
    return True if True in held else None if None in held else False


def _held(token: FixedToken | None) -> bool | None:
    """Whether a token is held; None where that is open, or there is none."""
    if token is None:
        return None
    if token.state == "pinned" or token.elsewhere:
        return True
    if token.state == "unknown" or token.elsewhere_open:
        return None
    return None if token.state == "leaning" and token.high >= PINNED else False


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
            pairs += [(t, None) for t in a[done:i]]
            done = i + 1
        pairs.append((None if i is None else a[i], token))
    pairs += [(t, None) for t in a[done:]]
    return tuple(_judged(one, two, first, second) for one, two in pairs)


def sentence_of(
    pairs: Sequence[TokenPair], doubts: Sequence[tuple[str, str]], rough: Sequence[tuple[str, float]] = ()
) -> str:
    """The sentence; `doubts` are (whose, why) of what cannot be judged, `rough` (whose, by how many effective samples)
    of what is judged by few."""
    if doubts:
        return f"What they fix cannot be compared: of the {doubts[0][0]}, {doubts[0][1]}."
    groups = {which: [p for p in pairs if p.which == which] for which in WHICH}
    mine, theirs = [p.first for p in groups["first"]], [p.second for p in groups["second"]]
    common = [p.first or p.second for p in groups["both"]]
    apart = groups["apart"]
    room = rooms([len(mine), len(theirs), len(apart), len(common)])
    said = []
    if mine:
        said.append(f"only the first {_fixes(mine)} {named(mine, room[0], _unlikely)}")
    if theirs:
        said.append(f"only the second {_fixes(theirs)} {named(theirs, room[1], _unlikely)}")
    if apart:
        said.append(_apart(apart, room[2]))
    if common:
        said.append(f"both {_fixes(common).removesuffix('es').removesuffix('s')} {named(common, room[3], _unlikely)}")
    if not mine and not theirs and not apart:
        open_ = f", as far as can be told ({len(groups['unknown'])} undecided)" if groups["unknown"] else ""
        said.insert(0, f"neither fixes a token that the other does not{open_}")
    text = "; ".join(said)
    few = " and ".join(f"the {name} by {ess:.0f}" for name, ess in rough)
    return f"{text[:1].upper()}{text[1:]}.{f' (Roughly: {few} effective samples.)' if few else ''}"


def _fixes(tokens: Sequence[FixedToken]) -> str:
    """What is held at no fixed place is not fixed there."""
    return "holds" if any(t.elsewhere for t in tokens) else "fixes"


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
