"""What it is worth that the end of an input is a decision of its own.

    python benchmarks/bench_ends.py                            # a look, two minutes
    python benchmarks/bench_ends.py --steps 80 --name ends     # a quarter of an hour of one core

Short trainings on what a model itself writes, cut after any token: of a frozen copy with adapters, and of one that
learns as a whole; with the end as a decision of its own (the default), and as one token among all others. Nats of 512
held-out inputs, with the noised activation and without, beside P(X)'s own. The target is stories260K where
ISN_THIRD_PARTY_MODELS names the folder that it is in, else the packaged model.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import altair as alt
import pandas as pd
import torch
from _results import name_argument, write

import inversescope_nb as isn
from inversescope_nb.generator.config import GeneratorConfig

LENGTH = 64
"""Tokens of the longest input, where the context has twice as many."""
HELD_OUT = 512
POINTS = 4
"""Of a curve."""


def curve(lm: isn.LanguageModel, trainable: str, steps: int, *, own: bool) -> list[dict[str, float | int | str]]:
    """One training's held-out nats."""
    prompts = isn.PromptDistribution.from_model(lm, max_tokens=min(LENGTH, lm.n_ctx // 2))
    config = isn.TrainingConfig(
        steps=steps, warmup=20, lr=4e-4, trainable=trainable, bandwidths=(0.05, 1.0), held_out=HELD_OUT, gap_inputs=0,
        eval_every=max(1, steps // POINTS), micro_batch=64, statistics_samples=2048,
    )  # fmt: skip
    usual = GeneratorConfig.of
    with patch.object(GeneratorConfig, "of", lambda *given, **also: replace(usual(*given, **also), ends=own)):
        gen = isn.train_generator(lm, "blocks.*.hook_resid_post", prompts, config=config, progress=False)
    floor = -sum(prompts.log_probs(prompts.draw(HELD_OUT, lm, seed=config.seed + 3), lm)) / HELD_OUT
    what = {"backbone": trainable, "end": "a decision of its own" if own else "a token among others", "floor": floor}
    return [
        {**what, **{k: point[k] for k in ("step", "nll", "nll_prior", "bits")}} for point in gen.run_card["history"]
    ]


def main() -> None:
    """Prints the table, and writes it and a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12)
    name_argument(parser, "ends")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(os.environ.get("ISN_THIRD_PARTY_MODELS", "")) / "stories260K"
    lm = isn.load_model(folder if (folder / "config.json").is_file() else None)
    rows = []
    for trainable in ("frozen", "full"):
        for own in (True, False):
            rows += curve(lm, trainable, args.steps, own=own)
            print(pd.DataFrame(rows[-1:]).round(2).to_string(index=False), flush=True)
    chart = alt.Chart(pd.DataFrame(rows)).mark_line(point=True).encode(
        x=alt.X("step:Q", title="steps of 256 inputs"),
        y=alt.Y("nll:Q", scale=alt.Scale(zero=False), title="nats of a held-out input"),
        color=alt.Color("end:N", title="the end is"), strokeDash=alt.StrokeDash("backbone:N"),
    ).properties(width=260, height=200)  # fmt: skip
    write(args.name, {"curves": pd.DataFrame(rows).round(4)}, chart, arguments=vars(args), target=lm.name)


if __name__ == "__main__":
    main()
