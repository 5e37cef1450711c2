"""Training a generator: noise on the activations is the kernel's width.

One step, for a batch of inputs x ~ P(X):
1. the target runs once and every site is read at the last token (no logits, no later blocks);
2. each input is assigned a site, a bandwidth eps (log-uniform) and noise, u_hat = u + eps sqrt(D) n;
3. a share of the inputs has its condition dropped;
4. next-token cross-entropy of ``start x end`` given the condition, over all tokens.

The optimum of 4. is exactly P(x; u_hat, eps), the posterior under the kernel (method of InverseScope,
arXiv 2506.07406, with the noise it leaves open). Step k's inputs depend on (seed, k) only, so a resumed
run continues as if it had not stopped. Runs through accelerate (:mod:`~inversescope_nb.generator.processes`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import _files, banks
from .._arguments import check_model, check_prompts
from .._progress import reported
from .._version import __version__
from ..errors import Cancelled, CheckpointMismatch, InvalidArgument
from ..prompts import PromptDistribution
from . import sharding
from .building import build_generator, resolve_sites
from .config import TrainingConfig
from .data import by_length, collate
from .examples import Examples
from .gaps import GapProbe
from .generator import Generator
from .memory import GB, LEAST_BATCHES, foresee, n_batches, peak_memory, say
from .optimizers import make_optimizer
from .processes import drawn, make_accelerator, same_buffers, share, summed
from .quality import usual_bandwidths
from .stopping import look

if TYPE_CHECKING:
    from ..models import LanguageModel

log = logging.getLogger(__name__)
Progress = Callable[[int, int, str], None]
Evaluation = Callable[[Generator, int], Mapping[str, float]]
_CHECKPOINT = "checkpoint.safetensors"
USUAL_PICKS = 8
"""Held-out inputs behind the usual bandwidths."""
# settings that may change between a run and its resumption
_FREE = ("eval_every", "save_every", "gap_inputs", "micro_batch", "gradient_checkpointing")
# what is kept of the run card of a generator that training goes on from
_KEPT = ("config", "examples_seen", "seconds", "device", "versions", "history", "went_on_from")


def train_generator(
    lm: LanguageModel,
    sites: Sequence[str] | str,
    prompts: PromptDistribution,
    *,
    config: TrainingConfig | None = None,
    run_dir: str | Path | None = None,
    resume: bool = True,
    on_progress: Progress | None = None,
    progress: bool = True,
    on_evaluate: Evaluation | None = None,
    cancel: threading.Event | None = None,
    generator_class: type[Generator] = Generator,
) -> Generator:
    """Trains a generator that inverts activations of `lm` at `sites` on inputs of `prompts`.

    Args:
        lm: the target; it is read, never changed.
        sites: names or globs of its sites.
        prompts: P(X), with its cut.
        config: see :class:`TrainingConfig`.
        run_dir: where checkpoints and curves go; without it nothing is written.
        resume: whether to go on from a checkpoint in `run_dir`.
        on_progress: called with (step, steps, message).
        progress: whether to show a bar where nothing else listens.
        on_evaluate: called with (the generator as it is, examples seen) every `config.eval_every` steps; the numbers
            that it returns stand in the curves (``run_card["history"]``) beside the training's own.
        cancel: set it to stop; a checkpoint is written and `Cancelled` is raised.
        generator_class: what to train, where it is another way to use the activation
            (:mod:`inversescope_nb.baselines`).

    Raises:
        CheckpointMismatch: `run_dir` holds a run with another configuration, target or P(X).
        Cancelled: `cancel` was set; its `.checkpoint` says where the work so far is.
        StoreError: a checkpoint cannot be written: the disk is full.
        KeyboardInterrupt: it was interrupted; in `run_dir` is all but the step at work.

    Example:
        >>> import inversescope_nb as isn                                        # doctest: +SKIP
        >>> gen = isn.train_generator(lm, "resid_post.2", prompts)               # doctest: +SKIP
    """
    check_model(lm)
    prompts, config = check_prompts(prompts), config or TrainingConfig()
    with reported(on_progress, progress, "training") as report:
        if report is not None:
            report(0, config.prior_steps + config.steps, "drawing inputs and measuring the sites")
        run = _Run(
            lm, resolve_sites(lm, sites), prompts, config, run_dir, resume, cancel, generator_class,
            evaluates=on_evaluate is not None,
        )  # fmt: skip
        return run.train(report, cancel, on_evaluate)


class _Run:
    """One training run: its generator, its optimizer, where it stands."""

    def __init__(
        self,
        lm: LanguageModel,
        sites: list[str],
        prompts: PromptDistribution,
        config: TrainingConfig,
        run_dir: str | Path | None,
        resume: bool,
        cancel: threading.Event | None = None,
        generator_class: type[Generator] = Generator,
        *,
        evaluates: bool = False,
    ) -> None:
        self.lm, self.sites, self.prompts, self.config = lm, sites, prompts, config
        self.run_dir = Path(run_dir) if run_dir is not None else None
        self.accelerator = make_accelerator(lm, config)
        sharding.check_shards(self.accelerator, config, evaluates=evaluates)
        self.step, self.seconds, self.mean_loss, self.history = 0, 0.0, 0.0, []
        self.is_whole = True  # not so while a step changes the weights
        self.is_stopped = False  # of several processes: whether one was asked to
        self.first_sites = [s for s in sites if any(fnmatchcase(s, glob) for glob in config.first_sites)]
        if config.first_steps and not self.first_sites:
            raise InvalidArgument(
                f"first_sites={config.first_sites} match none of the sites", hint=f"sites: {', '.join(sites[:6])} ..."
            )
        self.estimate = None
        if generator_class is Generator:
            processes = self.accelerator.num_processes
            self.estimate = foresee(lm, sites, config, prompts.longest(lm), processes=processes)
        if self.estimate is not None:
            say(self.estimate, self.accelerator.device)
        self.generator = build_generator(lm, sites, prompts, config, cancel, generator_class, self.accelerator)
        if config.gradient_checkpointing and generator_class.controlled is not Generator.controlled:
            raise InvalidArgument(f"a {generator_class.__name__} knows no gradient_checkpointing")
        self.generator.recomputes = config.gradient_checkpointing
        shared = self.generator.shares_target  # then the adapters go where the target is
        self.generator.to(lm.device if shared else self.accelerator.device)
        self.optimizer = make_optimizer(self.generator, config)
        if self.run_dir is not None:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            if not sharding.has_shards(self.accelerator):
                self._resume(resume)
        same_buffers(self.accelerator, self.generator)
        self.examples = Examples(lm, self.generator, config.bandwidths, share(self.accelerator))
        self.is_split = sharding.splits_weights(self.accelerator)
        self.is_shared_out = sharding.has_shards(self.accelerator)
        self.empty = sharding.hollow(self.generator) if self.is_split else None
        rows = math.ceil(config.batch_size / self.accelerator.num_processes)
        self.model, self.optimizer = sharding.prepare(self.accelerator, self.generator, self.optimizer, rows)
        self.trained = [(name, p) for name, p in self.generator.named_parameters() if p.requires_grad]
        if self.run_dir is not None and sharding.has_shards(self.accelerator) and resume:
            self._resume_shards()
        self.seen: list[dict[str, Any]] | None = None
        self.held_out = drawn(self.accelerator, prompts, config.held_out, lm, seed=config.seed + 3, cancel=cancel)
        limit = 0 if self.is_split else config.gap_inputs  # the gap is measured on a whole generator
        self.gaps = GapProbe(lm, self.generator, prompts, limit=limit, seed=config.seed + 5, cancel=cancel)

    @property
    def identity(self) -> str:
        """Changes with whatever would make a checkpoint meaningless."""
        settings = {k: v for k, v in self.config.to_dict().items() if k not in _FREE}
        parts = [settings, list(self.sites), self.lm.fingerprint, self.lm.tokenizer_hash, self.prompts.fingerprint]
        if type(self.generator) is not Generator:
            parts.append(type(self.generator).__name__)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _resume(self, resume: bool) -> None:
        path = self.run_dir / _CHECKPOINT
        if not path.exists():
            return
        if not resume:
            path.unlink(missing_ok=True)
            return
        state = _files.checkpoint_state(path)
        self._check_own(state)
        _files.load_checkpoint(path, self.generator, self.optimizer)
        self._go_on(state)

    def _resume_shards(self) -> None:
        state = sharding.saved_state(self.run_dir)
        if state is not None:
            self._check_own(state)
            sharding.load(self.accelerator, self.run_dir, state)
            self._go_on(state)

    def _check_own(self, state: dict[str, Any]) -> None:
        if state["identity"] != self.identity:
            raise CheckpointMismatch(
                f"{self.run_dir.name} holds a run with another configuration, target model or prompt distribution",
                hint="use another run_dir, or resume=False to begin again there",
            )

    def _go_on(self, state: dict[str, Any]) -> None:
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        self.mean_loss = state.get("mean_loss", 0.0)
        log.info("resumed at step %d of %d", self.step, self.config.steps)

    def save(self) -> Path | None:
        """Writes the checkpoint; None without a `run_dir`."""
        if self.run_dir is None:
            return None
        state = {"identity": self.identity, "step": self.step, "seconds": self.seconds, "history": self.history}
        state["mean_loss"] = self.mean_loss
        if sharding.has_shards(self.accelerator):
            return sharding.save(self.accelerator, self.run_dir, state)
        if not self.accelerator.is_main_process:
            return None
        path = self.run_dir / _CHECKPOINT
        _files.save_checkpoint(path, self.generator, getattr(self.optimizer, "optimizer", self.optimizer), state)
        _files.write_json(self.run_dir / "curves.json", self.history)
        return path

    def train(
        self, on_progress: Progress | None, cancel: threading.Event | None, on_evaluate: Evaluation | None = None
    ) -> Generator:
        """All remaining steps; where the notebook's or the terminal's interrupt ends them, they are saved first."""
        try:
            return self._train(on_progress, cancel, on_evaluate)
        except KeyboardInterrupt as interrupt:
            if self.is_whole and self.step < self.total and not sharding.has_shards(self.accelerator):
                self.optimizer.zero_grad(set_to_none=True)
                if (path := self.save()) is not None:
                    interrupt.add_note(f"{self.step} steps are kept in {path}: the same call goes on from there.")
            raise

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.config.prior_steps + self.config.steps

    def _train(
        self, on_progress: Progress | None, cancel: threading.Event | None, on_evaluate: Evaluation | None
    ) -> Generator:
        config, began, total = self.config, time.monotonic() - self.seconds, self.total
        while self.step < total:
            try:
                if self.is_stopped:
                    raise Cancelled("training was stopped")
                loss = self.optimize(self.step, cancel)
            except Cancelled as stopped:
                raise Cancelled("training was stopped", checkpoint=self.save()) from stopped
            self.mean_loss = 0.98 * self.mean_loss + 0.02 * loss if self.mean_loss else loss
            self.step += 1
            self.is_whole = True
            self.seconds = time.monotonic() - began
            if self.step % config.eval_every == 0 or self.step == total:
                point = {"step": self.step, "seconds": round(self.seconds, 1), "loss": self.mean_loss}
                paused = time.monotonic()
                point |= self.evaluate()
                if on_evaluate is not None:
                    point |= on_evaluate(self.generator, self.step * config.batch_size)
                began += time.monotonic() - paused  # seconds are those of the training alone
                self.history.append(point)
                log.info("%s", json.dumps({k: round(v, 4) for k, v in point.items()}))
            if self.step % config.save_every == 0 or self.step == total:
                self.save()
            if on_progress is not None:
                left = self.seconds / self.step * (total - self.step)
                on_progress(self.step, total, f"loss {self.mean_loss:.3f}, {left:.0f} s left")
        try:
            return self.finish(cancel)
        except Cancelled as stopped:
            kept = None if self.run_dir is None else self.run_dir / _CHECKPOINT  # of the last step, before folding
            raise Cancelled("training was stopped", checkpoint=kept) from stopped

    def finish(self, cancel: threading.Event | None = None) -> Generator:
        """The generator with its run card."""
        if self.empty is not None:
            self.generator = sharding.whole(self.generator, self.empty)
        self.generator.eval()
        self.generator.recomputes = False
        n_parameters = sum(p.numel() for p in self.generator.parameters())  # as trained: folding leaves fewer
        self.generator.fold()
        self.generator.record_probe(self.lm)
        self.generator.bank_inputs = self.held_out[: banks.SIZE]
        earlier = self.generator.run_card  # of the generator that this one goes on from
        config = self.config.to_dict() | {"start_from": Path(self.config.start_from).name}
        peak, of = peak_memory(self.accelerator.device)
        self.generator.run_card = {
            "target": {"name": self.lm.name, "fingerprint": self.lm.fingerprint, "tokenizer": self.lm.tokenizer_hash},
            "sites": list(self.sites),
            "prompts": {"name": self.prompts.name, "cut": self.prompts.cut, "fingerprint": self.prompts.fingerprint},
            "config": config,
            "examples_seen": self.config.batch_size * self.config.steps + earlier.get("examples_seen", 0),
            "went_on_from": {k: earlier[k] for k in _KEPT if k in earlier},
            "usual_bandwidths": usual_bandwidths(self.lm, self.generator, self.held_out[:USUAL_PICKS], cancel),
            "parameters": n_parameters,
            "parameters_trained": sum(p.numel() for _, p in self.trained),
            "seconds": round(self.seconds, 1),
            "device": str(self.accelerator.device),
            "processes": self.accelerator.num_processes,
            "peak_memory_gb": None if peak is None else round(peak, 3),
            "peak_memory_of": of,
            "estimated_memory_gb": None if self.estimate is None else round(self.estimate.total / GB, 3),
            "versions": {
                "inversescope_nb": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "transformers", "accelerate")},
            },
            "history": self.history,
        }
        return self.generator

    # -- one step -------------------------------------------------------------------------------

    def optimize(self, step: int, cancel: threading.Event | None = None) -> float:
        """One optimizer step; the mean cross-entropy per token, nats. `Cancelled` leaves all as before it."""
        look(cancel, "training")
        config = self.config
        rate = min(1.0, (step + 1) / max(1, config.warmup))
        rate *= 0.5 * (1 + math.cos(math.pi * step / self.total))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["peak"]
        rng = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        seed = int(torch.randint(2**31, (1,), generator=rng))
        world = self.accelerator.num_processes
        if world > 1:
            asked, cancel = cancel, None  # they stop together, between two steps
        inputs = drawn(self.accelerator, self.prompts, config.batch_size, self.lm, seed=seed, cancel=cancel)
        drop = 1.0 if step < config.prior_steps else config.drop_condition
        names = self.first_sites if step < config.first_steps else self.sites
        examples = self.examples(inputs, rng, drop, names)
        n_tokens = sum(len(x) + 1 - int(self.generator.config.has_bos) for x in inputs) / world  # gradients' mean
        self.model.train()
        total = 0.0
        batches = self._split(examples, inputs, LEAST_BATCHES)
        for last, batch in enumerate(batches, start=1 - len(batches)):
            with sharding.accumulating(self.accelerator, self.model, last=last == 0):
                log_q = self.model(**collate(batch, self.generator, alike=self.is_shared_out))
                loss = -log_q.sum() / n_tokens
                self.accelerator.backward(loss)
            total += loss.item()
            if cancel is not None and cancel.is_set():
                self.optimizer.zero_grad(set_to_none=True)
                raise Cancelled("training was stopped")
        self.accelerator.clip_grad_norm_([p for _, p in self.trained], 1.0)
        self.is_whole = False
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if world > 1:
            total, stopped = summed(self.accelerator, [total / world, asked is not None and asked.is_set()])
            self.is_stopped = stopped > 0
        return total

    def _split(self, examples: list[dict[str, Any]], inputs: list[list[int]], least: int) -> list[list[dict[str, Any]]]:
        """This process's examples in batches of like length: as many of them in all that share these inputs."""
        rows, world = self.config.micro_batch, self.accelerator.num_processes
        n = n_batches(list(map(len, inputs)), self.generator.vocab_size, rows, least=least, world=world)
        return by_length(examples, n, rows_alone=rows is not None)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Held-out nats per input: with the (noised) condition, without it, and what the condition saves in bits.

        And the gap to the exact posterior, where P(X) is small enough to list.
        """
        self.model.eval()
        if self.seen is None:  # the same every time
            rng = torch.Generator().manual_seed(self.config.seed + 4)
            self.seen = self.examples(self.held_out, rng, 0.0, self.sites)
        given, prior = 0.0, 0.0
        for batch in self._split(self.seen, self.held_out, 4):
            given -= float(self.generator(**collate(batch, self.generator)).sum())
            if self.generator.has_prior:
                unseen = [e | {"keep": False} for e in batch]
                prior -= float(self.generator(**collate(unseen, self.generator)).sum())
        n = len(self.held_out)
        given, prior = summed(self.accelerator, [given, prior])
        found = {"nll": given / n}
        if self.generator.has_prior:
            found |= {"nll_prior": prior / n, "bits": (prior - given) / n / math.log(2)}
        return found | self.gaps.measure(self.generator)
