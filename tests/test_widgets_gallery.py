"""The list of inputs: what is listed and in which order, what is known of one, what the activation fixes."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from test_widgets import OTHER, PROMPT, SITE, _no_real_cache, ask, generator, prompts, scope, settle  # noqa: F401

import inversescope_nb as isn
from inversescope_nb.errors import InvalidArgument
from inversescope_nb.widgets import SampleGallery
from inversescope_nb.widgets.gallery_rows import BINS, MOST_NARROWED, Query, _edges, page_of, rows_of
from inversescope_nb.widgets.hypothesis_rows import label_row

JOHN = isn.features.contains("John")


@pytest.fixture(scope="module")
def inversion(lm, generator):
    return isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=0.5, n=200)


@pytest.fixture
def gallery(inversion):
    return SampleGallery(inversion)


def row(rank: int, text: str, **extra) -> dict:
    return {"rank": rank, "text": text, "weight": 0.1 * rank, "count": 1, "in_ball": rank < 2, **extra}


def test_a_bandwidth_that_is_coarse_for_most_gets_no_unqualified_praise(inversion):
    assert inversion.verdict == "RELIABLE"
    coarse = dataclasses.replace(inversion, top_share=0.91, bits_bound=4.2)
    summary = SampleGallery(coarse).summary
    assert (summary["verdict_words"], summary["coarse"]) == ("Reliable samples, at a coarse bandwidth.", True)
    fine = SampleGallery(dataclasses.replace(inversion, top_share=0.3)).summary
    assert (fine["verdict_words"], fine["coarse"]) == ("Reliable samples.", False)


def test_of_a_search_that_failed_no_generator_is_blamed(lm, prompts):
    walked = isn.baselines.metropolis(lm, prompts, PROMPT, site=SITE, bandwidth=0.5, n=32, seconds=20, passes=3000)
    missed = dataclasses.replace(walked, bank_mass=1e6, bank_ess=100.0)
    assert missed.verdict == "INVERTER_FAILED"
    assert SampleGallery(missed).summary["verdict_words"] == "The search missed this activation."


ROWS = [row(0, "John gave"), row(1, "Mary gave", count=3), row(2, "John took"), row(3, "")]


@pytest.mark.parametrize(
    ("query", "ranks"),
    [
        ({}, [0, 1, 2, 3]),
        ({"text": "JOHN"}, [0, 2]),
        ({"text": "^(John|Mary) gave$", "regex": True}, [0, 1]),
        ({"text": "JOHN", "regex": True}, []),
        ({"text": "(?i)JOHN", "regex": True}, [0, 2]),
        ({"inside": True}, [0, 1]),
        ({"inside": True, "text": "gave", "sort": "count"}, [1, 0]),
        ({"sort": "weight"}, [3, 2, 1, 0]),
        ({"text": "", "regex": True}, [0, 1, 2, 3]),
    ],
)
def test_what_a_query_wants(query, ranks):
    assert [found["rank"] for found in page_of(ROWS, 0, 50, Query(**query))["rows"]] == ranks


def test_a_rate_follows_from_a_column_of_the_list(inversion):
    others = [row for row in rows_of(inversion) if not row["is_copy"]]
    agree = [row["weight_in_rates"] for row in others if ("John" in row["text"]) == ("John" in inversion.text)]
    rate = isn.consistency_of(inversion, isn.features.contains("John"), permutations=0).to_frame()["fcr"].item()
    assert sum(agree) / sum(row["weight_in_rates"] for row in others) == pytest.approx(rate)


def test_rows_are_sent_after_the_summary_that_they_are_drawn_by(gallery):
    """A front end that takes one trait at a time (marimo's) would drop them as rows of samples that are gone."""
    sent = []
    gallery.send_state = lambda keys: sent.append(list(gallery.get_state(keys)))
    gallery.show(None)
    assert [name for name in sent[0] if name != "can_read"] == ["revision", "summary", "first_page"]
    assert list(gallery.get_state())[-2:] == ["summary", "first_page"]


def test_a_page_is_at_most_fifty_rows_of_five_thousand():
    rows = [row(i, f"input {i}") for i in range(5000)]
    page = page_of(rows, 4980, 10_000, Query())
    assert [found["rank"] for found in page["rows"]] == list(range(4980, 5000))
    assert len(page_of(rows, 0, 10_000, Query())["rows"]) == 50
    assert page["matching"] == 5000


def test_a_pattern_that_would_search_for_ever_is_given_up_in_time(gallery):
    gallery._rows = [row(i, "a" * 40 + "b") for i in range(100)]
    answer = ask(gallery, "page", text="(a|aa)+$", regex=True)
    assert answer["kind"] == "error"
    assert "takes too long" in answer["message"]
    assert "alternatives" in answer["hint"]


def test_a_query_is_shared_checked_and_kept(gallery):
    gallery.set_state({"query": {"text": "Mary", "regex": False, "inside": True, "sort": "count"}})
    assert gallery.query["text"] == "Mary"
    for bad, words in (
        ({"sort": "wieght"}, "Did you mean 'weight'"),
        ({"colour": 1}, "no query"),
        ({"text": 5}, "int"),
    ):
        gallery.set_state({"query": bad})
        assert words in gallery.error["message"]
        assert gallery.query["text"] == "Mary"
    with pytest.raises(InvalidArgument, match="aligned"):
        gallery.layout = "diagonal"


def test_rows_say_which_picked_token_each_token_stands_for(gallery, inversion):
    for found in gallery.rows:
        assert found["at"] == isn.alignment.align(inversion.prompt_ids, found["ids"])
        assert len(found["at"]) == len(found["tokens"]) == len(found["info"])
    assert any(found["at"] == list(range(len(inversion.prompt_ids))) for found in gallery.rows)


def test_the_sentence_and_the_states_are_those_of_the_public_function(gallery, inversion):
    found = isn.fixed(inversion)
    shown = gallery.summary["fixed"]
    assert shown["sentence"] == found.sentence
    assert len(shown["states"]) == len(inversion.tokens)
    told = {token.position: token.state for token in found.tokens if token.state != "unknown"}
    assert {i: state for i, state in enumerate(shown["states"]) if state} == told


def test_without_a_bank_of_p_nothing_is_said_to_be_fixed(lm, generator):
    alone = isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=0.5, n=16, bank=0)
    summary = SampleGallery(alone).summary
    assert summary["fixed"] is None
    assert summary["histogram"]["prior"] is None


def test_the_histogram_holds_all_of_the_posterior_and_of_the_bank(gallery, inversion):
    bins = gallery.summary["histogram"]
    assert BINS / 2 <= len(bins["edges"]) - 1 <= MOST_NARROWED * BINS + 1
    assert sum(bins["posterior"]) == pytest.approx(1, abs=1e-3)
    assert sum(bins["prior"]) == pytest.approx(1, abs=1e-3)
    edges = np.array(bins["edges"])
    assert np.abs(edges - inversion.ball_edge).min() < 1e-5, "the edge of the ball stands between two bins"
    inside = edges[1:] <= inversion.ball_edge + 1e-5
    within = inversion.weight[inversion.d <= inversion.ball_edge].sum()
    assert sum(np.array(bins["posterior"])[inside]) == pytest.approx(within, abs=1e-3)
    near = float((inversion.prior_d < edges[3]).mean())
    assert sum(bins["prior"][:3]) == pytest.approx(near, abs=1e-3)


def test_bins_are_few_whatever_the_edge_of_the_ball():
    for high, edge in ((1.6, 0.06), (1.6, 0.5), (1.6, 1.45), (1.0, 0.001), (1.0, 0.0), (1.0, math.inf)):
        edges = _edges(high, edge)
        assert edges[0] == 0
        assert edges[-1] >= high * (1 - 1e-9)
        assert BINS / 2 <= len(edges) - 1 <= MOST_NARROWED * BINS + 1
        if 0.02 < edge < high:
            assert np.abs(edges - edge).min() < 1e-9


def test_the_scale_of_the_shading_is_a_round_number_of_bits_and_the_pickers_too(scope):
    scope.bandwidth = 1.0
    scope.invert().wait(20)
    bits = scope.gallery.summary["info_max"] / np.log(2)
    assert f"{bits:.1g}" == f"{bits:.3g}" or f"{bits:.2g}" == f"{bits:.3g}"
    assert scope.picker.values_max == pytest.approx(bits)


def test_a_row_can_be_read_along(scope, lm, generator):
    scope.bandwidth = 1.0
    scope.invert().wait(20)
    assert scope.gallery.can_read
    sent = []
    scope.gallery.send = sent.append
    answer = ask(scope.gallery, "along", sent, rank=1, revision=scope.gallery.revision)
    expected = isn.distances_along(lm, generator, scope.inversion, scope.gallery.rows[1]["ids"])
    np.testing.assert_allclose(answer["value"], expected, atol=1e-3)
    assert answer["value"][-1] == pytest.approx(scope.gallery.rows[1]["d"], abs=1e-3)
    gone = ask(scope.gallery, "along", rank=1, revision=scope.gallery.revision - 1)
    assert (gone["kind"], gone["value"]) == ("result", None)


def test_the_hypotheses_say_something_of_a_row(scope, gallery):
    scope.bandwidth = 1.0
    scope.invert().wait(20)
    scope.add_hypothesis(JOHN)
    scope.add_hypothesis(isn.Feature("long", lambda text: None))
    assert scope.gallery.can_label
    for rank in range(len(scope.gallery.rows)):
        sent = []
        scope.gallery.send = sent.append
        answer = ask(scope.gallery, "labels", sent, rank=rank, revision=scope.gallery.revision)
        row = scope.gallery.rows[rank]
        known = "John" in row["text"]
        picked = "John" in scope.inversion.text
        assert answer["value"] == [
            {"name": JOHN.name, "label": str(known), "picked": str(picked), "agrees": known == picked},
            {"name": "long", "label": None, "picked": None, "agrees": None},
        ]
    gone = ask(scope.gallery, "labels", rank=1, revision=scope.gallery.revision - 1)
    assert (gone["kind"], gone["value"]) == ("result", None)
    assert not gallery.can_label


def test_a_hypothesis_that_is_undefined_or_raises_does_not_agree():
    pick = isn.features.InputText("12+3=")
    first = isn.features.python("def first(text):\n    return text[0] if text[0] != '9' else None")
    assert label_row(first, pick, isn.features.InputText("14+3=")) == {
        "name": "first",
        "label": "1",
        "picked": "1",
        "agrees": True,
    }
    undefined = label_row(first, pick, isn.features.InputText("94+3="))
    assert (undefined["label"], undefined["agrees"]) == (None, False)
    raised = label_row(first, pick, isn.features.InputText(""))
    assert raised["label"].startswith("raises IndexError")
    assert raised["agrees"] is False


def test_searches_and_galleries_alone_are_not_read_along(gallery, scope, monkeypatch):
    monkeypatch.setattr("inversescope_nb.widgets.backend.SEARCH_SECONDS", 0.5)
    assert not gallery.can_read
    scope.site = OTHER
    settle(scope)
    ask(scope, "search", scope.sent)
    settle(scope)
    assert scope.gallery.rows
    assert not scope.gallery.can_read
    json.dumps(scope.gallery.summary, allow_nan=False)


def test_the_static_picture_begins_with_the_sentence(gallery):
    import html

    assert html.escape(gallery.summary["fixed"]["sentence"]) in gallery._repr_mimebundle_()[0]["text/html"]
