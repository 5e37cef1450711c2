"""What can be had without a generator: chains that walk through the posterior, beside neighbours and a generator.

    python benchmarks/bench_search.py                       # the packaged model's sums, its own generator
    python benchmarks/bench_search.py --generator FOLDER    # another one, made for the site
    python benchmarks/bench_search.py --model PATH --prompts FILE --site NAME --generator FOLDER

Every way is held against the exact posterior of the same picked inputs, at the same moments: errors of consistency
rates (without copies) and of resolution bits, effective samples, verdicts, passes of the target for one pick and
seconds. `metropolis` is given seconds, or passes; neighbours a bank of its own of as many passes. Verdicts are held
against what they say: of the answers called RELIABLE, how many rates are off by more than 0.1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import altair as alt
import pandas as pd
from _baselines import Method, Truth, answered, row_of
from _results import name_argument, write
from _targets import are_sums, arguments, load
from bench_estimators import hypotheses

import inversescope_nb as isn

PASSES = (1_000, 4_000, 16_000)
SECONDS = 10.0
OFF = 0.1
"""Error of a rate that no reliable answer should have."""


def main() -> None:
    """Asks everyone, prints the table, writes JSON and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments(parser)
    parser.add_argument("--generator", type=Path, help="folder of a generator (default: the packaged one)")
    parser.add_argument("--bandwidth", type=float, default=0.1)
    parser.add_argument("--picks", type=int, default=24, help="picked inputs")
    name_argument(parser, "search")
    args = parser.parse_args()
    lm, prompts, table = load(args, args.site)
    generator = isn.load_generator(args.generator) if args.generator else isn.load_generator()
    truth = Truth(table, hypotheses(are_sums(args), len(table.inputs[0])), args.bandwidth)
    units = generator.statistics(table.site.name)
    same = {"site": table.site, "bandwidth": args.bandwidth, "progress": False}
    verdicts: dict[str, list[str]] = {}

    def noting(name: str, answer):
        def asked(ids: list[int], seed: int):
            found = answer(ids, seed)
            verdicts.setdefault(name, []).append(str(found.verdict))
            return found

        return asked

    def walk(**how):
        return lambda ids, seed: isn.baselines.metropolis(lm, prompts, ids, seed=seed, statistics=units, **same, **how)

    def near(size: int):
        return lambda ids, seed: isn.baselines.neighbours(
            lm, prompts, ids, seed=seed, statistics=units, bank=size, **same
        )

    ways = {"generator": (lambda ids, seed: isn.invert(lm, generator, ids, prior=prompts, seed=seed, **same), 256)}
    ways[f"metropolis, {SECONDS:g} s"] = (walk(seconds=SECONDS), 0)
    for passes in PASSES:
        ways[f"metropolis, {passes:,}"] = (walk(seconds=600.0, passes=passes), passes)
        ways[f"neighbours of {passes:,}"] = (near(passes), passes)
    rows = table.draw(args.picks, seed=11)
    table.label(truth.features)
    exact = truth.of(rows, units)
    lines = []
    for name, (answer, passes) in ways.items():
        method = Method(name, noting(name, answer), units, passes)
        each = answered(method, truth, exact, rows, seed=1000)
        line = row_of(method, each, truth.features)
        called = each["at"].map(dict(enumerate(verdicts[name]))) == "RELIABLE"
        line["reliable"] = called.groupby(each["at"]).first().mean()
        line["reliable and off"] = (each.loc[called, "error"] > OFF).mean() if called.any() else 0.0
        lines.append(line)
        print(f"  {name}: mean error {line['mean error']:.3f}, ESS {line['ESS']:.1f}, reliable {line['reliable']:.0%}",
              flush=True)  # fmt: skip
    found = pd.DataFrame(lines).drop(columns=["passes once", "seconds once"])
    print(found.round(3).to_string(index=False))
    dots = alt.Chart(found).mark_point(filled=True, size=70).encode(
        x=alt.X("seconds a pick:Q", scale=alt.Scale(type="log")),
        y=alt.Y("mean error:Q", title="mean absolute error of rates"),
        color=alt.Color("method:N", sort=found["method"].tolist()),
    )  # fmt: skip
    write(
        args.name, {"answers": found}, dots.properties(width=420, height=280), arguments=vars(args),
        target=lm.name, site=str(table.site), inputs=len(table.inputs),
    )  # fmt: skip


if __name__ == "__main__":
    main()
