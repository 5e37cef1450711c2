"""What all widgets of this package share: requests from the front end, errors in place, callbacks.

The front end sends ``{kind: "request", id, method, params}``; it is answered by one ``result`` or
``error {type, message, hint}``. How far a job is stands in a trait. A handler either
answers at once or submits a `Job`, whose end is the answer and which ``{kind: "cancel", id}`` stops. Errors
never vanish: they stand in the widget (trait ``error``), in ``last_error``, and reach ``on_error`` callbacks.
"""

from __future__ import annotations

import inspect
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar

import traitlets as t
from ipywidgets import Widget

from ..errors import Cancelled, InvalidArgument, InverseScopeError, suggest
from .jobs import Job, Progress, Worker
from .picture import Pictured

logger = logging.getLogger(__name__)

STATIC = Path(__file__).resolve().parent.parent / "static"

F = TypeVar("F", bound=Callable[..., Any])


def handles(method: str) -> Callable[[F], F]:
    """Mark a method of a widget as the one that answers requests named ``method``."""

    def mark(fn: F) -> F:
        fn._isn_method = method  # type: ignore[attr-defined]
        return fn

    return mark


def guarded(fn: F) -> F:
    """Wrap an observer: what it raises is shown in the widget instead of being lost."""

    @wraps(fn)
    def run(self: MessageWidget, *args: Any, **kwargs: Any) -> Any:
        try:
            return fn(self, *args, **kwargs)
        except Exception as error:
            self.fail(error)
            return None

    return run  # type: ignore[return-value]


class RefusedValue(InvalidArgument, t.TraitError):
    """A value that a trait does not take; being a TraitError too, traitlets puts the old value back."""


@cache
def _refusal(kind: type[InverseScopeError]) -> type[RefusedValue]:
    """A refusal that is the given kind of error as well, under its name."""
    bases = (RefusedValue,) if issubclass(RefusedValue, kind) else (kind, RefusedValue)
    return type(kind.__name__, bases, {})


def checked(fn: F) -> F:
    """Wrap a validator, so that the package's errors become refusals that traitlets understands."""

    @wraps(fn)
    def run(self: MessageWidget, proposal: dict[str, Any]) -> Any:
        try:
            return fn(self, proposal)
        except RefusedValue:
            raise
        except InverseScopeError as error:
            raise _refusal(type(error))(error.message, hint=error.hint) from error

    return run  # type: ignore[return-value]


def as_json(value: Any) -> Any:
    """Plain JSON of a number, list or dict: numbers that are not finite become None.

    >>> as_json({"a": float("nan"), "b": (1.5, 2)})
    {'a': None, 'b': [1.5, 2]}
    """
    if isinstance(value, Mapping):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(v) for v in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def describe(error: BaseException) -> dict[str, str | None]:
    """``{type, message, hint}`` of an error, as the front end shows it."""
    if isinstance(error, InverseScopeError):
        return {"type": type(error).__name__, "message": error.message, "hint": error.hint}
    return {"type": type(error).__name__, "message": f"{type(error).__name__}: {error}", "hint": None}


class Callbacks:
    """The functions registered for one event of one widget."""

    def __init__(self, owner: MessageWidget) -> None:
        self._owner = owner
        self._functions: list[Callable[..., Any]] = []

    def register(self, function: Callable[..., Any], remove: bool = False) -> None:
        if not callable(function):
            raise TypeError(f"a callback is called; {type(function).__name__} cannot be")
        if remove:
            self._functions = [f for f in self._functions if f is not function and f != function]
        elif function not in self._functions:
            self._functions.append(function)

    def __call__(self, *args: Any) -> None:
        for function in list(self._functions):
            try:
                function(*args)
            except Exception as error:
                self._owner.fail(error)


def heard_while_cells_run(widget: Widget) -> None:
    """Let what the front end sends to a widget be handled where it asks for that.

    JupyterLab sends it to a thread of its own, which is there while a cell runs as well. ipykernel 7.4 sends it on to
    the thread that last wrote to the widget, which may wait for an answer in a loop; here none does, and the thread is
    often the one of the cells.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = lambda data, default: default


class MessageWidget(Pictured):
    """Base of the package's widgets."""

    _css = STATIC / "isn.css"
    error = t.Dict(default_value=None, allow_none=True).tag(sync=True)
    """The error now shown, ``{type, message, hint}``, or None."""
    _sent_last: tuple[str, ...] = ()
    """Traits that are drawn by others, in this order: marimo takes them one by one as they come."""
    _worker: Worker | None = None  # here, since a widget that could not be made is closed as well
    _shares_worker = False

    def __init__(self, **traits: Any) -> None:
        self.last_error: BaseException | None = None
        self._status_turn = threading.RLock()
        self._error_callbacks = Callbacks(self)
        self._asked_for: dict[Any, Job] = {}
        self._requests: deque[Any] = deque(maxlen=1000)
        names = (name for name in dir(type(self)) if not name.startswith("__"))
        members = ((name, inspect.getattr_static(type(self), name)) for name in names)
        self._methods = {f._isn_method: name for name, f in members if hasattr(f, "_isn_method")}
        super().__init__(**traits)
        heard_while_cells_run(self)
        self.on_msg(self._receive)

    @classmethod
    def _reject_unknown(cls, unknown: Mapping[str, Any]) -> None:
        """A keyword that the widget does not have is a TypeError that suggests the one that was meant."""
        if not unknown:
            return
        parameters = inspect.signature(cls.__init__).parameters.values()
        allowed = [p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD]
        name = next(iter(unknown))
        raise TypeError(
            f"{cls.__name__} has no argument {name!r}.{suggest(name, allowed)} It takes: {', '.join(allowed)}."
        )

    @property
    def worker(self) -> Worker:
        """The thread on which this widget computes."""
        if self._worker is None:
            self._worker = Worker(type(self).__name__)
        return self._worker

    def use_worker(self, worker: Worker | None) -> None:
        """Compute on the thread of the widget that this one is a part of; None: on one of its own."""
        if worker is not None:
            self._worker, self._shares_worker = worker, True

    @property
    def needs_parts_early(self) -> bool:
        """Whether what is shown in this one must be there from the start: marimo knows only what a cell made."""
        return getattr(self.comm, "kernel", None) == "marimo"

    def on_error(self, callback: Callable[[BaseException], Any], remove: bool = False) -> None:
        """Call ``callback(error)`` whenever something fails."""
        self._error_callbacks.register(callback, remove)

    def fail(self, error: BaseException) -> None:
        """Show an error in the widget and keep it in ``last_error``."""
        if isinstance(error, Cancelled):
            return
        self.error = describe(error)
        self._tell(error)

    def _tell(self, error: BaseException) -> None:
        """Keep an error and call whoever waits for one; once, however often it is met on its way."""
        if error is self.last_error:
            return
        if not isinstance(error, InverseScopeError):
            logger.error("a widget failed", exc_info=error)
        self.last_error = error
        self._error_callbacks(error)

    def clear_error(self) -> None:
        """Take the error off the screen; ``last_error`` keeps it."""
        self.error = None

    @handles("dismiss")
    def _dismiss(self) -> None:
        self.clear_error()

    @handles("ping")
    def _ping(self) -> bool:
        return True  # there is a kernel, and it listens

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """As ipywidgets, in an order: what is drawn by other traits comes behind them."""
        state = super().get_state(key, drop_defaults)
        order = {name: place for place, name in enumerate(self._sent_last, 1)}
        return dict(sorted(state.items(), key=lambda item: order.get(item[0], 0)))

    def _rest(self) -> None:
        """Nothing runs any more, in widgets that have a ``status``."""
        with self._status_turn:
            self.status = dict(IDLE)

    def _stopping(self, stopped: bool) -> None:
        """What runs was asked to stop, if it still runs."""
        with self._status_turn:
            if stopped and self.status["running"]:
                self.status = {**self.status, "stopping": True}

    def close(self) -> None:
        """Stop what runs, and take the widget off the page."""
        if self._worker is not None and not self._shares_worker:
            self._worker.close()
        super().close()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """As ipywidgets, but a value that a validator refuses is shown, and the front end gets the old one back."""
        try:
            super().set_state(sync_data)
        except (InverseScopeError, t.TraitError) as error:
            self.fail(error)
            self.send_state(list(sync_data))

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict):
            return
        if content.get("kind") == "fault":
            logger.error("the front end failed: %s\n%s", content.get("message"), content.get("stack"))
            self._tell(InverseScopeError(str(content.get("message"))))
        elif content.get("kind") == "cancel":
            job = self._asked_for.get(content.get("id"))
            if job is not None:
                job.stop()
        elif content.get("kind") == "request" and self._is_new(content):
            self._answer(content.get("id"), str(content.get("method")), content.get("params") or {})

    def _is_new(self, request: Mapping[str, Any]) -> bool:
        """Whether a request was not there before: the front end sends it again where no answer came for long."""
        number = request.get("id")
        with self._status_turn:  # the first may come on another thread just now
            if number in self._requests or number in self._asked_for:
                return False
            if request.get("method") != "ping":  # those are many, and may be answered twice
                self._requests.append(number)
        return True

    def _answer(self, request_id: Any, method: str, params: dict[str, Any]) -> None:
        try:
            name = self._methods.get(method)
            if name is None:
                raise InverseScopeError(f"no request is named {method!r}{suggest(method, self._methods)}")
            value = getattr(self, name)(**params)
        except Exception as error:
            self._reply_error(request_id, error)
            return
        if isinstance(value, Job):
            self._asked_for[request_id] = value
            value.when_done(lambda job: self._reply_job(request_id, job))
        else:
            self.send({"kind": "result", "id": request_id, "value": as_json(value)})

    def _reply_job(self, request_id: Any, job: Job) -> None:
        self._asked_for.pop(request_id, None)
        if job.error is not None:
            self._reply_error(request_id, job.error)
        else:
            self.send({"kind": "result", "id": request_id, "value": as_json(job.answer)})

    def _reply_error(self, request_id: Any, error: BaseException) -> None:
        if not isinstance(error, Cancelled):
            self._tell(error)
        self.send({"kind": "error", "id": request_id, **describe(error)})


IDLE = {"running": False, "done": 0, "total": 0, "message": "", "remaining_s": None, "stopping": False}


def status_of(progress: Progress | None, message: str = "") -> dict[str, Any]:
    """The ``status`` trait of a running job."""
    if progress is None:
        return {**IDLE, "running": True, "message": message}
    return {
        **IDLE,
        "running": True,
        "done": progress.done,
        "total": progress.total,
        "message": progress.message or message,
        "remaining_s": progress.remaining_s,
    }


def end_of(text: object, most: int = 50) -> str:
    """A text, or as many whole words of its end as there is room for, behind an ellipsis.

    >>> end_of("one two three", 11), end_of("short", 11), end_of("twothreefour", 11)
    ('\u2026two three', 'short', '\u2026othreefour')
    """
    whole = str(text)
    if len(whole) < most:
        return whole
    cut = whole[1 - most :]
    inside = not whole[-most].isspace()
    return f"\u2026{cut.partition(' ')[2].strip() or cut if inside else cut}"


def alike_in(frame: Any) -> str:
    """What the picked inputs of a report's frame have in common, in brackets; empty where that is not known."""
    return f" ({frame.attrs['alike']})" if "alike" in frame.attrs else ""
