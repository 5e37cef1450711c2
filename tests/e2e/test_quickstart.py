"""The quick-start notebook in a real JupyterLab, with the mouse and with the keyboard.

One notebook is opened and run once; every test then does one thing to the widget in it, from whatever
state the ones before have left. The page's console must stay free of errors throughout. Pictures are taken
of the widget in each theme and width: into ``notebooks/images`` with ``ISN_KEEP_SCREENSHOTS=1``, else into a
temporary folder.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checks import accessibility_faults, standing_out
from lab import ROOT, browser_page, jupyter_lab, open_notebook, run_all_cells, use_theme
from pictures import folder_for, take
from playwright.sync_api import TimeoutError as WaitedTooLong

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser
STORY = "Then , Mary and John went to the store . John gave the drink to"
SCOPE = ".isn-scope"
ROWS = f"{SCOPE} .isn-sample:not(.isn-sample-head)"
SETTLED = """before => {
  const root = document.querySelector(".isn-scope");
  const gallery = root.querySelector(".isn-gallery");
  return Number(gallery.dataset.isnRevision) > before && !root.hasAttribute("data-isn-stale")
    && !root.querySelector(".isn-go button").disabled;
}"""
CLICK = """index => new Promise((resolve, reject) => {
  const list = document.querySelector(".isn-scope .isn-samples");
  const started = performance.now();
  const watcher = new MutationObserver(() => requestAnimationFrame(() => {
    watcher.disconnect();
    resolve(performance.now() - started);
  }));
  watcher.observe(list, { childList: true });
  setTimeout(() => reject(new Error("the gallery did not change")), 120000);
  document.querySelectorAll(".isn-scope button.isn-token")[index].click();
})"""


class Lab:
    """The page with the widget, and what the tests do to it again and again."""

    def __init__(self, page: Page, errors: list[str]) -> None:
        self.page, self.errors = page, errors

    def __call__(self, selector: str) -> Locator:
        return self.page.locator(f"{SCOPE} {selector}")

    def revision(self) -> int:
        """Goes up whenever the gallery shows other inputs."""
        return int(self(".isn-gallery").get_attribute("data-isn-revision") or 0)

    def settle(self, before: int) -> None:
        """Waits until inputs newer than ``before`` are there, and are those of what is picked."""
        self.page.wait_for_function(SETTLED, arg=before)

    def tokens(self) -> list[str]:
        return self("button.isn-token").all_inner_texts()

    def inputs(self) -> list[str]:
        return self.page.locator(f"{ROWS} .isn-sample-text").all_inner_texts()

    def choose(self, button: Locator) -> None:
        """Clicks a token or a site that is not chosen yet, and waits for its inputs."""
        if button.get_attribute("aria-pressed") != "true":
            before = self.revision()
            button.click()
            self.settle(before)

    def write(self, prompt: str) -> None:
        """Types a prompt and waits for its tokens and inputs."""
        before = self.revision()
        self("textarea.isn-prompt").fill(prompt)
        self.page.wait_for_function(
            "n => document.querySelectorAll('.isn-scope button.isn-token').length === n",
            arg=len(prompt.split()) + 1,
        )
        self.settle(before)

    def set_bandwidth(self, step: int) -> None:
        slider = self(".isn-slider")
        slider.evaluate(
            "(slider, step) => { slider.value = step; slider.dispatchEvent(new Event('input', {bubbles: true})); }",
            step,
        )


NOTE_ANEW = """() => {
  const scope = document.querySelector(".isn-scope");
  window.weighedAnew = false;
  const look = () => { window.weighedAnew ||= scope.textContent.includes("weighed anew for"); };
  new MutationObserver(look).observe(scope, { childList: true, subtree: true, characterData: true });
}"""
"""Notes whether samples that were drawn at another bandwidth are ever shown."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The notebook, opened and run."""
    folder, scratch = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter")
    shutil.copy(ROOT / "notebooks" / "quickstart.ipynb", folder)
    with jupyter_lab(folder, scratch) as url, browser_page(1440, 2100) as (page, errors):
        open_notebook(page, url, "quickstart.ipynb")
        run_all_cells(page)
        page.wait_for_selector(f"{SCOPE} button.isn-token")
        page.wait_for_selector(ROWS)
        lab = Lab(page, errors)
        assert lab.tokens()[1:] == "9 6 7 + 9 2 1 =".split(), "what the notebook opens with"
        lab.write(STORY)
        before = lab.revision()
        lab.set_bandwidth(138)  # 0.3
        lab.settle(before)
        yield lab


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_for(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def _no_console_errors(lab: Lab) -> Iterator[None]:
    yield
    seen, lab.errors[:] = list(lab.errors), []
    assert seen == []


def test_the_notebook_runs_and_the_widget_shows_inputs(lab: Lab):
    assert len(lab.tokens()) > 10
    assert lab(".isn-verdict").inner_text()
    assert lab.inputs()
    assert lab("[data-isn-stale]").count() == 0


def test_a_click_on_a_token_inverts_there(lab: Lab, capsys: pytest.CaptureFixture[str]):
    times = [lab.page.evaluate(CLICK, index) for index in (2, 5, 9, 4, 7)]
    with capsys.disabled():
        print(f"\nclick to gallery in the browser: {sorted(times)[2]:.0f} ms (median of {len(times)})")
    lab.settle(0)
    picked = lab("button.isn-token[aria-pressed=true]")
    assert picked.inner_text() == lab.tokens()[7]
    assert all(text.split("\n")[0] for text in lab.inputs())


def test_the_saved_picture_follows_and_the_widget_beside_it_is_not_drawn_again(lab: Lab):
    root, picture = lab.page.locator(SCOPE), lab.page.locator("[class^=isn-picture-]")
    root.evaluate("root => { root.isnIsTheSame = true; }")
    for index in (3, 6):
        before = lab.revision()
        lab("button.isn-token").nth(index).click()
        lab.settle(before)
        token = lab("button.isn-token[aria-pressed=true]").inner_text()
        lab.page.wait_for_function(
            """token => document.querySelector("[class^=isn-picture-] [style*=outline]")
              .textContent.includes(token)""",
            arg=token,
        )
        assert lab(".isn-verdict span").last.inner_text() in picture.text_content()
    assert root.count() == picture.count() == 1
    assert root.evaluate("root => root.isnIsTheSame")
    assert not picture.is_visible()
    assert picture.evaluate("picture => picture.closest('.jp-OutputArea-child').getBoundingClientRect().height") == 0
    saved = lab.page.evaluate(
        """() => [...window.jupyterapp.shell.currentWidget.content.model.cells]
          .flatMap((cell) => cell.toJSON().outputs ?? [])
          .map((output) => [output.data?.["text/html"] ?? ""].flat().join(""))
          .filter((html) => html.includes("isn-picture-"))"""
    )
    assert len(saved) == 1
    assert token in saved[0]


def test_the_map_chooses_a_layer_and_a_head(lab: Lab):
    before = lab.revision()
    lab("button.isn-map-cell[title='blocks.0.hook_resid_post']").click()
    lab.settle(before)
    assert lab(".isn-site-name").inner_text() == "blocks.0.hook_resid_post"
    lab(".isn-map-toggle[data-layer='1']").click()
    before = lab.revision()
    lab("button.isn-map-cell[title^='blocks.1.attn.hook_z.2']").click()
    lab.settle(before)
    assert lab("button.isn-map-cell[aria-pressed=true]").get_attribute("title") == "blocks.1.attn.hook_z.2"


def test_the_bandwidth_changes_the_inputs(lab: Lab):
    before, shown = lab.revision(), lab.inputs()
    lab.set_bandwidth(200)
    assert lab("output").inner_text() == "\u03b5 = 1"
    lab.settle(before)
    coarse = lab.inputs()
    assert coarse != shown
    before = lab.revision()
    lab.page.evaluate(NOTE_ANEW)
    lab.set_bandwidth(82)
    lab.settle(before)
    assert lab.inputs() != coarse
    assert lab.page.evaluate("() => window.weighedAnew"), "the old samples are weighed at once, before new ones come"
    assert "weighed anew" not in lab(".isn-gallery").inner_text()


def test_hypotheses_get_a_rate_and_a_chance_level(lab: Lab):
    lab("button.isn-token").last.click()
    lab.settle(0)
    form = lab(".isn-add")
    form.locator("select").select_option("=contains")
    form.locator("input[type=text]").fill("Mary")
    form.get_by_text("Test it").click()
    row = lab(".isn-table tbody tr")
    row.nth(0).wait_for()
    form.locator("select").select_option("+subject")
    form.get_by_text("Test it").click()
    row.nth(1).wait_for()
    assert [line.split("\t")[0].split("\n")[0] for line in row.all_inner_texts()] == ["contains 'Mary'", "subject"]
    for cells in (row.nth(i).locator("td").all_inner_texts() for i in range(2)):
        if len(cells) > 3:  # fewer: all samples are copies, and the row says so
            rate, chance = cells[1], cells[2]
            assert "\u2013" in rate
            assert 0 <= float(rate.split()[0]) <= 1
            assert 0 <= float(chance) <= 1
    lab(".isn-vega svg").first.wait_for()


def test_a_long_job_can_be_stopped(lab: Lab):
    before = lab.revision()

    def depth() -> float:
        """Pixels from the top of the column to its first input."""
        top, first = (lab(part).first.bounding_box()["y"] for part in (".isn-main", ".isn-sample"))
        return first - top

    stood = depth()
    lab(".isn-go select").select_option("4096")
    progress = lab(".isn-main .isn-title-line .isn-progress").first
    progress.locator("progress[max='4096']").wait_for()
    assert depth() == stood, "what comes and goes moves nothing"
    progress.get_by_text("Stop").click()
    progress.wait_for(state="hidden")
    assert lab.revision() == before
    assert lab(".isn-stale").is_visible()
    assert lab(".isn-error:visible").count() == 0
    lab(".isn-go select").select_option("64")
    lab.settle(before - 1)


def test_a_bad_prompt_is_explained_in_place_and_the_widget_goes_on(lab: Lab, pictures: Path):
    good = lab("textarea.isn-prompt").input_value()
    error = lab(".isn-picker .isn-error")
    lab("textarea.isn-prompt").fill(good.replace("store", "stoer"))
    error.wait_for()
    assert "'stoer'" in error.inner_text()
    assert "Did you mean 'store'?" in error.inner_text()
    assert "an example prompt is a good start" in error.inner_text()
    assert accessibility_faults(lab.page, SCOPE) == []
    lab.page.wait_for_selector(".isn-scope .isn-title-line .isn-progress", state="hidden")
    take(lab.page.locator(SCOPE), pictures / "error.png")
    before = lab.revision()
    lab("button.isn-map-cell[title='blocks.2.hook_resid_post']").click()  # of the last prompt that could be read
    lab.page.wait_for_function(
        "before => Number(document.querySelector('.isn-scope .isn-gallery').dataset.isnRevision) > before", arg=before
    )
    lab(".isn-stale").get_by_text("What is typed now is no prompt of this model.").wait_for()
    assert lab(".isn-go button").is_disabled()
    lab("textarea.isn-prompt").fill("   ")
    error.get_by_text("the prompt is empty").wait_for()
    lab.write("4 3 7 + 5 6 8 =")
    assert error.count() == 0
    lab.write(good)


def test_the_keyboard_is_enough(lab: Lab):
    lab("button.isn-token[tabindex='0']").focus()
    lab.page.keyboard.press("Home")
    for _ in range(3):
        lab.page.keyboard.press("ArrowRight")
    before, cells = lab.revision(), lab.page.locator(".jp-Notebook .jp-Cell").count()
    lab.page.keyboard.press("Enter")
    lab.settle(before)
    assert lab("button.isn-token").nth(3).get_attribute("aria-pressed") == "true"
    lab("button.isn-map-cell[tabindex='0']").focus()
    lab.page.keyboard.press("ArrowDown")
    before = lab.revision()
    lab.page.keyboard.press("Enter")
    lab.settle(before)
    lab("button.isn-token[tabindex='0']").focus()
    lab.page.keyboard.press("b")
    assert lab.page.locator(".jp-Notebook .jp-Cell").count() == cells


def test_the_measurement_across_inputs_fills_its_columns(lab: Lab):
    lab.write("4 3 7 + 5 6 8 =")
    assert lab("button.isn-token[aria-pressed=true]").inner_text() == "="
    before = lab.revision()
    lab("button.isn-map-cell[title='blocks.0.hook_resid_post']").click()
    lab.settle(before)
    row, form = lab(".isn-table tbody tr"), lab(".isn-add")
    for left in reversed(range(row.count())):
        row.first.locator("button").click()
        lab.page.wait_for_function(f"document.querySelectorAll('.isn-scope .isn-table tbody tr').length === {left}")
    for number, name in enumerate(("first_digit", "hundreds", "ones")):
        form.locator("select").select_option(f"+{name}")
        form.get_by_text("Test it").click()
        row.nth(number).wait_for()
    lab.page.get_by_text("Measure across inputs").click()
    lab.page.wait_for_function(
        """() => [...document.querySelectorAll(".isn-scope .isn-table tbody tr")]
          .every((row) => /^[01]\\.\\d\\d/.test(row.cells[4]?.textContent ?? ""))"""
    )


def test_what_is_shown_can_be_saved_as_one_page(lab: Lab, tmp_path: Path):
    with lab.page.expect_download() as download:
        lab(".isn-head").get_by_text("Save as HTML").click()
    download.value.save_as(tmp_path / "saved.html")
    shown = lab.inputs()
    page = lab.page.context.new_page()
    page.on("console", lambda m: lab.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: lab.errors.append(f"uncaught: {error}"))
    page.route("http*://**", lambda route: route.abort())
    page.goto((tmp_path / "saved.html").as_uri())
    page.wait_for_selector(ROWS)
    assert page.locator(f"{ROWS} .isn-sample-text").all_inner_texts() == shown
    assert page.locator("button.isn-token, button.isn-map-cell").count() == 0
    page.locator(".isn-filter").fill("no input has this in it")
    page.get_by_text("No input matches this filter.").wait_for()
    page.close()


def test_tables_and_pictures_are_saved_as_files(lab: Lab, tmp_path: Path):
    begins = {
        "inputs.csv": ("Save the list as CSV", b"rank,text,d,"),
        "rates.csv": ("Save the rates as CSV", b"hypothesis,over,site,bandwidth,"),
        "rates.svg": (".isn-vega + .isn-downloads button >> nth=0", b"<svg "),
        "rates.png": (".isn-vega + .isn-downloads button >> nth=1", b"\x89PNG"),
        "distances.svg": (".isn-figure-box button >> nth=0", b"<svg "),
        "distances.png": (".isn-figure-box button >> nth=1", b"\x89PNG"),
    }
    for name, (what, begin) in begins.items():
        button = lab(what if what.startswith(".") else f"button:text-is('{what}')")
        with lab.page.expect_download() as download:
            button.click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        assert content.startswith(begin), content[:80]
        assert len(content) > 200
    listed = int(lab(".isn-list [role=status]").inner_text().split(" of ")[1].split()[0])
    assert len((tmp_path / "inputs.csv").read_text().splitlines()) == listed + 1  # no input has a line break in it


def test_the_inputs_are_filtered_by_a_pattern_and_by_the_ball(lab: Lab):
    everything = len(lab.inputs())
    lab(".isn-regex").click()
    lab(".isn-filter").fill("[")
    lab.page.get_by_text("no regular expression").wait_for()
    assert len(lab.inputs()) == everything
    lab(".isn-filter").fill("(no|such) input")
    lab.page.get_by_text("No input matches this filter.").wait_for()
    lab(".isn-filter").fill("")
    lab(".isn-regex").click()
    lab(".isn-check input").check()
    lab.page.wait_for_function(
        "() => /inside the ball/.test(document.querySelector('.isn-scope .isn-list [role=status]').textContent)"
    )
    assert lab(".isn-sample.isn-beyond").count() == 0
    lab(".isn-check input").uncheck()
    lab.page.get_by_text("different inputs").wait_for()


def test_the_ball_is_drawn_in_the_list_and_among_the_distances(lab: Lab):
    more = lab(".isn-gallery .isn-row > .isn-button:visible >> text=/^Show \\d+ more$/")
    if more.count():
        more.click()
        more.wait_for(state="hidden")
    kinds = lab(".isn-samples :is(.isn-sample:not(.isn-sample-head), .isn-edge)").evaluate_all(
        "rows => rows.map((row) => ['isn-edge', 'isn-beyond'].find((name) => row.classList.contains(name)) ?? 'inside')"
    )
    edge = kinds.index("isn-edge")
    assert set(kinds[:edge]) == {"inside"}
    assert set(kinds[edge + 1 :]) == {"isn-beyond"}
    assert lab(".isn-histogram .isn-ball-rule").count() == 1
    assert lab(".isn-histogram .isn-prior-steps").count() == 2, "what P(X) alone would give, and its key"
    assert lab(".isn-histogram .isn-ball-label").last.text_content().startswith("edge of the ball 0.")


def test_an_input_is_opened_and_read_token_by_token(lab: Lab):
    lab(".isn-toggle").first.click()
    lab(".isn-along .isn-counts").wait_for()
    row = lab(".isn-sample").nth(1)
    assert float(lab(".isn-along .isn-counts").inner_text()) == pytest.approx(
        float(row.locator(".isn-cell-number").first.inner_text()), abs=0.006
    )
    said = lab(".isn-detail .isn-said li")
    assert said.count() == lab(".isn-table-part tbody tr").count()  # what each hypothesis says of it
    assert accessibility_faults(lab.page, SCOPE) == []
    lab(".isn-toggle").first.click()
    assert lab(".isn-detail").count() == 0
    token = lab(".isn-sample").nth(2).locator(".isn-sample-token").last
    token.hover()
    lab.page.wait_for_function(
        "token => token.title.includes('were the activation read here')", arg=token.element_handle()
    )


def test_words_are_explained_each_before_its_meaning(lab: Lab):
    fold = lab.page.locator(f"{SCOPE} .isn-gallery .isn-terms summary")
    fold.click()
    entries = lab.page.locator(f"{SCOPE} .isn-terms-list > div")
    starts = entries.evaluate_all(
        """entries => entries.map((entry) => {
          const [term, meaning] = ["dt", "dd"].map((tag) => entry.querySelector(tag).getClientRects()[0]);
          return term.top < meaning.top || term.right <= meaning.left + 1;
        })"""
    )
    assert len(starts) > 9
    assert all(starts), "JupyterLab floats the parts of a list of terms"
    fold.click()


def test_the_inputs_are_put_in_another_order(lab: Lab):
    def column(index: int) -> list[float]:
        cells = lab.page.locator(f"{ROWS} > :nth-child({index})").all_inner_texts()
        return [float(text.strip("%<\u202f ")) for text in cells]

    assert column(2) == sorted(column(2))
    lab('[aria-label="Sort the inputs"]').select_option("weight")
    lab.page.wait_for_function(
        """() => {
          const cells = [...document.querySelectorAll('.isn-scope .isn-sample:not(.isn-sample-head) > :nth-child(3)')];
          const weights = cells.map((cell) => parseFloat(cell.textContent.replace('<', '')));
          return weights.length > 1 && weights.every((weight, i) => i === 0 || weights[i - 1] >= weight);
        }"""
    )
    lab('[aria-label="Sort the inputs"]').select_option("distance")


def test_an_example_gets_a_tab_of_its_own(lab: Lab):
    mine = lab("textarea.isn-prompt").input_value()
    lab("[aria-label='Keep this prompt and open another tab']").click()
    lab(".isn-prompt-tab").nth(1).wait_for()
    before = lab.revision()
    examples = lab("[aria-label='Example prompts']")
    value = examples.evaluate(
        "(select, mine) => [...select.options].find((o) => o.value && !mine.startsWith(o.textContent)).value", mine
    )
    examples.select_option(value)
    lab.settle(before)
    assert lab("textarea.isn-prompt").input_value() != mine
    assert accessibility_faults(lab.page, SCOPE) == []
    lab("[aria-label='Close this tab']").click()
    lab.page.wait_for_function(
        "mine => document.querySelector('.isn-scope textarea.isn-prompt').value === mine", arg=mine
    )
    lab.page.wait_for_selector(f"{SCOPE}:not([data-isn-stale])")


def test_the_inputs_stand_under_the_picked_one(lab: Lab):
    lab.write("9 6 7 + 9 2 1 =")
    heads = lab(".isn-sample-head .isn-slot")
    assert [text.strip() for text in lab(".isn-sample-head .isn-slot-token").all_inner_texts()] == lab.tokens()
    assert lab(".isn-answer").inner_text()
    first = [heads.nth(i).bounding_box()["x"] for i in range(heads.count())]
    cells = lab(".isn-sample").nth(1).locator(".isn-slots > :not(.isn-badge)")
    assert [cells.nth(i).bounding_box()["x"] for i in range(cells.count())] == pytest.approx(first, abs=1)
    lab('[aria-label="Layout of the inputs"]').select_option("text")
    assert lab(".isn-slots").count() == 0
    lab('[aria-label="Layout of the inputs"]').select_option("aligned")
    lab(".isn-slots").first.wait_for()


def test_the_tokens_are_shaded_by_what_one_chooses(lab: Lab):
    before = lab("button.isn-token").nth(3).get_attribute("title")
    for quantity, unit in (("norm", "standardised units"), ("change", "of the layer before"), ("bits", "bits")):
        lab(".isn-shaded-by").select_option(quantity)
        lab.page.wait_for_function(
            "unit => document.querySelector('.isn-scope .isn-picker .isn-scale-unit')?.textContent === unit", arg=unit
        )
    lab(".isn-shaded-by").select_option("picked")
    lab.page.wait_for_function(
        "before => document.querySelectorAll('.isn-scope button.isn-token')[3].title === before", arg=before
    )


def test_two_views_of_one_widget_stay_in_step(lab: Lab):
    before = lab.revision()
    lab.page.evaluate(
        """() => {
          const panel = window.jupyterapp.shell.currentWidget;
          const cells = panel.content.widgets;
          const at = cells.findIndex((cell) => cell.node.querySelector(".isn-scope"));
          panel.content.activeCellIndex = at;
          return window.jupyterapp.commands.execute("notebook:create-output-view");
        }"""
    )
    lab.page.wait_for_function("document.querySelectorAll('.isn-scope').length === 2")
    both = lab.page.locator(SCOPE)
    both.nth(1).locator("button.isn-token").first.wait_for()
    second = both.nth(1)
    second.locator("button.isn-token").nth(4).click()
    lab.page.wait_for_function(
        "before => [...document.querySelectorAll('.isn-gallery')].every((g) => Number(g.dataset.isnRevision) > before)",
        arg=before,
    )
    lab.page.wait_for_function(
        """() => {
          const picked = [...document.querySelectorAll('.isn-scope button.isn-token[aria-pressed=true]')];
          return picked.length === 2 && picked[0].title === picked[1].title;
        }"""
    )
    second.locator(".isn-filter").fill("zzz")
    lab.page.wait_for_function(
        "() => [...document.querySelectorAll('.isn-scope .isn-filter')].every((filter) => filter.value === 'zzz')"
    )
    second.locator(".isn-filter").fill("")
    lab.page.wait_for_function(
        "() => [...document.querySelectorAll('.isn-scope .isn-filter')].every((filter) => filter.value === '')"
    )
    lab.page.wait_for_function(ALIKE)
    site = "button.isn-map-cell[title='blocks.{}.hook_resid_post']"
    for view, layer, order in ((1, 2, "weight"), (0, 3, "distance")):
        changed = both.nth(view)
        changed.locator(site.format(layer)).click()
        changed.locator("[aria-label='Sort the inputs']").select_option(order)
        changed.locator(".isn-slider").press("ArrowRight")
        other = both.nth(1 - view)
        other.locator(".isn-site-name").get_by_text(f"blocks.{layer}.hook_resid_post").wait_for()
        lab.page.wait_for_function(ALIKE)
        assert other.locator("[aria-label='Sort the inputs']").input_value() == order
    lab.page.evaluate(
        "() => [...window.jupyterapp.shell.widgets('main')].find((widget) => !widget.sessionContext).close()"
    )
    lab.page.wait_for_function("document.querySelectorAll('.isn-scope').length === 1")
    lab.page.wait_for_function("window.jupyterapp.shell.currentWidget?.sessionContext")


STATE_OF = """scope => {
  const texts = (selector) => [...scope.querySelectorAll(selector)].map((element) => element.textContent);
  const values = (selector) => [...scope.querySelectorAll(selector)].map((element) => element.value);
  return {
    prompt: values("textarea.isn-prompt"), picked: texts("button.isn-token[aria-pressed=true]"),
    tabs: texts("[role=tab]"), site: texts(".isn-site-name"), bandwidth: texts("output"),
    samples: values(".isn-go select"), shown: texts(".isn-sample-token"), pins: texts(".isn-pin-go"),
    answer: texts(".isn-answer, .isn-verdict"), rates: texts(".isn-table-part tbody tr"),
    filter: values(".isn-filter"), order: values("[aria-label='Sort the inputs']"),
  };
}"""
BY_WEIGHT = """() => {
  const rows = [...document.querySelectorAll(".isn-scope .isn-list .isn-sample:not(.isn-sample-head)")];
  const weights = rows.map((row) => parseFloat(row.children[2].textContent) || 0); // "< 0.1 %" is next to nothing
  return weights.length > 1 && weights.every((weight, index) => index === 0 || weight <= weights[index - 1]);
}"""
STATE = f"() => ({STATE_OF})(document.querySelector('.isn-scope'))"
ALIKE = f"""() => {{
  const scopes = [...document.querySelectorAll('.isn-scope')];
  const [one, two] = scopes.map((scope) => {{
    const state = ({STATE_OF})(scope);
    return JSON.stringify({{ ...state, shown: state.shown.slice(0, 100) }}); // of one more may have been asked for
  }});
  return one === two && scopes.every((scope) => !scope.hasAttribute('data-isn-stale'));
}}"""


def test_what_is_shown_is_the_same_when_the_widget_is_displayed_again(lab: Lab):
    order = lab("[aria-label='Sort the inputs']")
    order.select_option("distance")
    order.select_option("weight")
    lab.page.wait_for_function(BY_WEIGHT)  # the kernel's answer: what was asked before is at work, if not done
    lab.settle(0)
    lab.page.wait_for_function(BY_WEIGHT)
    before = lab.page.evaluate(STATE)
    assert all(before[part] for part in ("prompt", "picked", "site", "shown", "answer", "rates", "order"))
    first = lab.page.locator(SCOPE).element_handle()
    lab.page.evaluate(
        """() => {
          const panel = window.jupyterapp.shell.currentWidget;
          const cell = panel.content.widgets.find((cell) => cell.node.querySelector(".isn-scope"));
          const model = cell.outputArea.model;
          const kept = model.toJSON();
          model.clear();
          kept.forEach((output) => model.add(output));
        }"""
    )
    lab.page.wait_for_function("first => !first.isConnected", arg=first)
    lab(".isn-sample").nth(1).wait_for()
    lab(".isn-table-part tbody tr").first.wait_for()
    same = f"before => JSON.stringify(({STATE})()) === JSON.stringify(before)"
    with contextlib.suppress(WaitedTooLong):
        lab.page.wait_for_function(same, arg=before)
    assert lab.page.evaluate(STATE) == before
    lab("[aria-label='Sort the inputs']").select_option("distance")


def test_pictures_of_every_theme_and_width(lab: Lab, pictures: Path):
    lab.choose(lab("button.isn-map-cell[title='blocks.1.hook_resid_post']"))
    lab.choose(lab("button.isn-token").last)
    lab(".isn-vega svg").first.wait_for()
    lab.page.mouse.move(0, 0)
    looks = {
        lab(f".isn-sample-head .isn-state-{state}").first.evaluate(
            "slot => (({ backgroundColor, borderBottomColor, fontWeight }) => "
            "[backgroundColor, borderBottomColor, fontWeight].join(' '))(getComputedStyle(slot))"
        )
        for state in ("pinned", "free")
    }
    assert len(looks) == 2, "what is fixed looks plainly different from what is free"
    for name, theme in (("light", "JupyterLab Light"), ("dark", "JupyterLab Dark")):
        use_theme(lab.page, theme)
        lab.page.wait_for_selector(f"{SCOPE}[data-isn-theme={name}]")
        lab.page.wait_for_selector(f"{SCOPE} .isn-panel[data-isn-theme={name}]")
        lab(".isn-vega svg").first.wait_for()
        assert accessibility_faults(lab.page, SCOPE) == []
        take(lab.page.locator(SCOPE), pictures / f"{name}.png")
    use_theme(lab.page, "JupyterLab Light")
    lab.page.wait_for_selector(f"{SCOPE}[data-isn-theme=light]")
    lab.page.set_viewport_size({"width": 1440, "height": 3000})
    lab.page.evaluate("document.querySelector('.isn-scope').parentElement.style.width = '360px'")
    lab.page.wait_for_function("document.querySelector('.isn-scope .isn-vega svg')?.clientWidth <= 360")
    assert standing_out(lab.page, SCOPE) == []
    assert accessibility_faults(lab.page, SCOPE) == []
    take(lab.page.locator(SCOPE), pictures / "narrow.png")
    lab.page.set_viewport_size({"width": 2400, "height": 1900})
    lab.page.evaluate("document.querySelector('.isn-scope').parentElement.style.width = ''")
    lab.page.wait_for_function("document.querySelector('.isn-scope').clientWidth > 1500")
    assert standing_out(lab.page, SCOPE) == []
    for picture in pictures.glob("*.png"):
        assert picture.stat().st_size < 150_000, picture.name


def test_a_kernel_that_is_restarted_leaves_a_note_and_no_dead_controls(lab: Lab):
    shown = lab.inputs()
    lab.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    note = lab.page.locator(".isn-no-kernel").first
    note.wait_for()
    assert "run the notebook again" in note.inner_text()
    lab.page.wait_for_function(
        "() => [...document.querySelectorAll('.isn-scope button.isn-token')].every((token) => token.disabled)"
    )
    assert lab.inputs() == shown
    local = ".isn-toggle, .isn-link, summary, .isn-error button, .isn-code button"
    dead = "local => [...document.querySelectorAll('.isn-scope :is(button, input, select, textarea):not(:disabled)')]"
    assert (
        lab.page.evaluate(f"{dead}.filter((c) => !c.matches(local)).map((c) => c.outerHTML.slice(0, 90))", local) == []
    )
    code = lab(".isn-code").last
    code.locator("summary").click()
    code.get_by_role("button").click()
    code.get_by_text("Copied").or_(code.get_by_text("Selected: press Ctrl+C")).wait_for()
    lab.errors[:] = [error for error in lab.errors if "debugger" not in error]  # JupyterLab's own, about its debugger


def test_where_the_notebook_runs_again_after_a_restart_the_widget_works(lab: Lab):
    run_all_cells(lab.page)
    lab.page.wait_for_selector(ROWS)
    lab.page.wait_for_function("() => !document.querySelector('.isn-scope').hasAttribute('data-isn-stale')")
    assert lab.page.locator(".isn-no-kernel:visible").count() == 0
    before = lab.revision()
    lab("button.isn-token").nth(3).click()
    lab.settle(before)
    assert lab.inputs()
    lab.errors[:] = [error for error in lab.errors if "debugger" not in error]
