"""The README: its Python is run, and what it refers to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_first_block_is_ten_lines_or_fewer_and_compiles():
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 10
    for block in BLOCKS:
        compile(block, "README.md", "exec")


@pytest.mark.slow
def test_the_first_block_runs():
    names: dict = {}
    exec(compile(BLOCKS[0], "README.md", "exec"), names)
    assert len(names["inv"].to_frame()) == 256
    assert len(names["report"].rows) == 4 * len(names["task"].features)


def test_the_second_block_runs_on_a_small_model(lm, tmp_path, monkeypatch):
    import inversescope_nb as isn

    monkeypatch.chdir(tmp_path)
    shown = []
    monkeypatch.setitem(vars(isn), "load_model", lambda name: lm)
    monkeypatch.setitem(vars(isn), "InverseScopeWidget", lambda model, generators: shown.extend(generators))
    train, quick = isn.train_generator, isn.TrainingConfig(steps=2, batch_size=8, held_out=8, statistics_samples=32)
    monkeypatch.setitem(vars(isn), "train_generator", lambda *a, **k: train(*a, **k, config=quick))
    words = "Ann Jane Lucy Tom Paul Mark store school went ring key At lost He"  # that the small model does not know
    block = BLOCKS[1].replace("resid_post.6", "resid_post.1").replace("}. ", "} . ").replace("},", "} ,")
    for i, word in enumerate(words.split()):
        block = re.sub(rf"\b{word}\b", ["he", "she", "cat", "dog"][i % 4], block)
    exec(compile(block, "README.md", "exec"), {"isn": isn})
    assert shown[0].sites == ("blocks.1.hook_resid_post",)
    assert (tmp_path / "gpt2-resid-6" / "generator.json").is_file()


def test_the_versions_of_viewers_are_those_that_are_tried():
    table = README.split("## Where it works")[1].split("\n## ")[0]
    named = dict(re.findall(r"^\| ([\w ]+?) \| (\d[\d.]*) \|", table, re.MULTILINE))
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    packages = {
        "JupyterLab": "jupyterlab",
        "Jupyter Notebook": "notebook",
        "marimo": "marimo",
        "nbconvert": "nbconvert",
    }
    assert named == {viewer: pins[package] for viewer, package in packages.items()}


def test_files_that_are_linked_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_commands_that_are_named_are_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


def test_the_floor_of_torch_is_the_one_that_is_named():
    assert "torch from 2.5 on" in README
    assert '"torch>=2.5"' in (ROOT / "pyproject.toml").read_text()


def test_its_figures_are_those_of_the_run_cards() -> None:
    import json
    import statistics

    cards = {name: json.loads((ROOT / f"inversescope_nb/pretrained/{name}/run_card.json").read_text()) for name in
             ("target", "generator")}  # fmt: skip
    accuracy = cards["target"]["held_out_accuracy"]
    for task in ("ioi", "attributes", "in_context", "addition", "refusal", "greater_than"):
        percent = f"{100 * round(accuracy[task], 5):.1f}".removesuffix(".0")
        assert f"| {percent} %" in README, (task, percent)
    card = cards["generator"]
    for bandwidth, shown in ((0.1, "at bandwidth 0.1"), (0.3, "at 0.3")):
        shares = [row["ess_ratio"] for row in card["quality"] if row["bandwidth"] == bandwidth]
        assert f"{statistics.median(shares):.2f} {shown}" in README
    verdicts = [row["verdicts"] for row in card["quality"] if row["bandwidth"] == 0.3]
    reliable = sum(counts.get("RELIABLE", 0) for counts in verdicts) / sum(sum(counts.values()) for counts in verdicts)
    assert f"{reliable:.0%}".replace("%", " %") + " of these inversions at 0.3 are `RELIABLE`" in " ".join(
        README.split()
    )
    assert f"{card['examples_seen']:,} examples" in README
    minutes = (card["seconds"] + card["went_on_from"]["seconds"]) / 60
    assert f"{minutes:.0f} minutes on one core" in README
