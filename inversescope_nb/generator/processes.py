"""The processes that train one generator together, through accelerate: each takes its share of every batch.

All of them draw the same inputs (what a model writes, they write together), sites, bandwidths and noise; each runs the
target on its own share and averages gradients with the others, so that the result is that of one process but for
rounding. One that dies ends the others: at once where the system tells them, else after `PATIENCE`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import torch

from ..errors import InvalidArgument
from ..model_prompts import ModelPrompts

if TYPE_CHECKING:
    from accelerate import Accelerator
    from jaxtyping import Float
    from torch import Tensor, nn

    from ..models import LanguageModel
    from ..prompts import PromptDistribution
    from .config import TrainingConfig

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others: longer than any of them takes to write a checkpoint."""


def make_accelerator(lm: LanguageModel, config: TrainingConfig) -> Accelerator:
    """accelerate's own, with Apple's MPS only where the target is there; a precision is fixed for a process.

    Raises:
        InvalidArgument: another precision was fixed before, or more processes than a batch has inputs.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

    avoid_mps = torch.backends.mps.is_available() and lm.device.type == "cpu"
    # a batch may hold no example of some site, whose map then gets no gradient; buffers never change
    options = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    waiting = InitProcessGroupKwargs(timeout=PATIENCE)
    try:
        accelerator = Accelerator(
            mixed_precision=config.mixed_precision, cpu=avoid_mps, kwargs_handlers=[options, waiting]
        )
    except ValueError as e:
        raise InvalidArgument(
            f"mixed_precision={config.mixed_precision!r} cannot be had: {str(e).partition(chr(10))[0]}",
            hint="accelerate fixes the precision once for a process: restart the kernel to change it",
        ) from e
    for name in ("batch_size", "held_out", "statistics_samples"):
        if getattr(config, name) < accelerator.num_processes:  # one without any would leave the others waiting
            raise InvalidArgument(
                f"{name}={getattr(config, name)} leaves some of {accelerator.num_processes} processes nothing",
                hint="give each at least one",
            )
    return accelerator


def share(accelerator: Accelerator) -> slice:
    """Which of a list's items are this process's own."""
    return slice(accelerator.process_index, None, accelerator.num_processes)


def drawn(
    accelerator: Accelerator,
    prompts: PromptDistribution,
    n: int,
    lm: LanguageModel,
    *,
    seed: int,
    cancel: threading.Event | None = None,
) -> list[list[int]]:
    """`n` inputs of P(X), the same in every process. What a model writes, each writes its :func:`share` of."""
    world = accelerator.num_processes
    if world == 1 or not isinstance(prompts, ModelPrompts):
        return prompts.draw(n, lm, seed=seed, cancel=cancel)
    from accelerate.utils import gather_object

    own = prompts.draw_share(n, lm, share=share(accelerator), seed=seed, cancel=cancel)
    parts = gather_object([own])
    return [parts[i % world][i // world] for i in range(n)]


def same_buffers(accelerator: Accelerator, module: nn.Module) -> None:
    """Gives every process the first one's moments of the sites: other machines may round otherwise."""
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast

        for buffer in module.buffers():
            buffer.copy_(broadcast(buffer.clone(), from_process=0))


def summed(accelerator: Accelerator, values: Sequence[float]) -> list[float]:
    """Each number's sum over all processes, the same in all of them."""
    if accelerator.num_processes == 1:
        return list(values)
    # in double precision where the device has it
    kind = torch.float32 if accelerator.device.type == "mps" else torch.float64
    return accelerator.reduce(torch.tensor(values, dtype=kind, device=accelerator.device), "sum").tolist()


def gathered(
    accelerator: Accelerator, own: Mapping[str, Float[Tensor, "k d"]], n: int
) -> dict[str, Float[Tensor, "n d"]]:
    """The rows of all processes, each of which holds its :func:`share` of n, on the CPU."""
    world = accelerator.num_processes
    if world == 1:
        return dict(own)
    found = {}
    for name, rows in own.items():
        padded = rows.new_zeros(-(-n // world), rows.shape[1])
        padded[: len(rows)] = rows
        whole = accelerator.gather(padded.to(accelerator.device)).cpu()
        found[name] = whole.unflatten(0, (world, -1)).transpose(0, 1).flatten(0, 1)[:n]
    return found
