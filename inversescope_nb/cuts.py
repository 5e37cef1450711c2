"""Where inputs are cut: an activation is read at an input's last token.

BOS is not counted: "kept" tokens are those behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import InvalidArgument

if TYPE_CHECKING:
    from .encoding import EncodedPrompts
    from .models import LanguageModel

CUTS = ("end", "slot:NAME", "slots", "random", "slots+random")


def check_cut(cut: str) -> str:
    """The cut itself if it is one of :data:`CUTS`; raises `InvalidArgument` otherwise."""
    if cut in ("end", "slots", "random", "slots+random"):
        return cut
    if isinstance(cut, str) and cut.startswith("slot:") and len(cut) > 5:
        return cut
    raise InvalidArgument(f"cut={cut!r} is no cut", hint=f"allowed: {', '.join(CUTS)}")


def cut_weights(cut: str, length: int, slot_ends: Sequence[tuple[str, int]]) -> dict[int, float]:
    """How probable each cut is: number of tokens kept (behind BOS) -> probability.

    Args:
        cut: one of :data:`CUTS`.
        length: tokens of the prompt behind BOS.
        slot_ends: (slot, tokens kept when cut after it), in order.

    >>> cut_weights("slots", 5, [("A", 2), ("B", 5)])
    {2: 0.3333333333333333, 5: 0.6666666666666666}
    """
    if cut == "end":
        return {length: 1.0}
    if cut == "random":
        return {kept: 1 / length for kept in range(1, length + 1)}
    if cut == "slots+random":
        mixed: dict[int, float] = {}
        for part in ("slots", "random"):
            for kept, p in cut_weights(part, length, slot_ends).items():
                mixed[kept] = mixed.get(kept, 0.0) + p / 2
        return mixed
    ends = [kept for _, kept in slot_ends] + [length]
    if cut.startswith("slot:"):
        ends = [kept for name, kept in slot_ends if name == cut[5:]]
        if not ends:
            names = ", ".join(name for name, _ in slot_ends) or "none"
            raise InvalidArgument(f"a prompt has no slot {cut[5:]!r}", hint=f"its slots: {names}")
    weights: dict[int, float] = {}
    for kept in ends:
        weights[kept] = weights.get(kept, 0.0) + 1 / len(ends)
    return weights


def n_bos(lm: LanguageModel) -> int:
    """1 where texts get a BOS in front, else 0."""
    return int(lm.text_bos_id is not None)


def slot_ends(encoded: EncodedPrompts, i: int, bos: int) -> list[tuple[str, int]]:
    """(slot, tokens kept behind BOS when cut after it) of prompt `i`, in order."""
    found = [(name, int(p[i])) for name, p in encoded.slot_positions.items()]
    return [(name, last + 1 - bos) for name, last in sorted(found, key=lambda x: x[1]) if last >= bos]
