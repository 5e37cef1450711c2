"""Reading and changing activations: hooks in context managers, only where asked, gone afterwards.

The user's model object runs as it is (nothing wrapped, nothing folded); hooks read a module's input or
output and, when every wanted site has been seen, stop the forward pass, so later blocks and the
vocabulary logits are never computed. Axes: ``n`` prompts, ``pos`` positions, ``d`` width of the site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from .errors import InvalidArgument, UnsupportedModel
from .hooks import evaluation_mode, hooked
from .sites import KINDS, Site

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor, nn

    from .models import LanguageModel

    Change = Float[Tensor, "..."] | Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]


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


# --- capture ------------------------------------------------------------------------------------------


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
        kept = _batched(hidden, self._shape).clone() if whole else self._rows_kept(hidden, self.columns)
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


@contextmanager
def capture(
    lm: LanguageModel,
    sites: Iterable[str | Site],
    *,
    columns: Int[Tensor, " n"] | None = None,
    stop: bool = False,
) -> Iterator[dict[str, Float[Tensor, "n ..."]]]:
    """Collect activations during any forward pass of ``lm.model`` within the block.

    Args:
        lm: the model.
        sites: where to read.
        columns: for each row of the batch, the column of ``input_ids`` to keep; None keeps all of them.
        stop: end the forward pass, and with it the ``with`` block, when every site has been seen.

    Yields:
        a dict that fills up: site name -> ``[n, pos, d]``, or ``[n, d]`` with `columns`; in the model's
        dtype, on its device, from the latest forward pass.

    >>> import inversescope_nb as isn
    >>> lm = isn.load_model()
    >>> with capture(lm, ["resid_post.0"], stop=True) as seen:
    ...     lm.model(torch.tensor([[1, 4, 5]]))
    >>> seen["blocks.0.hook_resid_post"].shape == (1, 3, lm.d_model)
    True
    """
    seen = BySite(lm)

    def sink(piece: Piece, values: Tensor) -> None:
        seen.update((site.name, value) for site, value in zip(piece.sites, values, strict=True))

    reader = Reader(lm, pieces_of(lm, sites), sink, columns=columns, stop=stop)
    with reader.attached():
        try:
            yield seen
        except StopForward as stopped:
            if stopped.reader is not reader:
                raise


def _shape_keeper(shape: list[int]) -> Callable[[Tensor], None]:
    """A hook on a block's input that notes its [n, pos]: OPT's MLP sees positions of all rows in one axis."""

    def keep(hidden: Tensor) -> None:
        shape[:] = hidden.shape[:2]

    return keep


def _batched(hidden: Tensor, shape: list[int]) -> Tensor:
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


def activations_of_ids(
    lm: LanguageModel,
    token_ids: Int[Tensor, "n pos"],
    lengths: Int[Tensor, " n"],
    sites: Iterable[str | Site],
    *,
    positions: Int[Tensor, " n"] | None = None,
    padding_side: str = "right",
) -> dict[str, Float[Tensor, "n d"]]:
    """Activations of one batch of token ids: the fast inner function, without checks of the ids.

    Args:
        lm: the model.
        token_ids: ``[n, pos]``, padded with any valid id.
        lengths: ``[n]``, how many tokens of each row are real.
        sites: where to read; one forward pass serves all of them.
        positions: ``[n]``, which of each row's own tokens to keep, negative from its end; None: the last.
        padding_side: the side on which rows are padded.

    Returns:
        site name -> ``[n, d]`` float32 on the model's device; ordinary tensors, usable in training.
    """
    batch, device, seen = BatchReader(lm, sites), lm.device, dict[Piece, "Tensor"]()
    with batch.ready():
        batch.run(token_ids, lengths, positions, padding_side, sink=seen.__setitem__)
    # copied outside inference mode, so that a generator can be trained on them
    return BySite(
        lm,
        {
            site.name: torch.empty(value.shape, device=device).copy_(value)
            for piece, values in seen.items()
            for site, value in zip(piece.sites, values, strict=True)
        },
    )


def forward_inputs(
    lm: LanguageModel,
    token_ids: Int[Tensor, "n pos"],
    lengths: Int[Tensor, " n"],
    padding_side: str = "right",
) -> dict[str, Any]:
    """Arguments of a forward pass in which padding changes nothing: explicit mask and position ids."""
    column = torch.arange(token_ids.shape[1], device=token_ids.device)[None]
    first = (token_ids.shape[1] - lengths if padding_side == "left" else torch.zeros_like(lengths))[:, None]
    real = (column >= first) & (column < first + lengths[:, None])
    inputs: dict[str, Any] = {"input_ids": token_ids, "attention_mask": real.long(), "use_cache": False}
    if lm.takes_position_ids:
        inputs["position_ids"] = (column - first).clamp(min=0)
    return inputs


def logits_behind(
    lm: LanguageModel, inputs: Mapping[str, Any], positions: Int[Tensor, " n"]
) -> Float[Tensor, "n vocab"]:
    """Logits behind one token of each row of a forward pass; of the others as few as the model can be told to."""
    kept, where = positions.unique(return_inverse=True)
    keep = {"logits_to_keep": kept} if lm.takes_logits_to_keep else {}
    logits = lm.model(**inputs, **keep).logits
    if not keep or logits.shape[1] != len(kept):  # some take the argument and mean something else by it
        where = positions
    return logits[torch.arange(len(logits), device=logits.device), where.to(logits.device)]


# --- patch and scale ----------------------------------------------------------------------------------


@contextmanager
def patch(
    lm: LanguageModel,
    changes: Mapping[str | Site, Change],
    *,
    position: int | Int[Tensor, " n"] | None = None,
) -> Iterator[None]:
    """Change activations in every forward pass of ``lm.model`` within the block.

    Args:
        lm: the model.
        changes: site -> what to put there: a tensor that broadcasts to the activation, or a function of
            it. The activation is ``[n, d]`` at one position, ``[n, pos, d]`` at all of them.
        position: column of ``input_ids``, the same for all rows or one per row; None: every position.
            Negative ones count from the last column, so with right padding give ``lengths - 1``. Rows are
            those of the forward pass: :meth:`LanguageModel.activations` keeps the order of the prompts
            as long as they fit in one batch.

    Raises:
        InvalidArgument: a `result` site (patch the head's z), a wrong shape, a position outside the pass.

    >>> import inversescope_nb as isn
    >>> lm = isn.load_model()
    >>> with patch(lm, {"blocks.0.attn.hook_z.1": torch.zeros(lm.d_head)}, position=-1):
    ...     ablated = lm.logits([[1, 4, 5]])
    >>> bool((ablated != lm.logits([[1, 4, 5]])).any())
    True
    """
    wanted = {lm.site(spec): change for spec, change in changes.items()}
    with lm.lock, ExitStack() as stack:
        # in forward order, so that a patch of resid_mid sees a patched resid_pre
        for site, change in sorted(wanted.items(), key=lambda item: (item[0].layer, KINDS.index(item[0].kind))):
            if site.kind == "result":
                raise InvalidArgument(
                    f"{site} is computed, not a place in the forward pass",
                    hint=f"patch the head's z: {site.name.replace('hook_result', 'hook_z')}",
                )
            stack.enter_context(_patched(lm, site, change, position))
        yield


@contextmanager
def scale(
    lm: LanguageModel, factors: Mapping[str | Site, float], *, position: int | Int[Tensor, " n"] | None = None
) -> Iterator[None]:
    """Multiply activations by scalars within the block (Activation Scaling, arXiv 2410.04962).

    Args:
        lm: the model.
        factors: site -> factor; 1 changes nothing, 0 removes the component.
        position: as in :func:`patch`.
    """
    changes = {site: (lambda value, by=float(factor): value * by) for site, factor in factors.items()}
    with patch(lm, changes, position=position):
        yield


@contextmanager
def _patched(lm: LanguageModel, site: Site, change: Change, position: int | Int[Tensor, " n"] | None) -> Iterator[None]:
    """One site's patch."""
    block = lm.architecture.blocks[site.layer]
    shape: list[int] = []
    entry: list[Tensor] = []

    def remember(hidden: Tensor) -> None:
        shape[:] = hidden.shape[:2]
        entry[:] = [hidden]

    def write(hidden: Tensor) -> Tensor:
        return _changed(_batched(hidden, shape), site, lm.d_head, change, position).view_as(hidden)

    def write_mid(added: Tensor) -> Tensor:
        # The block keeps resid_mid in a local variable: it is reached through what attention adds to it.
        before = entry[0].to(added.device)
        return write(before + added) - before

    kind = "attn_out" if site.kind == "resid_mid" else site.kind
    path, side = lm.architecture.layout.tap(kind)
    fn = write_mid if site.kind == "resid_mid" else write
    with hooked(block, "in", remember), hooked(block.get_submodule(path), side, fn):
        yield


def _changed(
    hidden: Tensor, site: Site, d_head: int, change: Change, position: int | Int[Tensor, " n"] | None
) -> Tensor:
    """A copy of `hidden` [n, pos, d] with the site's part changed at the position."""
    n, n_pos, _ = hidden.shape
    last = slice(None) if site.head is None else slice(site.head * d_head, (site.head + 1) * d_head)
    new = hidden.clone()
    part = new[..., last]
    where: Any = (slice(None),)
    if position is not None:
        columns = torch.as_tensor(position, device=hidden.device).expand(n)
        if bool(((columns < -n_pos) | (columns >= n_pos)).any()):
            raise InvalidArgument(
                f"position {position} is outside this forward pass of {n_pos} positions",
                hint="patch positions of the tokens in input_ids; generate with use_cache=False",
            )
        where = (torch.arange(n, device=hidden.device), columns)
    old = part[where]
    value = change(old) if callable(change) else torch.as_tensor(change)
    try:
        value = value.to(device=old.device, dtype=old.dtype).expand(old.shape)
    except RuntimeError as error:
        raise InvalidArgument(
            f"the patch for {site} has shape {tuple(value.shape)}",
            hint=f"it must broadcast to {tuple(old.shape)}",
        ) from error
    part[where] = value
    return new
