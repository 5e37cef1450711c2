"""Bits: what one activation says about its input, and what a site says on average. Two quantities, never mixed.

*Resolution bits* of a pick, -log2 E_P[k(d)], are measured by :func:`inversescope_nb.invert` (``inv.bits``).
*Channel bits* of a site are the mutual information of x and its noised activation v = u + eps sqrt(D) n, from
fresh noised pairs: E log2 q(x | v) / P(x) = I - E KL(p || q), a lower bound (Barber and Agakov 2003) where
P is exact. The mean resolution bits at eps and 2 eps bracket it (Kolchinsky and Tracey, arXiv 1706.02419).
The shading of a text, token by token, is neither: log q(x_t | z) - log q(x_t | nothing) in nats.
Axis names: n (inputs).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ._arguments import check_prompts, seed_number, unit_of_information, whole_number
from ._progress import Progress, reported
from .errors import Cancelled
from .picking import check_length, cut, place_of

if TYPE_CHECKING:
    from .generator import Generator
    from .models import LanguageModel
    from .prompts import Prompt, PromptDistribution
    from .sites import Site


BATCH = 64
"""Pairs scored between two looks at `cancel`."""


@dataclass(frozen=True)
class ChannelBits:
    """A site's channel bits; made by :func:`channel_bits`."""

    bits: float
    """Mean of log2 q(x | v) - log2 P(x) over noised pairs."""
    stderr: float
    """Its standard error over the pairs."""
    upper: float
    """What a Gaussian channel of this noise could carry at most."""
    is_lower_bound: bool
    """Whether P scored every input, so that :attr:`bits` bounds the mutual information from below."""
    n: int
    """Pairs."""


def channel_bits(
    lm: LanguageModel,
    gen: Generator,
    site: str | Site,
    *,
    bandwidth: float | None = None,
    prompts: PromptDistribution | None = None,
    n: int = 256,
    seed: int = 31_415,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> ChannelBits:
    """Mutual information of inputs and their noised activations at one site, in bits, as far as `gen` sees it.

    Args:
        lm, gen: the target and its generator.
        site: one of the generator's sites.
        bandwidth: the noise, eps in standardised units per coordinate; None: the site's usual.
        prompts: P(X); the generator's own by default.
        n: noised pairs, drawn with `seed`.
        on_progress: called with (pairs done, of, message).
        progress: whether to show a bar when nothing else listens (only for work of more than a second).
        cancel: looked at between batches; `Cancelled` is raised.

    >>> import inversescope_nb as isn
    >>> lm, gen = isn.load_model(), isn.load_generator()
    >>> found = channel_bits(lm, gen, "resid_post.0", n=32)
    >>> found.bits <= found.upper
    True
    """
    place, bandwidth = place_of(lm, gen, site, bandwidth)
    n, seed = whole_number("n", n, least=2, hint="256 pairs is the usual choice"), seed_number(seed)
    prompts = check_prompts(gen.prompts if prompts is None else prompts)
    statistics = gen.statistics(place.name)
    with reported(on_progress, progress, "channel bits") as report:
        inputs = prompts.draw(n, lm, seed=seed, cancel=cancel)
        check_length(gen, max(inputs, key=len), "an input of P(X)")
        z = lm.activations(inputs, [place], on_progress=report, cancel=cancel)[place.name]
        v = gen.noised(place.name, z, bandwidth, seed=seed)
        condition, log_q = gen.condition_on(place.name, v, bandwidth), np.zeros(n)
        for at in range(0, n, BATCH):
            if cancel is not None and cancel.is_set():
                raise Cancelled("scoring was stopped")
            part = slice(at, at + BATCH)
            found = gen.log_probs(inputs[part], condition.rows(part, len(inputs[part])))
            log_q[part] = [float(x.sum()) for x in found]
            if report is not None:
                report(min(at + BATCH, n), n, "scoring inputs")
    scored = prompts.log_probs(inputs, lm)
    log_p = np.array([float(x.sum()) for x in gen.prior_log_probs(inputs)] if scored is None else scored)
    bits = (log_q - log_p) / math.log(2)
    return ChannelBits(
        float(bits.mean()), float(bits.std(ddof=1) / math.sqrt(n)), statistics.channel_bits_bound(bandwidth),
        scored is not None, n,
    )  # fmt: skip


def token_information(
    lm: LanguageModel,
    gen: Generator,
    prompt: str | Prompt | Sequence[int],
    *,
    site: str | Site,
    position: int = -1,
    bandwidth: float | None = None,
    unit: str = "nats",
) -> list[float]:
    """What the activation at a position says about each token up to it: log q(x_t | z) - log q(x_t | nothing).

    A shading of the picked input, not a measurement; in nats or bits. One number a token of ``ids[:position + 1]``;
    BOS has 0. Without `bandwidth`, at the site's usual one.
    """
    factor = unit_of_information(unit)
    place, bandwidth = place_of(lm, gen, site, bandwidth)
    ids, _ = cut(lm, prompt, position)
    check_length(gen, ids)
    u = gen.statistics(place.name).standardise(lm.activations([ids], [place])[place.name])
    (given,) = gen.log_probs([ids], gen.condition_on(place.name, u, bandwidth))
    (without,) = gen.prior_log_probs([ids])
    frame = int(gen.config.has_bos)
    return [0.0] * frame + (factor * (given - without))[: len(ids) - frame].tolist()
