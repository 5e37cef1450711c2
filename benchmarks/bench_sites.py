"""What it is worth that the sites of one generator share what they learn: short trainings for many sites at once.

    python benchmarks/bench_sites.py                                  # the packaged model, all sites, all tasks
    python benchmarks/bench_sites.py --examples 307200 --common 0 --common 640 --seed 0 --seed 1

    own maps     `TrainingConfig(n_common=0)`: each site has a linear map of its own (and one in common where sites
                 share the residual stream's basis), to be learned from its own examples
    common K     `n_common=K`: each site's best linear estimate of the first K principal components of all sites'
                 activations, in closed form, and one map of those

Everything else is equal: inputs, noise, steps, backbone, encoder. At a few points of each training, inputs that were
held out, each read at one site and noised by each bandwidth, are scored: bits that the activation saves, by kind of
site, and nats that the input costs, given it. Bits are a lower bound of what the site says (a generator that knew all
would save the channel bits). All variants see the same inputs and noise, so differences are paired: `se` is over
inputs, and says nothing of another training. The CPU time that is printed holds the scoring too.
"""

from __future__ import annotations

import argparse
import math
import threading
import time
from contextlib import suppress

import altair as alt
import numpy as np
import pandas as pd
import torch
from _results import name_argument, write

import inversescope_nb as isn
from inversescope_nb.errors import Cancelled
from inversescope_nb.generator.data import last_activations
from inversescope_nb.tasks import get_prompts

BANDWIDTHS = (0.3, 0.1, 0.05, 0.02)
KINDS = ("residual stream", "outputs", "heads")
HELD_OUT = 40
"""Inputs for each site."""
_SEED = 4_242


def kind(site: str) -> str:
    """Of a site."""
    return KINDS[2] if "hook_z" in site else KINDS[0] if "hook_resid" in site else KINDS[1]


class HeldOut:
    """Inputs drawn with a seed of their own, each read at one site, and noised alike for every generator."""

    def __init__(self, lm: isn.LanguageModel, prompts: isn.PromptDistribution, sites: list[str]) -> None:
        self.sites = sites
        self.inputs = prompts.draw(HELD_OUT * len(sites), lm, seed=_SEED)
        z = last_activations(lm, self.inputs, sites)
        self.at = {site: list(range(i, len(self.inputs), len(sites))) for i, site in enumerate(sites)}
        self.z = {site: z[site][rows] for site, rows in self.at.items()}

    def score(self, generator: isn.Generator) -> pd.DataFrame:
        """log q of every input given nothing, and given its site's activation at every bandwidth."""
        generator.eval()
        rows = []
        for number, site in enumerate(self.sites):
            inputs = [self.inputs[i] for i in self.at[site]]
            prior = [float(x.sum()) for x in generator.prior_log_probs(inputs)]
            for eps in BANDWIDTHS:
                u = generator.noised(site, self.z[site], eps, seed=_SEED + number)
                given = [float(x.sum()) for x in generator.log_probs(inputs, generator.condition_on(site, u, eps))]
                rows += [
                    {"site": site, "kind": kind(site), "bandwidth": eps, "input": i, "log_q": q, "log_prior": p}
                    for i, q, p in zip(self.at[site], given, prior, strict=True)
                ]
        return pd.DataFrame(rows)


def trained(lm, prompts, held_out: HeldOut, n_common: int, seed: int, args) -> pd.DataFrame:
    """One training's scores at each of its points."""
    points: list[pd.DataFrame] = []
    steps, over = args.examples // args.batch, threading.Event()

    def keep(generator: isn.Generator, examples: int) -> dict[str, float]:
        points.append(held_out.score(generator).assign(examples=examples))
        if examples == steps * args.batch:
            over.set()  # what else is measured of a finished generator is not needed here
        return {}

    config = isn.TrainingConfig(
        steps=steps, batch_size=args.batch, width=args.width, n_blocks=args.blocks, n_common=n_common, seed=seed,
        gap_inputs=0, held_out=64, eval_every=max(1, steps // args.points),
    )  # fmt: skip
    began = time.process_time()
    with suppress(Cancelled):
        isn.train_generator(lm, held_out.sites, prompts, config=config, progress=False, on_evaluate=keep, cancel=over)
    name = f"common {n_common}" if n_common else "own maps"
    print(f"{name}, seed {seed}: {time.process_time() - began:.0f} s of CPU", flush=True)
    return pd.concat(points).assign(variant=name, seed=seed)


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """A line a variant, bandwidth and point: bits saved by kind of site, and nats left beside the first variant's."""
    keys = ["variant", "examples", "bandwidth"]
    saved = scores.assign(bits=(scores["log_q"] - scores["log_prior"]) / math.log(2))
    table = saved.pivot_table(index=keys, columns="kind", values="bits", sort=False).reindex(columns=list(KINDS))
    table["nats left"] = -saved.groupby(keys, sort=False)["log_q"].mean()
    first = scores[scores["variant"] == scores["variant"].iloc[0]]
    on = ["seed", "examples", "bandwidth", "input"]
    pairs = saved.merge(first[[*on, "log_q"]], on=on, suffixes=("", "_first"))
    pairs["gain"] = pairs["log_q"] - pairs["log_q_first"]
    inputs = pairs.groupby([*keys, "input"], sort=False)["gain"].mean().groupby(keys, sort=False)  # seeds see the same
    table["fewer than the first"] = inputs.mean()
    table["se"] = inputs.std(ddof=1) / np.sqrt(inputs.size())
    trainings = pairs.groupby([*keys, "seed"], sort=False)["gain"].mean().groupby(keys, sort=False)
    table["sd of a training"] = trainings.std(ddof=1)
    return table.reset_index()


def picture(table: pd.DataFrame) -> alt.TopLevelMixin:
    """Bits saved as training goes on."""
    long = table.melt(["variant", "examples", "bandwidth"], list(KINDS), "kind", "bits saved")
    return (
        alt.Chart(long)
        .mark_line(point=True)
        .encode(
            x=alt.X("examples:Q"), y=alt.Y("bits saved:Q"), color=alt.Color("variant:N", sort=None),
            row=alt.Row("kind:N", sort=list(KINDS)), column=alt.Column("bandwidth:O", sort="descending"),
        )
        .properties(width=150, height=110)
    )  # fmt: skip


def main() -> None:
    """Trains, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sites", default="*", help="glob over the packaged model's sites")
    parser.add_argument("--examples", type=int, default=76_800, help="of each training")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--points", type=int, default=4, help="along each training")
    parser.add_argument("--common", type=int, action="append", help="common coordinates (default: 0, 256, 640)")
    parser.add_argument("--width", type=int, default=192, help="of the condition")
    parser.add_argument("--blocks", type=int, default=3, help="of the site encoder")
    parser.add_argument("--seed", type=int, action="append", help="of a training (default: 0)")
    name_argument(parser, "sites")
    args = parser.parse_args()
    args.common, args.seed = args.common or [0, 256, 640], args.seed or [0]
    lm, prompts = isn.load_model(dtype=torch.float32), get_prompts("all_tasks")
    held_out = HeldOut(lm, prompts, lm.sites(args.sites))
    scores = pd.concat([trained(lm, prompts, held_out, n, s, args) for s in args.seed for n in args.common])
    table = summary(scores)
    print(table[table["examples"] == table["examples"].max()].round(3).to_string(index=False))
    write(args.name, {"summary": table}, picture(table), arguments=vars(args), target=lm.name, held_out=HELD_OUT)


if __name__ == "__main__":
    main()
