"""Solutions of the exercises in ``method.ipynb``; the checks are in ``inversescope_nb.exercises.method``."""

from __future__ import annotations

import numpy as np


def solution_1(table, pick):
    """The narrowest of some bandwidths at which the pick is not alone: below it, copies; far above it, no bits."""
    for eps in np.geomspace(0.001, 1.0, 40):
        found = table.posterior_of(table.u[pick], float(eps))
        if found.p[pick] <= 0.05:
            return float(eps)
    return None


def solution_2():
    """w = P(x) k(d) / q(x), without copies, and divided by its sum; logarithms until the end, for tiny numbers."""

    def weighted_rate(agree, log_prior, log_q, d, bandwidth, is_copy):
        log_w = log_prior - d**2 / (2 * bandwidth**2) - log_q
        w = np.exp(log_w - log_w.max()) * ~is_copy
        return (w * agree).sum() / w.sum()

    return weighted_rate


def solution_3(report):
    """High, and no higher than chance: the feature hardly varies, so nearly all inputs agree on it anyway."""
    frame = report.to_frame().set_index("feature")
    return frame[frame["fcr"] >= 0.7]["fcr_star"].idxmin()
