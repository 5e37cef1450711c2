"""Hypotheses about what one activation holds, found on one half of its samples and tested on the other.

1. Candidates are read off the picked input (:mod:`inversescope_nb._candidates`); an input *agrees* with one where its
   label is the picked input's. Samples that are the picked input itself are left out, and so are P(X)'s. A language
   model may word further candidates from one half (:mod:`inversescope_nb._wording`); they are treated as the others.
2. On one half of the samples and of P(X)'s inputs: candidates that more of the samples agree with are sorted, simple
   ones first, by p-value. One that the stronger ones explain is folded into them: where P(X), tilted so that those
   are as common as near the activation (iterative proportional fitting), has nearly as many agree; or where it is
   the same for nearly all inputs. At most 16 are left (`TESTED`).
3. On the other halves these are tested: Fisher's exact test, the samples counting as many as they are effective, of
   whether more of them agree than of P(X)'s inputs, and than of those weighed to the samples' lengths (an activation
   may hold no more than the length). Something made of parts must also be surer than its parts. Bonferroni over all
   that are tested; the interval of each share is Wilson's, at the same level, and so is that of the log-odds (Woolf's,
   a half added to each count). Of those that hold, what the stronger ones explain on this half is folded as before,
   and tokens into a row of them that says as much.

The log-odds say how much, Fisher's test how sure: most of what is held is held by all samples, and with a count of 0
the log-odds' normal interval is an approximation where the exact test holds its level. Bonferroni's correction needs
nothing of how tests depend on each other (tokens of one input do), and makes "any of those listed is wrong" the error
that is bounded; at 16 tests at most it costs little beside a false discovery rate, which bounds less.

With `against`, another inversion, candidates must hold more often than near that one: its samples are halved, and of
each half as many are drawn, by their weights, as it has effective ones. What goes with what is still told by P(X).

The halves are of the samples of ONE inversion, so a proposal is a claim about that activation alone; whether a site
holds it in general is what `consistency` measures. Axis names: n (samples), m (inputs of P(X)).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._arguments import seed_number, whole_number
from ._candidates import LANGUAGE_MODEL, Candidate, candidates_of
from ._halves import Agreement, Half, folded, screened, watch
from ._progress import Progress
from ._statistics import effective_sample_size, normalise, truncate
from ._worded import Given
from ._wording import Ask, Refused, answer_of, check_ask, prompt_of, worded
from .errors import FeatureError, InvalidArgument
from .features import Feature, InputText, as_features
from .fixing import check_nearby, doubt_on, frame_of
from .proposed import OTHER, PRIOR, Proposal, Proposals
from .verdicts import LEAST_ESS, Verdict

if TYPE_CHECKING:
    from .nearby import Nearby

__all__ = ["LEVEL", "LIMIT", "Proposal", "Proposals", "propose"]

LEVEL = 0.05
"""Chance that an inversion whose activation holds nothing has any proposal, at most."""
LIMIT = 6
_ROUNDING = 1e-9  # of an effective sample size, which is a sum of squares


def propose(
    inv: Nearby,
    features: Feature | Sequence[Feature] = (),
    *,
    prior: Sequence[InputText] = (),
    against: Nearby | None = None,
    limit: int = LIMIT,
    level: float = LEVEL,
    seed: int = 0,
    ask: Ask | None = None,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Proposals:
    """Hypotheses about what the activation of one inversion holds, each tested on samples it was not found on.

    Candidates are the picked input's tokens (present; at their place from either end or, where lengths vary, by
    alignment; up to four in a row; two together), tokens that it lacks, its length, and the features given. A proposal
    stands for "agrees with the picked input": its feature's label is the picked input's for surely more of the samples
    than of P(X)'s inputs.

    Halves of the samples support claims about this single inversion only: for a site, see :func:`consistency`.

    Args:
        inv: what `invert` returned; or `baselines.neighbours`, `prior` or `rejection`.
        features: further candidates, such as a task's.
        prior: inputs of P(X), each cut at its site, that know their tokens; without them, the inversion's own bank.
        against: another inversion, of the same P(X), to compare with in place of P(X): what the first activation holds
            that the second does not. See :func:`inversescope_nb.contrast` for the two token by token.
        limit: proposals at most.
        level: chance that there is any where the activation holds nothing, at most.
        seed: of the halves.
        ask: a language model, as a function from a prompt to its answer, called once; without it none is asked. It
            sees samples and P(X)'s inputs of one half, and answers in a closed grammar (the prompt states it). What it
            proposes is tested on the other half with all else, and never believed; its answer is read, never run.
            Lines that cannot be used are in :attr:`Proposals.refused`.
        on_progress: called with (done, total, message): candidates that were read.
        cancel: looked at between candidates.

    Raises:
        InvalidArgument: something else than such a result, no input of P(X) to compare with, `against` is of another
            P(X); `ask` raises, or returns something else than a text.
        Cancelled: `cancel` was set.
        FeatureError: a feature that raises on one of the inputs, or returns no label.

    >>> import inversescope_nb as isn
    >>> lm, gen = isn.load_model(), isn.load_generator()
    >>> inv = isn.invert(lm, gen, "4 3 7 + 5 6 8 =", site="resid_post.0", bandwidth=0.3, n=128)
    >>> found = propose(inv, isn.tasks.addition().features.values())
    >>> all(p.p_value <= 0.05 and p.share > p.prior for p in found), len(found) <= 6
    (True, True)
    >>> asked = propose(inv, ask=lambda prompt: '{"contains": "+", "words": "a sum"}\\n{"contains": "minus"}')
    >>> asked.n_worded, [str(line) for line in asked.refused]
    (1, ['it does not hold of the picked input: {"contains": "minus"}'])
    """
    check_nearby(inv)
    given = as_features(features) if not isinstance(features, Sequence) or len(features) else ()
    limit, seed = whole_number("limit", limit, least=1, hint="6 is the usual choice"), seed_number(seed)
    if not 0 < level < 1:
        raise InvalidArgument(f"level={level!r}", hint="a probability between 0 and 1; 0.05 is the usual choice")
    check_ask(ask)
    pick = InputText(inv.text, inv.tokens, inv.prompt_ids)
    near, usual = _near(inv), _usual(inv, prior)
    others = usual if against is None else _near_other(inv, against)
    doubt = _doubt(inv, near)
    if against is not None and not doubt and (why := _doubt(against, _near(against))):
        doubt = f"of the other inversion, {why}"
    if doubt:
        return Proposals(
            found=(), n_candidates=0, n_tested=0, ess=near.ess, n_prior=len(others.texts), level=level, doubt=doubt,
            against=others.name,
        )  # fmt: skip
    rng = np.random.default_rng(seed)
    parts = [_split(len(one.texts), rng) for one in (near, usual)]
    halves = [Half.of(pick, *near.of(rows), usual.of(like)[0]) for rows, like in zip(*parts, strict=True)]
    if against is not None:
        drawn = [others.drawn(rows, rng) for rows in _split(len(others.texts), rng)]
        halves = [half.against(texts) for half, texts in zip(halves, drawn, strict=True)]
    first = frame_of(inv)
    candidates = candidates_of(pick, given, halves[0].others, first=first)
    asked, refused = _asked(ask, halves[0], first, on_progress) if ask is not None else ({}, [])
    candidates += asked
    tested = screened(halves[0], candidates, watch(len(candidates), on_progress, cancel), asked)
    found, unread = _tested(halves[1], pick, tested, level)
    return Proposals(
        found=tuple(found[:limit]), n_candidates=len(candidates), n_tested=len(tested), ess=halves[1].ess,
        n_prior=len(halves[1].others), level=level, against=others.name, n_worded=len(asked),
        refused=(*refused, *unread),
    )  # fmt: skip


def _asked(ask: Ask, half: Half, first: int, on_progress: Progress | None) -> tuple[Agreement, list[Refused]]:
    """What a language model proposes from one half, as it is there, and the lines of its answer that cannot be used."""
    if on_progress is not None:
        on_progress(0, 1, "asking the language model")
    answer = answer_of(ask, prompt_of(half.pick, half.near, half.weight, half.others, is_prior=half.name == PRIOR))
    candidates, refused = worded(answer, Given(half.pick, [*half.near, *half.others], first))
    agreement, unread = _read(half, candidates)
    return agreement, [*refused, *unread]


class _Texts(NamedTuple):
    """Inputs with their weights: those near an activation, or what they are held against."""

    texts: list[InputText]
    weight: np.ndarray
    name: str = PRIOR

    @property
    def ess(self) -> float:
        return float(effective_sample_size(self.weight))

    def of(self, rows: np.ndarray) -> tuple[list[InputText], np.ndarray]:
        """Some of them."""
        return [self.texts[i] for i in rows], self.weight[rows]

    def drawn(self, rows: np.ndarray, rng: np.random.Generator) -> list[InputText]:
        """Some of them, drawn by their weights, as many as these are effective: each once where they are even."""
        count = int(effective_sample_size(self.weight[rows]) + _ROUNDING)
        marks = (np.arange(count) + rng.random()) / max(1, count)
        chosen = np.searchsorted(np.cumsum(normalise(self.weight[rows])), marks, side="right")
        return [self.texts[rows[i]] for i in np.minimum(chosen, len(rows) - 1)]


def _near(inv: Nearby) -> _Texts:
    """What lies near an activation, copies of the picked input left out."""
    weight = np.where(inv.is_copy, 0.0, truncate(inv.weight))
    kept = np.flatnonzero(weight > 0)
    return _Texts([inv.texts[i] for i in kept], weight[kept])


def _near_other(inv: Nearby, against: Nearby) -> _Texts:
    """What lies near the other activation, neither picked input among it."""
    check_nearby(against)
    if against.prompts_name != inv.prompts_name:
        raise InvalidArgument(
            f"the two inversions are of two P(X), {inv.prompts_name!r} and {against.prompts_name!r}",
            hint="invert both with one generator, or with the same prior=: else what P(X) lacks would seem to be held",
        )
    texts, weight, _ = _near(against)
    rows = [i for i, text in enumerate(texts) if list(text.token_ids) != list(inv.prompt_ids)]
    return _Texts([texts[i] for i in rows], weight[rows], OTHER)


def _usual(inv: Any, prior: Sequence[InputText]) -> _Texts:
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
    kept = [text for text in texts if list(text.token_ids) != list(inv.prompt_ids)]
    return _Texts(kept, np.ones(len(kept)))


def _doubt(inv: Any, near: _Texts) -> str:
    """Why nothing can be proposed; empty where something can."""
    ess, copies = near.ess, float(truncate(inv.weight)[inv.is_copy].sum())
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


def _tested(
    half: Half, pick: InputText, tested: dict[Candidate, list[str]], level: float
) -> tuple[list[Proposal], list[Refused]]:
    """Those that hold on this half, the surest first, what is about the length alone last; and what cannot be read."""
    agreement, unread = _read(half, tested)
    evidence = {candidate: half.evidence(candidate, agreement) for candidate in tested if candidate in agreement}
    behind = {candidate.feature.name: names for candidate, names in tested.items()}
    held: dict[Candidate, Proposal] = {}
    # what is left must add to the stronger ones here too: that it did on the half it was found on may be luck
    passed = {c: seen for c, seen in evidence.items() if seen.rises and seen.p_value * len(tested) <= level}
    for candidate, more in folded(half, passed, agreement).items():
        seen, each = evidence[candidate], 1 - level / len(tested)
        names = [*tested[candidate], *(name for own in more for name in (own, *behind[own]))]
        low, high = half.interval(seen.share, each)
        odds, odds_low, odds_high = half.log_odds(seen, each)
        held[candidate] = Proposal(
            feature=candidate.feature, label=str(candidate.feature(pick)), words=candidate.words,
            share=seen.share, low=low, high=high, prior=seen.prior, by_length=seen.by_length,
            p_value=min(1.0, seen.p_value * len(tested)), log_odds=odds, log_odds_low=odds_low, log_odds_high=odds_high,
            source=candidate.source, said=candidate.said, folded=tuple(names), against=half.name,
        )  # fmt: skip
    for row in [c for c in held if c.ordered]:  # a row says what its parts say
        for part in [c for c in held if row in held and row.has_part(c) and half.covers(row, c, agreement)]:
            gone = held.pop(part)
            held[row] = replace(held[row], folded=(*held[row].folded, gone.feature.name, *gone.folded))
    return [held[c] for c in sorted(held, key=lambda c: (c.about_length, held[c].p_value))], unread


def _read(half: Half, candidates: Iterable[Candidate]) -> tuple[Agreement, list[Refused]]:
    """Which inputs agree with each candidate and its parts; a language model's that cannot be read is refused."""
    agreement: Agreement = {}
    unread = []
    for candidate in candidates:
        try:
            parts = [part for group in candidate.beyond for part in group]
            agreement = half.agreement([*parts, candidate], agreement)
        except FeatureError as e:
            if candidate.source != LANGUAGE_MODEL:
                raise
            unread.append(Refused(line=candidate.words, reason=f"it could not be tested, {type(e).__name__}"))
    return agreement, unread
