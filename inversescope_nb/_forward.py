"""A forward pass in which padding changes nothing, and the logits behind single tokens.

Axes: ``n`` prompts, ``pos`` positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .models import LanguageModel


def forward_inputs(
    lm: LanguageModel,
    token_ids: Int[Tensor, "n pos"],
    lengths: Int[Tensor, " n"],
    padding_side: str = "right",
) -> dict[str, Any]:
    """Arguments of a forward pass in which padding changes nothing: explicit mask and position ids."""
    column = torch.arange(token_ids.shape[1], device=token_ids.device)[None]
    first = (token_ids.shape[1] - lengths if padding_side == "left" else torch.zeros_like(lengths))[:, None]
    real = (column >= first) & (column < first + lengths[:, None])
    inputs: dict[str, Any] = {"input_ids": token_ids, "attention_mask": real.long(), "use_cache": False}
    if lm.takes_position_ids:
        inputs["position_ids"] = (column - first).clamp(min=0)
    return inputs


def logits_behind(
    lm: LanguageModel, inputs: Mapping[str, Any], positions: Int[Tensor, " n"]
) -> Float[Tensor, "n vocab"]:
    """Logits behind one token of each row of a forward pass; of the others as few as the model can be told to."""
    kept, where = positions.unique(return_inverse=True)
    keep = {"logits_to_keep": kept} if lm.takes_logits_to_keep else {}
    logits = lm.model(**inputs, **keep).logits
    if not keep or logits.shape[1] != len(kept):  # some take the argument and mean something else by it
        where = positions
    return logits[torch.arange(len(logits), device=logits.device), where.to(logits.device)]
