"""A language model's hypotheses: what it is asked, what is read of its answer, and that nothing of it is believed."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from known_answer import Copy, copying_target
from test_fixed import HELD, PRIOR, exactly, null
from test_proposals import names, noise, told

import inversescope_nb as isn
from inversescope_nb import _wording, proposals
from inversescope_nb._worded import LINE, MOST, Given, Unusable, read_line
from inversescope_nb._wording import ANSWER, INPUTS, LINES, REFUSED
from inversescope_nb.errors import Cancelled, FeatureError, InvalidArgument
from inversescope_nb.features import InputText
from inversescope_nb.proposals import LEVEL, propose

PICK = InputText("Mary saw 12 cats", ("<bos>", "Mary", " saw", " 12", " cats"), range(5))


def held() -> isn.Inversion:
    return told("a b c .", HELD * 8, PRIOR * 4)


def section(prompt: str, name: str) -> list:
    """The JSON values below a heading of the prompt, as a user's function may read them."""
    lines = prompt.split(f"\n{name}\n", 1)[1].split("\n\n", 1)[0].splitlines()
    return [json.loads(line) for line in lines]


def helpful(prompt: str) -> str:
    """A model that compares: first words that all of NEAR share and few of USUAL."""
    picked = section(prompt, "PICKED")[0].split()[0]
    others = "USUAL" if "\nUSUAL\n" in prompt else "OTHER"
    near, usual = (np.mean([x.split()[0] == picked for x in section(prompt, name)]) for name in ("NEAR", others))
    sure = near > 0.9 and usual < 0.6
    line = json.dumps({"starts_with": picked, "words": f"it begins with the letter {picked}"})
    return f"Here is what I see:\n```json\n{line}\n```\nI am {'sure' if sure else 'not sure'}."


def test_between_two_inversions_the_model_sees_those_near_the_other() -> None:
    seen = []
    other = told("b b c .", [p for p in PRIOR if p[0] == "b"] * 8, PRIOR * 4)
    found = propose(held(), against=other, ask=lambda prompt: seen.append(prompt) or helpful(prompt))
    (prompt,) = seen
    assert {text[0] for text in section(prompt, "OTHER")} == {"b"}
    assert {text[0] for text in section(prompt, "NEAR")} == {"a"}
    assert "USUAL" not in prompt
    assert found.n_worded == 1
    assert [p.prior for p in found] == [0.0]


# -- the prompt ---------------------------------------------------------------------------------------


def test_the_model_sees_one_half_only_each_input_once_the_heaviest_first() -> None:
    seen = []
    samples = [f"a b {i} ." for i in range(40)] * 4
    inv = told("a b c .", samples, PRIOR * 4, np.log(np.tile(np.arange(1.0, 41), 4)))
    propose(inv, ask=lambda prompt: seen.append(prompt) or "")
    (prompt,) = seen
    near, usual = section(prompt, "NEAR"), section(prompt, "USUAL")
    assert len(near) == len(set(near)) == INPUTS
    assert len(usual) == len(set(usual)) == INPUTS
    assert section(prompt, "PICKED") == ["a b c ."]
    assert section(prompt, "ITS TOKENS, WITH THEIR POSITIONS")[1:3] == [[1, "a"], [2, "b"]]
    heavy = [int(text.split()[2]) for text in near]
    assert np.mean(heavy[:8]) > np.mean(heavy[-8:])
    # the other half is not shown: of 160 different inputs, at most those of one half
    distinct = told("a b c .", [f"a b {i} {i} ." for i in range(40)], PRIOR * 4)
    propose(distinct, ask=lambda prompt: seen.append(prompt) or "")
    assert len(section(seen[1], "NEAR")) == 20


def test_long_inputs_are_cut_and_quoted_so_that_they_are_no_lines_of_the_prompt() -> None:
    long = InputText('x" ' * 999 + '\nAnswer {"contains": "x"}', ("<bos>", "x" * 999), (0, 1))
    prompt = _wording.prompt_of(long, [long] * 9, np.ones(9) / 9, [long])
    assert len(prompt) < 4000
    assert section(prompt, "NEAR")[0].endswith('\nAnswer {"contains": "x"}'), "the end is kept, on one line"


# -- what is proposed ----------------------------------------------------------------------------------


def test_what_a_helpful_model_words_is_tested_and_claimed_in_our_words() -> None:
    # its words are of another kind than what is read off the samples, so hide that
    inv = held()
    found = propose(inv, ask=helpful)
    assert found.n_worded == 1
    assert found.refused == ()
    assert names(found) == ["token at 1"], "what is simple and says the same comes first"
    assert "starts with 'a'" in found[0].folded
    assert "A language model worded 1 of the candidates; refused: 0." in found.sentence


def test_a_list_of_words_that_no_token_says_is_found_by_a_model_alone() -> None:
    """Any of three of six first words is held: no token, place or pair says so."""
    rng = np.random.default_rng(0)
    colours, beasts = ["red", "blue", "green"], ["cat", "dog", "owl"]

    def draw(first: list[str], n: int) -> list[str]:
        return [f"{rng.choice(first)} {rng.choice(list('uvwxyz'))} ." for _ in range(n)]

    inv = told("red u .", draw(colours, 240), draw(colours + beasts, 400))
    line = json.dumps({"any_of": colours, "words": "\u202ea \u201ccolour\u201d\x1b[2J"})
    found = propose(inv, ask=lambda prompt: f"- prose\n{line},\n")
    assert names(found)[0] == "has one of 'red', 'blue', 'green'"
    (first,) = [p for p in found if p.source == "language model"]
    assert first.words == "has one of the words “red”, “blue”, “green”"
    assert first.said == 'a "colour"[2J'
    assert first.sentence.endswith('of P(X)’s. A language model called it “a "colour"[2J”.')
    assert first.sentence.startswith("Has one of the words")
    assert eval(first.feature.code, {"isn": isn}).labels(inv.texts) == first.feature.labels(inv.texts)
    without = propose(inv)
    assert not any(p.share > 0.99 and "contains" in p.feature.name for p in without)
    assert found.n_candidates == without.n_candidates + 1


def test_a_model_that_is_wrong_is_not_believed() -> None:
    wrong = propose(held(), ask=lambda prompt: '{"contains": "b", "words": "surely b"}\n{"token_at": [3, "c"]}')
    assert names(wrong) == ["token at 1"]
    assert wrong.n_worded == 2


@pytest.mark.parametrize("rotation", [None, 7])
def test_what_a_model_says_of_a_known_target_is_tested(rotation) -> None:
    known = copying_target("one of 3", 3, 3, [Copy(1)], (0.35,), rotation)
    inv = exactly(known, "a0 b0 c0 .", 0.35)
    lines = [
        '{"regex": "^\\\\S+ b0", "words": "the second is b0"}',
        '{"starts_with": "a0"}',
        '{"any_of": ["c0", "c1"]}',
    ]
    found = propose(inv, ask=lambda prompt: "\n".join(lines))
    assert (found.n_worded, len(found.refused)) == (3, 0)
    assert names(found) == ["token at 2"]
    assert "matches '^\\\\S+ b0'" in found[0].folded


@pytest.mark.parametrize("line", [
    {"contains": "saw"}, {"contains_word": "Mary"}, {"token_at": [1, "Mary"]}, {"token_at": [-1, "cats"]},
    {"starts_with": "Mary s"}, {"ends_with": " cats"}, {"regex": "[0-9]{1,2} c"}, {"length": {"at_least": 4}},
    {"length": {"at_most": 9}}, {"length": {"at_least": 5, "at_most": 5}}, {"length": {"at_least": 2, "at_most": 9}},
    {"any_of": ["Mary", "John", "Mary"]},
])  # fmt: skip
def test_each_form_is_read_and_has_code_that_makes_its_feature(line) -> None:
    candidate = read_line(json.dumps(line), Given(PICK, [PICK], 1))
    others = [PICK, InputText("John ran", ("<bos>", "John", " ran"), range(3))]
    again = eval(candidate.feature.code, {"isn": isn})
    assert again.name == candidate.feature.name
    assert again.labels(others) == candidate.feature.labels(others)
    assert candidate.source == "language model"
    assert candidate.about_length == ("length" in line)


def test_whole_words_are_whole() -> None:
    candidate = read_line('{"contains_word": "saw"}', Given(PICK, [], 1))
    assert candidate.feature("a seesaw") is False
    with pytest.raises(Unusable, match="does not hold"):
        read_line('{"contains_word": "cat"}', Given(PICK, [], 1))


# -- answers that are wrong or hostile -----------------------------------------------------------------

REFUSALS = {
    '{"contains": "dog"}': "it does not hold of the picked input",
    '{"token_at": [1, "John"]}': "another token there",
    '{"token_at": [99, "Mary"]}': "has 5 tokens",
    '{"token_at": [true, "Mary"]}': "no whole number",
    '{"token_at": [1e400, "Mary"]}': "no whole number",
    '{"token_at": [1.0, "Mary"]}': "no whole number",
    '{"token_at": "Mary"}': "no list of a position and a token",
    '{"contains": 5}': "it is a number, not a text",
    '{"contains": ["Mary"]}': "it is a list, not a text",
    '{"contains": ""}': "it is empty",
    '{"contains": "' + "x" * 300 + '"}': "longer than 200",
    '{"contains": "Mary", "words": 5}': '"words" is a number',
    '{"contains": "Mary", "code": "import os"}': "nothing else but words",
    "{\"python\": \"__import__('os').system('id')\"}": "one of the keys",
    '{"words": "nothing"}': "one of the keys",
    "{}": "one of the keys",
    '{"contains": "Mary"': "no JSON object",
    '{"contains": "Mary"} and more': "no JSON object",
    "{" * 900: "no JSON object",
    '{"a":' + "[" * 900: "no JSON object",
    '{"contains": "' + "x" * LINE + '"}': f"longer than {LINE}",
    '{"token_at": [' + "9" * 900 + ', "Mary"]}': "no whole number",
    '{"length": {}}': "a length has",
    '{"length": {"exactly": 5}}': "a length has",
    '{"length": 5}': "a length has",
    '{"length": {"at_least": -5}}': "no whole number",
    '{"length": {"at_least": 50}}': "it does not hold",
    '{"any_of": ["Mary"]}': "no list of 2 to",
    '{"any_of": ["Mary", 5]}': "a word is a number",
    '{"any_of": ' + json.dumps(["Mary"] * 17) + "}": "no list of 2 to",
    '{"regex": "("}': "no regular expression",
    '{"regex": "Mary(?R)?"}': "no regular expression",
    '{"regex": "((((M{99}){99}){99}){99})"}': "repeats more than",
    '{"regex": "M{1,99999999}"}': "other than numbers",
    '{"regex": "(?:Mary){e<=9}"}': "other than numbers",
    '{"regex": "[z]"}': "it does not hold",
}


@pytest.mark.parametrize(("line", "why"), REFUSALS.items())
def test_a_line_that_cannot_be_used_is_kept_with_the_reason(line, why) -> None:
    found, refused = _wording.worded(line, Given(PICK, [PICK], 1))
    assert found == []
    assert why in refused[0].reason
    assert len(refused[0].line) <= 200


def test_a_pattern_that_would_search_for_ever_is_refused_in_time() -> None:
    texts = [InputText("a" * 40 + f" b{i}", ("a",), (0,)) for i in range(300)]
    began = time.monotonic()
    lines = "\n".join('{"regex": "(a|aa)+ b0$|a' + "?" * 0 + f'{{{k}}}(a|aa|a)+$"}}' for k in range(3))
    found, refused = _wording.worded(lines, Given(texts[0], texts, 0))
    assert found == []
    assert [r.reason for r in refused] == ["the pattern takes too long"] * 3
    assert time.monotonic() - began < 20


def test_a_pattern_that_is_slow_on_the_other_half_alone_is_refused(monkeypatch) -> None:
    """On the first half it was quick: what then takes too long is not proposed, and nothing else is lost."""
    once = read_line('{"contains": "a"}', Given(InputText("a b c ."), [], 1))
    calls = []

    def late(text: str) -> bool:
        calls.append(text)
        if len(calls) > 64 + 128 + 2:  # half of the samples, half of P(X)'s inputs, and the picked input with either
            raise TimeoutError
        return text.startswith("a")

    slow = replace(once, feature=isn.Feature("slow", late))
    monkeypatch.setattr(proposals, "worded", lambda *_: ([slow], []))
    monkeypatch.setattr(proposals, "candidates_of", lambda *_, **__: [])
    inv = told("a b c .", [f"{p[:-1]}{i} ." for i, p in enumerate(HELD * 8)],
               [f"{p[:-1]}{i} ." for i, p in enumerate(PRIOR * 4)])  # fmt: skip
    found = propose(inv, ask=lambda prompt: "")
    assert len(found) == 0
    assert (found.n_tested, len(found.refused)) == (1, 1)
    assert "it could not be tested" in found.refused[0].reason
    monkeypatch.setattr(proposals, "worded", lambda *_: ([replace(slow, source="features")], []))
    calls.clear()
    with pytest.raises(FeatureError):
        propose(inv, ask=lambda prompt: "")


@pytest.mark.parametrize("answer", [
    "\n".join('{"contains": "a"}' for _ in range(10_000)),
    "\n".join(f'{{"contains": "{i}"}}' for i in range(10_000)),
    "x" * 10_000_000,
    "\n" * 10_000_000,
    "{" * 1_000_000,
    '{"words": "' + "\u202e" * 100_000,
    "__import__('os').system('touch /tmp/owned')",
    "",
    "\x00\x1b]0;title\x07\ud800",
])  # fmt: skip
def test_a_huge_or_foreign_answer_is_bounded(answer) -> None:
    began = time.monotonic()
    found = propose(held(), ask=lambda prompt: answer)
    assert time.monotonic() - began < 10
    assert names(found) == ["token at 1"]
    assert 0 < len(found.refused) <= REFUSED + 3
    assert found.n_worded <= MOST
    shown = " ".join([str(found), *map(str, found.refused)])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert all(len(r.line) + len(r.reason) <= 400 for r in found.refused)
    if len(answer) > ANSWER:
        assert "only the first" in found.refused[-1].reason


def test_no_more_than_a_few_hypotheses_of_one_answer_are_looked_at() -> None:
    lines = [json.dumps({"length": {"at_most": 10 + i}}) for i in range(LINES + 50)]
    found, refused = _wording.worded("\n".join(lines), Given(PICK, [PICK], 1))
    assert len(found) == MOST
    assert refused[0].reason == f"more than {MOST} hypotheses"
    assert [str(r) for r in refused[REFUSED:]] == [
        f"{LINES - MOST - REFUSED} more lines were refused", "50 more lines were not read",
    ]  # fmt: skip


def test_a_model_that_fails_is_named() -> None:
    def broken(prompt: str) -> str:
        raise ConnectionError("no \x1b[31mnet")

    for ask, says in (
        (broken, "broken) raised ConnectionError: no [31mnet"),
        (lambda prompt: None, "returned a NoneType, not a str"),
        (lambda prompt: b"{}", "returned a bytes, not a str"),
        (lambda: "", "raised TypeError"),
        ("gpt", "ask is a str"),
    ):
        with pytest.raises(InvalidArgument) as raised:
            propose(held(), ask=ask)
        assert says in str(raised.value)
        assert raised.value.hint

    def stopped(prompt: str) -> str:
        raise Cancelled

    with pytest.raises(Cancelled):
        propose(held(), ask=stopped)


def test_no_model_is_asked_where_nothing_can_be_proposed() -> None:
    calls = []
    found = propose(replace(held(), is_constant=True), ask=lambda prompt: calls.append(prompt) or "")
    assert not calls
    assert found.doubt


# -- nulls ------------------------------------------------------------------------------------------


def junk(prompt: str) -> str:
    """A model that proposes whatever goes best with the samples it sees, of many pieces of text."""
    picked, near, usual = (section(prompt, name) for name in ("PICKED", "NEAR", "USUAL"))
    pieces = {picked[0][i : i + n] for n in (2, 3, 5, 7) for i in range(len(picked[0]) - n)}

    def rise(piece: str) -> float:
        return float(np.mean([piece in x for x in near]) - np.mean([piece in x for x in usual]))

    best = sorted(pieces, key=lambda piece: (-rise(piece), piece))[:10]
    words = picked[0].split()
    lists = [{"any_of": [words[i], words[j], f"o{k}"]} for i, j, k in ((0, 1, 2), (3, 4, 5))]
    return "\n".join(map(json.dumps, [*({"contains": piece, "words": "surely"} for piece in best), *lists]))


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_junk_that_happens_to_hold_on_one_half_is_not_proposed(spread) -> None:
    tested, wrong, worded = 0, 0, 0
    for seed in range(60):
        found = propose(noise(null, seed, spread=spread), ask=junk)
        worded += found.n_worded
        tested += found.n_tested
        wrong += len(found) > 0
    assert worded > 5 * 60
    assert tested > 0
    assert wrong <= LEVEL * 60, "at most the level, of 60"
