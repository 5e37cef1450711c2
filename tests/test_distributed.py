"""Several processes train what one does: real ones, launched by accelerate, on the CPU."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from inversescope_nb import _files

WORKER = Path(__file__).with_name("worker.py")
LIMIT_S = 240
"""Of a run, on a busy machine."""
TINY = {
    "steps": 8, "batch_size": 13, "width": 16, "n_blocks": 1, "statistics_samples": 63, "held_out": 9, "eval_every": 1,
    "save_every": 3, "warmup": 2, "optimizer": "adamw", "n_common": 0, "drop_condition": 0.3,
}  # fmt: skip
EXAMPLES = Path(__file__).parent.parent / "examples" / "accelerate"
CPU = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def start(folder: Path, name: str, command: list[str], environment: dict[str, str] | None = None, **arguments):
    """A process of the worker, with its arguments in a file."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"out": str(folder / name), **arguments}))
    log = (folder / f"{name}.log").open("a")
    return subprocess.Popen(
        [*command, str(WORKER), str(path)],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=os.environ | CPU | (environment or {}),
    )


def trained(folder: Path, name: str, processes: int, **arguments) -> tuple[list[dict], dict[str, torch.Tensor]]:
    """The curve and the weights of a whole run of so many processes."""
    command, environment = [sys.executable], {}
    if processes > 1:
        command += ["-m", "accelerate.commands.launch", "--num_processes", str(processes), "--num_machines", "1"]
        command += ["--mixed_precision", "no", "--main_process_port", str(free_port())]
        config = "deepspeed_zero2.yaml" if arguments.get("zero") else "two_processes.yaml"
        command += ["--config_file", str(EXAMPLES / config)]
    if arguments.get("zero"):
        environment = {"ACCELERATE_USE_CPU": "false", "ACCELERATE_TORCH_DEVICE": "cpu", "DS_ACCELERATOR": "cpu"}
    run = start(folder, name, command, environment, **arguments)
    assert run.wait(LIMIT_S) == 0, (folder / f"{name}.log").read_text()[-3000:]
    history = json.loads((folder / name / "history.json").read_text())
    return history, _files.read_tensors(folder / name / "weights.safetensors")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_same(one, other) -> None:
    """Curves and weights are equal but for rounding."""
    for a, b in zip(one[0], other[0], strict=True):
        for name in ("loss", "nll", "nll_prior", "bits"):
            assert a[name] == pytest.approx(b[name], rel=2e-4, abs=2e-4), (a["step"], name)
    assert one[1].keys() == other[1].keys()
    for name, weight in one[1].items():
        torch.testing.assert_close(
            other[1][name], weight, atol=2e-3, rtol=2e-3, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_two_processes_train_as_one_does(tmp_path) -> None:
    """At an odd batch size, with sites that one process sees and the other does not."""
    one = trained(tmp_path, "one", 1, config=TINY)
    two = trained(tmp_path, "two", 2, config=TINY)
    check_same(one, two)
    first, second = (json.loads((tmp_path / "two" / f"rank_{rank}.json").read_text()) for rank in (0, 1))
    assert first["processes"] == second["processes"] == 2
    assert sum(first["captured"]) + sum(second["captured"]) == TINY["steps"] * TINY["batch_size"] + TINY["held_out"]
    assert set(second["captured"]) == {6, 4}, "its own share, and no more"


def test_two_processes_write_their_inputs_together(tmp_path) -> None:
    one = trained(tmp_path, "one", 1, config=TINY, written=True)
    check_same(one, trained(tmp_path, "two", 2, config=TINY, written=True))
    whole = json.loads((tmp_path / "one" / "rank_0.json").read_text())["written"]
    parts = [json.loads((tmp_path / "two" / f"rank_{rank}.json").read_text())["written"] for rank in (0, 1)]
    probe = 16  # of the self-test that every process records
    assert sum(parts) == whole + probe
    assert max(parts) < 0.6 * whole


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "muon", "n_common": 512},
        {"trainable": "frozen", "micro_batch": 2},
        {"gradient_checkpointing": True},
    ],
    ids=["muon", "frozen, a few rows at once", "gradient checkpointing"],
)
def test_two_processes_train_as_one_does_in_other_ways(tmp_path, changes) -> None:
    check_same(*(trained(tmp_path, f"{n}", n, config=TINY | changes) for n in (1, 2)))


def test_a_run_goes_on_where_a_killed_process_left_it(tmp_path) -> None:
    """The other process ends by itself, and at most the steps since the last checkpoint are done again."""
    whole = trained(tmp_path, "whole", 1, config=TINY)
    address = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    arguments = {"config": TINY, "run_dir": str(tmp_path / "run")}
    both = [
        start(tmp_path, f"killed_{rank}", [sys.executable], address | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
              dies={"rank": 1, "step": 5}, **arguments)
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        assert both[1].wait(LIMIT_S) == -signal.SIGKILL
        assert both[0].wait(LIMIT_S) > 0, "it says that the other is gone"
    finally:
        for process in both:
            process.kill()
    assert not (tmp_path / "killed_0" / "history.json").exists()
    kept = _files.checkpoint_state(tmp_path / "run" / "checkpoint.safetensors")["step"]
    assert 5 - TINY["save_every"] < kept <= 5
    resumed = trained(tmp_path, "resumed", 2, **arguments)
    check_same(whole, resumed)
    assert "resumed at step 3" in (tmp_path / "resumed.log").read_text()
    assert len(json.loads((tmp_path / "resumed" / "rank_0.json").read_text())["captured"]) == TINY["steps"] - kept + 1


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fsdp", "zero"])
def test_what_is_split_trains_as_a_whole_does(tmp_path, how) -> None:
    """By PyTorch's FSDP2 or DeepSpeed's ZeRO 2, prepared by accelerate; killed, and resumed from the parts of both."""
    if how == "zero":
        pytest.importorskip("deepspeed")
    one = trained(tmp_path, "one", 1, config=TINY)
    arguments = {"config": TINY, how: True, "run_dir": str(tmp_path / "run")}
    with pytest.raises(AssertionError, match="SIGKILL"):
        trained(tmp_path, "killed", 2, dies={"rank": 1, "step": 5}, **arguments)
    assert json.loads((tmp_path / "run" / "sharded.json").read_text())["step"] == 3
    two = trained(tmp_path, "two", 2, **arguments)
    assert "resumed at step 3" in (tmp_path / "two.log").read_text()
    check_same(one, two)
