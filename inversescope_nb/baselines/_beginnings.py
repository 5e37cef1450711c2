"""Texts read at every token: where P(X) cuts texts anywhere, one pass reads as many inputs as a text has tokens.

A text that P(X) cuts evenly is worth the mean kernel of its beginnings, w = 1/length * (sum over them of k(d)). Texts
are drawn independently, so these are importance weights as any others (of texts, not of beginnings: those of one text
are alike), their mean is Z = E over P(X) of the kernel, and a text drawn by its weight, cut at a token drawn by k(d),
is a draw from the posterior. (The cut is summed over instead of drawn, as Rao and Blackwell would have it.)
Axis names: n (texts), pos (tokens).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._forward import forward_inputs
from .._statistics import effective_sample_size, pareto_khat
from ..activations import capture
from ..errors import NotFinite
from ..hooks import evaluation_mode
from ..token_rows import TokenRows

if TYPE_CHECKING:
    from jaxtyping import Float

    from ..kernels import SiteStatistics
    from .searched import Pick

_TOKENS = 1 << 13
"""In one batch."""


class Beginnings:
    """Texts, and how near each of their beginnings lies to a picked activation.

    Args:
        pick: the activation, and its bandwidth.
        units: what distances are measured in.
        first: tokens in front of every text that are no beginning of their own.
    """

    def __init__(self, pick: Pick, units: SiteStatistics, first: int) -> None:
        self.pick, self.units, self.first = pick, units, first
        self.texts: list[list[int]] = []
        self.d: list[Float[np.ndarray, " pos"]] = []
        self._log_w: list[float] = []

    def __len__(self) -> int:
        return len(self.texts)

    @torch.inference_mode()
    def read(self, texts: list[list[int]]) -> None:
        """Runs texts, and adds them."""
        lm, site, rows = self.pick.lm, self.pick.site, TokenRows.of_ids(texts)
        found: dict[int, np.ndarray] = {}
        for batch in rows.batches(max(1, _TOKENS // int(rows.lengths.max()))):
            ids, lengths = rows.padded(batch, 0), rows.lengths[batch]
            with lm.lock, evaluation_mode(lm.model), capture(lm, [site], stop=True) as seen:
                lm.model(**forward_inputs(lm, ids.to(lm.device), lengths.to(lm.device)))
            z = seen[site.name].float().cpu()
            d = self.units.distance(z.flatten(0, 1), self.pick.z_hat).double().view(z.shape[:2])
            for i, row, length in zip(batch.tolist(), d, lengths.tolist(), strict=True):
                found[i] = row[self.first : length].numpy().copy()
        for i, text in enumerate(texts):
            if not np.isfinite(found[i]).all():
                raise NotFinite(f"an activation at {site.name} is NaN or infinite", hint="look at the model's weights")
            self.texts.append(text)
            self.d.append(found[i])
            log_k = self._log_k(found[i])
            self._log_w.append(float(np.logaddexp.reduce(log_k)) - math.log(len(log_k)))

    def _log_k(self, d: Float[np.ndarray, " pos"]) -> Float[np.ndarray, " pos"]:
        return np.asarray(self.units.kernel.log(d, self.pick.bandwidth))

    @property
    def weights(self) -> Float[np.ndarray, " n"]:
        """Of the texts, in units of the largest; all 0 where a ball holds none of them."""
        log_w = np.array(self._log_w)
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
        return float(pareto_khat(np.array(self._log_w)))

    @property
    def log_z(self) -> tuple[float, float]:
        """log of the mean kernel over P(X), nats, and its standard error."""
        weights = self.weights
        mean = float(weights.mean())
        return max(self._log_w) + math.log(mean), float(weights.std()) / mean / math.sqrt(len(weights))

    def sample(self, n: int, numbers: np.random.Generator) -> list[list[int]]:
        """`n` inputs, each as likely as any other: texts by their weights, cut by the kernel."""
        weights = self.weights
        marks = (np.arange(n) + numbers.random()) / n * weights.sum()
        out = []
        for i in np.minimum(np.searchsorted(np.cumsum(weights), marks, side="right"), len(weights) - 1):
            log_k = self._log_k(self.d[i])
            share = np.exp(log_k - log_k.max())
            out.append(self.texts[i][: self.first + 1 + numbers.choice(len(share), p=share / share.sum())])
        return out
