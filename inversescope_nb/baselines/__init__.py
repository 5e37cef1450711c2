"""What a generator must beat.

Answers that need no training take the target model, P(X) and a picked input (`prior`, `neighbours`, `rejection`,
`perturbation`), and return inputs with distances and weights under the names of an `Inversion`, so that charts and
:func:`inversescope_nb.consistency_of` take them too. InversionView's decoder is trained as a generator is
(`train_slot_decoder`), and :func:`inversescope_nb.invert` takes it in a generator's place.
"""

from __future__ import annotations

from .neighbours import Neighbours, Prior, neighbours, prior
from .perturbation import Perturbation, perturbation
from .rejection import Rejection, rejection
from .slot_decoder import SlotDecoder, train_slot_decoder

__all__ = [
    "Neighbours", "Perturbation", "Prior", "Rejection", "SlotDecoder", "neighbours", "perturbation", "prior",
    "rejection", "train_slot_decoder",
]  # fmt: skip
