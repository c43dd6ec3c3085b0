"""What makes two rows the same: 64 bits of a row's values, or of the text that names it.

A fingerprint is a sum of products modulo 2⁶⁴, two for each eight bytes of the row, so two rows that
differ have the same one with a chance of about 2⁻³² at most. It depends on the values alone: a row
is hashed in the narrowest type that holds all of it, bytes, float32 or float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer import _native

Fingerprints = NDArray[np.uint64]

# Of rows that are converted, or chosen, at a time.
_BLOCK_BYTES = 128 << 10

_FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))

_GOLDEN = 0x9E3779B97F4A7C15


def row_fingerprints(X: NDArray[Any], rows: NDArray[np.int64] | None = None) -> Fingerprints:
    """64 bits of the values of each row of X (N, D), shape (N,), or of some rows, (n,)."""
    found = np.zeros(len(X) if rows is None else len(rows), np.uint64)
    if not X.shape[1]:
        return found
    step = max(1, _BLOCK_BYTES // (X.shape[1] * X.itemsize))
    if rows is None and _is_readable(X):
        step = max(1, len(X))
    for start in range(0, len(found), step):
        block = slice(start, start + step)
        of_block = X[block if rows is None else rows[block]]
        if not _is_readable(of_block):
            of_block = np.ascontiguousarray(of_block, _readable(X.dtype))
        found[block] = _native.fingerprints(of_block, _native.default_threads())
    return found


def _is_readable(X: NDArray[Any]) -> bool:
    """Whether the kernel reads the rows as they lie."""
    contiguous = X.shape[1] == 1 or X.strides[1] == X.itemsize
    return X.dtype == _readable(X.dtype) and bool(contiguous)


def _readable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that the kernel reads values of another one as."""
    if dtype.itemsize == 1 and dtype.kind in "bu":
        return np.dtype(np.uint8)
    return dtype if dtype in _FLOATS else np.dtype(np.float64)


def distinct(fingerprints: Fingerprints) -> Fingerprints:
    """The fingerprints, ascending, each once; NumPy's `unique` takes forty times as long."""
    ascending = np.sort(fingerprints)
    first = np.append(True, ascending[1:] != ascending[:-1])[: len(ascending)]
    return np.asarray(ascending[first])


def count_shared(*parts: NDArray[Any]) -> list[int]:
    """How many rows of each part but the first are in those before it; most by a few bytes."""
    width = max(1, 64 // parts[0].itemsize)
    start = max(0, (parts[0].shape[1] - width) // 2)
    hints = [row_fingerprints(X[:, start : start + width]) for X in parts]
    every = np.sort(np.concatenate(hints))
    repeated = every[1:][every[1:] == every[:-1]]
    if not len(repeated):
        return [0] * (len(parts) - 1)
    alike = [np.flatnonzero(np.isin(of_part, repeated)) for of_part in hints]
    return count_known(row_fingerprints(X, at) for X, at in zip(parts, alike, strict=True))


def count_known(parts: Iterable[Fingerprints]) -> list[int]:
    """How many rows of each part but the first are in those before it, by their fingerprints."""
    rows = [*parts]
    return [
        int(np.count_nonzero(np.isin(rows[i], np.concatenate(rows[:i]))))
        for i in range(1, len(rows))
    ]


def text_fingerprints(names: NDArray[Any]) -> Fingerprints:
    """64 bits of what names each row, (N,); a number is named by its digits."""
    letters = np.array([str(name) for name in names.tolist()], np.str_)
    points = letters.astype(letters.dtype.newbyteorder("<")).view("<u4")
    return mixed(_sums(points.reshape(len(letters), -1)))


def mixed(numbers: Fingerprints) -> Fingerprints:
    """Numbers of 64 bits whose every bit depends on all bits of the ones that were given.

    Source: Steele, Lea & Flood (2014), Fast splittable pseudorandom number generators.
    """
    z = numbers ^ (numbers >> np.uint64(30))
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def chances(fingerprints: Fingerprints, *keys: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each fingerprint, drawn by the keys alone: the same in any company."""
    for key in keys:
        fingerprints = mixed(fingerprints + np.uint64((key + 1) * _GOLDEN % (1 << 64)))
    return np.asarray((fingerprints >> np.uint64(11)) * 2.0**-53)


def _sums(rows: NDArray[Any]) -> Fingerprints:
    """Of the words of eight bytes of each row the sum of products; zeros at its end add 0."""
    rows = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
    missing = -rows.shape[1] * rows.itemsize % 8 // rows.itemsize
    if missing:
        rows = np.pad(rows, ((0, 0), (0, missing)))
    words = rows.view("<u8").astype(np.uint64, copy=False)
    first, second = _factors(words.shape[1])
    products = words * first
    products ^= products >> np.uint64(32)  # else differences in the upper bits could cancel out
    return np.asarray(np.einsum("nd,d->n", products, second))


@cache
def _factors(count: int) -> tuple[Fingerprints, Fingerprints]:
    """Two odd factors of each word; the first words of a longer row have the same ones."""
    return _factors_of(np.arange(count, dtype=np.uint64))


def _factors_of(words: Fingerprints) -> tuple[Fingerprints, Fingerprints]:
    """Those of the words of these numbers."""
    first, second = (
        mixed((np.uint64(2) * words + np.uint64(place)) * np.uint64(_GOLDEN)) | np.uint64(1)
        for place in (1, 2)
    )
    return first, second
