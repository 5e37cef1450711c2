"""Templates: a text with ``{NAME}`` slots, and what may stand in them.

Slots are filled in order, each uniformly over its values, which may depend on the slots before it. As a prompt
distribution with exact probabilities: :mod:`inversescope_nb.template_prompts`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from ._template_walk import SLOT
from .errors import InvalidArgument
from .prompts import Prompt

Assignment = Mapping[str, str]
Values = Sequence[str] | Callable[[Assignment], Sequence[str]]


@dataclass(frozen=True)
class Slot:
    """A place in a template and what may stand there, each value as likely as any other."""

    name: str
    """Its name in the template's text; a slot that the text does not name is latent."""
    values: Values
    """The values, or a function of the slots before it that returns them."""
    distinct_from: tuple[str, ...] = ()
    """Slots before this one whose value it must not repeat."""
    domain: Sequence[str] = ()
    """Everything that a function `values` may return, so that lengths are known without calling it."""

    def __post_init__(self) -> None:
        if callable(self.values):
            return
        if isinstance(self.values, str) or not isinstance(self.values, Sequence) or not self.values:
            raise InvalidArgument(f"slot {self.name!r} has the values {self.values!r}", hint="give a list of texts")
        bad = [v for v in self.values if not isinstance(v, str) or not v or v != " ".join(v.split())]
        if bad:
            raise InvalidArgument(
                f"slot {self.name!r} has the value {bad[0]!r}", hint="values are words separated by single spaces"
            )

    def all_values(self) -> Sequence[str]:
        """Everything that may stand there, as far as that is known without filling it."""
        return self.domain if callable(self.values) else self.values

    def allowed(self, assignment: Assignment) -> Sequence[str]:
        """The values it may take, given the slots before it."""
        values = self.values(assignment) if callable(self.values) else self.values
        taken = {assignment[name] for name in self.distinct_from}
        return [v for v in values if v not in taken] if taken else values


@dataclass(frozen=True)
class Template:
    """A text with slots, filled from first to last."""

    text: str
    """Words separated by one space, such as ``"{A} gave the {OBJECT} to"``."""
    slots: tuple[Slot, ...]
    """In the order of filling; those named in the text in the order they stand there, each once."""
    labels: Mapping[str, Callable[[Assignment], Hashable]] = field(default_factory=dict)
    """Further labels as functions of the slots; one that needs a slot behind the cut is left out."""
    name: str = ""
    """What to call it; its text by default."""
    weight: float = 1.0
    """How likely it is beside the other templates."""

    def __post_init__(self) -> None:
        are_slots = isinstance(self.slots, Sequence) and all(isinstance(slot, Slot) for slot in self.slots)
        if not isinstance(self.text, str) or not are_slots:
            raise InvalidArgument(
                f"Template({self.text!r:.40}, {self.slots!r:.40})",
                hint="give Template('{A} likes tea', (Slot('A', names),))",
            )
        named = SLOT.findall(self.text)
        known = [slot.name for slot in self.slots]
        if [n for n in known if n in named] != named or len(set(known)) < len(known):
            raise InvalidArgument(
                f"template {self.text!r} names the slots {named}, but is given {known}",
                hint="each named slot stands once, and they are given in that order; for a value that stands twice, "
                "Slot('A2', lambda slots: [slots['A']])",
            )
        if not self.text.strip() or "  " in self.text or self.text != self.text.strip():
            raise InvalidArgument(
                f"template {self.text!r} needs words separated by single spaces", hint="{A} likes {B} ."
            )
        if set("{}") & set(SLOT.sub("", self.text)):
            raise InvalidArgument(f"template {self.text!r} has a brace that is no slot", hint="slots look like {NAME}")
        for i, slot in enumerate(self.slots):
            unknown = set(slot.distinct_from) - set(known[:i])
            if unknown:
                raise InvalidArgument(
                    f"slot {slot.name!r} must differ from {sorted(unknown)}, not filled before it",
                    hint="name slots before it",
                )

    @property
    def visible(self) -> tuple[str, ...]:
        """The slots that its text names, in order."""
        return tuple(SLOT.findall(self.text))

    def fill(self, rng: random.Random) -> dict[str, str]:
        """A value for every slot."""
        assignment: dict[str, str] = {}
        for slot in self.slots:
            values = slot.values(assignment) if callable(slot.values) else slot.values
            taken = {assignment[name] for name in slot.distinct_from}
            if not any(v not in taken for v in values):
                raise InvalidArgument(
                    f"slot {slot.name!r} of {self.text!r} has no value left after {assignment}",
                    hint="give it more values",
                )
            value = rng.choice(values)
            while value in taken:
                value = rng.choice(values)
            assignment[slot.name] = value
        return assignment

    def write(self, assignment: Assignment) -> tuple[str, dict[str, tuple[int, int]]]:
        """The filled text and the spans of its slots."""
        text, spans, at = "", {}, 0
        for match in SLOT.finditer(self.text):
            text += self.text[at : match.start()]
            spans[match[1]] = (len(text), len(text) + len(assignment[match[1]]))
            text, at = text + assignment[match[1]], match.end()
        return text + self.text[at:], spans

    def prompt(self, assignment: Assignment) -> Prompt:
        """The filled text, with the spans of its slots and all labels."""
        text, spans = self.write(assignment)
        return Prompt(text, self.label(assignment), spans)

    def label(self, assignment: Assignment) -> dict[str, Hashable]:
        """Slot values and labels that this much of an assignment determines."""
        seen = {name: assignment[name] for name in self.visible if name in assignment}
        labels: dict[str, Hashable] = {"template": self.name or self.text, **seen}
        for name, function in self.labels.items():
            try:
                labels[name] = function(assignment)
            except KeyError:
                continue
        return labels
