"""What an activation fixes about its input, token by token, and what it ignores: from the samples of one inversion.

1. Samples and inputs drawn from P(X) are aligned with the picked input (:mod:`inversescope_nb.alignment`).
2. For each of its tokens: the weighted share of the samples that have the same token at its place, and the share that
   have it anywhere, each beside the share of P(X)'s inputs. Copies of the picked input are left out of both: it sits at
   the kernel's centre, so they would make a token look fixed that is not (see `rates`).
3. Longer inputs have more that matches by chance, and an activation may hold no more than the length; so each share
   also stands beside that of random inputs of the samples' lengths.
4. Intervals are Wilson's, with n = effective sample size, and wide enough to hold for all shares of one result at once
   (Bonferroni). A token is then pinned, leaning, free, given or unknown: see :data:`STATES`.

All is relative to P(X): what is fixed is held, or goes with something that is. Each token is judged by itself, so that
of ten pinned ones few inputs may have all. Axis names: n (inputs), pos (judged tokens of the picked input).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _fixed_words
from ._arguments import unit_of_information
from ._fixed_states import ALPHA, PINNED, STATES, Share, state_of
from ._statistics import effective_sample_size, normalise, truncate, wilson
from .alignment import compare, random_like
from .errors import InvalidArgument
from .inverted import Inversion
from .verdicts import LEAST_ESS, Verdict, doubt_of

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Bool, Float, Int

    from .features import InputText
    from .nearby import Nearby

__all__ = ["STATES", "Fixed", "FixedToken", "fixed"]


@dataclass(frozen=True, kw_only=True)
class FixedToken:
    """One token of the picked input, and how far the activation fixes it. Shares are of inputs, from 0 to 1."""

    position: int
    """Its index in the picked input's token ids, BOS counted."""
    token: str
    """Its text."""
    token_id: int
    """Its id."""
    state: str
    """One of :data:`STATES`."""
    share: float
    """Weighted share of the samples that have it at its place, copies of the picked input left out."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end."""
    share_with_copies: float
    """The same share, copies counted."""
    prior: float
    """Share of the inputs drawn from P(X) that have it there."""
    prior_low: float
    """Lower end of its interval."""
    prior_high: float
    """Upper end."""
    by_length: float
    """The same share of random inputs as long as the samples, of tokens of P(X)'s inputs drawn one by one."""
    information: float
    """Mean of log q(x_t | z_hat) - log q(x_t | nothing) over the samples' tokens at this place, whichever they are.

    What the activation says about the place when the tokens in front are known; NaN where no generator says it."""
    anywhere: float
    """Weighted share of the samples that have the token at any place, copies left out."""
    anywhere_low: float
    """Lower end of its interval."""
    anywhere_high: float
    """Upper end."""
    anywhere_prior: float
    """Share of P(X)'s inputs that have it at any place."""
    anywhere_prior_low: float
    """Lower end of its interval."""
    anywhere_prior_high: float
    """Upper end."""
    anywhere_by_length: float
    """The same share of random inputs as long as the samples."""
    elsewhere: bool
    """Whether it is held, though at no fixed place: pinned by its shares anywhere, surely not where it stood."""
    elsewhere_open: bool
    """Whether it may be held at no fixed place: too few effective samples tell."""


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """What one activation fixes about its input; made by :func:`fixed`."""

    tokens: tuple[FixedToken, ...]
    """The picked input's tokens in order, BOS left out."""
    verdict: str
    """The inversion's."""
    doubt: str
    """Why nothing can be said; empty where something can."""
    ess: float
    """Effective sample size without copies."""
    n_prior: int
    """Inputs of P(X) that were compared with, without copies."""
    copies: float
    """Share of the posterior that is the picked input itself."""
    level: float
    """Of each interval, so that all hold at once in 95 %."""
    unit: str
    """Of `information`: bits or nats."""
    bank_size: int | None = None
    """Inputs of the bank, where these are neighbours and no generator proposed them."""

    @property
    def states(self) -> tuple[str, ...]:
        """Each token's state, in order."""
        return tuple(token.state for token in self.tokens)

    @property
    def is_rough(self) -> bool:
        """Whether few effective samples judge it, so that a sentence says how many."""
        return self.verdict == Verdict.LOW_ESS or self.ess < _fixed_words.FEW

    @cached_property
    def sentence(self) -> str:
        """All of it in one plain sentence, of at most five tokens' names."""
        return _fixed_words.sentence_of(self)

    def to_frame(self) -> pd.DataFrame:
        """One row a token, with the columns of :class:`FixedToken`."""
        import pandas as pd

        return pd.DataFrame([asdict(token) for token in self.tokens], columns=list(FixedToken.__dataclass_fields__))

    def __str__(self) -> str:
        return self.sentence


def fixed(inv: Nearby, *, prior: Sequence[InputText | Sequence[int]] = (), unit: str = "bits") -> Fixed:
    """What an activation fixes about its input, token by token, and in one sentence.

    A token is *pinned* where at least nine in ten of the inputs near the activation have it at its place, surely more
    than half, and surely more than P(X)'s inputs do (and than their length explains); *given* where nine in ten of
    P(X)'s have it there anyway; *leaning* where surely more have it than in P(X), by a fifth of what P(X) leaves open
    or more; *free* where this is not shown and it is surely not pinned, neither there nor at no fixed place; *unknown*
    where the samples are too few to say. All is unknown where the inversion is not to be believed. "Surely" is at 95 %
    for all tokens together.

    Args:
        inv: what `invert` returned; or `baselines.neighbours`, `prior` or `rejection`.
        prior: inputs of P(X), each cut at its site, to compare with: token ids, or texts that know theirs. Without
            them, the inversion's own bank (`inv.prior_inputs`).
        unit: of the information, "bits" or "nats".

    Raises:
        InvalidArgument: something else than such a result, no input of P(X) to compare with, or a text without ids.

    >>> import inversescope_nb as isn
    >>> lm, gen = isn.load_model(), isn.load_generator()
    >>> found = fixed(isn.invert(lm, gen, "4 3 7 + 5 6 8 =", site="resid_post.0", bandwidth=0.3, n=64))
    >>> len(found.tokens), set(found.states) <= set(STATES)
    (8, True)
    >>> [token.state for token in found.tokens if token.token in "+="]
    ['pinned', 'pinned']
    """
    check_nearby(inv)
    unit_of_information(unit)
    picked = [int(t) for t in inv.prompt_ids]
    drawn = prior_of(inv, prior)
    drawn = [ids for ids in drawn if ids != picked] or drawn  # a P(X) of this one input gives all of it
    weight = truncate(inv.weight)
    others = normalise(np.where(inv.is_copy, 0.0, weight))
    ess, copies = float(effective_sample_size(others)), float(weight[inv.is_copy].sum())
    samples, first, m = [[int(t) for t in ids] for ids in inv.samples], frame_of(inv), len(drawn)
    places, here, anywhere = compare(picked, samples)
    _, *prior_hits = compare(picked, drawn)
    _, *random_hits = compare(picked, random_like(samples, drawn, first=first))
    judged = range(first, len(picked))
    level = 1 - ALPHA / max(1, 2 * len(judged))

    def shares(hits: Bool[np.ndarray, "n pos"], weights: np.ndarray, n: float) -> list[Share]:
        share = (weights @ hits).clip(0, 1)
        return [Share(*row) for row in np.stack([share, *wilson(share, n, level)], -1).tolist()]

    at, any_ = (shares(hits, others, ess) for hits in (here, anywhere))
    prior_at, prior_any = (shares(hits, np.full(m, 1 / m), m) for hits in prior_hits)
    random_at, random_any = (shares(hits, others, ess) for hits in random_hits)
    doubt = doubt_on(inv, ess, copies)
    bank_size = inv.bank_size if inv.verdict in ("NEIGHBOURS", "PRIOR") else None
    known = {"nothing": inv.verdict in (Verdict.CONSTANT, Verdict.NO_INFORMATION), "seen": bank_size is None}
    states = {t: "unknown" if doubt else state_of(at[t], prior_at[t], random_at[t], **known) for t in judged}
    placed = {picked[t] for t in judged if states[t] not in ("free", "leaning") or at[t].high >= PINNED}
    elsewhere = {
        t: "" if doubt or picked[t] in placed else state_of(any_[t], prior_any[t], random_any[t], **known)
        for t in judged
    }
    open_ = {t for t in judged if elsewhere[t] == "unknown" or (elsewhere[t] == "leaning" and any_[t].high >= PINNED)}
    states |= {t: "unknown" for t in open_ if states[t] == "free"}  # surely not there, but it may be held elsewhere
    information = _information(inv, unit, places, others)
    tokens = [
        FixedToken(
            position=t, token=inv.tokens[t], token_id=picked[t], state=states[t],
            share=at[t].share, low=at[t].low, high=at[t].high, share_with_copies=min(1.0, float(weight @ here[:, t])),
            prior=prior_at[t].share, prior_low=prior_at[t].low, prior_high=prior_at[t].high,
            by_length=random_at[t].share, information=information[t],
            anywhere=any_[t].share, anywhere_low=any_[t].low, anywhere_high=any_[t].high,
            anywhere_prior=prior_any[t].share, anywhere_prior_low=prior_any[t].low,
            anywhere_prior_high=prior_any[t].high, anywhere_by_length=random_any[t].share,
            elsewhere=elsewhere[t] == "pinned", elsewhere_open=t in open_,
        )
        for t in judged
    ]  # fmt: skip
    return Fixed(
        tokens=tuple(tokens), verdict=str(inv.verdict), doubt=doubt, ess=ess, n_prior=m, copies=copies,
        level=level, unit=unit, bank_size=bank_size,
    )  # fmt: skip


def check_nearby(inv: Any) -> None:
    """Raises where this is no sample of a posterior."""
    from .baselines.metropolis import Metropolis
    from .baselines.neighbours import Neighbours, Prior
    from .baselines.rejection import Rejection

    if not isinstance(inv, Inversion | Metropolis | Neighbours | Prior | Rejection):
        raise InvalidArgument(
            f"a {type(inv).__name__} is no inversion",
            hint="give what invert() returned, or baselines.metropolis(), neighbours(), prior() or rejection()",
        )


def prior_of(inv: Any, prior: Any) -> list[list[int]]:
    """The inputs of P(X) to compare with, as token ids."""
    hint = "give prior=, a list of inputs: prompts.draw(256, lm, seed=0)"
    if isinstance(prior, str) or not isinstance(prior, Iterable):
        raise InvalidArgument(f"prior is a {type(prior).__name__}", hint=hint)
    given = list(prior)
    if not given:
        # all of a bank is there where nothing far was left out
        whole = inv.verdict in ("NEIGHBOURS", "PRIOR") and len(inv.samples) == inv.bank_size
        given = inv.samples if whole else list(getattr(inv, "prior_inputs", ()))
    if not given:
        raise InvalidArgument("there are no inputs of P(X) to compare with", hint=f"invert(..., bank=256), or {hint}")
    found = []
    for one in given:
        ids = getattr(one, "token_ids", one)
        if isinstance(ids, str) or not isinstance(ids, Iterable) or not len(list(ids)):
            raise InvalidArgument(f"an input of P(X) is {one!r:.60}, which has no token ids", hint=hint)
        found.append([int(t) for t in ids])
    return found


def frame_of(inv: Any) -> int:
    """How many tokens stand in front of the input's first, BOS or none; a search does not say, its text does."""
    if hasattr(inv, "frame"):
        return min(inv.frame, len(inv.tokens) - 1)
    first = inv.tokens[0].strip()
    special = len(first) > 2 and (first[0], first[-1]) in (("<", ">"), ("[", "]"))
    return int(special and len(inv.tokens) > 1 and not str(inv.text).lstrip().startswith(first))


def doubt_on(inv: Any, ess: float, copies: float) -> str:
    """Why nothing can be said of the tokens; empty where something can."""
    if inv.verdict in (Verdict.CONSTANT, Verdict.NO_INFORMATION):
        return ""
    if inv.verdict == Verdict.OUTSIDE_PROMPT_DISTRIBUTION:
        return "the picked input lies outside P(X), whose inputs need not have its tokens"
    if why := doubt_of(inv):
        return why
    if ess < LEAST_ESS:
        return f"{copies:.0%} of the posterior is the picked input itself, and {ess:.1f} effective samples are others"
    return ""


def _information(inv: Any, unit: str, places: Int[np.ndarray, "n pos"], weight: Float[np.ndarray, " n"]) -> list[float]:
    """Mean information of the samples' tokens at each place of the picked input; NaN where there is none."""
    total, mass = np.zeros(len(inv.prompt_ids)), np.zeros(len(inv.prompt_ids))
    for row, w, values in zip(places, weight, inv.token_information(unit), strict=True):
        if w > 0 and values:
            there = row >= 0
            total[there] += w * np.asarray(values)[row[there]]
            mass[there] += w
    return np.divide(total, mass, out=np.full(len(mass), np.nan), where=mass > 0).tolist()
