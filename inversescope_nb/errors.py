"""The package's own errors: what failed, what was given, what is allowed, and what to do next.

Every mistake a user can make raises a subclass of :class:`InverseScopeError`; where a built-in
exception is the natural one (``ValueError``, ``FileNotFoundError``) the subclass is that too, so
``except ValueError`` keeps working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class InverseScopeError(Exception):
    """Base of all errors of this package.

    Args:
        message: what was wrong and what was given.
        hint: what is allowed, or what to do next; shown on its own line.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class InvalidArgument(InverseScopeError, ValueError):
    """An argument is outside what is allowed: n <= 0, a bandwidth <= 0, an unknown option."""


class UnknownSite(InvalidArgument):
    """A site, layer or head that the model does not have."""


class UnknownFeature(InvalidArgument, KeyError):
    """A feature that a task does not have."""


class BadPrompt(InvalidArgument):
    """A prompt that is empty, too long for the model, or holds a token that does not exist."""


class UnsupportedModel(InverseScopeError):
    """A model whose blocks cannot be found, or whose parts do not add up to its residual stream."""


class ModelLoadError(InverseScopeError, OSError):
    """A model, tokenizer or generator that cannot be read or fetched."""


class GeneratorMismatch(InverseScopeError):
    """A generator made for another model, tokenizer or site, or one that fails its self-test."""


class CheckpointMismatch(InverseScopeError):
    """A checkpoint of a run with another configuration, target model or prompt distribution."""


class OutOfMemory(InverseScopeError, MemoryError):
    """Work that does not fit in memory, not even one prompt at a time."""


class NotFinite(InverseScopeError, ArithmeticError):
    """Activations that are NaN or infinite."""


class StoreError(InverseScopeError, OSError):
    """Activations, a checkpoint or a generator that cannot be stored (a full disk), or a store that is damaged."""


class NotEnumerable(InverseScopeError):
    """A prompt distribution whose inputs cannot be listed."""


class FeatureError(InverseScopeError):
    """A feature function that raised, or returned something that is no label."""


class Cancelled(InverseScopeError):
    """Work that was stopped on request.

    Args:
        message: what was stopped.
        checkpoint: where the work so far was written, if it was.
    """

    def __init__(self, message: str = "stopped on request", *, checkpoint: Path | None = None) -> None:
        super().__init__(message, hint=f"resume from {checkpoint}" if checkpoint else None)
        self.checkpoint = checkpoint


def suggest(name: str, allowed: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the closest allowed name, or an empty string.

    >>> suggest("resid_pots", ["resid_post", "mlp_out"])
    " Did you mean 'resid_post'?"
    """
    close = difflib.get_close_matches(str(name), list(allowed), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
