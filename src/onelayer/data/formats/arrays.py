"""Arrays by name: NumPy's .npy and .npz, safetensors, and what other files of arrays share.

They are mapped where that can be done, and never unpickled. Arrays in memory are found by the same
names.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO, RawIOBase
from math import prod
from pathlib import Path
from typing import IO, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats import base
from onelayer.data.mapped import note_mapped
from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.progress import Log
from onelayer.data.sparse import SparseRows, is_sparse
from onelayer.data.streaming import Read, Shard, even_blocks
from onelayer.errors import DataError, SettingsError

T = TypeVar("T")

# Names that an array of features is known by when a file holds several.
FEATURE_NAMES = ("X", "x", "features", "embeddings", "data", "images")

# What parts the name of a part from the rest in the names of arrays: X_train, test/labels.
_SEPARATORS = re.compile("[_/.-]")

_LOCAL_HEADER = struct.Struct("<4s22xHH")

# What scipy.sparse.save_npz writes beside the values, and all names that it gives to arrays.
_SPARSE_FORMATS = {
    "csr": ("indices", "indptr"),
    "csc": ("indices", "indptr"),
    "coo": ("row", "col"),
}
_SPARSE_MEMBERS = ("format", "shape", "data", "_is_array", "indices", "indptr", "row", "col")

# What is read at a time to compare a checksum, and of rows that must be converted.
_CHUNK_BYTES, _CONVERTED_BYTES = 1 << 20, 2 << 20
_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2",
}  # fmt: skip


@dataclass(frozen=True)
class FileArray(ABC):
    """An array of a file: what it is, and how it is read."""

    path: Path
    where: str  # file and array, for messages
    shape: tuple[int, ...]
    dtype: np.dtype[Any]  # of its numbers in the file: uint16 for bfloat16

    @abstractmethod
    def values(self, log: Log = lambda line: None) -> NDArray[Any]:
        """The array, mapped where it is in the file as it is."""

    @abstractmethod
    def layer(self, place: int) -> NDArray[Any]:
        """One of the L arrays (N, D) of an array (N, L, D), mapped as `values` are."""

    @property
    def value_type(self) -> np.dtype[Any]:
        """The type of its values as they are read."""
        return self.dtype


@dataclass(frozen=True)
class HeldArray(FileArray):
    """An array that a library holds, in memory or mapped."""

    array: Any
    mapped: bool

    def values(self, log: Log = lambda line: None) -> NDArray[Any]:
        found = base.to_array(self.array, self.where)
        if "bfloat16" in str(self.array.dtype):
            log(_says_bfloat16(self.where))
        elif self.mapped:
            note_mapped(found, self.path, self.path.stat().st_size)
        return found

    def layer(self, place: int) -> NDArray[Any]:
        return base.to_array(self.array[:, place], self.where)


@dataclass(frozen=True)
class SlicedArray(FileArray):
    """An array that a library reads a slice of at a time, maybe out of compressed chunks."""

    opened: Callable[[], AbstractContextManager[Any]]
    chunk_rows: int

    def values(self, log: Log = lambda line: None) -> NDArray[Any]:
        return self._read(...)

    def layer(self, place: int) -> NDArray[Any]:
        return self._read((slice(None), place))

    def _read(self, chosen: Any) -> NDArray[Any]:
        with self.opened() as array:
            found = np.asarray(array[chosen])
        return found.astype(object) if found.dtype.kind == "T" else found  # text, of NumPy 2


@dataclass(frozen=True)
class StoredArray(FileArray):
    """An array whose bytes lie together in a file."""

    offset: int  # its first byte
    fortran: bool = False
    bfloat16: bool = False
    content: bytes | None = None  # what stands for the file: a compressed member in memory

    def values(self, log: Log = lambda line: None) -> NDArray[Any]:
        count, flat = prod(self.shape), np.empty(0, self.dtype)
        if self.content is not None:
            flat = np.frombuffer(self.content, self.dtype, count, self.offset)
        elif count:
            flat = np.memmap(self.path, self.dtype, "r", self.offset, (count,))
            note_mapped(flat, self.path, self.offset + flat.nbytes)
        if self.bfloat16:
            log(_says_bfloat16(self.where))
            flat = _widened(flat)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")

    def layer(self, place: int) -> NDArray[Any]:
        stored = replace(self, bfloat16=False).values()[:, place]
        return _widened(stored) if self.bfloat16 else stored

    @property
    def value_type(self) -> np.dtype[Any]:
        return np.dtype(np.float32) if self.bfloat16 else self.dtype


@dataclass(frozen=True)
class SparseArray(FileArray):
    """Sparse rows, as `scipy.sparse.save_npz` writes them into several arrays."""

    form: str  # csr, csc or coo
    members: Mapping[str, FileArray]  # by SciPy's names

    def values(self, log: Log = lambda line: None) -> Any:
        """The rows; those of other formats than CSR are sorted in copies."""
        N, D = self.shape
        base.check_columns(D, self.where)
        held = {name: member.values(log) for name, member in self.members.items()}
        values = held.pop("data")
        if any(places.dtype.kind not in "iu" or places.ndim != 1 for places in held.values()):
            raise DataError(f"{self.where}: {' and '.join(held)} must be whole numbers, (n,).")
        if self.form != "csr" and (left := available_memory()) < 16 * N:
            raise DataError(
                f"{self.where} has {N:,} rows, more than the {format_bytes(left)} of memory hold."
            )
        if self.form == "coo":
            rows, order = held["row"], np.argsort(held["row"], kind="stable")
            if not len(rows) == len(values) == len(held["col"]) or (
                len(rows) and not 0 <= int(rows[order[0]]) <= int(rows[order[-1]]) < N
            ):
                raise DataError(
                    f"{self.where}: row and col must say where each of {len(values)} values is in "
                    f"the shape {self.shape}; write it again with scipy.sparse.save_npz."
                )
            starts = np.searchsorted(rows[order], np.arange(N + 1))
            return SparseRows(values[order], held["col"][order], starts, D, self.where)
        across, along = (N, D) if self.form == "csr" else (D, N)
        if len(held["indptr"]) != across + 1:
            raise DataError(
                f"{self.where}: indptr must hold {across + 1} numbers for the shape {self.shape}, "
                f"but it holds {len(held['indptr'])}; write it again with scipy.sparse.save_npz."
            )
        stored = SparseRows(values, held["indices"], held["indptr"], along, self.where)
        return stored if self.form == "csr" else SparseRows.of(stored.to_scipy().T, self.where)

    def layer(self, place: int) -> NDArray[Any]:
        raise DataError(f"{self.where} is sparse, and holds no array (N, L, D) of feature sets.")


# What gives each array of a file, by its name; only those that are chosen are located and checked.
Located = Mapping[str, Callable[[], FileArray]]


class ArraysFile(base.RowsFile):
    """A file with an array of features, and one of labels unless they are elsewhere.

    An only array without a name is the features.
    """

    what: ClassVar[str] = "array"

    def __init__(self, path: Path, spec: base.ColumnSpec, log: Log) -> None:
        super().__init__(path, spec, log)
        check_no_columns(spec, str(path))
        if spec.part not in (None, "train"):
            self.where = f"{path}, {spec.part} rows"
        with base.file_errors(path, self.kind):
            arrays = self.arrays(path)
            beside = beside_of(arrays, spec, self.where, self.what)
            others = [name for name in arrays if name not in spec.beside.values()]
            features, self._label = choose_arrays(others, spec, self.where, self.what)
            self._features = arrays[features]()
            self._beside = {option: np.array(one().values(log)) for option, one in beside.items()}
            self._stored_labels = arrays[self._label]() if self._label else None

    @classmethod
    @abstractmethod
    def arrays(cls, path: Path) -> Located:
        """The arrays of a file of this format, by name; an only array may have none, ""."""

    @classmethod
    def labels(cls, path: Path) -> NDArray[Any]:
        """The labels of a file: its only array, or the one with a usual name."""
        with base.file_errors(path, cls.kind):
            arrays = cls.arrays(path)
            names = [*arrays]
            name = names[0] if len(names) == 1 else base.choose_labels(
                names, base.ColumnSpec(), str(path), cls.what
            )  # fmt: skip
            return np.array(arrays[name or ""]().values())

    def table(self) -> base.Table:
        with base.file_errors(self.path, self.kind):
            X = self._features.values(self.log)
            X, image_shape = (X, None) if self.spec.any_shape else flat_images(X)
            if not self.spec.any_shape or not X.shape:  # a single number is no rows of any shape
                _check_shape(X.shape, self.where)
            features, max_value = _as_features(X, self.path), base.largest_value(X.dtype)
        where, labels_where = self.where, f"{self.path}, the {self.what} {self._label!r}"
        return base.Table(
            features, self._labels(), where, labels_where, None, image_shape, max_value,
            beside=self._beside,
        )  # fmt: skip

    def shard(self) -> Shard | None:
        array = self._features
        images = array.dtype == np.uint8 and len(array.shape) > 2
        if not self.streams or images or (self.spec.any_shape and len(array.shape) != 2):
            return None
        _check_shape(array.shape, self.where)
        rows, features = array.shape
        stored, row_bytes = array.value_type, features * array.dtype.itemsize
        dtype, max_value = base.streamed_dtype(stored, array.where), base.largest_value(stored)
        labels, path = self._labels(), self.path
        if isinstance(array, SlicedArray):
            # A chunk that nobody wrote takes no bytes, whatever the file says of its shape.
            base.check_rows(rows, self.where)
            base.check_columns(features, self.where)
            blocks = even_blocks(rows, row_bytes, array.chunk_rows)
            return SlicedShard(
                path, blocks, features, dtype, None, max_value, labels, None, array,
                beside=self._beside,
            )  # fmt: skip
        if not isinstance(array, StoredArray):
            return None
        if array.fortran and min(array.shape) > 1:
            raise DataError(
                f"{self.where} is in Fortran order, so that its rows do not lie together and would "
                "be read all at once; save numpy.ascontiguousarray of it."
            )
        blocks = even_blocks(rows, row_bytes)
        return ArrayShard(
            path, blocks, features, dtype, None, max_value, labels, None, array, beside=self._beside
        )

    def _labels(self) -> NDArray[Any] | None:
        if self._stored_labels is None:
            return None
        with base.file_errors(self.path, self.kind):
            return np.array(self._stored_labels.values(self.log))


def choose_arrays(
    names: Sequence[str], spec: base.ColumnSpec, where: str, what: str
) -> tuple[str, str | None]:
    """The names of the array of features and of that of labels; None when they are elsewhere."""
    if spec.part is not None:
        return arrays_of_parts(names)[spec.part]
    if list(names) == [""]:
        if not spec.elsewhere:
            raise DataError(
                f"{where} has no labels; pass a file of labels, one a row, or the labels "
                f"themselves with {spec.option}."
            )
        return "", None
    label = base.choose_labels(names, spec, where, what)
    others = [name for name in names if name != label]
    found = others if len(others) == 1 else [n for n in FEATURE_NAMES if n in others]
    if len(found) == 1:
        return found[0], label
    advice = "rename or remove some"
    if parts := arrays_of_parts(names):
        advice = "leave the labels out, and its parts are the split"
        if spec.any_shape:  # to be classified
            advice = f"name one of its parts, as in {where}:{[*parts][-1]}"
    raise DataError(
        f"{where} must hold one {what} of features besides the labels, called "
        f"{', '.join(FEATURE_NAMES)} where there are more, but it holds "
        f"{', '.join(others) or 'no other'}; {advice}."
    )


def beside_of(
    arrays: Mapping[str, T], spec: base.ColumnSpec, where: str, what: str
) -> dict[str, T]:
    """The arrays that are no features, by the options that name them."""
    for option, name in spec.beside.items():
        if name not in arrays:
            raise DataError(
                f"{where} has no {what} {name!r} for {option} (--{option}); it has "
                f"{', '.join(arrays)}."
            )
    return {option: arrays[name] for option, name in spec.beside.items()}


def arrays_of_parts(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Features and labels of each part, of arrays such as X_train, y_train, test/images.

    Empty where there are none of both kinds for training.
    """
    features, labels = dict[str, str](), dict[str, str]()
    kinds = dict.fromkeys((name.lower() for name in FEATURE_NAMES), features)
    kinds |= dict.fromkeys(base.LABEL_NAMES, labels)
    for name in names:
        words = _SEPARATORS.split(name)
        last, rest = words[-1], name[: -len(words[-1]) - 1]
        if last.lower() not in base.PARTS:
            last, rest = words[0], name[len(words[0]) + 1 :]
        part, of_kind = base.PARTS.get(last.lower()), kinds.get(rest.lower())
        if part is not None and of_kind is not None and of_kind.setdefault(part, name) != name:
            return {}
    parts = {part: (features[part], labels[part]) for part in features if part in labels}
    return parts if "train" in parts else {}


def is_arrays(source: object) -> bool:
    """Whether an object is an array, tensor or sparse rows, or a mapping of names to some."""
    return isinstance(source, Mapping) or base.is_array(source) or is_sparse(source)


def arrays_table(
    source: Any, labels: Any, where: str, log: Log, spec: base.ColumnSpec
) -> base.Table:
    """Features and labels of arrays in memory; `labels` names an array, holds them, or is None."""
    check_no_columns(spec, where)
    named = labels is None or isinstance(labels, str)
    arrays = source if isinstance(source, Mapping) else {"": source}
    spec = replace(spec, labels=labels if named else None, elsewhere=not named)
    beside = {
        option: base.to_array(one, f"{where}, {option}")
        for option, one in beside_of(arrays, spec, where, "array").items()
    }
    others = [str(name) for name in arrays if name not in spec.beside.values()]
    features, label = choose_arrays(others, spec, where, "array")
    given = arrays[features]
    whole: Any = SparseRows.of(given, where) if is_sparse(given) else base.to_array(given, where)
    X, image_shape = flat_images(whole)
    _check_shape(X.shape, where)
    width, max_value = X.shape[1], base.largest_value(X.dtype)
    X = base.as_features(X, lambda at: f"{where}: row {at // width}, column {at % width}")
    found, labels_where = labels, spec.option
    if label is not None:
        found, labels_where = arrays[label], f"{where}, the array {label!r}"
    y = base.to_array(found, labels_where)
    return base.Table(X, y, where, labels_where, None, image_shape, max_value, beside=beside)


def flat_images(X: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int, int] | None]:
    """Images of bytes as rows, (N, D), one channel plane after another, and their form.

    Images are (N, height, width), (N, height, width, channels) or (N, channels, height, width).
    """
    if X.dtype != np.uint8 or X.ndim not in (3, 4) or 0 in X.shape:
        return X, None
    if X.ndim == 4 and X.shape[1] not in (1, 3) and X.shape[3] in (1, 3):
        X = X.transpose(0, 3, 1, 2)
    form = X.shape[1:] if X.ndim == 4 else (1, *X.shape[1:])
    return (X.reshape(len(X), -1), (form[0], form[1], form[2])) if form[0] in (1, 3) else (X, None)


def check_no_columns(spec: base.ColumnSpec, where: str) -> None:
    """Raise `SettingsError` for options that choose columns, which arrays do not have."""
    if spec.take is not None or spec.drop or spec.id is not None:
        raise SettingsError(
            f"features, drop and id have no effect on {where}, whose features have no names; "
            "leave them out."
        )


def _check_shape(shape: tuple[int, ...], where: str) -> None:
    if len(shape) != 2 or 0 in shape:
        kind = base.NoRowsError if len(shape) == 2 and shape[1] else DataError
        raise kind(
            f"{where}: the features must be an array of rows and columns, (N, D), with at "
            f"least one of each, but their shape is {shape}; reshape it."
        )


def _says_bfloat16(where: str) -> str:
    return f"{where} is bfloat16 and is converted to float32 once, in memory."


@dataclass(frozen=True, eq=False)
class SlicedShard(Shard):
    """Rows that a library reads a slice of at a time."""

    array: SlicedArray

    @contextmanager
    def open(self) -> Iterator[Read]:
        with base.file_errors(self.path, "file"), self.array.opened() as array:

            def read(start: int, into: NDArray[Any]) -> None:
                with base.file_errors(self.path, "file"):
                    found = np.asarray(array[start : start + len(into)])
                    into[:] = _as_features(found, self.path, start)

            yield read


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

    @classmethod
    def arrays(cls, path: Path) -> Located:
        return {"": partial(_locate_npy, path)}


class NpzFile(ArraysFile):
    """NumPy's .npz file: a zip archive of .npy files, whose checksums are compared."""

    kind = ".npz file"

    @classmethod
    def arrays(cls, path: Path) -> Located:
        members = _members(path)
        if not {"format", "shape", "data"} <= set(members):
            return members
        # As scipy.sparse.save_npz writes sparse rows; what else the file has may be their labels.
        others = {name: one for name, one in members.items() if name not in _SPARSE_MEMBERS}
        return {"X" if others else "": partial(_locate_sparse, path, members), **others}


class SafetensorsFile(ArraysFile):
    """A safetensors file."""

    kind, what, streams = "safetensors file", "tensor", True

    @classmethod
    def arrays(cls, path: Path) -> Located:
        return _tensors(path)


def _members(path: Path) -> Located:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    return {i.filename.removesuffix(".npy"): partial(_locate_member, path, i) for i in infos}


def _locate_sparse(path: Path, members: Located) -> SparseArray:
    form, shape = (np.asarray(members[name]().values()) for name in ("format", "shape"))
    named = form.item().decode() if form.dtype.kind == "S" and form.ndim == 0 else str(form)
    if named not in _SPARSE_FORMATS or not set(_SPARSE_FORMATS[named]) <= set(members):
        raise DataError(
            f"{path} holds sparse rows in the format {named[:20]!r} with {', '.join(members)}; "
            "write X.tocsr() with scipy.sparse.save_npz."
        )
    if shape.dtype.kind not in "iu" or shape.shape != (2,) or (shape < 0).any():
        raise DataError(f"{path}: the shape of sparse rows must be (N, D); write it again.")
    parts = {name: members[name]() for name in ("data", *_SPARSE_FORMATS[named])}
    N, D = shape.tolist()
    return SparseArray(path, f"{path}", (N, D), parts["data"].dtype, named, parts)


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


def _tensors(path: Path) -> Located:
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
