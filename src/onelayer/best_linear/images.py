"""Pictures moved and mirrored: a batch of rows as stored, and weights as pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
Float64 = NDArray[np.float64]

# Moves must not draw from the stream that orders the rows under the same seed.
_MOVES = 2


def drawn_moves(seed: int, epoch: int, rows: int, most: int) -> NDArray[np.int64]:
    """How far each row that an epoch visits is moved: every move by at most `most` is as likely.

    Args:
        seed: ≥ 0.
        epoch: 1, 2, …
        rows: N.
        most: pixels, ≥ 0.

    Returns:
        Pixels down and right, −most … most, by place in the order of visits, shape (N, 2). They
        depend on nothing else.

    Example:
        >>> drawn_moves(seed=0, epoch=1, rows=2, most=0).tolist()
        [[0, 0], [0, 0]]
    """
    rng = np.random.default_rng([seed, epoch, _MOVES])
    return rng.integers(-most, most, (rows, 2), endpoint=True)


def moved(
    X: NDArray[np.generic], shape: Shape, moves: NDArray[np.int64], most: int
) -> NDArray[np.generic]:
    """Move each picture by whole pixels; what comes in from outside repeats the nearest edge.

    Args:
        X: a batch of rows as stored, shape (B, D).
        shape: (channels, height, width) of a row.
        moves: pixels down and right of each row, −most … most, shape (B, 2).
        most: pixels.

    Returns:
        The batch moved, shape (B, D), in X's type.

    Example:
        >>> moved(np.array([[1, 2, 3]]), (1, 1, 3), np.array([[0, 1]]), most=1)
        array([[1, 1, 2]])
    """
    pictures = X.reshape(len(X), *shape)
    border = ((0, 0), (0, 0), (most, most), (most, most))
    wide = np.pad(pictures, border, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, shape[1:], axis=(2, 3))
    down, right = (most - moves).T
    return np.ascontiguousarray(windows[np.arange(len(X)), :, down, right]).reshape(X.shape)


def symmetric(V: Float64, shape: Shape) -> Float64:
    """The mean of pictures and their mirror images, left and right exchanged.

    A flipped row has the score that the row has under mirrored weights, so for weights that are
    their own mirror image this mean of a gradient is the gradient over the rows and their flips.

    Args:
        V: pictures, shape (K, D).
        shape: (channels, height, width).

    Returns:
        Shape (K, D).

    Example:
        >>> symmetric(np.array([[1.0, 2.0, 5.0]]), (1, 1, 3))
        array([[3., 2., 3.]])
    """
    pictures = V.reshape(len(V), *shape)
    return np.asarray(0.5 * (pictures + pictures[..., ::-1])).reshape(V.shape)
