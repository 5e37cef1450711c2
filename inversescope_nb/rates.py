"""Consistency: do the inputs that share an activation share a feature, beyond copies and chance?

1. Pick inputs, cut behind the token of interest. 2. Invert each at every site (once: all features are
read off the same samples). 3. Label picks and samples. 4. Estimate the rate, its chance level, its
interval over groups of picks, and a permutation p-value, corrected over the whole sweep.

The feature consistency rate is InverseScope's (Luo, Zhou, Dong, arXiv 2506.07406, section 4); leaving
out copies, the chance level, intervals and tests are this package's own (see `_agreement`, `_permutation`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ._arguments import check_generator, check_model, folder_path, groups_of, seed_number, whole_number
from ._picks import GroupBy, Targets, merged, pick_inputs
from ._progress import Progress, reported
from ._scoring import Labels, Study, report
from ._study import Cell, CellStore, generator_hash, sample_cells
from .errors import Cancelled, InvalidArgument, NotEnumerable, UnknownSite, suggest
from .features import Feature, InputText, as_features
from .kernels import check_bandwidth
from .model_prompts import ModelPrompts
from .picking import text_of
from .reports import ConsistencyReport

if TYPE_CHECKING:
    import threading

    from .generator import Generator
    from .inversion import Inversion
    from .models import LanguageModel
    from .prompts import PromptDistribution

__all__ = ["ConsistencyReport", "consistency", "consistency_of"]

Features = Feature | Callable[[InputText], Hashable] | Mapping[str, Feature] | Iterable[Feature]
PRIOR_TEXTS = 4096
"""Inputs of P(X) from which the prior's chance is estimated: of six tasks, say, each gets hundreds."""
UNCONDITIONED = 256
"""Inputs that the generator writes without an activation, for the control `fcr_dropped`."""
WRITTEN_TEXTS = 512
"""The same where a model has to write them."""


def consistency(
    lm: LanguageModel,
    gen: Generator,
    targets: Targets,
    sites: str | Iterable[str],
    features: Features,
    *,
    bandwidth: float | Sequence[float] = 0.1,
    n_targets: int = 64,
    n_samples: int = 64,
    seed: int = 0,
    permutations: int = 1000,
    position: int = -1,
    slot: str | None = None,
    group_by: GroupBy = None,
    within: Feature | None = None,
    prior_texts: Sequence[str] | None = None,
    channel: bool = False,
    run_dir: str | Path | None = None,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> ConsistencyReport:
    """The consistency of features at sites, over picked inputs.

    Args:
        lm, gen: the target model and its generator; P(X) is the generator's.
        targets: the picked inputs: a distribution to draw `n_targets` whole prompts from, or prompts, texts
            or token-id sequences, all of which are used.
        sites: names, in any spelling the model knows, or globs over the generator's sites.
        features: one or several; see :mod:`inversescope_nb.features`.
        bandwidth: one or several widths of the kernel, in standardised units.
        n_samples: posterior samples per pick.
        permutations: of the test; raised to 20 per row; 0: no test.
        position, slot: the token to read, counted in each target's own tokens, or the last one of a slot. As they
            are: where a distribution is cut at one slot (``cut="slot:NAME"``), that slot; else the last token.
        group_by: picks that belong together: a label of the prompts, a function of a prompt, or one value per
            target. None: equal inputs. Groups that share an input are one. They are resampled and permuted whole.
        within: permute only among picks with the same label of this feature.
        prior_texts: inputs for the prior's chance; None: drawn from the generator's prompts.
        channel: also invert every pick's noised activation, for the column `fcr_channel` (twice the work).
        run_dir: keep the samples here, one file per site and bandwidth, and resume from them. Features may
            change in between; anything else raises.
        on_progress: called with (inversions done, of, message).
        progress: whether to show a bar when nothing else listens (only for work of more than a second).
        cancel: checked between batches.

    Raises:
        UnknownSite: a site the generator cannot invert, or a glob that matches none.
        FeatureError: a feature that raised or returned no label.
        CheckpointMismatch: `run_dir` holds samples of another study.
        Cancelled: `cancel` was set; finished cells are in `run_dir`.

    >>> import inversescope_nb as isn
    >>> lm, gen = isn.load_model(), isn.load_generator()
    >>> sums = ["4 3 7 + 5 6 8 =", "1 2 3 + 4 5 6 ="]
    >>> report = consistency(lm, gen, sums, "blocks.3.*_post", isn.features.regex("[0-9]"), n_samples=16)
    >>> report.to_frame()["n_targets"].unique().tolist()
    [2]
    """
    check_model(lm)
    check_generator(gen)
    found, within = as_features(features), _within(within)
    bandwidths = _bandwidths(bandwidth, gen.config.bandwidths)
    n_targets = whole_number("n_targets", n_targets, least=1, hint="64 is the usual choice")
    n_samples = whole_number("n_samples", n_samples, least=1, hint="64 is the usual choice")
    permutations, seed = _permutations(permutations), seed_number(seed)
    prior_texts = None if prior_texts is None else _texts(prior_texts)
    run_dir = None if run_dir is None else folder_path(run_dir, "run_dir")
    names = resolve_sites(lm, gen, sites)
    picks = pick_inputs(lm, targets, n_targets=n_targets, position=position, slot=slot, group_by=group_by, seed=seed)
    parameters = {}
    if run_dir is not None:  # else nothing is kept, and hashing all weights would be for nothing
        parameters = {
            "target model": lm.fingerprint,
            "generator": generator_hash(gen),
            "P(X)": _identity(gen.prompts),
            "P(X) is scored": gen.prompts.log_probs(picks.inputs[:1], lm) is not None,
            "dtype": str(lm.dtype),
            "picked inputs": hashlib.sha256(json.dumps(picks.inputs).encode()).hexdigest()[:16],
            "n_samples": n_samples,
            "seed": seed,
            "channel": channel,
        }
    if prior_texts is None:
        prior_texts = prior_texts_of(lm, gen, seed, cancel)
    with reported(on_progress, progress, "consistency") as report_progress:
        cells = sample_cells(
            lm, gen, picks, [(site, b) for b in bandwidths for site in names], CellStore(run_dir, parameters),
            n_samples=n_samples, seed=seed, channel=channel, on_progress=report_progress, cancel=cancel,
        )  # fmt: skip
        try:
            dropped = _unconditioned(gen, seed, cancel)
        except Cancelled as e:  # all cells are kept
            raise Cancelled(checkpoint=run_dir) from e
    settings = {
        "prompts": f"{gen.prompts.name}, cut at {gen.prompts.cut}",
        "target_model": lm.name,
        "n_targets": len(picks.inputs),
        "n_samples": n_samples,
        "seed": seed,
        "permutations": permutations,
        "within": within.name if within else None,
    }
    labels = Labels(found, lambda ids: text_of(lm, ids), within)
    numbers = tuple(range(len(picks.inputs)))
    return report([Study(cell, picks.groups, numbers) for cell in cells], labels, prior_texts, settings, dropped)


def consistency_of(
    inversions: Inversion | Sequence[Inversion],
    features: Features,
    *,
    groups: Sequence[Hashable] | None = None,
    within: Feature | None = None,
    prior_texts: Sequence[str] = (),
    permutations: int = 1000,
    seed: int = 0,
) -> ConsistencyReport:
    """The consistency of features over inversions that are there already.

    Of a single inversion: what its own samples say, with Wilson's interval at the effective sample size
    and the prior's chance; there is no chance level between picks, and no test.

    Args:
        inversions: one or several, of any sites and bandwidths.
        features, within, permutations: as in :func:`consistency`.
        groups: one value per inversion: which belong together, as do those of equal inputs in any case.
        prior_texts: inputs of P(X) for the prior's chance; without them it is NaN.

    Raises:
        InvalidArgument: no inversion, or groups that do not fit.
    """
    several = isinstance(inversions, Iterable) and not hasattr(inversions, "samples")
    inversions = list(inversions) if several else [inversions]
    wrong = next((type(x).__name__ for x in inversions if not hasattr(x, "samples")), None)
    if not inversions or wrong:
        raise InvalidArgument(
            f"a {wrong} is no inversion" if wrong else "no inversion was given",
            hint="pass what invert() returned, or several of those",
        )
    found, within, permutations, seed = (
        as_features(features), _within(within), _permutations(permutations), seed_number(seed),
    )  # fmt: skip
    prior_texts = _texts(prior_texts)
    groups = None if groups is None else groups_of(groups, "groups")
    if groups is not None and len(groups) != len(inversions):
        raise InvalidArgument(
            f"{len(groups)} groups for {len(inversions)} inversions", hint="give one group per inversion"
        )
    inputs = [tuple(int(t) for t in inversion.prompt_ids) for inversion in inversions]
    codes = merged(inputs if groups is None else groups, inputs)
    texts: dict[tuple[int, ...], InputText] = {}
    cells: dict[tuple[str, float], dict[tuple[Hashable, int], int]] = {}
    for i, inversion in enumerate(inversions):
        texts[inputs[i]] = InputText(inversion.text, inversion.tokens, inputs[i])
        for ids, text in zip(inversion.samples, inversion.texts, strict=True):
            texts[tuple(int(t) for t in ids)] = text
        cell = cells.setdefault((inversion.site.name, float(inversion.bandwidth)), {})
        cell[inputs[i], sum(own == inputs[i] for own, _ in cell)] = i  # an input may be inverted twice
    numbers = {pick: k for k, pick in enumerate(dict.fromkeys(pick for cell in cells.values() for pick in cell))}
    studies = [
        Study(
            Cell.of([inversions[i] for i in cell.values()]),
            tuple(codes[i] for i in cell.values()),
            tuple(numbers[pick] for pick in cell),
        )
        for cell in cells.values()
    ]
    settings = {
        "n_targets": max(len(cell) for cell in cells.values()),
        "n_samples": max(len(inversion.samples) for inversion in inversions),
        "seed": seed,
        "permutations": permutations,
        "within": within.name if within else None,
    }
    labels = Labels(found, texts.__getitem__, within)
    return report(studies, labels, prior_texts, settings)


def resolve_sites(lm: LanguageModel, gen: Generator, sites: str | Iterable[str]) -> list[str]:
    """Canonical names of the generator's sites that names and globs stand for, each once, in its order.

    Raises:
        UnknownSite: a name that is no site of the model or the generator, or a glob that matches none.
    """
    known = [str(name) for name in gen.sites]
    wanted: set[str] = set()
    for spec in [sites] if isinstance(sites, str) or not isinstance(sites, Iterable) else sites:
        text = str(spec)
        matched = {name for name in known if fnmatchcase(name, text)}
        if not matched and not any(c in text for c in "*?"):
            matched = {name for name in known if name == lm.site(spec).name}
        if not matched:
            raise UnknownSite(
                f"the generator inverts no site {text!r}.{suggest(text, known)}",
                hint=f"its {len(known)} sites are in generator.sites; train_generator() makes one for others",
            )
        wanted |= matched
    if not wanted:
        raise UnknownSite("no site was given", hint="give names, or a glob such as 'blocks.*.hook_resid_post'")
    return [name for name in known if name in wanted]


def _permutations(permutations: int) -> int:
    return whole_number("permutations", permutations, least=0, hint="1000 is the usual choice, 0 makes no test")


def _within(within: Feature | None) -> Feature | None:
    """One feature, or none; a function will do."""
    return None if within is None else as_features((within,))[0]


def _identity(prompts: PromptDistribution) -> str:
    """Changes with P(X), as far as it is known."""
    try:
        return prompts.fingerprint
    except NotEnumerable:  # by name only
        return f"{prompts.name}, cut at {prompts.cut}"


def _unconditioned(gen: Generator, seed: int, cancel: threading.Event | None) -> list[tuple[int, ...]]:
    """Inputs that the generator writes without an activation; none where it has not learned to."""
    if not gen.has_prior:
        return []
    drawn = gen.sample(gen.no_condition(1), UNCONDITIONED, seed=seed, cancel=cancel)
    return [tuple(ids) for ids, ended in drawn if ended]


def prior_draws(prompts: PromptDistribution) -> int:
    """How many inputs of P(X) stand for it in a chance level."""
    return WRITTEN_TEXTS if _written(prompts) else PRIOR_TEXTS


def _written(prompts: PromptDistribution) -> bool:
    """Whether a model writes inputs of this P(X), or of a part of it."""
    return isinstance(prompts, ModelPrompts) or any(map(_written, getattr(prompts, "parts", ())))


def prior_texts_of(
    lm: LanguageModel, gen: Generator, seed: int, cancel: threading.Event | None = None
) -> list[InputText]:
    """Draws from the generator's P(X); of one that is known by name only, what was kept from its training."""
    try:
        drawn = gen.prompts.draw(prior_draws(gen.prompts), lm, seed=seed, cancel=cancel)
    except NotEnumerable:
        drawn = gen.bank_inputs
    return [InputText.from_ids(ids, lm) for ids in drawn]


def _texts(prior_texts: Sequence[str]) -> list[str]:
    """Texts as a list; a bare one is not several."""
    if isinstance(prior_texts, str) or not isinstance(prior_texts, Iterable):
        raise InvalidArgument(f"prior_texts is a {type(prior_texts).__name__}", hint="give a list of texts")
    return list(prior_texts)


def _bandwidths(bandwidth: float | Sequence[float], allowed: tuple[float, float]) -> list[float]:
    """One or several bandwidths, each once."""
    given = [bandwidth] if np.ndim(bandwidth) == 0 else list(bandwidth)
    if not given:
        raise InvalidArgument("no bandwidth was given", hint="0.1 is the usual choice")
    return list(dict.fromkeys(check_bandwidth(b, allowed) for b in given))
