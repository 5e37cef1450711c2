"""How far the released generator is from the exact posterior, at every one of its sites.

    python benchmarks/bench_released.py                             # few picks, every fourth site: some minutes
    python benchmarks/bench_released.py --full --runs FOLDER        # the whole one; a broken run goes on from FOLDER
    python benchmarks/bench_released.py --full --generator FOLDER   # another generator of the packaged model

1. Two sets S of inputs are listed: all sums, and all fillings of one IOI template up to its second name. The
   generator's P(X) restricted to S is the prior, so the posterior on S is exact. At picked inputs of S (clean
   activations, as in use): gap = E over the posterior of [log P_S(x | z) - log q(x | z)] + log q(S | z), nats.
2. ESS/n of `invert` at each site's usual bandwidth, over targets drawn from P(X) with another seed than training's:
   cut at slots, and at random positions.

Sites on the residual stream get `--picks` picks, the others `--other-picks`; a median over sites is over those that
hold at least 2 bits of S at that bandwidth (exact channel bits). Prints tables, with the five worst sites and what
was measured there, and writes them to benchmarks/results/ as JSON and as a picture.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _prefixes import tables
from _released import TARGETS, ess_summary, picture, summary, worst
from _restricted import Beginnings, channel_bits, gaps, posteriors
from _results import name_argument, write
from _sets import SETS, restricted

import inversescope_nb as isn
from inversescope_nb.exact import ActivationTable
from inversescope_nb.generator import Generator
from inversescope_nb.generator.quality import measure_quality

FULL = {"every": 1, "picks": 256, "other_picks": 64, "draws": 4, "samples": 2048, "bit_draws": 48, "targets": 50,
        "inversion_samples": 64}  # fmt: skip
QUICK = FULL | {"every": 4, "picks": 32, "other_picks": 16, "samples": 512, "bit_draws": 24, "targets": 8}
CUTS = ("slots", "random")
_SEED = 20_240_607


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generator", type=Path, help="folder of a generator (default: the packaged one)")
    parser.add_argument("--set", action="append", choices=SETS, help="(default: all)")
    parser.add_argument("--bandwidth", type=float, action="append", help="(default: 0.1, 0.05 and 0.02)")
    parser.add_argument("--sites", default="*", help="glob over the generator's sites")
    parser.add_argument("--full", action="store_true", help=f"{FULL} instead of {QUICK}, where not given")
    parser.add_argument("--every", type=int, help="only every so-manieth site")
    parser.add_argument("--picks", type=int, help="picked inputs of a site on the residual stream")
    parser.add_argument("--other-picks", type=int, help="of a site elsewhere")
    parser.add_argument("--draws", type=int, help="posterior draws of each pick")
    parser.add_argument("--samples", type=int, help="samples behind q(S|z), over all picks of a cell")
    parser.add_argument("--bit-draws", type=int, help="draws behind the exact channel bits")
    parser.add_argument("--targets", type=int, help="inputs inverted at each site and cut")
    parser.add_argument("--inversion-samples", type=int, help="samples of each inversion")
    parser.add_argument("--gigabytes", type=float, default=2.5, help="activations of S in memory at a time")
    parser.add_argument("--runs", type=Path, help="folder that finished cells are kept in")
    parser.add_argument("--kept", action="store_true", help="measure nothing more: tell what --runs holds")
    name_argument(parser, "released")
    args = parser.parse_args()
    for name, usual in (FULL if args.full else QUICK).items():
        setattr(args, name, usual if getattr(args, name) is None else getattr(args, name))
    args.set, args.bandwidth = args.set or list(SETS), args.bandwidth or list(TARGETS)
    return args


def identity(generator: Generator, args: argparse.Namespace) -> str:
    """A name for the rows of one generator measured in one way, so that no others are mixed in."""
    about = [(name, getattr(args, name)) for name in FULL if name != "every"]
    about += ["bias of log q(S|z)", *(float(p.detach().double().sum()) for p in generator.parameters())]
    return hashlib.sha256(repr(about).encode()).hexdigest()[:12]


class Kept:
    """Rows of finished cells, in memory and, where a folder is given, in a file of JSON lines."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self.path = None if folder is None else folder / f"{name}.jsonl"
        self.rows: list[dict[str, Any]] = []
        if self.path is not None and self.path.exists():
            self.rows = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def has(self, **wanted: Any) -> bool:
        """Whether a row with these values is there."""
        return any(all(row[k] == v for k, v in wanted.items()) for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        """Keeps a row."""
        self.rows.append(row)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def groups(lm: isn.LanguageModel, sites: list[str], n: int, gigabytes: float) -> Iterator[list[str]]:
    """Sites in their order, as many at a time as have room."""
    room, group = gigabytes * 1e9 / (4 * n), []
    for site in sites:
        if group and sum(lm.site(s).d for s in [*group, site]) > room:
            yield group
            group = []
        group.append(site)
    if group:
        yield group


def on_set(lm: isn.LanguageModel, generator: Generator, name: str, sites: list[str], kept: Kept, args) -> None:
    """The cells of one set that are not there yet."""
    todo = [s for s in sites if not all(kept.has(set=name, site=s, bandwidth=e) for e in args.bandwidth)]
    if not todo:
        return
    S = restricted(generator.prompts, SETS[name](), lm)
    allowed = None
    moments = {site: generator.statistics(site) for site in todo}
    for group in groups(lm, todo, S.at_least(lm), args.gigabytes):
        found = tables(lm, S, group, moments)
        for site in group:
            table = found.pop(site)
            allowed = allowed or Beginnings(table.inputs, generator)
            for row in cells(table, generator, allowed, args):
                if kept.has(set=name, site=site, bandwidth=row["bandwidth"]):
                    continue  # a run that broke within this site
                kept.add({"set": name, "inputs": len(table.inputs), **row})
                print(f"  {name} {site} eps {row['bandwidth']:g}: " + told(row), flush=True)
            del table  # before the next group is read


def told(row: dict[str, Any]) -> str:
    """A finished cell in a few words."""
    return f"{row['bits']:.1f} bits, gap {row['gap']:.3f} +- {row['gap_se']:.3f}, q(S|z) {row['inside']:.3f}"


def cells(table: ActivationTable, generator: Generator, allowed: Beginnings, args) -> Iterator[dict[str, Any]]:
    """One row a bandwidth of one site."""
    site, began = table.site.name, time.process_time()
    m = args.picks if "hook_resid" in site else args.other_picks
    rows = table.draw(m, seed=_SEED)
    centres = table.u[torch.from_numpy(rows)]
    bits = channel_bits(table, args.bandwidth, draws=args.bit_draws, seed=_SEED + 1)
    exact = posteriors(table, rows, centres, args.bandwidth, args.draws, seed=_SEED + 2)
    spread = float(table.u.var(0, correction=0).mean().sqrt())
    about = {
        "site": site, "layer": table.site.layer, "component": component(site), "picks": m,
        "top_share": table.statistics.top_share, "relative_scale": generator.relative_scale(site), "spread": spread,
    }  # fmt: skip
    for eps in args.bandwidth:
        found = gaps(generator, table, centres, eps, exact[eps], allowed, args.samples, seed=_SEED + 3)
        yield about | {
            "bandwidth": eps,
            "bits": bits[eps][0],
            "bits_se": bits[eps][1],
            "gap": float(found.gap.mean()),
            "gap_se": float(found.gap.std(ddof=1) / math.sqrt(m)),
            "gap_median": float(np.median(found.gap)),
            "inside": float(np.exp(found.log_inside).mean()),
            "log_inside": float(found.log_inside.mean()),
            "log_inside_bias": float(found.bias.mean()),
            "entropy": float(exact[eps].entropy.mean()),
            "ess_ratio": float(np.median(found.ess_ratio)),
            "cpu_seconds": time.process_time() - began,
        }
        began = time.process_time()


def component(site: str) -> str:
    """`z.2` of `blocks.1.attn.hook_z.2`."""
    return site.split("hook_")[-1]


def inversions(lm: isn.LanguageModel, generator: Generator, sites: list[str], kept: Kept, args) -> None:
    """ESS/n at usual bandwidths, site by site and cut by cut."""
    for cut in CUTS:
        picks = generator.prompts.cut_at(cut)
        for site in sites:
            if kept.has(site=site, cut=cut):
                continue
            (row,) = measure_quality(
                lm, generator, sites=[site], bandwidths=[generator.default_bandwidth(site)], picks=picks,
                n_picks=args.targets, n_samples=args.inversion_samples, seed=_SEED,
            )  # fmt: skip
            kept.add({"cut": cut, "targets": args.targets, **row})
            print(f"  cut at {cut}, {site} eps {row['bandwidth']:g}: ESS/n {row['ess_ratio']}", flush=True)


def show(title: str, frame: pd.DataFrame, columns: list[str] | None = None) -> None:
    """Prints a table."""
    print(f"\n{title}\n{frame[columns or list(frame)].round(3).to_string(index=False)}")


def main() -> None:
    """Measures, prints, writes."""
    args = parsed()
    lm = isn.load_model()
    generator = isn.load_generator() if args.generator is None else Generator.from_pretrained(args.generator)
    generator.check_target(lm)
    wanted = set(lm.sites(args.sites))
    sites = [s for s in generator.sites if s in wanted][:: args.every]
    name = identity(generator, args)
    gap_rows, ess_rows = Kept(args.runs, f"{name}-gaps"), Kept(args.runs, f"{name}-ess")
    if not args.kept:
        for name in args.set:
            on_set(lm, generator, name, sites, gap_rows, args)
        inversions(lm, generator, sites, ess_rows, args)
    frame, ess = pd.DataFrame(gap_rows.rows), pd.DataFrame(ess_rows.rows)
    shown = {"summary": summary(frame), "ess_summary": ess_summary(ess), "worst": worst(frame)}
    show("Median gap, nats, over the sites that hold 2 bits of S", shown["summary"])
    show("ESS/n of inversions at usual bandwidths", shown["ess_summary"])
    columns = ["set", "bandwidth", "site", "gap", "gap_se", "entropy", "bits", "inside", "reason"]
    show("Worst sites", shown["worst"], columns)
    write(
        args.name,
        {**shown, "gaps": frame, "ess": ess},
        picture(frame),
        arguments=vars(args),
        target=lm.name,
        generator="packaged" if args.generator is None else args.generator.name,
        parameters=sum(p.numel() for p in generator.parameters()),
        prompts=generator.prompts.name,
        peak_gigabytes=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        cpu_seconds_of_last_start=round(time.process_time()),
    )


if __name__ == "__main__":
    main()
