"""Definitions to compare with: accuracy, and the gradient of any function by differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.objective.gradcheck import STENCIL, STEP

Float64 = NDArray[np.float64]


def accuracy(s: ArrayLike, y: ArrayLike) -> float:
    """Fraction of rows whose largest score is their class; ties go to the first class."""
    return float(np.mean(np.argmax(s, axis=-1) == np.asarray(y)))


def numerical_gradient(function: Callable[[Float64], float], theta: ArrayLike) -> Float64:
    """Central difference on five points, four calls an entry; it knows nothing of the function."""
    theta = np.array(theta, np.float64)
    result = np.zeros_like(theta)
    for index in np.ndindex(theta.shape):
        kept = theta[index]
        for offset, weight in STENCIL:
            theta[index] = kept + offset * STEP
            result[index] += weight * function(theta)
        theta[index] = kept
    return result / (12.0 * STEP)
