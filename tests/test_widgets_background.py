"""What runs behind: measurements and trainings while picks go on, samples weighed anew, an end that leaves nothing."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
import weakref

import pytest
from test_widgets import OTHER, PROMPT, SITE, _no_real_cache, ask, generator, prompts, request, scope, settle  # noqa: F401

import inversescope_nb as isn
from inversescope_nb.errors import Cancelled, InvalidArgument
from inversescope_nb.widgets import InverseScopeWidget

JOHN = isn.features.contains("John")


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


@pytest.fixture
def measuring(scope, monkeypatch):
    """A scope with a hypothesis, and a gate that holds measurements up once they run."""
    scope.bandwidth = 1.0
    scope.invert().wait(20)
    scope.add_hypothesis(JOHN)
    gate, running = threading.Event(), threading.Event()
    real = scope._backend.consistency

    def slowly(*args, job, **kwargs):
        running.set()
        while not gate.wait(0.02):
            if job.cancel.is_set():
                raise Cancelled
        return real(*args, job=job, **kwargs)

    monkeypatch.setattr(scope._backend, "consistency", slowly)
    yield scope, gate, running
    gate.set()


def test_a_pick_and_a_hypothesis_do_not_wait_for_a_measurement(measuring):
    scope, _gate, running = measuring
    job = scope.panel.measure()
    assert running.wait(10)
    scope.position = 3
    settle(scope)
    assert scope.inversion.position == 3
    assert ask(scope.panel, "add", kind="contains", value="Mary")["kind"] == "result"
    assert not job.finished
    assert scope.panel.status["running"]


def test_a_measurement_is_kept_whatever_is_picked_when_it_ends(measuring):
    scope, gate, running = measuring
    job = scope.panel.measure()
    assert running.wait(10)
    scope.position = 3
    settle(scope)
    gate.set()
    job.wait(60)
    assert scope.panel.rows[0]["across"] is None  # that of another pick
    (kept,) = scope.panel.measured
    assert kept["name"] == JOHN.name
    assert kept["where"] == f"{SITE}, \u03b5 = 1, inputs like {PROMPT!r} (any of gifts)"
    assert {"site": SITE, "bandwidth": 1.0, "input": PROMPT}.items() <= kept.items()
    assert 0 <= kept["low"] <= kept["fcr"] <= kept["high"] <= 1
    scope.position = -1
    settle(scope)
    assert scope.panel.rows[0]["across"]["fcr"] == kept["fcr"]  # back at its own


def test_a_measurement_that_waits_is_of_what_was_picked_when_it_was_asked_for(measuring):
    scope, gate, _running = measuring
    hold = threading.Event()
    scope.background.submit("something long", lambda job: hold.wait(20))
    job = scope.panel.measure()
    scope.position = 3
    settle(scope)
    gate.set()
    hold.set()
    job.wait(60)
    (kept,) = scope.panel.measured
    assert kept["where"].endswith(f"inputs like {PROMPT!r} (any of gifts)")
    assert scope.panel.rows[0]["across"] is None
    scope.position = -1
    settle(scope)
    assert scope.panel.rows[0]["across"]["fcr"] == kept["fcr"]


def test_a_measurement_is_not_shown_for_another_hypothesis_of_that_name(measuring):
    scope, gate, _running = measuring
    gate.set()
    scope.panel.measure().wait(60)
    assert scope.panel.rows[0]["across"] is not None
    scope.panel.remove(JOHN.name)
    scope.add_hypothesis(isn.Feature(JOHN.name, len))
    assert scope.panel.rows[0]["across"] is None
    assert len(scope.panel.measured) == 1


def test_stop_of_an_inversion_leaves_the_measurement_and_stop_of_all_does_not(measuring):
    scope, _gate, running = measuring
    job = scope.panel.measure()
    assert running.wait(10)
    ask(scope, "stop", scope.sent)
    assert not job.finished
    scope.stop()
    with pytest.raises(Cancelled):
        job.wait(5)
    assert scope.error is None
    assert scope.panel.error is None
    assert not scope.panel.status["running"]


def test_what_fails_behind_is_said_once(measuring, monkeypatch):
    scope, gate, _running = measuring
    seen = []
    scope.panel.on_error(seen.append)

    def broken(*args, **kwargs):
        raise InvalidArgument("no such thing", hint="try another")

    monkeypatch.setattr(scope._backend, "consistency", broken)
    answer = ask(scope.panel, "measure")
    assert answer["message"] == "no such thing"
    assert scope.panel.error["hint"] == "try another"
    assert len(seen) == 1
    ask(scope.panel, "dismiss")
    assert scope.panel.error is None
    gate.set()
    monkeypatch.undo()
    scope.panel.measure().wait(60)
    assert scope.panel.error is None


def test_an_error_goes_when_the_next_measurement_starts(measuring):
    scope, gate, _running = measuring
    scope.panel.fail(InvalidArgument("old"))
    gate.set()
    scope.panel.measure().wait(60)
    assert scope.panel.error is None


def test_another_bandwidth_weighs_the_samples_anew_before_new_ones_come(scope, monkeypatch):
    scope.bandwidth = 1.0
    scope.invert().wait(20)
    first, gate = scope.inversion, threading.Event()
    real = scope._backend.invert

    def later(*args, **kwargs):
        assert gate.wait(20)
        return real(*args, **kwargs)

    told = []
    scope.on_inversion(told.append)
    monkeypatch.setattr(scope._backend, "invert", later)
    scope.bandwidth = 0.5
    wait_for(lambda: scope.gallery.summary["bandwidth"] == 0.5)
    assert scope.gallery.summary["drawn_at"] == 1.0
    assert scope.inversion.samples == first.samples
    assert scope.gallery.summary["ess"] == pytest.approx(first.reweight(0.5).ess, rel=1e-6)
    assert scope.gallery.summary["bits_bound"] is not None
    assert scope.stale == ""
    assert told == []
    gate.set()
    settle(scope)
    assert scope.gallery.summary["drawn_at"] == 0.5
    assert told == [scope.inversion]


def test_another_token_is_not_shown_with_the_old_samples(scope, monkeypatch):
    scope.bandwidth = 1.0
    scope.invert().wait(20)
    revision = scope.gallery.revision
    monkeypatch.setattr(scope._backend, "invert", lambda *args, job, **kwargs: job.cancel.wait(20))
    scope.position = 2
    time.sleep(0.3)
    assert scope.gallery.revision == revision
    scope.stop()


def test_the_first_view_inverts_what_is_picked_and_later_ones_do_not(scope):
    ask(scope, "begin", scope.sent)
    settle(scope)
    first = scope.inversion
    assert first is not None
    del scope.sent[:]
    ask(scope, "begin", scope.sent)
    settle(scope)
    assert scope.inversion is first


def test_the_first_view_starts_no_training_and_no_search(lm, prompts):
    widget = InverseScopeWidget(lm, prompt=PROMPT, site=OTHER, prompts=prompts, n=8)
    assert ask(widget, "begin")["kind"] == "result"
    assert not widget.busy
    assert (widget.inversion, widget.offer) == (None, None)


def test_a_ping_is_answered_while_work_goes_on(measuring):
    scope, _, running = measuring
    scope.panel.measure()
    assert running.wait(10)
    for part in (scope, scope.picker, scope.gallery, scope.panel):
        assert ask(part, "ping")["value"] is True
    assert scope.panel.status["running"]


def test_a_request_that_comes_twice_is_done_once(scope):
    picker = scope.picker
    again = {"kind": "request", "id": request(picker, "pick", position=1), "method": "pick", "params": {"position": 1}}
    request(picker, "pick", position=2)
    picker._receive(picker, again, [])
    assert picker.position == 2
    settle(scope)


def test_a_request_can_be_cancelled_by_its_own_id(measuring):
    scope, _, running = measuring
    sent = []
    scope.panel.send = sent.append
    for number in (1, 2):
        content = {"kind": "request", "id": number, "method": ("ping", "measure")[number - 1], "params": {}}
        scope.panel._receive(scope.panel, content, [])
    assert running.wait(10)
    scope.panel._receive(scope.panel, {"kind": "cancel", "id": 1}, [])
    time.sleep(0.2)
    assert scope.panel.status["running"]
    scope.panel._receive(scope.panel, {"kind": "cancel", "id": 2}, [])
    wait_for(lambda: not scope.panel.status["running"])
    assert [message["type"] for message in sent if message["kind"] == "error"] == ["Cancelled"]


def test_closing_ends_the_threads_and_closes_the_parts(lm, generator, prompts):
    widget = InverseScopeWidget(lm, generators=[generator], prompt=PROMPT, site=SITE, n=8)
    widget.invert().wait(20)
    widget.background.submit("a", lambda job: None).wait(5)
    parts = (widget.picker, widget.gallery, widget.panel)
    threads = [worker._thread for worker in (widget.worker, widget.background)]
    widget.close()
    for thread in threads:
        if thread is not None:
            thread.join(5)
            assert not thread.is_alive()
    assert all(part.comm is None for part in (widget, *parts))


def test_a_part_that_is_closed_leaves_the_others_thread(scope):
    scope.gallery.close()
    scope.invert().wait(20)
    assert scope.inversion is not None


def test_old_inversions_and_results_are_let_go(scope):
    scope.bandwidth = 1.0
    job = scope.invert()
    job.wait(20)
    old = weakref.ref(scope.inversion)
    gone = weakref.ref(job)
    del job
    scope.position = 3
    settle(scope)
    wait_for(lambda: gc.collect() is not None and old() is None and gone() is None)


@pytest.mark.slow
def test_memory_of_jobs_is_given_back(scope):
    """What ten jobs leave of Python's and numpy's memory, beside what ten leave whose inversions are kept."""
    scope.n, scope.bandwidth = 512, 1.0
    kept = []

    def grown_by(jobs: int, keep: bool) -> int:
        before = tracemalloc.get_traced_memory()[0]
        for k in range(jobs):
            scope.position = 3 + k % 3
            scope.invert().wait(60)
            settle(scope)
            if keep:
                kept.append(scope.inversion)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        grown_by(6, keep=False)
        left = grown_by(9, keep=False)
        held = grown_by(9, keep=True)
    finally:
        tracemalloc.stop()
    assert held > 2_000_000
    assert left < held / 10


def test_of_many_picks_in_a_row_the_newest_is_inverted_and_those_between_are_not(scope, monkeypatch):
    settle(scope)
    real, began, gate = scope._backend.invert, [], threading.Event()

    def waiting(*args, position, job, **options):
        began.append(position)
        while not gate.wait(0.01):
            if job.cancel.is_set():
                raise Cancelled("stopped")
        return real(*args, position=position, job=job, **options)

    monkeypatch.setattr(scope._backend, "invert", waiting)
    scope.position = 1
    wait_for(lambda: began == [1])
    for position in (2, 3, 4, 5):
        scope.position = position
    wait_for(lambda: began[-1] == 5)
    gate.set()
    settle(scope)
    assert scope.inversion.position == 5
    assert began[0] == 1
    assert len(began) <= 3, "one that was stopped, at most one that was begun on the way, and the last"
