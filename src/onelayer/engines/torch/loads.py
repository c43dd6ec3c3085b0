"""Which rows of an epoch are brought to the device together, and which of them are this process's.

A load is some batches of one epoch in a row, as many as the device works on at one time; a batch
that is larger than that takes several loads. Of every batch each process has a contiguous part:
rows ⌊B r / P⌋ to ⌊B (r + 1) / P⌋ of it, for rank r of P.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from onelayer.engines.torch.ranks import Ranks

# Steps of one CUDA graph: its launch is then far below a microsecond a step, its capture quick.
MOST_STEPS = 256


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `start` to `stop` of a load, all of one batch; `closes` where they are its last."""

    start: int
    stop: int
    step: int
    opens: bool = True
    closes: bool = True


@dataclass(frozen=True, eq=False)
class Load:
    """Rows that are on the device together.

    Attributes:
        places: their places in the epoch's order; a slice where they are contiguous.
        segments: which of them belong to which step.
        at: how many of this process's rows of the epoch are in the loads before.
    """

    places: slice | NDArray[np.int64]
    segments: tuple[Segment, ...]
    at: int = 0

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.segments[-1].stop

    @property
    def even(self) -> bool:
        """Whether every segment is a whole batch's part and all are of one size."""
        sizes = {s.stop - s.start for s in self.segments}
        return len(sizes) == 1 and all(s.opens and s.closes for s in self.segments)


def plan_loads(rows: int, batch_size: int, capacity: int, ranks: Ranks) -> list[Load]:
    """Cut an epoch into loads; every process has the same steps in the same number of loads.

    Args:
        rows: n, how many rows the epoch visits.
        batch_size: B.
        capacity: rows that the device works on at one time, ≥ 1.
        ranks: the processes.

    Returns:
        The loads, in order; a batch too large for one closes in the last of its own.

    Example:
        >>> for load in plan_loads(rows=7, batch_size=3, capacity=6, ranks=Ranks()):
        ...     print(load.places, [(s.start, s.stop) for s in load.segments])
        slice(0, 6, None) [(0, 3), (3, 6)]
        slice(6, 7, None) [(0, 1)]
    """
    steps = -(-rows // batch_size)
    parts = [
        ranks.part(start, min(start + batch_size, rows)) for start in range(0, rows, batch_size)
    ]
    largest = ranks.largest_part(min(batch_size, rows))
    if largest > capacity:
        loads = [piece for step in range(steps) for piece in _pieces(*parts[step], step, capacity)]
    else:
        firsts = _first_steps(rows // batch_size, steps, min(capacity // largest, MOST_STEPS))
        loads = [_load(parts[first:last], first) for first, last in pairwise([*firsts, steps])]
    ends = accumulate((load.rows for load in loads), initial=0)
    return [replace(load, at=at) for load, at in zip(loads, ends, strict=False)]


def _first_steps(whole: int, steps: int, most: int) -> list[int]:
    """First step of each load: loads of one size, a graph for each size, then what is left over."""
    count = -(-whole // most)
    each = whole // count if count else 0
    even = [i * each for i in range(count)]
    return even + list(range(count * each, steps, most))


def _load(parts: list[tuple[int, int]], first: int) -> Load:
    ends = accumulate((stop - start for start, stop in parts), initial=0)
    segments = tuple(
        Segment(start, stop, step) for step, (start, stop) in enumerate(pairwise(ends), first)
    )
    if all(before[1] == after[0] for before, after in pairwise(parts)):
        return Load(slice(parts[0][0], parts[-1][1]), segments)
    return Load(np.concatenate([np.arange(start, stop) for start, stop in parts]), segments)


def _pieces(start: int, stop: int, step: int, capacity: int) -> Iterator[Load]:
    ends = [*range(start, max(stop, start + 1), capacity), stop]
    for first, last in pairwise(ends):
        segment = Segment(0, last - first, step, opens=first == start, closes=last == stop)
        yield Load(slice(first, last), (segment,))
