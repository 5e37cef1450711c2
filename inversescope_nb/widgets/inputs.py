"""The inputs around a pick: P(X), the task that can make it, its ready-made hypotheses, others like it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import BadPrompt, InvalidArgument, NotEnumerable
from ..features import Feature, InputText
from ..model_prompts import ModelPrompts
from ..prompts import Prompt
from ..rates import WRITTEN_TEXTS, prior_draws

if TYPE_CHECKING:
    from ..generator import Generator
    from ..models import LanguageModel
    from ..prompts import PromptDistribution

EXAMPLES = 4
"""Prompts to choose from, of each part of P(X)."""
TASK_DRAWS = 512
"""Inputs of a task, of which those like the pick are kept."""
TARGETS, SAMPLES, SWEEP_SAMPLES = 32, 64, 32
SEARCH_SECONDS = 10.0
"""That a search without a generator may take."""
OWN_TOKENS = 64
OWN_PRIOR = (
    "For this input, chance is taken over inputs that the generator writes by itself: its P(X) was not saved in a "
    "form that can be drawn from."
)


@dataclass(frozen=True)
class Prior:
    """Unrelated inputs, for chance levels."""

    texts: list[InputText]
    """The inputs, drawn once."""
    note: str = ""
    """What to say where they are not draws from P(X)."""


@dataclass(frozen=True)
class _Targets:
    """Inputs to pick besides one."""

    inputs: list[list[int]]
    """As token ids."""
    words: str
    """What they have in common with it."""
    source: str
    """The Python that draws them, or more of which they are some."""
    condition: str = ""
    """Of those, in Python: which they are."""


class Inputs:
    """Inputs that are thought possible for one model.

    Args:
        lm: the target model.
        prompts: P(X) where no generator says it; None for the packaged tasks' or the model's own texts.
    """

    def __init__(self, lm: LanguageModel, prompts: PromptDistribution | None = None) -> None:
        self.lm = lm
        self._prompts = prompts
        self._prior: dict[int, Prior] = {}
        self._turn = threading.RLock()
        self._last_targets: tuple[tuple[tuple[int, ...], int], _Targets] | None = None

    @cached_property
    def _tasks(self) -> list[tuple[PromptDistribution, list[Feature]]]:
        """Prompts and features of the packaged tasks; kept, since the first look at a task compiles it."""
        from ..tasks import TASKS, get_task

        tasks = [get_task(name) for name in TASKS]
        return [(task.prompts, list(task.features.values())) for task in tasks]

    @cached_property
    def _all_tasks(self) -> PromptDistribution:
        from ..tasks import get_prompts

        return get_prompts("all_tasks")

    @cached_property
    def _own_texts(self) -> PromptDistribution:
        from ..prompts import PromptDistribution

        return PromptDistribution.from_model(self.lm, max_tokens=self._max_tokens)

    @property
    def _max_tokens(self) -> int:
        return min(OWN_TOKENS, self.lm.n_ctx - 1)

    def prompts_for(self, prompt: str, generator: Generator | None = None) -> PromptDistribution:
        """P(X): the generator's; else the one given; else the packaged tasks', if they can make this prompt;
        else texts that the model writes itself."""
        if generator is not None:
            return generator.prompts
        if self._prompts is not None:
            return self._prompts
        return self._all_tasks if self._all_tasks.parse(prompt) is not None else self._own_texts

    def match(self, fingerprint: str) -> PromptDistribution | None:
        """The P(X) in use here that has this fingerprint; None where there is none."""
        try:
            usual = (self._all_tasks, self._own_texts) if self._prompts is None else (self._prompts,)
            return next((prompts for prompts in usual if prompts.fingerprint == fingerprint), None)
        except (InvalidArgument, NotEnumerable):  # a model that cannot write, prompts without a fingerprint
            return None

    def prompts_code(self, prompt: str) -> str:
        """The Python that makes `prompts_for` this prompt."""
        if self._prompts is not None:
            return 'prompts = isn.PromptDistribution.from_texts(["..."])  # put the P(X) of the widget here'
        if self.prompts_for(prompt) is self._all_tasks:
            return 'prompts = isn.tasks.get_prompts("all_tasks")'
        return f"prompts = isn.PromptDistribution.from_model(lm, max_tokens={self._max_tokens})"

    def live_code(self, prompts: PromptDistribution) -> str:
        """The Python that makes a P(X) which a generator's file does not hold; empty where it does, or never did."""
        from ..prompts import PromptDistribution

        if type(prompts) is PromptDistribution:  # of a generator that came from a file
            return ""
        try:
            prompts.to_spec()
        except NotEnumerable:
            pass
        else:
            return ""
        return 'isn.PromptDistribution.from_texts(["..."])  # put the P(X) of the widget here'

    def examples(self, generator: Generator | None) -> dict[str, list[Prompt]]:
        """Prompts to begin with, label -> some: of each part of P(X), or what its model writes; where that cannot be
        drawn from, of each packaged task that this tokenizer can write."""
        sources = [generator.prompts] if generator is not None else []
        sources += [self._prompts] if self._prompts is not None else []
        for source in [*sources, self._all_tasks]:
            parts = getattr(source, "parts", (source,))
            found: dict[str, list[Prompt]] = {}
            for part in parts:
                try:
                    drawn = {prompt.text: prompt for prompt in self._some(part)}
                    for prompt in drawn.values():
                        self.lm.encode(prompt)
                except (NotEnumerable, BadPrompt):
                    continue
                found[part.name.replace("_", " ")] = list(drawn.values())
            if found:
                return found
        return {}

    def _some(self, part: PromptDistribution) -> list[Prompt]:
        """A few prompts of one part of P(X)."""
        if not isinstance(part, ModelPrompts):
            return part.sample(EXAMPLES, seed=1)
        begins = int(self.lm.text_bos_id is not None)
        longest = sorted(part.draw(4 * EXAMPLES, self.lm, seed=1), key=len)[-EXAMPLES:]  # a word or two say little
        return [Prompt(self.lm.decode(ids[begins:])) for ids in longest]

    def position_of(self, prompt: Prompt, generator: Generator | None) -> int:
        """Where P(X) cuts an example: its last token, or that of the slot at which P(X) always cuts."""
        slot = self.prompts_for(prompt.text, generator).slot_of_cut
        found = None if slot is None else self.lm.encode(prompt).slot_positions.get(slot)
        return -1 if found is None else int(found[0])

    def _task_of(self, text: InputText) -> tuple[PromptDistribution, list[Feature]] | None:
        """Prompts and features of the packaged task that can make this input, or the beginning of one."""
        plain = self.plain(text)
        return next(((prompts, found) for prompts, found in self._tasks if prompts.parse(plain) is not None), None)

    def plain(self, text: InputText) -> str:
        """The text without the BOS that the tokenizer puts in front."""
        bos = self.lm.tokenizer.bos_token
        return str(text).removeprefix(bos).lstrip() if bos else str(text)

    def features_for(self, text: InputText) -> list[Feature]:
        """The ready-made features of the task that can make this input, as far as they are defined for it."""
        task = self._task_of(text)
        return [] if task is None else [feature for feature in task[1] if feature(text) is not None]

    def prior(
        self, prompts: PromptDistribution, generator: Generator | None, cancel: threading.Event | None = None
    ) -> Prior:
        """Inputs drawn from P(X), for chance levels; drawn once, which may take long where a model writes them.

        A P(X) that cannot be rebuilt from its run card (templates with functions in them) is stood in for
        by the generator's own prior, and the note says so.
        """
        if id(prompts) not in self._prior:
            try:
                drawn, note = prompts.draw(prior_draws(prompts), self.lm, seed=0, cancel=cancel), ""
            except NotEnumerable:
                if generator is None:
                    raise
                with self.lm.lock:  # its backbone may be the model itself
                    written = generator.sample(generator.no_condition(1), WRITTEN_TEXTS, seed=0)
                drawn, note = [ids for ids, ended in written if ended and ids], OWN_PRIOR
            self._prior[id(prompts)] = Prior([InputText.from_ids(ids, self.lm) for ids in drawn], note)
        return self._prior[id(prompts)]

    def prior_code(self, prompt: str, generator: Generator | None) -> list[str]:
        """The Python that makes the texts of :meth:`prior`, of prompts that the code has at hand."""
        read = "isn.features.InputText.from_ids(ids, lm)"
        if generator is not None and self.prior(generator.prompts, generator).note:
            return [
                f"written = gen.sample(gen.no_condition(1), {WRITTEN_TEXTS}, seed=0)  # its P(X) cannot be drawn from",
                f"prior = [{read} for ids, ended in written if ended and ids]",
            ]
        prompts = "prompts" if generator is None else "gen.prompts"
        given = self.prompts_for(prompt, generator)
        return [f"prior = [{read} for ids in {prompts}.draw({prior_draws(given)}, lm, seed=0)]"]

    def targets_for(self, pick: InputText, generator: Generator) -> list[list[int]]:
        """Inputs to pick besides this one, of its task or else of P(X): those that end with the slot that it ends
        with; else those that end with the same token, else those that end after as many tokens, else any."""
        return self._targets(pick, generator).inputs

    def alike(self, pick: InputText, generator: Generator) -> str:
        """What :meth:`targets_for` have in common with the picked input, in words."""
        return self._targets(pick, generator).words

    def targets_code(self, pick: InputText, generator: Generator, ids: str = "inv.prompt_ids") -> list[str]:
        """The Python that makes :meth:`targets_for`, of ``lm``, ``prior`` and ``ids``, those of the picked input."""
        found = self._targets(pick, generator)
        if not found.condition:
            return [f"targets = {found.source}[:{TARGETS}]"]
        kept = found.condition.replace("inv.prompt_ids", ids)
        return [f"targets = {found.source}", f"targets = [ids for ids in targets if {kept}][:{TARGETS}]"]

    def _targets(self, pick: InputText, generator: Generator) -> _Targets:
        """The last are kept: they are asked for with a measurement, for its caption and for its code."""
        key = (tuple(pick.token_ids), id(generator))
        with self._turn:
            if self._last_targets is None or self._last_targets[0] != key:
                self._last_targets = key, self._find_targets(pick, generator)
            return self._last_targets[1]

    def _find_targets(self, pick: InputText, generator: Generator) -> _Targets:
        task = self._task_of(pick)
        prompts = generator.prompts if task is None else task[0]
        if slot := prompts.slot_at_end(self.plain(pick)):
            made = f"isn.tasks.get_prompts({prompts.name!r}, cut='slot:{slot}')"
            made = f"gen.prompts.cut_at('slot:{slot}')" if task is None else made
            try:
                inputs = prompts.cut_at(f"slot:{slot}").draw(TARGETS, self.lm, seed=1)
            except (InvalidArgument, NotEnumerable):  # a part without that slot, or one that cannot be cut elsewhere
                inputs = []
            if _are_many(inputs):
                return _Targets(inputs, f"cut at the same slot, {slot}", f"{made}.draw({TARGETS}, lm, seed=1)")
        if task is None:
            inputs = [list(text.token_ids) for text in self.prior(generator.prompts, generator).texts]
            source = "[list(text.token_ids) for text in prior]"
        else:
            inputs = prompts.draw(TASK_DRAWS, self.lm, seed=1)
            source = f"isn.tasks.get_prompts({prompts.name!r}).draw({TASK_DRAWS}, lm, seed=1)"
        last, n = pick.token_ids[-1], len(pick.token_ids)
        for words, condition, found in (
            ("that end with the same token", "ids[-1] == inv.prompt_ids[-1]", [x for x in inputs if x[-1] == last]),
            ("of as many tokens", "len(ids) == len(inv.prompt_ids)", [x for x in inputs if len(x) == n]),
        ):
            if _are_many(found):
                return _Targets(found[:TARGETS], words, source, condition)
        return _Targets(inputs[:TARGETS], f"any of {prompts.name}", source)


def _are_many(inputs: list[list[int]]) -> bool:
    """Whether there are enough different ones to pick from."""
    return len(set(map(tuple, inputs))) >= TARGETS // 2
