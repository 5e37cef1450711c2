"""Progress for people: a tqdm bar where nobody else listens, only for work that takes a while."""

from __future__ import annotations

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
    if on_progress is not None or not progress:
        yield on_progress
        return
    from tqdm.auto import tqdm

    bar = tqdm(desc=title, delay=DELAY, leave=False)

    def report(done: int, total: int, message: str) -> None:
        if total != bar.total:  # the next stretch of work
            bar.reset(total)
        bar.set_postfix_str(message, refresh=False)
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        bar.close()
