"""What an inversion is: inputs proposed for one activation, each re-run and weighed, and whether to believe them.

Weights w proportional to P(x) k(d) / q(x | z_hat) make averages over the samples averages over the posterior.
Resolution bits are -log2 of Z = E over P(X) of k(d), estimated by the mean weight. Effective sample size and k-hat
judge the weights; what no sample shows (a near input that the generator misses) is looked for at the picked input
itself and among the inputs of a bank drawn from P(X). Axis names: n (samples), pos (tokens of one).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from . import _statistics
from ._arguments import unit_of_information
from .kernels import Kernel, check_bandwidth
from .nearby import Nearby
from .verdicts import STARVED, Verdict, judge, remarks_on

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Bool, Float, Int

    from .features import InputText

_LN2 = math.log(2)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Inversion(Nearby):
    """Inputs proposed for one activation, each re-run and weighed; made by :func:`invert`."""

    proposal_bandwidth: float
    """The eps at which the samples were drawn; another one after :meth:`reweight`."""
    log_q: Float[np.ndarray, " n"]
    """log q(x | z_hat), nats."""
    log_no_condition: Float[np.ndarray, " n"]
    """log q(x | nothing), nats."""
    log_prior: Float[np.ndarray, " n"]
    """log P(x), nats; log q(x | nothing) where P cannot score."""
    prior_is_exact: bool
    """Whether `log_prior` is P's own."""
    token_log_q: list[Float[np.ndarray, " pos"]]
    """log q(x_t | z_hat) of each sample's tokens behind the row's first and of its end."""
    token_log_no_condition: list[Float[np.ndarray, " pos"]]
    """The same without the condition."""
    picked_log_prior: float
    """log P of the picked input, nats; log q(x_hat | nothing) where P cannot score."""
    picked_log_q: float
    """log q(x_hat | z_hat) of the picked input, nats."""
    picked_on_support: bool
    """Whether P(X) can make the picked input."""
    bits_bound: float = math.inf
    """Bits that any activation of the site can say at most through noise of this width."""
    top_share: float = 0.0
    """Share of the site's variance on P(X) along its first principal direction."""
    picked_d: float = 0.0
    """Distance of the picked input itself: 0 up to rounding, unless noise was added."""
    frame: int = 1
    """Tokens of each sample in front of the first that has a log q (1 where the model has a BOS)."""
    prior_d: Float[np.ndarray, " m"] = field(default_factory=lambda: np.zeros(0))
    """Distances of a bank of draws from P(X) itself."""
    prior_inputs: list[list[int]] = field(default_factory=list)
    """Token ids of those draws, which all inversions by one generator share; empty where none were kept."""
    prior_texts: list[InputText] = field(default_factory=list)
    """The same draws as texts that know their tokens."""
    bank_log_ratio: Float[np.ndarray, " m"] = field(default_factory=lambda: np.zeros(0))
    """log of P(x) / q(x | z_hat) of those of the bank's inputs that were scored, NaN for the others."""
    bank_marks: Int[np.ndarray, " m"] = field(default_factory=lambda: np.zeros(0, dtype=int))
    """How often each was drawn to be scored, in proportion to its kernel at :attr:`proposal_bandwidth`."""
    bank_own: Bool[np.ndarray, " m"] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """Which of the bank's inputs are the picked one."""
    law: Kernel = field(default_factory=Kernel)
    """The kernel: what is near, and how much it counts."""
    usual_bandwidth: float = 0.1
    """The eps that is usual at this site: 0.1, or where the picked input itself has at most 5 % of the posterior."""
    stopped: str = ""
    """Why no more samples were drawn, in words, where an effective sample size was asked for."""
    relative_scale: float = math.nan
    """The site's spread on P(X) in units of the residual stream's there; NaN where that is not known."""

    # -- weights --------------------------------------------------------------------------------

    @cached_property
    def kernel(self) -> Float[np.ndarray, " n"]:
        """exp(-d^2 / 2 eps^2), or what :attr:`law` says."""
        return np.exp(self.law.log(self.d, self.bandwidth))

    @cached_property
    def log_weight(self) -> Float[np.ndarray, " n"]:
        """log of P(x) k(d) / q(x | z_hat), not normalised."""
        with np.errstate(invalid="ignore"):
            value = self.log_prior + self.law.log(self.d, self.bandwidth) - self.log_q
        return np.where(np.isfinite(value), value, -np.inf)

    @cached_property
    def weight(self) -> Float[np.ndarray, " n"]:
        """Importance weights that sum to 1 (all 0 where no sample has any)."""
        top = self.log_weight.max(initial=-np.inf)
        return _statistics.normalise(np.exp(self.log_weight - top) if np.isfinite(top) else np.zeros(self.n))

    @cached_property
    def on_support(self) -> Bool[np.ndarray, " n"]:
        """Whether P(X) can make the sample."""
        return np.isfinite(self.log_prior) & np.isfinite(self.d)

    @cached_property
    def ball_edge(self) -> float:
        """Weighted 95 % quantile of d: the edge of the ball, for display."""
        order = np.argsort(self.d)
        reached = np.cumsum(self.weight[order]) >= 0.95 - 1e-12
        return float(self.d[order][reached.argmax()]) if reached.any() else math.nan

    # -- quality --------------------------------------------------------------------------------

    @cached_property
    def ess(self) -> float:
        """Effective sample size (sum w)^2 / sum w^2."""
        return float(_statistics.effective_sample_size(self.weight))

    @cached_property
    def khat(self) -> float:
        """k-hat of Pareto-smoothed importance sampling; above 0.7 the weights are not to be trusted."""
        return float(_statistics.pareto_khat(self.log_weight))

    @cached_property
    def distinct_share(self) -> float:
        """Distinct inputs among the samples."""
        return len({tuple(s) for s in self.samples}) / self.n

    @property
    def off_support_share(self) -> float:
        """Share of samples that P(X) cannot make."""
        return float(1 - self.on_support.mean())

    @cached_property
    def bits(self) -> float:
        """Resolution bits: -log2 of Z = E over P(X) of the kernel; what the activation says at this bandwidth."""
        return float(-(np.logaddexp.reduce(self.log_weight) - math.log(self.n)) / _LN2)

    @cached_property
    def bits_stderr(self) -> float:
        """Standard error of :attr:`bits` (delta method)."""
        w = self.weight * self.n
        return float(w.std(ddof=1) / math.sqrt(self.n) / _LN2) if self.n > 1 and w.any() else math.nan

    # -- what no sample shows -------------------------------------------------------------------

    @property
    def picked_log_weight(self) -> float:
        """log of P(x_hat) k(d) / q(x_hat | z_hat): the picked input's own weight."""
        k = self.law.log(np.array(self.picked_d), self.bandwidth)
        return float(self.picked_log_prior + k - self.picked_log_q)

    @property
    def picked_share(self) -> float:
        """Share of the posterior that the picked input itself has, as far as the samples tell; at most 1."""
        k = float(self.law.log(np.array(self.picked_d), self.bandwidth))
        share = self.picked_log_prior + k + self.bits * _LN2
        return float(np.exp(min(share, 0.0))) if np.isfinite(share) else math.nan

    @cached_property
    def bank_share(self) -> Float[np.ndarray, " m"]:
        """k(d) / (m Z): what of the posterior each of the bank's inputs stands for, Z from the samples; the pick 0."""
        if not len(self.prior_d) or not self.weight.any():
            return np.zeros(len(self.prior_d))
        log_k = self.law.log(self.prior_d, self.bandwidth)
        share = np.exp(np.minimum(log_k + self.bits * _LN2 - math.log(len(self.prior_d)), 700.0))
        return np.where(self.bank_own | np.isnan(share), 0.0, share)

    def _held(self, ratio: float) -> float:
        """Share of the posterior that q gives less than 1 / `ratio` of its due, by the bank's scored inputs."""
        if not self.bank_marks.any() or not self.weight.any() or self.bandwidth > self.proposal_bandwidth:
            return math.nan  # nothing near; or the bank was scored for nearer inputs only
        log_k = self.law.log(self.prior_d, self.bandwidth)
        with np.errstate(invalid="ignore"):
            marks = self.bank_marks * np.exp(log_k - self.law.log(self.prior_d, self.proposal_bandwidth))
        marks = np.where(self.bank_marks > 0, marks, 0.0)
        rare = self.bank_log_ratio + log_k + self.bits * _LN2 > math.log(ratio)  # NaN: not
        found = self.bank_share.sum() * marks[rare].sum() / marks.sum() if marks.any() else 0.0
        return float(found / (1 + found))  # what was missed is missing in Z too

    @property
    def missed_share(self) -> float:
        """Share of the posterior of which q proposes less than one in n of its due: n samples all but never show it.

        Judged by inputs of the bank, so a rough figure; NaN where none of them lies near.
        """
        return self._held(self.n)

    @property
    def starved_share(self) -> float:
        """The same for what q proposes ten times too rarely."""
        return self._held(STARVED)

    @cached_property
    def _judgement(self) -> tuple[Verdict, str]:
        return judge(self)

    @property
    def verdict(self) -> Verdict:
        """Whether to believe it."""
        return self._judgement[0]

    @property
    def verdict_reason(self) -> str:
        """Why, in words."""
        return self._judgement[1]

    # -- views ----------------------------------------------------------------------------------

    def token_information(self, unit: str = "nats") -> list[list[float]]:
        """What the activation says about each token of each sample: log q(x_t | z_hat) - log q(x_t | nothing).

        A shading, not a measurement; in nats or bits. One list a sample, one number a token; tokens in front of the
        first that the generator writes (BOS) have 0, and so have all of a sample that could not be run.
        """
        out, factor = [], unit_of_information(unit)
        for ids, given, prior in zip(self.samples, self.token_log_q, self.token_log_no_condition, strict=True):
            behind = (factor * (given - prior))[: max(0, len(ids) - self.frame)].tolist()
            out.append(([0.0] * self.frame + behind + [0.0] * len(ids))[: len(ids)])
        return out

    def reweight(self, bandwidth: float) -> Inversion:
        """The same samples weighed at another bandwidth, with fewer effective samples the further it is.

        Toward narrower kernels the samples cover what counts; toward wider ones they were not drawn for it, which only
        the bank can show.
        """
        new = check_bandwidth(bandwidth, (1e-6, 1e6))
        return replace(self, bandwidth=new, bits_bound=self.bits_bound if new == self.bandwidth else math.nan)

    def to_frame(self) -> pd.DataFrame:
        """One row a sample, in order of drawing; logarithms in nats, `log_no_condition` is log q(x | nothing).

        ``bits`` is log2 q(x | z_hat) / q(x | nothing): how much likelier the activation makes this very input, its end
        included. A shading, as :meth:`token_information`; what the activation says is the inversion's :attr:`bits`.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "token_ids": self.samples,
                "text": [str(t) for t in self.texts],
                "log_q": self.log_q,
                "log_no_condition": self.log_no_condition,
                "log_prior": self.log_prior,
                "prior_is_exact": self.prior_is_exact,
                "d": self.d,
                "relative_norm": self.relative_norm,
                "cosine": self.cosine,
                "in_ball": self.in_ball,
                "kernel": self.kernel,
                "weight": self.weight,
                "bits": (self.log_q - self.log_no_condition) / _LN2,
                "is_copy": self.is_copy,
                "on_support": self.on_support,
            }
        )

    @property
    def remarks(self) -> list[str]:
        """What else to know before reading the samples, a sentence each."""
        return remarks_on(self)

    def _bound(self) -> str:
        """What the bits can be at most, in words; nothing where that is not known."""
        known = math.isfinite(self.bits_bound) and self.bandwidth == self.proposal_bandwidth and not self.is_constant
        words = "blurred by the bandwidth, this site tells at most"
        return f"\n  {words} {self.bits_bound:.1f} bits on average; the clean activation may tell more" if known else ""

    def summary(self) -> str:
        """A few plain lines."""
        prior = self.prompts_name if self.prior_is_exact else f"the generator's own prior, for {self.prompts_name}"
        return (
            f"{self._head()}{prior}{self._bound()}\n"
            f"  {self.n} samples: {self.distinct_share:.0%} distinct, {self.copy_share:.0%} copies of the picked "
            f"input, {self.off_support_share:.0%} that the prompt distribution cannot make"
            + (f"\n  {self.stopped}" if self.stopped else "")
            + "".join(f"\n  {remark}" for remark in self.remarks)
        )
