"""Several prompts, kept as tabs of the token picker: each with its text and its picked token."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import pytest
from test_widgets import PROMPT, _no_real_cache, ask, generator, prompts, scope, settle  # noqa: F401

from inversescope_nb.errors import InvalidArgument
from inversescope_nb.widgets import TokenPicker


def picker(text="a b c", **more):
    return TokenPicker(text, tokenize=split, **more)


def split(text):
    if not text.strip():
        raise InvalidArgument("the prompt is empty")
    return text.split()


def test_a_tab_keeps_its_prompt_and_its_picked_token():
    shown = picker(position=1)
    assert shown.tabs == [{"text": "a b c", "position": 1}]
    shown.open_tab("d e")
    assert (shown.tab, shown.text, shown.tokens, shown.position) == (1, "d e", ["d", "e"], -1)
    shown.position = 0
    shown.text = "d f"
    assert shown.tabs == [{"text": "a b c", "position": 1}, {"text": "d f", "position": 0}]
    shown.tab = 0
    assert (shown.text, shown.tokens, shown.position) == ("a b c", ["a", "b", "c"], 1)
    shown.tab = 1
    assert (shown.text, shown.position) == ("d f", 0)
    assert shown.error is None


def test_going_to_and_fro_changes_no_tab():
    shown = picker(position=2)
    shown.open_tab("d")
    shown.open_tab("e f g h", position=3)
    before = list(shown.tabs)
    for tab in (0, 1, 2, 1, 0, 2):
        shown.tab = tab
        assert shown.tabs == before
        assert shown.token == before[tab]["text"].split()[before[tab]["position"]]


def test_the_front_end_opens_a_copy_and_closes():
    shown = picker(position=1)
    assert ask(shown, "open tab")["kind"] == "result"
    assert shown.tabs == [{"text": "a b c", "position": 1}] * 2
    assert shown.tab == 1
    shown.text = "x y"
    ask(shown, "close tab", tab=0)  # not the one shown
    assert (shown.tabs, shown.tab, shown.text) == ([{"text": "x y", "position": -1}], 0, "x y")
    ask(shown, "close tab", tab=0)  # the last one stays
    assert len(shown.tabs) == 1
    assert "no tab 5" in ask(shown, "close tab", tab=5)["message"]


@pytest.mark.parametrize(("closed", "then"), [(0, "b"), (1, "c"), (2, "b")])
def test_closing_the_tab_that_is_shown_shows_its_neighbour(closed, then):
    shown = picker("a")
    shown.open_tab("b")
    shown.open_tab("c")
    shown.tab = closed
    shown.close_tab(closed)
    assert shown.text == then
    assert shown.tokens == [then]
    assert shown.tabs[shown.tab]["text"] == then
    assert len(shown.tabs) == 2


def test_what_cannot_be_split_opens_and_changes_nothing():
    shown = picker()
    with pytest.raises(InvalidArgument, match="empty"):
        shown.open_tab(" ")
    assert len(shown.tabs) == 1
    shown.text = " "  # being typed
    assert shown.error is not None
    assert shown.tabs == [{"text": "a b c", "position": -1}]
    shown.set_state({"tab": 3})
    assert "no tab 3" in shown.error["message"]
    assert shown.tab == 0
    with pytest.raises(InvalidArgument, match="fixed tokens"):
        TokenPicker(tokens=["a"]).open_tab("b")


def test_the_scope_inverts_what_a_tab_shows(scope):
    scope.bandwidth = 1.0
    scope.invert().wait(20)
    scope.picker.open_tab("Mary gave the cat", position=2)
    settle(scope)
    assert (scope.prompt, scope.position) == ("Mary gave the cat", 2)
    assert scope.inversion.position == 2
    scope.picker.tab = 0
    settle(scope)
    assert scope.prompt == PROMPT
    assert scope.inversion.text.endswith(PROMPT)
    assert scope.stale == ""


def test_going_to_a_prompt_leaves_other_tabs_as_they_are():
    shown = picker("a b", position=0)
    shown.show_prompt("a b")  # is shown
    assert len(shown.tabs) == 1
    shown.show_prompt("c d")
    assert [kept["text"] for kept in shown.tabs] == ["a b", "c d"]
    shown.show_prompt("a b")
    assert (shown.tab, shown.text, shown.position, len(shown.tabs)) == (0, "a b", 0, 2)
