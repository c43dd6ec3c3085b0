"""The loop of training: order of rows, epochs, divergence, stopping by Ctrl-C.

Runs that can share a pass are trained together: each batch is read once for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onelayer.curvature_meter import CurvatureMeter
from onelayer.data import Dataset, Splits
from onelayer.engines import (
    Engine,
    Rows,
    State,
    Trainer,
    Weights,
    make_engine,
)
from onelayer.environment import describe_environment
from onelayer.errors import SettingsError
from onelayer.learning_rates import settle_learning_rates
from onelayer.logbook import Logbook, Measurement
from onelayer.optimum import Certificate
from onelayer.optimum.certificate import certify_weights
from onelayer.optimum.dataset import rows_of
from onelayer.plan import Run, group_passes
from onelayer.result import Outcome, Result, data_card
from onelayer.scaling import Scaling, fit_scaling
from onelayer.steps import method_of, steps_of_epoch

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Progress:
    """Where training stands: `done` of `total` run-epochs."""

    done: int
    total: int


def train(
    splits: Splits,
    runs: Sequence[Run],
    *,
    engine: Engine | None = None,
    scaling: str = "unit",
    dtype: str = "float32",
    snapshots: Sequence[int] = (),
    curvature_of: Sequence[int] = (),
    certify: bool = True,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Train every run by mini-batch gradient descent, all that can share a pass in one pass.

    W ← W − η ∂J/∂W, b ← b − η ∂J/∂b once a batch, with J = −(1/B) Σ log(yᵀ p) + λ Σ W².

    Args:
        splits: training, validation and test rows.
        runs: the settings, R ≥ 1 of them.
        engine: what does the arithmetic; None takes the default engine.
        scaling: "none", "unit" or "standardize", fitted on the training rows.
        dtype: arithmetic type, "float32" or "float64".
        snapshots: positions of runs whose W is kept at every epoch, for pictures.
        curvature_of: positions of runs whose λmax(H) is measured as they go: at every epoch up to
            the tenth, ever more rarely after, and at the last; a few passes each.
        certify: whether to prove how far each run ends from its optimum: a pass for each.
        on_progress: called after every epoch of every pass.

    Returns:
        The result. A run whose cost stops being finite is stopped alone and keeps the weights of
        its last finite epoch. Ctrl-C ends training; whole epochs trained so far are kept.

    Raises:
        SettingsError: for a batch larger than the training set or an unknown dtype or scaling.

    Warns:
        StepLengthWarning: for a learning rate above what is guaranteed to be stable.

    Example:
        >>> from onelayer.data import load
        >>> result = train(load("digits"), [Run(learning_rate=0.1, epochs=5)])
        >>> result.outcomes[0].status
        'finished'
    """
    _check(runs, dtype, splits.train)
    started = time.perf_counter()
    fitted = fit_scaling(scaling, splits.train.X, splits.train.max_value)
    start = initial_weights(runs, splits.train.classes, splits.train.features, dtype)
    chosen_engine, rows = engine or make_engine(), rows_of(splits.train, fitted)
    runs = settle_learning_rates(runs, chosen_engine, rows, splits.train.classes)
    meter = CurvatureMeter(chosen_engine, rows, curvature_of)
    job = _Job(splits, chosen_engine, fitted, Logbook(runs, start, snapshots), meter)
    clock = _Clock(sum(run.epochs for run in runs), on_progress)
    try:
        for positions in group_passes(runs):
            _train_pass(job, positions, clock)
    except KeyboardInterrupt:
        job.logbook.interrupt()
    return _close(job, time.perf_counter() - started, certify=certify)


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


@dataclass(frozen=True, eq=False)
class _Job:
    """What is trained, with what, and where it is written down."""

    splits: Splits
    engine: Engine
    scaling: Scaling
    logbook: Logbook
    meter: CurvatureMeter

    def rows(self, dataset: Dataset) -> Rows:
        return rows_of(dataset, self.scaling)

    def runs(self, positions: Sequence[int]) -> list[Run]:
        return [self.logbook.runs[i] for i in positions]

    def begin(self, positions: Sequence[int], state: State) -> Trainer:
        runs = self.runs(positions)
        if not any(run.averages for run in runs):
            # An average that no step updates any more must not stand for the weights.
            state = replace(state, average=None)
        return self.engine.begin(state, method_of(runs))

    def enter(self, positions: Sequence[int], epoch: int, trainer: Trainer) -> list[int]:
        """Measure these runs, write it down, and return those whose cost is finite."""
        measured = Measurement(
            trainer.weights(),
            trainer.evaluate(self.rows(self.splits.train)),
            trainer.evaluate(self.rows(self.splits.validation)),
            (self.splits.train.rows, self.splits.validation.rows),
        )
        finite = self.logbook.enter(positions, epoch, measured)
        last = epoch == self.logbook.runs[positions[0]].epochs
        for i in self.meter.due(finite, epoch, last=last):
            run, weights = self.logbook.runs[i], self.logbook.weights_of([i])
            self.logbook.bend(i, epoch, self.meter.measure(i, weights, run.l2))
        return finite


class _Clock:
    """Counts run-epochs for the progress report; epochs a diverged run skips count as done."""

    def __init__(self, total: int, report: Callable[[Progress], None]) -> None:
        self._done, self._total, self._report = 0, total, report

    def advance(self, run_epochs: int) -> None:
        if run_epochs == 0:
            return
        self._done += run_epochs
        self._report(Progress(self._done, self._total))


def _check(runs: Sequence[Run], dtype: str, dataset: Dataset) -> None:
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


def _train_pass(job: _Job, positions: list[int], clock: _Clock) -> None:
    """Train runs that share their batches, measuring them before training and after each epoch."""
    logbook, rows = job.logbook, job.rows(job.splits.train)
    epochs, alive = logbook.runs[positions[0]].epochs, positions
    trainer = job.begin(alive, State(logbook.weights_of(alive)))
    for epoch in range(epochs + 1):
        if epoch > 0:
            trainer.epoch(rows, steps_of_epoch(job.runs(alive), epoch, len(rows.y)))
        finite = job.enter(alive, epoch, trainer)
        diverged = len(alive) - len(finite)
        clock.advance(len(alive) * (epoch > 0) + diverged * (epochs - epoch))
        if not finite:
            return
        if diverged:
            trainer = job.begin(finite, trainer.state().of([alive.index(i) for i in finite]))
        alive = finite
    logbook.finish(alive)


def _close(job: _Job, training_seconds: float, *, certify: bool) -> Result:
    """Measure the kept weights on the test set, certify them, and gather the result."""
    logbook, splits = job.logbook, job.splits
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


def _certify(job: _Job) -> tuple[Certificate, ...]:
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
    pairs = y * classes + predicted
    counts = [np.bincount(row, minlength=classes**2) for row in pairs]
    return np.array(counts).reshape(-1, classes, classes)
