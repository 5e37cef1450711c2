"""One half of the samples of an inversion and of P(X)'s inputs: which agree with a candidate, and how sure that is.

`proposals` finds hypotheses on one half (:func:`screened`) and tests them on the other (:meth:`Half.evidence`).
Axis names: n (samples), m (the inputs they are held against: P(X)'s, or those near another activation), u (inputs of
P(X), from which is estimated what goes with what).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ._candidates import Candidate, agreement_of
from ._fixed_states import LEAN
from ._progress import Progress
from ._statistics import effective_sample_size, fisher, normalise, wilson
from .errors import Cancelled
from .features import InputText
from .proposed import OTHER, PRIOR

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

TESTED = 16
"""Candidates that are tested at most."""
ALIKE = 0.95
"""Share of the inputs on which two candidates are alike that are taken for one."""
_KNOWN = 3.0  # effective inputs of P(X) from which what goes with a candidate is estimated
_ROUNDS = 50  # of proportional fitting; it is exact at once for what all samples agree with
_AT_ONCE = 32  # candidates that are read between two looks at `cancel`
_DIGITS = 12  # of shares, which are sums of weights
_SCREEN = 0.05  # p-value on the first half up to which a candidate is tested on the other

Agreement = dict[Candidate, tuple[np.ndarray, np.ndarray, np.ndarray]]
"""For each candidate, who agrees with the picked input: of the samples [n], of what they are held against [m], of
P(X)'s inputs [u]."""


class Evidence(NamedTuple):
    """What one half says of one candidate."""

    share: float
    prior: float
    by_length: float
    p_value: float

    @property
    def rises(self) -> bool:
        """Whether more of the samples agree, by `LEAN` of what P(X) leaves open or more."""
        return self.share - self.prior >= LEAN * (1 - self.prior) and self.share > self.prior


@dataclass(frozen=True, eq=False)
class Half:
    """Half of the samples and of P(X)'s inputs; made by :meth:`of`."""

    pick: InputText
    near: list[InputText]
    weight: Float[np.ndarray, " n"]
    others: list[InputText]
    """What the samples are held against."""
    by_length: Float[np.ndarray, " m"]
    """Weights of these with which they are as long as the samples; 0 where none is."""
    usual: list[InputText]
    """Inputs of P(X): the same, unless the samples are held against those near another activation."""
    name: str = PRIOR
    """Of what the samples are held against."""

    @classmethod
    def of(cls, pick: InputText, near: list[InputText], weight: np.ndarray, usual: list[InputText]) -> Half:
        weight = normalise(weight)
        return cls(pick, near, weight, usual, as_long(usual, near, weight), usual)

    def against(self, others: list[InputText]) -> Half:
        """The same samples held against those near another activation."""
        return replace(self, others=others, by_length=as_long(others, self.near, self.weight), name=OTHER)

    @property
    def ess(self) -> float:
        return float(effective_sample_size(self.weight))

    def alike(self, a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...]) -> bool:
        """Whether nearly all samples agree with both or neither of two candidates, and of P(X)'s inputs."""
        return float(self.weight @ (a[0] == b[0])) >= ALIKE and float((a[2] == b[2]).mean()) >= ALIKE

    def agreement(self, candidates: Sequence[Candidate], known: Agreement) -> Agreement:
        """Which inputs agree with each candidate, those known already among them."""
        found = dict(known)
        kinds = (self.near, self.others) if self.others is self.usual else (self.near, self.others, self.usual)
        for candidate in (c for c in candidates if c not in known):
            if candidate.parts and not candidate.ordered:
                agree = [np.logical_and.reduce([found[part][k] for part in candidate.parts]) for k in range(len(kinds))]
            else:
                agree = [agreement_of(candidate.feature, self.pick, texts) for texts in kinds]
            found[candidate] = agree[0], agree[1], agree[-1]
        return found

    def evidence(self, candidate: Candidate, agreement: Agreement) -> Evidence:
        """How many agree here and there, and the largest p-value of all tests that the candidate must pass."""
        near, usual, _ = agreement[candidate]
        share = float(np.clip(np.round(self.weight @ near, _DIGITS), 0, 1))
        alike = float(self.by_length @ usual) if self.by_length.any() else float("nan")
        found = Evidence(share, float(usual.mean()), alike, 1.0)
        if not found.rises:
            return found
        even = np.ones(len(usual))
        within = [(np.ones(len(near), bool), np.ones(len(usual), bool))]
        for group in candidate.beyond:
            mine, theirs = (np.logical_and.reduce([agreement[part][k] for part in group]) for k in (0, 1))
            within.append((mine, theirs))
        others = [even] if candidate.about_length else [even, self.by_length]
        p_value = max(
            _compared(near, self.weight * mine, usual, weight * theirs) for mine, theirs in within for weight in others
        )
        return found._replace(p_value=p_value)

    def interval(self, share: float, level: float) -> tuple[float, float]:
        """Wilson's interval of a share of the samples."""
        low, high = (float(end.round(_DIGITS)) for end in wilson(share, self.ess, level))
        return low, high

    def log_odds(self, seen: Evidence, level: float) -> tuple[float, float, float]:
        """Log of the odds near the activation over those in P(X), with its interval."""
        return log_odds_ratio(seen.share, self.ess, seen.prior, len(self.others), level)

    def covers(self, whole: Candidate, part: Candidate, agreement: Agreement) -> bool:
        """Whether nearly all samples that have one of a row's parts have the whole row, or neither."""
        return whole.ordered and float(self.weight @ (agreement[whole][0] == agreement[part][0])) >= ALIKE


def as_long(others: list[InputText], near: list[InputText], weight: np.ndarray) -> Float[np.ndarray, " m"]:
    """Weights of some inputs with which they are as long as the samples; 0 where none is."""
    lengths, mine = ([len(text.tokens) for text in texts] for texts in (others, near))
    counts = {length: lengths.count(length) for length in set(lengths)}
    shares: dict[int, float] = {}
    for length, w in zip(mine, weight.tolist(), strict=True):
        shares[length] = shares.get(length, 0.0) + w
    return normalise(np.array([shares.get(length, 0.0) / counts[length] for length in lengths]))


def log_odds_ratio(share: float, n: float, other: float, m: float, level: float = 0.95) -> tuple[float, float, float]:
    """Log of the ratio of two shares' odds, with the ends of its interval; n and m may be effective sample sizes.

    A half is added to each of the four counts (Haldane 1956, Anscombe 1956), so that none is 0; the interval is
    Woolf's (1955): normal, its variance the sum of the counts' reciprocals.

    >>> [round(end, 3) for end in log_odds_ratio(0.75, 8, 0.25, 8)]  # 6.5 * 6.5 / (2.5 * 2.5)
    [1.911, -0.152, 3.974]
    """
    a, b, c, d = share * n + 0.5, (1 - share) * n + 0.5, other * m + 0.5, (1 - other) * m + 0.5
    middle = math.log(a * d / (b * c))
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return middle, middle - half, middle + half


def _compared(near: Bool[np.ndarray, " n"], weight: np.ndarray, usual: Bool[np.ndarray, " m"], others: np.ndarray):
    """Fisher's p-value of two weighted shares."""
    n, m = float(effective_sample_size(weight)), float(effective_sample_size(others))
    return fisher(float(normalise(weight) @ near), n, float(normalise(others) @ usual), m)


def watch(total: int, on_progress: Progress | None, cancel: threading.Event | None) -> Callable[[int], None]:
    """What to call before each candidate is read."""

    def look(done: int) -> None:
        if cancel is not None and cancel.is_set():
            raise Cancelled
        if on_progress is not None:
            on_progress(done, total, "looking for hypotheses")

    return look


def screened(
    half: Half, candidates: Sequence[Candidate], look: Callable[[int], None], known: Agreement
) -> dict[Candidate, list[str]]:
    """Candidates that are worth a test, the surest first, each with the names of those it explains.

    `known`: agreement that was read already.
    """
    agreement = known
    for done in range(0, len(candidates), _AT_ONCE):
        look(done)
        agreement = half.agreement(candidates[done : done + _AT_ONCE], agreement)
    seen = {candidate: half.evidence(candidate, agreement) for candidate in candidates}
    rising = {c: seen[c] for c in candidates if seen[c].rises and seen[c].p_value <= _SCREEN}
    return folded(half, rising, agreement)


def folded(half: Half, seen: dict[Candidate, Evidence], agreement: Agreement) -> dict[Candidate, list[str]]:
    """Candidates that no stronger ones explain on this half, each with the names of those that it explains."""
    kept: dict[Candidate, list[str]] = {}
    even = np.full(len(half.usual), 1 / max(1, len(half.usual)))
    tilts: list[tuple[Candidate, np.ndarray]] = []
    for candidate in sorted(seen, key=lambda c: (c.rank, seen[c].p_value)):  # stable
        whole = next((c for c in kept if c.has_part(candidate) or candidate.feature.name == c.feature.name), None)
        share, agrees = seen[candidate].share, agreement[candidate][2]
        cause = whole or next((c for c, tilt in tilts if _explained(share, float(tilt @ agrees))), None)
        cause = cause or next((c for c in kept if half.alike(agreement[c], agreement[candidate])), None)
        # a row that all of its parts together explain says the same in one: where it holds, they are folded into it
        row = whole is None and len(candidate.parts) > 1 and all(p in kept for p in candidate.parts)
        row = row and all(half.covers(candidate, part, agreement) for part in candidate.parts)
        if cause is not None and not row:
            kept[cause].append(candidate.feature.name)
        elif len(kept) < TESTED:
            kept[candidate] = []
            for causes in [[candidate], list(kept)][: len(kept)]:
                tilt = _tilted([(agreement[c][2], seen[c].share) for c in causes], even)
                if effective_sample_size(tilt) >= _KNOWN:
                    tilts.append((candidate, tilt))
    return kept


def _explained(share: float, expected: float) -> bool:
    """Whether hardly more of the samples agree than is expected."""
    return share - expected < LEAN * (1 - expected) or expected >= 1 - 10**-_DIGITS


def _tilted(shares: Sequence[tuple[Bool[np.ndarray, " u"], float]], weight: np.ndarray) -> Float[np.ndarray, " u"]:
    """Weights of P(X)'s inputs, as even as can be, with which those that agree have the shares; 0 where none can."""
    for _ in range(_ROUNDS if len(shares) > 1 else 1):
        for agrees, share in shares:
            weight = share * normalise(weight * agrees) + (1 - share) * normalise(weight * ~agrees)
    return weight
