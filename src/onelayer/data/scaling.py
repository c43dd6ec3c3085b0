"""Per-feature affine scaling, applied while rows are read and never to a copy of X.

    x' = x · scale + offset        scale (D,), offset (D,)

`none` leaves the stored values, `unit` divides by the largest value that a feature can have
(255 for bytes), `standardize` gives every feature mean 0 and variance 1 over the training rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from onelayer.data.streaming import stored_rows, walk
from onelayer.errors import SettingsError

ScalingName = Literal["none", "unit", "standardize"]

# A block of this many rows is converted to float64 at a time, so that statistics of a large X
# need a few MB and not eight times its bytes.
BLOCK_ROWS = 1024


@dataclass(frozen=True, eq=False)
class Scaling:
    """The affine map x' = x · scale + offset of every feature.

    Attributes:
        name: which rule made it: none, unit or standardize.
        scale: factor of each feature, shape (D,), float64.
        offset: added after the factor, shape (D,), float64.
    """

    name: ScalingName
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]

    def apply(self, X: NDArray[np.generic], dtype: type = np.float64) -> NDArray[np.floating]:
        """Scale a block of rows: X · scale + offset.

        Args:
            X: rows as stored, shape (B, D).
            dtype: arithmetic type, float32 or float64.

        Returns:
            A new array of shape (B, D) in that type.

        Example:
            >>> fit_scaling("unit", np.array([[0, 255]], np.uint8), 255.0).apply(
            ...     np.array([[51, 255]], np.uint8))
            array([[0.2, 1. ]])
        """
        scaled: NDArray[np.floating] = X.astype(dtype)
        scaled *= self.scale.astype(dtype)
        if self.offset.any():
            scaled += self.offset.astype(dtype)
        return scaled


def fit_scaling(
    name: str,
    X: NDArray[np.generic],
    max_value: float = 1.0,
    weights: NDArray[np.float64] | None = None,
) -> Scaling:
    """Make the scaling of that name from the training rows.

    Args:
        name: "none", "unit" (x / max_value) or "standardize" ((x − mean) / deviation; a feature
            that never changes is only centred).
        X: training rows as stored, shape (N, D).
        max_value: the largest value a feature can have, > 0; used by "unit".
        weights: of the rows, shape (N,), for "standardize"; None is one each.

    Returns:
        The affine map, as scale and offset of shape (D,).

    Raises:
        SettingsError: for an unknown name.

    Example:
        >>> fit_scaling("standardize", np.array([[1.0], [3.0]])).apply(np.array([[5.0]]))
        array([[3.]])
    """
    check_scaling(name)
    features = X.shape[1]
    if name == "none":
        return Scaling("none", np.ones(features), np.zeros(features))
    if name == "unit":
        return Scaling("unit", np.full(features, 1.0 / max_value), np.zeros(features))
    mean, deviation = _mean_and_deviation(X, weights)
    scale = 1.0 / np.where(deviation > 0.0, deviation, 1.0)
    return Scaling("standardize", scale, -mean * scale)


def check_scaling(name: str) -> None:
    """Refuse a name that no scaling has.

    Args:
        name: of a scaling.

    Raises:
        SettingsError: for an unknown name.
    """
    choices = get_args(ScalingName)
    if name not in choices:
        raise SettingsError(f"scaling must be one of {', '.join(choices)}, but {name!r} was given.")


def _mean_and_deviation(
    X: NDArray[np.generic], weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each feature, in two passes over blocks of rows."""
    rows = X.shape[0]
    if weights is None:
        mean = sum(B.sum(axis=0, dtype=np.float64) for _, B in _blocks(X)) / rows
        squares = sum(((B - mean) ** 2).sum(axis=0) for _, B in _blocks(X)) / rows
    else:
        share = weights / weights.sum()
        mean = sum(share[block] @ B.astype(np.float64) for block, B in _blocks(X))
        squares = sum(share[block] @ (B - mean) ** 2 for block, B in _blocks(X))
    return np.asarray(mean), np.sqrt(np.asarray(squares))


def _blocks(X: NDArray[np.generic]) -> Iterator[tuple[slice, NDArray[np.generic]]]:
    """The rows in blocks of BLOCK_ROWS; those in files are read ahead, many blocks at a time."""
    stored = stored_rows(X)
    each = BLOCK_ROWS if stored is None else min(BLOCK_ROWS, stored.tile_rows)
    pieces = [(0, X)] if stored is None else ((s.start, R) for s, R in walk(stored, batch=each))
    for first, piece in pieces:
        for start in range(0, len(piece), each):
            block = piece[start : start + each]
            yield slice(first + start, first + start + len(block)), block
