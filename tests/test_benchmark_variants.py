"""The variants that only the benchmarks know: what they draw is what they score, and all of them can be trained."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import inversescope_nb as isn
from inversescope_nb.generator import Condition, TrainingConfig
from inversescope_nb.generator.building import build_generator
from inversescope_nb.prompts import PromptDistribution

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from _injections import AdaptiveNorm, Prefix
from _variants import CONFIGS, config_of, train

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
