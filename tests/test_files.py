"""Files are written whole or not at all, and a disk that is full is said to be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from conftest import tiny_model
from small import word_tokenizer

from inversescope_nb import _files
from inversescope_nb.errors import InvalidArgument, StoreError
from inversescope_nb.generator import TrainingConfig, load_generator, sharding, train_generator
from inversescope_nb.models import load_model
from inversescope_nb.prompts import PromptDistribution

SITE = "blocks.0.hook_resid_post"
TINY = {
    "batch_size": 12, "width": 16, "n_tokens": 2, "n_blocks": 1, "n_heads": 2, "statistics_samples": 64, "held_out": 8,
    "eval_every": 2, "save_every": 2, "warmup": 2,
}  # fmt: skip


def trained(lm, *, run_dir: Path | None = None, steps: int = 2):
    prompts = PromptDistribution.from_texts(["the cat is in the park", "the dog"], cut="random")
    config = TrainingConfig(steps=steps, **TINY)
    return train_generator(lm, SITE, prompts, config=config, run_dir=run_dir, progress=False)


def test_what_cannot_be_written_leaves_the_file_that_was_there(tmp_path, limit_of_files) -> None:
    path, text = tmp_path / "some.json", tmp_path / "some.txt"
    _files.write_tensors(path, {"a": torch.ones(3)})
    _files.write_text(text, "before")
    limit_of_files(1000)
    with pytest.raises(StoreError, match=r"cannot write some\.json: .*too large[^\n]*\n.*MB are free in .*as it was"):
        _files.write_tensors(path, {"a": torch.zeros(1000)})
    with pytest.raises(StoreError, match=r"cannot write some\.txt: File too large"):
        _files.write_text(text, "x" * 2000)
    with pytest.raises(InvalidArgument, match="File too large"):
        _files.write_result(text, "x" * 2000)
    assert sorted(tmp_path.iterdir()) == [path, text], "and nothing half-written beside it"
    assert _files.read_tensors(path)["a"].tolist() == [1, 1, 1]
    assert text.read_text() == "before"


def test_a_disk_that_is_full_when_a_checkpoint_is_due_is_said_to_be(full_disk) -> None:
    lm = load_model((tiny_model("llama"), word_tokenizer()))
    with pytest.raises(StoreError, match=r"cannot write checkpoint\.safetensors: .*No space left .*\n.*0\.\d MB"):
        trained(lm, run_dir=full_disk / "run")
    assert not list((full_disk / "run").iterdir())


def test_parts_that_do_not_fit_leave_those_that_were_there(tmp_path, limit_of_files) -> None:
    """As several processes keep them; here there is one."""
    accelerator, network = Accelerator(cpu=True), torch.nn.Linear(300, 300)
    network, optimizer = accelerator.prepare(network, torch.optim.AdamW(network.parameters()))
    network(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    state = {"identity": "a", "step": 2, "history": []}
    sharding.save(accelerator, tmp_path, state)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for size in (100_000, 500_000):  # weights do not fit, or only moments
        limit_of_files(size)
        sharding.save(accelerator, tmp_path, state)  # it is there
        with pytest.raises(StoreError, match="cannot write step_3: "):
            sharding.save(accelerator, tmp_path, state | {"step": 3})
        limit_of_files(None)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        assert sharding.saved_state(tmp_path)["folder"] == "step_2"
    sharding.save(accelerator, tmp_path, state | {"step": 3})
    assert [path.name for path in tmp_path.glob("step_*")] == ["step_3"]


def test_a_generator_that_does_not_fit_leaves_the_one_that_was_there(tmp_path, limit_of_files) -> None:
    lm = load_model((tiny_model("llama"), word_tokenizer()))
    gen, path = trained(lm), tmp_path / "mine"
    gen.save_pretrained(path)
    before = json.loads((path / "run_card.json").read_text())
    gen.run_card = gen.run_card | {"new": True}
    limit_of_files(5000)
    with pytest.raises(StoreError, match="cannot write"):
        gen.save_pretrained(path)
    assert [x.name for x in tmp_path.iterdir()] == ["mine"]
    assert json.loads((path / "run_card.json").read_text()) == before
    assert load_generator(path).sites == gen.sites
