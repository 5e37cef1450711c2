"""What shades the prompt: the choice, its numbers, what is on the screen first, and a prompt of a thousand tokens."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import pytest
from conftest import word_tokenizer
from small import model_for
from test_widgets import OTHER, PROMPT, SITE, _no_real_cache, ask, generator, prompts, scope, settle  # noqa: F401

import inversescope_nb as isn
from inversescope_nb.errors import Cancelled, InvalidArgument
from inversescope_nb.widgets import InverseScopeWidget
from inversescope_nb.widgets import shading as shading_module
from inversescope_nb.widgets.messages import IDLE
from inversescope_nb.widgets.shading import CHUNK, top_of


def shaded(scope, quantity=None) -> list:
    """Chooses, and waits for the values."""
    if quantity is not None:
        scope.picker.set_state({"quantity": quantity})
    deadline = time.monotonic() + 20
    while scope.picker.shading["running"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert scope.picker.error is None
    return scope.picker.values


def same(values: list, expected: np.ndarray) -> None:
    np.testing.assert_allclose([np.nan if v is None else v for v in values], expected, rtol=1e-5)


def test_what_is_chosen_is_what_the_public_functions_say(scope, lm, generator):
    assert [entry["name"] for entry in scope.picker.quantities] == ["picked", "norm", "change", "bits"]
    same(shaded(scope, "norm"), isn.token_norms(lm, PROMPT, SITE, gen=generator))
    assert (scope.picker.values_unit, scope.picker.diverging) == ("standardised units", False)
    same(shaded(scope, "change"), isn.token_changes(lm, PROMPT, SITE))
    same(shaded(scope, "bits"), isn.token_bits(lm, generator, PROMPT, site=SITE, bandwidth=scope.bandwidth))
    assert (scope.picker.values_unit, scope.picker.diverging) == ("bits", True)
    assert "not a measurement" in scope.picker.values_label


def test_the_choice_follows_the_prompt_and_the_bandwidth(scope, lm, generator):
    shaded(scope, "bits")
    scope.bandwidth = 1.0
    same(shaded(scope), isn.token_bits(lm, generator, PROMPT, site=SITE, bandwidth=1.0))
    settle(scope)
    other = "Mary gave the cat to France"
    scope.picker.set_state({"text": other})
    same(shaded(scope), isn.token_bits(lm, generator, other, site=SITE, bandwidth=1.0))
    settle(scope)


def test_back_at_the_picked_activation_its_own_shading_is_there_at_once(scope):
    scope.invert().wait(20)
    own = scope.picker.values
    assert own is not None
    shaded(scope, "norm")
    scope.invert().wait(20)
    assert scope.picker.values_unit == "standardised units"  # an inversion leaves what was chosen
    shaded(scope, "picked")
    assert scope.picker.values_unit == "bits"
    np.testing.assert_allclose(scope.picker.values[1:], own[1:], atol=1e-5)
    scope.prompt = "Mary gave the cat to France"
    assert scope.picker.values is None  # of another prompt
    settle(scope)


def test_what_cannot_be_had_says_why_and_is_refused(scope):
    scope.site = OTHER
    settle(scope)
    why = {entry["name"]: entry["why_not"] for entry in scope.picker.quantities}
    assert "no generator" in why["bits"]
    assert why["norm"] is None
    scope.picker.set_state({"quantity": "bits"})
    assert "no generator" in scope.picker.error["message"]
    assert scope.picker.quantity == "picked"
    with pytest.raises(InvalidArgument, match="Did you mean 'norm'"):
        scope.picker.quantity = "nrom"


def test_a_choice_that_the_next_site_does_not_have_takes_the_shading_off(scope):
    shaded(scope, "bits")
    scope.site = OTHER
    assert shaded(scope) is None
    settle(scope)
    scope.site = SITE
    assert shaded(scope) is not None
    settle(scope)


def test_what_was_read_at_one_site_is_never_shown_at_another(scope, monkeypatch):
    gate, reading = threading.Event(), threading.Event()
    entry = shading_module.QUANTITIES["norm"]

    def slowly(*args, **how):
        reading.set()
        assert gate.wait(20)
        return entry.read(*args, **how)

    monkeypatch.setitem(shading_module.QUANTITIES, "norm", dataclasses.replace(entry, read=slowly))
    scope.picker.set_state({"quantity": "norm"})
    assert reading.wait(10)
    before = scope.picker.values
    scope.picker.quantity = "picked"  # chosen away while it is read
    gate.set()
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        assert scope.picker.values == before
        time.sleep(0.02)


def test_the_bits_come_in_one_job_that_says_how_far_it_is(scope, monkeypatch):
    monkeypatch.setattr(shading_module, "CHUNK", 2)
    told, filled = [], []
    scope.picker.observe(lambda change: told.append(change["new"]), names=["shading"])
    scope.picker.observe(
        lambda change: filled.append(sum(v is not None for v in change["new"] or [])), names=["values"]
    )
    shaded(scope, "bits")
    n = len(scope.picker.tokens)
    running = [status for status in told if status["running"] and status["total"]]
    assert n > 2
    done = [status["done"] for status in running]  # not every turn is told, where they follow each other quickly
    assert done == sorted(set(done))
    assert set(done) <= {min(2 * (k + 1), n) for k in range((n + 1) // 2)}
    assert (done[0], done[-1]) == (2, n)
    assert {status["total"] for status in running} == {n}
    assert all(status["message"] for status in running)
    assert told[-1] == IDLE
    assert filled == sorted(filled)  # each turn adds to what is there
    assert len(filled) == (n + 1) // 2


def test_stop_ends_a_shading_without_an_error(scope, monkeypatch):
    started = threading.Event()

    def endless(*args, cancel, **kwargs):
        started.set()
        assert cancel.wait(20)
        raise Cancelled

    monkeypatch.setattr(shading_module, "token_bits", endless)
    scope.picker.set_state({"quantity": "bits"})
    assert started.wait(5)
    assert scope.picker.shading["running"]
    scope.picker.send = scope.sent.append
    ask(scope.picker, "stop shading", scope.sent)
    shaded(scope)
    assert scope.picker.error is None


def test_what_is_on_the_screen_comes_first_also_when_one_scrolls_meanwhile(scope):
    shading, picker = scope.shading, scope.picker
    ask(picker, "visible", start=500, stop=560)
    turns = shading._turns(1000)
    first = [next(turns) for _ in range(3)]
    assert [start // CHUNK for start, _ in first] == [15, 16, 17]  # 480 to 576
    ask(picker, "visible", start=0, stop=40)
    assert [start for start, _ in (next(turns), next(turns))] == [0, CHUNK]
    rest = list(turns)
    assert sorted([*first, (0, CHUNK), (CHUNK, 2 * CHUNK), *rest]) == [
        (start, min(start + CHUNK, 1000)) for start in range(0, 1000, CHUNK)
    ]


def test_the_first_token_does_not_rule_the_scale():
    assert top_of([50.0, 1.0, -2.0, None, float("nan")]) == 2.0
    assert top_of([50.0]) is None


@pytest.fixture(scope="module")
def long_lm():
    return model_for(
        word_tokenizer(), "llama", hidden_size=64, num_attention_heads=4, num_key_value_heads=4,
        intermediate_size=128, head_dim=16, max_position_embeddings=2048,
    )  # fmt: skip


def test_a_prompt_of_a_thousand_tokens(long_lm, prompts):
    config = isn.TrainingConfig(steps=1, batch_size=8, width=16, statistics_samples=16, held_out=8, backbone="small")
    gen = isn.train_generator(long_lm, [SITE], prompts, config=config, progress=False)
    text = " ".join(["John", "gave", "the", "book", "to"] * 200)[:-3]
    widget = InverseScopeWidget(long_lm, generators=[gen], prompt=text, site=SITE, n=8, position=5)
    assert len(widget.picker.tokens) == 1000
    seen = []
    widget.picker.observe(lambda change: seen.append(change["new"]), names=["values"])
    ask(widget.picker, "visible", start=0, stop=60)
    values = shaded(widget, "bits")
    known = [t for t, v in enumerate(values) if v is not None]
    assert known == list(range(1, int(gen.longest_input)))
    assert sum(v is not None for v in seen[0]) == min(CHUNK, int(gen.longest_input)) - 1  # the visible ones, first
    same(shaded(widget, "norm"), isn.token_norms(long_lm, text, SITE, gen=gen))
    widget.invert().wait(30)
    assert widget.error is None
    assert widget.inversion.position == 5
    assert len(widget._repr_mimebundle_()[0]["text/html"]) < 200_000
    widget.close()
