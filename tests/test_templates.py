"""Templates: what they write, what they score, and what they read back, against full listings."""

from __future__ import annotations

import math
import os
import random
import threading
from pathlib import Path

import pytest
from conftest import WORDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small import byte_level_tokenizer, check_against_enumeration, check_draws, model_for, word_tokenizer

from inversescope_nb import _template_tokens
from inversescope_nb._template_walk import Compiled
from inversescope_nb.errors import BadPrompt, Cancelled, InvalidArgument, NotEnumerable
from inversescope_nb.prompts import PromptDistribution
from inversescope_nb.template_prompts import TemplatePrompts
from inversescope_nb.templates import Slot, Template

CUTS = ("end", "slot:B", "slots", "random", "slots+random")
NAMES = ("John", "Mary", "he")


@pytest.fixture(scope="module", params=["word", "word, no BOS", "bytes", "bytes, BOS unused", "bytes, BOS added"])
def any_tokenizer_lm(request):
    """Every kind of tokenizer in turn."""
    kind, _, bos = request.param.partition(", ")
    if kind == "word":
        return model_for(word_tokenizer(bos=not bos))
    return model_for(byte_level_tokenizer(bos={"": "none", "BOS unused": "unused", "BOS added": "added"}[bos]))


@pytest.fixture(scope="module")
def byte_lm():
    return model_for(byte_level_tokenizer(), n_positions=64)


def twice(cut="slots+random", **names):
    """One name twice and another: slots that depend on others, a latent one, values of several words."""
    people = Slot("S", lambda a: NAMES[:2] if a["KIND"] == "few" else NAMES, domain=NAMES)
    slots = (
        Slot("KIND", ("few", "all")),
        people,
        Slot("B", NAMES, distinct_from=("S",)),
        Slot("S2", lambda a: [a["S"]], domain=NAMES),
    )
    other = Template(
        "the {B} is in the {P} .", (Slot("B", ("cat", "dog")), Slot("P", ("park", "book of Mary"))), weight=2.0
    )
    return PromptDistribution.from_templates([Template("{S} and {B} , {S2}", slots), other], cut=cut)


# -- worked examples -------------------------------------------------------------------------------


def test_a_prompt_knows_its_slots_and_labels() -> None:
    template = Template(
        "{A} gave the {OBJECT} to",
        (Slot("A", NAMES), Slot("KIND", ("x",)), Slot("OBJECT", ("book", "red book"))),
        {"last": lambda a: a["OBJECT"].split()[-1], "kind": lambda a: a["KIND"]},
    )
    prompt = template.prompt({"A": "Mary", "KIND": "x", "OBJECT": "red book"})
    assert prompt.text == "Mary gave the red book to"
    assert {name: prompt.text[a:b] for name, (a, b) in prompt.slots.items()} == {"A": "Mary", "OBJECT": "red book"}
    assert prompt.labels == {"template": template.text, "A": "Mary", "OBJECT": "red book", "last": "book", "kind": "x"}
    assert template.label({"A": "Mary"}) == {"template": template.text, "A": "Mary"}


def test_probabilities_by_hand(lm) -> None:
    P = PromptDistribution.from_templates(
        ["{A} and {B} .", "the {B}"], {"A": ["John", "Mary"], "B": ["he", "she", "he"]}
    )

    def p(text):
        return math.exp(P.log_prob(lm.encode(text).rows()[0], lm))

    # the first template has 4 tokens, ends after its slots at 1 and 3 and at 4; the second has 2, its slot ends it
    assert p("John") == pytest.approx(1 / 2 * 1 / 2 * (1 / 3 + 1 / 4) / 2)
    assert p("John and") == pytest.approx(1 / 2 * 1 / 2 * (0 + 1 / 4) / 2)
    assert p("John and he") == pytest.approx(1 / 2 * 1 / 2 * 2 / 3 * (1 / 3 + 1 / 4) / 2)
    assert p("the she") == pytest.approx(1 / 2 * 1 / 3 * (1 + 1 / 2) / 2)
    assert p("the John") == p("John and John") == p("John he") == 0


@pytest.mark.parametrize("cut", CUTS)
def test_every_input_is_scored_as_listed(any_tokenizer_lm, cut) -> None:
    P = twice(cut)
    listed = check_against_enumeration(P, any_tokenizer_lm)
    assert P.compiled(any_tokenizer_lm) is not None
    assert P.longest(any_tokenizer_lm) >= max(map(len, listed))
    if cut == "slots+random":
        check_draws(P.draw(3000, any_tokenizer_lm, seed=4), listed)


def test_templates_that_make_the_same_text_add_up(lm) -> None:
    P = PromptDistribution.from_templates(
        ["the {A}", "the {B} dog", "the cat dog"], {"A": ["cat", "cat dog"], "B": ["cat"]}, cut="end"
    )
    listed = check_against_enumeration(P, lm)
    assert listed[tuple(lm.encode("the cat dog").rows()[0])] == pytest.approx(1 / 6 + 1 / 3 + 1 / 3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_templates_are_scored_as_listed(lm, data) -> None:
    word = st.sampled_from(WORDS[:6])
    values = st.lists(st.lists(word, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=3)
    slots = {name: data.draw(values) for name in "AB"}
    middle = st.lists(st.one_of(word, st.just("{A}"), st.just("{B}")), min_size=1, max_size=4)
    texts = data.draw(
        st.lists(
            middle.filter(lambda ws: all(ws.count(s) < 2 for s in ("{A}", "{B}"))).map(" ".join), min_size=1, max_size=3
        )
    )
    for cut in ("end", "slots", "random", "slots+random"):
        P = PromptDistribution.from_templates(texts, slots, cut=cut)
        assert P.at_least(lm) <= len(check_against_enumeration(P, lm))
    prompts = [prompt for prompt, _ in P.enumerate()]
    for prompt in prompts:
        same = [other.labels for other in prompts if other.text == prompt.text]
        assert P.parse(prompt.text) == {k: v for k, v in prompt.labels.items() if all(o.get(k) == v for o in same)}


# -- tokenizers ------------------------------------------------------------------------------------


def test_punctuation_may_touch_a_slot(byte_lm) -> None:
    P = PromptDistribution.from_templates(
        ["{A} likes {B}.", "({A}) likes {B}"], {"A": ["Ann", "Bob"], "B": ["tea", "coffee"]}
    )
    listed = check_against_enumeration(P, byte_lm)
    assert P.compiled(byte_lm) is not None
    assert tuple(byte_lm.encode("Ann likes tea.").rows()[0]) in listed
    assert {byte_lm.decode(x) for x in P.draw(300, byte_lm, seed=0)} == {byte_lm.decode(x) for x in listed}
    assert P.parse("(Ann) likes tea")["A"] == P.parse("( Ann ) likes tea")["A"] == "Ann"
    assert P.parse("Bob likes coffee.")["B"] == "coffee"


def test_letters_that_touch_a_slot_are_drawn_right_and_not_scored(byte_lm) -> None:
    # "Ann" + "a" is another token than the two in a row
    P = PromptDistribution.from_templates(["{A}a likes {B}"], {"A": ["Ann", "Bob"], "B": ["tea"]}, cut="end")
    assert byte_lm.encode("Anna likes").rows()[0] != [
        *byte_lm.encode("Ann").rows()[0],
        *byte_lm.encode("a likes").rows()[0],
    ]
    assert P.compiled(byte_lm) is None
    x = byte_lm.encode("Anna likes tea").rows()[0]
    assert x in P.draw(20, byte_lm, seed=0)
    assert P.log_prob(x, byte_lm) is None
    assert tuple(x) in P.inputs(byte_lm)


def test_a_single_value_that_is_tokenized_otherwise_is_noticed() -> None:
    lm = model_for(byte_level_tokenizer())
    tokenizer = lm.tokenizer
    tokenizer.add_tokens([" tea house"])  # a token that spans two words
    values = ["tea"] * 300 + ["tea house"]
    lm = model_for(tokenizer)
    P = PromptDistribution.from_templates(["Ann likes {B}"], {"B": values}, cut="end")
    assert lm.encode("Ann likes tea house").rows()[0][-1] == len(tokenizer) - 1
    assert P.compiled(lm) is None


def test_a_stop_is_seen_while_templates_are_compiled(lm, monkeypatch) -> None:
    P, cancel, real, encoded = twice(), threading.Event(), lm.encode, []

    def encode(texts):
        encoded.append(len(texts))
        cancel.set()
        return real(texts)

    with monkeypatch.context() as patched:
        patched.setattr(lm, "encode", encode)
        patched.setattr(_template_tokens, "FIRST", 2)
        with pytest.raises(Cancelled):
            P.draw(5, lm, seed=0, cancel=cancel)
    assert encoded == [2]
    assert P.draw(5, lm, seed=0) == twice().draw(5, lm, seed=0), "what was stopped is not kept"


def test_a_word_that_the_tokenizer_lacks_is_refused_before_anything_is_drawn(lm) -> None:
    P = PromptDistribution.from_templates(["the {A}"], {"A": ["cat"] * 50 + ["zebra"]})
    with pytest.raises(BadPrompt, match="zebra"):
        P.draw(1, lm, seed=0)


def test_a_prompt_of_gpt2_has_no_bos_and_a_probability() -> None:
    folder = os.environ.get("ISN_THIRD_PARTY_MODELS")
    if not folder:
        pytest.skip("ISN_THIRD_PARTY_MODELS is not set")
    from transformers import AutoTokenizer

    from inversescope_nb.tasks import ioi

    lm = model_for(AutoTokenizer.from_pretrained(Path(folder) / "gpt2-tokenizer"), n_positions=64, n_embd=8, n_head=2)
    assert lm.bos_id is not None
    assert lm.text_bos_id is None
    P = ioi().split("held_out")
    for x in P.draw(40, lm, seed=0):
        assert lm.bos_id not in x
        assert P.log_prob(x, lm) > -math.inf
        assert P.parse(lm.decode(x)) is not None
    prompt = P.sample(1, seed=0)[0]
    assert P.log_prob(lm.encode(prompt).rows()[0], lm) > -math.inf
    small = PromptDistribution.from_templates(["{A} paid {B}, then"], {"A": ["Ann", "Eleanor"], "B": ["Xavier", "Bo"]})
    listed = check_against_enumeration(small, lm)
    check_draws(small.draw(2000, lm, seed=0), listed)


# -- lengths of what follows -----------------------------------------------------------------------


def test_many_fillings_behind_a_cut_are_summed_without_listing_them(byte_lm) -> None:
    rng = random.Random(0)
    values = ["".join(rng.choices("abcdefg", k=rng.randrange(1, 9))) for _ in range(60)]
    slots = tuple(Slot(n, values) for n in "ABCDEF")
    again = Slot("A2", lambda a: [a["A"]], domain=values)
    P = PromptDistribution.from_templates([Template("{A} {B} {C} {D} {E} {F} {A2}", (*slots, again))], cut="random")
    x = byte_lm.encode(values[0]).rows()[0]
    size = [len(byte_lm.encode(f"a {v}").rows()[0]) - 1 for v in values]
    lengths = {len(x): 1.0}
    for _ in range(5):
        longer = {}
        for k, p in lengths.items():
            for s in size:
                longer[k + s] = longer.get(k + s, 0.0) + p / 60
        lengths = longer
    total = sum(p / (k + size[0]) for k, p in lengths.items()) * values.count(values[0]) / 60
    assert P.log_prob(x, byte_lm) == pytest.approx(math.log(total))


def test_what_takes_too_long_to_list_is_unknown_not_wrong(byte_lm) -> None:
    values = [f"{i}" for i in range(40)] + ["abcdefgh"]
    slots = [Slot(f"S{i}", values, distinct_from=tuple(f"S{j}" for j in range(i))) for i in range(6)]
    P = PromptDistribution.from_templates(
        [Template(" ".join(f"{{S{i}}}" for i in range(6)), tuple(slots))], cut="random"
    )
    assert P.log_prob(byte_lm.encode("7").rows()[0], byte_lm) is None
    whole = byte_lm.encode("1 2 3 4 5 6").rows()[0]
    assert P.log_prob(whole, byte_lm) is not None


# -- how many there are ----------------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS)
def test_what_is_counted_without_listing_is_never_too_many(any_tokenizer_lm, cut) -> None:
    lm = any_tokenizer_lm
    for templates, slots in (
        (["the {A} is in {B} ."], {"A": ["cat", "dog", "cat"], "B": ["Paris", "the park"]}),
        (["{A} {B} ."], {"A": ["John", "John Mary"], "B": ["he", "Mary he"]}),  # two fillings, one text
        (["{A} and {B}", "{A} and {B} in Paris"], {"A": ["John", "Mary"], "B": ["he", "she"]}),
    ):
        P = PromptDistribution.from_templates(templates, slots, cut=cut)
        assert 1 <= P.at_least(lm) <= len(P.inputs(lm))
    assert 1 <= twice(cut).at_least(lm) <= len(twice(cut).inputs(lm))
    none_left = Template("{A} {B}", (Slot("A", ("cat", "dog")), Slot("B", ("dog",), distinct_from=("A",))))
    assert Compiled([none_left], lambda word, bare: (word,)).at_least(None) == 1


def test_values_of_one_length_are_counted_by_hand(lm) -> None:
    slots = (
        Slot("A", ("John", "Mary", "he", "the cat")),
        Slot("S", lambda a: [a["A"]], domain=NAMES),
        Slot("B", ("John", "Mary", "he"), distinct_from=("A",)),
    )
    template = Template("{A} , {S} and {B} .", slots)
    for cut, expected in (("end", 3 * 2), ("slot:S", 3), ("slots", 3 * 2)):
        P = PromptDistribution.from_templates([template], cut=cut)
        assert P.at_least(lm) == expected
        assert PromptDistribution.mixture([P, PromptDistribution.from_texts(["he"])]).at_least(lm) == expected


# -- reading back ----------------------------------------------------------------------------------


def reading_of(a_text, templates, slots):
    return PromptDistribution.from_templates(templates, slots).parse(a_text)


def test_the_beginning_of_a_text_shows_what_it_decides() -> None:
    P = twice()
    assert P.parse("John and Mary , John") == {"template": "{S} and {B} , {S2}", "S": "John", "B": "Mary", "S2": "John"}
    assert P.parse("John and") == {"template": "{S} and {B} , {S2}", "S": "John"}
    assert P.parse("the cat is in the book of") == {"template": "the {B} is in the {P} .", "B": "cat"}, (
        "P is there in part"
    )
    assert P.parse("the") == {"template": "the {B} is in the {P} ."}
    for off in ("John and John", "cat", "", "  ", "John and Mary , he", "John and Mary , John and"):
        assert P.parse(off) is None, off


def test_labels_on_which_readings_differ_are_undecided() -> None:
    slots = {"A": ["x", "y"], "B": ["x", "z"]}
    assert reading_of("x", ["{A} is here", "{B} was here"], slots) == {}
    assert reading_of("x is", ["{A} is here", "{B} was here"], slots)["A"] == "x"
    assert reading_of("y", ["{A} is here", "{B} was here"], slots)["A"] == "y"


def test_a_whole_prompt_is_read_as_one() -> None:
    found = reading_of("x y", ["{A} y", "{A} {B} z"], {"A": ["x"], "B": ["y"]})
    assert found == {"template": "{A} y", "A": "x"}


def test_a_cut_inside_a_word_is_read() -> None:
    P = PromptDistribution.from_templates(
        ["{A} lives in {CITY} now"], {"A": ["Ann", "Anna"], "CITY": ["New York", "Newark"]}
    )
    assert P.parse("Ann lives in New Yo")["A"] == "Ann"
    assert "CITY" not in P.parse("Ann lives in New Yo")
    assert "CITY" not in P.parse("Ann lives in Ne")
    assert P.parse("Ann lives in New York")["CITY"] == "New York"
    assert P.parse("An") == {"template": "{A} lives in {CITY} now"}
    assert P.parse("Ann lives in Paris") is None


def test_parsing_undoes_writing_at_every_cut(any_tokenizer_lm) -> None:
    P, skip = twice(), int(any_tokenizer_lm.text_bos_id is not None)
    for ids in P.inputs(any_tokenizer_lm):
        assert P.parse(any_tokenizer_lm.decode(ids[skip:])) is not None


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "slots", "message"),
    [
        ("{A} {A}", (Slot("A", NAMES), Slot("A", NAMES)), "names the slots"),
        ("{A} {B}", (Slot("B", NAMES), Slot("A", NAMES)), "names the slots"),
        ("{A}", (), "names the slots"),
        ("a  b", (), "single spaces"),
        (" a", (), "single spaces"),
        ("", (), "single spaces"),
        ("{first name} a", (), "no slot"),
        ("a } b", (), "no slot"),
        ("{A}", (Slot("A", NAMES, distinct_from=("B",)),), "not filled before it"),
        ("{A} {B}", (Slot("A", NAMES, distinct_from=("B",)), Slot("B", NAMES)), "not filled before it"),
    ],
)
def test_templates_that_cannot_be_filled_are_refused(text, slots, message) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Template(text, slots)


@pytest.mark.parametrize("values", ["John", [], (), ["a", ""], [" a"], ["a  b"], [3], [None]])
def test_slot_values_are_words(values) -> None:
    with pytest.raises(InvalidArgument, match="slot 'A'"):
        Slot("A", values)
    with pytest.raises(InvalidArgument):
        PromptDistribution.from_templates(["{A}"], {"A": values})


def test_a_slot_that_no_value_is_left_for_is_refused_and_does_not_hang() -> None:
    P = PromptDistribution.from_templates(
        [Template("{A} {B}", (Slot("A", ("a",)), Slot("B", ("a", "a"), distinct_from=("A",))))]
    )
    with pytest.raises(InvalidArgument, match="no value left"):
        P.sample(1, seed=0)


def test_templates_without_slots_values_or_weight_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"no values for \['NAM'\]\. Did you mean 'NAME'"):
        PromptDistribution.from_templates(["{NAM}"], {"NAME": ["a"]})
    with pytest.raises(InvalidArgument, match="a list"):
        PromptDistribution.from_templates("{A}", {"A": ["a"]})
    for weight in (0, -1, math.nan, math.inf):
        with pytest.raises(InvalidArgument, match="weight"):
            TemplatePrompts([Template("a", (), weight=weight)], name="x", cut="end")
    with pytest.raises(InvalidArgument, match="at least one"):
        PromptDistribution.from_templates([])
    with pytest.raises(InvalidArgument, match="no slot 'B'"):
        PromptDistribution.from_templates(["{A}"], {"A": ["a"]}, cut="slot:B")


def test_texts_and_ready_templates_mix_and_have_no_specification(lm) -> None:
    P = PromptDistribution.from_templates(["the {A}", Template("a dog", ())], {"A": ["cat"]}, cut="end")
    assert len(check_against_enumeration(P, lm)) == 2
    with pytest.raises(NotEnumerable, match="no specification"):
        P.to_spec()
    other = PromptDistribution.from_templates(["the {A}", Template("a cat", ())], {"A": ["cat"]}, cut="end")
    assert P.fingerprint != other.fingerprint


def test_a_latent_slot_behind_the_text_is_filled_and_changes_nothing(lm) -> None:
    template = Template("the {A}", (Slot("A", ("cat", "dog")), Slot("X", ("1", "2", "3"))), {"x": lambda a: a["X"]})
    P = PromptDistribution.from_templates([template], cut="end")
    assert sorted(check_against_enumeration(P, lm).values()) == [0.5, 0.5]
    assert {p.labels["x"] for p in P.sample(50, seed=0)} == {"1", "2", "3"}
    assert "x" not in P.parse("the cat")
