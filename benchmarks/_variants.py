"""The variants of bench_gap.py: how each is configured, and what kind of generator it is."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from _injections import AdaptiveNorm, Prefix, train_clean

import inversescope_nb as isn

CONFIGS: dict[str, dict[str, Any]] = {
    "generator": {},
    "wide": {"width": 256},
    "adamw": {"optimizer": "adamw", "lr": 2e-3, "adapter_lr": 4e-3},
    "attention": {"control": "attention"},
    "one-token": {"control": "attention", "n_tokens": 1},
    "adaptive-norm": {},
    "prefix": {},
    "clean": {},
    "target": {"backbone": "target", "lr": 2e-3},
    "target-lora": {"backbone": "target", "trainable": "lora", "lr": 2e-3},
    "target-frozen": {"backbone": "target", "trainable": "frozen"},
    "slot": {"optimizer": "adamw", "lr": 2e-3, "adapter_lr": 2e-3},
    "slot-muon": {},
    "slot-silent": {"optimizer": "adamw", "lr": 2e-3, "adapter_lr": 2e-3},
}
"""What each changes of :func:`config_of`; Muon's rates suit a model from scratch, a trained one takes a third."""


def config_of(
    variant: str, bandwidth: float, seed: int, args: argparse.Namespace, *, size: Sequence[int] = (2, 128)
) -> isn.TrainingConfig:
    """The training of a variant that is measured at one bandwidth; `size`: layers and width of a small backbone."""
    steps = max(1, round(args.examples / args.batch))
    layers, width = size
    low, high = getattr(args, "train_range", None) or (bandwidth, bandwidth)
    settings = {
        "optimizer": "muon", "lr": args.lr, "adapter_lr": args.lr, "backbone": "small", "small_layers": layers,
        "small_width": width,
        "width": args.slot_width if "slot" in variant else 128,
    }  # fmt: skip
    return isn.TrainingConfig(
        **settings | CONFIGS[variant], steps=steps, batch_size=args.batch, bandwidths=(low, high),
        gap_inputs=0, seed=seed, eval_every=max(1, steps // args.points), save_every=100,
    )  # fmt: skip


def train(variant: str, lm, site: str, prompts, bandwidth: float, config: isn.TrainingConfig, **more: Any):
    """A variant, trained; `more` as of :func:`inversescope_nb.train_generator`."""
    if "slot" in variant:
        eps = None if variant == "slot-silent" else bandwidth
        return isn.baselines.train_slot_decoder(lm, [site], prompts, bandwidth=eps, config=config, **more)
    kind = {"adaptive-norm": AdaptiveNorm, "prefix": Prefix}.get(variant, isn.Generator)
    generator = isn.train_generator(lm, [site], prompts, config=config, generator_class=kind, **more)
    if variant == "clean":
        steps = config.steps + max(1, config.steps // 10)
        seconds = train_clean(generator, lm, site, prompts, bandwidth, steps=steps - config.steps, seed=config.seed)
        history = generator.run_card["history"]
        point = {"step": steps, "seconds": history[-1]["seconds"] + seconds}
        history.append(point | dict(more["on_evaluate"](generator, steps * config.batch_size)))
    return generator
