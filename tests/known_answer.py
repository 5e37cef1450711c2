"""Target models that hold what they were built to hold: exact posteriors and consistency rates by formula.

A one-layer GPT-2 whose heads, at the last position, each copy the class of the token at one fixed position:

- the embedding is a one-hot block for the token beside one for the position, so every LayerNorm sees the same mean
  and variance and is affine;
- a head's score is large at its position and zero elsewhere, so its softmax is exactly one there;
- its values carry the class of the token, one-hot, times an amplitude.

With L equally likely classes at amplitude a, standardised squared distances (per coordinate) between inputs of
different classes are 2 L / (L - 1) * a^2 / sum of all a^2, so the kernel between them is
kappa = exp(-L / ((L - 1) eps^2) * share), and the consistency of the class is 1 / (1 + (L - 1) kappa).
Optionally the MLP adds the one-hot sum, modulo L, of two classes and nothing else. With `rotation` every residual
stream and every head is turned by a random orthogonal map, so that nothing is axis-aligned and nothing else changes.
:func:`constructions` lists such targets with what each holds and what it does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
import torch

import inversescope_nb as isn
from inversescope_nb.features import Feature
from inversescope_nb.models import LanguageModel, load_model
from inversescope_nb.prompts import PromptDistribution
from inversescope_nb.templates import Slot, Template

LETTERS = "abcdefghij"
_SHARP = 400.0


@dataclass(frozen=True)
class Copy:
    """What one head copies."""

    position: int
    """Index of the slot whose class it copies, 0 for the first."""
    amplitude: float = 1.0


def prompts(n_slots: int, n_labels: int, *, twins: int = 1) -> PromptDistribution:
    """`n_slots` independent slots, each of `n_labels` classes of `twins` tokens each, cut at the end."""
    words = [f"{LETTERS[c]}{t}" for c in range(n_labels) for t in range(twins)]
    slots = tuple(Slot(f"S{i}", words) for i in range(n_slots))
    text = " ".join(f"{{S{i}}}" for i in range(n_slots)) + " ."
    return PromptDistribution.from_templates([Template(text, slots)], name="known", cut="end")


def label(*positions: int) -> Feature:
    """The classes at some slots; undefined for a text that is too short (a generator may write one)."""

    def classes(text: str) -> tuple[str, ...] | None:
        words = text.split()
        return tuple(words[p][0] for p in positions) if len(words) > max(positions) else None

    return Feature(f"class {positions}", classes)


def sum_label(n_labels: int) -> Feature:
    """The sum, modulo the number of classes, of the first two; undefined where they are not there."""

    def total(text: str) -> int | None:
        found = [LETTERS.find(word[0]) for word in text.split()[:2]]
        return sum(found) % n_labels if len(found) == 2 and min(found) >= 0 else None

    return Feature("sum", total)


def kappa(bandwidth: float, n_labels: int, share: float = 1.0) -> float:
    """The kernel between inputs of different classes."""
    return math.exp(-n_labels / ((n_labels - 1) * bandwidth**2) * share)


def rate(bandwidth: float, n_labels: int, share: float = 1.0) -> float:
    """The consistency of the class."""
    return 1 / (1 + (n_labels - 1) * kappa(bandwidth, n_labels, share))


def mean_kernel(bandwidth: float, n_labels: int, share: float = 1.0) -> float:
    """The mean of the kernel over P(X), whose -log2 are the resolution bits."""
    return (1 + (n_labels - 1) * kappa(bandwidth, n_labels, share)) / n_labels


def copying_model(
    n_slots: int, n_labels: int, copies: list[Copy], *, twins: int = 1, adds: bool = False, rotation: int | None = None
) -> LanguageModel:
    """The model; with `adds`, its MLP writes the sum of the classes that its first two heads copy.

    `rotation` is the seed of the orthogonal maps; None: axis-aligned.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = ["<bos>", "<eos>", ".", *(f"{LETTERS[c]}{t}" for c in range(n_labels) for t in range(twins))]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="."))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<eos>")

    n_words, n_pos, n_heads = len(words), n_slots + 2, len(copies)
    head = max(n_labels, n_pos)
    d = math.ceil((n_words + n_pos + (n_heads + 1) * n_labels) / n_heads) * n_heads
    d = max(d, head * n_heads)
    head = d // n_heads
    config = GPT2Config(
        vocab_size=n_words, n_positions=n_pos + 2, n_embd=d, n_layer=1, n_head=n_heads, n_inner=n_labels**2,
        activation_function="relu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    block = model.transformer.h[0]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for norm in (block.ln_1, block.ln_2, model.transformer.ln_f):
            norm.weight.fill_(1.0)
        model.transformer.wte.weight[:, :n_words] = torch.eye(n_words)
        model.transformer.wpe.weight[:n_pos, n_words : n_words + n_pos] = torch.eye(n_pos)
        _attend(block.attn, copies, n_labels, twins, n_words, n_pos, head)
        if adds:
            _add(block.mlp, n_labels, d, n_words + n_pos)
        if rotation is not None:
            _rotate(model, rotation)
    lm = load_model((model, tokenizer))
    if adds:
        calibrate_sum(lm, n_labels)
    return lm


def _orthogonal(d: int, rng: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(d, d, generator=rng, dtype=torch.float64))[0]


def _rotate(model, seed: int) -> None:
    """Turns the residual stream by a map that keeps the ones vector (LayerNorm subtracts along it), heads by any."""
    rng = torch.Generator().manual_seed(seed)
    transformer, d = model.transformer, model.config.n_embd
    block, heads = transformer.h[0], model.config.n_head
    basis = torch.randn(d, d, generator=rng, dtype=torch.float64)
    basis[:, 0] = 1.0
    basis = torch.linalg.qr(basis)[0]
    inner = torch.eye(d, dtype=torch.float64)
    inner[1:, 1:] = _orthogonal(d - 1, rng)
    turn = basis @ inner @ basis.T
    values = torch.block_diag(*(_orthogonal(d // heads, rng) for _ in range(heads)))

    def put(parameter: torch.Tensor, value: torch.Tensor) -> None:
        parameter.copy_(value.to(parameter))

    for table in (transformer.wte, transformer.wpe):
        put(table.weight, table.weight.double() @ turn)
    attn, mlp = block.attn, block.mlp
    qkv = turn.T @ attn.c_attn.weight.double()
    qkv[:, 2 * d :] = qkv[:, 2 * d :] @ values
    put(attn.c_attn.weight, qkv)
    put(attn.c_proj.weight, values.T @ attn.c_proj.weight.double() @ turn)
    put(mlp.c_fc.weight, turn.T @ mlp.c_fc.weight.double())
    put(mlp.c_proj.weight, mlp.c_proj.weight.double() @ turn)


def _attend(attn, copies: list[Copy], n_labels: int, twins: int, n_words: int, n_pos: int, head: int) -> None:
    """Heads that look at one position each, from the last, and write the class found there into a block of its own."""
    d = attn.embed_dim
    for h, copy in enumerate(copies):
        q, k, v = (slice(part * d + h * head, part * d + (h + 1) * head) for part in range(3))
        attn.c_attn.weight[n_words + n_pos - 1, q.start] = _SHARP
        attn.c_attn.weight[n_words + 1 + copy.position, k.start] = _SHARP
        for c in range(n_labels):
            for t in range(twins):
                attn.c_attn.weight[3 + c * twins + t, v.start + c] = copy.amplitude
            attn.c_proj.weight[h * head + c, n_words + n_pos + h * n_labels + c] = 1.0


def _add(mlp, n_labels: int, d: int, at: int) -> None:
    """One neuron a pair of classes, on where both are there; it writes their sum behind the heads' blocks."""
    out = at + 2 * n_labels
    for i in range(n_labels):
        for j in range(n_labels):
            neuron = i * n_labels + j
            mlp.c_fc.weight[at + i, neuron] = 1.0
            mlp.c_fc.weight[at + n_labels + j, neuron] = 1.0
            mlp.c_proj.weight[neuron, out + (i + j) % n_labels] = 1.0
    # through LayerNorm a class that is there and one that is not differ by a fixed step; both together pass the bias
    mlp.c_fc.bias.fill_(0.0)


def calibrate_sum(lm: LanguageModel, n_labels: int) -> None:
    """Sets the neurons' bias between 'one class is there' and 'both are', as this model's LayerNorm scales them."""
    mlp = lm.model.transformer.h[0].mlp
    seen: list[torch.Tensor] = []
    handle = mlp.c_fc.register_forward_hook(lambda _m, _i, out: seen.append(out[0, -1].detach().clone()))
    lm.logits([lm.encode("a0 a0 .").rows()[0]])
    handle.remove()
    levels = seen[0].unique().sort().values
    levels = levels[torch.cat([torch.tensor([True]), levels.diff() > 1e-4])]
    mlp.c_fc.bias.data.fill_(-float((levels[-1] + levels[-2]) / 2))


# -- what each of them holds -------------------------------------------------------------------------

Curve = Callable[[float], float]


@dataclass(frozen=True, eq=False)
class Known:
    """A target, where to look, and the consistency rates there by formula."""

    name: str
    """What it is."""
    lm: LanguageModel
    """The target."""
    prompts: PromptDistribution
    """P(X): every slot independent and uniform."""
    site: str
    """Where it is looked at."""
    rates: dict[Feature, Curve]
    """Features and their rates (copies counted) at a bandwidth; constant for what the site does not hold."""
    absent: frozenset[str]
    """Names of those that it does not hold."""
    bandwidths: tuple[float, ...]
    """Along the curve."""
    z: Curve = field(default=lambda eps: 1.0)
    """E over P(X) of the kernel."""
    n_inputs: int = 0
    """Inputs of P(X)."""

    def without_copies(self, feature: Feature, bandwidth: float) -> float:
        """The rate where the picked input itself is left out of the posterior."""
        own = 1 / (self.n_inputs * self.z(bandwidth))
        return (self.rates[feature](bandwidth) - own) / (1 - own)


_WIDE = (0.35, 0.6, 0.9, 1.4)
_MIDDLE = (0.1, 0.2, 0.35, 0.7)
_FINE = (0.05, 0.1, 0.2, 0.5)
_ATTN, _HEAD = "blocks.0.hook_attn_out", "blocks.0.attn.hook_z.0"


def copying_target(
    name: str, n_slots: int, n_labels: int, copies: list[Copy], bandwidths: tuple[float, ...], rotation: int | None,
    *, twins: int = 1, site: str = _ATTN, asked: bool = True,
) -> Known:  # fmt: skip
    """A target whose heads copy some of the slots: each held at its share of the squares of the amplitudes.

    ``asked``: whether what it holds is among the features; else it holds something, and none of them.
    """
    seen = copies[:1] if ".hook_z." in site else copies
    total = sum(c.amplitude**2 for c in seen)
    shares = {c.position: c.amplitude**2 / total for c in seen}
    held = {label(p): (lambda e, share=s: rate(e, n_labels, share)) for p, s in shares.items()}
    if len(shares) == 2:
        held[label(*shares)] = lambda e: math.prod(rate(e, n_labels, s) for s in shares.values())
    absent = {label(p): (lambda e: 1 / n_labels) for p in range(n_slots) if p not in shares}
    lm = copying_model(n_slots, n_labels, copies, twins=twins, rotation=rotation)
    return Known(
        name, lm, prompts(n_slots, n_labels, twins=twins), site, (held if asked else {}) | absent,
        frozenset(f.name for f in absent),
        bandwidths, lambda e: math.prod(mean_kernel(e, n_labels, s) for s in shares.values()),
        (n_labels * twins) ** n_slots,
    )  # fmt: skip


def adding_target(name: str, n_labels: int, rotation: int | None, *, twins: int = 1) -> Known:
    """A target whose MLP holds the sum, modulo the number of classes, of two slots, and neither of them."""
    lm = copying_model(3, n_labels, [Copy(0), Copy(1)], twins=twins, adds=True, rotation=rotation)
    absent = {label(p): (lambda e: 1 / n_labels) for p in range(3)}
    held = {sum_label(n_labels): lambda e: rate(e, n_labels)}
    return Known(
        name, lm, prompts(3, n_labels, twins=twins), "blocks.0.hook_mlp_out", held | absent,
        frozenset(f.name for f in absent), _WIDE, lambda e: mean_kernel(e, n_labels), (n_labels * twins) ** 3,
    )  # fmt: skip


def constructions(rotation: int | None = None) -> list[Callable[[], Known]]:
    """Makers of thirteen targets; all have slots that the site does not hold, the last holds nothing asked about."""
    r = rotation
    return [
        lambda: copying_target("one of 2 labels", 3, 2, [Copy(0)], _WIDE, r, twins=2),
        lambda: copying_target("one of 3 labels", 3, 3, [Copy(1)], _WIDE, r),
        lambda: copying_target("one of 3 labels, 2 words each", 2, 3, [Copy(0)], _WIDE, r, twins=2),
        lambda: copying_target("one of 5 labels", 3, 5, [Copy(0)], _WIDE, r),
        lambda: copying_target("a head's own label", 3, 4, [Copy(2), Copy(0)], _WIDE, r, site=_HEAD),
        lambda: copying_target("behind the block", 3, 4, [Copy(1)], _WIDE, r, site="blocks.0.hook_resid_post"),
        lambda: copying_target("two labels of 2", 4, 2, [Copy(0), Copy(2)], _WIDE, r),
        lambda: copying_target("two labels of 3", 3, 3, [Copy(0), Copy(2)], _WIDE, r),
        # of 8 inputs, labels of two kinds can be exchanged in 70 ways: too few for a small p-value
        lambda: adding_target("only the sum of two, mod 2", 2, r, twins=2),
        lambda: adding_target("only the sum of two, mod 3", 3, r),
        lambda: copying_target("held only below some eps", 3, 4, [Copy(0, 0.1), Copy(1)], _FINE, r),
        lambda: copying_target("a weak label beside a strong one", 3, 3, [Copy(2, 0.3), Copy(0)], _MIDDLE, r),
        lambda: copying_target("none of what is asked", 3, 4, [Copy(1)], _WIDE, r, asked=False),
    ]


def trained(known: Known, *, steps: int = 200, seed: int = 0) -> isn.Generator:
    """A generator for the construction's site, as a user would train one."""
    config = isn.TrainingConfig(
        steps=steps, batch_size=128, lr=6e-3, warmup=20, backbone="small", held_out=256, gap_inputs=0, eval_every=steps,
        bandwidths=(known.bandwidths[0], known.bandwidths[-1]), seed=seed,
    )  # fmt: skip
    return isn.train_generator(known.lm, known.site, known.prompts, config=config, progress=False)


def answers(known: Known, generator: isn.Generator, *, n_targets: int = 32, n_samples: int = 64) -> pd.DataFrame:
    """What the package says of every feature along the curve, beside what is true."""
    report = isn.consistency(
        known.lm, generator, known.prompts, known.site, list(known.rates), bandwidth=list(known.bandwidths),
        n_targets=n_targets, n_samples=n_samples, progress=False,
    )  # fmt: skip
    frame = report.to_frame()
    by_name = {f.name: f for f in known.rates}
    pairs = [(by_name[name], eps) for name, eps in zip(frame["feature"], frame["bandwidth"], strict=True)]
    frame["exact_with_copies"] = [known.rates[f](eps) for f, eps in pairs]
    frame["exact"] = [known.without_copies(f, eps) for f, eps in pairs]
    frame["exact_bits"] = [-math.log2(known.z(eps)) for _, eps in pairs]
    frame["held"] = [f.name not in known.absent for f, _ in pairs]
    return frame
