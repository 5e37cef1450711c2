"""The exercises of the study of in-context learning: solutions pass, typical mistakes are named."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import inversescope_nb as isn
from inversescope_nb.banks import draw_bank
from inversescope_nb.exercises import in_context as exercises

ROOT = Path(__file__).resolve().parent.parent
STREAM, LATE = "blocks.3.hook_resid_post", "blocks.2.hook_attn_out"


@pytest.fixture(scope="module")
def lm():
    return isn.load_model()


@pytest.fixture(scope="module")
def task():
    return isn.tasks.in_context()


@pytest.fixture(scope="module")
def solutions():
    path = ROOT / "notebooks" / "solutions" / "in_context.py"
    spec = importlib.util.spec_from_file_location("solutions_in_context", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bank(lm, task):
    return draw_bank(lm, task.split("all", cut="end"), 450, seed=0)


@pytest.fixture(scope="module")
def picks(task):
    return task.split("all", cut="end").sample(6, seed=1)


@pytest.fixture(scope="module")
def used(lm, task):
    features = [task.features[name] for name in ("task", "query", "answer", "first_query")]
    whole = task.split("all", cut="end")
    study = {"n_targets": 6, "n_pairs": 4, "n_sources": 300, "permutations": 0, "progress": False}
    return isn.causal.use(lm, whole, STREAM, features, **study)


def test_every_solution_is_right(lm, task, bank, picks, used, solutions) -> None:
    assert exercises.check_1(solutions.solution_1(), task).right
    assert exercises.check_2(solutions.solution_2(), lm, bank, picks, LATE).right
    assert exercises.check_3(solutions.solution_3(used, STREAM), used, STREAM).right


def test_without_an_answer_each_says_how_to_begin(lm, task, bank, picks, used) -> None:
    for found in (
        exercises.check_1(None, task),
        exercises.check_2(None, lm, bank, picks, LATE),
        exercises.check_3(None, used, STREAM),
    ):
        assert not found
        assert str(found).startswith("Not yet. ")


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        ("a text", "a str"),
        (lambda text: text.split(" , ")[0].split(" : ")[0], "the first demonstration's word"),
        (lambda text: text.rpartition(" , ")[0].split(" : ")[-1], "answer, not its word"),
        (lambda text: text.split(" , ")[-1].split(" :")[0], "This is the query"),
        (lambda text: text.rpartition(" , ")[0].split(" , ")[-1], "the whole demonstration"),
        (lambda text: text.split(" , ")[-2].split(" : ")[0], "it raised an error"),
        (lambda text: None, "undefined for every"),
    ],
)
def test_a_wrong_feature_is_told_what_it_is(task, fn, words) -> None:
    found = exercises.check_1(fn, task)
    assert not found
    assert words in found.words


@pytest.mark.parametrize(
    ("width", "words"), [(0.02, "Too narrow"), (2.0, "Too wide"), (-1, "positive"), ("x", "a str")]
)
def test_a_wrong_bandwidth_is_told_which_way_to_go(lm, bank, picks, width, words) -> None:
    found = exercises.check_2(width, lm, bank, picks, LATE)
    assert not found
    assert words in found.words


def test_the_feature_that_is_misread_least_is_told_so(used) -> None:
    rows = used.to_frame().set_index("feature")
    share = rows["use"] / rows["flipped"]
    assert "misleads least" in exercises.check_3(share.idxmax(), used, STREAM).words
    assert "Give the name" in exercises.check_3("colour", used, STREAM).words
    assert "Give the name" in exercises.check_3(3, used, STREAM).words
