"""Rows that stay in their files, with the shape, dtype and slices of an array, read ahead in tiles.

A tile is what is in memory at once, and holds whole batches. Where the order keeps rows of a block
together, as `block_order` does, tiles end where no block is left half visited; the few rows that do
not fill a batch are carried over in memory and not read again.

Shape letters, the same everywhere: N rows, D features, X (N, D).
"""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from onelayer.data.fingerprints import Fingerprints, row_fingerprints
from onelayer.errors import DataError

# What is read at once, and what a shuffle mixes at once: two of these are in memory.
TILE_BYTES = 32 << 20

# Of rows that can be read alone, so many bytes are a block: a large read, and yet few rows.
BLOCK_BYTES = 256 << 10

# Reading over a gap of this size takes no longer than beginning a read behind it.
GAP_BYTES = 128 << 10

# Rows with gaps between them are read to here, and those that are asked for are copied.
SCRATCH_BYTES = 2 << 20

_HALF_EXPONENT = np.uint16(0x7C00)

# Blocks by which all rows are judged.
_SOME_BLOCKS = 16

# So many tiles are in memory: one is read while the other is worked on.
_BUFFERS = 2
_NO_ROWS = np.zeros(0, np.int64)
Indices = NDArray[np.int64]


# Reads rows start, start + 1, … into an array of shape (n, D) of their dtype; for one thread.
Read = Callable[[int, NDArray[Any]], None]


class StoredRows(ABC):
    """Rows in files, (N, D): a slice or an index reads just those, as an array.

    It is safe to fork and to pickle: it names its files and does not hold them open. `blocks`
    (M + 1,) is where the blocks begin that are cheapest read as a whole, ascending from 0 to N.
    """

    ndim = 2

    def __init__(
        self, shape: tuple[int, int], dtype: np.dtype[Any], blocks: Indices, where: str
    ) -> None:
        self.shape, self.dtype, self.blocks, self.where = shape, dtype, blocks, where

    @abstractmethod
    def open(self) -> AbstractContextManager[Read]:
        """What reads these rows while the block runs."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row as it is read."""
        return self.shape[1] * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all rows as they would be in memory."""
        return self.shape[0] * self.row_bytes

    @property
    def tile_rows(self) -> int:
        """How many rows are read at once."""
        return max(1, min(len(self), TILE_BYTES // self.row_bytes))

    @property
    def window_rows(self) -> int:
        """How many rows a shuffle mixes at once: `tile_rows`, or those of the largest block."""
        return max(self.tile_rows, int(np.diff(self.blocks).max()))

    def __getitem__(self, chosen: slice | NDArray[Any] | list[int]) -> NDArray[Any]:
        indices = np.arange(len(self))[chosen]
        distinct, places = np.unique(indices, return_inverse=True)
        rows = np.empty((len(distinct), self.shape[1]), self.dtype)
        with self.open() as read:
            read_rows(read, distinct, rows)
        return rows if np.array_equal(distinct, indices) else rows[places]

    def known_fingerprints(self, rows: slice | Indices = slice(None)) -> Fingerprints | None:
        """64 bits of the values of some rows, (n,); None where one of them was never read."""
        return None

    def spread(self, count: int) -> Indices:
        """About so many rows from all over the files, ascending, in a few of the blocks."""
        starts, ends = self.blocks[:-1], self.blocks[1:]
        chosen = np.unique(np.linspace(0, len(starts) - 1, _SOME_BLOCKS).round().astype(np.int64))
        each = -(-count // len(chosen))
        places = [np.linspace(starts[i], ends[i] - 1, each).round() for i in chosen]
        return np.unique(np.concatenate(places).astype(np.int64))

    def take(self, indices: NDArray[np.integer[Any]]) -> StoredRows:
        """These rows alone, ascending, still in their files; nothing is read."""
        return _Subset(self, np.asarray(indices, np.int64))

    def __array__(self, *_: object, **__: object) -> NoReturn:
        # Without this NumPy would read row by row into an array of objects.
        raise TypeError(f"{self.where} stays in its files: read some of its rows, as in X[:100].")


def stored_rows(X: object) -> StoredRows | None:
    """Features as rows in files, or None where they are an array."""
    return X if isinstance(X, StoredRows) else None


@dataclass(frozen=True, eq=False)
class Shard(ABC):
    """The rows of a file, which each reader opens anew."""

    path: Path
    blocks: Indices  # where those begin that are cheapest read as a whole, and N as the last
    features: int
    dtype: np.dtype[Any]  # of the arrays that are read
    feature_names: tuple[str, ...] | None
    max_value: float  # the largest that a feature can have
    labels: Any  # (N,) as the file has them; None when they are elsewhere
    ids: Any  # (N,) what names each row, or None
    beside: Mapping[str, Any] = field(default_factory=dict, kw_only=True)  # (N,), by option

    @property
    def row_bytes(self) -> int:
        """Bytes of one row as it is read."""
        return self.features * self.dtype.itemsize

    @abstractmethod
    def open(self) -> AbstractContextManager[Read]:
        """What reads its rows, as numbers of any dtype, while the block runs."""

    def in_order(self, names: tuple[str, ...]) -> Shard:
        """The same rows with the named columns in another order; for shards that have names."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class LoadedShard(Shard):
    """The rows of a file that was read as a whole."""

    X: NDArray[Any]

    @contextmanager
    def open(self) -> Iterator[Read]:

        def read(start: int, into: NDArray[Any]) -> None:
            into[:] = self.X[start : start + len(into)]

        yield read

    def in_order(self, names: tuple[str, ...]) -> LoadedShard:
        places = [(self.feature_names or ()).index(name) for name in names]
        return replace(self, X=self.X[:, places], feature_names=names, features=len(names))


class ShardedRows(StoredRows):
    """The rows of shards, one after another; the first reading finds NaN and takes fingerprints."""

    def __init__(self, shards: Sequence[Shard], where: str) -> None:
        self._shards, first = tuple(shards), shards[0]
        self._starts = np.cumsum([0, *(shard.blocks[-1] for shard in shards)])
        pairs = zip(shards, self._starts, strict=False)
        begins = [shard.blocks[:-1] + start for shard, start in pairs]
        blocks = np.concatenate([*begins, self._starts[-1:]])
        super().__init__((int(blocks[-1]), first.features), first.dtype, blocks, where)
        self._checked = np.zeros(len(self), np.bool_)
        self._fingerprints = np.zeros(len(self), np.uint64)

    def known_fingerprints(self, rows: slice | Indices = slice(None)) -> Fingerprints | None:
        return self._fingerprints[rows] if self._checked[rows].all() else None

    def astype(self, dtype: np.dtype[Any], **_: object) -> ShardedRows:
        """The same rows, which become numbers of this dtype as they are read."""
        shards = [replace(shard, dtype=np.dtype(dtype)) for shard in self._shards]
        return ShardedRows(shards, self.where)

    @contextmanager
    def open(self) -> Iterator[Read]:
        with ExitStack() as opened:
            current: tuple[int, Read] | None = None

            def read(start: int, into: NDArray[Any]) -> None:
                nonlocal current
                done = 0
                while done < len(into):
                    shard, first = self._shard_of(start + done)
                    if current is None or current[0] != shard:
                        opened.close()
                        current = shard, opened.enter_context(self._shards[shard].open())
                    part = into[done : done + int(self._starts[shard + 1]) - start - done]
                    current[1](start + done - first, part)
                    done += len(part)
                self._look_at(start, into)

            yield read

    def _shard_of(self, row: int) -> tuple[int, int]:
        """The number of the shard that a row is in, and that shard's first row."""
        shard = int(np.searchsorted(self._starts, row, "right")) - 1
        return shard, int(self._starts[shard])

    def _look_at(self, start: int, rows: NDArray[Any]) -> None:
        """Note the fingerprints of rows at first; raise `DataError` for a NaN or infinity."""
        checked = self._checked[start : start + len(rows)]
        if checked.all():
            return
        found = first_not_finite(rows)
        if found is not None:
            number, first = self._shard_of(start + found[0])
            shard, row = self._shards[number], start + found[0] - first
            raise not_finite(str(shard.path), row, found[1], rows[found], shard.feature_names)
        self._fingerprints[start : start + len(rows)] = row_fingerprints(rows)
        checked[:] = True


def read_rows(read: Read, indices: Indices, into: NDArray[Any]) -> None:
    """Read ascending rows (n,) into (n, D): close ones in few reads, others each by itself."""
    row_bytes = max(1, into.strides[0])
    apart = np.flatnonzero(np.diff(indices) > 1 + GAP_BYTES // row_bytes) + 1
    most = max(1, SCRATCH_BYTES // row_bytes)
    scratch: NDArray[Any] | None = None
    for first, last in pairwise([0, *apart.tolist(), len(indices)]):
        low, high = (int(indices[first]), int(indices[last - 1]) + 1) if last > first else (0, 0)
        if high - low == last - first:
            read(low, into[first:last])
            continue
        scratch = np.empty((most, into.shape[1]), into.dtype) if scratch is None else scratch
        for start in range(low, high, most):
            span = scratch[: min(most, high - start)]
            a, b = np.searchsorted(indices, (start, start + len(span)))
            if a < b:
                read(start, span)
                np.take(span, indices[a:b] - start, axis=0, out=into[a:b], mode="clip")


def even_blocks(rows: int, row_bytes: int, chunk: int = 1) -> Indices:
    """Blocks of rows that can be read alone, or by chunks: BLOCK_BYTES each, but for the last."""
    each = chunk * max(1, BLOCK_BYTES // (chunk * row_bytes))
    return np.append(np.arange(0, rows, each, dtype=np.int64), rows)


def first_not_finite(X: NDArray[Any]) -> tuple[int, int] | None:
    """Row and column of the first NaN or infinity of contiguous rows; None where there is none."""
    if X.dtype.kind != "f":
        return None
    # In blocks: the mask for all of X at once would be a copy of up to half its size.
    step = max(1, (256 << 10) // (X.shape[1] * X.itemsize))
    for start in range(0, len(X), step):
        block = X[start : start + step]
        if not _all_finite(block):
            row, column = divmod(int(np.argmin(np.isfinite(block))), X.shape[1])
            return start + row, column
    return None


def not_finite(
    where: str, row: int, column: int, value: object, names: tuple[str, ...] | None
) -> DataError:
    """The error for a feature that is a NaN or infinity."""
    name = f" ({names[column]})" if names else ""
    return DataError(
        f"{where}: every feature must be a finite number, but row {row}, column {column}{name} is "
        f"{value}; drop the row or fill the value."
    )


@dataclass(frozen=True, eq=False)
class Tile:
    """The places start to stop of an order, and the rows that are in memory for them."""

    start: int
    stop: int
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
    asked for, which a thread reads ahead: `tile_memory` bytes are in memory. The thread ends with
    the loop, however that ends, and what it raises is raised here.
    """
    rows = _tile_rows(X, ordered=order is not None, batch=batch, most=most)
    starts = ((start, min(start + rows, len(X))) for start in range(0, len(X), rows))
    tiles: Iterator[Tile] = (Tile(a, b, slice(a, b), _NO_ROWS, None) for a, b in starts)
    if order is not None:
        tiles = _tiles_in_order(order, X.blocks, rows, batch)
    shape = (min(rows, len(X)), X.shape[1])
    buffers = [np.asarray(TileBuffer(shape, X.dtype)) for _ in range(_BUFFERS)]
    # True for each buffer that may be overwritten; False to end.
    free: queue.SimpleQueue[bool] = queue.SimpleQueue()
    filled: queue.SimpleQueue[tuple[Tile, NDArray[Any]] | BaseException | None]
    filled = queue.SimpleQueue()

    def read_ahead(read: Read) -> None:
        before = buffers[-1]
        try:
            for tile, buffer in zip(tiles, cycle(buffers), strict=False):
                if not free.get():
                    return
                if isinstance(tile.indices, slice):
                    read(tile.start, buffer[: tile.rows])
                else:
                    kept = len(tile.carried)
                    np.take(before, tile.carried, axis=0, out=buffer[:kept], mode="clip")
                    read_rows(read, tile.indices[kept:], buffer[kept : tile.rows])
                filled.put((tile, buffer[: tile.rows]))
                before = buffer
            filled.put(None)
        except BaseException as error:
            filled.put(error)

    for _ in buffers:
        free.put(True)
    with X.open() as read:
        thread = threading.Thread(
            target=read_ahead, args=(read,), name="onelayer-prefetch", daemon=True
        )
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


def tile_memory(X: StoredRows, *, ordered: bool = False, batch: int = 1) -> int:
    """Bytes of memory that `iter_tiles` takes."""
    return _BUFFERS * X.row_bytes * _tile_rows(X, ordered=ordered, batch=batch, most=None)


def block_order(blocks: Indices, window_rows: int, seed: int, epoch: int) -> Indices:
    """The order, (N,), in which an epoch, counted from 1, visits rows in files.

    Rows that are too many to be permuted one by one are shuffled by blocks:

    1. The blocks, which are read as a whole, are permuted over all rows.
    2. In that order they are dealt into windows of at most `window_rows` (or one larger block).
    3. The rows of each window are permuted.

    So each window is read once, in a few large reads. `blocks` (M + 1,) is where they begin, and N
    as the last. The order depends on seed, epoch and blocks alone: it is the same on any machine
    and for any number of workers.
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


def _tile_rows(X: StoredRows, *, ordered: bool, batch: int, most: int | None) -> int:
    if not ordered:
        return max(batch, min(most or len(X), X.tile_rows) // batch * batch)
    # A window is whole with what did not fill a batch of the one before.
    return max(batch, min(most or len(X), X.window_rows + batch - 1))


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
    """First place of each tile, the one after its last, and that after the rest of its blocks."""
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


class _Subset(StoredRows):
    """Some rows of others, in the same order."""

    def __init__(self, base: StoredRows, indices: Indices) -> None:
        self._base, self._indices = base, indices
        blocks = np.unique(np.searchsorted(indices, base.blocks))
        super().__init__((len(indices), base.shape[1]), base.dtype, blocks, base.where)

    @contextmanager
    def open(self) -> Iterator[Read]:
        with self._base.open() as read:
            chosen = self._indices
            yield lambda start, into: read_rows(read, chosen[start : start + len(into)], into)

    def take(self, indices: NDArray[np.integer[Any]]) -> StoredRows:
        return _Subset(self._base, self._indices[indices])

    def known_fingerprints(self, rows: slice | Indices = slice(None)) -> Fingerprints | None:
        return self._base.known_fingerprints(self._indices[rows])


class _Joined(StoredRows):
    """Rows of several, one after another."""

    def __init__(self, parts: Sequence[StoredRows]) -> None:
        self._parts, first = parts, parts[0]
        self._starts = np.cumsum([0, *map(len, parts)])
        begins = [p.blocks[:-1] + at for p, at in zip(parts, self._starts, strict=False)]
        blocks = np.concatenate([*begins, self._starts[-1:]])
        super().__init__((int(blocks[-1]), first.shape[1]), first.dtype, blocks, first.where)

    @contextmanager
    def open(self) -> Iterator[Read]:
        with ExitStack() as opened:
            reads = [opened.enter_context(part.open()) for part in self._parts]

            def read(start: int, into: NDArray[Any]) -> None:
                for one, first, end in zip(reads, self._starts, self._starts[1:], strict=False):
                    low, high = max(start, int(first)), min(start + len(into), int(end))
                    if low < high:
                        one(low - int(first), into[low - start : high - start])

            yield read

    def known_fingerprints(self, rows: slice | Indices = slice(None)) -> Fingerprints | None:
        known = [part.known_fingerprints() for part in self._parts]
        return None if any(k is None for k in known) else np.concatenate(known)[rows]  # type: ignore[arg-type]


def join_stored(parts: Sequence[StoredRows]) -> tuple[StoredRows, Indices]:
    """All rows of several, and which row of the parts, counted on, each of them is.

    Parts of the same files are visited in the files' order, so that each is read once.
    """
    every = np.arange(sum(map(len, parts)))
    subsets = [part for part in parts if isinstance(part, _Subset)]
    if len(subsets) < len(parts) or len({id(part._base) for part in subsets}) > 1:
        return _Joined(parts), every
    numbers = np.concatenate([part._indices for part in subsets])
    order = np.argsort(numbers, kind="stable")
    return subsets[0]._base.take(numbers[order]), order


class ChosenColumns(StoredRows):
    """Some columns of rows in files, in an order of their own."""

    def __init__(self, base: StoredRows, columns: Sequence[int]) -> None:
        self._base, self._columns = base, np.asarray(columns, np.int64)
        shape = (len(base), len(columns))
        super().__init__(shape, base.dtype, base.blocks, base.where)

    @contextmanager
    def open(self) -> Iterator[Read]:
        each = max(1, SCRATCH_BYTES // self._base.row_bytes)
        scratch = np.empty((each, self._base.shape[1]), self.dtype)
        with self._base.open() as read:

            def read_columns(start: int, into: NDArray[Any]) -> None:
                for first in range(0, len(into), each):
                    part = into[first : first + each]
                    read(start + first, scratch[: len(part)])
                    np.take(scratch[: len(part)], self._columns, axis=1, out=part, mode="clip")

            yield read_columns


def _all_finite(block: NDArray[Any]) -> bool:
    if block.dtype != np.float16 or not block.dtype.isnative:
        return bool(np.isfinite(block).all())
    # NumPy asks each half float by itself; looking at the exponents' bits is eight times faster.
    exponents = np.bitwise_and(block.view(np.uint16), _HALF_EXPONENT)
    return bool(exponents.max() != _HALF_EXPONENT)
