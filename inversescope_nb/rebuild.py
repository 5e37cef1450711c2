"""Rebuilds what comes with the package: ``python -m inversescope_nb.rebuild all --out DIR``.

First the target model (see :mod:`inversescope_nb.pretraining`), then one generator for all its sites on the
equal mixture of all tasks, by one of three recipes (`--recipe`): ``packaged``, as the committed weights were made, in
two stages, the second from the first's weights (rounded, as they were published) at a new learning-rate cycle;
``gated``, with the control layers and the optimizer that are today's defaults; or ``common``, by all of today's
defaults, a larger site encoder and a smaller backbone. All resume where they stopped, and log what they took of their
budget. The results, ``DIR/target/model`` and ``DIR/generator/generator``, go to ``inversescope_nb/pretrained/target``
and ``.../generator``. Without a target in DIR the packaged one is taken. The same on the same hardware and thread
count; elsewhere up to rounding.

``python -m inversescope_nb.rebuild ioi_heads --out DIR`` trains a small generator of that target for one study of the
notebooks: a few kinds of sites, the prompts of one task, read where the study reads them (`STUDIES`);
``DIR/ioi_heads/generator`` goes to ``notebooks/generators/ioi_heads``. Another study is ``attributes``, and ``stories``
one of a model that does not come with the package: ``python -m inversescope_nb.rebuild stories --target FOLDER --out
DIR``, FOLDER being stories260K (Andrej Karpathy's, in the form that transformers read).
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from .generator import Generator, TrainingConfig, train_generator
from .generator.quality import measure_quality
from .loading import PACKAGED_TARGET
from .models import load_model
from .pretraining import PretrainingConfig, pretrain
from .prompts import PromptDistribution
from .tasks import attributes, get_prompts, ioi

if TYPE_CHECKING:
    from .models import LanguageModel

log = logging.getLogger(__name__)
BUDGET_HOURS = {"target": 3, "generator": 6}
STUDY_HOURS = 2
PACKAGED = (
    TrainingConfig(
        steps=2_500,
        batch_size=320,
        held_out=1_024,
        first_sites=("blocks.[01].hook_resid_*",),
        first_steps=900,
        control="attention",
        optimizer="adamw",
        lr=1e-3,
        adapter_lr=4e-3,
        n_common=0,
    ),
    TrainingConfig(
        steps=7_000,
        batch_size=320,
        held_out=1_024,
        eval_every=500,
        seed=1,
        control="attention",
        optimizer="adamw",
        lr=1e-3,
        adapter_lr=4e-3,
        n_common=0,
    ),
)
"""How the committed weights were trained: each stage goes on from the one before."""
GATED = (
    TrainingConfig(
        steps=8_500,
        batch_size=256,
        held_out=1_024,
        eval_every=500,
        first_sites=("blocks.[01].hook_resid_*",),
        first_steps=700,
        n_common=0,
    ),
)
"""The same sites and P(X) with gated control layers and Muon, in fewer examples."""
COMMON = (
    TrainingConfig(
        steps=16_000,
        batch_size=256,
        held_out=1_024,
        eval_every=500,
        backbone="small",
        lr=6e-3,
        width=192,
        n_blocks=3,
        n_common=640,
    ),
)
"""All sites turned into common coordinates, a larger site encoder, and a smaller backbone, from scratch."""
SMALL = (
    TrainingConfig(
        steps=3_000,
        batch_size=256,
        backbone="small",
        lr=6e-3,
        bandwidths=(0.05, 1.0),
        held_out=256,
        gap_inputs=0,
        eval_every=500,
        save_every=100,
    ),
)
"""One study's sites and prompts alone: an hour on one core."""
STORIES = (
    TrainingConfig(
        steps=3_300,
        batch_size=256,
        micro_batch=64,
        backbone="target",
        lr=5e-4,
        adapter_lr=5e-3,
        units=384,
        warmup=50,
        bandwidths=(0.1, 0.5),
        drop_condition=0.06,
        gap_inputs=0,
        eval_every=300,
        save_every=100,
    ),
)
"""Whatever a model of stories writes, read at any token: an hour and a half on one core."""


class Study(NamedTuple):
    """What a generator for one study of the notebooks is trained for."""

    sites: tuple[str, ...]
    """Globs of the sites."""
    prompts: Callable[[LanguageModel], PromptDistribution]
    """P(X), of a target."""
    stages: tuple[TrainingConfig, ...] = SMALL
    """How it is trained."""


def _cities(_lm: LanguageModel) -> PromptDistribution:
    """Sentences about cities, read at the city or at their end."""
    parts = [attributes().split("all", cut=cut) for cut in ("slot:CITY", "end")]
    return PromptDistribution.mixture(parts, name="attributes")


STUDIES = {
    "ioi_heads": Study(("blocks.*.attn.hook_z.*", "blocks.*.hook_resid_post"), lambda _: ioi().split("all", cut="end")),
    "attributes": Study(("blocks.0.hook_resid_pre", "blocks.*.hook_resid_post"), _cities),
    "stories": Study(
        ("blocks.*.hook_resid_post",), lambda lm: PromptDistribution.from_model(lm, max_tokens=64), STORIES
    ),
}
"""The small generators that lie beside the notebooks."""
RECIPES = {"packaged": PACKAGED, "gated": GATED, "common": COMMON}


def train_packaged_generator(
    out: Path,
    target: Path,
    stages: Sequence[TrainingConfig] = PACKAGED,
    *,
    sites: str | Sequence[str] = "*",
    prompts: Callable[[LanguageModel], PromptDistribution] | None = None,
    n_picks: int = 8,
) -> Generator:
    """Trains one generator for (all) sites of a target, measures it, and writes ``out/generator``.

    Args:
        out: folder of checkpoints and of the result.
        target: folder of the target.
        stages: one training each.
        sites: globs of the sites.
        prompts: P(X) of the target; None: the equal mixture of all tasks.
        n_picks: inputs a site that its quality is measured on.
    """

    def report(done: int, total: int, message: str) -> None:
        if done % 50 == 0:
            log.info("%d of %d: %s", done, total, message)

    lm, folder = load_model(target, dtype=torch.float32), None
    names = [name for glob in ([sites] if isinstance(sites, str) else sites) for name in lm.sites(glob)]
    inputs = prompts(lm) if prompts else get_prompts("all_tasks")
    for number, config in enumerate(stages, 1):
        config = replace(config, start_from=str(folder) if folder else "")
        folder = out / f"stage-{number}" / "generator"
        generator = train_generator(lm, names, inputs, config=config, run_dir=folder.parent, on_progress=report)
        generator.save_pretrained(folder, dtype=torch.float16)
    return publish(lm, folder, out / "generator", n_picks=n_picks)


def publish(lm: LanguageModel, trained: Path, out: Path, *, n_picks: int = 8) -> Generator:
    """The folder to publish: rounded to half precision, then probed and measured as it will be used."""
    generator = Generator.from_pretrained(trained, target=lm)
    generator.save_pretrained(out, dtype=torch.float16)
    rounded = Generator.from_pretrained(out, target=lm)
    rounded.record_probe(lm)
    rounded.run_card["quality"] = measure_quality(lm, rounded, n_picks=n_picks)
    rounded.save_pretrained(out, dtype=torch.float16)
    for row in rounded.run_card["quality"]:
        log.info("%s", json.dumps(row))
    return rounded


def main(argv: list[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("all", "target", "generator", *STUDIES))
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and results")
    parser.add_argument("--recipe", choices=RECIPES, default="packaged", help="of the generator")
    parser.add_argument("--target", type=Path, help="folder of the target (default: DIR/target/model, or the packaged)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    if args.what == "stories" and args.target is None:
        parser.error("stories is a study of a model that does not come with the package: give its folder as --target")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    for what in ("target", "generator") if args.what == "all" else (args.what,):
        began = time.monotonic()
        if what == "target":
            pretrain(args.out / "target", PretrainingConfig(), threads=args.threads)
        else:
            made = args.out / "target" / "model"
            target = args.target or (made if made.exists() else PACKAGED_TARGET)
            if what in STUDIES:
                study = STUDIES[what]
                out = args.out / what
                train_packaged_generator(out, target, study.stages, sites=study.sites, prompts=study.prompts)
            else:
                train_packaged_generator(args.out / what, target, RECIPES[args.recipe])
        hours = (time.monotonic() - began) / 3600
        log.info("%s: %.2f h of the budget of %d h on two cores", what, hours, BUDGET_HOURS.get(what, STUDY_HOURS))


if __name__ == "__main__":
    main()
