"""SiteSweep: hypotheses at all sites of a model as heat maps, in which a click on a cell chooses its site.

Usable alone on any `ConsistencyReport`; inside `InverseScopeWidget` it also starts the sweep, as a job with
progress that can be stopped, and colours the map of the model by what came out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets as t

from ..errors import Cancelled, InvalidArgument
from ..features import Feature
from .inputs import TARGETS
from .jobs import Job, Worker, duration
from .messages import IDLE, STATIC, Callbacks, MessageWidget, as_json, checked, guarded, handles, status_of

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from ..inversion import Inversion

STOPPED = "Stopped. What was found is kept: the same sweep goes on from there."
STAYS = "The inversions that were made are kept: once the hypotheses are in order, the same sweep goes on from there."
PICKS = (8, 16, 32)
"""Numbers of picked inputs to choose from."""
DIGITS = 4
_COLUMNS = (
    "site layer kind head feature bandwidth fcr fcr_low fcr_high chance fcr_star p_value q_value bits ess_ratio "
    "n_groups n_undefined notes"
).split()
Sweep = Callable[[Sequence[Feature], "Inversion", int, Job], "pd.DataFrame"]
Kept = Callable[[Sequence[Feature], "Inversion", int, Job], "pd.DataFrame | None"]


class SiteSweep(MessageWidget):
    """Rates of hypotheses over layers, components and heads.

    Args:
        frame: of a `ConsistencyReport` of several sites, to be shown at once.
        where: what it was measured at, in words.
        sweep: what "Sweep all sites" runs: ``sweep(features, inversion, n_targets, job)`` -> such a frame.
            Without it that button is not there.
        kept: what a sweep that was stopped had found, called like ``sweep``; None where it keeps nothing.
        samples: how many samples ``sweep`` draws for each input, where that is to be said.
        code: what writes the Python of a sweep: ``code(features, inversion, n_targets)``.
        background: the thread on which it runs; None for one of its own.

    >>> import pandas as pd
    >>> sweep = SiteSweep(pd.DataFrame({"site": ["blocks.0.hook_resid_post"], "feature": ["subject"], "fcr": [0.9],
    ...     "layer": [0], "kind": ["resid_post"], "head": [None], "fcr_star": [0.8]}))
    >>> sweep.rows[0]["fcr"]
    0.9
    """

    _esm = STATIC / "site_sweep.js"

    rows = t.List(t.Dict()).tag(sync=True)
    """One per site and hypothesis, with the columns of `ConsistencyReport.to_frame` that are shown."""
    where = t.Unicode("").tag(sync=True)
    site = t.Unicode("").tag(sync=True)
    """The site that is framed: the last one chosen, or whatever it is set to."""
    came_from = t.Unicode("").tag(sync=True)
    """The site that was framed before a cell or a line was chosen; empty where none was since."""
    feature = t.Unicode("")
    """The hypothesis whose cell or line was chosen last."""
    chart = anywidget.WidgetTrait().tag(sync=True)
    status = t.Dict(dict(IDLE)).tag(sync=True)
    can_sweep = t.Bool(False).tag(sync=True)
    """Whether there is something to sweep: an inversion, made by a generator."""
    picks = t.Int(16).tag(sync=True)
    """Picked inputs of the next sweep."""
    choices = t.List(t.Int(), default_value=list(PICKS)).tag(sync=True)
    label = t.Unicode("").tag(sync=True)
    """What the next sweep would be of."""
    code = t.Unicode("").tag(sync=True)
    """The Python that gives the sweep shown, where that is known."""
    note = t.Unicode("").tag(sync=True)
    """What became of the last sweep, where it did not come to its end."""
    stale = t.Unicode("").tag(sync=True)
    """What the sweep shown is of, where that is something else than what is picked now; empty while they agree."""

    def __init__(
        self,
        frame: pd.DataFrame | None = None,
        *,
        where: str = "",
        sweep: Sweep | None = None,
        kept: Kept | None = None,
        code: Callable[[Sequence[Feature], Inversion, int], str] | None = None,
        samples: int | None = None,
        background: Worker | None = None,
        **unknown: Any,
    ) -> None:
        self._reject_unknown(unknown)
        self._sweep, self._kept, self._write_code = sweep, kept, code
        self._each = f", {samples} samples each" if samples else ""
        self._inversion: Inversion | None = None
        self._features: list[Feature] = []
        self._ready: list[Feature] = []
        self._frame: pd.DataFrame | None = None
        self._study: tuple[Any, ...] | None = None
        self._swept_of: set[Feature] = set()
        self._of: Hashable = None
        self._n_sites = 0
        self._seconds: float | None = None
        self._part_of: tuple[Any, ...] | None = None
        self._shown_of: Inversion | None = None
        super().__init__()
        self._sites = Callbacks(self)
        self._shows = Callbacks(self)
        self.use_worker(background)
        if self.needs_parts_early:
            self._draw_with(None)
        if frame is not None:
            self.show(frame, where=where)

    @property
    def frame(self) -> pd.DataFrame | None:
        """What is shown."""
        return self._frame

    def on_site(self, callback: Callable[[str], Any], remove: bool = False) -> None:
        """Call ``callback(site)`` when a cell or a line is chosen."""
        self._sites.register(callback, remove)

    def on_show(self, callback: Callable[[pd.DataFrame], Any], remove: bool = False) -> None:
        """Call ``callback(frame)`` when another sweep is shown."""
        self._shows.register(callback, remove)

    def show(self, frame: pd.DataFrame, *, where: str = "", code: str = "") -> None:
        """Show the frame of a `ConsistencyReport`; ``code`` is what makes it.

        Raises:
            InvalidArgument: it is none.
        """
        self._show(frame, where, code, of=None)

    def _show(self, frame: pd.DataFrame, where: str, code: str, *, of: Inversion | None, part_of: Any = None) -> None:
        """The same; ``of``: whose sweep it is, ``part_of``: the study that it is a part of."""
        missing = {"site", "feature", "fcr"} - set(frame.columns)
        if missing:
            raise InvalidArgument(
                f"the frame has no column {', '.join(sorted(missing))}", hint="pass ConsistencyReport.to_frame()"
            )
        self._frame, self._shown_of, self._part_of = frame, of, part_of
        records = frame[[c for c in _COLUMNS if c in frame.columns]].astype(object).to_dict("records")
        with self.hold_sync():
            self.rows = [as_json({k: _short(v) for k, v in record.items()}) for record in records]
            self.where, self.code, self.note = where, code, ""
        self._draw()
        self._hold_against()
        self._shows(frame)
        self._refresh_picture()

    @t.observe("site")
    @guarded
    def _mark(self, _change: dict[str, Any]) -> None:
        self.came_from = ""
        if self._frame is None:
            return
        chart = self.chart
        if "chosen" in chart.params.trait_names():  # a chart that is a sentence has no cells
            chart.params.chosen = self.site
        if self._clicked_cell()[0] != self.site:  # else the same cell, clicked again, would be no change
            chart._vl_selections = {"site": {"value": None, "store": []}}

    def _draw(self) -> None:
        """The heat maps, the site that is chosen framed."""
        from ..charts import consistency_chart

        self._draw_with(consistency_chart(self._frame, heatmap=True, select=True, chosen=self.site))

    def _draw_with(self, chart: alt.TopLevelMixin | None) -> None:
        from .chart import Chart

        if self.chart is None:
            self.chart = Chart(chart)
            self.chart.observe(self._clicked, names=["_vl_selections"])
        else:
            self.chart.chart = chart

    def _clicked_cell(self) -> tuple[str, str]:
        """Site and hypothesis of the cell that was clicked last; empty where none was."""
        chosen = (self.chart._vl_selections.get("site") or {}).get("value") or {}
        site, feature = ((chosen.get(key) or [""])[0] for key in ("site", "feature"))
        return str(site), str(feature)

    @guarded
    def _clicked(self, _change: dict[str, Any]) -> None:
        site, feature = self._clicked_cell()
        self.feature = feature or self.feature
        if site and site != self.site:
            self._go(site)

    # -- sweeping ------------------------------------------------------------------------------------

    def offer(
        self,
        inversion: Inversion | None,
        sites: Iterable[str] = (),
        ready: Sequence[Feature] = (),
        *,
        seconds: float | None = None,
    ) -> None:
        """What the next sweep is of: inputs like an inversion's, at these sites, those of one generator; ``ready``:
        hypotheses where none is under test; ``seconds``: what one inversion takes, where that is known."""
        self._seconds = seconds
        self._inversion, self._ready, self._of = inversion, list(ready), tuple(sites)
        self._n_sites = len(self._of)
        self._describe()
        self._hold_against()

    def _hold_against(self) -> None:
        """Whether what is shown is of what is picked."""
        now, shown = self._inversion, self._shown_of
        if now is None or shown is None:
            self.stale = ""
        elif list(shown.prompt_ids) != list(now.prompt_ids):
            self.stale = f"This sweep is of another input, {str(shown.text)!r}."
        elif shown.bandwidth != now.bandwidth:
            self.stale = f"This sweep is at another bandwidth, \u03b5 = {shown.bandwidth:g}."
        else:
            self.stale = ""

    def test(self, features: Sequence[Feature]) -> None:
        """The hypotheses of the next sweep; one that is shown is made of them anew, which takes no new samples."""
        self._features = list(features)
        self._describe()
        if self._study is not None and self._study == self._now() and not set(features) <= self._swept_of:
            self.sweep()

    def _now(self) -> tuple[Any, ...] | None:
        """What a sweep is of, apart from the hypotheses."""
        inversion = self._inversion
        if inversion is None:
            return None
        return tuple(inversion.prompt_ids), inversion.bandwidth, self.picks, self._of

    @t.observe("picks")
    def _describe(self, _change: Any = None) -> None:
        features = self._features or self._ready
        self.can_sweep = bool(self._sweep and self._inversion is not None and self._n_sites and features)
        if self.can_sweep:
            what = f"{len(features)} hypothes{'i' if len(features) == 1 else 'e'}s"
            ready = "" if self._features else " (ready-made ones, since none is under test)"
            n = self.picks * self._n_sites
            time = "" if self._seconds is None or self._study == self._now() else f", {duration(n * self._seconds)}"
            self.label = f"{what}{ready} at {self._n_sites} sites: up to {n:,} inversions{self._each}{time}"
        elif self._sweep and self._inversion is not None and self._n_sites:
            self.label = (
                "Put a hypothesis to the test first: then it can be measured at every layer, component and head."
            )
        else:
            self.label = ""

    @t.validate("picks")
    @checked
    def _valid_picks(self, proposal: dict[str, Any]) -> int:
        if proposal["value"] < 2:
            raise InvalidArgument(f"{proposal['value']} picked inputs are too few", hint=f"usual are {PICKS}")
        if proposal["value"] > TARGETS:
            raise InvalidArgument(
                f"{proposal['value']} picked inputs are more than this widget takes",
                hint=f"at most {TARGETS}; isn.consistency takes any number",
            )
        return proposal["value"]

    def sweep(self) -> Job:
        """Start the sweep; ``.wait()`` on the job returns its frame.

        Raises:
            InvalidArgument: there is nothing to sweep.
        """
        run, inversion, features, picks = self._sweep, self._inversion, self._features or self._ready, self.picks
        if run is None:
            raise InvalidArgument("this widget was made without a way to sweep", hint="pass sweep=")
        if inversion is None or not self._n_sites:
            raise InvalidArgument("nothing is inverted yet, so there is nothing to sweep", hint="pick a token first")
        if not features:
            raise InvalidArgument("there is no hypothesis to sweep", hint="add one first")
        study = self._now()
        self.clear_error()
        self.note = (
            "The sites that were done are shown; the others come all at the end." if study == self._part_of else ""
        )
        self.status = status_of(None, "waiting")
        return self.worker.submit(
            "sweep",
            lambda job: run(features, inversion, picks, job),
            on_progress=lambda job, progress: setattr(self, "status", status_of(progress, "sweeping")),
            on_done=lambda job: self._swept(job, features, inversion, study),
        )

    def _swept(self, job: Job, features: Sequence[Feature], inversion: Inversion, study: tuple[Any, ...]) -> None:
        if job.superseded:
            return
        try:
            if job.error is None:
                self._study, self._swept_of = study, set(features)
                self._describe()  # from samples that are kept it takes no such time again
                self._show_found(job.result, features, inversion, study[2])
            elif job.cancel.is_set():
                self.note = STOPPED
                if self._kept is not None and (self._part_of or not self.rows):  # a whole one is not lost for it
                    self._show_kept(self._kept, features, inversion, study)
            else:
                self.fail(job.error)
                self.note = STAYS
        except Exception as error:
            self.fail(error)
        finally:
            self.status = dict(IDLE)

    def _show_found(
        self,
        frame: pd.DataFrame,
        features: Sequence[Feature],
        inversion: Inversion,
        picks: int,
        part_of: tuple[Any, ...] | None = None,
    ) -> None:
        text = str(inversion.text)
        like = text if len(text) < 50 else f"\u2026{text[-49:]}"
        n = int(frame["n_targets"].max())  # there may be fewer like it than were asked for
        where = f"\u03b5 = {inversion.bandwidth:g}, {n} inputs like {like!r}{self._each}"
        if part_of is not None:
            where += f", {frame['site'].nunique()} of {len(part_of[3])} sites so far"
        code = self._write_code(features, inversion, picks) if self._write_code else ""
        self._show(frame, where, code, of=inversion, part_of=part_of)

    def _show_kept(self, kept: Kept, features: Sequence[Feature], inversion: Inversion, study: tuple[Any, ...]) -> None:
        """What a stopped sweep had found, behind the Stop; another sweep takes its place."""

        def shown(job: Job) -> None:
            if isinstance(job.error, Cancelled):
                return
            try:
                if job.error is not None:
                    raise job.error
                if job.result is not None:
                    self._show_found(job.result, features, inversion, study[2], part_of=study)
                    n = job.result["site"].nunique()
                    done = "1 site that was done is" if n == 1 else f"{n} sites that were done are"
                    self.note = f"{STOPPED} The {done} shown."
            except Exception as error:
                self.fail(error)

        self.worker.submit("sweep", lambda job: kept(features, inversion, study[2], job), on_done=shown)

    def _picture(self) -> str:
        from ..export import sweep_fragment

        return sweep_fragment(self)

    @handles("sweep")
    def _start(self) -> Job:
        try:
            return self.sweep()
        except InvalidArgument as error:
            self.fail(error)
            raise

    @handles("stop")
    def stop(self) -> None:
        """Stop the sweep."""
        if self.worker.stop("sweep") and self.status["running"]:
            self.status = {**self.status, "stopping": True}

    @handles("go")
    def _go(self, site: str, feature: str = "") -> None:
        if not any(row["site"] == site for row in self.rows):
            raise InvalidArgument(f"the sweep has no site {site!r}")
        self.feature = feature or self.feature
        left, self.site = self.site, site
        self.came_from = left if left != site else self.came_from
        self._sites(site)

    @handles("back")
    def _back(self) -> None:
        if self.came_from:
            self.site = self.came_from  # which forgets where it came from
            self._sites(self.site)

    def close(self) -> None:
        """Stop what runs, and take the widget and its chart off the page."""
        if self.chart is not None:
            self.chart.close()
        super().close()


def _short(value: Any) -> Any:
    """A number with as many digits as are shown; what is missing is None."""
    if value is None or value != value or type(value).__name__ == "NAType":
        return None
    return round(value, DIGITS) if isinstance(value, float) else value
