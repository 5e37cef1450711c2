"""Verdicts: each rule by hand, and how often each is wrong where the posterior is known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from known_answer import Copy, Known, copying_target
from test_inversion import many

import inversescope_nb as isn
from inversescope_nb.exact import ActivationTable, activation_table
from inversescope_nb.generator import Generator, TrainingConfig, train_generator
from inversescope_nb.inversion import Inversion, Verdict, invert
from inversescope_nb.prompts import PromptDistribution

BANDWIDTHS = (0.3, 1.0, 6.0)
PICKS = 16

# -- each rule by hand -------------------------------------------------------------------------------


def weighted(weights: np.ndarray, bits: float = 3.0, **more) -> Inversion:
    """Samples of these weights, with so many bits."""
    log_weight = np.log(weights / weights.mean()) - bits * math.log(2)
    n = len(weights)
    return many(n, log_prior=log_weight, log_q=np.zeros(n), d=np.zeros(n), picked_log_prior=-9.0, **more)


def heavy(n: int, k: float, shift: float = 0.0) -> np.ndarray:
    """Weights whose tail is a Pareto's of shape k, without the luck of a draw."""
    return ((np.arange(n) + 0.5) / n) ** -k + shift


def test_few_effective_samples_are_called_so() -> None:
    one_of_ten = np.where(np.arange(200) % 20 == 0, 1.0, 1e-9)
    found = weighted(one_of_ten)
    assert found.ess == pytest.approx(10, abs=0.01)
    assert found.verdict == Verdict.LOW_ESS  # a tenth of 200 is 20
    assert "effective sample size 10 of 200" in found.verdict_reason
    assert "of the draws count" not in weighted(one_of_ten[:100]).verdict_reason  # 5 of 100: few, however drawn
    assert weighted(one_of_ten[:100]).verdict == Verdict.LOW_ESS
    twice = weighted(np.tile(one_of_ten, 2))
    assert "effective sample size 20 of 400" in twice.verdict_reason
    assert "(5.0% of the draws count: 10% should, or 50)" in twice.verdict_reason
    many_draws = weighted(np.tile(one_of_ten, 6))
    assert many_draws.ess == pytest.approx(60, abs=0.01)
    assert many_draws.verdict == Verdict.RELIABLE, "60 of 1,200 are more than 10 of 64, which are believed"
    assert weighted(np.tile(one_of_ten, 5)[:980]).verdict == Verdict.LOW_ESS  # 49


def test_a_heavy_tail_counts_where_the_weights_are_uneven() -> None:
    found = weighted(heavy(200, 0.85))
    assert found.khat > 0.7
    assert 20 < found.ess < 100
    assert found.verdict == Verdict.LOW_ESS
    assert "(above 0.7: a heavy tail)" in found.verdict_reason, "enough in number: it says what else is wrong"
    nearly_even = weighted(heavy(200, 0.85, shift=40.0))
    assert nearly_even.khat > 0.7
    assert nearly_even.ess > 150
    assert nearly_even.verdict == Verdict.RELIABLE


@pytest.mark.parametrize(
    ("bits", "spread", "verdict"),
    [
        (0.1, 0.0, Verdict.NO_INFORMATION),
        (0.19, 0.0, Verdict.NO_INFORMATION),
        (0.21, 0.0, Verdict.RELIABLE),
        (0.1, 1.5, Verdict.RELIABLE),  # 0.1 bits, give or take 0.12
    ],
)
def test_no_information_is_said_where_the_bits_are_known_to_be_few(bits, spread, verdict) -> None:
    weights = np.exp(spread * np.linspace(-1, 1, 100))
    assert weighted(weights, bits).verdict == verdict


def test_no_information_is_not_said_of_few_effective_samples() -> None:
    found = weighted(np.where(np.arange(64) % 9 == 0, 1.0, 1e-9), 0.0)
    assert found.ess == pytest.approx(8, abs=0.01)
    assert found.verdict == Verdict.LOW_ESS


@pytest.mark.parametrize(
    ("near", "spread", "verdict"),
    [
        (100, 0.0, Verdict.RELIABLE),  # as much as the samples found
        (122, 0.0, Verdict.RELIABLE),  # 1.22 times, 0.29 bits
        (130, 0.0, Verdict.INVERTER_FAILED),  # 1.3 times, four standard errors
        (130, 2.5, Verdict.RELIABLE),  # less than two
        (150, 2.5, Verdict.INVERTER_FAILED),  # 2.6
    ],
)
def test_a_bank_that_holds_more_than_was_found_is_believed_where_it_is_no_luck(near, spread, verdict) -> None:
    """Z = 1/2 of 100 samples; of 200 inputs of the bank some lie at the pick, all others far away."""
    weights = np.exp(spread * np.linspace(-1, 1, 100))
    d = np.where(np.arange(200) < near, 0.0, 9.0)
    found = weighted(weights, 1.0, prior_d=d, bank_own=np.zeros(200, dtype=bool))
    assert found.bank_share.sum() == pytest.approx(near / 100)
    assert found.ess > 20
    assert found.verdict == verdict


# -- how often each is wrong -------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """An inversion's verdict and what the exact posterior says."""

    with_bank: Verdict
    """With a bank."""
    without: Verdict
    """Without."""
    missed: float
    """Share of the posterior that the generator gives less than a 64th of its due."""
    off: bool
    """Whether a rate or the bits are further off than the inversion's own figures allow."""
    exact_bits: float
    """Resolution bits."""


def told(known: Known, generator: Generator, table: ActivationTable, row: int, bandwidth: float) -> Told:
    how = {"site": known.site, "bandwidth": bandwidth, "n": 64, "prior": known.prompts, "seed": row, "progress": False}
    found, blind = (invert(known.lm, generator, table.inputs[row], **how, **more) for more in ({}, {"bank": 0}))
    exact = table.posterior_of(table.u[row], bandwidth)
    condition = generator.condition_on(known.site, table.u[row][None], bandwidth)
    log_q = np.array([float(x.sum()) for x in generator.log_probs(table.inputs, condition)])
    missed = float(exact.p[exact.log_p - log_q > math.log(64)].sum())
    tokens, index = np.array(table.inputs), {tuple(x): i for i, x in enumerate(table.inputs)}
    off = abs(found.bits - exact.bits) > max(0.3, 3 * found.bits_stderr)
    rows = np.array([index.get(tuple(x), -1) for x in found.samples])
    for place in (1, 2, 3):
        same = tokens[:, place] == tokens[row, place]
        rate = float(exact.p[same].sum())
        estimate = float(found.weight[(rows >= 0) & same[rows]].sum())
        off |= abs(estimate - rate) > 3 * math.sqrt(rate * (1 - rate) / max(found.ess, 1e-9)) + 0.02
    return Told(found.verdict, blind.verdict, missed, off, exact.bits)


def trained(known: Known, prompts: PromptDistribution, steps: int) -> Generator:
    config = TrainingConfig(
        steps=steps, batch_size=64, lr=3e-3, warmup=10, backbone="small", held_out=64, gap_inputs=0, eval_every=steps,
        statistics_samples=1024, bandwidths=(BANDWIDTHS[0], BANDWIDTHS[-1]),
    )  # fmt: skip
    return train_generator(known.lm, known.site, prompts, config=config, progress=False)


@pytest.fixture(scope="module")
def cases() -> dict[str, list[Told]]:
    """A target of 125 inputs that holds one of three slots; generators that know it, or half of it, or nothing."""
    known = copying_target("one of 5", 3, 5, [Copy(0)], BANDWIDTHS, 7)
    listed = [p.text for p, _ in known.prompts.enumerate()]
    half = PromptDistribution.from_texts([t for t in listed if t.split()[1] in ("a0", "b0")], name="half", cut="end")
    table = activation_table(known.lm, known.prompts, known.site, progress=False)
    found = {}
    for name, prompts, steps in (("good", known.prompts, 80), ("half", half, 80), ("untrained", known.prompts, 1)):
        generator = trained(known, prompts, steps)
        own = table.in_units(generator.statistics(known.site))
        rows = own.draw(3 * PICKS if name == "half" else PICKS, seed=1)  # whose share is near what is allowed
        found[name] = [told(known, generator, own, int(r), e) for e in BANDWIDTHS for r in rows]
    return found


def share(cases: list[Told], which, wrong) -> tuple[float, int]:
    """(how often something is wrong, of how many)."""
    some = [c for c in cases if which(c)]
    return float(np.mean([wrong(c) for c in some])) if some else 0.0, len(some)


def test_what_is_called_reliable_is_right(cases) -> None:
    every = [c for some in cases.values() for c in some]
    rate, n = share(every, lambda c: c.with_bank == Verdict.RELIABLE, lambda c: c.off or c.missed > 0.1)
    assert n >= PICKS
    assert rate <= 0.05


def test_a_generator_that_knows_its_target_is_believed(cases) -> None:
    believed = (Verdict.RELIABLE, Verdict.NO_INFORMATION)
    rate, n = share(cases["good"], lambda c: c.missed < 0.01, lambda c: c.with_bank not in believed)
    assert n == 3 * PICKS
    assert rate <= 0.1


def test_a_generator_that_lacks_half_is_found_out_by_the_bank_alone(cases) -> None:
    halves = cases["half"]
    assert min(c.missed for c in halves) > 0.1
    rate, _ = share(halves, lambda c: True, lambda c: c.with_bank != Verdict.INVERTER_FAILED)
    assert rate <= 0.2
    believed, _ = share(halves, lambda c: True, lambda c: c.with_bank in (Verdict.RELIABLE, Verdict.NO_INFORMATION))
    assert believed <= 0.02
    blind, _ = share(halves, lambda c: True, lambda c: c.without == Verdict.RELIABLE)
    assert blind > 0.1  # what no sample shows, no weight shows


def test_an_untrained_generator_is_not_believed(cases) -> None:
    believed, n = share(cases["untrained"], lambda c: c.missed > 0.1, lambda c: c.with_bank == Verdict.RELIABLE)
    assert n >= PICKS
    assert believed <= 0.05


def test_no_information_is_right_and_found(cases) -> None:
    every = [c for some in cases.values() for c in some]
    wrong, n = share(every, lambda c: c.with_bank == Verdict.NO_INFORMATION, lambda c: c.exact_bits > 0.2)
    assert n >= PICKS / 2
    assert wrong == 0
    missed, _ = share(cases["good"], lambda c: c.exact_bits < 0.05, lambda c: c.with_bank != Verdict.NO_INFORMATION)
    assert missed <= 0.2


def test_a_site_that_does_not_vary_is_called_constant() -> None:
    known = copying_target("constant", 2, 3, [Copy(0)], (0.3, 1.0), None)
    generator = train_generator(
        known.lm, "blocks.0.hook_resid_pre", known.prompts, progress=False,
        config=TrainingConfig(steps=1, batch_size=8, backbone="small", held_out=8, statistics_samples=64, gap_inputs=0),
    )  # fmt: skip
    assert generator.statistics("blocks.0.hook_resid_pre").is_constant
    for text in ("a0 b0 .", "c0 a0 ."):
        found = isn.invert(known.lm, generator, text, site="blocks.0.hook_resid_pre", n=8, progress=False)
        assert found.verdict == Verdict.CONSTANT
