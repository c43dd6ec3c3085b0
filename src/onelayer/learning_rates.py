"""Learning rates before training: "auto" becomes a number, and one that is too large is told of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

from onelayer.engines import Engine, Rows
from onelayer.errors import StepLengthWarning
from onelayer.optimum.advice import Advice, advise
from onelayer.optimum.curvature import largest_second_moment
from onelayer.plan import AUTO, Run


def settle_learning_rates(
    runs: Sequence[Run], engine: Engine, rows: Rows, classes: int
) -> tuple[Run, ...]:
    """Put a number in the place of every "auto", and warn of rates above what is always stable.

    "auto" is 1/L_B, half of what is guaranteed to be stable for random batches of the run's size;
    the warning's bound is 2/L with L = ½ λmax(X̃ᵀX̃/N) + 2λ (`onelayer.optimum.advice`).

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
    known: dict[tuple[float, int], Advice] = {}
    settled = []
    for run in runs:
        if run.learning_rate == AUTO:
            key = (run.l2, run.batch_size)
            if key not in known:
                known[key] = advise(engine, rows, classes, *key)
            run = replace(run, learning_rate=known[key].learning_rate)
        settled.append(run)
    _warn_of_large_steps(settled, engine, rows)
    return tuple(settled)


def _warn_of_large_steps(runs: Sequence[Run], engine: Engine, rows: Rows) -> None:
    curvature = 0.5 * largest_second_moment(engine, rows)
    large = {run.eta for run in runs if run.eta > 2.0 / (curvature + 2.0 * run.l2)}
    if large:
        rates = ", ".join(f"{eta:g}" for eta in sorted(large, reverse=True))
        bound = 2.0 / (curvature + 2.0 * max(run.l2 for run in runs))
        warnings.warn(
            f"learning_rate {rates} is above {bound:.3g}, below which steps on these rows are "
            "guaranteed to be stable (2/L); the curvature met may allow it, look at the curves.",
            StepLengthWarning,
            stacklevel=4,
        )
