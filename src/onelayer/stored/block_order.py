"""Shuffling rows that are too many to be read one by one: by blocks, then inside a window.

    1. The blocks, the stretches that are read as a whole, are permuted over all rows.
    2. In that order they are dealt into windows of at most so many rows (or one larger block).
    3. The rows of each window are permuted.

Each window is read once, in a few large reads. The order depends on the seed, the epoch and the
blocks alone, so it is the same on any machine and on any number of workers, and each window's order
can be found without the others'.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def block_order(blocks: Numbers, window_rows: int, seed: int, epoch: int) -> Numbers:
    """Order in which an epoch visits rows that are in files.

    Args:
        blocks: where blocks begin, and the number of rows N as the last: shape (M + 1,).
        window_rows: rows of a window at most, ≥ 1; a larger block is a window of its own.
        seed: ≥ 0.
        epoch: 1, 2, …

    Returns:
        A permutation of 0 … N−1, shape (N,).

    Example:
        >>> order = block_order(np.array([0, 2, 4, 6]), window_rows=4, seed=0, epoch=1)
        >>> sorted(order.tolist()), sorted((order[:4] // 2).tolist())
        ([0, 1, 2, 3, 4, 5], [0, 0, 2, 2])
    """
    sizes = np.diff(blocks)
    permuted = np.random.default_rng([seed, epoch]).permutation(len(sizes))
    order, filled = np.empty(int(blocks[-1]), np.int64), 0
    for number, (first, last) in enumerate(_windows(sizes[permuted], window_rows)):
        rows = np.concatenate([np.arange(blocks[i], blocks[i + 1]) for i in permuted[first:last]])
        rng = np.random.default_rng([seed, epoch, number])
        order[filled : filled + len(rows)] = rng.permutation(rows)
        filled += len(rows)
    return order


def _windows(sizes: Numbers, window_rows: int) -> Iterator[tuple[int, int]]:
    """First and last block of each window."""
    ends, first = np.cumsum(sizes), 0
    while first < len(sizes):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + window_rows, "right")))
        yield first, last
        first = last
