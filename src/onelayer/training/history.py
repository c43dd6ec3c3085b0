"""The record that training writes as it goes: history, weights and outcome of every run.

Measures the curvature that runs meet while they train.

Learning rates before training: "auto" becomes a number, and one that is too large is told of.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines import Engine, Evaluation, Weights
from onelayer.errors import LearningRateWarning
from onelayer.objective import penalty
from onelayer.objective.loss import LOSS_FUNCTIONS
from onelayer.solver.learning_rate import (
    largest_curvature,
    largest_second_moment,
    smoothness,
    stable_product,
)
from onelayer.training.result import Curvature, History, Outcome
from onelayer.training.run import AUTO, Run


@dataclass(frozen=True, eq=False)
class Measurement:
    """What one pass measured of its runs at the end of an epoch; arrays have one entry a run."""

    weights: Weights
    train: Evaluation
    validation: Evaluation
    rows: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Entries:
    """What a logbook held at one moment: what is not copied is only ever added to.

    Attributes:
        weights: W (R, K, D) and b (R, K) that each run keeps.
        outcomes: how each ended; None while it goes on.
        epochs: whole epochs behind the weights of each run.
        reached: whole epochs that each had gone through. Later ones in the history and the
            snapshots were entered after that moment and do not count.
        history: of all runs, not copied.
        snapshots: by position, not copied.
        bends: curvature by position and epoch.
    """

    weights: Weights
    outcomes: tuple[Outcome | None, ...]
    epochs: tuple[int, ...]
    reached: tuple[int, ...]
    history: History
    snapshots: dict[int, NDArray[np.float16]]
    bends: dict[int, dict[int, float]]


class Logbook:
    """What has been measured so far. A run's entry is whole or absent, never half written.

    Attributes:
        runs: the settings, R of them.
        history: rows are filled in as epochs end.
        weights: W (R, K, D) and b (R, K) to keep: of the last epoch whose cost was finite, or, of
            a run with patience, of the epoch with the lowest validation loss.
        outcomes: how each run ended; None while it goes on.
        epochs: whole epochs behind those weights of each run.
        reached: whole epochs that each run has gone through with a finite cost.
        snapshots: W at every epoch of the runs that were asked for, float16.
    """

    def __init__(self, runs: Sequence[Run], start: Weights, snapshots: Sequence[int]) -> None:
        self.runs = tuple(runs)
        self.history = History.empty(len(runs), max(run.epochs for run in runs))
        self.weights = Weights(start.W.copy(), start.b.copy())
        self.outcomes: list[Outcome | None] = [None] * len(runs)
        self.epochs = [0] * len(runs)
        self.reached = [0] * len(runs)
        self._bends: dict[int, dict[int, float]] = {}
        self.snapshots: dict[int, NDArray[np.float16]] = {
            i: np.full((runs[i].epochs + 1, *start.W.shape[1:]), np.nan, np.float16)
            for i in snapshots
        }

    def entries(self) -> Entries:
        """What it holds now, for `take`."""
        return Entries(
            weights=self.weights.of(range(len(self.runs))),
            outcomes=tuple(self.outcomes),
            epochs=tuple(self.epochs),
            reached=tuple(self.reached),
            history=self.history,
            snapshots=self.snapshots,
            bends={i: dict(bends) for i, bends in self._bends.items()},
        )

    def take(self, entries: Entries) -> None:
        """Go on from what a logbook of the same runs held at one moment."""
        self.weights, self.history = entries.weights, entries.history
        self.outcomes = list(entries.outcomes)
        self.epochs, self.reached = list(entries.epochs), list(entries.reached)
        self.snapshots, self._bends = entries.snapshots, entries.bends
        for i, epoch in enumerate(self.reached):
            for name in History.measures():
                getattr(self.history, name)[i, epoch + 1 :] = np.nan
            if i in self.snapshots:
                self.snapshots[i][epoch + 1 :] = np.nan

    def weights_of(self, positions: Sequence[int]) -> Weights:
        """Weights of these runs, in this order."""
        chosen = list(positions)
        return Weights(self.weights.W[chosen], self.weights.b[chosen])

    def enter(self, positions: Sequence[int], epoch: int, measured: Measurement) -> list[int]:
        """Enter an epoch of these runs, and return those that go on.

        A run whose cost is not finite is marked as diverged and keeps the weights that it had; one
        whose patience is at its end is marked as stopped.
        """
        W = measured.weights.W.astype(np.float64)
        l2 = np.array([self.runs[i].l2 for i in positions])
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("rkd,rkd->r", W, W)
            # 0 · ∞ is not a number, so weights that overflowed show without a penalty as well.
            finite = np.isfinite(measured.train.loss + penalty.value_of_squares(squares, l2))
        for place, i in enumerate(positions):
            if finite[place]:
                self._enter_run(i, place, epoch, measured, float(squares[place]))
                self.outcomes[i] = self._stopped(i, epoch)
            else:
                self.outcomes[i] = _diverged(self.runs[i], epoch, self.epochs[i])
        return [i for i in positions if self.outcomes[i] is None]

    def has_entered(self, i: int, epoch: int) -> bool:
        """Whether a run went through that epoch with a finite cost."""
        return bool(np.isfinite(self.history.train_cost[i, epoch]))

    def bend(self, i: int, epoch: int, curvature: float) -> None:
        """Enter the curvature that a run met at the end of an epoch."""
        self._bends.setdefault(i, {})[epoch] = curvature

    @property
    def curvatures(self) -> dict[int, Curvature]:
        """What was entered of it, by run."""
        return {i: Curvature(tuple(b), tuple(b.values())) for i, b in self._bends.items()}

    def finish(self, positions: Sequence[int]) -> None:
        """Mark these runs as having gone through all of their epochs."""
        for i in positions:
            self.outcomes[i] = Outcome("finished", self.epochs[i])

    def interrupt(self) -> None:
        """Mark every run that has not ended as interrupted where it stands."""
        for i, outcome in enumerate(self.outcomes):
            if outcome is None:
                reached, kept = self.reached[i], self.epochs[i]
                said = f"interrupted after {reached} of {self.runs[i].epochs} epochs"
                best = f"; the weights after epoch {kept} are kept" if kept < reached else ""
                self.outcomes[i] = Outcome(
                    "interrupted", kept, f"{_label(self.runs[i])} was {said}{best}."
                )

    def _enter_run(
        self, i: int, place: int, epoch: int, measured: Measurement, squares: float
    ) -> None:
        history, added = self.history, penalty.value_of_squares(squares, self.runs[i].l2)
        for prefix, evaluation, rows in (
            ("train", measured.train, measured.rows[0]),
            ("validation", measured.validation, measured.rows[1]),
        ):
            loss = evaluation.loss[place]
            getattr(history, f"{prefix}_loss")[i, epoch] = loss
            getattr(history, f"{prefix}_cost")[i, epoch] = loss + added
            getattr(history, f"{prefix}_accuracy")[i, epoch] = evaluation.correct[place] / rows
        history.weight_norm[i, epoch] = np.sqrt(squares)
        if self._is_best(i, epoch):
            self.weights.W[i], self.weights.b[i] = (part[place] for part in measured.weights)
            self.epochs[i] = epoch
        self.reached[i] = epoch
        if i in self.snapshots:
            with np.errstate(over="ignore"):  # a picture of weights past 65504 is white anyway
                self.snapshots[i][epoch] = measured.weights.W[place]

    def _is_best(self, i: int, epoch: int) -> bool:
        """Whether the weights of this epoch are the ones to keep; those at the start are not."""
        before = self.history.validation_loss[i, self.epochs[i]]
        if self.runs[i].patience is None or self.epochs[i] == 0 or not math.isfinite(before):
            return True
        return bool(self.history.validation_loss[i, epoch] < before)

    def _stopped(self, i: int, epoch: int) -> Outcome | None:
        """How a run ends whose validation loss has not fallen for as long as its patience."""
        patience, waited = self.runs[i].patience, epoch - self.epochs[i]
        if patience is None or waited < patience or epoch == self.runs[i].epochs:
            return None
        return Outcome("stopped", self.epochs[i])


def _label(run: Run) -> str:
    return f"the run {run.name!r} (seed {run.seed})"


def _diverged(run: Run, epoch: int, kept: int) -> Outcome:
    return Outcome(
        "diverged",
        kept,
        f"{_label(run)} diverged in epoch {epoch}: with η = {run.eta:g} its cost is no "
        f"longer finite; the weights after epoch {kept} are kept. Try a smaller learning_rate.",
    )


# Between epochs the curvature changes by more than this, and on a chart less is not seen.
ENOUGH = 1e-2

EVERY_EPOCH_UP_TO = 10

GROWTH = 1.25


class CurvatureMeter:
    """λmax(H) of chosen runs; each measurement starts at the last one's direction.

    Attributes:
        directions: where the next measurement starts, by position; replaced, never changed.
        next_due: the epoch at which each run is measured next, by position.
    """

    def __init__(self, engine: Engine, rows: Rows, positions: Sequence[int]) -> None:
        self._engine, self._rows = engine, rows
        self.directions: dict[int, NDArray[np.float64]] = {}
        self.next_due = dict.fromkeys(tuple(positions), 0)

    def due(self, positions: Sequence[int], epoch: int, *, last: bool) -> list[int]:
        """Which of these runs are to be measured at this epoch; at their last one, all."""
        chosen = [i for i in positions if i in self.next_due]
        return [i for i in chosen if last or epoch >= self.next_due[i]]

    def measure(self, i: int, weights: Weights, run: Run) -> float:
        """Measure run i where it stands; it is due again after the next epoch or later.

        Args:
            i: position of the run.
            weights: its weights, W (1, K, D) and b (1, K).
            run: its setting; λ and the loss are used.

        Returns:
            λmax of the Hessian of J on the training rows.
        """
        value, direction = largest_curvature(
            self._engine,
            self._rows,
            weights,
            run.l2,
            loss=run.loss,
            start=self.directions.get(i),
            tolerance=ENOUGH,
        )
        self.directions[i] = direction
        epoch = self.next_due[i]
        late = epoch >= EVERY_EPOCH_UP_TO
        self.next_due[i] = int(np.ceil(epoch * GROWTH)) if late else epoch + 1
        return value


def settle_learning_rates(
    runs: Sequence[Run], engine: Engine, rows: Rows, classes: int
) -> tuple[Run, ...]:
    """Put a number in the place of every "auto", and warn of rates above what is surely stable.

    "auto" is (1 − μ)/L_B, half of what is guaranteed to be stable for random batches of the run's
    size. The warning's bound is m/L, with L = ½ λmax(X̃ᵀX̃/N) + 2λ and m = 2 without momentum
    (`onelayer.solver.learning_rate`). With a schedule both are about its longest step.

    Args:
        runs: the settings.
        engine: what does the arithmetic.
        rows: the training rows.
        classes: K.

    Returns:
        The runs, each with a number; names stay.

    Warns:
        LearningRateWarning: one line for all rates above the bound. They are trained all the same:
            the curvature met is often far below the bound.
    """
    known: dict[tuple[float, int, float], float] = {}
    settled = []
    for run in runs:
        if run.learning_rate == AUTO:
            key = (run.l2, run.batch_size, LOSS_FUNCTIONS[run.loss].curvature(classes))
            if key not in known:
                known[key] = smoothness(engine, rows, *key)[1]
            run = replace(run, learning_rate=(1.0 - run.momentum) / known[key])
        settled.append(run)
    _warn_of_large_steps(settled, engine, rows, classes)
    return tuple(settled)


def _warn_of_large_steps(runs: Sequence[Run], engine: Engine, rows: Rows, classes: int) -> None:
    moment = largest_second_moment(engine, rows)

    def bound(run: Run) -> float:
        smooth = LOSS_FUNCTIONS[run.loss].curvature(classes) * moment + penalty.curvature(run.l2)
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
        LearningRateWarning,
        stacklevel=5,
    )
