"""Stopping Python that somebody typed: a time limit, and whatever stops the job that it runs in.

What runs is looked at before every line (`sys.settrace` in this thread only, so that nothing else slows down). That
ends loops written in Python, however long; Python 3.11 reports no line for a loop of a single instruction (``while
True: pass``), so that code with such a loop is looked at before every instruction. It cannot end a single call into C
that does not come back, such as ``10 ** 10 ** 9``, ``sum(itertools.count())`` or ``time.sleep(9999)``, nor code that
catches whatever is raised again and again: those end with the kernel.
"""

from __future__ import annotations

import dis
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, TypeVar

from .errors import Cancelled

LIMIT_S = 0.5
"""Seconds of this thread's own time that one call may take; what others of a busy machine take does not count."""
WAITING = 20
"""So many times as long it may take in all, for code that waits instead of working."""
_here = threading.local()
T = TypeVar("T")


@lru_cache(64)
def _jumps_to_itself(code: CodeType) -> bool:
    return any(i.opcode in dis.hasjrel and i.argval == i.offset for i in dis.get_instructions(code))


class TooLong(BaseException):
    """The time was up; no Exception, so that ``except Exception`` in the code does not catch it."""


class _Stopped(BaseException):
    """The job was stopped."""


@contextmanager
def stoppable_by(cancel: threading.Event) -> Iterator[None]:
    """Within the block, in this thread, `limited` calls end with `Cancelled` soon after the event is set."""
    before = getattr(_here, "cancel", None)
    _here.cancel = cancel
    try:
        yield
    finally:
        _here.cancel = before


def limited(call: Callable[[], T], filename: str, limit_s: float = LIMIT_S) -> T:
    """The result of a call into code that was compiled under a file name.

    Raises:
        TooLong: it took longer than that many seconds of the thread's own time, or `WAITING` times as long in all.
        Cancelled: the job around it was stopped.

    >>> limited(lambda: eval(compile("1 + 1", "<typed>", "eval")), "<typed>")
    2
    """
    cancel: threading.Event | None = getattr(_here, "cancel", None)
    if cancel is not None and cancel.is_set():
        raise Cancelled
    began, worked = time.monotonic(), time.thread_time()

    def look(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != filename:
            return None
        if event == "call":
            frame.f_trace_opcodes = _jumps_to_itself(frame.f_code)
        took = time.monotonic() - began
        if took > limit_s and (time.thread_time() - worked > limit_s or took > WAITING * limit_s):
            raise TooLong
        if cancel is not None and cancel.is_set():
            raise _Stopped
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        return call()
    except _Stopped:
        raise Cancelled from None
    finally:
        sys.settrace(before)
