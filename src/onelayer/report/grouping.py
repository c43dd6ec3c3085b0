"""Which runs can be set against each other, and what single runs are called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from onelayer.report.summary import SettingSummary
from onelayer.result import Result


def grouped(
    settings: Sequence[SettingSummary],
    measured: NDArray[np.bool_],
    fixed: Callable[[SettingSummary], float],
    varied: Callable[[SettingSummary], float],
) -> tuple[float, dict[float, list[int]]] | None:
    """Find the value of one quantity under which another takes most values.

    Args:
        settings: of the result.
        measured: whether a run has anything to compare, shape (R,).
        fixed: the quantity that is to agree.
        varied: the quantity that is to differ.

    Returns:
        The agreed value (the smallest of equals) and, by value of the other, the runs' positions;
        None when there are not two values to compare.
    """
    groups: dict[float, dict[float, list[int]]] = defaultdict(lambda: defaultdict(list))
    for setting in settings:
        if any(measured[list(setting.counted)]):
            groups[fixed(setting)][varied(setting)] += setting.positions
    if not groups:
        return None
    best = min(groups, key=lambda value: (-len(groups[value]), value))
    return (best, groups[best]) if len(groups[best]) > 1 else None


def run_names(result: Result, positions: Sequence[int]) -> tuple[str, ...]:
    """What single runs of a setting are called: by their seeds, told apart where those agree.

    Args:
        result: the records.
        positions: runs.

    Returns:
        One name a run.
    """
    seeds = [result.runs[i].seed for i in positions]
    if len(set(seeds)) == len(seeds):
        return tuple(f"seed {seed}" for seed in seeds)
    return tuple(f"seed {seed}, run {i}" for seed, i in zip(seeds, positions, strict=True))
