"""Read rows that lie apart: in few reads where they are close, each by itself where not."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onelayer.stored.rows import Reader

# To read over a gap of this size takes no longer than to begin a read behind it.
GAP_BYTES = 128 << 10
# Rows with gaps between them are read to here, and those that are wanted copied.
SCRATCH_BYTES = 2 << 20


def gather(reader: Reader, numbers: NDArray[np.int64], into: NDArray[Any]) -> None:
    """Read rows into an array.

    Args:
        reader: of the rows.
        numbers: which rows, each larger than the one before, shape (n,).
        into: shape (n, D).
    """
    row_bytes = max(1, into.strides[0])
    apart = np.flatnonzero(np.diff(numbers) > 1 + GAP_BYTES // row_bytes) + 1
    most = max(1, SCRATCH_BYTES // row_bytes)
    scratch: NDArray[Any] | None = None
    for first, last in pairwise([0, *apart.tolist(), len(numbers)]):
        low, high = (int(numbers[first]), int(numbers[last - 1]) + 1) if last > first else (0, 0)
        if high - low == last - first:
            reader.read(low, into[first:last])
            continue
        scratch = np.empty((most, into.shape[1]), into.dtype) if scratch is None else scratch
        for start in range(low, high, most):
            span = scratch[: min(most, high - start)]
            a, b = np.searchsorted(numbers, (start, start + len(span)))
            if a < b:
                reader.read(start, span)
                np.take(span, numbers[a:b] - start, axis=0, out=into[a:b], mode="clip")
