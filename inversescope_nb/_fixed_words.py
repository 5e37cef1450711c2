"""What an activation fixes, in one plain sentence (:mod:`inversescope_nb.fixing`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .verdicts import Verdict

if TYPE_CHECKING:
    from .fixing import Fixed, FixedToken

NAMES = 5
"""Tokens that a sentence names at most."""
LETTERS = 16
"""Letters of a token that it shows at most."""
FEW = 20
"""Effective samples below which a sentence says how many they are, whatever the verdict."""
_MOSTLY = 0.5  # share of the posterior from which copies of the picked input are named
_SIGNS = str.maketrans({" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5", "\r": "\u21b5"})


def quoted(token: str) -> str:
    """A token as a reader sees it: without the space in front, unless it is nothing else.

    >>> quoted(" Mary"), quoted("  "), quoted("\\n")
    ('“Mary”', '“␣␣”', '“↵”')
    """
    text = token.strip() or token
    text = text.translate(_SIGNS)
    return f"“{text if len(text) <= LETTERS else text[: LETTERS - 1] + '…'}”"


def sentence_of(found: Fixed) -> str:
    """The sentence; see :attr:`inversescope_nb.fixing.Fixed.sentence`."""
    if found.doubt:
        return f"Its tokens cannot be judged: {found.doubt}."
    if found.verdict == Verdict.CONSTANT:
        return "It fixes nothing: this site is the same for every input of P(X)."
    if found.verdict == Verdict.NO_INFORMATION:
        return "It fixes nothing: the inputs near it are as P(X) has them."
    text = _claims(found.tokens)
    if found.copies >= _MOSTLY:
        text = f"copies of the input aside ({found.copies:.0%}), {text}"
    if found.bank_size is not None:
        text = f"judged by neighbours among a bank of {found.bank_size:,} inputs, {text}"
    few = f" (Roughly: by {found.ess:.0f} effective samples.)" if found.is_rough else ""
    return f"{text[:1].upper()}{text[1:]}.{few}"


def _claims(tokens: Sequence[FixedToken]) -> str:
    """What is pinned, held elsewhere, leaning; then how many are none of these."""
    elsewhere = [t for t in tokens if t.elsewhere]
    by_state = {
        state: [t for t in tokens if t.state == state and not t.elsewhere]
        for state in ("pinned", "leaning", "free", "given", "unknown")
    }
    pinned, leaning = by_state["pinned"], by_state["leaning"]
    rest = {state: len(by_state[state]) for state in ("free", "given", "unknown")}
    if len(tokens) == rest["given"]:
        return "it has nothing to fix: P(X) gives every token"
    if pinned and len(pinned) + rest["given"] == len(tokens):
        open_ = f"each of its {len(tokens)} tokens" if len(tokens) > 1 else "its only token"
        if rest["given"]:
            open_ = f"{'each of the' if len(pinned) > 1 else 'the'} {_tokens(len(pinned))} that P(X) leaves open"
        return f"it fixes the whole input: {open_}"
    room = rooms([len(group) for group in (pinned, elsewhere, leaning)])
    said = [f"it fixes {named(pinned, room[0], _unlikely)}" if pinned else "it fixes no single token"]
    if elsewhere:
        said.append(f"holds {named(elsewhere, room[1], _unlikely)}, at no fixed place")
    if leaning:
        said.append(f"leans to {named(leaning, room[2], _settled)}")
    if any(rest.values()):
        said.append(_rest(rest, len(said) > 1 or bool(pinned)))
    return "; ".join(said) if pinned or len(said) == 1 else f"{said[0]}: {'; '.join(said[1:])}"


def rooms(sizes: Sequence[int]) -> list[int]:
    """How many names each group gets: the first ones most, but every group that has a token one.

    >>> rooms([9, 1, 2]), rooms([9, 0, 0]), rooms([1, 0, 2])
    ([3, 1, 1], [5, 0, 0], [1, 0, 2])
    """
    given, left = [], NAMES
    for i, size in enumerate(sizes):
        later = sum(s > 0 for s in sizes[i + 1 :])
        given.append(min(size, left - later))
        left -= given[-1]
    return given


def _unlikely(token: FixedToken) -> float:
    """First what P(X) makes least likely."""
    return token.prior


def _settled(token: FixedToken) -> float:
    """First what most of the inputs near the activation agree on, beyond P(X)'s share."""
    return -(token.share - token.prior) / (1 - token.prior)


def named(tokens: Sequence[FixedToken], room: int, first: Callable[[FixedToken], float]) -> str:
    """As many tokens as there is room for, in order of place, and how many more."""
    chosen = sorted(sorted(tokens, key=first)[:room], key=lambda t: t.position)
    names = [quoted(t.token) for t in chosen]
    times = {name: names.count(name) for name in names}
    shown = [f"{name} ({count} times)" if count > 1 else name for name, count in times.items()]
    if len(tokens) > room:
        shown.append(f"{len(tokens) - room} more")
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]


def _tokens(n: int) -> str:
    return "token" if n == 1 else f"{n} tokens"


def _rest(rest: dict[str, int], others: bool) -> str:
    """How many tokens are free, given and undecided."""
    words = {"free": "free", "given": "given by P(X) anyway", "unknown": "undecided"}
    found = [(n, words[state]) for state, n in rest.items() if n]
    total = sum(n for n, _ in found)
    if len(found) == 1:
        which = "the other" if others else ("its only" if total == 1 else "all")
        return f"{which} {_tokens(total)} {'is' if total == 1 else 'are'} {found[0][1]}"
    parts = [f"{n} {'is' if n == 1 else 'are'} {word}" for n, word in found]
    return f"of {'the other' if others else 'its'} {total} tokens {', '.join(parts[:-1])} and {parts[-1]}"
