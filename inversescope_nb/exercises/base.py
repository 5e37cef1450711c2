"""What a check of an exercise says: whether an answer is right and, where it is not, what is off."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Checked:
    """The result of a check; shown as one line in a notebook.

    >>> Checked(True, "The rate is far above chance."), Checked(False, "Is the chance level of the same picks?")
    (Right. The rate is far above chance., Not yet. Is the chance level of the same picks?)
    """

    right: bool
    """Whether the answer is right."""
    words: str
    """What it shows or, where it is not right, what is off."""

    def __repr__(self) -> str:
        return f"{'Right.' if self.right else 'Not yet.'} {self.words}"

    def __bool__(self) -> bool:
        return self.right


def right(words: str) -> Checked:
    """An answer that is right, and what it shows."""
    return Checked(True, words)


def not_yet(words: str) -> Checked:
    """An answer that is not right, and what is off."""
    return Checked(False, words)
