"""The coefficients of resamples: a model refitted to rows, or groups, drawn with replacement.

Each refit is the optimum of the same λ on the rows that were drawn, each as often as it was, and
starts from the model, which is near to it. Source: Efron & Tibshirani (1993), An Introduction to
the Bootstrap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines import Engine, Weights, streaming
from onelayer.errors import OnelayerError, require_whole
from onelayer.model.intervals import row_counts
from onelayer.objective.penalty import Penalty
from onelayer.solver.many_labels import LabelSolver
from onelayer.solver.newton import choose_preconditioner
from onelayer.solver.separation import LoneFeature, find_lone_feature
from onelayer.solver.solver import Optimum, Solver, Target

Float64 = NDArray[np.float64]

# Of a refit: how far from its optimum it may be, in standard errors of the rows' coefficients.
NEAR = 0.03

# A relative gap that float64 proves.
LEAST_TOL = 1e-12


class Resampled(NamedTuple):
    """How many resamples are refitted, of how many."""

    done: int
    total: int


class Refits(NamedTuple):
    """What the bootstrap found."""

    kind: str  # the bootstrap's, of rows, within classes, or of groups
    units: int  # rows or groups that are drawn
    freedom: int
    draws: Float64  # W and b of each refit, (B, K, D + 1)
    left_out: int  # resamples without one finite optimum, with λ = 0
    lone: Counter[LoneFeature]  # features that alone are why, of some of them
    apart: float  # the model's distance from the optimum, in standard errors, at most
    separated: bool  # whether the rows themselves are


def refit_resamples(
    engine: Engine | str | None,
    rows: Rows,
    W: Float64,
    b: Float64,
    l2: float,
    mass: float,
    *,
    member: NDArray[np.int64] | None,
    far: float,
    resamples: int,
    seed: int,
    on_progress: Callable[[Resampled], None] | None = None,
) -> Refits:
    """Refit W (K, D) and b (K,) to resamples, unless they are more than `far` from their optimum.

    `mass` is Σ w of the rows, and `member` the group of each, (N,). A model whose cost J is above
    the lowest is no more than √(2 Σw (J − J*)) standard errors from any optimal coefficient.
    """
    require_whole("resamples", resamples, 100)
    require_whole("seed", seed, 0)
    engine, K, of_labels = streaming(engine), len(b), rows.y.ndim == 2
    rows, scales = rows.unit_penalties()
    scales = np.ones(W.shape[1]) if scales is None else scales
    W = W * scales
    preconditioner = None if of_labels else choose_preconditioner(engine, rows, K)
    penalty = Penalty(l2, factors=rows.penalty_factors)

    def cost(weights: Float64, bias: Float64) -> float:
        loss = engine.evaluate(rows, Weights(weights[None], bias[None])).loss[0]
        return float(loss) + penalty.value(weights)

    def refit(drawn: Rows, tol: float) -> Optimum:
        if preconditioner is None:
            solver: Solver | LabelSolver = LabelSolver(engine, drawn)
        else:
            solver = Solver(engine, drawn, K, preconditioner)
        solver.start_at(W, b)
        return solver.solve(Target(l2, tol)).completed()

    before = cost(W, b)
    tol = float(np.clip(NEAR**2 / (2.0 * mass * max(before, 1e-12)), LEAST_TOL, 1e-6))
    best = refit(rows, tol)
    excess = before - cost(best.W.astype(np.float64), best.b)
    apart = float(np.sqrt(2.0 * mass * max(excess, 0.0)))
    labels = np.zeros(rows.count, np.int64) if of_labels else rows.labels
    kind, units, freedom, counts = row_counts(labels, member, resamples, seed)
    draws, left_out, lone = [], 0, Counter[LoneFeature]()
    separated = bool(best.separated)
    if l2 == 0.0 and (feature := find_lone_feature(rows, K)) is not None:
        separated |= not feature.is_constant
    if apart <= far and not separated:
        for done, count in enumerate(counts, 1):
            index = np.flatnonzero(count)
            own = np.ones(len(count)) if rows.weights is None else rows.weights
            drawn = replace(rows, index=index, weights=count * own)
            frequencies = drawn.class_frequencies(K)
            lacks = (frequencies <= 0.0) | ((frequencies >= 1.0) & of_labels)
            alone = find_lone_feature(drawn, K) if l2 == 0.0 and not lacks.any() else None
            found = None if lacks.any() or alone else refit(drawn, tol)
            if found is None or found.separated:
                left_out += 1
                lone.update([alone] if alone else [])
            else:
                draws.append(np.column_stack([found.W.astype(np.float64) / scales, found.b]))
            if on_progress is not None:
                on_progress(Resampled(done, resamples))
        if len(draws) < resamples / 2:
            raise OnelayerError(
                f"of {resamples} resamples {left_out} lack a class, or have a constant feature or "
                "classes that can be separated, too many for intervals; solve with λ > 0, or give "
                "more rows."
            )
    return Refits(kind, units, freedom, np.array(draws), left_out, lone, apart, separated)
