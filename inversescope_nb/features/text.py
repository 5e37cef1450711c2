"""Inputs as features see them: strings that know their tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Self

from ..errors import InvalidArgument

if TYPE_CHECKING:
    from ..models import LanguageModel

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


def as_text(text: str) -> InputText:
    """The text itself, or a plain one as an input without tokens.

    Raises:
        InvalidArgument: it is no text.
    """
    if isinstance(text, InputText):
        return text
    if not isinstance(text, str):
        raise InvalidArgument(f"a {type(text).__name__} is no text", hint="give a str, or InputText.from_ids(ids, lm)")
    return InputText(text)


def tokens_of(text: InputText) -> tuple[str, ...]:
    """The tokens of an input; a `ValueError` where it has text but came without them."""
    if text and not text.tokens:
        raise ValueError("the text came without tokens; make it with InputText.from_ids(ids, lm)")
    return text.tokens


def quote(text: str) -> str:
    """A text for an error message, shortened where it is long."""
    return repr(str(text)) if len(text) <= _SHOWN else repr(text[: _SHOWN - 1] + "…")
