"""The nearest prompts of a bank: what can be said about an activation before a generator is trained.

Draws from P(X), weighted by the kernel of their distance, are an importance sample of the posterior
with P(X) itself as the proposal: valid, but with an effective sample size that falls as 2^-bits.
Distances are in units standardised on the bank. (One of the baselines that InverseScope, Luo, Zhou, Dong,
arXiv 2506.07406, argues a generator must beat.)
Axis names: n (inputs kept), bank (inputs searched).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._arguments import check_kernel, check_model, check_prompts, seed_number, whole_number
from .._progress import Progress, reported
from .._statistics import effective_sample_size, normalise, pareto_khat
from ..banks import draw_bank
from ..features import InputText
from ..inversion import cut
from ..kernels import Kernel, check_bandwidth, site_statistics
from ..nearby import Nearby
from ..sites import Site

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Bool, Float

    from ..models import LanguageModel
    from ..prompts import Prompt, PromptDistribution

KEPT = 256
"""Inputs of the bank that are kept, the nearest ones."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Neighbours(Nearby):
    """The nearest inputs of a bank, nearest first; an input that was drawn twice is there twice.

    Under the names of an `Inversion` as far as they mean the same; made by :func:`neighbours`. Units are
    standardised on the bank.
    """

    kernel: Float[np.ndarray, " n"]
    """exp(-d^2 / 2 eps^2), or what the kernel that was asked for says."""
    weight: Float[np.ndarray, " n"]
    """Shares of the posterior; they sum to 1."""
    ess: float
    """Effective sample size over the whole bank."""
    khat: float
    """Tail index of the weights; above 0.7 they are not to be trusted."""
    bits: float
    """Resolution bits: -log2 of the mean kernel over the bank."""
    bits_stderr: float
    """Standard error of :attr:`bits`."""
    ball_edge: float
    """The weighted 95 % quantile of d, for display."""
    bank_size: int
    """Inputs that were searched."""

    @property
    def verdict(self) -> str:
        """``"NEIGHBOURS"`` (no inversion was made), or ``"CONSTANT"``."""
        return "CONSTANT" if self.is_constant else "NEIGHBOURS"

    @property
    def verdict_reason(self) -> str:
        """What this is, in words."""
        if self.is_constant:
            return "this site does not vary on the prompt distribution: it can say nothing"
        return (
            f"the nearest of {self.bank_size} inputs drawn from P(X): no generator was used, so inputs that are "
            f"nearer but rare are missed; {self.ess:.1f} of them carry the estimate"
        )

    @property
    def on_support(self) -> Bool[np.ndarray, " n"]:
        """True: every one of them was drawn from P(X)."""
        return np.ones(len(self.samples), dtype=bool)

    @property
    def log_q(self) -> Float[np.ndarray, " n"]:
        """NaN: nothing was proposed by a generator."""
        return np.full(len(self.samples), np.nan)

    log_prior = log_q
    remarks: tuple[str, ...] = ()
    off_support_share = 0.0
    prior_is_exact = True

    def token_information(self, unit: str = "nats") -> list[list[float]]:
        """Nothing for each input: bits per token need a generator."""
        return [[] for _ in self.samples]

    def to_frame(self) -> pd.DataFrame:
        """One row an input, nearest first."""
        import pandas as pd

        return pd.DataFrame(
            {
                "token_ids": self.samples,
                "text": [str(t) for t in self.texts],
                "d": self.d,
                "relative_norm": self.relative_norm,
                "cosine": self.cosine,
                "in_ball": self.in_ball,
                "kernel": self.kernel,
                "weight": self.weight,
                "is_copy": self.is_copy,
            }
        )

    def summary(self) -> str:
        """A few plain lines."""
        return self._head() + self.prompts_name


def neighbours(
    lm: LanguageModel,
    prompts: PromptDistribution,
    target: str | Prompt | Sequence[int],
    *,
    site: str | Site,
    position: int = -1,
    bandwidth: float = 0.1,
    bank: int = 2000,
    kernel: Kernel | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> Neighbours:
    """The inputs of a bank drawn from P(X) whose activations are nearest to the picked one's.

    Args:
        lm: the target model.
        prompts: P(X), from which the bank is drawn.
        target: the picked input: a text, a `Prompt` or token ids.
        site: where the activation is read, in any spelling.
        position: index into the target's token ids (BOS counted, negative from the end); ids[:p + 1] counts.
        bandwidth: kernel width eps, in units standardised on the bank.
        bank: inputs to draw and to run.
        kernel: metric and shape; the usual ones by default.
        seed: of the draws.
        on_progress: called with (inputs run, bank, message).
        progress: whether to show a bar when nothing else listens (only for work of more than a second).
        cancel: looked at between batches; `Cancelled` is raised.

    Raises:
        UnknownSite, BadPrompt, InvalidArgument, Cancelled

    >>> import inversescope_nb as isn
    >>> lm, task = isn.load_model(), isn.tasks.addition()
    >>> found = isn.baselines.neighbours(lm, task.prompts, "4 3 7 + 5 6 8 =", site="resid_post.3", bank=200)
    >>> len(found), bool((found.d[1:] >= found.d[:-1]).all())
    (200, True)
    """
    check_model(lm)
    check_prompts(prompts)
    check_kernel(kernel)
    bank, seed = whole_number("bank", bank, least=2, hint="2000 is the usual choice"), seed_number(seed)
    bandwidth = check_bandwidth(bandwidth, (1e-6, 1e6))
    place = lm.site(site)
    ids, at = cut(lm, target, position)
    with reported(on_progress, progress, "neighbours") as report:
        drawn = draw_bank(lm, prompts, bank, seed=seed, on_progress=report, cancel=cancel)
        z = drawn.activations(place.name, on_progress=report, cancel=cancel)
    z_hat = lm.activations([ids], [place])[place.name]
    statistics = site_statistics(z, kernel=kernel)
    d = statistics.distance(z, z_hat)
    near = torch.argsort(d, stable=True).numpy()[:KEPT]
    return Neighbours(
        prompt_ids=list(ids),
        tokens=list(lm.token_strings(ids)),
        text=InputText.from_ids(ids, lm),
        site=place,
        position=at,
        bandwidth=float(bandwidth),
        samples=[list(drawn.inputs[i]) for i in near],
        texts=[InputText.from_ids(drawn.inputs[i], lm) for i in near],
        d=d.numpy()[near],
        relative_norm=((z - z_hat).norm(dim=1) / z_hat.norm().clamp(min=1e-30)).numpy()[near],
        cosine=torch.cosine_similarity(z, z_hat).numpy()[near],
        prompts_name=prompts.name,
        bank_size=bank,
        is_constant=statistics.is_constant,
        **_estimates(d, near, statistics.kernel.log(d, bandwidth)),
    )


def _estimates(
    d: Float[torch.Tensor, " bank"], near: np.ndarray, log_k: Float[torch.Tensor, " bank"]
) -> dict[str, object]:
    """What the kernel makes of the distances: weights, effective samples, bits, the edge of the ball."""
    weight = torch.softmax(log_k, 0).nan_to_num(0.0).numpy()  # a ball may hold none of them
    kernel = log_k.exp().numpy()
    mean = float(kernel.mean())
    order = np.argsort(d.numpy(), kind="stable")
    edge = np.searchsorted(np.cumsum(weight[order]), 0.95)
    return {
        "kernel": kernel[near],
        "weight": normalise(weight[near]),
        "ess": float(effective_sample_size(weight)),
        "khat": float(pareto_khat(log_k.numpy())),
        "bits": float((math.log(len(d)) - torch.logsumexp(log_k, 0)) / math.log(2)),
        "bits_stderr": float(kernel.std() / math.sqrt(len(d)) / mean / math.log(2)) if mean > 0 else math.nan,
        "ball_edge": float(d.numpy()[order][min(len(d) - 1, edge)]),
    }
