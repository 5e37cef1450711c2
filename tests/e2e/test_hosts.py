"""The widget outside JupyterLab: the same notebook in Jupyter Notebook 7 and, converted by marimo, in marimo.

In each a token is picked with the mouse; the widget's parts, which are widgets inside it, must be there, and the page's
console must stay free of errors.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checks import accessibility_faults, standing_out
from lab import browser_page, free_port, jupyter_notebook, open_notebook, run_all_cells, serving, write_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCOPE = ".isn-scope"
ROWS = f"{SCOPE} .isn-sample:not(.isn-sample-head)"
PROMPT = "4 3 7 + 5 6 8 ="
NOTEBOOKS_OWN = "uncaught: Cannot read properties of undefined (reading 'schema')"
"""What Notebook 7.6 throws while it starts, before any cell runs: its shortcuts ask for settings that are not there."""
CELL = f"""import inversescope_nb as isn

scope = isn.InverseScopeWidget(prompt={PROMPT!r}, site="resid_post.1", bandwidth=0.3)
scope"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a notebook of one cell."""
    made = tmp_path / "notebooks"
    made.mkdir()
    write_notebook(made / "widget.ipynb", CELL)
    return made


def marimo(folder: Path, scratch: Path) -> AbstractContextManager[str]:
    """The notebook as marimo converts it, served as an app; nothing of the user's own marimo is read or written."""
    places = {name: scratch for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
    convert = [sys.executable, "-m", "marimo", "convert", "widget.ipynb", "-o", "widget.py"]
    subprocess.run(convert, cwd=folder, check=True, capture_output=True)
    port = free_port()
    command = ["marimo", "run", "widget.py", "--headless", "--no-token", "--host", "127.0.0.1", "--port", str(port)]
    return serving(command, port, "health", folder, scratch, places)


@pytest.fixture
def page() -> Iterator[Page]:
    """A page on whose console nothing may have gone wrong."""
    with browser_page(1440, 1400) as (page, errors):
        yield page
        assert [error for error in errors if error != NOTEBOOKS_OWN] == []


def use(page: Page) -> None:
    """Waits for the widget and its parts, picks other tokens, compares what is found, tests a hypothesis."""
    page.wait_for_selector(ROWS)
    for part in ("picker", "gallery", "panel"):
        assert page.locator(f"{SCOPE} .isn-child .isn-{part}").count() == 1
    tokens = page.locator(f"{SCOPE} button.isn-token")
    assert tokens.all_inner_texts() == ["<bos>", *PROMPT.split()]
    gallery = page.locator(f"{SCOPE} .isn-gallery")
    before = gallery.get_attribute("data-isn-revision")
    shown = page.locator(f"{ROWS} .isn-sample-text")
    first = shown.all_inner_texts()
    page.get_by_text("Pin to compare").click()
    page.locator(f"{SCOPE} .isn-pin-go[aria-current=true]").wait_for()
    tokens.nth(4).click()
    page.wait_for_selector(f"{SCOPE}:not([data-isn-stale]) .isn-gallery:not([data-isn-revision='{before}'])")
    assert tokens.nth(4).get_attribute("aria-pressed") == "true"
    page.wait_for_selector(ROWS)
    assert shown.all_inner_texts() != first
    heads = page.locator(f"{SCOPE} .isn-sample-head .isn-slot-token").all_inner_texts()
    assert [text.strip() for text in heads] == tokens.all_inner_texts()[:5]
    for last in (4, 6):  # the second comparison takes the first one's place, trait by trait in marimo
        compare(page, last)
    page.locator(f"{SCOPE} .isn-add select").select_option("=contains")
    page.locator(f"{SCOPE} .isn-add input[type=text]").fill("+")
    page.get_by_text("Test it").click()
    page.wait_for_selector(f"{SCOPE} .isn-panel .isn-child .isn-vega svg")  # a widget in a widget in a widget
    assert page.locator(".isn-error:visible, .isn-no-kernel:visible").count() == 0
    assert standing_out(page, SCOPE) == []


def compare(page: Page, last: int) -> None:
    """Picks a token, compares with the pin, and looks whether all that is shown of the second side is of that token."""
    tokens = page.locator(f"{SCOPE} button.isn-token")
    if tokens.nth(last).get_attribute("aria-pressed") != "true":
        shown = page.locator(f"{SCOPE} .isn-gallery").get_attribute("data-isn-revision")
        tokens.nth(last).click()
        page.wait_for_selector(f"{SCOPE}:not([data-isn-stale]) .isn-gallery:not([data-isn-revision='{shown}'])")
    comparison = page.locator(f"{SCOPE} .isn-comparison")
    before = comparison.get_attribute("data-isn-revision")
    page.locator(f"{SCOPE} .isn-pin-compare").click()
    page.wait_for_selector(f"{SCOPE} .isn-comparison[data-isn-revision]:not([data-isn-revision='{before}'])")
    sides = page.locator(f"{SCOPE} .isn-compared")
    expected = tokens.all_inner_texts()
    for side, n in ((0, len(expected)), (1, last + 1)):
        heads = sides.nth(side).locator(".isn-sample-head .isn-slot-token").all_inner_texts()
        assert [text.strip() for text in heads] == expected[:n]
        assert sides.nth(side).locator(".isn-sample:not(.isn-sample-head)").count() > 0


def test_jupyter_notebook_shows_the_widget(folder: Path, tmp_path: Path, page: Page):
    with jupyter_notebook(folder, tmp_path / "jupyter") as url:
        open_notebook(page, url, "widget.ipynb", at="notebooks")
        run_all_cells(page)
        use(page)
        assert accessibility_faults(page, SCOPE) == []
        picture = page.locator("[class^=isn-picture-]")
        assert picture.count() == 1
        assert not picture.is_visible()


def test_marimo_shows_the_widget(folder: Path, tmp_path: Path, page: Page):
    """Here a widget stands in a shadow tree, takes its traits one by one, and has children made while a cell ran."""
    page.emulate_media(color_scheme="dark")  # the page is light all the same, and so is the widget
    with marimo(folder, tmp_path) as url:
        page.goto(url)
        use(page)
        assert page.locator(SCOPE).get_attribute("data-isn-theme") == "light"
        host = "marimo-anywidget"
        assert page.locator(host).locator(SCOPE).count() == 1, "axe goes into the shadow tree of this element"
        assert accessibility_faults(page, host) == []
