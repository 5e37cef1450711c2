"""How near all beginnings of a bank's texts lie to one picked activation.

A text that P(X) cuts evenly is worth the mean kernel of its beginnings, w = 1/length * (sum over them of k(d)). Texts
are drawn independently, so these are importance weights as any others (of texts, not of beginnings: those of one text
are alike), their mean is Z = E over P(X) of the kernel, and a text drawn by its weight, cut at a token drawn by k(d),
is a draw from the posterior. (The cut is summed over instead of drawn, as Rao and Blackwell would have it.)
Axis names: n (texts), tokens (beginnings of all of them, one after the other).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .._statistics import effective_sample_size, pareto_khat
from ..errors import NotFinite

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from ..kernels import SiteStatistics
    from .searched import Pick
    from .text_bank import TextBank


class Beginnings:
    """The parts of a bank that one pick has looked at, and how near each of their beginnings lies.

    Args:
        pick: the activation, and its bandwidth.
        units: what distances are measured in.
        bank: the texts.
    """

    def __init__(self, pick: Pick, units: SiteStatistics, bank: TextBank) -> None:
        self.pick, self.units, self.bank = pick, units, bank
        self.n_parts = 0
        """Parts of the bank that were looked at, from its first on."""
        self._d: list[Float[np.ndarray, " tokens"]] = []
        self._log_w: list[Float[np.ndarray, " n"]] = []

    def __len__(self) -> int:
        return sum(map(len, self._log_w))

    @property
    def is_free(self) -> bool:
        """Whether the next part was read before."""
        return self.n_parts < len(self.bank.parts) and self.bank.has(self.pick.site, self.n_parts)

    def look(self, z: Float[Tensor, "tokens d"]) -> None:
        """Takes in the next part of the bank, given its activations."""
        part = self.bank.parts[self.n_parts]
        d = self.units.distance(z.float(), self.pick.z_hat).double().numpy()  # as the pick's own: in float32
        if not np.isfinite(d).all():
            raise NotFinite(f"a distance at {self.pick.site} is NaN or infinite", hint="look at the statistics given")
        with np.errstate(invalid="ignore"):  # of a ball that holds nothing
            log_w = np.logaddexp.reduceat(self._log_k(d), part.starts.numpy()) - np.log(part.beginnings.numpy())
        self._d.append(d)
        self._log_w.append(log_w)
        self.n_parts += 1

    def _log_k(self, d: Float[np.ndarray, " tokens"]) -> Float[np.ndarray, " tokens"]:
        return np.asarray(self.units.kernel.log(d, self.pick.bandwidth))

    @property
    def log_w(self) -> Float[np.ndarray, " n"]:
        """log of the texts' weights."""
        return np.concatenate([*self._log_w, np.zeros(0)])

    @property
    def weights(self) -> Float[np.ndarray, " n"]:
        """Of the texts, in units of the largest; all 0 where a ball holds none of them."""
        log_w = self.log_w
        top = log_w.max(initial=-math.inf)
        return np.exp(log_w - top) if math.isfinite(top) else np.zeros(len(log_w))

    @property
    def ess(self) -> float:
        """Effective number of the texts."""
        weights = self.weights
        return float(effective_sample_size(weights)) if weights.any() else 0.0

    @property
    def khat(self) -> float:
        """Tail index of their weights."""
        return float(pareto_khat(self.log_w))

    @property
    def log_z(self) -> tuple[float, float]:
        """log of the mean kernel over P(X), nats, and its standard error."""
        weights = self.weights
        mean = float(weights.mean())
        return float(self.log_w.max()) + math.log(mean), float(weights.std()) / mean / math.sqrt(len(weights))

    def sample(self, n: int, numbers: np.random.Generator) -> tuple[list[list[int]], Float[np.ndarray, " k"]]:
        """At most `n` of the texts, each cut once by the kernel, with weights that sum to 1.

        So these inputs are as independent as their weights say: two beginnings of one text would not be.
        """
        chosen, weights = thinned(self.weights, n, numbers)
        ends, inputs = np.cumsum([len(log_w) for log_w in self._log_w]), []
        for text in chosen:
            at = int(np.searchsorted(ends, text, side="right"))
            part, i = self.bank.parts[at], int(text - (ends[at] - len(self._log_w[at])))
            start = int(part.starts[i])
            log_k = self._log_k(self._d[at][start : start + int(part.beginnings[i])])
            share = np.exp(log_k - log_k.max())
            inputs.append(part.input(i, int(numbers.choice(len(share), p=share / share.sum()))))
        return inputs, weights


def thinned(
    weights: Float[np.ndarray, " m"], n: int, numbers: np.random.Generator
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """At most `n` of many, each once, with new weights whose expectations are the old ones, and which sum to 1.

    What weighs more than a threshold stays as it is; of all else some stay, with that weight each (Fearnhead and
    Clifford 2003, J. R. Stat. Soc. B 65, section 3: no such thinning changes weights by less, in mean square).

    >>> rows, weights = thinned(np.array([5.0, 1, 0, 1, 1, 1, 1]), 3, np.random.default_rng(0))
    >>> len(rows), weights.tolist()
    (3, [0.5, 0.25, 0.25])
    """
    weights = weights / weights.sum()
    rows = np.flatnonzero(weights)
    if len(rows) <= n:
        return rows, weights[rows]
    rows = rows[np.argsort(-weights[rows], kind="stable")]
    kept = np.arange(n)  # how many stay as they are, if the others share what is left among n - kept places
    left = np.cumsum(weights[rows][::-1])[::-1][:n]
    is_small = weights[rows[:n]] < left / (n - kept)
    first = int(np.argmax(is_small)) if is_small.any() else n - 1
    small = rows[first:]
    marks = (np.arange(n - first) + numbers.random()) / (n - first) * left[first]
    some = np.minimum(np.searchsorted(np.cumsum(weights[small]), marks, side="right"), len(small) - 1)
    new = np.concatenate([weights[rows[:first]], np.full(n - first, left[first] / (n - first))])
    return np.concatenate([rows[:first], small[some]]), new / new.sum()
