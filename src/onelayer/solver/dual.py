"""Ascent in the dual, for sparse rows whose weights are not far fewer than their stored values.

    J(W, b) = Σ fᵢ ℓᵢ(W xᵢ + b) + λ ‖W‖²      W = −(1/2λ) Σ fᵢ rᵢ xᵢᵀ

with rᵢ = pᵢ − yᵢ at the optimum. A step takes the r of one row to where p of its own scores is, and
changes the weights of the features that it stores: a sweep over the rows costs what a pass does,
however many features there are, while steps of L-BFGS go over all weights many times. Rows that
share few features are solved in a few sweeps; where the gap falls slowly the sweeps end. Rows are
centred in effect, and b takes a step of Newton's method after each sweep. Features that one row
alone stores move no other row's scores: of them the sweeps know a sum of squares for each row.

What comes out is proven as `onelayer.solver.certificate` does, by what a pass finds at W and the
best bias for it. There p̄ is so near to π that what moves p to p̃ need not be known but bounded: the
mean row of class k is no longer than σ / √π_k, σ² the mean of ‖x‖², so

    ‖G̃ + 2λW‖ ≤ ‖G + 2λW‖ + t ‖G‖ + 2 Σ_k m_k √π_k σ      m_k = (1 − t) (g_k)₊ / π_k

and no array of K × D numbers is made but the weights themselves.

Source: Yu, Huang & Lin (2011), Dual coordinate descent methods for logistic regression and maximum
entropy models.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data.mapped import check_mapped
from onelayer.data.rows import Rows
from onelayer.data.scaling import held_values
from onelayer.data.sparse import sparse_rows
from onelayer.engines.native import DualSolution, default_threads
from onelayer.model.certificate import Certificate
from onelayer.solver.solver import (
    FLOAT32_TOL,
    FLOAT64_PRODUCTS,
    Optimum,
    Progress,
    Solver,
    SolverState,
    Target,
    first_bias,
)

if TYPE_CHECKING:
    from onelayer.solver.reduction import MappedSolver

Float64 = NDArray[np.float64]

# The gap to reach, of that to be proven; the most sweeps, and the most that may still be missing at
# the rate of the last one.
AIM, MAX_SWEEPS, MAX_AHEAD = 0.1, 16, 10.0

# Passes that must be allowed, stored values for each weight at most, and classes, whose products
# each row takes.
MIN_ASCENT, MOST_STORED, MOST_CLASSES = 5, 8, 128

TINY = float(np.finfo(np.float64).tiny)

# The part t of the mixture, at which a search for the best bias ends, and its steps.
NEAR, MAX_STEPS, MAX_HALVINGS = 1e-11, 30, 10


class Ascent(NamedTuple):
    """Weights that sweeps reached, the best bias for them, and their proof."""

    W: NDArray[np.floating]  # (K, D)
    b: Float64  # (K,)
    proof: Certificate


class Moments(NamedTuple):
    """What a bias makes of the rows' probabilities."""

    loss: float
    g: Float64  # p̄ − π, (K,)
    bends: Float64  # what the bias bends p̄ by, (K, K)
    scores: Float64  # Σ f s of the rows of each class, (K, K)


def may_be_wide(rows: Rows, classes: int) -> bool:
    """Whether weights may be many beside stored values; and features are not moved, none absent."""
    sparse = sparse_rows(rows.X)
    if sparse is None or rows.is_dense or rows.extreme or held_values(rows.offset).any():
        return False
    if rows.score_offsets is not None or rows.has_free or classes > MOST_CLASSES:
        return False
    if rows.y.ndim == 2 or not rows.cold_probabilities(classes).all():
        return False
    return is_wide(rows, classes, rows.X.shape[1])


def is_wide(rows: Rows, classes: int, features: int) -> bool:
    """Whether the weights of so many features are not far fewer than stored values."""
    return MOST_STORED * classes * features >= rows.products


def ascend(
    rows: Rows,
    b: Float64,
    l2: float,
    tol: float,
    dtype: str,
    sweeps: int,
    log: Callable[[int, float, float], None],
) -> Ascent | None:
    """What some sweeps reach from W = 0 and b, in float32 or float64; None for too few features.

    After each `log` is called with its number, the cost, and about the gap before it.
    """
    sparse = sparse_rows(rows.X)
    assert sparse is not None  # noqa: S101  # they are wide
    K, N = len(b), rows.count
    weights = rows.row_weights
    fractions = np.full(N, 1.0 / rows.mass) if weights is None else weights / rows.mass
    unit = (held_values(rows.scale) == 1.0).all()
    solution = DualSolution(
        sparse.arrays, rows.y, K, fractions, l2, rows.intercept, dtype == "float64",
        default_threads(), None if unit else np.ascontiguousarray(rows.scale), rows.index,
    )  # fmt: skip
    if not is_wide(rows, K, solution.features()):
        return None
    b, gap = b.copy(), 0.0
    for sweep in range(1, min(sweeps, MAX_SWEEPS) + 1):
        bent, shift, loss, square, off = solution.sweep(b)
        if rows.intercept:
            b = b + np.linalg.solve(bent + bent.trace() / K, 2.0 * l2 * shift)
        cost = loss + l2 * square
        log(sweep, cost, off)
        fall, gap = gap / max(off, TINY), off
        missing = math.log(max(off, TINY) / max(AIM * tol * loss, TINY))
        ahead = missing / math.log(fall) if fall > 1.0 else math.inf
        if missing <= 0.0 or ahead <= 1.0 or (sweep > 2 and ahead > MAX_AHEAD):
            break
    solution.finish()
    proof, b = _prove(solution, rows, b, l2)
    return Ascent(solution.weights(), b, proof)


def _prove(
    solution: DualSolution, rows: Rows, b: Float64, l2: float
) -> tuple[Certificate, Float64]:
    """A bound on the cost of the weights with their best bias, and that bias."""
    frequencies = rows.cold_probabilities(len(b))
    found = Moments(*solution.moments(b))
    if rows.intercept:
        b, found = _best_bias(solution, b, found, frequencies)
    gradient, square, length = solution.slope(b)
    cost = found.loss + l2 * square
    slope = math.sqrt(gradient)
    g = found.g - found.g.sum() * frequencies if rows.intercept else np.zeros_like(b)
    over, under = np.maximum(g, 0.0), np.maximum(-g, 0.0)
    t = _mixture(g, frequencies)
    moved, taken = (1.0 - t) * over / frequencies, under / max(float(under.sum()), TINY)
    slope += t * (slope + 2.0 * l2 * math.sqrt(square))
    slope += 2.0 * float(moved @ np.sqrt(frequencies)) * math.sqrt(length)
    mixing = t * found.loss + float(moved @ (found.scores.diagonal() - found.scores @ taken))
    gap = min(slope**2 / (4.0 * l2) + max(mixing, 0.0), cost)
    residual = float(np.abs(found.g).max()) if rows.intercept else 0.0
    return Certificate(l2, cost, gap, slope, residual, rows.count), b


def _best_bias(
    solution: DualSolution, b: Float64, found: Moments, frequencies: Float64
) -> tuple[Float64, Moments]:
    """Newton's method for the bias that brings p̄ to π; steps that do not are halved."""
    for _ in range(MAX_STEPS):
        if _mixture(found.g, frequencies) <= NEAR:
            break
        bends = found.bends + found.bends.trace() / len(b)
        step = np.linalg.lstsq(bends, -found.g, rcond=None)[0]
        for _ in range(MAX_HALVINGS):
            trial = Moments(*solution.moments(b + step))
            if np.abs(trial.g).sum() < np.abs(found.g).sum():
                break
            step *= 0.5
        else:
            break
        b, found = b + step, trial
    return b, found


def _mixture(g: Float64, frequencies: Float64) -> float:
    """The part t of rows whose mass is moved so that p̄ = π + g becomes π."""
    over = np.maximum(g, 0.0)
    return float((over / (frequencies + over)).max())


class DualSolver:
    """Solves its first λ by sweeps in the dual, unless it is told where to start.

    Where they prove less than was asked for, and of other λ, another solver goes on from what they
    reached, which is not made before.
    """

    def __init__(
        self,
        rows: Rows,
        classes: int,
        make: Callable[[Callable[[Progress], None] | None], Solver | MappedSolver],
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._rows, self._classes, self._make, self._on_progress = rows, classes, make, on_progress
        self._found: Optimum | None = None  # while the other solver does not know it
        self._made: Solver | MappedSolver | None = None
        self._sweeps = 0  # of the solution that is searched for

    @property
    def _other(self) -> Solver | MappedSolver:
        if self._made is None:
            self._made = self._make(None if self._on_progress is None else self._tell)
            if self._found is not None:
                self._made.go_on_from(self._found)
            self._found = None
        return self._made

    def _tell(self, now: Progress) -> None:
        if self._on_progress is not None:
            self._on_progress(replace(now, passes=now.passes + self._sweeps))

    def start_at(self, W: NDArray[np.floating], b: Float64) -> None:
        """Start the next solution from these weights."""
        self._other.start_at(W, b)

    @property
    def moved(self) -> Float64:
        """From the last solution but one to the last, in the features that are searched in."""
        return self._other.moved

    def move(self, step: Float64) -> None:
        """Start the next solution this far from the last."""
        self._other.move(step)

    @property
    def state(self) -> SolverState:
        """What to `restore` for the next solution to have the same bits."""
        return self._other.state

    def restore(self, state: SolverState) -> None:
        """Go on from a state of a solver of the same rows."""
        self._other.restore(state)

    def solve(self, target: Target) -> Optimum:
        """Solve for one λ; Ctrl-C ends the search and gives what was found, certified."""
        self._sweeps, began = 0, time.perf_counter()
        is_first = self._made is None and self._found is None
        if is_first and target.l2 > 0.0 and target.max_passes >= MIN_ASCENT:
            try:
                if (found := self._ascend(target)) is not None:
                    return found
            except KeyboardInterrupt:
                cold = self._other.solve(replace(target, max_passes=1))
                return replace(cold, status="interrupted")
        left = replace(target, max_passes=target.max_passes - self._sweeps)
        optimum = self._other.solve(left)
        passes, seconds = optimum.passes + self._sweeps, time.perf_counter() - began
        return replace(optimum, passes=passes, seconds=seconds)

    def _ascend(self, target: Target) -> Optimum | None:
        """The solution by sweeps; None where there are none, or they reach only a start."""
        began, rows, K = time.perf_counter(), self._rows, self._classes
        few = rows.products * K < FLOAT64_PRODUCTS or target.tol < FLOAT32_TOL

        def log(sweep: int, cost: float, gap: float) -> None:
            self._sweeps = sweep + 1  # and the pass of the proof
            if self._on_progress is not None:
                self._on_progress(Progress(target.l2, sweep, cost, gap))

        b, sweeps = first_bias(rows, K), target.max_passes - 2
        dtype = "float64" if few else "float32"
        found = ascend(rows, b, target.l2, target.tol, dtype, sweeps, log)
        check_mapped(rows.X)
        if found is None:
            return None
        if found.proof.gap > target.tol * found.proof.cost:
            self._other.start_at(found.W, found.b)
            return None
        passes, seconds = self._sweeps, time.perf_counter() - began
        self._found = Optimum(*found, "optimal", passes, seconds, target.tol)
        return self._found
