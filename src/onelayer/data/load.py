"""`load`: a name, file, folder or data frame in; training, validation and test rows out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onelayer.data.classes import label_type, name_classes, note_spaces, number_labels, one_a_row
from onelayer.data.dataset import Dataset, SplitCard, Splits
from onelayer.data.datasets import layout
from onelayer.data.datasets.decode import holds_files
from onelayer.data.datasets.named import load_cifar10, load_cifar100, load_digits
from onelayer.data.formats.arrays import arrays_of_parts, arrays_table, is_arrays
from onelayer.data.formats.base import (
    PARTS,
    ColumnSpec,
    ReadOptions,
    Table,
    file_errors,
    is_folder,
    is_pattern,
    not_found,
)
from onelayer.data.formats.images import in_one_form, parse_size, parts_of, sub_folders
from onelayer.data.formats.registry import (
    holds_shards,
    names_file,
    parts_in_arrays,
    parts_in_files,
    read_table,
    read_values,
)
from onelayer.data.formats.svmlight import number_columns
from onelayer.data.formats.tables import frame_table, is_frame, note_other_order
from onelayer.data.identity import match_parts, take_columns
from onelayer.data.progress import Log, print_line
from onelayer.data.split import (
    IDENTICAL,
    TEST_SIZE,
    VALIDATION_SIZE,
    check_split,
    redraw,
    split_dataset,
    take_parts,
)
from onelayer.errors import DataError, SettingsError, home_path, known_options, printable

DIGITS, CIFAR10, CIFAR100, OWN = "digits", "cifar10", "cifar100", "own"

# The options of rows of one's own, and those that have another default than None.
_OPTIONS = (
    "labels", "test", "test_labels", "test_size", "validation", "validation_labels",
    "validation_size", "split_seed", "split", "groups", "weights", "offsets", "features", "drop",
    "id", "image_size", "stream",
)  # fmt: skip
_DEFAULTS = {"test_size": TEST_SIZE, "validation_size": VALIDATION_SIZE, "split_seed": 0}
_BATCHES = (1,), (2,)

# Options that may name a column which is no feature.
_BESIDE = ("groups", "split", "weights", "offsets")


@known_options
def load(
    source: Any = None,
    *,
    labels: Any = None,
    test: Any = None,
    test_labels: Any = None,
    test_size: float = TEST_SIZE,
    validation: Any = None,
    validation_labels: Any = None,
    validation_size: float = VALIDATION_SIZE,
    split_seed: int = 0,
    split: Any = None,
    groups: Any = None,
    weights: Any = None,
    offsets: Any = None,
    features: str | Sequence[str] | None = None,
    drop: str | Sequence[str] | None = None,
    id: str | None = None,  # noqa: A002
    classes: Sequence[str] = (),
    image_size: int | str | tuple[int, int] | None = None,
    stream: bool | None = None,
    train_batches: Sequence[int] = _BATCHES[0],
    validation_batches: Sequence[int] = _BATCHES[1],
    progress: bool = True,
    log: Log | None = None,
) -> Splits:
    """Load training, validation and test rows.

    Args:
        source: one of

            - None or "cifar10", "cifar100": from the cache, which is filled from the network when
              needed; "digits" for scikit-learn's digits;
            - a file (.npy, .npz, .csv, .svm, .parquet, .arrow, .feather, .safetensors, .pt, .h5) or
              a .zarr, a folder of such files, or a pattern ("shards/*.npy"), part-2 before part-10;
              a folder of folders such as label=cat; what `save_to_disk` of Hugging Face wrote.
              Folders or files named train, validation and test are the split, and so are arrays of
              a file called X_train, y_train, X_test, …;
            - a folder of pictures with a sub-folder for each class, or one with CIFAR's files or
              archives ("./digits" is a folder, and so is cifar10 where such a folder exists);
            - a data frame in memory (pandas, polars, a pyarrow Table, a Dataset of Hugging Face),
              an array or tensor (NumPy, PyTorch, JAX), a sparse array of SciPy, or a dict of
              arrays, or of data frames called train, validation and test.
        labels: the column or array that holds the labels (default: the one called label, labels, y,
            target or class), a file with one label a row, or the labels themselves: an array, a
            Series or a list, (N,). Of many labels a row a column of lists, columns of 0 and 1
            ("is_*", or names with commas), or a matrix (N, K) of 0 and 1.
        test: the test rows: a file, folder, pattern or data frame. Default: `test_size` of the
            rows is held out.
        test_labels: as `labels`, for `test`. Default: the same column.
        test_size: fraction of the rows that is held out for testing without `test`, above 0 and
            below 1.
        validation: the validation rows, as `test`. Default: `validation_size` of the rows that are
            left is held out.
        validation_labels: as `labels`, for `validation`. Default: the same column.
        validation_size: fraction of the rows left after the test rows are held out.
        split_seed: random seed of the train/validation/test split, 0 or above.
        split: what says train, validation or test of each row: a column or array of its file, a
            file with one word a row, or the words, (N,). A part that none names is held out.
        groups: the column, array or file with the group of each row, such as its patient, or the
            groups, (N,). No group is in two parts or folds: `Dataset.groups`. Or "identical": rows
            of the same values are in one part, which then depends on the seed and these values
            alone, whatever rows are added.
        weights: the column or array with the weight of each row, of every part; a file with one
            number a row, or the weights, (N,), of the rows of `source`: `Dataset.weights`. Rows of
            weight 0 are left out.
        offsets: as `weights`, what is added to the scores: of two classes a column or one number a
            row, which is the second's; else a file or an array (N, K): `Dataset.offsets`.
        features: columns of a table that are features: names or patterns ("x*"), a list or a text
            with commas. Default: all of numbers but the labels and a data frame's index.
        drop: columns that are none, as `features`.
        id: the column that names each row; it becomes `Dataset.ids`, and no feature. The part of a
            row then depends on the seed and its id alone, whatever rows are added.
        classes: names of classes that a model knows, which come first even where the rows have
            none of them; for data of your own.
        image_size: side, or (height, width), in pixels, that pictures are resized to.
        stream: whether rows stay in their files and are read as needed. None: where they would take
            more than a quarter of the available memory (docs/guide/larger-than-memory.md).
        train_batches: CIFAR-10's training batches, numbers from 1 to 5.
        validation_batches: CIFAR-10's validation batches, numbers from 1 to 5.
        progress: whether to show progress bars.
        log: callback for one-line messages: ignored columns, conversions, failed sources. None
            prints them on the standard error stream.

    Returns:
        The rows as stored. Fractions are stratified: each class by its fraction.

    Raises:
        DataError: when a file, folder or data frame is missing or not valid.
        SourceError: when no source works; it lists each with its reason.
        SettingsError: for options outside their range or without effect on this data set.

    Example:
        >>> splits = load("digits")
        >>> splits.train.X.shape, splits.train.X.dtype, splits.train.image_shape
        ((1000, 64), dtype('uint8'), (1, 8, 8))
    """
    given = locals()
    options = {name: given[name] for name in _OPTIONS}
    batches = (tuple(train_batches), tuple(validation_batches))
    found = _load_unsplit(source, options, tuple(classes), batches, progress, log)
    if isinstance(found, Splits):
        return found
    say = _escaping(log)
    splits = _split(*found, options, say)
    train = splits.train
    changes = 0 if train.many_labels else np.count_nonzero(np.diff(train.y))
    if changes == train.classes - 1 and train.rows > 2 * train.classes:
        say(
            f"{train.name}: the training rows are sorted by class; keep shuffling on, because "
            "batches in file order hold a single class."
        )
    return splits


def load_for(
    source: Any,
    card: SplitCard | None,
    names: Sequence[str] | None,
    image_shape: tuple[int, int, int] | None,
    *,
    whole: bool = True,
    **options: Any,
) -> Splits | Dataset:
    """Load rows for a model: the splits that it was made from, or else all rows as one data set.

    Pictures are brought into the model's form. Unless `whole`, rows are split as the options say.
    """
    given: dict[str, Any] = dict.fromkeys(_OPTIONS) | _DEFAULTS | options
    classes = tuple(given.pop("classes", ()))
    known = tuple(names or ())
    found = _load_unsplit(source, given, classes, _BATCHES, True, None, image_shape, known)
    if isinstance(found, Splits):
        return found
    rows, parts = found
    if parts or not whole:
        return _split(rows, parts, given)
    rows = rows.with_features(names, "the model")
    drawn = None if card is None else redraw(rows, card)
    return rows if drawn is None else drawn


def _split(
    whole: Dataset, parts: Mapping[str, Dataset], options: Mapping[str, Any], *log: Log
) -> Splits:
    how: dict[str, Any] = {name: options[name] for name in ("test_size", "validation_size")}
    how |= {"by_id": options["id"] is not None, "identical": _is_identical(options["groups"])}
    return split_dataset(whole, parts, *log, seed=options["split_seed"], **how)


def _load_unsplit(
    source: Any,
    options: Mapping[str, Any],
    classes: tuple[str, ...],
    batches: tuple[tuple[int, ...], tuple[int, ...]],
    progress: bool,
    log: Log | None,
    image_shape: tuple[int, int, int] | None = None,
    known: tuple[str, ...] = (),
) -> Splits | tuple[Dataset, dict[str, Dataset]]:
    """The splits of a data set that has its own; else the rows to split, and the parts given."""
    _check(options)
    kind, path = _locate(source)
    if kind != CIFAR10 and batches != _BATCHES:
        name = "data in memory" if _in_memory(source) else source
        raise SettingsError(
            f"train_batches and validation_batches have no effect on {name}; leave them out."
        )
    if kind == CIFAR10:
        if path is None or holds_files(path, layout.CIFAR10):
            _refuse(options, set(options), "CIFAR-10, which is split by its batches")
        return load_cifar10(
            path, train_batches=batches[0], validation_batches=batches[1], progress=progress,
            log=log,
        )  # fmt: skip
    if kind == DIGITS:
        _refuse(options, set(options), "the digits, whose split is fixed")
        return load_digits()
    if path is not None and not is_pattern(path):
        _require_there(path)
    say, seed = _escaping(log), options["split_seed"]
    if kind == CIFAR100:
        others = set(options) - {"validation_size", "split_seed"}
        _refuse(options, others, "CIFAR-100, which has its own test rows")
        return load_cifar100(
            path, validation_size=options["validation_size"], split_seed=seed, log=say,
            progress=progress,
        )  # fmt: skip
    if _in_memory(source):
        _refuse(options, {"image_size", "stream"}, "data in memory")
    for name in ("labels", *_BESIDE):
        note_other_order(source, options[name], name, "data frame", say)
    for role in ("test", "validation"):
        name = f"{role}_labels"
        note_other_order(options[role], options[name], name, f"{role} data frame", say)
    take, drop = _names(options["features"]), _names(options["drop"]) or ()
    beside = {name: options[name] for name in _BESIDE if _is_column(options[name])}
    spec = ColumnSpec(take=take, drop=drop, id=options["id"], beside=beside, known=known)
    size = options["image_size"]
    read = ReadOptions(say, parse_size(size), seed, progress, options["stream"], spec, image_shape)
    tables = _read_parts(source if path is None else path, options, read)
    whole, parts = _number(tables, classes, say)
    own = {
        name: read_values(options[name], f"{name} (--{name})")
        for name in _BESIDE
        if not _is_column(options[name]) and not _is_identical(options[name])
    }
    elsewhere: dict[str, Any] = {
        name: own[name] for name in ("groups", "weights", "offsets") if own.get(name) is not None
    }
    whole = replace(whole, **elsewhere) if elsewhere else whole
    return take_parts(whole, own.get("split", tables["train"].beside.get("split")), parts)


def _is_column(value: Any) -> bool:
    """Whether it names a column or array of the rows' own file."""
    return isinstance(value, str) and not names_file(value) and not _is_identical(value)


def _is_identical(groups: Any) -> bool:
    return isinstance(groups, str) and groups == IDENTICAL


def _escaping(log: Log | None) -> Log:
    return lambda line: (log or print_line)(printable(line))


def names_data_set(source: str) -> bool:
    """Whether a source is a known data set, by its name, its archive or its folder's files."""
    kind, path = _locate(source)
    layouts = (layout.CIFAR10, layout.CIFAR100)
    if path is not None and os.path.isdir(path):
        return any(holds_files(path, data_set) for data_set in layouts)
    return kind != OWN


def names_cifar10(source: Any) -> bool:
    """Whether `load` takes this source for CIFAR-10, whose rows are named by their batches."""
    return _locate(source)[0] == CIFAR10


def _check(options: Mapping[str, Any]) -> None:
    """Raise `SettingsError` for options of `load` that are out of range or exclude each other."""
    check_split(options["test_size"], options["validation_size"], options["split_seed"])
    parse_size(options["image_size"])
    for role in ("test", "validation"):
        part, size, labels = (options[role + more] for more in ("", "_size", "_labels"))
        if isinstance(part, int | float):
            raise SettingsError(
                f"{role} (--{role}) must name a file, folder or data frame, but it is {part}; "
                f"a fraction is given by {role}_size (--{role}-size)."
            )
        if part is not None and size != _DEFAULTS[f"{role}_size"]:
            raise SettingsError(
                f"give either {role} (--{role}) or {role}_size (--{role}-size), not both."
            )
        if part is None and labels is not None:
            raise SettingsError(
                f"{role}_labels (--{role}-labels) needs {role} (--{role}), which is not given; "
                "name the rows or leave the labels out."
            )


def _refuse(options: Mapping[str, Any], names: Set[str], data: str) -> None:
    """Raise `SettingsError` for options of these names, if set: they have no effect on the data."""
    for name in options:
        value, default = options[name], _DEFAULTS.get(name)
        if name in names and value is not None and (default is None or value != default):
            option = name.replace("_", "-")
            raise SettingsError(f"{name} (--{option}) has no effect on {data}; leave it out.")


def _names(named: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of columns: a list, or a text with commas between them."""
    if isinstance(named, str):
        return tuple(name.strip() for name in named.split(","))
    return None if named is None else tuple(named)


def _locate(source: Any) -> tuple[str, Path | None]:
    """The kind of a data source, and its path unless it is a known name or a data frame."""
    if source is None or _in_memory(source):
        return CIFAR10 if source is None else OWN, None
    if not isinstance(source, str | Path):
        raise DataError(
            f"the data source must be a name, path, data frame, array or dict of arrays, but it is "
            f"a {type(source).__name__}."
        )
    if source == "":
        raise DataError("the data source is empty; name a file or folder, or leave it out.")
    if source == DIGITS:
        return DIGITS, None
    # The cache's own folders have these names, and are copied to where there is no network.
    if source in (CIFAR10, CIFAR100) and not os.path.isdir(source):
        return str(source), None
    path = home_path(source)
    if is_pattern(path):
        return OWN, path
    own = True
    if is_folder(path):
        for data_set in (layout.CIFAR10, layout.CIFAR100):
            if holds_files(path, data_set):
                return data_set.folder_name, path
        own = holds_shards(path) or bool(sub_folders(path))
    return OWN if own else CIFAR10, path


def _require_there(path: Path) -> None:
    """Raise `DataError` for a path that is not there, and may be a data set's name or part."""
    with file_errors(path, "file"), suppress(FileNotFoundError, NotADirectoryError):
        os.stat(path)
        return
    data_set, _, part = str(path).partition(":")
    if part and data_set in (DIGITS, CIFAR10, CIFAR100):
        raise DataError(f"{path} is a part of {data_set}; name {data_set}, which has all parts.")
    if not path.suffix and path.name == str(path):
        raise not_found(path, "; data sets by name are digits, cifar10 and cifar100")
    raise not_found(path)


def _read_parts(source: Any, options: Mapping[str, Any], read: ReadOptions) -> dict[str, Table]:
    """Read the training rows, and the validation and test rows that are given."""
    parts, of_arrays = {"train": source}, dict[str, Any]()
    if _in_memory(source):
        of_arrays = _parts_in_memory(source, options["labels"])
    elif is_folder(source):
        parts |= parts_in_files(source) if holds_shards(source) else parts_of(source, read.log)
    elif options["labels"] is None:
        of_arrays = parts_in_arrays(source)
    parts |= of_arrays
    for role in ("test", "validation"):
        part = options[role]
        if part is None:
            continue
        if role in parts:
            raise SettingsError(
                f"{source} already has {role} rows, {parts[role]}; leave {role} (--{role}) out."
            )
        parts[role] = part = part if _in_memory(part) else home_path(part)
        same = part is source
        if not _in_memory(part) and not _in_memory(source):
            there = os.path.exists(part) and os.path.exists(source)
            same = there and os.path.samefile(part, source)
        if same:
            raise SettingsError(
                f"{role} (--{role}) is the same as the training rows; name other rows, or leave it "
                "out to hold out a fraction."
            )
    column = options["labels"]
    by_column = column if isinstance(column, str) and not names_file(column) else None
    tables = {}
    for role, part in parts.items():
        name = "labels" if role == "train" else f"{role}_labels"
        labels = by_column if options[name] is None else options[name]
        option = f"{name} (--{name.replace('_', '-')})"
        of_part = role if role in of_arrays and not is_frame(part) else None
        beside = dict(read.columns.beside)
        if role != "train":
            beside.pop("split", None)
        columns = replace(read.columns, must_drop=role == "train", part=of_part, beside=beside)
        read = replace(read, columns=columns)
        if _in_memory(part):
            what = "data frame" if is_frame(part) else "array"
            what += "s" if isinstance(part, Mapping) else ""
            table_of = frame_table if is_frame(part) else arrays_table
            where = what if role == "train" else f"{role} {what}"
            table = table_of(part, labels, where, read.log, replace(columns, option=option))
        else:
            table = read_table(part, labels, option, read)
        found = one_a_row(table.labels, table.labels_where, read.log)
        tables[role] = replace(table, labels=found)
    return number_columns(in_one_form(tables))


def _in_memory(source: object) -> bool:
    """Whether a source is a data frame, an array or a mapping of either."""
    return is_frame(source) or is_arrays(source)


def _parts_in_memory(source: Any, labels: Any) -> dict[str, Any]:
    """The parts of a mapping of data frames, or that a mapping of arrays has arrays for."""
    if not isinstance(source, Mapping):
        return {}
    if source and all(is_frame(one) for one in source.values()):
        parts = {PARTS.get(str(name).lower(), str(name)): one for name, one in source.items()}
        if len(parts) < len(source) or "train" not in parts or set(parts) - set(PARTS.values()):
            raise DataError(
                "a mapping of data frames must have train, and may have validation and test, once "
                f"each, but it has {', '.join(map(str, source)) or 'none'}."
            )
        return parts
    return dict.fromkeys(arrays_of_parts([*map(str, source)]) if labels is None else (), source)


def _number(
    tables: dict[str, Table], known: tuple[str, ...], log: Log
) -> tuple[Dataset, dict[str, Dataset]]:
    """Give all parts the training rows' columns and classes, or known and all, and one type."""
    train = tables["train"]
    common = np.result_type(*(table.X.dtype for table in tables.values()))
    class_names = known
    for table in tables.values() if known else (train,):
        class_names = name_classes(table.labels, table.labels_where, class_names)
    note_spaces(class_names, train.labels_where, log)
    kind, names = label_type(train.labels, class_names), train.feature_names
    datasets = {}
    for role, table in tables.items():
        places = match_parts(table.feature_names, names, table.where, train.where, log)
        # Rows in files are converted as they are read.
        X = take_columns(table.X.astype(common, copy=False), places)
        y = number_labels(table.labels, class_names, table.labels_where)
        top, where = train.max_value if X.dtype == np.uint8 else 1.0, table.where
        datasets[role] = Dataset(
            X, y, class_names, table.image_shape, top, where, where, names, table.ids, kind,
            **{name: table.beside.get(name) for name in ("weights", "groups", "offsets")},
        )  # fmt: skip
    return datasets.pop("train"), datasets
