"""One saved page of thousands of inputs: small, and explorable in Chromium from a file, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checks import accessibility_faults, standing_out
from lab import browser_page

import inversescope_nb as isn

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ROWS = ".isn-sample:not(.isn-sample-head)"
PROMPT = "Then , Mary and John went to the store . John gave the drink to"
LIMIT = 3_000_000


@pytest.fixture(scope="module")
def scope() -> Iterator[isn.InverseScopeWidget]:
    widget = isn.InverseScopeWidget(prompt=PROMPT, site="resid_post.1", bandwidth=0.3)
    widget.add_hypothesis(isn.features.contains("Mary"))  # its chart, with Vega inside, is the largest part of a page
    yield widget
    widget.close()


@pytest.mark.parametrize("n", [4096, 5000])
def test_a_page_of_thousands_of_inputs_is_small(scope: isn.InverseScopeWidget, n: int):
    scope.n = n
    scope.invert().wait()
    assert len(scope.gallery.rows) > 0.9 * n  # nearly all are different inputs
    assert len(scope.to_html().encode()) < LIMIT


def state(page: Page) -> str:
    return page.locator(".isn-list [role=status]").inner_text()


def test_it_opens_from_a_file_and_scrolls_filters_and_sorts(scope: isn.InverseScopeWidget, tmp_path: Path):
    rows = scope.gallery.rows
    scope.to_html(tmp_path / "saved.html")
    with browser_page(1200, 1400) as (page, errors):
        page.route("http*://**", lambda route: route.abort())
        page.goto((tmp_path / "saved.html").as_uri())
        page.wait_for_selector(ROWS)
        assert page.locator("#isn-static").count() == 0
        page.wait_for_selector(".isn-vega svg")
        assert state(page) == f"50 of {len(rows)} different inputs"
        page.evaluate(
            """async () => {
              const list = document.querySelector(".isn-samples");
              const rows = () => list.querySelectorAll(".isn-sample").length;
              while (!document.querySelector(".isn-more").hidden) {
                const before = rows();
                list.scrollTop = list.scrollHeight;
                while (rows() === before) await new Promise((resolve) => setTimeout(resolve, 5));
              }
            }"""
        )
        assert page.locator(ROWS).count() == len(rows)
        last = page.locator(ROWS).last
        last.scroll_into_view_if_needed()
        assert last.locator(".isn-sample-token").all_inner_texts() == rows[-1]["tokens"]
        assert float(last.locator(".isn-cell-number").first.inner_text()) == pytest.approx(rows[-1]["d"], abs=6e-4)
        wanted = [row for row in rows if "umbrella" in row["text"]]
        assert 0 < len(wanted) < len(rows)
        page.locator(".isn-filter").fill("umbrella")
        page.wait_for_function(
            "n => document.querySelector('.isn-list [role=status]').textContent.includes(`of ${n} that match`)",
            arg=len(wanted),
        )
        page.locator(".isn-filter").fill("")
        heaviest = max(rows, key=lambda row: row["weight"])
        page.locator("[aria-label='Sort the inputs']").select_option("weight")
        page.wait_for_function(
            """text => [...document.querySelector(".isn-sample:not(.isn-sample-head)")
              .querySelectorAll(".isn-sample-token")].map((token) => token.textContent).join(" ") === text""",
            arg=" ".join(heaviest["tokens"]),
        )
        assert errors == []


def test_a_page_of_all_that_can_be_shown_is_small_and_has_no_fault(scope: isn.InverseScopeWidget, tmp_path: Path):
    scope.n = 4096
    scope.invert().wait()
    scope.pins.pin()
    scope.picker.position = 9
    scope.invert().wait()
    scope.pins.compare(scope.pins.pins[0]["id"]).wait()
    scope.sweep.picks = 2
    scope.sweep.sweep().wait()
    assert len(scope.to_html(tmp_path / "saved.html").encode()) < LIMIT
    with browser_page(1440, 1400) as (page, errors):
        page.goto((tmp_path / "saved.html").as_uri())
        page.wait_for_selector(".isn-sweep .isn-heat .isn-vega svg")
        page.wait_for_selector(f".isn-comparison {ROWS}")
        for colours in ("light", "dark"):
            page.emulate_media(color_scheme=colours)
            page.wait_for_selector(f".isn-scope[data-isn-theme={colours}]")
            page.wait_for_selector(".isn-sweep .isn-heat .isn-vega svg")
            assert accessibility_faults(page, ".isn-scope") == []
            assert standing_out(page, ".isn-scope") == []
        assert errors == []
