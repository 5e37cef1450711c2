"""What is different on a GPU, on a real one: skipped where there is none (`make bench-gpu` runs it)."""

from __future__ import annotations

import gc
import logging

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import GPT2Config, GPT2LMHeadModel

import inversescope_nb as isn
from inversescope_nb import _measuring
from inversescope_nb.generator.memory import estimate_memory

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
PROMPT, SITE = "4 3 7 + 5 6 8 =", "blocks.1.hook_resid_post"
HOW = {"site": SITE, "bandwidth": 0.3, "n": 512, "seed": 2, "progress": False}
FEW = {"batch_size": 64, "statistics_samples": 512, "held_out": 16, "gap_inputs": 0, "eval_every": 10}


@pytest.fixture(scope="module")
def lm():
    return isn.load_model(device_map="cuda")


@pytest.fixture(scope="module")
def gen():
    return isn.load_generator(device="cuda")


@pytest.mark.parametrize(("dtype", "near"), [("float32", 2e-3), ("bfloat16", 0.25)])
def test_activations_are_those_of_a_cpu(dtype, near) -> None:
    lm, beside = (isn.load_model(device_map=device, dtype=dtype) for device in ("cuda", "cpu"))
    inputs = isn.tasks.get_prompts("all_tasks").draw(300, lm, seed=0)
    sites = lm.sites() + lm.sites(kinds=["result"])
    there, here = lm.activations(inputs, sites, batch_size=100), beside.activations(inputs, sites)
    for site in sites:
        assert there[site].device.type == "cpu"
        assert there[site].dtype == torch.float32
        torch.testing.assert_close(there[site], here[site], rtol=near, atol=near)


def test_what_is_no_number_is_found_there(lm) -> None:
    weight = lm.model.get_submodule("model.layers.2.mlp.down_proj").weight
    kept = weight.data.clone()
    weight.data[0, 0] = torch.nan
    try:
        with pytest.raises(isn.errors.NotFinite, match=r"blocks\.2"):
            lm.activations([PROMPT], lm.sites("*resid_post"))
    finally:
        weight.data.copy_(kept)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_inversion_is_that_of_a_cpu_but_for_its_draws(lm, device) -> None:
    """The generator may lie elsewhere than its target."""
    found = isn.invert(lm, isn.load_generator(device=device), PROMPT, **HOW)
    beside = isn.invert(isn.load_model(device_map="cpu"), isn.load_generator(), PROMPT, **HOW)
    assert found.verdict == beside.verdict
    assert found.ess == pytest.approx(beside.ess, rel=0.35)
    assert found.bits == pytest.approx(beside.bits, abs=0.6)
    assert found.picked_log_q == pytest.approx(beside.picked_log_q, abs=0.02)


def test_what_is_measured_while_the_next_batch_is_sampled_is_the_same(lm, gen, monkeypatch) -> None:
    together = isn.invert(lm, gen, PROMPT, **HOW)
    monkeypatch.setattr(_measuring, "_overlaps", lambda lm: False)
    by_turns = isn.invert(lm, gen, PROMPT, **HOW)
    assert together.samples == by_turns.samples
    np.testing.assert_allclose(together.d, by_turns.d, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(together.log_q, by_turns.log_q, rtol=1e-3, atol=1e-2)


def test_a_batch_that_does_not_fit_is_halved(caplog) -> None:
    """32 GB of attention's inputs at once, on a card that other things have filled but for 6."""
    torch.manual_seed(0)
    small = isn.load_model()
    with torch.device("cuda"):
        config = GPT2Config(n_layer=2, n_embd=1024, n_head=8, vocab_size=small.vocab_size, n_positions=512)
        lm = isn.load_model((GPT2LMHeadModel(config).eval(), small.tokenizer))
    rows = torch.randint(5, 40, (6_000, 400)).tolist()
    few = lm.activations(rows[:64], "resid_post.1")
    gc.collect()
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated()
    filler = torch.empty(torch.cuda.mem_get_info()[0] - 6 * 10**9, dtype=torch.uint8, device="cuda")
    with caplog.at_level(logging.WARNING):
        found = lm.activations(rows, "resid_post.1", batch_size=6_000)
    del filler
    gc.collect()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() <= held + 10**6, "the batch that failed is not held"
    assert "smaller batches" in caplog.text
    (site,) = found
    torch.testing.assert_close(found[site][:64], few[site], rtol=1e-3, atol=1e-3)
    assert torch.isfinite(found[site]).all()


@pytest.mark.parametrize("how", [{}, {"trainable": "frozen"}, {"mixed_precision": "bf16"}, {"optimizer": "adamw"}])
def test_training_learns_and_takes_the_memory_that_was_told(lm, how) -> None:
    AcceleratorState._reset_state(True)  # one process has one precision
    config = isn.TrainingConfig(steps=30, warmup=3, **FEW, **how)
    prompts = isn.tasks.get_prompts("addition")
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    gen = isn.train_generator(lm, [SITE], prompts, config=config, progress=False)
    first, last = (gen.run_card["history"][i]["nll"] for i in (0, -1))
    assert last < first
    assert gen.run_card["device"].startswith("cuda")
    told = estimate_memory(lm, [SITE], config, prompts.longest(lm)).total
    assert torch.cuda.max_memory_allocated() - before < 3 * told + 2e8


def test_samples_of_a_model_are_written_there(lm) -> None:
    prompts = isn.PromptDistribution.from_model(lm, max_tokens=12)
    inputs = prompts.draw(5_000, lm, seed=0)
    assert inputs == prompts.draw(5_000, lm, seed=0)
    assert {len(x) for x in inputs} == set(range(2, 14))
    beside = prompts.log_probs(inputs[:200], isn.load_model(device_map="cpu"))
    np.testing.assert_allclose(prompts.log_probs(inputs[:200], lm), beside, rtol=1e-3, atol=1e-2)


def test_a_generator_made_there_is_good_anywhere(lm, tmp_path) -> None:
    gen = isn.train_generator(lm, [SITE], isn.tasks.get_prompts("addition"),
                              config=isn.TrainingConfig(steps=3, warmup=1, **FEW), progress=False)  # fmt: skip
    gen.save_pretrained(tmp_path)
    here = isn.load_model(device_map="cpu")
    again = isn.Generator.from_pretrained(tmp_path, target=here)  # runs its self-test
    assert isn.Generator.from_pretrained(tmp_path, target=lm).device == lm.device
    assert isn.invert(here, again, PROMPT, site=SITE, n=16, progress=False).n == 16
