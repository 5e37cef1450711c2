"""Quantities of every token, against Hugging Face's hidden states, numbers worked by hand, and one pick at a time."""

from __future__ import annotations

import doctest
import math
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import N_HEADS, WORDS, tiny_model, word_tokenizer
from small import model_for, open_gates

import inversescope_nb as isn
from inversescope_nb import _token_reading, token_quantities
from inversescope_nb.activations import patch, scale
from inversescope_nb.baselines import SlotDecoder
from inversescope_nb.errors import BadPrompt, Cancelled, GeneratorMismatch, InvalidArgument, UnknownSite
from inversescope_nb.generator import Generator, TrainingConfig, stopping
from inversescope_nb.generator.building import build_generator
from inversescope_nb.generator.generator import LOGITS_PER_BATCH
from inversescope_nb.models import load_model
from inversescope_nb.prompts import PromptDistribution
from inversescope_nb.sites import KINDS
from inversescope_nb.token_quantities import QUANTITIES, unit_of, why_not

TEXTS = ["the cat is in the park", "John gave the book to Mary", "the dog", "a dog is in the park ."]
ON, OFF = TEXTS[1], "Mary gave the cat to the dog ."
SITE, HEAD = "blocks.1.hook_resid_post", "blocks.1.attn.hook_z.2"
SMALL = TrainingConfig(width=16, n_tokens=3, n_blocks=1, n_heads=2, statistics_samples=64, held_out=8)


def config(**changes) -> TrainingConfig:
    return TrainingConfig(**{**SMALL.to_dict(), **changes})


def prompts(cut: str = "random") -> PromptDistribution:
    return PromptDistribution.from_texts(TEXTS, cut=cut)


@pytest.fixture(scope="module", params=["gated", "attention", "frozen"])
def gen(lm, request) -> Generator:
    """Of two sites, on a copy of the target or (frozen) the target itself."""
    changes = {"trainable": "frozen"} if request.param == "frozen" else {"control": request.param}
    return open_gates(build_generator(lm, [SITE, HEAD], prompts(), config(**changes)))


@contextmanager
def forward_passes(module: torch.nn.Module):
    """Shapes of what goes into a module within the block, from a hook of its own; never counts the module's insides."""
    shapes: list[tuple[int, ...]] = []

    def note(_module, args, kwargs):
        shapes.append(tuple((args[0] if args else next(iter(kwargs.values()))).shape))

    handle = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield shapes
    finally:
        handle.remove()


def hidden_states(lm, text: str) -> list[np.ndarray]:
    """What Hugging Face says: what goes into each block, and the end behind its final norm; [pos, d] each."""
    ids = torch.tensor(lm.encode(text).rows())
    with torch.inference_mode():
        found = lm.model(input_ids=ids, output_hidden_states=True).hidden_states
    return [h[0].double().numpy() for h in found]


def one_at_a_time(lm, text: str, site: str) -> np.ndarray:
    """Activations of every token, each read by a forward pass of its own."""
    ids = lm.encode(text).rows()[0]
    return np.stack([lm.activations([ids[: t + 1]], [site])[site][0].double().numpy() for t in range(len(ids))])


@pytest.mark.parametrize("module", [token_quantities, _token_reading, stopping])
def test_docstring_examples_run(module) -> None:
    assert doctest.testmod(module).failed == 0


# -- norms -----------------------------------------------------------------------------------------


def test_norms_are_those_of_hugging_faces_hidden_states(any_lm) -> None:
    found = isn.token_norms(any_lm, ON, "resid_post.0")
    np.testing.assert_allclose(found, np.linalg.norm(hidden_states(any_lm, ON)[1], axis=1), rtol=1e-5)
    into = isn.token_norms(any_lm, ON, "resid_pre.0")
    np.testing.assert_allclose(into, np.linalg.norm(hidden_states(any_lm, ON)[0], axis=1), rtol=1e-5)
    last = isn.token_norms(any_lm, ON, SITE)  # hidden_states[-1] would be behind the final norm
    np.testing.assert_allclose(last, np.linalg.norm(one_at_a_time(any_lm, ON, SITE), axis=1), rtol=1e-4)


@pytest.mark.parametrize("site", [HEAD, "blocks.0.attn.hook_result.3", "blocks.1.attn.hook_z", "mlp_out.1"])
def test_a_heads_norm_is_that_of_its_own_part(lm, site) -> None:
    name = lm.site(site).name
    found = isn.token_norms(lm, ON, site)
    np.testing.assert_allclose(found, np.linalg.norm(one_at_a_time(lm, ON, name), axis=1), rtol=1e-4)


def test_squares_of_the_heads_norms_add_up(lm) -> None:
    heads = sum(isn.token_norms(lm, ON, f"blocks.1.attn.hook_z.{h}") ** 2 for h in range(N_HEADS))
    np.testing.assert_allclose(heads, isn.token_norms(lm, ON, "blocks.1.attn.hook_z") ** 2, rtol=1e-5)


def test_one_forward_pass_reads_all_tokens_and_goes_no_deeper_than_the_site(lm) -> None:
    blocks, head = lm.architecture.blocks, lm.model.get_output_embeddings()
    with forward_passes(blocks[0]) as first, forward_passes(blocks[1]) as second, forward_passes(head) as logits:
        isn.token_norms(lm, ON, "resid_post.0")
        isn.token_changes(lm, ON, "resid_post.0")
    n = len(lm.encode(ON).rows()[0])
    assert [shape[:2] for shape in first] == [(1, n)] * 2
    assert not second
    assert not logits


def test_with_a_generator_norms_are_in_the_sites_units(lm, gen) -> None:
    statistics = gen.statistics(SITE)
    u = (one_at_a_time(lm, ON, SITE) - statistics.mean.double().numpy()) / statistics.scale
    np.testing.assert_allclose(isn.token_norms(lm, ON, SITE, gen=gen), np.linalg.norm(u, axis=1), rtol=1e-4)
    assert unit_of("norm", lm, SITE, gen) == "standardised units"
    other = "blocks.0.hook_resid_post"  # which it does not know
    np.testing.assert_array_equal(isn.token_norms(lm, ON, other, gen=gen), isn.token_norms(lm, ON, other))
    assert unit_of("norm", lm, other, gen) == unit_of("norm", lm, SITE) == ""


def test_inputs_of_p_have_standardised_norms_of_about_the_root_of_d(lm) -> None:
    gen = build_generator(lm, [SITE], prompts(), config(statistics_samples=1000))
    squares = sum(p * isn.token_norms(lm, x, SITE, gen=gen)[-1] ** 2 for x, p in prompts().inputs(lm).items())
    assert squares == pytest.approx(lm.d_model, rel=0.1)


def test_norms_are_raw_where_a_generator_has_no_units_for_them(lm) -> None:
    flat = PromptDistribution.from_texts(["the cat", "the cat is in the cat"], cut="end")
    gen = build_generator(lm, ["resid_pre.0", SITE], flat, SMALL)  # every last token is the same
    assert gen.statistics("blocks.0.hook_resid_pre").is_constant
    cosine = build_generator(lm, [SITE], prompts(), config(metric="cosine"))  # directions have no length
    for found, site in ((gen, "resid_pre.0"), (cosine, SITE)):
        np.testing.assert_array_equal(isn.token_norms(lm, ON, site, gen=found), isn.token_norms(lm, ON, site))
        assert unit_of("norm", lm, site, found) == ""
    assert unit_of("norm", lm, SITE, gen) == "standardised units"


# -- changes ---------------------------------------------------------------------------------------


def test_changes_are_those_between_hugging_faces_hidden_states() -> None:
    lm = load_model((tiny_model("llama", n_layers=3), word_tokenizer()))
    h = hidden_states(lm, ON)
    for layer in (0, 1):  # behind layer 2 stands the final norm
        by_hand = np.linalg.norm(h[layer + 1] - h[layer], axis=1) / np.linalg.norm(h[layer], axis=1)
        np.testing.assert_allclose(isn.token_changes(lm, ON, f"resid_post.{layer}"), by_hand, rtol=1e-5)
    np.testing.assert_array_equal(
        isn.token_changes(lm, ON, "resid_pre.1"), isn.token_changes(lm, ON, "resid_post.0"), "one and the same place"
    )


@pytest.mark.parametrize("kind", ["attn.hook_z.2", "attn.hook_result.1", "hook_attn_out", "hook_mlp_out"])
def test_changes_of_other_kinds_compare_the_same_kind_and_head(lm, kind) -> None:
    old, new = (one_at_a_time(lm, ON, f"blocks.{layer}.{kind}") for layer in (0, 1))
    by_hand = np.linalg.norm(new - old, axis=1) / np.linalg.norm(old, axis=1)
    np.testing.assert_allclose(isn.token_changes(lm, ON, f"blocks.1.{kind}"), by_hand, rtol=1e-4)


def test_changes_of_known_size(lm) -> None:
    before, after = torch.zeros(lm.d_model), torch.zeros(lm.d_model)
    before[0], after[0], after[1] = 3.0, 3.0, 4.0  # |(3, 4) - (3, 0)| / 3
    with patch(lm, {"resid_pre.0": before, "resid_post.0": after}):
        np.testing.assert_allclose(isn.token_changes(lm, ON, "resid_post.0"), 4 / 3, rtol=1e-6)
    with patch(lm, {"resid_pre.0": 0 * before, "resid_post.0": after}):
        assert np.isnan(isn.token_changes(lm, ON, "resid_post.0")).all(), "there was nothing to be a share of"
    with scale(lm, {"attn_out.0": 0.0, "mlp_out.0": 0.0}):
        np.testing.assert_array_equal(isn.token_changes(lm, ON, "resid_post.0"), 0.0)


def test_why_not_says_beforehand_what_changes_raise(any_lm) -> None:
    kinds = [kind for kind in KINDS if kind != "resid_mid" or any_lm.architecture.layout.mid is not None]
    refused = set()
    for site in any_lm.sites(kinds=kinds):
        reason = why_not("change", any_lm, site)
        if reason is None:
            assert isn.token_changes(any_lm, "the cat", site).shape == (3,)
            continue
        refused.add(any_lm.site(site).kind)
        assert any_lm.site(site).layer == 0
        assert any_lm.site(site).kind in reason
        with pytest.raises(InvalidArgument, match="no layer before it") as raised:
            isn.token_changes(any_lm, "the cat", site)
        assert "resid_post.0" in raised.value.hint
    assert refused == set(kinds) - {"resid_post"}


# -- bits ------------------------------------------------------------------------------------------


def bits_of(lm, gen, ids: list[int], site: str, bandwidth: float) -> float:
    """Of the last token alone, by the functions that there were."""
    u = gen.statistics(site).standardise(lm.activations([ids], [site])[site])
    (given,) = gen.log_probs([ids], gen.condition_on(site, u, bandwidth))
    log_p = gen.prompts.log_prob(ids, lm)
    if log_p is None or not math.isfinite(log_p):
        log_p = float(gen.prior_log_probs([ids])[0].sum())
    return (float(given.sum()) - log_p) / math.log(2)


@pytest.mark.parametrize("site", [SITE, HEAD])
@pytest.mark.parametrize("text", [ON, OFF])
def test_bits_are_those_of_every_token_alone(lm, gen, text, site) -> None:
    ids = lm.encode(text).rows()[0]
    alone = [bits_of(lm, gen, ids[: t + 1], site, 0.3) for t in range(1, len(ids))]
    found = isn.token_bits(lm, gen, text, site=site, bandwidth=0.3)
    np.testing.assert_allclose(found[1:], alone, atol=1e-4)
    assert np.isnan(found[0]), "BOS is given: an input of it alone tells nothing apart"
    assert found.shape == (len(ids),)
    assert np.ptp(found[1:]) > 0.1


def test_off_p_bits_are_the_sum_of_token_information_and_of_the_end(lm, gen) -> None:
    ids = lm.encode(OFF).rows()[0]
    assert gen.prompts.log_prob(ids, lm) == -math.inf
    u = gen.statistics(SITE).standardise(lm.activations([ids], [SITE])[SITE])
    (given,), (without,) = gen.log_probs([ids], gen.condition_on(SITE, u, 0.2)), gen.prior_log_probs([ids])
    end = float(given[-1] - without[-1]) / math.log(2)
    tokens = sum(isn.token_information(lm, gen, OFF, site=SITE, bandwidth=0.2, unit="bits"))
    found = isn.token_bits(lm, gen, OFF, site=SITE, bandwidth=0.2)[-1]
    assert found == pytest.approx(tokens + end, abs=1e-4)


def test_bits_are_the_log_ratio_of_an_inversions_own_pick(lm, gen) -> None:
    found = isn.token_bits(lm, gen, ON, site=SITE)
    for t in (1, 4):
        inv = isn.invert(lm, gen, ON, site=SITE, position=t, n=2, bank=0)
        assert inv.prior_is_exact
        assert found[t] == pytest.approx((inv.picked_log_q - inv.picked_log_prior) / math.log(2), abs=1e-4)


def test_closed_gates_say_nothing() -> None:
    lm = load_model((tiny_model("gpt2"), word_tokenizer()))
    gen = build_generator(lm, [SITE], prompts(), SMALL).eval()
    np.testing.assert_allclose(isn.token_bits(lm, gen, OFF, site=SITE)[1:], 0.0, atol=1e-4)


def test_only_where_p_knows_an_input_it_is_asked(lm) -> None:
    gen = open_gates(build_generator(lm, [SITE], prompts("end"), SMALL))
    ids = lm.encode(ON).rows()[0]
    exact = [math.isfinite(gen.prompts.log_prob(ids[: t + 1], lm)) for t in range(len(ids))]
    assert exact == [False] * (len(ids) - 1) + [True]
    alone = [bits_of(lm, gen, ids[: t + 1], SITE, 0.1) for t in range(1, len(ids))]
    np.testing.assert_allclose(isn.token_bits(lm, gen, ON, site=SITE)[1:], alone, atol=1e-4)


class Unknown(PromptDistribution):
    """Of three tokens it does not know how likely they are."""

    name, cut = "unknown", "end"

    def draw(self, n, lm, *, seed, cancel=None):
        return prompts().draw(n, lm, seed=seed)

    def log_prob(self, token_ids, lm):
        return None if len(token_ids) == 3 else -1.0


def test_where_p_cannot_say_how_likely_one_input_is_the_others_keep_theirs(lm) -> None:
    gen = open_gates(build_generator(lm, [SITE], Unknown(), SMALL))
    ids = lm.encode(ON).rows()[0]
    alone = [bits_of(lm, gen, ids[: t + 1], SITE, 0.1) for t in range(1, len(ids))]
    np.testing.assert_allclose(isn.token_bits(lm, gen, ON, site=SITE)[1:], alone, atol=1e-4)


@pytest.mark.parametrize("cut", ["random", "end"])
def test_without_bos_the_first_token_is_an_input_too(cut) -> None:
    lm = load_model((tiny_model("llama"), word_tokenizer(bos=False)))
    gen = open_gates(build_generator(lm, [SITE], prompts(cut), SMALL))
    ids = lm.encode(ON).rows()[0]
    alone = [bits_of(lm, gen, ids[: t + 1], SITE, 0.1) for t in range(len(ids))]
    np.testing.assert_allclose(isn.token_bits(lm, gen, ON, site=SITE), alone, atol=1e-4)


def test_ids_that_lack_the_bos_are_scored_as_they_are(lm, gen) -> None:
    ids = lm.encode(ON).rows()[0][1:]
    alone = [bits_of(lm, gen, ids[: t + 1], SITE, 0.1) for t in range(len(ids))]
    np.testing.assert_allclose(isn.token_bits(lm, gen, ids, site=SITE), alone, atol=1e-4)


def test_without_any_prior_there_is_no_number(lm) -> None:
    small = config(backbone="small", n_tokens=1, n_blocks=0)
    decoder = build_generator(lm, [SITE], prompts("end"), small, generator_class=SlotDecoder).eval()
    found = isn.token_bits(lm, decoder, ON, site=SITE)
    assert np.isnan(found[:-1]).all(), "P can make the whole text alone"
    ids = lm.encode(ON).rows()[0]
    assert found[-1] == pytest.approx(bits_of(lm, decoder, ids, SITE, 0.1), abs=1e-4)


# -- batches, slices, stopping ---------------------------------------------------------------------


@pytest.mark.parametrize("text", [ON, OFF])
def test_bits_depend_neither_on_batches_nor_on_slices(lm, gen, text) -> None:
    whole = isn.token_bits(lm, gen, text, site=SITE)
    for batch in (1, 3, len(whole)):
        np.testing.assert_allclose(isn.token_bits(lm, gen, text, site=SITE, batch=batch), whole, atol=1e-4)
    stops = isn.token_bits(lm, gen, text, site=SITE, cancel=threading.Event())
    np.testing.assert_allclose(stops, whole, atol=1e-4)
    for start, stop in ((0, 3), (2, 5), (3, None), (-2, None), (1, -1), (4, 5)):
        part = isn.token_bits(lm, gen, text, site=SITE, start=start, stop=stop)
        np.testing.assert_allclose(part[start:stop], whole[start:stop], atol=1e-4)
        assert part.shape == whole.shape
        assert np.isnan(part).sum() == len(part) - np.isfinite(whole[start:stop]).sum(), "NaN elsewhere"
    assert np.isnan(isn.token_bits(lm, gen, text, site=SITE, stop=1)).all()


def test_progress_counts_tokens(lm, gen) -> None:
    told: list[tuple] = []
    isn.token_bits(lm, gen, ON, site=SITE, batch=4, on_progress=lambda *now: told.append(now))
    assert told == [(4, 6, "shading tokens"), (6, 6, "shading tokens")]


def test_bits_are_stopped_between_batches(lm, gen) -> None:
    cancel, told = threading.Event(), []

    def stop(done, total, message):
        told.append(done)
        cancel.set()

    with pytest.raises(Cancelled):
        isn.token_bits(lm, gen, ON, site=SITE, batch=2, on_progress=stop, cancel=cancel)
    assert told == [2]
    with pytest.raises(Cancelled), forward_passes(lm.architecture.blocks[0]) as passes:
        isn.token_bits(lm, gen, ON, site=SITE, cancel=cancel)
    assert not passes


@pytest.mark.parametrize("where", ["generator", "target", "prior"])
def test_a_forward_pass_is_stopped_before_its_next_block(lm, gen, where) -> None:
    """`cancel` is set within block 0: of the target's pass, of the first batch, of the pass without a condition."""
    model = lm if where == "target" else gen
    first, second = model.architecture.blocks[0], model.architecture.module(1, model.architecture.layout.attn)
    hooks = [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.architecture.blocks]
    cancel, seen = threading.Event(), []

    def stop(_module, _args, _output):
        seen.append(1)
        if where != "prior" or len(seen) == 2:
            cancel.set()

    handle = first.register_forward_hook(stop)
    with forward_passes(second) as deeper:
        try:
            with pytest.raises(Cancelled):
                isn.token_bits(lm, gen, OFF, site=SITE, cancel=cancel)
        finally:
            handle.remove()
    assert len(deeper) == (1 if where == "prior" else 0)
    assert [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.architecture.blocks] == hooks
    assert np.isfinite(isn.token_bits(lm, gen, OFF, site=SITE)[1:]).all(), "and all works afterwards"


def test_scores_that_can_be_stopped_are_the_same_in_smaller_batches(lm, gen, monkeypatch) -> None:
    inputs = lm.encode(TEXTS).rows()
    z = lm.activations(TEXTS, [SITE])[SITE]
    condition = gen.condition_on(SITE, gen.statistics(SITE).standardise(z), 0.1)
    with forward_passes(gen.architecture.blocks[0]) as passes:
        expected = gen.log_probs(inputs, condition)
        assert len(passes) == 1, "at once, as ever"
        monkeypatch.setattr(stopping, "STEP", 1)
        again = gen.log_probs(inputs, condition)
        assert len(passes) == 2, "nothing to stop, no smaller batches"
        found = gen.log_probs(inputs, condition, cancel=threading.Event())
        assert len(passes) == 2 + len(inputs)
        gen.log_probs(inputs, condition, cancel=threading.Event(), batch_size=3)
        assert len(passes) == 2 + len(inputs) + 2, "as told"
    for a, b, c in zip(expected, again, found, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(c, a, atol=1e-4, rtol=1e-4)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        gen.log_probs(inputs, condition, cancel=cancel)


def test_batches_that_can_be_stopped_hold_less(lm, gen) -> None:
    n_parameters = sum(p.numel() for m in (gen.backbone, gen.controls) for p in m.parameters())
    assert gen.rows_at_once(8) == LOGITS_PER_BATCH // (8 * gen.vocab_size)
    assert gen.rows_at_once(8, stops=True) == min(gen.rows_at_once(8), stopping.STEP // (8 * n_parameters))
    assert gen.rows_at_once(1 << 40) == gen.rows_at_once(1 << 40, stops=True) == 1
    assert stopping.step_rows(10, 10**6, torch.device("cpu")) == 214  # 2^31 / 10^7
    assert stopping.step_rows(10, 10**6, torch.device("cuda")) == 54_975  # 2^39 / 10^7


def test_another_thread_is_not_stopped(lm, gen) -> None:
    """A cancelled scoring holds the turn while its hooks are there: one that runs beside it never meets them."""
    cancel, failed = threading.Event(), []
    inputs = lm.encode([ON]).rows() * 20

    def score():
        try:
            for _ in range(5):
                gen.log_probs(inputs, gen.no_condition(1), batch_size=2)
        except Cancelled as e:
            failed.append(e)

    other = threading.Thread(target=score)
    other.start()
    handle = gen.architecture.blocks[0].register_forward_hook(lambda *_: cancel.set())
    with pytest.raises(Cancelled):
        gen.log_probs(inputs, gen.no_condition(1), cancel=cancel)
    handle.remove()
    other.join()
    assert not failed


# -- long prompts ----------------------------------------------------------------------------------


def test_beginnings_beyond_what_the_generator_reads_are_not_scored(lm) -> None:
    gen = open_gates(build_generator(lm, [SITE], prompts(), config(backbone="small")))
    words = " ".join((WORDS * 2)[:30])
    ids, room = lm.encode(words).rows()[0], int(gen.longest_input)
    assert room < len(ids) - 3
    with forward_passes(gen.architecture.blocks[0]) as passes:
        found = isn.token_bits(lm, gen, words, site=SITE)
        assert np.isnan(isn.token_bits(lm, gen, words, site=SITE, start=room)).all()
    assert max(shape[1] for shape in passes) == room
    assert np.isfinite(found[1:room]).all()
    assert np.isnan(found[room:]).all()
    assert found[room - 1] == pytest.approx(bits_of(lm, gen, ids[:room], SITE, 0.1), abs=1e-4)


@pytest.fixture(scope="module")
def long_lm() -> isn.LanguageModel:
    return model_for(
        word_tokenizer(), "llama", hidden_size=64, num_attention_heads=4, num_key_value_heads=4,
        intermediate_size=128, head_dim=16, max_position_embeddings=2048,
    )  # fmt: skip


def test_a_prompt_of_a_thousand_tokens(long_lm) -> None:
    rng = np.random.default_rng(0)
    ids = [1, *rng.integers(4, long_lm.vocab_size, 999).tolist()]
    small = open_gates(build_generator(long_lm, [SITE], prompts(), config(backbone="small")))
    small.check_target(long_lm)  # the self-test runs the target once more
    with forward_passes(long_lm.architecture.blocks[0]) as passes:
        norms = isn.token_norms(long_lm, ids, SITE)
        changes = isn.token_changes(long_lm, ids, SITE)
        bits = isn.token_bits(long_lm, small, ids, site=SITE)
    room = int(small.longest_input)
    assert [shape[:2] for shape in passes] == [(1, 1000), (1, 1000), (1, room)]
    assert np.isfinite(norms).all()
    assert np.isfinite(changes).all()
    assert np.isfinite(bits).sum() == room - 1
    for t in (0, 500, 999):
        z = long_lm.activations([ids], [SITE], position=t)[SITE]
        assert norms[t] == pytest.approx(float(z.norm()), rel=1e-4)


def test_the_end_of_a_long_prompt_alone(long_lm) -> None:
    """A backbone that reads it all: two tokens are two rows, not a thousand."""
    ids = [1, *([4, 5, 6, 7, 8] * 200)[:999]]
    gen = open_gates(build_generator(long_lm, [SITE], prompts(), SMALL))
    assert gen.longest_input == 2048
    with forward_passes(gen.architecture.blocks[0]) as passes:
        found = isn.token_bits(long_lm, gen, ids, site=SITE, start=-2)
    assert sum(shape[0] for shape in passes) == 3, "and one without a condition"
    assert np.isfinite(found).sum() == 2
    assert found[-1] == pytest.approx(bits_of(long_lm, gen, ids, SITE, 0.1), abs=2e-3)  # sums of a thousand float32


# -- what cannot be had ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"site": "resid_post.9"}, UnknownSite, "layer 9"),
        ({"site": "resid_post.0"}, UnknownSite, "not trained for"),
        ({"start": 3, "stop": 3}, InvalidArgument, "start=3, stop=3"),
        ({"start": 5, "stop": 2}, InvalidArgument, "start=5, stop=2"),
        ({"start": 7}, InvalidArgument, "prompt of 7"),
        ({"start": -8}, InvalidArgument, "prompt of 7"),
        ({"stop": 8}, InvalidArgument, "prompt of 7"),
        ({"start": 1.5}, InvalidArgument, r"start=1\.5 must be a whole number"),
        ({"stop": "a"}, InvalidArgument, "stop='a' must be a whole number"),
        ({"start": None}, InvalidArgument, "start=None"),
        ({"batch": 0}, InvalidArgument, "batch=0 must be a whole number of at least 1"),
        ({"bandwidth": 0}, InvalidArgument, "> 0"),
        ({"bandwidth": 2.0}, InvalidArgument, r"0\.02 to 1"),
        ({"prompt": " "}, BadPrompt, "empty"),
        ({"prompt": ["the cat", "a dog"]}, BadPrompt, "2 prompts"),
        ({"prompt": [1, 10**6]}, BadPrompt, "does not exist"),
        ({"gen": None}, InvalidArgument, "gen is a NoneType"),
        ({"lm": "gpt2"}, InvalidArgument, "lm is a str"),
    ],
)
def test_bits_of_bad_input_are_explained(lm, gen, changes, error, says) -> None:
    given = {"lm": lm, "gen": gen, "prompt": ON, "site": SITE, **changes}
    with pytest.raises(error, match=says) as raised:
        isn.token_bits(given.pop("lm"), given.pop("gen"), given.pop("prompt"), **given)
    assert raised.value.hint


@pytest.mark.parametrize("read", [isn.token_norms, isn.token_changes])
def test_norms_and_changes_of_bad_input_are_explained(lm, read) -> None:
    for given, error, says in (
        ((lm, ON, "resid_post.9"), UnknownSite, "layer 9"),
        ((lm, ON, "nowhere"), UnknownSite, "unknown site"),
        ((lm, "", SITE), BadPrompt, "empty"),
        ((lm, ["the cat", "a dog"], SITE), BadPrompt, "2 prompts"),
        (("gpt2", ON, SITE), InvalidArgument, "lm is a str"),
        ((lm, [1] * 33, SITE), BadPrompt, "33 tokens"),
    ):
        with pytest.raises(error, match=says) as raised:
            read(*given)
        assert raised.value.hint


def test_a_generator_of_another_model_is_refused(lm, gen) -> None:
    other = load_model((tiny_model("llama", seed=5), word_tokenizer()))
    with pytest.raises(GeneratorMismatch):
        isn.token_bits(other, gen, ON, site=SITE)
    with pytest.raises(GeneratorMismatch):
        isn.token_norms(other, ON, SITE, gen=gen)
    for name in ("norm", "bits"):
        assert why_not(name, other, SITE, gen) == "the generator was made for another model"
    assert why_not("change", other, SITE, gen) is None
    with pytest.raises(InvalidArgument, match="gen is a str"):
        isn.token_norms(lm, ON, SITE, gen="folder")
    with pytest.raises(InvalidArgument, match="gen is a str"):
        why_not("norm", lm, SITE, "folder")


def test_why_not_says_what_bits_lack(lm, gen) -> None:
    assert why_not("bits", lm, SITE, gen) is None
    assert why_not("bits", lm, SITE) == "no generator is at hand that was trained for this model"
    assert "not trained for blocks.0.hook_resid_post" in why_not("bits", lm, "resid_post.0", gen)
    with pytest.raises(UnknownSite):
        why_not("bits", lm, "resid_post.9", gen)
    with pytest.raises(InvalidArgument, match=r"there is no quantity 'bit'\. Did you mean 'bits'") as raised:
        why_not("bit", lm, SITE, gen)
    assert raised.value.hint == "allowed: norm, change, bits"


def test_the_table_of_quantities_offers_what_the_functions_give(lm, gen) -> None:
    assert list(QUANTITIES) == ["norm", "change", "bits"]
    assert [q.diverging for q in QUANTITIES.values()] == [False, False, True]
    by_name = {
        "norm": isn.token_norms(lm, ON, SITE, gen=gen),
        "change": isn.token_changes(lm, ON, SITE),
        "bits": isn.token_bits(lm, gen, ON, site=SITE),
    }
    told: list[tuple] = []
    for name, quantity in QUANTITIES.items():
        assert quantity.name == name
        assert quantity.label
        assert quantity.says.endswith(".")
        before = len(told)
        found = quantity.read(lm, ON, SITE, gen, on_progress=lambda *now: told.append(now), cancel=threading.Event())
        np.testing.assert_allclose(found, by_name[name], atol=1e-4)
        assert (len(told) > before) == quantity.is_slow
    assert [unit_of(name, lm, SITE, gen) for name in QUANTITIES] == [
        "standardised units",
        "of the layer before",
        "bits",
    ]
