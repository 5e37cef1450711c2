"""Which token of which input, at which site: what a user points at, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._arguments import check_generator, check_model, token_index
from .errors import BadPrompt
from .features import InputText
from .kernels import check_bandwidth
from .sites import Site

if TYPE_CHECKING:
    from .generator import Generator
    from .models import LanguageModel
    from .prompts import Prompt


def place_of(lm: LanguageModel, gen: Generator, site: str | Site, bandwidth: float | None) -> tuple[Site, float]:
    """The site and the bandwidth that were asked for; raises where this generator cannot answer there."""
    check_model(lm)
    check_generator(gen)
    if bandwidth is not None:
        bandwidth = check_bandwidth(bandwidth, gen.config.bandwidths)
    gen.check_target(lm)
    place = lm.site(site)
    gen.statistics(place.name)
    return place, gen.default_bandwidth(place.name) if bandwidth is None else bandwidth


def check_picked(gen: Generator, ids: Sequence[int]) -> None:
    """Raises `BadPrompt` where an input cannot be inverted: too long, or nothing but BOS."""
    check_length(gen, ids)
    if gen.config.has_bos and list(ids) == [gen.config.start_id]:
        raise BadPrompt("only BOS is picked: nothing stands in front of it", hint="pick a later token")


def check_length(gen: Generator, ids: Sequence[int], what: str = "the picked input") -> None:
    """Raises `BadPrompt` where an input is longer than what the generator's backbone can read."""
    if len(ids) > gen.longest_input:
        raise BadPrompt(
            f"{what} has {len(ids)} tokens, this generator reads at most {gen.longest_input}",
            hint="pick an earlier token, or train a generator on longer prompts",
        )


def is_text(lm: LanguageModel, ids: Sequence[int]) -> bool:
    """Whether all tokens are the target's: a generator's backbone may have more."""
    return all(token < lm.vocab_size for token in ids)


def text_of(lm: LanguageModel, ids: Sequence[int]) -> InputText:
    """What features see of a sample; nothing where it is no text of the target."""
    return InputText.from_ids(ids, lm) if is_text(lm, ids) else InputText("")


def cut(lm: LanguageModel, prompt: str | Prompt | Sequence[int], position: int) -> tuple[list[int], int]:
    """(ids up to and with the position, the position counted from 0); raises where it is outside."""
    check_model(lm)
    encoded = lm.encode(prompt)
    if len(encoded.lengths) != 1:
        raise BadPrompt(f"{len(encoded.lengths)} prompts given", hint="invert one prompt at a time")
    at = token_index(position, int(encoded.lengths[0]))
    return encoded.token_ids[0, : at + 1].tolist(), at
