"""Features: named functions from an input to a discrete label.

A feature is a hypothesis about what an activation holds: "the subject", "the last digit", "whether
the text mentions Paris". It sees one input (an `InputText`: a string that knows its tokens) and
returns a hashable label, or None where it is undefined for this input. The feature consistency
rate of InverseScope (Luo, Zhou, Dong, arXiv 2506.07406) then asks how often the inputs that share
an activation share that label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, overload

import numpy as np

from ._arguments import check_prompts, whole_number
from ._patterns import read_pattern, search
from .errors import Cancelled, FeatureError, InvalidArgument

if TYPE_CHECKING:
    from .models import LanguageModel
    from .prompts import PromptDistribution
    from .python_features import PythonFeature

_NO_FEATURE = (
    "give a function of a text, Feature(name, function), a ready-made one such as features.contains('Paris'), or a "
    "task's: isn.tasks.ioi().features['subject']"
)
_SHOWN = 80  # characters of a text that an error message quotes


class InputText(str):
    """An input as text that also knows its tokens, one string and one id each, BOS included.

    >>> text = InputText("a b", tokens=("<bos>", "a", "b"), token_ids=(0, 5, 6))
    >>> text.upper(), text.tokens[-1]
    ('A B', 'b')
    """

    tokens: tuple[str, ...]
    """One string per token; empty where the text came without a tokenizer."""
    token_ids: tuple[int, ...]
    """The ids of :attr:`tokens`."""

    def __new__(cls, text: str, tokens: Iterable[str] = (), token_ids: Iterable[int] = ()) -> Self:
        self = super().__new__(cls, text)
        self.tokens = tuple(tokens)
        self.token_ids = tuple(int(i) for i in token_ids)
        return self

    def __getnewargs__(self) -> tuple[str, tuple[str, ...], tuple[int, ...]]:  # type: ignore[override]
        return str(self), self.tokens, self.token_ids

    @classmethod
    def from_ids(cls, token_ids: Sequence[int], lm: LanguageModel) -> Self:
        """The text of token ids, as the model's tokenizer writes it, without a leading BOS.

        The tokens keep their BOS, so that positions count it.
        """
        ids = [int(i) for i in token_ids]
        if not ids:
            return cls("")
        behind = ids[1:] if ids and ids[0] == lm.bos_id else ids
        return cls(lm.decode(behind), lm.token_strings(ids), ids)


@dataclass(frozen=True)
class Feature:
    """A named function from an input to a label; compose two with ``&``.

    Raises:
        FeatureError: when called, if the function raises or returns something that is no label.

    >>> first = Feature("first letter", lambda text: text[:1] or None)
    >>> first("Paris"), first(""), (first & contains("ar"))("Paris")
    ('P', None, ('P', True))
    """

    name: str
    """How tables and charts call it."""
    fn: Callable[[InputText], Hashable | None]
    """The function; None means 'undefined for this input'."""
    description: str = ""
    """One sentence for people."""
    code: str = field(default="", compare=False, repr=False)
    """The Python that makes it, after ``import inversescope_nb as isn``; empty where that is not known."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InvalidArgument(f"a feature is named {self.name!r}", hint="a name is a string that is not empty")
        if not callable(self.fn):
            raise InvalidArgument(
                f"feature {self.name!r} is made of a {type(self.fn).__name__}, which cannot be called",
                hint="pass a function from a text to a label, e.g. lambda text: text.split()[0]",
            )

    def __call__(self, text: str) -> Hashable | None:
        """The label of one input, or None where the feature is undefined."""
        given = text if isinstance(text, InputText) else InputText(text)
        try:
            label = self.fn(given)
        except (FeatureError, Cancelled):
            raise
        except Exception as e:  # whatever a user's function raises becomes one kind of error
            raise FeatureError(
                f"feature {self.name!r} raised {type(e).__name__}: {e}, on the text {_quote(given)}",
                hint="return None where the feature is undefined for a text",
            ) from e
        if label is not None:
            self._check_label(label, given)
        return label

    def _check_label(self, label: Hashable, text: InputText) -> None:
        """A label must be hashable and equal to itself; arrays, tensors and NaN are not."""
        try:
            hash(label)
            equal = label == label
            problem = None if isinstance(equal, bool | np.bool_) and equal else "labels are compared with =="
        except (TypeError, ValueError) as e:
            problem = str(e)
        if problem:
            raise FeatureError(
                f"feature {self.name!r} returned {label!r:.60} ({type(label).__name__}) "
                f"for the text {_quote(text)}: no label, since {problem}",
                hint="return a str, int, bool or a tuple of those; None, not NaN, means undefined",
            )

    def labels(self, texts: Iterable[str]) -> list[Hashable | None]:
        """The labels of many inputs."""
        if isinstance(texts, str) or not isinstance(texts, Iterable):
            raise InvalidArgument(f"texts is a {type(texts).__name__}", hint="give a list of texts")
        return [self(text) for text in texts]

    def __and__(self, other: Feature) -> Feature:
        """Both at once: the pair of labels, or None where either is undefined."""
        if not isinstance(other, Feature):
            return NotImplemented

        def pair(text: InputText) -> Hashable | None:
            a, b = self(text), other(text)
            return None if a is None or b is None else (a, b)

        code = f"{self.code} & {other.code}" if self.code and other.code else ""
        return Feature(f"{self.name} & {other.name}", pair, f"the pair of {self.name} and {other.name}", code)


def _quote(text: str) -> str:
    return repr(str(text)) if len(text) <= _SHOWN else repr(text[: _SHOWN - 1] + "…")


@overload
def feature(fn: Callable[[InputText], Hashable | None], /) -> Feature: ...
@overload
def feature(
    name: str | None = None, /, *, description: str = ""
) -> Callable[[Callable[[InputText], Hashable | None]], Feature]: ...
def feature(arg=None, /, *, description=""):  # type: ignore[no-untyped-def]
    """Turn a function into a `Feature`, with or without a name.

    >>> @feature
    ... def first_word(text):
    ...     "The first word."
    ...     return text.split()[0] if text.split() else None
    >>> first_word.name, first_word.description, first_word("John left")
    ('first word', 'The first word.', 'John')
    >>> @feature("is a question")
    ... def _(text):
    ...     return text.endswith("?")
    >>> _.name
    'is a question'
    """

    def wrap(fn: Callable[[InputText], Hashable | None]) -> Feature:
        if not callable(fn):
            raise InvalidArgument(f"@feature was put on a {type(fn).__name__}", hint="put it on a function")
        name = arg if isinstance(arg, str) else getattr(fn, "__name__", "feature").replace("_", " ").strip()
        doc = (getattr(fn, "__doc__", None) or "").strip().split("\n")[0]
        return Feature(name, fn, description or doc)

    return wrap(arg) if arg is not None and not isinstance(arg, str) else wrap


def as_features(
    features: Feature | Callable | Mapping[str, Feature] | Iterable[Feature],
) -> tuple[Feature, ...]:
    """One feature, a function, a mapping of names to features, or several: as features with different names.

    Raises:
        InvalidArgument: if there is none, one is no feature, or two share a name.
    """
    if isinstance(features, Mapping):
        features = features.values()
    elif isinstance(features, Feature) or callable(features):
        features = (features,)
    several = isinstance(features, Iterable) and not isinstance(features, str)
    given = tuple(features) if several else (features,)
    if wrong := [f for f in given if not callable(f)]:
        raise InvalidArgument(f"{wrong[0]!r:.60} is no feature", hint=_NO_FEATURE)
    found = tuple(f if isinstance(f, Feature) else feature(f) for f in given)
    names = [f.name for f in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not found or twice:
        raise InvalidArgument(
            f"several features are named {twice[0]!r}" if twice else "no feature was given",
            hint="pass one Feature or several with different names",
        )
    return found


# -- ready-made features ---------------------------------------------------------------------------


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

    >>> token_at(-1)(InputText("a b", ("a", "b"), (5, 6))), token_at(2)(InputText("a b", ("a", "b"), (5, 6)))
    ('b', None)
    """
    position = whole_number("position", position, hint="-1 is the last token, 0 the first, BOS counted")

    def fn(text: InputText) -> str | None:
        if text and not text.tokens:
            raise ValueError("the text came without tokens; make it with InputText.from_ids(ids, lm)")
        return text.tokens[position] if -len(text.tokens) <= position < len(text.tokens) else None

    code = f"isn.features.token_at({position})"
    return Feature(f"token at {position}", fn, f"the token at position {position}", code)


def n_tokens() -> Feature:
    """How many tokens the input has, BOS counted; undefined for an input that came without tokens.

    >>> n_tokens()(InputText("a b", ("<bos>", "a", "b"), (1, 5, 6)))
    3
    """
    words = "how many tokens there are, BOS counted"
    return Feature("number of tokens", lambda text: len(text.tokens) or None, words, "isn.features.n_tokens()")


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
    return Feature(name, fn, f"group{'s' if len(wanted) > 1 else ''} {said} of the first match of {pattern}", code)


def unsteady(name: str) -> FeatureError:
    """What to raise where a feature gives one input two labels."""
    return FeatureError(
        f"{name!r} gives another label each time, on the same input",
        hint="return a str, int or bool: for a match, m is not None or m.group()",
    )


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
    from .python_features import python_feature

    return python_feature(source, name)


def slot(prompts: PromptDistribution, label: str, *, description: str = "") -> Feature:
    """A label that the prompt distribution reads off its own texts; undefined off its support.

    The distribution's `parse` gives the labels of a text, or of the beginning of one, so that a
    label is undefined where the text ends before it is decided.
    """
    check_prompts(prompts)
    if not isinstance(label, str):
        raise InvalidArgument(f"label is a {type(label).__name__}", hint="give the name of a slot or of a label")

    def fn(text: InputText) -> Hashable | None:
        labels = prompts.parse(str(text))
        return None if labels is None else labels.get(label)

    return Feature(label, fn, description or f"the label {label!r} of {prompts.name}")
