"""The Hessian of the loss on rows held in memory: Newton's method, and a preconditioner.

    H_kj = (1/N) Σ (p_k δ_kj − p_k p_j) x̃ x̃ᵀ + 2λ δ_kj I        x̃ the centred row with a 1 appended

`Newton` takes the whole of it anew at each step: a dozen steps end at the last digit even where
L-BFGS needs hundreds, as on separable rows under a small λ. `ClassCurvature` takes the blocks H_kk
at one point, K (D + 1)² numbers, as the preconditioner of L-BFGS, which finds out about the rest:
some 10 steps from a point near the optimum. Of two classes with W₁ = −W₀ one row of weights is all
there is, and its block, with 2 p₁ p₀ in the place of p₁ (1 − p₁), is the whole Hessian: truncated
steps of Newton's method take it by its products alone.

The smallest problems descend by Newton's method in the kernel, all steps in one call; where a step
fails there, damped ones go on here.

Which of them is worth its time is a matter of sizes: `Prices` are the seconds that each takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.scaling import EQUAL
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, Weights, loaded
from onelayer.engines import native as kernel
from onelayer.objective.penalty import Penalty
from onelayer.solver.lbfgs import (
    EXACT_FEATURES,
    EXTRA_DIRECTIONS,
    RANK,
    SAMPLE_ROWS,
    SUSPECT,
    Preconditioner,
    fit_mean,
    fit_preconditioner,
    fit_variances,
    sample_rows,
    takes_inverse,
)
from onelayer.solver.linalg import inner, inverse_of_gram, require_finite

Float64 = NDArray[np.float64]

Floats = NDArray[np.floating]

Divide = Callable[[Float64], Floats]

# Seconds on one core of a two-core EPYC (Zen 5), over problems of 150 × 4 to 10 000 × 513: of a
# step of L-BFGS beside the products of its pass, of a product of a pass, of one of a Gram matrix in
# float32 and in float64, of an inverse, of a factorisation, of eigenvectors, of what a Hessian
# costs beside them for each of its blocks, and of one entry of the probabilities.
STEP, PASS_PRODUCT, GRAM32_PRODUCT, GRAM64_PRODUCT = 9e-5, 2.3e-11, 2.3e-11, 6e-11
INVERSE_PRODUCT, SOLVE_PRODUCT, EIGEN_PRODUCT, LARGE_EIGEN_PRODUCT = 7e-11, 3e-11, 4e-10, 1.5e-10
CALLS, ENTRY = 3e-5, 1.2e-8

# Newton's method is taken at once where one of its steps costs at most so many of L-BFGS, which
# needs that many times as many. Else it is taken when L-BFGS has cost as much as NEWTON_STEPS.
FEW_STEPS, NEWTON_STEPS = 2.0, 10.0

# Directions where they cost less than they spare: twice as many about a step for each solution, as
# many instead of half about as much and COLD_STEPS of the first one, and all ALL_SPARE times that.
NARROW_RANK, WIDE_RANK, COLD_STEPS, ALL_SPARE = RANK // 2, 2 * RANK, 10, 1.2

# The curvature of the classes is taken, and taken anew, when steps cost so much of its price.
PATIENCE = 0.75

# Most entries of the rows, and of the Hessian, in memory; and most seconds of a step of Newton's.
MAX_ENTRIES, MAX_HESSIAN, MAX_SECONDS = 1 << 24, 1 << 22, 0.25

# Steps of Newton's method on a line, and the score from which on a probability of 0 is left.
LINE_STEPS, LARGEST_SCORE = 2, 80.0

# Rows of a sample that says how long a step is, such steps, the relative change that ends them, and
# what its slope is off at most.
LINE_ROWS, STEPS_ON_LINE, LINE_CHANGE, MOST_SCALED = 256, 10, 0.01, 4.0

# Most products with the rows of a truncated step of Newton's, and entries of rows that stay in the
# cache for them, so that BLAS makes the passes of two classes faster than an engine.
MAX_PRODUCTS, CACHED_ENTRIES = 100, 1 << 21

# Rows whose features are held once for each class at a time, so that they stay in the cache.
BLOCK_ENTRIES = 1 << 16

# Added to the Hessian's diagonal, relative to its mean; and a class that no row can be of.
RIDGE, IMPOSSIBLE = 1e-14, 1e-18

# Rows of less curvature than this part of the mean are left out of it, if they are not a few.
FLAT, MOST_ROWS = 0.01, 0.7

TINY = float(np.finfo(np.float64).tiny)

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
    def of(cls, rows: int, features: int, classes: int, sparse: float | None = None) -> Prices:
        """The prices for so many rows, features and classes.

        Sparse rows, for which a pass takes `sparse` products a class, are for L-BFGS alone.

        Example:
            >>> Prices.of(150, 4, 3).takes_newton_at_once
            True
        """
        N, D, K = rows, features, classes
        width, blocks = D + 1, 1 if K == 2 else K
        probabilities = CALLS + ENTRY * N * K
        curvature = probabilities + blocks * (
            CALLS + GRAM32_PRODUCT * N * width**2 / 2 + INVERSE_PRODUCT * width**3
        )
        unknowns = width if K == 2 else K * width
        newton = probabilities + CALLS + GRAM64_PRODUCT * N * unknowns**2 / 2
        newton += SOLVE_PRODUCT * unknowns**3
        held, sample = N * width <= MAX_ENTRIES and sparse is None, min(N, SAMPLE_ROWS)
        exact = takes_inverse(sample, D)
        directions = _price_of_all(sample, D) if exact else _price_of_leading(sample, D, RANK)
        return cls(
            step=STEP + 2 * PASS_PRODUCT * K * (N * D if sparse is None else sparse),
            directions=directions,
            curvature=curvature if held and blocks * width**2 <= MAX_HESSIAN else np.inf,
            newton=newton if held and newton <= MAX_SECONDS else np.inf,
        )

    @classmethod
    def of_rows(cls, rows: Rows, classes: int) -> Prices:
        """The prices for these rows."""
        sparse = None if rows.is_dense else rows.products
        return cls.of(rows.count, rows.X.shape[1], classes, sparse)

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
        return self.curvature > 2.0 * self.directions and not self.takes_newton_at_once


def _price_of_all(sample: int, D: int, solutions: int = 1) -> float:
    """Of an inverse of the covariance, or of its eigenvectors, which serve several λ."""
    factor = INVERSE_PRODUCT if solutions <= 2 else LARGE_EIGEN_PRODUCT
    return CALLS + GRAM32_PRODUCT * sample * D**2 / 2 + factor * D**3


def _price_of_leading(sample: int, D: int, rank: int) -> float:
    """Of the leading directions, by products with a few more."""
    width = min(rank + EXTRA_DIRECTIONS, sample, D)
    return CALLS + 3 * PASS_PRODUCT * sample * D * width + 2 * EIGEN_PRODUCT * width**3


def choose_preconditioner(
    engine: Engine, rows: Rows, classes: int, solutions: int = 1
) -> Preconditioner:
    """The preconditioner that L-BFGS starts with: the better one where it is worth its time."""
    prices = Prices.of_rows(rows, classes)
    if not rows.is_dense:
        return fit_variances(engine, rows, classes)
    if prices.takes_newton_at_once:
        return fit_mean(engine, rows, classes)
    if prices.takes_directions or stored_rows(rows.X) is not None:
        rank = choose_rank(rows.count, rows.X.shape[1], classes, solutions)
        return fit_preconditioner(engine, rows, classes, solutions, rank)
    return fit_variances(engine, rows, classes)


def choose_rank(rows: int, features: int, classes: int, solutions: int) -> int | None:
    """The directions whose price is spared by so many solutions; None for all of them.

    Example:
        >>> choose_rank(6400, 768, 10, solutions=12), choose_rank(10_000, 3072, 10, solutions=1)
        (128, 256)
    """

    def price(rank: int) -> float:
        sample = sample_rows(rows, features, classes, solutions, rank)
        return _price_of_leading(sample, features, rank)

    step, sample = Prices.of(rows, features, classes).step, min(rows, SAMPLE_ROWS)
    dearer, spared = price(RANK) - price(NARROW_RANK), (COLD_STEPS + solutions) * step
    if takes_inverse(sample, features):
        exact = _price_of_all(sample, features, solutions) - price(NARROW_RANK)
        if features <= EXACT_FEATURES or exact < ALL_SPARE * spared:
            return None
    elif solutions > 1 and price(WIDE_RANK) - price(RANK) < solutions * step:
        return WIDE_RANK
    return RANK if dearer < spared else NARROW_RANK


class DenseRows:
    """Centred rows with a 1 appended, X (N, D + 1), in float32 or float64.

    Without an intercept a 0 is appended, so that the bias has neither gradient nor curvature.
    A feature that is constant up to rounding becomes 0, in `rows` too, or a step would divide by
    it.
    """

    def __init__(
        self, centred: Rows, present: NDArray[np.bool_], dtype: Literal["float32", "float64"]
    ) -> None:
        rows, X = centred, np.empty((centred.count, centred.X.shape[1] + 1), dtype)
        X[:, -1] = float(centred.intercept)
        step = max(1, BLOCK_ENTRIES // X.shape[1])
        for start in range(0, len(X), step):
            X[start : start + step, :-1] = centred.part(start, start + step).scaled(dtype)
        squares = np.einsum("nd,nd->d", X[:, :-1], X[:, :-1]) / len(X)
        with np.errstate(over="ignore"):
            require_finite(squares.astype(np.float32))
        constant = suspect = np.flatnonzero(np.sqrt(squares) <= SUSPECT * np.abs(rows.offset))
        if len(suspect):
            spread = np.ptp(X[:, suspect], axis=0)
            if not centred.intercept:  # then a constant is a feature as any other
                spread = np.abs(X[:, suspect]).max(axis=0)
            constant = suspect[spread <= EQUAL * np.abs(rows.offset[suspect])]
        if len(constant):
            X[:, constant] = 0.0
            scale, offset = rows.scale.copy(), rows.offset.copy()
            scale[constant] = offset[constant] = 0.0
            rows = replace(rows, scale=scale, offset=offset)
        self.rows, self.X, self.mass, self.present = rows, X, rows.mass, present
        # A point, its scores (K, N), and its probabilities; of two classes as `probabilities` says.
        self._last: tuple[Float64, Floats, Floats] | None = None
        # What sums over rows of products take of X.
        self.weights = None if rows.row_weights is None else rows.row_weights.astype(dtype)
        y = rows.labels
        self._is_pair = len(present) == 2 and bool(present.all())
        self._sign = (2.0 * y - 1.0).astype(dtype)  # of two classes
        self._own = y * len(y) + np.arange(len(y))  # in an array (K, N)
        self.labels = np.ascontiguousarray(y, np.int64)
        self.offsets: Any = rows.row_offsets
        if self.offsets is not None:  # (K, N), or of two classes their difference, (1, N)
            self.offsets = np.ascontiguousarray(self.offsets.T, dtype)
            if self._is_pair:
                self.offsets = self.offsets[1:] - self.offsets[:1]

    @property
    def is_pair(self) -> bool:
        """Whether two classes are one row of weights."""
        return self._is_pair

    def probabilities(self, at: Float64) -> Floats:
        """Probabilities p at a point, (K, N); of two classes p (1 − p), (N,), takes their place."""
        return self._kept(at)[1]

    def _kept(self, at: Float64) -> tuple[Floats, Floats]:
        """Scores at a point less a constant for each row, and what `probabilities` are.

        The score of two classes is that of a row's own class over the other's, (N,).
        """
        if self._last is None or self._last[0] is not at:
            self.cost(at)
        assert self._last is not None  # noqa: S101  # it is of this point now
        return self._last[1:]

    def cost(self, point: Float64) -> tuple[float, Float64]:
        """Mean cross-entropy at a point (K, D + 1), and its gradient."""
        at = point.astype(self.X.dtype, copy=False)
        if self.is_pair:
            margin = self.X @ (at[1] - at[0])
            if self.offsets is not None:
                margin += self.offsets[0]
            margin *= self._sign
            e = np.exp(-np.abs(margin))
            q = 1.0 / (1.0 + e)
            losses, wrong = np.log1p(e) - np.minimum(margin, 0.0), e * q
            self._last = point, margin, wrong * q
            residual = np.where(margin > 0.0, -wrong, -q) * self._sign
            g = self._sums(residual)
            return self._mean_of(losses), np.array([-g, g])
        S = at @ self.X.T
        if self.offsets is not None:
            S += self.offsets
        S -= np.maximum.reduce(S, axis=0)
        own = S.take(self._own)
        P = np.exp(S)
        total = np.add.reduce(P, axis=0)
        P /= total
        self._last = point, S, P
        losses, residual = np.log(total) - own, P.copy()
        residual.reshape(-1)[self._own] -= 1.0
        return self._mean_of(losses), self._sums(residual)

    def _sums(self, residual: Floats) -> Float64:
        """The gradient from residuals (…, N); proofs need that of the bias sharper: in float64."""
        mean = self.mean(residual)
        gradient = (mean @ self.X).astype(np.float64, copy=False)
        if self.rows.intercept:
            gradient[..., -1] = np.add.reduce(mean, axis=-1, dtype=np.float64)
        return gradient

    def _mean_of(self, losses: Floats) -> float:
        return float(np.add.reduce(self.mean(losses), dtype=np.float64))

    def mean(self, values: Floats) -> Floats:
        """Values of rows, on the last axis, times the rows' fractions of the weight."""
        return values / self.mass if self.weights is None else values * (self.weights / self.mass)

    def bias_step(self, at: Float64, slope: Float64) -> Float64:
        """A step of Newton's method for the bias alone, (K,), by its gradient at a point."""
        P, step = self.probabilities(at), np.zeros(len(slope))
        if self.is_pair:
            step[1] = -slope[1] / max(2.0 * self._mean_of(P), TINY)
            return np.array([-step[1], step[1]])
        kept = P[self.present].astype(np.float64, copy=False)
        H = -self.mean(kept) @ kept.T
        # What all classes share changes nothing: a curvature keeps it out of the step.
        H += np.diag(-np.add.reduce(H, axis=1)) + max(-float(H.min()), TINY)
        step[self.present] = -np.linalg.solve(H, slope[self.present])
        return step

    def best_length(self, at: Float64, direction: Float64, penalty: Penalty) -> float:
        """About how far along a direction the cost is lowest: two of Newton's steps on the line.

        Newton's steps are too short far from the optimum, where the loss flattens faster than its
        curvature says. Scores are linear on the line, so this takes one product with the rows.
        """
        scores, _ = self._kept(at)
        along, length = direction.astype(self.X.dtype, copy=False), 1.0
        slope, steep = _on_line(penalty, at, direction)
        if self.is_pair:
            along = (self.X @ (along[1] - along[0])) * self._sign
        else:
            along = along @ self.X.T
            own = self.mean(along.take(self._own))
            slope -= float(np.add.reduce(own))
        if self.is_pair:
            for _ in range(LINE_STEPS):
                p = 1.0 / (1.0 + np.exp(np.minimum(scores + length * along, LARGEST_SCORE)))
                first = -p * along
                falls = slope + length * steep + self._mean_of(first)
                bends = steep + self._mean_of(first * (p - 1.0) * along)
                if not bends > 0.0:
                    break
                length = min(max(length - falls / bends, length / 2.0), 4.0 * length)
            return length
        return lowest_on_line(scores, along, self.mean, slope, steep, LINE_STEPS)

    def truncated_step(
        self, at: Float64, gradient: Float64, penalty: Penalty, divide: Divide, tolerance: float
    ) -> tuple[Float64, int]:
        """A step of Newton's method for two classes, and the products with the rows that it took.

        Conjugate gradients solve for it, preconditioned by `divide`, until the residual has fallen
        by the tolerance (Dembo, Eisenstat & Steihaug 1982). A product costs less than a pass.
        """
        curvature = 2.0 * self.mean(self.probabilities(at))
        bends, dtype = penalty.curvatures, self.X.dtype
        residual, step = gradient[1].copy(), np.zeros(gradient.shape[1])
        along = divided = divide(np.array([-residual, residual]))[1]
        size = before = float(residual @ divided)
        products = 0
        while size > tolerance**2 * before and products < MAX_PRODUCTS:
            product = (curvature * (self.X @ along.astype(dtype))) @ self.X
            product = product.astype(np.float64)
            product[:-1] += bends * along[:-1]
            bent = float(along @ product)
            if not bent > 0.0:  # in float32 nothing is left of it
                break
            length = size / bent
            step += length * along
            residual -= length * product
            divided = divide(np.array([-residual, residual]))[1]
            last, size, products = size, float(residual @ divided), products + 1
            along = divided + (size / last) * along
        return np.array([-step, step]), products

    def gram(self, curvature: Floats) -> Float64:
        """The mean over the rows of their curvature (N,) times x̃ x̃ᵀ, (D + 1, D + 1)."""
        Z = self.X * np.sqrt(self.mean(curvature))[:, None]
        return np.asarray(Z.T @ Z, np.float64)

    def gram_of_some(self, curvature: Floats) -> Float64:
        """The same without rows of little curvature, where they are not a few."""
        mean = self.mean(curvature)
        counts = np.flatnonzero(mean > FLAT * np.add.reduce(mean) / len(mean))
        if len(counts) > MOST_ROWS * len(mean):
            return self.gram(curvature)
        Z = self.X.take(counts, axis=0) * np.sqrt(mean.take(counts))[:, None]
        return np.asarray(Z.T @ Z, np.float64)


def _on_line(penalty: Penalty, at: Float64, direction: Float64) -> tuple[float, float]:
    """Slope and curvature of a penalty along a direction."""
    along = direction[:, :-1]
    pull = penalty.gradient(along)
    return inner(pull, at[:, :-1]), inner(pull, along)


def lowest_on_line(
    scores: Floats,
    along: Floats,
    mean: Callable[[Floats], Floats],
    slope: float,
    steep: float,
    steps: int,
    change: float = 0.0,
) -> float:
    """About how far on a line the cost is lowest, by so many of Newton's steps from 1.

    They end where one changes the length by no more than this part.

    Scores (K, N) grow by `along`; the rest of the cost has a slope and a curvature of its own, and
    `mean` makes of values of the rows those whose sum is their mean.
    """
    length = 1.0
    for _ in range(steps):
        p = scores + length * along
        p -= np.maximum.reduce(p, axis=0)
        np.exp(p, out=p)
        p /= np.add.reduce(p, axis=0)
        p *= along
        first = np.add.reduce(p, axis=0)
        p *= along
        second = np.add.reduce(p, axis=0) - first * first
        falls = slope + length * steep + float(np.add.reduce(mean(first)))
        bends = steep + float(np.add.reduce(mean(second)))
        if not bends > 0.0:
            break
        before, length = length, min(max(length - falls / bends, length / 2.0), 4.0 * length)
        if abs(length - before) <= change * before:
            break
    return length


class LineSample:
    """Some rows that say how long a step of all rows is, in a fraction of a pass."""

    def __init__(self, engine: Engine, centred: Rows) -> None:
        chosen = np.random.default_rng(0).choice(centred.count, LINE_ROWS, replace=False)
        self._engine, self._rows = engine, loaded(centred, np.sort(chosen))
        weights = self._rows.row_weights
        weights = np.ones(LINE_ROWS) if weights is None or not weights.any() else weights
        self._fractions = (weights / weights.sum()).astype(np.float32)
        self._own = self._rows.labels, np.arange(LINE_ROWS)

    def best_length(
        self, at: Float64, direction: Float64, penalty: Penalty, falls: float
    ) -> float | None:
        """As of `DenseRows`, from the cost's slope on all rows; None where the sample's differs."""
        scores, along = (self._scores(of.astype(np.float32)) for of in (at, direction))
        if self._rows.row_offsets is not None:
            scores = scores + self._rows.row_offsets.T
        along -= along[self._own]
        p = np.exp(scores - np.maximum.reduce(scores, axis=0))
        p = along * (p / np.add.reduce(p, axis=0))
        slope, steep = _on_line(penalty, at, direction)
        # The loss's slope where the line begins is known; the sample says how it changes.
        sampled = float(self._fractions @ np.add.reduce(p))
        scale = (falls - slope) / sampled if sampled else 0.0
        if not 1.0 / MOST_SCALED <= scale <= MOST_SCALED:
            return None
        mean = (scale * self._fractions).astype(np.float32).__mul__
        return lowest_on_line(scores, along, mean, slope, steep, STEPS_ON_LINE, LINE_CHANGE)

    def _scores(self, at: Floats) -> Floats:
        """Scores (K, n), or (K, 1) where W = 0."""
        W, b = at[None, :, :-1], at[None, :, -1]
        if not W.any():
            return b.T
        scores: Floats = self._engine.scores(self._rows.unlabelled, Weights(W, b))[0]
        return scores.T.copy()


class ClassCurvature:
    """The Hessian's block of each class at one point; what couples classes is left out."""

    def __init__(self, rows: DenseRows, at: Float64) -> None:
        self.at, self._pair, self._bend = at, rows.is_pair, -1.0
        P = rows.probabilities(at)
        curvatures = 2.0 * P[None] if rows.is_pair else P * (1.0 - P)
        self._blocks = np.array([rows.gram_of_some(each) for each in curvatures])

    def divide(self, gradient: Float64, penalty: Penalty) -> Float64:
        """The inverse of the blocks, with 2λ on their diagonals, times a gradient (K, D + 1)."""
        if penalty.curvature != self._bend:
            self._bend, blocks = float(penalty.curvature), self._blocks.copy()
            width = blocks.shape[-1]
            blocks.reshape(len(blocks), -1)[:, :: width + 1][:, :-1] += penalty.curvatures
            self._inverse = inverse_of_gram(blocks)
        if self._pair:
            step = gradient[1] @ self._inverse[0]
            return np.array([-step, step])
        return np.asarray(np.matmul(gradient[:, None, :], self._inverse)[:, 0])


class Ends(NamedTuple):
    """Where a descent in the kernel ends, and from where steps are far ones: see `newton` there."""

    end: float
    relative_end: float
    bias_end: float
    far: float


class Newton:
    """Damped steps with the whole Hessian at every point."""

    def __init__(self, rows: DenseRows) -> None:
        self.rows = rows
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

    def descend(
        self, at: Float64, penalty: Penalty, ends: Ends, most: int
    ) -> tuple[Float64, float, Float64, int]:
        """Take steps in the kernel while each lowers the cost; of `most` costs at most.

        A point, its cost and gradient, and how many costs that took.
        """
        rows, curvatures = self.rows, np.zeros(at.shape[1])
        curvatures[:-1] = penalty.curvatures
        fractions = np.asarray(rows.mean(np.ones(len(rows.X))), np.float64)
        reached = at[1:].copy() if rows.is_pair else at.copy()
        cost, gradient, costs = kernel.newton(
            rows.X, rows.labels, fractions, rows.offsets, curvatures, reached, *ends, most
        )
        if rows.is_pair:
            reached, gradient = (np.concatenate([-of, of]) for of in (reached, gradient))
        return reached, cost, gradient, costs

    def step(self, at: Float64, gradient: Float64, penalty: Penalty) -> Float64:
        """The damped inverse Hessian at a point times a gradient, both (K, D + 1)."""
        P = self.rows.probabilities(at)
        if self.rows.is_pair:
            step = self._solved(_pair_hessian(self.rows, P, penalty), gradient[1])
            return np.array([-step, step])
        H = _hessian(self.rows, P, penalty)
        direction = self._solved(H, gradient.ravel()).reshape(gradient.shape)
        direction[~self.rows.present] = 0.0
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


def _pair_hessian(rows: DenseRows, curvature: Floats, penalty: Penalty) -> Float64:
    """The Hessian of W₁ = −W₀ in either row, (D + 1, D + 1), by p (1 − p) of each row (N,)."""
    H = rows.gram(2.0 * curvature)
    diagonal = H.reshape(-1)[:: len(H) + 1]
    diagonal += RIDGE * diagonal
    diagonal[:-1] += penalty.curvatures
    diagonal[diagonal == 0.0] = 1.0
    return H


def _hessian(rows: DenseRows, P: Floats, penalty: Penalty) -> Float64:
    """The Hessian by the probabilities P (K, N), of shape (K (D + 1), K (D + 1))."""
    (K, count), width = P.shape, rows.X.shape[1]
    H, own = np.zeros((K * width, K * width)), np.zeros((K * width, width))
    X = rows.X if rows.weights is None else rows.X * np.sqrt(rows.weights)[:, None]
    # One product for all pairs of classes, and one more for each class with itself.
    step = max(1, BLOCK_ENTRIES // (K * width))
    for start in range(0, count, step):
        part = X[start : start + step]
        Z = (P.T[start : start + step, :, None] * part[:, None]).reshape(len(part), K * width)
        H -= Z.T @ Z
        own += Z.T @ part
    blocks, each = H.reshape(K, width, K, width), np.arange(K)
    blocks[each, :, each] += own.reshape(K, width, width)
    H /= rows.mass
    # Each feature, and the bias, has a curvature of its own size; that of a constant one is 0.
    sizes = np.add.reduce(H.diagonal().reshape(K, width), axis=0) / K
    sizes[sizes == 0.0] = 1.0
    diagonal = np.empty((K, width))
    diagonal[:] = RIDGE * sizes
    diagonal[:, :-1] += penalty.curvatures
    # The cost does not depend on the bias of a class that no row can be of.
    free = (np.maximum.reduce(P, axis=1) < IMPOSSIBLE) | (not rows.rows.intercept)
    diagonal[:, -1] = np.where(free, sizes[-1], RIDGE * sizes[-1])
    H.reshape(-1)[:: len(H) + 1] += diagonal.reshape(-1)
    # What all classes share changes no probability: a curvature keeps it out of the step.
    each = np.arange(width)
    blocks[:, each, :, each] += sizes[:, None, None] / K
    return H
