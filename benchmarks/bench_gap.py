"""KL(exact posterior || generator) in nats, as a generator learns: on any target whose inputs can all be listed.

    python benchmarks/bench_gap.py                                     # sums of the packaged model, a short training
    python benchmarks/bench_gap.py --examples 2048000 --seeds 3        # the whole one
    python benchmarks/bench_gap.py --set ioi --site "blocks.1.hook_resid_post"
    python benchmarks/bench_gap.py --model PATH --prompts FILE --site NAME --bandwidth E --examples N
    python benchmarks/bench_gap.py --model PATH --set letters          # of the published sorter

FILE holds all inputs of the target, one a line (up to a million). One generator is trained for each site at each
bandwidth, from each seed, in each variant; along its training the gap is measured over picked inputs, at the clean
activation (which goes in when it is used) and at noised ones (on which it was trained). Prints a table, and writes
it with the curves to benchmarks/results/ as JSON and as a picture. Variants (`--variant`, several times; or `all`):

    generator      this package's: Wiener filter, gated control layers, Muon, a small backbone from scratch
    wide           the same, the condition twice as wide
    adamw          as generator, trained by AdamW
    attention      as generator, its blocks attending to 8 condition tokens and a null token instead
    one-token      the same with one condition token: one gated slot
    adaptive-norm  the same, the condition scaling and shifting the backbone's norms (as diffusion models do)
    prefix         the same, 8 condition tokens read as a prefix of the row, without control layers
    clean          as generator, then a tenth as many examples at clean activations: its own samples, weighed
    target         as generator, its backbone a copy of the target instead of a small model from scratch
    target-lora    the same, its backbone learning by LoRA
    target-frozen  the same, its backbone the target itself, frozen
    slot           InversionView's decoder at the kernel's noise, AdamW; its MLP is so wide (288) that it has as many
                   parameters within 5 % at the usual size, for others see --slot-width
    slot-muon      the same, trained by Muon at the generator's rates
    slot-silent    as slot without noise, as published: its log q approximates no posterior, so it has no gap
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from itertools import product
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
from _gaps import AMOUNTS, Draws
from _results import name_argument, write
from _targets import SITE, arguments, load
from _variants import CONFIGS, config_of, train

import inversescope_nb as isn
from inversescope_nb.exact import ActivationTable
from inversescope_nb.kernels import check_bandwidth

CELL = ["variant", "site", "size", "bandwidth"]
CURVES = 4
"""Variants that are told apart as lines of one picture."""
NAMES = {0.0: "clean", 0.5: "half", 1.0: "noised"}
SAMPLES = 256
_DRAWS: dict[tuple, Draws] = {}


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments(parser, one_site=False)
    parser.add_argument("--site", action="append", help=f"may be given several times (default: {SITE})")
    parser.add_argument("--bandwidth", type=float, action="append", help="may be given several times (default: 0.1)")
    parser.add_argument("--train-range", type=float, nargs=2, metavar=("LOW", "HIGH"),
                        help="train one generator for all bandwidths between these, measured along its training at "
                        "the first --bandwidth and at its end at all")  # fmt: skip
    parser.add_argument("--examples", type=int, default=100_000, help="examples of each training")
    parser.add_argument("--seeds", type=int, default=1, help="trainings at each bandwidth")
    parser.add_argument("--first-seed", type=int, default=0, help="of those trainings; the others follow")
    parser.add_argument("--picks", type=int, default=256, help="picked inputs behind each gap")
    parser.add_argument("--draws", type=int, default=16, help="posterior draws of each")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, default=6e-3, help="Muon's peak rate, of all parameters")
    parser.add_argument("--variant", action="append", choices=[*CONFIGS, "all"], help="(default: generator)")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        action="append",
        help="layers and width of the small backbone (default: 2 128); may be given several times",
    )
    parser.add_argument("--slot-width", type=int, default=288, help="width of the slot decoder's MLP")
    parser.add_argument("--points", type=int, default=5, help="measurements along each training")
    parser.add_argument("--join", type=Path, action="append", help="a file of results whose rows are told beside these")
    parser.add_argument("--runs", type=Path, help="folder of checkpoints, from which a broken run goes on")
    parser.add_argument("--keep", type=Path, help="folder that the trained generators are saved in")
    name_argument(parser, "gap")
    return parser.parse_args()


def drawn(table: ActivationTable, generator: isn.Generator, bandwidth: float, amount: float, seed: int, args) -> Draws:
    """The draws that all variants of one seed are held against, in their own units: those of one sample of P(X)."""
    units = generator.statistics(table.site.name)
    key = (bandwidth, amount, seed, units.scale)
    if key not in _DRAWS:
        _DRAWS[key] = Draws.of(
            table.in_units(units), bandwidth, amount=amount, picks=args.picks, draws=args.draws, seed=seed
        )
    return _DRAWS[key]


def measured(
    lm: isn.LanguageModel, table: ActivationTable, prompts, cell: tuple[str, tuple[int, int], float, int], args
) -> list[dict]:
    """One training's rows: what was measured along it."""
    variant, size, bandwidth, seed = cell
    also = args.bandwidth[1:] if args.train_range else []
    config = config_of(variant, bandwidth, seed, args, size=size)
    name = f"{variant}-{bandwidth:g}-{seed}"
    if table.site.name != SITE:
        name += f"-{table.site.name}"
    if size != (2, 128):
        name += f"-{size[0]}x{size[1]}"
    if args.train_range is not None:
        name += "-from-{:g}-to-{:g}".format(*args.train_range)
    rows: list[dict] = []

    def measure(generator: isn.Generator, examples: int, at: float = bandwidth) -> dict[str, float]:
        found = {}
        if variant == "slot-silent":
            return found
        for amount in AMOUNTS:
            gap = drawn(table, generator, at, amount, seed, args).gap(generator)
            found |= {f"gap_{NAMES[amount]}": gap.mean, f"gap_{NAMES[amount]}_se": gap.stderr}
            found[f"entropy_{NAMES[amount]}"] = gap.entropy
        where = f"  {name}: {examples:,} examples, eps {at:g}"
        print(f"{where}, gap {found['gap_clean']:.3f} clean, {found['gap_noised']:.3f} noised", flush=True)
        return found

    def sampled(generator: isn.Generator, at: float) -> dict[str, float]:
        picked = table.draw(64, seed=seed + 7)
        began = time.monotonic()
        verdicts = [isn.invert(lm, generator, table.inputs[i], site=table.site, bandwidth=at, n=SAMPLES, bank=0)
                    for i in picked]  # fmt: skip
        return {
            "seconds_per_1000": (time.monotonic() - began) / (len(picked) * SAMPLES) * 1000,
            "ess_ratio": float(np.median([v.ess / v.n for v in verdicts])),
            "khat": float(np.median([v.khat for v in verdicts])),
            "copies": float(np.mean([v.copy_share for v in verdicts])),
            "distinct": float(np.mean([v.distinct_share for v in verdicts])),
            "parameters": sum(p.numel() for p in generator.parameters()),
        }

    run_dir = None if args.runs is None else args.runs / name
    more = {"run_dir": run_dir, "on_evaluate": measure, "progress": False}
    generator = train(variant, lm, table.site.name, prompts, bandwidth, config, **more)
    for point in generator.run_card["history"]:
        about = dict(zip((*CELL, "seed"), training(table.site.name, cell), strict=True))
        rows.append({**about, "examples": point["step"] * args.batch, **point})
    if args.keep is not None and "slot" not in variant:
        generator.save_pretrained(args.keep / name)
    rows[-1] |= sampled(generator, bandwidth)
    end = {name: rows[-1][name] for name in ("examples", "step", "seconds")}
    for e in also:
        about = dict(zip((*CELL, "seed"), training(table.site.name, (variant, size, e, seed)), strict=True))
        rows.append({**about, **end, **measure(generator, end["examples"], e), **sampled(generator, e)})
    return rows


def joined(path: Path, args: argparse.Namespace) -> list[dict]:
    """The rows of an earlier run, which must have been measured in the same way, on the same target and inputs."""
    card = json.loads(path.read_text(encoding="utf-8"))
    before = {"set": "sums", "train_range": None} | card["arguments"]  # old files do not say which
    for name in ("model", "set", "prompts", "examples", "batch", "picks", "draws", "lr", "slot_width", "train_range"):
        now = getattr(args, name)
        was, now = (str(x).replace("\\", "/").rpartition("/")[2] for x in (before[name], now))  # files by their names
        if was != now:
            raise SystemExit(f"{path.name} was made with {name}={was}, not {now}: its rows cannot be told beside these")
    about = {"site": card.get("site"), "size": "2 x 128"}  # of files in which rows did not say it yet
    return [about | row for row in card["rows"]]


def training(site: str, cell: tuple[str, tuple[int, int], float, int]) -> tuple:
    """What names a training in the tables: the columns `CELL`, and its seed."""
    variant, (layers, width), bandwidth, seed = cell
    return variant, site, f"{layers} x {width}", bandwidth, seed


def refuse_doubles(asked: list[tuple], parts: list[list[dict]]) -> None:
    """Ends the program where one training is asked for or joined twice."""
    told = [key for part in parts for key in {tuple(row[c] for c in (*CELL, "seed")) for row in part}]
    for key, times in Counter([*asked, *told]).items():
        if times > 1:
            raise SystemExit(f"two results would be told of {key}: run or join one")


def over_seeds(last: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, and the standard deviation of one seed (whose picked inputs are its own, too)."""
    wanted = {"seeds": ("seed", "nunique"), "parameters": ("parameters", "first"), "minutes": ("seconds", _minutes)}
    for name in ("gap_clean", "gap_half", "gap_noised", "ess_ratio", "khat", "copies", "distinct", "seconds_per_1000"):
        if name in last:
            wanted |= {name: (name, "mean"), f"{name}_sd": (name, "std")}
    return last.groupby(CELL, sort=False).agg(**wanted).reset_index()


def _minutes(seconds: pd.Series) -> float:
    return seconds.mean() / 60


def picture(frame: pd.DataFrame, title: str) -> alt.TopLevelMixin:
    """Gaps, clean and noised: along a few trainings, a line each bandwidth and seed; of many, where they ended."""
    keys = ["variant", "site", "size", "bandwidth", "seed", "examples"]
    long = frame.melt(keys, ["gap_clean", "gap_noised"], "activation", "gap").dropna()
    for column in ("site", "size"):
        if frame[column].nunique() > 1:
            long["variant"] += ", " + long[column]
    long["activation"] = long["activation"].str.removeprefix("gap_")
    if long["variant"].nunique() > CURVES:
        return _ends(long, title)
    log = alt.Scale(type="log", nice=False)
    return (
        alt.Chart(long, title=title)
        .mark_line(point=alt.OverlayMarkDef(size=18))
        .encode(
            x=alt.X("examples:Q", scale=log, axis=alt.Axis(format="~s", labelOverlap=True), title="examples seen"),
            y=alt.Y("gap:Q", scale=log, title="gap to the exact posterior, nats (dashed: noised)"),
            color=alt.Color("variant:N", legend=alt.Legend(symbolType="stroke")),
            strokeDash=alt.StrokeDash("activation:N", legend=None),
            detail="seed:N",
        )
        .properties(width=300, height=260)
        .facet(column=alt.Column("bandwidth:N"))
    )


def _ends(long: pd.DataFrame, title: str) -> alt.TopLevelMixin:
    """The last gaps, a dot each seed."""
    last = long.groupby(["variant", "activation", "bandwidth", "seed"], sort=False).tail(1)
    order = last[last["activation"] == "clean"].groupby("variant")["gap"].mean().sort_values().index.tolist()
    return (
        alt.Chart(last, title=title)
        .mark_point(filled=True, opacity=0.8)
        .encode(
            x=alt.X("gap:Q", scale=alt.Scale(type="log", nice=False), title="gap to the exact posterior, nats"),
            y=alt.Y("variant:N", sort=order, title=None, axis=alt.Axis(grid=True, labelLimit=320)),
            color=alt.Color("activation:N"),
            shape=alt.Shape("activation:N"),
        )
        .properties(width=360, height=alt.Step(18))
        .facet(column=alt.Column("bandwidth:N"))
    )


def main() -> None:
    """Trains, prints the table, writes JSON and picture."""
    args = parsed()
    bandwidths = [check_bandwidth(e, (1e-6, 1e6)) for e in args.bandwidth or [0.1]]
    sizes = [tuple(size) for size in args.size or [(2, 128)]]
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    args.bandwidth = bandwidths
    trained_at = bandwidths[:1] if args.train_range else bandwidths
    variants = list(CONFIGS) if "all" in (args.variant or []) else args.variant or ["generator"]
    cells = list(product(variants, sizes, trained_at, seeds))
    parts = [joined(path, args) for path in args.join or []]
    rows = [row for part in parts for row in part]
    sites = args.site or [SITE]
    refuse_doubles([training(site, cell) for site in sites for cell in cells], parts)
    for site in sites:
        _DRAWS.clear()  # of another site
        lm, prompts, table = load(args, site)
        for cell in cells:
            rows += measured(lm, table, prompts, cell, args)
    frame = pd.DataFrame(rows)
    last = frame.groupby([*CELL, "seed"], sort=False).tail(1)
    columns = (
        "variant site size parameters bandwidth seed examples seconds entropy_clean gap_clean gap_clean_se".split()
    )
    columns += "gap_half gap_noised gap_noised_se ess_ratio khat copies distinct seconds_per_1000".split()
    print(last.reindex(columns=columns).round(3).to_string(index=False))
    summary = over_seeds(last)
    if len(summary) < len(last):
        print(f"\nOver seeds\n{summary.round(3).to_string(index=False)}")
    write(
        args.name,
        {"rows": frame, "over_seeds": summary},
        picture(frame, f"{lm.name}, {', '.join(frame['site'].unique())}"),
        arguments=vars(args),
        target=lm.name,
        sites=list(frame["site"].unique()),
        inputs=len(table.inputs),
    )


if __name__ == "__main__":
    main()
