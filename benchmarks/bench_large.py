"""What inverting a large target takes of one GPU: memory, and examples a second of training adapters alone.

    python benchmarks/bench_large.py          # a GPU of 80 GB; without one, what is told from shapes alone

Targets have the shapes of Llama 3.2 1B and 3B, Llama 3.1 8B and 70B (their model cards'), random weights in bf16, and a
vocabulary of as many made-up words. The generator's backbone is the frozen target itself, so that only its site
encoder and control layers are trained, by all defaults. Of the 70B, whose weights do not fit, 8 and 16 of the 80 blocks
are run: what a block takes is the difference of the two, and the whole is computed from it. Memory is the most that
tensors took at a time, weights counted, beside what :func:`estimate_memory` tells from shapes. Operations are those of
the target's matrix products: two a parameter and token for a pass, as many for the gradients that go back through it.
"""

from __future__ import annotations

import argparse
import gc
import statistics

import pandas as pd
import torch
from _results import name_argument, write
from bench_sampling import seconds
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import inversescope_nb as isn
from inversescope_nb.architectures import candidates
from inversescope_nb.generator.memory import estimate_memory
from inversescope_nb.generator.training import _Run
from inversescope_nb.models import LanguageModel

VOCABULARY = 128_256
SHAPES = {  # width, hidden width of the MLP, blocks, heads, heads of keys and values, whether embeddings are tied
    "Llama 3.2 1B": (2048, 8192, 16, 32, 8, True),
    "Llama 3.2 3B": (3072, 8192, 28, 24, 8, True),
    "Llama 3.1 8B": (4096, 14336, 32, 32, 8, False),
    "Llama 3.1 70B": (8192, 28672, 80, 64, 8, False),
}
CASES = [  # target, blocks that are run, sites
    ("Llama 3.2 1B", 16, "one"),
    ("Llama 3.2 3B", 28, "one"),
    ("Llama 3.1 8B", 32, "one"),
    ("Llama 3.1 8B", 32, "all"),
    ("Llama 3.1 70B", 8, "one"),
    ("Llama 3.1 70B", 16, "one"),
]
TOKENS = 32
CARD_GB = 80


def tokenizer() -> PreTrainedTokenizerFast:
    """As many words as there are tokens."""
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    words = special + [f"w{i}" for i in range(len(special), VOCABULARY)]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {f"{kind}_token": word for kind, word in zip(("unk", "bos", "eos", "pad"), special, strict=True)}
    return PreTrainedTokenizerFast(tokenizer_object=core, **names)


def config_of(name: str, blocks: int) -> LlamaConfig:
    """Of a target of that shape."""
    width, hidden, _, heads, kv_heads, tied = SHAPES[name]
    return LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=hidden, num_hidden_layers=blocks,
        num_attention_heads=heads, num_key_value_heads=kv_heads, tie_word_embeddings=tied, rope_theta=500_000.0,
        max_position_embeddings=8192, bos_token_id=1, eos_token_id=2, pad_token_id=3,
    )  # fmt: skip


def model_on(device: str, name: str, blocks: int) -> LlamaForCausalLM:
    """A model of that shape with random weights, or with none (``"meta"``)."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return LlamaForCausalLM(config_of(name, blocks)).eval()
    finally:
        torch.set_default_dtype(usual)


def from_shapes(batch: int) -> pd.DataFrame:
    """Gigabytes told for every target, one site in the middle, by the generator's backbone."""
    rows = []
    for name, (_, _, blocks, *_) in SHAPES.items():
        model = model_on("meta", name, blocks)
        lm = LanguageModel(model, tokenizer(), next(candidates(model)), name=name)
        for backbone, how in {
            "the target, frozen": {"trainable": "frozen"},
            "2 layers of 512": {"backbone": "small", "small_width": 512},
        }.items():
            config = isn.TrainingConfig(batch_size=batch, **how)
            told = estimate_memory(lm, [f"blocks.{blocks // 2 - 1}.hook_resid_post"], config, TOKENS)
            rows.append({"target": name, "backbone": backbone, "told_gb": told.total / 1e9,
                         "target_gb": told.target / 1e9, "fits_80_gb": told.total / 1e9 < CARD_GB})  # fmt: skip
    return pd.DataFrame(rows)


def row(name: str, blocks: int, which: str, batch: int, rounds: int) -> dict[str, object]:
    """One target: memory told and taken, and what a step, a pass, and an inversion take."""
    torch.manual_seed(0)
    torch.cuda.reset_peak_memory_stats()
    lm = isn.load_model((model_on("cuda", name, blocks), tokenizer()))
    middle = f"blocks.{blocks // 2 - 1}.hook_resid_post"
    sites = [middle] if which == "one" else lm.sites("blocks.*.hook_resid_post")
    words = torch.randint(5, VOCABULARY, (512, TOKENS - 1))
    prompts = isn.PromptDistribution.from_texts([" ".join(f"w{i}" for i in r) for r in words.tolist()], cut="end")
    config = isn.TrainingConfig(
        trainable="frozen", batch_size=batch, steps=100, statistics_samples=256, held_out=8, gap_inputs=0
    )
    told = estimate_memory(lm, sites, config, TOKENS)
    run = _Run(lm, sites, prompts, config, None, False)
    run.optimize(0)
    step = statistics.median(seconds(lambda k=k: run.optimize(k))[0] for k in range(1, rounds + 1))
    ids = prompts.draw(batch, lm, seed=1)
    lm.activations(ids, middle)
    capture = statistics.median(seconds(lambda: lm.activations(ids, middle))[0] for _ in range(rounds))
    peak = torch.cuda.max_memory_allocated() / 1e9
    gen = run.finish()
    how = {"site": middle, "bandwidth": 0.3, "n": 64, "bank": 0, "prior": prompts, "progress": False}
    answers = [seconds(lambda seed=seed: isn.invert(lm, gen, ids[0], seed=seed, **how))[0] for seed in range(2)]
    parameters = sum(p.numel() for p in lm.model.parameters())
    looked_up = 0 if SHAPES[name][5] else VOCABULARY * lm.d_model
    flop = batch * TOKENS * (parameters - looked_up) * 5  # a pass of all blocks and back, another one of half of them
    return {
        "target": name, "blocks": blocks, "parameters_b": parameters / 1e9, "sites": len(sites), "batch": batch,
        "told_gb": told.total / 1e9, "peak_gb": peak, "fits_80_gb": peak < CARD_GB, "step_s": step,
        "examples_per_s": batch / step, "tflops": flop / step / 1e12,
        "captured_tokens_per_s": batch * TOKENS / capture, "inversion_of_64_s": min(answers),
        "adapters_m": sum(p.numel() for _, p in run.trained) / 1e6,
    }  # fmt: skip


def whole(frame: pd.DataFrame, name: str) -> dict[str, object]:
    """Numbers of all blocks of a target, from two runs with fewer of them: each is linear in their number."""
    few, more = (frame[(frame["target"] == name) & (frame["blocks"] == k)].iloc[0] for k in (8, 16))
    blocks = SHAPES[name][2]

    def at(value_of) -> float:
        return value_of(few) + (value_of(more) - value_of(few)) * (blocks - 8) / 8

    step = at(lambda r: r["step_s"])
    return {
        "target": f"{name}, computed", "blocks": blocks, "parameters_b": at(lambda r: r["parameters_b"]), "sites": 1,
        "batch": few["batch"], "told_gb": at(lambda r: r["told_gb"]), "peak_gb": at(lambda r: r["peak_gb"]),
        "fits_80_gb": at(lambda r: r["peak_gb"]) < CARD_GB, "step_s": step, "examples_per_s": few["batch"] / step,
        "captured_tokens_per_s": 1 / at(lambda r: 1 / r["captured_tokens_per_s"]),
        "inversion_of_64_s": at(lambda r: r["inversion_of_64_s"]), "adapters_m": at(lambda r: r["adapters_m"]),
    }  # fmt: skip


def main() -> None:
    """Prints the table, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=4)
    name_argument(parser, "large")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        shapes = from_shapes(args.batch)
        print(shapes.round(1).to_string(index=False), "\nSKIPPED: the rest, which needs a GPU")
        write(args.name, {"shapes": shapes}, arguments=vars(args), tokens=TOKENS)
        return
    rows = []
    for case in CASES:
        rows.append(row(*case, args.batch, args.rounds))
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
        gc.collect()
        torch.cuda.empty_cache()
    frame = pd.DataFrame(rows)
    frame = pd.concat([frame, pd.DataFrame([whole(frame, "Llama 3.1 70B")])], ignore_index=True)
    with pd.option_context("display.width", 250, "display.max_columns", None):
        print(frame.round(3).to_string(index=False))
    write(args.name, {"rows": frame}, arguments=vars(args), tokens=TOKENS)


if __name__ == "__main__":
    main()
