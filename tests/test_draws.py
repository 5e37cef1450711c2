"""Draws of one token a row: frequencies against probabilities, what cannot be drawn, and seeds."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from inversescope_nb._draws import draw_tokens, refuse_nan
from inversescope_nb.errors import NotFinite


def rng_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(3))
def test_tokens_come_as_often_as_they_are_likely(seed) -> None:
    rows = torch.tensor([[0.5, 0.0, 0.3, 0.2, 0.0], [0.0, 0.9, 0.0, 0.05, 0.05]])
    n = 5000
    drawn = draw_tokens(rows.repeat(n, 1), rng_of(seed)).reshape(n, 2)
    for row, tokens in zip(rows, drawn.T, strict=True):
        counts = torch.bincount(tokens, minlength=5)
        assert counts[row == 0].tolist() == [0] * int((row == 0).sum())
        observed, expected = counts[row > 0].double(), row[row > 0].double() / row.double().sum() * n
        assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_a_rare_token_behind_many_others_is_drawn_as_often_as_it_is_likely() -> None:
    """Sums of 50,000 float32 numbers would lose it."""
    vocab, n, p = 50_000, 2000, 0.01
    row = torch.full((vocab,), (1 - p) / (vocab - 1))
    row[-1] = p
    found = sum(int((draw_tokens(row.repeat(100, 1), rng_of(i)) == vocab - 1).sum()) for i in range(n // 100))
    assert stats.binomtest(found, n, p).pvalue > 1e-4


def test_rows_are_drawn_independently_of_one_another() -> None:
    tokens = draw_tokens(torch.full((4000, 2), 0.5), rng_of(0))[:, 0]
    table = torch.bincount(2 * tokens[::2] + tokens[1::2], minlength=4).reshape(2, 2)
    assert stats.chi2_contingency(table.numpy()).pvalue > 1e-4


def test_what_has_no_probability_is_never_drawn_whatever_the_random_number_is(monkeypatch) -> None:
    rows = torch.tensor([[0.0, 0.25, 0.75, 0.0]]).repeat(2, 1)
    ends = torch.tensor([[0.0], [1 - 2.0**-53]], dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *_args, **_kwargs: ends)
    assert draw_tokens(rows, rng_of(0)).tolist() == [[1], [2]]


def test_the_same_seed_gives_the_same_tokens_and_other_seeds_others() -> None:
    rows = torch.rand(64, 30, generator=rng_of(9)).softmax(-1)
    state = torch.get_rng_state()
    first = draw_tokens(rows, rng_of(1))
    assert first.shape == (64, 1)
    assert first.tolist() == draw_tokens(rows, rng_of(1)).tolist() != draw_tokens(rows, rng_of(2)).tolist()
    assert torch.equal(torch.get_rng_state(), state), "the random state of others is left alone"
    assert draw_tokens(rows[:0], rng_of(1)).shape == (0, 1)


def test_rows_that_hold_nan_give_a_token_and_other_rows_their_own() -> None:
    rows = torch.tensor([[0.0, 1.0, 0.0], [0.5, torch.nan, 0.5]])
    for seed in range(5):
        fine, broken = draw_tokens(rows, rng_of(seed))[:, 0].tolist()
        assert fine == 1
        assert broken in range(3)


def test_nan_is_refused_afterwards() -> None:
    refuse_nan(torch.tensor(False))
    with pytest.raises(NotFinite, match="NaN"):
        refuse_nan(torch.tensor(True))
