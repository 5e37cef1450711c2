"""The ready-made tasks: right answers, honest splits, features that read what is there, exact probabilities."""

from __future__ import annotations

import importlib
import json
import math

import numpy as np
import pytest
from small import model_for, word_tokenizer

from inversescope_nb.errors import BadPrompt, InvalidArgument
from inversescope_nb.pretraining import make_tokenizer, word_list
from inversescope_nb.prompts import PromptDistribution
from inversescope_nb.tasks import TASKS, _people, get_prompts, get_task
from inversescope_nb.tasks._cities import CITIES
from inversescope_nb.tasks._pairs import PAIRS
from inversescope_nb.tasks._requests import REQUESTS
from inversescope_nb.tasks.addition import is_held_out

in_context = importlib.import_module("inversescope_nb.tasks.in_context")
CUTS = ("end", "slots", "random", "slots+random")


@pytest.fixture(scope="module")
def words_lm():
    """A tiny model with the packaged tokenizer's vocabulary."""
    return model_for(make_tokenizer(word_list(), 64), "llama", max_position_embeddings=64)


def number(text: str) -> int:
    return int("".join(text.split()))


# -- answers ---------------------------------------------------------------------------------------


def check_answer(task: str, text: str, labels: dict) -> None:
    """Holds the labelled answer against the text alone."""
    words, answer = text.split(), labels["answer"]
    if task == "addition":
        a, b = text.removesuffix(" =").split(" + ")
        assert number(answer) == number(a) + number(b)
    elif task == "ioi":
        everybody = set(_people.NAMES + _people.HELD_OUT_NAMES)
        counts = {w: words.count(w) for w in words if w in everybody}
        assert sorted(counts.values()) == [1, 2]
        assert counts[answer] == 1
        first = next(w for w in words if w in everybody)
        assert labels["order"] == ("ABBA" if first == answer else "BABA")
    elif task == "attributes":
        (city,) = [w for w in words if w in CITIES]
        assert answer in CITIES[city]
        cues = {
            "speak": 2,
            "language": 2,
            "spoken": 2,
            "spoke": 2,
            "continent": 1,
            "continents": 1,
            "country": 0,
            "nation": 0,
        }
        assert {CITIES[city][cues[w]] for w in words if w in cues} == {answer}
    elif task == "in_context":
        *shown, query = text.removesuffix(" :").split(" , ")
        pairs = [tuple(pair.split(" : ")) for pair in shown]
        fitting = [dict(PAIRS[name]) for name in PAIRS if all(dict(PAIRS[name]).get(q) == a for q, a in pairs)]
        assert answer in {mapping[query] for mapping in fitting if query in mapping}
        assert len({q for q, _ in pairs} | {query}) == len(pairs) + 1
        assert 2 <= len(pairs) <= 4
    elif task == "greater_than":
        assert number(answer) > number(labels["year"])
        assert 10 <= number(f"1 {answer}") <= 199
        assert words[-2:] == labels["century"].split()
    else:
        assert answer == ("Sorry" if dict(REQUESTS)[labels["request"]] else "Sure")
        assert labels["request"] in text


@pytest.mark.parametrize("split", ["all", "train", "held_out"])
@pytest.mark.parametrize("task", TASKS)
def test_answers_are_right(task, split) -> None:
    for prompt in get_task(task).split(split).sample(300, seed=1):
        check_answer(task, prompt.text, dict(prompt.labels))


# -- splits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_training_never_shows_what_is_held_out(task) -> None:
    train, held_out = get_task(task).split("train"), get_task(task).split("held_out")
    for prompt in held_out.sample(200, seed=2):
        assert train.readings(prompt.text) == [], f"training can begin with: {prompt.text}"
        assert any(whole for _, whole in held_out.readings(prompt.text))
    for prompt in train.sample(200, seed=3):
        assert not any(whole for _, whole in held_out.readings(prompt.text)), prompt.text
        assert any(whole for _, whole in get_task(task).split("all").readings(prompt.text))


def test_a_held_out_query_never_follows_its_demonstrations_in_training_not_even_as_another_one() -> None:
    for prompt in get_task("in_context").split("train").sample(2000, seed=4):
        shots = prompt.labels["shots"]
        queries = [*(prompt.labels[f"Q{i}"] for i in range(1, shots + 1)), prompt.labels["query"]]
        for shown in range(2, shots + 1):
            held_out = in_context._held_out_queries(prompt.labels["task"], frozenset(queries[:shown]))
            assert queries[shown] not in held_out
            assert len(held_out) == 4


def test_one_sum_in_ten_is_held_out() -> None:
    held = np.array([[is_held_out(a, b) for b in range(100, 1000)] for a in range(100, 1000)])
    assert held.mean() == pytest.approx(0.1, abs=0.003)
    for axis in (0, 1):
        assert held.any(axis).all(), "every number stands in a held-out sum"
        assert held.mean(axis).max() < 0.2
    for prompt in get_task("addition").held_out.sample(100, seed=0):
        assert is_held_out(number(prompt.labels["A"]), number(prompt.labels["B"]))


def test_held_out_names_stand_in_no_training_sentence() -> None:
    training = {w for p in get_task("ioi").split("train").sample(3000, seed=0) for w in p.text.split()}
    assert not training & set(_people.HELD_OUT_NAMES)
    held_out = {w for p in get_task("ioi").held_out.sample(500, seed=0) for w in p.text.split()}
    assert len(held_out & set(_people.HELD_OUT_NAMES)) == len(_people.HELD_OUT_NAMES)


def test_tasks_are_as_large_as_they_are_said_to_be() -> None:
    assert len(set(_people.NAMES)) == len(_people.NAMES) >= 100
    assert not set(_people.NAMES) & set(_people.HELD_OUT_NAMES)
    assert len(set(_people.PLACES)) == len(_people.PLACES) >= 30
    assert len(set(_people.OBJECTS)) == len(_people.OBJECTS) >= 30
    assert len(get_task("ioi").templates["train"]) >= 20
    assert len(CITIES) >= 150
    assert len(PAIRS) >= 6
    assert min(map(len, PAIRS.values())) >= 40


# -- features --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_features_of_a_whole_prompt_are_its_labels(task) -> None:
    found = get_task(task)
    assert found.features.keys() == found.feature_labels.keys()
    for split in ("train", "held_out"):
        for prompt in found.split(split).sample(60, seed=5):
            for name, feature in found.features.items():
                assert feature(prompt.text) == prompt.labels[name], (prompt.text, name)


@pytest.mark.parametrize("task", [t for t in TASKS if t != "in_context"])
def test_features_of_a_beginning_are_undefined_or_those_of_the_whole(task) -> None:
    found, defined = get_task(task), set()
    for prompt in found.prompts.sample(25, seed=6):
        words = prompt.text.split()
        for k in range(1, len(words) + 1):
            beginning = " ".join(words[:k])
            assert found.prompts.parse(beginning) is not None
            for name, feature in found.features.items():
                label = feature(beginning)
                if label is not None:
                    defined.add(name)
                    assert label == prompt.labels[name], (beginning, name)
    assert defined == set(found.features)


def test_features_are_undefined_elsewhere() -> None:
    for task in TASKS:
        for feature in get_task(task).features.values():
            for text in ("", "Once upon a time", "= = ="):
                assert feature(text) is None


def test_features_by_hand() -> None:
    sums = get_task("addition").features
    assert {name: f("4 3 7 + 5 6 8 =") for name, f in sums.items()} == {
        "hundreds": 0, "tens": 0, "ones": 5, "thousands": 1, "carry_to_tens": True, "carry_to_hundreds": True,
        "first_digit": "4",
    }  # fmt: skip
    assert {name: f("4 3 7 + 5") for name, f in sums.items() if f("4 3 7 + 5") is not None} == {"first_digit": "4"}
    shots = get_task("in_context").features
    text = "France : Paris , Japan : Tokyo , Italy :"
    assert (shots["task"](text), shots["answer"](text), shots["shots"](text)) == ("capital", "Rome", 2)
    assert shots["task"]("hot :") is None
    story = "Then , Mary and John went to the park . John gave the ball to"
    assert {n: f(story) for n, f in get_task("ioi").features.items()} == {
        "subject": "John", "indirect_object": "Mary", "order": "ABBA", "place": "park", "object": "ball",
    }  # fmt: skip
    assert get_task("ioi").features["order"]("Then , Mary and John went to the park .") is None


# -- probabilities ---------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_every_drawn_input_has_a_probability(words_lm, task) -> None:
    for split in ("all", "train", "held_out"):
        for cut in CUTS:
            P = get_task(task).split(split, cut=cut)
            inputs = P.draw(12, words_lm, seed=7)
            assert all(x > -math.inf for x in P.log_probs(inputs, words_lm)), cut
            assert max(map(len, inputs)) <= P.longest(words_lm)


def test_refusal_is_scored_as_listed(words_lm) -> None:
    P = get_task("refusal").split("held_out", cut="slots+random")
    listed = P.inputs(words_lm)
    some = list(listed)[:: len(listed) // 400]
    np.testing.assert_allclose(np.exp(P.log_probs(some, words_lm)), [listed[x] for x in some], rtol=1e-9)
    assert sum(listed.values()) == pytest.approx(1)


def test_probabilities_of_the_first_word_add_up(words_lm) -> None:
    P = get_task("in_context").split("all", cut="random")
    queries = {q for pairs in PAIRS.values() for q, _ in pairs}
    inputs = [words_lm.encode(q).rows()[0] for q in queries]
    total = sum(math.exp(x) for x in P.log_probs(inputs, words_lm))
    assert total == pytest.approx(np.mean([1 / (4 * k + 2) for k in in_context.SHOTS]))


def test_sums_by_hand(words_lm) -> None:
    P = get_task("addition").split("all", cut="slots+random")

    def p(text):
        return math.exp(P.log_prob(words_lm.encode(text).rows()[0], words_lm))

    assert p("4 3 7 + 5 6 8 =") == pytest.approx((1 / 3 + 1 / 8) / 2 / 810_000)
    assert p("4 3 7 + 5") == pytest.approx((1 / 8) / 2 / 900 / 9)
    assert p("4 3 7") == pytest.approx((1 / 3 + 1 / 8) / 2 / 900)
    assert p("0 3 7") == 0
    train = get_task("addition").split("train", cut="end")
    held_out = next((a, b) for a in range(437, 1000) for b in range(568, 1000) if is_held_out(a, b))
    text = " ".join(str(held_out[0])) + " + " + " ".join(str(held_out[1])) + " ="
    assert train.log_prob(words_lm.encode(text).rows()[0], words_lm) == -math.inf


# -- specifications and mistakes -------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TASKS, "all_tasks"])
def test_a_tasks_prompts_come_back_from_their_specification(words_lm, name) -> None:
    for split, cut in (("all", "slots+random"), ("train", "end"), ("held_out", "random")):
        P = get_prompts(name, split=split, cut=cut)
        again = PromptDistribution.from_spec(json.loads(json.dumps(P.to_spec())))
        assert (again.fingerprint, again.name, again.cut) == (P.fingerprint, P.name, P.cut)
        assert again.draw(5, words_lm, seed=0) == P.draw(5, words_lm, seed=0)


def test_splits_and_cuts_have_fingerprints_of_their_own() -> None:
    kinds = [
        get_prompts(t, split=s, cut=c).fingerprint for t in TASKS for s in ("all", "train") for c in ("end", "random")
    ]
    assert len(set(kinds)) == len(kinds)


def test_the_mixture_of_all_tasks_draws_each_alike(words_lm) -> None:
    P = get_prompts("all_tasks", cut="end")
    texts = [words_lm.decode(x[1:]) for x in P.draw(600, words_lm, seed=0)]
    for part in P.parts:
        share = np.mean([part.parse(t) is not None for t in texts])
        assert share == pytest.approx(1 / 6, abs=0.06), part.name


def test_sites_of_interest_are_sites(words_lm) -> None:
    for task in TASKS:
        assert set(get_task(task).sites_of_interest(words_lm)) <= set(words_lm.sites())


def test_mistakes_are_explained() -> None:
    assert repr(get_task("greater_than")).startswith("Task('greater_than', features: ")
    with pytest.raises(KeyError, match=r"no feature 'hundred'. Did you mean 'hundreds'\?\n  there are: ") as refused:
        get_task("addition").features["hundred"]
    assert isinstance(refused.value, InvalidArgument)
    with pytest.raises(InvalidArgument, match="Did you mean 'addition'"):
        get_task("aditon")
    with pytest.raises(InvalidArgument, match="allowed: all, train, held_out"):
        get_task("ioi").split("test")
    with pytest.raises(InvalidArgument, match="no slot 'CITY'"):
        get_task("ioi").split("all", cut="slot:CITY")
    with pytest.raises(BadPrompt, match="does not know"):
        get_task("ioi").prompts.draw(1, model_for(word_tokenizer()), seed=0)
