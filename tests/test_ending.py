"""The end's row of a backbone's head, set by where inputs end."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import word_tokenizer
from small import byte_level_tokenizer, model_for

from inversescope_nb.errors import Cancelled
from inversescope_nb.generator import TrainingConfig, ending
from inversescope_nb.generator.building import build_generator
from inversescope_nb.prompts import PromptDistribution

TEXTS = ["the cat is in the park", "John gave the book to Mary", "the dog", "a dog is in the park .", "he is in Paris"]
SITE = "blocks.0.hook_resid_post"


def built(lm, prompts=None, **changes):
    config = TrainingConfig(**{"width": 16, "n_blocks": 1, "statistics_samples": 64, "held_out": 8} | changes)
    return build_generator(lm, SITE, prompts or PromptDistribution.from_texts(TEXTS, cut="random"), config)


def end_costs(backbone, lm, prompts, gen) -> float:
    """Nats that the ends of 40 inputs cost each, through the whole network, one input after the other."""
    total = 0.0
    inputs = prompts.draw(40, lm, seed=9)
    front = [] if gen.config.has_bos else [gen.config.start_id]
    for x in inputs:
        log_p = backbone(input_ids=torch.tensor([[*front, *x]])).logits[0].log_softmax(-1)[:, gen.config.end_id]
        total -= float(log_p[-1]) + float(torch.log1p(-log_p[:-1].exp()).sum())
    return total / len(inputs)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2"])
def test_ends_cost_less_and_all_else_stays_as_it_was(architecture) -> None:
    """Gemma 2's logits are capped behind the head, and its head is the embedding."""
    lm = model_for(word_tokenizer(), architecture)
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    gen = built(lm, P)
    before, after = end_costs(lm.model, lm, P, gen), end_costs(gen.backbone, lm, P, gen)
    assert after < 0.7 * before
    assert after < 3, "as many as a flat guess at eight places costs, about"
    ids, others = torch.tensor([[lm.bos_id, 7, 9, 6]]), [i for i in range(lm.vocab_size) if i != lm.eos_id]
    said, was = (m(input_ids=ids).logits[..., others].log_softmax(-1) for m in (gen.backbone, lm.model))
    torch.testing.assert_close(said, was)


def test_the_fit_is_the_most_probable_row_by_hand() -> None:
    """Two kinds of hidden states that end in a quarter and in half of the cases; other tokens weigh e^3."""
    hidden = torch.eye(2).repeat_interleave(4000, 0)
    ends = (torch.arange(8000) % 4 == 0) | ((torch.arange(8000) >= 4000) & (torch.arange(8000) % 4 == 1))
    others = torch.full((8000,), 3.0)
    rows = torch.tensor([[5.0, 5.0], [-5.0, -5.0]])
    found = ending._fitted(hidden, torch.zeros(8000), others, ends, rows)
    assert found.tolist() == pytest.approx([3 + math.log(1 / 3), 3.0], abs=0.01)
    shifted = ending._fitted(hidden, torch.full((8000,), -1.0), others, ends, rows)
    assert shifted.tolist() == pytest.approx([4 + math.log(1 / 3), 4.0], abs=0.01), "what is added behind the head"


def test_a_few_ends_do_not_make_a_row_unlike_all_others() -> None:
    """More coordinates than ends: without a prior, states could be told apart at will."""
    rng = torch.Generator().manual_seed(0)
    hidden, rows = torch.randn(60, 40, generator=rng), 0.3 * torch.randn(50, 40, generator=rng)
    ends = torch.rand(60, generator=rng) < 0.3
    found = ending._fitted(hidden, torch.zeros(60), torch.zeros(60), ends, rows)
    assert 0.05 < float((found - rows.mean(0)).square().mean().sqrt()) < 0.45


def test_a_row_that_helps_nothing_is_not_kept(monkeypatch) -> None:
    lm = model_for(word_tokenizer())
    monkeypatch.setattr(ending, "_fitted", lambda hidden, *others: torch.full((hidden.shape[1],), 50.0))
    gen = built(lm)
    assert torch.equal(gen.backbone.get_output_embeddings().weight, lm.model.get_output_embeddings().weight)


@pytest.mark.parametrize("trainable", ["frozen", "lora"])
def test_a_backbone_that_does_not_learn_is_left_alone(trainable) -> None:
    pytest.importorskip("peft")
    lm = model_for(word_tokenizer())
    gen = built(lm, trainable=trainable)
    assert not ending.can_be_set(gen)
    assert torch.equal(gen.backbone.get_output_embeddings().weight, lm.model.get_output_embeddings().weight)


def test_a_start_that_is_the_end_keeps_its_row() -> None:
    """GPT-2's: inputs begin with the same row of the same matrix."""
    lm = model_for(byte_level_tokenizer())
    gen = built(lm, PromptDistribution.from_texts(["Ann likes tea.", "Bob likes coffee"], cut="random"))
    assert gen.config.start_id == gen.config.end_id
    assert torch.equal(gen.backbone.get_output_embeddings().weight, lm.model.get_output_embeddings().weight)
    untied = model_for(byte_level_tokenizer(), tie_word_embeddings=False)
    gen = built(untied, PromptDistribution.from_texts(["Ann likes tea.", "Bob likes coffee"], cut="random"))
    head, was = gen.backbone.get_output_embeddings().weight, untied.model.get_output_embeddings().weight
    changed = (head != was).any(1).nonzero()[:, 0].tolist()
    assert changed == [gen.config.end_id]
    embedding = gen.backbone.get_input_embeddings().weight
    assert torch.equal(embedding, untied.model.get_input_embeddings().weight)


def test_it_can_be_stopped(monkeypatch) -> None:
    import threading

    lm, event = model_for(word_tokenizer()), threading.Event()
    gen = built(lm, backbone="small")
    event.set()
    with pytest.raises(Cancelled):
        ending.set_end(gen, [[1, 5]], event)
