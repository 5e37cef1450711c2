"""Which token stands where: by hand, and what holds of any two inputs."""

from __future__ import annotations

import doctest
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inversescope_nb import alignment
from inversescope_nb.alignment import align, compare, random_like

inputs = st.lists(st.sampled_from("abcd"), max_size=9)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(alignment).failed == 0


@pytest.mark.parametrize(
    ("picked", "other", "expected"),
    [
        ("a b c", "x y z", [0, 1, 2]),  # one length: place by place, whatever stands there
        ("a b c", "c a b", [0, 1, 2]),
        ("a b c d", "a b d", [0, 1, 3]),
        ("a b d", "a b c d", [0, 1, None, 2]),
        ("a b c", "x a b c", [None, 0, 1, 2]),
        ("B a b c =", "B x c =", [0, 2, 3, 4]),  # x for the nearer of the two that it replaces
        ("B x c =", "B a b c =", [0, None, 1, 2, 3]),
        ("B a a =", "B a =", [0, 2, 3]),  # of two equal matches, the one nearer to the end
        ("B a =", "B a x a =", [0, None, None, 1, 2]),
        ("B a b c d q", "B c z", [0, 3, 5]),  # the last tokens stand for each other though they differ
        ("B a b", "B", [2]),  # and more so than the first ones
        ("B", "B a b", [None, None, 0]),
        ("B a b =", "C b =", [1, 2, 3]),  # first ones that differ are no BOS: paired from the right
        ("", "a b", [None, None]),
        ("a b", "", []),
        ("", "", []),
    ],
)
def test_by_hand(picked, other, expected) -> None:
    assert align(picked.split(), other.split()) == expected


def test_a_long_input_has_no_token_too_frequent_to_match() -> None:
    picked = random.Random(0).choices("abc", k=300)  # difflib takes all of them for junk from 200 tokens on
    other = picked[:100] + picked[130:]
    assert [picked[i] for i in align(picked, other)] == other


@given(inputs, inputs)
def test_indices_rise_and_the_last_stand_for_each_other(picked, other) -> None:
    found = align(picked, other)
    assert len(found) == len(other)
    pairs = [i for i in found if i is not None]
    assert all(a < b for a, b in pairwise(pairs))
    assert all(0 <= i < len(picked) for i in pairs)
    if picked and other:
        assert found[-1] == len(picked) - 1
        if min(len(picked), len(other)) > 1 and picked[0] == other[0]:
            assert found[0] == 0


@given(inputs)
def test_an_input_stands_for_itself_and_what_is_put_in_front_of_it_for_nothing(ids) -> None:
    assert align(ids, ids) == list(range(len(ids)))
    assert align(["B", *ids, "="], ["B", "new", *ids, "="]) == [0, None, *range(1, len(ids) + 2)]


@given(inputs, inputs)
def test_names_of_tokens_do_not_matter(picked, other) -> None:
    renamed = [["dcba".index(t) for t in ids] for ids in (picked, other)]
    assert align(*renamed) == align(picked, other)


@given(inputs, st.lists(inputs, max_size=4))
def test_comparing_many_is_aligning_each(picked, others) -> None:
    places, same, anywhere = compare(picked, others)
    assert places.shape == same.shape == anywhere.shape == (len(others), len(picked))
    for row, other in enumerate(others):
        found = align(picked, other)
        for i, token in enumerate(picked):
            at = found.index(i) if i in found else -1
            assert places[row, i] == at
            assert same[row, i] == (at >= 0 and other[at] == token)
            assert anywhere[row, i] == (token in other)


@given(st.lists(inputs, max_size=4), st.lists(inputs, min_size=1, max_size=4), st.integers(0, 1))
def test_random_inputs_have_the_lengths_of_some_and_the_tokens_of_others(some, others, first) -> None:
    others = [[*(["B"] * first), "x", *ids, "="] for ids in others]
    some = [[*(["B"] * first), *ids] for ids in some]
    found = random_like(some, others, first=first)
    assert [len(ids) for ids in found] == [len(ids) for ids in some]
    middles = {token for ids in others for token in ids[first:-1]}
    for ids in found:
        assert ids[:first] == ["B"] * first
        assert set(ids[first:-1]) <= middles
        assert ids[first:] == [] or ids[-1] == "="
    assert random_like(some, others, first=first) == found
