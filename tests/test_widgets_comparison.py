"""Pins and comparisons: what is kept, what is shown side by side, and the code that makes it again."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import base64
import html
import json
import math
import threading
import zlib

import numpy as np
import pytest
from test_widgets import (  # noqa: F401
    OTHER,
    PROMPT,
    SITE,
    TEXTS,
    _no_real_cache,
    ask,
    generator,
    prompts,
    scope,
    settle,
)
from test_widgets_packaged import run

import inversescope_nb as isn
from inversescope_nb.errors import Cancelled, InvalidArgument
from inversescope_nb.widgets import Comparison
from inversescope_nb.widgets.comparison_rows import LISTS
from inversescope_nb.widgets.gallery_rows import PAGE
from inversescope_nb.widgets.pins import MOST

SECOND = TEXTS[-1]


@pytest.fixture(scope="module")
def contrast(lm, generator):
    one, two = (isn.invert(lm, generator, text, site=SITE, bandwidth=1.0, n=200) for text in (PROMPT, SECOND))
    return isn.contrast(lm, generator, one, two)


@pytest.fixture
def comparison(contrast):
    return Comparison(contrast)


def invert(scope, **choices) -> isn.Inversion:
    """Chooses, and waits for the inversion of it."""
    for name, value in choices.items():
        setattr(scope, name, value)
    scope.invert().wait(20)
    settle(scope)
    return scope.inversion


# -- a comparison alone ------------------------------------------------------------------------------


def test_both_sides_have_their_rows_with_both_distances(comparison, contrast):
    frame = contrast.to_frame()
    for name, other, side in zip(("first", "second"), ("second", "first"), comparison.sides, strict=True):
        own = frame[frame["drawn_for"] == name].drop_duplicates("text").set_index("text")
        assert len(side.rows) == len(own)
        for row in side.rows:
            d = own.loc[row["text"], f"d_{name}"]  # infinite where a sample could not be run: then nothing is shown
            assert row["d"] == (pytest.approx(d) if math.isfinite(d) else None)
            d = own.loc[row["text"], f"d_{other}"]
            assert row["d_other"] == (pytest.approx(d) if math.isfinite(d) else None)
            where = {name: "only", "both": "both"}.get(own.loc[row["text"], "side"], "out")
            assert row["place"] == where
            assert row["in_other"] == (own.loc[row["text"], "side"] in (other, "both"))
        assert side.summary["counts"] == {which: len(side.listed(which)) for which in LISTS}
    json.dumps([comparison.words, comparison.first, comparison.second, comparison.pages], allow_nan=False)


def test_the_words_are_those_of_the_public_contrast(comparison, contrast):
    assert comparison.words["sentence"] == contrast.sentence
    assert comparison.words["overlap"] == contrast.overlap
    assert [pair["which"] for pair in comparison.words["pairs"]] == [pair.which for pair in contrast.tokens]
    for pair in comparison.words["pairs"]:
        differs = pair["which"] in ("first", "second", "apart")
        for name in ("first", "second"):
            if pair[name] is not None:
                assert bool(getattr(comparison, name)["differs"][pair[name]]) == differs


def test_what_is_drawn_by_others_is_sent_behind_them(comparison, contrast):
    """A front end that takes one trait at a time (marimo's) would draw words and rows with the last ones' tokens."""
    sent = []
    comparison.send_state = lambda keys: sent.append(list(comparison.get_state(keys)))
    comparison.show(None)
    comparison.show(contrast)
    assert [names[-2:] for names in sent if "first" in names] == [["words", "pages"]] * 2
    assert list(comparison.get_state())[-2:] == ["words", "pages"]


def test_lists_are_chosen_paged_and_checked(comparison):
    for which in LISTS:
        comparison.listed = which
        for side, page in zip(comparison.sides, comparison.pages, strict=True):
            wanted = side.listed(which)
            assert page["rows"] == wanted[:PAGE]
            assert (page["matching"], page["listed"]) == (len(wanted), which)
    comparison.listed = "all"
    rest = ask(comparison, "page", side=1, listed="all", start=3)["value"]
    assert rest["rows"] == comparison.sides[1].rows[3 : 3 + PAGE]
    comparison.set_state({"listed": "neither"})
    assert comparison.listed == "all"
    assert "allowed: all, only, both" in comparison.error["hint"]
    assert ask(comparison, "page", side=0, listed="onyl")["kind"] == "error"


def test_what_is_no_contrast_is_refused_and_nothing_can_be_shown(comparison, contrast):
    with pytest.raises(InvalidArgument, match="a Inversion is no contrast"):
        comparison.contrast = contrast.first.inversion
    with pytest.raises(InvalidArgument, match="unit 'nat'"):
        Comparison(contrast, unit="nat")
    with pytest.raises(TypeError, match="Did you mean 'listed'"):
        Comparison(contrast, list="both")
    before = comparison.revision
    ask(comparison, "close comparison")
    assert (comparison.words, comparison.pages, comparison.contrast) == ({}, None, None)
    assert comparison.revision > before
    assert ask(comparison, "page", side=0, listed="all")["value"] is None
    assert "Nothing is compared yet" in comparison._repr_mimebundle_()[0]["text/html"]


def test_the_static_picture_has_both_sides_and_marks_what_differs(comparison, contrast):
    picture = comparison._repr_mimebundle_()[0]["text/html"]
    assert html.escape(contrast.sentence) in picture
    assert picture.count("<table") == 2
    marked = sum(bool(said) for side in (comparison.first, comparison.second) for said in side["differs"])
    assert picture.count("\u2260") == marked
    assert "<script" not in picture


def test_without_a_bank_of_p_nothing_is_said_to_be_fixed(lm, generator):
    alone = isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=32, bank=0)
    shown = Comparison(isn.contrast(lm, generator, alone, alone))
    assert "no inputs of P(X) to compare with" in shown.words["sentence"]
    assert (shown.words["pairs"], shown.first["fixed"]) == ([], None)
    assert "near the second too" in shown.words["overlap"] or shown.words["doubt"]
    assert shown._repr_mimebundle_()[0]["text/html"].count("<table") == 2


# -- pins --------------------------------------------------------------------------------------------


def test_what_is_shown_can_be_pinned_and_removed(scope):
    assert ask(scope.pins, "pin")["kind"] == "error"
    first = invert(scope, bandwidth=1.0)
    assert scope.pins.shown["id"] is None
    ask(scope.pins, "pin")
    assert scope.pins.inversions == [first]
    (pin,) = scope.pins.pins
    assert (pin["tokens"], pin["site"], pin["bandwidth"]) == (first.tokens, SITE, 1.0)
    assert scope.pins.shown["id"] == pin["id"]
    ask(scope.pins, "pin")
    assert len(scope.pins.pins) == 1, "the same is pinned once"
    invert(scope, position=3)
    assert scope.pins.shown["id"] is None
    ask(scope.pins, "unpin", id=pin["id"])
    assert scope.pins.pins == []
    assert ask(scope.pins, "go", id=pin["id"])["kind"] == "error"


def test_pins_are_few(scope):
    for position in range(1, 7):
        invert(scope, position=position)
        ask(scope.pins, "pin")
    for bandwidth in (0.3, 0.4):
        invert(scope, bandwidth=bandwidth)
        ask(scope.pins, "pin")
    assert len(scope.pins.pins) == MOST
    invert(scope, bandwidth=0.9)
    answer = ask(scope.pins, "pin")
    assert "8 inversions are pinned" in answer["message"]
    assert len(scope.pins.pins) == MOST


def test_a_click_on_a_pin_shows_its_inversion_again_without_drawing_it_anew(scope, monkeypatch):
    first = invert(scope, bandwidth=1.0, position=5)
    ask(scope.pins, "pin")
    invert(scope, prompt=SECOND, position=3, bandwidth=0.5, n=16)
    drawn = []
    monkeypatch.setattr(scope._backend, "invert", lambda *args, **kwargs: drawn.append(args))
    ask(scope.pins, "go", id=scope.pins.pins[0]["id"])
    settle(scope)
    assert scope.error is None
    assert (scope.prompt, scope.position, scope.site, scope.bandwidth, scope.n) == (PROMPT, 5, SITE, 1.0, 32)
    assert scope.inversion is first
    assert scope.stale == ""
    assert scope.pins.shown["id"] == scope.pins.pins[0]["id"]
    assert drawn == []


def test_what_a_search_found_cannot_be_pinned(scope, monkeypatch):
    monkeypatch.setattr("inversescope_nb.widgets.backend.SEARCH_SECONDS", 0.5)
    scope.site = OTHER
    settle(scope)
    ask(scope, "search", scope.sent)
    settle(scope)
    assert scope.gallery.rows
    assert scope.pins.shown is None
    assert "no inversion to pin" in ask(scope.pins, "pin")["message"]


def test_samples_drawn_for_another_bandwidth_are_not_pinned_while_new_ones_are_on_their_way(scope, monkeypatch):
    invert(scope, bandwidth=0.5)
    go, real = threading.Event(), scope._backend.invert
    monkeypatch.setattr(scope._backend, "invert", lambda *a, **k: (go.wait(20), real(*a, **k))[1])
    weighed = threading.Event()
    scope.gallery.observe(lambda change: weighed.set(), names=["revision"])
    scope.bandwidth = 1.0
    assert weighed.wait(20)
    assert ask(scope.pins, "pin")["kind"] == "error"
    go.set()
    settle(scope)
    assert scope.pins.shown["bandwidth"] == 1.0


# -- comparing ---------------------------------------------------------------------------------------


@pytest.fixture
def pinned(scope):
    """A scope with one inversion pinned and another shown."""
    first = invert(scope, bandwidth=1.0)
    ask(scope.pins, "pin")
    return scope, first, invert(scope, prompt=SECOND)


def test_a_pin_is_compared_with_what_is_shown(pinned, lm, generator):
    scope, first, second = pinned
    answer = ask(scope.pins, "compare", id=scope.pins.pins[0]["id"])
    assert answer["kind"] == "result"
    found, expected = scope.comparison.contrast, isn.contrast(lm, generator, first, second)
    assert (found.first.inversion, found.second.inversion) == (first, second)
    np.testing.assert_array_equal(found.first.d_other, expected.first.d_other)
    assert scope.comparison.words["overlap"] == expected.overlap
    assert not scope.comparison.status["running"]
    invert(scope, position=2)
    assert scope.comparison.contrast is found, "it stays until another is made, or it is closed"


def test_two_pins_are_compared(pinned):
    scope, first, second = pinned
    ask(scope.pins, "pin")
    one, two = (pin["id"] for pin in scope.pins.pins)
    invert(scope, position=2)
    scope.pins.compare(two, one).wait(20)
    found = scope.comparison.contrast
    assert (found.first.inversion, found.second.inversion) == (second, first)
    with pytest.raises(InvalidArgument, match="no pin has the number 99"):
        scope.pins.compare(99)


def test_a_comparison_can_be_stopped_and_its_errors_stand_in_place(pinned, monkeypatch):
    scope, _, _ = pinned
    started = threading.Event()

    def endless(first, second, job):
        started.set()
        while not job.cancel.wait(0.02):
            job.report(1, 9, "reading")
        raise Cancelled

    monkeypatch.setattr(scope._backend, "contrast", endless)
    job = scope.pins.compare(scope.pins.pins[0]["id"])
    assert started.wait(10)
    assert scope.comparison.status["running"]
    ask(scope.comparison, "stop")
    with pytest.raises(Cancelled):
        job.wait(20)
    assert not scope.comparison.status["running"]
    assert scope.comparison.error is None

    def fails(first, second, job):
        raise InvalidArgument("it cannot be", hint="do otherwise")

    failed = []
    scope.on_error(failed.append)
    monkeypatch.setattr(scope._backend, "contrast", fails)
    ask(scope.pins, "compare", id=scope.pins.pins[0]["id"])
    assert scope.comparison.error["message"] == "it cannot be"
    assert not scope.comparison.status["running"]
    assert isinstance(scope.last_error, InvalidArgument)
    assert failed == [scope.last_error]


def test_the_whole_widgets_picture_and_saved_page_have_the_comparison(pinned):
    scope, _, _ = pinned
    assert '"comparison": null' in scope.to_html() or "anywidget:comparison" not in scope.to_html()
    ask(scope.pins, "compare", id=scope.pins.pins[0]["id"])
    assert html.escape(scope.comparison.words["sentence"]) in scope._repr_mimebundle_()[0]["text/html"]
    page = scope.to_html()
    start = page.index('id="isn-saved">') + len('id="isn-saved">')
    saved = json.loads(page[start : page.index("</script>", start)])
    state, packed = (saved["widgets"]["comparison"][name] for name in ("state", "packed"))
    assert saved["widgets"]["scope"]["state"]["comparison"] == "anywidget:comparison"
    lists = [json.loads(zlib.decompress(base64.b64decode(rows))) for rows in packed["all_rows"]]
    assert [columns["text"] for columns in lists] == [[r["text"] for r in s.rows] for s in scope.comparison.sides]
    assert state["words"] == json.loads(json.dumps(scope.comparison.words))
    assert "comparison" in saved["modules"]


def test_the_picture_follows_a_comparison(pinned, monkeypatch):
    scope, _, _ = pinned
    seen = []
    monkeypatch.setattr(scope, "_displayed", True)
    monkeypatch.setattr(scope, "_publish", lambda update: seen.append(scope._picture()))
    ask(scope.pins, "compare", id=scope.pins.pins[0]["id"])
    assert html.escape(scope.comparison.words["sentence"]) in seen[-1]
    ask(scope.comparison, "close comparison")
    assert "only here" not in seen[-1]


def test_the_code_of_a_comparison_names_two_generators_where_there_are_two(pinned, lm, prompts):
    scope, _, _ = pinned
    untrained = isn.TrainingConfig(steps=1, width=16, statistics_samples=64, held_out=4)
    scope._backend.shelf.add(isn.train_generator(lm, [OTHER], prompts, config=untrained, progress=False))
    invert(scope, site=OTHER)
    answer = ask(scope.pins, "compare", id=scope.pins.pins[0]["id"])
    assert answer["kind"] == "result", answer
    assert "second_gen=second_gen" in scope.comparison.code
    assert f"site={OTHER!r}" in scope.comparison.code
    compile(scope.comparison.code, "code", "exec")


def test_the_code_runs_as_it_is_and_makes_the_same_comparison():
    scope = isn.InverseScopeWidget(n=32)
    try:
        scope.invert().wait(120)
        settle(scope, 120)
        scope.pins.pin()
        scope.site = scope.lm.sites("blocks.0.hook_resid_post")[0]
        settle(scope, 120)
        scope.pins.compare(scope.pins.pins[0]["id"]).wait(120)
        names, frame = run(scope.comparison.code)
        expected = scope.comparison.contrast.to_frame()
        assert frame["text"].tolist() == expected["text"].tolist()
        assert frame["side"].tolist() == expected["side"].tolist()
        assert names["found"].sentence == scope.comparison.words["sentence"]
    finally:
        scope.close()


def test_a_comparison_that_was_closed_while_it_was_computed_stays_closed(pinned):
    scope, _, _ = pinned
    ask(scope.pins, "compare", id=scope.pins.pins[0]["id"])
    found = scope.comparison.contrast
    computing, closed = threading.Event(), threading.Event()

    def work(_job):
        computing.set()
        closed.wait(20)
        return found

    job = scope.comparison.compare(work)
    assert computing.wait(20)
    ask(scope.comparison, "close comparison")
    closed.set()
    with pytest.raises(Cancelled):
        job.wait(20)
    assert scope.comparison.contrast is None
    assert scope.comparison.error is None
