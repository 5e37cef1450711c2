"""Chains that walk through the posterior: from the prompt distribution, and from the picked input.

What :mod:`.metropolis` does, step by step. Axis names: c (chains), m (candidates of each), r (states of each).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .._statistics import effective_sample_size
from ..cuts import n_bos
from ._mixing import Mixing
from ._moves import ASKING, SPANS, Moves
from ._supply import FEWEST, Supply

if TYPE_CHECKING:
    from jaxtyping import Float

CHAINS = 32
"""Half of them from P(X), half from the picked input."""
CROWD = 256
"""Chains, at most, on the way to the bandwidth: what the bits are counted from, so as many as there is time for."""
TRIES = 4
"""Candidates of one context in one batch; one, where there is little time."""
_LEFT = 0.6  # of the chains that a narrower kernel leaves, in effective numbers
_ROUNDS = 40  # of moves that a run should have time for, at least
_STEPS = 2  # moves between two narrower kernels
_NARROWING = 0.5  # of the budget, at most, is spent on the way to the bandwidth
_CROWDED, _WAY = 0.125, 24  # of it is what a way of so many moves should take
_WARM = 0.25  # of the time at the bandwidth, at the beginning of it, in which no states are kept
_FEW = 4  # inputs, at least, that can say how long one takes
_FORGET = 0.8  # of the slowest of each kind of work counts on, after each that was faster
_POOL = 0.25  # of the time that is left, at most, is spent on writing beginnings for one kind of move
_GUESS = 10  # candidates, a tenth of them accepted, that each kind of move begins with
_FLOOR = 0.05  # of the moves, at least, are of each kind
_LOOK = 16  # rounds between two looks at how well the chains mix
_PLACES = 8  # from either end, at which chains are asked whether they hold the pick's token
_IMPOSSIBLE = -1e4  # stands for log P of what P(X) cannot make, where numbers are averaged


class Work:
    """What the parts of a move take for one chain, in shares of the time: the slowest so far, fading.

    Args:
        run: a candidate that is scored by P(X) and run up to the site.
        asked: a prefix behind which the model is asked for the next token.
    """

    def __init__(self, run: float, asked: float) -> None:
        self.run, self.asked = run, asked
        self.drawn: dict[str, float] = {}
        """Kind of move that does not ask -> drawing its candidates."""

    def of(self, kind: str, tries: int, span: int = 1) -> float:
        """A move of one chain, of so many tokens that follow each other."""
        prefixes = 1 + (span - 1) * (1 + tries) if kind in ASKING else 0
        return prefixes * self.asked + tries * self.run + self.drawn.get(kind, 0.0)

    def learn(self, kind: str, chains: int, asked: int, drawing: float, run: int, running: float) -> None:
        """Takes a move in: how many prefixes and candidates were run, and how long that took; of few it says little."""
        if kind not in ASKING:
            self.drawn[kind] = max(drawing / chains, _FORGET * self.drawn.get(kind, 0.0))
        elif asked >= _FEW:
            self.asked = max(drawing / asked, _FORGET * self.asked)
        if run >= _FEW:
            self.run = max(running / run, _FORGET * self.run)


class Walk:
    """Two sets of chains, from what there is of P(X)."""

    def __init__(self, supply: Supply) -> None:
        self.supply, self.pick, self.budget, self.units = supply, supply.pick, supply.budget, supply.units
        self.numbers, self.scored = supply.numbers, supply.scored
        self.records: list[list[list[int]]] = []
        self.values: list[np.ndarray] = []
        self.reached = math.inf
        self.law: dict[str, float] = {}

    def _fits(self, kind: str, span: int = 1) -> bool:
        """Whether there is time for a move of all chains."""
        n, text_share = len(self.states), self.supply.text_share
        takes = n * self.work.of(kind, self._tries(kind), span)
        if kind == "jump" and text_share:
            takes = n * self.work.run + self.moves.to_write(n) * text_share
        return self.budget.ahead(takes) < 1

    def _tries(self, kind: str) -> int:
        return 1 if kind == "jump" else self.tries

    def log_k(self, d: np.ndarray, bandwidth: float) -> np.ndarray:
        """log of the kernel; flat for an infinite bandwidth."""
        return np.zeros(len(d)) if math.isinf(bandwidth) else np.asarray(self.units.kernel.log(d, bandwidth))

    def start(self) -> None:
        """The first chains: as many as there is time to move often, drawn from the bank."""
        supply, pick, budget = self.supply, self.pick, self.budget
        supply.take_in_texts()
        self.d_bank = supply.distances(supply.z)
        pool = len(supply.inputs)
        if supply.text_share:
            pool = min(pool, max(0, int(_POOL * (1 - budget.share()) / supply.text_share)))
        self.moves = Moves(
            pick.lm, pick.prompts, supply.inputs, pool=pool, scored=self.scored, first=n_bos(pick.lm), seed=supply.seed
        )
        self.tried, self.accepted = dict.fromkeys(self.moves.kinds, 0), dict.fromkeys(self.moves.kinds, 0)
        self.work = self._timed()
        left, asks = max(0.0, 1 - budget.share()), "tokens" if self.scored else "jump"
        # moves of one chain that there is time for, with so many candidates
        several, moves = (left / max(self.work.of(asks, m), (m + 1) / budget.passes) for m in (TRIES, 1))
        self.tries = TRIES if several > _ROUNDS * FEWEST else 1
        moves = several if self.tries > 1 else moves
        self.n_chains = int(min(CHAINS, max(FEWEST, moves / _ROUNDS)) // 2)
        self.n_crowd = int(max(self.n_chains, min(CROWD, _CROWDED * moves / _WAY)))
        self.log_z = self.log_z_variance = 0.0
        self.states = [list(x) for x in supply.inputs]
        self.d = self.d_bank.copy()
        self.log_p = np.zeros(len(self.states))
        self.bandwidth = math.inf
        self._next_bandwidth(min(_LEFT, self.n_crowd / _LEFT / len(self.states)))
        if self.scored:
            self.log_p = np.array(pick.prompts.log_probs(self.states, pick.lm))

    def _timed(self) -> Work:
        """What inputs take that are scored and run up to the site, and a few that are run whole."""
        supply, pick, budget, clock = self.supply, self.pick, self.budget, self.budget.time_share
        some, asked, began = supply.inputs[:FEWEST], 0.0, clock()
        if self.scored:
            pick.prompts.log_probs(some, pick.lm)
        if supply.texts is not None:  # of these it is not known what one of their beginnings takes
            pick.lm.activations(some, [pick.site], cancel=budget.cancel)
            budget.count(len(some), "running a bank")
        run = (clock() - began) / len(some) + (supply.pass_share if supply.texts is None else 0.0)
        if self.scored:
            self.moves.next_token(some[:1])  # the first takes longer
            began = clock()
            self.moves.next_token(some[:_FEW])
            asked = (clock() - began) / len(some[:_FEW])
            budget.count(self.moves.passes, "running a bank")
        return Work(run, asked)

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
        while self.bandwidth > self.pick.bandwidth and self.budget.share() < _NARROWING:
            if not all(self.move("narrowing") for _ in range(_STEPS)):
                break
            self._next_bandwidth(_LEFT)
        self.reached = self.bandwidth

    def stay(self) -> None:
        """All chains at the bandwidth itself, from here and from the picked input, until they are worth `n` draws
        or the budget is spent."""
        self.bandwidth = self.pick.bandwidth
        rows = (np.arange(self.n_chains) + self.numbers.random()) / self.n_chains * len(self.states)
        rows = rows.astype(int)  # of the crowd, in which relatives stand side by side
        self.states = [self.states[i] for i in rows] + [list(self.pick.ids) for _ in rows]
        self.d = np.concatenate([self.d[rows], np.zeros(self.n_chains)])
        self.log_p = np.concatenate([self.log_p[rows], np.full(self.n_chains, self.supply.picked_log_p)])
        began = self.budget.share()
        # not looked at: these begin where they were put
        while self.budget.share() < began + _WARM * (1 - began) and self.move("walking"):
            pass
        self.law = self._law()  # how often each kind succeeds says where the chains are: not from here on
        while self.move("walking") or not self.records:
            self.records.append([list(x) for x in self.states])
            self.values.append(self._quantities())
            if len(self.records) % _LOOK == 0:
                mixed = Mixing.of(np.stack(self.values, 1), self.n_chains)
                if mixed.have_met and mixed.ess >= self.supply.n:
                    return

    def _law(self) -> dict[str, float]:
        """How often each kind of move is made: in proportion to how often it succeeds, and at least now and then."""
        rate = {kind: (self.accepted[kind] + _GUESS) / (self.tried[kind] + 10 * _GUESS) for kind in self.moves.kinds}
        total = sum(rate.values())
        return {kind: max(_FLOOR, value / total) for kind, value in rate.items()}

    def move(self, message: str) -> bool:
        """One context for each chain, with :attr:`tries` candidates in turn (draws of P(X): one).

        Of a kind that there is time for, whatever the states are; nothing, and False, where there is none.
        """
        law, clock = self.law or self._law(), self.budget.time_share
        law = {kind: often for kind, often in law.items() if self._fits(kind)}
        if not law:
            return False
        kind = self.moves.rng.choices(list(law), list(law.values()))[0]
        tries = self._tries(kind)
        self.moves.longest_span = max(span for span in SPANS if span == 1 or self._fits(kind, span))
        before, began = self.moves.passes, clock()
        found = self.moves.kinds[kind](self.states, tries)
        asked, drawing = self.moves.passes - before, clock() - began
        flat = [(c, m) for c, row in enumerate(found.ids) for m, x in enumerate(row) if x]
        inputs = [found.ids[c][m] for c, m in flat]
        began = clock()
        d, log_p, run = self._measured(inputs, [c for c, _ in flat])
        self.work.learn(kind, len(self.states), asked, drawing, run, clock() - began)
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
        self.budget.count(run + asked, message)
        return True

    def _measured(self, inputs: list[list[int]], chains: list[int]) -> tuple[np.ndarray, np.ndarray, int]:
        """Distances and log P of candidates, and how many were run: none that P(X) cannot make, or that are there."""
        d, log_p = self.d[chains], self.log_p[chains]
        new = [i for i, (x, c) in enumerate(zip(inputs, chains, strict=True)) if x != self.states[c]]
        if new and self.scored:
            log_p[new] = self.pick.prompts.log_probs([inputs[i] for i in new], self.pick.lm)
        d[new] = np.inf
        able = [i for i in new if np.isfinite(log_p[i]) and len(inputs[i]) <= self.pick.lm.n_ctx]
        if able:
            z = self.pick.lm.activations([inputs[i] for i in able], [self.pick.site], cancel=self.budget.cancel)
            d[able] = self.supply.distances(z[self.pick.site.name])
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
