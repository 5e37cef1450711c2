"""Targets of any size, trained on the spot, whose inputs can all be listed: what the study of scale varies.

An input is four words out of eight each, somewhere among filler words, then a colon; the target has learned to name the
first two of them by one word of 64. So its activation at the colon holds two slots, and whatever it happens to hold of
the others. Inputs number 4,096 at any length, so exact posteriors are known.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import inversescope_nb as isn
from inversescope_nb.exact import ActivationTable

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

SLOTS, VALUES = 4, 8
WORDS = [f"{slot}{value}" for slot in "abcd" for value in range(VALUES)]
PAIRS = [f"a{first}b{second}" for first in range(VALUES) for second in range(VALUES)]
HEAD = 16
STEPS, RISING, LOOK, ENOUGH = 2_000, 60, 50, 0.99
"""Of the target's own training: steps at most, those in which its rate rises, after how many it is looked at, and the
share of pairs named right at which it ends. It learns the shortest inputs first, and then those of its own length."""
SHORTEST = 8


@dataclass(frozen=True)
class Size:
    """What is varied; all else stays."""

    width: int = 64
    depth: int = 4
    length: int = 8
    sites: int = 1
    generator_width: int = 64


def tokenizer() -> PreTrainedTokenizerFast:
    """Word by word, with BOS."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", ":", "...", *WORDS, *PAIRS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def texts(length: int) -> list[str]:
    """All inputs of `length` words, the colon counted: slots stand at even distances."""
    places = [round((i + 0.5) * (length - 1) / SLOTS - 0.5) for i in range(SLOTS)]
    found = []
    for values in itertools.product(range(VALUES), repeat=SLOTS):
        words = ["..."] * (length - 1) + [":"]
        for slot, (place, value) in enumerate(zip(places, values, strict=True)):
            words[place] = f"{'abcd'[slot]}{value}"
        found.append(" ".join(words))
    return found


def target(size: Size, seed: int) -> tuple[isn.LanguageModel, isn.PromptDistribution, float]:
    """A trained model, its P(X), and the share of pairs that it names right."""
    words, every = tokenizer(), texts(size.length)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words), max_position_embeddings=size.length + 4, hidden_size=size.width,
        intermediate_size=3 * size.width, num_hidden_layers=size.depth, num_attention_heads=max(1, size.width // HEAD),
        bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    pairs = ["".join(word for word in text.split() if word[0] in "ab") for text in every]
    said = torch.tensor(words.convert_tokens_to_ids(pairs))
    for length in sorted({SHORTEST, size.length}):
        _train(model, torch.tensor(words(texts(length))["input_ids"]), said)
    lm = isn.load_model((model.eval(), words))
    held = torch.randint(len(every), (256,))
    right = (lm.logits([every[i] for i in held]).argmax(-1) == said[held]).float().mean()
    return lm, isn.PromptDistribution.from_texts(every, name=f"{SLOTS} of {VALUES}", cut="end"), float(right)


def _train(model: LlamaForCausalLM, rows: Int[Tensor, "n pos"], said: Int[Tensor, " n"]) -> None:
    """Until it says the right word behind nearly all inputs."""
    rate = 3e-3 * math.sqrt(64 / model.config.hidden_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    rise = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min((k + 1) / RISING, 1.0))
    named = 0.0
    for step in range(1, STEPS + 1):
        batch = torch.randint(len(rows), (64,))
        logits = model(rows[batch], logits_to_keep=1).logits[:, -1]
        loss = torch.nn.functional.cross_entropy(logits, said[batch])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rise.step()
        named += float((logits.argmax(-1) == said[batch]).float().mean()) / LOOK
        if step % LOOK == 0:
            if named >= ENOUGH:
                return
            named = 0.0


def sites(lm: isn.LanguageModel, number: int) -> list[str]:
    """So many sites: the middle block's output, then others spread over the model."""
    middle = f"blocks.{(lm.n_layers - 1) // 2}.hook_resid_post"
    others = [s for s in lm.sites() if s != middle and lm.site(s).head is None and s != "blocks.0.hook_resid_pre"]
    step = max(1, len(others) // max(1, number - 1))
    return sorted({middle, *others[::step][: number - 1]}, key=lm.sites().index)


def bandwidth_of(table: ActivationTable, bits: float) -> float:
    """The bandwidth at which activations say so many bits on average: sizes are compared at the same question."""
    rows = table.draw(32, seed=5)
    low, high = math.log(0.01), math.log(3.0)
    for _ in range(12):
        middle = (low + high) / 2
        said = sum(p.bits for p in table.posteriors(table.u[rows], math.exp(middle))) / len(rows)
        low, high = (middle, high) if said > bits else (low, middle)
    return math.exp((low + high) / 2)
