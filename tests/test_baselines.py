"""Prior, rejection and perturbation: against the exact posterior, and against what each of them promises."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

import inversescope_nb as isn
from inversescope_nb.baselines import neighbours, perturbation, prior, rejection
from inversescope_nb.errors import BadPrompt, Cancelled, InvalidArgument
from inversescope_nb.exact import activation_table
from inversescope_nb.features import contains
from inversescope_nb.kernels import Kernel
from inversescope_nb.prompts import PromptDistribution

SITE = "blocks.1.hook_resid_post"
TEXTS = [f"{a} gave the {b} to {c}" for a in ("John", "Mary") for b in ("book", "cat") for c in ("Paris", "France")]


@pytest.fixture(scope="module")
def prompts() -> PromptDistribution:
    return PromptDistribution.from_texts(TEXTS, name="gifts", cut="end")


@pytest.fixture(scope="module")
def table(lm, prompts):
    return activation_table(lm, prompts, SITE)


def same_units(table) -> dict:
    return {"site": SITE, "statistics": table.statistics}


def test_draws_of_the_prior_estimate_the_exact_posterior(lm, prompts, table) -> None:
    eps = 0.7
    exact = table.posterior(TEXTS[0], eps)
    found = prior(lm, prompts, TEXTS[0], bandwidth=eps, n=4000, **same_units(table))
    assert found.bits == pytest.approx(exact.bits, abs=5 * found.bits_stderr)
    rate = float(found.weight @ [contains("John")(text) for text in found.texts])
    assert rate == pytest.approx(exact.fcr(contains("John")), abs=5 * 0.5 / math.sqrt(found.ess))
    assert found.bank_size == found.n == 4000
    assert found.verdict == "PRIOR"


@pytest.mark.parametrize("kernel", [Kernel(), Kernel("scaled", "ball")])
def test_what_rejection_keeps_are_draws_from_the_exact_posterior(lm, prompts, kernel) -> None:
    table = activation_table(lm, prompts, SITE, kernel=kernel)
    eps = float(np.median(table.posterior(TEXTS[0], 9.0).d))
    exact = table.posterior(TEXTS[0], eps)
    found = rejection(lm, prompts, TEXTS[0], bandwidth=eps, n=3000, passes=100_000, **same_units(table))
    assert found.n == 3000
    expected = dict(zip(map(tuple, table.inputs), exact.p, strict=True))
    for ids, p in expected.items():
        share = sum(tuple(s) == ids for s in found.samples) / found.n
        assert share == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / found.n) + 1e-9), ids
    assert found.bits == pytest.approx(exact.bits, abs=5 * found.bits_stderr + 1e-9)
    assert found.ess == found.n
    assert found.weight.tolist() == [1 / 3000] * 3000
    assert found.ball_edge == pytest.approx(np.quantile(found.d, 0.95, method="inverted_cdf"))
    assert found.in_ball.mean() >= 0.95, "equal weights: the edge is their plain quantile"


def test_rejection_ends_with_its_passes_and_says_what_it_cost(lm, prompts, table) -> None:
    cheap = rejection(lm, prompts, TEXTS[0], bandwidth=5.0, n=10, passes=5000, **same_units(table))
    assert cheap.n == 10
    assert 10 <= cheap.bank_size < 30
    none = rejection(lm, prompts, "the cat", bandwidth=0.001, n=5, passes=40, **same_units(table))
    assert (none.n, none.bank_size, none.ess) == (0, 40, 0.0)
    assert none.bits > 3
    assert math.isnan(none.bits_stderr)
    assert "none of 40 inputs" in none.summary()
    assert len(none.to_frame()) == 0


def test_perturbations_differ_in_a_few_tokens_and_are_weighed_where_p_can_make_them(lm) -> None:
    possible = TEXTS[:2] + TEXTS[3:]
    prompts = PromptDistribution.from_texts(possible, cut="end")
    table = activation_table(lm, prompts, SITE)
    found = perturbation(lm, prompts, TEXTS[0], bandwidth=0.7, n=400, swaps=2, **same_units(table))
    for ids in found.samples:
        assert ids[0] == found.prompt_ids[0]
        assert len(ids) == len(found.prompt_ids)
        assert 1 <= sum(a != b for a, b in zip(ids, found.prompt_ids, strict=True)) <= 2
    assert not found.is_copy.any()
    assert (np.diff(found.d) >= 0).all()
    real = [str(text) in possible for text in found.texts]
    assert found.on_support.tolist() == real
    assert 0 < sum(real) < 400
    there = [{x[i] for x in table.inputs if len(x) > i} for i in range(len(found.prompt_ids))]
    assert all(token in there[i] for ids in found.samples for i, token in enumerate(ids))
    held = np.cumsum(found.weight) >= 0.95
    assert found.ball_edge == found.d[held.argmax()]
    assert found.weight[~found.on_support].sum() == 0
    kernel = np.exp(-np.square(found.d) / (2 * 0.7**2)) * real
    np.testing.assert_allclose(found.weight, kernel / kernel.sum(), rtol=1e-4)
    assert math.isnan(found.bits)


def test_where_nothing_near_was_met_bits_are_the_least_that_allows(lm, prompts, table) -> None:
    far = prior(lm, prompts, "the cat", bandwidth=0.001, n=40, **same_units(table))
    none = rejection(lm, prompts, "the cat", bandwidth=0.001, n=5, passes=40, **same_units(table))
    assert far.bits == none.bits
    assert math.isnan(far.bits_stderr)
    assert none.bits < table.posterior("the cat", 0.001).bits


@pytest.mark.parametrize("search", [neighbours, prior, rejection, perturbation])
def test_moments_that_do_not_fit_are_refused(lm, prompts, table, search) -> None:
    narrow = activation_table(lm, prompts, "blocks.1.attn.hook_z.0").statistics
    wrong = [
        ({"statistics": "x"}, "statistics is a str"),
        ({"statistics": narrow}, "coordinates for activations of"),
        ({"statistics": table.statistics, "kernel": Kernel("whitened")}, "was asked for, but statistics has"),
    ]
    for arguments, says in wrong:
        with pytest.raises(InvalidArgument, match=says) as raised:
            search(lm, prompts, TEXTS[0], site=SITE, **arguments)
        assert raised.value.hint


def test_there_is_nothing_to_swap_in_bos(lm, prompts) -> None:
    with pytest.raises(BadPrompt, match="only BOS"):
        perturbation(lm, prompts, TEXTS[0], site=SITE, position=0)


@pytest.mark.parametrize("search", [prior, rejection, perturbation])
def test_every_baseline_keeps_the_common_promises(lm, prompts, table, search) -> None:
    kwargs = {"bandwidth": 0.9, "n": 96, **same_units(table)}
    a, b, c = (search(lm, prompts, TEXTS[0], seed=s, **kwargs).samples for s in (0, 0, 1))
    assert a == b != c
    found = search(lm, prompts, TEXTS[0], **kwargs)
    assert list(found.to_frame().columns[:3]) == ["token_ids", "text", "d"]
    rate = isn.consistency_of(found, [contains("John")], permutations=0).to_frame().iloc[0]["fcr"]
    assert 0 <= rate <= 1
    own = search(lm, prompts, TEXTS[0], site=SITE, bandwidth=0.9, n=16)  # with moments of its own bank
    assert np.isfinite(own.d).all()
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        search(lm, prompts, TEXTS[0], cancel=stop, **kwargs)
    with pytest.raises(InvalidArgument, match="n=0"):
        search(lm, prompts, TEXTS[0], **{**kwargs, "n": 0})
    with pytest.raises(InvalidArgument, match="prompts is a list"):
        search(lm, TEXTS, TEXTS[0], **kwargs)
    same = PromptDistribution.from_texts(["John gave the book"], name="one", cut="end")
    assert search(lm, same, "John gave the book", site=SITE, n=4).verdict == "CONSTANT"
