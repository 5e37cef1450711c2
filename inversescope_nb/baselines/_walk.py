"""Chains that walk through the posterior: from the prompt distribution, and from the picked input.

What :mod:`.metropolis` does, step by step. Axis names: c (chains), m (candidates of each), r (states of each).
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._progress import Progress
from .._statistics import effective_sample_size
from ..banks import draw_bank
from ..cuts import n_bos
from ..errors import Cancelled, NotEnumerable
from ..verdicts import MANY, enough
from ._beginnings import Beginnings
from ._mixing import Mixing
from ._moves import Moves
from ._weighed import Draws
from .searched import Pick, moments
from .text_bank import TOKENS, TextBank

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..kernels import Kernel, SiteStatistics

BANK = 8192
"""Draws of P(X), at most, that the chains start from: as many as an eighth of the budget has room for."""
FIRST = 1000
"""As many, where a quarter has room for them."""
CHAINS = 32
"""Half of them from P(X), half from the picked input."""
CROWD = 256
"""Chains, at most, on the way to the bandwidth: what the bits are counted from, so as many as there is time for."""
FEWEST = 16
TRIES = 4
"""Candidates of one context in one batch; one, where there is little time."""
_LEFT = 0.6  # of the chains that a narrower kernel leaves, in effective numbers
_ROUNDS = 40  # of moves that a run should have time for, at least
_STEPS = 2  # moves between two narrower kernels
_READING = 0.5  # of the budget, at most, is spent on reading texts at every token, unless the rest of it will do
_BATCHES = 40  # of texts to be read that it should have room for, at least
_WRITES = 8  # of texts to be written; each takes as many steps as they have tokens, however few they are
_TEXTS, _FIRST_TEXTS = 256, 16  # that are drawn at a time: at most, and at first
_FIRST_TOKENS, _FEW_TOKENS = 1024, 256  # of them, that are read together: at first, and always
_NARROWING = 0.5  # of the budget, at most, is spent on the way to the bandwidth
_CROWDED, _WAY = 0.125, 24  # of it is what a way of so many moves should take
_WARM = 0.25  # of the time at the bandwidth, at the beginning of it, in which no states are kept
_LEAST, _LIGHT = 8, 3  # rounds of the fewest chains that there must be time for, and passes of each, else none walk
_STEPS_OF_A_MOVE = 2  # tokens are proposed one after the other, then all are run; about
_FORGET = 0.8  # of the slowest move's time counts on, after each that was faster
_POOL = 0.25  # of the time that is left, at most, is spent on writing beginnings for one kind of move
_FIRST_DRAWN, _DRAWN = 8, 256  # draws of P(X) that are run at a time: at first, and at most
_GUESS = 10  # candidates, a tenth of them accepted, that each kind of move begins with
_FLOOR = 0.05  # of the moves, at least, are of each kind
_LOOK = 16  # rounds between two looks at how well the chains mix
_PLACES = 8  # from either end, at which chains are asked whether they hold the pick's token
_IMPOSSIBLE = -1e4  # stands for log P of what P(X) cannot make, where numbers are averaged


class Walk:
    """Two sets of chains, and what was spent on them."""

    def __init__(
        self,
        pick: Pick,
        seconds: float,
        passes: int,
        statistics: SiteStatistics | None,
        kernel: Kernel | None,
        seed: int,
        report: Progress | None,
        cancel: threading.Event | None,
        texts: TextBank | None = None,
        n: int = 256,
    ) -> None:
        self.pick, self.seconds, self.passes, self.report, self.cancel = pick, seconds, passes, report, cancel
        self.began, self.spent, self.n = time.monotonic(), 0, n
        self.numbers = np.random.default_rng(seed)
        self.first = min(FIRST, max(FEWEST, passes // 4))
        """Draws of P(X), at least, that distances are measured with, if there is time for them."""
        self.size = max(self.first, min(BANK, passes // 8))
        self.texts = texts
        if texts is None and pick.prompts.cuts_anywhere:
            self.texts = TextBank(pick.lm, pick.prompts, seed=seed)
        self._at_a_time, self._tokens, self.has_grown = _FIRST_TEXTS, _FIRST_TOKENS, False
        self._pass = self._slow = 0.0
        """Shares of the time: what running an input takes, so far; what a slow move takes."""
        self.cut_z: dict[int, Float[Tensor, "n d"]] = {}
        """Of the parts of the bank of texts that were read, activations where each text is cut."""
        if self.texts is not None:
            self._read_first()
        self.bank, z = self._drawn() if self.texts is None else self._cut(self.texts)
        self.units = moments(z, statistics, kernel)
        self.d_bank = self.distances(z)
        own = pick.prompts.log_probs([pick.ids], pick.lm)
        self.scored = own is not None
        self.picked_log_p = own[0] if self.scored else 0.0
        self.seed = seed
        self.records: list[list[list[int]]] = []
        self.values: list[np.ndarray] = []
        self.reached = math.inf
        self.law: dict[str, float] = {}

    # -- budget ---------------------------------------------------------------------------------

    def share(self) -> float:
        """Share of time or passes that is spent."""
        return self.ahead(0.0)

    def time_share(self) -> float:
        """Share of the time that is spent."""
        return (time.monotonic() - self.began) / self.seconds

    def ahead(self, time_share: float) -> float:
        """The share that will be spent after what takes so much of the time, and no passes."""
        return max(self.time_share() + time_share, self.spent / self.passes)

    def has_time(self) -> bool:
        """Whether a slow move still fits."""
        return self.ahead(self._slow) < 1

    @property
    def can_walk(self) -> bool:
        """Whether there is time for some rounds of the fewest chains, as far as drawing and reading can tell."""
        write = self._writing
        each_round = FEWEST * max(_LIGHT * self._pass, write)
        return self.ahead(FEWEST * (write + self._pass) + _LEAST * each_round) < 1

    @property
    def _writing(self) -> float:
        """Share of the time that writing a text takes; 0 where that is not known."""
        return self.texts.seconds / max(1, len(self.texts)) / self.seconds if self.texts is not None else 0.0

    def count(self, passes: int, message: str) -> None:
        """Notes passes of the target; raises `Cancelled` on request."""
        self.spent += passes
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("the search was stopped")
        if self.report is not None:
            self.report(min(99, int(100 * self.share())), 100, message)

    # -- inputs of P(X) -------------------------------------------------------------------------

    def _drawn(self) -> tuple[list[list[int]], Float[Tensor, "n d"]]:
        """Draws of P(X), with their activations."""
        z: list[Tensor] = []
        drawn: list[list[int]] = []
        while len(drawn) < self.size and (len(drawn) < FEWEST or self._draws_more(len(drawn))):
            part = min(max(_FIRST_DRAWN, len(drawn)), _DRAWN, self.size - len(drawn))
            if len(drawn) >= FEWEST and not self.can_walk:  # they are the answer, and those shown are run again
                left = int((1 - self.share()) / self._pass)
                part = max(1, min(part, left - self.n if len(drawn) >= self.n else (left - len(drawn)) // 2))
            seed = int(self.numbers.integers(2**31))
            bank = draw_bank(self.pick.lm, self.pick.prompts, part, seed=seed, cancel=self.cancel)
            z.append(bank.activations(self.pick.site.name, cancel=self.cancel))
            drawn += bank.inputs
            self.count(part, "running a bank")
            self._pass = self.time_share() / len(drawn)
        return drawn, torch.cat(z)

    def _draws_more(self, n: int) -> bool:
        """Whether `n` draws are not enough."""
        if self.can_walk:
            return self.share() < (0.25 if n < self.first else 0.125)
        return self.ahead((1 + min(n + 1, self.n)) * self._pass) < 1

    def _read_first(self) -> None:
        """Reads the texts that distances are measured with, and draws them where there are none yet."""
        n_texts = part = 0
        try:
            while n_texts < FEWEST or (n_texts < self.first and self.share() < 0.25):
                if part == len(self.texts.parts):
                    self._grow(self.texts)
                self._read(self.texts, part)
                n_texts += len(self.texts.parts[part])
                part += 1
        except NotEnumerable:  # it has cut inputs only
            self.texts = None

    def _grow(self, texts: TextBank) -> None:
        """Draws more texts, so many that there will be several such steps."""
        before, self.has_grown = self.share(), True
        texts.grow(self._at_a_time, tokens=self._tokens, cancel=self.cancel)
        self.count(0, "writing texts")
        each = max((self.share() - before) / self._at_a_time, 1 / self.passes)
        self._at_a_time = int(max(1, min(_TEXTS, 1 / each / _WRITES)))

    def _read(self, texts: TextBank, part: int) -> Float[Tensor, "tokens d"]:
        """One part's activations; how long they took says how much is read together from now on."""
        began, n_read = time.monotonic(), texts.n_read
        z = texts.activations(self.pick.site, part, cancel=self.cancel)
        self.count(texts.n_read - n_read, "reading texts at every token")
        self.cut_z[part] = texts.parts[part].drawn(z).float()
        if texts.n_read > n_read:
            took = (time.monotonic() - began) / self.seconds
            self._pass = took / len(texts.parts[part]) / 2  # a beginning has half of a text's tokens, on average
            each = max(took / len(z), 1e-9)
            self._tokens = int(max(_FEW_TOKENS, min(TOKENS, 1 / each / _BATCHES)))
        return z

    def _cut(self, texts: TextBank) -> tuple[list[list[int]], Float[Tensor, "n d"]]:
        """As many draws of P(X), each the beginning of a text that was read."""
        z, inputs = [], []
        for i in sorted(self.cut_z):
            if len(inputs) < self.size:
                z.append(self.cut_z[i])
                inputs += texts.parts[i].inputs()
        return inputs[: self.size], torch.cat(z)[: self.size]

    def read_texts(self) -> Beginnings | None:
        """Texts at every token; None where P(X) cuts its texts otherwise.

        Those that there are, if they are worth many draws. Else more, until they are worth :attr:`n` or half of the
        budget is spent, and beyond that where the rest of it will do.
        """
        if self.texts is None:
            return None
        found = Beginnings(self.pick, self.units, self.texts)
        given = (0.0, 0.0)  # share of the budget and effective samples, before any text was run for this pick
        while True:
            to_come = min(self.n, len(found)) * self._pass  # what is shown is run again
            if found.n_parts == len(self.texts.parts):
                to_come += self._at_a_time * (self._writing + 2 * self._pass)
            share, ess = self.ahead(to_come), found.ess
            if self.spent == 0 and len(found):
                given = (share, ess)
            pace = (ess - given[1]) / max(share - given[0], 1e-9)
            will_do = ess < MANY and ess + pace * (1 - share) >= enough(self.n)
            wanted = max(self.n, MANY) if self.has_grown else MANY
            time_to_read = _READING if self.can_walk else 1.0
            more = share < 1 if will_do else share < time_to_read and ess < wanted
            if len(found) and not more and not found.is_free:
                return found
            if found.n_parts == len(self.texts.parts):
                self._grow(self.texts)
            found.look(self._read(self.texts, found.n_parts))

    def drawn(self) -> Draws:
        """The draws of P(X) themselves, weighed by the kernel."""
        return Draws(self.bank, self.log_k(self.d_bank, self.pick.bandwidth))

    # -- the chains -----------------------------------------------------------------------------

    def distances(self, z: Float[Tensor, "n d"]) -> Float[np.ndarray, " n"]:
        """Distances to the picked activation."""
        return self.units.distance(z, self.pick.z_hat).double().numpy()

    def log_k(self, d: np.ndarray, bandwidth: float) -> np.ndarray:
        """log of the kernel; flat for an infinite bandwidth."""
        return np.zeros(len(d)) if math.isinf(bandwidth) else np.asarray(self.units.kernel.log(d, bandwidth))

    def start(self) -> None:
        """The first chains: as many as there is time to move often, drawn from the bank."""
        if self.texts is not None:  # there are more of them now
            self.bank, z = self._cut(self.texts)
            self.d_bank = self.distances(z)
            some, before = self.bank[:FEWEST], self.time_share()
            self.pick.lm.activations(some, [self.pick.site], cancel=self.cancel)
            self.count(len(some), "running a bank")
            took = (self.time_share() - before) / len(some)
        else:
            took = self.time_share() / self.spent
        pick, pool = self.pick, len(self.bank)
        if self._writing:
            pool = min(pool, max(0, int(_POOL * (1 - self.share()) / self._writing)))
        self.moves = Moves(
            pick.lm, pick.prompts, self.bank, pool=pool, scored=self.scored, first=n_bos(pick.lm), seed=self.seed
        )
        self.tried, self.accepted = dict.fromkeys(self.moves.kinds, 0), dict.fromkeys(self.moves.kinds, 0)
        each = max(took, 1 / self.passes)
        left = max(0.0, 1 - self.share()) / each  # passes that there is time for
        self.tries = TRIES if left > _ROUNDS * FEWEST * (TRIES + 1) else 1
        self._slow = FEWEST * (self.tries + 1) * _STEPS_OF_A_MOVE * took  # as long as none was made
        moves = left / (self.tries + 1)
        self.n_chains = int(min(CHAINS, max(FEWEST, moves / _ROUNDS)) // 2)
        self.n_crowd = int(max(self.n_chains, min(CROWD, _CROWDED * moves / _WAY)))
        self.log_z = self.log_z_variance = 0.0
        self.states = [list(x) for x in self.bank]
        self.d = self.d_bank.copy()
        self.log_p = np.zeros(len(self.bank))
        self.bandwidth = math.inf
        self._next_bandwidth(min(_LEFT, self.n_crowd / _LEFT / len(self.bank)))
        if self.scored:
            self.log_p = np.array(self.pick.prompts.log_probs(self.states, self.pick.lm))

    def _next_bandwidth(self, left: float) -> None:
        """Narrows the kernel until a share `left` of the chains is left, in effective numbers; draws them anew."""
        before = self.log_k(self.d, self.bandwidth)

        def effective(bandwidth: float) -> float:
            log_w = self.log_k(self.d, bandwidth) - before
            top = log_w.max()
            return float(effective_sample_size(np.exp(log_w - top))) / len(log_w) if np.isfinite(top) else 0.0

        goal, new = self.pick.bandwidth, self.pick.bandwidth
        if effective(goal) < left:
            low, high = math.log(goal), math.log(min(self.bandwidth, 64.0 * max(1.0, float(self.d.max()))))
            for _ in range(40):
                middle = (low + high) / 2
                low, high = (low, middle) if effective(math.exp(middle)) >= left else (middle, high)
            new = math.exp(high)
        log_w = self.log_k(self.d, new) - before
        top = log_w.max()
        weight = np.exp(log_w - top)
        self.log_z += top + math.log(weight.mean())
        self.log_z_variance += float(weight.var() / weight.mean() ** 2 / len(weight))
        marks = (np.arange(self.n_crowd) + self.numbers.random()) / self.n_crowd * weight.sum()
        rows = np.minimum(np.searchsorted(np.cumsum(weight), marks), len(weight) - 1)
        self.states = [list(self.states[i]) for i in rows]
        self.d, self.log_p, self.bandwidth = self.d[rows], self.log_p[rows], new

    def narrow(self) -> None:
        """Steps from the bank to the bandwidth, with moves in between."""
        while self.bandwidth > self.pick.bandwidth and self.share() < _NARROWING and self.has_time():
            for _ in range(_STEPS):
                self.move("narrowing")
            self._next_bandwidth(_LEFT)
        self.reached = self.bandwidth

    def stay(self) -> None:
        """All chains at the bandwidth itself, from here and from the picked input, until they are worth :attr:`n` draws
        or the budget is spent."""
        self.bandwidth = self.pick.bandwidth
        rows = (np.arange(self.n_chains) + self.numbers.random()) / self.n_chains * len(self.states)
        rows = rows.astype(int)  # of the crowd, in which relatives stand side by side
        self.states = [self.states[i] for i in rows] + [list(self.pick.ids) for _ in rows]
        self.d = np.concatenate([self.d[rows], np.zeros(self.n_chains)])
        self.log_p = np.concatenate([self.log_p[rows], np.full(self.n_chains, self.picked_log_p)])
        began = self.share()
        # not looked at: these begin where they were put
        while self.share() < began + _WARM * (1 - began) and self.has_time():
            self.move("walking")
        self.law = self._law()  # which may not depend on where the chains are from here on
        while (goes_on := self.has_time()) or not self.records:
            if goes_on:
                self.move("walking")
            self.records.append([list(x) for x in self.states])
            self.values.append(self._quantities())
            if len(self.records) % _LOOK == 0:
                mixed = Mixing.of(np.stack(self.values, 1), self.n_chains)
                if mixed.have_met and mixed.ess >= self.n:
                    return

    def _law(self) -> dict[str, float]:
        """How often each kind of move is made: in proportion to how often it succeeds, and at least now and then."""
        rate = {kind: (self.accepted[kind] + _GUESS) / (self.tried[kind] + 10 * _GUESS) for kind in self.moves.kinds}
        total = sum(rate.values())
        return {kind: max(_FLOOR, value / total) for kind, value in rate.items()}

    def move(self, message: str) -> None:
        """One context for each chain, with :attr:`tries` candidates in turn (draws of P(X): one)."""
        law, began = self.law or self._law(), self.time_share()
        kind = self.moves.rng.choices(list(law), list(law.values()))[0]
        tries = 1 if kind == "jump" else self.tries
        before = self.moves.passes
        found = self.moves.kinds[kind](self.states, tries)
        flat = [(c, m) for c, row in enumerate(found.ids) for m, x in enumerate(row) if x]
        inputs = [found.ids[c][m] for c, m in flat]
        d, log_p, run = self._measured(inputs, [c for c, _ in flat])
        log_k, own_k = self.log_k(d, self.bandwidth), self.log_k(self.d, self.bandwidth)
        marks = np.log(self.numbers.random(len(flat)))
        own_q, moved = found.own.copy(), 0
        for i, (c, m) in enumerate(flat):
            gain = log_k[i] - own_k[c] if log_k[i] > -math.inf else -math.inf
            if not found.are_draws:
                gain += log_p[i] - self.log_p[c] + own_q[c] - found.log_q[c, m] if log_p[i] > -math.inf else -math.inf
            if marks[i] < gain:
                moved += inputs[i] != self.states[c]
                self.states[c], self.d[c], self.log_p[c] = inputs[i], d[i], log_p[i]
                own_k[c], own_q[c] = log_k[i], found.log_q[c, m]
        self.accepted[kind] += moved
        self.tried[kind] += len(self.states) * tries
        self.count(run + self.moves.passes - before, message)
        self._slow = max(self.time_share() - began, _FORGET * self._slow)

    def _measured(self, inputs: list[list[int]], chains: list[int]) -> tuple[np.ndarray, np.ndarray, int]:
        """Distances and log P of candidates, and how many were run: none that P(X) cannot make, or that are there."""
        d, log_p = self.d[chains], self.log_p[chains]
        new = [i for i, (x, c) in enumerate(zip(inputs, chains, strict=True)) if x != self.states[c]]
        if new and self.scored:
            log_p[new] = self.pick.prompts.log_probs([inputs[i] for i in new], self.pick.lm)
        d[new] = np.inf
        able = [i for i in new if np.isfinite(log_p[i]) and len(inputs[i]) <= self.pick.lm.n_ctx]
        if able:
            z = self.pick.lm.activations([inputs[i] for i in able], [self.pick.site], cancel=self.cancel)
            d[able] = self.distances(z[self.pick.site.name])
        return d, log_p, len(able)

    def _quantities(self) -> Float[np.ndarray, "c quantity"]:
        """What the chains must agree on: distance, log P, length, and where they hold the pick's tokens."""
        ids, log_p = self.pick.ids, np.maximum(self.log_p, _IMPOSSIBLE)
        columns = [self.d, log_p, np.array([float(len(x)) for x in self.states])]
        first = self.moves.first
        for i in range(min(_PLACES, len(ids) - first)):
            columns.append(np.array([float(len(x) > i and x[-1 - i] == ids[-1 - i]) for x in self.states]))
            columns.append(
                np.array([float(len(x) > first + i and x[first + i] == ids[first + i]) for x in self.states])
            )
        return np.stack(columns, 1)
