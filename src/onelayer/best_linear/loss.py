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

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.objective import log_softmax

Float64 = NDArray[np.float64]


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
