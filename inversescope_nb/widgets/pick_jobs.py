"""What happens after a pick, on the worker's thread: inverting, searching, training, measuring.

`PickJobs` holds the part of `InverseScopeWidget` that computes and shows what came out. A result carries what
was asked, so that inputs which no longer belong to what is picked are never shown under its name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import traitlets as t

from ..errors import Cancelled, InverseScopeError
from ..features import Feature, InputText
from .backend import Backend
from .jobs import Job
from .messages import IDLE, Callbacks, MessageWidget, handles, status_of
from .snippet import duration

if TYPE_CHECKING:
    import pandas as pd

    from ..baselines import Neighbours
    from ..generator import Generator
    from ..inversion import Inversion
    from ..prompts import PromptDistribution


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
    status = t.Dict(dict(IDLE)).tag(sync=True)
    offer = t.Dict(default_value=None, allow_none=True).tag(sync=True)
    stale = t.Unicode("").tag(sync=True)
    """What the inputs shown belong to, where that is no longer what is picked; empty while they agree."""

    def __init__(self, backend: Backend, **traits: Any) -> None:
        self._backend = backend
        self._inversion: Inversion | Neighbours | None = None
        self._asked: Asked | None = None
        self._shown: Asked | None = None
        self._live = self._warm = False
        self._inversions = Callbacks(self)
        self._turn = threading.RLock()
        self._pending: set[Job] = set()
        super().__init__(**traits)

    def _now(self) -> Asked:
        return Asked(self.prompt, self.position, self.site, self.bandwidth, self.n)

    def _refresh_stale(self) -> None:
        shown = self._shown
        if shown is None or shown == self._now():
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
        if job.error is not None and not job.superseded:
            self._asked = None
            self.fail(job.error)

    def _invert(self, job: Job, asked: Asked) -> None:
        prompt, position, site, bandwidth, n = asked
        generator = self._backend.shelf.find(site)
        if generator is None:
            self._offer(job, prompt, site)
            return
        self.offer = None
        inversion = self._backend.invert(
            generator, prompt, site=site, position=position, bandwidth=bandwidth, n=n, job=job
        )
        bits = self._backend.token_bits(generator, prompt, site=site, position=position, bandwidth=bandwidth, job=job)
        self._shade(bits)
        self._show(asked, inversion, generator.prompts, generator)

    def _shade(self, bits: Sequence[float]) -> None:
        """Shade the prompt up to the picked token; the rest is not seen by it."""
        rest = len(self.picker.tokens) - len(bits)
        if rest >= 0:  # else the prompt was edited meanwhile, and another job is on its way
            label = "given the activation: likelier (+), less likely (\u2212)"
            self.picker.shade([*bits, *[None] * rest], label=label, unit="bits", diverging=True)

    def _show(
        self,
        asked: Asked,
        inversion: Inversion | Neighbours,
        prompts: PromptDistribution,
        generator: Generator | None,
    ) -> None:
        self._inversion, self._shown = inversion, asked
        self.gallery.show(inversion)
        self._refresh_stale()
        pick = InputText.from_ids(inversion.prompt_ids, self.lm)
        self.panel.offer(self._backend.inputs.features_for(pick))
        prior = self._backend.inputs.prior(prompts, generator)
        self.panel.show(inversion, pick=pick, prior=prior.texts, chance_note=prior.note)
        self._refresh_picture()
        self._inversions(inversion)
        if not self._warm:  # the first chart would wait seconds for altair
            self._warm = True
            self.worker.submit("warm up", lambda job: import_module(".chart", __package__))

    def _offer(self, job: Job, prompt: str, site: str) -> None:
        """Say what can be had without a generator; how long a training takes is found out behind that."""
        self.picker.shade(None)
        self.gallery.show(None)
        self.panel.show(None)
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
            "search": "Search the prompts for neighbours now",
            "train": button + time,
        }

    def _measure(self, features: Sequence[Feature], job: Job) -> pd.DataFrame:
        site, bandwidth = str(self._inversion.site), self._inversion.bandwidth  # type: ignore[union-attr]
        generator = self._backend.shelf.find(site)
        if generator is None:
            raise InverseScopeError(
                f"{site} has no generator, so nothing can be measured across inputs", hint="train one first"
            )
        pick = InputText.from_ids(self._inversion.prompt_ids, self.lm)  # type: ignore[union-attr]
        return self._backend.consistency(generator, features, pick, site=site, bandwidth=bandwidth, job=job)

    @handles("search")
    def _search(self) -> None:
        asked = self._asked = self._now()

        def work(job: Job) -> None:
            found = self._backend.neighbours(
                asked.prompt, site=asked.site, position=asked.position, bandwidth=asked.bandwidth, job=job
            )
            self._show(asked, found, self._backend.inputs.prompts_for(asked.prompt), None)

        self._submit("invert", work, "searching")

    @handles("train")
    def _train(self) -> None:
        asked = self._asked = self._now()

        def work(job: Job) -> None:
            try:
                self._backend.train(asked.prompt, site=asked.site, job=job)
            except Cancelled:
                if self.site == asked.site:
                    self._offer_training(asked.prompt, asked.site)
                raise
            self.site_map = self._backend.site_map()
            self._refresh_site()
            low, high = self._backend.bandwidths(asked.site)  # those of the new generator
            self._invert(job, asked._replace(bandwidth=min(max(asked.bandwidth, low), high)))

        self._submit("train", work, "training")
