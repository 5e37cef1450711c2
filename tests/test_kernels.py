"""Standardised units, distance and kernel: worked examples, invariances, and the noise whose density the kernel is."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from inversescope_nb import kernels
from inversescope_nb._sphere import bits_of_direction, mean_cosine, von_mises_fisher
from inversescope_nb.errors import InvalidArgument
from inversescope_nb.kernels import BANDWIDTHS, METRICS, Kernel, check_bandwidth, distance, site_statistics

sizes = st.tuples(st.integers(2, 20), st.integers(1, 6), st.integers(0, 1000))


def cloud(n: int, d: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 5 * rng.normal(size=d), dtype=torch.float32)


@pytest.mark.parametrize("metric", METRICS)
def test_moments_do_not_depend_on_how_many_activations_are_read_at_a_time(metric, monkeypatch) -> None:
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(50, 4, generator=rng) * torch.tensor([3.0, 1.0, 0.5, 0.1]) + 2
    weights = torch.rand(50, generator=rng)
    whole = site_statistics(z, weights, kernel=Kernel(metric))
    monkeypatch.setattr(kernels, "_ROWS", 7)
    parts = site_statistics(z, weights, kernel=Kernel(metric))
    assert parts.scale == pytest.approx(whole.scale)
    torch.testing.assert_close(parts.eigenvalues, whole.eigenvalues)
    torch.testing.assert_close(parts.standardise(z), whole.standardise(z))


def test_moments_by_hand() -> None:
    s = site_statistics(torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
    assert s.mean.tolist() == [2.0, 2.0]
    assert s.scale == pytest.approx(math.sqrt((1 + 4) / 2))
    assert s.eigenvalues.tolist() == pytest.approx([2.0, 0.0], abs=1e-6)
    assert s.eigenvectors[:, 0].abs().tolist() == pytest.approx([1 / math.sqrt(5), 2 / math.sqrt(5)])
    assert s.standardise(torch.tensor([[2.0, 2.0]])).tolist() == [[0.0, 0.0]]
    assert (s.width, s.is_constant) == (2, False)


@settings(max_examples=60, deadline=None)
@given(sizes)
def test_background_pairs_lie_root_two_apart_at_any_width(size) -> None:
    z = cloud(*size)
    s = site_statistics(z)
    u = s.standardise(z)
    assert float(s.eigenvalues.sum()) == pytest.approx(s.width, rel=1e-4)
    pairs = distance(u[:, None], u[None])
    assert float(pairs.square().mean()) == pytest.approx(2.0, rel=1e-3)
    covariance = s.eigenvectors @ torch.diag(s.eigenvalues) @ s.eigenvectors.T
    torch.testing.assert_close(covariance, u.T @ u / len(u), atol=2e-3, rtol=2e-3)
    assert (s.eigenvalues.diff() <= 1e-5).all()


@settings(max_examples=40, deadline=None)
@given(sizes, st.floats(0.01, 100), st.floats(-10, 10))
def test_units_do_not_depend_on_scale_place_or_axes(size, scale, shift) -> None:
    z = cloud(*size)
    a = site_statistics(z).standardise(z)
    moved = z * scale + shift
    spread = (moved - moved.mean(0)).abs().max() / moved.abs().max()
    assume(spread > 1e-4)  # nearer ones are rounded together, and a site that varies by 1e-6 of its size is CONSTANT
    torch.testing.assert_close(site_statistics(moved).standardise(moved), a, atol=5e-2, rtol=5e-2)
    turn = torch.linalg.qr(torch.randn(size[1], size[1], generator=torch.Generator().manual_seed(size[2])))[0]
    turned = z @ turn
    b = site_statistics(turned).standardise(turned)
    torch.testing.assert_close(distance(b, b[:1]), distance(a, a[:1]), atol=1e-3, rtol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.integers(1, 4), st.integers(0, 100))
def test_weights_count_as_repetitions(counts, d, seed) -> None:
    z = cloud(len(counts), d, seed)
    weighted = site_statistics(z, torch.tensor(counts, dtype=torch.float32) / sum(counts))
    repeated = site_statistics(z.repeat_interleave(torch.tensor(counts), 0))
    assert weighted.scale == pytest.approx(repeated.scale, rel=1e-5)
    torch.testing.assert_close(weighted.mean, repeated.mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(weighted.eigenvalues, repeated.eigenvalues, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0, -1e4, 1e-6])
def test_a_site_that_does_not_vary_is_constant_and_stays_finite(value) -> None:
    s = site_statistics(torch.full((5, 3), value))
    assert s.is_constant
    assert s.scale == 1.0
    assert s.standardise(torch.full((1, 3), value)).abs().max() == 0
    assert s.channel_bits_bound(0.1) == 0
    nearly = torch.full((5, 3), 1.0)
    nearly[0, 0] += 1e-3
    assert not site_statistics(nearly).is_constant


@pytest.mark.parametrize("bad", [torch.zeros(1, 3), torch.zeros(4), torch.zeros(2, 2, 2)])
def test_moments_need_a_table_of_two_rows(bad) -> None:
    with pytest.raises(InvalidArgument, match=r"needs \[n, d\]"):
        site_statistics(bad)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_activations_that_are_not_finite_are_refused(value) -> None:
    with pytest.raises(InvalidArgument, match="not finite"):
        site_statistics(torch.tensor([[0.0, 1.0], [value, 2.0]]))


def test_the_noise_has_the_kernel_for_its_density() -> None:
    d, eps = 7, 0.3
    u, w, v = torch.randn(3, 1, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    density = torch.distributions.Normal(0.0, eps * math.sqrt(d))
    ratio = density.log_prob(v - u).sum() - density.log_prob(v - w).sum()
    kernels = Kernel().log(distance(v, u), eps) - Kernel().log(distance(v, w), eps)
    assert float(ratio) == pytest.approx(float(kernels), rel=1e-6)
    many = torch.zeros(40_000, d)
    noise = Kernel().noise(many, torch.full((40_000, 1), eps), torch.Generator().manual_seed(1))
    assert float(noise.std()) == pytest.approx(eps * math.sqrt(d), rel=0.01)
    assert float(distance(noise, many).square().mean()) == pytest.approx(eps**2 * d, rel=0.01)


def test_each_row_has_its_own_noise_and_the_same_seed_the_same() -> None:
    u = torch.zeros(2000, 4)
    eps = torch.tensor([[0.1], [1.0]]).repeat(1000, 1)
    a, b = (Kernel().noise(u, eps, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(a, b)
    assert float(a[::2].std()) == pytest.approx(0.2, rel=0.05)
    assert float(a[1::2].std()) == pytest.approx(2.0, rel=0.05)


def test_the_kernel_is_one_at_the_centre_and_falls() -> None:
    d = torch.linspace(0, 3, 10)
    values = Kernel().log(d, 0.5)
    assert values[0] == 0
    assert (values.diff() < 0).all()
    assert float(values[-1]) == pytest.approx(-9 / (2 * 0.25))
    assert distance(torch.tensor([3.0, 4.0]), torch.zeros(2)) == pytest.approx(5 / math.sqrt(2))


@settings(max_examples=40, deadline=None)
@given(sizes, st.floats(0.02, 1.0))
def test_bits_through_the_noise_are_bounded_at_every_width(size, eps) -> None:
    s = site_statistics(cloud(*size))
    bits = s.channel_bits_bound(eps)
    assert 0 <= bits <= 1 / (2 * math.log(2) * eps**2) + 1e-9
    assert bits >= s.channel_bits_bound(2 * eps)
    by_hand = sum(math.log2(1 + float(v) / (eps**2 * s.width)) for v in s.eigenvalues) / 2
    assert bits == pytest.approx(by_hand, rel=1e-6, abs=1e-9)


def test_bounds_of_the_method_are_these() -> None:
    for eps, bits in ((0.1, 72), (0.2, 18), (0.5, 3)):
        assert round(1 / (2 * math.log(2) * eps**2)) == bits


@pytest.mark.parametrize("bandwidth", [0, -0.1, math.nan, math.inf, "wide", None, [0.1]])
def test_bandwidths_are_positive_numbers(bandwidth) -> None:
    with pytest.raises(InvalidArgument, match="must be a number > 0"):
        check_bandwidth(bandwidth)


@pytest.mark.parametrize("bandwidth", [0.019, 1.01])
def test_bandwidths_outside_what_was_trained_are_refused(bandwidth) -> None:
    with pytest.raises(InvalidArgument, match=r"outside the range[\s\S]*0\.02 to 1"):
        check_bandwidth(bandwidth)


def test_bandwidths_at_the_ends_pass_even_in_float32() -> None:
    for end in BANDWIDTHS:
        assert check_bandwidth(end) == end
        assert check_bandwidth(np.float32(end)) == pytest.approx(end)
        assert check_bandwidth(torch.tensor(end)) == pytest.approx(end)


# -- other kernels ---------------------------------------------------------------------------------

ALL = [Kernel(), Kernel("per_coordinate"), Kernel("whitened"), Kernel("cosine"), Kernel(shape="ball")]


def spread_out(n: int = 4000, d: int = 6, seed: int = 0) -> torch.Tensor:
    """Coordinates of very different spread, correlated, off centre."""
    rng = np.random.default_rng(seed)
    mix = np.diag(10.0 ** np.arange(d)[::-1] / 100) @ rng.normal(size=(d, d)) * 0.3 + np.diag(3.0 ** np.arange(d))
    return torch.tensor(rng.normal(size=(n, d)) @ mix + 7, dtype=torch.float32)


@pytest.mark.parametrize("kernel", ALL, ids=str)
def test_every_metric_keeps_background_pairs_root_two_apart(kernel) -> None:
    z = spread_out()
    s = site_statistics(z, kernel=kernel)
    u = s.standardise(z)
    assert float(s.eigenvalues.sum()) == pytest.approx(s.width, rel=1e-3)
    assert (s.eigenvalues.diff() <= 1e-4).all()
    covariance = s.eigenvectors @ torch.diag(s.eigenvalues) @ s.eigenvectors.T
    torch.testing.assert_close(covariance, u.T @ u / len(u), atol=5e-3, rtol=5e-3)
    assert float(distance(u[:2000], u[2000:]).square().mean()) == pytest.approx(2.0, rel=0.05)
    torch.testing.assert_close(s.restore(u, z), z, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(s.distance(z, z[:1]).float(), distance(u, u[:1]))


def test_a_whitened_site_weighs_its_directions_alike() -> None:
    z = spread_out()
    plain, white = site_statistics(z), site_statistics(z, kernel=Kernel("whitened"))
    assert plain.top_share > 0.6
    assert white.top_share < 0.3
    alone = site_statistics(z, kernel=Kernel("per_coordinate"))
    assert float(alone.standardise(z).var(0).max()) < 1.3
    # directions that hardly vary are not magnified without limit
    flat = torch.cat([z[:, :5], 1e-9 * z[:, 5:]], 1)
    assert float(site_statistics(flat, kernel=Kernel("whitened")).standardise(flat)[:, 5].std()) < 1e-3


def test_cosine_is_the_angle_about_the_mean() -> None:
    z = spread_out()
    s = site_statistics(z, kernel=Kernel("cosine"))
    cos = torch.cosine_similarity(z - z.mean(0), z[:1] - z.mean(0))
    torch.testing.assert_close(s.distance(z, z[:1]).square().float(), 2 - 2 * cos, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(
        Kernel("cosine").log(s.distance(z, z[:1]), 0.5).float(), (cos - 1) * 4, atol=5e-3, rtol=5e-3
    )


@pytest.mark.parametrize("kappa", [0.5, 4.0, 100.0])
def test_directions_are_drawn_with_the_density_they_should_have(kappa) -> None:
    """On the ordinary sphere the cosine has a density in closed form: kappa e^(kappa w) / (2 sinh kappa)."""
    eps, n = kappa**-0.5, 40_000
    centre = torch.tensor([[1.0, 2.0, -2.0]]) / 3 * math.sqrt(3)
    v = Kernel("cosine").noise(centre.repeat(n, 1), torch.full((n, 1), eps), torch.Generator().manual_seed(0))
    torch.testing.assert_close(v.norm(dim=1), torch.full((n,), math.sqrt(3)), rtol=1e-4, atol=1e-4)
    w = np.sort((v @ centre[0] / 3).double().numpy())
    cdf = (np.exp(kappa * (w - 1)) - np.exp(-2 * kappa)) / (1 - np.exp(-2 * kappa))
    assert np.abs(cdf - (np.arange(n) + 0.5) / n).max() < 1.63 / math.sqrt(n)  # Kolmogorov-Smirnov, 1 %
    across = v - (v @ centre[0])[:, None] * centre / 3
    assert float(across.mean(0).norm()) < 0.03
    mean = 1 / math.tanh(kappa) - 1 / kappa
    assert float(mean_cosine(torch.tensor(kappa), 3)) == pytest.approx(mean, abs=0.025)
    log_sinh = kappa + math.log1p(-math.exp(-2 * kappa)) - math.log(2)
    entropy_gap = kappa * mean + math.log(kappa) - log_sinh
    assert bits_of_direction(kappa, 3) == pytest.approx(entropy_gap / math.log(2), rel=1e-3)


@pytest.mark.parametrize("d", [2, 8, 128])
def test_directions_in_any_number_of_dimensions(d) -> None:
    kappa, n = 20.0, 4000
    centre = torch.nn.functional.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(1)), dim=1)
    w = (von_mises_fisher(centre, torch.full((n, 1), kappa), torch.Generator().manual_seed(2)) * centre).sum(1)
    angle = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)[1:-1]
    law = ((d - 2) * angle.sin().log() + kappa * angle.cos()).softmax(0)
    expected, spread = float((law * angle.cos()).sum()), float((law * angle.cos().square()).sum())
    assert float(w.mean()) == pytest.approx(expected, abs=4 * float(w.std()) / math.sqrt(n))
    assert float(w.square().mean()) == pytest.approx(spread, abs=0.02)
    assert float(mean_cosine(torch.tensor(kappa), d)) == pytest.approx(expected, abs=0.025)


def test_a_ball_is_filled_evenly() -> None:
    d, eps, n = 5, 0.3, 40_000
    v = Kernel(shape="ball").noise(torch.zeros(n, d), torch.full((n, 1), eps), torch.Generator().manual_seed(0))
    inside = np.sort((distance(v, torch.zeros(d)) / eps).double().numpy()) ** d  # uniform if the ball is
    assert inside[-1] <= 1 + 1e-6
    assert np.abs(inside - (np.arange(n) + 0.5) / n).max() < 1.63 / math.sqrt(n)
    assert float(v.mean(0).norm()) < 0.01
    assert Kernel(shape="ball").log(torch.tensor([0.0, eps, eps * 1.01]), eps).tolist() == [0, 0, -math.inf]
    assert Kernel(shape="ball").log(np.array([0.0, 9.0]), eps).tolist() == [0, -math.inf]


@pytest.mark.parametrize("kernel", ALL, ids=str)
@pytest.mark.parametrize("eps", [0.1, 0.6])
def test_the_filter_is_the_best_linear_estimate(kernel, eps) -> None:
    """Least squares, direction by direction, finds the same factors (for directions up to their mean field)."""
    z = spread_out(20_000)
    s = site_statistics(z, kernel=kernel)
    u = s.standardise(z)
    v = kernel.noise(u, torch.full((len(u), 1), eps), torch.Generator().manual_seed(3))
    a, b = u @ s.eigenvectors, v @ s.eigenvectors
    found = (a * b).sum(0) / b.square().sum(0)
    factors = kernel.filter(s.eigenvalues, torch.tensor([[eps]]))[0]
    torch.testing.assert_close(factors, found, atol=0.25 if kernel.metric == "cosine" else 0.02, rtol=0)
    worse = ((b * factors * 1.3 - a) ** 2).sum(), ((b * factors * 0.7 - a) ** 2).sum()
    assert ((b * factors - a) ** 2).sum() < min(worse)


@pytest.mark.parametrize("kernel", ALL, ids=str)
def test_bits_through_any_noise_are_bounded_and_fall_with_the_bandwidth(kernel) -> None:
    s = site_statistics(spread_out(500), kernel=kernel)
    bounds = [s.channel_bits_bound(eps) for eps in (0.05, 0.1, 0.3, 1.0)]
    assert all(a > b for a, b in itertools.pairwise(bounds))
    assert bounds[-1] > 0
    assert site_statistics(torch.ones(5, 3), kernel=kernel).channel_bits_bound(0.1) == 0


def test_one_coordinate_in_a_ball_says_what_intervals_say() -> None:
    """Uniform over sqrt(12), seen through narrow uniform noise: the bound is close to log2(span / noise)."""
    s = site_statistics(torch.linspace(0, 1, 10_001)[:, None], kernel=Kernel(shape="ball"))
    exact = math.log2(math.sqrt(12) / (2 * 0.02))
    assert exact < s.channel_bits_bound(0.02) < exact + 0.3  # a normal of that spread has 0.25 bits more


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("scaled", "sphere"), "allowed: gaussian, ball"),
        (("whitend",), "Did you mean 'whitened'"),
        (("cosine", "ball"), "no ball of directions"),
    ],
)
def test_kernels_that_do_not_exist_are_refused(arguments, says) -> None:
    with pytest.raises(InvalidArgument, match=says):
        Kernel(*arguments)


def test_one_coordinate_has_no_direction() -> None:
    with pytest.raises(InvalidArgument, match="no directions"):
        site_statistics(torch.ones(3, 1), kernel=Kernel("cosine"))
