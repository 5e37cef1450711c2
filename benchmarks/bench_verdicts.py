"""How often is each verdict wrong? Every inversion's verdict held against the exact posterior.

    python benchmarks/bench_verdicts.py                                          # built targets, some minutes
    python benchmarks/bench_verdicts.py --target built --target sums             # and the packaged model's sums
    python benchmarks/bench_verdicts.py --target file --model PATH --prompts FILE --site A --site B
    python benchmarks/bench_verdicts.py --target built --keep a.csv              # rows of several runs can be put
    python benchmarks/bench_verdicts.py --read a.csv --read b.csv                # together

Generators of many qualities: untrained, trained for a few to many steps, and trained on a P(X) that lacks a part of the
one that is asked about (so that whole modes are never proposed). Each inverts picks at several bandwidths, with 64 and
256 samples, with a bank and without. What the verdicts claim, as a statement that is true or false:

RELIABLE        Estimates are within what their own figures allow: consistency rates of five fixed labels within
                3 sqrt(r (1 - r) / ESS) + 0.02 of the exact rate r, and bits within 0.3, or three standard errors if
                that is more. And the generator misses little: see INVERTER_FAILED.
INVERTER_FAILED The generator gives less than one in n of its due to more than 10 % of the exact posterior, or less
                than a tenth of its due to more than 30 %. Of the exact posterior p, by draws from it: P_p(p / q > n),
                P_p(p / q > 10). A false alarm is one where neither share reaches half of that.
LOW_ESS         The generator is not missing that much, but the effective samples to be expected, n / E_p(p / q), are
                fewer than 10 or a tenth of n (50 are enough). A false alarm is one where they are twice that.
NO_INFORMATION  The exact resolution bits are below 0.2.
CONSTANT, OUTSIDE_PROMPT_DISTRIBUTION: facts; the site does not vary, P(X) cannot make the pick. Checked here too.

Dangerous is RELIABLE where it is not true. Cells (target, site, generator, bandwidth) are of two halves, by a hash:
by how much more a bank may hold was chosen by the figures of the first; errors are told for both.
"""

from __future__ import annotations

import argparse
import copy
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
from _results import name_argument, write
from _verdict_rules import CLASSES, by_generator, confusion, error_rates, khat_table, true_class
from _verdicts import Setting, study, variances

import inversescope_nb as isn
from inversescope_nb.exact import ActivationTable, activation_table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from known_answer import Copy, copying_target

BATCH = 64
MARKS = (50, 200, 1000)
VERDICTS = ("RELIABLE", "NO_INFORMATION", "LOW_ESS", "INVERTER_FAILED")


def along(
    lm: isn.LanguageModel, sites: Sequence[str], prompts, marks: Sequence[int], *,
    bandwidths: tuple[float, float] = (0.02, 1.0), seed: int = 0, folder: Path | None = None,
) -> dict[str, isn.Generator]:  # fmt: skip
    """One training's small generator as it was after so many steps; read from `folder` where it is there already."""
    paths = {steps: None if folder is None else folder / str(steps) for steps in marks}
    if folder is not None and all(path.exists() for path in paths.values()):
        return {f"{steps} steps": isn.load_generator(path) for steps, path in paths.items()}
    kept: dict[str, isn.Generator] = {}

    def keep(generator: isn.Generator, examples: int) -> dict[str, float]:
        steps = examples // BATCH
        if steps in paths:
            found = copy.deepcopy(generator).eval()
            found.record_probe(lm)
            kept[f"{steps} steps"] = found
            if paths[steps] is not None:
                found.save_pretrained(paths[steps])
        return {}

    config = isn.TrainingConfig(
        steps=max(marks), batch_size=BATCH, lr=2e-3, warmup=20, backbone="small", held_out=32, gap_inputs=0,
        eval_every=int(np.gcd.reduce(marks)), save_every=max(marks), statistics_samples=4096, bandwidths=bandwidths,
        seed=seed,
    )  # fmt: skip
    isn.train_generator(lm, sites, prompts, config=config, progress=False, on_evaluate=keep)
    return kept


def qualities(
    lm: isn.LanguageModel, sites: Sequence[str], prompts, marks: Sequence[int], lacking: dict[str, tuple],
    folder: Path | None, **changes,
) -> dict[str, isn.Generator]:  # fmt: skip
    """Generators by how they were trained: on P(X) itself, and on others, for (P(X), steps) each."""

    def trained(part: str, on, steps: Sequence[int]) -> dict[str, isn.Generator]:
        return along(lm, sites, on, steps, folder=None if folder is None else folder / part, **changes)

    found = {name: trained(name, other, [steps])[f"{steps} steps"] for name, (other, steps) in lacking.items()}
    return found | {"untrained": trained("untrained", prompts, [1])["1 steps"]} | trained("whole", prompts, marks)


def settings(name, tables: Sequence[ActivationTable], prompts, generators: dict, bandwidths) -> Iterator[Setting]:
    """Every generator at every site."""
    for table in tables:
        for quality, generator in generators.items():
            own = table.in_units(generator.statistics(table.site.name))
            yield Setting(name, quality, generator, own, prompts, bandwidths)


def built(args: argparse.Namespace) -> Iterator[Setting]:
    """Targets that were built (tests/known_answer.py), from several bits to none."""
    bandwidths = (0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 6.0)
    wide = (bandwidths[0], bandwidths[-1])
    for name, slots, labels, copies, twins in (
        ("one of 2 labels", 3, 2, [Copy(0)], 2),
        ("one of 5 labels", 3, 5, [Copy(0)], 1),
        ("two labels of 4", 4, 4, [Copy(0), Copy(2)], 1),
        ("a weak label beside a strong one", 3, 6, [Copy(2, 0.3), Copy(0)], 1),
    ):
        known = copying_target(name, slots, labels, copies, bandwidths, 7, twins=twins)
        texts = [p.text for p, _ in known.prompts.enumerate()]
        half = [t for t in texts if t.split()[1][0] in "abc"[: labels // 2]]
        lacking = {"lacks half": (isn.PromptDistribution.from_texts(half, name="half", cut="end"), 150)}
        made = qualities(
            known.lm, [known.site], known.prompts, (50, 200), lacking, folder_of(args, name), bandwidths=wide,
            seed=args.seed,
        )  # fmt: skip
        table = activation_table(known.lm, known.prompts, known.site, progress=False)
        yield from settings(name, [table], known.prompts, made, bandwidths)


def of_file(args: argparse.Namespace) -> Iterator[Setting]:
    """Any model with a file of all its inputs, one a line, all of one length."""
    lm = isn.load_model(args.model)
    texts = [t for t in args.prompts.read_text(encoding="utf-8").splitlines() if t]
    prompts = isn.PromptDistribution.from_texts(texts, name=args.prompts.stem, cut="end")
    first, third = min(t[0] for t in texts), len(texts[0]) // 2
    without = [t for t in texts if t[0] != first]
    corner = [t for t in texts if t[:2] != texts[0][:2] and t[third : third + 2] != texts[-1][third : third + 2]]
    rare = [t for t in texts if t[0] == first] + 30 * without
    lacking = {
        name: (isn.PromptDistribution.from_texts(some, name=name, cut="end"), 400)
        for name, some in (("lacks a letter", without), ("lacks pairs", corner), ("a letter 30 times too rare", rare))
    }
    made = qualities(lm, args.site, prompts, MARKS, lacking, folder_of(args, lm.name), seed=args.seed)
    tables = [activation_table(lm, prompts, site, progress=False) for site in args.site]
    yield from settings(lm.name, tables, prompts, made, (0.05, 0.1, 0.3, 1.0))


def sums(args: argparse.Namespace) -> Iterator[Setting]:
    """The packaged model and its generator, on all sums; and one that has hardly learned."""
    lm, packaged = isn.load_model(), isn.load_generator()
    prompts = isn.tasks.get_prompts("addition", cut="end")
    for site in args.site or ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post"):
        made = {"packaged": packaged, **along(lm, [site], prompts, [100], seed=args.seed, folder=folder_of(args, site))}
        table = activation_table(lm, prompts, site, progress=False)
        yield from settings("sums", [table], prompts, made, (0.05, 0.1, 0.3, 1.0))


def folder_of(args: argparse.Namespace, name: str) -> Path | None:
    """Where a target's generators are kept."""
    return None if args.generators is None else args.generators / name.replace(" ", "_")


TARGETS = {"built": built, "file": of_file, "sums": sums}


def facts(seed: int) -> pd.DataFrame:
    """Sites that do not vary, and picks that P(X) cannot make: what is said of them."""
    known = copying_target("facts", 3, 4, [Copy(0)], (0.1, 1.0), 7)
    some = isn.PromptDistribution.from_texts(
        [p.text for p, _ in known.prompts.enumerate() if p.text[0] != "a"], name="no a", cut="end"
    )
    rows = []
    for name, site, prior, inside in (
        ("CONSTANT", "blocks.0.hook_resid_pre", known.prompts, known.prompts),
        ("OUTSIDE_PROMPT_DISTRIBUTION", known.site, some, known.prompts),
    ):
        (generator,) = along(known.lm, [site], prior, [20], seed=seed).values()
        for x in inside.draw(64, known.lm, seed=seed):
            found = isn.invert(known.lm, generator, x, site=site, bandwidth=0.3, n=16, prior=prior, progress=False)
            true = name == "CONSTANT" or known.lm.decode(x[1:])[0] == "a"
            rows.append({"verdict": name, "true": true, "said": str(found.verdict) == name})
    frame = pd.DataFrame(rows)
    return frame.groupby(["verdict", "true"])["said"].agg(inversions="size", said="sum").reset_index()


def collected(args: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row for every inversion; and of some picks, variances over repeated inversions beside what ESS predicts."""
    rows, repeated = [], []
    for target in args.target or []:
        for setting in TARGETS[target](args):
            picks = args.picks if target == "built" else 2 * args.picks
            found = list(study(setting, picks=picks, samples=args.samples, seed=args.seed + 31 * len(rows)))
            rows += found
            said = pd.Series([r["verdict"] for r in found]).value_counts().to_dict()
            print(f"{setting.target}, {setting.table.site}, {setting.quality}: {said}", flush=True)
            if target != "sums" and setting.quality != "untrained":
                repeated += variances(setting, repetitions=16, seed=args.seed + 5)
            if args.keep is not None:  # as far as it has come
                pd.DataFrame(rows).to_csv(args.keep, index=False)
                pd.DataFrame(repeated).to_csv(repeated_of(args.keep), index=False)
    return pd.DataFrame(rows), pd.DataFrame(repeated)


def repeated_of(path: Path) -> Path:
    """The file beside a file of rows that holds what was seen over repeated inversions."""
    return path.with_name(path.name.replace(".csv", ".repeated.csv"))


def picture(frame: pd.DataFrame) -> alt.TopLevelMixin:
    """What was said where the exact posterior shows what, as shares."""
    shares = frame.groupby(["bank", "true class"])["verdict"].value_counts(normalize=True).rename("share").reset_index()
    shares["bank"] = shares["bank"].map({True: "with a bank", False: "without"})
    return (
        alt.Chart(shares)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of the inversions"),
            y=alt.Y("true class:N", sort=list(CLASSES), title=None),
            color=alt.Color("verdict:N", sort=list(VERDICTS)),
            order=alt.Order("verdict:N"),
        )
        .properties(width=260, height=90)
        .facet(column=alt.Column("bank:N", title=None))
    )


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", action="append", choices=TARGETS, help="several times (default: built)")
    parser.add_argument("--model", help="folder or Hub name, for --target file")
    parser.add_argument("--prompts", type=Path, help="all inputs of that model, one a line")
    parser.add_argument("--site", action="append", help="of that model or of the sums, several times")
    parser.add_argument("--picks", type=int, default=6, help="a bandwidth and generator (other targets: twice as many)")
    parser.add_argument("--samples", type=int, action="append", choices=(64, 256, 1024), help="(default: 64 and 256)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generators", type=Path, help="folder that trained generators are kept in, and read from")
    parser.add_argument("--keep", type=Path, help="CSV that the rows are kept in")
    parser.add_argument("--read", type=Path, action="append", help="rows of earlier runs, to be put together")
    name_argument(parser, "verdicts")
    args = parser.parse_args()
    if not args.target and not args.read:
        args.target = ["built"]
    args.samples = args.samples or [64, 256]
    return args


def main() -> None:
    """Inverts, prints the tables, writes JSON and picture."""
    args = parsed()
    frame, repeated = collected(args)
    for path in args.read or []:
        frame = pd.concat([frame, pd.read_csv(path)], ignore_index=True)
        beside = repeated_of(path)
        if beside.exists() and beside.stat().st_size > 1:  # sums have none
            repeated = pd.concat([repeated, pd.read_csv(beside)], ignore_index=True)
    cell = frame["target"] + frame["site"] + frame["quality"] + frame["bandwidth"].map("{:g}".format)
    frame["half"] = cell.map(lambda name: zlib.crc32(name.encode()) % 2).map({0: "chosen on", 1: "held out"})
    frame["true class"] = true_class(frame)
    tables = {
        "confusion": confusion(frame),
        "errors": error_rates(frame),
        "generators": by_generator(frame),
        "khat": khat_table(frame),
        "variance": variance_table(repeated),
        "facts": facts(args.seed),
    }
    for name, table in tables.items():
        print(f"\n{name}\n{table.round(3).to_string(index=False)}")
    asked = sorted((frame["target"] + " at " + frame["site"]).unique())
    arguments = {k: v for k, v in vars(args).items() if k not in ("read", "keep", "generators")}
    write(args.name, tables, picture(frame), arguments=arguments, inversions=len(frame) // 2, asked=asked)


def variance_table(repeated: pd.DataFrame) -> pd.DataFrame:
    """The variance of weighted rates over repeated inversions, in units of what their ESS predicts."""
    if repeated.empty:
        return pd.DataFrame()
    inner = repeated[np.minimum(repeated["rate"], 1 - repeated["rate"]) > 0.02]
    rows = []
    edges = pd.cut(inner["ess_ratio"], [0, 0.05, 0.1, 0.2, 0.5, 1.0])
    for name, part in inner.groupby(edges, observed=True):
        rows.append(
            {
                "ESS/n": str(name),
                "picks and labels": len(part),
                "variance / predicted": part["variance"].sum() / part["predicted"].sum(),
                "squared error / predicted": part["squared_error"].sum() / part["predicted"].sum(),
            }
        )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
