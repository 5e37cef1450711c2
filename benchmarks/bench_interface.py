"""How large and how quick the notebook widget is, in a real JupyterLab in a real Chromium without a window.

    python benchmarks/bench_interface.py

Sizes are of the built bundles. Times are taken in the page (`performance.now`), with the packaged model: from the
message that shows a widget to its tokens on the screen (the cell was run before, so all is warm; and again of a cell
that makes the widget anew), from a prompt of 1,000 tokens that is pasted to those on the screen, from a click on a
token to its 64 inputs, from another bandwidth to the samples weighed anew and to new ones, from Stop to a widget at
rest (worst and median of several moments in an inversion of 4,096 samples). Frames are counted while a list of 5,000
samples is scrolled from end to end, beside a bare list of as many lines of text in the same page (what the machine
can do at all), and while the tokens of a prompt of 1,000 are, in a widget over a random model with a context of 2,048;
a Chromium without a window paints up to 60 a second.
Needs the browser that the tests need.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd
from _results import name_argument, write

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "e2e"), str(ROOT / "tests")]

from _requirements import missing_for_browser_tests  # noqa: E402 - beside the tests
from lab import browser_page, jupyter_lab, open_notebook, run_all_cells, write_notebook  # noqa: E402 - beside the tests
from test_long_prompt import CELL as WIDE_CONTEXT  # noqa: E402 - beside the tests

if TYPE_CHECKING:
    from playwright.sync_api import Page

CELL = "import inversescope_nb as isn\nw = isn.InverseScopeWidget(prompt='9 6 7 + 9 2 1 =')\nw"
AGAIN = "w"
SENTENCE = "the cat is in the park"
LONG = WIDE_CONTEXT.replace(f'prompt="{SENTENCE}"', f'prompt="{" ".join((SENTENCE.split() * 167)[:999])}"')
KILOBYTE = 1024

READY = """() => document.querySelectorAll(".isn-scope .isn-sample").length > 1
  && !document.querySelector(".isn-go button").disabled"""
PAINT = """async (index) => {
  const panel = window.jupyterapp.shell.currentWidget;
  const kernel = panel.sessionContext.session.kernel;
  const cell = panel.content.widgets[index];
  cell.outputArea.model.clear();
  panel.content.activeCellIndex = index;
  const shown = new Promise((resolve) => {
    const look = (_, message) => {
      if (!message.content?.data?.["application/vnd.jupyter.widget-view+json"]) return;
      kernel.iopubMessage.disconnect(look);
      resolve(performance.now());
    };
    kernel.iopubMessage.connect(look);
  });
  const painted = new Promise((resolve) => {
    const look = () => {
      if (!cell.node.querySelector(".isn-scope button.isn-token")) setTimeout(look, 2);
      else requestAnimationFrame(() => resolve(performance.now()));
    };
    look();
  });
  await window.jupyterapp.commands.execute("notebook:run-cell");
  return (await painted) - (await shown);
}"""
CHANGE = """([act, index]) => new Promise((resolve, reject) => {
  const gallery = document.querySelector(".isn-scope .isn-gallery");
  const before = gallery.dataset.isnRevision;
  const started = performance.now();
  const anew = () => gallery.querySelector(".isn-summary")?.textContent.includes("weighed anew");
  const watcher = new MutationObserver(() => {
    if (act === "weigh" ? !anew() : gallery.dataset.isnRevision === before) return;
    watcher.disconnect();
    requestAnimationFrame(() => resolve(performance.now() - started));
  });
  watcher.observe(gallery, { subtree: true, childList: true, attributes: true });
  setTimeout(() => reject(new Error("nothing changed")), 60000);
  if (act === "pick") document.querySelectorAll(".isn-scope button.isn-token")[index].click();
  else {
    const slider = document.querySelector(".isn-scope .isn-slider");
    slider.value = index;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }
})"""
STOP = """wait => new Promise((resolve) => {
  const invert = document.querySelector(".isn-go button");
  invert.click();
  setTimeout(() => {
    const started = performance.now();
    document.querySelector(".isn-main .isn-stop").click();
    const look = () => (invert.disabled ? setTimeout(look, 5) : resolve(performance.now() - started));
    look();
  }, wait);
})"""
SCROLL = """([seconds, share, selector]) => new Promise((resolve) => {
  const list = document.querySelector(selector);
  list.scrollTop = 0;
  const end = share * (list.scrollHeight - list.clientHeight);
  const frames = [];
  const begun = performance.now();
  const step = (now) => {
    frames.push(now);
    list.scrollTop = Math.min(end, ((performance.now() - begun) / (1000 * seconds)) * end);
    if (performance.now() - begun < 1000 * seconds) requestAnimationFrame(step);
    else resolve(frames.slice(1).map((at, i) => at - frames[i]));
  };
  requestAnimationFrame(step);
})"""
PLAIN = """() => {
  const list = document.querySelector(".isn-scope .isn-samples");
  const bare = document.createElement("div");
  bare.id = "bare";
  bare.style.cssText = `height: ${list.clientHeight}px; overflow: auto; font: 13px monospace`;
  for (const row of list.querySelectorAll(".isn-sample")) {
    const line = document.createElement("div");
    line.textContent = row.textContent;
    line.style.height = `${row.offsetHeight || 28}px`;
    bare.append(line);
  }
  list.after(bare);
  bare.scrollIntoView({ block: "center" });
}"""
MORE = """() => new Promise((resolve) => {
  const list = document.querySelector(".isn-scope .isn-samples");
  const more = document.querySelector(".isn-scope .isn-more");
  const look = () => {
    if (more.hidden) return resolve(list.querySelectorAll(".isn-sample").length - 1);
    list.scrollTop = list.scrollHeight;
    setTimeout(look, 10);
  };
  look();
})"""


PASTE = """text => new Promise((resolve) => {
  const scope = document.querySelector(".jp-Cell:last-of-type .isn-scope");
  const box = scope.querySelector("textarea.isn-prompt");
  const words = text.split(" ");
  box.value = text;
  const started = performance.now();
  box.dispatchEvent(new Event("input", { bubbles: true }));
  const look = () => {
    const tokens = scope.querySelectorAll("button.isn-token");
    if (tokens.length !== words.length + 1 || tokens[1].textContent !== words[0]) return setTimeout(look, 2);
    tokens[words.length].getBoundingClientRect(); // all of them are laid out
    requestAnimationFrame(() => resolve(performance.now() - started));
  };
  look();
})"""
KEYS = """() => new Promise((resolve) => {
  const tokens = [...document.querySelectorAll(".jp-Cell:last-of-type button.isn-token")];
  tokens[0].focus();
  const times = [];
  const press = (index) => {
    if (index === 200) return resolve(times);
    const started = performance.now();
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    tokens[index + 1].getBoundingClientRect(); // what moved is laid out
    times.push(performance.now() - started);
    requestAnimationFrame(() => press(index + 1));
  };
  press(0);
})"""


def sizes() -> list[dict[str, Any]]:
    """Each bundle's size; the chart's, with Vega in it, has no limit."""
    built = json.loads((ROOT / "inversescope_nb" / "static" / "manifest.json").read_text(encoding="utf-8"))
    return [
        {"what": f"size of {name}, KiB", "measured": size / KILOBYTE, "limit": None if name == "chart.js" else 60.0}
        for name, size in built["bundles"].items()
    ]


def settled(page: Page) -> None:
    """Waits until nothing runs."""
    page.wait_for_function(READY)
    page.wait_for_timeout(300)


def timed(page: Page, repeats: int) -> list[dict[str, Any]]:
    """Everything that is measured in the page."""
    paints = [page.evaluate(PAINT, 1) for _ in range(repeats)]
    page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets[1].outputArea.model.clear()")
    settled(page)
    made = []
    for _ in range(repeats):
        made.append(page.evaluate(PAINT, 0))
        settled(page)
    picks, weighed, slides = [], [], []
    for i in range(repeats):
        picks.append(page.evaluate(CHANGE, ["pick", 3 + i % 5]))
        settled(page)
    for i in range(repeats):
        weighed.append(page.evaluate(CHANGE, ["weigh", (90, 100, 75)[i % 3]]))
        settled(page)
        slides.append(page.evaluate(CHANGE, ["slide", (120, 60, 110)[i % 3]]))
        settled(page)
    page.locator(".isn-scope .isn-go select").select_option("4096")
    page.wait_for_timeout(200)
    page.locator(".isn-main .isn-stop").first.click()
    settled(page)
    stops = []
    for i in range(2 * repeats):
        stops.append(page.evaluate(STOP, 120 + 170 * i))
        settled(page)
    return [
        {"what": "first paint, warm, ms", "measured": median(paints), "worst": max(paints), "limit": 300.0},
        {"what": "first paint, made anew, ms", "measured": median(made), "worst": max(made), "limit": 300.0},
        {"what": "pick to gallery, 64 samples, ms", "measured": median(picks), "worst": max(picks), "limit": 1500.0},
        {
            "what": "bandwidth to samples weighed anew, ms",
            "measured": median(weighed),
            "worst": max(weighed),
            "limit": 1000.0,
        },
        {"what": "bandwidth to new samples, ms", "measured": median(slides), "worst": max(slides)},
        {"what": "Stop to rest, 4,096 samples, ms", "measured": median(stops), "worst": max(stops), "limit": 500.0},
    ]


def scrolled(page: Page, samples: int, seconds: float) -> list[dict[str, Any]]:
    """Frames while a long list is scrolled."""
    kernel = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
    page.evaluate(f"{kernel}.requestExecute({{code: 'w.n = {samples}; w.bandwidth = 1.0'}}).done")
    settled(page)
    rows = page.evaluate(MORE)
    height = page.evaluate("document.querySelector('.isn-scope .isn-samples').scrollHeight")
    out = []
    for pace, share in (("at 3,000 pixels a second", 3000 * seconds / height), (f"all in {seconds:g} s", 1.0)):
        deltas = page.evaluate(SCROLL, [seconds, share, ".isn-scope .isn-samples"])
        what = f"scrolling {samples:,} samples ({rows:,} different) {pace}"
        rate = 1000 * len(deltas) / sum(deltas)
        late = 100 * sum(d > 25 for d in deltas) / len(deltas)
        out.append({"what": f"frames a second, {what}", "measured": rate, "worst": 1000 / max(deltas), "limit": 60.0})
        out.append({"what": "frames of more than 25 ms, %", "measured": late})
    page.evaluate(PLAIN)
    deltas = page.evaluate(SCROLL, [seconds, 1.0, "#bare"])
    out.append({"what": "a bare list of as many lines of text", "measured": 1000 * len(deltas) / sum(deltas)})
    return out


def long_prompt(page: Page, repeats: int) -> list[dict[str, Any]]:
    """Frames while the tokens of a long prompt are scrolled in a second; what an arrow key costs, and a paste."""
    tokens = page.locator(".jp-Cell:last-of-type .isn-scope button.isn-token").count()
    assert tokens == 1000, "the cell of the test of long prompts has changed"
    page.locator(".jp-Cell:last-of-type .isn-tokens").scroll_into_view_if_needed()
    deltas = page.evaluate(SCROLL, [1.0, 1.0, ".jp-Cell:last-of-type .isn-tokens"])
    keys = page.evaluate(KEYS)
    pastes = []
    for i in range(repeats):
        words = (("a", "the")[i % 2], *SENTENCE.split()[1:]) * 167
        pastes.append(page.evaluate(PASTE, " ".join(words[: tokens - 1])))
        page.wait_for_function("() => !document.querySelector('.jp-Cell:last-of-type .isn-go button').disabled")
        page.wait_for_timeout(300)
    page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets[2].outputArea.model.clear()")
    rate, worst = 1000 * len(deltas) / sum(deltas), 1000 / max(deltas)
    return [
        {
            "what": f"frames a second, scrolling {tokens:,} tokens in 1 s",
            "measured": rate,
            "worst": worst,
            "limit": 60.0,
        },
        {"what": f"an arrow key among {tokens:,} tokens, ms", "measured": median(keys), "worst": max(keys)},
        {"what": f"paste to {tokens:,} tokens, ms", "measured": median(pastes), "worst": max(pastes)},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=8.0, help="of scrolling")
    name_argument(parser, "interface")
    args = parser.parse_args()
    if lacks := missing_for_browser_tests():
        print(f"not measured: this needs {lacks}")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "notebooks").mkdir()
        write_notebook(folder / "notebooks" / "interface.ipynb", CELL, AGAIN, LONG)
        with jupyter_lab(folder / "notebooks", folder) as url, browser_page(1440, 1900) as (page, _errors):
            open_notebook(page, url, "interface.ipynb")
            run_all_cells(page)
            page.wait_for_function(READY)
            rows = (
                long_prompt(page, args.repeats) + timed(page, args.repeats) + scrolled(page, args.samples, args.seconds)
            )
    table = pd.DataFrame([*sizes(), *rows], columns=["what", "measured", "worst", "limit"])
    print(table.to_string(index=False, float_format=lambda x: f"{x:.1f}", na_rep=""))
    load = [round(x, 2) for x in os.getloadavg()]
    write(args.name, {"rows": table}, arguments=vars(args), cores=os.cpu_count(), load_averages=load)


if __name__ == "__main__":
    main()
