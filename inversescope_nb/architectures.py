"""Where each architecture keeps the parts of a block: one table, and one generic fallback.

A block adds two things to the residual stream: the attention's output and the MLP's. A :class:`Layout`
names the modules that carry them, as paths below the block, so that everything else in the package can
speak of ``attn_out`` or ``resid_mid`` without knowing the model. Nothing here is trusted: when a model is
loaded, :mod:`inversescope_nb.checks` runs it once and adds the parts up.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, Literal

from .errors import UnsupportedModel

if TYPE_CHECKING:
    from torch import nn

Side = Literal["in", "out"]


@dataclass(frozen=True)
class Layout:
    """The parts of one block, as module paths below it."""

    attn: str
    """Attention; its output is the raw attention output."""
    out_proj: str
    """The attention's output projection W_O; its input is the heads' z, side by side."""
    mlp: str
    """MLP; its output is the raw MLP output."""
    mid: str | None
    """The module whose input is the residual stream between attention and MLP; None in parallel blocks."""
    attn_norm: str | None = None
    """A norm between the attention and the residual stream (Gemma-2), if there is one."""
    mlp_norm: str | None = None
    """A norm between the MLP and the residual stream (Gemma-2), if there is one."""

    def tap(self, kind: str) -> tuple[str, Side]:
        """Path below the block and side of the module where a kind of site is read."""
        places: dict[str, tuple[str | None, Side]] = {
            "resid_pre": ("", "in"),
            "z": (self.out_proj, "in"),
            "result": (self.out_proj, "in"),
            "attn_raw": (self.attn, "out"),
            "attn_out": (self.attn_norm or self.attn, "out"),
            "resid_mid": (self.mid, "in"),
            "mlp_raw": (self.mlp, "out"),
            "mlp_out": (self.mlp_norm or self.mlp, "out"),
            "resid_post": ("", "out"),
        }
        path, side = places[kind]
        if path is None:
            raise ValueError(f"this layout has no {kind}")
        return path, side


GPT2 = Layout(attn="attn", out_proj="attn.c_proj", mlp="mlp", mid="ln_2")
LLAMA = Layout(attn="self_attn", out_proj="self_attn.o_proj", mlp="mlp", mid="post_attention_layernorm")
GEMMA = Layout(
    attn="self_attn",
    out_proj="self_attn.o_proj",
    mlp="mlp",
    mid="pre_feedforward_layernorm",
    attn_norm="post_attention_layernorm",
    mlp_norm="post_feedforward_layernorm",
)
NEOX = Layout(attn="attention", out_proj="attention.dense", mlp="mlp", mid="post_attention_layernorm")
NEOX_PARALLEL = Layout(attn="attention", out_proj="attention.dense", mlp="mlp", mid=None)
OPT = Layout(attn="self_attn", out_proj="self_attn.out_proj", mlp="fc2", mid="final_layer_norm")

BLOOM = Layout(  # attention and MLP add the residual stream inside: their last linear maps are the parts
    attn="self_attention.dense",
    out_proj="self_attention.dense",
    mlp="mlp.dense_4h_to_h",
    mid="post_attention_layernorm",
)

LAYOUTS: dict[str, Layout] = {
    "gpt2": GPT2,
    "gpt_neox": NEOX,
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "phi3": LLAMA,
    "gemma2": GEMMA,
    "gemma3": GEMMA,
    "gemma3_text": GEMMA,
    "opt": OPT,
    "bloom": BLOOM,
}
"""``config.model_type`` of the language model -> layout of its blocks."""


@dataclass(frozen=True)
class Architecture:
    """The blocks of one loaded model and the layout of their parts."""

    layout: Layout
    """Paths of the parts below each block."""
    blocks: tuple[nn.Module, ...]
    """The blocks in forward order."""
    path: str
    """Path of the list of blocks below the model, such as ``transformer.h``."""

    def module(self, layer: int, path: str) -> nn.Module:
        """The module at `path` below block `layer`."""
        return self.blocks[layer].get_submodule(path)


def text_config(model: nn.Module) -> Any:
    """The configuration of the language model proper (of a multimodal model, its text part)."""
    config = getattr(model, "config", None)
    if config is None:
        raise UnsupportedModel(
            f"{type(model).__name__} has no Hugging Face configuration",
            hint="give a transformers model for causal language modelling",
        )
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def candidates(model: nn.Module) -> Iterator[Architecture]:
    """Possible readings of a model, best first: the table's, else every one the fallback can think of."""
    config = text_config(model)
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise UnsupportedModel(
            "prompt and prefix tuning put virtual tokens before the prompt, so positions would be shifted",
            hint="LoRA and other adapters inside the blocks are supported",
        )
    path, blocks = find_blocks(model, config.num_hidden_layers)
    layout = LAYOUTS.get(config.model_type)
    if layout is NEOX and getattr(config, "use_parallel_residual", True):
        layout = NEOX_PARALLEL
    layouts = [layout] if layout is not None else guess_layouts(blocks[0])
    for layout in layouts:
        yield Architecture(layout, blocks, path)


def find_blocks(model: nn.Module, n_layers: int) -> tuple[str, tuple[nn.Module, ...]]:
    """Path and blocks of the module list with as many entries as the model has layers.

    Searching by length rather than by name finds the blocks inside wrappers too (PEFT, multimodal models).
    """
    from torch import nn

    for path, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) != n_layers or "vision" in path:
            continue
        without = [i for i, block in enumerate(module) if not any("att" in name for name, _ in block.named_children())]
        if 0 not in without:
            return path, tuple(module)
        if len(without) < n_layers:  # a hybrid, such as Jamba
            first, of = ", ".join(name for name, _ in module[0].named_children()), type(model).__name__
            raise UnsupportedModel(
                f"{len(without)} of the {n_layers} blocks of {of} have no attention; block 0 is {first}",
                hint="sites stand for the same place in every block: hybrids of attention and another mixer have none",
            )
    raise UnsupportedModel(
        f"no list of {n_layers} transformer blocks found in {type(model).__name__}",
        hint=f"known architectures: {', '.join(sorted(LAYOUTS))}; others need blocks in one ModuleList",
    )


def guess_layouts(block: nn.Module) -> Iterator[Layout]:
    """Layouts that the names in an unknown block allow, likeliest first, for the numerical check to choose."""
    names = [name for name, _ in block.named_children()]
    norms = [name for name in names if "norm" in name or name.startswith("ln")]
    rest = [name for name in names if name not in norms]
    attns = [name for name in rest if "att" in name]
    mlps = [name for name in rest if any(word in name for word in ("mlp", "feed_forward", "ffn", "moe", "fc2"))]
    post_norms: list[tuple[str | None, str | None]] = [(None, None), *combinations(norms, 2)]
    for attn, mlp, (attn_norm, mlp_norm) in product(attns, mlps, post_norms):
        # a sequential block also satisfies the law of a parallel one, so parallel (None) is tried after it
        mids = [*norms[1:], mlp, None, *norms[:1]]
        inner = [name for name, _ in block.get_submodule(attn).named_modules()]
        outs = [name for name in inner if name.rpartition(".")[2] in _OUT_PROJECTIONS]
        for out, mid in product(outs, mids):
            yield Layout(attn, f"{attn}.{out}", mlp, mid, attn_norm, mlp_norm)


def takes(model: nn.Module, argument: str) -> bool:
    """Whether the model's forward pass accepts an argument of that name."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return argument in inspect.signature(inner.forward).parameters


_OUT_PROJECTIONS = ("o_proj", "c_proj", "out_proj", "dense", "wo", "proj", "out")
