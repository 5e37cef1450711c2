"""The worker: newest of a kind wins, stops are prompt, progress and errors reach whoever asked."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from inversescope_nb.errors import Cancelled
from inversescope_nb.widgets.jobs import Job, Superseded, Worker, held


@pytest.fixture
def worker():
    worker = Worker("test")
    yield worker
    worker.stop()


def until_stopped(started: threading.Event):
    def work(job: Job) -> None:
        started.set()
        if job.cancel.wait(5):
            raise Cancelled
        raise AssertionError("was never stopped")

    return work


def test_jobs_run_off_the_calling_thread_and_give_their_result(worker):
    assert worker.submit("a", lambda job: threading.current_thread().name).wait(5) == "inversescope-test"


def test_an_error_reaches_wait_and_on_done(worker):
    seen = []
    job = worker.submit("a", lambda job: 1 / 0, on_done=seen.append)
    with pytest.raises(ZeroDivisionError):
        job.wait(5)
    assert worker.submit("b", lambda job: "still works").wait(5) == "still works"
    assert seen == [job]


@pytest.mark.parametrize("exit", [SystemExit, KeyboardInterrupt])
def test_work_that_exits_is_an_error_and_the_thread_goes_on(worker, exit):
    def work(_job):
        raise exit("enough")

    with pytest.raises(exit):
        worker.submit("typed", work).wait(5)
    assert worker.submit("next", lambda job: 7).wait(5) == 7
    assert not worker.busy


def test_stop_ends_a_running_job(worker):
    started = threading.Event()
    job = worker.submit("a", until_stopped(started))
    assert started.wait(5)
    assert worker.stop()
    with pytest.raises(Cancelled):
        job.wait(5)


def test_the_newest_job_of_a_kind_wins_and_other_kinds_wait_their_turn(worker):
    started = threading.Event()
    running = worker.submit("invert", until_stopped(started))
    assert started.wait(5)
    other = worker.submit("measure", lambda job: "other")
    waiting = worker.submit("invert", lambda job: "never")
    newest = worker.submit("invert", lambda job: "newest")
    assert newest.wait(5) == "newest"
    assert other.wait(5) == "other"
    for replaced in (running, waiting):
        with pytest.raises(Superseded):
            replaced.wait(5)


def test_progress_is_passed_on_seldom_but_always_at_the_end(worker):
    seen = []

    def work(job: Job) -> None:
        for i in range(1, 1001):
            job.report(i, 1000, "counting")

    worker.submit("a", work, on_progress=lambda job, progress: seen.append(progress)).wait(5)
    assert len(seen) < 50
    assert (seen[-1].done, seen[-1].total, seen[-1].message) == (1000, 1000, "counting")


def test_the_remaining_time_is_estimated_from_the_speed_so_far(worker):
    seen = []

    def work(job: Job) -> None:
        for i in range(5):
            job.report(i, 8, "working")
            time.sleep(0.12)

    worker.submit("a", work, on_progress=lambda job, progress: seen.append(progress.remaining_s)).wait(5)
    assert seen[0] is None
    assert 0.3 < seen[-1] < 1.5


def test_a_number_in_the_message_is_no_other_phase(worker):
    seen = []

    def work(job: Job) -> None:
        for i in range(1, 5):
            time.sleep(0.2)
            job.report(i, 5, f"loss {3 / i:.3f}")

    worker.submit("train", work, on_progress=lambda job, progress: seen.append(progress.remaining_s)).wait(5)
    assert seen[-1] is not None


def test_a_job_that_waits_for_the_model_can_be_stopped():
    lock, cancel = threading.Lock(), threading.Event()
    lock.acquire()
    cancel.set()
    with pytest.raises(Cancelled), held(lock, cancel):
        raise AssertionError("unreachable")


def test_the_thread_ends_when_idle_and_a_new_one_is_started(worker, monkeypatch):
    monkeypatch.setattr("inversescope_nb.widgets.jobs._IDLE_S", 0.05)
    first = worker.submit("a", lambda job: threading.current_thread()).wait(5)
    first.join(5)
    assert not first.is_alive()
    assert worker.submit("a", lambda job: threading.current_thread()).wait(5) is not first


_LEAVES = """
import time, torch
from inversescope_nb.widgets.jobs import Worker

def work(job):
    a = torch.randn(300, 300)
    while not job.cancel.is_set():
        for _ in range(20):
            a = torch.tanh(a @ a)
    print("stopped", flush=True)

worker = Worker("test")
worker.submit("a", work)
waiting = worker.submit("b", lambda job: print("never"))
time.sleep(0.5)
print("leaving", flush=True)
"""


def test_the_interpreter_ends_while_a_job_computes():
    started = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", _LEAVES], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "leaving\nstopped\n", "")
    assert time.monotonic() - started < 60


def test_a_job_that_does_not_look_at_cancel_holds_the_exit_up_for_a_while_only():
    code = _LEAVES.replace("not job.cancel.is_set()", "True").replace(
        "worker = Worker", "import inversescope_nb.widgets.jobs as jobs; jobs._EXIT_S = 0.2; worker = Worker"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.stdout == "leaving\n"  # how such a thread ends is Python's business; it does end
