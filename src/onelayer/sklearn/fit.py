"""Fitting: by the certified solver, or by training's mini-batch descent, whole or in parts.

J is convex, so W starts at zero, and b at its best for that, the logarithms of the class
frequencies; in parts, where these are not known, b starts at zero too. Of two classes one is then
the other's negative throughout.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from onelayer.data.rows import Rows
from onelayer.data.split import cut_fraction
from onelayer.engines import Engine, State, Steps, Weights
from onelayer.model.model import separation_words
from onelayer.objective.penalty import Penalty
from onelayer.sklearn.base import Layer
from onelayer.sklearn.inputs import Labelled
from onelayer.solver.certificate import certify_weights
from onelayer.solver.learning_rate import smoothness
from onelayer.solver.reduction import Solvers
from onelayer.solver.solver import (
    Optimum,
    Progress,
    Target,
    describe_solution,
    first_bias,
)
from onelayer.training.loop import Training, warn_about_unstable_rates
from onelayer.training.run import AUTO, Run, method_arrays
from onelayer.training.state import Cursor, TrainingState

Members = NDArray[np.int64]


# The layer of a fit, and the estimator's attributes that say how it went, by name.
Fitted = tuple[Layer, dict[str, Any]]


def find_optimum(
    engine: Engine, rows: Rows, classes: int, target: Target, start: Layer | None
) -> tuple[Optimum, list[Progress]]:
    """Find the optimum and prove it; raises KeyboardInterrupt for Ctrl-C."""
    seen = list[Progress]()
    solver = Solvers(engine, rows, classes).of_all(seen.append)
    if start is not None:
        solver.start_at(start.W, start.b)
    return solver.solve(target).completed(), seen


def fit_optimum(
    engine: Engine, rows: Rows, labels: NDArray[Any], target: Target, start: Layer | None
) -> Fitted:
    """Find the optimum, and warn where there is none or it was not reached."""
    optimum, seen = find_optimum(engine, rows, len(labels), target, start)
    warn_unless_optimal(optimum, labels)
    history = {name: np.array([getattr(now, name) for now in seen]) for name in ("cost", "gap")}
    learned = {"n_iter_": optimum.passes, "gap_": optimum.certificate.gap, "history_": history}
    return layer_of(optimum), learned


def layer_of(optimum: Optimum) -> Layer:
    """W and b of an optimum in float64."""
    return Layer(np.asarray(optimum.W, np.float64), optimum.b)


def warn_unless_optimal(optimum: Optimum, labels: NDArray[Any]) -> None:
    """Warn when the gap that was asked for was not reached, and when there is no optimum."""
    if optimum.separated:
        groups = [[labels[k] for k in group] for group in optimum.separated]
        words = f"with l2=0 {separation_words(groups, len(labels))}"
        remedy = "set l2 above 0"
        if optimum.certificate.is_bound:
            words = f"{separation_words(groups, len(labels))} by features without a penalty"
            remedy = "set their penalty_factors above 0"
        warnings.warn(
            f"{words}, so coef_ grows without end and has no optimum; {remedy}.",
            ConvergenceWarning,
            stacklevel=3,
        )
    if optimum.status not in ("optimal", "separated"):
        warnings.warn(describe_solution(optimum), ConvergenceWarning, stacklevel=3)


def hold_out(
    labelled: Labelled, fraction: float, random: np.random.RandomState
) -> tuple[Members, Members]:
    """Rows to train on and rows to stop by, ascending, of each class its fraction."""
    members = labelled.members
    if members is None:
        members = np.arange(len(labelled.codes))
    codes = labelled.codes[members]
    counts = np.bincount(codes)
    if (counts == 1).any():
        raise ValueError(
            "early_stopping holds out rows of each class, so each needs 2 rows or more, but class "
            f"{labelled.classes[np.argmax(counts == 1)]} has 1; add rows of it or set "
            "early_stopping=False."
        )
    seed = int(random.randint(np.iinfo(np.int32).max))
    kept, held_out = cut_fraction(codes, fraction, seed, "early_stopping")
    return members[kept], members[held_out]


def first_layer(rows: Rows, classes: int) -> Layer:
    """W = 0 and the bias that is best for it; that of a class without rows is far below."""
    return Layer(np.zeros((classes, rows.X.shape[1])), first_bias(rows, classes))


def resolve_rate(
    engine: Engine, rows: Rows, run: Run, dtype: str, classes: int, stacklevel: int
) -> Run:
    """The run with η as a number; "auto" is 1/L_B of these rows, measured in that type.

    Warns of a given one that is not sure to be stable, as training does.
    """
    if run.learning_rate != AUTO:
        warn_about_unstable_rates(
            [run], engine, rows, classes, stacklevel=stacklevel + 1, dtype=dtype
        )
        return run
    steepest = smoothness(engine, rows, Penalty.of(run), run.batch, dtype=dtype)[1]
    return replace(run, learning_rate=1.0 / steepest)


def fit_minibatch(
    engine: Engine,
    rows: Rows,
    validation: Rows | None,
    run: Run,
    dtype: str,
    start: Layer,
    random: np.random.RandomState,
) -> Fitted:
    """Train a run on rows of mean weight 1, in a new order each epoch; certify what is kept."""
    run = resolve_rate(engine, rows, run, dtype, len(start.b), stacklevel=5)
    members = np.arange(len(rows.y)) if rows.index is None else rows.index

    def steps_of(_: object, epoch: int) -> Steps:
        order = random.permutation(members).astype(np.int64, copy=False)
        return Steps.constant(np.array([run.eta]), len(order), run.batch, order)

    state = TrainingState.start([run], _weights(start, dtype))
    from_first = Cursor(0, epoch=1, alive=(0,))
    Training(engine, state, rows, validation, steps_of=steps_of).train_pass([0], from_first)
    taken, outcome = state.reached[0], state.outcomes[0]
    if outcome is not None and outcome.status == "diverged":
        warnings.warn(
            f"with learning_rate={run.eta:.3g} the cost stopped being finite in epoch {taken + 1}; "
            'the weights before it are kept. Take a smaller one, or "auto".',
            ConvergenceWarning,
            stacklevel=4,
        )
    history = {"cost": state.history.train_cost[0, 1 : taken + 1]}
    if validation is not None:
        history["validation_loss"] = state.history.validation_loss[0, 1 : taken + 1]
    layer = _layer(state.weights)
    gap = certify_weights(engine, rows, layer.W, layer.b, Penalty.of(run)).given.gap
    learned = {"n_iter_": taken, "gap_": gap, "history_": history, "learning_rate_": run.eta}
    return layer, learned


def fit_part(engine: Engine, rows: Rows, run: Run, dtype: str, start: Layer) -> Layer:
    """The layer after one pass over the rows in their order, weighted as they are."""
    trainer = engine.begin(State(_weights(start, dtype)), method_arrays([run]))
    trainer.epoch(rows, Steps.constant(np.array([run.eta]), len(rows.y), run.batch))
    return _layer(trainer.weights())


def _weights(layer: Layer, dtype: str) -> Weights:
    return Weights(*(np.ascontiguousarray(part[None], dtype) for part in layer))


def _layer(weights: Weights) -> Layer:
    return Layer(*(part[0].astype(np.float64) for part in weights))
