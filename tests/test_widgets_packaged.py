"""The widget on the packaged model and generator: what a user sees first, and the code that it shows."""

from __future__ import annotations

import math
import time

import pandas as pd
import pytest

import inversescope_nb as isn
from inversescope_nb.widgets import InverseScopeWidget

UNKNOWN_SITE = "blocks.1.attn.hook_out"
"""A site of the packaged model that its generator was not trained for."""


@pytest.fixture(scope="module")
def scope():
    widget = InverseScopeWidget()
    yield widget
    widget.worker.stop()


def run(code: str) -> tuple[dict, pd.DataFrame]:
    """Runs shown code as a cell: its names, and the value of its last expression."""
    body, last = [], ""
    for line in code.splitlines():
        (last, body) = (last, body) if line.startswith("#") or not line else (line, [*body, line])
    names: dict = {}
    exec("\n".join(body[:-1]), names)
    return names, eval(last, names)


def test_example_prompts_lie_inside_the_prompt_distribution(scope):
    prompts = scope.generator.prompts
    texts = [example["text"] for example in scope.picker.examples]
    assert scope.prompt in texts
    assert len({example["group"] for example in scope.picker.examples}) == 6
    assert 6 < len(texts) <= 24
    for text in texts:
        ids = scope.lm.encode(text).token_ids[0].tolist()
        assert math.isfinite(prompts.log_prob(ids, scope.lm)), text


def test_what_is_seen_first_is_inside_p_and_has_hypotheses(scope):
    scope.invert().wait(60)
    assert scope.inversion.picked_on_support
    assert scope.inversion.verdict == "RELIABLE"
    assert {feature["name"] for feature in scope.panel.features} >= {"hundreds", "tens", "ones"}
    assert scope.panel.chance_note == ""


def test_the_code_shown_runs_as_it_is_and_gives_the_same_inputs(scope):
    scope.invert().wait(60)
    names, frame = run(scope.code)
    assert "path/to" not in scope.code
    assert names["inv"].samples == scope.inversion.samples
    assert len(frame) == scope.n


@pytest.mark.parametrize(
    "query",
    [
        {"text": "6", "sort": "weight"},
        {"text": "(^|\\+ )[4-6]", "regex": True, "inside": True, "sort": "count"},
        {"inside": True},
        {"text": "SEVEN'\"\\"},
    ],
)
def test_the_code_lists_what_the_gallery_lists(scope, query):
    scope.invert().wait(60)
    scope.gallery.query = query
    try:
        _, frame = run(scope.code)
        rows = scope.gallery._page(**scope.gallery.query)["rows"]
    finally:
        scope.gallery.query = {}
    if "sort" in query:
        assert list(frame.index)[:50] == [row["text"] for row in rows]
        assert list(frame[query["sort"]])[:50] == pytest.approx([row[query["sort"]] for row in rows])
    else:
        assert list(frame["text"].drop_duplicates())[:50] == [row["text"] for row in rows]
    assert len(rows) == 0 or len(rows) < len(scope.gallery.rows)
    assert "listed" not in scope.code


def test_the_code_names_the_packaged_generator_given_as_an_object(scope):
    given = InverseScopeWidget(scope.lm, generators=[scope.generator], prompt="4 3 7 + 5 6 8 =")
    assert "lm = isn.load_model()\ngen = isn.load_generator()\n" in given.code
    assert len(given._backend.shelf.generators) == 1


def test_the_code_for_a_site_without_a_generator_runs_as_it_is(scope):
    assert UNKNOWN_SITE not in scope.generator.sites
    widget = InverseScopeWidget(scope.lm, prompt="4 3 7 + 5 6 8 =", site=UNKNOWN_SITE)
    names, frame = run(widget.code.replace("seconds=10", "seconds=1"))
    assert isinstance(names["found"], isn.baselines.Metropolis)
    assert 0 < len(frame) <= 64


@pytest.mark.parametrize("quantity", ["norm", "change", "bits"])
def test_the_code_gives_the_numbers_that_shade_the_tokens(scope, quantity):
    scope.picker.quantity = quantity
    try:
        deadline = time.monotonic() + 60
        while scope.shading.worker.busy and time.monotonic() < deadline:
            time.sleep(0.02)
        names, _ = run(scope.code)
        shown = [math.nan if value is None else value for value in scope.picker.values]
        assert names["shades"].tolist() == pytest.approx(shown, rel=1e-4, abs=1e-4, nan_ok=True)
    finally:
        scope.picker.quantity = "picked"
    assert "shades" not in scope.code
