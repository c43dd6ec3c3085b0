"""A user's own files or pictures, split once into training, validation and test rows."""

from __future__ import annotations

import glob
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.choices import Choices
from onelayer.data.classes import name_classes, number_labels
from onelayer.data.dataset import Dataset, Splits
from onelayer.data.images import parts_of
from onelayer.data.reading import Way, in_file, read_table
from onelayer.data.shards import holds_shards, is_pattern
from onelayer.data.shares import cut_share, stratified_order
from onelayer.data.table import Table
from onelayer.data.telling import Report
from onelayer.errors import DataError, SettingsError
from onelayer.stored import stored_rows

_LARGE = 1 << 30


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


def share_out(whole: Dataset, given: dict[str, Dataset], choices: Choices, tell: Report) -> Splits:
    """Cut the parts that are not given off the training rows.

    Args:
        whole: the training rows, and those that are cut off.
        given: "validation" and "test", as far as they are given.
        choices: shares and seed.
        tell: told when much is copied.

    Returns:
        The three parts.

    Raises:
        DataError: when there are too few rows.
    """
    said = [f"training rows from {whole.source}"]
    said += [f"{role} rows from {part.source}" for role, part in given.items()]
    parts, rows = dict(given), np.arange(whole.rows)
    for role, share in (("test", choices.test_share), ("validation", choices.validation)):
        if role in given:
            continue
        assert isinstance(share, float | int)  # noqa: S101  # a file would have been given
        kept, cut = cut_share(whole.y[rows], share, choices.seed, whole.name)
        parts[role], rows = _part(whole, rows[cut], role), rows[kept]
        said.append(f"{role} rows a share of {share:g}, stratified, with seed {choices.seed}")
    if len(rows) < whole.rows:
        stays = stored_rows(whole.X) is not None
        if whole.X.nbytes > _LARGE and not stays:
            tell(
                f"{whole.name}: its {whole.X.nbytes / 1e9:.1f} GB are copied into memory to be "
                "split; to avoid that give test and validation rows as files of their own, or "
                "leave all on disk with stream (--stream)."
            )
        if not stays:
            rows = rows[stratified_order(whole.y[rows], choices.seed)]
        parts["train"] = _part(whole, rows, "training")
    else:
        parts["train"] = whole
    source = "; ".join(said) + "."
    return Splits(parts["train"], parts["validation"], parts["test"], _short(whole.name), source)


def _short(where: str) -> str:
    """A name for what a path or a pattern names: shards/*.npy are the shards."""
    path = Path(where)
    while is_pattern(path) and glob.has_magic(path.stem) and path.name:
        path = path.parent
    return path.stem or "rows"


def _part(whole: Dataset, rows: NDArray[np.intp], role: str) -> Dataset:
    return replace(whole.take(rows), name=f"{whole.name}, {role} rows")


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
