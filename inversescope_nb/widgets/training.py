"""Training a generator from the widget: where it is kept, going on after a Stop, and how long it takes.

A training has a folder of its own, ``<place>/<fingerprint of the target>/<site>-<hash of P(X) and settings>``:
``checkpoint.safetensors`` while it runs or after a Stop, ``generator/`` once it is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _files
from ..errors import Cancelled, InvalidArgument, ModelLoadError
from .jobs import Job

if TYPE_CHECKING:
    from ..generator import Generator, TrainingConfig
    from ..models import LanguageModel
    from ..prompts import PromptDistribution

CHECKPOINT = "checkpoint.safetensors"
"""What `train_generator` calls it."""
_FEW, _MANY = 16, 256  # inputs of the smallest and the largest probe of what an input costs
_QUICK_S = 3.0  # seconds that a probe should take at most
_LARGEST = 200_000_000  # parameters up to which a copy of the target is made for the sake of an estimate


def default_place() -> Path:
    """Where trainings are kept if nothing else is said: a folder of this user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inversescope_nb"


class Trainings:
    """The trainings of one target model.

    Args:
        lm: the target.
        config: how generators are trained; None for the usual.
        place: folder that holds them; None: see `default_place`.
    """

    def __init__(
        self, lm: LanguageModel, config: TrainingConfig | None = None, place: str | Path | None = None
    ) -> None:
        self.lm = lm
        self._config = config
        self.place = Path(place).expanduser() if place is not None else default_place()
        self._seconds: dict[str, tuple[float, float]] = {}

    @property
    def config(self) -> TrainingConfig:
        """How generators are trained here."""
        from ..generator import TrainingConfig

        return self._config or TrainingConfig()

    @property
    def _home(self) -> Path:
        return self.place / self.lm.fingerprint

    def folder(self, site: str, prompts: PromptDistribution) -> Path:
        """The folder of one training: the same for the same target, site, P(X) and settings."""
        parts = [self.config.to_dict(), prompts.fingerprint, self.lm.tokenizer_hash]
        return self._home / f"{site}-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]}"

    def finished(self) -> Iterator[Path]:
        """Folders of the generators that were trained here, newest first."""
        found = [path for path in self._home.glob("*/generator") if (path / "generator.json").is_file()]
        yield from sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)

    def steps_done(self, site: str, prompts: PromptDistribution) -> int:
        """Steps of a training that was stopped; 0 where there is none to go on with."""
        path = self.folder(site, prompts) / CHECKPOINT
        try:
            return int(_files.checkpoint_state(path)["step"]) if path.is_file() else 0
        except ModelLoadError:
            return 0

    @property
    def steps(self) -> int:
        """Steps of a whole training."""
        return self.config.prior_steps + self.config.steps

    def train(self, site: str, prompts: PromptDistribution, job: Job) -> tuple[Generator, Path]:
        """A trained generator and the folder that it is kept in; goes on where it was stopped.

        Not under the model's lock: others may use the model meanwhile.
        """
        from ..generator import train_generator

        folder = self.folder(site, prompts)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidArgument(
                f"a training cannot be kept in {folder}: {error.strerror}",
                hint="give another place: InverseScopeWidget(..., run_dir=...)",
            ) from error

        def report(done: int, total: int, message: str) -> None:
            job.report(done, total, message.partition(",")[0])  # the time left is the job's to say

        generator = train_generator(
            self.lm, [site], prompts, config=self.config, run_dir=folder, on_progress=report, cancel=job.cancel
        )
        generator.save_pretrained(folder / "generator")
        (folder / CHECKPOINT).unlink(missing_ok=True)  # several times as large, and of no further use
        return generator, folder / "generator"

    # -- how long it takes ----------------------------------------------------------------------

    def seconds_left(self, site: str, prompts: PromptDistribution, cancel: threading.Event) -> float:
        """Seconds that `train` would take, from a few real draws and steps.

        Measured once for a P(X), at the first site that is asked about; other sites differ little.

        Raises:
            Cancelled: `cancel` was set.
            InverseScopeError: what `train` would raise too.
        """
        key = prompts.fingerprint
        if key not in self._seconds:
            self._seconds[key] = self._set_up(site, prompts, cancel), self._step(site, prompts, cancel)
        set_up, step = self._seconds[key]
        return set_up + step * (self.steps - self.steps_done(site, prompts))

    def _set_up(self, site: str, prompts: PromptDistribution, cancel: threading.Event) -> float:
        """Seconds before the first step: inputs are drawn, and the site is measured on them."""
        inputs: list[list[int]] = []

        def draw(n: int) -> None:
            inputs[:] = prompts.draw(n, self.lm, seed=0, cancel=cancel)

        a_draw = _each(draw, _MANY)
        a_look = _each(lambda n: self.lm.activations(inputs[:n], [site], cancel=cancel), len(inputs))
        drawn, seen = self.config.statistics_samples + self.config.held_out, self.config.statistics_samples
        return drawn * a_draw + seen * a_look

    def _step(self, site: str, prompts: PromptDistribution, cancel: threading.Event) -> float:
        """Seconds of one step: of a real one, in the real size if that is quick, else of a smaller one.

        A large target is not copied for this: there a step counts as four forward passes.
        """
        size = self.config.batch_size
        if sum(p.numel() for p in self.lm.model.parameters()) > _LARGEST:
            return size * self._four_passes(prompts, cancel)
        return size * _grown(lambda n: self._timed_step(site, prompts, n, cancel) / n, size)

    def _four_passes(self, prompts: PromptDistribution, cancel: threading.Event) -> float:
        """Seconds of one input's draw and of four forward passes."""
        started = time.perf_counter()
        inputs = prompts.draw(_FEW, self.lm, seed=0, cancel=cancel)
        a_draw = (time.perf_counter() - started) / _FEW
        deepest = self.lm.sites("blocks.*.hook_resid_post")[-1]
        return a_draw + 4 * _each(lambda n: self.lm.activations(inputs[:n], [deepest], cancel=cancel), _FEW)

    def _timed_step(self, site: str, prompts: PromptDistribution, size: int, cancel: threading.Event) -> float:
        """Seconds of the second step of a training that is given up then; the first warms up."""
        from ..generator import train_generator

        enough = _Also(cancel)
        times: list[float] = []

        def look(done: int, _total: int, _message: str) -> None:
            if done > 0:
                times.append(time.perf_counter())
            if len(times) == 2:
                enough.set()

        small = replace(
            self.config, batch_size=size, steps=3, prior_steps=0, first_steps=0, statistics_samples=2, held_out=1,
            gap_inputs=0, eval_every=10,
        )  # fmt: skip
        try:
            train_generator(self.lm, [site], prompts, config=small, on_progress=look, cancel=enough)
        except Cancelled:
            if cancel.is_set():
                raise
        return times[1] - times[0]


class _Also(threading.Event):
    """An event that is set as well once another one is."""

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or self._other.is_set()


def _each(work: Callable[[int], object], most: int) -> float:
    """Seconds of `work(n)` for each of the n, at n as large as is quick, `most` at most."""

    def timed(n: int) -> float:
        started = time.perf_counter()
        work(n)
        return (time.perf_counter() - started) / n

    timed(1)  # the first time may compile something
    return _grown(timed, most)


def _grown(seconds_each: Callable[[int], float], most: int) -> float:
    """`seconds_each(n)` at the largest n that is quick: a few say little, since a large batch costs less for each."""
    n = min(_FEW, most)
    found = seconds_each(n)
    while n < most and found * min(4 * n, most) < _QUICK_S:
        n = min(4 * n, most)
        found = seconds_each(n)
    return found
