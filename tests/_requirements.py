"""What some tests need beside the package: a browser. Without one they are skipped, with one line that says so.

``ISN_REQUIRE_BROWSER=1`` (the continuous check sets it) makes a missing browser a failure instead;
``ISN_CHROMIUM`` names a browser that is not on the path.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SKIPPED: list[str] = []


def find_browser() -> str | None:
    """Path of a Chromium, or None."""
    named = os.environ.get("ISN_CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, BROWSERS)), None)


def missing_for_browser_tests() -> str:
    """What browser tests lack here, in words; empty if nothing."""
    lacks = [] if find_browser() else ["a Chromium (install it, or name it in ISN_CHROMIUM)"]
    lacks += [
        f"the package {p}"
        for p in ("playwright", "jupyterlab", "notebook", "marimo")
        if importlib.util.find_spec(p) is None
    ]
    return " and ".join(lacks)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips the browser tests where they cannot run; last, so that it sees only those that were asked for."""
    wanted = [item for item in items if item.get_closest_marker("browser")]
    missing = missing_for_browser_tests() if wanted else ""
    if not missing:
        return
    if os.environ.get("ISN_REQUIRE_BROWSER"):
        raise pytest.UsageError(f"{len(wanted)} browser tests need {missing}, and ISN_REQUIRE_BROWSER is set")
    for item in wanted:
        item.add_marker(pytest.mark.skip(reason=f"needs {missing}"))
        _SKIPPED.append(item.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The one line."""
    if _SKIPPED:
        terminalreporter.write_line(f"SKIPPED {len(_SKIPPED)} browser tests: they need {missing_for_browser_tests()}")
