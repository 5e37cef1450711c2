"""Targets of any size, trained on the spot, whose inputs can all be listed: what the study of scale varies.

An input is four words out of eight each, somewhere among filler words, then a colon; the target has learned to name the
first two of them by one word of 64. So its activation at the colon holds two slots, and whatever it happens to hold of
the others. Inputs number 4,096 at any length, so exact posteriors are known.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import inversescope_nb as isn
from inversescope_nb.exact import ActivationTable

SLOTS, VALUES = 4, 8
WORDS = [f"{slot}{value}" for slot in "abcd" for value in range(VALUES)]
PAIRS = [f"a{first}b{second}" for first in range(VALUES) for second in range(VALUES)]
HEAD = 16
STEPS = 400
"""Of the target's own training."""


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
    config = GPT2Config(
        vocab_size=len(words), n_positions=size.length + 4, n_embd=size.width, n_layer=size.depth,
        n_head=max(1, size.width // HEAD), resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=1, eos_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    rows = torch.tensor(words(every)["input_ids"])
    pairs = ["".join(word for word in text.split() if word[0] in "ab") for text in every]
    said = torch.tensor(words.convert_tokens_to_ids(pairs))
    rows = torch.cat([rows, said[:, None]], 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3 * math.sqrt(64 / size.width), weight_decay=0.01)
    for _ in range(STEPS):
        batch = rows[torch.randint(len(rows), (64,))]
        loss = torch.nn.functional.cross_entropy(model(batch[:, :-1]).logits[:, -1], batch[:, -1])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    lm = isn.load_model((model.eval(), words))
    held = torch.randint(len(rows), (256,))
    right = (lm.logits([every[i] for i in held]).argmax(-1) == said[held]).float().mean()
    return lm, isn.PromptDistribution.from_texts(every, name=f"{SLOTS} of {VALUES}", cut="end"), float(right)


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
