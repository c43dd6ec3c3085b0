"""Iterate over rows in files in any order; the next tile is read while one is worked on.

A tile is what is in memory at once, and holds whole batches. Where the order keeps rows of a block
together, as `block_order` does, tiles end where no block is left half visited; the few rows that do
not fill a batch are carried over in memory and not read again.

Rows that are too many to be permuted one by one are shuffled by blocks:

    1. The blocks, which are read as a whole, are permuted over all rows.
    2. In that order they are dealt into windows of at most so many rows (or one larger block).
    3. The rows of each window are permuted.

So each window is read once, in a few large reads. The order depends on seed, epoch and blocks
alone: it is the same on any machine and for any number of workers, and the order inside a window
can be found without the others'.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from onelayer.data.streaming.rows import Indices, StoredRows, read_rows

_BUFFERS = 2
_NO_ROWS = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Tile:
    """Some places of an order, and the rows that are in memory for them."""

    start: int
    stop: int  # behind the last place
    # The rows in memory, as they lie there: first those that were in the tile before, then those
    # that were read, maybe a few for the next tile. A slice where they are visited as stored.
    indices: slice | Indices
    carried: Indices  # where in the tile before the first of them lie
    order: Indices | None  # where each place's row is among `indices`; None: as they lie there

    @property
    def rows(self) -> int:
        """How many rows are in memory."""
        if isinstance(self.indices, slice):
            return self.stop - self.start
        return len(self.indices)


class TileBuffer(np.ndarray[Any, np.dtype[Any]]):
    """Memory that tiles are read into again and again: its address says nothing of its content."""


def iter_tiles(
    X: StoredRows, order: Indices | None = None, *, batch: int = 1, most: int | None = None
) -> Iterator[tuple[Tile, NDArray[Any]]]:
    """Visit rows, a tile at a time, each with its rows as an array, (`tile.rows`, D).

    `order` (n,) is the row of each place; None visits all of them as they are stored. Every tile
    but the last holds whole batches of `batch` places. A tile has at most `most` rows, by default
    what X reads at once, but at least one batch. The array is overwritten after the next tile is
    asked for. Two are in memory, `tile_memory` bytes.
    """
    rows = _tile_rows(X, ordered=order is not None, batch=batch, most=most)
    if order is None:
        tiles = _tiles_as_stored(len(X), rows)
    else:
        tiles = _tiles_in_order(order, X.blocks, rows, batch)
    reader = X.open()

    def load(tile: Tile, buffer: NDArray[Any], before: NDArray[Any] | None) -> None:
        if isinstance(tile.indices, slice):
            reader.read(tile.start, buffer[: tile.rows])
            return
        kept = len(tile.carried)
        if before is not None:
            np.take(before, tile.carried, axis=0, out=buffer[:kept], mode="clip")
        read_rows(reader, tile.indices[kept:], buffer[kept : tile.rows])

    shape = (min(rows, len(X)), X.shape[1])
    buffers = [np.asarray(TileBuffer(shape, X.dtype)) for _ in range(_BUFFERS)]
    try:
        for tile, buffer in prefetch(tiles, load, buffers):
            yield tile, buffer[: tile.rows]
    finally:
        reader.close()


def tile_memory(X: StoredRows, *, ordered: bool = False, batch: int = 1) -> int:
    """Bytes of memory that `iter_tiles` takes."""
    return _BUFFERS * X.row_bytes * _tile_rows(X, ordered=ordered, batch=batch, most=None)


def block_order(blocks: Indices, window_rows: int, seed: int, epoch: int) -> Indices:
    """The order, (N,), in which an epoch visits rows in files; see the head of this file.

    `blocks` (M + 1,) is where blocks begin, and N as the last. A window has at most `window_rows`
    rows, or is one larger block. Epochs are counted from 1.
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


Task = TypeVar("Task")

Buffer = TypeVar("Buffer")


def prefetch(
    tasks: Iterator[Task],
    load: Callable[[Task, Buffer, Buffer | None], None],
    buffers: Sequence[Buffer],
) -> Iterator[tuple[Task, Buffer]]:
    """Load the tasks in order in a thread, as far ahead as there are buffers.

    The thread ends with the iterator: after the last task, when a task fails, and when the loop
    over them is left, by an error or Ctrl-C for instance. It raises what tasks or `load` raise.

    `load` fills a buffer for a task, in the thread; its third argument is the buffer of the task
    before, which is not yet overwritten, or None for the first. Each task is yielded with its
    buffer, which is overwritten after the next one is asked for.
    """
    # True for each buffer that may be overwritten; False to end.
    free: queue.SimpleQueue[bool] = queue.SimpleQueue()
    filled: queue.SimpleQueue[tuple[Task, Buffer] | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            for turn, task in enumerate(tasks):
                if not free.get():
                    return
                buffer = buffers[turn % len(buffers)]
                before = buffers[(turn - 1) % len(buffers)] if turn else None
                load(task, buffer, before)
                filled.put((task, buffer))
            filled.put(None)
        except BaseException as error:
            filled.put(error)

    for _ in buffers:
        free.put(True)
    thread = threading.Thread(target=work, name="onelayer-prefetch", daemon=True)
    try:
        thread.start()
        while (done := filled.get()) is not None:
            if isinstance(done, BaseException):
                raise done
            yield done
            free.put(True)
    finally:
        free.put(False)
        if thread.ident is not None:
            thread.join()


def _tile_rows(X: StoredRows, *, ordered: bool, batch: int, most: int | None) -> int:
    if not ordered:
        return max(batch, min(most or len(X), X.tile_rows) // batch * batch)
    # A window is whole with what did not fill a batch of the one before.
    return max(batch, min(most or len(X), X.window_rows + batch - 1))


def _tiles_as_stored(rows: int, each: int) -> Iterator[Tile]:
    for start in range(0, rows, each):
        stop = min(start + each, rows)
        yield Tile(start, stop, slice(start, stop), _NO_ROWS, None)


def _tiles_in_order(order: Indices, blocks: Indices, each: int, batch: int) -> Iterator[Tile]:
    """Tiles of at most `each` rows; all but the last have a multiple of `batch` places."""
    before = _NO_ROWS
    for start, stop, end in _cuts(order, blocks, each, batch):
        distinct, inverse = np.unique(order[start:end], return_inverse=True)
        held = np.isin(distinct, before)
        indices = np.concatenate([distinct[held], distinct[~held]])
        sorter = np.argsort(before)
        carried = sorter[np.searchsorted(before, distinct[held], sorter=sorter)]
        places = np.empty(len(indices), np.int64)
        places[np.argsort(~held, kind="stable")] = np.arange(len(indices))
        visits = places[inverse[: stop - start]]
        as_stored = len(visits) == len(indices) and bool((np.diff(visits) == 1).all())
        yield Tile(start, stop, indices, carried, None if as_stored else visits)
        before = indices


def _cuts(order: Indices, blocks: Indices, each: int, batch: int) -> Iterator[tuple[int, int, int]]:
    """First place of each tile, the one after its last, and the one after the last that is read.

    What is read beyond a tile is the rest of its blocks, too few for a batch.
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


def _clean_cuts(order: Indices, blocks: Indices) -> Indices:
    """Places at which every block is either done with or not yet begun."""
    block = np.searchsorted(blocks, order, "right") - 1
    last = np.zeros(len(blocks), np.int64)
    np.maximum.at(last, block, np.arange(len(order)))
    reached = np.maximum.accumulate(last[block])
    return np.asarray(np.flatnonzero(reached == np.arange(len(order))) + 1)


def _windows(sizes: Indices, window_rows: int) -> Iterator[tuple[int, int]]:
    """First and last block of each window."""
    ends, first = np.cumsum(sizes), 0
    while first < len(sizes):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + window_rows, "right")))
        yield first, last
        first = last
