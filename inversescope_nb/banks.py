"""A bank: inputs drawn once from P(X), with their activations at whatever sites were asked for.

An inversion looks there for inputs that its generator misses; a search for neighbours looks nowhere else.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from .errors import Cancelled, NotEnumerable
from .features import InputText

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from .models import LanguageModel
    from .prompts import PromptDistribution

Progress = Callable[[int, int, str], None]
SIZE = 256
"""Inputs that an inversion's bank holds."""
PIECE = 256
"""Inputs drawn between two looks at `cancel`."""
_SEED = 141_421
_LATEST = 4


class Bank:
    """Inputs of a P(X) and, site by site, what they look like there; activations are kept once they were read, as long
    as the model's weights are the same.

    Args:
        lm: the target.
        inputs: token ids, each ending at its site.
    """

    def __init__(self, lm: LanguageModel, inputs: Sequence[Sequence[int]]) -> None:
        self.lm, self.inputs = lm, [list(ids) for ids in inputs]
        self._activations: dict[str, Float[Tensor, "n d"]] = {}
        self._fingerprint = ""

    def __len__(self) -> int:
        return len(self.inputs)

    @cached_property
    def texts(self) -> list[InputText]:
        """The inputs as features see them."""
        return [InputText.from_ids(ids, self.lm) for ids in self.inputs]

    def activations(
        self, site: str, *, on_progress: Progress | None = None, cancel: threading.Event | None = None
    ) -> Float[Tensor, "n d"]:
        """Activations of all inputs at the last token, on the CPU."""
        self.read([site], on_progress=on_progress, cancel=cancel)
        return self._activations[site]

    def read(
        self, sites: Sequence[str], *, on_progress: Progress | None = None, cancel: threading.Event | None = None
    ) -> None:
        """Reads activations at several sites in one pass, those that are not known yet."""
        if self._fingerprint != (own := self.lm.fingerprint):
            self._activations, self._fingerprint = {}, own
        missing = [site for site in sites if site not in self._activations]
        if missing and not self.inputs:
            self._activations |= {site: torch.zeros(0, self.lm.site(site).d) for site in missing}
        elif missing:
            found = self.lm.activations(self.inputs, missing, on_progress=on_progress, cancel=cancel)
            self._activations |= {site: found[site] for site in missing}


def draw_bank(
    lm: LanguageModel,
    prompts: PromptDistribution,
    size: int,
    *,
    seed: int = _SEED,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Bank:
    """A bank of `size` inputs, drawn piece by piece: what a model writes itself takes its time."""
    rng, drawn = random.Random(seed), []
    while len(drawn) < size:
        if cancel is not None and cancel.is_set():
            raise Cancelled("the search was stopped")
        drawn += prompts.draw(min(PIECE, size - len(drawn)), lm, seed=rng.randrange(2**31), cancel=cancel)
        if on_progress is not None:
            on_progress(len(drawn), size, "drawing prompts")
    return Bank(lm, drawn)


class Banks:
    """The latest banks that were asked for, each drawn once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int, int], tuple[PromptDistribution, Bank]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(
        self,
        lm: LanguageModel,
        prompts: PromptDistribution,
        size: int,
        own: Sequence[Sequence[int]] = (),
        *,
        on_progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> Bank:
        """A bank of `size` inputs: of `own` where those are enough, or all of them where P(X) cannot be drawn from."""
        key = (id(lm), id(prompts), size)
        kept = self._kept.get(key)
        if kept is None:
            if len(own) >= size:
                bank = Bank(lm, own[:size])
            else:
                try:
                    bank = draw_bank(lm, prompts, size, on_progress=on_progress, cancel=cancel)
                except NotEnumerable:  # known by name only
                    bank = Bank(lm, own)
            kept = prompts, bank  # with the distribution, so that its id stays its own
            self._kept = dict([*self._kept.items(), (key, kept)][-_LATEST:])
        return kept[1]
