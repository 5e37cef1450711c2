"""Precision and recall of proposals on targets that were built: which of them are right, and how much of what is held.

All is judged on the whole of P(X), which is listed, and not by the samples that the proposals were made from. Let S be
the inputs of P(X) whose activation is the picked input's own (d = 0), the picked input aside: what all of S share, and
not all of P(X), is what the activation holds, whoever asks.

- A proposal is *implied* where every input of S agrees with it. That is the precision: an implied claim is correct.
- It is *true* where the claim it makes, read literally, holds exactly: in the exact posterior at its bandwidth, the
  picked input aside, more agree than of P(X)'s inputs, by `LEAN` of what P(X) leaves open. A claim can be true and not
  implied: where a label of two words is held, "begins with a0" is true more often, but a1 would do as well.
- Something held (each single label that the construction copies, or its sum) can be *found* where in the exact
  posterior it rises by `LEAN`, the least that a proposal claims, and P(X) has inputs that agree with it and others. It
  is found where all inputs of P(X) that agree with every implied proposal have it: so a proposal that is weaker than
  what is held, or not implied, finds nothing, and two that say it together find it.

Two ways are measured: *features* with the features of the construction given, held or not, and *tokens* with none.
Tokens cannot say all that is held (labels of several words, sums): there, proposals can be true and never implied, and
nothing counts as held. Those picks are counted by themselves (*no tokens for it*).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from known_answer import Known

import inversescope_nb as isn
from inversescope_nb._candidates import agreement_of
from inversescope_nb._fixed_states import LEAN
from inversescope_nb._statistics import normalise, wilson
from inversescope_nb.exact import activation_table
from inversescope_nb.features import Feature, InputText, token_at

SAME = 1e-3
"""Distance up to which two activations are one: rounding is far less, another label 0.16 or more."""


def proposals_on(known: Known, generator: Any, *, picks: int, n: int, seed: int) -> pd.DataFrame:
    """A row for every proposal, and one for everything held that can be found, over picks and bandwidths."""
    statistics = generator.statistics(known.site)
    table = activation_table(known.lm, known.prompts, known.site, statistics=statistics, progress=False)
    texts = [InputText.from_ids(ids, known.lm) for ids in table.inputs]
    p, rng, rows = np.exp(table.log_prior), np.random.default_rng(seed), []
    held = [f for f in known.rates if f.name not in known.absent and is_single(f)]
    for eps in known.bandwidths:
        for row in rng.choice(len(texts), picks, replace=len(texts) < picks):
            draw, others = int(rng.integers(2**31)), np.arange(len(texts)) != row
            inv = isn.invert(
                known.lm, generator, texts[row], site=known.site, bandwidth=eps, n=n, seed=draw, progress=False
            )
            exact = table.posterior_of(table.u[row], eps)
            posterior, prior = (normalise(np.where(others, share, 0.0)) for share in (exact.p, p))
            pick = Pick(texts, row, posterior, prior, others & (exact.d < SAME))
            by_token = [pick.agrees(token_at(t)) for t in range(len(texts[row].tokens))]
            sayable = all(any(np.array_equal(pick.agrees(f), one) for one in by_token) for f in held)
            for given, way in ((list(known.rates), "features"), ([], "tokens" if sayable else "no tokens for it")):
                found = isn.propose(inv, given, seed=draw)
                about = {"target": known.name, "bandwidth": eps, "pick": str(texts[row]), "way": way}
                some = [] if way == "no tokens for it" else held
                rows += [{**about, **one, "doubt": found.doubt} for one in judged(pick, found.features, some)]
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class Pick:
    """One picked input among all of P(X)'s."""

    texts: list[InputText]
    """All inputs."""
    row: int
    """Which of them is picked."""
    posterior: np.ndarray
    """[n] exact, the picked one aside."""
    prior: np.ndarray
    """[n] likewise."""
    same: np.ndarray
    """[n] whether an input has the picked one's activation, the picked one aside."""

    def agrees(self, feature: Feature) -> np.ndarray:
        """[n] whether an input has the picked one's label."""
        return agreement_of(feature, self.texts[self.row], self.texts)


def judged(pick: Pick, proposed: Sequence[Feature], held: Sequence[Feature]) -> Iterator[dict[str, Any]]:
    """A row for every proposal, and one for everything held that can be found."""
    said = np.arange(len(pick.texts)) != pick.row
    any_implied = False
    for feature in proposed:
        hits = pick.agrees(feature)
        implied = bool(hits[pick.same].all())
        if implied:
            said, any_implied = said & hits, True
        true = _rises(hits, pick.posterior, pick.prior)
        yield {"kind": "proposal", "name": feature.name, "right": implied, "true": true}
    for feature in held:
        hits = pick.agrees(feature)
        if _rises(hits, pick.posterior, pick.prior):
            yield {"kind": "held", "name": feature.name, "right": any_implied and bool(hits[said].all()), "true": True}


def _rises(hits: np.ndarray, posterior: np.ndarray, prior: np.ndarray) -> bool:
    """Whether what a proposal claims holds exactly."""
    share, usual = float(posterior @ hits), float(prior @ hits)
    return share > usual and share - usual >= LEAN * (1 - usual)


def is_single(feature: Feature) -> bool:
    """Whether it is one label or a sum, not two labels together, which are found where both are."""
    return feature.name == "sum" or feature.name.endswith(",)")


def precision_and_recall(rows: pd.DataFrame, by: Sequence[str] = ("way",)) -> pd.DataFrame:
    """Shares with Wilson's intervals; those of one pick are not independent, so the intervals are a little narrow."""
    found = []
    for key, part in rows.groupby(list(by), sort=False):
        proposals, held = part[part["kind"] == "proposal"], part[part["kind"] == "held"]
        line = dict(zip(by, key, strict=True)) | {"proposals": len(proposals), "held": len(held)}
        for name, some in (("precision", proposals["right"]), ("literally true", proposals["true"]),
                           ("recall", held["right"])):  # fmt: skip
            share = float(some.mean()) if len(some) else float("nan")
            low, high = wilson(share, len(some)) if len(some) else (0.0, 1.0)
            line |= {name: share, f"{name} low": float(low), f"{name} high": float(high)}
        found.append(line)
    return pd.DataFrame(found)
