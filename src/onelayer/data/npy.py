"""NumPy's .npy and .npz files, mapped into memory and never unpickled."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.damage import damage_of, first_line
from onelayer.data.table import Table, Wanted, as_features, choose_labels, largest_value
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
        return _map(path, file, size, str(path))


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
            return _map(path, file, file.tell() + info.file_size, where)
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


def _map(path: Path, file: IO[bytes], end: int, where: str) -> NDArray[Any]:
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
