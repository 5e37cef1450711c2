"""One story without a mouse, in a real JupyterLab: from a prompt to the saved page, by Tab, arrows, Enter and letters.

Nothing is focused by a script: Tab leads from each stop to the next, and wherever it stops that can be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import browser_page, jupyter_lab, open_notebook, run_all_cells, write_notebook
from test_quickstart import ROWS, SCOPE, Lab

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SOURCE = """import inversescope_nb as isn
isn.InverseScopeWidget(prompt="4 3 7 + 5 6 8 =", site="resid_post.1", bandwidth=0.3)"""
STOPS = 120
"""Presses of Tab within which everything can be reached."""
HERE = """selector => {
  const here = document.activeElement;
  if (!here?.matches(selector)) return null;
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(here);
  return { seen: boxShadow !== "none" || (outlineStyle !== "none" && outlineWidth !== "0px") };
}"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """The notebook, opened and run, with the focus where JupyterLab leaves it."""
    folder, scratch = tmp_path / "notebooks", tmp_path / "jupyter"
    folder.mkdir()
    scratch.mkdir()
    write_notebook(folder / "keys.ipynb", SOURCE)
    with jupyter_lab(folder, scratch) as url, browser_page(1440, 1900) as (page, errors):
        open_notebook(page, url, "keys.ipynb")
        run_all_cells(page)
        page.wait_for_selector(ROWS)
        yield Lab(page, errors)
        assert errors == []


def tab_to(page: Page, selector: str, *, back: bool = False) -> None:
    """Presses Tab until what a selector names has the focus, which must show."""
    for _ in range(STOPS):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        here = page.evaluate(HERE, f"{SCOPE} {selector}")
        if here is not None:
            assert here["seen"], f"nothing shows that {selector} has the focus"
            return
    raise AssertionError(f"{STOPS} presses of Tab do not lead to {selector}")


def test_from_a_prompt_to_the_saved_page(lab: Lab, tmp_path: Path):
    page, press = lab.page, lab.page.keyboard.press
    press("Escape")  # from a cell's text to the notebook: else Tab writes spaces
    tab_to(page, "textarea.isn-prompt")
    before = lab.revision()
    press("Control+a")
    page.keyboard.type("6 0 7 + 8 7 9 =")
    page.wait_for_function("() => document.querySelectorAll('.isn-scope button.isn-token')[1].textContent === '6'")
    lab.settle(before)

    tab_to(page, "button.isn-token")
    before = lab.revision()
    press("ArrowLeft")
    press("Enter")
    lab.settle(before)
    assert lab("button.isn-token[aria-pressed=true]").inner_text() == "9"

    tab_to(page, "button.isn-map-cell")
    before = lab.revision()
    press("ArrowDown")
    press("Enter")
    lab.settle(before)
    assert lab(".isn-site-name").inner_text() == "blocks.2.hook_resid_post"

    tab_to(page, ".isn-slider")
    before = lab.revision()
    press("ArrowLeft")
    lab.settle(before)

    tab_to(page, ".isn-filter")
    page.keyboard.type("6")
    page.wait_for_function(
        "() => document.querySelector('.isn-scope .isn-list [role=status]').textContent.includes('match')"
    )
    tab_to(page, ".isn-toggle")
    press("Enter")
    lab(".isn-toggle[aria-expanded=true]").wait_for()

    tab_to(page, ".isn-add select")
    tab_to(page, ".isn-add button")
    press("Enter")
    lab(".isn-table tbody tr").wait_for()

    tab_to(page, ".isn-head button", back=True)
    with page.expect_download() as download:
        press("Enter")
    download.value.save_as(tmp_path / "saved.html")
    assert "6 0 7 + 8 7 9 =" in (tmp_path / "saved.html").read_text(encoding="utf-8")
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1, "no key was taken for one of JupyterLab's"


def test_a_pin_a_comparison_another_tab_and_a_sweep_that_is_stopped(lab: Lab):
    page, press = lab.page, lab.page.keyboard.press
    press("Escape")
    tab_to(page, ".isn-pins .isn-row > button")
    press("Enter")
    lab(".isn-pin-go[aria-current=true]").wait_for()
    tab_to(page, "button.isn-token", back=True)
    before = lab.revision()
    press("ArrowLeft")
    press("Enter")
    lab.settle(before)
    tab_to(page, ".isn-pin-compare")
    press("Enter")
    lab(".isn-compared-second .isn-toggle").first.wait_for()
    tab_to(page, ".isn-compared-first .isn-toggle")
    press("Enter")
    lab(".isn-compared-first .isn-toggle[aria-expanded=true]").wait_for()

    tab_to(page, ".isn-add button")
    press("Enter")
    lab(".isn-table tbody tr").wait_for()
    tab_to(page, ".isn-sweep-start button")
    press("Enter")
    lab(".isn-sweep .isn-stop").wait_for()
    tab_to(page, ".isn-sweep .isn-stop")
    press("Enter")
    lab(".isn-sweep .isn-stop").wait_for(state="hidden")
    page.wait_for_function("() => document.activeElement?.closest('.isn-sweep-start')", timeout=5000)

    tab_to(page, ".isn-icon-button[aria-label^='Keep this prompt']", back=True)
    press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.isn-scope .isn-prompt-tabs button').length === 2")
    tab_to(page, ".isn-prompt-tabs button", back=True)
    before = lab.revision()
    press("ArrowLeft")
    press("Enter")
    page.wait_for_function(
        "() => document.querySelector('.isn-scope .isn-prompt-tabs button').getAttribute('aria-selected') === 'true'"
    )
    press("Delete")
    page.wait_for_function("() => document.querySelectorAll('.isn-scope .isn-prompt-tabs button').length < 2")
    assert page.locator(".jp-Notebook .jp-Cell").count() == 1, "no key was taken for one of JupyterLab's"
