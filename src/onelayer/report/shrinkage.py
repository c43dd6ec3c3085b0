"""Conclusion 2 as a measurement: "λ reduces overfitting, but too high it shrinks W and adds bias".

Needs two values of λ at one η.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onelayer.report.grouping import grouped
from onelayer.report.summary import SettingSummary, Spread, percent_on_test, spread
from onelayer.result import Result


@dataclass(frozen=True)
class PenaltyFigures:
    """What one λ does; accuracies in percent, their difference in percentage points."""

    l2: float
    norm: Spread
    train: Spread
    test: Spread
    gap: Spread


@dataclass(frozen=True)
class PenaltyFinding:
    """Values of λ compared at one η, smallest first.

    Attributes:
        learning_rate: η.
        penalties: the figures.
        runs: for each λ its runs as (‖W‖, train %, test %, train − test).
        heading: the conclusion that the figures allow, in a line.
        sentence: what the figures say.
    """

    learning_rate: float
    penalties: tuple[PenaltyFigures, ...]
    runs: tuple[tuple[tuple[float, float, float, float], ...], ...]
    heading: str
    sentence: str


def compare_penalties(result: Result, settings: Sequence[SettingSummary]) -> PenaltyFinding | None:
    """Compare values of λ at the η that has most of them.

    Args:
        result: the records.
        settings: its settings, summarised.

    Returns:
        The finding, or None without two values of λ at one η.
    """
    counted = {i for setting in settings for i in setting.counted}
    measured = np.asarray(np.isfinite(result.weight_norm))
    groups = grouped(settings, measured, lambda s: s.learning_rate, lambda s: s.l2)
    if not groups:
        return None
    rate, by_l2 = groups
    train, test = 100.0 * result.train_accuracy, percent_on_test(result)
    columns = np.stack([result.weight_norm, train, test, train - test], axis=1)
    figures, points = [], []
    for l2 in sorted(by_l2):
        rows = columns[[i for i in by_l2[l2] if i in counted]]
        figures.append(PenaltyFigures(l2, *(spread(column) for column in rows.T)))
        kept = rows[np.isfinite(rows).all(axis=1)]
        points.append(tuple((a, b, c, d) for a, b, c, d in kept.tolist()))
    heading = _conclude_penalties(figures[0], figures[-1])
    return PenaltyFinding(
        rate, tuple(figures), tuple(points), heading, _say_penalties(rate, figures)
    )


def _conclude_penalties(least: PenaltyFigures, most: PenaltyFigures) -> str:
    shrinks = "λ shrinks W" if most.norm.mean < least.norm.mean else "Here λ does not shrink W"
    fits = "less" if most.gap.mean < least.gap.mean else "no less"
    bias = ", and more bias" if most.train.mean < least.train.mean else ""
    return f"{shrinks}: {fits} overfitting{bias}"


def _say_penalties(rate: float, figures: Sequence[PenaltyFigures]) -> str:
    first, last = figures[0], figures[-1]
    best = max(figures, key=lambda f: f.test.mean if f.test.n else -math.inf)
    factor = first.norm.mean / last.norm.mean if last.norm.mean else math.inf
    change = f"{factor:.3g} times smaller" if factor >= 1 else f"{1 / factor:.3g} times larger"
    bias = last.train.mean - first.train.mean
    return (
        f"At η = {rate:g}, going from λ = {first.l2:g} to λ = {last.l2:g} makes ‖W‖ {change} "
        f"({first.norm.mean:.3g} to {last.norm.mean:.3g}) and takes the difference between "
        f"training and test accuracy from {first.gap.mean:.2f} to {last.gap.mean:.2f} points: "
        f"{'less' if last.gap.mean < first.gap.mean else 'no less'} overfitting. "
        f"Training accuracy {'falls' if bias < 0 else 'rises'} by {abs(bias):.2f} points"
        f"{', the bias that a large λ adds' if bias < 0 else ''}; "
        f"the best test accuracy, {best.test.mean:.2f} %, is at λ = {best.l2:g}."
    )
