"""What solvers share: prepared calls, and a watch that looks at a solver's iterates.

The clock stands still while an iterate is looked at. Few are judged, ever further apart; where the
goal was first reached is then found by bisection among the iterates since the last judged one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

GOAL = 1e-6
PATH_TOLERANCE = 1e-4
CLASSES = 10
SPARSER = 1.2


def l2_path(count: int, high: float, low: float) -> tuple[float, ...]:
    return tuple(np.geomspace(high, low, count).tolist())


@dataclass(frozen=True, eq=False)
class Solution:
    """What a plain call gave."""

    W: Floats  # (K, D)
    b: Floats  # (K,)
    marks: tuple[tuple[int, float], ...] = ()  # iterations and seconds, where the solver tells
    gap: float | None = None  # relative, where it proved one


@dataclass(frozen=True)
class PreparedSolver:
    """A contender that is ready to solve for one λ.

    A plain call has so many iterations; without a number it goes on to the tolerance of `GOAL`, by
    the solver's own judgement.
    """

    solve: Callable[[float, int | None], Solution]
    trace: Callable[[float, Watch], None]  # solves while the watch looks on
    x_bytes: int  # X as the contender wants it
    about: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PreparedPath:
    """A contender that is ready for all rows."""

    warm: Callable[[], object]  # something short
    run: Callable[[], dict[str, Any]]
    x_bytes: int
    about: dict[str, str] = field(default_factory=dict)


class Seen(NamedTuple):
    """An iterate: how many iterations it took, seconds, weights."""

    iterations: int
    seconds: float
    W: Floats
    b: Floats


class Step(NamedTuple):
    """A judged iterate: iterations, seconds, relative excess over J*."""

    iterations: int
    seconds: float
    excess: float


class Watch:
    """Follows one solution until its excess is `enough` or `patience` seconds are over.

    `judge` gives the relative excess of W and b over J*; the first iterate within `goal` is the
    budget.
    """

    def __init__(
        self,
        judge: Callable[[Floats, Floats], float],
        *,
        goal: float,
        enough: float,
        patience: float,
    ) -> None:
        self._judge, self._goal, self._enough, self._patience = judge, goal, enough, patience
        self._held: list[Seen] = []
        self._steps: dict[int, Step] = {}
        self._next = 1
        self._away = 0.0
        self._started = time.perf_counter()
        self.budget: int | None = None
        self.cut = False

    @property
    def steps(self) -> list[Step]:
        return [self._steps[k] for k in sorted(self._steps)]

    def start(self) -> None:
        self._away, self._started = 0.0, time.perf_counter()

    def see(self, iterations: int, W: Floats, b: Floats, seconds: float | None = None) -> bool:
        """Take note of an iterate, whose weights may change afterwards; True ends the search.

        `seconds` says when it was there, where the watch's own clock does not tell.
        """
        entered = time.perf_counter()
        now = entered - self._started - self._away if seconds is None else seconds
        self._held.append(Seen(iterations, now, W.copy(), b.copy()))
        done = self.cut = now > self._patience
        if done or iterations >= self._next:
            done |= self._look() <= self._enough
        self._away += time.perf_counter() - entered
        return done

    def finish(self) -> None:
        """Judge the last iterate, where the contender ended by itself."""
        if self._held:
            self._look()

    def _look(self) -> float:
        """Judge the newest iterate, and those before it where it is the first to be good enough."""
        latest = self._held[-1]
        excess = self._judged(latest).excess
        if self.budget is None and excess <= self._goal:
            low, high = 0, len(self._held) - 1
            while low < high:
                middle = (low + high) // 2
                if self._judged(self._held[middle]).excess <= self._goal:
                    high = middle
                else:
                    low = middle + 1
            self.budget = self._held[high].iterations
        self._next = max(latest.iterations + 1, math.ceil(SPARSER * latest.iterations))
        self._held = []
        return excess

    def _judged(self, seen: Seen) -> Step:
        step = Step(seen.iterations, seen.seconds, self._judge(seen.W, seen.b))
        self._steps[seen.iterations] = step
        return step


def climb(solve: Callable[[int], Seen], watch: Watch, max_iterations: int = 1000) -> None:
    """Watch a solver without callbacks: one whole solution for each number of iterations."""
    allowed = 1
    while allowed <= max_iterations:
        seen = solve(allowed)
        if watch.see(*seen[:1], *seen[2:], seconds=seen.seconds):
            return
        # The solver may take a few more than allowed, or give up early.
        if seen.iterations < allowed:
            return
        allowed = max(seen.iterations + 1, math.ceil(1.1 * seen.iterations))
