"""Where inputs end, said by a backbone that was never asked.

A generator's rows end with a token that its backbone knows from elsewhere: from the ends of documents, or not at all
(stories260K gives its EOS e^-28). Left to the gradient, that one logit is what a copy of the target learns first, and
all else is moved on the way. So the token's row of the head is set before training: to the most probable one by where
inputs of P(X) end, given the hidden states in front of the head, among rows like the others (a logistic regression
whose prior is the Gaussian of the head's rows).

Axis names: n (tokens of all inputs), d (backbone width), vocab.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ..hooks import hooked
from .stopping import look

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from .generator import Generator

log = logging.getLogger(__name__)
TOKENS = 1 << 16
"""Tokens of P(X), at most, that ends are learned from."""
_VALUES = 1 << 26  # of hidden states that are held: a quarter of a gigabyte
_ROWS = 64
_ROUNDS = 100


def can_be_set(generator: Generator) -> bool:
    """Whether the end's row is its own to set: a head that learns, and no row that inputs begin with as well."""
    head, embedding = generator.backbone.get_output_embeddings(), generator.backbone.get_input_embeddings()
    if head is None or not head.weight.requires_grad or head.weight.ndim != 2:
        return False
    config = generator.config
    return head.weight is not embedding.weight or config.end_id != config.start_id


@torch.no_grad()
def set_end(
    generator: Generator, inputs: Sequence[Sequence[int]], cancel: threading.Event | None = None
) -> tuple[float, float] | None:
    """Sets the end's row of the head from inputs of P(X), where that makes their ends more probable.

    Returns:
        Nats that the end costs an input, before and after; None where the row cannot be set.
    """
    if not can_be_set(generator):
        return None
    head = generator.backbone.get_output_embeddings()
    row = head.weight[generator.config.end_id]
    most, kept, total = min(TOKENS, max(1, _VALUES // len(row))), [], 0
    for x in inputs:
        if kept and total + len(x) + 1 > most:
            break
        kept.append(x)
        total += len(x) + 1
    hidden, others, logits, ends = map(torch.cat, zip(*_states(generator, kept, cancel), strict=True))
    old, n = row.clone(), len(kept)
    before = float(_cost(logits - others, ends)) / n
    row.copy_(_fitted(hidden, logits - hidden @ old.float(), others, ends, head.weight))
    after = sum(float(_cost(z - o, e)) for _, o, z, e in _states(generator, kept, cancel)) / n
    if not after < before:
        row.copy_(old)
        after = before
    log.info("the end of an input costs %.2f nats, %.2f before its row was set", after, before)
    return before, after


def _cost(odds: Float[Tensor, " n"], ends: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
    """Nats of all tokens' being ends or not, given the log odds that they are."""
    return F.binary_cross_entropy_with_logits(odds.double(), ends.double(), reduction="sum")


def _states(
    generator: Generator, inputs: Sequence[Sequence[int]], cancel: threading.Event | None
) -> Iterator[tuple[Float[Tensor, "n d"], Float[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, " n"]]]:
    """Of batches: what the head reads, all other tokens' logsumexp, the end's logit, and whether the input ends."""
    head, end = generator.backbone.get_output_embeddings(), generator.config.end_id
    size = min(_ROWS, generator.rows_at_once(max(map(len, inputs)) + 1))
    ordered = sorted(inputs, key=len)
    for at in range(0, len(ordered), size):
        look(cancel, "setting the end's row")
        ids, lengths = generator.rows(ordered[at : at + size])
        ids, lengths = ids[:, :-1].to(head.weight.device), lengths.to(head.weight.device) - 1  # nothing is behind it
        places = torch.arange(ids.shape[1], device=ids.device)
        real = places < lengths[:, None]
        read: list[Tensor] = []
        with hooked(head, "in", lambda hidden, read=read: read.append(hidden)):
            logits = generator.backbone(input_ids=ids, attention_mask=real.long(), use_cache=False).logits.float()
        of_end = logits[..., end].clone()
        logits[..., end] = -torch.inf
        ends = places == lengths[:, None] - 1
        yield read[0][real].float(), logits.logsumexp(-1)[real], of_end[real], ends[real]


def _fitted(
    hidden: Float[Tensor, "n d"],
    rest: Float[Tensor, " n"],
    others: Float[Tensor, " n"],
    ends: Bool[Tensor, " n"],
    rows: Float[Tensor, "vocab d"],
) -> Float[Tensor, " d"]:
    """The most probable row: ends' log odds are hidden @ row + rest - others."""
    mean, spread = rows.float().mean(0), rows.float().std(0).clamp(min=1e-6)
    with torch.enable_grad():
        moved = torch.zeros_like(mean, requires_grad=True)  # in units of the spread
        optimizer = torch.optim.LBFGS([moved], max_iter=_ROUNDS, line_search_fn="strong_wolfe")

        def cost() -> Tensor:
            optimizer.zero_grad()
            odds = hidden @ (mean + spread * moved) + rest - others
            loss = F.binary_cross_entropy_with_logits(odds, ends.float(), reduction="sum") + 0.5 * moved @ moved
            (loss / len(hidden)).backward()
            return loss / len(hidden)

        optimizer.step(cost)
    return mean + spread * moved.detach()
