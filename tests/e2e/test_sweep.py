"""A sweep over the whole model in a real JupyterLab: started, waited for, and a cell of its heat map clicked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checks import accessibility_faults, standing_out
from lab import browser_page, jupyter_lab, open_notebook, run_all_cells, use_theme, write_notebook
from pictures import folder_for, take

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCOPE = ".isn-scope"
HEAT = f"{SCOPE} .isn-heat .mark-rect.role-mark path"
CODE = """import inversescope_nb as isn
w = isn.InverseScopeWidget(prompt="4 3 7 + 5 6 9 =", site="resid_post.1", bandwidth=0.3)
w.sweep.picks = 8  # of some use, and soon there
w"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder, scratch = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter")
    write_notebook(folder / "sweep.ipynb", CODE)
    with jupyter_lab(folder, scratch) as url, browser_page(1440, 1000) as (page, errors):
        open_notebook(page, url, "sweep.ipynb")
        run_all_cells(page)
        page.wait_for_selector(f"{SCOPE} .isn-sample")
        yield page
        assert errors == []


def site_of(cell: Locator) -> str:
    label = cell.get_attribute("aria-label")
    return next(part for part in label.split("; ") if part.startswith("site: ")).removeprefix("site: ")


def goes_to(page: Page, cell: Locator, site: str) -> None:
    """Click a cell, and wait for its inputs: the heat maps stay where they are on the screen."""
    cell.scroll_into_view_if_needed()
    heat = page.locator(f"{SCOPE} .isn-heat")
    before = heat.bounding_box()["y"]
    cell.click(force=True)  # a dot may lie on it
    page.wait_for_function("site => document.querySelector('.isn-scope .isn-site-name').textContent === site", arg=site)
    page.wait_for_function("() => !document.querySelector('.isn-scope').hasAttribute('data-isn-stale')")
    page.wait_for_timeout(500)  # some frames more, in which nothing may move
    assert abs(heat.bounding_box()["y"] - before) <= 1


def framed(page: Page) -> list[int]:
    widths = page.locator(HEAT).evaluate_all("cells => cells.map(cell => Number(cell.getAttribute('stroke-width')))")
    return [index for index, width in enumerate(widths) if width > 1]


def test_a_sweep_colours_the_map_and_a_click_on_a_cell_goes_there(page: Page, tmp_path: Path):
    page.wait_for_selector(f"{SCOPE} .isn-add optgroup[label='Ready-made']", state="attached")
    page.select_option(f"{SCOPE} .isn-add select", "+first_digit")
    page.click(f"{SCOPE} .isn-add button")
    page.wait_for_selector(f"{SCOPE} .isn-panel .isn-table tbody tr")
    sweep = page.locator(f"{SCOPE} .isn-sweep")
    sweep.get_by_text("1 hypothesis at 36 sites").wait_for()
    sweep.get_by_role("button", name="Sweep all sites").click()
    page.wait_for_selector(f"{SCOPE} .isn-sweep .isn-stop:visible")
    page.wait_for_selector(HEAT)
    assert 0 < page.locator(HEAT).count() < 36, "sites are added as they are done"
    assert page.locator(f"{SCOPE} button.isn-map-valued").count() < 36
    page.wait_for_selector(f"{SCOPE} .isn-sweep .isn-stop", state="hidden")
    page.wait_for_function("cells => document.querySelectorAll(cells).length === 36", arg=HEAT)
    assert page.locator(f"{SCOPE} button.isn-map-valued").count() == 36
    assert page.locator(f"{SCOPE} .isn-map-heads").count() == 4

    cell = page.locator(HEAT).nth(7)
    site = site_of(cell)
    assert site != "blocks.1.hook_resid_post"
    goes_to(page, cell, site)
    assert framed(page) == [7]
    other = page.locator(HEAT).nth(20)
    goes_to(page, other, site_of(other))
    assert framed(page) == [20]
    goes_to(page, cell, site)  # back, by a click on the same cell
    assert framed(page) == [7]

    page.mouse.move(0, 0)
    page.keyboard.press("Shift")  # else what was clicked would be kept where it is, against the scrolling
    picture = folder_for(tmp_path) / "sweep.png"
    take(sweep, picture)
    assert picture.stat().st_size < 150_000

    cells = page.locator(f"{SCOPE} button.isn-map-cell")
    titles = "cells => cells.map(cell => cell.title)"
    shown = cells.evaluate_all(titles)
    by = page.locator(f"{SCOPE} .isn-map-by")
    others = [value for value in by.locator("option").evaluate_all("all => all.map(one => one.value)") if value]
    assert by.input_value() in others
    assert len(others) > 1
    before = by.input_value()
    by.select_option(next(value for value in others if value != before))
    now = "[...document.querySelectorAll('.isn-scope button.isn-map-cell')]"
    page.wait_for_function(f"shown => {now}.some((cell, index) => cell.title !== shown[index])", arg=shown)
    assert page.locator(f"{SCOPE} button.isn-map-valued").count() == 36
    by.select_option("")
    page.wait_for_selector(f"{SCOPE} button.isn-map-valued", state="detached")
    by.select_option(before)
    page.wait_for_function("() => document.querySelectorAll('.isn-scope button.isn-map-valued').length === 36")
    assert cells.evaluate_all(titles) == shown

    head = next(one for one in page.locator(HEAT).all() if "hook_z" in site_of(one))
    goes_to(page, head, site_of(head))
    goes_to(page, cell, site)

    for name, words in (("sweep.csv", "Save the sweep as CSV"), ("sweep.svg", "SVG"), ("sweep.png", "PNG")):
        with page.expect_download() as download:
            sweep.locator(f"button:text-is('{words}')").click()
        assert download.value.suggested_filename == name
        assert download.value.path().stat().st_size > 1000

    page.locator(f"{SCOPE} .isn-sweep-table summary").click()
    line = page.locator(f"{SCOPE} .isn-sweep tbody button").first
    line.click()
    name = line.inner_text()
    page.wait_for_function("site => document.querySelector('.isn-scope .isn-site-name').textContent === site", arg=name)
    page.wait_for_function("() => !document.querySelector('.isn-scope').hasAttribute('data-isn-stale')")


def test_it_passes_axe_and_stays_in_its_cell(page: Page):
    page.mouse.move(0, 0)
    for name, theme in (("dark", "JupyterLab Dark"), ("light", "JupyterLab Light")):
        use_theme(page, theme)
        page.wait_for_selector(f"{SCOPE} .isn-sweep[data-isn-theme={name}]")
        page.wait_for_selector(HEAT)
        assert accessibility_faults(page, SCOPE) == []
    for width in (360, 1000):
        page.evaluate("w => { document.querySelector('.isn-scope').parentElement.style.width = `${w}px`; }", width)
        page.wait_for_function("w => document.querySelector('.isn-scope').clientWidth <= w", arg=width)
        page.wait_for_selector(HEAT)
        assert standing_out(page, SCOPE) == []
        assert accessibility_faults(page, SCOPE) == []
