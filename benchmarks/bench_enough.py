"""What stopping at an effective sample size does to rates and bits, where the exact ones are known.

    python benchmarks/bench_enough.py

P(X) is 8,100 sums whose last digits are fixed, listed; q is the packaged generator's, restricted to them. For each of
16 activations the weights of all inputs are exact, so 400 runs of up to 1,024 draws are drawn from the list, and every
rule stops the same runs. Columns, means over activations that have about the same share of effective samples: samples
drawn, effective ones (median), |bias| and root mean square error of the rates of up to five features, share of the runs
whose 95 % interval (delta method) holds the exact rate, by how much bits are too high, share that stopped early. With
`starved`, a part of the inputs is proposed so many times too rarely: what a generator that misses a mode does.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
import pandas as pd
from _results import name_argument, write

import inversescope_nb as isn

PICKS, SITES, BANDWIDTHS = (3016, 2024), ("resid_post.0", "attn_out.1", "resid_post.2", "resid_post.3"), (0.1, 0.3)
RUNS, MOST = 400, 1024
RULES = {"all": (MOST, None), "128": (128, None), "ess=20": (128, 20.0), "ess=50": (128, 50.0), "ess=100": (128, 100.0)}
"""Name -> (draws between two looks, effective samples that are enough)."""
KINDS = [0, 0.02, 0.1, 0.3, 1]


def listed(lm: isn.LanguageModel) -> tuple[np.ndarray, list[list[int]]]:
    """Digits a, b, d, e and inputs of all sums "a b 7 + d e 8 ="."""
    digits = [(a, b, d, e) for a, b, d, e in itertools.product(range(1, 10), range(10), range(1, 10), range(10))]
    return np.array(digits), [lm.encode(f"{a} {b} 7 + {d} {e} 8 =").rows()[0] for a, b, d, e in digits]


def activations(lm: isn.LanguageModel, gen: isn.Generator) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(log k, log q, features) of all inputs, for each site, pick and bandwidth."""
    digits, inputs = listed(lm)
    places = [lm.site(site).name for site in SITES]
    z = lm.activations(inputs, places)
    total = digits @ [10, 1, 10, 1]
    found = []
    for site, pick in itertools.product(places, PICKS):
        statistics = gen.statistics(site)
        same = np.column_stack([digits == digits[pick], total == total[pick]]).astype(float)
        d = statistics.distance(z[site], z[site][pick]).numpy()
        for bandwidth in BANDWIDTHS:
            condition = gen.condition_on(site, statistics.standardise(z[site][pick])[None], bandwidth)
            log_q = np.array([float(x.sum()) for x in gen.log_probs(inputs, condition)])
            found.append((statistics.kernel.log(d, bandwidth), log_q, same))
    return found


def runs(
    log_k: np.ndarray, log_q: np.ndarray, same: np.ndarray, starved: float, rng: np.random.Generator
) -> list[dict]:
    """What every rule finds of one activation."""
    p, q = np.exp(log_k - np.logaddexp.reduce(log_k)), np.exp(log_q - np.logaddexp.reduce(log_q))
    if starved > 1:
        digit = same[:, 3] > 0
        part = digit if 0.1 < p @ digit < 0.9 else rng.random(len(q)) < 0.5
        q = np.where(part, q / starved, q)
        q /= q.sum()
    truth = p @ same
    open_ = (truth > 0.02) & (truth < 0.98)
    if not open_.any():
        return []
    weight = p / q
    drawn = rng.choice(len(q), (RUNS, MOST), p=q)
    w, f = weight[drawn], same[drawn][..., open_]
    ess = w.cumsum(1) ** 2 / np.maximum((w**2).cumsum(1), 1e-300)
    rows = []
    for rule, (step, enough) in RULES.items():
        n = np.full(RUNS, step)
        if enough is not None:
            looks = np.arange(step, MOST + 1, step)
            there = ess[:, looks - 1] >= enough
            n = np.where(there.any(1), looks[there.argmax(1)], MOST)
        kept = w * (np.arange(MOST) < n[:, None])
        sums = kept.sum(1)
        rate = (kept[..., None] * f).sum(1) / sums[:, None]
        stderr = np.sqrt((kept[..., None] ** 2 * (f - rate[:, None]) ** 2).sum(1)) / sums[:, None]
        error = rate - truth[open_]
        rows.append(
            {"starved": starved, "share": 1 / (q @ weight**2), "rule": rule, "drawn": n.mean(),
             "ess": np.median(ess[np.arange(RUNS), n - 1]), "bias": np.abs(error.mean(0)).mean(),
             "rmse": np.sqrt((error**2).mean()), "covered": (np.abs(error) <= 1.96 * stderr + 1e-12).mean(),
             "bits too high": -np.log2(sums / n).mean(), "early": (n < MOST).mean()}
        )  # fmt: skip
    return rows


def main() -> None:
    """Prints the table, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    name_argument(parser, "enough")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    found = activations(isn.load_model(), isn.load_generator())
    every = pd.DataFrame([row for starved in (1, 30, 100, 300) for case in found for row in runs(*case, starved, rng)])
    every["effective share"] = pd.cut(every.share, KINDS).astype(str)
    grouped = every.groupby(["starved", "effective share", "rule"], sort=False)
    table = grouped.mean(numeric_only=True).assign(activations=grouped.size()).reset_index()
    table = table.sort_values(["starved", "effective share"], kind="stable")
    print(table.round(3).to_string(index=False))
    write(args.name, {"rows": table}, arguments=vars(args), runs=RUNS, most=MOST)


if __name__ == "__main__":
    main()
