"""What a picture does not show: faults that axe-core finds, and what stands out of its cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import Page

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
    found = Axe().run(page, context=selector, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{fault['impact']}: {fault['id']}: {node['html'][:160]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def standing_out(page: Page, selector: str) -> list[str]:
    """Elements that reach beyond the right edge of one, and do not scroll."""
    return page.locator(selector).first.evaluate(_OUTSIDE)
