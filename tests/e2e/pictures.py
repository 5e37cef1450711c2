"""Pictures of a page as PNG files with 256 colours: text and flat areas lose nothing that an eye would miss."""

from __future__ import annotations

import base64
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lab import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

_PIXELS = """async data => {
  const image = new Image();
  image.src = "data:image/png;base64," + data;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const bytes = context.getImageData(0, 0, image.width, image.height).data;
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return [image.width, image.height, btoa(text)];
}"""


def folder_for(scratch: Path) -> Path:
    """Where pictures go: into ``notebooks/images`` with ``ISN_KEEP_SCREENSHOTS=1``, else into a temporary folder."""
    folder = ROOT / "notebooks" / "images" if os.environ.get("ISN_KEEP_SCREENSHOTS") else scratch / "images"
    folder.mkdir(exist_ok=True)
    return folder


_WHOLE = """element => {
  const { top, bottom } = element.getBoundingClientRect();
  for (let box = element.parentElement; box !== document.body; box = box.parentElement) {
    if (getComputedStyle(box).overflowY === "visible") continue;
    const around = box.getBoundingClientRect();
    if (top < around.top - 1 || bottom > around.bottom + 1) return false;
  }
  return true;
}"""
_AROUND = 400
"""Pixels that the notebook's own bars and margins take at most."""


def take(locator: Locator, path: Path) -> None:
    """Writes a picture of one element, all of it: the window is made as high as that takes."""
    page, box = locator.page, locator.bounding_box()
    size = page.viewport_size
    page.set_viewport_size({"width": size["width"], "height": max(size["height"], int(box["height"]) + _AROUND)})
    page.wait_for_timeout(300)
    locator.evaluate("element => element.scrollIntoView({ block: 'start' })")
    page.wait_for_timeout(300)
    assert locator.evaluate(_WHOLE), f"{path.name} would be cut off"
    path.write_bytes(in_256_colours(page, locator.screenshot()))
    page.set_viewport_size(size)


def in_256_colours(page: Page, png: bytes) -> bytes:
    """The same picture with its 256 commonest colours, the others replaced by the nearest of them."""
    scratch = page.context.new_page()
    try:
        width, height, text = scratch.evaluate(_PIXELS, base64.b64encode(png).decode())
    finally:
        scratch.close()
    rgba = np.frombuffer(base64.b64decode(text), dtype=np.uint8).reshape(height * width, 4)
    colours, index, counts = np.unique(rgba[:, :3], axis=0, return_inverse=True, return_counts=True)
    palette = colours[np.argsort(-counts, kind="stable")[:256]]
    nearest = [int(np.square(palette.astype(int) - colour).sum(axis=1).argmin()) for colour in colours.astype(int)]
    rows = np.array(nearest, dtype=np.uint8)[index.reshape(-1)].reshape(height, width)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette.tobytes()),
            _chunk(b"IDAT", zlib.compress(lines, 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
