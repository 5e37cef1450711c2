"""A pasted prompt of a thousand tokens in a real JupyterLab, on a random model with a context of 2,048."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checks import accessibility_faults, standing_out
from lab import browser_page, jupyter_lab, open_notebook, run_all_cells, write_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCOPE = ".isn-scope"
TOKENS = f"{SCOPE} button.isn-token"
CELL = f"""import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from conftest import word_tokenizer
from small import model_for, open_gates
import inversescope_nb as isn
from inversescope_nb.generator.building import build_generator

lm = model_for(word_tokenizer(), "llama", max_position_embeddings=2048)
prompts = isn.PromptDistribution.from_texts(["the cat is in the park", "the dog"], cut="random")
config = isn.TrainingConfig(width=16, n_tokens=3, n_blocks=1, n_heads=2, statistics_samples=64, held_out=8)
site = "blocks.1.hook_resid_post"
gen = open_gates(build_generator(lm, [site], prompts, config))
assert gen.longest_input == 2048
isn.InverseScopeWidget(lm, generators=[gen], prompt="the cat is in the park", site=site, n=8)"""
SHADED = """() => [...document.querySelectorAll('.isn-scope button.isn-token')]
  .flatMap((token, index) => token.title.endsWith(' bits') ? [index] : [])"""
ON_SCREEN = """() => {
  const list = document.querySelector('.isn-scope .isn-tokens').getBoundingClientRect();
  return [...document.querySelectorAll('.isn-scope button.isn-token')].flatMap((token, index) => {
    const box = token.getBoundingClientRect();
    return box.top >= list.top && box.bottom <= list.bottom ? [index] : [];
  });
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder, scratch = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter")
    write_notebook(folder / "long.ipynb", CELL)
    with jupyter_lab(folder, scratch) as url, browser_page(1440, 1000) as (page, errors):
        open_notebook(page, url, "long.ipynb")
        run_all_cells(page)
        page.wait_for_selector(TOKENS)
        yield page
        assert errors == []


def test_it_is_shown_as_tokens_within_the_cell_and_moved_through_by_keys(page: Page):
    words = "the cat and a dog is in the park .".split()
    page.fill(f"{SCOPE} textarea.isn-prompt", " ".join((words * 100)[:999]))
    page.wait_for_function("selector => document.querySelectorAll(selector).length === 1000", arg=TOKENS)
    assert standing_out(page, SCOPE) == []
    assert accessibility_faults(page, f"{SCOPE} .isn-picker") == []
    page.locator(f"{TOKENS}[tabindex='0']").focus()
    here = "() => [...document.querySelectorAll('.isn-scope button.isn-token')].indexOf(document.activeElement)"
    for key, index in (("Home", 0), ("ArrowRight", 1), ("End", 999), ("ArrowLeft", 998)):
        page.keyboard.press(key)
        assert page.evaluate(here) == index
        assert index in page.evaluate(ON_SCREEN)


def test_bits_come_first_for_the_tokens_on_the_screen_and_can_be_stopped(page: Page):
    page.wait_for_function("() => !document.querySelector('.isn-scope').hasAttribute('data-isn-stale')")
    page.select_option(f"{SCOPE} .isn-shaded-by", "norm")
    page.wait_for_function(f"() => ({SHADED})().length === 0")
    page.select_option(f"{SCOPE} .isn-shaded-by", "bits")
    page.wait_for_function(f"() => ({SHADED})().length > 0")
    assert " of 1000" in page.locator(f"{SCOPE} .isn-picker .isn-progress-words:visible").inner_text()
    shaded, seen = page.evaluate(SHADED), page.evaluate(ON_SCREEN)
    assert len(shaded) < 999
    assert set(shaded) <= set(range(min(seen) - 60, 1000))  # those on the screen, and a line above
    page.locator(f"{SCOPE} .isn-picker .isn-stop:visible").click()
    page.wait_for_selector(f"{SCOPE} .isn-picker .isn-stop", state="hidden")
    assert len(page.evaluate(SHADED)) < 999
