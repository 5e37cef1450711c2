"""Pictures of a page as PNG files with 256 colours: text and flat areas lose nothing that an eye would miss."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lab import ROOT
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Locator


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
    path.write_bytes(in_256_colours(locator.screenshot()))
    page.set_viewport_size(size)


def in_256_colours(png: bytes) -> bytes:
    """The same picture in a palette: text and flat areas look as before, in less than half of the bytes."""
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    written = io.BytesIO()
    picture.save(written, "PNG", optimize=True)
    return written.getvalue()
