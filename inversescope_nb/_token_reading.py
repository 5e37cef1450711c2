"""What the quantities of every token are made of: all positions of a site at once, and all beginnings of a prompt.

Axis names: pos (tokens of one prompt, BOS counted), d (site width), n (inputs).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ._arguments import whole_number
from ._forward import forward_inputs
from .activations import capture
from .errors import InvalidArgument
from .generator.stopping import look, stoppable
from .hooks import evaluation_mode
from .sites import Site, make_site

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from .generator import Generator
    from .kernels import SiteStatistics
    from .models import LanguageModel

_LOGITS = 1 << 23  # that are in double precision at a time


def activations_at_all_tokens(
    lm: LanguageModel, ids: list[int], places: Sequence[Site], cancel: threading.Event | None = None
) -> dict[str, Float[Tensor, "pos d"]]:
    """Site name -> activations at every token, float32 on the CPU, from one forward pass."""
    row = torch.tensor([ids], device=lm.device)
    inputs = forward_inputs(lm, row, torch.tensor([len(ids)], device=lm.device))
    with (
        lm.lock,
        evaluation_mode(lm.model),
        torch.inference_mode(),
        stoppable(lm.architecture.blocks, cancel, "reading activations"),
        capture(lm, places, stop=True) as seen,
    ):
        lm.model(**inputs)
    # copied outside inference mode, so that they are ordinary tensors
    return {name: torch.empty(value.shape[1:]).copy_(value[0]) for name, value in seen.items()}


def units(gen: Generator | None, place: Site) -> SiteStatistics | None:
    """The units that a generator has for lengths at a site; None where there are none."""
    if gen is None or place.name not in gen.sites:
        return None
    statistics = gen.statistics(place.name)
    return None if statistics.is_constant or statistics.kernel.metric == "cosine" else statistics


def layer_before(lm: LanguageModel, place: Site) -> Site | None:
    """The site of the same kind (and head) one layer before; of layer 0's resid_post, what goes into that layer."""
    if place.layer:
        return make_site(lm, place.layer - 1, place.kind, place.head)
    return make_site(lm, 0, "resid_pre") if place.kind == "resid_post" else None


def window(start: int, stop: int | None, length: int) -> tuple[int, int]:
    """Start and stop of a slice of `length` tokens, counted from 0; raises where it is empty or outside.

    >>> window(-2, None, 5)
    (3, 5)
    """
    hint = f"allowed: start < stop, within 0 to {length}; negative ones count from the end"
    first = whole_number("start", start, hint=hint)
    last = length if stop is None else whole_number("stop", stop, hint=hint)
    first, last = (at + length if at < 0 else at for at in (first, last))
    if not 0 <= first < last <= length:
        raise InvalidArgument(f"start={start}, stop={stop} are no tokens of a prompt of {length}", hint=hint)
    return first, last


def log_prompts(lm: LanguageModel, gen: Generator, inputs: list[list[int]]) -> Float[np.ndarray, " n"]:
    """log P of each input, nats, P that of the generator; NaN where that cannot be known."""
    found = gen.prompts.log_probs(inputs, lm)
    if found is None:  # one of them, or more, cannot be known
        found = [gen.prompts.log_prob(x, lm) for x in inputs]
    return np.array([math.nan if p is None else p for p in found], dtype=np.float64)


@torch.inference_mode()
def log_prior(gen: Generator, ids: list[int], cancel: threading.Event | None = None) -> Float[np.ndarray, " pos"]:
    """log q(x_1..t, end | nothing) for every t, nats, from one forward pass; NaN where there is no such prior."""
    if not gen.has_prior:
        return np.full(len(ids), math.nan)
    row = gen.rows([ids])[0]
    seen, following = row[:, :-1], row[0, 1:]
    with gen.controlled(gen.no_condition(1)), stoppable(gen.architecture.blocks, cancel, "scoring"):
        logits = gen.backbone(input_ids=seen, attention_mask=torch.ones_like(seen), use_cache=False).logits[0]
    size = max(1, _LOGITS // gen.vocab_size)
    tokens, ends = [], []
    for part, then in zip(logits.split(size), following.to(logits.device).split(size), strict=True):
        look(cancel, "scoring")
        log_q = part.double().log_softmax(-1)
        tokens.append(log_q.gather(1, then[:, None])[:, 0].cpu())
        ends.append(log_q[:, gen.config.end_id].cpu())
    before = torch.cat([torch.zeros(1, dtype=torch.float64), *tokens])[:-1].cumsum(0)
    return (before + torch.cat(ends))[-len(ids) :].numpy()  # but for what ends at a start that is no part of the input
