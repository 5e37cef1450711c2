"""Names of sites: the canonical ones, other libraries' spellings, and errors that say what is allowed."""

from __future__ import annotations

import pytest
from conftest import N_HEADS, N_LAYERS, POST_NORM, tiny_model, word_tokenizer

from inversescope_nb.errors import InvalidArgument, UnknownSite
from inversescope_nb.models import load_model
from inversescope_nb.sites import KINDS, Site


@pytest.fixture(scope="module")
def gemma():
    return load_model((tiny_model("gemma2"), word_tokenizer()))


@pytest.fixture(scope="module")
def parallel():
    return load_model((tiny_model("gpt_neox"), word_tokenizer()))


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("blocks.1.hook_resid_post", "blocks.1.hook_resid_post"),
        ("blocks.1.attn.hook_z.3", "blocks.1.attn.hook_z.3"),
        ("blocks.1.attn.hook_z", "blocks.1.attn.hook_z"),
        ("blocks.1.attn.hook_out", "blocks.1.attn.hook_out"),
        ("resid_post.1", "blocks.1.hook_resid_post"),
        ("z.1.3", "blocks.1.attn.hook_z.3"),
        ("attn_out.0", "blocks.0.hook_attn_out"),
        ("attn_out_post.0", "blocks.0.hook_attn_out"),
        ("mlp_out.0", "blocks.0.hook_mlp_out"),
        ("layers_input[1]", "blocks.1.hook_resid_pre"),
        ("layers_output[1]", "blocks.1.hook_resid_post"),
        ("attentions_output[1]", "blocks.1.hook_attn_out"),
        ("mlps_output[1]", "blocks.1.hook_mlp_out"),
        ("a1.3", "blocks.1.attn.hook_result.3"),
        ("x1.mid", "blocks.1.hook_resid_mid"),
        ("m1", "blocks.1.hook_mlp_out"),
        ("model.layers.1", "blocks.1.hook_resid_post"),
        ("model.layers.1.self_attn", "blocks.1.hook_attn_out"),
        ("model.layers.1.self_attn.o_proj", "blocks.1.hook_attn_out"),
        ("model.layers.1.mlp", "blocks.1.hook_mlp_out"),
    ],
)
def test_every_spelling_finds_its_site(lm, spelling, name):
    site = lm.site(spelling)
    assert site.name == str(site) == name
    assert lm.site(site) == site


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("resid_pots.1", "Did you mean 'resid_post.1'"),
        ("blocks.1.hook_resid_pots", "Did you mean 'blocks.1.hook_resid_post'"),
        ("blocks.7.hook_resid_post", "layers are 0 to 1"),
        ("resid_post.2", "layers are 0 to 1"),
        ("blocks.1.attn.hook_z.4", "heads are 0 to 3"),
        ("a0.9", "heads are 0 to 3"),
        ("blocks.1.attn.hook_result", "needs its head"),
        ("blocks.1.hook_resid_post.2", "has no heads"),
        ("model.layers.1.input_layernorm", "unknown site"),
        ("resid_post", "unknown site"),
        ("", "unknown site"),
        (5, "a site is a string or a Site"),
    ],
)
def test_an_unknown_site_says_what_is_allowed(lm, spelling, message):
    with pytest.raises(UnknownSite, match=message):
        lm.site(spelling)


def test_a_site_of_another_model_is_checked_against_this_one(lm):
    with pytest.raises(UnknownSite, match="layers are"):
        lm.site(Site("blocks.11.hook_resid_post", 11, "resid_post", None, 768))
    foreign = Site("blocks.1.hook_resid_post", 1, "resid_post", None, 768)
    assert lm.site(foreign).d == lm.d_model


def test_where_a_norm_stands_between_others_words_mean_what_they_meant_there(gemma):
    assert gemma.site("attentions_output[1]").name == "blocks.1.attn.hook_out"
    assert gemma.site("attn_out_post.1").name == "blocks.1.hook_attn_out"
    assert gemma.site("mlps_output[1]").name == "blocks.1.mlp.hook_out"
    assert gemma.site("model.layers.1.post_feedforward_layernorm").name == "blocks.1.hook_mlp_out"
    with pytest.raises(UnknownSite, match=r"ambiguous.*\n.*blocks.1.attn.hook_out"):
        gemma.site("attn_out.1")


def test_parallel_blocks_have_no_resid_mid_and_say_so(parallel):
    with pytest.raises(UnknownSite, match="parallel"):
        parallel.site("resid_mid.0")
    assert not [name for name in parallel.sites() if "resid_mid" in name]


def test_sites_are_listed_in_forward_order(lm):
    block = lm.sites("blocks.0.*")
    assert block == [
        "blocks.0.hook_resid_pre",
        *[f"blocks.0.attn.hook_z.{head}" for head in range(N_HEADS)],
        "blocks.0.hook_attn_out",
        "blocks.0.hook_resid_mid",
        "blocks.0.hook_mlp_out",
        "blocks.0.hook_resid_post",
    ]
    assert len(lm.sites()) == N_LAYERS * len(block)
    assert all(lm.site(name).name == name for name in lm.sites(kinds=KINDS))


def test_raw_outputs_are_listed_where_they_differ(any_lm):
    listed = any(name.endswith("attn.hook_out") for name in any_lm.sites())
    assert listed == (any_lm.architecture_name in POST_NORM)


def test_kinds_and_globs_select(lm):
    assert lm.sites(kinds=["resid_post"]) == ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    assert lm.sites("*.hook_z.0") == ["blocks.0.attn.hook_z.0", "blocks.1.attn.hook_z.0"]
    assert lm.sites("blocks.0.attn.hook_result.*")[0] == "blocks.0.attn.hook_result.0"
    with pytest.raises(UnknownSite, match="no site matches"):
        lm.sites("blocks.9.*")
    with pytest.raises(InvalidArgument, match="Did you mean 'resid_post'"):
        lm.sites(kinds=["resid_pst"])


def test_widths_are_those_of_the_activations(any_lm):
    names = any_lm.sites("blocks.1.*") + any_lm.sites(kinds=["result"]) + ["blocks.0.attn.hook_z"]
    values = any_lm.activations("the cat", names)
    assert {name: value.shape[1] for name, value in values.items()} == {name: any_lm.site(name).d for name in names}
