"""Command line, for machines without a notebook: ``python -m inversescope_nb COMMAND``.

Commands: demo, info, invert, consistency, train. Training on several processes:
``accelerate launch -m inversescope_nb train ...``. The package's own errors are two lines on standard
error and exit status 2; Ctrl-C is 130.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ._version import __version__
from .errors import Cancelled, InverseScopeError

_EXAMPLES = """examples:
  python -m inversescope_nb demo
  python -m inversescope_nb invert "4 3 7 + 5 6 9 =" --site resid_post.0 -n 256 --out samples.csv
  python -m inversescope_nb consistency ioi --site "blocks.*.hook_resid_post" --feature indirect_object
  python -m inversescope_nb train --model gpt2 --site resid_post.6 --prompts my_prompts.txt --out my_generator
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    args = _parser().parse_args(argv)
    # OpenMP's threads spin while they wait, which slows small models many times over on a busy machine
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from . import _commands  # torch is loaded by what the command needs, not by --help

    try:
        with _progress(args.quiet) as progress:
            for block in getattr(_commands, args.command)(args, progress):
                progress.close()
                print(block, flush=True)
    except Cancelled as error:
        return _fail(error, 130)
    except InverseScopeError as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough (head, less)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _fail(error: InverseScopeError, status: int) -> int:
    """What was wrong, and what to do: a line each."""
    message = " ".join(error.message.split())
    print(f"{type(error).__name__}: {message}", file=sys.stderr)
    if error.hint:
        print(f"  {' '.join(error.hint.split())}", file=sys.stderr)
    return status


class _Bar:
    """A bar on standard error where that is a terminal, a line now and then where it is not."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.bar, self.last = quiet, None, ""

    def __call__(self, done: int, total: int, message: str) -> None:
        if self.quiet:
            return
        if not sys.stderr.isatty():
            words = message.partition(",")[0].rstrip("0123456789. ") if "loss" in message else message
            if words != self.last:
                print(f"[{done}/{total}] {message}", file=sys.stderr, flush=True)
            self.last = words
            return
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=total, leave=False, file=sys.stderr, bar_format="{l_bar}{bar:24}{r_bar}")
        self.bar.total, self.bar.n = total, done
        self.bar.set_description(message)

    def close(self) -> None:
        """Takes the bar away, so that text can be printed."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


@contextmanager
def _progress(quiet: bool) -> Iterator[_Bar]:
    bar = _Bar(quiet)
    try:
        yield bar
    finally:
        bar.close()


def _parser() -> argparse.ArgumentParser:
    about = "What does an activation know? The inputs that a language model cannot tell apart at a site, measured."
    parser = argparse.ArgumentParser(
        prog="python -m inversescope_nb", description=about, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"inversescope_nb {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _demo(commands)
    _info(commands)
    _invert(commands)
    _consistency(commands)
    _train(commands)
    return parser


def _command(
    commands: argparse._SubParsersAction, name: str, what: str, *, generator: bool = True
) -> argparse.ArgumentParser:
    """One command with the options that all have."""
    parser = commands.add_parser(name, help=what, description=what)
    parser.add_argument("--model", help="Hub name or folder (default: the packaged model)")
    parser.add_argument("--tokenizer", help="Hub name or folder, where the model's own is not the one")
    parser.add_argument("--device-map", default="auto", help="accelerate's: auto, cpu, cuda:0, ... (default: auto)")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16, float16 (default: auto)")
    if generator:
        parser.add_argument("--generator", help="folder or Hub name (default: the packaged model's own)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def _demo(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "demo", "invert three prompts and write a page about them")
    parser.add_argument("--out", default="demo.html", help="the page (default: demo.html)")
    parser.add_argument("-n", type=int, default=128, help="samples of each inversion (default: 128)")
    parser.add_argument("--targets", type=int, default=16, help="prompts behind each consistency (default: 16)")


def _info(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "info", "tell what model and generator are, and test that they fit")
    parser.add_argument("--json", action="store_true", help="everything that is recorded, as JSON")


def _bandwidth(parser: argparse.ArgumentParser, default: float | None, shown: str) -> None:
    parser.add_argument("--bandwidth", type=float, default=default, help=f"width of the kernel (default: {shown})")
    parser.add_argument("--position", type=int, default=-1, help="token, BOS counted (default: -1, the last)")


def _invert(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "invert", "the inputs that the model cannot tell from a prompt at a site")
    parser.add_argument("prompt", help="a text")
    parser.add_argument("--site", required=True, help="such as resid_post.0 or blocks.1.attn.hook_z.3")
    _bandwidth(parser, None, "the site's usual, mostly 0.1")
    parser.add_argument("-n", type=int, default=64, help="samples (default: 64)")
    parser.add_argument("--top", type=int, default=10, help="samples to print (default: 10)")
    parser.add_argument("--out", help="all samples, as .csv or .json")


def _consistency(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "consistency", "how consistent features are among inputs that share an activation")
    parser.add_argument("prompts", help="a task (ioi, addition, ...), or a .txt or .jsonl file of prompts to pick from")
    parser.add_argument("--site", action="append", required=True, help="name or glob; may be given several times")
    parser.add_argument(
        "--feature", action="append",
        help="a feature of the task, contains:TEXT, token:POSITION or regex:PATTERN (default: the task's)",
    )  # fmt: skip
    parser.add_argument("--split", default="held_out", choices=("held_out", "train", "all"), help="(default: held_out)")
    _bandwidth(parser, 0.1, "0.1")
    parser.add_argument("--slot", help="read at the last token of this slot instead, such as CITY")
    parser.add_argument("--targets", type=int, default=64, help="picked inputs (default: 64)")
    parser.add_argument("-n", type=int, default=64, help="samples of each (default: 64)")
    parser.add_argument("--permutations", type=int, default=1000, help="of the test; 0: none (default: 1000)")
    parser.add_argument("--top", type=int, default=12, help="rows to print (default: 12)")
    parser.add_argument("--run-dir", help="keep samples here, and resume from them")
    parser.add_argument("--out", help="the report, as .csv or .json")


def _train(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "train", "train a generator that inverts a model's activations", generator=False)
    parser.add_argument("--site", action="append", required=True, help="name or glob; may be given several times")
    parser.add_argument("--prompts", default="all_tasks", help="P(X): all_tasks, a task, model, or a file of texts")
    parser.add_argument("--cut", help="end, slot:NAME, slots, random, slots+random (default: by the prompts)")
    parser.add_argument("--out", required=True, help="folder to write the generator to")
    parser.add_argument("--run-dir", help="folder of checkpoints and curves (default: OUT.run)")
    parser.add_argument("--no-resume", action="store_true", help="begin again although there is a checkpoint")
    settings = parser.add_argument_group(
        "training", "fields of TrainingConfig; what is not given has its default there"
    )
    settings.add_argument("--steps", type=int, help="optimizer steps")
    settings.add_argument("--prior-steps", type=int, help="steps that teach the backbone P(X) first")
    settings.add_argument("--batch-size", type=int, help="inputs a step")
    settings.add_argument("--micro-batch", type=int, help="most rows at once in a process (default: by the vocabulary)")
    settings.add_argument("--gradient-checkpointing", action="store_true", default=None, help="less memory, more time")
    settings.add_argument("--optimizer", choices=("adamw", "muon"))
    settings.add_argument("--lr", type=float, help="peak learning rate")
    settings.add_argument("--warmup", type=int, help="steps until the peak")
    settings.add_argument("--backbone", help="target (a copy of it), small, or a folder or Hub name")
    settings.add_argument("--trainable", choices=("full", "lora", "frozen"))
    settings.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"))
    settings.add_argument("--metric", help="of the kernel: scaled, per_coordinate, whitened or cosine")
    settings.add_argument("--shape", help="of the kernel: gaussian or ball")
    settings.add_argument("--held-out", type=int, help="inputs behind the curves")
    settings.add_argument("--statistics-samples", type=int, help="inputs behind each site's moments")
    settings.add_argument("--eval-every", type=int, help="steps between points of the curves")
    settings.add_argument("--save-every", type=int, help="steps between checkpoints")


if __name__ == "__main__":
    sys.exit(main())
