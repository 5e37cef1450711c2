"""Proposed hypotheses: what a target was built to hold is proposed, noise has none, evidence as worked out by hand."""

from __future__ import annotations

import doctest
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from known_answer import Copy, adding_target, copying_target, label, sum_label
from test_fixed import HELD, PRIOR, exactly, lengths_null, null, written
from test_inversion import TableGenerator

import inversescope_nb as isn
from inversescope_nb import _candidates, _halves, _statistics, _token_candidates, _worded, _wording, proposals, proposed
from inversescope_nb._candidates import candidates_of
from inversescope_nb._statistics import effective_sample_size, fisher, truncate, wilson
from inversescope_nb.errors import FeatureError, InvalidArgument
from inversescope_nb.exact import activation_table
from inversescope_nb.features import Feature, InputText
from inversescope_nb.inversion import Inversion, Verdict, invert
from inversescope_nb.proposals import LEVEL, propose

_MODULES = (_statistics, _candidates, _halves, _token_candidates, _worded, _wording, proposed)


@pytest.mark.parametrize("module", [*_MODULES, pytest.param(proposals, marks=pytest.mark.slow)])
def test_docstring_examples_run(module) -> None:
    assert doctest.testmod(module).failed == 0


def with_prior(inv: Inversion, prior: list[str]) -> Inversion:
    """A written inversion whose inputs of P(X) know their tokens."""
    texts = [InputText(p, ("<bos>", *p.split()), ids) for p, ids in zip(prior, inv.prior_inputs, strict=True)]
    return replace(inv, prior_texts=texts)


def told(picked: str, samples: list[str], prior: list[str], log_weight=0.0, **changes) -> Inversion:
    return with_prior(written(picked, samples, prior, log_weight, **changes), prior)


def names(found: proposals.Proposals) -> list[str]:
    return [feature.name for feature in found.features]


# -- the test ---------------------------------------------------------------------------------------


def test_fishers_test_is_that_of_a_table_worked_out_by_hand() -> None:
    # 3 of 4 against 1 of 4, the tea-tasting table: (16 + 1) / 70
    assert fisher(0.75, 4, 0.25, 4) == pytest.approx(17 / 70)
    assert fisher(0.0, 4, 0.5, 4) == 1
    assert fisher(0.74, 4.9, 0.26, 4.9) == pytest.approx(fisher(0.5, 4, 0.5, 4)), "rounded so that they differ less"


@pytest.mark.parametrize("spread", [0.0, 1.0, 1.5])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_the_test_holds_its_level_for_weighted_samples(spread, share) -> None:
    rng = np.random.default_rng(int(100 * share))
    weights = truncate(np.exp(rng.normal(0, spread, (1000, 64))))
    near, usual = rng.random((1000, 64)) < share, rng.random((1000, 128)) < share
    p = [
        fisher(w @ n, effective_sample_size(w), u.mean(), len(u)) for w, n, u in zip(weights, near, usual, strict=True)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)


# -- what is found ----------------------------------------------------------------------------------


def test_a_held_token_is_proposed_with_its_evidence() -> None:
    found = propose(told("a b c .", HELD * 8, PRIOR * 4))
    assert names(found) == ["token at 1"]
    (first,) = found
    assert first.feature(InputText("a x", ("<bos>", "a", "x"))) == "a"
    assert (first.label, first.words) == ("a", "begins with “a”")
    assert first.share == 1
    n_tests = found.n_tested
    # 8 of the 128 samples are copies; all weigh alike
    assert found.ess == pytest.approx(60)
    low, high = wilson(1.0, 60, 1 - LEVEL / n_tests)
    assert (first.low, first.high) == pytest.approx((low, high))
    # one length: each of the 63 others of P(X), 4 times
    assert first.prior == pytest.approx(15 / 63, abs=0.1)
    assert first.by_length == pytest.approx(first.prior)
    m = found.n_prior
    assert first.p_value == pytest.approx(n_tests * fisher(1.0, 60, first.prior, m))
    assert first.sentence.startswith("Begins with “a”: 100\u202f% of the inputs near the activation (")
    assert "tested on the other (60 effective samples, 126 inputs of P(X)" in found.sentence
    assert found.to_frame()["feature"].tolist() == ["token at 1"]


def test_a_token_at_no_fixed_place_is_proposed_as_present_and_one_that_lacks_as_absent() -> None:
    rng = np.random.default_rng(0)
    prior = [" ".join(rng.permutation([*p.split()[:3], "e"])) for p in PRIOR]
    samples = [p for p in prior if "a" in p and p != "a e d c"]
    found = propose(told("a e d c", samples * 8, prior * 4))
    assert names(found) == ["contains 'a'"]
    assert found[0].words == "has “a”"
    without = [p for p in PRIOR if "d" not in p]
    found = propose(told("a b c .", without * 6, PRIOR * 4))
    assert names(found) == ["contains 'd'"]
    assert found[0].label == "False"
    assert found[0].words == "has no “d”"


def test_what_a_stronger_one_explains_is_folded_into_it() -> None:
    prior = [f"{x} {y} ." for x in ("a b", "b a", "c d", "e f", "f e") for y in ("a b", "c d", "d c", "g h", "h g")]
    found = propose(told("a b g h .", ["a b d c .", "a b c d .", "a b h g .", "a b e f ."] * 20, prior * 8))
    assert found[0].words == "has “a b”" or found[0].feature.name.startswith("token at")
    assert len(found) <= 2, names(found)
    folded = [name for one in found for name in one.folded]
    assert len(folded) > 3
    assert not set(folded) & set(names(found))


def test_given_features_come_first_and_say_the_label() -> None:
    vowel = Feature("first is a vowel", lambda text: text[:1] in "aeiou")
    kind = Feature("first letter", lambda text: text[:1] or None)
    undefined = Feature("seventh", lambda text: text.split()[6] if len(text.split()) > 6 else None)
    found = propose(told("a b c .", HELD * 8, PRIOR * 4), [undefined, kind, vowel])
    assert names(found) == ["first letter"]
    assert found[0].words == "same first letter: “a”"
    assert {"first is a vowel", "token at 1"} <= set(found[0].folded)


def test_a_pair_is_proposed_where_only_both_together_are_held() -> None:
    """As an exclusive or: each token of the first two is there half of the time, both or neither always."""
    prior = [f"{x} {y} {z} ." for x in "ab" for y in "cd" for z in "efgh"]
    near = [p for p in prior if (p[0] == "a") == (p[2] == "c")]
    found = propose(told("a c e .", near * 24, prior * 16))
    assert names(found)[0] in ("(token at 1, token at 2)", "(contains 'a', contains 'c')", "contains 'a c'")
    assert len(found) == 1


def test_at_most_as_many_as_asked_for_and_the_same_for_the_same_seed() -> None:
    prior = [f"{x} {y} {z} ." for x in "abcd" for y in "efgh" for z in "ijkl"]
    inv = told("a e i .", ["a e j .", "a e k .", "a e l ."] * 30, prior * 4)
    assert len(propose(inv)) == 2
    assert len(propose(inv, limit=1)) == 1
    assert names(propose(inv)) == names(propose(inv, seed=0))
    assert [p.share for p in propose(inv, seed=3)] == [1, 1]


# -- known answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rotation", [None, 7])
def test_the_token_that_a_target_copies_is_proposed_and_no_other(rotation) -> None:
    known = copying_target("one of 3", 3, 3, [Copy(1)], (0.35,), rotation)
    for seed in range(3):
        found = propose(exactly(known, "a0 b0 c0 .", 0.35, seed=seed))
        assert names(found) == ["token at 2"], found
        assert found[0].share == 1


def test_two_held_tokens_are_two_proposals() -> None:
    known = copying_target("two of 4", 4, 3, [Copy(0), Copy(2)], (0.35,), None)
    assert sorted(names(propose(exactly(known, "a0 b0 c0 a0 .", 0.3)))) == ["token at 1", "token at 3"]


def test_a_sum_is_proposed_where_it_is_given_and_its_terms_are_not() -> None:
    known = adding_target("sum", 3, None)
    inv = exactly(known, "a0 b0 c0 .", 0.35, n=512)
    found = propose(inv, [sum_label(3), *(label(i) for i in range(3))])
    assert names(found)[0] == "sum"
    assert not {f"class ({i},)" for i in range(3)} & set(names(found))


# -- against another inversion ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_what_both_activations_hold_is_not_proposed_between_them(seed) -> None:
    known = copying_target("two of 4", 4, 3, [Copy(0), Copy(2)], (0.35,), None)
    first, second = (exactly(known, picked, 0.3, seed=seed) for picked in ("a0 b0 c0 a0 .", "b0 b0 c0 a0 ."))
    assert sorted(names(propose(first))) == ["token at 1", "token at 3"]
    found = propose(first, against=second)
    assert names(found) == ["token at 1"], "c0 is held by both"
    assert (found[0].share, found[0].prior, found[0].against) == (1, 0, "the other activation")
    assert found[0].sentence.endswith("0\u202f% of those near the other activation.")
    assert "inputs near the other activation; " in found.sentence
    assert names(propose(first, against=first)) == []


def test_what_the_other_lacks_is_proposed_by_its_weighted_share() -> None:
    # near the other one input in two begins with "a", but those with "a" weigh three times as much: 3 in 4
    texts = ["a b d .", "b b d ."] * 64
    other = told("d d d .", texts, PRIOR * 4, np.log([3.0, 1.0] * 64))
    held = told("a b c .", ["a b d ."] * 120, PRIOR * 4)
    found = {p.feature.name: p for p in propose(held, against=other)}
    assert set(found) == {"token at 1", "contains 'a'"}, "near the other the two go together: neither is surer"
    assert found["token at 1"].prior == pytest.approx(0.75, abs=0.1), "the half that it is tested on, drawn at random"
    # of two weights, 1 and 3: 64 samples are worth 64 * 4**2 / (2 * (1 + 9)), of each half
    assert propose(held, against=other).n_prior == pytest.approx(64 * 16 / 20, abs=4)


def test_nothing_is_proposed_between_two_draws_of_one_noise() -> None:
    tested, wrong = 0, 0
    for seed in range(60):
        first, second = (noise(null, s, spread=1.0) for s in (seed, seed + 1000))
        second = replace(second, prompt_ids=first.prompt_ids, tokens=first.tokens, text=first.text)
        found = propose(first, against=second)
        assert not found.doubt
        tested += found.n_tested
        wrong += len(found) > 0
    assert tested > 0
    assert wrong <= LEVEL * 60


def test_the_other_inversion_is_checked_and_doubted_as_the_first_is() -> None:
    good = told("a b c .", HELD * 4, PRIOR)
    rough = told("b b c .", HELD * 4, PRIOR, np.log([1e6, *[1.0] * 63]))
    assert propose(good, against=rough).sentence.startswith("Nothing can be proposed: of the other inversion, only 1.0")
    for call, says in (
        (lambda: propose(good, against=5), "a int is no inversion"),
        (lambda: propose(good, against=replace(good, prompts_name="other")), "two P(X), "),
    ):
        with pytest.raises(InvalidArgument, match=re.escape(says)):
            call()


# -- nulls ------------------------------------------------------------------------------------------


def noise(make, seed: int, **how) -> Inversion:
    inv = make(seed, **how)
    words = {i: w for t in [inv.text, *inv.texts] for i, w in zip(t.token_ids, t.tokens, strict=True)}
    texts = [InputText(" ".join(words.get(i, f"u{i}") for i in x[1:]), [words.get(i, f"u{i}") for i in x], x)
             for x in inv.prior_inputs]  # fmt: skip
    return replace(inv, prior_texts=texts)


@pytest.mark.parametrize("spread", [0.0, 1.0, 1.5])
def test_nothing_is_proposed_in_noise(spread) -> None:
    tested, wrong = 0, 0
    for seed in range(60):
        found = propose(noise(null, seed, spread=spread))
        tested += found.n_tested
        wrong += len(found) > 0
    assert tested > 0, "there is something to test"
    assert wrong <= LEVEL * 60, "at most the level, of 60"


@pytest.mark.parametrize("words", [5, 10])
def test_an_activation_that_holds_the_length_alone_has_nothing_but_the_length_proposed(words) -> None:
    """The samples are 12 tokens long, the picked input 8; P(X)'s inputs are 4, 8 or 12."""
    found = [propose(noise(lengths_null, seed, words=words)) for seed in range(20)]
    others = [p for one in found for p in one if p.feature.name != "at least 9 tokens"]
    assert len(others) < sum(map(len, found)), "8 words and BOS, or more, is what they share"
    assert len(others) <= 1, others


def test_a_target_that_holds_nothing_has_no_proposals_at_the_rate_of_the_level() -> None:
    known = copying_target("one of 3", 3, 3, [Copy(1)], (0.35,), None)
    table = activation_table(known.lm, known.prompts, known.site, progress=False)
    # proposals as P(X) has them, weighed as if all lay at one distance
    gen = TableGenerator(table, known.prompts, lambda exact: np.full(len(exact.p), 1 / len(exact.p)))
    wrong = 0
    for seed in range(40):
        inv = invert(known.lm, gen, "a0 b0 c0 .", site=known.site, bandwidth=0.35, n=128, seed=seed, progress=False)
        found = propose(replace(
            inv, d=np.zeros(inv.n), log_prior=inv.log_q - 9.0, picked_log_prior=-99.0,
            prior_d=np.full(len(inv.prior_d), 9.0), bank_marks=np.zeros(len(inv.prior_d), dtype=int),
        ))  # fmt: skip
        assert not found.doubt
        wrong += len(found) > 0
    assert wrong <= LEVEL * 40


# -- where nothing can be proposed ------------------------------------------------------------------


def test_no_proposal_is_made_where_the_inversion_is_not_to_be_believed() -> None:
    good = told("a b c .", HELD[:6] * 9, PRIOR)
    heavy = np.log([1e6, *[1.0] * 63])
    cases = {
        "the generator missed": replace(good, picked_log_prior=50.0),
        "only 1.0 effective": told("b b c .", HELD * 4, PRIOR, heavy),
        "lies outside P(X)": replace(good, picked_on_support=False),
        "is the same for every input": replace(good, is_constant=True),
        "too few to be halved": told("b b c .", HELD[:6], PRIOR),
        "the picked input itself": told("a b c .", ["a b c ."] * 95 + ["a b d ."] * 4, PRIOR),
    }
    for says, inv in cases.items():
        found = propose(inv)
        assert (len(found), found.n_tested) == (0, 0)
        assert found.sentence.startswith("Nothing can be proposed: ")
        assert says in found.sentence
    same = replace(told("a b c .", PRIOR * 4, PRIOR), log_prior=np.zeros(256), picked_log_prior=-9.0)
    assert same.verdict == Verdict.NO_INFORMATION
    assert "as P(X) has them" in propose(same).sentence


def test_none_found_says_how_many_were_looked_at() -> None:
    found = propose(told("a b c .", PRIOR * 4, PRIOR * 4, log_weight=0.0))
    assert len(found) == 0
    assert found.sentence.startswith("Nothing to propose: ")
    assert str(found.n_tested or found.n_candidates) in found.sentence


def test_what_is_given_is_checked() -> None:
    inv = told("a b c .", HELD * 4, PRIOR)
    for call, says in (
        (lambda: propose(5), "a int is no inversion"),
        (lambda: propose(inv, prior="a b"), "prior is a str"),
        (lambda: propose(inv, prior=["a b"]), "does not know its tokens"),
        (lambda: propose(replace(inv, prior_texts=[])), "no inputs of P(X)"),
        (lambda: propose(inv, limit=0), "limit=0"),
        (lambda: propose(inv, level=2), "level=2"),
        (lambda: propose(inv, ["a"]), "no feature"),
    ):
        with pytest.raises(InvalidArgument) as raised:
            call()
        assert says in str(raised.value)
        assert raised.value.hint
    with pytest.raises(FeatureError):
        propose(inv, Feature("broken", lambda text: 1 / 0))


# -- candidates and the packaged model ----------------------------------------------------------------


def test_candidates_name_what_the_picked_input_has() -> None:
    pick = InputText("Mary saw 12", ("<bos>", "Mary", " saw", " 12"), (0, 1, 2, 3))
    found = candidates_of(pick, (), [InputText("John saw 12", ("<bos>", "John", " saw", " 12"), (0, 4, 2, 3))], first=1)
    words = {c.words for c in found}
    assert {"has “Mary”", "begins with “Mary”", "ends with “12”", "has “Mary␣saw”", "has no “John”"} <= words
    assert {"token 2 is “saw”", "the 2nd token from the end is “saw”", "has 4 tokens (BOS counted)"} <= words
    assert {"has “Mary” and has “12”", "begins with “Mary” and token 3 is “12”"} <= words
    assert all(c.feature(pick) is not None for c in found)


def test_every_proposal_has_code_that_makes_its_feature(packaged) -> None:
    lm, gen = packaged
    inv = isn.invert(lm, gen, "4 3 7 + 5 6 8 =", site="resid_post.0", bandwidth=0.3, n=256, progress=False)
    found = isn.propose(inv, isn.tasks.addition().features.values())
    assert len(found) > 0
    for proposal in found:
        again = eval(proposal.feature.code, {"isn": isn})
        assert again == proposal.feature or again.name == proposal.feature.name
        assert again.labels(inv.texts) == proposal.feature.labels(inv.texts)
        assert math.isclose(proposal.share, proposal.share)


@pytest.fixture(scope="module")
def packaged():
    return isn.load_model(), isn.load_generator()
