"""The samples of a consistency study: what was found for each picked input at each site.

A cell is one (site, bandwidth): the posterior samples of every pick, as token ids with their weights.
Cells hold no labels, so features can be added or changed without sampling again; a cell is kept as
one JSON file, written whole, and only reused by a study with the same parameters.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ._files import write_text
from ._json import number, plain
from .banks import SIZE
from .errors import Cancelled, CheckpointMismatch
from .inversion import Inversion, invert_activation
from .picking import check_picked, place_of
from .verdicts import coarse_share

if TYPE_CHECKING:
    import threading

    from jaxtyping import Float
    from torch import Tensor

    from ._picks import Picks
    from .generator import Generator
    from .inversion import Inversion
    from .models import LanguageModel

log = logging.getLogger(__name__)

_FORMAT = 4


@dataclass(frozen=True)
class PickSamples:
    """What one inversion found, without its texts."""

    prompt_ids: tuple[int, ...]
    """The picked input."""
    samples: tuple[tuple[int, ...], ...]
    """Token ids of the samples."""
    weights: tuple[float, ...]
    """Their importance weights, not truncated."""
    ess: float
    """Effective sample size."""
    bits: float
    """Resolution bits."""
    verdict: str
    """The inversion's verdict."""
    channel_samples: tuple[tuple[int, ...], ...] = ()
    """Samples for the noised activation; none where the channel's rate was not asked for."""
    channel_weights: tuple[float, ...] = ()
    """Their importance weights, not truncated."""

    @classmethod
    def of(cls, inversion: Inversion, noised: Inversion | None = None) -> PickSamples:
        """The part of an inversion (and of that of the noised activation) that consistency needs."""
        return cls(
            tuple(int(t) for t in inversion.prompt_ids),
            tuple(tuple(int(t) for t in ids) for ids in inversion.samples),
            tuple(float(w) for w in inversion.weight),
            float(inversion.ess),
            float(inversion.bits),
            str(getattr(inversion.verdict, "value", inversion.verdict)),
            tuple(tuple(int(t) for t in ids) for ids in noised.samples) if noised else (),
            tuple(float(w) for w in noised.weight) if noised else (),
        )


@dataclass(frozen=True)
class Cell:
    """All picks at one site and bandwidth."""

    site: str
    """Canonical name."""
    layer: int
    """Its block."""
    kind: str
    """Its component."""
    head: int | None
    """Its head, if it is one head's."""
    bandwidth: float
    """Width of the kernel."""
    picks: tuple[PickSamples, ...]
    """One per picked input, in the study's order."""
    bits_bound: float = math.nan
    """Bits that any activation of the site can say at most through noise of this width; NaN where that is not known."""
    coarse_share: float = 0.0
    """Share of the site's variance along one direction, where the bandwidth is coarse for all others; else 0."""

    @classmethod
    def of(cls, inversions: Sequence[Inversion], noised: Sequence[Inversion] = ()) -> Cell:
        """Inversions of one site and bandwidth (and those of the noised activations) as a cell."""
        site, bandwidth = inversions[0].site, float(inversions[0].bandwidth)
        pairs = zip(inversions, noised or [None] * len(inversions), strict=True)
        picks = tuple(PickSamples.of(inversion, seen) for inversion, seen in pairs)
        bound = float(getattr(inversions[0], "bits_bound", math.nan))  # neighbours have none
        coarse = coarse_share(inversions[0]) if isinstance(inversions[0], Inversion) else 0.0
        return cls(site.name, site.layer, site.kind, site.head, bandwidth, picks, bound, coarse)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Cell:
        """The inverse of `dataclasses.asdict` after a round trip through JSON."""
        picks = tuple(
            PickSamples(
                tuple(pick["prompt_ids"]),
                tuple(tuple(ids) for ids in pick["samples"]),
                tuple(pick["weights"]),
                number(pick["ess"]),
                number(pick["bits"]),
                pick["verdict"],
                tuple(tuple(ids) for ids in pick["channel_samples"]),
                tuple(pick["channel_weights"]),
            )
            for pick in found["picks"]
        )
        return cls(
            found["site"],
            found["layer"],
            found["kind"],
            found["head"],
            found["bandwidth"],
            picks,
            number(found["bits_bound"]),
            number(found["coarse_share"]),
        )


def generator_hash(gen: Generator) -> str:
    """Sixteen hex digits that change with a generator's weights, its sites' moments or its kernel."""
    digest = hashlib.sha256(repr(gen.kernel).encode())
    for name, values in gen.state_dict().items():
        flat = values.detach().reshape(-1)
        digest.update(f"{name} {values.dtype}".encode())
        digest.update(flat.cpu().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


class CellStore:
    """The cells of one study in a folder; without a folder, nothing is kept.

    Args:
        run_dir: the folder, made on first use.
        parameters: all that a cell depends on besides its site and bandwidth.
    """

    def __init__(self, run_dir: str | Path | None, parameters: dict[str, Any]) -> None:
        self.run_dir = None if run_dir is None else Path(run_dir)
        self.parameters = {"format": _FORMAT, **parameters}

    def path(self, site: str, bandwidth: float) -> Path | None:
        """Where a cell is kept."""
        return self.run_dir / f"{site}@{bandwidth!r}.json" if self.run_dir else None

    def has(self, site: str, bandwidth: float) -> bool:
        """Whether a cell is there already."""
        path = self.path(site, bandwidth)
        return path is not None and path.is_file()

    def load(self, site: str, bandwidth: float) -> Cell:
        """A cell that is there; raises `CheckpointMismatch` if it is another study's."""
        path = self.path(site, bandwidth)
        hint = "use another run_dir, or delete that file to sample again"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            stored, cell = found["parameters"], Cell.from_dict(found["cell"])
        except (ValueError, KeyError, TypeError) as e:
            raise CheckpointMismatch(f"{path.name} in {path.parent.name} is no cell of a study", hint=hint) from e
        if stored != self.parameters:
            keys = sorted(k for k in {*stored, *self.parameters} if stored.get(k) != self.parameters.get(k))
            raise CheckpointMismatch(
                f"{path.name} in {path.parent.name} comes from a study with another {', '.join(keys)}",
                hint=hint,
            )
        return cell

    def save(self, cell: Cell) -> None:
        """Keep a cell."""
        path = self.path(cell.site, cell.bandwidth)
        if path is not None:
            content = {"parameters": self.parameters, "cell": asdict(cell)}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(plain(content), allow_nan=False))


def sample_cells(
    lm: LanguageModel,
    gen: Generator,
    picks: Picks,
    keys: Sequence[tuple[str, float]],
    store: CellStore,
    *,
    n_samples: int,
    seed: int,
    channel: bool,
    on_progress: Callable[[int, int, str], None] | None,
    cancel: threading.Event | None,
) -> list[Cell]:
    """Invert every pick at every (site, bandwidth), or take the cell from the store.

    A pick has the same seed at all sites. With `channel` its noised activation is inverted as well. Picks, and the
    inputs of P(X) that inversions are held against, are run once for all sites. Says what it will cost before it
    starts.
    """
    missing = [key for key in keys if not store.has(*key)]
    done, total = 0, len(missing) * len(picks.inputs) * (2 if channel else 1)
    log.info(
        "consistency: %d inversions (%d sites and bandwidths x %d picks), %d inputs to write and re-run; %d found",
        total, len(missing), len(picks.inputs), total * n_samples, len(keys) - len(missing),
    )  # fmt: skip
    seeds = [int(np.random.SeedSequence([seed, i]).generate_state(1)[0]) for i in range(len(picks.inputs))]
    cells, started = [], time.monotonic()
    for ids in picks.inputs:
        check_picked(gen, ids)
    places = {site: place_of(lm, gen, site, bandwidth)[0] for site, bandwidth in missing}
    inputs = [list(ids) for ids in picks.inputs]
    z: Mapping[str, Float[Tensor, "n d"]] = {}
    if missing:
        try:
            z = lm.activations(inputs, list(places.values()), cancel=cancel)
            gen.bank(lm, gen.prompts, SIZE, cancel=cancel).read(list(places), cancel=cancel)
        except Cancelled as e:
            raise Cancelled(checkpoint=store.run_dir) from e
    for site, bandwidth in keys:
        if store.has(site, bandwidth):
            cells.append(store.load(site, bandwidth))
            continue
        found: dict[bool, list[Inversion]] = {False: [], True: []}
        for ids, z_hat, own_seed in zip(inputs, z[site], seeds, strict=True):
            for noised in (False, True) if channel else (False,):
                if cancel is not None and cancel.is_set():
                    raise Cancelled(checkpoint=store.run_dir)
                try:
                    inversion = invert_activation(
                        lm, gen, ids, places[site], z_hat, position=len(ids) - 1, bandwidth=bandwidth, n=n_samples,
                        prior=gen.prompts, seed=own_seed, noise_seed=own_seed if noised else None, bank=SIZE,
                        on_progress=None, progress=False, cancel=cancel,  # the study's own bar counts inversions
                    )  # fmt: skip
                except Cancelled as e:
                    raise Cancelled(checkpoint=store.run_dir) from e
                found[noised].append(inversion)
                done += 1
                if done == 1:
                    log.info("consistency: about %.0f s", (time.monotonic() - started) * total)
                if on_progress is not None:
                    on_progress(done, total, f"inverting at {site}")
        cells.append(Cell.of(found[False], found[True]))
        store.save(cells[-1])
    return cells
