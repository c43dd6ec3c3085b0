"""Tiles of rows, in memory: views of an array, or rows that are read ahead from files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.engines.descent import Steps
from onelayer.engines.rows import Rows
from onelayer.errors import SettingsError
from onelayer.stored import (
    StoredRows,
    Stretch,
    available_memory,
    sized,
    stored_rows,
    walk,
    walked_bytes,
)


def tiles(rows: Rows, most: int) -> Iterator[tuple[slice, Rows]]:
    """The rows that a full pass visits, some at a time.

    Args:
        rows: an array's or files'.
        most: rows of a tile at most; of files a tile may hold fewer.

    Yields:
        The place of each tile in the pass, and its rows, whose X is an array; where rows are in
        files it is overwritten after the next tile is asked for.

    Example:
        >>> import numpy as np
        >>> rows = Rows(np.eye(3), np.arange(3), np.ones(3), np.zeros(3))
        >>> [(place.start, tile.labels.tolist()) for place, tile in tiles(rows, most=2)]
        [(0, [0, 1]), (2, [2])]
    """
    X = stored_rows(rows.X)
    if X is None:
        for start in range(0, rows.count, most):
            stop = min(start + most, rows.count)
            yield slice(start, stop), rows.part(start, stop)
        return
    for stretch, held in walk(X, rows.index, most=most):
        yield slice(stretch.start, stretch.stop), _in_memory(rows, stretch, held, stretch.order)


def loaded(rows: Rows, places: NDArray[np.int64]) -> Rows:
    """Some of the rows that a full pass visits, by their places in it.

    Args:
        rows: an array's or files'.
        places: which, shape (n,).

    Returns:
        Those rows; of files they are read into memory, which `places` must be few enough for.
    """
    chosen = rows.only(places)
    if stored_rows(rows.X) is None or chosen.index is None:
        return chosen
    weights = None if rows.weights is None else rows.weights[chosen.index]
    return replace(
        rows, X=rows.X[chosen.index], y=chosen.labels, weights=weights, index=np.arange(len(places))
    )


def batches(rows: Rows, X: StoredRows, steps: Steps) -> Iterator[tuple[Rows, Steps]]:
    """The batches of a pass of training over rows in files, as many at a time as are read at once.

    Args:
        rows: the training rows.
        X: their features.
        steps: the pass.

    Yields:
        Rows in memory, and the steps that are to be taken on them: whole batches, in their order.

    Raises:
        SettingsError: for a batch that does not fit in memory.
    """
    size = steps.batch_size
    _check_batch(X, size, ordered=steps.order is not None)
    for stretch, held in walk(X, steps.order, batch=size):
        part = steps.part(stretch.start // size, -(-stretch.stop // size))
        yield _in_memory(rows, stretch, held, None), replace(part, order=stretch.order)


def _in_memory(
    rows: Rows, stretch: Stretch, held: NDArray[Any], index: NDArray[Any] | None
) -> Rows:
    numbers = stretch.numbers
    weights = None if rows.weights is None else rows.weights[numbers]
    return replace(rows, X=held, y=rows.y[numbers], weights=weights, index=index)


def _check_batch(X: StoredRows, size: int, *, ordered: bool) -> None:
    needed, left = walked_bytes(X, ordered=ordered, batch=min(size, len(X))), available_memory()
    if needed > left:
        most = int(size * left / needed / 2)
        raise SettingsError(
            f"batch_size {size} of {X.where} takes {sized(needed)}, since two batches are in "
            f"memory at once, but {sized(left)} are left; take {max(most, 1)} at most."
        )
