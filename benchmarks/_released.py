"""What bench_released.py tells of its cells: medians beside their targets, the worst sites, the picture."""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

TARGETS = {0.1: 0.15, 0.05: 0.3, 0.02: 1.0}
"""Bandwidth -> the gap in nats that the median site should not exceed."""
BITS = 2.0
"""A site counts if it holds as many."""
ESS, SHARE = 0.5, 0.8
"""ESS/n that this share of the sites should reach."""


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """The median gap over the sites that hold enough, beside its target."""
    rows = []
    for (name, eps), part in frame.groupby(["set", "bandwidth"], sort=False):
        holds = part[part["bits"] >= BITS]
        median, target = holds["gap"].median(), TARGETS.get(eps, math.nan)
        rows.append(
            {
                "set": name, "bandwidth": eps, "sites": len(part), "hold 2 bits": len(holds),
                "median gap": median, "target": target, "met": bool(median <= target),
                "within target": int((holds["gap"] <= target).sum()),
                "median q(S|z)": holds["inside"].median(), "median ESS/n": holds["ess_ratio"].median(),
                "largest bias": float(holds["log_inside_bias"].min()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def ess_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """How many sites reach the wanted ESS/n, cut by cut; bits are resolution bits, the median over targets.

    Where most inversions have no sample of any weight their bits are not known: such a site counts, and fails.
    """
    rows = []
    for cut, part in frame.groupby("cut", sort=False):
        holds = part[~(part["bits"].astype(float) < BITS)]
        reach = float((holds["ess_ratio"] >= ESS).mean())
        rows.append(
            {
                "cut": cut, "sites": len(part), "hold 2 bits": len(holds), "ESS/n >= 0.5": reach, "target": SHARE,
                "met": bool(reach >= SHARE), "median ESS/n": holds["ess_ratio"].median(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def worst(frame: pd.DataFrame, n: int = 5) -> pd.DataFrame:
    """The `n` sites with the largest gaps at each set and bandwidth, and what was measured there."""
    holds = frame[frame["bits"] >= BITS]
    found = holds.sort_values("gap", ascending=False).groupby(["set", "bandwidth"], sort=False).head(n)
    usual = {key: part.median(numeric_only=True) for key, part in holds.groupby(["set", "bandwidth"])}
    found = found.assign(reason=[reason(row, usual[row["set"], row["bandwidth"]]) for _, row in found.iterrows()])
    return found.sort_values(["set", "bandwidth", "gap"], ascending=[True, False, False])


def reason(row: pd.Series, usual: pd.Series) -> str:
    """What is unusual about a site, beside the median of the sites of the same set and bandwidth."""
    why = []
    if row["bits"] > usual["bits"] + 1:
        why.append(
            f"{row['bits']:.1f} bits of S (median {usual['bits']:.1f}), {row['entropy']:.1f} nats left in its posterior"
        )
    if row["spread"] > 1.5 * usual["spread"]:
        why.append(f"varies {row['spread']:.2f} of its scale on S (median {usual['spread']:.2f})")
    if row["top_share"] > max(0.3, 1.5 * usual["top_share"]):
        why.append(f"{row['top_share']:.0%} of its variance in one direction (median {usual['top_share']:.0%})")
    if row["relative_scale"] < 0.67 * usual["relative_scale"]:
        why.append(f"spread {row['relative_scale']:.2f} of the residual's (median {usual['relative_scale']:.2f})")
    if row["inside"] < 0.67 * usual["inside"]:
        why.append(f"q stays in S with {row['inside']:.2f} only (median {usual['inside']:.2f})")
    if row["gap_median"] < 0.5 * row["gap"]:
        why.append(f"few picks make it: the median pick has {row['gap_median']:.2f}")
    return "; ".join(why) or "nothing measured here sets it apart"


def picture(frame: pd.DataFrame) -> alt.TopLevelMixin:
    """Gap by layer and component, a panel a set and bandwidth; sites that hold too little are left out."""
    holds = frame[frame["bits"] >= BITS].assign(shown=lambda f: f["gap"].clip(lower=0.01))
    columns = ["resid_pre", "z.0", "z.1", "z.2", "z.3", "attn_out", "resid_mid", "mlp_out", "resid_post"]
    base = alt.Chart(holds).encode(
        x=alt.X("component:N", sort=columns, title=None), y=alt.Y("layer:O", title="layer")
    )  # fmt: skip
    cell = base.mark_rect().encode(
        color=alt.Color(
            "shown:Q", title="gap, nats", scale=alt.Scale(type="log", scheme="viridis", reverse=True)
        )
    )  # fmt: skip
    text = base.mark_text(fontSize=9).encode(
        text=alt.Text("gap:Q", format=".2f"),
        color=alt.condition("datum.shown > 0.5", alt.value("white"), alt.value("black")),
    )
    return (
        alt.layer(cell, text)
        .properties(width=290, height=120)
        .facet(row=alt.Row("set:N", title=None), column=alt.Column("bandwidth:O", sort="descending", title="eps"))
    )
