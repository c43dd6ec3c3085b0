"""A large file is mapped: loading it copies no row where nothing has to be moved."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from onelayer import Run, solve, split, train
from onelayer.data import load
from onelayer.errors import DataError

from .file_writers import Array, lists, write_arrow, write_safetensors

ROWS, FEATURES = 4000, 1024  # 16 MB


def _npy(path: Path, X: Array, y: Array) -> Path:
    np.save(path.with_suffix(".npy"), X)
    np.save(path.parent / "y.npy", y)
    return path.with_suffix(".npy")


def _npz(path: Path, X: Array, y: Array) -> Path:
    np.savez(path.with_suffix(".npz"), X=X, y=y)
    return path.with_suffix(".npz")


def _arrow(path: Path, X: Array, y: Array) -> Path:
    return write_arrow(path, lists(X, y))


@pytest.mark.parametrize("write", [_npy, _npz, write_safetensors, _arrow])
def test_a_mapped_file_is_not_copied(
    write: Callable[[Path, Array, Array], Path], tmp_path: Path
) -> None:
    X = np.ones((ROWS, FEATURES), np.float32)
    y = np.arange(ROWS) % 2
    whole = write(tmp_path / "a", X, y)
    count = ROWS if write is _npy else 100  # .npy files share one file of labels
    parts = [write(tmp_path / name, X[:count], y[:count]) for name in ("v", "t")]
    labels = tmp_path / "y.npy" if write is _npy else None
    load(whole, labels=labels)  # what is imported on first use is not counted
    arrow_before = pa.total_allocated_bytes()
    tracemalloc.start()
    splits = load(
        whole,
        labels=labels,
        validation=parts[0],
        validation_labels=labels,
        test=parts[1],
        test_labels=labels,
        log=lambda line: None,
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak + pa.total_allocated_bytes() - arrow_before < X.nbytes / 4
    assert is_mapped(splits.train.X)


SHORTER = """
import os, sys
from onelayer.data import load
rows = load(sys.argv[1], validation=sys.argv[2], test=sys.argv[3], log=lambda line: None)
os.truncate(sys.argv[1], 8192)
rows.train.X.sum()
"""


@pytest.mark.slow
def test_a_file_that_becomes_shorter_before_any_training_ends_the_process_with_one_line(
    tmp_path: Path,
) -> None:
    y = np.arange(ROWS) % 2
    paths = [_arrow(tmp_path / name, np.ones((ROWS, 64), np.float32), y) for name in "abc"]
    words = [sys.executable, "-c", SHORTER, *map(str, paths)]
    done = subprocess.run(words, text=True, capture_output=True, check=False)
    assert done.returncode == -signal.SIGBUS
    assert done.stderr.startswith("error: a file that was being read became shorter")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("features", [50, 5000], ids=["many rows", "many features"])
def test_a_last_page_that_reads_as_zeros_is_not_taken_for_rows(
    features: int, tmp_path: Path
) -> None:
    X, y = np.ones((300, features)) + np.arange(300)[:, None], np.arange(300) % 2
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", X)
    a, b, c = (tmp_path / f"{name}.npy" for name in "abc")
    others: dict[str, Any] = {"validation": b, "validation_labels": y, "test": c, "test_labels": y}
    rows = load(a, labels=y, **others, log=lambda line: None)
    model = train(rows, Run(learning_rate=0.1, epochs=1)).best
    os.truncate(a, a.stat().st_size - 16)
    calls: list[Callable[[], object]] = [
        lambda: train(rows, Run(learning_rate=0.1, epochs=1)),
        lambda: solve(rows, 1.0),
        lambda: model.predict(rows.train.X),
        lambda: split(rows.train.X, y),
    ]
    for call in calls:
        with pytest.raises(DataError, match=r"a\.npy became shorter while it was read"):
            call()
    other = replace(rows, train=rows.validation)
    assert solve(other, 1.0).status == "optimal"


def is_mapped(X: Array) -> bool:
    """Whether an array's memory is a file's: its base is a map, or pyarrow's of one."""
    base: object = X
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return isinstance(base, mmap.mmap | pa.Array)


RESIDENT = """
import re, sys
from onelayer.data import load

def resident(what):
    return int(re.search(what + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10

load(sys.argv[1])  # what is imported on first use is not counted
open("/proc/self/clear_refs", "w").write("5")
before = resident("VmRSS")
splits = load(sys.argv[2])
print(resident("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak")
@pytest.mark.parametrize("write", [_npz, write_safetensors])
def test_shares_of_a_mapped_file_take_its_size_once_with_all_that_is_resident(
    write: Callable[[Path, Array, Array], Path], tmp_path: Path
) -> None:
    few = write(tmp_path / "few", np.ones((10, 4), np.float32), np.arange(10) % 2)
    X = np.ones((16 * ROWS, FEATURES), np.float32)  # 256 MB
    whole = write(tmp_path / "whole", X, np.arange(len(X)) % 2)
    messages = subprocess.run(
        [sys.executable, "-c", RESIDENT, few, whole], capture_output=True, text=True, check=True
    )
    assert int(messages.stdout) < 1.3 * X.nbytes


def test_a_share_copies_the_rows_of_a_file_once(tmp_path: Path) -> None:
    X = np.ones((ROWS, FEATURES), np.float32)
    path = _npz(tmp_path / "a", X, np.arange(ROWS) % 2)
    load(path)  # what is imported on first use is not counted
    tracemalloc.start()
    load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * X.nbytes
