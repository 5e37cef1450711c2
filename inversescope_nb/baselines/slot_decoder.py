"""InversionView's decoder (Huang et al., arXiv 2405.17653), from its description: one slot that attention can look at.

The activation, with an embedding of its site, goes through an MLP; every block then has one more key and value in its
self-attention, linear in what comes out: no filter, no gate, no null, no bandwidth. The decoder is a small causal
language model from scratch. Here it is trained by the same loop on the same inputs as a generator is, so that both
can be held against the same exact posterior: with the kernel's noise, where log q approximates the posterior at the
bandwidth that it was trained at, or without, as published.

Axis names: n (rows), d (site width), c (width of the MLP), slot (always 1), h (heads), e (head width).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .._arguments import check_model, check_prompts
from .._progress import Progress
from ..architectures import text_config
from ..errors import Cancelled, InvalidArgument
from ..generator import Condition, Generator, TrainingConfig, train_generator
from ..generator.conditioning import SiteEncoder
from ..kernels import BANDWIDTHS, SiteStatistics, check_bandwidth

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from ..generator.training import Evaluation
    from ..models import LanguageModel
    from ..prompts import PromptDistribution

SILENT = 1e-6
"""The bandwidth that stands for no noise at all."""


class SlotEncoder(SiteEncoder):
    """Standardised activations to one vector each; keeps names and moments of its sites as a generator's encoder."""

    def __init__(self, statistics: Mapping[str, SiteStatistics], *, width: int) -> None:
        super().__init__(statistics, width=width, n_tokens=1, n_blocks=0, expansion=1)
        del self.bandwidth, self.blocks, self.common, self.norm
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU())

    def forward(
        self, activations: Sequence[tuple[int, Float[Tensor, "k d"]]], bandwidths: Float[Tensor, " n"]
    ) -> Float[Tensor, "n slot c"]:
        """One vector a row; arguments as of `SiteEncoder`, but bandwidths are not looked at."""
        hidden = torch.cat([self.first[i](u) + self.site.weight[i] for i, u in activations])
        return self.out(hidden + self.mlp(hidden))[:, None]


class _Slot(nn.Module):
    """The extra key and value of one block."""

    def __init__(self, d_model: int, *, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.kv = nn.Linear(width, 2 * d_model)

    def prepare(self, tokens: Float[Tensor, "n slot c"]) -> tuple[Tensor, Tensor]:
        """[n, h, slot, e] each."""
        k, v = self.kv(tokens).chunk(2, -1)
        return tuple(x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for x in (k, v))


class SlotDecoder(Generator):
    """A decoder with InversionView's injection; made by :func:`train_slot_decoder`, used as a `Generator` is.

    It answers at every bandwidth alike: with what it was trained at. Importance weights make up for that as far as its
    samples reach. It sees an activation in every example, and so learns no prior of its own: P(X) has to say how likely
    an input is.
    """

    has_prior = False

    def __init__(
        self, backbone: nn.Module, statistics: dict[str, SiteStatistics], *args: Any, shares_target: bool, **kwargs: Any
    ) -> None:
        super().__init__(backbone, statistics, *args, shares_target=shares_target, **kwargs)
        shape = text_config(backbone)
        if shares_target or shape.model_type != "gpt2":
            raise InvalidArgument("a slot decoder is a small model from scratch", hint="backbone='small'")
        width = self.config.width
        self.encoder = SlotEncoder(statistics, width=width)
        self.controls = nn.ModuleList(
            _Slot(shape.hidden_size, width=width, n_heads=shape.num_attention_heads) for _ in self.architecture.blocks
        )

    def condition_on(self, site: str, u: Float[Tensor, "n d"], bandwidth: float) -> Condition:
        """Condition of standardised activations of one site; the bandwidth is not looked at."""
        self.statistics(site)
        u = u.to(self.device, torch.float32)
        return self.condition([(self.encoder.index[site], u)], torch.full((len(u),), bandwidth, device=self.device))

    def prior_log_probs(self, inputs: Sequence[Sequence[int]]) -> list[Float[Tensor, " pos"]]:
        """NaN: it has none."""
        return [torch.full((len(x) + int(not self.config.has_bos),), math.nan) for x in inputs]

    @contextmanager
    def controlled(self, condition: Condition) -> Iterator[None]:
        """Within the block the backbone's self-attention sees the slot in front of what it reads."""
        from transformers import DynamicCache

        def inject(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            ids, mask, past = kwargs["input_ids"], kwargs["attention_mask"], kwargs.get("past_key_values")
            if past is None or past.get_seq_length() == 0:
                past = DynamicCache()
                for layer, (k, v) in enumerate(condition.parts):
                    past.update(k.expand(len(ids), -1, -1, -1), v.expand(len(ids), -1, -1, -1), layer)
            slots = condition.parts[0][0].shape[2]
            seen = mask.new_ones(len(ids), slots)
            if condition.keep is not None:
                seen = seen * condition.keep[:, None]
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            new = {"past_key_values": past, "attention_mask": torch.cat([seen, mask], 1), "position_ids": positions}
            return args, {**kwargs, **new}

        with self._turn.lock:
            handle = self.backbone.register_forward_pre_hook(inject, with_kwargs=True)
            try:
                yield
            finally:
                handle.remove()

    @torch.inference_mode()
    def sample(
        self, condition: Condition, n: int, *, seed: int, cancel: threading.Event | None = None
    ) -> list[tuple[list[int], bool]]:
        """`n` draws for each row of the condition; see :meth:`Generator.sample`."""
        condition, rng = condition.repeat(n), torch.Generator(self.device).manual_seed(seed)
        frame, rows = self.config, len(condition)
        ids = torch.full((rows, 1), frame.start_id, device=self.device)
        ended, past = torch.zeros(rows, dtype=torch.bool, device=self.device), None
        with self.controlled(condition):
            while ids.shape[1] <= frame.max_length and not bool(ended.all()):
                if cancel is not None and cancel.is_set():
                    raise Cancelled("sampling was stopped")
                output = self.backbone(
                    input_ids=ids[:, -1:], attention_mask=torch.ones_like(ids), past_key_values=past, use_cache=True
                )
                past = output.past_key_values
                drawn = torch.multinomial(output.logits[:, -1].float().softmax(-1), 1, generator=rng)
                ids = torch.cat([ids, drawn.masked_fill(ended[:, None], frame.end_id)], 1)
                ended |= drawn[:, 0] == frame.end_id
        return [self.unframed(row) for row in ids.tolist()]

    def save_pretrained(self, path: Any, *, dtype: torch.dtype | None = None) -> None:
        """A baseline has no folder of its own: raises `InvalidArgument`."""
        raise InvalidArgument("a slot decoder cannot be saved", hint="its training resumes from run_dir=")


def train_slot_decoder(
    lm: LanguageModel,
    sites: Sequence[str] | str,
    prompts: PromptDistribution,
    *,
    bandwidth: float | None = None,
    config: TrainingConfig | None = None,
    run_dir: str | Path | None = None,
    on_progress: Progress | None = None,
    progress: bool = True,
    on_evaluate: Evaluation | None = None,
    cancel: threading.Event | None = None,
) -> SlotDecoder:
    """Trains InversionView's decoder for activations of `lm` at `sites` on inputs of `prompts`.

    Args:
        bandwidth: of the kernel whose noise the activations are seen through; None: no noise, as published.
        config: as of :func:`inversescope_nb.train_generator`; backbone, condition tokens, dropped conditions and
            bandwidths are the decoder's own. None: the usual, but AdamW at one learning rate of 1e-3.
        lm, sites, prompts, run_dir, on_progress, progress, on_evaluate, cancel: as there.

    Raises:
        InvalidArgument: `prompts` cannot say how likely an input is.

    >>> import inversescope_nb as isn
    >>> lm, P = isn.load_model(), isn.PromptDistribution.from_texts(["4 3 7 + 5 6 8 =", "4 1 7 + 2 6 3 ="], cut="end")
    >>> quick = isn.TrainingConfig(steps=2, batch_size=4, statistics_samples=8, held_out=4, lr=1e-3, adapter_lr=1e-3)
    >>> decoder = train_slot_decoder(lm, "resid_post.0", P, config=quick, progress=False)
    >>> inv = isn.invert(lm, decoder, "4 3 7 + 5 6 8 =", site="resid_post.0", n=8, bandwidth=0.5)
    >>> len(inv.samples)
    8
    """
    check_model(lm)
    if check_prompts(prompts).log_probs(prompts.draw(1, lm, seed=0), lm) is None:
        raise InvalidArgument(
            f"{prompts.name} cannot say how likely an input is, and a slot decoder has no prior of its own",
            hint="give prompts that can, such as a task's",
        )
    eps = SILENT if bandwidth is None else check_bandwidth(bandwidth, (1e-6, 1e6))
    config = config or TrainingConfig(optimizer="adamw", lr=1e-3, adapter_lr=1e-3)
    config = replace(config, backbone="small", n_tokens=1, n_blocks=0, drop_condition=0.0, bandwidths=(eps, eps))
    if bandwidth is None:
        config = replace(config, gap_inputs=0)  # its log q is no posterior's
    decoder = train_generator(
        lm, sites, prompts, config=config, run_dir=run_dir, on_progress=on_progress, progress=progress,
        on_evaluate=on_evaluate, cancel=cancel, generator_class=SlotDecoder,
    )  # fmt: skip
    low, high = BANDWIDTHS  # at which it may be asked, whatever it was trained at
    wide = (low, high) if bandwidth is None else (min(eps, low), max(eps, high))
    decoder.config = replace(decoder.config, bandwidths=wide)
    if bandwidth is None:
        decoder.run_card["usual_bandwidths"] = {}  # they were chosen from what it was trained at
    return decoder
