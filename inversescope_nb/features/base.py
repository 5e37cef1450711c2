"""What a feature is: a named function from an input to a label, for one input or for many at once.

Whatever such a function raises, and whatever it returns that is no label, becomes one kind of error that names the
feature and the text.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np

from ..errors import Cancelled, FeatureError, InvalidArgument
from .text import InputText, as_text, quote

Label = Hashable | None
_NO_FEATURE = (
    "give a function of a text, Feature(name, function), a ready-made one such as features.contains('Paris'), or a "
    "task's: isn.tasks.ioi().features['subject']"
)
_PLAIN = (str, int, bool)  # their values are labels, whichever they are


@dataclass(frozen=True)
class Feature:
    """A named function from an input to a label.

    Yes-or-no features are composed with ``&``, ``|`` and ``~`` (and, or, not): undefined where a part is. The labels
    of any features together are :func:`inversescope_nb.features.pair`.

    Raises:
        FeatureError: when called, if the function raises or returns something that is no label.

    >>> first = Feature("first letter", lambda text: text[:1] or None, undefined="the empty text")
    >>> first("Paris"), first(""), first.labels(["Rome", ""]), first.undefined_in(["Rome", ""])
    ('P', None, ['R', None], [''])
    """

    name: str
    """How tables and charts call it."""
    fn: Callable[[InputText], Label] | None = None
    """The function; None means 'undefined for this input'. Not needed where there is a :attr:`batch`."""
    description: str = ""
    """One sentence for people."""
    code: str = field(default="", compare=False, repr=False)
    """The Python that makes it, after ``import inversescope_nb as isn``; empty where that is not known."""
    batch: Callable[[Sequence[InputText]], Sequence[Label]] | None = None
    """The same for many inputs in one call: a label for each, in their order. Must say what :attr:`fn` says."""
    undefined: str = ""
    """For which inputs it is undefined, in words ("inputs of fewer than 3 tokens"); empty where for none, or where
    whoever wrote the function did not say."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InvalidArgument(f"a feature is named {self.name!r}", hint="a name is a string that is not empty")
        if self.fn is None and self.batch is None:
            raise InvalidArgument(f"feature {self.name!r} has no function", hint="give fn= or batch=, or both")
        for function, example in (
            (self.fn, "a text to a label, e.g. lambda text: text.split()[0]"),
            (self.batch, "a list of texts to a list of labels, e.g. lambda texts: [len(text) for text in texts]"),
        ):
            if function is not None and not callable(function):
                raise InvalidArgument(
                    f"feature {self.name!r} is made of a {type(function).__name__}, which cannot be called",
                    hint=f"pass a function from {example}",
                )
        if not isinstance(self.undefined, str):
            raise InvalidArgument(
                f"feature {self.name!r}: undefined is a {type(self.undefined).__name__}",
                hint="say in words for which inputs it is undefined, such as 'the empty text'",
            )

    def __call__(self, text: str) -> Label:
        """The label of one input, or None where the feature is undefined."""
        given = as_text(text)
        if self.fn is None:
            return self._batched([given])[0]
        return self._single(given)

    def labels(self, texts: Iterable[str]) -> list[Label]:
        """The labels of many inputs, in their order; in one call of :attr:`batch` where there is one."""
        if isinstance(texts, str) or not isinstance(texts, Iterable):
            raise InvalidArgument(f"texts is a {type(texts).__name__}", hint="give a list of texts")
        given = [as_text(text) for text in texts]
        return self._batched(given) if self.batch is not None else [self._single(text) for text in given]

    def undefined_in(self, texts: Iterable[str]) -> list[str]:
        """Those of the texts for which it is undefined.

        >>> Feature("first word", lambda text: text.split()[0] if text.split() else None).undefined_in(["a b", " "])
        [' ']
        """
        given = list(texts) if isinstance(texts, Iterable) and not isinstance(texts, str) else texts
        labels = self.labels(given)
        return [text for text, label in zip(given, labels, strict=True) if label is None]

    def _single(self, text: InputText) -> Label:
        try:
            label = self.fn(text)
        except (FeatureError, Cancelled):
            raise
        except Exception as e:  # whatever a user's function raises becomes one kind of error
            raise self._raised(e, f"the text {quote(text)}") from e
        self._check_label(label, text)
        return label

    def _batched(self, texts: list[InputText]) -> list[Label]:
        """One call for all of them; an empty list asks nothing."""
        if not texts:
            return []
        try:
            found = self._called(texts)
        except (FeatureError, Cancelled):
            raise
        except Exception as e:
            culprit = self._culprit(texts)
            together = f"{len(texts)} texts together, on no half of them alone"
            raise self._raised(e, together if culprit is None else f"the text {quote(culprit)}") from e
        if found is None or len(found) != len(texts):
            what = "something that is no list" if found is None else f"{len(found)} labels"
            raise FeatureError(
                f"feature {self.name!r} returned {what} for {len(texts)} text{'s' if len(texts) > 1 else ''}",
                hint="a batch function returns one label for each text, in their order; None where it is undefined",
            )
        for label, text in zip(found, texts, strict=True):
            self._check_label(label, text)
        return found

    def _called(self, texts: list[InputText]) -> list[Label] | None:
        """What the batch function returns as a list; None where it is none."""
        found = self.batch(list(texts))  # a copy: a function that sorts its list does not mix up ours
        several = isinstance(found, Iterable) and not isinstance(found, str | bytes | Mapping | set | frozenset)
        return list(found) if several else None

    def _culprit(self, texts: list[InputText]) -> InputText | None:
        """A text on which the batch function raises alone, found by halves; None where only several together do."""
        if len(texts) == 1:
            return texts[0]
        middle = len(texts) // 2
        for half in (texts[:middle], texts[middle:]):
            try:
                self._called(half)
            except Cancelled:
                raise
            except Exception:
                return self._culprit(half)
        return None

    def _raised(self, error: Exception, on: str) -> FeatureError:
        return FeatureError(
            f"feature {self.name!r} raised {type(error).__name__}: {error}, on {on}",
            hint="return None where the feature is undefined for a text",
        )

    def _check_label(self, label: Label, text: InputText) -> None:
        """A label must be hashable and equal to itself; arrays, tensors and NaN are not."""
        if label is None or type(label) in _PLAIN:
            return
        try:
            hash(label)
            equal = label == label
            problem = None if isinstance(equal, bool | np.bool_) and equal else "labels are compared with =="
        except (TypeError, ValueError) as e:
            problem = str(e)
        if problem:
            raise FeatureError(
                f"feature {self.name!r} returned {label!r:.60} ({type(label).__name__}) "
                f"for the text {quote(text)}: no label, since {problem}",
                hint="return a str, int, bool or a tuple of those; None, not NaN, means undefined",
            )

    # What composes features is made of features, so it is asked for only when it is used.

    def __and__(self, other: Feature) -> Feature:
        """Whether both hold; undefined where either is."""
        from .composed import both

        return both(self, other) if isinstance(other, Feature) else NotImplemented

    def __or__(self, other: Feature) -> Feature:
        """Whether one of them holds, or both; undefined where either is."""
        from .composed import either

        return either(self, other) if isinstance(other, Feature) else NotImplemented

    def __invert__(self) -> Feature:
        """Whether it does not hold; undefined where it is."""
        from .composed import negated

        return negated(self)


@overload
def feature(fn: Callable[[InputText], Label], /) -> Feature: ...
@overload
def feature(
    name: str | None = None, /, *, description: str = "", undefined: str = "", batch: bool = False
) -> Callable[[Callable], Feature]: ...
def feature(arg=None, /, *, description="", undefined="", batch=False):  # type: ignore[no-untyped-def]
    """Turn a function into a `Feature`, with or without a name.

    Args:
        arg: the name; None: that of the function.
        description: one sentence for people; by default the first line of the function's docstring.
        undefined: for which inputs it is undefined, in words.
        batch: whether the function takes a list of texts and returns a list of labels.

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
    >>> @feature(batch=True, undefined="the empty text")
    ... def last_letter(texts):
    ...     return [text[-1] if text else None for text in texts]
    >>> last_letter.labels(["ab", ""]), last_letter("cd")
    (['b', None], 'd')
    """

    def wrap(fn: Callable) -> Feature:
        if not callable(fn):
            raise InvalidArgument(f"@feature was put on a {type(fn).__name__}", hint="put it on a function")
        name = arg if isinstance(arg, str) else getattr(fn, "__name__", "feature").replace("_", " ").strip()
        doc = (getattr(fn, "__doc__", None) or "").strip().split("\n")[0]
        functions = {"fn": None, "batch": fn} if batch else {"fn": fn}
        return Feature(name, description=description or doc, undefined=undefined, **functions)

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
    found = tuple(map(as_feature, given))
    names = [f.name for f in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not found or twice:
        raise InvalidArgument(
            f"several features are named {twice[0]!r}" if twice else "no feature was given",
            hint="pass one Feature or several with different names",
        )
    return found


def as_feature(given: Feature | Callable) -> Feature:
    """A feature itself, or a function as one."""
    if not callable(given):
        raise InvalidArgument(f"{given!r:.60} is no feature", hint=_NO_FEATURE)
    return given if isinstance(given, Feature) else feature(given)


def unsteady(name: str) -> FeatureError:
    """What to raise where a feature gives one input two labels."""
    return FeatureError(
        f"{name!r} gives another label each time, on the same input",
        hint="return a str, int or bool: for a match, m is not None or m.group()",
    )
