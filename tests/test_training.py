"""Training a generator: what it sees, that it learns, stops, goes on, and leaves the target alone."""

from __future__ import annotations

import copy
import json
import math
import threading

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import tiny_model
from small import byte_level_tokenizer, model_for, same_weights, weights_of, word_tokenizer

from inversescope_nb import _files, _progress
from inversescope_nb.errors import Cancelled, CheckpointMismatch, InvalidArgument, ModelLoadError
from inversescope_nb.exact import activation_table
from inversescope_nb.generator import (
    TrainingConfig,
    backbones,
    examples,
    load_generator,
    quality,
    train_generator,
    training,
)
from inversescope_nb.generator.building import build_generator
from inversescope_nb.generator.data import by_length, last_activations
from inversescope_nb.generator.gaps import AMOUNTS, GapProbe
from inversescope_nb.generator.memory import estimate_memory, n_batches
from inversescope_nb.generator.quality import BANDWIDTHS, usual_bandwidths
from inversescope_nb.generator.training import _Run
from inversescope_nb.inversion import invert
from inversescope_nb.models import load_model
from inversescope_nb.prompts import PromptDistribution

SITES = ["blocks.0.hook_resid_post", "blocks.1.attn.hook_z.2"]
TEXTS = ["the cat is in the park", "John gave the book to Mary", "the dog", "a dog is in the park ."]
TINY = {
    "steps": 6, "batch_size": 12, "width": 16, "n_tokens": 2, "n_blocks": 1, "n_heads": 2, "statistics_samples": 64,
    "held_out": 8, "eval_every": 2, "save_every": 2, "warmup": 2,
}  # fmt: skip


def config(**changes) -> TrainingConfig:
    return TrainingConfig(**{**TINY, **changes})


def prompts(texts=TEXTS) -> PromptDistribution:
    return PromptDistribution.from_texts(texts, cut="random")


def run(lm, *, run_dir=None, resume=True, **changes) -> _Run:
    """A run that has not begun."""
    return _Run(lm, SITES, prompts(), config(**changes), run_dir, resume)


def stop_after(step: int):
    """An event, and a progress callback that sets it after a step."""
    event = threading.Event()
    return {"cancel": event, "on_progress": lambda done, total, message: event.set() if done == step else None}


def without_seconds(history):
    return [{k: v for k, v in point.items() if k != "seconds"} for point in history]


# -- what it sees ----------------------------------------------------------------------------------


def test_examples_are_noised_as_the_kernel_says(lm) -> None:
    one = run(lm, drop_condition=0.3, bandwidths=(0.05, 0.8), steps=1)
    inputs = one.prompts.draw(6000, lm, seed=0)
    found = one.examples(inputs, torch.Generator().manual_seed(1), 0.3, one.sites)
    z = last_activations(lm, inputs, SITES)
    noise = {0: [], 1: []}
    for i, example in enumerate(found):
        assert example["ids"] == inputs[i]
        site = example["site"]
        u = one.examples.statistics[SITES[site]].standardise(z[SITES[site]][i])
        noise[site].append(((example["u"] - u) / (example["eps"] * math.sqrt(len(u)))).numpy())
    for values in noise.values():
        values = np.array(values)
        assert abs(values.mean()) < 0.02
        assert abs(values.std() - 1) < 0.02
        assert abs(np.corrcoef(values[:, 0], values[:, 1])[0, 1]) < 0.06
    share = np.mean([e["site"] == 0 for e in found])
    assert abs(share - 0.5) < 0.03
    assert abs(np.mean([not e["keep"] for e in found]) - 0.3) < 0.03
    place = np.log([e["eps"] / 0.05 for e in found]) / math.log(0.8 / 0.05)
    assert np.abs(np.quantile(place, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.03
    assert place.min() >= -1e-6
    assert place.max() <= 1 + 1e-6


def test_a_steps_gradient_does_not_depend_on_how_its_batch_is_split(lm, monkeypatch) -> None:
    found = []
    for n in (1, 3, 12):
        monkeypatch.setattr(training, "by_length", lambda examples, _, n=n, **_how: by_length(examples, n))
        one = run(lm, drop_condition=0.4)
        for control in one.generator.controls:
            control.gate.data += 0.05
        one.optimizer.step = lambda: None
        one.optimizer.zero_grad = lambda set_to_none: None
        loss = one.optimize(0)
        found.append((loss, {name: p.grad.clone() for name, p in one.trained if p.grad is not None}))
    for loss, gradients in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, found[0][1][name], atol=1e-5, rtol=1e-3)


def test_a_large_vocabulary_is_trained_on_in_more_batches(lm) -> None:
    one = run(lm)
    examples = [{"ids": [0] * 9}] * 100
    assert len(one._split(examples, [e["ids"] for e in examples], 3)) == 3
    one.generator.vocab_size = 128_000
    assert len(one._split(examples, [e["ids"] for e in examples], 3)) == math.ceil(1000 * 128_000 / 2**25)


@pytest.mark.parametrize("micro_batch", [None, 16])
def test_one_long_input_does_not_make_others_as_long(lm, micro_batch) -> None:
    """A third of the rows, padded to the longest, would need 50 times the memory that a batch is to have."""
    one = run(lm, micro_batch=micro_batch)
    one.generator.vocab_size = 50_000
    examples = [{"ids": [0] * n} for n in [999] + [9] * 300]
    sizes = [len(batch) * (len(batch[0]["ids"]) + 1) for batch in one._split(examples, [e["ids"] for e in examples], 3)]
    if micro_batch is None:
        assert sizes[0] == 1000
        assert sum(sizes) == 4000
        assert max(sizes[1:]) <= 2**25 / 50_000
    else:
        assert len(sizes) == math.ceil(301 / 16)
        assert sizes[0] == 16 * 1000


@pytest.mark.parametrize("micro_batch", [None, 1, 3])
@pytest.mark.parametrize(
    ("n", "longest", "processes"), [(60, 19, 1), (61, 59, 1), (13, 19, 2), (5, 30, 2), (64, 40, 3)]
)
def test_memory_is_told_for_the_largest_batch_there_can_be(lm, monkeypatch, micro_batch, n, longest, processes) -> None:
    from inversescope_nb.generator import memory

    monkeypatch.setattr(memory, "LOGITS_PER_BATCH", 4 * 100 * lm.vocab_size)  # 100 tokens in a batch
    asked = TrainingConfig(batch_size=n, micro_batch=micro_batch)
    told = estimate_memory(lm, SITES, asked, longest, processes=processes)
    tokens = told.logits / (lm.vocab_size * 8)
    rng = np.random.default_rng(0)
    some = [rng.integers(1, longest + 1, n).tolist() for _ in range(20)]
    for lengths in (*some, [longest] * n, [longest] + [longest // 2] * (n - 1), [longest] + [3] * (n - 1)):
        count = n_batches(lengths, lm.vocab_size, micro_batch, least=3, world=processes)
        for rank in range(processes):
            examples = [{"ids": [0] * k} for k in lengths[rank::processes]]
            found = by_length(examples, count, rows_alone=micro_batch is not None)
            assert len(found) == count
            assert max(len(batch) * len(batch[0]["ids"]) for batch in found) <= tokens


@pytest.mark.parametrize(("n", "batches"), [(1, 3), (2, 3), (10, 3), (12, 4)])
def test_batches_are_of_like_length_and_lose_nothing(n, batches) -> None:
    examples = [{"ids": [0] * (1 + (7 * i) % 5), "i": i} for i in range(n)]
    found = by_length(examples, batches)
    assert sorted(e["i"] for batch in found for e in batch) == list(range(n))
    lengths = [len(e["ids"]) for batch in found for e in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert len(found) <= batches
    assert len(found) == min(n, batches)
    assert by_length([], 3) == []


def test_processes_that_share_a_batch_take_as_many_steps() -> None:
    """Whatever the lengths of each one's examples: they wait for each other at every backward pass."""
    rng = np.random.default_rng(0)
    for world in (1, 2, 3):
        for n in (3, 7, 40):
            examples = [{"ids": [0] * int(k)} for k in rng.integers(1, 60, n)]
            n = n_batches([len(e["ids"]) for e in examples], 500_000, None, least=3, world=world)
            assert {len(by_length(examples[rank::world], n)) for rank in range(world)} == {n}


def test_activations_come_back_in_the_inputs_order(lm) -> None:
    inputs = prompts().draw(11, lm, seed=0)
    found = last_activations(lm, inputs, SITES, batch_size=4)
    for site in SITES:
        alone = torch.cat([lm.activations([x], [site])[site] for x in inputs])
        torch.testing.assert_close(found[site], alone, atol=1e-4, rtol=1e-4)


# -- it learns -------------------------------------------------------------------------------------


def test_what_is_evaluated_along_the_way_stands_in_the_curves(lm) -> None:
    seen = []

    def evaluate(generator, examples):
        seen.append((examples, generator.training))
        return {"mine": float(examples)}

    gen = train_generator(lm, SITES, prompts(), config=config(), on_evaluate=evaluate)
    assert seen == [(24, False), (48, False), (72, False)]
    assert [point["mine"] for point in gen.run_card["history"]] == [24.0, 48.0, 72.0]


@pytest.mark.parametrize("bos", [True, False])
def test_it_learns_what_the_activation_says(bos) -> None:
    lm = model_for(word_tokenizer(bos=bos), "llama")
    texts = ["the cat", "a dog", "he", "John gave Mary", "is in the park"]
    setting = config(
        steps=90, batch_size=48, lr=6e-3, adapter_lr=2e-2, eval_every=30, bandwidths=(0.05, 0.2), held_out=64
    )
    gen = train_generator(lm, "resid_post.1", PromptDistribution.from_texts(texts, cut="end"), config=setting)
    first, *_, last = gen.run_card["history"]
    assert last["nll_prior"] == pytest.approx(math.log(5), abs=0.3), "P(X) itself without the condition"
    assert last["nll"] < 0.5 * last["nll_prior"]
    assert last["nll"] < first["nll"]
    assert last["bits"] == pytest.approx((last["nll_prior"] - last["nll"]) / math.log(2))
    z = lm.activations(["John gave Mary"], ["resid_post.1"])["resid_post.1"]
    condition = gen.condition_on(gen.sites[0], gen.statistics(gen.sites[0]).standardise(z), 0.1)
    samples = [lm.decode(x[1:] if bos else x) for x, _ in gen.sample(condition, 50, seed=0)]
    assert np.mean([s == "John gave Mary" for s in samples]) > 0.8


def test_the_first_steps_may_be_spent_on_some_sites(lm) -> None:
    one = run(lm, first_sites=("blocks.1.*",), first_steps=2, steps=3)
    seen, examples = [], one.examples
    one.examples = lambda *x: seen.append(examples(*x)) or seen[-1]
    for step in range(3):
        one.optimize(step)
    assert [{SITES[e["site"]] for e in batch} for batch in seen] == [{SITES[1]}, {SITES[1]}, set(SITES)]
    with pytest.raises(InvalidArgument, match="match none of the sites"):
        run(lm, first_sites=("blocks.7.*",), first_steps=2)


def test_stage_one_learns_the_prompts_without_any_activation(lm) -> None:
    one = run(lm, prior_steps=3, steps=2)
    encoder = {n: p.clone() for n, p in one.generator.encoder.named_parameters()}
    one.optimizer.optimizer.param_groups[0]["weight_decay"] = 0.0
    for group in one.optimizer.param_groups:
        group["weight_decay"] = 0.0
    for step in range(3):
        one.optimize(step)
    assert all(torch.equal(p, encoder[n]) for n, p in one.generator.encoder.named_parameters())
    one.optimize(3)  # opens the gates
    one.optimize(4)
    assert not all(torch.equal(p, encoder[n]) for n, p in one.generator.encoder.named_parameters())
    gen = run(lm, prior_steps=3, steps=2).train(None, None)
    assert gen.run_card["history"][-1]["step"] == 5


@pytest.mark.parametrize("changes", [{}, {"trainable": "frozen"}, {"trainable": "lora"}, {"backbone": "small"}])
@pytest.mark.parametrize("architecture", ["gpt2", "gemma2"])
def test_the_target_is_not_touched(architecture, changes) -> None:
    if changes.get("trainable") == "lora":
        pytest.importorskip("peft")
    model = tiny_model(architecture)
    lm = load_model((model, word_tokenizer()))
    model.train()
    before, state = weights_of(model), torch.random.get_rng_state()
    gen = train_generator(lm, SITES, prompts(), config=config(steps=2, **changes))
    assert same_weights(model, before)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random state"
    assert not gen.training
    gates = [control.gate for control in gen.controls]
    assert all(g.any() for g in gates), "something was learned"


def test_what_is_frozen_or_adapted_does_not_learn_in_full(lm) -> None:
    pytest.importorskip("peft")
    for trainable in ("frozen", "lora"):
        one = run(lm, trainable=trainable)
        names = {name for name, _ in one.trained if name.startswith("backbone.")}
        assert all("lora_" in name for name in names)
        assert bool(names) == (trainable == "lora")


def test_the_same_seed_gives_the_same_generator(lm) -> None:
    a, b, c = (run(lm, seed=s).train(None, None) for s in (0, 0, 1))
    assert same_weights(a, weights_of(b))
    assert without_seconds(a.run_card["history"]) == without_seconds(b.run_card["history"])
    assert not same_weights(a, weights_of(c))


# -- it stops and goes on --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"trainable": "frozen"}, {"trainable": "lora"}, {"prior_steps": 2, "steps": 4}, {"optimizer": "muon"}],
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, changes) -> None:
    if changes.get("trainable") == "lora":
        pytest.importorskip("peft")
    lm = load_model((tiny_model("gpt2"), word_tokenizer()))  # with dropout in its configuration
    assert lm.model.config.resid_pdrop > 0
    whole = train_generator(lm, SITES, prompts(), config=config(**changes))
    with pytest.raises(Cancelled) as stopped:
        train_generator(lm, SITES, prompts(), config=config(**changes), run_dir=tmp_path / "run", **stop_after(3))
    assert stopped.value.checkpoint == tmp_path / "run" / "checkpoint.safetensors"
    assert "resume from" in str(stopped.value)
    assert _files.checkpoint_state(stopped.value.checkpoint)["step"] == 3
    torch.manual_seed(99)
    steps = []
    resumed = train_generator(
        lm, SITES, prompts(), config=config(**changes), run_dir=tmp_path / "run",
        on_progress=lambda done, total, message: steps.append((done, total)),
    )  # fmt: skip
    assert steps == [(0, 6), (4, 6), (5, 6), (6, 6)]
    assert same_weights(whole, weights_of(resumed))
    assert without_seconds(resumed.run_card["history"]) == without_seconds(whole.run_card["history"])
    curves = json.loads((tmp_path / "run" / "curves.json").read_text())
    assert curves == resumed.run_card["history"]
    again = train_generator(lm, SITES, prompts(), config=config(**changes), run_dir=tmp_path / "run")
    assert same_weights(again, weights_of(resumed)), "a finished run is only read"


def test_an_interrupted_run_is_kept_and_ends_like_an_uninterrupted_one(lm, tmp_path, monkeypatch) -> None:
    def interrupted(*_args, **_how):
        raise KeyboardInterrupt

    how = {"config": config(save_every=100), "run_dir": tmp_path / "run"}
    path = tmp_path / "run" / "checkpoint.safetensors"
    whole = train_generator(lm, SITES, prompts(), config=config())
    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", interrupted)
        patched.setattr("inversescope_nb.generator.optimizers.Muon.step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_generator(lm, SITES, prompts(), **how)
    assert not path.exists(), "weights that a step was changing are not kept"
    with pytest.raises(KeyboardInterrupt) as stopped:
        train_generator(lm, SITES, prompts(), **how, on_progress=lambda done, *_: interrupted() if done == 3 else None)
    assert "3 steps are kept in" in stopped.value.__notes__[0]
    assert _files.checkpoint_state(path)["step"] == 3
    with monkeypatch.context() as patched:
        patched.setattr("accelerate.Accelerator.backward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_generator(lm, SITES, prompts(), **how)
    assert _files.checkpoint_state(path)["step"] == 3
    assert same_weights(whole, weights_of(train_generator(lm, SITES, prompts(), **how)))
    with pytest.raises(KeyboardInterrupt):
        train_generator(
            lm, SITES, prompts(), config=config(), on_progress=lambda done, *_: interrupted() if done == 2 else None
        )


def test_a_checkpoint_keeps_the_sites_moments(lm, tmp_path) -> None:
    with pytest.raises(Cancelled):
        train_generator(lm, SITES, prompts(), config=config(), run_dir=tmp_path, **stop_after(2))
    state = run(lm, run_dir=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    state.generator.encoder.scales *= 2
    _files.save_checkpoint(path, state.generator, state.optimizer.optimizer, _files.checkpoint_state(path))
    assert run(lm, run_dir=tmp_path).examples.statistics[SITES[0]].scale == state.generator.statistics(SITES[0]).scale


def test_a_stop_is_seen_while_inputs_are_written_and_sites_measured(lm) -> None:
    """P(X) is the model itself: setting up writes thousands of inputs, and every step writes more."""
    P = PromptDistribution.from_model(lm, max_tokens=8)
    written = []
    real = lm.model.forward
    for stop_at in (3, 200):  # within the moments' inputs; within a step's
        event, done = threading.Event(), []
        samples = 64 if stop_at > 100 else 4096
        many = config(statistics_samples=samples, steps=1000, eval_every=1000, backbone="small")

        def forward(*args, event=event, done=done, stop_at=stop_at, **kwargs):
            done.append(1)
            if len(done) == stop_at:
                event.set()
            return real(*args, **kwargs)

        lm.model.forward = forward
        try:
            with pytest.raises(Cancelled):
                train_generator(lm, SITES, P, config=many, cancel=event, progress=False)
        finally:
            del lm.model.forward
        written.append(len(done))
    assert written[0] <= 4
    assert written[1] <= 202


def test_a_stop_within_a_step_takes_that_step_back(lm, tmp_path, monkeypatch) -> None:
    whole = train_generator(lm, SITES, prompts(), config=config())
    real, event, batches = Accelerator.backward, threading.Event(), []

    def backward(self, loss, **how):
        real(self, loss, **how)
        batches.append(1)
        if len(batches) == 3 * 3 + 1:  # the first of three in the fourth step
            event.set()

    with monkeypatch.context() as patched:
        patched.setattr(Accelerator, "backward", backward)
        with pytest.raises(Cancelled) as stopped:
            train_generator(lm, SITES, prompts(), config=config(), run_dir=tmp_path, cancel=event)
    assert len(batches) == 10
    assert _files.checkpoint_state(stopped.value.checkpoint)["step"] == 3
    assert same_weights(whole, weights_of(train_generator(lm, SITES, prompts(), config=config(), run_dir=tmp_path)))


def test_a_stop_after_the_last_step_says_where_the_work_is(lm, tmp_path, monkeypatch) -> None:
    event = threading.Event()

    def measured(*_args):
        event.set()
        raise Cancelled

    with monkeypatch.context() as patched:
        patched.setattr(training, "usual_bandwidths", measured)
        with pytest.raises(Cancelled) as stopped:
            train_generator(lm, SITES, prompts(), config=config(), run_dir=tmp_path, cancel=event)
    assert stopped.value.checkpoint == tmp_path / "checkpoint.safetensors"
    whole = train_generator(lm, SITES, prompts(), config=config())
    assert same_weights(whole, weights_of(train_generator(lm, SITES, prompts(), config=config(), run_dir=tmp_path)))


@pytest.mark.parametrize("trainable", ["full", "frozen"])
def test_a_target_is_copied_while_no_other_thread_uses_it(lm, monkeypatch, trainable) -> None:
    """Hooks of a forward pass that runs meanwhile would be copied with it, and stay."""
    held, real = [], copy.deepcopy

    def watched(*args):
        held.append(lm.lock._is_owned())
        return real(*args)

    monkeypatch.setattr(backbones.copy, "deepcopy", watched)
    backbones.make_backbone(lm, config(backbone="target", trainable=trainable), 8)
    assert held
    assert all(held)


def test_prompts_that_hold_the_end_of_what_is_written_are_refused(lm) -> None:
    end = lm.tokenizer.eos_token
    with pytest.raises(InvalidArgument, match="ends what a generator writes"):
        train_generator(lm, SITES, prompts([f"the cat {end} a dog", "a dog"]), config=config())


def test_training_without_a_listener_shows_a_bar(lm, capfd, monkeypatch) -> None:
    monkeypatch.setattr(_progress, "DELAY", -1.0)
    train_generator(lm, SITES, prompts(), config=config())
    shown = capfd.readouterr().err
    assert "training" in shown
    assert "6/6" in shown
    train_generator(lm, SITES, prompts(), config=config(), progress=False)
    assert capfd.readouterr().err == ""


def test_a_stopped_run_without_a_folder_has_no_checkpoint(lm) -> None:
    with pytest.raises(Cancelled) as stopped:
        train_generator(lm, SITES, prompts(), config=config(), **stop_after(1))
    assert stopped.value.checkpoint is None
    event = threading.Event()
    event.set()
    with pytest.raises(Cancelled):
        train_generator(lm, SITES, prompts(), config=config(), cancel=event)


def test_another_runs_checkpoint_is_refused(lm, tmp_path) -> None:
    with pytest.raises(Cancelled):
        train_generator(lm, SITES, prompts(), config=config(), run_dir=tmp_path, **stop_after(2))
    tuned = tiny_model("llama", seed=1)
    others = [
        {"config": config(lr=3e-3)},
        {"config": config(steps=8)},
        {"prompts": prompts(TEXTS[:2])},
        {"lm": load_model((tuned, word_tokenizer()))},
        {"sites": SITES[:1]},
    ]
    for other in others:
        arguments = {"lm": lm, "sites": SITES, "prompts": prompts(), "config": config(), **other}
        with pytest.raises(CheckpointMismatch, match="another configuration"):
            train_generator(**arguments, run_dir=tmp_path)
    assert run(lm, run_dir=tmp_path, eval_every=3, save_every=5).step == 2, "how often it looks does not matter"
    assert run(lm, run_dir=tmp_path, resume=False).step == 0
    assert run(lm, run_dir=tmp_path).step == 0, "begun again there"


def test_a_damaged_checkpoint_is_refused(lm, tmp_path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelLoadError, match="not a checkpoint"):
        run(lm, run_dir=tmp_path)


def test_training_goes_on_from_an_earlier_generator(lm, tmp_path) -> None:
    earlier = train_generator(lm, SITES, prompts(), config=config())
    earlier.save_pretrained(tmp_path / "gen")
    more = prompts(TEXTS[:2])
    begun = _Run(lm, SITES, more, config(start_from=str(tmp_path / "gen"), statistics_samples=16), None, True)
    assert same_weights(begun.generator, weights_of(earlier))
    assert begun.generator.prompts is more
    later = begun.train(None, None)
    assert not same_weights(later, weights_of(earlier))
    frozen = _Run(lm, SITES, more, config(start_from=str(tmp_path / "gen"), trainable="frozen"), None, True)
    assert not any(name.startswith("backbone.") for name, _ in frozen.trained)
    for wrong in (
        {"metric": "whitened"},
        {"width": 32},
        {"n_blocks": 3},
        {"units": 8},
        {"n_common": 0},
        {"control": "attention"},
    ):
        with pytest.raises(CheckpointMismatch, match="was trained with"):
            _Run(lm, SITES, more, config(start_from=str(tmp_path / "gen"), **wrong), None, True)
    long = prompts([" ".join(["the dog gave the cat to Mary in the park"] * 2)])
    wider = train_generator(
        lm, SITES, long, config=config(start_from=str(tmp_path / "gen"), bandwidths=(0.3, 3.0), steps=1)
    )
    assert wider.config.bandwidths == (0.3, 3.0)
    assert wider.config.max_length >= long.longest(lm) + 4 > earlier.config.max_length
    with pytest.raises(CheckpointMismatch, match="other sites"):
        _Run(lm, SITES[:1], more, config(start_from=str(tmp_path / "gen")), None, True)


# -- what it writes --------------------------------------------------------------------------------


def test_the_run_card_says_how_it_was_made(lm, tmp_path) -> None:
    gen = train_generator(lm, SITES, prompts(), config=config())
    gen.save_pretrained(tmp_path / "gen")
    card = json.loads((tmp_path / "gen" / "run_card.json").read_text())
    assert card["target"] == {"name": lm.name, "fingerprint": lm.fingerprint, "tokenizer": lm.tokenizer_hash}
    assert card["sites"] == SITES
    assert card["prompts"]["fingerprint"] == prompts().fingerprint
    assert card["config"] == config().to_dict()
    assert card["examples_seen"] == 6 * 12
    assert [point["step"] for point in card["history"]] == [2, 4, 6]
    assert card["parameters_trained"] == card["parameters"]
    assert sum(p.numel() for p in gen.parameters()) < card["parameters"], "folded"
    untrained = build_generator(lm, SITES, prompts(), config())
    assert card["parameters"] == sum(p.numel() for p in untrained.parameters())
    assert TrainingConfig(**card["config"]) == config()
    load_generator(tmp_path / "gen").check_target(lm)


def test_the_run_card_of_a_continued_training_counts_both(lm, tmp_path) -> None:
    train_generator(lm, SITES, prompts(), config=config()).save_pretrained(tmp_path / "gen")
    gen = train_generator(lm, SITES, prompts(), config=config(start_from=str(tmp_path / "gen"), steps=2, seed=1))
    card = gen.run_card
    assert card["examples_seen"] == (6 + 2) * 12
    assert card["config"]["start_from"] == "gen"  # no path of this machine
    assert card["went_on_from"]["config"] == config().to_dict()
    assert [point["step"] for point in card["went_on_from"]["history"]] == [2, 4, 6]
    assert len(card["history"]) == 1


def test_curves_hold_the_gap_to_the_exact_posterior_where_it_can_be_had(lm) -> None:
    """It falls as the generator learns, is that of `ExactPosterior.gap`, and is left out where P(X) is too large."""
    more = config(steps=90, batch_size=32, eval_every=30, backbone="small", lr=5e-3, adapter_lr=1e-2)
    gen = train_generator(lm, SITES, prompts(), config=more)
    curves = {name: [point[name] for point in gen.run_card["history"]] for name in AMOUNTS}
    for values in curves.values():
        assert values[-1] < 0.7 * values[0]
        assert values[-1] > -0.2
    probe = GapProbe(lm, gen, prompts(), limit=512, seed=more.seed + 5)
    assert [table.site.name for table in probe.tables] == list(
        dict.fromkeys([*SITES[:1], SITES[len(SITES) // 2], SITES[-1]])
    )
    assert probe.measure(gen) == pytest.approx({name: values[-1] for name, values in curves.items()}, abs=1e-4)
    table, row = probe.tables[0], probe.rows[0]
    own = table.posterior(table.inputs[row], probe.bandwidth).gap(gen, draws=4000, seed=1)
    first = table.posterior_of(table.u[row], probe.bandwidth).gap(gen, draws=4000, seed=2)
    assert own[0] == pytest.approx(first[0], abs=4 * (own[1] + first[1]) + 1e-3)
    none = train_generator(lm, SITES, prompts(), config=config(gap_inputs=3))
    assert "gap_clean" not in none.run_card["history"][0]


def test_usual_bandwidths_leave_the_pick_a_small_share(lm, tmp_path, monkeypatch) -> None:
    words = ["cat", "dog", "park", "book", "Mary", "John"]
    many = PromptDistribution.from_templates(
        ["{A} {B} {C} {D} {E}"],
        {"A": words, "B": ["gave", "is", "in", "the"], "C": words, "D": words, "E": words},
        cut="end",
    )
    learning = config(steps=150, batch_size=32, backbone="small", lr=5e-3, adapter_lr=1e-2, eval_every=150)
    gen = train_generator(lm, SITES, many, config=learning)
    inputs = many.draw(8, lm, seed=9)
    own = {}  # (site, bandwidth) -> the median share that an input has of its posterior
    for site in gen.sites:
        for e in BANDWIDTHS:
            found = [invert(lm, gen, x, site=site, bandwidth=e, n=quality.DRAWS, bank=0) for x in inputs]
            own[site, e] = float(np.median([v.picked_share for v in found]))
    share = 0.8 * min(own[site, 0.1] for site in gen.sites)
    monkeypatch.setattr(quality, "OWN_SHARE", share)
    usual = usual_bandwidths(lm, gen, inputs)
    assert list(usual) == list(gen.sites)
    for site, bandwidth in usual.items():
        assert bandwidth > 0.1
        assert own[site, bandwidth] <= share or bandwidth == max(BANDWIDTHS)
        assert all(own[site, e] > share for e in BANDWIDTHS if e < bandwidth)
        assert gen.default_bandwidth(site) == gen.run_card["usual_bandwidths"][site]
    gen.run_card["usual_bandwidths"][SITES[0]] = 0.3
    gen.save_pretrained(tmp_path / "gen")
    again = load_generator(tmp_path / "gen")
    assert again.default_bandwidth(SITES[0]) == 0.3
    assert again.bank_inputs == gen.bank_inputs != []
    assert invert(lm, again, "cat is dog park Mary", site=SITES[0], n=4).bandwidth == 0.3


def test_usual_bandwidths_of_few_prompts_and_of_narrow_ranges(lm) -> None:
    few = train_generator(lm, SITES, prompts(), config=config())
    assert set(few.run_card["usual_bandwidths"].values()) == {0.1}
    narrow = train_generator(lm, SITES, prompts(), config=config(bandwidths=(0.4, 0.45)))
    assert set(narrow.run_card["usual_bandwidths"].values()) == {0.4}


def test_progress_says_how_far_it_is(lm) -> None:
    seen = []
    train_generator(lm, SITES, prompts(), config=config(), on_progress=lambda *x: seen.append(x))
    assert seen[0] == (0, 6, "drawing inputs and measuring the sites")
    assert [x[:2] for x in seen[1:]] == [(i, 6) for i in range(1, 7)]
    assert all(x[2].startswith("loss ") for x in seen[1:])


def test_a_tokenizer_whose_bos_texts_do_not_get_trains_like_any(tmp_path) -> None:
    lm = model_for(byte_level_tokenizer(bos="unused"))
    gen = train_generator(
        lm, "resid_post.1", PromptDistribution.from_texts(["Ann likes tea.", "Bob"]), config=config(steps=2)
    )
    assert not gen.config.has_bos
    assert gen.config.start_id == lm.bos_id
    assert all(lm.bos_id not in x for x, _ in gen.sample(gen.no_condition(1), 5, seed=0))


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0}, {"steps": 2.5}, {"steps": "many"}, {"batch_size": 0}, {"warmup": -1}, {"prior_steps": -1},
        {"first_steps": -1},
        {"n_heads": 0}, {"n_blocks": -1}, {"n_common": -1}, {"held_out": 0}, {"statistics_samples": 1},
        {"bandwidths": (0, 1)},
        {"bandwidths": (0.5, 0.1)}, {"bandwidths": (0.1,)}, {"bandwidths": (0.1, math.inf)}, {"drop_condition": 1.0},
        {"drop_condition": -0.1}, {"lr": 0}, {"lr": math.nan}, {"adapter_lr": -1}, {"weight_decay": -1},
        {"trainable": "ful"}, {"mixed_precision": "fp8"}, {"backbone": ""},
    ],
)  # fmt: skip
def test_configurations_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        config(**wrong)


def test_a_run_may_have_no_warm_up(lm) -> None:
    assert run(lm, warmup=0, steps=2).train(None, None).run_card["history"][-1]["step"] == 2


def test_a_precision_that_accelerate_fixed_otherwise_is_explained(lm) -> None:
    run(lm)
    with pytest.raises(InvalidArgument, match=r"bf16[\s\S]*restart the kernel"):
        run(lm, mixed_precision="bf16")


def test_a_tokenizer_without_any_special_token_is_refused() -> None:
    from inversescope_nb.errors import UnsupportedModel

    tokenizer = word_tokenizer(bos=False)
    tokenizer.eos_token = None
    lm = load_model((tiny_model("llama"), tokenizer))
    with pytest.raises(UnsupportedModel, match="neither BOS nor EOS"):
        train_generator(lm, SITES, prompts(), config=config())


def test_a_small_backbone_brings_its_own_end_where_there_is_none(tmp_path) -> None:
    """As for the published sorter, whose vocabulary is A, B and C."""
    tokenizer = word_tokenizer(bos=False)
    tokenizer.eos_token = None
    lm = load_model((tiny_model("llama"), tokenizer))
    learning = config(steps=60, batch_size=32, backbone="small", lr=5e-3, adapter_lr=1e-2, eval_every=60)
    gen = train_generator(lm, SITES, prompts(), config=learning)
    assert gen.config.end_id == gen.config.start_id == lm.vocab_size
    gen.save_pretrained(tmp_path / "gen")
    found = invert(lm, load_generator(tmp_path / "gen"), "the dog", site=SITES[0], bandwidth=0.5, n=200)
    assert max(max(x) for x in found.samples if x) < lm.vocab_size
    assert found.on_support.mean() > 0.5
    known = activation_table(lm, prompts(), SITES[0], statistics=gen.statistics(SITES[0])).posterior("the dog", 0.5)
    assert found.bits == pytest.approx(known.bits, abs=max(0.3, 4 * found.bits_stderr))


def test_the_first_steps_are_spent_on_the_first_sites(lm) -> None:
    from inversescope_nb.errors import InvalidArgument
    from inversescope_nb.generator.training import _Run

    prompts = PromptDistribution.from_texts(["John gave", "Mary is", "Paris is"], cut="end")
    sites = lm.sites("blocks.*.hook_resid_post")
    small = {"statistics_samples": 8, "held_out": 4, "batch_size": 8, "width": 8, "n_tokens": 1, "n_heads": 1}
    config = TrainingConfig(steps=2, first_sites=("blocks.1.*",), first_steps=1, **small)
    run = _Run(lm, sites, prompts, config, None, True)
    seen = []
    plain = run.examples
    run.examples = lambda inputs, rng, drop, names: seen.append(list(names)) or plain(inputs, rng, drop, names)
    run.optimize(0)
    run.optimize(1)
    assert seen == [["blocks.1.hook_resid_post"], sites]
    with pytest.raises(InvalidArgument, match="match none of the sites"):
        _Run(lm, sites, prompts, TrainingConfig(first_sites=("blocks.9.*",), first_steps=1, **small), None, True)


def test_prompts_that_are_no_distribution_are_refused(lm) -> None:
    with pytest.raises(InvalidArgument, match="list"):
        train_generator(lm, SITES, TEXTS, config=config())
    with pytest.raises(InvalidArgument, match="str"):
        train_generator("gpt2", SITES, prompts(), config=config())


def test_an_input_is_read_at_its_own_site_and_no_deeper(lm, monkeypatch) -> None:
    """In groups by depth; what comes out is what reading every site of every input gives."""
    one, calls = run(lm), []

    def read(lm, inputs, names, **how):
        calls.append((len(inputs), {lm.site(name).layer for name in names}))
        return last_activations(lm, inputs, names, **how)

    monkeypatch.setattr(examples, "last_activations", read)
    monkeypatch.setattr(examples, "GROUP", 16)
    inputs = one.prompts.draw(64, lm, seed=3)
    found = one.examples(inputs, torch.Generator().manual_seed(1), 0.0, one.sites)
    assert sum(n for n, _ in calls) == 64
    assert {0} in [layers for _, layers in calls], "the shallow ones end early"
    monkeypatch.setattr(examples, "GROUP", 1000)
    whole = one.examples(inputs, torch.Generator().manual_seed(1), 0.0, one.sites)
    for a, b, x in zip(found, whole, inputs, strict=True):
        assert a["ids"] == x
        assert (a["site"], a["eps"], a["keep"]) == (b["site"], b["eps"], b["keep"])
        torch.testing.assert_close(a["u"], b["u"], atol=1e-5, rtol=1e-4)
