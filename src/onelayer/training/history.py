"""Records the history, weights and outcome of every run while it trains, and its curvature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines import Engine, Evaluation, Weights
from onelayer.objective.penalty import Penalty
from onelayer.solver.learning_rate import largest_curvature
from onelayer.training.result import Curvature, History, Outcome
from onelayer.training.run import Run, method_arrays


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured of the runs of a pass after an epoch; arrays have one entry a run."""

    weights: Weights
    train: Evaluation
    validation: Evaluation
    rows: tuple[int, int]


@dataclass(frozen=True, eq=False)
class HistorySnapshot:
    """What a recorder held at one moment; arrays that only grow are not copied.

    Attributes:
        weights: W (R, K, D) and b (R, K) that each run keeps.
        outcomes: how each ended; None while it continues.
        epochs: whole epochs behind the weights of each run.
        reached: whole epochs that each had gone through. Later ones in the history and the
            snapshots were recorded after that moment and do not count.
        history: of all runs, not copied.
        snapshots: by position, not copied.
        curvatures: by position and epoch.
    """

    weights: Weights
    outcomes: tuple[Outcome | None, ...]
    epochs: tuple[int, ...]
    reached: tuple[int, ...]
    history: History
    snapshots: dict[int, NDArray[np.float16]]
    curvatures: dict[int, dict[int, float]]


class HistoryRecorder:
    """Everything measured so far. An epoch of a run is recorded whole or not at all.

    Attributes:
        runs: the settings, R of them.
        history: rows are filled in as epochs end.
        weights: W (R, K, D) and b (R, K) to keep: of the last epoch whose cost was finite, or, of
            a run with patience, of the epoch with the lowest validation loss.
        outcomes: how each run ended; None while it continues.
        epochs: whole epochs behind those weights of each run.
        reached: whole epochs that each run has gone through with a finite cost.
        snapshots: W at every epoch of the runs in `snapshots`, float16.
    """

    def __init__(self, runs: Sequence[Run], start: Weights, snapshots: Sequence[int]) -> None:
        self.runs = tuple(runs)
        self.history = History.empty(len(runs), max(run.epochs for run in runs))
        self.weights = Weights(start.W.copy(), start.b.copy())
        self.outcomes: list[Outcome | None] = [None] * len(runs)
        self.epochs = [0] * len(runs)
        self.reached = [0] * len(runs)
        self._curvatures: dict[int, dict[int, float]] = {}
        self.snapshots: dict[int, NDArray[np.float16]] = {
            i: np.full((runs[i].epochs + 1, *start.W.shape[1:]), np.nan, np.float16)
            for i in snapshots
        }

    def snapshot(self) -> HistorySnapshot:
        """What it holds now, for `restore`."""
        return HistorySnapshot(
            weights=self.weights.of(range(len(self.runs))),
            outcomes=tuple(self.outcomes),
            epochs=tuple(self.epochs),
            reached=tuple(self.reached),
            history=self.history,
            snapshots=self.snapshots,
            curvatures={i: dict(values) for i, values in self._curvatures.items()},
        )

    def restore(self, snapshot: HistorySnapshot) -> None:
        """Continue from what a recorder of the same runs held."""
        self.weights, self.history = snapshot.weights, snapshot.history
        self.outcomes = list(snapshot.outcomes)
        self.epochs, self.reached = list(snapshot.epochs), list(snapshot.reached)
        self.snapshots, self._curvatures = snapshot.snapshots, snapshot.curvatures
        for i, epoch in enumerate(self.reached):
            for name in History.measures():
                getattr(self.history, name)[i, epoch + 1 :] = np.nan
            if i in self.snapshots:
                self.snapshots[i][epoch + 1 :] = np.nan

    def record(self, positions: Sequence[int], epoch: int, measured: Measurement) -> list[int]:
        """Record an epoch of these runs, and return those that continue.

        A run whose cost is not finite is marked as diverged and keeps the weights that it had; one
        whose patience is at its end is marked as stopped.
        """
        W = measured.weights.W.astype(np.float64)
        penalty = Penalty.of(method_arrays([self.runs[i] for i in positions]))
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("rkd,rkd->r", W, W)
            # 0 · ∞ is not a number, so weights that overflowed show without a penalty as well.
            penalties = penalty.values(W)
            finite = np.isfinite(measured.train.loss + penalties)
        for row, i in enumerate(positions):
            if finite[row]:
                self._record_run(
                    i, row, epoch, measured, float(squares[row]), float(penalties[row])
                )
                self.outcomes[i] = self._stopped(i, epoch)
            else:
                self.outcomes[i] = _diverged(self.runs[i], epoch, self.epochs[i])
        return [i for i in positions if self.outcomes[i] is None]

    def has_recorded(self, i: int, epoch: int) -> bool:
        """Whether a run went through that epoch with a finite cost."""
        return bool(np.isfinite(self.history.train_cost[i, epoch]))

    def record_curvature(self, i: int, epoch: int, curvature: float) -> None:
        """Record the curvature that a run met at the end of an epoch."""
        self._curvatures.setdefault(i, {})[epoch] = curvature

    @property
    def curvatures(self) -> dict[int, Curvature]:
        """The recorded curvatures, by run."""
        return {i: Curvature(tuple(c), tuple(c.values())) for i, c in self._curvatures.items()}

    def finish(self, positions: Sequence[int]) -> None:
        """Mark these runs as having gone through all of their epochs."""
        for i in positions:
            self.outcomes[i] = Outcome("finished", self.epochs[i])

    def interrupt(self) -> None:
        """Mark every run that has not ended as interrupted."""
        for i, outcome in enumerate(self.outcomes):
            if outcome is None:
                run, reached, kept = self.runs[i], self.reached[i], self.epochs[i]
                message = f"{_label(run)} was interrupted after {reached} of {run.epochs} epochs"
                best = f"; the weights after epoch {kept} are kept" if kept < reached else ""
                self.outcomes[i] = Outcome("interrupted", kept, f"{message}{best}.")

    def _record_run(
        self, i: int, row: int, epoch: int, measured: Measurement, squares: float, added: float
    ) -> None:
        history = self.history
        for prefix, evaluation, rows in (
            ("train", measured.train, measured.rows[0]),
            ("validation", measured.validation, measured.rows[1]),
        ):
            loss = evaluation.loss[row]
            getattr(history, f"{prefix}_loss")[i, epoch] = loss
            getattr(history, f"{prefix}_cost")[i, epoch] = loss + added
            getattr(history, f"{prefix}_accuracy")[i, epoch] = evaluation.correct[row] / rows
        history.weight_norm[i, epoch] = np.sqrt(squares)
        if self._is_best(i, epoch):
            self.weights.W[i], self.weights.b[i] = (part[row] for part in measured.weights)
            self.epochs[i] = epoch
        self.reached[i] = epoch
        if i in self.snapshots:
            with np.errstate(over="ignore"):  # a picture of weights past 65504 is white anyway
                self.snapshots[i][epoch] = measured.weights.W[row]

    def _is_best(self, i: int, epoch: int) -> bool:
        """Whether the weights of this epoch are the ones to keep; those at the start are not."""
        before = self.history.validation_loss[i, self.epochs[i]]
        if self.runs[i].patience is None or self.epochs[i] == 0 or not math.isfinite(before):
            return True
        return bool(self.history.validation_loss[i, epoch] < before)

    def _stopped(self, i: int, epoch: int) -> Outcome | None:
        """The outcome of a run whose validation loss has not fallen within its patience."""
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


# Relative error of a measured curvature: it changes by more between epochs.
CURVATURE_TOLERANCE = 1e-2

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
        """Which of these runs are measured at this epoch; at their last one, all."""
        chosen = [i for i in positions if i in self.next_due]
        return [i for i in chosen if last or epoch >= self.next_due[i]]

    def measure(self, i: int, weights: Weights, run: Run) -> float:
        """λmax of the Hessian of J on the training rows, at run i's weights (1, K, D)."""
        value, direction = largest_curvature(
            self._engine,
            self._rows,
            weights,
            Penalty.of(run),
            loss=run.loss,
            start=self.directions.get(i),
            tolerance=CURVATURE_TOLERANCE,
        )
        self.directions[i] = direction
        epoch = self.next_due[i]
        late = epoch >= EVERY_EPOCH_UP_TO
        self.next_due[i] = int(np.ceil(epoch * GROWTH)) if late else epoch + 1
        return value
