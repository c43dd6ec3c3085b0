"""Every file format by its suffix, and rows read from one file, a folder or a pattern.

A new format takes one file in this package and one line of `FORMATS`.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats.arrays import NPY, NPZ, SAFETENSORS
from onelayer.data.formats.base import (
    ColumnSpec,
    Format,
    ReadOptions,
    RowsFile,
    Table,
    file_errors,
    is_pattern,
    list_folder,
)
from onelayer.data.formats.images import read_images
from onelayer.data.formats.tables import ARROW, CSV, PARQUET
from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.progress import Log
from onelayer.data.streaming import Shard, ShardedRows, StoredRows
from onelayer.errors import DataError, SettingsError

# Loading and splitting rows takes up to three times their bytes.
MEMORY_FRACTION = 0.25

# A compressed file can become so many times larger as it is read.
_MAX_COMPRESSION = 8


def _read_lines(path: Path) -> NDArray[Any]:
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


FORMATS: dict[str, Format] = {
    ".npy": NPY,
    ".npz": NPZ,
    ".csv": CSV,
    ".parquet": PARQUET,
    ".arrow": ARROW,
    ".feather": ARROW,
    ".safetensors": SAFETENSORS,
    ".txt": Format(labels=_read_lines),
}

SUFFIXES = tuple(suffix for suffix, one in FORMATS.items() if one.open is not None)

STREAMED = tuple(suffix for suffix, one in FORMATS.items() if one.streams)

LABEL_SUFFIXES = tuple(suffix for suffix, one in FORMATS.items() if one.labels is not None)


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
            f"image_size (--image-size) is for a folder of pictures, but {path} is none; leave it "
            "out."
        )
    if labels is None or (isinstance(labels, str) and not names_file(labels)):
        return _read_rows(path, ColumnSpec(labels, option=option), options)
    where, files = option, list[Path]()
    if names_file(labels):
        label_path = Path(labels).expanduser()
        where, files = str(label_path), _files_of(label_path)
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
    column. Rows of a folder or pattern, and of a large file, stay where they are.
    """
    names = None if feature_names is None else tuple(feature_names)
    spec = ColumnSpec(elsewhere=True, features=names, any_shape=True)
    files = find_shards(path)
    if files is not None:
        return open_shards(files, path, spec, log).X
    return _read_rows(path, spec, ReadOptions(log)).X


def holds_rows(path: Path) -> bool:
    """Whether a path names rows by its suffix, as a pattern, or as a folder of such files."""
    in_files = is_pattern(path) or (os.path.isdir(path) and holds_shards(path))
    return in_files or path.suffix.lower() in SUFFIXES


def names_file(labels: Any) -> bool:
    """Whether labels are named by a file and not by a column."""
    named = isinstance(labels, str) and Path(labels).suffix.lower() in LABEL_SUFFIXES
    return named or isinstance(labels, Path)


def holds_shards(folder: Path) -> bool:
    """Whether files of a format that can stay on disk lie in a folder itself."""
    return bool(_in_folder(folder))


def find_shards(named: Path, label_files: Sequence[Path] = ()) -> list[Path] | None:
    """The files with rows that a folder or a pattern stands for, in the order of their names.

    None when it is neither a pattern nor a folder with such files. Files of labels are left out.
    """
    if is_pattern(named):
        files = _files_of(named)
    elif os.path.isdir(named):
        files = _in_folder(named)
    else:
        return None
    labels = {path.resolve() for path in label_files}
    files = [path for path in files if path.resolve() not in labels]
    if not files:
        return None
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


def open_shards(files: Sequence[Path], named: Path, spec: ColumnSpec, log: Log) -> Table:
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
        _check_alike(shard, shards[0])
    return _in_files(shards, str(named))


def _read_rows(
    path: Path, spec: ColumnSpec, options: ReadOptions, label_files: Sequence[Path] = ()
) -> Table:
    """The rows of a file, a folder or a pattern, in memory or left in their files."""
    files = find_shards(path, label_files)
    if files is not None:
        table = open_shards(files, path, spec, options.log)
        X = cast(StoredRows, table.X)
        return table if _stay_in_files(X, len(files), options) else replace(table, X=X[:])
    # A line is said once, though a file may be opened both to be streamed and to be loaded.
    opened = _open(path, spec, cache(options.log))
    streams = path.suffix.lower() in STREAMED
    if options.stream and not streams:
        raise SettingsError(
            f"stream (--stream) is for {', '.join(STREAMED)}, but {path} is none of them; leave it "
            "out, or convert the file."
        )
    if options.stream or (options.stream is None and streams and _may_be_large(path)):
        shard = opened.shard()
        if shard is not None:
            table = _in_files([shard], str(path))
            if _stay_in_files(cast(StoredRows, table.X), 1, options):
                return table
    return opened.table()


def _open(path: Path, spec: ColumnSpec, log: Log) -> RowsFile:
    if not os.path.exists(path):
        raise DataError(f"no such file or folder: {path}.")
    open_file = FORMATS.get(path.suffix.lower(), Format()).open
    if open_file is None:
        raise DataError(
            f"unsupported file type {path.suffix or '(no suffix)'}: {path}; supported: "
            f"{', '.join(SUFFIXES)}, and folders of pictures."
        )
    return open_file(path, spec, log)


def _in_files(shards: Sequence[Shard], where: str) -> Table:
    first = shards[0]
    found = [labels for shard in shards if (labels := shard.labels()) is not None]
    return Table(
        cast(NDArray[Any], ShardedRows(shards, where)),
        np.concatenate(found) if found else None,
        where,
        f"labels of {where}",
        first.feature_names,
        max_value=first.max_value,
    )


def _read_labels(files: Sequence[Path]) -> NDArray[Any]:
    found = []
    for path in files:
        read = FORMATS.get(path.suffix.lower(), Format()).labels
        if read is None:
            raise DataError(
                f"unsupported file type {path.suffix or '(no suffix)'} for labels: {path}; "
                f"supported: {', '.join(LABEL_SUFFIXES)}."
            )
        found.append(read(path))
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


def _check_alike(shard: Shard, first: Shard) -> None:
    ours, theirs = (f"{one.features} {one.dtype} features" for one in (shard, first))
    if ours != theirs:
        raise DataError(
            f"{shard.path} has rows of {ours} where {first.path} has {theirs}; give every file "
            "rows of one width and type."
        )
    for name, expected in zip(shard.feature_names or (), first.feature_names or (), strict=True):
        if name != expected:
            raise DataError(
                f"{shard.path} has the column {name!r} where {first.path} has {expected!r}; give "
                "every file the same columns in the same order."
            )


def _may_be_large(path: Path) -> bool:
    """Whether the rows of a file may be too many for memory, by its size alone."""
    return path.stat().st_size > MEMORY_FRACTION * available_memory() / _MAX_COMPRESSION


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
