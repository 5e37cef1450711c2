"""The exercises of ``notebooks/stories.ipynb``: solutions pass, and a wrong answer is told what is wrong with it."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

import inversescope_nb as isn
from inversescope_nb.exercises import stories as exercises

_NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
_SPEC = importlib.util.spec_from_file_location("solutions_stories", _NOTEBOOKS / "solutions" / "stories.py")
solutions = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(solutions)

TEXTS = ["the cat and a dog", "John gave the book"]


def made(texts=TEXTS, **options) -> isn.PromptDistribution:
    return isn.PromptDistribution.from_texts(texts, **options)


def test_every_solution_passes(lm):
    assert exercises.check_1(solutions.solution_1(TEXTS), lm, TEXTS).right
    assert exercises.check_2(solutions.solution_2()).right
    assert exercises.check_3(solutions.solution_3()).right


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: None, "from_texts"),
        (lambda: TEXTS, "texts"),
        (lambda: 3, "int"),
        (lambda: made(cut="end"), "cut='random'"),
        (lambda: made(TEXTS[:1]), "lacks"),
        (lambda: made([*TEXTS, "Mary"]), "too"),
        (lambda: made([*TEXTS, TEXTS[0]]), "probabilities"),
    ],
)
def test_a_prompt_distribution_that_is_another_is_told_why(lm, answer, words):
    found = exercises.check_1(answer(), lm, TEXTS)
    assert not found.right
    assert words in found.words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "function"),
        (lambda w: None, "returns None"),
        (lambda: 1, "raised TypeError"),
        (lambda w: w, "returns a ndarray"),
        (len, "counts the weights"),
        (lambda w: (w**2).sum() / w.sum() ** 2, "inverse"),
        (lambda w: 1 / (w**2).sum(), "not normalised"),
        (lambda w: w.sum() / w.max(), "largest share"),
        (lambda w: 0.5, "of which"),
    ],
)
def test_effective_samples_that_are_wrong_are_told_why(answer, words):
    found = exercises.check_2(answer)
    assert not found.right
    assert words in found.words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "function"),
        (lambda e: e, "raised TypeError"),
        (lambda e, b: 2.0**b, "forty times"),
        (lambda e, b: e * b, "logarithms"),
        (lambda e, b: e * math.exp(b), "nats"),
        (lambda e, b: e * 2.0**-b, "share of draws"),
        (lambda e, b: e * 3.0**b, "2^-bits"),
    ],
)
def test_numbers_of_draws_that_are_wrong_are_told_why(answer, words):
    found = exercises.check_3(answer)
    assert not found.right
    assert words in found.words
