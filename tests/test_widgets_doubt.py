"""Rates that too little carries are grey, and the widget says why beside them."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import pytest
from test_widgets import PROMPT, SITE, _no_real_cache, generator, prompts  # noqa: F401

import inversescope_nb as isn
from inversescope_nb.widgets import ConsistencyPanel

JOHN = isn.features.contains("John")


@pytest.fixture(scope="module")
def untrained(lm, prompts):
    config = isn.TrainingConfig(steps=1, batch_size=8, backbone="small", width=16, statistics_samples=64, held_out=8)
    return isn.train_generator(lm, [SITE], prompts, config=config, on_progress=lambda *_: None)


def colours(panel: ConsistencyPanel) -> list:
    return [layer["encoding"]["stroke" if layer["mark"]["type"] == "point" else "color"] for layer in marks(panel)]


def marks(panel: ConsistencyPanel) -> list[dict]:
    return [layer for layer in panel.chart.spec["layer"] if layer["mark"]["type"] in ("rule", "point")]


def test_few_effective_samples_grey_the_rates_and_the_panel_says_why(lm, generator):
    found = isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=4)
    panel = ConsistencyPanel(found)
    panel.add(JOHN)
    assert panel.doubt == f"The rates for this input are grey: only {found.ess:.1f} effective samples carry them."
    assert panel.rows[0]["here"]["fcr"] is not None
    for colour in colours(panel):
        assert "#8b949e" in str(colour["condition"])
        assert "this input" in str(colour["condition"])


def test_a_generator_that_missed_is_named_as_the_reason(lm, untrained):
    inversion = isn.invert(lm, untrained, PROMPT, site=SITE, bandwidth=0.05, n=64)
    assert inversion.verdict == "INVERTER_FAILED"
    assert (
        ConsistencyPanel(inversion).doubt == "The rates for this input are grey: the generator missed this activation."
    )


def test_the_doubt_goes_with_the_next_good_inversion(lm, generator):
    panel = ConsistencyPanel(isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=4))
    panel.add(JOHN)
    panel.show(isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=64))
    assert panel.doubt == ""
    assert all("condition" not in colour for colour in colours(panel))


def test_the_static_picture_greys_them_as_well(lm, generator):
    widget = isn.InverseScopeWidget(lm, generators=[generator], prompt=PROMPT, site=SITE, bandwidth=1.0, n=4)
    widget.invert().wait(20)
    widget.add_hypothesis(JOHN)
    html = widget._repr_mimebundle_()[0]["text/html"]
    assert widget.panel.doubt in html
    assert 'fill="none" stroke="#8b949e"' in html
