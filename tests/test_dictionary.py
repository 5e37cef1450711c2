"""Dictionaries built at inference time: atoms and codes written out by hand, and targets whose classes are known."""

from __future__ import annotations

import doctest
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from known_answer import Copy, copying_target, label

from inversescope_nb.baselines import Dictionary, dictionary, pursuit
from inversescope_nb.baselines.dictionary import Detector, best_detectors
from inversescope_nb.baselines.pursuit import pursue
from inversescope_nb.errors import Cancelled, InvalidArgument
from inversescope_nb.kernels import Kernel

POINTS = torch.tensor([[3.0, 0.0], [0.0, 2.0], [2.0, 0.0], [1.0, 1.0], [0.0, 0.0], [-2.0, 2.0]])
ROOT = 2**-0.5


def test_what_the_atoms_so_far_cannot_write_becomes_an_atom() -> None:
    """With one atom each, (1, 1) keeps half of its square beside the axes, and (-2, 2) all of it beside (1, 1)."""
    found = Dictionary.built(POINTS, k=1, threshold=0.3)
    assert found.rows == (0, 1, 3, 5)
    expected = torch.tensor([[1, 0], [0, 1], [ROOT, ROOT], [-ROOT, ROOT]], dtype=torch.float64)
    torch.testing.assert_close(found.atoms, expected)
    assert Dictionary.built(POINTS, k=1, threshold=0.6).rows == (0, 1)
    assert Dictionary.built(POINTS, k=2, threshold=0.3).rows == (0, 1), "two atoms write everything in a plane"
    assert Dictionary.built(POINTS, k=1, threshold=0.3, atoms=3).rows == (0, 1, 3)
    assert Dictionary.built(POINTS[4:5], k=1, threshold=0.0).rows == (), "nothing is there to be written"


@pytest.mark.parametrize("name", ["dictionary", "pursuit"])
def test_the_examples_run(name) -> None:
    assert doctest.testmod(sys.modules[f"inversescope_nb.baselines.{name}"]).failed == 0


def test_codes_and_errors_by_hand() -> None:
    one, two = (Dictionary.built(POINTS[:2], k=k, threshold=0.3) for k in (1, 2))
    point = torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(one.encode(point), torch.tensor([[0.0, 4.0]], dtype=torch.float64))
    assert float(one.error(point)) == pytest.approx(9 / 25)
    torch.testing.assert_close(two.encode(point), point.double(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(two.decode(two.encode(point)), point.double(), atol=1e-6, rtol=1e-6)
    shifted = Dictionary.built(POINTS[:2] - 1, k=2, threshold=0.3, offset=torch.ones(2))
    torch.testing.assert_close(shifted.atoms, two.atoms)
    torch.testing.assert_close(shifted.decode(shifted.encode(point - 1)), point.double() - 1, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 6, 20])
def test_pursuit_is_scikit_learns(k) -> None:
    linear = pytest.importorskip("sklearn.linear_model", reason="in the extra bench")
    rng = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(15, 8, generator=rng, dtype=torch.float64), dim=1)
    signal = torch.randn(40, 8, generator=rng, dtype=torch.float64)
    found = pursue(signal, atoms, k)
    assert int((found != 0).sum(1).max()) <= min(k, 15)
    if k <= 8:
        expected = linear.orthogonal_mp(atoms.numpy().T, signal.numpy().T, n_nonzero_coefs=k).T
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    else:
        torch.testing.assert_close(found @ atoms, signal, atol=1e-6, rtol=1e-6)


def test_codes_do_not_depend_on_what_else_is_in_the_batch() -> None:
    rng = torch.Generator().manual_seed(1)
    u = torch.randn(30, 6, generator=rng)
    found = Dictionary.built(u, k=3, threshold=0.2)
    together = found.encode(u)
    alone = torch.cat([found.encode(row[None]) for row in u])
    torch.testing.assert_close(together, alone, atol=1e-9, rtol=1e-9)
    assert 3 < len(found.atoms) < 30
    assert bool((found.error(u[list(found.rows)]) < 1e-9).all()), "an atom writes the activation that it is"


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_only_the_order_of_the_inputs_decides_what_joins(rows, monkeypatch) -> None:
    u = torch.randn(200, 10, generator=torch.Generator().manual_seed(2))
    usual = Dictionary.built(u, k=3, threshold=0.3)
    monkeypatch.setattr(pursuit, "_ROWS", rows)
    assert Dictionary.built(u, k=3, threshold=0.3).rows == usual.rows
    assert Dictionary.built(u.flip(0), k=3, threshold=0.3).rows != usual.rows


def test_the_best_atom_of_a_label_by_hand() -> None:
    codes = np.array([[0.0, 5.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]])
    found = best_detectors(
        codes, {"a": np.array([True, False, False, False]), "b": np.array([True, True, False, False])}
    )
    assert found["a"] == Detector(atom=1, sign=1, threshold=3.0, f1=1.0, precision=1.0)
    assert found["b"] == Detector(atom=0, sign=-1, threshold=-0.5, f1=1.0, precision=1.0)
    assert found["b"].fires(codes).tolist() == [True, True, False, False]
    rare = best_detectors(np.array([[1.0], [1.0], [1.0]]), {"c": np.array([True, False, False])})["c"]
    assert (rare.f1, rare.precision) == (0.5, pytest.approx(1 / 3)), "equal coefficients are not told apart"
    never = best_detectors(np.array([[2.0], [1.0], [0.0]]), {"d": np.zeros(3, dtype=bool)}, by_accuracy=True)["d"]
    assert never.precision == 0


@pytest.mark.parametrize("by_accuracy", [False, True])
def test_no_other_atom_side_or_threshold_is_better(by_accuracy) -> None:
    rng = np.random.default_rng(0)
    codes = np.round(rng.normal(size=(60, 9)), 1) * (rng.random((60, 9)) < 0.4)
    for true in (rng.random(60) < 0.3, codes[:, 4] > 0.2, codes[:, 2] <= 0):
        found = best_detectors(codes, {"x": true}, by_accuracy=by_accuracy)["x"]

        def score(fires, true=true) -> float:
            f1 = 2 * (fires & true).sum() / max(1, fires.sum() + true.sum())
            return float((fires == true).mean()) if by_accuracy else float(f1)

        cuts = np.unique(np.abs(codes))[:, None] * [1, -1]
        tried = [s * codes[:, a] > t - 1e-9 for a in range(9) for s in (1, -1) for t in (-9, *cuts.ravel())]
        assert score(found.fires(codes)) == pytest.approx(max(map(score, tried)))
        fires = found.fires(codes)
        assert found.precision == pytest.approx((fires & true).sum() / fires.sum())


def test_of_several_labels_that_are_said_to_be_there_the_most_precise_is_believed() -> None:
    known = copying_target("one of 3 labels", 4, 3, [Copy(1)], (0.5,), None)
    found = of(known, label(1), n=200)
    atoms = Dictionary(torch.eye(2, dtype=torch.float64), (0, 1), torch.zeros(2, dtype=torch.float64), 2)
    detectors = {"a": Detector(0, 1, 0.0, 1.0, precision=0.6), "b": Detector(1, 1, 0.0, 1.0, precision=0.9)}
    u = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    for order in (list(detectors), list(detectors)[::-1]):
        both = {name: detectors[name] for name in order}
        told = replace(found, dictionary=atoms, detectors=both, usual="c")
        assert told.predict_at(u) == ["b", "a", "b", "c"]


def of(known, feature, **how):
    options = {"n": 1200, "k": 1, "threshold": 0.1, "centre": False, **how}
    return dictionary(known.lm, known.prompts, feature, site=known.site, progress=False, **options)


@pytest.mark.parametrize("rotation", [None, 7])
def test_a_target_that_holds_one_label_has_one_atom_for_each_class(rotation) -> None:
    known = copying_target("one of 5 labels", 6, 5, [Copy(0)], (0.5,), rotation)
    found = of(known, label(0))
    names = {known.lm.decode(list(ids[1:])).split()[0] for ids in found.atom_inputs}
    assert len(found.dictionary.atoms) == 5
    assert names == {"a0", "b0", "c0", "d0", "e0"}
    assert found.accuracy.value == 1.0
    assert set(found.f1.values()) == {1.0}
    assert len({d.atom for d in found.detectors.values()}) == 5
    z = known.lm.activations(["c0 a0 a0 a0 a0 a0 ."], [known.site])[known.site]
    assert found.predict(z) == [("c",)]
    absent = of(known, label(1)).accuracy
    assert absent.low <= 0.2 <= absent.high


def test_of_two_classes_about_their_mean_one_atom_is_enough() -> None:
    known = copying_target("one of 2 labels", 8, 2, [Copy(0)], (0.5,), None)
    found = of(known, label(0), centre=True)
    assert len(found.dictionary.atoms) == 1
    assert len(found.detectors) == 1
    plain = of(known, label(0), centre=False)
    assert len(plain.dictionary.atoms) == 2, "as they are, each class points elsewhere"
    assert plain.accuracy.value == 1.0
    assert found.accuracy.value == 1.0
    noisy = of(known, label(0), centre=True, bandwidth=1.0, k=4, threshold=0.3, atoms=32)
    assert 0.5 < noisy.accuracy.value < 0.9, "the best there is has 0.84"
    chance = of(known, label(1), centre=True).accuracy
    assert chance.low <= 0.5 <= chance.high


def test_the_seed_decides() -> None:
    known = copying_target("one of 3 labels", 4, 3, [Copy(1)], (0.5,), None)
    a, b, c = (of(known, label(1), n=200, bandwidth=0.6, k=3, threshold=0.3, seed=s) for s in (0, 0, 1))
    assert a.atom_inputs == b.atom_inputs != c.atom_inputs
    assert a.accuracy == b.accuracy
    assert a.detectors == b.detectors


def test_bad_arguments_are_the_packages_own_errors() -> None:
    known = copying_target("one of 3 labels", 3, 3, [Copy(1)], (0.5,), None)
    for how, says in (
        ({"k": 0}, "k=0"),
        ({"threshold": 1.0}, "threshold=1.0"),
        ({"atoms": 0}, "atoms=0"),
        ({"n": 2}, "n=2"),
        ({"kernel": Kernel("cosine")}, "have no activation of their own"),
    ):
        with pytest.raises(InvalidArgument, match=says):
            of(known, label(1), **{"n": 64, **how})
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        Dictionary.built(POINTS, cancel=stop)
    with pytest.raises(Cancelled):
        of(known, label(1), cancel=stop)
