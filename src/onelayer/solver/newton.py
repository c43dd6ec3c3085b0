"""The Hessian of the loss on rows held in memory: Newton's method, and a preconditioner.

    H_kj = (1/N) Σ (p_k δ_kj − p_k p_j) x̃ x̃ᵀ + 2λ δ_kj I        x̃ the centred row with a 1 appended

`Newton` takes the whole of it anew at each step: a dozen steps end at the last digit even where
L-BFGS needs hundreds, as on separable rows under a small λ. `ClassCurvature` takes the blocks H_kk
at one point, K (D + 1)² numbers, as the preconditioner of L-BFGS, which finds out about the rest:
some 10 steps from a point near the optimum. Of two classes with W₁ = −W₀ one row of weights is all
there is, and its block, with 2 p₁ p₀ in the place of p₁ (1 − p₁), is the whole Hessian.

Which of them is worth its time is a matter of sizes: `Prices` are the seconds that each takes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.scaling import EQUAL
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine
from onelayer.objective.penalty import Penalty
from onelayer.solver.lbfgs import (
    EXACT_FEATURES,
    EXTRA_DIRECTIONS,
    RANK,
    SAMPLE_ROWS,
    Preconditioner,
    fit_preconditioner,
    fit_variances,
)

Float64 = NDArray[np.float64]

# Seconds on one core of a two-core EPYC (Zen 5), medians of 15 over problems of 150 × 4 to
# 10 000 × 513: of a step of L-BFGS beside the products of its pass, of a product of a pass, of one
# of a Gram matrix, of a factorisation or of eigenvectors, of what a Hessian costs beside them for
# each of its blocks, and of one entry of the probabilities.
STEP, PASS_PRODUCT, GRAM_PRODUCT, INVERSE_PRODUCT, SOLVE_PRODUCT, EIGEN_PRODUCT = (
    6e-5, 4e-11, 6e-11, 9e-11, 3e-11, 4e-10
)  # fmt: skip
CALLS, ENTRY = 3e-5, 1.2e-8

# Newton's method is taken at once where one of its steps costs at most so many of L-BFGS, which
# needs that many times as many. Else it is taken when L-BFGS has cost as much as NEWTON_STEPS.
FEW_STEPS, NEWTON_STEPS = 2.0, 10.0

# The curvature of the classes is taken, and taken anew, when steps cost so much of its price.
PATIENCE = 1.0

# Most entries of the rows, and of the Hessian, in memory; and most seconds of a step of Newton's.
MAX_ENTRIES, MAX_HESSIAN, MAX_SECONDS = 1 << 24, 1 << 22, 0.25

# Rows whose features are held once for each class at a time, so that they stay in the cache.
BLOCK_ENTRIES = 1 << 18

# Added to the Hessian's diagonal, relative to its mean; and a class that no row can be of.
RIDGE, IMPOSSIBLE = 1e-14, 1e-18

# The same of class curvature, which is no more than a preconditioner, and the least of p (1 − p).
CURVATURE_RIDGE, MIN_CURVATURE = 1e-11, 1e-9

# The damping: its least, its most, and the factor between two of them.
MIN_DAMPING, MAX_DAMPING, MORE_DAMPING = 1e-12, 1e3, 1e3


@dataclass(frozen=True)
class Prices:
    """Modelled seconds of the methods for one problem; infinite where one is not to be had."""

    step: float  # of L-BFGS, with its pass
    directions: float  # the eigenvectors of the features' covariance
    curvature: float  # of each class
    newton: float  # a step with the whole Hessian

    @classmethod
    def of(cls, rows: int, features: int, classes: int) -> Prices:
        """The prices for so many rows, features and classes.

        Example:
            >>> Prices.of(150, 4, 3).takes_newton_at_once
            True
        """
        N, D, K = rows, features, classes
        width, unknowns = D + 1, K * (D + 1)
        blocks = 1 if K == 2 else K
        probabilities = CALLS + ENTRY * N * K
        curvature = probabilities + blocks * (
            CALLS + GRAM_PRODUCT * N * width**2 / 2 + INVERSE_PRODUCT * width**3
        )
        newton = probabilities + CALLS + GRAM_PRODUCT * N * unknowns**2 / 2
        newton += SOLVE_PRODUCT * unknowns**3
        if K == 2:
            newton = curvature + CALLS
        held = N * width <= MAX_ENTRIES
        return cls(
            step=STEP + 2 * PASS_PRODUCT * N * D * K,
            directions=_price_of_directions(min(N, SAMPLE_ROWS), D),
            curvature=curvature if held and blocks * width**2 <= MAX_HESSIAN else np.inf,
            newton=newton if held and newton <= MAX_SECONDS else np.inf,
        )

    @property
    def holds_rows(self) -> bool:
        """Whether the rows may be held in memory, for methods with a Hessian."""
        return min(self.curvature, self.newton) < np.inf

    @property
    def takes_newton_at_once(self) -> bool:
        """Whether Newton's method is the fastest from the first step on."""
        return self.newton <= FEW_STEPS * self.step

    @property
    def steps_of_curvature(self) -> float:
        """Steps of L-BFGS that cost as much as the curvature of the classes."""
        return max(1.0, PATIENCE * self.curvature / self.step)

    @property
    def steps_of_newton(self) -> float:
        """Steps of L-BFGS that cost as much as Newton's method."""
        return NEWTON_STEPS * self.newton / self.step

    @property
    def takes_directions(self) -> bool:
        """Whether eigenvectors of the covariance are worth more than the curvature of classes."""
        return self.curvature > self.directions and not self.takes_newton_at_once


def _price_of_directions(sample: int, D: int) -> float:
    """Of all directions, or of the leading ones by products with a few more."""
    if D <= EXACT_FEATURES:
        return CALLS + 2 * GRAM_PRODUCT * sample * D**2 + EIGEN_PRODUCT * D**3
    width = min(RANK + EXTRA_DIRECTIONS, sample, D)
    return CALLS + 3 * PASS_PRODUCT * sample * D * width + 2 * EIGEN_PRODUCT * width**3


def choose_preconditioner(engine: Engine, rows: Rows, classes: int) -> Preconditioner:
    """The preconditioner that L-BFGS starts with: the better one where it is worth its time."""
    prices = Prices.of(rows.count, rows.X.shape[1], classes)
    if prices.takes_directions or stored_rows(rows.X) is not None:
        return fit_preconditioner(engine, rows, classes)
    return fit_variances(engine, rows, classes)


class DenseRows:
    """Centred rows in float64 with a 1 appended, one a column: X (D + 1, N).

    A feature that is constant up to rounding becomes 0, in `rows` too, or a step would divide by
    it.
    """

    def __init__(self, centred: Rows, present: NDArray[np.bool_]) -> None:
        X, rows = centred.scaled().T, centred
        constant = np.ptp(X, axis=1) <= EQUAL * np.abs(rows.offset)
        if constant.any():
            X[constant] = 0.0
            scale, offset = (np.where(constant, 0.0, part) for part in (rows.scale, rows.offset))
            rows = replace(rows, scale=scale, offset=offset)
        self.rows, self.mass, self.weights = rows, rows.mass, rows.row_weights
        self.X = np.concatenate([X, np.ones((1, X.shape[1]))])
        # Times the root of the row's weight, for sums over rows of products.
        self.root = self.X if self.weights is None else self.X * np.sqrt(self.weights)
        self.present, y = present, rows.labels
        self._is_pair = len(present) == 2 and bool(present.all())
        self._sign = 2.0 * y - 1.0  # of two classes
        self._own = y * len(y) + np.arange(len(y))  # in an array (K, N)

    @property
    def is_pair(self) -> bool:
        """Whether two classes are one row of weights."""
        return self._is_pair

    def cost(self, at: Float64) -> tuple[float, Float64, Float64]:
        """Mean cross-entropy at a point (K, D + 1), its gradient, and p (K, N).

        Of two classes p (1 − p), (N,), takes the place of p.
        """
        if self.is_pair:
            margin = self._sign * ((at[1] - at[0]) @ self.X)
            e = np.exp(-np.abs(margin))
            q = 1.0 / (1.0 + e)
            losses, wrong = np.log1p(e) - np.minimum(margin, 0.0), e * q
            curvature = wrong * q
            residual = np.where(margin > 0.0, -wrong, -q) * self._sign
            g = self._mean(residual) @ self.X.T
            return float(np.add.reduce(self._mean(losses))), np.array([-g, g]), curvature
        S = at @ self.X
        S -= np.maximum.reduce(S, axis=0)
        own = S.take(self._own)
        P = np.exp(S)
        total = np.add.reduce(P, axis=0)
        P /= total
        losses, residual = np.log(total) - own, P.copy()
        residual.reshape(-1)[self._own] -= 1.0
        gradient = self._mean(residual) @ self.X.T
        return float(np.add.reduce(self._mean(losses))), gradient, P

    def _mean(self, values: Float64) -> Float64:
        """Values of rows, on the last axis, times the rows' fractions of the weight."""
        return values / self.mass if self.weights is None else values * (self.weights / self.mass)

    def gram(self, curvature: Float64) -> Float64:
        """The mean over the rows of their curvature (N,) times x̃ x̃ᵀ, (D + 1, D + 1)."""
        Z = self.root * np.sqrt(curvature)
        return np.asarray(Z @ Z.T) / self.mass


class ClassCurvature:
    """The Hessian's block of each class at one point; what couples classes is left out."""

    def __init__(self, rows: DenseRows, at: Float64) -> None:
        self.at, self._pair, self._bend = at, rows.is_pair, -1.0
        P = rows.cost(at)[2]
        curvatures = np.maximum(2.0 * P[None] if rows.is_pair else P * (1.0 - P), MIN_CURVATURE)
        self._blocks = np.array([rows.gram(curvature) for curvature in curvatures])

    def divide(self, gradient: Float64, penalty: Penalty) -> Float64:
        """The inverse of the blocks, with 2λ on their diagonals, times a gradient (K, D + 1)."""
        if penalty.curvature != self._bend:
            self._bend = float(penalty.curvature)
            self._inverse = _inverse(self._blocks, self._bend)
        if self._pair:
            step = gradient[1] @ self._inverse[0]
            return np.array([-step, step])
        return np.asarray(np.matmul(gradient[:, None, :], self._inverse)[:, 0])


def _inverse(blocks: Float64, bend: float) -> Float64:
    """The inverse of each block (D + 1, D + 1), with 2λ on the diagonal of the features."""
    H, width = blocks.copy(), blocks.shape[-1]
    diagonal = H.reshape(len(H), -1)[:, :: width + 1]
    diagonal[:, :-1] += bend
    unit = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))  # in which every curvature is 1
    H *= unit[:, :, None] * unit[:, None, :]
    diagonal[:] = 1.0 + CURVATURE_RIDGE
    return np.asarray(np.linalg.inv(H) * (unit[:, :, None] * unit[:, None, :]))


class Newton:
    """Damped steps with the whole Hessian at every point."""

    def __init__(self, rows: DenseRows) -> None:
        self._rows = rows
        self._last: tuple[Float64, Float64] | None = None  # point, and what its Hessian takes of p
        self.damping = 0.0  # relative to the Hessian's diagonal

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

    def cost(self, at: Float64) -> tuple[float, Float64]:
        """Mean cross-entropy at a point (K, D + 1), and its gradient."""
        loss, gradient, P = self._rows.cost(at)
        self._last = at, P
        return loss, gradient

    def step(self, at: Float64, gradient: Float64, penalty: Penalty) -> Float64:
        """The damped inverse Hessian at a point times a gradient, both (K, D + 1)."""
        if self._last is None or self._last[0] is not at:
            self.cost(at)
        assert self._last is not None  # noqa: S101  # it is of this point now
        if self._rows.is_pair:
            step = self._solved(_pair_hessian(self._rows, self._last[1], penalty), gradient[1])
            return np.array([-step, step])
        H = _hessian(self._rows, self._last[1], penalty)
        direction = self._solved(H, gradient.ravel()).reshape(gradient.shape)
        direction[~self._rows.present] = 0.0
        return direction

    def _solved(self, H: Float64, gradient: Float64) -> Float64:
        """The damped H⁻¹ times a gradient; H is overwritten."""
        diagonal = H.reshape(-1)[:: len(H) + 1]
        unit = 1.0 / np.sqrt(diagonal)  # in which every curvature is 1
        H *= unit * unit[:, None]
        ones = diagonal.copy()
        while True:
            diagonal[:] = ones + self.damping
            try:
                return np.asarray(unit * np.linalg.solve(H, unit * gradient))
            except np.linalg.LinAlgError:
                self._raise_damping()


def _pair_hessian(rows: DenseRows, curvature: Float64, penalty: Penalty) -> Float64:
    """The Hessian of W₁ = −W₀ in either row, (D + 1, D + 1), by p (1 − p) of each row (N,)."""
    H = rows.gram(2.0 * curvature)
    diagonal = H.reshape(-1)[:: len(H) + 1]
    diagonal += RIDGE * diagonal
    diagonal[:-1] += penalty.curvature
    diagonal[diagonal == 0.0] = 1.0
    return H


def _hessian(rows: DenseRows, P: Float64, penalty: Penalty) -> Float64:
    """The Hessian by the probabilities P (K, N), of shape (K (D + 1), K (D + 1))."""
    (K, count), width = P.shape, len(rows.X)
    H, own = np.zeros((K * width, K * width)), np.zeros((K * width, width))
    # One product for all pairs of classes, and one more for each class with itself.
    step = max(1, BLOCK_ENTRIES // (K * width))
    for start in range(0, count, step):
        part = rows.root[:, start : start + step]
        Z = (P[:, None, start : start + step] * part).reshape(K * width, part.shape[1])
        H -= Z @ Z.T
        own += Z @ part.T
    blocks, each = H.reshape(K, width, K, width), np.arange(K)
    blocks[each, :, each] += own.reshape(K, width, width)
    H /= rows.mass
    # Each feature, and the bias, has a curvature of its own size; that of a constant one is 0.
    sizes = np.add.reduce(H.diagonal().reshape(K, width), axis=0) / K
    sizes[sizes == 0.0] = 1.0
    diagonal = np.empty((K, width))
    diagonal[:] = penalty.curvature + RIDGE * sizes
    # The cost does not depend on the bias of a class that no row can be of.
    impossible = np.maximum.reduce(P, axis=1) < IMPOSSIBLE
    diagonal[:, -1] = np.where(impossible, sizes[-1], RIDGE * sizes[-1])
    H.reshape(-1)[:: len(H) + 1] += diagonal.reshape(-1)
    # What all classes share changes no probability: a curvature keeps it out of the step.
    each = np.arange(width)
    blocks[:, each, :, each] += sizes[:, None, None] / K
    return H
