"""What a search without a generator finds: inputs of any origin, re-run, measured and weighed by the kernel.

Axis names: n (inputs kept), m (inputs searched).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from .._arguments import check_kernel, check_model, check_prompts
from .._statistics import effective_sample_size, normalise, pareto_khat
from ..features import InputText
from ..inversion import cut
from ..kernels import Kernel, SiteStatistics, check_bandwidth, site_statistics
from ..nearby import Nearby
from ..sites import Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from jaxtyping import Bool, Float
    from torch import Tensor

    from ..models import LanguageModel
    from ..prompts import Prompt, PromptDistribution


@dataclass(frozen=True)
class Pick:
    """A picked activation, and what it is looked at with."""

    lm: LanguageModel
    """The target model."""
    prompts: PromptDistribution
    """P(X)."""
    ids: list[int]
    """The picked input, cut at the site."""
    position: int
    """Its last token's index."""
    site: Site
    """Where the activation is read."""
    bandwidth: float
    """Width eps of the kernel."""
    z_hat: Float[Tensor, "1 d"]
    """The activation."""

    @classmethod
    def of(
        cls,
        lm: LanguageModel,
        prompts: PromptDistribution,
        target: str | Prompt | Sequence[int],
        site: str | Site,
        position: int,
        bandwidth: float,
        kernel: Kernel | None,
    ) -> Self:
        """A pick from what a user gives; raises the package's errors where that is wrong."""
        check_model(lm)
        check_prompts(prompts)
        check_kernel(kernel)
        bandwidth = check_bandwidth(bandwidth, (1e-6, 1e6))
        place = lm.site(site)
        ids, at = cut(lm, target, position)
        return cls(lm, prompts, list(ids), at, place, bandwidth, lm.activations([ids], [place])[place.name])


@dataclass(frozen=True, eq=False, kw_only=True)
class Searched(Nearby):
    """Inputs that a search found, under the names of an `Inversion` as far as they mean the same."""

    kernel: Float[np.ndarray, " n"]
    """exp(-d^2 / 2 eps^2), or what the kernel that was asked for says."""
    weight: Float[np.ndarray, " n"]
    """Shares of the estimate; they sum to 1, or are 0 where nothing was found."""
    ess: float
    """Effective sample size over all that was searched."""
    khat: float
    """Tail index of the weights; above 0.7 they are not to be trusted."""
    bits: float
    """Resolution bits, -log2 of the mean kernel over P(X); NaN where the search does not tell."""
    bits_stderr: float
    """Standard error of :attr:`bits`."""
    ball_edge: float
    """The weighted 95 % quantile of d, for display."""
    bank_size: int
    """Inputs that were run: what the search cost, in passes of the target."""

    @property
    def verdict(self) -> str:
        """What this is (no inversion was made), or ``"CONSTANT"``."""
        return "CONSTANT" if self.is_constant else type(self).__name__.upper()

    @property
    def verdict_reason(self) -> str:
        """What this is, in words."""
        if self.is_constant:
            return "this site does not vary on the prompt distribution: it can say nothing"
        return self._reason()

    def _reason(self) -> str:
        raise NotImplementedError

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
        """One row an input."""
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

    @classmethod
    def measured(
        cls,
        pick: Pick,
        inputs: Sequence[Sequence[int]],
        z: Float[Tensor, "m d"],
        statistics: SiteStatistics,
        *,
        kept: Sequence[int] | None = None,
        most: int | None = None,
        bank_size: int | None = None,
        **more: Any,
    ) -> Self:
        """Inputs that were run, as a result; weighed by the kernel unless `more` says otherwise.

        Args:
            pick: what they are near to.
            inputs, z: all that were searched, with their activations.
            statistics: moments to standardise with.
            kept: which of them to show, in this order; None: nearest first.
            most: how many of those, at most; None: all.
            bank_size: passes of the target, where those were more than the inputs.
            more: fields that are not those of the kernel.
        """
        lm = pick.lm
        d = statistics.distance(z, pick.z_hat) if len(z) else torch.zeros(0)
        rows = torch.argsort(d, stable=True).numpy()[:most] if kept is None else np.asarray(kept, dtype=int)
        z = z[torch.from_numpy(rows)]
        relative = (z - pick.z_hat).norm(dim=1) / pick.z_hat.norm().clamp(min=1e-30)
        return cls(
            prompt_ids=pick.ids,
            tokens=list(lm.token_strings(pick.ids)),
            text=InputText.from_ids(pick.ids, lm),
            site=pick.site,
            position=pick.position,
            bandwidth=pick.bandwidth,
            samples=[list(inputs[i]) for i in rows],
            texts=[InputText.from_ids(inputs[i], lm) for i in rows],
            d=d.numpy()[rows],
            relative_norm=relative.numpy(),
            cosine=torch.cosine_similarity(z, pick.z_hat).numpy(),
            prompts_name=pick.prompts.name,
            bank_size=len(inputs) if bank_size is None else bank_size,
            is_constant=statistics.is_constant,
            **(_estimates(d, rows, statistics.kernel.log(d, pick.bandwidth)) | more),
        )


def _estimates(d: Float[Tensor, " m"], kept: np.ndarray, log_k: Float[Tensor, " m"]) -> dict[str, Any]:
    """What the kernel makes of the distances: weights, effective samples, bits, the edge of the ball."""
    if not len(d):
        none = dict.fromkeys(("khat", "bits", "bits_stderr", "ball_edge"), math.nan)
        return {"kernel": np.zeros(0), "weight": np.zeros(0), "ess": 0.0, **none}
    weight = torch.softmax(log_k, 0).nan_to_num(0.0).numpy()  # a ball may hold none of them
    kernel = log_k.exp().numpy()
    mean = float(kernel.mean())
    order = np.argsort(d.numpy(), kind="stable")
    edge = np.searchsorted(np.cumsum(weight[order]), 0.95)
    return {
        "kernel": kernel[kept],
        "weight": normalise(weight[kept]),
        "ess": float(effective_sample_size(weight)),
        "khat": float(pareto_khat(log_k.numpy())),
        "bits": float((math.log(len(d)) - torch.logsumexp(log_k, 0)) / math.log(2)),
        "bits_stderr": float(kernel.std() / math.sqrt(len(d)) / mean / math.log(2)) if mean > 0 else math.nan,
        "ball_edge": float(d.numpy()[order][min(len(d) - 1, edge)]),
    }


def moments(z: Float[Tensor, "m d"], statistics: SiteStatistics | None, kernel: Kernel | None) -> SiteStatistics:
    """Moments to standardise with: those given (a generator's, with its kernel), or those of a bank."""
    return site_statistics(z, kernel=kernel) if statistics is None else statistics
