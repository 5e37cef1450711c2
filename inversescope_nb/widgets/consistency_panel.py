"""ConsistencyPanel: hypotheses about the inputs found, and how consistently each of them holds.

For the inversion shown, every hypothesis gets its feature consistency rate with a Wilson interval and
the chance level of unrelated inputs, at once. "Across inputs" is the measurement proper, over many
picked inputs (`inversescope_nb.consistency`): a job with progress that can be stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets as t

from .. import features as ready_made
from ..errors import InvalidArgument, InverseScopeError, suggest
from ..features import Feature, InputText
from .backend import rate_of_pick
from .gallery_rows import doubt_of
from .jobs import Job, Progress, Worker
from .messages import IDLE, STATIC, MessageWidget, as_json, guarded, handles, status_of

if TYPE_CHECKING:
    import pandas as pd

    from ..baselines import Neighbours
    from ..inversion import Inversion

Measure = Callable[[Sequence[Feature], Job], "pd.DataFrame"]


class ConsistencyPanel(MessageWidget):
    """Hypotheses and their consistency.

    Args:
        inversion: the inversion whose samples are labelled; can be replaced through `show`.
        features: ready-made hypotheses to choose from.
        prior: inputs drawn from P(X), for the chance level.
        measure: what "Measure across inputs" runs: ``measure(features, job)`` -> the frame of a
            `ConsistencyReport`, one row per feature. Without it that button is not there.

    Raises:
        InvalidArgument: a hypothesis that does not exist, or one of that name twice.
        FeatureError: a hypothesis that raises, or returns no label.
    """

    _esm = STATIC / "consistency_panel.js"

    features = t.List(t.Dict()).tag(sync=True)
    rows = t.List(t.Dict()).tag(sync=True)
    chart = anywidget.WidgetTrait().tag(sync=True)
    ready = t.Bool(False).tag(sync=True)
    status = t.Dict(dict(IDLE)).tag(sync=True)
    measure_label = t.Unicode("").tag(sync=True)
    chance_note = t.Unicode("").tag(sync=True)
    doubt = t.Unicode("").tag(sync=True)
    """Why the rates for this input are grey; empty where they can be believed."""

    def __init__(
        self,
        inversion: Inversion | None = None,
        *,
        features: Iterable[Feature] = (),
        prior: Sequence[InputText] = (),
        measure: Measure | None = None,
        measure_label: str = "over many inputs of P(X); takes a while",
        worker: Worker | None = None,
        **unknown: Any,
    ) -> None:
        self._reject_unknown(unknown)
        self._inversion: Inversion | Neighbours | None = None
        self._pick: InputText | None = None
        self._ready_made: dict[str, Feature] = {}
        self._hypotheses: dict[str, Feature] = {}
        self._across: dict[str, dict[str, Any]] = {}
        self._prior: Sequence[InputText] = prior
        self._measure = measure
        super().__init__(measure_label=measure_label if measure else "")
        if worker is not None:
            self._worker = worker
        self.offer(features)
        if inversion is not None:
            self.show(inversion, prior=prior)

    @property
    def hypotheses(self) -> list[Feature]:
        """The hypotheses under test."""
        return list(self._hypotheses.values())

    def offer(self, features: Iterable[Feature]) -> None:
        """Replace the ready-made hypotheses to choose from."""
        self._ready_made = {feature.name: feature for feature in features}
        self.features = [{"name": f.name, "description": f.description} for f in self._ready_made.values()]

    def show(
        self,
        inversion: Inversion | Neighbours | None,
        *,
        pick: InputText | None = None,
        prior: Sequence[InputText] = (),
        chance_note: str = "",
    ) -> None:
        """Label the samples of another inversion; the hypotheses stay, measurements across inputs go.

        ``chance_note`` says where ``prior`` comes from if it is not drawn from P(X).
        """
        self._inversion, self._prior = inversion, prior
        self.chance_note = chance_note
        reason = "" if inversion is None else doubt_of(inversion)
        self.doubt = f"The rates for this input are grey: {reason}." if reason else ""
        self._pick = None
        if inversion is not None:
            self._pick = pick or InputText(inversion.text, inversion.tokens, inversion.prompt_ids)
        self._across = {}
        self.ready = inversion is not None
        self._refresh()

    def add(self, feature: Feature) -> None:
        """Put a hypothesis under test."""
        if feature.name in self._hypotheses:
            raise InvalidArgument(
                f"there is already a hypothesis named {feature.name!r}",
                hint="remove it first, or name this one otherwise",
            )
        row = self._row(feature)  # raises FeatureError before anything is kept
        self._hypotheses[feature.name] = feature
        self.rows = [*self.rows, row]

    def remove(self, name: str) -> None:
        """Take a hypothesis away."""
        if self._hypotheses.pop(name, None) is None:
            raise InvalidArgument(
                f"no hypothesis is named {name!r}.{suggest(name, self._hypotheses)}",
                hint=f"there are: {', '.join(self._hypotheses) or 'none'}",
            )
        self._across.pop(name, None)
        self.rows = [row for row in self.rows if row["name"] != name]

    def measure(self) -> Job:
        """Start the measurement across inputs; ``.wait()`` on the job returns its frame."""
        if self._measure is None:
            raise InvalidArgument("this panel was made without a way to measure across inputs", hint="pass measure=")
        if not self._hypotheses:
            raise InvalidArgument("there is no hypothesis to measure", hint="add one first")
        run, features, inversion = self._measure, self.hypotheses, self._inversion
        self.status = status_of(None, "waiting")
        return self.worker.submit(
            "measure",
            lambda job: run(features, job),
            on_progress=lambda job, progress: self._progress(progress),
            on_done=lambda job: self._measured(job, inversion),
        )

    def _progress(self, progress: Progress) -> None:
        self.status = status_of(progress, "measuring")

    def _measured(self, job: Job, inversion: Inversion | Neighbours | None) -> None:
        if not job.superseded:
            self.status = dict(IDLE)
        if job.error is not None:
            self.fail(job.error)
        elif inversion is self._inversion:
            for record in job.result.to_dict("records"):
                self._across[record["feature"]] = {
                    "fcr": record["fcr"],
                    "low": record["fcr_low"],
                    "high": record["fcr_high"],
                    "chance": record["chance"],
                    "n": record["n_targets"],
                    "p_value": record.get("p_value"),
                }
            self._refresh()

    def _row(self, feature: Feature) -> dict[str, Any]:
        row: dict[str, Any] = {"name": feature.name, "label": None, "here": None, "note": None}
        row["across"] = self._across.get(feature.name)
        if self._inversion is not None and self._pick is not None:
            label, rate = rate_of_pick(self._inversion, self._pick, feature, self._prior)
            row["label"] = None if label is None else str(label)
            row["here"] = rate = as_json(rate)
            if rate is None:
                row["note"] = "not defined for the picked input"
            elif rate["fcr"] is None:
                row["note"] = f"{label}: all samples are copies of the picked input, nothing is left to compare"
        return as_json(row)

    def _refresh(self) -> None:
        rows = []
        for feature in self._hypotheses.values():
            try:
                rows.append(self._row(feature))
            except InverseScopeError as error:
                rows.append({"name": feature.name, "label": None, "here": None, "across": None, "note": str(error)})
                self.fail(error)
        self.rows = rows

    @t.observe("rows", "doubt")
    @guarded
    def _draw(self, _change: dict[str, Any]) -> None:
        rates = [rate for row in self.rows for rate in (row["here"], row["across"]) if rate]
        if not any(rate["fcr"] is not None for rate in rates):
            if self.chart is not None:
                self.chart.chart = None
            return
        from .chart import Chart, hypothesis_chart  # altair is not loaded before there is something to draw

        chart = hypothesis_chart(self.rows, doubtful=bool(self.doubt))
        if self.chart is None:
            self.chart = Chart(chart)
        else:
            self.chart.chart = chart

    @t.observe("rows", "doubt", "chance_note")
    def _redraw_picture(self, _change: dict[str, Any]) -> None:
        self._refresh_picture()

    def _picture(self) -> str:
        from ..export import panel_fragment

        return panel_fragment(self)

    @handles("add")
    def _add(self, kind: str, name: str = "", value: str = "", position: int = -1) -> Job:
        self.clear_error()
        feature = self._written(kind, name, value, position)
        return self.worker.submit(f"hypothesis {feature.name}", lambda job: self.add(feature))

    def _written(self, kind: str, name: str, value: str, position: int) -> Feature:
        """The hypothesis that the form in the widget describes."""
        if kind == "ready":
            if name not in self._ready_made:
                raise InvalidArgument(
                    f"no ready-made hypothesis is named {name!r}.{suggest(name, self._ready_made)}",
                    hint=f"there are: {', '.join(self._ready_made) or 'none'}",
                )
            return self._ready_made[name]
        if kind == "token_at":
            return ready_made.token_at(int(position))
        if kind not in ("contains", "regex"):
            raise InvalidArgument(f"no kind of hypothesis is named {kind!r}", hint="ready, contains, regex, token_at")
        if not value.strip():
            raise InvalidArgument("the hypothesis has no text", hint="type the text or pattern to look for")
        return ready_made.contains(value) if kind == "contains" else ready_made.regex(value)

    @handles("remove")
    def _remove(self, name: str) -> None:
        self.remove(name)

    @handles("measure")
    def _start(self) -> Job:
        return self.measure()

    @handles("stop")
    def _stop(self) -> None:
        if self.worker.stop("measure"):
            self.status = {**self.status, "stopping": True}
