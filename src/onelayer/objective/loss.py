"""The generalised cross-entropy: between cross-entropy and the share of wrong rows.

    L_q = (1 − p_y^q) / q        0 < q ≤ 1, p_y = yᵀ softmax(s)
    L_0 = −log p_y               its limit as q → 0: cross-entropy

At q = 1 it is 1 − p_y, the expected share of wrong rows of a classifier that draws its answer from
p. A row's gradient is that of cross-entropy times p_y^q, so rows that a linear map cannot get right
no longer pull at W. L_q is bounded by 1/q and, for q > 0, not convex in s.

Source: Zhang & Sabuncu (2018), Generalized cross entropy loss for training deep neural networks
with noisy labels.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.errors import SettingsError, require_number

Float64 = NDArray[np.float64]

Loss = Literal["softmax", "sigmoid"]

LOSSES: tuple[str, ...] = get_args(Loss)

BELOW_ONE = "a number from 0 to below 1"


def log_softmax(s: ArrayLike) -> Float64:
    """Log-probabilities: log p = s − log 1ᵀ exp(s), stable for scores of any finite size.

    The largest score of a row is subtracted first, so that exp never overflows and the
    logarithm never sees zero.

    Args:
        s: scores, shape (..., K).

    Returns:
        log p, shape (..., K), float64, every entry ≤ 0.

    Example:
        >>> log_softmax([1e4, 1e4]) == -np.log(2.0)
        array([ True,  True])
    """
    s = np.asarray(s, np.float64)
    shifted = s - s.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def softmax(s: ArrayLike) -> Float64:
    """Class probabilities: p = exp(s) / 1ᵀ exp(s).

    Args:
        s: scores, shape (..., K).

    Returns:
        p, shape (..., K), float64; rows are non-negative and sum to 1.

    Example:
        >>> softmax([[0.0, 0.0], [1e4, -1e4]])
        array([[0.5, 0.5],
               [1. , 0. ]])
    """
    s = np.asarray(s, np.float64)
    exponentials = np.exp(s - s.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def sigmoid(s: ArrayLike) -> Float64:
    """The logistic function of each score: σ = 1 / (1 + exp(−s)).

    Args:
        s: scores, any shape.

    Returns:
        σ in [0, 1], the same shape, float64.

    Example:
        >>> sigmoid([0.0, 1e4, -1e4])
        array([0.5, 1. , 0. ])
    """
    # exp of a number that is not positive never overflows.
    small = np.exp(-np.abs(np.asarray(s, np.float64)))
    return np.asarray(np.where(np.asarray(s) >= 0.0, 1.0, small) / (1.0 + small))


def targets(y: ArrayLike, classes: int, label_smoothing: float = 0.0) -> Float64:
    """What probabilities are drawn to: t = (1 − ε) y + ε/K, with y one-hot.

    Args:
        y: class index of each row, shape (N,).
        classes: K.
        label_smoothing: ε in [0, 1).

    Returns:
        t, shape (N, K), rows sum to 1.

    Source:
        Szegedy, Vanhoucke, Ioffe, Shlens & Wojna (2016), Rethinking the Inception architecture for
        computer vision, section 7.

    Example:
        >>> targets([1], classes=2, label_smoothing=0.2)
        array([[0.1, 0.9]])
    """
    one_hot = np.eye(classes)[np.asarray(y)]
    return np.asarray((1.0 - label_smoothing) * one_hot + label_smoothing / classes)


def loss(s: ArrayLike, y: ArrayLike, of: Loss = "softmax", label_smoothing: float = 0.0) -> float:
    """Mean loss of scores: −(1/N) Σ tᵀ log p, or the mean of K binary cross-entropies.

    Args:
        s: scores, shape (N, K).
        y: class index of each row, shape (N,), integers in 0 … K−1.
        of: "softmax" or "sigmoid".
        label_smoothing: ε in [0, 1).

    Returns:
        The mean over the rows, ≥ 0, in nats.

    Example:
        >>> round(loss([[0.0, 0.0]], [1]), 4), round(loss([[0.0, 0.0]], [1], "sigmoid"), 4)
        (0.6931, 0.6931)
    """
    s = np.asarray(s, np.float64)
    t = targets(y, s.shape[1], label_smoothing)
    if of == "sigmoid":
        # −t log σ − (1 − t) log(1 − σ) = log(1 + exp(s)) − t s
        return float((np.logaddexp(0.0, s) - t * s).mean())
    return float(-(t * log_softmax(s)).sum(axis=1).mean())


def _bent(loss: Loss, P: NDArray[np.floating], Z: NDArray[np.floating]) -> NDArray[np.floating]:
    """The curvature of each row's loss in its scores, times a direction of them, (n, K)."""
    if loss == "sigmoid":
        return np.asarray(P * (1 - P) * Z / P.shape[1])
    return np.asarray(P * (Z - np.einsum("nk,nk->n", P, Z)[:, None]))


def loss_curvature(loss: Loss, classes: int) -> float:
    """The largest curvature of a row's loss in its scores: ½ of softmax, 1/4K of K-sigmoid.

    Args:
        loss: "softmax" or "sigmoid".
        classes: K.

    Returns:
        What λmax(X̃ᵀX̃/N) is multiplied by to bound the curvature of the mean loss.

    Example:
        >>> loss_curvature("softmax", classes=10), loss_curvature("sigmoid", classes=10)
        (0.5, 0.025)
    """
    return 0.5 if loss == "softmax" else 0.25 / classes


def check_loss(loss: object, label_smoothing: object) -> None:
    """Refuse what is no loss, in a sentence.

    Args:
        loss: must be "softmax" or "sigmoid".
        label_smoothing: ε, must be in [0, 1).

    Raises:
        SettingsError: when one is not.

    Example:
        >>> check_loss("hinge", 0.0)
        Traceback (most recent call last):
        ...
        onelayer.errors.SettingsError: loss must be softmax or sigmoid, but 'hinge' was given.
    """
    if loss not in LOSSES:
        raise SettingsError(f"loss must be {' or '.join(LOSSES)}, but {loss!r} was given.")
    require_number("label_smoothing (ε)", label_smoothing, BELOW_ONE, least=0, below=1)


def generalised_cross_entropy(s: ArrayLike, y: ArrayLike, q: float) -> float:
    """Mean of L_q over the rows: (1/N) Σ (1 − p_y^q) / q, and −(1/N) Σ log p_y for q = 0.

    Args:
        s: scores, shape (N, K).
        y: class index of each row, shape (N,), 0 … K−1.
        q: 0 … 1.

    Returns:
        The mean, ≥ 0, in nats for q = 0.

    Source:
        Zhang & Sabuncu (2018), equation 6.

    Example:
        >>> generalised_cross_entropy([[0.0, 0.0]], [1], q=1.0)
        0.5
    """
    y = np.asarray(y)
    log_p = log_softmax(s)[np.arange(y.size), y]
    # expm1 keeps the digits that 1 − p^q loses where q is small.
    return float(np.mean(-log_p if q == 0.0 else -np.expm1(q * log_p) / q))


def residuals(s: ArrayLike, y: ArrayLike, q: float) -> Float64:
    """Gradient of each row's L_q in its scores: p_y^q (p − y).

    Args:
        s: scores, shape (N, K).
        y: class index of each row, shape (N,), 0 … K−1.
        q: 0 … 1.

    Returns:
        Shape (N, K), float64; each row sums to 0.

    Source:
        Zhang & Sabuncu (2018), section 3.3.

    Example:
        >>> residuals([[0.0, 0.0]], [1], q=1.0)
        array([[ 0.25, -0.25]])
    """
    y = np.asarray(y)
    each = np.arange(y.size)
    log_p = log_softmax(s)
    p = np.exp(log_p)
    weight = np.exp(q * log_p[each, y])
    p[each, y] -= 1.0
    return np.asarray(weight[:, None] * p)
