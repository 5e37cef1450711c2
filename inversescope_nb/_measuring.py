"""Samples of a generator, drawn batch by batch, re-run and scored; the steps of an inversion that take time.

Axis names: n (samples).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from . import _statistics
from ._progress import Progress
from .errors import Cancelled, InvalidArgument
from .picking import is_text
from .sites import Site

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from .generator import Condition, Generator
    from .kernels import SiteStatistics
    from .models import LanguageModel
    from .prompts import PromptDistribution

BATCH = 128
"""Samples drawn between two looks at `cancel`, and at whether they are enough."""
_T = TypeVar("_T")


class Measured:
    """Samples, and what was measured of the picked input and of the distinct ones among them: each is re-run once."""

    def __init__(
        self,
        lm: LanguageModel,
        gen: Generator,
        prior: PromptDistribution,
        picked: list[int],
        place: Site,
        condition: Condition,
        statistics: SiteStatistics,
        z_hat: Float[Tensor, " d"],
        cancel: threading.Event | None,
    ) -> None:
        self.lm, self.gen, self.prior, self.picked, self.place = lm, gen, prior, picked, place
        self.condition, self.statistics, self.z_hat, self.cancel = condition, statistics, z_hat, cancel
        self.samples: list[list[int]] = []
        self.rows: list[int] = []  # of each sample, -1: it could not be run
        self.row_of: dict[tuple[int, ...], int] = {}
        self.given: list[Tensor] = []
        self.without: list[Tensor] = []
        self.log_prior: list[float] = []
        self.is_exact = True
        self.d: list[float] = []
        self.relative: list[float] = []
        self.cosine: list[float] = []

    def add(self, drawn: Sequence[tuple[list[int], bool]]) -> None:
        """Takes in samples, each with whether it ended by itself."""
        lm = self.lm
        runnable = [s != [] and ended and is_text(lm, s) and len(s) <= lm.n_ctx for s, ended in drawn]
        self._run([self.picked, *(s for (s, _), ok in zip(drawn, runnable, strict=True) if ok)])
        self.samples += [s for s, _ in drawn]
        self.rows += [self.row_of[tuple(s)] if ok else -1 for (s, _), ok in zip(drawn, runnable, strict=True)]

    def _run(self, inputs: Sequence[list[int]]) -> None:
        """Re-runs and scores those that are new; the target first, which is free while the generator samples."""
        new = [list(x) for x in dict.fromkeys(map(tuple, inputs)) if x not in self.row_of]
        if not new:
            return
        name = self.place.name
        z = self.lm.activations(new, [self.place], cancel=self.cancel)[name]
        scored = self.prior.log_probs(new, self.lm)
        if scored is None and not self.gen.has_prior:
            raise InvalidArgument(
                f"{self.prior.name} cannot say how likely an input is, and this generator has no prior of its own",
                hint="give a prior= that can, such as a task's prompts, or use a generator of train_generator()",
            )
        given, without = self.gen.log_probs(new, self.condition), self.gen.prior_log_probs(new)
        self.row_of.update({tuple(x): len(self.row_of) + i for i, x in enumerate(new)})
        self.given += given
        self.without += without
        self.log_prior += [float(x.sum()) for x in without] if scored is None else list(scored)
        self.is_exact = scored is not None
        self.d += self.statistics.distance(z, self.z_hat).tolist()
        self.relative += ((z - self.z_hat).norm(dim=-1) / self.z_hat.norm().clamp(min=1e-30)).tolist()
        self.cosine += torch.nn.functional.cosine_similarity(z, self.z_hat[None], dim=-1).tolist()

    @property
    def log_q(self) -> list[float]:
        """log q(x | z_hat) of the distinct inputs, nats."""
        return [float(x.sum()) for x in self.given]

    def spread(self, values: Sequence[float], missing: float) -> Float[np.ndarray, " n"]:
        """A number of every sample, from one of every distinct input."""
        return np.array([values[r] if r >= 0 else missing for r in self.rows], dtype=np.float64)

    def ess(self, bandwidth: float) -> float:
        """Effective sample size of the samples so far, as :attr:`Inversion.ess`."""
        log_prior, log_q = np.array(self.log_prior), np.array(self.log_q)
        with np.errstate(invalid="ignore"):
            log_weight = log_prior + self.statistics.kernel.log(np.array(self.d), bandwidth) - log_q
        log_weight = self.spread(np.where(np.isfinite(log_weight), log_weight, -np.inf), -np.inf)
        top = log_weight.max(initial=-np.inf)
        return float(_statistics.effective_sample_size(np.exp(log_weight - top))) if np.isfinite(top) else 0.0


def _batches(
    gen: Generator, condition: Condition, n: int, seed: int, cancel: threading.Event | None
) -> Iterator[list[tuple[list[int], bool]]]:
    """n draws, a batch at a time, each with whether it ended by itself."""
    for at in range(0, n, BATCH):
        # batches of one seed share no numbers with batches of another
        part = random.Random(f"{seed} {at}").getrandbits(62) if at else seed
        yield gen.sample(condition, min(BATCH, n - at), seed=part, cancel=cancel)


def _overlaps(lm: LanguageModel) -> bool:
    """Whether a batch is re-run while the next is sampled: on a GPU; on a CPU they would only take turns."""
    return lm.device.type == "cuda"


def _ahead(batches: Iterator[_T], device: torch.device) -> Iterator[_T]:
    """The same batches, each made in another thread while the one before is worked on."""
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    if stream is not None:
        stream.wait_stream(torch.cuda.current_stream(device))

    def following() -> _T | None:
        with torch.cuda.stream(stream):  # None: as it is
            return next(batches, None)

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(following)
        while (batch := coming.result()) is not None:
            coming = thread.submit(following)
            yield batch


def sample(
    measured: Measured, n: int, seed: int, ess: float | None, bandwidth: float, on_progress: Progress | None
) -> str:
    """Draws at most n samples and measures them; why it ended there, in words, where an `ess` was asked for."""
    cancel, overlaps, drawn, waiting = measured.cancel, _overlaps(measured.lm), 0, []
    batches = _batches(measured.gen, measured.condition, n, seed, cancel)
    with closing(_ahead(batches, measured.lm.device) if overlaps else batches) as batches:
        for batch in batches:
            drawn += len(batch)
            if on_progress is not None:
                on_progress(drawn, n, "proposing inputs")
            if cancel is not None and cancel.is_set():
                raise Cancelled("inversion was stopped")
            if ess is None and not overlaps:
                waiting += batch  # all are measured together
                continue
            measured.add(batch)
            if ess is not None and drawn < n and (found := measured.ess(bandwidth)) >= ess:
                return f"stopped after {drawn} of at most {n} samples: {found:.0f} effective ones, {ess:g} were enough"
    measured.add(waiting)
    if ess is None:
        return ""
    return f"all {n} samples were drawn: {measured.ess(bandwidth):.0f} effective ones, {ess:g} would have been enough"
