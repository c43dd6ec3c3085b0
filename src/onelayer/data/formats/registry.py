"""One file or folder of any kind in, one `Table` with its labels out.

A folder, a pattern or one file as rows that stay in their files.

Files that hold the labels alone: one for each row of another file.

Whether rows stay in their files: by choice, or because they would take too much memory.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats.arrays import map_npy, read_npy, read_npz, read_safetensors
from onelayer.data.formats.base import Table, Wanted, damage_of, is_pattern
from onelayer.data.formats.images import read_images
from onelayer.data.formats.tables import (
    Columns,
    open_arrow,
    open_csv,
    open_parquet,
    read_label_column,
    table_of,
)
from onelayer.data.progress import Log
from onelayer.data.streaming import StoredRows, available_memory, format_bytes
from onelayer.errors import DataError, SettingsError

if TYPE_CHECKING:
    from onelayer.data.streaming.rows import Shard, ShardInfo

_KINDS = {
    ".npy": "npy", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow",
    ".safetensors": "safetensors",
}  # fmt: skip

STREAMED = tuple(_KINDS)


def holds_shards(folder: Path) -> bool:
    """Whether files of a kind that can stay on disk lie in a folder itself."""
    return bool(_in_folder(folder))


def find_files(pattern: Path) -> list[Path]:
    """The files that match a pattern, in the order of their names as text.

    Args:
        pattern: with *, ? and [] as in a shell, and ** for any folders.

    Returns:
        One file or more; hidden ones do not match.

    Raises:
        DataError: when there is none.

    Example:
        >>> find_files(Path("missing/*.npy"))
        Traceback (most recent call last):
        onelayer.errors.DataError: no file matches missing/*.npy; name a folder or a pattern that \
matches some.
    """
    found = sorted(name for name in glob.glob(str(pattern), recursive=True) if os.path.isfile(name))
    if not found:
        raise DataError(f"no file matches {pattern}; name a folder or a pattern that matches some.")
    return [Path(name) for name in found]


def find_shards(named: Path, label_files: Sequence[Path] = ()) -> list[Path] | None:
    """The files with rows that a folder or a pattern stands for.

    Args:
        named: what the user names.
        label_files: files that hold labels alone, which may lie among them.

    Returns:
        The files in the order of their names as text; None when it is neither a pattern nor a
        folder with such files.

    Raises:
        DataError: when no file matches, or they are of several kinds.
    """
    if is_pattern(named):
        files = find_files(named)
    elif os.path.isdir(named):
        files = _in_folder(named)
    else:
        return None
    labels = {path.resolve() for path in label_files}
    files = [path for path in files if path.resolve() not in labels]
    if not files:
        return None
    kinds = {path: _KINDS.get(path.suffix.lower()) for path in files}
    for path, kind in kinds.items():
        if kind is None:
            raise DataError(
                f"{path} is of no kind that is read one file after another, which are "
                f"{', '.join(STREAMED)}; name a pattern that leaves it out."
            )
        if kind != kinds[files[0]]:
            raise DataError(
                f"{named} holds files of several kinds, such as {files[0].name} and {path.name}; "
                "name one kind by a pattern such as '*.npy'."
            )
    return files


def open_shards(files: Sequence[Path], named: Path, wanted: Wanted, log: Log) -> Table:
    """Open files as rows that stay in them, one file after another.

    Args:
        files: of one kind.
        named: what the user named, for messages.
        wanted: where the labels are.
        log: told of columns that are left out, once for all files.

    Returns:
        The rows as `StoredRows`, and the labels of all of them if they are in the files.

    Raises:
        DataError: for a file that is damaged, or has other rows than the first; it names the file.
    """
    from onelayer.data.streaming.rows import ShardedRows

    shards: list[Shard] = []
    for path in files:
        shards.append(_open(path, wanted, log if not shards else lambda line: None))
        _check_alike(shards[-1], shards[0])
    first, where = shards[0].info, str(named)
    X = cast(NDArray[Any], ShardedRows(shards, where))
    found = [shard.labels() for shard in shards]
    labels = None if found[0] is None else np.concatenate([x for x in found if x is not None])
    said = f"{where}, the labels in it" if len(files) > 1 else f"{where}, its labels"
    return Table(X, labels, where, said, first.feature_names, max_value=first.max_value)


def _open(path: Path, wanted: Wanted, log: Log) -> Shard:
    from onelayer.data.formats.arrays import open_npy_shard, open_safetensors_shard
    from onelayer.data.formats.tables import open_arrow_shard, open_parquet_shard

    kind = _KINDS[path.suffix.lower()]
    if kind == "npy":
        return open_npy_shard(path, wanted)
    if kind == "safetensors":
        return open_safetensors_shard(path, wanted)
    if kind == "parquet":
        return open_parquet_shard(path, wanted, log)
    return open_arrow_shard(path, wanted, log)


def _check_alike(shard: Shard, first: Shard) -> None:
    info, other = shard.info, first.info
    if (info.features, info.dtype) != (other.features, other.dtype):
        raise DataError(
            f"{shard.where} has rows of {_described(info)} where {first.where} has "
            f"{_described(other)}; give every file rows of one width and type."
        )
    for name, expected in zip(info.feature_names or (), other.feature_names or (), strict=True):
        if name != expected:
            raise DataError(
                f"{shard.where} has the column {name!r} where {first.where} has {expected!r}; give "
                "every file the same columns in the same order."
            )


def _described(info: ShardInfo) -> str:
    return f"{info.features} {info.dtype} features"


def _in_folder(folder: Path) -> list[Path]:
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror or error}.") from error
    found = [folder / name for name in names if Path(name).suffix.lower() in _KINDS]
    return [path for path in found if path.is_file()]


_OPENERS = {
    ".csv": open_csv,
    ".parquet": open_parquet,
    ".arrow": open_arrow,
    ".feather": open_arrow,
}

LABEL_SUFFIXES = (".npy", ".txt", *_OPENERS)


def read_label_file(path: Path) -> NDArray[Any]:
    """Read the labels of a file's rows.

    Args:
        path: .npy with one label a row; .txt with one label a line, numbers if all of them are;
            .csv, .parquet or .arrow with a single column, or one called label. A pattern stands
            for the files that match it, one after another.

    Returns:
        (N,) text, whole numbers or booleans.

    Raises:
        DataError: when it is damaged, empty or of another kind.

    Example:
        >>> read_label_file(Path("missing.txt"))
        Traceback (most recent call last):
        onelayer.errors.DataError: missing.txt cannot be read: No such file or directory.
    """
    if is_pattern(path):
        return np.concatenate([np.atleast_1d(read_label_file(file)) for file in find_files(path)])
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.array(map_npy(path))
    if suffix == ".txt":
        return _lines(path)
    if suffix in _OPENERS:
        return read_label_column(_OPENERS[suffix](path), path)
    raise DataError(
        f"{path} is not a kind of file that labels are read from: {', '.join(LABEL_SUFFIXES)}."
    )


def _lines(path: Path) -> NDArray[Any]:
    with damage_of(path, "a text file in UTF-8"):
        lines = [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
    try:
        # Only what is written back alike is a number: "01" and "1_0" are text.
        numbers = [int(line) for line in lines]
        if [str(number) for number in numbers] == lines:
            return np.array(numbers, np.int64)
    except (ValueError, OverflowError):
        pass
    return np.array(lines, object)


# To load and to split rows takes up to three times their bytes.
SHARE = 0.25

# A compressed file can become so many times larger as it is read.
_COMPRESSION = 8


def may_be_large(path: Path) -> bool:
    """Whether the rows of a file may be too many for memory, by its size alone."""
    streamed = path.suffix.lower() in SUFFIXES
    return streamed and path.stat().st_size * _COMPRESSION > SHARE * available_memory()


def stays_names_files(X: StoredRows, files: int, stream: bool | None, log: Log) -> bool:
    """Decide whether rows are read as they are needed, or once into memory.

    Args:
        X: the rows.
        files: how many they are in.
        stream: what the user said; None lets their bytes decide.
        log: told when they stay where they are.

    Returns:
        True where they stay in their files.
    """
    left = available_memory()
    stays = X.nbytes > SHARE * left if stream is None else stream
    if stays:
        few = f"more than a quarter of the {format_bytes(left)} of memory that are left"
        log(
            f"{X.where}: {format_bytes(X.nbytes)} of rows in {files} "
            f"file{'s' if files > 1 else ''} stay on disk, {'as requested' if stream else few}; "
            f"{X.tile_rows:,} are read at a time."
        )
    return stays


_Read = Callable[[Path, Wanted, Log], Table]


def _columns(opened: Callable[[Path], Columns]) -> _Read:
    return lambda path, wanted, log: table_of(opened(path), path, wanted, log)


_READERS: dict[str, _Read] = {
    ".npy": lambda path, wanted, log: read_npy(path, wanted),
    ".npz": lambda path, wanted, log: read_npz(path, wanted),
    ".csv": _columns(open_csv),
    ".parquet": _columns(open_parquet),
    ".arrow": _columns(open_arrow),
    ".feather": _columns(open_arrow),
    ".safetensors": read_safetensors,
}

SUFFIXES = tuple(_READERS)


@dataclass(frozen=True)
class ReadOptions:
    """How files are read, whatever part they are.

    Attributes:
        log: told of what is left out or converted.
        image_size: (height, width) of pictures.
        seed: mixes the classes of a folder of pictures.
        progress: whether to show bars.
        stream: whether rows stay in their files; None where they would take too much memory.
    """

    log: Log
    image_size: tuple[int, int] | None = None
    seed: int = 0
    progress: bool = False
    stream: bool | None = None


def names_file(labels: Any) -> bool:
    """Whether labels are named by a file and not by a column.

    Example:
        >>> names_file("species"), names_file("y.npy")
        (False, True)
    """
    named = isinstance(labels, str) and Path(labels).suffix.lower() in LABEL_SUFFIXES
    return named or isinstance(labels, Path)


def read_table(path: Path, labels: Any, option: str, read: ReadOptions) -> Table:
    """Read a file or a folder of pictures with its labels.

    Args:
        path: what to read; its suffix says what it is.
        labels: a column or array, a file with one label a row, or None for the usual names.
        option: how the user names `labels`, for messages.
        read: how to read.

    Returns:
        The rows, with labels.

    Raises:
        DataError: for a file that is missing, damaged or of no kind that is read, and for labels
            of another number than rows.
        SettingsError: for options that mean nothing to it.
    """
    if os.path.isdir(path) and not holds_shards(path):
        return _pictures(path, labels, option, read)
    if read.image_size is not None:
        raise SettingsError(
            f"image_size (--image-size) is for a folder of pictures, but {path} is none; leave it "
            "out."
        )
    if labels is None or (isinstance(labels, str) and not names_file(labels)):
        return _rows(path, (), Wanted(labels, option=option), read)
    label_files: list[Path] = []
    if names_file(labels):
        label_path = Path(labels).expanduser()
        label_files = find_files(label_path) if is_pattern(label_path) else [label_path]
    table = _rows(path, label_files, Wanted(elsewhere=True, option=option), read)
    found = read_label_file(label_path) if label_files else np.asarray(labels)
    where = str(label_path) if label_files else option
    if found.ndim and len(found) != len(table.X):
        raise DataError(
            f"{where} must hold one label for each of the {len(table.X)} rows of {path}, but it "
            f"holds {len(found)}; give the labels of these rows, in their order."
        )
    return replace(table, labels=found, labels_where=where)


def _pictures(path: Path, labels: Any, option: str, read: ReadOptions) -> Table:
    if labels is not None:
        raise SettingsError(
            f"{option} means nothing to the folder of pictures {path}, whose sub-folders are the "
            "classes; leave it out."
        )
    if read.stream is not None:
        raise SettingsError(
            f"stream (--stream) means nothing to the folder of pictures {path}; leave it out."
        )
    return read_images(
        path, read.log, image_size=read.image_size, seed=read.seed, progress=read.progress
    )


def _rows(path: Path, label_files: Sequence[Path], wanted: Wanted, read: ReadOptions) -> Table:
    """The rows of a file, a folder or a pattern, in memory or left in their files."""
    files = find_shards(path, label_files)
    if files is not None:
        table = open_shards(files, path, wanted, read.log)
        X = cast(StoredRows, table.X)
        stays = stays_names_files(X, len(files), read.stream, read.log)
        return table if stays else replace(table, X=X[:])
    reader = _reader(path)
    if read.stream and path.suffix.lower() not in STREAMED:
        raise SettingsError(
            f"stream (--stream) is for {', '.join(STREAMED)}, but {path} is none of them; leave it "
            "out, or convert the file."
        )
    if read.stream or (read.stream is None and may_be_large(path)):
        table = open_shards([path], path, wanted, read.log)
        if stays_names_files(cast(StoredRows, table.X), 1, read.stream, read.log):
            return table
    return reader(path, wanted, read.log)


def _reader(path: Path) -> _Read:
    suffix = path.suffix.lower()
    if not os.path.exists(path):
        raise DataError(f"there is no file or folder {path}: name one that is there.")
    if suffix not in _READERS:
        raise DataError(
            f"{path} is of no kind that is read, which are {', '.join(SUFFIXES)} and folders of "
            "pictures; convert it, or give it the suffix of what it is."
        )
    return _READERS[suffix]
