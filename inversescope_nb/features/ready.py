"""Ready-made features of a text and its tokens: what it contains, which token stands where, how long it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .._arguments import whole_number
from .._patterns import read_pattern, search
from ..errors import InvalidArgument, suggest
from .base import Feature
from .text import InputText, tokens_of

if TYPE_CHECKING:
    from ..python_features import PythonFeature

UNITS = ("tokens", "words", "characters")
"""What `length` counts."""
_NO_TOKENS = "inputs that have no tokens, or came without them"


def contains(string: str, *, whole_word: bool = False, ignore_case: bool = False) -> Feature:
    """Whether the text contains a string: True or False, never undefined.

    >>> contains("he")("the"), contains("he", whole_word=True)("the")
    (True, False)
    """
    if not isinstance(string, str) or not string:
        raise InvalidArgument(f"contains({string!r})", hint="give a string that is not empty")
    edge = (r"(?<!\w)", r"(?!\w)") if whole_word else ("", "")
    pattern = re.compile(edge[0] + re.escape(string) + edge[1], re.IGNORECASE if ignore_case else 0)
    options = f"{', whole_word=True' if whole_word else ''}{', ignore_case=True' if ignore_case else ''}"
    return Feature(
        f"contains {string!r}",
        lambda text: pattern.search(text) is not None,
        f"whether the text has {string!r}",
        f"isn.features.contains({string!r}{options})",
    )


def token_at(position: int) -> Feature:
    """The token at a position (negative from the end, BOS counted); undefined in shorter inputs.

    For the token of a template's slot, wherever that stands: :func:`inversescope_nb.features.token_in_slot`.

    >>> token_at(-1)(InputText("a b", ("a", "b"), (5, 6))), token_at(2)(InputText("a b", ("a", "b"), (5, 6)))
    ('b', None)
    """
    position = whole_number("position", position, hint="-1 is the last token, 0 the first, BOS counted")
    needed = position + 1 if position >= 0 else -position

    def fn(text: InputText) -> str | None:
        tokens = tokens_of(text)
        return tokens[position] if len(tokens) >= needed else None

    return Feature(
        f"token at {position}",
        fn,
        f"the token at position {position}",
        f"isn.features.token_at({position})",
        undefined=f"inputs of fewer than {needed} tokens" if needed > 1 else "inputs without a token",
    )


def n_tokens() -> Feature:
    """How many tokens the input has, BOS counted; undefined for an input that came without tokens.

    >>> n_tokens()(InputText("a b", ("<bos>", "a", "b"), (1, 5, 6)))
    3
    """
    return Feature(
        "number of tokens",
        lambda text: len(text.tokens) or None,
        "how many tokens there are, BOS counted",
        "isn.features.n_tokens()",
        undefined=_NO_TOKENS,
    )


def length(unit: str = "tokens") -> Feature:
    """How long the input is: in tokens (as `n_tokens`), words (what stands between spaces) or characters.

    Tokens count BOS, and are undefined for an input that came without them; words and characters never are.

    >>> length("words")("a year in Rome"), length("characters")("Rome")
    (4, 4)
    >>> length("tokens").name
    'number of tokens'
    """
    if unit not in UNITS:
        raise InvalidArgument(f"unit={unit!r:.60}.{suggest(str(unit), UNITS)}", hint=f"allowed: {', '.join(UNITS)}")
    if unit == "tokens":
        return n_tokens()
    count = (lambda text: len(text.split())) if unit == "words" else (lambda text: len(text))
    how = ", as spaces part them" if unit == "words" else ", spaces counted"
    return Feature(f"number of {unit}", count, f"how many {unit} there are{how}", f"isn.features.length({unit!r})")


def regex(pattern: str, group: int | str | tuple[int | str, ...] = 0) -> Feature:
    """What a group of the first match of a regular expression holds, or several together; undefined without a match,
    or where one of them took no part in it.

    >>> regex(r"in (\\w+)", 1)("a year in Rome"), regex("[0-9]+")("none"), regex(r"(.) (.)", (1, 2))("4 3 7")
    ('Rome', None, ('4', '3'))
    """
    compiled = read_pattern(pattern)
    groups = [*range(compiled.groups + 1), *compiled.groupindex]
    wanted = group if isinstance(group, tuple) else (group,)
    if not wanted or not all(one in groups for one in wanted):
        raise InvalidArgument(f"{pattern!r} has no group {group!r}", hint=f"its groups: {groups}")

    def fn(text: InputText) -> str | tuple[str, ...] | None:
        match = search(compiled, text)
        found = tuple(match[one] for one in wanted) if match else (None,)
        if None in found:
            return None
        return found if isinstance(group, tuple) else found[0]

    said = ", ".join(map(str, wanted))
    name = f"regex {pattern}" + (f" [{said}]" if group else "")
    code = f"isn.features.regex({pattern!r}{f', {group!r}' if group else ''})"
    what = f"group{'s' if len(wanted) > 1 else ''} {said} of the first match of {pattern}"
    undefined = f"texts without a match of {pattern}" + (f", or with one that lacks group {said}" if group else "")
    return Feature(name, fn, what, code, undefined=undefined)


def python(source: str, name: str | None = None) -> PythonFeature:
    """A hypothesis written as Python text: an expression of ``x``, or a function (the last one defined).

    ``x`` is the input, a str with ``.tokens`` and ``.token_ids``; ``re`` and ``math`` are at hand. Where the code
    raises it is undefined, and :attr:`PythonFeature.faults` says what; it may take half a second an input, and is
    called once for each. It is run as a cell of the notebook would be, with nothing held back; a loop is ended in
    time, a call into C that never comes back is not (``10 ** 10 ** 9``).

    Args:
        source: the code.
        name: what tables call it; None: the function's name, or the expression.

    Raises:
        InvalidArgument: it is no Python, or neither an expression nor a function.
        FeatureError: when called, if an input takes too long.

    >>> first = python("x.split()[0]")
    >>> first.name, first("John left"), first(""), first.faults
    ('x.split()[0]', 'John', None, {'': 'IndexError: list index out of range (line 1)'})
    """
    from ..python_features import python_feature

    return python_feature(source, name)
