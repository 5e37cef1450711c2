"""A walk through inputs that ends in the posterior: an answer within seconds, before any generator is trained.

1. A bank is drawn from P(X) and run. Its inputs, weighed by a kernel wide enough that many of them count, start a set
   of chains; the kernel is then narrowed step by step to the bandwidth that was asked for, and at each step chains are
   drawn anew in proportion to what the narrower kernel leaves of them, and moved (a sequential Monte Carlo sampler,
   Del Moral, Doucet and Jasra 2006, J. R. Stat. Soc. B 68). The factors that were left multiply to Z = E over P(X) of
   the kernel, hence the bits.
2. As many chains again start at the picked input. All move on at the bandwidth, and their states are the samples.
3. Every move is a Metropolis-Hastings step (Hastings 1970, Biometrika 57) on P(x) k(d(x)): most candidates are what the
   model's own next-token distribution writes at some place (:mod:`._moves`), and each is run through the model.

Where P(X) cuts texts anywhere, a pass of the target reads as many inputs as a text has tokens (:mod:`._beginnings`).
So texts are drawn and read first, for half of the budget, or more where that will do; where they come to enough
effective samples, or no time is left for chains, they are the answer, and nothing walks.

So nothing is learned, and nothing is approximated but by stopping early: chains from P(X) and chains from the picked
input must have met before the result is called reliable.
What is drawn and read before is in :mod:`._supply`, steps 1 to 3 are in :mod:`._walk`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arguments import sample_count, seed_number, whole_number
from .._progress import Progress, reported
from .._statistics import effective_sample_size
from ..errors import InvalidArgument
from ..verdicts import LEAST_ESS, Verdict, enough, judge_walk
from ._budget import Budget
from ._mixing import Mixing
from ._supply import FEWEST, Supply
from ._walk import Walk
from ._weighed import Shown
from .searched import Pick, Searched
from .text_bank import check_texts

if TYPE_CHECKING:
    from ..kernels import Kernel, SiteStatistics
    from ..models import LanguageModel
    from ..prompts import Prompt, PromptDistribution
    from ..sites import Site
    from ._beginnings import Beginnings
    from ._weighed import Draws
    from .text_bank import TextBank


_SHOWN = 4  # states of chains, at least, however few they are worth


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Metropolis(Searched):
    """States of chains that walk through the posterior, or beginnings of texts; made by :func:`metropolis`.

    They are as independent as their weights say: of the chains' states about as many as these are worth independent
    draws of a typical quantity (`ess` is that of the worst), each as likely as any other; of each text one beginning,
    weighed.
    """

    supported: bool
    """Whether P(X) can make the picked input."""
    reached: float
    """The bandwidth that the chains from P(X) came to before time or passes were over."""
    r_hat: float
    """How far chains from P(X) and from the picked input are from having met, by the worst of several quantities: 1 is
    met, above 1.05 not (nested R-hat). NaN where none walked."""
    acceptance: dict[str, float]
    """Kind of move -> share of its candidates that were accepted."""
    bank_mass: float
    """Mass that the bank holds near the pick, in units of what the walk found; about 1 where both are right. NaN where
    none walked: the bank is the answer."""
    bank_ess: float
    """Effective number of the bank's inputs that hold it."""
    asked: int
    """Inputs that were asked for, at most."""
    ess_of_draws: float = math.nan
    """Effective number of all draws, of which those that weigh most are shown."""
    n_draws: int = 0
    """Draws of P(X), texts among them, where those are the answer and no chain walked; else 0."""
    n_texts: int = 0
    """Of these, texts that were read at every token."""

    @cached_property
    def _judgement(self) -> tuple[Verdict, str]:
        return judge_walk(self)

    @property
    def verdict(self) -> Verdict:
        """Whether to believe it: the verdicts of an `Inversion`."""
        return self._judgement[0]

    @property
    def verdict_reason(self) -> str:
        """Why, in words."""
        return self._judgement[1]

    @property
    def copy_share(self) -> float:
        """Share of the weight that is the picked input's."""
        return float(self.weight[self.is_copy].sum())

    @property
    def picked_on_support(self) -> bool:
        """Whether P(X) can make the picked input."""
        return self.supported


def metropolis(
    lm: LanguageModel,
    prompts: PromptDistribution,
    target: str | Prompt | Sequence[int],
    *,
    site: str | Site,
    position: int = -1,
    bandwidth: float = 0.1,
    n: int = 256,
    seconds: float = 10.0,
    passes: int = 100_000,
    kernel: Kernel | None = None,
    statistics: SiteStatistics | None = None,
    texts: TextBank | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> Metropolis:
    """The inputs that the target cannot tell from the picked one, found by walking, without a generator.

    Args:
        n: inputs to show, at most; of chains no more than their states are worth independent draws.
        seconds: time that it may take, about: the batch at work is finished.
        passes: inputs that may be run through the target, those that only proposed counted.
        texts: where P(X) cuts texts anywhere, a bank of them, which further picks answer from at once, and which this
            one may add to; None: texts of this pick alone.
        seed: of everything drawn (not of the texts of a bank that is given); the same seed gives the same result where
            `passes` ends it well before `seconds`.

    Other arguments as of :func:`inversescope_nb.baselines.neighbours`. Where P(X) cannot say how likely an input is,
    chains only jump between draws of it: no better than neighbours.

    Raises:
        UnknownSite, BadPrompt, InvalidArgument, Cancelled

    >>> import inversescope_nb as isn
    >>> lm, task = isn.load_model(), isn.tasks.addition()
    >>> found = isn.baselines.metropolis(
    ...     lm, task.prompts, "4 3 7 + 5 6 8 =", site="resid_post.3", bandwidth=0.3, n=64, passes=3000
    ... )
    >>> 4 <= len(found) <= 64, bool(found.d.mean() < 0.6)
    (True, True)
    """
    pick = Pick.of(lm, prompts, target, site, position, bandwidth, kernel)
    n, seed, texts = sample_count(n), seed_number(seed), check_texts(texts, lm, prompts)
    passes = whole_number("passes", passes, least=8 * FEWEST, hint="100000 is the usual choice")
    if not 0 < seconds < math.inf:
        raise InvalidArgument(f"seconds={seconds} must be a number above 0", hint="10 is the usual choice")
    with reported(on_progress, progress, "walking") as report:
        budget = Budget(seconds, passes, report, cancel)
        supply = Supply(pick, budget, statistics=statistics, kernel=kernel, texts=texts, n=n, seed=seed)
        found = supply.answer()
        if (supply.texts is not None and found.ess >= enough(n)) or (found.ess and not supply.can_walk):
            return _result_of_draws(supply, found)
        walk = Walk(supply)
        walk.start()
        walk.narrow()
        walk.stay()
    return _result(walk)


def _result(walk: Walk) -> Metropolis:
    """States of the chains, thinned to `n`; of those from the picked input alone where the others have not met them."""
    pick, n, values = walk.pick, walk.supply.n, np.stack(walk.values, 1)
    mixed = Mixing.of(values, walk.n_chains)
    arrived = walk.reached <= pick.bandwidth  # else nobody knows how much of P(X) lies there
    if arrived and mixed.have_met:
        shown, own = slice(None), mixed
    else:  # chains that did not come here are no draws from here
        shown = slice(walk.n_chains, None)
        own = Mixing.of(values[shown], walk.n_chains)
    every = [x for states in walk.records for x in states[shown]]  # chains side by side, rounds behind each other
    worth = min(n, len(every), max(_SHOWN, int(own.typical)))
    samples = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, worth).round().astype(int))]
    tried = {kind: walk.accepted[kind] / count for kind, count in walk.tried.items() if count}
    log_z = walk.log_z if arrived else math.nan
    share = np.exp(walk.log_k(walk.d_bank, pick.bandwidth))
    return _measured(
        walk.supply,
        Shown(samples, np.full(len(samples), 1 / len(samples)), None),
        log_z,
        math.sqrt(walk.log_z_variance),
        ess=min(own.ess, float(n)),
        khat=math.nan,
        reached=walk.reached,
        r_hat=mixed.r_hat,
        acceptance=tried,
        bank_mass=float(share.mean() / math.exp(log_z)),
        bank_ess=float(effective_sample_size(share)),
    )


def _result_of_draws(supply: Supply, found: Draws | Beginnings) -> Metropolis:
    """Draws of P(X), or beginnings of texts that were read at every token, drawn by their weights."""
    shown = found.sample(supply.n, supply.numbers)
    log_z, stderr = found.log_z if found.ess >= LEAST_ESS else (math.nan, math.nan)  # of the nearest alone: anything
    return _measured(
        supply,
        shown,
        log_z,
        stderr,
        ess=float(effective_sample_size(shown.weights)),
        ess_of_draws=found.ess,
        khat=found.khat,
        reached=supply.pick.bandwidth,
        r_hat=math.nan,
        acceptance={},
        n_draws=len(found),
        n_texts=0 if supply.texts is None else len(found),
        bank_mass=math.nan,
        bank_ess=0.0,
    )


def _measured(supply: Supply, shown: Shown, log_z: float, log_z_stderr: float, **more: Any) -> Metropolis:
    """Inputs as a result; run again where what was read of them was not kept."""
    pick, samples, z = supply.pick, shown.inputs, shown.z
    if z is None:
        z = pick.lm.activations(samples, [pick.site], cancel=supply.budget.cancel)[pick.site.name]
    return Metropolis.measured(
        pick,
        samples,
        z,
        supply.units,
        kept=range(len(samples)),
        bank_size=supply.budget.spent,
        weight=shown.weights,
        bits=-log_z / math.log(2),
        bits_stderr=log_z_stderr / math.log(2),
        supported=math.isfinite(supply.picked_log_p),
        asked=supply.n,
        **more,
    )
