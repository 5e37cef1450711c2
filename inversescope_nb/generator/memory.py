"""What a training needs in memory, told from shapes before it begins, and what it took in the end.

The estimate copies target and generator to torch's meta device, where tensors have shapes and no contents, and runs one
forward pass there: what autograd keeps of it is counted, not guessed. Not counted are the interpreter, a GPU's own
context (together about a gigabyte) and what allocators keep back.
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..architectures import candidates, takes
from ..kernels import Kernel, SiteStatistics
from ..loading import first_line, hub_options, location
from ..models import LanguageModel
from .backbones import make_backbone, prepared
from .common import n_coordinates
from .config import GeneratorConfig, TrainingConfig
from .data import edges_within
from .generator import LOGITS_PER_BATCH, Generator
from .optimizers import make_optimizer

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
GB = 1e9
LEAST_BATCHES = 3
"""That a step is split into, of like length, so that little is padded."""
_CAPTURED = {"cpu": 128, "cuda": 1024}  # inputs that the target runs on at once


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of a training on one device, by what they hold."""

    target: int
    """The target's weights: the backbone's as well, where that is the target, frozen."""
    backbone: int
    """Weights of a backbone of its own."""
    adapters: int
    """Site encoder and control layers, with the moments of the sites."""
    gradients: int
    """Of all that is trained; twice, where several processes send them to each other. And twice that of the largest
    matrix, which is added up (embedding and head may be one), or is at work in the optimizer."""
    optimizer: int
    """Its moments."""
    kept: int
    """What the forward pass of the largest batch keeps for the backward pass, beside weights."""
    logits: int
    """That batch's logits and their gradients, while they are computed."""
    capture: int
    """The target's own forward pass, before that."""
    measuring: int
    """Activations behind the sites' moments, before the first step; they lie on the CPU."""

    @property
    def total(self) -> int:
        """The most at a time on the device of the weights (measuring is over when a step begins, and not counted)."""
        lasting = self.target + self.backbone + self.adapters + self.gradients + self.optimizer
        return lasting + max(self.kept + self.logits, self.capture)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / GB:.2f}" for name, size in asdict(self).items())
        return f"about {self.total / GB:.2f} GB ({parts})"


def n_batches(lengths: Sequence[int], vocab_size: int, micro_batch: int | None, *, least: int, world: int = 1) -> int:
    """Batches of like length that a step is split into; more where a large vocabulary would fill the memory.

    The same for all `world` processes that share inputs of these lengths: they wait for each other at the last one.

    >>> n_batches([9] * 100, 50, None, least=3), n_batches([9] * 100, 50, 8, least=3, world=2)
    (3, 7)
    >>> n_batches([999] + [9] * 300, 50_000, None, least=3)  # one long input does not make all rows as long
    6
    """
    if micro_batch is not None:
        wanted = math.ceil(math.ceil(len(lengths) / world) / micro_batch)
    else:
        limit = _tokens_at_most(vocab_size)
        shares = (sorted((n + 1 for n in lengths[rank::world]), reverse=True) for rank in range(world))
        wanted = max(least, *(len(edges_within(sizes, limit)) - 1 for sizes in shares))
    return max(1, min(wanted, len(lengths) // world))


def _tokens_at_most(vocab_size: int) -> int:
    """Of a batch, padded; a single row may have more."""
    return LOGITS_PER_BATCH // 4 // vocab_size  # gradients and their sources stay too


def estimate_memory(
    lm: LanguageModel, sites: Sequence[str], config: TrainingConfig, longest: int, *, processes: int = 1
) -> MemoryEstimate:
    """Bytes that training a generator needs at most, from shapes alone; nothing is drawn, loaded or run.

    Args:
        lm: the target; its weights may be on the meta device.
        sites: names of its sites.
        config: of the training. With mixed precision it is more than is needed.
        longest: tokens of the longest input, with as many others as long as one batch holds.
        processes: that share a batch; the estimate is of one of them.

    >>> import inversescope_nb as isn
    >>> lm = isn.load_model()
    >>> frozen = estimate_memory(lm, ["blocks.1.hook_resid_post"], TrainingConfig(trainable="frozen"), 16)
    >>> frozen.backbone, frozen.optimizer < 2 * frozen.adapters
    (0, True)
    """
    target = _on_meta(lm.model)
    there = LanguageModel(target, lm.tokenizer, next(candidates(target)), name=lm.name)
    with torch.device("meta"):
        generator = _generator(there, [lm.site(name).d for name in sites], sites, config, longest)
    generator.train()
    trained = [p for p in generator.parameters() if p.requires_grad]
    optimizer = make_optimizer(generator, config)
    moments = sum(p.nbytes * (1 if g["hidden"] else 2) for g in optimizer.param_groups for p in g["params"])
    share = math.ceil(config.batch_size / processes)
    most = math.ceil(_tokens_at_most(generator.vocab_size) / (longest + 1))  # shorter ones may fill it to the last
    rows = config.micro_batch or min(max(1, most), math.ceil(share / LEAST_BATCHES))
    rows = min(share, max(rows, math.ceil(share / max(1, config.batch_size // processes))))  # as many batches for all
    own = 0 if generator.shares_target else _size(generator.backbone)
    item = next(p for p in generator.backbone.parameters()).element_size()
    widest = max(max(p.shape) for block in there.architecture.blocks for p in block.parameters() if p.ndim > 1)
    captured = min(_CAPTURED.get(lm.device.type, 128), math.ceil(config.batch_size / processes)) * longest
    return MemoryEstimate(
        target=_size(target),
        backbone=own,
        adapters=_size(generator) - own,
        gradients=sum(p.nbytes for p in trained) * min(processes, 2) + 2 * max(p.nbytes for p in trained),
        optimizer=moments,
        kept=_kept(generator, rows, longest, config),
        logits=rows * longest * generator.vocab_size * (4 + item),
        capture=captured * 4 * (there.d_model + widest) * there.dtype.itemsize,
        measuring=2 * 4 * config.statistics_samples * sum(lm.site(name).d for name in sites),
    )


def peak_memory(device: torch.device) -> tuple[float | None, str]:
    """(gigabytes at most so far, of what): tensors on a GPU, else the whole process; None where that is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GB, f"tensors on {device}"
    with suppress(OSError):  # not Linux; there, what getrusage says of a new process begins with its parent's
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if found := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
            return int(found[1]) * 1024 / GB, "the process"
    try:
        import resource
    except ImportError:  # Windows
        return None, "the process"
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GB, "the process"


def free_memory(device: torch.device) -> float | None:
    """Gigabytes that a device has left; None where that is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / GB
    if device.type != "cpu":
        return None
    import psutil  # accelerate's own requirement

    return psutil.virtual_memory().available / GB


def foresee(
    lm: LanguageModel, sites: Sequence[str], config: TrainingConfig, longest: int, *, processes: int = 1
) -> MemoryEstimate | None:
    """:func:`estimate_memory`; None where it cannot be told."""
    if config.start_from:  # of a shape that its folder tells
        return None
    try:
        return estimate_memory(lm, sites, config, longest, processes=processes)
    except (RuntimeError, NotImplementedError, TypeError, ValueError, OSError) as e:  # a model that meta cannot run
        log.info("what memory training needs cannot be told: %s", first_line(e))
        return None


def say(estimate: MemoryEstimate, device: torch.device) -> None:
    """Logs what a training will need, with a warning where that is not free."""
    log.info("training needs %s", estimate)
    needed, free = (estimate.total - estimate.target) / GB, free_memory(device)  # the target is there
    if free is not None and needed > free:
        log.warning(
            "training needs about %.1f GB beside the target, %s has %.1f GB free; a smaller micro_batch, "
            "gradient_checkpointing=True, trainable='frozen' or backbone='small' need less", needed, device, free,
        )  # fmt: skip


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy without contents: modules of its own, weights on the meta device, none of accelerate's hooks."""
    from accelerate.hooks import remove_hook_from_module

    memo: dict[int, Any] = {}
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        empty = tensor.detach().to("meta")
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    for module in model.modules():
        if (hook := getattr(module, "_hf_hook", None)) is not None:
            memo[id(hook)] = hook
    return remove_hook_from_module(copy.deepcopy(model, memo), recurse=True)


def _generator(
    lm: LanguageModel, widths: list[int], sites: Sequence[str], config: TrainingConfig, longest: int
) -> Generator:
    """A generator of the right shapes."""
    kernel = Kernel(config.metric, config.shape)
    statistics = {
        name: SiteStatistics(torch.empty(d), 1.0, torch.empty(d), torch.empty(d, d), False, kernel)
        for name, d in zip(sites, widths, strict=True)
    }
    frame = GeneratorConfig.of(
        config, start_id=0, end_id=0, has_bos=lm.text_bos_id is not None, max_length=longest + 4,
        n_common=n_coordinates(config.n_common, statistics),
    )  # fmt: skip
    return Generator(
        _backbone(lm, config, longest), statistics, None, frame, fingerprint="", tokenizer_hash="",
        shares_target=config.backbone == "target" and config.trainable == "frozen",
    )  # fmt: skip


def _backbone(lm: LanguageModel, config: TrainingConfig, longest: int) -> nn.Module:
    """What :func:`make_backbone` makes, without its weights."""
    if config.backbone == "small" or (config.backbone == "target" and config.trainable == "frozen"):
        return make_backbone(lm, config, longest)
    if config.backbone == "target":
        return prepared(copy.deepcopy(lm.model).float(), config.trainable)
    from transformers import AutoConfig, AutoModelForCausalLM

    where = location(config.backbone)
    return prepared(
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(where, **hub_options(where))).float(),
        config.trainable,
    )


def _size(module: nn.Module) -> int:
    return sum(t.nbytes for t in itertools.chain(module.parameters(), module.buffers()))


def _kept(generator: Generator, rows: int, longest: int, config: TrainingConfig) -> int:
    """Bytes that autograd keeps of one forward pass, and of a block that is computed again."""
    whole = _saved(generator, rows, longest)
    if not config.gradient_checkpointing:
        return whole
    generator.recomputes = True
    outside, blocks = _saved(generator, rows, longest), len(generator.architecture.blocks)
    weight = next(generator.backbone.parameters())
    width = generator.controls[0].gate.shape[0]
    return outside + (whole - outside) // blocks + blocks * rows * longest * width * weight.element_size()


class _Autocast(torch.autocast):
    """torch's own, which refuses the meta device even to be switched off there."""

    def __init__(self, device_type: str, *args: Any, **options: Any) -> None:
        super().__init__("cpu" if device_type == "meta" else device_type, *args, **options)


@contextmanager
def _autocast_on_meta() -> Iterator[None]:
    """Rotary embeddings of transformers 4 switch it off on whatever device they are."""
    before, torch.autocast = torch.autocast, _Autocast
    try:
        yield
    finally:
        torch.autocast = before


def _saved(generator: Generator, rows: int, longest: int) -> int:
    """Bytes of the tensors that autograd saves in one forward pass, weights left out."""
    weights = {
        t.untyped_storage()._cdata
        for module in (generator, generator.backbone)
        for t in itertools.chain(module.parameters(), module.buffers())
    }
    seen: dict[int, Tensor] = {}  # held, lest another one takes its place in memory

    def note(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in weights:
            seen[tensor.untyped_storage()._cdata] = tensor
        return tensor

    device = torch.device("meta")
    lengths = torch.full((rows,), longest + 1, device=device)
    u = torch.empty(rows, len(generator.encoder.mean_0), device=device)
    # models look into a mask of rows to see whether they need it, and here there is nothing to see
    given = {"attention_mask": torch.empty(rows, 1, longest, longest, dtype=torch.bool, device=device)}
    if takes(generator.backbone, "position_ids"):
        given["position_ids"] = torch.empty(rows, longest, dtype=torch.long, device=device)
    unmasked = generator.backbone.register_forward_pre_hook(
        lambda _module, args, kwargs: (args, kwargs | given), with_kwargs=True
    )
    with _autocast_on_meta(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        generator(
            torch.empty(rows, longest + 1, dtype=torch.long, device=device), lengths, [(0, u)],
            torch.empty(rows, device=device), torch.empty(rows, dtype=torch.bool, device=device),
        ).sum()  # fmt: skip
    unmasked.remove()
    return sum(t.untyped_storage().nbytes() for t in seen.values())
