"""`make fuzz` itself: a fault is that of its case, and every kind of fault is seen."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from onelayer.errors import DataError
from tests.fuzz import campaign as campaigns
from tests.fuzz import worker
from tests.fuzz.campaign import campaign, lines_of
from tests.fuzz.damage import in_value
from tests.fuzz.formats import FORMATS, Format

# A worker that dies at one case and says nothing at another.
FAULTY = """
import os, sys, time
for line in sys.stdin:
    number = int(line.split()[-1])
    print("begin", flush=True)
    if number == 3: os.abort()
    if number == 5: time.sleep(60)
    print("refused" if number % 2 else "read", flush=True)
"""


def test_a_crash_and_a_hang_are_those_of_the_case_that_was_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(campaigns, "PATIENCE", 1.0)
    said: list[str] = []
    script = (sys.executable, "-c", FAULTY)
    tallies = campaign(["npy"], 9, children=1, worker=script, say=said.append)
    tally = tallies["npy"]
    assert (tally.cases, tally.read, tally.refused, tally.wrong) == (9, 5, 2, 2)
    assert tally.faults == {"crashes: SIGABRT": [3], "hangs: no answer within 1 s": [5]}
    assert said == ["npy 3: crashes: SIGABRT", "npy 5: hangs: no answer within 1 s"]
    shown = "\n".join(lines_of(tallies, seed=7))
    assert "python -m tests.fuzz --seed 7 --case npy:3" in shown


class TwoLinesError(DataError):
    """What onelayer's own errors are not, whatever they are given."""

    def __str__(self) -> str:
        return "two\nlines"


def raising(error: BaseException) -> Callable[[Path, Random], None]:
    def read(folder: Path, rng: Random) -> None:
        raise error

    return read


def escaping(folder: Path, rng: Random) -> None:
    (folder.parent / "escaped").write_text("")


def running(folder: Path, rng: Random) -> None:
    worker.watch("os.system", ("echo",))


def printing(folder: Path, rng: Random) -> None:
    print("one\ntwo", file=sys.stderr)


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (lambda folder, rng: None, "read"),
        (raising(DataError("one sentence.")), "refused"),
        (raising(TwoLinesError()), "several lines"),
        (raising(ValueError("raw")), "ValueError in ?: 'raw'"),
        (raising(MemoryError()), "MemoryError"),
        (escaping, "wrote outside of its folder: ['escaped', 'inside']"),
        (running, "ran code: os.system"),
    ],
)
def test_every_kind_of_fault_is_seen(
    read: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "npy", Format(FORMATS["npy"].write, read))
    assert worker.answer("npy", 0, 0, tmp_path).startswith(told)


@pytest.mark.parametrize("name", FORMATS)
def test_a_case_is_the_same_files_each_time_and_another_one_is_not(
    name: str, tmp_path: Path
) -> None:
    def files(number: int, folder: Path) -> dict[str, bytes]:
        folder.mkdir()
        FORMATS[name].write(folder, Random(f"0 {name} {number}"))
        return {
            str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
        }

    first, again = files(1, tmp_path / "a"), files(1, tmp_path / "b")
    assert first == again
    assert any(files(i, tmp_path / f"{i}") != first for i in range(2, 6))


def test_damage_of_a_value_leaves_the_document_it_came_from() -> None:
    document = {"a": [1, {"b": 2}], "c": "x"}
    changed = [in_value(document, Random(i)) for i in range(50)]
    assert document == {"a": [1, {"b": 2}], "c": "x"}
    assert sum(one != document for one in changed) > 45


def test_a_case_leaves_the_limits_of_its_process(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    worker.answer("npy", 0, 0, tmp_path)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
