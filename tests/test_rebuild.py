"""The packaged generator's own recipe, in small: two stages, rounded, measured, and good to load; and the command."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import inversescope_nb as isn
from inversescope_nb import rebuild
from inversescope_nb.generator import Generator, quality, training
from inversescope_nb.loading import PACKAGED_TARGET
from inversescope_nb.models import load_model
from inversescope_nb.rebuild import COMMON, GATED, PACKAGED, train_packaged_generator

BESIDE = Path(__file__).resolve().parent.parent / "notebooks" / "generators"
FEW = {"batch_size": 16, "statistics_samples": 64, "held_out": 8, "eval_every": 2}


def test_the_recipe_runs_in_small(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(quality, "BANDWIDTHS", (0.1, 0.3))
    monkeypatch.setattr(training, "USUAL_PICKS", 1)
    stages = (
        replace(PACKAGED[0], steps=3, first_steps=1, **FEW),
        *(replace(stage, steps=2, **FEW) for stage in PACKAGED[1:]),
    )
    made = train_packaged_generator(tmp_path, PACKAGED_TARGET, stages, sites="blocks.0.hook_resid_*", n_picks=1)
    card = Generator.from_pretrained(tmp_path / "generator").run_card
    assert card == made.run_card
    assert card["examples_seen"] == (3 + 2) * 16
    assert card["went_on_from"]["config"]["first_sites"] == ["blocks.[01].hook_resid_*"]
    assert {row["site"] for row in card["quality"]} == set(made.sites) == set(card["usual_bandwidths"])
    assert len(made.sites) == 3
    made.check_target(load_model())
    again = train_packaged_generator(tmp_path, PACKAGED_TARGET, stages, sites="blocks.0.hook_resid_*", n_picks=1)
    assert again.probe == made.probe  # resumed at its end


@pytest.mark.parametrize(("recipe", "stages"), [("packaged", PACKAGED), ("gated", GATED), ("common", COMMON)])
@pytest.mark.parametrize("has_target", [True, False])
def test_the_command_takes_the_recipe_and_the_target_that_is_there(
    tmp_path, monkeypatch, recipe, stages, has_target
) -> None:
    asked = []
    monkeypatch.setattr(rebuild, "train_packaged_generator", lambda *args: asked.append(args))
    monkeypatch.setattr(rebuild.torch, "set_num_threads", lambda n: None)
    own = tmp_path / "target" / "model"
    if has_target:
        own.mkdir(parents=True)
    rebuild.main(["generator", "--out", str(tmp_path), "--recipe", recipe])
    assert asked == [(tmp_path / "generator", own if has_target else PACKAGED_TARGET, stages)]


@pytest.mark.parametrize(
    ("name", "prompts", "cut"),
    [("ioi_heads", "ioi", "end"), ("attributes", "attributes", "slot:CITY | end")],
)
def test_a_study_has_a_generator_of_its_own_on_one_task_alone(tmp_path, monkeypatch, name, prompts, cut) -> None:
    asked = []
    monkeypatch.setattr(rebuild, "train_packaged_generator", lambda *args, **more: asked.append((args, more)))
    monkeypatch.setattr(rebuild.torch, "set_num_threads", lambda n: None)
    rebuild.main([name, "--out", str(tmp_path)])
    ((args, more),) = asked
    assert args == (tmp_path / name, PACKAGED_TARGET, rebuild.SMALL)
    assert more["sites"] == rebuild.STUDIES[name].sites
    found = more["prompts"](load_model())
    assert (found.name, found.cut) == (prompts, cut)


@pytest.mark.parametrize(
    ("name", "site", "feature"),
    [("ioi_heads", "blocks.2.attn.hook_z.3", "subject"), ("attributes", "blocks.0.hook_resid_post", "country")],
)
def test_a_generator_beside_the_notebooks_fits_the_packaged_model_and_names_its_inputs(name, site, feature) -> None:
    folder, task = BESIDE / name, isn.tasks.get_task(name.split("_")[0])
    lm, gen = isn.load_model(), isn.load_generator(folder)
    settings = isn.TrainingConfig().to_dict() | gen.run_card["config"]  # those that came later have their usual values
    assert settings == {**rebuild.SMALL[0].to_dict(), "start_from": ""}
    globs = rebuild.STUDIES[name].sites
    assert list(gen.sites) == [site for site in lm.sites() if any(fnmatchcase(site, glob) for glob in globs)]
    assert gen.prompts.fingerprint == rebuild.STUDIES[name].prompts(lm).fingerprint
    prompt = task.held_out.sample(1, seed=0)[0]
    inv = isn.invert(lm, gen, prompt, site=site, bandwidth=0.25, n=64, progress=False)
    held = isn.consistency_of(inv, task.features[feature], permutations=0).rows[0]["fcr"]
    assert held > 0.3, "it is held there"
    assert inv.prior_is_exact
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 3e6
