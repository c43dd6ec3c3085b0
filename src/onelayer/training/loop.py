"""Training by mini-batch descent: from settings to a result, with Ctrl-C and checkpoints.

Runs that can share a pass over the data are trained together: each batch is read once for all of
them. An epoch's steps are a function of the runs, the epoch and the number of rows alone; with the
trainer's state they are all that training needs to resume from any step.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import data_card
from onelayer.data.rows import Rows, rows_of
from onelayer.data.scaling import Scaling, fit_scaling
from onelayer.data.streaming import StoredRows, stored_rows
from onelayer.engines import AVERAGE, Engine, State, Steps, Trainer, Weights, streaming
from onelayer.errors import LearningRateWarning, SettingsError
from onelayer.files.atomic import check_replaceable, writing
from onelayer.files.provenance import describe_environment
from onelayer.model.evaluation import Reliability, count_confusion
from onelayer.model.model import Certificate
from onelayer.objective.loss import LOSS_FUNCTIONS
from onelayer.objective.penalty import Penalty
from onelayer.solver.certificate import certify_weights
from onelayer.solver.learning_rate import largest_second_moment, smoothness, stable_product
from onelayer.training.checkpoint import (
    Checkpoint,
    CheckpointInterval,
    CheckpointManager,
    fingerprint,
)
from onelayer.training.history import CurvatureMeter, HistoryRecorder, Measurement
from onelayer.training.result import Outcome, Result
from onelayer.training.row_order import mirrored_rows, row_order
from onelayer.training.run import AUTO, Run, group_passes, method_arrays, name_settings
from onelayer.training.schedule import averaging_factors, learning_rate_factors
from onelayer.training.state import Cursor, TrainingState

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Progress:
    """Progress of training: `done` of `total` run-epochs."""

    done: int
    total: int


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
    with _checkpoints(
        checkpoint, lambda: fingerprint(data, runs, chosen_engine, **choices)
    ) as kept:
        fitted = fit_scaling(scaling, data.train.X, data.train.max_value)
        choices = {"scaling": fitted.name, "dtype": dtype} | {
            "snapshots": list(snapshots),
            "curvature_of": list(curvature_of),
        }
        rows = rows_of(data.train, fitted)
        resumed = None if kept is None else kept.latest()
        if resumed is None:
            start = initial_weights(runs, data.train.classes, data.train.features, dtype)
            resolved = resolve_learning_rates(runs, chosen_engine, rows, data.train.classes)
        else:
            start, resolved = resumed.history.weights, resumed.runs
        recorder = HistoryRecorder(resolved, start, snapshots)
        meter = CurvatureMeter(chosen_engine, rows, curvature_of)
        context = TrainingContext(data, chosen_engine, fitted, recorder, meter, clock, kept)
        if resumed is not None:
            context.restore(resumed)
        try:
            train_passes(context, Cursor(0) if resumed is None else resumed.cursor)
        except KeyboardInterrupt:
            recorder.interrupt()
            if kept is not None:
                kept.flush()
    return _result(context, certify=certify)


def check_splits(function: str, data: object) -> None:
    """Refuse what is not `Splits`, such as an array of features."""
    if not isinstance(data, Splits):
        raise SettingsError(
            f"{function} needs splits, with validation and test rows, but {type(data).__name__} "
            "was given; onelayer.split(X, y) makes them of arrays."
        )


def _check(data: Splits, runs: Sequence[Run], dtype: str) -> None:
    check_splits("train", data)
    dataset = data.train
    if not runs:
        raise SettingsError("train needs at least one run.")
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
                f"flip_seed flips images, but the rows of {dataset.name} are none; leave it out."
            )


def initial_weights(runs: Sequence[Run], classes: int, features: int, dtype: str) -> Weights:
    """Weights that runs start from: W (R, K, D) and b (R, K) from N(0, init_scale²).

    Each run draws from its own seed, so it starts alike whatever it is trained beside, and in
    float64 before rounding, so both arithmetic types start from the same numbers.

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


def resolve_learning_rates(
    runs: Sequence[Run], engine: Engine, rows: Rows, classes: int
) -> tuple[Run, ...]:
    """Replace "auto" learning rates by numbers and warn about unstable ones.

    "auto" is (1 − μ)/L_B, half of what is guaranteed to be stable for random batches of the run's
    size. The warning's limit is m/L, with L = ½ λmax(X̃ᵀX̃/N) + 2λ and m = 2 without momentum
    (`onelayer.solver.learning_rate`). With a schedule both are about its longest step. Runs above
    the limit are trained all the same: their curvature is often far below the bound.
    """
    known: dict[tuple[float, int, float], float] = {}
    resolved = []
    for run in runs:
        if run.learning_rate == AUTO:
            key = (run.l2, run.batch_size, LOSS_FUNCTIONS[run.loss].curvature(classes))
            if key not in known:
                known[key] = smoothness(engine, rows, Penalty.of(run), *key[1:])[1]
            run = replace(run, learning_rate=(1.0 - run.momentum) / known[key])
        resolved.append(run)
    _warn_about_unstable_rates(resolved, engine, rows, classes)
    return tuple(resolved)


def _warn_about_unstable_rates(
    runs: Sequence[Run], engine: Engine, rows: Rows, classes: int
) -> None:
    moment = largest_second_moment(engine, rows)

    def limit(run: Run) -> float:
        smooth = LOSS_FUNCTIONS[run.loss].curvature(classes) * moment + Penalty.of(run).curvature
        return float(stable_product(run.momentum, nesterov=run.nesterov) / smooth)

    unstable = [run for run in runs if run.eta > limit(run)]
    for momentum, bound in (
        (False, "the guaranteed-stable limit {:.3g} (2/L)"),
        (True, "{:.3g}, the stable limit with momentum at the largest possible curvature "
               "(2(1 + μ)/L, for Nesterov's over 1 + 2μ)"),
    ):  # fmt: skip
        above = [run for run in unstable if (run.momentum > 0.0) == momentum]
        if above:
            rates = sorted({run.eta for run in above}, reverse=True)
            verb = "exceeds" if len(rates) == 1 else "exceed"
            warnings.warn(
                f"learning_rate {', '.join(f'{eta:g}' for eta in rates)} {verb} "
                f"{bound.format(min(map(limit, above)))}; training may still converge, check the "
                "loss curves.",
                LearningRateWarning,
                stacklevel=4,
            )


def steps_of_epoch(
    runs: Sequence[Run], epoch: int, rows: int, stored: StoredRows | None = None
) -> Steps:
    """The batches of an epoch and the step that each run takes after each.

    Args:
        runs: R settings that share a pass (`group_passes`), with learning rates as numbers.
        epoch: which, from 1.
        rows: N.
        stored: the rows where they stay in their files, whose order keeps blocks together.

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
    averaging = [averaging_factors(run.averaging, run.epochs, count, epoch) for run in runs]
    return Steps(
        batch_size=shared.batch_size,
        learning_rate=np.stack(rates, axis=1),
        averaging=np.stack(averaging, axis=1) if any(run.averages for run in runs) else None,
        order=row_order(shared.order_seed, epoch, rows, stored),
        flipped=mirrored_rows(shared.flip_seed, epoch, rows),
    )


class Clock:
    """Counts seconds, and run-epochs for progress; epochs that an ended run skips count as done."""

    def __init__(self, total: int, on_progress: Callable[[Progress], None] | None) -> None:
        self.done, self.total, self._on_progress = 0, total, on_progress
        self._earlier, self._started = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of training, with that of processes before this one."""
        return self._earlier + time.perf_counter() - self._started

    def restore(self, done: int, seconds: float) -> None:
        """Continue an earlier process's count."""
        self._earlier = seconds
        self.advance(done)

    def advance(self, run_epochs: int) -> None:
        """Count run-epochs, and report them."""
        self.done += run_epochs
        if run_epochs and self._on_progress is not None:
            self._on_progress(Progress(self.done, self.total))


@dataclass(frozen=True, eq=False)
class TrainingContext:
    """What is trained, with what, and where it is recorded; checkpoints is None without any."""

    data: Splits
    engine: Engine
    scaling: Scaling
    recorder: HistoryRecorder
    meter: CurvatureMeter
    clock: Clock
    checkpoints: CheckpointManager | None = None

    def rows(self, dataset: Dataset) -> Rows:
        """Rows of a data set as the engine reads them."""
        return rows_of(dataset, self.scaling)

    def runs(self, positions: Sequence[int]) -> list[Run]:
        """The settings of these runs."""
        return [self.recorder.runs[i] for i in positions]

    def begin(self, positions: Sequence[int], state: State) -> Trainer:
        """Start these runs from a state, or resume them."""
        runs = self.runs(positions)
        if not any(run.averages for run in runs):
            # An average that no step updates any more must not stand for the weights.
            state = replace(state, slots={n: s for n, s in state.slots.items() if n != AVERAGE})
        return self.engine.begin(state, method_arrays(runs))

    def record(self, positions: Sequence[int], epoch: int, trainer: Trainer) -> list[int]:
        """Measure these runs, record it, and return those that continue."""
        measured = Measurement(
            trainer.weights(),
            trainer.evaluate(self.rows(self.data.train)),
            trainer.evaluate(self.rows(self.data.validation)),
            (self.data.train.rows, self.data.validation.rows),
        )
        alive = self.recorder.record(positions, epoch, measured)
        finite = [i for i in positions if self.recorder.has_recorded(i, epoch)]
        self._record_curvature(positions, finite, epoch, trainer)
        return alive

    def _record_curvature(
        self, positions: Sequence[int], finite: Sequence[int], epoch: int, trainer: Trainer
    ) -> None:
        """At the weights from which steps are taken, not at the average that is kept."""
        recorder = self.recorder
        last = recorder.runs[positions[0]].epochs
        ending = [i for i in finite if recorder.outcomes[i] is not None or epoch == last]
        due = self.meter.due(ending, epoch, last=True)
        due += self.meter.due([i for i in finite if i not in ending], epoch, last=False)
        if due:
            weights = trainer.state().weights
            for i in due:
                own = weights.of([positions.index(i)])
                recorder.record_curvature(i, epoch, self.meter.measure(i, own, recorder.runs[i]))

    def offer_checkpoint(self, cursor: Cursor, trainer: Trainer) -> None:
        """Let the checkpoint manager take the state, if it is time for that."""
        if self.checkpoints is not None:
            self.checkpoints.offer(lambda: self.state(replace(cursor, state=trainer.state())))

    def state(self, cursor: Cursor) -> TrainingState:
        """The training state at that place, with copies of everything that training changes."""
        return TrainingState(
            runs=self.recorder.runs,
            cursor=cursor,
            history=self.recorder.snapshot(),
            directions=dict(self.meter.directions),
            due=dict(self.meter.next_due),
            done=self.clock.done,
            total=self.clock.total,
            seconds=self.clock.seconds,
        )

    def restore(self, state: TrainingState) -> None:
        """Put recorder, meter and clock into a saved state."""
        self.recorder.restore(state.history)
        self.meter.directions, self.meter.next_due = state.directions, state.due
        self.clock.restore(state.done, state.seconds)


def train_passes(context: TrainingContext, cursor: Cursor) -> None:
    """Train every pass from a place on; the context is in the state of that place."""
    passes = group_passes(context.recorder.runs)
    for index in range(cursor.pass_index, len(passes)):
        start = cursor if cursor.pass_index == index else Cursor(index)
        _train_pass(context, passes[index], start)
    if context.checkpoints is not None:
        context.checkpoints.finish(lambda: context.state(Cursor(len(passes))))


def _train_pass(context: TrainingContext, positions: list[int], cursor: Cursor) -> None:
    """Train runs that share their batches, measuring them before training and after each epoch."""
    recorder, epochs = context.recorder, context.recorder.runs[positions[0]].epochs
    alive = positions if cursor.state is None else list(cursor.alive)
    trainer = context.begin(alive, cursor.state or State(recorder.weights.of(alive)))
    rows = context.rows(context.data.train)  # one object for all epochs: engines keep what it needs
    for epoch in range(cursor.epoch, epochs + 1):
        if epoch > 0:
            begun = cursor.batch if epoch == cursor.epoch else 0
            steps = steps_of_epoch(context.runs(alive), epoch, len(rows.y), stored_rows(rows.X))
            interval = None if context.checkpoints is None else context.checkpoints.interval
            for batch in _take_steps(trainer, rows, steps, begun, interval):
                now = Cursor(cursor.pass_index, epoch, batch, tuple(alive))
                context.offer_checkpoint(now, trainer)
        remaining = context.record(alive, epoch, trainer)
        ended = len(alive) - len(remaining)
        context.clock.advance(len(alive) * (epoch > 0) + ended * (epochs - epoch))
        if not remaining:
            return
        if ended:
            state = trainer.state().of([alive.index(i) for i in remaining])
            trainer = context.begin(remaining, state)
        alive = remaining
        if epoch < epochs:
            now = Cursor(cursor.pass_index, epoch + 1, 0, tuple(alive))
            context.offer_checkpoint(now, trainer)
    recorder.finish(alive)


def _take_steps(
    trainer: Trainer, rows: Rows, steps: Steps, begun: int, interval: CheckpointInterval | None
) -> Iterator[int]:
    """Take the remaining steps of an epoch; yield the number of batches done after each part."""
    count = len(steps.learning_rate)
    while begun < count:
        stop = count if interval is None else min(count, begun + interval.batches)
        if (begun, stop) == (0, count):
            trainer.epoch(rows, steps)
        else:
            started = time.perf_counter()
            trainer.epoch(_visited(rows, steps, begun, stop), steps.part(begun, stop))
            if interval is not None:
                interval.adapt(stop - begun, time.perf_counter() - started)
        begun = stop
        yield begun


def _visited(rows: Rows, steps: Steps, start: int, stop: int) -> Rows:
    """The rows of these batches: an order has numbers of all rows, file order has none."""
    if steps.order is not None:
        return rows
    return rows.part(start * steps.batch_size, stop * steps.batch_size)


@contextmanager
def _checkpoints(
    checkpoint: Checkpoint | None, of: Callable[[], dict[str, Any]]
) -> Iterator[CheckpointManager | None]:
    """Hold the lock of the folder that checkpoints are written to, if any are."""
    if checkpoint is None:
        yield None
    elif not checkpoint.writes:
        yield CheckpointManager(checkpoint, of)
    else:
        check_replaceable(Path(checkpoint.folder))
        with writing(Path(checkpoint.folder)):
            yield CheckpointManager(checkpoint, of)


def _result(context: TrainingContext, *, certify: bool) -> Result:
    """Evaluate the kept weights on the test set, certify them, and gather the result."""
    recorder, data, training_seconds = context.recorder, context.data, context.clock.seconds
    started = time.perf_counter()
    whole = all(o is not None and o.status != "interrupted" for o in recorder.outcomes)
    plain = all(r.loss == "softmax" and r.label_smoothing == 0.0 for r in recorder.runs)
    certificates = _certify(context) if certify and whole and plain else ()
    certifying = time.perf_counter() - started
    trainer = context.begin(range(len(recorder.runs)), State(recorder.weights))
    test = context.rows(data.test)
    result = Result(
        runs=recorder.runs,
        outcomes=tuple(outcome or Outcome("interrupted", 0) for outcome in recorder.outcomes),
        W=recorder.weights.W,
        b=recorder.weights.b,
        scaling=context.scaling,
        history=recorder.history,
        test_loss=trainer.evaluate(test).loss,
        confusion=np.array(
            [count_confusion(data.test.y, row, data.test.classes) for row in trainer.predict(test)]
        ),
        data=data_card(data),
        snapshots=recorder.snapshots,
        certificates=certificates,
        curvatures=recorder.curvatures,
        environment=describe_environment()
        | context.engine.describe()
        | {"dtype": str(recorder.weights.W.dtype)},
        seconds={"train": training_seconds, "certify": certifying},
    )
    return result.with_records(reliability=_reliability(result, data.test))


def _reliability(result: Result, test: Dataset) -> dict[int, Reliability]:
    """Accuracy by confidence on the test rows, of the runs whose W is kept at every epoch."""
    shown = [i for i in result.snapshots if result.runs[i].loss == "softmax" and test.rows]
    return {i: result.model(i).evaluate(test).reliability for i in shown}


def _certify(context: TrainingContext) -> tuple[Certificate, ...]:
    recorder, rows = context.recorder, context.rows(context.data.train)
    W, b = (part.astype(np.float64) for part in recorder.weights)
    return tuple(
        certify_weights(context.engine, rows, W[i], b[i], Penalty.of(run)).given
        for i, run in enumerate(recorder.runs)
    )
