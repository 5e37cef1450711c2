"""Features of numbers, lexicons, slots, tables and classifiers."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import word_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from small import byte_level_tokenizer, model_for

import inversescope_nb as isn
from inversescope_nb import features
from inversescope_nb.errors import FeatureError, InvalidArgument
from inversescope_nb.features import (
    Feature,
    InputText,
    combine_numbers,
    compare_numbers,
    from_classifier,
    from_frame,
    in_lexicon,
    number,
    number_property,
    token_in_slot,
)
from inversescope_nb.prompts import Prompt, PromptDistribution


def made_of(made: Feature) -> Feature:
    """What the code of a feature makes."""
    return eval(made.code, {"isn": SimpleNamespace(features=features)})


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spaced", "numbers"),
    [
        ("from 1732 to 1745.", False, [1732, 1745]),
        ("-5 and 3-5, (-2) 4 -1", False, [-5, 3, 5, -2, 4, -1]),
        ("3.50 is 1,000 x2y 1.2.3", False, [3.5, 1, 0, 2, 1.2, 3]),
        ("9 6 7 + 9 2 1 =", False, [9, 6, 7, 9, 2, 1]),
        ("9 6 7 + 9 2 1 = 1", True, [967, 921, 1]),
        ("12 3 4 56 7  8", True, [12, 34, 56, 7, 8]),
        ("2.5 6 1 2.5", True, [2.5, 61, 2.5]),
        ("2.5 6 2.5", True, [2.5, 6, 2.5]),
        ("-1 2 a 0 0 7", True, [-12, 7]),
        ("none ²", False, []),
    ],
)
def test_what_counts_as_a_number(text: str, spaced: bool, numbers: list) -> None:
    assert [number(i, spaced=spaced)(text) for i in range(len(numbers))] == numbers
    assert [number(-1 - i, spaced=spaced)(text) for i in range(len(numbers))] == numbers[::-1]
    assert number(len(numbers), spaced=spaced)(text) is None
    assert number(-1 - len(numbers), spaced=spaced)(text) is None


@given(st.integers(0, 10**30), st.integers(-(10**30), 10**30))
def test_numbers_and_what_they_make_are_exact(a: int, b: int) -> None:
    text = f"{a} and {b}"
    assert (number()(text), number(1)(text)) == (a, b)
    assert [combine_numbers(o)(text) for o in "+-*"] == [a + b, a - b, a * b]
    assert combine_numbers("+", modulo=7)(text) == (a + b) % 7
    assert compare_numbers()(text) == ("<" if a < b else ">" if a > b else "=")
    digits = " ".join(str(a))
    assert number(spaced=True)(digits) == a


def test_decimals_add_up_and_compare_as_written() -> None:
    assert combine_numbers("+")("0.1 0.2") == 0.3
    assert combine_numbers("*")("0.5 4") == 2
    assert isinstance(combine_numbers("*")("0.5 4"), int)
    assert compare_numbers()("0.30 and 0.3") == "="


def test_properties_of_a_number() -> None:
    text = "007 or -4.5 or 0"
    assert [number_property(kind)(text) for kind in ("parity", "digits", "first digit", "last digit", "sign")] == [
        "odd", 3, 0, 7, "+",
    ]  # fmt: skip
    assert [number_property(kind, 1)(text) for kind in ("parity", "digits", "last digit", "sign")] == [None, 2, 5, "-"]
    assert number_property("sign", 2)(text) == "0"
    assert number_property("parity", spaced=True)("9 6 8 + 1") == "even"


def test_features_of_numbers_make_themselves_and_say_where_they_are_undefined() -> None:
    said = {
        number(): "texts without a number",
        number(-3, spaced=True): "texts with fewer than 3 numbers",
        number_property("parity", 1): "texts with fewer than 2 numbers, or where it is no whole number",
        compare_numbers(0, 4): "texts with fewer than 5 numbers",
        combine_numbers("+", -1, 0, modulo=10, spaced=True): "texts without a number",
    }
    for made, words in said.items():
        assert made.undefined == words
        again = made_of(made)
        assert (again.name, again("9 6 7 + 9 2 1 = 5")) == (made.name, made("9 6 7 + 9 2 1 = 5"))
    assert len({made.name for made in said}) == len(said)


def test_a_number_of_hundreds_of_digits_is_none() -> None:
    assert number()("9" * 5000) is None
    assert number(1)("9" * 5000 + " 4") == 4


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: number("a"), "index='a'"),
        (lambda: number_property("party"), "Did you mean 'parity'"),
        (lambda: compare_numbers(1, 1), "both 1"),
        (lambda: combine_numbers("/"), "operation='/'"),
        (lambda: combine_numbers("+", modulo=1), "modulo=1"),
    ],
)
def test_mistakes_with_numbers(make, says) -> None:
    with pytest.raises(InvalidArgument, match=says) as e:
        make()
    assert e.value.hint


# -- lexicons --------------------------------------------------------------------------------------

MOODS = {"good": ["happy", "fine"], "bad": ("sad", "not fine")}


def test_a_list_says_whether_one_of_its_words_occurs() -> None:
    colour = in_lexicon("colour", ["red", "C++"])
    assert colour.labels(["RED.", "hundred", "", "a C++ b", "C+"]) == [True, False, False, True, False]
    assert in_lexicon("colour", {"red"}, whole_word=False)("hundred") is True
    assert in_lexicon("colour", ["red"], ignore_case=False)("Red") is False
    assert (colour.name, colour.undefined) == ("colour", "")
    assert (colour & ~colour)("red") is False


def test_a_mapping_says_which_class_occurs_and_which_of_several_is_stated() -> None:
    texts = ["so happy", "I am not fine", "sad, then fine", "fine, then sad", "", "happy and fine"]
    said = {rule: in_lexicon("mood", MOODS, several=rule).labels(texts) for rule in ("first", "last", "undefined")}
    assert said == {
        "first": ["good", "bad", "bad", "good", None, "good"],
        "last": ["good", "bad", "good", "bad", None, "good"],
        "undefined": ["good", "bad", None, None, None, "good"],
    }
    assert in_lexicon("mood", MOODS).undefined == "texts without any of the words"
    assert in_lexicon("mood", MOODS, several="undefined").undefined.endswith("or with those of several classes")


def test_the_longest_word_counts_but_a_shorter_one_where_it_is_no_whole_word() -> None:
    place = in_lexicon("place", {"city": ["New York"], "paper": ["New York Times"]})
    assert place.labels(["the New York Times", "New York Timeses"]) == ["paper", "city"]
    assert in_lexicon("street", {1: ["STRASSE"]})("Straße") == 1, "as Unicode folds capitals"


def test_the_code_of_a_lexicon_makes_it_unless_it_is_long() -> None:
    for made in (in_lexicon("m", MOODS, several="last"), in_lexicon("c", {"red"}, whole_word=False, ignore_case=False)):
        again = made_of(made)
        texts = ["sad, then fine", "hundred", "Red"]
        assert (again.name, again.labels(texts)) == (made.name, made.labels(texts))
    assert in_lexicon("many", [f"word{i}" for i in range(1000)]).code == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("red", "words is a str"),
        (5, "words is a int"),
        ([], "has no word"),
        (["a", " "], "has the word ' '"),
        (["a", 3], "has the word 3"),
        ({}, "has no class"),
        ({"a": []}, "class 'a' has no word"),
        ({"a": "b"}, "class 'a': words is a str"),
        ({None: ["a"]}, "None is no label"),
        ({"x": ["Fine"], "y": ["fine"]}, "'fine' is in the classes 'x' and 'y'"),
    ],
)
def test_mistakes_in_a_lexicon(words, says) -> None:
    with pytest.raises(InvalidArgument, match=says):
        in_lexicon("mine", words)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="allowed: first, last, undefined"):
        in_lexicon("mood", MOODS, several="all")


# -- slots -----------------------------------------------------------------------------------------

IOI = PromptDistribution.from_templates(
    ["{IO} and {S} left . {S2} gave the {OBJECT} to", "The {OBJECT} of {S} ."],
    {"IO": ["Ann", "Tom"], "S": ["Tom", "Ann", "New York"], "S2": ["Ann", "Tom", "New York"], "OBJECT": ["tea"]},
    name="gifts",
)


def spelled(text: str) -> InputText:
    """A word a token, as the packaged model's tokenizer writes them."""
    return InputText(text, ("<bos>", *text.split()), range(1 + len(text.split())))


def test_the_token_of_a_slot_is_found_where_the_same_word_stands_elsewhere() -> None:
    text = spelled("Ann and Tom left . Ann gave the tea to")
    assert [token_in_slot(IOI, name)(text) for name in ("IO", "S", "S2", "OBJECT")] == ["Ann", "Tom", "Ann", "tea"]
    marked = InputText(
        text, ("<bos>", "Ann", " and", " Tom", " left", " .", " A", "n", "n", " gave", " the tea", " to")
    )
    assert [token_in_slot(IOI, "S2", i)(marked) for i in (0, 1, -1, -3, 3)] == [" A", "n", "n", " A", None]
    assert token_in_slot(IOI, "IO")(marked) == "Ann"
    assert token_in_slot(IOI, "OBJECT")(marked) == " the tea", "a token of which any letter is the slot's"


def test_the_token_of_a_slot_is_undefined_where_the_slot_is() -> None:
    last = token_in_slot(IOI, "S2")
    texts = ["Ann and Tom left .", "Ann and Tom left . New", "nobody was here", "The tea of Ann ."]
    assert last.labels(map(spelled, texts)) == [None] * 4
    assert last(spelled("Ann and Tom left . New York")) == "York"
    assert token_in_slot(IOI, "S")(spelled("The tea of Ann .")) == "Ann"
    assert "gifts" in last.undefined
    assert "'S2'" in last.undefined


def test_the_token_of_a_slot_is_undefined_where_tokens_do_not_add_up_but_not_without_any() -> None:
    assert token_in_slot(IOI, "IO")(InputText("Ann and Tom", ("<bos>", "Ann", "<0xE2>", "Tom"))) is None
    with pytest.raises(FeatureError, match="without tokens"):
        token_in_slot(IOI, "IO")("Ann and Tom")


@pytest.mark.parametrize("tokenizer", [word_tokenizer(), byte_level_tokenizer(), byte_level_tokenizer(bos="added")])
def test_the_token_of_a_slot_agrees_with_the_spans_of_whole_prompts(tokenizer) -> None:
    """The tokens that the tokenizer itself says begin in the span, for every slot of every prompt."""
    lm = model_for(tokenizer)
    names, places = ["John", "Mary"], ["Paris", "France"]
    prompts = PromptDistribution.from_templates(
        ["{A} gave the cat to {B} in {C}"], {"A": names, "B": names, "C": places}, name="cats"
    )
    for prompt, _ in prompts.enumerate():
        encoded = tokenizer(prompt.text, return_offsets_mapping=True)
        text = InputText.from_ids(lm.encode([prompt.text]).token_ids[0].tolist(), lm)
        skipped = len(text.tokens) - len([1 for a, b in encoded["offset_mapping"] if b > a])
        spans = [(a, b) for a, b in encoded["offset_mapping"] if b > a]
        for name, (start, stop) in prompt.slots.items():
            own = [i for i, (a, b) in enumerate(spans) if a < stop and b > start and prompt.text[a:b].strip()]
            assert token_in_slot(prompts, name)(text) == text.tokens[skipped + own[-1]]
            assert token_in_slot(prompts, name, 0)(text) == text.tokens[skipped + own[0]]


def test_the_token_of_a_slot_of_the_packaged_tasks_is_its_value() -> None:
    prompts = isn.tasks.ioi().prompts
    last = {name: token_in_slot(prompts, name) for name in ("S", "S2", "IO")}
    for prompt in prompts.sample(20, seed=0):
        found = {name: one(spelled(prompt.text)) for name, one in last.items()}
        assert found == {name: prompt.labels[name] for name in last if name in prompt.labels} | {
            name: None for name in last if name not in prompt.labels
        }


def test_readings_that_put_a_slot_elsewhere_leave_it_undefined() -> None:
    slots = {"A": ["Ann"], "B": ["Tom"]}
    either = PromptDistribution.from_templates(["Ann {B} left", "Ann {B} {A} left", "{A} Tom slept"], slots)
    assert token_in_slot(either, "B")(spelled("Ann Tom")) is None, "or it is none: Tom slept"
    assert token_in_slot(either, "B")(spelled("Ann Tom left")) == "Tom"
    assert token_in_slot(either, "A")(spelled("Ann Tom slept")) == "Ann"
    twice = [Prompt("Ann Ann left", slots={"A": (0, 3)}), Prompt("Ann Ann left", slots={"A": (4, 7)})]
    assert token_in_slot(PromptDistribution.from_texts(twice), "A")(spelled("Ann Ann left")) is None


def test_a_value_inside_a_word_is_the_slot_s_for_whole() -> None:
    plural = PromptDistribution.from_templates(["two {A}s and {A2}"], {"A": ["cat", "dog"], "A2": ["cat"]})
    text = InputText("two cats and cat", ("two", " cat", "s", " and", " c", "at"))
    assert token_in_slot(plural, "A")(text) == " cat"
    assert token_in_slot(plural, "A2")(text) == "at"
    assert token_in_slot(plural, "A")(spelled("two dogs and")) == "dogs"


def test_slots_of_texts_and_mixtures_are_read_too() -> None:
    texts = PromptDistribution.from_texts(
        [Prompt("Ann saw Tom", slots={"B": (8, 11)}), Prompt("Tom saw Tom", slots={"B": (8, 11)})], name="seen"
    )
    mixture = PromptDistribution.mixture([texts, IOI])
    for prompts in (texts, mixture):
        assert token_in_slot(prompts, "B")(spelled("Tom saw Tom")) == "Tom"
        assert token_in_slot(prompts, "B")(spelled("Tom saw")) is None
    assert token_in_slot(mixture, "S2")(spelled("Ann and Tom left . Tom")) == "Tom"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: token_in_slot(IOI, "S3"), "Did you mean 'S"),
        (lambda: token_in_slot(IOI, 5), "no slot 5"),
        (lambda: token_in_slot(["a"], "S"), "prompts is a list"),
        (lambda: token_in_slot(IOI, "S", "last"), "index='last'"),
        (lambda: token_in_slot(PromptDistribution.from_texts(["a b"]), "S"), "no slot 'S'"),
    ],
)
def test_mistakes_with_slots(make, says) -> None:
    with pytest.raises(InvalidArgument, match=says):
        make()


# -- tables ----------------------------------------------------------------------------------------


def table(**more) -> pd.DataFrame:
    columns = {"text": ["a dog", " a cat\n", "a rock", "a dog"], "kind": ["loud", "quiet", None, "loud"], **more}
    return pd.DataFrame(columns, index=[10, 11, 12, 13])


def test_a_table_gives_the_label_of_a_text() -> None:
    kind = from_frame(table(), "kind")
    assert kind.labels(["a dog", "a cat ", "a rock", "a cow"]) == ["loud", "quiet", None, None]
    assert from_frame(table(), "kind", strip=False).labels(["a cat", " a cat\n"]) == [None, "quiet"]
    assert (kind.name, from_frame(table(), "kind", name="noise").name) == ("kind", "noise")
    assert kind.undefined == "inputs whose text the table does not have, or has without a label"


def test_a_later_change_of_the_table_changes_nothing() -> None:
    frame = table()
    kind = from_frame(frame, "kind")
    frame.loc[10, "kind"] = "quiet"
    assert kind("a dog") == "loud"


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_a_row_without_a_label_says_nothing(missing) -> None:
    kind = from_frame(table(kind=["loud", missing, missing, missing]), "kind")
    assert kind.labels(["a dog", "a cat", "a rock"]) == ["loud", None, None]


@pytest.mark.parametrize("values", [[1, 2, 3, 1], [True, False, True, True], pd.Categorical(["x", "y", "z", "x"])])
def test_labels_of_a_table_are_python_s(values) -> None:
    found = from_frame(table(kind=values), "kind")("a cat")
    assert found == list(values)[1]
    assert type(found).__module__ == "builtins"


def test_a_table_can_be_of_token_ids() -> None:
    frame = pd.DataFrame({"ids": [[0, 5], (0, 6), np.array([0, 7])], "label": [True, False, True]})
    known = from_frame(frame, ids="ids")
    texts = [InputText("x", ("b", "x"), ids) for ids in ([0, 5], [0, 6], [0, 7], [0, 8])]
    assert known.labels(texts) == [True, False, True, None]
    with pytest.raises(FeatureError, match="without token ids"):
        known("x")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: from_frame({"text": []}), "frame is a dict"),
        (lambda: from_frame(table(), "kin"), "no column 'kin'. Did you mean 'kind'"),
        (lambda: from_frame(table(), "kind", text="words"), "no column 'words'"),
        (lambda: from_frame(table(), "kind", ids="words"), "no column 'words'"),
        (lambda: from_frame(pd.concat([table(), table()], axis=1), "kind"), "2 columns named 'text'"),
        (lambda: from_frame(table(text=["a", None, "b", 3]), "kind"), "has no text in rows 11, 13"),
        (lambda: from_frame(table(), "kind", ids="text"), "no list of token ids in rows 10, 11, 12 and 1 more"),
        (lambda: from_frame(table(kind=["a", [1], "b", "a"]), "kind"), r"label \[1\] \(list\) in row 11"),
        (lambda: from_frame(table(kind=[None] * 4), "kind"), "no label at all"),
        (lambda: from_frame(table(kind=["loud", "x", "y", "quiet"]), "kind"),
         "'a dog' is 'loud' in row 10 and 'quiet' in row 13"),
    ],
)  # fmt: skip
def test_mistakes_in_a_table(make, says) -> None:
    with pytest.raises(InvalidArgument, match=says):
        make()


# -- classifiers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipeline():
    """A pipeline of transformers around a tiny random BERT."""
    from transformers import BertConfig, BertForSequenceClassification, pipeline

    tokenizer = word_tokenizer(bos=False)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, num_labels=3, pad_token_id=tokenizer.pad_token_id or 0,
        id2label={0: "a", 1: "b", 2: "c"}, label2id={"a": 0, "b": 1, "c": 2},
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
        for parameter in model.parameters():
            parameter.data += 0.5 * torch.randn_like(parameter)
    return pipeline("text-classification", model=model.eval(), tokenizer=tokenizer, device="cpu")


SENTENCES = ["John gave the book to Mary", "the cat", "Paris", "Mary gave the cat to John", "the park is in France"]


def test_a_real_pipeline_gives_the_labels_it_gives_itself(pipeline) -> None:
    own = pipeline(SENTENCES)
    assert len({one["label"] for one in own}) > 1, "else the test shows nothing"
    labels = [one["label"] for one in own]
    for size in (1, 2, 32):
        made = from_classifier(pipeline, name="kind", batch_size=size)
        assert made.labels(SENTENCES) == labels
        assert [made(text) for text in SENTENCES] == labels
        assert from_classifier(pipeline, name="kind", batch_size=size).labels(SENTENCES[::-1]) == labels[::-1]
    middle = sorted(one["score"] for one in own)[2] - 1e-6
    sure = from_classifier(pipeline, name="kind", threshold=middle)
    assert sure.labels(SENTENCES) == [one["label"] if one["score"] >= middle else None for one in own]
    assert len(sure.undefined_in(SENTENCES)) == 2


def test_a_real_pipeline_that_gives_all_scores_gives_the_same(pipeline) -> None:
    every = lambda texts: pipeline(texts, top_k=None)  # noqa: E731
    assert len(every(SENTENCES)[0]) == 3
    assert from_classifier(every, name="k").labels(SENTENCES) == from_classifier(pipeline, name="k").labels(SENTENCES)


def counting(asked: list):
    def classify(texts):
        asked.append(list(texts))
        return [{"label": text[:1], "score": len(text) / 10} for text in texts]

    return classify


def test_a_text_is_classified_once_and_in_batches() -> None:
    asked: list = []
    made = from_classifier(counting(asked), name="first", batch_size=2)
    assert made.labels(["ab", "cd", "ab", "ef"]) == ["a", "c", "a", "e"]
    assert asked == [["ab", "cd"], ["ef"]]
    assert made.labels(["ef", "gh", "ab"]) == ["e", "g", "a"]
    assert made("gh") == "g"
    assert asked[2:] == [["gh"]]


def test_more_texts_than_are_kept_are_labelled_all_the_same(monkeypatch) -> None:
    from inversescope_nb.features import classifier

    monkeypatch.setattr(classifier, "_KEPT", 3)
    asked: list = []
    made = from_classifier(counting(asked), name="first")
    assert made.labels(list("abcdef")) == list("abcdef")
    assert made.labels(list("fa")) == ["f", "a"]
    assert asked[1:] == [["a"]]


def test_several_threads_get_the_right_labels() -> None:
    made = from_classifier(counting([]), name="first")
    texts, wrong = [f"{letter}{i}" for i in range(200) for letter in "abc"], []

    def ask() -> None:
        if made.labels(texts) != [text[0] for text in texts]:
            wrong.append(1)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_a_classifier_raises_names_the_text() -> None:
    def strict(texts):
        if "bad" in texts:
            raise RuntimeError("sequence too long")
        return [{"label": "x", "score": 1.0}] * len(texts)

    made = from_classifier(strict, name="mine")
    with pytest.raises(FeatureError, match="'mine' raised RuntimeError: sequence too long, on the text 'bad'"):
        made.labels(["a", "b", "bad", "c"])
    assert made.labels(["a", "b"]) == ["x", "x"]


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (None, "returned a NoneType for 1 texts"),
        ([], "returned a list of 0 for 1 texts"),
        (["x"], "'x' for a text"),
        ([[]], r"\[\] for a text"),
        ([{"label": "x"}], "for a text"),
        ([{"label": "x", "score": float("nan")}], "no number"),
        ([{"label": ["x"], "score": 1.0}], "no label"),
    ],
)
def test_what_is_no_classification_is_refused(result, says) -> None:
    with pytest.raises(FeatureError, match=says):
        from_classifier(lambda texts: result, name="mine")("a")


def test_mistakes_with_classifiers() -> None:
    other = counting([])
    other.task = "fill-mask"
    for make, says in (
        (lambda: from_classifier("a/model", name="m"), "pipeline is a str"),
        (lambda: from_classifier(other, name="m"), "a pipeline for 'fill-mask'"),
        (lambda: from_classifier(counting([]), name="m", threshold="high"), "threshold='high'"),
        (lambda: from_classifier(counting([]), name="m", batch_size=0), "batch_size=0"),
        (lambda: from_classifier(counting([]), name=""), "a feature is named"),
    ):
        with pytest.raises(InvalidArgument, match=says):
            make()
