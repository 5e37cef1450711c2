"""The distance to a picked activation at every token of an input, should the activation be read there.

A look at one sample, not a part of its measure: the distance of a sample is that at its last token (InversionView,
arXiv 2405.17653, takes the least over all positions, which is lenient). Axis names: pos (tokens, BOS counted).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._arguments import check_generator, check_model
from ._token_reading import activations_at_all_tokens
from .errors import InvalidArgument
from .inverted import Inversion
from .picking import cut

if TYPE_CHECKING:
    from jaxtyping import Float

    from .generator import Generator
    from .models import LanguageModel
    from .prompts import Prompt


def distances_along(
    lm: LanguageModel, gen: Generator, inv: Inversion, prompt: str | Prompt | Sequence[int]
) -> Float[np.ndarray, " pos"]:
    """The distance d to the activation that was inverted, at every token of another input.

    Args:
        lm, gen: the target, and the generator whose standardisation of the site counts.
        inv: what :func:`inversescope_nb.invert` returned; its activation is read again, without noise.
        prompt: a text, a `Prompt` or token ids; of a sample, ``inv.samples[i]``.

    Returns:
        ``[pos]`` float64, standardised units per coordinate; the last one is what counts, ``inv.d[i]`` of a sample.
        BOS and other tokens at which P(X) is never cut are often far off the scale: the units are those of P(X).

    Raises:
        InvalidArgument: `inv` is no inversion.
        BadPrompt, GeneratorMismatch, UnknownSite

    >>> import inversescope_nb as isn
    >>> lm, gen = isn.load_model(), isn.load_generator()
    >>> inv = isn.invert(lm, gen, "4 3 7 + 5 6 8 =", site="resid_post.0", n=8)
    >>> along = isn.distances_along(lm, gen, inv, inv.samples[0])
    >>> len(along) == len(inv.samples[0]), bool(abs(along[-1] - inv.d[0]) < 1e-4)
    (True, True)
    """
    check_model(lm)
    check_generator(gen)
    gen.check_target(lm)
    if not isinstance(inv, Inversion):
        raise InvalidArgument(f"a {type(inv).__name__} is no inversion", hint="give what invert() returned")
    ids, _ = cut(lm, prompt, -1)
    statistics = gen.statistics(inv.site.name)
    z = activations_at_all_tokens(lm, ids, [inv.site])[inv.site.name]
    z_hat = lm.activations([inv.prompt_ids], [inv.site])[inv.site.name][0]
    return statistics.distance(z.to(z_hat), z_hat).double().cpu().numpy()
