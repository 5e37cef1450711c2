"""Comparison: two inversions side by side, what each fixes that the other does not, and the inputs of one or of both.

Usable alone: ``Comparison(isn.contrast(...))``. The front end asks for 50 rows of a side at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import traitlets as t

from ..errors import Cancelled, InvalidArgument
from .comparison_rows import Shown, check_list, page_of, shown_of, words_of
from .gallery_rows import check_unit
from .jobs import Job
from .messages import IDLE, STATIC, MessageWidget, checked, handles, status_of

if TYPE_CHECKING:
    from ..contrasting import Contrast


class Comparison(MessageWidget):
    """Two inversions held against each other.

    Args:
        contrast: what `contrast` returned; can be set later, and replaced, through ``.contrast``.
        listed: which inputs both lists show: ``"all"``; ``"only"``, those inside the ball of one activation only; or
            ``"both"``.
        unit: ``"bits"`` or ``"nats"``, for the information per token.

    Raises:
        InvalidArgument: something else than a contrast, an unknown list or unit.

    >>> import inversescope_nb as isn
    >>> lm, gen = isn.load_model(), isn.load_generator()
    >>> first = isn.invert(lm, gen, "4 3 7 + 5 6 8 =", site="resid_post.0", n=64)
    >>> second = isn.invert(lm, gen, "4 3 7 + 5 6 8 =", site="resid_post.3", n=64)
    >>> isn.Comparison(isn.contrast(lm, gen, first, second))  # the last line of a cell shows it
    """

    _esm = STATIC / "comparison.js"
    _sent_last = ("words", "pages")

    words = t.Dict().tag(sync=True)
    """The sentences, the tokens side by side, and the points of the picture; empty while nothing is compared."""
    first = t.Dict().tag(sync=True)
    """Summary of the first inversion, as a gallery's, with ``counts`` of each list and marks of what differs."""
    second = t.Dict().tag(sync=True)
    listed = t.Unicode("all").tag(sync=True)
    unit = t.Unicode("bits").tag(sync=True)
    pages = t.List(default_value=None, allow_none=True).tag(sync=True)
    """The beginnings of both lists, ``{revision, listed, start, matching, rows}`` each."""
    revision = t.Int(0).tag(sync=True)
    status = t.Dict(dict(IDLE)).tag(sync=True)
    code = t.Unicode("").tag(sync=True)
    """The Python that makes the same comparison, where that is known."""

    def __init__(
        self, contrast: Contrast | None = None, *, listed: str = "all", unit: str = "bits", **unknown: Any
    ) -> None:
        self._reject_unknown(unknown)
        self._contrast: Contrast | None = None
        self._shown: tuple[Shown, Shown] | None = None
        super().__init__(listed=listed, unit=unit)
        self.observe(self._relist, names=["listed"])
        if contrast is not None:
            self.show(contrast)

    @t.validate("unit")
    @checked
    def _valid_unit(self, proposal: dict[str, Any]) -> str:
        return check_unit(proposal["value"])

    @t.validate("listed")
    @checked
    def _valid_listed(self, proposal: dict[str, Any]) -> str:
        return check_list(proposal["value"])

    @property
    def contrast(self) -> Contrast | None:
        """What is shown."""
        return self._contrast

    @contrast.setter
    def contrast(self, contrast: Contrast | None) -> None:
        self.show(contrast)

    @property
    def sides(self) -> tuple[Shown, Shown] | None:
        """The rows and the summaries of both inversions."""
        return self._shown

    def show(self, contrast: Contrast | None, code: str = "") -> None:
        """Show a contrast, or nothing; ``code`` is what makes it."""
        shown, words = None, {}
        if contrast is not None:
            if not hasattr(contrast, "overlap"):
                raise InvalidArgument(
                    f"a {type(contrast).__name__} is no contrast", hint="give what contrast(lm, gen, ...) returned"
                )
            shown = (shown_of(contrast.first), shown_of(contrast.second))
            words = words_of(contrast, shown)
        self._contrast, self._shown = contrast, shown
        with self.hold_sync():
            self.first, self.second = ({}, {}) if shown is None else (shown[0].summary, shown[1].summary)
            self.words, self.code = words, code
            self.revision += 1  # who follows it, finds all of the above
            self._relist()
        self._refresh_picture()

    def compare(self, work: Callable[[Job], Contrast], code: str = "") -> Job:
        """Compute a contrast on this widget's thread, with progress and Stop, and show it."""
        self.clear_error()

        def run(job: Job) -> Contrast:
            found = work(job)
            if job.cancel.is_set():  # closed meanwhile
                raise Cancelled
            self.listed = "all"
            self.show(found, code)
            return found

        job = self.worker.submit(
            "compare", run, on_progress=lambda job, progress: setattr(self, "status", status_of(progress, "comparing"))
        )
        self.status = status_of(None, "comparing")
        job.when_done(self._done)  # after that, so that its end is what is said last
        return job

    def _done(self, job: Job) -> None:
        if not job.superseded:
            self._rest()
            if job.error is not None:
                self.fail(job.error)

    def _relist(self, _change: Any = None) -> None:
        shown = self._shown
        self.pages = None if shown is None else [self._part(shown, self.listed, side, 0) for side in (0, 1)]

    def _part(self, shown: tuple[Shown, Shown], listed: str, side: int, start: int) -> dict[str, Any]:
        return {"revision": self.revision, "listed": listed, **page_of(shown, listed, side, start)}

    def _picture(self) -> str:
        from ..comparison_page import comparison_fragment

        return comparison_fragment(self)

    @handles("page")
    def _page(self, side: int, listed: str, start: int = 0) -> dict[str, Any] | None:
        shown = self._shown
        return None if shown is None or side not in (0, 1) else self._part(shown, listed, side, start)

    @handles("stop")
    def _stop(self) -> None:
        self._stopping(self.worker.stop())

    @handles("close comparison")
    def _close(self) -> None:
        self.worker.stop()
        self.show(None)
