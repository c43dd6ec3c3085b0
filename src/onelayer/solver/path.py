"""The λ path: the optimum for many λ's on the same rows, each certified, and one of them chosen.

From the largest λ down, each solution starts where the last one ended and inherits its steps; the
metric is found once. With folds, each fold's models are a path of their own that shares the metric,
which only shapes the steps; none starts from weights that have seen the rows it is judged by.

How well one model does on some rows: loss and accuracy, each with its standard error.

Choosing λ from scores on held-out rows: the best, or the simplest that is not clearly worse.

What solving a λ path leaves behind: one record that holds everything its page needs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Splits
from onelayer.data.dataset import DataCard
from onelayer.data.rows import Rows, rows_of
from onelayer.data.scaling import Scaling, fit_scaling
from onelayer.data.split import stratified_folds
from onelayer.engines import Engine, streaming
from onelayer.errors import SettingsError
from onelayer.files.provenance import Command
from onelayer.model.model import Model, origin
from onelayer.solver.certificate import scores_of
from onelayer.solver.lbfgs import Metric, fit_metric
from onelayer.solver.linalg import inner
from onelayer.solver.solver import Optimum, Solver, Target


@dataclass(frozen=True)
class Score:
    """Loss and accuracy of a model on some rows.

    Attributes:
        loss: mean cross-entropy, nats; by weight where rows have weights.
        loss_error: its standard error over the rows.
        accuracy: share of rows classified right, by weight.
        accuracy_error: its standard error, √(a (1 − a) / n).
        rows: how many rows, n; the errors take (Σ w)² / Σ w² in its place (Kish 1965).
    """

    loss: float
    loss_error: float
    accuracy: float
    accuracy_error: float
    rows: int


def score(engine: Engine, rows: Rows, W: NDArray[np.floating], b: NDArray[np.floating]) -> Score:
    """Score one model.

    Args:
        engine: what does the arithmetic.
        rows: the rows to judge by.
        W: weights, shape (K, D); their type is the arithmetic's.
        b: bias, shape (K,).

    Returns:
        Loss and accuracy; of equal scores the first class counts.
    """
    found = scores_of(engine, rows, W).judge(np.asarray(b, np.float64))
    weights = rows.row_weights
    n = rows.count if weights is None else rows.mass**2 / inner(weights, weights)
    variance = max(found.square - found.loss**2, 0.0)
    return Score(
        loss=found.loss,
        loss_error=math.sqrt(variance / n),
        accuracy=found.right,
        accuracy_error=math.sqrt(max(found.right * (1.0 - found.right), 0.0) / n),
        rows=rows.count,
    )


By = Literal["accuracy", "loss"]

Rule = Literal["best", "one-standard-error"]


@dataclass(frozen=True)
class Choice:
    """How λ is chosen.

    Attributes:
        by: "accuracy" or "loss" on the held-out rows.
        rule: "best" takes the best score; "one-standard-error" the largest λ whose score is
            within one standard error of the best (Breiman et al. 1984).

    Raises:
        SettingsError: for another word.

    Example:
        >>> Choice(rule="one-standard-error").by
        'accuracy'
    """

    by: By = "accuracy"
    rule: Rule = "best"

    def __post_init__(self) -> None:
        for name, value, words in (("by", self.by, By), ("rule", self.rule, Rule)):
            if value not in get_args(words):
                choices = " or ".join(get_args(words))
                raise SettingsError(f"{name} must be {choices}, but {value!r} was given.")


def merit(scores: Sequence[Score], by: By) -> tuple[float, float]:
    """Mean score of one λ, more is better, and its standard error.

    Args:
        scores: one, or one for each fold. Of one, the error is that of its rows; of several, that
            of their spread.
        by: "accuracy" or "loss" (with its sign turned).

    Returns:
        Mean and standard error.

    Example:
        >>> merit([Score(1.0, 0.1, 0.5, 0.05, 100)], "loss")
        (-1.0, 0.1)
    """
    sign = 1.0 if by == "accuracy" else -1.0
    values = [sign * getattr(score, by) for score in scores]
    if len(scores) == 1:
        return values[0], float(getattr(scores[0], f"{by}_error"))
    return float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))


def choose(scores: Sequence[Sequence[Score]], choice: Choice) -> int:
    """Choose a position by the scores on held-out rows.

    Args:
        scores: for each λ, largest λ first, one score or one for each fold.
        choice: how.

    Returns:
        The position; of equal scores that of the largest λ.

    Example:
        >>> near = [Score(1.0, 0.1, a, 0.02, 100) for a in (0.50, 0.59, 0.60)]
        >>> [choose([[s] for s in near], Choice(rule=r)) for r in ("best", "one-standard-error")]
        [2, 1]
    """
    merits = [merit(of_one, choice.by) for of_one in scores]
    best = max(range(len(merits)), key=lambda i: (merits[i][0], -i))
    if choice.rule == "best":
        return best
    least = merits[best][0] - merits[best][1]
    return next(i for i, (mean, _) in enumerate(merits) if mean >= least)


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
    choice: Choice = Choice(),  # frozen
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


@dataclass(frozen=True, eq=False)
class PathRecord:
    """A λ path, on which data it was solved, and how it was made.

    Attributes:
        path: the optima, their scores and the choice among them.
        data: which data it was.
        environment: engine, library versions, processor, threads.
        command: the command line that made it; None when it was made from Python.

    Example:
        >>> from onelayer.data import load

        >>> card = DataCard("digits", "scikit-learn", tuple("0123456789"), (1, 8, 8), 1, 1, 1)
        >>> PathRecord(solve_path(load("digits"), [0.1]), card).path.best.l2
        0.1
    """

    path: Path
    data: DataCard
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Command | None = None

    def model(self, position: int | None = None) -> Model:
        """The model of one λ: the optimum, with its proof.

        Args:
            position: of the λ, largest first; None takes the chosen one.

        Returns:
            The model.

        Raises:
            SettingsError: when there is no λ at that position.
        """
        path = self.path
        place = path.chosen if position is None else position
        if place not in range(len(path.optima)):
            raise SettingsError(
                f"position must be 0 to {len(path.optima) - 1}, but {position} was given."
            )
        optimum, held_out = path.optima[place], path.held_out[place]
        settings = {
            "made_by": "optimum",
            "l2": optimum.l2,
            "status": optimum.status,
            "tol": optimum.tol,
            "passes": optimum.passes,
            "validation_accuracy": float(np.mean([score.accuracy for score in held_out])),
            "choice": asdict(path.choice) | {"folds": path.folds, "chosen": place == path.chosen},
        }
        return Model(
            W=optimum.W,
            b=optimum.b,
            scaling=path.scaling,
            class_names=self.data.class_names,
            image_shape=self.data.image_shape,
            feature_names=self.data.feature_names,
            settings=settings | origin(self.data, self.environment),
            certificate=optimum.certificate,
        )
