"""What could be held: candidates for `proposals`, read off the picked input, and with which other inputs they agree.

A candidate is a feature; an input agrees where its label is the picked input's. Candidates are: features that are
given; each token's presence, and the absence of tokens that are common in P(X); the tokens at their places, counted
from either end; two tokens in a row; two presences or two places together; the number of tokens. Axis name: n (inputs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from ._fixed_states import LEAN
from ._fixed_words import quoted
from .features import Feature, InputText, contains, n_tokens, token_at

if TYPE_CHECKING:
    from jaxtyping import Bool

PLACES = 32
"""Tokens that are looked at, the last ones of the picked input."""
ABSENT = 32
"""Tokens whose absence is looked at, the commonest of P(X)'s."""
_ORDINALS = {1: "st", 2: "nd", 3: "rd"}


@dataclass(frozen=True, eq=False)
class Candidate:
    """One feature that the activation might hold."""

    feature: Feature
    """The feature."""
    words: str
    """What it says of the picked input, in words."""
    parts: tuple[Candidate, ...] = ()
    """What it is made of."""
    ordered: bool = False
    """Whether it says more than that all its parts are there: their order."""
    absent: bool = False
    """Whether it is about something that the picked input lacks."""
    about_length: bool = False
    """Whether it is about nothing but the length."""

    @property
    def rank(self) -> int:
        """What is looked at first: simple things, then those made of parts, then what is lacking."""
        return 2 if self.absent else int(bool(self.parts))


def candidates_of(
    pick: InputText, features: Sequence[Feature], usual: Sequence[InputText], *, first: int
) -> list[Candidate]:
    """All that might be said of the picked input, simple things first.

    Args:
        pick: the picked input.
        features: further features.
        usual: inputs of P(X), to see which tokens are common.
        first: tokens in front of the input's first (BOS).
    """
    found = []
    for feature in features:
        if (label := feature(pick)) is not None:
            about = f" ({feature.description})" if feature.description else ""
            found.append(Candidate(feature, f"same {feature.name}{about}: {_shown(label)}"))
    places = range(max(first, len(pick.tokens) - PLACES), len(pick.tokens))
    words = list(dict.fromkeys(word for t in places if (word := pick.tokens[t].strip()) and word in pick))
    present = [Candidate(contains(word), f"has {quoted(word)}") for word in words]
    at = [Candidate(token_at(t), _place_words(t, pick, first)) for t in places]
    from_end = [
        Candidate(token_at(t - len(pick.tokens)), _place_words(t - len(pick.tokens), pick, first)) for t in places
    ]
    found += present + at + from_end
    found.append(Candidate(n_tokens(), f"has {len(pick.tokens)} tokens (BOS counted)", about_length=True))
    found += [Candidate(contains(word), f"has no {quoted(word)}", absent=True) for word in _common(usual, pick, first)]
    found += _in_a_row(pick, places, dict(zip(words, present, strict=True)))
    return found + [_both(a, b) for group in (present, at) for a, b in combinations(group, 2)]


def agreement_of(feature: Feature, pick: InputText, texts: Sequence[InputText]) -> Bool[np.ndarray, " n"]:
    """Which inputs have the picked input's label; an undefined one has not."""
    label, known = feature(pick), {}
    for text in texts:
        if (key := (str(text), text.token_ids)) not in known:
            known[key] = feature(text) == label
    return np.array([known[str(text), text.token_ids] for text in texts], dtype=bool)


def _both(a: Candidate, b: Candidate) -> Candidate:
    return Candidate(a.feature & b.feature, f"{a.words} and {b.words}", parts=(a, b))


def _in_a_row(pick: InputText, places: range, present: dict[str, Candidate]) -> Iterator[Candidate]:
    """Two tokens in a row, written as the picked input writes them."""
    seen = set()
    for t in places[1:]:
        a, b = pick.tokens[t - 1].strip(), pick.tokens[t].strip()
        if a not in present or b not in present:
            continue
        string = next((text for text in (f"{a} {b}", f"{a}{b}") if text in pick), "")
        if string and string not in seen:
            seen.add(string)
            parts = tuple(dict.fromkeys((present[a], present[b])))
            yield Candidate(contains(string), f"has {quoted(string)}", parts=parts, ordered=True)


def _common(usual: Sequence[InputText], pick: InputText, first: int) -> list[str]:
    """Tokens that many inputs of P(X) have and the picked one has not, as words."""
    counts = Counter(word for text in usual for word in {token.strip() for token in text.tokens[first:]} if word)
    common = (word for word, n in counts.most_common() if n >= LEAN * len(usual) and word not in pick)
    return list(common)[:ABSENT]


def _place_words(position: int, pick: InputText, first: int) -> str:
    """``begins with “4”``, ``token 3 is “+”``, ``the 2nd token from the end is “8”``."""
    token = quoted(pick.tokens[position])
    if position == first:
        return f"begins with {token}"
    if position == -1:
        return f"ends with {token}"
    if position >= 0:
        return f"token {position} is {token}"
    n = -position
    ending = "th" if n % 100 in (11, 12, 13) else _ORDINALS.get(n % 10, "th")
    return f"the {n}{ending} token from the end is {token}"


def _shown(label: object) -> str:
    return quoted(label) if isinstance(label, str) and label else str(label)
