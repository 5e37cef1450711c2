"""What a picture does not show: faults that axe-core finds, and what stands out of its cell.

With ``ISN_KEEP_SCREENSHOTS=1`` all that axe-core says, of slight faults and of what it leaves undecided too, is kept in
``notebooks/images/axe.json``, by test and state.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from axe_playwright_python.sync_playwright import Axe
from lab import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

_KEPT = ROOT / "notebooks" / "images" / "axe.json"

_OUTSIDE = """root => {
  const edge = root.getBoundingClientRect().right + 1;
  const scrolls = (element) => {
    for (let e = element.parentElement; e && e !== root; e = e.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)) return true;
    return false;
  };
  return [...root.querySelectorAll("*")]
    .filter((e) => e.getClientRects().length && e.getBoundingClientRect().right > edge && !scrolls(e))
    .map((e) => `${e.tagName.toLowerCase()}.${e.getAttribute("class")}`);
}"""


def accessibility_faults(page: Page, selector: str) -> list[str]:
    """Serious and critical faults of one element and what is in it; empty where there are none."""
    kept = bool(os.environ.get("ISN_KEEP_SCREENSHOTS"))
    response = Axe().run(page, context=selector, options={} if kept else {"resultTypes": ["violations"]}).response
    if kept:
        _keep(response, page, selector)
    return [
        f"{fault['impact']}: {fault['id']}: {node['html'][:160]}"
        for fault in response["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def _keep(response: dict[str, Any], page: Page, selector: str) -> None:
    """Adds to the file what axe-core says of one state: how many nodes each rule is broken by, or may be."""
    kept = json.loads(_KEPT.read_text(encoding="utf-8")) if _KEPT.exists() else {}
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0].rpartition("/")[2]
    inner = page.locator(f"{selector} .isn-scope")
    element = (inner if inner.count() else page.locator(selector)).first
    theme = element.evaluate("e => (e.closest('[data-isn-theme]') ?? e).dataset.isnTheme")
    state = f"{test} {selector}, {round(element.bounding_box()['width'])} pixels, {theme}"

    def counted(kind: str) -> dict[str, int]:
        return dict(Counter(f"{rule['impact']}: {rule['id']}" for rule in response[kind] for _ in rule["nodes"]))

    kept["axe-core"] = response["testEngine"]["version"]
    kept[state] = {
        "rules_passed": len(response["passes"]),
        "broken": counted("violations"),
        "undecided": counted("incomplete"),
    }
    _KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def standing_out(page: Page, selector: str) -> list[str]:
    """Elements that reach beyond the right edge of one, and do not scroll."""
    return page.locator(selector).first.evaluate(_OUTSIDE)
