"""Templates as a prompt distribution, with the exact probability of every (cut) input.

Given token ids, the probability is found by walking every template along them: literal tokens must match, a slot
branches over the values that match, and what lies behind the cut is summed over. So log P(x) is exact, duplicates
included, and the same walk parses a text into labels. It needs a tokenizer that writes a text as its words in a row,
which is checked on every value; with another one inputs are drawn but not scored.
"""

from __future__ import annotations

import functools
import hashlib
import math
import numbers
import random
import re
import threading
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._arguments import check_model, draw_count
from ._template_tokens import compiled_for
from ._template_walk import SLOT, Compiled, Reading
from .cuts import check_cut, cut_weights, n_bos
from .errors import InvalidArgument, NotEnumerable, suggest
from .prompts import Prompt, PromptDistribution
from .templates import Slot, Template

if TYPE_CHECKING:
    from .models import LanguageModel

_WORD = re.compile(r"\w+|[^\w\s]")


class TemplatePrompts(PromptDistribution):
    """Filled templates; see :meth:`PromptDistribution.from_templates`."""

    def __init__(
        self, templates: Sequence[Template], *, name: str, cut: str, spec: Mapping[str, Any] | None = None
    ) -> None:
        weights = [t.weight for t in templates]
        if not weights or not all(isinstance(w, numbers.Real) and math.isfinite(w) and w > 0 for w in weights):
            raise InvalidArgument(f"{name}: needs at least one template, each with a weight > 0", hint="1.0 is usual")
        self.templates, self.name, self.cut = tuple(templates), name, check_cut(cut)
        lacking = [t for t in templates if cut.startswith("slot:") and cut[5:] not in t.visible]
        if lacking:
            raise InvalidArgument(
                f"{name}: template {lacking[0].text!r} has no slot {cut[5:]!r} to be cut at",
                hint=f"its slots: {', '.join(lacking[0].visible) or 'none'}",
            )
        self._spec = dict(spec) if spec is not None else None
        self._compiled: dict[str, Compiled | None] = {}
        self._parsed = functools.lru_cache(maxsize=16_384)(super().parse)  # several features read one text

    @classmethod
    def build(
        cls, templates: Sequence[str | Template], slots: Mapping[str, Sequence[str]], *, name: str, cut: str
    ) -> TemplatePrompts:
        """From texts with a table of slot values, or from ready :class:`Template` objects."""
        if isinstance(templates, (str, Template)):
            raise InvalidArgument("one template was given, not a list", hint="give a list: [template]")
        if not isinstance(templates, Sequence):
            raise InvalidArgument(f"templates is a {type(templates).__name__}", hint="give a list: [template]")
        made = []
        for template in templates:
            if isinstance(template, Template):
                made.append(template)
                continue
            if not isinstance(template, str):
                raise InvalidArgument(f"a template cannot be a {type(template).__name__}", hint="'{A} likes {B} .'")
            if not isinstance(slots, Mapping):
                raise InvalidArgument(f"slots is a {type(slots).__name__}", hint="slots={'NAME': ['a', 'b']}")
            names = SLOT.findall(template)
            missing = [n for n in names if n not in slots]
            if missing:
                raise InvalidArgument(
                    f"template {template!r}: no values for {missing}.{suggest(missing[0], slots)}",
                    hint="slots={'NAME': ['a', 'b']}",
                )
            made.append(Template(template, tuple(Slot(n, _as_tuple(slots[n])) for n in names)))
        if any(isinstance(t, Template) for t in templates):
            return cls(made, name=name, cut=cut)
        spec = {"kind": "templates", "name": name, "cut": cut, "templates": list(templates)}
        return cls(made, name=name, cut=cut, spec={**spec, "slots": {k: list(v) for k, v in slots.items()}})

    def _choose(self, n: int, rng: random.Random) -> list[int]:
        return rng.choices(range(len(self.templates)), [t.weight for t in self.templates], k=draw_count(n))

    def sample(self, n: int, *, seed: int) -> list[Prompt]:
        rng = random.Random(seed)
        return [self.templates[t].prompt(self.templates[t].fill(rng)) for t in self._choose(n, rng)]

    def draw(self, n: int, lm: LanguageModel, *, seed: int, cancel: threading.Event | None = None) -> list[list[int]]:
        compiled = self.compiled(lm, cancel)
        if compiled is None:
            return super().draw(n, lm, seed=seed, cancel=cancel)
        rng, out = random.Random(seed), []
        bos = [lm.text_bos_id] * n_bos(lm)
        for t in self._choose(n, rng):
            tokens, ends = compiled.render(t, self.templates[t].fill(rng))
            weights = cut_weights(self.cut, len(tokens), ends)
            out.append(bos + tokens[: rng.choices(list(weights), list(weights.values()))[0]])
        return out

    def longest(self, lm: LanguageModel) -> int:
        compiled = self.compiled(lm)
        known = None if compiled is None else compiled.longest()
        return super().longest(lm) if known is None else known + n_bos(lm)

    def at_least(self, lm: LanguageModel) -> int:
        compiled = self.compiled(lm)
        last = self.cut[5:] if self.cut.startswith("slot:") else None
        return 1 if compiled is None else compiled.at_least(last)

    def compiled(self, lm: LanguageModel, cancel: threading.Event | None = None) -> Compiled | None:
        """The templates in this model's ids; None where words cannot be tokenized one by one; `cancel` ends it."""
        check_model(lm)
        if lm.tokenizer_hash not in self._compiled:
            self._compiled[lm.tokenizer_hash] = compiled_for(self.templates, lm, cancel)
        return self._compiled[lm.tokenizer_hash]

    def log_prob(self, token_ids: Sequence[int], lm: LanguageModel) -> float | None:
        compiled = self.compiled(lm)
        if compiled is None:
            return None
        bos = n_bos(lm)
        ids = tuple(token_ids[bos:])
        if not ids or (bos and token_ids[0] != lm.text_bos_id):
            return -math.inf
        total = 0.0
        for reading in compiled.readings(ids):
            p_cut = self._cut_prob(compiled, reading, len(ids))
            if p_cut is None:
                return None
            total += reading.p * p_cut
        return math.log(total) if total > 0 else -math.inf

    def _cut_prob(self, compiled: Compiled, reading: Reading, kept: int) -> float | None:
        """Probability that the prompt of this reading is cut just here."""
        steps = compiled.steps[reading.t]
        step = steps[reading.step]
        last = _is_last(compiled, reading)
        slot = step.slot.name if reading.whole and step.slot is not None else None
        if self.cut == "end":
            return float(last)
        if self.cut.startswith("slot:"):
            return float(slot == self.cut[5:])
        at_slots = ((slot is not None) + last) / (len(self.templates[reading.t].visible) + 1)
        if self.cut == "slots":
            return at_slots
        tails = compiled.tail_lengths(reading.t, reading.step + 1, reading.assignment)
        if tails is None:
            return None
        at_random = sum(p / (kept + reading.overhang + tail) for tail, p in tails.items())
        return at_random if self.cut == "random" else (at_slots + at_random) / 2

    def enumerate(self) -> Iterator[tuple[Prompt, float]]:
        for t, assignment, p in self._fillings():
            yield self.templates[t].prompt(assignment), p

    def _rows(self, lm: LanguageModel) -> Iterator[tuple[tuple[int, ...], list[tuple[str, int]], float]]:
        compiled = self.compiled(lm)
        if compiled is None:
            yield from super()._rows(lm)
            return
        bos = (lm.text_bos_id,) * n_bos(lm)
        for t, assignment, p in self._fillings():
            tokens, ends = compiled.render(t, assignment)
            yield (*bos, *tokens), ends, p

    def _fillings(self) -> Iterator[tuple[int, dict[str, str], float]]:
        """(template, slots, probability) of every filling that shows in the text."""
        total = sum(t.weight for t in self.templates)
        for t, template in enumerate(self.templates):
            needed = _needed(template)
            stack: list[tuple[dict[str, str], float]] = [({}, template.weight / total)]
            while stack:
                assignment, p = stack.pop()
                if len(assignment) == len(needed):
                    yield t, assignment, p
                    continue
                slot = needed[len(assignment)]
                allowed = slot.allowed(assignment)
                stack.extend(({**assignment, slot.name: v}, p / len(allowed)) for v in reversed(allowed))

    @functools.cached_property
    def _in_words(self) -> Compiled:
        return Compiled(self.templates, lambda word, bare: tuple(_WORD.findall(word)))

    @functools.cached_property
    def _in_characters(self) -> Compiled:
        return Compiled(self.templates, lambda word, bare: tuple(word if bare else " " + word))

    def parse(self, text: str) -> dict[str, Hashable] | None:
        found = self._parsed(text)
        return None if found is None else dict(found)

    def readings(self, text: str) -> list[tuple[dict[str, Hashable], bool]]:
        compiled, found = self._read(text)
        return [self._labels(compiled, reading) for reading in found]

    def _read(self, text: str) -> tuple[Compiled, list[Reading]]:
        """Every way in which the templates can make a text or its beginning, in words or else in characters."""
        compiled, found = self._in_words, list(self._in_words.readings(tuple(_WORD.findall(text))))
        if not found:  # the cut may stand inside a word
            compiled, found = self._in_characters, list(self._in_characters.readings(tuple(text.strip())))
        return compiled, [reading for reading in found if reading.step >= 0]

    def _slots_at_end(self, text: str) -> set[str | None]:
        compiled, found = self._read(text)
        ends = [(compiled.steps[reading.t][reading.step].slot, reading.whole) for reading in found]
        return {slot.name if slot is not None and whole else None for slot, whole in ends}

    def cut_at(self, cut: str) -> PromptDistribution:
        spec = None if self._spec is None else {**self._spec, "cut": cut}
        found = TemplatePrompts(self.templates, name=self.name, cut=cut, spec=spec)
        found._compiled = self._compiled  # in which nothing depends on the cut
        return found

    def _labels(self, compiled: Compiled, reading: Reading) -> tuple[dict[str, Hashable], bool]:
        """What a reading shows, and whether it is a whole prompt; a slot that is there in part does not count."""
        slot = compiled.steps[reading.t][reading.step].slot
        part = None if reading.whole or slot is None else slot.name
        known = {k: v for k, v in reading.assignment.items() if k != part}
        return self.templates[reading.t].label(known), _is_last(compiled, reading)

    def to_spec(self) -> dict[str, Any]:
        if self._spec is None:
            raise NotEnumerable(
                f"{self.name} is made of Python functions and has no specification",
                hint="build it from texts and a table of slot values, or pass it again as prior=",
            )
        return self._spec

    @property
    def fingerprint(self) -> str:
        parts = [self.cut, *(f"{t.text} {t.weight}" for t in self.templates)]
        parts += ["|".join(s.values) for t in self.templates for s in t.slots if not callable(s.values)]
        parts += [p.text for p in self.sample(64, seed=0)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _as_tuple(values: Sequence[str]) -> Sequence[str]:
    """A list as a tuple; what is none stays as it is, for `Slot` to refuse."""
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else values


def _is_last(compiled: Compiled, reading: Reading) -> bool:
    """Whether a reading is a whole prompt."""
    return reading.whole and reading.step == len(compiled.steps[reading.t]) - 1


def _needed(template: Template) -> list[Slot]:
    """The slots that are in the text, or that one in the text may depend on."""
    last = max((i for i, s in enumerate(template.slots) if s.name in template.visible), default=-1)
    return list(template.slots[: last + 1])
