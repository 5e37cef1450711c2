"""The logistic probe: it finds what was built into a target, is at chance elsewhere, and noise costs what it must."""

from __future__ import annotations

import doctest
import sys
import threading
from statistics import NormalDist

import numpy as np
import pytest
import torch
from known_answer import Copy, adding_target, copying_target, label, sum_label

from inversescope_nb.baselines import Probe, probe
from inversescope_nb.baselines.labelled import Labelled
from inversescope_nb.errors import Cancelled, InvalidArgument, UnknownSite
from inversescope_nb.features import Feature
from inversescope_nb.prompts import PromptDistribution


@pytest.fixture
def known():
    """5 labels at each of 6 slots, of which the site holds the first."""
    pytest.importorskip("sklearn", reason="in the extra bench")
    return copying_target("one of 5 labels", 6, 5, [Copy(0)], (0.5,), 7)


def of(known, feature, **how) -> Probe:
    return probe(known.lm, known.prompts, feature, site=known.site, progress=False, **{"n": 1200, **how})


def test_a_label_that_the_site_holds_is_named_and_one_that_it_does_not_is_at_chance(known) -> None:
    held = of(known, label(0)).accuracy
    assert held.value == 1.0
    assert held.low > 0.95
    assert held.chance < 0.5
    absent = of(known, label(1)).accuracy
    assert absent.low <= 0.2 <= absent.high
    assert absent.high < 0.4


def test_a_sum_is_found_where_its_parts_are_not() -> None:
    pytest.importorskip("sklearn", reason="in the extra bench")
    known = adding_target("only the sum of two, mod 3", 3, None)
    assert of(known, sum_label(3), n=400).accuracy.value == 1.0
    assert of(known, label(0), n=400).accuracy.low <= 1 / 3


def test_the_example_runs() -> None:
    pytest.importorskip("sklearn", reason="in the extra bench")
    assert doctest.testmod(sys.modules["inversescope_nb.baselines.probe"]).failed == 0


@pytest.mark.parametrize("eps", [0.6, 1.0])
def test_through_noise_it_is_right_as_often_as_the_best_classifier_there_is(eps) -> None:
    """Two classes lie 2 apart per coordinate, so the best accuracy is Phi(1 / eps)."""
    pytest.importorskip("sklearn", reason="in the extra bench")
    known = copying_target("one of 2 labels", 10, 2, [Copy(0)], (eps,), None)
    found = of(known, label(0), bandwidth=eps, n=4000).accuracy
    best = NormalDist().cdf(1 / eps)
    assert found.value == pytest.approx(best, abs=4 * np.sqrt(best * (1 - best) / found.n))


def test_what_is_undefined_is_left_out_and_no_input_is_on_both_sides(known) -> None:
    some = Feature("first, seldom", lambda text: None if text.split()[1][0] == "a" else text.split()[0][0])
    data = Labelled.drawn(
        known.lm, known.prompts, site=known.site, position=-1, bandwidth=None, n=2000, held_out=0.25, kernel=None,
        statistics=None, seed=3, on_progress=None, cancel=None,
    )  # fmt: skip
    learned = {x for x, out in zip(data.inputs, data.held_out, strict=True) if not out}
    held = {x for x, out in zip(data.inputs, data.held_out, strict=True) if out}
    assert not learned & held
    assert len(held) == round(0.25 * len(learned | held))
    found = Probe.fitted(data, some)
    defined = np.array([x is not None for x in data.labels(some)])
    assert found.accuracy.n == (defined & data.held_out).sum() < data.held_out.sum()
    assert found.n_learned == (defined & ~data.held_out).sum()


def test_inputs_drawn_twice_do_not_make_the_interval_narrower(known) -> None:
    found = of(known, label(0))
    u = torch.zeros(4, found.statistics.width)
    once = found.score_at(u, ["x"] * 4)
    twice = found.score_at(u.repeat(2, 1), ["x"] * 8, inputs=list(range(4)) * 2)
    assert once.value == twice.value == 0.0
    assert once.high == pytest.approx(twice.high)
    assert (once.n, twice.n) == (4, 8)


def test_it_names_labels_of_activations_and_of_points_in_its_units(known) -> None:
    found = of(known, label(0))
    texts = ["a0 b0 c0 d0 a0 a0 .", "e0 a0 a0 a0 a0 a0 ."]
    z = known.lm.activations(texts, [known.site])[known.site]
    assert found.predict(z) == [("a",), ("e",)]
    u = found.statistics.standardise(z)
    assert found.predict_at(u) == found.predict(z)
    torch.testing.assert_close(found.log_probs_at(u).exp().sum(1), torch.ones(2, dtype=torch.float64))
    assert found.log_probs_at(u).argmax(1).tolist() == [found.labels.index(("a",)), found.labels.index(("e",))]


def test_of_two_labels_the_log_probabilities_are_those_of_scikit_learn(known) -> None:
    from sklearn.linear_model import LogisticRegression

    data = Labelled.drawn(
        known.lm, known.prompts, site=known.site, position=-1, bandwidth=0.9, n=300, held_out=0.25, kernel=None,
        statistics=None, seed=0, on_progress=None, cancel=None,
    )  # fmt: skip
    feature = Feature("first is a", lambda text: text[0] == "a")
    found = Probe.fitted(data, feature)
    rows = np.flatnonzero(~data.held_out)
    y = [data.labels(feature)[i] for i in rows]
    model = LogisticRegression(max_iter=2000).fit(data.u[rows].double().numpy(), y)
    p = model.predict_proba(data.u.double().numpy())[:, 1]
    ours = found.log_probs_at(data.u).exp()[:, found.labels.index(True)].numpy()
    np.testing.assert_allclose(ours, p, atol=1e-3)


def test_the_seed_decides_and_given_inputs_are_cut(known) -> None:
    a, b, c = (of(known, label(0), n=200, bandwidth=1.0, seed=s) for s in (0, 0, 1))
    assert torch.equal(a.weight, b.weight)
    assert not torch.equal(a.weight, c.weight)
    texts = [f"{x}0 {y}0 a0 b0 ." for x in "abcde" for y in "abcd"]
    first = Feature("first", lambda text: text[0])
    found = probe(known.lm, texts, first, site="blocks.0.hook_resid_pre", position=1, held_out=0.25, progress=False)
    assert found.n_learned + found.accuracy.n == 20


def test_bad_arguments_are_the_packages_own_errors(known) -> None:
    for how, says in (
        ({"n": 1}, "n=1"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"bandwidth": 0}, "must be a number > 0"),
        ({"regularisation": 0}, "regularisation=0"),
        ({"kernel": "cosine"}, "kernel is a str"),
        ({"seed": -1}, "seed=-1"),
    ):
        with pytest.raises(InvalidArgument, match=says):
            of(known, label(0), **how)
    with pytest.raises(InvalidArgument, match="has 1 labels"):
        of(known, Feature("all alike", lambda text: 1), n=16)
    with pytest.raises(InvalidArgument, match="is no feature"):
        of(known, "first", n=16)
    with pytest.raises(InvalidArgument, match="does not vary"):
        probe(known.lm, known.prompts, label(0), site="blocks.0.hook_resid_pre", n=16)
    with pytest.raises(InvalidArgument, match="prompts is a str"):
        probe(known.lm, "a0 b0 c0 d0 a0 a0 .", label(0), site=known.site)
    with pytest.raises(InvalidArgument, match="1 different inputs"):
        probe(known.lm, ["a0 b0 c0 d0 a0 a0 ."] * 5, label(0), site=known.site)
    with pytest.raises(InvalidArgument, match="lm is a str"):
        probe("gpt2", known.prompts, label(0), site=known.site)
    with pytest.raises(UnknownSite):
        probe(known.lm, known.prompts, label(0), site="nowhere")
    found = of(known, label(0), n=64)
    with pytest.raises(InvalidArgument, match="1 labels for 2 activations"):
        found.score_at(torch.zeros(2, found.statistics.width), [("a",)])


def test_it_can_be_stopped(known) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        of(known, label(0), cancel=stop)


def test_without_scikit_learn_it_says_what_to_install(lm, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    prompts = PromptDistribution.from_texts(["the cat", "a dog"], cut="end")
    with pytest.raises(InvalidArgument, match="scikit-learn") as raised:
        probe(lm, prompts, Feature("x", str), site="blocks.0.hook_resid_post")
    assert "inversescope-nb[bench]" in raised.value.hint
