"""The argmin of J for a λ > 0, with a proven gap; for λ = 0 a point where the gradient vanishes.

    W*, b* = argmin  −(1/N) Σ log(yᵀ p) + λ Σ W²

Newton's method where the problem is small (`onelayer.solver.newton`), L-BFGS in the metric of
`onelayer.solver.lbfgs` where it is not, both on centred features. Passes are made in float32
as long as that is precise enough and in float64 from there on; the certificate is float64.

The optimum, the certificate and the advice for a `Dataset`: what most callers want.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Dataset
from onelayer.data.rows import Rows, rows_of
from onelayer.data.scaling import fit_scaling
from onelayer.engines import Engine, Weights, streaming
from onelayer.errors import require_number, require_whole
from onelayer.model.model import Certificate
from onelayer.solver.certificate import ABSENT_BELOW, Certified, certify_weights
from onelayer.solver.lbfgs import Descent, Metric, Pair, Point, descend, fit_metric
from onelayer.solver.linalg import norm
from onelayer.solver.newton import is_small, newton_divide, scaled_rows

Float64 = NDArray[np.float64]

Status = Literal["optimal", "passes", "rounding", "interrupted"]

# Below this many products a pass, float64 costs nothing that is felt.
FLOAT64_PRODUCTS = 2e7

# Relative rounding of a mean cross-entropy, and the relative gap float32 is asked for at most.
ROUNDING = {"float32": 2e-7, "float64": 4e-15}

FLOAT32_TOLERANCE = 1e-8

TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Progress:
    """Where the solver stands after a pass: λ, passes so far, J, and the gap as it looks."""

    l2: float
    passes: int
    cost: float
    gap: float


@dataclass(frozen=True, eq=False)
class Optimum:
    """A model at the optimum of one λ, and the proof.

    Attributes:
        W: weights, shape (K, D), in the arithmetic type that sufficed, float32 or float64.
        b: bias, shape (K,), float64.
        certificate: cost, gap and what else was proven.
        status: "optimal" (gap ≤ tol · J, or for λ = 0 the gradient fell by tol), "passes" (the
            allowed number was used up), "rounding" (the arithmetic gives no more) or
            "interrupted" (Ctrl-C).
        passes: over the rows, the certificate's two half passes included.
        seconds: wall time.
        tol: the relative gap that was asked for.
    """

    W: NDArray[np.floating]
    b: Float64
    certificate: Certificate
    status: Status
    passes: int
    seconds: float
    tol: float

    @property
    def l2(self) -> float:
        """λ."""
        return self.certificate.l2

    @property
    def sentence(self) -> str:
        """What was reached, in words, and what to do where it is less than was asked for."""
        reached = f"λ = {self.l2:g}: {self.certificate.sentence} ({self.passes} passes)"
        if self.l2 == 0.0 and self.certificate.cost * self.certificate.rows < math.log(2.0):
            # Then no row's loss reaches log 2, so every row is on its own side.
            reached += "; the rows can be separated, so W grows without end and has no optimum"
        remedy = {
            "optimal": "",
            "passes": "; the passes ran out before the gap was reached, allow more with max_passes",
            "rounding": "; float64 gives no more",
            "interrupted": "; interrupted",
        }[self.status]
        return reached + remedy


@dataclass(frozen=True)
class Target:
    """What a solution has to reach: λ, the relative gap, and in how many passes at most."""

    l2: float
    tol: float = 1e-6
    max_passes: int = 1000

    def __post_init__(self) -> None:
        require_number("l2 (λ)", self.l2, "a finite number, 0 or above", least=0)
        require_number("tol", self.tol, "a finite number above 0", above=0)
        require_whole("max_passes", self.max_passes, 1)


class Solver:
    """Solves one λ after another on the same rows; each starts where the last one ended.

    The steps remembered from one λ serve the next: with g = ∇L + 2λW, the change y of the gradient
    along a step s becomes y + 2(λ' − λ)s, exactly.
    """

    def __init__(
        self,
        engine: Engine,
        rows: Rows,
        classes: int,
        metric: Metric,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._engine, self._rows, self._metric = engine, rows, metric
        self._on_progress = on_progress
        self._centred = replace(rows, offset=rows.offset - metric.mean)
        shares = rows.class_frequencies(classes)
        self._present = shares > 0.0
        self._at = np.zeros((classes, rows.X.shape[1] + 1))
        self._at[:, -1] = first_bias(shares)
        self._start_norm = 0.0
        cheap = rows.count * rows.X.shape[1] * classes < FLOAT64_PRODUCTS
        self._dtype = "float64" if cheap or is_small(rows, classes) else "float32"
        self._dense = scaled_rows(self._centred) if is_small(rows, classes) else None
        self._pairs: list[Pair] = []
        self._target = Target(l2=0.0)
        self._passes = 0

    def start_at(self, W: NDArray[np.floating], b: Float64) -> None:
        """Start the next solution from these weights; remembered steps stay of use."""
        self._at[:, :-1], self._at[:, -1] = W, b + _along(W, self._metric.mean)

    def solve(self, target: Target) -> Optimum:
        """Solve for one λ.

        Args:
            target: λ and how near its optimum to come.

        Returns:
            The optimum; its status says whether the target was reached. Ctrl-C ends the search
            and what was found so far is returned, certified.
        """
        started, self._passes = time.perf_counter(), 0
        for i, (step, change) in enumerate(self._pairs):
            self._pairs[i] = Pair(step, change + _penalty(step, target.l2 - self._target.l2))
        self._target = target
        try:
            status, certified = self._search()
        except KeyboardInterrupt:
            status, certified = "interrupted", self._certify()
        return Optimum(
            W=self._at[:, :-1].astype(self._dtype),
            b=certified.bias,
            certificate=certified.best,
            status=status,
            passes=self._passes,
            seconds=time.perf_counter() - started,
            tol=target.tol,
        )

    def _search(self) -> tuple[Status, Certified]:
        """Descend, certify, and go on with a smaller aim or finer arithmetic until proven."""
        target, aim = self._target, self._target.tol
        point = self._evaluate(self._at)
        while True:
            coarse = self._dtype == "float32"
            near = max(aim, FLOAT32_TOLERANCE) if coarse else aim
            point = descend(self._descent(near), point, self._pairs)
            reached = self._looks(point) <= near
            if (reached and near == aim) or self._passes >= target.max_passes or not coarse:
                certified = self._certify()
                if self._proven(certified.best):
                    return "optimal", certified
                if self._passes >= target.max_passes:
                    return "passes", certified
                if not reached:
                    return "rounding", certified
                aim /= 4.0
            if coarse and (not reached or aim < FLOAT32_TOLERANCE):
                self._dtype = "float64"
                point = self._evaluate(self._at)

    def _descent(self, near: float) -> Descent:
        def found(point: Point) -> bool:
            self._at = point.at
            looks = self._looks(point)
            self._on_progress(
                Progress(self._target.l2, self._passes, point.cost, looks * point.cost)
            )
            return looks <= near or self._passes >= self._target.max_passes

        return Descent(
            evaluate=self._evaluate,
            divide=self._divide,
            remembers=self._dense is None,
            rounding=ROUNDING[self._dtype],
            found=found,
        )

    def _divide(self, point: Point, gradient: Float64) -> Float64:
        if self._dense is None:
            return self._metric.divide(gradient, self._target.l2)
        weights = self._rows.row_weights
        divided = newton_divide(
            self._engine, self._dense, point.at, gradient, self._target.l2, weights
        )
        divided[~self._present] = 0.0
        return divided

    def _evaluate(self, at: Float64) -> Point:
        """J and its gradient on centred features: one pass over the rows."""
        rounded = at.astype(self._dtype)
        weights = Weights(np.ascontiguousarray(rounded[None, :, :-1]), rounded[None, :, -1])
        at, l2 = rounded.astype(np.float64), self._target.l2
        loss, G, g = self._engine.gradient(self._centred, weights)
        self._passes += 1
        gradient = np.concatenate([G[0], g[0][:, None]], axis=1) + _penalty(at, l2)
        gradient[~self._present] = 0.0
        cost = float(loss[0]) + l2 * float(np.sum(at[:, :-1] ** 2))
        return Point(at, cost, gradient)

    def _looks(self, point: Point) -> float:
        """The relative gap that a certificate would find here if the bias were at its best."""
        steepness = norm(point.gradient[:, :-1])
        if self._target.l2 == 0.0:
            return steepness / self._norm_at_zero()
        return steepness**2 / (4.0 * self._target.l2 * max(point.cost, TINY))

    def _proven(self, certificate: Certificate) -> bool:
        if self._target.l2 == 0.0:
            return certificate.gradient_norm <= self._target.tol * self._norm_at_zero()
        return certificate.gap <= self._target.tol * certificate.cost

    def _norm_at_zero(self) -> float:
        """‖∇_W J‖ at W = 0 with the bias that fits the label frequencies."""
        if not self._start_norm:
            start = np.zeros_like(self._at)
            start[:, -1] = first_bias(self._rows.class_frequencies(len(start)))
            self._start_norm = norm(self._evaluate(start).gradient[:, :-1])
        return self._start_norm or 1.0

    def _certify(self) -> Certified:
        self._passes += 1
        W = self._at[:, :-1]
        bias = self._at[:, -1] - _along(W, self._metric.mean)
        target = self._target
        return certify_weights(self._engine, self._rows, W, bias, target.l2, target.tol)


def first_bias(shares: Float64) -> Float64:
    """Log of the label frequencies, the best bias at W = 0; far below for a class without rows.

    Args:
        shares: of the classes, shape (K,).

    Returns:
        b, shape (K,), of sum zero over the classes that have rows.
    """
    present = shares > 0.0
    b = np.log(shares, where=present, out=np.zeros_like(shares))
    b[present] -= b[present].mean()
    return np.where(present, b, -ABSENT_BELOW)


def _along(W: NDArray[np.floating], x: Float64) -> Float64:
    """W x, shape (K,)."""
    return np.asarray(np.einsum("kd,d->k", W, x))


def _penalty(at: Float64, l2: float) -> Float64:
    """Gradient of λ Σ W² at a place: 2λW, and nothing for the bias."""
    slope = 2.0 * l2 * at
    slope[:, -1] = 0.0
    return np.asarray(slope)


def solve(
    dataset: Dataset,
    l2: float,
    *,
    tol: float = 1e-6,
    max_passes: int = 1000,
    scaling: str = "unit",
    engine: Engine | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Optimum:
    """Find the best model there is for one λ, and prove how near it is.

    W*, b* = argmin −(1/N) Σ log(yᵀ p) + λ Σ W²

    Args:
        dataset: the training rows.
        l2: λ ≥ 0. For λ = 0 nothing can be proven, and on separable rows there is no optimum:
            the search ends when the gradient has fallen to tol of what it was.
        tol: relative gap to prove, > 0: gap ≤ tol · J.
        max_passes: over the rows, ≥ 1.
        scaling: "none", "unit" or "standardize", fitted on these rows. λ acts on the weights of
            the scaled features.
        engine: what does the arithmetic; None takes the default engine.
        on_progress: called after every pass.

    Returns:
        Weights, certificate and status; the search never fails without saying what it reached.

    Raises:
        SettingsError: for a value outside its range.

    Source:
        Böhning (1992), Multinomial logistic regression algorithm, for the metric; Nocedal &
        Wright (2006), ch. 7, for L-BFGS.

    Example:
        >>> from onelayer.data import load
        >>> optimum = solve(load("digits").train, l2=0.01)
        >>> optimum.status, optimum.certificate.gap <= 1e-6 * optimum.certificate.cost
        ('optimal', True)
    """
    target = Target(l2, tol, max_passes)
    fitted = fit_scaling(scaling, dataset.X, dataset.max_value)
    rows = rows_of(dataset, fitted)
    chosen_engine = streaming(engine)
    metric = fit_metric(chosen_engine, rows, dataset.classes)
    return Solver(chosen_engine, rows, dataset.classes, metric, on_progress).solve(target)
