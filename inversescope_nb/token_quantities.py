"""One number for every token of a prompt: how large its activation is, how new, how much it says of the input.

They shade a token picker: where to look, not what is there. Each reads all tokens in one forward pass of the target
and has an entry in :data:`QUANTITIES`, which an interface offers. Axis names: pos (tokens of the prompt, BOS counted).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ._arguments import check_generator, check_model, whole_number
from ._progress import Progress, reported
from ._token_reading import activations_at_all_tokens, layer_before, log_prior, log_prompts, units, window
from .errors import InvalidArgument, suggest
from .generator.stopping import look
from .picking import cut, place_of

if TYPE_CHECKING:
    from jaxtyping import Float

    from .generator import Generator
    from .models import LanguageModel
    from .prompts import Prompt
    from .sites import Site

BATCH = 32
"""Beginnings of a prompt that are scored at once."""


def token_norms(
    lm: LanguageModel, prompt: str | Prompt | Sequence[int], site: str | Site, *, gen: Generator | None = None
) -> Float[np.ndarray, " pos"]:
    """Length |z| of the activation at every token, from one forward pass.

    Args:
        lm, prompt: the target model; a text, a `Prompt` or token ids.
        site: where to read, in any spelling; heads too.
        gen: a generator of `lm`. Where it knows how the site varies on its P(X), the length is that of
            u = (z - mean) / scale, |u|: about sqrt(D) for an input of P(X), and |u| / sqrt(D) is the distance d from
            the mean. Else, and where the site is constant or its metric knows directions only ("cosine"), |z| as it
            is; :func:`unit_of` says which.

    Returns:
        ``[pos]`` float64, one number a token, BOS counted. BOS, on which heads rest their attention, is often many
        times longer than any other token.

    Raises:
        UnknownSite, BadPrompt, InvalidArgument
        GeneratorMismatch: `gen` is another model's.

    >>> import inversescope_nb as isn
    >>> token_norms(isn.load_model(), "4 3 7 + 5 6 8 =", "resid_post.3").shape
    (9,)
    """
    ids, _ = cut(lm, prompt, -1)
    place = lm.site(site)
    if gen is not None:
        check_generator(gen)
        gen.check_target(lm)
    statistics = units(gen, place)
    z = activations_at_all_tokens(lm, ids, [place])[place.name]
    u = z if statistics is None else statistics.standardise(z)
    return u.double().norm(dim=-1).numpy()


def token_changes(
    lm: LanguageModel, prompt: str | Prompt | Sequence[int], site: str | Site
) -> Float[np.ndarray, " pos"]:
    """How far the activation moved since the layer before: |z_L - z_(L-1)| / |z_(L-1)|, from one forward pass.

    Compared are sites of one kind (and head) in neighbouring layers; ``resid_post`` of layer 0 with ``resid_pre`` of
    layer 0, so that along ``resid_post`` every number is one whole block's doing. Heads of two layers do not share a
    basis, nor their numbers a meaning: there it says that two vectors differ, not that one became the other.

    Args:
        lm, prompt, site: as for :func:`token_norms`.

    Returns:
        ``[pos]`` float64, a share: 0 is no change, 1 as large a change as what was there; NaN where that was zero.

    Raises:
        UnknownSite, BadPrompt
        InvalidArgument: layer 0 of another kind, with nothing before it (:func:`why_not` says so beforehand).

    >>> import inversescope_nb as isn
    >>> bool((token_changes(isn.load_model(), "4 3 7 + 5 6 8 =", "resid_post.0") > 0).all())
    True
    """
    ids, _ = cut(lm, prompt, -1)
    place = lm.site(site)
    before = layer_before(lm, place)
    if before is None:
        raise InvalidArgument(
            f"{place} has no layer before it to compare with",
            hint=f"allowed: layers 1 to {lm.n_layers - 1}, and 'resid_post.0', which is compared with 'resid_pre.0'",
        )
    found = activations_at_all_tokens(lm, ids, [before, place])
    old, new = found[before.name].double(), found[place.name].double()
    size = old.norm(dim=-1)
    return torch.where(size > 0, (new - old).norm(dim=-1) / size, math.nan).numpy()


def token_bits(
    lm: LanguageModel,
    gen: Generator,
    prompt: str | Prompt | Sequence[int],
    *,
    site: str | Site,
    bandwidth: float | None = None,
    start: int = 0,
    stop: int | None = None,
    batch: int = BATCH,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> Float[np.ndarray, " pos"]:
    """How much likelier the activation at each token t makes the very prompt up to it, in bits.

    log2 q(x_1..t, end | z_t) / P(x_1..t, end): a shading, not a measurement. A perfect generator's would be the
    resolution bits of each pick, ``inv.bits``, since its q / P is k(d) / Z and k is 1 at the picked input itself. A
    real one's has the whole error of log q at that one input and bounds nothing: off by 0.7 bit on the addition model
    (mean of picks), 3 to 4 bits too low with the packaged generator, whose order of picks is only roughly that of
    ``inv.bits`` (rank correlation 0.6 at ``resid_post.3``, 0.3 at ``resid_post.1``). ``inv.bits`` averages over many
    inputs that were re-run, so that such errors cancel: :func:`inversescope_nb.invert` a token to know.
    P is that of `gen.prompts` where it can write the input, else the generator's own q(x | nothing).

    Args:
        lm, gen, prompt: the target, its generator; a text, a `Prompt` or token ids.
        site: one of the generator's sites.
        bandwidth: kernel width eps; None: the site's usual.
        start, stop: tokens to look at, as in a slice (negative ones from the end); the others have NaN.
        batch: inputs scored at once at most; fewer where they are long. The numbers do not depend on it.
        on_progress: called with (tokens done, of, message).
        progress: whether to show a bar when nothing else listens (only for work of more than a second).
        cancel: looked at before every block of a model; `Cancelled` is raised.

    Returns:
        ``[pos]`` float64, bits: below 0 where the activation makes the input less likely. NaN for BOS alone (it is
        given, so nothing is told apart), where an input is longer than the generator can write (not scored), and
        where neither P nor the generator has a prior.

    Raises:
        UnknownSite, BadPrompt, InvalidArgument, GeneratorMismatch, Cancelled

    >>> import inversescope_nb as isn
    >>> bits = token_bits(isn.load_model(), isn.load_generator(), "4 3 7 + 5 6 8 =", site="resid_post.3")
    >>> bits.shape, [t for t in range(9) if not bits[t] > 0]
    ((9,), [0])
    """
    place, bandwidth = place_of(lm, gen, site, bandwidth)
    ids, _ = cut(lm, prompt, -1)
    batch = whole_number("batch", batch, least=1, hint=f"{BATCH} is the usual choice")
    first, last = window(start, stop, len(ids))
    out = np.full(len(ids), math.nan)
    first += int(first == 0 and gen.config.has_bos and ids[0] == gen.config.start_id)
    last = int(min(last, gen.longest_input))
    if first >= last:
        return out
    ids = ids[:last]
    with reported(on_progress, progress, "token bits") as report:
        look(cancel, "shading")
        u = gen.statistics(place.name).standardise(activations_at_all_tokens(lm, ids, [place], cancel)[place.name])
        own: np.ndarray | None = None  # log q(x | nothing) of every beginning, where that is needed
        at = first
        while at < last:
            look(cancel, "shading")
            longest = min(at + batch, last) + 1
            n = min(batch, last - at, gen.rows_at_once(longest, stops=cancel is not None))
            inputs = [ids[: t + 1] for t in range(at, at + n)]
            with torch.inference_mode():
                condition = gen.condition_on(place.name, u[at : at + n], bandwidth)
            log_q = np.array([float(x.sum()) for x in gen.log_probs(inputs, condition, cancel=cancel)])
            log_p = log_prompts(lm, gen, inputs)
            if not np.isfinite(log_p).all():
                own = log_prior(gen, ids, cancel) if own is None else own
                log_p = np.where(np.isfinite(log_p), log_p, own[at : at + n])
            out[at : at + n] = (log_q - log_p) / math.log(2)
            at += n
            if report is not None:
                report(at - first, last - first, "shading tokens")
    return out


# -- what there is to offer ------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantity:
    """One number a token, for an interface to offer."""

    name: str
    """What it is called in code."""
    label: str
    """What it is called on a button."""
    unit: str
    """Of its numbers, empty where that is the model's own; :func:`unit_of` knows it for a site."""
    says: str
    """What it says, in one sentence."""
    diverging: bool
    """Whether its numbers have two sides of 0."""
    read: Callable[..., np.ndarray]
    """Called with (lm, prompt, site, gen) and on_progress=, progress=, cancel=, which only slow ones look at."""
    missing: Callable[[LanguageModel, Site, Generator | None], str | None]
    """Why it cannot be had at a site, or None."""
    is_slow: bool = False
    """Whether it takes more than one forward pass, so that progress and a way to stop are due."""
    standardised: bool = False
    """Whether its numbers are in the site's standardised units where a generator knows those."""


def _no_layer_before(lm: LanguageModel, place: Site, gen: Generator | None) -> str | None:
    found = layer_before(lm, place)
    return f"layer 0 of {place.kind} has no layer before it to compare with" if found is None else None


def _other_model(lm: LanguageModel, place: Site, gen: Generator | None) -> str | None:
    if gen is not None and (gen.fingerprint, gen.tokenizer_hash) != (lm.fingerprint, lm.tokenizer_hash):
        return "the generator was made for another model"
    return None


def _no_generator(lm: LanguageModel, place: Site, gen: Generator | None) -> str | None:
    if gen is None:
        return "no generator is at hand that was trained for this model"
    trained = None if place.name in gen.sites else f"the generator was not trained for {place}"
    return _other_model(lm, place, gen) or trained


QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity(
            "norm", "norm of the activation", "",
            "How long the activation is at this token.",
            False,
            lambda lm, prompt, site, gen=None, **how: token_norms(lm, prompt, site, gen=gen),
            _other_model,
            standardised=True,
        ),
        Quantity(
            "change", "change from the layer before", "of the layer before",
            "How far the activation moved since the layer before, as a share of its length there.",
            False,
            lambda lm, prompt, site, gen=None, **how: token_changes(lm, prompt, site),
            _no_layer_before,
        ),
        Quantity(
            "bits", "bits, by the generator's odds", "bits",
            "How much likelier the activation makes the very input up to this token: a shading, not a measurement.",
            True,
            lambda lm, prompt, site, gen=None, **how: token_bits(lm, gen, prompt, site=site, **how),
            _no_generator,
            is_slow=True,
        ),
    )
}  # fmt: skip
"""Name -> what can be shown of every token of a prompt, in the order to offer it."""


def why_not(quantity: str, lm: LanguageModel, site: str | Site, gen: Generator | None = None) -> str | None:
    """Why a quantity cannot be had at a site, as a sentence to show; None where it can.

    Raises:
        InvalidArgument, UnknownSite: there is no such quantity, or no such site.

    >>> import inversescope_nb as isn
    >>> why_not("change", isn.load_model(), "mlp_out.0")
    'layer 0 of mlp_out has no layer before it to compare with'
    """
    found, place = _entry(quantity, lm, site, gen)
    return found.missing(lm, place, gen)


def unit_of(quantity: str, lm: LanguageModel, site: str | Site, gen: Generator | None = None) -> str:
    """The unit of a quantity's numbers at a site; empty where they are the model's own.

    >>> import inversescope_nb as isn
    >>> unit_of("norm", isn.load_model(), "resid_post.0", isn.load_generator())
    'standardised units'
    """
    found, place = _entry(quantity, lm, site, gen)
    return "standardised units" if found.standardised and units(gen, place) else found.unit


def _entry(quantity: str, lm: LanguageModel, site: str | Site, gen: Generator | None) -> tuple[Quantity, Site]:
    check_model(lm)
    if gen is not None:
        check_generator(gen)
    if quantity not in tuple(QUANTITIES):
        hint = f"allowed: {', '.join(QUANTITIES)}"
        raise InvalidArgument(f"there is no quantity {quantity!r}.{suggest(str(quantity), QUANTITIES)}", hint=hint)
    return QUANTITIES[quantity], lm.site(site)
