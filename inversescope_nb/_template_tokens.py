"""Templates in a tokenizer's ids, where that can be done word by word, which is checked on every value.

A tokenizer that splits at spaces writes a text as its words in a row, each with the space before it (byte-level
BPE) or without (word-level, SentencePiece). Where neither holds for some text, there is no compiled form: inputs
are then drawn by encoding whole texts, and not scored.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ._template_walk import Compiled, Tokens
from .cuts import n_bos
from .errors import Cancelled
from .prompts import PIECE

if TYPE_CHECKING:
    from .models import LanguageModel
    from .templates import Template

FIRST = 16
"""Texts that are compared first: mostly they show at once what kind of tokenizer it is."""


def compiled_for(
    templates: Sequence[Template], lm: LanguageModel, cancel: threading.Event | None = None
) -> Compiled | None:
    """The templates in a model's token ids; None where its tokenizer does not write a text word by word.

    `cancel` is looked at every few texts; `Cancelled` is raised.
    """
    for prefix in (" ", ""):

        def pieces(word: str, bare: bool, prefix: str = prefix) -> Tokens:
            return tuple(lm.tokenizer(word if bare else prefix + word, add_special_tokens=False)["input_ids"])

        compiled = Compiled(templates, pieces)
        if all(_agrees(compiled, block, lm) for block in _blocks(_probes(templates), cancel)):
            return compiled
    return None


def _blocks(items: Iterator[Any], cancel: threading.Event | None) -> Iterator[list[Any]]:
    """The items in lists, the first of them short."""
    size = FIRST
    while block := list(itertools.islice(items, size)):
        if cancel is not None and cancel.is_set():
            raise Cancelled("drawing inputs was stopped")
        yield block
        size = PIECE


def _agrees(compiled: Compiled, block: list[tuple[int, dict[str, str]]], lm: LanguageModel) -> bool:
    """Whether filled templates are rendered as the tokenizer writes them."""
    rows = lm.encode([compiled.templates[t].write(filled)[0] for t, filled in block]).rows()
    bos = n_bos(lm)
    return all(row[bos:] == compiled.render(t, filled)[0] for row, (t, filled) in zip(rows, block, strict=True))


def _probes(templates: Sequence[Template]) -> Iterator[tuple[int, dict[str, str]]]:
    """Fillings of every template, and one with every value of every slot."""
    rng, seen = random.Random(0), set()
    for t, template in enumerate(templates):
        for _ in range(4):
            filled = template.fill(rng)
            yield t, filled
        for slot in template.slots:
            for value in slot.all_values() if slot.name in template.visible else ():
                if value not in seen:
                    seen.add(value)
                    yield t, {**filled, slot.name: value}
