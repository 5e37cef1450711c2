"""Trainings whose weights (FSDP2) or moments (DeepSpeed's ZeRO 1 and 2) are spread over the processes.

What differs from a training in which every process holds everything: how gradients of several batches add up, what a
checkpoint is (a folder that all processes write, accelerate's), and that the generator is put together at the end.
"""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .. import _files
from ..errors import InvalidArgument

if TYPE_CHECKING:
    from accelerate import Accelerator

    from .config import TrainingConfig
    from .generator import Generator

_POINTER = "sharded.json"


def has_shards(accelerator: Accelerator) -> bool:
    """Whether a process holds only a part of the weights or moments."""
    return splits_weights(accelerator) or _zero_stage(accelerator) is not None


def splits_weights(accelerator: Accelerator) -> bool:
    """Whether a process holds only a part of the weights."""
    return str(accelerator.distributed_type.value) == "FSDP"


def _zero_stage(accelerator: Accelerator) -> int | None:
    plugin = accelerator.state.deepspeed_plugin
    return None if plugin is None else plugin.zero_stage


def check_shards(accelerator: Accelerator, config: TrainingConfig, *, evaluates: bool) -> None:
    """Raises `InvalidArgument` for what cannot be done in parts."""
    if not has_shards(accelerator):
        return
    stage, splits = _zero_stage(accelerator), splits_weights(accelerator)
    if config.optimizer != "adamw":
        raise InvalidArgument(
            f"optimizer={config.optimizer!r} needs whole matrices, and here each process holds a part of them",
            hint="optimizer='adamw'",
        )
    if splits and not accelerator.is_fsdp2:
        raise InvalidArgument("FSDP's first version is not supported", hint="fsdp_version: 2 in accelerate's file")
    if stage is not None and stage > 2:
        raise InvalidArgument(
            f"ZeRO stage {stage} is not supported", hint="stage 1 or 2; or FSDP, which splits weights"
        )
    if splits and evaluates:
        raise InvalidArgument("on_evaluate needs a whole generator, and FSDP splits it", hint="leave on_evaluate out")


def prepare(
    accelerator: Accelerator, generator: Generator, optimizer: torch.optim.Optimizer, rows: int
) -> tuple[nn.Module, Any]:
    """accelerate's own; `rows` of a process at once is something that DeepSpeed wants to know."""
    if _zero_stage(accelerator) is not None:
        accelerator.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = rows
        return accelerator.prepare(generator, optimizer)
    if splits_weights(accelerator):
        blocks = {type(block).__name__ for block in generator.architecture.blocks}
        plugin = accelerator.state.fsdp_plugin
        plugin.transformer_cls_names_to_wrap = plugin.transformer_cls_names_to_wrap or sorted(blocks)
        return accelerator.prepare(generator, optimizer)
    shared = generator.shares_target  # its adapters are where the target is
    with warnings.catch_warnings():  # of a new name for broadcast_buffers, which older versions do not know
        warnings.simplefilter("ignore", FutureWarning)
        return accelerator.prepare(generator, optimizer, device_placement=[not shared, not shared])


@contextmanager
def accumulating(accelerator: Accelerator, model: nn.Module, *, last: bool) -> Iterator[None]:
    """Within the block gradients add up; those of the processes are averaged with the last batch of a step."""
    accelerator.sync_gradients = last  # DeepSpeed takes its step within the last backward pass
    try:
        with nullcontext() if last else accelerator.no_sync(model):
            yield
    finally:
        accelerator.sync_gradients = True


def hollow(generator: Generator) -> Generator:
    """A copy whose weights have shapes and no contents, to be filled by :func:`whole`."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in generator.parameters()}
    memo[id(generator.prompts)] = generator.prompts
    if generator.shares_target:
        memo |= {id(t): t for t in (*generator.backbone.parameters(), *generator.backbone.buffers())}
    return copy.deepcopy(generator, memo)


def whole(generator: Generator, empty: Generator) -> Generator:
    """The copy with the weights of a generator that is in parts; all processes call it together."""
    full: dict[int, nn.Parameter] = {}
    for (_, part), (_, hole) in zip(generator.named_parameters(), empty.named_parameters(), strict=True):
        value = part.full_tensor() if hasattr(part, "full_tensor") else part
        full[id(hole)] = nn.Parameter(value.detach().clone(), part.requires_grad)
    for module in empty.modules():
        for name, hole in module._parameters.items():
            if id(hole) in full:  # tied weights are one
                module._parameters[name] = full[id(hole)]
    return empty.to(generator.device)


def save(accelerator: Accelerator, run_dir: Path, state: dict[str, Any]) -> Path:
    """Writes the parts of all processes, then a file that points to them; older parts go last."""
    folder = run_dir / f"step_{state['step']}"
    if (there := saved_state(run_dir)) and all(there[k] == state[k] for k in ("identity", "step")):
        return run_dir / _POINTER  # nothing was done since; what is pointed to is not written over
    try:
        with _files.writing(folder, RuntimeError):  # torch.save's
            accelerator.save_state(str(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _files.write_json(run_dir / _POINTER, state | {"folder": folder.name, "processes": accelerator.num_processes})
        _files.write_json(run_dir / "curves.json", state["history"])
        for old in run_dir.glob("step_*"):
            if old != folder:
                shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return run_dir / _POINTER


def saved_state(run_dir: Path) -> dict[str, Any] | None:
    """What was saved beside the parts; None where there are none."""
    path = run_dir / _POINTER
    return _files.read_json(path) if path.exists() else None


def load(accelerator: Accelerator, run_dir: Path, state: dict[str, Any]) -> None:
    """Puts every process's part back."""
    if state["processes"] != accelerator.num_processes:
        raise InvalidArgument(
            f"{run_dir.name} was written by {state['processes']} processes, here are {accelerator.num_processes}",
            hint="start as many, or resume=False",
        )
    accelerator.load_state(str(run_dir / state["folder"]))
