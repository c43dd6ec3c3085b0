"""Schedules: what each step of training multiplies η by, and how it averages the weights.

With t = 0, 1, 2 … the steps after warm-up, S how many there are, and n the steps of EPOCHS epochs,
η is multiplied by

    constant                     f = 1
    cosine                       f = ½ (1 + cos(π t / S))
    step:EPOCHS:FACTOR           f = FACTOR^⌊t / n⌋
    cyclical:FRACTION:EPOCHS     f = FRACTION + (1 − FRACTION) (1 − |c − 1|)    c = (t mod 2n) / n

and during the first w steps of warm-up f = 1/w, 2/w, …, 1. The schedule begins where warm-up ends.
A number of epochs becomes the nearest number of steps, at least 1. After each step the average is
A ← A + α (W − A), with

    none             α = 1, the weights as they are
    tail:FRACTION    the mean of the last n steps' weights, n of FRACTION of all steps:
                     α = 1 before them, then 1/1, 1/2, …, 1/n
    ema:DECAY        Σ DECAYⁱ W₋ᵢ / Σ DECAYⁱ over the steps so far, i steps back:
                     α = (1 − DECAY) / (1 − DECAYᵗ) after step t = 1, 2, …

All of it depends on the epoch and the number of rows alone, so training can resume from any step,
and a run takes the same steps whatever it is trained beside. Factors are computed from sums and
products, which are the same bits on every machine; cosines and powers of a C library are not.

Sources: Loshchilov & Hutter (2017), SGDR, for cosine without restarts; Smith (2017), Cyclical
learning rates for training neural networks, for the triangle, FRACTION = η_min / η_max; Goyal et
al. (2017), Accurate, large minibatch SGD, for gradual warm-up; Polyak & Juditsky (1992),
Acceleration of stochastic approximation by averaging, and Rakhlin, Shamir & Sridharan (2012),
Making gradient descent optimal for strongly convex stochastic optimization, for the tail; Kingma &
Ba (2015), Adam, section 3, for the correction by 1 − DECAYᵗ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import SettingsError

Float64 = NDArray[np.float64]
CONSTANT, NONE = "constant", "none"


@dataclass(frozen=True)
class _Clock:
    """Steps by their numbers t from 0, how many there are in all, and in an epoch."""

    t: NDArray[np.int64]
    total: int
    per_epoch: int

    def steps_of(self, epochs: float) -> int:
        """The nearest number of steps, at least 1."""
        return max(1, round(epochs * self.per_epoch))


def _ones(clock: _Clock) -> Float64:
    return np.ones(len(clock.t))


def _cosine(clock: _Clock) -> Float64:
    # ½ (1 + cos πx) = 1 − sin² ½πx = sin² ½π(1 − x), whichever angle is at most ¼π
    total = max(clock.total, 1)
    x, left = clock.t / total, (total - clock.t) / total
    angle = 0.5 * np.pi * np.minimum(x, left)
    series, square = np.zeros(len(x)), angle * angle
    for i in range(19, 0, -2):
        series = 1.0 - series * square / ((i + 1) * (i + 2))
    sine = angle * series
    return np.where(x <= 0.5, 1.0 - sine * sine, sine * sine)


def _power(base: float, exponents: NDArray[np.int64]) -> Float64:
    """Whole powers of a number, by squaring."""
    powers = np.ones(len(exponents))
    while exponents.any():
        powers = np.where(exponents % 2, powers * base, powers)
        base, exponents = base * base, exponents // 2
    return powers


def _step(clock: _Clock, epochs: float, factor: float) -> Float64:
    return _power(factor, clock.t // clock.steps_of(epochs))


def _cyclical(clock: _Clock, lowest: float, epochs: float) -> Float64:
    half = clock.steps_of(epochs)
    place = (clock.t % (2 * half)) / half
    return np.asarray(lowest + (1.0 - lowest) * (1.0 - np.abs(place - 1.0)))


def _tail(clock: _Clock, fraction: float) -> Float64:
    before = clock.total - max(1, round(fraction * clock.total))
    return np.asarray(1.0 / np.maximum(clock.t - before + 1, 1))


def _ema(clock: _Clock, decay: float) -> Float64:
    # The first is 1 exactly: the average begins with the first step's weights.
    later = (1.0 - decay) / (1.0 - _power(decay, clock.t + 1))
    return np.asarray(np.where(clock.t == 0, 1.0, later))


@dataclass(frozen=True)
class _Range:
    """A number of a form: its name, its range in words, and whether a number is in it."""

    name: str
    words: str
    holds: Callable[[float], bool]


def _inside(name: str) -> _Range:
    return _Range(name, "between 0 and 1", lambda number: 0.0 < number < 1.0)


_EPOCHS = _Range("EPOCHS", "a number above 0", lambda number: number > 0.0)
_PART = _Range("FRACTION", "above 0 and at most 1", lambda number: 0.0 < number <= 1.0)

# The factors of each form, from a clock and its numbers.
_Forms = Mapping[str, tuple[Callable[..., Float64], tuple[_Range, ...]]]

_SCHEDULES: _Forms = {
    CONSTANT: (_ones, ()),
    "cosine": (_cosine, ()),
    "step": (_step, (_EPOCHS, _inside("FACTOR"))),
    "cyclical": (_cyclical, (_inside("FRACTION"), _EPOCHS)),
}

_AVERAGES: _Forms = {
    NONE: (_ones, ()),
    "tail": (_tail, (_PART,)),
    "ema": (_ema, (_inside("DECAY"),)),
}


# Those whose factors depend on how many epochs there are, so that none can be added later.
PLANNED = ("cosine", "tail")


def _texts(forms: _Forms) -> tuple[str, ...]:
    return tuple(":".join((name, *(r.name for r in ranges))) for name, (_, ranges) in forms.items())


SCHEDULES, AVERAGES = _texts(_SCHEDULES), _texts(_AVERAGES)


def _parse(
    what: str, spec: object, forms: _Forms, example: str
) -> tuple[Callable[..., Float64], list[float]]:
    name, *words = str(spec).split(":")
    factors, ranges = forms.get(name, (None, ()))
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        factors, numbers = None, []
    if factors is None or len(numbers) != len(ranges) or not all(map(math.isfinite, numbers)):
        *most, last = _texts(forms)
        raise SettingsError(
            f"{what} must be {', '.join(most)} or {last}, as in {example}, but {spec!r} was given."
        )
    for known, number in zip(ranges, numbers, strict=True):
        if not known.holds(number):
            raise SettingsError(
                f"{known.name} of {what} {spec} must be {known.words}, but {number:g} was given."
            )
    return factors, numbers


def parse_schedule(spec: object) -> tuple[Callable[..., Float64], list[float]]:
    """The function and numbers of a schedule; `SettingsError` unless it is one of SCHEDULES."""
    return _parse("schedule", spec, _SCHEDULES, "step:10:0.1")


def parse_averaging(spec: object) -> tuple[Callable[..., Float64], list[float]]:
    """The function and numbers of an average; `SettingsError` unless it is one of AVERAGES."""
    return _parse("averaging", spec, _AVERAGES, "tail:0.5")


def learning_rate_factors(
    spec: str, warmup: float, epochs: int, steps_per_epoch: int, epoch: int
) -> Float64:
    """The factors f of η at the T steps of an epoch (from 1), in (0, 1], shape (T,).

    Example:
        >>> learning_rate_factors("cosine", warmup=1, epochs=3, steps_per_epoch=2, epoch=1)
        array([0.5, 1. ])
        >>> learning_rate_factors("step:1:0.1", warmup=0, epochs=3, steps_per_epoch=2, epoch=3)
        array([0.01, 0.01])
    """
    warm = round(warmup * steps_per_epoch)
    t = np.arange((epoch - 1) * steps_per_epoch, epoch * steps_per_epoch)
    after = _Clock(np.maximum(t - warm, 0), epochs * steps_per_epoch - warm, steps_per_epoch)
    factors, numbers = parse_schedule(spec)
    return np.where(t < warm, (t + 1) / max(warm, 1), factors(after, *numbers))


def averaging_factors(spec: str, epochs: int, steps_per_epoch: int, epoch: int) -> Float64:
    """The factors α of the newest weights at the T steps of an epoch (from 1), shape (T,).

    Example:
        >>> averaging_factors("tail:0.5", epochs=2, steps_per_epoch=2, epoch=2)
        array([1. , 0.5])
    """
    t = np.arange((epoch - 1) * steps_per_epoch, epoch * steps_per_epoch)
    factors, numbers = parse_averaging(spec)
    return factors(_Clock(t, epochs * steps_per_epoch, steps_per_epoch), *numbers)
