"""Training from the widget: it is kept, it goes on after a Stop, it is found the next time, and its time is known."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import threading
import time

import pytest
import torch
from conftest import tiny_model, word_tokenizer
from test_widgets import OTHER, PROMPT, SITE, TEXTS, _no_real_cache, ask, prompts, request, settle  # noqa: F401

import inversescope_nb as isn
from inversescope_nb.errors import InvalidArgument
from inversescope_nb.prompts import PromptDistribution
from inversescope_nb.text_prompts import TextPrompts
from inversescope_nb.widgets import InverseScopeWidget
from inversescope_nb.widgets.backend import Backend
from inversescope_nb.widgets.jobs import Job
from inversescope_nb.widgets.training import Trainings, default_place

SHORT = {"batch_size": 8, "backbone": "small", "width": 16, "statistics_samples": 16, "held_out": 8}


@pytest.fixture
def make(lm, prompts, tmp_path):
    """Widgets at a site without a generator that keep their trainings in one folder."""
    made = []

    def widget(**changed):
        config = isn.TrainingConfig(**{**SHORT, "steps": 3})
        given = {"prompts": prompts, "training": config, "run_dir": tmp_path / "kept", **changed}
        made.append(InverseScopeWidget(lm, prompt=PROMPT, site=OTHER, n=8, bandwidth=1.0, **given))
        made[-1].sent = []
        made[-1].send = made[-1].sent.append
        return made[-1]

    yield widget
    for one in made:
        one.close()


def press(widget, method):
    """A click on a button that starts a job; does not wait for it."""
    request(widget, method)


def stop_working(widget, what="stop training") -> None:
    """Press Stop on a widget that would work for minutes: it rests soon, without an error."""
    assert widget.training["running"] if what == "stop training" else widget.busy
    press(widget, what)
    settle(widget, 30)
    assert widget.error is None


def test_a_training_is_kept_and_found_the_next_time(make, lm, tmp_path):
    first = make()
    first.invert().wait(60)
    (folder,) = {first._backend.trainings.folder(OTHER, first._backend.inputs.prompts_for(PROMPT))}
    assert folder.is_relative_to(tmp_path / "kept" / lm.fingerprint)
    assert OTHER in folder.name
    assert str(folder) in first.offer["message"]
    ask(first, "train", first.sent)
    settle(first, 120)
    assert first.error is None
    assert (folder / "generator" / "generator.json").is_file()
    assert not (folder / "checkpoint.safetensors").exists()
    assert f"load_generator({str(folder / 'generator')!r})" in first.code
    second = make()
    assert OTHER in second.site_map["available"]
    second.invert().wait(60)
    assert second.offer is None
    assert second.generator.run_card == first.generator.run_card
    assert second.inversion.samples == first.inversion.samples


def test_a_training_brings_its_own_range_of_bandwidths(make):
    config = isn.TrainingConfig(**{**SHORT, "steps": 3, "bandwidths": (0.01, 0.3)})
    widget = make(training=config)  # begins at a bandwidth of 1
    ask(widget, "train", widget.sent)
    settle(widget, 120)
    assert widget.error is None
    assert (widget.bandwidth_range, widget.bandwidth) == ([0.01, 0.3], 0.3)
    assert widget.inversion.bandwidth == 0.3


def test_a_generator_of_another_p_is_not_taken_from_the_folder(make):
    first = make()
    ask(first, "train", first.sent)
    settle(first, 120)
    other = make(prompts=PromptDistribution.from_texts(TEXTS[:4], cut="end"))
    assert other.generator is None
    assert OTHER not in other.site_map["available"]


def test_what_the_model_writes_itself_stays_p_when_the_generator_is_found_again(make, lm):
    own = PromptDistribution.from_model(lm, max_tokens=6)
    first = make(prompts=own)
    ask(first, "train", first.sent)
    settle(first, 120)
    again = make(prompts=PromptDistribution.from_model(lm, max_tokens=6))
    again.invert().wait(60)
    assert again.error is None
    assert again.inversion.prior_is_exact
    assert again.panel.chance_note == ""
    names = {"lm": lm}
    exec("\n".join(line for line in again.code.split("\n") if not line.startswith("lm =")), names)
    assert names["inv"].prior_is_exact
    assert [list(ids) for ids in names["inv"].samples] == [list(ids) for ids in again.inversion.samples]
    assert names["inv"].weight == pytest.approx(again.inversion.weight)


def test_a_generator_of_an_earlier_training_is_read_by_the_worker_not_by_a_handler(make, lm, prompts, tmp_path):
    first = make()
    ask(first, "train", first.sent)
    settle(first, 120)
    place = tmp_path / "kept"
    again = InverseScopeWidget(
        lm, prompt=PROMPT, site=SITE, n=8, bandwidth=1.0, prompts=prompts, training=first._backend.trainings.config,
        run_dir=place,
    )  # fmt: skip
    assert again._backend.shelf.at_hand(OTHER) is None
    assert again._backend.shelf.has(OTHER)
    with again._backend.shelf._reading:  # as while it is read: who asks for it waits
        again.site = OTHER
        assert "isn.baselines.metropolis" in again.code
    settle(again, 60)
    assert str(again.inversion.site) == OTHER
    assert again.code.count("isn.invert(") == 1
    again.close()


def test_stop_keeps_a_real_training_which_goes_on_from_there(make, lm):
    config = isn.TrainingConfig(**{**SHORT, "steps": 100_000, "batch_size": 32})
    widget = make(training=config, prompts=PromptDistribution.from_model(lm, max_tokens=16))
    press(widget, "train")
    deadline = time.monotonic() + 60
    while widget.training["done"] < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    stop_working(widget)
    assert widget.offer["train"] == "Go on with the training"
    done = int(widget.offer["message"].split(" of 100000 steps")[0].split()[-1])
    assert done >= 3
    press(widget, "train")
    while widget.training["done"] <= done and time.monotonic() < deadline + 60:
        time.sleep(0.02)
    assert widget.training["done"] > done
    press(widget, "stop training")
    settle(widget, 30)


def test_stop_is_quick_while_inputs_are_drawn_and_the_site_is_measured(make, lm):
    config = isn.TrainingConfig(**{**SHORT, "statistics_samples": 1_000_000, "steps": 10})
    widget = make(training=config, prompts=PromptDistribution.from_model(lm, max_tokens=16))
    press(widget, "train")
    time.sleep(1.5)
    stop_working(widget)


def test_the_usual_place_is_a_folder_of_the_users_cache(lm, monkeypatch, tmp_path):
    assert default_place() == tmp_path / "cache" / "inversescope_nb"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert Trainings(lm).place == tmp_path / ".cache" / "inversescope_nb"
    assert not (tmp_path / ".cache").exists()


def test_a_place_that_cannot_be_written_is_named(lm, prompts, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgument, match=r"cannot be kept in .*file.*\n.*run_dir="):
        Trainings(lm, isn.TrainingConfig(**SHORT), tmp_path / "file").train(OTHER, prompts, Job("train", print))


# -- how long it takes ----------------------------------------------------------------------------------


class Slow(TextPrompts):
    """Texts that take 2 ms each to draw."""

    def draw(self, n, lm, *, seed, cancel=None):
        time.sleep(0.002 * n)
        return super().draw(n, lm, seed=seed, cancel=cancel)


def test_the_estimate_counts_drawing_and_the_set_up(lm, tmp_path):
    config = isn.TrainingConfig(**{**SHORT, "statistics_samples": 5000, "held_out": 1000, "steps": 50})
    seconds = Trainings(lm, config, tmp_path).seconds_left(OTHER, Slow(TEXTS, name="s", cut="end"), threading.Event())
    draws = 5000 + 1000 + 50 * config.batch_size
    assert 0.002 * draws <= seconds < 0.02 * draws


def test_where_nothing_can_be_trained_the_offer_says_why(tmp_path):
    tokenizer = word_tokenizer(bos=False)
    tokenizer.eos_token = None
    widget = InverseScopeWidget(
        tiny_model("llama"), tokenizer, prompt=PROMPT, site=OTHER, run_dir=tmp_path,
        prompts=PromptDistribution.from_texts(TEXTS, cut="end"),
    )  # fmt: skip
    widget.invert().wait(60)
    assert widget.error is None
    assert widget.offer["train"] is None
    assert widget.offer["search"]
    assert "None can be trained here: the tokenizer of" in widget.offer["message"]


def test_stop_is_quick_while_a_step_is_timed_and_the_offer_stays(make, lm):
    config = isn.TrainingConfig(**{**SHORT, "batch_size": 4096})
    widget = make(training=config, prompts=PromptDistribution.from_model(lm, max_tokens=30))
    widget.invert()
    deadline = time.monotonic() + 60
    while widget.offer is None and time.monotonic() < deadline:
        time.sleep(0.01)
    stop_working(widget, "stop")
    assert widget.offer["train"] == "Train a generator here"


def test_a_second_search_answers_from_the_texts_of_the_first(make, lm, monkeypatch):
    monkeypatch.setattr("inversescope_nb.widgets.backend.SEARCH_SECONDS", 60.0)  # it takes less
    widget = make(prompts=PromptDistribution.from_model(lm, max_tokens=4))
    widget.bandwidth, found = 1.0, []
    for _ in range(2):
        widget.invert().wait(60)
        ask(widget, "search")
        settle(widget, 60)
        found.append(widget.inversion)
    first, second = found
    assert first is not second
    assert first.bank_size == first.n_texts > 0, first.verdict_reason
    assert (second.bank_size, second.n_texts) == (0, first.n_texts)


def test_a_search_after_a_step_of_fine_tuning_reads_anew():
    lm = isn.load_model((tiny_model("llama"), word_tokenizer()))
    backend = Backend(lm, prompts=PromptDistribution.from_model(lm, max_tokens=4))
    job, found = Job("search", lambda job: None), []
    for _ in range(2):
        found.append(backend.search("John gave", site=SITE, position=-1, bandwidth=1.0, n=32, job=job))
        with torch.no_grad():
            for weight in lm.model.parameters():
                weight += 1e-3
    assert all(one.bank_size > 0 for one in found)
