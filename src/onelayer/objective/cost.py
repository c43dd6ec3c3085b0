"""The equations of a linear softmax classifier in NumPy float64: the oracle.

Every engine is held against these functions. They are written to be read beside the
mathematics, one equation a function, and care about correctness only:

    s = W x + b                                   scores
    p = exp(s) / 1ᵀ exp(s)                        probabilities
    J = −(1/N) Σ log(yᵀ p) + λ Σ W²               cost
    ∂J/∂W = (1/N) Σ (p − y) xᵀ + 2 λ W            gradient
    ∂J/∂b = (1/N) Σ (p − y)

Label smoothing puts targets t in the place of one-hot y; the K-sigmoid loss treats each class as a
question of its own, yes or no:

    t = (1 − ε) y + ε/K                           targets
    σ = 1 / (1 + exp(−s))                         probabilities of the K-sigmoid loss
    ℓ = −(1/K) Σ_k t log σ + (1 − t) log(1 − σ)   its mean of K binary cross-entropies
    ∂ℓ/∂s = (σ − t) / K

Shape letters, the same everywhere: N rows, D features, K classes; X (N, D), y (N,) class
indices, W (K, D), b (K,). X holds features that are already scaled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from onelayer.objective.loss import (
    Float64,
    Loss,
    loss,
    sigmoid,
    softmax,
    targets,
)


class Gradient(NamedTuple):
    """∂J/∂W, shape (K, D), and ∂J/∂b, shape (K,), in float64."""

    W: Float64
    b: Float64


def scores(X: ArrayLike, W: ArrayLike, b: ArrayLike) -> Float64:
    """Scores of every row: s = W x + b.

    Args:
        X: features, shape (N, D), any real dtype; taken as float64.
        W: weights, shape (K, D).
        b: biases, shape (K,).

    Returns:
        Scores, shape (N, K), float64.

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
    """The cost that training lowers: J = mean loss + λ Σ W².

    Args:
        X: features, shape (N, D).
        y: class index of each row, shape (N,).
        W: weights, shape (K, D).
        b: biases, shape (K,); not regularised.
        l2: λ ≥ 0, multiplies the plain sum of squares of W.
        of: the loss, "softmax" or "sigmoid".
        label_smoothing: ε in [0, 1).

    Returns:
        J, in nats.

    Example:
        >>> X, y = [[1.0, 0.0], [0.0, 1.0]], [0, 1]
        >>> round(cost(X, y, np.eye(2), np.zeros(2), l2=0.5), 4)
        1.3133
    """
    W = np.asarray(W, np.float64)
    return loss(scores(X, W, b), y, of, label_smoothing) + l2 * float(np.sum(W * W))


def gradient(
    X: ArrayLike,
    y: ArrayLike,
    W: ArrayLike,
    b: ArrayLike,
    l2: float = 0.0,
    of: Loss = "softmax",
    label_smoothing: float = 0.0,
) -> Gradient:
    """Analytic gradient of the cost: ∂J/∂W = (1/N) Σ (p − t) xᵀ + 2λW, ∂J/∂b = (1/N) Σ (p − t).

    For the K-sigmoid loss (σ − t) / K stands in the place of p − t.

    Args:
        X: features, shape (N, D).
        y: class index of each row, shape (N,).
        W: weights, shape (K, D).
        b: biases, shape (K,).
        l2: λ ≥ 0.
        of: the loss, "softmax" or "sigmoid".
        label_smoothing: ε in [0, 1).

    Returns:
        The gradient, W (K, D) and b (K,), float64.

    Example:
        >>> gradient([[2.0]], [0], [[0.0], [0.0]], [0.0, 0.0]).W
        array([[-1.],
               [ 1.]])
    """
    X, W = np.asarray(X, np.float64), np.asarray(W, np.float64)
    s, classes = scores(X, W, b), len(W)
    t = targets(y, classes, label_smoothing)
    residual = (sigmoid(s) - t) / classes if of == "sigmoid" else softmax(s) - t
    residual /= len(X)
    return Gradient(residual.T @ X + 2.0 * l2 * W, residual.sum(axis=0))


def accuracy(s: ArrayLike, y: ArrayLike) -> float:
    """Share of rows whose largest score is their class; of equal scores the first counts.

    Args:
        s: scores, shape (N, K).
        y: class index of each row, shape (N,).

    Returns:
        A share in [0, 1].

    Example:
        >>> accuracy([[1.0, 0.0], [0.0, 1.0]], [0, 0])
        0.5
    """
    return float(np.mean(np.argmax(s, axis=-1) == np.asarray(y)))
