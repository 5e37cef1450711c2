"""The end is a decision of its own."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from conftest import word_tokenizer
from small import byte_level_tokenizer, model_for, open_gates

from inversescope_nb.generator import Generator, TrainingConfig
from inversescope_nb.generator.building import build_generator
from inversescope_nb.generator.control import Condition
from inversescope_nb.models import load_model
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
def test_ends_are_as_likely_as_in_p_of_x_and_all_else_stays_as_it_was(architecture, trainable) -> None:
    """Before training; Gemma 2's logits are capped behind the head, GPT-2's and Gemma's head is the embedding."""
    if trainable == "lora":
        pytest.importorskip("peft")
    lm = model_for(word_tokenizer(), architecture)
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    gen = built(lm, P, trainable=trainable)
    inputs = P.draw(64, lm, seed=1)  # as many as its moments were taken from, by their seed
    tokens = sum(map(len, inputs))
    row, others = [lm.bos_id, 7, 9, 6], [i for i in range(lm.vocab_size) if i != lm.eos_id]
    with gen.controlled(gen.no_condition(1)):
        found = said(gen.backbone, row)
    assert found[:, lm.eos_id].exp().tolist() == pytest.approx([64 / tokens] * 4, rel=1e-4)
    torch.testing.assert_close(found[:, others].log_softmax(-1), said(lm.model, row)[:, others].log_softmax(-1))
    before, after = end_costs(gen, lm, P)
    assert after < min(before, 3), "3 is about what eight places cost"


@torch.no_grad()
def test_a_start_that_is_the_end_stays_what_it_is_to_the_backbone() -> None:
    """GPT-2's: inputs begin with the same row of the same matrix."""
    lm = model_for(byte_level_tokenizer())
    gen = built(lm, PromptDistribution.from_texts(["Ann likes tea.", "Bob likes coffee"], cut="random"))
    assert gen.config.start_id == gen.config.end_id
    ids = torch.tensor([[gen.config.start_id, 7, 9]])
    with gen.controlled(gen.no_condition(1)):
        own = gen.backbone(input_ids=ids, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(own, lm.model(input_ids=ids, output_hidden_states=True).hidden_states[-1])


def test_what_is_said_of_the_end_takes_nothing_from_the_gradient_of_the_rest() -> None:
    """By hand: -log q of a token is its share among the others, and that the input goes on; of the end, its odds."""
    lm = model_for(word_tokenizer())
    gen = built(lm)
    x = [lm.bos_id, 7, 9]
    ids, lengths = gen.rows([x])
    log_q = gen.token_log_probs(ids, lengths, gen.no_condition(1))[0]
    odds, plain = float(gen.ending.usual.detach()), said(gen.backbone, x).detach()
    rest = plain.index_fill(-1, torch.tensor([lm.eos_id]), -math.inf).log_softmax(-1)
    going, ending = -math.log1p(math.exp(odds)), -math.log1p(math.exp(-odds))
    by_hand = [float(rest[0, 7]) + going, float(rest[1, 9]) + going, ending]
    assert log_q.tolist() == pytest.approx(by_hand, abs=1e-5)
    (-log_q.sum()).backward()
    assert float(gen.ending.usual.grad) == pytest.approx(3 / (1 + math.exp(-odds)) - 1, abs=1e-5)


def test_its_condition_counts_and_a_dropped_one_is_none() -> None:
    lm = model_for(word_tokenizer())
    gen = built(lm).eval()
    with torch.no_grad():
        gen.ending.control.gate.fill_(1.0)
    u = torch.randn(2, lm.d_model, generator=torch.Generator().manual_seed(0))
    given = gen.condition_on(SITE, u, 0.1)
    ids, lengths = gen.rows([[lm.bos_id, 7], [lm.bos_id, 7]])
    seen = gen.token_log_probs(ids, lengths, given).detach()
    assert abs(float(seen[0, -1] - seen[1, -1])) > 1e-3
    dropped = gen.token_log_probs(ids, lengths, Condition(given.parts, torch.tensor([True, False]))).detach()
    none = gen.token_log_probs(ids, lengths, gen.no_condition(2)).detach()
    torch.testing.assert_close(dropped, torch.stack([seen[0], none[1]]))


@pytest.mark.parametrize("trainable", ["full", "frozen"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2"])
def test_what_is_scored_is_what_is_sampled(architecture, trainable) -> None:
    """Scores never hold the logits with the end in its place; values and gradients are those of their log-softmax."""
    lm = model_for(word_tokenizer(), architecture)
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    gen = open_gates(built(lm, P, trainable=trainable)).train()
    ids, lengths = gen.rows(P.draw(9, lm, seed=1))
    u, eps = torch.randn(9, lm.d_model, generator=torch.Generator().manual_seed(0)), torch.full((9,), 0.3)
    keep = torch.arange(9) % 3 > 0
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    found = {}
    for way in ("scored", "sampled"):
        gen.zero_grad(set_to_none=True)
        condition = gen.condition([(0, u)], eps, keep)
        if way == "scored":
            log_q = gen.token_log_probs(ids, lengths, condition)
        else:
            with gen.controlled(condition):
                logits = gen.backbone(input_ids=ids[:, :-1], attention_mask=mask[:, :-1].long()).logits
            log_q = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0] * mask[:, 1:]
        log_q.sum().backward()
        found[way] = log_q.detach(), {name: p.grad for name, p in gen.named_parameters() if p.grad is not None}
    torch.testing.assert_close(found["scored"][0], found["sampled"][0], atol=1e-5, rtol=1e-5)
    assert found["scored"][1].keys() == found["sampled"][1].keys()
    for name, gradient in found["sampled"][1].items():
        torch.testing.assert_close(found["scored"][1][name], gradient, atol=1e-4, rtol=1e-4)


def test_it_is_kept_in_the_folder_and_counts_in_samples(tmp_path) -> None:
    lm = model_for(word_tokenizer())
    gen = built(lm).eval()
    with torch.no_grad():
        gen.ending.control.gate.fill_(0.3)
    gen.save_pretrained(tmp_path / "gen")
    again = Generator.from_pretrained(tmp_path / "gen", target=lm)
    drawn = again.sample(again.no_condition(1), 200, seed=0)
    assert drawn == gen.sample(gen.no_condition(1), 200, seed=0)
    assert again.prior_log_probs([[1, 7, 9]])[0].tolist() == gen.prior_log_probs([[1, 7, 9]])[0].tolist()
    with torch.no_grad():
        again.ending.usual.fill_(-20.0)
    without = again.sample(again.no_condition(1), 200, seed=0)
    assert sum(len(x) for x, _ in without) > 1.5 * sum(len(x) for x, _ in drawn)
    assert not any(ended for _, ended in without)


def test_its_odds_are_exact_beside_a_target_of_half_precision() -> None:
    lm = model_for(word_tokenizer(), "llama")
    half = load_model((copy.deepcopy(lm.model).bfloat16(), word_tokenizer()))
    gen = built(half, trainable="frozen")
    with torch.no_grad(), gen.controlled(gen.no_condition(1)):
        found = said(gen.backbone, [half.bos_id, 7, 9])[:, half.eos_id]
    assert gen.backbone.dtype == torch.bfloat16
    usual = float(gen.ending.usual.detach())
    assert found.tolist() == pytest.approx([-math.log1p(math.exp(-usual))] * 3, abs=1e-5)


@pytest.mark.parametrize("trainable", ["full", "frozen", "lora"])
def test_samples_end_as_often_as_they_should(trainable) -> None:
    if trainable == "lora":
        pytest.importorskip("peft")
    lm = model_for(word_tokenizer())
    gen = built(lm, trainable=trainable).eval()
    drawn = gen.sample(gen.no_condition(1), 3000, seed=0)
    rate = float(gen.ending.usual.detach().sigmoid())
    at_once = sum(len(x) == 1 for x, _ in drawn) / len(drawn)
    assert at_once == pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / 3000))


def test_a_backbone_from_scratch_needs_none() -> None:
    gen = built(model_for(word_tokenizer()), backbone="small")
    assert gen.ending is None
    assert not gen.config.ends
