"""Making the packaged target model: its words, its data, its loss and accuracies, and a whole tiny run."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch

from inversescope_nb import _files, load_model, pretraining
from inversescope_nb.loading import PACKAGED_TARGET
from inversescope_nb.pretraining import (
    BOS,
    EOS,
    PAD,
    UNK,
    Curriculum,
    PretrainingConfig,
    build_model,
    encode,
    evaluate,
    loss_of,
    make_tokenizer,
    name_stories,
    pad,
    pretrain,
    word_list,
)
from inversescope_nb.tasks import TASKS, _people, get_task

TINY = PretrainingConfig(
    d_model=16, d_mlp=16, n_layers=1, n_heads=2, steps=4, cool_from=2, polish=2, batch=28, eval_every=3, save_every=2
)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(word_list(), 64)


@pytest.fixture(scope="module")
def vocab(tokenizer) -> dict[str, int]:
    return tokenizer.get_vocab()


class Oracle(torch.nn.Module):
    """Answers by a table from the tokens so far to the next one, or always with one token."""

    def __init__(self, rows=(), *, always: int | None = None, size: int = 0) -> None:
        super().__init__()
        self.next = {tuple(row[:k]): row[k] for row in rows for k in range(1, len(row))}
        self.always, self.size = always, size

    def forward(self, input_ids, use_cache):
        out = torch.zeros(*input_ids.shape, self.size)
        for i, row in enumerate(input_ids.tolist()):
            for k in range(len(row)):
                token = self.always if self.always is not None else self.next.get(tuple(row[: k + 1]), PAD)
                out[i, k, token] = 10.0
        return SimpleNamespace(logits=out)


# -- words -----------------------------------------------------------------------------------------


def test_every_word_of_every_task_is_one_token(tokenizer, vocab) -> None:
    assert [tokenizer.convert_tokens_to_ids(t) for t in ("<pad>", "<bos>", "<eos>", "<unk>")] == [PAD, BOS, EOS, UNK]
    assert len(vocab) == len(word_list()) + 4
    for name in TASKS:
        for split in ("train", "held_out"):
            for prompt in get_task(name).split(split).sample(300, seed=0):
                words = [*prompt.text.split(), *str(prompt.labels["answer"]).split()]
                ids = tokenizer(f"{prompt.text} {prompt.labels['answer']}")["input_ids"]
                assert ids == [BOS, *(vocab[w] for w in words)]
                assert UNK not in ids
                assert tokenizer.decode(ids[1:]) == " ".join(words)


def test_punctuation_and_digits_stand_alone(tokenizer, vocab) -> None:
    assert tokenizer("437+568=")["input_ids"] == tokenizer("4 3 7 + 5 6 8 =")["input_ids"]
    assert tokenizer("Is it? Yes.")["input_ids"][-1] == vocab["."]


# -- data ------------------------------------------------------------------------------------------


def test_stories_are_answered_by_the_name_that_is_missing() -> None:
    everybody = set(_people.NAMES + _people.HELD_OUT_NAMES)
    seen = set()
    for prompt in name_stories(_people.MORE_NAME_STORIES).sample(600, seed=0):
        names = [w for w in prompt.text.split() if w in everybody]
        seen |= set(names)
        assert prompt.labels["answer"] in names
        if len(set(names)) == 2:
            last = names[-1]
            assert prompt.labels["answer"] != last, prompt.text
    assert seen >= set(_people.HELD_OUT_NAMES)


def test_a_steps_data_depend_on_seed_and_step_alone(vocab) -> None:
    a, b = Curriculum(TINY, vocab), Curriculum(TINY, vocab)
    b.batches(3)
    for name, (ids, starts) in a.batches(7).items():
        again = b.batches(7)[name]
        assert torch.equal(ids, again[0])
        assert torch.equal(starts, again[1])
    assert not torch.equal(a.batches(7)["ioi"][0], a.batches(8)["ioi"][0])


def test_batches_hold_prompts_answers_and_ends(vocab) -> None:
    words = {i: w for w, i in vocab.items()}
    for name, (ids, starts) in Curriculum(TINY, vocab).batches(0).items():
        assert len(ids) >= 4, "no task is ever left out"
        for row, start in zip(ids.tolist(), starts.tolist(), strict=True):
            end = row.index(EOS)
            assert row[0] == BOS
            assert set(row[end + 1 :]) <= {PAD}
            assert 1 < start < end
            if name == "addition":
                numbers = [int("".join(words[i] for i in part)) for part in (row[1:4], row[5:8], row[start:end])]
                assert numbers[0] + numbers[1] == numbers[2]


def test_shares_move_toward_what_is_not_learned(vocab) -> None:
    curriculum = Curriculum(TINY, vocab)
    for _ in range(20):
        curriculum.adapt({"ioi": 0.2, "addition": 1.0})
    assert curriculum.shares["ioi"] > 2 * curriculum.shares["addition"] >= 2 * 0.3
    assert sum(len(ids) for ids, _ in curriculum.batches(0).values()) == pytest.approx(TINY.batch, abs=14)
    curriculum.polish()
    assert curriculum.shares["name_stories"] == max(curriculum.shares.values())
    assert curriculum.shares.keys() == curriculum.sources.keys()


# -- loss, rate, accuracy --------------------------------------------------------------------------


def test_the_loss_weighs_answers_and_context_apart() -> None:
    ids, starts = pad([([BOS, 5, 6, 7, EOS], 3), ([BOS, 5, EOS], 2)])
    logits = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(0))
    nll = -logits.log_softmax(-1)

    def model(input_ids, use_cache):
        return SimpleNamespace(logits=logits)

    answers = [nll[0, 2, 7], nll[0, 3, EOS], nll[1, 1, EOS]]
    context = [nll[0, 0, 5], nll[0, 1, 6], nll[1, 0, 5]]
    expected = sum(answers) / 3 + 0.3 * sum(context) / 3
    assert float(loss_of(model, ids, starts, 0.3)) == pytest.approx(float(expected), rel=1e-5)


def test_the_rate_warms_up_and_cools_down_to_nothing() -> None:
    config = PretrainingConfig()
    rates = [config.rate(step) for step in range(config.steps + config.polish)]
    assert max(rates) <= config.lr
    assert all(r > 0 for r in rates)
    assert rates[0] == pytest.approx(config.lr / 200)
    assert rates[config.steps - 1] < 0.01 * config.lr
    assert rates[config.steps] == config.polish_lr
    assert rates[-1] == pytest.approx(config.polish_lr / config.polish)
    cooling = rates[config.cool_from : config.steps]
    assert cooling == sorted(cooling, reverse=True)


def test_accuracy_counts_whole_greedy_answers(vocab) -> None:
    rows = []
    for name in TASKS:
        for prompt in get_task(name).held_out.sample(20, seed=9):
            rows.append(encode(prompt, vocab)[0])
    right = evaluate(Oracle(rows, size=len(vocab)), vocab, 20, seed=9)
    assert right == dict.fromkeys(TASKS, 1.0)
    one_word = evaluate(Oracle(always=vocab["Sorry"], size=len(vocab)), vocab, 20, seed=9)
    assert set(one_word.values()) == {0.0}, "the end belongs to the answer"
    nines = evaluate(Oracle(always=vocab["9"], size=len(vocab)), vocab, 20, seed=9)
    assert nines["greater_than"] == 1.0


def test_held_out_years_are_asked_at_one_length(vocab) -> None:
    texts = [p.text.split() for p in get_task("greater_than").held_out.sample(100, seed=0)]
    assert len({len(words) for words in texts}) == 1


# -- a whole run -----------------------------------------------------------------------------------


@pytest.fixture
def few_prompts(monkeypatch):
    whole = pretraining.evaluate
    monkeypatch.setattr(pretraining, "evaluate", lambda model, vocab, n, seed: whole(model, vocab, min(n, 8), seed))


def test_a_stopped_run_goes_on_where_it_was(tmp_path, few_prompts, monkeypatch) -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    whole = pretrain(tmp_path / "whole", TINY, threads=1)
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random state"
    saved = _files.save_checkpoint

    def save_and_stop(path, model, optimizer, state):
        saved(path, model, optimizer, state)
        if state["step"] == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(_files, "save_checkpoint", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path / "parts", TINY, threads=1)
    monkeypatch.setattr(_files, "save_checkpoint", saved)
    parts = pretrain(tmp_path / "parts", TINY, threads=1)
    assert parts == whole
    a, b = (_files.read_tensors(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "parts"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    torch.set_num_threads(threads)

    lm = load_model(tmp_path / "whole" / "model")
    assert (lm.n_layers, lm.d_model, lm.n_ctx, lm.dtype) == (1, 16, 64, torch.float32)
    assert (lm.bos_id, lm.text_bos_id, lm.eos_id, lm.pad_id) == (BOS, BOS, EOS, PAD)
    assert lm.encode("4 3 7 + 5 6 8 =").lengths.item() == 9
    card = json.loads((tmp_path / "whole" / "model" / "run_card.json").read_text())
    assert card["held_out_accuracy"] == whole
    assert card["parameters"] == sum(p.numel() for p in lm.model.parameters())
    assert [point["step"] for point in card["history"]] == [3, 6]
    assert all(math.isfinite(point["loss"]) for point in card["history"])


def test_the_packaged_shape_is_as_large_as_promised(vocab) -> None:
    model = build_model(PretrainingConfig(), len(vocab))
    assert 1e6 <= sum(p.numel() for p in model.parameters()) <= 3e6


def test_the_tokenizer_is_saved_under_a_name_that_transformers_4_knows_too(tmp_path, few_prompts) -> None:
    pretrain(tmp_path, TINY, threads=1)
    for folder in (tmp_path / "model", PACKAGED_TARGET):
        assert _files.read_json(folder / "tokenizer_config.json")["tokenizer_class"] == "PreTrainedTokenizerFast"
        assert _files.read_json(folder / "config.json")["dtype"] == "float32"
