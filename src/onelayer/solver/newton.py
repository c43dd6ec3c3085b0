"""Newton's method, for problems whose whole Hessian can be formed.

    H_kj = (1/N) Σ (p_k δ_kj − p_k p_j) x̃ x̃ᵀ + 2λ δ_kj I        x̃ the centred row with a 1 appended

of K (D + 1) unknowns: a dozen steps end at the last digit even where L-BFGS needs hundreds, as on
separable rows under a small λ.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.scaling import EQUAL
from onelayer.engines import Engine
from onelayer.objective.loss import softmax
from onelayer.objective.penalty import Penalty
from onelayer.solver.linalg import inner_product, one_blas_thread, outer_product

Float64 = NDArray[np.float64]

# The method is taken for problems of this size at most: unknowns, products for one Hessian, and
# entries of an array with a row's features once for each class (128 MB).
MAX_UNKNOWNS, MAX_PRODUCTS, MAX_COPIED = 1200, 4e9, 1 << 24

# It is taken at once for so few products. With more, a dozen steps cost as much as about half as
# many passes of L-BFGS as there are unknowns: it is taken when these have not been enough.
FEW_PRODUCTS, PATIENCE = 1e7, 0.5

# Added to the Hessian's diagonal, relative to its mean; and a class that no row can be of.
RIDGE, IMPOSSIBLE = 1e-14, 1e-18

# The damping: its least, its most, and the factor between two of them.
MIN_DAMPING, MAX_DAMPING, MORE_DAMPING = 1e-12, 1e3, 1e3


def is_small(rows: Rows, classes: int) -> bool:
    """Whether the Hessian takes a few hundred milliseconds and megabytes at most."""
    unknowns = classes * (rows.X.shape[1] + 1)
    quick = unknowns <= MAX_UNKNOWNS and rows.count * unknowns**2 <= MAX_PRODUCTS
    return bool(quick and rows.count * unknowns <= MAX_COPIED)


def is_quick(rows: Rows, classes: int) -> bool:
    """Whether the method is faster than L-BFGS from the first step on."""
    return bool(rows.count * (classes * (rows.X.shape[1] + 1)) ** 2 <= FEW_PRODUCTS)


class Newton:
    """Damped steps on centred rows, which are held in float64 with a 1 appended, (N, D + 1).

    A feature that is constant up to rounding becomes 0, in `rows` too, or a step would divide by
    it.
    """

    def __init__(self, engine: Engine, centred: Rows, present: NDArray[np.bool_]) -> None:
        self._engine, self._present = engine, present
        self.damping = 0.0  # relative to the Hessian's diagonal
        X, rows = centred.scaled(), centred
        constant = np.ptp(X, axis=0) <= EQUAL * np.abs(rows.offset)
        if constant.any():
            X[:, constant] = 0.0
            scale, offset = (np.where(constant, 0.0, part) for part in (rows.scale, rows.offset))
            rows = replace(rows, scale=scale, offset=offset)
        self.rows = rows
        self._X = np.concatenate([X, np.ones((len(X), 1))], axis=1)

    def damp_more(self) -> bool:
        """Damp more after a step that failed; False at the most."""
        if self.damping > MAX_DAMPING:
            return False
        self._raise_damping()
        return True

    def _raise_damping(self) -> None:
        self.damping = max(MORE_DAMPING * self.damping, MIN_DAMPING)

    def damp_less(self) -> None:
        """Damp less after a step that was taken."""
        self.damping = self.damping / MORE_DAMPING if self.damping > MIN_DAMPING else 0.0

    def step(self, at: Float64, gradient: Float64, penalty: Penalty) -> Float64:
        """The damped inverse Hessian at a point times a gradient, both (K, D + 1)."""
        H = _hessian(self._engine, self._X, at, penalty, self.rows.row_weights)
        unit = 1.0 / np.sqrt(H.diagonal())  # in which every curvature is 1
        H *= unit * unit[:, None]
        with one_blas_thread():
            while True:
                damped = H + self.damping * np.eye(len(H))
                try:
                    solution = np.linalg.solve(damped, unit * gradient.ravel())
                    break
                except np.linalg.LinAlgError:
                    self._raise_damping()
        direction = (unit * solution).reshape(gradient.shape)
        direction[~self._present] = 0.0
        return np.asarray(direction)


def _hessian(
    engine: Engine, X: Float64, at: Float64, penalty: Penalty, weights: Float64 | None
) -> Float64:
    """The Hessian at a point (K, D + 1), of rows X (N, D + 1) and their weights (N,)."""
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
    # Each feature, and the bias, has a curvature of its own size; that of a constant one is 0.
    sizes = H.diagonal().reshape(K, width).mean(axis=0)
    sizes[sizes == 0.0] = 1.0
    diagonal = np.tile(penalty.curvature + RIDGE * sizes, (K, 1))
    # The cost does not depend on the bias of a class that no row can be of.
    diagonal[:, -1] = np.where(P.max(axis=0) < IMPOSSIBLE, sizes[-1], RIDGE * sizes[-1])
    H[np.diag_indices(len(H))] += diagonal.ravel()
    # What all classes share changes no probability: a curvature keeps it out of the step.
    each = np.arange(width)
    H.reshape(blocks.shape)[:, each, :, each] += sizes[:, None, None] / K
    return H
