"""The exact posterior: against targets whose answer is known by formula, and against sums by hand."""

from __future__ import annotations

import math
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from known_answer import Copy, copying_model, kappa, label, prompts, rate, sum_label
from scipy import integrate
from small import open_gates

import inversescope_nb as isn
from inversescope_nb import _exact_tables, exact
from inversescope_nb.errors import Cancelled, InvalidArgument, NotEnumerable, UnknownSite
from inversescope_nb.exact import activation_table, activation_tables, exact_posterior
from inversescope_nb.features import Feature
from inversescope_nb.generator import TrainingConfig
from inversescope_nb.generator.building import build_generator
from inversescope_nb.kernels import Kernel, site_statistics
from inversescope_nb.prompts import PromptDistribution

CURVE = (0.05, 0.2, 0.35, 0.5, 0.7, 1.0, 2.0)
ATTN = "blocks.0.hook_attn_out"
TEXTS = ["the cat is in the park", "John gave the book to Mary", "the dog", "a dog is in the park ."]


# -- known answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_labels", "twins"), [(2, 1), (3, 2), (5, 1)])
@pytest.mark.parametrize("site", [ATTN, "blocks.0.attn.hook_z.0", "blocks.0.hook_resid_post"])
def test_a_site_that_holds_one_label_has_the_rate_of_the_formula(n_labels, twins, site) -> None:
    lm = copying_model(2, n_labels, [Copy(0)], twins=twins)
    table = activation_table(lm, prompts(2, n_labels, twins=twins), site)
    assert not table.statistics.is_constant
    for eps in CURVE:
        found = table.posterior("b0 a0 .", eps)
        assert found.fcr(label(0)) == pytest.approx(rate(eps, n_labels), abs=1e-5), eps
        assert found.fcr(label(1)) == pytest.approx(1 / n_labels, abs=1e-5), "the other slot: chance"
        z = 1 / n_labels + (1 - 1 / n_labels) * kappa(eps, n_labels)
        assert found.bits == pytest.approx(-math.log2(z), abs=1e-5)
        assert found.p.sum() == pytest.approx(1)


def test_a_site_that_holds_two_labels_holds_each_and_both() -> None:
    lm = copying_model(3, 3, [Copy(0), Copy(2)])
    table = activation_table(lm, prompts(3, 3), ATTN)
    for eps in CURVE:
        found = table.posterior("a0 b0 c0 .", eps)
        each = rate(eps, 3, share=0.5)
        assert found.fcr(label(0)) == pytest.approx(each, abs=1e-5)
        assert found.fcr(label(2)) == pytest.approx(each, abs=1e-5)
        assert found.fcr(label(0, 2)) == pytest.approx(each**2, abs=1e-5)
        assert found.fcr(label(1)) == pytest.approx(1 / 3, abs=1e-5)


def test_a_label_beside_a_big_distractor_is_held_only_below_some_bandwidth() -> None:
    lm = copying_model(2, 4, [Copy(0, amplitude=0.1), Copy(1)])
    table = activation_table(lm, prompts(2, 4), ATTN)
    corrected = []
    for eps in (0.5, 0.2, 0.1, 0.07, 0.05, 0.03):
        found = table.posterior("a0 b0 .", eps).fcr(label(0))
        assert found == pytest.approx(rate(eps, 4, share=0.01 / 1.01), abs=1e-4)
        corrected.append((found - 0.25) / 0.75)
    assert corrected[0] < 0.05
    assert corrected[-1] > 0.99
    assert corrected == sorted(corrected)


def test_a_sum_is_held_where_neither_of_its_terms_is() -> None:
    lm = copying_model(2, 3, [Copy(0), Copy(1)], adds=True)
    table = activation_table(lm, prompts(2, 3), "blocks.0.hook_mlp_out")
    for eps in CURVE:
        found = table.posterior("b0 c0 .", eps)
        assert found.fcr(sum_label(3)) == pytest.approx(rate(eps, 3), abs=1e-4)
        assert found.fcr(label(0)) == pytest.approx(1 / 3, abs=1e-4)
        assert found.fcr(label(1)) == pytest.approx(1 / 3, abs=1e-4)


def test_a_fixed_last_token_is_constant_before_attention() -> None:
    lm = copying_model(2, 2, [Copy(0)])
    table = activation_table(lm, prompts(2, 2), "blocks.0.hook_resid_pre")
    assert table.statistics.is_constant
    found = table.posterior("a0 b0 .", 0.1)
    assert found.bits == pytest.approx(0, abs=1e-9)
    assert found.fcr(label(0)) == pytest.approx(0.5)


# -- by hand ---------------------------------------------------------------------------------------


def test_a_posterior_by_hand(lm) -> None:
    P = PromptDistribution.from_texts(["the cat", "the cat", "a dog", "he"], cut="end")
    site, eps = "blocks.1.hook_resid_post", 0.6
    found = exact_posterior(lm, P, site, "a dog", eps)
    z = lm.activations(["the cat", "a dog", "he"], site)[site].double()
    p = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    mean = p @ z
    scale = float((p @ (z - mean).square()).mean().sqrt())
    d = (z - z[1]).norm(dim=1) / scale / math.sqrt(z.shape[1])
    joint = p * torch.exp(-d.square() / (2 * eps**2))
    by_text = {lm.decode(ids[1:]): i for i, ids in enumerate(found.table.inputs)}
    order = [by_text[t] for t in ("the cat", "a dog", "he")]
    np.testing.assert_allclose(found.d[order], d, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.p[order], joint / joint.sum(), rtol=1e-4)
    assert found.bits == pytest.approx(-math.log2(float(joint.sum())), rel=1e-4)
    assert found.table.statistics.scale == pytest.approx(scale, rel=1e-6)
    share = (joint / joint.sum()).numpy()
    assert found.entropy == pytest.approx(-(share * np.log(share)).sum(), rel=1e-4)
    is_animal = Feature("animal", lambda text: "cat" in text or "dog" in text)
    assert found.fcr(is_animal) == pytest.approx(share[:2].sum(), rel=1e-4)
    assert found.fcr(is_animal, copies=False) == pytest.approx(share[0] / (share[0] + share[2]), rel=1e-4)
    assert found.fcr(Feature("none", lambda text: None)) is None


def test_wide_and_narrow_kernels_give_the_prior_and_the_point(lm) -> None:
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    table = activation_table(lm, P, "resid_post.1")
    wide, narrow = table.posterior("the dog", 1e5), table.posterior("the dog", 1e-3)
    np.testing.assert_allclose(wide.p, np.exp(table.log_prior), rtol=1e-5)
    assert wide.bits == pytest.approx(0, abs=1e-6)
    own = table.inputs.index(lm.encode("the dog").rows()[0])
    assert narrow.p[own] == pytest.approx(1)
    assert narrow.bits == pytest.approx(-table.log_prior[own] / math.log(2), abs=1e-3)
    assert narrow.fcr(Feature("any", lambda text: True), copies=False) in (None, 1.0)
    bits = [table.posterior("the dog", eps).bits for eps in (0.02, 0.1, 0.3, 1.0)]
    assert bits == sorted(bits, reverse=True)


def test_draws_follow_the_posterior(lm) -> None:
    from small import check_draws

    found = exact_posterior(lm, PromptDistribution.from_texts(TEXTS, cut="random"), "resid_post.0", "the cat", 1.0)
    drawn = found.sample(3000, seed=1)
    check_draws(drawn, {tuple(x): p for x, p in zip(found.table.inputs, found.p, strict=True)})
    assert drawn == found.sample(3000, seed=1) != found.sample(3000, seed=2)


def test_a_position_cuts_the_pick(lm) -> None:
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    a = exact_posterior(lm, P, "resid_post.1", "the cat is in the park", 0.3, position=2)
    b = exact_posterior(lm, P, "resid_post.1", "the cat", 0.3)
    assert a.picked == b.picked
    np.testing.assert_allclose(a.log_p, b.log_p, atol=1e-5)


def test_other_moments_may_be_given(lm) -> None:
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    z = lm.activations(TEXTS, ["resid_post.1"])["resid_post.1"]
    s = site_statistics(z)
    found = exact_posterior(lm, P, "resid_post.1", "the dog", 0.3, statistics=s)
    assert found.table.statistics is s


# -- the gap of a generator ------------------------------------------------------------------------


def test_a_gap_is_the_divergence_that_a_listing_gives(lm) -> None:
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    small = TrainingConfig(width=16, n_tokens=2, n_blocks=1, n_heads=2, statistics_samples=64)
    gen = open_gates(build_generator(lm, ["resid_post.1"], P, small))
    site = gen.sites[0]
    table = activation_table(lm, P, site, statistics=gen.statistics(site))
    found = table.posterior("the dog", 0.5)
    u = gen.statistics(site).standardise(lm.activations(["the dog"], [site])[site])
    log_q = np.array([float(x.sum()) for x in gen.log_probs(table.inputs, gen.condition_on(site, u, 0.5))])
    exact = float((found.p * (found.log_p - log_q)).sum())
    gap, stderr = found.gap(gen, draws=400, seed=3)
    assert abs(gap - exact) < 4 * stderr + 1e-6
    assert exact > 0
    other = activation_table(lm, PromptDistribution.from_texts(TEXTS[:2]), site).posterior("the cat", 0.5)
    with pytest.raises(InvalidArgument, match="standardised by scale"):
        other.gap(gen)
    with pytest.raises(InvalidArgument, match="at least 2"):
        found.gap(gen, draws=1)
    v = u + 0.3
    noised = table.posterior_of(v[0], 0.5)
    log_q = np.array([float(x.sum()) for x in gen.log_probs(table.inputs, gen.condition_on(site, v, 0.5))])
    gap, stderr = noised.gap(gen, draws=400, seed=3)
    assert abs(gap - float((noised.p * (noised.log_p - log_q)).sum())) < 4 * stderr + 1e-6


def test_a_ball_holds_what_lies_within_it_alike(lm) -> None:
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    table = activation_table(lm, P, "resid_post.1", kernel=Kernel(shape="ball"))
    found = table.posterior("the dog", 1.2)
    inside = found.d <= 1.2
    assert 1 < inside.sum() < len(inside)
    prior = np.exp(table.log_prior)
    np.testing.assert_allclose(found.p, np.where(inside, prior, 0) / prior[inside].sum(), rtol=1e-6)
    assert found.bits == pytest.approx(-math.log2(prior[inside].sum()))
    with pytest.raises(InvalidArgument, match="no input of P"):
        table.posterior_of(torch.full((24,), 99.0), 0.1)


# -- what is refused -------------------------------------------------------------------------------


def test_what_cannot_be_listed_or_is_stopped_says_so(lm) -> None:
    with pytest.raises(NotEnumerable):
        exact_posterior(lm, PromptDistribution.from_model(lm, max_tokens=3), "resid_post.0", "the", 0.1)
    P = PromptDistribution.from_texts(TEXTS)
    with pytest.raises(NotEnumerable, match="more than 3"):
        activation_table(lm, P, "resid_post.0", limit=3)
    with pytest.raises(NotEnumerable, match="more than 3"):
        exact_posterior(lm, P, "resid_post.0", "the", 0.1, limit=3)
    event = threading.Event()
    event.set()
    for call in (activation_table, lambda *given, **how: exact_posterior(*given, "the", 0.1, **how)):
        with pytest.raises(Cancelled):
            call(lm, P, "resid_post.0", cancel=event)
    with pytest.raises(UnknownSite):
        exact_posterior(lm, P, "resid_post.9", "the", 0.1)
    for eps in (0, -1, math.nan):
        with pytest.raises(InvalidArgument, match="bandwidth"):
            exact_posterior(lm, P, "resid_post.0", "the", eps)
    assert (
        exact_posterior(lm, P, "resid_post.0", "the", 0.1).table.posterior_of(torch.zeros(24), 0.1).fcr(label(0))
        is None
    )


def test_a_distribution_that_is_too_large_is_refused_at_once(monkeypatch) -> None:
    lm = isn.load_model()

    def run(*_args, **_kwargs):
        raise AssertionError("it is refused before anything is run")

    monkeypatch.setattr(type(lm), "activations", run)
    for P in (isn.tasks.ioi().prompts, isn.tasks.get_prompts("all_tasks")):
        with pytest.raises(NotEnumerable, match=r"has at least .* limit is 2,000,000") as raised:
            exact_posterior(lm, P, "resid_post.3", "Mary", 0.1)
        assert "limit=" in raised.value.hint


MILLION = """
import resource
import numpy as np
import inversescope_nb as isn
from inversescope_nb.exact import activation_table

lm = isn.load_model()
digits = "0 1 2 3 4 5 6 7 8 9".split()
slots = {name: digits for name in "abcdef"}
prompts = isn.PromptDistribution.from_templates(["{a} {b} {c} + {d} {e} {f} ="], slots, cut="end")
table = activation_table(lm, prompts, "blocks.1.hook_resid_post", progress=False)
found = table.posterior(table.inputs[123_456], 0.1)
bits, error = table.channel_bits(0.1, draws=8)
assert (len(table.inputs), len(found.p)) == (1_000_000, 1_000_000)
assert abs(found.p.sum() - 1) < 1e-9 and np.isfinite(bits)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
def test_a_million_inputs_fit_in_four_gigabytes() -> None:
    done = subprocess.run([sys.executable, "-c", MILLION], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 4, "gigabytes at most, of a target of width 128"


def test_a_listing_and_a_run_are_reported(lm) -> None:
    seen = []
    exact_posterior(
        lm,
        PromptDistribution.from_texts(TEXTS),
        "resid_post.0",
        "the",
        0.1,
        on_progress=lambda *told: seen.append(told),
    )
    assert [message for _, _, message in seen] == ["listing inputs", "running the model"]
    assert seen[-1][0] == seen[-1][1] == seen[0][0]


# -- many at once ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [Kernel(), Kernel("whitened"), Kernel("cosine"), Kernel("scaled", "ball")])
def test_many_posteriors_at_once_are_those_one_by_one(lm, monkeypatch, kernel) -> None:
    for module in (exact, _exact_tables):
        monkeypatch.setattr(module, "ROWS", 5)
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    table = activation_table(lm, P, "blocks.1.hook_resid_post", kernel=kernel)
    monkeypatch.setattr(_exact_tables, "_DISTANCES", 2 * len(table.inputs))
    rows = table.draw(5, seed=3)
    centres = table.noised(rows, 0.4, amount=0.5, seed=1)
    found = list(table.posteriors(centres, 0.4))
    assert len(found) == 5
    for centre, one in zip(centres, found, strict=True):
        alone = table.posterior_of(centre, 0.4)
        np.testing.assert_allclose(one.d, alone.d, atol=1e-6)
        np.testing.assert_allclose(one.p, alone.p, atol=1e-5)
        assert one.bits == pytest.approx(alone.bits, abs=1e-5)


def test_tables_of_several_sites_are_those_one_by_one_from_one_pass(lm, monkeypatch) -> None:
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    sites = ["resid_post.1", "blocks.0.attn.hook_z.2", "resid_pre.0"]
    given = {"blocks.1.hook_resid_post": site_statistics(lm.activations([[2, 3], [5, 4, 7], [9]], sites[0])[sites[0]])}
    alone = {lm.site(s).name: activation_table(lm, P, s, statistics=given.get(lm.site(s).name)) for s in sites}
    passes, run = [], lm.activations
    monkeypatch.setattr(lm, "activations", lambda *a, **k: passes.append(1) or run(*a, **k))
    tables = activation_tables(lm, P, sites, statistics=given)
    assert passes == [1]
    assert list(tables) == list(alone)
    for name, table in tables.items():
        assert table.site.name == name
        assert table.inputs == alone[name].inputs
        torch.testing.assert_close(table.u, alone[name].u, atol=1e-6, rtol=1e-5)
        assert table.posterior("the dog", 0.3).bits == pytest.approx(alone[name].posterior("the dog", 0.3).bits)
    assert tables["blocks.1.hook_resid_post"].statistics is given["blocks.1.hook_resid_post"]
    with pytest.raises(InvalidArgument, match="statistics is a int"):
        activation_tables(lm, P, sites, statistics={"blocks.1.hook_resid_post": 5})


@pytest.mark.parametrize("eps", [0.3, 0.8, 2.0])
def test_channel_bits_of_two_inputs_are_those_of_the_textbook_channel(lm, eps) -> None:
    P = PromptDistribution.from_texts(["the cat", "a dog", "a dog", "a dog"], cut="end")
    table = activation_table(lm, P, "blocks.1.hook_resid_post")
    p = np.exp(table.log_prior)
    apart = float((table.u[0] - table.u[1]).norm()) / (eps * math.sqrt(table.u.shape[1]))
    # along the line between them: a mixture of two unit normals, I = h(v) - h(noise)
    t = np.linspace(-12, apart + 12, 200_001)
    normal = [np.exp(-((t - m) ** 2) / 2) / math.sqrt(2 * math.pi) for m in (0.0, apart)]
    density = p[0] * normal[0] + p[1] * normal[1]
    h = -integrate.trapezoid(density * np.log2(np.maximum(density, 1e-300)), t)
    expected = h - math.log2(2 * math.pi * math.e) / 2
    bits, error = table.channel_bits(eps, draws=4000, seed=1)
    assert error < 0.02
    assert bits == pytest.approx(expected, abs=4 * error + 1e-6)


def test_channel_bits_lie_between_resolution_bits_at_twice_the_bandwidth_and_at_it() -> None:
    lm = copying_model(2, 5, [Copy(0)])
    table = activation_table(lm, prompts(2, 5), ATTN)
    for eps in (0.2, 0.5, 0.9):
        bits, error = table.channel_bits(eps, draws=2000)
        low, high = (np.exp(table.log_prior) @ [q.bits for q in table.posteriors(table.u, e)] for e in (2 * eps, eps))
        assert low - 4 * error <= bits <= high + 4 * error


def test_labels_are_found_once_and_coded() -> None:
    lm = copying_model(2, 3, [Copy(0)])
    table = activation_table(lm, prompts(2, 3), ATTN)
    seen = []
    first = Feature("first", lambda text: seen.append(text) or (text[:1] if text[0] != "c" else None))
    codes = table.codes(first)
    assert table.codes(first) is codes
    assert len(seen) == len(table.inputs)
    by_code = {code: {lm.decode(ids[-3:])[:1] for ids, c in zip(table.inputs, codes, strict=True) if c == code}
               for code in set(codes.tolist())}  # fmt: skip
    assert sorted(by_code) == [-1, 0, 1]
    assert by_code[-1] == {"c"}
    second = Feature("second", lambda text: text.split()[1])
    table.label([first, second])
    assert len(seen) == len(table.inputs), "what is known is not read again"
    assert set(table.codes(second)) == {0, 1, 2}


@pytest.mark.parametrize("metric", ["scaled", "per_coordinate", "whitened"])
def test_a_table_in_other_units_is_that_made_with_them(lm, metric) -> None:
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    table = activation_table(lm, P, "blocks.1.hook_resid_post", kernel=Kernel(metric))
    other = site_statistics(lm.activations([[2, 3], [5, 4, 7], [9], [4, 4]], [table.site])[table.site.name])
    made = activation_table(lm, P, table.site, statistics=other)
    again = table.in_units(other)
    torch.testing.assert_close(again.u, made.u, atol=1e-4, rtol=1e-4)
    assert again.inputs == made.inputs
    with pytest.raises(InvalidArgument, match="statistics is a int"):
        table.in_units(5)
    with pytest.raises(InvalidArgument, match="lost their lengths"):
        activation_table(lm, P, table.site, kernel=Kernel("cosine")).in_units(other)
