"""Fitting: by the certified solver, or by mini-batch descent, whole or in parts.

    W ← (1 − 2ηλ) W − η (1/B) Σ w (p − y) xᵀ        b ← b − η (1/B) Σ w (p − y)

once a batch. J is convex, so W starts at zero, and b at its best for that, the logarithms of the
class frequencies; in parts, where these are not known, b starts at zero too. Of two classes one is
then the other's negative throughout.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from onelayer.data.rows import Rows
from onelayer.data.split import cut_fraction
from onelayer.engines import Engine, Method, State, Steps, Trainer, Weights
from onelayer.objective.penalty import Penalty
from onelayer.sklearn.base import Float64, Layer
from onelayer.sklearn.inputs import Labelled
from onelayer.solver.certificate import certify_weights
from onelayer.solver.lbfgs import fit_preconditioner
from onelayer.solver.learning_rate import smoothness
from onelayer.solver.solver import Optimum, Progress, Solver, Target, first_bias
from onelayer.training.run import AUTO, Auto

Members = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fitted:
    """The result of a fit.

    Attributes:
        layer: W and b of the scaled features.
        n_iter: passes over the rows, or epochs.
        gap: proven bound on J − min J, nats; inf for λ = 0.
        history: what was measured, one entry a pass or an epoch.
        learning_rate: η of mini-batch descent.
    """

    layer: Layer
    n_iter: int
    gap: float
    history: dict[str, Float64]
    learning_rate: float | None = None


@dataclass(frozen=True)
class Descent:
    """Settings of mini-batch descent.

    Attributes:
        l2: λ of W.
        learning_rate: η, or "auto" for 1/L_B.
        batch_size: B; more than the rows are all of them.
        epochs: passes over the rows at most.
        patience: epochs without a lower validation loss that end the descent.
        dtype: "float32" or "float64".
    """

    l2: float
    learning_rate: float | Auto
    batch_size: int
    epochs: int
    patience: int
    dtype: str


def fit_optimum(
    engine: Engine, rows: Rows, classes: int, target: Target, start: Layer | None
) -> Fitted:
    """Find the optimum and prove it; raises KeyboardInterrupt for Ctrl-C."""
    seen: list[Progress] = []
    preconditioner = fit_preconditioner(engine, rows, classes)
    solver = Solver(engine, rows, classes, preconditioner, seen.append)
    if start is not None:
        solver.start_at(start.W, start.b)
    optimum = solver.solve(target).completed()
    warn_unless_optimal(optimum)
    history = {
        "cost": np.array([progress.cost for progress in seen]),
        "gap": np.array([progress.gap for progress in seen]),
    }
    return Fitted(layer_of(optimum), optimum.passes, optimum.certificate.gap, history)


def layer_of(optimum: Optimum) -> Layer:
    """W and b of an optimum in float64."""
    return Layer(np.asarray(optimum.W, np.float64), optimum.b)


def warn_unless_optimal(optimum: Optimum) -> None:
    """Warn when the gap that was asked for was not reached."""
    if optimum.status != "optimal":
        warnings.warn(optimum.sentence, ConvergenceWarning, stacklevel=4)


def hold_out(
    labelled: Labelled, fraction: float, random: np.random.RandomState
) -> tuple[Members, Members]:
    """Rows to train on and rows to stop by, ascending, of each class its fraction."""
    members = labelled.members
    if members is None:
        members = np.arange(len(labelled.codes))
    codes = labelled.codes[members]
    counts = np.bincount(codes)
    if counts.min() < 2:
        raise ValueError(
            "early_stopping holds out rows of each class, so each needs 2 rows or more, but class "
            f"{labelled.classes[counts.argmin()]} has 1; add rows of it or set "
            "early_stopping=False."
        )
    seed = int(random.randint(np.iinfo(np.int32).max))
    kept, held_out = cut_fraction(codes, fraction, seed, "early_stopping")
    return members[kept], members[held_out]


def first_layer(rows: Rows, classes: int) -> Layer:
    """W = 0 and the bias that is best for it; that of a class without rows is far below.

    Example:
        >>> rows = Rows(np.eye(3), np.array([0, 1, 1]), np.ones(3), np.zeros(3))
        >>> first_layer(rows, 2).b.round(4)
        array([-0.3466,  0.3466])
    """
    return Layer(np.zeros((classes, rows.X.shape[1])), first_bias(rows.class_frequencies(classes)))


def resolve_rate(engine: Engine, rows: Rows, descent: Descent) -> float:
    """η; "auto" is 1/L_B of these rows, measured in the arithmetic type of the descent."""
    if descent.learning_rate != AUTO:
        return float(descent.learning_rate)
    penalty, batch_size, dtype = Penalty.of(descent), descent.batch_size, descent.dtype
    return 1.0 / smoothness(engine, rows, penalty, batch_size, dtype=dtype)[1]


@dataclass(frozen=True, eq=False)
class _Best:
    """The weights to keep: the last finite ones, or those of the lowest validation loss."""

    weights: Weights
    loss: float = math.inf
    epoch: int = 0


def fit_minibatch(
    engine: Engine,
    rows: Rows,
    validation: Rows | None,
    descent: Descent,
    start: Layer,
    random: np.random.RandomState,
) -> Fitted:
    """Descend for the given epochs, or until the validation loss has risen for too long.

    Weights of the training rows have mean 1. The last weights are kept, or with validation rows
    those of the lowest validation loss, or those of the epoch before the cost stopped being finite.
    """
    eta = resolve_rate(engine, rows, descent)
    trainer, rate = _begin(engine, start, descent), np.array([eta])
    members = np.arange(len(rows.y)) if rows.index is None else rows.index
    history: dict[str, list[float]] = {"cost": []}
    best = _Best(trainer.weights())
    for epoch in range(1, descent.epochs + 1):
        order = random.permutation(members).astype(np.int64, copy=False)
        trainer.epoch(rows, Steps.constant(rate, len(order), descent.batch_size, order))
        cost = _cost(trainer, rows, Penalty.of(descent))
        if not math.isfinite(cost):
            _warn_of_divergence(eta, epoch)
            break
        history["cost"].append(cost)
        best = _better(best, trainer, validation, epoch, history)
        if epoch - best.epoch >= descent.patience:
            break
    W, b = (part[0].astype(np.float64) for part in best.weights)
    gap = certify_weights(engine, rows, W, b, Penalty.of(descent)).given.gap
    measured = {name: np.array(values) for name, values in history.items()}
    return Fitted(Layer(W, b), len(history["cost"]), gap, measured, eta)


def fit_part(engine: Engine, rows: Rows, descent: Descent, start: Layer, eta: float) -> Layer:
    """The layer after one pass over the rows in their order, weighted as they are."""
    trainer = _begin(engine, start, descent)
    trainer.epoch(rows, Steps.constant(np.array([eta]), len(rows.y), descent.batch_size))
    W, b = (part[0].astype(np.float64) for part in trainer.weights())
    return Layer(W, b)


def _begin(engine: Engine, start: Layer, descent: Descent) -> Trainer:
    weights = Weights(
        np.ascontiguousarray(start.W[None], descent.dtype),
        np.ascontiguousarray(start.b[None], descent.dtype),
    )
    return engine.begin(State(weights), Method.plain(np.array([descent.l2])))


def _cost(trainer: Trainer, rows: Rows, penalty: Penalty) -> float:
    W = trainer.weights().W.astype(np.float64)
    with np.errstate(over="ignore"):
        return float(trainer.evaluate(rows).loss[0]) + penalty.value(W)


def _better(
    best: _Best,
    trainer: Trainer,
    validation: Rows | None,
    epoch: int,
    history: dict[str, list[float]],
) -> _Best:
    """What to keep after an epoch; without validation rows always the newest."""
    if validation is None:
        return _Best(trainer.weights(), epoch=epoch)
    loss = float(trainer.evaluate(validation).loss[0])
    history.setdefault("validation_loss", []).append(loss)
    return _Best(trainer.weights(), loss, epoch) if loss < best.loss else best


def _warn_of_divergence(eta: float, epoch: int) -> None:
    warnings.warn(
        f"with learning_rate={eta:.3g} the cost stopped being finite in epoch {epoch}; the weights "
        'before it are kept. Take a smaller one, or "auto".',
        ConvergenceWarning,
        stacklevel=5,
    )
