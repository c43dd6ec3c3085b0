"""L-BFGS with a preconditioner, for problems whose Hessian is too large to form.

The step is algorithm 7.5 of Nocedal & Wright (2006). The preconditioner replaces the initial
inverse Hessian and is scaled at each step by the newest pair. One evaluation, a pass over the data,
gives cost and gradient; the first trial step is almost always accepted, so passes and steps are
nearly the same number.

The preconditioner has the shape of an upper bound of the cost's curvature. Böhning (1992) bounds
the Hessian of the cross-entropy by ½ (I − 11ᵀ/K) ⊗ X̃ᵀX̃/N. On centred features the bias separates,
and residuals sum to zero over the classes, which leaves for each class

    M(λ) = c Σ + 2λ I        Σ the covariance of the scaled features, c ≤ ½

with c = (1 − Σ_k π_k²) / (K − 1), the mean curvature of the softmax where every row has the class
frequencies π as probabilities: 1/K for balanced classes, Böhning's ½ for two of them.

Σ is stored as its leading directions and one variance for all others: D × r numbers instead of
D × D, in a tenth of the time of a Gram matrix with a factorisation, and inverted for any λ at no
cost. They are those of the Nyström approximation ΣΩ (ΩᵀΣΩ)⁻¹ ΩᵀΣ with random Ω (Tropp, Yurtsever,
Udell & Cevher 2017), made once from two products with a sample of rows. The remembered steps
correct what the sample misses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.scaling import EQUAL
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, Weights, loaded
from onelayer.objective.penalty import Penalty
from onelayer.solver.linalg import (
    inner,
    inner_product,
    norm,
    one_blas_thread,
    outer_product,
    require_finite,
)

Float64 = NDArray[np.float64]

Float32 = NDArray[np.float32]

MAX_PAIRS = 20

PAIR_BYTES = 96 << 20

# Armijo's constant, the shortest step, and steps without progress before the descent ends.
SUFFICIENT = 1e-4

MIN_STEP = 1e-6

MAX_STALLED = 10

# Up to this many features all directions are found, exactly on the sample.
EXACT_FEATURES = 512

SAMPLE_ROWS = 4096

RANK = 256

EXTRA_DIRECTIONS = 16

# Of float32 products less than this, relative to the largest, is rounding.
MIN_HELD = 1e-6

# Bounds the memory of the sample and of the directions for any D.
SAMPLE_BYTES = DIRECTION_BYTES = 64 << 20

TILE_ROWS = 256

# Smallest eigenvalue of M(λ) relative to the largest: the directions are float32.
MIN_EIGENVALUE = 1e-6


class Point(NamedTuple):
    """A point (W, b), shape (K, D + 1), with its cost and gradient."""

    at: Float64
    cost: float
    gradient: Float64


class Pair(NamedTuple):
    """A step and the change of the gradient along it."""

    step: Float64
    change: Float64


@dataclass(frozen=True, eq=False)
class Descent:
    """What a descent is made of."""

    evaluate: Callable[[Float64], Point]  # one pass over the data
    inverse_hessian: Callable[[Point, Float64], Float64]  # or its preconditioner, times a vector
    remembers: bool  # whether steps taken correct the inverse Hessian (L-BFGS), or it is exact
    rounding: float  # relative error of an evaluated cost
    is_done: Callable[[Point], bool]  # called with each new point
    is_damped: Callable[[Point], bool]  # where a step failed: whether the next one is shorter


def descend(descent: Descent, start: Point, pairs: list[Pair]) -> Point:
    """Descend until `is_done`, or until the arithmetic gives no more.

    `pairs` are steps remembered from an earlier descent of the same cost, oldest first, and are
    kept up to date. The last point is the one that `is_done` accepted, unless no step lowers the
    cost.
    """
    most = max(4, min(MAX_PAIRS, PAIR_BYTES // (2 * start.at.nbytes)))
    point, stalled = start, 0
    lowest, flattest = math.inf, math.inf
    while not descent.is_done(point):
        flatness = norm(point.gradient)
        falls = point.cost < lowest - descent.rounding * abs(point.cost)
        stalled = 0 if falls or flatness < flattest else stalled + 1
        if stalled > MAX_STALLED:
            return point
        lowest, flattest = min(lowest, point.cost), min(flattest, flatness)
        direction = -_newton_like(descent, point, pairs)
        falling = inner(direction, point.gradient) < 0.0
        following = _step_along(descent, point, direction) if falling else None
        if following is None:
            if not pairs and not descent.is_damped(point):
                return point
            pairs.clear()
            continue
        pair = Pair(following.at - point.at, following.gradient - point.gradient)
        if descent.remembers and inner(*pair) > 0.0:
            pairs.append(pair)
            del pairs[:-most]
        point = following
    return point


def _step_along(descent: Descent, point: Point, direction: Float64) -> Point | None:
    """The first of the steps 1, ½, ¼ … that lowers the cost enough.

    Where the fall is lost in the cost's rounding the slope decides: Hager & Zhang (2005), eq. 4.1.
    """
    slope = inner(point.gradient, direction)
    slack = descent.rounding * abs(point.cost)
    length = 1.0
    while length > MIN_STEP:
        trial = descent.evaluate(point.at + length * direction)
        if trial.cost <= point.cost + SUFFICIENT * length * slope:
            return trial
        flat = abs(inner(trial.gradient, direction)) <= (1.0 - 2.0 * SUFFICIENT) * -slope
        if flat and trial.cost <= point.cost + slack:
            return trial
        length *= 0.5
    return None


def _newton_like(descent: Descent, point: Point, pairs: list[Pair]) -> Float64:
    """The L-BFGS approximation of the inverse Hessian times the gradient (two-loop recursion)."""
    q = point.gradient.copy()
    part = np.empty_like(q)  # new memory for each pair would cost more than the arithmetic
    weights: list[tuple[float, float]] = []
    for step, change in reversed(pairs):
        rho = 1.0 / inner(step, change)
        alpha = rho * inner(step, q)
        q -= np.multiply(change, alpha, out=part)
        weights.append((rho, alpha))
    direction = descent.inverse_hessian(point, q)
    if pairs:
        step, change = pairs[-1]
        direction *= inner(step, change) / inner(change, descent.inverse_hessian(point, change))
    for (step, change), (rho, alpha) in zip(pairs, reversed(weights), strict=True):
        direction += np.multiply(step, alpha - rho * inner(change, direction), out=part)
    return direction


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """M(λ) = c Σ + 2λ I on centred features, and c for the bias."""

    engine: Engine  # multiplies by the directions
    mean: Float64  # of the scaled features over the sample, (D,); the solver centres by it
    directions: Float32 | None  # leading eigenvectors of Σ, one a row, (r, D); None: the features
    variances: Float64  # along them, (r,), descending; of each feature where there are none
    rest: float  # variance of every other direction, ≥ 0
    curvature: float  # c, in (0, ½]

    def centre(self, rows: Rows) -> Rows:
        """The rows less their mean; a feature that is known not to vary becomes 0, not rounding."""
        scale, offset = rows.scale, rows.offset - self.mean
        if self.directions is None and not self.variances.all():
            scale, offset = (np.where(self.variances > 0.0, part, 0.0) for part in (scale, offset))
        return replace(rows, scale=scale, offset=offset)

    def divide(self, gradient: Float64, penalty: Penalty) -> Float64:
        """M(λ)⁻¹ times a gradient, shape (K, D + 1); the last column is the bias's."""
        c, G, bend = self.curvature, gradient[:, :-1], penalty.curvature
        least = MIN_EIGENVALUE * c * float(self.variances.max()) + np.finfo(np.float64).tiny
        inside = 1.0 / np.maximum(c * self.variances + bend, least)
        if self.directions is None:
            return np.asarray(gradient * np.append(inside, 1.0 / c))
        complete = len(self.variances) == G.shape[1]
        outside = 0.0 if complete else 1.0 / max(c * self.rest + bend, least)
        along = outer_product(self.engine, self.directions, G.astype(np.float32))
        along *= (inside - outside).astype(np.float32)[:, None]
        divided = np.empty_like(gradient)
        divided[:, :-1] = inner_product(self.engine, along, self.directions)
        if outside:
            divided[:, :-1] += outside * G
        divided[:, -1] = gradient[:, -1] / c
        return divided


@np.errstate(over="ignore", invalid="ignore")  # what leaves the numbers is refused
def fit_preconditioner(engine: Engine, rows: Rows, classes: int) -> Preconditioner:
    """The preconditioner of these rows, from a seeded sample: the same for the same rows.

    Example:
        >>> from onelayer.engines import make_engine
        >>> rows = Rows(np.eye(4), np.array([0, 1, 0, 1]), np.ones(4), np.zeros(4))
        >>> fit_preconditioner(make_engine(), rows, classes=2).curvature
        0.5
    """
    rng = np.random.default_rng(0)
    sample, features = _Sample(engine, rows, rng), rows.X.shape[1]
    if features <= EXACT_FEATURES:
        directions, variances = _all_directions(sample, features)
    else:
        affordable = max(1, DIRECTION_BYTES // (4 * features))
        most = min(RANK, max(1, sample.count // 2), affordable)
        directions, variances = _leading_directions(sample, features, most, rng)
    others = features - len(variances)
    rest = max(sample.variance - float(variances.sum()), 0.0) / others if others else 0.0
    return Preconditioner(
        engine, sample.mean, directions, variances, rest, mean_curvature(rows, classes)
    )


@np.errstate(over="ignore", invalid="ignore")
def fit_variances(engine: Engine, rows: Rows, classes: int) -> Preconditioner:
    """The preconditioner by Σ's diagonal alone, of all rows, in about the time of a pass.

    A feature that is constant up to rounding has no variance.
    """
    weights = np.ones(rows.count) if rows.row_weights is None else rows.row_weights
    fractions = weights / rows.mass
    mean = engine.weighted_sums(rows, fractions[None, :, None])[0, 0]
    variances = _variances(replace(rows, offset=rows.offset - mean), fractions)
    require_finite(variances.astype(np.float32))
    variances[np.sqrt(variances) <= EQUAL * np.abs(mean - rows.offset)] = 0.0
    return Preconditioner(engine, mean, None, variances, 0.0, mean_curvature(rows, classes))


def _variances(centred: Rows, fractions: Float64) -> Float64:
    """Σ over the rows of their fractions times the squares of each feature, (D,)."""
    total = np.zeros(centred.X.shape[1])
    for start in range(0, centred.count, TILE_ROWS):
        tile = centred.part(start, start + TILE_ROWS).scaled()
        tile *= tile
        total += np.einsum("n,nd->d", fractions[start : start + TILE_ROWS], tile)
    return total


class _Sample:
    """At most SAMPLE_ROWS of the rows as stored, centred by their mean (D,), with their weights."""

    def __init__(self, engine: Engine, rows: Rows, rng: np.random.Generator) -> None:
        chosen, most = np.arange(rows.count), SAMPLE_ROWS
        stored = stored_rows(rows.X)
        if stored is not None:  # they are read into memory once and used several times
            most = max(2, min(SAMPLE_ROWS, SAMPLE_BYTES // stored.row_bytes))
        if rows.count > most:
            chosen = np.sort(rng.choice(rows.count, most, replace=False))
        part = loaded(rows, chosen)
        weights = part.row_weights
        if weights is None or not weights.any():
            weights = np.ones(len(chosen))
        self.engine, self.count = engine, len(chosen)
        self._fractions = weights / weights.sum()
        self.mean = engine.weighted_sums(part, self._fractions[None, :, None])[0, 0]
        # Directions take the place of classes, and may be fewer.
        unlabelled = np.zeros_like(part.y)
        self._rows = replace(part, y=unlabelled, offset=part.offset - self.mean)

    @property
    def variance(self) -> float:
        """Σ over the features of their variances."""
        return float(_variances(self._rows, self._fractions).sum())

    def along(self, directions: Float32) -> Float32:
        """Coordinates of the rows along these directions (r, D): shape (n, r)."""
        bias = np.zeros((1, len(directions)), np.float32)
        coordinates: Float32 = self.engine.scores(self._rows, Weights(directions[None], bias))[0]
        return coordinates

    def covariances(self, along: Float32) -> Float64:
        """Covariances of the coordinates (n, r) with the features: shape (r, D)."""
        sums: Float64 = self.engine.weighted_sums(self._rows, self.weighed(along)[None])[0]
        return sums

    def weighed(self, along: Float32) -> Float32:
        """Values of the rows times the rows' fractions of the weight."""
        return np.asarray(along * self._fractions[:, None].astype(np.float32))


def _all_directions(sample: _Sample, features: int) -> tuple[Float32, Float64]:
    covariance = sample.covariances(sample.along(np.eye(features, dtype=np.float32)))
    values, vectors = _eigen(covariance)
    return np.ascontiguousarray(vectors.T[::-1], np.float32), np.maximum(values[::-1], 0.0)


def _leading_directions(
    sample: _Sample, features: int, rank: int, rng: np.random.Generator
) -> tuple[Float32, Float64]:
    width = min(rank + EXTRA_DIRECTIONS, sample.count, features)
    guess = rng.standard_normal((width, features), np.float32)
    along = sample.along(guess)
    values, vectors = _eigen(inner_product(sample.engine, sample.weighed(along), along))
    held = values > MIN_HELD * values[-1]
    if not held.any():  # no feature varies
        return np.eye(1, features, dtype=np.float32), np.zeros(1)
    mix, covariances = vectors[:, held] / np.sqrt(values[held]), sample.covariances(along)
    root = inner_product(sample.engine, mix, covariances)  # rootᵀ root is Σ, nearly
    values, vectors = _eigen(outer_product(sample.engine, root, root))
    values = np.maximum(values[::-1][:rank], np.finfo(np.float64).tiny)
    leading = vectors[:, ::-1][:, :rank] / np.sqrt(values)
    return inner_product(sample.engine, leading, root).astype(np.float32), values


def _eigen(A: NDArray[np.floating]) -> tuple[Float64, Float64]:
    """Eigenvalues, ascending, and eigenvectors, one a column."""
    with one_blas_thread():
        return np.linalg.eigh(require_finite(A.astype(np.float64)))


def mean_curvature(rows: Rows, classes: int) -> float:
    """The c of class frequencies π, (1 − Σ π²) / (K − 1); no less than an eighth of 1/K."""
    frequencies = rows.class_frequencies(classes)
    present = max(int((frequencies > 0).sum()), 2)
    mean = float(1.0 - np.sum(frequencies**2)) / (present - 1)
    return max(mean, 1.0 / (8.0 * present))
