"""What a search without a generator finds: inputs of any origin, re-run, measured and weighed by the kernel.

Axis names: n (inputs kept), m (inputs searched).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from .._arguments import check_kernel, check_model, check_prompts, check_statistics
from .._statistics import effective_sample_size, normalise, pareto_khat, wilson
from ..errors import InvalidArgument
from ..features import InputText
from ..kernels import Kernel, SiteStatistics, check_bandwidth, site_statistics
from ..nearby import Nearby
from ..picking import cut
from ..sites import Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from jaxtyping import Bool, Float
    from torch import Tensor

    from ..models import LanguageModel
    from ..prompts import Prompt, PromptDistribution


ENOUGH = 0.999
"""Share of all weight that is kept where not everything is."""


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


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Searched(Nearby):
    """Inputs that a search found, under the names of an `Inversion` as far as they mean the same."""

    kernel: Float[np.ndarray, " n"]
    """exp(-d^2 / 2 eps^2), or what the kernel that was asked for says."""
    weight: Float[np.ndarray, " n"]
    """Shares of the estimate; they sum to 1, or are 0 where nothing was found."""
    ess: float
    """Effective sample size: over all that was searched, or of :attr:`weight` where the heaviest are shown."""
    khat: float
    """Tail index of the weights; above 0.7 they are not to be trusted."""
    bits: float
    """Resolution bits, -log2 of the mean kernel over P(X); NaN where the search does not tell."""
    bits_stderr: float
    """Standard error of :attr:`bits`; NaN where nothing near was found and they are only the least that allows."""
    ball_edge: float
    """The weighted 95 % quantile of d, for display."""
    bank_size: int
    """Inputs that were run: what the search cost, in passes of the target. Shown states of chains are run once more,
    uncounted, and so are beginnings of texts whose activations were not kept."""

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
        least: int | None = None,
        bank_size: int | None = None,
        **more: Any,
    ) -> Self:
        """Inputs that were run, as a result; weighed by the kernel unless `more` says otherwise.

        Args:
            pick: what they are near to.
            inputs, z: all that were searched, with their activations.
            statistics: moments to standardise with.
            kept: which of them to show, in this order; None: nearest first.
            least: how many of those at least; more where they hold less than `ENOUGH` of the weight. None: all.
            bank_size: passes of the target, where those were more than the inputs.
            more: fields that are not those of the kernel.
        """
        lm = pick.lm
        d = statistics.distance(z, pick.z_hat) if len(z) else torch.zeros(0)
        log_k = statistics.kernel.log(d, pick.bandwidth)
        rows = torch.argsort(d, stable=True).numpy() if kept is None else np.asarray(kept, dtype=int)
        if least is not None:
            held = torch.softmax(log_k, 0).nan_to_num(0.0).numpy()[rows].cumsum()
            rows = rows[: max(least, int(np.searchsorted(held, ENOUGH)) + 1 if held[-1] > 0 else 0)]
        found = _estimates(d, rows, log_k) | more
        if "weight" in more:
            found["ball_edge"] = _edge(d.numpy()[rows], found["weight"])
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
            **found,
        )


def _estimates(d: Float[Tensor, " m"], kept: np.ndarray, log_k: Float[Tensor, " m"]) -> dict[str, Any]:
    """What the kernel makes of the distances: weights, effective samples, bits, the edge of the ball."""
    if not len(d):
        none = dict.fromkeys(("khat", "bits", "bits_stderr", "ball_edge"), math.nan)
        return {"kernel": np.zeros(0), "weight": np.zeros(0), "ess": 0.0, **none}
    weight = torch.softmax(log_k, 0).nan_to_num(0.0).numpy()  # a ball may hold none of them
    kernel = log_k.exp().numpy()
    bits, stderr = _bits(float(kernel.sum()), float(kernel.std()), len(d))
    return {
        "kernel": kernel[kept],
        "weight": normalise(weight[kept]),
        "ess": float(effective_sample_size(weight)),
        "khat": float(pareto_khat(log_k.numpy())),
        "bits": bits,
        "bits_stderr": stderr,
        "ball_edge": _edge(d.numpy(), weight),
    }


def _bits(total: float, spread: float, n: int) -> tuple[float, float]:
    """Bits of the mean kernel over `n` draws of P(X), and their standard error.

    Where less than one of them would be kept by rejection, nothing near was met: then the least that so many misses
    allow (the 95 % end of Wilson's interval), and NaN.
    """
    if total < 1:
        return -math.log2(float(wilson(0.0, n)[1])), math.nan
    return -math.log2(total / n), spread * math.sqrt(n) / total / math.log(2)


def _edge(d: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"]) -> float:
    """The weighted 95 % quantile of distances; NaN for none."""
    if not len(d):
        return math.nan
    order = np.argsort(d, kind="stable")
    return float(d[order][min(len(d) - 1, np.searchsorted(np.cumsum(weight[order]), 0.95))])


def moments(z: Float[Tensor, "m d"], statistics: SiteStatistics | None, kernel: Kernel | None) -> SiteStatistics:
    """Moments to standardise with: those given (a generator's, with its kernel), or those of a bank."""
    if statistics is None:
        return site_statistics(z, kernel=kernel)
    check_statistics(statistics)
    if statistics.width != z.shape[1]:
        raise InvalidArgument(
            f"statistics of {statistics.width} coordinates for activations of {z.shape[1]}",
            hint="give generator.statistics(site) of this site",
        )
    if kernel is not None and kernel != statistics.kernel:
        raise InvalidArgument(
            f"{kernel} was asked for, but statistics has {statistics.kernel}", hint="give one of the two"
        )
    return statistics
