"""The report's gradient check and four experiments, with the figures that were reported for them.

Source: the report that started the project (KTH DD2424, assignment 1); n_epochs = 40,
n_batch = 100, pixels / 255, batches in file order, trained on data_batch_1, validated on
data_batch_2, tested on test_batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from onelayer.data import Dataset, Splits, load
from onelayer.data.dataset import require_rows, require_splits, training_rows
from onelayer.data.scaling import fit_scaling
from onelayer.data.sparse import sparse_rows
from onelayer.engines import Engine
from onelayer.errors import SettingsError, as_values, known_options, require_number, require_whole
from onelayer.model import Model
from onelayer.objective.gradcheck import GradientChecks, check_gradients
from onelayer.objective.loss import Loss, check_loss
from onelayer.solver import solve
from onelayer.training.checkpoint import Checkpoint
from onelayer.training.loop import Progress, initial_weights, train
from onelayer.training.result import ReportedFigures, Result
from onelayer.training.run import AUTO, Run, Seeds, grid

EPOCHS = 40

# `digest` of the four experiments from seeds 0 to 7, which every machine gets: README's table.
PINNED = "d6c09f19832d8cb8dd00c391bbd561bbd3035ff00ede5fb25dea76c2e341748e"


@dataclass(frozen=True)
class Experiment:
    """One row of the report's table; its key is its name on the command line."""

    key: str
    l2: float
    learning_rate: float
    train_accuracy: float
    test_accuracy: float

    @property
    def reported(self) -> ReportedFigures:
        """The reported accuracies under the setting's name, as `Run` makes it."""
        name = Run(learning_rate=self.learning_rate, l2=self.l2).name
        return ReportedFigures(name, self.train_accuracy, self.test_accuracy)


EXPERIMENTS = (
    Experiment("eta-0.1", l2=0.0, learning_rate=0.1, train_accuracy=0.2881, test_accuracy=0.2478),
    Experiment("eta-0.01", l2=0.0, learning_rate=0.01, train_accuracy=0.4160, test_accuracy=0.3687),
    Experiment("l2-0.1", l2=0.1, learning_rate=0.01, train_accuracy=0.3419, test_accuracy=0.3338),
    Experiment("l2-1", l2=1.0, learning_rate=0.01, train_accuracy=0.2227, test_accuracy=0.2192),
)


def choose_experiments(only: Sequence[str] | None = None) -> tuple[Experiment, ...]:
    """Experiments by their keys, in the report's order; None or no key means all four."""
    known, only = [experiment.key for experiment in EXPERIMENTS], as_values(only or ())
    for key in only:
        if key not in known:
            raise SettingsError(f"unknown experiment {key!r}; the experiments: {', '.join(known)}.")
    return tuple(e for e in EXPERIMENTS if not only or e.key in only)


def plan_experiments(
    experiments: Sequence[Experiment] = EXPERIMENTS, *, seeds: Seeds = 8
) -> tuple[Run, ...]:
    """Each experiment from each seed, one after another; all share one pass over the data."""
    as_reported = {"epochs": EPOCHS, "batch_size": 100, "shuffle": False}
    grids = (
        grid(learning_rate=e.learning_rate, l2=e.l2, seeds=seeds, **as_reported)
        for e in experiments
    )
    return tuple(run for runs in grids for run in runs)


@known_options
def reproduce(
    data: Splits | None = None,
    *,
    seeds: Seeds = 8,
    only: Sequence[str] | None = None,
    engine: Engine | str | None = None,
    dtype: str = "float32",
    checkpoint: Checkpoint | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Reproduce the report's four experiments, all settings and seeds in one pass.

    Rows are visited in file order and divided by 255, as in the report; 40 epochs, batches of 100.

    Args:
        data: None loads CIFAR-10. The reported figures belong to it and are added for it alone.
        seeds: how many initial weights for each experiment, or a list of seeds.
        only: keys of experiments: "eta-0.1", "eta-0.01", "l2-0.1", "l2-1"; None means all four.
        engine: what does the arithmetic: "native", "reference", "torch", or what `make_engine`
            returns; None is "native".
        dtype: arithmetic type, "float32" or "float64".
        checkpoint: where and how often checkpoints are written, and whether to resume from them.
        on_progress: called after every epoch.

    Returns:
        The result, with certificates, optima and gradient checks for its page.

    Raises:
        SettingsError: for a value outside its range.

    Source:
        KTH DD2424, assignment 1: the report that started the project.

    Example:
        >>> from onelayer import load, reproduce
        >>> result = reproduce(load("digits"), only=["l2-0.1"], seeds=1)
        >>> result.settings
        ('λ=0.1, η=0.01',)
    """
    data = load("cifar10") if data is None else data
    require_splits("reproduce", data)
    experiments = choose_experiments(only)
    runs = plan_experiments(experiments, seeds=seeds)
    started = time.perf_counter()
    checks = check_gradient(data).checks
    checking = time.perf_counter() - started
    first = [i for i, run in enumerate(runs) if run.seed == runs[0].seed]
    bent = [i for i in first if runs[i].l2 == 0.0]
    how: dict[str, Any] = {"engine": engine, "dtype": dtype, "checkpoint": checkpoint}
    how |= {"snapshots": first, "curvature_of": bent, "on_progress": on_progress}
    result = train(data, runs, scaling="unit", **how)
    started = time.perf_counter()
    l2s = [] if result.interrupted else sorted({run.l2 for run in runs} - {0.0}, reverse=True)
    optima: list[Model] = []
    for l2 in l2s:
        best = solve(data.train, l2, scaling="unit", engine=engine)
        if best.status == "interrupted":  # a cost on the way is no optimum
            result, optima = replace(result, cut_short=True), []
            break
        optima.append(best)
    solving = time.perf_counter() - started
    return replace(
        result,
        optima=tuple(best.require_certificate() for best in optima),
        reported=tuple(e.reported for e in experiments) if data.name == "cifar10" else (),
        gradient_checks=checks,
        seconds={"check gradients": checking} | dict(result.seconds) | {"optima": solving},
    )


def digest(result: Result) -> str:
    """SHA-256 of the weights, histories and test results of all runs."""
    history = [getattr(result.history, name) for name in result.history.measures()]
    arrays = (result.W, result.b, *history, result.test_loss, result.confusion)
    return sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def compare_bits(result: Result) -> str:
    """Whether a reproduction came out to the last bit, in a sentence; "" where nothing is known."""
    if not result.reported or result.interrupted:
        return ""
    engine = result.environment.get("engine")
    others = [
        words
        for words, differs in (
            ("all four experiments from seeds 0 to 7", result.runs != plan_experiments()),
            ("float32", result.W.dtype != np.float32),
            ("the native engine", engine != "native"),
        )
        if differs
    ]
    if others:
        return f"not compared bit for bit: the figures in README are of {', '.join(others)}"
    if (found := digest(result)) == PINNED:
        return "these figures came out to the last bit: they are those of README's table"
    return (
        "these figures did not come out to the last bit, as they do on every machine: their "
        f"SHA-256 is {found}, not {PINNED}. The kernel or NumPy computes otherwise here; "
        "please report it with the run folder"
    )


@known_options
def check_gradient(
    data: Dataset | Splits,
    *,
    l2: float | Sequence[float] = (0.0, 0.1),
    batch_sizes: Sequence[int] = (1, 20, 100),
    loss: Loss = "softmax",
    label_smoothing: float = 0.0,
    seed: int = 0,
) -> GradientChecks:
    """Compare the analytic gradient with the numerical one, at every entry of W and b.

    e = |g_a − g_n| / max(ε, |g_a| + |g_n|), with g_n the central difference on five points, at
    W, b ~ N(0, 0.01²). It is of the smooth part of the cost, mean loss + λ Σ W²: an l1 penalty has
    no gradient at 0, and its step is the proximal operator.

    Args:
        data: the training rows, with scaling "auto"; of `Splits` the training part.
        l2: values of λ ≥ 0.
        batch_sizes: sizes B ≥ 1; the first B rows are the batch.
        loss: "softmax" or "sigmoid".
        label_smoothing: ε in [0, 1).
        seed: draws W and b.

    Returns:
        The checks of W and of b for each pair of λ and batch size; `passed` says whether all
        errors are within their bounds.

    Raises:
        SettingsError: for a value outside its range.

    Source:
        Nocedal & Wright (2006), Numerical Optimization, section 8.1; the relative error is that of
        the CS231n notes.

    Example:
        >>> from onelayer import check_gradient, load
        >>> check_gradient(load("digits"), batch_sizes=[20]).passed
        True
    """
    require_rows("check_gradient", data)
    rows, l2s, batch_sizes = training_rows(data), as_values(l2), as_values(batch_sizes)
    rows.refuse_offsets("check_gradient")
    for value in l2s:
        require_number("l2 (λ)", value, "a finite number, 0 or above", least=0)
    for size in batch_sizes:
        require_whole("batch_sizes", size, 1)
    check_loss(loss, label_smoothing, rows.y)
    W, b = initial_weights([Run(AUTO, seed=seed)], rows.classes, rows.features, "float64")
    most = max(batch_sizes)
    some = rows.X[:most] if (sparse := sparse_rows(rows.X)) is None else sparse[:most].toarray()
    X = fit_scaling("auto", rows.X, rows.max_value).apply(some)
    return check_gradients(X, rows.y[:most], W[0], b[0], batch_sizes, l2s, (loss, label_smoothing))
