"""Does what an inversion cannot tell apart make a difference to the model? Its samples patched in, against controls.

1. Posterior samples of an inversion are drawn by weight, copies of the picked input left out. Their activations z
   lie at displacements delta = z - z_hat from the picked one.
2. The model runs on the picked input with z_hat + dose * delta at the site, and its next-token distribution is
   compared with the original one.
3. Beside each, three controls whose displacement is exactly as long: toward the activation of an input of P(X),
   in a random direction with the covariance of the site, in a direction drawn evenly. (To put in a vector of the
   same *norm* as z_hat is no control: it is a long way off.)

A small effect of posterior samples is not guaranteed: distance weighs all directions alike, the output does not. Where
they move the output more than a random direction does, the model uses what the inversion's bandwidth blurs. Patches
leave all other positions as they are: what the model reads there is not changed.

Axis names: n (samples), d (width of the site).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._arguments import check_generator, check_model, sample_count, seed_number
from .._progress import Progress, reported
from .._statistics import bootstrap_counts, group_codes, percentile_interval, truncate
from ..errors import Cancelled, InvalidArgument
from ..inverted import Inversion
from .outputs import Answers, Original
from .targets import patchable

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd
    from jaxtyping import Float
    from torch import Tensor

    from ..generator import Generator
    from ..kernels import SiteStatistics
    from ..models import LanguageModel
    from ..prompts import Prompt

KINDS = {
    "posterior": "samples of the inversion",
    "prior": "toward inputs of P(X)",
    "covariance": "random, with the site's covariance",
    "isotropic": "random, all directions alike",
}
"""What is patched in, and what that is in words."""
DOSES = (0.5, 1.0, 2.0)
COLUMNS = {
    "kind": "what was patched in: one of `KINDS`",
    "sample": "which draw: the four kinds of one draw are displaced equally far",
    "dose": "the displacement as a multiple of the posterior sample's own",
    "displacement": "|patch - z_hat|, in the model's own units",
    "text": "the posterior sample",
    "kl": "how far the output moved: KL(original || patched) in nats",
    "difference": "logit of the answer less that of the other after the patch; NaN without `answers`",
    "same_top": "whether the likeliest next token stays",
}
"""Columns of `PatchReport.to_frame` and what they mean."""
_RESAMPLES = 2000


@dataclass(frozen=True, repr=False)
class PatchReport:
    """How far patches moved the output; made by :func:`patching`."""

    rows: tuple[Mapping[str, Any], ...]
    """One per kind, draw and dose, with the keys of `COLUMNS`."""
    site: str
    """Where it was patched."""
    text: str
    """The input on which the model ran."""
    difference: float
    """Logit of the answer less that of the other without a patch; NaN without `answers`."""
    n_copies: int
    """Samples that are the picked input itself: they move nothing, and are left out."""
    verdict: str
    """The inversion's verdict."""
    ess: float
    """Its effective samples."""
    reads_later: bool
    """Whether the output is read behind tokens that follow the patched one."""
    seed: int
    """Of the draws and the intervals."""

    def to_frame(self) -> pd.DataFrame:
        """One row per kind, draw and dose; columns as in `COLUMNS`."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=list(COLUMNS))

    def compared(self, dose: float = 1.0) -> pd.DataFrame:
        """Each kind's mean effect at one dose, and how many times that of the posterior samples it is.

        Returns:
            columns kind, n (draws), n_inputs (different posterior samples behind them), kl, low, high (95 %, bootstrap
            over different samples), ratio (kl over the posterior's, paired), ratio_low, ratio_high, same_top.
        """
        import pandas as pd

        frame = self.to_frame()
        frame = frame[np.isclose(frame["dose"], dose)]
        if frame.empty:
            raise InvalidArgument(f"dose={dose!r}", hint=f"there are {sorted({row['dose'] for row in self.rows})}")
        table = frame.pivot(index="sample", columns="kind", values="kl").reindex(columns=list(KINDS))
        inputs = group_codes(frame.drop_duplicates("sample").set_index("sample")["text"].reindex(table.index).tolist())
        counts = bootstrap_counts(inputs, _RESAMPLES, self.seed)  # a sample that was drawn often is one sample
        means = {kind: counts @ table[kind].to_numpy() / counts.sum(-1) for kind in KINDS}
        several = len(set(inputs.tolist())) > 1
        out = []
        for kind in KINDS:
            own, first = table[kind].to_numpy(), table["posterior"].to_numpy()
            low, high = percentile_interval(means[kind]) if several else (np.nan, np.nan)
            below = means["posterior"]
            ratios = np.divide(means[kind], below, out=np.full(len(below), np.nan), where=below > 0)
            ratio = own.mean() / first.mean() if first.mean() > 0 else float("nan")
            spread = several and kind != "posterior" and np.isfinite(ratios).all()
            ends = percentile_interval(ratios) if spread else (np.nan, np.nan)
            same = frame.loc[frame["kind"] == kind, "same_top"].mean()
            out.append((kind, len(own), len(set(inputs.tolist())), own.mean(), low, high, ratio, *ends, same))
        columns = ["kind", "n", "n_inputs", "kl", "low", "high", "ratio", "ratio_low", "ratio_high", "same_top"]
        return pd.DataFrame(out, columns=columns)

    def summary(self) -> str:
        """A few plain sentences."""
        doses = sorted({row["dose"] for row in self.rows}, key=lambda dose: abs(dose - 1))
        table = self.compared(doses[0]).set_index("kind")
        lines = [
            f"Patched at {self.site} into {self.text!r}, dose {doses[0]:g} (inversion: {self.verdict}, "
            f"{self.ess:.0f} effective samples):"
        ]
        for kind, words in KINDS.items():
            row = table.loc[kind]
            times = "" if kind == "posterior" or np.isnan(row["ratio"]) else f", {row['ratio']:.2g} times as far"
            if np.isfinite(row["ratio_low"]):
                times += f" ({row['ratio_low']:.2g} to {row['ratio_high']:.2g})"
            lines.append(f"  {words}: the output moves by {row['kl']:.3g} nats{times}")
        if self.reads_later:
            lines.append("  Only the patched token was changed: what later tokens read elsewhere is intact.")
        return "\n".join(lines)

    def chart(self) -> alt.TopLevelMixin:
        """Effect against dose, a line for each kind; see `charts.dose_chart`."""
        from ..charts import dose_chart

        return dose_chart(self.to_frame())

    def __repr__(self) -> str:
        return f"<PatchReport of {len(self.rows)} patches>\n{self.summary()}"


def patching(
    lm: LanguageModel,
    gen: Generator,
    inv: Inversion,
    *,
    prompt: str | Prompt | Sequence[int] | None = None,
    answers: Answers = None,
    doses: Iterable[float] = DOSES,
    n: int = 64,
    seed: int = 0,
    on_progress: Progress | None = None,
    progress: bool = True,
    cancel: threading.Event | None = None,
) -> PatchReport:
    """Patches the samples of an inversion into the original run, beside controls displaced equally far.

    Args:
        lm, gen: the target model, and the generator that knows the moments of its sites and its P(X).
        inv: what `invert` returned.
        prompt: the whole input, which begins with the picked one, where the output is to be read behind later
            tokens; None: behind the picked token.
        answers: the answer and what it is held against, for a difference of logits: words, token ids or features.
        doses: displacements, as multiples of each sample's own.
        n: draws of posterior samples, by weight.
        seed: of the draws and of the random directions.
        on_progress: called with (done, total, message).
        progress: whether to show a bar when nothing else listens (only for work of more than a second).
        cancel: looked at between patches of one kind and dose.

    Raises:
        InvalidArgument: no sample but copies of the picked input counts; a prompt that does not begin with it.
        Cancelled: `cancel` was set.

    Example:
        >>> import inversescope_nb as isn
        >>> lm, gen = isn.load_model(), isn.load_generator()
        >>> inv = isn.invert(lm, gen, "4 3 7 + 5 6 8 =", site="resid_post.1", bandwidth=0.3, n=64)
        >>> report = isn.causal.patching(lm, gen, inv, n=16)
        >>> sorted(report.to_frame()["kind"].unique())
        ['covariance', 'isotropic', 'posterior', 'prior']
    """
    check_model(lm)
    check_generator(gen)
    if not isinstance(inv, Inversion):
        raise InvalidArgument(f"inv is a {type(inv).__name__}", hint="pass what invert() returned")
    gen.check_target(lm)
    n, seed, doses = sample_count(n), seed_number(seed), _doses(doses)
    site = patchable(lm, [inv.site])[0]
    whole = _whole(lm, inv, prompt)
    rng = np.random.default_rng(seed)
    rows = _drawn(inv, n, rng)
    samples = [[int(token) for token in inv.samples[i]] for i in rows]
    z = lm.activations([inv.prompt_ids, *samples], [site], cancel=cancel)[site.name]
    z_hat, delta = z[0], z[1:] - z[0]
    if not bool((delta.norm(dim=-1) > 0).any()):
        raise InvalidArgument("all samples have the picked activation exactly", hint="invert at a larger bandwidth")
    others = gen.bank(lm, gen.prompts, max(2, min(256, 4 * n)), cancel=cancel)
    if not len(others):
        raise InvalidArgument(
            f"no inputs of {gen.prompts.name} are at hand, and it cannot be drawn from",
            hint="set generator.prompts to a distribution that samples",
        )
    toward = _toward(others.activations(site.name, cancel=cancel), others.inputs, inv.prompt_ids, z_hat, n, rng)
    moves = {
        "posterior": delta,
        "prior": _as_long(toward, delta),
        "covariance": _as_long(_covariance_shaped(gen.statistics(site.name).cpu(), z_hat, n, rng), delta),
        "isotropic": _as_long(torch.from_numpy(rng.standard_normal((n, len(z_hat)))).to(z_hat), delta),
    }
    original = Original.of(lm, whole, len(inv.prompt_ids) - 1, answers)
    found: list[dict[str, Any]] = []
    with reported(on_progress, progress, "patching") as report:
        for done, (kind, dose) in enumerate((kind, dose) for kind in KINDS for dose in doses):
            if cancel is not None and cancel.is_set():
                raise Cancelled("patching was stopped")
            effects = original.patched(lm, site, z_hat + dose * moves[kind])
            lengths = (dose * moves[kind]).norm(dim=-1).tolist()
            for k, i in enumerate(rows):
                row = kind, k, dose, lengths[k], str(inv.texts[i])
                moved = float(effects.kl[k]), float(effects.difference[k]), bool(effects.same_top[k])
                found.append(dict(zip(COLUMNS, row + moved, strict=True)))
            if report is not None:
                report(done + 1, len(KINDS) * len(doses), f"patching: {KINDS[kind]}")
    return PatchReport(
        tuple(found), site.name, lm.decode(list(whole)), original.difference, int(inv.is_copy.sum()),
        str(getattr(inv.verdict, "value", inv.verdict)), float(inv.ess), len(whole) > len(inv.prompt_ids), seed,
    )  # fmt: skip


def _doses(doses: Iterable[float]) -> list[float]:
    hint = "positive numbers, such as (0.5, 1, 2); 1 is the sample's own activation"
    try:
        found = list(dict.fromkeys(float(dose) for dose in doses))
    except (TypeError, ValueError):
        found = []
    if not found or not all(np.isfinite(dose) and dose > 0 for dose in found):
        raise InvalidArgument(f"doses={doses!r:.60}", hint=hint)
    return found


def _whole(lm: LanguageModel, inv: Inversion, prompt: str | Prompt | Sequence[int] | None) -> list[int]:
    """The input to run on; raises where it does not begin with the picked one."""
    own = [int(token) for token in inv.prompt_ids]
    if prompt is None:
        return own
    encoded = lm.encode(prompt)
    whole = encoded.token_ids[0, : int(encoded.lengths[0])].tolist()
    if len(encoded.lengths) != 1 or whole[: len(own)] != own:
        raise InvalidArgument(
            "the prompt does not begin with the picked input", hint=f"give one that begins with {inv.text!r:.80}"
        )
    return whole


def _drawn(inv: Inversion, n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of samples that are no copies, as often as they weigh."""
    weight = np.where(inv.is_copy, 0.0, truncate(inv.weight))
    if not weight.sum() > 0:
        raise InvalidArgument(
            "no sample but copies of the picked input has weight", hint="invert at a larger bandwidth, or more samples"
        )
    edges = np.cumsum(weight / weight.sum())
    return np.searchsorted(edges[:-1], (np.arange(n) + rng.random()) / n, side="right")  # evenly along the weights


def _toward(
    z: Float[Tensor, "m d"], inputs: Sequence[Sequence[int]], picked: Sequence[int], z_hat: Tensor, n: int,
    rng: np.random.Generator,
) -> Float[Tensor, "n d"]:  # fmt: skip
    """Displacements of inputs of P(X), the picked one left out."""
    others = [i for i, ids in enumerate(inputs) if list(ids) != list(picked)]
    away = z[others] - z_hat
    away = away[away.norm(dim=-1) > 0]
    if not len(away):
        raise InvalidArgument(
            "every input of P(X) has the picked activation", hint="this site is constant: take another"
        )
    return away[torch.from_numpy(rng.integers(len(away), size=n))]


def _covariance_shaped(
    statistics: SiteStatistics, z_hat: Tensor, n: int, rng: np.random.Generator
) -> Float[Tensor, "n d"]:
    """Directions that are likelier the more the site varies along them on P(X)."""
    spread = statistics.eigenvalues.sqrt()
    u = torch.from_numpy(rng.standard_normal((n, len(spread)))).to(spread) * spread @ statistics.eigenvectors.T
    return (statistics.restore(u, z_hat) - statistics.mean).to(z_hat)


def _as_long(directions: Float[Tensor, "n d"], delta: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The directions, as long as the displacements."""
    lengths = directions.norm(dim=-1, keepdim=True).clamp(min=1e-30)
    return directions / lengths * delta.norm(dim=-1, keepdim=True)
