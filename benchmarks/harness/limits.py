"""What the machine can do (sgemm, copying memory), what a process took, and a limit on memory."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

SGEMM_SIDE = 4096
COPY_BYTES = 256 * 2**20
ASSUMED_CACHE_BYTES = 8 * 2**20
# Set to time by the processor's seconds of the process: what load of the machine hardly changes.
CLOCK_VARIABLE = "ONELAYER_BENCHMARK_PROCESSOR_TIME"
CGROUPS, GROUP_NAME = Path("/sys/fs/cgroup"), "onelayer-benchmark"


def clock() -> float:
    """Seconds by the clock that this process measures with: the wall's, or the processor's."""
    return time.process_time() if os.environ.get(CLOCK_VARIABLE) else time.perf_counter()


class Limits:
    """Holds the arrays of both measurements, so that repeating them costs their time only."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._matrices: dict[int, tuple[np.ndarray, ...]] = {}
        self._from, self._to = np.ones(0), np.ones(0)

    def sgemm(self, side: int = SGEMM_SIDE) -> float:
        """GFLOP/s of one square float32 product, counted as 2·side³ operations."""
        if side not in self._matrices:
            rng = np.random.default_rng(0)
            factors = (rng.standard_normal((side, side), np.float32) for _ in range(2))
            self._matrices[side] = (*factors, np.empty((side, side), np.float32))
            self.sgemm(side)  # starts the threads and touches the pages
        A, B, C = self._matrices[side]
        started = clock()
        np.matmul(A, B, out=C)
        return 2 * side**3 / (clock() - started) / 1e9

    def copy(self) -> float:
        """GB/s of a 256 MiB copy by all threads; bytes read and bytes written both count."""
        if not len(self._to):
            self._from, self._to = np.ones(COPY_BYTES // 8), np.zeros(COPY_BYTES // 8)
            self.copy()
        parts = (np.array_split(array, self._threads) for array in (self._to, self._from))
        jobs = [partial(np.copyto, to, source) for to, source in zip(*parts, strict=True)]
        with ThreadPoolExecutor(self._threads) as pool:
            started = clock()
            for done in [pool.submit(job) for job in jobs]:
                done.result()
            return 2 * self._to.nbytes / (clock() - started) / 1e9


def last_level_cache_bytes() -> int:
    """Size of the largest cache that Linux reports; 8 MiB where nothing is reported."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text(encoding="ascii").strip()
        unit = {"K": 2**10, "M": 2**20}.get(text[-1:], 1)
        sizes.append(int(text.rstrip("KM")) * unit)
    return max(sizes, default=ASSUMED_CACHE_BYTES)


def forget_peak() -> None:
    """Restart the peak from what is resident now (Linux); elsewhere the old peak stays."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """Largest resident set since `forget_peak`, or of the whole life where Linux is not there."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return rusage_bytes(resource.RUSAGE_SELF)


def rusage_bytes(who: int) -> int:
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@dataclass(frozen=True)
class Group:
    """A control group with a limit on the memory of its processes, pages of files included."""

    folder: Path
    peak_name: str

    def enter(self) -> None:
        """Put the calling process into the group; for the child, before it starts its program."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()), "ascii")

    def peak_bytes(self) -> int:
        """The most memory that the group had at one time."""
        return int((self.folder / self.peak_name).read_text("ascii"))


@contextmanager
def memory_limit(max_bytes: int) -> Iterator[Group]:
    """A group below this process's own that is removed after the block.

    Raises:
        OSError: no such group can be made here: it takes root and Linux's control groups.
    """
    parent, limit, peak = _own_group()
    folder = parent / GROUP_NAME
    folder.mkdir()
    try:
        (folder / limit).write_text(str(max_bytes), "ascii")
        yield Group(folder, peak)
    finally:
        folder.rmdir()


def _own_group() -> tuple[Path, str, str]:
    """This process's folder, and the names of the limit and of the peak, in version 1 or 2."""
    for line in Path("/proc/self/cgroup").read_text("ascii").splitlines():
        _, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            folder = CGROUPS / "memory" / group.lstrip("/")
            return folder, "memory.limit_in_bytes", "memory.max_usage_in_bytes"
    return CGROUPS / group.lstrip("/"), "memory.max", "memory.peak"
