"""Whether to believe an inversion: its verdict, and what else to know before reading its samples, in words."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from . import _statistics

if TYPE_CHECKING:
    from .baselines import Metropolis
    from .inverted import Inversion

COARSE = 0.5
"""Share of a site's variance along one direction from which a bandwidth is coarse for all others."""
FEW_BITS = 12.0
"""Bits that pass on average, at most, where it is; where more do, it is fine enough for the others too."""
FAR = 2
"""Bandwidths beyond which an input is no longer one that the model cannot tell from the picked one."""
STARVED = 10
"""How many times too rarely q proposes what it starves."""
MET = 1.05
"""Nested R-hat up to which chains of several origins have met."""
LEAST_ESS = 5.0
"""Effective samples below which nothing that is estimated from the samples is shown as known."""
MANY = 50
"""Effective samples that are enough whatever their share of n."""
_MISSED, _RARE = 0.1, 0.3  # shares of the posterior that a bank may show to be missed, and to be starved
_TOO_MUCH = 2.0  # times the mass found that a bank may hold, if ten of its inputs or more hold it
_SURELY, _OFF = 2.0, 0.3  # standard errors, and bits, by which a bank may hold more before it is too much
_FEW, _SHARE = 10, 0.1  # effective samples, alone and as a share of n, below which nothing is called reliable
_NOTHING = 0.2  # bits, with one standard error added, below which an activation says nothing
_EVEN = 0.5  # share of n from which effective samples are too many for a heavy tail: k-hat is noise there


class Verdict(StrEnum):
    """Whether an inversion can be believed; different things, never mixed."""

    RELIABLE = "RELIABLE"
    LOW_ESS = "LOW_ESS"
    INVERTER_FAILED = "INVERTER_FAILED"
    NO_INFORMATION = "NO_INFORMATION"
    CONSTANT = "CONSTANT"
    OUTSIDE_PROMPT_DISTRIBUTION = "OUTSIDE_PROMPT_DISTRIBUTION"


DOUBTFUL = {
    Verdict.INVERTER_FAILED: "missed by the generator",
    Verdict.LOW_ESS: "with few effective samples",
    Verdict.CONSTANT: "of a site that does not vary",
    Verdict.OUTSIDE_PROMPT_DISTRIBUTION: "of an input that P(X) has not",
}
"""Verdicts of inversions that are not to be believed, in words."""


def enough(n: int) -> float:
    """Effective samples from which `n` draws can be relied on.

    >>> enough(64), enough(256), enough(4096)
    (10, 25.6, 50)
    """
    return min(max(_FEW, _SHARE * n), MANY)


def judge(inv: Inversion) -> tuple[Verdict, str]:
    """The verdict, and why, in words."""
    if pointless := _pointless(inv):
        return pointless
    if missed := _missed(inv):
        return Verdict.INVERTER_FAILED, missed
    why = f"effective sample size {inv.ess:.0f} of {inv.n}, k-hat {_signed(inv.khat)}"
    heavy = inv.khat > _statistics.KHAT_UNRELIABLE and inv.ess < _EVEN * inv.n
    few = inv.ess < enough(inv.n)
    if few or heavy:
        share = (
            f" ({inv.ess / inv.n:.1%} of the draws count: {_SHARE:.0%} should, or {MANY})" if inv.ess >= _FEW else ""
        )
        if not few:
            share = f" (above {_statistics.KHAT_UNRELIABLE:g}: a heavy tail)"
        return Verdict.LOW_ESS, f"{why}{share}: draw more samples or widen the bandwidth"
    return _informed(inv, why)


def _pointless(found: Inversion | Metropolis) -> tuple[Verdict, str] | None:
    """What no samples can mend: a site that says nothing, an input that P(X) has not."""
    if found.is_constant:
        return Verdict.CONSTANT, "this site does not vary on the prompt distribution: it can say nothing"
    if not found.picked_on_support:
        return (
            Verdict.OUTSIDE_PROMPT_DISTRIBUTION,
            f"the picked input cannot come from the prompt distribution ({found.prompts_name})",
        )
    return None


def judge_walk(found: Metropolis) -> tuple[Verdict, str]:
    """The same verdicts for chains that walked there, and why, in words."""
    if pointless := _pointless(found):
        return pointless
    if found.bank_mass > _TOO_MUCH and found.bank_ess >= _FEW:
        return (
            Verdict.INVERTER_FAILED,
            f"prompts of a bank hold {found.bank_mass:.3g} times the mass that the walk found",
        )
    more = "give it more seconds or widen the bandwidth"
    if found.n_draws:
        what = "texts that were read at every token" if found.n_texts else "draws, with nothing left for chains"
        why = f"no generator was used: {found.ess:.0f} effective samples of {found.n_draws:,} {what}"
        if found.ess < enough(found.asked):
            return Verdict.LOW_ESS, f"{why}: ask for more inputs, or {more}"
        if not found.khat <= _statistics.KHAT_UNRELIABLE and found.ess_of_draws < MANY:
            tail = f"k-hat {_signed(found.khat)} (above {_statistics.KHAT_UNRELIABLE:g}: a heavy tail)"
            if math.isnan(found.khat):
                tail = "too few to tell how heavy their tail is"
            return Verdict.LOW_ESS, f"{why}, {tail}: {more}"
        return _informed(found, why)
    why = f"no generator was used: states of chains are worth {found.ess:.0f} draws, R-hat {found.r_hat:.2f}"
    if found.reached > found.bandwidth:
        return Verdict.LOW_ESS, f"{why}; chains from P(X) only came to bandwidth {found.reached:.2g}: {more}"
    if not found.r_hat <= MET:
        return Verdict.LOW_ESS, f"{why}: chains from P(X) and from the picked input have not met: {more}"
    if found.ess < enough(found.asked):
        return Verdict.LOW_ESS, f"{why}: {more}"
    return _informed(found, why)


def _informed(found: Inversion | Metropolis, why: str) -> tuple[Verdict, str]:
    """Of samples that can be relied on: whether they say anything."""
    if found.bits + found.bits_stderr < _NOTHING:
        return Verdict.NO_INFORMATION, f"{max(found.bits, 0.0):.2f} bits: the samples are the prompt distribution"
    return Verdict.RELIABLE, why


def _signed(number: float) -> str:
    """Two digits, with a minus sign rather than a hyphen."""
    return f"{number:.2f}".replace("-", "\u2212")


def _missed(inv: Inversion) -> str:
    """What the generator misses, as the picked input and a bank show it, in words; empty where nothing is shown."""
    if not inv.weight.any():
        return "no sample lies near the picked activation"
    if inv.n < _FEW:
        return ""
    if not inv.is_copy.any() and inv.picked_log_weight > np.logaddexp.reduce(inv.log_weight):
        return "the picked input outweighs all samples together: the generator misses what is nearest"
    if (mass := _too_much(inv)) > 0:
        return f"the prompts of a bank hold {mass:.3g} times the mass that the samples found"
    for share, most, words in (
        (inv.missed_share, _MISSED, "all but never proposes them"),
        (inv.starved_share, _RARE, f"proposes them {STARVED} times too rarely"),
    ):
        if share > most:
            return f"prompts of a bank lie as near, about {share:.0%} of the posterior, and the generator {words}"
    return ""


def _too_much(inv: Inversion) -> float:
    """How many times the mass that the samples found a bank holds, where that is too much; else 0.

    Both estimate E over P(X) of the kernel, so their ratio is 1 up to the errors of both.
    """
    mass, used = float(inv.bank_share.sum()), float(_statistics.effective_sample_size(inv.bank_share))
    if mass > _TOO_MUCH and used >= _FEW:
        return mass
    if mass <= 2**_OFF:
        return 0.0
    stderr = math.hypot(math.sqrt(max(0.0, 1 / used - 1 / len(inv.bank_share))), inv.bits_stderr * math.log(2))
    return mass if mass - 1 > _SURELY * mass * stderr else 0.0


def doubt_of(inv: Inversion) -> str:
    """Why what is estimated from these samples (bits, rates) is not to be believed; empty where it is."""
    if inv.verdict == Verdict.INVERTER_FAILED:
        return "the generator missed this activation"
    if inv.ess < LEAST_ESS:
        return f"only {inv.ess:.1f} effective samples carry them"
    return ""


def doubt_of_rates(inv: Inversion) -> str:
    """Why rates of these samples are not to be relied on; empty where they are."""
    if inv.verdict == Verdict.OUTSIDE_PROMPT_DISTRIBUTION:
        return "the picked input lies outside P(X), and what lies nearest to it there need not be near"
    if why := doubt_of(inv):
        return why
    few = inv.verdict == Verdict.LOW_ESS
    return (
        f"{inv.ess:.1f} effective samples of {inv.n}, k-hat {_signed(inv.khat)}: too little to rely on" if few else ""
    )


def coarse_share(inv: Inversion) -> float:
    """Share of the site's variance along one direction, where that makes the bandwidth coarse for others; else 0."""
    coarse = inv.top_share > COARSE and inv.bits_bound < FEW_BITS and inv.law.metric == "scaled"
    return inv.top_share if coarse and inv.bandwidth == inv.proposal_bandwidth and not inv.is_constant else 0.0


def remarks_on(inv: Inversion) -> list[str]:
    """What else to know before reading the samples, a sentence each."""
    if inv.is_constant:
        return []
    found = []
    if share := coarse_share(inv):
        found.append(
            f"One direction holds {share:.0%} of this site's variance (giant activations, or kinds of prompts that lie "
            f"far apart), so the bandwidth is coarse for all others: on average at most {inv.bits_bound:.1f} bits "
            "pass. At a smaller one more do; a generator trained with metric='whitened' weighs all directions alike."
        )
    if inv.bandwidth > inv.proposal_bandwidth:
        found.append(
            f"Drawn at bandwidth {inv.proposal_bandwidth:g}: inputs that only the wider kernel reaches were "
            "hardly proposed."
        )
    if inv.relative_scale < 0.01:
        found.append(
            f"This site varies {1 / inv.relative_scale:.0f} times less than the residual stream: standardised "
            "units magnify what the model may hardly use."
        )
    if inv.usual_bandwidth > inv.bandwidth:
        if inv.verdict == Verdict.INVERTER_FAILED:  # then nobody knows what share the picked input has
            found.append(f"At this site bandwidth {inv.usual_bandwidth:g} is usual.")
        elif inv.picked_share > 0.05:
            found.append(
                f"The picked input itself is {inv.picked_share:.0%} of the posterior: at this site bandwidth "
                f"{inv.usual_bandwidth:g} is usual."
            )
    elif inv.verdict == Verdict.RELIABLE and float(inv.weight[inv.d > FAR * inv.bandwidth].sum()) > 0.5:
        found.append(
            f"Most of the weight lies beyond {FAR} \u03b5: P(X) has few inputs that are nearer, so these are similar "
            "here rather than the same to the model."
            + (" A smaller bandwidth asks for nearer ones." if inv.bandwidth > inv.usual_bandwidth else "")
        )
    return found
