"""From inputs to what a generator learns from: activations at the last token, batches of examples.

Axis names: n (inputs), pos (tokens), d (site width), k (inputs of one site in a batch).
"""

from __future__ import annotations

import itertools
import threading
from bisect import bisect_left
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


def by_length(
    examples: list[dict[str, Any]], n_batches: int, *, rows_alone: bool = False
) -> list[list[dict[str, Any]]]:
    """The examples in (at most) so many batches of like length, the longest first.

    The largest, but for those of one example, is as small as it can be: in tokens, padded, or in examples where
    `rows_alone`.
    """
    ordered = sorted(examples, key=lambda e: len(e["ids"]), reverse=True)
    n_batches = min(n_batches, len(ordered))
    if not ordered:
        return []
    sizes = [1 if rows_alone else len(e["ids"]) + 1 for e in ordered]
    limits = range(1, sizes[0] * len(ordered) + 1)
    enough = bisect_left(limits, True, key=lambda limit: len(edges_within(sizes, limit)) <= n_batches + 1)
    batches = [ordered[a:b] for a, b in itertools.pairwise(edges_within(sizes, limits[enough]))]
    while len(batches) < n_batches:
        most = max(range(len(batches)), key=lambda i: len(batches[i]))
        half = (len(batches[most]) + 1) // 2
        batches[most : most + 1] = batches[most][:half], batches[most][half:]
    return batches


def edges_within(sizes: Sequence[int], limit: int) -> list[int]:
    """Where batches begin, and the last one ends, if each takes as many rows as fit when padded to its first one.

    >>> edges_within([9, 9, 3, 3, 3, 3, 2], 10)
    [0, 1, 2, 5, 7]
    """
    edges = [0]
    while edges[-1] < len(sizes):
        edges.append(min(len(sizes), edges[-1] + max(1, limit // sizes[edges[-1]])))
    return edges


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
