"""An untrained generator: which sites, their moments on P(X), the frame of its rows, its backbone.

Nothing here touches the caller's random state: weights depend on `config.seed` alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..architectures import text_config
from ..errors import CheckpointMismatch, InvalidArgument, UnsupportedModel
from ..kernels import Kernel, site_statistics
from .backbones import check_fits, make_backbone, n_positions, prepared
from .common import covariances, n_coordinates
from .config import GeneratorConfig, TrainingConfig
from .data import last_activations
from .generator import Generator
from .processes import drawn, gathered, share

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ..models import LanguageModel
    from ..prompts import PromptDistribution


def resolve_sites(lm: LanguageModel, sites: Sequence[str] | str) -> list[str]:
    """Canonical names of names and globs, each once, in forward order."""
    specs = [sites] if isinstance(sites, str) else list(sites)
    if not specs:
        raise InvalidArgument("no sites given", hint="for example 'blocks.*.hook_resid_post'")
    wanted: set[str] = set()
    for spec in specs:
        wanted |= set(lm.sites(spec)) if "*" in str(spec) else {lm.site(spec).name}
    every = lm.sites()
    return [s for s in every if s in wanted] + sorted(wanted - set(every))


def build_generator(
    lm: LanguageModel,
    sites: Sequence[str] | str,
    prompts: PromptDistribution,
    config: TrainingConfig,
    cancel: threading.Event | None = None,
    generator_class: type[Generator] = Generator,
    accelerator: Accelerator | None = None,
) -> Generator:
    """An untrained generator: its backbone, and gates at zero; or the one that `config.start_from` names.

    The processes of an `accelerator` measure the sites together.
    """
    sites = resolve_sites(lm, sites)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        if config.start_from:
            return _continued(lm, sites, prompts, config)
        return _fresh(lm, sites, prompts, config, cancel, generator_class, accelerator)


def _continued(lm: LanguageModel, sites: list[str], prompts: PromptDistribution, config: TrainingConfig) -> Generator:
    """The generator of an earlier run, to be trained further."""
    generator = Generator.from_pretrained(config.start_from, target=lm)
    if list(generator.sites) != sites or (generator.fingerprint, generator.tokenizer_hash) != (
        lm.fingerprint,
        lm.tokenizer_hash,
    ):
        raise CheckpointMismatch(
            f"{config.start_from} is a generator of other sites or of another model",
            hint="give its own model and sites, or start anew",
        )
    own = ("n_tokens", "n_heads") if config.control == "attention" else ("units",)
    wanted = {name: getattr(config, name) for name in ("metric", "shape", "control", "width", "n_blocks", *own)}
    n_common = n_coordinates(config.n_common, {name: generator.statistics(name) for name in sites})
    kept, most = generator.config.n_common, generator.config.width
    if min(n_common, most) != min(kept, most):  # what is trained is folded into no more than that
        wanted["n_common"] = n_common
    for name, new in wanted.items():
        old = getattr(generator.config, name)
        if old != new:
            raise CheckpointMismatch(
                f"{config.start_from} was trained with {name}={old!r}, not {new!r}",
                hint=f"give {name}={old!r} too, or start anew",
            )
    longest = prompts.longest(lm)
    check_fits(generator.backbone, lm, longest)
    generator.prompts = prompts
    length = min(max(longest + 4, generator.config.max_length), n_positions(generator.backbone, longest))
    generator.config = replace(generator.config, max_length=length, bandwidths=tuple(config.bandwidths))
    if not generator.shares_target:
        generator.backbone = prepared(generator.backbone, config.trainable)
    return generator


def _fresh(
    lm: LanguageModel,
    sites: list[str],
    prompts: PromptDistribution,
    config: TrainingConfig,
    cancel: threading.Event | None,
    generator_class: type[Generator],
    accelerator: Accelerator | None,
) -> Generator:
    special = [token for token in (lm.eos_id, lm.bos_id) if token is not None]
    if not special and config.backbone != "small":
        raise UnsupportedModel(
            f"the tokenizer of {lm.name} has neither BOS nor EOS",
            hint="TrainingConfig(backbone='small') adds one for itself; or set tokenizer.eos_token to a spare token",
        )
    kernel = Kernel(config.metric, config.shape)
    seed, own = config.seed + 1, slice(None)
    if accelerator is None:
        inputs = prompts.draw(config.statistics_samples, lm, seed=seed, cancel=cancel)
    else:
        inputs = drawn(accelerator, prompts, config.statistics_samples, lm, seed=seed, cancel=cancel)
        own = share(accelerator)
    activations = last_activations(lm, inputs[own], sites, batch_size=512, cancel=cancel)
    if accelerator is not None:
        activations = gathered(accelerator, activations, len(inputs))
    statistics = {name: site_statistics(z, kernel=kernel) for name, z in activations.items()}
    n_common = n_coordinates(config.n_common, statistics)
    longest = prompts.longest(lm)
    backbone = make_backbone(lm, config, longest)
    d_model = text_config(backbone).hidden_size
    if config.control == "attention" and d_model % config.n_heads:
        raise InvalidArgument(
            f"n_heads={config.n_heads} does not divide the backbone's width {d_model}", hint="another n_heads"
        )
    end_id = next(iter(special), lm.vocab_size)  # the one that a small backbone adds
    front = 0 if lm.text_bos_id is None else 1
    if any(end_id in ids[front:] for ids in inputs):
        raise InvalidArgument(
            f"inputs of P(X) hold {lm.token_strings([end_id])[0]!r}, which ends what a generator writes: what comes "
            "behind it would never be written",
            hint="leave it out of the prompts, or set tokenizer.eos_token to a spare token before load_model",
        )
    starts = (lm.text_bos_id, lm.bos_id, end_id)
    frame = GeneratorConfig.of(
        config,
        start_id=next(token for token in starts if token is not None),
        end_id=end_id,
        has_bos=lm.text_bos_id is not None,
        max_length=min(longest + 4, n_positions(backbone, longest)),
        n_common=n_common,
    )
    generator = generator_class(
        backbone, statistics, prompts, frame, fingerprint=lm.fingerprint, tokenizer_hash=lm.tokenizer_hash,
        shares_target=config.backbone == "target" and config.trainable == "frozen",
    )  # fmt: skip
    if generator.encoder.n_common:
        generator.encoder.set_common(covariances(activations, statistics, n_common))
    if generator.ending is not None:
        generator.ending.set_usual(inputs)
    return generator
