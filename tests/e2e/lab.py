"""A real Jupyter and a real Chromium for the tests: started, watched for console errors, and ended.

Nothing of the user's own Jupyter is read or written: configuration, settings, workspaces and run-time
files all go to a folder of the test's.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from _requirements import find_browser

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 180
"""How long anything may take on a busy machine; nothing waits longer than it must."""
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab Light"},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}


def jupyter_lab(folder: Path, scratch: Path) -> AbstractContextManager[str]:
    """A JupyterLab that serves ``folder`` on a free port; gives its address."""
    own = ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url="]
    return _jupyter("jupyterlab", own, folder, scratch)


def jupyter_notebook(folder: Path, scratch: Path) -> AbstractContextManager[str]:
    """A Jupyter Notebook 7, likewise."""
    return _jupyter("notebook", ["--JupyterNotebookApp.expose_app_in_browser=True"], folder, scratch)


def _jupyter(module: str, own: list[str], folder: Path, scratch: Path) -> AbstractContextManager[str]:
    config, port = scratch / "config", free_port()
    (config / "labconfig").mkdir(parents=True)
    (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(_SETTINGS))
    places = {
        "JUPYTER_CONFIG_DIR": config,
        "JUPYTER_RUNTIME_DIR": scratch / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": scratch / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": scratch / "workspaces",
        "IPYTHONDIR": scratch / "ipython",
        "XDG_CACHE_HOME": scratch / "cache",
    }
    command = [
        module, "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1", "--ServerApp.port_retries=0",
        "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}", "--ServerApp.disable_check_xsrf=True", *own,
    ]  # fmt: skip
    return serving(command, port, "api", folder, scratch, places)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(
    command: list[str], port: int, probe: str, folder: Path, scratch: Path, places: Mapping[str, Path]
) -> Iterator[str]:
    """``python -m COMMAND`` in ``folder`` until the end of the block, from when its page ``probe`` answers."""
    url, log = f"http://127.0.0.1:{port}", scratch / "server.log"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **{k: str(v) for k, v in places.items()}, "PYTHONPATH": path},
        )
    try:
        _wait_for(f"{url}/{probe}", server, log)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(30)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"{url} did not answer:\n{log.read_text()[-3000:]}")


@contextmanager
def browser_page(width: int, height: int) -> Iterator[tuple[Page, list[str]]]:
    """A page of a Chromium without a window, and the errors that its console has seen so far."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-lcd-text"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=flags, timeout=PATIENCE_S * 1000)
        page = browser.new_context(viewport={"width": width, "height": height}).new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        # the badge at a notebook's head is the one thing that comes from elsewhere, and tests are offline
        badge = "<svg xmlns='http://www.w3.org/2000/svg'/>"
        page.route("**/colab-badge.svg", lambda route: route.fulfill(body=badge, content_type="image/svg+xml"))
        errors: list[str] = []
        page.on("console", lambda m: errors.append(f"{m.text} ({m.location})") if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
        try:
            yield page, errors
        finally:
            browser.close()


def open_notebook(page: Page, url: str, name: str, at: str = "lab/tree") -> None:
    """Opens a notebook and waits for its kernel."""
    page.goto(f"{url}/{at}/{name}?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )


def run_all_cells(page: Page) -> None:
    """Runs every cell through the menu and waits for the last; fails on an error in any output."""
    page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
    page.wait_for_function(
        """() => {
          const cells = window.jupyterapp.shell.currentWidget.content.model.cells;
          const code = [...cells].filter((cell) => cell.type === "code");
          return code.every((cell) => cell.executionCount !== null && cell.executionState !== "running");
        }"""
    )
    wrong = page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']")
    assert wrong.count() == 0, wrong.all_inner_texts()


def write_notebook(path: Path, *sources: str) -> None:
    """A notebook with these cells of code, not run."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


def use_theme(page: Page, name: str) -> None:
    """Changes JupyterLab's theme and waits for it."""
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
    page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)
