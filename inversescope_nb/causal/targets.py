"""Picked inputs of a causal study: each cut at its site's token, beside the whole prompt in which outputs are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._picks import GroupBy, Targets, pick_inputs
from ..errors import InvalidArgument, NotEnumerable, UnknownSite
from ..prompts import Prompt, PromptDistribution
from .outputs import Answers, Original

if TYPE_CHECKING:
    from ..models import LanguageModel
    from ..sites import Site


@dataclass(frozen=True)
class CausalPicks:
    """The picked inputs of a study."""

    inputs: tuple[tuple[int, ...], ...]
    """Each cut behind the site's token: what features read."""
    whole: tuple[tuple[int, ...], ...]
    """The prompts that they are cut from: what the model runs on."""
    groups: tuple[int, ...]
    """Which belong together, as codes."""

    def originals(self, lm: LanguageModel, answers: Answers) -> list[Original]:
        """What the model says after each whole prompt."""
        return [
            Original.of(lm, whole, len(ids) - 1, answers) for ids, whole in zip(self.inputs, self.whole, strict=True)
        ]


def causal_picks(
    lm: LanguageModel,
    targets: Targets,
    *,
    n: int,
    position: int = -1,
    slot: str | None = None,
    group_by: GroupBy = None,
    seed: int = 0,
) -> CausalPicks:
    """Draws or takes prompts and cuts each behind its token; a distribution's own cut at one slot is used."""
    single = isinstance(targets, str | Prompt)
    prompts: Any = [targets] if single or isinstance(targets, PromptDistribution) else list(targets)  # read once only
    if isinstance(targets, PromptDistribution):
        try:
            prompts = targets.sample(n, seed=seed)
            if slot is None and position == -1:
                slot = targets.slot_of_cut
        except NotEnumerable:  # only cut inputs, which end at the site already
            prompts = targets.draw(n, lm, seed=seed)
    picks = pick_inputs(lm, prompts, n_targets=n, position=position, slot=slot, group_by=group_by, seed=seed)
    encoded = lm.encode(prompts)
    whole = tuple(
        tuple(row[:length].tolist()) for row, length in zip(encoded.token_ids, encoded.lengths.tolist(), strict=True)
    )
    return CausalPicks(picks.inputs, whole, picks.groups)


def patchable(lm: LanguageModel, sites: str | Site | Sequence[str | Site]) -> list[Site]:
    """Sites by name or glob, in the model's order; those that are computed only are refused."""
    several = isinstance(sites, Sequence) and not isinstance(sites, str)
    wanted: dict[str, Site] = {}
    for spec in sites if several else [sites]:  # type: ignore[union-attr]
        names = lm.sites(spec) if isinstance(spec, str) and any(c in spec for c in "*?") else [lm.site(spec).name]
        if not names:
            raise UnknownSite(f"the model has no site {spec!r}", hint="lm.sites() lists them")
        for name in names:
            wanted[name] = lm.site(name)
    if not wanted:
        raise UnknownSite("no site was given", hint="give names, or a glob such as 'blocks.*.hook_resid_post'")
    for site in wanted.values():
        if site.kind == "result":
            raise InvalidArgument(
                f"{site.name} is computed, not a place in the forward pass",
                hint=f"take the head's z: {site.name.replace('hook_result', 'hook_z')}",
            )
    return list(wanted.values())
