"""Ratios, the targets' figures and the cross-check of J*, from the record alone."""

from __future__ import annotations

from statistics import median

from benchmarks.contenders import ONELAYER
from benchmarks.figures import MEGABYTE, median_ratio
from benchmarks.optimum.contenders import INTELEX, LBFGS, LBFGS32
from benchmarks.optimum.record import OptimumRecord, Solved

BATCH = "batch"


def ratio(record: OptimumRecord, found: Solved) -> float | None:
    """Median over rounds of a contender's time to the goal / onelayer's time to its proof."""
    ours = record.find(ONELAYER, found.task, found.l2)
    return median_ratio(found.seconds, ours.seconds) if ours else None


def least_ratio(record: OptimumRecord, found: Solved) -> float | None:
    """The ratio; where the goal was not reached in time, what it must at least be.

    Nothing for a solver that ended by itself before the goal: no time would be enough.
    """
    ours = record.find(ONELAYER, found.task, found.l2)
    if found.seconds or not found.cut or not found.steps or not ours or not ours.seconds:
        return ratio(record, found)
    return max(seconds for _, seconds, _ in found.steps) / median(ours.seconds)


def sklearn_ratio(record: OptimumRecord | None, l2: float) -> float | None:
    """scikit-learn's lbfgs / onelayer, of float64 and float32 the one that is faster.

    Of one that was ended by its time, that time counts: the ratio is no less. One that ended by
    itself before the goal is not the faster one.
    """
    if record is None:
        return None
    found = [record.find(key, BATCH, l2) for key in (LBFGS, LBFGS32)]
    ratios = [r for one in found if one and (r := least_ratio(record, one)) is not None]
    return min(ratios, default=None)


def intelex_ratio(record: OptimumRecord | None, l2: float) -> float | None:
    """scikit-learn-intelex / onelayer."""
    found = record.find(INTELEX, BATCH, l2) if record else None
    return least_ratio(record, found) if record and found else None


def path_ratio(record: OptimumRecord | None) -> float | None:
    """Median over rounds of the time of onelayer's whole path / one default scikit-learn fit."""
    if record is None:
        return None
    path, fit = record.path("onelayer-path"), record.path("sklearn-default")
    return median_ratio(path.seconds, fit.seconds) if path and fit else None


def most_memory(record: OptimumRecord | None) -> float | None:
    """The most that onelayer had above X on any task, MB."""
    if record is None:
        return None
    peaks = [s.peak_bytes for s in record.solved if s.contender == ONELAYER]
    peaks += [p.peak_bytes for p in record.paths if p.contender == "onelayer-path"]
    return max(peaks) / MEGABYTE if peaks else None


def nearest_peer(record: OptimumRecord, task: str, l2: float) -> tuple[str, float] | None:
    """Which other contender's cost came nearest to J*, or fell below it the furthest, and how far.

    Solvers that walk another way to the same cost confirm it; one that fell below would refute it.
    """
    ends = [
        (min(excess for *_, excess in s.steps), s.label)
        for s in record.solved
        if (s.task, s.l2) == (task, l2) and s.contender != ONELAYER and s.steps
    ]
    return (min(ends)[1], min(ends)[0]) if ends else None
