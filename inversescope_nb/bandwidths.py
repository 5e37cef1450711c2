"""Consistency of hypotheses at one picked input over bandwidths: how fine a thing the activation tells apart.

Every bandwidth has samples of its own, drawn at it: to weigh the samples of one bandwidth anew for another favours
what the first proposed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._arguments import sample_count, seed_number
from ._progress import Progress, reported
from .errors import Cancelled, InvalidArgument
from .features import as_features
from .inversion import invert
from .kernels import check_bandwidth
from .picking import place_of
from .rates import Features, consistency_of, prior_texts_of

if TYPE_CHECKING:
    from .generator import Generator
    from .models import LanguageModel
    from .prompts import Prompt
    from .reports import ConsistencyReport
    from .sites import Site

POINTS = 6
"""Bandwidths where none are given."""
_UNEVEN = 1.4  # how far the ratio of two round bandwidths may be from that of even ones


def bandwidths_between(low: float, high: float, points: int = POINTS) -> list[float]:
    """Bandwidths at about equal ratios, both ends among them: round ones where they are as many, else of three digits.

    >>> bandwidths_between(0.02, 1.0), bandwidths_between(0.05, 0.8)
    ([0.02, 0.05, 0.1, 0.2, 0.5, 1.0], [0.05, 0.0871, 0.152, 0.264, 0.459, 0.8])
    """
    even = np.geomspace(low, high, points)
    plain, round_ = (
        sorted({low, *(eps for eps in (float(f"{digits(x):.3g}") for x in even[1:-1]) if low < eps < high), high})
        for digits in (float, _round)
    )
    if len(round_) != points:
        return plain
    uneven = np.abs(np.diff(np.log(round_)) - np.diff(np.log(even))).max()
    return round_ if uneven <= np.log(_UNEVEN) else plain


def _round(number: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten, by ratios."""
    power = 10.0 ** np.floor(np.log10(number))
    return min((factor * power for factor in (1, 2, 5, 10)), key=lambda near: abs(np.log(near / number)))


def across_bandwidths(
    lm: LanguageModel,
    gen: Generator,
    prompt: str | Prompt | Sequence[int],
    features: Features,
    *,
    site: str | Site,
    position: int = -1,
    bandwidths: Sequence[float] | None = None,
    n: int = 128,
    prior_texts: Sequence[str] | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> ConsistencyReport:
    """The consistency of features at one picked input, at several bandwidths, each with fresh samples.

    Its frame has one row per bandwidth and feature, with Wilson's interval at the effective sample size, the prior's
    chance, and the verdict in ``verdict_counts``; draw it with :func:`charts.bandwidth_chart`.

    Args:
        lm, gen: the target model and its generator; P(X) is the generator's.
        prompt, site, position, n, seed: as in :func:`invert`, n samples at each bandwidth.
        features: one or several; see :mod:`inversescope_nb.features`.
        bandwidths: within what the generator was trained at; None: six at about equal ratios over all of that.
        prior_texts: inputs for the prior's chance; None: drawn from the generator's prompts.
        on_progress: called with (bandwidths done, of, message).
        progress: whether to show a bar when nothing else listens (only for work of more than a second).
        cancel: looked at before every token.

    Raises:
        UnknownSite, BadPrompt, InvalidArgument, GeneratorMismatch, Cancelled: as :func:`invert`.
        FeatureError: a feature that raised or returned no label.

    >>> import inversescope_nb as isn
    >>> lm, gen = isn.load_model(), isn.load_generator()
    >>> report = across_bandwidths(
    ...     lm, gen, "4 3 7 + 5 6 8 =", isn.features.contains("="), site="resid_post.3", bandwidths=[0.1, 0.3], n=32
    ... )
    >>> report.to_frame()["bandwidth"].tolist()
    [0.1, 0.3]
    """
    place, _ = place_of(lm, gen, site, None)
    found, n, seed = as_features(features), sample_count(n), seed_number(seed)
    if bandwidths is None:
        widths = bandwidths_between(*gen.config.bandwidths)
    else:
        given = list(bandwidths) if isinstance(bandwidths, Sequence | np.ndarray) else [bandwidths]
        widths = sorted({check_bandwidth(eps, gen.config.bandwidths) for eps in given})
    if not widths:
        raise InvalidArgument("no bandwidth was given", hint=f"None takes {POINTS}, or give several")
    inversions = []
    with reported(on_progress, progress, "across bandwidths") as report:
        for i, eps in enumerate(widths):
            if cancel is not None and cancel.is_set():
                raise Cancelled
            if report is not None:
                report(i, len(widths), f"inverting at bandwidth {eps:g}")
            how = {"site": place, "position": position, "bandwidth": eps, "n": n, "seed": seed}
            inversion = invert(lm, gen, prompt, **how, progress=False, cancel=cancel)
            inversions.append(inversion)
        if report is not None:
            report(len(widths), len(widths), "labelling")
    texts = prior_texts_of(lm, gen, seed, cancel) if prior_texts is None else prior_texts
    return consistency_of(inversions, found, prior_texts=texts, permutations=0, seed=seed)
