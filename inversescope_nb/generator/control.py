"""The control layer: cross-attention to condition tokens, behind the self-attention of every block.

Queries come from the hidden state, keys and values from the condition tokens and one learned null token;
a gate that starts at zero makes an untrained generator the backbone itself. Dropping the condition masks
every key but the null token's. Keys and values are computed once a call, not once a token.
Axis names: n (rows), pos (tokens), token (condition tokens), h (heads), e (head width).
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


_GATE_SPEED = 20.0  # Adam moves every parameter by its learning rate: unscaled gates would open in hundreds of steps


@dataclass(frozen=True)
class Condition:
    """Keys and values of every control layer for a batch of rows."""

    keys_values: tuple[tuple[Tensor, Tensor], ...]
    """A pair a block, each [n, h, token + 1, e]."""
    keep: Tensor | None = None
    """[n] booleans: rows that see their condition; None: all."""

    def __len__(self) -> int:
        return len(self.keys_values[0][0])

    def repeat(self, times: int) -> Condition:
        """Every row `times` times, one after the other; a single one is not copied."""
        if len(self) == 1:
            return self.rows(slice(0, 1), times)
        pairs = tuple((k.repeat_interleave(times, 0), v.repeat_interleave(times, 0)) for k, v in self.keys_values)
        return Condition(pairs, None if self.keep is None else self.keep.repeat_interleave(times, 0))

    def rows(self, part: slice, n: int) -> Condition:
        """`n` of the rows; or the only row `n` times."""
        part = part if len(self) > 1 else slice(0, 1)
        pairs = tuple((k[part].expand(n, -1, -1, -1), v[part].expand(n, -1, -1, -1)) for k, v in self.keys_values)
        return Condition(pairs, None if self.keep is None else self.keep[part].expand(n))


class ControlLayer(nn.Module):
    """One block's cross-attention to the condition.

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

    def keys_values(
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
        keep: Bool[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n pos d_model"]:
        """What is added to the residual stream.

        Args:
            hidden: the residual stream behind self-attention.
            k, v: from :meth:`keys_values`.
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
