"""Solutions of the exercises in ``attributes.ipynb``; the checks are in ``inversescope_nb.exercises.attributes``."""

from __future__ import annotations

import numpy as np

import inversescope_nb as isn


def solution_1(task):
    """Ask for the continent first: where it is another one, or where no city is there yet, the answer is None."""
    continent, language = task.features["continent"], task.features["language"]
    return isn.Feature(
        "European language",
        lambda text: language(text) if continent(text) == "Europe" else None,
        undefined="inputs without a European city",
    )


def solution_2(neighbours, feature):
    """From wide to narrow: at first too many labels count; take the first bandwidth at which the right one does."""
    for eps in np.geomspace(10.0, 0.001, 100):
        shares = []
        for found in neighbours:
            label = feature(found.text)
            others = ~found.is_copy
            weight = np.where(others, np.exp(-(found.d**2 - found.d[others].min() ** 2) / (2 * eps**2)), 0.0)
            weight = weight / weight.sum()
            agrees = np.array([feature(text) == label for text in found.texts])
            shares.append((weight * agrees).sum())
        if np.mean(shares) >= 0.8:
            return float(eps)
    return None


def solution_3(prompts):
    """Decide for each city once, then let its prompts follow: half of the cities are held out."""
    cities = sorted({p.labels["city"] for p in prompts})
    chosen = set(np.random.default_rng(1).permutation(cities)[: len(cities) // 2].tolist())
    return [p.labels["city"] in chosen for p in prompts]
