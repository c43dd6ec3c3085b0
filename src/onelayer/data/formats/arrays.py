"""NumPy's .npy and .npz files, mapped into memory and never unpickled.

safetensors files, mapped into memory; the library checks them, we only point into them.

Shards whose rows lie one after another in the file: .npy and safetensors.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats.base import (
    Table,
    Wanted,
    as_features,
    as_streamed,
    choose_labels,
    damage_of,
    features_type,
    first_line,
    largest_value,
)
from onelayer.data.progress import Log
from onelayer.data.streaming import Reader
from onelayer.data.streaming.rows import ShardInfo, even_blocks
from onelayer.errors import DataError

# Names that an array of features is known by when a file holds several.
FEATURE_NAMES = ("X", "x", "features", "embeddings", "data", "images")

_LOCAL_HEADER = struct.Struct("<4s22xHH")

_CHUNK = 1 << 20


def read_npy(path: Path, wanted: Wanted) -> Table:
    """Read a .npy file of features; its labels are in another file.

    Args:
        path: the file; it is mapped, not read.
        wanted: where the labels are.

    Returns:
        The rows.

    Raises:
        DataError: for labels that should be in it, and for a file that is no array of numbers.

    Example:
        >>> read_npy(Path("missing.npy"), Wanted(elsewhere=True))
        Traceback (most recent call last):
        onelayer.errors.DataError: missing.npy cannot be read: No such file or directory.
    """
    if not wanted.elsewhere:
        raise DataError(
            f"{path} holds one array, the features, and so no labels; name a file with one label "
            f"a row with {wanted.option}."
        )
    return features_table(map_npy(path), None, str(path), "")


def read_npz(path: Path, wanted: Wanted) -> Table:
    """Read a .npz file: one array of features, and one of labels if they are in it.

    Args:
        path: the file; an array that is stored without compression is mapped.
        wanted: where the labels are.

    Returns:
        The rows.

    Raises:
        DataError: when it is damaged, or it is not clear which array is which.
    """
    with damage_of(path, "a .npz file"), zipfile.ZipFile(path) as archive:
        names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
        label = choose_labels(names, wanted, str(path), "array")
        feature = choose_features(names, label, str(path), "array")
        members = dict(zip(names, archive.infolist(), strict=True))
        X = _member(archive, members[feature], path)
        labels = None if label is None else np.array(_member(archive, members[label], path))
    return features_table(X, labels, str(path), f"the array {label!r}")


def choose_features(names: list[str], label: str | None, where: str, what: str) -> str:
    """Choose the array that holds the features: the only one besides the labels, or one called X.

    Args:
        names: of all there are.
        label: the one with the labels.
        where: the file, for messages.
        what: "array" or "tensor".

    Returns:
        One of the names.

    Raises:
        DataError: when it is not clear which.

    Example:
        >>> choose_features(["X", "y", "ids"], "y", "a.npz", "array")
        'X'
    """
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


def features_table(X: NDArray[Any], labels: NDArray[Any] | None, where: str, said: str) -> Table:
    """Make a table of an array of features; see `Table` for the arguments.

    Raises:
        DataError: when the array has not two dimensions, or is empty.
    """
    if X.ndim != 2 or 0 in X.shape:
        raise DataError(
            f"{where}: the features must be an array of rows and columns, (N, D), with at least "
            f"one of each, but their shape is {X.shape}; reshape it."
        )
    columns = X.shape[1]
    kept = as_features(X, lambda at: f"{where}: row {at // columns}, column {at % columns}")
    max_value = 1.0 if X.dtype == bool else largest_value(kept)
    return Table(kept, labels, where, f"{where}, {said}", max_value=max_value)


def map_npy(path: Path) -> NDArray[Any]:
    """Map a .npy file into memory, read-only.

    Args:
        path: the file.

    Returns:
        The array, of any shape.

    Raises:
        DataError: when it is truncated, no .npy file, or holds pickled objects.
    """
    with damage_of(path, "a .npy file"), path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        return _map_npy(path, file, size, str(path))


def locate_npy(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Find where in a .npy file its numbers are, and what they are.

    Args:
        path: the file; only its header is read.

    Returns:
        Shape, whether it is in Fortran order, type, and the first byte's place.

    Raises:
        DataError: as `map_npy`.
    """
    with damage_of(path, "a .npy file"), path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        header = _read_header(file, str(path))
        header.check(size - file.tell(), str(path))
        return header.shape, header.fortran, header.dtype, file.tell()


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    where = f"{path}, array {info.filename.removesuffix('.npy')!r}"
    with archive.open(info) as member:
        while member.read(_CHUNK):  # at its end the checksum is compared
            pass
    if info.compress_type == zipfile.ZIP_STORED:
        with path.open("rb") as file:
            file.seek(info.header_offset)
            _, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            file.seek(info.header_offset + _LOCAL_HEADER.size + name + extra)
            return _map_npy(path, file, file.tell() + info.file_size, where)
    with archive.open(info) as member:
        header = _read_header(member, where)
        raw = member.read()
        header.check(len(raw), where)
        return header.shaped(np.frombuffer(raw, header.dtype, header.count))


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def count(self) -> int:
        return int(np.prod(self.shape, dtype=object))

    def check(self, found: int, where: str) -> None:
        expected = self.count * self.dtype.itemsize
        if found != expected:
            raise DataError(
                f"{where} must hold {expected} bytes for its shape {self.shape} of {self.dtype}, "
                f"but {found} are there: it is truncated or damaged; get it again."
            )

    def shaped(self, flat: NDArray[Any]) -> NDArray[Any]:
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def _map_npy(path: Path, file: IO[bytes], end: int, where: str) -> NDArray[Any]:
    """Map what follows a header, up to `end`."""
    header = _read_header(file, where)
    header.check(end - file.tell(), where)
    if not header.count:
        return np.empty(header.shape, header.dtype)
    mapped = np.memmap(path, header.dtype, "r", file.tell(), (header.count,))
    return header.shaped(mapped)


def _read_header(file: IO[bytes], where: str) -> _Header:
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"version {version[0]}.{version[1]} of the format")
        header = _Header(*read(file))
    except Exception as error:  # a damaged header can raise nearly anything
        raise DataError(
            f"{where} is not an array as NumPy saves them ({first_line(error)}): it is empty, "
            "truncated or of another kind; write it with numpy.save."
        ) from error
    if header.dtype.hasobject:
        raise DataError(
            f"{where} holds pickled Python objects, which could run code and are refused; nothing "
            "was run. Save features as X.astype('float32'), labels as y.astype(str)."
        )
    if min(header.shape, default=0) < 0:
        raise DataError(f"{where} claims the shape {header.shape}; get it again.")
    return header


_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip

_BFLOAT16 = "BF16"


def read_safetensors(path: Path, wanted: Wanted, log: Log) -> Table:
    """Read a safetensors file: one tensor of features, and one of labels if they are in it.

    Args:
        path: the file; it is mapped, not read.
        wanted: where the labels are.
        log: told when bfloat16 is converted, which makes a copy.

    Returns:
        The rows.

    Raises:
        DataError: when it is damaged, or it is not clear which tensor is which.
    """
    from safetensors import SafetensorError, safe_open

    with damage_of(path, "a safetensors file", SafetensorError), safe_open(path, "numpy"):
        pass  # it checks sizes, offsets and overlaps
    tensors = locate_tensors(path)
    label = choose_labels(list(tensors), wanted, str(path), "tensor")
    feature = choose_features(list(tensors), label, str(path), "tensor")
    X = _map_safetensors(path, tensors[feature], log)
    labels = None if label is None else np.array(_map_safetensors(path, tensors[label], log))
    return features_table(X, labels, str(path), f"the tensor {label!r}")


@dataclass(frozen=True)
class TensorInFile:
    """Where in a safetensors file a tensor is.

    Attributes:
        where: file and tensor, for messages.
        shape: as the file says.
        kind: the format's name of its type.
        offset: its first byte in the file.
    """

    where: str
    shape: tuple[int, ...]
    kind: str
    offset: int

    @property
    def bfloat16(self) -> bool:
        """Whether its numbers are bfloat16."""
        return self.kind == _BFLOAT16

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its type in the file; uint16 for bfloat16.

        Raises:
            DataError: when it is none that is read.
        """
        if self.kind not in _DTYPES and not self.bfloat16:
            raise DataError(f"{self.where} is {self.kind}, which is not read; write it as float32.")
        return np.dtype("<u2" if self.bfloat16 else _DTYPES[self.kind])


def locate_tensors(path: Path) -> dict[str, TensorInFile]:
    """Find the tensors of a safetensors file; nothing of it but the header is read or mapped.

    Args:
        path: the file.

    Returns:
        Each tensor by its name.

    Raises:
        DataError: when the file is truncated or damaged.
    """
    with damage_of(path, "a safetensors file"), path.open("rb") as file:
        end = file.seek(0, io.SEEK_END)
        file.seek(0)
        start = 8 + int.from_bytes(file.read(8), "little")
        if not 8 < start <= end:
            raise ValueError("its header is longer than the file")
        header: dict[str, dict[str, Any]] = json.loads(file.read(start - 8))
        header.pop("__metadata__", None)
        return {name: _located(path, start, end, name, about) for name, about in header.items()}


def _located(path: Path, start: int, end: int, name: str, about: dict[str, Any]) -> TensorInFile:
    first, last = about["data_offsets"]
    shape, where = tuple(about["shape"]), f"{path}: the tensor {name!r}"
    tensor = TensorInFile(where, shape, about["dtype"], start + first)
    known = tensor.bfloat16 or tensor.kind in _DTYPES
    if known and last - first != int(np.prod(shape, dtype=object)) * tensor.dtype.itemsize:
        raise ValueError(f"the bytes of the tensor {name!r} are not those of its shape")
    if not 0 <= first <= last <= end - start:
        raise ValueError(f"it ends before the tensor {name!r} does")
    return tensor


def widened(bfloat16: NDArray[Any]) -> NDArray[np.float32]:
    """Bits of bfloat16 as the float32 numbers that they are, which bfloat16 is the half of."""
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)


def _map_safetensors(path: Path, tensor: TensorInFile, log: Log) -> NDArray[Any]:
    dtype, count = tensor.dtype, int(np.prod(tensor.shape, dtype=object))
    if not count:
        return np.empty(tensor.shape, dtype)
    flat: NDArray[Any] = np.memmap(path, dtype, "r", tensor.offset, (count,))
    if tensor.bfloat16:
        log(f"{tensor.where} is bfloat16 and is converted to float32 once, in memory.")
        flat = widened(flat)
    return flat.reshape(tensor.shape)


# Of rows that must be converted, so many bytes are read at a time.
_CHUNK_BYTES = 2 << 20


@dataclass(frozen=True, eq=False)
class FlatShard:
    """Rows of one type, one after another from a place in a file on.

    Attributes:
        path: the file.
        info: what the rows are.
        stored: the type in the file; uint16 for bfloat16.
        bfloat16: whether the numbers are bfloat16.
        offset: the first row's first byte.
        labels_at: the tensor with the labels; None when they are elsewhere.
    """

    path: Path
    info: ShardInfo
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
        return even_blocks(self.info.rows, self.info.features * self.stored.itemsize)

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
        info=_form(feature.shape, read_as, str(path), feature.where),
        stored=feature.dtype,
        offset=feature.offset,
        bfloat16=feature.bfloat16,
        labels_at=None if label is None else tensors[label],
    )


def _form(shape: tuple[int, ...], stored: np.dtype[Any], path: str, where: str) -> ShardInfo:
    if len(shape) != 2 or 0 in shape:
        raise DataError(
            f"{path}: the features must be an array of rows and columns, (N, D), with at least "
            f"one of each, but their shape is {shape}; reshape it."
        )
    dtype = features_type(stored, where)
    max_value = 1.0 if stored.kind == "b" else largest_value(np.zeros(0, dtype))
    return ShardInfo(shape[0], shape[1], dtype, max_value=max_value)


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
            self._shard.info.dtype,
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
