"""Looks over a contender's shoulder: which iterates it had when, and how good they were.

The clock stands still while an iterate is looked at. Few are judged, ever further apart; where the
goal was first reached is then found by bisection among the iterates since the last judged one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

SPARSER = 1.2


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
    """Follows one solution from start to end.

    Args:
        judge: relative excess of W and b over J*.
        goal: the excess whose first iterate is looked for.
        enough: the excess at which there is no more to see.
        patience: seconds after which it ends in any case.
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
        """Every judged iterate, in order."""
        return [self._steps[k] for k in sorted(self._steps)]

    def start(self) -> None:
        """The clock starts."""
        self._away, self._started = 0.0, time.perf_counter()

    def see(self, iterations: int, W: Floats, b: Floats, seconds: float | None = None) -> bool:
        """Take note of an iterate.

        Args:
            iterations: how many it took.
            W: its weights, which may change afterwards.
            b: its bias.
            seconds: when it was had, where the watch's own clock does not tell.

        Returns:
            Whether there is no more to see.
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


def climb(solve: Callable[[int], Seen], watch: Watch, most: int = 1000) -> None:
    """Watch a contender that tells nothing: one whole solution for each number of iterations.

    Args:
        solve: solves within so many iterations, and says when the last iterate was had.
        watch: told of every answer.
        most: iterations to go to.
    """
    allowed = 1
    while allowed <= most:
        seen = solve(allowed)
        if watch.see(*seen[:1], *seen[2:], seconds=seen.seconds):
            return
        # The solver may take a few more than allowed, or give up early.
        if seen.iterations < allowed:
            return
        allowed = max(seen.iterations + 1, math.ceil(1.1 * seen.iterations))
