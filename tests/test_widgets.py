"""The widgets on a real (tiny, hardly trained) model and generator, with a fake front end."""

from __future__ import annotations

import html
import json
import math
import threading
import time
import uuid
from html.parser import HTMLParser

import altair as alt
import ipywidgets
import pandas as pd
import pytest

import inversescope_nb as isn
from inversescope_nb.errors import (
    BadPrompt,
    FeatureError,
    GeneratorMismatch,
    InvalidArgument,
    UnknownSite,
)
from inversescope_nb.prompts import PromptDistribution
from inversescope_nb.widgets import ConsistencyPanel, InverseScopeWidget, SampleGallery, TokenPicker

SITE, OTHER = "blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"
TEXTS = [f"{a} gave the {b} to {c}" for a in ("John", "Mary") for b in ("book", "cat") for c in ("Paris", "France")]
PROMPT = TEXTS[0]


@pytest.fixture(autouse=True)
def _no_real_cache(tmp_path, monkeypatch):
    """Trainings are kept in the test's own folder, never in the cache of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def prompts(gifts) -> PromptDistribution:
    return gifts


@pytest.fixture(scope="module")
def generator(gifts_generator):
    return gifts_generator


@pytest.fixture
def scope(lm, generator, prompts):
    widget = InverseScopeWidget(lm, generators=[generator], prompt=PROMPT, site=SITE, prompts=prompts, n=32)
    widget.sent = []
    for part in (widget, widget.picker, widget.gallery, widget.panel):
        part.send = widget.sent.append
    yield widget
    widget.close()


def request(widget, method, **params):
    """Send a request as the front end does, without waiting for its answer; gives its id."""
    number = uuid.uuid4().hex
    widget._receive(widget, {"kind": "request", "id": number, "method": method, "params": params}, [])
    return number


def ask(widget, method, sent=None, **params):
    """Send a request as the front end does and give the last answer to it."""
    messages: list[dict] = [] if sent is None else sent
    if sent is None:
        widget.send = messages.append
    number = request(widget, method, **params)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        ends = [m for m in messages if m["id"] == number and m["kind"] in ("result", "error")]
        if ends:
            return ends[-1]
        time.sleep(0.01)
    raise AssertionError(f"{method} was not answered: {messages}")


def settle(widget, seconds=20):
    deadline = time.monotonic() + seconds
    while (widget.busy or widget.training["running"]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not widget.busy
    assert not widget.training["running"]


def test_it_begins_where_a_bandwidth_says_something(lm, generator, prompts, monkeypatch):
    """At the site's usual bandwidth, and not at a site whose variance lies along one direction."""
    monkeypatch.setitem(generator.run_card["usual_bandwidths"], SITE, 0.3)
    assert InverseScopeWidget(lm, generators=[generator], prompt=PROMPT, site=SITE).bandwidth == 0.3
    assert InverseScopeWidget(lm, prompt=PROMPT, site=OTHER, prompts=prompts).bandwidth == 0.1
    untrained = isn.TrainingConfig(steps=1, width=16, statistics_samples=64, held_out=4)
    names = lm.sites("blocks.*.hook_resid_post")
    both = isn.train_generator(lm, names, prompts, config=untrained)
    assert InverseScopeWidget(lm, generators=[both], prompt=PROMPT).site == names[1]
    for name, lies_along_one in zip(names, (False, True), strict=True):
        spread = getattr(both.encoder, f"eigenvalues_{both.encoder.index[name]}")
        spread.fill_(0.0 if lies_along_one else 1.0)
        spread[0] = len(spread) if lies_along_one else 1.0
    assert InverseScopeWidget(lm, generators=[both], prompt=PROMPT).site == names[0]


def test_remarks_stand_in_the_gallery_and_in_the_picture(scope, generator, monkeypatch):
    monkeypatch.setattr(generator, "relative_scale", lambda site: 0.001)
    scope.invert().wait(20)
    assert scope.gallery.summary["remarks"] == scope.inversion.remarks
    (remark,) = [remark for remark in scope.inversion.remarks if "1000 times less than the residual" in remark]
    assert html.escape(remark) in scope._repr_mimebundle_()[0]["text/html"]


# -- TokenPicker ----------------------------------------------------------------------------------


def test_a_picker_stands_alone():
    picker = TokenPicker(tokens=["a", "b", "c"])
    assert (picker.index, picker.token, picker.editable) == (2, "c", False)
    seen = []
    picker.on_pick(seen.append)
    assert ask(picker, "pick", position=1)["kind"] == "result"
    assert seen == [1]
    assert picker.position == 1
    picker.shade([0.5, float("nan"), 1], label="norm")
    assert picker.values == [0.5, None, 1]


def test_a_picker_refuses_what_it_cannot_show():
    picker = TokenPicker(tokens=["a", "b"])
    with pytest.raises(InvalidArgument, match="outside the prompt of 2 tokens"):
        picker.position = 2
    with pytest.raises(InvalidArgument, match="3 values for 2 tokens"):
        picker.shade([1, 2, 3])
    with pytest.raises(TypeError, match="Did you mean 'tokens'"):
        TokenPicker(token=["a"])


def test_a_refused_value_from_the_front_end_is_shown_and_put_back():
    picker = TokenPicker(tokens=["a", "b"], position=0)
    picker.set_state({"position": 7})
    assert picker.position == 0
    assert "outside" in picker.error["message"]
    assert picker.last_error is not None


def test_a_fault_of_the_front_end_reaches_who_waits_for_errors():
    picker, heard = TokenPicker(tokens=["a", "b"]), []
    picker.on_error(heard.append)
    picker._receive(picker, {"kind": "fault", "message": "x is undefined", "stack": ""}, [])
    assert heard == [picker.last_error]
    assert "x is undefined" in str(picker.last_error)


def test_a_widget_that_cannot_be_made_is_not_kept_by_ipywidgets(lm):
    def kept() -> set:  # without layouts, which ipywidgets leaves behind of every widget
        known = ipywidgets.widget._instances
        return {name for name, widget in known.items() if not isinstance(widget, ipywidgets.Layout)}

    before = kept()
    with pytest.raises(InvalidArgument, match="outside the prompt"):
        TokenPicker(tokens=["a", "b"], position=7)
    with pytest.raises(InvalidArgument, match="outside the prompt"):
        InverseScopeWidget(lm, prompt=PROMPT, position=99)
    assert kept() == before


def test_a_panel_takes_its_chart_off_the_page(lm, generator):
    panel = ConsistencyPanel(isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=16))
    panel.add(isn.features.contains("John"))
    chart = panel.chart
    panel.close()
    assert (panel.comm, chart.comm) == (None, None)


def test_a_prompt_that_is_cleared_and_typed_again_keeps_its_shading():
    def tokenize(text):
        if not text:
            raise BadPrompt("the prompt is empty", hint="type a word")
        return text.split()

    picker = TokenPicker("a b c", tokenize=tokenize)
    picker.shade([1.0, 2.0, 3.0], label="norm")
    picker.set_state({"text": ""})
    assert picker.error["message"] == "the prompt is empty"
    picker.set_state({"text": "a b c"})
    assert (picker.error, picker.values) == (None, [1.0, 2.0, 3.0])


def test_an_edited_prompt_is_split_again():
    picker = TokenPicker("a b c", tokenize=str.split, position=2)
    picker.text = "x y"
    assert (picker.tokens, picker.position) == (["x", "y"], -1)


def test_an_edit_keeps_the_pick_and_another_prompt_does_not():
    picker = TokenPicker("a b c d", tokenize=str.split, position=1)
    picker.text = "a x c d"
    assert picker.token == "x"
    picker.text = "a x c d e"
    assert picker.token == "x"
    picker.text = "f g h"
    assert (picker.position, picker.token) == (-1, "h")


# -- the whole --------------------------------------------------------------------------------------


def test_picking_a_token_fills_gallery_and_panel(scope):
    picks, inversions = [], []
    scope.on_pick(picks.append)
    scope.on_inversion(inversions.append)
    ask(scope.picker, "pick", position=3)
    settle(scope)
    assert picks == [3]
    assert scope.position == 3
    assert scope.error is None
    assert inversions == [scope.inversion]
    assert scope.inversion.position == 3
    rows = scope.gallery.rows
    assert sum(row["count"] for row in rows) == 32
    assert [row["d"] for row in rows if row["d"] is not None] == sorted(
        row["d"] for row in rows if row["d"] is not None
    )
    assert all(len(row["info"]) == len(row["tokens"]) for row in rows)
    assert scope.panel.ready
    assert [value is None for value in scope.picker.values] == [i > 3 for i in range(len(scope.picker.tokens))]
    assert scope.gallery.summary["verdict_reason"]
    json.dumps([scope.gallery.summary, scope.gallery.first_page], allow_nan=False)


def test_changing_the_site_or_the_bandwidth_inverts_again(scope):
    scope.invert().wait(20)
    before = scope.inversion
    scope.bandwidth = 0.5
    settle(scope)
    assert scope.inversion is not before
    assert scope.inversion.bandwidth == 0.5


def test_a_site_without_a_generator_is_offered_search_and_training(scope, monkeypatch):
    scope.bandwidth = 1.0
    scope.site = OTHER
    settle(scope)
    assert scope.inversion is None
    assert scope.offer["site"] == OTHER
    assert "about" in scope.offer["train"]
    monkeypatch.setattr("inversescope_nb.widgets.backend.SEARCH_SECONDS", 0.5)
    ask(scope, "search", scope.sent)
    settle(scope)
    assert scope.error is None
    nearest = scope.gallery.rows[0]
    assert nearest["is_copy"]
    assert nearest["d"] < 1e-3
    assert scope.gallery.summary["verdict"] in set(isn.Verdict)
    assert "No generator was used" in scope.gallery.summary["verdict_reason"]
    scope.add_hypothesis(isn.features.contains("John"))
    assert 0 <= scope.panel.rows[0]["here"]["fcr"] <= 1


def test_stop_is_prompt_and_leaves_no_error(scope, monkeypatch):
    started = threading.Event()

    def endless(*args, job, **kwargs):
        started.set()
        while not job.cancel.wait(0.05):
            job.report(1, 100, "working")
        raise isn.errors.Cancelled

    monkeypatch.setattr(scope._backend, "invert", endless)
    scope.invert()
    assert started.wait(5)
    assert scope.busy
    assert scope.status["running"]
    ask(scope, "stop", scope.sent)
    settle(scope)
    assert not scope.error
    assert not scope.status["running"]


def test_errors_stand_in_place_and_the_widget_goes_on(scope):
    errors = []
    scope.on_error(errors.append)
    ask(scope, "invert", scope.sent)
    settle(scope)
    scope.picker.set_state({"text": "  "})
    assert "empty" in scope.picker.error["message"]
    assert isinstance(scope.last_error, BadPrompt)
    scope.picker.set_state({"text": "Mary " * 100})
    assert isinstance(scope.last_error, BadPrompt)
    assert scope.picker.error["hint"]
    scope.picker.set_state({"text": "Mary gave the cat to Paris"})
    settle(scope)
    assert scope.picker.error is None
    assert scope.inversion.text.endswith("Paris")
    assert len(errors) == 2


def test_a_bad_prompt_leaves_the_last_good_one_in_force(scope):
    scope.invert().wait(20)
    scope.picker.set_state({"text": "Mary flew"})
    assert "'flew'" in scope.picker.error["message"]
    assert scope.prompt == PROMPT
    scope.bandwidth = 0.5
    settle(scope)
    assert scope.picker.error is not None
    assert scope.gallery.summary["bandwidth"] == 0.5
    assert scope.gallery.summary["tokens"] == scope.picker.tokens
    assert scope.unread
    assert scope.stale, "what is shown is not of what is typed"
    scope.picker.set_state({"text": PROMPT})
    assert (scope.unread, scope.stale) == (False, "")
    with pytest.raises(BadPrompt, match="empty"):
        scope.prompt = " "
    assert scope.prompt == PROMPT


def test_inputs_that_belong_to_an_earlier_pick_are_called_so(scope, monkeypatch):
    scope.invert().wait(20)
    assert scope.stale == ""
    monkeypatch.setattr(scope._backend, "invert", lambda *args, job, **kwargs: job.cancel.wait(20))
    scope.position = 2
    scope.stop()
    settle(scope)
    assert scope.gallery.summary["tokens"][-1] == "Paris"
    assert scope.stale == f"{SITE} at 'Paris', \u03b5 = 0.1, 32 samples"
    monkeypatch.undo()
    scope.invert().wait(20)
    assert scope.stale == ""


@pytest.mark.parametrize(
    ("trait", "value", "kind"), [("bandwidth", 0.0, InvalidArgument), ("site", "nowhere", UnknownSite)]
)
def test_bad_values_raise_in_python_and_are_shown_from_the_front_end(scope, trait, value, kind):
    before = getattr(scope, trait)
    with pytest.raises(InvalidArgument):
        setattr(scope, trait, value)
    scope.set_state({trait: value})
    assert getattr(scope, trait) == before
    assert scope.error["message"]
    assert isinstance(scope.last_error, InvalidArgument)


def test_an_unknown_keyword_is_a_type_error_with_a_suggestion(lm):
    with pytest.raises(TypeError, match="Did you mean 'bandwidth'"):
        InverseScopeWidget(lm, bandwith=0.1)


def test_a_generator_of_another_model_is_refused(generator):
    from conftest import tiny_model, word_tokenizer

    with pytest.raises(GeneratorMismatch):
        InverseScopeWidget(tiny_model("llama", seed=5), word_tokenizer(), generators=[generator])


def test_a_generator_trained_here_inverts_here(lm, prompts):
    config = isn.TrainingConfig(
        steps=3, batch_size=8, backbone="small", width=16, eval_every=3, statistics_samples=16, held_out=8
    )
    widget = InverseScopeWidget(lm, prompt=PROMPT, site=OTHER, prompts=prompts, n=8, bandwidth=1.0, training=config)
    sent = []
    widget.send = sent.append
    widget.invert().wait(20)
    assert widget.generator is None
    assert "Train a generator here (about" in widget.offer["train"]
    ask(widget, "train", sent)
    settle(widget, 60)
    assert widget.error is None
    assert widget.offer is None
    assert widget.generator.sites == (OTHER,)
    assert OTHER in widget.site_map["available"]
    assert str(widget.inversion.site) == OTHER
    assert widget.gallery.summary["n"] == 8


def test_the_code_shown_names_what_is_shown(scope, lm, generator, prompts, tmp_path):
    scope.bandwidth = 0.25
    assert f"site={SITE!r}" in scope.code
    assert "bandwidth=0.25" in scope.code
    assert PROMPT in scope.code
    assert 'load_generator("path/to/your/generator")' in scope.code
    generator.save_pretrained(tmp_path / "kept")
    given = InverseScopeWidget(lm, generators=[tmp_path / "kept"], prompt=PROMPT, site=SITE)
    assert f"gen = isn.load_generator({str(tmp_path / 'kept')!r})" in given.code
    given.site = OTHER
    assert "isn.baselines.metropolis(" in given.code


def test_the_panel_says_when_chance_is_not_taken_over_draws_from_p(lm, generator, tmp_path):
    generator.save_pretrained(tmp_path / "kept")
    described = json.loads((tmp_path / "kept" / "generator.json").read_text())
    described["prompts"] = {"kind": "unknown", "name": "lost", "cut": "end"}
    (tmp_path / "kept" / "generator.json").write_text(json.dumps(described))
    widget = InverseScopeWidget(lm, generators=[tmp_path / "kept"], prompt=PROMPT, site=SITE, bandwidth=1.0, n=16)
    widget.invert().wait(20)
    assert "the generator writes by itself" in widget.panel.chance_note
    widget.add_hypothesis(isn.features.contains("John"))
    assert widget.panel.chance_note in widget._repr_mimebundle_()[0]["text/html"]


def test_where_chance_is_taken_over_draws_from_p_nothing_is_said(scope):
    scope.invert().wait(20)
    assert scope.panel.chance_note == ""


def test_the_first_prompt_comes_from_p(lm, generator):
    widget = InverseScopeWidget(lm, generators=[generator], site=SITE)
    assert widget.prompt in TEXTS
    examples = widget.picker.examples
    assert examples[0]["text"] == widget.prompt
    assert {example["group"] for example in examples} == {"gifts"}
    texts = [example["text"] for example in examples]
    assert 1 < len(texts) <= 4
    assert set(texts) <= set(TEXTS)
    assert len(set(texts)) == len(texts)


def test_examples_of_a_models_own_samples_are_what_it_writes(lm):
    prompts = isn.PromptDistribution.from_model(lm, max_tokens=5)
    widget = InverseScopeWidget(lm, prompts=prompts, site=SITE)
    texts = [example["text"] for example in widget.picker.examples]
    assert 1 <= len(texts) <= 4
    assert widget.prompt in texts
    assert {example["group"] for example in widget.picker.examples} == {prompts.name}
    assert all(log_p > -math.inf for log_p in prompts.log_probs(lm.encode(texts).rows(), lm))


def test_examples_are_texts_or_groups_of_texts():
    def shown(examples):
        return [tuple(entry.values()) for entry in TokenPicker(tokens=["a"], examples=examples).examples]

    assert shown(["a b"]) == [("", "a b", "a b")]
    assert shown({"sum": "1 + 2"}) == [("", "sum", "1 + 2")]
    assert shown({"sum": ["1 + 2", "3"]}) == [("sum", "1 + 2", "1 + 2"), ("sum", "3", "3")]


# -- gallery and panel alone ---------------------------------------------------------------------------


def test_a_gallery_pages_filters_and_sorts(lm, generator):
    gallery = SampleGallery(isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=0.5, n=200))
    first = ask(gallery, "page", start=0, size=500)["value"]
    assert len(first["rows"]) <= 50
    assert first["revision"] == gallery.revision
    found = ask(gallery, "page", text="mary")["value"]
    assert all("Mary" in row["text"] for row in found["rows"])
    heavy = ask(gallery, "page", sort="weight")["value"]["rows"]
    assert heavy[0]["weight"] == max(row["weight"] for row in gallery.rows)
    assert "Did you mean 'weight'" in ask(gallery, "page", sort="wieght")["message"]
    with pytest.raises(InvalidArgument):
        gallery.unit = "bytes"


def test_bits_are_not_shown_where_next_to_nothing_carries_the_estimate(lm, prompts):
    found = isn.baselines.neighbours(lm, prompts, PROMPT, site=SITE, bandwidth=0.02, bank=16)
    summary = SampleGallery(found).summary
    assert found.ess < 5
    assert (summary["bits"], summary["bits_stderr"]) == (None, None)


def test_a_panel_tests_written_hypotheses(lm, generator):
    inversion = isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=64)
    panel = ConsistencyPanel(inversion, features=[isn.Feature("length", len, "its letters")])
    assert ask(panel, "add", kind="contains", value="John")["kind"] == "result"
    assert ask(panel, "add", kind="ready", name="length")["kind"] == "result"
    assert [row["name"] for row in panel.rows] == ["contains 'John'", "length"]
    assert [row.get("description") for row in panel.rows] == [None, "its letters"]
    assert panel.chart.spec["layer"]
    assert panel.rows[0]["label"] == "True"
    again = ask(panel, "add", kind="contains", value="John")
    assert again["kind"] == "error"
    assert "already" in again["message"]
    assert "regular expression" in ask(panel, "add", kind="regex", value="(")["message"]
    assert ask(panel, "add", kind="contains", value=" ")["type"] == "InvalidArgument"
    ask(panel, "remove", name="length")
    assert len(panel.rows) == 1


def test_a_hypothesis_that_raises_is_not_kept(lm, generator):
    panel = ConsistencyPanel(isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=0.5, n=16))
    with pytest.raises(FeatureError):
        panel.add(isn.Feature("broken", lambda text: 1 / 0))
    assert panel.rows == []
    assert panel.hypotheses == []


def test_measuring_across_inputs_fills_the_second_column(scope):
    scope.bandwidth = 1.0
    scope.invert().wait(20)
    scope.add_hypothesis(isn.features.contains("John"))
    scope.panel.measure().wait(60)
    across = scope.panel.rows[0]["across"]
    assert across["n"] >= 1
    assert across["low"] <= across["fcr"] <= across["high"]


# -- without a kernel -----------------------------------------------------------------------------------


def test_the_fallback_is_plain_html_without_scripts(scope):
    assert "Nothing was inverted yet" in scope._repr_mimebundle_()[0]["text/html"]
    scope.bandwidth = 1.0
    scope.invert().wait(20)
    scope.add_hypothesis(isn.features.contains("John"))
    html = scope._repr_mimebundle_()[0]["text/html"]
    assert "<script" not in html
    assert scope.gallery.summary["verdict_words"] in html
    assert "contains" in html
    assert "application/vnd.jupyter.widget-view+json" in scope._repr_mimebundle_()[0]


def test_the_saved_page_is_one_safe_file(scope, tmp_path):
    scope.invert().wait(20)
    scope.gallery.rows[0]["text"] = "</script><script>alert(1)</script>"
    page = scope.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page
    assert "<script>alert" not in page
    assert len(page.encode()) < 3_000_000
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(page)
    assert {"html", "style", "script", "div"} <= {tag for tag, _ in tags}
    assert [tag for tag, attributes in tags if {"src", "href"} & set(attributes) or tag == "link"] == []


def test_a_page_that_cannot_be_written_says_so_and_leaves_nothing(scope, tmp_path):
    with pytest.raises(InvalidArgument, match=r"cannot write .*missing"):
        scope.to_html(tmp_path / "missing" / "page.html")
    with pytest.raises(InvalidArgument, match="path is a int"):
        scope.to_html(5)
    assert list(tmp_path.iterdir()) == []


def test_a_chart_as_a_widget_carries_a_picture():
    chart = alt.Chart(pd.DataFrame({"x": [1, 2]})).mark_point().encode(x="x")
    bundle, _ = isn.Chart(chart)._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<svg")
    assert "application/vnd.jupyter.widget-view+json" in bundle
