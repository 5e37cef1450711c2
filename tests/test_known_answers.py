"""Targets that hold exactly what they were built to hold, and what the package says of them."""

from __future__ import annotations

import pytest
import torch
from known_answer import answers, constructions, trained

from inversescope_nb.exact import activation_table

EVERY = [(i, r) for i in range(len(constructions())) for r in (None, 7)]
QUICK = [(8, 7), (10, None), (12, None)]


@pytest.mark.parametrize(("index", "rotation"), EVERY)
def test_the_exact_posterior_of_a_construction_follows_its_formula_rotated_or_not(index, rotation) -> None:
    known = constructions(rotation)[index]()
    table = activation_table(known.lm, known.prompts, known.site)
    assert len(table.inputs) == known.n_inputs
    for eps in known.bandwidths:
        found = table.posterior(table.inputs[1], eps)
        for feature, curve in known.rates.items():
            assert found.fcr(feature) == pytest.approx(curve(eps), abs=2e-4), (feature.name, eps)
            without = known.without_copies(feature, eps)
            assert found.fcr(feature, copies=False) == pytest.approx(without, abs=2e-4), (feature.name, eps)


def test_a_rotation_leaves_the_model_as_it_is_and_no_coordinate_alone() -> None:
    plain, turned = (constructions(r)[3]() for r in (None, 7))
    inputs = [plain.lm.encode(t).rows()[0] for t in ("a0 b0 c0 .", "e0 d0 a0 .")]
    torch.testing.assert_close(plain.lm.logits(inputs), turned.lm.logits(inputs), atol=1e-4, rtol=1e-4)
    z = [k.lm.activations(inputs, [k.site])[k.site] for k in (plain, turned)]
    torch.testing.assert_close((z[0][0] - z[0][1]).norm(), (z[1][0] - z[1][1]).norm())
    busy = [int(((x[0] - x[1]).abs() > 1e-3).sum()) for x in z]
    assert busy[0] == 2, "one class out, another in"
    assert busy[1] > z[1].shape[1] / 2


CHANCE = 0.15  # below this corrected rate nothing need be found with 32 picks


def check(known) -> None:
    """The rates lie on the curve, what is held is found, and what is not is not."""
    found = answers(known, trained(known))
    for rate, exact in (("fcr", "exact"), ("fcr_with_copies", "exact_with_copies")):
        assert (found[rate] - found[exact]).abs().max() < 0.05, found[["feature", "bandwidth", rate, exact]]
    assert (found["bits"] - found["exact_bits"]).abs().max() < 0.1
    plain = found[found["held"] & (found["exact"] - found["chance"] > CHANCE)]
    if found["held"].any():
        assert len(plain) >= 2
        assert plain["q_value"].max() < 0.05
    assert (found[~found["held"]]["p_value"] > 0.001).all(), "a thousand permutations"


@pytest.mark.parametrize(("index", "rotation"), QUICK)
def test_a_trained_generator_says_what_a_target_holds_and_what_it_does_not(index, rotation) -> None:
    check(constructions(rotation)[index]())


@pytest.mark.slow
@pytest.mark.parametrize(("index", "rotation"), [case for case in EVERY if case not in QUICK])
def test_so_does_one_of_every_other_construction(index, rotation) -> None:
    check(constructions(rotation)[index]())
