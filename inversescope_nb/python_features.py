"""Features written as Python text: an expression of ``x``, or a function of it.

It is the user's own code and runs as a cell of the notebook would, in this process, with nothing held back. What is
special is only what a form needs: it is compiled at once, so that a mistake shows before anything runs; what it raises
on some inputs is kept with its line; and a call that takes too long is ended (:mod:`inversescope_nb._limits`).
"""

from __future__ import annotations

import ast
import math
import re
import textwrap
import traceback
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ._limits import LIMIT_S, TooLong, limited
from .errors import Cancelled, FeatureError, InvalidArgument
from .features import Feature, InputText, unsteady

AT_HAND = "x is the text (a str), x.tokens its tokens, x.token_ids their ids (BOS counted); re and math are there"
_HINT = f"write an expression, such as x.split()[0], or def f(x): ...; {AT_HAND}"
_UNDEFINED = "inputs on which the code raises, or returns None"
_NAME = 48  # letters of a name that is made of the code
_FAULTS = 10_000  # inputs of which is kept what was raised
_KEPT = 8192  # inputs whose labels are kept: a chance level asks for the same ones at every pick
_NEW = object()
_numbers = count(1)


@dataclass(frozen=True)
class PythonFeature(Feature):
    """A feature written as text; made by :func:`inversescope_nb.features.python`."""

    source: str = ""
    """The text."""
    faults: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    """What it raised on which input, in words, with the line; there it is undefined."""


def python_feature(source: str, name: str | None = None) -> PythonFeature:
    """See :func:`inversescope_nb.features.python`."""
    if not isinstance(source, str) or not source.strip():
        raise InvalidArgument("the hypothesis has no code", hint=_HINT)
    if name is not None and not isinstance(name, str):
        raise InvalidArgument(f"name is a {type(name).__name__}", hint="give a string, or None")
    source = textwrap.dedent(source).strip()
    filename = f"<hypothesis {next(_numbers)}>"
    call, own_name = _compiled(source, filename)
    name = (name or "").strip() or own_name
    faults: dict[str, str] = {}
    kept: dict[tuple[str, tuple[int, ...]], Hashable | None] = {}

    def fn(text: InputText) -> Hashable | None:
        key = str(text), tuple(text.token_ids or ())
        label = kept.get(key, _NEW)
        if label is _NEW:
            label = labelled(text)
            if not kept and label == label and label != labelled(text):  # not NaN, which is no label
                raise unsteady(name)
            while len(kept) >= _KEPT:  # the oldest go
                kept.pop(next(iter(kept)), None)
            kept[key] = label
        return label

    def labelled(text: InputText) -> Hashable | None:
        try:
            return limited(lambda: call(text), filename)
        except TooLong:
            raise FeatureError(
                f"feature {name!r} takes longer than {LIMIT_S:g} s on {str(text)[:60]!r}",
                hint="is there a loop that never ends? Each input may take no longer",
            ) from None
        except Cancelled:
            raise
        except (Exception, SystemExit) as error:  # exit() ends the code, not the kernel
            faults.pop(str(text), None)
            faults[str(text)] = _told(error, filename)
            if len(faults) > _FAULTS:  # the oldest go
                del faults[next(iter(faults))]
            return None

    code = f"isn.features.python({_literal(source)}" + (f", name={name!r})" if name != own_name else ")")
    return PythonFeature(
        name, fn, f"Python: {_one_line(source)}", code, undefined=_UNDEFINED, source=source, faults=faults
    )


def _compiled(source: str, filename: str) -> tuple[Callable[[InputText], Any], str]:
    """What to call with a text, and a name made of the code."""
    space: dict[str, Any] = {"re": re, "math": math, "__name__": "hypothesis"}
    try:
        tree = ast.parse(source, filename)
        program = compile(tree, filename, "exec")
    except SyntaxError as error:
        raise _no_python(error) from error
    only = tree.body[0] if len(tree.body) == 1 else None
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if not functions and not isinstance(only, ast.Expr):
        raise InvalidArgument("this is neither an expression nor a function", hint=_HINT)
    try:
        if functions:
            limited(lambda: exec(program, space), filename)
            name = functions[-1].name
            return space[name], name.replace("_", " ").strip() or name
        expression = compile(ast.Expression(only.value), filename, "eval")
        if isinstance(only.value, ast.Lambda):
            return eval(expression, space), _one_line(source)
        return (lambda text: eval(expression, {**space, "x": text})), _one_line(source)
    except TooLong:
        raise InvalidArgument(f"the code takes longer than {LIMIT_S:g} s before any input", hint=_HINT) from None
    except (Exception, SystemExit) as error:
        raise InvalidArgument(f"the code raises {_told(error, filename)}", hint=_HINT) from error


def _no_python(error: SyntaxError) -> InvalidArgument:
    line = (error.text or "").strip()
    at = f"line {error.lineno}: {error.msg}" + (f", in {line[:60]!r}" if line else "")
    return InvalidArgument(f"this is not valid Python, {at}", hint=_HINT)


def _told(error: BaseException, filename: str) -> str:
    """``IndexError: list index out of range (line 2)``."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == filename]
    return f"{type(error).__name__}: {error}" + (f" (line {lines[-1]})" if lines else "")


def _one_line(source: str) -> str:
    text = " ".join(source.split())
    return text if len(text) <= _NAME else text[: _NAME - 1] + "\u2026"


def _literal(source: str) -> str:
    r"""The code as a literal that a reader can read, over several lines where it has some.

    >>> _literal("x[0]"), eval(_literal("def f(x):\n    return '\\n'"))
    ("'x[0]'", "def f(x):\n    return '\\n'\n")
    """
    if "\n" not in source:
        return repr(source)
    quoted = source.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    literal = f'"""\\\n{quoted}\n"""'
    return literal if ast.literal_eval(literal) == f"{source}\n" else repr(source)
