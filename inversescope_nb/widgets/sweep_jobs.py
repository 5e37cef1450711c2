"""What a sweep over all sites does behind picks: saying what it would be of, running it, showing what is done.

`SweepJobs` is a base of `SiteSweep`. A part of a sweep, of one that runs or was stopped, never takes the place of a
whole one: that stands until another whole one is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import traitlets as t

from ..errors import Cancelled, InvalidArgument
from ..features import Feature
from .inputs import TARGETS
from .jobs import Job, Progress, Worker, duration
from .messages import IDLE, MessageWidget, alike_in, checked, end_of, handles, status_of

if TYPE_CHECKING:
    import pandas as pd

    from ..inversion import Inversion

STOPPED = "Stopped. What was found is kept: the same sweep goes on from there."
STAYS = "The inversions that were made are kept: once the hypotheses are in order, the same sweep goes on from there."
PICKS = (8, 16, 32)
"""Numbers of picked inputs to choose from."""
PART_EVERY_S, PART_SHARE = 5.0, 0.1
"""Sites that are done are added after so many seconds, and take at most this share of a sweep's time."""
Sweep = Callable[[Sequence[Feature], "Inversion", int, Job], "pd.DataFrame"]
Kept = Callable[[Sequence[Feature], "Inversion", int, Job], "pd.DataFrame | None"]
Code = Callable[[Sequence[Feature], "Inversion", int], str]


class StudyOf(NamedTuple):
    """What a sweep is of, apart from the hypotheses."""

    prompt_ids: tuple[int, ...]
    bandwidth: float
    picks: int
    sites: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """A sweep that was asked for."""

    features: tuple[Feature, ...]
    inversion: Inversion
    study: StudyOf


class _Pace:
    """When the sites that are done are looked at: seldom enough that a sweep is hardly slowed down by it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._took, self._last = 0.0, clock()

    def due(self) -> bool:
        return self._clock() - self._last >= max(PART_EVERY_S, self._took / PART_SHARE)

    def __enter__(self) -> None:
        self._last = self._clock()

    def __exit__(self, *_: object) -> None:
        now = self._clock()
        self._took, self._last = now - self._last, now


class SweepJobs(MessageWidget):
    """Base of `SiteSweep`, which shows what is found."""

    rows = t.List(t.Dict()).tag(sync=True)
    """One per site and hypothesis, with the columns of `ConsistencyReport.to_frame` that are shown."""
    status = t.Dict(dict(IDLE)).tag(sync=True)
    can_sweep = t.Bool(False).tag(sync=True)
    """Whether there is something to sweep: an inversion, made by a generator."""
    picks = t.Int(16).tag(sync=True)
    """Picked inputs of the next sweep."""
    choices = t.List(t.Int(), default_value=list(PICKS)).tag(sync=True)
    label = t.Unicode("").tag(sync=True)
    """What the next sweep would be of."""
    note = t.Unicode("").tag(sync=True)
    """What became of the last sweep, where it did not come to its end."""
    stale = t.Unicode("").tag(sync=True)
    """What the sweep shown is of, where that is something else than what is picked now; empty while they agree."""

    def __init__(
        self,
        *,
        sweep: Sweep | None,
        kept: Kept | None,
        code: Code | None,
        samples: int | None,
        background: Worker | None,
        **traits: Any,
    ) -> None:
        self._sweep, self._kept, self._write_code = sweep, kept, code
        self._each = f", {samples} samples each" if samples else ""
        self._inversion: Inversion | None = None
        self._features: list[Feature] = []
        self._ready: list[Feature] = []
        self._left_out = 0
        self._study: StudyOf | None = None
        self._swept_of: set[Feature] = set()
        self._of: tuple[str, ...] = ()
        self._seconds: float | None = None
        self._part_of: StudyOf | None = None
        self._noted: StudyOf | None = None
        self._shown_of: Inversion | None = None
        super().__init__(**traits)
        self.use_worker(background)

    def _show(
        self, frame: pd.DataFrame, where: str, code: str, *, of: Inversion | None, part_of: StudyOf | None = None
    ) -> None:
        raise NotImplementedError

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
        self._describe()
        self._hold_against()

    def _hold_against(self) -> None:
        """Whether what is shown is of what is picked."""
        now, shown = self._inversion, self._shown_of
        if now is None or shown is None:
            self.stale = ""
        elif list(shown.prompt_ids) != list(now.prompt_ids):
            self.stale = f"This sweep is of another activation, that at the end of {str(shown.text)!r}."
        elif shown.bandwidth != now.bandwidth:
            self.stale = f"This sweep is at another bandwidth, \u03b5 = {shown.bandwidth:g}."
        else:
            self.stale = ""

    def test(self, features: Sequence[Feature], *, left_out: int = 0) -> None:
        """The hypotheses of the next sweep; one that is shown is made of them anew, which takes no new samples.

        ``left_out``: how many others are not defined for the picked input.
        """
        self._features, self._left_out = list(features), left_out
        self._describe()
        if self._study is not None and self._study == self._now() and not set(features) <= self._swept_of:
            self.sweep()

    @property
    def inversion(self) -> Inversion | None:
        """Whose inputs the next sweep is of."""
        return self._inversion

    def _now(self) -> StudyOf | None:
        inversion = self._inversion
        if inversion is None:
            return None
        return StudyOf(tuple(inversion.prompt_ids), inversion.bandwidth, self.picks, self._of)

    @t.observe("picks")
    def _describe(self, _change: Any = None) -> None:
        features = self._features or self._ready
        self.can_sweep = bool(self._sweep and self._inversion is not None and self._of and features)
        if self.can_sweep:
            undefined = " that is defined here" if self._left_out else ""
            what = f"{len(features)} hypothes{'i' if len(features) == 1 else 'e'}s"
            ready = "" if self._features else f" (ready-made ones, since none is under test{undefined})"
            if self._features and self._left_out:
                ready = f" ({self._left_out} more not defined here)"
            n = self.picks * len(self._of)
            time = "" if self._seconds is None or self._study == self._now() else f", {duration(n * self._seconds)}"
            self.label = f"{what}{ready} at {len(self._of)} sites: up to {n:,} inversions{self._each}{time}"
        elif self._sweep and self._inversion is not None and self._of:
            none = "None of the hypotheses is defined here. " if self._left_out else ""
            what = "Put a hypothesis to the test first: then it can be measured at every layer, component and head."
            self.label = none + what
        else:
            self.label = ""
        if self._noted is not None and self._noted != self._now():  # the next one does not go on with it
            self.note = ""

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
        if inversion is None or not self._of:
            raise InvalidArgument("nothing is inverted yet, so there is nothing to sweep", hint="pick a token first")
        if not features:
            raise InvalidArgument("there is no hypothesis to sweep", hint="add one first")
        wanted = Wanted(tuple(features), inversion, self._now())
        self.clear_error()
        self.note = "The sites that were done are shown; the others are added." if wanted.study == self._part_of else ""
        self._noted = wanted.study
        self.status = status_of(None, "waiting")
        parts = _Pace()

        def progress(job: Job, found: Progress) -> None:
            self.status = status_of(found, "sweeping")
            if self._kept is not None and self._takes_parts and parts.due():
                with parts:
                    self._show_part(self._kept(features, inversion, picks, job), wanted)

        return self.worker.submit(
            "sweep",
            lambda job: run(features, inversion, picks, job),
            on_progress=progress,
            on_done=lambda job: self._swept(job, wanted),
        )

    @property
    def _takes_parts(self) -> bool:
        return self._part_of is not None or not self.rows

    def _swept(self, job: Job, wanted: Wanted) -> None:
        if job.superseded:
            return
        try:
            if job.error is None:
                self._study, self._swept_of = wanted.study, set(wanted.features)
                self._describe()  # from samples that are kept it takes no such time again
                self._show_found(job.result, wanted)
            elif job.cancel.is_set():
                self._tell_of(wanted, STOPPED)
                if self._kept is not None and self._takes_parts:
                    self._show_kept(self._kept, wanted)
            else:
                self.fail(job.error)
                self._tell_of(wanted, STAYS)
        except Exception as error:
            self.fail(error)
        finally:
            self._rest()

    def _tell_of(self, wanted: Wanted, note: str) -> None:
        """What became of a sweep, where the next one goes on with it."""
        self.note = note if wanted.study == self._now() else ""

    def _show_found(self, frame: pd.DataFrame, wanted: Wanted, *, part: bool = False) -> None:
        inversion = wanted.inversion
        n = int(frame["n_targets"].max())  # there may be fewer like it than were asked for
        where = (
            f"\u03b5 = {inversion.bandwidth:g}, {n} inputs like {end_of(inversion.text)!r}{alike_in(frame)}{self._each}"
        )
        if part:
            where += f", {frame['site'].nunique()} of {len(wanted.study.sites)} sites so far"
        code = self._write_code(wanted.features, inversion, wanted.study.picks) if self._write_code else ""
        self._show(frame, where, code, of=inversion, part_of=wanted.study if part else None)

    def _show_part(self, frame: pd.DataFrame | None, wanted: Wanted) -> None:
        """Sites that are done while others are not, where they are not shown yet."""
        if frame is None:
            return
        found = set(zip(frame["site"], frame["feature"], strict=True))
        if self._part_of != wanted.study or found != {(row["site"], row["feature"]) for row in self.rows}:
            note = self.note
            self._show_found(frame, wanted, part=True)
            self.note = note

    def _show_kept(self, kept: Kept, wanted: Wanted) -> None:
        """What a stopped sweep had found, behind the Stop; another sweep takes its place."""

        def shown(job: Job) -> None:
            if isinstance(job.error, Cancelled):
                return
            try:
                if job.error is not None:
                    raise job.error
                if job.result is not None:
                    self._show_found(job.result, wanted, part=True)
                    n = job.result["site"].nunique()
                    done = "1 site that was done is" if n == 1 else f"{n} sites that were done are"
                    self._tell_of(wanted, f"{STOPPED} The {done} shown.")
            except Exception as error:
                self.fail(error)

        self.worker.submit(
            "sweep", lambda job: kept(wanted.features, wanted.inversion, wanted.study.picks, job), on_done=shown
        )

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
        self._stopping(self.worker.stop("sweep"))
