r"""One line of a language model's answer, as a candidate: a closed grammar, strictly read.

A line is a JSON object with one of the keys of `_FORMS`, and "words", which it may lack. Nothing of it is run: pieces
of text are compared, numbers bounded, and a regular expression is compiled under bounds of its own (it may not repeat
more than a thousandfold: ``((a{99}){99}){99}`` takes all memory; nor call itself) and searched for a limited time.
What a candidate claims is worded here; the model's words are kept beside it, cleaned, as a quotation.
"""

from __future__ import annotations

import json
import math
import re
import time
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ._candidates import LANGUAGE_MODEL, Candidate, place_words
from ._patterns import read_pattern, search
from ._token_candidates import at_least, at_most
from .errors import InvalidArgument
from .features import Feature, InputText, contains, n_tokens, token_at

MOST = 12
"""Hypotheses of one answer that are looked at."""
LINE = 1000
"""Characters of one line."""
PIECE = 200
"""Characters of a piece of text or a pattern."""
WORDS = 16
"""Words of a list."""
SAID = 120
"""Characters of the model's own words that are kept."""
SECONDS = 1.0
"""That a pattern may take on all inputs of the half it is looked for on."""
_LETTERS = 30  # of a word of a list
_SHOWN = 60  # characters of a piece of text that a claim shows
_LISTED = 4  # words of a list that a claim shows
_TOKENS = 10**6  # in a length
_REPEATS = 1000


class Unusable(Exception):
    """Why a line is refused."""


def cleaned(text: str, most: int) -> str:
    """Somebody else's text on one line: no control, format or bidirectional characters, no curly quotes, cut.

    >>> cleaned("it\\u202e is\\x1b[31m “red”\\n\\nnow", 80), cleaned("abcdef", 4)
    ('it is[31m "red" now', 'abc…')
    """
    text = text[: 20 * most]  # so that a huge one takes no time
    kept = "".join(c if not unicodedata.category(c).startswith("C") else " " if c.isspace() else "" for c in text)
    short = " ".join(kept.translate({0x201C: '"', 0x201D: '"'}).split())
    return short if len(short) <= most else f"{short[: most - 1]}\u2026"


class Given(NamedTuple):
    """What a line is read against."""

    pick: InputText
    """The picked input, of which it must hold."""
    texts: Sequence[InputText]
    """Inputs that it must be quickly read from, those of the half that it is looked for on."""
    first: int
    """Tokens in front of the input's first (BOS)."""


def read_line(line: str, given: Given) -> Candidate:
    """The candidate of one line.

    Raises:
        Unusable: it is no object of the grammar, or does not hold of the picked input.

    >>> given = Given(InputText("a b", ("<bos>", "a", "b")), [], 1)
    >>> found = read_line('{"ends_with": "b", "words": "the end"}', given)
    >>> found.words, found.said, found.feature("c b")
    ('ends with “b”', 'the end', True)
    """
    if len(line) > LINE:
        raise Unusable(f"longer than {LINE} characters")
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        raise Unusable("no JSON object on one line") from None
    said = told.pop("words", "")
    if not isinstance(said, str):
        raise Unusable(f'"words" is a {_kind(said)}, not a text')
    if len(told) != 1 or (key := next(iter(told))) not in _FORMS:
        raise Unusable(f"it must have one of the keys {', '.join(_FORMS)}, and nothing else but words")
    feature, words = _FORMS[key](told[key], given)
    label = feature(given.pick)
    if label is None or label is False:
        raise Unusable("it does not hold of the picked input")
    return Candidate(
        feature, words, source=LANGUAGE_MODEL, said=cleaned(said, SAID), about_length=key == "length"
    )  # fmt: skip


def _kind(value: Any) -> str:
    return {dict: "JSON object", list: "list", str: "text", bool: "yes or no", type(None): "null"}.get(
        type(value), "number"
    )


def _text(value: Any, what: str = "it", most: int = PIECE) -> str:
    """A piece of text that has something to show and is not too long."""
    if not isinstance(value, str):
        raise Unusable(f"{what} is a {_kind(value)}, not a text")
    if not value.strip() or len(value) > most:
        raise Unusable(f"{what} is {'longer than ' + str(most) + ' characters' if value.strip() else 'empty'}")
    return value


def _whole(value: Any, what: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _TOKENS:
        raise Unusable(f"{what} is no whole number from {least} to {_TOKENS}")
    return value


def _shown(text: str) -> str:
    return f"\u201c{cleaned(text, _SHOWN)}\u201d"


def _contains(value: Any, given: Given) -> tuple[Feature, str]:
    string = _text(value)
    return contains(string), f"has {_shown(string)}"


def _contains_word(value: Any, given: Given) -> tuple[Feature, str]:
    word = _text(value).strip()
    whole, name = contains(word, whole_word=True), f"contains the word {word!r}"
    feature = Feature(name, whole.fn, whole.description, f"isn.features.Feature({name!r}, {whole.code})")
    return feature, f"has the word {_shown(word)}"


def _token_at(value: Any, given: Given) -> tuple[Feature, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise Unusable("it is no list of a position and a token")
    position, token = _whole(value[0], "the position", -_TOKENS), _text(value[1], "the token")
    pick = given.pick
    if not -len(pick.tokens) <= position < len(pick.tokens):
        raise Unusable(f"the picked input has {len(pick.tokens)} tokens")
    if pick.tokens[position].strip() != token.strip():
        raise Unusable("the picked input has another token there")
    return token_at(position), place_words(position, pick, given.first)


def _starts_with(value: Any, given: Given) -> tuple[Feature, str]:
    return _end(_text(value), "starts with", "startswith", lambda text, string: text.startswith(string))


def _ends_with(value: Any, given: Given) -> tuple[Feature, str]:
    return _end(_text(value), "ends with", "endswith", lambda text, string: text.endswith(string))


def _end(string: str, what: str, method: str, compare: Callable[[str, str], bool]) -> tuple[Feature, str]:
    name = f"{what} {string!r}"
    code = f"isn.features.Feature({name!r}, lambda text: text.{method}({string!r}))"
    return Feature(name, lambda text: compare(text, string), f"whether the text {name}", code), (
        f"{what} {_shown(string)}"
    )


def _regex(value: Any, given: Given) -> tuple[Feature, str]:
    pattern = _text(value)
    _check_pattern(pattern)
    compiled, until = read_pattern(pattern), time.monotonic() + SECONDS
    for text in dict.fromkeys(map(str, [given.pick, *given.texts])):
        try:
            search(compiled, text, until - time.monotonic())
        except InvalidArgument:
            raise Unusable("the pattern takes too long") from None
    return _found(f"matches {pattern!r}", pattern), f"matches the pattern {_shown(pattern)}"


def _check_pattern(pattern: str) -> None:
    """Raises where a pattern is none, calls itself, allows for misprints, or repeats too often (it takes memory)."""
    repeats = re.findall(r"\{([^}]*)\}", pattern)
    if not all(re.fullmatch(r"[0-9]{0,4}(,[0-9]{0,4})?", repeat) for repeat in repeats):
        raise Unusable("the pattern has other than numbers in {}")
    if math.prod(max(int(n or 1) for n in repeat.split(",")) or 1 for repeat in repeats) > _REPEATS:
        raise Unusable(f"the pattern repeats more than {_REPEATS} times")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)  # knows no patterns that call themselves, as `regex` does
            read_pattern(pattern)
    except (re.error, InvalidArgument, ValueError, OverflowError, RecursionError):
        raise Unusable("the pattern is no regular expression") from None


def _found(name: str, pattern: str) -> Feature:
    """Whether a pattern is found."""
    compiled = read_pattern(pattern)
    code = f"isn.features.Feature({name!r}, lambda x, f=isn.features.regex({pattern!r}): f(x) is not None)"
    return Feature(name, lambda text: search(compiled, text) is not None, f"whether the text {name}", code)


def _length(value: Any, given: Given) -> tuple[Feature, str]:
    if not isinstance(value, dict) or not value or set(value) - {"at_least", "at_most"}:
        raise Unusable("a length has at_least, at_most or both")
    low, high = (_whole(value.get(key, 1), key, 1) for key in ("at_least", "at_most"))
    if len(value) == 1:
        bound = at_least(low) if "at_least" in value else at_most(high)
        return bound, f"has {bound.name} (BOS counted)"
    if low == high == len(given.pick.tokens):
        return n_tokens(), f"has {low} tokens (BOS counted)"
    name = f"{low} to {high} tokens"
    code = f"isn.features.Feature({name!r}, lambda text: {low} <= len(text.tokens) <= {high})"
    feature = Feature(name, lambda text: low <= len(text.tokens) <= high, "BOS counted", code)
    return feature, f"has {name} (BOS counted)"


def _any_of(value: Any, given: Given) -> tuple[Feature, str]:
    if not isinstance(value, list) or not 2 <= len(value) <= WORDS:
        raise Unusable(f"it is no list of 2 to {WORDS} words")
    words = list(dict.fromkeys(_text(word, "a word", _LETTERS).strip() for word in value))
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)"
    feature = _found(f"has one of {', '.join(map(repr, words))}", pattern)
    shown, more = ", ".join(map(_shown, words[:_LISTED])), len(words) - _LISTED
    return feature, f"has one of the words {shown}{f' and {more} more' if more > 0 else ''}"


_Form = Callable[[Any, Given], tuple[Feature, str]]
_FORMS: dict[str, _Form] = {
    "contains": _contains,
    "contains_word": _contains_word,
    "token_at": _token_at,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "regex": _regex,
    "length": _length,
    "any_of": _any_of,
}
