"""Rates that too little carries are grey, and the widget says why beside them."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import pandas as pd
import pytest
from test_widgets import PROMPT, SITE, _no_real_cache, generator, prompts  # noqa: F401

import inversescope_nb as isn
from inversescope_nb.export import panel_fragment, sweep_fragment
from inversescope_nb.verdicts import LEAST_ESS
from inversescope_nb.widgets import ConsistencyPanel, SiteSweep
from inversescope_nb.widgets.chart import frame_of

JOHN = isn.features.contains("John")


@pytest.fixture(scope="module")
def untrained(lm, prompts):
    config = isn.TrainingConfig(steps=1, batch_size=8, backbone="small", width=16, statistics_samples=64, held_out=8)
    return isn.train_generator(lm, [SITE], prompts, config=config, on_progress=lambda *_: None)


def colours(panel: ConsistencyPanel) -> list:
    return [layer["encoding"]["stroke" if layer["mark"]["type"] == "point" else "color"] for layer in marks(panel)]


def marks(panel: ConsistencyPanel) -> list[dict]:
    return [layer for layer in panel.chart.spec["layer"] if layer["mark"]["type"] in ("rule", "point")]


def doubtful(panel: ConsistencyPanel) -> list[bool]:
    """Of the rates that are drawn, which are grey."""
    (data,) = panel.chart.spec["datasets"].values()
    return [row["doubtful"] for row in data]


def test_an_uneven_few_are_grey_as_well(lm, generator):
    found = isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=8)
    assert (found.verdict, found.ess >= LEAST_ESS) == ("LOW_ESS", True), "the verdict says so, and all views agree"
    panel = ConsistencyPanel(found)
    panel.add(JOHN)
    assert panel.doubt.startswith(f"The rates for this input are grey: {found.ess:.1f} effective samples of 8, k-hat")
    assert doubtful(panel) == [True]


def test_rates_across_inputs_are_grey_by_their_notes():
    rate = {"fcr": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1}
    weak = {**rate, "notes": "Not to be relied on: of 8 inversions 6 missed by the generator."}
    rows = [{"name": "a", "here": rate, "across": weak}, {"name": "b", "here": None, "across": {**rate, "notes": None}}]
    assert frame_of(rows)["doubtful"].tolist() == [False, True, False]
    assert frame_of(rows, doubtful=True)["doubtful"].tolist() == [True, True, False]


def test_few_effective_samples_grey_the_rates_and_the_panel_says_why(lm, generator):
    found = isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=4)
    panel = ConsistencyPanel(found)
    panel.add(JOHN)
    assert panel.doubt == f"The rates for this input are grey: only {found.ess:.1f} effective samples carry them."
    assert panel.rows[0]["here"]["fcr"] is not None
    for colour in colours(panel):
        (when,) = colour["condition"]
        assert when["test"] == "datum.doubtful"
        assert when["value"] in ("#8b949e", "transparent")
    assert doubtful(panel) == [True]


def test_a_generator_that_missed_is_named_as_the_reason(lm, untrained):
    inversion = isn.invert(lm, untrained, PROMPT, site=SITE, bandwidth=0.05, n=64)
    assert inversion.verdict == "INVERTER_FAILED"
    assert (
        ConsistencyPanel(inversion).doubt == "The rates for this input are grey: the generator missed this activation."
    )


def test_a_wider_bandwidth_is_named_where_what_is_shown_is_in_doubt(lm, untrained):
    widget = isn.InverseScopeWidget(lm, generators=[untrained], prompt=PROMPT, site=SITE, bandwidth=0.05, n=64)
    widget.invert().wait(20)
    assert widget.inversion.verdict == "INVERTER_FAILED"
    assert widget.wider == pytest.approx(max(0.1, widget.inversion.usual_bandwidth))
    assert widget.more_samples is None, "more of what misses it would not help"
    widget.bandwidth = widget.bandwidth_range[1]
    widget.invert().wait(20)
    assert widget.wider is None, "there is none"


def test_an_input_outside_the_prompts_has_grey_rates_no_bits_and_no_offer_that_cannot_help(lm, generator):
    widget = isn.InverseScopeWidget(lm, generators=generator, prompt="the the the the", bandwidth=0.3, site=SITE, n=64)
    widget.add_hypothesis(JOHN)
    widget.invert().wait(20)
    assert widget.inversion.verdict == "OUTSIDE_PROMPT_DISTRIBUTION"
    assert "the picked input lies outside P(X)" in widget.panel.doubt
    assert doubtful(widget.panel) == [True]
    summary = widget.gallery.summary
    assert (summary["bits"], summary["bits_stderr"]) == (None, None)
    assert widget.wider is None


def test_more_samples_are_offered_where_few_count(lm, generator):
    widget = isn.InverseScopeWidget(lm, generators=generator, prompt=PROMPT, site=SITE, bandwidth=1.0, n=4)
    widget.invert().wait(20)
    assert widget.inversion.verdict == "LOW_ESS"
    assert widget.more_samples == 16
    widget.n = 64
    widget.invert().wait(20)
    assert (widget.inversion.verdict, widget.more_samples) == ("RELIABLE", None)


def test_no_other_bandwidth_is_named_where_what_is_shown_can_be_relied_on(lm, generator):
    widget = isn.InverseScopeWidget(lm, generators=[generator], prompt=PROMPT, site=SITE, bandwidth=0.9, n=64)
    widget.invert().wait(20)
    assert widget.inversion.verdict != "INVERTER_FAILED"
    assert not widget.panel.doubt
    assert widget.wider is None


def test_the_doubt_goes_with_the_next_good_inversion(lm, generator):
    panel = ConsistencyPanel(isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=4))
    panel.add(JOHN)
    panel.show(isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=64))
    assert panel.doubt == ""
    assert doubtful(panel) == [False]


def test_the_static_picture_greys_them_as_well(lm, generator):
    widget = isn.InverseScopeWidget(lm, generators=[generator], prompt=PROMPT, site=SITE, bandwidth=1.0, n=4)
    widget.invert().wait(20)
    widget.add_hypothesis(JOHN)
    html = widget._repr_mimebundle_()[0]["text/html"]
    assert widget.panel.doubt in html
    assert 'fill="none" stroke="#8b949e"' in html


def test_the_static_picture_greys_a_rate_across_inputs_by_its_notes(lm, generator):
    panel = ConsistencyPanel(isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=64))
    panel.add(JOHN)
    rate = {"fcr": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1, "notes": ""}
    for notes, grey in (("", False), ("Not to be relied on: of 8 inversions 6 missed by the generator.", True)):
        panel.rows = [{**panel.rows[0], "across": {**rate, "notes": notes}}]
        assert ("across inputs, in doubt" in panel_fragment(panel)) == grey


def test_the_static_table_of_a_sweep_marks_what_is_not_to_be_relied_on():
    frame = pd.DataFrame({"site": ["a", "b"], "feature": ["f", "f"], "fcr": [0.5, 0.25], "fcr_star": [0.4, 0.2]})
    frame["notes"] = ["Not to be relied on: of 8 inversions 6 missed.", ""]
    frame["layer"], frame["kind"], frame["head"] = [0, 1], "resid_post", None
    words = sweep_fragment(SiteSweep(frame))
    assert "0.50 \u2020" in words
    assert "0.25 \u2020" not in words
    assert words.count("\u2020") == 2  # beside the rate, and where it is said what it means
