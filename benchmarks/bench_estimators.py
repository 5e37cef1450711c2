"""Can an inversion's figures be trusted? Each held against the exact posterior.

    python benchmarks/bench_estimators.py                                     # with a short training of its own
    python benchmarks/bench_estimators.py --generator FOLDER --picks 1500     # the whole study, of a kept generator

On all sums of the packaged model (or `--model`, `--prompts`, `--site` as in bench_gap.py): errors and coverage of
consistency rates, of single picks and of whole studies; resolution and channel bits; whether ESS predicts the variance
of repeated inversions; how well a classifier tells generated from exact samples, beside the best that is possible.
Studies are drawn with replacement from the picks, so take many; studies with fresh picks and fresh samples throughout
are simulated where all of q can be listed, on the small case of tests/test_estimators.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from _estimators import Case, Pool, bits, channel, errors, inverted, pooled_studies, separability, variances
from _gaps import gaps
from _listed import studies
from _results import name_argument, write
from _targets import are_sums, arguments, load

import inversescope_nb as isn
from inversescope_nb.features import Feature, token_at

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from small_case import small_case

M = 48
"""Picks of a study."""


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


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments(parser)
    parser.add_argument("--generator", type=Path, help="folder of a trained one (default: a short training)")
    parser.add_argument("--bandwidth", type=float, default=0.1)
    parser.add_argument("--picks", type=int, default=300, help="picked inputs")
    parser.add_argument("--samples", type=int, default=256, help="of each")
    parser.add_argument("--studies", type=int, default=1000, help=f"studies of {M} picks")
    parser.add_argument("--repetitions", type=int, default=24, help="inversions of one pick, of 16 picks")
    parser.add_argument("--pairs", type=int, default=1024, help="noised pairs behind the channel bits")
    name_argument(parser, "estimators")
    return parser.parse_args()


def case_of(args: argparse.Namespace) -> Case:
    """The target, all its inputs, and a generator."""
    lm, prompts, table = load(args, args.site)
    if args.generator is None:
        config = isn.TrainingConfig(
            steps=600, batch_size=512, lr=6e-3, backbone="small", eval_every=600, gap_inputs=0,
            bandwidths=(args.bandwidth, args.bandwidth),
        )  # fmt: skip
        generator = isn.train_generator(lm, [table.site.name], prompts, config=config, progress=False)
    else:
        generator = isn.load_generator(args.generator)
    table = table.in_units(generator.statistics(table.site.name))
    return Case(table, prompts, generator, args.bandwidth, hypotheses(are_sums(args), len(table.inputs[0])))


def figures_of(case: Case, pool: Pool, spread: pd.DataFrame, told: pd.DataFrame, pairs: int) -> dict[str, Any]:
    """Single figures over all hypotheses."""
    gap = gaps(case.table, case.generator, case.bandwidth, draws=32, seed=5)
    found, extreme = pool.found, pool.found["extreme"]
    varied = spread[np.minimum(spread["rate"], 1 - spread["rate"]) > 0.02]
    return {
        "gap": gap.mean,
        "gap_se": gap.stderr,
        "ess_ratio": float(np.median(pool.ess_ratio)),
        "weighted_error": float((found["fcr"] - found["exact"]).abs().mean()),
        "plain_error": float((found["fcr_plain"] - found["exact_with_copies"]).abs().mean()),
        "coverage_of_picks": float(found[~extreme]["covered"].mean()),
        "coverage_of_picks_near_0_or_1": float(found[extreme]["covered"].mean()),
        "resolution_bits": bits(found),
        "channel_bits": channel(case, n=pairs, seed=3),
        "variance_over_predicted": float(varied["variance"].sum() / varied["predicted"].sum()),
        "best_accuracy": float(told["best"].mean()),
        "accuracy_that_the_gap_allows": float(0.5 + np.sqrt(max(gap.mean, 0.0) / 2) / 2),
        "classifier_accuracy": float(told["classifier"].mean()),
        "classifier_accuracy_se": float(told["classifier"].std() / np.sqrt(len(told))),
    }


def judged(figures: Mapping[str, Any], *tables: pd.DataFrame) -> pd.DataFrame:
    """Figures beside what they should be, those that are not first."""
    channel, every = figures["channel_bits"], pd.concat(tables)
    edge = every["near 0 or 1"] > 0.05
    covered, apart = every[~edge]["coverage"], every[edge]["coverage"]
    ratio = figures["variance_over_predicted"]
    lines = [
        ("weighted rates: mean absolute error", figures["weighted_error"], "at most 0.02",
         figures["weighted_error"] <= 0.02),
        ("weighted against plain", figures["plain_error"], "plain is worse",
         figures["plain_error"] >= figures["weighted_error"]),
        ("intervals of single picks", figures["coverage_of_picks"], "0.92 to 0.98",
         0.92 <= figures["coverage_of_picks"] <= 0.98),
        ("the same near 0 or 1", figures["coverage_of_picks_near_0_or_1"], "apart", None),
        ("intervals of studies, lowest", covered.min(), "0.92 to 0.98", covered.min() >= 0.92),
        ("intervals of studies, highest", covered.max(), "0.92 to 0.98", covered.max() <= 0.98),
        ("the same near 0 or 1, lowest", apart.min(), "apart", None),
        ("the same near 0 or 1, highest", apart.max(), "apart", None),
        ("resolution bits: mean absolute error", figures["resolution_bits"]["error"], "at most 0.1",
         figures["resolution_bits"]["error"] <= 0.1),
        ("channel bits below the exact by", channel["short"] / channel["exact"], "0 to 5 %",
         0 <= channel["short"] <= 0.05 * channel["exact"]),
        ("real variance over ESS's", ratio, "0.8 to 1.25", 0.8 <= ratio <= 1.25),
        ("classifier", figures["classifier_accuracy"], f"at most {figures['best_accuracy']:.3f}",
         figures["classifier_accuracy"] <= figures["best_accuracy"] + 2 * figures["classifier_accuracy_se"]),
    ]  # fmt: skip
    table = pd.DataFrame(lines, columns=["figure", "measured", "should be", "met"])
    return table.sort_values("met", key=lambda met: met.map({False: 0, True: 1}).fillna(2), kind="stable")


def main() -> None:
    """Studies, prints the tables, writes JSON and picture."""
    args = options()
    case = case_of(args)
    picks = case.table.draw(args.picks, seed=11)
    pool = inverted(case, picks, n=args.samples)
    singles = errors(pool.found)
    print(singles.round(3).to_string(index=False), flush=True)
    pooled = pooled_studies(case, pool, repetitions=args.studies, m=M)
    print(pooled.round(3).to_string(index=False), flush=True)
    listed, features = small_case()
    fresh = studies(listed, features, repetitions=args.studies, m=M, n=64)
    print(f"fresh picks and samples, {len(listed.bits)} inputs, gap {listed.gap():.3f} nat",
          fresh.round(3).to_string(index=False), sep="\n", flush=True)  # fmt: skip
    spread = variances(case, picks[:16], n=args.samples, repetitions=args.repetitions, seed=90_000)
    told = separability(case, picks[:24], n=2000, seed=70_000)
    figures = figures_of(case, pool, spread, told, args.pairs)
    summary = judged(figures, pooled, fresh)
    print(summary.round(3).to_string(index=False))
    write(
        args.name,
        {"summary": summary, "picks": singles, "studies": pooled, "fresh_studies_of_a_small_case": fresh,
         "variances": spread, "told_apart": told},
        picture(pool.found),
        arguments=vars(args),
        target=case.table.lm.name,
        site=str(case.table.site),
        inputs=len(case.table.inputs),
        trained_on=case.generator.run_card.get("examples_seen"),
        figures=figures,
    )  # fmt: skip


if __name__ == "__main__":
    main()
