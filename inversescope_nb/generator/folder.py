"""A generator's folder: everything needed to use it, and a self-test.

``backbone/`` (a Hugging Face model; absent where the target itself, frozen, is the backbone),
``generator.safetensors`` (encoder, control layers, moments of the sites), ``generator.json`` (target's
fingerprint, sites, tokenizer hash, frame of the rows, P(X), probe, bank of inputs) and ``run_card.json``. The
probe is a fixed set of inputs with the log q that was recorded for them; it is run again when a target is met.
"""

from __future__ import annotations

import copy
import functools
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import _files
from .._arguments import check_model, folder_path
from ..errors import InvalidArgument, ModelLoadError, NotEnumerable
from ..kernels import Kernel, SiteStatistics
from ..loading import first_line, location, without_bars
from ..prompts import PromptDistribution

if TYPE_CHECKING:
    from ..models import LanguageModel
    from .generator import Generator

FORMAT = 1
PACKAGED_GENERATOR = Path(__file__).parent.parent / "pretrained" / "generator"
"""The packaged model's own generator."""
_MOMENTS = ("mean", "eigenvalues", "gains", "scales", "constant")


def save(generator: Generator, path: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Writes the folder; `dtype` (such as ``torch.float16``) rounds weights, principal axes and covariances with common
    coordinates, never means or spreads.

    The folder is written beside its place and moved there, so that a broken write leaves nothing.
    """
    path = folder_path(path, "path")
    if path.exists() and not path.is_dir():
        raise InvalidArgument(f"{path} is a file", hint="give the name of a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise InvalidArgument(f"cannot make the folder {path.parent}: {e.strerror}", hint="give another folder") from e
    with _files.writing(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
        folder = Path(temporary) / "folder"
        folder.mkdir()
        if not generator.shares_target:
            backbone = copy.deepcopy(generator.backbone)
            if hasattr(backbone, "merge_and_unload"):
                backbone = backbone.merge_and_unload()
            with without_bars():
                backbone.to(dtype or torch.float32).save_pretrained(folder / "backbone")
        tensors = {k: v for k, v in generator.state_dict().items() if not k.startswith("backbone.")}
        if dtype is not None:
            tensors = {k: v if _is_moment(k) or not v.is_floating_point() else v.to(dtype) for k, v in tensors.items()}
        _files.write_tensors(folder / "generator.safetensors", tensors)
        _files.write_json(folder / "generator.json", _describe(generator))
        _files.write_json(folder / "run_card.json", generator.run_card)
        _replace(folder, path)


def _replace(folder: Path, path: Path) -> None:
    """Moves a finished folder to its place, over an older one if need be."""
    old = path.with_name(f".{path.name}.old")
    if path.exists():
        if old.exists():  # of a save that was broken off
            shutil.rmtree(old)
        path.rename(old)
    folder.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _is_moment(name: str) -> bool:
    return name.startswith("encoder.") and name.split(".")[1].startswith(_MOMENTS)


def _describe(generator: Generator) -> dict[str, Any]:
    """What generator.json holds."""
    try:
        prompts = generator.prompts.to_spec()
    except NotEnumerable:
        prompts = {"kind": "unknown", "name": generator.prompts.name, "cut": generator.prompts.cut}
    return {
        "format": FORMAT,
        "fingerprint": generator.fingerprint,
        "tokenizer_hash": generator.tokenizer_hash,
        "sites": list(generator.sites),
        "config": asdict(generator.config),
        "shares_target": generator.shares_target,
        "prompts": prompts,
        "probe": generator.probe,
        "bank": generator.bank_inputs,
    }


def load(
    path_or_repo_id: str | Path,
    *,
    revision: str | None = None,
    device: str | None = None,
    target: LanguageModel | None = None,
) -> Generator:
    """Reads a folder, or fetches it from the Hub; raises `ModelLoadError` where it is not whole.

    The self-test is run as soon as the target is known: here where it is given, else when both are first used.
    """
    if target is not None:
        check_model(target, "target")
    if device is None:
        device = "cpu" if target is None else str(target.device)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as e:
        raise InvalidArgument(f"device={device!r} cannot be used: {first_line(e)}", hint="'cpu' always can") from e
    folder = _fetch(path_or_repo_id, revision)
    about = _files.read_json(folder / "generator.json")
    found = about.get("format") if isinstance(about, dict) else None
    if found != FORMAT:
        raise ModelLoadError(
            f"{path_or_repo_id} has format {found}, this version reads {FORMAT}",
            hint="upgrade inversescope-nb, or train the generator again",
        )
    tensors = _files.read_tensors(folder / "generator.safetensors")
    try:
        generator = _assemble(folder, about, tensors, target)
        missing, unexpected = generator.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    except (KeyError, TypeError, RuntimeError) as e:
        raise ModelLoadError(
            f"{path_or_repo_id} is not a whole generator: {first_line(e)}", hint="fetch or save it again"
        ) from e
    missing = [name for name in missing if not name.startswith("backbone.")]
    if missing or unexpected:
        raise ModelLoadError(
            f"{path_or_repo_id} lacks {missing[:3]} and has unknown {unexpected[:3]}", hint="fetch or save it again"
        )
    generator.to(target.device if generator.shares_target else device).eval()
    if target is not None:
        generator.check_target(target)
    return generator


def _assemble(
    folder: Path, about: dict[str, Any], tensors: dict[str, torch.Tensor], target: LanguageModel | None
) -> Generator:
    """A generator of the right shape, its own weights not yet in it."""
    from .generator import Generator, GeneratorConfig

    config = GeneratorConfig(**{**about["config"], "bandwidths": tuple(about["config"]["bandwidths"])})
    make = functools.partial(Generator, shares_target=True) if about["shares_target"] else Generator
    generator = make(
        _backbone(folder, about, target),
        _moments(tensors, about["sites"], Kernel(config.metric, config.shape)),
        _prompts(about["prompts"]),
        config,
        fingerprint=about["fingerprint"],
        tokenizer_hash=about["tokenizer_hash"],
        run_card=_files.read_json(folder / "run_card.json"),
    )
    generator.probe = about["probe"]
    generator.bank_inputs = about.get("bank", [])
    return generator


def _fetch(path_or_repo_id: str | Path, revision: str | None) -> Path:
    hint = "give a folder that save_pretrained() wrote, or user/name on the Hub"
    where = location(path_or_repo_id, hint)
    if Path(where).is_dir():
        return Path(where)
    if "/" not in where:
        raise ModelLoadError(f"no folder {where!r}", hint=hint)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(where, revision=revision))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as e:
        raise ModelLoadError(
            f"cannot fetch the generator {where!r}: {first_line(e)}",
            hint="check the name and the connection, or give a folder",
        ) from e


def _backbone(folder: Path, about: dict[str, Any], target: LanguageModel | None) -> torch.nn.Module:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, GenerationConfig

    if about["shares_target"]:
        if target is None:
            raise ModelLoadError(
                f"the backbone of {folder} is its target model itself",
                hint="give it: Generator.from_pretrained(path, target=lm)",
            )
        from .backbones import twin

        with target.lock:  # else the hooks of another thread's forward pass would be copied with it
            return twin(target.model)
    try:
        with without_bars():
            backbone = AutoModelForCausalLM.from_pretrained(folder / "backbone", dtype=torch.float32)
    except (OSError, ValueError, SafetensorError) as e:
        raise ModelLoadError(
            f"{folder} has no readable backbone: {first_line(e)}", hint="fetch or save it again"
        ) from e
    backbone.generation_config = GenerationConfig()
    return backbone


def _moments(tensors: dict[str, torch.Tensor], sites: list[str], kernel: Kernel) -> dict[str, SiteStatistics]:
    scales, constant = tensors["encoder.scales"], tensors["encoder.constant"]
    return {
        name: SiteStatistics(
            tensors[f"encoder.mean_{i}"],
            float(scales[i]),
            tensors[f"encoder.eigenvalues_{i}"],
            tensors[f"encoder.eigenvectors_{i}"].float(),
            bool(constant[i]),
            kernel,
            tensors.get(f"encoder.gains_{i}"),
        )
        for i, name in enumerate(sites)
    }


def _prompts(spec: dict[str, Any]) -> PromptDistribution:
    if spec["kind"] != "unknown":
        return PromptDistribution.from_spec(spec)
    prompts = PromptDistribution()
    prompts.name, prompts.cut = spec["name"], spec["cut"]
    return prompts
