"""The rows of an epoch on the device: loads of batches, and the buffers that they are brought to.

A load is some batches of one epoch in a row, as many as the device works on at one time; a batch
that is larger than that takes several loads. Of every batch each process has a contiguous part:
rows ⌊B r / P⌋ to ⌊B (r + 1) / P⌋ of it, for rank r of P. Where the whole epoch fits, each load has
a place of its own, and rows in file order are converted once, for all epochs; elsewhere every load
takes the place of the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.rows import Rows
from onelayer.engines.base import Steps
from onelayer.engines.torch.device import tile_bytes
from onelayer.engines.torch.distributed import Ranks
from onelayer.engines.torch.features import Features, Machine, on_device, width_of
from onelayer.engines.torch.optimizer import Batch, Descent, Rates
from onelayer.engines.torch.storage import Choice

# Steps of one CUDA graph: its launch is then far below a microsecond a step, its capture quick.
MAX_STEPS = 256


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
    """Cut an epoch of `rows` rows into loads of at most `capacity` rows.

    Every process has the same steps in the same number of loads; a batch too large for one closes
    in the last of its own.

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
        firsts = _first_steps(rows // batch_size, steps, min(capacity // largest, MAX_STEPS))
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


class EpochBuffers:
    """Buffers for the loads of epochs over the same rows, in batches of one size.

    Attributes:
        loads: of an epoch, this process's parts.
    """

    def __init__(self, rows: Rows, steps: Steps, descent: Descent, machine: Machine) -> None:
        machine.ranks.check_same(rows)
        self._rows, self._batch_size, self._count = rows, steps.batch_size, _visited(rows, steps)
        self._descent, self._device = descent, machine.device
        R, K, dtype = descent.runs, descent.classes, descent.dtype
        of_a_row = (width_of(rows.X.shape[1]) + 4 * R * K) * dtype.itemsize
        capacity = max(1, tile_bytes(machine.device) // of_a_row)
        self.loads = plan_loads(self._count, steps.batch_size, capacity, machine.ranks)
        own = sum(load.rows for load in self.loads)
        self._whole = own <= capacity
        size = own if self._whole else max(load.rows for load in self.loads)
        self._features = Features(rows, dtype, machine)
        self._X = self._features.buffer(size)
        self._targets = self._X.new_zeros((size, R, K), dtype=dtype)
        self._factors = self._X.new_zeros((size, R), dtype=dtype)
        most = max(len(load.segments) for load in self.loads)
        size = len(steps.learning_rate) if self._whole else most
        self._rates = Rates(*(self._factors.new_zeros((size, R, 1, 1)) for _ in range(3)))
        self._holds: Steps | None = None

    def suits(self, rows: Rows, steps: Steps) -> bool:
        """Whether these are buffers for these rows in these batches."""
        of_epoch = (self._batch_size, self._count)
        return rows is self._rows and of_epoch == (steps.batch_size, _visited(rows, steps))

    def has_rows_of(self, steps: Steps) -> bool:
        """Whether the rows of these steps lie here, from an epoch before."""
        held = self._holds
        return held is not None and all(
            s.order is None and s.flipped is None for s in (held, steps)
        )

    def filled(self, steps: Steps) -> None:
        """Remember that all that these steps need lies here, if it does."""
        if not self._whole:
            return
        averaging = None if steps.averaging is None else steps.averaging.copy()
        self._holds = replace(steps, learning_rate=steps.learning_rate.copy(), averaging=averaging)

    def fill(self, load: Load, stored: Any | None, steps: Steps) -> None:
        """Bring a load in; `stored` are its rows as stored, None where they are here already."""
        place = self._place(load, slice(0, load.rows))
        if stored is not None:
            self._holds = None
            flipped = None if steps.flipped is None else steps.flipped[load.places]
            on = None if flipped is None else on_device(flipped, self._device)
            self._features.write(self._X[place], stored, on)
        elif self._holds is not None and _same_numbers(self._holds, steps):
            return
        self._fill_numbers(load, place, steps)

    def _fill_numbers(self, load: Load, place: slice, steps: Steps) -> None:
        """Bring in targets, factors and rates."""
        numbers = in_order(steps.order, load.places)
        factors = self._factors_of(load, numbers, steps)
        self._factors[place] = on_device(factors, self._device, self._descent.dtype)
        y = on_device(self._rows.y[numbers], self._device)
        self._descent.losses.write_targets(self._targets[place], y, self._factors[place])
        first, last = load.segments[0].step, load.segments[-1].step + 1
        at = slice(first, last) if self._whole else slice(0, last - first)
        of_steps = self._descent.rates(steps.part(first, last))
        for kept, new in zip(_parts(self._rates), _parts(of_steps), strict=True):
            kept[at] = new

    def batch(self, load: Load, segment: Segment) -> Batch:
        """The rows of a segment."""
        place = self._place(load, slice(segment.start, segment.stop))
        return Batch(self._X[place], self._targets[place], self._factors[place])

    def rates(self, load: Load, segment: Segment) -> Rates:
        """The numbers of a segment's step."""
        at = segment.step if self._whole else segment.step - load.segments[0].step
        return Rates(*(kept[at] for kept in _parts(self._rates)))

    def key(self, load: Load) -> object:
        """What tells work on this load from work on others: where it lies, and its shape."""
        return (load.at if self._whole else 0, len(load.segments), load.rows)

    def _place(self, load: Load, within: slice) -> slice:
        start = load.at if self._whole else 0
        return slice(start + within.start, start + within.stop)

    def _factors_of(self, load: Load, numbers: Choice, steps: Steps) -> NDArray[np.float64]:
        """w/B of each row, times η of each run where the residual takes it; shape (n, R)."""
        step = np.repeat(
            [segment.step for segment in load.segments],
            [segment.stop - segment.start for segment in load.segments],
        )
        sizes = np.minimum(self._batch_size, self._count - step * self._batch_size)
        of_rows = 1.0 / sizes
        if self._rows.weights is not None:
            of_rows = of_rows * self._rows.weights[numbers]
        of_runs = (
            steps.learning_rate[step] if self._descent.plain else np.ones((1, self._descent.runs))
        )
        return np.asarray(of_rows[:, None] * of_runs)


def in_order(order: NDArray[np.int64] | None, places: Choice) -> Choice:
    """Numbers of the rows at these places of an order; file order for None."""
    return places if order is None else order[places]


def _visited(rows: Rows, steps: Steps) -> int:
    return len(rows.y if steps.order is None else steps.order)


def _same_numbers(held: Steps, steps: Steps) -> bool:
    if (held.averaging is None) != (steps.averaging is None):
        return False
    same_shares = steps.averaging is None or np.array_equal(held.averaging, steps.averaging)  # type: ignore[arg-type]
    return same_shares and np.array_equal(held.learning_rate, steps.learning_rate)


def _parts(rates: Rates) -> tuple[Any, Any, Any]:
    return rates.rate, rates.shrink, rates.alpha
