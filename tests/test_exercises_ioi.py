"""The exercises of the study of indirect object identification: solutions pass, typical mistakes are named."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import inversescope_nb as isn
from inversescope_nb.exercises import ioi as exercises

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def lm():
    return isn.load_model()


@pytest.fixture(scope="module")
def task():
    return isn.tasks.ioi()


@pytest.fixture(scope="module")
def solutions():
    spec = importlib.util.spec_from_file_location("solutions_ioi", ROOT / "notebooks" / "solutions" / "ioi.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def report(lm, task):
    features = [task.features[name] for name in ("subject", "order", "place")]
    gen = isn.load_generator(ROOT / "notebooks" / "generators" / "ioi_heads")
    small = {"bandwidth": 0.3, "n_targets": 6, "n_samples": 16, "permutations": 0, "progress": False}
    return isn.consistency(lm, gen, task.held_out, "blocks.0.attn.hook_z.*", features, **small)


def test_every_solution_is_right(lm, task, report, solutions) -> None:
    assert exercises.check_1(solutions.solution_1(task), task).right
    assert exercises.check_2(solutions.solution_2(report), report).right
    assert exercises.check_3(solutions.solution_3(lm, task), lm, task).right


def test_without_an_answer_each_says_how_to_begin(lm, task, report) -> None:
    for found in (exercises.check_1(None, task), exercises.check_2(None, report), exercises.check_3(None, lm, task)):
        assert not found
        assert str(found).startswith("Not yet. ")


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        ("subject first", "a str"),
        (lambda text: True, "It is wrong for"),
        (lambda text: None, "undefined for every"),
        (lambda text: "yes", "True or False"),
        (lambda text: text.split()[99], "raised an error"),
    ],
)
def test_a_wrong_feature_is_told_what_is_off(task, fn, words) -> None:
    found = exercises.check_1(fn, task)
    assert not found
    assert words in found.words


def test_the_other_way_round_and_too_early_are_told_apart(task, solutions) -> None:
    first = solutions.solution_1(task)
    turned = exercises.check_1(isn.Feature("last", lambda text: None if first(text) is None else not first(text)), task)
    assert "other way round" in turned.words
    eager = exercises.check_1(isn.Feature("eager", lambda text: first(text) or False), task)
    assert "return None there" in eager.words


def test_the_highest_rate_is_not_the_highest_chance(report) -> None:
    frame = report.to_frame()
    chance = frame.groupby("feature")["chance"].mean()
    wrong = next(name for name in chance.index if name != chance.idxmax())
    assert f"Not {wrong!r}" in exercises.check_2((wrong, 0.5), report).words
    assert "Average the column chance" in exercises.check_2((chance.idxmax(), chance.max() + 0.2), report).words
    assert "is a number" in exercises.check_2((chance.idxmax(), "high"), report).words
    assert "There is no feature 'colour'" in exercises.check_2(("colour", 0.5), report).words
    assert "two things" in exercises.check_2("order", report).words


def test_a_head_that_does_less_is_told_how_many_do_more(lm, task, solutions) -> None:
    best = solutions.solution_3(lm, task)
    other = next(head for head in lm.sites("blocks.*.attn.hook_z.*") if head != best)
    found = exercises.check_3(other, lm, task)
    assert not found
    assert "lower the difference more" in found.words or "sort the other way" in found.words
    assert "is no head" in exercises.check_3("blocks.0.hook_resid_post", lm, task).words
    assert "is no site" in exercises.check_3("head three", lm, task).words
    assert "is no site" in exercises.check_3(7, lm, task).words
