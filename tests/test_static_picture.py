"""The static picture where styles are taken away, as on GitHub: every token, number and state is still said."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import math

import pytest
from github_html import cells, sanitised, text
from test_widgets import PROMPT, SITE, _no_real_cache, generator, prompts, scope  # noqa: F401

import inversescope_nb as isn
from inversescope_nb._static_table import SHOWN, prompt, samples, token, unstyled
from inversescope_nb.widgets import SampleGallery

LN2 = math.log(2)


def row(tokens, at, info, **extra):
    return {
        "tokens": tokens, "at": at, "info": info, "d": 0.05, "weight": 0.25, "count": 2, "in_ball": True,
        "is_copy": False, "on_support": True, **extra,
    }  # fmt: skip


SUMMARY = {
    "tokens": ["<bos>", "4", "+", " 5"],
    "info_max": 4 * LN2,
    "ball_edge": 0.1,
    "fixed": {"states": ["", "pinned", "free", "leaning"], "sentence": "", "words": []},
}
ROWS = [
    row(["<bos>", "4", "+", " 5"], [0, 1, 2, 3], [None, 3 * LN2, 0.0, -2 * LN2], is_copy=True),
    row(["<bos>", "so", "4", " 6"], [0, None, 1, 3], [None, 0.0, LN2, 0.0], in_ball=False, on_support=False, d=None),
]


def test_the_sanitiser_leaves_what_is_allowed_and_the_content_of_the_rest():
    markup = '<div style="x" class="y"><span>a</span> &lt;b&gt; <b title="t">c</b><script>d</script><svg>e</svg></div>'
    assert sanitised(markup) == '<div>a &lt;b&gt; <b title="t">c</b>e</div>'


def test_a_token_is_shaded_and_where_styles_are_gone_a_large_value_is_a_number_in_bits():
    large, small = token("a", -3 * LN2, 4 * LN2, bits=True), token("a", LN2, 4 * LN2, bits=True)
    assert "dashed" in large
    assert "solid" in small
    assert sanitised(large) == "<code>a</code><sup>\u22123.0</sup>"
    assert sanitised(small) == "<code>a</code>"
    assert unstyled("x") in token("a", 2 * LN2, 4 * LN2, bits=True).replace("<sup>+2.0</sup>", "x")
    assert sanitised(token("<i>", None, 1.0, picked=True)) == "<code><b>&lt;i&gt;</b></code>"


def test_a_prompt_says_what_becomes_of_each_token_and_which_is_picked():
    line = sanitised(prompt(SUMMARY["tokens"], 3, SUMMARY["fixed"]["states"][:3]))
    assert text(line) == "<bos> \u25a04 \u25a1+ \u00b75 \u25a0 fixed \u00b7 \u25a1 free"
    assert "<b>\u00b75</b>" in line
    assert text(prompt(["a", "b"], 0)) == "a b"


def test_inputs_stand_under_the_picked_one_and_what_differs_is_bold():
    table = sanitised(samples(ROWS, SUMMARY))
    assert cells(table) == [
        ["d", "weight", "count", "<bos>", "\u25a04", "\u25a1+", "\u25e7\u00b75"],
        ["0.050", "25.0\u202f%", "\u00d72 the picked input", "<bos>", "4+3.0", "+", "\u00b75\u22122.0"],
        ["edge of the ball, d = 0.100"],
        ["\u2013", "25.0\u202f%", "\u00d72 outside P(X)", "<bos>", "so 4", "\u2013", "\u00b76"],
    ]
    assert "<code><b>so</b></code> <code>4</code>" in table
    assert "<b>\u00b76</b>" in table
    assert "<b>4</b>" not in table
    assert "style" not in table


def test_longer_inputs_stand_as_text_with_a_space_between_tokens():
    tokens = [f"t{i}" for i in range(13)]
    long = row(tokens, list(range(13)), [0.0] * 13)
    table = sanitised(samples([long] * (SHOWN + 2), {**SUMMARY, "tokens": tokens, "fixed": None}))
    assert cells(table)[0] == ["d", "weight", "count", "input"]
    assert cells(table)[1][3] == " ".join(tokens)
    assert "<b>" not in table
    assert len(cells(table)) == SHOWN + 1
    assert "and 2 more" in table


@pytest.fixture
def shown(scope):
    scope.invert().wait(60)
    scope.add_hypothesis(isn.features.contains("John"))
    return scope


def test_all_that_the_widget_says_is_still_there_without_styles(shown):
    left = sanitised(shown._repr_mimebundle_()[0]["text/html"])
    assert not any(word in left for word in ("style", "<span", "<svg", "class="))
    said, summary = text(left), shown.gallery.summary
    last = len(summary["tokens"]) - 1
    assert f"read at token {last} (of 0 to {last})" in said
    assert SITE in said
    assert summary["verdict_words"] in said
    assert summary["verdict_reason"] in said
    assert f"{summary['ess']:.0f} effective of 32 samples" in said
    if summary["bits"] is not None:
        assert f"{summary['bits']:.1f} bits" in said
    if summary["fixed"]:
        assert summary["fixed"]["sentence"] in said
    assert "contains 'John'" in said
    table = cells(left)
    assert [cell.lstrip("\u25a0\u25a1\u25e7") for cell in table[0][3:]] == summary["tokens"]
    first = shown.gallery.rows[0]
    assert table[1][0] == f"{first['d']:.3f}"
    if len(first["tokens"]) == len(summary["tokens"]):
        assert all(cell.startswith(token) for cell, token in zip(table[1][3:], first["tokens"], strict=True))


def test_a_rate_that_is_in_doubt_says_so_in_words(shown):
    shown.panel.doubt = "The rates for this input are grey: few effective samples."
    said = text(sanitised(shown._repr_mimebundle_()[0]["text/html"]))
    assert "this input, in doubt" in said
    assert shown.panel.doubt in said


def test_the_widget_itself_comes_first_where_there_is_a_kernel(lm, generator):
    gallery = SampleGallery(isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=16))
    data, _ = gallery._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "text/html"} <= set(data)
