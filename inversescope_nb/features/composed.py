"""Features made of features: and, or, not of those that say yes or no, and several labels together.

A composition is undefined where a part is, and asks its parts for all inputs at once. Its name and its code keep
their brackets, so that ``(a | b) & c`` reads as it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import FeatureError, InvalidArgument
from .base import Feature, Label, as_feature
from .text import InputText, quote

_AND, _OR, _NOT, _PAIR = "&", "|", "~", ","


@dataclass(frozen=True)
class Composed(Feature):
    """A feature made of others, by ``&``, ``|``, ``~`` or `pair`."""

    operator: str = ""
    """``&``, ``|``, ``~``, or ``,`` for the labels together."""
    parts: tuple[Feature, ...] = ()
    """What it is made of."""


@dataclass(frozen=True)
class _One:
    """The label of one input. A class, not a closure: what is made of equal parts is equal, and can be pickled."""

    operator: str
    parts: tuple[Feature, ...]

    def __call__(self, text: InputText) -> Label:
        return _combined(self.operator, self.parts, tuple(part(text) for part in self.parts), text)


@dataclass(frozen=True)
class _Many:
    """The labels of many inputs."""

    operator: str
    parts: tuple[Feature, ...]

    def __call__(self, texts: Sequence[InputText]) -> list[Label]:
        columns = [part.labels(texts) for part in self.parts]
        rows = zip(*columns, strict=True)
        return [_combined(self.operator, self.parts, row, text) for row, text in zip(rows, texts, strict=True)]


def both(a: Feature, b: Feature) -> Feature:
    """``a & b``: whether both hold.

    >>> from inversescope_nb.features import contains
    >>> both(contains("a"), contains("b")).labels(["ab", "a", ""])
    [True, False, False]
    """
    return _composed(_AND, (a, b))


def either(a: Feature, b: Feature) -> Feature:
    """``a | b``: whether one of them holds, or both.

    >>> from inversescope_nb.features import contains
    >>> either(contains("a"), contains("b")).labels(["ab", "a", ""])
    [True, True, False]
    """
    return _composed(_OR, (a, b))


def negated(a: Feature) -> Feature:
    """``~a``: whether it does not hold.

    >>> from inversescope_nb.features import contains
    >>> negated(contains("a")).name, negated(contains("a"))("b")
    ("not contains 'a'", True)
    """
    return _composed(_NOT, (a,))


def pair(*features: Feature | Callable[[InputText], Label]) -> Feature:
    """The labels of two or more features together, as a tuple; undefined where one of them is.

    >>> from inversescope_nb.features import regex
    >>> both = pair(regex("[a-z]+"), regex("[0-9]+"))
    >>> both.name, both("abc 12"), both("abc")
    ('(regex [a-z]+, regex [0-9]+)', ('abc', '12'), None)
    """
    if len(features) < 2:
        raise InvalidArgument(
            f"pair() was given {len(features)} feature{'' if len(features) == 1 else 's'}",
            hint="give two or more, one after the other: pair(a, b)",
        )
    return _composed(_PAIR, tuple(map(as_feature, features)))


def _composed(operator: str, given: tuple[Feature, ...]) -> Composed:
    """A composition; what is composed in the same way already is taken apart, so that ``a & b & c`` has three parts."""
    parts = tuple(part for feature in given for part in _taken_apart(operator, feature))
    names = [part.name if operator == _PAIR else _bracketed(part, part.name, (_AND, _OR, _NOT)) for part in parts]
    codes = [part.code if operator == _PAIR else _bracketed(part, part.code, (_AND, _OR)) for part in parts]
    listed = ", ".join(names)
    name, description = {
        _AND: (" & ".join(names), f"whether all of these hold: {listed}"),
        _OR: (" | ".join(names), f"whether any of these holds: {listed}"),
        _NOT: (f"not {names[0]}", f"whether this does not hold: {listed}"),
        _PAIR: (f"({listed})", f"the labels of {listed} together"),
    }[operator]
    code = {
        _AND: " & ".join(codes),
        _OR: " | ".join(codes),
        _NOT: f"~{codes[0]}",
        _PAIR: f"isn.features.pair({', '.join(codes)})",
    }[operator]
    return Composed(
        name,
        _One(operator, parts),
        description,
        code if all(part.code for part in parts) else "",
        _Many(operator, parts),
        ", or ".join(dict.fromkeys(part.undefined for part in parts if part.undefined)),
        operator,
        parts,
    )


def _taken_apart(operator: str, feature: Feature) -> tuple[Feature, ...]:
    same = isinstance(feature, Composed) and feature.operator == operator and operator in (_AND, _OR)
    return feature.parts if same else (feature,)


def _bracketed(feature: Feature, text: str, operators: tuple[str, ...]) -> str:
    """The name or code of a part, in brackets where it is composed by one of these operators."""
    return f"({text})" if isinstance(feature, Composed) and feature.operator in operators else text


def _combined(operator: str, parts: tuple[Feature, ...], labels: tuple[Label, ...], text: InputText) -> Label:
    """One label of several; None where one of them is."""
    if operator != _PAIR:
        for part, label in zip(parts, labels, strict=True):
            if label is not None and not isinstance(label, bool | np.bool_):
                raise FeatureError(
                    f"feature {part.name!r} says {label!r:.60} ({type(label).__name__}) of the text {quote(text)}: "
                    f"{operator} needs True or False",
                    hint="features.pair(a, b) compares several labels together; a feature that is to say yes or no "
                    "returns a bool",
                )
    if any(label is None for label in labels):
        return None
    if operator == _AND:
        return all(labels)
    if operator == _OR:
        return any(labels)
    return not labels[0] if operator == _NOT else labels
