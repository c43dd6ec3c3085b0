"""The training state: everything needed to resume bit for bit, in one record.

Training changes it in place as epochs end; a checkpoint is a copy of it, written by
`onelayer.training.checkpoint`. docs/guide/checkpoints.md describes the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.engines import AVERAGE, State, Weights
from onelayer.objective.penalty import Penalty, squared_norms
from onelayer.training.result import Curvature, History, Outcome
from onelayer.training.run import AUTO, Run, group_passes, method_arrays

# Mean loss and accuracy of each run of a pass on one part of the rows, shape (R,) each.
Figures = tuple[NDArray[np.float64], NDArray[np.float64]]

GROWTH = 1.25


@dataclass(frozen=True, eq=False)
class Cursor:
    """A place in the sequence of steps, which itself follows from the runs' seeds."""

    pass_index: int  # in the order of `group_passes`; their number when all are done
    epoch: int = 0  # 0 is the measurement before the first
    batch: int = 0  # number of its batches that are done
    alive: tuple[int, ...] = ()  # positions of the runs in the pass that continue
    state: State | None = None  # None: all start from the weights that they have


@dataclass(eq=False)
class TrainingState:
    """What R runs in training have come to. An epoch of a run is recorded whole or not at all."""

    runs: tuple[Run, ...]  # with learning rates as numbers
    weights: Weights  # to keep: of the last epoch of finite cost, or the best with patience
    history: History
    outcomes: list[Outcome | None]  # None while a run continues
    epochs: list[int]  # whole epochs behind the weights that each run keeps
    # Whole epochs that each run has gone through with a finite cost. What a checkpoint has of later
    # ones was recorded after its moment and does not count.
    reached: list[int]
    snapshots: dict[int, NDArray[np.float16]]  # by position, W at every epoch
    curvatures: dict[int, dict[int, float]]  # by position and epoch
    directions: dict[int, NDArray[np.float64]]  # where the next measurement of it starts
    due: dict[int, int]  # by position, the epoch at which the curvature is measured next
    cursor: Cursor = field(default_factory=lambda: Cursor(0))
    # By pass, where it ended, as the beginning of a further epoch; `state` is None where the
    # weights that are kept are all of it.
    ends: dict[int, Cursor] = field(default_factory=dict)
    done: int = 0  # epochs; those that an ended run skips count as done
    seconds: float = 0.0  # wall time of training so far

    @classmethod
    def start(
        cls,
        runs: Sequence[Run],
        weights: Weights,
        snapshots: Sequence[int] = (),
        curvature_of: Sequence[int] = (),
    ) -> TrainingState:
        """The state before the first step, from these weights."""
        shape = weights.W.shape[1:]
        return cls(
            runs=tuple(runs),
            weights=Weights(weights.W.copy(), weights.b.copy()),
            history=History.empty(len(runs), max(run.epochs for run in runs)),
            outcomes=[None] * len(runs),
            epochs=[0] * len(runs),
            reached=[0] * len(runs),
            snapshots={
                i: np.full((runs[i].epochs + 1, *shape), np.nan, np.float16) for i in snapshots
            },
            curvatures={},
            directions={},
            due=dict.fromkeys(curvature_of, 0),
        )

    @property
    def total(self) -> int:
        """Run-epochs of all runs."""
        return sum(run.epochs for run in self.runs)

    def copy(self, cursor: Cursor, seconds: float) -> TrainingState:
        """The state at this place; arrays that only grow are not copied."""
        return replace(
            self,
            weights=self.weights.of(range(len(self.runs))),
            outcomes=list(self.outcomes),
            epochs=list(self.epochs),
            reached=list(self.reached),
            curvatures={i: dict(values) for i, values in self.curvatures.items()},
            directions=dict(self.directions),
            due=dict(self.due),
            cursor=cursor,
            ends=dict(self.ends),
            seconds=seconds,
        )

    def sizes(
        self,
        runs: Sequence[Run],
        weights: Weights,
        rows: int,
        snapshots: Sequence[int],
        curvature_of: Sequence[int],
    ) -> Iterator[tuple[str, Any, Any]]:
        """Name, value and expected value of all that must fit these runs, weights and rows."""
        expected = [
            replace(run, learning_rate=own.eta) if run.learning_rate == AUTO else run
            for run, own in zip(runs, self.runs, strict=False)
            if AUTO not in (own.learning_rate, own.batch_size)
        ]
        yield "runs", self.runs, tuple(expected)
        yield "runs", len(self.runs), len(runs)
        R, K, D = weights.W.shape
        yield "weights", _kind(self.weights), _kind(weights)
        epochs = [run.epochs for run in runs]
        for name in History.measures():
            yield f"history.{name}", getattr(self.history, name).shape, (R, max(epochs) + 1)
        yield "outcomes", len(self.outcomes), R
        for name, values in (("epochs", self.epochs), ("reached", self.reached)):
            yield name, len(values), R
            yield (
                name,
                values,
                [_within(0, value, most) for value, most in zip(values, epochs, strict=True)],
            )
        shapes = {i: (epochs[i] + 1, K, D) for i in snapshots}
        yield "snapshots", {i: shots.shape for i, shots in self.snapshots.items()}, shapes
        yield "due", set(self.due), set(curvature_of)
        for name in ("curvatures", "directions"):
            yield name, set(getattr(self, name)) - set(self.due), set()
        for i, direction in self.directions.items():
            yield f"directions.{i}", direction.shape, (K, D + 1)
        finite = [*self.weights, *self.directions.values()]
        yield "finite arrays", sum(bool(np.isfinite(part).all()) for part in finite), len(finite)
        yield "done", self.done, _within(0, self.done, self.total)
        passes, place = group_passes(runs), self.cursor
        most = len(passes) - (place.state is not None)
        yield "cursor.pass_index", place.pass_index, _within(0, place.pass_index, most)
        if place.state is None:
            yield "cursor", (place.epoch, place.batch, place.alive), (0, 0, ())
        else:
            yield from self._cursor_sizes("cursor", place, passes, weights, rows)
        for index, end in self.ends.items():
            yield f"ends.{index}.pass_index", end.pass_index, index
            yield f"ends.{index}.pass_index", index, _within(0, index, len(passes) - 1)
            yield from self._cursor_sizes(f"ends.{index}", end, passes, weights, rows)
        yield from self._ended_sizes(passes)

    def _ended_sizes(self, passes: list[list[int]]) -> Iterator[tuple[str, Any, Any]]:
        """Runs of earlier passes have ended, and those of later ones have not begun."""
        place = self.cursor
        for index, positions in enumerate(passes):
            begun = index < place.pass_index + (place.state is not None)
            for i in positions if index not in self.ends else ():
                ended = begun and (index < place.pass_index or i not in place.alive)
                yield f"outcomes.{i}", self.outcomes[i] is not None, ended
                if not begun:
                    yield f"reached.{i}", (self.reached[i], self.epochs[i]), (0, 0)
        for i, outcome in enumerate(self.outcomes):
            if outcome is not None:
                yield f"outcomes.{i}.status", outcome.status == "interrupted", False
                yield f"outcomes.{i}.epochs", outcome.epochs, self.epochs[i]

    def _cursor_sizes(
        self, name: str, place: Cursor, passes: list[list[int]], weights: Weights, rows: int
    ) -> Iterator[tuple[str, Any, Any]]:
        run, alive = self.runs[passes[place.pass_index][0]], place.alive
        epochs = run.epochs + (name != "cursor")
        yield f"{name}.epoch", place.epoch, _within(name != "cursor", place.epoch, epochs)
        yield f"{name}.batch", place.batch, _within(0, place.batch, -(-rows // run.batch))
        in_pass = tuple(i for i in passes[place.pass_index] if i in alive)
        least = (passes[place.pass_index][0],) if place.state else ()
        yield f"{name}.alive", alive, in_pass or least
        if place.state is None:
            return
        current = weights.of(alive)
        for part in (place.state.weights, *place.state.slots.values()):
            yield f"{name}.state", _kind(part), _kind(current)
        slots = {*method_arrays([self.runs[i] for i in alive]).slots, AVERAGE}
        yield f"{name}.state.slots", set(place.state.slots) - slots, set()

    def go_on(self, runs: Sequence[Run]) -> None:
        """Take these runs for the same ones with more epochs; all that is done stays as it is."""
        passes, before = group_passes(self.runs), self.runs
        if self.cursor.state is not None:
            self.ends[self.cursor.pass_index] = self.cursor
        self.cursor = Cursor(0)
        self.runs = tuple(
            replace(own, epochs=run.epochs, name=run.name)
            for own, run in zip(self.runs, runs, strict=True)
        )
        for i, (old, run) in enumerate(zip(before, self.runs, strict=True)):
            if (outcome := self.outcomes[i]) is None:
                continue
            message = outcome.message.replace(repr(old.name), repr(run.name))
            self.outcomes[i] = replace(outcome, message=message)
            if run.epochs > old.epochs and outcome.status == "finished":
                self.outcomes[i] = self._stopped(i, old.epochs)
        for index, end in self.ends.items():
            alive = [i for i in end.alive if self.outcomes[i] is None]
            if self.runs[passes[index][0]].epochs >= end.epoch and len(alive) < len(end.alive):
                state = end.state and end.state.of([end.alive.index(i) for i in alive])
                self.ends[index] = replace(end, alive=tuple(alive), state=state if alive else None)
        longest = max(run.epochs for run in runs) + 1
        self.history = History(
            **{name: _padded(getattr(self.history, name), longest) for name in History.measures()}
        )
        for i, shots in self.snapshots.items():
            self.snapshots[i] = _padded(shots.T, self.runs[i].epochs + 1).T
        for i, due in self.due.items():
            self.due[i] = min(due, _next_due(before[i].epochs))
        self.done = sum(
            self.reached[i] if outcome is None else self.runs[i].epochs
            for i, outcome in enumerate(self.outcomes)
        )

    def forget_later(self) -> None:
        """Clear what was recorded after the moment of the copy."""
        for i, epoch in enumerate(self.reached):
            for name in History.measures():
                getattr(self.history, name)[i, epoch + 1 :] = np.nan
            if i in self.snapshots:
                self.snapshots[i][epoch + 1 :] = np.nan

    def record(
        self, positions: Sequence[int], epoch: int, weights: Weights, figures: Mapping[str, Figures]
    ) -> list[int]:
        """Record an epoch of these runs, by figures of each part; return those that continue."""
        W = weights.W.astype(np.float64)
        penalty = Penalty.of(method_arrays([self.runs[i] for i in positions]))
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.sqrt(squared_norms(W))
            # 0 · ∞ is not a number, so weights that overflowed show without a penalty as well.
            penalties = penalty.values(W)
            finite = np.isfinite(figures["train"][0] + penalties)
        for row, i in enumerate(positions):
            if not finite[row]:
                self.outcomes[i] = _diverged(self.runs[i], epoch, self.epochs[i])
                continue
            for part, (loss, accuracy) in figures.items():
                getattr(self.history, f"{part}_loss")[i, epoch] = loss[row]
                getattr(self.history, f"{part}_cost")[i, epoch] = loss[row] + penalties[row]
                getattr(self.history, f"{part}_accuracy")[i, epoch] = accuracy[row]
            self.history.weight_norm[i, epoch] = norms[row]
            if self._is_best(i, epoch):
                self.weights.W[i], self.weights.b[i] = (part[row] for part in weights)
                self.epochs[i] = epoch
            self.reached[i] = epoch
            if i in self.snapshots:
                with np.errstate(over="ignore"):  # a picture of weights past 65504 is white anyway
                    self.snapshots[i][epoch] = weights.W[row]
            self.outcomes[i] = self._stopped(i, epoch)
        return [i for i in positions if self.outcomes[i] is None]

    def curvature_due(self, positions: Sequence[int], epoch: int) -> list[int]:
        """Those of these runs whose curvature is measured now; at the end of a run, always."""
        return [
            i
            for i in positions
            if i in self.due and math.isfinite(self.history.train_cost[i, epoch])
            if epoch >= self.due[i] or self.outcomes[i] or epoch == self.runs[i].epochs
        ]

    def record_curvature(
        self, i: int, epoch: int, value: float, direction: NDArray[np.float64]
    ) -> None:
        """Record the curvature that a run met at the end of an epoch, and its direction."""
        self.curvatures.setdefault(i, {})[epoch] = value
        self.directions[i] = direction
        self.due[i] = _after(self.due[i])

    def measured_curvatures(self) -> dict[int, Curvature]:
        """The recorded curvatures, by run."""
        return {i: Curvature(tuple(c), tuple(c.values())) for i, c in self.curvatures.items()}

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

    def _is_best(self, i: int, epoch: int) -> bool:
        """Whether the weights of this epoch are the ones to keep; those at the start are not."""
        losses = self.history.validation_loss[i]
        before = losses[self.epochs[i]]
        if self.runs[i].patience is None or self.epochs[i] == 0 or not math.isfinite(before):
            return True
        return bool(losses[epoch] < before)

    def _stopped(self, i: int, epoch: int) -> Outcome | None:
        """The outcome of a run whose validation loss has not fallen within its patience."""
        patience, waited = self.runs[i].patience, epoch - self.epochs[i]
        if patience is None or waited < patience or epoch == self.runs[i].epochs:
            return None
        return Outcome("stopped", self.epochs[i])


def _after(due: int) -> int:
    """The epoch at which the curvature is measured after this one."""
    # The curvature is measured at every epoch up to this one, and after it ever more rarely.
    return math.ceil(due * GROWTH) if due >= 10 else due + 1


def _next_due(epoch: int) -> int:
    """The first epoch after this one at which it is."""
    due = 0
    while due <= epoch:
        due = _after(due)
    return due


def _padded(values: NDArray[Any], columns: int) -> NDArray[Any]:
    """With so many columns in all; the further ones are NaN."""
    missing = [(0, 0)] * (values.ndim - 1) + [(0, columns - values.shape[-1])]
    return np.pad(values, missing, constant_values=np.nan)


def _kind(weights: Weights) -> list[tuple[tuple[int, ...], str]]:
    return [(part.shape, part.dtype.name) for part in weights]


def _within(least: int, value: int, most: int) -> int:
    return min(max(least, value), most)


def _label(run: Run) -> str:
    return f"the run {run.name!r} (seed {run.seed})"


def _diverged(run: Run, epoch: int, kept: int) -> Outcome:
    return Outcome(
        "diverged",
        kept,
        f"{_label(run)} diverged in epoch {epoch}: with η = {run.eta:g} its cost is no "
        f"longer finite; the weights after epoch {kept} are kept. Try a smaller learning_rate.",
    )
