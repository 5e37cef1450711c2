"""The exercises of ``notebooks/refusal.ipynb``: solutions pass, and a wrong answer is told what is wrong with it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

import inversescope_nb as isn
from inversescope_nb.banks import draw_bank
from inversescope_nb.exercises import refusal as exercises

_PATH = Path(__file__).resolve().parents[1] / "notebooks" / "solutions" / "refusal.py"
_SPEC = importlib.util.spec_from_file_location("solutions_refusal", _PATH)
solutions = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(solutions)

SITE, LAST = "blocks.0.hook_resid_post", "blocks.3.hook_resid_post"
TASK = isn.tasks.refusal()
HARMFUL, VERB = TASK.features["harmful"], TASK.features["verb"]
GUESS = solutions.solution_1(TASK)


@pytest.fixture(scope="module")
def lm():
    return isn.load_model()


@pytest.fixture(scope="module")
def studied(lm):
    """What exercise 2 takes behind the answer."""
    whole = TASK.split("all", cut="end")
    bank = draw_bank(lm, whole, 400, seed=0)
    return lm, bank, whole.sample(4, seed=2), SITE


@pytest.fixture(scope="module")
def flips(lm):
    answers = (
        isn.Feature("right", lambda text: "Sorry" if HARMFUL(text) else "Sure"),
        isn.Feature("other", lambda text: "Sure" if HARMFUL(text) else "Sorry"),
    )
    whole = TASK.split("all", cut="end")
    report = isn.causal.scaling(lm, whole, LAST, factors=(-1, 0, 2), answers=answers, n_targets=6, progress=False)
    return report.to_frame()


def test_every_solution_passes(studied, flips):
    assert exercises.check_1(solutions.solution_1(TASK), TASK).right
    assert exercises.check_2(solutions.solution_2(*studied), *studied).right
    assert exercises.check_3(solutions.solution_3(flips), flips).right


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "Replace None"),
        ("steal", "made of a function"),
        (lambda text: "yes", "True or False"),
        (lambda text: text.undefined_name, "raised an error"),
        (lambda text: None, "undefined for a whole prompt"),
        (HARMFUL, "harm itself"),
        (~GUESS, "other way round"),
        (lambda text: bool(GUESS(text)), "None"),
        (lambda text: "steal" in text, "wrong for"),
    ],
)
def test_a_feature_that_is_not_the_guess_is_told_why(answer, words):
    found = exercises.check_1(answer, TASK)
    assert not found.right
    assert words in found.words


def test_ties_and_single_harms_are_told_apart():
    harms = exercises._harms(TASK)
    tied = isn.Feature("ties", lambda x: (v := VERB(x)) and 2 * sum(harms[v].values()) >= len(harms[v]))
    eager = isn.Feature("any", lambda x: (v := VERB(x)) and any(harms[v].values()))
    assert "half is not most" in exercises.check_1(tied, TASK).words
    assert "most, not any" in exercises.check_1(eager, TASK).words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "Give a number"),
        ("0.3", "one number"),
        (True, "one number"),
        (-1, "positive"),
        (float("inf"), "positive"),
        (0.01, "It can be wider"),
        (0.3, "It can be wider"),
        (3.0, "Too wide"),
    ],
)
def test_a_bandwidth_that_will_not_do_is_told_why(studied, answer, words):
    found = exercises.check_2(answer, *studied)
    assert not found.right
    assert words in found.words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "flipped near 1"),
        (LAST, "two things"),
        ((LAST, "zero"), "a number"),
        ((SITE, 0), "no row"),
        ((LAST, 2), "only 0%"),
        ((LAST, -1), "do change sides"),
    ],
)
def test_a_row_that_does_not_mislead_is_told_why(flips, answer, words):
    found = exercises.check_3(answer, flips)
    assert not found.right
    assert words in found.words


def test_a_frame_without_such_a_row_is_told():
    frame = pd.DataFrame({"site": [LAST], "factor": [0.0], "flipped": [0.5], "difference": [2.0]})
    assert "No row of this frame" in exercises.check_3((LAST, 0), frame).words
