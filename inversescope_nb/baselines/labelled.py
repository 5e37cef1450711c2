"""Attribute classifiers: what the probe and the dictionary share.

Inputs of P(X), each with a feature's label, are split into those that are learned from and those that are held out
(an input that was drawn twice is on one side only); activations are standardised and, where a bandwidth is given,
seen through the kernel's noise, so that an accuracy can be held against what the posterior at that bandwidth knows.
Where nearly all of a small P(X) is drawn, what a site does not hold comes out below chance: a label that is frequent
among what was learned from is rare among what is left.
Axis names: n (inputs), d (site width).
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from .._arguments import check_kernel, check_model, check_prompts, seed_number, whole_number
from .._picks import pick_inputs
from .._progress import Progress
from .._statistics import effective_sample_size, wilson
from ..banks import draw_bank
from ..errors import InvalidArgument
from ..features import Feature, InputText, as_features
from ..kernels import Kernel, SiteStatistics, check_bandwidth
from ..prompts import Prompt, PromptDistribution
from .searched import moments

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from ..models import LanguageModel
    from ..sites import Site

Inputs = PromptDistribution | Sequence[str | Prompt | Sequence[int]]


@dataclass(frozen=True)
class Accuracy:
    """How often a classifier was right on inputs that it did not learn from."""

    value: float
    """Share of the inputs whose label it named."""
    low: float
    """Lower end of Wilson's 95 % interval; an input that is there twice counts less than two."""
    high: float
    """Upper end."""
    chance: float
    """The same share for the label that is most common among those learned from."""
    n: int
    """Inputs behind it."""


NOT_SCORED = Accuracy(math.nan, 0.0, 1.0, math.nan, 0)
"""Nothing is known."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Inputs with their labels and activations at one site."""

    lm: LanguageModel
    """The target."""
    site: Site
    """Where the activations were read."""
    inputs: list[tuple[int, ...]]
    """Token ids, each ending at the site's token."""
    u: Float[Tensor, "n d"]
    """Standardised activations, seen through the kernel's noise where there is a bandwidth."""
    statistics: SiteStatistics
    """Moments that they were standardised with."""
    bandwidth: float | None
    """Width of that noise; None: no noise."""
    held_out: Bool[np.ndarray, " n"]
    """Which are not learned from; equal inputs are on one side."""
    _labels: dict[Feature, list[Hashable | None]] = field(default_factory=dict, repr=False)

    @classmethod
    def drawn(
        cls,
        lm: LanguageModel,
        prompts: Inputs,
        *,
        site: str | Site,
        position: int,
        bandwidth: float | None,
        n: int,
        held_out: float,
        kernel: Kernel | None,
        statistics: SiteStatistics | None,
        seed: int,
        on_progress: Progress | None,
        cancel: threading.Event | None,
    ) -> Self:
        """Draws inputs, runs the target on them and splits them; arguments as of :func:`.probe.probe`."""
        check_model(lm)
        check_kernel(kernel)
        place, seed = lm.site(site), seed_number(seed)
        if bandwidth is not None:
            bandwidth = check_bandwidth(bandwidth, (1e-6, 1e6))
        if not isinstance(held_out, int | float) or not 0 < held_out < 1:
            raise InvalidArgument(f"held_out={held_out!r} must be a share between 0 and 1", hint="0.25 is usual")
        if isinstance(prompts, PromptDistribution):
            n = whole_number("n", n, least=4, hint="4000 is the usual choice")
            bank = draw_bank(lm, prompts, n, seed=seed, on_progress=on_progress, cancel=cancel)
            inputs = [tuple(ids) for ids in bank.inputs]
        else:
            inputs = _given(lm, prompts, position)
        z = lm.activations(inputs, [place], on_progress=on_progress, cancel=cancel)[place.name]
        units = moments(z, statistics, kernel)
        if units.is_constant:
            raise InvalidArgument(
                f"{place} does not vary on these inputs", hint="it can say nothing: take another site"
            )
        u = units.standardise(z)
        if bandwidth is not None:
            rng = torch.Generator().manual_seed(seed)
            u = units.kernel.noise(u, u.new_full((len(u), 1), bandwidth), rng)
        return cls(lm, place, inputs, u, units, bandwidth, _split(inputs, held_out, seed))

    def labels(self, feature: Feature) -> list[Hashable | None]:
        """The label of every input, None where it is undefined; found once a feature.

        Raises:
            InvalidArgument: nothing can be learned: fewer than two labels on one side, or none on the other.
        """
        (f,) = as_features(feature)
        if f not in self._labels:
            self._labels[f] = [f(InputText.from_ids(ids, self.lm)) for ids in self.inputs]
        found = self._labels[f]
        known = {x for x, out in zip(found, self.held_out, strict=True) if x is not None and not out}
        scored = sum(x is not None for x, out in zip(found, self.held_out, strict=True) if out)
        if len(known) < 2 or not scored:
            raise InvalidArgument(
                f"{f.name!r} has {len(known)} labels among the inputs to learn from and is defined for {scored} of "
                "those held out",
                hint="a feature with two labels or more, or a larger n",
            )
        return found


class Classifier(ABC):
    """Names labels of activations; made by :func:`.probe.probe` and :func:`.dictionary.dictionary`."""

    feature: Feature
    """What is named."""
    statistics: SiteStatistics
    """Moments that activations are standardised with."""
    usual: Hashable
    """The label that is most common among those learned from."""

    @abstractmethod
    def predict_at(self, u: Float[Tensor, "n d"]) -> list[Hashable]:
        """Labels of points in standardised units, such as noised activations."""

    def predict(self, z: Float[Tensor, "n d"]) -> list[Hashable]:
        """Labels of activations as the target has them."""
        return self.predict_at(self.statistics.standardise(z))

    def score_at(
        self, u: Float[Tensor, "n d"], labels: Sequence[Hashable | None], inputs: Sequence[Hashable] | None = None
    ) -> Accuracy:
        """Accuracy on points in standardised units.

        Args:
            u: the points.
            labels: their true labels; those that are None are left out.
            inputs: which inputs they belong to, where some are equal.
        """
        rows = [i for i, label in enumerate(labels) if label is not None]
        if not rows or len(labels) != len(u):
            raise InvalidArgument(
                f"{len(rows)} labels for {len(u)} activations", hint="one label each, None: undefined"
            )
        right = np.array([a == labels[i] for a, i in zip(self.predict_at(u[rows]), rows, strict=True)])
        chance = np.mean([labels[i] == self.usual for i in rows])
        counts = Counter(inputs[i] for i in rows) if inputs is not None else dict.fromkeys(rows, 1)
        low, high = wilson(right.mean(), effective_sample_size(np.array(list(counts.values()), dtype=float)))
        return Accuracy(float(right.mean()), float(low), float(high), float(chance), len(rows))


def learned_from(data: Labelled, labels: Sequence[Hashable | None]) -> tuple[np.ndarray, list[Hashable]]:
    """Rows that are learned from, and their labels."""
    rows = [i for i, label in enumerate(labels) if label is not None and not data.held_out[i]]
    return np.array(rows), [labels[i] for i in rows]


def held_out_score(classifier: Classifier, data: Labelled, labels: Sequence[Hashable | None]) -> Accuracy:
    """Accuracy on what was held out."""
    rows = np.flatnonzero(data.held_out)
    return classifier.score_at(data.u[rows], [labels[i] for i in rows], [data.inputs[i] for i in rows])


def most_common(labels: Sequence[Hashable]) -> Hashable:
    """The label that is there most often; of several the first."""
    return Counter(labels).most_common(1)[0][0]


def _given(lm: LanguageModel, prompts: Inputs, position: int) -> list[tuple[int, ...]]:
    """Inputs that were given one by one, cut behind a position."""
    if isinstance(prompts, str | Prompt) or not isinstance(prompts, Sequence):
        check_prompts(prompts)
    picks = pick_inputs(lm, prompts, n_targets=0, position=position, slot=None, group_by=None, seed=0)
    if len(set(picks.inputs)) < 4:
        raise InvalidArgument(f"{len(set(picks.inputs))} different inputs", hint="give four or more, or a P(X)")
    return list(picks.inputs)


def _split(inputs: Sequence[tuple[int, ...]], held_out: float, seed: int) -> Bool[np.ndarray, " n"]:
    """Which are held out: a share of the different inputs, one on each side at least."""
    codes = {ids: i for i, ids in enumerate(dict.fromkeys(inputs))}
    count = min(max(1, round(held_out * len(codes))), max(1, len(codes) - 1))
    chosen = np.random.default_rng(seed).permutation(len(codes))[:count]
    return np.isin([codes[ids] for ids in inputs], chosen)
