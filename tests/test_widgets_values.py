"""What `InverseScopeWidget` takes and refuses: positions inside the prompt, bandwidths of the site's generator."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import pytest
from test_widgets import OTHER, PROMPT, SITE, _no_real_cache, generator, prompts, scope, settle  # noqa: F401

import inversescope_nb as isn
from inversescope_nb.errors import InvalidArgument
from inversescope_nb.widgets import InverseScopeWidget

# -- position ---------------------------------------------------------------------------------------


def test_a_position_outside_the_prompt_is_refused_and_nothing_moves(scope):
    scope.position = 2
    settle(scope)
    with pytest.raises(InvalidArgument, match="position 99 is outside the prompt of 7 tokens"):
        scope.position = 99
    assert (scope.position, scope.picker.position) == (2, 2)
    assert "position=2," in scope.code
    scope.bandwidth = 0.5
    settle(scope)
    assert scope.error is None
    assert scope.inversion.position == 2


def test_a_position_outside_the_prompt_from_the_front_end_is_shown_in_place(scope):
    scope.set_state({"position": -8})
    assert (scope.position, scope.picker.position) == (-1, -1)
    assert "position -8 is outside the prompt of 7 tokens" in scope.error["message"]
    assert "-7 to 6" in scope.error["hint"]


@pytest.mark.parametrize("position", [6, -7])
def test_the_position_follows_where_the_prompt_gets_shorter(scope, position):
    scope.position = position
    settle(scope)
    scope.prompt = "Mary gave"
    settle(scope)
    assert (scope.position, scope.picker.position) == (-1, -1)
    assert scope.error is None
    assert scope.inversion.tokens[-1] == scope.picker.tokens[-1]


# -- bandwidth --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coarse(lm, prompts):
    """A generator of the other site that was trained from 0.5 to 4 only."""
    config = isn.TrainingConfig(
        steps=2, batch_size=8, backbone="small", width=16, statistics_samples=16, held_out=8, bandwidths=(0.5, 4.0)
    )
    return isn.train_generator(lm, [OTHER], prompts, config=config, on_progress=lambda *_: None)


def test_the_bandwidth_has_the_range_of_the_sites_generator(lm, generator, coarse):
    widget = InverseScopeWidget(lm, generators=[generator, coarse], prompt=PROMPT, site=OTHER, n=8)
    assert widget.bandwidth_range == [0.5, 4.0]
    assert widget.bandwidth == 0.5
    widget.bandwidth = 3.0
    settle(widget)
    with pytest.raises(InvalidArgument, match=r"0\.5 to 4"):
        widget.bandwidth = 0.1
    widget.set_state({"bandwidth": 5.0})
    assert widget.bandwidth == 3.0
    assert widget.error["hint"] == "0.5 to 4"


def test_another_site_brings_its_own_range_and_moves_the_bandwidth_into_it(lm, generator, coarse):
    widget = InverseScopeWidget(lm, generators=[generator, coarse], prompt=PROMPT, site=OTHER, n=8, bandwidth=3.0)
    widget.site = SITE
    settle(widget)
    assert (widget.bandwidth_range, widget.bandwidth) == ([0.02, 1.0], 1.0)
    assert widget.error is None
    assert widget.inversion.bandwidth == 1.0
    widget.site = "blocks.0.hook_mlp_out"  # no generator
    assert widget.bandwidth_range == [0.02, 1.0]


# -- the bound on bits --------------------------------------------------------------------------------


def test_the_sites_own_bound_on_bits_is_told(scope, generator):
    scope.bandwidth = 0.5
    scope.invert().wait(20)
    bound = generator.statistics(SITE).channel_bits_bound(0.5)
    assert scope.inversion.bits_bound == bound
    assert scope.gallery.summary["bits_bound"] == pytest.approx(bound)
    assert scope.bound == {"bandwidth": 0.5, "bits": pytest.approx(bound)}
    scope.site = OTHER
    assert scope.bound == {}
