"""The penalty of the cost: λ Σ W². The biases b are not penalised.

    value       λ Σ W²
    gradient    2λ W
    curvature   2λ             in every direction of W
    decay       1 − 2ηλ        a gradient step of length η multiplies W by it

λ multiplies the plain sum of squares, so scikit-learn's C is 1/(2λN) and PyTorch's weight_decay is
2λ. Python code takes the formula from here; the C++ kernel has it in native/kernel, the torch
engine in engines/torch/step.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

# One number, or one for each run.
Real = TypeVar("Real", float, NDArray[np.float64])


def value(W: NDArray[Any], l2: float) -> float:
    """λ Σ W², nats.

    Example:
        >>> value(np.array([[1.0, 2.0]]), l2=0.5)
        2.5
    """
    return value_of_squares(float(np.sum(W * W)), l2)


def value_of_squares(squares: Real, l2: Any) -> Real:
    """λ Σ W² where Σ W² is known."""
    added: Real = l2 * squares
    return added


def gradient(W: NDArray[Any], l2: float | NDArray[Any]) -> NDArray[Any]:
    """2λ W, in the shape of W."""
    return np.asarray(2.0 * l2 * W)


def curvature(l2: Real) -> Real:
    """2λ: the cost is 2λ-strongly convex in W, so J − J* ≤ ‖∇J‖² / (2 · curvature).

    Example:
        >>> curvature(0.1)
        0.2
    """
    return 2.0 * l2


def decay(learning_rate: Real, l2: Real) -> Real:
    """1 − 2ηλ, what a gradient step of length η multiplies W by beside the loss.

    Example:
        >>> decay(0.1, l2=0.5)
        0.9
    """
    return 1.0 - learning_rate * curvature(l2)
