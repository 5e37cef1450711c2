"""From an `Inversion` to what the gallery shows: distinct inputs as rows, and one summary.

Equal inputs become one row with a count; rows are ordered by distance. All numbers are the
inversion's own: nothing is estimated here.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._patterns import LIMIT_S, read_pattern, search
from .._statistics import truncate
from ..alignment import align
from ..errors import InvalidArgument, suggest
from ..fixing import fixed
from ..inverted import Inversion
from ..verdicts import coarse_share, doubt_of
from .messages import as_json

PAGE = 50
BINS = 30
MOST_NARROWED = 3
"""How many times as many bins there may be, so that the edge of the ball stands between two of them."""
SORTS = ("distance", "weight", "count")
UNITS = ("bits", "nats")


def check_unit(unit: Any) -> str:
    """A unit of information; raises `InvalidArgument` for one that there is not."""
    if unit not in UNITS:
        raise InvalidArgument(f"the unit {unit!r} is not known", hint=f"allowed: {', '.join(map(repr, UNITS))}")
    return unit


@dataclass(frozen=True)
class Query:
    """What a gallery lists, and in which order: the trait `query`, and what the front end asks with."""

    text: str = ""
    """Only inputs with this in them, upper and lower case alike."""
    regex: bool = False
    """Whether `text` is a regular expression."""
    inside: bool = False
    """Only inputs inside the ball."""
    sort: str = "distance"
    """One of `SORTS`."""

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise InvalidArgument(
                f"no order is named {self.sort!r}.{suggest(self.sort, SORTS)}", hint=f"allowed: {', '.join(SORTS)}"
            )
        if not isinstance(self.text, str):
            raise InvalidArgument(f"the filter is a {type(self.text).__name__}", hint="give a text")

    def of(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows that are wanted, in their order; raises `InvalidArgument` for what is no pattern, or too slow."""
        rows = [row for row in rows if row["in_ball"] or not self.inside]
        if self.text and self.regex:
            pattern, end = read_pattern(self.text), time.monotonic() + LIMIT_S
            rows = [row for row in rows if search(pattern, row["text"], end - time.monotonic())]  # raises in time
        elif self.text:
            wanted = self.text.lower()
            rows = [row for row in rows if wanted in row["text"].lower()]
        return rows if self.sort == "distance" else sorted(rows, key=lambda row: -row[self.sort])


_WORDS = {
    "RELIABLE": "Reliable samples.",
    "LOW_ESS": "Few effective samples.",
    "INVERTER_FAILED": "The generator missed this activation.",
    "SEARCH_FAILED": "The search missed this activation.",
    "NO_INFORMATION": "This activation holds next to nothing about the input.",
    "CONSTANT": "This activation is the same for every input.",
    "NEIGHBOURS": "Neighbours, not a posterior sample.",
    "OUTSIDE_PROMPT_DISTRIBUTION": "The picked input lies outside the prompt distribution.",
}


def _aligned(information: list[float] | None, n_tokens: int) -> list[float | None]:
    """One value per token: a list without the first token's (BOS is given, not sampled) is padded in front."""
    values: list[float | None] = list(information or [])
    return ([None] * (n_tokens - len(values)) + values)[:n_tokens]


def rows_of(inversion: Inversion) -> list[dict[str, Any]]:
    """One dict per distinct input, nearest first."""
    information = inversion.token_information()
    first: dict[tuple[int, ...], int] = {}
    members: dict[tuple[int, ...], list[int]] = {}
    for i, ids in enumerate(inversion.samples):
        key = tuple(int(token) for token in ids)
        first.setdefault(key, i)
        members.setdefault(key, []).append(i)
    weight = np.asarray(inversion.weight, dtype=float)
    counted = truncate(weight)
    no_condition = getattr(inversion, "log_no_condition", None)  # a search has no generator that knows it
    rows = []
    for key in sorted(first, key=lambda k: float(inversion.d[first[k]])):
        i = first[key]
        text = inversion.texts[i]
        tokens = list(getattr(text, "tokens", ())) or [str(text)]
        rows.append(
            {
                "rank": len(rows),
                "ids": list(key),
                "tokens": tokens,
                "at": align(inversion.prompt_ids, list(key)),
                "info": [v and round(v, 3) for v in _aligned(information[i], len(tokens))],
                "text": str(text),
                "d": float(inversion.d[i]),
                "weight": float(weight[members[key]].sum()),
                "weight_in_rates": float(counted[members[key]].sum()),
                "count": len(members[key]),
                "in_ball": bool(inversion.in_ball[i]),
                "is_copy": bool(inversion.is_copy[i]),
                "on_support": bool(inversion.on_support[i]),
                "log_q": float(inversion.log_q[i]),
                "log_no_condition": None if no_condition is None else float(no_condition[i]),
                "log_prior": float(inversion.log_prior[i]),
                "relative_norm": float(inversion.relative_norm[i]),
                "cosine": float(inversion.cosine[i]),
            }
        )
    return as_json(rows)


def _sentence(words: str) -> str:
    words = words.strip().replace("k-hat", "k\u2011hat")
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")


def _bins(inversion: Inversion) -> dict[str, Any]:
    """Shares of the posterior, and of a bank drawn from P(X), by distance; the last bin holds all beyond it too."""
    d, weight = np.asarray(inversion.d, dtype=float), np.asarray(inversion.weight, dtype=float)
    finite = np.isfinite(d)
    d, weight = d[finite], weight[finite]
    weighed = bool(weight.sum() > 0)
    weight = weight if weighed else np.ones(len(d))  # nothing weighs: they count alike
    bank = np.asarray(getattr(inversion, "prior_d", ()), dtype=float)
    bank = bank[np.isfinite(bank)]
    if not len(d):
        return {"edges": [0.0, 1.0], "posterior": [0.0], "prior": None, "weighed": False}
    tops = [float(np.quantile(d, 0.98)), inversion.ball_edge, float(np.quantile(bank, 0.9)) if len(bank) else 0.0]
    high = 1.1 * max(top for top in tops if math.isfinite(top)) or 1.0
    edges = _edges(high, inversion.ball_edge)

    def shares(values: np.ndarray, weights: np.ndarray) -> list[float]:
        bins = np.r_[0.0, edges[1:] * (1 + 1e-9)]  # what lies on the ball's edge is inside, as everywhere else
        counts, _ = np.histogram(np.minimum(values, edges[-1]), bins=bins, weights=weights)
        return [round(float(c), 5) for c in counts / weights.sum()]

    return {
        "edges": [round(float(edge), 6) for edge in edges],
        "posterior": shares(d, weight),
        "prior": shares(bank, np.ones(len(bank))) if len(bank) else None,
        "weighed": weighed,
    }


def _edges(high: float, edge: float) -> np.ndarray:
    """About `BINS` bins from 0 to `high` or a little more; the ball's edge stands between two of them, if it can."""
    width = high / BINS
    if width / MOST_NARROWED <= edge <= high:  # else there would be very many, or none is on this side of it
        width = edge / max(1, round(edge / width))
    return width * np.arange(math.ceil(high / width - 1e-9) + 1)


def _info_scale(rows: list[dict[str, Any]]) -> tuple[float, bool]:
    """The top of the shading's scale in nats, a round number of bits, and whether some tokens lie beyond it.

    The 98 % quantile of |information|, lest one token dim all others.
    """
    values = [abs(v) for row in rows for v in row["info"] if v is not None]
    bits = max(float(np.quantile(values, 0.98)) / math.log(2) if values else 0.0, 0.5)
    step = 10.0 ** math.floor(math.log10(bits))
    bits = step * next((f for f in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if f * step >= bits * 0.999), 10)
    return bits * math.log(2), max(values, default=0.0) > bits * math.log(2) * 1.001


def _fixed(inversion: Inversion) -> dict[str, Any] | None:
    """What the activation fixes: a sentence, and of each picked token its state and the numbers behind that."""
    try:
        found = fixed(inversion)
    except InvalidArgument:  # there are no inputs of P(X) to compare with
        return None
    states, words = [""] * len(inversion.tokens), [""] * len(inversion.tokens)
    for token in found.tokens:
        known = token.state != "unknown"
        states[token.position] = token.state if known else ""
        near = f"{token.share:.0%} ({token.low:.0%} to {token.high:.0%})"
        here = f"of the other inputs near it {near} have it here, of P(X)'s {token.prior:.0%}"
        anywhere = f"; anywhere {token.anywhere:.0%}, of P(X)'s {token.anywhere_prior:.0%}" if token.elsewhere else ""
        words[token.position] = f"{here}{anywhere}" if known else ""
    return {"sentence": found.sentence, "states": states, "words": words}


def summary_of(inversion: Inversion, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers and words above the list."""
    verdict = str(getattr(inversion.verdict, "value", inversion.verdict))
    name = getattr(inversion.verdict, "name", verdict)
    # Mass that was not found is missing from the estimate of bits, and its standard error does not see that.
    known = not doubt_of(inversion) and name != "OUTSIDE_PROMPT_DISTRIBUTION"
    info_max, info_clipped = _info_scale(rows)
    said = "SEARCH_FAILED" if name == "INVERTER_FAILED" and not isinstance(inversion, Inversion) else name
    coarse = name == "RELIABLE" and isinstance(inversion, Inversion) and coarse_share(inversion) > 0
    return as_json(
        {
            "verdict": name,
            "verdict_words": "Reliable samples, at a coarse bandwidth." if coarse else _WORDS.get(said, name),
            "coarse": coarse,
            "verdict_reason": _sentence(inversion.verdict_reason),
            "remarks": list(inversion.remarks),
            "fixed": _fixed(inversion),
            "n": len(inversion.samples),
            "distinct": len(rows),
            "inside": sum(row["in_ball"] for row in rows),
            "ess": float(inversion.ess),
            "khat": float(inversion.khat),
            "bits": float(inversion.bits) if known else None,
            "bits_stderr": float(inversion.bits_stderr) if known else None,
            "bits_bound": getattr(inversion, "bits_bound", None),  # a search has no generator that knows it
            "copy_share": float(inversion.copy_share),
            "off_support_share": float(inversion.off_support_share),
            "ball_edge": float(inversion.ball_edge),
            "bandwidth": float(inversion.bandwidth),
            "drawn_at": float(getattr(inversion, "proposal_bandwidth", inversion.bandwidth)),
            "site": str(inversion.site),
            "tokens": list(inversion.tokens),
            "text": str(inversion.text),
            "prior": inversion.prompts_name,
            "prior_is_exact": bool(inversion.prior_is_exact),
            "info_max": info_max,
            "info_clipped": info_clipped,
            "histogram": _bins(inversion),
        }
    )


def page_of(rows: list[dict[str, Any]], start: int, size: int, query: Query) -> dict[str, Any]:
    """At most `PAGE` rows from ``start`` of those that a query wants."""
    matching = query.of(rows)
    size = max(0, min(int(size), PAGE))
    start = max(0, int(start))
    return {"start": start, "matching": len(matching), "rows": matching[start : start + size]}
