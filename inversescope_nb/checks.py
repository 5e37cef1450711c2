"""The numerical check of a module map: run the model once on a few tokens and add the parts up.

1. ``resid_pre + attn_out = resid_mid``, ``resid_mid + mlp_out = resid_post`` (in parallel blocks,
   ``resid_pre + attn_out + mlp_out = resid_post``), and a block's output is the next block's input.
2. The heads' results plus the projection's bias add up to the raw attention output.
Differences may be as large as rounding in the model's dtype makes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ._forward import forward_inputs
from .activations import capture
from .errors import UnsupportedModel
from .hooks import evaluation_mode
from .sites import site_name

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from .models import LanguageModel


_UNCHECKED = "load_model(..., check=False) loads it unchecked: what its sites hold is then not known"


def check_architecture(lm: LanguageModel, n_layers: int | None = None) -> None:
    """Raise :class:`UnsupportedModel` unless the parts of every block, or of the first few, add up."""
    n_layers = lm.n_layers if n_layers is None else n_layers
    seen = _run(lm, n_layers)
    for layer in range(n_layers):
        at = {kind: seen[site_name(layer, kind)].float() for kind in _whole_kinds(lm)}
        if "resid_mid" in at:
            _require(
                lm,
                layer,
                "resid_pre + attn_out = resid_mid",
                [at["resid_pre"], at["attn_out"]],
                at["resid_mid"],
            )
            _require(
                lm,
                layer,
                "resid_mid + mlp_out = resid_post",
                [at["resid_mid"], at["mlp_out"]],
                at["resid_post"],
            )
        else:
            parts = [at["resid_pre"], at["attn_out"], at["mlp_out"]]
            _require(lm, layer, "resid_pre + attn_out + mlp_out = resid_post", parts, at["resid_post"])
        if layer + 1 < n_layers:
            following = seen[site_name(layer + 1, "resid_pre")].float()
            _require(lm, layer, "resid_post = next resid_pre", [at["resid_post"]], following)
        _check_heads(lm, layer, at)


def _whole_kinds(lm: LanguageModel) -> list[str]:
    kinds = ["resid_pre", "z", "attn_raw", "attn_out", "resid_mid", "mlp_out", "resid_post"]
    return [kind for kind in kinds if kind != "resid_mid" or lm.architecture.layout.mid is not None]


def _run(lm: LanguageModel, n_layers: int) -> dict[str, Float[Tensor, "n pos d"]]:
    """Activations of two short rows at every site of the first layers."""
    length = min(5, lm.n_ctx)
    token_ids = (torch.arange(2 * length, device=lm.device) * 7 + 3).remainder(lm.vocab_size).view(2, length)
    lengths = torch.full((2,), length, device=lm.device)
    names = [site_name(layer, kind) for layer in range(n_layers) for kind in _whole_kinds(lm)]
    try:
        with (
            lm.lock,
            evaluation_mode(lm.model),
            torch.inference_mode(),
            capture(lm, names, stop=True) as seen,
        ):
            lm.model(**forward_inputs(lm, token_ids, lengths))
    except (AttributeError, RuntimeError, TypeError, IndexError) as error:
        raise UnsupportedModel(f"{lm.name} could not be run to check its sites: {error}", hint=_UNCHECKED) from error
    missing = [name for name in names if name not in seen]
    if missing:
        raise UnsupportedModel(f"{missing[0]} of {lm.name} is never computed in a forward pass", hint=_UNCHECKED)
    return seen


def _check_heads(lm: LanguageModel, layer: int, at: dict[str, Float[Tensor, "n pos d"]]) -> None:
    """Per-head results plus bias against the raw attention output."""
    projection = lm.architecture.module(layer, lm.architecture.layout.out_proj)
    z = at["z"].to(lm.dtype)
    if z.shape[-1] != lm.n_heads * lm.d_head:
        raise UnsupportedModel(
            f"block {layer} of {lm.name}: attention is {z.shape[-1]} wide",
            hint=f"expected {lm.n_heads} heads of {lm.d_head}",
        )
    with torch.inference_mode(), evaluation_mode(lm.model):
        bias = projection.forward(torch.zeros_like(z)).float()
        results = []
        for head in range(lm.n_heads):
            alone = torch.zeros_like(z)
            columns = slice(head * lm.d_head, (head + 1) * lm.d_head)
            alone[..., columns] = z[..., columns]
            results.append(projection.forward(alone).float() - bias)
    _require(lm, layer, "sum of head results + bias = attention output", [*results, bias], at["attn_raw"])


def _require(lm: LanguageModel, layer: int, law: str, parts: list[Tensor], whole: Tensor) -> None:
    """Raise unless the parts add up to the whole, up to rounding."""
    scale = sum(float(part.norm()) for part in parts)
    allowed = 4 * torch.finfo(lm.dtype).eps * scale + 1e-3 * min(float(part.norm()) for part in parts[1:] or parts)
    difference = float((sum(parts[1:], parts[0]) - whole).norm())
    if not difference <= allowed:
        raise UnsupportedModel(
            f"block {layer} of {lm.name} does not satisfy {law}: off by {difference:.2g}, allowed {allowed:.2g}",
            hint="its architecture adds its parts in another way, and activations would be misnamed",
        )
