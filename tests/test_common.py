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
    units = {name: statistics[name].standardise(x) for name, x in z.items()}
    encoder = SiteEncoder(statistics, width=5, n_tokens=1, n_blocks=0, expansion=1, n_common=size)
    torch.manual_seed(0)
    encoder.set_common(common.covariances(units, statistics, size))
    return encoder, units


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
def test_what_is_read_at_a_site_becomes_the_best_linear_estimate_of_the_common_coordinates(kernel, site) -> None:
    encoder, units = encoder_of(kernel, 4)
    eps, y, u = 0.4, principal(units, 4), units[site]
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
    found = common.covariances({n: statistics[n].standardise(x) for n, x in z.items()}, statistics, 8)
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
    found = common.covariances({n: statistics[n].standardise(x) for n, x in z.items()}, statistics, 15)
    for c in found.values():
        assert bool(c.isfinite().all())
        assert float(c[5:].abs().max()) == 0 < float(c[:4].abs().max())


def test_a_generator_of_several_sites_has_them_and_of_one_site_its_own_map(lm) -> None:
    several = build_generator(lm, SITES, prompts(), config(n_common=12))
    assert several.config.n_common == several.encoder.n_common == 12
    assert not any(name.startswith(("encoder.first", "encoder.common")) for name, _ in several.named_parameters())
    for i, site in enumerate(SITES):
        assert getattr(several.encoder, f"covariances_{i}").shape == (12, lm.site(site).d)
        assert float(getattr(several.encoder, f"covariances_{i}").abs().max()) > 0.1
    for sites, n_common in ((SITES[:1], 12), (SITES, 0)):
        own = build_generator(lm, sites, prompts(), config(n_common=n_common))
        assert own.config.n_common == 0
        assert len(own.encoder.first) == len(sites)


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
    with pytest.raises(CheckpointMismatch, match="n_common=16, not 0"):
        train_generator(lm, SITES, prompts(), config=replace(more, n_common=0), progress=False)


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
