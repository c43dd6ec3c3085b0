"""Walk over rows in files in any order; the next ones are read while these are worked on.

Which rows are in memory together, when rows in files are visited in some order.

A stretch of the order is cut so that it holds whole batches. Where the order keeps close rows
together, as `block_order` does, cuts are made where no block is left half visited; the few rows
that do not fill a batch are carried over in memory and not read again.

Reading ahead: a thread fills one buffer while the one before is worked on.

Shuffling rows that are too many to be read one by one: by blocks, then inside a window.

    1. The blocks, the stretches that are read as a whole, are permuted over all rows.
    2. In that order they are dealt into windows of at most so many rows (or one larger block).
    3. The rows of each window are permuted.

Each window is read once, in a few large reads. The order depends on the seed, the epoch and the
blocks alone, so it is the same on any machine and on any number of workers, and each window's order
can be found without the others'.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from onelayer.data.streaming.rows import StoredRows, gather

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


Task = TypeVar("Task")

Buffer = TypeVar("Buffer")


def read_ahead(
    tasks: Iterator[Task],
    load: Callable[[Task, Buffer, Buffer | None], None],
    buffers: Sequence[Buffer],
) -> Iterator[tuple[Task, Buffer]]:
    """Do the tasks in order in a thread, as far ahead as there are buffers.

    The thread ends with the iterator: when tasks are at their end, when a task fails, and when the
    loop over them is left, by an error or Ctrl-C for instance.

    Args:
        tasks: what is to be read; taken in the thread.
        load: fills a buffer by a task, in the thread; its third argument is the buffer of the task
            before, which is not yet overwritten, None for the first.
        buffers: two or more; they are filled in turn.

    Yields:
        Each task with its buffer, which is overwritten after the next one is asked for.

    Raises:
        BaseException: whatever tasks or load raise.

    Example:
        >>> def load(task, buffer, before):
        ...     buffer[0] = task
        >>> [buffer[0] for _, buffer in read_ahead(iter("abc"), load, [[0], [0]])]
        ['a', 'b', 'c']
    """
    turns = _Turns(tasks, load, buffers)
    thread = threading.Thread(target=turns.run, name="onelayer-read-ahead", daemon=True)
    try:
        thread.start()
        while (filled := turns.filled.get()) is not None:
            if isinstance(filled, BaseException):
                raise filled
            yield filled
            turns.free.put(True)
    finally:
        turns.free.put(False)
        if thread.ident is not None:
            thread.join()


class _Turns(Generic[Task, Buffer]):
    """The thread's side: it waits for a free buffer, fills it, and hands it over."""

    def __init__(
        self,
        tasks: Iterator[Task],
        load: Callable[[Task, Buffer, Buffer | None], None],
        buffers: Sequence[Buffer],
    ) -> None:
        self._tasks, self._load, self._buffers = tasks, load, buffers
        # True for each buffer that may be overwritten; False to end.
        self.free: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.filled: queue.SimpleQueue[tuple[Task, Buffer] | BaseException | None]
        self.filled = queue.SimpleQueue()
        for _ in buffers:
            self.free.put(True)

    def run(self) -> None:
        try:
            for turn, task in enumerate(self._tasks):
                if not self.free.get():
                    return
                buffer = self._buffers[turn % len(self._buffers)]
                before = self._buffers[(turn - 1) % len(self._buffers)] if turn else None
                self._load(task, buffer, before)
                self.filled.put((task, buffer))
            self.filled.put(None)
        except BaseException as error:
            self.filled.put(error)


BUFFERS = 2


class Overwritten(np.ndarray[Any, np.dtype[Any]]):
    """Memory that rows are read into again and again: nobody may keep what it held by its place."""


def walk(
    X: StoredRows, order: Numbers | None = None, *, batch: int = 1, most: int | None = None
) -> Iterator[tuple[Stretch, NDArray[Any]]]:
    """Visit rows, a stretch at a time.

    Args:
        X: the rows, (N, D).
        order: row of each place, shape (n,); None visits all of them as they are stored.
        batch: places of a batch; every stretch but the last holds whole ones.
        most: rows of a stretch at most, whole batches of them but one at least; None is what X
            reads at once.

    Yields:
        Each stretch with its rows as an array, (`stretch.rows`, D), which is overwritten after the
        next one is asked for. Two are in memory, `walked_bytes` of them.

    Raises:
        DataError: when a file cannot be read, or holds what is no finite number.
    """
    each = _rows_of_a_stretch(X, ordered=order is not None, batch=batch, most=most)
    if order is None:
        plan = plan_in_file_order(len(X), each)
    else:
        plan = plan_in_order(order, X.blocks, each, batch)
    reader = X.open()

    def load(stretch: Stretch, buffer: NDArray[Any], before: NDArray[Any] | None) -> None:
        if isinstance(stretch.numbers, slice):
            reader.read(stretch.start, buffer[: stretch.rows])
            return
        kept = len(stretch.carried)
        if before is not None:
            np.take(before, stretch.carried, axis=0, out=buffer[:kept], mode="clip")
        gather(reader, stretch.numbers[kept:], buffer[kept : stretch.rows])

    shape = (min(each, len(X)), X.shape[1])
    buffers = [np.asarray(Overwritten(shape, X.dtype)) for _ in range(BUFFERS)]
    try:
        for stretch, buffer in read_ahead(plan, load, buffers):
            yield stretch, buffer[: stretch.rows]
    finally:
        reader.close()


def walked_bytes(X: StoredRows, *, ordered: bool = False, batch: int = 1) -> int:
    """Bytes of memory that a walk takes; see `walk`."""
    return BUFFERS * X.row_bytes * _rows_of_a_stretch(X, ordered=ordered, batch=batch, most=None)


def _rows_of_a_stretch(X: StoredRows, *, ordered: bool, batch: int, most: int | None) -> int:
    if not ordered:
        return max(batch, min(most or len(X), X.tile_rows) // batch * batch)
    # A window is whole with what did not fill a batch of the one before.
    return max(batch, min(most or len(X), X.window_rows + batch - 1))


def block_order(blocks: Numbers, window_rows: int, seed: int, epoch: int) -> Numbers:
    """Order in which an epoch visits rows that are in files.

    Args:
        blocks: where blocks begin, and the number of rows N as the last: shape (M + 1,).
        window_rows: rows of a window at most, ≥ 1; a larger block is a window of its own.
        seed: ≥ 0.
        epoch: 1, 2, …

    Returns:
        A permutation of 0 … N−1, shape (N,).

    Example:
        >>> order = block_order(np.array([0, 2, 4, 6]), window_rows=4, seed=0, epoch=1)
        >>> sorted(order.tolist()), sorted((order[:4] // 2).tolist())
        ([0, 1, 2, 3, 4, 5], [0, 0, 2, 2])
    """
    sizes = np.diff(blocks)
    permuted = np.random.default_rng([seed, epoch]).permutation(len(sizes))
    order, filled = np.empty(int(blocks[-1]), np.int64), 0
    for number, (first, last) in enumerate(_windows(sizes[permuted], window_rows)):
        rows = np.concatenate([np.arange(blocks[i], blocks[i + 1]) for i in permuted[first:last]])
        rng = np.random.default_rng([seed, epoch, number])
        order[filled : filled + len(rows)] = rng.permutation(rows)
        filled += len(rows)
    return order


def _windows(sizes: Numbers, window_rows: int) -> Iterator[tuple[int, int]]:
    """First and last block of each window."""
    ends, first = np.cumsum(sizes), 0
    while first < len(sizes):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + window_rows, "right")))
        yield first, last
        first = last
