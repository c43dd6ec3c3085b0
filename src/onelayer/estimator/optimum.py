"""Fitting by the certified solver."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from onelayer.engines import Engine, Rows
from onelayer.estimator.linear import Float64, Layer
from onelayer.optimum import Optimum, Progress
from onelayer.optimum.metric import fit_metric
from onelayer.optimum.solver import Solver, Target


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit found.

    Attributes:
        layer: W and b on the scaled features.
        n_iter: passes over the rows, or epochs.
        gap: proven bound on how far J is above its minimum, nats; inf where λ = 0.
        history: what was measured, one entry a pass or an epoch.
        learning_rate: η, of gradient descent alone.
    """

    layer: Layer
    n_iter: int
    gap: float
    history: dict[str, Float64]
    learning_rate: float | None = None


def fit_optimum(
    engine: Engine, rows: Rows, classes: int, target: Target, start: Layer | None
) -> Fitted:
    """Find the optimum and prove it.

    Args:
        engine: what does the arithmetic.
        rows: the training rows.
        classes: K.
        target: λ, the relative gap to prove, and the most passes.
        start: where to begin, or None.

    Returns:
        The fit.

    Raises:
        KeyboardInterrupt: for Ctrl-C.

    Warns:
        ConvergenceWarning: where less was reached than was asked for.
    """
    told: list[Progress] = []
    solver = Solver(engine, rows, classes, fit_metric(engine, rows, classes), told.append)
    if start is not None:
        solver.start_at(start.W, start.b)
    optimum = solver.solve(target)
    if optimum.status == "interrupted":
        raise KeyboardInterrupt
    warn_where_short(optimum)
    history = {
        "cost": np.array([progress.cost for progress in told]),
        "gap": np.array([progress.gap for progress in told]),
    }
    return Fitted(layer_of(optimum), optimum.passes, optimum.certificate.gap, history)


def layer_of(optimum: Optimum) -> Layer:
    """W and b of an optimum in float64."""
    return Layer(np.asarray(optimum.W, np.float64), optimum.b)


def warn_where_short(optimum: Optimum) -> None:
    """Say it where a solution is not as near its optimum as was asked for."""
    if optimum.status != "optimal":
        warnings.warn(optimum.sentence, ConvergenceWarning, stacklevel=4)
