"""Estimators: worked by hand, against scipy, and against truth in small simulations."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inversescope_nb import _agreement, _permutation, _statistics
from inversescope_nb._agreement import (
    Sampled,
    agreement,
    corrected,
    effective_samples,
    rate,
)
from inversescope_nb._permutation import permutation_test
from inversescope_nb._statistics import (
    benjamini_hochberg,
    bootstrap_counts,
    effective_sample_size,
    generalised_pareto_fit,
    group_codes,
    normalise,
    pareto_khat,
    truncate,
    wilson,
)

positive = arrays(np.float64, st.integers(2, 40), elements=st.floats(1e-3, 1e3))


@pytest.mark.parametrize("module", [_statistics, _agreement, _permutation])
def test_docstring_examples_run(module) -> None:
    assert doctest.testmod(module).failed == 0


# -- weights ---------------------------------------------------------------------------------------


@given(positive, st.floats(1e-6, 1e6))
def test_weights_do_not_depend_on_their_scale(weights, factor) -> None:
    for f in (normalise, truncate, effective_sample_size):
        np.testing.assert_allclose(f(weights * factor), f(weights), rtol=1e-9)


@given(positive)
def test_truncation_never_lowers_the_effective_sample_size(weights) -> None:
    n, before, after = len(weights), effective_sample_size(weights), effective_sample_size(truncate(weights))
    assert 1 - 1e-9 <= before <= after + 1e-9 <= n + 1e-6
    assert truncate(weights).sum() == pytest.approx(1)
    raw = np.minimum(weights, weights.mean() * np.sqrt(n))
    np.testing.assert_allclose(truncate(weights), raw / raw.sum())


def test_weights_of_nothing_are_nothing() -> None:
    nothing = np.zeros((2, 3))
    assert not truncate(nothing).any()
    assert effective_sample_size(nothing).tolist() == [0.0, 0.0]
    assert effective_sample_size(np.zeros(0)) == 0


def test_the_pareto_fit_takes_a_grid_that_meets_the_exponential_law_exactly() -> None:
    """Of 100 equal values (a sampler that copies) one of the 40 grid points is theta = 0: 0 / 0 in its likelihood."""
    equal, nearly = np.ones(100), 1 + 1e-6 * np.arange(100)
    np.testing.assert_allclose(generalised_pareto_fit(equal), generalised_pareto_fit(nearly), rtol=1e-2)
    copies = np.concatenate([np.zeros(100), np.full(156, -9.0)])
    assert np.isfinite(pareto_khat(copies))


@pytest.mark.parametrize("shape", [-0.5, -0.2, 0.3, 0.7, 1.2])
def test_the_pareto_fit_agrees_with_maximum_likelihood_on_simulated_tails(shape) -> None:
    genpareto = pytest.importorskip("scipy.stats").genpareto
    excess = genpareto.rvs(shape, scale=2.0, size=1000, random_state=7)
    k, scale = generalised_pareto_fit(excess)
    assert k == pytest.approx(shape, abs=0.12)
    fitted, _, fitted_scale = genpareto.fit(excess, 1.0, floc=0)
    assert (k, scale) == pytest.approx((fitted, fitted_scale), abs=0.06)


def test_khat_finds_the_index_of_a_power_law() -> None:
    rng = np.random.default_rng(0)
    for index in (0.3, 0.7, 1.0):  # weights u^-a have tail index a; the prior draws toward 0.5
        found = np.mean([pareto_khat(-index * np.log(rng.random(2000))) for _ in range(30)])
        assert found == pytest.approx(index, abs=0.08)


def test_khat_of_flat_tied_and_few_weights() -> None:
    assert pareto_khat(np.zeros(100)) == -np.inf, "equal weights are perfect"
    assert np.isnan(pareto_khat(np.zeros(20))), "too few for a tail"
    assert np.isnan(pareto_khat(np.full(50, -np.inf))), "no weight at all"
    assert np.isnan(pareto_khat(np.array([0.0] * 2 + [-9.0] * 60))), "two stand out: nothing to fit"
    tied = np.repeat(np.log([1.0, 0.9, 0.5]), 30)  # many samples of few inputs
    assert pareto_khat(tied) < 0.5


@given(arrays(np.float64, 60, elements=st.floats(-30, 0)), st.floats(-1e3, 1e3))
@settings(max_examples=30)
def test_khat_ignores_a_constant_in_the_log_weights(log_weights, constant) -> None:
    log_weights = log_weights.round(3)
    a, b = pareto_khat(log_weights), pareto_khat(log_weights + round(constant, 0))
    assert a == pytest.approx(b, abs=1e-4, nan_ok=True)


# -- intervals -------------------------------------------------------------------------------------


def test_wilson_by_hand_and_at_its_ends() -> None:
    # p = 0.5, n = 10, z = 1.96: centre 0.5, half width z sqrt(0.025 + z^2/400) / (1 + z^2/10)
    low, high = wilson(0.5, 10)
    assert (low, high) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0.3, 0) == (0.0, 1.0)
    assert wilson(0.0, 50)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(1.0, 50)[1] == pytest.approx(1)


def test_benjamini_hochberg_by_hand() -> None:
    p = np.array([0.01, 0.02, 0.03, 0.5, np.nan])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.04, 0.04, 0.04, 0.5, np.nan])
    assert benjamini_hochberg(np.array([])).shape == (0,)


@given(arrays(np.float64, 12, elements=st.floats(0, 1)))
def test_q_values_keep_the_order_of_p_values_and_are_no_smaller(p) -> None:
    q = benjamini_hochberg(p)
    assert (q >= p - 1e-15).all()
    assert (np.diff(q[np.argsort(p, kind="stable")]) >= -1e-12).all()


def test_the_bootstrap_draws_whole_groups() -> None:
    groups = group_codes(["a", "a", "b", "c", "b"])
    assert groups.tolist() == [0, 0, 1, 2, 1]
    counts = bootstrap_counts(groups, 50, seed=0)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 2] == counts[:, 4]).all()
    assert (counts[:, [0, 2, 3]].sum(1) == 3).all()
    assert counts[:, 0].std() > 0


# -- agreement, worked by hand ---------------------------------------------------------------------


def study(labels, samples, *, weights=None, inputs=None, pick_inputs=None, groups=None, n=None):
    """A `Sampled` and label codes; by default inputs are all different and weights equal."""
    samples = np.array(samples)
    m, n = samples.shape
    return (
        np.array(labels),
        samples,
        Sampled(
            weights=np.ones((m, n)) if weights is None else np.array(weights, dtype=float),
            drawn=np.ones((m, n), dtype=bool),
            inputs=np.arange(100, 100 + m * n).reshape(m, n) if inputs is None else np.array(inputs),
            pick_inputs=np.arange(m) if pick_inputs is None else np.array(pick_inputs),
            groups=np.arange(m) if groups is None else np.array(groups),
        ),
    )


def test_rate_and_chance_of_three_picks_by_hand() -> None:
    # labels A A B; an undefined sample (-1) disagrees with everything
    labels, samples, sampled = study([0, 0, 1], [[0, 0, 0, 1], [0, 0, 1, -1], [1, 1, 1, 1]])
    matrix = agreement(labels, samples, sampled)
    np.testing.assert_allclose(matrix, [[0.75, 0.5, 0], [0.75, 0.5, 0], [0.25, 0.25, 1]])
    result = rate(matrix, labels, sampled.groups)
    assert result.fcr == pytest.approx((0.75 + 0.5 + 1) / 3)
    assert result.chance == pytest.approx((0.5 + 0 + 0.75 + 0 + 0.25 + 0.25) / 6)
    assert result.star == pytest.approx((0.75 - 1.75 / 6) / (1 - 1.75 / 6))
    chance_a, chance_b = 1.25 / 4, 0.25
    by_label = ((0.625 - chance_a) / (1 - chance_a) + (1 - chance_b) / (1 - chance_b)) / 2
    assert result.star_by_label == pytest.approx(by_label)
    assert result.low < result.fcr < result.high


def test_weights_count_and_the_plain_rate_ignores_them() -> None:
    labels, samples, sampled = study([0, 1], [[0, 1], [0, 1]], weights=[[3, 1], [1, 1]])
    capped = 2 * np.sqrt(2) / (2 * np.sqrt(2) + 1)  # 3 is cut at mean 2 times sqrt(2)
    assert agreement(labels, samples, sampled)[0, 0] == pytest.approx(capped)
    assert agreement(labels, samples, sampled, weighted=False)[0, 0] == 0.5


def test_copies_of_the_pick_are_left_out_of_its_samples_in_the_rate_and_in_chance() -> None:
    # pick 0 is input 7, which is half of its own samples and a quarter of pick 1's
    labels, samples, sampled = study(
        [0, 1], [[0, 0, 1, 1], [0, 1, 1, 1]], inputs=[[7, 7, 1, 2], [7, 8, 3, 4]], pick_inputs=[7, 8]
    )
    with_copies = agreement(labels, samples, sampled, copies=True)
    np.testing.assert_allclose(with_copies, [[0.5, 0.25], [0.5, 0.75]])
    without = agreement(labels, samples, sampled)
    assert without[0, 0] == 0, "of 1, 2 none has label 0"
    assert without[1, 1] == pytest.approx(2 / 3), "of 7, 3, 4 two have label 1"
    assert without[0, 1] == 0, "of 3, 4 (neither 8, its own, nor 7, the one compared) none has label 0"
    assert without[1, 0] == 1
    assert effective_samples(sampled).tolist() == pytest.approx([2, 3])


def test_a_pick_that_sampled_only_itself_is_undefined_without_copies() -> None:
    labels, samples, sampled = study(
        [0, 1, 0], [[0, 0], [1, 0], [0, 1]], inputs=[[0, 0], [5, 6], [7, 8]], pick_inputs=[0, 1, 2]
    )
    matrix = agreement(labels, samples, sampled)
    assert np.isnan(matrix[0, 0])
    result = rate(matrix, labels, sampled.groups)
    assert result.fcr == 0.5, "the other two picks"
    assert np.isnan(rate(np.full((2, 2), np.nan), labels[:2], np.arange(2)).fcr), "nothing left is NaN, not 0"


def test_a_pick_whose_samples_all_weigh_nothing_is_undefined() -> None:
    labels, samples, sampled = study([0, 1], [[0, 0], [1, 1]], weights=[[0, 0], [1, 1]])
    assert np.isnan(agreement(labels, samples, sampled)[:, 0]).all()
    assert agreement(labels, samples, sampled, weighted=False)[0, 0] == 1


def test_chance_compares_only_picks_of_different_groups() -> None:
    labels, samples, sampled = study([0, 0, 1], [[0, 0], [0, 0], [1, 1]], groups=[0, 0, 1])
    matrix = agreement(labels, samples, sampled)
    assert rate(matrix, labels, sampled.groups).chance == 0
    assert rate(matrix, labels, np.arange(3)).chance == pytest.approx(2 / 6)
    assert np.isnan(rate(matrix, labels, np.zeros(3, int)).chance)


def test_a_constant_feature_has_no_corrected_rate() -> None:
    labels, samples, sampled = study([0, 0, 0], [[0, 0]] * 3)
    result = rate(agreement(labels, samples, sampled), labels, sampled.groups)
    assert (result.fcr, result.chance) == (1, 1)
    assert np.isnan(result.star)
    assert np.isnan(result.star_by_label)
    assert np.isnan(corrected(1.0, 1.0))


@given(st.integers(0, 10_000))
@settings(max_examples=40)
def test_the_order_of_picks_and_of_samples_and_the_names_of_labels_do_not_matter(seed) -> None:
    rng = np.random.default_rng(seed)
    labels, samples, sampled = study(
        rng.integers(0, 3, 6),
        rng.integers(-1, 3, (6, 8)),
        weights=rng.random((6, 8)),
        inputs=rng.integers(0, 20, (6, 8)),
        pick_inputs=rng.permutation(20)[:6],
    )
    reference = rate(agreement(labels, samples, sampled), labels, sampled.groups)
    picks, columns, names = rng.permutation(6), rng.permutation(8), rng.permutation(3) * 10
    shuffled = Sampled(
        sampled.weights[picks][:, columns] * 5,
        sampled.drawn,
        sampled.inputs[picks][:, columns],
        sampled.pick_inputs[picks],
        sampled.groups[picks],
    )
    renamed = np.where(samples < 0, -1, names[samples])[picks][:, columns]
    other = rate(agreement(names[labels][picks], renamed, shuffled), names[labels][picks], shuffled.groups)
    for name in ("fcr", "chance", "star", "star_by_label"):
        assert getattr(other, name) == pytest.approx(getattr(reference, name), nan_ok=True)


# -- against truth, in simulation ------------------------------------------------------------------


def random_label_world(rng, *, bandwidth, n_inputs=40, m=24, n=64, n_labels=3):
    """Exact posterior samples of a finite P(X) under a feature that is a random label per input."""
    points = rng.normal(size=(n_inputs, 4))
    d2 = np.square(points[:, None] - points).mean(-1)
    posterior = normalise(np.exp(-d2 / (2 * bandwidth**2)))
    of = rng.integers(0, n_labels, n_inputs)
    picks = rng.permutation(n_inputs)[:m]
    inputs = np.array([rng.choice(n_inputs, n, p=posterior[p]) for p in picks])
    return study(of[picks], of[inputs], inputs=inputs, pick_inputs=picks)


def test_a_random_label_is_inflated_by_copies_and_at_chance_without_them() -> None:
    rng = np.random.default_rng(3)
    stars = {True: [], False: []}
    for _ in range(60):
        labels, samples, sampled = random_label_world(rng, bandwidth=0.5)
        for copies, found in stars.items():
            found.append(rate(agreement(labels, samples, sampled, copies=copies), labels, sampled.groups).star)
    error = np.std(stars[False]) / np.sqrt(60)
    assert abs(np.mean(stars[False])) < 3 * error + 0.01
    assert np.mean(stars[True]) > 0.2, "the copies alone look like information"


def test_an_input_met_among_anothers_samples_would_bias_chance_where_inputs_are_few() -> None:
    rng, stars, naive = np.random.default_rng(3), [], []
    for _ in range(100):
        labels, samples, sampled = random_label_world(rng, bandwidth=0.5, n_inputs=12, m=12)
        stars.append(rate(agreement(labels, samples, sampled), labels, sampled.groups).star)
        own_left_out = np.where(sampled.inputs == sampled.pick_inputs[:, None], 0.0, sampled.weights)
        matrix = _agreement.shares(labels, samples, normalise(own_left_out))
        naive.append(rate(matrix, labels, sampled.groups).star)
    assert np.mean(stars) == pytest.approx(0, abs=0.03)
    assert np.mean(naive) < -0.06, "chance alone meets the input it is about"


def test_permuting_blocks_keeps_the_false_positive_rate_and_permuting_picks_does_not() -> None:
    rng = np.random.default_rng(5)
    rejected = {"blocks": 0, "single": 0}
    for trial in range(200):  # four picks of one prompt: same label, samples alike, but independent of it
        prompts = np.repeat(np.arange(10), 4)
        labels = rng.integers(0, 2, 10)[prompts]
        leaning = rng.random(10)[prompts]
        samples = (rng.random((40, 20)) < leaning[:, None]).astype(int)
        labels, samples, sampled = study(labels, samples, groups=prompts)
        matrix = agreement(labels, samples, sampled)
        for name, groups in (("blocks", prompts), ("single", np.arange(40))):
            rejected[name] += permutation_test(matrix, labels, groups, permutations=199, seed=trial) <= 0.05
    assert rejected["blocks"] <= 20, "5 % of 200 is 10; three standard errors more"
    assert rejected["single"] >= 40


def test_permutation_p_values_by_hand() -> None:
    # two picks: the identity or the swap; with perfect agreement the swap gives 0
    matrix = np.eye(2)
    p = permutation_test(matrix, np.arange(2), np.arange(2), permutations=2000, seed=0)
    assert 0 < p < 0.75, "ties with the identity are broken at random"
    two = np.repeat([0, 1], 10)
    strong = permutation_test((two[:, None] == two) * 1.0, two, np.arange(20), permutations=999, seed=0)
    assert strong == pytest.approx(0.001)
    assert np.isnan(permutation_test(matrix, np.arange(2), np.zeros(2, int), permutations=99, seed=0)), (
        "one group: nothing"
    )


def test_a_pick_is_cut_as_if_it_stood_alone() -> None:
    """Beside picks with more samples, a row is filled up with weights of 0 that were never drawn."""
    weights = np.array([8.0, 1.0, 1.0, 1.0])
    alone = truncate(weights)
    filled = truncate(np.stack([np.r_[weights, np.zeros(60)], np.ones(64)]), np.array([4, 64]))
    np.testing.assert_allclose(filled[0, :4], alone)
    assert not filled[0, 4:].any()
    np.testing.assert_allclose(filled[1], 1 / 64)
    assert truncate(np.r_[weights, np.zeros(60)])[0] != pytest.approx(alone[0])


def test_tied_permutations_give_uniform_p_values() -> None:
    p = [permutation_test(np.ones((4, 4)), np.arange(4), np.arange(4), permutations=99, seed=s) for s in range(300)]
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)
    assert np.quantile(p, [0.1, 0.9]) == pytest.approx([0.1, 0.9], abs=0.08)


def test_where_no_exchange_changes_a_label_nothing_is_tested() -> None:
    rng, labels = np.random.default_rng(1), np.arange(16) % 2
    same, two = np.tile(rng.random(16), (16, 1)), rng.random((2, 16))[labels]
    for seed in (0, 82):  # at the second a random tie alone would give 0.003
        alone = {"groups": np.arange(16), "permutations": 999, "seed": seed}
        assert np.isnan(permutation_test(same, np.zeros(16, int), **alone))
        assert np.isnan(permutation_test(two, labels, **alone, within=labels)), "given g, g itself says no more"
        assert permutation_test(two, labels, **alone, within=labels // 2) <= 1


def test_groups_of_different_sizes_exchange_labels_and_count_alike() -> None:
    # one input makes up 60 % of P(X) and of the picks; the samples are draws from P(X) and know nothing
    labels = np.array([0] * 24 + [1] * 16)
    groups = np.array([0] * 24 + list(range(1, 17)))
    rng = np.random.default_rng(0)
    p = []
    for trial in range(100):
        _, samples, sampled = study(labels, (rng.random((40, 30)) > 0.6).astype(int), groups=groups)
        matrix = agreement(labels, samples, sampled)
        p.append(permutation_test(matrix, labels, groups, permutations=99, seed=trial))
    assert np.mean(np.array(p) <= 0.05) <= 0.12
    assert np.mean(p) == pytest.approx(0.5, abs=0.1)
    perfect = (labels[:, None] == labels) * 1.0
    p = permutation_test(perfect, labels, groups, permutations=999, seed=0)
    assert p < 0.08, "one group in 17 can hold label 0 without loss"


def test_groups_with_several_labels_exchange_them_in_order_with_groups_of_their_size() -> None:
    labels = np.array([0, 1] * 8 + [0, 1, 0])
    groups = np.array([*np.repeat(np.arange(8), 2), 8, 8, 8])
    matrix = (labels[:, None] == labels) * 1.0
    assert np.isnan(permutation_test(matrix, labels, groups, permutations=49, seed=0)), "every exchange gives the same"
    labels[8:16] = [1, 0] * 4
    p = permutation_test((labels[:, None] == labels) * 1.0, labels, groups, permutations=999, seed=0)
    assert p == pytest.approx(1 / 70, abs=1 / 70), "as many of the ways to place four of the eight are as good"


def test_permuting_within_levels_of_a_correlate_removes_what_the_correlate_explains() -> None:
    rng = np.random.default_rng(2)
    g = np.repeat([0, 1], 20)
    f = np.where(rng.random(40) < 0.9, g, 1 - g)  # f mostly follows g; the samples hold g alone
    labels, samples, sampled = study(f, np.repeat(g, 30).reshape(40, 30))
    matrix = agreement(labels, samples, sampled)
    assert permutation_test(matrix, f, np.arange(40), permutations=999, seed=0) == pytest.approx(0.001)
    within = permutation_test(matrix, f, np.arange(40), permutations=999, seed=0, within=g)
    assert within > 0.05


@pytest.mark.parametrize(
    ("name", "draw", "truth"),
    [
        ("all or nothing near 1", lambda rng, size: (rng.random(size) < 0.95) * 1.0, 0.95),
        ("skewed", lambda rng, size: rng.beta(0.9, 0.1, size), 0.9),
        ("inside", lambda rng, size: rng.beta(2, 2, size), 0.5),
    ],
)
def test_population_intervals_cover_the_truth(monkeypatch, name, draw, truth) -> None:
    monkeypatch.setattr(_agreement, "RESAMPLES", 400)
    rng, studies, m, hits, edge_blind = np.random.default_rng(11), 250, 48, 0, 0
    for trial in range(studies):
        own = rng.binomial(50, draw(rng, m)) / 50
        matrix = np.where(np.eye(m, dtype=bool), own, 0.1)
        found = rate(matrix, np.zeros(m, int), np.arange(m), seed=trial)
        hits += found.low <= truth <= found.high
        counts = bootstrap_counts(np.arange(m), 300, trial)
        low, high = np.quantile(counts @ own / m, [0.025, 0.975])
        edge_blind += low <= truth <= high
    assert hits / studies >= 0.92
    if name == "all or nothing near 1":
        assert edge_blind / studies < 0.92, "the bootstrap alone does not: the rule is needed"


def test_clustered_intervals_cover_where_treating_picks_as_independent_does_not(monkeypatch) -> None:
    monkeypatch.setattr(_agreement, "RESAMPLES", 400)
    rng, hits, naive, studies = np.random.default_rng(4), 0, 0, 120
    groups = np.repeat(np.arange(20), 4)
    for trial in range(studies):
        own = rng.binomial(50, rng.beta(2, 2, 20)[groups]) / 50
        matrix = np.where(np.eye(80, dtype=bool), own, 0.1)
        found = rate(matrix, np.zeros(80, int), groups, seed=trial)
        hits += found.low <= 0.5 <= found.high
        found = rate(matrix, np.zeros(80, int), np.arange(80), seed=trial)
        naive += found.low <= 0.5 <= found.high
    assert hits / studies >= 0.89
    assert naive / studies <= 0.8


@pytest.mark.parametrize("sizes", [[55] + [1] * 9, [40, 8, 6, 4, 2, 2, 1, 1], [20, 12, 9, 7, 6, 4, 4, 2]])
def test_intervals_over_uneven_groups_know_how_few_they_are(monkeypatch, sizes) -> None:
    monkeypatch.setattr(_agreement, "RESAMPLES", 300)
    rng, hits, studies = np.random.default_rng(3), 0, 150
    groups, m = np.repeat(np.arange(len(sizes)), sizes), sum(sizes)
    for trial in range(studies):
        own = (rng.random(len(sizes)) < 0.6)[groups] * 1.0
        found = rate(np.where(np.eye(m, dtype=bool), own, 0.5), np.zeros(m, int), groups, seed=trial)
        hits += found.low <= 0.6 <= found.high
    assert hits / studies >= 0.88


def test_single_pick_intervals_cover_when_n_is_the_effective_sample_size() -> None:
    rng, hits = np.random.default_rng(8), 0
    for _ in range(1000):
        weights = np.exp(rng.normal(size=200) * 0.7)
        held = rng.random(200) < 0.8
        w = normalise(weights)
        low, high = wilson(w[held].sum(), effective_sample_size(w))
        hits += low <= 0.8 <= high
    assert 0.93 <= hits / 1000 <= 0.97


def test_paired_differences_are_narrower_than_their_parts_suggest() -> None:
    rng = np.random.default_rng(0)
    hard = rng.beta(2, 1, 60)  # picks differ in difficulty alike at both sites
    first, second = hard, (hard - 0.05 + 0.01 * rng.normal(size=60)).clip(0, 1)
    estimate, low, high = _agreement.paired_difference(first, second, np.arange(60))
    assert low < estimate < high
    assert estimate == pytest.approx(0.05, abs=0.01)
    assert high - low < 0.02
    assert low > 0
    assert np.isnan(_agreement.paired_difference(np.array([np.nan]), np.array([1.0]), np.array([0]))).all()
    one_group = _agreement.paired_difference(first[:3], second[:3], np.zeros(3, int))
    assert one_group[0] == pytest.approx((first - second)[:3].mean())
    assert np.isnan(one_group[1:]).all()


def test_paired_differences_of_few_that_differ_are_newcombes() -> None:
    estimate, low, high = _agreement.paired_difference(np.ones(5), np.zeros(5), np.arange(5))
    (a, _), (_, b) = wilson(1.0, 5), wilson(0.0, 5)
    assert (estimate, high) == (1, 1)
    assert low == pytest.approx(1 - math.hypot(1 - a, b))
    rng, hits, studies = np.random.default_rng(2), 0, 200
    for trial in range(studies):  # one pick in twenty differs
        first = np.ones(30)
        second = 1.0 - (rng.random(30) < 0.05)
        _, low, high = _agreement.paired_difference(first, second, np.arange(30), seed=trial)
        hits += low <= 0.05 <= high
    assert hits / studies >= 0.92
