"""Time and passes of the target that a search may take, and how much of them is spent."""

from __future__ import annotations

import threading
import time

from .._progress import Progress
from ..errors import Cancelled


class Budget:
    """What is spent first ends the search.

    Args:
        seconds: from now on.
        passes: inputs that may be run.
        report: told how far it is, in hundredths.
        cancel: once set, the next :meth:`count` raises `Cancelled`.
    """

    def __init__(
        self, seconds: float, passes: int, report: Progress | None = None, cancel: threading.Event | None = None
    ) -> None:
        self.seconds, self.passes, self.report, self.cancel = seconds, passes, report, cancel
        self.began, self.spent = time.monotonic(), 0

    def share(self) -> float:
        """Share of time or passes that is spent."""
        return self.ahead(0.0)

    def time_share(self) -> float:
        """Share of the time that is spent."""
        return (time.monotonic() - self.began) / self.seconds

    def ahead(self, time_share: float) -> float:
        """The share that will be spent after what takes so much of the time, and no passes."""
        return max(self.time_share() + time_share, self.spent / self.passes)

    def count(self, passes: int, message: str) -> None:
        """Notes passes of the target; raises `Cancelled` on request."""
        self.spent += passes
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("the search was stopped")
        if self.report is not None:
            self.report(min(99, int(100 * self.share())), 100, message)
