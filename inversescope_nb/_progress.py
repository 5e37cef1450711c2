"""Progress for people: a tqdm bar where nobody else listens, only for work that takes a while."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int, str], None]
DELAY = 1.0
"""Seconds before a bar appears."""


@contextmanager
def reported(on_progress: Progress | None, progress: bool, title: str) -> Iterator[Progress | None]:
    """What to call with (done, total, message) within the block.

    Args:
        on_progress: the caller's own, which is then all that is told.
        progress: whether to show a bar (in a terminal or a notebook) where there is none.
        title: what stands in front of the bar.

    >>> with reported(None, True, "inverting") as report:
    ...     report(1, 2, "proposing inputs")
    """
    speaks = os.environ.get("RANK", "0") == "0"  # of several processes, the first
    if on_progress is not None or not progress or not speaks:
        yield on_progress
        return
    from tqdm.auto import tqdm

    began, bar = time.monotonic(), None

    def report(done: int, total: int, message: str) -> None:
        nonlocal bar
        if time.monotonic() - began < DELAY:
            return
        if bar is None or bar.total != total:  # the next stretch of work
            if bar is not None:
                bar.close()
            bar = tqdm(desc=title, total=total, leave=False)
        bar.set_postfix_str(message, refresh=False)
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()
