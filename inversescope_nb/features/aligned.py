"""A feature that finds its token by alignment with another input, wherever it stands.

Counted from either end, a token in the middle has no fixed place among inputs of many lengths. Aligned with the picked
input (:mod:`inversescope_nb.alignment`) it has. Inputs near an activation and those of P(X) are aligned alike, so what
an alignment matches by chance, it matches in both.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..alignment import align
from .base import Feature
from .text import InputText


def standing_for(tokens: Sequence[str], position: int) -> Feature:
    """The token of an input that stands for one of these, by alignment; undefined where none does.

    >>> mary = standing_for(("Then", "John", "saw", "Mary", "run"), 3)
    >>> mary(InputText("", ("John", "saw", "Mary", "run"))), mary(InputText("", ("Then", "John", "saw", "Ann", "run")))
    ('Mary', 'Ann')
    """
    tokens = tuple(tokens)

    def fn(text: InputText) -> str | None:
        places = align(tokens, text.tokens)
        return text.tokens[places.index(position)] if position in places else None

    return Feature(
        f"token standing for token {position}, {tokens[position]!r}",
        fn,
        f"the token that stands where {tokens[position]!r} is token {position} of the picked input",
        f"isn.features.standing_for({tokens!r}, {position})",
        undefined="inputs in which no token stands for it",
    )
