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

from .._wording import Ask
from ..errors import FeatureError, InvalidArgument, InverseScopeError, suggest
from ..features import Feature, InputText, unsteady
from ..python_features import AT_HAND
from ..verdicts import doubt_of_rates
from .hypothesis_rows import fault_at, label_row, row_of, written
from .jobs import Job, Worker
from .messages import STATIC, alike_in, as_json, end_of, guarded, handles
from .panel_jobs import KEPT, Across, PanelJobs

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from ..baselines import Metropolis
    from ..inversion import Inversion

Measure = Callable[[Sequence[Feature], "Inversion", Job], "pd.DataFrame"]
Code = Callable[["ConsistencyPanel", "Inversion"], str]


class ConsistencyPanel(PanelJobs):
    """Hypotheses and their consistency.

    Args:
        inversion: the inversion whose samples are labelled; can be replaced through `show`.
        features: ready-made hypotheses to choose from.
        prior: inputs drawn from P(X), for the chance level.
        measure: what "Measure across inputs" runs: ``measure(features, inversion, job)`` -> the frame of a
            `ConsistencyReport`, one row per feature, at the inversion's site. Without it that button is not there.
        measure_label: what is said of that measurement.
        across: what "Measure across bandwidths" runs, in the same way: rates of the inversion's input at several
            bandwidths, as :func:`inversescope_nb.across_bandwidths` gives them. Without it that button is not there.
        ask: a language model, as a function from a prompt to its answer, that is asked whenever hypotheses are
            proposed; see :func:`inversescope_nb.propose`. Stop does not interrupt it: its answer is then dropped.
        code: the Python that gives what the panel shows: ``code(panel, inversion)``.
        worker: the thread on which hypotheses are tested.
        background: the thread on which is measured, so that hypotheses need not wait for it.

    Raises:
        InvalidArgument: a hypothesis that does not exist, or one of that name twice.
        FeatureError: a hypothesis that raises, or returns no label.
    """

    _esm = STATIC / "consistency_panel.js"

    features = t.List(t.Dict()).tag(sync=True)
    rows = t.List(t.Dict()).tag(sync=True)
    chart = anywidget.WidgetTrait().tag(sync=True)
    ready = t.Bool(False).tag(sync=True)
    measure_label = t.Unicode("").tag(sync=True)
    chance_note = t.Unicode("").tag(sync=True)
    measured = t.List(t.Dict()).tag(sync=True)
    """Every measurement across inputs so far, newest first: ``{name, where, fcr, low, high, chance, n, p_value}``, and
    what :attr:`place` was then."""
    tokens = t.List(t.Unicode()).tag(sync=True)
    """Of the picked input, for who writes a hypothesis about one of them."""
    where = t.Unicode("").tag(sync=True)
    """What a measurement made now would be of, in words."""
    place = t.Dict().tag(sync=True)
    """The same as ``{site, bandwidth, input}``; empty where nothing is inverted."""
    doubt = t.Unicode("").tag(sync=True)
    """Why the rates for this input are grey; empty where they can be believed."""
    code = t.Unicode("").tag(sync=True)
    """The Python that gives what is shown."""

    def __init__(
        self,
        inversion: Inversion | None = None,
        *,
        features: Iterable[Feature] = (),
        prior: Sequence[InputText] = (),
        measure: Measure | None = None,
        measure_label: str = "over many inputs of P(X); takes a while",
        across: Across | None = None,
        ask: Ask | None = None,
        code: Code | None = None,
        worker: Worker | None = None,
        background: Worker | None = None,
        **unknown: Any,
    ) -> None:
        self._reject_unknown(unknown)
        self._inversion: Inversion | Metropolis | None = None
        self._pick: InputText | None = None
        self._ready_made: dict[str, Feature] = {}
        self._hypotheses: dict[str, Feature] = {}
        self._measured_for: dict[tuple[Any, Feature], dict[str, Any]] = {}
        self._prior: Sequence[InputText] = prior
        self._measure, self._write_code = measure, code
        super().__init__(across=across, background=background, ask=ask, measure_label=measure_label if measure else "")
        self.use_worker(worker)
        if self.needs_parts_early:
            self._draw_with(None)
        self.offer(features)
        if inversion is not None:
            self.show(inversion, prior=prior)

    @property
    def inversion(self) -> Inversion | Metropolis | None:
        """Whose inputs are shown."""
        return self._inversion

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
        inversion: Inversion | Metropolis | None,
        *,
        pick: InputText | None = None,
        prior: Sequence[InputText] = (),
        chance_note: str = "",
    ) -> None:
        """Label the samples of another inversion; the hypotheses stay, and measurements with whatever they are of.

        ``chance_note`` says where ``prior`` comes from if it is not drawn from P(X).
        """
        given = None
        if inversion is not None:
            given = pick or InputText(inversion.text, inversion.tokens, inversion.prompt_ids)
        with self._rows_turn:
            self._pick, self._prior, self._inversion = given, prior, inversion
            self.chance_note, self.tokens = chance_note, [] if given is None else list(given.tokens)
            reason = "" if inversion is None else doubt_of_rates(inversion)
            self.doubt = f"The rates for this input are grey: {reason}." if reason else ""
            self.where = "" if inversion is None else where_of(inversion)
            self.place = {} if inversion is None else place_of(inversion)
            self.ready = inversion is not None
            self._forget_others()
        self._refresh()

    def add(self, feature: Feature) -> None:
        """Put a hypothesis under test."""
        if feature.name in self._hypotheses:
            raise InvalidArgument(
                f"there is already a hypothesis named {feature.name!r}",
                hint="remove it first, or name this one otherwise",
            )
        while True:
            shown, pick = self._inversion, self._pick
            row = self._row(feature)  # raises FeatureError before anything is kept
            if fault := fault_at(feature, pick):
                raise FeatureError(f"{feature.name!r} raises {fault}, on the picked input", hint=AT_HAND)
            if pick is not None and feature(pick) != feature(pick):
                raise unsteady(feature.name)
            with self._rows_turn:
                if shown is self._inversion:  # else its rate is of what was shown before: once more
                    self._hypotheses[feature.name] = feature
                    self.rows = [*self.rows, row]
                    break
        self._refresh_curves()

    def labels_of(self, text: InputText) -> list[dict[str, Any]]:
        """What each hypothesis says of an input, beside what it says of the picked one; see `label_row`."""
        pick = self._pick
        return [] if pick is None else [label_row(feature, pick, text) for feature in self.hypotheses]

    def remove(self, name: str) -> None:
        """Take a hypothesis away."""
        with self._rows_turn:
            known = self._hypotheses.pop(name, None)
            self.rows = [row for row in self.rows if row["name"] != name]
        self._refresh_curves()
        if known is None:
            raise InvalidArgument(
                f"no hypothesis is named {name!r}.{suggest(name, self._hypotheses)}",
                hint=f"there are: {', '.join(self._hypotheses) or 'none'}",
            )

    def measure(self) -> Job:
        """Start the measurement across inputs; ``.wait()`` on the job returns its frame."""
        if self._measure is None:
            raise InvalidArgument("this panel was made without a way to measure across inputs", hint="pass measure=")
        if not self._hypotheses:
            raise InvalidArgument("there is no hypothesis to measure", hint="add one first")
        run, features, inversion = self._measure, self.hypotheses, self._inversion
        if inversion is None:
            raise InvalidArgument(
                "nothing is inverted yet, so there is no site to measure at", hint="pick a token first"
            )
        return self._start_behind(
            "measure",
            "measuring",
            lambda job: run(features, inversion, job),
            lambda frame: self._measured(frame, inversion, features),
        )

    def _measured(self, frame: pd.DataFrame, inversion: Inversion | Metropolis, features: Sequence[Feature]) -> None:
        records = {record["feature"]: record for record in frame.to_dict("records")}
        kept = [*self._measured_for.items()]
        where = where_of(inversion) + alike_in(frame)
        for feature in features:
            record = records[feature.name]
            rate = {
                "fcr": record["fcr"],
                "low": record["fcr_low"],
                "high": record["fcr_high"],
                "chance": record["chance"],
                "plain": record["fcr_plain"],
                "star": record["fcr_star"],
                "n": record["n_targets"],
                "p_value": record.get("p_value"),
                "notes": record.get("notes"),
            }
            key = (_place(inversion), feature)
            kept = [(old, found) for old, found in kept if old != key]
            kept.append((key, as_json({"name": feature.name, "where": where, **place_of(inversion), **rate})))
        self._measured_for = dict(kept[-KEPT:])
        self.measured = [*self._measured_for.values()][::-1]
        self._refresh()  # also where something else is picked by now: then the rows stay as they are

    def _row(self, feature: Feature) -> dict[str, Any]:
        inversion = self._inversion
        across = None if inversion is None else self._measured_for.get((_place(inversion), feature))
        row = row_of(inversion, self._pick, feature, self._prior, across)
        if feature.name in self._ready_made:  # of the others the name says it all
            row["description"] = feature.description
        return row

    def _refresh(self) -> None:
        while True:
            shown, rows = self._inversion, []
            for feature in self.hypotheses:
                try:
                    rows.append(self._row(feature))
                except InverseScopeError as error:
                    rows.append({"name": feature.name, "label": None, "here": None, "across": None, "note": str(error)})
                    self.fail(error)
            with self._rows_turn:
                if shown is self._inversion and [row["name"] for row in rows] == list(self._hypotheses):
                    self.rows = rows
                    self._rewrite()  # where no row is another, the prompt or the number of samples may be
                    return
            # something else was picked, added or removed while these were computed: once more

    @t.observe("rows", "doubt", "curves", "drawn")
    @guarded
    def _draw(self, _change: dict[str, Any]) -> None:
        curves = self.curves_frame() if self.drawn == "bandwidths" else None
        rates = [rate for row in self.rows for rate in (row["here"], row["across"]) if rate]
        if curves is None and not any(rate["fcr"] is not None for rate in rates):
            if self.chart is not None:
                self.chart.chart = None
            return
        # altair is not loaded before there is something to draw
        if curves is None:
            from .chart import hypothesis_chart

            self._draw_with(hypothesis_chart(self.rows, doubtful=bool(self.doubt)), "rates")
        else:
            from ..charts import bandwidth_chart

            self._draw_with(bandwidth_chart(curves, width="container"), "bandwidths")

    def _draw_with(self, chart: alt.TopLevelMixin | None, name: str = "rates") -> None:
        from .chart import Chart

        if self.chart is None:
            self.chart = Chart(chart)
        else:
            self.chart.chart = chart
        self.chart.file_name = name
        self._caption()

    @t.observe("where")
    @guarded
    def _caption(self, _change: dict[str, Any] | None = None) -> None:
        """What stands above the chart in its files: of rates at several bandwidths, no bandwidth."""
        shown = self._inversion
        if self.chart is not None:
            several = self.chart.file_name == "bandwidths" and shown is not None
            self.chart.caption = where_of(shown, bandwidth=False) if several else self.where

    @t.observe("rows", "measured", "curves", "proposals", "where")
    @guarded
    def _rewrite(self, _change: dict[str, Any] | None = None) -> None:
        shown = self._inversion
        self.code = self._write_code(self, shown) if self._write_code and shown is not None else ""

    @t.observe("rows", "doubt", "chance_note")
    def _redraw_picture(self, _change: dict[str, Any]) -> None:
        self._refresh_picture()

    def _picture(self) -> str:
        from ..export import panel_fragment

        return panel_fragment(self)

    def close(self) -> None:
        """Stop what runs, and take the widget and its chart off the page."""
        if self.chart is not None:
            self.chart.close()
        super().close()

    @handles("add")
    def _add(self, kind: str, name: str = "", value: str = "", position: int = -1) -> Job:
        self.clear_error()
        if kind == "python":  # compiled on the worker: what stands around a function runs at once
            ready = dict(self._ready_made)
            return self.worker.submit(
                f"hypothesis {value}", lambda job: self.add(written(kind, name, value, position, ready))
            )
        feature = written(kind, name, value, position, self._ready_made)
        return self.worker.submit(f"hypothesis {feature.name}", lambda job: self.add(feature))

    @handles("remove")
    def _remove(self, name: str) -> None:
        self.remove(name)

    @handles("measure")
    def _start(self) -> Job:
        return self._reported(self.measure)


def _place(inversion: Inversion | Metropolis) -> tuple[Any, ...]:
    """What a measurement is of, apart from the hypothesis."""
    return str(inversion.site), inversion.bandwidth, tuple(inversion.prompt_ids)


def place_of(inversion: Inversion | Metropolis) -> dict[str, Any]:
    """The same, for a table."""
    return {"site": str(inversion.site), "bandwidth": inversion.bandwidth, "input": str(inversion.text)}


def where_of(inversion: Inversion | Metropolis, *, bandwidth: bool = True) -> str:
    """The same in words, with or without the bandwidth."""
    epsilon = f", \u03b5 = {inversion.bandwidth:g}" if bandwidth else ""
    return f"{inversion.site}{epsilon}, inputs like {end_of(inversion.text)!r}"
