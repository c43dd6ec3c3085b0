"""Averages of the weights over steps, and the share α of the newest in each.

    A ← A + α (W − A) after each step

    none          α = 1, the weights as they are
    tail:SHARE    the mean of the last n steps' weights, n of SHARE of all steps:
                  α = 1 before them, then 1/1, 1/2, …, 1/n
    ema:DECAY     Σ DECAYⁱ W₋ᵢ / Σ DECAYⁱ over the steps so far, i steps back:
                  α = (1 − DECAY) / (1 − DECAYᵗ) after step t = 1, 2, …

Sources: Polyak & Juditsky (1992), Acceleration of stochastic approximation by averaging, and
Rakhlin, Shamir & Sridharan (2012), Making gradient descent optimal for strongly convex stochastic
optimization, for the tail; Kingma & Ba (2015), Adam, section 3, for the correction by 1 − DECAYᵗ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import SettingsError
from onelayer.ranges import read_numbers

NONE = "none"
AVERAGES = (NONE, "tail:SHARE", "ema:DECAY")


def check_averaging(spec: object) -> None:
    """Refuse what is no average, in a sentence.

    Args:
        spec: one of AVERAGES, with a number in the place of capitals.

    Raises:
        SettingsError: when it is not, or the number is outside its range.

    Example:
        >>> check_averaging("ema:1")
        Traceback (most recent call last):
        ...
        onelayer.errors.SettingsError: averaging must be none, tail:SHARE or ema:DECAY, with SHARE \
above 0 and at most 1 and DECAY between 0 and 1, as in tail:0.5, but 'ema:1' was given.
    """
    name, number = _parse(spec)
    good = name == NONE or 0.0 < number < 1.0 or (name == "tail" and number == 1.0)
    if not good:
        raise _refusal(spec)


def averaging_shares(
    spec: str, epochs: int, steps_per_epoch: int, epoch: int
) -> NDArray[np.float64]:
    """The share α of the newest weights after each step of an epoch.

    Args:
        spec: the average, as `check_averaging` takes it.
        epochs: of the whole training.
        steps_per_epoch: T ≥ 1.
        epoch: which, from 1.

    Returns:
        α in (0, 1], shape (T,). It depends on nothing else, so training can go on from any step.

    Source:
        docs/formulations.md, "Momentum, schedules, averages".

    Example:
        >>> averaging_shares("tail:0.5", epochs=2, steps_per_epoch=2, epoch=2)
        array([1. , 0.5])
    """
    name, number = _parse(spec)
    t = np.arange((epoch - 1) * steps_per_epoch, epoch * steps_per_epoch)
    if name == "tail":
        total = epochs * steps_per_epoch
        before = total - max(1, round(number * total))
        return np.asarray(1.0 / np.maximum(t - before + 1, 1))
    if name == "ema":
        # The first is 1 exactly: the average begins with the first step's weights.
        return np.asarray(np.where(t == 0, 1.0, (1.0 - number) / (1.0 - number ** (t + 1.0))))
    return np.ones(steps_per_epoch)


def _parse(spec: object) -> tuple[str, float]:
    """Name and number of an average; 0 for "none"."""
    name = str(spec).split(":")[0]
    wanted = {NONE: 0, "tail": 1, "ema": 1}.get(name)
    numbers = None if wanted is None else read_numbers(spec, wanted)
    if numbers is None:
        raise _refusal(spec)
    return name, (*numbers, 0.0)[0]


def _refusal(spec: object) -> SettingsError:
    return SettingsError(
        f"averaging must be {', '.join(AVERAGES[:-1])} or {AVERAGES[-1]}, with SHARE above 0 and "
        f"at most 1 and DECAY between 0 and 1, as in tail:0.5, but {spec!r} was given."
    )
