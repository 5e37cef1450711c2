"""Matching pursuit in a dictionary whose atoms are activations: how it grows, and how activations are written in it.

See :mod:`.dictionary` for the method and its source.
Axis names: n (inputs), d (site width), a (atoms), k (atoms of one reconstruction).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import Cancelled

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

_FEW, _ROWS = 8, 1024  # activations looked at together: few behind a new atom, as all behind the next are done anew
_RIDGE = 1e-10  # keeps the fit of chosen atoms solvable where one is a combination of others
_NOTHING = 1e-9  # a share of |s|: what is left is rounding


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Atoms, each the activation of an input of P(X), and how activations are written in them."""

    atoms: Float[Tensor, "a d"]
    """Of length 1."""
    rows: tuple[int, ...]
    """Which of the activations that it was built from each one is."""
    offset: Float[Tensor, " d"]
    """What is added to standardised activations first: 0, or what makes them multiples of the target's own."""
    k: int
    """Atoms of one reconstruction at most."""

    @classmethod
    def built(
        cls,
        u: Float[Tensor, "n d"],
        *,
        k: int = 8,
        threshold: float = 0.2,
        atoms: int = 1024,
        offset: Float[Tensor, " d"] | None = None,
        cancel: threading.Event | None = None,
    ) -> Dictionary:
        """Looks at activations in their order; arguments as of :func:`dictionary`."""
        offset = u.new_zeros(u.shape[1]).double() if offset is None else offset.double()
        signal = u.double() + offset
        found, gram, rows = signal[:0], signal.new_zeros(0, 0), []
        at, size = 0, _FEW
        while at < len(signal) and len(rows) < atoms:
            if cancel is not None and cancel.is_set():
                raise Cancelled("building the dictionary was stopped")
            block = signal[at : at + min(size, _ROWS)]
            error = normalised_error(block, pursue(block, found, k, gram=gram) @ found)
            wrong = (error > threshold).nonzero()[:, 0].tolist()
            if not wrong:
                at, size = at + len(block), 2 * size
                continue
            row = at + wrong[0]
            new = signal[row : row + 1] / signal[row].norm()
            beside = new @ found.T
            gram = torch.cat([torch.cat([gram, beside]), torch.cat([beside.T, new @ new.T])], 1)
            found = torch.cat([found, new])
            rows.append(row)
            at, size = row + 1, _FEW
        return cls(found, tuple(rows), offset, k)

    def encode(self, u: Float[Tensor, "n d"]) -> Float[Tensor, "n a"]:
        """Coefficients of standardised activations, at most k of a row different from 0."""
        parts = [pursue(block.double() + self.offset, self.atoms, self.k) for block in u.split(4096)]
        return torch.cat(parts) if parts else u.new_zeros(0, len(self.atoms)).double()

    def decode(self, codes: Float[Tensor, "n a"]) -> Float[Tensor, "n d"]:
        """Standardised activations of coefficients."""
        return codes @ self.atoms - self.offset

    def error(self, u: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """|s - s'|^2 / |s|^2 of the reconstructions; 1 says that nothing was reconstructed."""
        return normalised_error(u.double() + self.offset, self.encode(u) @ self.atoms)


def normalised_error(signal: Float[Tensor, "n d"], found: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """|s - s'|^2 / |s|^2; 0 where s is 0.

    >>> normalised_error(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 0.0]]))
    tensor([0.6400])
    """
    size = signal.square().sum(1)
    return torch.where(size > 0, (signal - found).square().sum(1) / size.clamp(min=1e-300), 0.0)


def pursue(
    signal: Float[Tensor, "n d"], atoms: Float[Tensor, "a d"], k: int, *, gram: Float[Tensor, "a a"] | None = None
) -> Float[Tensor, "n a"]:
    """Orthogonal matching pursuit of many signals at once: their coefficients of at most k atoms of length 1 each.

    `gram`: the products of all pairs of atoms, where they are known.

    >>> atoms = torch.eye(3, dtype=torch.float64)
    >>> pursue(torch.tensor([[1.0, -3.0, 2.0]], dtype=torch.float64), atoms, 2).round(decimals=6).tolist()
    [[0.0, -3.0, 2.0]]
    """
    codes = signal.new_zeros(len(signal), len(atoms))
    steps = min(k, len(atoms))
    if not steps or not len(signal):
        return codes
    projections, gram = signal @ atoms.T, atoms @ atoms.T if gram is None else gram
    chosen = torch.zeros(len(signal), 0, dtype=torch.long)
    open_ = torch.ones_like(codes, dtype=torch.bool)
    size = signal.norm(dim=1)
    done = size <= 0
    fit = codes[:, :0]
    for step in range(steps):
        left = projections - (fit[:, None] @ gram[chosen])[:, 0] if step else projections
        strength, best = left.abs().where(open_, torch.tensor(-1.0, dtype=left.dtype)).max(1)
        done = done | (strength <= _NOTHING * size)
        chosen = torch.cat([chosen, best[:, None]], 1)
        open_.scatter_(1, best[:, None], False)
        among = gram[chosen[:, :, None], chosen[:, None, :]]
        among = among + _RIDGE * torch.eye(step + 1, dtype=among.dtype)
        new = torch.linalg.solve(among, projections.gather(1, chosen))
        old = torch.cat([fit, fit.new_zeros(len(fit), 1)], 1)
        fit = torch.where(done[:, None], old, new)  # where nothing is left, further atoms stay 0
    return codes.scatter(1, chosen, fit)
