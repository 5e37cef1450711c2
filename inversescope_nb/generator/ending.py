"""Where inputs end: the end token's probability is a decision of its own, and the other tokens share the rest.

A generator's rows end with a token that its backbone knows from the ends of documents, or not at all (stories260K gives
its EOS e^-28). Left to the gradient, raising that one logit is what is learned first, all else is moved on the way, and
a frozen backbone can hardly do it; and to end with probability p whatever else is likely, a backbone would have to know
the logsumexp of its own logits. So the log odds of the end take its logit's place, relative to all others,

    logit of the end = logsumexp of the others + odds(hidden, condition),

and come from a gated layer on what the head reads. They say much of what an activation says: at the token that it was
read at, an input like the picked one ends. Before training they are those of all tokens of P(X) alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from ..hooks import hooked
from .control import GatedControl

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


class Ending(nn.Module):
    """Log odds that an input ends behind a token, from what the backbone's head reads there and the condition.

    Args:
        d_model: width of the backbone's residual stream.
        width: width of the condition, all its tokens together.
        units: units of the layer.
        end_id: the token that stands for the end.
    """

    def __init__(self, d_model: int, *, width: int, units: int, end_id: int) -> None:
        super().__init__()
        self.control = GatedControl(d_model, width=width, units=units, d_out=1)
        self.usual = nn.Parameter(torch.zeros(1))  # FSDP splits no scalars
        self.end_id = end_id
        self.register_buffer("index", torch.tensor([end_id]), persistent=False)

    @torch.no_grad()
    def set_usual(self, inputs: Sequence[Sequence[int]]) -> None:
        """Sets the odds to those of all tokens of `inputs` alike: one of each ends it."""
        tokens = sum(map(len, inputs))
        self.usual.fill_(-math.log(max(1, tokens - len(inputs)) / len(inputs)))

    def forward(
        self, hidden: Float[Tensor, "n pos d_model"], parts: tuple[Tensor, ...], keep: Bool[Tensor, " n"] | None
    ) -> Float[Tensor, "n pos 1"]:
        """Log odds; `parts` from the control layer's :meth:`~.GatedControl.prepare`."""
        return self.control(hidden.to(self.usual), *parts, keep=keep) + self.usual

    def log_probs(
        self,
        logits: Float[Tensor, "n pos vocab"],
        targets: Int[Tensor, "n pos"],
        hidden: Float[Tensor, "n pos d_model"],
        parts: tuple[Tensor, ...],
        keep: Bool[Tensor, " n"] | None,
    ) -> Float[Tensor, "n pos"]:
        """log q of each target, nats, float32: whether it is the end, and if not, which of the other tokens.

        The same as the log-softmax of what :meth:`decided` makes of the logits, with fewer copies of them; `logits`
        are written to.
        """
        index = self.index.to(logits.device)
        odds = self(hidden, parts, keep).squeeze(-1).to(logits.device, torch.float32)
        is_end = targets == self.end_id
        other = targets.masked_fill(is_end, 0 if self.end_id else 1)  # where it is the end, any: it does not count
        others = logits.float()
        others.index_fill_(-1, index, -torch.inf)  # in place: no head needs its own logits to find its gradient
        among = -F.cross_entropy(others.flatten(0, 1), other.flatten(), reduction="none").view_as(odds)
        return torch.where(is_end, F.logsigmoid(odds), F.logsigmoid(-odds) + among)

    @contextmanager
    def read(self, backbone: nn.Module) -> Iterator[list[Tensor]]:
        """A list that holds, behind each of the backbone's forward passes in the block, what its head read."""
        read: list[Tensor] = []

        def remember(hidden: Tensor) -> None:
            read[:] = [hidden]

        with hooked(backbone.get_output_embeddings(), "in", remember):
            yield read

    @contextmanager
    def decided(
        self, backbone: nn.Module, parts: tuple[Tensor, ...], keep: Bool[Tensor, " n"] | None
    ) -> Iterator[None]:
        """Within the block the backbone's logits hold these odds."""

        def split(output: Any) -> None:
            logits = output.logits.float()  # a logsumexp of half precision would be off by a twentieth of a nat
            index = self.index.to(logits.device)
            others = logits.index_fill(-1, index, -torch.inf).logsumexp(-1, keepdim=True)
            odds = self(read[0], parts, keep).to(others)
            output.logits = logits.index_copy(-1, index, others + odds)

        # peft's `generate()` calls the model inside alone; what is done twice is the same as done once
        wholes = {backbone, getattr(backbone, "get_base_model", lambda: backbone)()}
        with self.read(backbone) as read, ExitStack() as stack:
            for whole in wholes:
                stack.enter_context(hooked(whole, "out", split))
            yield
