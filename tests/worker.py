"""One process of a training, started by test_distributed.py: ``python worker.py ARGUMENTS.json``.

The arguments: ``config`` (fields of TrainingConfig), ``out`` (a folder), ``run_dir``, ``dies`` ({"rank", "step"}: which
process is killed behind which step), ``fsdp`` and ``zero`` (whether weights, or moments, are split) and ``written``
(whether the inputs are what the model writes). Rank 0 leaves ``history.json`` and ``weights.safetensors`` in `out`;
each one leaves ``rank_R.json``: how many inputs it ran the target on, and how many it wrote.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path

from conftest import tiny_model, word_tokenizer

from inversescope_nb import _files
from inversescope_nb.generator import TrainingConfig, examples, processes, train_generator, training
from inversescope_nb.model_prompts import ModelPrompts
from inversescope_nb.models import load_model
from inversescope_nb.prompts import PromptDistribution

SITES = ["blocks.0.hook_resid_post", "blocks.1.attn.hook_z.2"]
TEXTS = ["the cat is in the park", "John gave the book to Mary", "the dog", "a dog is in the park .", "he is in Paris"]


def split_weights(lm, config):
    """accelerate's own, told to prepare models by FSDP2, which by itself it does on GPUs only."""
    from accelerate import FullyShardedDataParallelPlugin, PartialState
    from accelerate.utils import DistributedType

    accelerator = processes.make_accelerator(lm, config)
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False,
        state_dict_type="SHARDED_STATE_DICT",
    )  # fmt: skip
    accelerator.state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
    return accelerator


def speak_gloo() -> None:
    """Has accelerate give DeepSpeed a backend, which by itself it does on GPUs only."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)


def main() -> None:
    """Trains, and writes what came of it."""
    logging.basicConfig(level=logging.INFO)
    arguments = json.loads(Path(sys.argv[1]).read_text())
    out, dies = Path(arguments["out"]), arguments.get("dies")
    rank = int(os.environ.get("RANK", "0"))
    captured, read = [], examples.last_activations
    written, write = [], ModelPrompts._write

    def counted(lm, inputs, *others, **how):
        captured.append(len(inputs))
        return read(lm, inputs, *others, **how)

    def after(done: int, total: int, message: str) -> None:
        if dies and rank == dies["rank"] and done == dies["step"]:
            os.kill(os.getpid(), signal.SIGKILL)

    def noted(prompts, lm, lengths, *others):
        written.append(len(lengths))
        return write(prompts, lm, lengths, *others)

    examples.last_activations, ModelPrompts._write = counted, noted
    if arguments.get("fsdp"):
        training.make_accelerator = split_weights
    if arguments.get("zero"):
        speak_gloo()
    lm = load_model((tiny_model("llama"), word_tokenizer()))
    prompts = PromptDistribution.from_texts(TEXTS, cut="random")
    if arguments.get("written"):
        prompts = PromptDistribution.from_model(lm, max_tokens=9)
    config = TrainingConfig(**arguments["config"])
    gen = train_generator(lm, SITES, prompts, config=config, run_dir=arguments.get("run_dir"), on_progress=after)
    out.mkdir(parents=True, exist_ok=True)
    found = {"captured": captured, "written": sum(written), "processes": gen.run_card["processes"]}
    _files.write_json(out / f"rank_{rank}.json", found)
    if rank == 0:
        _files.write_tensors(out / "weights.safetensors", gen.state_dict())
        _files.write_json(out / "history.json", gen.run_card["history"])


if __name__ == "__main__":
    main()
