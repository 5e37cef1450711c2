"""What could be held: candidates for `proposals`, read off the picked input, and with which other inputs they agree.

A candidate is a feature; an input agrees where its label is the picked input's. Candidates are: features that are
given; each token's presence, and the absence of tokens that are common in P(X); the tokens at their places, counted
from either end, and where lengths vary by alignment (`_token_candidates`); the number of tokens, at least and at most
so many; two to four tokens in a row; two presences or two places together. Longer rows are made of the two that are
shorter by one, so their number is that of the tokens, not of their combinations. Axis name: n (inputs).
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
from ._token_candidates import bounds
from .features import Feature, InputText, contains, n_tokens, pair, standing_for, token_at

if TYPE_CHECKING:
    from jaxtyping import Bool

PLACES = 32
"""Tokens that are looked at, the last ones of the picked input."""
ABSENT = 32
"""Tokens whose absence is looked at, the commonest of P(X)'s."""
ROW = 4
"""Tokens in a row that are looked at together at most."""
SAMPLES, FEATURES, LANGUAGE_MODEL = "samples", "features", "language model"
"""Where a candidate may come from."""
_LETTERS = 60  # of a row of tokens that its words show
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
    source: str = SAMPLES
    """Who proposed it: :data:`SAMPLES` (read off the picked input), :data:`FEATURES` or :data:`LANGUAGE_MODEL`."""
    said: str = ""
    """A language model's own words for it, cleaned; never the claim."""

    @property
    def beyond(self) -> tuple[tuple[Candidate, ...], ...]:
        """Groups of parts: among the inputs that agree with all of a group, it must still be held more often.

        Two tokens in a row must add their order to both being there; a longer row must add to each shorter one.
        """
        if self.ordered and not any(part.ordered for part in self.parts):
            return (self.parts,)
        return tuple((part,) for part in self.parts)

    def has_part(self, other: Candidate) -> bool:
        """Whether the other is one of its parts, or of theirs."""
        return any(part is other or part.has_part(other) for part in self.parts)

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
            found.append(Candidate(feature, f"same {feature.name}{about}: {_shown(label)}", source=FEATURES))
    places = range(max(first, len(pick.tokens) - PLACES), len(pick.tokens))
    words = list(dict.fromkeys(word for t in places if (word := pick.tokens[t].strip()) and word in pick))
    present = [Candidate(contains(word), f"has {quoted(word)}") for word in words]
    at = [Candidate(token_at(t), place_words(t, pick, first)) for t in places]
    from_end = [
        Candidate(token_at(t - len(pick.tokens)), place_words(t - len(pick.tokens), pick, first)) for t in places
    ]
    found += present + at + from_end
    if any(len(text.tokens) != len(pick.tokens) for text in usual):
        found += [Candidate(standing_for(pick.tokens, t), _standing_words(t, pick, first)) for t in places[:-1]]
    found.append(Candidate(n_tokens(), f"has {len(pick.tokens)} tokens (BOS counted)", about_length=True))
    for bound in bounds(len(pick.tokens), [len(text.tokens) for text in usual]):
        found.append(Candidate(bound, f"has {bound.name} (BOS counted)", about_length=True))
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
    return Candidate(pair(a.feature, b.feature), f"{a.words} and {b.words}", parts=(a, b))


def _in_a_row(pick: InputText, places: range, present: dict[str, Candidate]) -> Iterator[Candidate]:
    """Two to `ROW` tokens in a row, written as the picked input writes them; each text once."""
    words = {t: word for t in places if (word := pick.tokens[t].strip()) in present}
    rows = {t: (word, present[word]) for t, word in words.items()}
    for more in range(1, ROW):
        known: dict[str, Candidate] = {}
        longer = {}
        for t, (string, front) in rows.items():
            if t + 1 not in rows:
                continue
            last = words[t + more]
            written = next((text for text in (f"{string} {last}", f"{string}{last}") if text in pick), "")
            if not written:
                continue
            if written not in known:
                parts = tuple(dict.fromkeys((front, rows[t + 1][1])))
                known[written] = Candidate(contains(written), f"has {_row_words(written)}", parts=parts, ordered=True)
            longer[t] = (written, known[written])
        yield from known.values()
        rows = longer


def _row_words(string: str) -> str:
    """A row of tokens, quoted, with its spaces showing."""
    text = string if len(string) <= _LETTERS else f"{string[: _LETTERS - 1]}\u2026"
    return f"\u201c{text.replace(' ', chr(0x2423))}\u201d"


def _common(usual: Sequence[InputText], pick: InputText, first: int) -> list[str]:
    """Tokens that many inputs of P(X) have and the picked one has not, as words."""
    counts = Counter(word for text in usual for word in {token.strip() for token in text.tokens[first:]} if word)
    common = (word for word, n in counts.most_common() if n >= LEAN * len(usual) and word not in pick)
    return list(common)[:ABSENT]


def _standing_words(position: int, pick: InputText, first: int) -> str:
    """``the token that stands for “Mary” is “Mary”``, with its number where the picked input has it twice."""
    token = quoted(pick.tokens[position])
    several = sum(quoted(other) == token for other in pick.tokens[first:]) > 1
    return f"the token that stands for {token}{f' (token {position})' if several else ''} is {token}"


def place_words(position: int, pick: InputText, first: int) -> str:
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
