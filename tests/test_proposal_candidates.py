"""Candidates of proposals beyond single tokens: rows of tokens, bounds of the length, aligned tokens; the log-odds."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from test_proposals import names, told

import inversescope_nb as isn
from inversescope_nb._candidates import ROW, candidates_of
from inversescope_nb._halves import log_odds_ratio
from inversescope_nb._token_candidates import bounds
from inversescope_nb.features import InputText, standing_for
from inversescope_nb.proposals import LEVEL, propose


def text(words: str) -> InputText:
    return InputText(words, ("<bos>", *words.split()), range(len(words.split()) + 1))


# -- the log-odds -----------------------------------------------------------------------------------


def test_the_log_odds_of_a_table_are_those_worked_out_by_hand() -> None:
    # 9 of 10 against 4 of 20, a half added: (9.5 / 1.5) / (4.5 / 16.5)
    odds, low, high = log_odds_ratio(0.9, 10, 0.2, 20)
    assert odds == pytest.approx(math.log(9.5 * 16.5 / (1.5 * 4.5)))
    half = 1.959964 * math.sqrt(1 / 9.5 + 1 / 1.5 + 1 / 4.5 + 1 / 16.5)
    assert (low, high) == pytest.approx((odds - half, odds + half))
    assert all(math.isfinite(end) for end in log_odds_ratio(1.0, 10, 0.0, 20)), "counts of 0"
    assert log_odds_ratio(0.5, 8, 0.5, 8)[0] == 0


def test_a_proposal_has_its_log_odds_at_effective_counts() -> None:
    prior = [f"{a} {b} {c} ." for a in "abcd" for b in "abcd" for c in "abcd"]
    found = propose(told("a b c .", [p for p in prior if p[0] == "a"] * 8, prior * 4))
    (first,) = found
    n, m, other = found.ess, found.n_prior, first.prior
    odds = math.log((n + 0.5) * ((1 - other) * m + 0.5) / (0.5 * (other * m + 0.5)))
    spread = math.sqrt(1 / (n + 0.5) + 1 / 0.5 + 1 / (other * m + 0.5) + 1 / ((1 - other) * m + 0.5))
    z = NormalDist().inv_cdf(1 - LEVEL / found.n_tested / 2)
    assert first.log_odds == pytest.approx(odds)
    assert (first.log_odds_low, first.log_odds_high) == pytest.approx((odds - z * spread, odds + z * spread))
    assert first.source == "samples"
    assert {"log_odds", "log_odds_low", "log_odds_high", "source", "said"} <= set(found.to_frame().columns)


# -- rows -------------------------------------------------------------------------------------------


def shuffled(always: list[str], n: int, seed: int, among: str = "abcdefgh", size: int = 4) -> list[str]:
    """Texts of letters in any order, in which the rows stand as they are, at any place."""
    rng = np.random.default_rng(seed)
    rest = [c for c in among if c not in "".join(always)]
    free = size - sum(len(row.split()) for row in always)
    return [" ".join(rng.permutation([*always, *rng.choice(rest, free, replace=False)])) for _ in range(n)]


def test_rows_are_as_many_as_tokens_and_made_of_the_two_shorter_ones() -> None:
    pick = text("a b c d e")
    found = {c.feature.name: c for c in candidates_of(pick, (), [pick], first=1)}
    rows = [c for c in found.values() if c.ordered]
    assert sorted(c.feature.name for c in rows) == sorted(
        f"contains {row!r}" for row in ("a b", "b c", "c d", "d e", "a b c", "b c d", "c d e", "a b c d", "b c d e")
    )
    assert ROW == 4
    three, two = found["contains 'a b c'"], found["contains 'a b'"]
    assert [part.feature.name for part in three.parts] == ["contains 'a b'", "contains 'b c'"]
    assert [[part.feature.name for part in group] for group in three.beyond] == [["contains 'a b'"], ["contains 'b c'"]]
    assert [len(group) for group in two.beyond] == [2], "two in a row must add their order to both being there"
    assert three.words == "has “a␣b␣c”"
    assert found["contains 'a b c d'"].has_part(two)


def test_rows_are_written_as_the_picked_input_writes_them() -> None:
    pick = InputText("43 plus", ("<bos>", "4", "3", " plus", " plus"), range(5))
    found = [c.feature.name for c in candidates_of(pick, (), [pick], first=1) if c.ordered]
    assert found == ["contains '43'", "contains '3 plus'", "contains '43 plus'"], "no row of what is not written"


def test_a_row_that_is_held_is_proposed_in_one() -> None:
    """Three tokens stand in a row, at any place; P(X) has them in any order."""
    prior = shuffled([], 400, 0, size=6)
    inv = told("d a b c e f", shuffled(["a b c"], 200, 1, size=6), prior)
    for seed in range(3):
        found = propose(inv, seed=seed)
        assert names(found) == ["contains 'a b c'"], found
        assert found[0].share == 1
        assert "contains 'a b'" in found[0].folded


def test_a_longer_row_that_adds_nothing_is_not_proposed() -> None:
    """Two tokens are held in a row; what follows them follows as often as anything does."""
    prior = shuffled([], 400, 0, size=6)
    inv = told("d a b c e f", shuffled(["a b"], 200, 1, size=6), prior)
    for seed in range(3):
        found = propose(inv, seed=seed)
        assert names(found)[0] == "contains 'a b'", found
        assert not [name for name in names(found) if len(name) > len("contains 'a b'")], "no longer row"


def test_a_row_whose_last_token_always_follows_is_explained_by_the_shorter_one() -> None:
    prior = [p.replace("b", "b z") for p in shuffled([], 400, 0, size=6)]
    samples = [p.replace("b", "b z") for p in shuffled(["a b"], 200, 1, size=6)]
    found = propose(told("d a b z c e f", samples, prior))
    # an input with a b is longer by one; the samples all have it
    assert names(found) == ["contains 'a b'", "number of tokens"], found


# -- lengths ----------------------------------------------------------------------------------------


def test_a_bound_of_the_length_is_proposed_where_it_is_held() -> None:
    rng = np.random.default_rng(0)

    def draw(lengths: list[int], n: int) -> list[str]:
        return [" ".join(rng.choice(list("abcdefgh"), rng.choice(lengths))) for _ in range(n)]

    found = propose(told("a b c d e f", draw([5, 6, 7], 240), draw([2, 3, 4, 5, 6, 7], 400)))
    assert names(found) == ["at least 6 tokens"], found
    assert found[0].words == "has at least 6 tokens (BOS counted)"
    exact = propose(told("a b c d e f", draw([6], 240), draw([2, 3, 4, 5, 6, 7], 400)))
    assert names(exact) == ["number of tokens"], "the exact length explains its bounds"


def test_no_bound_says_what_all_inputs_have_or_the_length_itself() -> None:
    assert bounds(6, [6, 6]) == []
    assert bounds(4, [4, 6]) == [], "at most 4 is just 4 there"
    assert [bound.name for bound in bounds(5, [4, 5, 6])] == ["at least 5 tokens", "at most 5 tokens"]


# -- aligned tokens ---------------------------------------------------------------------------------


def test_the_token_that_stands_for_another_is_found_where_lengths_vary() -> None:
    """A name between any number of words in front and behind: it is at no fixed place from either end."""
    rng = np.random.default_rng(0)
    many = list("abcdefgh")

    def draw(first: str, n: int) -> list[str]:
        """Both names are in every input: only which of them saw the other differs."""
        rows = []
        for _ in range(n):
            one = first or rng.choice(["Mary", "John"])
            front, back = (" ".join(rng.choice(many, rng.integers(1, 5))) for _ in range(2))
            other = "John" if one == "Mary" else "Mary"
            rows.append(f"{front} then {one} saw {rng.choice(many)} and {other} {back} .")
        return rows

    inv = told("a b then Mary saw c and John d .", draw("Mary", 240), draw("", 400))
    found = propose(inv)
    held = {name for p in found for name in (p.feature.name, *p.folded)}
    assert any("standing for token" in name for name in held), held
    assert all(p.share > 0.9 for p in found)
    pick = inv.text
    aligned = next(c for c in candidates_of(InputText(pick, inv.tokens, inv.prompt_ids), (), inv.prior_texts, first=1)
                   if "standing for token 4" in c.feature.name)  # fmt: skip
    assert aligned.words == "the token that stands for “Mary” is “Mary”"
    assert aligned.feature(text("x y z then Mary saw c and John d .")) == "Mary"
    assert aligned.feature(text("x y z then Ann saw c and John d .")) == "Ann"
    again = eval(aligned.feature.code, {"isn": isn})
    assert again.labels(inv.texts) == aligned.feature.labels(inv.texts)


def test_an_aligned_token_alone_is_proposed_where_neither_presence_nor_place_says_it() -> None:
    """The third of four parts is held; parts in front and behind vary in length, and all letters are everywhere."""
    rng = np.random.default_rng(1)

    def draw(third: str, n: int) -> list[str]:
        rows = []
        for _ in range(n):
            front, back = (" ".join(rng.choice(["p", "q"], rng.integers(1, 6))) for _ in range(2))
            x = third or rng.choice(["p", "q"])
            rows.append(f"{front} ( {x} ) {back} .")
        return rows

    found = propose(told("p q ( p ) q p q .", draw("p", 300), draw("", 400)))
    held = {name for p in found for name in (p.feature.name, *p.folded)}
    assert any(name in held for name in ("contains '( p )'", "token standing for token 4, 'p'")), held


def test_nothing_is_aligned_where_all_inputs_have_one_length() -> None:
    pick = text("a b c d")
    found = candidates_of(pick, (), [text("a c b d")], first=1)
    assert not [c for c in found if "standing" in c.feature.name]
    more = candidates_of(pick, (), [text("a b c")], first=1)
    assert len([c for c in more if "standing" in c.feature.name]) == 3, "all but the last, which is the last everywhere"


def test_what_stands_for_nothing_is_undefined() -> None:
    assert standing_for(("<bos>", "a", "b", "c"), 1)(text("c")) is None
