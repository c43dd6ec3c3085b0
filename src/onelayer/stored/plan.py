"""Which rows are in memory together, when rows in files are visited in some order.

A stretch of the order is cut so that it holds whole batches. Where the order keeps close rows
together, as `block_order` does, cuts are made where no block is left half visited; the few rows
that do not fill a batch are carried over in memory and not read again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stretch:
    """Some of the places of an order, and the rows that they visit.

    Attributes:
        start: the first place.
        stop: the place after the last.
        numbers: of the rows that are in memory together, as they lie there; those that were in
            the stretch before come first, and a few may be there for the next one alone. A slice
            where rows are visited as they are stored.
        carried: where in the stretch before the first of them lie.
        order: where among `numbers` the row of each place is; None where they are visited as they
            lie there.
    """

    start: int
    stop: int
    numbers: slice | Numbers
    carried: Numbers
    order: Numbers | None

    @property
    def rows(self) -> int:
        """How many rows are in memory."""
        if isinstance(self.numbers, slice):
            return self.stop - self.start
        return len(self.numbers)


_NONE = np.zeros(0, np.int64)


def plan_in_file_order(rows: int, each: int) -> Iterator[Stretch]:
    """Stretches of rows as they are stored.

    Args:
        rows: N.
        each: rows of a stretch, but for the last.

    Yields:
        The stretches, one after another.

    Example:
        >>> [(s.start, s.stop) for s in plan_in_file_order(rows=5, each=2)]
        [(0, 2), (2, 4), (4, 5)]
    """
    for start in range(0, rows, each):
        stop = min(start + each, rows)
        yield Stretch(start, stop, slice(start, stop), _NONE, None)


def plan_in_order(order: Numbers, blocks: Numbers, each: int, batch: int) -> Iterator[Stretch]:
    """Stretches of any order.

    Args:
        order: row of each place, shape (n,).
        blocks: where blocks of rows begin, and the number of rows as the last.
        each: rows that are in memory together at most.
        batch: every stretch but the last has a multiple of so many places, ≥ 1; `each` is at least
            that.

    Yields:
        The stretches, one after another.
    """
    before = _NONE
    for start, stop, end in _cuts(order, blocks, each, batch):
        distinct, inverse = np.unique(order[start:end], return_inverse=True)
        held = np.isin(distinct, before)
        numbers = np.concatenate([distinct[held], distinct[~held]])
        sorter = np.argsort(before)
        carried = sorter[np.searchsorted(before, distinct[held], sorter=sorter)]
        places = np.empty(len(numbers), np.int64)
        places[np.concatenate([np.flatnonzero(held), np.flatnonzero(~held)])] = np.arange(
            len(numbers)
        )
        visits = places[inverse[: stop - start]]
        as_they_lie = len(visits) == len(numbers) and bool((np.diff(visits) == 1).all())
        yield Stretch(start, stop, numbers, carried, None if as_they_lie else visits)
        before = numbers


def _cuts(order: Numbers, blocks: Numbers, each: int, batch: int) -> Iterator[tuple[int, int, int]]:
    """First place of each stretch, the one after its last, and the one after the last that is read.

    What is read beyond a stretch is the rest of its blocks, too few for a batch.
    """
    clean, start = _clean_cuts(order, blocks), 0
    most = each // batch * batch
    while start < len(order):
        stop = end = min(start + most, len(order))
        if stop < len(order):
            last = int(np.searchsorted(clean, start + each, "right")) - 1
            whole = int(clean[last]) // batch * batch if last >= 0 else 0
            if whole > start:
                stop, end = whole, int(clean[last])
        yield start, stop, end
        start = stop


def _clean_cuts(order: Numbers, blocks: Numbers) -> Numbers:
    """Places at which every block is either done with or not yet begun."""
    block = np.searchsorted(blocks, order, "right") - 1
    last = np.zeros(len(blocks), np.int64)
    np.maximum.at(last, block, np.arange(len(order)))
    reached = np.maximum.accumulate(last[block])
    return np.asarray(np.flatnonzero(reached == np.arange(len(order))) + 1)
