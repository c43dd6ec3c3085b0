"""Values of λ compared: what the penalty does to ‖W‖, to overfitting and to the fit.

The second conclusion of the report, "λ reduces overfitting, but too high it shrinks W and adds
bias", as a measurement; it needs two values of λ at one η.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onelayer.report.chart import Axis, Chart, Curve, l2_axis, line_chart
from onelayer.report.render import Section
from onelayer.report.summary import (
    Records,
    SettingSummary,
    Spread,
    grouped,
    is_clear,
    listed,
    number,
    percent_on_test,
    row_error,
    spread,
    unbroken,
)
from onelayer.training.result import Result

# Single runs are drawn as points up to this many for each λ; beyond it the range says enough.
MOST_POINTS = 64


@dataclass(frozen=True)
class PenaltyFigures:
    """What one λ does; accuracies in percent, their difference in percentage points.

    Held-out rows are the test rows where results are set beside reported ones, else the validation
    rows: settings that a choice is made among are not scored on test rows. `runs` holds (‖W‖,
    training, held-out, training − held-out) of each run.
    """

    l2: float
    norm: Spread
    train: Spread
    held_out: Spread
    gap: Spread
    runs: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class PenaltyFinding:
    """Values of λ compared at one η, smallest first; `part` names the held-out rows."""

    learning_rate: float
    part: str
    penalties: tuple[PenaltyFigures, ...]
    heading: str
    sentence: str


def penalty_section(records: Records) -> Section | None:
    """Values of λ compared; None without two of them at one η."""
    finding = compare_penalties(records.result, records.settings)
    if finding is None:
        return None
    return Section(
        anchor="penalty",
        heading="Penalty",
        text=(f"{finding.heading}.", finding.sentence),
        charts=penalty_charts(finding),
        note="Large marks are means over seeds, small ones single runs; bars reach from the "
        "smallest to the largest value. A difference is a conclusion where it exceeds twice its "
        f"standard error, over seeds and, for accuracies on {finding.part} rows, over those rows.",
    )


def compare_penalties(result: Result, settings: Sequence[SettingSummary]) -> PenaltyFinding | None:
    """Compare values of λ at the η that has most of them; None without two."""
    counted = {i for setting in settings for i in setting.counted}
    measured = np.asarray(np.isfinite(result.weight_norm))
    groups = grouped(settings, measured, lambda s: s.learning_rate, lambda s: s.l2)
    if not groups:
        return None
    rate, by_l2 = groups
    part, held_out = "test", percent_on_test(result)
    rows_held_out = int(result.confusion[0].sum())
    if not result.reported:
        part, held_out = "validation", 100.0 * result.validation_accuracy
        rows_held_out = result.data.validation_rows
    train = 100.0 * result.train_accuracy
    columns = np.stack([result.weight_norm, train, held_out, train - held_out], axis=1)
    figures = []
    for l2 in sorted(by_l2):
        rows = columns[[i for i in by_l2[l2] if i in counted]]
        kept = rows[np.isfinite(rows).all(axis=1)]
        runs = tuple(tuple(run) for run in kept[:MOST_POINTS].tolist())
        norm, of_train, of_part, gap = (spread(column) for column in rows.T)
        figures.append(PenaltyFigures(l2, norm, of_train, of_part, gap, runs))
    heading, sentence = _conclude(rate, figures, part, rows_held_out)
    return PenaltyFinding(rate, part, tuple(figures), heading, sentence)


def _conclude(rate: float, figures: Sequence[PenaltyFigures], part: str, n: int) -> tuple[str, str]:
    """The conclusion in a line, and the figures in a sentence; only what is clear is concluded."""
    first, last = figures[0], figures[-1]
    rows = _row_error(first, last, n)
    facts = [f"‖W‖ is {first.norm.mean:.3g} and {last.norm.mean:.3g}"]
    facts.append(f"training accuracy {first.train.mean:.2f} and {last.train.mean:.2f} %")
    if first.gap.n and last.gap.n:
        gaps = " and ".join(number(one.gap.mean) for one in (first, last))
        facts.append(f"training − {part} accuracy {gaps} points")
    sentence = f"At η = {rate:g}, with λ = {first.l2:g} and λ = {last.l2:g}, {listed(facts)}."
    heads, found = [], []
    if is_clear(first.norm, last.norm):
        smaller = last.norm.mean < first.norm.mean
        heads.append("λ shrinks W" if smaller else "here λ does not shrink W")
        low, high = sorted((first.norm.mean, last.norm.mean))
        times = f"{high / low:.3g} times {'smaller' if smaller else 'larger'}" if low else "0"
        found.append(f"‖W‖ becomes {times}")
    if is_clear(first.gap, last.gap, rows):
        less = last.gap.mean < first.gap.mean
        heads.append(f"{'less' if less else 'more'} overfitting")
        change = abs(last.gap.mean - first.gap.mean)
        found.append(f"overfitting {'falls' if less else 'rises'} by {change:.2f} points")
    if is_clear(first.train, last.train):
        falls = last.train.mean < first.train.mean
        heads += ["more bias"] if falls else []
        change = abs(last.train.mean - first.train.mean)
        bias = ", the bias that a large λ adds" if falls else ""
        found.append(
            f"training accuracy {'falls' if falls else 'rises'} by {change:.2f} points{bias}"
        )
    found += _best(figures, part, n)
    if found:
        sentence += f" Beyond twice the standard error: {'; '.join(found)}."
    few = min(first.norm.n, last.norm.n) < 2
    why = "one seed shows no spread" if few else "no difference exceeds twice its standard error"
    heading = ", ".join(heads) or f"no conclusion on the penalty: {why}"
    return heading[0].upper() + heading[1:] if heading[0] != "λ" else heading, unbroken(sentence)


def _best(figures: Sequence[PenaltyFigures], part: str, n: int) -> list[str]:
    """The λ with the best held-out accuracy, where it is clearly better than every other."""
    best, *others = sorted(figures, key=lambda f: -f.held_out.mean if f.held_out.n else np.inf)
    if not all(is_clear(best.held_out, o.held_out, _row_error(best, o, n)) for o in others):
        return []
    return [f"the best {part} accuracy, {best.held_out.mean:.2f} %, is at λ = {best.l2:g}"]


def _row_error(a: PenaltyFigures, b: PenaltyFigures, n: int) -> float:
    """Standard error of the difference of two accuracies on n rows each, percent."""
    errors = [row_error(one.held_out.mean, n) for one in (a, b) if one.held_out.n]
    return float(np.hypot.reduce(errors)) if errors else 0.0


def penalty_charts(finding: PenaltyFinding) -> tuple[Chart, ...]:
    """The norm, the two accuracies and their difference, each over λ."""
    figures = finding.penalties
    l2s = [f.l2 for f in figures]
    at = f"at η = {finding.learning_rate:g}"

    def curve(label: str, column: int, spreads: Sequence[Spread]) -> Curve:
        most = max((len(f.runs) for f in figures), default=0)
        runs = [
            (str(n), [f.runs[n][column] if n < len(f.runs) else np.nan for f in figures])
            for n in range(most)
        ]
        low, high = [s.low for s in spreads], [s.high for s in spreads]
        return Curve(label, l2s, [s.mean for s in spreads], low, high, (), runs)

    def chart(name: str, heading: str, unit: str, *curves: Curve) -> Chart:
        title = f"{heading} against λ, {at}"
        axis = Axis(unit)
        x = l2_axis(l2s, "λ, log scale")
        return line_chart(
            f"penalty-{name}", title, heading, x, axis, curves, bars=True, points=True
        )

    accuracies = (
        curve("training", 1, [f.train for f in figures]),
        curve(finding.part, 2, [f.held_out for f in figures]),
    )
    gap = curve(f"training − {finding.part}", 3, [f.gap for f in figures])
    norm = curve("‖W‖", 0, [f.norm for f in figures])
    return (
        chart("norm", "Norm of W", "‖W‖ (Frobenius norm)", norm),
        chart("accuracy", "Accuracy", "share of rows / %", *accuracies),
        chart("gap", f"Training minus {finding.part} accuracy", "percentage points", gap),
    )
