"""A sweep: many settings trained in as few passes as they allow, the best one measured closely."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onelayer.data import Splits
from onelayer.data.dataset import require_splits
from onelayer.data.progress import notebook_bar
from onelayer.data.rows import without_weightless
from onelayer.data.scaling import check_scaling
from onelayer.data.weights import ClassWeight
from onelayer.engines import Engine
from onelayer.errors import LearningRateWarning, SettingsError
from onelayer.training.checkpoint import FIRST, Checkpoint
from onelayer.training.loop import Progress, check_memory, train
from onelayer.training.result import History, Result
from onelayer.training.run import AUTO, Run, fit_batches, grid, name_settings

# Name of the checkpoints of the best run, while it is trained once more.
BEST = "best"


def sweep(
    data: Splits,
    runs: Sequence[Run] | None = None,
    *,
    engine: Engine | str | None = None,
    class_weight: ClassWeight = None,
    scaling: str | Sequence[str] = "auto",
    dtype: str = "float32",
    certify: bool = False,
    scoring: str = "accuracy",
    checkpoint: Checkpoint | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Result:
    """Train many settings in as few passes as they allow, and rank them by the validation rows.

    The best setting is trained once more from its first seed, to the same bits. This time W at
    every epoch and the curvature that was met are kept for the page.

    Args:
        data: training, validation and test rows.
        runs: the settings; see `grid` and `random_grid`.
        engine: what does the arithmetic: "native", "reference", "torch", or what `make_engine`
            returns; None is "native".
        class_weight: of the training rows, as of `train`.
        scaling: "auto", "none", "unit" or "standardize", or several of them: then every run is
            trained under each.
        dtype: arithmetic type, "float32" or "float64".
        certify: whether to prove each run's distance from its optimum: a few passes for all.
        scoring: the metric on the validation rows that settings are ranked by.
        checkpoint: where and how often checkpoints are written, and whether to resume from them.
        on_progress: called after every epoch of every pass. Default: a bar in a notebook.
        **settings: in place of runs, what `grid` takes: settings and lists of them, and seeds.
            Without a learning_rate "auto" is taken.

    Returns:
        The result. Ctrl-C ends training; of several scalings those that were begun are in it.
            Where all runs had ended, `cut_short` says that the best one was not trained again.

    Raises:
        SettingsError: what `train` refuses; a scaling that is given twice; both runs and settings.

    Example:
        >>> from onelayer import load, sweep
        >>> result = sweep(load("digits"), learning_rate=[0.1, 0.01], l2=[0, 0.01], epochs=3)
        >>> result.ranking[0].name
        'λ=0, η=0.1'
    """
    require_splits("sweep", data)
    if runs is None:
        runs = grid(**{"learning_rate": AUTO} | settings)
    elif settings:
        raise SettingsError(
            f"give sweep runs or settings, but both were given: {', '.join(settings)}."
        )
    scalings = (scaling,) if isinstance(scaling, str) else tuple(scaling)
    for name in scalings:
        check_scaling(name)
    if not scalings or len(set(scalings)) < len(scalings):
        raise SettingsError(
            f"scaling must be one or several, each once, but {', '.join(scalings)!r} was given."
        )
    check_memory(data.train, runs, dtype, snapshots=1)
    train_rows = without_weightless(data, class_weight).train.rows
    named, results = name_settings(fit_batches(runs, train_rows)), list[Result]()
    how: dict[str, Any] = {"engine": engine, "dtype": dtype, "scoring": scoring}
    how["class_weight"] = class_weight
    on_progress = on_progress or notebook_bar("training")
    for done, name in enumerate(scalings):
        ending = f", {name}" if len(scalings) > 1 else ""
        renamed = [replace(run, name=f"{run.name}{ending}") for run in named]
        where = checkpoint and replace(checkpoint, name=name if done else FIRST)
        show = on_progress and _part_of(on_progress, done, len(scalings))
        how |= {"scaling": name, "certify": certify, "checkpoint": where, "on_progress": show}
        results.append(train(data, renamed, **how))
        if results[-1].interrupted:
            break
    result = _joined(results)
    best = result.ranking[0]
    if result.interrupted or best.diverged:
        return result
    return _with_best(result, best.positions[0], data, checkpoint, how)


def _joined(results: Sequence[Result]) -> Result:
    """One result of several that differ in their scaling: all runs, in order."""
    first = results[0]

    def every(name: str) -> list[Any]:
        return [getattr(one, name) for one in results]

    chained: dict[str, Any] = {
        name: sum(every(name), ()) for name in ("runs", "outcomes", "certificates", "test_scores")
    }
    if len(chained["certificates"]) < len(chained["runs"]):  # Ctrl-C ended the last one
        chained["certificates"] = ()
    arrays: dict[str, Any] = {
        n: np.concatenate(every(n)) for n in ("W", "b", "test_loss", "confusion")
    }
    if first.validation_scores is not None:
        arrays["validation_scores"] = np.concatenate(every("validation_scores"))
    history = {
        n: np.concatenate([getattr(h, n) for h in every("history")]) for n in History.measures()
    }
    scalings = [one.scaling for one in results for _ in one.runs]
    others = {i: one for i, one in enumerate(scalings) if i >= len(first.runs)}
    mistakes = {
        place * len(first.runs) + i: rows
        for place, one in enumerate(results)
        for i, rows in one.mistakes.items()
    }
    seconds = {name: sum(one[name] for one in every("seconds")) for name in first.seconds}
    return replace(
        first,
        **chained,
        **arrays,
        history=History(**history),
        other_scalings=others,
        mistakes=mistakes,
        seconds=seconds,
    )


def _with_best(
    result: Result, position: int, data: Splits, checkpoint: Checkpoint | None, how: dict[str, Any]
) -> Result:
    """The same result with W at every epoch and the curvature of one run."""
    with warnings.catch_warnings():
        # It was given when all runs were trained.
        warnings.simplefilter("ignore", LearningRateWarning)
        own = {"scaling": result.scaling_of(position).name, "certify": False, "on_progress": None}
        how = how | own | {"checkpoint": checkpoint and replace(checkpoint, name=BEST)}
        closely = train(data, result.runs[position], snapshots=[0], curvature_of=[0], **how)
    if closely.interrupted:
        return replace(result, cut_short=True)
    return replace(
        result,
        snapshots={position: closely.snapshots[0]},
        curvatures={position: closely.curvatures[0]},
        reliability={position: closely.reliability[0]} if closely.reliability else {},
        seconds=dict(result.seconds) | {"watch the best": closely.seconds["train"]},
    )


def _part_of(
    report: Callable[[Progress], None], part: int, parts: int
) -> Callable[[Progress], None]:
    return lambda now: report(Progress(part * now.total + now.done, parts * now.total))
