"""A logistic probe: the label that is most likely by a linear map of the activation.

What is most often done to ask whether a site holds a feature. It needs the hypothesis and its labels first, and names
no inputs; where it fails, the feature may still be there, not linearly. At a bandwidth it sees activations through the
kernel's noise, in training and in tests: then the mode of the exact posterior's labels is the best that any classifier
can do. Fitted by scikit-learn (the extra `bench`). Axis names: n (inputs), d (site width), c (labels).
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._progress import Progress, reported
from ..errors import InvalidArgument
from ..features import Feature, as_features
from .labelled import NOT_SCORED, Accuracy, Classifier, Inputs, Labelled, held_out_score, learned_from, most_common

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..kernels import Kernel, SiteStatistics
    from ..models import LanguageModel
    from ..sites import Site


@dataclass(frozen=True, eq=False, kw_only=True)
class Probe(Classifier):
    """A linear classifier of activations; made by :func:`probe`."""

    feature: Feature
    """What it names."""
    site: Site
    """Where activations are read."""
    bandwidth: float | None
    """Width of the noise that it learned with; None: none."""
    statistics: SiteStatistics
    """Moments that activations are standardised with."""
    labels: tuple[Hashable, ...]
    """Labels that it can name."""
    weight: Float[Tensor, "c d"]
    """One direction a label, in standardised units."""
    bias: Float[Tensor, " c"]
    """Of each label."""
    usual: Hashable
    """The label that is most common among those learned from."""
    n_learned: int
    """Inputs learned from."""
    accuracy: Accuracy = NOT_SCORED
    """On the inputs held out."""

    def log_probs_at(self, u: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """log probability of each label, nats, at points in standardised units."""
        return (u.to(self.weight) @ self.weight.T + self.bias).log_softmax(-1)

    def predict_at(self, u: Float[Tensor, "n d"]) -> list[Hashable]:
        """The likeliest label of points in standardised units."""
        return [self.labels[i] for i in self.log_probs_at(u).argmax(-1).tolist()]

    @classmethod
    def fitted(cls, data: Labelled, feature: Feature, *, regularisation: float = 1.0) -> Probe:
        """A probe of inputs that are there already; see :func:`probe`."""
        learner = _learner(regularisation)
        (feature,) = as_features(feature)
        labels = data.labels(feature)
        rows, known = learned_from(data, labels)
        names = tuple(dict.fromkeys(known))
        codes = {label: i for i, label in enumerate(names)}
        learner.fit(data.u[rows].double().numpy(), np.array([codes[x] for x in known]))
        weight, bias = torch.from_numpy(learner.coef_), torch.from_numpy(learner.intercept_)
        if len(names) == 2:  # one direction, of the second label
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        found = cls(
            feature=feature, site=data.site, bandwidth=data.bandwidth, statistics=data.statistics, labels=names,
            weight=weight, bias=bias, usual=most_common(known), n_learned=len(rows),
        )  # fmt: skip
        return replace(found, accuracy=held_out_score(found, data, labels))


def probe(
    lm: LanguageModel,
    prompts: Inputs,
    feature: Feature,
    *,
    site: str | Site,
    position: int = -1,
    bandwidth: float | None = None,
    n: int = 4000,
    held_out: float = 0.25,
    regularisation: float = 1.0,
    kernel: Kernel | None = None,
    statistics: SiteStatistics | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> Probe:
    """A logistic regression of a feature's labels on activations, scored on inputs that it did not learn from.

    Args:
        lm: the target model.
        prompts: P(X), or inputs one by one (texts, `Prompt`s or token ids).
        feature: what gives the labels; inputs where it is undefined are left out.
        site: where the activation is read, in any spelling.
        position: where inputs given one by one are cut.
        bandwidth: width eps of the noise that activations are seen through; None: no noise.
        n: inputs to draw from P(X).
        held_out: share of the different inputs that the accuracy is measured on.
        regularisation: strength of the penalty on the squared weights (1 / C of scikit-learn).
        kernel: metric and shape of the noise; the usual ones by default.
        statistics: moments to standardise with (a generator's, with its kernel); None: those of the inputs.
        seed: of draws, split and noise.
        on_progress: called with (inputs run, n, message).
        progress: whether to show a bar when nothing else listens (only for work of more than a second).
        cancel: looked at between batches; `Cancelled` is raised.

    Raises:
        UnknownSite, BadPrompt, Cancelled
        InvalidArgument: scikit-learn is missing, or there is nothing to learn.

    >>> import inversescope_nb as isn
    >>> lm, task = isn.load_model(), isn.tasks.addition()
    >>> first = isn.Feature("first digit", lambda text: text[0])
    >>> found = isn.baselines.probe(lm, task.prompts, first, site="resid_post.1", n=400)
    >>> len(found.labels), found.n_learned + found.accuracy.n
    (9, 400)
    """
    _learner(regularisation)  # before the long part
    with reported(on_progress, progress, "probe") as report:
        data = Labelled.drawn(
            lm, prompts, site=site, position=position, bandwidth=bandwidth, n=n, held_out=held_out, kernel=kernel,
            statistics=statistics, seed=seed, on_progress=report, cancel=cancel,
        )  # fmt: skip
    return Probe.fitted(data, feature, regularisation=regularisation)


def _learner(regularisation: float):
    """scikit-learn's logistic regression; raises `InvalidArgument` where that is not installed."""
    if not isinstance(regularisation, int | float) or not 0 < regularisation < float("inf"):
        raise InvalidArgument(f"regularisation={regularisation!r} must be a number > 0", hint="1 is the usual choice")
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as e:
        raise InvalidArgument(
            "a probe needs the package scikit-learn", hint="pip install inversescope-nb[bench]"
        ) from e
    return LogisticRegression(C=1 / regularisation, max_iter=2000)
