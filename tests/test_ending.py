"""The part of the end's logit that is learned from where inputs end."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from conftest import word_tokenizer
from small import byte_level_tokenizer, model_for

from inversescope_nb.errors import Cancelled
from inversescope_nb.generator import Generator, TrainingConfig, ending
from inversescope_nb.generator.building import build_generator
from inversescope_nb.prompts import PromptDistribution

TEXTS = ["the cat is in the park", "John gave the book to Mary", "the dog", "a dog is in the park .", "he is in Paris"]
SITE = "blocks.0.hook_resid_post"


def built(lm, prompts=None, **changes):
    config = TrainingConfig(**{"width": 16, "n_blocks": 1, "statistics_samples": 64, "held_out": 8} | changes)
    return build_generator(lm, SITE, prompts or PromptDistribution.from_texts(TEXTS, cut="random"), config)


def said(model, row: list[int]):
    """Log-probabilities behind each token."""
    return model(input_ids=torch.tensor([row])).logits[0].float().log_softmax(-1)


def end_costs(gen, lm, prompts) -> tuple[float, float]:
    """Nats that the ends of 40 inputs cost each, one input after the other: the target's, the generator's."""
    inputs, end = prompts.draw(40, lm, seed=9), gen.config.end_id
    front = [] if gen.config.has_bos else [gen.config.start_id]
    totals = [0.0, 0.0]
    for x in inputs:
        target = said(lm.model, [*front, *x])[:, end]
        with gen.controlled(gen.no_condition(1)):
            own = said(gen.backbone, [*front, *x])[:, end]
        for i, log_p in enumerate((target, own)):
            totals[i] -= float(log_p[-1]) + float(torch.log1p(-log_p[:-1].exp()).sum())
    return totals[0] / len(inputs), totals[1] / len(inputs)


@torch.no_grad()
@pytest.mark.parametrize("trainable", ["full", "frozen", "lora"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2"])
def test_ends_cost_less_and_all_else_stays_as_it_was(architecture, trainable) -> None:
    """Gemma 2's logits are capped behind the head; GPT-2's and Gemma's head is the embedding."""
    if trainable == "lora":
        pytest.importorskip("peft")
    lm = model_for(word_tokenizer(), architecture)
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    gen = built(lm, P, trainable=trainable)
    before, after = end_costs(gen, lm, P)
    assert after < 0.7 * before
    assert after < 3, "about what a flat guess among eight places costs"
    row, others = [lm.bos_id, 7, 9, 6], [i for i in range(lm.vocab_size) if i != lm.eos_id]
    was = said(lm.model, row)[:, others].log_softmax(-1)
    with gen.controlled(gen.no_condition(1)):
        torch.testing.assert_close(said(gen.backbone, row)[:, others].log_softmax(-1), was)


@torch.no_grad()
def test_a_start_that_is_the_end_stays_what_it_is_to_the_backbone() -> None:
    """GPT-2's: inputs begin with the same row of the same matrix."""
    lm = model_for(byte_level_tokenizer())
    P = PromptDistribution.from_texts(["Ann likes tea.", "Bob likes coffee"], cut="random")
    gen = built(lm, P)
    assert gen.config.start_id == gen.config.end_id
    before, after = end_costs(gen, lm, P)
    assert after < 0.7 * before
    assert torch.equal(gen.backbone.get_output_embeddings().weight, lm.model.get_output_embeddings().weight)


def test_the_fit_is_the_most_probable_row_by_hand() -> None:
    """Two kinds of states that end in a quarter and in half of the cases, where the log odds are -3 without the row."""
    hidden = 10 * torch.eye(2).repeat_interleave(4000, 0)
    ends = (torch.arange(8000) % 4 == 0) | ((torch.arange(8000) >= 4000) & (torch.arange(8000) % 4 == 1))
    found = ending._most_probable(hidden, torch.full((8000,), -3.0), ends, torch.zeros(2))
    assert found.tolist() == pytest.approx([(3 + math.log(1 / 3)) / 10, 0.3], abs=0.002)


def test_a_few_ends_do_not_make_a_row_unlike_all_others() -> None:
    """More coordinates than ends: without a prior, states could be told apart at will. Of none, it is the prior's."""
    rng = torch.Generator().manual_seed(0)
    hidden, centre = torch.randn(60, 80, generator=rng), 0.3 * torch.randn(80, generator=rng)
    ends = torch.rand(60, generator=rng) < 0.3
    found = ending._most_probable(hidden, torch.zeros(60), ends, centre)
    assert 0.05 < float((found - centre).square().mean().sqrt()) < 1
    nothing = ending._most_probable(torch.zeros(60, 80), torch.zeros(60), ends, centre)
    torch.testing.assert_close(nothing, centre)


def test_a_row_that_helps_nothing_is_not_kept(monkeypatch) -> None:
    lm = model_for(word_tokenizer())
    monkeypatch.setattr(ending, "_most_probable", lambda hidden, *others: torch.full((hidden.shape[1],), 50.0))
    assert not built(lm).ending.row.any()


def test_it_is_kept_in_the_folder_and_counts_in_samples(tmp_path) -> None:
    lm = model_for(word_tokenizer())
    gen = built(lm).eval()
    gen.save_pretrained(tmp_path / "gen")
    again = Generator.from_pretrained(tmp_path / "gen", target=lm)
    for name in ("row", "spread"):
        assert torch.equal(getattr(again.ending, name), getattr(gen.ending, name))
        assert getattr(again.ending, name).abs().sum() > 0
    drawn = again.sample(again.no_condition(1), 200, seed=0)
    assert drawn == gen.sample(gen.no_condition(1), 200, seed=0)
    with torch.no_grad():
        again.ending.row.zero_()
    without = again.sample(again.no_condition(1), 200, seed=0)
    assert sum(len(x) for x, _ in without) > 1.5 * sum(len(x) for x, _ in drawn)
    log_q = again.prior_log_probs([[1, 7, 9]])[0]
    assert float(log_q[-1]) < float(gen.prior_log_probs([[1, 7, 9]])[0][-1])


def test_a_backbone_from_scratch_needs_none() -> None:
    gen = built(model_for(word_tokenizer()), backbone="small")
    assert gen.ending is None
    assert not gen.config.ends


def test_it_can_be_stopped() -> None:
    gen, event = built(model_for(word_tokenizer())), threading.Event()
    event.set()
    with pytest.raises(Cancelled):
        ending.set_ending(gen, [[1, 5]], event)
