"""Texts read at every token: what is read is what each beginning gives by itself, and many picks share it."""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import tiny_model, word_tokenizer

import inversescope_nb as isn
from inversescope_nb._statistics import effective_sample_size
from inversescope_nb.baselines import TextBank, metropolis
from inversescope_nb.baselines._beginnings import Beginnings, thinned
from inversescope_nb.baselines.searched import Pick
from inversescope_nb.errors import Cancelled, InvalidArgument, NotFinite, OutOfMemory
from inversescope_nb.kernels import site_statistics
from inversescope_nb.prompts import PromptDistribution
from inversescope_nb.reading import read_every_token
from inversescope_nb.token_rows import TokenRows

SITE, OTHER = "blocks.1.hook_resid_post", "blocks.0.hook_resid_post"
TEXTS = ["the cat is the dog", "John gave Mary to Paris", "a dog", "France and Paris and a cat in the park"]
SMALL = {"site": SITE, "bandwidth": 0.6, "n": 64, "passes": 2000, "seconds": 600}


@pytest.fixture
def texts() -> PromptDistribution:
    return PromptDistribution.from_texts(TEXTS)


@pytest.fixture(scope="module")
def written(lm) -> PromptDistribution:
    return PromptDistribution.from_model(lm, max_tokens=6)


def fits_only(tokens: int, seen: list[int]):
    """A hook on a block for which more than so many tokens are too much."""

    def hook(_module, args, kwargs):
        hidden = args[0] if args else kwargs["hidden_states"]
        seen.append(hidden.shape[0] * hidden.shape[1])
        if seen[-1] > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return hook


# -- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("site", [SITE, "blocks.0.attn.hook_z.1", "blocks.1.hook_mlp_out"])
def test_every_token_reads_as_the_beginning_that_ends_there(lm, site, first):
    rows = [[1, 5, 6, 7], [1, 8], [1, 9, 10, 11, 12, 13], [1], [1, 5, 6, 8]]
    found = read_every_token(lm, TokenRows.of_ids(rows), lm.site(site), first=first)
    alone = lm.activations([row[: i + 1] for row in rows for i in range(first, len(row))], [site])[site]
    assert found.dtype == lm.dtype
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)


def test_batches_are_halved_where_memory_runs_out(lm, caplog):
    rows = TokenRows.of_ids([[1, *[4 + i] * (3 + i % 3)] for i in range(12)])
    expected, seen = read_every_token(lm, rows, lm.site(SITE)), []
    block = lm.architecture.blocks[1]
    with (
        block.register_forward_pre_hook(fits_only(20, seen), with_kwargs=True),
        caplog.at_level(logging.WARNING, logger="inversescope_nb"),
    ):
        found = read_every_token(lm, rows, lm.site(SITE))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert max(seen) > 20 >= min(seen)
    assert "do not fit in memory" in caplog.text
    with (
        block.register_forward_pre_hook(fits_only(3, seen), with_kwargs=True),
        pytest.raises(OutOfMemory, match="prompt 0 of 4 tokens does not fit"),
    ):
        read_every_token(lm, rows, lm.site(SITE))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_is_refused_with_its_text(lm, value):
    rows = TokenRows.of_ids([[1, 5, 6], [1, 7, 8, 9], [1, 4]])

    def spoil(_module, _args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        hidden[-1, 2, 0] = value
        return output

    words = f"computes {'NaN' if math.isnan(value) else 'infinite'} values at {SITE} for prompt 1"
    with lm.architecture.blocks[1].register_forward_hook(spoil), pytest.raises(NotFinite, match=words):
        read_every_token(lm, rows, lm.site(SITE))


def test_reading_can_be_stopped(lm):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        read_every_token(lm, TokenRows.of_ids([[1, 5]]), lm.site(SITE), cancel=stop)


# -- the bank -------------------------------------------------------------------------------------


def test_each_text_is_cut_once_and_evenly(lm, texts):
    bank = TextBank(lm, texts, seed=3)
    bank.grow(3000)
    inputs = [x for part in bank.parts for x in part.inputs()]
    assert len(bank) == len(inputs) == 3000
    assert bank.n_inputs == sum(len(row) - 1 for part in bank.parts for row in rows_of(part))
    exact, seen = texts.inputs(lm), Counter(map(tuple, inputs))
    assert seen.keys() == exact.keys()
    for ids, p in exact.items():
        assert seen[ids] / 3000 == pytest.approx(p, abs=5 * np.sqrt(p / 3000))
    z = torch.cat([part.drawn(bank.activations(lm.site(SITE), i)) for i, part in enumerate(bank.parts)])
    torch.testing.assert_close(z[:50], lm.activations(inputs[:50], [SITE])[SITE], atol=1e-5, rtol=1e-5)


def rows_of(part) -> list[list[int]]:
    return [
        part.rows.flat[start : start + length].tolist()
        for start, length in zip(part.rows.starts, part.rows.lengths, strict=True)
    ]


def test_parts_are_no_larger_than_they_may_be(lm):
    bank = TextBank(lm, PromptDistribution.from_texts(TEXTS))
    bank.grow(40, tokens=20)
    sizes = [len(part) * int(part.rows.lengths.max()) for part in bank.parts]
    assert len(bank) == 40
    assert max(sizes) <= 20
    assert sum(sizes) / len(sizes) > 10


def test_no_more_is_kept_than_the_budget_and_other_sites_go_first(lm, texts):
    bank = TextBank(lm, texts)
    bank.grow(30, tokens=64)
    here, there = lm.site(SITE), lm.site(OTHER)
    n = len(bank.parts)
    assert n > 3
    sizes = [bank.activations(there, i).nbytes for i in range(n)]
    bank.budget = sum(sizes) + sizes[0] // 2
    assert all(bank.has(there, i) for i in range(n))
    first = bank.activations(here, 0)
    assert bank.has(here, 0)
    assert not bank.has(there, 0)
    for i in range(1, n):
        bank.activations(here, i)
    assert sum(bank.has(there, i) for i in range(n)) == 0
    assert all(bank.has(here, i) for i in range(n))
    bank.budget = 0
    bank.activations(there, 0)
    assert all(bank.has(here, i) for i in range(n)), "what cannot be kept displaces nothing"
    read = bank.n_read
    assert bank.activations(here, 0) is first
    assert bank.n_read == read
    nothing = TextBank(lm, texts, budget=0)
    nothing.grow(30, tokens=64)
    torch.testing.assert_close(nothing.activations(here, 0), first)
    nothing.activations(here, 0)
    assert nothing.n_read == 2 * len(nothing.parts[0])


def test_a_stopped_growth_adds_nothing(lm, written):
    bank, stop = TextBank(lm, written), threading.Event()
    bank.grow(5)
    stop.set()
    with pytest.raises(Cancelled):
        bank.grow(5, cancel=stop)
    assert len(bank) == 5


def test_a_bank_of_weights_that_were_changed_since_is_refused():
    lm = isn.load_model(tiny_model("llama"), tokenizer=word_tokenizer())
    P = PromptDistribution.from_model(lm, max_tokens=3)
    bank = TextBank(lm, P)
    metropolis(lm, P, "John gave", texts=bank, **SMALL)
    assert not bank.is_stale
    with torch.no_grad():  # a step of fine-tuning
        for weight in lm.model.parameters():
            weight += 1e-3
    assert bank.is_stale
    with pytest.raises(InvalidArgument, match=r"weights of .* were changed since"):
        metropolis(lm, P, "John gave", texts=bank, **SMALL)
    metropolis(lm, P, "John gave", texts=TextBank(lm, P), **SMALL)


# -- searches -------------------------------------------------------------------------------------


def test_a_second_pick_is_answered_from_what_is_there(lm, written):
    bank = TextBank(lm, written)
    picks = written.draw(2, lm, seed=9)
    first = metropolis(lm, written, picks[0], texts=bank, **SMALL)
    assert first.bank_size == len(bank) > 0
    size = len(bank)
    second = metropolis(lm, written, picks[1], texts=bank, **{**SMALL, "bandwidth": 1.0})
    assert second.verdict == first.verdict == "RELIABLE"
    assert (second.bank_size, second.n_texts, len(bank)) == (0, size, size)
    there = metropolis(lm, written, picks[1], texts=bank, **{**SMALL, "bandwidth": 1.0, "site": OTHER})
    assert there.bank_size == size, "texts are there, another site is read"


def looked_at(bank: TextBank, pick: Pick, units=None) -> Beginnings:
    """All of a bank, in units of its own draws."""
    if units is None:
        z = [part.drawn(bank.activations(pick.site, i)).float() for i, part in enumerate(bank.parts)]
        units = site_statistics(torch.cat(z))
    found = Beginnings(pick, units, bank)
    for i in range(len(bank.parts)):
        found.look(bank.activations(pick.site, i))
    return found


def test_what_is_kept_changes_no_answer(lm, written):
    pick = Pick.of(lm, written, written.draw(1, lm, seed=9)[0], SITE, -1, SMALL["bandwidth"], None)
    found = []
    for budget in (1 << 20, 0):
        bank = TextBank(lm, written, budget=budget)
        bank.grow(500)
        found.append(looked_at(bank, pick))
        assert bank.n_read == (500 if budget else 1000)
    np.testing.assert_allclose(found[0].log_w, found[1].log_w)


@pytest.mark.parametrize("budget", [1 << 20, 0])
def test_what_is_shown_is_run_again_only_where_it_was_not_kept(lm, written, budget):
    bank, runs = TextBank(lm, written, budget=budget), []
    bank.grow(300)
    with lm.architecture.blocks[0].register_forward_pre_hook(lambda *_: runs.append(1)):
        found = metropolis(lm, written, written.draw(1, lm, seed=9)[0], texts=bank, **SMALL)
        first = len(runs)
        again = metropolis(lm, written, found.prompt_ids, texts=bank, **SMALL)
    assert (len(runs) - first == 2) == (budget > 0), "the picked input, and how likely it is"
    assert again.samples == found.samples
    z, own = (lm.activations(x, [SITE])[SITE] for x in (again.samples, [again.prompt_ids]))
    np.testing.assert_allclose(again.relative_norm, (z - own).norm(dim=1) / own.norm(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n", [16, 64, 4096])
def test_texts_count_as_many_as_they_are_effective(lm, written, n):
    """Each text once: what downstream makes of the weights is what the texts are worth."""
    bank = TextBank(lm, written)
    bank.grow(1000)
    for i in range(len(bank.parts)):
        bank.activations(lm.site(SITE), i)
    found = metropolis(lm, written, written.draw(1, lm, seed=9)[0], texts=bank, **{**SMALL, "n": n})
    assert found.n_texts == 1000
    assert found.weight.sum() == pytest.approx(1)
    copies = [i for i, x in enumerate(found.samples) if x == found.prompt_ids]
    assert found.copy_share == pytest.approx(sum(found.weight[i] for i in copies))
    assert len(found) <= min(n, 1000)
    assert float(effective_sample_size(found.weight)) == pytest.approx(found.ess)
    pick = Pick.of(lm, written, found.prompt_ids, SITE, -1, SMALL["bandwidth"], None)
    whole = looked_at(bank, pick)
    assert found.ess_of_draws == pytest.approx(whole.ess, rel=0.02)  # in units of half as many draws
    assert found.ess == pytest.approx(min(n, whole.ess), rel=0.3)


@pytest.mark.parametrize("n", [1, 3, 7, 20])
def test_thinning_keeps_the_expectation_of_every_weight(n):
    weights = np.array([8.0, 4, 2, 1, 1, 1, 0.5, 0.5, 0.25, 0, 0.125, 0.125])
    total, rng, rounds = np.zeros(len(weights)), np.random.default_rng(0), 4000
    for _ in range(rounds):
        rows, new = thinned(weights, n, rng)
        assert len(set(rows)) == len(rows) == min(n, 11)
        assert new.sum() == pytest.approx(1)
        total[rows] += new
    share = weights / weights.sum()
    # a new weight is at most a threshold of 1/n, so that its variance is at most that times its mean
    for mean, exact in zip(total / rounds, share, strict=True):
        assert mean == pytest.approx(exact, abs=5 * math.sqrt(exact / n / rounds) + 1e-12)
    if n >= 7:  # the largest two stay as they are, each time
        np.testing.assert_allclose(total[:2] / rounds, share[:2])


def test_chains_show_as_many_states_as_these_are_worth(lm):
    whole = PromptDistribution.from_templates(
        ["{A} gave {B}"], {key: ["John", "Mary", "cat"] for key in "AB"}, cut="end"
    )
    found = metropolis(lm, whole, "John gave Mary", **{**SMALL, "n": 500})
    assert found.n_texts == 0
    assert min(500, int(found.ess)) <= len(found) <= 500
    assert found.asked == 500


def test_a_bank_goes_on_where_it_is_not_enough(lm, written):
    bank = TextBank(lm, written)
    bank.grow(8)
    found = metropolis(lm, written, written.draw(1, lm, seed=9)[0], texts=bank, **SMALL)
    assert len(bank) > 100
    assert found.n_texts == len(bank)


def test_of_a_model_with_half_the_digits(written):
    lm = isn.load_model(tiny_model("llama").to(torch.bfloat16), tokenizer=word_tokenizer())
    P = PromptDistribution.from_model(lm, max_tokens=5)
    with torch.no_grad():  # as large models have it: one coordinate far from 0, of which few digits are left
        lm.architecture.blocks[0].mlp.down_proj.weight[7] = 30.0
    bank = TextBank(lm, P)
    bank.grow(400)
    pick = Pick.of(lm, P, P.draw(1, lm, seed=1)[0], SITE, -1, 0.05, None)
    found = looked_at(bank, pick)
    z = [bank.activations(pick.site, i) for i in range(len(bank.parts))]
    assert z[0].dtype == torch.bfloat16
    assert float(z[0][:, 7].float().abs().mean()) > 50 * float(z[0][:, :7].float().std())
    d = found.units.distance(torch.cat(z).float(), pick.z_hat)
    assert float(d.min()) == 0, "the picked input is among them"
    each = found.units.kernel.log(d, 0.05).exp().view(400, -1).mean(1)
    np.testing.assert_allclose(np.exp(found.log_w), each.numpy(), rtol=1e-5, atol=1e-30)


def test_a_site_in_another_dtype_than_the_model(lm):
    narrow = isn.load_model((tiny_model("llama").to(torch.bfloat16), word_tokenizer()))

    def widen(_module, _args, output):
        return output.float() if isinstance(output, torch.Tensor) else (output[0].float(), *output[1:])

    with narrow.architecture.blocks[1].register_forward_hook(widen):
        found = read_every_token(narrow, TokenRows.of_ids([[1, 5, 6], [1, 7]]), narrow.site(SITE))
    assert found.shape == (5, narrow.d_model)


def test_a_distribution_of_cut_inputs_alone_walks(lm):
    class Cut(PromptDistribution):
        name, cut = "cut", "random"

        def draw(self, n, lm, *, seed, cancel=None):
            return PromptDistribution.from_texts(["John and", "Mary"], cut="end").draw(n, lm, seed=seed, cancel=cancel)

    found = metropolis(lm, Cut(), "John and", **SMALL)
    assert found.n_texts == 0
    assert list(found.acceptance) == ["jump"]


def test_bad_arguments(lm, texts, written):
    with pytest.raises(InvalidArgument, match="cuts its texts at end, not after any token"):
        TextBank(lm, texts.cut_at("end"))
    with pytest.raises(InvalidArgument, match="budget=-1"):
        TextBank(lm, texts, budget=-1)
    with pytest.raises(InvalidArgument, match="n=0"):
        TextBank(lm, texts).grow(0)
    with pytest.raises(InvalidArgument, match="of another model or P"):
        metropolis(lm, written, "John gave", texts=TextBank(lm, texts), **SMALL)
    other = isn.load_model(tiny_model("llama"), tokenizer=word_tokenizer())
    with pytest.raises(InvalidArgument, match="of another model or P"):
        metropolis(lm, texts, "the cat", texts=TextBank(other, texts), **SMALL)
    with pytest.raises(InvalidArgument, match="a list is no TextBank"):
        metropolis(lm, texts, "the cat", texts=[], **SMALL)


def test_a_slow_model_reads_little_at_a_time(lm, monkeypatch):
    """Texts cost nothing to write here; what is read together follows how long reading takes."""
    walk = SimpleNamespace(seconds=2.0, now=0.0)
    monkeypatch.setattr("inversescope_nb.baselines._budget.time.monotonic", lambda: walk.now)
    sizes = []

    def slow(module, args, kwargs):
        hidden = args[0] if args else kwargs["hidden_states"]
        sizes.append(hidden.shape[0] * hidden.shape[1])
        walk.now += 1e-3 * sizes[-1]

    P = PromptDistribution.from_texts([" ".join(["the dog is in"] * 5)])
    with lm.architecture.blocks[0].register_forward_pre_hook(slow, with_kwargs=True):
        metropolis(lm, P, "the dog is", site=SITE, bandwidth=1e-4, seconds=2.0, n=16)
    assert max(sizes) <= 1024
    assert walk.now < 2.0 + 1.1
