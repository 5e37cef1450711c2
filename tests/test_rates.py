"""Consistency studies: on inversions worked by hand, resumed from files, and end to end on a tiny model."""

from __future__ import annotations

import json
import logging
import math
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from test_inversion import many

import inversescope_nb._study as study_module
from inversescope_nb import features
from inversescope_nb._scoring import _notes
from inversescope_nb.encoding import EncodedPrompts
from inversescope_nb.errors import (
    Cancelled,
    CheckpointMismatch,
    FeatureError,
    InvalidArgument,
    ModelLoadError,
    UnknownSite,
)
from inversescope_nb.features import Feature, InputText
from inversescope_nb.generator import TrainingConfig, load_generator, train_generator
from inversescope_nb.kernels import Kernel
from inversescope_nb.prompts import Prompt, PromptDistribution
from inversescope_nb.rates import ConsistencyReport, consistency, consistency_of, resolve_sites
from inversescope_nb.reports import PICK_COLUMNS, ROW_COLUMNS, is_coarse
from inversescope_nb.sites import Site

WORDS = ["<bos>", "Ann", "Bob", "Cid", "left", "stayed", "."]
NAME = Feature("name", lambda text: text.split()[0] if text else None)
VERB = Feature("verb", lambda text: text.split()[1] if len(text.split()) > 1 else None)
RESID = [f"blocks.{i}.hook_resid_post" for i in range(2)]


@dataclass
class FakeInversion:
    """What `consistency_of` reads of an Inversion."""

    text: InputText
    texts: list[InputText]
    weight: np.ndarray
    site: Site = field(default_factory=lambda: Site(RESID[0], 0, "resid_post", None, 8))
    bandwidth: float = 0.1
    ess: float = 10.0
    bits: float = 3.0
    bits_bound: float = 5.5
    verdict: str = "RELIABLE"
    prompt_ids: list[int] = field(init=False)
    tokens: tuple[str, ...] = field(init=False)
    samples: list[list[int]] = field(init=False)

    def __post_init__(self):
        self.prompt_ids, self.tokens = list(self.text.token_ids), self.text.tokens
        self.samples = [list(text.token_ids) for text in self.texts]


def text_of(words: str) -> InputText:
    tokens = ["<bos>", *words.split()]
    return InputText(words, tokens, [WORDS.index(t) for t in tokens])


def inversion(pick: str, samples: list[str], weights=None, **kwargs) -> FakeInversion:
    weights = np.ones(len(samples)) if weights is None else np.array(weights, dtype=float)
    return FakeInversion(text_of(pick), [text_of(s) for s in samples], weights / weights.sum(), **kwargs)


# -- ready inversions ------------------------------------------------------------------------------


def test_a_single_inversion_has_its_own_interval_and_the_priors_chance() -> None:
    one = inversion("Ann left", ["Ann left", "Ann stayed", "Bob stayed", "Ann stayed"])
    report = consistency_of(one, NAME, prior_texts=["Ann left", "Bob left", "Cid left", "Bob ."])
    row = report.to_frame().iloc[0]
    assert row["fcr_plain"] == row["fcr_with_copies"] == 0.75
    assert row["fcr"] == pytest.approx(2 / 3), "without the copy"
    assert row["fcr_low"] < 2 / 3 < row["fcr_high"]
    assert row["chance_prior"] == 0.25
    assert math.isnan(row["chance_defined"]), "of four inputs nothing is said"
    assert row[["chance", "p_value", "fcr_star"]].isna().all()
    assert row["copy_share"] == 0.25
    assert "0.67 [" in report.summary()


def test_a_report_says_where_a_bandwidth_lets_little_pass() -> None:
    row = {"n_undefined": 0, "n_targets": 9, "n_groups": 9, "n_dropped": 0, "fcr": 0.1, "chance": 0.1, "p_value": 0.5}
    said = "So wide a bandwidth lets 2.4 bits pass at most, on average."
    assert said in _notes({**row, "bits_bound": 2.4}, 500, "", 9)
    assert _notes({**row, "bits_bound": 2.4}, 500, "Not to be relied on: all.", 9).startswith("Not to be relied on")
    assert "bits" not in _notes({**row, "bits_bound": 12.0}, 500, "", 9) + _notes(
        {**row, "bits_bound": math.nan}, 0, "", 9
    )


def test_chance_among_the_inputs_for_which_a_feature_is_defined() -> None:
    one = inversion("Ann left", ["Ann stayed", "Bob stayed"])
    some = Feature("name", lambda x: None if x[0] in "#." else x.split()[0])
    prior = [*["Ann left", "Bob left", "Cid left", "Dan left"] * 5, *["# no name"] * 60]
    row = consistency_of(one, some, prior_texts=prior).to_frame().iloc[0]
    assert (row["chance_prior"], row["chance_defined"]) == pytest.approx((5 / 80, 1 / 4))
    assert row["defined"] == 1
    half = inversion("Ann left", ["Ann stayed", "Bob stayed", ". left", "Ann stayed"], [0.4, 0.2, 0.3, 0.1])
    row = consistency_of(half, some, prior_texts=prior).to_frame().iloc[0]
    assert (row["fcr"], row["defined"]) == pytest.approx((0.5, 0.7))
    assert row["chance_defined"] == pytest.approx(0.7 / 4), "a sample without a name does not agree by chance either"
    row = consistency_of(one, some, prior_texts=prior[4:]).to_frame().iloc[0]
    assert math.isnan(row["chance_defined"]), "of 16 inputs nothing is said"
    row = consistency_of(one, NAME, prior_texts=prior).to_frame().iloc[0]
    assert row["chance_prior"] == row["chance_defined"], "a feature that is defined everywhere"


def test_rates_and_chance_of_several_inversions_by_hand() -> None:
    inversions = [
        inversion("Ann left", ["Ann stayed", "Ann .", "Bob .", "Ann stayed"]),
        inversion("Bob left", ["Bob stayed", "Bob .", "Bob .", "Bob stayed"]),
    ]
    report = consistency_of(inversions, [NAME, VERB])
    frame = report.to_frame().set_index("feature")
    assert frame.loc["name", "fcr"] == pytest.approx((0.75 + 1) / 2)
    assert frame.loc["name", "chance"] == pytest.approx((0 + 0.25) / 2)
    assert frame.loc["verb", "fcr"] == 0
    picks = report.picks_frame()
    assert list(picks.columns) == list(PICK_COLUMNS)
    assert picks[picks["feature"] == "name"]["label"].tolist() == ["Ann", "Bob"]
    assert picks[picks["feature"] == "name"]["fcr"].tolist() == [0.75, 1.0]


def test_undefined_picks_are_dropped_and_counted_and_undefined_samples_disagree() -> None:
    inversions = [
        inversion("Ann left", ["Bob left", "Ann", "Ann", "Cid left"]),
        inversion("Ann", ["Bob left"]),
        inversion("Bob stayed", ["Ann stayed"]),
    ]
    row = consistency_of(inversions, VERB).to_frame().iloc[0]
    assert (row["n_targets"], row["n_undefined"], row["n_groups"]) == (3, 1, 2)
    assert row["fcr"] == pytest.approx((0.5 + 1) / 2)
    nothing = consistency_of(inversions[1], VERB)
    assert np.isnan(nothing.to_frame()["fcr"][0])
    assert "undefined for every picked input" in nothing.summary()


def test_picks_that_sampled_only_themselves_are_counted_not_scored() -> None:
    inversions = [
        inversion("Ann left", ["Ann left"]),
        inversion("Bob left", ["Bob ."]),
        inversion("Cid .", ["Ann ."]),
    ]
    row = consistency_of(inversions, NAME).to_frame().iloc[0]
    assert (row["n_dropped"], row["fcr"], row["fcr_with_copies"]) == (1, 0.5, pytest.approx(2 / 3))
    alone = consistency_of(inversions[0], NAME).to_frame().iloc[0]
    assert np.isnan(alone["fcr"])
    assert "larger bandwidth" in alone["notes"]


def test_equal_inputs_are_one_group_and_groups_join_others_to_them() -> None:
    inversions = [
        inversion("Ann left", ["Ann ."]),
        inversion("Ann left", ["Ann ."]),
        inversion("Bob .", ["Bob left"]),
    ]
    for groups in (None, ["x", "y", "z"]):
        assert consistency_of(inversions, NAME, groups=groups).to_frame()["n_groups"][0] == 2
    row = consistency_of(inversions, NAME, groups=["x", "x", "x"]).to_frame().iloc[0]
    assert row["n_groups"] == 1
    assert row[["chance", "fcr_low", "p_value"]].isna().all()
    assert "one group" in row["notes"]
    with pytest.raises(InvalidArgument, match="2 groups for 3"):
        consistency_of(inversions, NAME, groups=[1, 2])
    with pytest.raises(InvalidArgument, match="no inversion"):
        consistency_of([], NAME)


def test_a_constant_feature_is_flagged_and_has_no_corrected_rate() -> None:
    constant = Feature("always", lambda text: True)
    inversions = [inversion(f"{a} left", ["Ann .", "Bob ."]) for a in ("Ann", "Bob", "Cid")]
    row = consistency_of(inversions, constant).to_frame().iloc[0]
    assert (row["fcr"], row["chance"]) == (1, 1)
    assert np.isnan(row["fcr_star"])
    assert "hardly varies" in row["notes"]
    assert "cannot be told from chance" in row["notes"]
    assert np.isnan(row["p_value"])


def test_effective_samples_are_held_against_each_inversions_own_number() -> None:
    several = [
        inversion(f"{a} left", ["Bob ."] * n, ess=n * share) for a, n, share in (("Ann", 10, 0.8), ("Bob", 100, 0.5))
    ]
    row = consistency_of(several, NAME).to_frame().iloc[0]
    assert row["ess_ratio"] == pytest.approx((0.8 + 0.5) / 2)


def test_one_group_that_outweighs_all_others_is_noted_and_widens_the_interval() -> None:
    several = [inversion(f"Ann {b}", ["Ann ."]) for b in ("left", "stayed")] * 10
    several += [inversion(f"{a} left", [f"{a} ."]) for a in ("Bob", "Cid")] * 2
    even = consistency_of(several, NAME).to_frame().iloc[0]
    odd = consistency_of(several, NAME, groups=[text.text.split()[0] for text in several]).to_frame().iloc[0]
    assert (even["n_groups"], odd["n_groups"]) == (4, 3)
    assert even["fcr"] == odd["fcr"] == 1
    assert odd["fcr_low"] < 0.3 < even["fcr_low"]
    names = [f"{a} {b}" for a in ("Ann", "Bob", "Cid") for b in ("left", "stayed", ".")]
    heavy = [inversion(names[0], ["Ann stayed"])] * 50 + [inversion(name, ["Ann ."]) for name in names]
    heavy += [inversion(f"{a} left .", ["Ann ."]) for a in ("Ann", "Bob", "Cid")]
    row = consistency_of(heavy, NAME).to_frame().iloc[0]
    assert row["n_groups"] >= 10
    assert "so uneven that they count as" in row["notes"]


def test_ten_even_picks_are_not_called_uneven() -> None:
    several = [
        inversion(f"{a} {b}", [f"{a} ."]) for a in ("Ann", "Bob") for b in ("left", "stayed", "Ann", "Cid", "Bob")
    ]
    row = consistency_of(several, NAME).to_frame().iloc[0]
    assert row["n_groups"] == 10
    assert "uneven" not in row["notes"], "1 / (10 * 0.1**2) is a little less than 10"


def test_sites_are_compared_on_the_same_picks_whatever_their_order() -> None:
    deep = Site(RESID[1], 1, "resid_post", None, 8)
    names = ["Ann", "Bob", "Cid"]
    first = [inversion(f"{a} left", [f"{a} .", f"{a} stayed"]) for a in names]
    second = [inversion(f"{a} left", [f"{a} .", "Bob stayed"], site=deep) for a in reversed(names)]
    report = consistency_of(first + second, NAME)
    table = report.difference(RESID[0], RESID[1])
    assert table["n_picks"][0] == 3
    assert table["difference"][0] == pytest.approx(1 - (0.5 + 1 + 0.5) / 3)
    assert table["low"][0] <= table["difference"][0] <= table["high"][0]
    assert report.difference(RESID[0], RESID[0])["difference"][0] == 0
    with pytest.raises(InvalidArgument, match=r"no site 'blocks\.0\.hook_resid_pots'\. Did you mean"):
        report.difference("blocks.0.hook_resid_pots", RESID[1])


def test_a_feature_that_raises_is_named() -> None:
    broken = Feature("broken", lambda text: text.split()[5])
    with pytest.raises(FeatureError, match="'broken' raised IndexError"):
        consistency_of(inversion("Ann left", ["Ann ."]), broken)


def test_a_bandwidth_that_does_not_resolve_the_site_is_noted() -> None:
    def notes(**of_the_site) -> str:
        picks = [many(64, prompt_ids=[1, i], **of_the_site) for i in range(3)]
        return consistency_of(picks, Feature("end", lambda text: text[-1]), permutations=0).rows[0]["notes"]

    said = notes(top_share=0.91, bits_bound=4.2)
    assert "Coarse here: one direction holds 91% of this site's variance" in said
    assert is_coarse(said)
    assert not is_coarse(notes(top_share=0.91, bits_bound=20.0)), "fine enough for the others too"
    assert not is_coarse(notes(top_share=0.3, bits_bound=4.2))


def test_more_permutations_are_made_for_more_rows() -> None:
    inversions = [inversion(f"{a} left", ["Ann ."]) for a in ("Ann", "Bob")]
    many = [Feature(f"f{i}", lambda text: text[0]) for i in range(6)]
    assert consistency_of(inversions, many, permutations=50).settings["permutations"] == 120
    report = consistency_of(inversions, many, permutations=0)
    assert report.settings["permutations"] == 0
    assert report.to_frame()["p_value"].isna().all()


@pytest.mark.parametrize(("n_bad", "noted"), [(0, False), (1, False), (2, True), (8, True)])
def test_doubtful_inversions_are_counted_in_the_notes(n_bad, noted) -> None:
    verdicts = ["LOW_ESS", "INVERTER_FAILED", *["LOW_ESS"] * 6][:n_bad]
    verdicts += ["RELIABLE", "NO_INFORMATION", "NEIGHBOURS", *["RELIABLE"] * 5][: 8 - n_bad]
    picks = [
        inversion(f"{name} {verb}", ["Ann left", "Bob stayed", "Cid ."], verdict=verdict)
        for (name, verb), verdict in zip(
            [(a, b) for a in ("Ann", "Bob", "Cid") for b in ("left", "stayed", ".")][:8], verdicts, strict=True
        )
    ]
    report = consistency_of(picks, NAME, permutations=0)
    row = report.rows[0]
    assert ("Not to be relied on: " in row["notes"]) == noted
    assert ("Not to be relied on: " in report.summary()) == noted
    if n_bad == 8:
        assert "of 8 inversions 7 with few effective samples, 1 missed by the generator." in row["notes"]


def test_bits_are_the_mean_of_the_inversions_that_have_some() -> None:
    picks = [inversion("Ann left", ["Ann left", "Bob stayed"], bits=bits) for bits in (2.0, math.inf, 4.0)]
    assert consistency_of(picks, NAME, permutations=0).rows[0]["bits"] == 3.0


def test_a_comparison_where_hardly_any_group_differs_is_no_point() -> None:
    deep = Site(RESID[1], 1, "resid_post", None, 8)
    names = ["Ann", "Bob", "Cid"]
    agree = [inversion(f"{a} left", [f"{a} ."]) for a in names]
    differ = [inversion(f"{a} left", [f"{b} ."], site=deep) for a, b in zip(names, names[1:] + names[:1], strict=True)]
    table = consistency_of(agree + differ, NAME).difference(RESID[0], RESID[1])
    assert table["difference"][0] == 1
    assert table["low"][0] < 0.4
    assert table["high"][0] == 1
    one = consistency_of(agree + differ, NAME, groups=[0] * 6).difference(RESID[0], RESID[1])
    assert one[["low", "high"]].isna().all(axis=None)


# -- whole studies, with a stand-in for invert() ---------------------------------------------------


class FakeModel:
    """A word-level model with two residual sites."""

    name, fingerprint, tokenizer_hash, bos_id, dtype = "fake", "f00d", "beef", 0, torch.float32
    vocab_size, n_ctx, text_bos_id = 99, 64, 0

    def encode(self, prompts):
        rows, slots = [], {}
        for i, prompt in enumerate(prompts):
            text = prompt.text if isinstance(prompt, Prompt) else prompt
            rows.append([0, *map(WORDS.index, text.split())] if isinstance(text, str) else list(text))
            for name, (_, end) in getattr(prompt, "slots", {}).items():
                slots.setdefault(name, torch.full((len(prompts),), -1))[i] = len(text[:end].split())
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        return EncodedPrompts(ids, lengths, slots)

    def decode(self, ids):
        return " ".join(WORDS[i] for i in ids)

    def token_strings(self, ids):
        return [WORDS[i] for i in ids]

    def site(self, spec):
        for layer, name in enumerate(RESID):
            if str(spec) in (f"resid_post.{layer}", name):
                return Site(name, layer, "resid_post", None, 8)
        raise UnknownSite(f"unknown site {spec!r}")

    def activations(self, prompts, sites, cancel=None):
        return {site.name: torch.zeros(len(prompts), site.d) for site in sites}


class FakeGenerator(torch.nn.Module):
    """Two sites: the first holds the name, the second nothing. It has learned no prior of its own."""

    has_prior, longest_input = False, 64

    sites, kernel = tuple(RESID), Kernel()
    config = SimpleNamespace(bandwidths=(0.02, 1.0), has_bos=True, start_id=0)

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((3,), weight))
        texts = [f"{a} {b}" for a in ("Ann", "Bob", "Cid") for b in ("left", "stayed", ".")]
        self.prompts = PromptDistribution.from_texts(texts, name="nine", cut="end")
        self.prompts.draw = lambda n, lm, *, seed, cancel=None: lm.encode(self.prompts.sample(n, seed=seed)).rows()

    def check_target(self, lm):
        pass

    def statistics(self, site):
        pass

    def bank(self, lm, prior, size, cancel=None):
        return SimpleNamespace(read=lambda sites, cancel=None: None)


def nearly(gen: FakeGenerator) -> FakeGenerator:
    """The same but for one number."""
    gen.weight.data[1] += 1e-3
    return gen


def renamed(gen: FakeGenerator) -> FakeGenerator:
    """The same with another P(X)."""
    gen.prompts = PromptDistribution.from_texts(["Ann left", "Bob left"], name="two", cut="end")
    return gen


def unscored(gen: FakeGenerator) -> FakeGenerator:
    """The same, whose P(X) can no longer say how likely an input is."""
    gen.prompts.log_probs = lambda inputs, lm: None
    return gen


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, tuple[int, ...], float, int]]:
    """Replaces inversions by exact draws; returns what was asked for."""
    made = []

    def invert(lm, gen, prompt, place, z_hat, *, bandwidth, n, seed, cancel, progress, **rest):
        if cancel is not None and cancel.is_set():
            raise Cancelled("inversion was stopped")
        assert not progress, "bars never nest"
        site = place.name
        made.append((site, tuple(prompt), bandwidth, seed))
        rng = np.random.default_rng(seed)
        own = site == RESID[0]
        names = [WORDS[prompt[1]]] * n if own else rng.choice(["Ann", "Bob", "Cid"], n)
        samples = [f"{name} {rng.choice(['left', 'stayed', '.'])}" for name in names]
        return inversion(lm.decode(prompt[1:]), samples, site=place, bandwidth=bandwidth)

    monkeypatch.setattr(study_module, "invert_activation", invert)
    return made


STUDY = {"n_targets": 24, "n_samples": 30, "permutations": 99}


def test_a_site_that_holds_a_feature_is_told_from_one_that_does_not(calls) -> None:
    gen = FakeGenerator()
    report = consistency(FakeModel(), gen, gen.prompts, "blocks.*", [NAME, VERB], seed=1, **STUDY)
    frame = report.to_frame().set_index(["site", "feature"])
    assert list(report.to_frame().columns) == list(ROW_COLUMNS)
    holds, lacks = frame.loc[(RESID[0], "name")], frame.loc[(RESID[1], "name")]
    assert (holds["fcr"], holds["fcr_star"]) == pytest.approx((1, 1))
    assert holds["q_value"] < 0.05
    assert set(frame["bits_bound"]) == {5.5}
    assert holds["fcr_low"] < 0.9, "near 1 the interval is Wilson's, not a point"
    assert lacks["q_value"] > 0.05
    assert abs(lacks["fcr_star"]) < 0.15
    assert frame.loc[(RESID[0], "verb"), "q_value"] > 0.05
    assert holds["chance"] == pytest.approx(1 / 3, abs=0.15)
    assert holds["chance_prior"] == pytest.approx(1 / 3, abs=0.05)
    assert holds["n_groups"] == len({ids for _, ids, _, _ in calls}), "equal inputs are one group"
    assert holds["verdict_counts"] == "RELIABLE: 24"
    summary = report.summary()
    assert summary.index(f"'name' at {RESID[0]}") < summary.index(f"'name' at {RESID[1]}")
    assert "nine, cut at end" in summary


def test_each_pick_is_inverted_once_per_site_and_bandwidth_with_the_same_seed_everywhere(calls) -> None:
    gen, steps = FakeGenerator(), []
    consistency(
        FakeModel(), gen, ["Ann left", "Bob ."], RESID, [NAME, VERB], bandwidth=[0.1, 0.2], n_samples=5,
        permutations=0, on_progress=lambda *args: steps.append(args),
    )  # fmt: skip
    assert len(calls) == len(set(calls)) == 2 * 2 * 2
    assert len({(ids, seed) for _, ids, _, seed in calls}) == 2
    assert [step[:2] for step in steps] == [(i + 1, 8) for i in range(8)]


def test_the_same_seed_gives_the_same_report_and_another_seed_other_picks(calls) -> None:
    gen = FakeGenerator()
    a, b, c = (consistency(FakeModel(), gen, gen.prompts, RESID[0], NAME, seed=s, **STUDY) for s in (0, 0, 1))
    assert a.to_json() == b.to_json() != c.to_json()


def test_inputs_are_cut_at_a_position_or_behind_a_slot(calls) -> None:
    lm, gen = FakeModel(), FakeGenerator()
    prompts = [Prompt("Ann left .", slots={"who": (0, 3)}), Prompt("Bob left", slots={"who": (0, 3)})]
    for options, expected in (
        ({}, [(0, 1, 4, 6), (0, 2, 4)]),
        ({"position": 2}, [(0, 1, 4), (0, 2, 4)]),
        ({"slot": "who"}, [(0, 1), (0, 2)]),
    ):
        calls.clear()
        consistency(lm, gen, prompts, RESID[0], NAME, n_samples=2, permutations=0, **options)
        assert [ids for _, ids, _, _ in calls] == expected
    for options in ({"position": 3}, {"position": -5}, {"slot": "whom"}):
        with pytest.raises(InvalidArgument):
            consistency(lm, gen, prompts, RESID[0], NAME, n_samples=2, **options)


def test_a_distribution_that_is_cut_at_a_slot_is_read_there(calls) -> None:
    lm, gen = FakeModel(), FakeGenerator()
    at_name = PromptDistribution.from_texts([Prompt("Ann left .", slots={"who": (0, 3)})], cut="slot:who")
    for options, expected in (({}, (0, 1)), ({"position": 2}, (0, 1, 4)), ({"position": -2}, (0, 1, 4))):
        calls.clear()
        consistency(lm, gen, at_name, RESID[0], NAME, n_targets=2, n_samples=2, permutations=0, **options)
        assert {ids for _, ids, _, _ in calls} == {expected}


def test_of_a_mixture_that_is_cut_in_several_places_whole_prompts_are_read(calls) -> None:
    lm, gen = FakeModel(), FakeGenerator()
    slots = {"who": (0, 3), "what": (4, 8)}
    parts = [
        PromptDistribution.from_texts([Prompt("Ann left .", slots=slots)], cut=cut) for cut in ("slot:who", "slot:what")
    ]
    for several, expected in ((parts, (0, 1, 4, 6)), (parts[:1] * 2, (0, 1))):
        calls.clear()
        mixed = PromptDistribution.mixture(several)
        consistency(lm, gen, mixed, RESID[0], NAME, n_targets=4, n_samples=2, permutations=0)
        assert {ids for _, ids, _, _ in calls} == {expected}


def test_picks_are_grouped_by_a_label_a_function_or_a_list(calls) -> None:
    lm, gen = FakeModel(), FakeGenerator()
    prompts = [Prompt(f"{a} {b}", {"who": a}) for a in ("Ann", "Bob") for b in ("left", ".")]
    for group_by, n_groups in ((None, 4), ("who", 2), (lambda p: p.text[-1], 2), ([1, 1, 1, 2], 2)):
        report = consistency(lm, gen, prompts, RESID[0], NAME, n_samples=4, permutations=0, group_by=group_by)
        assert report.to_frame()["n_groups"][0] == n_groups
    with pytest.raises(InvalidArgument, match="not every target has a label 'whom'"):
        consistency(lm, gen, prompts, RESID[0], NAME, n_samples=4, group_by="whom")


def test_a_study_resumes_and_its_features_may_change(calls, tmp_path) -> None:
    lm, gen = FakeModel(), FakeGenerator()
    run = {"run_dir": tmp_path / "run", "seed": 3, **STUDY}
    first = consistency(lm, gen, gen.prompts, RESID[0], NAME, **run)
    assert len(calls) == 24
    both = consistency(lm, gen, gen.prompts, RESID, [VERB, NAME], **run)
    assert len(calls) == 48, "only the new site was sampled"
    columns = ["fcr", "fcr_low", "chance", "fcr_plain", "bits", "verdict_counts"]
    again = both.to_frame().query("feature == 'name'")[columns].iloc[0]
    pd.testing.assert_series_equal(first.to_frame()[columns].iloc[0], again, check_names=False)
    fresh = consistency(lm, gen, gen.prompts, RESID, [VERB, NAME], **{**run, "run_dir": None})
    assert fresh.to_json() == both.to_json(), "from files or not, the same report"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seed": 4}, "another picked inputs, seed"),
        ({"n_samples": 31}, "another n_samples"),
        ({"n_targets": 12}, "another picked inputs"),
        ({"gen": FakeGenerator(2.0)}, "another generator"),
        ({"gen": nearly(FakeGenerator())}, "another generator"),
        ({"gen": renamed(FakeGenerator())}, r"another P\(X\)"),
        ({"gen": unscored(FakeGenerator())}, r"another P\(X\) is scored"),
    ],
)
def test_samples_of_another_study_are_refused(calls, tmp_path, change, what) -> None:
    run = {"gen": FakeGenerator(), "seed": 3, "run_dir": tmp_path, **STUDY}
    targets = run["gen"].prompts
    consistency(FakeModel(), targets=targets, sites=RESID[0], features=NAME, **run)
    with pytest.raises(CheckpointMismatch, match=what):
        consistency(FakeModel(), targets=targets, sites=RESID[0], features=NAME, **(run | change))


def test_a_broken_cell_file_is_named(calls, tmp_path) -> None:
    gen = FakeGenerator()
    (tmp_path / f"{RESID[0]}@0.1.json").write_text("{")
    with pytest.raises(CheckpointMismatch, match="is no cell of a study"):
        consistency(FakeModel(), gen, gen.prompts, RESID[0], NAME, run_dir=tmp_path, **STUDY)


def test_a_cancelled_study_keeps_its_finished_cells(calls, tmp_path) -> None:
    gen, cancel = FakeGenerator(), threading.Event()

    def stop_in_the_second_cell(done: int, total: int, message: str) -> None:
        if done == 30:
            cancel.set()

    with pytest.raises(Cancelled) as e:
        consistency(
            FakeModel(), gen, gen.prompts, RESID, NAME, run_dir=tmp_path, cancel=cancel,
            on_progress=stop_in_the_second_cell, **STUDY,
        )  # fmt: skip
    assert e.value.checkpoint == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == [f"{RESID[0]}@0.1.json"]
    calls.clear()
    consistency(FakeModel(), gen, gen.prompts, RESID, NAME, run_dir=tmp_path, **STUDY)
    assert {site for site, *_ in calls} == {RESID[1]}


def test_the_cost_is_said_before_the_work_starts(calls, caplog) -> None:
    gen = FakeGenerator()
    with caplog.at_level(logging.INFO, logger="inversescope_nb"):
        consistency(FakeModel(), gen, gen.prompts, RESID, NAME, **STUDY)
    assert "48 inversions" in caplog.messages[0]
    assert "1440 inputs" in caplog.messages[0]


def test_sites_are_globs_or_any_spelling_and_unknown_ones_suggest() -> None:
    lm, gen = FakeModel(), FakeGenerator()
    assert resolve_sites(lm, gen, "blocks.*.hook_resid_post") == RESID
    assert resolve_sites(lm, gen, [RESID[1], "resid_post.0", RESID[1]]) == RESID, "once each, in order"
    with pytest.raises(UnknownSite, match=r"inverts no site 'blocks\.7\.\*'"):
        resolve_sites(lm, gen, "blocks.7.*")
    with pytest.raises(UnknownSite):
        resolve_sites(lm, gen, "nonsense")
    with pytest.raises(UnknownSite, match="no site was given"):
        resolve_sites(lm, gen, [])


@pytest.mark.parametrize(
    "bad", [{"n_samples": 0}, {"n_targets": 1.5}, {"permutations": -1}, {"bandwidth": 0}, {"bandwidth": []}]
)
def test_numbers_that_cannot_be_are_refused(calls, bad) -> None:
    gen = FakeGenerator()
    with pytest.raises(InvalidArgument):
        consistency(FakeModel(), gen, gen.prompts, RESID, NAME, **bad)
    assert not calls


def test_no_targets_are_refused(calls) -> None:
    with pytest.raises(InvalidArgument, match="targets is empty"):
        consistency(FakeModel(), FakeGenerator(), [], RESID, NAME)


# -- reports ---------------------------------------------------------------------------------------


def test_a_report_survives_a_round_trip_through_json(calls, tmp_path) -> None:
    gen = FakeGenerator()
    report = consistency(FakeModel(), gen, gen.prompts, RESID, [NAME, features.contains("left")], **STUDY)
    text = report.to_json(tmp_path / "report.json")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    for back in (ConsistencyReport.from_json(text), ConsistencyReport.from_json(tmp_path / "report.json")):
        pd.testing.assert_frame_equal(back.to_frame(), report.to_frame())
        pd.testing.assert_frame_equal(back.picks_frame(), report.picks_frame())
        assert back.summary() == report.summary()
    with pytest.raises(InvalidArgument, match="no consistency report"):
        ConsistencyReport.from_json("[]")
    with pytest.raises(ModelLoadError, match="no such file"):
        ConsistencyReport.from_json(tmp_path / "other.json")
    older = json.loads(text)
    for row in older["rows"]:
        del row["bits_bound"]
    assert ConsistencyReport.from_json(json.dumps(older)).to_frame()["bits_bound"].isna().all()


def test_an_empty_report_has_its_columns() -> None:
    empty = ConsistencyReport((), (), {"n_targets": 0, "n_samples": 0})
    assert list(empty.to_frame().columns) == list(ROW_COLUMNS)
    assert empty.to_frame()["head"].dtype == "Int64"
    assert "0 picked inputs" in repr(empty)


# -- end to end, on a tiny model -------------------------------------------------------------------


def test_the_embedding_of_the_last_word_holds_that_word_and_nothing_else(lm, tmp_path) -> None:
    """resid_pre of a model without position embeddings: the answer is known, whatever the weights."""
    from inversescope_nb.generator import TrainingConfig, train_generator
    from inversescope_nb.inversion import invert

    prompts = PromptDistribution.from_templates(
        ["{A} {V} the {B} to {C}"],
        {
            "A": ["John", "Mary", "he"],
            "V": ["gave", "is"],
            "B": ["book", "dog"],
            "C": ["France", "Paris", "park"],
        },
        name="gifts",
        cut="end",
    )
    config = TrainingConfig(
        steps=80, batch_size=64, lr=2e-2, adapter_lr=2e-2, warmup=10, width=16, n_tokens=2, n_heads=2,
        statistics_samples=64, held_out=16, eval_every=1000, bandwidths=(0.1, 0.5),
    )  # fmt: skip
    gen = train_generator(lm, "resid_pre.0", prompts, config=config)
    last, first = features.slot(prompts, "C"), features.slot(prompts, "A")
    run = {"bandwidth": 0.2, "n_targets": 18, "n_samples": 48, "run_dir": tmp_path}
    report = consistency(lm, gen, prompts, "resid_pre.0", [last, first, features.pair(last, first)], **run)
    frame = report.to_frame().set_index("feature")
    assert frame.loc["C", "fcr"] > 0.98
    assert frame.loc["C", "q_value"] < 0.01
    assert abs(frame.loc["A", "fcr_star"]) < 0.12
    assert frame.loc["A", "q_value"] > 0.05
    assert frame.loc["(C, A)", "fcr"] == pytest.approx(frame.loc["A", "fcr"], abs=0.02)
    assert frame["chance_prior"].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 9], abs=0.05)
    assert frame.loc["C", "bits"] == pytest.approx(np.log2(3), abs=0.25)
    ready = [
        invert(lm, gen, pick["prompt_ids"], site="resid_pre.0", bandwidth=0.2, n=48, seed=i)
        for i, pick in enumerate(json.loads(next(tmp_path.iterdir()).read_text())["cell"]["picks"][:3])
    ]
    few = consistency_of(ready, [last, first], permutations=0).to_frame().set_index("feature")
    assert few.loc["C", "fcr"] > 0.98
    assert few.loc["C", "site"] == "blocks.0.hook_resid_pre"
    assert report.to_json() == consistency(
        lm, gen, prompts, "resid_pre.0", [last, first, features.pair(last, first)], **run
    ).to_json()  # fmt: skip
    seen = consistency(lm, gen, prompts, "resid_pre.0", [last, first], channel=True, **{**run, "run_dir": None})
    frame = seen.to_frame().set_index("feature")
    assert frame.loc["C", "fcr_channel"] > 0.98
    # copies belong to the channel's samples: what the activation does not hold agrees as often as in P(X)
    assert frame.loc["A", "fcr_channel"] == pytest.approx(1 / 3, abs=0.1)


def test_bandwidths_are_those_of_the_generator_and_priors_may_be_known_by_name_only(lm, tmp_path) -> None:
    P = PromptDistribution.from_model(lm, max_tokens=4)
    config = TrainingConfig(
        steps=2, batch_size=8, width=16, n_tokens=2, n_blocks=1, n_heads=2, statistics_samples=32, held_out=16,
        bandwidths=(0.5, 2.0),
    )  # fmt: skip
    train_generator(lm, "resid_post.1", P, config=config).save_pretrained(tmp_path / "gen")
    gen = load_generator(tmp_path / "gen")
    has_the = Feature("the", lambda text: "the" in text)
    study = {"targets": ["the cat", "a dog is"], "sites": "resid_post.1", "features": [has_the]}
    found = consistency(lm, gen, **study, bandwidth=1.5, n_samples=4, permutations=0)
    assert len(found.to_frame()) == 1
    with pytest.raises(InvalidArgument, match="outside the range"):
        consistency(lm, gen, **study, bandwidth=0.1, n_samples=4)
