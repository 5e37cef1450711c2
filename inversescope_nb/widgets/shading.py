"""Shading the tokens of the prompt by a quantity of one's choice, on a thread of its own.

What the picked activation says of each token comes with every inversion. The other quantities
(`inversescope_nb.token_quantities`) are of all tokens, each read where it stands: they are computed when they are
chosen, what is on the screen first, and again when the prompt, the site or the bandwidth is another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import Cancelled
from ..token_quantities import QUANTITIES, token_bits, unit_of, why_not
from .jobs import Job, Worker
from .messages import IDLE, status_of

if TYPE_CHECKING:
    from ..generator import Generator
    from .backend import Backend
    from .scope import InverseScopeWidget
    from .token_picker import TokenPicker

PICKED = "picked"
SAID = "given the activation: likelier (+), less likely (\u2212)"
CHUNK = 32
"""Tokens between two looks at what is on the screen."""


class Shading:
    """What shades the picker of a scope."""

    def __init__(self, scope: InverseScopeWidget, picker: TokenPicker, backend: Backend) -> None:
        self._scope, self._picker, self._backend = scope, picker, backend
        self._of_pick: tuple[list[str], list[float | None], float] | None = None
        self.worker = Worker("shading")
        picker.quantity = PICKED
        picker.observe(lambda _change: self.refresh(), names=["quantity"])

    def offer(self) -> None:
        """Say what can be chosen at the site now picked, and why what cannot."""
        site = self._scope.site
        generator = self._backend.shelf.at_hand(site)
        first = {"name": PICKED, "label": "what the picked activation says", "why_not": None}
        others = [
            {"name": q.name, "label": q.label, "why_not": why_not(q.name, self._backend.lm, site, generator)}
            for q in QUANTITIES.values()
        ]
        self._picker.quantities = [first, *others]

    def of_pick(self, bits: Sequence[float], top: float) -> None:
        """What the picked activation says of each token up to it, in bits; the rest is not seen by it."""
        rest = len(self._picker.tokens) - len(bits)
        if rest >= 0:  # else the prompt was edited meanwhile, and another job is on its way
            self._of_pick = (list(self._picker.tokens), [*bits, *[None] * rest], top)
            if self._picker.quantity == PICKED:
                self._show_pick()

    def clear(self) -> None:
        """The picked activation says nothing any more."""
        self._of_pick = None
        if self._picker.quantity == PICKED:
            self._picker.shade(None)

    def refresh(self) -> None:
        """Shade by what is chosen; called whenever the prompt, the site, the bandwidth or the choice is another."""
        quantity = self._picker.quantity
        self.worker.stop()
        if quantity == PICKED:
            self._show_pick()
            return
        scope = self._scope
        generator = self._backend.shelf.at_hand(scope.site)
        asked = (scope.prompt, scope.site, scope.bandwidth, generator)
        if why_not(quantity, self._backend.lm, scope.site, generator):
            self._picker.shade(None)
            return
        label = QUANTITIES[quantity].label
        self._picker.shading = status_of(None, label)
        job = self.worker.submit(
            "shade",
            lambda job: self._read(job, quantity, *asked),
            on_progress=lambda job, progress: setattr(self._picker, "shading", status_of(progress, label)),
        )
        job.when_done(self._done)

    def _done(self, job: Job) -> None:
        if not job.superseded:
            self._picker.shading = dict(IDLE)
        if job.error is not None:
            self._picker.fail(job.error)

    def _show_pick(self) -> None:
        if self._of_pick is not None and self._of_pick[0] == self._picker.tokens:
            _, values, top = self._of_pick
            self._picker.shade(values, label=SAID, unit="bits", diverging=True, top=top)
        else:
            self._picker.shade(None)

    def _read(
        self, job: Job, quantity: str, prompt: str, site: str, bandwidth: float, generator: Generator | None
    ) -> None:
        lm = self._backend.lm
        ids, n = self._backend.ids_of(prompt), len(self._picker.tokens)
        if quantity != "bits":
            self._show(job, quantity, list(QUANTITIES[quantity].read(lm, ids, site, generator)), site, generator)
            return
        values: list[float | None] = [None] * n
        done = 0
        for start, stop in self._turns(n):
            read = token_bits(
                lm, generator, ids, site=site, bandwidth=bandwidth, start=start, stop=stop, progress=False,
                cancel=job.cancel,
            )  # fmt: skip
            values[start:stop] = read[start:stop].tolist()
            done += stop - start
            job.report(done, n, QUANTITIES[quantity].label)
            self._show(job, quantity, values, site, generator)

    def _turns(self, n: int) -> Iterator[tuple[int, int]]:
        """Stretches of tokens, each time the one nearest to what is on the screen by then."""
        left = [(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
        while left:
            first, last = self._picker.visible or (0, n)
            stretch = min(left, key=lambda part: (max(first - part[1], part[0] - last, 0), part[0]))
            left.remove(stretch)
            yield stretch

    def _show(
        self, job: Job, quantity: str, values: list[float | None], site: str, generator: Generator | None
    ) -> None:
        picker = self._picker
        if job.cancel.is_set() or len(values) != len(picker.tokens):
            raise Cancelled  # of a prompt, a site or a choice that is gone
        entry = QUANTITIES[quantity]
        unit = unit_of(quantity, self._backend.lm, site, generator)
        picker.shade(values, label=entry.says, unit=unit, diverging=entry.diverging, top=top_of(values))


def top_of(values: Sequence[float | None]) -> float | None:
    """The top of a scale: the largest size behind the first token, which is often many times that of any other.

    >>> top_of([50.0, 1.0, -2.0, None]), top_of([None])
    (2.0, None)
    """
    sizes = [abs(v) for v in values[1:] if v is not None and math.isfinite(v)]
    return max(sizes, default=0.0) or None
