"""Descent on a smooth convex cost, by Newton's method or by L-BFGS in a metric.

L-BFGS is algorithm 7.5 of Nocedal & Wright (2006); the metric takes the place of the initial
inverse Hessian, scaled at each step by the newest pair. One evaluation, a pass over the data, gives
cost and gradient; the first trial step almost always stands, so passes and steps are nearly the
same number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onelayer.optimum.products import inner, norm

Float64 = NDArray[np.float64]

MOST_PAIRS = 20
PAIR_BYTES = 96 << 20
SUFFICIENT = 1e-4
SHORTEST_STEP = 1e-6
MOST_STALLED = 10


class Point(NamedTuple):
    """Where the solver stands: place, cost and gradient there."""

    at: Float64
    cost: float
    gradient: Float64


class Pair(NamedTuple):
    """A step and how the gradient changed along it."""

    step: Float64
    change: Float64


@dataclass(frozen=True, eq=False)
class Descent:
    """What one descent needs.

    Attributes:
        evaluate: cost and gradient at a place; one pass over the data.
        divide: the inverse of the Hessian, or of the metric that stands for it, at a point times
            a vector.
        remembers: whether to mend `divide` by the steps taken (L-BFGS), or take it as it is.
        rounding: relative error of an evaluated cost.
        found: told of each new point; True ends the descent.
    """

    evaluate: Callable[[Float64], Point]
    divide: Callable[[Point, Float64], Float64]
    remembers: bool
    rounding: float
    found: Callable[[Point], bool]


def descend(descent: Descent, start: Point, pairs: list[Pair]) -> Point:
    """Walk downhill until told to stop, or until the arithmetic gives no more.

    Args:
        descent: the problem.
        start: an evaluated point.
        pairs: steps remembered from an earlier descent of the same cost, oldest first; the list
            is kept up to date.

    Returns:
        The last point. It is the one that `found` accepted, unless no step lowers the cost.
    """
    most = _most_pairs(start.at.nbytes)
    point, stalled = start, 0
    lowest, flattest = math.inf, math.inf
    while not descent.found(point):
        flatness = norm(point.gradient)
        falls = point.cost < lowest - descent.rounding * abs(point.cost)
        stalled = 0 if falls or flatness < flattest else stalled + 1
        if stalled > MOST_STALLED:
            return point
        lowest, flattest = min(lowest, point.cost), min(flattest, flatness)
        direction = -_newton_like(descent, point, pairs)
        if inner(direction, point.gradient) >= 0.0:
            if not pairs:
                return point
            pairs.clear()
            continue
        following = _step_along(descent, point, direction)
        if following is None:
            if not pairs:
                return point
            pairs.clear()
            continue
        pair = Pair(following.at - point.at, following.gradient - point.gradient)
        if descent.remembers and inner(*pair) > 0.0:
            pairs.append(pair)
            del pairs[:-most]
        point = following
    return point


def _step_along(descent: Descent, point: Point, direction: Float64) -> Point | None:
    """The first of the steps 1, ½, ¼ … that lowers the cost enough.

    Where the fall is lost in the cost's rounding the slope decides: Hager & Zhang (2005), eq. 4.1.
    """
    slope = inner(point.gradient, direction)
    slack = descent.rounding * abs(point.cost)
    length = 1.0
    while length > SHORTEST_STEP:
        trial = descent.evaluate(point.at + length * direction)
        if trial.cost <= point.cost + SUFFICIENT * length * slope:
            return trial
        flat = abs(inner(trial.gradient, direction)) <= (1.0 - 2.0 * SUFFICIENT) * -slope
        if flat and trial.cost <= point.cost + slack:
            return trial
        length *= 0.5
    return None


def _newton_like(descent: Descent, point: Point, pairs: list[Pair]) -> Float64:
    """The inverse Hessian that metric and pairs stand for, times the gradient (two loops)."""
    q = point.gradient.copy()
    weights: list[tuple[float, float]] = []
    for step, change in reversed(pairs):
        rho = 1.0 / inner(step, change)
        alpha = rho * inner(step, q)
        q -= alpha * change
        weights.append((rho, alpha))
    direction = descent.divide(point, q)
    if pairs:
        step, change = pairs[-1]
        direction *= inner(step, change) / inner(change, descent.divide(point, change))
    for (step, change), (rho, alpha) in zip(pairs, reversed(weights), strict=True):
        direction += (alpha - rho * inner(change, direction)) * step
    return direction


def _most_pairs(bytes_of_a_point: int) -> int:
    return max(4, min(MOST_PAIRS, PAIR_BYTES // (2 * bytes_of_a_point)))
