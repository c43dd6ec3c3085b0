"""The loop over passes, epochs and batches: measuring, divergence, and places to go on from.

Runs that can share a pass are trained together: each batch is read once for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from onelayer.checkpoints import Keeper, Pace
from onelayer.curvature_meter import CurvatureMeter
from onelayer.data import Dataset, Splits
from onelayer.engines import Engine, Rows, State, Steps, Trainer
from onelayer.logbook import Logbook, Measurement
from onelayer.optimum.dataset import rows_of
from onelayer.plan import Run, group_passes
from onelayer.scaling import Scaling
from onelayer.standing import Place, Standing
from onelayer.steps import method_of, steps_of_epoch
from onelayer.stored import stored_rows


@dataclass(frozen=True)
class Progress:
    """Where training stands: `done` of `total` run-epochs."""

    done: int
    total: int


class Clock:
    """Counts run-epochs for the progress report, and seconds.

    Epochs that an ended run skips count as done.
    """

    def __init__(self, total: int, report: Callable[[Progress], None]) -> None:
        self.done, self.total, self._report = 0, total, report
        self._earlier, self._started = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of training, with that of processes before this one."""
        return self._earlier + time.perf_counter() - self._started

    def go_on_from(self, done: int, seconds: float) -> None:
        """Count on from where an earlier process stood."""
        self._earlier = seconds
        self.advance(done)

    def advance(self, run_epochs: int) -> None:
        """Count run-epochs, and report them."""
        if run_epochs:
            self.done += run_epochs
            self._report(Progress(self.done, self.total))


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained, with what, and where it is written down.

    Attributes:
        splits: the data.
        engine: what does the arithmetic.
        scaling: the affine map of the features.
        logbook: history, weights and outcomes.
        meter: measures the curvature of chosen runs.
        clock: counts what is done.
        keeper: writes checkpoints; None where none are wanted.
    """

    splits: Splits
    engine: Engine
    scaling: Scaling
    logbook: Logbook
    meter: CurvatureMeter
    clock: Clock
    keeper: Keeper | None = None

    def rows(self, dataset: Dataset) -> Rows:
        """Rows of a data set as the engine reads them."""
        return rows_of(dataset, self.scaling)

    def runs(self, positions: Sequence[int]) -> list[Run]:
        """The settings of these runs."""
        return [self.logbook.runs[i] for i in positions]

    def begin(self, positions: Sequence[int], state: State) -> Trainer:
        """Start these runs, or go on with them, from where they stand."""
        runs = self.runs(positions)
        if not any(run.averages for run in runs):
            # An average that no step updates any more must not stand for the weights.
            state = replace(state, average=None)
        return self.engine.begin(state, method_of(runs))

    def enter(self, positions: Sequence[int], epoch: int, trainer: Trainer) -> list[int]:
        """Measure these runs, write it down, and return those that go on."""
        measured = Measurement(
            trainer.weights(),
            trainer.evaluate(self.rows(self.splits.train)),
            trainer.evaluate(self.rows(self.splits.validation)),
            (self.splits.train.rows, self.splits.validation.rows),
        )
        going_on = self.logbook.enter(positions, epoch, measured)
        finite = [i for i in positions if self.logbook.has_entered(i, epoch)]
        self._measure_curvature(positions, finite, epoch, trainer)
        return going_on

    def _measure_curvature(
        self, positions: Sequence[int], finite: Sequence[int], epoch: int, trainer: Trainer
    ) -> None:
        """Where steps are taken from, which is not the average that is kept."""
        whole = self.logbook.runs[positions[0]].epochs
        ending = [i for i in finite if self.logbook.outcomes[i] is not None or epoch == whole]
        due = self.meter.due(ending, epoch, last=True)
        due += self.meter.due([i for i in finite if i not in ending], epoch, last=False)
        if due:
            weights = trainer.state().weights
            for i in due:
                at = weights.of([positions.index(i)])
                curvature = self.meter.measure(i, at, self.logbook.runs[i])
                self.logbook.bend(i, epoch, curvature)

    def go_on_from(self, standing: Standing) -> None:
        """Put logbook, meter and clock where an earlier process stood."""
        self.logbook.take(standing.entries)
        self.meter.directions, self.meter.next_due = standing.directions, standing.due
        self.clock.go_on_from(standing.done, standing.seconds)

    def standing(self, place: Place) -> Standing:
        """Where training stands at that place, with copies of all that it changes."""
        return Standing(
            runs=self.logbook.runs,
            place=place,
            entries=self.logbook.entries(),
            directions=dict(self.meter.directions),
            due=dict(self.meter.next_due),
            done=self.clock.done,
            total=self.clock.total,
            seconds=self.clock.seconds,
        )


def train_passes(job: Job, place: Place) -> None:
    """Train every pass, from a place on.

    Args:
        job: what is trained; its logbook stands at that place.
        place: where to begin.
    """
    passes = group_passes(job.logbook.runs)
    for sharing in range(place.sharing, len(passes)):
        here = place if place.sharing == sharing else Place(sharing)
        _train_pass(job, passes[sharing], here)
    if job.keeper is not None:
        job.keeper.finish(lambda: job.standing(Place(len(passes))))


def _train_pass(job: Job, positions: list[int], place: Place) -> None:
    """Train runs that share their batches, measuring them before training and after each epoch."""
    logbook, epochs = job.logbook, job.logbook.runs[positions[0]].epochs
    alive = positions if place.state is None else list(place.alive)
    trainer = job.begin(alive, place.state or State(logbook.weights_of(alive)))
    rows = job.rows(job.splits.train)  # the same for all epochs, as what an engine keeps of them
    for epoch in range(place.epoch, epochs + 1):
        if epoch > 0:
            begun = place.batch if epoch == place.epoch else 0
            steps = steps_of_epoch(job.runs(alive), epoch, len(rows.y), stored_rows(rows.X))
            pace = None if job.keeper is None else job.keeper.pace
            for batch in _in_parts(trainer, rows, steps, begun, pace):
                _offer(job, Place(place.sharing, epoch, batch, tuple(alive)), trainer)
        going_on = job.enter(alive, epoch, trainer)
        ended = len(alive) - len(going_on)
        job.clock.advance(len(alive) * (epoch > 0) + ended * (epochs - epoch))
        if not going_on:
            return
        if ended:
            trainer = job.begin(going_on, trainer.state().of([alive.index(i) for i in going_on]))
        alive = going_on
        if epoch < epochs:
            _offer(job, Place(place.sharing, epoch + 1, 0, tuple(alive)), trainer)
    logbook.finish(alive)


def _in_parts(
    trainer: Trainer, rows: Rows, steps: Steps, begun: int, pace: Pace | None
) -> Iterator[int]:
    """Take the batches of an epoch that are left; yield how many are done after each part."""
    count = len(steps.learning_rate)
    while begun < count:
        stop = count if pace is None else min(count, begun + pace.batches)
        if (begun, stop) == (0, count):
            trainer.epoch(rows, steps)
        else:
            started = time.perf_counter()
            trainer.epoch(_visited(rows, steps, begun, stop), steps.part(begun, stop))
            if pace is not None:
                pace.learn(stop - begun, time.perf_counter() - started)
        begun = stop
        yield begun


def _visited(rows: Rows, steps: Steps, start: int, stop: int) -> Rows:
    """The rows of these batches: an order has numbers of all rows, file order has none."""
    if steps.order is not None:
        return rows
    return rows.part(start * steps.batch_size, stop * steps.batch_size)


def _offer(job: Job, place: Place, trainer: Trainer) -> None:
    if job.keeper is not None:
        job.keeper.offer(lambda: job.standing(replace(place, state=trainer.state())))
