"""Hypotheses at all sites: the sweep and its heat maps, the map of the model coloured by it, clicks that go there."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import json
import math
import re
import threading
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_charts import frame
from test_widgets import OTHER, PROMPT, SITE, _no_real_cache, ask, generator, prompts, scope, settle  # noqa: F401
from test_widgets_background import wait_for

import inversescope_nb as isn
from inversescope_nb import charts
from inversescope_nb.errors import Cancelled, InvalidArgument
from inversescope_nb.widgets import InverseScopeWidget, SiteSweep
from inversescope_nb.widgets.inputs import Inputs
from inversescope_nb.widgets.map_values import map_choices, map_values
from inversescope_nb.widgets.sweep_jobs import _Pace

JOHN, MARY = isn.features.contains("John"), isn.features.contains("Mary")
SMALL = isn.TrainingConfig(
    steps=100, batch_size=32, lr=3e-3, backbone="small", width=16, statistics_samples=64, held_out=16
)


@pytest.fixture(scope="module")
def two_sites(lm, prompts):
    return isn.train_generator(lm, [SITE, OTHER], prompts, config=SMALL, progress=False)


@pytest.fixture
def wide(lm, two_sites, prompts):
    widget = InverseScopeWidget(
        lm, generators=[two_sites], prompt=PROMPT, site=SITE, prompts=prompts, n=32, bandwidth=1.0
    )
    widget.sweep.picks = 8
    yield widget
    widget.close()


def test_it_shows_any_report():
    rates = frame(3, ["resid_post", "mlp_out"], ["subject", "verb"], heads=2)
    sweep = SiteSweep(rates, where="\u03b5 = 0.1")
    assert len(sweep.rows) == 3 * 4 * 2
    assert {row["site"] for row in sweep.rows} == set(rates["site"])
    assert [row["head"] for row in sweep.rows if row["kind"] == "resid_post"] == [None] * 6
    assert "site" in sweep.chart._vl_selections
    assert (sweep.chart.file_name, sweep.chart.caption) == ("sweep", "Measured at \u03b5 = 0.1")
    assert sweep.label == ""
    assert not sweep.can_sweep
    with pytest.raises(InvalidArgument, match="no column fcr"):
        SiteSweep(pd.DataFrame({"site": [], "feature": []}))
    with pytest.raises(InvalidArgument, match="without a way"):
        sweep.sweep()


def test_a_click_on_a_cell_or_a_line_names_its_site():
    sweep = SiteSweep(frame(2, ["resid_post"], ["subject"]))
    chosen = []
    sweep.on_site(chosen.append)
    name = "blocks.1.hook_resid_post"
    sweep.chart._vl_selections = {"site": {"value": {"site": [name]}, "store": []}}
    assert chosen == [name]
    sweep.chart._vl_selections = {"site": {"value": {}, "store": []}}  # clicked beside all cells
    assert chosen == [name]
    sweep.show(frame(2, ["resid_post"], ["verb"]))  # another chart in the same child still listens
    sweep.chart._vl_selections = {"site": {"value": {"site": ["blocks.0.hook_resid_post"]}, "store": []}}
    assert chosen == [name, "blocks.0.hook_resid_post"]
    assert sweep.feature == ""
    other = {"site": ["blocks.0.hook_resid_post"], "feature": ["verb"]}  # of the same site, in another panel
    sweep.chart._vl_selections = {"site": {"value": other, "store": []}}
    assert (len(chosen), sweep.feature) == (2, "verb")
    assert ask(sweep, "go", site=name, feature="subject")["kind"] == "result"
    assert (chosen[-1], sweep.feature) == (name, "subject")
    assert "no site" in ask(sweep, "go", site="blocks.7.hook_resid_post")["message"]
    assert len(chosen) == 3
    sweep.site = "blocks.0.hook_resid_post"
    assert sweep.came_from == "", "it was not left for a cell"
    ask(sweep, "go", site=name)
    assert sweep.came_from == "blocks.0.hook_resid_post"
    assert ask(sweep, "back")["kind"] == "result"
    assert (sweep.site, sweep.came_from, chosen[-1]) == ("blocks.0.hook_resid_post", "", "blocks.0.hook_resid_post")


def test_a_site_that_is_chosen_while_heat_maps_are_drawn_is_the_framed_one(monkeypatch):
    first, second = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"
    real = charts.consistency_chart
    sweep = SiteSweep()
    sweep.site = second
    wanted = iter((first, second))

    def slowly(*args, **kwargs):
        sweep.site = next(wanted)  # as another thread does
        return real(*args, **kwargs)

    monkeypatch.setattr(charts, "consistency_chart", slowly)
    for site in (first, second):
        sweep.show(frame(2, ["resid_post"], ["subject"]))
        assert sweep.error is None
        assert sweep.chart._params == {"chosen": site}


def test_the_site_that_is_framed_changes_without_drawing_anew():
    first, second = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"
    sweep = SiteSweep(frame(2, ["resid_post"], ["subject"]))
    drawn = []
    sweep.chart.observe(drawn.append, names=["spec"])
    sweep.chart._vl_selections = {"site": {"value": {"site": [first]}, "store": []}}
    assert sweep.chart._params == {"chosen": first}
    sweep.site = second  # from elsewhere: the cell that was clicked can be clicked again
    assert sweep.chart._params == {"chosen": second}
    sweep.chart._vl_selections = {"site": {"value": {"site": [first]}, "store": []}}
    assert sweep.site == first
    assert drawn == []
    sweep.show(frame(2, ["resid_post"], ["verb"]))
    assert len(drawn) == 1
    assert sweep.chart._params == {"chosen": first}
    nothing = frame(2, ["resid_post"], ["verb"]).assign(fcr=float("nan"))
    sweep.show(nothing)  # a sentence
    sweep.site = second


def test_it_sweeps_all_sites_of_the_generator_and_gives_what_the_function_gives(wide, lm, two_sites):
    assert not wide.sweep.can_sweep
    wide.invert().wait(30)
    assert not wide.sweep.can_sweep  # these prompts have no ready-made hypotheses
    with pytest.raises(InvalidArgument, match="no hypothesis"):
        wide.sweep.sweep()
    wide.add_hypothesis(JOHN)
    assert wide.sweep.can_sweep
    what = "1 hypothesis at 2 sites: up to 16 inversions, 32 samples each"
    assert wide.sweep.label == what, "one inversion, which loads and warms up, says little about time"
    wide.invert().wait(30)
    assert re.fullmatch(rf"{what}, about \d+ s", wide.sweep.label)
    found = wide.sweep.sweep().wait(60)
    assert wide.sweep.label == what, "from the samples that are kept it takes no such time"
    pick = isn.features.InputText.from_ids(wide.inversion.prompt_ids, lm)
    inputs = wide._backend.inputs.targets_for(pick, two_sites)[:8]
    prior = wide._backend.inputs.prior(two_sites.prompts, two_sites).texts
    report = isn.consistency(
        lm, two_sites, inputs, [SITE, OTHER], [JOHN], bandwidth=1.0, n_samples=32, prior_texts=prior, progress=False
    )
    pd.testing.assert_frame_equal(found, report.to_frame())
    assert {row["site"] for row in wide.sweep.rows} == {SITE, OTHER}
    assert wide.sweep.where == f"\u03b5 = 1, 8 inputs like {PROMPT!r} (any of gifts), 32 samples each"
    assert not wide.sweep.partial
    assert not wide.sweep.status["running"]


def test_inputs_like_a_pick_end_with_the_same_slot_or_token():
    lm, gen = isn.load_model(), isn.load_generator()
    inputs = Inputs(lm)
    for prompt, words, slot in (
        ("After Albert and Nathan went to the studio , Nathan", "cut at the same slot, S2", "S2"),
        ("4 3 7 + 5 6 8 =", "that end with the same token", None),
    ):
        pick = isn.features.InputText.from_ids(lm.encode(prompt).rows()[0], lm)
        found = inputs.targets_for(pick, gen)
        assert len(found) == 32
        assert inputs.alike(pick, gen) == words
        texts = [inputs.plain(isn.features.InputText.from_ids(ids, lm)) for ids in found]
        prompts = isn.tasks.get_prompts("ioi" if slot else "addition")
        assert {prompts.slot_at_end(text) for text in texts} == {slot}
        space = {"isn": isn, "lm": lm, "inv": SimpleNamespace(prompt_ids=pick.token_ids)}
        exec("\n".join(inputs.targets_code(pick, gen)), space)
        assert space["targets"] == found


def test_a_sweep_is_of_the_hypotheses_that_are_defined_for_the_pick(wide):
    wide.invert().wait(30)
    wide.add_hypothesis(JOHN)
    wide.add_hypothesis(isn.features.python("1 if 'Ann' in x else None", name="undefined here"))
    assert wide.panel.rows[1]["label"] is None
    assert wide.sweep.label.startswith("1 hypothesis (1 more not defined here) at 2 sites: ")
    assert {row["feature"] for row in wide.sweep.sweep().wait(60).to_dict("records")} == {JOHN.name}
    wide.panel.remove(JOHN.name)
    assert not wide.sweep.can_sweep, "none is left, and there are no ready-made ones"


def test_what_is_said_of_a_stopped_sweep_goes_when_another_is_asked_for(wide):
    wide.invert().wait(30)
    wide.add_hypothesis(JOHN)
    job = wide.sweep.sweep()
    wide.sweep.stop()
    wait_for(lambda: job.finished and wide.sweep.note.startswith("Stopped"))
    wide.sweep.picks = 16
    assert wide.sweep.note == "", "which does not go on with it"


def test_the_map_is_coloured_by_it_and_a_cell_goes_there(wide):
    assert [choice["name"] for choice in wide.map_choices] == [""]
    wide.invert().wait(30)
    wide.add_hypothesis(JOHN)
    rates = wide.sweep.sweep().wait(60)
    assert wide.map_by == f"feature {JOHN.name}"
    by_site = rates.set_index("site")["fcr_star"]
    for site, entry in wide.map_values["values"].items():
        assert entry["value"] == pytest.approx(max(by_site[site], 0), abs=1e-4)
    assert wide.map_values["where"] == wide.sweep.where
    wide.map_by = "bits"
    assert wide.map_values["unit"] == "bits"
    assert set(wide.map_values["values"]) == {SITE, OTHER}
    wide.set_state({"map_by": "the moon"})
    assert "coloured by" in wide.error["message"]
    assert wide.map_by == "bits"
    wide.sweep.chart._vl_selections = {"site": {"value": {"site": [OTHER]}, "store": []}}
    assert (wide.site, wide.came_from) == (OTHER, SITE), "there is a way back"
    settle(wide)
    assert str(wide.inversion.site) == OTHER
    assert (wide.sweep.stale, wide.map_note) == ("", "")
    wide.set_state({"site": SITE})
    assert (wide.site, wide.came_from) == (SITE, "")
    wide.site = OTHER
    assert wide.came_from == "", "nothing was left for a cell of the sweep"
    settle(wide)
    wide.bandwidth = 0.5
    settle(wide)
    assert wide.sweep.stale == wide.map_note == "This sweep is at another bandwidth, \u03b5 = 1."
    wide.position = 2
    settle(wide)
    assert wide.map_note == f"This sweep is of another activation, that at the end of {PROMPT!r}."
    wide.position, wide.bandwidth = -1, 1.0
    settle(wide)
    assert wide.map_note == ""
    wide.bandwidth = 0.5
    settle(wide)
    assert wide.map_note
    wide.sweep.show(rates, where="elsewhere")  # somebody's own: of nothing that is picked here
    assert wide.map_note == ""
    wide.sweep.chart._vl_selections = {"site": {"value": {"site": [SITE], "feature": [JOHN.name]}, "store": []}}
    assert (wide.site, wide.map_by) == (SITE, f"feature {JOHN.name}")
    settle(wide)
    wide.map_by = ""
    assert wide.map_values == {}
    saved = json.loads(wide.to_html().partition('id="isn-saved">')[2].partition("</script>")[0])
    maps = saved["widgets"]["scope"]["state"]["maps"]
    assert list(maps) == [choice["name"] for choice in wide.map_choices]
    wide.map_by = "bits"
    assert maps["bits"] == wide.map_values


def test_another_hypothesis_is_measured_from_the_same_samples(wide, monkeypatch):
    wide.invert().wait(30)
    wide.add_hypothesis(JOHN)
    first = wide.sweep.sweep().wait(60)
    monkeypatch.setattr("inversescope_nb._study.invert_activation", None)  # nothing is sampled again
    ended = threading.Event()
    wide.sweep.on_show(lambda _frame: ended.set())
    wide.add_hypothesis(MARY)
    assert ended.wait(30)
    assert set(wide.sweep.frame["feature"]) == {JOHN.name, MARY.name}
    again = wide.sweep.frame.set_index(["feature", "site"])["fcr"][JOHN.name]
    assert again.to_dict() == first.set_index("site")["fcr"].to_dict()
    wide.panel.remove(MARY.name)  # that takes none
    assert set(wide.sweep.frame["feature"]) == {JOHN.name, MARY.name}


def test_another_hypothesis_of_the_same_name_is_measured_too(wide):
    wide.invert().wait(30)
    first, second = (isn.features.python(code, name="h") for code in ("x.split()[0]", "len(x)"))
    wide.add_hypothesis(first)
    before = wide.sweep.sweep().wait(60)["fcr"].tolist()
    ended = threading.Event()
    wide.sweep.on_show(lambda _frame: ended.set())
    wide.panel.remove("h")
    assert not ended.is_set()
    wide.add_hypothesis(second)
    assert ended.wait(30)
    assert wide.sweep.frame["fcr"].tolist() != before
    assert "len(x)" in wide.sweep.code


def test_a_stopped_sweep_keeps_what_it_has_and_goes_on(wide, monkeypatch):
    wide.invert().wait(30)
    wide.add_hypothesis(JOHN)
    from inversescope_nb import _study

    real, done = _study.invert_activation, []

    def counted(*args, **kwargs):
        done.append(args[3].name)
        if len(done) == 10:  # at the second site
            wide.sweep.stop()
        return real(*args, **kwargs)

    monkeypatch.setattr(_study, "invert_activation", counted)
    with pytest.raises(Cancelled):
        wide.sweep.sweep().wait(60)
    assert "goes on from there" in wide.sweep.note
    wide.background.submit("after it", lambda job: None).wait(30)
    assert "The 1 site that was done is shown." in wide.sweep.note
    assert wide.sweep.where.endswith(", 1 of 2 sites so far"), "a page that is saved now says so too"
    assert wide.sweep.partial
    assert "1 of 2 sites so far" in wide.map_values["where"]
    assert [row["site"] for row in wide.sweep.rows] == [done[0]]
    assert set(wide.map_values["values"]) == {done[0]}
    assert wide.error is None
    assert not wide.sweep.status["running"]
    stopped_at = len(done)
    job = wide.sweep.sweep()
    assert wide.sweep.note.startswith("The sites that were done are shown")
    job.wait(60)
    assert len(done) - stopped_at == 8  # one site was kept
    assert wide.sweep.note == ""
    assert len(wide.sweep.rows) == 2


def test_sites_are_shown_as_they_are_done(wide, monkeypatch):
    monkeypatch.setattr("inversescope_nb.widgets.sweep_jobs.PART_EVERY_S", 0)
    monkeypatch.setattr("inversescope_nb.widgets.sweep_jobs.PART_SHARE", math.inf)
    monkeypatch.setattr("inversescope_nb.widgets.jobs._REPORT_EVERY_S", 0)
    wide.invert().wait(30)
    wide.add_hypothesis(JOHN)
    shown = []
    wide.sweep.on_show(
        lambda rates: shown.append(
            (rates["site"].tolist(), wide.sweep.where.partition("each")[2], wide.sweep.status["running"])
        )
    )
    wide.sweep.sweep().wait(60)
    assert [(len(sites), words, running) for sites, words, running in shown] == [
        (1, ", 1 of 2 sites so far", True),
        (2, "", True),
    ]
    assert set(wide.map_values["values"]) == {SITE, OTHER}
    whole = wide.sweep.frame
    del shown[:]
    wide.sweep.picks = 4  # another study: what is shown is whole, so that no part takes its place
    wide.sweep.sweep().wait(60)
    assert [len(sites) for sites, *_ in shown] == [2]
    assert wide.sweep.frame is not whole


def test_sites_that_are_done_take_a_small_part_of_the_time():
    now = [0.0]
    pace, looked = _Pace(lambda: now[0]), []
    while now[0] < 600:
        now[0] += 1
        if pace.due():
            with pace:
                now[0] += 4
            looked.append(now[0])
    assert looked[0] == 9, "after five seconds at the earliest"
    assert len(looked) * 4 / 600 <= 0.1


def test_a_hypothesis_that_fails_costs_no_inversions(wide, monkeypatch):
    wide.invert().wait(30)
    wide.add_hypothesis(JOHN)
    from inversescope_nb import _study

    def broken(text):
        raise ValueError("broken")

    broken_one = isn.Feature("broken", broken)
    wide.sweep.test([broken_one])
    with pytest.raises(isn.errors.FeatureError):
        wide.sweep.sweep().wait(60)
    assert "are kept" in wide.sweep.note
    real, done = _study.invert_activation, []
    monkeypatch.setattr(_study, "invert_activation", lambda *args, **kwargs: done.append(1) or real(*args, **kwargs))
    wide.sweep.test([JOHN])
    wide.sweep.sweep().wait(60)
    assert done == []
    assert wide.sweep.note == ""


def test_a_stopped_sweep_does_not_take_the_place_of_a_whole_one(wide, monkeypatch):
    wide.invert().wait(30)
    wide.add_hypothesis(JOHN)
    whole = wide.sweep.sweep().wait(60)
    from inversescope_nb import _study

    real = _study.invert_activation

    def stopped(*args, **kwargs):
        wide.sweep.stop()
        return real(*args, **kwargs)

    monkeypatch.setattr(_study, "invert_activation", stopped)
    wide.sweep.picks = 4
    with pytest.raises(Cancelled):
        wide.sweep.sweep().wait(60)
    wide.background.submit("after it", lambda job: None).wait(30)
    assert wide.sweep.frame is whole
    assert wide.sweep.note.endswith("goes on from there.")


def test_a_sweep_that_was_stopped_before_its_first_site_shows_nothing(wide):
    wide.invert().wait(30)
    wide.add_hypothesis(JOHN)
    with wide.lm.lock:
        job = wide.sweep.sweep()
        wide.sweep.stop()
    with pytest.raises(Cancelled):
        job.wait(30)
    wide.background.submit("after it", lambda job: None).wait(30)
    assert wide.sweep.rows == []
    assert wide.sweep.note.endswith("goes on from there.")
    assert wide.error is None


def test_a_sweep_that_fails_says_so_in_place(wide, monkeypatch):
    wide.invert().wait(30)
    wide.add_hypothesis(JOHN)

    def broken(*args, **kwargs):
        raise InvalidArgument("it broke", hint="mend it")

    monkeypatch.setattr(wide._backend, "sweep", broken)
    answer = ask(wide.sweep, "sweep")
    assert (answer["message"], answer["hint"]) == ("it broke", "mend it")
    assert wide.sweep.error["hint"] == "mend it"
    assert wide.last_error.message == "it broke"
    assert not wide.sweep.status["running"]


def test_without_a_generator_there_is_nothing_to_sweep(scope):
    scope.bandwidth = 1.0
    scope.invert().wait(20)
    scope.add_hypothesis(JOHN)
    assert scope.sweep.can_sweep
    scope.site = OTHER
    settle(scope)
    assert not scope.sweep.can_sweep


@pytest.mark.parametrize(("picks", "words"), [(0, "too few"), (1, "too few"), (-4, "too few"), (64, "at most 32")])
def test_too_few_and_too_many_inputs_are_refused(picks, words):
    sweep = SiteSweep()
    sweep.set_state({"picks": picks})
    assert words in sweep.error["message"] + sweep.error["hint"]
    assert sweep.picks == 16


def test_what_the_map_can_be_coloured_by():
    rates = frame(2, ["resid_post"], ["subject", "verb"])
    assert [choice["name"] for choice in map_choices(None)] == [""]
    assert [choice["name"] for choice in map_choices(rates)] == [
        "",
        "feature subject",
        "feature verb",
        "rate subject",
        "rate verb",
        "bits",
        "effective samples",
    ]
    found = map_values(rates, "feature subject")
    assert found["max"] == 1.0
    assert found["values"]["blocks.1.hook_resid_post"] == {
        "value": 0.25, "words": "FCR 0.40 (0.30\u20130.45), chance 0.20, q = 0.01.", "doubtful": False,
        "coarse": False,
    }  # fmt: skip
    plain = map_values(rates, "rate subject")
    assert (plain["unit"], plain["values"]["blocks.1.hook_resid_post"]["value"]) == ("FCR", 0.4)
    assert map_values(rates, "bits")["max"] == 3
    assert map_values(rates, "effective samples")["values"] == {}  # they are not known
    assert map_values(rates, "feature moon") == map_values(rates, "") == map_values(None, "bits") == {}


def test_sites_whose_inversions_failed_are_in_doubt_and_do_not_set_the_scale():
    rates = frame(3, ["resid_post"], ["subject"])
    rates["bits"] = [4.2, 41.0, 3.0]
    rates.loc[1, "notes"] = "Not to be relied on: of 3 inversions 3 missed by the generator."
    found = map_values(rates, "bits")
    assert found["max"] == 5
    assert [entry["doubtful"] for entry in found["values"].values()] == [False, True, False]
    assert "missed by the generator" in found["values"]["blocks.1.hook_resid_post"]["words"]
    rates["notes"] = rates.loc[1, "notes"]
    assert map_values(rates, "bits")["max"] == 41  # there is nothing else


def test_a_rate_below_chance_is_drawn_at_none_and_a_missing_one_is_no_number():
    rates = frame(2, ["resid_post"], ["subject"])
    rates.loc[0, ["fcr", "fcr_star"]] = [0.1, -0.125]
    rates.loc[1, ["fcr", "fcr_star"]] = [math.nan, math.nan]
    rates.loc[1, "notes"] = "undefined for all picks"
    values = list(map_values(rates, "feature subject")["values"].values())
    assert values[0]["value"] == 0.0
    assert values[0]["words"].startswith("FCR 0.10")
    assert values[1] == {
        "value": None,
        "words": "no estimate undefined for all picks",
        "doubtful": False,
        "coarse": False,
    }
    rates.loc[0, "notes"] = "Coarse here: one direction holds 91% of this site's variance."
    assert map_values(rates, "feature subject")["values"]["blocks.0.hook_resid_post"]["coarse"]
    assert not map_values(rates, "bits")["values"]["blocks.0.hook_resid_post"]["coarse"], "bits are what they are"
    rates.loc[0, "notes"] = "Only 8 groups of picks: the interval is rough."
    assert not map_values(rates, "feature subject")["values"]["blocks.0.hook_resid_post"]["doubtful"]
    rates.loc[0, "notes"] = "Not to be relied on: of 8 inversions 5 with few effective samples."
    assert map_values(rates, "feature subject")["values"]["blocks.0.hook_resid_post"]["doubtful"]


def test_rows_are_json_with_few_digits():
    rates = frame(1, ["resid_post"], ["subject"])
    rates.loc[0, "fcr"] = np.float64(1 / 3)
    (row,) = SiteSweep(rates).rows
    assert row["fcr"] == 0.3333
    assert row["head"] is None
    assert row["p_value"] is None


def test_a_saved_page_and_the_picture_have_it(wide):
    wide.invert().wait(30)
    wide.add_hypothesis(JOHN)
    assert "Across the model" not in wide._picture()
    wide.sweep.sweep().wait(60)
    assert "Across the model" in wide._picture()
    assert OTHER in wide._picture()
    html = wide.to_html()
    assert '"anywidget:sweep"' in html
    assert '"anywidget:chart of the sweep"' in html


def test_the_code_gives_the_sweep(lm, two_sites, prompts, tmp_path):
    lm.model.save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    two_sites.save_pretrained(tmp_path / "kept")
    widget = InverseScopeWidget(
        str(tmp_path / "model"), generators=[tmp_path / "kept"], prompt=PROMPT, site=SITE, bandwidth=1.0, n=32
    )
    widget.sweep.picks = 4
    widget.invert().wait(30)
    widget.add_hypothesis(JOHN)
    shown = widget.sweep.sweep().wait(60)
    space: dict = {}
    exec(widget.sweep.code, space)
    pd.testing.assert_frame_equal(space["report"].to_frame(), shown)
    assert isinstance(eval(widget.sweep.code.splitlines()[-1], space), SiteSweep)
    widget.close()
