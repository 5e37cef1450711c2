"""Inputs with how near each lies to a picked activation: what inversions and the baselines' results have in common.

Axis names: n (inputs).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .features import InputText
from .sites import Site
from .verdicts import doubt_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Nearby:
    """Inputs with how near each lies to a picked activation; base of `Inversion` and of the baselines' results."""

    prompt_ids: list[int]
    """Token ids of the picked input, cut at the site."""
    tokens: list[str]
    """Its tokens."""
    text: InputText
    """Its text."""
    site: Site
    """Where the activation was read."""
    position: int
    """Index of the picked token, BOS counted."""
    bandwidth: float
    """Width eps of the kernel, in standardised units per coordinate."""
    samples: list[list[int]]
    """Token ids of the inputs."""
    texts: list[InputText]
    """Their texts."""
    d: Float[np.ndarray, " n"]
    """Distance to the picked activation, standardised units per coordinate."""
    relative_norm: Float[np.ndarray, " n"]
    """|z - z_hat| / |z_hat|."""
    cosine: Float[np.ndarray, " n"]
    """Cosine of z and z_hat."""
    prompts_name: str
    """Which P(X) this is relative to."""
    is_constant: bool = False
    """Whether the site does not vary on P(X)."""

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        """One line, however many inputs these are."""
        where = f"{self.site} at {str(self.text)!r:.60}"
        return f"{type(self).__name__}({where}, bandwidth={self.bandwidth:g}, n={self.n})"

    @property
    def n(self) -> int:
        """How many inputs these are."""
        return len(self.samples)

    @cached_property
    def is_copy(self) -> Bool[np.ndarray, " n"]:
        """Whether an input is the picked one itself."""
        return np.array([s == self.prompt_ids for s in self.samples], dtype=bool)

    @property
    def copy_share(self) -> float:
        """Share of the inputs that are the picked one; NaN where there are none."""
        return float(self.is_copy.mean()) if self.samples else float("nan")

    @property
    def in_ball(self) -> Bool[np.ndarray, " n"]:
        """Whether d is within `ball_edge`, the weighted 95 % quantile of d."""
        return self.d <= self.ball_edge

    def _head(self) -> str:
        """The first lines of a summary."""
        known = ", of what was found: not to be relied on" if doubt_of(self) else ""
        return (
            f"{self.site} at {self.tokens[-1]!r} (token {self.position}), bandwidth {self.bandwidth:g}: "
            f"{self.verdict}\n  {self.verdict_reason}\n  {self.bits:.2f} bits (se {self.bits_stderr:.2f}){known}, "
            "relative to "
        )
