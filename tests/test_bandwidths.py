"""Rates over bandwidths: known curves, one inversion a bandwidth, a chart that marks what is doubtful."""

from __future__ import annotations

import doctest
import threading

import numpy as np
import pandas as pd
import pytest
from known_answer import Copy, copying_target, label
from test_inversion import TableGenerator

import inversescope_nb as isn
from inversescope_nb import _bandwidth_charts, bandwidths
from inversescope_nb.bandwidths import across_bandwidths, bandwidths_between
from inversescope_nb.charts import bandwidth_chart
from inversescope_nb.errors import Cancelled, InvalidArgument
from inversescope_nb.exact import activation_table

TEXT = "a0 b0 c0 ."


@pytest.mark.parametrize("module", [_bandwidth_charts, pytest.param(bandwidths, marks=pytest.mark.slow)])
def test_docstring_examples_run(module) -> None:
    assert doctest.testmod(module).failed == 0


def test_bandwidths_are_at_equal_ratios_and_within_the_ends() -> None:
    found = bandwidths_between(0.05, 0.8)
    assert (found[0], found[-1], len(found)) == (0.05, 0.8, 6)
    np.testing.assert_allclose(np.diff(np.log(found)), np.log(16) / 5, atol=0.01)
    assert bandwidths_between(0.1, 0.1) == [0.1]
    assert bandwidths_between(0.02, 1.0) == [0.02, 0.05, 0.1, 0.2, 0.5, 1.0], "round, since they are as many"
    for low, high, points in ((0.019, 0.24, 6), (0.01, 1.0, 6), (0.11, 0.19, 3)):
        found = bandwidths_between(low, high, points)
        assert (found[0], found[-1], len(found)) == (low, high, points)
        np.testing.assert_allclose(np.diff(np.log(found)), np.log(high / low) / (points - 1), atol=0.35)


@pytest.fixture(scope="module")
def weak():
    """A target whose third token is held below some bandwidth only, and proposals that are the exact posterior."""
    known = copying_target("weak", 3, 3, [Copy(2, 0.3), Copy(0)], (0.1, 0.7), None)
    table = activation_table(known.lm, known.prompts, known.site, progress=False)
    return known, TableGenerator(table, known.prompts, lambda exact: exact.p)


def test_the_rate_follows_its_formula_over_bandwidths(weak) -> None:
    known, gen = weak
    widths = [0.1, 0.2, 0.35, 0.7]
    report = across_bandwidths(
        known.lm, gen, TEXT, label(2), site=known.site, bandwidths=widths, n=512, prior_texts=[TEXT], progress=False
    )
    frame = report.to_frame()
    assert frame["bandwidth"].tolist() == widths
    truth = [known.without_copies(next(f for f in known.rates if f.name == label(2).name), eps) for eps in widths]
    np.testing.assert_allclose(frame["fcr"], truth, atol=0.08)
    assert (frame["fcr_low"] <= frame["fcr"]).all()
    assert frame["chance_prior"].tolist() == [1.0] * 4, "the one input of P(X) that was given agrees"


def test_each_bandwidth_has_samples_of_its_own(weak) -> None:
    known, gen = weak
    features = [label(0), label(2)]
    how = {"site": known.site, "n": 64, "prior_texts": [TEXT], "progress": False}
    both = across_bandwidths(known.lm, gen, TEXT, features, bandwidths=[0.35, 0.1], **how).to_frame()
    inv = isn.invert(known.lm, gen, TEXT, site=known.site, bandwidth=0.1, n=64, progress=False)
    alone = isn.consistency_of(inv, features, prior_texts=[TEXT], permutations=0).to_frame()
    pd.testing.assert_frame_equal(both[both["bandwidth"] == 0.1].reset_index(drop=True), alone)


def test_it_stops_and_says_how_far_it_is(weak) -> None:
    known, gen = weak
    cancel, told = threading.Event(), []

    def hear(done, total, message):
        told.append((done, total, message))
        if done == 1:
            cancel.set()

    with pytest.raises(Cancelled):
        across_bandwidths(known.lm, gen, TEXT, label(0), site=known.site, bandwidths=[0.1, 0.2, 0.3], n=16,
                          prior_texts=[], on_progress=hear, cancel=cancel)  # fmt: skip
    assert told == [(0, 3, "inverting at bandwidth 0.1"), (1, 3, "inverting at bandwidth 0.2")]


def test_what_is_given_is_checked(weak) -> None:
    known, gen = weak
    for wrong in ([], [-1], "abc", [0.1, 99]):
        with pytest.raises(InvalidArgument):
            across_bandwidths(known.lm, gen, TEXT, label(0), site=known.site, bandwidths=wrong, n=16)


def test_the_chart_draws_a_line_with_band_and_chance_and_hollow_points_where_it_is_doubtful() -> None:
    rows = [
        {"site": "s", "feature": name, "bandwidth": eps, "fcr": 0.9, "fcr_low": 0.8, "fcr_high": 1.0, "chance": np.nan,
         "chance_prior": 0.1, "chance_defined": 0.3, "ess_median": 20.0, "verdict_counts": verdict,
         "notes": "Not to be relied on: an inversion missed by the generator." if "FAILED" in verdict else ""}
        for name in ("a", "b")
        for eps, verdict in ((0.1, "INVERTER_FAILED: 1"), (0.3, "RELIABLE: 1"))
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    spec = bandwidth_chart(frame).to_dict()
    marks = [layer["mark"]["type"] for layer in spec["layer"]]
    assert marks == ["area", "line", "line", "point", "point"]
    (data,) = spec["datasets"].values()
    assert [(row["bandwidth"], row["points"], row["level"]) for row in data[:2]] == [
        (0.1, "hollow", 0.3), (0.3, "filled", 0.3),
    ]  # fmt: skip
    assert spec["title"]["text"] == "Hollow: not to be relied on"
    sure = bandwidth_chart(frame[frame["bandwidth"] == 0.3]).to_dict()
    assert "title" not in sure
    assert bandwidth_chart(frame.assign(fcr=np.nan)).to_dict()["mark"]["type"] == "text"
