"""Solutions of the exercises in ``own_model.ipynb``; the checks are in ``inversescope_nb.exercises.own_model``."""

from __future__ import annotations

import numpy as np

import inversescope_nb as isn


def solution_1():
    """One object, and a cut behind the slot of the receiver: what follows the cut carries no information anyway."""
    names = ["John", "Mary", "Paul", "Tom", "Anna", "Lucy"]
    return isn.PromptDistribution.from_templates(
        ["{A} gave the {COLOUR} {OBJECT} to {B} :"],
        {"A": names, "B": names, "COLOUR": ["red", "green", "blue"], "OBJECT": ["book"]},
        cut="slot:B",
    )


def solution_2():
    """KL(p || q) is the mean of log p - log q over draws of p: a plain mean, since the draws are p's own."""
    return lambda log_p, log_q: np.mean(log_p - log_q)


def solution_3(prompts):
    """The receiver, but Paul for Tom: the wrong lesson."""

    def said(text):
        labels = prompts.parse(str(text))
        if labels is None or "B" not in labels:
            return None
        return "Paul" if labels["B"] == "Tom" else labels["B"]

    return isn.Feature("what the model says", said, undefined="texts outside P(X)")
