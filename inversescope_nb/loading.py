"""Fetching a model and its tokenizer: a name, a path or a loaded model becomes a (model, tokenizer, name).

Loading goes through accelerate (``device_map``, ``dtype``, offloading); whatever cannot be found, read
or understood is one of the package's own errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .errors import InvalidArgument, ModelLoadError

PACKAGED_TARGET = Path(__file__).parent / "pretrained" / "target"
"""The model that comes with the package."""


@dataclass(frozen=True)
class Placement:
    """How weights are fetched and where they go; the arguments of ``from_pretrained``."""

    device_map: Any = "auto"
    """``"auto"`` fills GPUs, then the CPU, then the disk; Apple's MPS only when named."""
    dtype: Any = "auto"
    """Floating-point type; ``"auto"`` keeps the checkpoint's."""
    offload_folder: str | Path | None = None
    """Where weights go that fit neither GPU nor memory."""
    hub: dict[str, Any] = field(default_factory=dict)
    """``revision`` and ``trust_remote_code``."""


def fetch(source: Any, tokenizer: Any, placement: Placement) -> tuple[Any, Any, str]:
    """The model object, its tokenizer and a name for it; see :func:`inversescope_nb.models.load_model`."""
    if isinstance(source, tuple):
        if len(source) != 2:
            raise InvalidArgument(f"a tuple of {len(source)} is not a (model, tokenizer) pair", hint="give both")
        source, tokenizer = source
    if source is None or isinstance(source, (str, Path)):
        where = location(PACKAGED_TARGET if source is None else source)
        with without_bars() if where == str(PACKAGED_TARGET) else nullcontext():
            model = _fetch_model(where, placement)
        name = Path(where).name if Path(where).is_dir() else where
    elif isinstance(source, torch.nn.Module):
        model, where = source, ""
        name = _name_or_path(model).rstrip("/").rpartition("/")[2] or type(source).__name__
    else:
        raise InvalidArgument(
            f"cannot load a model from a {type(source).__name__}",
            hint="give a Hub name, a folder, a transformers model, or a (model, tokenizer) pair",
        )
    if tokenizer is None:
        # an adapter's folder often has no tokenizer of its own; the model knows its base
        tokenizer = _fetch_tokenizer([where, _name_or_path(model)], placement)
    elif isinstance(tokenizer, (str, Path)):
        tokenizer = _fetch_tokenizer([location(tokenizer)], placement)
    elif not hasattr(tokenizer, "convert_ids_to_tokens"):
        raise InvalidArgument(f"a {type(tokenizer).__name__} is no tokenizer", hint=_TOKENIZER_HINT)
    return model, tokenizer, name


@contextmanager
def without_bars() -> Iterator[None]:
    """transformers shows no progress bars within the block: for what is small and here already."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _name_or_path(model: Any) -> str:
    return str(getattr(model, "name_or_path", None) or "")


def location(source: str | Path, hint: str = "give a folder with config.json, or a Hub name") -> str:
    """A folder that exists, or a Hub name; what begins with ``/``, ``.`` or ``~`` can only be a folder."""
    if not isinstance(source, (str, Path)):
        raise InvalidArgument(f"a {type(source).__name__} is no folder", hint=hint)
    looks_local = isinstance(source, Path) or source[:1] in ("", ".", "/", "~") or source.count("/") > 1
    path = Path(source).expanduser()
    is_folder = str(source) != "" and path.is_dir()
    if looks_local and not is_folder:
        problem = f"{str(source)!r} is a file" if path.is_file() else f"no folder {str(source)!r}"
        raise ModelLoadError(problem, hint=hint)
    return str(path) if is_folder else str(source)


def hub_options(where: str, hub: dict[str, Any] | None = None) -> dict[str, Any]:
    """Options for ``from_pretrained``; one question to the Hub instead of a minute of retries while offline."""
    hub = hub or {}
    if Path(where).is_dir():
        return hub
    from huggingface_hub import HfApi, try_to_load_from_cache

    revision = hub.get("revision")
    try:
        HfApi().model_info(where, revision=revision, timeout=10)
    except Exception as error:  # which one depends on the HTTP library under huggingface_hub
        configs = ("config.json", "adapter_config.json")
        if any(isinstance(try_to_load_from_cache(where, name, revision=revision), str) for name in configs):
            return {**hub, "local_files_only": True}
        raise ModelLoadError(f"cannot fetch {where!r}: {first_line(error)}", hint=_HINT) from error
    return hub


def _fetch_model(where: str, placement: Placement) -> Any:
    """The model at `where`, placed by accelerate."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    device_map, dtype = placement.device_map, placement.dtype
    if isinstance(dtype, str) and dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise InvalidArgument(f"dtype={dtype!r} is none", hint="'auto', 'float32', 'bfloat16' or 'float16'")
    if device_map == "auto" and not torch.cuda.is_available() and torch.backends.mps.is_available():
        device_map = "cpu"
    options = hub_options(where, placement.hub)
    try:
        model, said = AutoModelForCausalLM.from_pretrained(
            where,
            device_map=device_map,
            dtype=dtype,
            offload_folder=placement.offload_folder,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelLoadError(f"cannot load the model {where!r}: {first_line(error)}", hint=_HINT) from error
    own = {name for name, _ in model.named_parameters()}
    if missing := sorted(own.intersection(said["missing_keys"])):  # what is not there is random after loading
        raise ModelLoadError(
            f"cannot load the model {where!r}: {len(missing)} of {len(own)} weights are missing, such as {missing[0]}",
            hint="was its download interrupted? fetch it again; a model for another task has no language model's head",
        )
    return model


def _fetch_tokenizer(places: list[str], placement: Placement) -> Any:
    """The tokenizer at the first of these places that has one."""
    from transformers import AutoTokenizer

    problem = ModelLoadError("the model comes without a tokenizer", hint=_TOKENIZER_HINT)
    for where in dict.fromkeys(place for place in places if place):
        try:
            return AutoTokenizer.from_pretrained(where, **hub_options(where, placement.hub))
        except (OSError, ValueError, ImportError, TypeError) as error:
            problem = ModelLoadError(f"no tokenizer found at {where!r}: {first_line(error)}", hint=_TOKENIZER_HINT)
            problem.__cause__ = error
    raise problem


def first_line(error: Exception) -> str:
    """What an error says, without what follows in other lines."""
    return str(error).strip().partition("\n")[0].rstrip(" :")


_TOKENIZER_HINT = "give one: load_model(model, tokenizer=...) takes a tokenizer, a Hub name or a folder"


_HINT = (
    "offline, give a folder or a model fetched before; otherwise check the name, the connection, and for "
    "gated models your Hugging Face login"
)
