"""A sweep: many settings trained in as few passes as they allow, the best one looked at closely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np

from onelayer.data import Splits
from onelayer.data.scaling import Scaling, check_scaling
from onelayer.engines import Engine
from onelayer.errors import SettingsError
from onelayer.training.checkpoint import FIRST, Checkpoint
from onelayer.training.loop import Progress, train
from onelayer.training.result import History, Result, rank_settings
from onelayer.training.run import Run

# The name of the best run's own checkpoints, while it is trained once more.
WATCHED = "best"


def name_by_batch(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Name runs by their batch size as well, where that differs: λ and η alone do not tell them.

    Args:
        runs: of a sweep.

    Returns:
        The same runs, with names that no two settings share.

    Example:
        >>> [run.name for run in name_by_batch([Run(0.1), Run(0.1, batch_size=50)])]
        ['λ=0, η=0.1, batch 100', 'λ=0, η=0.1, batch 50']
    """
    if len({run.batch_size for run in runs}) < 2:
        return tuple(runs)
    return tuple(replace(run, name=f"{run.name}, batch {run.batch_size}") for run in runs)


def run_sweep(
    splits: Splits,
    runs: Sequence[Run],
    *,
    engine: Engine | None = None,
    scaling: str | Sequence[str] = "unit",
    dtype: str = "float32",
    certify: bool = False,
    checkpoint: Checkpoint | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Train every run, all that can share a pass in one pass, and watch the best one.

    The best setting, by validation accuracy, is trained once more from its first seed: it comes
    to the same bits, and W at every epoch and the curvature that it met are kept for the page.

    Args:
        splits: the data.
        runs: the settings; see `grid` and `random_grid`.
        engine: what does the arithmetic; None takes the default engine.
        scaling: "none", "unit" or "standardize", or several of them: then every run is trained
            under each.
        dtype: "float32" or "float64".
        certify: whether to prove how far each run ends from its optimum: a pass for each.
        checkpoint: where to write down how far training is, and whether to go on from there.
        on_progress: called after every epoch of every pass.

    Returns:
        The result. Ctrl-C ends it; of several scalings those that were begun are in it.

    Raises:
        SettingsError: as `train` does, and for a scaling that is there twice.

    Example:
        >>> from onelayer.data import load
        >>> from onelayer.training.run import grid
        >>> result = run_sweep(load("digits"), grid(learning_rate=[0.1, 0.01], epochs=3))
        >>> list(result.snapshots)
        [0]
    """
    scalings = (scaling,) if isinstance(scaling, str) else tuple(scaling)
    for one in scalings:
        check_scaling(one)
    if not scalings or len(set(scalings)) < len(scalings):
        raise SettingsError(
            f"scaling must be one or several, each once, but {', '.join(scalings)!r} was given."
        )
    named = name_by_batch(runs)
    results: list[Result] = []
    for done, one in enumerate(scalings):
        progress = _Within(on_progress, done, len(scalings))
        results.append(
            train(
                splits,
                _named_by(one, named) if len(scalings) > 1 else named,
                engine=engine,
                scaling=one,
                dtype=dtype,
                certify=certify,
                checkpoint=checkpoint and replace(checkpoint, name=one if done else FIRST),
                on_progress=progress,
            )
        )
        if results[-1].interrupted:
            break
    result = joined(results)
    best = rank_settings(result)[0]
    if result.interrupted or best.diverged:
        return result
    return _watched(result, best.positions[0], splits, engine, dtype, checkpoint)


def joined(results: Sequence[Result]) -> Result:
    """One result of several that differ in their scaling.

    Args:
        results: of the same data, engine and number of epochs.

    Returns:
        All runs, in order.
    """
    first = results[0]
    if len(results) == 1:
        return first
    starts = np.cumsum([0, *(len(one.runs) for one in results)])[:-1].tolist()
    history = {
        item.name: np.concatenate([getattr(one.history, item.name) for one in results])
        for item in fields(History)
    }
    others: dict[int, Scaling] = {}
    for start, one in zip(starts[1:], results[1:], strict=True):
        others |= {start + i: one.scaling for i in range(len(one.runs))}
    proven = all(one.certificates for one in results)
    seconds: dict[str, float] = {}
    for one in results:
        for name, value in one.seconds.items():
            seconds[name] = seconds.get(name, 0.0) + value
    return first.with_records(
        runs=tuple(run for one in results for run in one.runs),
        outcomes=tuple(outcome for one in results for outcome in one.outcomes),
        W=np.concatenate([one.W for one in results]),
        b=np.concatenate([one.b for one in results]),
        history=History(**history),
        test_loss=np.concatenate([one.test_loss for one in results]),
        confusion=np.concatenate([one.confusion for one in results]),
        certificates=tuple(c for one in results for c in one.certificates) if proven else (),
        seconds=seconds,
        other_scalings=others,
    )


def _watched(
    result: Result,
    position: int,
    splits: Splits,
    engine: Engine | None,
    dtype: str,
    checkpoint: Checkpoint | None,
) -> Result:
    """The same result with W at every epoch and the curvature of one run, unless Ctrl-C ends it."""
    watched = train(
        splits,
        [result.runs[position]],
        engine=engine,
        scaling=result.scaling_of(position).name,
        dtype=dtype,
        certify=False,
        snapshots=[0],
        curvature_of=[0],
        checkpoint=checkpoint and replace(checkpoint, name=WATCHED),
    )
    if watched.interrupted:
        return result
    return result.with_records(
        snapshots={position: watched.snapshots[0]},
        curvatures={position: watched.curvatures[0]},
        seconds=dict(result.seconds) | {"watch the best": watched.seconds["train"]},
    )


def _named_by(scaling: str, runs: Sequence[Run]) -> tuple[Run, ...]:
    return tuple(replace(run, name=f"{run.name}, {scaling}") for run in runs)


class _Within:
    """Progress of one of several equal parts, as progress of the whole."""

    def __init__(self, report: Callable[[Progress], None], part: int, parts: int) -> None:
        self._report, self._part, self._parts = report, part, parts

    def __call__(self, now: Progress) -> None:
        self._report(Progress(self._part * now.total + now.done, self._parts * now.total))
