"""Progress: in a log file a line now and then, with the time that is left; in a notebook a bar."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest

import onelayer
from onelayer import Run
from onelayer.data import Splits, progress
from onelayer.data.progress import ProgressLines, counting


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_line_is_printed_for_every_tenth_with_the_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ProgressLines("training", "epochs")
    for done in range(1, 201):
        clock[0] += 6.0
        lines.show(done, 200)
    printed = lines_of(capsys)
    assert len(printed) == 10
    assert printed[0] == "training: 20 of 200 epochs, 0:02:00, ETA 0:18:00"
    assert printed[-1] == "training: 200 of 200 epochs, 0:20:00, ETA 0:00:00"


def test_lines_are_seconds_apart_and_short_work_has_none(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ProgressLines("training", "epochs")
    for done in range(1, 101):
        clock[0] += 0.15
        lines.show(done, 100)
    assert [line.split(",")[1].strip() for line in lines_of(capsys)] == ["0:00:05", "0:00:10"]
    short = ProgressLines("training", "epochs")
    short.show(4, 4)
    assert lines_of(capsys) == []


def test_the_time_left_of_resumed_work_is_that_of_the_rest(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ProgressLines("training", "epochs")
    lines.show(900, 1000)
    for done in (920, 1000):
        clock[0] += 60.0
        lines.show(done, 1000)
    assert lines_of(capsys)[0].endswith("1000 of 1000 epochs, 0:02:00, ETA 0:00:00")
    lines = ProgressLines("training", "epochs")
    lines.show(400, 1000)
    clock[0] += 60.0
    lines.show(500, 1000)
    assert lines_of(capsys) == ["training: 500 of 1000 epochs, 0:01:00, ETA 0:05:00"]


def test_files_that_are_read_are_counted_in_a_log(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with counting("reading photos", 20, show=True) as step:
        for _ in range(20):
            clock[0] += 3.0
            step()
    assert lines_of(capsys)[0] == "reading photos: 2 of 20 files, 0:00:06, ETA 0:00:54"
    with counting("reading photos", 20, show=False) as step:
        clock[0] += 60.0
        step()
    assert not any(lines_of(capsys))  # some versions of rich leave an empty line


class Shell:
    """What IPython is to the bar: a kernel, and a display whose content is replaced."""

    kernel = object()

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[str] = []
        ipython = SimpleNamespace(get_ipython=lambda: self, display=self, __path__=[])
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.setitem(sys.modules, "IPython.display", self)
        monkeypatch.setattr(progress, "NOTEBOOK_SECONDS", 0.0)

    def HTML(self, text: str) -> str:  # noqa: N802
        return text

    def display(self, text: str, display_id: bool) -> Shell:
        assert display_id
        return self

    def update(self, text: str) -> None:
        self.shown.append(text)


@pytest.mark.parametrize("begin", ["train", "sweep", "solve_path"])
def test_a_notebook_shows_a_bar_by_itself_and_clears_it_at_the_end(
    begin: str, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = Shell(monkeypatch)
    if begin == "train":
        onelayer.train(splits, Run(learning_rate=0.1, epochs=3))
    elif begin == "sweep":
        onelayer.sweep(splits, learning_rate=0.1, epochs=3)
    else:
        onelayer.solve_path(splits, l2=[0.1, 0.2, 0.3], folds=0)
    assert "1 of 3" in shell.shown[0]
    assert shell.shown[-1] == ""


def test_without_a_notebook_there_is_no_bar() -> None:
    assert progress.notebook_bar("training") is None
