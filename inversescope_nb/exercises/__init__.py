"""Checks of the exercises in the tutorial notebooks, a module for each notebook.

A check takes a learner's answer and says in one line whether it is right or what is off; it never raises on a wrong
one. Solutions stand beside the notebooks, in ``notebooks/solutions``.
"""

from __future__ import annotations

from .base import Checked, not_yet, right

__all__ = ["Checked", "not_yet", "right"]
