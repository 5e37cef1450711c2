"""Worker threads: a queue of one per kind of job, cancelling, progress, remaining time.

JupyterLab runs every message handler on one thread shared by all widgets, so a handler must never
compute: it submits a job here and returns. The newest job of a kind wins: one still waiting is
replaced, one running is asked to stop. Work checks ``job.cancel`` between batches (it is the
``cancel`` that the public functions take) and reports through ``job.report`` (their ``on_progress``).
"""

from __future__ import annotations

import atexit
import logging
import re
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from .._limits import stoppable_by
from ..errors import Cancelled

logger = logging.getLogger(__name__)

_IDLE_S = 20.0  # an idle thread ends by itself; the next job starts a new one
_REPORT_EVERY_S = 0.1
_NUMBER = re.compile(r"[\d.]+")
_EXIT_S = 10.0  # how long all threads together may hold up the interpreter's exit


class Superseded(Cancelled):
    """A job that gave way to a newer one of its kind."""


class Lock(Protocol):
    """What both ``threading.Lock`` and ``threading.RLock`` offer."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...


@contextmanager
def held(lock: Lock, cancel: threading.Event) -> Iterator[None]:
    """Hold the model's lock; a job that is stopped while it waits gives up within 0.1 s."""
    while not lock.acquire(timeout=0.1):
        if cancel.is_set():
            raise Cancelled("stopped while waiting for the model")
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    done: int
    """Units finished."""
    total: int
    """Units in all; 0 where unknown."""
    message: str
    """What is being done, in a few words."""
    remaining_s: float | None
    """Estimated seconds to the end; None while unknown."""


class Job:
    """One piece of work; `wait` returns its result or raises its error."""

    def __init__(
        self,
        kind: str,
        work: Callable[[Job], Any],
        on_progress: Callable[[Job, Progress], None] | None = None,
        on_done: Callable[[Job], None] | None = None,
    ) -> None:
        self.kind = kind
        self.cancel = threading.Event()
        self.superseded = False
        self.result: Any = None
        self.error: BaseException | None = None
        self._work = work
        self._on_progress = on_progress
        self._on_done: list[Callable[[Job], None]] = [on_done] if on_done else []
        self._answer: Callable[[Any], Any] | None = None
        self._finished = threading.Event()
        self._ended = False
        self._lock = threading.Lock()
        self._started = 0.0
        self._phase: tuple[str, int] = ("", -1)
        self._last_report = 0.0

    @property
    def finished(self) -> bool:
        return self._finished.is_set()

    def stop(self) -> None:
        """Ask the work to end at its next look at ``cancel``."""
        self.cancel.set()

    def answering(self, answer: Callable[[Any], Any]) -> Job:
        """This job, whose result the front end is to have as ``answer(result)`` when it was asked for by a request."""
        self._answer = answer
        return self

    @property
    def answer(self) -> Any:
        """What the front end that asked for this job is told at its end."""
        return None if self._answer is None else self._answer(self.result)

    def report(self, done: int, total: int, message: str = "") -> None:
        """Progress, in the shape of ``on_progress(done, total, message)``; passed on at most ten times a second."""
        now = time.monotonic()
        phase = (_NUMBER.sub("", message), total)  # "loss 2.31" and "loss 2.29" are one
        if phase != self._phase:  # another phase has another speed
            self._phase, self._started = phase, now
        at_end = total > 0 and done >= total
        if now - self._last_report < _REPORT_EVERY_S and not at_end:
            return
        self._last_report = now
        spent = now - self._started
        remaining = spent / done * (total - done) if done > 0 and total > 0 and spent > 0.3 else None
        if self._on_progress is not None and not self.cancel.is_set():
            self._on_progress(self, Progress(int(done), int(total), message, remaining))

    def when_done(self, callback: Callable[[Job], None]) -> None:
        """Call back on the worker's thread when the job has ended, or now if it has."""
        with self._lock:
            if not self._ended:
                self._on_done.append(callback)
                return
        callback(self)

    def wait(self, timeout: float | None = None) -> Any:
        """The result, once there.

        Raises:
            TimeoutError: not finished within ``timeout`` seconds.
            Exception: whatever the work raised; `Cancelled` if it was stopped.
        """
        if not self._finished.wait(timeout):
            raise TimeoutError(f"the {self.kind} job did not finish within {timeout} s")
        if self.error is not None:
            raise self.error
        return self.result

    def run(self) -> None:
        """Do the work; called by the worker."""
        try:
            if self.cancel.is_set():
                raise Cancelled
            self._started = time.monotonic()
            with stoppable_by(self.cancel):
                self.result = self._work(self)
        except BaseException as error:  # handed to whoever waits, and to on_done; typed code may even exit()
            self.error = error
        finally:
            self.finish()

    def finish(self) -> None:
        if self.superseded and isinstance(self.error, Cancelled):
            self.error = Superseded("a newer request took this one's place")
        with self._lock:
            self._ended = True
            callbacks = list(self._on_done)
        for callback in callbacks:
            try:
                callback(self)
            except Exception:
                logger.exception("a callback of the %s job failed", self.kind)
        self._finished.set()  # last, so that whoever waits finds what the callbacks have done


class Worker:
    """Runs jobs one after another on a thread of its own, started when needed.

    >>> worker = Worker("demo")
    >>> worker.submit("add", lambda job: 1 + 1).wait(timeout=5)
    2
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: OrderedDict[str, Job] = OrderedDict()
        self._running: Job | None = None
        self._thread: threading.Thread | None = None
        self._condition = threading.Condition()
        self._closed = False
        _workers.add(self)

    def submit(
        self,
        kind: str,
        work: Callable[[Job], Any],
        *,
        on_progress: Callable[[Job, Progress], None] | None = None,
        on_done: Callable[[Job], None] | None = None,
    ) -> Job:
        """Queue ``work(job)``; it takes the place of any unfinished job of the same kind."""
        job = Job(kind, work, on_progress, on_done)
        with self._condition:
            replaced = self._waiting.pop(kind, None)
            if self._running is not None and self._running.kind == kind:
                self._running.superseded = True
                self._running.stop()
            closed = self._closed
            if not closed:
                self._waiting[kind] = job
            if self._thread is None and not closed:
                self._thread = threading.Thread(target=self._loop, name=f"inversescope-{self._name}", daemon=True)
                self._thread.start()
            self._condition.notify()
        if replaced is not None:
            replaced.superseded = True
            replaced.error = Cancelled()
            replaced.finish()
        if closed:
            job.error = Cancelled("the interpreter is ending")
            job.finish()
        return job

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        with self._condition:
            return self._running is not None or bool(self._waiting)

    def stop(self, kind: str | None = None) -> bool:
        """Stop the running job and drop the waiting ones (of one kind, or of all); True if there was any."""
        with self._condition:
            dropped = [self._waiting.pop(k) for k in list(self._waiting) if kind in (None, k)]
            running = self._running if self._running and kind in (None, self._running.kind) else None
            if running is not None:
                running.stop()
        for job in dropped:
            job.stop()
            job.error = Cancelled()
            job.finish()
        return bool(dropped) or running is not None

    def close(self) -> None:
        """Stop everything and take no more jobs."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self.stop()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: bool(self._waiting) or self._closed, _IDLE_S)
                if not self._waiting:
                    self._thread = None
                    return
                _, job = self._waiting.popitem(last=False)
                self._running = job
            try:
                job.run()
            finally:
                with self._condition:
                    self._running = None
            del job  # an idle worker keeps nothing of what it computed


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Stop and await all threads: one that is inside torch when the interpreter goes aborts the whole process."""
    workers = list(_workers)
    for worker in workers:
        worker.close()
    end = time.monotonic() + _EXIT_S
    for worker in workers:
        worker.join(max(0.0, end - time.monotonic()))


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(40), duration(600), duration(9000)
    ('about 40 s', 'about 10 min', 'about 2.5 h')
    """
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"
