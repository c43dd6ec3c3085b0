"""Where training stands between two steps: all that it needs to go on to the same bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onelayer.engines import State
from onelayer.logbook import Entries
from onelayer.plan import Run


@dataclass(frozen=True, eq=False)
class Place:
    """A place in the order of the steps; the order itself follows from the runs' seeds.

    Attributes:
        sharing: which pass over the data is under way, 0, 1, …, in the order of `group_passes`;
            their number when all are behind.
        epoch: which epoch of it is under way; 0 is the measurement before the first.
        batch: how many of its batches are done.
        alive: positions of the runs in it that go on.
        state: where these runs stand; None at the beginning of a pass, whose runs all start from
            the weights that they have.
    """

    sharing: int
    epoch: int = 0
    batch: int = 0
    alive: tuple[int, ...] = ()
    state: State | None = None


@dataclass(frozen=True, eq=False)
class Standing:
    """All that training needs to go on.

    Attributes:
        runs: the settings, learning rates settled.
        place: where in the order of the steps.
        entries: what the logbook held.
        directions: where the curvature meter starts its next measurement, by position.
        due: the epoch at which it measures next, by position.
        done: run-epochs behind it.
        total: of how many.
        seconds: wall time of training behind it.
    """

    runs: tuple[Run, ...]
    place: Place
    entries: Entries
    directions: dict[int, NDArray[np.float64]]
    due: dict[int, int]
    done: int
    total: int
    seconds: float
