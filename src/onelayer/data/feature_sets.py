"""Many feature sets of the same rows, as of the layers of a network: one split of them for all.

Arrays in files are mapped. Of one set at a time the rows of each part are copied, as stored.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.classes import (
    label_type,
    lists_of,
    name_classes,
    note_spaces,
    number_labels,
    one_a_row,
)
from onelayer.data.dataset import Dataset, Splits, copy_rows
from onelayer.data.formats.arrays import ArraysFile, FileArray
from onelayer.data.formats.base import (
    LABEL_NAMES,
    ColumnSpec,
    as_features,
    choose_labels,
    is_folder,
    largest_value,
    natural_names,
    not_found,
    refuse_unread,
    to_array,
)
from onelayer.data.formats.registry import (
    FORMATS,
    located_arrays,
    names_file,
    read_labels,
    read_values,
)
from onelayer.data.progress import Log
from onelayer.data.sparse import SparseRows, is_sparse, sparse_rows
from onelayer.data.split import check_split, shared_rows, split_dataset, take_parts
from onelayer.data.streaming import first_not_finite, not_finite
from onelayer.errors import DataError, SettingsError, home_path, printable, require_file

TRAIN, ROLES = "train", ("train", "validation", "test")

SUFFIXES = tuple(suffix for suffix, one in FORMATS.items() if issubclass(one, ArraysFile))

# Of files in a folder, each of which is a set.
_ONE_ARRAY = (".npy", ".pt", ".pth")

# Of a set that is looked through for NaN at a time.
_SEARCH_BYTES = 1 << 20

# What gives an array: in memory, or where it is in a file.
Arrays = dict[str, Callable[[], Any]]


@dataclass(frozen=True, eq=False)
class FeatureSets:
    """Feature sets, all of the same rows, labels and parts.

    Attributes:
        name: of all of them, for reports.
        names: of each.
        rows: the labels of each part. The only feature of a row is its number.
        splits: gives the training, validation and test rows of the set of a name.
        count: rows of `features`, of which those of the parts that are not given were drawn.
        bytes_of: tells how many bytes the features of the set of a name take.
    """

    name: str
    names: tuple[str, ...]
    rows: Splits
    splits: Callable[[str], Splits]
    count: int
    bytes_of: Callable[[str], int]


def read_feature_sets(
    features: Any,
    labels: Any,
    say: Log,
    *,
    names: Sequence[str] | None,
    groups: Any,
    split: Any,
    test_size: float,
    validation_size: float,
    split_seed: int,
    weights: Any = None,
    **given: Any,
) -> FeatureSets:
    """Read feature sets, check them, and draw the parts that are not given; see `probe`."""

    def log(line: str) -> None:
        say(printable(line))

    check_split(test_size, validation_size, split_seed)
    if isinstance(features, Mapping) and any(isinstance(v, Splits) for v in features.values()):
        others = (labels, names, groups, split, weights, *given.values())
        if any(other is not None for other in others):
            raise SettingsError(
                "feature sets that are Splits have their labels and parts; leave labels, names, "
                "groups, split, weights, validation and test out."
            )
        return _of_splits(features)
    sources = {TRAIN: _read_source(features, labels, TRAIN, names, log)}
    for role in ROLES[1:]:
        of_role, own_labels = given[role], given[f"{role}_labels"]
        if of_role is None and own_labels is not None:
            raise SettingsError(
                f"{role}_labels (--{role}-labels) needs {role} (--{role}), which is not given."
            )
        if of_role is not None:
            named = isinstance(labels, str) and not names_file(labels)
            own_labels = labels if own_labels is None and named else own_labels
            sources[role] = _read_source(of_role, own_labels, role, names, log)
    train, numbered, start = sources[TRAIN], {}, 0
    class_names = name_classes(train.labels, train.labels_where)
    note_spaces(class_names, train.labels_where, log)
    kind = label_type(train.labels, class_names)
    for role, source in sources.items():
        source.check(train)
        y, where = number_labels(source.labels, class_names, source.labels_where), source.where
        numbered[role] = _numbered(start, y, class_names, where, kind)
        start += len(y)
    whole = numbered.pop(TRAIN)
    own: Any = read_values(weights, "weights (--weights)")
    whole = replace(whole, groups=read_values(groups, "groups (--groups)"), weights=own)
    whole, parts = take_parts(whole, read_values(split, "split (--split)"), numbered)
    rows = split_dataset(
        whole, parts, log, test_size=test_size, validation_size=validation_size, seed=split_seed,
        by_id=False,
    )  # fmt: skip
    sets = FeatureSets(
        rows.name,
        tuple(train.arrays),
        rows,
        partial(_split, sources, rows),
        len(train.labels),
        lambda name: int(train.array(name)[0].nbytes),
    )
    if shared := shared_rows(sets.splits(sets.names[0]), sources):
        log(f"{train.where}, {sets.names[0]!r}: {shared}.")
    return sets


def _numbered(
    start: int, y: NDArray[np.int64], class_names: tuple[str, ...], where: str, kind: Any
) -> Dataset:
    """Rows whose only feature is their number, from `start` on."""
    X = np.arange(start, start + len(y), dtype=np.float64)[:, None]
    return Dataset(X, y, class_names, name=where, source=where, label_type=kind)


def _of_splits(sets: Mapping[str, Any]) -> FeatureSets:
    if not all(isinstance(splits, Splits) for splits in sets.values()):
        raise DataError("of feature sets either all must be Splits, or none.")
    first, start, parts = next(iter(sets)), 0, {}
    for role in ROLES:
        labelled: Dataset = getattr(sets[first], role)
        for name, splits in sets.items():
            part: Dataset = getattr(splits, role)
            same = part.class_names == labelled.class_names
            if not same or not np.array_equal(part.y, labelled.y):
                raise DataError(
                    f"all feature sets must have the same rows, but the labels of the {role} rows "
                    f"of {name!r} differ from those of {first!r}."
                )
        names, kind = labelled.class_names, labelled.label_type
        rows = _numbered(start, labelled.y, names, labelled.source, kind)
        parts[role] = replace(rows, groups=labelled.groups, weights=labelled.weights)
        start += labelled.rows
    of_all = Splits(**parts, name="features", source=sets[first].source, split=sets[first].split)
    return FeatureSets(
        of_all.name,
        tuple(sets),
        of_all,
        sets.__getitem__,
        of_all.train.rows,
        lambda name: int(sets[name].train.X.nbytes),
    )


@dataclass(frozen=True, eq=False)
class _Source:
    """Arrays (N, D) by name, each read when it is asked for, and the labels of their rows."""

    where: str
    arrays: Arrays
    labels: NDArray[Any]
    labels_where: str

    def array(self, name: str) -> tuple[NDArray[Any], float]:
        """A set in a type that features can have, and the largest value of its type."""
        value, where = self.arrays[name](), f"{self.where}, {name!r}"
        X: Any = value.values() if isinstance(value, FileArray) else None
        if X is None:
            X = SparseRows.of(value, where) if is_sparse(value) else to_array(value, where)
        if X.ndim != 2 or 0 in X.shape:
            raise DataError(
                f"{where}: a feature set must be an array of rows and columns, (N, D), but its "
                f"shape is {X.shape}; reshape it or leave it out."
            )
        place, width = f"{where}: row {{}}, column {{}}".format, X.shape[1]
        return as_features(X, lambda at: place(*divmod(at, width))), largest_value(X.dtype)

    def check(self, train: _Source) -> None:
        """Raise `DataError` unless all sets fit to the labels and to those of the training rows."""
        rows, first = len(self.labels), next(iter(self.arrays))
        for name in train.arrays:
            if name not in self.arrays:
                raise DataError(f"the feature set {name!r} is missing in {self.where}.")
            X, where = self.array(name)[0], f"{self.where}, {name!r}"
            counted = len(X) if name == first else len(self.array(first)[0])
            if len(X) != counted:
                raise DataError(
                    f"{self.where}: all feature sets must have the same rows, but {name!r} has "
                    f"{len(X)} and {first!r} has {counted}."
                )
            if counted != rows:
                raise DataError(
                    f"{self.labels_where} must hold one label for each of the {counted} rows of "
                    f"{self.where}, but it holds {rows}; give the labels of these rows, in their "
                    "order."
                )
            if self is not train and X.shape[1] != (width := train.array(name)[0].shape[1]):
                raise DataError(
                    f"{where} has {X.shape[1]} features, and in the training rows {width}."
                )
            if sparse_rows(X) is not None:  # they were looked through as they were made
                continue
            step = max(1, _SEARCH_BYTES // (X.shape[1] * X.itemsize))
            for start in range(0, rows, step):
                block = np.ascontiguousarray(X[start : start + step])
                if (at := first_not_finite(block)) is not None:
                    raise not_finite(where, start + at[0], at[1], block[at], None)


def _split(sources: Mapping[str, _Source], rows: Splits, name: str) -> Splits:
    """The rows of one set: parts that were given as they are, others copied."""
    arrays = {role: source.array(name) for role, source in sources.items()}
    common, parts = np.result_type(*(X.dtype for X, _ in arrays.values())), {}
    for role in ROLES:
        (X, largest), numbered = arrays.get(role, arrays[TRAIN]), getattr(rows, role)
        if numbered.rows < len(X):
            numbers = numbered.X[:, 0].astype(np.int64)
            X = copy_rows(X, numbers) if sparse_rows(X) is None else X[numbers]
        parts[role] = Dataset(
            X.astype(common, copy=False),
            numbered.y,
            numbered.class_names,
            max_value=largest,
            name=f"{name}, {'training' if role == TRAIN else role} rows",
            source=numbered.source,
            label_type=numbered.label_type,
            groups=numbered.groups,
            weights=numbered.weights,
        )
    return Splits(**parts, name=f"{rows.name}: {name}", source=rows.source, split=rows.split)


def _read_source(
    features: Any, labels: Any, role: str, names: Sequence[str] | None, log: Log
) -> _Source:
    option = "labels" if role == TRAIN else f"{role}_labels"
    option = f"{option} (--{option.replace('_', '-')})"
    path = home_path(features) if isinstance(features, str | os.PathLike) else None
    label_file = home_path(labels) if names_file(labels) else None
    where = "features" if role == TRAIN else f"{role} rows"
    arrays: Arrays
    if path is not None:
        where, arrays = str(path), _in_files(path, label_file)
    elif isinstance(features, Mapping):
        arrays = {str(name): partial(_itself, value) for name, value in features.items()}
    else:
        arrays = {"": partial(_itself, features)}
    if label_file is not None:
        found, labels_where = read_labels(label_file), str(label_file)
    elif labels is not None and not isinstance(labels, str):
        found, labels_where = to_array(lists_of(labels), option), option
    elif "" in arrays:
        raise DataError(f"{where} has no labels; pass them with {option}.")
    else:
        chosen = choose_labels([*arrays], ColumnSpec(labels=labels, option=option), where, "array")
        found, labels_where = _opened(arrays.pop(str(chosen))), f"{where}, {chosen!r}"
    others = {name: one for name, one in arrays.items() if name.lower() not in LABEL_NAMES}
    arrays = _named(others, names, where)
    return _Source(where, arrays, one_a_row(found, labels_where, log), labels_where)


def _itself(value: Any) -> Any:
    return value


def _opened(give: Callable[[], Any]) -> NDArray[Any]:
    value = give()
    return value.values() if isinstance(value, FileArray) else to_array(value, "labels")


def _in_files(path: Path, label_file: Path | None) -> Arrays:
    """What locates each array of a file or folder, in natural order."""
    if is_folder(path):
        own = None if label_file is None else label_file.resolve()
        files = {
            file.relative_to(path).with_suffix("").as_posix(): file
            for file in path.rglob("*")
            if file.suffix.lower() in _ONE_ARRAY and file.resolve() != own
            if not file.name.startswith(".")
        }
        return {name: _only_array(files[name]) for name in natural_names(files)}
    try:
        if not os.path.isdir(path):
            require_file(path)
    except FileNotFoundError as error:
        raise not_found(path) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if path.suffix.lower() not in SUFFIXES:
        refuse_unread(path)
        raise DataError(
            f"{path} holds no feature sets; supported: {', '.join(SUFFIXES)}, and folders of "
            f"{', '.join(_ONE_ARRAY)} files."
        )
    arrays = located_arrays(path)
    return {name: arrays[name] for name in natural_names(arrays)}


def _only_array(path: Path) -> Callable[[], Any]:
    arrays = located_arrays(path)
    if len(arrays) != 1:
        raise DataError(f"{path} must hold one array, as each file of a folder of feature sets.")
    return next(iter(arrays.values()))


def _named(arrays: Arrays, names: Sequence[str] | None, where: str) -> Arrays:
    """Arrays (N, D) by name: those that have names, or the L ones of the only array (N, L, D)."""
    if not arrays:
        raise DataError(
            f"{where} holds no feature set; give at least one array of rows and columns, (N, D)."
        )
    whole: Any = next(iter(arrays.values()))() if len(arrays) == 1 else np.empty(0)
    whole = whole if hasattr(whole, "shape") else to_array(whole, where)
    shape = tuple(whole.shape)
    if len(shape) == 3:
        if names is None:
            names = [f"layer{i}" for i in range(shape[1])]
        if len(names) != shape[1]:
            raise SettingsError(
                f"names (--names) must name each of the {shape[1]} feature sets of {where}, but "
                f"there are {len(names)} names."
            )
        if twice := [name for i, name in enumerate(names) if name in names[:i]]:
            raise SettingsError(f"names (--names) must differ, but {twice[0]!r} is there twice.")
        layer = whole.layer if isinstance(whole, FileArray) else partial(_layer, whole)
        return {name: partial(layer, place) for place, name in enumerate(names)}
    if "" in arrays:
        raise DataError(
            f"{where} must be an array (N, L, D) of L feature sets, but its shape is {shape}; name "
            "other arrays, in a dict or a file .npz."
        )
    if names is not None:
        raise SettingsError(
            f"names (--names) has no effect on {where}, whose feature sets have names; leave it "
            "out."
        )
    return arrays


def _layer(whole: Any, place: int) -> Any:
    return whole[:, place]
