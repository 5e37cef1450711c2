"""Hypotheses in a real JupyterLab: written in Python, proposed, tested, followed across bandwidths, saved as files.

One story: every test goes on where the one before has left the widget. The page's console must stay free of errors.
Pictures go to a temporary folder.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from checks import accessibility_faults, standing_out
from lab import browser_page, jupyter_lab, open_notebook, run_all_cells, use_theme, write_notebook
from pictures import take
from test_quickstart import ROWS, SCOPE, Lab

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CODE = """import inversescope_nb as isn
isn.InverseScopeWidget(prompt="4 3 7 + 5 6 8 =", site="resid_post.0", bandwidth=0.3, n=128)"""
PANEL = f"{SCOPE} .isn-panel"
TALLEST = 1900


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A notebook of one cell, opened and run."""
    folder, scratch = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter")
    write_notebook(folder / "hypotheses.ipynb", CODE)
    with jupyter_lab(folder, scratch) as url, browser_page(1440, TALLEST) as (page, errors):
        open_notebook(page, url, "hypotheses.ipynb")
        run_all_cells(page)
        page.wait_for_selector(ROWS)
        yield Lab(page, errors)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(autouse=True)
def _no_console_errors(lab: Lab) -> Iterator[None]:
    yield
    seen, lab.errors[:] = list(lab.errors), []
    assert seen == []


def test_a_hypothesis_is_written_in_python(lab: Lab, pictures: Path):
    form = lab(".isn-add")
    form.locator("select").select_option("=python")
    editor = form.locator("textarea")
    editor.fill("x.split(")
    form.get_by_text("Test it").click()
    error = lab(".isn-panel .isn-error")
    error.wait_for()
    assert "line 1" in error.inner_text()
    assert editor.input_value() == "x.split("
    take(lab.page.locator(PANEL), pictures / "python-error.png")
    editor.fill("")
    editor.type("def first_digit(x):")
    editor.press("Enter")
    editor.type("    return x.split()[0]")
    editor.press("Control+Enter")
    row = lab(".isn-table-part tbody tr")
    row.first.wait_for()
    assert row.first.inner_text().startswith("first digit\t4")
    error.wait_for(state="hidden")
    editor.press("Tab")
    assert form.locator("textarea:focus").count() == 0, "Tab goes on"


def test_python_that_never_ends_is_ended_and_the_widget_goes_on(lab: Lab):
    form = lab(".isn-add")
    form.locator("textarea").fill("def f(x):\n    while True:\n        pass")
    form.get_by_text("Test it").click()
    lab(".isn-panel .isn-error").get_by_text("takes longer than").wait_for()
    form.locator("textarea").fill("len(x.tokens)")
    form.get_by_text("Test it").click()
    lab(".isn-table-part tbody tr").nth(1).wait_for()


def test_hypotheses_are_proposed_and_one_is_tested(lab: Lab):
    lab(".isn-panel").get_by_role("button", name="Propose").click()
    item = lab(".isn-proposal")
    item.first.wait_for()
    assert 1 <= item.count() <= 6
    assert all("of the inputs near the activation" in words for words in item.all_inner_texts())
    assert "tested on the other" in lab(".isn-proposals > .isn-note").inner_text()
    before = lab(".isn-table-part tbody tr").count()
    item.locator("button").first.click()
    lab(".isn-table-part tbody tr").nth(before).wait_for()
    item.get_by_text("Added").first.wait_for()


def test_rates_are_followed_across_bandwidths(lab: Lab):
    lab(".isn-measure").get_by_role("button", name="Measure across bandwidths").click()
    lab(".isn-segments").wait_for()
    lab(".isn-vega .mark-area path").first.wait_for(state="attached")
    assert lab(".isn-curves tbody tr").count() == 7 * 3  # six, and the one that is shown
    lab(".isn-segments").get_by_text("At this bandwidth").click()
    lab(".isn-vega .mark-tick path, .isn-vega .mark-rect path").first.wait_for(state="attached")
    lab(".isn-segments").get_by_text("Across bandwidths").click()
    lab(".isn-vega .mark-area path").first.wait_for(state="attached")


def test_rates_and_picture_are_saved_as_files(lab: Lab, tmp_path: Path):
    for button, name in (("Save the rates as CSV", "rates.csv"), ("SVG", "bandwidths.svg"), ("PNG", "bandwidths.png")):
        with lab.page.expect_download() as download:
            lab(".isn-rates").get_by_text(button, exact=True).click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
    rows = list(csv.DictReader((tmp_path / "rates.csv").read_text().splitlines()))
    across = [row for row in rows if row["over"] == "this input, across bandwidths"]
    assert len(across) == 7 * 3  # six, and the one that is shown
    assert len({row["bandwidth"] for row in across}) == 7
    assert all(row["verdict"] for row in across)
    assert (tmp_path / "bandwidths.svg").read_text().startswith("<svg")
    assert (tmp_path / "bandwidths.png").read_bytes()[:4] == b"\x89PNG"
    lab(".isn-panel .isn-code summary").click()
    code = lab(".isn-panel .isn-code code").inner_text()
    assert "isn.across_bandwidths(" in code
    assert "isn.propose(" in code
    compile(code, "<code>", "exec")


def test_a_pattern_and_a_token_at_a_position_are_asked_for(lab: Lab):
    form, rows = lab(".isn-add"), lab(".isn-table-part tbody tr")
    before = rows.count()
    form.locator("select").select_option("=regex")
    form.get_by_label("Text").fill("(")
    form.get_by_text("Test it").click()
    error = lab(".isn-panel .isn-error")
    error.wait_for()
    form.get_by_label("Text").fill(r"^\d (\d)")
    form.get_by_text("Test it").click()
    rows.nth(before).wait_for()
    error.wait_for(state="hidden")
    assert rows.nth(before).inner_text().split("\t")[1].startswith("3")  # the second digit of 4 3 7
    form.locator("select").select_option("=token_at")
    form.get_by_label("Position").fill("99")
    form.get_by_text("there is none: -9 to 8").wait_for()
    form.get_by_label("Position").fill("-2")
    form.get_by_text("here: ").wait_for()
    assert form.locator("code:visible").inner_text().strip("\u00b7 ") == "8"
    form.get_by_text("Test it").click()
    rows.nth(before + 1).wait_for()
    assert "8" in rows.nth(before + 1).inner_text().split("\t")[1]


def test_what_is_copied_as_python_shows_the_same_inputs_in_a_cell(lab: Lab):
    page = lab.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    box = page.locator(f"{SCOPE} .isn-code:has(summary:text-is('Copy as Python'))")
    box.locator("summary").click()
    box.get_by_role("button", name="Copy", exact=True).click()
    box.get_by_text("Copied").wait_for()
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:insert-cell-below')")
    page.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(".cm-content").click()
    page.keyboard.press("Control+V")
    page.keyboard.press("Shift+Enter")
    out = page.locator(".jp-Notebook .jp-CodeCell").nth(1).locator(".jp-OutputArea-output")
    table = out.locator("table.dataframe")
    table.wait_for()
    columns = [name.strip() for name in table.locator("thead th").all_inner_texts()]
    again = table.locator("tbody tr").evaluate_all(
        "(rows, at) => rows.map(row => row.children[at].textContent)", columns.index("text")
    )
    shown = page.locator(f"{ROWS} .isn-sample-text")
    shown.first.scroll_into_view_if_needed()
    page.wait_for_function("text => text.innerText", arg=shown.first.element_handle())  # far away it has none
    assert [shown.nth(i).inner_text().split()[1:] for i in range(3)] == [x.split() for x in dict.fromkeys(again)][:3]


def test_it_can_be_read_in_light_and_dark_and_in_narrow_cells(lab: Lab, pictures: Path):
    lab(".isn-curves summary").click()
    for theme, width in (("Light", 1440), ("Dark", 1440), ("Light", 360)):
        use_theme(lab.page, f"JupyterLab {theme}")
        if width < 500:
            lab.page.set_viewport_size({"width": 1440, "height": TALLEST})
            lab.page.locator(SCOPE).evaluate(
                "(root, width) => { root.parentElement.style.width = `${width}px`; }", width
            )
        lab.page.wait_for_timeout(1200)  # the chart is drawn again
        assert accessibility_faults(lab.page, PANEL) == []
        assert standing_out(lab.page, PANEL) == []
        take(lab.page.locator(PANEL), pictures / f"panel-{theme.lower()}-{width}.png")
