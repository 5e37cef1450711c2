"""The exercises of ``notebooks/own_model.ipynb``: solutions pass, and a wrong answer is told what is wrong with it."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

import inversescope_nb as isn
from inversescope_nb.exercises import own_model as exercises

_NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
_SPEC = importlib.util.spec_from_file_location("solutions_own_model", _NOTEBOOKS / "solutions" / "own_model.py")
solutions = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(solutions)

TEMPLATE = "{A} gave the {COLOUR} {OBJECT} to {B} :"
SLOTS = {
    "A": ["John", "Mary"],
    "B": ["Paul", "Tom", "Anna"],
    "COLOUR": ["red", "green", "blue"],
    "OBJECT": ["book", "ring"],
}


@pytest.fixture(scope="module")
def notebook():
    """What the notebook's own cells define: the prompts, and the stand-in model."""
    import nbformat

    cells = [c.source for c in nbformat.read(_NOTEBOOKS / "own_model.ipynb", 4).cells if c.cell_type == "code"]
    names: dict = {}
    for source in cells[1:4]:  # behind the install cell: imports, P(X), the model
        exec(source, names)
    return names


@pytest.fixture(scope="module")
def lm(notebook):
    return notebook["lm"]


@pytest.fixture(scope="module")
def prompts(notebook):
    return notebook["PROMPTS"]


def made(cut: str = "slot:B", **slots) -> isn.PromptDistribution:
    return isn.PromptDistribution.from_templates([TEMPLATE], SLOTS | slots, cut=cut)


def test_every_solution_passes(lm, prompts):
    assert exercises.check_1(solutions.solution_1(), lm).right
    assert exercises.check_2(solutions.solution_2()).right
    assert exercises.check_3(solutions.solution_3(prompts), lm, prompts).right


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: None, "change SLOTS"),
        (lambda: ["John gave the red book to Tom"], "texts"),
        (lambda: 3, "int"),
        (lambda: made("end", OBJECT=["book"]), "colon"),
        (lambda: made("slots", OBJECT=["book"]), "do not end at the receiver"),
        (lambda: made("slot:OBJECT", OBJECT=["book"]), "do not end at the receiver"),
        (made, "the book"),
        (lambda: made(OBJECT=["book"], A=["John"], B=["Tom"]), "still vary"),
    ],
)
def test_a_prompt_distribution_that_is_another_is_told_why(lm, answer, words):
    found = exercises.check_1(answer(), lm)
    assert not found.right
    assert words in found.words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "function"),
        (lambda p, q: None, "returns None"),
        (lambda p: p.mean(), "raised TypeError"),
        (lambda p, q: p - q, "returns a ndarray"),
        (lambda p, q: (q - p).mean(), "wrong sign"),
        (lambda p, q: (p - q).mean() / math.log(2), "bits"),
        (lambda p, q: np.exp(p) @ (p - q), "drawn from p already"),
        (lambda p, q: (p - q).sum(), "the sum"),
        (lambda p, q: -q.mean(), "cross-entropy"),
        (lambda p, q: 0.1, "is right"),
    ],
)
def test_a_gap_that_is_wrong_is_told_why(answer, words):
    found = exercises.check_2(answer)
    assert not found.right
    assert words in found.words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "function of a text"),
        ("Paul", "a str"),
        (lambda text: None, "None for every input"),
        (lambda text: text.split()[-2].replace("Tom", "Paul"), "return None there"),
        (lambda text: text.split()[-2] if " to " in text else None, "receiver that the input names"),
        (lambda text: text.split()[0] if " to " in text else None, "giver"),
        (lambda text: "Paul", "wrong for"),
        (lambda text: text.split()[30], "raised"),
    ],
)
def test_a_feature_that_is_not_the_answer_is_told_why(lm, prompts, answer, words):
    found = exercises.check_3(answer, lm, prompts)
    assert not found.right
    assert words in found.words
