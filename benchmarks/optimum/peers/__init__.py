"""One contender a file; each offers `prepare(task, data, threads) -> Prepared`.

Preparing is not timed: imports, and X in the type and scale that the contender wants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.optimum.watch import Watch


@dataclass(frozen=True, eq=False)
class Solution:
    """What a plain call gave.

    Attributes:
        W, b: weights (K, D) and bias (K,).
        marks: iterations and seconds since the call's beginning, where the solver tells.
        gap: relative gap that it proved, where it does.
    """

    W: NDArray[np.floating]
    b: NDArray[np.floating]
    marks: tuple[tuple[int, float], ...] = ()
    gap: float | None = None


@dataclass(frozen=True)
class Prepared:
    """A contender that is ready to solve.

    Attributes:
        solve: a plain call for one λ within so many iterations; without a number, to the
            tolerance of `problem.GOAL`, by the solver's own judgement.
        trace: solves for one λ while the watch looks on.
        x_bytes: size of X as the contender wants it.
        about: versions and choices that a reader of the figures should know.
    """

    solve: Callable[[float, int | None], Solution]
    trace: Callable[[float, Watch], None]
    x_bytes: int
    about: dict[str, str] = field(default_factory=dict)
