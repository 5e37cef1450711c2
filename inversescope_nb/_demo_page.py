"""demo.html: the demonstration's stories as one page without scripts, files of others, or a network.

Pictures are inline SVG; colours follow the reader's light or dark setting, are never the only channel, and
have a printed scale. All text that comes from prompts and samples is escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .demo import Sample, Told
from .export import shown

if TYPE_CHECKING:
    from .generator import Generator
    from .models import LanguageModel

SHOWN = 10
"""Samples of each story on the page."""
LEAST = 5e-4
"""Samples with a smaller weight are left out, beyond the first few."""
WIDTH = 352
"""Pixels of the pictures."""
_STYLE = Path(__file__).with_suffix(".css")
_WORDS = {
    "RELIABLE": "reliable",
    "LOW_ESS": "few effective samples",
    "INVERTER_FAILED": "the generator missed it",
    "NO_INFORMATION": "says nothing",
    "CONSTANT": "never varies",
    "OUTSIDE_PROMPT_DISTRIBUTION": "outside P(X)",
}
_LEAD = """Pick a token and a place inside a language model. Below are the inputs that the model cannot tell from
the picked one there: proposed by a trained generator, re-run through the model one by one, and weighed. What they
share, the activation holds; what varies among them, it has dropped."""


def page(stories: Sequence[Told], lm: LanguageModel, gen: Generator, *, model_name: str | None = None) -> str:
    """The whole page.

    Args:
        stories: what :func:`inversescope_nb.demo.tell` found.
        lm, gen: the model and generator that it was found with.
        model_name: what to call the model; None: its own name.
    """
    size = sum(p.numel() for p in lm.model.parameters()) / 1e6
    top = max([1.0, *(abs(b) for told in stories for s in _shown(told) for b in s.bits)])
    body = "".join(_story(told, top) for told in stories)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>InverseScope: what does an activation know?</title>
<style>
{_STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<h1>What does an activation know?</h1>
<p class="lead">{_LEAD}</p>
{_key(top)}
{body}
<section>
<h2>The same in Python</h2>
<pre>{html.escape(_code(stories[0]))}</pre>
<p class="small quiet">Model: {html.escape(model_name or lm.name)}, {size:.1f} million parameters, {lm.n_layers} layers,
{lm.n_heads} heads. Everything is relative to P(X), the prompts thought possible: {html.escape(gen.prompts.name)},
cut at {html.escape(gen.prompts.cut)}. The three prompts, and those behind the rates, are of the tasks' held-out parts.
Method: InverseScope (Luo, Zhou, Dong, arXiv 2506.07406).</p>
</section>
</main>
</body>
</html>
"""


def _shown(told: Told) -> list[Sample]:
    return [s for i, s in enumerate(told.samples(SHOWN)) if i < 3 or s.weight >= LEAST]


def _code(told: Told) -> str:
    story, inversion = told.story, told.inversion
    return f"""import inversescope_nb as isn

lm, gen = isn.load_model(), isn.load_generator()
prompt = {story.text!r}
inv = isn.invert(lm, gen, prompt, site={story.site!r}, position={inversion.position},
                 bandwidth={inversion.bandwidth:g}, n={inversion.n})
print(inv.summary())
inv.to_frame()                      # one row a sample: text, distance, weight, ...

task = isn.tasks.{story.task}()
isn.consistency(lm, gen, task.held_out, "blocks.*.hook_resid_post", task.features).chart()

isn.InverseScopeWidget()            # all of it with the mouse"""


def _key(top: float) -> str:
    scale = "".join(_token(f"{v * top:+.1f}", v * top, top) for v in (-0.5, 0.25, 0.5, 1.0))
    return (
        f'<div class="key"><span>shading of a token: bits by which the activation makes it likelier {scale}</span>'
        "<span><b>d</b>: distance to the picked activation; two unrelated prompts lie about 1.4 apart</span></div>"
    )


# -- words -----------------------------------------------------------------------------------------


def _token(token: str, bits: float, top: float) -> str:
    """One token of a sample, shaded; dashed where the activation speaks against it."""
    share = max(-1.0, min(1.0, bits / top))
    style = ""
    if abs(share) >= 0.03:
        colour, line = ("--pin", "solid") if share > 0 else ("--against", "dashed")
        fill = f"background:rgba(var({colour}),{0.06 + 0.4 * abs(share):.2f})"
        style = f' style="{fill};border-bottom:{1 + 2 * abs(share):.1f}px {line} rgb(var({colour}))"'
    return f'<span class="tok" title="{bits:+.1f} bits"{style}>{shown(token)}</span>'


def _prompt(told: Told) -> str:
    """The prompt's tokens: those the activation can know of, the picked one, those behind it."""
    at = told.inversion.position
    spans = []
    for i, token in list(enumerate(told.tokens))[told.inversion.frame :]:
        kind = " picked" if i == at else " unseen" if i > at else ""
        spans.append(f'<span class="tok{kind}">{shown(token)}</span>')
    return f'<div class="prompt">{"".join(spans)}</div>'


def _story(told: Told, top: float) -> str:
    inversion = told.inversion
    good = "good" if inversion.verdict in ("RELIABLE", "NO_INFORMATION") else "warn"
    facts = (
        (good, _WORDS[str(inversion.verdict)], inversion.verdict_reason),
        (
            "",
            f"{inversion.bits:.1f} bits",
            told.bits_in_words,
        ),
        (
            "mono",
            str(inversion.site),
            f"bandwidth {inversion.bandwidth:g}, {inversion.n} samples, {inversion.distinct_share:.0%} distinct",
        ),
    )
    cells = "".join(
        f'<div><b class="{kind}">{html.escape(head)}</b><span>{html.escape(rest)}</span></div>'
        for kind, head, rest in facts
    )
    return (
        f"<section><h2>{html.escape(told.story.question)}</h2>{_prompt(told)}"
        f'<div class="facts">{cells}</div><div class="two"><div><h3>{told.heading.capitalize()}</h3>'
        f"{_samples(_shown(told), top)}</div><div>{_rates(told)}{_distances(told)}</div></div></section>"
    )


def _samples(samples: Sequence[Sample], top: float) -> str:
    if not samples:
        return '<p class="quiet">No sample has any weight: nothing that was proposed lies near.</p>'
    largest = max(s.weight for s in samples)
    rows = []
    for s in samples:
        bar = f'<i style="width:{34 * s.weight / largest:.0f}px"></i>'
        tokens = "".join(_token(t, b, top) for t, b in zip(s.tokens, s.bits, strict=True))
        tag = ' <span class="tag">the picked input</span>' if s.is_copy else ""
        rows.append(
            f'<tr><td class="w">{bar}{s.weight:.1%}</td><td class="d">{s.d:.3f}</td><td>{tokens}{tag}</td></tr>'
        )
    head = '<tr><th>weight</th><th title="distance to the picked activation">d</th><th>input</th></tr>'
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


# -- pictures --------------------------------------------------------------------------------------


def _figure(title: str, height: float, marks: Iterable[str], caption: str) -> str:
    return (
        f'<figure><h3>{title}</h3><svg viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" '
        f'role="img" aria-label="{title}">{"".join(marks)}</svg><figcaption>{caption}</figcaption></figure>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="var({colour})" stroke-width="{width:g}"/>'
    )


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _rates(told: Told) -> str:
    """Rates with intervals and chance, a row a feature."""
    left, right, step = 122, 300, 26
    rows = told.report.to_dict("records")
    bottom = 6 + step * len(rows)

    def x(value: float) -> float:
        return left + (right - left) * min(1.0, max(0.0, value))

    marks = []
    for share in (0, 0.5, 1):
        marks.append(_line(x(share), 4, x(share), bottom, "--line"))
        marks.append(_text(x(share), bottom + 14, f"{share:.0%}", "q", "middle"))
    for i, row in enumerate(rows):
        y = 6 + step * (i + 0.5)
        marks.append(_text(left - 12, y + 4, str(row["feature"]).replace("_", " "), anchor="end"))
        marks += _rate(row, x, y) if not math.isnan(row["fcr"]) else [_text(left + 6, y + 4, "no estimate", "q")]
    caption = (
        "How often inputs that share an activation agree on a feature, over "
        f"{int(rows[0]['n_targets'])} other prompts, copies left out: "
        ' <span class="accent">●</span> rate with its 95&nbsp;% interval, '
        f'<span class="chance">▏</span>chance. ({html.escape(told.how_good)})'
    )
    return _figure("What it holds", bottom + 20, marks, caption)


def _rate(row: dict[str, Any], x: Any, y: float) -> list[str]:
    marks = []
    if not math.isnan(row["chance"]):
        marks.append(_line(x(row["chance"]), y - 8, x(row["chance"]), y + 8, "--chance", 2.5))
    if not math.isnan(row["fcr_low"]):
        marks.append(_line(x(row["fcr_low"]), y, x(row["fcr_high"]), y, "--accent", 2))
    marks.append(f'<circle cx="{x(row["fcr"]):.1f}" cy="{y:.1f}" r="4.5" fill="var(--accent)"/>')
    return [*marks, _text(x(1) + 14, y + 4, f"{row['fcr']:.2f}", "n")]


def _distances(told: Told, bins: int = 36) -> str:
    """Two histograms over one axis: the samples (by weight) and draws from P(X)."""
    inversion = told.inversion
    d, weight, prior = (np.asarray(a, dtype=float) for a in (inversion.d, inversion.weight, inversion.prior_d))
    near = np.isfinite(d)
    if not weight[near].any() or not len(prior):
        return ""
    edge, base = max(1.6, float(np.quantile(prior, 0.95))), 82.0
    marks = [_line(0, base, WIDTH, base, "--line")]
    for values, weights, colour in ((prior, np.ones(len(prior)), "--chance"), (d[near], weight[near], "--accent")):
        shares, edges = np.histogram(np.minimum(values, edge * 0.9999), bins, range=(0, edge), weights=weights)
        for share, low in zip(shares / shares.max(), edges[:-1], strict=True):
            height = max(1.0, 69 * share)
            if share > 0:
                marks.append(
                    f'<rect x="{low / edge * WIDTH:.1f}" y="{base - height:.1f}" width="{WIDTH / bins - 1:.1f}" '
                    f'height="{height:.1f}" fill="var({colour})" fill-opacity="0.85"/>'
                )
    for tick in np.arange(0, edge + 1e-9, 0.5):
        marks.append(_text(min(max(tick / edge * WIDTH, 5), WIDTH - 8), base + 15, f"{tick:g}", "q", "middle"))
    caption = (
        'Distance d to the picked activation: <span class="accent">■</span> these inputs (by weight), '
        f'<span class="chance">■</span> {len(prior)} draws from P(X); each to its own height, '
        "the last bar with all beyond."
    )
    return _figure("How near they are", base + 20, marks, caption)
