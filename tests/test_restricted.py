"""The gap of a generator that covers more than what is listed: S is a half of P(X), all of which is known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import inversescope_nb as isn
from inversescope_nb.errors import InvalidArgument
from inversescope_nb.exact import activation_table, activation_tables
from inversescope_nb.generator.quality import _median, measure_quality
from inversescope_nb.prompts import PromptDistribution

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import _prefixes
from _released import ess_summary, summary, worst
from _restricted import Beginnings, channel_bits, gaps, log_mass, log_mean, posteriors
from _sets import SETS, Listed, restricted

SITE = "blocks.1.hook_resid_post"
ANIMALS = ("cat", "dog", "park")
P = PromptDistribution.from_templates(
    ["the {A} in", "a {A} and the {B} is"], {"A": ANIMALS, "B": ("park", "book")}, cut="slots+random"
)


def total(generator, inputs, condition) -> np.ndarray:
    return np.array([float(x.sum()) for x in generator.log_probs([list(x) for x in inputs], condition)])


@pytest.fixture(scope="module")
def case(lm):
    """A generator trained a little, S of every other input (lengths 2 to 7), and the table of S."""
    config = isn.TrainingConfig(
        steps=120, batch_size=64, warmup=10, backbone="small", width=32, bandwidths=(0.2, 1.0),
        held_out=64, gap_inputs=0, eval_every=120,
    )  # fmt: skip
    generator = isn.train_generator(lm, [SITE], P, config=config, progress=False)
    half = Listed("half", dict(list(P.inputs(lm).items())[::2]))
    S = restricted(P, half, lm)
    return generator, S, activation_table(lm, S, SITE, statistics=generator.statistics(SITE))


def test_the_prior_on_a_part_is_that_of_the_whole_given_the_part(lm, case) -> None:
    listed, S = P.inputs(lm), case[1].inputs(lm)
    assert 5 < len(S) < len(listed)
    assert len({len(x) for x in S}) > 2
    share = sum(listed[x] for x in S)
    np.testing.assert_allclose(list(S.values()), [listed[x] / share for x in S], rtol=1e-9)
    other = restricted(P, Listed("flat", dict.fromkeys(S, 1 / len(S))), lm)
    np.testing.assert_allclose(list(other.inputs(lm).values()), list(S.values()), rtol=1e-9)
    with pytest.raises(InvalidArgument, match="cannot make"):
        restricted(P, Listed("foreign", {(1, 2, 3): 1.0}), lm)


def test_samples_that_are_kept_inside_have_the_mass_of_the_part_as_their_mean(lm, case) -> None:
    generator, S, table = case
    inputs = list(S.inputs(lm))
    allowed = Beginnings(inputs, generator)
    condition = generator.condition_on(SITE, table.u[[0, 5]], 0.3)
    exact = np.array([np.exp(total(generator, inputs, condition.rows(slice(i, i + 1), 1))).sum() for i in (0, 1)])
    found = np.exp(log_mass(generator, condition, allowed, 3000, seed=1))
    assert found.shape == (2, 3000)
    assert exact.min() < 0.9, "q leaves this part: a share of 1 would prove nothing"
    assert (np.abs(found.mean(1) - exact) < 5 * found.std(1) / np.sqrt(3000) + 1e-6).all()
    assert abs(exact[0] - exact[1]) > 0.01, "and it depends on the activation"
    everything = Beginnings([[1, 5, 7]], generator)
    one = log_mass(generator, condition, everything, 2, seed=1)
    np.testing.assert_allclose(one[:, 0], total(generator, [[1, 5, 7]] * 2, condition), atol=1e-4)


def test_the_gap_is_the_divergence_from_the_generator_given_the_part(lm, case) -> None:
    generator, S, table = case
    inputs, picks, eps = list(S.inputs(lm)), np.arange(6), 0.4
    centres = table.u[torch.from_numpy(picks)]
    exact = posteriors(table, picks, centres, [eps], 600, seed=2)[eps]
    allowed = Beginnings(inputs, generator)
    found = gaps(generator, table, centres, eps, exact, allowed, 12_000, seed=3)
    mass = np.exp(log_mass(generator, generator.condition_on(SITE, centres, eps), allowed, 500, seed=4))
    error = mass.std(1) / mass.mean(1) / np.sqrt(12_000 / len(picks))  # of log_inside
    assert error.max() < 0.03
    for i in picks:
        log_q = total(generator, inputs, generator.condition_on(SITE, centres[i : i + 1], eps))
        inside = log_q - np.logaddexp.reduce(log_q)
        posterior = table.posterior_of(centres[i], eps)
        terms = posterior.log_p - inside
        divergence = float(posterior.p @ terms)
        spread = float(np.sqrt(posterior.p @ (terms - divergence) ** 2))
        assert divergence > 1e-3
        assert found.gap[i] == pytest.approx(divergence, abs=5 * spread / np.sqrt(600) + 5 * error[i])
        assert found.log_inside[i] == pytest.approx(np.logaddexp.reduce(log_q), abs=5 * error[i])
        assert found.ess_ratio[i] == pytest.approx(1 / float(posterior.p @ np.exp(terms)), rel=0.25)


def test_the_log_of_a_mean_of_few_is_too_low_by_what_the_jackknife_says() -> None:
    rng = np.random.default_rng(0)
    logs = rng.normal(0, 0.6, (20_000, 8))  # of a lognormal: the log of its mean is 0.18
    log, bias = log_mean(logs)
    assert log.mean() < 0.18 - 0.01
    assert (log - bias).mean() == pytest.approx(0.18, abs=0.004)
    assert log_mean(logs[:, :1])[1].max() == 0
    same, none = log_mean(np.full((3, 4), -700.0))
    assert same == pytest.approx([-700.0] * 3)
    assert none == pytest.approx([0.0] * 3, abs=1e-9)


def test_posteriors_at_several_bandwidths_are_the_tables(case) -> None:
    table = case[2]
    picks = np.array([3, 0, 4])
    centres = table.noised(picks, 0.2, seed=1)
    found = posteriors(table, picks, centres, [0.05, 0.3, 1.0], 4000, seed=0)
    for eps, many in found.items():
        for i, one in enumerate(table.posteriors(centres, eps)):
            assert many.entropy[i] == pytest.approx(one.entropy, abs=1e-6)
            assert many.own[i] == pytest.approx(one.log_p[picks[i]], abs=1e-6)
            np.testing.assert_allclose(many.log_p[i], one.log_p[many.rows[i]], atol=1e-6)
            shares = np.bincount(many.rows[i], minlength=len(one.p)) / 4000
            assert np.abs(shares - one.p).max() < 5 * np.sqrt(0.25 / 4000)
    bits = channel_bits(table, [0.3], draws=64, seed=5)[0.3]
    np.testing.assert_allclose(bits, table.channel_bits(0.3, draws=64, seed=5), atol=1e-5)


def test_medians_count_what_is_infinite_and_leave_out_what_is_unknown() -> None:
    inf, nan = float("inf"), float("nan")
    assert _median([1.0, 2.0, inf]) == 2
    assert _median([-inf, -inf, 0.1, nan]) is None
    assert _median([1.0, nan]) == 1
    assert _median([nan]) is None


def test_the_quality_of_other_picks_keeps_the_generators_prior(lm, case) -> None:
    generator = case[0]
    at_end = PromptDistribution.from_texts(["the cat in"], cut="end")
    common = {"bandwidths": [0.3], "n_picks": 3, "n_samples": 16, "seed": 1}
    (row,) = measure_quality(lm, generator, picks=at_end, **common)
    inversion = isn.invert(lm, generator, "the cat in", site=SITE, bandwidth=0.3, n=16, seed=1, progress=False)
    assert row["ess_ratio"] == pytest.approx(inversion.ess / 16, abs=1e-3)
    assert row["bits"] == pytest.approx(inversion.bits, abs=1e-3)
    assert inversion.prompts_name == P.name


def test_shared_beginnings_change_no_activation(lm, monkeypatch) -> None:
    slots = {"A": ANIMALS, "B": ("park", "book", "Mary"), "C": ("is", "and")}
    several = PromptDistribution.from_templates(["the {A} in {B} {C} he"], slots, cut="end")
    sites = lm.sites("*")
    units = {site: activation_table(lm, several, site).statistics for site in sites}
    S = restricted(several, several, lm)
    expected = activation_tables(lm, S, sites, statistics=units)
    assert _prefixes._split(np.array(expected[SITE].inputs))[0] > 0, "something is shared"
    monkeypatch.setattr(_prefixes, "_BLOCK", 7)
    found = _prefixes.tables(lm, S, sites, units)
    assert list(found) == sites
    for site, table in found.items():
        assert table.inputs == expected[site].inputs
        torch.testing.assert_close(table.u, expected[site].u, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(table.log_prior, expected[site].log_prior)


def test_the_sets_are_parts_of_what_the_packaged_generator_covers() -> None:
    lm, whole = isn.load_model(), isn.tasks.get_prompts("all_tasks")
    for name, size in (("sums", 810_000), ("ioi", 119 * 118 * 36)):
        part = SETS[name]()
        assert part.at_least(lm) <= size
        drawn = part.draw(20, lm, seed=0)
        assert len(set(map(len, drawn))) == 1, "one length, as shared beginnings need"
        assert np.ptp(whole.log_probs(drawn, lm)) < 1e-9


def test_medians_are_over_the_sites_that_hold_enough_and_the_worst_are_explained() -> None:
    sites = [f"s{i}" for i in range(8)]
    frame = pd.DataFrame(
        {
            "set": "sums", "bandwidth": 0.1, "site": sites, "bits": [1.9, 2.0, 4, 4, 4, 4, 4, 9],
            "gap": [9.0, 0.1, 0.1, 0.14, 0.2, 0.21, 0.3, 2.0], "gap_median": [9.0, 0.1, 0.1, 0.14, 0.2, 0.21, 0.3, 0.1],
            "entropy": 3.0, "spread": 1.0, "top_share": 0.1, "relative_scale": 0.5, "inside": 0.9,
            "log_inside_bias": -0.01, "ess_ratio": 0.6,
        }
    )  # fmt: skip
    (row,) = summary(frame).to_dict("records")
    assert (row["hold 2 bits"], row["median gap"], row["met"], row["within target"]) == (7, 0.2, False, 3)
    listed = worst(frame)
    assert listed["site"].tolist() == ["s7", "s6", "s5", "s4", "s3"]
    assert listed["reason"].tolist()[0].startswith("9.0 bits of S (median 4.0)")
    assert "median pick has 0.10" in listed["reason"].tolist()[0]
    assert listed["reason"].tolist()[1] == "nothing measured here sets it apart"
    found = pd.DataFrame({"cut": "slots", "bits": [1, 3, 3, 3, 3, 3], "ess_ratio": [0.1, 0.5, 0.6, 0.7, 0.9, 0.49]})
    (row,) = ess_summary(found).to_dict("records")
    assert (row["hold 2 bits"], row["ESS/n >= 0.5"], row["met"]) == (5, 0.8, True)
    failed = pd.concat([found, pd.DataFrame({"cut": found["cut"][:1], "bits": [None], "ess_ratio": [0.0]})])
    (row,) = ess_summary(failed).to_dict("records")
    assert (row["hold 2 bits"], row["met"]) == (6, False), "no sample of any weight: it counts, and fails"
