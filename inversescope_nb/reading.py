"""Activations of many prompts: in batches by length, straight to where they are kept, smaller when memory runs out.

Beside the activations that were asked for no more than one batch is held. Axes: ``n`` prompts, ``d`` width of a site.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch

from ._forward import forward_inputs
from ._readers import BatchReader, BySite, Piece
from .activations import capture
from .errors import Cancelled, NotFinite, OutOfMemory
from .hooks import evaluation_mode

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .models import LanguageModel
    from .sites import Site
    from .token_rows import TokenRows

    Progress = Callable[[int, int, str], None]

log = logging.getLogger(__name__)

TURN_S = 0.1
"""Seconds after which other threads get a turn at the model, when the batch at hand is through."""


def read(
    lm: LanguageModel,
    rows: TokenRows,
    positions: Int[Tensor, " n"],
    batches: Sequence[Int[Tensor, " k"]],
    places: Mapping[Piece, Float[Tensor, "sites n d"]],
    *,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> None:
    """Runs the model on every batch and writes the activations where they belong.

    A batch that does not fit in memory is halved, and so are those after it; what was read before stays.

    Args:
        lm: the model.
        rows: token ids of all prompts.
        positions: which of each prompt's tokens to read.
        batches: row numbers, each batch one forward pass.
        places: pieces and the memory for their activations, float32 on the CPU.
        on_progress: called with (done, total, message) after each batch.
        cancel: checked between batches.

    Raises:
        NotFinite: an activation that is NaN or infinite.
        OutOfMemory: a single prompt does not fit.
        Cancelled: `cancel` was set.
    """
    reader = BatchReader(lm, [site for piece in places for site in piece.sites])
    run = partial(_run, reader, rows, positions, places)
    _in_turns(rows, batches, reader.ready, run, on_progress=on_progress, cancel=cancel)


def read_every_token(
    lm: LanguageModel, rows: TokenRows, site: Site, *, first: int = 0, cancel: threading.Event | None = None
) -> Float[Tensor, "tokens d"]:
    """Activations of one site at every token of every row: of all rows one after the other, in the site's dtype.

    Args:
        lm: the model.
        rows: token ids; batches are made of them by length, and halved where memory runs out.
        site: where to read.
        first: tokens in front of each row that are left out (BOS).
        cancel: checked between batches.

    Raises:
        NotFinite, OutOfMemory, Cancelled
    """
    kept = (rows.lengths - first).clamp(min=0)
    starts = kept.cumsum(0) - kept
    found: list[Tensor] = []  # a site may be in another dtype than the model

    def run(batch: Int[Tensor, " k"]) -> None:
        ids, lengths = rows.padded(batch, lm.pad_id), rows.lengths[batch]
        with torch.inference_mode(), capture(lm, [site], stop=True) as seen:
            lm.model(**forward_inputs(lm, ids.to(lm.device), lengths.to(lm.device)))
        column = torch.arange(first, ids.shape[1])
        real = column < lengths[:, None]
        where = (starts[batch, None] + column - first)[real]
        values = seen[site.name][:, first:].cpu()[real]
        bad = (~torch.isfinite(values).all(-1)).nonzero()
        if len(bad):
            raise _no_number(lm, site, int(batch[int(real.nonzero()[bad[0, 0], 0])]), values[bad[0, 0]])
        if not found:
            found.append(torch.empty(int(kept.sum()), site.d, dtype=values.dtype))
        found[0][where] = values

    @contextmanager
    def ready() -> Iterator[None]:
        with lm.lock, evaluation_mode(lm.model):
            yield

    _in_turns(rows, rows.batches(), ready, run, cancel=cancel)
    return found[0]


def _in_turns(
    rows: TokenRows,
    batches: Sequence[Int[Tensor, " k"]],
    ready: Callable[[], AbstractContextManager[None]],
    run: Callable[[Int[Tensor, " k"]], None],
    *,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> None:
    """Runs every batch within `ready()`, and lets other threads in between; halves those that do not fit in memory."""
    waiting, done, most = deque(batches), 0, None
    while waiting:
        with ready():
            began = time.monotonic()
            while waiting and time.monotonic() - began < TURN_S:
                if cancel is not None and cancel.is_set():
                    raise Cancelled("reading activations was stopped")
                batch = waiting.popleft()
                width = int(rows.lengths[batch].max())
                if most is not None and len(batch) > 1 and len(batch) * width > most:
                    waiting.extendleft(reversed(batch.split(max(1, most // width))))
                    continue
                try:
                    run(batch)
                except (RuntimeError, MemoryError) as error:
                    if not _is_out_of_memory(error):
                        raise
                    if len(batch) == 1:
                        raise _too_long(int(batch), width) from error
                else:
                    done += len(batch)
                    if on_progress is not None:
                        on_progress(done, len(rows), "running the model")
                    continue
                if most is None:
                    log.warning("%d prompts of %d tokens do not fit in memory: smaller batches", len(batch), width)
                most = len(batch) // 2 * width
                waiting.appendleft(batch)
                _free()


def in_memory(pieces: Iterable[Piece], n: int) -> dict[Piece, Float[Tensor, "sites n d"]]:
    """Memory for the activations of `n` prompts.

    Raises:
        OutOfMemory: there is not that much.
    """
    try:
        return {piece: torch.empty(len(piece.sites), n, piece.d) for piece in pieces}
    except (RuntimeError, MemoryError) as error:
        raise OutOfMemory(
            f"there is no memory for the activations of {n:,} prompts",
            hint="store='folder' keeps them on disk; or ask for fewer sites or prompts at a time",
        ) from error


def by_site(
    lm: LanguageModel, sites: Iterable[Site], places: Mapping[Piece, Float[Tensor, "sites n d"]]
) -> dict[str, Float[Tensor, "n d"]]:
    """The activations under their sites' names, in the order of `sites`."""
    found = {site.name: values for piece in places for site, values in zip(piece.sites, places[piece], strict=True)}
    return BySite(lm, {site.name: found[site.name] for site in sites})


def _run(
    reader: BatchReader,
    rows: TokenRows,
    positions: Int[Tensor, " n"],
    places: Mapping[Piece, Float[Tensor, "sites n d"]],
    batch: Int[Tensor, " k"],
) -> None:
    """One batch: nothing of it is held when this is left, whichever way."""
    keeper = _Keeper(reader.lm, batch, places)
    reader.run(rows.padded(batch, reader.lm.pad_id), rows.lengths[batch], positions[batch], sink=keeper)
    keeper.finish()


class _Keeper:
    """Writes what one batch's forward pass hands over to where it belongs, as it comes: nothing is held twice.

    From a GPU it is copied while the model goes on, in a stream of its own, into memory that stays where it is.
    """

    def __init__(
        self, lm: LanguageModel, batch: Int[Tensor, " k"], places: Mapping[Piece, Float[Tensor, "sites n d"]]
    ) -> None:
        self.lm, self.batch, self.places = lm, batch, places
        self._coming: list[tuple[Piece, Float[Tensor, "sites k d"]]] = []
        self._streams: dict[torch.device, torch.cuda.Stream] = {}
        self._sums: list[Tensor] = []

    def __call__(self, piece: Piece, values: Float[Tensor, "sites k d"]) -> None:
        if values.device.type == "cpu":
            values = values.float()
            self._place(piece, values)
        elif values.device.type == "cuda":
            self._coming.append((piece, self._sent(values)))
        else:
            self._coming.append((piece, values.float().cpu()))
        self._sums.append(values.sum(dtype=torch.float32))

    def _sent(self, values: Float[Tensor, "sites k d"]) -> Float[Tensor, "sites k d"]:
        """A copy that is there when its stream is through."""
        device = values.device
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)
        stream = self._streams[device]
        copy = torch.empty(values.shape, dtype=torch.float32, pin_memory=True)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            copy.copy_(values, non_blocking=True)
        values.record_stream(stream)
        return copy

    def _place(self, piece: Piece, values: Float[Tensor, "sites k d"]) -> None:
        self.places[piece].index_copy_(1, self.batch, values)

    def finish(self) -> None:
        """What came from other devices, and a look at whether all are numbers."""
        with torch.inference_mode():
            for stream in self._streams.values():
                stream.synchronize()
            for piece, values in self._coming:
                self._place(piece, values)
            by_device: dict[torch.device, list[Tensor]] = {}
            for total in self._sums:
                by_device.setdefault(total.device, []).append(total)
            if not all(bool(torch.isfinite(torch.stack(sums)).all()) for sums in by_device.values()):
                _refuse_what_is_not_finite(self.lm, self.batch, self.places)


def _refuse_what_is_not_finite(
    lm: LanguageModel, batch: Int[Tensor, " k"], places: Mapping[Piece, Float[Tensor, "sites n d"]]
) -> None:
    """Raises where a value is NaN or infinite (a sum of finite ones can be infinite too)."""
    for piece, place in places.items():
        values = place[:, batch]
        bad = (~torch.isfinite(values).all(-1)).nonzero()
        if not len(bad):
            continue
        at, row = bad[0].tolist()
        raise _no_number(lm, piece.sites[at], int(batch[row]), values[at, row])


def _no_number(lm: LanguageModel, site: Site, prompt: int, values: Float[Tensor, " d"]) -> NotFinite:
    what = "NaN" if bool(values.isnan().any()) else "infinite"
    fix = "dtype='bfloat16' or 'float32' reaches further" if lm.dtype == torch.float16 else "are its weights whole?"
    return NotFinite(
        f"{lm.name} computes {what} values at {site} for prompt {prompt}",
        hint=f"nothing can be said about such activations; the model is {lm.dtype}: {fix}",
    )


def _is_out_of_memory(error: Exception) -> bool:
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or should_reduce_batch_size(error)


def _free() -> None:
    """Gives memory back that a failed batch held."""
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)


def _too_long(row: int, width: int) -> OutOfMemory:
    return OutOfMemory(
        f"prompt {row} of {width} tokens does not fit in memory, by itself",
        hint="shorten it, load the model in dtype='bfloat16', or free memory (device_map= moves parts elsewhere)",
    )
