"""Two inversions held against each other: built targets, exact shares, invariances, words and errors."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import tiny_model, word_tokenizer
from known_answer import Copy, copying_target
from small_case import BANDWIDTH, SITE, WORDS
from test_fixed import written
from test_inversion import TableGenerator, by_hand

import inversescope_nb as isn
from inversescope_nb import _fixed_differences, contrasting
from inversescope_nb.contrasted import share_by_the_other
from inversescope_nb.contrasting import SIDES, WHICH, Contrast, OneSide, contrast
from inversescope_nb.errors import Cancelled, GeneratorMismatch, InvalidArgument
from inversescope_nb.exact import activation_table
from inversescope_nb.fixing import fixed

EPS = 0.35


def oracle(known, site: str = ""):
    """A generator that proposes from the exact posterior at a site of a built target."""
    table = activation_table(known.lm, known.prompts, site or known.site, progress=False)
    return TableGenerator(table, known.prompts, lambda exact: exact.p)


def against(first: isn.Inversion, second: isn.Inversion, d_first=0.0, d_second=0.0) -> Contrast:
    """A contrast of inversions that were written down, with all distances to the other."""
    one, two = np.broadcast_to(d_first, first.n), np.broadcast_to(d_second, second.n)
    return Contrast(
        first=OneSide(name="first", inversion=first, other=second, d_other=one),
        second=OneSide(name="second", inversion=second, other=first, d_other=two),
        apart=(0.0, 0.0),
    )


@pytest.mark.slow
def test_docstring_example_runs() -> None:
    assert doctest.testmod(contrasting).failed == 0


# -- known answers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def middle():
    """A target that holds the second of three slots, of three labels, and nothing else."""
    known = copying_target("one of 3", 3, 3, [Copy(1)], (EPS,), None)
    return known, oracle(known)


def test_inputs_of_one_label_are_all_near_both(middle) -> None:
    known, gen = middle
    one, two = (
        isn.invert(known.lm, gen, text, site=known.site, bandwidth=EPS) for text in ("a0 b0 c0 .", "c0 b0 a0 .")
    )
    found = contrast(known.lm, gen, one, two)
    for side in (found.first, found.second):
        assert set(side.side) == {"both"}
        assert side.shared.share == pytest.approx(1)
        assert side.shared.low > 0.98
        assert side.shared_by_chance == pytest.approx(1 / 3, abs=0.1)
        np.testing.assert_allclose(side.far_weight[side.kernel_other == 1], 0)
    assert found.apart == pytest.approx((0, 0), abs=1e-5)
    assert [pair.which for pair in found.tokens] == ["neither", "both", "neither", "neither"]
    assert found.sentence == "Neither fixes a token that the other does not; both fix “b0”."
    assert found.overlap.startswith("Of the inputs near the first, 100% (98% to 100%; of all inputs of P(X): 3")


def test_what_one_sides_draws_missed_is_found_by_the_others() -> None:
    """At the wider bandwidth a part of what is near is near at the narrower one too; here its draws have none of it."""
    known = copying_target("weak", 3, 3, [Copy(2, 0.3), Copy(0)], (0.1, 0.7), None)
    table = activation_table(known.lm, known.prompts, known.site, progress=False)
    alike = np.array([known.lm.decode(ids).split()[-2] == "c0" for ids in table.inputs])
    draws = {"all": lambda exact: exact.p, "some": lambda exact: np.where(alike, 1e-9, exact.p)}
    found = {}
    for name, propose in draws.items():
        whole, part = oracle(known), TableGenerator(table, known.prompts, propose)
        one = isn.invert(known.lm, whole, "a0 b0 c0 .", site=known.site, bandwidth=0.1, n=400)
        two = isn.invert(known.lm, part, "a0 b0 a0 .", site=known.site, bandwidth=0.7, n=150, bank=0)
        found[name] = contrast(known.lm, whole, one, two, second_gen=part)
    k, k_other, k_far = (
        math.exp(-(d**2) / (2 * 0.7**2)) for d in (0.498, 1.659, 1.732)
    )  # of a0, but not at the end; ...
    exact = 3 * k / (2 + 6 * k + 6 * k_other + 12 * k_far)  # without the picked input itself
    for side in found.values():
        seen = share_by_the_other(side.second, side.first)
        assert seen.share == pytest.approx(exact, abs=0.06)
        assert seen.low < exact < seen.high
    assert "missed" not in found["all"].overlap
    assert found["some"].second.shared.high < 0.05
    assert "the second's own draws missed some of it, so draw more." in found["some"].overlap
    unlike = replace(found["some"].first.inversion, prompts_name="another P(X)")
    assert share_by_the_other(found["some"].second, replace(found["some"].first, inversion=unlike)) is None


def test_inputs_of_two_labels_are_near_one_only(middle) -> None:
    known, gen = middle
    one, two = (
        isn.invert(known.lm, gen, text, site=known.site, bandwidth=EPS) for text in ("a0 b0 c0 .", "a0 c0 c0 .")
    )
    found = contrast(known.lm, gen, one, two)
    assert set(found.first.side[found.first.inside]) == {"first"}
    assert set(found.second.side[found.second.inside]) == {"second"}
    for side in (found.first, found.second):
        # the kernel between two labels of three, by the target's formula: some draws are of the wrong label
        assert side.shared.share <= 2 * math.exp(-1.5 / EPS**2) + 0.01
        assert side.shared.high < 0.03
        np.testing.assert_allclose(side.far_weight, side.inversion.weight, atol=1e-3)
    # the squared distance of two labels is L / (L - 1) times 2, in units where the kernel is exp(-d^2 / 2 eps^2)
    assert found.apart == pytest.approx((math.sqrt(3), math.sqrt(3)), rel=1e-3)
    assert [pair.which for pair in found.tokens] == ["neither", "apart", "neither", "neither"]
    assert found.sentence == "The first fixes “b0” where the second fixes “c0”."


def test_two_sites_tell_what_one_holds_apart_and_the_other_not() -> None:
    known = copying_target("two of 4", 4, 2, [Copy(0), Copy(2)], (EPS,), None)
    text, head, whole = "a0 b0 b0 a0 .", "blocks.0.attn.hook_z.0", known.site
    gens = oracle(known, head), oracle(known, whole)
    one, two = (
        isn.invert(known.lm, gen, text, site=site, bandwidth=0.2, n=600)
        for gen, site in zip(gens, (head, whole), strict=True)
    )
    found = contrast(known.lm, gens[0], one, two, second_gen=gens[1])
    # the head holds the first slot; the layer's output the third too, which 4 of the 7 inputs that are no copies miss
    assert found.first.shared.low < 3 / 7 < found.first.shared.high
    assert found.first.shared.share == pytest.approx(3 / 7, abs=0.07)
    assert found.first.shared_with_copies == pytest.approx(1 / 2, abs=0.07)
    assert found.second.shared.share == pytest.approx(1)
    frame = found.to_frame()
    apart = frame[(frame["drawn_for"] == "first") & (frame["side"] == "first")]["text"]
    assert {text.split()[2] for text in apart} == {"a0"}, "the head does not know it, the layer's output does"
    assert found.sentence == "Only the second fixes “b0”; both fix “a0”."
    assert found.summary().count("blocks.0") == 2
    assert "at the first's site and" in found.summary()


# -- against the exact posterior -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def random_target():
    """216 inputs of a random GPT-2, and a generator that proposes the wrong ones too often."""
    lm = isn.load_model((tiny_model("gpt2"), word_tokenizer()))
    slots = tuple(isn.Slot(name, WORDS) for name in "ABC")
    prompts = isn.PromptDistribution.from_templates(
        [isn.Template("the {A} in {B} and {C} is", slots)], name="small", cut="end"
    )
    table = activation_table(lm, prompts, SITE, progress=False)
    tilt = np.random.default_rng(0).uniform(0.3, 1.0, len(table.inputs))
    return lm, table, TableGenerator(table, prompts, lambda exact: tilt * (exact.p + 0.2 / len(tilt)))


def test_shares_are_those_of_the_exact_posterior_and_intervals_cover_them(random_target) -> None:
    lm, table, gen = random_target
    rng, errors, covered = np.random.default_rng(1), [], []
    for i, j in rng.integers(len(table.inputs), size=(24, 2)):
        eps = BANDWIDTH * rng.uniform(1, 4, size=2)
        one, two = (
            isn.invert(lm, gen, table.inputs[row], site=SITE, bandwidth=b, n=256, bank=0, seed=int(row))
            for row, b in zip((i, j), eps, strict=True)
        )
        found = contrast(lm, gen, one, two)
        exact = [table.posterior(table.inputs[row], b) for row, b in zip((i, j), eps, strict=True)]
        for side, own, other in ((found.first, *exact), (found.second, *exact[::-1])):
            p = own.p.copy()
            p[table.inputs.index(side.inversion.prompt_ids)] = 0  # copies are left out
            truth = float(p @ (other.d <= side.other.ball_edge + 1e-6) / p.sum())
            errors.append(side.shared.share - truth)
            covered.append(side.shared.low <= truth <= side.shared.high)
            rows = [table.inputs.index(ids) for ids in side.inversion.samples]
            np.testing.assert_allclose(side.d_other, other.d[rows], atol=1e-4)
    assert np.abs(errors).mean() < 0.04
    assert abs(np.mean(errors)) < 0.02
    assert np.mean(covered) > 0.9


def test_draws_for_one_activation_weigh_for_the_other_as_its_posterior(random_target) -> None:
    lm, table, gen = random_target
    a, b = table.inputs[3], table.inputs[4]
    one, two = (isn.invert(lm, gen, ids, site=SITE, bandwidth=0.8, n=4000, bank=0) for ids in (a, b))
    side = contrast(lm, gen, one, two).first
    exact = table.posterior(b, 0.8)
    for word in WORDS:
        truth = sum(p for p, ids in zip(exact.p, table.inputs, strict=True) if word in lm.decode(ids))
        assert sum(side.weight_other[[word in t for t in one.texts]]) == pytest.approx(truth, abs=0.05)


# -- invariances -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(lm, gifts, gifts_generator):
    """Two inversions by a trained generator, of cuts of two lengths."""
    texts = ("John gave the book to Paris", "Mary gave the cat to")
    return [isn.invert(lm, gifts_generator, t, site=SITE, bandwidth=1.0, n=150) for t in texts]


def test_an_inversion_against_itself_has_all_of_its_ball_in_both(lm, gifts_generator, pair) -> None:
    found = contrast(lm, gifts_generator, pair[0], pair[0])
    assert set(found.first.side[found.first.inside]) == {"both"}
    assert set(found.first.side) <= {"both", "neither"}
    frame = found.to_frame()
    np.testing.assert_array_equal(frame["d_first"], frame["d_second"])
    np.testing.assert_allclose(frame["weight_first"], frame["weight_second"])
    assert {p.which for p in found.tokens} <= {"both", "neither", "unknown"}
    assert found.apart == pytest.approx((0, 0), abs=1e-5)


def test_swapping_the_two_swaps_the_sides(lm, gifts_generator, pair) -> None:
    here, there = contrast(lm, gifts_generator, *pair), contrast(lm, gifts_generator, *pair[::-1])
    other = {"first": "second", "second": "first"}
    for mine, theirs in ((here.first, there.second), (here.second, there.first)):
        assert [other.get(side, side) for side in mine.side] == theirs.side.tolist()
        np.testing.assert_allclose(mine.d_other, theirs.d_other, atol=1e-5)
        assert mine.shared == theirs.shared
    assert here.apart == pytest.approx(there.apart[::-1], abs=1e-5)
    assert [p.which for p in here.tokens] == [other.get(p.which, p.which) for p in there.tokens]


def test_the_frame_has_a_row_a_sample_and_its_columns_agree(lm, gifts_generator, pair) -> None:
    found = contrast(lm, gifts_generator, *pair)
    frame = found.to_frame()
    assert len(frame) == 300
    assert set(frame["side"]) <= set(SIDES)
    mine, theirs = frame[frame["drawn_for"] == "first"], frame[frame["drawn_for"] == "second"]
    np.testing.assert_array_equal(mine["d_first"], pair[0].d)
    np.testing.assert_array_equal(theirs["d_second"], pair[1].d)
    np.testing.assert_array_equal(mine["weight_first"], pair[0].weight)
    for column in ("weight_first", "weight_second", "far_weight"):
        assert mine[column].sum() == pytest.approx(1)
        assert theirs[column].sum() == pytest.approx(1)
    for shares in (found.first.shares, found.second.shares):
        assert sum(share.share for share in shares.values()) == pytest.approx(1)
    assert found.tokens_frame()["which"].isin(list(WHICH)).all()
    assert found.sentence in found.summary()
    assert found.overlap in found.summary()


# -- by hand ---------------------------------------------------------------------------------------------


def test_kernels_weights_and_sides_by_hand() -> None:
    one, two = by_hand(), by_hand(bandwidth=1.0)
    side = against(one, two, d_first=np.array([0.0, 0.4, 0.6, math.inf])).first
    # the second weighs (0.5, 1.5 k, 1.5 k, 0), k at 0.5: the last of its own inputs lies on the ball's edge, 0.5
    np.testing.assert_allclose(side.kernel_other, [1, math.exp(-0.08), math.exp(-0.18), 0])
    raw = one.weight * (1 - side.kernel_other)
    np.testing.assert_allclose(side.far_weight, raw / raw.sum())
    raw = np.array([0.5, 1.5 * math.exp(-0.08), 1.5 * math.exp(-0.18), 0])
    np.testing.assert_allclose(side.weight_other, raw / raw.sum())
    assert side.side.tolist() == ["both", "both", "first", "first"]
    # the copy is left out: two inputs of equal weight are left, of which one lies in the other's ball
    assert side.ess == pytest.approx(2)
    assert side.shared.share == pytest.approx(0.5)
    assert side.shared_with_copies == pytest.approx(one.weight[:2].sum())
    assert math.isnan(side.shared_by_chance)


def test_chance_leaves_the_picked_input_out_as_the_share_does() -> None:
    """Of the bank's inputs the first is the one that the first side picked: of the others one in three lies inside."""
    d = np.array([0.0, 0.1, 2.0, 3.0])
    own = np.array([True, False, False, False])
    one, two = by_hand(prior_d=d, bank_own=own), by_hand(prior_d=d, bank_own=np.zeros(4, dtype=bool))
    both = against(one, two)
    assert both.first.shared_by_chance == pytest.approx(1 / 3)
    assert both.second.shared_by_chance == pytest.approx(1 / 2)


PRIOR = [f"{a} {b} {c} ." for a in "abcd" for b in "abcd" for c in "abcd"]


def test_what_each_fixes_is_told_apart_in_words() -> None:
    by_first = [p for p in PRIOR if p[0] == "a"] * 4
    by_both = [p for p in PRIOR if p[0] == "a" and p[2] == "b"] * 16
    one, two, open_ = (written("a b c .", held, PRIOR) for held in (by_first, by_both, PRIOR * 4))
    assert against(one, two).sentence == "Only the second fixes “b”; both fix “a”."
    assert against(two, one).sentence == "Only the first fixes “b”; both fix “a”."
    assert against(two, open_).sentence == "Only the first fixes “a” and “b”."
    assert against(open_, open_).sentence == "Neither fixes a token that the other does not."
    few = written("a b c .", by_first[:3], PRIOR)
    assert against(one, few).sentence.startswith("What they fix cannot be compared: of the second, ")
    assert against(one, few).overlap.startswith("How far they overlap is not known: of the second, only ")
    alone = replace(one, prior_inputs=[], prior_d=np.zeros(0), bank_own=np.zeros(0, dtype=bool))
    assert "of the first, there are no inputs of P(X)" in against(alone, two).sentence
    assert against(alone, two).tokens == ()


def test_a_difference_is_claimed_only_where_the_other_surely_does_not_hold_the_token() -> None:
    held = [p for p in PRIOR if p[0] == "a"]
    sure = written("a b c .", held * 4, PRIOR)
    leaning = written("a b c .", held[:6], PRIOR)
    found = against(sure, leaning)
    assert (found.tokens[0].first.state, found.tokens[0].second.state) == ("pinned", "leaning")
    assert found.tokens[0].which == "unknown"
    neither = "Neither fixes a token that the other does not, as far as can be told (1 undecided)."
    assert found.sentence == f"{neither} (Roughly: the second by 6 effective samples.)"


def test_no_difference_is_claimed_where_the_other_may_hold_the_token_at_another_place() -> None:
    sure = written("a b c .", [p for p in PRIOR if p[0] == "a"] * 4, PRIOR)
    moved = [f"{b} a {c} ." for b in "bcd" for c in "bcd"]
    few, many_ = written("a b c .", moved[:6], PRIOR), written("a b c .", moved * 8, PRIOR)
    assert against(sure, few).tokens[0].which == "unknown"
    assert "only" not in against(sure, few).sentence.lower().partition("(")[0]
    assert against(sure, few).sentence.endswith("(Roughly: the second by 6 effective samples.)")
    assert against(sure, many_).tokens[0].which == "both"
    gone = written("a b c .", [p for p in PRIOR if "a" not in p] * 4, PRIOR)
    assert against(sure, gone).sentence.startswith("Only the first fixes “a”")


def test_cuts_of_one_prompt_share_their_places_and_others_are_aligned() -> None:
    held = [p for p in PRIOR if p[0] == "a"] * 4
    long, short = written("a b c .", held, PRIOR), written("a b", [p[:3] for p in held], [p[:3] for p in PRIOR])
    pairs = against(long, short).tokens
    assert [(p.first and p.first.token, p.second and p.second.token) for p in pairs] == [
        ("a", "a"), ("b", "b"), ("c", None), (".", None),
    ]  # fmt: skip
    assert against(short, long).tokens[-1].first is None
    found = fixed(long)
    shifted = replace(found, tokens=(replace(found.tokens[3], token="d", token_id=99), *found.tokens))
    names = [(p.first and p.first.token, p.second.token) for p in _fixed_differences.paired(found, shifted)]
    assert names == [(None, "d"), ("a", "a"), ("b", "b"), ("c", "c"), (".", ".")]


def test_a_token_that_stands_alone_may_be_held_elsewhere_by_the_other() -> None:
    held = [p for p in PRIOR if p[0] == "a"] * 4
    found = fixed(written("a b c .", held, PRIOR))
    first, *rest = found.tokens

    def alone(mine, **changes):
        """The pair of a first token that only the first has at its place; the other has it last but one, changed."""
        theirs = replace(found, tokens=(*rest[:-1], replace(first, **changes), rest[-1]))
        return _fixed_differences._judged(mine, None, found, theirs)

    assert alone(first, token_id=99).which == "first"
    assert alone(replace(first, state="free")).which == "neither", "its own pair says what the other holds"
    assert alone(first).which == "both"
    assert alone(first, state="free").which == "first"
    assert alone(first, state="free", elsewhere=True).which == "both"
    assert alone(first, state="leaning", high=0.95).which == "unknown"
    words = _fixed_differences.sentence_of([alone(replace(first, elsewhere=True), token_id=99)], [])
    assert words == "Only the first holds “a”."


def test_two_tokens_that_both_hold_at_no_fixed_place_are_no_difference() -> None:
    held = [p for p in PRIOR if p[0] == "a" and p[2] == "b"] * 16
    found = fixed(written("a b c .", held, PRIOR))
    a, b, *rest = found.tokens

    def judged(mine, theirs, *, by_first, by_second):
        one, two = (replace(found, tokens=(*held, *rest)) for held in (by_first, by_second))
        return _fixed_differences._judged(mine, theirs, one, two).which

    pinned = (replace(a, state="pinned"), replace(b, state="pinned"))
    anywhere = tuple(replace(token, state="free", elsewhere=True) for token in (a, b))
    free = (replace(a, state="free"), replace(b, state="free"))
    both = {"by_first": anywhere, "by_second": anywhere[::-1]}
    assert judged(anywhere[0], anywhere[1], **both) == judged(anywhere[1], anywhere[0], **both) == "both"
    assert judged(pinned[0], pinned[1], by_first=pinned[:1], by_second=pinned[1:]) == "apart"
    assert judged(pinned[0], free[1], by_first=pinned, by_second=(free[1], pinned[0])) == "both", "at another place"
    assert judged(pinned[0], free[1], by_first=pinned, by_second=free[::-1]) == "first"
    assert judged(free[0], pinned[1], by_first=free, by_second=pinned[::-1]) == "second"
    assert judged(free[0], free[1], by_first=free, by_second=free) == "neither"


def test_many_tokens_are_counted_rather_than_named(middle) -> None:
    known = copying_target("all of 8", 8, 2, [Copy(i) for i in range(8)], (EPS,), None)
    gen = oracle(known)
    one, two = (
        isn.invert(known.lm, gen, text, site=known.site, bandwidth=0.2, n=64)
        for text in ("a0 a0 a0 a0 a0 a0 a0 a0 .", "b0 a0 b0 a0 b0 a0 b0 a0 .")
    )
    sentence = contrast(known.lm, gen, one.reweight(0.6), two.reweight(0.6)).sentence
    assert sentence.count("“") <= 12
    assert len(sentence) < 260


# -- mistakes ----------------------------------------------------------------------------------------------


def test_what_is_no_inversion_is_refused(lm, gifts, gifts_generator, pair) -> None:
    near = isn.baselines.neighbours(lm, gifts, "John gave the book to Paris", site=SITE, bank=16)
    for given in (near, "John", None):
        with pytest.raises(InvalidArgument, match=f"a {type(given).__name__} is no inversion") as raised:
            contrast(lm, gifts_generator, pair[0], given)
        assert "invert()" in raised.value.hint
    with pytest.raises(InvalidArgument, match="gen is a NoneType"):
        contrast(lm, None, *pair)
    with pytest.raises(InvalidArgument, match="lm is a str"):
        contrast("gpt2", gifts_generator, *pair)


def test_inversions_of_another_model_or_of_a_noised_activation_are_refused(lm, middle, gifts_generator, pair) -> None:
    known, gen = middle
    other = isn.invert(known.lm, gen, "a0 b0 c0 .", site=known.site, bandwidth=EPS, n=8)
    with pytest.raises(GeneratorMismatch, match="the second is no inversion by this model"):
        contrast(lm, gifts_generator, pair[0], other)
    with pytest.raises(GeneratorMismatch):
        contrast(known.lm, gifts_generator, *pair)
    with pytest.raises(GeneratorMismatch, match=r"the first is no inversion .* read again, are others") as raised:
        contrast(lm, gifts_generator, replace(pair[0], d=pair[0].d * 2), pair[1])
    assert "noise_seed" in raised.value.hint
    noised = isn.invert(lm, gifts_generator, "Mary gave the cat to", site=SITE, bandwidth=1.0, n=64, noise_seed=1)
    with pytest.raises(GeneratorMismatch, match="the second"):
        contrast(lm, gifts_generator, pair[0], noised)


def test_progress_and_stop(lm, gifts_generator, pair) -> None:
    import threading

    heard, stop = [], threading.Event()
    contrast(lm, gifts_generator, *pair, on_progress=lambda *told: heard.append(told))
    assert heard[-1][0] == heard[-1][1] > 0
    stop.set()
    with pytest.raises(Cancelled):
        contrast(lm, gifts_generator, *pair, cancel=stop)


def test_docstrings_of_the_words_run() -> None:
    assert doctest.testmod(_fixed_differences).failed == 0
