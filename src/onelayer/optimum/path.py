"""The λ path: the optimum for many λ's on the same rows, each certified, and one of them chosen.

From the largest λ down, each solution starts where the last one ended and inherits its steps; the
metric is found once. With folds, each fold's models are a path of their own that shares the metric,
which only shapes the steps; none starts from weights that have seen the rows it is judged by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Splits
from onelayer.engines import Engine, Rows, streaming
from onelayer.errors import SettingsError
from onelayer.optimum.choice import Choice, choose
from onelayer.optimum.dataset import rows_of
from onelayer.optimum.folds import stratified_folds
from onelayer.optimum.metric import Metric, fit_metric
from onelayer.optimum.score import Score, score
from onelayer.optimum.solver import Optimum, Solver, Target
from onelayer.scaling import Scaling, fit_scaling

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Path:
    """Optima of P values of λ on the same training rows.

    Attributes:
        optima: one for each λ, largest λ first.
        scaling: the affine map that W expects.
        train: scores on the training rows, P of them.
        held_out: scores on the rows that λ is chosen by, for each λ: one for the validation set,
            or one for each fold.
        chosen: position of the chosen λ.
        choice: how it was chosen.
        test: score of the chosen model alone on the test rows; None when there are none.
        folds: how many; 0 where a validation set was used.
        seconds: wall time of each phase, in s.
    """

    optima: tuple[Optimum, ...]
    scaling: Scaling
    train: tuple[Score, ...]
    held_out: tuple[tuple[Score, ...], ...]
    chosen: int
    choice: Choice
    test: Score | None = None
    folds: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def best(self) -> Optimum:
        """The chosen model."""
        return self.optima[self.chosen]

    @property
    def l2(self) -> Float64:
        """λ of each model, shape (P,), descending."""
        return np.array([optimum.l2 for optimum in self.optima])


@dataclass(frozen=True)
class PathProgress:
    """Where a path stands: `done` of `total` solutions."""

    done: int
    total: int


def l2_grid(points: int = 20, largest: float = 1.0, smallest: float = 1e-4) -> tuple[float, ...]:
    """Values of λ, evenly spaced in their logarithm, largest first.

    Args:
        points: how many, ≥ 1.
        largest: the first, > 0.
        smallest: the last, > 0 and at most the largest.

    Returns:
        The values.

    Raises:
        SettingsError: for a value outside its range.

    Example:
        >>> [round(l2, 6) for l2 in l2_grid(3, 1.0, 0.01)]
        [1.0, 0.1, 0.01]
    """
    if points < 1 or not 0.0 < smallest <= largest < np.inf:
        raise SettingsError(
            "a grid of λ needs at least 1 point and 0 < smallest ≤ largest, but "
            f"{points} points from {largest:g} to {smallest:g} were given."
        )
    return tuple(float(l2) for l2 in np.geomspace(largest, smallest, points))


def solve_path(
    splits: Splits,
    l2s: Sequence[float] = l2_grid(),
    *,
    tol: float = 1e-4,
    max_passes: int = 1000,
    folds: int = 0,
    choice: Choice = Choice(),  # noqa: B008  # frozen
    scaling: str = "unit",
    engine: Engine | None = None,
    on_progress: Callable[[PathProgress], None] = lambda progress: None,
) -> Path:
    """Solve for every λ, prove each, and choose one by validation rows or folds.

    Args:
        splits: training, validation and test rows. The test rows are used once, for the chosen
            model.
        l2s: values of λ ≥ 0, at least one, in any order.
        tol: relative gap to prove for each, > 0.
        max_passes: over the rows for each λ.
        folds: 0 chooses by the validation rows; 2 or more by that many folds of the training rows.
        choice: by accuracy or loss, the best or the one-standard-error rule.
        scaling: "none", "unit" or "standardize", fitted on the training rows.
        engine: what does the arithmetic; None takes the default engine.
        on_progress: called after every solution.

    Returns:
        The path. Ctrl-C ends it; the λ's solved so far are kept.

    Raises:
        SettingsError: for a value outside its range.

    Source:
        Friedman, Hastie & Tibshirani (2010) for warm-started paths; Breiman et al. (1984) for the
        one-standard-error rule.

    Example:
        >>> from onelayer.data import load
        >>> path = solve_path(load("digits"), [0.1, 0.001])
        >>> path.best.l2, path.best.status
        (0.001, 'optimal')
    """
    targets = [Target(l2, tol, max_passes) for l2 in sorted(set(l2s), reverse=True)]
    if not targets:
        raise SettingsError("a path needs at least one λ, but none was given.")
    started = time.perf_counter()
    chosen_engine, train = streaming(engine), splits.train
    fitted = fit_scaling(scaling, train.X, train.max_value)
    rows = rows_of(train, fitted)
    metric = fit_metric(chosen_engine, rows, train.classes)
    held_out = (
        HeldOutFolds(chosen_engine, fold_rows(rows, folds), train.classes, metric)
        if folds
        else _Validation(chosen_engine, rows_of(splits.validation, fitted))
    )
    solver = Solver(chosen_engine, rows, train.classes, metric)
    optima, scores = walk(solver, targets, held_out, on_progress)
    if not optima:
        raise KeyboardInterrupt
    solved = time.perf_counter()
    chosen = choose(scores, choice)
    best = optima[chosen]
    return Path(
        optima=tuple(optima),
        scaling=fitted,
        train=tuple(score(chosen_engine, rows, o.W, o.b) for o in optima),
        held_out=tuple(scores),
        chosen=chosen,
        choice=choice,
        test=score(chosen_engine, rows_of(splits.test, fitted), best.W, best.b),
        folds=folds,
        seconds={"solve": solved - started, "score": time.perf_counter() - solved},
    )


class HeldOut(Protocol):
    """Judges a λ by rows that its model was not fitted to."""

    def score(self, optimum: Optimum, target: Target) -> tuple[Score, ...]:
        """One score, or one for each fold."""


def walk(
    solver: Solver,
    targets: Sequence[Target],
    held_out: HeldOut,
    on_progress: Callable[[PathProgress], None] = lambda progress: None,
) -> tuple[list[Optimum], list[tuple[Score, ...]]]:
    """Solve one λ after another and judge each.

    Args:
        solver: of all training rows.
        targets: largest λ first.
        held_out: what judges.
        on_progress: called after every solution.

    Returns:
        Optima and scores; fewer than targets where Ctrl-C ended it.
    """
    optima: list[Optimum] = []
    scores: list[tuple[Score, ...]] = []
    for done, target in enumerate(targets):
        optimum = solver.solve(target)
        if optimum.status == "interrupted":
            break
        try:
            scores.append(held_out.score(optimum, target))
            optima.append(optimum)
            on_progress(PathProgress(done + 1, len(targets)))
        except KeyboardInterrupt:
            break
    return optima, scores


def fold_rows(rows: Rows, folds: int) -> list[tuple[Rows, Rows]]:
    """The rows to train on and those held out, for each of that many stratified folds.

    Args:
        rows: all rows.
        folds: 2 … N.

    Returns:
        Pairs of rows; X is not copied.
    """
    parts = stratified_folds(rows.y, folds)
    return [(rows.only(kept), rows.only(held_out)) for kept, held_out in parts]


class _Validation:
    """Judges a λ by rows that no model was fitted to."""

    def __init__(self, engine: Engine, rows: Rows) -> None:
        self._engine, self._rows = engine, rows

    def score(self, optimum: Optimum, target: Target) -> tuple[Score, ...]:
        return (score(self._engine, self._rows, optimum.W, optimum.b),)


class HeldOutFolds:
    """Judges a λ by models fitted to all rows but a fold, on that fold."""

    def __init__(
        self, engine: Engine, folds: Sequence[tuple[Rows, Rows]], classes: int, metric: Metric
    ) -> None:
        self._engine = engine
        self._parts = [
            (Solver(engine, kept, classes, metric), held_out) for kept, held_out in folds
        ]

    def score(self, optimum: Optimum, target: Target) -> tuple[Score, ...]:
        """Scores of the folds' models, each started at its own of the λ before."""
        scores = []
        for solver, held_out in self._parts:
            fitted = solver.solve(target)
            if fitted.status == "interrupted":
                raise KeyboardInterrupt
            scores.append(score(self._engine, held_out, fitted.W, fitted.b))
        return tuple(scores)
