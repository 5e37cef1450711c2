"""How soon each kind of job of the widget is at rest after Stop, and what memory jobs leave behind.

    python benchmarks/bench_stops.py
    python benchmarks/bench_stops.py --only sweep --repeats 3

The packaged model, without a browser: a job is started by the message that the front end sends, and stopped by the
other one, at several moments of it; the time is from Stop to the moment when the widget says that nothing runs. A
job that was over before it was stopped does not count. Memory is what Python and numpy hold (`tracemalloc`, which
slows all down, so in a pass of its own) and what torch's tensors hold: what further jobs of a kind add once some were
run. Jobs that take long are stopped for that after some seconds.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import pandas as pd
import torch
from _results import name_argument, write

import inversescope_nb as isn
from inversescope_nb.widgets.messages import MessageWidget

MOMENTS_S = (0.05, 0.2, 0.45, 0.8, 1.3, 2.0, 3.0)
LIMIT_MS = 500.0
PATIENCE_S = 120
PROMPT, OTHER = "9 6 7 + 9 2 1 =", "Then , Mary and John went to the store . John gave the drink to"
LOOP = "def f(x):\n    while True:\n        pass"
LONG_S = 8.0
"""Seconds after which a job that takes long is stopped, where its memory is measured."""
WARM, MORE = 2, 3
"""Jobs before memory is looked at, and those whose growth is measured."""


@dataclass
class Kind:
    """One kind of job: how it is started and stopped, and how one sees that it runs."""

    name: str
    part: MessageWidget
    start: str
    stop: str | None
    """None: by the request's own id."""
    runs: Callable[[], bool]
    params: Callable[[], dict[str, Any]] = dict
    before: Callable[[], None] = lambda: None
    stopper: MessageWidget | None = None
    ends: bool = True
    """Whether it is over by itself within seconds; else it is stopped where its memory is measured."""
    light: Callable[[], None] | None = None
    """What to do before it, instead of ``before``, where its memory is measured."""
    times: list[float] = field(default_factory=list)


class Ids:
    """Numbers for requests."""

    def __init__(self) -> None:
        self.count = 0

    def send(self, part: MessageWidget, method: str, params: dict[str, Any]) -> str:
        self.count += 1
        number = f"bench-{self.count}"
        part._receive(part, {"kind": "request", "id": number, "method": method, "params": params}, [])
        return number


def until(rests: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not rests():
        if time.monotonic() > end:
            raise TimeoutError(f"it still ran after {PATIENCE_S} s")
        time.sleep(0.001)


@contextmanager
def widgets() -> Iterator[tuple[isn.InverseScopeWidget, isn.InverseScopeWidget]]:
    """A widget of the packaged model, and one of a model that no generator was trained for."""
    lm = isn.load_model()
    scope = isn.InverseScopeWidget(lm, generators=[isn.load_generator()], prompt=PROMPT, site="resid_post.1")
    bare = isn.load_model()
    with torch.no_grad():
        bare.model.get_input_embeddings().weight.mul_(1.01)
    other = isn.InverseScopeWidget((bare.model, bare.tokenizer), prompt=PROMPT, site="resid_post.1")
    try:
        yield scope, other
    finally:
        scope.close()
        other.close()


def kinds(scope: isn.InverseScopeWidget, bare: isn.InverseScopeWidget) -> list[Kind]:
    """All that a widget can be busy with."""
    panel, sweep, pins, picker = scope.panel, scope.sweep, scope.pins, scope.picker
    scope.invert().wait()
    pins.pin()
    scope.prompt = OTHER
    until(lambda: not scope.busy)
    scope.invert().wait()
    scope.add_hypothesis(isn.features.contains("Mary"))
    numbers = itertools.count(1)

    def many(n: int) -> Callable[[], None]:
        def set_n() -> None:
            with scope.held_back():
                scope.n = n

        return set_n

    def anew() -> None:  # a sweep and curves that were made are not made again
        scope.bandwidth = 0.1 + next(numbers) * 1e-4
        until(lambda: not scope.busy)

    answered: dict[str, bool] = {}
    return [
        Kind("inversion of 4,096 samples", scope, "invert", "stop", lambda: scope.busy, before=many(4096),
             light=many(256)),
        Kind("search of a bank", bare, "search", "stop", lambda: bare.busy),
        Kind("training", bare, "train", "stop training", lambda: bare.training["running"], ends=False),
        Kind("measurement across inputs", panel, "measure", "stop", lambda: panel.status["running"], before=many(64)),
        Kind("rates across bandwidths", panel, "bandwidths", "stop", lambda: panel.status["running"], before=anew),
        Kind("proposals", panel, "propose", "stop", lambda: panel.status["running"], before=many(4096),
             light=many(256)),
        Kind("sweep of 36 sites", sweep, "sweep", "stop", lambda: sweep.status["running"], before=anew, ends=False),
        Kind(
            "comparison", pins, "compare", "stop", lambda: scope.comparison.status["running"],
            params=lambda: {"id": pins.pins[0]["id"]}, stopper=scope.comparison,
        ),
        Kind("a hypothesis that never ends", panel, "add", None, lambda: bool(answered.get("typed")),
             params=lambda: {"kind": "python", "value": LOOP, "name": f"loop {next(numbers)}"}, ends=False),
        Kind("bits of all tokens", picker, "bits", "stop shading", lambda: picker.shading["running"]),
    ]  # fmt: skip


def begin(kind: Kind, ids: Ids) -> Callable[[], None]:
    """Start it; gives what stops it."""
    if kind.start == "bits":  # chosen by a trait
        kind.part.quantity = "norm"
        until(lambda: not kind.runs())
        kind.part.quantity = "bits"
    else:
        number = ids.send(kind.part, kind.start, kind.params())
        if kind.stop is None:
            job = kind.part._asked_for.get(number)
            kind.runs = lambda: job is not None and not job.finished
            return lambda: kind.part._receive(kind.part, {"kind": "cancel", "id": number}, [])
    return lambda: ids.send(kind.stopper or kind.part, kind.stop or "", {})


def stopped(kind: Kind, ids: Ids, repeats: int) -> None:
    """Stop it at several moments."""
    for moment in MOMENTS_S[:repeats]:
        kind.before()
        until(lambda: not kind.runs())
        stop = begin(kind, ids)
        time.sleep(moment)
        if not kind.runs():
            continue
        started = time.perf_counter()
        stop()
        until(lambda: not kind.runs())
        kind.times.append(1000 * (time.perf_counter() - started))
    until(lambda: threading.active_count() < 100)


def in_tensors() -> int:
    """Bytes of all tensors that there are, those that share their storage counted once."""
    found = {}
    for thing in gc.get_objects():
        if isinstance(thing, torch.Tensor) and thing.device.type == "cpu" and thing.layout is torch.strided:
            storage = thing.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def grown(kind: Kind, ids: Ids) -> tuple[float, float]:
    """Megabytes that further jobs of a kind leave behind, all of them together: Python's and numpy's, and torch's."""

    def run(jobs: int) -> tuple[int, int]:
        for _ in range(jobs):
            (kind.light or kind.before)()
            stop = begin(kind, ids)
            time.sleep(0.02 if kind.ends else LONG_S)
            if not kind.ends:
                stop()
            until(lambda: not kind.runs())
        gc.collect()
        return tracemalloc.get_traced_memory()[0], in_tensors()

    tracemalloc.start()
    try:
        before, then = run(WARM), run(MORE)
        return (then[0] - before[0]) / 2**20, (then[1] - before[1]) / 2**20
    finally:
        tracemalloc.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=len(MOMENTS_S), help="moments of each job, at most 7")
    parser.add_argument("--only", help="kinds whose name holds this")
    name_argument(parser, "stops")
    args = parser.parse_args()
    ids, rows = Ids(), []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache  # a training that is stopped is kept
        with widgets() as (scope, bare):
            for kind in kinds(scope, bare):
                if args.only and args.only not in kind.name:
                    continue
                stopped(kind, ids, args.repeats)
                left, left_in_tensors = grown(kind, ids)
                row = {
                    "job": kind.name,
                    "stopped": len(kind.times),
                    "median_ms": median(kind.times) if kind.times else None,
                    "worst_ms": max(kind.times, default=None),
                    "limit_ms": LIMIT_MS,
                    "left_mb": left,
                    "left_in_tensors_mb": left_in_tensors,
                }
                print(row, flush=True)
                rows.append(row)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=lambda x: f"{x:.2f}", na_rep=""))
    write(args.name, {"rows": table}, arguments=vars(args), jobs_whose_growth_is_measured=MORE, cores=os.cpu_count())


if __name__ == "__main__":
    main()
