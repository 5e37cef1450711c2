"""Files that are written whole or not at all: JSON, and checkpoints of a module and its optimizer in safetensors."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InvalidArgument, InverseScopeError, ModelLoadError, StoreError

if TYPE_CHECKING:
    import torch


def _beside(path: Path) -> Path:
    """A file to write to first: of this thread alone, since others may be writing the same one."""
    return path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file beside `path`, which takes its place at the end of the block, or goes where that fails."""
    part = _beside(path)
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: Path, *others: type[Exception]) -> Iterator[None]:
    """Within the block, what keeps `path` from being written (a full disk) is a `StoreError` that says so; `others`:
    errors that mean it beside `OSError`."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, *others) as e:
        if isinstance(e, InverseScopeError):
            raise
        reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e).partition(chr(10))[0]
        raise StoreError(f"cannot write {path.name}: {reason}", hint=_room(path)) from e


def _room(path: Path) -> str:
    """What to do about it, with the space that is left there."""
    there = next((folder for folder in path.absolute().parents if folder.is_dir()), None)
    free = "" if there is None else f"{shutil.disk_usage(there).free / 1e6:,.1f} MB are free in {there.name or there}: "
    return f"{free}make room, or write elsewhere; what was there before is as it was"


def write_text(path: Path, text: str) -> None:
    """The whole text, or the file as it was; raises `StoreError` where it cannot be written."""
    with writing(path), _whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_result(path: str | Path, text: str) -> None:
    """A text where a user asked for it; raises `InvalidArgument` where nothing can be written."""
    if not isinstance(path, str | os.PathLike):
        raise InvalidArgument(f"path is a {type(path).__name__}", hint="give the name of a file")
    place = Path(path).expanduser()
    try:
        with _whole(place) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as e:
        raise InvalidArgument(f"cannot write {path}: {e.strerror}", hint="give a file in a folder that is there") from e


def write_json(path: Path, value: Any) -> None:
    """JSON with one space of indent."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """The JSON of a file; raises `ModelLoadError` where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise ModelLoadError(f"no file {path.name} in {path.parent.name}", hint="is this the right folder?") from e
    except ValueError as e:
        raise ModelLoadError(f"{path.name} is not JSON: {e}") from e


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """One safetensors file, or the one that was there; raises `StoreError` where it cannot be written."""
    from safetensors.torch import save_file

    with writing(path), _whole(path) as part:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part, metadata=metadata)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file; raises `ModelLoadError` where it is missing or broken."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as e:
        raise ModelLoadError(f"no file {path.name} in {path.parent.name}", hint="is this the right folder?") from e
    except SafetensorError as e:
        raise ModelLoadError(f"{path.name} is not a whole safetensors file: {e}") from e


def save_checkpoint(
    path: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Trainable parameters, buffers, optimizer moments and `state` (JSON) in one file, replaced as a whole."""
    tensors = {f"model/{n}": p for n, p in module.named_parameters() if p.requires_grad}
    kept = module.state_dict().keys()
    tensors |= {f"model/{n}": b for n, b in module.named_buffers() if n in kept}
    for index, entry in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{k}": v for k, v in entry.items()}
    write_tensors(path, tensors, {"state": json.dumps(state)})


def load_checkpoint(path: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
    """Puts the parameters, buffers and moments of :func:`save_checkpoint` back."""
    tensors = read_tensors(path)
    weights = {k[6:]: v for k, v in tensors.items() if k.startswith("model/")}
    _, unexpected = module.load_state_dict(weights, strict=False)
    if unexpected:
        raise ModelLoadError(f"{path.name} holds weights that the model lacks: {unexpected[:3]}")
    if optimizer is None:
        return
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            entries.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})


def checkpoint_state(path: Path) -> dict[str, Any]:
    """The JSON that was saved with a checkpoint."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {})["state"])
    except (SafetensorError, KeyError, ValueError) as e:
        raise ModelLoadError(f"{path.name} is not a checkpoint of this package: {e}") from e
