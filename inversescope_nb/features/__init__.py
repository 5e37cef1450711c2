"""Features: named functions from an input to a discrete label.

A feature is a hypothesis about what an activation holds: "the subject", "the last digit", "whether
the text mentions Paris". It sees one input (an `InputText`: a string that knows its tokens) and
returns a hashable label, or None where it is undefined for this input. The feature consistency
rate of InverseScope (Luo, Zhou, Dong, arXiv 2506.07406) then asks how often the inputs that share
an activation share that label.

- Your own: :class:`Feature`, the decorator :func:`feature`, Python text (:func:`python`).
- Of the text: :func:`contains`, :func:`regex`, :func:`in_lexicon`, :func:`length`; its numbers: :func:`number`,
  :func:`number_property`, :func:`compare_numbers`, :func:`combine_numbers`.
- Of its tokens: :func:`token_at`, :func:`token_in_slot`, :func:`standing_for`, :func:`n_tokens`.
- From elsewhere: :func:`slot` (a prompt distribution), :func:`from_frame` (a table), :func:`from_classifier`.
- Together: ``a & b``, ``a | b``, ``~a`` of those that say yes or no; :func:`pair` of any.

>>> polite = contains("please") | contains("thank")
>>> polite.labels(["yes please", "give it"]), (polite & ~contains("no")).name
([True, False], "(contains 'please' | contains 'thank') & (not contains 'no')")
"""

from __future__ import annotations

from .aligned import standing_for
from .base import Feature, as_features, feature, unsteady
from .classifier import from_classifier
from .composed import pair
from .lexicon import in_lexicon
from .numbers import combine_numbers, compare_numbers, number, number_property
from .ready import contains, length, n_tokens, python, regex, token_at
from .slots import slot, token_in_slot
from .tables import from_frame
from .text import InputText

__all__ = [
    "Feature",
    "InputText",
    "as_features",
    "combine_numbers",
    "compare_numbers",
    "contains",
    "feature",
    "from_classifier",
    "from_frame",
    "in_lexicon",
    "length",
    "n_tokens",
    "number",
    "number_property",
    "pair",
    "python",
    "regex",
    "slot",
    "standing_for",
    "token_at",
    "token_in_slot",
    "unsteady",
]
