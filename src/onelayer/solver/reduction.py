"""Fewer coordinates for rows that are fewer than their features.

The cost sees W through its scores and its norm alone, so W* lies in the span of the centred rows.
N rows of rank r are solved in r coordinates, whatever D is:

    G = X̃ X̃ᵀ      S G S = U Λ Uᵀ      Z = G S U Λ^(−1/2)      W = V (S U Λ^(−1/2))ᵀ X̃

with X̃ (N, D) the scaled rows less their mean, S² the rows' fractions of the weight, Z (N, r) the
coordinates and V (K, r) the weights in them: V zᵢ = W x̃ᵢ and ‖V‖ = ‖W‖, so the cost is the same.
The covariance of Z is Λ, which gives a preconditioner that needs no sample. G is made once for all
solutions; rows of a fold are rows of Z. Without an intercept X̃ are the scaled rows as they are.

What rounding took from G may be missing from Z. Solutions are therefore proven on the rows
themselves, and the search goes on in all features where the proof falls short.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.mapped import check_mapped
from onelayer.data.memory import available_memory
from onelayer.data.rows import Rows
from onelayer.data.scaling import held_values, of_features
from onelayer.data.sparse import sparse_rows
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, Weights, loaded
from onelayer.solver.certificate import Certified, certify_weights
from onelayer.solver.dual import DualSolver, may_be_wide
from onelayer.solver.lbfgs import (
    EXACT_FEATURES,
    RANK,
    Preconditioner,
    centre_of,
    mean_curvature,
)
from onelayer.solver.linalg import inner_product, matvec, one_blas_thread, require_finite
from onelayer.solver.many_labels import LabelSolver
from onelayer.solver.newton import choose_preconditioner
from onelayer.solver.solver import Optimum, Progress, Solver, SolverState, Status, Target

Float64 = NDArray[np.float64]

# Rows whose products with those after them are made at a time: few, for G is symmetric; of rows in
# files a quarter of the free memory, since each such block reads them all.
BLOCK_ROWS, BLOCK_BYTES = 128, 64 << 20

# Directions of less variance, relative to the largest, are rounding of G.
MIN_VARIANCE = 1e-13

# Seconds on two cores, measured: of N² D products in G and N³ in its factorisation, of the sample's
# products for a preconditioner, and of a pass for each entry of X and each entry and class.
GRAM, FACTOR, SAMPLE, ENTRY, ENTRY_CLASS = 1.2e-11, 1.5e-10, 7e-11, 2e-10, 1.5e-11

# Passes of a solution, and the bytes that G may take.
PASSES, GRAM_BYTES = 30, 256 << 20

# Features that no row stores are left out where others are no more than this part of all.
MOST_STORED = 0.8

# Of the gap that is asked for, the part that is asked for in coordinates.
INSIDE = 0.5


@dataclass(frozen=True, eq=False)
class Reduction:
    """Rows in the coordinates of their span.

    Attributes:
        rows: the rows with coordinates as features, X (N, r).
        mean: of the scaled features, (D,).
        preconditioner: of the coordinates, their exact covariance.
    """

    rows: Rows
    mean: Float64
    preconditioner: Preconditioner
    _engine: Engine
    _centred: Rows
    _mix: Float64  # S U Λ^(−1/2), (N, r)

    def part(self, rows: Rows) -> Rows:
        """Some of the rows, as `Rows.only` gave them, in coordinates."""
        if rows.index is None or self._centred.index is None:
            return replace(self.rows, index=rows.index)
        places = np.empty(len(rows.y), np.int64)
        places[self._centred.index] = np.arange(self.rows.count)
        return replace(self.rows, index=places[rows.index])

    def lift(self, V: Float64) -> Float64:
        """W (K, D) of weights V (K, r) of the coordinates: one pass over the rows."""
        factors = np.einsum("nr,kr->nk", self._mix, V)
        W: Float64 = self._engine.weighted_sums(self._centred, factors[None])[0]
        return W

    def lower(self, W: NDArray[np.floating]) -> Float64:
        """V (K, r) of weights W (K, D), without what is outside the span: one pass."""
        weights = Weights(np.asarray(W, np.float64)[None], np.zeros((1, len(W))))
        along = self._engine.scores(self._centred.unlabelled, weights)[0]
        return inner_product(self._engine, np.asarray(along, np.float64), self._mix)


def is_faster(N: int, D: int, classes: int, solutions: int) -> bool:
    """Whether so many solutions are expected to be faster in coordinates than in all features.

    Example:
        >>> is_faster(50, 100_000, 2, 1), is_faster(4000, 6000, 2, 1), is_faster(60_000, 784, 10, 1)
        (True, False, False)
    """
    if N >= D or 8 * N**2 > GRAM_BYTES:
        return False
    made = GRAM * N**2 * D + FACTOR * N**3
    sampled = SAMPLE * N * D * min(RANK, N // 2) if D > EXACT_FEATURES else 0.0
    spared = solutions * PASSES * N * (D - N) * (ENTRY + ENTRY_CLASS * classes)
    return made < sampled + spared


@np.errstate(over="ignore", invalid="ignore")  # what leaves the numbers is refused
def reduce_rows(engine: Engine, rows: Rows, classes: int) -> Reduction | None:
    """The rows in coordinates of their span; None where they do not differ."""
    weights = rows.row_weights
    fractions = np.full(rows.count, 1.0 / rows.count) if weights is None else weights / rows.mass
    mean = centre_of(engine, rows, fractions)
    centred = replace(rows, offset=rows.offset - mean)
    G, roots = gram_matrix(engine, centred), np.sqrt(fractions)
    with one_blas_thread():
        variances, U = np.linalg.eigh(require_finite(G * roots * roots[:, None]))
    held = variances > MIN_VARIANCE * variances[-1]
    if not held.any():
        return None
    variances, U = variances[held][::-1], U[:, held][:, ::-1]
    mix = U * (roots[:, None] / np.sqrt(variances))
    if weights is None:  # the same without the rounding of another product
        Z = np.ascontiguousarray(U * np.sqrt(variances) / roots[:, None])
    else:
        Z = inner_product(engine, G, mix)
    r = len(variances)
    coordinates = Rows(
        Z, rows.labels, np.ones(r), np.zeros(r), None, weights,
        intercept=rows.intercept, score_offsets=rows.row_offsets,
    )  # fmt: skip
    preconditioner = Preconditioner(
        engine, np.zeros(r), None, variances, 0.0, mean_curvature(rows, classes)
    )
    return Reduction(coordinates, mean, preconditioner, engine, centred, mix)


def gram_matrix(engine: Engine, rows: Rows) -> Float64:
    """X̃ X̃ᵀ of the scaled rows, shape (N, N), in float64; some of them at a time are copied."""
    N, D = rows.count, rows.X.shape[1]
    step = min(BLOCK_ROWS, BLOCK_BYTES // (8 * D))
    if stored_rows(rows.X) is not None:
        step = max(BLOCK_BYTES, available_memory() // 4) // (8 * D)
    step = max(1, step)
    G = np.empty((N, N))
    rows = rows.unlabelled  # rows take the place of classes
    for start in range(0, N, step):
        places = np.arange(start, min(start + step, N))
        W = np.ascontiguousarray(loaded(rows, places).scaled(), np.float64)
        products = engine.scores(rows.part(start, N), Weights(W[None], np.zeros((1, len(W)))))[0]
        G[start:, places] = products
        G[places, start:] = products.T
    return G


class ReducedSolver:
    """Solves in the coordinates of the rows' span, and proves each solution on the rows themselves.

    Where that proof falls short of what coordinates say, rounding hides in them what matters: this
    solution and those after it are searched in all features.
    """

    def __init__(
        self,
        engine: Engine,
        rows: Rows,
        classes: int,
        reduction: Reduction,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._engine, self._rows, self._reduction = engine, rows, reduction
        self._classes, self._on_progress = classes, on_progress
        self._inside = Solver(
            engine, reduction.rows, classes, reduction.preconditioner, on_progress
        )
        self._whole: Solver | None = None

    def start_at(self, W: NDArray[np.floating], b: Float64) -> None:
        """Start the next solution from these weights; remembered steps are kept."""
        if self._whole is not None:
            self._whole.start_at(W, b)
        else:
            bias = b + matvec(W, self._reduction.mean)
            self._inside.start_at(self._reduction.lower(W), bias)

    @property
    def moved(self) -> Float64:
        """From the last solution but one to the last, in the features that are searched in."""
        return (self._whole or self._inside).moved

    def move(self, step: Float64) -> None:
        """Start the next solution this far from the last; steps of other features are not taken."""
        (self._whole or self._inside).move(step)

    @property
    def state(self) -> SolverState:
        """What to `restore` for the next solution to have the same bits."""
        return (self._whole or self._inside).state

    def restore(self, state: SolverState) -> None:
        """Go on from a state of a solver of the same rows.

        Another machine may find another rank: then the next solution starts from W = 0.
        """
        width = state.at.shape[1] - 1
        if width == self._rows.X.shape[1]:
            self._take_all_features().restore(state)
        elif width == self._reduction.rows.X.shape[1]:
            self._inside.restore(state)

    def _take_all_features(self) -> Solver:
        fitted = choose_preconditioner(self._engine, self._rows, self._classes)
        self._whole = Solver(self._engine, self._rows, self._classes, fitted, self._on_progress)
        return self._whole

    def solve(self, target: Target) -> Optimum:
        """Solve for one λ; Ctrl-C ends the search and gives what was found, certified."""
        if self._whole is not None:
            return self._whole.solve(target)
        started = time.perf_counter()
        found = self._inside.solve(replace(target, tol=INSIDE * target.tol))
        status: Status = found.status
        try:
            W, certified = self._prove(found, target)
        except KeyboardInterrupt:
            status, (W, certified) = "interrupted", self._prove(found, target)
        passes = found.passes + certified.passes + 1
        if self._inside.relative_gap(certified.best) <= target.tol:
            status = status if status in ("separated", "interrupted") else "optimal"
        elif status in ("optimal", "rounding") and passes < target.max_passes:
            whole = self._take_all_features()
            whole.start_at(W, certified.bias)
            optimum = whole.solve(replace(target, max_passes=target.max_passes - passes))
            seconds = time.perf_counter() - started
            return replace(optimum, passes=optimum.passes + passes, seconds=seconds)
        elif status == "optimal":
            status = "passes"
        return replace(
            found,
            W=W.astype(found.W.dtype),
            b=certified.bias,
            certificate=certified.best,
            status=status,
            passes=passes,
            seconds=time.perf_counter() - started,
            tol=target.tol,
        )

    def _prove(self, found: Optimum, target: Target) -> tuple[Float64, Certified]:
        """The solution as weights of the features, in its own precision, and their proof."""
        W = self._reduction.lift(found.W.astype(np.float64))
        W = W.astype(found.W.dtype).astype(np.float64)
        b = found.b - matvec(W, self._reduction.mean)
        certified = certify_weights(self._engine, self._rows, W, b, target.penalty, target.tol)
        check_mapped(self._rows.X)
        return W, certified


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Sparse rows without the features of which they store nothing, whose weights are 0."""

    rows: Rows
    places: NDArray[np.int64]  # of the features that are left, ascending

    @classmethod
    def of(cls, rows: Rows) -> StoredFeatures | None:
        """None where nearly all features are stored, or none, or others are not 0."""
        sparse = sparse_rows(rows.X)
        if sparse is None or rows.is_dense:
            return None
        features = rows.X.shape[1]
        found = sparse.stored_columns(int(MOST_STORED * features))
        if found is None:
            return None
        X: Any
        X, places = found
        offset = of_features(rows.offset, places)
        if np.count_nonzero(held_values(rows.offset)) > np.count_nonzero(held_values(offset)):
            return None
        scale, f = of_features(rows.scale, places), rows.penalty_factors
        f = None if f is None else f[places]
        return cls(replace(rows, X=X, scale=scale, offset=offset, penalty_factors=f), places)

    def part(self, rows: Rows) -> Rows:
        """A part of the rows with these features."""
        kept = self.rows
        f = kept.penalty_factors
        return replace(rows, X=kept.X, scale=kept.scale, offset=kept.offset, penalty_factors=f)


class MappedSolver:
    """Solves in some of the features, in units of their own; the other weights are 0.

    They are those that rows store, for the gradient of the others is 2λW, and the units those of
    `Rows.unit_penalties`.
    """

    def __init__(
        self,
        inside: Solver | LabelSolver | ReducedSolver | DualSolver | MappedSolver,
        features: int,
        places: NDArray[np.int64] | slice,
        units: Float64 | None,
    ) -> None:
        self._inside, self._features, self._places, self._units = inside, features, places, units

    def start_at(self, W: NDArray[np.floating], b: Float64) -> None:
        """Start the next solution from these weights."""
        self._inside.start_at(self._inner(W), b)

    def go_on_from(self, found: Optimum) -> None:
        """Take the first solution from elsewhere."""
        assert isinstance(self._inside, Solver)  # noqa: S101  # of sparse rows with one class each
        self._inside.go_on_from(replace(found, W=self._inner(found.W)))

    def _inner(self, W: NDArray[np.floating]) -> NDArray[np.floating]:
        W = W[:, self._places]
        return W if self._units is None else W * self._units

    @property
    def moved(self) -> Float64:
        """From the last solution but one to the last, in the features that are searched in."""
        return self._inside.moved

    def move(self, step: Float64) -> None:
        """Start the next solution this far from the last."""
        self._inside.move(step)

    @property
    def state(self) -> SolverState:
        """What to `restore` for the next solution to have the same bits."""
        return self._inside.state

    def restore(self, state: SolverState) -> None:
        """Go on from a state of a solver of the same rows."""
        self._inside.restore(state)

    def solve(self, target: Target) -> Optimum:
        """Solve for one λ; Ctrl-C ends the search and gives what was found, certified."""
        found = self._inside.solve(target)
        W = np.zeros((len(found.W), self._features), found.W.dtype)
        for of_all, of_class in zip(W, found.W, strict=True):
            of_all[self._places] = of_class if self._units is None else of_class / self._units
        return replace(found, W=W)


AnySolver = Solver | ReducedSolver | LabelSolver | MappedSolver | DualSolver


class Solvers:
    """Solvers of the same rows, and of parts of them.

    They share coordinates of the rows' span where so many solutions are expected to be faster in
    them, else a preconditioner.
    """

    def __init__(self, engine: Engine, rows: Rows, classes: int, solutions: int = 1) -> None:
        self._engine, self._features, self._classes = engine, rows.X.shape[1], classes
        self._reduction = None
        self._whole, self._units = rows.unit_penalties()
        if rows.y.ndim == 2:
            return
        spans = rows.is_dense and not rows.has_free
        if spans and is_faster(rows.count, rows.X.shape[1], classes, solutions):
            self._reduction = reduce_rows(engine, self._whole, classes)
        self._solutions = solutions

    @cached_property
    def _stored(self) -> StoredFeatures | None:
        return StoredFeatures.of(self._whole)

    @property
    def _rows(self) -> Rows:
        return self._whole if self._stored is None else self._stored.rows

    @cached_property
    def _preconditioner(self) -> Preconditioner:
        """Of all solutions; those by sweeps in the dual need none."""
        if self._reduction is not None:
            return self._reduction.preconditioner
        return choose_preconditioner(self._engine, self._rows, self._classes, self._solutions)

    def of_all(self, on_progress: Callable[[Progress], None] | None = None) -> AnySolver:
        """The solver of all rows; `on_progress` is called after every pass."""
        solver: AnySolver
        if may_be_wide(self._whole, self._classes):
            solver = DualSolver(self._whole, self._classes, self._of_one_label, on_progress)
        elif self._reduction is not None:
            solver = ReducedSolver(
                self._engine, self._rows, self._classes, self._reduction, on_progress
            )
        elif self._whole.y.ndim == 2:
            labels = LabelSolver(self._engine, self._rows, on_progress)
            solver = labels if self._stored is None else self._of_stored(labels, self._stored)
        else:
            solver = self._of_one_label(on_progress)
        if self._units is None:
            return solver
        return MappedSolver(solver, self._features, slice(None), self._units)

    def _of_one_label(
        self, on_progress: Callable[[Progress], None] | None
    ) -> Solver | MappedSolver:
        solver = self._of_rows(self._rows, on_progress)
        return solver if self._stored is None else self._of_stored(solver, self._stored)

    def _of_stored(self, solver: Solver | LabelSolver, stored: StoredFeatures) -> MappedSolver:
        return MappedSolver(solver, self._features, stored.places, None)

    def _of_rows(self, rows: Rows, on_progress: Callable[[Progress], None] | None = None) -> Solver:
        return Solver(self._engine, rows, self._classes, lambda: self._preconditioner, on_progress)

    def of_part(self, kept: Rows, held_out: Rows) -> tuple[AnySolver, Rows]:
        """The solver of a part of the rows, and another part as its solutions score it.

        Where coordinates are shared, or features that no row stores left out, or in other units, so
        are its weights.
        """
        if self._units is not None:
            kept, held_out = kept.unit_penalties()[0], held_out.in_units(self._units)
        if self._stored is not None:
            kept, held_out = self._stored.part(kept), self._stored.part(held_out)
        if kept.y.ndim == 2:
            return LabelSolver(self._engine, kept), held_out
        if self._reduction is not None:
            kept, held_out = self._reduction.part(kept), self._reduction.part(held_out)
        if may_be_wide(kept, self._classes):
            return DualSolver(kept, self._classes, partial(self._of_rows, kept)), held_out
        return self._of_rows(kept), held_out
