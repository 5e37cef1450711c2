"""The control layer: how a backbone's blocks see the condition, behind their self-attention.

Two kinds. *Gated* (the default): a hidden layer beside the block's own, whose units the condition scales one by one,
so that what was read so far and what the activation says meet in products; a product is what the posterior asks for,
since log k is the inner product of the picked activation with that of the input. *Attention*: queries
from the hidden state, keys and values from condition tokens and one learned null token.

In both an output gate that starts at zero makes an untrained generator the backbone itself, a dropped condition is a
learned one, and what depends on the condition alone is computed once a call, not once a token.
Axis names: n (rows), pos (tokens), token (condition tokens), c (condition width), h (heads), e (head width), unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from .config import GeneratorConfig


_GATE_SPEED = 20.0  # Adam moves every parameter by its learning rate: unscaled gates would open in hundreds of steps


@dataclass(frozen=True)
class Condition:
    """What every control layer knows of the condition, for a batch of rows."""

    parts: tuple[tuple[Tensor, ...], ...]
    """A block's own, each [n, ...]: scales of its units, or keys and values; behind them those of the end's layer."""
    keep: Tensor | None = None
    """[n] booleans: rows that see their condition; None: all."""

    def __len__(self) -> int:
        return len(self.parts[0][0])

    def repeat(self, times: int) -> Condition:
        """Every row `times` times, one after the other; a single one is not copied."""
        if len(self) == 1:
            return self.rows(slice(0, 1), times)
        parts = tuple(tuple(x.repeat_interleave(times, 0) for x in block) for block in self.parts)
        return Condition(parts, None if self.keep is None else self.keep.repeat_interleave(times, 0))

    def rows(self, part: slice, n: int) -> Condition:
        """`n` of the rows; or the only row `n` times."""
        part = part if len(self) > 1 else slice(0, 1)
        parts = tuple(tuple(x[part].expand(n, *x.shape[1:]) for x in block) for block in self.parts)
        return Condition(parts, None if self.keep is None else self.keep[part].expand(n))


def make_control(config: GeneratorConfig, d_model: int) -> GatedControl | AttentionControl:
    """The control layer of one block of a backbone of width `d_model`."""
    if config.control == "gated":
        return GatedControl(d_model, width=config.width * config.n_tokens, units=config.units)
    return AttentionControl(d_model, width=config.width, n_heads=config.n_heads)


class GatedControl(nn.Module):
    """One block's hidden layer with units scaled by the condition: out(gelu(W norm(hidden)) * C condition).

    Args:
        d_model: width of the backbone's residual stream.
        width: width of the condition, all its tokens together.
        units: units of the layer.
        d_out: width of what comes out; None: `d_model`.
    """

    def __init__(self, d_model: int, *, width: int, units: int, d_out: int | None = None) -> None:
        super().__init__()
        d_out = d_model if d_out is None else d_out
        self.norm = nn.LayerNorm(d_model)
        self.units = nn.Linear(d_model, units)
        self.scales = nn.Linear(width, units)
        self.null = nn.Parameter(torch.zeros(1, units))
        self.o = nn.Linear(units, d_out, bias=False)
        self.gate = nn.Parameter(torch.zeros(d_out))

    def prepare(self, condition: Float[Tensor, "n token c"]) -> tuple[Float[Tensor, "n unit"]]:
        """The scale of every unit; without any token, those of a dropped condition."""
        if condition.shape[1] == 0:
            return (self.null.expand(len(condition), -1),)
        return (self.scales(condition.flatten(1)),)

    def forward(
        self,
        hidden: Float[Tensor, "n pos d_model"],
        scales: Float[Tensor, "n unit"],
        *,
        keep: Bool[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n pos d_out"]:
        """What is added to the residual stream.

        Args:
            hidden: the residual stream behind self-attention.
            scales: from :meth:`prepare`.
            keep: rows that see their condition; the others see a dropped one. None: all.
        """
        scales = scales.to(hidden)
        if keep is not None:
            scales = torch.where(keep.to(hidden.device)[:, None], scales, self.null)
        return self.o(F.gelu(self.units(self.norm(hidden))) * scales[:, None]) * (_GATE_SPEED * self.gate)


class AttentionControl(nn.Module):
    """One block's cross-attention to the condition tokens and a learned null token.

    Args:
        d_model: width of the backbone's residual stream.
        width: condition width c.
        n_heads: attention heads; must divide `d_model`.
    """

    def __init__(self, d_model: int, *, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(d_model)
        self.q = nn.Linear(d_model, d_model, bias=False)
        self.kv = nn.Linear(width, 2 * d_model, bias=False)
        self.null = nn.Parameter(torch.randn(1, 1, width) * 0.5)
        self.o = nn.Linear(d_model, d_model, bias=False)
        self.gate = nn.Parameter(torch.zeros(d_model))

    def prepare(
        self, condition: Float[Tensor, "n token c"]
    ) -> tuple[Float[Tensor, "n h token+1 e"], Float[Tensor, "n h token+1 e"]]:
        """Keys and values of the null token and the condition tokens."""
        tokens = torch.cat([self.null.expand(len(condition), -1, -1), condition], 1)
        k, v = self.kv(tokens).chunk(2, -1)
        return self._split(k), self._split(v)

    def forward(
        self,
        hidden: Float[Tensor, "n pos d_model"],
        k: Float[Tensor, "n h token+1 e"],
        v: Float[Tensor, "n h token+1 e"],
        *,
        keep: Bool[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n pos d_model"]:
        """What is added to the residual stream.

        Args:
            hidden: the residual stream behind self-attention.
            k, v: from :meth:`prepare`.
            keep: rows that see their condition; the others see the null token alone. None: all.
        """
        mask = None
        if keep is not None:
            mask = keep[:, None, None, None].expand(-1, 1, 1, k.shape[2]).clone()
            mask[..., 0] = True
        q = self._split(self.q(self.norm(hidden)))
        found = F.scaled_dot_product_attention(q, k.to(q), v.to(q), attn_mask=mask)
        return self.o(found.transpose(1, 2).flatten(2)) * (_GATE_SPEED * self.gate)

    def _split(self, x: Float[Tensor, "n pos d_model"]) -> Float[Tensor, "n h pos e"]:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
