"""Conclusion 1 as a measurement: "a higher η converges faster, too high it jumps the minimum".

Needs two learning rates at one λ.

Conclusion 1 explained: a step η overshoots where the cost bends more sharply than 2/η.

Along a direction of curvature h, gradient descent multiplies the distance to the minimum by
|1 − ηh| a step: it shrinks while h < 2/η and grows beyond.

The chart of conclusion 1's reason: curvature met over epochs, and 2/η as a line for each run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onelayer.report.chart import SHAPES, SMALLEST, Chart, Key, finished_specs, short
from onelayer.report.curves import Series, band_of
from onelayer.report.summary import SettingSummary, Spread, grouped, run_names, spread, unbroken
from onelayer.training.result import Result

if TYPE_CHECKING:
    import altair as alt

    from onelayer.report.chart import AltairChart

# More curves than colours cannot be told apart.
MOST_RATES = 6

# A rate jumps about when its loss rises in this share of the epochs more than the smallest rate's.
RESTLESS_EPOCHS = 0.1


@dataclass(frozen=True)
class RateFigures:
    """How training goes at one learning rate.

    Attributes:
        learning_rate: η.
        runs: how many runs.
        epochs_to_level: median epoch at which the training loss first is at the level or under
            it; infinite when most runs never get there.
        reached: how many runs get there.
        rises: mean number of epochs that ended with a higher training loss than they began with.
        epochs: mean number of epochs trained.
        largest_rise: largest single rise of any run, nats.
        final_validation_loss: at the last epoch each run reached, nats.
        diverged: how many runs diverged.
    """

    learning_rate: float
    runs: int
    epochs_to_level: float
    reached: int
    rises: float
    epochs: float
    largest_rise: float
    final_validation_loss: Spread
    diverged: int


@dataclass(frozen=True, eq=False)
class RateFinding:
    """Learning rates compared at one λ, smallest η first.

    Attributes:
        l2: λ.
        level: training loss, in nats, that each rate is timed to: half of the way that the
            smallest rate falls.
        heading: the conclusion that the figures allow, in a line.
        rates: the figures.
        training: training loss of each rate.
        validation: validation loss of each rate.
        sentence: what the figures say.
    """

    l2: float
    level: float
    rates: tuple[RateFigures, ...]
    training: tuple[Series, ...]
    validation: tuple[Series, ...]
    heading: str
    sentence: str


def compare_rates(result: Result, settings: Sequence[SettingSummary]) -> RateFinding | None:
    """Compare learning rates at the λ that has most of them.

    Args:
        result: the records.
        settings: its settings, summarised.

    Returns:
        The finding, or None without two learning rates at one λ. Of more than MOST_RATES rates,
        that many are taken, evenly from the smallest to the largest.
    """
    measured = np.asarray(np.isfinite(result.history.train_loss).any(axis=1))
    groups = grouped(settings, measured, lambda s: s.l2, lambda s: s.learning_rate)
    if not groups:
        return None
    l2, by_rate = groups
    rates = _evenly(sorted(by_rate), MOST_RATES)
    loss = result.history.train_loss
    level = _half_way(loss[by_rate[rates[0]]])
    figures = tuple(_figures_of_rate(result, rate, by_rate[rate], level) for rate in rates)
    return RateFinding(
        l2=l2,
        level=level,
        rates=figures,
        training=_series(result, loss, rates, by_rate),
        validation=_series(result, result.history.validation_loss, rates, by_rate),
        heading=_conclude_rates(figures[0], figures[-1]),
        sentence=_say_rates(l2, level, figures),
    )


def _evenly(values: list[float], most: int) -> list[float]:
    if len(values) <= most:
        return values
    places = np.linspace(0, len(values) - 1, most).round().astype(int)
    return [values[i] for i in places]


def _series(
    result: Result,
    measured: NDArray[np.float64],
    rates: list[float],
    by_rate: dict[float, list[int]],
) -> tuple[Series, ...]:
    return tuple(
        Series(f"η = {rate:g}", measured[by_rate[rate]], run_names(result, by_rate[rate]))
        for rate in rates
    )


def _half_way(losses: NDArray[np.float64]) -> float:
    """Half of the way that the mean loss falls, from where it starts to its lowest."""
    mean = band_of(losses).mean
    mean = mean[np.isfinite(mean)]
    return float(mean[0] + mean.min()) / 2.0


def _figures_of_rate(
    result: Result, rate: float, positions: list[int], level: float
) -> RateFigures:
    reached, rises, epochs, largest, last = [], [], [], 0.0, []
    for i in positions:
        loss = result.history.train_loss[i]
        loss = loss[np.isfinite(loss)]
        under = np.flatnonzero(loss <= level)
        reached.append(float(under[0]) if under.size else math.inf)
        steps = np.diff(loss)
        rises.append(int((steps > 0).sum()))
        epochs.append(len(steps))
        largest = max(largest, float(steps.max(initial=0.0)))
        validation = result.history.validation_loss[i]
        validation = validation[np.isfinite(validation)]
        last.append(float(validation[-1]) if validation.size else math.nan)
    return RateFigures(
        learning_rate=rate,
        runs=len(positions),
        epochs_to_level=float(np.sort(reached)[len(reached) // 2]),
        reached=int(np.isfinite(reached).sum()),
        rises=float(np.mean(rises)),
        epochs=float(np.mean(epochs)),
        largest_rise=largest,
        final_validation_loss=spread(last),
        diverged=sum(result.outcomes[i].status == "diverged" for i in positions),
    )


def _conclude_rates(slow: RateFigures, fast: RateFigures) -> str:
    quicker = fast.epochs_to_level < slow.epochs_to_level
    restless = fast.diverged > 0 or fast.rises > slow.rises + RESTLESS_EPOCHS * fast.epochs
    if restless and quicker:
        return "A larger step is faster at first, and then jumps over the minimum"
    if restless:
        return "Too large a step jumps over the minimum and does not settle"
    return "A larger step converges faster" if quicker else "Here a larger step is not faster"


def _say_rates(l2: float, level: float, rates: tuple[RateFigures, ...]) -> str:
    slow, fast = rates[0], rates[-1]
    one, other = f"η = {slow.learning_rate:g}", f"η = {fast.learning_rate:g}"
    parts = [
        f"At λ = {l2:g}, {one} has taken the training loss half of its way down, to {level:.3f}, "
        f"{_when(slow)}; {other} gets there {_when(fast)}.",
        f"Instead of falling, the loss rises in {fast.rises:.3g} of {fast.epochs:.3g} epochs with "
        f"{other}{_by(fast)}, and in {slow.rises:.3g} of {slow.epochs:.3g} with {one}{_by(slow)}.",
    ]
    a, b = slow.final_validation_loss, fast.final_validation_loss
    if a.n and b.n:
        parts.append(
            f"At the end the validation loss is {_ends(b)} with {other}, {_ends(a)} with {one}."
        )
    parts += [
        f"{rate.diverged} of {rate.runs} runs with η = {rate.learning_rate:g} diverged."
        for rate in rates
        if rate.diverged
    ]
    return " ".join(parts)


def _by(rate: RateFigures) -> str:
    return f" (by up to {rate.largest_rise:.2g} nats in one)" if rate.rises else ""


def _ends(loss: Spread) -> str:
    over = f" ({loss.low:.3g} to {loss.high:.3g} over seeds)" if loss.n > 1 else ""
    return f"{loss.mean:.3g}{over}"


def _when(rate: RateFigures) -> str:
    if math.isinf(rate.epochs_to_level):
        return (
            "in none of its runs" if rate.reached == 0 else f"in {rate.reached} of {rate.runs} runs"
        )
    epoch = int(rate.epochs_to_level)
    return f"after {epoch} epoch{'s' * (epoch != 1)}"


# More curves than colours cannot be told apart.
MOST_CURVES = 6


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


@dataclass(frozen=True)
class StabilityFinding:
    """Curvatures met in training, smallest η first.

    Attributes:
        bends: of the measured runs.
        sentence: what the numbers say.
    """

    bends: tuple[Bend, ...]
    sentence: str


def compare_curvatures(
    result: Result, settings: Sequence[SettingSummary]
) -> StabilityFinding | None:
    """Set the curvature that each measured run met against 2/η.

    Args:
        result: the records.
        settings: its settings, summarised.

    Returns:
        The finding, or None without a measured run. Of more than MOST_CURVES runs the first are
        taken.
    """
    of_run = {i: setting for setting in settings for i in setting.positions}
    measured = [i for i in sorted(result.curvatures) if result.curvatures[i].epochs][:MOST_CURVES]
    if not measured:
        return None
    several_l2 = len({of_run[i].l2 for i in measured}) > 1
    names = [(of_run[i].learning_rate, of_run[i].l2) for i in measured]
    bends = []
    for i, name in zip(measured, names, strict=True):
        label = f"η = {name[0]:g}"
        label += f", λ = {name[1]:g}" if several_l2 else ""
        label += f", seed {result.runs[i].seed}" if names.count(name) > 1 else ""
        curvature = result.curvatures[i]
        bends.append(Bend(label, name[0], curvature.epochs, curvature.values))
    bends.sort(key=lambda bend: bend.learning_rate)
    return StabilityFinding(tuple(bends), unbroken(" ".join(map(_say, bends))))


def _say(bend: Bend) -> str:
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


NAME = "rates-curvature"

TITLE = "Curvature of the cost against what each step allows"

UNIT = "largest curvature λmax(H), log scale"

LIMIT_DASH = (6, 4)

# Words under the line of a limit this share of another's or nearer to it would meet its words.
NEAR = 1.3


def stability_chart(bends: Sequence[Bend]) -> Chart:
    """Draw the curvature that runs met.

    Args:
        bends: runs, at least one.

    Returns:
        The chart: solid with marks λmax(H), dashed 2/η, in the run's colour.
    """
    drawing = _Drawing(tuple(bend.label for bend in bends))
    specs = finished_specs(drawing.layers(paper=False), drawing.layers(paper=True))
    tables = {"met": _met(bends), "limits": _limits(bends)}
    ends = "; ".join(
        f"{bend.label}: {bend.values[0]:.3g} at epoch {bend.epochs[0]} to {bend.values[-1]:.3g} at "
        f"epoch {bend.epochs[-1]}, 2/η = {bend.limit:.3g}"
        for bend in bends
    )
    return Chart(
        name=NAME,
        title=TITLE,
        heading=TITLE,
        description=f"{TITLE}. λmax of the Hessian, {ends}.",
        page=specs.page_with(tables),
        paper=specs.paper_with(tables, TITLE),
        legend=tuple(Key(f"c{i}", bend.label, i, solid=True) for i, bend in enumerate(bends)),
    )


def _met(bends: Sequence[Bend]) -> list[dict[str, Any]]:
    return [
        {"c": f"c{i}", "e": epoch, "v": short(value), "t": bend.label, "n": f"{bend.limit:.4g}"}
        | {"w": "overshoots" if value > bend.limit else "stable"}
        for i, bend in enumerate(bends)
        for epoch, value in zip(bend.epochs, bend.values, strict=True)
    ]


def _limits(bends: Sequence[Bend]) -> list[dict[str, Any]]:
    """A line for each run; runs of one η share their words."""
    rows: list[dict[str, Any]] = []
    written: list[float] = []
    for i, bend in enumerate(bends):
        near = any(1 / NEAR < bend.limit / other < NEAR for other in written)
        words = "" if near else f"2/η = {bend.limit:.3g} for {bend.label.split(',')[0]}"
        rows.append({"c": f"c{i}", "v": short(bend.limit), "w": words})
        written += [] if near else [bend.limit]
    return rows


class _Drawing:
    """The marks; what is hidden leaves the data, so the axis closes up around what is left."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels

    def layers(self, *, paper: bool) -> AltairChart:
        import altair as alt

        layers = [
            self._limit(paper).mark_rule(strokeDash=list(LIMIT_DASH), strokeWidth=2),
            self._words(paper),
            self._met(paper).mark_line(strokeWidth=2.4),
            self._points(paper),
        ]
        chart = alt.layer(*layers)
        return chart if paper else chart.add_params(alt.param(name="hidden", value=[]))

    def _base(self, table: str, paper: bool) -> alt.Chart:
        import altair as alt

        scale = alt.Scale(type="log", nice=False, padding=14)
        axis = alt.Axis(tickCount=5, format="~g")
        keys = [f"c{i}" for i in range(len(self._labels))]
        chart = alt.Chart(alt.NamedData(table)).encode(
            y=alt.Y("v:Q", title=UNIT, scale=scale, axis=axis),
            color=alt.Color("c:N", scale=alt.Scale(domain=keys), legend=self._legend(paper)),
        )
        return chart if paper else chart.transform_filter("indexof(hidden, datum.c) < 0")

    def _legend(self, paper: bool) -> alt.Legend | None:
        import json

        import altair as alt

        names = {f"c{i}": label for i, label in enumerate(self._labels)}
        expression = f"({json.dumps(names, ensure_ascii=False)})[datum.value]"
        return alt.Legend(labelExpr=expression, symbolSize=90, symbolOpacity=1) if paper else None

    def _limit(self, paper: bool) -> alt.Chart:
        return self._base("limits", paper)

    def _words(self, paper: bool) -> alt.Chart:
        import altair as alt

        words = self._limit(paper).mark_text(
            align="right", baseline="bottom", dx=-4, dy=-4, fontSize=SMALLEST
        )
        ended: alt.Chart = words.encode(x=alt.value("width"), text="w:N")
        return ended

    def _met(self, paper: bool) -> alt.Chart:
        import altair as alt

        axis = alt.Axis(tickMinStep=1, format="d", grid=False)
        met: alt.Chart = self._base("met", paper).encode(x=alt.X("e:Q", title="epoch", axis=axis))
        return met

    def _points(self, paper: bool) -> alt.Chart:
        import altair as alt

        keys = [f"c{i}" for i in range(len(self._labels))]
        shapes = alt.Scale(domain=keys, range=list(SHAPES[: len(keys)]))
        points: alt.Chart = (
            self._met(paper)
            .mark_point(filled=True, size=45, opacity=1)
            .encode(
                shape=alt.Shape("c:N", scale=shapes, legend=self._legend(paper)),
                tooltip=[
                    alt.Tooltip("t:N", title="run"),
                    alt.Tooltip("e:Q", title="epoch"),
                    alt.Tooltip("v:Q", title="λmax", format=".4~g"),
                    alt.Tooltip("n:N", title="2/η"),
                    alt.Tooltip("w:N", title="so the step"),
                ],
            )
        )
        return points
