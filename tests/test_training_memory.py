"""Memory of a training: told from shapes, saved by settings that change no gradient; and training in less precision."""

from __future__ import annotations

import itertools
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers as tf
from conftest import ARCHITECTURES, tiny_model
from small import word_tokenizer
from test_training import SITES, TINY, config, prompts, run

from inversescope_nb.errors import InvalidArgument
from inversescope_nb.generator import TrainingConfig, memory, train_generator
from inversescope_nb.generator.building import build_generator
from inversescope_nb.generator.memory import estimate_memory, peak_memory
from inversescope_nb.models import load_model

CARD = 80e9
"""Bytes of one card."""
LLAMA_8B = {
    "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131_072,
    "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
"""Llama-3.1-8B's shape."""


@pytest.fixture(scope="module")
def large():
    """A target of that shape, without weights."""
    with torch.device("meta"):
        model = tf.AutoModelForCausalLM.from_config(tf.LlamaConfig(**LLAMA_8B), dtype=torch.bfloat16)
    return load_model((model, word_tokenizer()), check=False)


# -- told from shapes ------------------------------------------------------------------------------


def test_adapters_of_an_8b_target_fit_one_card(large) -> None:
    n = sum(p.numel() for p in large.model.parameters())
    assert 8.0e9 < n < 8.1e9
    every = large.sites("blocks.*.hook_resid_post")
    frozen = estimate_memory(large, every, TrainingConfig(trainable="frozen"), 512)
    assert frozen.target == pytest.approx(2 * n, rel=1e-3)
    assert frozen.backbone == 0, "the target's own weights"
    assert frozen.total < CARD
    full = estimate_memory(large, every, TrainingConfig(optimizer="adamw"), 512)
    assert full.backbone >= 4 * n, "a copy in float32"
    assert full.total > CARD, "all of it does not fit"
    again = estimate_memory(large, every, TrainingConfig(trainable="frozen", gradient_checkpointing=True), 512)
    assert again.kept < frozen.kept / 4


@pytest.mark.parametrize("trainable", ["full", "frozen"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_estimate_counts_what_is_there(architecture, trainable) -> None:
    """Weights, gradients and moments byte by byte; what a forward pass keeps, held against a real one's."""
    lm = load_model((tiny_model(architecture), word_tokenizer()))
    setting = config(trainable=trainable, optimizer="adamw", batch_size=24)
    found = estimate_memory(lm, SITES, setting, prompts().longest(lm))
    one = run(lm, trainable=trainable, optimizer="adamw", batch_size=24)
    size = {id(t): t.nbytes for t in itertools.chain(one.generator.parameters(), one.generator.buffers())}
    assert found.backbone + found.adapters == sum(size.values())
    sizes = [p.nbytes for _, p in one.trained]
    assert found.gradients == sum(sizes) + 2 * max(sizes)
    one.optimize(0)
    moments = [t for state in one.optimizer.state.values() for k, t in state.items() if k.startswith("exp_avg")]
    assert found.optimizer >= sum(t.nbytes for t in moments)
    kept = []

    def note(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            kept.append(tensor)
        return tensor

    length, rows = prompts().longest(lm), 24 // 3
    ids = torch.ones(rows, length + 1, dtype=torch.long)
    u = torch.zeros(rows, one.examples.statistics[SITES[0]].width)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        log_q = one.generator(ids, torch.full((rows,), length + 1), [(0, u)], torch.full((rows,), 0.1),
                              torch.ones(rows, dtype=torch.bool))  # fmt: skip
    parts = (one.generator, one.generator.backbone)
    weights = {t.untyped_storage().data_ptr() for m in parts for t in itertools.chain(m.parameters(), m.buffers())}
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    real = sum(size for at, size in storages.items() if at not in weights)
    assert log_q.requires_grad
    assert found.kept == pytest.approx(real, rel=0.15)


def test_what_it_needs_is_said_before_and_what_it_took_behind(lm, caplog, monkeypatch) -> None:
    with caplog.at_level(logging.INFO, logger="inversescope_nb"):
        gen = train_generator(lm, SITES, prompts(), config=config(steps=2))
    said = [r for r in caplog.records if "training needs about" in r.getMessage()]
    assert len(said) == 1
    assert said[0].levelno == logging.INFO
    assert gen.run_card["peak_memory_of"] == "the process"
    assert gen.run_card["peak_memory_gb"] > gen.run_card["estimated_memory_gb"] > 0
    caplog.clear()
    monkeypatch.setattr(memory, "free_memory", lambda device: 0.0)
    train_generator(lm, SITES, prompts(), config=config(steps=1))
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 1
    assert "micro_batch" in warned[0]


# -- settings that change no gradient --------------------------------------------------------------


def gradients(lm, **changes) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of a first step with open gates."""
    one = run(lm, drop_condition=0.4, **changes)
    for control in one.generator.controls:
        control.gate.data += 0.05
    found = {}
    one.optimizer.step = lambda: found.update({name: p.grad.clone() for name, p in one.trained if p.grad is not None})
    return one.optimize(0), found


@pytest.mark.parametrize("trainable", ["full", "frozen"])
@pytest.mark.parametrize("control", ["gated", "attention"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_checkpointing_changes_no_gradient(architecture, control, trainable) -> None:
    lm = load_model((tiny_model(architecture), word_tokenizer()))
    changes = {"trainable": trainable, "control": control}
    loss, plain = gradients(lm, **changes)
    again, found = gradients(lm, gradient_checkpointing=True, **changes)
    assert again == pytest.approx(loss, rel=1e-6)
    assert found.keys() == plain.keys()
    assert any(g.abs().max() > 0 for name, g in found.items() if name.startswith("encoder."))
    for name, gradient in plain.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


def test_gradient_checkpointing_keeps_less(lm) -> None:
    kept = {}
    for again in (False, True):
        one = run(lm, gradient_checkpointing=again)
        held = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, held=held: held.append(t.nbytes) or t, lambda t: t):
            one.generator.train()(
                torch.ones(4, 9, dtype=torch.long), torch.full((4,), 9),
                [(0, torch.zeros(4, one.examples.statistics[SITES[0]].width))], torch.full((4,), 0.1),
            )  # fmt: skip
        kept[again] = sum(held)
    assert kept[True] < kept[False] / 3
    assert not any("forward" in block.__dict__ for block in one.generator.architecture.blocks), "gone afterwards"


def test_rows_at_once_change_no_gradient(lm) -> None:
    seen, (loss, plain) = [], gradients(lm)
    one = run(lm, micro_batch=5)
    one.generator.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["ids"])), with_kwargs=True
    )
    one.optimize(0)
    assert max(seen) <= 5
    assert sum(seen) == TINY["batch_size"]
    again, found = gradients(lm, micro_batch=5)
    assert again == pytest.approx(loss, rel=1e-5)
    for name, gradient in plain.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-3)


def test_a_run_may_be_resumed_with_less_memory(lm, tmp_path) -> None:
    train_generator(lm, SITES, prompts(), config=config(steps=6), run_dir=tmp_path)
    for changes in ({"micro_batch": 2}, {"gradient_checkpointing": True}):
        assert run(lm, run_dir=tmp_path, **changes).step == 6


@pytest.mark.parametrize("wrong", [{"micro_batch": 0}, {"micro_batch": 2.0}, {"gradient_checkpointing": 1}])
def test_settings_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        config(**wrong)


# -- precision -------------------------------------------------------------------------------------


def test_adapters_learn_on_a_target_in_bf16() -> None:
    """They are float32 themselves; nothing of the frozen backbone is kept that its gradients would need."""
    lm = load_model((tiny_model("llama").to(torch.bfloat16), word_tokenizer()))
    setting = config(
        trainable="frozen", steps=60, batch_size=32, adapter_lr=1e-2, eval_every=60, bandwidths=(0.05, 0.2)
    )
    untrained = build_generator(lm, SITES, prompts(), setting)
    assert next(untrained.backbone.parameters()).dtype == torch.bfloat16
    assert {p.dtype for p in untrained.parameters()} == {torch.float32}
    gen = train_generator(lm, SITES, prompts(), config=setting)
    history = gen.run_card["history"]
    assert history[-1]["bits"] > 0.5, "nats saved by seeing the activation"
    assert all(p.grad is None and not p.requires_grad for p in gen.backbone.parameters())


CURVE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from test_training import *
setting = config(steps=30, batch_size=32, eval_every=5, optimizer="adamw", mixed_precision=sys.argv[2])
lm = load_model((tiny_model("llama"), word_tokenizer()))
gen = train_generator(lm, SITES, prompts(), config=setting, progress=False)
print(json.dumps([point["nll"] for point in gen.run_card["history"]]))
"""


def test_mixed_precision_learns_nearly_the_same_curve() -> None:
    """In processes of their own: accelerate fixes the precision once."""
    place = __file__.rpartition("/")[0]
    curves = [
        json.loads(subprocess.run([sys.executable, "-c", CURVE, place, precision], capture_output=True, text=True,
                                  check=True).stdout.splitlines()[-1])
        for precision in ("no", "bf16")
    ]  # fmt: skip
    full, half = curves
    assert half != full
    assert half == pytest.approx(full, rel=0.03)
    assert full[-1] < full[0] - 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux keeps this, others do not")
def test_the_memory_of_a_process_is_not_that_of_the_one_that_started_it():
    """getrusage() of a new process begins with what its parent held when it was forked."""
    large = bytearray(800 * 2**20)
    large[::4096] = b"x" * len(large[::4096])
    code = "import torch; from inversescope_nb.generator.memory import *; print(peak_memory(torch.device('cpu'))[0])"
    # a forked child that runs another program, as shells and launchers do
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, preexec_fn=int)
    own = peak_memory(torch.device("cpu"))[0]
    assert 0.1 < float(found.stdout) < own - 0.3
    assert own > 0.8
    del large
