"""p-values of labels that a site knows nothing of, over thousands of studies with exact posterior samples.

Two such labels: the class of a slot that the activation does not depend on, so that evenly many inputs of each lie
around every activation; and a label drawn at random for every input, of which the activation tells only as far as it
tells which input it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from known_answer import kappa
from scipy import stats

from inversescope_nb._agreement import Sampled, agreement
from inversescope_nb._permutation import Exchange, permutation_test

STUDIES, PERMUTATIONS, EPS = 800, 99, 0.6
LEAST = 5e-4
"""Smallest p-value of a uniformity test that is called chance."""


@dataclass(frozen=True)
class World:
    """Independent slots of `n_words` words in `n_labels` classes, of which the site holds that of slot 1."""

    n_slots: int
    n_words: int
    n_labels: int
    held: bool = False
    """The label is the class of slot 1, which the site holds: no null."""
    random: bool = False
    """A random label for every input, instead of the class of slot 0."""
    frequent: bool = False
    """One label of all against the rest."""
    undefined: int = 0
    """How many of the labels are undefined."""
    times: int = 1
    """Picks of one prompt."""
    copies: bool = False
    """Count copies of the picked input."""

    def p_values(self, studies: int = STUDIES, *, m: int = 20, n: int = 24) -> np.ndarray:
        """One a study, each with fresh picks, samples and random labels."""
        return np.array([self._study(np.random.default_rng(seed), seed, m, n) for seed in range(studies)])

    def _study(self, rng: np.random.Generator, seed: int, m: int, n: int) -> float:
        picks = np.repeat(rng.integers(self.n_words, size=(m // self.times, self.n_slots)), self.times, axis=0)
        samples = rng.integers(self.n_words, size=(len(picks), n, self.n_slots))
        p = np.r_[1, np.full(self.n_labels - 1, kappa(EPS, self.n_labels))]
        step = rng.choice(self.n_labels, samples.shape[:2], p=p / p.sum())
        twins = self.n_words // self.n_labels
        classes = (picks[:, None, 1] // twins + step) % self.n_labels
        samples[..., 1] = classes * twins + samples[..., 1] % twins
        place = self.n_words ** np.arange(self.n_slots)
        pick_inputs, inputs = picks @ place, samples @ place
        label = self._labels(rng)
        own, theirs = label(pick_inputs), label(inputs)
        groups = np.unique(pick_inputs, return_inverse=True)[1]
        sampled = Sampled(np.ones(inputs.shape), np.ones(inputs.shape, bool), inputs, pick_inputs, groups)
        defined = np.flatnonzero(own >= 0)
        own, theirs, sampled = own[defined], theirs[defined], sampled.select(defined)
        parts = Exchange.of(own, theirs, sampled)
        if self.copies:
            parts = Exchange(agreement(own, theirs, sampled, copies=True), np.zeros_like(parts.met))
        return permutation_test(parts.matrix, own, sampled.groups, permutations=PERMUTATIONS, seed=seed, met=parts.met)

    def _labels(self, rng: np.random.Generator):
        """Codes of inputs -> codes of labels, -1 where undefined."""
        twins = self.n_words // self.n_labels
        drawn = rng.integers(self.n_labels, size=self.n_words**self.n_slots) if self.random else None

        def label(inputs: np.ndarray) -> np.ndarray:
            slot = (inputs // self.n_words if self.held else inputs) % self.n_words
            found = slot // twins if drawn is None else drawn[inputs]
            found = (found == 0) * 1 if self.frequent else found
            return np.where(found < self.n_labels - self.undefined, found, -1)

        return label


LARGE, SMALL, TINY = World(5, 10, 5), World(3, 10, 5), World(2, 6, 3)
KINDS = {
    "even labels": {},
    "one label against the rest": {"frequent": True},
    "two labels undefined": {"undefined": 2},
    "two picks of every prompt": {"times": 2},
}


def check_uniform(p: np.ndarray) -> None:
    """As many below every level as there should be: Kolmogorov and Smirnov's test, and counts in the lower tail."""
    steps, p = PERMUTATIONS + 1, p[np.isfinite(p)]  # where all picks have one label, nothing is tested
    assert stats.kstest(p - 0.5 / steps, "uniform").pvalue > LEAST
    for level in (0.02, 0.05, 0.1):
        assert stats.binomtest(int((p <= level).sum()), len(p), level).pvalue > LEAST, level


def check_no_smaller(p: np.ndarray) -> None:
    """Nowhere more below a level than a uniform p-value has."""
    p = p[np.isfinite(p)]
    for level in np.linspace(0.01, 0.99, 50):
        below = int((p <= level + 1e-9).sum())
        assert stats.binomtest(below, len(p), level, alternative="greater").pvalue > LEAST / 10, level


@pytest.mark.parametrize("kind", KINDS)
def test_p_values_of_a_label_that_is_not_held_are_uniform_where_inputs_are_many(kind) -> None:
    check_uniform(replace(LARGE, **KINDS[kind]).p_values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world", [SMALL, TINY], ids=["1,000 inputs", "36 inputs"])
def test_they_are_no_smaller_than_uniform_where_inputs_are_few(world, kind) -> None:
    undefined = min(KINDS[kind].get("undefined", 0), world.n_labels - 2)
    p = replace(world, **{**KINDS[kind], "undefined": undefined}).p_values(400)
    check_no_smaller(p)
    assert p.mean() > 0.5 - 3 * np.sqrt(1 / 12 / len(p))


def test_they_are_too_large_by_what_leaving_out_one_of_the_inputs_of_an_activation_takes() -> None:
    # 200 inputs share an activation, 40 of each label: of the 199 others 39 carry the pick's own, which a label from
    # elsewhere finds in 40 of 200
    p = SMALL.p_values(2000)
    kernel = kappa(EPS, 5)
    shift = (0.2 - 39 / 199) / (1 + 4 * kernel)
    deviation = np.sqrt(0.2 * 0.8 / (20 * 24))
    expected = stats.norm.cdf(shift / deviation / np.sqrt(2))
    assert p.mean() == pytest.approx(expected, abs=0.03)
    assert p.mean() > 0.52


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_drawn_for_every_input_gives_uniform_p_values_however_few_inputs_there_are(kind) -> None:
    undefined = min(KINDS[kind].get("undefined", 0), 1)
    check_uniform(replace(TINY, random=True, **{**KINDS[kind], "undefined": undefined}).p_values())


def test_with_copies_a_random_label_would_be_found_and_an_even_one_be_uniform() -> None:
    check_uniform(replace(TINY, copies=True).p_values())
    p = replace(TINY, copies=True, random=True).p_values(200)
    assert (p <= 0.05).mean() > 0.2


def test_a_pick_that_is_met_among_anothers_samples_takes_its_new_label_with_it() -> None:
    # pick 1 is all that pick 0 samples, and the other way round: whatever their labels, they agree or they do not
    sampled = Sampled(np.ones((2, 4)), np.ones((2, 4), bool), np.array([[1] * 4, [0] * 4]), np.arange(2), np.arange(2))
    labels = np.array([0, 1])
    parts = Exchange.of(labels, np.array([[1] * 4, [0] * 4]), sampled)
    np.testing.assert_allclose(parts.met, [[0, 1], [1, 0]])
    np.testing.assert_allclose(parts.matrix, 0, atol=1e-12)
    p = [
        permutation_test(parts.matrix, labels, np.arange(2), permutations=99, seed=s, met=parts.met) for s in range(300)
    ]
    assert np.mean(p) == pytest.approx(0.5, abs=0.06), "all are ties"


def test_a_held_label_is_found() -> None:
    p = replace(SMALL, held=True).p_values(50)
    assert p.max() <= 1 / (PERMUTATIONS + 1) + 1e-9
