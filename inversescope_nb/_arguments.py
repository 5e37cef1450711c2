"""Checks of arguments that several functions share, so that one mistake has one message wherever it is made."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InvalidArgument

if TYPE_CHECKING:
    from .prompts import PromptDistribution

_PROMPTS = "PromptDistribution.from_texts(texts) makes one; a task's is task.prompts"


def whole_number(name: str, value: Any, *, hint: str, least: int | None = None) -> int:
    """The value as an int; raises `InvalidArgument` where it is no whole number or too small.

    >>> whole_number("n", 0, least=1, hint="64 is quick")
    Traceback (most recent call last):
    inversescope_nb.errors.InvalidArgument: n=0 must be a whole number of at least 1
      64 is quick
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        allowed = "a whole number" if least is None else f"a whole number of at least {least}"
        raise InvalidArgument(f"{name}={value!r:.60} must be {allowed}", hint=hint)
    return number


def sample_count(n: Any) -> int:
    """How many inputs to propose for one activation."""
    return whole_number("n", n, least=1, hint="64 is quick, 256 is usual, 1000 is finer")


def unit_of_information(unit: Any) -> float:
    """What a number in nats is multiplied with to be in this unit."""
    units = {"nats": 1.0, "bits": 1 / math.log(2)}
    if unit not in units:
        raise InvalidArgument(f"unit={unit!r} is no unit of information", hint="allowed: nats, bits")
    return units[unit]


def draw_count(n: Any) -> int:
    """How many prompts or inputs to draw."""
    return whole_number("n", n, least=0, hint="give how many to draw")


def seed_number(seed: Any, name: str = "seed") -> int:
    """A seed."""
    hint = "the same seed gives the same result; 0 is the usual one"
    number = whole_number(name, seed, least=0, hint=hint)
    if number >= 2**63:
        raise InvalidArgument(f"{name}={number} is too large", hint=f"less than 2**63; {hint}")
    return number


def groups_of(values: Any, name: str) -> list[Hashable]:
    """One value per input, by which inputs are grouped; a bare text is not several."""
    hint = "give one value per input: a str, a number, or a tuple of those"
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidArgument(f"{name} is a {type(values).__name__}", hint=hint)
    groups = list(values)
    if not all(isinstance(group, Hashable) for group in groups):
        raise InvalidArgument(f"{name} gives what cannot be compared", hint=hint)
    return groups


def folder_path(path: Any, name: str) -> Path:
    """A path to write to."""
    if not isinstance(path, str | os.PathLike):
        raise InvalidArgument(f"{name} is a {type(path).__name__}", hint="give the name of a folder")
    return Path(path).expanduser()


def token_index(position: Any, length: int, what: str = "the prompt") -> int:
    """A position among `length` tokens, counted from 0; negative ones count from the end.

    >>> token_index(-1, 3)
    2
    """
    allowed = f"allowed: {-length} to {length - 1}; negative positions count from the end"
    index = whole_number("position", position, hint=allowed)
    if not -length <= index < length:
        raise InvalidArgument(f"position {index} is outside {what} of {length} tokens", hint=allowed)
    return index % length


def check_model(lm: Any, name: str = "lm") -> None:
    """Raises `InvalidArgument` where something else than a `LanguageModel` is given as one."""
    if not hasattr(lm, "token_strings"):
        raise InvalidArgument(
            f"{name} is a {type(lm).__name__}, not a LanguageModel",
            hint="load_model(...) makes one of a Hub name, a folder, a model or a (model, tokenizer) pair",
        )


def check_generator(gen: Any) -> None:
    """Raises `InvalidArgument` where something else than a `Generator` is given as one."""
    if not (hasattr(gen, "prompts") and hasattr(gen, "sites")):
        raise InvalidArgument(
            f"gen is a {type(gen).__name__}, not a Generator",
            hint="load_generator(folder) reads one, train_generator(lm, sites, prompts) makes one",
        )


def check_kernel(kernel: Any) -> None:
    """Raises `InvalidArgument` where something else than a `Kernel` is given as one; None will do."""
    from .kernels import METRICS, Kernel

    if not isinstance(kernel, Kernel | None):
        raise InvalidArgument(
            f"kernel is a {type(kernel).__name__}, not a Kernel",
            hint=f"kernels.Kernel(metric) makes one; metrics: {', '.join(METRICS)}",
        )


def check_statistics(statistics: Any) -> None:
    """Raises `InvalidArgument` where something else than a site's `SiteStatistics` is given as that."""
    from .kernels import SiteStatistics

    if not isinstance(statistics, SiteStatistics):
        raise InvalidArgument(f"statistics is a {type(statistics).__name__}", hint="give generator.statistics(site)")


def check_prompts(prompts: Any, name: str = "prompts") -> PromptDistribution:
    """The distribution itself; raises `InvalidArgument` where something else is given as one."""
    from .prompts import PromptDistribution

    if not isinstance(prompts, PromptDistribution):
        raise InvalidArgument(f"{name} is a {type(prompts).__name__}, not a PromptDistribution", hint=_PROMPTS)
    return prompts
