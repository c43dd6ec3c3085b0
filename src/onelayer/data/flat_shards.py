"""Shards whose rows lie one after another in the file: .npy and safetensors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.damage import damage_of
from onelayer.data.npy import choose_features, locate_npy
from onelayer.data.sharded import Form, even_blocks
from onelayer.data.table import Wanted, as_streamed, choose_labels, features_type, largest_value
from onelayer.data.tensors import TensorInFile, locate_tensors, widened
from onelayer.errors import DataError
from onelayer.stored import Reader

# Of rows that must be converted, so many bytes are read at a time.
_CHUNK_BYTES = 2 << 20


@dataclass(frozen=True, eq=False)
class FlatShard:
    """Rows of one type, one after another from a place in a file on.

    Attributes:
        path: the file.
        form: what the rows are.
        stored: the type in the file; uint16 for bfloat16.
        bfloat16: whether the numbers are bfloat16.
        offset: the first row's first byte.
        labels_at: the tensor with the labels; None when they are elsewhere.
    """

    path: Path
    form: Form
    stored: np.dtype[Any]
    offset: int
    bfloat16: bool = False
    labels_at: TensorInFile | None = None

    @property
    def where(self) -> str:
        """The file's path."""
        return str(self.path)

    @property
    def blocks(self) -> NDArray[np.int64]:
        """Stretches of a size that is read at full speed."""
        return even_blocks(self.form.rows, self.form.features * self.stored.itemsize)

    def labels(self) -> NDArray[Any] | None:
        """The tensor of labels."""
        tensor = self.labels_at
        if tensor is None:
            return None
        count = int(np.prod(tensor.shape, dtype=object))
        with damage_of(self.path, "a safetensors file"), self.path.open("rb") as file:
            file.seek(tensor.offset)
            return np.fromfile(file, tensor.dtype, count).reshape(tensor.shape)

    def open(self) -> Reader:
        """A reader of the rows."""
        return _FlatReader(self)


def open_npy_shard(path: Path, wanted: Wanted) -> FlatShard:
    """Open a .npy file as rows that stay in it.

    Args:
        path: the file; only its header is read.
        wanted: where the labels are.

    Returns:
        The shard.

    Raises:
        DataError: for labels that should be in it, and for a file that is no array of rows.
    """
    if not wanted.elsewhere:
        raise DataError(
            f"{path} holds one array, the features, and so no labels; name a file with one label "
            f"a row with {wanted.option}."
        )
    shape, fortran, dtype, offset = locate_npy(path)
    if fortran and min(shape, default=0) > 1:
        raise DataError(
            f"{path} is in Fortran order, so that its rows do not lie together and would be read "
            "all at once; save numpy.ascontiguousarray of it."
        )
    return FlatShard(path, _form(shape, dtype, str(path), str(path)), dtype, offset)


def open_safetensors_shard(path: Path, wanted: Wanted) -> FlatShard:
    """Open a safetensors file as rows that stay in it.

    Args:
        path: the file; only its header is read.
        wanted: where the labels are.

    Returns:
        The shard; its rows are float32 where the file's are bfloat16.

    Raises:
        DataError: when it is damaged, or it is not clear which tensor is which.
    """
    tensors = locate_tensors(path)
    label = choose_labels(list(tensors), wanted, str(path), "tensor")
    feature = tensors[choose_features(list(tensors), label, str(path), "tensor")]
    read_as = np.dtype(np.float32) if feature.bfloat16 else feature.dtype
    return FlatShard(
        path=path,
        form=_form(feature.shape, read_as, str(path), feature.where),
        stored=feature.dtype,
        offset=feature.offset,
        bfloat16=feature.bfloat16,
        labels_at=None if label is None else tensors[label],
    )


def _form(shape: tuple[int, ...], stored: np.dtype[Any], path: str, where: str) -> Form:
    if len(shape) != 2 or 0 in shape:
        raise DataError(
            f"{path}: the features must be an array of rows and columns, (N, D), with at least "
            f"one of each, but their shape is {shape}; reshape it."
        )
    dtype = features_type(stored, where)
    max_value = 1.0 if stored.kind == "b" else largest_value(np.zeros(0, dtype))
    return Form(shape[0], shape[1], dtype, max_value=max_value)


class _FlatReader:
    def __init__(self, shard: FlatShard) -> None:
        self._shard = shard
        with damage_of(shard.path, "a whole file"):
            self._file = os.open(shard.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def read(self, start: int, into: NDArray[Any]) -> None:
        shard = self._shard
        if shard.stored == into.dtype and into.flags.c_contiguous:
            self._fill(start, into)
            return
        each = max(1, _CHUNK_BYTES // (into.shape[1] * shard.stored.itemsize))
        chunk = np.empty((min(each, len(into)), into.shape[1]), shard.stored)
        for first in range(0, len(into), each):
            part = chunk[: len(into) - first]
            self._fill(start + first, part)
            into[first : first + len(part)] = self._converted(start + first, part)

    def close(self) -> None:
        os.close(self._file)

    def _converted(self, start: int, rows: NDArray[Any]) -> NDArray[Any]:
        if self._shard.bfloat16:
            return widened(rows)
        width = rows.shape[1]
        return as_streamed(
            rows,
            self._shard.form.dtype,
            lambda at: f"{self._shard.path}: row {start + at // width}, column {at % width}",
        )

    def _fill(self, start: int, into: NDArray[Any]) -> None:
        """Read rows as they are; the system may give fewer bytes than asked for at a time."""
        shard, left = self._shard, into.reshape(-1).view(np.uint8).data
        place = shard.offset + start * into.shape[1] * shard.stored.itemsize
        with damage_of(shard.path, "a whole file"):
            while len(left):
                count = os.preadv(self._file, [left], place)
                if not count:
                    raise DataError(
                        f"{shard.path} ended before row {start + len(into) - 1} while it was "
                        "read: it was cut short or written anew meanwhile; get or write it again."
                    )
                left, place = left[count:], place + count
