"""Training from settings to a result, with Ctrl-C and checkpoints on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.checkpoints import Checkpoint, Keeper
from onelayer.curvature_meter import CurvatureMeter
from onelayer.data import Dataset, Splits
from onelayer.engines import Engine, State, Weights, streaming
from onelayer.environment import describe_environment
from onelayer.errors import SettingsError
from onelayer.fingerprint import made_of
from onelayer.learning_rates import settle_learning_rates
from onelayer.logbook import Logbook
from onelayer.optimum import Certificate
from onelayer.optimum.certificate import certify_weights
from onelayer.optimum.dataset import rows_of
from onelayer.pass_loop import Clock, Job, Progress, train_passes
from onelayer.plan import Run
from onelayer.result import Outcome, Result, data_card
from onelayer.run_folder import check_replaceable, writing
from onelayer.scaling import fit_scaling
from onelayer.standing import Place

DTYPES = ("float32", "float64")


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
    checkpoint: Checkpoint | None = None,
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
        checkpoint: where to write down how far training is, and whether to go on from there;
            `save_result` into the same folder takes the checkpoints' place.
        on_progress: called after every epoch of every pass.

    Returns:
        The result. A run whose cost stops being finite, or whose patience ends, is stopped alone
        and keeps the weights of its last finite epoch, or of its best. Ctrl-C ends training; whole
        epochs trained so far are kept.

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
    clock = Clock(sum(run.epochs for run in runs), on_progress)
    chosen_engine = streaming(engine)
    choices = {"scaling": scaling, "dtype": dtype} | {
        "snapshots": list(snapshots),
        "curvature_of": list(curvature_of),
    }
    with _keeping(checkpoint, lambda: made_of(splits, runs, chosen_engine, **choices)) as keeper:
        standing = None if keeper is None else keeper.latest()
        fitted = fit_scaling(scaling, splits.train.X, splits.train.max_value)
        rows = rows_of(splits.train, fitted)
        if standing is None:
            start = initial_weights(runs, splits.train.classes, splits.train.features, dtype)
            settled = settle_learning_rates(runs, chosen_engine, rows, splits.train.classes)
        else:
            settled, start = standing.runs, standing.entries.weights
        logbook = Logbook(settled, start, snapshots)
        meter = CurvatureMeter(chosen_engine, rows, curvature_of)
        job = Job(splits, chosen_engine, fitted, logbook, meter, clock, keeper)
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
