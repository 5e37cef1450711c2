"""The conditional generator: what it starts from, what it sees, how it samples, and what its folder keeps."""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_model
from small import (
    byte_level_tokenizer,
    check_draws,
    model_for,
    open_gates,
    same_weights,
    weights_of,
    word_tokenizer,
)

from inversescope_nb.errors import (
    Cancelled,
    GeneratorMismatch,
    InvalidArgument,
    ModelLoadError,
    NotEnumerable,
    NotFinite,
    UnknownSite,
)
from inversescope_nb.generator import Condition, Generator, TrainingConfig, load_generator, probe
from inversescope_nb.generator.backbones import make_backbone, twin
from inversescope_nb.generator.building import build_generator, resolve_sites
from inversescope_nb.generator.data import collate
from inversescope_nb.generator.hub import card_text
from inversescope_nb.kernels import SiteStatistics
from inversescope_nb.models import LanguageModel, load_model
from inversescope_nb.prompts import PromptDistribution

SITES = ["blocks.0.hook_resid_post", "blocks.1.attn.hook_z.2", "blocks.1.hook_resid_post"]
TEXTS = ["the cat is in the park", "John gave the book to Mary", "the dog", "a dog is in the park ."]
SMALL = {"width": 16, "n_tokens": 3, "n_blocks": 1, "n_heads": 2, "statistics_samples": 64, "held_out": 8}


def config(**changes) -> TrainingConfig:
    return TrainingConfig(**{**SMALL, **changes})


def prompts(cut: str = "random") -> PromptDistribution:
    return PromptDistribution.from_texts(TEXTS, cut=cut)


def condition_on(lm, gen, text: str, site: str = SITES[0], bandwidth: float = 0.1) -> Condition:
    z = lm.activations([text], [site])[site]
    return gen.condition_on(site, gen.statistics(site).standardise(z), bandwidth)


def total(gen, inputs, condition) -> list[float]:
    return [float(x.sum()) for x in gen.log_probs(inputs, condition)]


@pytest.fixture(scope="module", params=["gated", "attention"])
def gen(lm, request) -> Generator:
    """An untrained generator on a copy of the target, its gates opened at random; do not change it."""
    return open_gates(build_generator(lm, SITES, prompts(), config(control=request.param)))


# -- an untrained generator is its backbone --------------------------------------------------------


@pytest.mark.parametrize("trainable", ["full", "frozen"])
def test_with_closed_gates_a_generator_is_the_target_itself(any_lm, trainable) -> None:
    """But for what it says of ends, which is a decision of its own (test_ending.py)."""
    gen = build_generator(any_lm, ["resid_post.1"], prompts(), config(trainable=trainable)).eval()
    inputs = any_lm.encode(TEXTS).rows()
    ids, lengths = gen.rows(inputs)
    condition = condition_on(any_lm, gen, TEXTS[0], "blocks.1.hook_resid_post").rows(slice(None), len(inputs))
    found = gen.token_log_probs(ids, lengths, condition)
    end, goes_on = torch.tensor([gen.config.end_id]), F.logsigmoid(-gen.ending.usual)
    with torch.inference_mode():
        for row, n, log_q in zip(ids, lengths.tolist(), found, strict=True):
            logits = any_lm.model.eval()(input_ids=row[None, : n - 1]).logits[0, :-1]
            alone = logits.index_fill(-1, end, -torch.inf).log_softmax(-1).gather(-1, row[1 : n - 1, None])[:, 0]
            torch.testing.assert_close(log_q[: n - 2], alone + goes_on, atol=1e-4, rtol=1e-5)
            assert float(log_q[n - 2]) == pytest.approx(float(F.logsigmoid(gen.ending.usual)), abs=1e-5)
            assert not log_q[n - 1 :].any()


def test_open_gates_change_what_every_architecture_says(any_lm) -> None:
    gen = open_gates(build_generator(any_lm, ["resid_post.1"], prompts(), config()))
    site = "blocks.1.hook_resid_post"
    x = any_lm.encode(TEXTS[1]).rows()
    a, b = (total(gen, x, condition_on(any_lm, gen, t, site))[0] for t in TEXTS[:2])
    without = total(gen, x, gen.no_condition(1))[0]
    assert len({round(v, 4) for v in (a, b, without)}) == 3


def test_a_shared_backbone_holds_the_targets_weights_and_nothing_else_of_it(lm) -> None:
    gen = build_generator(lm, SITES, prompts(), config(trainable="frozen"))
    assert gen.shares_target
    pointers = {p.data_ptr() for p in lm.model.parameters()}
    assert {p.data_ptr() for p in gen.backbone.parameters()} == pointers
    assert not any(p.requires_grad for p in gen.backbone.parameters())
    assert not pointers & {p.data_ptr() for p in gen.parameters()}, "adapters only"
    assert not any(name.startswith("backbone.") for name in gen.state_dict())
    assert not {id(m) for m in gen.backbone.modules()} & {id(m) for m in lm.model.modules()}
    own = build_generator(lm, SITES, prompts(), config())
    assert not own.shares_target
    assert not pointers & {p.data_ptr() for p in own.parameters()}


def test_a_shared_backbone_leaves_the_users_model_as_it_is() -> None:
    model = tiny_model("gpt2")
    model.config.attn_pdrop = 0.5
    model.generation_config.top_k = 1
    model.train()
    lm = load_model((model, word_tokenizer()))
    before, modes = weights_of(model), [m.training for m in model.modules()]
    gen = open_gates(build_generator(lm, SITES, prompts(), config(trainable="frozen")))
    gen.train()
    loss = -gen.token_log_probs(
        *gen.rows(lm.encode(TEXTS).rows()), condition_on(lm, gen, "the cat").rows(slice(0, 1), 4)
    )
    loss.sum().backward()
    gen.sample(gen.no_condition(1), 4, seed=0)
    gen.eval()
    assert same_weights(model, before)
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert model.generation_config.top_k == 1
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert any(p.grad is not None and p.grad.any() for p in gen.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_shared_backbone_in_half_precision_learns_in_full(dtype) -> None:
    lm = load_model((tiny_model("llama").to(dtype), word_tokenizer()))
    gen = open_gates(build_generator(lm, SITES, prompts(), config(trainable="frozen")))
    assert next(gen.backbone.parameters()).dtype == dtype
    ids, lengths = gen.rows(lm.encode(TEXTS).rows())
    given = condition_on(lm, gen, "the cat").rows(slice(0, 1), 4)
    keep = torch.tensor([True, False, True, False])
    gen.token_log_probs(ids, lengths, Condition(given.parts, keep)).sum().backward()
    grads = [p.grad for p in gen.controls.parameters()]
    assert all(g is not None and g.dtype == torch.float32 and g.isfinite().all() for g in grads)
    assert len(gen.sample(condition_on(lm, gen, "the cat"), 3, seed=0)) == 3


def test_a_twin_answers_as_the_model_and_has_its_own_hooks(any_lm) -> None:
    same = twin(any_lm.model)
    ids = torch.tensor([[1, 5, 6, 7]])
    with torch.inference_mode():
        assert torch.equal(same(input_ids=ids).logits, any_lm.model.eval()(input_ids=ids).logits)
    seen = []
    handle = same.register_forward_hook(lambda *_: seen.append(1))
    any_lm.logits([[1, 5]])
    assert not seen
    handle.remove()


def test_a_twin_of_an_offloaded_model_answers_as_it_does(tmp_path) -> None:
    from accelerate import cpu_offload

    model = tiny_model("llama")
    plain = load_model((copy.deepcopy(model), word_tokenizer()))
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert next(model.parameters()).device.type == "meta"
    lm = load_model((model, word_tokenizer()))
    gen = open_gates(build_generator(lm, SITES, prompts(), config(trainable="frozen")))
    same = open_gates(build_generator(plain, SITES, prompts(), config(trainable="frozen")))
    inputs = plain.encode(TEXTS).rows()
    a, b = (total(g, inputs, condition_on(m, g, "the cat")) for m, g in ((lm, gen), (plain, same)))
    assert a == pytest.approx(b, abs=1e-4)
    assert next(model.parameters()).device.type == "meta"
    gen.save_pretrained(tmp_path / "gen")
    again = Generator.from_pretrained(tmp_path / "gen", target=lm)
    assert total(again, inputs, condition_on(lm, again, "the cat")) == pytest.approx(b, abs=1e-4)


# -- conditions ------------------------------------------------------------------------------------


def test_dropping_the_condition_is_no_condition(lm, gen) -> None:
    inputs = lm.encode(TEXTS).rows()
    ids, lengths = gen.rows(inputs)
    given = condition_on(lm, gen, "the cat").rows(slice(0, 1), 4)
    keep = torch.tensor([True, False, True, False])
    mixed = gen.token_log_probs(ids, lengths, Condition(given.parts, keep))
    seen = gen.token_log_probs(ids, lengths, given)
    without = gen.token_log_probs(ids, lengths, gen.no_condition(4))
    torch.testing.assert_close(mixed, torch.where(keep[:, None], seen, without), atol=1e-5, rtol=1e-5)
    assert (seen - without).abs().max() > 1e-2
    dropped = total(gen, inputs, Condition(given.parts, torch.zeros(4, dtype=torch.bool)))
    assert dropped == pytest.approx(total(gen, inputs, gen.no_condition(1)), abs=1e-5), "a dropped one stays dropped"


def test_each_row_sees_its_own_condition(lm, gen) -> None:
    inputs = lm.encode(TEXTS[:3]).rows()
    z = lm.activations(TEXTS[:3], SITES)
    encoder, eps = gen.encoder, torch.tensor([0.1, 0.5, 0.02])
    order = [2, 0, 1]  # sites of the three rows
    units = [gen.statistics(SITES[s]).standardise(z[SITES[s]][i : i + 1]) for i, s in enumerate(order)]
    together = gen.condition([(s, u) for s, u in zip(order, units, strict=True)], eps)
    for i, (s, u) in enumerate(zip(order, units, strict=True)):
        alone = gen.condition_on(SITES[s], u, float(eps[i]))
        for block, block1 in zip(together.parts, alone.parts, strict=True):
            for x, x1 in zip(block, block1, strict=True):
                torch.testing.assert_close(x[i : i + 1], x1, atol=1e-5, rtol=1e-4)
        assert total(gen, inputs, together)[i] == pytest.approx(total(gen, inputs[i : i + 1], alone)[0], abs=1e-4)
    assert encoder.index == {name: i for i, name in enumerate(SITES)}


def test_the_encoders_first_map_is_the_best_linear_estimate() -> None:
    from inversescope_nb.generator.conditioning import SiteEncoder

    rng = np.random.default_rng(0)
    d, eps, n = 6, 0.4, 200_000
    u = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * [2, 1, 1, 0.5, 0.1, 0]
    u = (u - u.mean(0)) / np.sqrt(u.var(0).mean())
    noisy = u + eps * math.sqrt(d) * rng.normal(size=u.shape)
    best = np.linalg.lstsq(noisy, u, rcond=None)[0]
    values, vectors = np.linalg.eigh(u.T @ u / n)
    moments = SiteStatistics(*(torch.tensor(x, dtype=torch.float32) if np.ndim(x) else x for x in (
        np.zeros(d), 1.0, values[::-1].clip(0).copy(), vectors[:, ::-1].copy())), False)  # fmt: skip
    encoder = SiteEncoder({"a": moments}, width=d, n_tokens=1, n_blocks=0, expansion=1)
    seen = []
    encoder.first[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    v = torch.tensor(noisy[:100], dtype=torch.float32)
    encoder([(0, v)], torch.full((100,), eps))
    np.testing.assert_allclose(seen[0].numpy(), noisy[:100] @ best, atol=0.02)


def test_only_what_is_in_the_residual_basis_shares_a_map(lm) -> None:
    whole = "blocks.0.attn.hook_z"  # as wide as the residual stream, in a basis of its own
    gen = build_generator(
        lm, [whole, "blocks.0.hook_mlp_out", "blocks.1.hook_resid_post"], prompts(), config(n_common=0)
    )
    assert lm.site(whole).d == lm.d_model
    assert dict(zip(gen.sites, gen.encoder.shares, strict=True))[whole] is False
    assert sum(gen.encoder.shares) == 2
    only = build_generator(lm, ["blocks.1.attn.hook_z.2", whole], prompts(), config(n_common=0))
    assert dict(zip(only.sites, only.encoder.shares, strict=True)) == {whole: True, "blocks.1.attn.hook_z.2": False}


@pytest.mark.parametrize("metric", ["scaled", "whitened", "cosine"])
@pytest.mark.parametrize("n_common", [0, 8])
def test_gradients_come_in_one_order_whatever_the_sites_of_a_batch(lm, n_common, metric) -> None:
    """DeepSpeed adds up what processes send in the order in which it comes."""
    sites = ["blocks.0.hook_resid_post", "blocks.1.attn.hook_z.2", "blocks.1.hook_resid_post"]
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    gen = build_generator(lm, sites, P, config(n_common=n_common, metric=metric)).train()
    names = {id(p): name for name, p in gen.named_parameters()}
    rng = torch.Generator().manual_seed(0)

    def order(own: list[int], keep: bool, alike: bool) -> list[str]:
        examples = [
            {"ids": [1, 5, 6], "site": i, "eps": 0.1, "keep": keep,
             "u": torch.randn(gen.statistics(sites[i]).width, generator=rng)}
            for i in own
        ]  # fmt: skip
        seen: list[str] = []
        hooks = [
            p.register_post_accumulate_grad_hook(lambda p: seen.append(names[id(p)]))
            for p in gen.parameters() if p.requires_grad
        ]  # fmt: skip
        loss = gen(**collate(examples, gen, alike=alike)).sum()
        loss.backward()
        for hook in hooks:
            hook.remove()
        gen.zero_grad(set_to_none=True)
        return [*seen, f"{loss.item():.3f}"]

    everywhere = order([0, 1, 2], True, alike=True)[:-1]
    assert set(everywhere) == {name for name, p in gen.named_parameters() if p.requires_grad}
    for own, keep in (([1], True), ([0, 0], False), ([2, 0], True)):
        assert order(own, keep, alike=True)[:-1] == everywhere
    rng.manual_seed(1)
    plain = order([1, 1], True, alike=False)
    rng.manual_seed(1)
    assert order([1, 1], True, alike=True)[-1] == plain[-1], "the same is computed"
    if not n_common:
        assert plain[:-1] != everywhere


@pytest.mark.parametrize("bandwidth", [0, -1, 5.0, math.nan, "wide", None])
def test_conditions_outside_what_was_trained_are_refused(lm, gen, bandwidth) -> None:
    with pytest.raises(InvalidArgument, match="bandwidth"):
        condition_on(lm, gen, "the cat", bandwidth=bandwidth)


def test_a_site_that_it_does_not_invert_is_refused(gen) -> None:
    with pytest.raises(UnknownSite, match=r"Did you mean 'blocks\.0\.hook_resid_post'"):
        gen.statistics("blocks.0.hook_resid_pots")
    with pytest.raises(InvalidArgument, match="2 rows for 3 inputs"):
        gen.log_probs([[1, 5]] * 3, gen.no_condition(2))


# -- sampling --------------------------------------------------------------------------------------


def few_words(bos: bool):
    """A model of five words, so that every short input can be listed."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "c": 4}, unk_token="a"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    special = {"bos_token": "<s>"} if bos else {}
    return model_for(PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="</s>", **special))


@pytest.mark.parametrize("bos", [True, False])
def test_draws_with_a_cache_follow_log_q(bos) -> None:
    lm = few_words(bos)
    P = PromptDistribution.from_texts(["a", "b c", "a b c"], cut="random")
    gen = open_gates(build_generator(lm, ["resid_post.1"], P, config()))
    assert gen.config.has_bos == bos
    condition = condition_on(lm, gen, "b c", "blocks.1.hook_resid_post")
    rest = [0, 2, 3, 4]
    front = [0] if bos else []
    inputs = [[*front, *x] for k in range(4) for x in itertools.product(rest, repeat=k)]
    listed = {tuple(x): math.exp(q) for x, q in zip(inputs, total(gen, inputs, condition), strict=True)}
    samples = gen.sample(condition, 4000, seed=3)
    short = [x for x, ended in samples if ended and len(x) <= 3 + bos]
    assert len(short) / 4000 == pytest.approx(sum(listed.values()), abs=0.03)
    mass = sum(listed.values())
    check_draws(short, {x: p / mass for x, p in listed.items()})


def test_log_q_sums_to_one_with_what_is_longer() -> None:
    lm = few_words(True)
    gen = open_gates(build_generator(lm, ["resid_post.1"], PromptDistribution.from_texts(["a b"]), config()))
    condition = condition_on(lm, gen, "a b", "blocks.1.hook_resid_post")
    ended = [[0, *x] for k in range(3) for x in itertools.product([0, 2, 3, 4], repeat=k)]
    longer = [[0, *x] for x in itertools.product([0, 2, 3, 4], repeat=3)]
    done = sum(math.exp(q) for q in total(gen, ended, condition))
    going = sum(math.exp(float(x[:-1].sum())) for x in gen.log_probs(longer, condition))
    assert done + going == pytest.approx(1.0, abs=1e-5)


def test_a_models_own_sampling_defaults_do_not_leak_in(lm) -> None:
    model = copy.deepcopy(lm.model)
    for name, value in {
        "top_k": 1, "top_p": 0.1, "temperature": 0.01, "repetition_penalty": 9.0, "min_new_tokens": 5,
        "suppress_tokens": [5, 6], "forced_eos_token_id": 2, "no_repeat_ngram_size": 1, "min_p": 0.9, "max_length": 3,
        "eos_token_id": 7, "do_sample": False, "num_beams": 1,
    }.items():  # fmt: skip
        setattr(model.generation_config, name, value)
    odd = load_model((model, lm.tokenizer))
    for trainable in ("full", "frozen"):
        plain, same = (build_generator(m, SITES, prompts(), config(trainable=trainable)) for m in (lm, odd))
        open_gates(plain), open_gates(same)
        assert plain.sample(plain.no_condition(1), 40, seed=1) == same.sample(same.no_condition(1), 40, seed=1)


def test_the_same_seed_gives_the_same_draws_and_leaves_the_random_state(lm, gen) -> None:
    condition = condition_on(lm, gen, "the cat")
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    first = gen.sample(condition, 20, seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first == gen.sample(condition, 20, seed=4)
    assert first != gen.sample(condition, 20, seed=5)
    assert all(x[0] == lm.bos_id and 2 not in x[1:] for x, _ in first)


def test_draws_for_several_conditions_come_one_condition_after_the_other(lm, gen) -> None:
    z = lm.activations(TEXTS[:2], [SITES[0]])[SITES[0]]
    both = gen.condition_on(SITES[0], gen.statistics(SITES[0]).standardise(z), 0.1)
    assert len(gen.sample(both, 3, seed=0)) == 6
    repeated = both.repeat(2)
    for (x, *_), (x2, *_) in zip(both.parts, repeated.parts, strict=True):
        assert torch.equal(x2, x[[0, 0, 1, 1]])


def test_a_draw_that_does_not_end_says_so(lm) -> None:
    gen = build_generator(lm, SITES, prompts(), config())
    gen.backbone.get_output_embeddings().weight.data[2] = 0
    gen.backbone.get_output_embeddings().weight.data[5] *= 50
    found = gen.sample(gen.no_condition(1), 30, seed=0)
    assert not all(ended for _, ended in found)
    assert all(ended or len(x) == gen.config.max_length + 1 for x, ended in found)


def test_sampling_is_cancelled_before_a_token(lm, gen) -> None:
    event = threading.Event()
    event.set()
    with pytest.raises(Cancelled):
        gen.sample(gen.no_condition(1), 4, seed=0, cancel=event)
    with pytest.raises(InvalidArgument, match="n=0"):
        gen.sample(gen.no_condition(1), 0, seed=0)


def test_draws_from_a_network_that_gives_nan_are_refused(lm, gen) -> None:
    broken = copy.deepcopy(gen)
    broken.controls[0].gate.data[3] = math.nan
    with pytest.raises(NotFinite, match="NaN"):
        broken.sample(condition_on(lm, broken, "the cat"), 4, seed=0)


# -- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bos", ["none", "unused", "added"])
def test_rows_begin_with_a_start_and_end_with_an_end(bos) -> None:
    lm = model_for(byte_level_tokenizer(bos=bos))
    P = PromptDistribution.from_texts(["Ann likes tea.", "Bob"], cut="end")
    gen = build_generator(lm, ["resid_post.0"], P, config())
    x = lm.encode("Ann likes tea.").rows()[0]
    ids, lengths = gen.rows([x, x[:2]])
    assert ids[0].tolist() == [0, *lm.encode("Ann likes tea.").rows()[0][1 if bos == "added" else 0 :], 0]
    assert lengths.tolist() == [len(ids[0]), 3 if bos == "added" else 4]
    assert [len(q) for q in gen.log_probs([x, x[:2]], gen.no_condition(1))] == [n - 1 for n in lengths.tolist()]
    assert gen.config.max_length >= len(ids[0])


def test_padding_and_batches_do_not_change_log_q(lm, gen) -> None:
    inputs = lm.encode(TEXTS).rows()
    condition = condition_on(lm, gen, "the cat")
    together = total(gen, inputs, condition)
    assert together == pytest.approx([total(gen, [x], condition)[0] for x in inputs], abs=1e-4)
    assert together == pytest.approx([float(x.sum()) for x in gen.log_probs(inputs, condition, batch_size=3)], abs=1e-4)
    one_each = [float(x.sum()) for x in gen.log_probs(inputs, condition.rows(slice(0, 1), 4), batch_size=3)]
    assert together == pytest.approx(one_each, abs=1e-4)


def test_inputs_that_fill_the_context_fit(lm) -> None:
    text = " ".join(["the"] * (lm.n_ctx - 1))
    P = PromptDistribution.from_texts([text, "a dog"], cut="end")
    gpt2 = load_model((tiny_model("gpt2"), word_tokenizer()))
    gen = build_generator(gpt2, ["resid_post.0"], P, config())
    (x,) = gpt2.encode(text).rows()
    assert len(x) == gpt2.n_ctx
    assert math.isfinite(total(gen, [x], gen.no_condition(1))[0])
    assert len(gen.sample(gen.no_condition(1), 3, seed=0)) == 3
    without_bos = load_model((tiny_model("gpt2"), word_tokenizer(bos=False)))
    with pytest.raises(InvalidArgument, match=f"context of {lm.n_ctx + 1}, this one has {lm.n_ctx}"):
        build_generator(without_bos, ["resid_post.0"], PromptDistribution.from_texts([text + " the"]), config())


def test_inputs_that_are_too_long_for_a_backbone_cannot_be_written(lm) -> None:
    gen = open_gates(build_generator(lm, SITES, prompts(), config(backbone="small")))
    room = gen.longest_input
    fits, long = ([lm.bos_id, *[6] * (n - 1)] for n in (room, room + 1))
    condition = condition_on(lm, gen, "the dog")
    alone = gen.log_probs([fits], condition)[0]
    found = gen.log_probs([long, fits], condition)
    torch.testing.assert_close(found[1], alone)
    assert [len(x) for x in found] == [room + 1, room]
    assert float(found[0].sum()) == -math.inf


def test_a_small_backbone_has_the_size_that_is_asked_for(lm) -> None:
    gen = build_generator(lm, SITES, prompts(), config(backbone="small", small_layers=3, small_width=64))
    assert [gen.backbone.config.n_layer, gen.backbone.config.n_embd, gen.backbone.config.n_head] == [3, 64, 2]
    assert len(gen.controls) == 3
    for wrong in ({"small_layers": 0}, {"small_width": 16}, {"small_width": 100}):
        with pytest.raises(InvalidArgument, match=next(iter(wrong))):
            config(**wrong)


def test_one_rare_long_text_still_fits_a_small_backbone(lm) -> None:
    P = PromptDistribution.from_texts(["a"] * 20_000 + ["the cat is in the park . the cat is in the park ."], cut="end")
    gen = build_generator(lm, ["resid_post.0"], P, config(backbone="small"))
    (x,) = lm.encode("the cat is in the park . the cat is in the park .").rows()
    assert math.isfinite(total(gen, [x], gen.no_condition(1))[0])


# -- folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"trainable": "frozen"}, {"backbone": "small"}, {"trainable": "lora"}])
@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_a_folder_gives_the_same_generator_back(lm, tmp_path, changes, dtype) -> None:
    if changes.get("trainable") == "lora":
        pytest.importorskip("peft")
    gen = open_gates(build_generator(lm, SITES, prompts(), config(**changes)))
    if changes.get("trainable") == "lora":
        adapters = [p for name, p in gen.named_parameters() if "lora_" in name]
        assert adapters
        for p in adapters:
            p.data = 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    gen.record_probe(lm)
    gen.run_card = {"note": "a test"}
    before = weights_of(gen)
    gen.save_pretrained(tmp_path / "gen", dtype=dtype)
    gen.save_pretrained(tmp_path / "gen", dtype=dtype)
    assert same_weights(gen, before), "saving changes nothing"
    assert (tmp_path / "gen" / "backbone").exists() == (not gen.shares_target)
    assert [p.name for p in tmp_path.iterdir()] == ["gen"]
    again = (
        load_generator(tmp_path / "gen")
        if not gen.shares_target
        else Generator.from_pretrained(tmp_path / "gen", target=lm)
    )
    again.check_target(lm)
    inputs = lm.encode(TEXTS).rows()
    tolerance = 1e-4 if dtype is None else 0.1
    for condition in (lambda g: condition_on(lm, g, "the cat", SITES[1]), lambda g: g.no_condition(1)):
        assert total(again, inputs, condition(again)) == pytest.approx(
            total(gen, inputs, condition(gen)), abs=tolerance
        )
    assert (again.sites, again.config, again.run_card) == (gen.sites, gen.config, gen.run_card)
    assert again.prompts.fingerprint == gen.prompts.fingerprint
    for site in SITES:
        a, b = gen.statistics(site), again.statistics(site)
        assert torch.equal(a.mean, b.mean)
        assert torch.equal(a.eigenvalues, b.eigenvalues)
        assert a.scale == b.scale
    if dtype is None:
        assert again.sample(condition_on(lm, again, "the cat"), 5, seed=1) == gen.sample(
            condition_on(lm, gen, "the cat"), 5, seed=1
        )


def test_what_an_earlier_broken_save_left_is_no_obstacle(lm, gen, tmp_path) -> None:
    gen.save_pretrained(tmp_path / "gen")
    (tmp_path / ".gen.old").mkdir()
    (tmp_path / ".gen.old" / "part").write_text("x")
    gen.save_pretrained(tmp_path / "gen")
    gen.save_pretrained(tmp_path / "gen")
    assert [p.name for p in tmp_path.iterdir()] == ["gen"]
    load_generator(tmp_path / "gen").check_target(lm)


def test_samples_of_the_model_are_drawn_again_once_the_model_is_there(lm, tmp_path) -> None:
    P = PromptDistribution.from_model(lm, max_tokens=4)
    gen = build_generator(lm, SITES, P, config(backbone="small"))
    gen.record_probe(lm)
    gen.save_pretrained(tmp_path / "gen")
    again = load_generator(tmp_path / "gen")
    assert (again.prompts.name, again.prompts.cut, again.prompts.fingerprint) == (P.name, P.cut, P.fingerprint)
    assert again.prompts.log_prob([1, 5], lm) is None
    with pytest.raises(NotEnumerable):
        again.prompts.draw(2, lm, seed=0)
    again.check_target(lm)
    assert again.prompts.draw(5, lm, seed=0) == P.draw(5, lm, seed=0)
    assert again.prompts.log_prob([1, 5], lm) == P.log_prob([1, 5], lm)
    mixed = PromptDistribution.from_spec(PromptDistribution.mixture([P, P.from_texts(["the cat"])]).to_spec())
    assert mixed.bound_to(lm).log_prob([1, 5], lm) == pytest.approx(P.log_prob([1, 5], lm) - math.log(2))


def test_prompts_without_a_specification_are_named_and_not_rebuilt(lm, tmp_path) -> None:
    class Unnamed(type(PromptDistribution.from_texts(["a"]))):
        def to_spec(self):
            raise NotEnumerable("none")

        fingerprint = "none"

    P = Unnamed(["the cat", "a dog"], name="mine", cut="random")
    gen = build_generator(lm, SITES, P, config(backbone="small"))
    gen.save_pretrained(tmp_path / "gen")
    again = load_generator(tmp_path / "gen")
    assert (again.prompts.name, again.prompts.cut) == (P.name, P.cut)
    assert again.prompts.log_prob([1, 5], lm) is None


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("generator.json", None),
        ("generator.json", b"{"),
        ("generator.json", b'{"format": 99}'),
        ("generator.json", b"[]"),
        ("generator.json", b'{"format": 1}'),
        ("generator.safetensors", None),
        ("generator.safetensors", b"short"),
        ("run_card.json", None),
        ("backbone/config.json", None),
        ("backbone/model.safetensors", b"short"),
    ],
)
def test_a_damaged_folder_is_refused(lm, tmp_path, file, damage) -> None:
    build_generator(lm, SITES[:1], prompts(), config(backbone="small")).save_pretrained(tmp_path / "gen")
    path = tmp_path / "gen" / file
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(ModelLoadError):
        load_generator(tmp_path / "gen")


def test_a_folder_that_describes_other_shapes_is_refused(lm, tmp_path) -> None:
    build_generator(lm, SITES[:1], prompts(), config(backbone="small")).save_pretrained(tmp_path / "gen")
    path = tmp_path / "gen" / "generator.json"
    about = json.loads(path.read_text())
    for change in ({"width": 32}, {"n_blocks": 2}, {"unheard_of": 1}):
        path.write_text(json.dumps({**about, "config": {**about["config"], **change}}))
        with pytest.raises(ModelLoadError):
            load_generator(tmp_path / "gen")


def test_places_that_hold_no_generator_are_refused(lm, tmp_path) -> None:
    with pytest.raises(ModelLoadError, match="no folder"):
        load_generator(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    gen = build_generator(lm, SITES[:1], prompts(), config(trainable="frozen"))
    with pytest.raises(InvalidArgument, match="is a file"):
        gen.save_pretrained(tmp_path / "file")
    gen.save_pretrained(tmp_path / "shared")
    with pytest.raises(ModelLoadError, match=r"target=lm"):
        load_generator(tmp_path / "shared")


# -- whose generator it is -------------------------------------------------------------------------


def test_another_model_or_tokenizer_is_refused(lm, gen) -> None:
    gen.check_target(lm)
    tuned = copy.deepcopy(lm.model)
    tuned.get_input_embeddings().weight.data *= 1.01
    with pytest.raises(GeneratorMismatch, match=r"another model \(or a fine-tune"):
        gen.check_target(load_model((tuned, lm.tokenizer)))
    other = word_tokenizer()
    other.add_tokens(["zebra"])
    with pytest.raises(GeneratorMismatch, match="another tokenizer"):
        gen.check_target(load_model((lm.model, other)))


def test_a_self_test_that_fails_is_said(lm) -> None:
    gen = open_gates(build_generator(lm, SITES, prompts(), config()))
    gen.record_probe(lm)
    gen.check_target(lm)
    broken = open_gates(build_generator(lm, SITES, prompts(), config()))
    broken.probe = {**gen.probe, "log_q": [q - 1 for q in gen.probe["log_q"]]}
    with pytest.raises(GeneratorMismatch, match=r"off by 1\.00 nats"):
        broken.check_target(lm)


def test_the_self_test_is_run_on_loading_where_the_target_is_given(lm, tmp_path) -> None:
    gen = open_gates(build_generator(lm, SITES, prompts(), config()))
    gen.record_probe(lm)
    gen.save_pretrained(tmp_path / "good")
    assert Generator.from_pretrained(tmp_path / "good", target=lm).sites == gen.sites
    gen.probe = {**gen.probe, "log_q": [q - 50 for q in gen.probe["log_q"]]}
    gen.save_pretrained(tmp_path / "bad")
    with pytest.raises(GeneratorMismatch, match=r"off by 50\.00 nats"):
        Generator.from_pretrained(tmp_path / "bad", target=lm)
    assert Generator.from_pretrained(tmp_path / "bad").sites == gen.sites  # no target yet


def test_the_self_test_is_run_for_each_dtype(lm, monkeypatch) -> None:
    gen = open_gates(build_generator(lm, SITES, prompts(), config()))
    gen.record_probe(lm)
    runs = []
    monkeypatch.setattr(probe, "check", lambda gen, lm: runs.append(lm.dtype))
    half = load_model((copy.deepcopy(lm.model).bfloat16(), lm.tokenizer))
    monkeypatch.setattr(LanguageModel, "fingerprint", lm.fingerprint)
    for model in (lm, lm, half, half):
        gen.check_target(model)
    assert runs == [torch.float32, torch.bfloat16]


def test_a_target_that_is_offloaded_is_not_copied(lm) -> None:
    away = load_model((copy.deepcopy(lm.model), lm.tokenizer))
    away.model.lm_head.to("meta")
    with pytest.raises(InvalidArgument, match="offloaded"):
        make_backbone(away, config(), 8)


def test_a_probe_is_recorded_within_the_trained_bandwidths(lm) -> None:
    gen = build_generator(lm, SITES, prompts(), config(bandwidths=(0.3, 0.5)))
    gen.record_probe(lm)
    assert gen.probe["bandwidth"] == 0.3
    gen.check_target(lm)


# -- building --------------------------------------------------------------------------------------


def test_sites_are_named_once_and_in_forward_order(lm) -> None:
    assert resolve_sites(lm, ["resid_post.1", "blocks.*.hook_resid_post", "layers_output[0]"]) == [SITES[0], SITES[2]]
    with pytest.raises(InvalidArgument, match="no sites"):
        resolve_sites(lm, [])
    with pytest.raises(UnknownSite):
        resolve_sites(lm, "blocks.9.*")


def test_building_depends_on_the_seed_alone(lm) -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    a = build_generator(lm, SITES, prompts(), config(backbone="small"))
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random state is left alone"
    torch.rand(3)
    b = build_generator(lm, SITES, prompts(), config(backbone="small"))
    assert same_weights(a, weights_of(b))
    c = build_generator(lm, SITES, prompts(), config(backbone="small", seed=1))
    assert not same_weights(a, weights_of(c))


def test_backbones_that_do_not_fit_are_refused(lm, tmp_path) -> None:
    with pytest.raises(ModelLoadError, match="cannot load the backbone"):
        build_generator(lm, SITES, prompts(), config(backbone=str(tmp_path / "none")))
    model_for(byte_level_tokenizer(vocab_size=260), vocab_size=20).model.save_pretrained(tmp_path / "few")
    with pytest.raises(InvalidArgument, match="has 20 tokens"):
        build_generator(lm, SITES, prompts(), config(backbone=str(tmp_path / "few")))
    with pytest.raises(InvalidArgument, match="n_heads=5"):
        build_generator(lm, SITES, prompts(), config(control="attention", n_heads=5))


def test_a_larger_sibling_can_be_the_backbone(lm, tmp_path) -> None:
    tiny_model("llama", n_layers=3).save_pretrained(tmp_path / "big")
    gen = open_gates(build_generator(lm, SITES, prompts(), config(backbone=str(tmp_path / "big"))))
    assert len(gen.controls) == 3
    assert len(gen.sample(condition_on(lm, gen, "the cat"), 2, seed=0)) == 2


# -- threads ---------------------------------------------------------------------------------------


def test_draws_neither_touch_nor_see_the_random_state_of_others(lm, gen) -> None:
    condition = condition_on(lm, gen, "the dog")
    alone = gen.sample(condition, 6, seed=3)
    stop = threading.Event()

    def noisy() -> None:
        while not stop.is_set():
            torch.rand(7)

    thread = threading.Thread(target=noisy)
    thread.start()
    try:
        assert gen.sample(condition, 6, seed=3) == alone
    finally:
        stop.set()
        thread.join()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    gen.sample(condition, 6, seed=3)
    assert torch.equal(torch.rand(3), expected)


def test_threads_that_share_a_generator_wait_for_each_other(lm, gen) -> None:
    """Its hooks are on one backbone: two conditions at once would mix."""
    texts = ["the dog", "the cat is in the park", "John gave the book"]
    conditions = [condition_on(lm, gen, text) for text in texts]
    inputs = [lm.encode(text).rows()[0] for text in texts]
    alone = [[total(gen, inputs, c), gen.sample(c, 4, seed=1)] for c in conditions]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(8):
            found = [total(gen, inputs, conditions[i]), gen.sample(conditions[i], 4, seed=1)]
            if found[0] != pytest.approx(alone[i][0], abs=1e-4) or found[1] != alone[i][1]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    copy.deepcopy(gen)


def test_banks_are_the_models_own_and_do_not_pile_up(lm, gen) -> None:
    other = load_model((lm.model, lm.tokenizer))
    P = prompts()
    assert gen.bank(lm, P, 8) is gen.bank(lm, P, 8)
    assert gen.bank(other, P, 8).lm is other
    for _ in range(6):
        gen.bank(lm, prompts(), 8)
    assert len(gen._banks) == 4


def test_a_site_is_not_compared_with_a_stream_that_does_not_vary(lm) -> None:
    names = ["blocks.0.hook_resid_post", "blocks.0.hook_mlp_out"]
    gen = build_generator(lm, names, prompts(), config())
    scales = gen.encoder.scales
    assert gen.relative_scale(names[1]) == pytest.approx(float(scales[gen.encoder.index[names[1]]] / scales[0]), rel=1)
    gen.encoder.constant[gen.encoder.index[names[0]]] = True
    assert math.isnan(gen.relative_scale(names[1]))


# -- the Hub ---------------------------------------------------------------------------------------


class HubOfOne(BaseHTTPRequestHandler):
    """A server that answers as the Hub does to someone who may not write, and remembers what was asked."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_an_upload_that_is_refused_is_explained() -> None:
    server = HTTPServer(("127.0.0.1", 0), HubOfOne)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = (
        "import sys; import inversescope_nb as isn\n"
        "try: isn.load_generator().push_to_hub('me/gen')\n"
        "except isn.errors.ModelLoadError as e: print(e)"
    )
    where = f"http://127.0.0.1:{server.server_port}"
    env = {**os.environ, "HF_ENDPOINT": where, "HF_TOKEN": "hf_none", "OMP_NUM_THREADS": "1"}
    try:
        found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    finally:
        server.shutdown()
    assert "cannot upload to 'me/gen'" in found.stdout, found.stderr[-2000:]
    assert "login" in found.stdout
    assert HubOfOne.asked == ["/api/repos/create"]


def test_a_card_says_what_the_generator_is(lm, gen) -> None:
    text = card_text(gen, "me/gen")
    assert text.startswith("---\nlibrary_name: inversescope_nb")
    for words in (gen.fingerprint, SITES[0], gen.prompts.name, "me/gen", "0.02 to 1", "scaled, gaussian"):
        assert words in text


def test_a_generator_is_shown_in_one_line() -> None:
    gen = load_generator()
    assert "\n" not in repr(gen)
    assert repr(gen).startswith("<Generator for 36 sites of 'target': P(X) 'all tasks', cut at slots+random; ")
