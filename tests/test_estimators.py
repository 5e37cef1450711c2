"""Estimators held against exact posteriors, where a trained generator's q is listed too: thousands of fresh studies.

The same functions make benchmarks/bench_estimators.py, on all 810,000 sums.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from small import check_draws
from small_case import FEATURES, small_case

import inversescope_nb as isn
from inversescope_nb import _agreement
from inversescope_nb._statistics import wilson

# benchmarks/ is on the path since small_case
from _estimators import Case, bits, channel, told_apart  # isort: skip
from _listed import Listed, judged, singles, studies, variances  # isort: skip

N = 256
"""Samples of a pick."""


@pytest.fixture(scope="module")
def listed() -> Listed:
    return small_case()[0]


@pytest.fixture(scope="module")
def found(listed) -> pd.DataFrame:
    """800 fresh picks, each inverted once, under every hypothesis."""
    return singles(listed, FEATURES, picks=800, n=N)


def test_the_generator_is_neither_perfect_nor_useless(listed) -> None:
    assert 0.005 < listed.gap() < 0.15
    assert listed.distance().min() > 0.01
    total = np.exp(listed.log_q).sum(1)
    assert (total < 1 + 1e-4).all()
    assert (total > 0.9).all()


@pytest.mark.parametrize("row", [0, 100, 215])
def test_what_is_simulated_is_what_inverting_finds(listed, row) -> None:
    t = listed.table
    inversion = isn.invert(
        t.lm, listed.generator, t.inputs[row], site=t.site, bandwidth=listed.bandwidth, n=2048, bank=0,
        prior=listed.prompts, progress=False,
    )  # fmt: skip
    index = {tuple(ids): i for i, ids in enumerate(t.inputs)}
    rows = np.array([index.get(tuple(ids), -1) for ids in inversion.samples])
    on, log_z = rows >= 0, -listed.bits[row] * math.log(2)
    expected = listed.log_p[row, rows[on]] + log_z - listed.log_q[row, rows[on]]
    np.testing.assert_allclose(inversion.log_weight[on], expected, atol=2e-3)
    assert np.isneginf(inversion.log_weight[~on]).all()
    q = np.exp(listed.log_q[row])
    assert abs(on.mean() - q.sum()) < 0.02
    check_draws([t.inputs[i] for i in rows[on]], {tuple(x): p / q.sum() for x, p in zip(t.inputs, q, strict=True)})
    frame = isn.consistency_of(inversion, FEATURES, permutations=0).picks_frame().set_index("feature")
    for feature in FEATURES:
        codes = np.append(t.codes(feature), -1)
        left = _agreement.truncate(inversion.weight) * (rows != row)
        assert frame.loc[feature.name, "fcr"] == pytest.approx(left[codes[rows] == codes[row]].sum() / left.sum())


def test_weighted_rates_are_right_and_unbiased_and_plain_ones_are_worse(found) -> None:
    error, plain = found["fcr"] - found["exact"], found["fcr_plain"] - found["exact_with_copies"]
    assert error.abs().mean() <= 0.02
    assert abs(error.mean()) < 0.003
    assert plain.abs().mean() > 1.3 * error.abs().mean()
    assert plain.mean() < -0.003, "a generator that is not sharp enough"
    for name, part in found.groupby("feature"):
        off = part["fcr"] - part["exact"]
        assert off.abs().mean() <= 0.03, (name, "sampling alone: 0.8 * sqrt(p (1 - p) / ESS)")
        assert off.abs().mean() <= plain[part.index].abs().mean() + 0.002, name


def test_intervals_of_single_picks_hold_the_exact_rate(found) -> None:
    inner, outer = found[~found["extreme"]], found[found["extreme"]]
    for name, part in inner.groupby("feature"):
        if len(part) >= 300:
            assert 0.92 <= part["covered"].mean() <= 0.98, name
    assert 0.92 <= inner["covered"].mean() <= 0.98
    assert len(outer) >= 300
    assert outer["covered"].mean() >= 0.92, "near 0 and 1 they may be too wide, not too narrow"


def test_intervals_that_take_samples_for_the_posterior_do_not(found) -> None:
    low, high = wilson(found["fcr_plain"], N)
    plain = judged(found.assign(fcr_low=low, fcr_high=high, exact=found["exact_with_copies"]))
    assert plain[~plain["extreme"]]["covered"].mean() < found[~found["extreme"]]["covered"].mean() - 0.02


def test_intervals_of_studies_hold_the_rate_over_all_inputs(listed, monkeypatch) -> None:
    monkeypatch.setattr(_agreement, "RESAMPLES", 500)
    table = studies(listed, FEATURES, repetitions=1000, m=48, n=64)
    assert (table["studies"] == 1000).all()
    edge = table["near 0 or 1"] > 0.05
    assert edge.sum() == 1, "a rare pair"
    assert table[~edge]["coverage"].between(0.92, 0.98).all(), table
    assert (table[edge]["coverage"] >= 0.92).all(), "Wilson's: there too wide, never too narrow"
    assert ((table["mean estimate"] - table["exact"]).abs() < 0.01).all(), table


def test_resolution_bits_are_right(found) -> None:
    each = bits(found.assign(at=found["row"]))
    assert each["error"] <= 0.1
    assert abs(each["bias"]) <= 0.02


def test_channel_bits_are_a_lower_bound_and_near(listed) -> None:
    case = Case(listed.table, listed.prompts, listed.generator, listed.bandwidth, FEATURES)
    each = channel(case, n=1024, seed=3)
    assert -2 * each["short_se"] <= each["short"] <= 0.05 * each["exact"] + 2 * each["short_se"], each
    exact, stderr = listed.table.channel_bits(listed.bandwidth, draws=1024, seed=5)
    assert each["exact"] == pytest.approx(exact, abs=4 * math.hypot(stderr, each["exact_se"]))


def test_the_effective_sample_size_predicts_the_variance_of_repeated_inversions(listed) -> None:
    picks = listed.fresh(np.random.default_rng(1), 40)
    spread = variances(listed, FEATURES, picks, repetitions=200, n=N)
    varied = spread[spread["rate"].between(0.02, 0.98)]
    assert 0.8 <= varied["variance"].sum() / varied["predicted"].sum() <= 1.25
    assert ((varied["variance"] / varied["predicted"]).between(0.4, 2.5)).mean() > 0.9
    assert varied["ess"].mean() < 0.98 * N, "weights that matter"


def test_a_classifier_tells_generated_from_exact_samples_no_better_than_the_best_possible(listed) -> None:
    pytest.importorskip("sklearn", reason="in the extra bench")
    rng, n, best, accuracy = np.random.default_rng(0), 1000, [], []
    inputs = np.array(listed.table.inputs)
    other = [[0, 0]]
    for pick in rng.permutation(len(inputs))[:6]:
        rows, _ = listed.draw(rng, np.array([pick]), n)
        real = rng.choice(len(inputs), n, p=np.exp(listed.log_p[pick]))
        generated = [inputs[i].tolist() if i >= 0 else other[0] for i in rows[0]]
        accuracy.append(told_apart(generated, inputs[real].tolist(), seed=int(pick)))
        best.append((1 + listed.distance()[pick]) / 2)
    noise = 0.5 / math.sqrt(n * len(best))
    assert np.mean(accuracy) <= np.mean(best) + 3 * noise
    everything = [list(x) for x in listed.table.inputs] * 5
    assert told_apart(everything, inputs[real].tolist() + everything[:80], seed=0) > np.mean(best), "P(X) is told apart"
