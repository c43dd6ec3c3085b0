"""Rows copied out of a mapped file: in the file's order, and each stretch let go of at once.

A mapped page stays on the process's account once it was touched. Rows that are copied need theirs
no more, so that at no moment there is more in memory than the copies and one stretch.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRETCH_BYTES = 2 << 20


def copy_rows(X: NDArray[Any], numbers: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """Copy some rows.

    Args:
        X: rows, shape (N, D), in memory or mapped.
        numbers: which rows, 0 … N − 1, in any order, shape (n,).

    Returns:
        A new array, shape (n, D), equal to X[numbers].

    Example:
        >>> copy_rows(np.arange(6).reshape(3, 2), np.array([2, 0])).tolist()
        [[4, 5], [0, 1]]
    """
    copies = np.empty((len(numbers), X.shape[1]), X.dtype)
    order, mapped = np.argsort(numbers, kind="stable"), _map_of(X)
    each = max(1, STRETCH_BYTES // (X.shape[1] * X.itemsize))
    for start in range(0, len(order), each):
        places = order[start : start + each]
        copies[places] = X[numbers[places]]
        _let_go(mapped)
    return copies


def _map_of(X: NDArray[Any]) -> mmap.mmap | None:
    """The map that an array's memory is a part of, if it is."""
    base: object = X
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def _let_go(mapped: mmap.mmap | None) -> None:
    """Take a file's pages off this process; they are read again where they are touched again."""
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
