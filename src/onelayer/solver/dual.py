"""Ascent in the dual, for sparse rows that store fewer values than there are weights.

    J(W, b) = Σ fᵢ ℓᵢ(W xᵢ + b) + λ ‖W‖²      W = −(1/2λ) Σ fᵢ rᵢ xᵢᵀ

with rᵢ = pᵢ − yᵢ at the optimum. A step takes the r of one row to where p of its own scores is, and
changes the weights of the features that it stores: a sweep over the rows costs what a pass does,
however many features there are, while steps of L-BFGS go over all weights many times. Rows that
share few features are solved in a few sweeps; where the gap falls slowly the sweeps end. Rows are
centred in effect, and b takes a step of Newton's method after each sweep. What comes out is proven
as any weights are.

Source: Yu, Huang & Lin (2011), Dual coordinate descent methods for logistic regression and maximum
entropy models.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.sparse import sparse_rows
from onelayer.engines import Engine, Weights
from onelayer.engines.native import dual_sweep

Float64 = NDArray[np.float64]

# The gap to reach, of that to be proven; the most sweeps, and the least that they divide it by.
AIM, MAX_SWEEPS, LEAST_FALL = 0.1, 12, 2.0

# Passes that must be allowed.
MIN_ASCENT = 5


def is_wide(rows: Rows, classes: int) -> bool:
    """Whether there are more weights than stored values, and features are not moved."""
    sparse = sparse_rows(rows.X)
    if sparse is None or rows.is_dense or rows.extreme or rows.offset.any():
        return False
    if rows.score_offsets is not None or rows.has_free:
        return False
    return bool(classes * rows.X.shape[1] >= rows.products)


def ascend(
    engine: Engine,
    rows: Rows,
    mean: Float64,
    b: Float64,
    l2: float,
    tol: float,
    sweeps: int,
    log: Callable[[int, float, float], None],
) -> Float64:
    """The point (K, D + 1) of rows less their mean that some sweeps reach from W = 0.

    After each `log` is called with its number, the cost, and about the gap before it.
    """
    sparse = sparse_rows(rows.X)
    assert sparse is not None  # noqa: S101  # they are wide
    K, (D,), N = len(b), mean.shape, rows.count
    weights = np.ones(N) if rows.row_weights is None else rows.row_weights
    fractions = weights / rows.mass
    along = None
    if rows.intercept:
        weight = Weights(mean[None, None], np.zeros((1, 1)))
        along = engine.scores(rows.unlabelled, weight)[0, :, 0].astype(np.float64)
    state = V, _, shift, _ = np.zeros((D, K)), np.zeros((N, K)), np.zeros(K), np.zeros(K)
    b, gap = b.copy(), 0.0
    for sweep in range(1, min(sweeps, MAX_SWEEPS) + 1):
        bent, loss, off = dual_sweep(
            sparse.arrays, rows.y, rows.index, rows.scale, fractions, along,
            float(mean @ mean), l2, b, state,
        )  # fmt: skip
        if rows.intercept:
            b = b + np.linalg.solve(bent + bent.trace() / K, 2.0 * l2 * shift)
        log(sweep, loss + l2 * float(np.einsum("dk,dk->", V, V)), off)
        fall, gap = gap / max(off, 1e-300), off
        if off <= AIM * tol * loss * fall or (sweep > 2 and fall < LEAST_FALL):
            break
    at = np.empty((K, D + 1))
    at[:, :-1], at[:, -1] = V.T, b
    if rows.intercept:
        at[:, :-1] -= shift[:, None] * mean
    return at
