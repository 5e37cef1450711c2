"""Two inversions pinned and compared in a real JupyterLab: as somebody does it who has never seen the widget.

A notebook with the widget is opened and run once; every test goes on from where the one before has left. The page's
console must stay free of errors throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from checks import accessibility_faults, standing_out
from lab import browser_page, jupyter_lab, open_notebook, run_all_cells, use_theme, write_notebook
from pictures import folder_for, take
from test_quickstart import ROWS, SCOPE, Lab

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SOURCE = """import inversescope_nb as isn
w = isn.InverseScopeWidget(prompt="6 0 7 + 8 7 9 =", site="resid_post.3", n=128)
w"""
BOX = ".isn-comparison-box"
COMPARED = f"{SCOPE} .isn-compared .isn-sample:not(.isn-sample-head)"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The notebook, opened and run."""
    folder, scratch = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter")
    write_notebook(folder / "pins.ipynb", SOURCE, "1 + 1")
    with jupyter_lab(folder, scratch) as url, browser_page(1440, 1900) as (page, errors):
        open_notebook(page, url, "pins.ipynb")
        run_all_cells(page)
        page.wait_for_selector(ROWS)
        yield Lab(page, errors)


@pytest.fixture(autouse=True)
def _no_console_errors(lab: Lab) -> Iterator[None]:
    yield
    seen, lab.errors[:] = list(lab.errors), []
    assert seen == []


def listed(lab: Lab, side: str) -> list[str]:
    return lab(f".isn-compared-{side} .isn-sample:not(.isn-sample-head) .isn-sample-text").all_inner_texts()


def test_what_is_shown_is_pinned_and_compared_with_another_pick(lab: Lab, tmp_path: Path):
    assert not lab(BOX).is_visible()
    lab.page.get_by_text("Pin to compare").click()
    lab(".isn-pin-go[aria-current=true]").wait_for()
    assert lab.page.get_by_text("then press Compare").is_visible()
    lab.choose(lab("button.isn-map-cell[title='blocks.0.hook_resid_post']"))
    lab(".isn-pin-compare").click()
    lab.page.wait_for_selector(COMPARED)
    assert lab(".isn-compared .isn-pick-where").all_inner_texts() == [
        "layer 3 resid_post, \u03b5 0.1",
        "layer 0 resid_post, \u03b5 0.1",
    ]
    answer = lab(f"{BOX} .isn-comparison-words .isn-answer").inner_text()
    assert answer.startswith("Only the second fixes"), "the first layer holds digits, the last one their sum"
    assert lab(".isn-strip .isn-differs-mark .isn-unequal").count() > 0
    assert lab(".isn-compared-second .isn-sample-head .isn-differs").count() > 0
    top = lab(BOX).bounding_box()["y"]
    assert 0 <= top < lab.page.viewport_size["height"], "it was brought into sight"
    lab.page.mouse.move(0, 0)
    picture = folder_for(tmp_path) / "comparison.png"
    take(lab(BOX), picture)
    assert picture.stat().st_size < 150_000


def test_the_two_lists_stand_side_by_side_and_are_narrowed_to_one_or_both(lab: Lab):
    boxes = [lab(f".isn-compared-{side} .isn-samples").bounding_box() for side in ("first", "second")]
    assert boxes[0]["y"] == pytest.approx(boxes[1]["y"], abs=1)
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
    beyond = "lists => lists.map((list) => list.scrollWidth - list.clientWidth)"
    assert lab(".isn-compared .isn-samples").evaluate_all(beyond) == [0, 0], "short inputs are seen whole"
    everything = listed(lab, "first"), listed(lab, "second")
    assert all(everything)
    lab(".isn-tab >> text=Only here").click()
    lab.page.wait_for_function(
        "() => !document.querySelector('.isn-scope .isn-compared .isn-sample:not(.isn-sample-head) .isn-shared')"
    )
    assert set(listed(lab, "first")).isdisjoint(everything[1])
    lab(".isn-tab >> text=In both").click()
    lab.page.wait_for_function(
        """() => [...document.querySelectorAll('.isn-scope .isn-compared .isn-sample:not(.isn-sample-head)')]
          .every((row) => row.querySelector('.isn-shared-mark'))"""
    )
    lab(".isn-tab >> text=All inputs").click()
    lab.page.wait_for_function(
        "n => document.querySelectorAll('.isn-compared-first .isn-sample:not(.isn-sample-head)').length === n",
        arg=len(everything[0]),
    )
    lab(".isn-compared-first .isn-row .isn-button").click()
    lab.page.wait_for_function(
        "n => document.querySelectorAll('.isn-compared-first .isn-sample:not(.isn-sample-head)').length > n",
        arg=len(everything[0]),
    )


def test_the_picture_and_both_lists_are_files(lab: Lab):
    files = {"contrast.svg": ("SVG", b"<svg "), "contrast.png": ("PNG", b"\x89PNG")}
    for name, (words, begins) in files.items():
        with lab.page.expect_download() as download:
            lab(f"{BOX} .isn-comparison-top figure button:text-is('{words}')").click()
        assert download.value.suggested_filename == name
        content = download.value.path().read_bytes()
        assert content.startswith(begins)
        if name.endswith("svg"):
            for words in ("drawn for the first", "First: ", "Second: "):
                assert words.encode() in content, words
    with lab.page.expect_download() as download:
        lab(BOX).get_by_text("Save both lists as CSV").click()
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert {line.split(",")[0] for line in lines[1:]} == {"first", "second"}


def test_a_pin_leads_back_and_the_keyboard_is_enough(lab: Lab):
    before, cells = lab.revision(), lab.page.locator(".jp-Notebook .jp-Cell").count()
    lab(".isn-pin-go").focus()
    lab.page.keyboard.press("Enter")
    lab.settle(before)
    assert lab(".isn-site-name").inner_text() == "blocks.3.hook_resid_post"
    lab(".isn-pin-go[aria-current=true]").wait_for()
    lab.choose(lab("button.isn-token").nth(5))
    lab(".isn-row > .isn-button >> text=Pin to compare").focus()
    lab.page.keyboard.press("Enter")
    lab.page.wait_for_function("() => document.activeElement?.getAttribute('aria-current') === 'true'")
    lab.page.keyboard.press("b")
    assert lab.page.locator(".jp-Notebook .jp-Cell").count() == cells
    lab(".isn-pin-compare").focus()
    lab.page.keyboard.press("Space")
    lab.page.wait_for_function(
        "() => document.querySelector('.isn-scope .isn-compared-second .isn-pick strong')?.textContent === '8'"
    )
    lab(".isn-compared-second .isn-toggle[tabindex='0']").focus()
    lab.page.keyboard.press("ArrowDown")
    lab.page.keyboard.press("Enter")
    lab(".isn-compared-second .isn-detail").wait_for()


def test_two_views_stay_in_step_and_a_view_that_is_drawn_again_shows_it(lab: Lab):
    lab.page.evaluate(
        """() => {
          const panel = window.jupyterapp.shell.currentWidget;
          panel.content.activeCellIndex = panel.content.widgets.findIndex((c) => c.node.querySelector(".isn-scope"));
          return window.jupyterapp.commands.execute("notebook:create-output-view");
        }"""
    )
    lab.page.wait_for_function("document.querySelectorAll('.isn-scope .isn-comparison-box').length === 2")
    lab.page.wait_for_function("document.querySelectorAll('.isn-scope .isn-compared .isn-pick').length === 4")
    second = lab.page.locator(SCOPE).nth(1)
    second.locator(".isn-tab >> text=In both").click()
    lab.page.wait_for_function(
        """() => [...document.querySelectorAll('.isn-scope .isn-tab[aria-pressed=true]')]
          .every((tab) => tab.textContent.startsWith('In both'))"""
    )
    second.locator(".isn-tab >> text=All inputs").click()
    lab.page.evaluate(
        "() => [...window.jupyterapp.shell.widgets('main')].find((widget) => !widget.sessionContext).close()"
    )
    lab.page.wait_for_function("document.querySelectorAll('.isn-scope').length === 1")
    lab.page.wait_for_function("window.jupyterapp.shell.currentWidget?.sessionContext")


def test_a_saved_page_shows_the_comparison_without_a_kernel(lab: Lab, tmp_path: Path):
    with lab.page.expect_download() as download:
        lab(".isn-head").get_by_text("Save as HTML").click()
    download.value.save_as(tmp_path / "saved.html")
    page = lab.page.context.new_page()
    page.on("console", lambda m: lab.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: lab.errors.append(f"uncaught: {error}"))
    page.route("http*://**", lambda route: route.abort())
    page.goto((tmp_path / "saved.html").as_uri())
    page.wait_for_selector(COMPARED)
    shown = lab(f"{BOX} .isn-comparison-words .isn-answer").inner_text()
    assert page.locator(f"{BOX} .isn-comparison-words .isn-answer").inner_text() == shown
    n = page.locator(COMPARED).count()
    page.locator(".isn-tab >> text=Only here").click()
    assert page.locator(COMPARED).count() <= n
    assert page.locator(f"{COMPARED} .isn-shared").count() == 0
    assert page.locator(".isn-pin, .isn-pins button").count() == 0
    page.close()


def test_it_is_accessible_and_nothing_stands_out_in_any_theme_or_width(lab: Lab):
    lab.page.mouse.move(0, 0)
    for name, theme in (("dark", "JupyterLab Dark"), ("light", "JupyterLab Light")):
        use_theme(lab.page, theme)
        lab.page.wait_for_selector(f"{SCOPE} .isn-comparison[data-isn-theme={name}]")
        assert accessibility_faults(lab.page, SCOPE) == []
    lab.page.evaluate("document.querySelector('.isn-scope').parentElement.style.width = '360px'")
    lab.page.wait_for_function("document.querySelector('.isn-scope').clientWidth <= 360")
    first, second = (lab(f".isn-compared-{side}").bounding_box() for side in ("first", "second"))
    assert first["y"] + first["height"] <= second["y"]
    assert standing_out(lab.page, SCOPE) == []
    assert accessibility_faults(lab.page, SCOPE) == []
    lab.page.evaluate("document.querySelector('.isn-scope').parentElement.style.width = ''")


def test_it_is_closed_and_pins_are_removed(lab: Lab):
    lab(f"{BOX} .isn-field-head .isn-button").click()
    lab.page.wait_for_function("() => document.querySelector('.isn-scope .isn-comparison-box').hidden")
    while lab(".isn-pin").count():
        left = lab(".isn-pin").count() - 1
        lab(".isn-pin .isn-icon-button").first.click()
        lab.page.wait_for_function(f"document.querySelectorAll('.isn-scope .isn-pin').length === {left}")
    assert lab.page.get_by_text("Pin to compare").is_visible()
