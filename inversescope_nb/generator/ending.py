"""Where inputs end: a part of the end token's logit that a backbone from elsewhere does not have.

A generator's rows end with a token that its backbone knows from the ends of documents, or not at all (stories260K gives
its EOS e^-28). Left to the gradient, that one logit is learned first, all else is moved on the way, and a frozen
backbone can hardly move it. So a row of its own is added to the end's in the head, and set before training to the most
probable one by where inputs of P(X) end, given what the head reads, among rows like those of other tokens: a logistic
regression whose prior is the Gaussian of the head's rows. Then it learns like everything else.

Axis names: n (tokens of all inputs), d (backbone width), vocab.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from ..fingerprints import parameters_of
from ..hooks import hooked
from .stopping import look

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from .generator import Generator

log = logging.getLogger(__name__)
TOKENS = 1 << 16
"""Tokens of P(X), at most, that ends are learned from."""
_VALUES = 1 << 26  # of what the head reads that are held: a quarter of a gigabyte
_ROWS = 64
_ROUNDS = 100


class Ending(nn.Module):
    """A row that is added to the end's in the head, in units of the spread of the head's rows."""

    def __init__(self, d_model: int, end_id: int) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.zeros(d_model))
        self.register_buffer("spread", torch.ones(d_model))
        self.register_buffer("index", torch.tensor([end_id]), persistent=False)

    @contextmanager
    def added(self, head: nn.Module) -> Iterator[None]:
        """Within the block the end's logit has this part too."""
        read: list[Tensor] = []

        def remember(hidden: Tensor) -> None:
            read[:] = [hidden]

        def add(logits: Tensor) -> None:
            more = (read[0].to(self.row) @ (self.row * self.spread))[..., None]
            logits.index_add_(-1, self.index.to(logits.device), more.to(logits))  # in place: logits are large

        with hooked(head, "in", remember), hooked(head, "out", add):
            yield


@torch.no_grad()
def set_ending(
    generator: Generator, inputs: Sequence[Sequence[int]], cancel: threading.Event | None = None
) -> tuple[float, float]:
    """Sets an untrained generator's row from inputs of P(X), where that makes their ends more probable.

    Returns:
        Nats that the end costs an input, before and after.
    """
    ending, end = generator.ending, generator.config.end_id
    most, kept, total = min(TOKENS, max(1, _VALUES // len(ending.row))), [], 0
    for x in inputs:
        if kept and total + len(x) + 1 > most:
            break
        kept.append(x)
        total += len(x) + 1
    hidden, odds, ends = map(torch.cat, zip(*_states(generator, kept, cancel), strict=True))
    before = float(_cost(odds, ends)) / len(kept)
    rows = dict(parameters_of(generator.head))["weight"].to(hidden)
    spread = rows.std(0).clamp(min=1e-6)
    ending.spread.copy_(spread)
    centre = (rows.mean(0) - rows[end]) / spread  # a row like all others
    ending.row.copy_(_most_probable(hidden * spread, odds, ends, centre))
    after = sum(float(_cost(odds, ends)) for _, odds, ends in _states(generator, kept, cancel)) / len(kept)
    if not after < before:
        ending.row.zero_()
        after = before
    log.info("the end of an input costs %.2f nats, %.2f before its row was set", after, before)
    return before, after


def _cost(odds: Float[Tensor, " n"], ends: Bool[Tensor, " n"]) -> Float[Tensor, ""]:
    """Nats of all tokens' being the last or not, given the log odds that they are."""
    return F.binary_cross_entropy_with_logits(odds, ends.to(odds), reduction="sum")


def _states(
    generator: Generator, inputs: Sequence[Sequence[int]], cancel: threading.Event | None
) -> Iterator[tuple[Float[Tensor, "n d"], Float[Tensor, " n"], Bool[Tensor, " n"]]]:
    """Of batches: what the head reads, the log odds of an end behind each token, and whether the input ends there."""
    head, end = generator.head, generator.config.end_id
    device = generator.device if head.weight.is_meta else head.weight.device  # of offloaded weights hooks take care
    size = min(_ROWS, generator.rows_at_once(max(map(len, inputs)) + 1))
    ordered = sorted(inputs, key=len)
    for at in range(0, len(ordered), size):
        look(cancel, "learning where inputs end")
        ids, lengths = generator.rows(ordered[at : at + size])
        ids, lengths = ids[:, :-1].to(device), lengths.to(device) - 1  # nothing is behind it
        places = torch.arange(ids.shape[1], device=ids.device)
        real = places < lengths[:, None]
        read: list[Tensor] = []
        with ExitStack() as stack:
            stack.enter_context(hooked(head, "in", read.append))
            stack.enter_context(generator.ending.added(head))
            logits = generator.backbone(input_ids=ids, attention_mask=real.long(), use_cache=False).logits.float()
        of_end = logits[..., end].clone()
        logits[..., end] = -torch.inf
        odds, ends = of_end - logits.logsumexp(-1), places == lengths[:, None] - 1
        yield read[0][real].float(), odds[real], ends[real]


def _most_probable(
    hidden: Float[Tensor, "n d"], odds: Float[Tensor, " n"], ends: Bool[Tensor, " n"], centre: Float[Tensor, " d"]
) -> Float[Tensor, " d"]:
    """The row that, added to the log odds by way of `hidden`, says best where inputs end; its prior is N(centre, 1)."""
    with torch.enable_grad():
        row = centre.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([row], max_iter=_ROUNDS, line_search_fn="strong_wolfe")

        def cost() -> Tensor:
            optimizer.zero_grad()
            loss = (_cost(odds + hidden @ row, ends) + 0.5 * (row - centre).square().sum()) / len(hidden)
            loss.backward()
            return loss

        optimizer.step(cost)
    return row.detach()
