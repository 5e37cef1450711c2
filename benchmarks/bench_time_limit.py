"""Whether a search without a generator keeps to its time, on targets of several sizes and any P(X).

    python benchmarks/bench_time_limit.py --name time_limit

Random GPT-2s from the size of the packaged model to GPT-2 medium, one thread of a processor; inputs that are whole
texts, texts cut anywhere, and what the model itself writes; sites behind the first, the middle and the last block.
`metropolis` is given ten seconds each time and timed.
"""

from __future__ import annotations

import argparse
import time

import altair as alt
import pandas as pd
import torch
from _results import name_argument, write
from bench_training import gpt2

import inversescope_nb as isn

SIZES = {
    "4 x 128": (4, 128),
    "12 x 256": (12, 256),
    "12 x 768 (GPT-2)": (12, 768),
    "24 x 1024 (GPT-2 medium)": (24, 1024),
}
SECONDS = 10.0


def searches(name: str, n_layers: int, width: int) -> list[dict]:
    """A row for each P(X) and site of one target."""
    lm, whole = gpt2(n_layers, width=width)
    texts = [lm.decode(x) for x in whole.draw(300, lm, seed=0)]
    kinds = {
        "whole texts": whole,
        "texts cut anywhere": isn.PromptDistribution.from_texts(texts),
        "its own texts": isn.PromptDistribution.from_model(lm),
    }
    size = sum(p.numel() for p in lm.model.parameters()) / 1e6
    rows = []
    for kind, prompts in kinds.items():
        picked = prompts.draw(1, lm, seed=5)[0]
        for layer in (0, n_layers // 2, n_layers - 1):
            began = time.monotonic()
            found = isn.baselines.metropolis(
                lm, prompts, picked, site=f"blocks.{layer}.hook_resid_post", seconds=SECONDS, progress=False
            )
            rows.append(
                {"target": name, "million_parameters": size, "prompts": kind, "layer": layer,
                 "seconds": time.monotonic() - began, "passes": found.bank_size, "texts": found.n_texts,
                 "verdict": str(found.verdict)}
            )  # fmt: skip
            print({k: round(v, 2) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    return rows


def main() -> None:
    """Prints the table, and writes it and a picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    name_argument(parser, "time_limit")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = pd.DataFrame([row for name, shape in SIZES.items() for row in searches(name, *shape)])
    worst = rows.groupby(["target", "prompts"], sort=False)["seconds"].agg(["median", "max"]).reset_index()
    print(worst.round(1).to_string(index=False))
    dots = alt.Chart(rows).mark_point(filled=True, size=60).encode(
        x=alt.X("million_parameters:Q", scale=alt.Scale(type="log")), y="seconds:Q", color="prompts:N"
    )  # fmt: skip
    write(args.name, {"worst": worst, "rows": rows}, dots.properties(width=380, height=240), arguments=vars(args))


if __name__ == "__main__":
    main()
