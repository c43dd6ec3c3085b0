"""What the machine can do: float32 matrix products by NumPy's BLAS, and copying of memory."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

SGEMM_SIDE = 4096
COPY_BYTES = 256 * 2**20
ASSUMED_CACHE_BYTES = 8 * 2**20


class Limits:
    """Holds the arrays of both measurements, so that repeating them costs their time only."""

    def __init__(self, threads: int, side: int = SGEMM_SIDE) -> None:
        rng = np.random.default_rng(0)
        self._A = rng.standard_normal((side, side), np.float32)
        self._B = rng.standard_normal((side, side), np.float32)
        self._C = np.empty((side, side), np.float32)
        self._from = np.ones(COPY_BYTES // 8)
        self._to = np.zeros(COPY_BYTES // 8)
        self._threads = threads

    def sgemm(self) -> float:
        """GFLOP/s of one 4096³ product, counted as 2·4096³ operations."""
        started = time.perf_counter()
        np.matmul(self._A, self._B, out=self._C)
        return 2 * len(self._A) ** 3 / (time.perf_counter() - started) / 1e9

    def copy(self) -> float:
        """GB/s of a 256 MiB copy by all threads; bytes read and bytes written both count."""
        parts = zip(
            np.array_split(self._to, self._threads),
            np.array_split(self._from, self._threads),
            strict=True,
        )
        jobs = [partial(np.copyto, to, source) for to, source in parts]
        with ThreadPoolExecutor(self._threads) as pool:
            started = time.perf_counter()
            for done in [pool.submit(job) for job in jobs]:
                done.result()
            return 2 * self._to.nbytes / (time.perf_counter() - started) / 1e9


def last_level_cache_bytes() -> int:
    """Size of the largest cache that Linux reports; 8 MiB where nothing is reported."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text(encoding="ascii").strip()
        unit = {"K": 2**10, "M": 2**20}.get(text[-1:], 1)
        sizes.append(int(text.rstrip("KM")) * unit)
    return max(sizes, default=ASSUMED_CACHE_BYTES)
