"""Inverting: weights by hand, the exact posterior recovered from any proposal, verdicts, and what is refused."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import tiny_model
from known_answer import Copy, copying_model, label, prompts, rate
from small import byte_level_tokenizer, model_for, open_gates, word_tokenizer

from inversescope_nb import _measuring, picking
from inversescope_nb.banks import Bank, draw_bank
from inversescope_nb.errors import BadPrompt, Cancelled, GeneratorMismatch, InvalidArgument, UnknownSite
from inversescope_nb.exact import ActivationTable, activation_table
from inversescope_nb.features import InputText
from inversescope_nb.generator import TrainingConfig, train_generator
from inversescope_nb.generator.building import build_generator
from inversescope_nb.information import channel_bits, token_information
from inversescope_nb.inversion import Inversion, Verdict, invert
from inversescope_nb.kernels import Kernel, check_bandwidth
from inversescope_nb.models import load_model
from inversescope_nb.prompts import Prompt, PromptDistribution
from inversescope_nb.sites import Site

SITE = "blocks.1.hook_resid_post"
TEXTS = ["the cat is in the park", "John gave the book to Mary", "the dog", "a dog is in the park ."]
SMALL = TrainingConfig(width=16, n_tokens=2, n_blocks=1, n_heads=2, statistics_samples=64, held_out=8)


def texts(cut: str = "random") -> PromptDistribution:
    return PromptDistribution.from_texts(TEXTS, cut=cut)


@pytest.fixture(scope="module")
def gen(lm):
    """A generator that has learned nothing but says something about everything."""
    return open_gates(build_generator(lm, [SITE, "blocks.0.hook_resid_pre"], texts(), SMALL))


@pytest.fixture(scope="module")
def trained(lm):
    """A generator that has learned a little."""
    config = TrainingConfig(
        steps=60, batch_size=32, width=16, n_tokens=2, n_blocks=1, n_heads=2, statistics_samples=256, held_out=8,
        eval_every=60, lr=5e-3, adapter_lr=1e-2, warmup=5, backbone="small",
    )  # fmt: skip
    return train_generator(lm, SITE, texts(), config=config)


class TableGenerator:
    """Proposes inputs of a table with known probabilities: the exact posterior, or any other."""

    def __init__(self, table: ActivationTable, prompts: PromptDistribution, propose) -> None:
        self.table, self.prompts, self.propose = table, prompts, propose
        self.sites, self.longest_input = (table.site.name,), math.inf
        self.config = SimpleNamespace(bandwidths=(1e-3, 10.0), has_bos=True, start_id=table.inputs[0][0])
        self.rows = {tuple(x): i for i, x in enumerate(table.inputs)}

    def check_target(self, lm) -> None:
        assert lm is self.table.lm

    def default_bandwidth(self, site):
        return 0.1

    def relative_scale(self, site):
        return 1.0

    def bank(self, lm, prior, size, **_):
        return draw_bank(lm, prior, size)

    def statistics(self, site):
        return self.table.statistics

    def noised(self, site, z, bandwidth, *, seed):
        u = self.table.statistics.standardise(z)
        return u + bandwidth * math.sqrt(u.shape[1]) * torch.randn(
            u.shape, generator=torch.Generator().manual_seed(seed)
        )

    def condition_on(self, site, u, bandwidth):
        check_bandwidth(bandwidth, self.config.bandwidths)
        return np.asarray(self.propose(self.table.posterior_of(u[0], bandwidth)))

    has_prior = True

    def prior_log_probs(self, inputs):
        return self.log_probs(inputs, np.exp(self.table.log_prior))

    def sample(self, condition, n, *, seed, cancel=None):
        rows = np.random.default_rng(seed).choice(len(condition), n, p=condition / condition.sum())
        return [(list(self.table.inputs[i]), True) for i in rows]

    def log_probs(self, inputs, condition):
        """All of an input's log probability on its last token."""
        with np.errstate(divide="ignore"):
            scores = [math.log(condition[self.rows[tuple(x)]] / condition.sum()) for x in inputs]
        return [
            torch.tensor([0.0] * (len(x) - 1) + [s], dtype=torch.float64) for x, s in zip(inputs, scores, strict=True)
        ]


# -- the weights -----------------------------------------------------------------------------------


def by_hand(**changes) -> Inversion:
    """Four samples with distances and probabilities written down."""
    fields = {
        "prompt_ids": [1, 5], "tokens": ["<bos>", "a"], "text": InputText("a"),
        "site": Site("s", 0, "resid_post", None, 4),
        "position": 1, "bandwidth": 0.5, "proposal_bandwidth": 0.5, "samples": [[1, 5], [1, 6], [1, 6], [1, 7]],
        "texts": [InputText(t) for t in "abbc"], "log_q": np.log([0.4, 0.2, 0.2, 0.1]),
        "log_no_condition": np.log([0.25] * 4),
        "log_prior": np.array([math.log(0.2), math.log(0.3), math.log(0.3), -math.inf]),
        "prior_is_exact": True, "d": np.array([0.0, 0.5, 0.5, 0.1]), "relative_norm": np.zeros(4), "cosine": np.ones(4),
        "token_log_q": [np.array([-1.0, -0.5])] * 4, "token_log_no_condition": [np.array([-2.0, -0.5])] * 4,
        "picked_log_prior": math.log(0.2), "picked_log_q": math.log(0.4), "picked_on_support": True,
        "prompts_name": "four",
    }  # fmt: skip
    return Inversion(**{**fields, **changes})


def test_weights_by_hand() -> None:
    found = by_hand()
    k = math.exp(-0.5)
    raw = np.array([0.2 / 0.4, 0.3 * k / 0.2, 0.3 * k / 0.2, 0.0])
    np.testing.assert_allclose(found.kernel, np.exp([0, -0.5, -0.5, -0.02]))
    np.testing.assert_allclose(found.weight, raw / raw.sum())
    assert found.ess == pytest.approx(raw.sum() ** 2 / (raw**2).sum())
    assert found.bits == pytest.approx(-math.log2(raw.mean()))
    assert found.bits_stderr == pytest.approx(raw.std(ddof=1) / math.sqrt(4) / raw.mean() / math.log(2))
    assert found.is_copy.tolist() == [True, False, False, False]
    assert found.on_support.tolist() == [True, True, True, False]
    assert (found.copy_share, found.off_support_share, found.distinct_share) == (0.25, 0.25, 0.75)
    assert found.ball_edge == 0.5
    assert found.in_ball.all()
    assert (found.n, len(found)) == (4, 4)
    assert found.token_information() == [[0.0, 1.0]] * 4


def test_reweighing_is_weighing_at_another_bandwidth() -> None:
    found, other = by_hand().reweight(0.25), by_hand(bandwidth=0.25)
    np.testing.assert_allclose(found.weight, other.weight)
    assert (found.bandwidth, found.proposal_bandwidth) == (0.25, 0.5)
    assert found.reweight(0.5).bits == pytest.approx(by_hand().bits)
    bound = by_hand(bits_bound=4.2)
    assert bound.reweight(0.5).bits_bound == 4.2
    assert math.isnan(bound.reweight(0.25).bits_bound), "it belongs to the bandwidth it was drawn at"
    noisy = by_hand(picked_d=0.3)
    assert noisy.reweight(0.25).picked_log_weight == pytest.approx(math.log(0.5) - 0.3**2 / 2 * 16)
    for eps in (0, -1, math.nan):
        with pytest.raises(InvalidArgument, match="bandwidth"):
            found.reweight(eps)


def test_samples_that_could_not_be_run_have_no_weight_and_no_shading() -> None:
    none = np.zeros(0)
    found = by_hand(
        samples=[[1, 5], [1, 6], [], [1, 7, 8, 9]], d=np.array([0, 0.5, math.inf, math.inf]),
        log_prior=np.array([math.log(0.2), math.log(0.3), -math.inf, -math.inf]),
        log_q=np.array([math.log(0.4), math.log(0.2), math.nan, math.nan]),
        token_log_q=[np.array([-1.0, -0.5])] * 2 + [none] * 2,
        token_log_no_condition=[np.array([-2.0, -0.5])] * 2 + [none] * 2,
    )  # fmt: skip
    assert found.weight[2:].tolist() == [0, 0]
    assert found.off_support_share == 0.5
    assert [len(row) for row in found.token_information()] == [2, 2, 0, 4]
    assert not np.isnan(found.to_frame()["weight"]).any()


def test_no_weight_anywhere_is_a_failure_not_a_nan() -> None:
    found = by_hand(log_prior=np.full(4, -math.inf))
    assert found.weight.tolist() == [0, 0, 0, 0]
    assert (found.ess, found.verdict) == (0, Verdict.INVERTER_FAILED)
    assert math.isinf(found.bits)
    assert math.isnan(found.ball_edge)
    assert "INVERTER_FAILED" in found.summary()
    assert not found.in_ball.any()


def many(n: int = 200, **changes) -> Inversion:
    """`n` samples of equal weight a bit away from the pick, none of which is it."""
    rows = [[1, 6 + i % 50] for i in range(n)]
    fields = {
        "samples": rows, "texts": [InputText("b")] * n, "log_q": np.full(n, -3.0), "log_no_condition": np.full(n, -5.0),
        "log_prior": np.full(n, -6.0), "d": np.full(n, 0.1), "relative_norm": np.zeros(n), "cosine": np.ones(n),
        "token_log_q": [np.zeros(2)] * n, "token_log_no_condition": [np.zeros(2)] * n,
        "picked_log_prior": -5.0, "picked_log_q": -2.0,
    }  # fmt: skip
    return by_hand(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.RELIABLE),
        ({"is_constant": True}, Verdict.CONSTANT),
        ({"picked_on_support": False}, Verdict.OUTSIDE_PROMPT_DISTRIBUTION),
        ({"picked_log_prior": 2.0}, Verdict.INVERTER_FAILED),
        ({"log_prior": np.full(200, -3.0), "d": np.zeros(200)}, Verdict.NO_INFORMATION),
        ({"log_prior": np.linspace(-80, -6, 200)}, Verdict.LOW_ESS),
        ({"log_prior": np.full(200, -math.inf)}, Verdict.INVERTER_FAILED),
    ],
)
def test_every_verdict_has_its_case(changes, verdict) -> None:
    found = many(**changes)
    assert found.verdict == verdict
    assert found.verdict_reason
    assert str(found.verdict) in found.summary()


def test_few_samples_are_not_called_reliable() -> None:
    assert many(8).verdict == Verdict.LOW_ESS
    assert many(1).verdict == Verdict.LOW_ESS
    assert math.isnan(many(1).bits_stderr)


def test_what_a_bank_shows_to_be_missed_by_hand() -> None:
    """Z = e^-3.5 (200 samples of weight e^-3 e^-0.5, bandwidth 0.1); a bank of 100, ten near, one the pick itself."""
    z, d = math.exp(-3.5), np.array([0.0] * 11 + [5.0] * 89)
    marks = np.array([0] + [3] * 10 + [0] * 89)
    here = {"bandwidth": 0.1, "proposal_bandwidth": 0.1, "prior_d": d, "bank_own": np.arange(100) == 0}

    def bank(n_missed: int, ratio: float, **more) -> Inversion:
        """So many of the ten have a posterior of `ratio` times q, the others of q itself."""
        log_ratio = np.full(100, math.nan)
        log_ratio[1:11] = math.log(z)
        log_ratio[1 : 1 + n_missed] += math.log(ratio)
        return many(**{**here, "bank_marks": marks, "bank_log_ratio": log_ratio, **more})

    mass = 10 / (100 * z)  # 3.3 times what was found: too much by itself
    found = bank(0, 1.0)
    assert found.bits == pytest.approx(3.5 / math.log(2))
    assert found.bank_share.sum() == pytest.approx(mass)
    assert found.bank_share[0] == 0
    broken = replace(found, prior_d=np.append(d[:-1], np.nan))  # an activation that overflowed
    assert np.isfinite(broken.bank_share).all()
    assert broken.verdict in set(Verdict)
    assert found.verdict == Verdict.INVERTER_FAILED
    assert "3.31 times the mass" in found.verdict_reason
    two = {"prior_d": np.array([0.0] * 3 + [5.0] * 97), "bank_marks": np.array([0, 16, 16] + [0] * 97)}
    held = 2 / (100 * z)
    for n_missed, ratio, missed, starved in (
        (0, 1.0, 0.0, 0.0), (1, 201.0, held / 2, held / 2), (2, 201.0, held, held), (2, 199.0, 0.0, held),
        (2, 9.0, 0.0, 0.0),
    ):  # fmt: skip
        found = bank(n_missed, ratio, **two)
        assert found.missed_share == pytest.approx(missed / (1 + missed))
        assert found.starved_share == pytest.approx(starved / (1 + starved))
        expected = Verdict.INVERTER_FAILED if missed or starved / (1 + starved) > 0.3 else Verdict.RELIABLE
        assert found.verdict == expected
    assert "all but never proposes" in bank(2, 201.0, **two).verdict_reason
    assert "10 times too rarely" in bank(2, 199.0, **two).verdict_reason
    far = bank(0, 1.0, prior_d=np.full(100, 5.0), bank_marks=np.zeros(100, dtype=int))
    assert math.isnan(far.missed_share)
    assert far.verdict == Verdict.RELIABLE


def test_a_bank_answers_for_the_bandwidths_it_was_scored_for() -> None:
    """Narrower: what lies further counts less. Wider: only the mass that it holds."""
    d = np.array([0.02] * 20 + [0.3] * 80)
    log_ratio = np.full(100, math.nan)
    log_ratio[:20] = -3.5 + math.log(5000)
    log_ratio[20:30] = -3.5
    marks = np.array([1] * 20 + [1] * 10 + [0] * 70)
    found = many(
        bandwidth=0.3, proposal_bandwidth=0.3, prior_d=d, bank_log_ratio=log_ratio, bank_marks=marks,
        bank_own=np.zeros(100, dtype=bool), log_q=np.full(200, -4.0),
    )  # fmt: skip
    part = 20 / 30
    share = found.bank_share.sum()
    assert found.missed_share == pytest.approx(part * share / (1 + part * share))
    narrow = found.reweight(0.1)
    far = math.exp(-(0.3**2) / 2 * (0.1**-2 - 0.3**-2)) / math.exp(-(0.02**2) / 2 * (0.1**-2 - 0.3**-2))
    part, share = 20 / (20 + 10 * far), narrow.bank_share.sum()
    assert narrow.missed_share == pytest.approx(part * share / (1 + part * share))
    wide = found.reweight(1.0)
    assert math.isnan(wide.missed_share)
    assert any("Drawn at bandwidth 0.3" in remark for remark in wide.remarks)


def test_remarks_say_what_the_numbers_do_not() -> None:
    here = {"bandwidth": 0.1, "proposal_bandwidth": 0.1}
    assert many(**here).remarks == []
    assert (
        "blurred by the bandwidth, this site tells at most 4.2 bits on average"
        in many(**here, bits_bound=4.2).summary()
    )
    assert "at most" not in many(**here).summary() + many(**here, bits_bound=4.2).reweight(0.2).summary()
    (coarse,) = many(**here, top_share=0.91, bits_bound=4.2).remarks
    assert "91%" in coarse
    assert "4.2 bits" in coarse
    assert many(**here, top_share=0.91, law=Kernel("whitened")).remarks == []
    (tiny,) = many(**here, relative_scale=0.002).remarks
    assert "500 times less" in tiny
    z = math.exp(-3.5)
    found = many(**here, picked_log_prior=math.log(0.2 * z), picked_log_q=-1.0, usual_bandwidth=0.3)
    assert found.picked_share == pytest.approx(0.2)
    (own,) = found.remarks
    assert "20% of the posterior" in own
    assert "0.3 is usual" in own
    assert own in found.summary()
    failed = many(**here, picked_log_prior=2.0, usual_bandwidth=0.3)
    assert failed.verdict == Verdict.INVERTER_FAILED
    assert failed.remarks == ["At this site bandwidth 0.3 is usual."], "no share of a posterior that nobody knows"
    (far,) = many(**here, d=np.full(200, 0.25)).remarks
    assert far.startswith("Most of the weight lies beyond 2 \u03b5")
    assert many(**here, is_constant=True, top_share=0.9).remarks == []


# -- against the exact posterior -------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(lm):
    P = PromptDistribution.from_templates(
        ["{A} {B} the {C}", "the {C} is in {B}"],
        {"A": ["John", "Mary", "he"], "B": ["gave", "is", "in"], "C": ["cat", "dog", "book"]},
    )
    return activation_table(lm, P, SITE), P


@pytest.mark.parametrize("bandwidth", [0.05, 0.3, 1.0])
def test_proposals_from_the_posterior_itself_all_weigh_the_same(lm, table, bandwidth) -> None:
    known, P = table
    oracle = TableGenerator(known, P, lambda posterior: posterior.p)
    found = invert(lm, oracle, "Mary gave the dog", site=SITE, bandwidth=bandwidth, n=300)
    exact = known.posterior("Mary gave the dog", bandwidth)
    np.testing.assert_allclose(found.weight, 1 / 300, rtol=2e-2)
    assert found.ess == pytest.approx(300, rel=1e-3)
    assert found.bits == pytest.approx(exact.bits, abs=0.01)
    assert found.prior_is_exact
    rows = [known.inputs.index(x) for x in found.samples]
    np.testing.assert_allclose(found.log_prior, known.log_prior[rows], rtol=1e-9)
    np.testing.assert_allclose(found.d, exact.d[rows], atol=1e-4)
    assert found.verdict in (Verdict.RELIABLE, Verdict.NO_INFORMATION)
    assert found.copy_share == pytest.approx(exact.p[known.inputs.index(found.prompt_ids)], abs=0.12)


def test_any_proposal_is_weighed_into_the_posterior(lm, table) -> None:
    known, P = table
    rng = np.random.default_rng(0)
    tilt = rng.uniform(0.2, 1.0, len(known.inputs))
    crooked = TableGenerator(known, P, lambda posterior: tilt * (posterior.p + 0.5 / len(tilt)))
    exact = known.posterior("Mary gave the dog", 0.4)
    found = invert(lm, crooked, "Mary gave the dog", site=SITE, bandwidth=0.4, n=6000)
    for word in ("dog", "Mary", "gave"):
        truth = sum(p for p, x in zip(exact.p, known.inputs, strict=True) if word in lm.decode(x))
        weighted = sum(w for w, t in zip(found.weight, found.texts, strict=True) if word in t)
        plain = np.mean([word in t for t in found.texts])
        assert weighted == pytest.approx(truth, abs=0.04)
        assert abs(plain - truth) > abs(weighted - truth) or abs(plain - truth) < 0.04
    assert found.bits == pytest.approx(exact.bits, abs=4 * found.bits_stderr + 1e-6)
    wider = found.reweight(0.6)
    assert wider.bits == pytest.approx(known.posterior("Mary gave the dog", 0.6).bits, abs=4 * wider.bits_stderr)


def test_a_generator_that_misses_the_pick_is_found_out(lm, table) -> None:
    known, P = table
    own = known.inputs.index(lm.encode("Mary gave the dog").rows()[0])

    def blind(posterior):
        p = np.exp(known.log_prior)
        p[own] = 1e-9
        return p

    found = invert(lm, TableGenerator(known, P, blind), "Mary gave the dog", site=SITE, bandwidth=0.05, n=200)
    assert found.verdict == Verdict.INVERTER_FAILED
    assert "picked input outweighs" in found.verdict_reason or "no sample" in found.verdict_reason


def test_a_generator_that_misses_a_whole_mode_is_found_out_by_the_bank(lm, table) -> None:
    """It proposes the pick and all that begins like it, and nothing else that lies as near."""
    known, P = table
    like = np.array([lm.decode(x[1:]).startswith("Mary") for x in known.inputs])

    def narrow(posterior):
        return posterior.p * np.where(like, 1.0, 1e-6)

    oracle, how = TableGenerator(known, P, narrow), {"site": SITE, "bandwidth": 0.5, "n": 300}
    assert like.any()
    missing = float(known.posterior("Mary gave the dog", 0.5).p[~like].sum())
    assert missing > 0.3
    found = invert(lm, oracle, "Mary gave the dog", **how)
    assert found.verdict == Verdict.INVERTER_FAILED
    assert found.missed_share > 0.3
    assert len(found.prior_d) == 256
    blind = invert(lm, oracle, "Mary gave the dog", **how, bank=0)
    assert blind.verdict == Verdict.RELIABLE  # nothing else shows it
    assert math.isnan(blind.missed_share)
    whole = invert(lm, TableGenerator(known, P, lambda posterior: posterior.p), "Mary gave the dog", **how)
    assert whole.missed_share == 0
    assert whole.starved_share == 0
    assert whole.bank_share.sum() == pytest.approx(1 - whole.picked_share, abs=0.25)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.8])
def test_the_bank_finds_the_share_that_is_missed(lm, table, share, monkeypatch) -> None:
    """Whatever the pick's own share is, and however few or many inputs hold the rest."""
    known, P = table
    own = known.inputs.index(lm.encode("Mary gave the dog").rows()[0])
    for bandwidth in (0.3, 0.6, 1.0):
        exact = known.posterior("Mary gave the dog", bandwidth)
        rows = np.random.default_rng(1).permutation(len(exact.p))
        rows = rows[rows != own]
        missed = rows[np.cumsum(exact.p[rows]) <= share * (1 - exact.p[own])]
        true = float(exact.p[missed].sum())

        def propose(posterior, missed=missed):
            p = posterior.p.copy()
            p[missed] *= 1e-9
            return p

        oracle = TableGenerator(known, P, propose)
        # as P(X) itself, without the luck of a draw
        copies = np.round(np.exp(known.log_prior) * 3000).astype(int)
        bank = Bank(lm, [x for x, n in zip(known.inputs, copies, strict=True) for _ in range(n)])
        monkeypatch.setattr(oracle, "bank", lambda *_, bank=bank, **__: bank, raising=False)
        found = invert(lm, oracle, "Mary gave the dog", site=SITE, bandwidth=bandwidth, n=300)
        assert found.missed_share == pytest.approx(true, abs=0.12)
        assert (found.verdict == Verdict.INVERTER_FAILED) or true < 0.22


def test_a_bank_is_drawn_and_run_once(lm, gen, monkeypatch) -> None:
    drawn = []
    draw = PromptDistribution.draw
    monkeypatch.setattr(PromptDistribution, "draw", lambda self, n, *a, **k: drawn.append(n) or draw(self, n, *a, **k))
    P = texts("end")
    for site in (SITE, "blocks.0.hook_resid_pre"):
        found = invert(lm, gen, "the dog", site=site, n=4, prior=P)
        assert len(found.prior_d) == 256
    assert drawn == [256]
    again = lm.activations(gen.bank(lm, P, 256).inputs, SITE)[SITE]
    torch.testing.assert_close(gen.bank(lm, P, 256).activations(SITE), again)


def test_a_known_answer_is_recovered_over_a_curve_of_bandwidths() -> None:
    lm = copying_model(2, 4, [Copy(0)])
    P = prompts(2, 4)
    known = activation_table(lm, P, "blocks.0.hook_attn_out")
    oracle = TableGenerator(known, P, lambda posterior: 0.5 * posterior.p + 0.5 * np.exp(known.log_prior))
    for eps in (0.2, 0.5, 0.8, 1.5):
        found = invert(lm, oracle, "c0 a0 .", site="attn_out.0", bandwidth=eps, n=4000)
        held = sum(w for w, t in zip(found.weight, found.texts, strict=True) if label(0)(t) == ("c",))
        assert held == pytest.approx(rate(eps, 4), abs=0.03)


def test_noise_moves_the_centre(lm, table) -> None:
    known, P = table
    oracle = TableGenerator(known, P, lambda posterior: posterior.p)
    found = invert(lm, oracle, "Mary gave the dog", site=SITE, bandwidth=0.3, n=400, noise_seed=3)
    again = invert(lm, oracle, "Mary gave the dog", site=SITE, bandwidth=0.3, n=400, noise_seed=3)
    np.testing.assert_array_equal(found.d, again.d)
    assert found.picked_d == pytest.approx(0.3 * math.sqrt(known.site.d), rel=0.5)
    np.testing.assert_allclose(found.weight, 1 / 400, rtol=5e-2)
    assert found.d.min() > 0.05


# -- with a generator ------------------------------------------------------------------------------


def test_every_sample_is_run_again_and_scored_as_it_was_drawn(lm, trained) -> None:
    found = invert(lm, trained, "the cat is", site=SITE, bandwidth=0.2, n=150)
    statistics = trained.statistics(SITE)
    z = lm.activations([found.prompt_ids], SITE)[SITE]
    u_hat = statistics.standardise(z)
    condition = trained.condition_on(SITE, u_hat, 0.2)
    for i in range(0, 150, 10):
        x = found.samples[i]
        own = lm.activations([x], SITE)[SITE]
        d = float((statistics.standardise(own) - u_hat).norm()) / math.sqrt(lm.d_model)
        assert found.d[i] == pytest.approx(d, abs=1e-4)
        assert found.relative_norm[i] == pytest.approx(float((own - z).norm() / z.norm()), abs=1e-4)
        assert found.cosine[i] == pytest.approx(float(torch.cosine_similarity(own, z)[0]), abs=1e-4)
        assert found.log_q[i] == pytest.approx(float(trained.log_probs([x], condition)[0].sum()), abs=1e-3)
        without = trained.log_probs([x], trained.no_condition(1))[0]
        assert found.log_no_condition[i] == pytest.approx(float(without.sum()), abs=1e-3)
        assert found.log_prior[i] == pytest.approx(texts().log_prob(x, lm))
        assert str(found.texts[i]) == lm.decode(x[1:])
        assert found.texts[i].token_ids == tuple(x)
    assert found.weight.sum() == pytest.approx(1)
    assert found.d[found.is_copy].max(initial=0) < 1e-4
    assert not found.weight[~found.on_support].any()
    information = found.token_information()
    assert [len(row) for row in information] == [len(x) for x in found.samples]
    assert all(row[0] == 0 for row in information)
    in_bits = found.token_information(unit="bits")
    assert [math.log(2) * x for row in in_bits for x in row] == pytest.approx([x for row in information for x in row])
    with pytest.raises(InvalidArgument, match="allowed: nats, bits"):
        found.token_information(unit="shannon")
    frame = found.to_frame()
    assert len(frame) == 150
    assert list(frame.columns) == [
        "token_ids", "text", "log_q", "log_no_condition", "log_prior", "prior_is_exact", "d", "relative_norm",
        "cosine", "in_ball", "kernel", "weight", "bits", "is_copy", "on_support",
    ]  # fmt: skip
    nats = [
        given.sum() - none.sum() for given, none in zip(found.token_log_q, found.token_log_no_condition, strict=True)
    ]
    assert (frame["bits"] * math.log(2)).tolist() == pytest.approx(nats, abs=1e-3, nan_ok=True)


def test_a_trained_generator_agrees_with_the_exact_posterior(lm, trained) -> None:
    known = activation_table(lm, texts(), SITE, statistics=trained.statistics(SITE))
    for text in ("the cat is", "John gave"):
        found = invert(lm, trained, text, site=SITE, bandwidth=0.4, n=1500)
        exact = known.posterior(text, 0.4)
        assert found.verdict != Verdict.OUTSIDE_PROMPT_DISTRIBUTION
        assert found.bits == pytest.approx(exact.bits, abs=max(0.2, 4 * found.bits_stderr))
        copies = float(found.weight[found.is_copy].sum())
        assert copies == pytest.approx(exact.p[known.inputs.index(found.prompt_ids)], abs=0.12)


@pytest.mark.parametrize(
    "kernel", [Kernel("per_coordinate"), Kernel("whitened"), Kernel("cosine"), Kernel("scaled", "ball")], ids=str
)
def test_every_kernel_is_trained_inverted_and_exact(lm, kernel) -> None:
    config = TrainingConfig(
        steps=60, batch_size=32, width=16, n_tokens=2, n_blocks=1, n_heads=2, statistics_samples=256, held_out=8,
        eval_every=60, lr=5e-3, adapter_lr=1e-2, warmup=5, backbone="small", metric=kernel.metric, shape=kernel.shape,
    )  # fmt: skip
    gen = train_generator(lm, SITE, texts(), config=config)
    assert gen.kernel == gen.statistics(SITE).kernel == kernel
    known = activation_table(lm, texts(), SITE, statistics=gen.statistics(SITE))
    bandwidth = 0.8
    for text in ("the cat is", "John gave"):
        found = invert(lm, gen, text, site=SITE, bandwidth=bandwidth, n=1500)
        exact = known.posterior(text, bandwidth)
        assert found.bits == pytest.approx(exact.bits, abs=max(0.2, 4 * found.bits_stderr))
        copies = float(found.weight[found.is_copy].sum())
        assert copies == pytest.approx(exact.p[known.inputs.index(found.prompt_ids)], abs=0.12)
        noisy = invert(lm, gen, text, site=SITE, bandwidth=bandwidth, n=50, noise_seed=3)
        assert noisy.picked_d > 0
        if kernel.shape == "ball":
            assert noisy.picked_d <= bandwidth * (1 + 1e-6)
            assert set(found.kernel) <= {0.0, 1.0}


def test_samples_off_the_support_weigh_nothing(lm, gen) -> None:
    found = invert(lm, gen, "the cat", site=SITE, n=40)
    assert found.off_support_share > 0.5
    assert not found.weight[~found.on_support].any()
    assert np.isneginf(found.log_prior[~found.on_support]).all()


@pytest.mark.parametrize("n", [1, 5, 8, 13])
def test_any_number_of_samples_in_batches(lm, gen, monkeypatch, n) -> None:
    monkeypatch.setattr(_measuring, "BATCH", 4)
    steps = []
    found = invert(lm, gen, "the cat", site=SITE, n=n, bank=0, on_progress=lambda *x: steps.append(x[:2]))
    assert found.n == len(found.samples) == len(found.weight) == n
    assert steps == [(min(k, n), n) for k in range(4, n + 4, 4)]


def test_the_same_seed_gives_the_same_inversion(lm, gen) -> None:
    a, b, c = (invert(lm, gen, "the cat", site=SITE, n=30, seed=s) for s in (0, 0, 1))
    assert a.samples == b.samples != c.samples
    np.testing.assert_array_equal(a.weight, b.weight)


def test_batches_of_neighbouring_seeds_are_different_draws(lm, gen, monkeypatch) -> None:
    monkeypatch.setattr(_measuring, "BATCH", 10)
    a, b = (invert(lm, gen, "the cat", site=SITE, n=20, seed=s).samples for s in (0, 10))
    assert a[10:] != b[:10]
    assert a[:10] != a[10:]


# -- enough samples --------------------------------------------------------------------------------


def test_drawing_stops_once_enough_samples_count(lm, table, monkeypatch) -> None:
    monkeypatch.setattr(_measuring, "BATCH", 20)
    known, P = table
    oracle = TableGenerator(known, P, lambda posterior: posterior.p)  # every sample counts fully
    how = {"site": SITE, "bandwidth": 0.5, "n": 90, "seed": 4}
    whole = invert(lm, oracle, "Mary gave the dog", **how)
    assert (whole.n, whole.stopped) == (90, "")
    for ess, n in ((1, 20), (19, 20), (21, 40), (59, 60), (90, 90)):
        found = invert(lm, oracle, "Mary gave the dog", **how, ess=ess)
        assert found.n == len(found.weight) == n
        assert found.samples == whole.samples[:n]
        np.testing.assert_allclose(found.d, whole.d[:n], atol=1e-5)
        assert found.ess >= 0.99 * ess
        words = f"stopped after {n} of at most 90" if n < 90 else "all 90 samples were drawn: 90 effective ones"
        assert found.stopped.startswith(words)
        assert f"{ess} " in found.stopped
        assert found.stopped in found.summary()
        assert found.reweight(0.6).stopped == found.stopped


def test_rates_of_samples_that_were_enough_are_not_biased(lm, table, monkeypatch) -> None:
    """Whether to stop is decided by the very weights that the rate is made of."""
    monkeypatch.setattr(_measuring, "BATCH", 30)
    known, P = table
    tilt = np.random.default_rng(0).uniform(0.2, 1.0, len(known.inputs))
    crooked = TableGenerator(known, P, lambda posterior: tilt * (posterior.p + 0.5 / len(tilt)))
    exact = known.posterior("Mary gave the dog", 0.4)
    truth = sum(p for p, x in zip(exact.p, known.inputs, strict=True) if "dog" in lm.decode(x))
    rates, numbers = [], set()
    for seed in range(80):
        found = invert(
            lm, crooked, "Mary gave the dog", site=SITE, bandwidth=0.4, n=240, ess=40, seed=seed, bank=0, progress=False
        )
        rates.append(sum(w for w, t in zip(found.weight, found.texts, strict=True) if "dog" in t))
        numbers.add(found.n)
    assert len(numbers) > 1, "it depends on the samples when they are enough"
    assert max(numbers) < 240
    assert np.mean(rates) == pytest.approx(truth, abs=4 * np.std(rates) / math.sqrt(80) + 0.01)


def test_samples_that_count_little_are_drawn_to_the_end(lm, table, monkeypatch) -> None:
    monkeypatch.setattr(_measuring, "BATCH", 20)
    known, P = table
    tilt = np.random.default_rng(0).uniform(0.01, 1.0, len(known.inputs)) ** 3
    crooked = TableGenerator(known, P, lambda posterior: tilt)
    how = {"site": SITE, "bandwidth": 0.3, "n": 90, "seed": 4}
    whole, found = (invert(lm, crooked, "Mary gave the dog", **how, **more) for more in ({}, {"ess": 60}))
    assert found.samples == whole.samples
    np.testing.assert_allclose(found.weight, whole.weight, rtol=1e-5)  # d is of float32 and of other batches
    assert found.ess < 60
    assert found.stopped == (f"all 90 samples were drawn: {found.ess:.0f} effective ones, 60 would have been enough")
    failed = TableGenerator(known, P.cut_at("end"), lambda posterior: np.full(len(posterior.p), 1.0))
    monkeypatch.setattr(failed.prompts, "log_probs", lambda inputs, lm: [-math.inf] * len(inputs))
    assert invert(lm, failed, "Mary gave the dog", **how, ess=2).n == 90


def test_samples_with_and_without_a_stop_are_the_same(lm, trained, monkeypatch) -> None:
    monkeypatch.setattr(_measuring, "BATCH", 8)
    how = {"site": SITE, "bandwidth": 1.0, "n": 64, "seed": 2}
    whole = invert(lm, trained, "the cat", **how)
    found = invert(lm, trained, "the cat", **how, ess=8)
    assert 8 < found.n < 64
    assert found.samples == whole.samples[: found.n]
    for name in ("d", "log_q", "log_prior"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name)[: found.n], rtol=1e-4, atol=1e-5)
    first = [invert(lm, trained, "the cat", **{**how, "n": n}) for n in (found.n, found.n - 8)]
    assert first[0].ess == pytest.approx(found.ess, rel=1e-4)
    assert first[0].ess >= 8 > first[1].ess, "one batch fewer was not enough"


@pytest.mark.parametrize("ess", [None, 8])
def test_sampling_ahead_changes_nothing(lm, trained, monkeypatch, ess) -> None:
    """What a GPU does: the next batch is sampled in another thread while one is re-run."""
    monkeypatch.setattr(_measuring, "BATCH", 8)
    real, threads = trained.sample, set()

    def sample(*args, **kwargs):
        threads.add(threading.current_thread())
        return real(*args, **kwargs)

    monkeypatch.setattr(trained, "sample", sample)
    how = {"site": SITE, "bandwidth": 1.0, "n": 64, "seed": 2, "ess": ess}
    if ess is None:  # measured batch by batch, as it is ahead
        how["ess"] = 64
    alone = invert(lm, trained, "the cat", **how)
    assert threads == {threading.main_thread()}
    threads.clear()
    monkeypatch.setattr(_measuring, "_overlaps", lambda lm: True)
    ahead = invert(lm, trained, "the cat", **{**how, "ess": ess})
    assert threads
    assert threading.main_thread() not in threads
    assert ahead.samples == alone.samples
    for name in ("d", "log_q", "log_no_condition", "log_prior", "relative_norm", "cosine", "weight"):
        np.testing.assert_array_equal(getattr(ahead, name), getattr(alone, name))
    assert all(map(np.array_equal, ahead.token_log_q, alone.token_log_q))
    assert ahead.n == 64 if ess is None else ahead.n < 64


@pytest.mark.parametrize("overlaps", [False, True])
def test_what_fails_while_sampling_reaches_the_caller(lm, trained, monkeypatch, overlaps) -> None:
    monkeypatch.setattr(_measuring, "BATCH", 8)
    monkeypatch.setattr(_measuring, "_overlaps", lambda lm: overlaps)
    cancel, before = threading.Event(), threading.active_count()
    with pytest.raises(Cancelled):
        invert(lm, trained, "the cat", site=SITE, n=64, cancel=cancel, on_progress=lambda *_: cancel.set())
    real, done = trained.sample, []

    def sample(*args, **kwargs):
        done.append(1)
        if len(done) == 3:
            raise RuntimeError("the third batch")
        return real(*args, **kwargs)

    monkeypatch.setattr(trained, "sample", sample)
    with pytest.raises(RuntimeError, match="the third batch"):
        invert(lm, trained, "the cat", site=SITE, n=64)
    assert len(done) == 3
    assert threading.active_count() == before


def test_the_pick_may_be_given_in_any_form(lm, gen) -> None:
    ids = lm.encode("the cat is").rows()[0]
    forms = ["the cat is", Prompt("the cat is"), ids, tuple(ids), np.array(ids), torch.tensor(ids), torch.tensor([ids])]
    found = [invert(lm, gen, form, site=SITE, n=4) for form in forms]
    assert all(x.prompt_ids == ids and x.samples == found[0].samples for x in found)
    cut_short = [
        invert(lm, gen, "the cat is in", site=s, position=p, n=4) for s, p in (("resid_post.1", 3), (SITE, -2))
    ]
    assert all(x.prompt_ids == ids and x.position == 3 for x in cut_short)
    assert (cut_short[0].tokens, str(cut_short[0].text)) == (["<bos>", "the", "cat", "is"], "the cat is")


def test_another_prior_may_be_given(lm, gen) -> None:
    other = PromptDistribution.from_texts(["the cat", "a dog"], cut="end", name="two")
    found = invert(lm, gen, "the cat", site=SITE, n=20, prior=other)
    assert found.prompts_name == "two"
    assert "two" in found.summary()
    outside = invert(lm, gen, "the cat is", site=SITE, n=20, prior=other)
    assert outside.verdict == Verdict.OUTSIDE_PROMPT_DISTRIBUTION


def test_a_prior_that_cannot_score_is_replaced_and_named(lm, gen) -> None:
    class Unscored(PromptDistribution):
        name, cut = "mystery", "end"

    found = invert(lm, gen, "the cat", site=SITE, n=20, prior=Unscored())
    assert not found.prior_is_exact
    run = np.isfinite(found.d)
    np.testing.assert_allclose(found.log_prior[run], found.log_no_condition[run])
    assert "the generator's own prior, for mystery" in found.summary()


def test_inputs_that_the_prompts_cannot_make_are_said_to_be_outside(lm, gen) -> None:
    assert invert(lm, gen, "Mary is a cat", site=SITE, n=10).verdict == Verdict.OUTSIDE_PROMPT_DISTRIBUTION
    without_bos = lm.encode("the cat").rows()[0][1:]
    for prior in (None, type("P", (PromptDistribution,), {"name": "p", "cut": "end"})()):
        found = invert(lm, gen, [without_bos], site=SITE, n=10, prior=prior)
        assert found.verdict == Verdict.OUTSIDE_PROMPT_DISTRIBUTION


def test_a_constant_site_is_called_constant(lm) -> None:
    P = PromptDistribution.from_texts(["the cat is", "a dog is"], cut="end")
    gen = build_generator(lm, ["resid_pre.0"], P, SMALL)
    found = invert(lm, gen, "the cat is", site="resid_pre.0", n=20)
    assert found.verdict == Verdict.CONSTANT
    assert np.isfinite(found.d[found.on_support]).all()


@pytest.mark.parametrize("bos", ["none", "unused", "added"])
def test_every_kind_of_beginning_can_be_inverted(bos) -> None:
    lm = model_for(byte_level_tokenizer(bos=bos))
    P = PromptDistribution.from_templates(["{A} likes {B}."], {"A": ["Ann", "Bob"], "B": ["tea", "coffee"]})
    config = TrainingConfig(
        steps=40, batch_size=24, width=16, n_tokens=2, n_blocks=1, n_heads=2, statistics_samples=64, held_out=4,
        eval_every=40, lr=1e-2, adapter_lr=1e-2, warmup=3, backbone="small",
    )  # fmt: skip
    gen = train_generator(lm, "resid_post.1", P, config=config)
    found = invert(lm, gen, "Ann likes tea", site="resid_post.1", bandwidth=1.0, n=60)
    assert found.picked_on_support
    assert found.off_support_share < 1
    assert all((x[:1] == [lm.bos_id]) == (bos == "added") for x in found.samples if x)
    assert [len(row) for row in found.token_information()] == [len(x) for x in found.samples]
    assert found.tokens[0] == ("<end>" if bos == "added" else lm.token_strings(found.prompt_ids)[0])


def test_samples_that_do_not_end_are_kept_and_weigh_nothing(lm) -> None:
    gen = build_generator(lm, [SITE], texts(), SMALL)
    gen.backbone.get_output_embeddings().weight.data[2] = 0
    gen.backbone.get_output_embeddings().weight.data[5] *= 50
    found = invert(lm, gen, "the cat", site=SITE, n=30)
    assert found.verdict == Verdict.INVERTER_FAILED
    assert [len(row) for row in found.token_information()] == [len(x) for x in found.samples]
    assert np.isinf(found.d).any()


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"site": "resid_pots.1"}, UnknownSite, "Did you mean"),
        ({"site": "resid_post.9"}, UnknownSite, "unknown site|no layer|layer"),
        ({"site": "blocks.0.attn.hook_z.77"}, UnknownSite, "head"),
        ({"site": "resid_post.0"}, UnknownSite, "not trained for"),
        ({"prompt": ""}, BadPrompt, "empty"),
        ({"prompt": []}, BadPrompt, "no prompt"),
        ({"prompt": None}, BadPrompt, "cannot be"),
        ({"prompt": 5}, BadPrompt, "cannot be"),
        ({"prompt": 2.5}, BadPrompt, "cannot be"),
        ({"prompt": ["the", "cat"]}, BadPrompt, "one prompt at a time"),
        ({"prompt": "the zebra"}, BadPrompt, "zebra"),
        ({"prompt": [1, 999]}, BadPrompt, "does not exist"),
        ({"prompt": [1, -1]}, BadPrompt, "does not exist"),
        ({"prompt": "the " * 60}, BadPrompt, "context"),
        ({"prompt": [1]}, BadPrompt, "only BOS"),
        ({"position": 0}, BadPrompt, "only BOS"),
        ({"position": 3}, InvalidArgument, "outside the prompt of 3 tokens"),
        ({"position": -4}, InvalidArgument, "outside"),
        ({"position": 1.5}, InvalidArgument, "whole number"),
        ({"position": None}, InvalidArgument, "whole number"),
        ({"bandwidth": 0}, InvalidArgument, "> 0"),
        ({"bandwidth": -1}, InvalidArgument, "> 0"),
        ({"bandwidth": math.nan}, InvalidArgument, "> 0"),
        ({"bandwidth": 0.001}, InvalidArgument, r"0\.02 to 1"),
        ({"bandwidth": 2.0}, InvalidArgument, r"0\.02 to 1"),
        ({"n": 0}, InvalidArgument, "at least 1"),
        ({"n": -3}, InvalidArgument, "at least 1"),
        ({"n": 2.5}, InvalidArgument, "at least 1"),
        ({"n": True}, InvalidArgument, "at least 1"),
        *(({"ess": bad}, InvalidArgument, "number from 1 to n=4") for bad in (0, -1, 5, math.nan, True, "many")),
        ({"prior": "a text"}, InvalidArgument, "PromptDistribution"),
    ],
)
def test_bad_input_is_explained(lm, gen, changes, error, says) -> None:
    arguments = {"prompt": "the cat", "site": SITE, "n": 4, **changes}
    with pytest.raises(error, match=says) as raised:
        invert(lm, gen, arguments.pop("prompt"), **arguments)
    assert raised.value.hint, "what is allowed, or what to do"


def test_a_pick_that_is_too_long_for_the_generator_is_refused(lm) -> None:
    short = build_generator(lm, SITE, PromptDistribution.from_texts(["the dog"]), replace(SMALL, backbone="small"))
    room = short.longest_input
    words = " ".join(["the dog"] * 10)
    assert room < len(lm.encode(words).rows()[0])
    for what in (invert, token_information):
        with pytest.raises(BadPrompt, match=f"reads at most {room}"):
            what(lm, short, words, site=SITE)
    with pytest.raises(BadPrompt, match=f"an input of P\\(X\\) has .* reads at most {room}"):
        channel_bits(lm, short, SITE, prompts=PromptDistribution.from_texts(["the dog", words], cut="end"), n=16)


def test_a_sample_with_tokens_that_the_target_has_not_is_no_text(lm) -> None:
    assert picking.text_of(lm, lm.encode("the cat").rows()[0]) == "the cat"
    assert picking.text_of(lm, [1, lm.vocab_size]) == ""


def test_a_generator_of_another_model_is_refused(gen) -> None:
    other = load_model((tiny_model("llama", seed=5), word_tokenizer()))
    with pytest.raises(GeneratorMismatch, match="another model"):
        invert(other, gen, "the cat", site=SITE, n=4)


def test_an_inversion_is_cancelled(lm, gen, monkeypatch) -> None:
    monkeypatch.setattr(_measuring, "BATCH", 4)
    event = threading.Event()
    done = []

    def stop(k, n, message):
        done.append(k)
        event.set()

    with pytest.raises(Cancelled):
        invert(lm, gen, "the cat", site=SITE, n=400, on_progress=stop, cancel=event)
    assert done == [4]
