"""The loop over passes, epochs and batches: measuring, divergence, and places to go on from.

Runs that can share a pass are trained together: each batch is read once for all of them.

What engines are told of runs: the method of each, and the steps of an epoch.

An epoch's steps are a function of the runs, the epoch and the number of rows alone. With the
trainer's state they are all that training needs to go on, from any epoch and, by `Steps.part`,
from any step.

Training from settings to a result, with Ctrl-C and checkpoints on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import data_card
from onelayer.data.rows import Rows, rows_of
from onelayer.data.scaling import Scaling, fit_scaling
from onelayer.data.streaming import StoredRows, stored_rows
from onelayer.engines import AVERAGE, Engine, State, Steps, Trainer, Weights, streaming
from onelayer.errors import SettingsError
from onelayer.files.atomic import check_replaceable, writing
from onelayer.files.provenance import describe_environment
from onelayer.model.model import Certificate
from onelayer.solver.certificate import certify_weights
from onelayer.training.checkpoint import Checkpoint, Keeper, Pace, made_of
from onelayer.training.history import CurvatureMeter, Logbook, Measurement, settle_learning_rates
from onelayer.training.result import Outcome, Result
from onelayer.training.run import Run, group_passes, method_arrays, name_settings
from onelayer.training.schedule import (
    averaging_shares,
    learning_rate_factors,
    mirrored_rows,
    row_order,
)
from onelayer.training.state import Place, Standing


def steps_of_epoch(
    runs: Sequence[Run], epoch: int, rows: int, stored: StoredRows | None = None
) -> Steps:
    """The batches of an epoch and the step that each run takes after each.

    Args:
        runs: R settings that share a pass (`group_passes`), with settled rates.
        epoch: which, from 1.
        rows: N.
        stored: the rows where they stay in their files, whose order keeps blocks together.

    Returns:
        The steps.

    Example:
        >>> steps = steps_of_epoch([Run(0.1, schedule="cosine", epochs=2, batch_size=5)], 2, 10)
        >>> steps.learning_rate.round(4).tolist()
        [[0.05], [0.0146]]
    """
    shared = runs[0]
    count = -(-rows // shared.batch_size)
    rates = [
        run.eta * learning_rate_factors(run.schedule, run.warmup, run.epochs, count, epoch)
        for run in runs
    ]
    shares = [averaging_shares(run.averaging, run.epochs, count, epoch) for run in runs]
    return Steps(
        batch_size=shared.batch_size,
        learning_rate=np.stack(rates, axis=1),
        averaging=np.stack(shares, axis=1) if any(run.averages for run in runs) else None,
        order=row_order(shared.order_seed, epoch, rows, stored),
        flipped=mirrored_rows(shared.flip_seed, epoch, rows),
    )


@dataclass(frozen=True)
class Progress:
    """Where training stands: `done` of `total` run-epochs."""

    done: int
    total: int


class Clock:
    """Counts run-epochs for the progress report, and seconds.

    Epochs that an ended run skips count as done.
    """

    def __init__(self, total: int, report: Callable[[Progress], None] | None) -> None:
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
        self.done += run_epochs
        if run_epochs and self._report is not None:
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
            state = replace(state, slots={n: s for n, s in state.slots.items() if n != AVERAGE})
        return self.engine.begin(state, method_arrays(runs))

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


DTYPES = ("float32", "float64")


def train(
    data: Splits,
    runs: Run | Sequence[Run],
    *,
    engine: Engine | str | None = None,
    scaling: str = "auto",
    dtype: str = "float32",
    certify: bool = True,
    checkpoint: Checkpoint | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    snapshots: Sequence[int] = (),
    curvature_of: Sequence[int] = (),
) -> Result:
    """Train every run by mini-batch gradient descent, all that can share a pass in one pass.

    W ← W − η ∂J/∂W, b ← b − η ∂J/∂b once a batch, with J = −(1/B) Σ log(yᵀ p) + λ Σ W².

    Args:
        data: training, validation and test rows.
        runs: the settings, R ≥ 1 of them.
        engine: what does the arithmetic: "native", "reference", "torch", or what `make_engine`
            returns; None is "native".
        scaling: "auto", "none", "unit" or "standardize", fitted to the training rows.
        dtype: arithmetic type, "float32" or "float64".
        certify: whether to prove each run's distance from its optimum: a pass for each.
        checkpoint: where and how often checkpoints are written, and whether to resume from them.
            `Result.save` to the same folder replaces them.
        on_progress: called after every epoch of every pass.
        snapshots: positions of runs whose W is kept at every epoch, for pictures.
        curvature_of: positions of runs whose λmax(H) is measured while they train: at every epoch
            up to the tenth, more rarely after, and at the last; a few passes each.

    Returns:
        The result. A run whose cost is no longer finite, or whose patience ends, is stopped alone
        and keeps the weights of its last finite epoch, or of its best. Ctrl-C ends training; whole
        epochs trained before it are kept.

    Raises:
        SettingsError: for a batch larger than the training set, or an unknown dtype or scaling.

    Warns:
        LearningRateWarning: for a learning rate above the guaranteed-stable limit.

    Example:
        >>> from onelayer import Run, load, train
        >>> result = train(load("digits"), Run(learning_rate=0.1, epochs=5))
        >>> result.outcomes[0].status
        'finished'
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    _check(data, runs, dtype)
    runs = name_settings(runs)
    clock = Clock(sum(run.epochs for run in runs), on_progress)
    chosen_engine = streaming(engine)
    with _keeping(checkpoint, lambda: made_of(data, runs, chosen_engine, **choices)) as keeper:
        fitted = fit_scaling(scaling, data.train.X, data.train.max_value)
        choices = {"scaling": fitted.name, "dtype": dtype} | {
            "snapshots": list(snapshots),
            "curvature_of": list(curvature_of),
        }
        standing = None if keeper is None else keeper.latest()
        rows = rows_of(data.train, fitted)
        if standing is None:
            start = initial_weights(runs, data.train.classes, data.train.features, dtype)
            settled = settle_learning_rates(runs, chosen_engine, rows, data.train.classes)
        else:
            settled, start = standing.runs, standing.entries.weights
        logbook = Logbook(settled, start, snapshots)
        meter = CurvatureMeter(chosen_engine, rows, curvature_of)
        job = Job(data, chosen_engine, fitted, logbook, meter, clock, keeper)
        if standing is not None:
            job.go_on_from(standing)
        try:
            train_passes(job, Place(0) if standing is None else standing.place)
        except KeyboardInterrupt:
            logbook.interrupt()
            if keeper is not None:
                keeper.flush()
    return _close(job, certify=certify)


def initial_weights(runs: Sequence[Run], classes: int, features: int, dtype: str) -> Weights:
    """Draw the weights that the runs start from: W and b from N(0, init_scale²).

    Each run draws from its own seed, so it starts alike whatever it is trained beside, and in
    float64 before it is rounded, so both arithmetic types start from the same numbers.

    Args:
        runs: R settings; seed and init_scale are used.
        classes: K.
        features: D.
        dtype: "float32" or "float64".

    Returns:
        W (R, K, D) and b (R, K).

    Example:
        >>> initial_weights([Run(0.1)], classes=10, features=3072, dtype="float32").W.shape
        (1, 10, 3072)
    """
    W = np.empty((len(runs), classes, features), dtype)
    b = np.empty((len(runs), classes), dtype)
    for r, run in enumerate(runs):
        rng = np.random.default_rng(run.seed)
        W[r] = rng.normal(0.0, run.init_scale, (classes, features))
        b[r] = rng.normal(0.0, run.init_scale, classes)
    return Weights(W, b)


def _check(data: Splits, runs: Sequence[Run], dtype: str) -> None:
    if not isinstance(data, Splits):
        raise SettingsError(
            "train needs splits, with validation and test rows, but "
            f"{type(data).__name__} was given; see onelayer.split."
        )
    dataset = data.train
    if not runs:
        raise SettingsError("training needs at least one run, but none was given.")
    if dtype not in DTYPES:
        choices = " or ".join(DTYPES)
        raise SettingsError(f"dtype must be {choices}, but {dtype!r} was given.")
    for run in runs:
        if run.batch_size > dataset.rows:
            raise SettingsError(
                f"batch_size must be at most the number of training rows, {dataset.rows}, "
                f"but {run.batch_size} was given for the run {run.name!r}."
            )
        if run.flip_seed is not None and dataset.image_shape is None:
            raise SettingsError(
                f"flip_seed mirrors images, but the rows of {dataset.name} are none; leave it out."
            )


@contextmanager
def _keeping(
    checkpoint: Checkpoint | None, made_of: Callable[[], dict[str, Any]]
) -> Iterator[Keeper | None]:
    """Hold the lock of the folder that checkpoints are written in, where any are."""
    if checkpoint is None:
        yield None
        return
    if not checkpoint.writes:
        yield Keeper(checkpoint, made_of)
        return
    check_replaceable(Path(checkpoint.folder))
    with writing(Path(checkpoint.folder)):
        yield Keeper(checkpoint, made_of)


def _close(job: Job, *, certify: bool) -> Result:
    """Measure the kept weights on the test set, certify them, and gather the result."""
    logbook, splits, training_seconds = job.logbook, job.splits, job.clock.seconds
    started = time.perf_counter()
    whole = all(o is not None and o.status != "interrupted" for o in logbook.outcomes)
    plain = all(r.loss == "softmax" and r.label_smoothing == 0.0 for r in logbook.runs)
    certificates = _certify(job) if certify and whole and plain else ()
    certifying = time.perf_counter() - started
    everyone = range(len(logbook.runs))
    trainer, test = job.begin(everyone, State(logbook.weights)), job.rows(splits.test)
    predicted = trainer.predict(test)
    return Result(
        runs=logbook.runs,
        outcomes=tuple(o or Outcome("interrupted", 0) for o in logbook.outcomes),
        W=logbook.weights.W,
        b=logbook.weights.b,
        scaling=job.scaling,
        history=logbook.history,
        test_loss=trainer.evaluate(test).loss,
        confusion=_confusion(splits.test.y, predicted, splits.test.classes),
        data=data_card(splits),
        snapshots=logbook.snapshots,
        certificates=certificates,
        curvatures=logbook.curvatures,
        environment=describe_environment()
        | job.engine.describe()
        | {"dtype": str(logbook.weights.W.dtype)},
        seconds={"train": training_seconds, "certify": certifying},
    )


def _certify(job: Job) -> tuple[Certificate, ...]:
    """How far each run's kept weights can be from the optimum of its λ."""
    logbook, rows = job.logbook, job.rows(job.splits.train)
    W, b = (part.astype(np.float64) for part in logbook.weights)
    return tuple(
        certify_weights(job.engine, rows, W[i], b[i], run.l2).given
        for i, run in enumerate(logbook.runs)
    )


def _confusion(
    y: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Rows by true class (axis 1) and predicted class (axis 2), for each run."""
    counts = [np.bincount(y * classes + row, minlength=classes**2) for row in predicted]
    return np.array(counts).reshape(-1, classes, classes)
