"""Features: labels, their validation, the ready-made ones and how they compose."""

from __future__ import annotations

import copy
import doctest
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inversescope_nb import features
from inversescope_nb.errors import FeatureError, InvalidArgument
from inversescope_nb.features import Feature, InputText, as_features, contains, feature, regex, slot, token_at
from inversescope_nb.prompts import PromptDistribution


def test_docstring_examples_run() -> None:
    assert doctest.testmod(features).failed == 0


def test_an_input_text_is_a_string_that_keeps_its_tokens() -> None:
    text = InputText("a b", tokens=["<bos>", "a", "b"], token_ids=np.array([0, 5, 6]))
    assert text == "a b"
    assert hash(text) == hash("a b")
    for same in (pickle.loads(pickle.dumps(text)), copy.deepcopy(text)):
        assert (same, same.tokens, same.token_ids) == (text, ("<bos>", "a", "b"), (0, 5, 6))


def test_input_text_from_ids_asks_the_model_and_leaves_bos_to_the_tokens() -> None:
    class Model:
        bos_id = 0

        def decode(self, ids):
            return " ".join(self.token_strings(ids))

        def token_strings(self, ids):
            return [f"t{i}" for i in ids]

    text = InputText.from_ids([0, 3, 4], Model())
    assert (text, text.tokens, text.token_ids) == ("t3 t4", ("t0", "t3", "t4"), (0, 3, 4))
    assert InputText.from_ids([3, 0], Model()) == "t3 t0"


@pytest.mark.parametrize("label", [[1], {"a": 1}, {1}, np.array([1]), torch.ones(1), torch.ones(2), float("nan")])
def test_what_is_no_label_is_refused_with_the_feature_and_the_text(label) -> None:
    with pytest.raises(FeatureError) as e:
        Feature("my feature", lambda text: label)("some text")
    assert all(part in str(e.value) for part in ("'my feature'", "'some text'", "None"))


@pytest.mark.parametrize("label", ["a", 1, True, ("a", 2), frozenset({1}), np.int64(3), np.str_("x"), np.bool_(0)])
def test_what_is_a_label_passes_through(label) -> None:
    assert Feature("f", lambda text: label)("t") == label


def test_none_means_undefined() -> None:
    assert Feature("f", lambda text: None)("t") is None


def test_an_exception_inside_a_feature_is_wrapped_once_even_in_a_composition() -> None:
    broken = Feature("broken", lambda text: text.split()[7])
    with pytest.raises(FeatureError, match="'broken' raised IndexError") as e:
        (contains("a") & (broken & contains("b")))("x" * 500)
    assert isinstance(e.value.__cause__, IndexError)
    assert len(str(e.value)) < 300, "a long text is shortened"


@pytest.mark.parametrize(("name", "fn"), [("", str), ("  ", str), (3, str), ("f", "no function")])
def test_a_feature_needs_a_name_and_a_function(name, fn) -> None:
    with pytest.raises(InvalidArgument):
        Feature(name, fn)


def test_a_pair_is_undefined_where_either_is() -> None:
    both = regex("[a-z]+") & regex("[0-9]+")
    assert both("abc 12") == ("abc", "12")
    assert both("abc") is None
    assert both("12") is None
    assert both.name == "regex [a-z]+ & regex [0-9]+"


def test_the_decorator_works_bare_and_with_a_name() -> None:
    @feature
    def last_word(text):
        """The last word.

        More."""
        return text.split()[-1]

    @feature("shouting", description="all capitals")
    def other(text):
        return text.isupper()

    @feature()
    def third(text):
        return 1

    assert (last_word.name, last_word.description) == ("last word", "The last word.")
    assert last_word("a b") == "b"
    assert (other.name, other.description, other("A"), third.name) == (
        "shouting",
        "all capitals",
        True,
        "third",
    )


@given(st.text(min_size=1, max_size=5), st.text(max_size=20))
def test_contains_agrees_with_in(part: str, text: str) -> None:
    assert contains(part)(text) is (part in text)


def test_contains_whole_words_and_ignoring_case() -> None:
    assert contains("C++", whole_word=True)("C++ and C") is True
    assert contains("John", whole_word=True)("Johnson") is False
    assert contains("john", ignore_case=True)("John") is True
    with pytest.raises(InvalidArgument):
        contains("")


def test_token_at_counts_from_both_ends_and_needs_tokens() -> None:
    text = InputText("a b", ("<bos>", "a", "b"), (0, 1, 2))
    assert [token_at(p)(text) for p in (0, 2, -1, -3, 3, -4)] == ["<bos>", "b", "b", "<bos>", None, None]
    with pytest.raises(FeatureError, match="without tokens"):
        token_at(0)("a plain string")


def test_regex_checks_its_pattern_and_group_at_once() -> None:
    assert regex(r"(?P<year>\d{4})", "year")("in 1984") == "1984"
    assert regex(r"(a)|(b)", 1)("b") is None, "a group that took no part is undefined"
    several = regex(r"(\d) . (\d)", (1, 2))
    assert (several("4 + 7"), several("4"), several.name) == (("4", "7"), None, r"regex (\d) . (\d) [1, 2]")
    assert eval(several.code, {"isn": SimpleNamespace(features=features)})("4 + 7") == ("4", "7")
    assert regex(r"(a)|(b)", (1, 2))("b") is None
    assert regex(r"(a)", (1,))("a") == ("a",)
    for wrong in ((1, 3), ()):
        with pytest.raises(InvalidArgument, match="no group"):
            regex(r"(\d) . (\d)", wrong)
    with pytest.raises(InvalidArgument, match="no regular expression"):
        regex("(")
    with pytest.raises(InvalidArgument, match="no group 2"):
        regex("(a)", 2)


def test_slot_reads_a_label_off_the_distribution() -> None:
    class Prompts(PromptDistribution):
        name = "names"

        def parse(self, text):
            return {"subject": text.split()[0]} if " left" in text else None

    f = slot(Prompts(), "subject")
    assert (f("John left"), f("nonsense"), f.name) == ("John", None, "subject")
    assert slot(Prompts(), "object")("John left") is None


def test_as_features_takes_one_several_or_a_mapping_and_refuses_double_names() -> None:
    a, b = contains("a"), contains("b")
    assert as_features(a) == as_features({"x": a}) == (a,)
    assert as_features([a, b]) == (a, b)

    def plain(text):
        return 1

    assert as_features([plain])[0].name == "plain"
    with pytest.raises(InvalidArgument, match="several features are named \"contains 'a'\""):
        as_features([a, contains("a")])
    with pytest.raises(InvalidArgument, match="no feature"):
        as_features([])


@pytest.mark.parametrize("texts", ["one text", 5])
def test_labels_are_of_a_list_of_texts(texts) -> None:
    with pytest.raises(InvalidArgument, match="give a list of texts"):
        contains("a").labels(texts)
