"""What happens after a pick: inverting and searching on one thread, measuring and training on another behind it.

`PickJobs` holds the part of `InverseScopeWidget` that computes and shows what came out. A result carries what
was asked, so that inputs which no longer belong to what is picked are never shown under its name.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import traitlets as t

from ..errors import Cancelled, InverseScopeError
from ..features import Feature, InputText
from ..verdicts import Verdict, doubt_of_rates
from .backend import Backend
from .inputs import SEARCH_SECONDS, SWEEP_SAMPLES
from .jobs import Job, Worker, duration
from .messages import IDLE, Callbacks, MessageWidget, handles, status_of
from .pinning import Pinning
from .shading import Shading
from .snippet import panel_code, sweep_code

if TYPE_CHECKING:
    import pandas as pd

    from ..baselines import Metropolis
    from ..generator import Generator
    from ..inversion import Inversion
    from ..prompts import PromptDistribution
    from .consistency_panel import ConsistencyPanel


FACTOR, MOST_SAMPLES = 4, 4096
"""How many times more samples are offered where few count, and how many at most."""


class Asked(NamedTuple):
    """What is picked: the arguments of one inversion."""

    prompt: str
    position: int
    site: str
    bandwidth: float
    n: int


class PickJobs(MessageWidget):
    """Base of `InverseScopeWidget`, which has the parts (`picker`, `gallery`, `panel`) and says what is picked."""

    busy = t.Bool(False).tag(sync=True)
    """Whether something in the foreground runs or waits: an inversion or a search."""
    status = t.Dict(dict(IDLE)).tag(sync=True)
    unread = t.Bool(False).tag(sync=True)
    """Whether what stands in the picker is no prompt, so that the last one that was is still picked."""
    training = t.Dict(dict(IDLE)).tag(sync=True)
    """How far a training is, which runs behind all else."""
    offer = t.Dict(default_value=None, allow_none=True).tag(sync=True)
    background: Worker | None = None
    """The thread of what takes long: measurements and trainings, while picks are inverted."""
    shading: Shading | None = None
    """What shades the tokens of the picker."""
    pinning: Pinning | None = None
    """What pins inversions and compares them."""
    wider = t.Float(None, allow_none=True).tag(sync=True)
    """A bandwidth to try where the inversion shown is in doubt; None where it is not, or there is none wider."""
    more_samples = t.Int(None, allow_none=True).tag(sync=True)
    """How many samples to try where few count; None where that is not so, or there are many."""
    stale = t.Unicode("").tag(sync=True)
    """What the inputs shown belong to, where that is no longer what is picked; empty while they agree."""

    def __init__(self, backend: Backend, **traits: Any) -> None:
        self._backend = backend
        self._inversion: Inversion | Metropolis | None = None
        self._asked: Asked | None = None
        self._shown: Asked | None = None
        self._live = self._warm = self._held_back = False
        self._paces: deque[float] = deque(maxlen=5)  # seconds for a sample, in the last inversions
        self._inversions = Callbacks(self)
        self._turn = threading.RLock()
        self._pending: set[Job] = set()
        self.background = Worker(f"{type(self).__name__} background")
        super().__init__(**traits)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Several choices at once: nothing is inverted for those on the way."""
        self._held_back = True
        try:
            yield
        finally:
            self._held_back = False

    def _now(self) -> Asked:
        return Asked(self.prompt, self.position, self.site, self.bandwidth, self.n)

    def _refresh_stale(self, _change: Any = None) -> None:
        shown, picker = self._shown, self.picker
        self.unread = picker is not None and picker.text != picker.accepted
        if shown is None or (shown == self._now() and not self.unread):
            self.stale = ""
        else:
            token = self._inversion.tokens[-1] if self._inversion is not None else ""
            self.stale = f"{shown.site} at {token!r}, \u03b5 = {shown.bandwidth:g}, {shown.n} samples"

    def _submit(self, kind: str, work: Callable[[Job], Any], message: str) -> Job:
        with self._turn:
            self.clear_error()
            job = self.worker.submit(
                kind,
                work,
                on_progress=lambda job, progress: setattr(self, "status", status_of(progress, message)),
            )
            self._pending.add(job)
            # after submit: that ends a waiting job of this kind, whose end says that nothing runs
            self.busy, self.status = True, status_of(None, message)
            job.when_done(self._done)
            return job

    def _done(self, job: Job) -> None:
        with self._turn:
            self._pending.discard(job)
            if not self._pending:
                self.busy, self.status = False, dict(IDLE)
                self.gallery.awaited = False
        if job.error is not None and not job.superseded:
            self._asked = None
            self.fail(job.error)
        self._backend.tidy()

    def _invert(self, job: Job, asked: Asked) -> None:
        prompt, position, site, bandwidth, n = asked
        read = self._backend.shelf.at_hand(site)
        generator = self._backend.shelf.find(site)
        if generator is None:
            self._offer(job, prompt, site)
            return
        if read is None:
            self._refresh_site()  # now its bandwidths are known, and may not be those of the pick
            self.shading.refresh()
        self.offer = None
        self._reweigh(asked, generator, job)
        inversion = self.pinning.find(asked, generator)
        if inversion is None:
            started = perf_counter()
            inversion = self._backend.invert(
                generator, prompt, site=site, position=position, bandwidth=bandwidth, n=n, job=job
            )
            self._paces.append((perf_counter() - started) / n)
        bits = self._backend.token_bits(generator, prompt, site=site, position=position, bandwidth=bandwidth, job=job)
        if job.cancel.is_set():
            raise Cancelled
        self._show(asked, inversion, generator.prompts, generator, job)
        if asked == self._now():
            self.shading.of_pick(bits, self.gallery.summary["info_max"] / math.log(2))  # one quantity, one scale
        self._inversions(inversion)

    def _reweigh(self, asked: Asked, generator: Generator, job: Job) -> None:
        """Where only the bandwidth is another, the samples that are there are weighed anew, until new ones come."""
        shown, inversion = self._shown, self._inversion
        if shown is None or shown == asked or shown._replace(bandwidth=asked.bandwidth) != asked:
            return
        if hasattr(inversion, "reweight"):  # not a search
            reweighed = self._backend.reweighed(inversion, generator, asked.bandwidth)
            self._show(asked, reweighed, generator.prompts, generator, job, awaited=True)

    def _show(
        self,
        asked: Asked,
        inversion: Inversion | Metropolis,
        prompts: PromptDistribution,
        generator: Generator | None,
        job: Job,
        awaited: bool = False,
    ) -> None:
        # What may take long comes first: until all of it is there, what was shown before is shown, and said to be old.
        prior = self._backend.inputs.prior(prompts, generator, job.cancel)
        pick = InputText.from_ids(inversion.prompt_ids, self.lm)
        features = self._backend.inputs.features_for(pick)
        self._inversion, self._shown = inversion, asked
        self.gallery.show(inversion, awaited=awaited)
        self.more_samples = None if generator is None else _more_samples(inversion)
        # where more samples may do, they come first: what is wider is another question, and need not go better
        self.wider = None if generator is None or self.more_samples else self._wider(inversion)
        self.pinning.offer(asked, inversion, generator)
        self._refresh_stale()
        self.panel.offer(features)
        self.sweep.offer(
            inversion if generator else None,
            generator.sites if generator else (),
            features,
            seconds=median(self._paces) * SWEEP_SAMPLES if len(self._paces) > 1 else None,  # the first one is slow
        )
        self.panel.show(inversion, pick=pick, prior=prior.texts, chance_note=prior.note)
        self._refresh_picture()
        if not self._warm:  # the first chart would wait seconds for altair
            self._warm = True
            self.background.submit("warm up", lambda job: import_module(".chart", __package__))

    def _wider(self, inversion: Inversion) -> float | None:
        """Twice the bandwidth at least, and no less than what is usual at the site: it asks less of the generator."""
        _, high = self._backend.bandwidths(str(inversion.site))
        outside = inversion.verdict == Verdict.OUTSIDE_PROMPT_DISTRIBUTION  # which no bandwidth can help
        if inversion.bandwidth >= high or outside or not doubt_of_rates(inversion):
            return None
        return min(high, float(f"{max(2 * inversion.bandwidth, inversion.usual_bandwidth):.2g}"))

    def _offer(self, job: Job, prompt: str, site: str) -> None:
        """Say what can be had without a generator; how long a training takes is found out behind that."""
        self.shading.clear()
        self.gallery.show(None)
        self.wider = self.more_samples = None
        self.panel.show(None)
        self.sweep.offer(None)
        self.pinning.pins.offer(None)
        self._inversion = self._shown = None
        self._refresh_stale()
        self._refresh_picture()
        self._offer_training(prompt, site)
        try:
            seconds = self._backend.training_seconds(prompt, site, job)
        except Cancelled:
            raise
        except InverseScopeError as error:
            message = f"{self._backend.no_generator_message(site)} None can be trained here: {error.message}."
            self.offer = {**self.offer, "message": message, "train": None}
        else:
            self._offer_training(prompt, site, f" ({duration(seconds)})")

    def _offer_training(self, prompt: str, site: str, time: str = "") -> None:
        words, button = self._backend.training_offer(prompt, site)
        self.offer = {
            "site": site,
            "message": f"{self._backend.no_generator_message(site)} {words}",
            "search": f"Search without a generator ({SEARCH_SECONDS:g} s)",
            "train": button + time,
        }

    def _measure(self, features: Sequence[Feature], inversion: Inversion, job: Job) -> pd.DataFrame:
        site, bandwidth = str(inversion.site), inversion.bandwidth
        generator = self._backend.shelf.find(site)
        if generator is None:
            raise InverseScopeError(
                f"{site} has no generator, so nothing can be measured across inputs", hint="train one first"
            )
        pick = InputText.from_ids(inversion.prompt_ids, self.lm)
        return self._backend.consistency(generator, features, pick, site=site, bandwidth=bandwidth, job=job)

    def _sweep(
        self, features: Sequence[Feature], inversion: Inversion, n_targets: int, job: Job, only_kept: bool = False
    ) -> pd.DataFrame | None:
        generator = self._backend.shelf.find(str(inversion.site))
        if generator is None:
            raise InverseScopeError(f"{inversion.site} has no generator any more", hint="train one first")
        pick = InputText.from_ids(inversion.prompt_ids, self.lm)
        return self._backend.sweep(
            generator,
            features,
            pick,
            bandwidth=inversion.bandwidth,
            n_targets=n_targets,
            job=job,
            only_kept=only_kept,
        )

    def _sweep_code(self, features: Sequence[Feature], inversion: Inversion, n_targets: int) -> str:
        return sweep_code(self._backend, features, inversion, n_targets)

    def _across(self, features: Sequence[Feature], inversion: Inversion, job: Job) -> pd.DataFrame:
        generator = self._backend.shelf.find(str(inversion.site))
        if generator is None:
            raise InverseScopeError(
                f"{inversion.site} has no generator, so nothing can be inverted at other bandwidths",
                hint="train one first",
            )
        return self._backend.across_bandwidths(generator, features, inversion, job)

    def _panel_code(self, panel: ConsistencyPanel, inversion: Inversion | Metropolis) -> str:
        return "" if self._shown is None else panel_code(self._backend, self._shown, panel, inversion)

    @handles("search")
    def _search(self) -> None:
        asked = self._asked = self._now()

        def work(job: Job) -> None:
            found = self._backend.search(
                asked.prompt, site=asked.site, position=asked.position, bandwidth=asked.bandwidth, n=asked.n, job=job
            )
            self._show(asked, found, self._backend.inputs.prompts_for(asked.prompt), None, job)
            self._inversions(found)

        self._submit("invert", work, "searching without a generator")

    @handles("train")
    def _train(self) -> None:
        asked, words = self._now(), f"training at {self.site}"
        self.clear_error()
        job = self.background.submit(
            "train",
            lambda job: self._backend.train(asked.prompt, site=asked.site, job=job),
            on_progress=lambda job, progress: setattr(self, "training", status_of(progress, words)),
        )
        self.training = status_of(None, words)
        job.when_done(lambda job: self._trained(job, asked))

    def _trained(self, job: Job, asked: Asked) -> None:
        try:
            if isinstance(job.error, Cancelled):
                if self.site == asked.site:
                    self._offer_training(asked.prompt, asked.site)
            elif job.error is not None:
                self.fail(job.error)
            else:
                self.site_map = self._backend.site_map()
                self._refresh_site()  # the bandwidths are those of the new generator, where it is of the picked site
                self.shading.refresh()
                if self.site == asked.site:
                    self.invert()
        finally:
            with self._turn:
                if not job.superseded:
                    self.training = dict(IDLE)
        self._backend.tidy()

    @handles("stop training")
    def _stop_training(self) -> None:
        with self._turn:
            if self.background.stop("train") and self.training["running"]:
                self.training = {**self.training, "stopping": True}

    def close(self) -> None:
        """Stop what runs, and take the widget and its parts off the page."""
        if self.background is not None:
            self.background.close()
        if self.shading is not None:
            self.shading.worker.close()
        super().close()


def _more_samples(inversion: Inversion) -> int | None:
    """`FACTOR` times as many, at most `MOST_SAMPLES`, where few count."""
    more = min(FACTOR * inversion.n, MOST_SAMPLES)
    return more if inversion.verdict == Verdict.LOW_ESS and more > inversion.n else None
