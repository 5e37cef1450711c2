"""Pins: inversions that are kept at hand, to go back to and to compare with the one shown.

A part of `InverseScopeWidget`: it keeps the inversions with their samples, and asks its owner to go to one or to
compare two.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import traitlets as t

from ..errors import InvalidArgument
from .messages import STATIC, MessageWidget, handles

if TYPE_CHECKING:
    from ..generator import Generator
    from ..inversion import Inversion
    from .pick_jobs import Asked

MOST = 8
"""Inversions that can be pinned."""


@dataclass(frozen=True, eq=False)
class Pin:
    """An inversion with what was asked for it."""

    asked: Asked
    """The arguments of the inversion."""
    inversion: Inversion
    """The inversion, with its samples."""
    generator: Generator = field(repr=False)
    """What made it."""

    @property
    def described(self) -> dict[str, Any]:
        """What a shelf shows of it."""
        inv = self.inversion
        return {
            "tokens": list(inv.tokens),
            "site": str(inv.site),
            "bandwidth": float(inv.bandwidth),
            "n": inv.n,
            "verdict": str(inv.verdict),
        }


class Pins(MessageWidget):
    """A shelf of inversions.

    Args:
        go: called with a `Pin` that is to be shown.
        compare: called with two: the pinned one and the one shown.
    """

    _esm = STATIC / "pins.js"

    pins = t.List(t.Dict()).tag(sync=True)
    """Of each pin ``{id, tokens, site, bandwidth, n, verdict}``, in the order of pinning."""
    shown = t.Dict(default_value=None, allow_none=True).tag(sync=True)
    """Of the inversion shown the same, with the id of the pin that it is, or None; None where none can be pinned."""
    most = t.Int(MOST).tag(sync=True)

    def __init__(self, *, go: Callable[[Pin], Any], compare: Callable[[Pin, Pin], Any]) -> None:
        self._go_to, self._compare_both = go, compare
        self._kept: dict[int, Pin] = {}
        self._now: Pin | None = None
        self._count = 0
        self._turn = threading.RLock()  # pins come on the comm thread, inversions on the worker's
        super().__init__()

    @property
    def inversions(self) -> list[Inversion]:
        """The pinned inversions."""
        return [pin.inversion for pin in self._kept.values()]

    def offer(self, pin: Pin | None) -> None:
        """What is shown now, and so can be pinned and compared."""
        with self._turn:
            self._now = pin
            self._refresh()

    def find(self, asked: Asked, generator: Generator) -> Inversion | None:
        """The pinned inversion with these arguments by this generator, if there is one."""
        with self._turn:
            pins = [p for p in self._kept.values() if p.asked == asked and p.generator is generator]
        return pins[0].inversion if pins else None

    @handles("pin")
    def pin(self) -> int:
        """Pin the inversion shown; gives its id.

        Raises:
            InvalidArgument: nothing is shown that can be pinned, or as many are pinned as can be.
        """
        with self._turn:
            if self._now is None:
                raise InvalidArgument("there is no inversion to pin", hint="pick a token at a site with a generator")
            known = self._id_of(self._now)
            if known is not None:
                return known
            if len(self._kept) >= MOST:
                raise InvalidArgument(f"{MOST} inversions are pinned already", hint="remove one first")
            self._count += 1
            self._kept[self._count] = self._now
            self._refresh()
            return self._count

    @handles("unpin")
    def unpin(self, id: int) -> None:
        """Remove a pin."""
        with self._turn:
            self._kept.pop(id, None)
            self._refresh()

    @handles("go")
    def go(self, id: int) -> None:
        """Show a pinned inversion again: its prompt, position, site and bandwidth."""
        self._go_to(self._get(id))

    @handles("compare")
    def compare(self, id: int, other: int | None = None) -> Any:
        """Compare a pinned inversion with another pinned one, or with the one shown; gives the job.

        Raises:
            InvalidArgument: there is no such pin, or nothing is shown.
        """
        with self._turn:
            second = self._now if other is None else self._get(other)
            if second is None:
                raise InvalidArgument("no inversion is shown to compare with", hint="pick a token, or pin another")
            return self._compare_both(self._get(id), second)

    def _get(self, id: int) -> Pin:
        if id not in self._kept:
            raise InvalidArgument(f"no pin has the number {id}", hint=f"there are: {sorted(self._kept) or 'none'}")
        return self._kept[id]

    def _id_of(self, pin: Pin) -> int | None:
        """The id under which the same was pinned."""
        same = (i for i, p in self._kept.items() if p.asked == pin.asked and p.generator is pin.generator)
        return next(same, None)

    def _refresh(self) -> None:
        now = self._now
        self.pins = [{"id": i, **pin.described} for i, pin in self._kept.items()]
        self.shown = None if now is None else {"id": self._id_of(now), **now.described}

    def _picture(self) -> str:
        from ..comparison_page import pins_fragment

        return pins_fragment(self)
