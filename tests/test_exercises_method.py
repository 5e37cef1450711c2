"""The exercises of ``notebooks/method.ipynb``: solutions pass, and a wrong answer is told what is wrong with it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import inversescope_nb as isn
from inversescope_nb.exercises import method as exercises

_PATH = Path(__file__).resolve().parents[1] / "notebooks" / "solutions" / "method.py"
_SPEC = importlib.util.spec_from_file_location("solutions_method", _PATH)
solutions = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(solutions)

SITE, PICK = "blocks.0.hook_resid_post", 7


@pytest.fixture(scope="module")
def lm():
    return isn.load_model()


@pytest.fixture(scope="module")
def table(lm):
    first, second = ([" ".join(str(n)) for n in range(start, start + 40)] for start in (430, 540))
    prompts = isn.PromptDistribution.from_templates(["{A} + {B} ="], {"A": first, "B": second}, cut="end")
    return isn.exact.activation_table(lm, prompts, SITE, progress=False)


@pytest.fixture(scope="module")
def report(lm):
    """One feature that is held, one that hardly varies, one that is not held."""
    gen, task = isn.load_generator(), isn.tasks.addition()

    def is_77(text):
        label = task.features["tens"](text), task.features["ones"](text)
        return None if None in label else label == (7, 7)

    sums = [
        "4 6 3 + 5 6 9 =",
        "4 2 6 + 5 9 7 =",
        "1 0 4 + 1 0 9 =",
        "2 0 1 + 1 6 5 =",
        "7 0 0 + 2 0 1 =",
        "3 5 0 + 1 1 1 =",
    ]
    inversions = [isn.invert(lm, gen, x, site="resid_post.1", bandwidth=0.1, n=48, progress=False) for x in sums]
    features = [isn.Feature("ends in 77", is_77), task.features["thousands"], task.features["ones"]]
    return isn.consistency_of(inversions, features, permutations=0)


def test_every_solution_passes(table, report):
    assert exercises.check_1(solutions.solution_1(table, PICK), table, PICK).right
    assert exercises.check_2(solutions.solution_2()).right
    assert exercises.check_3(solutions.solution_3(report), report).right


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "Give a number"),
        ("narrow", "one number"),
        ([0.1, 0.2], "one number"),
        (-0.1, "positive"),
        (float("nan"), "positive"),
        (0.0001, "Too narrow"),
        (50.0, "Too wide"),
    ],
)
def test_a_bandwidth_that_will_not_do_is_told_why(table, answer, words):
    found = exercises.check_1(answer, table, PICK)
    assert not found.right
    assert words in found.words


def _weight(log_prior, log_q, d, bandwidth, factor=2):
    return np.exp(log_prior - d**2 / (factor * bandwidth**2) - log_q)


def _rate(w, agree):
    return (w * agree).sum() / w.sum()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "function"),
        (lambda *a: None, "returns None"),
        (lambda *a: "0.5", "on a test case"),
        (lambda *a: [1, 2], "returns a list"),
        (lambda agree: agree.mean(), "raised TypeError"),
        (lambda agree, p, q, d, e, c: agree[~c].mean(), "plain mean"),
        (lambda agree, p, q, d, e, c: agree.mean(), "plain mean"),
        (lambda agree, p, q, d, e, c: agree.mean(), "And copies"),
        (lambda agree, p, q, d, e, c: agree[np.isfinite(p)].mean(), "inside P(X) counts once"),
        (lambda agree, p, q, d, e, c: _rate(_weight(p, q, d, e), agree), "Copies"),
        (lambda agree, p, q, d, e, c: _rate(_weight(p, 0 * q, d, e), agree), "q(x) is missing"),
        (lambda agree, p, q, d, e, c: _rate(_weight(p, 0 * q, d, e), agree), "And copies"),
        (lambda agree, p, q, d, e, c: _rate(_weight(p, -q, d, e) * ~c, agree), "multiply by q(x)"),
        (lambda agree, p, q, d, e, c: _rate(_weight(p, 0 * q, d, e) * ~c, agree), "q(x) is missing"),
        (lambda agree, p, q, d, e, c: _rate(_weight(0 * d, q, d, e) * ~c, agree), "P(x) is missing"),
        (lambda agree, p, q, d, e, c: _rate(_weight(0 * d, 0 * q, d, e) * ~c, agree), "Only the kernel"),
        (lambda agree, p, q, d, e, c: _rate(_weight(p, q, 0 * d, e) * ~c, agree), "kernel is missing"),
        (lambda agree, p, q, d, e, c: _rate(_weight(p, q, d, e, factor=1) * ~c, agree), "with the 2"),
        (lambda agree, p, q, d, e, c: (_weight(p, q, d, e) * ~c * agree).sum(), "sum of the weights"),
    ],
)  # fmt: skip
def test_a_rate_that_is_wrong_is_told_why(answer, words):
    found = exercises.check_2(answer)
    assert not found.right
    assert words in found.words


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "side by side"),
        ("hundreds", "no feature"),
        (3, "no feature"),
        ("ones", "a high one is looked for"),
        ("thousands", "nearer"),
    ],
)
def test_a_number_that_does_not_mislead_is_told_why(report, answer, words):
    found = exercises.check_3(answer, report)
    assert not found.right
    assert words in found.words
