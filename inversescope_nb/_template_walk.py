"""Compiled templates: rendering them as tokens, and reading tokens back by walking every template along them.

A compiled template is a row of steps: literal tokens, slots, and latent slots (filled, but not in the text). A walk
along given tokens branches at a slot over the values that agree with what is left; where the tokens end, the walk
is a :class:`Reading`. What a template may still write behind that point only matters through its length.
Tokens are ids of a tokenizer, words, or characters.
"""

from __future__ import annotations

import functools
import re
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .templates import Slot, Template

Tokens = tuple[Hashable, ...]
SLOT = re.compile(r"\{(\w+)\}")
MAX_BRANCHES = 50_000
"""How many fillings are tried to know the lengths of what follows, before that counts as unknown."""


@dataclass(frozen=True)
class Step:
    """One stretch of a compiled template: literal tokens, a slot, or a latent slot."""

    slot: Slot | None
    """None for literal tokens."""
    tokens: Tokens = ()
    """The literal tokens."""
    visible: bool = True
    """False for a latent slot."""
    bare: bool = False
    """Whether it follows what stands before it without a space."""


@dataclass(frozen=True)
class Reading:
    """One way to read a sequence: the template, its slots so far, and where in it the sequence ends."""

    t: int
    """Which template."""
    assignment: dict[str, str]
    """Slots read so far; the last one may be read in part only."""
    p: float
    """Probability of the template and of these slots."""
    step: int
    """The step in which the sequence ends."""
    whole: bool
    """Whether it ends where that step does."""
    overhang: int
    """How many tokens of that step are still to come."""


class Compiled:
    """The templates of one distribution in one alphabet.

    Args:
        templates: what to compile.
        pieces: (word, whether it follows without a space) -> its tokens.
    """

    def __init__(self, templates: Sequence[Template], pieces: Callable[[str, bool], Tokens]) -> None:
        self.pieces = functools.lru_cache(maxsize=100_000)(pieces)
        self.words = functools.lru_cache(maxsize=100_000)(self._words)
        self.templates = templates
        self.steps = [self._steps(t) for t in templates]
        self._tables: dict[tuple[int, bool], tuple[dict[Tokens, list[str]], int | None]] = {}
        self._tails: dict[int, _Tails] = {}

    def _words(self, text: str, bare: bool) -> Tokens:
        """The tokens of a stretch of text; `bare` if its first word follows without a space."""
        return tuple(x for i, w in enumerate(text.split()) for x in self.pieces(w, bare and i == 0))

    def _steps(self, template: Template) -> list[Step]:
        steps, slots, at, text = [], list(template.slots), 0, template.text
        for match in SLOT.finditer(text):
            if literal := text[at : match.start()]:
                steps.append(Step(None, self.words(literal, literal[0] != " ")))
            while True:
                slot = slots.pop(0)
                visible = slot.name == match[1]
                steps.append(Step(slot, visible=visible, bare=text[match.start() - 1 : match.start()] != " "))
                if visible:
                    break
            at = match.end()
        if tail := text[at:]:
            steps.append(Step(None, self.words(tail, tail[0] != " ")))
        return steps

    # -- writing --------------------------------------------------------------------------------

    def render(self, t: int, assignment: Mapping[str, str]) -> tuple[list[Hashable], list[tuple[str, int]]]:
        """All tokens of a filled template, and how many are kept when it is cut after each slot."""
        tokens: list[Hashable] = []
        ends = []
        for step in self.steps[t]:
            if step.slot is None:
                tokens.extend(step.tokens)
            elif step.visible:
                tokens.extend(self.words(assignment[step.slot.name], step.bare))
                ends.append((step.slot.name, len(tokens)))
        return tokens, ends

    def at_least(self, last: str | None) -> int:
        """How many beginnings, up to the slot `last` (None: whole texts), one of the templates makes for certain.

        Counted are values of one slot that have the same number of tokens: two fillings that differ first in one of
        those differ there in their tokens, whatever follows. Slots filled by functions count as one value each.
        """
        return max(self._at_least(steps, last) for steps in self.steps)

    def _at_least(self, steps: Sequence[Step], last: str | None) -> int:
        count = 1
        for step in steps:
            slot = step.slot
            if slot is not None and not callable(slot.values) and len(set(slot.values)) <= len(slot.distinct_from):
                return 1  # it may be that some fillings leave it no value
            if slot is not None and step.visible and not callable(slot.values):
                tokens = {self.words(value, step.bare) for value in slot.values}
                same_length = max(Counter(map(len, tokens)).values())
                count *= max(1, same_length - len(slot.distinct_from))
            if slot is not None and slot.name == last:
                break
        return count

    # -- reading --------------------------------------------------------------------------------

    def readings(self, tokens: Tokens) -> Iterator[Reading]:
        """Every way the templates can produce the sequence as their beginning."""
        total = sum(t.weight for t in self.templates)
        for t, template in enumerate(self.templates):
            if not tokens or self._beginnings[t] in (None, tokens[0]):
                yield from self._walk(t, 0, 0, {}, template.weight / total, tokens)

    @functools.cached_property
    def _beginnings(self) -> list[Any]:
        """Of each template the token that it begins with; None where that is a slot's."""
        firsts = [steps[0] if steps else None for steps in self.steps]
        return [step.tokens[0] if step and step.slot is None and step.tokens else None for step in firsts]

    def _walk(
        self, t: int, i: int, pos: int, assignment: dict[str, str], p: float, tokens: Tokens
    ) -> Iterator[Reading]:
        if pos == len(tokens):
            yield Reading(t, assignment, p, i - 1, True, 0)
            return
        if i == len(self.steps[t]):
            return
        step, rest = self.steps[t][i], tokens[pos:]
        if step.slot is None:
            k = len(step.tokens)
            if step.tokens[: len(rest)] == rest[:k]:
                if k > len(rest):
                    yield Reading(t, assignment, p, i, False, k - len(rest))
                else:
                    yield from self._walk(t, i + 1, pos + k, assignment, p, tokens)
        elif not step.visible:
            allowed = step.slot.allowed(assignment)
            for value in allowed:
                longer = {**assignment, step.slot.name: value}
                yield from self._walk(t, i + 1, pos, longer, p / len(allowed), tokens)
        else:
            n, matches = self._matching(step, assignment, rest)
            for value, found in matches:
                longer = {**assignment, step.slot.name: value}
                if len(found) > len(rest):
                    yield Reading(t, longer, p / n, i, False, len(found) - len(rest))
                else:
                    yield from self._walk(t, i + 1, pos + len(found), longer, p / n, tokens)

    def _matching(self, step: Step, assignment: dict[str, str], rest: Tokens) -> tuple[int, list[tuple[str, Tokens]]]:
        """How many values are allowed, and those that agree with what is left, with their tokens."""
        slot = step.slot
        allowed = slot.allowed(assignment)
        if not callable(slot.values):
            table, length = self._table(slot, step.bare)
            if length is not None and len(rest) >= length:
                found = table.get(rest[:length], ())
                return len(allowed), [(v, rest[:length]) for v in found if not slot.distinct_from or v in allowed]
        head = rest[:1]
        pairs = ((v, t) for v in allowed if (t := self.words(v, step.bare))[:1] == head)
        return len(allowed), [(v, t) for v, t in pairs if t[: len(rest)] == rest[: len(t)]]

    def _table(self, slot: Slot, bare: bool) -> tuple[dict[Tokens, list[str]], int | None]:
        """Values by their tokens, and how many tokens all of them have (None: not the same)."""
        key = (id(slot), bare)
        if key not in self._tables:
            table: dict[Tokens, list[str]] = {}
            for value in slot.values:
                table.setdefault(self.words(value, bare), []).append(value)
            lengths = {len(tokens) for tokens in table}
            self._tables[key] = table, lengths.pop() if len(lengths) == 1 else None
        return self._tables[key]

    # -- lengths of what follows ----------------------------------------------------------------

    @functools.cached_property
    def _ranges(self) -> list[list[tuple[int, int] | None]]:
        """(shortest, longest) of the tokens from step i to the end; None where a slot's values are not known."""
        out = []
        for steps in self.steps:
            tail: list[tuple[int, int] | None] = [(0, 0)]
            for step in reversed(steps):
                sizes = {len(step.tokens)}
                if step.slot is not None and step.visible:
                    values = step.slot.domain if callable(step.slot.values) else step.slot.values
                    sizes = {len(self.words(v, step.bare)) for v in values}
                after = tail[0]
                tail.insert(0, (min(sizes) + after[0], max(sizes) + after[1]) if sizes and after else None)
            out.append(tail)
        return out

    def longest(self) -> int | None:
        """Tokens of the longest filled template; None where a slot's values are not known."""
        ends = [tail[0] for tail in self._ranges]
        return None if None in ends else max(end[1] for end in ends)

    def tail_lengths(self, t: int, i: int, assignment: dict[str, str]) -> dict[int, float] | None:
        """Tokens from step i to the end -> probability; None where that takes too long to list."""
        if t not in self._tails:
            self._tails[t] = _Tails(self, t)
        return self._tails[t].known(i, assignment)


class _TooMany(Exception):
    """Ends a listing that is too long: a signal, not an error."""


class _Recording(Mapping[str, str]):
    """An assignment that notes which slots were looked at."""

    def __init__(self, assignment: Mapping[str, str], seen: set[str]) -> None:
        self.assignment, self.seen = assignment, seen

    def __getitem__(self, name: str) -> str:
        value = self.assignment[name]
        self.seen.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        self.seen |= self.assignment.keys()
        return iter(self.assignment)

    def __len__(self) -> int:
        return len(self.assignment)


_TURN = threading.RLock()
"""Of what is remembered of templates: several threads score inputs by the same ones."""


class _Tails:
    """Lengths of what follows in one template, each found once for all assignments that agree on what it depends on."""

    def __init__(self, compiled: Compiled, t: int) -> None:
        self.compiled, self.steps, self.ranges = compiled, compiled.steps[t], compiled._ranges[t]
        self.memo: dict[tuple[int, frozenset[tuple[str, str]]], tuple[dict[int, float], frozenset[str]]] = {}
        self.depends: dict[int, set[frozenset[str]]] = {}
        self.branches, self.given_up = 0, -1

    def known(self, i: int, assignment: Mapping[str, str]) -> dict[int, float] | None:
        """Tokens from step i to the end -> probability; None where that takes too long to list."""
        with _TURN:
            if i <= self.given_up:
                return None
            self.branches = 0
            try:
                return self.lengths(i, assignment)[0]
            except _TooMany:
                self.given_up = i
                return None

    def lengths(self, i: int, assignment: Mapping[str, str]) -> tuple[dict[int, float], frozenset[str]]:
        """(tokens from step i to the end -> probability, slots before i that this depends on)."""
        span = self.ranges[i]
        if span is not None and span[0] == span[1]:
            return {span[0]: 1.0}, frozenset()
        for names in self.depends.get(i, ()):
            key = (i, frozenset((n, assignment[n]) for n in names))
            if key in self.memo:
                return self.memo[key]
        found, names = self._list(i, assignment)
        if len(self.memo) > MAX_BRANCHES:
            self.memo.clear()
        self.depends.setdefault(i, set()).add(names)
        self.memo[i, frozenset((n, assignment[n]) for n in names)] = found, names
        return found, names

    def _list(self, i: int, assignment: Mapping[str, str]) -> tuple[dict[int, float], frozenset[str]]:
        step = self.steps[i]
        if step.slot is None:
            tail, names = self.lengths(i + 1, assignment)
            return {k + len(step.tokens): p for k, p in tail.items()}, names
        seen: set[str] = set()
        allowed = step.slot.allowed(_Recording(assignment, seen))
        self.branches += len(allowed)
        if self.branches > MAX_BRANCHES:
            raise _TooMany
        total: dict[int, float] = {}
        for value in allowed:
            tail, names = self.lengths(i + 1, {**assignment, step.slot.name: value})
            seen |= names - {step.slot.name}
            size = len(self.compiled.words(value, step.bare)) if step.visible else 0
            for k, p in tail.items():
                total[k + size] = total.get(k + size, 0.0) + p / len(allowed)
        return total, frozenset(seen)
