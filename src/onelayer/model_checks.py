"""What makes the parts of a model fit together, and rows fit a model; each misfit is a sentence."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.errors import DataError
from onelayer.stored import stored_rows

WEIGHT_TYPES = ("float32", "float64")
# Engines read these in place; rows of other types are converted a tile at a time.
READ_IN_PLACE = ("uint8", "float16", "float32", "float64")


def check_weights(W: NDArray[np.floating], b: NDArray[np.floating]) -> None:
    """Refuse weights that are no matrix, of another type than an engine's, or not finite.

    Args:
        W: weights, shape (K, D).
        b: biases.

    Raises:
        DataError: in one sentence.
    """
    if W.ndim != 2 or W.size == 0:
        raise DataError(f"a model's W must have K rows of D weights, but its shape is {W.shape}.")
    for name, array in (("W", W), ("b", b)):
        if array.dtype.name not in WEIGHT_TYPES:
            expected = " or ".join(WEIGHT_TYPES)
            raise DataError(f"a model's {name} must be {expected}, but it is {array.dtype}.")
    check_finite(W=W, b=b)


def check_finite(**arrays: NDArray[np.floating]) -> None:
    """Refuse arrays with a NaN or an infinity; their names go into the sentence."""
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise DataError(f"a model's {name} must be finite numbers, but it holds others.")


def check_sizes(shape: tuple[int, ...], **sizes: tuple[int, ...] | None) -> None:
    """Refuse parts of other sizes than W's.

    Args:
        shape: of W, (K, D).
        **sizes: of b and class_names, which must be (K,), and of others, which must be (D,); None
            for a part that is not there.

    Raises:
        DataError: for the first that differs.
    """
    K, D = shape
    for name, got in sizes.items():
        wanted = (K,) if name in ("b", "class_names") else (D,)
        if got is not None and got != wanted:
            raise DataError(
                f"a model with W of shape {(K, D)} needs {name} of size {wanted}, but it is {got}."
            )


def check_names(class_names: tuple[str, ...]) -> None:
    """Refuse fewer than two classes, and two of one name.

    Args:
        class_names: K names.

    Raises:
        DataError: in one sentence.
    """
    if len(class_names) < 2 or len(set(class_names)) != len(class_names):
        raise DataError(
            "a model needs at least 2 classes with different names, but they are "
            f"{', '.join(class_names)[:200] or 'none'}."
        )


def checked_rows(X: ArrayLike, features: int) -> NDArray[np.generic]:
    """The rows as an array, without a copy of what is one already.

    Args:
        X: rows, shape (N, D); those that stay in their files are left there.
        features: D.

    Returns:
        The rows.

    Raises:
        DataError: when they are no real numbers, or of another shape.
    """
    stored = stored_rows(X)
    rows = np.asarray(X) if stored is None else cast(NDArray[np.generic], stored)
    if rows.dtype.kind not in "buif":
        raise DataError(f"rows must hold real numbers, but they are {rows.dtype}.")
    if rows.ndim != 2 or rows.shape[1] != features:
        raise DataError(
            f"rows must have {features} features, in shape (N, {features}), but their shape is "
            f"{rows.shape}."
        )
    return rows


def readable(tile: NDArray[np.generic]) -> NDArray[np.generic]:
    """The tile itself where engines can read it in place, or else a copy of the tile.

    Args:
        tile: some rows, shape (n, D).

    Returns:
        Contiguous rows of the machine's byte order.
    """
    native = tile.dtype.isnative and tile.dtype.name in READ_IN_PLACE
    return np.ascontiguousarray(tile, tile.dtype if native else np.float64)
