"""Features of the numbers in a text: one of them, a property of it, how two compare, what two add up to.

What counts as a number: digits 0 to 9 in a row wherever they stand (also in a word), with a decimal part behind a point
("3.5"), and with a minus that touches them and nothing before it ("-5", but 3 and 5 in "3-5"). A comma parts numbers.
With ``spaced=True`` single digits with single spaces between them are one number, as the packaged model's sums write
them: "9 6 7 + 9 2 1 =" holds 967 and 921. Numbers are counted from 0, negative from the end of the text; in an input
that was cut, the last one is what there is of it. A text whose number has more than 100 digits is one without it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Hashable
from fractions import Fraction

from .._arguments import whole_number
from ..errors import InvalidArgument, suggest
from .base import Feature
from .text import InputText

_LONGEST = 100  # characters of a number; Python refuses to write numbers of some thousands
_MINUS = r"(?:(?<![\w.)])-)?"
_PLAIN = r"[0-9]+(?:\.[0-9]+)?"
_LONE = r"[0-9](?![0-9]|\.[0-9])"
_PATTERNS = {
    False: re.compile(_MINUS + _PLAIN),
    True: re.compile(rf"{_MINUS}(?:{_LONE}(?: {_LONE})*|{_PLAIN})"),
}
_COUNTED = "0 is the first number of the text, -1 the last"


def _parity(number: Fraction, written: str) -> str | None:
    return None if number.denominator != 1 else "odd" if number % 2 else "even"


def _sign(number: Fraction, written: str) -> str:
    return "+" if number > 0 else "-" if number < 0 else "0"


_Property = Callable[[Fraction, str], Hashable | None]
PROPERTIES: dict[str, _Property] = {
    "parity": _parity,
    "digits": lambda number, written: sum(letter.isdigit() for letter in written),
    "first digit": lambda number, written: int(re.sub(r"\D", "", written)[0]),
    "last digit": lambda number, written: int(written[-1]),
    "sign": _sign,
}
"""What `number_property` can say of a number, and of how it is written."""
OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}
"""What `combine_numbers` can do with two."""


def number(index: int = 0, *, spaced: bool = False) -> Feature:
    """One number of the text, an int or a float; undefined where the text has too few.

    Args:
        index: which, counted from 0, negative from the end.
        spaced: whether single digits with single spaces between them are one number.

    >>> number()("from 1732 to 17.5"), number(-1)("from 1732 to 17.5"), number(1)("1732")
    (1732, 17.5, None)
    >>> number(1, spaced=True)("9 6 7 + 9 2 1 =")
    921
    """
    index = _index("index", index)
    return Feature(
        f"number {index}{_how(spaced)}",
        lambda text: None if (found := _numbers(text, (index,), spaced)) is None else _plain(found[0][0]),
        f"the number at place {index} among those of the text",
        f"isn.features.number({index}{_option(spaced)})",
        undefined=_too_few(index),
    )


def number_property(kind: str, index: int = 0, *, spaced: bool = False) -> Feature:
    """What is true of one number: its ``parity`` ("even", "odd"; of whole numbers only), how many ``digits`` it is
    written with, its ``first digit``, its ``last digit`` or its ``sign`` ("+", "-", "0").

    >>> [number_property(kind)("room 207") for kind in PROPERTIES]
    ['odd', 3, 2, 7, '+']
    """
    index = _index("index", index)
    if kind not in PROPERTIES:
        raise InvalidArgument(f"kind={kind!r:.60}.{suggest(str(kind), PROPERTIES)}", hint=_allowed(PROPERTIES))
    what = PROPERTIES[kind]

    def fn(text: InputText) -> Hashable | None:
        found = _numbers(text, (index,), spaced)
        return None if found is None else what(*found[0])

    return Feature(
        f"{kind} of number {index}{_how(spaced)}",
        fn,
        f"the {kind} of the number at place {index} among those of the text",
        f"isn.features.number_property({kind!r}, {index}{_option(spaced)})",
        undefined=_too_few(index) + (", or where it is no whole number" if kind == "parity" else ""),
    )


def compare_numbers(first: int = 0, second: int = 1, *, spaced: bool = False) -> Feature:
    """How two numbers of the text compare: "<", "=" or ">"; undefined where the text has too few.

    >>> compare_numbers()("from 1732 to 1745"), compare_numbers(0, -1)("2 of 2.0"), compare_numbers()("1732")
    ('<', '=', None)
    """
    first, second = _two(first, second)

    def fn(text: InputText) -> str | None:
        found = _numbers(text, (first, second), spaced)
        if found is None:
            return None
        (a, _), (b, _) = found
        return "<" if a < b else ">" if a > b else "="

    return Feature(
        f"number {first} against number {second}{_how(spaced)}",
        fn,
        f"whether the number at place {first} is less than (<), equal to (=) or greater than (>) that at {second}",
        f"isn.features.compare_numbers({first}, {second}{_option(spaced)})",
        undefined=_too_few(first, second),
    )


def combine_numbers(
    operation: str, first: int = 0, second: int = 1, *, modulo: int | None = None, spaced: bool = False
) -> Feature:
    """The sum, difference or product of two numbers of the text; undefined where it has too few.

    Args:
        operation: ``+``, ``-`` or ``*``.
        first, second: which numbers, counted from 0, negative from the end.
        modulo: what remains when it is divided by this: 10 gives the last digit of a sum; None: all of it.
        spaced: whether single digits with single spaces between them are one number.

    >>> sums = combine_numbers("+", spaced=True), combine_numbers("+", modulo=10, spaced=True)
    >>> [feature("9 6 7 + 9 2 1 =") for feature in sums], sums[1].name
    ([1888, 8], '(number 0 + number 1) mod 10, spaced digits')
    """
    first, second = _two(first, second)
    if operation not in OPERATIONS:
        raise InvalidArgument(f"operation={operation!r:.60}", hint=_allowed(OPERATIONS))
    if modulo is not None:
        modulo = whole_number("modulo", modulo, least=2, hint="10 gives the last digit, None the whole result")
    apply = OPERATIONS[operation]

    def fn(text: InputText) -> int | float | None:
        found = _numbers(text, (first, second), spaced)
        if found is None:
            return None
        result = apply(found[0][0], found[1][0])
        return _plain(result if modulo is None else result % modulo)

    written = f"number {first} {operation} number {second}"
    name = written if modulo is None else f"({written}) mod {modulo}"
    option = ("" if modulo is None else f", modulo={modulo}") + _option(spaced)
    return Feature(
        f"{name}{_how(spaced)}",
        fn,
        f"{name}, of the numbers at these places in the text",
        f"isn.features.combine_numbers({operation!r}, {first}, {second}{option})",
        undefined=_too_few(first, second),
    )


def _numbers(text: str, indices: tuple[int, ...], spaced: bool) -> list[tuple[Fraction, str]] | None:
    """(value, digits as written) of the numbers at these places; None where one is not there."""
    found = _PATTERNS[bool(spaced)].findall(text)
    if not all(-len(found) <= index < len(found) for index in indices):
        return None
    written = [found[index].replace(" ", "") for index in indices]
    return None if max(map(len, written)) > _LONGEST else [(Fraction(one), one) for one in written]


def _plain(number: Fraction) -> int | float:
    return number.numerator if number.denominator == 1 else float(number)


def _index(name: str, index: int) -> int:
    return whole_number(name, index, hint=_COUNTED)


def _two(first: int, second: int) -> tuple[int, int]:
    first, second = _index("first", first), _index("second", second)
    if first == second:
        raise InvalidArgument(f"first and second are both {first}", hint=f"give two places; {_COUNTED}")
    return first, second


def _too_few(*indices: int) -> str:
    needed = max(index + 1 if index >= 0 else -index for index in indices)
    return f"texts with fewer than {needed} numbers" if needed > 1 else "texts without a number"


def _how(spaced: bool) -> str:
    return ", spaced digits" if spaced else ""


def _option(spaced: bool) -> str:
    return ", spaced=True" if spaced else ""


def _allowed(names: dict) -> str:
    return f"allowed: {', '.join(names)}"
