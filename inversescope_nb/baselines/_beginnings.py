"""How near all beginnings of a bank's texts lie to one picked activation.

A text that P(X) cuts evenly is worth the mean kernel of its beginnings, w = 1/length * (sum over them of k(d)). Texts
are drawn independently, so these are importance weights as any others (of texts, not of beginnings: those of one text
are alike), their mean is Z = E over P(X) of the kernel, and a text drawn by its weight, cut at a token drawn by k(d),
is a draw from the posterior. (The cut is summed over instead of drawn, as Rao and Blackwell would have it.)
Axis names: n (texts), tokens (beginnings of all of them, one after the other).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import NotFinite
from ._weighed import Shown, Weighed, thinned

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..kernels import SiteStatistics
    from .searched import Pick
    from .text_bank import TextBank


class Beginnings(Weighed):
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
    def is_kept(self) -> bool:
        """Whether all that was looked at is still there."""
        return all(self.bank.has(self.pick.site, part) for part in range(self.n_parts))

    def sample(self, n: int, numbers: np.random.Generator) -> Shown:
        """At most `n` of the texts, each cut once by the kernel.

        So these inputs are as independent as their weights say: two beginnings of one text would not be.
        """
        chosen, weights = thinned(self.weights, n, numbers)
        ends = np.cumsum([len(log_w) for log_w in self._log_w])
        inputs, rows = [], []
        for text in chosen:
            at = int(np.searchsorted(ends, text, side="right"))
            part, i = self.bank.parts[at], int(text - (ends[at] - len(self._log_w[at])))
            start = int(part.starts[i])
            log_k = self._log_k(self._d[at][start : start + int(part.beginnings[i])])
            share = np.exp(log_k - log_k.max())
            cut = int(numbers.choice(len(share), p=share / share.sum()))
            inputs.append(part.input(i, cut))
            rows.append((at, start + cut))
        z = None
        if rows and self.is_kept:
            z = torch.stack([self.bank.activations(self.pick.site, at)[row].float() for at, row in rows])
        return Shown(inputs, weights, z)
