"""One epoch over rows larger than the memory allowed, beside its two floors.

12 GB of embeddings in shards on disk, one epoch of 8 runs in a process that may take 1.5 GB, pages
of files included; beside reading the bytes once, and the kernel's epoch from memory. It takes root
(for the control group), Linux, and the disk of --folder.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.page import SECONDS, Columns, measure_table
from benchmarks.harness.problem import Problem, Setting
from benchmarks.harness.processes import ask_once, timed
from benchmarks.harness.record import DISAGREES, ONELAYER, Measure, Part
from benchmarks.harness.rounds import Entrant, Sample, Session, Suite, time_in_turn
from benchmarks.peers import ours
from onelayer import load
from onelayer.data.rows import rows_of
from onelayer.data.scaling import fit_scaling
from onelayer.engines import make_engine, streaming

SHARDS = Problem("epoch", 1_500_000, 4096, 32, 512, 1, "float16",
                 settings=tuple(Setting(rate, 1e-4)
                                for rate in np.geomspace(1e-4, 1e-2, 8).tolist()))  # fmt: skip
COUNT, FEW_ROWS = 10, 1024  # of the files; of the rows for validation
BLOCK_ROWS, READ_BYTES = 8192, 16 << 20
GIGABYTE = 1e9


def write_shards(shards: Problem, folder: Path, count: int = COUNT) -> None:
    """Write X-NN.npy, y.npy, the first shard's labels y-first.npy, and a few rows for validation.

    Rows of noise around class means; every block is the same noise with its rows in another order,
    since drawing as many numbers would take longer than all else.
    """
    rng = np.random.default_rng(0)
    means = rng.standard_normal((shards.classes, shards.features), np.float32)
    noise = rng.standard_normal((BLOCK_ROWS, shards.features), np.float32)
    y, size = rng.integers(0, shards.classes, shards.rows), shards.rows // count
    np.save(folder / "y.npy", y)
    np.save(folder / "y-first.npy", y[:size])
    for number in range(count):
        path = folder / f"X-{number:02}.npy"
        X = np.lib.format.open_memmap(path, "w+", np.float16, (size, shards.features))
        for start in range(0, size, BLOCK_ROWS):
            part = X[start : start + BLOCK_ROWS]
            labels = y[number * size + start :][: len(part)]
            part[:] = 0.2 * means[labels] + noise[rng.permutation(BLOCK_ROWS)[: len(part)]]
        X.flush()
        forget([path])
    few = np.random.default_rng(1).standard_normal((FEW_ROWS, shards.features), np.float32)
    np.save(folder / "few.npy", few.astype(np.float16))
    np.save(folder / "few-labels.npy", np.arange(FEW_ROWS) % shards.classes)


def shard_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("X-*.npy"))


def forget(files: Iterable[Path]) -> None:
    """Write back what the cache holds of these files, and drop it: reading starts cold."""
    for file in files:
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def reading_seconds(files: Iterable[Path]) -> float:
    """Wall time of reading all bytes once, one after the other, into one buffer."""
    buffer = bytearray(READ_BYTES)
    started = time.perf_counter()
    for file in files:
        with file.open("rb", buffering=0) as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while stream.readinto(buffer):
                pass
    return time.perf_counter() - started


@contextmanager
def memory_limit(max_bytes: int) -> Iterator[tuple[Callable[[], object], Callable[[], int]]]:
    """A control group whose processes have this much memory, pages of files included.

    Yields what a child calls to enter the group before it starts its program, and the group's peak;
    OSError where no group can be made.
    """
    own = Path("/proc/self/cgroup").read_text("ascii").partition("::")[2].strip()
    group = Path("/sys/fs/cgroup") / own.lstrip("/") / "onelayer-benchmark"
    group.mkdir()
    try:
        (group / "memory.max").write_text(str(max_bytes), "ascii")
        yield (
            lambda: (group / "cgroup.procs").write_text(str(os.getpid()), "ascii"),
            lambda: int((group / "memory.peak").read_text("ascii")),
        )
    finally:
        group.rmdir()


class Desk:
    """Trains for one epoch of 8 runs: all shards from their files, or the first one from either."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def train(self, what: str) -> dict[str, Any]:
        """Seconds of the epoch alone, the process's peak memory, and the weights."""
        every, folder = what == "files", self._folder
        X, y = ("X-*.npy", "y.npy") if every else ("X-00.npy", "y-first.npy")
        # Small parts of their own, so that none is cut off the rows that are trained on.
        few, labels = folder / "few.npy", folder / "few-labels.npy"
        splits = load(
            str(folder / X), labels=folder / y, validation=few, validation_labels=labels,
            test=few, test_labels=labels, stream=what != "memory", progress=False,
        )  # fmt: skip
        rows = rows_of(splits.train, fit_scaling("none", splits.train.X, splits.train.max_value))
        engine = streaming(make_engine())
        trainer = ours.begin(SHARDS, engine)
        answer, figures = timed(lambda: ours.train(SHARDS, rows, engine, trainer))
        return {**figures, "W": answer.W}


def measure(session: Session) -> Part:
    """Write the shards, compare the weights from file and from memory, and time all three."""
    options = session.options
    shards, limit = replace(SHARDS, rows=options.rows), int(options.limit * GIGABYTE)
    size = f"{shards.x_bytes / GIGABYTE:.1f} GB"
    about = (f"{shards.rows} × {shards.features} float16, {size} in {COUNT} files, "
             f"{shards.classes} classes; limit on memory {options.limit:g} GB")  # fmt: skip
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        session.log(f"writing {size} to {folder}")
        write_shards(shards, folder)

        def train(what: str, enter: Callable[[], object] | None = None) -> dict[str, Any]:
            how: Any = {"conditions": session.conditions, "enter": enter}
            told: dict[str, Any] = ask_once("train", Desk, [folder], {"what": what}, **how)
            return told

        def read() -> Sample:
            forget(shard_paths(folder))
            return Sample(reading_seconds(shard_paths(folder)))

        def multiply() -> Sample:
            return Sample(train("memory")["seconds"] * COUNT)

        def epoch() -> Sample:
            forget(shard_paths(folder))
            with memory_limit(limit) as (enter, peak_bytes):
                told = train("files", enter)
                series = {"group": (peak_bytes(),), "process": (told["peak_bytes"],)}
            return Sample(told["seconds"], series=series)

        alike = np.array_equal(train("first")["W"], train("memory")["W"])
        refused = "" if alike else f"{DISAGREES}: the file gives other weights than memory"
        streamed = Measure("epoch", ONELAYER, "one epoch from files, 8 runs", refused=refused)
        entrants = [
            Entrant(Measure("epoch", "read", "reading the bytes once"), read),
            Entrant(Measure("epoch", "memory", "the kernel, from memory"), multiply),
            Entrant(streamed, epoch),
        ]
        found = time_in_turn(entrants, options.rounds, session.log)
    return session.part(about=about).with_(found)


def _peak(series: str, found: Measure) -> str:
    return f"{max(found.series[series]) / GIGABYTE:.2f}" if series in found.series else ""


def render(part: Part, _: Path) -> list[str]:
    floors = [m.median or 0.0 for m in part.measures if m.who != ONELAYER]
    floor = max(floors) or float("nan")
    columns: Columns = {
        "what": lambda m: m.label,
        **SECONDS,
        "/ the larger floor": lambda m: f"{(m.median or 0.0) / floor:.2f}",
        "peak, pages of files included, GB": partial(_peak, "group"),
        "peak of the process, GB": partial(_peak, "process"),
    }
    about = part.facts["about"]
    return ["## Rows larger than memory", about, measure_table(columns, part.measures)]


OPTIONS: dict[str, dict[str, Any]] = {
    "--rows": {"type": int, "default": SHARDS.rows, "help": f"default {SHARDS.rows}"},
    "--limit": {"type": float, "default": 1.5, "help": "of memory, GB; default 1.5"},
    "--rounds": {"type": int, "default": 3, "help": "default 3"},
    "--folder": {"type": Path, "help": "where to write; default the temporary one"},
}
SUITE = Suite("streaming", "an epoch over 12 GB of rows with 1.5 GB of memory (root, Linux)",
              measure, render, in_whole=False, options=OPTIONS)  # fmt: skip
