"""Folds: every row is held out once, each class spread evenly over the folds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import SettingsError


def stratified_folds(
    y: NDArray[np.int64], folds: int, seed: int = 0
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Cut rows into folds in which each class has its share, to within one row.

    Args:
        y: class of each row, shape (N,).
        folds: how many, 2 … N.
        seed: shuffles the rows of each class.

    Returns:
        For each fold the rows to train on and the rows held out, ascending.

    Raises:
        SettingsError: for fewer than 2 folds or more than rows.

    Example:
        >>> kept, held_out = stratified_folds(np.array([0, 0, 1, 1]), folds=2)[0]
        >>> len(kept), len(held_out)
        (2, 2)
    """
    if not 2 <= folds <= len(y):
        raise SettingsError(
            f"folds must be from 2 to the number of rows, {len(y)}, but {folds} was given."
        )
    rng = np.random.default_rng(seed)
    by_class = np.lexsort((rng.permutation(len(y)), y))
    fold = np.empty(len(y), np.int64)
    fold[by_class] = np.arange(len(y)) % folds
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(folds)]
