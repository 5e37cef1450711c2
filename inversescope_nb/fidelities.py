"""How good a generator is on inputs that it never saw: by layer, and by position.

Each input is inverted at each site, and the effective sample size is set beside that of kernel-weighted nearest
neighbours among as many draws of P(X): as many passes of the target for each of the two.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._arguments import check_generator, check_model, check_prompts, sample_count, seed_number
from ._progress import Progress, reported
from ._statistics import effective_sample_size
from .banks import draw_bank
from .errors import InvalidArgument
from .inversion import invert

if TYPE_CHECKING:
    import pandas as pd

    from .generator import Generator
    from .models import LanguageModel
    from .prompts import PromptDistribution

HELD_OUT = 64
"""Inputs that are drawn where none are given."""
_SEED = 271_828


def fidelity(
    lm: LanguageModel,
    gen: Generator,
    inputs: Sequence[Sequence[int]] | int = HELD_OUT,
    *,
    sites: Sequence[str] | str | None = None,
    bandwidth: float | None = None,
    n: int = 64,
    prior: PromptDistribution | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> pd.DataFrame:
    """Inverts inputs that were held out, and says how much of each inversion counts.

    Args:
        lm: the target.
        gen: its generator.
        inputs: token ids, each ending at its site; or how many to draw from P(X), with a seed that training never uses.
        sites: some of `gen.sites`, as names or globs; None: all of them.
        bandwidth: kernel width; None: each site's usual one.
        n: samples of each inversion, and draws of P(X) that neighbours are looked for in.
        prior: P(X); None: the generator's own.
        seed: of samples and draws.
        on_progress: called with (inversions done, of all, message).
        progress: whether to show a bar when nothing else listens.
        cancel: looked at before every token; `Cancelled` is raised.

    Returns:
        a row for each input and site: ``site``, ``layer``, ``position`` (of its last token, BOS counted), ``text``,
        ``bandwidth``, ``bits``, ``ess``, ``verdict``, and ``neighbours_ess``, the effective sample size of `n` draws of
        P(X) weighed by the kernel. ``frame.groupby("layer")["ess"].median()`` is the fidelity by layer.

    >>> import inversescope_nb as isn
    >>> frame = isn.fidelity(isn.load_model(), isn.load_generator(), 2, sites="resid_post.3", n=16, progress=False)
    >>> list(frame["layer"]), bool((frame["ess"] <= 16).all())
    ([3, 3], True)
    """
    import pandas as pd

    from .generator.building import resolve_sites

    check_model(lm)
    check_generator(gen)
    gen.check_target(lm)
    n, seed = sample_count(n), seed_number(seed)
    prior = check_prompts(gen.prompts if prior is None else prior, "prior")
    names = list(gen.sites) if sites is None else resolve_sites(lm, sites)
    rng = random.Random(seed + _SEED)
    if isinstance(inputs, int):
        inputs = prior.draw(sample_count(inputs), lm, seed=rng.randrange(2**31), cancel=cancel)
    elif isinstance(inputs, str) or not len(inputs):
        raise InvalidArgument(f"inputs are {inputs!r:.40}", hint="give lists of token ids, or how many to draw")
    rows = []
    with reported(on_progress, progress, "fidelity") as report:
        bank = draw_bank(lm, prior, n, seed=rng.randrange(2**31), cancel=cancel)
        bank.read(names, cancel=cancel)
        for name in names:
            statistics = gen.statistics(name)
            for i, ids in enumerate(inputs):
                inv = invert(
                    lm, gen, ids, site=name, bandwidth=bandwidth, n=n, prior=prior, seed=seed + i, bank=0,
                    progress=False, cancel=cancel,
                )  # fmt: skip
                z_hat = lm.activations([ids], [name])[name]
                log_k = statistics.kernel.log(statistics.distance(bank.activations(name), z_hat), inv.bandwidth).numpy()
                with np.errstate(invalid="ignore"):
                    near = float(effective_sample_size(np.exp(log_k - log_k.max())))
                rows.append(
                    {
                        "site": name, "layer": inv.site.layer, "position": len(ids) - 1, "text": str(inv.text),
                        "bandwidth": inv.bandwidth, "bits": inv.bits, "ess": inv.ess, "verdict": str(inv.verdict),
                        "neighbours_ess": near if np.isfinite(log_k.max()) else 0.0,
                    }
                )  # fmt: skip
                if report is not None:
                    report(len(rows), len(names) * len(inputs), name)
    return pd.DataFrame(rows)
