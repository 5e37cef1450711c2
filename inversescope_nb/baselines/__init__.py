"""What a generator must beat.

Answers that need no training take the target model, P(X) and a picked input (`prior`, `neighbours`, `rejection`,
`perturbation`, `metropolis`), and return inputs with distances and weights under the names of an `Inversion`, so that
charts and :func:`inversescope_nb.consistency_of` take them too. InversionView's decoder is trained as a generator is
(`train_slot_decoder`), and :func:`inversescope_nb.invert` takes it in a generator's place. Attribute classifiers take
a feature instead of a picked input (`probe`, `dictionary`), and name its label at any activation. Arguments that
mean the same have the same names throughout: lm, prompts, site, position, bandwidth, kernel, statistics, seed,
on_progress, progress, cancel.
"""

from __future__ import annotations

from .dictionary import AtomClassifier, dictionary
from .labelled import Accuracy
from .metropolis import Metropolis, metropolis
from .neighbours import Neighbours, Prior, neighbours, prior
from .perturbation import Perturbation, perturbation
from .probe import Probe, probe
from .pursuit import Dictionary
from .rejection import Rejection, rejection
from .slot_decoder import SlotDecoder, train_slot_decoder
from .text_bank import TextBank

__all__ = [
    "Accuracy", "AtomClassifier", "Dictionary", "Metropolis", "Neighbours", "Perturbation", "Prior", "Probe",
    "Rejection", "SlotDecoder", "TextBank", "dictionary", "metropolis", "neighbours", "perturbation", "prior", "probe",
    "rejection", "train_slot_decoder",
]  # fmt: skip
