"""Sweeps: what is read once for all sites, the controls beside every rate, and what varies freely."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from known_answer import constructions, label, trained

import inversescope_nb as isn
from inversescope_nb._study import PickSamples
from inversescope_nb.errors import InvalidArgument
from inversescope_nb.models import LanguageModel
from inversescope_nb.reports import COARSE, UNRELIABLE, ConsistencyReport

SITES = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "blocks.1.attn.hook_z.0"]
SUMS = ["4 3 7 + 5 6 8 =", "1 2 3 + 4 5 6 =", "9 0 1 + 2 2 3 ="]


def test_picks_and_the_bank_are_run_once_for_all_sites_and_bandwidths(monkeypatch) -> None:
    lm, gen = isn.load_model(), isn.load_generator()
    isn.invert(lm, gen, SUMS[0], site=SITES[0], bandwidth=0.3, n=2, bank=0)  # a generator tests itself once
    calls = []
    real = LanguageModel.activations

    def counted(self, prompts, sites, **options):
        several = not isinstance(sites, str) and hasattr(sites, "__len__")
        calls.append((len(prompts), len(sites) if several else 1))
        return real(self, prompts, sites, **options)

    monkeypatch.setattr(LanguageModel, "activations", counted)
    four = isn.features.contains("4")
    isn.consistency(lm, gen, SUMS, SITES, four, bandwidth=[0.3, 0.5], n_samples=8, permutations=0, progress=False)
    assert calls.count((len(SUMS), len(SITES))) == 1, "all picks at all sites, in one pass"
    assert calls.count((256, len(SITES))) == 1, "and so the bank"
    assert len(calls) == 2 + 2 * len(SUMS) * len(SITES), "else only the samples of each inversion"


def test_a_sweep_finds_what_single_inversions_find() -> None:
    lm, gen = isn.load_model(), isn.load_generator()
    feature = isn.features.regex("[0-9]")
    report = isn.consistency(lm, gen, SUMS, SITES, feature, bandwidth=0.3, n_samples=16, seed=3, progress=False)
    inversions = [
        isn.invert(
            lm, gen, text, site=site, bandwidth=0.3, n=16,
            seed=int(np.random.SeedSequence([3, i]).generate_state(1)[0]), progress=False,
        )
        for site in SITES
        for i, text in enumerate(SUMS)
    ]  # fmt: skip
    again = isn.consistency_of(inversions, feature, seed=3)
    columns = ["site", "fcr", "fcr_plain", "fcr_shuffled", "chance", "ess_median", "bits", "verdict_counts"]
    first, second = (r.to_frame()[columns].sort_values("site", ignore_index=True) for r in (report, again))
    pd.testing.assert_frame_equal(first, second)
    assert PickSamples.of(inversions[0]).prompt_ids == tuple(lm.encode(SUMS[0]).rows()[0])


def test_the_shuffled_control_is_the_plain_rate_with_the_samples_of_other_picks() -> None:
    lm, gen = isn.load_model(), isn.load_generator()
    inversions = [isn.invert(lm, gen, text, site=SITES[0], bandwidth=0.3, n=16, progress=False) for text in SUMS]
    feature = isn.features.regex("[0-9]")
    (row,) = isn.consistency_of(inversions, feature, permutations=0).rows
    shares = [
        np.mean([feature(text) == feature(own.text) for text in other.texts])
        for own in inversions
        for other in inversions
        if own is not other
    ]
    assert row["fcr_shuffled"] == pytest.approx(np.mean(shares))
    assert np.isnan(row["fcr_dropped"]), "of inversions that are there, the generator wrote nothing else"


@pytest.fixture(scope="module")
def known():
    found = constructions()[10]()  # one of 4 labels, and another one below some bandwidth
    return found, trained(found)


def test_both_controls_are_at_chance_where_the_rate_is_not(known) -> None:
    target, gen = known
    report = isn.consistency(
        target.lm, gen, target.prompts, target.site, [label(1), label(2)], bandwidth=0.2, n_targets=96, progress=False
    )
    held, absent = report.to_frame().set_index("feature").loc[[label(1).name, label(2).name]].to_dict("records")
    assert held["fcr_plain"] > 0.9
    for row in (held, absent):
        assert row["fcr_dropped"] == pytest.approx(0.25, abs=0.06)
        assert row["fcr_shuffled"] == pytest.approx(0.25, abs=0.06)
    assert report.held()["feature"].tolist() == [label(1).name]
    assert report.ignored()["feature"].tolist() == [label(2).name]
    assert f"{label(2).name!r} varies freely" in report.summary()


def test_nothing_is_called_ignored_where_inversions_cannot_say_so(known) -> None:
    target, gen = known
    report = isn.consistency(
        target.lm, gen, target.prompts, target.site, label(2), bandwidth=0.2, n_targets=32, progress=False
    )
    for note in (f"{UNRELIABLE}: of 32 inversions 9 with few effective samples.", f"{COARSE}: one direction."):
        doubted = ConsistencyReport(tuple({**row, "notes": note} for row in report.rows), (), report.settings)
        assert doubted.ignored(0.9).empty
    assert len(report.ignored(0.9)) == 1
    for few in ({"bits_bound": 3.9}, {"n_groups": 9}):
        doubted = ConsistencyReport(tuple({**row, **few} for row in report.rows), (), report.settings)
        assert doubted.ignored(0.9).empty
    for below in (0, 1, -1):
        with pytest.raises(InvalidArgument, match="below"):
            report.ignored(below)


def test_a_report_of_an_earlier_version_has_no_controls_and_can_be_read(known) -> None:
    target, gen = known
    report = isn.consistency(
        target.lm, gen, target.prompts, target.site, label(1), bandwidth=0.2, n_targets=4, progress=False
    )
    rows = tuple({k: v for k, v in row.items() if k not in ("fcr_shuffled", "fcr_dropped")} for row in report.rows)
    again = ConsistencyReport.from_json(ConsistencyReport(rows, (), report.settings).to_json())
    assert np.isnan(again.rows[0]["fcr_dropped"])
