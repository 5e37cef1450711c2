"""SiteSweep: hypotheses at all sites of a model as heat maps, in which a click on a cell chooses its site.

Usable alone on any `ConsistencyReport`; inside `InverseScopeWidget` it also starts the sweep, as a job with
progress that can be stopped, and colours the map of the model by what came out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets as t

from ..errors import InvalidArgument
from .jobs import Worker
from .messages import STATIC, Callbacks, as_json, guarded, handles
from .sweep_jobs import Code, Kept, StudyOf, Sweep, SweepJobs

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from ..inversion import Inversion

DIGITS = 4
_COLUMNS = (
    "site layer kind head feature bandwidth fcr fcr_low fcr_high chance fcr_star p_value q_value bits ess_ratio "
    "n_groups n_undefined notes"
).split()


class SiteSweep(SweepJobs):
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

    where = t.Unicode("").tag(sync=True)
    partial = t.Bool(False).tag(sync=True)
    """Whether it is a part of a sweep, of one that runs or was stopped."""
    site = t.Unicode("").tag(sync=True)
    """The site that is framed: the last one chosen, or whatever it is set to."""
    came_from = t.Unicode("").tag(sync=True)
    """The site that was framed before a cell or a line was chosen; empty where none was since."""
    feature = t.Unicode("")
    """The hypothesis whose cell or line was chosen last."""
    chart = anywidget.WidgetTrait().tag(sync=True)
    code = t.Unicode("").tag(sync=True)
    """The Python that gives the sweep shown, where that is known."""

    def __init__(
        self,
        frame: pd.DataFrame | None = None,
        *,
        where: str = "",
        sweep: Sweep | None = None,
        kept: Kept | None = None,
        code: Code | None = None,
        samples: int | None = None,
        background: Worker | None = None,
        **unknown: Any,
    ) -> None:
        self._reject_unknown(unknown)
        self._frame: pd.DataFrame | None = None
        super().__init__(sweep=sweep, kept=kept, code=code, samples=samples, background=background)
        self._sites = Callbacks(self)
        self._shows = Callbacks(self)
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

    def _show(
        self, frame: pd.DataFrame, where: str, code: str, *, of: Inversion | None, part_of: StudyOf | None = None
    ) -> None:
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
            self.partial = part_of is not None
        self._draw()
        self._hold_against()
        self._shows(frame)
        self._refresh_picture()

    @t.observe("site")
    @guarded
    def _mark(self, _change: dict[str, Any]) -> None:
        self.came_from = ""
        chart = self.chart
        if self._frame is None or chart is None:  # it is being drawn for the first time
            return
        if "chosen" in chart.params.trait_names():  # a chart that is a sentence has no cells
            chart.params.chosen = self.site
        if self._clicked_cell()[0] != self.site:  # else the same cell, clicked again, would be no change
            chart._vl_selections = {"site": {"value": None, "store": []}}

    def _draw(self) -> None:
        """The heat maps, the site that is chosen framed."""
        from ..charts import consistency_chart

        chosen = self.site
        self._draw_with(consistency_chart(self._frame, heatmap=True, select=True, chosen=chosen))
        if chosen != self.site and "chosen" in self.chart.params.trait_names():  # another was, while it was drawn
            self.chart.params.chosen = self.site

    def _draw_with(self, chart: alt.TopLevelMixin | None) -> None:
        from .chart import Chart

        if self.chart is None:
            self.chart = Chart(chart, file_name="sweep")
            self.chart.observe(self._clicked, names=["_vl_selections"])
        else:
            self.chart.chart = chart
        self.chart.caption = f"Measured at {self.where}" if self.where else ""

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

    def _picture(self) -> str:
        from ..export import sweep_fragment

        return sweep_fragment(self)

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
