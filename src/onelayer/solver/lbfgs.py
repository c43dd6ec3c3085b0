"""Descent on a smooth convex cost, by Newton's method or by L-BFGS in a metric.

L-BFGS is algorithm 7.5 of Nocedal & Wright (2006); the metric takes the place of the initial
inverse Hessian, scaled at each step by the newest pair. One evaluation, a pass over the data, gives
cost and gradient; the first trial step almost always stands, so passes and steps are nearly the
same number.

The metric that the solver walks in: an upper-bound shape of the cost's curvature.

Böhning (1992) bounds the Hessian of the cross-entropy by ½ (I − 11ᵀ/K) ⊗ X̃ᵀX̃/N. On centred
features the bias separates, and residuals sum to zero over the classes, so what is left for each
class is

    M(λ) = c Σ + 2λ I        Σ the covariance of the scaled features, c ≤ ½

Here c = (1 − Σ_k π_k²) / (K − 1), the mean curvature of the softmax where every row has the
probabilities of the label frequencies π: 1/K for balanced classes, Böhning's ½ for two of them.

Σ is held as its leading directions, found once by subspace iteration on a sample of rows (Halko,
Martinsson & Tropp 2011), and one variance for all other directions. M(λ) is then inverted for any
λ at no cost, needs D × r numbers instead of D × D, and takes a tenth of the time of a Gram matrix
with a factorisation; what the sample misses is mended by the solver's memory of its own steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, Weights, loaded
from onelayer.solver.linalg import inner, inner_product, norm, one_blas_thread, outer_product

Float64 = NDArray[np.float64]

MOST_PAIRS = 20

PAIR_BYTES = 96 << 20

SUFFICIENT = 1e-4

SHORTEST_STEP = 1e-6

MOST_STALLED = 10


class Point(NamedTuple):
    """Where the solver stands: place, cost and gradient there."""

    at: Float64
    cost: float
    gradient: Float64


class Pair(NamedTuple):
    """A step and how the gradient changed along it."""

    step: Float64
    change: Float64


@dataclass(frozen=True, eq=False)
class Descent:
    """What one descent needs.

    Attributes:
        evaluate: cost and gradient at a place; one pass over the data.
        divide: the inverse of the Hessian, or of the metric that stands for it, at a point times
            a vector.
        remembers: whether to mend `divide` by the steps taken (L-BFGS), or take it as it is.
        rounding: relative error of an evaluated cost.
        found: told of each new point; True ends the descent.
    """

    evaluate: Callable[[Float64], Point]
    divide: Callable[[Point, Float64], Float64]
    remembers: bool
    rounding: float
    found: Callable[[Point], bool]


def descend(descent: Descent, start: Point, pairs: list[Pair]) -> Point:
    """Walk downhill until told to stop, or until the arithmetic gives no more.

    Args:
        descent: the problem.
        start: an evaluated point.
        pairs: steps remembered from an earlier descent of the same cost, oldest first; the list
            is kept up to date.

    Returns:
        The last point. It is the one that `found` accepted, unless no step lowers the cost.
    """
    most = _most_pairs(start.at.nbytes)
    point, stalled = start, 0
    lowest, flattest = math.inf, math.inf
    while not descent.found(point):
        flatness = norm(point.gradient)
        falls = point.cost < lowest - descent.rounding * abs(point.cost)
        stalled = 0 if falls or flatness < flattest else stalled + 1
        if stalled > MOST_STALLED:
            return point
        lowest, flattest = min(lowest, point.cost), min(flattest, flatness)
        direction = -_newton_like(descent, point, pairs)
        if inner(direction, point.gradient) >= 0.0:
            if not pairs:
                return point
            pairs.clear()
            continue
        following = _step_along(descent, point, direction)
        if following is None:
            if not pairs:
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
    while length > SHORTEST_STEP:
        trial = descent.evaluate(point.at + length * direction)
        if trial.cost <= point.cost + SUFFICIENT * length * slope:
            return trial
        flat = abs(inner(trial.gradient, direction)) <= (1.0 - 2.0 * SUFFICIENT) * -slope
        if flat and trial.cost <= point.cost + slack:
            return trial
        length *= 0.5
    return None


def _newton_like(descent: Descent, point: Point, pairs: list[Pair]) -> Float64:
    """The inverse Hessian that metric and pairs stand for, times the gradient (two loops)."""
    q = point.gradient.copy()
    weights: list[tuple[float, float]] = []
    for step, change in reversed(pairs):
        rho = 1.0 / inner(step, change)
        alpha = rho * inner(step, q)
        q -= alpha * change
        weights.append((rho, alpha))
    direction = descent.divide(point, q)
    if pairs:
        step, change = pairs[-1]
        direction *= inner(step, change) / inner(change, descent.divide(point, change))
    for (step, change), (rho, alpha) in zip(pairs, reversed(weights), strict=True):
        direction += (alpha - rho * inner(change, direction)) * step
    return direction


def _most_pairs(bytes_of_a_point: int) -> int:
    return max(4, min(MOST_PAIRS, PAIR_BYTES // (2 * bytes_of_a_point)))


Float32 = NDArray[np.float32]

# Up to this many features all directions are found, exactly on the sample.
EXACT_FEATURES = 512

SAMPLE_ROWS = 4096

RANK = 256

EXTRA_DIRECTIONS = 16

# Memory is bounded, whatever D: that of the directions that are kept.
SAMPLE_BYTES = DIRECTION_BYTES = 64 << 20

TILE_ROWS = 256

FLATTEST = 1e-6


@dataclass(frozen=True, eq=False)
class Metric:
    """M(λ) = c Σ + 2λ I on centred features, and c for the bias.

    Attributes:
        engine: what multiplies by the directions.
        mean: of the scaled features over the sample, shape (D,); the solver centres by it.
        directions: leading eigenvectors of Σ, one a row, shape (r, D), float32.
        variances: their eigenvalues, shape (r,), descending.
        rest: variance of every direction beside them, ≥ 0.
        curvature: c, mean curvature of the softmax in its scores, in (0, ½].
    """

    engine: Engine
    mean: Float64
    directions: Float32
    variances: Float64
    rest: float
    curvature: float

    def divide(self, gradient: Float64, l2: float) -> Float64:
        """M(λ)⁻¹ times a gradient.

        Args:
            gradient: shape (K, D + 1); the last column is the bias's.
            l2: λ ≥ 0.

        Returns:
            Shape (K, D + 1).
        """
        c, G = self.curvature, gradient[:, :-1]
        # The directions are float32: a larger ratio of curvatures would amplify their rounding.
        least = FLATTEST * c * float(self.variances[0]) + np.finfo(np.float64).tiny
        inside = 1.0 / np.maximum(c * self.variances + 2.0 * l2, least)
        complete = len(self.variances) == G.shape[1]
        outside = 0.0 if complete else 1.0 / max(c * self.rest + 2.0 * l2, least)
        along = outer_product(self.engine, self.directions, G.astype(np.float32))
        along *= (inside - outside).astype(np.float32)[:, None]
        divided = np.empty_like(gradient)
        divided[:, :-1] = outside * G + inner_product(self.engine, along, self.directions)
        divided[:, -1] = gradient[:, -1] / c
        return divided


def fit_metric(engine: Engine, rows: Rows, classes: int, *, rank: int = RANK) -> Metric:
    """Find the leading directions of the scaled features on a seeded sample of the rows.

    Args:
        engine: what does the arithmetic.
        rows: the training rows.
        classes: K.
        rank: directions to keep where D is above EXACT_FEATURES.

    Returns:
        The metric; the same for the same rows.

    Example:
        >>> from onelayer.engines import make_engine
        >>> X, y = np.eye(4), np.array([0, 1, 0, 1])
        >>> rows = Rows(X, y, np.ones(4), np.zeros(4))
        >>> fit_metric(make_engine(), rows, classes=2).curvature
        0.5
    """
    rng = np.random.default_rng(0)
    sample, features = _Sample(engine, rows, rng), rows.X.shape[1]
    if features <= EXACT_FEATURES:
        directions, variances = _all_directions(sample, features)
    else:
        affordable = max(1, DIRECTION_BYTES // (4 * features))
        most = min(rank, max(1, sample.count // 2), affordable)
        directions, variances = _leading_directions(sample, features, most, rng)
    others = features - len(variances)
    rest = max(sample.variance - float(variances.sum()), 0.0) / others if others else 0.0
    return Metric(engine, sample.mean, directions, variances, rest, _curvature(rows, classes))


class _Sample:
    """At most SAMPLE_ROWS of the rows, read as they are stored, centred, with their weights.

    Attributes:
        engine: what does the arithmetic.
        count: how many.
        mean: of the scaled features, shape (D,).
    """

    def __init__(self, engine: Engine, rows: Rows, rng: np.random.Generator) -> None:
        chosen, most = np.arange(rows.count), SAMPLE_ROWS
        stored = stored_rows(rows.X)
        if stored is not None:  # they are read into memory once, and met several times
            most = max(2, min(SAMPLE_ROWS, SAMPLE_BYTES // stored.row_bytes))
        if rows.count > most:
            chosen = np.sort(rng.choice(rows.count, most, replace=False))
        part = loaded(rows, chosen)
        weights = part.row_weights
        if weights is None or not weights.any():
            weights = np.ones(len(chosen))
        self.engine, self.count = engine, len(chosen)
        self._shares = weights / weights.sum()
        self.mean = engine.weighted_sums(part, self._shares[None, :, None])[0, 0]
        # Directions take the classes' place, and may be fewer than they are.
        unlabelled = np.zeros_like(part.y)
        self._rows = replace(part, y=unlabelled, offset=part.offset - self.mean)

    @property
    def variance(self) -> float:
        """Σ over the features of their variances."""
        total, scale, offset = 0.0, self._rows.scale, self._rows.offset
        for start in range(0, self.count, TILE_ROWS):
            part = self._rows.part(start, start + TILE_ROWS)
            tile = part.X[part.index].astype(np.float32)
            tile *= scale.astype(np.float32)
            tile += offset.astype(np.float32)
            squares = np.einsum("nd,nd->n", tile, tile)
            total += float(np.einsum("n,n->", squares, self._shares[start : start + TILE_ROWS]))
        return total

    def along(self, directions: Float32) -> Float32:
        """Where the rows lie along these directions (r, D): shape (n, r)."""
        bias = np.zeros((1, len(directions)), np.float32)
        found: Float32 = self.engine.scores(self._rows, Weights(directions[None], bias))[0]
        return found

    def covariances(self, along: Float32) -> Float64:
        """Of what the rows have along some directions (n, r) with the features: shape (r, D)."""
        found: Float64 = self.engine.weighted_sums(self._rows, self.weighed(along)[None])[0]
        return found

    def weighed(self, along: Float32) -> Float32:
        """Values of the rows times the rows' shares of the weight."""
        return np.asarray(along * self._shares[:, None].astype(np.float32))


def _all_directions(sample: _Sample, features: int) -> tuple[Float32, Float64]:
    covariance = sample.covariances(sample.along(np.eye(features, dtype=np.float32)))
    values, vectors = _eigen(covariance)
    return np.ascontiguousarray(vectors.T[::-1], np.float32), np.maximum(values[::-1], 0.0)


def _leading_directions(
    sample: _Sample, features: int, rank: int, rng: np.random.Generator
) -> tuple[Float32, Float64]:
    width = min(rank + EXTRA_DIRECTIONS, sample.count, features)
    guess = rng.standard_normal((width, features), np.float32)
    basis = _orthonormal(sample.engine, sample.covariances(sample.along(guess)))
    inside = sample.along(basis)
    values, vectors = _eigen(inner_product(sample.engine, sample.weighed(inside), inside))
    leading = vectors[:, ::-1][:, :rank].astype(np.float32)
    directions = inner_product(sample.engine, leading, basis).astype(np.float32)
    return directions, np.maximum(values[::-1][:rank], 0.0)


def _eigen(A: NDArray[np.floating]) -> tuple[Float64, Float64]:
    """Eigenvalues, ascending, and eigenvectors, one a column."""
    with one_blas_thread():
        return np.linalg.eigh(A.astype(np.float64))


def _orthonormal(engine: Engine, Y: Float64) -> Float32:
    """An orthonormal basis of the rows' span, by their Gram matrix: ten times faster than QR.

    The rows' condition is that of Σ's leading part, whose square float64 holds easily.
    """
    values, vectors = _eigen(outer_product(engine, Y, Y))
    held = values > 1e-13 * values[-1]
    mix = vectors[:, held] / np.sqrt(values[held])
    return np.asarray(inner_product(engine, mix, Y), np.float32)


def _curvature(rows: Rows, classes: int) -> float:
    shares = rows.class_frequencies(classes)
    present = max(int((shares > 0).sum()), 2)
    mean = float(1.0 - np.sum(shares**2)) / (present - 1)
    return max(mean, 1.0 / (8.0 * present))
