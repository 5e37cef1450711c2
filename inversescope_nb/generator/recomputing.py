"""Gradient checkpointing that keeps our hooks: a block's inside is computed again where the backward pass needs it.

Backward passes run when the hooks of the forward pass are gone (:mod:`inversescope_nb.hooks`), so what is computed
again must bring its own. Hugging Face's own checkpointing knows nothing of hooks, and asks for a model in training
mode, where its dropout would be on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch.utils.checkpoint import checkpoint

from ..hooks import hooked

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def recomputed(block: nn.Module, part: nn.Module, side: str, fn: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Within the block, forward passes of `block` keep its input alone; `fn` sees `part` then and when it runs again.

    Args:
        block: one of a model's blocks.
        part: a module inside it.
        side, fn: as in :func:`inversescope_nb.hooks.hooked`; `fn` must do the same when it is called again.
    """
    own, inner = block.__dict__.get("forward"), block.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        with hooked(part, side, fn):
            return inner(*args, **kwargs)

    def forward(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    block.forward = forward
    try:
        yield
    finally:
        if own is None:
            del block.forward
        else:  # accelerate's, which fetches offloaded weights
            block.forward = own
