"""Scaling factors that are learned: one for each site, all at work together, so that the other answer is preferred.

After Activation Scaling (arXiv 2410.04962). Axis names: s (sites), n (inputs).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._arguments import check_model, seed_number, whole_number
from .._forward import forward_inputs, logits_behind
from .._picks import GroupBy, Targets
from .._progress import Progress, reported
from ..activations import patch
from ..errors import Cancelled, InvalidArgument
from ..hooks import evaluation_mode
from .outputs import LOGITS, Answers, Original, divergence, log_probs_of
from .scales import ScalingReport, scaled_row
from .targets import causal_picks, patchable

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..models import LanguageModel
    from ..sites import Site


def learn_scales(
    lm: LanguageModel,
    targets: Targets,
    sites: str | Site | Sequence[str | Site],
    *,
    answers: Answers,
    steps: int = 100,
    learning_rate: float = 0.05,
    penalty: float = 0.1,
    n_targets: int = 32,
    position: int = -1,
    slot: str | None = None,
    group_by: GroupBy = None,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> ScalingReport:
    """Learns one factor per site such that, all at work together, the other answer is preferred.

    Minimised by Adam, over the factors alone: the mean of softplus(logit of the answer - logit of the other), plus
    `penalty` times the sum of |factor - 1|, which keeps sites at 1 that are not needed (its minimality; the paper's
    third part, that all else stays as it was, is not asked for: ``kl`` tells what it costs). Half of the groups of
    picks are learned from; all figures are of the other half.

    Args:
        lm, targets, sites, answers, n_targets, position, slot, group_by: as in :func:`inversescope_nb.causal.use`.
        steps, learning_rate: of Adam.
        penalty: price of each site's distance from 1.
        seed: of the picks, their halves and the intervals.
        on_progress: called with (done, total, message).
        progress: whether to show a bar when nothing else listens.
        cancel: looked at before every step.

    Returns:
        a row for each site with its learned factor at work alone, and one for all of them together.

    Raises:
        InvalidArgument: a rate or a penalty that cannot be, or fewer than two groups of picks have both answers.

    >>> import inversescope_nb as isn
    >>> lm, task = isn.load_model(), isn.tasks.ioi()
    >>> answers = task.features["indirect_object"], task.features["subject"]
    >>> report = isn.causal.learn_scales(lm, task.held_out, "blocks.*.hook_attn_out", answers=answers, steps=2)
    >>> report.to_frame()["site"].tolist()[-1]
    'all'
    """
    check_model(lm)
    places, seed = patchable(lm, sites), seed_number(seed)
    steps = whole_number("steps", steps, least=1, hint="100 is the usual choice")
    n_targets = whole_number("n_targets", n_targets, least=2, hint="32 is the usual choice")
    learning_rate = _number("learning_rate", learning_rate, 0.05, above=True)
    penalty = _number("penalty", penalty, 0.1)
    picks = causal_picks(lm, targets, n=n_targets, position=position, slot=slot, group_by=group_by, seed=seed)
    originals = picks.originals(lm, answers)
    known = [i for i, original in enumerate(originals) if original.pair is not None]
    groups = sorted({picks.groups[i] for i in known})
    if len(groups) < 2:
        raise InvalidArgument(
            f"{len(groups)} groups of picks have both answers",
            hint="give two features that are defined for the targets",
        )
    chosen = set(np.random.default_rng(seed).permutation(groups)[: (len(groups) + 1) // 2].tolist())
    learned = [originals[i] for i in known if picks.groups[i] in chosen]
    held_out = [i for i in known if picks.groups[i] not in chosen]
    factors = torch.ones(len(places), requires_grad=True)
    adam = torch.optim.Adam([factors], lr=learning_rate)
    batches = _batches(lm, learned)
    with reported(on_progress, progress, "learning scales") as report:
        for step in range(steps):
            if cancel is not None and cancel.is_set():
                raise Cancelled("learning scales was stopped")
            total, factors.grad = 0.0, torch.zeros_like(factors)
            for batch in [*batches, None]:
                with torch.enable_grad():
                    if batch is None:
                        loss = penalty * (factors - 1).abs().sum()
                    else:
                        margin = _margin(lm, batch, places, factors)
                        loss = torch.nn.functional.softplus(margin).sum() / len(learned)
                    # the model's own gradients stay as they are
                    factors.grad += torch.autograd.grad(loss, [factors])[0]
                total += loss.item()
            if not math.isfinite(total):
                raise InvalidArgument("the loss is not finite", hint="run the target in float32, or lower the rate")
            adam.step()
            if report is not None:
                report(step + 1, steps, f"loss {total:.3g}")
    values = factors.detach().tolist()
    tested = [originals[i] for i in held_out]
    codes = [picks.groups[i] for i in held_out]
    rows = []
    for site, factor in zip(places, values, strict=True):
        found = [original.scaled(lm, site, factor) for original in tested]
        moved = [(float(e.kl[0]), float(e.difference[0]), bool(e.same_top[0])) for e in found]
        rows.append(scaled_row(site.name, factor, tested, moved, codes, seed, True))
    moved = [_together(lm, original, places, values) for original in tested]
    rows.append(scaled_row("all", math.nan, tested, moved, codes, seed, True))
    settings = {"target_model": lm.name, "n_targets": len(tested), "n_learned": len(learned), "seed": seed,
                "steps": steps, "penalty": penalty}  # fmt: skip
    return ScalingReport(tuple(rows), settings)


def _number(name: str, value: float, usual: float, *, above: bool = False) -> float:
    """A finite number of at least 0, or above it."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0 or (above and number == 0):
        least = "above 0" if above else "of at least 0"
        raise InvalidArgument(f"{name}={value!r:.60}", hint=f"a number {least}; {usual} is the usual choice")
    return number


@dataclass(frozen=True)
class _Batch:
    """Inputs in one forward pass, padded on the right."""

    inputs: dict[str, Any]
    ends: Tensor
    positions: Tensor
    pairs: Tensor


def _batches(lm: LanguageModel, originals: Sequence[Original]) -> list[_Batch]:
    """All of them, as many in one pass as its logits allow."""
    longest = max(len(original.ids) for original in originals)
    at_once = max(1, LOGITS // (longest * lm.vocab_size))
    return [_batch(lm, originals[start : start + at_once]) for start in range(0, len(originals), at_once)]


def _batch(lm: LanguageModel, originals: Sequence[Original]) -> _Batch:
    encoded = lm.encode([list(original.ids) for original in originals])
    device, lengths = lm.device, encoded.lengths.to(lm.device)
    inputs = forward_inputs(lm, encoded.token_ids.to(device), lengths)
    positions = torch.tensor([original.position for original in originals], device=device)
    pairs = torch.tensor([original.pair or (0, 0) for original in originals], device=device)
    return _Batch(inputs, lengths - 1, positions, pairs)


def _logits(
    lm: LanguageModel, batch: _Batch, places: Sequence[Site], factors: Float[Tensor, " s"]
) -> Float[Tensor, "n vocab"]:
    """Logits behind each input with all factors at work."""
    with lm.lock, evaluation_mode(lm.model), ExitStack() as stack:
        changes = {
            site: (lambda value, by=factor: value * by.to(value)) for site, factor in zip(places, factors, strict=True)
        }
        stack.enter_context(patch(lm, changes, position=batch.positions))
        return logits_behind(lm, batch.inputs, batch.ends).float()


def _margin(
    lm: LanguageModel, batch: _Batch, places: Sequence[Site], factors: Float[Tensor, " s"]
) -> Float[Tensor, " n"]:
    logits = _logits(lm, batch, places, factors)
    found = logits.gather(1, batch.pairs.to(logits.device))
    return found[:, 0] - found[:, 1]


def _together(lm: LanguageModel, original: Original, places: Sequence[Site], factors: Sequence[float]):
    """(kl, difference, whether the likeliest token stays) with all factors at work."""
    with torch.no_grad():
        logits = _logits(lm, _batch(lm, [original]), places, torch.tensor(factors))
    found = log_probs_of(logits.cpu())[0]
    kl = float(divergence(original.log_probs, found[None])[0])
    difference = float(found[original.pair[0]] - found[original.pair[1]])
    return kl, difference, bool(found.argmax() == original.log_probs.argmax())
