"""`StoredRows`: N rows of D features in files, with the shape, type and slices of an array.

Shape letters, the same everywhere: N rows, D features, X (N, D).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from onelayer.stored.gather import gather

# What is read at once, and what a shuffle mixes at once: two of these are in memory.
TILE_BYTES = 32 << 20

Numbers = NDArray[np.int64]


class Reader(Protocol):
    """Reads stretches of rows; it belongs to one thread, and is closed when done with."""

    def read(self, start: int, into: NDArray[Any]) -> None:
        """Read rows start, start + 1, … into an array of shape (n, D) of the rows' type.

        Raises:
            DataError: when the file cannot be read, ends early or holds what is no finite number.
        """

    def close(self) -> None:
        """Close what was opened."""


class StoredRows(ABC):
    """Rows as files hold them.

    A slice or an index reads just those rows, as an array; nothing else is ever in memory. It is
    safe to fork and to pickle: files are named by it and not held open.

    Attributes:
        shape: (N, D).
        dtype: of the arrays that are read.
        blocks: where the stretches begin that are cheapest read as a whole, and N as the last:
            shape (M + 1,), ascending from 0.
        where: the file or files, for messages.
    """

    ndim = 2

    def __init__(
        self, shape: tuple[int, int], dtype: np.dtype[Any], blocks: Numbers, where: str
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
        numbers = np.arange(len(self))[chosen]
        distinct, places = np.unique(numbers, return_inverse=True)
        read = np.empty((len(distinct), self.shape[1]), self.dtype)
        reader = self.open()
        try:
            gather(reader, distinct, read)
        finally:
            reader.close()
        return read if np.array_equal(distinct, numbers) else read[places]

    def take(self, numbers: NDArray[np.integer[Any]]) -> StoredRows:
        """These rows alone, still in their files.

        Args:
            numbers: of the rows, each larger than the one before.

        Returns:
            The rows; nothing is read.
        """
        return ChosenRows(self, np.asarray(numbers, np.int64))

    def __array__(self, *_: object, **__: object) -> NoReturn:
        # Without this NumPy would read row by row into an array of objects.
        raise TypeError(f"{self.where} stays in its files: read some of its rows, as in X[:100].")


class ChosenRows(StoredRows):
    """Some rows of others, in the same order; a share that was cut off, for instance."""

    def __init__(self, base: StoredRows, numbers: Numbers) -> None:
        self._base, self._numbers = base, numbers
        blocks = np.unique(np.searchsorted(numbers, base.blocks))
        super().__init__((len(numbers), base.shape[1]), base.dtype, blocks, base.where)

    def open(self) -> Reader:
        """A reader of these rows."""
        return _ChosenReader(self._base.open(), self._numbers)

    def take(self, numbers: NDArray[np.integer[Any]]) -> StoredRows:
        """These rows alone, still in their files."""
        return ChosenRows(self._base, self._numbers[numbers])


class _ChosenReader:
    def __init__(self, base: Reader, numbers: Numbers) -> None:
        self._base, self._numbers = base, numbers

    def read(self, start: int, into: NDArray[Any]) -> None:
        gather(self._base, self._numbers[start : start + len(into)], into)

    def close(self) -> None:
        self._base.close()


def stored_rows(X: object) -> StoredRows | None:
    """Features as rows in files, or None where they are an array.

    Example:
        >>> stored_rows(np.zeros((2, 3))) is None
        True
    """
    return X if isinstance(X, StoredRows) else None
