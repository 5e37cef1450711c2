"""Checks of the exercises in ``notebooks/own_model.ipynb``."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InverseScopeError
from ..features import Feature, InputText
from ..prompts import PromptDistribution
from .base import Checked, not_yet, right

if TYPE_CHECKING:
    from ..models import LanguageModel

_LIMIT = 5000
"""Inputs that an answer to exercise 1 may have at most, so that they can be listed at once."""


def check_1(answer: Any, lm: LanguageModel) -> Checked:
    """Whether a P(X) holds gifts of a book, cut at the receiver.

    Args:
        answer: a prompt distribution.
        lm: the target model, whose tokenizer writes its inputs.
    """
    if answer is None:
        return not_yet("Start from the cell with PROMPTS: change SLOTS, and give cut='slot:NAME'.")
    if isinstance(answer, str | list | tuple):
        return not_yet("These are texts; make them a P(X) with isn.PromptDistribution.from_templates(...).")
    if not isinstance(answer, PromptDistribution):
        return not_yet(
            f"This is a {type(answer).__name__}; a P(X) is made by isn.PromptDistribution.from_templates(...)."
        )
    try:
        inputs = [str(InputText.from_ids(ids, lm)).strip() for ids in answer.inputs(lm, limit=_LIMIT)]
    except InverseScopeError as error:
        return not_yet(f"Its inputs cannot be listed: {error}")
    if all(text.endswith(":") for text in inputs):
        return not_yet(f"Its inputs end at the colon, such as {inputs[0]!r}: cut at the slot of the receiver instead.")
    if short := [text for text in inputs if not re.search(r" to \S+$", text)]:
        return not_yet(f"Some inputs do not end at the receiver, such as {short[0]!r}. Your cut is {answer.cut!r}.")
    if other := [text for text in inputs if " book to " not in text]:
        return not_yet(f"The object is to be the book in every input; there is {other[0]!r}.")
    ends, starts = ({text.split()[at] for text in inputs} for at in (-1, 0))
    if len(ends) < 2 or len(starts) < 2:
        return not_yet("Giver and receiver should still vary: what does not vary in P(X) cannot be seen.")
    return right(f"{len(inputs)} inputs, such as {inputs[0]!r}. An activation can no longer be asked about the object.")


def check_2(answer: Any) -> Checked:
    """Whether a function estimates KL(posterior || generator) from draws of the posterior.

    Args:
        answer: ``gap(log_p, log_q)``, both in nats.
    """
    if not callable(answer):
        return not_yet("Give the function itself, without calling it.")
    rng = np.random.default_rng(0)
    log_p = np.log(rng.dirichlet(np.ones(40)))
    log_q = log_p - rng.gamma(2.0, 0.4, 40)
    try:
        value = answer(log_p.copy(), log_q.copy())
    except Exception as error:  # a learner's code may raise anything
        return not_yet(f"It raised {type(error).__name__}: {error}")
    if value is None:
        return not_yet("It returns None. KL(p || q) is the mean over p of log p - log q.")
    try:
        value = float(value)
    except (TypeError, ValueError):
        return not_yet(f"It returns a {type(value).__name__}; a gap is one number.")
    difference = log_p - log_q
    wanted = float(difference.mean())
    if math.isclose(value, wanted, rel_tol=1e-6):
        return right(f"About {math.exp(-2 * wanted):.0%} of such a generator's samples would count.")
    for words, wrong in (
        ("It has the wrong sign: a gap is never below 0, but for the luck of the draws.", -wanted),
        ("That is in bits; the gap is wanted in nats.", wanted / math.log(2)),
        (
            "Each draw counts p times in yours. They were drawn from p already: a plain mean.",
            np.exp(log_p) @ difference,
        ),
        ("That is the sum; a gap is the mean over draws.", difference.sum()),
        ("That is the cross-entropy: the posterior's own entropy is not taken off.", -log_q.mean()),
        ("That is a mean ratio of probabilities; take the mean of the logarithms.", np.exp(difference).mean()),
    ):
        if math.isclose(value, float(wrong), rel_tol=1e-6):
            return not_yet(words)
    return not_yet(f"It gives {value:.3f} on a test case where {wanted:.3f} is right.")


def check_3(answer: Any, lm: LanguageModel, prompts: PromptDistribution) -> Checked:
    """Whether a feature of the text says what the model answers.

    Args:
        answer: a feature, or a function of a text.
        lm: the target model, which is asked for every input.
        prompts: a P(X) that can be listed.
    """
    if answer is None:
        return not_yet("Write a function of a text; prompts.parse(text) gives its slots, or None outside P(X).")
    if not callable(answer):
        return not_yet(f"This is a {type(answer).__name__}; a feature is made of a function from a text to a label.")
    feature = answer if isinstance(answer, Feature) else Feature("the answer", answer)
    inputs = [list(ids) for ids in prompts.inputs(lm)]
    texts = [InputText.from_ids(ids, lm) for ids in inputs]
    said = [lm.decode([int(token)]).strip() for token in lm.logits(inputs).argmax(-1)]
    try:
        found = feature.labels(texts)
        elsewhere = feature.labels([InputText("the cat sat")])[0]
    except InverseScopeError as error:
        return not_yet(f"It raised an error: {error}")
    if all(label is None for label in found):
        return not_yet("It is None for every input of P(X).")
    wrong = [i for i, (a, b) in enumerate(zip(found, said, strict=True)) if a != b]
    if wrong:
        slots = [prompts.parse(str(text)) or {} for text in texts]
        if found == [labels.get("B") for labels in slots]:
            return not_yet(
                f"This is the receiver that the input names. The model says otherwise for {len(wrong)} inputs, such as "
                f"{str(texts[wrong[0]])!r}: there it says {said[wrong[0]]!r}."
            )
        if found == [labels.get("A") for labels in slots]:
            return not_yet("This is the giver; the model names another.")
        i = wrong[0]
        return not_yet(
            f"It is wrong for {len(wrong)} of {len(found)} inputs: {str(texts[i])!r} gives {found[i]!r}, "
            f"the model says {said[i]!r}."
        )
    if elsewhere is not None:
        return not_yet(
            f"It is right on P(X), but {'the cat sat'!r} is no input of it and gets {elsewhere!r}: return None there."
        )
    return right("For every input. The text says one thing, the model another: name which of the two you test.")
