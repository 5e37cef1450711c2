"""What a step of `train_generator` costs beside plain training of the same language model, in one run, in turns.

    python benchmarks/bench_training.py [--target gpt2|packaged] [--compile] [--device cuda]

*Plain* trains a copy of the target on the same inputs, framed, in the same batches by length, with the same loss over
the same tokens, and clipping, by AdamW and by Muon. *Ours* trains a generator whose backbone is the target: reading the
activations of every input, noise, encoder, control layers, backbone, optimizer. At one thread, in CPU seconds, so that
what others take of a busy machine does not count (on a GPU in seconds, waited for); medians over rounds, in each of
which every one takes a step on the same inputs.
Targets are random models of GPT-2's width and vocabulary (of fewer layers, so that a step is affordable on one core),
and the packaged one. A second table holds the memory told from shapes against what a process took.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import altair as alt
import pandas as pd
import torch
import torch.nn.functional as F
from _results import name_argument, write
from bench_capture import through

import inversescope_nb as isn
from inversescope_nb.generator import examples, training
from inversescope_nb.generator.optimizers import make_optimizer
from inversescope_nb.generator.training import _Run

WORDS, ATLEAST, ATMOST = 50_000, 16, 32
"""Of the inputs of random words: how many words there are, and the fewest and most of them in one."""
WANTED = {"frozen": 0.85, "all": 0.7}
"""Examples a second, in units of plain training's."""
WAYS = {
    "frozen": {"trainable": "frozen", "optimizer": "adamw"},
    "all, AdamW": {"trainable": "full", "optimizer": "adamw"},
    "all, Muon": {"trainable": "full", "optimizer": "muon"},
}


def gpt2(n_layers: int, device: str = "cpu", *, width: int = 768) -> tuple[isn.LanguageModel, isn.PromptDistribution]:
    """A random GPT-2 of so many layers, and inputs of random words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = {"<end>": 0, "<unk>": 1} | {f"w{i}": i + 2 for i in range(WORDS)}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", bos_token="<end>", unk_token="<unk>")
    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(n_layer=n_layers, n_embd=width, n_head=width // 64, **ends)).eval().to(device)
    rng = torch.Generator().manual_seed(1)
    texts = []
    for _ in range(2048):
        n = int(torch.randint(ATLEAST, ATMOST + 1, (1,), generator=rng))
        texts.append(" ".join(f"w{i}" for i in torch.randint(WORDS, (n,), generator=rng).tolist()))
    return isn.load_model((model, tokenizer)), isn.PromptDistribution.from_texts(texts, cut="end")


def packaged(device: str = "cpu") -> tuple[isn.LanguageModel, isn.PromptDistribution]:
    """The packaged model and the prompts of all its tasks."""
    return isn.load_model(device_map=device), isn.tasks.get_prompts("all_tasks")


class Plain:
    """Plain training of a copy of the target."""

    def __init__(self, lm: isn.LanguageModel, run: _Run, optimizer: str = "adamw") -> None:
        self.run, self.model = run, copy.deepcopy(lm.model).float().eval()
        config = isn.TrainingConfig(optimizer=optimizer, lr=1e-4)
        self.optimizer = make_optimizer(torch.nn.ModuleDict({"backbone": self.model}), config)

    def step(self, inputs: list[list[int]]) -> None:
        """One step."""
        examples = [{"ids": x} for x in inputs]
        n_tokens = sum(len(x) + 1 - int(self.run.generator.config.has_bos) for x in inputs)
        for batch in self.run._split(examples, inputs, training.LEAST_BATCHES):
            ids, lengths = self.run.generator.rows([e["ids"] for e in batch])
            mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
            with self.run.accelerator.autocast():
                out = self.model(input_ids=ids[:, :-1], attention_mask=mask[:, :-1].long(), use_cache=False)
            nll = F.cross_entropy(out.logits.float().transpose(1, 2), ids[:, 1:], reduction="none")
            loss = (nll * mask[:, 1:]).sum() / n_tokens
            loss.backward()
            loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Ours:
    """Steps of `train_generator`, whose parts can be left out."""

    def __init__(self, lm, sites, prompts, batch: int, how: dict) -> None:
        config = isn.TrainingConfig(
            steps=10_000, batch_size=batch, statistics_samples=256, held_out=8, gap_inputs=0, **how
        )
        self.run, self.at = _Run(lm, sites, prompts, config, None, False), 0
        self.prompts, self.read = prompts, examples.last_activations

    def step(self, inputs: list[list[int]] | None, *, capture: bool = True) -> float:
        """CPU seconds of a step, on inputs that it draws itself (None) or given; with or without running the target."""
        self.run.prompts = self.prompts if inputs is None else _Given(inputs)
        if not capture:
            examples.last_activations = self._made_up
        try:
            return seconds_of(lambda: self.run.optimize(self.at))
        finally:
            examples.last_activations = self.read
            self.at += 1

    def _made_up(self, lm, inputs, sites, **_how) -> dict[str, torch.Tensor]:
        """Activations that cost nothing."""
        return {name: torch.ones(len(inputs), self.run.examples.statistics[name].width) for name in sites}


class _Given:
    """Inputs that were drawn before."""

    def __init__(self, inputs: list[list[int]]) -> None:
        self.inputs = inputs

    def draw(self, *_args, **_how) -> list[list[int]]:
        """Those inputs."""
        return self.inputs


def seconds_of(work: Callable[[], None]) -> float:
    """CPU seconds of one call; on a GPU seconds until it is through."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    through()
    began = clock()
    work()
    through()
    return clock() - began


def speed(target: str, args: argparse.Namespace) -> list[dict]:
    """Rows of one target: each way of training, with and without drawing, and without the capture."""
    lm, prompts = gpt2(args.layers, args.device) if target == "gpt2" else packaged(args.device)
    sites = lm.sites("blocks.*.hook_resid_post") if target == "gpt2" else lm.sites()
    batch, rounds = (args.batch, args.rounds) if target == "gpt2" else (256, 2 * args.rounds)
    if args.device != "cpu":
        batch = 4 * args.batch if target == "gpt2" else 4096
    ours = {way: Ours(lm, sites, prompts, batch, how | {"mixed_precision": args.mixed}) for way, how in WAYS.items()}
    run = next(iter(ours.values())).run
    plain = {name: Plain(lm, run, name.lower()) for name in ("AdamW", "Muon")}
    works: dict[tuple[str, str], Callable[[list[list[int]]], float]] = {}
    for way, one in ours.items():
        works[way, "drawn before"] = one.step
        if way != "all, Muon":
            works[way, "drawing included"] = lambda _inputs, one=one: one.step(None)
            works[way, "no capture"] = lambda inputs, one=one: one.step(inputs, capture=False)
    for name, one in plain.items():
        works[f"plain, {name}", "drawn before"] = lambda inputs, one=one: seconds_of(lambda: one.step(inputs))
    turns: dict[tuple[str, str], list[float]] = {key: [] for key in works}
    order = list(works)
    for round_ in range(rounds + 1):
        inputs = prompts.draw(batch, lm, seed=round_)
        order = [*order[1:], order[0]]  # what comes first finds other memory than what comes later
        for key in order:
            seconds = works[key](inputs)
            if round_:  # the first one warms up
                turns[key].append(seconds)
    usual, by_muon = (statistics.median(turns[f"plain, {name}", "drawn before"]) for name in plain)
    rows = []
    for (way, what), seconds in turns.items():
        wanted = WANTED.get(way.partition(",")[0]) if what != "no capture" else None
        median = statistics.median(seconds)
        rows.append(
            {"target": f"{target}, {lm.n_layers} layers of {lm.d_model}, {len(sites)} sites", "trained": way,
             "inputs": what, "examples_per_s": batch / median, "share_of_plain": usual / median, "wanted": wanted,
             "share_of_plain_muon": by_muon / median if "Muon" in way else None}
        )  # fmt: skip
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    return rows


MEMORY = """
import json, sys, psutil, torch
sys.path.insert(0, sys.argv[1])
from bench_training import *
from inversescope_nb.generator.memory import estimate_memory
how = json.loads(sys.argv[2])
lm, prompts = gpt2(int(sys.argv[3]))
sites = lm.sites("blocks.*.hook_resid_post")
config = isn.TrainingConfig(steps=3, batch_size=int(sys.argv[4]), statistics_samples=64, held_out=8, gap_inputs=0,
                            prior_steps=0, warmup=1, eval_every=3, **how)
told = estimate_memory(lm, sites, config, prompts.longest(lm))
_ = lm.activations(prompts.draw(2, lm, seed=0), sites)
before = psutil.Process().memory_info().rss
run = training._Run(lm, sites, prompts, config, None, False)
for step in range(3):
    run.optimize(step)
peak = training.peak_memory(torch.device("cpu"))[0] * 1e9
print(json.dumps([(told.total - told.target) / 1e9, (peak - before) / 1e9, told.total / 1e9]))
"""


GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Has glibc give back what is freed: tensors are to be measured, not what an allocator holds for later."""


def memory(args: argparse.Namespace) -> list[dict]:
    """Gigabytes beside the target: told from shapes, and taken by a process of its own."""
    rows = []
    for name, how in {
        **WAYS, "frozen, checkpointed": WAYS["frozen"] | {"gradient_checkpointing": True},
        "all, checkpointed": WAYS["all, AdamW"] | {"gradient_checkpointing": True},
    }.items():  # fmt: skip
        command = [sys.executable, "-c", MEMORY, sys.path[0], json.dumps(how), str(args.layers), str(args.batch)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | GIVES_BACK)
        told, took, _ = json.loads(done.stdout.splitlines()[-1])
        rows.append({"trained": name, "told_gb": told, "took_gb": took, "took_of_told": took / told})
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    return rows


def compiled(args: argparse.Namespace) -> list[dict]:
    """Whether `torch.compile` pays: plain steps of variable shapes, once compiled for all of them."""
    lm, prompts = gpt2(args.layers, args.device)
    one = Ours(lm, lm.sites("blocks.0.hook_resid_post"), prompts, args.batch, WAYS["all, AdamW"])
    plain, faster = Plain(lm, one.run), Plain(lm, one.run)
    faster.model = torch.compile(faster.model, dynamic=True)
    began = time.perf_counter()
    for seed in (0, 1):  # other shapes
        faster.step(prompts.draw(args.batch, lm, seed=seed))
    first = time.perf_counter() - began
    times: dict[str, list[float]] = {"plain": [], "compiled": []}
    for round_ in range(args.rounds):
        inputs = prompts.draw(args.batch, lm, seed=2 + round_)
        times["plain"].append(seconds_of(lambda inputs=inputs: plain.step(inputs)))
        times["compiled"].append(seconds_of(lambda inputs=inputs: faster.step(inputs)))
    usual, fast = (statistics.median(times[name]) for name in ("plain", "compiled"))
    rows = [{"plain_s": usual, "compiled_s": fast, "speed_of_plain": usual / fast, "first_two_steps_s": first}]
    print(rows)
    return rows


def main() -> None:
    """Prints the tables, and writes them and a picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", choices=("gpt2", "packaged"), help="(default: both)")
    parser.add_argument("--layers", type=int, default=6, help="of the random GPT-2 (default: 6)")
    parser.add_argument("--batch", type=int, default=64, help="inputs a step on it (default: 64)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile as well")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--mixed", default="no", choices=("no", "bf16"), help="mixed precision, of both")
    name_argument(parser, "training")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for target in args.target or ("gpt2", "packaged") for row in speed(target, args)]
    tables = {"rows": pd.DataFrame(rows)}
    if not args.no_memory and args.device == "cpu":
        tables["memory"] = pd.DataFrame(memory(args))
    if args.compile:
        tables["compile"] = pd.DataFrame(compiled(args))
    base = alt.Chart(tables["rows"]).encode(y=alt.Y("trained:N", title=None, sort=None))
    bars = base.mark_bar().encode(x=alt.X("share_of_plain:Q", title="examples a second, plain training = 1"))
    ticks = base.mark_tick(color="black", thickness=2).encode(x="wanted:Q")
    chart = (bars + ticks).facet(row=alt.Row("inputs:N", title=None), column=alt.Column("target:N", title=None))
    write(args.name, tables, chart, arguments=vars(args), rounds=args.rounds)


if __name__ == "__main__":
    main()
