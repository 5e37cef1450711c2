"""What one warm `invert` costs beside the bare `generate()` of its backbone, in the same process.

For each number of samples: the median of several runs of `invert` on the packaged model (sampling, scoring with and
without the condition, re-running every sample, weighing), of the backbone's own `generate()` forced to write as many
tokens as the longest sample had, and their ratio. Run it alone on the machine: ``make bench``.
"""

from __future__ import annotations

import argparse
import statistics
import time

import altair as alt
import pandas as pd
import torch
from _results import name_argument, write
from transformers import GenerationConfig

import inversescope_nb as isn

PROMPT, SITE, BANDWIDTH, RUNS = "4 3 7 + 5 6 8 =", "blocks.1.hook_resid_post", 0.2, 7


def median_seconds(work) -> float:
    """Median wall time of RUNS runs, after one that is not counted."""
    work()
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Prints the table, and writes it and a picture of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    name_argument(parser, "invert")
    args = parser.parse_args()
    rows = []
    lm, gen = isn.load_model(), isn.load_generator()
    print(f"{lm.name}, {SITE}, bandwidth {BANDWIDTH}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'n':>6} {'invert s':>10} {'generate s':>11} {'ratio':>7}")
    for n in (64, 256):
        inv = isn.invert(lm, gen, PROMPT, site=SITE, bandwidth=BANDWIDTH, n=n)
        length = max(map(len, inv.samples))
        plain = GenerationConfig(
            do_sample=True, top_k=0, top_p=1.0, min_new_tokens=length, max_new_tokens=length, pad_token_id=lm.pad_id
        )
        start = torch.full((n, 1), gen.config.start_id)
        whole = median_seconds(lambda n=n: isn.invert(lm, gen, PROMPT, site=SITE, bandwidth=BANDWIDTH, n=n))
        bare = median_seconds(
            lambda start=start, plain=plain: gen.backbone.generate(
                start, attention_mask=torch.ones_like(start), generation_config=plain
            )
        )
        print(f"{n:>6} {whole:>10.3f} {bare:>11.3f} {whole / bare:>7.2f}")
        rows += [{"n": n, "what": "invert", "seconds": whole}, {"n": n, "what": "generate", "seconds": bare}]
    frame = pd.DataFrame(rows)
    bars = alt.Chart(frame).mark_bar().encode(x="seconds:Q", y="what:N", row=alt.Row("n:O", title="samples"))
    write(args.name, {"rows": frame}, bars, arguments=vars(args), target=lm.name, runs=RUNS)


if __name__ == "__main__":
    main()
