"""How far a step goes, and what steps of many classes add up to."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onelayer.objective.penalty import Penalty
from onelayer.solver.certificate import ROUNDING

Float64 = NDArray[np.float64]

# Steps that are combined; and the price of a Newton step for all weights at once, in products with
# the working set.
REMEMBERED, JOINT = 10, 15.0

# A step is taken where it lowers the cost by this part of what its slope promises.
SUFFICIENT, MIN_LENGTH = 1e-4, 1e-10


class Acceleration:
    """Anderson's: of the last steps, the combination whose own step is the shortest."""

    def __init__(self) -> None:
        self._starts: list[Float64] = []
        self._ends: list[Float64] = []

    def forget(self) -> None:
        """Begin anew."""
        self._starts, self._ends = [], []

    def further(self, start: Float64, end: Float64) -> list[Float64]:
        """Where the steps so far lead to, the last one from start to end; nowhere of too few."""
        self._starts = [*self._starts[-REMEMBERED:], start]
        self._ends = [*self._ends[-REMEMBERED:], end]
        if len(self._starts) < 2:
            return []
        ends = np.stack([of.ravel() for of in self._ends])
        steps = ends - np.stack([of.ravel() for of in self._starts])
        bends, moves = np.diff(steps, axis=0), np.diff(ends, axis=0)
        gram = bends @ bends.T
        gram[np.diag_indices_from(gram)] *= 1.0 + 1e-10
        try:
            parts = np.linalg.solve(gram, bends @ steps[-1])
        except np.linalg.LinAlgError:
            return []
        found = np.where(end != 0.0, end - (parts @ moves).reshape(end.shape), 0.0)
        return [found] if np.isfinite(found).all() else []


def is_joint(W: Float64, N: int, cycles: int) -> bool:
    """Whether a Hessian of all weights that are not 0 costs no more than the cycles so far."""
    (m, n), count = W.shape, int(np.count_nonzero(W)) + len(W)
    return bool(count**2 * (N + count) <= JOINT * cycles * m * n * N)


def shared_part(W: Float64, penalty: Penalty) -> Float64:
    """What to take from all classes of each feature, (D,), for the penalty to be least.

    It is a median of the weights and of where the penalty's slope would be 0 between two of them.
    """
    K = len(W)
    count = K - 2.0 * np.arange(K + 1)
    if penalty.l2:
        between = W.mean(axis=0) + (penalty.l1 / (2.0 * penalty.l2 * K)) * count[:, None]
    else:
        ends = np.array([math.copysign(math.inf, of) if of else 0.0 for of in count])
        between = np.broadcast_to(ends[:, None], (K + 1, W.shape[1]))
    return np.asarray(np.median(np.concatenate([W, between]), axis=0))


def step_length(value: Callable[[float], float], falls: float, longest: float = 1.0) -> float:
    """How far to go along a step, which lowers the cost by its slope `falls` at first."""
    now, length = value(0.0), 1.0
    slack = ROUNDING["float64"] * abs(now)
    if not falls < slack:
        return 0.0
    reached = value(length)
    while not reached <= now + SUFFICIENT * length * falls + slack:
        length *= 0.5
        if length < MIN_LENGTH:
            return 0.0
        reached = value(length)
    while 1.0 <= length < longest and (further := value(2.0 * length)) < reached:
        length, reached = 2.0 * length, further
    return length
