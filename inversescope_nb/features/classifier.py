"""A feature whose labels a classifier gives: a Hugging Face pipeline, or anything that is called like one.

transformers is not imported: whoever has a pipeline has it already.
"""

from __future__ import annotations

import math
import numbers
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from .._arguments import whole_number
from ..errors import InvalidArgument
from .base import Feature
from .text import InputText

_KEPT = 100_000  # texts whose labels are kept
_TASKS = ("text-classification", "sentiment-analysis")
_SHAPE = "one {'label': ..., 'score': ...} for each text, or a list of those for each (top_k=None)"


def from_classifier(
    pipeline: Callable[..., Sequence[Any]], *, name: str, threshold: float | None = None, batch_size: int = 32
) -> Feature:
    """What a text classifier calls a text: the label with the highest score; undefined where that is too low.

    Each text is classified once and its label kept. The pipeline gets many texts at a time; padded in a batch a text
    may get a score that differs in its last digits, so a near tie can fall either way.

    Args:
        pipeline: ``transformers.pipeline("text-classification", ...)``, or a function from a list of texts to as many
            results as such a pipeline gives. Long inputs: make the pipeline with ``truncation=True``.
        name: what tables call it.
        threshold: the least score of the highest label, for the label to count; None: it always counts.
        batch_size: texts at a time.

    Raises:
        InvalidArgument: it is no pipeline, or one for something else than text classification.
        FeatureError: when called, if the pipeline raises or returns something else.

    >>> def shouting(texts):
    ...     return [{"label": "loud" if text.isupper() else "calm", "score": 0.6 + 0.1 * len(text)} for text in texts]
    >>> mood = from_classifier(shouting, name="mood", threshold=0.8)
    >>> mood.labels(["HEY", "hey", "a"]), mood.undefined
    (['loud', 'calm', None], 'texts whose highest score is below 0.8')
    """
    if not callable(pipeline):
        raise InvalidArgument(
            f"pipeline is a {type(pipeline).__name__}, which cannot be called",
            hint="transformers.pipeline('text-classification', model) makes one",
        )
    task = getattr(pipeline, "task", None)
    if isinstance(task, str) and task not in _TASKS:
        raise InvalidArgument(f"this is a pipeline for {task!r}", hint=f"allowed: {_TASKS[0]}")
    if threshold is not None and not (
        isinstance(threshold, numbers.Real) and not isinstance(threshold, bool) and math.isfinite(threshold)
    ):
        raise InvalidArgument(f"threshold={threshold!r:.60}", hint="give a number such as 0.8, or None")
    batch_size = whole_number("batch_size", batch_size, least=1, hint="32 is usual, 1 needs no padding")
    least = -math.inf if threshold is None else float(threshold)
    return Feature(
        name,
        None,
        f"what a classifier calls the text{'' if threshold is None else f', from a score of {least:g} on'}",
        batch=_Classified(pipeline, least, batch_size),
        undefined="" if threshold is None else f"texts whose highest score is below {least:g}",
    )


class _Classified:
    """Labels of texts, each asked for once."""

    def __init__(self, pipeline: Callable[..., Sequence[Any]], least: float, batch_size: int) -> None:
        self._pipeline, self._least, self._batch_size = pipeline, least, batch_size
        # A pipeline of transformers batches by itself, one by one unless it is told how many at a time.
        self._batches = hasattr(pipeline, "tokenizer") and hasattr(pipeline, "model")
        self._kept: dict[str, Hashable | None] = {}
        self._turn = threading.Lock()

    def __call__(self, texts: Sequence[InputText]) -> list[Hashable | None]:
        wanted = dict.fromkeys(map(str, texts))
        with self._turn:
            known = {text: self._kept[text] for text in wanted if text in self._kept}
        new = [text for text in wanted if text not in known]
        known.update(zip(new, self._ask(new), strict=True))
        with self._turn:
            for text in new:
                while len(self._kept) >= _KEPT:  # the oldest go
                    del self._kept[next(iter(self._kept))]
                self._kept[text] = known[text]
        return [known[str(text)] for text in texts]

    def _ask(self, texts: list[str]) -> list[Hashable | None]:
        """The labels of texts that are not known yet."""
        if not texts:
            return []
        if self._batches:
            results = self._pipeline(texts, batch_size=self._batch_size)
            return self._read(results, len(texts))
        found = []
        for at in range(0, len(texts), self._batch_size):
            some = texts[at : at + self._batch_size]
            found += self._read(self._pipeline(some), len(some))
        return found

    def _read(self, results: Any, n: int) -> list[Hashable | None]:
        if not isinstance(results, list | tuple) or len(results) != n:
            count = f" of {len(results)}" if hasattr(results, "__len__") else ""
            raise ValueError(f"the classifier returned a {type(results).__name__}{count} for {n} texts, not {_SHAPE}")
        return [self._label(result) for result in results]

    def _label(self, result: Any) -> Hashable | None:
        """The label with the highest score, the first of equal ones."""
        scored = [result] if isinstance(result, Mapping) else result
        right = isinstance(scored, list | tuple) and all(
            isinstance(one, Mapping) and {"label", "score"} <= one.keys() for one in scored
        )
        if not right or not scored:
            raise ValueError(f"the classifier returned {result!r:.80} for a text, not {_SHAPE}")
        if any(math.isnan(one["score"]) for one in scored):
            raise ValueError(f"the classifier returned a score that is no number: {result!r:.80}")
        best = max(scored, key=lambda one: one["score"])
        return best["label"] if best["score"] >= self._least else None
