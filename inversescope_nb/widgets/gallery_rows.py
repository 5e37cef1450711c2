"""From an `Inversion` to what the gallery shows: distinct inputs as rows, and one summary.

Equal inputs become one row with a count; rows are ordered by distance. All numbers are the
inversion's own: nothing is estimated here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .messages import as_json

if TYPE_CHECKING:
    from ..inversion import Inversion

PAGE = 50
LEAST_ESS = 5.0
"""Effective samples below which bits are not shown, and rates are grey."""
SORTS = ("distance", "weight", "count")

_WORDS = {
    "RELIABLE": "Reliable.",
    "LOW_ESS": "Few effective samples.",
    "INVERTER_FAILED": "The generator missed this activation.",
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
    rows = []
    for key in sorted(first, key=lambda k: float(inversion.d[first[k]])):
        i = first[key]
        text = inversion.texts[i]
        tokens = list(getattr(text, "tokens", ())) or [str(text)]
        rows.append(
            {
                "rank": len(rows),
                "tokens": tokens,
                "info": _aligned(information[i], len(tokens)),
                "text": str(text),
                "d": float(inversion.d[i]),
                "weight": float(weight[members[key]].sum()),
                "count": len(members[key]),
                "in_ball": bool(inversion.in_ball[i]),
                "is_copy": bool(inversion.is_copy[i]),
                "on_support": bool(inversion.on_support[i]),
                "log_q": float(inversion.log_q[i]),
                "log_prior": float(inversion.log_prior[i]),
                "relative_norm": float(inversion.relative_norm[i]),
                "cosine": float(inversion.cosine[i]),
            }
        )
    return as_json(rows)


def _sentence(words: str) -> str:
    words = words.strip().replace("k-hat", "k\u2011hat")
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")


def _bins(d: np.ndarray) -> dict[str, list[float]]:
    finite = d[np.isfinite(d)]
    if finite.size == 0:
        return {"edges": [0.0, 1.0], "counts": [0]}
    low, high = float(finite.min()), float(finite.max())
    if high - low < 1e-9:
        low, high = max(0.0, low - 0.05), high + 0.05
    else:
        low = 0.0 if low < 0.25 * high else low
    counts, edges = np.histogram(finite, bins=min(24, max(6, int(np.sqrt(finite.size) * 1.5))), range=(low, high))
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _info_max(rows: list[dict[str, Any]]) -> float:
    """The top of the shading scale in nats: the 98 % quantile of |information|, lest one token dim all others."""
    values = [abs(v) for row in rows for v in row["info"] if v is not None]
    if not values:
        return 1.0
    top = float(np.quantile(values, 0.98))
    return max(float(np.ceil(top * 2) / 2), 0.5)


def doubt_of(inversion: Inversion) -> str:
    """Why what is estimated from these samples (bits, rates) is not to be believed; empty where it is."""
    if inversion.verdict == "INVERTER_FAILED":
        return "the generator missed this activation"
    if inversion.ess < LEAST_ESS:
        return f"only {inversion.ess:.1f} effective samples carry them"
    return ""


def summary_of(inversion: Inversion, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers and words above the list."""
    verdict = str(getattr(inversion.verdict, "value", inversion.verdict))
    name = getattr(inversion.verdict, "name", verdict)
    # Mass that was not found is missing from the estimate of bits, and its standard error does not see that.
    known = not doubt_of(inversion)
    return as_json(
        {
            "verdict": name,
            "verdict_words": _WORDS.get(name, name),
            "verdict_reason": _sentence(inversion.verdict_reason),
            "remarks": list(inversion.remarks),
            "n": len(inversion.samples),
            "distinct": len(rows),
            "ess": float(inversion.ess),
            "khat": float(inversion.khat),
            "bits": float(inversion.bits) if known else None,
            "bits_stderr": float(inversion.bits_stderr) if known else None,
            "bits_bound": getattr(inversion, "bits_bound", None),  # neighbours have no generator that knows it
            "copy_share": float(inversion.copy_share),
            "off_support_share": float(inversion.off_support_share),
            "ball_edge": float(inversion.ball_edge),
            "bandwidth": float(inversion.bandwidth),
            "site": str(inversion.site),
            "tokens": list(inversion.tokens),
            "prior": inversion.prompts_name,
            "prior_is_exact": bool(inversion.prior_is_exact),
            "info_max": _info_max(rows),
            "histogram": _bins(np.asarray(inversion.d, dtype=float)),
        }
    )


def page_of(rows: list[dict[str, Any]], start: int, size: int, filter: str, sort: str) -> dict[str, Any]:
    """At most `PAGE` rows from ``start`` of those whose text contains ``filter``, in the order of ``sort``."""
    wanted = filter.lower()
    matching = [row for row in rows if wanted in row["text"].lower()] if wanted else rows
    if sort == "weight":
        matching = sorted(matching, key=lambda row: -row["weight"])
    elif sort == "count":
        matching = sorted(matching, key=lambda row: -row["count"])
    size = max(0, min(int(size), PAGE))
    start = max(0, int(start))
    return {"start": start, "matching": len(matching), "rows": matching[start : start + size]}
