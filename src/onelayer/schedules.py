"""Learning-rate schedules: what η is multiplied by at each step of training.

With t = 0, 1, 2 … the steps after warm-up, S how many there are, and n the steps of so many epochs:

    constant                  f = 1
    cosine                    f = ½ (1 + cos(π t / S))
    step:EPOCHS:FACTOR        f = FACTOR^⌊t / n⌋                  n of EPOCHS
    cyclical:SHARE:EPOCHS     f = SHARE + (1 − SHARE) (1 − |c − 1|)    c = (t mod 2n) / n

and during the first w steps of warm-up f = 1/w, 2/w, …, 1. The schedule begins where warm-up ends.
A number of epochs becomes the nearest number of steps, at least 1.

Sources: Loshchilov & Hutter (2017), SGDR, for cosine without restarts; Smith (2017), Cyclical
learning rates for training neural networks, for the triangle, SHARE = η_min / η_max; Goyal et al.
(2017), Accurate, large minibatch SGD, for gradual warm-up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import SettingsError
from onelayer.ranges import read_numbers, require_number

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


def _cyclical(clock: _Clock, share: float, epochs: float) -> Float64:
    half = steps_of(epochs, clock.per_epoch)
    place = (clock.t % (2 * half)) / half
    return np.asarray(share + (1.0 - share) * (1.0 - np.abs(place - 1.0)))


_FORMS: dict[str, tuple[Callable[..., Float64], tuple[str, ...]]] = {
    CONSTANT: (_constant, ()),
    "cosine": (_cosine, ()),
    "step": (_step, ("EPOCHS", "FACTOR")),
    "cyclical": (_cyclical, ("SHARE", "EPOCHS")),
}
SCHEDULES = tuple(":".join((name, *numbers)) for name, (_, numbers) in _FORMS.items())


def check_schedule(spec: object) -> None:
    """Refuse what is no schedule, in a sentence.

    Args:
        spec: one of SCHEDULES, with numbers in the place of capitals.

    Raises:
        SettingsError: when it is not, or a number is outside its range.

    Example:
        >>> check_schedule("linear")
        Traceback (most recent call last):
        ...
        onelayer.errors.SettingsError: schedule must be constant, cosine, step:EPOCHS:FACTOR or \
cyclical:SHARE:EPOCHS, as in step:10:0.1, but 'linear' was given.
    """
    name, numbers = _parse(spec)
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
    """What η is multiplied by at each step of an epoch.

    Args:
        spec: the schedule, as `check_schedule` takes it.
        warmup: epochs of warm-up, 0 … epochs.
        epochs: of the whole training.
        steps_per_epoch: T ≥ 1.
        epoch: which, from 1.

    Returns:
        f in (0, 1], shape (T,). It depends on nothing else, so training can go on from any step.

    Source:
        docs/formulations.md, "Momentum, schedules, averages".

    Example:
        >>> learning_rate_factors("cosine", warmup=1, epochs=3, steps_per_epoch=2, epoch=1)
        array([0.5, 1. ])
        >>> learning_rate_factors("step:1:0.1", warmup=0, epochs=3, steps_per_epoch=2, epoch=3)
        array([0.01, 0.01])
    """
    warm = round(warmup * steps_per_epoch)
    t = np.arange((epoch - 1) * steps_per_epoch, epoch * steps_per_epoch)
    name, numbers = _parse(spec)
    after = _Clock(np.maximum(t - warm, 0), epochs * steps_per_epoch - warm, steps_per_epoch)
    return np.where(t < warm, (t + 1) / max(warm, 1), _FORMS[name][0](after, *numbers))


def steps_of(epochs: float, steps_per_epoch: int) -> int:
    """The nearest number of steps, at least 1.

    Example:
        >>> steps_of(0.1, steps_per_epoch=300), steps_of(0.001, steps_per_epoch=300)
        (30, 1)
    """
    return max(1, round(epochs * steps_per_epoch))


def _parse(spec: object) -> tuple[str, tuple[float, ...]]:
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
