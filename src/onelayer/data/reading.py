"""One file or folder of any kind in, one `Table` with its labels out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from onelayer.data.arrow_files import open_arrow, open_csv, open_parquet
from onelayer.data.columns import Columns, table_of
from onelayer.data.images import read_images
from onelayer.data.label_files import LABEL_SUFFIXES, read_label_file
from onelayer.data.npy import read_npy, read_npz
from onelayer.data.shards import SUFFIXES as STREAMED
from onelayer.data.shards import find_files, find_shards, holds_shards, is_pattern, open_shards
from onelayer.data.streaming import may_be_large, stays_in_files
from onelayer.data.table import Table, Wanted
from onelayer.data.telling import Report
from onelayer.data.tensors import read_safetensors
from onelayer.errors import DataError, SettingsError
from onelayer.stored import StoredRows

_Read = Callable[[Path, Wanted, Report], Table]


def _columns(opened: Callable[[Path], Columns]) -> _Read:
    return lambda path, wanted, tell: table_of(opened(path), path, wanted, tell)


_READERS: dict[str, _Read] = {
    ".npy": lambda path, wanted, tell: read_npy(path, wanted),
    ".npz": lambda path, wanted, tell: read_npz(path, wanted),
    ".csv": _columns(open_csv),
    ".parquet": _columns(open_parquet),
    ".arrow": _columns(open_arrow),
    ".feather": _columns(open_arrow),
    ".safetensors": read_safetensors,
}
SUFFIXES = tuple(_READERS)


@dataclass(frozen=True)
class Way:
    """How files are read, whatever part they are.

    Attributes:
        tell: told of what is left out or converted.
        image_size: (height, width) of pictures.
        seed: mixes the classes of a folder of pictures.
        progress: whether to show bars.
        stream: whether rows stay in their files; None where they would take too much memory.
    """

    tell: Report
    image_size: tuple[int, int] | None = None
    seed: int = 0
    progress: bool = False
    stream: bool | None = None


def in_file(labels: str | Path | None) -> bool:
    """Whether labels are named by a file and not by a column.

    Example:
        >>> in_file("species"), in_file("y.npy")
        (False, True)
    """
    return isinstance(labels, Path) or Path(labels or "").suffix.lower() in LABEL_SUFFIXES


def read_table(path: Path, labels: str | Path | None, option: str, way: Way) -> Table:
    """Read a file or a folder of pictures with its labels.

    Args:
        path: what to read; its suffix says what it is.
        labels: a column or array, a file with one label a row, or None for the usual names.
        option: how the user names `labels`, for messages.
        way: how to read.

    Returns:
        The rows, with labels.

    Raises:
        DataError: for a file that is missing, damaged or of no kind that is read, and for labels
            of another number than rows.
        SettingsError: for options that mean nothing to it.
    """
    if os.path.isdir(path) and not holds_shards(path):
        return _pictures(path, labels, option, way)
    if way.image_size is not None:
        raise SettingsError(
            f"image_size (--image-size) is for a folder of pictures, but {path} is none; leave it "
            "out."
        )
    if not in_file(labels):
        wanted = Wanted(None if labels is None else str(labels), option=option)
        return _rows(path, (), wanted, way)
    label_path = Path(str(labels)).expanduser()
    label_files = find_files(label_path) if is_pattern(label_path) else [label_path]
    table = _rows(path, label_files, Wanted(elsewhere=True, option=option), way)
    found = read_label_file(label_path)
    if found.ndim and len(found) != len(table.X):
        raise DataError(
            f"{label_path} must hold one label for each of the {len(table.X)} rows of {path}, but "
            f"it holds {len(found)}; give the labels of these rows, in their order."
        )
    return replace(table, labels=found, labels_where=str(label_path))


def _pictures(path: Path, labels: str | Path | None, option: str, way: Way) -> Table:
    if labels is not None:
        raise SettingsError(
            f"{option} means nothing to the folder of pictures {path}, whose sub-folders are the "
            "classes; leave it out."
        )
    if way.stream is not None:
        raise SettingsError(
            f"stream (--stream) means nothing to the folder of pictures {path}; leave it out."
        )
    return read_images(
        path, way.tell, image_size=way.image_size, seed=way.seed, progress=way.progress
    )


def _rows(path: Path, label_files: Sequence[Path], wanted: Wanted, way: Way) -> Table:
    """The rows of a file, a folder or a pattern, in memory or left in their files."""
    files = find_shards(path, label_files)
    if files is not None:
        table = open_shards(files, path, wanted, way.tell)
        X = cast(StoredRows, table.X)
        stays = stays_in_files(X, len(files), way.stream, way.tell)
        return table if stays else replace(table, X=X[:])
    read = _reader(path)
    if way.stream and path.suffix.lower() not in STREAMED:
        raise SettingsError(
            f"stream (--stream) is for {', '.join(STREAMED)}, but {path} is none of them; leave it "
            "out, or convert the file."
        )
    if way.stream or (way.stream is None and may_be_large(path)):
        table = open_shards([path], path, wanted, way.tell)
        if stays_in_files(cast(StoredRows, table.X), 1, way.stream, way.tell):
            return table
    return read(path, wanted, way.tell)


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
