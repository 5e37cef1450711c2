"""Checks of the exercises in ``notebooks/on_pick.ipynb``."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

from ..rates import consistency_of
from .base import Checked, not_yet, right

if TYPE_CHECKING:
    from ..features import Feature
    from ..inversion import Inversion
    from ..widgets import InverseScopeWidget

_WORK_S, _AT_ONCE_S, _PATIENCE_S = 0.4, 0.2, 3.0


def check_1(answer: Any, scope: InverseScopeWidget) -> Checked:
    """Whether a callback keeps (token, verdict) of every inversion.

    Args:
        answer: ``make_log()``, which returns the callback and its list.
        scope: a widget with a generator, which inverts twice; what it has registered is taken off again.
    """
    if not callable(answer):
        return not_yet("Give the function make_log itself, without calling it.")
    try:
        made = answer()
    except Exception as error:  # a learner's code may raise anything
        return not_yet(f"make_log raised {type(error).__name__}: {error}")
    if made is None:
        return not_yet("It returns None. Return your callback and your list: return keep, log.")
    if not isinstance(made, tuple) or len(made) != 2:
        return not_yet(f"It returns a {type(made).__name__}; two things are wanted: the callback and the list.")
    callback, log = made
    if not callable(callback) or not isinstance(log, list):
        return not_yet("The first is to be a function, the second a list.")
    errors: list[BaseException] = []
    wanted = []
    scope.on_error(errors.append)
    scope.on_inversion(callback)
    try:
        for _ in range(2):
            scope.invert().wait()
            wanted.append((scope.inversion.tokens[-1], str(scope.inversion.verdict)))
    finally:
        scope.on_inversion(callback, remove=True)
        scope.on_error(errors.append, remove=True)
    if errors:
        scope.clear_error()
        return not_yet(
            f"Your callback raised {type(errors[0]).__name__}: {errors[0]}. It is called with one inversion."
        )
    if not log:
        return not_yet("After two inversions the list is empty: append to it in the callback.")
    if any(hasattr(entry, "samples") for entry in log):
        return not_yet("You keep whole inversions, with all their samples. Keep only the token and the verdict.")
    if len(log) != len(wanted):
        return not_yet(f"After {len(wanted)} inversions the list has {len(log)} entries.")
    if [tuple(entry) if isinstance(entry, list | tuple) else entry for entry in log] == wanted:
        return right(f"Two inversions, two entries: {log[-1]!r}.")
    if any(isinstance(entry, tuple) and entry and isinstance(entry[0], list) for entry in log):
        return not_yet("inversion.tokens are all tokens up to the picked one; the picked one is the last.")
    return not_yet(f"An entry is {log[-1]!r:.80}, where {wanted[-1]!r} is wanted.")


def check_2(answer: Any) -> Checked:
    """Whether a function hands a callback over to another thread.

    Args:
        answer: ``in_background(callback)``.
    """
    if not callable(answer):
        return not_yet("Give the function in_background itself.")
    given, calls, done = object(), [], threading.Event()

    def callback(*arguments: Any) -> None:
        calls.append((threading.get_ident(), arguments))
        time.sleep(_WORK_S)
        done.set()

    try:
        handed = answer(callback)
        if calls:
            return not_yet(
                "The callback is called at once, before there is an inversion: return a function that does it."
            )
        if handed is None:
            return not_yet("It returns None. Return a function that takes an inversion.")
        if not callable(handed):
            return not_yet(f"It returns a {type(handed).__name__}; return a function that takes an inversion.")
        started = time.perf_counter()
        handed(given)
        took = time.perf_counter() - started
    except Exception as error:  # a learner's code may raise anything
        return not_yet(f"It raised {type(error).__name__}: {error}")
    finished = done.wait(_PATIENCE_S)
    if not calls:
        return not_yet("The callback was never called. Was the thread started, or the work submitted?")
    ident, arguments = calls[0]
    if ident == threading.get_ident():
        return not_yet(
            f"The callback ran on the caller's own thread, which was held up for {took:.1f} s. In Thread(target=f(x)) "
            "f is called at once; write Thread(target=f, args=(x,))."
        )
    if len(arguments) != 1 or arguments[0] is not given:
        return not_yet("The callback was not called with the inversion.")
    if took > _AT_ONCE_S:
        return not_yet(f"On another thread, but it came back after {took:.1f} s only: do not wait for the result.")
    if not finished or len(calls) > 1:
        return not_yet(f"The callback was called {len(calls)} times.")
    return right(f"Back after {1000 * took:.0f} ms, while the work went on elsewhere.")


def check_3(answer: Any, good: Inversion, bad: Inversion, defined: Feature, undefined: Feature) -> Checked:
    """Whether a function gives the rate to quote, and none where there is none.

    Args:
        answer: ``number_to_show(inversion, feature)``.
        good, bad: an inversion that is reliable, and one that is not.
        defined, undefined: features of the pick.
    """
    if not callable(answer):
        return not_yet("Give the function itself.")
    if good.verdict != "RELIABLE" or bad.verdict == "RELIABLE":
        return not_yet("This check needs a reliable inversion and one that is not; see their verdicts.")
    values = []
    for words, inversion, feature in (
        ("a reliable inversion", good, defined),
        ("an inversion that is not reliable", bad, defined),
        ("a feature that is not defined for the pick", good, undefined),
    ):
        try:
            value = answer(inversion, feature)
            values.append(value if value is None else float(value))
        except Exception as error:  # a learner's code may raise anything
            return not_yet(f"For {words} it raised {type(error).__name__}: {error}")
    row = consistency_of(good, defined, permutations=0).to_frame().iloc[0]
    shown, doubtful, missing = values
    if shown is None or math.isnan(shown):
        return not_yet("For a reliable inversion with a feature that is defined there is a rate to show.")
    if not math.isclose(shown, row["fcr"], rel_tol=1e-6):
        for column, what in (("fcr_plain", "the plain rate"), ("fcr_with_copies", "the rate with copies")):
            if math.isclose(shown, row[column], rel_tol=1e-6):
                return not_yet(f"That is {what}; the figure to quote is weighted and leaves out copies: fcr.")
        return not_yet(f"It gives {shown:.3f}, where isn.consistency_of gives {row['fcr']:.3f}.")
    if doubtful is not None:
        return not_yet(f"It shows {doubtful:.2f} for an inversion whose verdict is {bad.verdict}: return None there.")
    if missing is not None:
        return not_yet(f"It gives {missing} where the feature is not defined for the pick: return None there.")
    return right(f"{shown:.2f} where it may be shown, nothing where the verdict or the feature forbids it.")
