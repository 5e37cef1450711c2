"""Hypotheses about what one activation holds, found on one half of its samples and tested on the other.

1. Candidates are read off the picked input (:mod:`inversescope_nb._candidates`); an input *agrees* with one where its
   label is the picked input's. Samples that are the picked input itself are left out, and so are P(X)'s.
2. On one half of the samples and of P(X)'s inputs: candidates that more of the samples agree with are sorted, simple
   ones first, by p-value. One that the stronger ones explain is folded into them: where P(X), tilted so that those
   are as common as near the activation (iterative proportional fitting), has nearly as many agree; or where it is
   the same for nearly all inputs. At most 16 are left (`TESTED`).
3. On the other halves these are tested: Fisher's exact test, the samples counting as many as they are effective, of
   whether more of them agree than of P(X)'s inputs, and than of those weighed to the samples' lengths (an activation
   may hold no more than the length). Something made of parts must also be surer than its parts. Bonferroni over all
   that are tested; the interval of each share is Wilson's, at the same level.

The halves are of the samples of ONE inversion, so a proposal is a claim about that activation alone; whether a site
holds it in general is what `consistency` measures. Axis names: n (samples), m (inputs of P(X)).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arguments import seed_number, whole_number
from ._candidates import Candidate, candidates_of
from ._halves import Half, screened, watch
from ._progress import Progress
from ._statistics import effective_sample_size, truncate
from .errors import InvalidArgument
from .features import Feature, InputText, as_features
from .fixing import check_nearby, doubt_on, frame_of
from .verdicts import LEAST_ESS, Verdict

if TYPE_CHECKING:
    import pandas as pd

    from .nearby import Nearby

LEVEL = 0.05
"""Chance that an inversion whose activation holds nothing has any proposal, at most."""
LIMIT = 6


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """One hypothesis that held on the half of the samples that it was not found on. Shares are from 0 to 1."""

    feature: Feature
    """The hypothesis, for whatever takes features."""
    label: str
    """The picked input's label, as text."""
    words: str
    """What it says of the picked input."""
    share: float
    """Weighted share of the samples that agree with the picked input, copies of it left out."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end."""
    prior: float
    """Share of P(X)'s inputs that agree."""
    by_length: float
    """The same, P(X)'s inputs weighed so that they are as long as the samples; NaN where none is."""
    p_value: float
    """Of the test, times the number of candidates that were tested (Bonferroni)."""
    folded: tuple[str, ...] = ()
    """Names of weaker candidates that this one explains."""

    @property
    def sentence(self) -> str:
        """The claim with its evidence, in words."""
        claim = f"{self.words[:1].upper()}{self.words[1:]}"
        return (
            f"{claim}: {_percent(self.share)} of the inputs near the activation "
            f"({_percent(self.low)} to {_percent(self.high)}), {_percent(self.prior)} of P(X)\u2019s."
        )

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, kw_only=True)
class Proposals(Sequence[Proposal]):
    """What :func:`propose` found for one inversion, the surest first."""

    found: tuple[Proposal, ...]
    """The proposals."""
    n_candidates: int
    """Candidates that were looked at."""
    n_tested: int
    """Candidates that were tested on the other half."""
    ess: float
    """Effective samples of the half that they were tested on."""
    n_prior: int
    """Inputs of P(X) that they were tested against."""
    level: float
    """Chance that any is there where nothing is held, at most."""
    doubt: str = ""
    """Why nothing can be proposed; empty where something could be."""

    def __getitem__(self, index: Any) -> Any:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Proposal]:
        return iter(self.found)

    @property
    def features(self) -> list[Feature]:
        """The hypotheses, for whatever takes features."""
        return [proposal.feature for proposal in self.found]

    @property
    def sentence(self) -> str:
        """What was tested on what, and why there is none where there is none."""
        if self.doubt:
            return f"Nothing can be proposed: {self.doubt}."
        on = f"{self.ess:.0f} effective samples, {self.n_prior} inputs of P(X)"
        if self.found:
            return (
                f"Found on one half of this inversion\u2019s samples, tested on the other ({on}; {self.n_tested} "
                f"tested, {len(self)} listed, all at {_percent(self.level)} together). They are about this one "
                "activation."
            )
        if not self.n_tested:
            return (
                f"Nothing to propose: on one half of the samples, none of {self.n_candidates} candidates held more "
                "often near the activation than in P(X)."
            )
        which = "the one candidate" if self.n_tested == 1 else f"none of the {self.n_tested} candidates"
        return (
            f"Nothing to propose: {which} found on one half of the samples held "
            f"{'not ' if self.n_tested == 1 else ''}on the other ({on}). More samples may show weaker ones."
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a proposal, with the columns of :class:`Proposal`, the feature by its name."""
        import pandas as pd

        rows = [{**asdict(p), "feature": p.feature.name, "sentence": p.sentence} for p in self.found]
        return pd.DataFrame(rows, columns=[*Proposal.__dataclass_fields__, "sentence"])

    def __str__(self) -> str:
        return "\n".join([self.sentence, *(f"  {proposal}" for proposal in self.found)])


def propose(
    inv: Nearby,
    features: Feature | Sequence[Feature] = (),
    *,
    prior: Sequence[InputText] = (),
    limit: int = LIMIT,
    level: float = LEVEL,
    seed: int = 0,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Proposals:
    """Hypotheses about what the activation of one inversion holds, each tested on samples it was not found on.

    Candidates are the picked input's tokens (present, at their place from either end, two in a row, two together),
    tokens that it lacks, its length, and the features given. A proposal stands for "agrees with the picked input":
    its feature's label is the picked input's for surely more of the samples than of P(X)'s inputs.

    Halves of the samples support claims about this single inversion only: for a site, see :func:`consistency`.

    Args:
        inv: what `invert` returned; or `baselines.neighbours`, `prior` or `rejection`.
        features: further candidates, such as a task's.
        prior: inputs of P(X), each cut at its site, that know their tokens; without them, the inversion's own bank.
        limit: proposals at most.
        level: chance that there is any where the activation holds nothing, at most.
        seed: of the halves.
        on_progress: called with (done, total, message): candidates that were read.
        cancel: looked at between candidates.

    Raises:
        InvalidArgument: something else than such a result, no input of P(X) to compare with.
        Cancelled: `cancel` was set.
        FeatureError: a feature that raises on one of the inputs, or returns no label.

    >>> import inversescope_nb as isn
    >>> lm, gen = isn.load_model(), isn.load_generator()
    >>> inv = isn.invert(lm, gen, "4 3 7 + 5 6 8 =", site="resid_post.0", bandwidth=0.3, n=128)
    >>> found = propose(inv, isn.tasks.addition().features.values())
    >>> all(p.p_value <= 0.05 and p.share > p.prior for p in found), len(found) <= 6
    (True, True)
    """
    check_nearby(inv)
    given = as_features(features) if not isinstance(features, Sequence) or len(features) else ()
    limit, seed = whole_number("limit", limit, least=1, hint="6 is the usual choice"), seed_number(seed)
    if not 0 < level < 1:
        raise InvalidArgument(f"level={level!r}", hint="a probability between 0 and 1; 0.05 is the usual choice")
    pick = InputText(inv.text, inv.tokens, inv.prompt_ids)
    usual = _usual(inv, prior)
    weight = np.where(inv.is_copy, 0.0, truncate(inv.weight))
    kept = np.flatnonzero(weight > 0)
    near = [inv.texts[i] for i in kept]
    ess = float(effective_sample_size(weight))
    doubt = _doubt(inv, ess, float(truncate(inv.weight)[inv.is_copy].sum()))
    if doubt:
        return Proposals(found=(), n_candidates=0, n_tested=0, ess=ess, n_prior=len(usual), level=level, doubt=doubt)
    rng = np.random.default_rng(seed)
    halves = [
        Half.of(pick, [near[i] for i in rows], weight[kept][rows], [usual[i] for i in others])
        for rows, others in zip(_split(len(near), rng), _split(len(usual), rng), strict=True)
    ]
    candidates = candidates_of(pick, given, halves[0].usual, first=frame_of(inv))
    folded = screened(halves[0], candidates, watch(len(candidates), on_progress, cancel))
    found = _tested(halves[1], pick, folded, level)
    return Proposals(
        found=tuple(found[:limit]), n_candidates=len(candidates), n_tested=len(folded), ess=halves[1].ess,
        n_prior=len(halves[1].usual), level=level,
    )  # fmt: skip


def _usual(inv: Any, prior: Sequence[InputText]) -> list[InputText]:
    """Inputs of P(X) with their tokens, without the picked one."""
    hint = "give prior=, texts that know their tokens: [InputText.from_ids(ids, lm) for ids in prompts.draw(256, lm)]"
    if isinstance(prior, str) or not isinstance(prior, Sequence):
        raise InvalidArgument(f"prior is a {type(prior).__name__}", hint=hint)
    texts = list(prior) or list(getattr(inv, "prior_texts", ()))
    if not texts:
        raise InvalidArgument("there are no inputs of P(X) to compare with", hint=f"invert(..., bank=256), or {hint}")
    if wrong := next((t for t in texts if not getattr(t, "tokens", ())), None):
        raise InvalidArgument(
            f"an input of P(X) is {wrong!r:.60}, which does not know its tokens",
            hint=hint,
        )
    return [text for text in texts if list(text.token_ids) != list(inv.prompt_ids)]


def _doubt(inv: Any, ess: float, copies: float) -> str:
    """Why nothing can be proposed; empty where something can."""
    if inv.verdict == Verdict.CONSTANT:
        return "this site is the same for every input of P(X)"
    if inv.verdict == Verdict.NO_INFORMATION:
        return "the inputs near the activation are as P(X) has them"
    if why := doubt_on(inv, ess, copies):
        return why
    if ess < 2 * LEAST_ESS:
        return f"{ess:.1f} effective samples are too few to be halved"
    return ""


def _split(n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Two random halves of 0 to n - 1."""
    order = rng.permutation(n)
    return [np.sort(order[: n // 2]), np.sort(order[n // 2 :])]


def _tested(half: Half, pick: InputText, folded: dict[Candidate, list[str]], level: float) -> list[Proposal]:
    """Those that hold on this half, the surest first, what is about the length alone last."""
    parts = [part for candidate in folded for part in candidate.parts]
    agreement = half.agreement(list(dict.fromkeys([*parts, *folded])), {})
    found = []
    for candidate, names in folded.items():
        seen = half.evidence(candidate, agreement)
        p_value = min(1.0, seen.p_value * len(folded))
        if p_value > level or not seen.rises:
            continue
        low, high = half.interval(seen.share, 1 - level / len(folded))
        proposal = Proposal(
            feature=candidate.feature, label=str(candidate.feature(pick)), words=candidate.words,
            share=seen.share, low=low, high=high, prior=seen.prior, by_length=seen.by_length,
            p_value=p_value, folded=tuple(names),
        )  # fmt: skip
        found.append((candidate.about_length, p_value, proposal))
    return [proposal for _, _, proposal in sorted(found, key=lambda held: held[:2])]


def _percent(share: float) -> str:
    """A share in whole percent; one that is not quite none or all is not rounded to it.

    >>> _percent(0.214), _percent(0.998), _percent(0.001), _percent(1.0)
    ('21\\u202f%', '99\\u202f%', '1\\u202f%', '100\\u202f%')
    """
    whole = round(100 * share)
    whole = min(whole, 99) if share < 1 else whole
    whole = max(whole, 1) if share > 0 else whole
    return f"{whole}\u202f%"
