"""Tables of how often each verdict is wrong, from the rows of bench_verdicts.py."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from _verdicts import LEAST, MANY, MISSED, NOTHING, RARE, SHARE

from inversescope_nb._statistics import KHAT_UNRELIABLE, wilson

CLASSES = ("fine", "few effective samples", "misses much")
_BELIEVED = ("RELIABLE", "NO_INFORMATION")


def missed_of(frame: pd.DataFrame) -> pd.Series:
    """Share of the exact posterior that n samples all but never show."""
    some = frame["missed_64"].where(frame["n"] <= 64, frame["missed_256"])
    return some.where(frame["n"] <= 256, frame["missed_1024"]) if "missed_1024" in frame else some


def least_ess(frame: pd.DataFrame) -> pd.Series:
    """Effective samples below which the verdict is LOW_ESS."""
    return np.minimum(np.maximum(LEAST, SHARE * frame["n"]), MANY)


def true_class(frame: pd.DataFrame) -> pd.Series:
    """What the exact posterior says of each inversion's generator: one of `CLASSES`."""
    misses = (missed_of(frame) > MISSED) | (frame["starved"] > RARE)
    few = frame["exact_ess"] * frame["n"] < least_ess(frame)
    return pd.Series(np.select([misses, few], [CLASSES[2], CLASSES[1]], CLASSES[0]), index=frame.index)


def confusion(frame: pd.DataFrame) -> pd.DataFrame:
    """How often each verdict was given where the exact posterior shows what, and how often estimates were off."""
    by = ["bank", "true class", "verdict"]
    return frame.groupby(by)["off"].agg(inversions="size", estimates_off="sum").reset_index()


def _questions(frame: pd.DataFrame) -> Iterator[tuple[str, str, pd.Series, pd.Series]]:
    """(rule, what goes wrong, where it can, where it does)."""
    said, misses = frame["verdict"], frame["true class"] == CLASSES[2]
    reliable, failed = said == "RELIABLE", said == "INVERTER_FAILED"
    low, nothing = said == "LOW_ESS", said == "NO_INFORMATION"
    believed = said.isin(_BELIEVED)
    yield "RELIABLE", "estimates off", reliable, frame["off"]
    yield "RELIABLE", "a rate off by more than 0.2", reliable, frame["worst_rate"] > 0.2
    yield "RELIABLE", "bits off by more than 0.5", reliable, frame["bits_error"].abs() > 0.5
    yield "RELIABLE", "the generator misses much", reliable, misses
    half = (missed_of(frame) < MISSED / 2) & (frame["starved"] < RARE / 2)
    yield "INVERTER_FAILED", "false alarm: misses less than half of that", failed, half
    yield "INVERTER_FAILED", "estimates are as good as promised", failed, ~frame["off"]
    yield "INVERTER_FAILED", "missed: believed where the generator misses much", misses, believed
    yield "INVERTER_FAILED", "not named: only LOW_ESS where it misses much", misses, low
    plenty = frame["exact_ess"] * frame["n"] > 2 * least_ess(frame)
    yield "LOW_ESS", "false alarm: twice the least is to be expected", low, plenty & ~misses
    few = frame["true class"] == CLASSES[1]
    yield "LOW_ESS", "missed: believed where fewer are to be expected", few, believed
    yield "NO_INFORMATION", f"exact bits are {NOTHING} or more", nothing, frame["exact_bits"] >= NOTHING
    yield "NO_INFORMATION", "estimates off", nothing, frame["off"]
    bare = (frame["exact_bits"] < NOTHING / 4) & ~misses
    yield "NO_INFORMATION", f"missed: called RELIABLE below {NOTHING / 4} bits", bare, reliable


def error_rates(frame: pd.DataFrame) -> pd.DataFrame:
    """Each rule's error rates with Wilson's 95 % intervals, with a bank and without, on each half of the cells."""
    rows = []
    for (bank, half), part in frame.groupby(["bank", "half"]):
        for rule, what, where, wrong in _questions(part):
            n, k = int(where.sum()), int((where & wrong).sum())
            low, high = wilson(k / n if n else 0.0, n)
            rows.append({"rule": rule, "error": what, "bank": bool(bank), "cells": half, "of": n, "wrong": k,
                         "rate": k / n if n else np.nan, "low": float(low), "high": float(high)})  # fmt: skip
    return pd.DataFrame(rows).sort_values(["rule", "error", "bank", "cells"], kind="stable")


def by_generator(frame: pd.DataFrame) -> pd.DataFrame:
    """Who is believed, and how often wrongly: a row a kind of generator, with a bank and without."""
    rows = []
    for (bank, quality), part in frame.groupby(["bank", "quality"]):
        reliable = part["verdict"] == "RELIABLE"
        low, high = wilson((reliable & part["off"]).sum() / max(reliable.sum(), 1), reliable.sum())
        rows.append({"generator": quality, "bank": bool(bank), "inversions": len(part),
                     "misses much": (part["true class"] == CLASSES[2]).mean(), "RELIABLE": int(reliable.sum()),
                     "of them off": int((reliable & part["off"]).sum()), "low": float(low), "high": float(high),
                     **{v: int((part["verdict"] == v).sum()) for v in ("LOW_ESS", "INVERTER_FAILED")}})  # fmt: skip
    return pd.DataFrame(rows)


def khat_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Whether k-hat tells bad estimates, among inversions whose generator misses little: beside ESS, and beyond it."""
    some = frame[~frame["bank"] & (frame["true class"] != CLASSES[2])]
    rows = []
    for label, part in (("all", some), ("ESS at least n / 2", some[some["ess"] >= some["n"] / 2])):
        groups = pd.cut(part["khat"].fillna(-9).clip(-9, 9), [-10, 0.5, KHAT_UNRELIABLE, 1.0, 10])
        for name, each in part.groupby(groups, observed=True):
            low, high = wilson(float(each["off"].mean()), len(each))
            rows.append({"inversions with": label, "k-hat": str(name), "inversions": len(each),
                         "estimates off": each["off"].mean(), "low": float(low), "high": float(high),
                         "median ESS/n": (each["ess"] / each["n"]).median(),
                         "mean of the worst rate's error": each["worst_rate"].mean()})  # fmt: skip
    return pd.DataFrame(rows)
