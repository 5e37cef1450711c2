"""The exercises of ``notebooks/attributes.ipynb``: solutions pass, and a wrong answer is told what is wrong with it."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest

import inversescope_nb as isn
from inversescope_nb.banks import Bank
from inversescope_nb.exercises import attributes as exercises

_PATH = Path(__file__).resolve().parents[1] / "notebooks" / "solutions" / "attributes.py"
_SPEC = importlib.util.spec_from_file_location("solutions_attributes", _PATH)
solutions = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(solutions)

EMBEDDING, LAST = "blocks.0.hook_resid_pre", "blocks.3.hook_resid_post"


@pytest.fixture(scope="module")
def lm():
    return isn.load_model()


@pytest.fixture(scope="module")
def task():
    return isn.tasks.attributes()


@pytest.fixture(scope="module")
def prompts(task):
    """Four of each of sixty cities."""
    by_city: dict[str, list] = {}
    for prompt, _ in task.split("all").enumerate():
        by_city.setdefault(prompt.labels["city"], []).append(prompt)
    rng = random.Random(0)
    return [p for city in rng.sample(sorted(by_city), 60) for p in rng.sample(by_city[city], 4)]


@pytest.fixture(scope="module")
def even(task):
    city = task.features["city"]
    return isn.Feature("even", lambda text: None if city(text) is None else len(city(text)) % 2 == 0)


@pytest.fixture(scope="module")
def neighbours(lm, task):
    bank = Bank(lm, lm.encode(task.split("train", cut="end").sample(400, seed=0)).rows())
    targets = task.held_out.sample(8, seed=1)
    return [
        isn.baselines.neighbours(lm, task.prompts, target, site=LAST, bank=bank, progress=False) for target in targets
    ]


def test_the_solution_of_the_first_exercise_passes(task):
    assert exercises.check_1(solutions.solution_1(task), task)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda task: None, "Replace None"),
        (lambda task: "French", "a str; a feature is made"),
        (lambda task: task.features["language"], "a city elsewhere"),
        (lambda task: task.features["continent"], "that is a label"),
        (lambda task: lambda text: "other", "Undefined means None"),
        (lambda task: lambda text: None, "about a European city"),
        (
            lambda task: lambda text: task.features["country"](text) if _in_europe(task, text) else None,
            "not the language",
        ),
        (lambda task: lambda text: "French" if _in_europe(task, text) else None, "it returns 'French', not '"),
        (lambda task: lambda text: 1 / 0, "raised an error"),
        (
            lambda task: lambda text: "?" if text == "My friend moved to" else solutions.solution_1(task)(text),
            "no city is",
        ),
    ],
)
def test_a_wrong_feature_is_told_what_is_wrong(task, make, word):
    checked = exercises.check_1(make(task), task)
    assert not checked.right
    assert word in checked.words


def _in_europe(task, text):
    return task.features["continent"](text) == "Europe"


def test_the_solution_of_the_second_exercise_passes(neighbours, task):
    continent = task.features["continent"]
    checked = exercises.check_2(solutions.solution_2(neighbours, continent), neighbours, continent)
    assert checked, checked


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (None, "Replace None"),
        ("narrow", "one number"),
        (True, "one number"),
        (-0.1, "more than 0"),
        (float("nan"), "more than 0"),
        (0.001, "Go wider"),
        (np.float64(10.0), "Go narrower"),
    ],
)
def test_a_wrong_bandwidth_is_told_which_way_to_go(neighbours, task, answer, word):
    checked = exercises.check_2(answer, neighbours, task.features["continent"])
    assert not checked.right
    assert word in checked.words


def test_a_bandwidth_that_could_be_much_wider_is_not_enough(neighbours, task):
    continent = task.features["continent"]
    widest = solutions.solution_2(neighbours, continent)
    assert "Go wider" in exercises.check_2(widest / 2, neighbours, continent).words
    assert "Go narrower" in exercises.check_2(widest * 2, neighbours, continent).words


def test_share_and_samples_are_those_of_the_neighbours_own_weights(neighbours, task):
    found, country = neighbours[0], task.features["country"]
    share, samples = exercises.share_and_samples([found], country, found.bandwidth)
    label = country(found.text)
    assert not found.is_copy.any()
    assert share == pytest.approx(
        sum(w for w, t in zip(found.weight, found.texts, strict=True) if country(t) == label), abs=2e-3
    )
    assert samples == pytest.approx(found.ess, rel=0.02)


def test_the_solution_of_the_third_exercise_passes_and_names_both_accuracies(lm, prompts, even):
    held_out = solutions.solution_3(prompts)
    checked = exercises.check_3(held_out, lm, prompts, even, EMBEDDING)
    assert checked, checked
    inputs = exercises._at_the_city(lm, prompts)
    fair = exercises.probe_accuracy(lm, inputs, even, EMBEDDING, np.array(held_out)).value
    assert f"right for {fair:.0%}" in checked.words
    assert fair < 0.75 < exercises.probe_accuracy(lm, inputs, even, EMBEDDING, np.arange(len(prompts)) % 4 == 0).value


def test_few_cities_may_be_held_out_as_in_the_notebooks_own_split(lm, prompts, even):
    chosen = set(sorted({p.labels["city"] for p in prompts})[::7])
    held_out = [p.labels["city"] in chosen for p in prompts]
    assert 0.1 < np.mean(held_out) < 0.2
    checked = exercises.check_3(held_out, lm, prompts, even, EMBEDDING)
    assert checked, checked


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda prompts: None, "Replace None"),
        (lambda prompts: "cities", "This is a str"),
        (lambda prompts: 0.25, "This is a float"),
        (lambda prompts: [True, False], "2 values for 240 prompts"),
        (lambda prompts: [p.labels["city"] for p in prompts], "must be True or False"),
        (lambda prompts: [i < 4 for i in range(len(prompts))], "are held out; take 10% to 90%"),
        (lambda prompts: [i % 4 == 0 for i in range(len(prompts))], "the probe can remember"),
        (lambda prompts: np.array([len(p.labels["city"]) % 2 == 0 for p in prompts]), "never learned"),
    ],
)
def test_a_wrong_split_is_told_what_is_wrong(lm, prompts, even, make, word):
    checked = exercises.check_3(make(prompts), lm, prompts, even, EMBEDDING)
    assert not checked.right
    assert word in checked.words
