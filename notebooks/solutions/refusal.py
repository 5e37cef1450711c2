"""Solutions of the exercises in ``refusal.ipynb``; the checks are in ``inversescope_nb.exercises.refusal``."""

from __future__ import annotations

from collections import defaultdict

import inversescope_nb as isn


def solution_1(task):
    """Count for each verb how many of its requests are harmful; more than half is "most"."""
    harms = defaultdict(dict)  # verb -> request -> harmful: each request once, however many ways to ask there are
    for prompt, _ in task.split("all", cut="end").enumerate():
        harms[prompt.labels["verb"]][prompt.labels["request"]] = prompt.labels["harmful"]
    verb = task.features["verb"]

    def guess(text):
        found = harms.get(verb(text))  # the verb is None where no request stands there yet
        return None if found is None else 2 * sum(found.values()) > len(found)

    return isn.Feature("guess by verb", guess, undefined="inputs that show no request yet")


def solution_2(lm, bank, picks, site):
    """Widen the map's bandwidth by a tenth as long as the inputs that count agree on harm."""
    task = isn.tasks.refusal()
    whole, harmful, width = task.split("all", cut="end"), task.features["harmful"], 0.3
    while True:
        wider = 1.1 * width
        found = [
            isn.baselines.neighbours(lm, whole, pick, site=site, bandwidth=wider, bank=bank, progress=False)
            for pick in picks
        ]
        if isn.consistency_of(found, harmful, permutations=0).rows[0]["fcr"] < 0.9:
            return width
        width = wider


def solution_3(flips):
    """Of the rows that claim most changes, the one whose difference of logits is nearest to nothing."""
    claims = flips[flips["flipped"] >= 0.9]
    row = claims.loc[claims["difference"].abs().idxmin()]
    return row["site"], row["factor"]
