"""Walk over rows in files in any order; the next ones are read while these are worked on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.stored.gather import gather
from onelayer.stored.plan import Numbers, Stretch, plan_in_file_order, plan_in_order
from onelayer.stored.read_ahead import read_ahead
from onelayer.stored.rows import StoredRows

BUFFERS = 2


class Overwritten(np.ndarray[Any, np.dtype[Any]]):
    """Memory that rows are read into again and again: nobody may keep what it held by its place."""


def walk(
    X: StoredRows, order: Numbers | None = None, *, batch: int = 1, most: int | None = None
) -> Iterator[tuple[Stretch, NDArray[Any]]]:
    """Visit rows, a stretch at a time.

    Args:
        X: the rows, (N, D).
        order: row of each place, shape (n,); None visits all of them as they are stored.
        batch: places of a batch; every stretch but the last holds whole ones.
        most: rows of a stretch at most, whole batches of them but one at least; None is what X
            reads at once.

    Yields:
        Each stretch with its rows as an array, (`stretch.rows`, D), which is overwritten after the
        next one is asked for. Two are in memory, `walked_bytes` of them.

    Raises:
        DataError: when a file cannot be read, or holds what is no finite number.
    """
    each = _rows_of_a_stretch(X, ordered=order is not None, batch=batch, most=most)
    if order is None:
        plan = plan_in_file_order(len(X), each)
    else:
        plan = plan_in_order(order, X.blocks, each, batch)
    reader = X.open()

    def load(stretch: Stretch, buffer: NDArray[Any], before: NDArray[Any] | None) -> None:
        if isinstance(stretch.numbers, slice):
            reader.read(stretch.start, buffer[: stretch.rows])
            return
        kept = len(stretch.carried)
        if before is not None:
            np.take(before, stretch.carried, axis=0, out=buffer[:kept], mode="clip")
        gather(reader, stretch.numbers[kept:], buffer[kept : stretch.rows])

    shape = (min(each, len(X)), X.shape[1])
    buffers = [np.asarray(Overwritten(shape, X.dtype)) for _ in range(BUFFERS)]
    try:
        for stretch, buffer in read_ahead(plan, load, buffers):
            yield stretch, buffer[: stretch.rows]
    finally:
        reader.close()


def walked_bytes(X: StoredRows, *, ordered: bool = False, batch: int = 1) -> int:
    """Bytes of memory that a walk takes; see `walk`."""
    return BUFFERS * X.row_bytes * _rows_of_a_stretch(X, ordered=ordered, batch=batch, most=None)


def _rows_of_a_stretch(X: StoredRows, *, ordered: bool, batch: int, most: int | None) -> int:
    if not ordered:
        return max(batch, min(most or len(X), X.tile_rows) // batch * batch)
    # A window is whole with what did not fill a batch of the one before.
    return max(batch, min(most or len(X), X.window_rows + batch - 1))
