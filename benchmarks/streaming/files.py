"""Shards of embeddings on disk, and reading their bytes once from a cold cache."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BLOCK_ROWS = 8192
READ_BYTES = 16 << 20


@dataclass(frozen=True)
class Shards:
    """How large: N rows in so many files of .npy, D features of float16, K classes."""

    rows: int = 1_500_000
    features: int = 4096
    classes: int = 32
    count: int = 10

    @property
    def shard_rows(self) -> int:
        """Rows of each file."""
        return self.rows // self.count

    @property
    def bytes(self) -> int:
        """Of all features."""
        return 2 * self.rows * self.features


def write_shards(shards: Shards, folder: Path) -> None:
    """Write X-NN.npy, y.npy, and the labels of the first shard alone, y-first.npy.

    Rows of noise around class means; every block is the same noise with its rows in another order,
    since drawing as many numbers would take longer than all else.
    """
    rng = np.random.default_rng(0)
    means = rng.standard_normal((shards.classes, shards.features), np.float32)
    noise = rng.standard_normal((BLOCK_ROWS, shards.features), np.float32)
    y = rng.integers(0, shards.classes, shards.rows)
    np.save(folder / "y.npy", y)
    np.save(folder / "y-first.npy", y[: shards.shard_rows])
    for number in range(shards.count):
        shard = np.lib.format.open_memmap(
            folder / f"X-{number:02}.npy", "w+", np.float16, (shards.shard_rows, shards.features)
        )
        for start in range(0, shards.shard_rows, BLOCK_ROWS):
            part = shard[start : start + BLOCK_ROWS]
            labels = y[number * shards.shard_rows + start :][: len(part)]
            part[:] = 0.2 * means[labels] + noise[rng.permutation(BLOCK_ROWS)[: len(part)]]
        shard.flush()
        forget([folder / f"X-{number:02}.npy"])


def paths(folder: Path) -> list[Path]:
    """The shards of features, in order."""
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
