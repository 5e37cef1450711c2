"""Can an inversion's figures be trusted? Each held against the exact posterior.

    python benchmarks/bench_estimators.py                                     # with a short training of its own
    python benchmarks/bench_estimators.py --generator FOLDER --picks 1500     # the whole study, of a kept generator

On all sums of the packaged model (or `--model`, `--prompts`, `--site` as in bench_gap.py): errors and coverage of
consistency rates, of single picks and of whole studies; resolution and channel bits; whether ESS predicts the variance
of repeated inversions; how well a classifier tells generated from exact samples, beside the best that is possible.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
from _estimators import Case, bits, errors, per_pick, population, separability, variances
from _gaps import gaps
from _results import write
from _targets import arguments, load

import inversescope_nb as isn
from inversescope_nb.features import Feature, token_at
from inversescope_nb.information import channel_bits


def hypotheses(is_sums: bool, longest: int) -> list[Feature]:
    """Tokens at some positions; of sums also the digits of the result, and a label that nothing can know."""
    if not is_sums:
        places = dict.fromkeys((1, longest // 2, longest - 2))
        return [token_at(i) for i in places] + [Feature("random of 3", lambda t: hash_of(t) % 3)]
    return [
        Feature("hundreds of the sum", lambda t: None if (s := total(t)) is None else s // 100),
        Feature("tens of the sum", lambda t: None if (s := total(t)) is None else s // 10 % 10),
        Feature("ones of the sum", lambda t: None if (s := total(t)) is None else s % 10),
        Feature("first digit", lambda t: t[:1]),
        Feature("ones carry", lambda t: None if total(t) is None else int(t[4]) + int(t[12]) >= 10),
        Feature("random of 3", lambda t: hash_of(t) % 3),
    ]


def total(text: str) -> int | None:
    """The sum that a text asks for; None for anything else."""
    a, plus, b = text.replace(" ", "").rstrip("=").partition("+")
    return int(a) + int(b) if plus and len(a) == len(b) == 3 and (a + b).isdigit() else None


def hash_of(text: str) -> int:
    """A number of a text that is the same in every run."""
    value = 0
    for letter in text:
        value = (value * 1_000_003 + ord(letter)) % 2_147_483_647
    return value >> 7


def picture(found: pd.DataFrame) -> alt.TopLevelMixin:
    """Measured rates over exact ones, a dot a pick."""
    some = found.groupby("feature").head(300)
    long = some.melt(["feature", "exact"], ["fcr", "fcr_plain"], "estimator", "measured")
    long["estimator"] = long["estimator"].map({"fcr": "weighted, without copies", "fcr_plain": "plain"})
    dots = alt.Chart(long).mark_point(size=8, opacity=0.5).encode(
        x=alt.X("exact:Q", title="exact rate"), y=alt.Y("measured:Q"), color="estimator:N",
    )  # fmt: skip
    return dots.properties(width=190, height=190).facet("feature:N", columns=3)


def main() -> None:
    """Studies, prints the tables, writes JSON and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments(parser)
    parser.add_argument("--generator", type=Path, help="folder of a trained one (default: a short training)")
    parser.add_argument("--bandwidth", type=float, default=0.1)
    parser.add_argument("--picks", type=int, default=300, help="picked inputs")
    parser.add_argument("--samples", type=int, default=256, help="of each")
    parser.add_argument("--studies", type=int, default=1000, help="studies of 48 picks drawn from those")
    parser.add_argument("--name", default="estimators", help="of the files in benchmarks/results")
    args = parser.parse_args()
    lm, prompts, table = load(args)
    if args.generator is None:
        config = isn.TrainingConfig(
            steps=200, batch_size=512, lr=2e-3, backbone="small", bandwidths=(args.bandwidth, args.bandwidth),
            gap_inputs=0, eval_every=200,
        )  # fmt: skip
        generator = isn.train_generator(lm, [table.site.name], prompts, config=config, progress=False)
    else:
        generator = isn.load_generator(args.generator)
    table = table.in_units(generator.statistics(table.site.name))
    case = Case(table, prompts, generator, args.bandwidth, hypotheses(args.model is None, len(table.inputs[0])))
    gap = gaps(table, generator, args.bandwidth, draws=32, seed=5)
    print(f"{lm.name}, {table.site}, eps {args.bandwidth:g}, {len(table.inputs):,} inputs: "
          f"gap {gap.mean:.3f} (se {gap.stderr:.3f}) of {gap.entropy:.1f} nats", flush=True)  # fmt: skip
    rows = table.draw(args.picks, seed=11)
    found, inversions = per_pick(case, rows, n=args.samples)
    singles = errors(found)
    print(singles.round(3).to_string(index=False), flush=True)
    overall = population(case, found, inversions, studies=args.studies, m=min(48, len(rows) // 2))
    print(overall.round(3).to_string(index=False), flush=True)
    spread = variances(case, rows[:12], n=args.samples, repetitions=24, seed=90_000)
    varied = spread[np.minimum(spread["rate"], 1 - spread["rate"]) > 0.02]
    ratio = varied["variance"].sum() / varied["predicted"].sum()
    told = separability(case, rows[:24], n=2000, seed=70_000)
    exact_channel, exact_stderr = table.channel_bits(args.bandwidth, draws=2048, seed=3)
    channel = channel_bits(lm, generator, table.site, bandwidth=args.bandwidth, prompts=prompts, n=2048)
    figures = {
        "gap_clean": gap.mean,
        "gap_clean_se": gap.stderr,
        "ess_ratio": float(np.median([v.ess / v.n for v in inversions])),
        "weighted_error": float((found["fcr"] - found["exact"]).abs().mean()),
        "plain_error": float((found["fcr_plain"] - found["exact_with_copies"]).abs().mean()),
        "coverage_of_picks": float(found[~found["extreme"]]["covered"].mean()),
        "coverage_of_picks_near_0_or_1": float(found[found["extreme"]]["covered"].mean()),
        "coverage_of_studies": overall["coverage"].tolist(),
        "resolution_bits": bits(found),
        "channel_bits": {"exact": exact_channel, "se": exact_stderr, "bound": channel.bits, "bound_se": channel.stderr},
        "variance_over_predicted": float(ratio),
        "best_accuracy": float(told["best"].mean()),
        "best_accuracy_worst_pick": float(told["best"].max()),
        "classifier_accuracy": float(told["classifier"].mean()),
    }
    for name, value in figures.items():
        print(f"{name:32} {value}")
    write(
        args.name,
        {"picks": singles, "studies": overall, "told_apart": told},
        picture(found),
        arguments=vars(args),
        target=lm.name,
        site=str(table.site),
        inputs=len(table.inputs),
        trained_on=generator.run_card.get("examples_seen"),
        figures=figures,
    )


if __name__ == "__main__":
    main()
