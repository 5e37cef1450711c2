"""Which language model the conditioning is added to: the target itself, a copy of it, a small one, another one.

A frozen target is shared: the twin made here has modules of its own (so hooks, flags and defaults for sampling
stay apart from the user's model, which is never changed) and the very same weights (so nothing is held twice).
"""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING

from torch import nn

from ..architectures import text_config
from ..cuts import n_bos
from ..errors import InvalidArgument, ModelLoadError
from ..loading import first_line, hub_options, location
from .config import HEAD

if TYPE_CHECKING:
    from ..models import LanguageModel
    from .config import TrainingConfig


def make_backbone(lm: LanguageModel, config: TrainingConfig, longest: int) -> nn.Module:
    """The backbone that `config` names, for inputs of up to `longest` tokens.

    Raises:
        ModelLoadError: it cannot be found or read.
        InvalidArgument: its vocabulary or its context is too small for the target's inputs.
    """
    if config.backbone == "target":
        if config.trainable != "frozen" and any(p.is_meta for p in lm.model.parameters()):
            raise InvalidArgument(
                f"parts of {lm.name} are offloaded: it cannot be copied to be trained",
                hint="trainable='frozen' trains adapters beside it, backbone='small' a model of its own",
            )
        with lm.lock:  # else the hooks of another thread's forward pass would be copied with it
            backbone = twin(lm.model) if config.trainable == "frozen" else copy.deepcopy(lm.model).float()
    elif config.backbone == "small":
        backbone = _small(lm, config, longest + 8)
    else:
        backbone = _fetched(config.backbone)
    if config.backbone != "small":
        check_fits(backbone, lm, longest)
    return prepared(backbone, config.trainable)


def prepared(backbone: nn.Module, trainable: str) -> nn.Module:
    """The backbone with what is to learn able to learn, and without sampling defaults of its own."""
    from transformers import GenerationConfig

    backbone.generation_config = GenerationConfig()
    backbone.requires_grad_(trainable == "full")
    if trainable != "lora":
        return backbone
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as e:
        raise InvalidArgument(
            "trainable='lora' needs the package peft", hint="pip install inversescope-nb[train]"
        ) from e
    return get_peft_model(backbone, LoraConfig(target_modules="all-linear", r=16, lora_alpha=32))


def twin(model: nn.Module) -> nn.Module:
    """Modules of its own over the same weights, none of which learns; in evaluation mode, with plain sampling."""
    from transformers import GenerationConfig

    memo: dict[int, object] = {}
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        memo[id(tensor)] = nn.Parameter(tensor.detach(), requires_grad=False) if tensor.requires_grad else tensor
    for module in model.modules():  # accelerate's hooks hold offloaded weights
        if (hook := getattr(module, "_hf_hook", None)) is not None:
            memo[id(hook)] = hook
    same = copy.deepcopy(model, memo).eval()
    same.generation_config = GenerationConfig()
    return same


def _small(lm: LanguageModel, config: TrainingConfig, n_positions: int) -> nn.Module:
    """A small GPT-2 from scratch, with the target's vocabulary; and an end, where that has none."""
    from transformers import GPT2Config, GPT2LMHeadModel

    vocab_size = lm.vocab_size + int(lm.eos_id is None and lm.bos_id is None)
    shape = GPT2Config(
        vocab_size=vocab_size, n_positions=n_positions, n_embd=config.small_width, n_layer=config.small_layers,
        n_head=config.small_width // HEAD, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=lm.bos_id, eos_token_id=lm.eos_id,
        activation_function="gelu_pytorch_tanh",  # GPT-2's own "gelu_new", by PyTorch's kernel
    )  # fmt: skip
    return GPT2LMHeadModel(shape)


def _fetched(name: str) -> nn.Module:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        where = location(name)
        return AutoModelForCausalLM.from_pretrained(where, **hub_options(where)).float()
    except (OSError, ValueError, SafetensorError) as e:
        raise ModelLoadError(
            f"cannot load the backbone {name!r}: {first_line(e)}",
            hint="backbone='target', 'small', or a folder or Hub name of a causal language model",
        ) from e


def n_positions(backbone: nn.Module, longest: int) -> int:
    """Tokens that the backbone can read; four more than the longest input where it does not say."""
    return getattr(text_config(backbone), "max_position_embeddings", None) or longest + 4


def check_fits(backbone: nn.Module, lm: LanguageModel, longest: int) -> None:
    """Raises `InvalidArgument` where the target's inputs do not fit."""
    shape = text_config(backbone)
    if shape.vocab_size < lm.vocab_size:
        raise InvalidArgument(
            f"the backbone has {shape.vocab_size:,} tokens, {lm.name} has {lm.vocab_size:,}",
            hint="a backbone needs the target's tokenizer",
        )
    n_ctx = getattr(shape, "max_position_embeddings", None)
    needed = longest + 1 - n_bos(lm)  # a start token stands in front of inputs without BOS
    if n_ctx is not None and needed > n_ctx:
        raise InvalidArgument(
            f"inputs of up to {longest} tokens need a backbone with a context of {needed}, this one has {n_ctx}",
            hint="backbone='small', or shorter prompts",
        )
