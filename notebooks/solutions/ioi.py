"""Solutions of the exercises in ``ioi.ipynb``; the checks are in ``inversescope_nb.exercises.ioi``."""

from __future__ import annotations

import inversescope_nb as isn


def solution_1(task):
    """The subject is the name that stands twice; it is first if the first name is that one."""
    subject, indirect = task.features["subject"], task.features["indirect_object"]

    def first(text):
        names = {subject(text), indirect(text)}
        if None in names:  # not decided yet
            return None
        stands = [word for word in text.split() if word in names]
        return stands[0] == subject(text)

    return isn.Feature("subject first", first, undefined="inputs that do not show the subject yet")


def solution_2(report):
    """Chance is what unrelated picks reach: the fewer labels a feature has, the higher it is."""
    chance = report.to_frame().groupby("feature")["chance"].mean()
    return chance.idxmax(), chance.max()


def solution_3(lm, task):
    """Remove one head after the other and look at what is left of the answer."""
    heads = lm.sites("blocks.*.attn.hook_z.*")
    answers = task.features["indirect_object"], task.features["subject"]
    frame = isn.causal.scaling(lm, task.held_out, heads, factors=[0], answers=answers, progress=False).to_frame()
    return frame.sort_values("difference")["site"].iloc[0]
