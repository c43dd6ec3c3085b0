"""Every file format by its suffix, and rows read from one file, a folder or a pattern.

A new format takes one file in this package and one line of `FORMATS`.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats.arrays import NpyFile, NpzFile, SafetensorsFile
from onelayer.data.formats.base import (
    ColumnSpec,
    ReadOptions,
    RowsFile,
    Table,
    check_columns,
    file_errors,
    is_pattern,
    list_folder,
)
from onelayer.data.formats.images import read_images
from onelayer.data.formats.tables import ArrowFile, CsvFile, ParquetFile
from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.progress import Log
from onelayer.data.streaming import Shard, ShardedRows, StoredRows
from onelayer.errors import DataError, SettingsError

# Loading and splitting rows takes up to three times their bytes.
MEMORY_FRACTION = 0.25

# A compressed file can become so many times larger as it is read.
_MAX_COMPRESSION = 8

FORMATS: dict[str, type[RowsFile]] = {
    ".npy": NpyFile,
    ".npz": NpzFile,
    ".csv": CsvFile,
    ".parquet": ParquetFile,
    ".arrow": ArrowFile,
    ".feather": ArrowFile,
    ".safetensors": SafetensorsFile,
}

STREAMED = tuple(suffix for suffix, one in FORMATS.items() if one.streams)


def read_lines(path: Path) -> NDArray[Any]:
    """The labels of a text file, one a line."""
    with file_errors(path, "text file in UTF-8"):
        lines = [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
    try:
        # Only what is written back alike is a number: "01" and "1_0" are text.
        numbers = [int(line) for line in lines]
        if [str(number) for number in numbers] == lines:
            return np.array(numbers, np.int64)
    except (ValueError, OverflowError):
        pass
    return np.array(lines, object)


# What reads the labels, (N,), of a file that holds nothing else.
LABELS: dict[str, Callable[[Path], NDArray[Any]]] = {
    suffix: one.labels for suffix, one in FORMATS.items() if hasattr(one, "labels")
} | {".txt": read_lines}


def read_table(path: Path, labels: Any, option: str, options: ReadOptions) -> Table:
    """A file, a folder or a pattern with its labels; `option` is what names them in messages.

    The labels are a column or array, a file with one label a row, the labels themselves, or None
    for the usual names.
    """
    if os.path.isdir(path) and not holds_shards(path):
        for name, value in ((option, labels), ("stream (--stream)", options.stream)):
            if value is not None:
                raise SettingsError(
                    f"{name} has no effect on the folder of pictures {path}, whose sub-folders are "
                    "the classes; leave it out."
                )
        return read_images(path, options)
    if options.image_size is not None:
        raise SettingsError(
            f"image_size (--image-size) is for a folder of pictures, which {path} is not; leave it "
            "out."
        )
    if labels is None or (isinstance(labels, str) and not names_file(labels)):
        return _read_rows(path, ColumnSpec(labels, option=option), options)
    where, files = option, list[Path]()
    if names_file(labels):
        where = str(Path(labels).expanduser())
        files = _files_of(Path(where))
    table = _read_rows(path, ColumnSpec(elsewhere=True, option=option), options, files)
    found = _read_labels(files) if files else np.asarray(labels)
    if found.ndim and len(found) != len(table.X):
        raise DataError(
            f"{where} must hold one label for each of the {len(table.X)} rows of {path}, but it "
            f"holds {len(found)}; give the labels of these rows, in their order."
        )
    return replace(table, labels=found, labels_where=where)


def read_features(path: Path, feature_names: Sequence[str] | None, log: Log) -> NDArray[Any]:
    """The rows of a file, folder or pattern without labels, as a model is given them.

    Of a table's columns those of `feature_names` are taken, in this order; None takes every numeric
    column. Rows that are many stay where they are.
    """
    names = None if feature_names is None else tuple(feature_names)
    spec = ColumnSpec(elsewhere=True, features=names, any_shape=True)
    return _read_rows(path, spec, ReadOptions(log)).X


def holds_rows(path: Path) -> bool:
    """Whether a path names rows by its suffix, as a pattern, or as a folder of such files."""
    in_files = is_pattern(path) or (os.path.isdir(path) and holds_shards(path))
    return in_files or path.suffix.lower() in FORMATS


def names_file(labels: Any) -> bool:
    """Whether labels are named by a file and not by a column."""
    named = isinstance(labels, str) and Path(labels).suffix.lower() in LABELS
    return named or isinstance(labels, Path)


def holds_shards(folder: Path) -> bool:
    """Whether files of a format that can stay on disk lie in a folder itself."""
    return bool(_in_folder(folder))


def _read_rows(
    path: Path, spec: ColumnSpec, options: ReadOptions, label_files: Sequence[Path] = ()
) -> Table:
    """The rows of a file, a folder or a pattern, in memory or left in their files."""
    files = _find_shards(path, label_files)
    if files:
        table = _open_shards(files, path, spec, options.log)
        X = cast(StoredRows, table.X)
        return table if _stay_in_files(X, len(files), options) else replace(table, X=X[:])
    # A line is said once, though a file may be opened both to be streamed and to be loaded.
    opened = _open(path, spec, cache(options.log))
    if options.stream and not opened.streams:
        raise SettingsError(
            f"stream (--stream) is for {', '.join(STREAMED)}, but {path} is none of them; leave it "
            "out, or convert the file."
        )
    # By its size alone a file may hold too many rows for memory, or not.
    large = path.stat().st_size > MEMORY_FRACTION * available_memory() / _MAX_COMPRESSION
    if options.stream or (options.stream is None and large):
        shard = opened.shard()
        if shard is not None:
            table = _in_files([shard], str(path))
            if _stay_in_files(cast(StoredRows, table.X), 1, options):
                return table
    return opened.table()


def _find_shards(named: Path, label_files: Sequence[Path]) -> list[Path]:
    """The files with rows, but those of labels, that a folder or a pattern stands for, by name."""
    files = list[Path]()
    if is_pattern(named):
        files = _files_of(named)
    elif os.path.isdir(named):
        files = _in_folder(named)
    labels = {path.resolve() for path in label_files}
    files = [path for path in files if path.resolve() not in labels]
    for path in files:
        if path.suffix.lower() not in STREAMED:
            raise DataError(
                f"{path} cannot be one of several files, which are {', '.join(STREAMED)}; name a "
                "pattern that leaves it out."
            )
        if FORMATS[path.suffix.lower()] is not FORMATS[files[0].suffix.lower()]:
            raise DataError(
                f"{named} holds files of several formats, such as {files[0].name} and {path.name}; "
                "name one format by a pattern such as '*.npy'."
            )
    return files


def _open_shards(files: Sequence[Path], named: Path, spec: ColumnSpec, log: Log) -> Table:
    """Files of one format as rows that stay in them, one file after another."""
    shards: list[Shard] = []
    for path in files:
        # Ignored columns are the same in all files.
        shard = _open(path, spec, log if not shards else lambda line: None).shard()
        if shard is None:
            raise DataError(
                f"{path} must hold rows of features, (N, D), to be one of several files."
            )
        shards.append(shard)
        ours, first = (f"{one.features} {one.dtype} features" for one in (shard, shards[0]))
        if ours != first:
            raise DataError(
                f"{path} has rows of {ours} where {files[0]} has {first}; give every file rows of "
                "one width and type."
            )
        check_columns(str(path), shard.feature_names, str(files[0]), shards[0].feature_names)
    return _in_files(shards, str(named))


def _open(path: Path, spec: ColumnSpec, log: Log) -> RowsFile:
    if not os.path.exists(path):
        raise DataError(f"no such file or folder: {path}.")
    if path.suffix.lower() not in FORMATS:
        raise DataError(
            f"unsupported file type {path.suffix or '(no suffix)'}: {path}; supported: "
            f"{', '.join(FORMATS)}, and folders of pictures."
        )
    return FORMATS[path.suffix.lower()](path, spec, log)


def _in_files(shards: Sequence[Shard], where: str) -> Table:
    first, found = shards[0], [shard.labels for shard in shards if shard.labels is not None]
    return Table(
        cast(NDArray[Any], ShardedRows([replace(s, labels=None) for s in shards], where)),
        np.concatenate(found) if found else None,
        where,
        f"labels of {where}",
        first.feature_names,
        max_value=first.max_value,
    )


def _read_labels(files: Sequence[Path]) -> NDArray[Any]:
    found = []
    for path in files:
        if path.suffix.lower() not in LABELS:
            raise DataError(
                f"unsupported file type {path.suffix or '(no suffix)'} for labels: {path}; "
                f"supported: {', '.join(LABELS)}."
            )
        found.append(LABELS[path.suffix.lower()](path))
    return found[0] if len(found) == 1 else np.concatenate([np.atleast_1d(one) for one in found])


def _files_of(named: Path) -> list[Path]:
    """The file itself, or those that match a pattern, in the order of their names as text."""
    if not is_pattern(named):
        return [named]
    found = sorted(name for name in glob.glob(str(named), recursive=True) if os.path.isfile(name))
    if not found:
        raise DataError(f"no file matches {named}; name a folder or a pattern that matches some.")
    return [Path(name) for name in found]


def _in_folder(folder: Path) -> list[Path]:
    files = (path for path in list_folder(folder) if path.suffix.lower() in STREAMED)
    return [path for path in files if path.is_file()]


def _stay_in_files(X: StoredRows, files: int, options: ReadOptions) -> bool:
    """Whether rows are read as they are needed, and not once into memory."""
    left = available_memory()
    stay = X.nbytes > MEMORY_FRACTION * left if options.stream is None else options.stream
    if stay:
        why = f"more than a quarter of the {format_bytes(left)} of available memory"
        options.log(
            f"{X.where}: {format_bytes(X.nbytes)} of rows in {files} "
            f"file{'s' if files > 1 else ''} stay on disk, "
            f"{'as requested' if options.stream else why}; {X.tile_rows:,} are read at a time."
        )
    return stay
