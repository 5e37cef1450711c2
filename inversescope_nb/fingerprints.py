"""Hashes by which a generator recognises its target model and tokenizer.

A model's fingerprint covers the essentials of its configuration and a fixed strided selection of every
parameter's values, so that fine-tunes differ while device, dtype of equal values, and a round trip
through a file do not matter. It takes milliseconds, not a pass over all weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from .architectures import text_config

if TYPE_CHECKING:
    from torch import Tensor, nn

VALUES_PER_PARAMETER = 64
"""How many values of each parameter enter the fingerprint, at equal strides."""

_CONFIG_KEYS = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "use_parallel_residual",
)


def model_fingerprint(model: nn.Module) -> str:
    """Hash of a model, 32 hexadecimal digits."""
    config = text_config(model)
    digest = hashlib.sha256()
    digest.update(json.dumps({key: getattr(config, key, None) for key in _CONFIG_KEYS}).encode())
    for name, values in sorted(_parameters(model), key=lambda item: item[0]):
        flat = values.detach().reshape(-1)
        count = min(VALUES_PER_PARAMETER, len(flat))
        picks = torch.arange(count, device=flat.device) * (len(flat) - 1) // max(1, count - 1)
        sample = flat[picks].to(device="cpu", dtype=torch.float32)
        digest.update(f"{name}{tuple(values.shape)}".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:32]


def tokenizer_hash(tokenizer: Any) -> str:
    """Hash of a tokenizer's vocabulary, special tokens and merges, 32 hexadecimal digits."""
    special = {name: getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "unk", "pad")}
    parts = [sorted(tokenizer.get_vocab().items()), special, _merges(tokenizer)]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()[:32]


def _parameters(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter under its name, fetched from where accelerate put it if it was offloaded."""
    for name, parameter in model.named_parameters():
        if parameter.device.type != "meta":
            yield name, parameter
            continue
        path, _, own = name.rpartition(".")
        hook = getattr(model.get_submodule(path), "_hf_hook", None)
        weights = getattr(hook, "weights_map", None)
        if weights is not None:
            yield name, weights[own]


def _merges(tokenizer: Any) -> list[str]:
    """The merges of a BPE tokenizer, in order; older and newer files write a pair differently."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return []
    merges = json.loads(backend.to_str())["model"].get("merges") or []
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
