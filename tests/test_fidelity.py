"""Fidelity on held-out inputs: the numbers of single inversions, beside neighbours by hand."""

from __future__ import annotations

import numpy as np
import pytest

import inversescope_nb as isn
from inversescope_nb.errors import InvalidArgument, UnknownSite


@pytest.fixture(scope="module")
def packaged():
    return isn.load_model(), isn.load_generator()


def test_each_row_is_one_inversion(packaged):
    lm, gen = packaged
    inputs = isn.tasks.addition().prompts.draw(3, lm, seed=5)
    frame = isn.fidelity(lm, gen, inputs, sites=["resid_post.1", "resid_post.3"], bandwidth=0.3, n=32, seed=7)
    assert len(frame) == 6
    assert frame["position"].tolist() == [len(x) - 1 for x in inputs] * 2
    assert frame["layer"].tolist() == [1] * 3 + [3] * 3
    inv = isn.invert(lm, gen, inputs[2], site="resid_post.3", bandwidth=0.3, n=32, bank=0, seed=9)
    last = frame.iloc[-1]
    assert (last["ess"], last["bits"], last["verdict"]) == (inv.ess, inv.bits, str(inv.verdict))
    assert last["text"] == str(inv.text)


def test_neighbours_are_weighed_by_the_kernel(packaged, monkeypatch):
    """Two draws, one on the pick and one far off: one effective sample; two on the pick: two."""
    lm, gen = packaged
    prompts = isn.tasks.addition().prompts
    pick, far = prompts.draw(2, lm, seed=5)
    for bank, expected in (([pick, far], 1.0), ([pick, pick], 2.0)):
        monkeypatch.setattr(type(prompts), "draw", lambda self, n, lm, *, seed, cancel=None, bank=bank: bank[:n])
        frame = isn.fidelity(lm, gen, [pick], sites="resid_post.3", bandwidth=0.05, n=2, prior=prompts)
        assert frame["neighbours_ess"][0] == pytest.approx(expected, abs=1e-6)


def test_held_out_inputs_are_drawn_where_none_are_given(packaged):
    lm, gen = packaged
    frame = isn.fidelity(lm, gen, 2, sites="resid_post.0", n=16)
    again = isn.fidelity(lm, gen, 2, sites="resid_post.0", n=16)
    assert frame["text"].nunique() == 2
    assert frame.equals(again)
    assert np.isfinite(frame["ess"]).all()


@pytest.mark.parametrize(
    ("inputs", "options", "error"),
    [("a text", {}, InvalidArgument), ([], {}, InvalidArgument), (2, {"sites": "resid_post.9"}, UnknownSite)],
)
def test_bad_arguments(packaged, inputs, options, error):
    with pytest.raises(error):
        isn.fidelity(*packaged, inputs, **options)
