"""What the widget looks like before there is a result, while one is on its way, and in a wide window.

The pictures go where those of ``test_quickstart.py`` go: into ``notebooks/images`` with ``ISN_KEEP_SCREENSHOTS=1``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checks import accessibility_faults, standing_out
from lab import browser_page, jupyter_lab, open_notebook, run_all_cells, write_notebook
from pictures import folder_for, take

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCOPE = ".isn-scope"
ROWS = f"{SCOPE} .isn-sample:not(.isn-sample-head)"
EMPTY = """import inversescope_nb as isn
import torch

lm = isn.load_model()
with torch.no_grad():
    lm.model.get_input_embeddings().weight.mul_(1.01)  # another model now: no generator was trained for it
isn.InverseScopeWidget((lm.model, lm.tokenizer), prompt="4 3 7 + 5 6 8 =")"""
LEFT_ALONE = """import inversescope_nb as isn

isn.InverseScopeWidget(prompt="4 3 7 + 5 6 8 =", site="resid_post.1", bandwidth=0.3)"""
RESULT = """import inversescope_nb as isn

scope = isn.InverseScopeWidget(prompt="4 3 7 + 5 6 8 =", site="resid_post.1", bandwidth=0.3)
scope.invert().wait()
for name in ("first_digit", "hundreds", "ones"):
    scope.add_hypothesis(isn.tasks.addition().features[name])
scope"""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder_for(tmp_path)


def show(page: Page, url: str, folder: Path, name: str, cell: str) -> None:
    write_notebook(folder / name, cell)
    open_notebook(page, url, name)
    run_all_cells(page)
    page.wait_for_selector(f"{SCOPE} button.isn-token")


def check(page: Page, picture: Path) -> None:
    assert standing_out(page, SCOPE) == []
    assert accessibility_faults(page, SCOPE) == []
    assert picture.stat().st_size < 150_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A JupyterLab's address, and the folder that it serves."""
    folder = tmp_path_factory.mktemp("notebooks")
    with jupyter_lab(folder, tmp_path_factory.mktemp("jupyter")) as url:
        yield url, folder


@pytest.fixture
def page() -> Iterator[Page]:
    with browser_page(1440, 1900) as (page, errors):
        yield page
        assert errors == []


def test_a_picture_of_the_widget_without_a_result(server: tuple[str, Path], page: Page, pictures: Path):
    show(page, *server, "empty.ipynb", EMPTY)
    page.wait_for_selector(f"{SCOPE} .isn-gallery .isn-empty")
    page.mouse.move(0, 0)
    take(page.locator(SCOPE), pictures / "empty.png")
    check(page, pictures / "empty.png")


def test_where_no_generator_is_at_hand_prompts_are_searched_or_one_is_trained(server: tuple[str, Path], page: Page):
    show(page, *server, "offer.ipynb", EMPTY)
    page.locator(f"{SCOPE} .isn-go button").click()
    buttons = page.locator(f"{SCOPE} .isn-offer button")
    buttons.first.wait_for()
    assert buttons.count() == 2
    buttons.nth(0).click()
    page.wait_for_selector(ROWS)  # some ten seconds
    assert "No generator was used" in page.locator(f"{SCOPE} .isn-gallery").inner_text()
    buttons.nth(1).click()
    page.locator(f"{SCOPE} .isn-progress:visible", has_text="training").wait_for()
    stop = page.locator(f"{SCOPE} .isn-progress:visible .isn-stop")  # of the training, whatever it says by now
    assert accessibility_faults(page, SCOPE) == []
    stop.click()
    stop.wait_for(state="hidden")
    assert page.locator(ROWS).count() > 0, "what was found by search stays"
    assert page.locator(".isn-error:visible").count() == 0


def test_pictures_of_the_widget_at_work_and_in_a_wide_window(server: tuple[str, Path], page: Page, pictures: Path):
    show(page, *server, "result.ipynb", RESULT)
    page.wait_for_selector(ROWS)
    page.wait_for_selector(f"{SCOPE} .isn-vega svg")
    page.set_viewport_size({"width": 2400, "height": 1900})
    page.wait_for_function("document.querySelector('.isn-scope').clientWidth > 1500")
    page.wait_for_selector(f"{SCOPE} .isn-vega svg")
    page.mouse.move(0, 0)
    take(page.locator(SCOPE), pictures / "wide.png")
    check(page, pictures / "wide.png")

    page.set_viewport_size({"width": 1440, "height": 1900})
    page.locator(f"{SCOPE} .isn-go select").select_option("4096")
    page.wait_for_selector(f"{SCOPE} .isn-progress progress[max='4096']")
    assert accessibility_faults(page, SCOPE) == []
    take(page.locator(SCOPE), pictures / "working.png")
    assert (pictures / "working.png").stat().st_size < 150_000


def test_a_cell_that_runs_again_leaves_one_widget_that_works(server: tuple[str, Path], page: Page):
    show(page, *server, "again.ipynb", LEFT_ALONE)
    page.wait_for_selector(ROWS)
    first = page.locator(SCOPE).element_handle()
    run_all_cells(page)
    page.wait_for_function("first => !first.isConnected", arg=first)
    page.wait_for_selector(ROWS)
    assert page.locator(SCOPE).count() == 1
    before = page.locator(f"{SCOPE} .isn-gallery").get_attribute("data-isn-revision")
    page.locator(f"{SCOPE} button.isn-token").nth(3).click()
    page.wait_for_selector(f"{SCOPE}:not([data-isn-stale]) .isn-gallery:not([data-isn-revision='{before}'])")
    assert page.locator(".isn-no-kernel:visible, .isn-error:visible").count() == 0


TWICE = ("import inversescope_nb as isn", LEFT_ALONE.partition("\n\n")[2].replace("isn.", "w = isn.", 1) + "\nw", "w")


def test_a_view_elsewhere_of_a_widget_whose_cell_runs_again_goes_on(server: tuple[str, Path], page: Page):
    url, folder = server
    write_notebook(folder / "twice.ipynb", *TWICE)
    open_notebook(page, url, "twice.ipynb")
    run_all_cells(page)
    page.wait_for_function("() => document.querySelectorAll('.isn-scope .isn-gallery[data-isn-revision]').length === 2")
    page.wait_for_selector(ROWS)
    made, elsewhere = (page.locator(SCOPE).nth(i).element_handle() for i in (0, 1))
    page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell')")
    page.wait_for_function("made => !made.isConnected", arg=made)
    page.wait_for_function("() => document.querySelectorAll('.isn-scope').length === 2")
    assert elsewhere.evaluate("scope => scope.isConnected")
    gallery = elsewhere.query_selector(".isn-gallery")
    before = gallery.get_attribute("data-isn-revision")
    elsewhere.query_selector_all("button.isn-token")[3].click()
    page.wait_for_function(
        """([scope, before]) => !scope.hasAttribute("data-isn-stale")
          && scope.querySelector(".isn-gallery").dataset.isnRevision !== before""",
        arg=[elsewhere, before],
    )
    assert page.locator(".isn-no-kernel:visible, .isn-error:visible").count() == 0


LATE_THREAD = """{
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    const words = typeof data === "string" ? data : new TextDecoder().decode(data);
    if (words.includes("create_subshell_request")) {
      window.held_back = true;
      setTimeout(() => send.call(this, data), 20_000);
    } else send.call(this, data);
  };
}"""
"""JupyterLab asks for a thread of the widgets' own when the first comes; until there is one, it sends to the cells'."""


@pytest.mark.parametrize("late", [False, True], ids=["", "its thread comes late"])
def test_it_answers_while_another_cell_runs(late: bool, server: tuple[str, Path], page: Page):
    url, folder = server
    name = "late.ipynb" if late else "busy.ipynb"
    write_notebook(folder / name, LEFT_ALONE, "import time\ntime.sleep(600)")
    if late:
        page.add_init_script(LATE_THREAD)
    open_notebook(page, url, name)
    page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
    page.wait_for_selector(ROWS)  # the first view of a widget asks for its inversion
    assert bool(page.evaluate("window.held_back")) == late
    with page.expect_download() as download:
        page.get_by_text("Save the list as CSV").click()
    assert download.value.suggested_filename == "inputs.csv"
    assert "[*]:" in page.locator(".jp-InputPrompt").all_inner_texts(), "the other cell runs"
    page.evaluate("window.jupyterapp.commands.execute('notebook:interrupt-kernel')")
