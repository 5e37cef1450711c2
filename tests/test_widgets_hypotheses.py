"""The panel's hypotheses: proposed, written as Python, followed across bandwidths, and as code that can be run."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import threading
import time

import pandas as pd
import pytest
from test_widgets import PROMPT, SITE, _no_real_cache, ask, generator, prompts, scope, settle  # noqa: F401
from test_widgets_background import wait_for

import inversescope_nb as isn
from inversescope_nb.errors import Cancelled, FeatureError, InvalidArgument
from inversescope_nb.features import InputText
from inversescope_nb.proposals import Proposals
from inversescope_nb.python_features import AT_HAND
from inversescope_nb.widgets import ConsistencyPanel, InverseScopeWidget, panel_jobs
from inversescope_nb.widgets.hypothesis_rows import written

JOHN = isn.features.contains("John")
MEASURED = pd.DataFrame(
    [
        {
            "feature": JOHN.name, "fcr": 0.5, "fcr_low": 0.4, "fcr_high": 0.6, "chance": 0.2, "fcr_plain": 0.5,
            "fcr_star": 0.4, "n_targets": 8,
        }
    ]
)  # fmt: skip
UNKNOWN_SITE = "blocks.1.hook_mlp_out"


def numbers(rates: list[dict], key: str) -> list[float]:
    """What the front end has, where None is what is no number."""
    return [float("nan") if rate[key] is None else rate[key] for rate in rates]


@pytest.fixture
def shown(scope):
    """A widget that shows an inversion."""
    scope.bandwidth = 0.3
    scope.n = 128
    scope.invert().wait(60)
    settle(scope, 60)
    return scope


# -- Python -----------------------------------------------------------------------------------------


def test_a_hypothesis_is_written_as_python(shown):
    panel = shown.panel
    assert ask(panel, "add", kind="python", value="x.split()[0]")["kind"] == "result"
    assert (
        ask(panel, "add", kind="python", value="def f(x):\n    return len(x.tokens)", name="length")["kind"] == "result"
    )
    first, second = panel.rows
    assert (first["name"], first["label"], first["remark"]) == ("x.split()[0]", "John", None)
    assert (second["name"], second["label"]) == ("length", str(len(PROMPT.split()) + 1))
    assert 0 <= first["here"]["low"] <= first["here"]["fcr"] <= first["here"]["high"] <= 1


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("x.split(", "line 1"),
        ("x.split()[99]", "raises IndexError: list index out of range (line 1), on the picked input"),
        ("def f(x):\n    while True:\n        pass", "takes longer than"),
        ("x.split()", "no label"),
        ("", "has no code"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_place_and_it_is_not_kept(shown, value, says):
    answer = ask(shown.panel, "add", kind="python", value=value)
    assert answer["kind"] == "error"
    assert says in answer["message"]
    assert answer["hint"]
    assert shown.panel.rows == []
    assert ask(shown.panel, "add", kind="python", value="x[0]")["kind"] == "result", "the worker goes on"


def test_where_it_raises_on_some_samples_they_are_counted_and_told(lm, generator):
    inversion = isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=64)
    others = sum("John" not in text for text in inversion.texts)
    assert 0 < others < 64
    panel = ConsistencyPanel(inversion)
    panel.add(isn.features.python("x.index('John')"))
    (row,) = panel.rows
    told = "ValueError: substring not found (line 1)"
    assert row["remark"] == f"raises on {others} of 64 samples, which count as not agreeing: {told}"
    same = isn.consistency_of(inversion, JOHN, permutations=0).to_frame()["fcr"][0]
    assert row["here"]["fcr"] == pytest.approx(same)
    panel.show(isn.invert(lm, generator, "Mary gave the book to Paris", site=SITE, bandwidth=1.0, n=16))
    assert panel.rows[0]["note"] == f"not defined for the picked input: it raises {told}"
    assert panel.rows[0]["remark"] is None, "no sample was looked at"


def test_code_that_takes_its_time_is_ended_by_its_own_cancel(shown, monkeypatch):
    panel, sent = shown.panel, []
    panel.send = sent.append
    started = threading.Event()
    slow = "def f(x):\n    while True:\n        started.set()"
    from inversescope_nb import _limits, python_features

    monkeypatch.setattr(python_features, "limited", lambda call, name: _limits.limited(call, name, limit_s=60))
    real = python_features.re
    monkeypatch.setattr(python_features, "re", type("Both", (), {"started": started, "compile": real.compile}))
    content = {
        "kind": "request",
        "id": 7,
        "method": "add",
        "params": {"kind": "python", "value": slow.replace("started", "re.started")},
    }
    panel._receive(panel, content, [])
    assert started.wait(20)
    panel._receive(panel, {"kind": "cancel", "id": 7}, [])
    wait_for(lambda: sent)
    assert [(m["kind"], m["type"]) for m in sent] == [("error", "Cancelled")]
    assert panel.error is None
    assert panel.rows == []


# -- proposals ----------------------------------------------------------------------------------------


def test_proposals_are_listed_with_their_evidence_and_can_be_taken(shown):
    panel = shown.panel
    assert ask(panel, "propose")["kind"] == "result"
    found = isn.propose(shown.inversion, prior=panel._prior)
    assert [item["name"] for item in panel.proposals["items"]] == [p.feature.name for p in found]
    assert [item["sentence"] for item in panel.proposals["items"]] == [p.sentence for p in found]
    assert panel.proposals["note"] == found.sentence
    assert len(found) > 0, found.sentence
    name = found[0].feature.name
    assert ask(panel, "accept", name=name)["kind"] == "result"
    assert panel.hypotheses[0] == found[0].feature or panel.hypotheses[0].name == name
    assert panel.rows[0]["here"]["fcr"] > panel.rows[0]["here"]["chance"]
    assert not panel.status["running"]


def test_a_language_model_is_asked_and_what_it_says_is_told_from_the_rest(lm, generator, shown):
    prompts = []
    inversion = shown.inversion
    last = inversion.tokens[-1].strip()

    def model(prompt):
        prompts.append(prompt)
        return f'{{"ends_with": "{last}", "words": "the <b>end</b>"}}\n{{"contains": "nowhere\u202e"}}'

    panel = ConsistencyPanel(inversion, prior=shown.panel._prior, ask=model)
    found = panel.propose().wait(30)
    assert len(prompts) == 1
    assert found.n_worded == 1
    assert panel.proposals["refused"] == ['it does not hold of the picked input: {"contains": "nowhere"}']
    assert [item["source"] for item in panel.proposals["items"]] == [p.source for p in found]
    assert "A language model worded 1 of the candidates; refused: 1." in panel.proposals["note"]
    assert shown.panel.propose().wait(30).n_worded == 0


def test_a_language_model_that_fails_is_an_error_in_the_panel_and_one_that_is_none_is_refused(lm, generator, shown):
    panel = ConsistencyPanel(shown.inversion, prior=shown.panel._prior, ask=lambda prompt: 1 / 0)
    with pytest.raises(InvalidArgument, match="ZeroDivisionError"):
        panel.propose().wait(30)
    assert "ZeroDivisionError" in panel.error["message"]
    assert panel.proposals is None
    with pytest.raises(InvalidArgument, match="ask is a str"):
        ConsistencyPanel(ask="gpt")
    with pytest.raises(InvalidArgument, match="ask is a str"):
        isn.InverseScopeWidget(lm, generators=generator, prompt=PROMPT, site=SITE, ask="gpt")


def test_where_nothing_is_found_a_sentence_says_so(lm, generator):
    inversion = isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=8)
    panel = ConsistencyPanel(inversion, prior=inversion.prior_texts)
    panel.propose().wait(30)
    assert panel.proposals["items"] == []
    assert panel.proposals["note"].startswith("Nothing ")


def test_proposals_go_with_their_inversion(shown):
    panel = shown.panel
    panel.propose().wait(30)
    name = panel.proposals["items"][0]["name"]
    shown.position = 2
    settle(shown)
    assert panel.proposals is None
    answer = ask(panel, "accept", name=name)
    assert (answer["kind"], answer["hint"]) == ("error", "it belonged to another inversion")


def test_proposals_that_come_too_late_are_not_shown(shown, monkeypatch):
    gate, running = threading.Event(), threading.Event()
    real = isn.propose

    def later(*args, **kwargs):
        running.set()
        assert gate.wait(20)
        return real(*args, **kwargs)

    monkeypatch.setattr("inversescope_nb.proposals.propose", later)
    job = shown.panel.propose()
    assert running.wait(10)
    assert shown.panel.status["running"]
    shown.position = 2
    settle(shown)
    gate.set()
    job.wait(30)
    assert shown.panel.proposals is None


def test_proposals_do_not_come_between_what_is_shown_and_what_is_shown_of_it(shown, monkeypatch):
    """`_offer` and `show` take turns: an inversion is shown whole before proposals are held against it."""
    panel, first = shown.panel, shown.inversion
    found = isn.propose(first, prior=panel._prior)
    shown.position = 2
    settle(shown)
    second = shown.inversion
    panel.show(first)
    offered = threading.Thread(target=panel._offer, args=(found, first))

    def meanwhile(*args):
        offered.start()
        offered.join(0.2)
        assert offered.is_alive(), "it waits for the turn"
        return real(*args)

    real = panel._forget_others
    monkeypatch.setattr(panel, "_forget_others", meanwhile)
    panel.show(second)
    offered.join(5)
    assert panel.proposals is None


def test_the_status_lasts_as_long_as_one_of_two_jobs_does(shown, monkeypatch):
    panel = shown.panel
    gates = {kind: threading.Event() for kind in ("measure", "propose")}
    monkeypatch.setattr(panel, "_measure", lambda features, inversion, job: gates["measure"].wait(20) and MEASURED)
    nothing = Proposals(found=(), n_candidates=0, n_tested=0, ess=9.0, n_prior=9, level=0.05)
    monkeypatch.setattr("inversescope_nb.proposals.propose", lambda *args, **how: gates["propose"].wait(20) and nothing)
    panel.add(JOHN)
    jobs = panel.measure(), panel.propose()
    gates["measure"].set()
    jobs[0].wait(20)
    assert panel.rows[0]["across"]["fcr"] == 0.5
    assert panel.status["running"]
    gates["propose"].set()
    jobs[1].wait(20)
    assert not panel.status["running"]


def test_proposing_can_be_stopped(shown, monkeypatch):
    running = threading.Event()

    def endless(*args, on_progress, cancel, **kwargs):
        running.set()
        cancel.wait(20)
        raise Cancelled

    monkeypatch.setattr("inversescope_nb.proposals.propose", endless)
    job = shown.panel.propose()
    assert running.wait(10)
    ask(shown.panel, "stop")
    with pytest.raises(Cancelled):
        job.wait(5)
    assert (shown.panel.error, shown.panel.status["running"]) == (None, False)
    assert shown.panel.stopped == "Stopped while looking for hypotheses: nothing of it is kept."
    monkeypatch.undo()
    shown.panel.propose().wait(30)
    assert shown.panel.stopped == ""


# -- across bandwidths --------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Three bandwidths instead of six."""
    from inversescope_nb import bandwidths

    monkeypatch.setattr(bandwidths.bandwidths_between, "__defaults__", (3,))


def test_rates_across_bandwidths_are_drawn_and_belong_to_their_input(shown, quick):
    panel = shown.panel
    panel.add(JOHN)
    assert panel.bandwidths_label
    assert ask(panel, "bandwidths")["kind"] == "result"
    low, high = shown.generator.config.bandwidths
    widths = [point["bandwidth"] for point in panel.curves]
    assert widths == sorted(widths)
    assert {low, high, shown.bandwidth} <= set(widths)
    assert panel.drawn == "bandwidths"
    assert [layer["mark"]["type"] for layer in panel.chart.spec["layer"]] == ["area", "line", "line", "point", "point"]
    assert panel.chart.file_name == "bandwidths"
    assert panel.chart.caption == f"{SITE}, inputs like {PROMPT!r}", "which is of several bandwidths"
    truth = isn.across_bandwidths(
        shown.lm, shown.generator, PROMPT, JOHN, site=SITE, bandwidths=widths, n=shown.n, prior_texts=panel._prior,
        progress=False,
    ).to_frame()  # fmt: skip
    assert numbers(panel.curves, "fcr") == pytest.approx(truth["fcr"].tolist(), nan_ok=True)
    assert [point["verdict"] for point in panel.curves] == [v.partition(":")[0] for v in truth["verdict_counts"]]
    panel.drawn = "rates"
    assert len(panel.chart.spec["layer"]) == 3
    assert panel.chart.file_name == "rates"
    kept = panel.curves
    shown.bandwidth = 0.5
    settle(shown)
    assert panel.chart.caption == f"{SITE}, \u03b5 = 0.5, inputs like {PROMPT!r}"
    assert panel.curves == kept, "the same input at the same site"
    shown.n = 64
    settle(shown)
    assert panel.curves == [], "from another number of samples"
    shown.n = 128
    settle(shown)
    assert panel.curves == kept
    panel.drawn = "bandwidths"
    shown.position = 2
    settle(shown)
    assert (panel.curves, panel.drawn) == ([], "rates")
    shown.position = -1
    settle(shown)
    assert panel.curves == kept
    panel.remove(JOHN.name)
    assert panel.curves == []
    panel.add(isn.Feature(JOHN.name, len))
    assert panel.curves == [], "another one of that name"


def test_the_time_left_is_that_of_all_bandwidths(shown, monkeypatch):
    """A phase of its own for each bandwidth would know no time left at all."""
    seen = []
    shown.panel.observe(lambda change: seen.append(change["new"]), names=["status"])

    def slowly(*args, on_progress, **kwargs):
        for done in range(3):
            on_progress(done, 4, f"inverting at bandwidth {done}")
            time.sleep(0.4)
        raise Cancelled

    monkeypatch.setattr("inversescope_nb.bandwidths.across_bandwidths", slowly)
    shown.panel.add(JOHN)
    with pytest.raises(Cancelled):
        shown.panel.across_bandwidths().wait(20)
    assert [status["remaining_s"] is not None for status in seen if status["done"] == 2] == [True]


def test_what_there_is_not_is_said(lm, generator):
    panel = ConsistencyPanel(isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=8))
    assert panel.bandwidths_label == ""
    with pytest.raises(InvalidArgument, match="cannot invert at other bandwidths"):
        panel.across_bandwidths()
    empty = ConsistencyPanel(across=lambda *_: pd.DataFrame())
    with pytest.raises(InvalidArgument, match="no hypothesis"):
        empty.across_bandwidths()
    assert ask(empty, "propose")["message"] == "nothing is inverted yet"
    assert empty.error["hint"] == "pick a token first"
    assert set(panel_jobs.BEHIND) == {"measure", "propose", "bandwidths"}


# -- copy as Python -----------------------------------------------------------------------------------


def test_the_code_gives_what_is_shown(lm, generator, prompts, tmp_path, quick):
    lm.model.save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    generator.save_pretrained(tmp_path / "kept")
    widget = InverseScopeWidget(
        str(tmp_path / "model"), generators=[tmp_path / "kept"], prompt=PROMPT, site=SITE, bandwidth=0.3, n=128,
        ask=lambda prompt: "",
    )  # fmt: skip
    widget.invert().wait(60)
    panel = widget.panel
    panel.propose().wait(30)
    ask(panel, "accept", name=panel.proposals["items"][0]["name"])
    for kind, value in (
        ("regex", r"the (\w+)"),
        ("contains", 'it\'s "so"\\n'),
        ("python", 'def last(x):\n    return x.split()[-1]  # \'quoted\' """twice""" and \\n'),
        ("python", "x.split()[1]"),
    ):
        assert ask(panel, "add", kind=kind, value=value)["kind"] == "result"
    assert ask(panel, "add", kind="token_at", position=-2)["kind"] == "result"
    panel.across_bandwidths().wait(120)
    panel.measure().wait(120)
    space: dict = {}
    exec(panel.code, space)
    assert space["ask"] is None, "a place for the language model, which no code can name"
    assert len(panel.rows) == 6
    assert [feature.name for feature in space["features"]] == [row["name"] for row in panel.rows]
    rates, across = space["rates"], space["across"]
    for column, key in (("fcr", "fcr"), ("fcr_low", "low"), ("fcr_high", "high"), ("chance_defined", "chance")):
        mine = numbers([row["here"] for row in panel.rows], key)
        assert mine == pytest.approx(rates[column].tolist(), abs=1e-5, nan_ok=True), column
    for column, key in (("fcr", "fcr"), ("fcr_low", "low"), ("fcr_high", "high"), ("chance", "chance")):
        assert numbers([row["across"] for row in panel.rows], key) == pytest.approx(
            across[column].tolist(), abs=1e-5, nan_ok=True
        ), column
    assert numbers(panel.curves, "fcr") == pytest.approx(space["curves"]["fcr"].tolist(), abs=1e-5, nan_ok=True)
    assert [p.sentence for p in space["proposals"]] == [item["sentence"] for item in panel.proposals["items"]]
    widget.close()


def test_a_feature_that_is_no_code_is_named_in_a_line(shown):
    shown.add_hypothesis(isn.Feature("mine", len))
    assert "    # put your own feature 'mine' here" in shown.panel.code
    compile(shown.panel.code, "<code>", "exec")
    shown.site = UNKNOWN_SITE
    settle(shown)
    assert shown.panel.code == ""


def test_code_of_a_search_reads_it(lm, prompts, monkeypatch):
    monkeypatch.setattr("inversescope_nb.widgets.backend.SEARCH_SECONDS", 0.5)
    widget = InverseScopeWidget(lm, prompt=PROMPT, site=UNKNOWN_SITE, prompts=prompts, n=8)
    ask(widget, "search")
    settle(widget, 60)
    widget.add_hypothesis(JOHN)
    assert "\ninv = found\n" in widget.panel.code
    assert (
        ask(widget.panel, "bandwidths")["message"]
        == f"{UNKNOWN_SITE} has no generator, so nothing can be inverted at other bandwidths"
    )
    compile(widget.panel.code, "<code>", "exec")
    widget.close()


def test_errors_of_python_name_what_is_at_hand():
    panel = ConsistencyPanel()
    with pytest.raises(InvalidArgument) as raised:
        isn.features.python("x +")
    assert AT_HAND in raised.value.hint
    assert issubclass(FeatureError, Exception)
    assert panel.rows == []


@pytest.mark.parametrize("code", ["exit()", "raise SystemExit", "def f(x):\n    raise SystemExit(3)"])
def test_code_that_exits_is_a_mistake_in_place_and_the_widget_goes_on(shown, code):
    answer = ask(shown.panel, "add", kind="python", value=code)
    assert answer["kind"] == "error"
    assert ask(shown.panel, "add", kind="contains", value="John")["kind"] == "result"
    shown.invert().wait(20)


def test_a_label_that_equals_only_itself_is_refused(shown):
    answer = ask(shown.panel, "add", kind="python", value='re.search("a", x)')
    assert "another label each time" in answer["message"]
    assert "is not None" in answer["hint"]
    assert shown.panel.rows == []


def test_a_hypothesis_that_is_added_while_another_input_comes_gets_its_rate_there(shown, monkeypatch):
    panel, first = shown.panel, shown.inversion
    shown.position = 2
    settle(shown)
    second = shown.inversion
    panel.show(first)
    real, seen = panel._row, []

    def late(feature):
        row = real(feature)
        if not seen:
            seen.append(row)
            panel.show(second)  # between the rate and the row
        return row

    monkeypatch.setattr(panel, "_row", late)
    panel.add(JOHN)
    monkeypatch.undo()
    (row,) = panel.rows
    assert row["here"]["fcr"] == isn.consistency_of(second, JOHN, permutations=0).to_frame()["fcr"][0]


def test_a_pattern_with_brackets_is_about_what_they_hold():
    text = InputText("a year in Rome")
    assert written("regex", "", r"in (\w+)", -1, {})(text) == "Rome"
    assert written("regex", "", r"in \w+", -1, {})(text) == "in Rome"
    assert written("regex", "", r"(\w+) in (\w+)", -1, {})(text) == ("year", "Rome")


def test_a_row_says_where_its_rate_could_be_misread(shown):
    panel = shown.panel
    inversion = shown.inversion
    other = next(str(text) for text in inversion.texts if str(text) != str(inversion.text))
    kept = [other, str(inversion.text)]
    some = isn.features.Feature("in some", lambda x: 1 if str(x) in kept else None)
    panel.add(some)
    panel.add(isn.features.Feature("anything", lambda x: True))
    here, sure = panel.rows
    assert 0 < here["here"]["defined"] < 1
    share = f"{1 - here['here']['defined']:.0%}"
    assert here["remark"].startswith(f"not defined for {share} of what its samples weigh; they count as not agreeing")
    assert here["here"]["fcr"] == pytest.approx(here["here"]["defined"]), "where it is defined they all agree"
    assert sure["remark"] == (
        "100% of P(X)'s inputs for which it is defined agree as well: there is little that could be held"
    )
