"""What the map of the model is coloured by: a number for each site, out of the frame of a sweep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..reports import is_coarse, is_doubtful

if TYPE_CHECKING:
    import pandas as pd

BITS, ESS = "bits", "effective samples"
FEATURE, RATE = "feature ", "rate "
"""Before a hypothesis' name: its rate above chance, and the rate itself."""


def map_choices(frame: pd.DataFrame | None) -> list[dict[str, str]]:
    """``{name, label}`` of what there is to colour by; the first colours by nothing."""
    found = [{"name": "", "label": "generator at hand"}]
    if frame is None:
        return found
    names = dict.fromkeys(frame["feature"])
    found += [{"name": FEATURE + name, "label": f"{name}: FCR above chance"} for name in names]
    found += [{"name": RATE + name, "label": f"{name}: FCR"} for name in names]
    if "bits" in frame.columns:
        found.append({"name": BITS, "label": "bits about the input"})
    if "ess_ratio" in frame.columns:
        found.append({"name": ESS, "label": "effective share of samples"})
    return found


def map_values(frame: pd.DataFrame | None, choice: str) -> dict[str, Any]:
    """``{label, unit, max, values: {site: {value, words, doubtful, coarse}}}``; empty where the choice is of nothing.

    Rates above chance are FCR* (0 at chance, 1 where all agree), cut off at 0; a site most of whose inversions
    are not to be believed is doubtful, one that the bandwidth does not resolve coarse; the words end with what a rate's
    notes say.
    """
    label = next((entry["label"] for entry in map_choices(frame) if entry["name"] == choice), "")
    if frame is None or not choice or not label:
        return {}
    for prefix, column, unit in ((FEATURE, "fcr_star", "FCR*"), (RATE, "fcr", "FCR")):
        if choice.startswith(prefix):
            part = frame[frame["feature"] == choice.removeprefix(prefix)]
            values = {row["site"]: _rate(row, column) for row in part.to_dict("records")}
            return {"label": label, "unit": unit, "max": 1.0, "values": values}
    column, unit = ("bits", "bits") if choice == BITS else ("ess_ratio", "of the samples")
    part = frame.drop_duplicates("site")
    values = {row["site"]: _plain(row, column, unit) for row in part.to_dict("records") if math.isfinite(row[column])}
    known = [entry["value"] for entry in values.values() if not entry["doubtful"]]  # failed inversions find many bits
    top = max(known or [entry["value"] for entry in values.values()], default=0.0)
    return {"label": label, "unit": unit, "max": 1.0 if choice == ESS else max(math.ceil(top), 1), "values": values}


def _entry(value: float, words: str, note: str, *, is_rate: bool) -> dict[str, Any]:
    doubtful, coarse = is_doubtful(note), is_rate and is_coarse(note)
    return {"value": round(max(float(value), 0.0), 4), "words": words, "doubtful": doubtful, "coarse": coarse}


def _plain(row: dict[str, Any], column: str, unit: str) -> dict[str, Any]:
    note = str(row.get("notes") or "")
    words = f"{row[column]:.2f} {unit}" + (f". {note}" if is_doubtful(note) else "")
    return _entry(row[column], words, note, is_rate=False)


def _rate(row: dict[str, Any], column: str) -> dict[str, Any]:
    value, note = row.get(column, math.nan), str(row.get("notes") or "")
    if row["fcr"] is None or math.isnan(row["fcr"]) or math.isnan(value):
        return {"value": None, "words": f"no estimate {note}".strip(), "doubtful": False, "coarse": False}
    words = f"FCR {row['fcr']:.2f} ({row['fcr_low']:.2f}\u2013{row['fcr_high']:.2f}), chance {row['chance']:.2f}"
    q = row.get("q_value", math.nan)
    words += "" if math.isnan(q) else f", q = {q:.2g}"
    return _entry(value, f"{words}. {note}".strip(), note, is_rate=True)
