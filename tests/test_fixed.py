"""What an activation fixes: targets that hold what they were built to hold, shares by hand, and no finds in noise."""

from __future__ import annotations

import doctest
import math
import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from known_answer import Copy, adding_target, copying_target
from test_inversion import TableGenerator, by_hand

import inversescope_nb as isn
from inversescope_nb import _fixed_states, _fixed_words, fixing
from inversescope_nb._statistics import wilson
from inversescope_nb.errors import InvalidArgument
from inversescope_nb.exact import activation_table
from inversescope_nb.features import InputText
from inversescope_nb.fixing import STATES, Fixed, fixed
from inversescope_nb.inversion import Inversion, Verdict, invert

BITS = 5.0


@pytest.mark.parametrize("module", [_fixed_states, _fixed_words, pytest.param(fixing, marks=pytest.mark.slow)])
def test_docstring_examples_run(module) -> None:
    assert doctest.testmod(module).failed == 0


# -- inversions written down -------------------------------------------------------------------------


def written(picked: str, samples: list[str], prior: list[str], log_weight=0.0, **changes) -> Inversion:
    """An inversion with samples and inputs of P(X) written as words behind a BOS; all weigh alike unless told."""
    vocabulary = {w: i for i, w in enumerate(dict.fromkeys(" ".join(["<bos>", picked, *samples, *prior]).split()))}

    def ids(text: str) -> list[int]:
        return [0, *(vocabulary[w] for w in text.split())]

    def text(words: str) -> InputText:
        return InputText(words, ("<bos>", *words.split()), ids(words))

    n, given = len(samples), [ids(s) for s in samples]
    fields = {
        "prompt_ids": ids(picked), "tokens": ["<bos>", *picked.split()], "text": text(picked), "samples": given,
        "position": len(picked.split()), "texts": [text(s) for s in samples], "log_q": np.zeros(n),
        "log_no_condition": np.zeros(n), "log_prior": np.broadcast_to(log_weight, n) - BITS * math.log(2),
        "d": np.zeros(n), "relative_norm": np.zeros(n), "cosine": np.ones(n),
        "token_log_q": [np.zeros(len(x)) for x in given],
        "token_log_no_condition": [np.full(len(x), -1.0) for x in given],
        "picked_log_prior": -50.0, "picked_log_q": 0.0,
        "prior_inputs": [ids(p) for p in prior], "prior_d": np.full(len(prior), 9.0),
        "bank_own": np.array([p == picked for p in prior], dtype=bool), "bank_log_ratio": np.full(len(prior), math.nan),
        "bank_marks": np.zeros(len(prior), dtype=int),
    }  # fmt: skip
    return by_hand(**{**fields, **changes})


def state_of(found: Fixed) -> dict[str, str]:
    return {token.token: token.state for token in found.tokens}


PRIOR = [f"{a} {b} {c} ." for a in "abcd" for b in "abcd" for c in "abcd"]
HELD = [p for p in PRIOR if p[0] == "a"]


def test_shares_are_those_worked_out_by_hand() -> None:
    found = fixed(written("a b c .", ["a b c .", "a b d .", "c b d .", "a c c ."], PRIOR, np.log([4, 1, 1, 2])))
    assert [t.token for t in found.tokens] == ["a", "b", "c", "."]
    assert [t.position for t in found.tokens] == [1, 2, 3, 4]
    frame = found.to_frame()
    # the copy, of half the weight, is left out; the largest weight that is kept is mean * sqrt(4) = 4
    np.testing.assert_allclose(frame["share"], [0.75, 0.5, 0.5, 1.0])
    np.testing.assert_allclose(frame["share_with_copies"], [7 / 8, 3 / 4, 3 / 4, 1.0])
    np.testing.assert_allclose(frame["anywhere"], [0.75, 0.5 + 0.0, 0.75, 1.0])
    np.testing.assert_allclose(frame["prior"], [15 / 63, 15 / 63, 15 / 63, 1.0])
    np.testing.assert_allclose(frame["anywhere_prior"], [36 / 63, 36 / 63, 36 / 63, 1.0])
    # one length: a random input has a token at its place as often as P(X) has it at any
    np.testing.assert_allclose(fixed(written("a b c .", HELD * 9, PRIOR)).to_frame()["by_length"],
                               [1 / 4, 1 / 4, 1 / 4, 1.0], atol=0.1)  # fmt: skip
    assert found.copies == pytest.approx(0.5)
    assert found.ess == pytest.approx(16 / 6)
    assert found.n_prior == 63
    assert found.level == pytest.approx(1 - 0.05 / 8)
    low, high = wilson(0.75, 16 / 6, found.level)
    assert (frame["low"][0], frame["high"][0]) == pytest.approx((low, high))
    assert found.doubt.startswith("only 2.9 effective samples")


def test_a_held_token_is_pinned_the_others_are_free_and_what_p_gives_is_given() -> None:
    found = fixed(written("a b c .", HELD * 4, PRIOR))
    assert found.states == ("pinned", "free", "free", "given")
    assert found.sentence == "It fixes “a”; of the other 3 tokens 2 are free and 1 is given by P(X) anyway."
    assert str(found) == found.sentence


def test_information_is_the_mean_over_whatever_stands_there() -> None:
    inv = written("a b .", ["a c .", "x a b ."], ["a b .", "b c ."], np.log([3.0, 1.0]))
    ends = [np.array([-0.2, -0.4, 0.0, 0.0]), np.array([-9.0, -0.6, -1.0, 0.0, 0.0])]
    inv = replace(inv, token_log_q=ends, token_log_no_condition=[np.full(len(e), -1.0) for e in ends])
    # truncated at mean * sqrt(2): 2 sqrt(2) and 1; a is aligned with a, c with b; the x stands for nothing
    w = 2 * math.sqrt(2)
    expected = [(w * 0.8 + 0.4) / (w + 1), (w * 0.6 + 0.0) / (w + 1), 1.0]
    np.testing.assert_allclose([t.information for t in fixed(inv, unit="nats").tokens], expected)
    in_bits = [t.information * math.log(2) for t in fixed(inv).tokens]
    np.testing.assert_allclose(in_bits, expected)


def test_a_token_held_at_no_fixed_place_is_said_to_be() -> None:
    samples = ["a c d .", "c a d .", "d c a ."] * 40
    inv = written("a b d .", samples, PRIOR)
    found = fixed(inv)
    assert [t.elsewhere for t in found.tokens] == [True, False, True, False]
    assert found.sentence.startswith("It fixes no single token: holds “a” and “d”, at no fixed place; of the other 2")
    twice = fixed(written("a a b .", ["a c d .", "a d c ."] * 60, PRIOR))
    assert twice.states[0] == "pinned"
    assert not any(t.elsewhere for t in twice.tokens), "the other a is the one that is pinned"
    usual = fixed(written("a b d .", samples, [f"{p[:-1]}a b c d ." for p in PRIOR]))
    assert not any(t.elsewhere for t in usual.tokens), "P(X) always has it somewhere"


def test_a_token_that_few_samples_all_have_at_other_places_is_not_called_free() -> None:
    samples = ["c d a .", "d c a .", "d d a .", "c c a ."]
    a, b, *_ = fixed(written("a b c .", samples * 2, PRIOR)).tokens
    assert a.high < 0.9
    assert (a.anywhere, a.elsewhere, a.elsewhere_open, a.state) == (1.0, False, True, "unknown")
    assert (b.anywhere, b.elsewhere_open, b.state) == (0.0, False, "free")
    a, b, *_ = fixed(written("a b c .", samples * 30, PRIOR)).tokens
    assert (a.elsewhere, a.elsewhere_open, a.state) == (True, False, "free")


def test_what_all_is_fixed_or_given_is_said_shortly() -> None:
    whole = fixed(written("a b c .", ["a b c . .", "x a b c ."] * 40, PRIOR))
    assert whole.sentence == "It fixes the whole input: each of the 3 tokens that P(X) leaves open."
    only = fixed(written("a b c .", ["a b c . .", "x a b c ."] * 40, ["d e f g", "h c d i"] * 60))
    assert only.sentence == "It fixes the whole input: each of its 4 tokens."
    none = fixed(written("a b c .", ["a b c . .", "x a b c ."] * 40, ["x a b c ."] * 99))
    assert none.states == ("given",) * 4
    assert none.sentence == "It has nothing to fix: P(X) gives every token."


def test_long_prompts_give_short_sentences() -> None:
    words = [f"w{i}" for i in range(24)]
    other = [f"o{i}" for i in range(24)]
    longest = " ".join(w * 20 for w in words)
    rng = np.random.default_rng(0)
    prior = [" ".join(o for o in rng.permutation(other)) for _ in range(99)]
    held = [" ".join([*(w * 20 for w in words[:9]), *rng.permutation(other)[:15]]) for _ in range(99)]
    found = fixed(written(longest, held, prior))
    assert Counter(found.states) == {"pinned": 9, "free": 15}
    assert "and 4 more; the other 15 tokens are free." in found.sentence
    assert found.sentence.count("“") == _fixed_words.NAMES
    assert len(found.sentence) <= 200


def test_few_samples_leave_a_token_unknown_rather_than_free() -> None:
    few = fixed(written("a b c .", HELD[:6], PRIOR))
    assert few.states[0] == "leaning", "six of six: more than in P(X), but not surely more than half"
    half = [p for p in PRIOR if p[0] in "ab"]
    even = fixed(written("a b c .", ["a c d .", "a d d .", "b c c .", "a c a .", "a d a .", "a a a ."], half))
    assert even.states[0] == "unknown", "five of six, where P(X) has one in two"
    assert "undecided" in even.sentence


# -- where nothing can be said -----------------------------------------------------------------------


def test_no_claim_is_made_where_the_inversion_is_not_to_be_believed() -> None:
    good = written("a b c .", HELD[:6] * 9, PRIOR)  # no copy among them
    assert good.verdict == Verdict.RELIABLE
    assert fixed(good).states[0] == "pinned"
    heavy = np.log([1e6, *[1.0] * 63])
    cases = {
        "the generator missed": (replace(good, picked_log_prior=50.0), Verdict.INVERTER_FAILED),
        "only 1.0 effective": (written("b b c .", HELD * 4, PRIOR, heavy), Verdict.LOW_ESS),
        "lies outside P(X)": (replace(good, picked_on_support=False), Verdict.OUTSIDE_PROMPT_DISTRIBUTION),
        "no sample": (replace(good, log_prior=np.full(54, -math.inf)), Verdict.INVERTER_FAILED),
        "the posterior is the picked input itself": (
            written("a b c .", ["a b c ."] * 95 + ["a b d ."] * 4, PRIOR), Verdict.RELIABLE,
        ),
    }  # fmt: skip
    for says, (inv, verdict) in cases.items():
        found = fixed(inv)
        assert inv.verdict == verdict, says
        assert set(found.states) == {"unknown"}, says
        assert found.sentence.startswith("Its tokens cannot be judged: "), says
        assert says in found.sentence or says == "no sample"
        assert not any(t.elsewhere for t in found.tokens)


def test_what_says_nothing_fixes_nothing() -> None:
    none = fixed(replace(written("a b c .", PRIOR * 4, PRIOR), log_prior=np.zeros(256), picked_log_prior=-9.0))
    assert none.verdict == Verdict.NO_INFORMATION
    same = fixed(replace(written("a b c .", HELD * 4, PRIOR), is_constant=True))
    for found in (none, same):
        assert found.states == ("free", "free", "free", "given")
        assert found.sentence.startswith("It fixes nothing: ")


def test_few_effective_samples_and_many_copies_are_named() -> None:
    weights = np.log(np.where(np.arange(64) < 9, 1.0, 1e-3))
    few = fixed(written("b b c .", HELD * 4, PRIOR, weights))
    assert few.verdict == Verdict.LOW_ESS
    assert few.sentence.endswith(f"(Roughly: by {few.ess:.0f} effective samples.)")
    copies = fixed(written("a b c .", ["a b c ."] * 60 + HELD * 2, PRIOR))
    assert copies.sentence.startswith(f"Copies of the input aside ({copies.copies:.0%}), it fixes “a”")


def test_what_is_given_is_checked() -> None:
    inv = written("a b c .", HELD * 4, PRIOR)
    for call, says in (
        (lambda: fixed(5), "a int is no inversion"),
        (lambda: fixed([inv]), "a list is no inversion"),
        (lambda: fixed(inv, prior="a b"), "prior is a str"),
        (lambda: fixed(inv, prior=["a b"]), "'a b', which has no token ids"),
        (lambda: fixed(inv, prior=[[]]), "no token ids"),
        (lambda: fixed(inv, prior=[5]), "5, which has no token ids"),
        (lambda: fixed(inv, prior=isn.PromptDistribution.from_texts(["a"])), "prior is a TextPrompts"),
        (lambda: fixed(replace(inv, prior_inputs=[])), "no inputs of P(X) to compare with"),
        (lambda: fixed(inv, unit="bytes"), "no unit of information"),
    ):
        with pytest.raises(InvalidArgument) as raised:
            call()
        assert says in str(raised.value)
        assert raised.value.hint


def test_a_prior_can_be_given_as_ids_or_texts() -> None:
    inv = written("a b c .", HELD * 4, PRIOR)
    narrow = [inv.samples[i] for i in range(16)]
    for prior in (narrow, [np.array(ids) for ids in narrow], inv.texts[:16]):
        found = fixed(inv, prior=prior)
        assert found.states[0] == "given"
        assert found.n_prior == 15, "without the picked input"


def test_bos_is_judged_only_where_it_is_a_token_of_the_input() -> None:
    inv = written("a b c .", HELD * 4, PRIOR)
    assert [t.token for t in fixed(replace(inv, frame=0)).tokens] == inv.tokens
    assert fixed(replace(inv, frame=0)).states[0] == "given"


@pytest.mark.parametrize(
    ("token", "shown"),
    [(" Mary", "“Mary”"), ("\n\n", "“↵↵”"), (" ", "“␣”"), ("a b", "“a␣b”"), ("x" * 40, f"“{'x' * 15}…”")],
)
def test_tokens_are_quoted_so_that_spaces_show(token, shown) -> None:
    assert _fixed_words.quoted(token) == shown


# -- known answers: targets that hold what they were built to hold ------------------------------------


def exactly(known, text: str, bandwidth: float, n: int = 256, **more) -> Inversion:
    """An inversion whose proposals are the exact posterior, so that nothing is learned or missed."""
    table = activation_table(known.lm, known.prompts, known.site, progress=False)
    gen = TableGenerator(table, known.prompts, lambda exact: exact.p)
    return invert(known.lm, gen, text, site=known.site, bandwidth=bandwidth, n=n, progress=False, **more)


@pytest.mark.parametrize("rotation", [None, 7])
def test_the_only_token_that_a_target_holds_is_pinned_and_the_others_are_free(rotation) -> None:
    known = copying_target("one of 3", 3, 3, [Copy(1)], (0.35,), rotation)
    for seed in range(3):
        inv = exactly(known, "a0 b0 c0 .", 0.35, seed=seed)
        found = fixed(inv)
        assert found.states == ("free", "pinned", "free", "given"), found.to_frame()
        assert found.sentence == "It fixes “b0”; of the other 3 tokens 2 are free and 1 is given by P(X) anyway."
        # nine inputs have the b; of the eight that are no copies, two have the a
        np.testing.assert_allclose([t.share for t in found.tokens], [2 / 8, 1, 2 / 8, 1], atol=0.1)


def test_two_of_four_are_pinned() -> None:
    known = copying_target("two of 4", 4, 2, [Copy(0), Copy(2)], (0.35,), None)
    assert fixed(exactly(known, "a0 b0 b0 a0 .", 0.3)).states == ("pinned", "free", "pinned", "free", "given")


def test_a_weak_token_is_pinned_only_at_narrow_bandwidths() -> None:
    known = copying_target("weak", 3, 3, [Copy(2, 0.3), Copy(0)], (0.1, 0.7), None)
    states = [fixed(exactly(known, "a0 b0 c0 .", eps)).states[2] for eps in (0.1, 0.35, 0.7)]
    # its rate, copies counted, is 1.00, 0.58 and 0.39 by formula, its chance 1/3
    assert states == ["pinned", "leaning", "free"]


def test_a_target_that_holds_a_sum_pins_none_of_its_terms() -> None:
    known = adding_target("sum", 3, None)
    found = fixed(exactly(known, "a0 b0 c0 .", 0.35, n=512))
    assert found.states == ("free", "free", "free", "given")
    assert found.sentence.startswith("It fixes no single token: of its 4 tokens 3 are free")


def test_the_sum_of_two_labels_holds_both_of_them_at_no_fixed_place() -> None:
    known = adding_target("sum, mod 2", 2, None)
    prior = known.prompts.draw(2000, known.lm, seed=1)
    inv = exactly(known, "a0 b0 a0 .", 0.35, n=512)
    found = fixed(inv, prior=prior)
    # a b b, b a a and b a b are left: each has both, where of the 7 others of P(X) 6 have an a
    np.testing.assert_allclose([t.anywhere for t in found.tokens], 1.0)
    np.testing.assert_allclose([t.anywhere_prior for t in found.tokens], [6 / 7, 6 / 7, 6 / 7, 1], atol=0.03)
    np.testing.assert_allclose([t.share for t in found.tokens], [1 / 3, 1 / 3, 1 / 3, 1], atol=0.1)
    assert "pinned" not in found.states
    assert [t.elsewhere for t in found.tokens] == [True, True, True, False]
    assert "holds “a0” (2 times) and “b0”, at no fixed place" in found.sentence


def test_a_site_that_never_varies_fixes_nothing() -> None:
    known = copying_target("one of 3", 3, 3, [Copy(1)], (0.35,), None)
    known = replace(known, site="blocks.0.hook_resid_pre")  # at the last token, always the same one
    found = fixed(exactly(known, "a0 b0 c0 .", 0.35))
    assert found.verdict == Verdict.CONSTANT
    assert found.sentence == "It fixes nothing: this site is the same for every input of P(X)."


@pytest.mark.parametrize("search", ["neighbours", "prior", "rejection"])
def test_neighbours_in_a_bank_say_so(search) -> None:
    known = copying_target("one of 3", 3, 3, [Copy(1)], (0.35,), None)
    how = {"neighbours": {"bank": 250}, "prior": {"n": 250}, "rejection": {"n": 80}}[search]
    near = getattr(isn.baselines, search)(
        known.lm, known.prompts, "a0 b0 c0 .", site=known.site, bandwidth=0.35, progress=False, **how
    )
    drawn = known.prompts.draw(250, known.lm, seed=5)
    found = fixed(near, prior=drawn)
    assert [t.token for t in found.tokens] == ["a0", "b0", "c0", "."], "BOS is left out"
    assert found.states == ("free", "pinned", "free", "given")
    assert all(math.isnan(t.information) for t in found.tokens)
    bank = search != "rejection"
    assert found.sentence.startswith("Judged by neighbours among a bank of 250 inputs, it fixes “b0”") == bank
    if bank:
        assert fixed(near).states == found.states, "all of the bank is there"
    else:
        with pytest.raises(InvalidArgument, match="no inputs of P"):
            fixed(near)


def test_what_only_searches_nearby_is_refused() -> None:
    known = copying_target("one of 3", 3, 3, [Copy(1)], (0.35,), None)
    near = isn.baselines.perturbation(
        known.lm, known.prompts, "a0 b0 c0 .", site=known.site, bandwidth=0.35, progress=False
    )
    with pytest.raises(InvalidArgument, match="a Perturbation is no inversion"):
        fixed(near, prior=known.prompts.draw(9, known.lm, seed=0))


# -- noise ------------------------------------------------------------------------------------------

SHARES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.85)


def null(seed: int, *, n: int = 128, m: int = 256, spread: float = 1.0) -> Inversion:
    """Samples with tokens as P(X) has them and weights that have nothing to do with them."""
    rng = np.random.default_rng(seed)

    def draw(size: int) -> list[str]:
        rows = rng.random((size, 12)) < np.tile(SHARES, 2)
        return [" ".join(f"t{i}" if hit else f"o{i}" for i, hit in enumerate(row)) for row in rows]

    samples, prior = draw(n), draw(m)
    return written(" ".join(f"t{i}" for i in range(12)), samples, prior, rng.normal(0, spread, n))


@pytest.mark.parametrize("spread", [0.0, 1.0, 1.5])
def test_nothing_is_found_in_noise(spread) -> None:
    found = [fixed(null(seed, spread=spread)) for seed in range(60)]
    wrong = [one for one in found if {"pinned", "leaning"} & set(one.states) or any(t.elsewhere for t in one.tokens)]
    assert len(wrong) <= 5, "one in 20 of 60 may have a find, and two more by luck"
    assert sum(one.states.count("free") for one in found) > 0.7 * 60 * 12


def test_as_much_is_found_where_there_is_something() -> None:
    inv = null(0)
    picked = inv.prompt_ids
    samples = [[*ids[:3], *picked[3:5], *ids[5:]] for ids in inv.samples]  # t2, t3 held, of chance 0.3 and 0.5
    found = fixed(replace(inv, samples=samples))
    assert [t.token for t in found.tokens if t.state == "pinned"] == ["t2", "t3"]


LENGTHS = ([4, 8, 12], [12])


def lengths_null(seed: int, *, words: int = 10, usual=LENGTHS[0], near=LENGTHS[1], n: int = 128, m: int = 256):
    """Tokens drawn one by one, in P(X) and near the activation, which holds the length alone."""
    rng = np.random.default_rng(seed)

    def draw(length: int) -> str:
        return " ".join(f"v{i}" for i in rng.integers(0, words, length))

    samples, prior = ([draw(rng.choice(lengths)) for _ in range(k)] for k, lengths in ((n, near), (m, usual)))
    return written(draw(8), samples, prior, rng.normal(0, 1, n))


@pytest.mark.parametrize("words", [5, 10])
def test_an_activation_that_holds_the_length_alone_fixes_no_token(words) -> None:
    found = [fixed(lengths_null(seed, words=words)) for seed in range(20)]
    tokens = [token for one in found for token in one.tokens]
    more = [t for t in tokens if t.share > t.prior + 0.1]
    assert len(more) > 0.5 * len(tokens), "longer inputs have more that matches"
    assert np.mean([t.by_length - t.share for t in tokens]) == pytest.approx(0, abs=0.02)
    wrong = [t for t in tokens if t.state in ("pinned", "leaning") or t.elsewhere]
    assert len(wrong) <= 1, wrong


# -- what an inversion keeps, and the packaged model ---------------------------------------------------


def test_old_inversions_have_no_inputs_and_new_ones_can_be_pickled() -> None:
    inv = written("a b c .", HELD * 4, PRIOR)
    assert by_hand().prior_inputs == []
    again = pickle.loads(pickle.dumps(inv))
    assert again.prior_inputs == inv.prior_inputs
    assert fixed(again) == fixed(inv)
    assert fixed(inv.reweight(0.4)).states == fixed(inv).states


def test_states_are_the_ones_that_are_explained() -> None:
    frame = fixed(written("a b c .", HELD * 4, PRIOR)).to_frame()
    assert set(frame["state"]) <= set(STATES)
    assert list(frame.columns) == list(fixing.FixedToken.__dataclass_fields__)
    assert isn.fixed is fixed
    assert isn.Fixed is Fixed


@pytest.fixture(scope="module")
def packaged():
    return isn.load_model(), isn.load_generator()


@pytest.mark.parametrize(("site", "bandwidth"), [("resid_post.0", 0.3), ("resid_post.3", 0.3)])
def test_the_packaged_model_says_something_short(packaged, site, bandwidth) -> None:
    lm, gen = packaged
    inv = isn.invert(lm, gen, "4 3 7 + 5 6 8 =", site=site, bandwidth=bandwidth, n=64, progress=False)
    assert len(inv.prior_inputs) == len(inv.prior_d) == 256
    assert (np.array([ids == inv.prompt_ids for ids in inv.prior_inputs]) == inv.bank_own).all()
    found = isn.fixed(inv)
    assert len(found.tokens) == 8
    assert 10 < len(found.sentence) <= 200
    assert found.sentence[0].isupper()
    assert found.sentence[-1] in ".)"
    if site == "resid_post.0":
        pinned = [t.token for t in found.tokens if t.state == "pinned"]
        assert {"+", "="} <= set(pinned), "one in six inputs of P(X) is a sum, the activation's inputs all are"
