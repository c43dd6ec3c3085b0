"""`StoredRows`: N rows of D features in files, with the shape, dtype and slices of an array.

Shape letters, the same everywhere: N rows, D features, X (N, D).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import DataError

# What is read at once, and what a shuffle mixes at once: two of these are in memory.
TILE_BYTES = 32 << 20

# Of rows that can be read alone, so many bytes are a block: a large read, and yet few rows.
BLOCK_BYTES = 256 << 10

# Reading over a gap of this size takes no longer than beginning a read behind it.
GAP_BYTES = 128 << 10

# Rows with gaps between them are read to here, and those that are asked for are copied.
SCRATCH_BYTES = 2 << 20

# Rows that are searched for a NaN at a time.
_SEARCH_BYTES = 256 << 10
_HALF_EXPONENT = np.uint16(0x7C00)

Indices = NDArray[np.int64]


class Reader(Protocol):
    """Reads consecutive rows; it belongs to one thread, and is closed after use."""

    def read(self, start: int, into: NDArray[Any]) -> None:
        """Read rows start, start + 1, … into an array of shape (n, D) of the rows' dtype.

        Raises:
            DataError: when the file cannot be read, ends early or holds a NaN or infinity.
        """

    def close(self) -> None:
        """Close what was opened."""


class StoredRows(ABC):
    """Rows in files.

    A slice or an index reads just those rows, as an array; nothing else is ever in memory. It is
    safe to fork and to pickle: it names its files and does not hold them open.

    Attributes:
        shape: (N, D).
        dtype: of the arrays that are read.
        blocks: where the blocks begin that are cheapest read as a whole, and N as the last: shape
            (M + 1,), ascending from 0.
        where: the file or files, for messages.
    """

    ndim = 2

    def __init__(
        self, shape: tuple[int, int], dtype: np.dtype[Any], blocks: Indices, where: str
    ) -> None:
        self.shape, self.dtype, self.blocks, self.where = shape, dtype, blocks, where

    @abstractmethod
    def open(self) -> Reader:
        """A reader of these rows."""

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
        read = np.empty((len(distinct), self.shape[1]), self.dtype)
        reader = self.open()
        try:
            read_rows(reader, distinct, read)
        finally:
            reader.close()
        return read if np.array_equal(distinct, indices) else read[places]

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

    @property
    def row_bytes(self) -> int:
        """Bytes of one row as it is read."""
        return self.features * self.dtype.itemsize

    @abstractmethod
    def labels(self) -> NDArray[Any] | None:
        """(N,) labels as the file has them; None when they are elsewhere."""

    @abstractmethod
    def open(self) -> Reader:
        """A reader of its rows."""


class ShardedRows(StoredRows):
    """The rows of shards, one after another; a NaN or infinity is found at the first reading."""

    def __init__(self, shards: Sequence[Shard], where: str) -> None:
        self._shards, first = tuple(shards), shards[0]
        self._starts = np.cumsum([0, *(shard.blocks[-1] for shard in shards)])
        pairs = zip(shards, self._starts, strict=False)
        begins = [shard.blocks[:-1] + start for shard, start in pairs]
        blocks = np.concatenate([*begins, self._starts[-1:]])
        super().__init__((int(blocks[-1]), first.features), first.dtype, blocks, where)
        self._checked = np.full(len(self), first.dtype.kind != "f")

    def open(self) -> Reader:
        """A reader of these rows; one file is open at a time."""
        return _ShardsReader(self)

    def shard_of(self, row: int) -> tuple[Shard, int, int]:
        """The shard that a row is in, its first row, and the first row of the next shard."""
        i = int(np.searchsorted(self._starts, row, "right")) - 1
        return self._shards[i], int(self._starts[i]), int(self._starts[i + 1])

    def check_finite(self, start: int, rows: NDArray[Any]) -> None:
        """Raise `DataError` for a NaN or infinity in rows that were not checked yet."""
        checked = self._checked[start : start + len(rows)]
        if checked.all():
            return
        found = first_not_finite(rows)
        if found is not None:
            row, column = found
            shard, first, _ = self.shard_of(start + row)
            place = f"{shard.path}", start + row - first, column
            raise not_finite(*place, rows[row, column], shard.feature_names)
        checked[:] = True


def read_rows(reader: Reader, indices: Indices, into: NDArray[Any]) -> None:
    """Read ascending rows (n,) into (n, D): close ones in few reads, others each by itself."""
    row_bytes = max(1, into.strides[0])
    apart = np.flatnonzero(np.diff(indices) > 1 + GAP_BYTES // row_bytes) + 1
    most = max(1, SCRATCH_BYTES // row_bytes)
    scratch: NDArray[Any] | None = None
    for first, last in pairwise([0, *apart.tolist(), len(indices)]):
        low, high = (int(indices[first]), int(indices[last - 1]) + 1) if last > first else (0, 0)
        if high - low == last - first:
            reader.read(low, into[first:last])
            continue
        scratch = np.empty((most, into.shape[1]), into.dtype) if scratch is None else scratch
        for start in range(low, high, most):
            span = scratch[: min(most, high - start)]
            a, b = np.searchsorted(indices, (start, start + len(span)))
            if a < b:
                reader.read(start, span)
                np.take(span, indices[a:b] - start, axis=0, out=into[a:b], mode="clip")


def even_blocks(rows: int, row_bytes: int) -> Indices:
    """Blocks of rows that can be read alone: BLOCK_BYTES each, but for the last."""
    each = max(1, BLOCK_BYTES // row_bytes)
    return np.append(np.arange(0, rows, each, dtype=np.int64), rows)


def first_not_finite(X: NDArray[Any]) -> tuple[int, int] | None:
    """Row and column of the first NaN or infinity of contiguous rows; None where there is none."""
    if X.dtype.kind != "f":
        return None
    # In blocks: the mask for all of X at once would be a copy of up to half its size.
    step = max(1, _SEARCH_BYTES // (X.shape[1] * X.itemsize))
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


class _Subset(StoredRows):
    """Some rows of others, in the same order."""

    def __init__(self, base: StoredRows, indices: Indices) -> None:
        self._base, self._indices = base, indices
        blocks = np.unique(np.searchsorted(indices, base.blocks))
        super().__init__((len(indices), base.shape[1]), base.dtype, blocks, base.where)

    def open(self) -> Reader:
        return _SubsetReader(self._base.open(), self._indices)

    def take(self, indices: NDArray[np.integer[Any]]) -> StoredRows:
        return _Subset(self._base, self._indices[indices])


class _SubsetReader:
    def __init__(self, base: Reader, indices: Indices) -> None:
        self._base, self._indices = base, indices

    def read(self, start: int, into: NDArray[Any]) -> None:
        read_rows(self._base, self._indices[start : start + len(into)], into)

    def close(self) -> None:
        self._base.close()


class _ShardsReader:
    def __init__(self, rows: ShardedRows) -> None:
        self._rows = rows
        self._shard: Shard | None = None
        self._reader: Reader | None = None

    def read(self, start: int, into: NDArray[Any]) -> None:
        done = 0
        while done < len(into):
            shard, first, end = self._rows.shard_of(start + done)
            if shard is not self._shard or self._reader is None:
                self.close()
                self._shard, self._reader = shard, shard.open()
            part = into[done : done + end - start - done]
            self._reader.read(start + done - first, part)
            done += len(part)
        self._rows.check_finite(start, into)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None


def _all_finite(block: NDArray[Any]) -> bool:
    if block.dtype != np.float16 or not block.dtype.isnative:
        return bool(np.isfinite(block).all())
    # NumPy asks each half float by itself; looking at the exponents' bits is eight times faster.
    exponents = np.bitwise_and(block.view(np.uint16), _HALF_EXPONENT)
    return bool(exponents.max() != _HALF_EXPONENT)
