"""What a search has of P(X) before anything walks: draws that are run, or texts that are read at every token.

As many as there is time for, however slow the target: everything begins with small pieces, and each says how much the
next one may hold. Axis names: n (draws, or texts), tokens (of texts, one after the other), d (a site's width).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..banks import draw_bank
from ..errors import NotEnumerable
from ..verdicts import MANY, enough
from ._beginnings import Beginnings
from ._weighed import Draws
from .searched import moments
from .text_bank import TOKENS, TextBank

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..kernels import Kernel, SiteStatistics
    from ._budget import Budget
    from .searched import Pick

BANK = 8192
"""Draws of P(X), at most, that the chains start from: as many as an eighth of the budget has room for."""
FIRST = 1000
"""As many, where a quarter has room for them."""
FEWEST = 16
"""Draws of P(X) that are run, however long that takes, and chains."""
_LEAST_TEXTS = 8  # that are written and read, however long that takes; each one is a draw
_READING = 0.5  # of the budget, at most, is spent on reading texts at every token, unless the rest of it will do
_BATCHES = 40  # of texts to be read that it should have room for, at least
_WRITES = 8  # of texts to be written; each takes as many steps as they have tokens, however few they are
_TEXTS = 256  # that are written at a time, at most
_FIRST_TOKENS, _FEW_TOKENS = 1024, 256  # of them, that are read together: at first, and always
_FIRST_DRAWN, _DRAWN = 8, 256  # draws of P(X) that are run at a time: at first, and at most
_LEAST, _LIGHT = 8, 3  # rounds of the fewest chains that there must be time for, and passes of each, else none walk


class Supply:
    """Draws of P(X) at a pick's site, with what is spent on them.

    Args:
        pick: the activation that is looked for.
        budget: of the whole search.
        statistics, kernel: what distances are measured in; None: by the first draws.
        texts: a bank of them that may be read and grow; None: one for this pick, where P(X) cuts texts anywhere.
        n: inputs to show, at most.
        seed: of everything drawn.
    """

    def __init__(
        self,
        pick: Pick,
        budget: Budget,
        *,
        statistics: SiteStatistics | None = None,
        kernel: Kernel | None = None,
        texts: TextBank | None = None,
        n: int = 256,
        seed: int = 0,
    ) -> None:
        self.pick, self.budget, self.n, self.seed = pick, budget, n, seed
        self.numbers = np.random.default_rng(seed)
        self.first = min(FIRST, max(FEWEST, budget.passes // 4))
        """Draws of P(X), at least, that distances are measured with, if there is time for them."""
        self.size = max(self.first, min(BANK, budget.passes // 8))
        self.texts = texts
        if texts is None and pick.prompts.cuts_anywhere:
            self.texts = TextBank(pick.lm, pick.prompts, seed=seed)
        self.pass_share = 0.0
        """Share of the time that running an input takes, so far."""
        self._at_a_time, self._tokens, self._has_grown = _LEAST_TEXTS, _FIRST_TOKENS, False
        self._written = (_LEAST_TEXTS, 0.0)  # texts of the last growth, and its share of the time
        self._cut_z: dict[int, Float[Tensor, "n d"]] = {}
        """Of the parts of the bank of texts that were read, activations where each text is cut."""
        if self.texts is not None:
            self._read_first()
        self.inputs, self.z = self._draw() if self.texts is None else self._cut(self.texts)
        """Draws of P(X), and their activations."""
        self.units = moments(self.z, statistics, kernel)
        own = pick.prompts.log_probs([pick.ids], pick.lm)
        self.scored = own is not None
        self.picked_log_p = own[0] if own is not None else 0.0

    @property
    def can_walk(self) -> bool:
        """Whether there is time for some rounds of the fewest chains, as far as drawing and reading can tell."""
        write = self.text_share
        each_round = FEWEST * max(_LIGHT * self.pass_share, write)
        return self.budget.ahead(FEWEST * (write + self.pass_share) + _LEAST * each_round) < 1

    @property
    def text_share(self) -> float:
        """Share of the time that writing a text takes; 0 where that is not known."""
        return self.texts.seconds / max(1, len(self.texts)) / self.budget.seconds if self.texts is not None else 0.0

    def distances(self, z: Float[Tensor, "n d"]) -> Float[np.ndarray, " n"]:
        """Distances to the picked activation."""
        return self.units.distance(z, self.pick.z_hat).double().numpy()

    def answer(self) -> Draws | Beginnings:
        """The draws of P(X), weighed by the kernel: texts at every token, or else inputs.

        Those texts that there are, if they are worth many draws. Else more, until they are worth :attr:`n` or half of
        the budget is spent, and beyond that where the rest of it will do.
        """
        if self.texts is None:
            log_k = self.units.kernel.log(self.distances(self.z), self.pick.bandwidth)
            return Draws(self.inputs, np.asarray(log_k), self.z)
        found, budget = Beginnings(self.pick, self.units, self.texts), self.budget
        given = (0.0, 0.0)  # share of the budget and effective samples, before any text was run for this pick
        while True:
            share, ess = budget.ahead(self._to_come(found)), found.ess
            if budget.spent == 0 and len(found):
                given = (share, ess)
            pace = (ess - given[1]) / max(share - given[0], 1e-9)
            will_do = ess < MANY and ess + pace * (1 - share) >= enough(self.n)
            wanted = max(self.n, MANY) if self._has_grown else MANY
            time_to_read = _READING if self.can_walk else 1.0
            more = share < 1 if will_do else share < time_to_read and ess < wanted
            if len(found) and not more and not found.is_free:
                return found
            if found.n_parts == len(self.texts.parts):
                self._grow(self.texts)
            found.look(self._read(self.texts, found.n_parts))

    def take_in_texts(self) -> None:
        """Adds the texts that were read since to the draws, each where it is cut."""
        if self.texts is not None:
            self.inputs, self.z = self._cut(self.texts)

    # -- inputs ---------------------------------------------------------------------------------

    def _draw(self) -> tuple[list[list[int]], Float[Tensor, "n d"]]:
        """Draws of P(X), with their activations."""
        z: list[Tensor] = []
        drawn: list[list[int]] = []
        pick, budget = self.pick, self.budget
        while len(drawn) < self.size and (len(drawn) < FEWEST or self._draws_more(len(drawn))):
            part = min(max(_FIRST_DRAWN, len(drawn)), _DRAWN, self.size - len(drawn))
            if len(drawn) >= FEWEST and not self.can_walk:  # they are the answer; half of what fits, as passes vary
                part = max(1, min(part, int((1 - budget.share()) / self.pass_share / 2)))
            seed = int(self.numbers.integers(2**31))
            bank = draw_bank(pick.lm, pick.prompts, part, seed=seed, cancel=budget.cancel)
            z.append(bank.activations(pick.site.name, cancel=budget.cancel))
            drawn += bank.inputs
            budget.count(part, "running a bank")
            self.pass_share = budget.time_share() / len(drawn)
        return drawn, torch.cat(z)

    def _draws_more(self, n: int) -> bool:
        """Whether `n` draws are not enough."""
        if self.can_walk:
            return self.budget.share() < (0.25 if n < self.first else 0.125)
        return self.budget.ahead(self.pass_share) < 1

    # -- texts ----------------------------------------------------------------------------------

    def _read_first(self) -> None:
        """Reads the texts that distances are measured with, and draws them where there are none yet."""
        n_texts = part = 0
        try:
            while n_texts < _LEAST_TEXTS or self._reads_more(n_texts):
                if part == len(self.texts.parts):
                    self._grow(self.texts)
                self._read(self.texts, part)
                n_texts += len(self.texts.parts[part])
                part += 1
        except NotEnumerable:  # it has cut inputs only
            self.texts = None

    def _reads_more(self, n: int) -> bool:
        """Whether `n` texts are not enough to measure distances with."""
        least, most = self.budget.ahead(self._growing), self.budget.share()
        return (n < FEWEST and least < 1) or (n < self.first and most < 0.25)

    @property
    def _growing(self) -> float:
        """Share of the time that the next growth takes, about: not less than the last one, if that wrote more."""
        n, share = self._written
        write = share * max(1.0, self._at_a_time / n) or self._at_a_time * self.text_share
        return write + self._at_a_time * 2 * self.pass_share

    def _to_come(self, found: Beginnings) -> float:
        """Share of the time that the next look takes, about, and what is to be run again after it."""
        again = 0.0 if found.is_kept else min(self.n, len(found)) * self.pass_share
        if found.n_parts == len(found.bank.parts):
            return again + self._growing
        return again + (0.0 if found.is_free else len(found.bank.parts[found.n_parts]) * 2 * self.pass_share)

    def _grow(self, texts: TextBank) -> None:
        """Draws more texts, so many that there will be several such steps; no fewer than before, which took as long."""
        budget, n = self.budget, self._at_a_time
        before, self._has_grown = budget.time_share(), True
        texts.grow(n, tokens=self._tokens, cancel=budget.cancel)
        budget.count(0, "writing texts")
        self._written = (n, budget.time_share() - before)
        each = max(self._written[1] / n, 1 / budget.passes)
        self._at_a_time = int(max(n, min(_TEXTS, 1 / each / _WRITES)))

    def _read(self, texts: TextBank, part: int) -> Float[Tensor, "tokens d"]:
        """One part's activations; how long they took says how much is read together from now on."""
        began, n_read = time.monotonic(), texts.n_read
        z = texts.activations(self.pick.site, part, cancel=self.budget.cancel)
        self.budget.count(texts.n_read - n_read, "reading texts at every token")
        self._cut_z[part] = texts.parts[part].drawn(z).float()
        if texts.n_read > n_read:
            took = (time.monotonic() - began) / self.budget.seconds
            self.pass_share = took / len(texts.parts[part]) / 2  # a beginning has half of a text's tokens, on average
            each = max(took / len(z), 1e-9)
            self._tokens = int(max(_FEW_TOKENS, min(TOKENS, 1 / each / _BATCHES)))
        return z

    def _cut(self, texts: TextBank) -> tuple[list[list[int]], Float[Tensor, "n d"]]:
        """As many draws of P(X), each the beginning of a text that was read."""
        z, inputs = [], []
        for i in sorted(self._cut_z):
            if len(inputs) < self.size:
                z.append(self._cut_z[i])
                inputs += texts.parts[i].inputs()
        return inputs[: self.size], torch.cat(z)[: self.size]
