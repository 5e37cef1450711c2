"""Tiny random models of every supported architecture, built from configurations: nothing is downloaded.

All weights, norms and biases included, are drawn at random, so that no part is accidentally zero or the
identity. The tokenizer is word-level with BOS, over the words below.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from _requirements import pytest_collection_modifyitems, pytest_terminal_summary  # noqa: F401

from inversescope_nb.generator import Generator, TrainingConfig, train_generator
from inversescope_nb.models import LanguageModel, load_model
from inversescope_nb.prompts import PromptDistribution

_SENTENCES = """the cat and a dog is in the park . John gave the book to Mary , he and she
what is 1 + 2 = 3 of Paris France"""
WORDS = list(dict.fromkeys(_SENTENCES.split()))
SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]
N_LAYERS, N_HEADS, D_MODEL, N_CTX = 2, 4, 24, 32
ARCHITECTURES = (
    "gpt2",
    "gpt_neox",
    "gpt_neox_sequential",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "phi3",
    "opt",
)
GROUPED_QUERIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3")
POST_NORM = ("gemma2", "gemma3")


def word_tokenizer(*, bos: bool = True, pad: bool = True, eos_at_end: bool = False):
    """A word-level tokenizer over WORDS."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "<unk>", "eos_token": "<eos>"}
    if bos:
        template = "<bos> $A <eos>" if eos_at_end else "<bos> $A"
        backend.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<bos>", 1), ("<eos>", 2)]
        )
        special["bos_token"] = "<bos>"
    if pad:
        special["pad_token"] = "<pad>"
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def tiny_config(architecture: str, n_layers: int = N_LAYERS):
    """Configuration of a two-layer model; widths of heads differ from d_model / n_heads where they may."""
    import transformers as tf

    common = {
        "vocab_size": len(SPECIAL) + len(WORDS),
        "hidden_size": D_MODEL,
        "num_hidden_layers": n_layers,
        "num_attention_heads": N_HEADS,
        "max_position_embeddings": N_CTX,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    gated = common | {"intermediate_size": 40, "num_key_value_heads": 2}
    wide = gated | {"head_dim": 8}
    match architecture:
        case "gpt2":
            return tf.GPT2Config(**common)
        case "gpt_neox":
            return tf.GPTNeoXConfig(**common, intermediate_size=40, use_parallel_residual=True)
        case "gpt_neox_sequential":
            return tf.GPTNeoXConfig(**common, intermediate_size=40, use_parallel_residual=False)
        case "llama":
            return tf.LlamaConfig(**gated)
        case "mistral":
            return tf.MistralConfig(**gated, sliding_window=4)
        case "qwen2":
            return tf.Qwen2Config(**gated)
        case "qwen3":
            return tf.Qwen3Config(**wide)
        case "gemma2":
            return tf.Gemma2Config(**wide, sliding_window=4, query_pre_attn_scalar=8)
        case "gemma3":
            return tf.Gemma3TextConfig(**wide, sliding_window=4, query_pre_attn_scalar=8)
        case "phi3":
            return tf.Phi3Config(**gated)
        case "opt":
            return tf.OPTConfig(**common, ffn_dim=40, word_embed_proj_dim=D_MODEL)
    raise ValueError(architecture)


def tiny_model(architecture: str, *, seed: int = 0, n_layers: int = N_LAYERS):
    """A Hugging Face model with random weights everywhere."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(tiny_config(architecture, n_layers))
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(scope="session", params=ARCHITECTURES)
def any_lm(request) -> LanguageModel:
    """Each supported architecture in turn; do not change it."""
    lm = load_model((tiny_model(request.param), word_tokenizer()))
    lm.architecture_name = request.param
    return lm


@pytest.fixture(scope="session")
def lm() -> LanguageModel:
    """One small Llama, for tests that are not about architectures; do not change it."""
    return load_model((tiny_model("llama"), word_tokenizer()))


@pytest.fixture(scope="session")
def gifts() -> PromptDistribution:
    """Who gave what to whom: a small P(X) that the small Llama can write."""
    texts = [f"{a} gave the {b} to {c}" for a in ("John", "Mary") for b in ("book", "cat") for c in ("Paris", "France")]
    return PromptDistribution.from_texts(texts, name="gifts", cut="end")


@pytest.fixture(scope="session")
def gifts_generator(lm, gifts) -> Generator:
    """A generator of the small Llama that has learned a little; do not change it."""
    config = TrainingConfig(
        steps=150,
        batch_size=32,
        lr=3e-3,
        backbone="small",
        width=16,
        eval_every=100,
        statistics_samples=64,
        held_out=16,
    )
    return train_generator(lm, ["blocks.0.hook_resid_post"], gifts, config=config, progress=False)


@pytest.fixture(scope="session")
def third_party() -> Path:
    """Where models lie that this project did not make."""
    place = os.environ.get("ISN_THIRD_PARTY_MODELS")
    if not place:
        pytest.skip("ISN_THIRD_PARTY_MODELS is not set")
    return Path(place)


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 64 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture
def limit_of_files():
    """Files may not become longer than so many bytes (None: as long as before): to whoever writes, the disk is full."""
    resource, signal = pytest.importorskip("resource"), pytest.importorskip("signal")  # not on Windows
    was, before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield limit
    limit(None)
    signal.signal(signal.SIGXFSZ, was)
