"""Two inversions side by side: which inputs lie near one activation and far from the other, and what each fixes.

1. Every input that either inversion proposed, and both picked inputs, run once more through the target, at the site of
   the first and at that of the second (mostly one site; two of them tell what one site holds apart and the other not).
2. So each sample has two distances d, two kernels k and two weights: its own inversion's, proportional to
   P(x) k(d) / q(x | z_hat), and the same draw's for the other activation, with the other's kernel in place of its own.
   Near one and far from the other is the posterior weighed by 1 - k of the other.
3. By the edges of both balls an input lies on the side of the first, of the second, of both or of neither. The share
   of one posterior inside the other's ball stands beside that of P(X), copies of its picked input left out (they sit
   at the kernel's centre); its interval is Wilson's, with n = effective sample size.
4. What each fixes (:func:`inversescope_nb.fixed`) is held against the other, token by token.

Axis names: n (samples of one inversion).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._arguments import check_generator, check_model
from ._fixed_differences import WHICH, TokenPair
from ._progress import Progress, reported
from .contrasted import SIDES, Contrast, OneSide
from .errors import GeneratorMismatch, InvalidArgument
from .inverted import Inversion
from .picking import is_text

if TYPE_CHECKING:
    from .generator import Generator
    from .models import LanguageModel

__all__ = ["SIDES", "WHICH", "Contrast", "OneSide", "TokenPair", "contrast"]

_BATCH = 128  # inputs run between two looks at `cancel`
_OFF = 0.1  # of the bandwidth: by how much distances may differ when they are read again (half precision)


def contrast(
    lm: LanguageModel,
    gen: Generator,
    first: Inversion,
    second: Inversion,
    *,
    second_gen: Generator | None = None,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> Contrast:
    """Two inversions held against each other: inputs near one activation and far from the other, and what each fixes.

    The two may be of different inputs, positions, bandwidths and sites. At two sites, what lies near the first and far
    from the second are inputs that the first site cannot tell apart and the second can.

    Args:
        lm: the target model.
        gen: the generator that both were made with, whose standardisation of the sites counts.
        first, second: what :func:`inversescope_nb.invert` returned, without `noise_seed`.
        second_gen: the generator of the second, where that is another.
        on_progress: called with (done, total, message).
        progress: whether to show a bar when nothing else listens (only for work of more than a second).
        cancel: looked at between batches; `Cancelled` is raised.

    Raises:
        InvalidArgument: something else than two inversions (neighbours have no weights that could be compared).
        GeneratorMismatch: they were made with another model or generator, or of a noised activation.
        UnknownSite, Cancelled

    >>> import inversescope_nb as isn
    >>> lm, gen = isn.load_model(), isn.load_generator()
    >>> first = isn.invert(lm, gen, "4 3 7 + 5 6 8 =", site="resid_post.0", bandwidth=0.3, n=64)
    >>> second = isn.invert(lm, gen, "4 3 7 + 5 6 8 =", site="resid_post.3", bandwidth=0.3, n=64)
    >>> found = isn.contrast(lm, gen, first, second)
    >>> len(found.to_frame()), set(found.to_frame()["side"]) <= {"first", "second", "both", "neither"}
    (128, True)
    >>> isn.contrast(lm, gen, first, first).first.shared.share > 0.9
    True
    """
    check_model(lm)
    gens = (gen, gen if second_gen is None else second_gen)
    both = (first, second)
    for which, generator in zip(both, gens, strict=True):
        check_generator(generator)
        if not isinstance(which, Inversion):
            raise InvalidArgument(
                f"a {type(which).__name__} is no inversion",
                hint="give two results of invert(); neighbours and other baselines have no generator's weights",
            )
        generator.check_target(lm)
    for name, inv in zip(("first", "second"), both, strict=True):
        if not is_text(lm, inv.prompt_ids) or list(lm.token_strings(inv.prompt_ids)) != list(inv.tokens):
            raise _mismatch(name, "its tokens are not this model's")
    runnable = [ids for inv in both for ids, d in zip(inv.samples, inv.d, strict=True) if math.isfinite(d)]
    inputs = [list(ids) for ids in dict.fromkeys(tuple(ids) for ids in (*(i.prompt_ids for i in both), *runnable))]
    if not all(is_text(lm, ids) for ids in inputs):
        raise _mismatch("first or the second", "its samples have tokens that this model has not")
    with reported(on_progress, progress, "contrast") as report:
        read = _distances(lm, gens, both, inputs, report, cancel)
    for name, inv, found in zip(("first", "second"), both, read, strict=True):
        _check_distances(name, inv, found)
    # as measured when they were inverted: read again they are rounded differently, and the ball's edge is one of them
    own = [{tuple(ids): d for ids, d in zip(inv.samples, inv.d.tolist(), strict=True)} for inv in both]
    known = [found | mine for found, mine in zip(read, own, strict=True)]

    def side(i: int) -> OneSide:
        inv, other = both[i], both[1 - i]
        d = np.array([known[1 - i].get(tuple(ids), math.inf) for ids in inv.samples])
        return OneSide(name=("first", "second")[i], inversion=inv, other=other, d_other=d)

    apart = (read[0][tuple(second.prompt_ids)], read[1][tuple(first.prompt_ids)])
    return Contrast(first=side(0), second=side(1), apart=apart)


def _distances(
    lm: LanguageModel,
    gens: Sequence[Generator],
    both: Sequence[Inversion],
    inputs: Sequence[list[int]],
    on_progress: Progress | None,
    cancel: threading.Event | None,
) -> list[dict[tuple[int, ...], float]]:
    """For each of two activations the distance of every input to it; the picked inputs are read alone, as inverted."""
    places = {inv.site.name: inv.site for inv in both}
    statistics = [g.statistics(inv.site.name) for g, inv in zip(gens, both, strict=True)]
    centres = [lm.activations([inv.prompt_ids], [inv.site], cancel=cancel)[inv.site.name][0] for inv in both]
    found: list[dict[tuple[int, ...], float]] = [{}, {}]
    for at in range(0, len(inputs), _BATCH):
        block = inputs[at : at + _BATCH]
        z = lm.activations(block, places.values(), cancel=cancel)
        for known, inv, moments, centre in zip(found, both, statistics, centres, strict=True):
            d = moments.distance(z[inv.site.name], centre).tolist()
            known.update(zip(map(tuple, block), d, strict=True))
        if on_progress is not None:
            on_progress(at + len(block), len(inputs), "reading both activations")
    return found


def _check_distances(name: str, inv: Inversion, read: dict[tuple[int, ...], float]) -> None:
    """Raises where an inversion's distances are not those that this model and generator give."""
    off = [abs(read[tuple(ids)] - d) for ids, d in zip(inv.samples, inv.d, strict=True) if math.isfinite(d)]
    if off and float(np.median(off)) > _OFF * inv.bandwidth:
        raise _mismatch(name, f"its samples' distances, read again, are others (by {np.median(off):.3g})")


def _mismatch(name: str, why: str) -> GeneratorMismatch:
    return GeneratorMismatch(
        f"the {name} is no inversion by this model and generator: {why}",
        hint="give the model and the generators (gen=, second_gen=) that they were made with; an inversion with "
        "noise_seed= cannot be contrasted, since its noised activation is not kept",
    )
