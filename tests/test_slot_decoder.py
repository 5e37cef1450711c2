"""InversionView's decoder: what its slot does, that its draws are what it scores, and that it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import inversescope_nb as isn
from inversescope_nb.baselines import SlotDecoder, train_slot_decoder
from inversescope_nb.errors import InvalidArgument
from inversescope_nb.generator import Condition, TrainingConfig
from inversescope_nb.generator.building import build_generator
from inversescope_nb.prompts import PromptDistribution

SITE = "blocks.1.hook_resid_post"
TEXTS = ["the cat", "a dog", "he", "John gave Mary", "is in the park"]
TINY = {"steps": 2, "batch_size": 8, "width": 16, "statistics_samples": 64, "held_out": 8, "warmup": 2}


def prompts() -> PromptDistribution:
    return PromptDistribution.from_texts(TEXTS, cut="end")


@pytest.fixture(scope="module")
def decoder(lm) -> SlotDecoder:
    """Untrained, so that what its slot says is large."""
    config = TrainingConfig(**TINY, backbone="small", n_tokens=1, n_blocks=0)
    found = build_generator(lm, [SITE], prompts(), config, generator_class=SlotDecoder).eval()
    for slot in found.controls:
        slot.kv.weight.data.normal_(std=2.0, generator=torch.Generator().manual_seed(0))
    return found


def condition(lm, decoder, texts=TEXTS[:1]) -> Condition:
    z = lm.activations(texts, [SITE])[SITE]
    return decoder.condition_on(SITE, decoder.statistics(SITE).standardise(z), 0.1)


def inputs(lm) -> list[list[int]]:
    return lm.encode(TEXTS).rows()


@torch.inference_mode()
def test_without_its_slot_it_is_the_bare_model(lm, decoder) -> None:
    ids, lengths = decoder.rows(inputs(lm))
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    bare = decoder.backbone(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)
    expected = bare[:, :-1].gather(-1, ids[:, 1:, None])[..., 0] * mask[:, 1:]
    torch.testing.assert_close(decoder.token_log_probs(ids, lengths, decoder.no_condition(1)), expected)
    given = condition(lm, decoder)
    assert (decoder.token_log_probs(ids, lengths, given) - expected).abs().max() > 0.1
    dropped = Condition(given.rows(slice(0, 1), len(ids)).parts, torch.zeros(len(ids), dtype=torch.bool))
    torch.testing.assert_close(decoder.token_log_probs(ids, lengths, dropped), expected, atol=1e-5, rtol=1e-4)


def test_scores_do_not_depend_on_the_batch(lm, decoder) -> None:
    several = condition(lm, decoder, TEXTS)
    together = decoder.log_probs(inputs(lm), several)
    for i, x in enumerate(inputs(lm)):
        (alone,) = decoder.log_probs([x], condition(lm, decoder, TEXTS[i : i + 1]))
        torch.testing.assert_close(together[i], alone, atol=1e-5, rtol=1e-4)


def test_its_draws_are_as_frequent_as_it_scores_them(lm, decoder) -> None:
    given = condition(lm, decoder)
    n = 4000
    drawn = decoder.sample(given, n, seed=1)
    assert drawn == decoder.sample(given, n, seed=1) != decoder.sample(given, n, seed=2)
    whole = [tuple(x) for x, ended in drawn if ended and x]
    common = sorted(set(whole), key=whole.count)[-8:]
    q = np.exp([float(x.sum()) for x in decoder.log_probs([list(x) for x in common], given)])
    for x, p in zip(common, q, strict=True):
        assert whole.count(x) / n == pytest.approx(p, abs=5 * math.sqrt(p / n) + 1e-3)


@pytest.mark.parametrize("bandwidth", [0.2, None])
def test_it_learns_what_the_activation_says(lm, bandwidth) -> None:
    config = TrainingConfig(
        steps=120, batch_size=48, lr=3e-3, adapter_lr=3e-3, width=32, statistics_samples=64, held_out=64, warmup=10
    )
    found = train_slot_decoder(lm, SITE, prompts(), bandwidth=bandwidth, config=config, progress=False)
    assert found.run_card["history"][-1]["nll"] < 0.5 * math.log(5)
    inv = isn.invert(lm, found, "John gave Mary", site=SITE, bandwidth=0.3, n=64, bank=0)
    assert np.mean([str(text) == "John gave Mary" for text in inv.texts]) > 0.8
    assert inv.copy_share > 0.8
    assert not {"nll_prior", "bits"} & set(found.run_card["history"][-1]), "it never learns a prior of its own"
    assert np.isnan(inv.log_no_condition).all()
    assert np.isfinite(inv.weight).all()
    assert found.default_bandwidth(SITE) == (0.2 if bandwidth else 0.1)


def test_what_it_cannot_do_is_said(lm, decoder, tmp_path) -> None:
    unscored = PromptDistribution.from_texts(TEXTS, cut="end")
    unscored.log_probs = lambda inputs, lm: None
    with pytest.raises(InvalidArgument, match="no prior of its own"):
        train_slot_decoder(lm, SITE, unscored, progress=False)
    with pytest.raises(InvalidArgument, match="no prior of its own"):
        isn.invert(lm, decoder, TEXTS[0], site=SITE, prior=unscored, n=4, bank=0)
    with pytest.raises(InvalidArgument, match="cannot be saved"):
        decoder.save_pretrained(tmp_path / "x")
    with pytest.raises(InvalidArgument, match="small model from scratch"):
        build_generator(lm, [SITE], prompts(), TrainingConfig(**TINY), generator_class=SlotDecoder)
