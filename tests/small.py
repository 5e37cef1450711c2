"""Tokenizers, models and helpers that several test modules share, beside those of conftest."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from conftest import tiny_config, tiny_model, word_tokenizer

from inversescope_nb.cuts import cut_weights, n_bos
from inversescope_nb.generator import Generator
from inversescope_nb.models import LanguageModel, load_model
from inversescope_nb.prompts import PromptDistribution

CORPUS = [
    "Ann likes tea.",
    "Bob likes black coffee .",
    "Anna, Ann and Bob gave the tea to New York",
    "New Yorker (Bob) 1732",
]


def byte_level_tokenizer(*, bos: str = "unused", vocab_size: int = 300):
    """A byte-level BPE like GPT-2's; `bos` is "none", "unused" (as in GPT-2) or "added" (as in Llama-3)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS * 3, trainer)
    if bos == "added":
        core.post_processor = processors.TemplateProcessing(single="<end> $A", special_tokens=[("<end>", 0)])
    special = {} if bos == "none" else {"bos_token": "<end>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", pad_token="<end>", **special)


def model_for(tokenizer, architecture: str = "gpt2", *, extra_vocab: int = 0, **changes) -> LanguageModel:
    """A tiny random model with a tokenizer's vocabulary."""
    from transformers import AutoModelForCausalLM

    config = tiny_config(architecture)
    special = {f"{n}_token_id": getattr(tokenizer, f"{n}_token_id") for n in ("bos", "eos", "pad")}
    for name, value in {"vocab_size": len(tokenizer) + extra_vocab, **special, **changes}.items():
        setattr(config, name, value)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return load_model((model.eval(), tokenizer))


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all weights and buffers."""
    return {name: copy.deepcopy(value) for name, value in model.state_dict().items()}


def same_weights(model: torch.nn.Module, before: dict[str, torch.Tensor]) -> bool:
    """Whether nothing changed, bit by bit."""
    now = model.state_dict()
    return now.keys() == before.keys() and all(torch.equal(now[name], before[name]) for name in now)


def check_against_enumeration(prompts: PromptDistribution, lm: LanguageModel) -> dict[tuple[int, ...], float]:
    """Holds log_prob of every input, and of its neighbours off the support, against the listing of them all.

    And the listing against one that writes every prompt and has the tokenizer split it.
    """
    listed = prompts.inputs(lm)
    slow, bos = dict.fromkeys(listed, 0.0), n_bos(lm)
    weights = getattr(prompts, "weights", (1.0,))
    for part, weight in zip(getattr(prompts, "parts", (prompts,)), weights, strict=True):
        for row, ends, p in PromptDistribution._rows(part, lm):
            for kept, share in cut_weights(part.cut, len(row) - bos, ends).items():
                slow[row[: kept + bos]] += weight * p * share
    np.testing.assert_allclose(list(slow.values()), list(listed.values()), rtol=1e-9)
    assert math.isclose(sum(listed.values()), 1.0, abs_tol=1e-9)
    found = prompts.log_probs(list(listed), lm)
    assert found is not None
    np.testing.assert_allclose(np.exp(found), list(listed.values()), rtol=1e-9)
    for ids in list(listed)[:50]:
        for other in (ids[:-1], (*ids[:-1], (ids[-1] + 1) % lm.vocab_size), (*ids, ids[-1])):
            expected = listed.get(other, 0.0)
            assert math.isclose(math.exp(prompts.log_prob(other, lm)), expected, rel_tol=1e-9), other
    return listed


def check_draws(inputs: Sequence[Sequence[int]], probabilities: dict[tuple[int, ...], float]) -> None:
    """A chi-square test at 1e-4 of draws against probabilities; rare inputs are counted together."""
    from scipy import stats

    n, counts = len(inputs), {}
    for x in map(tuple, inputs):
        assert x in probabilities, f"{x} was drawn and has no probability"
        counts[x] = counts.get(x, 0) + 1
    common = [x for x, p in probabilities.items() if p * n >= 5]
    rare = sum(p for x, p in probabilities.items() if p * n < 5) * n
    observed = [counts.get(x, 0) for x in common]
    expected = [probabilities[x] * n for x in common]
    if rare >= 5:
        observed.append(n - sum(observed))
        expected.append(rare)
    expected = np.array(expected) * sum(observed) / sum(expected)
    assert len(observed) > 1
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def open_gates(generator: Generator, *, seed: int = 0) -> Generator:
    """The generator with control layers that do something: gates, which begin at zero, at random values."""
    rng = torch.Generator().manual_seed(seed)
    for control in generator.controls:
        control.gate.data = 0.05 * torch.randn(control.gate.shape, generator=rng)
        control.null.data = 0.5 * torch.randn(control.null.shape, generator=rng)
    return generator.eval()


__all__ = [
    "byte_level_tokenizer",
    "check_against_enumeration",
    "check_draws",
    "model_for",
    "open_gates",
    "same_weights",
    "tiny_model",
    "weights_of",
    "word_tokenizer",
]
