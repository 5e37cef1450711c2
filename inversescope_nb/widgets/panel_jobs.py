"""What the consistency panel does behind picks besides measuring: proposing hypotheses, rates across bandwidths.

`PanelJobs` is a base of `ConsistencyPanel`. A result belongs to what it was made for: proposals go when another
inversion is shown, rates across bandwidths when another input or site is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import traitlets as t

from .._wording import Ask, check_ask
from ..errors import Cancelled, InvalidArgument, InverseScopeError
from ..features import Feature, InputText
from ..reports import is_doubtful
from .hypothesis_rows import chance_in
from .jobs import Job, Worker
from .messages import IDLE, MessageWidget, as_json, handles, status_of

if TYPE_CHECKING:
    import pandas as pd

    from ..baselines import Metropolis
    from ..inversion import Inversion
    from ..proposals import Proposals

Across = Callable[[Sequence[Feature], "Inversion", Job], "pd.DataFrame"]
KEPT = 50
"""Measurements that are remembered, of each kind."""
BEHIND = ("measure", "propose", "bandwidths")
"""Kinds of the panel's jobs that run behind."""


class PanelJobs(MessageWidget):
    """Base of `ConsistencyPanel`, which has the hypotheses and shows the inversion."""

    status = t.Dict(dict(IDLE)).tag(sync=True)
    stopped = t.Unicode("").tag(sync=True)
    """What was stopped, until something else is started."""
    proposals = t.Dict(default_value=None, allow_none=True).tag(sync=True)
    """``{note, items: [{name, sentence, folded, source}], refused}`` of the inversion shown; None where none were asked
    for. ``refused``: lines of a language model's answer that were not looked at, with the reasons."""
    curves = t.List(t.Dict()).tag(sync=True)
    """Rates across bandwidths of the input shown: ``{name, bandwidth, fcr, low, high, chance, n, verdict, ...}``."""
    bandwidths_label = t.Unicode("").tag(sync=True)
    """What is said of rates across bandwidths; empty where there is no way to have them."""
    drawn = t.Enum(["rates", "bandwidths"], default_value="rates").tag(sync=True)
    """Which chart is drawn."""

    def __init__(
        self, *, across: Across | None, background: Worker | None, ask: Ask | None = None, **traits: Any
    ) -> None:
        check_ask(ask)
        self._ask = ask
        self._across, self._background = across, background
        self._rows_turn = threading.RLock()  # what is shown, and what is shown of it, change together
        self._behind_now: set[Job] = set()
        self._proposed: Proposals | None = None
        self._proposed_for: Inversion | Metropolis | None = None
        self._frames: dict[tuple[Any, ...], tuple[list[Feature], pd.DataFrame]] = {}
        label = "samples of this input, drawn at this bandwidth and at others" if across else ""
        super().__init__(bandwidths_label=label, **traits)

    @property
    def asks(self) -> bool:
        """Whether a language model is asked for hypotheses."""
        return self._ask is not None

    @property
    def behind(self) -> Worker:
        """The thread of what takes long."""
        return self._background or self.worker

    def _start_behind(self, kind: str, words: str, work: Callable[[Job], Any], done: Callable[[Any], None]) -> Job:
        def ended(job: Job) -> None:
            with self._rows_turn:
                self._behind_now.discard(job)
                if not self._behind_now:
                    self._rest()
            if isinstance(job.error, Cancelled) and not job.superseded:
                self.stopped = f"Stopped while {words}: nothing of it is kept."
            if job.error is not None:
                self.fail(job.error)
                return
            try:
                done(job.result)
            except Exception as error:
                self.fail(error)

        self.clear_error()
        self.stopped = ""
        with self._rows_turn:
            self.status = status_of(None, "waiting")
            job = self.behind.submit(
                kind, work, on_progress=lambda job, progress: setattr(self, "status", status_of(progress, words))
            )
            self._behind_now.add(job)
        job.when_done(ended)
        return job

    def _shown(self) -> Inversion | Metropolis:
        if self._inversion is None:
            raise InvalidArgument("nothing is inverted yet", hint="pick a token first")
        return self._inversion

    # -- proposals --------------------------------------------------------------------------------

    def propose(self) -> Job:
        """Start looking for hypotheses in the samples shown; ``.wait()`` on the job returns the `Proposals`."""
        inversion, ready, prior, ask = self._shown(), list(self._ready_made.values()), self._prior, self._ask

        def work(job: Job) -> Proposals:
            from ..proposals import propose

            return propose(
                inversion, ready, prior=_with_tokens(prior), ask=ask, on_progress=job.report, cancel=job.cancel
            )

        return self._start_behind(
            "propose", "looking for hypotheses", work, lambda found: self._offer(found, inversion)
        )

    def _offer(self, found: Proposals, inversion: Inversion | Metropolis) -> None:
        items = [
            {"name": p.feature.name, "sentence": p.sentence, "folded": list(p.folded), "source": p.source}
            for p in found
        ]
        with self._rows_turn:
            if inversion is not self._inversion:
                return  # something else is shown by now
            self._proposed, self._proposed_for = found, inversion
            self.proposals = {"note": found.sentence, "items": items, "refused": [str(line) for line in found.refused]}

    def _forget_others(self) -> None:
        """Take away what belongs to another inversion, and bring back the rates across bandwidths of this input."""
        if self._proposed_for is not self._inversion:
            self._proposed = self._proposed_for = self.proposals = None
        self._refresh_curves()

    @handles("propose")
    def _ask_propose(self) -> Job:
        return self._reported(self.propose)

    @handles("accept")
    def _accept(self, name: str) -> Job:
        known = {} if self._proposed is None else {feature.name: feature for feature in self._proposed.features}
        if name not in known:
            raise InvalidArgument(f"{name!r} is not among the proposals", hint="it belonged to another inversion")
        return self.worker.submit(f"hypothesis {name}", lambda job: self.add(known[name]))

    # -- across bandwidths ------------------------------------------------------------------------

    def across_bandwidths(self) -> Job:
        """Start the rates of all hypotheses at several bandwidths; ``.wait()`` on the job returns their frame."""
        if self._across is None:
            raise InvalidArgument("this panel cannot invert at other bandwidths", hint="make it with across=")
        if not self.hypotheses:
            raise InvalidArgument("there is no hypothesis to follow across bandwidths", hint="add one first")
        run, features, inversion = self._across, self.hypotheses, self._shown()

        def done(frame: pd.DataFrame) -> None:
            kept = {**self._frames, _input_of(inversion): (features, frame)}
            self._frames = dict([*kept.items()][-KEPT:])
            self._refresh_curves()
            if self.curves:
                self.drawn = "bandwidths"

        return self._start_behind("bandwidths", "inverting", lambda job: run(features, inversion, job), done)

    @handles("bandwidths")
    def _ask_bandwidths(self) -> Job:
        return self._reported(self.across_bandwidths)

    def curves_frame(self) -> pd.DataFrame | None:
        """The frame of the rates across bandwidths of what is shown, of the hypotheses that there are; or None."""
        kept = None if self._inversion is None else self._frames.get(_input_of(self._inversion))
        if kept is None:
            return None
        features, frame = kept
        frame = frame[frame["feature"].isin([f.name for f in self.hypotheses if f in features])]
        return frame if len(frame) else None

    def _refresh_curves(self) -> None:
        with self._rows_turn:
            frame = self.curves_frame()
            self.curves = [] if frame is None else [as_json(_point(row)) for row in frame.to_dict("records")]
            if not self.curves:
                self.drawn = "rates"

    # -- both -------------------------------------------------------------------------------------

    def _reported(self, start: Callable[[], Job]) -> Job:
        """A job that was asked for by a button: what keeps it from starting stands in the panel."""
        try:
            return start()
        except InverseScopeError as error:
            self.fail(error)
            raise

    @handles("stop")
    def stop(self) -> None:
        """Stop what runs behind: a measurement, proposals, rates across bandwidths."""
        self._stopping(any([self.behind.stop(kind) for kind in BEHIND]))


def _input_of(inversion: Inversion | Metropolis) -> tuple[Any, ...]:
    """What rates across bandwidths are of, apart from the hypotheses."""
    return str(inversion.site), tuple(inversion.prompt_ids), inversion.n if hasattr(inversion, "n") else None


def _with_tokens(prior: Sequence[InputText]) -> list[InputText]:
    return [text for text in prior if getattr(text, "tokens", ())]


def _point(row: dict[str, Any]) -> dict[str, Any]:
    chance = chance_in(row)
    return {
        "name": row["feature"],
        "bandwidth": row["bandwidth"],
        "fcr": row["fcr"],
        "low": row["fcr_low"],
        "high": row["fcr_high"],
        "chance": chance,
        "plain": row["fcr_plain"],
        "star": (row["fcr"] - chance) / (1 - chance) if chance < 1 else None,
        "n": row["ess_median"],
        "verdict": row["verdict_counts"].partition(":")[0],
        "doubtful": is_doubtful(row["notes"]),
    }
