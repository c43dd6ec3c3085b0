"""Newton's direction for small problems: the whole Hessian, formed and solved.

    H_kj = (1/N) Σ (p_k δ_kj − p_k p_j) x̃ x̃ᵀ + 2λ δ_kj I        x̃ the centred row with a 1 appended

The mean is by weight where rows have weights. With K (D + 1) unknowns it takes N (K (D + 1))²
products; where that is little, a dozen steps end at the last digit even where L-BFGS needs
hundreds, as on separable rows under a small λ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines import Engine
from onelayer.objective.loss import softmax
from onelayer.objective.penalty import Penalty
from onelayer.solver.linalg import inner_product, one_blas_thread, outer_product

Float64 = NDArray[np.float64]

MAX_UNKNOWNS = 1200

MAX_PRODUCTS = 4e9

# Entries of an array with a row's features once for each class: 128 MB.
MAX_COPIED = 1 << 24

# Relative to the Hessian's mean diagonal.
RIDGE = 1e-15

IMPOSSIBLE = 1e-18


def is_small(rows: Rows, classes: int) -> bool:
    """Whether the Hessian takes a few hundred milliseconds and megabytes at most."""
    unknowns = classes * (rows.X.shape[1] + 1)
    quick = unknowns <= MAX_UNKNOWNS and rows.count * unknowns**2 <= MAX_PRODUCTS
    return bool(quick and rows.count * unknowns <= MAX_COPIED)


def scaled_rows(rows: Rows) -> Float64:
    """The scaled rows with a 1 appended: shape (N, D + 1), float64."""
    scaled = np.ones((rows.count, rows.X.shape[1] + 1))
    chosen = rows.X[:] if rows.index is None else rows.X[rows.index]
    scaled[:, :-1] = chosen.astype(np.float64) * rows.scale + rows.offset
    return scaled


def newton_direction(
    engine: Engine,
    X: Float64,
    at: Float64,
    gradient: Float64,
    penalty: Penalty,
    weights: Float64 | None = None,
) -> Float64:
    """H⁻¹ times the gradient at a point, both of shape (K, D + 1).

    X are the rows of `scaled_rows`, weights theirs, shape (N,).
    """
    K, width = at.shape
    P = softmax(outer_product(engine, X, at))
    # One product for all pairs of classes, and one more for each class with itself.
    Z = (P[:, :, None] * X[:, None, :]).reshape(len(X), K * width)
    weighed = Z if weights is None else Z * weights[:, None]
    blocks = inner_product(engine, Z, weighed).reshape(K, width, K, width)
    np.negative(blocks, out=blocks)
    with one_blas_thread():
        for k in range(K):
            blocks[k, :, k] += weighed[:, k * width : (k + 1) * width].T @ X
    mass = len(X) if weights is None else float(weights.sum())
    H = blocks.reshape(K * width, K * width) / mass
    size = float(np.trace(H)) / len(H)
    diagonal = np.full((K, width), penalty.curvature + RIDGE * size)
    # The cost does not depend on the bias of a class that no row can be of.
    diagonal[:, -1] = np.where(P.max(axis=0) < IMPOSSIBLE, size, RIDGE * size)
    H[np.diag_indices(len(H))] += diagonal.ravel()
    # The same shift of all biases changes nothing: a curvature keeps it out of the step.
    bias = np.arange(width - 1, len(H), width)
    H[np.ix_(bias, bias)] += size / K
    with one_blas_thread():
        return np.asarray(np.linalg.solve(H, gradient.ravel()).reshape(K, width))
