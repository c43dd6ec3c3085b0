"""Learning rates compared: how fast each lowers the loss, how often it rises, and why.

The first conclusion of the report, "a higher η converges faster, but too high it jumps over the
minimum", as a measurement; it needs two learning rates at one λ. Its reason: along a direction of
curvature h, gradient descent multiplies the distance to the minimum by |1 − ηh| a step, so the
distance shrinks while h < 2/η and grows beyond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.report.chart import EPOCHS, Axis, Chart, Curve, Level, Marks, is_wide, line_chart
from onelayer.report.curves import NATS, band_of, curve_of
from onelayer.report.render import Section
from onelayer.report.summary import (
    Records,
    SettingSummary,
    Spread,
    grouped,
    is_clear,
    run_names,
    spread,
    unbroken,
)
from onelayer.report.tables import Cell, Table, make_table, spread_cell
from onelayer.training.result import Result

# More curves than colours cannot be told apart.
MOST_CURVES = 6

# A rate is unsteady when its loss rises in this share of the epochs more than the smallest rate's.
UNSTEADY_EPOCHS = 0.1


@dataclass(frozen=True)
class RateFigures:
    """How training goes at one learning rate.

    Attributes:
        learning_rate: η.
        runs: how many runs.
        time: epochs to the level in each run; one more than were trained where it was not reached.
        reached: how many runs reach it.
        rises: epochs of a run that ended with a higher training loss than they began with.
        epochs: mean number of epochs trained.
        largest_rise: largest single rise of any run, nats.
        final_validation_loss: at the last epoch each run reached, nats.
        diverged: how many runs diverged.
    """

    learning_rate: float
    runs: int
    time: Spread
    reached: int
    rises: Spread
    epochs: float
    largest_rise: float
    final_validation_loss: Spread
    diverged: int
    epochs_to_level: float


@dataclass(frozen=True, eq=False)
class RateFinding:
    """Learning rates compared at one λ, smallest η first.

    Attributes:
        l2: λ.
        level: training loss, nats, that each rate is timed to: half of the way that the smallest
            rate falls.
        rates: the figures.
        by_rate: positions of the runs of each rate.
        heading: the conclusion that the figures allow.
        sentence: what the figures say.
    """

    l2: float
    level: float
    rates: tuple[RateFigures, ...]
    by_rate: dict[float, list[int]]
    heading: str
    sentence: str


def learning_rate_section(records: Records) -> Section | None:
    """Learning rates compared, and the curvature that runs met; None without either."""
    finding = compare_rates(records.result, records.settings)
    stability = stability_section(records)
    if finding is None:
        return stability
    history = records.result.history
    charts = tuple(
        _rate_chart(records.result, finding, part, values)
        for part, values in (
            ("training", history.train_loss),
            ("validation", history.validation_loss),
        )
    )
    return Section(
        anchor="learning-rate",
        heading="Learning rate",
        text=(f"{finding.heading}.", finding.sentence),
        charts=charts,
        note="Thick lines are means over seeds, bands reach from the smallest to the largest, thin "
        "lines are single runs. A difference is a conclusion where it exceeds twice its standard "
        "error over seeds.",
        table=_rate_table(finding),
        sections=(stability,) if stability else (),
    )


def compare_rates(result: Result, settings: Sequence[SettingSummary]) -> RateFinding | None:
    """Compare learning rates at the λ that has most of them."""
    measured = np.asarray(np.isfinite(result.history.train_loss).any(axis=1))
    groups = grouped(settings, measured, lambda s: s.l2, lambda s: s.learning_rate)
    if not groups:
        return None
    l2, by_rate = groups
    rates = sorted(by_rate)
    if len(rates) > MOST_CURVES:
        places = np.linspace(0, len(rates) - 1, MOST_CURVES).round().astype(int)
        rates = [rates[i] for i in places]
    mean = band_of(result.history.train_loss[by_rate[rates[0]]]).mean
    mean = mean[np.isfinite(mean)]
    level = float(mean[0] + mean.min()) / 2.0
    figures = tuple(_figures_of_rate(result, rate, by_rate[rate], level) for rate in rates)
    return RateFinding(
        l2=l2,
        level=level,
        rates=figures,
        by_rate={rate: by_rate[rate] for rate in rates},
        heading=_conclude_rates(figures[0], figures[-1]),
        sentence=_describe_rates(l2, level, figures),
    )


def _rate_chart(
    result: Result, finding: RateFinding, part: str, values: NDArray[np.float64]
) -> Chart:
    curves = [
        curve_of(f"η = {rate:g}", values[positions], run_names(result, positions))
        for rate, positions in finding.by_rate.items()
    ]
    return line_chart(
        f"rates-{part}",
        f"{part.capitalize()} loss at λ = {finding.l2:g}, by learning rate",
        f"{part.capitalize()} loss",
        EPOCHS,
        Axis(NATS, log=is_wide(curves)),
        curves,
        show_runs=True,
        zoom=True,
    )


def _figures_of_rate(
    result: Result, rate: float, positions: list[int], level: float
) -> RateFigures:
    time, reached, rises, epochs, largest, last = [], [], [], [], 0.0, []
    for i in positions:
        loss = result.history.train_loss[i]
        loss = loss[np.isfinite(loss)]
        under = np.flatnonzero(loss <= level)
        reached.append(under.size > 0)
        time.append(float(under[0]) if under.size else result.runs[i].epochs + 1.0)
        steps = np.diff(loss)
        rises.append(int((steps > 0).sum()))
        epochs.append(len(steps))
        largest = max(largest, float(steps.max(initial=0.0)))
        validation = result.history.validation_loss[i]
        validation = validation[np.isfinite(validation)]
        last.append(float(validation[-1]) if validation.size else math.nan)
    finite = np.where(reached, time, math.inf)
    return RateFigures(
        learning_rate=rate,
        runs=len(positions),
        time=spread(time),
        reached=sum(reached),
        rises=spread(rises),
        epochs=float(np.mean(epochs)),
        largest_rise=largest,
        final_validation_loss=spread(last),
        diverged=sum(result.outcomes[i].status == "diverged" for i in positions),
        epochs_to_level=float(np.sort(finite)[len(finite) // 2]),
    )


def _conclude_rates(slow: RateFigures, fast: RateFigures) -> str:
    timed = is_clear(slow.time, fast.time)
    quicker = timed and fast.time.mean < slow.time.mean
    more = fast.rises.mean - slow.rises.mean > UNSTEADY_EPOCHS * fast.epochs
    unsteady = fast.diverged > 0 or (more and is_clear(slow.rises, fast.rises))
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


def _describe_rates(l2: float, level: float, rates: tuple[RateFigures, ...]) -> str:
    slow, fast = rates[0], rates[-1]
    a, b = f"η = {slow.learning_rate:g}", f"η = {fast.learning_rate:g}"
    parts = [
        f"At λ = {l2:g}, {a} makes half of its loss reduction (to {level:.3f}) {_when(slow)}; "
        f"{b} reaches that level {_when(fast)}.",
        f"The training loss rises in {fast.rises.mean:.3g} of {fast.epochs:.3g} epochs with {b}"
        f"{_by(fast)}, and in {slow.rises.mean:.3g} of {slow.epochs:.3g} with {a}{_by(slow)}.",
    ]
    first, last = slow.final_validation_loss, fast.final_validation_loss
    if first.n and last.n:
        parts.append(
            f"The last validation loss is {_loss(last)} with {b}, {_loss(first)} with {a}."
        )
    parts += [
        f"{rate.diverged} of {rate.runs} runs with η = {rate.learning_rate:g} diverged."
        for rate in rates
        if rate.diverged
    ]
    return " ".join(parts)


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
            f"{rate.rises.mean:.3g} of {rate.epochs:.3g}",
            f"{rate.largest_rise:.2f}",
            spread_cell(rate.final_validation_loss, ".3f", strong=True),
        ]
        for rate in finding.rates
    ]
    columns = (
        *("η", "runs", f"epochs to a training loss of {finding.level:.3f} (median)"),
        *("epochs in which it rose", "largest rise / nats", "last validation loss / nats"),
    )
    return make_table("Learning rates", columns, rows)


@dataclass(frozen=True)
class Bend:
    """The curvature that one run met, against what its step allows.

    Attributes:
        label: the run, by its η, and by λ and seed where those differ.
        learning_rate: η.
        epochs: when it was measured.
        values: λmax of the Hessian of J at those epochs.
    """

    label: str
    learning_rate: float
    epochs: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def limit(self) -> float:
        """2/η: above it the step overshoots."""
        return 2.0 / self.learning_rate

    @property
    def above(self) -> int:
        """At how many of the measured epochs the curvature is above the limit."""
        return sum(value > self.limit for value in self.values)


# Words over the line of a limit this share of another's or nearer to it would meet its words.
NEAR = 1.3


def stability_section(records: Records) -> Section | None:
    """The curvature that each measured run met, against 2/η; None without a measured run."""
    bends = find_curvatures(records.result, records.settings)
    if not bends:
        return None
    sentence = unbroken(" ".join(map(_describe_bend, bends)))
    return Section(
        anchor="stability",
        heading="Curvature and the stable step",
        text=(
            "A step η is stable where the curvature of the cost is under 2/⁠η; above it, each "
            "step along that direction lands farther from the minimum than it started.",
            sentence,
        ),
        charts=(stability_chart(bends),),
        note="Solid: the largest eigenvalue λmax of the Hessian of J on all training rows, at the "
        "weights that the run had reached. Dashed, in the same colour: 2/⁠η. The limit is that of "
        "full-batch steps; mini-batches add noise.",
    )


def find_curvatures(result: Result, settings: Sequence[SettingSummary]) -> tuple[Bend, ...]:
    """The first MOST_CURVES measured runs, smallest η first."""
    of_run = {i: setting for setting in settings for i in setting.positions}
    measured = [i for i in sorted(result.curvatures) if result.curvatures[i].epochs][:MOST_CURVES]
    several_l2 = len({of_run[i].l2 for i in measured}) > 1
    names = [(of_run[i].learning_rate, of_run[i].l2) for i in measured]
    bends = []
    for i, name in zip(measured, names, strict=True):
        label = f"η = {name[0]:g}"
        label += f", λ = {name[1]:g}" if several_l2 else ""
        label += f", seed {result.runs[i].seed}" if names.count(name) > 1 else ""
        curvature = result.curvatures[i]
        bends.append(Bend(label, name[0], curvature.epochs, curvature.values))
    return tuple(sorted(bends, key=lambda bend: bend.learning_rate))


def _describe_bend(bend: Bend) -> str:
    """One run in a sentence: on which side of its limit it was, and how often."""
    measured, above, limit = len(bend.values), bend.above, f"2/η = {bend.limit:.3g}"
    low, high = min(bend.values), max(bend.values)
    span = f"{low:.3g}" if measured == 1 else f"{low:.3g} to {high:.3g}"
    if above == 0:
        return f"With {bend.label} the curvature, {span}, stays under {limit}: that step is stable."
    if above == measured:
        return (
            f"With {bend.label} the curvature, {span}, is above {limit} whenever it was measured: "
            "that step overshoots and is unstable."
        )
    return (
        f"With {bend.label} the curvature, {span}, is above {limit} at {above} of the {measured} "
        "epochs measured: there that step overshoots."
    )


def stability_chart(bends: Sequence[Bend]) -> Chart:
    """Draw λmax of the Hessian over epochs, and 2/η as a dashed line of the same colour."""
    levels: list[Level] = []
    for i, bend in enumerate(bends):
        near = any(1 / NEAR < bend.limit / level.value < NEAR for level in levels if level.words)
        words = "" if near else f"2/η = {bend.limit:.3g} for {bend.label.split(',')[0]}"
        levels.append(Level(bend.limit, words, i))
    curves = [
        Curve(
            bend.label,
            bend.epochs,
            bend.values,
            words=[
                f"{value:.4g}, {'overshoots' if value > bend.limit else 'stable'}"
                for value in bend.values
            ],
        )
        for bend in bends
    ]
    return line_chart(
        "rates-curvature",
        "Curvature of the cost against what each step allows",
        "Curvature of the cost against what each step allows",
        EPOCHS,
        Axis("largest curvature λmax(H)", log=True, format="~g"),
        curves,
        points=True,
        marks=Marks(levels=tuple(levels)),
    )
