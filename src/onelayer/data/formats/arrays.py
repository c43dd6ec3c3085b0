"""Arrays in files: NumPy's .npy and .npz, and safetensors. They are mapped and never unpickled."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
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
from onelayer.data.streaming.rows import Indices, Reader, ShardInfo, even_blocks
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
    """Where an array is in a file, and what it is.

    Attributes:
        path: the file.
        where: file and array, for messages.
        shape: of the array.
        dtype: of its numbers in the file; uint16 for bfloat16, None for a type that is not read.
        offset: its first byte.
        fortran: whether it is in Fortran order.
        kind: the format's name of its type.
        content: its bytes where they are in memory already, as those of a compressed file.
    """

    path: Path
    where: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    offset: int
    fortran: bool = False
    kind: str = ""
    content: bytes | None = None

    @property
    def bfloat16(self) -> bool:
        """Whether its numbers are bfloat16."""
        return self.kind == "BF16"

    @property
    def stored(self) -> np.dtype[Any]:
        """`dtype`, refused where it is none that is read."""
        if self.dtype is None:
            raise DataError(f"{self.where} is {self.kind}, which is not read; write it as float32.")
        return self.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return _count(self.shape) * self.stored.itemsize

    def values(self, log: Log) -> NDArray[Any]:
        """The array, mapped where it is in the file as it is."""
        count, flat = _count(self.shape), np.empty(0, self.stored)
        if self.content is not None:
            flat = np.frombuffer(self.content, self.stored, count)
        elif count:
            flat = np.memmap(self.path, self.stored, "r", self.offset, (count,))
        if self.bfloat16:
            log(f"{self.where} is bfloat16 and is converted to float32 once, in memory.")
            flat = _widened(flat)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


class ArraysFile:
    """A file with an array of features, and one of labels unless they are elsewhere."""

    def __init__(
        self,
        path: Path,
        arrays: Mapping[str, StoredArray],
        what: str,
        spec: ColumnSpec,
        log: Log,
        *,
        streams: bool = True,
    ) -> None:
        names = list(arrays)
        label = choose_labels(names, spec, str(path), what)
        self._path, self._any_shape, self._log, self._streams = path, spec.any_shape, log, streams
        self._features = arrays[_choose_features(names, label, str(path), what)]
        self._labels = None if label is None else arrays[label]
        self._labels_where = f"{path}, the {what} {label!r}"

    def table(self) -> Table:
        """The rows, mapped where they are in the file as they are."""
        where, X = str(self._path), self._features.values(self._log)
        if not self._any_shape:
            _check_shape(X.shape, where)
        width = _count(X.shape[1:])
        kept = as_features(X, lambda at: f"{where}: row {at // width}, column {at % width}")
        labels = None if self._labels is None else np.array(self._labels.values(self._log))
        max_value = 1.0 if X.dtype.kind == "b" else largest_value(kept.dtype)
        return Table(kept, labels, where, self._labels_where, max_value=max_value)

    def shard(self) -> ArrayShard | None:
        """The rows left in the file."""
        array, where = self._features, str(self._path)
        if not self._streams or (self._any_shape and len(array.shape) != 2):
            return None
        _check_shape(array.shape, where)
        if array.fortran and min(array.shape) > 1:
            raise DataError(
                f"{where} is in Fortran order, so that its rows do not lie together and would be "
                "read all at once; save numpy.ascontiguousarray of it."
            )
        read_as = np.dtype(np.float32) if array.bfloat16 else array.stored
        dtype = streamed_dtype(read_as, array.where)
        max_value = 1.0 if read_as.kind == "b" else largest_value(dtype)
        info = ShardInfo(array.shape[0], array.shape[1], dtype, max_value=max_value)
        return ArrayShard(info, array, self._labels)


@dataclass(frozen=True, eq=False)
class ArrayShard:
    """Rows of one dtype, one after another from a place in a file on."""

    info: ShardInfo
    array: StoredArray
    labels_array: StoredArray | None

    @property
    def where(self) -> str:
        """The file's path."""
        return str(self.array.path)

    @property
    def blocks(self) -> Indices:
        """Blocks of a size that is read at full speed."""
        return even_blocks(self.info.rows, self.info.features * self.array.stored.itemsize)

    def labels(self) -> NDArray[Any] | None:
        """The array of labels, in memory."""
        if self.labels_array is None:
            return None
        with file_errors(self.array.path, "file"):
            return np.array(self.labels_array.values(lambda line: None))

    def open(self) -> Reader:
        """A reader of the rows."""
        return _ArrayReader(self)


class _ArrayReader:
    def __init__(self, shard: ArrayShard) -> None:
        self._shard = shard
        with file_errors(shard.array.path, "file"):
            self._file = shard.array.path.open("rb", buffering=0)

    def read(self, start: int, into: NDArray[Any]) -> None:
        array = self._shard.array
        if array.stored == into.dtype and into.flags.c_contiguous:
            self._fill(start, into)
            return
        each = max(1, _CONVERTED_BYTES // (into.shape[1] * array.stored.itemsize))
        chunk = np.empty((min(each, len(into)), into.shape[1]), array.stored)
        for first in range(0, len(into), each):
            part = chunk[: len(into) - first]
            self._fill(start + first, part)
            into[first : first + len(part)] = self._converted(start + first, part)

    def close(self) -> None:
        self._file.close()

    def _converted(self, start: int, rows: NDArray[Any]) -> NDArray[Any]:
        array, width = self._shard.array, rows.shape[1]
        if array.bfloat16:
            return _widened(rows)
        return as_features(
            rows, lambda at: f"{array.path}: row {start + at // width}, column {at % width}"
        ).astype(self._shard.info.dtype, copy=False)

    def _fill(self, start: int, into: NDArray[Any]) -> None:
        """Read rows as they are; the system may give fewer bytes than asked for at a time."""
        array, left = self._shard.array, into.reshape(-1).view(np.uint8).data
        with file_errors(array.path, "file"):
            self._file.seek(array.offset + start * into.shape[1] * array.stored.itemsize)
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
    return ArraysFile(path, {"X": _locate_npy(path)}, "array", spec, log)


def _read_npy_labels(path: Path) -> NDArray[Any]:
    return np.array(_locate_npy(path).values(lambda line: None))


def _locate_npy(path: Path) -> StoredArray:
    with file_errors(path, ".npy file"), path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        return _after_header(path, file, size, str(path))


def _open_npz(path: Path, spec: ColumnSpec, log: Log) -> ArraysFile:
    with file_errors(path, ".npz file"), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        arrays = _Members(path, archive, members)
        return ArraysFile(path, arrays, "array", spec, log, streams=False)


class _Members(Mapping[str, StoredArray]):
    """The arrays of a .npz file; only one that is asked for is checked and located."""

    def __init__(
        self, path: Path, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]
    ) -> None:
        self._path, self._archive, self._members = path, archive, members

    def __iter__(self) -> Any:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, name: str) -> StoredArray:
        info, where = self._members[name], f"{self._path}, array {name!r}"
        with self._archive.open(info) as member:
            while member.read(_CHUNK_BYTES):  # at its end the checksum is compared
                pass
        if info.compress_type == zipfile.ZIP_STORED:
            with self._path.open("rb") as file:
                file.seek(info.header_offset)
                _, name_bytes, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
                file.seek(info.header_offset + _LOCAL_HEADER.size + name_bytes + extra)
                return _after_header(self._path, file, file.tell() + info.file_size, where)
        with self._archive.open(info) as member:
            return _after_header(self._path, member, info.file_size, where, compressed=True)


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
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"version {version[0]}.{version[1]} of the format")
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
        arrays = _locate_tensors(path)
    return ArraysFile(path, arrays, "tensor", spec, log)


def _locate_tensors(path: Path) -> dict[str, StoredArray]:
    """The tensors by name; nothing of the file but its header is read."""
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header: dict[str, dict[str, Any]] = json.loads(file.read(start - 8))
    header.pop("__metadata__", None)
    return {
        name: StoredArray(
            path,
            f"{path}: the tensor {name!r}",
            tuple(tensor["shape"]),
            np.dtype(_DTYPES[tensor["dtype"]]) if tensor["dtype"] in _DTYPES else None,
            start + tensor["data_offsets"][0],
            kind=tensor["dtype"],
        )
        for name, tensor in header.items()
    }


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


def _widened(bfloat16: NDArray[Any]) -> NDArray[np.float32]:
    """The float32 numbers of which bfloat16 is the upper half."""
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=object))


NPY = Format("NumPy array", _open_npy, _read_npy_labels, streams=True)

NPZ = Format("NumPy archive", _open_npz)

SAFETENSORS = Format("safetensors", _open_safetensors, streams=True)
