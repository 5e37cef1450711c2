"""Perturbing the picked input: swap a few tokens, keep what stays near ("why not just change the prompt?").

Swapped tokens are drawn from those of P(X) at the same place, where it has several. What stays near is shown with the
kernel as its weight, but this is no sample of the posterior: inputs that differ in many tokens are never tried. Those
that P(X) cannot make, as far as it can say, are marked and weigh nothing.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._arguments import sample_count, seed_number, whole_number
from .._progress import Progress, reported
from .._statistics import effective_sample_size, normalise, pareto_khat
from ..banks import draw_bank
from ..errors import BadPrompt, Cancelled
from .searched import Pick, Searched, moments

if TYPE_CHECKING:
    from jaxtyping import Bool

    from ..kernels import Kernel, SiteStatistics
    from ..models import LanguageModel
    from ..prompts import Prompt, PromptDistribution
    from ..sites import Site

BANK = 2000
"""Draws of P(X) that tokens (and, where none are given, moments) are taken from."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Perturbation(Searched):
    """The picked input with a few tokens swapped, nearest first; made by :func:`perturbation`."""

    supported: Bool[np.ndarray, " n"]
    """Whether P(X) can make an input; true for all where it cannot say."""

    @property
    def on_support(self) -> Bool[np.ndarray, " n"]:
        """Whether P(X) can make an input, as far as it can say."""
        return self.supported

    def _reason(self) -> str:
        return (
            f"{self.bank_size} variations of the picked input with a few tokens swapped; {self.ess:.1f} of them carry "
            "the estimate. No sample of the posterior: what differs in many tokens was never tried"
        )


def perturbation(
    lm: LanguageModel,
    prompts: PromptDistribution,
    target: str | Prompt | Sequence[int],
    *,
    site: str | Site,
    position: int = -1,
    bandwidth: float = 0.1,
    n: int = 256,
    swaps: int = 3,
    kernel: Kernel | None = None,
    statistics: SiteStatistics | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> Perturbation:
    """`n` variations of the picked input, each with 1 to `swaps` of its tokens replaced by P(X)'s others there.

    BOS stays, and so does what never varies. :attr:`bits` are NaN: variations are no draws from P(X), so their kernel
    says nothing of it. Other arguments as of :func:`inversescope_nb.baselines.neighbours`.

    >>> import inversescope_nb as isn
    >>> lm, task = isn.load_model(), isn.tasks.addition()
    >>> found = isn.baselines.perturbation(lm, task.prompts, "4 3 7 + 5 6 8 =", site="resid_post.3", n=64)
    >>> all(1 <= sum(a != b for a, b in zip(x, found.prompt_ids)) <= 3 for x in found.samples)
    True
    """
    pick = Pick.of(lm, prompts, target, site, position, bandwidth, kernel)
    n, seed = sample_count(n), seed_number(seed)
    first = int(pick.ids[0] == lm.text_bos_id)
    swaps = whole_number("swaps", swaps, least=1, hint="3 is the usual choice")
    if len(pick.ids) == first:
        raise BadPrompt("only BOS is picked: there is nothing to swap", hint="pick a later token")
    rng = random.Random(seed)
    with reported(on_progress, progress, "perturbation") as report:
        drawn = draw_bank(lm, prompts, BANK, seed=rng.randrange(2**31), cancel=cancel)
        others = _others(pick.ids, first, drawn.inputs)
        if not others:  # P(X) is this input alone
            others = {i: range(lm.vocab_size) for i in range(first, len(pick.ids))}
        inputs = [_swapped(pick.ids, others, rng.randint(1, min(swaps, len(others))), rng) for _ in range(n)]
        if cancel is not None and cancel.is_set():
            raise Cancelled("the search was stopped")
        z = lm.activations(inputs, [pick.site], on_progress=report, cancel=cancel)[pick.site.name]
        bank = drawn.activations(pick.site.name, cancel=cancel) if statistics is None else z
    units = moments(bank, statistics, kernel)
    log_p = prompts.log_probs(inputs, lm)
    supported = np.ones(n, dtype=bool) if log_p is None else np.isfinite(log_p)
    d = units.distance(z, pick.z_hat)
    order = d.argsort(stable=True).numpy()
    log_k = units.kernel.log(d, pick.bandwidth).numpy()
    weight = np.exp(log_k) * supported
    return Perturbation.measured(
        pick, inputs, z, units, kept=order, supported=supported[order], weight=normalise(weight[order]),
        ess=float(effective_sample_size(weight)), khat=pareto_khat(np.where(supported, log_k, -np.inf)),
        bits=float("nan"), bits_stderr=float("nan"),
    )  # fmt: skip


def _others(ids: Sequence[int], first: int, inputs: Sequence[Sequence[int]]) -> dict[int, Sequence[int]]:
    """Place -> the tokens that inputs of P(X) have there instead, as often as they do."""
    found = {i: [x[i] for x in inputs if len(x) > i and x[i] != ids[i]] for i in range(first, len(ids))}
    return {i: tokens for i, tokens in found.items() if tokens}


def _swapped(ids: Sequence[int], others: dict[int, Sequence[int]], count: int, rng: random.Random) -> list[int]:
    """The ids with tokens at `count` places replaced."""
    new = list(ids)
    for i in rng.sample(list(others), count):
        while new[i] == ids[i]:
            new[i] = rng.choice(others[i])
    return new
