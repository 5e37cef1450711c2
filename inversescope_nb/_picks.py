"""Which inputs a consistency study picks, where each is cut, and which belong together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arguments import groups_of, token_index
from ._statistics import group_codes
from .errors import InvalidArgument, NotEnumerable, suggest
from .prompts import Prompt, PromptDistribution

if TYPE_CHECKING:
    from .models import LanguageModel

Targets = PromptDistribution | str | Prompt | Sequence[str | Prompt | Sequence[int]]
GroupBy = str | Sequence[Hashable] | Callable[[Prompt], Hashable] | None


@dataclass(frozen=True)
class Picks:
    """The picked inputs of a study."""

    inputs: tuple[tuple[int, ...], ...]
    """Token ids, each ending at the site's token."""
    groups: tuple[int, ...]
    """Which belong together, as codes: resampled, permuted and compared with others as a whole."""


def pick_inputs(
    lm: LanguageModel,
    targets: Targets,
    *,
    n_targets: int,
    position: int,
    slot: str | None,
    group_by: GroupBy,
    seed: int,
) -> Picks:
    """Draw or take the picked inputs, cut each behind its token, and group them.

    A distribution whose whole prompts are cut at one slot is read there, unless another place is asked for.

    Raises:
        InvalidArgument: no targets, a slot that a prompt does not have, or groups that do not fit.
    """
    prompts: Sequence[Any]
    if isinstance(targets, PromptDistribution):
        try:
            prompts = targets.sample(n_targets, seed=seed)
            if slot is None and position == -1:
                slot = targets.slot_of_cut
        except NotEnumerable:  # some distributions only make cut inputs, which end at the site already
            prompts = targets.draw(n_targets, lm, seed=seed)
    else:
        prompts = _given(targets)
    if len(prompts) == 0:
        raise InvalidArgument("targets is empty", hint="give prompts or a PromptDistribution to pick inputs from")
    encoded = lm.encode(prompts)
    lengths = encoded.lengths.tolist()
    if slot is None:
        ends = [token_index(position, length, f"target {i}") for i, length in enumerate(lengths)]
    else:
        ends = _slot_ends(encoded.slot_positions, slot)
    inputs = tuple(tuple(encoded.token_ids[i, : end + 1].tolist()) for i, end in enumerate(ends))
    return Picks(inputs, tuple(merged(_groups(prompts, inputs, group_by), inputs)))


def merged(groups: Sequence[Hashable], inputs: Sequence[Hashable]) -> list[int]:
    """Codes of groups; those that hold an input in common are one: nothing can tell its picks apart.

    >>> merged(["a", "b", "c", "c"], ["x", "x", "y", "z"])
    [0, 0, 1, 1]
    """
    sides = [group_codes(side) for side in (groups, inputs)]
    codes = np.arange(len(groups))
    while True:
        before = codes
        for side in sides:
            least = np.full(len(codes), len(codes))
            np.minimum.at(least, side, codes)
            codes = least[side]
        if (codes == before).all():
            return group_codes(codes.tolist()).tolist()


def _given(targets: Any) -> list[Any]:
    if isinstance(targets, str | Prompt):
        return [targets]
    if not isinstance(targets, Iterable) or isinstance(targets, Mapping):
        raise InvalidArgument(
            f"targets is a {type(targets).__name__}", hint="give a PromptDistribution, such as task.prompts, or prompts"
        )
    return list(targets)


def _slot_ends(slot_positions: dict, slot: str) -> list[int]:
    if slot not in slot_positions:
        raise InvalidArgument(
            f"the targets have no slot {slot!r}.{suggest(slot, slot_positions)}",
            hint=f"their slots: {', '.join(slot_positions) or 'none'}",
        )
    ends = slot_positions[slot].tolist()
    if min(ends) < 0:
        raise InvalidArgument(f"target {ends.index(min(ends))} has no slot {slot!r}", hint="leave it out")
    return ends


def _groups(prompts: Sequence[Any], inputs: Sequence[Hashable], group_by: GroupBy) -> Sequence[Hashable]:
    """What makes picks belong together."""
    if group_by is None:
        return inputs
    if isinstance(group_by, str):
        missing = [p for p in prompts if not isinstance(p, Prompt) or group_by not in p.labels]
        if missing:
            names = sorted({name for p in prompts if isinstance(p, Prompt) for name in p.labels})
            raise InvalidArgument(
                f"not every target has a label {group_by!r} to group by",
                hint=f"labels of the targets: {', '.join(names) or 'none'}",
            )
        return [p.labels[group_by] for p in prompts]
    if not callable(group_by) and not isinstance(group_by, Iterable):
        raise InvalidArgument(
            f"group_by={group_by!r:.60} groups nothing",
            hint="give a label of the prompts, a function of a prompt, or one value per target",
        )
    groups = groups_of([group_by(p) for p in prompts] if callable(group_by) else group_by, "group_by")
    if len(groups) != len(prompts):
        raise InvalidArgument(f"{len(groups)} groups for {len(prompts)} targets", hint="give one group per target")
    return groups
