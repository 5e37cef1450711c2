"""The README's first command from a fresh clone, in a path with a space, twice in a row."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
def test_the_demo_runs_from_a_fresh_clone_twice(tmp_path) -> None:
    for tool in ("git", "make"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    clone = tmp_path / "a clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True, capture_output=True)
    env = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    shown = []
    for _ in range(2):
        (clone / "demo.html").unlink(missing_ok=True)
        run = subprocess.run(["make", "demo"], cwd=clone, env=env, capture_output=True, text=True, timeout=1500)
        assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
        page = (clone / "demo.html").read_text(encoding="utf-8")
        assert "http://" not in page.replace("http://www.w3.org", "")
        assert "make lab" in run.stdout
        shown.append(run.stdout)
    assert "setting up" in shown[0]
    assert "setting up" not in shown[1]
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert changed.stdout == ""
