"""Activations on disk: a folder with a safetensors file and a JSON that says whose they are; whole, or not there.

A store is written beside its place and moved there when it is whole, so that what is there is whole. The disk space is
taken before the model runs: a full disk is an error at once, not after hours. What a killed process leaves behind
(``NAME.HOST-PID-THREAD.part``) is never read, and is removed when the same store is written again.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ._arguments import check_model, folder_path, whole_number
from ._files import read_json, write_json
from ._readers import BySite, Piece
from .encoding import own_positions
from .errors import InverseScopeError, ModelLoadError, StoreError
from .token_rows import token_rows

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from .encoding import EncodedPrompts, Prompts
    from .models import LanguageModel
    from .sites import Site

VALUES, ABOUT = "activations.safetensors", "store.json"
"""The files of a store."""
FORMAT = 1
ALWAYS = 1 << 20
"""Bytes that stay in memory without a look at what is free."""
SHARE_OF_FREE_MEMORY = 0.5
"""Activations that need more than this share of the memory that is free go to disk, unless a budget is given."""


def open_store(
    path: str | Path,
    lm: LanguageModel,
    sites: str | Site | Iterable[str | Site] | None = None,
    prompts: Prompts | EncodedPrompts | None = None,
    position: int | Sequence[int] | Int[Tensor, " n"] = -1,
) -> dict[str, Float[Tensor, "n d"]]:
    """Activations that :meth:`LanguageModel.activations` stored; they are read from disk as they are used.

    Args:
        path: the folder.
        lm: the model that they are of.
        sites: those to open, in any spelling; None: all that it holds.
        prompts: what they are activations of, to check that; None: whatever they are of.
        position: the position that they were read at.

    Returns:
        canonical site name (other spellings find it too) -> ``[n, d]`` float32. What is written to these tensors does
        not reach the file.

    Raises:
        StoreError: no store, one that is damaged, or one of another model, other sites or other prompts.

    >>> import tempfile, inversescope_nb as isn
    >>> lm = isn.load_model()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     kept = lm.activations([[1, 4, 5]], "resid_post.0", store=f"{folder}/kept")
    ...     bool((open_store(f"{folder}/kept", lm)["resid_post.0"] == kept["resid_post.0"]).all())
    True
    """
    check_model(lm)
    place = folder_path(path, "path")
    about = _about(place)
    if about["model"] != lm.fingerprint:
        raise StoreError(f"{place.name} holds activations of another model: {about['name']}", hint=_ANOTHER)
    several = isinstance(sites, Iterable) and not isinstance(sites, str)
    wanted = [lm.site(s) for s in (about["sites"] if sites is None else sites if several else [sites])]
    for site in wanted:
        if site.name not in about["sites"]:
            held = f"{', '.join(about['sites'][:4])}{' ...' if len(about['sites']) > 4 else ''}"
            raise StoreError(f"{place.name} does not hold {site}", hint=f"it holds {held}; {_ANOTHER}")
    if prompts is not None:
        rows = token_rows(lm, prompts)
        if about["prompts"] != rows.digest(own_positions(position, rows.lengths)):
            raise StoreError(f"{place.name} holds activations of other prompts or positions", hint=_ANOTHER)
    return BySite(lm, _mapped(place, wanted, about["n"]))


def need(pieces: Iterable[Piece], n: int) -> int:
    """Bytes that the activations of `n` prompts take."""
    return sum(len(piece.sites) * piece.d for piece in pieces) * n * torch.float32.itemsize


def fits(size: int, budget: int | None) -> bool:
    """Whether so many bytes stay in memory: within the budget, or in half of what is free at the moment."""
    if budget is not None:
        return size <= whole_number("budget", budget, least=0, hint="give bytes; None: half of the memory that is free")
    if size <= ALWAYS:
        return True
    import psutil

    return size <= psutil.virtual_memory().available * SHARE_OF_FREE_MEMORY


@contextmanager
def writing(
    path: Path, pieces: Sequence[Piece], n: int, about: dict[str, Any]
) -> Iterator[dict[Piece, Float[Tensor, "sites n d"]]]:
    """Places for activations in a file; when the block is left without an error they are a store at `path`.

    Raises:
        StoreError: the disk is full, or nothing can be written there.
    """
    part = path.with_name(f"{path.name}.{platform.node()}-{os.getpid()}-{threading.get_ident()}.part")
    try:
        with _said(path, need(pieces, n)):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path)
            part.mkdir()
            places, mapped = _reserved(part / VALUES, pieces, n)
        yield places
        with _said(path, need(pieces, n)):
            mapped.flush()
            names = [site.name for piece in pieces for site in piece.sites]
            write_json(part / ABOUT, {"format": FORMAT, **about, "n": n, "sites": names})
            if path.is_dir():
                path.rmdir()  # an empty one
            os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def temporary(pieces: Sequence[Piece], n: int) -> dict[Piece, Float[Tensor, "sites n d"]]:
    """Places for activations in a file without a name: it is gone when they are, whatever ends the process.

    Raises:
        StoreError: the disk of temporary files is full.
    """
    folder = Path(tempfile.gettempdir())
    with _said(folder, need(pieces, n)), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as part:
        return _reserved(Path(part) / VALUES, pieces, n)[0]


def kept(path: Path, lm: LanguageModel, sites: Sequence[Site], prompts: str) -> dict[str, Float[Tensor, "n d"]] | None:
    """What a store holds already, None where there is none yet.

    Raises:
        StoreError: it holds something else, or the folder is no store.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    found = open_store(path, lm, sites)
    if _about(path)["prompts"] != prompts:
        raise StoreError(f"{path.name} holds activations of other prompts or positions", hint=_ANOTHER)
    return found


_ANOTHER = "give another folder, or delete this one to store them anew"


def _about(place: Path) -> dict[str, Any]:
    """What a store says of itself."""
    try:
        about = read_json(place / ABOUT)
    except (ModelLoadError, OSError) as error:
        raise StoreError(f"{place} is no store of activations", hint=_ANOTHER) from error
    known = {"format": int, "model": str, "name": str, "prompts": str, "n": int, "sites": list}
    if not isinstance(about, dict) or not all(isinstance(about.get(key), kind) for key, kind in known.items()):
        raise StoreError(f"{place} is no store of activations", hint=_ANOTHER)
    if about["format"] != FORMAT:
        raise StoreError(f"{place.name} is written in format {about['format']}, not {FORMAT}", hint=_ANOTHER)
    return about


def _mapped(place: Path, sites: Sequence[Site], n: int) -> dict[str, Float[Tensor, "n d"]]:
    """The tensors of a store's file, mapped into memory."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(place / VALUES, framework="pt") as file:
            values = {site.name: file.get_tensor(site.name) for site in sites}
    except (OSError, SafetensorError) as error:
        raise StoreError(f"the store {place} is damaged: {error}", hint=_ANOTHER) from error
    for site in sites:
        if values[site.name].shape != (n, site.d) or values[site.name].dtype != torch.float32:
            raise StoreError(f"the store {place} is damaged: {site} is not [{n}, {site.d}]", hint=_ANOTHER)
    return values


def _reserved(
    file: Path, pieces: Sequence[Piece], n: int
) -> tuple[dict[Piece, Float[Tensor, "sites n d"]], np.memmap[Any, Any]]:
    """A safetensors file of the right size, its space taken, and each piece's place in it."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for piece in pieces:
        for site in piece.sites:
            end = at + n * site.d * torch.float32.itemsize
            header[site.name] = {"dtype": "F32", "shape": [n, site.d], "data_offsets": [at, end]}
            at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.flush()
        _take(out.fileno(), 8 + len(text), at)
    mapped = np.memmap(file, dtype="<f4", mode="r+", offset=8 + len(text), shape=(at // torch.float32.itemsize,))
    values, places, at = torch.from_numpy(mapped), {}, 0
    for piece in pieces:
        size = len(piece.sites) * n * piece.d
        places[piece] = values[at : at + size].view(len(piece.sites), n, piece.d)
        at += size
    return places, mapped


def _take(fd: int, start: int, size: int) -> None:
    """Disk space for the rest of a file; writing to a mapped file could not say that there is none."""
    try:
        os.posix_fallocate(fd, start, size)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        block = bytes(1 << 20)
        for left in range(size, 0, -len(block)):
            os.write(fd, block[:left])


@contextmanager
def _said(place: Path, size: int) -> Iterator[None]:
    """What the operating system refuses, in words."""
    try:
        yield
    except OSError as error:
        if isinstance(error, InverseScopeError):
            raise
        there = next(folder for folder in (place, *place.parents) if folder.is_dir())
        free = shutil.disk_usage(there).free
        raise StoreError(
            f"cannot store activations in {place}: {error.strerror or error}; they take {_megabytes(size)}",
            hint=f"{_megabytes(free)} are free there: free more, give store= a folder elsewhere, or ask for less",
        ) from error


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _remove_leftovers(path: Path) -> None:
    """Removes what killed processes of this machine began to write here."""
    import psutil

    for part in path.parent.glob(f"{path.name}.{platform.node()}-*.part"):
        pid = part.name.rpartition(f"{platform.node()}-")[2].partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(part, ignore_errors=True)
