"""One generator for any token of any text: a published model of stories, and the generator beside the notebooks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import inversescope_nb as isn

pytestmark = pytest.mark.third_party

GENERATOR = Path(__file__).parent.parent / "notebooks" / "generators" / "stories"
STORY = "Once upon a time, there was a little girl named Lily. She loved to play with her"
SITES = ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post", "blocks.4.hook_resid_post"]


@pytest.fixture(scope="module")
def stories(third_party):
    """The model, and its generator, which is checked against it when it is loaded."""
    lm = isn.load_model(third_party / "stories260K", dtype=torch.float32)
    return lm, isn.Generator.from_pretrained(GENERATOR, target=lm)


def test_it_was_trained_on_what_the_model_writes(stories):
    lm, gen = stories
    assert gen.prompts.to_spec() == isn.PromptDistribution.from_model(lm, max_tokens=64).to_spec()
    assert [lm.site(site).kind for site in gen.sites] == ["resid_post"] * lm.n_layers


def test_of_its_samples_ten_times_as_many_count_as_of_neighbours(stories):
    """On stories that it never saw, at as many passes of the model; 200 are in benchmarks/bench_stories.py."""
    lm, gen = stories
    inputs = gen.prompts.draw(8, lm, seed=31_415)
    frame = isn.fidelity(lm, gen, inputs, sites=SITES, n=256, progress=False)
    assert frame["ess"].mean() >= 10 * frame["neighbours_ess"].mean(), frame.drop(columns="text").to_string()


def test_any_token_of_a_typed_story_is_inverted(stories):
    lm, gen = stories
    ids = lm.encode(STORY).rows()[0]
    for position in range(1, len(ids), 5):
        inv = isn.invert(lm, gen, ids, site=SITES[1], position=position, bandwidth=0.3, n=64, progress=False)
        assert inv.tokens[-1] == lm.token_strings(ids[: position + 1])[-1]
        assert str(inv.verdict) in {"RELIABLE", "LOW_ESS"}, (position, inv.summary())


def test_without_an_activation_it_writes_as_the_model_does(stories):
    lm, gen = stories
    inputs = gen.prompts.draw(200, lm, seed=27_182)
    own = torch.tensor([float(x.sum()) for x in gen.prior_log_probs(inputs)])
    assert (torch.tensor(gen.prompts.log_probs(inputs, lm)) - own).mean() < 1.0, "nats, of 35"
