"""How well the chains of a walk mix. Axis names: c (chains), r (states of each)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._chains import chain_ess, nested_r_hat
from ..verdicts import MET

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Mixing:
    """How well chains mix, by the worst of several quantities."""

    ess: float
    """Independent draws that their states are worth."""
    typical: float
    """The same by the median quantity."""
    r_hat: float
    """Nested R-hat of chains from P(X) and from the picked input."""

    @classmethod
    def of(cls, values: Float[np.ndarray, "c r quantity"], n_chains: int) -> Mixing:
        """Of chains of which the first `n_chains` came from P(X), the others from the picked input."""
        found = [chain_ess(x) for x in np.moveaxis(values, -1, 0)]
        origins = np.arange(len(values)) // n_chains
        ess = float(np.nanmin(found)) if np.isfinite(found).any() else 0.0
        typical = float(np.nanmedian(found)) if ess else 0.0
        return cls(ess, typical, max(nested_r_hat(x, origins) for x in np.moveaxis(values, -1, 0)))

    @property
    def have_met(self) -> bool:
        """Whether it cannot be seen any more where chains came from."""
        return self.r_hat <= MET
