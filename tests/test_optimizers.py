"""Muon on hidden matrices, AdamW on the rest."""

from __future__ import annotations

import pytest
import torch
from small import model_for, word_tokenizer

from inversescope_nb.errors import InvalidArgument
from inversescope_nb.generator import TrainingConfig
from inversescope_nb.generator.building import build_generator
from inversescope_nb.generator.optimizers import Muon, make_optimizer, orthogonalised
from inversescope_nb.prompts import PromptDistribution


@pytest.mark.parametrize("shape", [(6, 6), (4, 32), (48, 12), (1, 3)])
def test_orthogonalised_keeps_directions_and_levels_their_sizes(shape) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    found = orthogonalised(matrix)
    assert found.shape == matrix.shape
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ found @ vt.T  # in the matrix's own singular directions: diagonal
    assert (inside - torch.diag(torch.diagonal(inside))).abs().max() < 1e-3
    assert torch.diagonal(inside).min() > 0.6
    assert torch.diagonal(inside).max() < 1.3
    torch.testing.assert_close(orthogonalised(1e-4 * matrix), found, atol=1e-4, rtol=1e-3)


def test_orthogonalised_of_nothing_is_nothing() -> None:
    assert orthogonalised(torch.zeros(3, 5)).abs().max() == 0


def test_steps_are_those_of_torchs_own_muon_and_adamw() -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("torch.optim.Muon came with torch 2.9")
    torch.manual_seed(1)
    matrix, vector = torch.randn(12, 20), torch.randn(7)
    ours = [torch.nn.Parameter(matrix.clone()), torch.nn.Parameter(vector.clone())]
    theirs = [torch.nn.Parameter(matrix.clone()), torch.nn.Parameter(vector.clone())]
    groups = [
        {"params": ours[:1], "lr": 0.02, "weight_decay": 0.1, "hidden": True},
        {"params": ours[1:], "lr": 0.01, "weight_decay": 0.0, "hidden": False},
    ]
    mine = Muon(groups, betas=(0.9, 0.98))
    muon = torch.optim.Muon(theirs[:1], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(theirs[1:], lr=0.01, weight_decay=0.0, betas=(0.9, 0.98))
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        for optimizer in (mine, muon, adamw):
            optimizer.step()
    assert torch.equal(ours[1], theirs[1])
    moved = (theirs[0] - matrix).norm()
    assert moved > 0.1
    assert (ours[0] - theirs[0]).norm() < 0.02 * moved, "theirs is in bfloat16"


def test_embeddings_vectors_and_maps_of_one_row_are_left_to_adamw() -> None:
    lm = model_for(word_tokenizer(), "gpt2")
    prompts = PromptDistribution.from_texts(["the cat", "a dog"], cut="end")
    sizes = {"width": 16, "n_tokens": 2, "n_blocks": 1, "n_heads": 2, "statistics_samples": 8}
    for optimizer in ("adamw", "muon"):
        config = TrainingConfig(optimizer=optimizer, lr=1e-3, adapter_lr=2e-3, weight_decay=0.3, **sizes)
        generator = build_generator(lm, "resid_post.1", prompts, config)
        found = make_optimizer(generator, config)
        names = {id(p): name for name, p in generator.named_parameters()}
        seen = {names[id(p)]: group for group in found.param_groups for p in group["params"]}
        assert set(seen) == set(names.values()), "each once"
        hidden = {name for name, group in seen.items() if group["hidden"]}
        if optimizer == "adamw":
            assert not hidden
            continue
        assert "backbone.transformer.h.0.mlp.c_fc.weight" in hidden
        assert {"controls.0.units.weight", "encoder.out.weight", "encoder.first.0.weight"} <= hidden
        assert not any(name.endswith(("wte.weight", "wpe.weight", "site.weight", "bias", "gate")) for name in hidden)
        for name, group in seen.items():
            assert group["peak"] == (1e-3 if name.startswith("backbone.") else 2e-3)
            assert (group["weight_decay"] > 0) == (dict(generator.named_parameters())[name].ndim > 1)


def test_an_output_map_of_its_own_is_left_to_adamw_as_well() -> None:
    lm = model_for(word_tokenizer(), "gpt_neox", tie_word_embeddings=False)
    prompts = PromptDistribution.from_texts(["the cat", "a dog"], cut="end")
    config = TrainingConfig(width=16, n_blocks=1, units=8, statistics_samples=8)
    generator = build_generator(lm, "resid_post.1", prompts, config)
    groups = make_optimizer(generator, config).param_groups
    hidden = {id(p) for group in groups if group["hidden"] for p in group["params"]}
    head = generator.backbone.get_output_embeddings().weight
    assert head is not generator.backbone.get_input_embeddings().weight
    assert id(head) not in hidden
    assert id(generator.backbone.gpt_neox.layers[0].mlp.dense_h_to_4h.weight) in hidden


def test_an_unknown_optimizer_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"'muno'.*muon"):
        TrainingConfig(optimizer="muno")
