"""Features that look for the words of a list, or of several lists with a name each."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from ..errors import InvalidArgument
from .base import Feature
from .text import InputText

SEVERAL = ("first", "last", "undefined")
"""What to do where words of several classes occur."""
_IN_CODE = 60  # words up to which the code that makes the feature spells them out
_HINT = "give a list of words, or {label: [words]}"


def in_lexicon(
    name: str,
    words: Iterable[str] | Mapping[Hashable, Iterable[str]],
    *,
    whole_word: bool = True,
    ignore_case: bool = True,
    several: str = "first",
) -> Feature:
    """Whether a word of a list occurs in the text, or the words of which class do.

    A list gives True or False, never undefined. A mapping gives the label of the class whose word occurs, and is
    undefined where none does. Where words of several classes occur, the one that stands first in the text counts.
    Of words that begin at one place the longest is found, and nothing inside it is ("New York Times" is no "New York").

    Args:
        name: what tables call it.
        words: the words (or phrases), or a mapping of label -> words.
        whole_word: whether letters and digits beside a word make it another one.
        ignore_case: whether capitals are the same as small letters.
        several: the class whose word stands ``first`` in the text, ``last``, or ``undefined`` where they differ.

    Raises:
        InvalidArgument: no word, something that is no word, or one that belongs to two classes.

    >>> colours = in_lexicon("colour", ["red", "green"])
    >>> colours.labels(["a Red door", "it is hundred"])
    [True, False]
    >>> mood = in_lexicon("mood", {"good": ["happy", "fine"], "bad": ["sad", "not fine"]})
    >>> mood.labels(["I am fine", "I am not fine", "sad, then happy", "I am"])
    ['good', 'bad', 'bad', None]
    """
    if several not in SEVERAL:
        raise InvalidArgument(f"several={several!r:.60}", hint=f"allowed: {', '.join(SEVERAL)}")
    fold: Callable[[str], str] = str.casefold if ignore_case else str
    classes = _classes(name, words)
    class_of = _class_of(name, classes, fold)
    edge = (r"(?<!\w)", r"(?!\w)") if whole_word else ("", "")
    longest_first = sorted(class_of, key=len, reverse=True)
    pattern = re.compile(f"{edge[0]}(?:{'|'.join(map(re.escape, longest_first))}){edge[1]}")

    def occurs(text: InputText) -> bool:
        return pattern.search(fold(text)) is not None

    def label(text: InputText) -> Hashable | None:
        found = [class_of[word] for word in pattern.findall(fold(text))]
        if not found or (several == "undefined" and len(set(found)) > 1):
            return None
        return found[-1 if several == "last" else 0]

    options = "".join(
        f", {key}={value!r}"
        for key, value, usual in (
            ("whole_word", whole_word, True),
            ("ignore_case", ignore_case, True),
            ("several", several, "first"),
        )
        if value != usual
    )
    plain = not isinstance(words, Mapping)
    spelled: Any = classes[True] if plain else classes
    is_short = len(class_of) <= _IN_CODE and all(type(label) in (str, int, bool) for label in classes)
    code = f"isn.features.in_lexicon({name!r}, {spelled!r}{options})" if is_short else ""
    if plain:
        return Feature(name, occurs, f"whether one of {_some(classes[True])} occurs", code)
    labels = ", ".join(map(str, classes))
    undefined = (
        f"texts without any of the words{', or with those of several classes' if several == 'undefined' else ''}"
    )
    which = {"first": ", that of the first word", "last": ", that of the last word"}.get(several, "")
    return Feature(name, label, f"of which class words occur ({labels}){which}", code, undefined=undefined)


def _classes(name: str, words: Any) -> dict[Hashable, list[str]]:
    """Label -> words; of a plain list the label is True."""
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise InvalidArgument(f"lexicon {name!r}: words is a {type(words).__name__}", hint=_HINT)
    if not isinstance(words, Mapping):
        return {True: _checked(f"lexicon {name!r}", words)}
    if None in words:
        raise InvalidArgument(f"lexicon {name!r}: None is no label, it means undefined", hint=_HINT)
    if not words:
        raise InvalidArgument(f"lexicon {name!r} has no class", hint=_HINT)
    return {label: _checked(f"lexicon {name!r}, class {label!r}", some) for label, some in words.items()}


def _checked(what: str, words: Any) -> list[str]:
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise InvalidArgument(f"{what}: words is a {type(words).__name__}", hint=_HINT)
    found = sorted(words, key=str) if isinstance(words, set | frozenset) else list(words)
    wrong = [word for word in found if not isinstance(word, str) or not word.strip()]
    if wrong or not found:
        raise InvalidArgument(
            f"{what} has {f'the word {wrong[0]!r:.60}' if wrong else 'no word'}",
            hint="a word is a text that is not empty",
        )
    return list(dict.fromkeys(str(word).strip() for word in found))


def _class_of(name: str, classes: Mapping[Hashable, list[str]], fold: Callable[[str], str]) -> dict[str, Hashable]:
    """Word -> its class; raises where a word is in two."""
    found: dict[str, Hashable] = {}
    for label, words in classes.items():
        for word in map(fold, words):
            if found.setdefault(word, label) != label:
                raise InvalidArgument(
                    f"lexicon {name!r}: {word!r} is in the classes {found[word]!r} and {label!r}",
                    hint="each word belongs to one class; features.pair() takes several lexicons together",
                )
    return found


def _some(words: list[str]) -> str:
    return ", ".join(words[:4]) + (f" and {len(words) - 4} more" if len(words) > 4 else "")
