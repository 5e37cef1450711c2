"""The variants that only the benchmarks know: what they draw is what they score, and all of them can be trained."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import inversescope_nb as isn
from inversescope_nb.generator import Condition, TrainingConfig
from inversescope_nb.generator.building import build_generator
from inversescope_nb.prompts import PromptDistribution

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import _results
import _sets
import bench_gap
from _injections import AdaptiveNorm, Prefix
from _variants import CONFIGS, config_of, train
from bench_compute import Operations

SITE = "blocks.1.hook_resid_post"
TEXTS = ["the cat", "a dog", "he", "John gave Mary", "is in the park"]


def prompts() -> PromptDistribution:
    return PromptDistribution.from_texts(TEXTS, cut="end")


@pytest.fixture(scope="module", params=[AdaptiveNorm, Prefix])
def variant(lm, request) -> isn.Generator:
    """Untrained, but with a condition that says much."""
    config = TrainingConfig(backbone="small", width=16, statistics_samples=64)
    found = build_generator(lm, [SITE], prompts(), config, generator_class=request.param).eval()
    rng = torch.Generator().manual_seed(0)
    for parameter in found.controls.parameters():
        parameter.data.normal_(std=0.3, generator=rng)
    return found


def condition(lm, generator, texts) -> Condition:
    z = lm.activations(texts, [SITE])[SITE]
    return generator.condition_on(SITE, generator.statistics(SITE).standardise(z), 0.1)


def total(generator, inputs, given) -> np.ndarray:
    return np.array([float(x.sum()) for x in generator.log_probs(inputs, given)])


def test_draws_are_as_frequent_as_they_are_scored(lm, variant) -> None:
    given, n = condition(lm, variant, TEXTS[:1]), 4000
    whole = [tuple(x) for x, ended in variant.sample(given, n, seed=1) if ended and x]
    common = sorted(set(whole), key=whole.count)[-8:]
    for x, log_q in zip(common, total(variant, [list(x) for x in common], given), strict=True):
        p = math.exp(log_q)
        assert whole.count(x) / n == pytest.approx(p, abs=5 * math.sqrt(p / n) + 1e-3)


def test_every_row_sees_its_own_condition_and_a_dropped_one_sees_none(lm, variant) -> None:
    inputs = lm.encode(TEXTS).rows()
    several = condition(lm, variant, TEXTS)
    together, none = total(variant, inputs, several), total(variant, inputs, variant.no_condition(1))
    for i, text in enumerate(TEXTS):
        alone = total(variant, inputs[i : i + 1], condition(lm, variant, [text]))
        assert together[i] == pytest.approx(alone[0], abs=1e-4)
    assert np.abs(together - none).min() > 1e-3
    keep = torch.tensor([True, False, True, False, True])
    mixed = total(variant, inputs, Condition(several.parts, keep))
    np.testing.assert_allclose(mixed, np.where(keep, together, none), atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_variant_trains_and_is_measured(lm, name) -> None:
    pytest.importorskip("peft")
    args = argparse.Namespace(examples=64, batch=32, lr=6e-3, slot_width=16, points=1)
    seen: list[int] = []

    def measure(_generator: isn.Generator, examples: int) -> dict[str, float]:
        seen.append(examples)
        return {"gap_clean": 0.0}

    config = config_of(name, 0.2, 0, args, size=(1, 64))
    found = train(name, lm, SITE, prompts(), 0.2, config, on_evaluate=measure, progress=False)
    assert seen[0] == 64
    assert len(found.run_card["history"]) == len(seen)
    v = isn.invert(lm, found, TEXTS[0], site=SITE, bandwidth=0.2, n=16, bank=0)
    assert v.n == 16


def result(tmp_path: Path, name: str, *, seed: int, **changed) -> tuple[Path, argparse.Namespace]:
    """A file of results with one training in it, and the arguments it was made with."""
    arguments = {
        "model": None, "set": "sums", "prompts": None, "examples": 512, "batch": 256, "picks": 8, "draws": 4,
        "lr": 6e-3, "slot_width": 288, "train_range": None,
    } | changed  # fmt: skip
    key = {"variant": "generator", "site": SITE, "size": "2 x 128", "bandwidth": 0.1, "seed": seed}
    rows = [{**key, "examples": n, "gap_clean": gap + seed} for n, gap in ((256, 3.0), (512, 1.0))]
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({"arguments": arguments, "rows": rows}), encoding="utf-8")
    return path, argparse.Namespace(**arguments)


@pytest.mark.parametrize("other", [
    {"set": "ioi"}, {"model": "gpt2"}, {"prompts": "some.txt"}, {"picks": 9}, {"train_range": [0.02, 1.0]},
], ids=str)  # fmt: skip
def test_results_of_another_target_set_or_measurement_are_not_joined(tmp_path, other) -> None:
    path, arguments = result(tmp_path, "a", seed=0)
    assert [row["examples"] for row in bench_gap.joined(path, arguments)] == [256, 512]
    path, _ = result(tmp_path, "b", seed=0, **other)
    with pytest.raises(SystemExit, match=f"{next(iter(other))}="):
        bench_gap.joined(path, arguments)


def test_a_file_of_inputs_is_the_same_wherever_it_lies(tmp_path) -> None:
    path, arguments = result(tmp_path, "a", seed=0, prompts="inputs.txt")
    arguments.prompts = tmp_path / "elsewhere" / "inputs.txt"
    assert len(bench_gap.joined(path, arguments)) == 2


def test_no_training_is_told_twice_and_means_are_over_seeds(tmp_path) -> None:
    first, arguments = result(tmp_path, "a", seed=0)
    second, _ = result(tmp_path, "b", seed=1)
    parts = [bench_gap.joined(path, arguments) for path in (first, second)]
    cell = ("generator", (2, 128), 0.1, 2)
    bench_gap.refuse_doubles([bench_gap.training(SITE, cell)], parts)
    for asked, joined in (([bench_gap.training(SITE, (*cell[:3], 1))], parts), ([], [*parts, parts[0]])):
        with pytest.raises(SystemExit, match="told of"):
            bench_gap.refuse_doubles(asked, joined)
    frame = pd.DataFrame([row for part in parts for row in part]).assign(parameters=7, seconds=120.0)
    (mean,) = bench_gap.over_seeds(frame[frame["examples"] == 512]).to_dict("records")
    assert (mean["seeds"], mean["gap_clean"], mean["minutes"]) == (2, 1.5, 2.0)
    assert mean["gap_clean_sd"] == pytest.approx(math.sqrt(0.5))


@pytest.mark.third_party
def test_the_letters_are_all_inputs_of_the_published_sorter(third_party) -> None:
    listed = _sets.letters().inputs(isn.load_model(third_party / "nanogpt-sort"))
    assert len(listed) == 3**6
    assert {len(x) for x in listed} == {6}


@pytest.mark.slow
def test_any_target_is_measured_on_a_file_of_its_inputs(lm, tmp_path, monkeypatch) -> None:
    lm.model.save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    listed = tmp_path / "inputs.txt"
    listed.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    monkeypatch.setattr(_results, "RESULTS", tmp_path / "results")
    size = "--examples 512 --batch 64 --points 2 --picks 8 --draws 4 --size 1 32".split()
    where = ["--model", str(tmp_path / "model"), "--prompts", str(listed), "--site", SITE, "--bandwidth", "0.5"]
    monkeypatch.setattr(sys, "argv", ["bench_gap.py", *where, *size, "--name", "tried"])
    bench_gap.main()
    found = json.loads((tmp_path / "results" / "tried.json").read_text(encoding="utf-8"))
    assert found["inputs"] == len(TEXTS)
    assert [row["examples"] for row in found["rows"]] == [256, 512]
    assert all(row["gap_clean"] > -0.1 and row["gap_clean_se"] >= 0 for row in found["rows"])
    assert str(tmp_path) not in json.dumps(found), "of a path only its last part is kept"
    assert (tmp_path / "results" / "tried.svg").exists()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--bandwidth", "0.2", "--train-range", "0.1", "1"])
    bench_gap.main()
    found = json.loads((tmp_path / "results" / "tried.json").read_text(encoding="utf-8"))
    assert [(row["bandwidth"], row["examples"]) for row in found["rows"]] == [(0.5, 256), (0.5, 512), (0.2, 512)]
    assert found["rows"][1]["gap_clean"] != found["rows"][2]["gap_clean"]


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_operations_are_counted_whatever_else_is_on(context) -> None:
    """Two for each weight and row; in inference mode a linear layer comes as one operator that has no count."""
    layer = torch.nn.Linear(5, 7)
    with Operations() as counted, context():
        layer(torch.ones(3, 5))
    assert counted.total == 2 * 3 * 5 * 7


def test_operations_of_reading_are_those_of_the_blocks_that_are_run() -> None:
    lm = isn.load_model()
    rows = [[1, *range(5, 13)]] * 4
    found = []
    for layer in (0, 1, 3):
        with Operations() as counted:
            lm.activations(rows, f"resid_post.{layer}")
        found.append(counted.total)
    weights = sum(p.numel() for p in lm.architecture.blocks[0].parameters() if p.ndim == 2)
    per_block = (found[1] - found[0]) / (4 * 9)
    assert 2 * weights <= per_block <= 2.3 * weights, "the rest is attention's"
    assert found[2] - found[1] == 2 * (found[1] - found[0])
