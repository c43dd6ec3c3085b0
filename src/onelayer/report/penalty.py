"""Conclusion 2 as a measurement: "λ reduces overfitting, but too high it shrinks W and adds bias".

Needs two values of λ at one η.

Charts of what λ does: ‖W‖, accuracies and their difference, each over λ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onelayer.report.chart import DASHES, SHAPES, Chart, Key, finished_specs, short
from onelayer.report.summary import SettingSummary, Spread, grouped, percent_on_test, spread
from onelayer.training.result import Result

if TYPE_CHECKING:
    import altair as alt


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


HEIGHT = 260

# Single runs are drawn as points up to this many for each λ; beyond it the range says enough.
MOST_POINTS = 64


@dataclass(frozen=True)
class Measure:
    """One curve over λ: its label, its spread for each λ, and each run's value for each λ."""

    label: str
    spreads: tuple[Spread, ...]
    runs: tuple[tuple[float, ...], ...]


def penalty_charts(finding: PenaltyFinding) -> tuple[Chart, ...]:
    """Draw the finding: the norm, the two accuracies, their difference.

    Args:
        finding: values of λ compared at one η.

    Returns:
        Three charts.
    """
    figures = finding.penalties

    def measure(column: int, label: str, spreads: Sequence[Spread]) -> Measure:
        runs = tuple(tuple(run[column] for run in of_one) for of_one in finding.runs)
        return Measure(label, tuple(spreads), runs)

    norm = measure(0, "‖W‖", [f.norm for f in figures])
    train = measure(1, "training", [f.train for f in figures])
    test = measure(2, "test", [f.test for f in figures])
    gap = measure(3, "training − test", [f.gap for f in figures])
    l2s = [f"{f.l2:g}" for f in figures]
    at = f"at η = {finding.learning_rate:g}"
    return (
        _chart("penalty-norm", f"Norm of W against λ, {at}", "‖W‖ (Frobenius norm)", l2s, [norm]),
        _chart("penalty-accuracy", f"Accuracy against λ, {at}", "accuracy / %", l2s, [train, test]),
        _chart(
            "penalty-gap",
            f"Training minus test accuracy against λ, {at}",
            "difference / percentage points",
            l2s,
            [gap],
        ),
    )


def _chart(name: str, title: str, unit: str, l2s: list[str], measures: list[Measure]) -> Chart:
    drawing = _Drawing(unit, l2s, measures)
    specs = finished_specs(drawing.layers(paper=False), drawing.layers(paper=True), height=HEIGHT)
    tables = {"means": _means(l2s, measures), "runs": _runs(l2s, measures)}
    several = len(measures) > 1
    ends = "; ".join(
        f"{one.label}: "
        + ", ".join(f"{s.mean:.4g} at λ = {x}" for x, s in zip(l2s, one.spreads, strict=True))
        for one in measures
    )
    return Chart(
        name=name,
        title=title,
        heading=title.partition(", at η")[0],
        description=f"{title}. Means over the runs: {ends}.",
        page=specs.page_with(tables),
        paper=specs.paper_with(tables, title),
        legend=tuple(Key(f"c{i}", m.label, i) for i, m in enumerate(measures)) if several else (),
    )


def _means(l2s: list[str], measures: list[Measure]) -> list[dict[str, Any]]:
    rows = []
    for i, one in enumerate(measures):
        for x, s in zip(l2s, one.spreads, strict=True):
            if s.n:
                values = {"m": short(s.mean), "l": short(s.low), "h": short(s.high)}
                words = f"{s.mean:.4g} ({s.low:.4g} to {s.high:.4g}, {s.n} runs)"
                rows.append({"c": f"c{i}", "x": x, "t": one.label} | values | {"w": words})
    return rows


def _runs(l2s: list[str], measures: list[Measure]) -> list[dict[str, Any]]:
    return [
        {"c": f"c{i}", "x": x, "m": short(value)}
        for i, one in enumerate(measures)
        for x, values in zip(l2s, one.runs, strict=True)
        for value in values[:MOST_POINTS]
    ]


@dataclass(frozen=True, eq=False)
class _Drawing:
    """The marks of a chart over λ."""

    unit: str
    l2s: list[str]
    measures: list[Measure]

    def layers(self, *, paper: bool) -> alt.LayerChart | alt.FacetChart:
        """Ranges, means joined by a line, and every run as a small point."""
        import altair as alt

        shown = None if paper else "indexof(hidden, datum.c) < 0"
        means, runs = "means", "runs"
        several = len(self.measures) > 1
        legend = (
            alt.Legend(
                labelExpr=self._names(),
                symbolSize=90,
                symbolOpacity=1,
                symbolDash=[1, 0],
                symbolStrokeWidth=0,
            )
            if paper and several
            else None
        )
        color = alt.Color("c:N", scale=alt.Scale(domain=self._keys()), legend=legend)
        layers = [
            self._base(means, shown)
            .mark_rule(strokeWidth=2)
            .encode(y=self._y("l"), y2="h:Q", color=color),
            self._base(runs, shown)
            .mark_point(filled=True, size=16, opacity=0.5)
            .encode(y=self._y("m"), color=color),
            self._line(means, shown, color),
            self._points(means, shown, color, legend),
        ]
        chart = alt.layer(*layers)
        return chart if paper else chart.add_params(alt.param(name="hidden", value=[]))

    def _keys(self) -> list[str]:
        return [f"c{i}" for i in range(len(self.measures))]

    def _names(self) -> str:
        names = {f"c{i}": one.label for i, one in enumerate(self.measures)}
        return f"({json.dumps(names, ensure_ascii=False)})[datum.value]"

    def _base(self, table: str, shown: str | None) -> alt.Chart:
        import altair as alt

        axis = alt.Axis(labelAngle=0, grid=False)
        x = alt.X("x:O", sort=self.l2s, title="λ (not to scale)", axis=axis)
        chart = alt.Chart(alt.NamedData(table)).encode(x=x)
        return chart.transform_filter(shown) if shown else chart

    def _y(self, field: str) -> alt.Y:
        import altair as alt

        return alt.Y(
            f"{field}:Q", title=self.unit, scale=alt.Scale(zero=False, nice=True, padding=8)
        )

    def _line(self, table: str, shown: str | None, color: Any) -> Any:
        import altair as alt

        dashes = alt.Scale(
            domain=self._keys(), range=[list(DASHES[i]) for i in range(len(self.measures))]
        )
        return (
            self._base(table, shown)
            .mark_line(strokeWidth=2)
            .encode(
                y=self._y("m"),
                color=color,
                strokeDash=alt.StrokeDash("c:N", scale=dashes, legend=None),
            )
        )

    def _points(self, table: str, shown: str | None, color: Any, legend: Any) -> Any:
        import altair as alt

        shapes = alt.Scale(domain=self._keys(), range=list(SHAPES[: len(self.measures)]))
        return (
            self._base(table, shown)
            .mark_point(filled=True, size=90, opacity=1)
            .encode(
                y=self._y("m"),
                color=color,
                shape=alt.Shape("c:N", scale=shapes, legend=legend),
                tooltip=[
                    alt.Tooltip("x:N", title="λ"),
                    alt.Tooltip("t:N", title="of"),
                    alt.Tooltip("w:N", title=self.unit),
                ],
            )
        )
