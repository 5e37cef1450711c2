"""What a contrast is: two inversions' samples, each as both activations see them; made by :mod:`.contrasting`.

By the edges of both balls an input lies on the side of the first, of the second, of both or of neither. The share of
one posterior inside the other's ball stands beside that of P(X), copies of its picked input left out (they sit at the
kernel's centre); its interval is Wilson's, with n = effective sample size. Axis names: n (samples of one inversion).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ._fixed_differences import TokenPair, paired, sentence_of
from ._fixed_states import Share
from ._statistics import effective_sample_size, normalise, truncate, wilson
from .errors import InvalidArgument
from .fixing import Fixed, fixed
from .inverted import Inversion
from .verdicts import LEAST_ESS, doubt_of

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Bool, Float

SIDES = {
    "first": "inside the first's ball only",
    "second": "inside the second's ball only",
    "both": "inside both balls",
    "neither": "inside neither",
}
"""Where an input can lie, and what it means."""
_ROUNDING = 0.01  # of the bandwidth: what is nearer than this is there, however small the ball


def edge_of(inv: Inversion) -> float:
    """The edge of an inversion's ball: `ball_edge`, or where all samples are as near as rounding, a little more."""
    return max(inv.ball_edge, _ROUNDING * inv.bandwidth)


@dataclass(frozen=True, eq=False, kw_only=True)
class OneSide:
    """The samples of one of two inversions, as both activations see them."""

    name: str
    """"first" or "second"."""
    inversion: Inversion
    """Whose samples these are."""
    other: Inversion
    """The inversion that they are held against."""
    d_other: Float[np.ndarray, " n"]
    """Distance of each sample to the other activation, at the other's site; inf where it could not be run."""

    @property
    def inside(self) -> Bool[np.ndarray, " n"]:
        """Whether each sample lies inside the ball of its own inversion."""
        return self.inversion.d <= edge_of(self.inversion)

    @property
    def inside_other(self) -> Bool[np.ndarray, " n"]:
        """Whether it lies inside the other's ball."""
        return self.d_other <= edge_of(self.other)

    @cached_property
    def side(self) -> np.ndarray:
        """``[n]`` one of :data:`SIDES` for each sample."""
        opposite = "second" if self.name == "first" else "first"
        cases = [self.inside & self.inside_other, self.inside, self.inside_other]
        return np.select(cases, ["both", self.name, opposite], "neither")

    @cached_property
    def kernel_other(self) -> Float[np.ndarray, " n"]:
        """The other's kernel at each sample: 1 at the other activation, 0 far from it."""
        return np.exp(self.other.law.log(self.d_other, self.other.bandwidth))

    @cached_property
    def weight_other(self) -> Float[np.ndarray, " n"]:
        """The same draws weighed for the other's posterior; they sum to 1 (all 0 where none lies near it)."""
        inv = self.inversion
        with np.errstate(invalid="ignore"):
            log_weight = inv.log_prior - inv.log_q + self.other.law.log(self.d_other, self.other.bandwidth)
        log_weight = np.where(np.isfinite(log_weight), log_weight, -np.inf)
        top = log_weight.max(initial=-np.inf)
        return normalise(np.exp(log_weight - top) if np.isfinite(top) else np.zeros(inv.n))

    @cached_property
    def far_weight(self) -> Float[np.ndarray, " n"]:
        """Near this activation and far from the other: the posterior weighed by 1 - k of the other, normalised."""
        return normalise(self.inversion.weight * (1 - self.kernel_other))

    @cached_property
    def _others(self) -> Float[np.ndarray, " n"]:
        return normalise(np.where(self.inversion.is_copy, 0.0, truncate(self.inversion.weight)))

    @cached_property
    def ess(self) -> float:
        """Effective samples behind the shares: those that are no copies of the picked input."""
        return float(effective_sample_size(self._others))

    @cached_property
    def shares(self) -> dict[str, Share]:
        """Share of the posterior on each of :data:`SIDES`, copies left out, with its 95 % interval."""
        return {side: self._share(self.side == side) for side in SIDES}

    @cached_property
    def shared(self) -> Share:
        """Share of the posterior inside the other's ball, copies of the picked input left out, with its interval."""
        return self._share(self.inside_other)

    @property
    def shared_with_copies(self) -> float:
        """The same share, copies counted."""
        return float(truncate(self.inversion.weight) @ self.inside_other)

    @property
    def shared_by_chance(self) -> float:
        """Share of a bank of P(X)'s inputs inside the other's ball, the picked input left out as in `shared`; NaN
        without a bank."""
        d, own = self.other.prior_d, self.inversion.bank_own
        d = d[~own] if len(own) == len(d) else d
        return float((d <= edge_of(self.other)).mean()) if len(d) else math.nan

    @property
    def doubt(self) -> str:
        """Why its shares cannot be believed; empty where they can."""
        if why := doubt_of(self.inversion):
            return why
        if self.ess < LEAST_ESS and not self.inversion.is_constant:
            return f"only {self.ess:.1f} effective samples are no copies of the picked input"
        return ""

    def _share(self, hits: Bool[np.ndarray, " n"]) -> Share:
        if not self.ess:
            return Share(math.nan, 0.0, 1.0)
        share = min(1.0, float(self._others @ hits))
        return Share(share, *(float(end) for end in wilson(share, self.ess)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Contrast:
    """Two inversions held against each other; made by :func:`contrast`."""

    first: OneSide
    """The first inversion's samples."""
    second: OneSide
    """The second's."""
    apart: tuple[float, float]
    """How far the two picked inputs lie apart, d at the first's site and at the second's."""

    @cached_property
    def fixed(self) -> tuple[Fixed | None, Fixed | None]:
        """What each fixes; None for one without inputs of P(X) to compare with (``invert(..., bank=0)``)."""
        return _fixed(self.first.inversion), _fixed(self.second.inversion)

    @cached_property
    def tokens(self) -> tuple[TokenPair, ...]:
        """The two picked inputs' tokens, those that stand for each other together; BOS left out."""
        one, two = self.fixed
        return paired(one, two) if one and two else ()

    @cached_property
    def sentence(self) -> str:
        """What each fixes that the other does not, in one plain sentence."""
        doubts = [
            (side.name, "there are no inputs of P(X) to compare with" if found is None else found.doubt)
            for side, found in zip((self.first, self.second), self.fixed, strict=True)
            if found is None or found.doubt
        ]
        sides = zip((self.first, self.second), self.fixed, strict=True)
        return sentence_of(self.tokens, doubts, [(s.name, f.ess) for s, f in sides if f is not None and f.is_rough])

    @property
    def doubt(self) -> str:
        """Why the shares cannot be believed; empty where they can."""
        why = [f"of the {side.name}, {side.doubt}" for side in (self.first, self.second) if side.doubt]
        return "; ".join(why)

    @property
    def overlap(self) -> str:
        """How much of each posterior lies inside the other's ball, in one sentence."""
        if self.doubt:
            return f"How far they overlap is not known: {self.doubt}."
        one, two = self.first, self.second
        widths = [side.inversion.bandwidth for side in (one, two)]
        unlike = f" The first was inverted at bandwidth {widths[0]:g}, the second at {widths[1]:g}."
        missed = "".join(_missed(own, other) for own, other in ((one, two), (two, one)))
        return (
            f"Of the inputs near the first, {_percent(one)} are near the second too; of those near the second, "
            f"{_percent(two)} are near the first.{unlike if widths[0] != widths[1] else ''}{missed}"
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a sample: the first inversion's in order of drawing, then the second's.

        ``weight_first`` and ``weight_second`` weigh the draws of one inversion for both posteriors and sum to 1 over
        each; ``far_weight`` is :attr:`OneSide.far_weight`; ``side`` is one of :data:`SIDES`.
        """
        import pandas as pd

        parts = []
        for own in (self.first, self.second):
            inv, first = own.inversion, own.name == "first"
            d, weight = (inv.d, own.d_other), (inv.weight, own.weight_other)
            columns = {
                "drawn_for": own.name,
                "token_ids": inv.samples,
                "text": [str(t) for t in inv.texts],
                "d_first": d[0] if first else d[1],
                "d_second": d[1] if first else d[0],
                "side": own.side,
                "weight_first": weight[0] if first else weight[1],
                "weight_second": weight[1] if first else weight[0],
                "far_weight": own.far_weight,
                "is_copy": inv.is_copy,
                "on_support": inv.on_support,
            }
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)

    def tokens_frame(self) -> pd.DataFrame:
        """One row a pair of tokens: which of the two fixes it, with the shares behind that."""
        import pandas as pd

        names = ("position", "token", "state", "share", "low", "high", "prior")
        rows = [
            {"which": pair.which}
            | {f"{name}_first": getattr(pair.first, name, None) for name in names}
            | {f"{name}_second": getattr(pair.second, name, None) for name in names}
            for pair in self.tokens
        ]
        columns = ["which", *(f"{name}_{side}" for side in ("first", "second") for name in names)]
        return pd.DataFrame(rows, columns=columns)

    def summary(self) -> str:
        """A few plain lines."""
        lines = [self.sentence, self.overlap]
        for side in (self.first, self.second):
            inv = side.inversion
            shares = ", ".join(f"{share.share:.0%} {name}" for name, share in side.shares.items())
            lines.append(
                f"  the {side.name}: {inv.site} at {inv.tokens[-1]!r} (token {inv.position}), bandwidth "
                f"{inv.bandwidth:g}: {inv.verdict}\n    its posterior without copies: {shares} "
                f"({side.ess:.0f} effective samples)"
            )
        lines.append(f"  the picked inputs lie {self.apart[0]:.3g} apart at the first's site")
        if self.first.inversion.site != self.second.inversion.site:
            lines[-1] += f" and {self.apart[1]:.3g} at the second's"
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.sentence


def share_by_the_other(own: OneSide, other: OneSide) -> Share | None:
    """Share of `own`'s posterior inside the other's ball, by the other's draws there and its own elsewhere, copies of
    its picked input left out; with Wilson's interval for as many draws as count there.

    Both are importance estimates of integrals of one P(x) k(x), so they can be added, and held against what its own
    draws say of that share. None where the two have no P(X) in common, or fewer than `LEAST_ESS` of those draws count.
    """
    inv, drawn = own.inversion, other.inversion
    if not (inv.prior_is_exact and drawn.prior_is_exact and inv.prompts_name == drawn.prompts_name):
        return None
    copies = np.array([ids == inv.prompt_ids for ids in drawn.samples], dtype=bool)
    with np.errstate(invalid="ignore"):
        log_weight = drawn.log_prior - drawn.log_q + inv.law.log(other.d_other, inv.bandwidth)
    here = log_weight[other.inside & ~copies & np.isfinite(log_weight)]
    count = float(effective_sample_size(np.exp(here - here.max()))) if len(here) else 0.0
    if count < LEAST_ESS:
        return None
    elsewhere = inv.log_weight[~inv.is_copy & ~own.inside_other]
    ratio = np.logaddexp.reduce(elsewhere) - math.log(inv.n) - np.logaddexp.reduce(here) + math.log(drawn.n)
    share = float(np.exp(-np.logaddexp(0.0, ratio)))
    return Share(share, *(float(end) for end in wilson(share, count)))


def _missed(own: OneSide, other: OneSide) -> str:
    """Where the other's draws surely find more of this posterior near the other than its own interval allows."""
    found = share_by_the_other(own, other)
    if found is None or found.low <= own.shared.high:
        return ""
    return (
        f" But by the {other.name}'s draws {found.share:.0%} of the {own.name}'s posterior is near the {other.name}: "
        f"the {own.name}'s own draws missed some of it, so draw more."
    )


def _fixed(inv: Inversion) -> Fixed | None:
    """What it fixes; None where there are no inputs of P(X) to compare with."""
    try:
        return fixed(inv)
    except InvalidArgument:
        return None


def _percent(side: OneSide) -> str:
    """The share with its interval, and P(X)'s beside it."""
    share, low, high = side.shared
    chance = side.shared_by_chance
    beside = "" if math.isnan(chance) else f"; of all inputs of P(X): {chance:.0%}"
    return f"{share:.0%} ({low:.0%} to {high:.0%}{beside})"
