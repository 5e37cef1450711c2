"""Stored activations are those that were computed, known again, and whole or not there."""

from __future__ import annotations

import doctest
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from conftest import tiny_model, word_tokenizer
from safetensors import safe_open

from inversescope_nb import activations, stores, token_rows
from inversescope_nb.errors import Cancelled, InvalidArgument, StoreError
from inversescope_nb.models import load_model
from inversescope_nb.stores import open_store

PROMPTS = ["the cat", "John and Mary gave the book to the dog", "Paris is in France .", "what is 1 + 2 ="]
TESTS = Path(__file__).parent


def same(a, b):
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def sites(lm):
    return lm.sites() + lm.sites(kinds=["result"])


@pytest.mark.parametrize("module", [activations, stores, token_rows])
def test_docstring_examples_run(module):
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0


def test_what_is_stored_is_what_was_computed(lm, sites, tmp_path):
    expected = lm.activations(PROMPTS, sites, batch_size=2)
    same(lm.activations(PROMPTS, sites, batch_size=2, store=tmp_path / "in" / "kept"), expected)
    same(open_store(tmp_path / "in" / "kept", lm, sites, PROMPTS), expected)
    assert torch.equal(open_store(tmp_path / "in" / "kept", lm)["resid_post.1"], expected["resid_post.1"])
    with safe_open(tmp_path / "in" / "kept" / stores.VALUES, framework="pt") as file:  # any reader of the format
        same({name: file.get_tensor(name) for name in expected}, dict(expected))
    assert sorted(os.listdir(tmp_path / "in")) == ["kept"]


def test_beyond_the_budget_they_lie_in_a_file_without_a_name(lm, sites, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    expected = lm.activations(PROMPTS, sites)
    size = sum(values.numel() * 4 for values in expected.values())
    mapped = lm.activations(PROMPTS, sites, budget=size - 1)
    same(mapped, expected)
    assert not list(tmp_path.iterdir())
    for values, in_file in ((mapped, True), (lm.activations(PROMPTS, sites, budget=size), False)):
        start = values["resid_post.1"].data_ptr()
        assert any(low <= start < high for low, high in _mapped_under(tmp_path)) == in_file
    torch.nn.functional.relu(mapped["resid_post.1"]).sum()  # tensors like any other


def _mapped_under(folder: Path) -> list[tuple[int, int]]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if str(folder) in line]
    return [(int(low, 16), int(high, 16)) for low, high in spans]


def test_what_is_free_decides_where_no_budget_is_given(lm, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(stores, "ALWAYS", 0)
    lm.activations(PROMPTS, "resid_post.1")
    assert not _mapped_under(tmp_path)
    monkeypatch.setattr(stores, "SHARE_OF_FREE_MEMORY", 0.0)
    values = lm.activations(PROMPTS, "resid_post.1")
    assert _mapped_under(tmp_path)
    del values


@pytest.mark.parametrize("budget", [-1, 1.5, "a"])
def test_a_bad_budget_is_refused(lm, budget):
    with pytest.raises(InvalidArgument, match="budget"):
        lm.activations(PROMPTS, "resid_post.1", budget=budget)


def test_a_store_of_weights_that_were_changed_since_is_refused(tmp_path):
    lm, kept = load_model((tiny_model("llama"), word_tokenizer())), tmp_path / "kept"
    lm.activations(PROMPTS, "resid_post.1", store=kept)
    with torch.no_grad():  # a step of fine-tuning
        for weight in lm.model.parameters():
            weight += 1e-3
    with pytest.raises(StoreError, match="of another model"):
        open_store(kept, lm)
    with pytest.raises(StoreError, match="of another model"):
        lm.activations(PROMPTS, "resid_post.1", store=kept)


def test_writing_to_what_was_opened_does_not_reach_the_file(lm, tmp_path):
    expected = lm.activations(PROMPTS, "resid_post.1")
    lm.activations(PROMPTS, "resid_post.1", store=tmp_path / "kept")["resid_post.1"].zero_()
    same(open_store(tmp_path / "kept", lm), expected)


def test_a_store_that_is_there_is_not_computed_again(lm, tmp_path):
    first = lm.activations(PROMPTS, "resid_post.1", store=tmp_path / "kept")
    told = []
    again = lm.activations(
        PROMPTS, "resid_post.1", store=tmp_path / "kept", on_progress=lambda *said: told.append(said)
    )
    same(first, again)
    assert not told


def test_a_store_of_something_else_is_refused(lm, tmp_path):
    place = tmp_path / "kept"
    lm.activations(PROMPTS, "resid_post.1", store=place)
    other = load_model((tiny_model("llama", seed=1), word_tokenizer()))
    for open_it, message in (
        (lambda: open_store(place, other), "another model"),
        (lambda: open_store(place, lm, "resid_post.0"), r"does not hold blocks\.0\.hook_resid_post"),
        (lambda: open_store(place, lm, prompts=PROMPTS[1:]), "other prompts"),
        (lambda: open_store(place, lm, prompts=PROMPTS, position=0), "other prompts or positions"),
        (lambda: other.activations(PROMPTS, "resid_post.1", store=place), "another model"),
        (lambda: lm.activations(PROMPTS, "resid_post.0", store=place), "does not hold"),
        (lambda: lm.activations(PROMPTS[::-1], "resid_post.1", store=place), "other prompts"),
        (lambda: open_store(tmp_path / "no", lm), "no store"),
        (lambda: open_store(tmp_path, lm), "no store"),
        (lambda: lm.activations(PROMPTS, "resid_post.1", store=tmp_path), "no store"),
    ):
        with pytest.raises(StoreError, match=message) as raised:
            open_it()
        assert raised.value.hint
    same(open_store(place, lm), lm.activations(PROMPTS, "resid_post.1"))


def test_prompts_are_known_by_their_tokens_and_not_by_how_they_are_given(lm, tmp_path):
    lm.activations(PROMPTS, "resid_post.1", store=tmp_path / "kept")
    encoded = lm.encode(PROMPTS)
    for prompts in (encoded, encoded.rows(), PROMPTS):
        open_store(tmp_path / "kept", lm, prompts=prompts, position=[int(n) - 1 for n in encoded.lengths])


def test_a_damaged_store_is_not_read(lm, tmp_path):
    place = tmp_path / "kept"
    lm.activations(PROMPTS, "resid_post.1", store=place)
    values, about = (place / stores.VALUES).read_bytes(), (place / stores.ABOUT).read_text()

    def refused(message):
        with pytest.raises(StoreError, match=message):
            open_store(place, lm)

    (place / stores.VALUES).write_bytes(values[:-8])
    refused("damaged")
    (place / stores.VALUES).unlink()
    refused("damaged")
    (place / stores.VALUES).write_bytes(values)
    (place / stores.ABOUT).write_text(json.dumps(json.loads(about) | {"n": 3}))
    refused("damaged")
    (place / stores.ABOUT).write_text(json.dumps(json.loads(about) | {"format": 99}))
    refused("format 99")
    for broken in (about[:20], "[]"):
        (place / stores.ABOUT).write_text(broken)
        refused("no store")
    (place / stores.ABOUT).unlink()
    refused("no store")
    (place / stores.ABOUT).write_text(about)
    same(open_store(place, lm), lm.activations(PROMPTS, "resid_post.1"))


def test_work_that_is_stopped_or_fails_leaves_nothing(lm, tmp_path):
    class Enough(Exception):
        pass

    def stop(*_said):
        raise Enough

    with pytest.raises(Enough):
        lm.activations(PROMPTS, "resid_post.1", batch_size=1, store=tmp_path / "kept", on_progress=stop)
    assert not list(tmp_path.iterdir())
    over = threading.Event()
    over.set()
    with pytest.raises(Cancelled):
        lm.activations(PROMPTS, "resid_post.1", store=tmp_path / "kept", cancel=over)
    assert not list(tmp_path.iterdir())


def test_a_limit_on_the_size_of_files_is_an_error_at_once_that_names_the_size(lm, tmp_path, limit_of_files):
    expected = lm.activations(PROMPTS, lm.sites())
    size = sum(values.numel() * 4 for values in expected.values())
    told = []
    limit_of_files(size // 2)
    for how in ({"store": tmp_path / "kept"}, {"budget": 0}):
        with pytest.raises(StoreError, match=rf"too large; they take {size / 1e6:,.1f} MB\n.*are free there") as said:
            lm.activations(PROMPTS, lm.sites(), on_progress=lambda *done: told.append(done), **how)
        assert isinstance(said.value, OSError)
    limit_of_files(None)
    assert not told, "the model did not run"
    assert not list(tmp_path.iterdir())
    same(lm.activations(PROMPTS, lm.sites(), store=tmp_path / "kept"), expected)


def test_a_full_disk_is_an_error_at_once_and_leaves_nothing(lm, full_disk):
    prompts = [[1, 5, 6]] * 600
    size = 600 * 4 * sum(lm.site(name).d for name in lm.sites()) / 1e6
    with pytest.raises(StoreError, match=rf"No space left on device; they take {size:.1f} MB\n.*0\.1 MB are free"):
        lm.activations(prompts, lm.sites(), store=full_disk / "kept", batch_size=600)
    assert not list(full_disk.iterdir())
    lm.activations(prompts[:60], "resid_post.1", store=full_disk / "kept")
    assert len(open_store(full_disk / "kept", lm, prompts=prompts[:60])["resid_post.1"]) == 60


def test_a_killed_process_leaves_nothing_that_is_taken_for_a_store(lm, tmp_path):
    """The process is killed for real, between two batches; the next one that writes there removes what it left."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(TESTS)!r})\n"
        "from conftest import tiny_model, word_tokenizer\n"
        "from inversescope_nb.models import load_model\n"
        "lm = load_model((tiny_model('llama'), word_tokenizer()))\n"
        "def wait(*_): print('read', flush=True); time.sleep(600)\n"
        f"store = {str(tmp_path / 'kept')!r}\n"
        f"lm.activations({PROMPTS!r}, 'resid_post.1', batch_size=1, store=store, on_progress=wait)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "read\n"
        (left,) = tmp_path.iterdir()
        assert left.name.endswith(".part")
        assert (left / stores.VALUES).stat().st_size > 0
        expected = lm.activations(PROMPTS, "resid_post.1", store=tmp_path / "kept")
        assert left.exists(), "a process that lives may go on"
        shutil.rmtree(tmp_path / "kept")
        process.kill()
    for path in (left, tmp_path / "kept"):
        with pytest.raises(StoreError, match="no store"):
            open_store(path, lm)
    same(lm.activations(PROMPTS, "resid_post.1", store=tmp_path / "kept"), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
