"""What a task is: prompts that a model can answer, features of them, and where to look."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, UnknownFeature, suggest
from ..prompts import PromptDistribution
from ..template_prompts import TemplatePrompts
from ..templates import Template

if TYPE_CHECKING:
    from ..features import Feature
    from ..models import LanguageModel

SPLITS = ("all", "train", "held_out")


@dataclass(frozen=True)
class Task:
    """A task with its prompts; made by the functions of :mod:`inversescope_nb.tasks`."""

    name: str
    """Its name, such as ``"ioi"``."""
    templates: Mapping[str, Sequence[Template]]
    """Split (``train``, ``held_out``) to templates; ``all`` is both together unless it is given too."""
    feature_labels: Mapping[str, str]
    """Feature name to what it means, each the label of that name."""
    cut: str = "slots+random"
    """Where the inputs of :attr:`prompts` end."""
    sites: Callable[[LanguageModel], list[str]] = lambda lm: lm.sites("blocks.*.hook_resid_post")
    """Where the task is usually looked for."""

    def split(self, name: str = "all", *, cut: str | None = None) -> PromptDistribution:
        """The prompts of one split (``all``, ``train``, ``held_out``), cut at `cut`."""
        if name not in SPLITS:
            raise InvalidArgument(f"split {name!r} of {self.name}", hint=f"allowed: {', '.join(SPLITS)}")
        both = [*self.templates["train"], *self.templates["held_out"]]
        templates = self.templates.get(name, both)
        cut = cut or self.cut
        spec = {"kind": "task", "task": self.name, "split": name, "cut": cut}
        title = self.name if name == "all" else f"{self.name} ({name.replace('_', '-')})"
        return TemplatePrompts(templates, name=title, cut=cut, spec=spec)

    @functools.cached_property
    def prompts(self) -> PromptDistribution:
        """All prompts of the task."""
        return self.split("all")

    @functools.cached_property
    def held_out(self) -> PromptDistribution:
        """Whole prompts that the packaged model was not trained on, cut at the end."""
        return self.split("held_out", cut="end")

    @functools.cached_property
    def features(self) -> dict[str, Feature]:
        """Ready-made hypotheses: each reads one label off an input, None where the input does not show it."""
        from .. import features

        made = {name: features.slot(self.prompts, name, description=why) for name, why in self.feature_labels.items()}
        home = f"isn.tasks.{self.name}().features"
        return _Features({name: replace(feature, code=f"{home}[{name!r}]") for name, feature in made.items()})

    def __repr__(self) -> str:
        return f"Task({self.name!r}, features: {', '.join(self.feature_labels)})"

    def sites_of_interest(self, lm: LanguageModel) -> list[str]:
        """Names of the sites where the task is usually looked for."""
        return self.sites(lm)


class _Features(dict):
    """Features by name; one that is not there is refused with those that are."""

    def __missing__(self, name: object) -> Feature:
        raise UnknownFeature(
            f"there is no feature {name!r}.{suggest(str(name), self)}", hint=f"there are: {', '.join(self)}"
        )
