"""What each variant of bench_gap.py costs: operations of a training example, and seconds for 1,000 samples.

    python benchmarks/bench_compute.py

Operations are counted, not timed, so that they are the same on every machine: those of the matrix products (attention's
fused kernel is not among them: a few hundredths, over inputs of some ten tokens) of whole steps of a training, with the
target's forward pass, the generator's passes there and back, and what the optimizer multiplies. They come as the
difference of two trainings of a few steps, so that what is done once does not count. Samples are timed beside each
other in one run, in turns: `invert` of one picked input, 256 samples with weights, whose cost hardly depends on what a
generator has learned.
"""

from __future__ import annotations

import argparse
import statistics
import time

import altair as alt
import pandas as pd
from _results import name_argument, write
from _sets import SETS
from _targets import SITE
from _variants import CONFIGS, config_of, train
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import inversescope_nb as isn

BANDWIDTH, SAMPLES, ROUNDS = 0.1, 256, 7
BATCHES = (128, 256, 512)
FEW, MORE = 2, 4
"""Steps of the two trainings whose difference counts."""


class Operations(TorchDispatchMode):
    """Floating-point operations of all matrix products inside (torch's own counter cannot follow inference mode)."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        count, kwargs = flop_registry.get(func._overloadpacket), kwargs or {}
        if count is None:
            with self:  # in inference mode a linear layer comes as one operator, whose product is inside
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        if count is not None:
            self.total += count(*args, **kwargs, out_val=out)
        return out


def trained(variant: str, lm, prompts, args: argparse.Namespace, batch: int, steps: int):
    """A few steps, and the operations of all that a training does."""
    how = argparse.Namespace(examples=steps * batch, batch=batch, lr=6e-3, slot_width=args.slot_width, points=1)
    config = config_of(variant, BANDWIDTH, 0, how)
    with Operations() as operations:
        generator = train(variant, lm, SITE, prompts, BANDWIDTH, config, progress=False)
    return generator, operations.total


def main() -> None:
    """Prints the table, and writes it and a picture of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", choices=SETS, default="sums", help="inputs of the packaged model")
    parser.add_argument("--variant", action="append", choices=CONFIGS, help="(default: all but clean)")
    parser.add_argument("--slot-width", type=int, default=288, help="width of the slot decoder's MLP")
    name_argument(parser, "compute")
    args = parser.parse_args()
    lm, prompts = isn.load_model(), SETS[args.set]()
    rows, generators = {}, {}
    for variant in args.variant or [v for v in CONFIGS if v != "clean"]:
        row = {"variant": variant}
        for batch in BATCHES:
            _, few = trained(variant, lm, prompts, args, batch, FEW)
            generators[variant], more = trained(variant, lm, prompts, args, batch, MORE)
            row[f"mflop_{batch}"] = (more - few) / ((MORE - FEW) * batch) / 1e6
        rows[variant] = row
        print(", ".join(f"{k} {v:.1f}" if isinstance(v, float) else v for k, v in row.items()), flush=True)
    picked = prompts.draw(1, lm, seed=0)[0]
    seconds: dict[str, list[float]] = {variant: [] for variant in rows}
    for round_ in range(ROUNDS + 1):
        for variant, generator in generators.items():
            began = time.perf_counter()
            isn.invert(lm, generator, picked, site=SITE, bandwidth=BANDWIDTH, n=SAMPLES, bank=0, seed=round_)
            if round_:  # the first one warms up
                seconds[variant].append(time.perf_counter() - began)
    for variant, row in rows.items():
        row["seconds_per_1000"] = statistics.median(seconds[variant]) / SAMPLES * 1000
    frame = pd.DataFrame(rows.values())
    print(frame.round(2).to_string(index=False))
    long = frame.melt("variant", [f"mflop_{batch}" for batch in BATCHES], "batch", "operations")
    long["batch"] = long["batch"].str.removeprefix("mflop_")
    dots = alt.Chart(long, title=f"{lm.name}, {SITE}").mark_point(filled=True).encode(
        x=alt.X("operations:Q", title="millions of operations of a training example"),
        y=alt.Y("variant:N", sort=frame["variant"].tolist(), title=None, axis=alt.Axis(grid=True)),
        color=alt.Color("batch:O", sort=[str(batch) for batch in BATCHES]),
    )  # fmt: skip
    write(args.name, {"rows": frame}, dots, arguments=vars(args), target=lm.name, site=SITE, rounds=ROUNDS)


if __name__ == "__main__":
    main()
