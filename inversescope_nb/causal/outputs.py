"""Forward passes with one activation changed, and how far the output moves from the original one.

The output is the model's distribution of the next token after the last token of an input. Axis names: n (patches of
one input), d (width of the site), vocab.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..activations import patch, scale
from ..errors import BadPrompt, InvalidArgument
from ..features import Feature, InputText, feature
from ..picking import text_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from jaxtyping import Bool, Float
    from torch import Tensor

    from ..models import LanguageModel
    from ..sites import Site

Wanted = str | int | Feature | Callable[[InputText], Hashable]
Answers = tuple[Wanted, Wanted] | None
LOGITS = 2**24
TOKENS = 2**13
"""Tokens that it reads at most."""
"""Logits that one forward pass computes at most."""


@dataclass(frozen=True)
class Effects:
    """How far the output moved, one value a patch."""

    kl: Float[np.ndarray, " n"]
    """Kullback-Leibler divergence of the patched output from the original, in nats."""
    difference: Float[np.ndarray, " n"]
    """Logit of the answer less that of the other, after the patch; NaN where there is no such pair."""
    same_top: Bool[np.ndarray, " n"]
    """Whether the likeliest next token is still the same."""


@dataclass(frozen=True)
class Original:
    """An input, and what the model says after it when nothing is changed."""

    ids: tuple[int, ...]
    """The whole input, as token ids."""
    position: int
    """The token at whose site activations are changed."""
    log_probs: Float[Tensor, " vocab"]
    """Log-probabilities of the next token, double precision."""
    pair: tuple[int, int] | None
    """Tokens of the answer and of the other."""

    @classmethod
    def of(cls, lm: LanguageModel, ids: Sequence[int], position: int, answers: Answers = None) -> Original:
        """Runs the model once."""
        ids = tuple(int(token) for token in ids)
        return cls(ids, position, log_probs_of(lm.logits([list(ids)]))[0], pair_of(lm, ids, answers))

    @property
    def difference(self) -> float:
        """Logit of the answer less that of the other; NaN where there is no such pair."""
        return float(_difference(self.log_probs[None], self.pair)[0])

    def patched(self, lm: LanguageModel, site: Site, values: Float[Tensor, "n d"]) -> Effects:
        """What moves when the activation at the site is each of these in turn."""
        return self._effects(lm, len(values), lambda rows: patch(lm, {site: values[rows]}, position=self.position))

    def scaled(self, lm: LanguageModel, site: Site, factor: float) -> Effects:
        """What moves when the activation at the site is multiplied by a number."""
        return self._effects(lm, 1, lambda rows: scale(lm, {site: factor}, position=self.position))

    def _effects(self, lm: LanguageModel, n: int, changed: Callable[[slice], AbstractContextManager[None]]) -> Effects:
        """The outputs of n changes, some of them in one forward pass."""
        length = len(self.ids)
        kept = 1 if lm.takes_logits_to_keep else length
        at_once = max(1, min(LOGITS // (kept * self.log_probs.numel()), TOKENS // length))
        kl, difference, top = [], [], []
        for start in range(0, n, at_once):
            rows = slice(start, min(n, start + at_once))
            with changed(rows):
                found = log_probs_of(lm.logits([list(self.ids)] * (rows.stop - start)))
            kl.append(divergence(self.log_probs, found))
            difference.append(_difference(found, self.pair))
            top.append(found.argmax(-1) == self.log_probs.argmax())
        return Effects(*(torch.cat(parts).numpy() if parts else np.zeros(0) for parts in (kl, difference, top)))


def log_probs_of(logits: Float[Tensor, "n vocab"]) -> Float[Tensor, "n vocab"]:
    """Log-probabilities; raises `InvalidArgument` where the model's output is no number."""
    found = logits.double().log_softmax(-1)
    if bool(found.isnan().any()):
        raise InvalidArgument(
            "the model's output is not finite after the change",
            hint="run the target in float32 or bfloat16, or change the activation less (doses, factors)",
        )
    return found


def divergence(log_p: Float[Tensor, " vocab"], log_q: Float[Tensor, "n vocab"]) -> Float[Tensor, " n"]:
    """KL(p || q) in nats; what p cannot be does not count."""
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), torch.zeros_like(log_q)).sum(-1).clamp(min=0)


def _difference(log_probs: Float[Tensor, "n vocab"], pair: tuple[int, int] | None) -> Float[Tensor, " n"]:
    if pair is None:
        return torch.full((len(log_probs),), float("nan"), dtype=torch.float64)
    return log_probs[:, pair[0]] - log_probs[:, pair[1]]


# -- answers ---------------------------------------------------------------------------------------


def pair_of(lm: LanguageModel, ids: Sequence[int], answers: Answers) -> tuple[int, int] | None:
    """The tokens of the answer and of the other after an input; None where one is undefined for it.

    Raises:
        InvalidArgument: not two, one that begins with no token of its own after this input, or two that begin alike.
    """
    if answers is None:
        return None
    if isinstance(answers, str) or not isinstance(answers, Sequence) or len(answers) != 2:
        raise InvalidArgument(
            f"answers={answers!r:.80}",
            hint="give two: the answer and what it is held against, such as (' yes', ' no'), token ids or features",
        )
    text = text_of(lm, ids)
    found = [_token(lm, ids, wanted, text) for wanted in answers]
    if None in found:
        return None
    if found[0] == found[1]:
        if any(callable(wanted) for wanted in answers):
            return None  # of this input, the two labels are no two answers
        raise InvalidArgument(f"both answers {answers!r:.80} begin with one token", hint="give two that do not")
    return found[0], found[1]  # type: ignore[return-value]


def _token(lm: LanguageModel, ids: Sequence[int], wanted: Any, text: InputText) -> int | None:
    """The first token of a word behind an input; of a feature, that of its label, which a number is written for."""
    if callable(wanted):
        label = (wanted if isinstance(wanted, Feature) else feature(wanted))(text)
        if label is None:
            return None
        wanted = str(label) if isinstance(label, int | np.integer) and not isinstance(label, bool) else label
    if isinstance(wanted, int | np.integer) and not isinstance(wanted, bool):
        if 0 <= wanted < lm.vocab_size:
            return int(wanted)
        raise InvalidArgument(f"the answer {wanted} is no token id", hint=f"0 to {lm.vocab_size - 1}")
    if not isinstance(wanted, str) or not wanted.strip():
        raise InvalidArgument(
            f"an answer is {wanted!r:.60}", hint="give a word, a token id, or a feature whose labels are words"
        )
    spaced = wanted[0].isspace() or text[-1:].isspace()
    for word in (wanted,) if spaced else (f" {wanted}", wanted):
        try:
            longer = lm.encode(str(text) + word).token_ids[0].tolist()
        except BadPrompt:  # a tokenizer of words that knows none like this
            continue
        if longer[: len(ids)] == list(ids) and len(longer) > len(ids) and _says(lm, longer[len(ids)], wanted):
            return longer[len(ids)]
    raise InvalidArgument(
        f"behind {str(text)[-40:]!r}, {wanted!r:.40} begins with no token of its own",
        hint="give the token's id: lm.encode(' word').token_ids",
    )


def _says(lm: LanguageModel, token: int, word: str) -> bool:
    """Whether a token is the beginning of a word, and more than the space before it."""
    written = lm.decode([token]).strip()
    return bool(written) and word.strip().startswith(written)
