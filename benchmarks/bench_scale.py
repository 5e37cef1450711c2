"""How fidelity and cost grow with the target's width and depth, the generator's, the sites and the prompt's length.

    python benchmarks/bench_scale.py                                                       # a look, ten minutes
    python benchmarks/bench_scale.py --seeds 3 --examples 25600 --kept FILE --name scale   # hours; goes on from FILE

`--workers 16` trains as many side by side, one thread each.

Each of five quantities is varied over a factor of 16 or more while all else stays; targets are trained on the spot, and
their 4,096 inputs listed (:mod:`_scaled`). At each size the bandwidth is the one at which the site says 5 bits on
average, so that the question is as hard. A generator learns from as many examples everywhere; its gap to the exact
posterior at clean activations is the fidelity (nats, lower is better), operations of a training example (counted, not
timed) and milliseconds are the cost. Exponents are slopes of log against log over all sizes and seeds, with 95 %
intervals (Student's t); `end` is the slope between the two largest sizes, where what does not grow counts least. What a
target of 70 billion parameters would take is computed twice: from the exponents, far outside of what was measured, and
its cost from shapes, two operations a parameter and token up to the middle, beside the largest generator's own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import torch
from _gaps import Draws
from _results import name_argument, write
from _scaled import Size, bandwidth_of, sites, target
from bench_compute import Operations
from scipy import stats

import inversescope_nb as isn
from inversescope_nb.exact import activation_tables
from inversescope_nb.generator.training import _Run

BITS = 5.0
BATCH, COUNTED = 128, 2
"""Examples a step; steps whose operations are counted."""
SIZES = {
    "target's width": ("width", (16, 32, 64, 128, 256, 512)),
    "target's depth": ("depth", (1, 2, 4, 8, 16)),
    "generator's width": ("generator_width", (32, 64, 128, 256, 512)),
    "sites": ("sites", (1, 2, 4, 8, 16)),
    "prompt's length": ("length", (8, 16, 32, 64, 128)),
}


LARGE = Size(width=8192, depth=80, length=32)
"""Llama 3.1 70B, and prompts of 32 tokens."""
BLOCKS_70B = 68.45e9
"""Parameters of its 80 blocks: of each twice 8192 x (8192 + 1024) in attention and 3 x 8192 x 28,672 behind it."""
GPU = 4e14
"""Operations a second of a large GPU in bf16: 40 % of the 990e12 of an H100's data sheet."""
ROWS = {"gap": "gap, nats", "mflop": "millions of operations"}
"""Of the picture."""
ENDS = ("value", "low", "high")


def measured(size: Size, seed: int, examples: int) -> dict[str, float]:
    """One training: its gap, its cost."""
    torch.set_num_threads(1)
    lm, prompts, right = target(size, seed)
    names = sites(lm, size.sites)
    tables = activation_tables(lm, prompts, names, progress=False)
    widths = {name: bandwidth_of(table, BITS) for name, table in tables.items()}
    low, high = min(widths.values()), max(widths.values())
    config = isn.TrainingConfig(
        steps=max(2, examples // BATCH), batch_size=BATCH, backbone="small", small_width=size.generator_width, lr=6e-3,
        width=64, units=2 * size.generator_width, bandwidths=(low / 1.2, high * 1.2), statistics_samples=2048,
        held_out=64, gap_inputs=0, eval_every=10**6, seed=seed,
    )  # fmt: skip
    began = time.process_time()
    generator = isn.train_generator(lm, names, prompts, config=config, progress=False)
    seconds = time.process_time() - began
    run = _Run(lm, names, prompts, config, None, False)
    with Operations() as counted:
        for step in range(COUNTED):
            run.optimize(step)
    gaps = []
    for name, table in tables.items():
        own = table.in_units(generator.statistics(name))
        gaps.append(Draws.of(own, widths[name], picks=64, draws=16, seed=11).gap(generator).mean)
    return {
        "gap": float(np.mean(gaps)),
        "mflop": counted.total / (COUNTED * BATCH) / 1e6,
        "ms": 1e3 * seconds / (config.steps * BATCH),
        "parameters": sum(p.numel() for p in generator.parameters()),
        "target_parameters": sum(p.numel() for p in lm.model.parameters()),
        "right": right,
        "bandwidth": float(np.mean(list(widths.values()))),
    }


def key_of(size: Size, seed: int, examples: int) -> str:
    """Under which a training is kept."""
    return json.dumps([asdict(size), seed, examples])


def measure_all(jobs: set[tuple[Size, int]], examples: int, kept: dict, file: Path | None, workers: int) -> None:
    """All that is not kept yet, seed by seed, the largest first."""

    def order(job: tuple[Size, int]) -> tuple[int, int]:
        size, seed = job
        return seed, -size.length * (size.depth * size.width**2 + 4 * size.generator_width**2) * size.sites

    left = sorted((job for job in jobs if key_of(*job, examples) not in kept), key=order)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(measured, *job, examples): job for job in left}
        for done in as_completed(running):
            size, seed = running[done]
            kept[key_of(size, seed, examples)] = found = done.result()
            if file:
                file.write_text(json.dumps(kept))
            print(size, seed, {name: float(f"{value:.4g}") for name, value in found.items()}, flush=True)


def exponent(x: pd.Series, y: pd.Series) -> dict[str, float]:
    """The slope of log y against log x with its 95 % interval, and that of the largest two sizes."""
    fit = stats.linregress(np.log(x), np.log(y))
    half = float(stats.t.ppf(0.975, len(x) - 2)) * fit.stderr
    means = np.log(y).groupby(x).mean()
    end = (means.iloc[-1] - means.iloc[-2]) / np.log(means.index[-1] / means.index[-2])
    return {"exponent": fit.slope, "low": fit.slope - half, "high": fit.slope + half, "end": end}


def seventy_b(frame: pd.DataFrame, slopes: pd.DataFrame) -> pd.DataFrame:
    """Llama 3.1 70B by exponents, with 95 % intervals, and by its shapes; its generator is the largest of the study."""
    base, largest = Size(), SIZES["generator's width"][1][-1]
    ratios = {
        "target's width": LARGE.width / base.width, "target's depth": LARGE.depth / base.depth,
        "prompt's length": LARGE.length / base.length, "generator's width": largest / base.generator_width,
    }  # fmt: skip
    at_base = frame[(frame["varied"] == "target's width") & (frame["value"] == base.width)]
    rows = []
    for of in ("gap", "mflop"):
        value, variance = float(np.log(at_base[of]).mean()), 0.0
        for title, ratio in ratios.items():
            slope = slopes[(slopes["varied"] == title) & (slopes["of"] == of)].iloc[0]
            value += slope["exponent"] * np.log(ratio)
            variance += ((slope["high"] - slope["exponent"]) * np.log(ratio)) ** 2
        low, high = value - variance**0.5, value + variance**0.5
        rows.append({"of": of, "from": "exponents", "value": np.exp(value), "low": np.exp(low), "high": np.exp(high)})
    own = frame[(frame["varied"] == "generator's width") & (frame["value"] == largest)]["mflop"].mean()
    own *= LARGE.length / base.length
    rows.append({"of": "mflop", "from": "shapes", "value": BLOCKS_70B * LARGE.length / 1e6 + own})
    hours = [
        {"of": "hours of a GPU for a million examples"} | {k: r.get(k, np.nan) * 1e12 / GPU / 3600 for k in ENDS}
        | {"from": r["from"]}
        for r in rows if r["of"] == "mflop"
    ]  # fmt: skip
    return pd.DataFrame(rows + hours)


def main() -> None:
    """Trains, measures, prints the tables, writes them and a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--examples", type=int, default=1_280, help="of each training")
    parser.add_argument("--only", choices=[field for field, _ in SIZES.values()], action="append")
    parser.add_argument("--kept", type=Path, help="file of what is measured so far, from which a broken run goes on")
    parser.add_argument("--workers", type=int, default=1)
    name_argument(parser, "scale")
    args = parser.parse_args()
    kept = json.loads(args.kept.read_text()) if args.kept and args.kept.exists() else {}
    wanted = [
        (title, value, replace(Size(), **{field: value}), seed)
        for title, (field, values) in SIZES.items()
        for value in (values if not args.only or field in args.only else ())
        for seed in range(args.seeds)
    ]
    measure_all({(size, seed) for *_, size, seed in wanted}, args.examples, kept, args.kept, args.workers)
    rows = [
        {"varied": title, "value": value, "seed": seed, **kept[key_of(size, seed, args.examples)]}
        for title, value, size, seed in wanted
    ]
    frame = pd.DataFrame(rows)
    slopes = pd.DataFrame(
        {"varied": title, "of": of, **exponent(part["value"], part[of])}
        for title, part in frame.groupby("varied", sort=False)
        for of in ("gap", "mflop", "ms")
    )  # fmt: skip
    tables = {"rows": frame, "exponents": slopes}
    if not args.only:
        tables["seventy_b"] = seventy_b(frame, slopes)
    means = frame.groupby(["varied", "value"], sort=False)[["gap", "mflop", "ms", "right", "bandwidth"]].mean()
    for table in (means.reset_index(), *list(tables.values())[1:]):
        print(table.round(3).to_string(index=False), "\n")
    long = frame.melt(["varied", "value", "seed"], ["gap", "mflop"], "of", "measured")
    long["of"] = long["of"].map(ROWS)
    axis = alt.Axis(labelOverlap="greedy", labelSeparation=8, grid=False)
    dots = alt.Chart(long).mark_point(filled=True).encode(
        x=alt.X("value:Q", scale=alt.Scale(type="log"), title=None, axis=axis),
        y=alt.Y("measured:Q", scale=alt.Scale(type="log"), title=None, axis=axis),
    )  # fmt: skip
    lines = dots.transform_regression("value", "measured", method="pow").mark_line(opacity=0.5)
    picture = (dots + lines).properties(width=150, height=150).facet(
        column=alt.Column("varied:N", sort=list(SIZES), title=None),
        row=alt.Row("of:N", sort=list(ROWS.values()), title=None),
    ).resolve_scale(x="independent", y="independent")  # fmt: skip
    write(args.name, tables, picture, arguments=vars(args), bits=BITS, batch=BATCH)


if __name__ == "__main__":
    main()
