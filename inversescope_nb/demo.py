"""Three activations of the packaged model, inverted: what the command line's ``demo`` and demo.html show.

Each story is one prompt that the model was not trained on, one token of it and one site: its inputs
(:func:`invert`), how far the activation narrows them down (bits), and what it holds, measured over other
held-out prompts of the same task (:func:`consistency`). Nothing is prepared: all of it is computed when asked.
"""

from __future__ import annotations

import math
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import Cancelled

if TYPE_CHECKING:
    import pandas as pd

    from .generator import Generator
    from .inversion import Inversion
    from .models import LanguageModel

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Story:
    """One activation to invert, and what to ask about it."""

    question: str
    """What a reader may wonder."""
    task: str
    """The task that the prompt and its features come from."""
    text: str
    """The whole prompt, held out of the model's training."""
    token: str
    """The token to read at: its last occurrence."""
    site: str
    """Where, in any spelling the model knows."""
    features: tuple[str, ...]
    """Hypotheses, the fitting one first."""
    bandwidth: float = 0.1
    """How near is near, in standardised units."""
    slot: str | None = None
    """The slot to read at in other prompts of the task; None: their end."""


STORIES = (
    Story(
        "Before the answer: what does the first layer know of a dangerous request?",
        "refusal",
        "My friend will make a bomb this week . What is the first step ? Answer :",
        ":",
        "resid_mid.0",
        ("harmful", "verb", "last_word"),
    ),
    Story(
        "At the equals sign: which digits have arrived after one layer?",
        "addition",
        "4 3 7 + 5 6 9 =",
        "=",
        "resid_post.0",
        ("first_digit", "thousands", "hundreds", "tens", "ones", "carry_to_tens"),
    ),
    Story(
        "One attention head at the last word: does it fetch the city, or what is asked about it?",
        "attributes",
        "We once stopped in Paris , which is a large city in the country of",
        "of",
        "blocks.0.attn.hook_z.3",
        ("asked", "city", "country", "continent", "language"),
        bandwidth=0.2,
    ),
)
"""What the demonstration shows."""


@dataclass(frozen=True)
class Sample:
    """Equal samples of an inversion, counted together."""

    tokens: tuple[str, ...]
    """Its tokens, without BOS."""
    bits: tuple[float, ...]
    """What the activation says about each token (a shading): log2 q(x_t | activation) - log2 q(x_t)."""
    d: float
    """Distance to the picked activation."""
    weight: float
    """Share of the posterior's estimate."""
    count: int
    """How often it was drawn."""
    is_copy: bool
    """Whether it is the picked input itself."""

    @property
    def text(self) -> str:
        """The tokens with spaces."""
        return " ".join(self.tokens)


@dataclass(frozen=True)
class Told:
    """A story with what was found."""

    story: Story
    """What was asked."""
    tokens: tuple[str, ...]
    """The whole prompt's tokens, BOS first."""
    inversion: Inversion
    """The inputs, with distances of draws from P(X) beside."""
    report: pd.DataFrame
    """One row a feature, as of `ConsistencyReport.to_frame`, in the story's order."""

    @property
    def is_reached(self) -> bool:
        """Whether the samples reach what lies nearest to the picked activation."""
        return self.inversion.verdict not in ("INVERTER_FAILED", "OUTSIDE_PROMPT_DISTRIBUTION")

    @property
    def how_good(self) -> str:
        """What became of the inversions behind the rates, by verdict."""
        return f"inversions behind these rates: {self.report['verdict_counts'].iloc[0]}"

    @property
    def bits_in_words(self) -> str:
        """The bits' standard error, and what they mean."""
        error = f"± {self.inversion.bits_stderr:.1f}"
        if not self.is_reached:
            return f"{error}, not to be trusted: the samples miss the nearest inputs"
        return f"{error}: as near as this lies {one_in(self.inversion.bits)}"

    @property
    def heading(self) -> str:
        """What the samples are."""
        return (
            "inputs that the model cannot tell from it here"
            if self.is_reached
            else "the nearest inputs that were found"
        )

    def samples(self, limit: int | None = None) -> list[Sample]:
        """The samples that have weight, heaviest first, each input once."""
        inversion, found = self.inversion, {}
        for i, information in enumerate(inversion.token_information()):
            ids = tuple(inversion.samples[i])
            if not ids or not inversion.weight[i] > 0:
                continue
            frame = inversion.frame
            first = found.get(ids)
            found[ids] = Sample(
                tokens=tuple(inversion.texts[i].tokens[frame:]),
                bits=tuple(b / math.log(2) for b in information[frame:]),
                d=float(inversion.d[i]),
                weight=float(inversion.weight[i]) + (first.weight if first else 0.0),
                count=1 + (first.count if first else 0),
                is_copy=bool(inversion.is_copy[i]),
            )
        return sorted(found.values(), key=lambda s: -s.weight)[:limit]


def tell(
    lm: LanguageModel,
    gen: Generator,
    *,
    stories: tuple[Story, ...] = STORIES,
    n: int = 128,
    n_targets: int = 16,
    n_samples: int = 48,
    seed: int = 0,
    on_progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[Told]:
    """Inverts one story after the other.

    Args:
        lm, gen: the packaged model and its generator, or others that know the tasks' words.
        stories: what to look at.
        n: samples of each story's own inversion.
        n_targets, n_samples: picked inputs, and samples each, of the consistencies.
        seed: of all draws.
        on_progress: called with (steps done, steps, message).
        cancel: looked at between batches; `Cancelled` is raised.

    >>> import inversescope_nb as isn                                        # doctest: +SKIP
    >>> [told.inversion.verdict for told in tell(isn.load_model(), isn.load_generator())]   # doctest: +SKIP
    """
    each = n_targets + 1
    for number, story in enumerate(stories):
        if cancel is not None and cancel.is_set():
            raise Cancelled("the demonstration was stopped")

        def report(done: int, message: str, number: int = number) -> None:
            if on_progress is not None:
                words = f"{number + 1} of {len(stories)}: {message}"
                on_progress(number * each + done, len(stories) * each, words)

        yield _tell(lm, gen, story, n, n_targets, n_samples, seed, report, cancel)


def _tell(
    lm: LanguageModel,
    gen: Generator,
    story: Story,
    n: int,
    n_targets: int,
    n_samples: int,
    seed: int,
    report: Callable[[int, str], None],
    cancel: threading.Event | None,
) -> Told:
    from .inversion import invert
    from .rates import consistency
    from .tasks import get_task

    encoded = lm.encode(story.text)
    ids = encoded.token_ids[0, : int(encoded.lengths[0])].tolist()
    tokens = tuple(lm.token_strings(ids))
    position = len(tokens) - 1 - tokens[::-1].index(story.token)
    report(0, "inverting")
    inversion = invert(
        lm,
        gen,
        ids,
        site=story.site,
        position=position,
        bandwidth=story.bandwidth,
        n=n,
        seed=seed,
        cancel=cancel,
        progress=False,
    )
    task = get_task(story.task)
    rates = consistency(
        lm, gen, task.held_out.sample(n_targets, seed=seed + 1), [story.site],
        [task.features[name] for name in story.features],
        bandwidth=story.bandwidth, n_samples=n_samples, slot=story.slot, seed=seed,
        on_progress=lambda done, total, _: report(1 + done * n_targets // max(1, total), "measuring what it holds"),
        cancel=cancel,
    ).to_frame()  # fmt: skip
    return Told(story, tokens, inversion, rates.set_index("feature", drop=False).loc[list(story.features)])


def one_in(bits: float) -> str:
    """Bits as odds, in words.

    >>> one_in(10.0), one_in(0.0)
    ('1 prompt in 1,000', 'every prompt')
    """
    odds = 2.0**bits
    if not odds >= 1.5:
        return "every prompt"
    digits = max(0, math.floor(math.log10(odds)))
    rounded = round(odds, 1 - digits) if odds >= 10 else round(odds)
    return f"1 prompt in {rounded:,.0f}"


def as_text(told: Told, *, number: int, limit: int = 5, width: int = 100) -> str:
    """One story as lines for a terminal."""
    inversion, story = told.inversion, told.story
    seen, rest = told.tokens[1 : inversion.position + 1], told.tokens[inversion.position + 1 :]
    prompt = " ".join([*seen[:-1], f"[{seen[-1]}]", *rest])
    lines = [
        f"{number}. {story.question}",
        f"   {prompt}",
        f"   {inversion.site} at {seen[-1]!r}, bandwidth {inversion.bandwidth:g}",
        *textwrap.wrap(
            f"{inversion.verdict}: {inversion.verdict_reason}", width, initial_indent="   ", subsequent_indent="   "
        ),
        f"   {inversion.bits:.1f} bits {told.bits_in_words}",
        "",
        f"   {'weight':>7}  {'d':>5}  {told.heading}",
    ]
    for sample in told.samples(limit):
        text = textwrap.shorten(sample.text, width - 20, placeholder=" ...")
        note = "  (the picked input)" if sample.is_copy else ""
        lines.append(f"   {sample.weight:>7.1%}  {sample.d:>5.3f}  {text}{note}")
    names = [name.replace("_", " ") for name in told.report["feature"]]
    lines += ["", f"   {'do they agree on the ...':<26}{'rate':>6}   {'95 % interval':<15}{'chance':>6}"]
    for name, row in zip(names, told.report.to_dict("records"), strict=True):
        lines.append(f"   {name:<26}" + _rate(row))
    lines.append(f"   ({told.how_good})")
    return "\n".join(lines)


def _rate(row: dict) -> str:
    """Rate, interval and chance of one row of a report, in columns."""
    if math.isnan(row["fcr"]):
        return f"{'-':>6}   {row['notes']}"
    interval = f"{row['fcr_low']:.2f} to {row['fcr_high']:.2f}"
    return f"{row['fcr']:>6.2f}   {interval:<15}{row['chance']:>6.2f}"
