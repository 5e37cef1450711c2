"""Chains that walk through the posterior: every move leaves the exact one as it is, and all of it is found."""

from __future__ import annotations

import itertools
import math
import threading
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import inversescope_nb as isn
from inversescope_nb._chains import chain_ess, nested_r_hat
from inversescope_nb.baselines import TextBank, metropolis
from inversescope_nb.baselines._beginnings import Beginnings
from inversescope_nb.baselines._budget import Budget
from inversescope_nb.baselines._supply import Supply
from inversescope_nb.baselines._walk import Walk
from inversescope_nb.baselines.searched import Pick
from inversescope_nb.errors import BadPrompt, Cancelled, InvalidArgument, NotFinite, UnknownSite
from inversescope_nb.exact import activation_table
from inversescope_nb.kernels import Kernel
from inversescope_nb.prompts import PromptDistribution
from inversescope_nb.templates import Slot, Template

SITE = "blocks.1.hook_resid_post"
NAMES = ["John", "Mary", "Paris", "France", "cat", "dog"]
CHAINS = 600


@pytest.fixture(scope="module")
def twice() -> PromptDistribution:
    """One name stands in two places."""
    names = [Slot("A", NAMES), Slot("B", NAMES), Slot("A2", lambda slots: (slots["A"],), domain=NAMES)]
    return PromptDistribution.from_templates([Template("{A} gave {B} to {A2}", names)], name="twice", cut="end")


@pytest.fixture(scope="module")
def free() -> PromptDistribution:
    """Four words, each any of six, cut anywhere."""
    slots = dict.fromkeys("ABCD", NAMES)
    return PromptDistribution.from_templates(["{A} {B} {C} {D}"], slots, name="free", cut="random")


@pytest.fixture(scope="module")
def written(lm) -> PromptDistribution:
    return PromptDistribution.from_model(lm, max_tokens=3)


def listed(prompts: PromptDistribution, lm) -> dict[tuple[int, ...], float]:
    """Every input with its log P."""
    if "samples of" not in prompts.name:
        return {ids: math.log(p) for ids, p in prompts.inputs(lm).items()}
    bos, tokens = lm.text_bos_id, range(4, lm.vocab_size)  # special ones have no probability
    every = [(bos, *ids) for k in (1, 2, 3) for ids in itertools.product(tokens, repeat=k)]
    log_p = prompts.log_probs(every, lm)
    return {ids: value for ids, value in zip(every, log_p, strict=True) if value > -math.inf}


def walk_of(lm, prompts, bandwidth: float = 0.5, seed: int = 0) -> Walk:
    picked = prompts.draw(1, lm, seed=3)[0]
    pick = Pick.of(lm, prompts, picked, SITE, -1, bandwidth, None)
    return Walk(Supply(pick, Budget(600.0, 100_000), seed=seed))


KINDS = [
    *[("twice", kind) for kind in ("value", "seen value")],
    *[("free", kind) for kind in ("jump", "value", "seen", "seen value", "beginning")],
    *[("written", kind) for kind in ("tokens", "value", "seen", "beginning")],
]


@pytest.mark.parametrize(("name", "kind"), KINDS, ids=lambda value: str(value).replace(" ", "-"))
def test_every_move_leaves_the_exact_posterior_as_it_is(lm, request, name, kind):
    """Chains that are exact draws are exact draws after any number of moves; each quantity within 4.5 errors."""
    prompts = request.getfixturevalue(name)
    every = listed(prompts, lm)
    walk = walk_of(lm, prompts)
    inputs, log_p = [list(ids) for ids in every], np.array(list(every.values()))
    d = walk.supply.distances(lm.activations(inputs, [SITE])[SITE])
    posterior = np.exp(log_p + walk.log_k(d, 0.5))
    posterior /= posterior.sum()
    rows = np.random.default_rng(1).choice(len(inputs), CHAINS, p=posterior)
    walk.start()
    walk.states, walk.d, walk.log_p = [list(inputs[i]) for i in rows], d[rows], log_p[rows]
    walk.bandwidth, walk.law = 0.5, {kind: 1.0}
    for _ in range(4):
        walk.move("testing")
    moved = sum(walk.states[c] != inputs[i] for c, i in enumerate(rows))
    assert moved > 30, f"only {moved} of {CHAINS} chains moved: nothing is tested"
    row_of = {tuple(x): i for i, x in enumerate(inputs)}
    now = np.array([row_of[tuple(x)] for x in walk.states])
    np.testing.assert_allclose(walk.d, d[now], atol=1e-4)
    np.testing.assert_allclose(walk.log_p, log_p[now], atol=1e-4)
    first = inputs[int(posterior.argmax())]
    quantities = [d, log_p, np.array([len(x) for x in inputs], dtype=float)]
    for i in range(1, 8):
        quantities.append(np.array([len(x) > i and x[i] == first[min(i, len(first) - 1)] for x in inputs], dtype=float))
        quantities.append(np.array([len(x) >= i and x[-i] == first[-min(i, len(first))] for x in inputs], dtype=float))
    for quantity in quantities:
        mean = posterior @ quantity
        error = math.sqrt(max(posterior @ (quantity - mean) ** 2, 1e-12) / CHAINS)
        assert abs(quantity[now].mean() - mean) <= 4.5 * error + 1e-9


@pytest.mark.parametrize("walks", [True, False], ids=["chains", "texts"])
@pytest.mark.parametrize(("name", "bandwidth"), [("twice", 0.5), ("free", 0.5), ("written", 0.7)])
def test_the_whole_of_it_finds_the_exact_posterior(lm, request, monkeypatch, name, bandwidth, walks):
    prompts = request.getfixturevalue(name)
    if walks:
        monkeypatch.setattr(PromptDistribution, "cuts_anywhere", False)
    elif prompts.cut != "random":
        pytest.skip("no input is the beginning of another")
    every = listed(prompts, lm)
    walk = walk_of(lm, prompts, bandwidth)
    picked = walk.pick.ids
    found = metropolis(
        lm, prompts, picked, site=SITE, bandwidth=bandwidth, n=500, passes=12_000, seconds=600,
        statistics=walk.units, seed=2,
    )  # fmt: skip
    inputs, log_p = [list(ids) for ids in every], np.array(list(every.values()))
    d = walk.supply.distances(lm.activations(inputs, [SITE])[SITE])
    weight = np.exp(log_p + walk.log_k(d, bandwidth))
    bits = -math.log2(weight.sum())
    assert found.verdict == "RELIABLE", found.verdict_reason
    assert (found.n_texts == 0) == walks
    assert math.isnan(found.r_hat) != walks
    assert found.bits == pytest.approx(bits, abs=4 * found.bits_stderr + 0.05)
    posterior = weight / weight.sum()
    for place in [i for i in (1, 2, 4, -1, -2) if len(picked) > abs(i)]:
        exact = float(posterior @ np.array([len(x) > abs(place) and x[place] == picked[place] for x in inputs]))
        rate = np.mean([len(x) > abs(place) and x[place] == picked[place] for x in found.samples])
        assert abs(rate - exact) <= 4 * math.sqrt(max(exact * (1 - exact), 0.01) / found.ess)


def test_bits_are_exact_where_few_of_a_bank_lie_near(lm, free):
    picked = free.draw(1, lm, seed=5)[0]
    found = metropolis(lm, free, picked, site=SITE, bandwidth=0.2, passes=4000, seconds=600, seed=1)
    exact = activation_table(lm, free, SITE).posterior(picked, 0.2)
    assert found.bits == pytest.approx(exact.bits, abs=4 * found.bits_stderr + 0.1)
    assert found.ess <= len(found)


def test_texts_weigh_as_the_beginnings_that_they_are_cut_into(lm, free, monkeypatch):
    """Of every text once, their mean is the exact Z; drawn by their weights and cut, inputs are the exact posterior."""
    picked = free.draw(1, lm, seed=5)[0]
    walk = walk_of(lm, free, 0.5)
    pick = Pick.of(lm, free, picked, SITE, -1, 0.5, None)
    whole = sorted({ids for ids in listed(free, lm) if len(ids) == 5})
    monkeypatch.setattr(free, "draw_texts", lambda *_, **__: [list(ids) for ids in whole], raising=False)
    bank = TextBank(lm, free)
    bank.grow(len(whole))
    texts = Beginnings(pick, walk.units, bank)
    for part in range(len(bank.parts)):
        texts.look(bank.activations(pick.site, part))
    assert len(texts) == len(whole)
    exact = activation_table(lm, free, SITE, statistics=walk.units).posterior(picked, 0.5)
    assert -texts.log_z[0] / math.log(2) == pytest.approx(exact.bits, abs=1e-4)
    drawn: dict[tuple[int, ...], float] = defaultdict(float)
    rng = np.random.default_rng(0)
    for _ in range(40):  # a text is cut once in each
        shown = texts.sample(500, rng)
        for ids, share in zip(shown.inputs, shown.weights, strict=True):
            drawn[tuple(ids)] += 500 * share
    of = {tuple(ids): p for ids, p in zip(exact.table.inputs, exact.p, strict=True)}
    assert drawn.keys() <= of.keys()
    assert sum(abs(drawn[ids] / 20_000 - p) for ids, p in of.items()) < 0.2, "total variation, mostly of rare ones"
    frequent = [ids for ids, p in of.items() if p > 0.01]
    assert frequent
    for ids in frequent:
        assert drawn[ids] / 20_000 == pytest.approx(of[ids], abs=5 * math.sqrt(of[ids] / 20_000))


def test_texts_are_the_answer_only_where_enough_of_them_count(lm, free):
    picked = next(ids for ids in free.draw(20, lm, seed=5) if len(ids) == 5)
    same = {"site": SITE, "passes": 2000, "seconds": 600, "n": 64}
    near, far = (metropolis(lm, free, picked, bandwidth=eps, **same) for eps in (0.5, 1e-3))
    assert near.n_texts > 0
    assert near.acceptance == {}
    assert "read at every token" in near.verdict_reason
    assert near.samples == metropolis(lm, free, picked, bandwidth=0.5, **same).samples
    assert far.n_texts == 0
    assert far.acceptance
    assert "states" in far.verdict_reason
    assert far.bank_size >= 2000


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_activation_that_is_no_number_is_refused_where_texts_are_read(lm, free, monkeypatch, value):
    walk = walk_of(lm, free)
    texts = Beginnings(walk.pick, walk.units, walk.supply.texts)
    monkeypatch.setattr(type(walk.units), "distance", lambda self, u, v: torch.full((len(u),), value))
    with pytest.raises(NotFinite, match="NaN"):
        texts.look(walk.supply.texts.activations(walk.pick.site, 0))


def test_the_same_seed_gives_the_same_states_where_passes_end_it(lm, twice):
    first, again, other = (
        metropolis(lm, twice, "John gave Mary to John", site=SITE, bandwidth=0.6, passes=2000, seconds=600, seed=seed)
        for seed in (0, 0, 1)
    )
    assert first.samples == again.samples
    assert first.samples != other.samples


def test_passes_are_counted_and_bound_it(lm, twice):
    found = metropolis(lm, twice, "John gave Mary to John", site=SITE, passes=1500, seconds=600)
    assert 1500 <= found.bank_size < 1500 + 32 * 5  # the batch at work is finished


def test_time_bounds_it(lm, twice):
    found = metropolis(lm, twice, "John gave Mary to John", site=SITE, seconds=0.05, passes=10**7)
    assert 16 < found.bank_size < 10**5


@pytest.mark.parametrize("each", [0.002, 0.02, 0.2])
@pytest.mark.parametrize("kind", ["twice", "written"])
def test_however_slow_the_model_it_ends_in_time(lm, request, monkeypatch, kind, each):
    """By a clock that only the model's passes move, `each` seconds a row."""
    clock, prompts = SimpleNamespace(now=0.0), request.getfixturevalue(kind)
    monkeypatch.setattr("inversescope_nb.baselines._budget.time.monotonic", lambda: clock.now)

    def slow(module, args, kwargs):
        clock.now += each * len(args[0] if args else kwargs["hidden_states"])

    with lm.architecture.blocks[0].register_forward_pre_hook(slow, with_kwargs=True):
        found = metropolis(lm, prompts, prompts.draw(1, lm, seed=7)[0], site=SITE, bandwidth=0.2, seconds=10, n=32)
    assert clock.now < 11
    assert clock.now > 5, "there was time for more"
    assert found.verdict in ("LOW_ESS", "RELIABLE")
    if each == 0.2:
        assert found.n_draws >= (16 if kind == "twice" else 8)
        assert not found.acceptance


@pytest.mark.parametrize("each", [0.02, 0.025, 0.03, 0.1])
def test_moves_that_ask_a_deep_model_are_no_longer_than_there_is_time_for(lm, twice, monkeypatch, each):
    """The site is early, so that candidates take next to nothing; what the model would write takes `each` a row."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("inversescope_nb.baselines._budget.time.monotonic", lambda: clock.now)
    monkeypatch.setattr("inversescope_nb.baselines._moves.SPANS", (1, 3))  # a move of three asks eleven times as often

    def slow(module, args, kwargs):
        clock.now += each * len(args[0] if args else kwargs["hidden_states"])

    for seed in range(8):
        clock.now = 0.0
        with lm.architecture.blocks[-1].register_forward_pre_hook(slow, with_kwargs=True):
            found = metropolis(
                lm, twice, "John gave Mary to John", site="blocks.0.hook_resid_post", bandwidth=0.2, passes=10**6, n=32,
                seed=seed,
            )  # fmt: skip
        assert clock.now < 10.5
        assert clock.now > 5, "there was time for more"
        assert "tokens" in found.acceptance


@pytest.mark.parametrize("kind", ["twice", "written", "free"])
def test_where_passes_end_it_the_clock_does_not_matter(lm, request, monkeypatch, kind):
    """The same states whether the model takes no time or a third of the seconds and more."""
    prompts, found = request.getfixturevalue(kind), []
    for each in (0.0, 0.006):
        clock = SimpleNamespace(now=0.0)
        monkeypatch.setattr("inversescope_nb.baselines._budget.time.monotonic", lambda clock=clock: clock.now)

        def slow(module, args, kwargs, each=each, clock=clock):
            clock.now += each * len(args[0] if args else kwargs["hidden_states"])

        picked = prompts.draw(1, lm, seed=7)[0]
        with lm.architecture.blocks[0].register_forward_pre_hook(slow, with_kwargs=True):
            found.append(metropolis(lm, prompts, picked, site=SITE, bandwidth=0.05, passes=1000, seconds=20, n=32))
    assert 1 < clock.now < 20
    assert found[0].bank_size == found[1].bank_size
    assert found[0].samples == found[1].samples
    assert found[0].bits == pytest.approx(found[1].bits, rel=1e-9)  # other texts are read together


def test_few_draws_are_never_called_reliable_nor_their_bits_known(lm, twice, monkeypatch):
    """Of sixteen, nobody can say how heavy the tail is; of the nearest one alone, any bits would come out."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("inversescope_nb.baselines._budget.time.monotonic", lambda: clock.now)

    def slow(module, args, kwargs):
        clock.now += 0.45 * len(args[0] if args else kwargs["hidden_states"])

    with lm.architecture.blocks[0].register_forward_pre_hook(slow, with_kwargs=True):
        for bandwidth in (0.01, 5.0):
            clock.now = 0.0
            found = metropolis(lm, twice, "John gave Mary to John", site=SITE, bandwidth=bandwidth, seconds=10, n=16)
            assert found.n_draws < 25
            assert found.verdict in ("LOW_ESS", "NO_INFORMATION")
            assert math.isnan(found.bits) == (found.ess_of_draws < 10) == (bandwidth == 0.01)


def test_draws_are_the_answer_where_no_chain_has_time_to_walk(lm, twice, monkeypatch):
    """They are neighbours: each draw weighed by the kernel, and what they say of the bits is what neighbours say."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("inversescope_nb.baselines._budget.time.monotonic", lambda: clock.now)

    def slow(module, args, kwargs):
        clock.now += 0.05 * len(args[0] if args else kwargs["hidden_states"])

    with lm.architecture.blocks[0].register_forward_pre_hook(slow, with_kwargs=True):
        found = metropolis(lm, twice, "John gave Mary to John", site=SITE, bandwidth=0.6, seconds=10, n=500)
    assert 190 <= found.n_draws <= 200, "each is run once, and none again"
    assert 9 < clock.now < 10.5
    assert found.n_texts == 0
    again = lm.activations(found.samples, [SITE])[SITE]
    cosine = torch.cosine_similarity(again, lm.activations([found.prompt_ids], [SITE])[SITE])
    np.testing.assert_allclose(found.cosine, cosine, rtol=1e-5)
    assert "draws, with nothing left for chains" in found.verdict_reason
    expected = np.exp(np.asarray(Kernel().log(np.asarray(found.d), 0.6)))
    np.testing.assert_allclose(found.weight, expected / expected.sum(), rtol=1e-4)


@pytest.mark.parametrize("shape", ["gaussian", "ball"])
def test_where_there_is_no_time_the_answer_says_so(lm, written, shape):
    """Texts are read but once; where a ball holds none of them, chains begin, and do not move."""
    kernel, picked = Kernel("scaled", shape), "France dog cat"
    found = metropolis(lm, written, picked, site=SITE, bandwidth=1e-3, kernel=kernel, seconds=1e-6, n=32)
    assert found.verdict == "LOW_ESS"
    assert found.bank_size <= 64
    assert (found.n_texts > 0) == (shape == "gaussian")


def test_verdicts_are_those_of_an_inversion(lm, twice, free):
    where = {"site": SITE, "passes": 1500, "seconds": 600}
    outside = metropolis(lm, twice, "the park is a dog", **where)
    assert outside.verdict == "OUTSIDE_PROMPT_DISTRIBUTION"
    alike = PromptDistribution.from_texts(["John and", "Mary and", "Paris and"], cut="end")
    same = metropolis(lm, alike, "John and", site="blocks.0.hook_resid_pre", passes=1500)
    assert same.verdict == "CONSTANT"
    wide = metropolis(lm, free, free.draw(1, lm, seed=5)[0], bandwidth=50.0, **where)
    assert wide.verdict == "NO_INFORMATION"
    few = metropolis(lm, free, free.draw(1, lm, seed=5)[0], bandwidth=0.01, site=SITE, passes=200)
    assert few.verdict == "LOW_ESS"
    assert "more seconds" in few.verdict_reason
    assert all(line for line in (few.summary(), repr(few)))


def test_without_a_scored_distribution_it_only_jumps(lm):
    class Unscored(PromptDistribution):
        name, cut = "unscored", "end"

        def draw(self, n, lm, *, seed, cancel=None):
            return PromptDistribution.from_texts(NAMES, cut="end").draw(n, lm, seed=seed, cancel=cancel)

    found = metropolis(lm, Unscored(), "John", site=SITE, bandwidth=0.5, passes=2000)
    assert list(found.acceptance) == ["jump"]
    assert {str(text) for text in found.texts} <= set(NAMES)


def test_rates_and_frames_take_it(lm, twice):
    found = metropolis(lm, twice, "John gave Mary to John", site=SITE, bandwidth=0.5, passes=3000)
    frame = found.to_frame()
    assert len(frame) == len(found)
    assert frame["weight"].sum() == pytest.approx(1)
    first = isn.Feature("first", lambda text: text.split()[0])
    rate = isn.consistency_of(found, first, permutations=0).to_frame()
    share = Counter(str(text).split()[0] for text in found.texts)["John"] / len(found)
    assert rate["fcr_with_copies"][0] == pytest.approx(share)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"seconds": 0}, InvalidArgument, "seconds=0 must be"),
        ({"seconds": math.nan}, InvalidArgument, "seconds=nan must be"),
        ({"passes": 3}, InvalidArgument, "passes=3 must be"),
        ({"n": 0}, InvalidArgument, "n=0 must be"),
        ({"site": "resid_post.9"}, UnknownSite, "layer 9 does not exist"),
        ({"bandwidth": -1}, InvalidArgument, "bandwidth"),
        ({"target": ""}, BadPrompt, "empty"),
    ],
)
def test_bad_arguments(lm, twice, changes, error, words):
    given = {"target": "John gave Mary to John", "site": SITE, "passes": 500} | changes
    with pytest.raises(error, match=words):
        metropolis(lm, twice, given.pop("target"), **given)


def test_it_can_be_stopped(lm, twice):
    stop, told = threading.Event(), []

    def listen(done, total, message):
        told.append((done, total, message))
        if message == "walking":
            stop.set()

    with pytest.raises(Cancelled):
        metropolis(lm, twice, "John gave Mary to John", site=SITE, on_progress=listen, cancel=stop)
    assert told[0][2] == "running a bank"
    assert all(0 <= done < total for done, total, _ in told)


# -- what chains are worth ------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.3])
def test_effective_size_of_autoregressive_chains(rho):
    """AR(1): n (1 - rho) / (1 + rho) in closed form."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 4000))
    for t in range(1, x.shape[1]):
        x[:, t] = rho * x[:, t - 1] + math.sqrt(1 - rho**2) * x[:, t]
    assert chain_ess(x) == pytest.approx(x.size * (1 - rho) / (1 + rho), rel=0.15)


def test_effective_size_knows_nothing_of_short_and_constant_chains():
    assert chain_ess(np.zeros((4, 3))) == 0
    assert math.isnan(chain_ess(np.ones((4, 100))))


def test_nested_r_hat_is_a_ratio_of_variances():
    """Two origins whose means lie 2 apart, each of variance 1: sqrt(1 + 2 / 1)."""
    x = np.array([[0.0, 2.0], [2.0, 0.0], [2.0, 4.0], [4.0, 2.0]])
    assert nested_r_hat(x, np.array([0, 0, 1, 1])) == pytest.approx(math.sqrt(3))
    assert nested_r_hat(np.ones((4, 5)), np.array([0, 0, 1, 1])) == 1
    assert nested_r_hat(np.array([[0.0] * 4, [1.0] * 4]), np.array([0, 1])) == math.inf
