"""Draws from P(X), weighed by the kernel: what can be said about an activation before a generator is trained.

Draws from P(X) with the kernel of their distance as weights are an importance sample of the posterior with P(X)
itself as the proposal: valid, but with an effective sample size that falls as 2^-bits. `prior` keeps all of them,
`neighbours` the nearest, which hold nearly all of the weight. (Baselines that InverseScope, Luo, Zhou, Dong, arXiv
2506.07406, argues a generator must beat.)
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._arguments import sample_count, seed_number, whole_number
from .._progress import Progress, reported
from ..banks import Bank, draw_bank
from ..errors import InvalidArgument
from .searched import Pick, Searched, moments

if TYPE_CHECKING:
    from ..kernels import Kernel, SiteStatistics
    from ..models import LanguageModel
    from ..prompts import Prompt, PromptDistribution
    from ..sites import Site

KEPT = 256
"""Nearest inputs of the bank that are kept at least; and as many as hold nearly all of the weight."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Neighbours(Searched):
    """The nearest inputs of a bank, nearest first; an input that was drawn twice is there twice.

    Made by :func:`neighbours`.
    """

    def _reason(self) -> str:
        return (
            f"the nearest of {self.bank_size} inputs drawn from P(X): no generator was used, so inputs that are "
            f"nearer but rare are missed; {self.ess:.1f} of them carry the estimate"
        )


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Prior(Searched):
    """Draws from P(X), in order of drawing, weighed by the kernel; made by :func:`prior`."""

    def _reason(self) -> str:
        return f"{self.bank_size} inputs drawn from P(X); {self.ess:.1f} of them carry the estimate"


def neighbours(
    lm: LanguageModel,
    prompts: PromptDistribution,
    target: str | Prompt | Sequence[int],
    *,
    site: str | Site,
    position: int = -1,
    bandwidth: float = 0.1,
    bank: int | Bank = 2000,
    kernel: Kernel | None = None,
    statistics: SiteStatistics | None = None,
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
        bandwidth: kernel width eps, in standardised units.
        bank: inputs to draw and to run; or those that :func:`inversescope_nb.banks.draw_bank` drew from `prompts`,
            which many picks share and which are run once a site.
        kernel: metric and shape; the usual ones by default.
        statistics: moments to standardise with (a generator's ``.statistics(site)``, with its kernel); None: the
            bank's own.
        seed: of the draws, where there are any.
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
    pick = Pick.of(lm, prompts, target, site, position, bandwidth, kernel)
    seed, drawn = seed_number(seed), bank
    if isinstance(bank, Bank):
        if bank.lm is not lm or len(bank) < 2:
            raise InvalidArgument(
                f"a bank of {len(bank)} inputs of {bank.lm.name}", hint=f"draw_bank(lm, prompts, size) of {lm.name}"
            )
    else:
        bank = whole_number("bank", bank, least=2, hint="2000 is the usual choice")
    with reported(on_progress, progress, "neighbours") as report:
        if not isinstance(drawn, Bank):
            drawn = draw_bank(lm, prompts, bank, seed=seed, on_progress=report, cancel=cancel)
        z = drawn.activations(pick.site.name, on_progress=report, cancel=cancel)
    return Neighbours.measured(pick, drawn.inputs, z, moments(z, statistics, kernel), least=KEPT)


def prior(
    lm: LanguageModel,
    prompts: PromptDistribution,
    target: str | Prompt | Sequence[int],
    *,
    site: str | Site,
    position: int = -1,
    bandwidth: float = 0.1,
    n: int = 256,
    kernel: Kernel | None = None,
    statistics: SiteStatistics | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> Prior:
    """`n` draws from P(X), weighed by the kernel: the posterior with nothing learned. Arguments as of `neighbours`.

    >>> import inversescope_nb as isn
    >>> lm, task = isn.load_model(), isn.tasks.addition()
    >>> found = isn.baselines.prior(lm, task.prompts, "4 3 7 + 5 6 8 =", site="resid_post.3", bandwidth=1.0, n=64)
    >>> len(found)
    64
    """
    pick = Pick.of(lm, prompts, target, site, position, bandwidth, kernel)
    n, seed = max(2, sample_count(n)), seed_number(seed)
    with reported(on_progress, progress, "prior") as report:
        drawn = draw_bank(lm, prompts, n, seed=seed, on_progress=report, cancel=cancel)
        z = drawn.activations(pick.site.name, on_progress=report, cancel=cancel)
    return Prior.measured(pick, drawn.inputs, z, moments(z, statistics, kernel), kept=range(n))
