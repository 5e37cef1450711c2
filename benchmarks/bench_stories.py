"""A generator of any text at any token beside nearest neighbours, on stories that it never saw.

    python benchmarks/bench_stories.py                                            # a look, ten minutes
    python benchmarks/bench_stories.py --picks 200 --fixed 0 --name stories       # over an hour of one core
    ... [--workers 5] [--device cuda]

The target is stories260K (a Llama of 260,032 parameters, Andrej Karpathy's); ISN_THIRD_PARTY_MODELS names the folder
that it is in, and without it this is SKIPPED. Its generator lies in notebooks/generators/stories. Held-out stories are
the model's own samples, each cut at a random token, with a seed that training never uses. Each is inverted at every
layer, at the site's usual bandwidth and at fixed ones, and the effective sample size is set beside that of as many
draws of P(X) weighed by the kernel: as many passes of the target for both. Rows by layer, by position, by bandwidth;
`ratio` is that of the means, its interval is of a bootstrap over the stories. A second baseline spends its passes
better: where texts are cut at any token, a text of 64 tokens is 64 inputs, all read in one pass (`every_token`; what
counts are texts, each with the weight of all its beginnings, so that their likeness counts for nothing). Two last
tables are of `metropolis`, ten seconds of search without any generator, which does so too: with texts of its own for
each search, and with a `TextBank` that all share, in their order.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import torch
from _results import name_argument, write

import inversescope_nb as isn

GENERATOR = Path(__file__).parent.parent / "notebooks" / "generators" / "stories"
N = 256
WANTED = 10.0
"""Effective samples, in units of those of neighbours."""
SEED = 20_260_607
FIXED = (0.1, 0.2, 0.3)
"""Bandwidths beside the usual one of each site."""
AT_ONCE = 20
"""Stories that a worker takes at a time."""
COUNTED = {"ess": "generator", "neighbours_ess": "neighbours", "every_token_ess": "neighbours, every token"}
"""Columns of effective samples, and what they are of."""
POSITIONS = [0, 8, 16, 32, 48, 64]


def fidelity(
    folder: Path, generator: Path, site: str, bandwidth: float | None, picks: int, first: int, device: str
) -> pd.DataFrame:
    """One site's rows, at one bandwidth, of `AT_ONCE` of so many stories."""
    torch.set_num_threads(1)
    lm = isn.load_model(folder, device_map=device, dtype=torch.float32)
    gen = isn.Generator.from_pretrained(generator, target=lm)
    inputs = gen.prompts.draw(picks, lm, seed=SEED)[first : first + AT_ONCE]
    frame = isn.fidelity(lm, gen, inputs, sites=[site], bandwidth=bandwidth, n=N, seed=SEED, progress=False)
    every = every_token(lm, gen, inputs, frame)
    return frame.assign(story=range(first, first + len(inputs)), is_usual=bandwidth is None, every_token_ess=every)


@torch.inference_mode()
def every_token(lm: isn.LanguageModel, gen: isn.Generator, inputs: list[list[int]], frame: pd.DataFrame) -> list[float]:
    """Effective samples of `N` texts of which every beginning is weighed by the kernel."""
    (site,) = set(frame["site"])
    statistics = gen.statistics(site)
    ids = torch.tensor(gen.prompts.draw_texts(N, lm, seed=SEED + 1), device=lm.device)
    with isn.activations.capture(lm, [site], stop=True) as seen:
        lm.model(input_ids=ids)
    z = seen[site][:, int(gen.config.has_bos) :].float().cpu()
    found = []
    for x, bandwidth in zip(inputs, frame["bandwidth"], strict=True):
        d = statistics.distance(z.flatten(0, 1), lm.activations([x], [site])[site])
        log_w = statistics.kernel.log(d, bandwidth).double().unflatten(0, z.shape[:2]).logsumexp(1)
        found.append(float(1 / log_w.softmax(0).square().sum()))
    return found


def searched(folder: Path, generator: Path, picks: int, site: str) -> pd.DataFrame:
    """What ten seconds without a generator find at one site, at its usual bandwidth and in the generator's units."""
    torch.set_num_threads(1)
    lm = isn.load_model(folder, dtype=torch.float32)
    gen = isn.Generator.from_pretrained(generator, target=lm)
    bandwidth, rows = gen.default_bandwidth(site), []
    for x in gen.prompts.draw(picks, lm, seed=SEED):
        rows.append(_searched(lm, gen, x, site, bandwidth, None))
    return pd.DataFrame(rows)


def shared(folder: Path, generator: Path, picks: int) -> pd.DataFrame:
    """The same, at every site of one story after the other, all of them from one bank of texts."""
    torch.set_num_threads(1)
    lm = isn.load_model(folder, dtype=torch.float32)
    gen = isn.Generator.from_pretrained(generator, target=lm)
    bank = isn.baselines.TextBank(lm, gen.prompts)
    frame = pd.DataFrame([
        {"story": i} | _searched(lm, gen, x, site, gen.default_bandwidth(site), bank)
        for i, x in enumerate(gen.prompts.draw(picks, lm, seed=SEED), 1)
        for site in gen.sites
    ])  # fmt: skip
    frame["stories"] = pd.cut(frame["story"], [0, 1, 2, 5, 10, 20, 50, 100]).astype(str)
    return pd.DataFrame([
        {
            "stories": key, "searches": len(part), "seconds": part["seconds"].median(), "texts": part["held"].max(),
            "at_once": (part["passes"] == 0).mean(), "median_ess": part["ess"].median(), "bits": part["bits"].median(),
            "by_texts": part["texts"].mean(), "reliable": (part["verdict"] == "RELIABLE").mean(),
        }
        for key, part in frame.groupby("stories", sort=False)
    ])  # fmt: skip


def _searched(
    lm: isn.LanguageModel, gen: isn.Generator, x: list[int], site: str, bandwidth: float,
    bank: isn.baselines.TextBank | None,
) -> dict[str, Any]:  # fmt: skip
    """One search."""
    began = time.perf_counter()
    got = isn.baselines.metropolis(
        lm, gen.prompts, x, site=site, bandwidth=bandwidth, n=N, statistics=gen.statistics(site), texts=bank,
        progress=False,
    )  # fmt: skip
    return {
        "position": len(x) - 1, "layer": got.site.layer, "passes": got.bank_size, "ess": got.ess, "bits": got.bits,
        "texts": got.n_texts > 0, "verdict": str(got.verdict), "seconds": time.perf_counter() - began,
        "held": 0 if bank is None else len(bank),
    }  # fmt: skip


def found(frame: pd.DataFrame) -> pd.DataFrame:
    """The same by position."""
    frame["positions"] = pd.cut(frame["position"], POSITIONS).astype(str)
    return pd.DataFrame([
        {
            "positions": key, "searches": len(part), "passes": part["passes"].median(), "ess": part["ess"].mean(),
            "median_ess": part["ess"].median(), "bits": part["bits"].median(), "by_texts": part["texts"].mean(),
            "reliable": (part["verdict"] == "RELIABLE").mean(),
        }
        for key, part in frame.sort_values("position").groupby("positions", sort=False)
    ])  # fmt: skip


def summary(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Means, medians, their ratios and what the verdicts say."""
    return pd.DataFrame([
        {**dict(zip(by, key, strict=True)), **_of(part)} for key, part in frame.groupby(by, observed=True, sort=False)
    ])  # fmt: skip


def longer(frame: pd.DataFrame) -> pd.DataFrame:
    """The same without the shortest inputs, of which many begin as stories of the training do."""
    return pd.DataFrame([{"longer_than": n, **_of(frame[frame["position"] > n])} for n in (8, 16)])


def _of(part: pd.DataFrame) -> dict[str, float]:
    ess, near = part["ess"].to_numpy(), part["neighbours_ess"].to_numpy()
    every = part["every_token_ess"].to_numpy()
    stories, rng = part["story"].to_numpy(), np.random.default_rng(0)
    names = np.unique(stories)
    rows_of = {name: np.flatnonzero(stories == name) for name in names}
    drawn = []
    for _ in range(1000):
        rows = np.concatenate([rows_of[name] for name in rng.choice(names, len(names))])
        drawn.append(ess[rows].mean() / near[rows].mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "inversions": len(part), "ess": ess.mean(), "neighbours": near.mean(), "ratio": ess.mean() / near.mean(),
        "low": low, "high": high, "every_token": every.mean(), "ratio_to_it": ess.mean() / every.mean(),
        "median_ess": np.median(ess), "median_neighbours": np.median(near), "median_every_token": np.median(every),
        "median_ratio": np.median(ess / near), "ten_times": (ess >= WANTED * near).mean(),
        "bits": part["bits"].median(), "reliable": (part["verdict"] == "RELIABLE").mean(),
        "failed": (part["verdict"] == "INVERTER_FAILED").mean(),
    }  # fmt: skip


def main() -> None:
    """Prints the tables, and writes them and a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picks", type=int, default=10, help="held-out stories")
    parser.add_argument("--fixed", type=int, default=10, help="of them, those inverted at fixed bandwidths too")
    parser.add_argument("--search", type=int, default=5, help="of them, those searched for without a generator")
    parser.add_argument("--generator", type=Path, default=GENERATOR)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1)
    name_argument(parser, "stories")
    args = parser.parse_args()
    folder = Path(os.environ.get("ISN_THIRD_PARTY_MODELS", "")) / "stories260K"
    if not (folder / "config.json").is_file():
        print("SKIPPED: ISN_THIRD_PARTY_MODELS names the folder that stories260K is in")
        return
    if not args.generator.is_dir():
        print(f"SKIPPED: no generator in {args.generator.name}; python -m inversescope_nb.rebuild stories makes one")
        return
    gen = isn.Generator.from_pretrained(args.generator)
    cells = [(site, None, args.picks, first) for site in gen.sites for first in range(0, args.picks, AT_ONCE)]
    cells += [
        (site, bandwidth, args.fixed, first)
        for bandwidth in FIXED for site in gen.sites for first in range(0, args.fixed, AT_ONCE)
    ]  # fmt: skip
    work = functools.partial(_cell, folder, args.generator, args.device)
    with ProcessPoolExecutor(args.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        frame = pd.concat(pool.map(work, cells), ignore_index=True)
    frame["positions"] = pd.cut(frame["position"], POSITIONS).astype(str)
    usual = frame[frame["is_usual"]]
    tables = {
        "all": summary(usual.assign(what="usual bandwidth"), ["what"]),
        "layers": summary(usual, ["layer", "bandwidth"]),
        "positions": summary(usual.sort_values("position"), ["positions"]),
        "longer": longer(usual),
    }
    if args.fixed:
        tables["bandwidths"] = summary(frame[~frame["is_usual"]], ["bandwidth", "layer"])
    if args.search:
        with ProcessPoolExecutor(args.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            parts = pool.map(functools.partial(searched, folder, args.generator, args.search), gen.sites)
            tables["search"] = found(pd.concat(parts, ignore_index=True))
        tables["shared"] = shared(folder, args.generator, args.search)
    with pd.option_context("display.width", 250, "display.max_columns", None):
        for table in tables.values():
            print(table.round(3).to_string(index=False), "\n")
    rows = usual[["layer", "position", "bandwidth", *COUNTED, "bits", "verdict"]]
    about = {"n": N, "seed": SEED, "examples_seen": gen.run_card["examples_seen"], "verdicts": verdicts(usual)}
    write(args.name, {**tables, "rows": rows.round(3)}, picture(rows), arguments=vars(args), **about)


def picture(rows: pd.DataFrame) -> alt.TopLevelMixin:
    """Means by position, a panel a layer."""
    middle = pd.cut(rows["position"], POSITIONS).map(lambda part: part.mid).astype(float)
    means = rows.assign(position=middle).groupby(["layer", "position"])[list(COUNTED)].mean().rename(columns=COUNTED)
    return alt.Chart(means.reset_index().melt(["layer", "position"])).mark_line(point=True).encode(
        x=alt.X("position:Q", title="position of the picked token"),
        y=alt.Y("value:Q", scale=alt.Scale(type="log"), title=f"effective samples of {N}, means"),
        color=alt.Color("variable:N", title=None, sort=list(COUNTED.values())),
    ).properties(width=130, height=150).facet(column="layer:O")  # fmt: skip


def _cell(folder: Path, generator: Path, device: str, cell: tuple[str, float | None, int, int]) -> pd.DataFrame:
    return fidelity(folder, generator, *cell, device)


def verdicts(frame: pd.DataFrame) -> dict[str, int]:
    """How often each."""
    return frame["verdict"].value_counts().to_dict()


if __name__ == "__main__":
    main()
