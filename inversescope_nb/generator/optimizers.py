"""The optimizer of a training: AdamW, or Muon on the hidden matrices and AdamW on the rest (vocabularies, vectors).

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) takes the momentum's nearest semi-orthogonal matrix for a
step, so that weak directions of a matrix learn about as fast as strong ones. torch's own (2.9) iterates in bfloat16,
which costs a CPU without such units twenty times the float32 of this one, and more than all else in a step of a small
generator.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .config import TrainingConfig

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_MOMENTUM = 0.95


def make_optimizer(generator: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Over what the generator trains: backbone and the rest at their own rates, matrices with weight decay."""
    vocabularies = {id(m.weight) for m in generator.modules() if isinstance(m, nn.Embedding)}
    vocabularies |= {id(m.weight) for m in _heads(generator)}
    groups: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
    for name, p in generator.named_parameters():
        if p.requires_grad:
            hidden = config.optimizer == "muon" and p.ndim == 2 and min(p.shape) > 1 and id(p) not in vocabularies
            groups.setdefault((name.startswith("backbone."), p.ndim > 1, hidden), []).append(p)
    settings = []
    for (is_backbone, matrices, hidden), params in sorted(groups.items(), reverse=True):
        peak = config.lr if is_backbone else config.adapter_lr
        decay = config.weight_decay if matrices else 0.0
        settings.append({"params": params, "weight_decay": decay, "lr": peak, "peak": peak, "hidden": hidden})
    kind = Muon if any(group["hidden"] for group in settings) else torch.optim.AdamW
    return kind(settings, betas=(0.9, 0.98))


def _heads(generator: nn.Module) -> list[nn.Module]:
    """Maps to the vocabulary; their rows are tokens, like an embedding's, with which they may be one."""
    found = [m.get_output_embeddings() for m in generator.modules() if hasattr(m, "get_output_embeddings")]
    return [m for m in found if m is not None]


class Muon(torch.optim.AdamW):
    """AdamW, but for the groups with ``hidden=True``: their matrices take Muon's step, as large as AdamW's usually is.

    Args:
        params: groups as for AdamW, each with the key ``"hidden"``.
        **options: AdamW's.
    """

    def __init__(self, params: Iterable[dict[str, Any]], **options: Any) -> None:
        super().__init__(params, **options)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step of every group."""
        groups = self.param_groups
        try:
            self.param_groups = [g for g in groups if not g["hidden"]]
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            if group["hidden"]:
                for p in group["params"]:
                    if p.grad is not None:
                        self._hidden_step(p, group["lr"], group["weight_decay"])

    def _hidden_step(self, p: nn.Parameter, lr: float, decay: float) -> None:
        state = self.state[p]
        if not state:
            state["step"], state["momentum"] = torch.tensor(0.0), torch.zeros_like(p)  # AdamW looks for a step
        momentum = state["momentum"].lerp_(p.grad, 1 - _MOMENTUM)
        update = orthogonalised(p.grad.lerp(momentum, _MOMENTUM))  # Nesterov's
        p.mul_(1 - lr * decay).add_(update, alpha=-lr * 0.2 * max(p.shape) ** 0.5)


def orthogonalised(matrix: Float[Tensor, "row col"]) -> Float[Tensor, "row col"]:
    """About the nearest semi-orthogonal matrix, U V^T of U S V^T: singular values between about 0.7 and 1.2,
    but for those that were below about 0.002 of the root of the sum of all squares: they come out smaller.

    Five rounds of the Newton-Schulz iteration with Jordan's quintic, in float32 on a CPU, in bfloat16 elsewhere.
    """
    a, b, c = _QUINTIC
    x = matrix.to(torch.float32 if matrix.device.type == "cpu" else torch.bfloat16)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)
