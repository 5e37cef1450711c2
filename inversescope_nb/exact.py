"""The posterior itself, where P(X) can be listed: every input run through the target and weighed.

P(x; z_hat, eps) is proportional to P(x) k(d(x)), with k = exp(-d^2 / 2 eps^2) unless another kernel is given.
Here nothing is sampled: these are the known answers that generators and estimators are held against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ._arguments import check_kernel, check_model, check_prompts, check_statistics, whole_number
from ._exact_tables import ROWS, ActivationTable, ExactPosterior
from ._progress import Progress, reported
from .kernels import Kernel, SiteStatistics, check_bandwidth, site_statistics
from .picking import cut
from .sites import Site

if TYPE_CHECKING:
    import threading

    from .models import LanguageModel
    from .prompts import Prompt, PromptDistribution

__all__ = ["LIMIT", "ActivationTable", "ExactPosterior", "activation_table", "activation_tables", "exact_posterior"]

_BLOCK = 4096  # inputs run at a time
LIMIT = 2_000_000
"""Inputs that are listed at most, unless told otherwise."""


def activation_table(
    lm: LanguageModel,
    prompts: PromptDistribution,
    site: str | Site,
    *,
    statistics: SiteStatistics | None = None,
    kernel: Kernel | None = None,
    limit: int = LIMIT,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> ActivationTable:
    """Lists P(X), runs the target on all of it in blocks, and standardises.

    By `statistics` (a generator's, with its kernel), or by P(X)'s own moments in the units of `kernel`. The other
    arguments are as in :func:`exact_posterior`.
    """
    check_model(lm)
    place = lm.site(site).name
    tables = activation_tables(
        lm, prompts, [place], statistics=None if statistics is None else {place: statistics}, kernel=kernel,
        limit=limit, on_progress=on_progress, progress=progress, cancel=cancel,
    )  # fmt: skip
    return tables[place]


def activation_tables(
    lm: LanguageModel,
    prompts: PromptDistribution,
    sites: Sequence[str | Site],
    *,
    statistics: Mapping[str, SiteStatistics] | None = None,
    kernel: Kernel | None = None,
    limit: int = LIMIT,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> dict[str, ActivationTable]:
    """The tables of several sites, under their canonical names, from one pass of the target over all of P(X).

    They share the list of inputs. All are in memory together: 4 n d bytes each.

    Args:
        sites: where to read, each once.
        statistics: canonical name -> moments to standardise with; P(X)'s own at sites that are not there.

    The other arguments are as in :func:`exact_posterior`.

    >>> import inversescope_nb as isn
    >>> lm, P = isn.load_model(), isn.PromptDistribution.from_texts(["Mary and", "John and"])
    >>> tables = activation_tables(lm, P, ["resid_post.0", "resid_post.1"], progress=False)
    >>> list(tables)
    ['blocks.0.hook_resid_post', 'blocks.1.hook_resid_post']
    """
    check_model(lm)
    check_prompts(prompts)
    check_kernel(kernel)
    given = dict(statistics or {})
    for moments in given.values():
        check_statistics(moments)
    limit = whole_number("limit", limit, least=1, hint=f"{LIMIT:,} is the usual choice")
    places = {place.name: place for place in map(lm.site, sites)}
    with reported(on_progress, progress, "exact posterior") as report:
        found = prompts.inputs(lm, limit=limit, on_progress=report, cancel=cancel)
        inputs = [list(ids) for ids in found]
        z = {name: torch.empty(len(inputs), place.d) for name, place in places.items()}
        for at in range(0, len(inputs), _BLOCK):
            block = inputs[at : at + _BLOCK]
            for name, values in lm.activations(block, places.values(), cancel=cancel).items():
                z[name][at : at + len(block)] = values
            if report is not None:
                report(at + len(block), len(inputs), "running the model")
    p = np.array(list(found.values()))
    tables = {}
    for name, place in places.items():
        moments = given.get(name) or site_statistics(z[name], torch.from_numpy(p), kernel=kernel)
        for block in z[name].split(ROWS):
            block.copy_(moments.standardise(block))  # in place: several large sites do not fit twice
        tables[name] = ActivationTable(lm, place, inputs, np.log(p), z[name], moments)
    return tables


def exact_posterior(
    lm: LanguageModel,
    prompts: PromptDistribution,
    site: str | Site,
    target: str | Prompt | Sequence[int],
    bandwidth: float,
    *,
    position: int = -1,
    statistics: SiteStatistics | None = None,
    kernel: Kernel | None = None,
    limit: int = LIMIT,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> ExactPosterior:
    """The exact posterior of one picked input; raises `NotEnumerable` where P(X) cannot be listed.

    Args:
        lm: the target.
        prompts: an enumerable P(X), with its cut.
        site: where the activation is read.
        target: the picked input, cut at `position`.
        bandwidth: kernel width eps in standardised units per coordinate.
        position: index into the target's token ids.
        statistics: moments to standardise with (a generator's `.statistics(site)`); P(X)'s own by default.
        kernel: another metric or shape, where no `statistics` are given.
        limit: inputs that P(X) may have; with more, `NotEnumerable` is raised, at once where that is known without
            listing them.
        on_progress: called with (done, total, message).
        progress: whether to show a bar when nothing else listens (only for work of more than a second).
        cancel: looked at between batches; `Cancelled` is raised.

    For many picks of one site use :func:`activation_table` once, for many sites :func:`activation_tables`.
    """
    check_bandwidth(bandwidth, (1e-6, 1e6))
    cut(lm, target, position)  # before the long part
    table = activation_table(
        lm, prompts, site, statistics=statistics, kernel=kernel, limit=limit, on_progress=on_progress,
        progress=progress, cancel=cancel,
    )  # fmt: skip
    return table.posterior(target, bandwidth, position=position)
