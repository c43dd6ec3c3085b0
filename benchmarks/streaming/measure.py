"""The epoch under its limit, its two floors, and the same bits from files and from memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.streaming.files import Shards, forget, paths, reading_seconds, write_shards
from benchmarks.streaming.limited import Group, memory_limit
from benchmarks.tables import table

Say = Callable[[str], None]
GIGABYTE = 1e9
FEW_ROWS = 1024


@dataclass(frozen=True)
class Measured:
    """Seconds of every round, and the memory that the limited group had.

    Attributes:
        shards: how large.
        limit: bytes that the training process may take, pages of files included.
        trained: one epoch from files, under the limit, from a cold cache.
        read: reading the bytes once, from a cold cache.
        multiplied: the kernel's epoch on the first shard in memory, times the number of shards.
        peak: most bytes of the limited group.
        resident: most bytes of the training process itself.
    """

    shards: Shards
    limit: float
    trained: tuple[float, ...]
    read: tuple[float, ...]
    multiplied: tuple[float, ...]
    peak: float
    resident: float

    @property
    def ratio(self) -> float:
        """Time of the epoch over the larger of its two floors, by medians."""
        return median(self.trained) / max(median(self.read), median(self.multiplied))

    def markdown(self) -> str:
        """What was measured, as a table."""
        shards = self.shards
        rows = [
            ("one epoch from files, 8 runs", _times(self.trained)),
            ("reading the bytes once", _times(self.read)),
            ("the kernel, from memory", _times(self.multiplied)),
            ("epoch / the larger of both", f"{self.ratio:.2f}"),
            ("limit on memory", f"{self.limit / GIGABYTE:.2f} GB"),
            ("its peak, pages of files included", f"{self.peak / GIGABYTE:.2f} GB"),
            ("peak of the process", f"{self.resident / GIGABYTE:.2f} GB"),
        ]
        about = (
            f"{shards.rows} × {shards.features} float16, {shards.bytes / GIGABYTE:.1f} GB in "
            f"{shards.count} files, {shards.classes} classes; n = {len(self.trained)}"
        )
        return f"{about}\n\n{table(['what', 'measured'], rows)}\n"


def measure(shards: Shards, folder: Path, limit: float, rounds: int, say: Say) -> Measured:
    """Write the shards, measure, and raise where the answers have other bits.

    Args:
        shards: how large.
        folder: an empty one, on the disk that is to be read.
        limit: bytes of memory for the training process.
        rounds: of all three measurements in turn, ≥ 1.
        say: told what is being done.

    Raises:
        OSError: where a control group cannot be made.
        ArithmeticError: where training from files gives other weights than from memory.
    """
    say(f"writing {shards.bytes / GIGABYTE:.1f} GB to {folder}")
    write_shards(shards, folder)
    rng = np.random.default_rng(1)
    few = rng.standard_normal((FEW_ROWS, shards.features), np.float32).astype(np.float16)
    np.save(folder / "few.npy", few)
    np.save(folder / "few-labels.npy", np.arange(FEW_ROWS) % shards.classes)
    _assert_same_bits(folder)
    trained, read, multiplied, peaks, resident = [], [], [], [], []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        forget(paths(folder))
        read.append(reading_seconds(paths(folder)))
        multiplied.append(_train(folder, "memory")["seconds"] * shards.count)
        forget(paths(folder))
        with memory_limit(int(limit)) as group:
            told = _train(folder, "files", group)
            peaks.append(group.peak_bytes())
        trained.append(told["seconds"])
        resident.append(told["peak"])
        say(f"  epoch {trained[-1]:.1f} s, reading {read[-1]:.1f} s, kernel {multiplied[-1]:.1f} s")
    return Measured(
        shards, limit, tuple(trained), tuple(read), tuple(multiplied), max(peaks), max(resident)
    )


def _assert_same_bits(folder: Path) -> None:
    for what in ("first", "memory"):
        _train(folder, what)
    one, other = (np.load(folder / f"weights-{what}.npy") for what in ("first", "memory"))
    if not np.array_equal(one, other):
        raise ArithmeticError("training from the file gave other weights than from memory")


def _train(folder: Path, what: str, group: Group | None = None) -> dict[str, Any]:
    """One epoch in a process of its own, in the group if there is one."""
    to = folder / f"weights-{what}.npy"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.streaming.worker", str(folder), what, str(to)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=group.enter if group else None,
    )
    if done.returncode:
        raise RuntimeError(f"the worker for {what} ended with {done.returncode}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _times(seconds: tuple[float, ...]) -> str:
    return f"{median(seconds):.1f} s ({min(seconds):.1f}–{max(seconds):.1f})"
