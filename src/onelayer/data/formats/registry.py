"""Every file format by its suffix, and rows read from one file, a folder or a pattern.

A new format takes one file in this package and one line of `FORMATS`.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from onelayer.data.formats.arrays import NpyFile, NpzFile, SafetensorsFile
from onelayer.data.formats.base import (
    ColumnSpec,
    ReadOptions,
    RowsFile,
    Table,
    check_columns,
    is_pattern,
    list_folder,
    suffix_of,
    to_array,
)
from onelayer.data.formats.images import read_images
from onelayer.data.formats.tables import ArrowFile, ParquetFile
from onelayer.data.formats.text import CsvFile, read_lines
from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.progress import Log
from onelayer.data.streaming import Shard, ShardedRows
from onelayer.errors import DataError, SettingsError

T = TypeVar("T")

# Loading and splitting rows takes up to three times their bytes.
MEMORY_FRACTION = 0.25

# A compressed file can become so many times larger as it is read.
_MAX_COMPRESSION = 8

FORMATS: dict[str, type[RowsFile]] = {
    ".npy": NpyFile,
    ".npz": NpzFile,
    ".csv": CsvFile,
    ".csv.gz": CsvFile,
    ".tsv": CsvFile,
    ".tsv.gz": CsvFile,
    ".parquet": ParquetFile,
    ".arrow": ArrowFile,
    ".feather": ArrowFile,
    ".safetensors": SafetensorsFile,
}

STREAMED = tuple(suffix for suffix, one in FORMATS.items() if one.streams)


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
        spec, stream = options.columns, ("stream (--stream)", options.stream)
        columns = ("features, drop or id", spec.take or spec.drop or spec.id or None)
        for name, value in ((option, labels), stream, columns):
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
        return _read_rows(path, replace(options.columns, labels=labels, option=option), options)
    where, files = option, list[Path]()
    if names_file(labels):
        where = str(Path(labels).expanduser())
        files = _files_of(Path(where))
    spec = replace(options.columns, elsewhere=True, option=option)
    table = _read_rows(path, spec, options, files)
    parts = [_by_suffix(file, LABELS, " for labels")(file) for file in files]
    parts = parts or [to_array(labels, option)]
    found = parts[0] if len(parts) == 1 else np.concatenate([np.atleast_1d(p) for p in parts])
    if found.ndim and len(found) != len(table.X):
        raise DataError(
            f"{where} must hold one label for each of the {len(table.X)} rows of {path}, but it "
            f"holds {len(found)}; give the labels of these rows, in their order."
        )
    return replace(table, labels=found, labels_where=where)


def read_features(
    path: Path,
    feature_names: Sequence[str] | None,
    log: Log,
    id: str | None = None,  # noqa: A002
) -> Table:
    """The rows of a file, folder or pattern without labels, as a model is given them.

    Of a table's columns those of `feature_names` are taken, in this order; None takes every numeric
    column. Rows that are many stay where they are.
    """
    names = None if feature_names is None else tuple(feature_names)
    spec = ColumnSpec(elsewhere=True, features=names, any_shape=True, id=id)
    return _read_rows(path, spec, ReadOptions(log))


def holds_rows(path: Path) -> bool:
    """Whether a path names rows by its suffix, as a pattern, or as a folder of such files."""
    in_files = is_pattern(path) or (os.path.isdir(path) and holds_shards(path))
    return in_files or suffix_of(path) in FORMATS


def names_file(labels: Any) -> bool:
    """Whether labels are named by a file and not by a column."""
    named = isinstance(labels, str) and suffix_of(Path(labels)) in LABELS
    return named or isinstance(labels, Path)


def holds_shards(folder: Path) -> bool:
    """Whether files of a format that can stay on disk lie in a folder itself."""
    return _files_of(folder) != [folder]


def _files_of(named: Path) -> list[Path]:
    """The files that match a pattern, or that lie in a folder, by name; else the path itself."""
    if is_pattern(named):
        names = sorted(n for n in glob.glob(str(named), recursive=True) if os.path.isfile(n))
        if not names:
            raise DataError(f"no file matches {named}; name a folder or a pattern that matches.")
        return [Path(name) for name in names]
    files = list_folder(named) if os.path.isdir(named) else []
    return [f for f in files if suffix_of(f) in STREAMED and f.is_file()] or [named]


def _read_rows(
    path: Path, spec: ColumnSpec, options: ReadOptions, label_files: Sequence[Path] = ()
) -> Table:
    """The rows of a file, a folder or a pattern, in memory or left in their files."""
    labels = {file.resolve() for file in label_files}
    files = [file for file in _files_of(path) if file == path or file.resolve() not in labels]
    several = path not in files
    if not files:
        raise DataError(f"{path} names no rows but files of labels; name the rows.")
    kinds = [_by_suffix(file, FORMATS, "") for file in files]
    if several and not (kinds[0].streams and len(set(kinds)) == 1):
        raise DataError(
            f"{path} names {', '.join(sorted(set(map(suffix_of, files))))} files, but several "
            f"files are rows where all are of one of the formats {', '.join(STREAMED)}; name them "
            "by a pattern such as '*.npy'."
        )
    if options.stream and not kinds[0].streams:
        raise SettingsError(
            f"stream (--stream) is for {', '.join(STREAMED)}, but {path} is none of them; leave it "
            "out, or convert the file."
        )
    # A line is said once: of several files, and of one that is opened to stream and then loaded.
    logs: list[Log] = [cache(options.log), *[lambda line: None] * (len(files) - 1)]
    opened = [kind(file, spec, log) for kind, file, log in zip(kinds, files, logs, strict=True)]
    # By its size alone a file may hold too many rows for memory, or not.
    most = MEMORY_FRACTION * available_memory() / _MAX_COMPRESSION
    large = several or (kinds[0].streams and path.stat().st_size > most)
    if options.stream or (options.stream is None and large) or several:
        shards = [shard for file in opened if (shard := file.shard()) is not None]
        if len(shards) == len(files):
            table = _in_files(shards, str(path))
            # What is classified is read once.
            if spec.any_shape or _stay_in_files(table.X, len(files), options):
                return table
            return replace(table, X=table.X[:]) if several else opened[0].table()
        if several:
            raise DataError(f"{path}: each of several files must hold rows of features, (N, D).")
    return opened[0].table()


def _by_suffix(path: Path, known: Mapping[str, T], what: str) -> T:
    """What is known for a file's suffix."""
    suffix = suffix_of(path)
    if not os.path.exists(path) and known is FORMATS:
        raise DataError(f"no such file or folder: {path}.")
    if suffix not in known:
        raise DataError(
            f"unsupported file type {path.suffix or '(no suffix)'}{what}: {path}; supported: "
            f"{', '.join(known)}{'' if what else ', and folders of pictures'}."
        )
    return known[suffix]


def _in_files(shards: Sequence[Shard], where: str) -> Table:
    """The rows of files, which stay in them, one file after another."""
    first, found = shards[0], [shard.labels for shard in shards if shard.labels is not None]
    for shard in shards:
        ours, theirs = (f"{one.features} {one.dtype} features" for one in (shard, first))
        if ours != theirs:
            raise DataError(
                f"{shard.path} has rows of {ours} where {first.path} has {theirs}; give every file "
                "rows of one width and type."
            )
        check_columns(str(shard.path), shard.feature_names, str(first.path), first.feature_names)
    X: Any = ShardedRows([replace(shard, labels=None, ids=None) for shard in shards], where)
    labels = np.concatenate(found) if found else None
    ids = None if first.ids is None else np.concatenate([shard.ids for shard in shards])
    names, top = first.feature_names, first.max_value
    return Table(X, labels, where, f"labels of {where}", names, max_value=top, ids=ids)


def _stay_in_files(X: Any, files: int, options: ReadOptions) -> bool:
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
