"""The table of versions: what pyproject.toml admits is what was tried, and the README says how it went."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import versions  # noqa: E402


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return json.loads(versions.RESULT.read_text(encoding="utf-8"))


def test_every_set_was_tried_and_the_readme_has_the_table(rows):
    assert [row["set"] for row in rows] == list(versions.sets())
    assert all({"transformer-lens", "sae-lens"} <= set(row["versions"]) for row in rows[:2])
    assert versions.table(rows) in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name_of_set", "lifted"), [("oldest", versions.LIFTED_BY_LENSES), ("oldest torch", versions.LIFTED)]
)
@pytest.mark.parametrize("name", versions.floors())
def test_the_oldest_that_was_tried_is_the_oldest_that_is_admitted(rows, name, name_of_set, lifted):
    row = next(row for row in rows if row["set"] == name_of_set)
    tried = Version(row["versions"][name]).base_version
    assert Version(tried) == Version((versions.floors() | lifted)[name])
    assert Version(versions.floors()[name]) <= Version(tried)
