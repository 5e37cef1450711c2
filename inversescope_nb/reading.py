"""Activations of many prompts: in batches by length, straight to where they are kept, smaller when memory runs out.

Beside the activations that were asked for no more than one batch is held. Axes: ``n`` prompts, ``d`` width of a site.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from ._readers import BatchReader, BySite, Piece
from .errors import Cancelled, NotFinite, OutOfMemory

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
    waiting, done, most = deque(batches), 0, None
    while waiting:
        with reader.ready():
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
                    _run(reader, rows, positions, batch, places)
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
    batch: Int[Tensor, " k"],
    places: Mapping[Piece, Float[Tensor, "sites n d"]],
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
        what = "NaN" if bool(values[at, row].isnan().any()) else "infinite"
        fix = "dtype='bfloat16' or 'float32' reaches further" if lm.dtype == torch.float16 else "are its weights whole?"
        raise NotFinite(
            f"{lm.name} computes {what} values at {piece.sites[at]} for prompt {int(batch[row])}",
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
