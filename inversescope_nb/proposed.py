"""What :func:`inversescope_nb.propose` returns: hypotheses that held, in words, with their evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ._wording import Refused
from .features import Feature

if TYPE_CHECKING:
    import pandas as pd


PRIOR = "P(X)"
OTHER = "the other activation"
"""What samples can be held against: P(X)'s inputs, or those near another activation."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """One hypothesis that held on the half of the samples that it was not found on. Shares are from 0 to 1."""

    feature: Feature
    """The hypothesis, for whatever takes features."""
    label: str
    """The picked input's label, as text."""
    words: str
    """What it says of the picked input."""
    share: float
    """Weighted share of the samples that agree with the picked input, copies of it left out."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end."""
    prior: float
    """Share of P(X)'s inputs that agree, or of those near the other activation."""
    by_length: float
    """The same, P(X)'s inputs weighed so that they are as long as the samples; NaN where none is."""
    p_value: float
    """Of the test, times the number of candidates that were tested (Bonferroni)."""
    log_odds: float
    """Log (natural) of the odds of agreeing near the activation over those in P(X), a half added to each count."""
    log_odds_low: float
    """Lower end of its interval; it may reach 0 where the exact test is sure."""
    log_odds_high: float
    """Upper end."""
    source: str
    """Who proposed it: "samples" (read off the picked input), "features" (given) or "language model"."""
    said: str = ""
    """A language model's own words for it, cleaned and cut: a quotation, not what was tested. `words` is."""
    folded: tuple[str, ...] = ()
    """Names of weaker candidates that this one explains."""
    against: str = PRIOR
    """What the samples were compared with: :data:`PRIOR`'s inputs, or those near :data:`OTHER`."""

    @property
    def sentence(self) -> str:
        """The claim with its evidence, in words."""
        claim = f"{self.words[:1].upper()}{self.words[1:]}"
        said = f" A language model called it \u201c{self.said}\u201d." if self.said else ""
        return (
            f"{claim}: {_percent(self.share)} of the inputs near the activation "
            f"({_percent(self.low)} to {_percent(self.high)}), {_percent(self.prior)} of {_those(self.against)}.{said}"
        )

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, kw_only=True)
class Proposals(Sequence[Proposal]):
    """What :func:`propose` found for one inversion, the surest first."""

    found: tuple[Proposal, ...]
    """The proposals."""
    n_candidates: int
    """Candidates that were looked at."""
    n_tested: int
    """Candidates that were tested on the other half."""
    ess: float
    """Effective samples of the half that they were tested on."""
    n_prior: int
    """Inputs of P(X), or near the other activation, that they were tested against."""
    level: float
    """Chance that any is there where nothing is held, at most."""
    against: str = PRIOR
    """What they were compared with: :data:`PRIOR`'s inputs, or those near :data:`OTHER`."""
    doubt: str = ""
    """Why nothing can be proposed; empty where something could be."""
    n_worded: int = 0
    """Candidates among them that a language model proposed."""
    refused: tuple[Refused, ...] = ()
    """Lines of its answer that were not looked at, with the reasons."""

    def __getitem__(self, index: Any) -> Any:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Proposal]:
        return iter(self.found)

    @property
    def features(self) -> list[Feature]:
        """The hypotheses, for whatever takes features."""
        return [proposal.feature for proposal in self.found]

    @property
    def sentence(self) -> str:
        """What was tested on what, and why there is none where there is none."""
        if self.doubt:
            return f"Nothing can be proposed: {self.doubt}."
        worded = ""
        if self.n_worded or self.refused:
            worded = f" A language model worded {self.n_worded} of the candidates; refused: {len(self.refused)}."
        return self._outcome() + worded

    def _outcome(self) -> str:
        on = f"{self.ess:.0f} effective samples, {self.n_prior} inputs {_where(self.against)}"
        if self.found:
            return (
                f"Found on one half of this inversion\u2019s samples, tested on the other ({on}; {self.n_tested} "
                f"tested, {len(self)} listed, all at {_percent(self.level)} together). They are about this one "
                "activation."
            )
        if not self.n_tested:
            return (
                f"Nothing to propose: on one half of the samples, none of {self.n_candidates} candidates held more "
                "often near the activation than {_than(self.against)}."
            )
        which = "the one candidate" if self.n_tested == 1 else f"none of the {self.n_tested} candidates"
        return (
            f"Nothing to propose: {which} found on one half of the samples held "
            f"{'not ' if self.n_tested == 1 else ''}on the other ({on}). More samples may show weaker ones."
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a proposal, with the columns of :class:`Proposal`, the feature by its name."""
        import pandas as pd

        rows = [{**asdict(p), "feature": p.feature.name, "sentence": p.sentence} for p in self.found]
        return pd.DataFrame(rows, columns=[*Proposal.__dataclass_fields__, "sentence"])

    def __str__(self) -> str:
        return "\n".join([self.sentence, *(f"  {proposal}" for proposal in self.found)])


def _those(against: str) -> str:
    return "P(X)\u2019s" if against == PRIOR else f"those near {against}"


def _where(against: str) -> str:
    return "of P(X)" if against == PRIOR else f"near {against}"


def _than(against: str) -> str:
    return "in P(X)" if against == PRIOR else f"near {against}"


def _percent(share: float) -> str:
    """A share in whole percent; one that is not quite none or all is not rounded to it.

    >>> _percent(0.214), _percent(0.998), _percent(0.001), _percent(1.0)
    ('21\\u202f%', '99\\u202f%', '1\\u202f%', '100\\u202f%')
    """
    whole = round(100 * share)
    whole = min(whole, 99) if share < 1 else whole
    whole = max(whole, 1) if share > 0 else whole
    return f"{whole}\u202f%"
