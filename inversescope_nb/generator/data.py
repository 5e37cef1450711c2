"""From inputs to what a generator learns from: activations at the last token, batches of examples.

Axis names: n (inputs), pos (tokens), d (site width), k (inputs of one site in a batch).
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from .._readers import pieces_of
from ..reading import by_site, in_memory, read
from ..token_rows import TokenRows

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..models import LanguageModel
    from .generator import Generator


def last_activations(
    lm: LanguageModel,
    inputs: Sequence[Sequence[int]],
    sites: Sequence[str],
    *,
    batch_size: int = 128,
    cancel: threading.Event | None = None,
) -> dict[str, Float[Tensor, "n d"]]:
    """Activations at the last token of every input, float32 on the CPU; run in batches of like length.

    Raises `Cancelled` between batches once `cancel` is set.
    """
    rows = TokenRows.of_ids(inputs)
    places = in_memory(pieces_of(lm, sites), len(rows))
    read(lm, rows, rows.lengths - 1, rows.batches(batch_size), places, cancel=cancel)
    return dict(by_site(lm, map(lm.site, sites), places))


def by_length(examples: list[dict[str, Any]], n_batches: int) -> list[list[dict[str, Any]]]:
    """The examples in (at most) so many batches of like length, so that little is padded."""
    ordered = sorted(examples, key=lambda e: len(e["ids"]))
    n_batches = min(n_batches, len(ordered))
    edges = [math.ceil(len(ordered) * i / n_batches) for i in range(n_batches + 1)] if ordered else []
    return [ordered[a:b] for a, b in itertools.pairwise(edges)]


def collate(examples: list[dict[str, Any]], generator: Generator, *, alike: bool = False) -> dict[str, Any]:
    """Arguments of :meth:`Generator.forward`: examples grouped by site.

    `alike`: what is computed does not depend on which sites these examples are of. Then every process's backward pass
    finds all gradients, in the same order: FSDP waits for each of them, and DeepSpeed adds them up as they come.
    """
    examples = sorted(examples, key=lambda e: e["site"])
    device, sites = generator.device, [e["site"] for e in examples]
    ids, lengths = generator.rows([e["ids"] for e in examples])
    groups: list[tuple[int, Float[Tensor, "k d"]]] = []
    for site in range(len(generator.sites)) if alike else dict.fromkeys(sites):
        own = [e["u"] for e in examples if e["site"] == site]
        u = torch.stack(own) if own else torch.zeros(0, len(getattr(generator.encoder, f"mean_{site}")))
        groups.append((site, u.to(device)))
    keep = torch.tensor([e["keep"] for e in examples], device=device)
    eps = torch.tensor([e["eps"] for e in examples], device=device)
    return {
        "ids": ids, "lengths": lengths, "activations": groups, "bandwidths": eps,
        "keep": None if bool(keep.all()) and not alike else keep,
    }  # fmt: skip
