"""The exercises of ``notebooks/on_pick.ipynb``: solutions pass, and a wrong answer is told what is wrong with it."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import pytest

import inversescope_nb as isn
from inversescope_nb.exercises import on_pick as exercises

_PATH = Path(__file__).resolve().parents[1] / "notebooks" / "solutions" / "on_pick.py"
_SPEC = importlib.util.spec_from_file_location("solutions_on_pick", _PATH)
solutions = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(solutions)

PROMPT, SITE, LATE = "4 3 7 + 5 6 8 =", "blocks.1.hook_resid_post", "blocks.3.hook_resid_post"


@pytest.fixture(scope="module")
def lm():
    return isn.load_model()


@pytest.fixture(scope="module")
def gen():
    return isn.load_generator()


@pytest.fixture(scope="module")
def scope(lm, gen):
    widget = isn.InverseScopeWidget(lm, generators=[gen], prompt=PROMPT, site=SITE, bandwidth=0.3, n=16)
    yield widget
    widget.close()


@pytest.fixture(scope="module")
def case(lm, gen):
    """A reliable inversion, one that is not, a feature of the pick, and one that it does not show yet."""
    good, bad = (
        isn.invert(lm, gen, PROMPT, site=site, position=5, bandwidth=eps, n=64, seed=1, progress=False)
        for site, eps in ((SITE, 0.3), (LATE, 0.02))
    )  # with other draws the plain rate and the weighted one may be the same
    features = isn.tasks.addition().features
    return good, bad, features["first_digit"], features["hundreds"]


def test_every_solution_passes(scope, case):
    assert exercises.check_1(solutions.solution_1(), scope).right
    assert exercises.check_2(solutions.solution_2()).right
    assert exercises.check_3(solutions.solution_3(), *case).right


def logging(entry):
    """make_log with what its callback appends."""

    def make_log():
        log = []
        return (lambda inversion: log.append(entry(inversion))), log

    return make_log


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "itself"),
        (lambda: None, "return keep, log"),
        (lambda: [], "two things"),
        (lambda: ([], []), "a function"),
        (lambda: (print, {}), "a list"),
        (lambda: (lambda: None, []), "called with one inversion"),
        (lambda: (lambda inversion: None, []), "empty"),
        (lambda needed: None, "raised TypeError"),
        (logging(lambda inversion: inversion), "whole inversions"),
        (logging(lambda inversion: (inversion.tokens, str(inversion.verdict))), "all tokens"),
        (logging(lambda inversion: str(inversion.verdict)), "is wanted"),
    ],
)
def test_a_log_that_is_wrong_is_told_why(scope, answer, words):
    found = exercises.check_1(answer, scope)
    assert not found.right
    assert words in found.words
    assert scope.error is None


def test_a_check_leaves_no_callback_behind(scope):
    log = []

    def make_log():
        return (lambda inversion: log.append((inversion.tokens[-1], str(inversion.verdict)))), log

    assert exercises.check_1(make_log, scope)
    scope.invert().wait()
    assert len(log) == 2


def waits(callback):
    def handed(inversion):
        thread = threading.Thread(target=callback, args=(inversion,))
        thread.start()
        thread.join()

    return handed


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "itself"),
        (lambda callback: None, "returns None"),
        (lambda callback: 3, "returns a int"),
        (lambda callback: callback(None), "before there is an inversion"),
        (lambda callback: callback, "own thread"),
        (lambda callback: lambda x: threading.Thread(target=callback(x)).start(), "args=(x,)"),
        (lambda callback: lambda x: threading.Thread(target=callback, args=(x,)), "never called"),
        (lambda callback: lambda x: threading.Thread(target=callback).start(), "with the inversion"),
        (waits, "do not wait"),
        (lambda callback: lambda: None, "raised TypeError"),
    ],
)
def test_work_that_is_not_handed_over_is_told_why(monkeypatch, answer, words):
    monkeypatch.setattr(exercises, "_PATIENCE_S", 0.6)
    found = exercises.check_2(answer)
    assert not found.right
    assert words in found.words


def rate(column: str, only_reliable: bool = True):
    def number_to_show(inversion, feature):
        if only_reliable and inversion.verdict != "RELIABLE":
            return None
        return float(isn.consistency_of(inversion, feature, permutations=0).to_frame().iloc[0][column])

    return number_to_show


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "itself"),
        (lambda inversion, feature: None, "there is a rate"),
        (lambda inversion, feature: 0.5, "consistency_of gives"),
        (lambda inversion: 0.5, "raised TypeError"),
        (rate("fcr_plain"), "plain"),
        (rate("fcr", only_reliable=False), "whose verdict is"),
        (rate("fcr"), "not defined"),
    ],
)
def test_a_number_that_may_not_be_shown_is_told_why(case, answer, words):
    found = exercises.check_3(answer, *case)
    assert not found.right
    assert words in found.words
