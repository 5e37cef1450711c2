"""Other ways to let a generator use the activation, and another way to train it: variants of bench_gap.py alone.

*Adaptive norm* (Peebles, Xie, arXiv 2212.09748, section 3.2): the condition scales and shifts what both norms of a
block give, and scales what its attention and its MLP add. *Prefix* (Li, Liang, arXiv 2101.00190, here of an
activation): condition tokens stand in front of the row, and self-attention reads them.
*Clean* is training rather than injection: at the activation itself, without noise, on the generator's own samples,
re-run and weighed.

Axis names: n (rows), d (site width), c (condition width), token (condition tokens), s (samples of a row).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import inversescope_nb as isn
from inversescope_nb.architectures import text_config
from inversescope_nb.baselines.slot_decoder import SlotDecoder
from inversescope_nb.generator import Condition, Generator
from inversescope_nb.generator.conditioning import SiteEncoder
from inversescope_nb.generator.data import last_activations
from inversescope_nb.generator.optimizers import make_optimizer
from inversescope_nb.hooks import hooked
from inversescope_nb.kernels import distance

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

PREFIX = 8
"""Condition tokens of a prefix."""


class _Modulation(nn.Module):
    """A block's scales and shifts: linear in the condition, zero at first, learned where the condition is dropped."""

    def __init__(self, d_model: int, *, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 6 * d_model)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.null = nn.Parameter(torch.zeros(1, 6 * d_model))

    def prepare(self, condition: Float[Tensor, "n token c"]) -> tuple[Tensor]:
        """[n, 6 d_model]: two scales and a shift for each half of the block."""
        if condition.shape[1] == 0:
            return (self.null.expand(len(condition), -1),)
        return (self.linear(condition.flatten(1)),)


class AdaptiveNorm(Generator):
    """A generator whose backbone's norms take their scale and shift from the condition; its backbone is a GPT-2."""

    def __init__(self, backbone: nn.Module, *args: Any, **kwargs: Any) -> None:
        super().__init__(backbone, *args, **kwargs)
        width, d_model = self.config.width * self.config.n_tokens, text_config(backbone).hidden_size
        self.controls = nn.ModuleList(_Modulation(d_model, width=width) for _ in self.architecture.blocks)

    @contextmanager
    def controlled(self, condition: Condition) -> Iterator[None]:
        """Within the block the backbone's forward passes see the condition."""
        with self._turn.lock, ExitStack() as stack:
            for block, control, (found,) in zip(self.architecture.blocks, self.controls, condition.parts, strict=True):
                keep = condition.keep
                found = found if keep is None else torch.where(keep[:, None], found, control.null)
                parts = found[:, None].chunk(6, -1)
                for at, (norm, layer) in enumerate(((block.ln_1, block.attn), (block.ln_2, block.mlp))):
                    scale, shift, gain = parts[3 * at : 3 * at + 3]
                    stack.enter_context(hooked(norm, "out", lambda h, s=scale, b=shift: h * (1 + s) + b))
                    stack.enter_context(hooked(layer, "out", lambda h, g=gain: h * (1 + g)))
            yield


class Prefix(SlotDecoder):
    """A generator that reads the condition as tokens in front of the row.

    They never look at the row, so that their keys and values are found once: as many slots of the self-attention.
    """

    def __init__(self, backbone: nn.Module, statistics: dict, *args: Any, **kwargs: Any) -> None:
        super().__init__(backbone, statistics, *args, **kwargs)
        width = self.config.width
        self.encoder = SiteEncoder(
            statistics, width=width, n_tokens=PREFIX, n_blocks=self.config.n_blocks, expansion=self.config.expansion,
            n_common=self.config.n_common,
        )  # fmt: skip
        self.controls = nn.ModuleList([nn.Linear(width, text_config(backbone).hidden_size)])

    def condition(self, activations, bandwidths: Tensor, keep: Tensor | None = None) -> Condition:
        """Keys and values of the prefix in every block."""
        return Condition(self._read(self.controls[0](self.encoder(activations, bandwidths))), keep)

    def condition_on(self, site: str, u: Float[Tensor, "n d"], bandwidth: float) -> Condition:
        """Condition of standardised activations of one site at one bandwidth."""
        return Generator.condition_on(self, site, u, bandwidth)

    def no_condition(self, n: int) -> Condition:
        """No prefix at all."""
        found = self._read(self.encoder.out.weight.new_zeros(1, 1, self.controls[0].out_features))
        return Condition(tuple(tuple(x[:, :, :0].expand(n, -1, -1, -1) for x in block) for block in found))

    def _read(self, tokens: Float[Tensor, "n token d_model"]) -> tuple[tuple[Tensor, Tensor], ...]:
        from transformers import DynamicCache

        positions = torch.zeros(tokens.shape[:2], dtype=torch.long, device=tokens.device)
        cache = DynamicCache()
        self.backbone.transformer(inputs_embeds=tokens, position_ids=positions, past_key_values=cache, use_cache=True)
        return tuple((layer.keys, layer.values) for layer in cache.layers)


def train_clean(
    generator: Generator, lm: isn.LanguageModel, site: str, prompts: isn.PromptDistribution, bandwidth: float, *,
    steps: int, rows: int = 32, samples: int = 16, lr: float = 1e-3, seed: int = 0,
) -> float:  # fmt: skip
    """Trains further at clean activations: on the generator's own samples, weighed by P(x) k(d) / q(x | z_hat).

    The gradient is that of KL(posterior || q) at what goes in when the generator is used, estimated by importance
    sampling; the picked input is not among the samples unless the generator drew it. Returns the seconds it took.
    """
    began, config = time.monotonic(), isn.TrainingConfig(lr=lr, adapter_lr=lr)
    optimizer, moments = make_optimizer(generator, config), generator.statistics(site)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * (1 - step / steps)
        picks = prompts.draw(rows, lm, seed=seed * 1_000_003 + step)
        centres = moments.standardise(last_activations(lm, picks, [site])[site])
        condition = generator.condition_on(site, centres, bandwidth)
        drawn = [ids for ids, _ in generator.sample(condition, samples, seed=seed + step)]
        log_p = torch.tensor(prompts.log_probs(drawn, lm), dtype=torch.float32)
        real = log_p.isfinite().nonzero()[:, 0].tolist()  # what P(X) cannot make weighs nothing, and may not even run
        if not real:
            continue
        units = moments.standardise(last_activations(lm, [drawn[i] for i in real], [site])[site])
        d = torch.full((len(drawn),), torch.inf)
        d[real] = distance(units, centres.repeat_interleave(samples, 0)[real])
        ids, lengths = generator.rows(drawn)
        log_q = generator.token_log_probs(ids, lengths, condition.repeat(samples)).sum(1)
        log_w = log_p + moments.kernel.log(d, bandwidth) - log_q.detach().cpu()
        weight = log_w.view(rows, samples).softmax(1).nan_to_num(0.0).to(log_q)
        loss = -(weight * log_q.view(rows, samples)).sum() / rows
        loss.backward()
        torch.nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    generator.eval().record_probe(lm)
    return time.monotonic() - began
