"""Hypotheses written as Python: what is understood, what is said of mistakes, what can be stopped."""

from __future__ import annotations

import doctest
import sys
import threading
import time

import pytest

from inversescope_nb import _limits, python_features
from inversescope_nb._limits import LIMIT_S, TooLong, limited, stoppable_by
from inversescope_nb.errors import Cancelled, FeatureError, InvalidArgument
from inversescope_nb.features import InputText, contains, python

TEXT = InputText("John saw 12", ("<bos>", "John", " saw", " 12"), (1, 5, 6, 7))
FOREVER = {
    "a loop": "def f(x):\n    while True:\n        pass",
    "on one line": "def f(x):\n    while True: pass",
    "without a body": "def f(x):\n    while True:\n        ...",
    "that goes on": "def f(x):\n    while 1: continue",
    "inside another function": "def f(x):\n    def g():\n        while True: pass\n    return g()",
    "a generator": "any(x is None for _ in iter(int, 1))",
    "behind an except": "def f(x):\n while True:\n  try:\n   x[0]\n  except Exception:\n   pass",
}


@pytest.mark.parametrize("module", [_limits, python_features])
def test_docstring_examples_run(module) -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("source", "name", "label"),
    [
        ("x.split()[0]", "x.split()[0]", "John"),
        ("len(x.tokens)", "len(x.tokens)", 4),
        ("  x.token_ids[-1]\n", "x.token_ids[-1]", 7),
        ("lambda text: text[-1]", "lambda text: text[-1]", "2"),
        ("re.search(r'[0-9]+', x).group()", "re.search(r'[0-9]+', x).group()", "12"),
        (
            "tuple(a for a in x.split() if len(a) > 0 < len(x))[1]",
            "tuple(a for a in x.split() if len(a) > 0 < len(…",
            "saw",
        ),
        ("def last_word(x):\n    return x.split()[-1]", "last word", "12"),
        ("def half(n):\n    return n // 2\n\ndef f(x):\n    return half(len(x))", "f", 5),
        ("import string\ndef f(x):\n    return x[0] in string.ascii_uppercase", "f", True),
        ("None", "None", None),
    ],
)
def test_an_expression_or_a_function_makes_a_feature(source, name, label) -> None:
    feature = python(source)
    assert (feature.name, feature(TEXT)) == (name, label)
    assert feature.faults == {}
    again = eval(feature.code, {"isn": __import__("inversescope_nb")})
    assert (again.name, again(TEXT), again.source) == (name, label, feature.source)


def test_a_name_can_be_given_and_is_kept_in_the_code() -> None:
    feature = python("x[0]", name="first letter")
    assert feature.name == "first letter"
    assert feature.code == "isn.features.python('x[0]', name='first letter')"
    assert (feature & contains("a")).code == f"{feature.code} & isn.features.contains('a')"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "has no code"),
        ("x.split(", "line 1"),
        ("def f(x):\n    return x +", "line 2: invalid syntax, in 'return x +'"),
        ("return x", "'return' outside function"),
        ("y = 3", "neither an expression nor a function"),
        ("import nothing_of_that_name\ndef f(x):\n    return 1", "ModuleNotFoundError: No module named"),
        ("def g():\n    return 1 / 0\n\ng()\n\ndef f(x):\n    return 1", "(line 2)"),
        ("while True:\n    pass\ndef f(x): pass", "takes longer than 0.5 s before any input"),
        (5, "has no code"),
    ],
)
def test_mistakes_are_told_with_their_line_and_a_hint(source, says) -> None:
    with pytest.raises(InvalidArgument) as raised:
        python(source)
    assert says in str(raised.value)
    assert "x.tokens" in raised.value.hint


def test_where_it_raises_it_is_undefined_and_what_it_raised_is_kept() -> None:
    feature = python("def f(x):\n    words = x.split()\n    return words[2]")
    assert [feature(text) for text in ("a b c", "a", "a b")] == ["c", None, None]
    told = "IndexError: list index out of range (line 3)"
    assert feature.faults == {"a": told, "a b": told}


def test_what_is_no_label_is_refused_as_of_any_feature() -> None:
    with pytest.raises(FeatureError, match="no label"):
        python("x.split()")(TEXT)


@pytest.mark.parametrize("source", FOREVER.values(), ids=FOREVER)
def test_what_never_ends_is_ended(source) -> None:
    before = sys.gettrace()
    with pytest.raises(FeatureError, match=f"takes longer than {LIMIT_S:g} s on 'John saw 12'"):
        python(source)(TEXT)
    assert sys.gettrace() is before, "whoever traces goes on"


def test_a_stopped_job_ends_it_before_its_time() -> None:
    cancel, threads = threading.Event(), []

    def call():
        threads.append(threading.get_ident())
        cancel.set()
        while True:
            pass

    here = call.__code__.co_filename
    with stoppable_by(cancel), pytest.raises(Cancelled):
        limited(call, here, limit_s=60)
    assert threads
    with stoppable_by(cancel), pytest.raises(Cancelled):
        python("x[0]")(TEXT)
    assert python("x[0]")(TEXT) == "J", "the next job is another"


def test_time_is_counted_for_each_call() -> None:
    assert limited(lambda: 5, "<typed>", limit_s=0.0) == 5, "only the typed code is looked at"
    with pytest.raises(TooLong):
        limited(lambda: eval(compile("[i for i in range(9)]", "<typed>", "eval")), "<typed>", limit_s=-1.0)


def test_time_that_others_take_does_not_count_but_waiting_ends(monkeypatch) -> None:
    monkeypatch.setattr(_limits.time, "thread_time", lambda: 0.0)  # as if this thread had got none of it
    began = time.monotonic()

    def call(seconds: float) -> str:
        while time.monotonic() < began + seconds:
            time.sleep(0.001)
        return "done"

    here = call.__code__.co_filename
    assert limited(lambda: call(0.05), here, limit_s=0.01) == "done"
    began = time.monotonic()
    with pytest.raises(TooLong):
        limited(lambda: call(60), here, limit_s=0.01)


def test_what_was_raised_last_is_kept(monkeypatch):
    monkeypatch.setattr(python_features, "_FAULTS", 3)
    monkeypatch.setattr(python_features, "_KEPT", 2)
    first = python("x.index('z')")
    for text in ("a", "b", "c", "a", "d"):
        assert first(InputText(text)) is None
    assert list(first.faults) == ["c", "a", "d"]


def test_it_is_called_once_for_each_input_and_twice_for_the_first(monkeypatch):
    calls = []
    monkeypatch.setattr(python_features, "limited", lambda call, name: calls.append(1) or call())
    length = python("len(x.tokens)")
    del calls[:]
    plain, read = InputText("a b"), InputText("a b", ["a", "b"], [3, 4])
    assert [length(text) for text in (plain, read, plain, "c", read, "a b")] == [0, 2, 0, 0, 2, 0]
    assert len(calls) == 4
    with pytest.raises(FeatureError, match="another label each time"):
        python("def f(x, seen=[]):\n    seen.append(x)\n    return len(seen)")(plain)
    with pytest.raises(FeatureError, match="another label each time"):
        python("re.search('a', x)")(plain)
