"""Conclusion 1 as a measurement: "a higher η converges faster, too high it jumps the minimum".

Needs two learning rates at one λ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.report.grouping import grouped, run_names
from onelayer.report.series import Series, band_of
from onelayer.report.summary import SettingSummary, Spread, spread
from onelayer.result import Result

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
