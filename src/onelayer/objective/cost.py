"""The cost of a linear softmax classifier and its gradient in NumPy float64: the oracle.

Every engine is compared with these functions. They are written to be read beside the mathematics,
one equation a function, and care about correctness only:

    s = W x + b                                   scores
    J = (1/N) Σ ℓ(s, y) + λ Σ W²                  cost; ℓ is a loss of onelayer.objective.loss
    ∂J/∂W = (1/N) Σ (∂ℓ/∂s) xᵀ + 2 λ W            gradient
    ∂J/∂b = (1/N) Σ ∂ℓ/∂s

Shape letters: N rows, D features, K classes; X (N, D), y (N,) class indices, W (K, D), b (K,).
X holds features that are already scaled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from onelayer.objective.loss import LOSS_FUNCTIONS, Float64, Loss, loss, targets
from onelayer.objective.penalty import Penalty


class Gradient(NamedTuple):
    """∂J/∂W, shape (K, D), and ∂J/∂b, shape (K,), in float64."""

    W: Float64
    b: Float64


def scores(X: ArrayLike, W: ArrayLike, b: ArrayLike) -> Float64:
    """Scores s = W x + b of every row, shape (N, K).

    Example:
        >>> scores([[1.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]], [0.0, -1.0])
        array([[1., 1.]])
    """
    return np.asarray(
        np.asarray(X, np.float64) @ np.asarray(W, np.float64).T + np.asarray(b, np.float64)
    )


def cost(
    X: ArrayLike,
    y: ArrayLike,
    W: ArrayLike,
    b: ArrayLike,
    l2: float = 0.0,
    of: Loss = "softmax",
    label_smoothing: float = 0.0,
) -> float:
    """The cost J = mean loss + λ Σ W², nats.

    Example:
        >>> X, y = [[1.0, 0.0], [0.0, 1.0]], [0, 1]
        >>> round(cost(X, y, np.eye(2), np.zeros(2), l2=0.5), 4)
        1.3133
    """
    W = np.asarray(W, np.float64)
    return loss(scores(X, W, b), y, of, label_smoothing) + Penalty(l2).value(W)


def gradient(
    X: ArrayLike,
    y: ArrayLike,
    W: ArrayLike,
    b: ArrayLike,
    l2: float = 0.0,
    of: Loss = "softmax",
    label_smoothing: float = 0.0,
) -> Gradient:
    """The gradient of the cost: ∂J/∂W = (1/N) Σ (∂ℓ/∂s) xᵀ + 2λW, ∂J/∂b = (1/N) Σ ∂ℓ/∂s.

    Example:
        >>> gradient([[2.0]], [0], [[0.0], [0.0]], [0.0, 0.0]).W
        array([[-1.],
               [ 1.]])
    """
    X, W = np.asarray(X, np.float64), np.asarray(W, np.float64)
    t = targets(y, len(W), label_smoothing)
    residual = LOSS_FUNCTIONS[of].residual(scores(X, W, b), t) / len(X)
    return Gradient(residual.T @ X + Penalty(l2).gradient(W), residual.sum(axis=0))


def accuracy(s: ArrayLike, y: ArrayLike) -> float:
    """Fraction of rows whose largest score is their class; ties go to the first class.

    Example:
        >>> accuracy([[1.0, 0.0], [0.0, 1.0]], [0, 0])
        0.5
    """
    return float(np.mean(np.argmax(s, axis=-1) == np.asarray(y)))
