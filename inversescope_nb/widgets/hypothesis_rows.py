"""From a hypothesis to what the panel shows: the feature that a form describes, and its rate as a row."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from .. import features as ready_made
from .._patterns import bracketed
from ..errors import FeatureError, InvalidArgument, suggest
from ..features import Feature, InputText
from ..python_features import PythonFeature
from .messages import as_json

if TYPE_CHECKING:
    from ..baselines import Metropolis
    from ..inversion import Inversion


NEARLY_NONE = 0.005
NEARLY_ALL = 0.9


def written(kind: str, name: str, value: str, position: int, ready: Mapping[str, Feature]) -> Feature:
    """The hypothesis that the form in the widget describes.

    Raises:
        InvalidArgument: it describes none.
    """
    if kind == "ready":
        if name not in ready:
            raise InvalidArgument(
                f"no ready-made hypothesis is named {name!r}.{suggest(name, ready)}",
                hint=f"there are: {', '.join(ready) or 'none'}",
            )
        return ready[name]
    if kind == "token_at":
        return ready_made.token_at(int(position))
    if kind == "python":
        return ready_made.python(value, name.strip() or None)
    if kind not in ("contains", "regex"):
        raise InvalidArgument(
            f"no kind of hypothesis is named {kind!r}", hint="ready, contains, regex, token_at, python"
        )
    if not value.strip():
        raise InvalidArgument("the hypothesis has no text", hint="type the text or pattern to look for")
    if kind == "contains":
        return ready_made.contains(value)
    return ready_made.regex(value, bracketed(value))


def chance_in(record: Mapping[str, Any]) -> float:
    """Chance for one input, of a row of a report: among draws from P(X) for which the hypothesis is defined, where
    it is defined for the samples too."""
    return record["chance_prior"] if isnan(record["chance_defined"]) else record["chance_defined"]


def rate_of_pick(
    inversion: Inversion | Metropolis, pick: InputText, feature: Feature, prior: Sequence[InputText]
) -> tuple[Hashable | None, dict[str, Any] | None]:
    """The picked input's label, and `consistency_of` this one inversion; None where the label is undefined.

    Raises:
        FeatureError: the feature raises on one of the inputs, or returns no label.
    """
    from ..rates import consistency_of

    label = feature(pick)
    if label is None:
        return None, None
    report = consistency_of(inversion, [feature], prior_texts=prior, permutations=0)
    record = report.to_frame().iloc[0]
    chance = chance_in(record)
    return label, {
        "fcr": record["fcr"],
        "low": record["fcr_low"],
        "high": record["fcr_high"],
        "chance": chance,
        "plain": record["fcr_plain"],
        "star": (record["fcr"] - chance) / (1 - chance) if chance < 1 else None,  # None: nothing is above chance
        "defined": record["defined"],
        "of_defined": not isnan(record["chance_defined"]),
        "n": record["ess_median"],
        "verdict": record["verdict_counts"].partition(":")[0],
    }


def row_of(
    inversion: Inversion | Metropolis | None,
    pick: InputText | None,
    feature: Feature,
    prior: Sequence[InputText],
    across: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """``{name, label, here, across, note, remark}`` of one hypothesis; raises `FeatureError` as the feature does."""
    row: dict[str, Any] = {"name": feature.name, "label": None, "here": None, "across": across, "note": None}
    row["remark"] = None
    if inversion is not None and pick is not None:
        label, rate = rate_of_pick(inversion, pick, feature, prior)
        row["label"] = None if label is None else str(label)
        row["here"] = rate = as_json(rate)
        if rate is None:
            fault = fault_at(feature, pick)
            row["note"] = "not defined for the picked input" + (f": it raises {fault}" if fault else "")
        elif rate["fcr"] is None:
            row["note"] = f"{label}: all samples are copies of the picked input, nothing is left to compare"
        if label is not None:  # else the samples were not looked at
            row["remark"] = _beware(rate, _raised(feature, inversion.texts))
    return as_json(row)


def _beware(rate: Mapping[str, Any] | None, raised: str | None) -> str | None:
    """What there is to know before a rate is read."""
    if rate is None or rate["fcr"] is None:
        return raised
    found = [raised] if raised else []
    defined, chance = rate["defined"], rate["chance"]
    if not raised and defined < 1 - NEARLY_NONE:
        too = ", in chance too" if rate["of_defined"] else ""
        found.append(f"not defined for {1 - defined:.0%} of what its samples weigh; they count as not agreeing{too}")
    if rate["of_defined"] and chance is not None and defined > 0:
        chance /= defined
    if chance is not None and chance > NEARLY_ALL:
        which = " for which it is defined" if rate["of_defined"] else ""
        found.append(f"{chance:.0%} of P(X)'s inputs{which} agree as well: there is little that could be held")
    return "; ".join(found) or None


def label_row(feature: Feature, pick: InputText, text: InputText) -> dict[str, Any]:
    """``{name, label, picked, agrees}``: what a hypothesis says of an input, and of the picked one; None: undefined.

    ``agrees`` is whether the input counts as agreeing in a rate, and None where the hypothesis is not defined for
    the picked input. What it raises on the input stands in ``label``.
    """
    picked = feature(pick)
    try:
        label = feature(text)
    except FeatureError as error:
        label, fault = None, str(error)
    else:
        fault = fault_at(feature, text)
    agrees = None if picked is None else label is not None and label == picked
    shown, here = (None if value is None else str(value) for value in (label, picked))
    return {"name": feature.name, "label": f"raises {fault}" if fault else shown, "picked": here, "agrees": agrees}


def fault_at(feature: Feature, text: InputText | None) -> str:
    """What a hypothesis written as Python raised on a text, in words; empty where nothing."""
    return feature.faults.get(str(text), "") if isinstance(feature, PythonFeature) and text is not None else ""


def _raised(feature: Feature, texts: Sequence[InputText]) -> str | None:
    """On how many of the samples a hypothesis written as Python raised, and what it raised first."""
    faults = [fault for text in texts if (fault := fault_at(feature, text))]
    if not faults:
        return None
    return f"raises on {len(faults)} of {len(texts)} samples, which count as not agreeing: {faults[0]}"
