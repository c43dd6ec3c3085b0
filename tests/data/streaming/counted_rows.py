"""Rows that count what is read of them, in place of files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.streaming import Read, StoredRows


class CountedRows(StoredRows):
    """Rows of an array; every read is noted, and so is each reader that was closed."""

    def __init__(self, X: NDArray[Any], blocks: NDArray[np.int64] | None = None) -> None:
        ends = np.array([0, len(X)]) if blocks is None else blocks
        super().__init__((X.shape[0], X.shape[1]), X.dtype, ends, "made")
        self.X = X
        self.reads: list[tuple[int, int]] = []
        self.begun = threading.Semaphore(0)
        self.closed = 0
        self.fails_at: int | None = None

    @property
    def read_rows(self) -> int:
        """How many rows were read, each as often as it was."""
        return sum(stop - start for start, stop in self.reads)

    @contextmanager
    def open(self) -> Iterator[Read]:
        try:
            yield self._read
        finally:
            self.closed += 1

    def _read(self, start: int, into: NDArray[Any]) -> None:
        self.reads.append((start, start + len(into)))
        if self.fails_at is not None and self.fails_at < start + len(into):
            raise ValueError(f"row {self.fails_at} is bad")
        into[...] = self.X[start : start + len(into)]
        self.begun.release()


def even(rows: int, each: int) -> NDArray[np.int64]:
    """Blocks of so many rows, but for the last."""
    return np.append(np.arange(0, rows, each), rows)


def readers() -> list[threading.Thread]:
    """Threads that read ahead."""
    return [t for t in threading.enumerate() if t.name == "onelayer-prefetch"]
