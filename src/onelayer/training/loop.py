"""Training by mini-batch descent: from settings to a result, with Ctrl-C and checkpoints.

Runs that can share a pass over the data are trained together: each batch is read once for all of
them. An epoch's steps are a function of the runs, the epoch and the number of rows alone; with the
trainer's state they are all that training needs to resume from any step.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data import Dataset, Splits
from onelayer.data.dataset import data_card, require_splits
from onelayer.data.mapped import check_mapped
from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.progress import notebook_bar, quiet
from onelayer.data.rows import Rows, class_weight_setting, rows_of, rows_to_fit, without_weightless
from onelayer.data.scaling import Scaling, resolve_scaling, warn_of_lost_digits
from onelayer.data.streaming import StoredRows, stored_rows
from onelayer.data.weights import ClassWeight
from onelayer.engines import AVERAGE, Engine, State, Steps, Trainer, Weights, streaming
from onelayer.errors import (
    LearningRateWarning,
    SettingsError,
    as_values,
    known_options,
    one_line,
    require_choice,
)
from onelayer.files.provenance import describe_environment
from onelayer.files.records import check_sizes
from onelayer.model.certificate import Certificate
from onelayer.model.evaluation import count_confusion
from onelayer.model.metrics import Metric, metric_of
from onelayer.model.scored_rows import read_scores, row_tiles
from onelayer.objective.loss import check_loss, loss_function
from onelayer.objective.penalty import Penalty
from onelayer.solver.certificate import certify_all
from onelayer.solver.learning_rate import (
    largest_curvatures,
    largest_second_moment,
    smoothness,
    stable_product,
)
from onelayer.solver.selection import score
from onelayer.training.checkpoint import (
    Checkpoint,
    CheckpointManager,
    Fingerprint,
    fingerprint,
    why_not_longer,
    with_fewer_epochs,
)
from onelayer.training.result import History, Outcome, Result
from onelayer.training.row_order import mirrored_rows, row_order
from onelayer.training.run import (
    AUTO,
    Run,
    fit_batches,
    group_passes,
    method_arrays,
    name_settings,
    planned_part,
)
from onelayer.training.schedule import averaging_factors, learning_rate_factors
from onelayer.training.state import Cursor, TrainingState

DTYPES = ("float32", "float64")

# Relative error of a measured curvature: it changes by more between epochs.
CURVATURE_TOLERANCE = 1e-2

# Initial weights are drawn in steps of their deviation divided by this.
GRID = 2.0**16


@dataclass(frozen=True)
class Progress:
    """Progress of training: `done` of `total` epochs."""

    done: int
    total: int


@known_options
def train(
    data: Splits,
    runs: Run | Sequence[Run],
    *,
    engine: Engine | str | None = None,
    class_weight: ClassWeight = None,
    scaling: str = "auto",
    dtype: str = "float32",
    certify: bool = True,
    scoring: str = "accuracy",
    checkpoint: Checkpoint | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    snapshots: Sequence[int] = (),
    curvature_of: Sequence[int] = (),
) -> Result:
    """Train every run by mini-batch gradient descent, all that can share a pass in one pass.

    W ← W − η ∂J/∂W, b ← b − η ∂J/∂b once a batch, with J = −(1/B) Σ log(yᵀ p) + λ Σ W². With an l1
    the cost has λ₁ Σ |W| as well, and the step is a proximal one (`Run`).

    Args:
        data: training, validation and test rows.
        runs: the settings, R ≥ 1 of them.
        engine: what does the arithmetic: "native", "reference", "torch", or what `make_engine`
            returns; None is "native".
        class_weight: of the training rows, as of `solve`. Their loss and accuracy count by it; the
            validation and test rows count by their own weights.
        scaling: "auto", "none", "unit" or "standardize", fitted to the training rows.
        dtype: arithmetic type, "float32" or "float64".
        certify: whether to prove each run's distance from its optimum: a few passes for all.
        scoring: the metric on the validation rows that settings are ranked by and the best is
            chosen by, as of `solve_path`.
        checkpoint: where and how often checkpoints are written, and whether to resume from them.
            `Result.save` to the same folder replaces them.
        on_progress: called after every epoch of every pass. Default: a bar in a notebook.
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
    require_splits("train", data)
    metric = metric_of(scoring)
    metric.check(data.validation.y, data.train.class_names, "the validation rows")
    data.train.refuse_offsets("mini-batch training")
    data = without_weightless(data, class_weight)
    runs = fit_batches(_listed(runs), data.train.rows)
    _check(data.train, runs, dtype)
    check_memory(data.train, runs, dtype, len(as_values(snapshots)))
    runs = name_settings(runs)
    engine, (K, D) = streaming(engine), (data.train.classes, data.train.features)
    intercept = _common_intercept(runs, scaling, data.train)
    data, fitted, rows = rows_to_fit(data, scaling, class_weight, intercept=intercept)
    weighing = class_weight_setting(class_weight, data.train)
    if dtype == "float32":
        warn_of_lost_digits(fitted, data.train.X, data.train.feature_names)
    watched = {"snapshots": as_values(snapshots), "curvature_of": as_values(curvature_of)}
    for name, positions in watched.items():
        for position in positions:
            if position not in range(len(runs)):
                raise SettingsError(
                    f"{name} must be positions of runs, 0 to {len(runs) - 1}, but {position!r} was "
                    "given."
                )

    def made_with() -> dict[str, Any]:
        how = {"scaling": fitted.name, "dtype": dtype} | weighing
        return fingerprint(data, runs, engine, **how, **watched)

    def check(state: TrainingState, runs: Sequence[Run] = runs) -> None:
        start = Weights(np.empty((len(runs), K, D), dtype), np.empty((len(runs), K), dtype))
        check_sizes(state.sizes(runs, start, data.train.rows, **watched))
        check_sizes(_rate_sizes(state, with_rates(runs, engine, rows, K)))

    def go_on(state: TrainingState, before: Fingerprint, now: Fingerprint) -> str | None:
        fewer = with_fewer_epochs(runs, before, now)
        if not fewer:
            return None
        check(state, fewer)
        why = why_not_longer(fewer, runs)
        if not why:
            state.go_on(runs)
        return why

    with checkpoint.managing(made_with) if checkpoint else nullcontext() as manager:
        state = None if manager is None else manager.latest(check, go_on)
        if state is None:
            start = initial_weights(runs, K, D, dtype)
            resolved = resolve_learning_rates(runs, engine, rows, K)
            state = TrainingState.start(resolved, start, **watched)
        else:
            state.forget_later()
        show = on_progress or notebook_bar("training")
        training = Training(engine, state, rows, rows_of(data.validation, fitted), show, manager)
        training.advance(0)
        try:
            training.train_passes()
        except KeyboardInterrupt:
            state.interrupt()
            if manager is not None:
                manager.flush()
    result = _result(training, data, fitted, metric, certify=certify)
    return replace(result, class_weight=weighing.get("class_weight"))


def _rate_sizes(state: TrainingState, runs: Sequence[Run]) -> Iterator[tuple[str, Any, Any]]:
    """That "auto" stands for what it came to, but for the rounding of other machines."""
    for i, (own, run) in enumerate(zip(state.runs, runs, strict=True)):
        same = math.isclose(own.eta, run.eta, rel_tol=CURVATURE_TOLERANCE)
        yield f"runs.{i}.learning_rate", own.eta, own.eta if same else run.eta


def _listed(runs: object) -> list[Run]:
    """The runs of one, or of any sequence of them."""
    listed: list[Any] = list(runs) if isinstance(runs, Iterable) else [runs]
    if not all(isinstance(run, Run) for run in listed):
        raise SettingsError(
            "runs must be a Run, or a sequence of them as onelayer.grid makes it, but "
            f"{one_line(repr(runs))} was given."
        )
    return listed


def _check(dataset: Dataset, runs: Sequence[Run], dtype: str) -> None:
    if not runs:
        raise SettingsError("train needs at least one run.")
    require_choice("dtype", dtype, DTYPES)
    for run in runs:
        if run.batch > dataset.rows:
            raise SettingsError(
                f"batch_size must be at most the number of training rows, {dataset.rows}, "
                f"but {run.batch} was given for the run {run.name!r}."
            )
        check_loss(run.loss, run.label_smoothing, dataset.y)
        if run.flip_seed is not None and dataset.image_shape is None:
            raise SettingsError(
                f"flip_seed flips images, but the rows of {dataset.name} are none; leave it out."
            )


def _common_intercept(runs: Sequence[Run], scaling: str, dataset: Dataset) -> bool:
    """Whether runs have an intercept; where some do, features must not be centred."""
    if len({run.intercept for run in runs}) == 1:
        return runs[0].intercept
    if resolve_scaling(scaling, dataset.X, dataset.max_value) == "standardize":
        raise SettingsError(
            "runs with and without an intercept cannot be trained together with "
            "scaling='standardize', which centres features for those with one alone; train them "
            "apart, or take scaling='none' or 'unit'."
        )
    return True


def check_memory(dataset: Dataset, runs: Sequence[Run], dtype: str, snapshots: int) -> None:
    """Refuse runs whose history, weights and snapshots of W would not fit into memory."""
    if not runs:
        return
    entries, epochs = dataset.classes * (dataset.features + 1), max(run.epochs for run in runs)
    history = 8 * len(History.measures()) * len(runs) * epochs
    each = 4 if dtype == "float32" else 8
    weights = 2 * each * len(runs) * entries  # those that are kept and those that are trained
    needed = history + weights + 2 * snapshots * entries * (epochs + 1)
    if needed > (left := available_memory()):
        raise SettingsError(
            f"{len(runs):,} run{'s' * (len(runs) > 1)} over {epochs:,} epochs need "
            f"{format_bytes(needed)} of memory for weights and history, but {format_bytes(left)} "
            "are left; train fewer runs or epochs."
        )


def initial_weights(runs: Sequence[Run], classes: int, features: int, dtype: str) -> Weights:
    """W (R, K, D) and b (R, K) from N(0, init_scale²), in float64 from each run's own seed.

    Without an intercept b is 0.

    Rounded to multiples of init_scale / 2¹⁶: NumPy takes those beyond 3.65 deviations from the C
    library's logarithm, whose last bit differs between machines.
    """
    W = np.empty((len(runs), classes, features), dtype)
    b = np.empty((len(runs), classes), dtype)
    for r, run in enumerate(runs):
        rng = np.random.default_rng(run.seed)
        W[r] = run.init_scale * (np.rint(rng.standard_normal((classes, features)) * GRID) / GRID)
        b[r] = run.init_scale * (np.rint(rng.standard_normal(classes) * GRID) / GRID)
        b[r] *= run.intercept
    return Weights(W, b)


def resolve_learning_rates(
    runs: Sequence[Run], engine: Engine, rows: Rows, classes: int
) -> tuple[Run, ...]:
    """Replace "auto" learning rates by numbers and warn about unstable ones.

    "auto" is (1 − μ)/L_B, half of what is guaranteed to be stable for random batches of the run's
    size, to three digits: the last bits of a measured one differ between machines. The warning's
    limit is m/L, with L = ½ λmax(X̃ᵀX̃/N) + 2λ and m = 2 without momentum
    (`onelayer.solver.learning_rate`). With a schedule both are about its longest step. Runs above
    the limit are trained all the same: their curvature is often far below the bound.
    """
    resolved = with_rates(runs, engine, rows, classes)
    warn_about_unstable_rates(resolved, engine, rows, classes, stacklevel=5)
    return resolved


def with_rates(runs: Sequence[Run], engine: Engine, rows: Rows, classes: int) -> tuple[Run, ...]:
    """The same without a warning; passes over the rows are made where a rate is "auto"."""
    known: dict[tuple[float, int, float, bool], float] = {}
    resolved = []
    for run in runs:
        if run.learning_rate == AUTO:
            curvature = loss_function(run.loss, rows.y).curvature(classes)
            key = (run.l2, run.batch, curvature, run.intercept)
            if key not in known:
                of_run = rows.with_intercept(run.intercept)
                known[key] = smoothness(engine, of_run, Penalty.of(run), run.batch, curvature)[1]
            run = replace(run, learning_rate=float(f"{(1.0 - run.momentum) / known[key]:.3g}"))
        resolved.append(run)
    return tuple(resolved)


def warn_about_unstable_rates(
    runs: Sequence[Run],
    engine: Engine,
    rows: Rows,
    classes: int,
    *,
    stacklevel: int,
    dtype: str = "float32",
) -> None:
    """Warn of learning rates above the guaranteed-stable limit; about ten passes over the rows."""
    moments = {
        intercept: largest_second_moment(engine, rows.with_intercept(intercept), dtype)
        for intercept in {run.intercept for run in runs}
    }

    def limit(run: Run) -> float:
        curvature = loss_function(run.loss, rows.y).curvature(classes)
        smooth = curvature * moments[run.intercept] + Penalty.of(run).curvature
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
                stacklevel=stacklevel,
            )


def steps_of_epoch(
    runs: Sequence[Run], epoch: int, rows: int, stored: StoredRows | None = None
) -> Steps:
    """The batches of an epoch (from 1), and the step of each of the runs of a pass after each."""
    shared = runs[0]
    count = -(-rows // shared.batch)
    rates = [
        run.eta * learning_rate_factors(run.schedule, run.warmup, run.epochs, count, epoch)
        for run in runs
    ]
    averaging = [averaging_factors(run.averaging, run.epochs, count, epoch) for run in runs]
    return Steps(
        batch_size=shared.batch,
        learning_rate=np.stack(rates, axis=1),
        averaging=np.stack(averaging, axis=1) if any(run.averages for run in runs) else None,
        order=row_order(shared.order_seed, epoch, rows, stored),
        flipped=mirrored_rows(shared.flip_seed, epoch, rows),
    )


class Training:
    """Runs in training; `steps_of` gives the steps of an epoch (from 1) of runs of one pass."""

    def __init__(
        self,
        engine: Engine,
        state: TrainingState,
        train: Rows,
        validation: Rows | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        checkpoints: CheckpointManager | None = None,
        steps_of: Callable[[Sequence[Run], int], Steps] | None = None,
    ) -> None:
        self.engine, self.state, self.checkpoints = engine, state, checkpoints
        # One object each for all epochs: engines keep what they need of it.
        self.train, self._parts = train, {"train": train}
        if validation is not None:
            self._parts["validation"] = validation
        self._on_progress, self._started = on_progress, time.perf_counter() - state.seconds
        self._steps_of = steps_of or (
            lambda runs, epoch: steps_of_epoch(runs, epoch, len(train.y), stored_rows(train.X))
        )

    @property
    def seconds(self) -> float:
        """Wall time of training, with that of processes before this one."""
        return time.perf_counter() - self._started

    def advance(self, run_epochs: int) -> None:
        """Count epochs, whose rows were whole, and report them where there are any."""
        check_mapped(*(rows.X for rows in self._parts.values()))
        self.state.done += run_epochs
        if self._on_progress is not None and self.state.done:
            self._on_progress(Progress(self.state.done, self.state.total))

    def train_passes(self) -> None:
        """Train every pass from the state's cursor on."""
        passes, first = group_passes(self.state.runs), self.state.cursor
        for index in range(first.pass_index, len(passes)):
            begun = self.state.ends.pop(index, Cursor(index))
            start = first if (first.pass_index, first.state is None) == (index, False) else begun
            self.train_pass(passes[index], start)
        if self.checkpoints is not None:
            last = any(not planned_part(run) for run in self.state.runs)
            self.checkpoints.finish(
                lambda: self.state.copy(Cursor(len(passes)), self.seconds), last=last
            )

    def train_pass(self, positions: Sequence[int], start: Cursor) -> None:
        """Train runs that share their batches, from a place in their pass to its end."""
        epochs = self.state.runs[positions[0]].epochs
        alive = list(start.alive if start.epoch else positions)
        if not alive or start.epoch > epochs:
            self.state.ends[start.pass_index] = start
            return
        trainer = self.begin(alive, start.state or State(self.state.weights.of(alive)))
        for epoch in range(start.epoch, epochs + 1):
            if epoch > 0:
                begun = start.batch if epoch == start.epoch else 0
                for batch in self._take_steps(alive, epoch, begun, trainer):
                    self._offer(Cursor(start.pass_index, epoch, batch, tuple(alive)), trainer)
            remaining = self.record(alive, epoch, trainer)
            ended = len(alive) - len(remaining)
            if run_epochs := len(alive) * (epoch > 0) + ended * (epochs - epoch):
                self.advance(run_epochs)
            if ended and remaining:
                state = trainer.state().of([alive.index(i) for i in remaining])
                trainer = self.begin(remaining, state)
            alive = remaining
            if not alive:
                break
            if epoch < epochs:
                self._offer(Cursor(start.pass_index, epoch + 1, 0, tuple(alive)), trainer)
        self.state.finish(alive)
        end = Cursor(start.pass_index, epochs + 1, 0, tuple(alive))
        self.state.ends[end.pass_index] = replace(end, state=self._end_state(alive, trainer))

    def _end_state(self, alive: Sequence[int], trainer: Trainer) -> State | None:
        """What further epochs need besides the weights that are kept; None for nothing."""
        runs = self._runs(alive)
        if not runs or any(map(planned_part, runs)):
            return None
        state = trainer.state()
        kept = any(run.patience is not None for run in runs)
        return state if state.slots or kept else None

    def begin(self, positions: Sequence[int], state: State) -> Trainer:
        """Start these runs from a state, or resume them."""
        runs = self._runs(positions)
        if not any(run.averages for run in runs):
            # An average that no step updates any more must not stand for the weights.
            state = replace(state, slots={n: s for n, s in state.slots.items() if n != AVERAGE})
        return self.engine.begin(state, method_arrays(runs))

    def record(self, positions: Sequence[int], epoch: int, trainer: Trainer) -> list[int]:
        """Measure these runs, record it, and return those that continue."""
        figures = {}
        for part, rows in self._parts.items():
            measured = trainer.evaluate(rows)
            unweighted = measured.correct / rows.count
            figures[part] = (
                measured.loss,
                unweighted if rows.weights is None else measured.accuracy,
            )
        alive = self.state.record(positions, epoch, trainer.weights(), figures)
        if due := self.state.curvature_due(positions, epoch):
            # At the weights from which steps are taken, not at the average that is kept.
            weights = trainer.state().weights
            self._measure_curvatures(due, epoch, weights.of([positions.index(i) for i in due]))
        return alive

    def _measure_curvatures(self, due: Sequence[int], epoch: int, weights: Weights) -> None:
        runs = self._runs(due)
        penalties, losses = [Penalty.of(run) for run in runs], [run.loss for run in runs]
        measured = largest_curvatures(
            self.engine,
            self.train,
            weights,
            penalties,
            losses=losses,
            intercepts=[run.intercept for run in runs],
            starts=[self.state.directions.get(i) for i in due],
            tolerance=CURVATURE_TOLERANCE,
        )
        for i, (value, direction) in zip(due, measured, strict=True):
            self.state.record_curvature(i, epoch, value, direction)

    def _runs(self, positions: Sequence[int]) -> list[Run]:
        return [self.state.runs[i] for i in positions]

    def _offer(self, cursor: Cursor, trainer: Trainer) -> None:
        if self.checkpoints is not None:
            self.checkpoints.offer(
                lambda: self.state.copy(replace(cursor, state=trainer.state()), self.seconds)
            )

    def _take_steps(
        self, alive: Sequence[int], epoch: int, begun: int, trainer: Trainer
    ) -> Iterator[int]:
        """Take the remaining steps of an epoch; yield the batches done after each part."""
        steps, rows = self._steps_of(self._runs(alive), epoch), self.train
        count = len(steps.learning_rate)
        interval = None if self.checkpoints is None else self.checkpoints.interval
        while begun < count:
            stop = count if interval is None else min(count, begun + interval.batches)
            if (begun, stop) == (0, count):
                trainer.epoch(rows, steps)
            else:
                started = time.perf_counter()
                # An order has numbers of all rows, file order has none.
                size = steps.batch_size
                part = rows if steps.order is not None else rows.part(begun * size, stop * size)
                trainer.epoch(part, steps.part(begun, stop))
                if interval is not None:
                    interval.adapt(stop - begun, time.perf_counter() - started)
            begun = stop
            yield begun


def _validation_scores(training: Training, rows: Rows, metric: Metric) -> Any:
    """The metric of each run's kept weights; accuracies are in the history."""
    if metric.name == "accuracy":
        return None
    kept = training.state.weights
    read = row_tiles(rows, kept.b.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(
            [
                metric.value(
                    read_scores(read, training.engine, W, b, rows.labels, rows.row_weights)
                )
                for W, b in zip(*kept, strict=True)
            ]
        )


def _confusions(engine: Engine, test: Rows, weights: Weights, K: int) -> NDArray[np.int64]:
    """Rows by true and predicted class, (R, K, K); of many labels a row there are none."""
    if test.y.ndim == 2:
        return np.zeros((len(weights.W), 0, 0), np.int64)
    found = engine.classify(test, weights).classes
    return np.array([count_confusion(test.y, row, K) for row in found])


def _certificates(training: Training) -> tuple[Certificate, ...]:
    """The certificate of each run's kept weights, jointly of those that need the same passes."""
    runs, found = training.state.runs, dict[int, Certificate]()
    kinds = [(run.intercept, run.l1 > 0.0) for run in runs]
    for kind in {*kinds}:
        of = [i for i, own in enumerate(kinds) if own == kind]
        rows = training.train.with_intercept(kind[0])
        penalties = [Penalty.of(runs[i]) for i in of]
        proven = certify_all(training.engine, rows, training.state.weights.of(of), penalties)
        found |= dict(zip(of, (each.given for each in proven), strict=True))
    return tuple(found[i] for i in range(len(runs)))


def _result(
    training: Training, data: Splits, scaling: Scaling, metric: Metric, *, certify: bool
) -> Result:
    """Evaluate the kept weights on the test set, certify them, and gather the result."""
    state, engine, training_seconds = training.state, training.engine, training.seconds
    outcomes = tuple(outcome or Outcome("interrupted", 0) for outcome in state.outcomes)
    whole = all(outcome.status != "interrupted" for outcome in outcomes)
    loss = "sigmoid" if (many := data.train.many_labels) else "softmax"
    plain = all(run.loss == loss and run.label_smoothing == 0.0 for run in state.runs)
    plain = plain and not (many and any(run.l1 for run in state.runs))  # for which no bound exists
    started = time.perf_counter()
    certificates: tuple[Certificate, ...] = ()
    cut_short = False
    if certify and whole and plain:
        try:
            certificates = _certificates(training)
        except KeyboardInterrupt:
            cut_short = True
    certifying = time.perf_counter() - started
    test, environment = rows_of(data.test, scaling), describe_environment() | engine.describe()
    kept = [*zip(*state.weights, strict=True)]
    by_score = test.weights is not None or data.test.many_labels
    result = Result(
        runs=state.runs,
        outcomes=outcomes,
        W=state.weights.W,
        b=state.weights.b,
        scaling=scaling,
        history=state.history,
        test_loss=engine.evaluate(test, state.weights, method_arrays(state.runs)).loss,
        confusion=_confusions(engine, test, state.weights, data.test.classes),
        data=data_card(data),
        snapshots=state.snapshots,
        certificates=certificates,
        curvatures=state.measured_curvatures(),
        environment=environment | {"dtype": str(state.weights.W.dtype)},
        seconds={"train": training_seconds, "certify": certifying},
        cut_short=cut_short,
        scoring=metric.name,
        validation_scores=_validation_scores(training, rows_of(data.validation, scaling), metric),
        test_scores=score(engine, test, kept) if by_score else (),
    )
    best = result.best_position
    evaluations = {
        i: result.model(i).evaluate(data.test, log=quiet, include_training_rows=True)
        for i in {**result.snapshots, best: None}
        if result.runs[i].loss == "softmax" and not data.test.many_labels
    }
    worst = evaluations[best].mistakes if best in evaluations else None
    return replace(
        result,
        reliability={i: evaluations[i].reliability for i in result.snapshots if i in evaluations},
        mistakes={best: worst} if worst else {},
    )
