"""Learning rates before training: "auto" becomes a number, and one that is too large is told of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

from onelayer.engines import Engine, Rows
from onelayer.errors import StepLengthWarning
from onelayer.optimum.advice import smoothness, stable_product
from onelayer.optimum.curvature import largest_second_moment, loss_curvature
from onelayer.plan import AUTO, Run


def settle_learning_rates(
    runs: Sequence[Run], engine: Engine, rows: Rows, classes: int
) -> tuple[Run, ...]:
    """Put a number in the place of every "auto", and warn of rates above what is surely stable.

    "auto" is (1 − μ)/L_B, half of what is guaranteed to be stable for random batches of the run's
    size. The warning's bound is m/L, with L = ½ λmax(X̃ᵀX̃/N) + 2λ and m = 2 without momentum
    (`onelayer.optimum.advice`). With a schedule both are about its longest step.

    Args:
        runs: the settings.
        engine: what does the arithmetic.
        rows: the training rows.
        classes: K.

    Returns:
        The runs, each with a number; names stay.

    Warns:
        StepLengthWarning: one line for all rates above the bound. They are trained all the same:
            the curvature met is often far below the bound.
    """
    known: dict[tuple[float, int, float], float] = {}
    settled = []
    for run in runs:
        if run.learning_rate == AUTO:
            key = (run.l2, run.batch_size, loss_curvature(run.loss, classes))
            if key not in known:
                known[key] = smoothness(engine, rows, *key)[1]
            run = replace(run, learning_rate=(1.0 - run.momentum) / known[key])
        settled.append(run)
    _warn_of_large_steps(settled, engine, rows, classes)
    return tuple(settled)


def _warn_of_large_steps(runs: Sequence[Run], engine: Engine, rows: Rows, classes: int) -> None:
    moment = largest_second_moment(engine, rows)

    def bound(run: Run) -> float:
        smooth = loss_curvature(run.loss, classes) * moment + 2.0 * run.l2
        return stable_product(run.momentum, nesterov=run.nesterov) / smooth

    large = [run for run in runs if run.eta > bound(run)]
    plain = [run for run in large if run.momentum == 0.0]
    with_momentum = [run for run in large if run.momentum > 0.0]
    if plain:
        _warn(
            f"learning_rate {_rates(plain)} is above {min(map(bound, plain)):.3g}, below which "
            "steps on these rows are guaranteed to be stable (2/L)"
        )
    if with_momentum:
        _warn(
            f"learning_rate {_rates(with_momentum)} is above {min(map(bound, with_momentum)):.3g}, "
            "beyond which steps with momentum overshoot where the cost bends as much as it can on "
            "these rows (2(1 + μ)/L, over 1 + 2μ more for Nesterov's)"
        )


def _rates(runs: Sequence[Run]) -> str:
    return ", ".join(f"{eta:g}" for eta in sorted({run.eta for run in runs}, reverse=True))


def _warn(words: str) -> None:
    warnings.warn(
        f"{words}; the curvature met may allow it, look at the curves.",
        StepLengthWarning,
        stacklevel=5,
    )
