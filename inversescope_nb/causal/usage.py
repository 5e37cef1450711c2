"""Does the model *use* what a site holds? Patches that flip a feature, against patches that keep it.

A rate of consistency says that a feature can be read off an activation; it does not say that anything is done with
it. Here the activation of another input is put in its place (an interchange), and the output is compared with the
original one:

1. For each picked input and feature, other inputs are told apart by their label: *flipped* or *equal*. Some of either
   are drawn at random.
2. *Use* is how much further flipped patches move the output than equal ones, averaged over pairs, then over picks.
   Its interval resamples groups of picks; its test exchanges flipped and equal in whole groups (sign flips), corrected
   over the study (Benjamini and Hochberg).
3. Where a site holds the feature, flipped patches lie further away, and a long displacement may move any output.
   Beside them stand a displacement as long in a direction drawn evenly (``random``), and the equal patch stretched to
   that length, by a factor of 4 at most (``equal_stretched``).

Use is not taken between patches of equal distance: distance is a part of what holding a feature does. At a site that
holds f and g, equal patches that lie as far as a flip of f are flips of g, and whichever of the two the output reads
less looks unused, or worse (the tests have such a target).

Picks share their sources, so what is odd about one source enters several picks. Sources are used as evenly as can be;
beside the test above there is one whose variance clusters pairs by pick, by flipped and by equal source, the larger
p-value counts, and intervals are widened by what sources add. Where few different sources are behind a row, its notes
say so.

What goes with a feature goes with its flips: this does not tell f from a g that always changes with it. Two measures
of movement: ``kl``, KL(original || patched) of the next-token distribution in nats, and, with `answers`, ``shift``: by
how much the answer's logit falls against the other's. A shift has a sign: where flips make the answer likelier than
patches that keep the feature, use is below 0. That is use too (there are heads that write against the answer), so its
test has two sides. Only the patched token is changed: what the model reads at other
positions is intact, so a site can hold a feature that matters and show no use here.

Axis names: m (picks), p (pairs of a pick).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from .._arguments import check_model, seed_number, whole_number
from .._picks import GroupBy, Targets
from .._progress import Progress, reported
from .._scoring import PERMUTATIONS_PER_ROW, Labels
from .._statistics import benjamini_hochberg
from ..errors import Cancelled
from ..features import Feature, as_features
from ..picking import text_of
from ..rates import Features
from .evidence import row_of
from .outputs import Answers, Original
from .reports import MEASURES, UseReport
from .targets import CausalPicks, causal_picks, patchable

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from ..models import LanguageModel
    from ..sites import Site

MOST_STRETCHED = 4.0
"""Factor by which the displacement of a patch that keeps the feature is stretched at most, to a flip's length."""
SOURCES = 1024
"""Inputs among which patches are looked for."""


def use(
    lm: LanguageModel,
    targets: Targets,
    sites: str | Site | Sequence[str | Site],
    features: Features,
    *,
    answers: Answers = None,
    sources: Targets | None = None,
    n_targets: int = 32,
    n_pairs: int = 8,
    n_sources: int = SOURCES,
    position: int = -1,
    slot: str | None = None,
    group_by: GroupBy = None,
    permutations: int = 1000,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> UseReport:
    """How much further patches that flip a feature move the output than patches that keep it, at each site.

    Args:
        lm: the target model. No generator is needed: patches are activations of real inputs.
        targets: the picked inputs, as in :func:`consistency`; the model runs on the whole prompts, and outputs are
            read at their ends.
        sites: names, in any spelling the model knows, or globs; heads by their ``z``.
        features: one or several, read off the inputs cut at the site's token.
        answers: the answer and what it is held against, for the measure ``shift``: words, token ids, or features
            that are read off the whole prompts.
        sources: inputs that patches come from, cut as the targets are; None: the targets' distribution, or the
            targets themselves.
        n_targets, n_sources: how many to draw where a distribution is given.
        n_pairs: flipped and equal patches for each pick, site and feature.
        position, slot, group_by: as in :func:`consistency`.
        permutations: of the test; raised to 20 per row; 0: no test.
        on_progress: called with (picks done at all sites, of, message).
        progress: whether to show a bar when nothing else listens (only for work of more than a second).
        cancel: looked at between picks.

    Raises:
        UnknownSite, InvalidArgument, FeatureError, Cancelled

    >>> import inversescope_nb as isn
    >>> lm, task = isn.load_model(), isn.tasks.ioi()
    >>> report = isn.causal.use(lm, task.held_out, "blocks.3.hook_resid_pre", task.features["order"],
    ...                         n_targets=8, n_pairs=4, n_sources=64)
    >>> report.to_frame()["measure"].tolist()
    ['kl']
    """
    check_model(lm)
    found, places = as_features(features), patchable(lm, sites)
    n_targets = whole_number("n_targets", n_targets, least=1, hint="32 is the usual choice")
    n_pairs = whole_number("n_pairs", n_pairs, least=1, hint="8 is the usual choice")
    n_sources = whole_number("n_sources", n_sources, least=2, hint=f"{SOURCES} is the usual choice")
    permutations = whole_number("permutations", permutations, least=0, hint="1000 is the usual choice, 0 for no test")
    seed = seed_number(seed)
    where = {"position": position, "slot": slot}
    picks = causal_picks(lm, targets, n=n_targets, group_by=group_by, seed=seed, **where)
    pool = causal_picks(lm, targets if sources is None else sources, n=n_sources, seed=seed + 1, **where)
    inputs = list(dict.fromkeys(pool.inputs))
    study = _Study(lm, found, picks, inputs, n_pairs, seed)
    originals = picks.originals(lm, answers)
    with reported(on_progress, progress, "patching") as report:
        own = lm.activations([list(ids) for ids in picks.inputs], places, cancel=cancel)
        theirs = lm.activations([list(ids) for ids in inputs], places, cancel=cancel)
        moved: dict[str, list[_Moved]] = {site.name: [] for site in places}
        total = len(places) * len(originals)
        for s, site in enumerate(places):
            for i, original in enumerate(originals):
                if cancel is not None and cancel.is_set():
                    raise Cancelled("patching was stopped")
                moved[site.name].append(study.moved(i, original, site, own[site.name][i], theirs[site.name]))
                if report is not None:
                    report(s * len(originals) + i + 1, total, f"patching at {site.name}")
    measures = list(MEASURES)[: 1 if answers is None else 2]
    rows, per_pick = [], []
    n_rows = len(places) * len(found) * len(measures)
    draws = permutations and max(permutations, PERMUTATIONS_PER_ROW * n_rows)
    for site in places:
        for feature in found:
            for measure in measures:
                values = [one.get((feature.name, measure)) for one in moved[site.name]]
                row, kept = row_of(values, picks.groups, draws, seed, signed=measure == "shift")
                place = {"site": site.name, "layer": site.layer, "kind": site.kind, "head": site.head}
                rows.append({**place, "feature": feature.name, "measure": measure, "n_targets": len(originals), **row})
                per_pick += [{"site": site.name, "feature": feature.name, "measure": measure, **pick} for pick in kept]
    q_values = benjamini_hochberg(np.array([row["p_value"] for row in rows]))
    for row, q in zip(rows, q_values.tolist(), strict=True):
        row["q_value"] = q
    settings = {
        "target_model": lm.name, "n_targets": len(originals), "n_pairs": n_pairs, "n_sources": len(inputs),
        "seed": seed, "permutations": draws, "reads_later": any(len(o.ids) > o.position + 1 for o in originals),
    }  # fmt: skip
    return UseReport(tuple(rows), tuple(per_pick), settings)


_Moved = dict[tuple[str, str], np.ndarray]
"""(feature, measure) -> [p, 8]: what each pair moved, with the columns `PER_PICK`, then its two sources."""


class _Study:
    """The patches of a study: which sources flip or keep which feature, and what each of them moves."""

    def __init__(
        self, lm: LanguageModel, features: Sequence[Feature], picks: CausalPicks, inputs: list[tuple[int, ...]],
        n_pairs: int, seed: int,
    ) -> None:  # fmt: skip
        self.lm, self.features, self.n_pairs, self.seed = lm, features, n_pairs, seed
        labels = Labels(features, lambda ids: text_of(lm, ids), None)
        self.own = {f: labels.of(f, picks.inputs) for f in features}
        self._known: dict[tuple[int, Feature], np.ndarray] = {}
        self._used = {f: np.zeros(len(inputs), dtype=np.int64) for f in features}
        self.theirs = {f: labels.of(f, inputs) for f in features}
        codes = {ids: k for k, ids in enumerate(inputs)}
        self.itself = [codes.get(ids, -1) for ids in picks.inputs]

    def moved(self, i: int, original: Original, site: Site, z_hat: Tensor, z: Float[Tensor, "k d"]) -> _Moved:
        """(feature, measure) -> what each pair of one pick moved, with the columns `PER_PICK`; of undefined ones none.

        All patches of a pick at a site are run together.
        """
        rng = torch.Generator().manual_seed(random.Random(f"{self.seed} {i} {site.name}").getrandbits(62))
        spread = float((z - z.mean(0)).square().sum(-1).mean().sqrt()) or 1.0  # a background pair lies about 1.4 apart
        pairs = {f: self._pairs(i, f) for f in self.features if self.own[f][i] >= 0}
        patches, distances = [], {}
        for feature, pair in pairs.items():
            delta = z[torch.from_numpy(pair)] - z_hat  # [p, 2, d]: flipped, equal
            length = delta.norm(dim=-1)
            stretch = torch.where(length[:, 1] > 0, length[:, 0] / length[:, 1].clamp(min=1e-30), 1.0)
            evenly = torch.randn(len(pair), len(z_hat), generator=rng)
            evenly = evenly / evenly.norm(dim=-1, keepdim=True) * length[:, :1]
            stretched = delta[:, 1] * stretch.clamp(max=MOST_STRETCHED)[:, None]
            patches += [z_hat + move for move in (delta[:, 0], delta[:, 1], stretched, evenly)]
            distances[feature] = (length / spread).numpy()
        effects = original.patched(self.lm, site, torch.cat(patches) if patches else z[:0])
        moves = {"kl": effects.kl, "shift": original.difference - effects.difference}
        found: _Moved = {}
        for measure, moved in moves.items():
            start = 0
            for feature, pair in pairs.items():
                p = len(pair)
                part = np.column_stack([*moved[start : start + 4 * p].reshape(4, p), distances[feature], pair])
                found[feature.name, measure] = part[np.isfinite(part).all(-1)]
                start += 4 * p
        return found

    def _pairs(self, i: int, feature: Feature) -> Int[np.ndarray, "p 2"]:
        """Sources that flip the feature, each with one that keeps it: those used least, the same at all sites."""
        if (i, feature) in self._known:
            return self._known[i, feature]
        label, others = self.own[feature][i], self.theirs[feature]
        alike = others == label
        if self.itself[i] >= 0:
            alike[self.itself[i]] = False
        rng, used = np.random.default_rng([self.seed, i]), self._used[feature]
        flipped, equal = (
            found[np.argsort(used[found], kind="stable")][: self.n_pairs]
            for found in (rng.permutation(np.flatnonzero(part)) for part in ((others >= 0) & (others != label), alike))
        )
        if not len(equal) or not len(flipped):
            pairs = np.zeros((0, 2), dtype=np.int64)
        else:
            pairs = np.stack([flipped, np.resize(equal, len(flipped))], axis=1)
            np.add.at(used, pairs.ravel(), 1)
        self._known[i, feature] = pairs
        return pairs
