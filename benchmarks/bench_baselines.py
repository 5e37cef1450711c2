"""What a generator must beat, in one table: the same target, site, picks, bandwidth and passes of the target.

    python benchmarks/bench_baselines.py                                # sums of the packaged model, short trainings
    python benchmarks/bench_baselines.py --generator FOLDER             # a kept generator beside the short trainings
    python benchmarks/bench_baselines.py --model PATH --prompts FILE --site NAME --bandwidth E

Every way to answer is held against the exact posterior of the same picked inputs: the error of consistency rates
(without copies; where nothing was found, the prior's rate is the answer) and of the resolution bits, at what it costs:
passes of the target and seconds, before the first pick (a training, a bank that all picks share) and for each. The
slot decoder (InversionView's, arXiv 2405.17653) learns from as many examples as the short training, by AdamW and, as
the generator does, by Muon. The ESS of perturbations counts what is near; they are no sample of the posterior.

A second table has attribute classifiers, which learn one feature from labelled activations, at noised activations of
fresh inputs: none can be right more often than the exact posterior's mode. Both tables are followed by everything in
which another way beats the generator at one pick.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
from _baselines import Method, Truth, answered, beaten, classified, row_of
from _results import name_argument, write
from _targets import are_sums, arguments, load
from bench_estimators import hypotheses

import inversescope_nb as isn
from inversescope_nb.banks import draw_bank
from inversescope_nb.exact import ActivationTable

OURS, MODE = "generator", "generator's mode"
BATCH = 512
MOST = 300_000
"""Inputs of a bank at most; a training's passes buy more, on the sums a list of them all."""


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments(parser)
    parser.add_argument("--generator", type=Path, help="folder of a generator (default: a short training)")
    parser.add_argument("--bandwidth", type=float, default=0.1)
    parser.add_argument("--picks", type=int, default=48, help="picked inputs")
    parser.add_argument("--passes", type=int, default=256, help="passes of the target for one pick")
    parser.add_argument("--more", type=int, default=10_000, help="passes of searches that are given more")
    parser.add_argument("--bank", type=int, action="append", help="inputs of banks (default: 10000, 100000)")
    parser.add_argument("--examples", type=int, default=100_000, help="examples of each short training")
    parser.add_argument("--learned", type=int, default=8000, help="labelled inputs of the classifiers")
    parser.add_argument("--tests", type=int, default=256, help="fresh inputs that they are tested on")
    parser.add_argument("--runs", type=Path, help="folder of checkpoints, from which a broken run goes on")
    name_argument(parser, "baselines")
    return parser.parse_args()


def config_of(args: argparse.Namespace, **changes: Any) -> isn.TrainingConfig:
    """As bench_gap.py trains: a small backbone from scratch, one bandwidth."""
    steps = max(1, round(args.examples / BATCH))
    settings = {"lr": 6e-3, "adapter_lr": 6e-3} | changes
    return isn.TrainingConfig(
        **settings, steps=steps, batch_size=BATCH, backbone="small", bandwidths=(args.bandwidth, args.bandwidth),
        gap_inputs=0, eval_every=steps,
    )  # fmt: skip


def trained(
    args: argparse.Namespace, table: ActivationTable, prompts: isn.PromptDistribution
) -> tuple[list[Method], isn.Generator]:
    """The generator and the slot decoders as methods, and the generator itself."""
    lm, site = table.lm, table.site
    slow = {"optimizer": "adamw", "lr": 2e-3, "adapter_lr": 2e-3, "width": 288}
    makers: dict[str, Callable[[], isn.Generator]] = {}

    def kept(name: str) -> dict[str, Any]:
        return {"run_dir": None if args.runs is None else args.runs / name, "progress": False}

    if args.generator is not None:
        makers[OURS] = lambda: isn.load_generator(args.generator)
    if args.examples:
        makers[OURS if args.generator is None else f"{OURS}, short training"] = lambda: isn.train_generator(
            lm, [site.name], prompts, config=config_of(args), **kept("generator")
        )
    for name, eps, changes in (
        ("slot decoder at noise, AdamW", args.bandwidth, slow),
        ("slot decoder at noise, Muon", args.bandwidth, {"width": 288}),
        ("slot decoder, silent", None, slow),
    ):
        if not args.examples:
            continue
        makers[name] = lambda name=name, eps=eps, changes=changes: isn.baselines.train_slot_decoder(
            lm, [site.name], prompts, bandwidth=eps, config=config_of(args, **changes), **kept(name)
        )
    found, generators = [], []
    for name, make in makers.items():
        gen = make()
        seconds = gen.run_card["history"][-1]["seconds"]
        print(f"  {name}: {gen.run_card['examples_seen']:,} examples, {seconds:.0f} s", flush=True)

        def answer(ids: list[int], seed: int, gen: isn.Generator = gen) -> isn.Inversion:
            return isn.invert(
                lm, gen, ids, site=site, bandwidth=args.bandwidth, n=args.passes, prior=prompts, seed=seed, bank=0,
                progress=False,
            )  # fmt: skip

        units = gen.statistics(site.name)
        found.append(Method(name, answer, units, args.passes, gen.run_card["examples_seen"], seconds))
        generators.append(gen)
    return found, generators[0]


def searches(args: argparse.Namespace, table: ActivationTable, prompts: isn.PromptDistribution, ours: Method):
    """Ways that need no training, one after the other; a bank is dropped when the next one is drawn."""
    lm = table.lm
    same = {"site": table.site, "bandwidth": args.bandwidth, "statistics": ours.units, "progress": False}

    def by(search: Callable, **how: Any) -> Callable[[list[int], int], Any]:
        return lambda ids, seed: search(lm, prompts, ids, seed=seed, **same, **how)

    b = isn.baselines
    yield Method("prior", by(b.prior, n=args.passes), ours.units, args.passes)
    for n in (args.passes, args.more):
        yield Method(f"rejection, {n:,}", by(b.rejection, n=args.passes, passes=n), ours.units, n)
        yield Method(f"perturbation, {n:,}", by(b.perturbation, n=n), ours.units, n)
    for size in dict.fromkeys((*(args.bank or (10_000, 100_000)), min(MOST, ours.once))):
        began = time.monotonic()
        bank = draw_bank(lm, prompts, size, seed=size)
        bank.activations(table.site.name)
        seconds = time.monotonic() - began
        yield Method(f"neighbours of {size:,}", by(b.neighbours, bank=bank), ours.units, 0, size, seconds)


def picture(table: pd.DataFrame, labels: pd.DataFrame) -> alt.TopLevelMixin:
    """Errors against passes, and accuracies of classifiers."""
    points = table.assign(passes=table["passes once"] + table["passes a pick"])
    left = alt.Chart(points, title="error of consistency rates against passes of the target").encode(
        x=alt.X("passes:Q", scale=alt.Scale(type="log"), title="passes, before the first pick and for it"),
        y=alt.Y("mean error:Q", title="mean absolute error"),
    )
    left = left.mark_point(filled=True, size=70).encode(color="method:N") + left.mark_text(
        align="left", dx=7, fontSize=9
    ).encode(text="method:N")
    kinds = ["best possible", MODE, "probe", "dictionary", "most common label"]
    right = (
        alt.Chart(labels.melt(["feature"], kinds, "by", "accuracy"), title="naming a label at a noised activation")
        .mark_bar()
        .encode(
            x=alt.X("accuracy:Q"),
            y=alt.Y("by:N", sort=kinds, title=None),
            color=alt.Color("by:N", sort=kinds, legend=None),
            row=alt.Row("feature:N", sort=None, title=None, header=alt.Header(labelAngle=0, labelAlign="left")),
        )
        .properties(width=240, height=60)
    )
    return alt.hconcat(left.properties(width=420, height=360), right).resolve_scale(color="independent")


def main() -> None:
    """Trains or loads, asks everyone, prints the tables, writes JSON and picture."""
    args = options()
    _, prompts, table = load(args, args.site)
    truth = Truth(table, hypotheses(are_sums(args), len(table.inputs[0])), args.bandwidth)
    learned, generator = trained(args, table, prompts)
    rows = table.draw(args.picks, seed=11)
    table.label(truth.features)
    exact: dict[float, pd.DataFrame] = {}
    lines = []
    for method in (*learned, *searches(args, table, prompts, learned[0])):
        scale = method.units.scale
        if scale not in exact:
            exact[scale] = truth.of(rows, method.units)
        lines.append(row_of(method, answered(method, truth, exact[scale], rows, seed=1000), truth.features))
        print(f"  {method.name}: mean error {lines[-1]['mean error']:.3f}, ESS {lines[-1]['ESS']:.1f}", flush=True)
    answers = pd.DataFrame(lines)
    labels = classified(
        truth, generator, prompts, learned=args.learned, tests=args.tests, samples=args.passes, seed=5000
    )
    report(args, table, answers, labels)


def report(args: argparse.Namespace, table: ActivationTable, answers: pd.DataFrame, labels: pd.DataFrame) -> None:
    """Prints and writes both tables, and where the generator is beaten."""
    better = beaten(answers, OURS)
    for _, row in labels.iterrows():
        better += [
            f"{name}: {row['feature']} named right {row[name]:.3f}, generator's mode {row[MODE]:.3f}"
            for name in ("probe", "dictionary", "most common label") if row[name] > row[MODE]
        ]  # fmt: skip
    print(answers.round(3).to_string(index=False))
    print(labels.drop(columns="dictionary's setting").round(3).to_string(index=False))
    print("where another way is better than the generator:", *(better or ["nowhere"]), sep="\n  ", flush=True)
    write(
        args.name,
        {"answers": answers, "labels": labels},
        picture(answers, labels),
        arguments=vars(args),
        target=table.lm.name,
        site=str(table.site),
        inputs=len(table.inputs),
        better_than_the_generator=better,
    )


if __name__ == "__main__":
    main()
