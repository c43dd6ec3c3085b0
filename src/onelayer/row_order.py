"""Which rows an epoch visits in which order, and which of them it mirrors.

Both depend on a seed and the epoch only, so training can go on from any epoch, and a run sees the
same rows whatever it is trained beside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A flip seed that equals the shuffle seed must not draw from the same stream.
_FLIPS = 1


def row_order(shuffle_seed: int | None, epoch: int, rows: int) -> NDArray[np.int64] | None:
    """Order in which an epoch visits the rows: file order, or drawn anew for each epoch.

    Args:
        shuffle_seed: None for file order.
        epoch: 1, 2, …
        rows: N.

    Returns:
        A permutation of 0 … N−1, shape (N,), or None for file order.

    Example:
        >>> sorted(row_order(shuffle_seed=7, epoch=1, rows=3).tolist())
        [0, 1, 2]
    """
    if shuffle_seed is None:
        return None
    return np.random.default_rng([shuffle_seed, epoch]).permutation(rows)


def mirrored_rows(flip_seed: int | None, epoch: int, rows: int) -> NDArray[np.bool_] | None:
    """Which of the rows that an epoch visits are mirrored: each with a chance of one half.

    Args:
        flip_seed: None for no row.
        epoch: 1, 2, …
        rows: N.

    Returns:
        By place in the order of visits, shape (N,), or None for no row.

    Example:
        >>> mirrored_rows(flip_seed=0, epoch=1, rows=4)
        array([False,  True,  True, False])
    """
    if flip_seed is None:
        return None
    return np.random.default_rng([flip_seed, epoch, _FLIPS]).random(rows) < 0.5
