"""Every notebook runs from a clean kernel, is committed without what it computes, and reads well as HTML."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs the extra dev")
nbclient = pytest.importorskip("nbclient", reason="needs the extra dev")
nbconvert = pytest.importorskip("nbconvert", reason="needs the extra dev")

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def executed(request, tmp_path_factory):
    """One notebook after all its cells have run."""
    return run(nbformat.read(request.param, as_version=4), tmp_path_factory.mktemp("run"))


def run(notebook, folder: Path):
    """The notebook, run from a clean kernel in a folder beside which its generators lie."""
    (folder / "generators").symlink_to(ROOT / "notebooks" / "generators")
    environment = {
        **os.environ,
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    started = time.perf_counter()
    client.execute(env=environment)  # raises CellExecutionError where a cell does
    notebook.metadata["seconds"] = time.perf_counter() - started
    return notebook


BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/)"
)
STUDIES = [path for path in NOTEBOOKS if path.stem != "quickstart"]


def outputs(notebook) -> list[dict]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_what_it_computes(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    assert outputs(notebook) == []
    assert all(cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_opens_with_a_badge_and_installs_only_where_the_package_is_missing(path: Path):
    first, install, *others = nbformat.read(path, as_version=4).cells
    assert first.source.split("\n")[:2] == [BADGE, ""]
    assert first.source.split("\n")[2].startswith("# ")
    quickstart = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    assert install.source == quickstart.cells[1].source
    assert 'find_spec("inversescope_nb") is None' in install.source
    assert not any("%pip" in cell.source or "!pip" in cell.source for cell in others)
    assert "torch" not in install.source.partition("%pip")[2], "torch and numpy are never touched"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_has_three_exercises_with_checks_and_ends_with_what_it_does_not_show(path: Path):
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert all(f"check_{i}(" in code for i in (1, 2, 3))
    assert f"from inversescope_nb.exercises import {path.stem}" in code
    assert (ROOT / "notebooks" / "solutions" / f"{path.stem}.py").is_file()
    assert cells[-1].cell_type == "markdown"
    assert cells[-1].source.startswith("## What this does not show")


def test_it_runs_from_a_clean_kernel(executed, capsys: pytest.CaptureFixture[str]):
    with capsys.disabled():
        print(f"\nnotebook executed in {executed.metadata['seconds']:.0f} s")
    assert "widgets" not in executed.metadata
    assert [output for output in outputs(executed) if output.output_type == "error"] == []
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")


def test_a_viewer_without_a_kernel_sees_what_the_widget_showed(executed):
    page, _ = nbconvert.HTMLExporter().from_notebook_node(executed)
    views = [o for o in outputs(executed) if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    assert views
    if any("InverseScope</b>" in output.data.get("text/html", "") for output in views):
        assert "effective of 64 samples" in page
        assert "relative to" in page
    pictures = [output for output in views if "image/svg+xml" in output.data]
    assert page.count('src="data:image/svg+xml') >= len(pictures)


ANOTHER = """
import inversescope_nb as isn

really_train = isn.train_generator


def train_little(lm, sites, prompts, *, config=None, run_dir=None, **options):
    config = isn.TrainingConfig(
        steps=20, batch_size=16, backbone="small", small_width=32, held_out=32, statistics_samples=256, warmup=2,
        gap_inputs=0,
    )
    return really_train(lm, sites, prompts, config=config, progress=False)


isn.train_generator = train_little  # a reader waits for hours here; else all is as it stands
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ioi", "attributes", "in_context", "refusal"])
def test_a_study_runs_on_another_model_by_changing_one_line(name: str, tmp_path: Path):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    import inversescope_nb as isn

    lm = isn.load_model()
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=lm.vocab_size, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=lm.bos_id,
        eos_token_id=lm.tokenizer.eos_token_id,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    (cell,) = (c for c in notebook.cells if c.cell_type == "code" and "MODEL = None" in c.source)
    (line,) = (line for line in cell.source.split("\n") if line.startswith("MODEL = None"))
    cell.source = cell.source.replace(line, f"MODEL = {str(tmp_path / 'model')!r}")
    notebook.cells.insert(0, nbformat.v4.new_code_cell(ANOTHER))
    run(notebook, tmp_path)  # raises where a cell does
