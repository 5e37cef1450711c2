"""Common coordinates of several sites: best linear estimates, whatever a site's basis, width and kernel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import open_gates
from test_generator import SITES, condition_on, config, prompts, total

from inversescope_nb.errors import CheckpointMismatch
from inversescope_nb.generator import Generator, common, train_generator
from inversescope_nb.generator.building import build_generator
from inversescope_nb.generator.conditioning import SiteEncoder
from inversescope_nb.generator.data import last_activations
from inversescope_nb.kernels import Kernel, site_statistics

N = 60_000
WIDTHS = {"a": 6, "b": 6, "c": 3}


def activations(seed: int = 0) -> dict[str, torch.Tensor]:
    """Three sites of one latent: skewed, the same turned, and three mixtures of it at another scale."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(N, 6)) * [3, 2, 1.5, 1, 0.5, 0.3] + rng.normal(size=(N, 1)) ** 2 * 0.5
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    found = {"a": latent, "b": latent @ turn, "c": 7 + 5 * latent @ rng.normal(size=(6, 3))}
    return {name: torch.tensor(z, dtype=torch.float32) for name, z in found.items()}


def encoder_of(kernel: Kernel, size: int) -> tuple[SiteEncoder, dict[str, torch.Tensor]]:
    z = activations()
    statistics = {name: site_statistics(x, kernel=kernel) for name, x in z.items()}
    encoder = SiteEncoder(statistics, width=5, n_tokens=1, n_blocks=0, expansion=1, n_common=size)
    torch.manual_seed(0)
    encoder.set_common(common.covariances(z, statistics, size))
    return encoder, {name: statistics[name].standardise(x) for name, x in z.items()}


def estimate(encoder: SiteEncoder, site: str, u: torch.Tensor, eps: float) -> np.ndarray:
    """What the encoder's shared map gets."""
    seen = []
    handle = encoder.from_common.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    encoder([(encoder.index[site], u)], torch.full((len(u),), eps))
    handle.remove()
    return seen[0].numpy()


def principal(units: dict[str, torch.Tensor], size: int) -> np.ndarray:
    """The common coordinates of the inputs themselves, by numpy's exact decomposition; each up to its sign."""
    joint = np.concatenate([u.numpy().astype(np.float64) / np.sqrt(u.shape[1]) for u in units.values()], 1)
    _, _, axes = np.linalg.svd(joint, full_matrices=False)
    y = joint @ axes[:size].T
    return y / np.sqrt((y**2).mean())


@pytest.mark.parametrize("kernel", [Kernel(), Kernel("per_coordinate"), Kernel("whitened"), Kernel("cosine"),
                                    Kernel("scaled", "ball")], ids=str)  # fmt: skip
@pytest.mark.parametrize("site", WIDTHS)
@pytest.mark.parametrize("eps", [0.05, 0.4])
def test_what_is_read_at_a_site_becomes_the_best_linear_estimate_of_the_common_coordinates(kernel, site, eps) -> None:
    encoder, units = encoder_of(kernel, 4)
    y, u = principal(units, 4), units[site]
    noisy = kernel.noise(u, torch.full((N, 1), eps), torch.Generator().manual_seed(1))
    best = np.linalg.lstsq(noisy.numpy().astype(np.float64), y, rcond=None)[0]
    expected, found = noisy[:300].numpy() @ best, estimate(encoder, site, noisy[:300], eps)
    sign = np.sign((expected * found).sum(0))
    # the noise of directions is not quite isotropic, as the closed form has it, in so few dimensions
    np.testing.assert_allclose(found * sign, expected, atol=0.15 if kernel.metric == "cosine" else 0.04)


def test_a_turned_copy_of_a_site_says_the_same() -> None:
    encoder, units = encoder_of(Kernel(), 6)
    a, b = (estimate(encoder, site, units[site][:100], 0.2) for site in "ab")
    np.testing.assert_allclose(a, b, atol=2e-3)
    assert np.abs(a).max() > 1


def test_every_site_counts_alike_whatever_its_width() -> None:
    """A site is as present in the common coordinates as another of four times its width."""
    rng = np.random.default_rng(0)
    z = {"wide": torch.tensor(rng.normal(size=(N, 4)), dtype=torch.float32).repeat(1, 4)}
    z["narrow"] = torch.tensor(rng.normal(size=(N, 4)), dtype=torch.float32)
    statistics = {name: site_statistics(x) for name, x in z.items()}
    found = common.covariances(z, statistics, 8)
    # of y's variance 8: each site's u predicts its own half, and nothing of the other
    explained = {n: float((c**2 / statistics[n].eigenvalues.clamp(min=1e-3)).sum()) for n, c in found.items()}
    assert explained["wide"] == pytest.approx(4, abs=0.05)
    assert explained["narrow"] == pytest.approx(4, abs=0.05)


def test_there_are_none_for_one_site_and_no_more_than_all_sites_have() -> None:
    statistics = {name: site_statistics(x[:500]) for name, x in activations().items()}
    assert common.n_coordinates(256, statistics) == 15
    assert common.n_coordinates(7, statistics) == 7
    assert common.n_coordinates(0, statistics) == 0
    still = site_statistics(torch.ones(500, 4))
    assert common.n_coordinates(256, {"a": statistics["a"]}) == 0
    assert common.n_coordinates(256, {"a": statistics["a"], "still": still}) == 0


def test_of_few_inputs_the_last_coordinates_are_empty() -> None:
    z = {name: x[:5] for name, x in activations().items()}
    statistics = {name: site_statistics(x) for name, x in z.items()}
    found = common.covariances(z, statistics, 15)
    for c in found.values():
        assert bool(c.isfinite().all())
        assert float(c[5:].abs().max()) == 0 < float(c[:4].abs().max())


@pytest.mark.parametrize("metric", ["scaled", "cosine"])
def test_a_site_that_hardly_varies_takes_no_part(metric) -> None:
    """Its rounding errors, of length 1 as directions, would be as present as a site."""
    z = {name: x[:2000] for name, x in activations().items()}
    kernel = Kernel(metric)
    statistics = {name: site_statistics(x, kernel=kernel) for name, x in z.items()}
    torch.manual_seed(0)
    without = common.covariances(z, statistics, 6)
    z["still"] = 1 + 1e-7 * torch.randn(2000, 6, generator=torch.Generator().manual_seed(1))
    statistics["still"] = site_statistics(z["still"], kernel=kernel)
    assert statistics["still"].is_constant
    torch.manual_seed(0)
    found = common.covariances(z, statistics, 6)
    assert float(found.pop("still").abs().max()) == 0
    for name, c in without.items():
        torch.testing.assert_close(found[name], c)


def test_signs_are_those_of_the_inputs_not_of_the_decomposition() -> None:
    z = {name: x[:2000] for name, x in activations().items()}
    statistics = {name: site_statistics(x) for name, x in z.items()}
    several = []
    for seed in range(6):
        torch.manual_seed(seed)
        several.append(common.covariances(z, statistics, 4)["a"])
    for c in several[1:]:
        torch.testing.assert_close(c, several[0], atol=1e-3, rtol=1e-3)


def test_of_few_inputs_directions_of_chance_do_not_drown_the_estimate() -> None:
    """Twice as many inputs as coordinates: on fresh ones the estimate is not far from that of thirty times as many."""
    rng, width = np.random.default_rng(0), 64
    spread = np.arange(1, width + 1) ** -0.25
    turns = [np.linalg.qr(rng.normal(size=(width, width)))[0] for _ in range(4)]

    def draw(n: int) -> dict[str, torch.Tensor]:
        latent = rng.normal(size=(n, width))
        mixed = [(latent + rng.normal(size=(n, width))) * spread @ turn for turn in turns]
        return {str(i): torch.tensor(x, dtype=torch.float32) for i, x in enumerate(mixed)}

    def error(n: int) -> float:
        """Of the estimate at one site, on fresh inputs, in units of the coordinates' own size."""
        z = {name: x[:n] for name, x in many.items()}
        statistics = {name: site_statistics(x) for name, x in z.items()}
        encoder = SiteEncoder(statistics, width=5, n_tokens=1, n_blocks=0, expansion=1, n_common=8)
        torch.manual_seed(0)
        encoder.set_common(common.covariances(z, statistics, 8))
        known = {name: statistics[name].standardise(x) for name, x in z.items()}
        joint = np.concatenate([u.numpy() / 8 for u in known.values()], 1)
        axes = np.linalg.svd(joint, full_matrices=False)[2][:8].T
        y = joint @ axes
        fresh = {name: statistics[name].standardise(x) for name, x in held_out.items()}
        truth = np.concatenate([u.numpy() / 8 for u in fresh.values()], 1) @ axes / np.sqrt((y**2).mean())
        found = estimate(encoder, "0", fresh["0"], 0.02)
        sign = np.sign((found * truth).sum(0))
        return float(((found * sign - truth) ** 2).mean() / (truth**2).mean())

    many, held_out = draw(4096), draw(4096)
    best, few = error(4096), error(128)
    assert best < 0.75  # there is something to estimate
    assert few < 1.2 * best  # without the ridge more than twice


def test_how_much_they_hold_is_told_and_little_is_warned_of(caplog) -> None:
    z = {name: x[:2000] for name, x in activations().items()}
    statistics = {name: site_statistics(x) for name, x in z.items()}
    with caplog.at_level("INFO", "inversescope_nb"):
        common.covariances(z, statistics, 15)
        common.covariances(z, statistics, 1)
    whole, little = caplog.records
    assert "15 common coordinates hold 100.0 % of the variance of 3 sites" in whole.getMessage()
    joint = np.concatenate([statistics[n].standardise(x).numpy() / np.sqrt(x.shape[1]) for n, x in z.items()], 1)
    _, spread, _ = np.linalg.svd(joint, full_matrices=False)
    assert f"hold {100 * spread[0] ** 2 / (spread**2).sum():.1f} %" in little.getMessage()
    assert little.levelname == "WARNING"


def test_a_generator_of_several_sites_has_them_and_of_one_site_its_own_map(lm) -> None:
    several = build_generator(lm, SITES, prompts(), config(n_common=12))
    assert several.config.n_common == several.encoder.n_common == 12
    assert not any(name.startswith(("encoder.first", "encoder.common")) for name, _ in several.named_parameters())
    for i, site in enumerate(SITES):
        assert getattr(several.encoder, f"covariances_{i}").shape == (12, lm.site(site).d)
    for sites, n_common in ((SITES[:1], 12), (SITES, 0)):
        own = build_generator(lm, sites, prompts(), config(n_common=n_common))
        assert own.config.n_common == 0
        assert len(own.encoder.first) == len(sites)


def test_a_new_generators_covariances_are_those_of_its_sites(lm) -> None:
    """The estimate that a new generator's encoder makes is least squares' own, on other inputs of P(X)."""
    gen = build_generator(lm, SITES, prompts(), config(n_common=4, statistics_samples=4096))
    z = last_activations(lm, prompts().draw(4096, lm, seed=9), SITES)
    units = {site: gen.statistics(site).standardise(x) for site, x in z.items()}
    y = principal(units, 4)
    for site, u in units.items():
        v = Kernel().noise(u, torch.full((len(u), 1), 0.2), torch.Generator().manual_seed(1))
        best = np.linalg.lstsq(v.numpy().astype(np.float64), y, rcond=None)[0]
        expected, found = v.numpy() @ best, estimate(gen.encoder, site, v, 0.2)
        for e, f in zip(expected.T, found.T, strict=True):
            assert abs(np.corrcoef(e, f)[0, 1]) > 0.95, site


def test_what_is_trained_is_folded_into_fewer_numbers_and_says_the_same(lm) -> None:
    gen = open_gates(build_generator(lm, SITES, prompts(), config(n_common=24)))
    inputs = prompts().draw(4, lm, seed=0)

    def said() -> list[float]:
        return [x for site in SITES for x in total(gen, inputs, condition_on(lm, gen, "the cat is", site).repeat(4))]

    before, size = said(), sum(x.numel() for x in gen.encoder.buffers())
    state = torch.random.get_rng_state()
    gen.fold()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert gen.config.n_common == gen.config.width == 16
    np.testing.assert_allclose(said(), before, atol=1e-4)
    assert sum(x.numel() for x in gen.encoder.buffers()) < size
    again = gen.encoder.covariances_0
    gen.fold()
    assert gen.encoder.covariances_0 is again
    alone = build_generator(lm, SITES[:1], prompts(), config())
    alone.fold()
    assert alone.config.n_common == 0


def test_training_goes_on_from_a_folded_generator(lm, tmp_path) -> None:
    short = config(n_common=24, steps=2, batch_size=8, gap_inputs=0)
    train_generator(lm, SITES, prompts(), config=short, progress=False).save_pretrained(tmp_path / "gen")
    first = Generator.from_pretrained(tmp_path / "gen", target=lm)
    more = replace(short, start_from=str(tmp_path / "gen"), seed=1)
    second = train_generator(lm, SITES, prompts(), config=more, progress=False)
    assert first.config.n_common == second.config.n_common == 16
    assert torch.equal(first.encoder.covariances_1, second.encoder.covariances_1)
    assert not torch.equal(first.encoder.from_common.weight, second.encoder.from_common.weight)
    for wrong in (0, 8):
        with pytest.raises(CheckpointMismatch, match=f"n_common=16, not {wrong}"):
            train_generator(lm, SITES, prompts(), config=replace(more, n_common=wrong), progress=False)


def test_building_leaves_the_random_state_and_depends_on_the_seed_alone(lm) -> None:
    torch.manual_seed(5)
    first = build_generator(lm, SITES, prompts(), config())
    drawn = torch.rand(3)
    torch.manual_seed(5)
    torch.testing.assert_close(torch.rand(3), drawn)
    again = build_generator(lm, SITES, prompts(), config())
    for (name, a), b in zip(first.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_folder_keeps_them(lm, tmp_path) -> None:
    gen = open_gates(build_generator(lm, SITES, prompts(), config(n_common=12)))
    gen.save_pretrained(tmp_path / "gen")
    back = type(gen).from_pretrained(tmp_path / "gen", target=lm)
    inputs = prompts().draw(4, lm, seed=0)
    for site in SITES:
        text = "the cat is"
        kept, was = (total(g, inputs, condition_on(lm, g, text, site).repeat(4)) for g in (back, gen))
        np.testing.assert_allclose(kept, was, atol=1e-4)
