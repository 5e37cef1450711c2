"""Hooks that read activations, and the forward pass that ends once all have been seen.

What :mod:`.activations` and :mod:`.reading` are made of. Axes: ``n`` prompts, ``pos`` positions, ``d`` a site's width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ._forward import forward_inputs
from .errors import InvalidArgument, UnsupportedModel
from .hooks import evaluation_mode, hooked
from .sites import Site

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor, nn

    from .models import LanguageModel


class StopForward(Exception):
    """Ends a forward pass once every wanted site has been seen; ends the `capture` that raised it, and no other.

    Args:
        reader: who raised it. The reader does not know the exception: with its traceback that would hold on to the
            tensors of the whole pass.
    """

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader


class BySite(dict[str, "Tensor"]):
    """Tensors under canonical site names; any other spelling of the same site finds them too."""

    def __init__(self, lm: LanguageModel, values: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(values or {})
        self._lm = lm

    def __missing__(self, spec: str | Site) -> Tensor:
        name = self._lm.site(spec).name
        if name not in self:
            raise KeyError(name)
        return self[name]


@dataclass(frozen=True)
class Piece:
    """Sites that are read together: heads of one kind in one block, or one site alone."""

    layer: int
    """Block, counted from 0."""
    kind: str
    """One of :data:`~inversescope_nb.sites.KINDS`."""
    sites: tuple[Site, ...]
    """Each once."""

    @property
    def heads(self) -> list[int] | None:
        """The sites' heads; None where the site is no head's."""
        return [site.head for site in self.sites if site.head is not None] or None

    @property
    def d(self) -> int:
        """Width of each site."""
        return self.sites[0].d


def pieces_of(lm: LanguageModel, sites: Iterable[str | Site]) -> list[Piece]:
    """The sites, each once, by what is read together."""
    groups: dict[tuple[int, str, bool], dict[Site, None]] = {}
    for site in map(lm.site, sites):
        groups.setdefault((site.layer, site.kind, site.head is None), {})[site] = None
    return [Piece(layer, kind, tuple(group)) for (layer, kind, _), group in groups.items()]


class Reader:
    """Hooks at some sites of a model, which hand over what each forward pass computes there.

    Args:
        lm: the model.
        pieces: where to read.
        sink: called with each piece and its activations: ``[sites, n, pos, d]``, or ``[sites, n, d]`` with `columns`.
        columns: for each row of the batch, the column of ``input_ids`` to keep; None keeps all of them.
        stop: raise :class:`StopForward` once every site has been seen.
    """

    def __init__(
        self,
        lm: LanguageModel,
        pieces: Iterable[Piece],
        sink: Callable[[Piece, Tensor], None],
        *,
        columns: Int[Tensor, " n"] | None = None,
        stop: bool = False,
    ) -> None:
        self.lm, self.sink, self.stop = lm, sink, stop
        self.taps: dict[tuple[int, str, str], list[Piece]] = {}
        for piece in pieces:
            self.taps.setdefault((piece.layer, *lm.architecture.layout.tap(piece.kind)), []).append(piece)
        self._shape: list[int] = []
        self.start(columns)

    def start(self, columns: Int[Tensor, " n"] | None) -> None:
        """Before a forward pass: which column of each row to keep."""
        self.columns = None if columns is None else columns.cpu()
        self.waiting = set(self.taps)
        self._where: dict[tuple[torch.device, int], Tensor] = {}

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The hooks are there within the block, and nobody else runs the model."""
        architecture = self.lm.architecture
        with self.lm.lock, ExitStack() as stack:
            if self.columns is None:
                for layer in {key[0] for key in self.taps}:
                    stack.enter_context(hooked(architecture.blocks[layer], "in", _shape_keeper(self._shape)))
            for key in self.taps:
                module = architecture.module(key[0], key[1])
                stack.enter_context(hooked(module, key[2], partial(self._read, key)))
            yield

    def _read(self, key: tuple[int, str, str], hidden: Tensor) -> None:
        """What a hook does with the hidden states that it sees."""
        # all of it as a copy: some models go on to add to this tensor in place (Falcon)
        whole = self.columns is None
        kept = batched(hidden, self._shape).clone() if whole else self._rows_kept(hidden, self.columns)
        for piece in self.taps[key]:
            self.sink(piece, _parts(self.lm, piece, kept))
        self.waiting.discard(key)
        if self.stop and not self.waiting:
            raise StopForward(self)

    def _rows_kept(self, hidden: Tensor, columns: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """One position of each row, before anything is computed from them; OPT's MLP has all rows in one axis."""
        n_pos = hidden.shape[1] if hidden.ndim == 3 else hidden.shape[0] // len(columns)
        at = (hidden.device, n_pos)
        if at not in self._where:
            if bool(((columns < -n_pos) | (columns >= n_pos)).any()):
                raise InvalidArgument(
                    f"a column is outside this forward pass of {n_pos} positions",
                    hint="columns are those of input_ids, one for each row",
                )
            first = torch.arange(len(columns)) * n_pos
            self._where[at] = (first + columns % n_pos).to(hidden.device)
        return hidden.reshape(-1, hidden.shape[-1]).index_select(0, self._where[at])


def _shape_keeper(shape: list[int]) -> Callable[[Tensor], None]:
    """A hook on a block's input that notes its [n, pos]: OPT's MLP sees positions of all rows in one axis."""

    def keep(hidden: Tensor) -> None:
        shape[:] = hidden.shape[:2]

    return keep


def batched(hidden: Tensor, shape: list[int]) -> Tensor:
    """Hidden states as [n, pos, d]."""
    return hidden if hidden.ndim == 3 else hidden.view(*shape, hidden.shape[-1])


def _parts(lm: LanguageModel, piece: Piece, hidden: Float[Tensor, "... d"]) -> Float[Tensor, "sites ... d"]:
    """What a piece's sites read of the tensor that they hook: all of it, heads' slices, or those through W_O."""
    if piece.heads is None:
        return hidden[None]
    z = hidden.unflatten(-1, (lm.n_heads, lm.d_head)).movedim(-2, 0)
    some: Any = slice(None) if piece.heads == list(range(lm.n_heads)) else piece.heads
    z = z[some]
    if piece.kind == "z":
        return z
    out_proj = lm.architecture.module(piece.layer, lm.architecture.layout.out_proj)
    weight = _plain_weight(out_proj)
    if weight is not None:  # [heads, d_head, d_model]
        by_head = weight.unflatten(0, (lm.n_heads, lm.d_head))
        return (z.flatten(1, -2) @ by_head[some]).view(*z.shape[:-1], -1)
    # `forward`, not a call: our hooks stay out, accelerate's (which fetch offloaded weights) stay in
    nothing = out_proj.forward(torch.zeros_like(hidden))
    results = []
    for head, own in zip(piece.heads, z, strict=True):
        alone = torch.zeros_like(hidden)
        alone[..., head * lm.d_head : (head + 1) * lm.d_head] = own
        results.append(out_proj.forward(alone) - nothing)
    return torch.stack(results)


def _plain_weight(out_proj: nn.Module) -> Float[Tensor, "z d_model"] | None:
    """W_O of a projection that is a matrix and no more; None where adapters, offloading or quantisation take part."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    weight = getattr(out_proj, "weight", None)
    plain = type(out_proj) in (nn.Linear, Conv1D) and "forward" not in vars(out_proj) and type(weight) is nn.Parameter
    if not plain or weight.device.type == "meta" or not weight.dtype.is_floating_point:
        return None
    return weight.T if type(out_proj) is nn.Linear else weight


def _nowhere(_piece: Piece, _values: Tensor) -> None:
    """Between forward passes there is nothing to hand over."""


class BatchReader:
    """Reads batches of token ids, one forward pass each, which ends after the deepest site.

    Args:
        lm: the model.
        sites: where to read.
    """

    def __init__(self, lm: LanguageModel, sites: Iterable[str | Site]) -> None:
        self.lm, self.pieces = lm, pieces_of(lm, sites)
        self._reader = Reader(lm, self.pieces, _nowhere, columns=torch.zeros(0, dtype=torch.long), stop=True)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Hooks and evaluation mode within the block, and nobody else runs the model."""
        with self.lm.lock, evaluation_mode(self.lm.model), self._reader.attached():
            yield

    def run(
        self,
        token_ids: Int[Tensor, "n pos"],
        lengths: Int[Tensor, " n"],
        positions: Int[Tensor, " n"] | None = None,
        padding_side: str = "right",
        *,
        sink: Callable[[Piece, Float[Tensor, "sites n d"]], None],
    ) -> None:
        """One batch, within :meth:`ready`; see :func:`activations_of_ids`.

        `sink` is called with each piece and its activations, in the model's dtype, on its device.
        """
        own = lengths.cpu()
        columns = own - 1 if positions is None else positions.cpu()
        columns = torch.where(columns < 0, columns + own, columns)
        if padding_side == "left":
            columns = columns + token_ids.shape[1] - own
        device = self.lm.device
        self._reader.start(columns)
        self._reader.sink = sink
        try:
            with torch.inference_mode():
                self.lm.model(**forward_inputs(self.lm, token_ids.to(device), lengths.to(device), padding_side))
        except StopForward as stopped:
            if stopped.reader is not self._reader:
                raise
            return
        finally:
            self._reader.sink = _nowhere
        missing = [
            site.name for key in self._reader.waiting for piece in self._reader.taps[key] for site in piece.sites
        ]
        raise UnsupportedModel(
            f"the forward pass of {self.lm.name} did not reach {', '.join(missing)}",
            hint="its layout is another than was taken for it: leave check=True, or give the right architecture",
        )
