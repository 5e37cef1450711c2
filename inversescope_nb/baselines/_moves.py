"""Moves of a walk through inputs: what may be tried next, and how likely it was to be tried.

Each kind of move fixes a context (which tokens stay), then draws candidates for the rest that do not depend on what
stands there now. So the probability of proposing one input from another is that of drawing its part, and many
candidates of one context can be run in one batch and then be accepted or not one after the other.

Kinds, each for all chains at once: `tokens` (one to three that follow each other, drawn from the model's own
next-token distribution, one after the other), `value` (all places that hold one token get another, drawn likewise where
it first stands), `seen` (one to three anywhere, from the tokens that inputs of P(X) have at these places) and
`seen value`, `beginning` (another draw of P(X) in front of the last tokens) and `jump` (another draw altogether).
Axis names: c (chains), m (candidates of each).
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._draws import draw_tokens, refuse_nan
from .._forward import forward_inputs, logits_behind
from ..hooks import evaluation_mode

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..models import LanguageModel
    from ..prompts import PromptDistribution

LATE = 8
"""Half of the moves of tokens are among so many last ones: they are what an activation holds most of."""
ASKING = ("tokens", "value")
"""Kinds of moves that ask the model what it would write."""
SPANS = (1, 1, 2, 3)
"""Tokens that are changed together, as often as they stand here."""
_FIRST_PIECE, _PIECE = 16, 256  # inputs drawn from P(X) at a time: at first, and at most
_ROWS = 256  # prefixes in one batch


@dataclass(frozen=True)
class Candidates:
    """What chains may move to, given what stays."""

    ids: list[list[list[int] | None]]
    """[c][m] token ids; None where nothing can be tried."""
    log_q: Float[np.ndarray, "c m"]
    """log probability of drawing each, given what stays."""
    own: Float[np.ndarray, " c"]
    """The same of what stands there now."""
    are_draws: bool = False
    """Whether they are draws of P(X) itself: then log P and log q cancel, and need not be known."""

    @classmethod
    def empty(cls, n_chains: int, tries: int, *, are_draws: bool = False) -> Candidates:
        """Nothing to try."""
        none: list[list[list[int] | None]] = [[None] * tries for _ in range(n_chains)]
        return cls(none, np.zeros((n_chains, tries)), np.zeros(n_chains), are_draws)


class Moves:
    """All kinds of moves for one P(X).

    Args:
        lm: the model whose next-token distribution proposes.
        prompts: P(X).
        bank: draws of it, from which the tokens that it has at each place are counted.
        pool: further draws, whose beginnings are proposed.
        scored: whether P(X) can say how likely an input is; without that only `jump` is known to be fair.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        lm: LanguageModel,
        prompts: PromptDistribution,
        bank: Sequence[Sequence[int]],
        *,
        pool: int,
        scored: bool,
        first: int,
        seed: int,
    ) -> None:
        self.lm, self.prompts, self.first = lm, prompts, first
        self.rng = random.Random(seed)
        self._torch = torch.Generator(lm.device).manual_seed(self.rng.getrandbits(62))
        self._fresh: list[list[int]] = []
        self._piece = _FIRST_PIECE
        self._unused: dict[int, dict[tuple[int, ...], list[list[int]]]] = {1: {}, 2: {}}
        """By their last one or two tokens: draws of P(X) that nothing has looked at yet, each for one use."""
        self.longest = max(map(len, bank))
        self.longest_span = max(SPANS)
        """Tokens that :meth:`tokens` writes one after the other, at most: fewer where time is short."""
        self.passes = 0
        """Prefixes that were run to know what the model would write behind them."""
        self._seen: dict[tuple[int, int], Counter[int]] = {}
        for x in bank:
            for i in range(first, len(x)):
                self._seen.setdefault((len(x), i), Counter())[x[i]] += 1
        self._free: dict[int, list[int]] = {}
        """Length -> the places at which inputs of that length differ."""
        for (length, i), counts in self._seen.items():
            if len(counts) > 1:
                self._free.setdefault(length, []).append(i)
        self.kinds = {"jump": self.jump}
        if scored:
            self.kinds |= {
                "tokens": self.tokens, "value": self.value, "seen": self.seen, "seen value": self.seen_value,
            }  # fmt: skip
            if pool and "random" in prompts.cut:  # else nothing but whole inputs are inputs
                self.kinds["beginning"] = self.beginning
                for i, x in enumerate(prompts.draw(pool, lm, seed=self.rng.randrange(2**31))):
                    joint = 1 + i % 2
                    if len(x) >= first + joint:
                        self._unused[joint].setdefault(tuple(x[-joint:]), []).append(x)

    # -- the kinds ------------------------------------------------------------------------------

    def tokens(self, states: Sequence[list[int]], tries: int) -> Candidates:
        """One to three tokens that follow each other, as the model itself would write them there."""
        span = self.rng.choice([span for span in SPANS if span <= self.longest_span])
        found = Candidates.empty(len(states), tries)
        able = [c for c, x in enumerate(states) if len(x) - self.first >= span]
        places = {c: self._place(states[c], span) for c in able}
        able = [c for c in able if places[c] > 0]  # nothing stands in front of the first: no model to ask
        if not able:
            return found
        written = [states[c][: places[c]] for c in able for _ in range(tries)]
        current = [states[c][: places[c]] for c in able]
        log_q, own = np.zeros(len(written)), np.zeros(len(able))
        for step in range(span):
            log_p = self.next_token(current if step == 0 else current + written)
            now, rows = log_p[: len(able)], log_p[len(able) :]
            if step == 0:
                rows = now.repeat_interleave(tries, 0)
            drawn = draw_tokens(rows.exp(), self._torch)[:, 0]
            log_q += rows.gather(1, drawn[:, None])[:, 0].double().cpu().numpy()
            there = torch.tensor([states[c][places[c] + step] for c in able], device=now.device)
            own += now.gather(1, there[:, None])[:, 0].double().cpu().numpy()
            written = [[*x, int(token)] for x, token in zip(written, drawn.tolist(), strict=True)]
            current = [states[c][: places[c] + step + 1] for c in able]
        for i, c in enumerate(able):
            rest = states[c][places[c] + span :]
            found.ids[c] = [[*x, *rest] for x in written[i * tries : (i + 1) * tries]]
            found.log_q[c] = log_q[i * tries : (i + 1) * tries]
            found.own[c] = own[i]
        return found

    def value(self, states: Sequence[list[int]], tries: int) -> Candidates:
        """All places that hold one token get another, as the model would write it at the first of them."""
        where = [self._places_of_a_value(x) for x in states]
        able = [c for c, places in enumerate(where) if places and places[0] > 0]
        found = Candidates.empty(len(states), tries)
        if not able:
            return found
        log_p = self.next_token([states[c][: where[c][0]] for c in able])
        drawn = draw_tokens(log_p.repeat_interleave(tries, 0).exp(), self._torch).view(len(able), tries)
        log_p, drawn = log_p.double().cpu(), drawn.cpu()
        for i, c in enumerate(able):
            found.own[c] = float(log_p[i, states[c][where[c][0]]])
            found.log_q[c] = log_p[i, drawn[i]].numpy()
            found.ids[c] = self._with_value(states[c], where[c], drawn[i].tolist())
        return found

    def seen(self, states: Sequence[list[int]], tries: int) -> Candidates:
        """One to three tokens anywhere get others, of those that inputs of P(X) of this length have there."""
        found, span = Candidates.empty(len(states), tries), self.rng.choice(SPANS)
        for c, x in enumerate(states):
            free = self._free.get(len(x), ())
            places = self.rng.sample(free, min(span, len(free)))
            if not places or any(x[i] not in self._seen[len(x), i] for i in places):
                continue
            found.ids[c] = [list(x) for _ in range(tries)]
            for i in places:
                drawn, found.log_q[c], found.own[c] = self._counted(x, i, tries, found.log_q[c], found.own[c])
                for new, token in zip(found.ids[c], drawn, strict=True):
                    new[i] = token
        return found

    def seen_value(self, states: Sequence[list[int]], tries: int) -> Candidates:
        """All places that hold one token get another, of those that inputs of P(X) have at the first of them."""
        found = Candidates.empty(len(states), tries)
        for c, x in enumerate(states):
            places = self._places_of_a_value(x)
            if not places or x[places[0]] not in self._seen.get((len(x), places[0]), ()):
                continue
            drawn, found.log_q[c], found.own[c] = self._counted(x, places[0], tries, found.log_q[c], found.own[c])
            found.ids[c] = self._with_value(x, places, drawn)
        return found

    def beginning(self, states: Sequence[list[int]], tries: int) -> Candidates:
        """Another draw of P(X) in front of the last tokens, one that ends with the same one or two tokens as what
        stands there now; how many stay does not depend on the input. Given its end, its probability is P's own."""
        kept, joint = self._kept(), self.rng.choice((1, 2))
        found = Candidates.empty(len(states), tries)
        fronts: list[tuple[int, int, list[int]]] = []
        for c, x in enumerate(states):
            if len(x) - kept < self.first + joint:
                continue
            same = self._unused[joint].get(tuple(x[-kept - joint : -kept]), [])
            fronts += [(c, m, same.pop()) for m in range(min(tries, len(same)))]
        known = self.prompts.log_probs([y for _, _, y in fronts] + [x[:-kept] for x in states], self.lm)
        for (c, m, y), log_p in zip(fronts, known, strict=False):
            found.own[c] = known[len(fronts) + c]
            if math.isfinite(found.own[c]):  # else there is no way back: what stands there is no input by itself
                found.log_q[c, m] = log_p
                found.ids[c][m] = [*y, *states[c][-kept:]]
        return found

    def jump(self, states: Sequence[list[int]], tries: int) -> Candidates:
        """Another draw of P(X): its probability is the one that it has in the posterior too, and cancels."""
        found = Candidates.empty(len(states), tries, are_draws=True)
        for c in range(len(states)):
            found.ids[c] = [self._draw() for _ in range(tries)]
        return found

    def to_write(self, n: int) -> int:
        """Draws of P(X) that are to be made before there are `n` for a :meth:`jump`."""
        piece, found = self._piece, 0
        while len(self._fresh) + found < n:
            found += piece
            piece = min(_PIECE, 2 * piece)
        return found

    # -- parts ----------------------------------------------------------------------------------

    def _draw(self) -> list[int]:
        """A draw of P(X) that nothing has looked at yet."""
        if not self._fresh:
            self._fresh = self.prompts.draw(self._piece, self.lm, seed=self.rng.randrange(2**31))[::-1]
            self._piece = min(_PIECE, 2 * self._piece)
        return self._fresh.pop()

    def _place(self, x: Sequence[int], span: int) -> int:
        """Where `span` tokens begin: anywhere behind BOS, or among the last."""
        low, high = self.first, len(x) - span
        if self.rng.random() < 0.5:
            low = max(low, len(x) - LATE)
        return self.rng.randint(min(low, high), high)

    def _places_of_a_value(self, x: Sequence[int]) -> list[int]:
        """All places behind BOS that hold the token of one of them."""
        if len(x) <= self.first:
            return []
        token = x[self.rng.randrange(self.first, len(x))]
        return [i for i in range(self.first, len(x)) if x[i] == token]

    def _kept(self) -> int:
        """How many last tokens stay: few more often than many."""
        return min(self.longest, int(math.exp(self.rng.random() * math.log(self.longest + 1))))

    def _counted(
        self, x: Sequence[int], place: int, tries: int, log_q: Float[np.ndarray, " m"], own: float
    ) -> tuple[list[int], Float[np.ndarray, " m"], float]:
        """Tokens that were seen at one place, with their log probability added, and with that of what stands there."""
        counts = self._seen[len(x), place]
        total = math.log(counts.total())
        drawn = self.rng.choices(list(counts), list(counts.values()), k=tries)
        return drawn, log_q + [math.log(counts[t]) - total for t in drawn], own + math.log(counts[x[place]]) - total

    def _with_value(self, x: Sequence[int], places: Sequence[int], tokens: Sequence[int]) -> list[list[int] | None]:
        """`x` with another token at all places of one; None where it stands elsewhere too: there is no way back."""
        others = {x[i] for i in range(self.first, len(x)) if i not in places}
        out: list[list[int] | None] = []
        for token in tokens:
            new = list(x)
            for i in places:
                new[i] = token
            out.append(None if token in others else new)
        return out

    def next_token(self, prefixes: Sequence[list[int]]) -> Float[Tensor, "n vocab"]:
        """log probabilities of the token behind each prefix, on the model's device."""
        parts = []
        for at in range(0, len(prefixes), _ROWS):
            batch = self.lm.encode(prefixes[at : at + _ROWS])
            ids, lengths = batch.token_ids.to(self.lm.device), batch.lengths.to(self.lm.device)
            with self.lm.lock, evaluation_mode(self.lm.model), torch.inference_mode():
                logits = logits_behind(self.lm, forward_inputs(self.lm, ids, lengths), lengths - 1)
            parts.append(logits.float().log_softmax(-1))
        self.passes += len(prefixes)
        log_p = torch.cat(parts)
        refuse_nan(log_p[:, 0].isnan().any())
        return log_p
