"""Reading and changing activations: hooks in context managers, only where asked, gone afterwards.

The user's model object runs as it is (nothing wrapped, nothing folded); hooks read a module's input or
output and, when every wanted site has been seen, stop the forward pass, so later blocks and the
vocabulary logits are never computed. Axes: ``n`` prompts, ``pos`` positions, ``d`` width of the site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ._readers import BatchReader, BySite, Piece, Reader, StopForward, batched, pieces_of
from .errors import InvalidArgument
from .hooks import hooked
from .sites import KINDS, Site

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .models import LanguageModel

    Change = Float[Tensor, "..."] | Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]


# --- capture ------------------------------------------------------------------------------------------


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
        return _changed(batched(hidden, shape), site, lm.d_head, change, position).view_as(hidden)

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
