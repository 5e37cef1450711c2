"""Causal checks: patches against what the model says of other inputs, use on a target built to use one feature only."""

from __future__ import annotations

import copy
import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import WORDS
from known_answer import Copy, copying_model, label, prompts
from small import model_for, same_weights, weights_of, word_tokenizer

import inversescope_nb as isn
from inversescope_nb import causal
from inversescope_nb._ranks import rank_correlation
from inversescope_nb.activations import patch
from inversescope_nb.causal.evidence import row_of, sign_flip_test
from inversescope_nb.causal.outputs import Original
from inversescope_nb.causal.patches import KINDS
from inversescope_nb.errors import Cancelled, InvalidArgument, UnknownSite

LAST = "blocks.3.hook_resid_post"


@pytest.fixture(scope="module")
def lm():
    return isn.load_model()


@pytest.fixture(scope="module")
def gen():
    return isn.load_generator()


@pytest.fixture(scope="module")
def task():
    return isn.tasks.ioi()


def divergence(lm, first, second) -> float:
    """KL of the next-token distribution after one input from that after another, in nats."""
    p, q = (lm.logits([list(ids)])[0].double().log_softmax(-1) for ids in (first, second))
    return float((p.exp() * (p - q)).sum())


# -- one inversion ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inversion(lm, gen):
    return isn.invert(lm, gen, "4 3 7 + 5 6 8 =", site=LAST, bandwidth=0.5, n=64)


def test_behind_the_last_block_a_sample_patched_in_says_what_the_sample_says(lm, gen, inversion) -> None:
    frame = causal.patching(lm, gen, inversion, n=8, doses=[1]).to_frame()
    rows = frame[frame["kind"] == "posterior"]
    ids = {str(text): sample for text, sample in zip(inversion.texts, inversion.samples, strict=True)}
    for text, kl in zip(rows["text"], rows["kl"], strict=True):
        assert kl == pytest.approx(divergence(lm, inversion.prompt_ids, ids[text]), rel=1e-3, abs=1e-6)


def test_the_four_kinds_of_a_draw_are_displaced_equally_far_and_doses_multiply(lm, gen, inversion) -> None:
    frame = causal.patching(lm, gen, inversion, n=8, doses=[0.5, 2]).to_frame()
    assert set(frame["kind"]) == set(KINDS)
    for _, part in frame.groupby(["sample", "dose"]):
        assert np.ptp(part["displacement"]) < 1e-4 * part["displacement"].mean()
    table = frame.pivot_table(index="sample", columns="dose", values="displacement")
    np.testing.assert_allclose(table[2.0], 4 * table[0.5], rtol=1e-5)


def test_the_same_seed_gives_the_same_patches_and_another_does_not(lm, gen, inversion) -> None:
    first, again, other = (causal.patching(lm, gen, inversion, n=4, doses=[1], seed=s).to_frame() for s in (1, 1, 2))
    assert first.equals(again)
    assert not np.allclose(first["kl"], other["kl"])


def test_ratios_are_of_means_of_the_same_draws(lm, gen, inversion) -> None:
    report = causal.patching(lm, gen, inversion, n=8, doses=[1])
    frame, table = report.to_frame(), report.compared().set_index("kind")
    assert table["n_inputs"].unique().tolist() == [frame["text"].nunique()]
    assert report.verdict in report.summary()
    means = frame.groupby("kind")["kl"].mean()
    for kind in KINDS:
        assert table.loc[kind, "kl"] == pytest.approx(means[kind])
        assert table.loc[kind, "ratio"] == pytest.approx(means[kind] / means["posterior"])
        assert table.loc[kind, "low"] <= means[kind] <= table.loc[kind, "high"]
    with pytest.raises(InvalidArgument, match="dose"):
        report.compared(3)


def test_copies_are_left_out_and_where_nothing_else_counts_that_is_said(lm, gen, inversion) -> None:
    own = copy.copy(inversion)
    object.__setattr__(own, "is_copy", np.ones(inversion.n, dtype=bool))
    with pytest.raises(InvalidArgument, match="larger bandwidth"):
        causal.patching(lm, gen, own)


def test_the_output_is_read_behind_later_tokens_where_those_are_given(lm, gen, task) -> None:
    prompt = task.held_out.sample(1, seed=0)[0]
    at = int(lm.encode(prompt).slot_positions["S2"][0])
    early, last = (
        isn.invert(lm, gen, prompt, site=site, position=at, bandwidth=0.5, n=32)
        for site in ("blocks.0.hook_resid_post", LAST)
    )
    report = causal.patching(lm, gen, early, prompt=prompt, n=4, doses=[1])
    assert report.reads_later
    assert "intact" in report.summary()
    assert report.to_frame()["kl"].max() > 1e-6
    nothing = causal.patching(lm, gen, last, prompt=prompt, n=4, doses=[1]).to_frame()
    assert nothing["kl"].max() < 1e-9, "behind the last block no later token reads it"
    with pytest.raises(InvalidArgument, match="begin"):
        causal.patching(lm, gen, early, prompt="4 3 7 + 5 6 8 =")


@pytest.mark.parametrize("doses", [[], [0], [-1], [math.nan], "abc", None])
def test_doses_are_positive_numbers(lm, gen, inversion, doses) -> None:
    with pytest.raises(InvalidArgument, match="doses"):
        causal.patching(lm, gen, inversion, doses=doses)


def test_patching_takes_an_inversion_and_stops_when_told(lm, gen, inversion) -> None:
    import threading

    with pytest.raises(InvalidArgument, match="invert"):
        causal.patching(lm, gen, "4 3 7")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        causal.patching(lm, gen, inversion, cancel=stop)


def test_charts_of_doses_and_factors_draw_their_frames(lm, gen, inversion, task) -> None:
    doses = causal.patching(lm, gen, inversion, n=4, doses=[0.5, 1]).chart().to_dict()
    (points,) = doses["datasets"].values()
    assert sorted({row["patch"] for row in points}) == sorted(KINDS.values())
    factors = causal.scaling(lm, task.held_out, [LAST, "blocks.0.hook_attn_out"], factors=[0, 1], n_targets=4)
    (points,) = factors.chart().to_dict()["datasets"].values()
    assert {(row["site"], row["factor"]) for row in points} == {
        (site, f) for site in (LAST, "blocks.0.hook_attn_out") for f in (0, 1)
    }
    for name in ("dose_chart", "use_chart", "beside_chart", "scaling_chart"):
        assert getattr(isn.charts, name)(pd.DataFrame()).to_dict()["mark"]["type"] == "text"


# -- answers ---------------------------------------------------------------------------------------


def test_answers_are_words_ids_or_features_and_the_difference_is_of_their_logits(lm, task) -> None:
    prompt = task.held_out.sample(1, seed=5)[0]
    ids = lm.encode(prompt).rows()[0]
    logits = lm.logits([ids])[0].double()
    io, s = (str(prompt.labels[name]) for name in ("indirect_object", "subject"))
    tokens = [lm.encode(f"{prompt.text} {word}").rows()[0][-1] for word in (io, s)]
    expected = float(logits[tokens[0]] - logits[tokens[1]])
    for answers in ((io, s), tuple(tokens), (task.features["indirect_object"], task.features["subject"])):
        assert Original.of(lm, ids, 3, answers).difference == pytest.approx(expected, rel=1e-9)
    assert math.isnan(Original.of(lm, ids, 3, (io, lambda text: None)).difference), "undefined"


@pytest.mark.parametrize(
    "answers", ["Mary", ("Mary",), ("Mary", ""), ("Mary", "Xyzzy"), ("Mary", 10**9), ("Mary", 1.5)]
)
def test_what_is_no_pair_of_answers_is_refused(lm, answers) -> None:
    with pytest.raises(InvalidArgument):
        Original.of(lm, lm.encode("Mary and John went to the store .").rows()[0], 0, answers)


def test_a_label_that_is_a_number_is_the_word_and_not_a_token_id(lm) -> None:
    ids = lm.encode("4 3 7 + 5 6 8 =").rows()[0]
    last = isn.features.combine_numbers("+", modulo=10, spaced=True)
    assert last(lm.decode(ids)) == 5
    written = [lm.encode(f"4 3 7 + 5 6 8 = {digit}").rows()[0][-1] for digit in (5, 3)]
    assert Original.of(lm, ids, 0, (last, "3")).pair == tuple(written)
    assert Original.of(lm, ids, 0, (np.int64(7), 8)).pair == (7, 8)
    assert Original.of(lm, ids, 0, (last, last)).pair is None, "two labels that are one"


def test_a_word_gets_the_token_that_it_has_behind_a_space() -> None:
    lm = model_for(word_tokenizer())
    ids = lm.encode("the cat and a").rows()[0]
    assert Original.of(lm, ids, 0, ("dog", "Mary")).pair == (4 + WORDS.index("dog"), 4 + WORDS.index("Mary"))


# -- what is used ----------------------------------------------------------------------------------


def reading_target(*gains: float):
    """Heads copy the classes of as many slots; what each of them wrote is read at its gain, as words of its own."""
    n_labels, twins = 3, 2
    lm = copying_model(3, n_labels, [Copy(i) for i in range(len(gains))], twins=twins)
    weight = torch.zeros_like(lm.model.lm_head.weight)
    at = 3 + n_labels * twins + 5  # behind words and positions
    for head, gain in enumerate(gains):
        for c in range(n_labels):
            weight[3 + c * twins + head, at + head * n_labels + c] = gain
    lm.model.lm_head.weight = torch.nn.Parameter(weight)
    return lm


SLOTS = prompts(3, 3, twins=2)


@pytest.mark.parametrize("head", [0, 1])
def test_a_feature_that_is_held_and_not_read_is_not_used(head) -> None:
    lm, held = reading_target(*(2.0 * (h == head) for h in (0, 1))), [label(0), label(1), label(2)]
    report = causal.use(lm, SLOTS, "blocks.0.hook_attn_out", held, n_targets=32, n_pairs=16, n_sources=256)
    rows = report.to_frame().set_index("feature")
    used, other, absent = rows.loc[held[head].name], rows.loc[held[1 - head].name], rows.loc[held[2].name]
    assert used["q_value"] < 0.01
    assert used["use"] == pytest.approx(used["flipped"]), "only the label that is read moves the output"
    assert used["random"] < 0.5 * used["flipped"]
    for unused in (other, absent):
        assert unused["p_value"] > 0.01
        assert abs(unused["use"]) < 0.3 * unused["flipped"]
    heads = causal.use(lm, SLOTS, "blocks.0.attn.hook_z.*", held, n_targets=9, n_sources=64).to_frame()
    found = heads.set_index(["site", "feature"])["use"]
    assert found[f"blocks.0.attn.hook_z.{head}", held[head].name] > 0.1
    assert abs(found[f"blocks.0.attn.hook_z.{1 - head}", held[1 - head].name]) < 1e-6, "nobody reads that head"


def test_what_is_written_against_the_answer_is_used_too() -> None:
    lm, first = reading_target(-2.0, 0.0), label(0)  # the label makes its own word less likely
    after = {"a": "b", "b": "c", "c": "a"}
    answers = (lambda text: f"{text[0]}0"), (lambda text: f"{after[text[0]]}0")
    how = {"answers": answers, "n_targets": 32, "n_pairs": 16, "n_sources": 256}
    rows = causal.use(lm, SLOTS, "blocks.0.hook_attn_out", [first, label(2)], **how).to_frame()
    rows = rows.set_index(["feature", "measure"])
    assert rows.loc[(first.name, "kl"), "use"] > 0
    assert rows.loc[(first.name, "shift"), "use"] < 0, "a flip gives the word back what the label took"
    assert rows.loc[(first.name, "shift"), "high"] < 0
    assert (rows.loc[first.name]["q_value"] < 0.01).all()
    assert rows.loc[(label(2).name, "shift"), "p_value"] > 0.01


def test_the_weaker_of_two_that_are_read_is_used_though_it_does_not_look_so_at_equal_distance() -> None:
    lm, held = reading_target(1.5, 1.0), [label(0), label(1)]
    report = causal.use(lm, SLOTS, "blocks.0.hook_attn_out", held, n_targets=64, n_pairs=48, n_sources=600)
    weaker = report.to_frame().set_index("feature").loc[label(1).name]
    assert weaker["use"] > 0
    assert weaker["q_value"] < 0.05
    assert weaker["equal_stretched"] > weaker["flipped"], (
        "stretched, a patch that keeps it is a longer flip of the other"
    )


def test_behind_the_last_block_a_flip_moves_the_output_as_another_input_would(lm, task) -> None:
    pool = task.held_out.sample(400, seed=1)
    (name, _), *_ = Counter(p.labels["indirect_object"] for p in pool).most_common(1)
    same = [p for p in pool if p.labels["indirect_object"] == name][:3]
    other = next(p for p in pool if p.labels["indirect_object"] != name)
    report = causal.use(
        lm, same[:1], LAST, task.features["indirect_object"], sources=[same[1], other], n_pairs=1, permutations=0
    )
    (pick,) = report.picks
    own, equal, flip = (lm.encode(p).rows()[0] for p in (same[0], same[1], other))
    assert pick["flipped"] == pytest.approx(divergence(lm, own, flip), rel=1e-3)
    assert pick["equal"] == pytest.approx(divergence(lm, own, equal), rel=1e-3, abs=1e-6)
    assert "different inputs" in report.rows[0]["notes"]


def test_random_displacements_differ_from_pick_to_pick(lm, task, monkeypatch) -> None:
    seen = []
    real = Original.patched

    def patched(self, lm, site, values):
        seen.append(values)
        return real(self, lm, site, values)

    monkeypatch.setattr(Original, "patched", patched)
    targets, feature = task.held_out.sample(2, seed=3), task.features["order"]
    causal.use(lm, targets, LAST, feature, sources=task.held_out, n_sources=32, n_pairs=2)
    z = lm.activations(targets, [LAST])[LAST]
    directions = [torch.nn.functional.normalize(values[-2:] - own, dim=-1) for values, own in zip(seen, z, strict=True)]
    assert float((directions[0] @ directions[1].T).abs().max()) < 0.9


@pytest.mark.parametrize(("n_sources", "share"), [(40, 0.1), (400, 0.5)])
def test_where_labels_have_nothing_to_do_with_movement_small_p_values_are_rare(n_sources, share) -> None:
    rng, found = np.random.default_rng(5), []
    for _ in range(150):
        source = rng.standard_gamma(0.5, size=n_sources)  # what is odd about a source enters all its patches
        labels = rng.permutation(n_sources) < round(share * n_sources)
        values = []
        for _pick in range(16):
            pairs = np.stack([rng.choice(np.flatnonzero(side), 8) for side in (labels, ~labels)], axis=1)
            moved = source[pairs] * rng.standard_gamma(4, size=pairs.shape)
            values.append(np.column_stack([moved, np.zeros((8, 4)), pairs]))
        found.append(row_of(values, range(16), 400, 0)[0]["p_value"])
    assert np.mean(np.array(found) <= 0.05) <= 0.1, "0.05, and three standard errors"


def test_nothing_moves_at_a_site_that_is_the_same_for_every_input(lm, task) -> None:
    report = causal.use(
        lm, task.held_out, "blocks.0.hook_resid_pre", task.features["subject"], n_targets=6, n_sources=64
    )
    (row,) = report.rows
    assert row["d_flipped"] == row["use"] == 0
    assert row["flipped"] == pytest.approx(0, abs=1e-9)
    assert row["p_value"] == 1


def test_picks_without_a_label_or_without_a_pair_are_counted(lm, task) -> None:
    known = isn.Feature("known", lambda text: "Mary" in text or None)
    texts = [
        "Then , Mary and John went to the store . John gave the drink to",
        "Then , Karen and John went to the store . John gave the drink to",
    ]
    report = causal.use(lm, texts, LAST, known)
    (row,) = report.rows
    assert (row["n_undefined"], row["n_unpaired"], row["n_pairs"]) == (1, 1, 0)
    assert math.isnan(row["use"])
    assert "no pair" in report.summary()
    assert report.chart().to_dict()["mark"]["type"] == "text"


def test_use_refuses_what_cannot_be_patched_and_sites_that_are_not_there(lm, task) -> None:
    for sites, error in (
        ("blocks.0.attn.hook_result.0", InvalidArgument),
        ("blocks.9.*", UnknownSite),
        ([], UnknownSite),
    ):
        with pytest.raises(error):
            causal.use(lm, task.held_out, sites, task.features["subject"], n_targets=2)


def test_the_target_is_left_as_it_was(lm, task) -> None:
    before = weights_of(lm.model)
    answers = task.features["indirect_object"], task.features["subject"]
    causal.use(lm, task.held_out, LAST, task.features["subject"], answers=answers, n_targets=4, n_sources=16)
    causal.scaling(lm, task.held_out, LAST, factors=[0], answers=answers, n_targets=4)
    causal.learn_scales(lm, task.held_out, LAST, answers=answers, steps=2, n_targets=4)
    assert same_weights(lm.model, before)
    assert all(p.grad is None for p in lm.model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())


# -- held beside used ------------------------------------------------------------------------------


def test_use_stands_beside_consistency_at_the_same_sites(lm, gen, task) -> None:
    sites, features = ["blocks.0.attn.hook_z.*"], [task.features["subject"], task.features["order"]]
    used = causal.use(lm, task.held_out, sites, features, n_targets=8, n_pairs=4, n_sources=128)
    untested = causal.use(lm, task.held_out, sites, features, n_targets=2, n_pairs=1, n_sources=32, permutations=0)
    held = isn.consistency(
        lm, gen, task.held_out, sites, features, bandwidth=[0.3, 0.5], n_targets=8, n_samples=16, progress=False
    )
    with pytest.raises(InvalidArgument, match="bandwidth="):
        used.beside(held)
    with pytest.raises(InvalidArgument, match="no rate is of the bandwidth"):
        used.beside(held, bandwidth=0.4)
    assert set(untested.beside(held, bandwidth=0.5)["found"]) == {"not tested"}
    both = used.beside(held, bandwidth=0.5)
    assert len(both) == 8
    assert both["doubtful"].dtype == bool
    assert set(both["found"]) <= {"held and used", "held, no use found", "used, not found held", "neither found"}
    agreement = used.agreement(held, bandwidth=0.5)
    assert set(agreement) == {"subject", "order"}
    part = both[both["feature"] == "subject"]
    assert agreement["subject"].rho == pytest.approx(part["fcr_star"].rank().corr(part["use"].rank()))
    assert agreement["subject"].n == 4
    for chart in (used.chart(), isn.charts.beside_chart(both)):
        assert "datasets" in chart.to_dict()
    with pytest.raises(InvalidArgument, match="measure"):
        used.beside(held, bandwidth=0.5, measure="shift")


def test_rank_correlation_by_hand() -> None:
    found = rank_correlation(np.array([1.0, 2.0, 3.0, 4.0, np.nan]), np.array([10.0, 20.0, 40.0, 30.0, 0.0]))
    assert (found.rho, found.n) == (0.8, 4)
    assert found.p_value == pytest.approx(8 / 24), "orders of four with |rho| of 0.8 or more: 1 + 3 on either side"
    ties = rank_correlation(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]))
    assert ties.rho == pytest.approx(math.sqrt(3) / 2)
    assert math.isnan(rank_correlation(np.ones(5), np.arange(5.0)).rho)
    many = rank_correlation(np.arange(20.0), np.arange(20.0)[::-1])
    assert many.rho == -1
    assert many.p_value == pytest.approx(1e-4)
    assert math.isnan(many.low), "Fisher's interval of a perfect agreement would be a point"
    some = rank_correlation(np.arange(6.0), np.array([1.0, 0, 2, 3, 5, 4]))
    assert some.low < some.rho < some.high


def test_signs_are_flipped_in_whole_groups() -> None:
    assert sign_flip_test(np.ones(4), np.arange(4), 1000, 0) == 1 / 16
    assert sign_flip_test(np.ones(4), np.zeros(4, int), 1000, 0) == 1 / 2, "one group can be told from nothing"
    assert sign_flip_test(np.zeros(4), np.arange(4), 1000, 0) == 1
    assert sign_flip_test(-np.ones(4), np.arange(4), 1000, 0) == 1
    assert sign_flip_test(-np.ones(4), np.arange(4), 1000, 0, two_sided=True) == 2 / 16
    assert sign_flip_test(np.ones(4), np.arange(4), 1000, 0, two_sided=True) == 2 / 16


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("side", [1, -1])
def test_a_mean_below_zero_counts_where_movement_has_a_sign(signed, side) -> None:
    rng = np.random.default_rng(0)
    values = [np.column_stack([rng.normal(side, 0.1, 4), np.zeros((4, 5)), rng.integers(1000, size=(4, 2))])
              for _ in range(12)]  # fmt: skip
    row, _ = row_of(values, range(12), 1000, 0, signed=signed)
    assert (row["p_value"] < 0.01) == (signed or side == 1)


# -- scaled ----------------------------------------------------------------------------------------


def test_a_factor_of_one_changes_nothing_and_zero_is_a_patch_of_zeros(lm, task) -> None:
    site, prompt = "blocks.0.attn.hook_z.2", task.held_out.sample(1, seed=2)[0]
    report = causal.scaling(lm, [prompt], site, factors=[1, 0]).to_frame().set_index("factor")
    assert report.loc[1.0, "kl"] == 0
    ids = lm.encode(prompt).rows()[0]
    with patch(lm, {site: torch.zeros(lm.d_head)}, position=len(ids) - 1):
        changed = lm.logits([ids])[0].double().log_softmax(-1)
    p = lm.logits([ids])[0].double().log_softmax(-1)
    assert report.loc[0.0, "kl"] == pytest.approx(float((p.exp() * (p - changed)).sum()), rel=1e-6)


@pytest.mark.parametrize("factors", [[], "ab", [math.inf], None])
def test_factors_are_numbers(lm, task, factors) -> None:
    with pytest.raises(InvalidArgument, match="factors"):
        causal.scaling(lm, task.held_out, LAST, factors=factors, n_targets=2)


def test_answers_that_are_not_there_are_counted_and_nothing_else_is_called_flipped(lm, task) -> None:
    never = causal.scaling(
        lm, task.held_out, LAST, factors=[0], answers=(lambda text: None, "Mary"), n_targets=4, progress=False
    )
    (row,) = never.rows
    assert row["n_answers"] == 0
    assert math.isnan(row["flipped"])
    assert row["kl"] > 0
    never.summary()


def test_a_forward_pass_that_breaks_is_said_and_is_no_movement_of_0(lm, task) -> None:
    with pytest.raises(InvalidArgument, match="not finite"):
        causal.scaling(lm, task.held_out, LAST, factors=[1e39], n_targets=2)


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": -1}, {"learning_rate": "x"}, {"penalty": math.nan}, {"penalty": -1}]
)
def test_rates_and_penalties_are_numbers(lm, task, wrong) -> None:
    answers = task.features["indirect_object"], task.features["subject"]
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        causal.learn_scales(lm, task.held_out, LAST, answers=answers, n_targets=4, **wrong)


def test_learning_in_several_passes_is_learning_in_one(lm, task, monkeypatch) -> None:
    answers = task.features["indirect_object"], task.features["subject"]
    found = []
    for logits in (2**24, 1):
        monkeypatch.setattr("inversescope_nb.causal.learned.LOGITS", logits)
        report = causal.learn_scales(lm, task.held_out, LAST, answers=answers, steps=3, n_targets=6)
        found.append(report.rows[0]["factor"])
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_learned_factors_turn_what_is_read_and_leave_the_rest_alone() -> None:
    lm = reading_target(0.0, 2.0)
    feature = label(1)
    answers = (lambda text: f"{feature(text)[0]}1", lambda text: "b1" if feature(text)[0] == "a" else "a1")
    report = causal.learn_scales(
        lm, SLOTS, "blocks.0.attn.hook_z.*", answers=answers, steps=150, n_targets=27, penalty=0.2
    )
    rows = report.to_frame().set_index("site")
    assert rows.loc["blocks.0.attn.hook_z.0", "factor"] == pytest.approx(1, abs=0.1), "nobody reads it"
    assert rows.loc["blocks.0.attn.hook_z.1", "factor"] < 0.2
    assert rows.loc["all", "difference"] < 0.2
    assert rows.loc["all", "n_targets"] + report.settings["n_learned"] == 27
    with pytest.raises(InvalidArgument, match="groups"):
        causal.learn_scales(lm, ["a0 a0 a0 ."], "blocks.0.attn.hook_z.*", answers=answers)


def test_docstring_examples_run() -> None:
    import doctest
    import importlib

    for name in ("patches", "usage", "scales", "learned", "evidence"):
        assert doctest.testmod(importlib.import_module(f"inversescope_nb.causal.{name}")).failed == 0
    assert doctest.testmod(importlib.import_module("inversescope_nb._ranks")).failed == 0
