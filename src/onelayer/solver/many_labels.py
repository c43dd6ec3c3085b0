"""The optimum of many labels a row: K logistic problems on the same rows, each with its own proof.

    J = (1/N) Σᵢ Σₖ [log(1 + exp(sᵢₖ)) − yᵢₖ sᵢₖ] + λ Σ W²        s = W x + b

The labels share passes and a preconditioner; apart from that each goes its own way, by L-BFGS with
its own steps, and is left out of passes once it is near enough. Then its best bias is found from
its scores, and one more read proves it. Labels that need many steps, as of features whose sizes are
far apart, go on by Newton's method where the rows fit in memory. For probabilities r whose mean is
the label's frequency π,

    J(w, b) − J* ≤ ‖(1/N) Σ (rᵢ − yᵢ) xᵢ + 2λw‖² / (4λ) + (1/N) Σ KL(rᵢ ‖ pᵢ)

(derived in Formulations). At the best bias g = p̄ − π is 0 but for rounding, which is mixed away:
r = (1 − t) p with t = g / p̄ where g > 0, and 1 − r = (1 − t)(1 − p) with t = −g / (1 − p̄) where
g < 0. The gaps of labels add up to that of J.

A label that all rows have, or none, has no best bias: w = 0 and b = ±ABSENT_BELOW come within
exp(−ABSENT_BELOW) of its lowest cost, which is 0.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.mapped import check_mapped
from onelayer.data.rows import Rows
from onelayer.data.streaming import stored_rows
from onelayer.engines import Engine, Weights
from onelayer.errors import SettingsError
from onelayer.model.certificate import Certificate
from onelayer.objective.loss import sigmoid
from onelayer.objective.penalty import Penalty
from onelayer.solver.certificate import ABSENT_BELOW, ROUNDING, Certified, full_gradient
from onelayer.solver.lbfgs import MAX_STALLED, MIN_STEP, SUFFICIENT, centre_of, fit_preconditioner
from onelayer.solver.linalg import inner_product, matvec, norm, one_blas_thread, outer_product
from onelayer.solver.solver import Optimum, Progress, SolverState, Status, Target

Float64 = NDArray[np.float64]
Indices = NDArray[np.int64]

# Entries of the scores of some labels that are in memory at a time.
SCORE_ENTRIES = 1 << 23

# Steps that are remembered, and bytes of them.
MAX_PAIRS, PAIR_BYTES = 10, 192 << 20

# A pass of fewer products is made in float64 at once.
FLOAT64_PRODUCTS = 2e7

# The part of tol that a descent aims at, what it is divided by where a proof falls short, and how
# often. The smallest curvature of a label, relative to that of one that half of the rows have.
FIRST_AIM, FINER, MAX_PROOFS, LEAST_CURVATURE = 0.5, 8.0, 6, 0.02

# Steps of L-BFGS after which Newton's method takes over, at most so many of it, and the entries of
# rows that it may hold in memory.
LBFGS_STEPS, NEWTON_STEPS, HELD_ENTRIES = 60, 60, 1 << 24

# Steps of Newton's method to the best bias, and the longest where it is not yet bracketed.
BIAS_STEPS, FARTHEST = 60, 4.0


@dataclass(frozen=True, eq=False)
class LabelProofs:
    """What is proven of each of K labels, (K,) each, for (W, b) and for W with the best bias."""

    cost: Float64
    best_cost: Float64
    best_gap: Float64
    slope: Float64  # ‖G̃ + 2λw‖
    residual: Float64  # |∂J/∂b| at the best bias
    bias: Float64  # the best one

    def certified(self, l2: float, rows: int) -> Certified:
        """The sums, as certificates that name the cost and the gap of each label."""

        def of(cost: Float64, gap: Float64) -> Certificate:
            return Certificate(
                l2,
                float(cost.sum()),
                float(gap.sum()),
                norm(self.slope),
                float(self.residual.max()),
                rows,
                label_costs=tuple(cost.tolist()),
                label_gaps=tuple(gap.tolist()) if l2 > 0.0 else (),
            )

        lowest = np.maximum(self.best_cost - self.best_gap, 0.0)
        given = of(self.cost, np.maximum(self.cost - lowest, 0.0))
        return Certified(given, of(self.best_cost, self.best_gap), self.bias, passes=1)


class LabelRows:
    """Rows of many labels, centred at their mean x̄, and what their proofs need to know."""

    def __init__(self, engine: Engine, rows: Rows) -> None:
        self.engine, labels = engine, rows.labels
        weights = np.ones(rows.count) if rows.row_weights is None else rows.row_weights
        self.fractions = weights / rows.mass
        self.mean, self.y = centre_of(engine, rows, self.fractions), labels
        self.rows = replace(rows.unlabelled, offset=rows.offset - self.mean)
        self.frequencies = rows.class_frequencies(labels.shape[1])
        present = weights > 0.0
        some, every = labels[present].any(axis=0), labels[present].all(axis=0)
        self.intercept = rows.intercept
        self.live: NDArray[np.bool_] = np.asarray((some & ~every) | (not rows.intercept))
        self.count = rows.count

    @cached_property
    def size(self) -> float:
        """√ of the mean of ‖xᵢ − x̄‖²; a bound of it."""
        squares = 0.0
        step = max(1, SCORE_ENTRIES // self.rows.X.shape[1])
        for start in range(0, self.count, step):
            part = self.rows.part(start, min(start + step, self.count))
            squares += float(self.fractions[start : start + step] @ part.squared_lengths())
        return math.sqrt(squares) * (1.0 + 1e-9)

    def prove(self, W: Float64, b: Float64, penalty: Penalty) -> LabelProofs:
        """Proofs of W (K, D) with biases b (K,) of the centred rows, some labels at a time."""
        step = max(1, SCORE_ENTRIES // self.count)
        blocks = [slice(i, min(i + step, len(W))) for i in range(0, len(W), step)]
        found = [self._prove(W[block], b[block], penalty, block) for block in blocks]
        return LabelProofs(*(np.concatenate(of) for of in zip(*found, strict=True)))

    def _prove(self, W: Float64, b: Float64, penalty: Penalty, block: slice) -> tuple[Float64, ...]:
        f, y, pi = self.fractions, self.y[:, block], self.frequencies[block]
        S = self.engine.scores(self.rows, Weights(W[None], b[None]))[0].astype(np.float64)
        live, decay = self.live[block], np.array([penalty.value(w) for w in W])
        cost = f @ _losses(S, y) + decay
        shift = np.zeros(len(b))
        if self.intercept:
            shift[live] = best_shift(S[:, live], f, pi[live])
        S += shift
        P = sigmoid(S)
        g = (f @ P - pi) * self.intercept
        G = self.engine.weighted_sums(self.rows, ((P - y) * f[:, None])[None])[0]
        slope = np.linalg.norm(G + penalty.gradient(W), axis=1)
        best = f @ _losses(S, y) + decay
        mean = f @ P
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where(live & (g != 0.0), np.where(g > 0.0, g / mean, -g / (1.0 - mean)), 0.0)
        # ‖(1/N) Σ y x‖ ≤ √(π · mean ‖x‖²), and so for 1 − y.
        moved = t * (np.linalg.norm(penalty.gradient(W), axis=1) + self.size)
        slope += moved
        curvature = float(penalty.curvature)
        mixing = t * (f @ np.logaddexp(0.0, np.where(g > 0.0, S, -S)))
        distance = slope**2 / (2.0 * curvature) if curvature else np.full(len(b), math.inf)
        gap = np.where(live, np.minimum(distance + mixing, best), best)
        if not curvature:
            gap = np.full(len(b), math.inf)
        return cost, best, gap, slope, np.where(live, np.abs(g), 0.0), b + shift


def _losses(S: Float64, y: NDArray[Any]) -> Float64:
    return np.asarray(np.logaddexp(0.0, np.where(y == 1, -S, S)))


def best_shift(S: Float64, fractions: Float64, frequencies: Float64) -> Float64:
    """What to add to the scores (N, K) of labels for mean probabilities to be the frequencies.

    Newton's method in a bracket: the mean probability rises with the shift.

    Example:
        >>> best_shift(np.zeros((4, 1)), np.full(4, 0.25), np.array([0.5]))
        array([0.])
    """
    shift = np.zeros(S.shape[1])
    low, high = np.full_like(shift, -math.inf), np.full_like(shift, math.inf)
    best, nearest, idle = shift.copy(), np.full_like(shift, math.inf), 0
    for _ in range(BIAS_STEPS):
        P = sigmoid(S + shift)
        g = fractions @ P - frequencies
        better = np.abs(g) < nearest
        best[better], nearest[better] = shift[better], np.abs(g)[better]
        high, low = np.where(g >= 0.0, shift, high), np.where(g <= 0.0, shift, low)
        idle = 0 if (better | (nearest > 1e-14)).any() else idle + 1
        if (nearest <= 1e-17).all() or idle > 2:
            break
        P *= 1.0 - P
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = -g / (fractions @ P)
        step = np.where(np.isfinite(step), step, -np.sign(g) * FARTHEST).clip(-FARTHEST, FARTHEST)
        following = shift + step
        outside = ~((following > low) & (following < high)) & (g != 0.0)
        middle = (low + high) / 2.0
        shift = np.where(outside & np.isfinite(middle), middle, following)
    return best


def first_biases(rows: Rows, labels: int) -> Float64:
    """The best bias of each label for w = 0, log π/(1 − π); of a constant label ±ABSENT_BELOW.

    Without an intercept it is 0.
    """
    frequencies = rows.cold_probabilities(labels)
    with np.errstate(divide="ignore"):
        odds = np.log(frequencies) - np.log1p(-frequencies)
    return np.asarray(odds.clip(-ABSENT_BELOW, ABSENT_BELOW))


def certify_labels(
    engine: Engine, rows: Rows, W: Float64, b: Float64, penalty: Penalty
) -> Certified:
    """Certificates of (W, b) and of W with the best biases: two reads of the rows."""
    if penalty.l1:
        raise SettingsError("l1 is not built for many labels a row; give l2 alone.")
    centred = LabelRows(engine, rows)
    shift = matvec(W, centred.mean)
    with np.errstate(over="ignore", invalid="ignore"):
        proofs = centred.prove(W, b + shift, penalty)
    certified = proofs.certified(penalty.l2, rows.count)
    return replace(certified, bias=certified.bias - shift)


class _Memory:
    """The last steps of each of K labels, and the inverse Hessian that they and M⁻¹ give it."""

    def __init__(self, labels: int, size: int) -> None:
        most = max(4, min(MAX_PAIRS, PAIR_BYTES // (16 * labels * size)))
        self._S, self._Y = (np.zeros((most, labels, size)) for _ in range(2))
        self._slopes = np.zeros((most, labels))  # sᵀy; 0 where nothing is remembered
        self._scale = np.ones(labels)
        self._next = 0

    def add(self, which: Indices, step: Float64, change: Float64, divided: Float64) -> None:
        """Remember a step of these labels, the change of the gradient, and M⁻¹ times it."""
        slopes = np.einsum("kn,kn->k", step, change)
        moments = np.einsum("kn,kn->k", change, divided)
        right = (slopes > 0.0) & (moments > 0.0)
        slot, which = self._next, which[right]
        self._next = (slot + 1) % len(self._S)
        self._slopes[slot] = 0.0
        self._S[slot, which], self._Y[slot, which] = step[right], change[right]
        self._slopes[slot, which] = slopes[right]
        self._scale[which] = slopes[right] / moments[right]

    def forget(self, which: Indices) -> None:
        """Forget the steps of these labels."""
        self._slopes[:, which], self._scale[which] = 0.0, 1.0

    def times(
        self, which: Indices, gradient: Float64, divide: Callable[[Indices, Float64], Float64]
    ) -> Float64:
        """The inverse Hessian of these labels times a gradient, by the two loops of L-BFGS."""
        q, kept, order = gradient.copy(), [], np.roll(np.arange(len(self._S)), -self._next)
        for slot in order[::-1]:
            slopes = self._slopes[slot, which]
            if not slopes.any():
                continue
            inverse = np.divide(1.0, slopes, where=slopes > 0.0, out=np.zeros_like(slopes))
            s, y = self._S[slot, which], self._Y[slot, which]
            a = inverse * np.einsum("kn,kn->k", s, q)
            q -= a[:, None] * y
            kept.append((s, y, inverse, a))
        q = self._scale[which, None] * divide(which, q)
        for s, y, inverse, a in reversed(kept):
            q += (a - inverse * np.einsum("kn,kn->k", y, q))[:, None] * s
        return q


class LabelSolver:
    """Solves one λ after another for all labels of the same rows; each starts from the last."""

    def __init__(
        self,
        engine: Engine,
        rows: Rows,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        # Each label divides by an M of its own, as several solutions do.
        fitted = fit_preconditioner(engine, rows.unlabelled, 2, solutions=3)
        self._engine, self._source, self._on_progress = engine, rows, on_progress
        self._preconditioner = fitted
        # Sums are of all rows, and so is the mean; the preconditioner's may be of a sample.
        self._proofs = LabelRows(engine, rows)
        mean = self._proofs.mean
        self._rows = replace(
            replace(fitted, mean=mean).centre(rows), y=np.ascontiguousarray(rows.y)
        )
        self._varies = self._rows.scale != 0.0
        pi, self._live = rows.cold_probabilities(rows.y.shape[1]), self._proofs.live
        self._cold_frequencies = pi
        K, D = len(pi), rows.X.shape[1]
        self._cold = np.zeros((K, D + 1))
        self._cold[:, -1] = first_biases(rows, len(pi))
        self._cold[~self._live, -1] = np.where(pi > 0.5, ABSENT_BELOW, -ABSENT_BELOW)[~self._live]
        self._curvature = np.maximum(pi * (1.0 - pi), LEAST_CURVATURE / 4.0)
        self._at = self._solved = self._cold
        self.moved = np.zeros_like(self._cold)  # from the last solution but one to the last
        self._l2, self._passes = 0.0, 0
        self._parts: tuple[bytes, Rows] | None = None  # rows with the labels of some columns

    def start_at(self, W: NDArray[np.floating], b: Float64) -> None:
        """Start the next solution from these weights."""
        bias = (b + matvec(W, self._proofs.mean)) * self._rows.intercept
        self._at = np.column_stack([W, bias])

    def move(self, step: Float64) -> None:
        """Start the next solution this far from the last."""
        self._at = self._at + step

    @property
    def state(self) -> SolverState:
        """What to `restore` for the next solution to have the same bits."""
        return SolverState(
            self._at, self.moved, (), "float64", self._l2, newton=False, curvature=None, steps=0
        )

    def restore(self, state: SolverState) -> None:
        """Go on from a state of a solver of the same rows."""
        self._at = self._solved = state.at
        self.moved, self._l2 = state.moved, state.l2

    def _divide(self, penalty: Penalty) -> Callable[[Indices, Float64], Float64]:
        """M⁻¹ of labels, M_k = c_k Σ + 2λ I, c_k the curvature at W = 0; that of b is c_k."""
        of = self._preconditioner
        basis, variances, rest = of.directions, np.maximum(of.variances, 0.0), of.rest
        bend, c = float(penalty.curvature), self._curvature
        least = 1e-6 * c[:, None] * max(float(variances.max(initial=0.0)), 1e-30)
        inside = 1.0 / np.maximum(c[:, None] * variances + bend, least)
        outside = 1.0 / np.maximum(c[:, None] * rest + bend, least)

        def divide(which: Indices, gradient: Float64) -> Float64:
            divided = np.empty_like(gradient)
            divided[:, -1] = gradient[:, -1] / c[which]
            G = gradient[:, :-1]
            if basis is None:
                divided[:, :-1] = G * inside[which]
                return divided
            along = outer_product(self._engine, basis, G.astype(np.float32))
            along *= (inside[which] - outside[which]).T.astype(np.float32)
            divided[:, :-1] = inner_product(self._engine, along, basis) + outside[which] * G
            return divided

        return divide

    def _labels(self, which: Indices) -> Rows:
        """The rows with these labels."""
        if len(which) == self._rows.y.shape[1]:
            return self._rows
        key = which.tobytes()
        if self._parts is None or self._parts[0] != key:
            y = np.ascontiguousarray(self._rows.y[:, which])
            self._parts = key, replace(self._rows, y=y)
        return self._parts[1]

    def _evaluate(
        self, which: Indices, at: Float64, penalty: Penalty, dtype: str
    ) -> tuple[Float64, Float64]:
        """Cost and gradient of these labels, (K,) and (K, D + 1): one pass."""
        self._passes += 1
        W, b = at[:, :-1], at[:, -1]
        # As many runs of one class as there are labels: the losses of each come apart.
        rows, weights = (
            self._labels(which),
            Weights(W[:, None, :].astype(dtype), b[:, None].astype(dtype)),
        )
        found = full_gradient(self._engine, rows, weights)
        gradient = np.column_stack([found.W[:, 0] + penalty.gradient(W), found.b[:, 0]])
        gradient[:, :-1] *= self._varies
        return found.loss + np.einsum("kd,kd->k", W, W) * penalty.l2, gradient

    def solve(self, target: Target) -> Optimum:
        """Solve for one λ; Ctrl-C ends the search and gives what was found, certified."""
        started, self._passes, self._l2 = time.perf_counter(), 0, target.l2
        self._at = np.where(self._live[:, None], self._at, self._cold)
        status: Status = "optimal"
        try:
            status, certified = self._search(target)
        except KeyboardInterrupt:
            status, certified = "interrupted", self._prove(target.penalty)
        self.moved, self._solved = self._at - self._solved, self._at
        check_mapped(self._rows.X)
        W = self._at[:, :-1].copy()
        return Optimum(
            W=W,
            b=self._at[:, -1] - matvec(W, self._proofs.mean),
            certificate=certified,
            status=status,
            passes=max(self._passes, 1),
            seconds=time.perf_counter() - started,
            tol=target.tol,
            constant=tuple(np.flatnonzero(~self._live).tolist()),
        )

    def _prove(self, penalty: Penalty) -> Certificate:
        """Take the best biases, and prove them."""
        self._passes += 1
        proofs = self._proofs.prove(self._at[:, :-1], self._at[:, -1], penalty)
        self._at = np.column_stack([self._at[:, :-1], proofs.bias])
        return proofs.certified(penalty.l2, self._proofs.count).best

    def _search(self, target: Target) -> tuple[Status, Certificate]:
        """Descend and prove, finer where a proof falls short."""
        cheap = self._rows.count * self._at.size < FLOAT64_PRODUCTS
        dtype, aim = "float64" if cheap else "float32", FIRST_AIM * target.tol
        active, rounds = np.flatnonzero(self._live), 0
        while True:
            before = self._passes
            self._descend(active, target, aim, dtype)
            certificate = self._prove(target.penalty)
            if target.l2 == 0.0:
                if dtype == "float64":
                    full = self._passes >= target.max_passes
                    return "passes" if full else "optimal", certificate
            else:
                cost, gap = np.array(certificate.label_costs), np.array(certificate.label_gaps)
                active = np.flatnonzero(self._live & (gap > target.tol * cost))
                if not len(active):
                    return "optimal", certificate
            if self._passes >= target.max_passes:
                return "passes", certificate
            rounds += 1
            if dtype == "float64" and (rounds >= MAX_PROOFS or self._passes - before <= 2):
                return "rounding", certificate
            if dtype == "float64":
                aim /= FINER
            dtype = "float64"

    def _descend(self, which: Indices, target: Target, aim: float, dtype: str) -> None:
        """L-BFGS of these labels until each is near its optimum, or rounding hides the rest."""
        penalty, K = target.penalty, len(self._at)
        if not len(which):
            return
        divide, memory = self._divide(penalty), _Memory(*self._at.shape)
        at, cost, gradient = self._at.copy(), np.zeros(K), np.zeros(self._at.shape)
        cost[which], gradient[which] = self._evaluate(which, at[which], penalty, dtype)
        worse = which[cost[which] > self._cold_cost[which]]
        if len(worse):
            at[worse] = self._cold[worse]
            cost[worse], gradient[worse] = self._evaluate(worse, at[worse], penalty, dtype)
        divided, direction = np.zeros_like(at), np.zeros_like(at)
        divided[which] = divide(which, gradient[which])
        direction[which], length = -divided[which], np.ones(K)
        lowest, flattest = np.full(K, math.inf), np.full(K, math.inf)
        stalled, first = np.zeros(K, np.int64), np.linalg.norm(gradient, axis=1)
        begun = self._passes
        while True:
            steep = np.linalg.norm(gradient[which], axis=1)
            falls = cost[which] < lowest[which] - ROUNDING[dtype] * np.abs(cost[which])
            moves = falls | (steep < flattest[which]) | (length[which] < 1.0)
            stalled[which] = np.where(moves, 0, stalled[which] + 1)
            lowest[which] = np.minimum(lowest[which], cost[which])
            flattest[which] = np.minimum(flattest[which], steep)
            far = self._distance(which, gradient[which], penalty) > aim * np.abs(cost[which])
            if target.l2 == 0.0:
                far = steep > target.tol * first[which]
            self._report(target, cost, gradient)
            which = which[far & (stalled[which] <= MAX_STALLED) & (length[which] > MIN_STEP)]
            self._at = at
            if not len(which) or self._passes >= target.max_passes:
                return
            if self._passes - begun > LBFGS_STEPS and self._holds_rows:
                self._take_newton_steps(which, target, aim, first)
                return
            slope = np.einsum("kn,kn->k", direction[which], gradient[which])
            trial = at[which] + length[which, None] * direction[which]
            value, found = self._evaluate(which, trial, penalty, dtype)
            slack = ROUNDING[dtype] * np.abs(cost[which])
            lower = value <= cost[which] + SUFFICIENT * length[which] * slope
            along = np.abs(np.einsum("kn,kn->k", found, direction[which]))
            flat = (along <= -(1.0 - 2.0 * SUFFICIENT) * slope) & (value <= cost[which] + slack)
            taken = lower | flat
            length[which[~taken]] *= 0.5
            took = which[taken]
            if not len(took):
                continue
            new = divide(took, found[taken])
            at = at.copy()
            step, change = trial[taken] - at[took], found[taken] - gradient[took]
            memory.add(took, step, change, new - divided[took])
            at[took], cost[took], gradient[took] = trial[taken], value[taken], found[taken]
            divided[took], length[took] = new, 1.0
            direction[took] = -memory.times(took, gradient[took], divide)
            uphill = np.einsum("kn,kn->k", direction[took], gradient[took]) >= 0.0
            if uphill.any():
                memory.forget(took[uphill])
                direction[took[uphill]] = -divided[took[uphill]]

    @property
    def _holds_rows(self) -> bool:
        """Whether the rows fit in memory as float64."""
        few = self._rows.count * self._at.shape[1] <= HELD_ENTRIES
        return few and stored_rows(self._rows.X) is None and self._rows.is_dense

    def _take_newton_steps(
        self, which: Indices, target: Target, aim: float, first: Float64
    ) -> None:
        """Newton's method on rows in memory, one step of each label at a time."""
        X = np.full((self._rows.count, self._at.shape[1]), float(self._rows.intercept))
        X[:, :-1] = self._rows.scaled()
        at, left = self._at.copy(), which.tolist()
        with one_blas_thread():
            for _ in range(NEWTON_STEPS):
                self._passes += 1
                left = [k for k in left if self._newton_step(at, k, X, target, aim, first[k])]
                self._at = at.copy()
                if not left or self._passes >= target.max_passes:
                    return

    def _newton_step(
        self, at: Float64, k: int, X: Float64, target: Target, aim: float, first: float
    ) -> bool:
        """Take a step of one label in place; False where it is near enough, or nothing falls."""
        f, y, penalty, w = self._proofs.fractions, self._proofs.y[:, k], target.penalty, at[k]
        s, ridge = X @ w, np.append(np.full(len(w) - 1, float(penalty.curvature)), 0.0)
        p = sigmoid(s)
        g = (f * (p - y)) @ X + ridge * w
        g[:-1] *= self._varies

        def cost(s: Float64, w: Float64) -> float:
            losses = np.logaddexp(0.0, np.where(y == 1, -s, s))
            return float(f @ losses) + penalty.value(w[:-1])

        now = cost(s, w)
        if target.l2 == 0.0:
            near = norm(g) <= target.tol * first
        else:
            near = self._distance(np.array([k]), g[None], penalty)[0] <= aim * now
        if near:
            return False
        H = (X * (f * p * (1.0 - p))[:, None]).T @ X
        diagonal = H.diagonal() + ridge
        # Features of all sizes become alike.
        unit = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
        H *= unit * unit[:, None]
        H[np.diag_indices_from(H)] = 1.0 + 1e-15
        step = -unit * np.linalg.solve(H, unit * g)
        along, slope, length = X @ step, float(g @ step), 1.0
        while length > MIN_STEP:
            moved = w + length * step
            value = cost(s + length * along, moved)
            if value <= now + SUFFICIENT * length * slope:
                at[k] = moved
                return value < now
            length *= 0.5
        return False

    @cached_property
    def _cold_cost(self) -> Float64:
        """J of each label at W = 0 and the best bias: the entropy of its frequency."""
        pi = self._cold_frequencies.clip(1e-300, 1.0 - 1e-16)
        return np.asarray(-pi * np.log(pi) - (1.0 - pi) * np.log1p(-pi)) * (1.0 + 1e-6)

    def _distance(self, which: Indices, gradient: Float64, penalty: Penalty) -> Float64:
        """What is estimated of the gap of each label."""
        bias = gradient[:, -1] ** 2 / (2.0 * self._curvature[which])
        if not penalty.curvature:
            return np.full(len(which), math.inf)
        squares = np.einsum("kd,kd->k", gradient[:, :-1], gradient[:, :-1])
        return np.asarray(squares / (2.0 * float(penalty.curvature)) + bias)

    def _report(self, target: Target, cost: Float64, gradient: Float64) -> None:
        if self._on_progress is not None:
            live = np.flatnonzero(self._live)
            gap = float(self._distance(live, gradient[live], target.penalty).sum())
            self._on_progress(Progress(target.l2, self._passes, float(cost.sum()), gap))
