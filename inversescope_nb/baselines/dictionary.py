"""A dictionary built at inference time (ITDA; Leask, Nanda and Al Moubayed, arXiv 2505.17769), from its description.

1. Activations of P(X) are looked at one by one. One that the dictionary so far reconstructs with a normalised error
   |s - s'|^2 / |s|^2 above a threshold joins it, scaled to length 1: every atom is the activation of an actual input.
2. Reconstruction is orthogonal matching pursuit with at most k atoms: take the atom that correlates most with what is
   left, fit all chosen ones anew, go on. The coefficients are the latents.
3. As SAE latents are scored as attribute classifiers, so are these: the one atom and the one threshold of its
   coefficient that tell a label best on the inputs learned from, scored on inputs held out.

Published dictionaries are of activations as they are, built in batches by plain matching pursuit from a first stock
of as many activations as coordinates. Here mean and scale are taken off first unless `centre` is false, and the order
of the inputs alone decides, so that batches change nothing.
Axis names: n (inputs), d (site width), a (atoms), k (atoms of one reconstruction), c (labels), s (ways to cut).
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._arguments import whole_number
from .._progress import Progress, reported
from ..errors import InvalidArgument
from ..features import Feature, as_features
from .labelled import NOT_SCORED, Accuracy, Classifier, Inputs, Labelled, held_out_score, learned_from, most_common
from .pursuit import Dictionary

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from ..kernels import Kernel, SiteStatistics
    from ..models import LanguageModel
    from ..sites import Site


@dataclass(frozen=True)
class Detector:
    """One atom as the sign of a label."""

    atom: int
    """Which one."""
    sign: int
    """1: above the threshold, -1: below it."""
    threshold: float
    """Of the coefficient."""
    f1: float
    """F1 on the inputs learned from."""
    precision: float
    """Share of the inputs where it fires that have the label, on those learned from."""

    def fires(self, codes: Float[np.ndarray, "n a"]) -> Bool[np.ndarray, " n"]:
        """Where the label is said to be there."""
        return self.sign * codes[:, self.atom] > self.threshold


@dataclass(frozen=True, eq=False, kw_only=True)
class AtomClassifier(Classifier):
    """Names labels by single atoms of a dictionary; made by :func:`dictionary`.

    Of two labels one atom decides, chosen by accuracy. Of more each has its own, chosen by F1; where several fire, the
    most precise one is believed, where none does, the label is the most common one.
    """

    feature: Feature
    """What it names."""
    site: Site
    """Where activations are read."""
    bandwidth: float | None
    """Width of the noise that it learned with; None: none."""
    statistics: SiteStatistics
    """Moments that activations are standardised with."""
    dictionary: Dictionary
    """The atoms."""
    atom_inputs: tuple[tuple[int, ...], ...]
    """The input that each atom is the activation of, as token ids."""
    detectors: dict[Hashable, Detector]
    """The atom of each label; of two labels, of one of them."""
    usual: Hashable
    """The label that is most common among those learned from; what is said where nothing fires."""
    n_learned: int
    """Inputs learned from."""
    accuracy: Accuracy = NOT_SCORED
    """On the inputs held out."""
    f1: dict[Hashable, float] = field(default_factory=dict)
    """F1 of each label's detector on the inputs held out; 0 for one that is never right."""

    def predict_at(self, u: Float[Tensor, "n d"]) -> list[Hashable]:
        """Labels of points in standardised units."""
        codes, found = self.dictionary.encode(u).numpy(), [self.usual] * len(u)
        for label, detector in sorted(self.detectors.items(), key=lambda item: item[1].precision):
            for i in np.flatnonzero(detector.fires(codes)):
                found[i] = label
        return found

    @classmethod
    def fitted(cls, data: Labelled, feature: Feature, atoms: Dictionary) -> AtomClassifier:
        """The best atoms for inputs that are there already; see :func:`dictionary`."""
        (feature,) = as_features(feature)
        labels = data.labels(feature)
        rows, known = learned_from(data, labels)
        codes = atoms.encode(data.u[rows]).numpy()
        usual, names = most_common(known), list(dict.fromkeys(known))
        two = len(names) == 2
        if two:
            names = [x for x in names if x != usual]
        found = cls(
            feature=feature, site=data.site, bandwidth=data.bandwidth, statistics=data.statistics, dictionary=atoms,
            atom_inputs=tuple(data.inputs[i] for i in atoms.rows), usual=usual, n_learned=len(rows),
            detectors=best_detectors(codes, {x: np.array([y == x for y in known]) for x in names}, by_accuracy=two),
        )  # fmt: skip
        return replace(found, accuracy=held_out_score(found, data, labels), f1=found._held_out_f1(data, labels))

    def _held_out_f1(self, data: Labelled, labels: Sequence[Hashable | None]) -> dict[Hashable, float]:
        rows = [i for i in np.flatnonzero(data.held_out) if labels[i] is not None]
        codes = self.dictionary.encode(data.u[rows]).numpy()
        scores = {}
        for label, detector in self.detectors.items():
            fires, true = detector.fires(codes), np.array([labels[i] == label for i in rows])
            scores[label] = float(2 * (fires & true).sum() / max(1, fires.sum() + true.sum()))
        return scores


def best_detectors(
    codes: Float[np.ndarray, "n a"], truths: Mapping[Hashable, Bool[np.ndarray, " n"]], *, by_accuracy: bool = False
) -> dict[Hashable, Detector]:
    """For each label the atom, side and threshold with the highest F1 (or accuracy); of equals the first.

    >>> codes = np.array([[0.0, 2.0], [0.0, 3.0], [1.0, 0.0]])
    >>> best_detectors(codes, {"yes": np.array([True, True, False])})["yes"]
    Detector(atom=1, sign=1, threshold=1.0, f1=1.0, precision=1.0)
    """
    truth = np.stack(list(truths.values()), axis=1).astype(np.int64)
    best: list[tuple[float, Detector] | None] = [None] * len(truths)
    for sign, atom in ((sign, atom) for sign in (1, -1) for atom in range(codes.shape[1])):
        value, fired, hits = _splits(sign * codes[:, atom], truth)
        f1 = 2 * hits / (fired[:, None] + truth.sum(0))
        score = (2 * hits - fired[:, None] + (1 - truth).sum(0)) / len(codes) if by_accuracy else f1
        for i, at in enumerate(score.argmax(0)):
            if best[i] is not None and score[at, i] <= best[i][0]:
                continue
            below = value[at + 1] if at + 1 < len(value) else -np.inf
            threshold, right = float(value[at] + below) / 2, float(hits[at, i] / fired[at])
            best[i] = score[at, i], Detector(atom, sign, threshold, float(f1[at, i]), right)
    return {label: found[1] for label, found in zip(truths, best, strict=True)}


def _splits(
    column: Float[np.ndarray, " n"], truth: Int[np.ndarray, "n c"]
) -> tuple[Float[np.ndarray, " s"], Int[np.ndarray, " s"], Int[np.ndarray, "s c"]]:
    """Every way to cut a column: its values, largest first; how many are no smaller, and how many of each label."""
    rows = np.flatnonzero(column)  # few: the zeros are counted at once
    rows = rows[np.argsort(-column[rows], kind="stable")]
    value, hits = column[rows], np.cumsum(truth[rows], axis=0)
    fired, at = np.arange(1, len(rows) + 1), int((value > 0).sum())
    if zeros := len(column) - len(rows):
        among = truth.sum(0) - (hits[-1] if len(rows) else 0)
        before = hits[at - 1] if at else np.zeros_like(among)
        value = np.concatenate([value[:at], [0.0], value[at:]])
        hits = np.concatenate([hits[:at], (before + among)[None], hits[at:] + among])
        fired = np.concatenate([fired[:at], [at + zeros], fired[at:] + zeros])
    last = np.append(value[1:] < value[:-1], True)  # equal coefficients fall on one side
    return value[last], fired[last], hits[last]


def dictionary(
    lm: LanguageModel,
    prompts: Inputs,
    feature: Feature,
    *,
    site: str | Site,
    position: int = -1,
    bandwidth: float | None = None,
    n: int = 4000,
    held_out: float = 0.25,
    k: int = 8,
    threshold: float = 0.2,
    atoms: int = 1024,
    centre: bool = True,
    kernel: Kernel | None = None,
    statistics: SiteStatistics | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> AtomClassifier:
    """A dictionary of activations, and its single best atoms for a feature, scored on inputs held out.

    Args:
        k: atoms of one reconstruction.
        threshold: normalised error above which an activation becomes an atom.
        atoms: where the dictionary ends at the latest.
        centre: whether the mean is taken off first; false: as published.
        lm, prompts, feature, site, position, bandwidth, n, held_out, kernel, statistics, seed, on_progress, progress,
            cancel: as of :func:`inversescope_nb.baselines.probe`.

    Raises:
        UnknownSite, BadPrompt, Cancelled
        InvalidArgument: an argument is outside what is allowed, or there is nothing to learn.

    >>> import inversescope_nb as isn
    >>> lm, task = isn.load_model(), isn.tasks.addition()
    >>> first = isn.Feature("first digit", lambda text: text[0])
    >>> found = isn.baselines.dictionary(lm, task.prompts, first, site="resid_post.1", n=400, threshold=0.5)
    >>> len(found.detectors), len(found.atom_inputs) == len(found.dictionary.atoms)
    (9, True)
    """
    k = whole_number("k", k, least=1, hint="8 is the usual choice")
    atoms = whole_number("atoms", atoms, least=1, hint="1024 is the usual choice")
    if not isinstance(threshold, int | float) or not 0 <= threshold < 1:
        raise InvalidArgument(f"threshold={threshold!r} must be a number from 0 to below 1", hint="0.2 is usual")
    with reported(on_progress, progress, "dictionary") as report:
        data = Labelled.drawn(
            lm, prompts, site=site, position=position, bandwidth=bandwidth, n=n, held_out=held_out, kernel=kernel,
            statistics=statistics, seed=seed, on_progress=report, cancel=cancel,
        )  # fmt: skip
        found = build(data, k=k, threshold=threshold, atoms=atoms, centre=centre, cancel=cancel)
    return AtomClassifier.fitted(data, feature, found)


def build(
    data: Labelled, *, k: int, threshold: float, atoms: int, centre: bool, cancel: threading.Event | None = None
) -> Dictionary:
    """A dictionary of the inputs that are learned from; its rows are those of `data`."""
    units = data.statistics
    if not centre and units.kernel.metric == "cosine":
        raise InvalidArgument("directions about the mean have no activation of their own", hint="centre=True")
    rows = np.flatnonzero(~data.held_out)
    offset = torch.zeros(units.width) if centre else -units.standardise(torch.zeros(units.width))
    found = Dictionary.built(data.u[rows], k=k, threshold=threshold, atoms=atoms, offset=offset, cancel=cancel)
    return Dictionary(found.atoms, tuple(int(rows[i]) for i in found.rows), found.offset, found.k)
