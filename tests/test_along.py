"""Distances along an input: the last is the sample's own, all are what a cut there would give, in any order."""

from __future__ import annotations

import numpy as np
import pytest

import inversescope_nb as isn
from inversescope_nb.errors import BadPrompt, GeneratorMismatch, InvalidArgument

PROMPT = "When Mary and John went to the store , John gave a drink to"


@pytest.fixture(scope="module")
def found():
    lm, gen = isn.load_model(), isn.load_generator()
    return lm, gen, isn.invert(lm, gen, PROMPT, site="resid_post.1", n=16, seed=3)


def test_the_last_distance_is_the_samples_own(found):
    lm, gen, inv = found
    for i in range(8):
        assert isn.distances_along(lm, gen, inv, inv.samples[i])[-1] == pytest.approx(inv.d[i], abs=1e-4)


def test_every_distance_is_that_of_the_input_cut_there(found):
    lm, gen, inv = found
    along = isn.distances_along(lm, gen, inv, PROMPT)
    ids = lm.encode(PROMPT).token_ids[0].tolist()
    z_hat = lm.activations([ids], [inv.site])[inv.site.name][0]
    cuts = lm.activations([ids[: t + 1] for t in range(len(ids))], [inv.site])[inv.site.name]
    expected = gen.statistics(inv.site.name).distance(cuts, z_hat)
    np.testing.assert_allclose(along, expected, rtol=1e-4, atol=1e-4)
    assert along[-1] == pytest.approx(0, abs=1e-4)  # the picked input itself
    assert along[:-1].min() > 0.01


def test_doctest():
    import doctest

    from inversescope_nb import along

    assert doctest.testmod(along).failed == 0


def test_what_is_no_inversion_and_no_prompt_is_refused(found):
    lm, gen, inv = found
    with pytest.raises(InvalidArgument, match="a str is no inversion"):
        isn.distances_along(lm, gen, "inversion", PROMPT)
    with pytest.raises(BadPrompt):
        isn.distances_along(lm, gen, inv, "")


def test_a_generator_of_another_model_is_refused(found):
    from conftest import tiny_model, word_tokenizer

    _, gen, inv = found
    with pytest.raises(GeneratorMismatch):
        isn.distances_along(isn.load_model(tiny_model("llama"), tokenizer=word_tokenizer()), gen, inv, "John")
