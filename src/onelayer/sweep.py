"""A sweep: many settings trained in as few passes as they allow, the best one looked at closely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from onelayer.data import Splits
from onelayer.engines import Engine
from onelayer.pass_loop import Progress
from onelayer.plan import Run
from onelayer.ranking import rank_settings
from onelayer.result import Result
from onelayer.train import train


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
    scaling: str = "unit",
    dtype: str = "float32",
    certify: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Train every run, all that can share a pass in one pass, and watch the best one.

    The best setting, by validation accuracy, is trained once more from its first seed: it comes
    to the same bits, and W at every epoch and the curvature that it met are kept for the page.

    Args:
        splits: the data.
        runs: the settings; see `grid` and `random_grid`.
        engine: what does the arithmetic; None takes the default engine.
        scaling: "none", "unit" or "standardize".
        dtype: "float32" or "float64".
        certify: whether to prove how far each run ends from its optimum: a pass for each.
        on_progress: called after every epoch of every pass.

    Returns:
        The result.

    Raises:
        SettingsError: as `train` does.

    Example:
        >>> from onelayer.data import load
        >>> from onelayer.plan import grid
        >>> result = run_sweep(load("digits"), grid(learning_rate=[0.1, 0.01], epochs=3))
        >>> list(result.snapshots)
        [0]
    """
    named = name_by_batch(runs)
    result = train(
        splits,
        named,
        engine=engine,
        scaling=scaling,
        dtype=dtype,
        certify=certify,
        on_progress=on_progress,
    )
    best = rank_settings(result)[0]
    if result.interrupted or best.diverged:
        return result
    first = best.positions[0]
    watched = train(
        splits,
        [result.runs[first]],
        engine=engine,
        scaling=scaling,
        dtype=dtype,
        certify=False,
        snapshots=[0],
        curvature_of=[0],
    )
    return result.with_records(
        snapshots={first: watched.snapshots[0]},
        curvatures={first: watched.curvatures[0]},
        seconds=dict(result.seconds) | {"watch the best": watched.seconds["train"]},
    )
