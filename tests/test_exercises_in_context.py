"""The exercises of ``notebooks/in_context.ipynb``: solutions pass, and a wrong answer is told what is wrong with it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import inversescope_nb as isn
from inversescope_nb.banks import draw_bank
from inversescope_nb.exercises import in_context as exercises

_PATH = Path(__file__).resolve().parents[1] / "notebooks" / "solutions" / "in_context.py"
_SPEC = importlib.util.spec_from_file_location("solutions_in_context", _PATH)
solutions = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(solutions)

SITE, STREAM = "blocks.3.hook_attn_out", "blocks.3.hook_resid_post"
TASK = isn.tasks.in_context()


@pytest.fixture(scope="module")
def lm():
    return isn.load_model()


@pytest.fixture(scope="module")
def studied(lm):
    """What exercise 2 takes behind the answer."""
    whole = TASK.split("all", cut="end")
    return lm, draw_bank(lm, whole, 400, seed=0), whole.sample(12, seed=1), SITE


@pytest.fixture(scope="module")
def used(lm):
    features = [TASK.features[name] for name in ("task", "query", "answer", "first_query")]
    whole = TASK.split("all", cut="end")
    return isn.causal.use(
        lm, whole, STREAM, features, n_targets=8, n_sources=400, n_pairs=4, permutations=0, progress=False
    )


def test_every_solution_passes(studied, used):
    assert exercises.check_1(solutions.solution_1(), TASK).right
    assert exercises.check_2(solutions.solution_2(), *studied).right
    assert exercises.check_3(solutions.solution_3(used, STREAM), used, STREAM).right


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "Replace None"),
        ("big", "made of a function"),
        (lambda text: text.split(",")[9], "raised an error"),
        (lambda text: None, "undefined for every"),
        (TASK.features["query"], "This is the query"),
        (TASK.features["first_query"], "first demonstration's word"),
        (lambda text: text.split(" , ")[-2].split(" : ")[1], "not its word"),
        (lambda text: text.split(" , ")[1].split(" : ")[0], "of two only"),
        (lambda text: text.split(" , ")[-2], "whole demonstration"),
        (lambda text: "big", "Wrong for"),
        (lambda text: text.split(" , ")[-2].split(" : ")[0], "no demonstration is complete"),
        (lambda text: ("none , " + text).split(" , ")[-2].split(" : ")[0], "return None there"),
    ],
)
def test_a_feature_that_is_not_the_last_word_is_told_why(answer, words):
    found = exercises.check_1(answer, TASK)
    assert not found.right
    assert words in found.words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "Give a number"),
        ([0.3], "one number"),
        (False, "one number"),
        (0, "positive"),
        (float("nan"), "positive"),
        (0.2, "Too narrow"),
        (0.35, "Which way"),
        (0.5, "Too wide"),
    ],
)
def test_a_bandwidth_that_will_not_do_is_told_why(studied, answer, words):
    found = exercises.check_2(answer, *studied)
    assert not found.right
    assert words in found.words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "Divide"),
        (0.5, "Give the name"),
        ("shots", "Give the name"),
        ("answer", "misleads least"),
        ("task", "of flipped is use"),
    ],
)
def test_a_feature_that_does_not_mislead_most_is_told_why(used, answer, words):
    found = exercises.check_3(answer, used, STREAM)
    assert not found.right
    assert words in found.words
