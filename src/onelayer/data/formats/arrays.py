"""Arrays in files: NumPy's .npy and .npz, and safetensors. They are mapped and never unpickled."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats.base import (
    ColumnSpec,
    Format,
    Table,
    as_features,
    choose_labels,
    file_errors,
    first_line,
    largest_value,
    streamed_dtype,
)
from onelayer.data.progress import Log
from onelayer.data.streaming import Reader, Shard, even_blocks
from onelayer.errors import DataError

# Names that an array of features is known by when a file holds several.
FEATURE_NAMES = ("X", "x", "features", "embeddings", "data", "images")

_LOCAL_HEADER = struct.Struct("<4s22xHH")

# What is read at a time to compare a checksum, and of rows that must be converted.
_CHUNK_BYTES, _CONVERTED_BYTES = 1 << 20, 2 << 20
_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2",
}  # fmt: skip


@dataclass(frozen=True)
class StoredArray:
    """Where an array is in a file, and what it is."""

    path: Path
    where: str  # file and array, for messages
    shape: tuple[int, ...]
    dtype: np.dtype[Any]  # of its numbers in the file: uint16 for bfloat16
    offset: int  # its first byte
    fortran: bool = False
    bfloat16: bool = False
    content: bytes | None = None  # where its bytes are in memory already: of a compressed file

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return _count(self.shape) * self.dtype.itemsize

    def values(self, log: Log = lambda line: None) -> NDArray[Any]:
        """The array, mapped where it is in the file as it is."""
        count, flat = _count(self.shape), np.empty(0, self.dtype)
        if self.content is not None:
            flat = np.frombuffer(self.content, self.dtype, count)
        elif count:
            flat = np.memmap(self.path, self.dtype, "r", self.offset, (count,))
        if self.bfloat16:
            log(f"{self.where} is bfloat16 and is converted to float32 once, in memory.")
            flat = _widened(flat)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


class ArraysFile:
    """A file with an array of features, and one of labels unless they are elsewhere.

    Of its arrays those that are chosen are located, and checked.
    """

    def __init__(
        self,
        path: Path,
        arrays: Mapping[str, Callable[[], StoredArray]],
        what: str,
        spec: ColumnSpec,
        log: Log,
        *,
        streams: bool = True,
    ) -> None:
        names = list(arrays)
        label = choose_labels(names, spec, str(path), what)
        self._path, self._any_shape, self._log, self._streams = path, spec.any_shape, log, streams
        self._features = arrays[_choose_features(names, label, str(path), what)]()
        self._labels = None if label is None else arrays[label]()
        self._labels_where = f"{path}, the {what} {label!r}"

    def table(self) -> Table:
        """The rows, mapped where they are in the file as they are."""
        where, X = str(self._path), self._features.values(self._log)
        if not self._any_shape:
            _check_shape(X.shape, where)
        labels = None if self._labels is None else np.array(self._labels.values(self._log))
        features, max_value = _as_features(X, self._path), largest_value(X.dtype)
        return Table(features, labels, where, self._labels_where, max_value=max_value)

    def shard(self) -> ArrayShard | None:
        """The rows left in the file."""
        array, where = self._features, str(self._path)
        if not self._streams or (self._any_shape and len(array.shape) != 2):
            return None
        _check_shape(array.shape, where)
        rows, features = array.shape
        if array.fortran and min(array.shape) > 1:
            raise DataError(
                f"{where} is in Fortran order, so that its rows do not lie together and would be "
                "read all at once; save numpy.ascontiguousarray of it."
            )
        stored = np.dtype(np.float32) if array.bfloat16 else array.dtype
        dtype = streamed_dtype(stored, array.where)
        blocks = even_blocks(rows, features * array.dtype.itemsize)
        max_value = largest_value(stored)
        return ArrayShard(self._path, blocks, features, dtype, None, max_value, array, self._labels)


@dataclass(frozen=True, eq=False)
class ArrayShard(Shard):
    """Rows of one dtype, one after another from a place in a file on."""

    array: StoredArray
    labels_array: StoredArray | None

    def labels(self) -> NDArray[Any] | None:
        """The array of labels, in memory."""
        if self.labels_array is None:
            return None
        with file_errors(self.path, "file"):
            return np.array(self.labels_array.values())

    def open(self) -> Reader:
        """A reader of the rows."""
        return _ArrayReader(self)


class _ArrayReader:
    def __init__(self, shard: ArrayShard) -> None:
        self._array = shard.array
        with file_errors(shard.path, "file"):
            self._file = shard.path.open("rb", buffering=0)

    def read(self, start: int, into: NDArray[Any]) -> None:
        array = self._array
        if array.dtype == into.dtype and into.flags.c_contiguous:
            self._fill(start, into)
            return
        each = max(1, _CONVERTED_BYTES // (into.shape[1] * array.dtype.itemsize))
        chunk = np.empty((min(each, len(into)), into.shape[1]), array.dtype)
        for first in range(0, len(into), each):
            part = chunk[: len(into) - first]
            self._fill(start + first, part)
            into[first : first + len(part)] = (
                _widened(part) if array.bfloat16 else _as_features(part, array.path, start + first)
            )

    def close(self) -> None:
        self._file.close()

    def _fill(self, start: int, into: NDArray[Any]) -> None:
        """Read rows as they are; the system may give fewer bytes than asked for at a time."""
        array, left = self._array, into.reshape(-1).view(np.uint8).data
        with file_errors(array.path, "file"):
            self._file.seek(array.offset + start * into.shape[1] * array.dtype.itemsize)
            while len(left):
                count = self._file.readinto(left)
                if not count:
                    raise DataError(
                        f"{array.path} ended before row {start + len(into) - 1}: it was cut short "
                        "or rewritten while it was read; download or write it again."
                    )
                left = left[count:]


def _open_npy(path: Path, spec: ColumnSpec, log: Log) -> ArraysFile:
    if not spec.elsewhere:
        raise DataError(
            f"{path} has no labels; pass a file with one label a row with {spec.option}."
        )
    return ArraysFile(path, {"X": partial(_locate_npy, path)}, "array", spec, log)


def _read_npy_labels(path: Path) -> NDArray[Any]:
    return np.array(_locate_npy(path).values())


def _locate_npy(path: Path) -> StoredArray:
    with file_errors(path, ".npy file"), path.open("rb") as file:
        return _after_header(path, file, path.stat().st_size, str(path))


def _open_npz(path: Path, spec: ColumnSpec, log: Log) -> ArraysFile:
    with file_errors(path, ".npz file"), zipfile.ZipFile(path) as archive:
        arrays = {
            info.filename.removesuffix(".npy"): partial(_locate_member, path, archive, info)
            for info in archive.infolist()
        }
        return ArraysFile(path, arrays, "array", spec, log, streams=False)


def _locate_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> StoredArray:
    where = f"{path}, array {info.filename.removesuffix('.npy')!r}"
    with archive.open(info) as member:
        while member.read(_CHUNK_BYTES):  # at its end the checksum is compared
            pass
    if info.compress_type == zipfile.ZIP_STORED:
        with path.open("rb") as file:
            file.seek(info.header_offset)
            _, name_bytes, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            file.seek(info.header_offset + _LOCAL_HEADER.size + name_bytes + extra)
            return _after_header(path, file, file.tell() + info.file_size, where)
    with archive.open(info) as member:
        return _after_header(path, member, info.file_size, where, compressed=True)


def _after_header(
    path: Path, file: IO[bytes], end: int, where: str, *, compressed: bool = False
) -> StoredArray:
    """The array whose header begins here, and whose bytes reach from there to `end`."""
    shape, fortran, dtype = _read_header(file, where)
    content = file.read() if compressed else None
    found = end - file.tell() if content is None else len(content)
    array = StoredArray(path, where, shape, dtype, file.tell(), fortran, content=content)
    if found != array.nbytes:
        raise DataError(
            f"{where} must hold {array.nbytes} bytes for its shape {shape} of {dtype}, but {found} "
            "are there: it is truncated or damaged; download or write it again."
        )
    return array


def _read_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        form = np.lib.format
        major, minor = form.read_magic(file)
        if major not in (1, 2) or minor:
            raise ValueError(f"version {major}.{minor} of the format")
        read = form.read_array_header_1_0 if major == 1 else form.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # a damaged header can raise nearly anything
        raise DataError(
            f"{where} is not an array as NumPy saves them ({first_line(error)}): it is empty, "
            "truncated or of another kind; write it with numpy.save."
        ) from error
    if dtype.hasobject:
        raise DataError(
            f"{where} holds pickled Python objects, which could run code and are refused; nothing "
            "was run. Save features as X.astype('float32'), labels as y.astype(str)."
        )
    if min(shape, default=0) < 0:
        raise DataError(f"{where} claims the shape {shape}; download or write it again.")
    return shape, fortran, dtype


def _open_safetensors(path: Path, spec: ColumnSpec, log: Log) -> ArraysFile:
    from safetensors import SafetensorError, safe_open

    with file_errors(path, "safetensors file", SafetensorError):
        with safe_open(path, "numpy"):
            pass  # it checks sizes, offsets and overlaps
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(start - 8))
    header.pop("__metadata__", None)
    arrays = {name: partial(_locate_tensor, path, start, name, header[name]) for name in header}
    return ArraysFile(path, arrays, "tensor", spec, log)


def _locate_tensor(path: Path, start: int, name: str, about: Mapping[str, Any]) -> StoredArray:
    where, kind = f"{path}: the tensor {name!r}", about["dtype"]
    if kind not in _DTYPES:
        raise DataError(f"{where} is {kind}, which is not read; write it as float32.")
    shape, offset = tuple(about["shape"]), start + about["data_offsets"][0]
    dtype = np.dtype(_DTYPES[kind])
    return StoredArray(path, where, shape, dtype, offset, bfloat16=kind == "BF16")


def _choose_features(names: list[str], label: str | None, where: str, what: str) -> str:
    """The only array besides the labels, or the one with a usual name."""
    others = [name for name in names if name != label]
    if len(others) == 1:
        return others[0]
    found = [name for name in FEATURE_NAMES if name in others]
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"{where} must hold one {what} of features besides the labels, called "
        f"{', '.join(FEATURE_NAMES)} where there are more, but it holds "
        f"{', '.join(others) or 'no other'}; rename or remove some."
    )


def _check_shape(shape: tuple[int, ...], where: str) -> None:
    if len(shape) != 2 or 0 in shape:
        raise DataError(
            f"{where}: the features must be an array of rows and columns, (N, D), with at least "
            f"one of each, but their shape is {shape}; reshape it."
        )


def _as_features(X: NDArray[Any], path: Path, start: int = 0) -> NDArray[Any]:
    width = _count(X.shape[1:])
    return as_features(X, lambda at: f"{path}: row {start + at // width}, column {at % width}")


def _widened(bfloat16: NDArray[Any]) -> NDArray[np.float32]:
    """The float32 numbers of which bfloat16 is the upper half."""
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=object))


NPY = Format(_open_npy, _read_npy_labels, streams=True)

NPZ = Format(_open_npz)

SAFETENSORS = Format(_open_safetensors, streams=True)
