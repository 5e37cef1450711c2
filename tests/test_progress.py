"""Bars: for slow work that nobody else listens to, one for each stretch of it."""

from __future__ import annotations

from inversescope_nb import _progress
from inversescope_nb._progress import reported


def work(report, stretches=((3, "first"), (5, "second"))) -> None:
    for total, message in stretches:
        for done in range(total):
            report(done + 1, total, message)


def test_quick_work_shows_nothing(capfd) -> None:
    with reported(None, True, "inverting") as report:
        work(report)
    assert capfd.readouterr().err == ""


def test_slow_work_shows_every_stretch(capfd, monkeypatch) -> None:
    monkeypatch.setattr(_progress, "DELAY", -1.0)
    with reported(None, True, "inverting") as report:
        work(report)
    shown = capfd.readouterr().err
    assert "inverting" in shown
    assert "3/3" in shown or "/3" in shown
    assert "/5" in shown


def test_who_listens_gets_all_and_no_bar_is_shown(capfd, monkeypatch) -> None:
    monkeypatch.setattr(_progress, "DELAY", -1.0)
    heard = []
    with reported(lambda *what: heard.append(what), True, "inverting") as report:
        work(report)
    assert heard[0] == (1, 3, "first")
    assert len(heard) == 8
    with reported(None, False, "inverting") as report:
        assert report is None
    assert capfd.readouterr().err == ""


def test_of_several_processes_only_the_first_shows_a_bar(capfd, monkeypatch) -> None:
    monkeypatch.setattr(_progress, "DELAY", -1.0)
    monkeypatch.setenv("RANK", "1")
    with reported(None, True, "training") as report:
        assert report is None
    monkeypatch.setenv("RANK", "0")
    with reported(None, True, "training") as report:
        work(report)
    assert "training" in capfd.readouterr().err
