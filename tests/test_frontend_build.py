"""The committed bundles: built from the sources at hand, small, and free of what breaks a notebook."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from inversescope_nb.reports import COARSE, UNRELIABLE

ROOT = Path(__file__).resolve().parent.parent
JS = ROOT / "js"
STATIC = ROOT / "inversescope_nb" / "static"
BUNDLES = (
    "token_picker.js",
    "sample_gallery.js",
    "consistency_panel.js",
    "site_sweep.js",
    "pins.js",
    "comparison.js",
    "scope.js",
    "viewer.js",
    "isn.css",
)
LIMIT = 60 * 1024


def source_hash() -> str:
    """As build.mjs computes it: SHA-256 over "name NUL content NUL" of every source, in order of the name."""
    files = [*(path for path in (JS / "src").rglob("*") if path.is_file()), JS / "build.mjs", JS / "package-lock.json"]
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(JS).as_posix(), path) for path in files):
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@pytest.mark.skipif(not (JS / "src").is_dir(), reason="the front end's sources are not here")
def test_the_build_is_as_new_as_its_sources():
    manifest = json.loads((STATIC / "manifest.json").read_text())
    assert manifest["sources_sha256"] == source_hash(), "run `npm run build` in js/ and commit the result"


def test_the_manifest_tells_the_sizes_of_the_bundles_that_are_there():
    sizes = json.loads((STATIC / "manifest.json").read_text())["bundles"]
    assert set(sizes) == {*BUNDLES, "chart.js"}
    assert all((STATIC / name).stat().st_size == size for name, size in sizes.items())


@pytest.mark.parametrize("name", BUNDLES)
def test_bundles_are_small(name):
    assert (STATIC / name).stat().st_size <= LIMIT


@pytest.mark.parametrize("name", [n for n in BUNDLES if n.endswith(".js")])
def test_bundles_load_nothing_and_parse_no_markup(name):
    code = (STATIC / name).read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/)", code), "a bundle loads something from the network"
    assert "innerHTML" not in code
    assert "insertAdjacentHTML" not in code
    assert "document.write" not in code
    assert not re.search(r"^\s*import\s*[\"'{*]", code, re.MULTILINE)


def test_every_class_carries_the_one_prefix():
    css = re.sub(r"/\*.*?\*/", "", (STATIC / "isn.css").read_text(), flags=re.DOTALL)
    selectors = re.findall(r"([^{}]+)\{", css)
    classes = {c for selector in selectors if "@" not in selector for c in re.findall(r"\.([a-z][\w-]*)", selector)}
    assert classes
    assert all(c == "isn" or c.startswith("isn-") for c in classes)


def test_the_lock_file_names_no_registry():
    assert '"resolved"' not in (JS / "package-lock.json").read_text()


@pytest.mark.parametrize("words", [UNRELIABLE, COARSE])
def test_the_front_end_knows_a_note_by_the_words_that_python_begins_it_with(words):
    assert f'("{words}")' in (JS / "src" / "lib" / "rates_table.ts").read_text(encoding="utf-8")
