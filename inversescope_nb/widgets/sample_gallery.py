"""SampleGallery: the inputs that an inversion found, nearest first, and how good the answer is.

Usable alone: ``SampleGallery(isn.invert(...))``. The front end asks for 50 rows at a time, so an
inversion of 5,000 samples costs no more to show than one of 50.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets as t

from ..errors import InvalidArgument, suggest
from .gallery_rows import PAGE, SORTS, page_of, rows_of, summary_of
from .messages import STATIC, MessageWidget, checked, handles

if TYPE_CHECKING:
    from ..inversion import Inversion


class SampleGallery(MessageWidget):
    """The samples of one inversion.

    Args:
        inversion: what `invert` returned; can be set later, and replaced, through ``.inversion``.
        unit: ``"bits"`` or ``"nats"``, for the information per token.

    Raises:
        InvalidArgument: an unknown unit.
    """

    _esm = STATIC / "sample_gallery.js"

    summary = t.Dict().tag(sync=True)
    first_page = t.Dict(default_value=None, allow_none=True).tag(sync=True)
    revision = t.Int(0).tag(sync=True)
    unit = t.Unicode("bits").tag(sync=True)

    def __init__(self, inversion: Inversion | None = None, *, unit: str = "bits", **unknown: Any) -> None:
        self._reject_unknown(unknown)
        self._inversion: Inversion | None = None
        self._rows: list[dict[str, Any]] = []
        super().__init__(unit=unit)
        if inversion is not None:
            self.show(inversion)

    @t.validate("unit")
    @checked
    def _valid_unit(self, proposal: dict[str, Any]) -> str:
        if proposal["value"] not in ("bits", "nats"):
            raise InvalidArgument(f"the unit {proposal['value']!r} is not known", hint="allowed: 'bits', 'nats'")
        return proposal["value"]

    @property
    def inversion(self) -> Inversion | None:
        """What is shown."""
        return self._inversion

    @inversion.setter
    def inversion(self, inversion: Inversion | None) -> None:
        self.show(inversion)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict per distinct input, nearest first."""
        return self._rows

    def show(self, inversion: Inversion | None) -> None:
        """Show an inversion, or nothing."""
        rows = [] if inversion is None else rows_of(inversion)
        summary = {} if inversion is None else summary_of(inversion, rows)
        self._inversion, self._rows = inversion, rows
        revision = self.revision + 1
        page = None if inversion is None else {"revision": revision, **page_of(rows, 0, PAGE, "", "distance")}
        with self.hold_sync():
            self.revision = revision
            self.summary = summary
            self.first_page = page
        self._refresh_picture()

    def _picture(self) -> str:
        from ..export import gallery_fragment

        return gallery_fragment(self)

    @handles("page")
    def _page(self, start: int = 0, size: int = PAGE, filter: str = "", sort: str = "distance") -> dict[str, Any]:
        if sort not in SORTS:
            raise InvalidArgument(f"no order is named {sort!r}{suggest(sort, SORTS)}", hint=f"allowed: {SORTS}")
        return {"revision": self.revision, **page_of(self._rows, start, size, filter, sort)}
