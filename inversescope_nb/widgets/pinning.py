"""Pinning inversions of a scope and comparing them: what wires `Pins` and `Comparison` to `InverseScopeWidget`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comparison import Comparison
from .pins import Pin, Pins
from .snippet import comparison_code

if TYPE_CHECKING:
    from ..baselines import Metropolis
    from ..generator import Generator
    from ..inversion import Inversion
    from .backend import Backend
    from .jobs import Job
    from .pick_jobs import Asked
    from .scope import InverseScopeWidget


class Pinning:
    """What pins and compares the inversions of a scope."""

    def __init__(self, scope: InverseScopeWidget, backend: Backend) -> None:
        self._scope, self._backend = scope, backend
        self.pins = Pins(go=self._go, compare=self._compare)
        self.comparison = Comparison()
        self.comparison.observe(scope._refresh_picture, names=["revision"])

    def offer(self, asked: Asked, inversion: Inversion | Metropolis | None, generator: Generator | None) -> None:
        """What is shown; what a search found cannot be pinned, nor samples that were drawn for another bandwidth."""
        drawn_at = getattr(inversion, "proposal_bandwidth", None)
        if generator is None or drawn_at != getattr(inversion, "bandwidth", drawn_at) or drawn_at is None:
            self.pins.offer(None)
        else:
            self.pins.offer(Pin(asked._replace(position=inversion.position), inversion, generator))

    def find(self, asked: Asked, generator: Generator) -> Inversion | None:
        """A pinned inversion that has what is asked for, so that its samples need not be drawn again."""
        if not self.pins.pins:
            return None
        at = asked.position
        if at < 0:
            at += len(self._backend.ids_of(asked.prompt))
        return self.pins.find(asked._replace(position=at), generator)

    def _go(self, pin: Pin) -> None:
        """Pick what was pinned, in the order in which each choice allows the next, and invert once."""
        scope, asked = self._scope, pin.asked
        with scope.held_back():
            scope.picker.show_prompt(asked.prompt)
            scope.position = asked.position
            scope.site = asked.site
            scope.bandwidth = asked.bandwidth
            scope.n = asked.n
        scope.invert()

    def _compare(self, first: Pin, second: Pin) -> Job:
        code = comparison_code(self._backend, first, second)
        return self.comparison.compare(lambda job: self._backend.contrast(first, second, job), code)
