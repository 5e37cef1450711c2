"""What each command of ``python -m inversescope_nb`` does: parsed arguments in, blocks of text out.

A command is a generator of strings; `__main__` prints them and shows the progress. Everything here goes
through the public functions, so that a command can be repeated in a notebook.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._files import write_result
from ._json import plain
from .errors import InvalidArgument, suggest

if TYPE_CHECKING:
    from .features import Feature
    from .generator import Generator
    from .models import LanguageModel
    from .prompts import PromptDistribution


def demo(args: Namespace, progress: Any) -> Iterator[str]:
    """Inverts the three stories and writes the page."""
    from . import demo as stories
    from ._demo_page import page

    out = _writable(args.out)
    lm, gen = _load(args)
    yield f"{_about_model(lm, args)}\n{_about_generator(gen)}\n"
    told = []
    for number, one in enumerate(stories.tell(lm, gen, n=args.n, n_targets=args.targets, seed=args.seed,
                                              on_progress=progress), start=1):  # fmt: skip
        told.append(one)
        yield stories.as_text(one, number=number) + "\n"
    write_result(out, page(told, lm, gen, model_name=_name(lm, args)))
    yield f"wrote {args.out}: open it in a browser"
    yield "with the mouse: make lab (in a notebook of your own: isn.InverseScopeWidget())"


def info(args: Namespace, progress: Any) -> Iterator[str]:
    """Model, generator and what is recorded of them."""
    from . import __version__

    lm, gen = _load(args)
    if args.json:
        card = {"version": __version__, "model": _model_facts(lm, args), "generator": _generator_facts(gen)}
        yield json.dumps(card, indent=1)
        return
    yield f"inversescope_nb {__version__}\n{_about_model(lm, args)}\n{_about_generator(gen)}"
    accuracy = _target_card(args).get("held_out_accuracy", {})
    if accuracy:
        yield "held-out accuracy: " + ", ".join(f"{k} {v:.1%}" for k, v in accuracy.items())
    history = gen.run_card.get("history") or []
    if history:
        last = history[-1]
        yield (
            f"generator, held out and noised: {last['nll']:.2f} nats an input with its activation, "
            f"{last['nll_prior']:.2f} without ({last['bits']:.1f} bits saved)"
        )
    gen.check_target(lm)
    yield "the generator's self-test on this model passed"


def invert(args: Namespace, progress: Any) -> Iterator[str]:
    """One inversion: its summary and its heaviest samples."""
    from .inversion import invert as run

    out = _writable(args.out, (".csv", ".json")) if args.out else None
    lm, gen = _load(args)
    inversion = run(
        lm, gen, args.prompt, site=args.site, position=args.position, bandwidth=args.bandwidth, n=args.n,
        seed=args.seed, on_progress=progress,
    )  # fmt: skip
    yield inversion.summary()
    frame = inversion.to_frame()
    same = frame.groupby("text", sort=False)  # an input that was drawn several times weighs as much as they do together
    top = same.agg(weight=("weight", "sum"), d=("d", "first")).reset_index()
    top = top.sort_values("weight", ascending=False, kind="stable").head(args.top)
    yield "\n".join(
        [f"\n{'weight':>8}  {'d':>6}  input", *(f"{r.weight:>8.2%}  {r.d:>6.3f}  {r.text}" for r in top.itertuples())]
    )
    if out is not None:
        _write_frame(out, frame)
        yield f"wrote {args.out}: {len(frame)} samples"


def consistency(args: Namespace, progress: Any) -> Iterator[str]:
    """A consistency study: its report in words, and as a file."""
    from .rates import consistency as run

    out = _writable(args.out, (".csv", ".json")) if args.out else None
    lm, gen = _load(args)
    targets, features = _study(args)
    report = run(
        lm, gen, targets, args.site, features, bandwidth=args.bandwidth, n_targets=args.targets, n_samples=args.n,
        position=args.position, slot=args.slot, permutations=args.permutations, seed=args.seed,
        run_dir=args.run_dir, on_progress=progress,
    )  # fmt: skip
    yield report.summary(limit=args.top)
    if out is not None and out.suffix == ".json":
        report.to_json(out)
    elif out is not None:
        _write_frame(out, report.to_frame())
    if out is not None:
        yield f"wrote {args.out}: {len(report.rows)} rows"


def train(args: Namespace, progress: Any) -> Iterator[str]:
    """Trains a generator and writes its folder; every process of ``accelerate launch`` comes through here."""
    from accelerate import PartialState

    from .generator import TrainingConfig, train_generator
    from .generator.building import resolve_sites
    from .generator.memory import foresee

    out = Path(args.out)
    if out.is_file():
        raise InvalidArgument(f"--out {args.out} is a file", hint="give the name of a folder")
    names = {field.name for field in dataclasses.fields(TrainingConfig)}
    config = TrainingConfig(**{name: v for name, v in vars(args).items() if name in names and v is not None})
    lm = _load_model(args)
    prompts = _prompts(args.prompts, args.cut, lm)
    run_dir = Path(args.run_dir) if args.run_dir else out.with_name(f"{out.name}.run")
    speaks = os.environ.get("RANK", "0") == "0"  # set by the launcher; accelerate's state is training's to make
    if speaks:
        yield f"{_about_model(lm, args)}\nP(X): {prompts.name}, cut at {prompts.cut}; checkpoints in {run_dir}"
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        needs = foresee(lm, resolve_sites(lm, args.site), config, prompts.longest(lm), processes=processes)
        if needs is not None:
            yield f"memory of each process: {needs}"
    with _interruptible() as cancel:
        gen = train_generator(
            lm, args.site, prompts, config=config, run_dir=run_dir, resume=not args.no_resume,
            on_progress=progress if speaks else None, progress=speaks, cancel=cancel,
        )  # fmt: skip
    state = PartialState()
    if state.is_main_process:
        gen.save_pretrained(out)
        last = gen.run_card["history"][-1]
        yield (
            f"wrote {args.out}: {len(gen.sites)} sites; held out and noised, {last['nll']:.2f} nats an input with its "
            f"activation, {last['nll_prior']:.2f} without ({last['bits']:.1f} bits saved); "
            f"memory at most {gen.run_card['peak_memory_gb']} GB ({gen.run_card['peak_memory_of']})"
        )
    state.wait_for_everyone()


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C asks for a checkpoint; a second one ends at once."""
    cancel = threading.Event()

    def ask(number: int, frame: Any) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    if threading.current_thread() is not threading.main_thread():
        yield cancel
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)


# -- what the arguments name ---------------------------------------------------------------------


def _load_model(args: Namespace) -> LanguageModel:
    from transformers.utils import logging

    from .models import load_model

    logging.disable_progress_bar()
    return load_model(args.model, tokenizer=args.tokenizer, device_map=args.device_map, dtype=args.dtype)


def _load(args: Namespace) -> tuple[LanguageModel, Generator]:
    """The model and the generator that the arguments name; the packaged ones without a name."""
    from .generator import Generator, load_generator

    lm = _load_model(args)
    if args.generator is None:
        return lm, load_generator(device=str(lm.device))
    return lm, Generator.from_pretrained(args.generator, device=str(lm.device), target=lm)


def _prompts(name: str, cut: str | None, lm: LanguageModel | None = None) -> PromptDistribution:
    """A task's prompts, all tasks', a file's, or (``model``) what the model writes itself."""
    from .prompts import PromptDistribution
    from .tasks import TASKS, get_prompts

    if name == "all_tasks" or name in TASKS:
        return get_prompts(name, cut=cut or "slots+random")
    if name == "model" and lm is not None:
        return PromptDistribution.from_model(lm)
    if Path(name).suffix in (".txt", ".jsonl"):
        return PromptDistribution.from_file(name, cut=cut or "random")
    allowed = [*TASKS, "all_tasks", *(["model"] if lm is not None else [])]
    raise InvalidArgument(
        f"no prompts {name!r}.{suggest(name, allowed)}", hint=f"allowed: {', '.join(allowed)}, or a .txt or .jsonl file"
    )


def _study(args: Namespace) -> tuple[PromptDistribution, list[Feature]]:
    """The picked inputs and the features of a consistency study."""
    from .tasks import TASKS, get_task

    if args.prompts not in TASKS:
        known: dict[str, Feature] = {}
        targets = _prompts(args.prompts, "end")
    else:
        task = get_task(args.prompts)
        known, targets = task.features, task.split(args.split, cut="end")
    if args.feature:
        return targets, [_feature(text, known) for text in args.feature]
    if not known:
        raise InvalidArgument("no feature was given", hint="--feature contains:TEXT, token:POSITION or regex:PATTERN")
    return targets, list(known.values())


def _feature(text: str, known: dict[str, Feature]) -> Feature:
    """A task's feature by its name, or a ready-made one."""
    from . import features
    from ._patterns import bracketed

    kind, colon, value = text.partition(":")
    if text in known:
        return known[text]
    if colon and kind == "contains":
        return features.contains(value)
    if colon and kind == "regex":
        return features.regex(value, bracketed(value))
    if colon and kind == "token":
        try:
            return features.token_at(int(value))
        except ValueError as e:
            raise InvalidArgument(f"--feature {text}: {value!r} is no position", hint="such as token:-1") from e
    raise InvalidArgument(
        f"no feature {text!r}.{suggest(text, known)}",
        hint=f"allowed: {', '.join([*known, 'contains:TEXT', 'token:POSITION', 'regex:PATTERN'])}",
    )


# -- files -----------------------------------------------------------------------------------------


def _writable(name: str, endings: tuple[str, ...] = ()) -> Path:
    """The path of a file to write, checked before the work begins."""
    path = Path(name)
    if path.is_dir() or not path.parent.is_dir():
        why = "is a folder" if path.is_dir() else f"is in a folder that does not exist ({path.parent})"
        raise InvalidArgument(f"--out {name} {why}", hint="give the name of a file")
    if endings and path.suffix not in endings:
        raise InvalidArgument(f"--out {name} ends in {path.suffix!r}", hint=f"allowed: {', '.join(endings)}")
    return path


def _write_frame(path: Path, frame: Any) -> None:
    """As CSV, or as JSON in which infinities are strings and small numbers stay what they are."""
    if path.suffix == ".csv":
        text = frame.to_csv(index=False)
    else:
        text = json.dumps(plain(frame.astype(object).to_dict("records")), indent=1) + "\n"
    write_result(path, text)


# -- words -----------------------------------------------------------------------------------------


def _name(lm: LanguageModel, args: Namespace) -> str:
    return "packaged with inversescope_nb" if args.model is None else lm.name


def _about_model(lm: LanguageModel, args: Namespace) -> str:
    count = sum(p.numel() for p in lm.model.parameters())
    shape = f"{lm.n_layers} layers, {lm.n_heads} heads, d {lm.d_model}"
    return f"model: {_name(lm, args)}, {count:,} parameters, {shape}, {lm.device}"


def _about_generator(gen: Generator) -> str:
    count = sum(p.numel() for p in gen.parameters())
    low, high = gen.config.bandwidths
    return (
        f"generator: {count:,} parameters, {len(gen.sites)} sites, bandwidths {low:g} to {high:g}; "
        f"P(X): {gen.prompts.name}, cut at {gen.prompts.cut}"
    )


def _target_card(args: Namespace) -> dict[str, Any]:
    """The run card beside the model's weights, if there is one."""
    from .loading import PACKAGED_TARGET

    path = (PACKAGED_TARGET if args.model is None else Path(args.model)) / "run_card.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _model_facts(lm: LanguageModel, args: Namespace) -> dict[str, Any]:
    names = ("name", "n_layers", "n_heads", "d_model", "d_head", "n_ctx", "vocab_size", "fingerprint", "tokenizer_hash")
    facts = {name: getattr(lm, name) for name in names}
    return {**facts, "dtype": str(lm.dtype), "device": str(lm.device), "run_card": _target_card(args)}


def _generator_facts(gen: Generator) -> dict[str, Any]:
    return {"sites": list(gen.sites), "bandwidths": list(gen.config.bandwidths), "run_card": gen.run_card}
