"""Hooks as context managers: a function that sees, and may replace, one module's input or output.

They know the two shapes in which Hugging Face's modules pass hidden states around (a tensor, or a tuple
that begins with one; positional or by keyword) and are removed whatever happens inside the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def first_tensor(output: Any) -> Tensor:
    """The hidden states in what a module returns: a tensor, or a tuple that begins with one."""
    return output[0] if isinstance(output, (tuple, list)) else output


def _replace_first(output: Any, new: Tensor) -> Any:
    """The same kind of output with other hidden states."""
    if isinstance(output, (tuple, list)):
        return type(output)((new, *output[1:]))
    return new


@contextmanager
def hooked(module: nn.Module, side: str, fn: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Within the block, `fn` sees the module's input or output; what it returns, if anything, replaces it.

    Args:
        module: the module to hook.
        side: ``"in"`` for its first input, ``"out"`` for its (first) output.
        fn: called with the hidden states; a tensor it returns takes their place.
    """

    def before(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        key = None if args else ("hidden_states" if "hidden_states" in kwargs else next(iter(kwargs)))
        new = fn(args[0] if key is None else kwargs[key])
        if new is None:
            return None
        return ((new, *args[1:]), kwargs) if key is None else (args, {**kwargs, key: new})

    def after(_module: nn.Module, _args: tuple, output: Any) -> Any:
        new = fn(first_tensor(output))
        return None if new is None else _replace_first(output, new)

    if side == "in":
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Dropout off within the block; every module's own training flag comes back afterwards."""
    training, waiting = [], [model]
    while waiting:  # what model.modules() does, in a third of the time: this is done at every batch
        module = waiting.pop()
        if module.training:
            training.append(module)
        waiting += [child for child in module._modules.values() if child is not None]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
