"""Solutions of the exercises in ``on_pick.ipynb``; the checks are in ``inversescope_nb.exercises.on_pick``."""

from __future__ import annotations

import threading

import inversescope_nb as isn


def solution_1():
    """The list lives as long as the callback that appends to it; two short strings an inversion."""

    def make_log():
        log = []

        def keep(inversion):
            log.append((inversion.tokens[-1], str(inversion.verdict)))

        return keep, log

    return make_log


def solution_2():
    """The thread is given the function and its argument, not the result of calling it."""

    def in_background(callback):
        def handed_over(inversion):
            threading.Thread(target=callback, args=(inversion,), daemon=True).start()

        return handed_over

    return in_background


def solution_3():
    """The verdict comes first; then the label of the pick; then the column to quote."""

    def number_to_show(inversion, feature):
        row = isn.consistency_of(inversion, feature, permutations=0).to_frame().iloc[0]
        if inversion.verdict != "RELIABLE" or row["n_undefined"] > 0:
            return None
        return float(row["fcr"])

    return number_to_show
