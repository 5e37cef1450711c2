"""A small case to hold estimators against: 216 inputs of a random GPT-2, of all of which q and posterior are known."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable
from pathlib import Path

from small import tiny_model, word_tokenizer

import inversescope_nb as isn
from inversescope_nb.exact import activation_table
from inversescope_nb.features import Feature

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from _listed import Listed

WORDS = ("cat", "dog", "park", "John", "book", "Mary")
SITE, BANDWIDTH = "blocks.0.hook_resid_post", 0.2


def _of_words(name: str, label: Callable[[list[str]], Hashable]) -> Feature:
    """A feature of the three words; undefined for a text that is not of the template (a generator may write one)."""

    def found(text: str) -> Hashable | None:
        words = text.split()
        return label(words[1:6:2]) if len(words) == 7 and set(words[1:6:2]) <= set(WORDS) else None

    return Feature(name, found)


FEATURES = [
    _of_words("first word", lambda words: words[0]),
    _of_words("second word", lambda words: words[1]),
    _of_words("third word", lambda words: words[2]),
    _of_words("a rare pair", lambda words: words[0] == "dog" and words[1] in ("John", "cat")),
    _of_words("random of 3", lambda words: sum(map(ord, "".join(words))) * 7919 % 101 % 3),
]


def small_case(*, steps: int = 300) -> tuple[Listed, list[Feature]]:
    """The case with a generator trained for some seconds, and hypotheses with rates from chance to near 1."""
    lm = isn.load_model((tiny_model("gpt2"), word_tokenizer()))
    slots = tuple(isn.Slot(name, WORDS) for name in "ABC")
    prompts = isn.PromptDistribution.from_templates(
        [isn.Template("the {A} in {B} and {C} is", slots)], name="small", cut="end"
    )
    config = isn.TrainingConfig(
        steps=steps, batch_size=256, lr=6e-3, warmup=20, backbone="small", small_width=64,
        bandwidths=(BANDWIDTH, BANDWIDTH), held_out=128, gap_inputs=0, eval_every=steps,
    )  # fmt: skip
    generator = isn.train_generator(lm, [SITE], prompts, config=config, progress=False)
    table = activation_table(lm, prompts, SITE, statistics=generator.statistics(SITE), progress=False)
    return Listed.of(table, generator, prompts, BANDWIDTH), FEATURES
