"""One word, file or folder in, three sets of rows out.

A user's own files or pictures, split once into training, validation and test rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.classes import name_classes, number_labels
from onelayer.data.dataset import Dataset, Splits
from onelayer.data.datasets.cifar import holds_cifar100, load_cifar10, load_cifar100
from onelayer.data.datasets.decode import holds_form
from onelayer.data.datasets.digits import load_digits
from onelayer.data.datasets.layout import CIFAR10 as CIFAR10_FILES
from onelayer.data.formats.base import Table, is_pattern
from onelayer.data.formats.images import has_sub_folders, parts_of
from onelayer.data.formats.registry import Way, holds_shards, in_file, read_table
from onelayer.data.progress import Report, print_line
from onelayer.data.split import (
    SHARE,
    Choices,
    share_out,
)
from onelayer.data.streaming import stored_rows
from onelayer.errors import DataError, SettingsError


def load_own(source: Path, choices: Choices, tell: Report, *, progress: bool) -> Splits:
    """Load files or folders of pictures and split them.

    A part that is given by itself is kept as it is, its rows mapped where the file allows it. What
    is not given is cut off the training rows, the test share first, each class by its share; rows
    of a share are copied, which takes memory of the training file's size once, and the remaining
    training rows are mixed by the same seed. With test and validation in files of their own
    nothing is copied and nothing is moved. Rows that stay in their files are never copied: shares
    are lists of row numbers, and training rows keep the order of the files.

    Args:
        source: the training rows, or all.
        choices: labels and split.
        tell: told of what is left out, converted, or should be known.
        progress: whether to show bars.

    Returns:
        The three parts, with one set of classes, which is that of the training file.

    Raises:
        DataError: for files that are not as they should be.
        SettingsError: for options that exclude each other.
    """
    way = Way(tell, choices.pixels, choices.seed, progress, choices.stream)
    tables = _read_parts(source, choices, way)
    whole, given = _number(tables)
    del tables
    splits = share_out(whole, given, choices, tell)
    _warn_of_order(splits.train, tell)
    return splits


def _read_parts(source: Path, choices: Choices, way: Way) -> dict[str, Table]:
    """Read what is given: training rows, and validation and test where they are named."""
    split = os.path.isdir(source) and not holds_shards(source)
    paths = parts_of(source) if split else {"train": source}
    named = {"test": choices.test, "validation": choices.validation}
    for role, path in named.items():
        if path is None or isinstance(path, float | int):
            continue
        if role in paths:
            raise SettingsError(
                f"{role} (--{role}) names {path}, but {source} has a sub-folder {role} already; "
                "leave the option out."
            )
        paths[role] = Path(path).expanduser()
        _check_another(paths[role], source, role)
    by_column = None if in_file(choices.labels) else choices.labels
    labels = {
        "train": choices.labels,
        "test": choices.test_labels or by_column,
        "validation": choices.validation_labels or by_column,
    }
    option = {role: f"{role}_labels (--{role}-labels)" for role in ("test", "validation")}
    option["train"] = "labels (--labels)"
    return {role: read_table(path, labels[role], option[role], way) for role, path in paths.items()}


def _check_another(path: Path, source: Path, role: str) -> None:
    if os.path.exists(path) and os.path.exists(source) and os.path.samefile(path, source):
        raise SettingsError(
            f"{role} (--{role}) names the training rows' own file {path}; name another one, or "
            "leave it out to have a share cut off."
        )


def _number(tables: dict[str, Table]) -> tuple[Dataset, dict[str, Dataset]]:
    """Give all parts the training rows' classes and one type of features."""
    train = tables["train"]
    common = np.result_type(*(table.X.dtype for table in tables.values()))
    class_names = name_classes(_labels(train), train.labels_where)
    datasets = {}
    for role, table in tables.items():
        _check_columns(table, train)
        datasets[role] = _dataset(table, _of_type(table, common), class_names, train)
    return datasets.pop("train"), datasets


def _of_type(table: Table, common: np.dtype[Any]) -> NDArray[Any]:
    if stored_rows(table.X) is None:
        return table.X.astype(common, copy=False)
    if table.X.dtype != common:
        raise DataError(
            f"{table.where} holds {table.X.dtype} features where other parts hold {common}; rows "
            "that stay in their files are not converted, give all parts one type."
        )
    return table.X


def _dataset(table: Table, X: NDArray[Any], class_names: tuple[str, ...], train: Table) -> Dataset:
    return Dataset(
        X=X,
        y=number_labels(_labels(table), class_names, table.labels_where),
        class_names=class_names,
        image_shape=table.image_shape,
        max_value=train.max_value if X.dtype == np.uint8 else 1.0,
        name=table.where,
        source=table.where,
        feature_names=table.feature_names,
    )


def _labels(table: Table) -> NDArray[Any]:
    assert table.labels is not None  # noqa: S101  # read_table gives labels to every table
    return table.labels


def _check_columns(table: Table, train: Table) -> None:
    names, expected = table.feature_names or (), train.feature_names or ()
    if names == expected:
        return
    for column, (name, other) in enumerate(zip(names, expected, strict=False)):
        if name != other:
            raise DataError(
                f"{table.where}: feature {column} is the column {name!r} where {train.where} has "
                f"{other!r}; give the same columns in the same order."
            )
    raise DataError(
        f"{table.where} has {len(names)} columns of features where {train.where} has "
        f"{len(expected)}; give the same columns in the same order."
    )


def _warn_of_order(train: Dataset, tell: Report) -> None:
    if np.count_nonzero(np.diff(train.y)) == train.classes - 1 and train.rows > 2 * train.classes:
        tell(
            f"{train.name}: the training rows lie class by class, so that a batch holds one class "
            "alone; shuffle them (--shuffle-seed, or Run(shuffle_seed=…)) to train by batches."
        )


DIGITS, CIFAR10, CIFAR100, OWN = "digits", "cifar10", "cifar100", "own"

_TRAIN, _VALIDATION = (1,), (2,)


def load(
    source: str | Path | None = None,
    *,
    labels: str | Path | None = None,
    test: str | Path | None = None,
    test_labels: str | Path | None = None,
    test_share: float = SHARE,
    validation: float | str | Path = SHARE,
    validation_labels: str | Path | None = None,
    seed: int = 0,
    image_size: int | str | tuple[int, int] | None = None,
    stream: bool | None = None,
    train_batches: Sequence[int] = _TRAIN,
    validation_batches: Sequence[int] = _VALIDATION,
    progress: bool = True,
    report: Report | None = None,
) -> Splits:
    """Load training, validation and test rows.

    Args:
        source: None or "cifar10" for CIFAR-10 and "cifar100" for CIFAR-100, from the cache, which
            is filled from the network when it has to be; "digits" for scikit-learn's digits. Any
            other text or path is a file (.npy, .npz, .csv, .parquet, .arrow, .feather,
            .safetensors), a folder of such files or a pattern ("shards/*.npy"), a folder of
            pictures with a sub-folder for each class, or a folder with CIFAR's files or archives
            ("./digits" is a folder, and so are cifar10 and cifar100 where there is a folder of
            that name).
        labels: the column or array of labels (default: the one called label, labels, y, target or
            class), or a file with one label a row.
        test: a file or folder of test rows, kept apart as it is; None cuts a share off.
        test_labels: as labels, for test; default: the same column.
        test_share: share of the rows that is cut off for the test, above 0 and below 1.
        validation: share of the rows that are left, or a file or folder of validation rows.
        validation_labels: as labels, for a file of validation rows; default: the same column.
        seed: which rows the shares hold.
        image_size: side, or (height, width), that pictures are resized to.
        stream: whether rows stay in their files and are read as they are needed; None does so
            where they would take more than a quarter of the memory that is available
            (docs/guide/larger-than-memory.md).
        train_batches: CIFAR-10's training batches, numbers from 1 to 5.
        validation_batches: CIFAR-10's validation batches, numbers from 1 to 5.
        progress: whether to show bars while data are fetched or read.
        report: told in one line of what is left out, converted or failed; None prints on the
            standard error stream.

    Returns:
        The rows as stored. Shares are stratified and the same for the same seed, and the test
        share is cut off first.

    Raises:
        DataError: when a named file or folder is missing or not what it should be.
        SourceError: when no source works; it lists each with its reason, and the ways out.
        SettingsError: for choices outside their range or that mean nothing to this data set.

    Example:
        >>> splits = load("digits")
        >>> splits.train.X.shape, splits.train.X.dtype, splits.train.image_shape
        ((1000, 64), dtype('uint8'), (1, 8, 8))
    """
    batches = (tuple(train_batches), tuple(validation_batches))
    choices = Choices(
        labels, test, test_labels, test_share, validation, validation_labels, seed, image_size,
        stream,
    )  # fmt: skip
    if source == "":
        raise DataError(
            "data must name a file or folder, or be 'digits', but it is empty; leave it out."
        )
    kind, path = _locate(source)
    _refuse_batches(kind, source, batches)
    if kind == CIFAR10:
        if path is None or not os.path.isdir(path) or holds_form(path, CIFAR10_FILES):
            choices.refuse_all_but((), "CIFAR-10, which is split by its batches")
        return load_cifar10(
            path, train_batches=batches[0], validation_batches=batches[1], progress=progress,
            report=report,
        )  # fmt: skip
    if kind == DIGITS:
        choices.refuse_all_but((), "the digits, whose split is fixed")
        return load_digits()
    tell = report or print_line
    if kind == CIFAR100:
        choices.refuse_all_but(("validation", "seed"), "CIFAR-100, which has a test set")
        return load_cifar100(path, choices, tell, progress=progress)
    assert path is not None  # noqa: S101  # only paths are of this kind
    return load_own(path, choices, tell, progress=progress)


def names_cifar10(source: str | Path | None) -> bool:
    """Whether `load` takes this source for CIFAR-10, whose rows are named by their batches.

    Args:
        source: as for `load`.

    Returns:
        True for None, "cifar10", and folders or archives that are taken for CIFAR-10's.

    Example:
        >>> names_cifar10(None), names_cifar10("digits")
        (True, False)
    """
    return source != "" and _locate(source)[0] == CIFAR10


def _refuse_batches(kind: str, source: object, batches: tuple[tuple[int, ...], ...]) -> None:
    if kind != CIFAR10 and batches != (_TRAIN, _VALIDATION):
        name = "the digits have" if kind == DIGITS else f"{source} has"
        raise SettingsError(f"{name} no batches: leave train_batches and validation_batches out.")


def _locate(source: str | Path | None) -> tuple[str, Path | None]:
    """The kind of data that a name or path means, and where they lie unless it is a name alone."""
    if source is None or source == DIGITS:
        return source or CIFAR10, None
    # The cache's own folders have these names, and are copied to where there is no network.
    if source in (CIFAR10, CIFAR100) and not os.path.isdir(source):
        return str(source), None
    path = Path(source).expanduser()
    return _kind(path), path


def _kind(path: Path) -> str:
    """What lies at a path: one of the CIFAR sets, or the user's own."""
    if is_pattern(path):
        return OWN
    if os.path.isdir(path):
        if holds_form(path, CIFAR10_FILES):
            return CIFAR10
        if holds_cifar100(path):
            return CIFAR100
        return OWN if holds_shards(path) or has_sub_folders(path) else CIFAR10
    # CIFAR-10's loader knows what to say of its archives, and of a folder that is not there.
    archive = path.suffix.lower() in (".gz", ".tgz", ".tar")
    return CIFAR10 if archive or not (path.suffix or os.path.exists(path)) else OWN
