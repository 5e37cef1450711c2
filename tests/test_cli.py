"""The command line on a tiny model: what it prints and writes, and that mistakes are two lines and status 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from inversescope_nb.__main__ import main
from inversescope_nb._commands import _write_frame
from inversescope_nb.demo import one_in

EXAMPLES = Path(__file__).parent.parent / "examples" / "accelerate"
SITE = "blocks.1.hook_resid_post"
TEXTS = ["John gave the book to Mary", "Mary gave a book to John", "the cat is in the park", "a dog and a cat"]
QUICK = "--steps 3 --batch-size 8 --held-out 8 --statistics-samples 32 --eval-every 3".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, lm):
    """A folder with a model, prompts, and a generator that the command line has trained."""
    folder = tmp_path_factory.mktemp("with a space")
    lm.model.save_pretrained(folder / "model")
    lm.tokenizer.save_pretrained(folder / "model")
    (folder / "prompts.txt").write_text("\n".join(TEXTS))
    assert main(_train(folder, "generator")) == 0
    return folder


def _train(folder, out: str, *more: str) -> list[str]:
    given = ["--model", str(folder / "model"), "--prompts", str(folder / "prompts.txt"), "--out", str(folder / out)]
    return ["train", *given, "--site", "blocks.*.hook_resid_post", *QUICK, "--quiet", *more]


def _with(folder, *command: str) -> list[str]:
    return [*command, "--model", str(folder / "model"), "--generator", str(folder / "generator"), "--quiet"]


def _fails(capsys, argv: list[str]) -> str:
    """What a failing command says; nothing on standard output, at most two lines, no traceback."""
    capsys.readouterr()
    assert main(argv) == 2
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()) <= 2
    assert "Traceback" not in said.err
    return said.err


def test_train_writes_a_generator_and_its_checkpoints(folder):
    about = json.loads((folder / "generator" / "generator.json").read_text())
    assert about["sites"] == ["blocks.0.hook_resid_post", SITE]
    assert (folder / "generator.run" / "checkpoint.safetensors").is_file()


def test_train_says_what_memory_it_needs_and_takes_less_where_asked(folder, capsys):
    less = ["--micro-batch", "4", "--gradient-checkpointing", "--optimizer", "adamw"]
    assert main(_train(folder, "less", *less)) == 0
    said = capsys.readouterr().out
    assert "memory of each process: about " in said
    card = json.loads((folder / "less" / "run_card.json").read_text())
    assert f"memory at most {card['peak_memory_gb']} GB" in said
    asked = {"micro_batch": 4, "gradient_checkpointing": True, "optimizer": "adamw"}
    assert {name: card["config"][name] for name in asked} == asked


def test_train_refuses_a_checkpoint_of_another_run(folder, capsys):
    said = _fails(capsys, _train(folder, "generator", "--lr", "0.5"))
    assert said.startswith("CheckpointMismatch")
    assert "resume=False" in said or "--no-resume" in said


def test_invert_prints_the_heaviest_samples_and_writes_all(folder, capsys):
    out = folder / "samples.csv"
    argv = _with(folder, "invert", TEXTS[0], "--site", "resid_post.1", "-n", "12", "--top", "3", "--out", str(out))
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{SITE} at 'Mary'")
    assert f"wrote {out}: 12 samples" in said
    assert len(pd.read_csv(out)) == 12


def test_an_input_that_is_drawn_several_times_weighs_as_much_as_all_of_them(folder, capsys):
    out = folder / "samples.json"
    argv = _with(folder, "invert", TEXTS[0], "--site", "resid_post.1", "-n", "256", "--top", "9", "--bandwidth", "1")
    assert main([*argv, "--out", str(out)]) == 0
    rows = pd.DataFrame(json.loads(out.read_text()))
    expected = rows.groupby("text")["weight"].sum().sort_values(ascending=False)
    shown = [line.split("%")[0] for line in capsys.readouterr().out.splitlines() if "%  " in line]
    assert [float(weight) for weight in shown] == pytest.approx(100 * expected[:9].to_numpy(), abs=0.006)
    assert rows["weight"].sum() == pytest.approx(1)


def test_small_and_infinite_numbers_are_written_as_they_are(tmp_path):
    frame = pd.DataFrame({"kernel": [2e-22, 0.5], "d": [float("inf"), 1.0], "rate": [float("nan"), 1.0]})
    _write_frame(tmp_path / "a.json", frame)
    rows = json.loads((tmp_path / "a.json").read_text())
    assert rows[0] == {"kernel": 2e-22, "d": "inf", "rate": None}


def test_the_same_seed_prints_the_same(folder, capsys):
    argv = _with(folder, "invert", TEXTS[0], "--site", SITE, "-n", "8", "--seed", "3")
    said = []
    for _ in range(2):
        main(argv)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]


@pytest.mark.parametrize("ending", [".csv", ".json"])
def test_consistency_of_a_file_of_prompts(folder, capsys, ending):
    out = folder / f"report{ending}"
    argv = _with(folder, "consistency", str(folder / "prompts.txt"), "--site", "blocks.*.hook_resid_post")
    argv += ["--feature", "contains:Mary", "--feature", "token:-1", "--feature", r"regex:gave (\w+)", "--out", str(out)]
    assert main([*argv, "--targets", "4", "-n", "4", "--permutations", "0"]) == 0
    assert "4 picked inputs, 4 samples each" in capsys.readouterr().out
    rows = pd.read_csv(out) if ending == ".csv" else pd.DataFrame(json.loads(out.read_text())["rows"])
    assert sorted(set(rows["feature"])) == ["contains 'Mary'", r"regex gave (\w+) [1]", "token at -1"]
    assert len(rows) == 6


def test_info_is_whole_as_json(folder, capsys):
    assert main(_with(folder, "info", "--json")) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["generator"]["sites"] == ["blocks.0.hook_resid_post", SITE]
    assert facts["generator"]["run_card"]["config"]["steps"] == 3
    assert facts["model"]["n_layers"] == 2


def test_info_in_words_runs_the_self_test(folder, capsys):
    assert main(_with(folder, "info")) == 0
    assert capsys.readouterr().out.strip().endswith("self-test on this model passed")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"--site": "resid_pots.1"}, "UnknownSite"),
        ({"--site": "resid_post.9"}, "UnknownSite"),
        ({"--site": "blocks.1.attn.hook_z.9"}, "UnknownSite"),
        ({"prompt": ""}, "BadPrompt"),
        ({"prompt": "a zebra"}, "BadPrompt"),
        ({"prompt": "the cat " * 40}, "BadPrompt"),
        ({"--bandwidth": "0"}, "InvalidArgument"),
        ({"--bandwidth": "7"}, "InvalidArgument"),
        ({"--position": "99"}, "InvalidArgument"),
        ({"-n": "0"}, "InvalidArgument"),
        ({"--model": "./nowhere"}, "ModelLoadError"),
        ({"--generator": "./nowhere"}, "ModelLoadError"),
        ({"--out": "./nowhere/samples.csv"}, "InvalidArgument"),
        ({"--out": "samples.xlsx"}, "InvalidArgument"),
    ],
)
def test_mistakes_are_said_in_two_lines(folder, capsys, change, kind):
    given = {"prompt": TEXTS[0], "--site": SITE, "-n": "4", "--model": str(folder / "model")}
    given = {**given, "--generator": str(folder / "generator"), **change}
    prompt = given.pop("prompt")
    said = _fails(capsys, ["invert", prompt, *(word for pair in given.items() for word in pair), "--quiet"])
    assert said.startswith(f"{kind}: ")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["iio"], "Did you mean 'ioi'?"),
        (["nowhere.txt", "--feature", "contains:a"], "no such file"),
        (["ioi", "--feature", "subjekt"], "Did you mean 'subject'?"),
        (["ioi", "--feature", "token:last"], "no position"),
        (["ioi", "--feature", "regex:("], "no regular expression"),
    ],
)
def test_mistakes_in_a_study(folder, capsys, words, part):
    assert part in _fails(capsys, _with(folder, "consistency", *words, "--site", SITE))


def test_a_file_of_prompts_has_no_features_of_its_own(folder, capsys):
    said = _fails(capsys, _with(folder, "consistency", str(folder / "prompts.txt"), "--site", SITE))
    assert "no feature was given" in said


def test_a_generator_of_another_model_is_refused(folder, capsys, tmp_path):
    from conftest import tiny_model, word_tokenizer

    tiny_model("llama", seed=5).save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    argv = ["invert", TEXTS[0], "--site", SITE, "--model", str(tmp_path), "--generator", str(folder / "generator")]
    assert _fails(capsys, [*argv, "--quiet"]).startswith("GeneratorMismatch")


def test_progress_is_shown_in_lines_where_there_is_no_terminal(folder, capsys):
    argv = _with(folder, "invert", TEXTS[0], "--site", SITE, "-n", "4")
    argv.remove("--quiet")
    assert main(argv) == 0
    assert "[4/4] proposing inputs" in capsys.readouterr().err


def test_help_does_not_load_torch():
    code = (
        "import sys, inversescope_nb.__main__ as m\n"
        "try: m.main(['--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "demo" in done.stdout


def test_odds_in_words():
    assert one_in(0.0) == "every prompt"
    assert one_in(1.0) == "1 prompt in 2"
    assert one_in(10.0) == "1 prompt in 1,000"


def _launch(launcher: list[str], folder, out: str) -> dict:
    """Trains under a launcher; the run card. Only one of the processes speaks."""
    argv = [sys.executable, "-m", *launcher, "-m", "inversescope_nb", *_train(folder, out)]
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1
    return json.loads((folder / out / "run_card.json").read_text())


@pytest.mark.slow
def test_accelerate_launches_training(folder):
    options = "--cpu --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no".split()
    assert _launch(["accelerate.commands.launch", *options], folder, "launched")["config"]["steps"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two_processes", "fsdp"])  # under FSDP, a CPU gets whole copies
def test_the_configurations_of_the_examples_launch_training(folder, name):
    options = ["--config_file", str(EXAMPLES / f"{name}.yaml"), "--num_processes", "2", "--mixed_precision", "no"]
    options += ["--main_process_port", "0"]
    assert _launch(["accelerate.commands.launch", *options], folder, name)["processes"] == 2


@pytest.mark.slow
def test_two_processes_train_together(folder):
    options = ["--standalone", "--nproc_per_node", "2"]
    assert _launch(["torch.distributed.run", *options], folder, "by two")["processes"] == 2


def test_a_reader_that_goes_away_ends_it_without_a_traceback(folder):
    argv = [sys.executable, "-m", "inversescope_nb", *_with(folder, "info"), "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        run.stdout.close()
        said = run.stderr.read()
        assert run.wait(timeout=120) == 141
    assert "Traceback" not in said
