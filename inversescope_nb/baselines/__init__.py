"""What a generator must beat: answers to the same question that need no training.

All take the target model, P(X) and a picked input, and return inputs with distances and weights under the names of an
`Inversion`, so that charts and :func:`inversescope_nb.consistency_of` take them too.
"""

from __future__ import annotations

from .neighbours import Neighbours, Prior, neighbours, prior
from .perturbation import Perturbation, perturbation
from .rejection import Rejection, rejection

__all__ = [
    "Neighbours", "Perturbation", "Prior", "Rejection", "neighbours", "perturbation", "prior", "rejection",
]  # fmt: skip
