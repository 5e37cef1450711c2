"""Draws of one token a row, with a random state of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .errors import NotFinite

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


def draw_tokens(probabilities: Float[Tensor, "n vocab"], rng: torch.Generator) -> Int[Tensor, "n 1"]:
    """One token a row, each as likely as its probability; those of probability 0 never. For rows that hold NaN: any.

    One random number a row is looked up in the cumulated probabilities: ``torch.multinomial`` draws one a token, which
    takes longer than a small model's forward pass.

    Args:
        probabilities: rows that sum to about 1.
        rng: random state, of any device.

    >>> draw_tokens(torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), torch.Generator().manual_seed(0)).tolist()
    [[1], [0]]
    """
    exact = torch.float32 if rng.device.type == "mps" else torch.float64
    return tokens_at(probabilities, torch.rand(len(probabilities), 1, generator=rng, dtype=exact, device=rng.device))


def tokens_at(probabilities: Float[Tensor, "n vocab"], numbers: Float[Tensor, "n 1"]) -> Int[Tensor, "n 1"]:
    """The tokens that random numbers between 0 and 1 stand for: those up to which so much of the probability lies.

    >>> tokens_at(torch.tensor([[0.2, 0.5, 0.3]] * 3), torch.tensor([[0.1], [0.6], [0.9]])).tolist()
    [[0], [1], [2]]
    """
    exact = torch.float32 if probabilities.device.type == "mps" else torch.float64  # of 50,000 summands
    reached = probabilities.cumsum(-1, dtype=exact)
    marks = numbers.to(reached.device, exact) * reached[:, -1:]
    return torch.searchsorted(reached, marks, right=True).clamp_(max=reached.shape[-1] - 1)


def refuse_nan(broken: bool | Bool[Tensor, ""]) -> None:
    """Raises `NotFinite` where probabilities were NaN: not before each draw, since a GPU would be waited for."""
    if bool(broken):
        raise NotFinite("a model's probabilities are NaN", hint="look at its weights, or load it in float32")
