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

from .errors import InvalidArgument, UnsupportedModel
from .hooks import evaluation_mode, hooked
from .sites import KINDS, Site

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor, nn

    from .models import LanguageModel

    Change = Float[Tensor, "..."] | Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]


class StopForward(Exception):
    """Ends a forward pass once every wanted site has been seen; ends the `capture` that raised it, and no other."""


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
    groups: dict[tuple[int, str, str], list[Site]] = {}
    for spec in sites:
        site = lm.site(spec)
        groups.setdefault((site.layer, *lm.architecture.layout.tap(site.kind)), []).append(site)
    seen = BySite(lm)
    ended = StopForward()
    waiting = set(groups)
    shape: list[int] = []

    def reader(key: tuple[int, str, str], group: list[Site]) -> Callable[[Tensor], None]:
        out_proj = lm.architecture.module(key[0], lm.architecture.layout.out_proj)

        def read(hidden: Tensor) -> None:
            hidden = _batched(hidden, shape)
            if columns is None:
                hidden = hidden.clone()  # some models go on to add to this tensor in place (Falcon)
            else:
                rows = torch.arange(hidden.shape[0], device=hidden.device)
                hidden = hidden[rows, columns.to(hidden.device)]
            for site in group:
                seen[site.name] = _part(hidden, site, lm.d_head, out_proj)
            waiting.discard(key)
            if stop and not waiting:
                raise ended

        return read

    with lm.lock, ExitStack() as stack:
        for layer in {key[0] for key in groups}:
            stack.enter_context(hooked(lm.architecture.blocks[layer], "in", _shape_keeper(shape)))
        for key, group in groups.items():
            module = lm.architecture.module(key[0], key[1])
            stack.enter_context(hooked(module, key[2], reader(key, group)))
        try:
            yield seen
        except StopForward as stopped:
            if stopped is not ended:
                raise


def _shape_keeper(shape: list[int]) -> Callable[[Tensor], None]:
    """A hook on a block's input that notes its [n, pos]: OPT's MLP sees positions of all rows in one axis."""

    def keep(hidden: Tensor) -> None:
        shape[:] = hidden.shape[:2]

    return keep


def _batched(hidden: Tensor, shape: list[int]) -> Tensor:
    """Hidden states as [n, pos, d]."""
    return hidden if hidden.ndim == 3 else hidden.view(*shape, hidden.shape[-1])


def _part(hidden: Tensor, site: Site, d_head: int, out_proj: nn.Module) -> Tensor:
    """What a site reads of the tensor it hooks: all of it, one head's slice, or that slice through W_O."""
    if site.head is None:
        return hidden
    head = slice(site.head * d_head, (site.head + 1) * d_head)
    if site.kind == "z":
        return hidden[..., head]
    alone = torch.zeros_like(hidden)
    alone[..., head] = hidden[..., head]
    # `forward`, not a call: our hooks stay out, accelerate's (which fetch offloaded weights) stay in
    return out_proj.forward(alone) - out_proj.forward(torch.zeros_like(hidden))


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
    device = lm.device
    token_ids, lengths = token_ids.to(device), lengths.to(device)
    columns = torch.full_like(lengths, -1) if positions is None else positions.to(device)
    columns = torch.where(columns < 0, columns + lengths, columns)
    if padding_side == "left":
        columns = columns + token_ids.shape[1] - lengths
    inputs = forward_inputs(lm, token_ids, lengths, padding_side)
    with (
        lm.lock,  # first: another thread must not end this one's evaluation mode
        evaluation_mode(lm.model),
        torch.inference_mode(),
        capture(lm, sites, columns=columns, stop=True) as seen,
    ):
        lm.model(**inputs)
    if missing := [site.name for site in map(lm.site, sites) if site.name not in seen]:
        raise UnsupportedModel(
            f"the forward pass of {lm.name} did not reach {', '.join(missing)}",
            hint="its layout is another than was taken for it: leave check=True, or give the right architecture",
        )
    # copied outside inference mode, so that a generator can be trained on them
    return BySite(lm, {name: torch.empty(value.shape, device=device).copy_(value) for name, value in seen.items()})


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
