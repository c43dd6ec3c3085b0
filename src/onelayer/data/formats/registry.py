"""Every file format by its suffix, and rows read from one file, a folder or a pattern.

A new format takes one file in this package and one line of `FORMATS`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from onelayer.data.classes import join_labels, lists_of
from onelayer.data.formats import base
from onelayer.data.formats.arrays import (
    ArraysFile,
    Located,
    NpyFile,
    NpzFile,
    SafetensorsFile,
    arrays_of_parts,
)
from onelayer.data.formats.hdf5 import Hdf5File
from onelayer.data.formats.images import PICTURES, read_images, read_pictures, sub_folders
from onelayer.data.formats.pytorch import PytorchFile
from onelayer.data.formats.svmlight import SvmlightFile, number_columns
from onelayer.data.formats.tables import ArrowFile, ParquetFile
from onelayer.data.formats.text import CsvFile, label_array, read_lines
from onelayer.data.formats.zarr import ZarrFolder
from onelayer.data.identity import match_parts
from onelayer.data.memory import available_memory, format_bytes
from onelayer.data.progress import Log
from onelayer.data.sparse import SparseRows, sparse_rows
from onelayer.data.streaming import LoadedShard, Shard, ShardedRows, even_blocks
from onelayer.errors import DataError, SettingsError, home_path, require_file

T = TypeVar("T")

# Loading and splitting rows takes up to three times their bytes.
MEMORY_FRACTION = 0.25

FORMATS: dict[str, type[base.RowsFile]] = {
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
    ".pt": PytorchFile,
    ".pth": PytorchFile,
    ".h5": Hdf5File,
    ".hdf5": Hdf5File,
    ".zarr": ZarrFolder,
    **{
        suffix + packed: SvmlightFile
        for suffix in (".svm", ".svmlight", ".libsvm")
        for packed in ("", ".gz", ".bz2")
    },
}

STREAMED = tuple(suffix for suffix, one in FORMATS.items() if one.streams)


# What reads the labels, (N,), of a file that holds nothing else.
LABELS: dict[str, Callable[[Path], NDArray[Any]]] = {
    suffix: one.labels for suffix, one in FORMATS.items() if hasattr(one, "labels")
} | {".txt": read_lines}


def read_table(path: Path, labels: Any, option: str, options: base.ReadOptions) -> base.Table:
    """Rows with labels: a column, a file with one a row, the labels, or None: the usual names."""
    if base.is_folder(path) and not holds_shards(path):
        _refuse_nested(path)
        spec, stream = options.columns, ("stream (--stream)", options.stream)
        columns = ("features, drop or id", spec.take or spec.drop or spec.id or None)
        for name, value in ((option, labels), stream, columns, *spec.beside.items()):
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
    where, label_files = option, list[Path]()
    if names_file(labels):
        where = str(home_path(labels))
        label_files = _files_of(Path(where))
    spec = replace(options.columns, elsewhere=True, option=option)
    table = _read_rows(path, spec, options, label_files)
    parts = [read_labels(file) for file in label_files]
    parts = parts or [np.atleast_1d(base.to_array(lists_of(labels), option))]
    if len(parts) > 1 and len(parts) == len(table.files):
        for (file, rows), label_file, part in zip(table.files, label_files, parts, strict=True):
            _check_count(str(label_file), len(part), str(file), rows)
    found = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if found.ndim:
        _check_count(where, len(found), str(path), len(table.X))
    if len(table.files) > 1:
        names = [file.name for file, _ in table.files]
        if len(set(names)) < len(names):
            names = [f"{file.parent.name}/{file.name}" for file, _ in table.files]
        listed = ", ".join(names if len(names) < 4 else [*names[:2], f"… {names[-1]}"])
        options.log(
            f"{where}: one label for each row of {len(names)} files in natural order, {listed}."
        )
    return replace(table, labels=found, labels_where=where)


def read_labels(path: Path) -> NDArray[Any]:
    """The labels of a file that holds nothing else, one a row."""
    return np.atleast_1d(_by_suffix(path, LABELS, " for labels")(path))


def read_values(given: Any, option: str) -> NDArray[Any] | None:
    """One value a row, from a file that holds nothing else or from memory."""
    if given is None:
        return None
    named = names_file(given)
    return read_labels(home_path(given)) if named else base.to_array(given, option)


def _check_count(where: str, labels: int, path: str, rows: int) -> None:
    if labels != rows:
        raise DataError(
            f"{where} must hold one label for each of the {rows} rows of {path}, but it holds "
            f"{labels}; give the labels of these rows, in their order."
        )


def located_arrays(path: Path) -> Located:
    """What locates and checks each array of a file of arrays, by name; an only one may have none.

    Empty where the file is none.
    """
    kind = FORMATS.get(base.suffix_of(path))
    if kind is None or not issubclass(kind, ArraysFile) or not os.path.exists(path):
        return {}
    with base.file_errors(path, kind.kind):
        return kind.arrays(path)


def parts_in_arrays(path: Path) -> dict[str, Path]:
    """The parts that a file has arrays for, X_train and X_test; empty where it has none."""
    return dict.fromkeys(arrays_of_parts([*located_arrays(path)]), path)


def read_features(
    path: Path,
    feature_names: Sequence[str] | None,
    log: Log,
    id: str | None = None,  # noqa: A002
    image_shape: tuple[int, int, int] | None = None,
) -> base.Table:
    """Rows without labels: a model's features in order or all numbers; pictures of a form."""
    if not (base.is_folder(path) and holds_shards(path)) and base.suffix_of(path) not in FORMATS:
        table = read_pictures(path, log, image_shape)
        if table is not None and id is not None:
            raise SettingsError(
                f"--id has no effect on {path}: pictures are named by their files; leave it out."
            )
        if table is not None:
            return table
        if base.is_folder(path):
            _refuse_nested(path)
            raise DataError(
                f"{path} holds no rows: no file of {', '.join(FORMATS)}, and no picture "
                f"({', '.join(PICTURES)})."
            )
    names = None if feature_names is None else tuple(feature_names)
    spec = base.ColumnSpec(elsewhere=True, features=names, any_shape=True, id=id)
    return number_columns({"": _read_rows(path, spec, base.ReadOptions(log))})[""]


def _refuse_nested(folder: Path) -> None:
    """Raise `DataError` where files of rows lie in sub-folders, which are then to be named."""
    held = []
    for place in sub_folders(folder):
        pictures = any(path.suffix.lower() in PICTURES for path in base.list_folder(place))
        held += [str(place)] if holds_shards(place) and not pictures else []
    if held:
        more = ", …" if len(held) > 3 else ""
        raise DataError(
            f"{folder} has its rows in sub-folders; name {' or '.join(held[:3])}{more}."
        )


def names_file(labels: Any) -> bool:
    """Whether labels are named by a file and not by a column."""
    named = isinstance(labels, str) and base.suffix_of(Path(labels)) in LABELS
    return named or isinstance(labels, Path)


def holds_shards(folder: Path) -> bool:
    """Whether files of rows lie in a folder, or in folders such as label=cat in it."""
    return bool(files_in(folder))


def files_in(folder: Path) -> list[Path]:
    """The files of rows of a folder, in natural order.

    They are those that can stay on disk or, where there are none and no sub-folders, of any format;
    those that `save_to_disk` of Hugging Face lists, without its caches; or those of folders with
    names such as label=cat.
    """
    state = folder / "state.json"
    if os.path.isfile(state) and os.path.isfile(folder / "dataset_info.json"):
        with base.file_errors(state, "state of a data set"):
            files = json.loads(state.read_text("utf-8"))["_data_files"]
            names = [Path(file["filename"]).name for file in files]
            if any("\0" in name for name in names):
                raise ValueError("the name of a file holds a null byte")
            return [folder / name for name in names]
    entries = base.list_folder(folder)
    files = [file for file in entries if base.suffix_of(file) in FORMATS and file.is_file()]
    folders = [entry for entry in entries if os.path.isdir(entry)]
    shards = [file for file in files if base.suffix_of(file) in STREAMED]
    keyed = [entry for entry in folders if "=" in entry.name]
    nested = [file for entry in keyed for file in files_in(entry)]
    return shards or nested or ([] if folders else files)


def parts_in_files(folder: Path) -> dict[str, Path]:
    """The files of each part, where names begin with train and test; empty for one part."""
    begins: dict[str, list[Path]] = {}
    for file in (file for file in files_in(folder) if file.parent == folder):
        letters = re.split("[^a-z]", file.name, maxsplit=1, flags=re.IGNORECASE)[0]
        begins.setdefault(letters, []).append(file)
    if len(begins) < 2 or not any(base.PARTS.get(begin.lower()) == "train" for begin in begins):
        return {}
    parts: dict[str, Path] = {}
    for begin, files in begins.items():
        part, first = base.PARTS.get(begin.lower()), files[0]
        if part is None:
            raise DataError(
                f"{folder} has files of training rows and so is taken as split, but the name of "
                f"{first.name} begins with none of {', '.join(base.PARTS)}; move it elsewhere, or "
                "name each part with train, validation and test."
            )
        if part in parts:
            raise DataError(f"{folder} holds {part} twice, as {first.name} too; keep one.")
        suffix = first.name[-len(base.suffix_of(first)) :]
        parts[part] = first if len(files) == 1 else first.with_name(f"{begin}*{suffix}")
    return parts


def _files_of(named: Path) -> list[Path]:
    """The files that match a pattern, or that lie in a folder; else the path itself."""
    if base.is_pattern(named):
        return base.match_pattern(named)
    return (files_in(named) if base.is_folder(named) else []) or [named]


def _read_rows(
    path: Path, spec: base.ColumnSpec, options: base.ReadOptions, label_files: Sequence[Path] = ()
) -> base.Table:
    """The rows of a file, a folder or a pattern, in memory or left in their files."""
    labels = {file.resolve() for file in label_files}
    files = [file for file in _files_of(path) if file == path or file.resolve() not in labels]
    several = path not in files
    if not files:
        raise DataError(f"{path} names no rows but files of labels; name the rows.")
    kinds = [_by_suffix(file, FORMATS, "") for file in files]
    if len(set(kinds)) > 1:
        raise DataError(
            f"{path} names {', '.join(sorted(set(map(base.suffix_of, files))))} files, but several "
            "files are rows where all are of one format; name them by a pattern such as '*.npy'."
        )
    streams = kinds[0].streams
    if options.stream and not streams:
        raise SettingsError(
            f"stream (--stream) is for {', '.join(STREAMED)}, but {path} is none of them; leave it "
            "out, or convert the file."
        )
    # A line is said once: of several files, and of one that is opened to stream and then loaded.
    log = cache(options.log)
    if several:
        return _read_several(path, files, spec, replace(options, log=log))
    opened = kinds[0](path, spec, log)
    # By its size alone a file may hold too many rows for memory, or not: a compressed one can
    # become eight times as large as it is read.
    most = MEMORY_FRACTION * available_memory() / 8
    large = options.stream is None and streams and base.size_of(path) > most
    if (options.stream or large) and (shard := opened.shard()) is not None:
        table = _in_files([shard], str(path), log)
        # What is classified is read once.
        if spec.any_shape or _stay_in_files(table.X, 1, options):
            return table
    return opened.table()


def _read_several(
    path: Path, files: Sequence[Path], spec: base.ColumnSpec, options: base.ReadOptions
) -> base.Table:
    """The rows of several files, one after another; columns that folders name are no features."""
    used = {folder for file in files for folder in file.parents}
    entries = base.list_folder(path) if path.is_dir() else []
    if others := [entry.name for entry in entries if entry.is_dir() and entry not in used]:
        options.log(f"{path}: ignored sub-folders: {', '.join(others)}.")
    keys = [_folder_keys(file, path) for file in files]
    label = _key_of_labels(keys[0], spec)
    spec = replace(spec, elsewhere=spec.elsewhere or label is not None, in_folders=tuple(keys[0]))
    if ignored := [f"{key} (in names of folders)" for key in keys[0] if key != label]:
        options.log(f"{path}: ignored columns that are no features: {', '.join(ignored)}.")
    shards, counts, streams = list[Shard](), list[tuple[Path, int]](), False
    values, lowest = list[str](), list[int]()
    for file, found in zip(files, keys, strict=True):
        kind = _by_suffix(file, FORMATS, "")
        # A line about columns is said once.
        opened = kind(file, spec, options.log if not shards else lambda line: None)
        streams = kind.streams
        try:
            loaded = None if streams else opened.table()
            shard = opened.shard() if loaded is None else _loaded(loaded, file)
        except base.NoRowsError:
            counts.append((file, 0))
            options.log(f"{file}: skipped, because it has no rows.")
            continue
        if shard is None:
            raise DataError(f"{path}: each of several files must hold rows of features, (N, D).")
        shards.append(shard)
        lowest += [] if loaded is None or loaded.lowest_index is None else [loaded.lowest_index]
        counts.append((file, int(shard.blocks[-1])))
        if label is not None:
            if label not in found:
                raise DataError(f"{file} lies in no folder {label}=…, as {files[0]} does; move it.")
            values += [found[label]] * counts[-1][1]
    if not shards:
        raise DataError(f"{path}: none of its {len(files)} files has rows; give at least one row.")
    if lowest:  # files of numbered columns, each of which has those up to its largest number
        width = max(shard.features for shard in shards)
        shards = [_widened(shard, width) for shard in shards]
    table = replace(_in_files(shards, str(path), options.log), files=tuple(counts))
    table = replace(table, lowest_index=min(lowest, default=None))
    if label is not None:
        table = replace(
            table, labels=label_array(values), labels_where=f"{path}, folders {label}=…"
        )
    # What is classified is read once.
    if streams and (spec.any_shape or _stay_in_files(table.X, len(files), options)):
        return table
    return replace(table, X=_joined(shards, table))


def _by_suffix(path: Path, known: Mapping[str, T], what: str) -> T:
    suffix = base.suffix_of(path)
    try:
        require_file(path)
    except FileNotFoundError as error:
        raise base.not_found(path) from error
    except OSError as error:
        if not isinstance(error, IsADirectoryError):  # which is explained below
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if suffix not in known:
        base.refuse_unread(path)
        raise DataError(
            f"unsupported file type {path.suffix or '(no suffix)'}{what}: {path}; supported: "
            f"{', '.join(known)}{'' if what else ', and folders of pictures'}."
        )
    return known[suffix]


def _folder_keys(file: Path, folder: Path) -> dict[str, str]:
    """The columns that the folders of a file name below another folder: label=cat."""
    if folder not in file.parents:
        return {}
    parts = file.relative_to(folder).parts[:-1]
    pairs = (part.partition("=") for part in parts)
    return {unquote(key): unquote(value) for key, _, value in pairs}


def _key_of_labels(keys: Mapping[str, str], spec: base.ColumnSpec) -> str | None:
    """The one of the columns that folders name that holds the labels, if any does."""
    if spec.elsewhere:
        return None
    if spec.labels is not None:
        return spec.labels if spec.labels in keys else None
    usual = [key for key in keys if key.lower() in base.LABEL_NAMES]
    return usual[0] if len(usual) == 1 else None


def _loaded(table: base.Table, path: Path) -> LoadedShard:
    """The rows of a file in memory, as those of one of several files."""
    rows, features = table.X.shape
    blocks = even_blocks(rows, max(1, features) * table.X.dtype.itemsize)
    names, top = table.feature_names, table.max_value
    return LoadedShard(
        path, blocks, features, table.X.dtype, names, top, table.labels, table.ids, table.X,
        beside=table.beside,
    )  # fmt: skip


def _widened(shard: Any, width: int) -> Any:
    """The sparse rows of a file with more columns, of which they have no values."""
    return replace(shard, X=shard.X.renumbered(0, width), features=width)


def _joined(shards: Sequence[Any], table: base.Table) -> Any:
    """The rows of all files in memory, sparse where those of every file are."""
    parts = [sparse_rows(getattr(shard, "X", None)) for shard in shards]
    whole = [part for part in parts if part is not None]
    if not whole:
        return table.X[:]
    if len(whole) < len(parts):
        one, other = (shards[[p is None for p in parts].index(of)].path for of in (False, True))
        raise DataError(f"{one} has sparse rows, but {other} has not; write all files alike.")
    return SparseRows.stack(whole)


def _in_files(shards: Sequence[Shard], where: str, log: Log) -> base.Table:
    """The rows of files, one file after another; columns in another order go by their names."""
    first, found = shards[0], [shard.labels for shard in shards if shard.labels is not None]
    names, ordered = first.feature_names, []
    for shard in shards:
        place = str(shard.path)
        if match_parts(shard.feature_names, names, place, str(first.path), log) is not None:
            shard = shard.in_order(names or ())
        if shard.features != first.features:
            raise DataError(
                f"{shard.path} has rows of {shard.features} features where {first.path} has "
                f"{first.features}; give every file rows of one width."
            )
        ordered.append(replace(shard, labels=None, ids=None, beside={}))
    dtypes = dict.fromkeys(shard.dtype for shard in shards)
    common = np.result_type(*dtypes)
    if len(dtypes) > 1:
        held = " and ".join(map(str, dtypes))
        log(f"{where}: the files hold {held} features; all are read as {common}.")
    X: Any = ShardedRows(ordered, where).astype(common)
    labels = join_labels(found) if found else None
    ids = None if first.ids is None else join_labels([shard.ids for shard in shards])
    beside = {of: join_labels([shard.beside[of] for shard in shards]) for of in first.beside}
    top = max(shard.max_value for shard in shards) if common == np.uint8 else 1.0
    return base.Table(
        X, labels, where, f"labels of {where}", names, max_value=top, ids=ids, beside=beside
    )


def _stay_in_files(X: Any, files: int, options: base.ReadOptions) -> bool:
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
