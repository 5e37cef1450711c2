"""SampleGallery: the inputs that an inversion found, nearest first, and how good the answer is.

Usable alone: ``SampleGallery(isn.invert(...))``. The front end asks for 50 rows at a time, so an
inversion of 5,000 samples costs no more to show than one of 50.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import traitlets as t

from ..errors import InvalidArgument
from .gallery_rows import PAGE, Query, check_unit, page_of, rows_of, summary_of
from .jobs import Job, Worker
from .messages import STATIC, MessageWidget, as_json, checked, handles

if TYPE_CHECKING:
    from ..features import InputText
    from ..inversion import Inversion


LAYOUTS = ("auto", "aligned", "text")
Read = Callable[["Inversion", Sequence[int], Job], Sequence[float]]
Label = Callable[["InputText"], list[dict[str, Any]]]


class SampleGallery(MessageWidget):
    """The samples of one inversion.

    Args:
        inversion: what `invert` returned; can be set later, and replaced, through ``.inversion``.
        unit: ``"bits"`` or ``"nats"``, for the information per token.
        layout: ``"aligned"``: each token under the one of the picked input that it stands for; ``"text"``; or
            ``"auto"``: aligned where the picked input is short.
        read: ``read(inversion, token_ids, job)`` -> the distance at each token of an input, should the activation be
            read there; what is shown of an input that is opened. Without it that line is not there.
        label: ``label(input)`` -> what hypotheses say of an input, ``{name, label, picked, agrees}`` each; stands in
            an input that is opened.
        worker: the thread on which that is computed.

    Raises:
        InvalidArgument: an unknown unit or layout.
    """

    _esm = STATIC / "sample_gallery.js"
    _sent_last = ("summary", "first_page")

    summary = t.Dict().tag(sync=True)
    first_page = t.Dict(default_value=None, allow_none=True).tag(sync=True)
    revision = t.Int(0).tag(sync=True)
    awaited = t.Bool(False).tag(sync=True)
    """Whether new samples are on their way, and what is shown was only weighed anew until they come."""
    unit = t.Unicode("bits").tag(sync=True)
    layout = t.Unicode("auto").tag(sync=True)
    query = t.Dict(default_value=asdict(Query())).tag(sync=True, echo_update=False)
    """What is listed, and in which order: ``{text, regex, inside, sort}``."""
    can_read = t.Bool(False).tag(sync=True)
    """Whether the distances along an input can be asked for."""
    can_label = t.Bool(False).tag(sync=True)
    """Whether what hypotheses say of an input can be asked for."""

    def __init__(
        self,
        inversion: Inversion | None = None,
        *,
        unit: str = "bits",
        layout: str = "auto",
        read: Read | None = None,
        label: Label | None = None,
        worker: Worker | None = None,
        **unknown: Any,
    ) -> None:
        self._reject_unknown(unknown)
        self._inversion: Inversion | None = None
        self._rows: list[dict[str, Any]] = []
        self._read, self._label = read, label
        super().__init__(unit=unit, layout=layout, can_label=label is not None)
        self.use_worker(worker)
        if inversion is not None:
            self.show(inversion)

    @t.validate("unit")
    @checked
    def _valid_unit(self, proposal: dict[str, Any]) -> str:
        return check_unit(proposal["value"])

    @t.validate("layout")
    @checked
    def _valid_layout(self, proposal: dict[str, Any]) -> str:
        if proposal["value"] not in LAYOUTS:
            raise InvalidArgument(f"the layout {proposal['value']!r} is not known", hint=f"allowed: {LAYOUTS}")
        return proposal["value"]

    @t.validate("query")
    @checked
    def _valid_query(self, proposal: dict[str, Any]) -> dict[str, Any]:
        return asdict(_query_of(proposal["value"]))

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

    def show(self, inversion: Inversion | None, *, awaited: bool = False) -> None:
        """Show an inversion, or nothing; ``awaited``: another will take its place soon."""
        rows = [] if inversion is None else rows_of(inversion)
        summary = {} if inversion is None else summary_of(inversion, rows)
        self._inversion, self._rows = inversion, rows
        revision = self.revision + 1
        page = None if inversion is None else {"revision": revision, **page_of(rows, 0, PAGE, Query())}
        with self.hold_sync():
            self.revision = revision
            self.awaited = awaited
            self.summary = summary
            self.can_read = self._read is not None and hasattr(inversion, "proposal_bandwidth")  # not a search
            self.first_page = page
        self._refresh_picture()

    def _picture(self) -> str:
        from ..export import gallery_fragment

        return gallery_fragment(self)

    @handles("page")
    def _page(self, start: int = 0, size: int = PAGE, **query: Any) -> dict[str, Any]:
        return {"revision": self.revision, **page_of(self._rows, start, size, _query_of(query))}

    @handles("along")
    def _along(self, rank: int, revision: int, hover: bool = False) -> Job | None:
        read, inversion, rows = self._read, self._inversion, self._rows
        if read is None or inversion is None or revision != self.revision or not 0 <= rank < len(rows):
            return None  # it is no longer shown: nothing to say, and no error
        kind = "along" if hover else f"along {revision} {rank}"  # of several hovered rows the last one counts
        job = self.worker.submit(kind, lambda job: read(inversion, rows[rank]["ids"], job))
        return job.answering(lambda distances: [round(float(d), 4) for d in distances])

    @handles("labels")
    def _labels(self, rank: int, revision: int) -> Job | None:
        label, inversion, rows = self._label, self._inversion, self._rows
        if label is None or inversion is None or revision != self.revision or not 0 <= rank < len(rows):
            return None
        index = next(i for i, ids in enumerate(inversion.samples) if list(ids) == rows[rank]["ids"])
        text = inversion.texts[index]
        return self.worker.submit(f"labels {revision} {rank}", lambda job: label(text)).answering(as_json)


def _query_of(given: Mapping[str, Any]) -> Query:
    try:
        return Query(**given)
    except TypeError as error:
        raise InvalidArgument(f"this is no query: {error}", hint="it has text, regex, inside and sort") from error
