"""Schedules of the learning rate and of averages: what each step of training multiplies η by.

With t = 0, 1, 2 … the steps after warm-up, S how many there are, and n the steps of EPOCHS epochs,
η is multiplied by

    constant                     f = 1
    cosine                       f = ½ (1 + cos(π t / S))
    step:EPOCHS:FACTOR           f = FACTOR^⌊t / n⌋
    cyclical:FRACTION:EPOCHS     f = FRACTION + (1 − FRACTION) (1 − |c − 1|)    c = (t mod 2n) / n

and during the first w steps of warm-up f = 1/w, 2/w, …, 1. The schedule begins where warm-up ends.
A number of epochs becomes the nearest number of steps, at least 1. Averages A ← A + α (W − A) after
each step have

    none             α = 1, the weights as they are
    tail:FRACTION    the mean of the last n steps' weights, n of FRACTION of all steps:
                     α = 1 before them, then 1/1, 1/2, …, 1/n
    ema:DECAY        Σ DECAYⁱ W₋ᵢ / Σ DECAYⁱ over the steps so far, i steps back:
                     α = (1 − DECAY) / (1 − DECAYᵗ) after step t = 1, 2, …

All of it depends on the epoch and the number of rows alone, so training can resume from any step,
and a run takes the same steps whatever it is trained beside.

Sources: Loshchilov & Hutter (2017), SGDR, for cosine without restarts; Smith (2017), Cyclical
learning rates for training neural networks, for the triangle, FRACTION = η_min / η_max; Goyal et
al. (2017), Accurate, large minibatch SGD, for gradual warm-up; Polyak & Juditsky (1992),
Acceleration of stochastic approximation by averaging, and Rakhlin, Shamir & Sridharan (2012),
Making gradient descent optimal for strongly convex stochastic optimization, for the tail; Kingma &
Ba (2015), Adam, section 3, for the correction by 1 − DECAYᵗ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import SettingsError, require_number


def read_numbers(spec: object, count: int) -> tuple[float, ...] | None:
    """The numbers of a name, separated by colons; None unless there are `count` finite ones.

    Example:
        >>> read_numbers("step:10:0.1", 2), read_numbers("step:10", 2)
        ((10.0, 0.1), None)
    """
    words = spec.split(":")[1:] if isinstance(spec, str) else []
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


Float64 = NDArray[np.float64]

CONSTANT = "constant"


@dataclass(frozen=True)
class _Clock:
    """Steps after warm-up: their numbers t, how many there are in all, and in an epoch."""

    t: NDArray[np.int64]
    total: int
    per_epoch: int


def _constant(clock: _Clock) -> Float64:
    return np.ones(len(clock.t))


def _cosine(clock: _Clock) -> Float64:
    return np.asarray(0.5 * (1.0 + np.cos(np.pi * clock.t / max(clock.total, 1))))


def _step(clock: _Clock, epochs: float, factor: float) -> Float64:
    return np.asarray(factor ** (clock.t // steps_of(epochs, clock.per_epoch)), np.float64)


def _cyclical(clock: _Clock, lowest: float, epochs: float) -> Float64:
    half = steps_of(epochs, clock.per_epoch)
    place = (clock.t % (2 * half)) / half
    return np.asarray(lowest + (1.0 - lowest) * (1.0 - np.abs(place - 1.0)))


_FORMS: dict[str, tuple[Callable[..., Float64], tuple[str, ...]]] = {
    CONSTANT: (_constant, ()),
    "cosine": (_cosine, ()),
    "step": (_step, ("EPOCHS", "FACTOR")),
    "cyclical": (_cyclical, ("FRACTION", "EPOCHS")),
}

SCHEDULES = tuple(":".join((name, *numbers)) for name, (_, numbers) in _FORMS.items())


def check_schedule(spec: object) -> None:
    """Raise SettingsError unless `spec` is one of SCHEDULES with numbers in their ranges.

    Example:
        >>> check_schedule("linear")
        Traceback (most recent call last):
        ...
        onelayer.errors.SettingsError: schedule must be constant, cosine, step:EPOCHS:FACTOR or \
cyclical:FRACTION:EPOCHS, as in step:10:0.1, but 'linear' was given.
    """
    name, numbers = _parse_schedule(spec)
    for what, number in zip(_FORMS[name][1], numbers, strict=True):
        if what == "EPOCHS":
            require_number(f"EPOCHS of schedule {spec}", number, "a number above 0", above=0)
        elif not 0.0 < number < 1.0:
            raise SettingsError(
                f"{what} of schedule {spec} must be between 0 and 1, but {number:g} was given."
            )


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
    name, numbers = _parse_schedule(spec)
    after = _Clock(np.maximum(t - warm, 0), epochs * steps_per_epoch - warm, steps_per_epoch)
    return np.where(t < warm, (t + 1) / max(warm, 1), _FORMS[name][0](after, *numbers))


def steps_of(epochs: float, steps_per_epoch: int) -> int:
    """The nearest number of steps, at least 1.

    Example:
        >>> steps_of(0.1, steps_per_epoch=300), steps_of(0.001, steps_per_epoch=300)
        (30, 1)
    """
    return max(1, round(epochs * steps_per_epoch))


def _parse_schedule(spec: object) -> tuple[str, tuple[float, ...]]:
    """Name and numbers of a schedule."""
    name = str(spec).split(":")[0]
    form = _FORMS.get(name)
    numbers = read_numbers(spec, len(form[1])) if form else None
    if numbers is None:
        choices = f"{', '.join(SCHEDULES[:-1])} or {SCHEDULES[-1]}"
        raise SettingsError(
            f"schedule must be {choices}, as in step:10:0.1, but {spec!r} was given."
        )
    return name, numbers


NONE = "none"

AVERAGES = (NONE, "tail:FRACTION", "ema:DECAY")


def check_averaging(spec: object) -> None:
    """Raise SettingsError unless `spec` is one of AVERAGES with a number in its range."""
    name, number = _parse_averaging(spec)
    good = name == NONE or 0.0 < number < 1.0 or (name == "tail" and number == 1.0)
    if not good:
        raise _refusal(spec)


def averaging_factors(
    spec: str, epochs: int, steps_per_epoch: int, epoch: int
) -> NDArray[np.float64]:
    """The factors α of the newest weights at the T steps of an epoch (from 1), shape (T,).

    Example:
        >>> averaging_factors("tail:0.5", epochs=2, steps_per_epoch=2, epoch=2)
        array([1. , 0.5])
    """
    name, number = _parse_averaging(spec)
    t = np.arange((epoch - 1) * steps_per_epoch, epoch * steps_per_epoch)
    if name == "tail":
        total = epochs * steps_per_epoch
        before = total - max(1, round(number * total))
        return np.asarray(1.0 / np.maximum(t - before + 1, 1))
    if name == "ema":
        # The first is 1 exactly: the average begins with the first step's weights.
        return np.asarray(np.where(t == 0, 1.0, (1.0 - number) / (1.0 - number ** (t + 1.0))))
    return np.ones(steps_per_epoch)


def _parse_averaging(spec: object) -> tuple[str, float]:
    """Name and number of an average; 0 for "none"."""
    name = str(spec).split(":")[0]
    wanted = {NONE: 0, "tail": 1, "ema": 1}.get(name)
    numbers = None if wanted is None else read_numbers(spec, wanted)
    if numbers is None:
        raise _refusal(spec)
    return name, (*numbers, 0.0)[0]


def _refusal(spec: object) -> SettingsError:
    return SettingsError(
        f"averaging must be {', '.join(AVERAGES[:-1])} or {AVERAGES[-1]}, with FRACTION above 0 "
        f"and at most 1 and DECAY between 0 and 1, as in tail:0.5, but {spec!r} was given."
    )
