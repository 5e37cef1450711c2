"""Prompt distributions: probabilities against full listings, draws, specifications, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections import Counter

import pytest
import torch
from conftest import WORDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import (
    byte_level_tokenizer,
    check_against_enumeration,
    check_draws,
    model_for,
    same_weights,
    weights_of,
    word_tokenizer,
)

from inversescope_nb._draws import tokens_at
from inversescope_nb.cuts import check_cut, cut_weights
from inversescope_nb.errors import BadPrompt, Cancelled, InvalidArgument, ModelLoadError, NotEnumerable
from inversescope_nb.models import load_model
from inversescope_nb.prompts import PIECE, Prompt, PromptDistribution, agreed
from inversescope_nb.templates import Slot, Template

CUTS = ("end", "slot:B", "slots", "random", "slots+random")
TEXTS = ["the cat is in the park", "the cat", "John gave the book to Mary", "the cat", "the dog"]


@pytest.fixture(scope="module")
def without_bos():
    return model_for(word_tokenizer(bos=False))


@pytest.fixture(scope="module", params=["none", "unused", "added"])
def byte_lm(request):
    """A byte-level tokenizer that has no BOS, has one that texts do not get (GPT-2), or puts one in front."""
    return model_for(byte_level_tokenizer(bos=request.param))


# -- cuts ------------------------------------------------------------------------------------------


def test_cut_weights_by_hand() -> None:
    ends = [("A", 1), ("B", 3)]
    assert cut_weights("end", 4, ends) == {4: 1.0}
    assert cut_weights("slot:B", 4, ends) == {3: 1.0}
    assert cut_weights("slots", 4, ends) == {1: 1 / 3, 3: 1 / 3, 4: 1 / 3}
    assert cut_weights("random", 4, ends) == {1: 0.25, 2: 0.25, 3: 0.25, 4: 0.25}
    both = cut_weights("slots+random", 4, ends)
    assert both == pytest.approx({1: 1 / 6 + 1 / 8, 2: 1 / 8, 3: 1 / 6 + 1 / 8, 4: 1 / 6 + 1 / 8})


@given(st.integers(1, 8), st.lists(st.integers(1, 8), max_size=4), st.sampled_from(CUTS))
def test_cut_weights_sum_to_one(length, ends, cut) -> None:
    slots = [("B", min(ends[0], length)), *((f"X{i}", min(e, length)) for i, e in enumerate(ends[1:]))] if ends else []
    if cut == "slot:B" and not slots:
        with pytest.raises(InvalidArgument, match="no slot 'B'"):
            cut_weights(cut, length, slots)
        return
    weights = cut_weights(cut, length, slots)
    assert math.isclose(sum(weights.values()), 1)
    assert all(1 <= kept <= length for kept in weights)


@pytest.mark.parametrize("cut", ["", "slot:", "slot", "middle", None, 3])
def test_an_unknown_cut_is_refused(cut) -> None:
    with pytest.raises(InvalidArgument, match=r"no cut\n  allowed: end"):
        check_cut(cut)


# -- texts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["end", "slots", "random", "slots+random"])
def test_texts_are_scored_as_listed(lm, cut) -> None:
    listed = check_against_enumeration(PromptDistribution.from_texts(TEXTS, cut=cut), lm)
    whole = tuple(lm.encode("the cat is in the park").rows()[0])
    assert whole[0] == lm.bos_id
    assert listed[whole] == pytest.approx({"end": 1, "slots": 1, "random": 1 / 6, "slots+random": 7 / 12}[cut] / 5)


def test_texts_are_scored_without_listing_all_their_beginnings(lm, monkeypatch) -> None:
    """A thousand texts of a thousand tokens have a million of them."""
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    listed = P.inputs(lm)

    def inputs(*_args, **_kwargs):
        raise AssertionError("they are listed")

    monkeypatch.setattr(type(P), "inputs", inputs)
    assert P.longest(lm) == max(map(len, listed))
    for ids, p in listed.items():
        assert P.log_prob(ids, lm) == pytest.approx(math.log(p))
    unknown = [(), (lm.bos_id,), (*next(iter(listed)), lm.bos_id), (lm.vocab_size + 5,)]
    assert [P.log_prob(ids, lm) for ids in unknown] == [-math.inf] * 4


def test_a_text_given_twice_and_a_text_that_begins_another_add_up(lm) -> None:
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    the_cat = lm.encode("the cat").rows()[0]
    assert math.exp(P.log_prob(the_cat, lm)) == pytest.approx(2 / 5 * 1 / 2 + 1 / 5 * 1 / 6)


def test_texts_without_bos_are_cut_at_their_own_tokens(without_bos) -> None:
    P = PromptDistribution.from_texts(["the cat", "a dog"], cut="random")
    listed = check_against_enumeration(P, without_bos)
    ids = {word: without_bos.encode(word).rows()[0][0] for word in ["the", "cat", "a", "dog"]}
    assert listed == pytest.approx(
        {(ids["the"],): 0.25, (ids["the"], ids["cat"]): 0.25, (ids["a"],): 0.25, (ids["a"], ids["dog"]): 0.25}
    )
    check_draws(P.draw(2000, without_bos, seed=1), listed)


def test_a_bos_counts_only_where_the_tokenizer_puts_it(byte_lm) -> None:
    P = PromptDistribution.from_texts(["Ann likes tea.", "Bob"], cut="random")
    listed = check_against_enumeration(P, byte_lm)
    starts = {ids[0] for ids in listed}
    assert (starts == {byte_lm.bos_id}) == (byte_lm.text_bos_id is not None)
    assert tuple(byte_lm.encode("Ann likes tea.").rows()[0]) in listed
    check_draws(P.draw(1000, byte_lm, seed=0), listed)


TEMPLATES = ["the {A} is in the {B}", "{A} and a {B} is in the park"]
FILLINGS = {"A": ["cat", "dog"], "B": ["park", "book"]}


def test_a_text_ends_with_a_slot_where_all_its_readings_say_so() -> None:
    P = PromptDistribution.from_templates(TEMPLATES, FILLINGS)
    ends = {text: P.slot_at_end(text) for text in ("the cat", "the cat is", "the cat is in the book", "dog and a park")}
    assert ends == {"the cat": "A", "the cat is": None, "the cat is in the book": "B", "dog and a park": "B"}
    assert P.slot_at_end("no such text") is None
    other = PromptDistribution.from_templates(["the {ANIMAL} is a cat"], {"ANIMAL": ["dog", "book"]})
    both = PromptDistribution.mixture([P, other])
    assert both.slot_at_end("the cat") == "A"
    assert both.slot_at_end("the dog") is None, "of one part it is A, of the other ANIMAL"
    assert both.slot_at_end("the book") == "ANIMAL"
    texts = PromptDistribution.from_texts([Prompt("the cat is in the park", slots={"A": (4, 7)}), "the dog"])
    assert [texts.slot_at_end(text) for text in ("the cat", "the cat is", "the dog", "the")] == ["A", None, None, None]
    assert PromptDistribution.mixture([P, PromptDistribution.from_texts(["the cat is"])]).slot_at_end("the cat") is None


def test_prompts_can_be_cut_elsewhere(lm) -> None:
    P = PromptDistribution.from_templates(TEMPLATES, FILLINGS, cut="end")
    both = PromptDistribution.mixture([P, PromptDistribution.from_texts(["the cat is"])], [0.7, 0.3])
    slots, anywhere = both.cut_at("slots"), both.cut_at("random")
    assert [part.cut for part in slots.parts] == ["slots", "slots"]
    assert anywhere.weights == both.weights
    the = tuple(lm.encode("the").rows()[0])
    assert the not in {tuple(x) for x in slots.draw(300, lm, seed=0)}, "no slot ends there"
    assert the in {tuple(x) for x in anywhere.draw(300, lm, seed=0)}
    at_b = P.cut_at("slot:B")
    assert {ids[-1] for ids in at_b.draw(50, lm, seed=0)} == {ids[-1] for ids in lm.encode(["park", "book"]).rows()}
    assert PromptDistribution.from_spec(at_b.to_spec()).cut == "slot:B"
    assert P.cut == "end"
    with pytest.raises(InvalidArgument, match="no slot 'C'"):
        P.cut_at("slot:C")
    with pytest.raises(NotEnumerable, match="cannot be cut elsewhere"):
        PromptDistribution.from_model(lm, max_tokens=4).cut_at("end")


@pytest.mark.parametrize("cut", CUTS)
def test_prompts_with_slots_are_cut_at_them(lm, cut) -> None:
    prompts = [
        Prompt("John gave Mary the book", slots={"A": (0, 4), "B": (10, 14)}),
        Prompt("Mary gave John", slots={"A": (0, 4), "B": (10, 14)}),
    ]
    P = PromptDistribution.from_texts(prompts, cut=cut)
    listed = check_against_enumeration(P, lm)
    check_draws(P.draw(1500, lm, seed=3), listed)
    if cut == "slot:B":
        assert sorted(lm.decode(ids[1:]) for ids in listed) == ["John gave Mary", "Mary gave John"]


def test_texts_parse_to_the_labels_that_all_their_readings_share() -> None:
    prompts = [Prompt("a b c", {"x": 1, "y": 2}), Prompt("a b d", {"x": 1, "y": 3}), Prompt("a b", {"x": 5})]
    P = PromptDistribution.from_texts(prompts)
    assert P.parse("a b c") == {"x": 1, "y": 2}
    assert P.parse("a b") == {"x": 5}, "a whole prompt is read as one"
    assert P.parse("a b  d") == {"x": 1, "y": 3}
    assert P.parse("a") == {}
    assert P.parse("b") is None
    assert P.parse("") is None
    two = PromptDistribution.from_texts(prompts[:2])
    assert two.parse("a") == {"x": 1}


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 1)), min_size=1, max_size=4))
def test_agreed_labels_are_in_every_reading(readings) -> None:
    common = agreed(readings)
    assert all(reading[k] == v for reading in readings for k, v in common.items())
    assert agreed([readings[0]]) == readings[0]


@pytest.mark.parametrize(
    ("texts", "message"),
    [([], "no text"), (["a", " "], "an empty text"), ("a text", "not a list"), ([3], "no text")],
)
def test_texts_that_are_none_are_refused(texts, message) -> None:
    with pytest.raises(BadPrompt, match=message):
        PromptDistribution.from_texts(texts)


def test_a_slot_that_a_text_lacks_is_refused_at_once() -> None:
    with pytest.raises(InvalidArgument, match="no slot 'B'"):
        PromptDistribution.from_texts(["a b"], cut="slot:B")


def test_words_that_the_tokenizer_lacks_are_refused(lm) -> None:
    with pytest.raises(BadPrompt, match="zebra"):
        PromptDistribution.from_texts(["the zebra"]).draw(1, lm, seed=0)


# -- draws -----------------------------------------------------------------------------------------


def every_kind(lm):
    """One distribution of each kind, small enough to list."""
    texts = PromptDistribution.from_texts(TEXTS, cut="random")
    templates = PromptDistribution.from_templates(
        ["{A} and {B}", "the {B}"], {"A": ["John", "Mary"], "B": ["he", "she"]}
    )
    return [texts, templates, PromptDistribution.mixture([texts, templates], [1, 3])]


@pytest.mark.parametrize("kind", range(3))
def test_draws_follow_the_listing_and_the_seed(lm, kind) -> None:
    P = every_kind(lm)[kind]
    drawn = P.draw(3000, lm, seed=5)
    check_draws(drawn, check_against_enumeration(P, lm))
    assert drawn == P.draw(3000, lm, seed=5)
    assert drawn != P.draw(3000, lm, seed=6)
    assert P.draw(0, lm, seed=0) == []
    assert P.longest(lm) == max(map(len, P.inputs(lm)))
    texts = [p.text for p in P.sample(50, seed=2)]
    assert texts == [p.text for p in P.sample(50, seed=2)]
    assert set(texts) <= {p.text for p, _ in P.enumerate()}


# -- mixtures --------------------------------------------------------------------------------------


def test_a_mixture_sums_its_parts_duplicates_included(lm) -> None:
    P = PromptDistribution.mixture(
        [
            PromptDistribution.from_texts(["the cat"], cut="end"),
            PromptDistribution.from_texts(["the cat", "a"], cut="end"),
        ],
        [1, 3],
    )
    listed = check_against_enumeration(P, lm)
    assert listed[tuple(lm.encode("the cat").rows()[0])] == pytest.approx(1 / 4 + 3 / 8)
    assert P.cut == "end"


def test_a_part_of_weight_zero_is_no_part(lm) -> None:
    a, b = PromptDistribution.from_texts(["the"], cut="end"), PromptDistribution.from_texts(["cat"], cut="random")
    P = PromptDistribution.mixture([a, b], [1, 0])
    assert list(P.inputs(lm).values()) == [1.0]
    assert [p.text for p, _ in P.enumerate()] == ["the"]
    assert P.log_prob(lm.encode("cat").rows()[0], lm) == -math.inf


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, math.nan], [math.inf, 1]])
def test_a_mixture_needs_a_weight_for_every_part(weights) -> None:
    parts = [PromptDistribution.from_texts(["the"])] * 2
    with pytest.raises(InvalidArgument, match="one finite weight"):
        PromptDistribution.mixture(parts, weights)


class Scored(PromptDistribution):
    """Gives every input the same log probability."""

    name, cut = "scored", "end"

    def __init__(self, value):
        self.value = value

    def log_prob(self, token_ids, lm):
        return self.value


def test_a_mixture_does_not_lose_very_small_probabilities(lm) -> None:
    P = PromptDistribution.mixture([Scored(-2000.0), Scored(-2000.0), Scored(-math.inf)], [1, 1, 2])
    assert P.log_prob([1], lm) == pytest.approx(-2000 + math.log(0.5))


def test_a_mixture_is_unknown_where_a_part_is(lm) -> None:
    P = PromptDistribution.mixture([Scored(-1.0), Scored(None)])
    assert P.log_prob([1], lm) is None
    assert P.log_probs([[1], [2]], lm) is None


def test_a_mixture_of_python_made_templates_has_a_fingerprint_and_no_specification() -> None:
    def made(value):
        return PromptDistribution.from_templates([Template("the {A}", (Slot("A", lambda a: [value]),))])

    a, b = (PromptDistribution.mixture([made(v)]) for v in ("cat", "dog"))
    assert a.fingerprint != b.fingerprint
    assert a.fingerprint == PromptDistribution.mixture([made("cat")]).fingerprint
    with pytest.raises(NotEnumerable):
        a.to_spec()


def test_a_mixture_shows_what_its_parts_agree_on() -> None:
    a = PromptDistribution.from_texts([Prompt("the cat", {"what": "cat", "who": 1})])
    b = PromptDistribution.from_texts([Prompt("the dog", {"what": "dog", "who": 1}), Prompt("the cat is", {"who": 2})])
    P = PromptDistribution.mixture([a, b])
    assert P.parse("the d") == {"what": "dog", "who": 1}
    assert P.parse("the cat") == {"what": "cat", "who": 1}
    assert P.parse("the") == {}
    assert P.parse("a") is None


def test_a_listing_that_is_too_long_is_refused(lm) -> None:
    P = PromptDistribution.from_texts(TEXTS, cut="random")
    with pytest.raises(NotEnumerable, match="more than 5"):
        P.inputs(lm, limit=5)
    with pytest.raises(NotEnumerable, match="more than 5"):
        PromptDistribution.mixture([P, P]).inputs(lm, limit=5)


# -- specifications --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", range(3))
def test_a_specification_makes_the_same_distribution_again(lm, kind) -> None:
    P = every_kind(lm)[kind]
    again = PromptDistribution.from_spec(json.loads(json.dumps(P.to_spec())))
    assert again.fingerprint == P.fingerprint
    assert again.inputs(lm) == P.inputs(lm)
    assert again.draw(20, lm, seed=1) == P.draw(20, lm, seed=1)
    assert (again.name, again.cut) == (P.name, P.cut)


@pytest.mark.parametrize("spec", [{"kind": "texts"}, {"kind": "mixture", "weights": [1]}, {"kind": "task"}])
def test_a_specification_that_is_not_whole_says_what_it_lacks(spec) -> None:
    with pytest.raises(InvalidArgument, match=f"kind '{spec['kind']}' lacks"):
        PromptDistribution.from_spec(spec)


@pytest.mark.parametrize("kind", range(3))
def test_only_texts_can_be_parsed(lm, kind) -> None:
    with pytest.raises(InvalidArgument, match="a int cannot be parsed"):
        every_kind(lm)[kind].parse(5)


def test_a_specification_of_texts_keeps_slots_and_labels(lm) -> None:
    P = PromptDistribution.from_texts(
        [Prompt("the cat is", {"who": "cat", "set": frozenset()}, {"B": (4, 7)})], cut="slot:B"
    )
    again = PromptDistribution.from_spec(json.loads(json.dumps(P.to_spec())))
    assert again.inputs(lm) == P.inputs(lm) == {tuple(lm.encode("the cat").rows()[0]): 1.0}
    assert again.parse("the cat is") == {"who": "cat"}, "labels that JSON cannot hold are left out"
    moved = PromptDistribution.from_texts([Prompt("the cat is", {"who": "cat"}, {"B": (0, 3)})], cut="slot:B")
    assert moved.fingerprint != P.fingerprint


def test_an_unknown_specification_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"kind 'dream'[\s\S]*prior="):
        PromptDistribution.from_spec({"kind": "dream"})


# -- files and data sets ---------------------------------------------------------------------------


def test_files_are_read_line_by_line(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("the cat\n\n  \na dog\n", encoding="utf-8")
    P = PromptDistribution.from_file(tmp_path / "a.txt")
    assert ([p.text for p, _ in P.enumerate()], P.name) == (["the cat", "a dog"], "a")
    (tmp_path / "b.jsonl").write_text('{"text": "the cat"}\n\n{"text": "a", "n": 1}\n', encoding="utf-8")
    assert [p.text for p, _ in PromptDistribution.from_file(str(tmp_path / "b.jsonl")).enumerate()] == ["the cat", "a"]


@pytest.mark.parametrize("content", ['{"txt": "a"}', "not json", '["a"]', "3", '{"text": 3}'])
def test_a_jsonl_without_texts_is_refused(tmp_path, content) -> None:
    (tmp_path / "b.jsonl").write_text(content)
    with pytest.raises(BadPrompt):
        PromptDistribution.from_file(tmp_path / "b.jsonl")


def test_files_that_cannot_be_read_are_refused(tmp_path) -> None:
    with pytest.raises(ModelLoadError, match=r"no such file: .*/x\.txt\n"):
        PromptDistribution.from_file(tmp_path / "x.txt")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(ModelLoadError, match="not UTF-8"):
        PromptDistribution.from_file(tmp_path / "latin.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(BadPrompt, match="no text"):
        PromptDistribution.from_file(tmp_path / "empty.txt")


def test_data_sets_are_streamed_and_their_empty_texts_skipped(tmp_path, monkeypatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    rows = [{"text": "the cat"}, {"text": ""}, {"text": "a dog"}, {"text": "never"}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    P = PromptDistribution.from_dataset(str(tmp_path), limit=3)
    assert [p.text for p, _ in P.enumerate()] == ["the cat", "a dog"]
    with pytest.raises(InvalidArgument, match=r"no column 'texts'\. Did you mean 'text'"):
        PromptDistribution.from_dataset(str(tmp_path), column="texts")
    with pytest.raises(ModelLoadError, match="cannot read the data set"):
        PromptDistribution.from_dataset(str(tmp_path), split="nowhere")


# -- samples of the model itself -------------------------------------------------------------------


def own_words(architecture):
    """A tiny model with BOS; "hybrid": of a layer with a state of its own and one of attention."""
    if architecture != "hybrid":
        return model_for(word_tokenizer(bos=True), architecture)
    import transformers as tf

    if not hasattr(tf, "Qwen3NextForCausalLM"):
        pytest.skip("transformers has it from 4.57 on")
    tokenizer = word_tokenizer(bos=True)
    model = tf.Qwen3NextForCausalLM(
        tf.Qwen3NextConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, linear_num_value_heads=2, linear_num_key_heads=2, linear_key_head_dim=8,
            linear_value_head_dim=8, num_experts=0, layer_types=["linear_attention", "full_attention"],
            max_position_embeddings=64, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    return load_model((model.eval(), tokenizer), check=False)


def all_sequences(lm, k):
    """Every input of k ordinary tokens."""
    front = [lm.text_bos_id] if lm.text_bos_id is not None else []
    plain = [i for i in range(len(lm.tokenizer)) if i not in lm.tokenizer.all_special_ids]
    return [[*front, *x] for x in itertools.product(plain, repeat=k)]


@pytest.mark.parametrize("bos", [True, False])
def test_a_models_own_texts_are_scored_by_the_model(bos) -> None:
    lm = model_for(word_tokenizer(bos=bos), extra_vocab=3)
    P = PromptDistribution.from_model(lm, max_tokens=2)
    one, two = all_sequences(lm, 1), all_sequences(lm, 2)
    scores = P.log_probs(one + two, lm)
    listed = {tuple(x): math.exp(s) for x, s in zip(one + two, scores, strict=True)}
    assert sum(listed.values()) == pytest.approx(1.0, abs=1e-5)
    x = two[7]
    start = lm.bos_id if bos else lm.eos_id
    row = x if bos else [start, *x]
    allowed = [i for i in range(len(lm.tokenizer)) if i not in lm.tokenizer.all_special_ids]
    by_hand = -math.log(2)
    logits_of = torch.inference_mode()(lambda ids: lm.model(input_ids=torch.tensor([ids])).logits[0, -1].double())
    for t in (1, 2):
        logits = logits_of(row[:t])
        by_hand += float(logits[row[t]] - logits[allowed].logsumexp(0))
    assert P.log_prob(x, lm) == pytest.approx(by_hand, abs=1e-4)
    check_draws(P.draw(3000, lm, seed=0), listed)


def test_many_of_a_models_own_texts_are_written_in_parts(lm, monkeypatch) -> None:
    monkeypatch.setattr("inversescope_nb.model_prompts._ROWS_AT_ONCE", 7)
    P = PromptDistribution.from_model(lm, max_tokens=1)
    drawn = P.draw(1500, lm, seed=0)
    assert drawn == P.draw(1500, lm, seed=0)
    inputs = all_sequences(lm, 1)
    check_draws(drawn, dict(zip(map(tuple, inputs), map(math.exp, P.log_probs(inputs, lm)), strict=True)))
    assert P.draw(0, lm, seed=0) == []


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mistral", "gemma2", "hybrid"])
def test_texts_go_on_as_they_began_when_others_end(architecture, monkeypatch) -> None:
    """Rows that are done are taken out of the model's cache: the others' probabilities are those of whole texts."""
    lm, n = own_words(architecture), 40
    steps = []

    def draw(probabilities, numbers):
        tokens = tokens_at(probabilities, numbers)
        steps.append(probabilities.gather(1, tokens)[:, 0].log().tolist())
        return tokens

    monkeypatch.setattr("inversescope_nb.model_prompts.tokens_at", draw)
    P = PromptDistribution.from_model(lm, max_tokens=9)
    drawn = P.draw(n, lm, seed=3)
    longest_first = sorted(drawn, key=len, reverse=True)
    written = [sum(steps[t][i] for t in range(len(x) - 1)) for i, x in enumerate(longest_first)]
    assert written == pytest.approx([p + math.log(9) for p in P.log_probs(longest_first, lm)], abs=1e-3)
    rows = [len(step) for step in steps]
    going = [sum(len(x) - 1 > t for x in drawn) for t in range(9)]
    assert rows[0] == n > rows[-1], "some are taken out"
    assert all(k <= m and k > 0.75 * m for k, m in zip(going, rows, strict=True))


def test_a_cache_that_cannot_lose_rows_keeps_them(lm, monkeypatch) -> None:
    P = PromptDistribution.from_model(lm, max_tokens=2)
    monkeypatch.delattr("transformers.Cache.reorder_cache")
    listed = dict(
        zip(map(tuple, every := all_sequences(lm, 1) + all_sequences(lm, 2)), P.log_probs(every, lm), strict=True)
    )
    check_draws(P.draw(2000, lm, seed=1), {x: math.exp(p) for x, p in listed.items()})


@pytest.mark.parametrize("rows", [3, 256])
def test_a_share_of_a_models_own_texts_is_what_all_of_them_hold_there(lm, monkeypatch, rows) -> None:
    P = PromptDistribution.from_model(lm, max_tokens=5)
    whole = P.draw(20, lm, seed=4)
    monkeypatch.setattr("inversescope_nb.model_prompts._ROWS_AT_ONCE", rows)
    written, write = [], P._write
    monkeypatch.setattr(
        P, "_write", lambda lm, lengths, *others: written.extend(lengths) or write(lm, lengths, *others)
    )
    for share in (slice(0, None, 3), slice(2, None, 3), slice(5, 9), slice(20, None)):
        written.clear()
        assert P.draw_share(20, lm, share=share, seed=4) == whole[share]
        assert len(written) == len(whole[share]), "no others are written"


def test_texts_of_which_any_beginning_is_an_input(lm) -> None:
    """A model's own are as long as may be; those of lists are whole; a mixture has those of its parts."""
    own = PromptDistribution.from_model(lm, max_tokens=3)
    texts = own.draw_texts(300, lm, seed=1)
    assert {len(x) for x in texts} == {3 + int(lm.text_bos_id is not None)}
    assert texts == own.draw_texts(300, lm, seed=1) != own.draw_texts(300, lm, seed=2)
    assert all(p > -math.inf for p in own.log_probs(texts, lm))
    first = Counter(x[1] for x in texts)
    for token, count in first.most_common(3):
        p = 3 * math.exp(own.log_prob([lm.text_bos_id, token], lm))
        assert count / 300 == pytest.approx(p, abs=5 * math.sqrt(p / 300))
    listed = PromptDistribution.from_texts(["the cat", "a dog"], cut="random")
    whole = [*lm.encode(["the cat", "a dog"]).rows()]
    assert {tuple(x) for x in listed.draw_texts(40, lm, seed=0)} == set(map(tuple, whole))
    for cut in (listed.cut_at("end"), PromptDistribution.mixture([own, listed.cut_at("end")], name="both")):
        assert not cut.cuts_anywhere
        with pytest.raises(InvalidArgument, match="not after any token"):
            cut.draw_texts(4, lm, seed=0)
    both = PromptDistribution.mixture([own, listed], name="both")
    mixed = both.draw_texts(60, lm, seed=0)
    assert len(mixed) == 60
    assert 10 < sum(x in whole for x in mixed) < 50


def test_a_models_own_texts_leave_the_model_as_it_was(lm) -> None:
    before = weights_of(lm.model)
    P = PromptDistribution.from_model(lm, max_tokens=6)
    drawn = P.draw(64, lm, seed=0)
    assert drawn == P.draw(64, lm, seed=0)
    assert {len(x) - 1 for x in drawn} == set(range(1, 7))
    special = set(lm.tokenizer.all_special_ids)
    assert all(x[0] == lm.bos_id and not special & set(x[1:]) for x in drawn)
    alone = [P.log_prob(x, lm) for x in drawn[:8]]
    assert alone == pytest.approx(P.log_probs(drawn, lm)[:8], abs=1e-4)
    assert P.longest(lm) == 7
    assert same_weights(lm.model, before)


@pytest.mark.parametrize("ids", [[1], [5, 6], [1, 5, 2], [1, 5, 6, 7, 8], [1, 1, 5], [1, 999], []])
def test_what_a_model_cannot_write_has_no_probability(lm, ids) -> None:
    assert PromptDistribution.from_model(lm, max_tokens=3).log_prob(ids, lm) == -math.inf


def test_a_models_own_texts_belong_to_that_model(lm, without_bos) -> None:
    P = PromptDistribution.from_model(lm, max_tokens=3)
    with pytest.raises(InvalidArgument, match="not of"):
        P.draw(1, without_bos, seed=0)
    assert PromptDistribution.from_spec(P.to_spec()).bound_to(without_bos).log_prob([5], without_bos) is None
    with pytest.raises(NotEnumerable):
        P.sample(1, seed=0)
    with pytest.raises(NotEnumerable):
        next(iter(P.enumerate()))
    for n in (0, lm.n_ctx):
        with pytest.raises(InvalidArgument, match="max_tokens"):
            PromptDistribution.from_model(lm, max_tokens=n)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join), min_size=1, max_size=4))
def test_any_list_of_texts_is_scored_as_listed(lm, texts) -> None:
    for cut in ("end", "random"):
        check_against_enumeration(PromptDistribution.from_texts(texts, cut=cut), lm)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=7))
def test_a_mixtures_weights_come_back_as_they_were_saved(weights) -> None:
    parts = [PromptDistribution.from_texts([f"text {i}"]) for i in range(len(weights))]
    P = PromptDistribution.mixture(parts, weights)
    assert sum(P.weights) == pytest.approx(1)
    assert PromptDistribution.from_spec(P.to_spec()).fingerprint == P.fingerprint


def test_a_stop_is_seen_while_inputs_are_encoded(lm, monkeypatch) -> None:
    P = PromptDistribution.from_texts(["the dog", "John gave the book to Mary"], cut="random")
    whole = P.draw(PIECE + 9, lm, seed=3)
    cancel, real, encoded = threading.Event(), lm.encode, []

    def encode(texts):
        encoded.append(len(texts))
        if cancel_at == len(encoded):
            cancel.set()
        return real(texts)

    monkeypatch.setattr(lm, "encode", encode)
    cancel_at = 0
    assert P.draw(PIECE + 9, lm, seed=3, cancel=cancel) == whole
    assert encoded == [PIECE, 9]
    encoded.clear()
    cancel_at = 1
    with pytest.raises(Cancelled):
        P.draw(PIECE + 9, lm, seed=3, cancel=cancel)
    assert encoded == [PIECE]
