"""The thread that reads ahead: how far, in which order, and that it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from onelayer.data.streaming import iter_tiles

from .counted_rows import CountedRows, readers

X = np.arange(40.0).reshape(20, 2)


def test_the_next_rows_are_read_while_these_are_worked_on() -> None:
    rows = CountedRows(X)
    tiles = iter_tiles(rows, most=5)
    next(tiles)
    for _ in range(2):  # without asking for more, the second tile is read as well
        assert rows.begun.acquire(timeout=10)
    assert not rows.begun.acquire(timeout=0.2)  # and the third is not: both buffers are filled
    assert rows.reads == [(0, 5), (5, 10)]


def test_rows_are_not_overwritten_while_they_are_worked_on() -> None:
    for tile, held in iter_tiles(CountedRows(X), most=3):
        threading.Event().wait(0.01)
        np.testing.assert_array_equal(held, X[tile.start : tile.stop])


def test_the_thread_ends_with_the_walk() -> None:
    rows = CountedRows(X)
    for _ in iter_tiles(rows, most=5):
        pass
    assert not readers()
    assert rows.closed == 1


def test_the_thread_ends_where_the_loop_is_left() -> None:
    rows = CountedRows(X)
    for _ in iter_tiles(rows, most=5):
        break
    assert not readers()

    def stumble() -> None:
        for _ in iter_tiles(rows, most=5):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stumble()
    assert not readers()
    assert rows.closed == 2


def test_what_fails_in_the_thread_fails_here_after_what_was_read() -> None:
    rows = CountedRows(X)
    rows.fails_at = 7
    seen = []

    def see() -> None:
        for tile, _ in iter_tiles(rows, most=5):
            seen.append(tile.start)

    with pytest.raises(ValueError, match="row 7 is bad"):
        see()
    assert seen == [0]
    assert not readers()
    assert rows.closed == 1


SLOW = """
import sys, time, numpy as np
sys.path.insert(0, ".")
from tests.data.streaming.counted_rows import CountedRows, readers
from onelayer.data.streaming import iter_tiles
rows = CountedRows(np.zeros((8, 2)))
read = rows._read
def late(start, into):
    time.sleep(0.3)
    read(start, into)
rows._read = late
"""


def test_ctrl_c_ends_a_wait_for_rows() -> None:
    code = (
        SLOW
        + """
import os, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    for _ in iter_tiles(rows, most=1): pass
except KeyboardInterrupt:
    print("ended", len(rows.reads) < 4, readers())
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "ended True []", done.stderr


def test_a_fork_in_the_middle_of_a_walk_leaves_both_sides_able_to_read() -> None:
    rows = CountedRows(X)
    tiles = iter_tiles(rows, most=5)
    next(tiles)
    child = os.fork()
    if not child:
        signal.alarm(20)
        same = all((held == X[s.start : s.stop]).all() for s, held in iter_tiles(rows, most=4))
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert sum(len(held) for _, held in tiles) == 15
