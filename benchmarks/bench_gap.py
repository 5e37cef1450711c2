"""KL(exact posterior || generator) in nats, as a generator learns: on any target whose inputs can all be listed.

    python benchmarks/bench_gap.py                                     # sums of the packaged model, a short training
    python benchmarks/bench_gap.py --examples 4000000 --seeds 3        # the whole one
    python benchmarks/bench_gap.py --model PATH --prompts FILE --site NAME --bandwidth E --examples N

FILE holds all inputs of the target, one a line (up to a million). One generator is trained for the site at each
bandwidth, from each seed, in each variant; along its training the gap is measured over picked inputs, at the clean
activation (which goes in when it is used) and at noised ones (on which it was trained). Prints a table, and writes
it with the curves to benchmarks/results/ as JSON and as a picture. Variants (`--variant`, several times):

    generator     this package's: 8 condition tokens, cross-attention with a null token and gates, Wiener filter
    one-token     the same with one condition token
    target        the same, its backbone a copy of the target instead of a small model from scratch
    slot          InversionView's decoder at the kernel's noise, its MLP widened to as many parameters
    slot-silent   the same without noise, as published: its log q approximates no posterior, so it has no gap
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
from _gaps import AMOUNTS, gaps
from _results import write
from _targets import arguments, load

import inversescope_nb as isn
from inversescope_nb.exact import ActivationTable
from inversescope_nb.kernels import check_bandwidth

NAMES = {0.0: "clean", 0.5: "half", 1.0: "noised"}
VARIANTS = ("generator", "one-token", "target", "slot", "slot-silent")


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments(parser)
    parser.add_argument("--bandwidth", type=float, action="append", help="may be given several times (default: 0.1)")
    parser.add_argument("--examples", type=int, default=100_000, help="examples of each training")
    parser.add_argument("--seeds", type=int, default=1, help="trainings at each bandwidth")
    parser.add_argument("--picks", type=int, default=256, help="picked inputs behind each gap")
    parser.add_argument("--draws", type=int, default=16, help="posterior draws of each")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--optimizer", choices=("adamw", "muon"), default="adamw")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--adapter-lr", type=float, default=4e-3)
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="(default: generator)")
    parser.add_argument("--slot-width", type=int, default=288, help="width of the slot decoder's MLP")
    parser.add_argument("--points", type=int, default=5, help="measurements along each training")
    parser.add_argument("--keep", type=Path, help="folder that the trained generators are saved in")
    parser.add_argument("--name", default="gap", help="of the files in benchmarks/results")
    return parser.parse_args()


def train(
    lm: isn.LanguageModel, table: ActivationTable, prompts, variant: str, bandwidth: float, seed: int, args
) -> list[dict]:
    """One training's rows: what was measured along it."""
    steps = math.ceil(args.examples / args.batch)
    config = isn.TrainingConfig(
        steps=steps, batch_size=args.batch, optimizer=args.optimizer, lr=args.lr, adapter_lr=args.adapter_lr,
        backbone="target" if variant == "target" else "small", n_tokens=1 if variant == "one-token" else 8,
        width=args.slot_width if "slot" in variant else 128, bandwidths=(bandwidth, bandwidth), gap_inputs=0, seed=seed,
        eval_every=max(1, steps // args.points), save_every=steps,
    )  # fmt: skip
    rows: list[dict] = []
    units: list[ActivationTable] = []

    def measure(generator: isn.Generator, examples: int) -> dict[str, float]:
        if not units:  # in the generator's own units: its moments are those of a sample
            units.append(table.in_units(generator.statistics(table.site.name)))
        found = {}
        if variant == "slot-silent":
            return found
        for amount in AMOUNTS:
            gap = gaps(units[0], generator, bandwidth, amount=amount, picks=args.picks, draws=args.draws, seed=seed)
            found |= {f"gap_{NAMES[amount]}": gap.mean, f"gap_{NAMES[amount]}_se": gap.stderr}
            found[f"entropy_{NAMES[amount]}"] = gap.entropy
        where = f"  {variant}, eps {bandwidth:g}, seed {seed}: {examples:,} examples"
        print(f"{where}, gap {found['gap_clean']:.3f} clean, {found['gap_noised']:.3f} noised", flush=True)
        return found

    common = {"config": config, "on_evaluate": measure, "progress": False}
    if "slot" in variant:
        eps = None if variant == "slot-silent" else bandwidth
        generator = isn.baselines.train_slot_decoder(lm, [table.site.name], prompts, bandwidth=eps, **common)
    else:
        generator = isn.train_generator(lm, [table.site.name], prompts, **common)
    for point in generator.run_card["history"]:
        rows.append(
            {"variant": variant, "bandwidth": bandwidth, "seed": seed, "examples": point["step"] * args.batch, **point}
        )
    if args.keep is not None:
        generator.save_pretrained(args.keep / f"{variant}-{bandwidth:g}-{seed}")
    picked = table.draw(64, seed=seed + 7)
    verdicts = [isn.invert(lm, generator, table.inputs[i], site=table.site, bandwidth=bandwidth, n=256, bank=0)
                for i in picked]  # fmt: skip
    rows[-1] |= {
        "ess_ratio": float(np.median([v.ess / v.n for v in verdicts])),
        "khat": float(np.median([v.khat for v in verdicts])),
        "copies": float(np.mean([v.copy_share for v in verdicts])),
        "distinct": float(np.mean([v.distinct_share for v in verdicts])),
        "parameters": sum(p.numel() for p in generator.parameters()),
    }
    return rows


def picture(frame: pd.DataFrame, title: str) -> alt.TopLevelMixin:
    """Gaps against examples, a line each bandwidth and seed, clean and noised."""
    long = frame.melt(["variant", "bandwidth", "seed", "examples"], ["gap_clean", "gap_noised"], "activation", "gap")
    long["activation"] = long["activation"].str.removeprefix("gap_")
    return (
        alt.Chart(long.dropna(), title=title)
        .mark_line(point=True)
        .encode(
            x=alt.X("examples:Q", scale=alt.Scale(type="log"), title="examples seen"),
            y=alt.Y("gap:Q", scale=alt.Scale(type="log"), title="gap to the exact posterior, nats"),
            color=alt.Color("variant:N"),
            strokeDash=alt.StrokeDash("activation:N"),
            detail="seed:N",
        )
        .properties(width=300, height=260)
        .facet(column=alt.Column("bandwidth:N"))
    )


def main() -> None:
    """Trains, prints the table, writes JSON and picture."""
    args = parsed()
    lm, prompts, table = load(args)
    bandwidths = [check_bandwidth(e, (1e-6, 1e6)) for e in args.bandwidth or [0.1]]
    cells = [(v, e, s) for v in args.variant or ["generator"] for e in bandwidths for s in range(args.seeds)]
    frame = pd.DataFrame([row for v, e, s in cells for row in train(lm, table, prompts, v, e, s, args)])
    last = frame.groupby(["variant", "bandwidth", "seed"], sort=False).tail(1)
    columns = "variant parameters bandwidth seed examples seconds entropy_clean gap_clean gap_clean_se gap_half".split()
    columns += "gap_noised gap_noised_se ess_ratio khat copies distinct".split()
    last = last.reindex(columns=columns)
    print(last[columns].round(3).to_string(index=False))
    write(
        args.name,
        {"rows": frame},
        picture(frame, f"{lm.name}, {table.site}"),
        arguments=vars(args),
        target=lm.name,
        site=str(table.site),
        inputs=len(table.inputs),
    )


if __name__ == "__main__":
    main()
