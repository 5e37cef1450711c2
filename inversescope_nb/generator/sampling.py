"""Draws from a generator by Hugging Face's own ``generate()``: at temperature 1, with nothing cut off.

Whatever a model's own sampling defaults say (top-k, repetition penalty, a forced token) is left out: the samples
are draws from q, so that log q is what the same network says of them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import torch

from .._draws import draw_tokens, refuse_nan
from ..errors import Cancelled, InvalidArgument

if TYPE_CHECKING:
    from torch import Tensor

    from .generator import Condition, Generator


class _Stop:
    """A stopping criterion of `generate()`: every row is done once the event is set."""

    def __init__(self, event: threading.Event) -> None:
        self.event = event

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        return torch.full((len(input_ids),), self.event.is_set(), device=input_ids.device, dtype=torch.bool)


class _Draw:
    """A logits processor of `generate()`: sets one score a row, drawn with a generator of its own, above all others.

    What `do_sample=True` does, without touching the random state that other threads draw from, and with one random
    number a row (:func:`.draw_tokens`).
    """

    def __init__(self, rng: torch.Generator) -> None:
        self.rng = rng
        self.broken = torch.zeros((), dtype=torch.bool, device=rng.device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        probabilities = scores.softmax(-1, dtype=torch.float32)
        self.broken |= probabilities[:, 0].isnan().any().to(self.broken.device)
        return scores.scatter_(1, draw_tokens(probabilities, self.rng), torch.inf)  # `generate()` copied them


@torch.inference_mode()
def sample(
    generator: Generator, condition: Condition, n: int, *, seed: int, cancel: threading.Event | None = None
) -> list[tuple[list[int], bool]]:
    """`n` draws for each row of the condition; see :meth:`Generator.sample`."""
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    if n < 1:
        raise InvalidArgument(f"n={n} must be at least 1")
    frame, device = generator.config, generator.device
    condition = condition.repeat(n)
    start = torch.full((len(condition), 1), frame.start_id, device=device)
    plain = GenerationConfig(
        do_sample=False, repetition_penalty=1.0, no_repeat_ngram_size=0, num_beams=1, num_return_sequences=1,
        use_cache=True, max_new_tokens=frame.max_length, eos_token_id=frame.end_id, pad_token_id=frame.end_id,
        bos_token_id=frame.start_id, renormalize_logits=False, remove_invalid_values=False,
    )  # fmt: skip
    stop = None if cancel is None else StoppingCriteriaList([_Stop(cancel)])
    draw = _Draw(torch.Generator(device).manual_seed(seed))
    with generator.controlled(condition):
        ids = generator.backbone.generate(
            start, attention_mask=torch.ones_like(start), generation_config=plain,
            logits_processor=LogitsProcessorList([draw]), stopping_criteria=stop,
        )  # fmt: skip
    if cancel is not None and cancel.is_set():
        raise Cancelled("sampling was stopped")
    refuse_nan(draw.broken)
    return [generator.unframed(row) for row in ids.tolist()]
