"""The gap of a generator that covers more than the inputs S that are listed.

    KL(P_S(. | z) || q(. | z, S)) = E over P_S(x | z) of [log P_S(x | z) - log q(x | z)] + log q(S | z)

P_S is the exact posterior on S; inputs are drawn from it and scored. q(S | z), the probability that the generator
writes an input of S, is found from samples of q that may only take tokens which lead to one: the mean of the product,
over their tokens, of the probability of what was allowed. (Its mean is q(S | z), and it varies far less than whether a
free sample falls into S.)

Axis names: m (picked inputs), n (inputs of S), d (site width), r (draws of each), k (beginnings of inputs).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from inversescope_nb.exact import ActivationTable
from inversescope_nb.generator import Condition, Generator

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

_HELD = 1 << 24  # distances in memory at a time: an eighth of a gigabyte
_ROWS = 65_536  # rows whose distances are computed at a time


class Beginnings:
    """Every beginning of the rows that a generator writes for the inputs of S, and what may follow each."""

    def __init__(self, inputs: Sequence[Sequence[int]], generator: Generator) -> None:
        front, end = [] if generator.config.has_bos else [generator.config.start_id], generator.config.end_id
        self.depth = len(front) + max(map(len, inputs)) + 1
        rows = np.full((len(inputs), self.depth), -1, dtype=np.int32)
        for row, ids in zip(rows, inputs, strict=True):
            written = [*front, *ids, end]
            row[: len(written)] = written
        rows = rows[np.lexsort(rows.T[::-1])]
        self.tokens: list[Int[np.ndarray, " k"]] = []
        """Last token of every beginning of t + 1 tokens, for each t; the beginnings in the order of the rows."""
        self.children: list[tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]] = []
        """Which beginnings of t + 2 tokens go on from each: from the first number to before the second."""
        new, bounds = np.zeros(len(rows), dtype=bool), []
        new[0] = True
        for t in range(self.depth):
            new[1:] |= rows[1:, t] != rows[:-1, t]
            first = np.flatnonzero(new)
            last, real = np.append(first[1:], len(rows)), rows[first, t] >= 0
            bounds.append((first[real], last[real]))
            self.tokens.append(rows[first[real], t])
        for (first, last), (below, _) in itertools.pairwise(bounds):
            self.children.append((np.searchsorted(below, first), np.searchsorted(below, last)))
        if len(self.tokens[0]) != 1:
            raise ValueError("the inputs do not all begin with the token that the generator's rows begin with")

    def following(self, t: int, at: Int[np.ndarray, " m"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Everything that may follow some beginnings of t + 1 tokens: (row of `at`, token, its own beginning)."""
        low, high = (bound[at] for bound in self.children[t])
        counts = high - low
        row = np.repeat(np.arange(len(at)), counts)
        child = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts - low, counts)
        return row, self.tokens[t + 1][child], child


@torch.inference_mode()
def log_mass(
    generator: Generator, condition: Condition, allowed: Beginnings, n: int, *, seed: int
) -> Float[np.ndarray, "m r"]:
    """`n` draws for each row of the condition: log of a number whose mean is q(S | z)."""
    rng, backbone = torch.Generator().manual_seed(seed), generator.backbone
    m = len(condition)
    ids = torch.full((m * n, 1), int(allowed.tokens[0][0]), device=generator.device)
    at, going, total = np.zeros(m * n, dtype=np.int64), np.arange(m * n), np.zeros(m * n)
    cache = None
    with generator.controlled(condition.repeat(n) if m > 1 else condition.rows(slice(0, 1), n)):
        for t in range(allowed.depth - 1):
            out = backbone(input_ids=ids, past_key_values=cache, use_cache=True)
            log_q, cache = out.logits[:, -1].float().log_softmax(-1).cpu(), out.past_key_values
            row, token, child = allowed.following(t, at[going])
            kept = torch.full((len(going), log_q.shape[1]), -math.inf)
            kept[row, token] = log_q[going[row], token]
            total[going] += kept.logsumexp(-1).double().numpy()
            drawn = torch.multinomial(kept.softmax(-1), 1, generator=rng)[:, 0].numpy()
            at[going] = child[token == drawn[row]]  # one a row, in the order of the rows
            ids[torch.from_numpy(going), 0] = torch.from_numpy(drawn).to(ids)
            going = going[drawn != generator.config.end_id]
    return total.reshape(m, n)


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Exact posteriors around some centres at one bandwidth, with draws from each."""

    rows: Int[np.ndarray, "m r"]
    """Drawn inputs, as rows of the table."""
    log_p: Float[np.ndarray, "m r"]
    """Their log posterior, nats."""
    own: Float[np.ndarray, " m"]
    """Log posterior of the input that each centre belongs to, nats."""
    entropy: Float[np.ndarray, " m"]
    """Nats."""


def posteriors(
    table: ActivationTable, picks: Int[np.ndarray, " m"], centres: Float[Tensor, "m d"],
    bandwidths: Sequence[float], draws: int, *, seed: int,
) -> dict[float, Posteriors]:  # fmt: skip
    """What `table.posteriors` gives of every centre, at several bandwidths, the distances computed once."""
    rng = torch.Generator().manual_seed(seed)
    found: dict[float, list[tuple[Tensor, ...]]] = {eps: [] for eps in bandwidths}
    log_prior = torch.from_numpy(table.log_prior)
    for own, d in zip(picks.tolist(), _distances(table, centres), strict=True):
        for eps in bandwidths:
            log_joint = table.statistics.kernel.log(d, eps).add_(log_prior).clamp_(min=-1e6)  # a ball's -inf too
            top = log_joint.max()
            p = (log_joint - top).exp_()
            total = p.sum()
            log_z = top + total.log()
            entropy = log_z - p @ log_joint / total
            wanted = torch.rand(draws, generator=rng, dtype=p.dtype) * total
            rows = torch.searchsorted(p.cumsum_(0), wanted).clamp(max=len(p) - 1)
            found[eps].append((rows, log_joint[rows] - log_z, log_joint[own] - log_z, entropy))
    joined = {eps: [torch.stack(part).numpy() for part in zip(*parts, strict=True)] for eps, parts in found.items()}
    return {eps: Posteriors(*parts) for eps, parts in joined.items()}


def _distances(table: ActivationTable, centres: Float[Tensor, "m d"]) -> Iterator[Float[Tensor, " n"]]:
    """d of all inputs from one centre after the other, in double precision; some centres' are computed together."""
    n, width = table.u.shape
    for some in centres.double().split(max(1, _HELD // n)):
        squares = torch.empty(len(some), n, dtype=torch.float64)
        for at in range(0, n, _ROWS):
            block = table.u[at : at + _ROWS].double()
            near = some.square().sum(1)[:, None] + block.square().sum(1)
            squares[:, at : at + len(block)] = torch.addmm(near, some, block.T, alpha=-2)
        yield from squares.clamp_(min=0).div_(width).sqrt_()


def channel_bits(
    table: ActivationTable, bandwidths: Sequence[float], *, draws: int, seed: int
) -> dict[float, tuple[float, float]]:
    """Exact channel bits on S and their standard errors, as `table.channel_bits`."""
    rows, found = table.draw(draws, seed=seed), {}
    for eps in bandwidths:
        noised = table.noised(rows, eps, seed=seed)
        posterior = posteriors(table, rows, noised, [eps], 1, seed=seed)[eps]
        bits = (posterior.own - table.log_prior[rows]) / math.log(2)
        found[eps] = float(bits.mean()), float(bits.std(ddof=1) / math.sqrt(draws))
    return found


@dataclass(frozen=True, eq=False)
class Gaps:
    """The gap at every pick, nats, and what it is made of."""

    gap: Float[np.ndarray, " m"]
    """KL(P_S || q(. | S)) at each pick."""
    log_inside: Float[np.ndarray, " m"]
    """log q(S | z) at each pick, of a mean of few draws, and so a little too low."""
    bias: Float[np.ndarray, " m"]
    """By how much, by the jackknife; below 0 where it is too low, and the gap with it."""
    ess_ratio: Float[np.ndarray, " m"]
    """ESS/n that samples of q inside S would have: 1 / E over P_S of P_S / q(. | S). From few draws too high."""


def gaps(
    generator: Generator, table: ActivationTable, centres: Float[Tensor, "m d"], bandwidth: float,
    exact: Posteriors, allowed: Beginnings, samples: int, *, seed: int,
) -> Gaps:  # fmt: skip
    """The gap at each pick, from `samples` samples in all for q(S | z)."""
    condition = generator.condition_on(table.site.name, centres, bandwidth)
    inputs = [table.inputs[i] for i in exact.rows.ravel()]
    scored = generator.log_probs(inputs, condition.repeat(exact.rows.shape[1]), batch_size=1024)
    log_q = np.array([float(x.sum()) for x in scored]).reshape(exact.rows.shape)
    each = math.ceil(samples / len(centres))
    mass = log_mass(generator, condition, allowed, each, seed=seed)
    log_inside, bias = log_mean(mass)
    log_ratio = exact.log_p - log_q + log_inside[:, None]
    ess = np.exp(math.log(log_ratio.shape[1]) - np.logaddexp.reduce(log_ratio, 1))
    return Gaps(log_ratio.mean(1), log_inside, bias, np.minimum(ess, 1.0))


def log_mean(logs: Float[np.ndarray, "m r"]) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """The log of the mean over r of what these are the logs of, and its bias by the jackknife; 0 of a single draw.

    >>> log, bias = log_mean(np.log([[1.0, 3.0]]))
    >>> np.exp(log).round(6).tolist(), (bias - (np.log(3) / 2 - np.log(2))).round(6).tolist()
    ([2.0], [0.0])
    """
    r = logs.shape[1]
    whole = np.logaddexp.reduce(logs, 1) - math.log(r)
    if r == 1:
        return whole, np.zeros(len(whole))
    others = [np.logaddexp.reduce(np.delete(logs, i, 1), 1) - math.log(r - 1) for i in range(r)]
    return whole, (r - 1) * (np.mean(others, 0) - whole)
