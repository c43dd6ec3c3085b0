"""L-BFGS with a preconditioner, for problems whose Hessian is too large to form.

The preconditioner replaces the initial inverse Hessian and is scaled at each step by the newest
pair (Nocedal & Wright 2006, section 7.2). One evaluation, a pass over the data,
gives cost and gradient; the first trial step is almost always accepted, so passes and steps are
nearly the same number.

The preconditioner has the shape of an upper bound of the cost's curvature. Böhning (1992) bounds
the Hessian of the cross-entropy by ½ (I − 11ᵀ/K) ⊗ X̃ᵀX̃/N. On centred features the bias separates,
and residuals sum to zero over the classes, which leaves for each class

    M(λ) = c Σ + 2λ I        Σ the covariance of the scaled features, c ≤ ½

with c = (1 − Σ_k π_k²) / (K − 1), the mean curvature of the softmax where every row has the class
frequencies π as probabilities: 1/K for balanced classes, Böhning's ½ for two of them. Without an
intercept features are not centred, Σ is the mean of x xᵀ, and c is 1/K.

Of few features M(λ) is inverted, or, for several λ's, Σ is stored as all of its eigenvectors. Of
more it is stored as its leading directions and one variance for all others: D × r numbers instead
of D × D, in a tenth of the time of a Gram matrix with a factorisation, and inverted for any λ at no
cost. That variance is the least of the leading ones (Frangella, Tropp & Udell 2023) and the mean of
the others: the mean alone is too little for most steps, and a sample has less of it than all rows.
The directions are those of the Nyström approximation ΣΩ (ΩᵀΣΩ)⁻¹ ΩᵀΣ with random Ω (Tropp,
Yurtsever, Udell & Cevher 2017), made once from two products with a sample of rows. The remembered
steps correct what the sample misses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.data.scaling import EQUAL
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, Weights, loaded
from onelayer.engines.native import combination, default_threads, products
from onelayer.objective.penalty import Penalty
from onelayer.solver.certificate import RowSums
from onelayer.solver.linalg import (
    FEW_ENTRIES,
    eigen_of_gram,
    factor_of_inverse,
    inner,
    inner_product,
    inverse_of_gram,
    inverse_of_lower,
    norm,
    one_blas_thread,
    outer_product,
    require_finite,
)

Float64 = NDArray[np.float64]

Float32 = NDArray[np.float32]

Floats = NDArray[np.floating]

MAX_PAIRS = 20

# Of sparse rows, which take little memory themselves, fewer pairs cost a few passes.
PAIR_BYTES, SPARSE_PAIR_BYTES = 64 << 20, 16 << 20

# Armijo's constant, the shortest step, and steps without progress before the descent ends.
SUFFICIENT = 1e-4

MIN_STEP = 1e-6

MAX_STALLED = 10

# Up to this many features the covariance of the sample is inverted; up to more where the sample has
# twice as many rows, or its directions of no variance would be taken for those of all rows.
EXACT_FEATURES, MOST_EXACT_FEATURES = 512, 1024

SAMPLE_ROWS = 4096

RANK = 256

# Of one solution the products with half of the sample may cost as much as so many passes.
SAMPLE_PASSES = 5

EXTRA_DIRECTIONS = 16

# Of float32 products less than this, relative to them all, is rounding.
MIN_HELD = 1e-6

# Bounds the memory of the sample and of the directions for any D.
SAMPLE_BYTES = DIRECTION_BYTES = 64 << 20

TILE_ENTRIES = 1 << 16

# Smallest eigenvalue of M(λ) relative to the largest: the directions are float32.
MIN_EIGENVALUE = 1e-6

# A feature whose deviation is less than this part of its mean may be constant up to rounding.
SUSPECT = 1e-4


class Point(NamedTuple):
    """A point (W, b), shape (K, D + 1), with its cost and gradient."""

    at: Float64
    cost: float
    gradient: Float64
    rounded: float = math.inf  # as of `FullGradient`
    steepness: float = math.nan  # norm of the gradient of W


class Pair(NamedTuple):
    """A step and the change of the gradient along it."""

    step: Float64
    change: Float64


@dataclass(frozen=True, eq=False)
class Descent:
    """What a descent is made of."""

    evaluate: Callable[[Float64], Point]  # one pass over the data
    inverse_hessian: Callable[[Point], Floats]  # or a preconditioner's, times the gradient
    memory: Memory | None  # corrects a preconditioner by steps taken; None: H⁻¹ is exact
    rounding: float  # relative error of an evaluated cost
    is_done: Callable[[Point], bool]  # called with each new point
    is_damped: Callable[[Point], bool]  # where a step failed: whether the next one is shorter
    # How far along a direction the first trial is made.
    first_length: Callable[[Point, Float64], float] = lambda point, direction: 1.0


class Memory:
    """The last steps taken, and the inverse Hessian H that they and a preconditioner M give.

    With steps as rows of S, changes of the gradient along them as rows of Y, and Z = Y M⁻¹, it is
    in compact form (Byrd, Nocedal & Schnabel 1994)

        H g = γ M⁻¹g + Sᵀ R⁻ᵀ [(D + γ Y Zᵀ) a − γ Z g] − γ Zᵀ a      a = R⁻¹ S g

    where R is the upper triangle of S Yᵀ, D its diagonal, and γ = sᵀy / yᵀz of the newest step.
    """

    def __init__(self, shape: tuple[int, int], most_bytes: int = PAIR_BYTES) -> None:
        size = shape[0] * shape[1]
        dtype = np.dtype("float64" if size <= FEW_ENTRIES else "float32")
        self._most = max(4, min(MAX_PAIRS, most_bytes // (3 * size * dtype.itemsize)))
        self._shape, self._threads = shape, default_threads()
        # Slots of s and z, and of y; those in use, oldest first; and the next one.
        self._vectors = np.zeros((self._most + 1, 2, size), dtype)
        self._changes = np.zeros((self._most + 1, size), dtype)
        self._order, self._next = np.arange(0), 0
        # R⁻¹ and Y Zᵀ, oldest first, and the diagonal of R.
        self._inverse, self._moments = np.zeros((2, self._most, self._most))
        self._slopes = np.zeros(self._most)

    def __len__(self) -> int:
        return len(self._order)

    def clear(self) -> None:
        """Forget all steps."""
        self._order, self._next = np.arange(0), 0

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The steps with the changes along them, oldest first."""
        return tuple(map(self._pair, self._order.tolist()))

    def _pair(self, slot: int) -> Pair:
        kept = self._vectors[slot, 0], self._changes[slot]
        return Pair(*(part.astype(np.float64).reshape(self._shape) for part in kept))

    def restore(self, pairs: Sequence[Pair]) -> None:
        """Hold these steps in the place of others; `renew` is to follow."""
        kept = pairs[-self._most :]
        for slot, pair in enumerate(kept):
            self._vectors[slot, 0], self._changes[slot] = map(np.ravel, pair)
        self._order, self._next = np.arange(len(kept)), len(kept)

    def renew(
        self, divide: Callable[[Float64], Floats], slope: Callable[[Float64], Any], most: int
    ) -> None:
        """Remember all steps anew, by another M⁻¹, with this slope's change along each added.

        Of `most` pairs at a time copies are made; they are divided together.
        """
        self._put_in_order()
        count = len(self)
        self.clear()
        for first in range(0, count, most):  # a slot is read before another step is put there
            slots = range(first, min(first + most, count))
            changes = np.array([change + slope(step) for step, change in map(self._pair, slots)])
            divided = divide(changes.reshape(-1, changes.shape[-1])).reshape(changes.shape)
            for slot, *of_step in zip(slots, changes, divided, strict=True):
                self.add((self._pair(slot).step, *of_step))

    def _put_in_order(self) -> None:
        """Bring the oldest step to the first slot, the next one to the second, and so on."""
        order = self._order.tolist()
        for slot, held in enumerate(order):
            while held < slot:  # it made place for that one
                held = order[held]
            for array in (self._vectors[:, 0], self._changes):
                if held != slot:
                    kept = array[slot].copy()
                    array[slot], array[held] = array[held], kept

    def add(self, after: Sequence[Any], before: Sequence[Any] = (0.0, 0.0, 0.0)) -> None:
        """Remember the step between two points, of which W with b, gradient and M⁻¹g are given."""
        slot = self._next
        vectors, y = self._vectors[slot], self._changes[slot]
        for of, now, then in zip((vectors[0], y, vectors[1]), after, before, strict=True):
            np.subtract(now, then, out=of.reshape(self._shape), casting="same_kind")
        slope, moment = self._products(self._vectors[slot : slot + 1], y)[0]
        if not (slope > 0.0 and moment > 0.0):
            vectors[:] = 0.0  # no factor of what is no number is 0
            return
        used, self._next = len(self), len(self) + 1
        if used == self._most:
            used += 1
            self._next, self._order = int(self._order[0]), self._order[1:]
            for array in (self._inverse, self._moments):
                array[:-1, :-1] = array[1:, 1:].copy()
            self._slopes[:-1] = self._slopes[1:].copy()
        along, beside = self._products(self._vectors[:used], y)[self._order].T
        m = len(self)
        self._inverse[:m, m] = self._inverse[:m, :m] @ along / -slope
        self._inverse[m, : m + 1] = 0.0
        self._inverse[m, m] = 1.0 / slope
        self._moments[:m, m] = self._moments[m, :m] = beside
        self._moments[m, m], self._slopes[m] = moment, slope
        self._order = np.append(self._order, slot)

    def direction(self, gradient: Float64, divided: Floats) -> Float64:
        """−H g of a gradient g, of which M⁻¹g is known."""
        m, order = len(self), self._order
        if not m:
            return -np.asarray(divided, np.float64)
        inverse, moments, slopes = self._inverse[:m, :m], self._moments[:m, :m], self._slopes[:m]
        vectors, scale = self._vectors[: order.max() + 1], slopes[-1] / moments[-1, -1]
        dtype = vectors.dtype
        along, beside = self._products(vectors, gradient.reshape(-1).astype(dtype))[order].T
        a = inverse @ along
        factors = np.zeros(vectors.shape[:2])
        factors[order, 0] = (scale * (beside - moments @ a) - slopes * a) @ inverse
        factors[order, 1] = scale * a
        rows, x = vectors.reshape(-1, vectors.shape[-1]), divided.astype(dtype, copy=False)
        found = combination(rows, factors.ravel(), x.reshape(-1), -scale, self._threads)
        return found.reshape(self._shape)

    def _products(self, vectors: Floats, x: Floats) -> Float64:
        """Of the vectors s and z of slots with another one, shape (slots, 2)."""
        found = products(vectors.reshape(-1, vectors.shape[-1]), x, self._threads)
        return found.reshape(-1, 2)


def descend(descent: Descent, start: Point) -> Point:
    """Descend until `is_done`, or until the arithmetic gives no more.

    The memory may hold steps of an earlier descent of the same cost, and is kept up to date. The
    last point is the one that `is_done` accepted, unless no step lowers the cost.
    """
    memory, point, stalled = descent.memory, start, 0
    lowest, flattest = math.inf, math.inf
    before: tuple[Floats, ...] | None = None  # of the last point
    while not descent.is_done(point):
        flatness = norm(point.gradient)
        falls = point.cost < lowest - descent.rounding * abs(point.cost)
        stalled = 0 if falls or flatness < flattest else stalled + 1
        if stalled > MAX_STALLED:
            return point
        lowest, flattest = min(lowest, point.cost), min(flattest, flatness)
        divided = descent.inverse_hessian(point)
        here = (point.at, point.gradient, divided)
        if memory is None:
            direction = -np.asarray(divided, np.float64)
        else:
            if before is not None:
                memory.add(here, before)
            direction = memory.direction(point.gradient, divided)
        slope = inner(direction, point.gradient)
        following = step_along(descent, point, direction, slope) if slope < 0.0 else None
        before = None
        if following is not None:
            before, point = here, following
        elif memory:
            memory.clear()
        elif not descent.is_damped(point):
            return point
    return point


def step_along(descent: Descent, point: Point, direction: Float64, slope: float) -> Point | None:
    """The first of a step, half of it, a quarter … that lowers the cost enough.

    Where the fall is lost in the cost's rounding the slope decides: Hager & Zhang (2005), eq. 4.1.
    """
    slack = descent.rounding * abs(point.cost)
    length = descent.first_length(point, direction)
    while length > MIN_STEP:
        step = direction if length == 1.0 else length * direction
        trial = descent.evaluate(point.at + step)
        if trial.cost <= point.cost + SUFFICIENT * length * slope:
            return trial
        flat = abs(inner(trial.gradient, direction)) <= (1.0 - 2.0 * SUFFICIENT) * -slope
        if flat and trial.cost <= point.cost + slack:
            return trial
        length *= 0.5
    return None


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """M(λ) = c Σ + 2λ I on centred features, and c for the bias."""

    engine: Engine  # multiplies by the directions
    mean: Float64  # of the scaled features over the sample, (D,); the solver centres by it
    directions: Float32 | None  # leading eigenvectors of Σ, one a row, (r, D); None: the features
    variances: Float64  # along them, (r,); of each feature where there are none
    rest: float  # variance of any other direction, above their mean, ≥ 0
    curvature: float  # c, in (0, ½]
    covariance: Float64 | None = None  # Σ itself, (D, D), of few features
    varies: NDArray[np.bool_] | None = None  # which features do, (D,); None: all
    divides_few: bool = False  # rows, for which factors are enough
    _made: dict[float, Any] = field(default_factory=dict)  # what divides, of the last λ

    def centre(self, rows: Rows) -> Rows:
        """The rows less their mean; a feature that is known not to vary becomes 0, not rounding."""
        scale, offset = rows.scale, rows.offset - self.mean
        if self.varies is not None:
            scale, offset = (np.where(self.varies, part, 0.0) for part in (scale, offset))
        return replace(rows, scale=scale, offset=offset)

    @np.errstate(over="ignore", invalid="ignore")  # of λ so small that float32 lacks 1/λ
    def divide(self, gradient: Float64, penalty: Penalty) -> Floats:
        """M(λ)⁻¹ times each row of gradients, shape (n, D + 1); the last column is the bias's."""
        bend = float(penalty.curvature)
        made = self._made.get(bend)
        if made is None:
            self._made.clear()
            made = self._made[bend] = self._inverse(bend)
        if self.covariance is None and self.directions is None:
            return np.asarray(gradient * made)
        G, divided = gradient[:, :-1].astype(np.float32), np.empty(gradient.shape, np.float32)
        divided[:, -1] = gradient[:, -1] / self.curvature
        if self.directions is None:
            for factor in made:
                G = outer_product(self.engine, G, factor)
            divided[:, :-1] = G
            return divided
        inside, outside = made
        along = outer_product(self.engine, self.directions, G)
        along *= inside
        divided[:, :-1] = inner_product(self.engine, along, self.directions)
        if outside:
            divided[:, :-1] += np.float32(outside) * G
        return divided

    def _inverse(self, bend: float) -> Any:
        """What divides where the penalty's curvature is this: factors, or values of directions."""
        c = self.curvature
        if self.covariance is not None:
            M = c * self.covariance
            M.reshape(-1)[:: len(M) + 1] += bend
            with one_blas_thread():
                if self.divides_few:
                    with suppress(np.linalg.LinAlgError):  # where rounding is above the ridge
                        factor = factor_of_inverse(M).astype(np.float32)
                        return factor, np.ascontiguousarray(factor.T)
                return (inverse_of_gram(M).astype(np.float32),)
        M = c * self.variances + bend
        if self.directions is not None and len(M) == len(self.mean):  # has a ridge of its own
            return (1.0 / np.where(M > 0.0, M, 1.0)).astype(np.float32)[:, None], 0.0
        least = MIN_EIGENVALUE * c * float(self.variances.max()) + np.finfo(np.float64).tiny
        inside = 1.0 / np.maximum(M, least)
        if self.directions is None:
            return np.append(inside, 1.0 / c)
        outside = 1.0 / max(c * self.rest + bend, least)
        return (inside - outside).astype(np.float32)[:, None], outside


def takes_inverse(sample: int, features: int) -> bool:
    """Whether the covariance of so many rows is inverted.

    Example:
        >>> takes_inverse(300, 512), takes_inverse(4096, 1024), takes_inverse(300, 600)
        (True, True, False)
    """
    return features <= EXACT_FEATURES or 2 * features <= min(sample, 2 * MOST_EXACT_FEATURES)


def sample_rows(rows: int, features: int, classes: int, solutions: int, rank: int) -> int:
    """How many of the rows a preconditioner of so many directions is of, at most."""
    if 2 * features <= classes and 4 * rows * features <= SAMPLE_BYTES:
        return rows  # for less than an eighth of a pass
    most = SAMPLE_ROWS
    if solutions == 1 and features > MOST_EXACT_FEATURES:
        most = max(most // 2, min(most, SAMPLE_PASSES * rows * classes // RANK))
    return min(rows, most if rank >= RANK else most // 2)


@np.errstate(over="ignore", invalid="ignore")  # what leaves the numbers is refused
def fit_preconditioner(
    engine: Engine, rows: Rows, classes: int, solutions: int = 1, rank: int | None = None
) -> Preconditioner:
    """The preconditioner of these rows, from a seeded sample: the same for the same rows.

    So many solutions are planned, each with a λ of its own. With a rank so many directions are
    taken at most, however few features there are; fewer than RANK of half of the sample.

    Example:
        >>> from onelayer.engines import make_engine
        >>> rows = Rows(np.eye(4), np.array([0, 1, 0, 1]), np.ones(4), np.zeros(4))
        >>> fit_preconditioner(make_engine(), rows, classes=2).curvature
        0.5
    """
    rng, features = np.random.default_rng(0), rows.X.shape[1]
    most = sample_rows(rows.count, features, classes, solutions, rank or RANK)
    sample = _Sample(engine, rows, rng, most)
    c = mean_curvature(rows, classes)
    if rank is None and takes_inverse(sample.count, features):
        covariance = sample.covariance()
        variances = covariance.diagonal().copy()
        if sample.count == rows.count:
            sample.forget_constants(variances)
        else:  # what is constant in the sample may vary in other rows
            np.maximum(variances, np.finfo(np.float64).tiny, out=variances)
        varies = _varying(variances)
        # Eigenvectors take as long as two inverses, and divide in the time of two products.
        if solutions > 2:
            with one_blas_thread():
                values, vectors = eigen_of_gram(covariance)
            directions = np.ascontiguousarray(vectors.T)
            return Preconditioner(engine, sample.mean, directions, values, 0.0, c, varies=varies)
        few = classes < features
        return Preconditioner(engine, sample.mean, None, variances, 0.0, c, covariance, varies, few)
    affordable = max(1, DIRECTION_BYTES // (4 * features))
    most = min(rank or RANK, max(1, sample.count // 2), affordable)
    directions, variances = _leading_directions(sample, features, most, rng)
    others = features - len(variances)
    rest = max(sample.variance - float(variances.sum()), 0.0) / others
    return Preconditioner(engine, sample.mean, directions, variances, rest + variances[-1], c)


def fit_mean(engine: Engine, rows: Rows, classes: int) -> Preconditioner:
    """No more than what rows are centred at, for methods that take the Hessian itself."""
    weights = np.ones(rows.count) if rows.row_weights is None else rows.row_weights
    mean = centre_of(engine, rows, weights / rows.mass)
    curvature = mean_curvature(rows, classes)
    return Preconditioner(engine, mean, None, np.ones_like(mean), 0.0, curvature)


@np.errstate(over="ignore", invalid="ignore")
def fit_variances(engine: Engine, rows: Rows, classes: int) -> Preconditioner:
    """The preconditioner by Σ's diagonal alone, of all rows, in about the time of a pass.

    A feature that is constant up to rounding has no variance.
    """
    c = mean_curvature(rows, classes)
    if not rows.is_dense:
        mean, variances = _moments(engine, rows, classes)
        require_finite(variances.astype(np.float32))
        return Preconditioner(engine, mean, None, variances, 0.0, c)
    weights = np.ones(rows.count) if rows.row_weights is None else rows.row_weights
    fractions = weights / rows.mass
    mean = centre_of(engine, rows, fractions)
    centred = replace(rows, offset=rows.offset - mean)
    variances = _variances(centred, fractions)
    require_finite(variances.astype(np.float32))
    _forget_constants(variances, centred, fractions)
    return Preconditioner(engine, mean, None, variances, 0.0, c, varies=_varying(variances))


def _moments(engine: Engine, rows: Rows, classes: int = 0) -> tuple[Float64, Float64]:
    """What rows are centred at, and the mean squares of the features there, (D,) each.

    By the read that proofs take as well where the number of classes is told.
    """
    if classes and not rows.extreme and rows.y.ndim == 1:
        of_classes = RowSums.of(engine, rows, classes)
        centre = of_classes.mean if rows.intercept else np.zeros_like(of_classes.mean)
        return centre, of_classes.spreads**2 + (of_classes.mean - centre) ** 2
    sums, squares = (of / rows.mass for of in engine.class_sums(rows.unlabelled, 1))
    mean = rows.scale * sums[0] + rows.offset
    centre = mean if rows.intercept else np.zeros_like(mean)
    return centre, rows.scale**2 * np.maximum(squares - sums[0] ** 2, 0.0) + (mean - centre) ** 2


def _varying(variances: Float64) -> NDArray[np.bool_] | None:
    return None if variances.all() else variances > 0.0


def centre_of(engine: Engine, rows: Rows, fractions: Float64) -> Float64:
    """What rows are centred at, (D,): their mean by these fractions; without an intercept 0."""
    if not rows.intercept:
        return np.zeros(rows.X.shape[1])
    return np.asarray(engine.weighted_sums(rows, fractions[None, :, None])[0, 0])


def _forget_constants(variances: Float64, centred: Rows, fractions: Float64) -> None:
    """Take the variance of a feature that is constant up to rounding for 0."""
    size = np.abs(centred.offset)
    suspect = np.sqrt(variances) <= SUSPECT * size
    if suspect.any():
        exact = _variances(centred, fractions, "float64")
        exact[np.sqrt(exact) <= EQUAL * size] = 0.0
        variances[suspect] = exact[suspect]


def _variances(centred: Rows, fractions: Float64, dtype: str = "float32") -> Float64:
    """Σ over the rows of their fractions times the squares of each feature, (D,)."""
    total = np.zeros(centred.X.shape[1])
    step = max(1, TILE_ENTRIES // len(total))
    for start in range(0, centred.count, step):
        tile = centred.part(start, start + step).scaled(dtype)
        tile *= tile
        total += np.einsum("n,nd->d", fractions[start : start + step], tile)
    return total


class _Sample:
    """Some of the rows as stored, at most, centred by their mean (D,), with their weights."""

    def __init__(self, engine: Engine, rows: Rows, rng: np.random.Generator, most: int) -> None:
        chosen = np.arange(rows.count)
        stored = stored_rows(rows.X)
        if stored is not None:  # they are read into memory once and used several times
            most = max(2, min(most, SAMPLE_BYTES // stored.row_bytes))
        if rows.count > most:
            chosen = np.sort(rng.choice(rows.count, most, replace=False))
        part = loaded(rows, chosen)
        weights = part.row_weights
        if weights is None or not weights.any():
            part, weights = replace(part, weights=None), np.ones(len(chosen))
        self.engine, self.count = engine, len(chosen)
        self._fractions = weights / weights.sum()
        self.mean = centre_of(engine, part, self._fractions)
        # Directions take the place of classes, and may be fewer.
        self._rows = replace(part.unlabelled, offset=part.offset - self.mean)

    @property
    def variance(self) -> float:
        """Σ over the features of their variances."""
        if self._rows.extreme:  # squares of stored values would cancel
            return float(_variances(self._rows, self._fractions).sum())
        return float(_moments(self.engine, self._rows)[1].sum())

    def forget_constants(self, variances: Float64) -> None:
        """Take the variance of a feature that is constant up to rounding for 0."""
        _forget_constants(variances, self._rows, self._fractions)

    def covariance(self) -> Float64:
        """Σ, (D, D)."""
        X = self._rows.scaled("float32")
        X *= np.sqrt(self._fractions).astype(np.float32)[:, None]
        with one_blas_thread():
            return require_finite(X.T @ X).astype(np.float64)

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


def _leading_directions(
    sample: _Sample, features: int, rank: int, rng: np.random.Generator
) -> tuple[Float32, Float64]:
    width = min(rank + EXTRA_DIRECTIONS, sample.count, features)
    guess = rng.standard_normal((width, features), np.float32)
    along = sample.along(guess)
    core = require_finite(inner_product(sample.engine, sample.weighed(along), along))
    most = float(core.trace())
    if most <= 0.0:  # no feature varies
        return np.eye(1, features, dtype=np.float32), np.zeros(1)
    covariances = sample.covariances(along).astype(np.float32)
    with one_blas_thread():
        lower = np.linalg.cholesky(core + MIN_HELD * most * np.eye(width))
        mix = inverse_of_lower(lower).T.astype(np.float32)
    # Rows whose products are the approximation: float32 holds their squares, not the covariances'.
    roots = inner_product(sample.engine, mix, covariances).astype(np.float32)
    squares = require_finite(outer_product(sample.engine, roots, roots)).astype(np.float64)
    with one_blas_thread():
        values, vectors = np.linalg.eigh(squares)
    values = np.maximum(values[::-1][:rank], np.finfo(np.float64).tiny)
    leading = (vectors[:, ::-1][:, :rank] / np.sqrt(values)).astype(np.float32)
    return inner_product(sample.engine, leading, roots).astype(np.float32), values


def mean_curvature(rows: Rows, classes: int) -> float:
    """The c of class frequencies π, (1 − Σ π²) / (K − 1); no less than an eighth of 1/K."""
    frequencies = rows.cold_probabilities(classes)
    present = max(int((frequencies > 0).sum()), 2)
    mean = float(1.0 - np.sum(frequencies**2)) / (present - 1)
    return max(mean, 1.0 / (8.0 * present))
