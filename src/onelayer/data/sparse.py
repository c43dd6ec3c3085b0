"""Rows of which only stored values are kept, in compressed sparse rows: what is not stored is 0.

    row n has values[indptr[n] : indptr[n + 1]], and indices of the same places are their columns

Shape letters, the same everywhere: N rows, D features, X (N, D).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from onelayer import _native
from onelayer.data.fingerprints import Fingerprints, row_fingerprints
from onelayer.data.streaming import not_finite
from onelayer.errors import DataError

Float64 = NDArray[np.float64]

# Values that are looked at together: they and what is made of them stay in the cache.
BLOCK_VALUES = 1 << 17

# Whole numbers up to these are exact.
_EXACT = {"float32": 1 << 24, "float64": 1 << 53}


class SparseRows:
    """Rows (N, D) by their stored values; a slice is a view, other choices of rows copy them.

    It stands where an array of rows does. Values are float32 or float64, indices int32 or int64
    and ascending in each row. No array may be changed while it is in use.

    Args:
        values: (nnz,) numbers; integers and float16 become float32, or float64 where it must be.
        indices: (nnz,) the column of each, integers from 0 to D − 1.
        indptr: (N + 1,) where the values of each row begin, and where those of the last end.
        features: D.
        where: what they are, for messages.

    Indices of a row that do not ascend are sorted, in a copy, and values of one place summed.

    Raises:
        DataError: for a NaN or infinity, an index out of range, or an indptr that does not ascend.

    Example:
        >>> X = SparseRows(np.array([1.0, 2.0]), np.array([0, 3]), np.array([0, 1, 2]), 4)
        >>> X.shape, X[1:].toarray().tolist()
        ((2, 4), [[0.0, 0.0, 0.0, 2.0]])
    """

    ndim = 2
    # What files that number their columns call the first one, 0 or 1; None of all other rows.
    first_index: int | None = None

    def __init__(
        self,
        values: NDArray[Any],
        indices: NDArray[Any],
        indptr: NDArray[Any],
        features: int,
        where: str = "X",
    ) -> None:
        self.shape = (len(indptr) - 1, int(features))
        self.indptr: NDArray[np.int64] = np.ascontiguousarray(indptr, np.int64)
        self.indices: NDArray[Any] = _contiguous(indices, ("i4", "i8"), "i8")
        self.values: NDArray[Any] = _numbers(values, where)
        self.where = where
        self._check_places()
        self._check_values()
        if not self._ascends():
            self._sort()

    @classmethod
    def of(cls, X: Any, where: str = "X") -> SparseRows:
        """A sparse array or matrix of SciPy in any format; CSR of floats is not copied.

        Example:
            >>> from scipy.sparse import csr_array
            >>> SparseRows.of(csr_array([[0.0, 2.0]])).toarray().tolist()
            [[0.0, 2.0]]
        """
        if len(X.shape) != 2:
            raise DataError(f"{where} must have two dimensions, (N, D), but has shape {X.shape}.")
        rows = X.tocsr()
        return cls(rows.data, rows.indices, rows.indptr, rows.shape[1], where)

    @classmethod
    def stack(cls, parts: Sequence[SparseRows]) -> SparseRows:
        """The rows of parts that have the same features, one after another, copied."""
        ends = np.cumsum([0, *(part.nnz for part in parts)])
        starts = [part._own_indptr[:-1] + end for part, end in zip(parts, ends, strict=False)]
        values, columns = zip(*(part._stored for part in parts), strict=True)
        return _unchecked(
            np.concatenate(values),
            np.concatenate(columns),
            np.concatenate([*starts, ends[-1:]]),
            parts[0],
        )

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.values.dtype

    @property
    def nnz(self) -> int:
        """How many values these rows store."""
        return int(self.indptr[-1] - self.indptr[0])

    @property
    def nbytes(self) -> int:
        """Bytes of the stored values of these rows, their columns and where rows begin."""
        each = self.values.itemsize + self.indices.itemsize
        return self.nnz * each + self.indptr.nbytes

    def __repr__(self) -> str:
        return f"SparseRows(shape={self.shape}, nnz={self.nnz}, dtype={self.dtype})"

    def __getitem__(self, rows: slice | NDArray[Any] | Sequence[int]) -> SparseRows:
        if isinstance(rows, slice) and rows.indices(len(self))[2] == 1:
            start, stop, _ = rows.indices(len(self))
            starts = self.indptr[start : max(stop, start) + 1]
            return _unchecked(self.values, self.indices, starts, self)
        return self.take(rows)

    def take(self, rows: slice | NDArray[Any] | Sequence[int]) -> SparseRows:
        """These rows, by a slice, numbers or N booleans, in this order, copied."""
        chosen = np.arange(len(self))[rows]
        begins, counts = self.indptr[chosen], self.counts[chosen]
        starts = np.concatenate([[0], np.cumsum(counts)])
        places = np.repeat(begins - starts[:-1], counts) + np.arange(starts[-1])
        return _unchecked(self.values[places], self.indices[places], starts, self)

    def take_columns(self, places: Sequence[int] | NDArray[np.integer[Any]]) -> SparseRows:
        """These columns of the rows, in this order, copied."""
        chosen = np.asarray(places, np.int64)
        order = np.argsort(chosen, kind="stable")
        ascending = chosen[order]
        if len(ascending) > 1 and (np.diff(ascending) == 0).any():
            raise DataError(f"{self.where}: a column is chosen twice.")
        values, columns = self._stored
        at = np.searchsorted(ascending, columns).clip(max=max(len(ascending) - 1, 0))
        kept = np.flatnonzero(ascending[at] == columns) if len(ascending) else np.zeros(0, np.int64)
        starts = np.searchsorted(kept, self._own_indptr)
        moved = order[at[kept]].astype(columns.dtype)
        return SparseRows(values[kept], moved, starts, len(chosen), self.where)

    def renumbered(self, shift: int, features: int) -> SparseRows:
        """The same values in columns so many further on, without those that are then none."""
        if shift == 0 and features == self.shape[1]:
            return self
        values, columns = self._stored
        moved, starts = columns + shift if shift else columns, self._own_indptr
        kept = (moved >= 0) & (moved < features)
        if not kept.all():
            starts = np.concatenate([[0], np.cumsum(kept)])[starts]
            values, moved = values[kept], moved[kept]
        rows = _unchecked(values, moved, starts, self)
        rows.shape = (len(self), features)
        return rows

    def astype(self, dtype: Any, copy: bool = True) -> SparseRows:
        """The same rows with values of another float type."""
        return _unchecked(self.values.astype(dtype, copy=copy), self.indices, self.indptr, self)

    def toarray(self) -> NDArray[Any]:
        """The rows as an array (N, D), for few of them."""
        rows = np.zeros(self.shape, self.dtype)
        values, columns = self._stored
        rows[self._row_numbers(0, len(self)), columns] = values
        return rows

    def to_scipy(self) -> Any:
        """The rows as a `scipy.sparse.csr_array` that shares the stored values."""
        from scipy.sparse import csr_array

        return csr_array((*self._stored, self._own_indptr), shape=self.shape)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many values each row stores, (N,)."""
        return np.diff(self.indptr)

    def blocks(self) -> Iterator[tuple[slice, NDArray[Any], NDArray[Any], NDArray[np.int64]]]:
        """Rows by blocks of some 100 000 values: which, and their values, columns and numbers."""
        first = 0
        while first < len(self):
            most = self.indptr[first] + BLOCK_VALUES
            last = max(first + 1, int(np.searchsorted(self.indptr, most, "right")) - 1)
            stored = slice(int(self.indptr[first]), int(self.indptr[last]))
            numbers = self._row_numbers(first, last)
            # NumPy adds to places by their own type, and without casts, many times as fast.
            columns = self.indices[stored].astype(np.intp, copy=False)
            yield slice(first, last), self.values[stored], columns, numbers
            first = last

    @cached_property
    def column_ranges(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """The least and the largest value of each column, (D,) each; what is not stored is 0."""
        if not len(self) or not self.shape[1]:
            low, high = (np.full(self.shape[1], of, self.dtype) for of in (np.inf, -np.inf))
            return low, high
        return _native.sparse_ranges(self.arrays)

    def stored_columns(self, most: int) -> tuple[SparseRows, NDArray[np.int64]] | None:
        """The rows without the columns of which they store nothing, and which are left, ascending.

        None where more than so many are, or none. Values are shared.
        """
        found = _native.stored_features(self.arrays, most) if len(self) else None
        if found is None or not len(found[0]):
            return None
        columns, indices = found
        rows = _unchecked(self.values, indices, self.indptr, self)
        rows.shape = len(self), len(columns)
        return rows, columns

    def column_sums(self, weights: Float64 | None = None) -> Float64:
        """Σ of each column in float64, (D,), rows times their weights (N,)."""
        sums = np.zeros(self.shape[1])
        for _, values, columns, numbers in self.blocks():
            wide = values.astype(np.float64)
            np.add.at(sums, columns, wide if weights is None else wide * weights[numbers])
        return sums

    def column_squares(
        self, about: Float64 | None = None, weights: Float64 | None = None
    ) -> Float64:
        """Σ (x − m)² of each column in float64, (D,), about its m, or 0; rows times weights."""
        squares, stored = np.zeros(self.shape[1]), np.zeros(self.shape[1])
        for _, values, columns, numbers in self.blocks():
            wide = values.astype(np.float64)
            of_rows = np.ones(len(wide)) if weights is None else weights[numbers]
            np.add.at(stored, columns, of_rows)
            wide = wide if about is None else wide - about[columns]
            np.add.at(squares, columns, of_rows * wide * wide)
        if about is not None:
            mass = len(self) if weights is None else weights.sum()
            squares += np.maximum(mass - stored, 0.0) * about**2
        return squares

    def fingerprints(self) -> Fingerprints:
        """64 bits of the values of each row, (N,): those of the same rows as an array."""
        if not len(self) or not self.shape[1]:
            return row_fingerprints(self.toarray())
        return _native.fingerprints(self.arrays, _native.default_threads())

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(
            f"{self.where} is sparse: use toarray() for a few rows, as X[:100].toarray()"
        )

    @property
    def arrays(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64], int]:
        """The rows as the kernel takes them."""
        return self.values, self.indices, self.indptr, self.shape[1]

    @property
    def _stored(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The values and columns of these rows alone."""
        stored = slice(int(self.indptr[0]), int(self.indptr[-1]))
        return self.values[stored], self.indices[stored]

    @property
    def _own_indptr(self) -> NDArray[np.int64]:
        own: NDArray[np.int64] = self.indptr - self.indptr[0]
        return own

    def _row_numbers(self, first: int, last: int) -> NDArray[np.int64]:
        """The row of each value of some rows."""
        counts = np.diff(self.indptr[first : last + 1])
        numbers: NDArray[np.int64] = np.repeat(np.arange(first, last), counts)
        return numbers

    def _check_places(self) -> None:
        starts, (N, D) = self.indptr, self.shape
        if N < 0 or starts[0] < 0 or (np.diff(starts) < 0).any() or starts[-1] > len(self.values):
            raise DataError(
                f"{self.where}: indptr of sparse rows must ascend from 0 to the number of "
                f"stored values, {len(self.values)}."
            )
        if len(self.indices) != len(self.values):
            raise DataError(
                f"{self.where}: sparse rows need one index for each of the {len(self.values)} "
                f"stored values, but there are {len(self.indices)}."
            )
        columns = self.indices
        if len(columns) and not 0 <= int(columns.min()) <= int(columns.max()) < D:
            wrong = int(np.argmax((columns < 0) | (columns >= D)))
            raise DataError(
                f"{self.where}: indices of sparse rows must be 0 to {D - 1}, but row "
                f"{self._row_of(wrong)} has {columns[wrong]}."
            )

    def _check_values(self) -> None:
        for start in range(0, len(self.values), BLOCK_VALUES):
            finite = np.isfinite(self.values[start : start + BLOCK_VALUES])
            if not finite.all():
                at = start + int(np.argmin(finite))
                column = int(self.indices[at])
                raise not_finite(self.where, self._row_of(at), column, self.values[at], None)

    def _row_of(self, place: int) -> int:
        return int(np.searchsorted(self.indptr, place, "right")) - 1

    def _ascends(self) -> bool:
        """Whether the columns of every row do."""
        first = np.zeros(BLOCK_VALUES + 1, np.bool_)
        for start in range(0, len(self.indices) - 1, BLOCK_VALUES):
            falls = np.diff(self.indices[start : start + BLOCK_VALUES + 1]) <= 0
            if not falls.any():
                continue
            first[:] = False
            begins = self.indptr[slice(*np.searchsorted(self.indptr, (start, start + len(first))))]
            first[begins - start] = True
            if (falls & ~first[1 : len(falls) + 1]).any():
                return False
        return True

    def _sort(self) -> None:
        """Sort the columns of every row, and add up values of one place, in copies."""
        values, columns = self._stored
        key = self._row_numbers(0, len(self)) * self.shape[1] + columns
        order = np.argsort(key, kind="stable")
        key = key[order]
        first = np.flatnonzero(np.concatenate([[True], np.diff(key) > 0]))
        self.values = np.add.reduceat(values[order], first)
        self.indices = columns[order][first]
        rows = np.arange(len(self) + 1, dtype=np.int64) * self.shape[1]
        self.indptr = np.searchsorted(key[first], rows)
        self._check_values()


def sparse_rows(X: object) -> SparseRows | None:
    """Features as sparse rows, or None where they are an array or in files."""
    return X if isinstance(X, SparseRows) else None


def is_sparse(X: object) -> bool:
    """Whether X is an array or matrix of SciPy's sparse formats; SciPy is not imported."""
    return hasattr(X, "tocsr") and hasattr(X, "nnz")


def _unchecked(
    values: NDArray[Any], indices: NDArray[Any], indptr: NDArray[np.int64], like: SparseRows
) -> SparseRows:
    """Rows of parts of others, which were checked."""
    rows = SparseRows.__new__(SparseRows)
    rows.shape, rows.where = (len(indptr) - 1, like.shape[1]), like.where
    rows.values, rows.indices, rows.indptr = values, indices, indptr
    rows.first_index = like.first_index
    return rows


def _contiguous(array: NDArray[Any], kept: tuple[str, ...], other: str) -> NDArray[Any]:
    dtype = array.dtype.newbyteorder("=")
    return np.ascontiguousarray(array, dtype if dtype.str[1:] in kept else np.dtype(other))


def _numbers(values: NDArray[Any], where: str) -> NDArray[Any]:
    """Values as float32 or float64: those that are neither in the smaller that holds them."""
    if values.dtype.kind == "f" and values.dtype.itemsize <= 8:
        return _contiguous(values, ("f4", "f8"), "f4")
    if values.dtype.kind not in "biu":
        raise DataError(
            f"{where}: sparse rows must be integers, float32 or float64, not {values.dtype}."
        )
    largest = max(abs(int(values.min())), abs(int(values.max()))) if len(values) else 0
    for dtype, most in _EXACT.items():
        if largest <= most:
            return values.astype(dtype)
    raise DataError(f"{where}: integers up to {largest} are beyond what float64 holds exactly.")
