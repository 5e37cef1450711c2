"""Token ids of many prompts, side by side and without padding: a million of mixed length need no matrix.

Axes: ``n`` prompts, ``tokens`` of all of them one after the other, ``pos`` positions in a batch.
"""

from __future__ import annotations

import hashlib
import itertools
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from .encoding import EncodedPrompts, as_items, checked_rows

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

    from .encoding import Prompts
    from .models import LanguageModel

PIECE = 4096
"""Prompts that are encoded at a time."""
TOKENS_PER_BATCH = 8192
"""Tokens, padding counted, that one forward pass sees unless it is told otherwise."""


@dataclass(frozen=True)
class TokenRows:
    """Rows of token ids of any lengths."""

    flat: Int[Tensor, " tokens"]
    """The rows one after the other; what lies between them is never read."""
    starts: Int[Tensor, " n"]
    """Where each row begins."""
    lengths: Int[Tensor, " n"]
    """How many tokens each row has."""

    @classmethod
    def of_ids(cls, rows: Sequence[Sequence[int]]) -> TokenRows:
        """Rows that are known to be token ids.

        >>> TokenRows.of_ids([[5, 6, 7], [8]]).padded(torch.tensor([1, 0]), 0).tolist()
        [[8, 0, 0], [5, 6, 7]]
        """
        return _side_by_side(array("q", itertools.chain.from_iterable(rows)), array("q", map(len, rows)))

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, rows: Int[Tensor, " k"], pad_id: int) -> Int[Tensor, "k pos"]:
        """Some of the rows, right padded to the longest of them."""
        lengths = self.lengths[rows]
        column = torch.arange(int(lengths.max()))[None]
        real = column < lengths[:, None]
        where = torch.where(real, self.starts[rows, None] + column, 0)
        return torch.where(real, self.flat[where].long(), pad_id)

    def batches(self, batch_size: int | None = None) -> list[Int[Tensor, " k"]]:
        """Row numbers, by length, of batches of so many rows, or of about :data:`TOKENS_PER_BATCH` tokens.

        >>> [batch.tolist() for batch in TokenRows.of_ids([[1] * 3, [1], [1] * 2]).batches(2)]
        [[1, 2], [0]]
        """
        order = torch.argsort(self.lengths, stable=True)
        if batch_size is not None:
            return list(order.split(batch_size))
        ordered, found, end = self.lengths[order].tolist(), [], len(order)
        while end > 0:  # from the longest: each batch is as wide as its last row
            size = min(end, max(1, TOKENS_PER_BATCH // ordered[end - 1]))
            found.append(order[end - size : end])
            end -= size
        return found[::-1]

    def digest(self, positions: Int[Tensor, " n"]) -> str:
        """Hash of the rows and of one position in each, 32 hexadecimal digits."""
        digest = hashlib.sha256()
        for rows in torch.arange(len(self)).split(PIECE):
            ids, lengths = self.padded(rows, -1), self.lengths[rows]
            for values in (lengths, positions[rows], ids[ids >= 0]):
                digest.update(values.long().numpy().tobytes())
        return digest.hexdigest()[:32]


def token_rows(lm: LanguageModel, prompts: Prompts | EncodedPrompts) -> TokenRows:
    """Token ids of one or many prompts; see :meth:`LanguageModel.encode` for what they may be.

    Raises:
        BadPrompt: empty, longer than the context, or a token that does not exist.
    """
    if isinstance(prompts, EncodedPrompts):
        n, width = prompts.token_ids.shape
        return TokenRows(prompts.token_ids.reshape(-1).cpu(), torch.arange(n) * width, prompts.lengths.cpu())
    items: Sequence[Any] = as_items(prompts)
    flat, lengths = array("i"), array("q")
    for start in range(0, len(items), PIECE):
        rows, _ = checked_rows(lm, items[start : start + PIECE], start, len(items))
        flat.extend(itertools.chain.from_iterable(rows))
        lengths.extend(map(len, rows))
    return _side_by_side(flat, lengths)


def _side_by_side(flat: array, lengths: array) -> TokenRows:
    sizes = torch.tensor(lengths, dtype=torch.long)
    kind = torch.int32 if flat.typecode == "i" else torch.int64
    ids = torch.frombuffer(flat, dtype=kind) if len(flat) else torch.zeros(0, dtype=kind)
    return TokenRows(ids, sizes.cumsum(0) - sizes, sizes)
