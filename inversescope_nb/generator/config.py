"""Shape of a generator, and how it is trained: frozen dataclasses, the latter checked when it is made."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InvalidArgument, suggest
from ..kernels import BANDWIDTHS, Kernel

HEAD = 32
"""Width of a small backbone's heads."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Shape of the conditioning, and how rows are framed."""

    start_id: int
    """Token that every row begins with: the target's BOS, or its EOS where it has no BOS."""
    end_id: int
    """Token that stands behind the site's token."""
    has_bos: bool
    """Whether `start_id` belongs to the input (the target has a BOS) or only to the row."""
    max_length: int
    """Longest row, in tokens, that sampling may write."""
    width: int = 128
    """Condition width c."""
    n_tokens: int = 8
    """Condition tokens an activation becomes."""
    n_blocks: int = 2
    """Residual MLP blocks of the site encoder."""
    expansion: int = 2
    """Hidden width of those blocks, in units of `width`."""
    n_common: int = 0
    """Common coordinates that the activations of all sites are turned into; 0: each site has a map of its own."""
    control: str = "attention"
    """The kind of control layer, see :mod:`~inversescope_nb.generator.control`; folders of old do not name theirs."""
    units: int = 256
    """Hidden units of every gated control layer."""
    n_heads: int = 4
    """Heads of every control layer that attends."""
    bandwidths: tuple[float, float] = (0.02, 1.0)
    """Smallest and largest bandwidth trained at."""
    metric: str = "scaled"
    """The kernel's metric, see :class:`inversescope_nb.kernels.Kernel`."""
    shape: str = "gaussian"
    """The kernel's shape."""
    ends: bool = False
    """Whether the end is a decision of its own (:mod:`~inversescope_nb.generator.ending`)."""

    @classmethod
    def of(
        cls, config: TrainingConfig, *, start_id: int, end_id: int, has_bos: bool, max_length: int, n_common: int
    ) -> GeneratorConfig:
        """The shape that a training asks for, with what follows from its target and P(X)."""
        return cls(
            start_id=start_id, end_id=end_id, has_bos=has_bos, max_length=max_length, width=config.width,
            n_tokens=config.n_tokens if config.control == "attention" else 1, n_blocks=config.n_blocks,
            n_common=n_common, control=config.control, units=config.units, n_heads=config.n_heads,
            bandwidths=config.bandwidths, metric=config.metric, shape=config.shape, ends=config.backbone != "small",
        )  # fmt: skip


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a training run besides target, sites and P(X).

    Changed most: `steps` and `batch_size`; `bandwidths`, the range that the generator is for; `backbone` (``"target"``,
    a copy of the target; ``"small"``, a GPT-2 from scratch; or a folder or Hub name); `trainable` (``"full"``,
    ``"lora"``, ``"frozen"``); `lr`; `metric` (``"scaled"``, ``"per_coordinate"``, ``"whitened"``, ``"cosine"``);
    `mixed_precision` (``"no"``, ``"bf16"``, ``"fp16"``); `micro_batch` and `gradient_checkpointing`, where memory is
    short; `eval_every` and `save_every`. ``isn.TrainingConfig??`` shows
    what each field means.
    """

    steps: int = 2_000
    """Optimizer steps."""
    batch_size: int = 256
    """Inputs a step, over all processes."""
    optimizer: str = "muon"
    """``"muon"``: Muon on the hidden matrices (:mod:`~inversescope_nb.generator.optimizers`); or ``"adamw"``."""
    lr: float = 2e-3
    """Peak learning rate of the backbone (linear warm-up, cosine to zero). Muon's step is a fifth of the size that
    AdamW's begins with at the same rate: a backbone from scratch takes 6e-3, and 2e-3 of AdamW."""
    adapter_lr: float = 6e-3
    """Peak learning rate of site encoder and control layers, which begin from nothing."""
    warmup: int = 100
    """Steps of the warm-up."""
    weight_decay: float = 0.01
    """Decoupled, on matrices only."""
    bandwidths: tuple[float, float] = BANDWIDTHS
    """Each example's bandwidth is drawn log-uniformly between these."""
    metric: str = "scaled"
    """The kernel's metric: ``"scaled"``, ``"per_coordinate"``, ``"whitened"`` or ``"cosine"``."""
    shape: str = "gaussian"
    """The kernel's shape: ``"gaussian"`` or ``"ball"``; see :class:`inversescope_nb.kernels.Kernel`."""
    drop_condition: float = 0.12
    """Share of examples that see the null token alone, so that the generator is its own prior as well."""
    backbone: str = "target"
    """``"target"`` (a copy of the target), ``"small"`` (a GPT-2 from scratch), or a folder or Hub name."""
    small_layers: int = 2
    """Layers of a small backbone."""
    small_width: int = 128
    """Its width d; heads are 32 wide."""
    trainable: str = "full"
    """``"full"``, ``"lora"`` (extra ``train``: peft) or ``"frozen"`` (only encoder and control layers learn)."""
    start_from: str = ""
    """Folder of a generator of the same shape and sites whose weights (and moments) training goes on from. What it
    had learned of common coordinates was folded into `width` of them: it can be turned, not widened again."""
    first_sites: tuple[str, ...] = ()
    """Globs of the sites that the first `first_steps` steps are spent on: what is learned there serves all."""
    first_steps: int = 0
    """How many those are."""
    prior_steps: int = 0
    """Stage 1: steps that train the backbone on P(X) as a plain language model first."""
    control: str = "gated"
    """``"gated"``: the condition scales the units of a hidden layer beside each block's own; ``"attention"``:
    blocks attend to `n_tokens` condition tokens. See :mod:`~inversescope_nb.generator.control`."""
    width: int = 128
    """Condition width c."""
    n_tokens: int = 8
    """Condition tokens an activation becomes, where blocks attend to them (else one)."""
    n_blocks: int = 2
    """Residual MLP blocks of the site encoder."""
    n_common: int = 512
    """Where there are several sites: common coordinates that the activations of all are turned into (their first
    principal components, taken together); 0: each site has a map of its own, to be learned from its own examples.
    What they do not hold of a site with more coordinates than that is not seen; how much it is is logged, with a
    warning below 80 % of a site's variance. A trained generator keeps no more numbers than `width` of them need."""
    units: int = 256
    """Hidden units of every gated control layer, whatever the backbone's width."""
    n_heads: int = 4
    """Heads of every control layer that attends."""
    statistics_samples: int = 8_192
    """Inputs that the sites' mean, scale and covariance are estimated on."""
    held_out: int = 512
    """Inputs, drawn with another seed, that the curves are measured on."""
    gap_inputs: int = 512
    """Where P(X) has at most so many inputs, the curves hold the gap to the exact posterior too; 0: never."""
    eval_every: int = 250
    """Steps between points of the curves."""
    save_every: int = 250
    """Steps between checkpoints, where there is a `run_dir`."""
    mixed_precision: str = "no"
    """accelerate's: ``"no"``, ``"bf16"`` or ``"fp16"``."""
    micro_batch: int | None = None
    """Most rows that a process passes through the generator at once: the rows of a step are taken in as many passes as
    that needs, and gradients add up. None: at least three passes, and more where a large vocabulary needs them."""
    gradient_checkpointing: bool = False
    """Whether backward passes compute every block again instead of keeping what is inside: less memory, a third more
    time, the same gradients."""
    seed: int = 0
    """Of weights, data and noise."""

    def __post_init__(self) -> None:
        at_least = dict.fromkeys(("warmup", "prior_steps", "first_steps", "n_blocks", "n_common", "gap_inputs"), 0)
        at_least["statistics_samples"] = 2
        at_least |= dict.fromkeys(("steps", "batch_size", "width", "n_tokens", "units", "n_heads", "held_out"), 1)
        at_least |= dict.fromkeys(("eval_every", "save_every", "small_layers"), 1)
        at_least["small_width"] = HEAD
        if self.micro_batch is not None:
            at_least["micro_batch"] = 1
        for name, least in at_least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InvalidArgument(f"{name}={value!r} must be a whole number of at least {least}")
        if not isinstance(self.gradient_checkpointing, bool):
            raise InvalidArgument(f"gradient_checkpointing={self.gradient_checkpointing!r} must be True or False")
        if len(self.bandwidths) != 2 or not 0 < self.bandwidths[0] <= self.bandwidths[1] < math.inf:
            raise InvalidArgument(f"bandwidths={self.bandwidths} must be (low, high) with 0 < low <= high")
        Kernel(self.metric, self.shape)
        object.__setattr__(self, "bandwidths", tuple(map(float, self.bandwidths)))
        object.__setattr__(self, "first_sites", tuple(self.first_sites))
        if not 0 <= self.drop_condition < 1:
            raise InvalidArgument(f"drop_condition={self.drop_condition} must be in [0, 1)")
        for name in ("lr", "adapter_lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidArgument(f"{name}={getattr(self, name)} must be > 0")
        if not 0 <= self.weight_decay < math.inf:
            raise InvalidArgument(f"weight_decay={self.weight_decay} must be >= 0")
        choices = {
            "control": ("gated", "attention"),
            "optimizer": ("adamw", "muon"),
            "trainable": ("full", "lora", "frozen"),
            "mixed_precision": ("no", "bf16", "fp16"),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise InvalidArgument(
                    f"{name}={value!r}.{suggest(value, allowed)}", hint=f"allowed: {', '.join(allowed)}"
                )
        if self.small_width % HEAD:
            raise InvalidArgument(f"small_width={self.small_width} is no multiple of {HEAD}", hint="128 is usual")
        if not self.backbone:
            raise InvalidArgument("backbone='' names nothing", hint="'target', 'small', or a folder or Hub name")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "bandwidths": list(self.bandwidths), "first_sites": list(self.first_sites)}
