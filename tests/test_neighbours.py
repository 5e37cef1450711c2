"""The nearest prompts of a bank, against distances and sums written out by hand."""

from __future__ import annotations

import math
import random
import threading

import numpy as np
import pytest
import torch
from conftest import tiny_model, word_tokenizer

import inversescope_nb as isn
from inversescope_nb.banks import draw_bank
from inversescope_nb.baselines import neighbours, prior
from inversescope_nb.errors import BadPrompt, Cancelled, InvalidArgument, UnknownSite
from inversescope_nb.features import Feature
from inversescope_nb.prompts import PromptDistribution

SITE = "blocks.1.hook_resid_post"
TEXTS = [f"{a} gave the {b} to {c}" for a in ("John", "Mary") for b in ("book", "cat") for c in ("Paris", "France")]


@pytest.fixture(scope="module")
def prompts() -> PromptDistribution:
    return PromptDistribution.from_texts(TEXTS, name="gifts", cut="end")


def test_distances_and_weights_are_those_of_the_bank(lm, prompts):
    found = neighbours(lm, prompts, TEXTS[0], site=SITE, bandwidth=0.5, bank=64, seed=3)
    bank = prompts.draw(64, lm, seed=random.Random(3).randrange(2**31))
    z = lm.activations(bank, [SITE])[SITE].double().numpy()
    z_hat = lm.activations([TEXTS[0]], [SITE])[SITE].double().numpy()
    scale = math.sqrt(z.var(axis=0).mean())
    d = np.sqrt(np.square((z - z_hat) / scale).mean(axis=1))
    np.testing.assert_allclose(found.d, np.sort(d), atol=1e-4)
    kernel = np.exp(-np.square(d) / (2 * 0.5**2))
    np.testing.assert_allclose(found.weight, np.sort(kernel)[::-1] / kernel.sum(), rtol=1e-3)
    assert found.bits == pytest.approx(-math.log2(kernel.mean()), abs=1e-3)
    assert found.ess == pytest.approx(kernel.sum() ** 2 / np.square(kernel).sum(), rel=1e-3)
    assert found.ball_edge == pytest.approx(np.sort(d)[np.searchsorted(np.cumsum(found.weight), 0.95)], abs=1e-4)


def test_a_bank_is_read_anew_after_a_step_of_fine_tuning(prompts):
    lm = isn.load_model((tiny_model("llama"), word_tokenizer()))
    bank = draw_bank(lm, prompts, 64)
    before = bank.activations(SITE)
    assert bank.activations(SITE) is before
    with torch.no_grad():
        for weight in lm.model.parameters():
            weight += 0.01
    found = neighbours(lm, prompts, TEXTS[0], site=SITE, bank=bank)
    assert found.d.min() == pytest.approx(0, abs=1e-3), "the picked one is among them"
    np.testing.assert_allclose(bank.activations(SITE), lm.activations(bank.inputs, [SITE])[SITE], rtol=1e-5)
    assert float((bank.activations(SITE) - before).abs().max()) > 1e-3


def test_all_that_carries_the_estimate_is_kept_and_little_else(lm, prompts):
    bank = draw_bank(lm, prompts, 2000, seed=3)
    narrow, wide = (neighbours(lm, prompts, TEXTS[0], site=SITE, bandwidth=e, bank=bank) for e in (1e-3, 2.0))
    assert len(narrow) == 256, "copies of the pick alone"
    assert len(wide) > 1900
    every = prior(lm, prompts, TEXTS[0], site=SITE, bandwidth=2.0, n=2000, seed=3)
    assert every.samples == bank.inputs
    for found in (wide, every):
        rate = isn.consistency_of(found, Feature("name", lambda text: text.split()[0]), permutations=0).to_frame()
        expected = every.weight @ [str(text).startswith("John") for text in every.texts]
        assert rate["fcr_with_copies"][0] == pytest.approx(expected, abs=1e-3)


def test_the_picked_input_is_its_own_nearest(lm, prompts):
    found = neighbours(lm, prompts, TEXTS[0], site=SITE, bank=64)
    assert found.is_copy[0]
    assert found.d[0] < 1e-3
    assert str(found.texts[0]) == TEXTS[0]
    assert found.copy_share == sum(ids == found.prompt_ids for ids in found.samples) / len(found)
    assert found.to_frame()["text"].iloc[0] == TEXTS[0]
    assert "64 inputs drawn from P(X)" in found.summary()


def test_a_bank_drawn_before_serves_many_picks_and_is_run_once(lm, prompts, monkeypatch):
    bank = draw_bank(lm, prompts, 64, seed=3)
    for target in TEXTS[:2]:
        own = neighbours(lm, prompts, target, site=SITE, bank=64, seed=3)
        shared = neighbours(lm, prompts, target, site=SITE, bank=bank)
        assert shared.samples == own.samples
        np.testing.assert_array_equal(shared.d, own.d)
        np.testing.assert_array_equal(shared.cosine, own.cosine)
        assert shared.bank_size == 64
    ran = []
    monkeypatch.setattr(lm, "activations", lambda *a, f=lm.activations, **k: ran.append(len(a[0])) or f(*a, **k))
    neighbours(lm, prompts, TEXTS[2], site=SITE, bank=bank)
    assert ran == [1], "the picked input alone"
    with pytest.raises(InvalidArgument, match="a bank of 0 inputs"):
        neighbours(lm, prompts, TEXTS[0], site=SITE, bank=draw_bank(lm, prompts, 0, seed=0))


def test_the_same_seed_gives_the_same_bank(lm, prompts):
    a, b, c = (neighbours(lm, prompts, TEXTS[0], site=SITE, bank=16, seed=s).samples for s in (0, 0, 1))
    assert a == b != c


def test_a_position_cuts_the_target(lm, prompts):
    found = neighbours(lm, prompts, TEXTS[0], site=SITE, position=2, bank=16)
    assert found.tokens == ["<bos>", "John", "gave"]
    assert found.position == 2


def test_a_site_that_does_not_vary_says_so(lm):
    same = PromptDistribution.from_texts(["John gave the book"], name="one", cut="end")
    found = neighbours(lm, same, "John gave the book", site=SITE, bank=8)
    assert found.verdict == "CONSTANT"


def test_bad_arguments_are_the_packages_own_errors(lm, prompts):
    with pytest.raises(UnknownSite):
        neighbours(lm, prompts, TEXTS[0], site="nowhere")
    with pytest.raises(InvalidArgument, match="bank=1"):
        neighbours(lm, prompts, TEXTS[0], site=SITE, bank=1)
    with pytest.raises(InvalidArgument, match="must be a number > 0"):
        neighbours(lm, prompts, TEXTS[0], site=SITE, bandwidth=0)
    with pytest.raises(InvalidArgument, match="outside the prompt"):
        neighbours(lm, prompts, TEXTS[0], site=SITE, position=50)
    with pytest.raises(BadPrompt):
        neighbours(lm, prompts, "", site=SITE)


def test_a_search_can_be_stopped(lm, prompts):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        neighbours(lm, prompts, TEXTS[0], site=SITE, bank=8, cancel=stop)


def test_it_can_be_read_like_an_inversion(lm, prompts):
    found = neighbours(lm, prompts, TEXTS[0], site=SITE, bandwidth=0.5, bank=64)
    report = isn.consistency_of(found, [isn.features.contains("John")], permutations=0)
    assert 0 <= report.to_frame().iloc[0]["fcr"] <= 1
