"""Arrays in files: NumPy's .npy and .npz, and safetensors. They are mapped and never unpickled."""

from __future__ import annotations

import json
import struct
import zipfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO, RawIOBase
from math import prod
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats import base
from onelayer.data.mapped import note_mapped
from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.progress import Log
from onelayer.data.streaming import Read, Shard, even_blocks
from onelayer.errors import DataError, SettingsError

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
    content: bytes | None = None  # what stands for the file: a compressed member in memory

    def values(self, log: Log = lambda line: None) -> NDArray[Any]:
        """The array, mapped where it is in the file as it is."""
        count, flat = prod(self.shape), np.empty(0, self.dtype)
        if self.content is not None:
            flat = np.frombuffer(self.content, self.dtype, count, self.offset)
        elif count:
            flat = np.memmap(self.path, self.dtype, "r", self.offset, (count,))
            note_mapped(flat, self.path, self.offset + flat.nbytes)
        if self.bfloat16:
            log(f"{self.where} is bfloat16 and is converted to float32 once, in memory.")
            flat = _widened(flat)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")

    def layers(self) -> list[Callable[[], NDArray[Any]]]:
        """What gives each of the L arrays (N, D) of an array (N, L, D), mapped as `values` are."""
        stored = replace(self, bfloat16=False).values()

        def layer(place: int) -> NDArray[Any]:
            return _widened(stored[:, place]) if self.bfloat16 else stored[:, place]

        return [partial(layer, place) for place in range(self.shape[1])]


class ArraysFile(base.RowsFile):
    """A file with an array of features, and one of labels unless they are elsewhere."""

    what: ClassVar[str] = "array"

    def __init__(self, path: Path, spec: base.ColumnSpec, log: Log) -> None:
        super().__init__(path, spec, log)
        if spec.take is not None or spec.drop or spec.id is not None:
            raise SettingsError(
                f"features, drop and id have no effect on {path}, whose features have no names; "
                "leave them out."
            )
        with base.file_errors(path, self.kind):
            arrays = self.arrays()
            self._label = base.choose_labels(list(arrays), spec, self.where, self.what)
            self._features = arrays[self._choose_features(list(arrays))]()
            self._stored_labels = arrays[self._label]() if self._label else None

    @abstractmethod
    def arrays(self) -> Mapping[str, Callable[[], StoredArray]]:
        """What locates and checks each array, by name; only those that are chosen are."""

    def table(self) -> base.Table:
        if not self.spec.any_shape:
            self._check_shape()
        with base.file_errors(self.path, self.kind):
            X = self._features.values(self.log)
            features, max_value = _as_features(X, self.path), base.largest_value(X.dtype)
        where, labels_where = self.where, f"{self.where}, the {self.what} {self._label!r}"
        return base.Table(features, self._labels(), where, labels_where, max_value=max_value)

    def shard(self) -> ArrayShard | None:
        array = self._features
        if not self.streams or (self.spec.any_shape and len(array.shape) != 2):
            return None
        self._check_shape()
        if array.fortran and min(array.shape) > 1:
            raise DataError(
                f"{self.where} is in Fortran order, so that its rows do not lie together and would "
                "be read all at once; save numpy.ascontiguousarray of it."
            )
        rows, features = array.shape
        stored = np.dtype(np.float32) if array.bfloat16 else array.dtype
        dtype, max_value = base.streamed_dtype(stored, array.where), base.largest_value(stored)
        blocks = even_blocks(rows, features * array.dtype.itemsize)
        labels = self._labels()
        return ArrayShard(self.path, blocks, features, dtype, None, max_value, labels, None, array)

    def _labels(self) -> NDArray[Any] | None:
        if self._stored_labels is None:
            return None
        with base.file_errors(self.path, self.kind):
            return np.array(self._stored_labels.values(self.log))

    def _choose_features(self, names: list[str]) -> str:
        """The only array besides the labels, or the one with a usual name."""
        others = [name for name in names if name != self._label]
        found = others if len(others) == 1 else [n for n in FEATURE_NAMES if n in others]
        if len(found) == 1:
            return found[0]
        raise DataError(
            f"{self.where} must hold one {self.what} of features besides the labels, called "
            f"{', '.join(FEATURE_NAMES)} where there are more, but it holds "
            f"{', '.join(others) or 'no other'}; rename or remove some."
        )

    def _check_shape(self) -> None:
        shape = self._features.shape
        if len(shape) != 2 or 0 in shape:
            kind = base.NoRowsError if len(shape) == 2 and shape[1] else DataError
            raise kind(
                f"{self.where}: the features must be an array of rows and columns, (N, D), with at "
                f"least one of each, but their shape is {shape}; reshape it."
            )


@dataclass(frozen=True, eq=False)
class ArrayShard(Shard):
    """Rows of one dtype, one after another from a place in a file on."""

    array: StoredArray

    @contextmanager
    def open(self) -> Iterator[Read]:
        with base.file_errors(self.path, "file"):
            file = self.path.open("rb", buffering=0)
        with file:
            yield partial(self._read, file)

    def _read(self, file: RawIOBase, start: int, into: NDArray[Any]) -> None:
        array = self.array
        if array.dtype == into.dtype and into.flags.c_contiguous:
            self._fill(file, start, into)
            return
        each = max(1, _CONVERTED_BYTES // (into.shape[1] * array.dtype.itemsize))
        chunk = np.empty((min(each, len(into)), into.shape[1]), array.dtype)
        for first in range(0, len(into), each):
            part = chunk[: len(into) - first]
            self._fill(file, start + first, part)
            into[first : first + len(part)] = (
                _widened(part) if array.bfloat16 else _as_features(part, array.path, start + first)
            )

    def _fill(self, file: RawIOBase, start: int, into: NDArray[Any]) -> None:
        """Read rows as they are; the system may give fewer bytes than asked for at a time."""
        left = into.reshape(-1).view(np.uint8).data
        with base.file_errors(self.path, "file"):
            file.seek(self.array.offset + start * into.shape[1] * self.array.dtype.itemsize)
            while len(left):
                count = file.readinto(left)
                if not count:
                    raise DataError(
                        f"{self.path} ended before row {start + len(into) - 1}: it was cut short "
                        "or rewritten while it was read; download or write it again."
                    )
                left = left[count:]


class NpyFile(ArraysFile):
    """NumPy's .npy file, which holds the features alone."""

    kind, streams = ".npy file", True

    def arrays(self) -> Mapping[str, Callable[[], StoredArray]]:
        if not self.spec.elsewhere:
            raise DataError(
                f"{self.where} has no labels; pass a file with one label a row with "
                f"{self.spec.option}."
            )
        return {"X": partial(_locate_npy, self.path)}

    @staticmethod
    def labels(path: Path) -> NDArray[Any]:
        with base.file_errors(path, ".npy file"):
            return np.array(_locate_npy(path).values())


class NpzFile(ArraysFile):
    """NumPy's .npz file: a zip archive of .npy files, whose checksums are compared."""

    kind = ".npz file"

    def arrays(self) -> Mapping[str, Callable[[], StoredArray]]:
        return _members(self.path)


class SafetensorsFile(ArraysFile):
    """A safetensors file."""

    kind, what, streams = "safetensors file", "tensor", True

    def arrays(self) -> Mapping[str, Callable[[], StoredArray]]:
        return _tensors(self.path)


def stored_arrays(path: Path) -> Mapping[str, Callable[[], StoredArray]]:
    """What locates and checks each array of a file, by name; that of an .npy file has none."""
    kind = {".npz": NpzFile, ".safetensors": SafetensorsFile}.get(path.suffix.lower(), NpyFile)
    with base.file_errors(path, kind.kind):
        if kind is NpyFile:
            return {"": partial(_locate_npy, path)}
        return _members(path) if kind is NpzFile else _tensors(path)


def _members(path: Path) -> Mapping[str, Callable[[], StoredArray]]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    return {i.filename.removesuffix(".npy"): partial(_locate_member, path, i) for i in infos}


def _locate_member(path: Path, info: zipfile.ZipInfo) -> StoredArray:
    where = f"{path}, array {info.filename.removesuffix('.npy')!r}"
    with zipfile.ZipFile(path) as archive, archive.open(info) as member:
        if info.compress_type != zipfile.ZIP_STORED:
            if info.file_size > (left := available_memory()):
                sizes = f"{format_bytes(info.file_size)}, but {format_bytes(left)} of memory"
                raise DataError(f"{where} takes {sizes} are left; save it uncompressed.")
            content = member.read()
            return _after_header(path, BytesIO(content), len(content), where, content)
        while member.read(_CHUNK_BYTES):  # at its end the checksum is compared
            pass
    with path.open("rb") as file:
        file.seek(info.header_offset)
        _, name_bytes, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        file.seek(name_bytes + extra, 1)
        return _after_header(path, file, file.tell() + info.file_size, where)


def _tensors(path: Path) -> Mapping[str, Callable[[], StoredArray]]:
    from safetensors import safe_open

    with base.file_errors(path, SafetensorsFile.kind):
        with safe_open(path, "numpy"):
            pass  # it checks sizes, offsets and overlaps
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(start - 8))
    header.pop("__metadata__", None)
    return {name: partial(_locate_tensor, path, start, name, header[name]) for name in header}


def _locate_tensor(path: Path, start: int, name: str, about: Mapping[str, Any]) -> StoredArray:
    where, kind = f"{path}: the tensor {name!r}", about["dtype"]
    if kind not in _DTYPES:
        raise DataError(f"{where} is {kind}, which is not read; write it as float32.")
    shape, offset = tuple(about["shape"]), start + about["data_offsets"][0]
    dtype = np.dtype(_DTYPES[kind])
    return StoredArray(path, where, shape, dtype, offset, bfloat16=kind == "BF16")


def _locate_npy(path: Path) -> StoredArray:
    with path.open("rb") as file:
        return _after_header(path, file, path.stat().st_size, str(path))


def _after_header(
    path: Path, file: IO[bytes], end: int, where: str, content: bytes | None = None
) -> StoredArray:
    """The array whose header begins here, and whose bytes reach from there to `end`."""
    shape, fortran, dtype = _read_header(file, where)
    found, expected = end - file.tell(), prod(shape) * dtype.itemsize
    if found != expected:
        raise DataError(
            f"{where} must hold {expected} bytes for its shape {shape} of {dtype}, but {found} are "
            "there: it is truncated or damaged; download or write it again."
        )
    bfloat16 = dtype == "V2"  # so ml_dtypes saves it
    stored = np.dtype("<u2") if bfloat16 else dtype
    return StoredArray(path, where, shape, stored, file.tell(), fortran, bfloat16, content)


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
            f"{where} is not an array as NumPy saves them ({base.first_line(error)}): it is empty, "
            "truncated or of another kind; write it with numpy.save."
        ) from error
    if dtype.hasobject:
        raise DataError(
            f"{where} holds pickled Python objects, which could run code and are refused; nothing "
            "was run. Save features as X.astype('float32'), labels as y.astype(str)."
        )
    if any(type(length) is not int or length < 0 for length in shape):
        raise DataError(f"{where} claims the shape {shape}; download or write it again.")
    return shape, fortran, dtype


def _as_features(X: NDArray[Any], path: Path, start: int = 0) -> NDArray[Any]:
    width = prod(X.shape[1:])
    return base.as_features(X, lambda at: f"{path}: row {start + at // width}, column {at % width}")


def _widened(bfloat16: NDArray[Any]) -> NDArray[np.float32]:
    """The float32 numbers of which bfloat16 is the upper half."""
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)
