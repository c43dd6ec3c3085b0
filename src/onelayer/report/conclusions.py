"""The report's two conclusions as measurements: values of η compared, and values of λ.

Each needs two values of the one at one value of the other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.report import summary
from onelayer.report.chart import Axis, Chart, Curve, Level, Marks, is_wide, l2_axis, line_chart
from onelayer.report.render import Section
from onelayer.report.settings import EPOCHS, NATS, curve_of
from onelayer.report.summary import Records, SettingSummary, Spread
from onelayer.report.table import Cell, Table, make_table, spread_cell
from onelayer.training.result import Result

# More curves than colours cannot be told apart.
MOST_CURVES = 6


@dataclass(frozen=True)
class RateFigures:
    """How training goes at one learning rate."""

    learning_rate: float
    positions: tuple[int, ...]  # of its runs in the result
    time: Spread  # epochs to the level; one more than were trained where it was not reached
    reached: int  # how many runs reach it
    epochs_to_level: float  # in the median run; infinite where that does not reach it
    rises: Spread  # epochs that ended with a higher training loss than they began with
    epochs: float  # mean number of epochs trained
    largest_rise: float  # of any run in one epoch, nats
    last_loss: Spread  # validation loss at the last epoch that each run reached, nats
    diverged: int  # how many runs
    runs: int


@dataclass(frozen=True)
class RateFinding:
    """Learning rates compared, smallest η first, `at` one λ and in all else alike."""

    at: str
    level: float  # training loss that rates are timed to, nats: half the way of the smallest
    rates: tuple[RateFigures, ...]
    heading: str
    sentence: str


def learning_rate_section(records: Records) -> Section | None:
    """Learning rates compared, and the curvature that runs met; None without either."""
    finding = compare_rates(records.result, records.settings)
    stability = stability_section(records)
    if finding is None:
        return stability
    return Section(
        anchor="learning-rate",
        heading="Learning rate",
        text=(f"{finding.heading}.", finding.sentence),
        charts=tuple(_rate_chart(records.result, finding, p) for p in ("training", "validation")),
        note="Thick lines are means over seeds, bands reach from the smallest to the largest, thin "
        "lines are single runs. A difference is a conclusion where it exceeds twice its standard "
        "error over seeds.",
        table=_rate_table(finding),
        sections=(stability,) if stability else (),
    )


def compare_rates(result: Result, settings: Sequence[SettingSummary]) -> RateFinding | None:
    """Compare learning rates at the λ that has most of them; None without two."""
    measured = np.asarray(np.isfinite(result.history.train_loss).any(axis=1))
    compared = summary.settings_over("learning_rate", settings, measured)
    if compared is None:
        return None
    l2, by_rate = compared.fixed, compared.positions
    rates = sorted(by_rate)
    if len(rates) > MOST_CURVES:
        places = np.linspace(0, len(rates) - 1, MOST_CURVES).round().astype(int)
        rates = [rates[i] for i in places]
    slowest = _rate_curve(result, result.history.train_loss, rates[0], by_rate[rates[0]])
    mean = [loss for loss in slowest.mean if math.isfinite(loss)]
    level = (mean[0] + min(mean)) / 2.0
    figures = tuple(_figures_of_rate(result, rate, by_rate[rate], level) for rate in rates)
    heading = _conclude_rates(figures[0], figures[-1])
    at = f"λ = {l2:g}{compared.place}"
    return RateFinding(at, level, figures, heading, _describe_rates(at, level, figures))


def _rate_chart(result: Result, finding: RateFinding, part: str) -> Chart:
    history = result.history
    values = history.train_loss if part == "training" else history.validation_loss
    curves = [_rate_curve(result, values, r.learning_rate, r.positions) for r in finding.rates]
    heading = f"{part.capitalize()} loss"
    title = f"{heading} at {finding.at}, by learning rate"
    axis = Axis(NATS, log=is_wide(curves))
    return line_chart(
        f"rates-{part}", title, heading, EPOCHS, axis, curves, show_runs=True, zoom=True
    )


def _rate_curve(
    result: Result, values: NDArray[np.float64], rate: float, positions: Sequence[int]
) -> Curve:
    return curve_of(f"η = {rate:g}", values[list(positions)], summary.run_names(result, positions))


def _figures_of_rate(
    result: Result, rate: float, positions: Sequence[int], level: float
) -> RateFigures:
    positions = list(positions)
    loss = result.history.train_loss[positions]
    loss = np.where(np.isfinite(loss), loss, np.nan)
    steps = np.diff(loss, axis=1)
    under = loss <= level
    reached = under.any(axis=1)
    limits = [result.runs[i].epochs + 1 for i in positions]
    times = np.where(reached, under.argmax(axis=1), limits)
    in_order = np.sort(np.where(reached, times, np.inf))
    validation = (row[np.isfinite(row)] for row in result.history.validation_loss[positions])
    return RateFigures(
        learning_rate=rate,
        positions=tuple(positions),
        time=summary.spread(times),
        reached=int(reached.sum()),
        epochs_to_level=float(in_order[len(in_order) // 2]),
        rises=summary.spread((steps > 0).sum(axis=1)),
        epochs=float(np.isfinite(steps).sum(axis=1).mean()),
        largest_rise=float(np.fmax.reduce(steps, axis=None, initial=0.0)),
        last_loss=summary.spread([row[-1] for row in validation if row.size]),
        diverged=sum(result.outcomes[i].status == "diverged" for i in positions),
        runs=len(positions),
    )


def _conclude_rates(slow: RateFigures, fast: RateFigures) -> str:
    timed = summary.is_clear(slow.time, fast.time)
    quicker = timed and fast.time.mean < slow.time.mean
    # Unsteady: the loss rises in so many more epochs than at the smallest rate.
    more = fast.rises.mean - slow.rises.mean > 0.1 * fast.epochs
    unsteady = fast.diverged > 0 or (more and summary.is_clear(slow.rises, fast.rises))
    if unsteady and quicker:
        return "A larger step is faster at first, and then jumps over the minimum"
    if unsteady:
        return "Too large a step jumps over the minimum and does not settle"
    if quicker:
        return "A larger step converges faster"
    if timed:
        return "Here a larger step is not faster"
    few = min(slow.runs, fast.runs) < 2
    why = "one seed shows no spread" if few else "the difference is within its standard error"
    return f"No conclusion on the learning rate: {why}"


def _describe_rates(at: str, level: float, rates: Sequence[RateFigures]) -> str:
    slow, fast = rates[0], rates[-1]
    a, b = f"η = {slow.learning_rate:g}", f"η = {fast.learning_rate:g}"
    parts = [
        f"At {at}, {a} makes half of its loss reduction (to {level:.3f}) {_when(slow)}; "
        f"{b} reaches that level {_when(fast)}.",
        f"The training loss rises in {_rises(fast, ' epochs')} with {b}{_by(fast)}, "
        f"and in {_rises(slow)} with {a}{_by(slow)}.",
    ]
    if slow.last_loss.n and fast.last_loss.n:
        parts.append(
            f"The last validation loss is {_loss(fast.last_loss)} with {b}, "
            f"{_loss(slow.last_loss)} with {a}."
        )
    parts += [
        f"{rate.diverged} of {rate.runs} runs with η = {rate.learning_rate:g} diverged."
        for rate in rates
        if rate.diverged
    ]
    return " ".join(parts)


def _rises(rate: RateFigures, unit: str = "") -> str:
    return f"{rate.rises.mean:.3g} of {rate.epochs:.3g}{unit}"


def _by(rate: RateFigures) -> str:
    return f" (by up to {rate.largest_rise:.2g} nats)" if rate.rises.mean else ""


def _loss(loss: Spread) -> str:
    around = f" ({loss.low:.3g} to {loss.high:.3g} over seeds)" if loss.n > 1 else ""
    return f"{loss.mean:.3g}{around}"


def _when(rate: RateFigures) -> str:
    if math.isinf(rate.epochs_to_level):
        return f"in {rate.reached} of {rate.runs} runs" if rate.reached else "in no run"
    epoch = int(rate.epochs_to_level)
    return f"after {epoch} epoch{'s' * (epoch != 1)}"


def _rate_table(finding: RateFinding) -> Table:
    rows: list[list[Cell | str]] = [
        [
            f"{rate.learning_rate:g}",
            str(rate.runs),
            "not reached" if math.isinf(rate.epochs_to_level) else f"{rate.epochs_to_level:.0f}",
            _rises(rate),
            f"{rate.largest_rise:.2f}",
            spread_cell(rate.last_loss, ".3f", strong=True),
        ]
        for rate in finding.rates
    ]
    columns = (
        *("η", "runs", f"epochs to a training loss of {finding.level:.3f} (median)"),
        *("epochs in which it rose", "largest rise / nats", "last validation loss / nats"),
    )
    return make_table("Learning rates", columns, rows, note=summary.OVER_SEEDS)


@dataclass(frozen=True)
class Bend:
    """The curvature that one run met, against what its step allows.

    Along a direction of curvature h, gradient descent multiplies the distance to the minimum by
    |1 − ηh| a step: it shrinks while h < 2/η and grows beyond.
    """

    label: str  # the run, by its η, and by what else sets it apart
    learning_rate: float
    epochs: tuple[int, ...]  # when it was measured
    values: tuple[float, ...]  # λmax of the Hessian of J

    @property
    def limit(self) -> float:
        """2/η: above it the step overshoots."""
        return 2.0 / self.learning_rate

    @property
    def above(self) -> int:
        """At how many of the measured epochs the curvature is above the limit."""
        return sum(value > self.limit for value in self.values)


def stability_section(records: Records) -> Section | None:
    """The curvature that each measured run met, against 2/η; None without a measured run."""
    bends = find_curvatures(records.result, records.settings)
    if not bends:
        return None
    return Section(
        anchor="stability",
        heading="Curvature and the stable step",
        text=(
            "A step η is stable where the curvature of the cost is under 2/η; above it, each "
            "step along that direction lands farther from the minimum than it started.",
            " ".join(map(_describe_bend, bends)),
        ),
        charts=(_stability_chart(bends),),
        note="Solid: the largest eigenvalue λmax of the Hessian of J on all training rows, at the "
        "weights that the run had reached. Dashed, in the same colour: 2/η. The limit is that of "
        "full-batch steps; mini-batches add noise.",
    )


def find_curvatures(result: Result, settings: Sequence[SettingSummary]) -> tuple[Bend, ...]:
    """The first MOST_CURVES measured runs, smallest η first."""
    of_run = {i: setting for setting in settings for i in setting.positions}
    measured = [i for i in sorted(result.curvatures) if result.curvatures[i].epochs][:MOST_CURVES]
    several_l2 = len({of_run[i].l2 for i in measured}) > 1
    several_kinds = len({of_run[i].kind for i in measured}) > 1
    of_setting = Counter(of_run[i].positions for i in measured)
    bends = []
    for i in measured:
        setting, curvature = of_run[i], result.curvatures[i]
        words = [f"η = {setting.learning_rate:g}"]
        words += [f"λ = {setting.l2:g}"] if several_l2 else []
        words += [setting.kind] if several_kinds else []
        words += [f"seed {result.runs[i].seed}"] if of_setting[setting.positions] > 1 else []
        label = ", ".join(words)
        bends.append(Bend(label, setting.learning_rate, curvature.epochs, curvature.values))
    return tuple(sorted(bends, key=lambda bend: bend.learning_rate))


def _describe_bend(bend: Bend) -> str:
    """One run in a sentence: on which side of its limit it was, and how often."""
    measured, above, limit = len(bend.values), bend.above, f"2/η = {bend.limit:.3g}"
    low, high = min(bend.values), max(bend.values)
    span = f"{low:.3g}" if measured == 1 else f"{low:.3g} to {high:.3g}"
    if above == 0:
        where = f"stays under {limit}: that step is stable"
    elif above == measured:
        where = f"is above {limit} whenever it was measured: that step overshoots and is unstable"
    else:
        where = (
            f"is above {limit} at {above} of the {measured} epochs measured: there that step "
            "overshoots"
        )
    return f"With {bend.label} the curvature, {span}, {where}."


# Words over the line of a limit this share of another's or nearer to it would meet its words.
NEAR = 1.3


def _stability_chart(bends: Sequence[Bend]) -> Chart:
    """λmax of the Hessian over epochs, and 2/η as a dashed line of the same colour."""
    levels: list[Level] = []
    curves = []
    for i, bend in enumerate(bends):
        near = any(1 / NEAR < bend.limit / level.value < NEAR for level in levels if level.words)
        words = "" if near else f"2/η = {bend.limit:.3g} for {bend.label.split(',')[0]}"
        levels.append(Level(bend.limit, words, i))
        said = ["overshoots" if value > bend.limit else "stable" for value in bend.values]
        words_near = [f"{v:.4g}, {w}" for v, w in zip(bend.values, said, strict=True)]
        curves.append(Curve(bend.label, bend.epochs, bend.values, words=words_near))
    title = "Curvature of the cost against what each step allows"
    log = all(value > 0.0 for bend in bends for value in bend.values)
    axis = Axis("largest curvature λmax(H)", log=log, format="~g")
    marks = Marks(levels=tuple(levels))
    return line_chart(
        "rates-curvature", title, title, EPOCHS, axis, curves, points=True, marks=marks
    )


@dataclass(frozen=True)
class PenaltyFigures:
    """What one λ does; accuracies in percent, their difference in percentage points."""

    l2: float
    norm: Spread
    train: Spread
    # Of the test rows where results are set beside reported ones, else of the validation rows:
    # settings that a choice is made among are not scored on test rows.
    held_out: Spread
    gap: Spread
    runs: NDArray[np.float64]  # ‖W‖, training, held-out, training − held-out of each run


@dataclass(frozen=True)
class PenaltyFinding:
    """Values of λ compared, smallest first, `at` one η and in all else alike."""

    at: str
    part: str  # of the rows held out
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
        charts=_penalty_charts(finding),
        note="Large marks are means over seeds, small ones single runs; bars reach from the "
        "smallest to the largest value. A difference is a conclusion where it exceeds twice its "
        f"standard error, over seeds and, for accuracies on {finding.part} rows, over those rows.",
    )


def compare_penalties(result: Result, settings: Sequence[SettingSummary]) -> PenaltyFinding | None:
    """Compare values of λ at the η that has most of them; None without two."""
    counted = {i for setting in settings for i in setting.counted}
    measured = np.asarray(np.isfinite(result.weight_norm))
    compared = summary.settings_over("l2", settings, measured)
    if compared is None:
        return None
    at, by_l2 = f"η = {compared.fixed:g}{compared.place}", compared.positions
    part, held_out = "test", summary.percent_on_test(result)
    rows = result.test_scores[0].rows if result.test_scores else int(result.confusion[0].sum())
    if not result.reported:
        part, held_out = "validation", 100.0 * result.validation_accuracy
        rows = result.data.validation_rows
    train = 100.0 * result.train_accuracy
    values = np.stack([result.weight_norm, train, held_out, train - held_out], axis=1)
    figures = []
    for l2 in sorted(by_l2):
        of_l2 = values[[i for i in by_l2[l2] if i in counted]]
        whole = of_l2[np.isfinite(of_l2).all(axis=1)]
        norm, of_train, of_part, gap = map(summary.spread, of_l2.T)
        runs = whole[:64]  # are drawn as points; of more the range says enough
        figures.append(PenaltyFigures(l2, norm, of_train, of_part, gap, runs))
    heading, sentence = _conclude_penalties(at, figures, part, rows)
    return PenaltyFinding(at, part, tuple(figures), heading, sentence)


def _conclude_penalties(
    at: str, figures: Sequence[PenaltyFigures], part: str, n: int
) -> tuple[str, str]:
    """The conclusion in a line, and the figures in a sentence; only what is clear is concluded."""
    first, last = figures[0], figures[-1]
    facts = [f"‖W‖ is {first.norm.mean:.3g} and {last.norm.mean:.3g}"]
    facts.append(f"training accuracy {first.train.mean:.2f} and {last.train.mean:.2f} %")
    if first.gap.n and last.gap.n:
        gaps = f"{summary.number(first.gap.mean)} and {summary.number(last.gap.mean)}"
        facts.append(f"training − {part} accuracy {gaps} points")
    sentence = f"At {at}, with λ = {first.l2:g} and λ = {last.l2:g}, {summary.listed(facts)}."
    heads, found = [], []
    if summary.is_clear(first.norm, last.norm):
        smaller = last.norm.mean < first.norm.mean
        heads.append("λ shrinks W" if smaller else "here λ does not shrink W")
        low, high = sorted((first.norm.mean, last.norm.mean))
        times = f"{high / low:.3g} times {'smaller' if smaller else 'larger'}" if low else "0"
        found.append(f"‖W‖ becomes {times}")
    if summary.is_clear(first.gap, last.gap, _row_error(first, last, n)):
        less = last.gap.mean < first.gap.mean
        heads.append(f"{'less' if less else 'more'} overfitting")
        change = abs(last.gap.mean - first.gap.mean)
        found.append(f"overfitting {'falls' if less else 'rises'} by {change:.2f} points")
    if summary.is_clear(first.train, last.train):
        change = last.train.mean - first.train.mean
        words = (
            f"training accuracy {'falls' if change < 0 else 'rises'} by {abs(change):.2f} points"
        )
        heads += ["more bias"] if change < 0 else []
        found.append(words + (", the bias that a large λ adds" if change < 0 else ""))
    best, *others = sorted(figures, key=lambda f: -f.held_out.mean if f.held_out.n else np.inf)
    if all(summary.is_clear(best.held_out, o.held_out, _row_error(best, o, n)) for o in others):
        reached = f"the best {part} accuracy, {best.held_out.mean:.2f} %"
        found.append(f"{reached}, is at λ = {best.l2:g}")
    if found:
        sentence += f" Beyond twice the standard error: {'; '.join(found)}."
    few = min(first.norm.n, last.norm.n) < 2
    why = "one seed shows no spread" if few else "no difference exceeds twice its standard error"
    heading = ", ".join(heads) or f"no conclusion on the penalty: {why}"
    return heading[0].upper() + heading[1:] if heading[0] != "λ" else heading, sentence


def _row_error(a: PenaltyFigures, b: PenaltyFigures, n: int) -> float:
    """Standard error of the difference of two accuracies on n rows each, percent."""
    parts = (one.held_out for one in (a, b) if one.held_out.n)
    return math.hypot(*(summary.row_error(part.mean, n) for part in parts))


def _penalty_charts(finding: PenaltyFinding) -> tuple[Chart, ...]:
    figures = finding.penalties
    l2s = [f.l2 for f in figures]
    most = max(len(f.runs) for f in figures)

    def curve(label: str, column: int) -> Curve:
        spreads = [(f.norm, f.train, f.held_out, f.gap)[column] for f in figures]
        runs = [
            (str(n), [f.runs[n, column] if n < len(f.runs) else np.nan for f in figures])
            for n in range(most)
        ]
        low, high = [s.low for s in spreads], [s.high for s in spreads]
        return Curve(label, l2s, [s.mean for s in spreads], low, high, (), runs)

    def chart(name: str, heading: str, unit: str, *curves: Curve) -> Chart:
        title = f"{heading} against λ, at {finding.at}"
        x = l2_axis(l2s, "λ, log scale")
        return line_chart(
            f"penalty-{name}", title, heading, x, Axis(unit), curves, bars=True, points=True
        )

    part = finding.part
    accuracies = curve("training", 1), curve(part, 2)
    gap = f"Training minus {part} accuracy"
    return (
        chart("norm", "Norm of W", "‖W‖ (Frobenius norm)", curve("‖W‖", 0)),
        chart("accuracy", "Accuracy", "share of rows / %", *accuracies),
        chart("gap", gap, "percentage points", curve(f"training − {part}", 3)),
    )
