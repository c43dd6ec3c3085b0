"""The optimum where λ₁ > 0: few features, or few weights, with its proof.

    W*, b* = argmin −(1/N) Σ log(yᵀ p) + λ₂ Σ W² + λ₁ Σ |W|       or λ₁ Σ_d ‖W_:d‖₂, where grouped

Ω is the penalty. For probabilities p̃ whose mean over the rows is the frequency of each class,

    J(W, b) − J* ≤ [Ω(W) + ⟨G̃, W⟩ + Ω*(−G̃)] + (1/N) Σ KL(p̃ᵢ ‖ pᵢ)      G̃ = (1/N) Σ (p̃ᵢ − yᵢ) xᵢᵀ

by Fenchel duality (derived in Formulations). Ω* is Σ (|G̃| − λ₁)₊² / (4λ₂), so for λ₂ = 0 every |G̃|
has to be λ₁ at most. The model's own p is brought there by three steps: Newton's method finds the
best bias for W; what is left of g = p̄ − π is mixed away by a part t of one q for all rows,

    p̃ᵢ = (1 − t) pᵢ + t q       q = p̄ − g / t       t = max_k g_k / p̄_k

and the residual is shortened, p̃ᵢ ← ρ p̃ᵢ + (1 − ρ) yᵢ, which keeps the mean and multiplies G̃ by ρ.

Most features never count. The search looks at a working set of them, of which it holds the columns,
and a pass over all rows proves the result or says which features are missing. From one λ₁ to the
next below it, the first working set is what the sequential strong rule keeps. Features that the
gap proves to be 0 at the optimum are never taken: Σ KL is strongly convex, Pinsker's inequality
says how far p̃ is from the best one, and |G*| < λ₁ follows where

    |G̃_kd| + ‖x_d − x̄_d‖ √(gap / 2) < λ₁        grouped: ‖G̃_:d‖ + ‖x_d − x̄_d‖ √gap < λ₁

with ‖·‖² the mean over the rows. By the same inequality of Cauchy and Schwarz a pass of two classes
over sparse rows sums only features whose slope may have come up to λ₁ since it was last summed: if
the probabilities have moved by d, the root of the mean of squares, it has changed by no more than
‖x_d − x̄_d‖ d. In the working set one class after another takes a step of
Newton's method, the bias with it, by coordinate descent in the kernel. What all classes share
changes no probability, so each feature's weights are moved to where their penalty is least. Grouped
classes take their steps together, by one Hessian that bounds theirs. Where that is slow, steps are
combined by Anderson's acceleration, or one of Newton's follows for all weights that are not 0.

Two classes are one row of weights, w = W₁ − W₀, for which Σ|W| = Σ|w| and Σ W² = ½ Σ w². Their
search on a working set is the kernel's, unless a feature is free. After a whole step their p̃ is
p + p (1 − p) s, for p as it was before it and the scores s that it added. The gradient of the
step's quadratic is then G̃ itself: its minimum leaves 0 in the brackets, and the KL is of fourth
order in the step.

Sources: Ndiaye, Fercoq, Gramfort & Salmon (2017), Gap safe screening rules for sparsity enforcing
penalties; Massias, Gramfort & Salmon (2018), Celer, for working sets; Tibshirani et al. (2012),
Strong rules for discarding predictors; Friedman, Hastie & Tibshirani (2010), Regularization paths
for generalized linear models via coordinate descent; Li & Osher (2009), for the median that moves
the weights of a feature.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data.mapped import check_mapped
from onelayer.data.rows import Rows
from onelayer.data.scaling import EQUAL
from onelayer.engines import Engine, Weights
from onelayer.engines.native import PairSearch
from onelayer.errors import SettingsError, require_number
from onelayer.model.certificate import Certificate
from onelayer.objective.loss import sigmoid
from onelayer.objective.penalty import Penalty
from onelayer.solver.certificate import ROUNDING, TINY, Certified, RowSums, of_classes
from onelayer.solver.columns import Slopes, columns_of, each
from onelayer.solver.free import fit_free, free_features, read_columns
from onelayer.solver.linalg import inner, norm, one_blas_thread
from onelayer.solver.losses import BIAS_RESIDUAL, Dual, Fit, Gap, Losses, nearest_dual, softplus
from onelayer.solver.reduction import AnySolver, Solvers
from onelayer.solver.solver import (
    Optimum,
    Progress,
    SolverState,
    Status,
    Target,
    first_bias,
    separated_by_free,
)
from onelayer.solver.steps import Acceleration, is_joint, shared_part, step_length

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]

# Of the gap that is asked for, the part that the working set is solved to; and of the last gap,
# where features are still missing.
INSIDE, ROUGH = 0.8, 0.1

# The fewest features that are added to a working set at once.
FEWEST = 50

# Steps of a working set, at most; rounds without progress that end the search.
MAX_CYCLES, MAX_STALLED = 200, 3

# Coordinate descent: how far it goes, in terms of its first sweep, and the sweeps of a step. A
# weight that is 0 takes part where its slope is above this fraction of λ₁.
EXACT, NEAR = (1e-5, 100), 0.95
ROUGH_STEP = (1e-3, 30)  # where a step is one of many classes, or by a bound

# How much below λ₁ a slope must be that is not summed, for the rounding of what bounds it.
EDGE = 1e-9

# A step that goes further is not looked at where the loss after it is so many times the cost.
WORSE = 2.0


class Proof(NamedTuple):
    """What a pass over all rows proves."""

    cost: float
    gap: float
    slope: Float64  # the loss's gradient, (m, D)
    steep: Callable[[], Float64]  # how steep G̃ is at most, as it is compared to λ₁, (D,)
    residual: float  # largest |∂J/∂b|
    steepness: float  # norm of the smallest subgradient


@dataclass(frozen=True)
class Sparsity:
    """What goes with λ₁ along a path, in scikit-learn's terms.

    Attributes:
        l1_ratio: r in (0, 1]: λ₂ = λ₁ (1 − r) / 2r, and twice that for two classes, whose one row
            of weights scikit-learn penalises.
        grouped: whether the classes of a feature are penalised as a group.

    Example:
        >>> Sparsity(0.5).target(Target(0.0), 0.1, classes=3).l2
        0.05
    """

    l1_ratio: float = 1.0
    grouped: bool = False

    def __post_init__(self) -> None:
        require_number("l1_ratio", self.l1_ratio, "above 0, up to 1", above=0, below=1.0 + 1e-12)

    def target(self, target: Target, l1: float, classes: int) -> Target:
        """The target with this λ₁ and the λ₂ that goes with it."""
        l2 = l1 * (1.0 - self.l1_ratio) / (2.0 * self.l1_ratio) * (2.0 if classes == 2 else 1.0)
        return replace(target, l1=l1, l2=l2, grouped=self.grouped)


def solver_for(
    engine: Engine,
    rows: Rows,
    classes: int,
    target: Target,
    on_progress: Callable[[Progress], None] | None = None,
) -> AnySolver | ProximalSolver:
    """The solver that a target needs."""
    if target.l1:
        return ProximalSolver(engine, rows, classes, on_progress)
    return Solvers(engine, rows, classes).of_all(on_progress)


class ProximalSolver:
    """Solves one λ₁ after another on the same rows; each starts where the last one ended."""

    def __init__(
        self,
        engine: Engine,
        rows: Rows,
        classes: int,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        if rows.y.ndim == 2:
            raise SettingsError("l1 is not built for many labels a row; give l2 alone.")
        self._engine, self._given, self._on_progress = engine, rows, on_progress
        self._present = rows.cold_probabilities(classes) > 0.0
        kept = int(self._present.sum())
        self._first_bias = first_bias(rows, classes)
        of = of_classes(rows, self._present)
        sums = RowSums.of(engine, of, kept)
        self._mean, self._spreads = sums.mean, sums.spreads
        if not rows.intercept:  # then rows are not centred
            self._mean, self._spreads = np.zeros_like(sums.mean), np.hypot(sums.spreads, sums.mean)
        self._rows = _without_constant(replace(of, offset=of.offset - self._mean))
        weights = rows.row_weights
        whole = np.full(rows.count, 1.0 / rows.count)
        self._fractions = whole if weights is None else weights / rows.mass
        self._columns = columns_of(self._rows, engine, self._fractions)
        self._losses = Losses(of.labels, self._fractions, sums.frequencies, rows.intercept)
        self._is_pair, self._Y = self._losses.is_pair, self._losses.Y
        self._counted = slice(1, None) if self._is_pair else slice(None)
        self._frequencies, self._centred = sums.frequencies, sums.centred[self._counted]
        m, D = self._centred.shape
        # One row of weights has no bias but its own; several have one of mean 0.
        b = np.log(sums.frequencies)
        self._b = b[1:] - b[:1] if self._is_pair else b - b.mean()
        self._W, self._slope = np.zeros((m, D)), -self._centred
        self._support = np.zeros(0, np.int64)  # features of which weights may be other than 0
        self._last_l1 = math.inf  # of the solution that W is
        self._passes = 0
        self._dual: Float64 | None = None  # probabilities (1, N) that prove more than the model's
        self._offsets: Float64 | float = 0.0  # of the scores, (m, N)
        if of.row_offsets is not None:
            self._offsets = self._of_pair(of.row_offsets.T.astype(np.float64))
        f = self._rows.penalty_factors
        self._counts = np.ones(D, np.bool_) if f is None else f > 0.0  # in the penalty
        self._free: Float64 | None = None  # columns of the others, (u, N)
        if f is not None:
            infinite = np.full(D, math.inf)
            self._spreads = np.divide(self._spreads, f, where=self._counts, out=infinite)
            if self._rows.has_free:
                self._free = read_columns(self._rows, free_features(self._rows))
        self._pair: PairSearch | None = None  # where two classes have no free features
        self._placed = False  # whether it has the rows under the weights
        if self._is_pair and self._free is None:
            given = np.asarray(self._offsets)
            offsets = np.ascontiguousarray(given[0]) if given.ndim else None
            self._pair = self._columns.pair_search(self._Y[0], offsets)
        if self._pair is not None:
            self._slopes = Slopes(self._slope[0], self._spreads, f)
            self._steepest_cold = float(self._slopes.most().max())
            self._pair.put(np.broadcast_to(self._b[0] + given.reshape(-1), rows.count).copy())
            if given.ndim:
                self._b = self._b + self._pair.centre(BIAS_RESIDUAL, float(self._frequencies[1]))
                cold = self._columns.pair_sums(self._pair)
                of_all = self._pair.slopes(np.arange(D), found=False) if cold is None else cold[0]
                self._slopes.put(..., of_all)
            self._pair.travel()
        elif self._free is not None or of.row_offsets is not None:
            start = np.broadcast_to(self._b[:, None] + self._offsets, self._Y.shape)
            self._proof(self._penalty(Target(0.0, l1=1.0)), start)
        self._cold_slope = self._slope.copy()  # where no weight is penalised

    def _of_pair(self, of: Float64) -> Float64:
        """Rows of the classes as rows of weights: of two classes their difference."""
        return of[1:] - of[:1] if self._is_pair else of

    def largest_l1(self, *, grouped: bool) -> float:
        """The least λ₁ for which W = 0 is best: there the gradient says it all."""
        penalty = self._penalty(Target(0.0, l1=1.0, grouped=grouped))
        steep = self._steepness(penalty, self._cold_slope)
        return float(steep[self._counts].max() / penalty.l1)

    def _penalty(self, target: Target) -> Penalty:
        """That of the rows of weights: of two classes the same for w = W₁ − W₀."""
        l2, l1, factors = target.l2, target.l1, self._rows.penalty_factors
        if self._is_pair:
            l1 *= math.sqrt(0.5) if target.grouped else 1.0
            return Penalty(0.5 * l2, l1, target.grouped, factors)
        return Penalty(l2, l1, target.grouped, factors)

    @property
    def state(self) -> SolverState:
        """What to `restore` for the next solution to have the same bits."""
        at, slope = (
            self._of_classes(np.column_stack([of, self._b])) for of in (self._W, self._slope)
        )
        known = None if self._pair is None else self._slopes.state
        l1 = self._last_l1
        return SolverState(at, slope, (), "float64", l1, newton=False, curvature=None, steps=0,
                           slopes_at=known)  # fmt: skip

    def restore(self, state: SolverState) -> None:
        """Go on from a state of a solver of the same rows."""
        at, slope = (each[self._present] for each in (state.at, state.moved))
        if self._is_pair:
            at, slope = at[1:] - at[:1], slope[1:] - slope[:1]
        self._W, self._b = at[:, :-1].copy(), at[:, -1].copy()
        self._support = np.flatnonzero(self._W.any(axis=0))
        self._last_l1, self._placed = state.l2, False
        if self._pair is None:
            self._slope = slope[:, :-1].copy()
        elif state.slopes_at is not None:
            self._slopes.restore(slope[0, :-1], state.slopes_at)
            self._place(self._pair)
            self._pair.travel()

    @property
    def moved(self) -> Float64:
        """Nothing: solutions do not change evenly, features come one after another."""
        return np.zeros((len(self._present), self._W.shape[1] + 1))

    def move(self, step: Float64) -> None:
        """Stay at the last solution."""

    def start_at(self, W: NDArray[np.floating], b: Float64) -> None:
        """Start the next solution from these weights."""
        kept, bias = W[self._present].astype(np.float64), b[self._present]
        if self._is_pair:
            kept, bias = kept[1:] - kept[:1], bias[1:] - bias[:1]
        self._W, self._b = kept, bias + np.einsum("kd,d->k", kept, self._mean)
        self._support, self._placed = np.flatnonzero(kept.any(axis=0)), False

    def solve(self, target: Target) -> Optimum:
        """Solve for one λ₁ > 0; Ctrl-C ends the search and gives what was found, certified."""
        started, self._passes = time.perf_counter(), 0
        penalty = self._penalty(target)
        separated: tuple[tuple[int, ...], ...] = ()
        with one_blas_thread():
            try:
                status, proof = self._search(target, penalty)
                separated = self._separated_by_free
            except KeyboardInterrupt:
                status, proof = "interrupted", self._prove(penalty, BIAS_RESIDUAL)
        self._last_l1 = target.l1
        check_mapped(self._given.X)
        W, b = self._weights()
        certificate, seconds = self._certificate(target, proof), time.perf_counter() - started
        passes = max(self._passes, 1)
        return Optimum(W, b, certificate, status, passes, seconds, target.tol, separated)

    @cached_property
    def _separated_by_free(self) -> tuple[tuple[int, ...], ...]:
        if not self._given.has_free:
            return ()
        return separated_by_free(self._engine, self._given, len(self._present))

    def certify(self, W: Float64, b: Float64, penalty: Penalty) -> Certified:
        """Certificates of (W, b), and of W with the best bias: two passes, and one for the cost."""
        target = Target(penalty.l2, l1=penalty.l1, grouped=penalty.grouped)
        self.start_at(W, b)
        kept = self._W
        weights = Weights(np.ascontiguousarray(kept)[None], self._b[None])
        S = np.ascontiguousarray(self._engine.scores(self._rows.unlabelled, weights)[0].T)
        with one_blas_thread():
            proof = self._proof(self._penalty(target), S + self._offsets)
        value, lowest = penalty.value(W), proof.cost - proof.gap
        losses = self._engine.evaluate(self._given, Weights(W[None], b[None])).loss
        cost = float(losses[0]) + value
        best = proof.cost - self._penalty(target).value(kept) + value
        certificate = self._certificate(target, proof._replace(cost=best, gap=best - lowest))
        given = replace(certificate, cost=cost, gap=max(cost - lowest, 0.0))
        return Certified(given, certificate, self._weights()[1], self._passes + 2)

    def _certificate(self, target: Target, proof: Proof) -> Certificate:
        return Certificate(
            target.l2,
            proof.cost,
            proof.gap,
            proof.steepness,
            proof.residual,
            self._rows.count,
            l1=target.l1,
            grouped=target.grouped,
        )

    def _weights(self) -> tuple[Float64, Float64]:
        """W (K, D) and b (K,) of the features as they are, not centred."""
        W, on = np.zeros((len(self._present), self._W.shape[1])), self._support
        W[:, on] = self._of_classes(self._W[:, on])
        b = self._b - np.einsum("kd,d->k", self._W[:, on], self._mean[on])
        bias = self._of_classes(b[:, None])[:, 0]
        return W, np.where(self._present, bias, self._first_bias)

    def _of_classes(self, rows: Float64) -> Float64:
        """Rows for all classes: one row of weights is two that mirror each other."""
        if self._is_pair:
            rows = np.concatenate([-0.5 * rows, 0.5 * rows])
        of_all = np.zeros((len(self._present), rows.shape[1]))
        of_all[self._present] = rows
        return of_all

    def _search(self, target: Target, penalty: Penalty) -> tuple[Status, Proof]:
        """Solve on working sets until a pass proves the solution."""
        chosen, complete = self._first_set(penalty)
        self._columns.forget()
        if self._pair is not None:
            self._pair.forget()
        aim, stalled, least = INSIDE * target.tol if complete else 0.1, 0, math.inf
        alive: NDArray[np.bool_] | bool = True
        while True:
            self._fit(chosen, penalty, aim)
            proof = self._prove(penalty, max(1e-5 * target.tol, BIAS_RESIDUAL))
            self._report(target, proof)
            if proof.gap <= target.tol * proof.cost:
                return "optimal", proof
            if self._passes >= target.max_passes:
                return "passes", proof
            alive = alive & self._may_count(penalty, proof)
            new = self._missing(penalty, proof, chosen, alive)
            stalled = 0 if len(new) or proof.gap < 0.5 * least else stalled + 1
            if stalled > MAX_STALLED:
                return "rounding", proof
            least = min(least, proof.gap)
            relative = proof.gap / proof.cost
            aim = max(INSIDE * target.tol, ROUGH * relative) if len(new) else 0.1 * aim
            chosen = merged(chosen, new)

    def _first_set(self, penalty: Penalty) -> tuple[Indices, bool]:
        """Features that count now, and those that the strong rule keeps, or the steepest of them.

        It says whether these are all.
        """
        counts, before = self._support, self._last_l1
        if self._free is not None:
            counts = np.union1d(counts, np.flatnonzero(~self._counts))
        known = self._pair is not None
        steep = self._slopes.steep() if known else self._steepness(penalty, self._slope)
        if before == math.inf:  # at W = 0, which is best for the largest λ₁
            before = float(steep[self._counts].max())
        elif self._is_pair and penalty.grouped:
            before *= math.sqrt(0.5)
        most = max(FEWEST, 2 * len(counts))
        strong = steep > 2.0 * penalty.l1 - before
        strong[counts] = False
        found = np.flatnonzero(strong)
        complete = before > penalty.l1 and (len(found) <= most or before < 2.0 * penalty.l1)
        return merged(counts, steepest(found, steep, most)), complete

    @staticmethod
    def _steepness(penalty: Penalty, G: Float64) -> Float64:
        """What is compared to λ₁, of each feature; infinite where it is not penalised."""
        sizes, f = penalty.sizes(G), penalty.factors
        if sizes.ndim == 2:  # the largest of one row is found slowly
            sizes = sizes[0] if len(sizes) == 1 else sizes.max(axis=0)
        steep = np.asarray(sizes)
        if f is None:
            return steep
        return np.asarray(np.divide(steep, f, where=f > 0.0, out=np.full_like(steep, math.inf)))

    def _may_count(self, penalty: Penalty, proof: Proof) -> NDArray[np.bool_]:
        """Features that the gap does not prove to be 0 at the optimum."""
        radius = math.sqrt(proof.gap if penalty.grouped and not self._is_pair else proof.gap / 2.0)
        steep = proof.steep() + radius * self._spreads
        return np.asarray(steep >= penalty.l1) | self._W.any(axis=0)

    def _missing(
        self, penalty: Penalty, proof: Proof, chosen: Indices, alive: NDArray[np.bool_]
    ) -> Indices:
        """Features to add: those whose slope is too steep to be 0, nearest ones first."""
        steep, out = self._steepness(penalty, proof.slope), alive.copy()
        out[chosen] = False
        found = np.flatnonzero(out & (steep > penalty.l1))
        return steepest(found, steep, max(FEWEST, 2 * len(self._support)))

    def _fit(self, chosen: Indices, penalty: Penalty, aim: float) -> None:
        """Solve for the weights of these features, to this relative gap."""
        if self._pair is not None:
            self._fit_pair(self._pair, chosen, penalty.of_features(chosen), aim)
            return
        self._columns.take(chosen)
        W, self._dual, penalty = self._W[:, chosen], None, penalty.of_features(chosen)
        grouped = penalty.grouped and not self._is_pair
        step = self._grouped_step if grouped else self._steps
        least = min(max(1e-2 * aim, BIAS_RESIDUAL), 1e-6)
        acceleration = Acceleration()
        fit = self._with_bias(self._scores(W), least)
        for cycle in range(MAX_CYCLES if len(chosen) else 0):
            cost, G = fit.loss + penalty.value(W), self._columns.sums(self._factors(fit))
            gap = self._gap(penalty, W, fit, G).size
            if self._free is not None:  # what about the best free weights would lower the cost by
                gap += self._lowered_by_free(penalty, fit, G)
            if gap <= aim * cost or cost <= ROUNDING["float64"]:
                break
            start, self._dual = np.column_stack([W, self._b]), None
            fit = self._with_bias(step(W, fit, G[: len(W)], penalty), least)
            if self._is_pair:
                continue
            end = np.column_stack([W, self._b])
            if joint := is_joint(W, self._rows.count, cycle):
                tries: Iterable[Float64] = self._joint_steps(end, fit, penalty)
            else:
                tries = acceleration.further(start, end)
            cost, whole = fit.loss + penalty.value(W), joint
            for further in tries:
                self._b = further[:, -1]
                S = self._scores(further[:, :-1])
                if not self._losses.of(S).loss <= WORSE * cost:  # no bias makes up for it
                    continue
                tried = self._with_bias(S, least)
                if tried.loss + penalty.value(further[:, :-1]) < cost:
                    if whole:
                        along = S - fit.S
                        self._dual = _inside(fit.P + fit.P * (along - (fit.P * along).sum(axis=0)))
                    fit, W = tried, further[:, :-1].copy()
                    break
                whole = False
            else:
                self._b = end[:, -1]
                acceleration.forget()
        self._set_weights(chosen, W)

    def _fit_pair(self, pair: PairSearch, chosen: Indices, penalty: Penalty, aim: float) -> None:
        """The same by the kernel's search."""
        self._columns.hold(chosen)
        is_known = self._placed and self._slopes.are_exact
        if not self._placed:
            self._place(pair)
        w, n = self._W[0, chosen], len(chosen)
        limits, curvatures = each(penalty.limits, n), each(penalty.curvatures, n)
        slope = self._slope[0, chosen] if is_known else None
        self._b = np.array([pair.fit(chosen, limits, curvatures, w, slope, aim, MAX_CYCLES)])
        self._set_weights(chosen, w[None])

    def _set_weights(self, chosen: Indices, W: Float64) -> None:
        """Weights of these features; those of all others are 0."""
        self._W[:, self._support] = 0.0
        self._W[:, chosen] = W
        self._support = chosen[W.any(axis=0)]

    def _place(self, pair: PairSearch) -> None:
        """Score the rows by the weights."""
        chosen = self._support
        self._columns.hold(chosen)
        pair.place(chosen, self._W[0, chosen], float(self._b[0]))
        self._placed = True

    def _scores(self, W: Float64) -> Float64:
        return np.asarray(self._columns.scores(W) + self._b[:, None] + self._offsets)

    def _factors(self, fit: Fit) -> Float64:
        """The residuals of the model, and below them those of the step's probabilities."""
        if self._dual is None:
            return fit.R
        return np.concatenate([fit.R, (self._dual - self._Y) * self._fractions])

    def _with_bias(self, S: Float64, least: float) -> Fit:
        """The fit of scores, of which the bias is moved to the best one, and so is that of W."""
        fit, shift = self._losses.with_bias(S, least)
        self._b = self._b + shift
        return fit

    def _steps(self, W: Float64, fit: Fit, G: Float64, penalty: Penalty) -> Float64:
        """A step of each row of weights in place, one after another; the scores after them."""
        S = fit.S.copy()
        if self._is_pair:
            self._step(0, W, S, 0.0, G, penalty, EXACT)
            return S
        top = S.max(axis=0)
        E = np.exp(S - top)
        for k in range(len(S)):
            rest = E[:k].sum(axis=0) + E[k + 1 :].sum(axis=0)
            self._step(k, W, S, top + np.log(np.maximum(rest, 1e-300)), G, penalty, ROUGH_STEP)
            E[k] = np.exp(np.minimum(S[k] - top, 700.0))
        W -= shared_part(W, penalty)
        self._b = self._b - self._b.mean()
        return self._scores(W)

    def _step(
        self, k: int, W: Float64, S: Float64, others: Any, G: Float64, penalty: Penalty,
        how: tuple[float, int],
    ) -> None:  # fmt: skip
        """A step of Newton's method of one row of weights and its bias, in place.

        G, the gradient before the steps of the others, says which weights may move.
        """
        steep = np.abs(G[k] + penalty.curvatures * W[k]) > NEAR * penalty.limits
        may_move = np.flatnonzero((W[k] != 0.0) | steep)
        f, y, w, z = self._fractions, self._Y[k], W[k], S[k] - others
        p = sigmoid(z)
        r = (f * (p - y))[None]
        step = self._columns.step(k, p * (1.0 - p), r, w[None], may_move, penalty, how)
        change, along = step.change[0], step.along[0]
        falls = inner(r[0], along) + inner(penalty.gradient(w), change)
        falls += penalty.l1_value((w + change)[None]) - penalty.l1_value(w[None])

        def value(length: float) -> float:
            moved, at = z + length * along, w + length * change
            return float(f @ (softplus(moved) - y * moved)) + penalty.value(at[None])

        length = step_length(value, falls)
        W[k] = w + length * change
        S[k] += length * along
        self._b[k] += length * step.shift[0]

    def _grouped_step(self, W: Float64, fit: Fit, G: Float64, penalty: Penalty) -> Float64:
        """A step of all classes in place, by a curvature of each row that bounds theirs."""
        P, G = fit.P, G + penalty.gradient(W)
        bends = np.minimum((2.0 * P * (1.0 - P)).max(axis=0), 0.5)
        may_move = np.flatnonzero(W.any(axis=0) | (penalty.sizes(G) > NEAR * penalty.limits))
        old = W.copy()
        step = self._columns.step(0, bends, fit.R, W, may_move, penalty, ROUGH_STEP)
        falls = inner(fit.R, step.along) + inner(penalty.gradient(W), step.change)
        falls += penalty.l1_value(old + step.change) - penalty.l1_value(old)

        def value(length: float) -> float:
            return self._losses.mean(fit.S + length * step.along) + penalty.value(
                old + length * step.change
            )

        length = step_length(value, falls, longest=64.0)
        W[:] = old + length * step.change
        self._b = self._b + length * step.shift
        return fit.S + length * step.along

    def _joint_steps(self, at: Float64, fit: Fit, penalty: Penalty) -> Iterator[Float64]:
        """Newton's step of all weights that are not 0 and the biases, and shorter ones.

        Where no weight changes its sign, and no feature's norm is 0, the cost is smooth.
        """
        f, P, intercept, W = self._fractions, fit.P, self._rows.intercept, at[:, :-1]
        counts = np.broadcast_to(W.any(axis=0), W.shape) if penalty.grouped else W != 0.0
        limits = np.broadcast_to(penalty.limits, W.shape[1])
        counts = counts | (limits == 0.0)
        ones = np.ones((int(intercept), self._rows.count))
        parts = [np.concatenate([self._columns.dense(of), ones]) for of in counts]
        root = np.sqrt(f)
        V = np.concatenate([part * (p * root) for part, p in zip(parts, P, strict=True)])
        H = -(V @ V.T)
        place = 0
        for part, p in zip(parts, P, strict=True):
            own = slice(place, place + len(part))
            Z = part * np.sqrt(f * p)
            H[own, own] += Z @ Z.T
            place += len(part)
        moves = np.column_stack([counts, np.full(len(W), intercept)])
        slope = np.zeros_like(at)
        slope[:, :-1] = self._columns.sums(fit.R) + penalty.gradient(W)
        slope[:, :-1] = penalty.smallest_subgradient(W, slope[:, :-1])
        slope[:, -1] = fit.g
        bends = np.zeros_like(at)
        bends[:, :-1] = penalty.curvatures
        if penalty.grouped:
            sizes = np.maximum(penalty.sizes(W)[counts[0]], TINY)
            units, each = W[:, counts[0]] / sizes, np.arange(len(sizes))
            blocks = H.reshape(len(W), len(parts[0]), len(W), len(parts[0]))
            across = -units[:, None] * units
            across[np.diag_indices(len(W))] += 1.0
            blocks[:, each, :, each] += np.moveaxis(limits[counts[0]] / sizes * across, -1, 0)
        diagonal = H.reshape(-1)[:: len(H) + 1]
        ridge = 1e-9 * float(diagonal.mean()) + TINY
        diagonal += bends[moves] + ridge
        step = np.zeros_like(at)
        try:
            step[moves] = -np.linalg.solve(H, slope[moves])
        except np.linalg.LinAlgError:
            return
        for length in (1.0, 0.5, 0.25, 0.1, 0.03):
            further = at + length * step
            if not penalty.grouped:
                further[:, :-1][(further[:, :-1] * W < 0.0) & (limits > 0.0)] = 0.0
            yield further
        if not penalty.grouped:  # where nothing bends, up to the first weight that becomes 0
            falls = (W * step[:, :-1] < 0.0) & (limits > 0.0)
            ends = np.divide(W, -step[:, :-1], where=falls, out=np.full_like(W, math.inf))
            if math.isfinite(first := float(ends.min())):
                further = at + first * step
                further[:, :-1][ends == first] = 0.0
                yield further

    def _prove(self, penalty: Penalty, least: float) -> Proof:
        """The proof of the weights and the best bias for them: a pass over all rows."""
        if self._pair is not None:
            self._place(self._pair)
            return self._proof_of_pair(self._pair, penalty, least)
        return self._proof(penalty, self._scores(self._W[:, self._columns.features]), least)

    def _proof(self, penalty: Penalty, S: Float64, least: float = BIAS_RESIDUAL) -> Proof:
        if self._pair is not None:
            self._pair.put(np.ascontiguousarray(S[0]))
            self._placed = False
            return self._proof_of_pair(self._pair, penalty, least)
        self._passes += 1
        if self._free is not None:
            return self._proof_with_free(penalty, S, self._free)
        fit = self._with_bias(S, least)
        if len(self._support) or self._dual is not None or not self._is_cold(fit):
            sums = self._columns.sums_of_all(np.ascontiguousarray(self._factors(fit).T))
        else:
            sums = -self._centred
        self._slope = sums[: len(self._W)]
        gap = self._gap(penalty, self._W, fit, sums, self._centred)
        return self._proven(penalty, gap, fit.loss, fit.g)

    def _proof_of_pair(self, pair: PairSearch, penalty: Penalty, least: float) -> Proof:
        self._passes += 1
        bias = pair.centre(least, float(self._frequencies[1]))
        self._b = np.array([bias]) if self._placed else self._b + bias
        (loss, g, of_scores, of_own), (far, back, lack) = pair.sums(), pair.travel()
        lacks, slopes, found = np.array([lack]), self._slopes, pair.has_found()
        slack = self._losses.mixed(lacks) * self._steepest_cold
        slopes.move(far)
        if (sums := self._columns.pair_sums(pair)) is not None:
            slopes.put(..., sums[-1])
        # Features that stay within the penalty, whatever their slope is, add nothing to the gap.
        near = ~(slopes.most() <= (penalty.l1 - slack) * (1.0 - EDGE))
        near[self._support] = True
        places = np.flatnonzero(near)
        if sums is None:
            slopes.put(places, pair.slopes(places, found=True))
        W, G, own = self._W[:, places], slopes.values[None, places], penalty.of_features(places)
        if found:
            logs = -loss - np.array([of_own, of_own - of_scores])
            of_step = Dual(True, lacks, lambda kept: max(pair.divergence(kept), 0.0), loss,
                           lambda: logs)  # fmt: skip
            gap = self._losses.gap_of(of_step, own, W, G, self._centred[:, places])
        else:
            fit = self._losses.of(pair.scores()[None])
            gap = self._losses.gap(None, own, W, fit, G, self._centred[:, places])
        steep = self._steepness(own, G) + back * self._spreads[places]
        felt = places[(W[0] != 0.0) | ~(steep <= penalty.l1)]
        slopes.move(back)  # from what was found to the rows' own probabilities
        if sums is not None:
            slopes.put(..., sums[0])
        elif found:
            slopes.put(felt, pair.slopes(felt, found=False))
        proof = self._proven(penalty, gap, loss, np.array([g]), felt)
        return proof._replace(steep=lambda: slopes.most(back) + slack)

    def _proven(
        self, penalty: Penalty, gap: Gap, loss: float, g: Float64, felt: Indices | None = None
    ) -> Proof:
        """The proof by this gap; the slope is found, and outside of `felt` within the penalty."""
        slope = self._slope
        if felt is None:
            # The smallest subgradient is 0 where weights are 0 and not steep.
            steep = np.flatnonzero(self._steepness(penalty, slope) > penalty.l1)
            felt = np.union1d(self._support, steep)
        W, own = self._W[:, felt], penalty.of_features(felt)
        cost = loss + own.value(W)
        smallest = own.smallest_subgradient(W, slope[:, felt] + own.gradient(W))
        residual = float(np.abs(g).max()) if self._rows.intercept else 0.0
        size = min(gap.size, cost)
        return Proof(cost, size, slope, lambda: self._steepness(penalty, gap.dual()), residual,
                     norm(smallest))  # fmt: skip

    def _proof_with_free(self, penalty: Penalty, S: Float64, columns: Float64) -> Proof:
        """The same of the best weights that are not penalised, which are found with the bias."""
        free, own = ~self._counts, self._Y.T
        W, b = self._W[:, free], self._b
        S = S - W @ columns - b[:, None]
        if self._is_pair:
            W, b = (np.concatenate([-of, of]) / 2.0 for of in (W, b))
            S, own = np.concatenate([np.zeros_like(S), S]), np.column_stack([1.0 - own, own])
        fit = fit_free(self._rows, np.ascontiguousarray(S.T), W, b)
        self._W[:, free] = self._of_pair(fit.W)
        self._support = np.union1d(self._support, np.flatnonzero(free))
        self._b = self._of_pair(fit.b[:, None])[:, 0]
        P = fit.probabilities
        residuals = (P - own, P * fit.change)
        R = np.concatenate([of.T[self._counted] * fit.fractions for of in residuals])
        slope, dual = np.split(self._columns.sums_of_all(np.ascontiguousarray(R.T)), 2)
        self._slope, dual = slope, dual + slope
        cost = fit.loss + penalty.value(self._W)
        gap, kept = nearest_dual(penalty, self._W, dual, lambda kept: fit.divergence(kept, own))
        smallest = penalty.smallest_subgradient(self._W, slope + penalty.gradient(self._W))
        residual = float(np.abs(fit.g).max()) if self._rows.intercept else 0.0
        # What is not feasible excludes no feature.
        dual = kept * dual if math.isfinite(gap) else np.full_like(dual, math.inf)
        steep = self._steepness(penalty, dual)
        return Proof(cost, min(gap, cost), slope, lambda: steep, residual, norm(smallest))

    def _lowered_by_free(self, penalty: Penalty, fit: Fit, G: Float64) -> float:
        assert self._free is not None  # noqa: S101  # it is asked for where some are
        slopes = G[: len(fit.P)][:, np.broadcast_to(penalty.limits, G.shape[1]) == 0.0]
        bends = np.outer((fit.P * (1.0 - fit.P)) @ self._fractions, self._free**2 @ self._fractions)
        return float((slopes**2 / (2.0 * bends + TINY)).sum())

    def _is_cold(self, fit: Fit) -> bool:
        """Whether the probabilities are those of W = 0, whose gradient is known."""
        cold = self._frequencies[self._counted][:, None]
        return bool(np.abs(fit.P - cold).max() <= BIAS_RESIDUAL)

    def _gap(
        self, penalty: Penalty, W: Float64, fit: Fit, sums: Float64, centred: Float64 | float = 0.0
    ) -> Gap:
        """J(W, b) − J*, at most, and G̃ for which it is; see the module. By sums of `_factors`."""
        m = len(W)
        if self._dual is not None:
            found = self._losses.gap(self._dual, penalty, W, fit, sums[m:], centred)
            own = self._losses.gap(None, penalty, W, fit, sums[:m], centred)
            return min(found, own, key=lambda of: of.size)
        return self._losses.gap(None, penalty, W, fit, sums, centred)

    def _report(self, target: Target, proof: Proof) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(target.l2, self._passes, proof.cost, proof.gap))


class ProximalSolvers:
    """Solvers of the same rows, and of parts of them, each for itself."""

    def __init__(self, engine: Engine, rows: Rows, classes: int) -> None:
        self._engine, self._rows, self._classes = engine, rows, classes

    def of_all(self) -> ProximalSolver:
        """The solver of all rows."""
        return ProximalSolver(self._engine, self._rows, self._classes)

    def of_part(self, kept: Rows, held_out: Rows) -> tuple[ProximalSolver, Rows]:
        """The solver of a part of the rows, and another part as its solutions score it."""
        return ProximalSolver(self._engine, kept, self._classes), held_out


def merged(a: Indices, b: Indices) -> Indices:
    """The places of two sets that share none, ascending."""
    return np.sort(np.concatenate([a, b]))


def steepest(found: Indices, steep: Float64, most: int) -> Indices:
    """Of features that were found the steepest, so many at most."""
    if len(found) > most:
        found = found[np.argpartition(-steep[found], most)[:most]]
    return found


def _without_constant(rows: Rows) -> Rows:
    """The rows, of which a free feature that is constant, as the bias is, is taken for penalised.

    Nothing but rounding is left of it where rows are centred, by which no step must divide.
    """
    if not (rows.has_free and rows.intercept):
        return rows
    free = free_features(rows)
    constant = np.abs(read_columns(rows, free)).max(axis=1) <= EQUAL * np.abs(rows.offset[free])
    factors = np.array(rows.penalty_factors)
    factors[free[constant]] = 1.0
    return replace(rows, penalty_factors=factors)


def _inside(P: Float64) -> Float64 | None:
    """Probabilities, if they are."""
    return P if P.min() > 0.0 and P.max() < 1.0 else None
