"""One file after another as rows that are read a stretch at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onelayer.data.finite import first_not_finite
from onelayer.errors import DataError
from onelayer.stored import Reader, StoredRows

# Of rows that may be read alone, so many bytes are a block: a large read, and yet few rows.
BLOCK_BYTES = 256 << 10


@dataclass(frozen=True)
class Form:
    """What the rows of a file are.

    Attributes:
        rows: N.
        features: D.
        dtype: of the arrays that are read.
        feature_names: names of the columns, if they have any.
        max_value: the largest value that a feature can have.
    """

    rows: int
    features: int
    dtype: np.dtype[Any]
    feature_names: tuple[str, ...] | None = None
    max_value: float = 1.0


class Shard(Protocol):
    """A file with rows, which is opened anew by each reader."""

    @property
    def where(self) -> str:
        """The file's path, for messages."""

    @property
    def form(self) -> Form:
        """What its rows are."""

    @property
    def blocks(self) -> NDArray[np.int64]:
        """Where the stretches begin that are cheapest read as a whole, and N as the last."""

    @abstractmethod
    def labels(self) -> NDArray[Any] | None:
        """(N,) labels as the file has them; None when they are elsewhere."""

    @abstractmethod
    def open(self) -> Reader:
        """A reader of its rows."""


class ShardedRows(StoredRows):
    """The rows of shards, one after another."""

    def __init__(self, shards: Sequence[Shard], where: str) -> None:
        self._shards = tuple(shards)
        form = shards[0].form
        self._starts = np.cumsum([0, *(shard.form.rows for shard in shards)])
        pairs = zip(shards, self._starts, strict=False)
        blocks = [shard.blocks[:-1] + start for shard, start in pairs]
        rows = int(self._starts[-1])
        super().__init__(
            (rows, form.features), form.dtype, np.concatenate([*blocks, [rows]]), where
        )
        # A row is looked at when it is read for the first time.
        self._finite = np.full(rows, form.dtype.kind != "f")

    def open(self) -> Reader:
        """A reader of these rows; one file is open at a time."""
        return _ShardsReader(self)

    def shard_of(self, row: int) -> tuple[Shard, int, int]:
        """The shard that a row is in, with the numbers of its first row and of the next shard's."""
        i = int(np.searchsorted(self._starts, row, "right")) - 1
        return self._shards[i], int(self._starts[i]), int(self._starts[i + 1])

    def check_finite(self, start: int, rows: NDArray[Any]) -> None:
        """Look for a NaN or an infinity in rows that nobody has looked at yet.

        Raises:
            DataError: when there is one; with file, row and column.
        """
        seen = self._finite[start : start + len(rows)]
        if seen.all():
            return
        found = first_not_finite(rows)
        if found is not None:
            row, column = found
            shard, first, _ = self.shard_of(start + row)
            names = shard.form.feature_names
            called = f"{column} ({names[column]})" if names else str(column)
            raise DataError(
                f"{shard.where}: every feature must be a finite number, but row "
                f"{start + row - first}, column {called} is {rows[row, column]}; drop the row or "
                "fill the value."
            )
        seen[:] = True


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


def even_blocks(rows: int, row_bytes: int) -> NDArray[np.int64]:
    """Blocks of rows that may be read alone: BLOCK_BYTES each, but for the last.

    Example:
        >>> even_blocks(rows=5, row_bytes=100_000)
        array([0, 2, 4, 5])
    """
    each = max(1, BLOCK_BYTES // row_bytes)
    return np.append(np.arange(0, rows, each, dtype=np.int64), rows)
