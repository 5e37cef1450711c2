"""Features that a prompt distribution reads off its own texts: a label or slot, and the token of a slot.

Where a slot stands follows from how a text is read. 1. Every reading says which template it is, and what its slots
hold so far; a text that is listed knows its slots. 2. Writing the template up to the slot gives the slot's place, which
counts if the text begins with just what was written. 3. Where several readings are left (whole prompts before
beginnings, as in `parse`), they must agree on the place. Places are counted in letters, since tokenizers move spaces.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from .._arguments import check_prompts, whole_number
from ..errors import InvalidArgument, suggest
from .base import Feature
from .text import InputText, tokens_of

if TYPE_CHECKING:
    from ..prompts import PromptDistribution
    from ..templates import Template


def slot(prompts: PromptDistribution, label: str, *, description: str = "") -> Feature:
    """A label that the prompt distribution reads off its own texts; undefined off its support.

    The distribution's `parse` gives the labels of a text, or of the beginning of one, so that a
    label is undefined where the text ends before it is decided.

    >>> import inversescope_nb as isn
    >>> P = isn.PromptDistribution.from_templates(["{A} and {B} left"], {"A": ["Ann"], "B": ["Tom", "Tim"]})
    >>> slot(P, "B").labels(["Ann and Tim left", "Ann and", "nobody left"])
    ['Tim', None, None]
    """
    check_prompts(prompts)
    if not isinstance(label, str):
        raise InvalidArgument(f"label is a {type(label).__name__}", hint="give the name of a slot or of a label")

    def fn(text: InputText) -> Hashable | None:
        labels = prompts.parse(str(text))
        return None if labels is None else labels.get(label)

    undefined = f"texts that {prompts.name} does not make, or that end before {label!r} is decided"
    return Feature(label, fn, description or f"the label {label!r} of {prompts.name}", undefined=undefined)


def token_in_slot(prompts: PromptDistribution, slot: str, index: int = -1) -> Feature:
    """A token of what stands in a slot, wherever that is: by default its last one, where the slot's value is known.

    It is undefined where the text ends before the slot does, where the slot has fewer tokens, and where it cannot be
    told for certain which tokens are its own: the text can be read in ways that put it elsewhere, or its tokens do not
    add up to it (such as those that end inside a character). A token counts if any letter of it is the slot's.

    Args:
        prompts: whose slot: templates, texts with slots, or a mixture of those.
        slot: its name.
        index: which of its tokens, counted from 0, negative from its end.

    Raises:
        InvalidArgument: the prompts have no such slot.

    >>> import inversescope_nb as isn
    >>> P = isn.PromptDistribution.from_templates(["{A} saw {B}"], {"A": ["Ann", "Tom"], "B": ["Ann", "New York"]})
    >>> text = InputText("Ann saw New York", ("<bos>", "Ann", " saw", " New", " York"))
    >>> token_in_slot(P, "B")(text), token_in_slot(P, "B", 0)(text), token_in_slot(P, "B", 2)(text)
    (' York', ' New', None)
    """
    check_prompts(prompts)
    index = whole_number("index", index, hint="-1 is the last token of the slot, 0 the first")
    known = _slot_names(prompts)
    if not isinstance(slot, str) or slot not in known:
        raise InvalidArgument(
            f"{prompts.name} has no slot {slot!r:.60}.{suggest(str(slot), known)}",
            hint=f"there are: {', '.join(known)}" if known else "templates have slots, and Prompt(text, slots={...})",
        )
    place_of = lru_cache(maxsize=16_384)(lambda text: _place(prompts, text, slot))

    def fn(text: InputText) -> str | None:
        place = place_of(str(text))
        tokens = tokens_of(text)
        found = _tokens_within(text, tokens, *place) if place is not None else []
        return found[index] if -len(found) <= index < len(found) else None

    which = {-1: "the last token", 0: "the first token"}.get(index, f"token {index}")
    return Feature(
        f"{which.removeprefix('the ')} of {slot}",
        fn,
        f"{which} of what stands in the slot {slot} of {prompts.name}",
        undefined=f"texts that {prompts.name} does not make, that end before {slot!r} does, or in which its tokens "
        "cannot be told for certain" + (", or are fewer" if index not in (-1, 0) else ""),
    )


def _slot_names(prompts: PromptDistribution) -> list[str]:
    """The slots whose places are known."""
    from ..mixture import Mixture
    from ..template_prompts import TemplatePrompts
    from ..text_prompts import TextPrompts

    names: Iterable[str] = ()
    if isinstance(prompts, Mixture):
        names = (name for part in prompts.parts for name in _slot_names(part))
    elif isinstance(prompts, TemplatePrompts):
        names = (name for template in prompts.templates for name in template.visible)
    elif isinstance(prompts, TextPrompts):
        names = (name for prompt in prompts.prompts for name in prompt.slots)
    return list(dict.fromkeys(names))


def _place(prompts: PromptDistribution, text: str, slot: str) -> tuple[int, int] | None:
    """Where a slot stands in a text, as a half-open span of its letters; None where that is not certain."""
    found = list(_places(prompts, text, slot))
    places = {place for place, is_whole in found if is_whole} or {place for place, _ in found}
    return places.pop() if len(places) == 1 else None


def _places(prompts: PromptDistribution, text: str, slot: str) -> Iterator[tuple[tuple[int, int] | None, bool]]:
    """Of every reading: where the slot stands (None: not there in whole), and whether it is a whole prompt."""
    from ..mixture import Mixture
    from ..template_prompts import TemplatePrompts

    letters = _letters(text)
    if isinstance(prompts, Mixture):
        for part in prompts.parts:
            yield from _places(part, text, slot)
    elif isinstance(prompts, TemplatePrompts):
        for labels, is_whole in prompts.readings(text):
            named = [one for one in prompts.templates if (one.name or one.text) == labels.get("template")]
            for place in {_place_in(one, labels, letters, slot) for one in named} - {None} or {None}:
                yield place, is_whole
    elif letters:
        for prompt in prompts.prompts:
            if (whole := _letters(prompt.text)).startswith(letters):
                start, stop = (len(_letters(prompt.text[:end])) for end in prompt.slots.get(slot, (0, 0)))
                yield (start, stop) if start < stop <= len(letters) else None, whole == letters


def _place_in(template: Template, labels: Mapping[str, Hashable], letters: str, slot: str) -> tuple[int, int] | None:
    """Where a template with these slots puts one of them; None where the text does not begin like that."""
    if slot not in labels or slot not in template.visible:
        return None
    written, spans = template.write({name: str(labels.get(name, "")) for name in template.visible})
    start, stop = (len(_letters(written[:end])) for end in spans[slot])
    return (start, stop) if letters.startswith(_letters(written)[:stop]) and stop <= len(letters) else None


def _tokens_within(text: str, tokens: tuple[str, ...], start: int, stop: int) -> list[str]:
    """The tokens of which a letter lies in a span of letters; none where the tokens do not add up to the text.

    >>> _tokens_within("a New York", ("<bos>", "a", "New", "York"), 1, 8)
    ['New', 'York']
    """
    letters = _letters(text)
    for skipped in (0, 1):  # a first token may be a BOS, which the text does not show
        own = tokens[skipped:]
        if _letters("".join(own)) == letters:
            break
    else:
        return []
    found, at = [], 0
    for token in own:
        end = at + len(_letters(token))
        if max(at, start) < min(end, stop):
            found.append(token)
        at = end
    return found


def _letters(text: str) -> str:
    """A text without its spaces."""
    return "".join(text.split())
