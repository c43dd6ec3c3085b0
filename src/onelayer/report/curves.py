"""The section of each setting: loss, cost and accuracy over epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.report.chart import EPOCHS, Axis, Chart, Curve, is_wide, line_chart
from onelayer.report.render import Section
from onelayer.report.summary import Records, SettingSummary, Spread, run_names, tested_settings
from onelayer.report.tables import spread_cell
from onelayer.training.result import Result

# More settings than this are folded.
MOST_OPEN = 4

NATS = "mean cross-entropy / nats"


@dataclass(frozen=True, eq=False)
class Band:
    """Mean, smallest and largest value of a series at each epoch, and over how many runs."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: NDArray[np.int64]


def band_of(values: NDArray[np.float64]) -> Band:
    """Summarise the runs at each epoch; those that had stopped by then are left out.

    Example:
        >>> band_of(np.array([[1.0, 2.0], [3.0, np.nan]])).mean
        array([2., 2.])
    """
    there = np.isfinite(values)
    n = there.sum(axis=0)
    with np.errstate(over="ignore"):
        total = np.where(there, values, 0.0).sum(axis=0)
    mean = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    low = np.where(there, values, np.inf).min(axis=0)
    high = np.where(there, values, -np.inf).max(axis=0)
    return Band(mean, np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan), n)


def curve_of(label: str, values: NDArray[np.float64], runs: Sequence[str]) -> Curve:
    """A curve over epochs from values of shape (n, epochs + 1), one row a run."""
    band = band_of(values)
    there = np.flatnonzero(band.n)
    several = len(values) > 1
    words = []
    for epoch in there:
        mean = f"{band.mean[epoch]:.4g}" if np.isfinite(band.mean[epoch]) else "too large"
        around = f" ({band.low[epoch]:.4g} to {band.high[epoch]:.4g})" if band.n[epoch] > 1 else ""
        words.append(mean + around)
    return Curve(
        label,
        [int(epoch) for epoch in there],
        band.mean[there].tolist(),
        band.low[there].tolist() if several else (),
        band.high[there].tolist() if several else (),
        words,
        [(run, row[there].tolist()) for run, row in zip(runs, values, strict=True)],
    )


def settings_section(records: Records) -> Section:
    """Every setting that is drawn, folded where there are many."""
    left_out = len(records.settings) - len(records.drawn)
    shown = (
        f"The {len(records.drawn)} of {len(records.settings)} settings with the best validation "
        "accuracy are drawn."
    )
    return Section(
        anchor="settings",
        heading="Settings",
        text=(shown,) if left_out else (),
        note="Thick lines are means over seeds; bands reach from the smallest to the largest.",
        sections=tuple(
            _setting(records, anchor, setting, folded=len(records.drawn) > MOST_OPEN)
            for anchor, setting in records.drawn.items()
        ),
    )


def _setting(records: Records, anchor: str, setting: SettingSummary, *, folded: bool) -> Section:
    result = records.result
    best = result.ranking[0].name == setting.name
    tested = setting.name in tested_settings(result)
    runs = len(setting.positions)
    figures = [("validation", setting.validation), ("training", setting.train.measured)]
    figures += [("test", setting.test.measured)] if tested else []
    words = [_accuracy(part, measured) for part, measured in figures if measured.n]
    words += [f"{runs} {'run' if runs == 1 else 'runs'}, {setting.status}"]
    words += ["chaotic"] if setting.chaotic else []
    charts = _curves(result, setting, anchor)
    text = [" · ".join(words)]
    if setting.l2 == 0.0:
        text.append("λ = 0: loss and cost are equal.")
    marked = best and len(records.settings) > 1
    heading = f"{setting.name} (best by validation)" if marked else setting.name
    place = f"setting-{anchor}"
    return Section(place, heading, tuple(text), charts=charts, folded=folded)


def _accuracy(part: str, measured: Spread) -> str:
    return f"{part} accuracy {spread_cell(measured).plain} %"


def _curves(result: Result, setting: SettingSummary, anchor: str) -> tuple[Chart, ...]:
    positions, history = list(setting.positions), result.history
    names = run_names(result, positions)

    def chart(measure: str, heading: str, unit: str, factor: float = 1.0) -> Chart:
        curves = [
            curve_of(label, factor * getattr(history, f"{part}_{measure}")[positions], names)
            for part, label in (("train", "training"), ("validation", "validation"))
        ]
        axis = Axis(unit, log=measure != "accuracy" and is_wide(curves))
        title = f"{heading}, {setting.name}"
        return line_chart(f"{measure}-{anchor}", title, heading, EPOCHS, axis, curves, zoom=True)

    cost = () if setting.l2 == 0.0 else (chart("cost", "Cost", "loss + λ Σ W² / nats"),)
    return (
        chart("loss", "Loss", NATS),
        *cost,
        chart("accuracy", "Accuracy", "share of rows / %", 100.0),
    )
