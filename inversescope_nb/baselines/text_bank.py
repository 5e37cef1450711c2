"""Texts read at every token, once for many picks.

Where P(X) cuts texts anywhere, one pass of the target over a text reads as many inputs as it has tokens, and none of
it depends on what is picked later: so texts are written once, and each pick weighs what was read of them.
Axis names: n (texts), tokens (of all of them behind BOS, one after the other), d (a site's width).
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .._arguments import check_model, check_prompts, seed_number, whole_number
from ..cuts import n_bos
from ..errors import InvalidArgument
from ..reading import read_every_token
from ..token_rows import TokenRows

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from ..models import LanguageModel
    from ..prompts import PromptDistribution
    from ..sites import Site

BUDGET = 1 << 29
"""Bytes of activations that a bank keeps at most, unless it is told otherwise."""
TOKENS = 8192
"""That are read together at most."""
_SEED = 271_828


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts that are read together."""

    rows: TokenRows
    """Their token ids, BOS first where texts get one."""
    beginnings: Int[Tensor, " n"]
    """How many inputs each can be cut into."""
    cut: Int[Tensor, " n"]
    """One of these, drawn evenly and counted from 0: so cut, each text is a draw of P(X)."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def starts(self) -> Int[Tensor, " n"]:
        """Where each text's first beginning stands among all tokens."""
        return self.beginnings.cumsum(0) - self.beginnings

    def drawn(self, values: Float[Tensor, "tokens d"]) -> Float[Tensor, "n d"]:
        """What belongs to :meth:`inputs`, of what belongs to all tokens."""
        return values[self.starts + self.cut]

    def inputs(self) -> list[list[int]]:
        """Each text as it is cut: independent draws of P(X)."""
        return [self.input(i, cut) for i, cut in enumerate(self.cut.tolist())]

    def input(self, text: int, beginning: int) -> list[int]:
        """Token ids of one beginning of one text."""
        start, bos = int(self.rows.starts[text]), int(self.rows.lengths[text] - self.beginnings[text])
        return self.rows.flat[start : start + bos + beginning + 1].tolist()


class TextBank:
    """Texts of a P(X) that cuts them after any token, and what a model holds at each of their tokens.

    :func:`metropolis` takes one in place of texts of its own, so that every further pick is answered from what is there
    already; it adds to it where that is not enough. All picks then see the same texts: their errors are not
    independent.

    Args:
        lm: the target model.
        prompts: P(X): samples of a model, or texts or templates cut ``"random"``, or a mixture of these.
        seed: of the texts.
        budget: bytes of activations that are kept; what is beyond that is read again where it is asked for. Texts
            themselves are always kept, and the latest sites' activations before others.

    Raises:
        InvalidArgument: `prompts` does not cut its texts anywhere.

    >>> import inversescope_nb as isn
    >>> lm = isn.load_model()
    >>> sums = isn.tasks.addition().prompts.cut_at("random")
    >>> bank = TextBank(lm, sums)
    >>> bank.grow(500)
    >>> bank
    TextBank(500 texts of addition, 4,000 inputs)
    >>> found = [
    ...     isn.baselines.metropolis(lm, sums, pick, site="resid_post.1", bandwidth=0.5, texts=bank, passes=2000)
    ...     for pick in ("4 3 7 +", "4 3 7 + 5")
    ... ]
    >>> [str(one.verdict) for one in found], found[1].bank_size, found[1].n_texts
    (['RELIABLE', 'RELIABLE'], 0, 500)
    """

    def __init__(self, lm: LanguageModel, prompts: PromptDistribution, *, seed: int = _SEED, budget: int = BUDGET):
        check_model(lm)
        check_prompts(prompts)
        prompts.check_cuts_anywhere()
        self.lm, self.prompts = lm, prompts
        self.budget = whole_number("budget", budget, least=0, hint="bytes; 0 keeps none")
        self.parts: list[Texts] = []
        self.n_read = 0
        """Texts that were run so far; once for each site, if they are kept."""
        self.seconds = 0.0
        """That writing them took."""
        self._fingerprint = lm.fingerprint
        self._numbers = random.Random(seed_number(seed))
        self._kept: dict[tuple[str, int], Float[Tensor, "tokens d"]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __repr__(self) -> str:
        return f"TextBank({len(self):,} texts of {self.prompts.name}, {self.n_inputs:,} inputs)"

    @property
    def n_inputs(self) -> int:
        """Beginnings of all texts."""
        return sum(int(part.beginnings.sum()) for part in self.parts)

    @property
    def is_stale(self) -> bool:
        """Whether the model's weights were changed since, as far as its fingerprint tells: then nothing that was
        written or read holds any more."""
        return self.lm.fingerprint != self._fingerprint

    def grow(self, n: int, *, tokens: int = TOKENS, cancel: threading.Event | None = None) -> None:
        """Draws `n` more texts; `Cancelled` is raised on request, and nothing added.

        `tokens`: of the texts that will be read together, at most, unless one alone is longer.

        Raises:
            InvalidArgument, Cancelled
        """
        n = whole_number("n", n, least=1, hint="256 at a time are usual")
        began = time.monotonic()
        texts = self.prompts.draw_texts(n, self.lm, seed=self._numbers.randrange(2**31), cancel=cancel)
        self.seconds += time.monotonic() - began
        cuts = torch.Generator().manual_seed(self._numbers.getrandbits(62))
        bos, found, at = n_bos(self.lm), [], 0
        while at < len(texts):  # what is read in one batch, and kept or not
            end, width = at + 1, len(texts[at])
            while end < len(texts) and (end + 1 - at) * max(width, len(texts[end])) <= tokens:
                width = max(width, len(texts[end]))
                end += 1
            rows = TokenRows.of_ids(texts[at:end])
            beginnings = rows.lengths - bos
            if int(beginnings.min()) < 1:
                raise InvalidArgument(f"a text of {self.prompts.name} has no tokens", hint="leave empty texts out")
            cut = (torch.rand(len(rows), generator=cuts, dtype=torch.float64) * beginnings).long()
            found.append(Texts(rows, beginnings, cut))
            at = end
        self.parts += found

    def has(self, site: Site, part: int) -> bool:
        """Whether a part's activations are kept."""
        return (site.name, part) in self._kept

    def activations(self, site: Site, part: int, *, cancel: threading.Event | None = None) -> Float[Tensor, "tokens d"]:
        """What a site holds at all tokens of one of :attr:`parts`, in the site's dtype: read, or kept before."""
        key = (site.name, part)
        if key not in self._kept:
            rows = self.parts[part].rows
            values = read_every_token(self.lm, rows, site, first=n_bos(self.lm), cancel=cancel)
            self.n_read += len(rows)
            if not self._room(site, values.nbytes):
                return values
        else:
            values = self._kept.pop(key)
        self._kept[key] = values  # the latest comes last
        return values

    def _room(self, site: Site, size: int) -> bool:
        """Makes room for so many bytes at the cost of other sites, what was used long ago first; whether there is."""
        others = [key for key in self._kept if key[0] != site.name]
        used, free_able = (sum(self._kept[key].nbytes for key in keys) for keys in (self._kept, others))
        if used - free_able + size > self.budget:
            return False
        for key in others:
            if used + size <= self.budget:
                break
            used -= self._kept.pop(key).nbytes
        return True


def check_texts(texts: TextBank | None, lm: LanguageModel, prompts: PromptDistribution) -> TextBank | None:
    """Raises `InvalidArgument` where a bank is of another model, of other weights or another P(X)."""
    if texts is not None and not isinstance(texts, TextBank):
        raise InvalidArgument(f"a {type(texts).__name__} is no TextBank", hint="TextBank(lm, prompts)")
    if texts is not None and (texts.lm is not lm or texts.prompts is not prompts):
        raise InvalidArgument(
            f"{texts!r} of {texts.lm.name} is of another model or P(X)", hint=f"TextBank(lm, prompts) of {lm.name}"
        )
    if texts is not None and texts.is_stale:
        raise InvalidArgument(
            f"the weights of {lm.name} were changed since {texts!r} was made",
            hint="TextBank(lm, prompts) makes another",
        )
    return texts
