"""Features: labels, their validation, the ready-made ones and how they compose."""

from __future__ import annotations

import copy
import doctest
import importlib
import pickle
import pkgutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inversescope_nb import features
from inversescope_nb.errors import Cancelled, FeatureError, InvalidArgument
from inversescope_nb.features import (
    Feature,
    InputText,
    as_features,
    contains,
    feature,
    length,
    n_tokens,
    pair,
    python,
    regex,
    slot,
    token_at,
)
from inversescope_nb.prompts import PromptDistribution

MODULES = [features.__name__, *(f"{features.__name__}.{m.name}" for m in pkgutil.iter_modules(features.__path__))]
TEXTS = ["", "a", "b", "a b", "b 7", "c a", "a"]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_features_load_nothing_heavy() -> None:
    heavy = ["torch", "pandas", "transformers"]
    code = f"import sys, inversescope_nb.features; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_is_a_feature_maker_and_no_module_hides_one() -> None:
    assert all(callable(getattr(features, name)) for name in features.__all__)


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


def made_of(made: Feature) -> Feature:
    """What the code of a feature makes."""
    return eval(made.code, {"isn": SimpleNamespace(features=features)})


# -- many inputs at once ---------------------------------------------------------------------------


def test_a_batch_function_is_called_once_for_all_and_alone_serves_one() -> None:
    calls = []

    def lengths(texts):
        calls.append(len(texts))
        return [len(text) or None for text in texts]

    both = Feature("length", lambda text: len(text) or None, batch=lengths)
    alone = Feature("length", batch=lengths)
    assert (
        both.labels(TEXTS) == alone.labels(iter(TEXTS)) == [alone(text) for text in TEXTS] == [both(t) for t in TEXTS]
    )
    assert calls == [len(TEXTS)] * 2 + [1] * len(TEXTS)
    assert both.labels([]) == alone.labels([]) == []
    assert alone.undefined_in(TEXTS) == [""]


@given(st.lists(st.sampled_from(TEXTS), max_size=12))
def test_labels_do_not_depend_on_what_else_is_asked(texts: list[str]) -> None:
    is_a = contains("a")
    for made in (is_a, is_a & ~contains("b"), is_a | contains("7"), pair(regex("[ab]"), is_a), length("words")):
        one_by_one = [made(text) for text in texts]
        assert made.labels(texts) == one_by_one
        assert made.labels(texts[::-1]) == one_by_one[::-1]
        assert made.undefined_in(texts) == [t for t, label in zip(texts, one_by_one, strict=True) if label is None]


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ([1], "returned 1 labels for 3 texts"),
        ([1, 2, 3, 4], "returned 4 labels for 3 texts"),
        (None, "something that is no list"),
        ("abc", "something that is no list"),
        (7, "something that is no list"),
        ([1, [2], 3], "returned [2] (list) for the text 'y'"),
        (np.array([1.0, 2.0, np.nan]), "for the text 'z'"),
    ],
)
def test_what_a_batch_returns_is_checked_label_by_label(returned, says) -> None:
    with pytest.raises(FeatureError) as e:
        Feature("mine", batch=lambda texts: returned).labels(["x", "y", "z"])
    assert "'mine'" in str(e.value)
    assert says in str(e.value)


def test_an_exception_inside_a_batch_names_the_text_that_raises() -> None:
    strict = Feature("strict", batch=lambda texts: [text.index("a") for text in texts])
    with pytest.raises(FeatureError, match="'strict' raised ValueError: substring not found, on the text 'xyz'") as e:
        strict.labels(["a"] * 9 + ["xyz"] + ["ba"] * 9)
    assert isinstance(e.value.__cause__, ValueError)
    with pytest.raises(FeatureError, match="on the text 'q'"):
        (~strict).labels(["q"])

    def at_most_one(texts):
        if len(texts) > 2:
            raise MemoryError("too many")
        return [1] * len(texts)

    with pytest.raises(FeatureError, match="MemoryError: too many, on 4 texts together"):
        Feature("small", batch=at_most_one).labels("abcd"[i] for i in range(4))


def test_a_stop_inside_a_batch_is_no_error_of_the_feature() -> None:
    def stopped(texts):
        raise Cancelled

    with pytest.raises(Cancelled):
        Feature("f", batch=stopped).labels(["a", "b"])


def test_a_batch_function_that_changes_its_list_mixes_nothing_up() -> None:
    def greedy(texts):
        found = [len(text) for text in texts]
        texts.clear()
        return found

    assert Feature("f", batch=greedy).labels(["a", "bb"]) == [1, 2]


@pytest.mark.parametrize("more", [{}, {"batch": 5}, {"fn": str, "undefined": None}])
def test_a_feature_needs_one_function_and_words(more) -> None:
    with pytest.raises(InvalidArgument, match="feature 'f'"):
        Feature("f", **more)


def test_what_is_no_text_has_no_label() -> None:
    for call in (contains("a"), lambda text: contains("a").labels(["a", text])):
        with pytest.raises(InvalidArgument, match="a int is no text"):
            call(5)


def test_every_ready_made_feature_says_where_it_is_undefined() -> None:
    said = {
        contains("a"): "",
        length("words"): "",
        token_at(2): "inputs of fewer than 3 tokens",
        token_at(-4): "inputs of fewer than 4 tokens",
        token_at(0): "inputs without a token",
        n_tokens(): "inputs that have no tokens, or came without them",
        regex("b+"): "texts without a match of b+",
        python("x[0]"): "inputs on which the code raises, or returns None",
    }
    assert {made.name: made.undefined for made in said} == {made.name: words for made, words in said.items()}


# -- compositions ----------------------------------------------------------------------------------

A, B, DIGIT = (
    contains("a"),
    contains("b"),
    Feature("7", lambda text: "7" in text or None, undefined="texts without a 7"),
)


def test_and_or_not_by_hand() -> None:
    texts = ["ab", "a", "b", ""]
    assert (A & B).labels(texts) == [True, False, False, False]
    assert (A | B).labels(texts) == [True, True, True, False]
    assert (~A).labels(texts) == [False, False, True, True]


def test_a_composition_is_undefined_where_any_part_is_even_where_the_others_decide() -> None:
    assert (A & DIGIT).labels(["b", "b 7", "a 7"]) == [None, False, True]
    assert (A | DIGIT).labels(["a", "a 7"]) == [None, True]
    assert (~DIGIT).labels(["", "7"]) == [None, False]
    assert (A & DIGIT).undefined == (~DIGIT).undefined == "texts without a 7"
    assert (A & B).undefined == ""
    either = pair(token_at(2), DIGIT, ~DIGIT)
    assert either.undefined == "inputs of fewer than 3 tokens, or texts without a 7"


@given(st.lists(st.sampled_from([*TEXTS, "7", "a 7", "ab 7"]), max_size=8))
def test_de_morgan(texts: list[str]) -> None:
    for x, y in ((A, B), (A, DIGIT), (DIGIT, ~B)):
        assert (~(x & y)).labels(texts) == (~x | ~y).labels(texts)
        assert (~(x | y)).labels(texts) == (~x & ~y).labels(texts)
        assert (~~x).labels(texts) == x.labels(texts)
        assert ((x & y) & A).labels(texts) == (x & (y & A)).labels(texts)


def test_truth_values_of_numpy_are_truth_values_and_the_result_is_python_s() -> None:
    numpy_s = Feature("np", lambda text: np.bool_("a" in text))
    assert [type((numpy_s & A)("a")), type((~numpy_s)("a")), type((numpy_s | A)("b"))] == [bool] * 3


@pytest.mark.parametrize("label", ["yes", 1, 0, (True,)])
def test_labels_that_say_neither_yes_nor_no_are_refused(label) -> None:
    other = Feature("other", lambda text: label)
    for made in (A & other, other | A, ~other, DIGIT & other):
        for ask in (made, lambda text, made=made: made.labels([text])):
            with pytest.raises(FeatureError, match=r"'other' says .* of the text 'x': . needs True or False") as e:
                ask("x")
            assert "pair(a, b)" in e.value.hint


def test_names_and_code_of_compositions_keep_their_brackets() -> None:
    a, b, c = contains("a"), contains("b"), contains("c")
    names = {
        a & b & c: "contains 'a' & contains 'b' & contains 'c'",
        a & (b & c): "contains 'a' & contains 'b' & contains 'c'",
        (a | b) & c: "(contains 'a' | contains 'b') & contains 'c'",
        a | b & c: "contains 'a' | (contains 'b' & contains 'c')",
        ~(a & b): "not (contains 'a' & contains 'b')",
        ~a & b: "(not contains 'a') & contains 'b'",
        ~~a: "not (not contains 'a')",
        pair(a, b | c): "(contains 'a', contains 'b' | contains 'c')",
        pair(pair(a, b), c): "((contains 'a', contains 'b'), contains 'c')",
    }
    assert [made.name for made in names] == list(names.values())
    for made in names:
        again = made_of(made)
        assert again.name == made.name
        assert again.labels(["abc", "ab", "c", ""]) == made.labels(["abc", "ab", "c", ""])
    assert ((a | b) & c).code == (
        "(isn.features.contains('a') | isn.features.contains('b')) & isn.features.contains('c')"
    )
    assert (a & DIGIT).code == pair(DIGIT, a).code == "", "a part without code"


def test_a_pair_is_undefined_where_either_is() -> None:
    both = pair(regex("[a-z]+"), regex("[0-9]+"))
    assert both.labels(["abc 12", "abc", "12"]) == [("abc", "12"), None, None]
    assert both("abc 12") == ("abc", "12")
    assert both.name == "(regex [a-z]+, regex [0-9]+)"
    assert pair(str.upper, A)("a") == ("A", True), "a function is a feature"


@pytest.mark.parametrize(("given", "says"), [((), "0 features"), ((A,), "1 feature"), ((A, "b"), "'b' is no feature")])
def test_a_pair_is_of_two_features_or_more(given, says) -> None:
    with pytest.raises(InvalidArgument, match=says):
        pair(*given)


def test_only_features_are_composed() -> None:
    with pytest.raises(TypeError):
        A & "b"
    with pytest.raises(TypeError):
        A | str.isupper


def shouted(text: str) -> bool:
    return text.isupper()


def test_what_is_made_of_plain_functions_is_equal_and_can_be_pickled() -> None:
    loud = Feature("loud", shouted, "capitals", undefined="")
    made = pair(loud & ~loud, loud | loud)
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert again.labels(["A", "a"]) == made.labels(["A", "a"]) == [(False, True), (False, False)]
    assert copy.copy(contains("a") & loud)("A") is False
    assert hash(loud & ~loud) == hash(loud & ~loud)


# -- the decorator and the ready-made ones ---------------------------------------------------------


def test_the_decorator_takes_words_and_a_function_of_many() -> None:
    @feature("size", undefined="the empty text", batch=True)
    def _(texts):
        """How long it is."""
        return [len(text) or None for text in texts]

    assert (_.name, _.description, _.undefined, _.fn) == ("size", "How long it is.", "the empty text", None)
    assert _.labels(["ab", ""]) == [2, None]
    with pytest.raises(InvalidArgument, match="was put on a int"):
        feature(5)


def test_length_counts_what_it_is_asked_to() -> None:
    text = InputText("a bc", ("<bos>", "a", "bc"), (0, 1, 2))
    assert [length(unit)(text) for unit in ("tokens", "words", "characters")] == [3, 2, 4]
    assert [length(unit)("") for unit in ("tokens", "words", "characters")] == [None, 0, 0]
    assert length("tokens").code == n_tokens().code
    assert made_of(length("words"))(" a  b ") == 2
    with pytest.raises(InvalidArgument, match="Did you mean 'words'"):
        length("word")


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


@pytest.mark.parametrize(
    "pattern", ["(((a{99}){99}){99}){99}", "(a{999}){,9999}", "a{1000000}", "((a{9,999}){999}){2}"]
)
def test_a_pattern_that_would_take_all_memory_is_refused_before_it_is_compiled(pattern) -> None:
    with pytest.raises(InvalidArgument, match="repeats more than 100,000 times"):
        regex(pattern)


def test_repeats_that_people_write_are_read() -> None:
    assert regex(r"\d{4}-\d{2}-\d{2}")("on 2024-05-06") == "2024-05-06"
    assert regex("a{1,1000}")("caat") == "aa"
    assert regex("{x}")("{x}") == "{x}"
