"""Prompts to token ids and back, by the tokenizer's own policy.

BOS is added once where the tokenizer adds one by itself, and is shown and counted like any token; a
trailing EOS is not. Rows are right padded, which never changes a result (see ``activations``).
Axes: ``n`` prompts, ``pos`` positions.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ._token_bytes import spelled
from .errors import BadPrompt, InvalidArgument, suggest

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

    from .models import LanguageModel
    from .prompts import Prompt

    Prompts = str | Prompt | Sequence[str | Prompt | Sequence[int]] | Sequence[int] | Int[Tensor, "..."]


@dataclass(frozen=True)
class EncodedPrompts:
    """Token ids of some prompts."""

    token_ids: Int[Tensor, "n pos"]
    """Right padded with the model's ``pad_id``."""
    lengths: Int[Tensor, " n"]
    """How many tokens of each row are real."""
    slot_positions: dict[str, Int[Tensor, " n"]] = field(default_factory=dict)
    """Slot name -> position of the slot's last token in each row, -1 where a row has no such slot."""

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self) -> list[list[int]]:
        """Token ids of each prompt without padding."""
        return [row[:length].tolist() for row, length in zip(self.token_ids, self.lengths, strict=True)]


def encode(lm: LanguageModel, prompts: Prompts | EncodedPrompts) -> EncodedPrompts:
    """Token ids of prompts; see :meth:`LanguageModel.encode`."""
    if isinstance(prompts, EncodedPrompts):
        return prompts
    items = as_items(prompts)
    rows, encoded = checked_rows(lm, items)
    lengths = torch.tensor([len(row) for row in rows])
    token_ids = torch.full((len(rows), int(lengths.max())), lm.pad_id)
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = torch.tensor(row)
    slots = {i: getattr(items[i], "slots", None) or {} for i in encoded}
    positions = {
        name: torch.tensor(
            [_last_token(encoded[i][1], slots[i][name]) if name in slots.get(i, {}) else -1 for i in range(len(rows))]
        )
        for name in dict.fromkeys(name for spans in slots.values() for name in spans)
    }
    return EncodedPrompts(token_ids, lengths, positions)


def checked_rows(
    lm: LanguageModel, items: Sequence[Any], first: int = 0, total: int | None = None
) -> tuple[list[list[int]], dict[int, tuple[list[int], list[tuple[int, int]]]]]:
    """Token ids of each item, and for those that are texts what the tokenizer says of them.

    Args:
        lm: the model.
        items: prompts, one each.
        first, total: which of how many prompts the first one is, for what an error calls it.
    """
    total = len(items) if total is None else total
    texts = {i: _text(item, _which(first + i, total)) for i, item in enumerate(items) if _is_text(item)}
    encoded = dict(zip(texts, _tokenize(lm, list(texts.values())), strict=True)) if texts else {}
    rows = [encoded[i][0] if i in encoded else _ids(item) for i, item in enumerate(items)]
    for i, row in enumerate(rows):
        check_ids(lm, row, what=_which(first + i, total))
    return rows, encoded


def check_ids(lm: LanguageModel, row: Sequence[int], *, what: str) -> None:
    """Raise :class:`BadPrompt` unless `row` is a prompt the model can run."""
    if not row:
        raise BadPrompt(f"{what} is empty", hint="give at least one token")
    if len(row) > lm.n_ctx:
        raise BadPrompt(
            f"{what} has {len(row)} tokens", hint=f"the context of {lm.name} is {lm.n_ctx} tokens: shorten it"
        )
    check_tokens_exist(lm, row, what=what)


def check_tokens_exist(lm: LanguageModel, row: Sequence[int], *, what: str) -> None:
    """Raise :class:`BadPrompt` if a token id is outside the model's vocabulary."""
    if not row or (min(row) >= 0 and max(row) < lm.vocab_size):
        return
    bad = next((token for token in row if not 0 <= token < lm.vocab_size), None)
    if bad is not None:
        raise BadPrompt(
            f"{what} holds the token id {bad}, which does not exist",
            hint=f"token ids of {lm.name} are 0 to {lm.vocab_size - 1}",
        )


def own_positions(position: Any, lengths: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """One position per prompt, each counted from the prompt's start."""
    try:
        positions = torch.as_tensor(position)
    except (TypeError, ValueError, RuntimeError):
        positions = torch.tensor(math.nan)
    whole = not (positions.dtype.is_floating_point or positions.dtype in (torch.bool, torch.complex64))
    if not whole or positions.ndim > 1 or positions.numel() not in (1, len(lengths)):
        raise InvalidArgument(
            f"position={position!r:.60} must be a whole number, or one for each of the {len(lengths)} prompts",
            hint="-1 is the last token, 0 the first, BOS counted",
        )
    positions = positions.to(lengths.dtype).cpu().expand(len(lengths))
    found = torch.where(positions < 0, positions + lengths, positions)
    outside = ((found < 0) | (found >= lengths)).nonzero().flatten().tolist()
    if outside:
        i = outside[0]
        raise InvalidArgument(
            f"position {int(positions[i])} is outside {_which(i, len(lengths))} of {int(lengths[i])} tokens",
            hint=f"allowed: {-int(lengths[i])} to {int(lengths[i]) - 1}; negative positions count from the end",
        )
    return found


def decode(lm: LanguageModel, token_ids: Sequence[int]) -> str:
    """Text of token ids; see :meth:`LanguageModel.decode`."""
    row = _ids(token_ids)
    check_tokens_exist(lm, row, what="the text")
    return lm.tokenizer.decode(row, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def token_strings(lm: LanguageModel, token_ids: Sequence[int]) -> list[str]:
    """One string per token; see :meth:`LanguageModel.token_strings`."""
    tokenizer = lm.tokenizer
    row = _ids(token_ids)
    check_tokens_exist(lm, row, what="the text")
    for token in set(row) - lm._strings.keys():
        if token >= len(tokenizer):
            lm._strings[token] = f"<{token}>"  # rows that pad the embedding matrix have no string
        elif _is_word_level(tokenizer):
            lm._strings[token] = tokenizer.convert_ids_to_tokens(token)
        else:
            lm._strings[token] = spelled(tokenizer.convert_ids_to_tokens(token), _string_after(tokenizer, token))
    return [lm._strings[token] for token in row]


def _string_after(tokenizer: Any, token: int) -> str:
    """A token's text as it stands inside a text: some decoders drop the first token's leading space."""
    before = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    pair = tokenizer.decode([token, token], clean_up_tokenization_spaces=False)
    return pair[len(before) :] if pair.startswith(before) else before


def _is_word_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return type(getattr(backend, "model", None)).__name__ == "WordLevel"


# --- what a prompt may be -----------------------------------------------------------------------------


def _is_text(item: Any) -> bool:
    return isinstance(item, str) or isinstance(getattr(item, "text", None), str)


def _text(item: Any, which: str) -> str:
    text = item if isinstance(item, str) else item.text
    if not text.strip():
        raise BadPrompt(f"{which} is empty", hint="write at least one word")
    return text


def _which(i: int, n: int) -> str:
    """What to call one of n prompts."""
    return f"prompt {i}" if n > 1 else "the prompt"


def as_items(prompts: Any) -> list[Any]:
    """The prompts as a list, one of which may have been given bare."""
    if _is_text(prompts):
        return [prompts]
    if hasattr(prompts, "tolist"):
        prompts = prompts.tolist()
    if isinstance(prompts, Mapping | bytes | bytearray) or not hasattr(prompts, "__iter__"):
        raise BadPrompt(f"a prompt cannot be a {type(prompts).__name__}", hint=_ALLOWED)
    items = list(prompts)
    if not items:
        raise BadPrompt("no prompt was given", hint=_ALLOWED)
    return [items] if all(isinstance(item, numbers.Real) for item in items) else items


def _ids(item: Any) -> list[int]:
    """Token ids as plain integers."""
    values = item.tolist() if hasattr(item, "tolist") else item
    if type(values) is list and set(map(type, values)) == {int}:
        return values
    if not isinstance(values, (list, tuple)) or not all(
        isinstance(value, numbers.Integral) and not isinstance(value, bool) for value in values
    ):
        raise BadPrompt(f"a prompt cannot be {item!r:.60}", hint=_ALLOWED)
    return [int(value) for value in values]


_ALLOWED = "allowed: a text, a Prompt, a sequence of token ids, or a sequence of those"


# --- the tokenizer ------------------------------------------------------------------------------------


def _tokenize(lm: LanguageModel, texts: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Token ids and character spans of each text."""
    tokenizer = lm.tokenizer
    fast = bool(getattr(tokenizer, "is_fast", False))
    batch = tokenizer(
        texts,
        add_special_tokens=True,
        padding=False,
        truncation=False,
        return_attention_mask=False,
        return_special_tokens_mask=True,
        return_offsets_mapping=fast,
        verbose=False,
    )
    result = []
    for i, text in enumerate(texts):
        ids, added = list(batch["input_ids"][i]), batch["special_tokens_mask"][i]
        spans = batch["offset_mapping"][i] if fast else _spans_by_prefix(tokenizer, text, ids, added)
        end = len(ids)
        while end > 1 and added[end - 1]:
            end -= 1
        start = 1 if end > 1 and added[0] and ids[0] == ids[1] == lm.bos_id else 0
        if fast:
            _refuse_unknown_words(tokenizer, text, ids, spans, added)
        result.append((ids[start:end], list(spans[start:end])))
    return result


WORDS_NAMED = 5
"""Unknown words that an error names."""


def _refuse_unknown_words(
    tokenizer: Any, text: str, ids: list[int], spans: Sequence[tuple[int, int]], added: list[int]
) -> None:
    """Raise where a word became the unknown token, or nothing: the model would see another text."""
    unknown = _unknown_token(tokenizer)
    lost = []
    for token, (start, end), special in zip(ids, spans, added, strict=True):
        if unknown is not None and token == unknown[1] and not special and text[start:end].strip() != unknown[0]:
            lost.append(text[start:end].strip() or text[start:end])
    if not lost and sum(end - start for start, end in spans) < len(text) - text.count(" "):
        seen = {i for start, end in spans for i in range(start, end)}
        # characters without a width of their own are dropped by many normalisers, harmlessly
        lost = [c for i, c in enumerate(text) if i not in seen and c.isprintable() and c != " "]
    if lost:
        words = list(dict.fromkeys(lost))
        more = f" and {len(words) - WORDS_NAMED} more" if len(words) > WORDS_NAMED else ""
        meant = suggest(words[0], tokenizer.get_vocab()) if len(words) == 1 else ""
        raise BadPrompt(
            f"the tokenizer does not know {', '.join(map(repr, words[:WORDS_NAMED]))}{more}.{meant}",
            hint=f"{_some_words(tokenizer)}; an example prompt is a good start, or give token ids",
        )


def _some_words(tokenizer: Any) -> str:
    """How many words a tokenizer knows, and some that are spread over them."""
    words = sorted(word for word in tokenizer.get_vocab() if word.isalpha())
    return f"it knows {len(words):,} words, such as {', '.join(words[:: max(1, len(words) // 8)][:8])}"


def _unknown_token(tokenizer: Any) -> tuple[str, int] | None:
    """The token that stands for unknown words, as the tokenizer or the model behind it names it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    token = tokenizer.unk_token or getattr(getattr(backend, "model", None), "unk_token", None)
    index = None if token is None else tokenizer.convert_tokens_to_ids(token)
    return None if index is None else (token, index)


def _spans_by_prefix(tokenizer: Any, text: str, ids: list[int], added: list[int]) -> list[tuple[int, int]]:
    """Character spans for a tokenizer without offsets: a token ends where its decoded prefix does."""
    spans, end = [], 0
    for i in range(len(ids)):
        own = [token for token, special in zip(ids[: i + 1], added, strict=False) if not special]
        start, end = end, min(len(text), len(tokenizer.decode(own)))
        spans.append((start, end))
    return spans


def _last_token(spans: Sequence[tuple[int, int]], slot: tuple[int, int]) -> int:
    """Index of the last token that shares a character with the slot; -1 if none does."""
    touching = [i for i, (start, end) in enumerate(spans) if start < slot[1] and end > slot[0]]
    return touching[-1] if touching else -1
