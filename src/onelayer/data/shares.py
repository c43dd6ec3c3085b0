"""Shares of rows: every class in its proportion, drawn by a seed and so the same every time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import DataError


def stratified_order(y: NDArray[np.int64], seed: int) -> NDArray[np.intp]:
    """Order rows at random so that every stretch holds each class by its share.

    A class's rows are spread evenly over [0, 1), in random order and from a random start; the
    order is that of their places.

    Args:
        y: class of each row, shape (N,).
        seed: of the random numbers.

    Returns:
        A permutation of 0 … N − 1.

    Example:
        >>> y = np.array([0, 0, 0, 1, 1, 1])
        >>> y[stratified_order(y, seed=0)].tolist()
        [0, 1, 0, 1, 0, 1]
    """
    rng = np.random.default_rng(seed)
    place = np.empty(len(y))
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(place, kind="stable")


def cut_share(
    y: NDArray[np.int64], share: float, seed: int, where: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Cut a share of the rows off, of each class its share to within half a row.

    A class of two rows or more gives at least one and keeps at least one; a class of a single row
    gives none.

    Args:
        y: class of each row, shape (N,).
        share: of the rows, above 0 and below 1.
        seed: which rows are drawn.
        where: the rows' origin, for the message.

    Returns:
        Rows that are kept and rows that are cut off, both ascending.

    Raises:
        DataError: when no class has two rows.

    Example:
        >>> kept, cut = cut_share(np.array([0, 0, 0, 0, 1, 1]), 0.25, seed=0, where="made")
        >>> len(kept), len(cut)
        (4, 2)
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(y), bool)
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        count = min(len(rows) - 1, max(1, int(share * len(rows) + 0.5)))
        chosen[rows[:count]] = True
    if not chosen.any():
        raise DataError(
            f"{where}: a share can only be cut off where a class has 2 rows or more, but each of "
            f"the {len(y)} rows is the only one of its class; add rows or give the split as files."
        )
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
