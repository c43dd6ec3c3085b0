"""Training, validation and test rows, and folds: stratified, by a seed, and no group on two sides.

Stratified: every part holds each class by its fraction. The same seed gives the same rows.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.classes import name_classes, number_labels, one_a_row
from onelayer.data.dataset import Dataset, Splits
from onelayer.data.formats.base import as_features, is_pattern, largest_value, to_array
from onelayer.data.formats.tables import frame_table, is_frame
from onelayer.data.progress import Log, print_line
from onelayer.data.streaming import stored_rows
from onelayer.errors import DataError, SettingsError, require_number, require_whole

TEST_SIZE = VALIDATION_SIZE = 0.2

# Rows of more bytes than this are not copied into memory without a message.
_LARGE_BYTES = 1 << 30

Indices = NDArray[np.int64]


def split(
    X: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    test_size: float = TEST_SIZE,
    validation_size: float = VALIDATION_SIZE,
    seed: int = 0,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    image_shape: tuple[int, int, int] | None = None,
    name: str = "rows",
) -> Splits:
    """Split rows in memory into training, validation and test rows.

    Each part holds each class by its fraction, to within half a row. A class of two rows or more
    gives at least one row to each part; a class of a single row stays in training.

    Args:
        X: features, (N, D) numbers: an array, or a data frame with a column for each feature.
        y: labels, (N,): text, integers or booleans.
        groups: a group of each row, (N,), such as its patient or its video. All rows of a group
            are in one part, so classes have their fractions only as far as the groups allow.
        test_size: fraction of the rows, above 0 and below 1; drawn first.
        validation_size: fraction of the rows that are left, above 0 and below 1.
        seed: of the random choice of rows, 0 or above.
        feature_names: names of the D features; default: the columns of a data frame.
        class_names: names of the K classes; integer labels are then indices 0 … K−1. Default: the
            labels, sorted.
        image_shape: (channels, height, width) where a row is an image, plane by plane.
        name: of the data set, for messages and reports.

    Returns:
        The three parts; X keeps its dtype where a `Dataset` can have it.

    Raises:
        DataError: for labels or features that a `Dataset` refuses, or too few rows or groups.
        SettingsError: for a fraction or seed outside its range.

    Example:
        >>> splits = split(np.arange(20.0).reshape(10, 2), ["cat", "dog"] * 5, test_size=0.4)
        >>> splits.train.class_names, splits.train.rows, splits.validation.rows, splits.test.rows
        (('cat', 'dog'), 4, 2, 4)
    """
    check_split(test_size, validation_size, seed)
    labels = one_a_row(to_array(y, f"{name}, y"), f"{name}, y", print_line)
    if is_frame(X):
        table = frame_table(X, labels, name, print_line)
        X, feature_names = table.X, feature_names or table.feature_names
    names = name_classes(labels, f"{name}, y") if class_names is None else tuple(class_names)
    if class_names is None or labels.dtype.kind not in "iu":
        labels = number_labels(labels, names, f"{name}, y")
    stored = stored_rows(X) is not None
    X = X if stored else to_array(X, f"{name}, X")
    max_value = largest_value(X.dtype)
    data = Dataset(
        X if stored else as_features(X, lambda at: f"{name}: X.flat[{at}]"),
        labels,
        names,
        image_shape=image_shape,
        max_value=max_value,
        name=name,
        source="arrays in memory",
        feature_names=None if feature_names is None else tuple(feature_names),
    )
    groups = None if groups is None else to_array(groups, f"{name}, groups")
    if groups is not None and groups.shape != data.y.shape:
        raise DataError(
            f"{name}: groups must hold one group for each of the {data.rows} rows, but its shape "
            f"is {groups.shape}."
        )
    return split_dataset(
        data, {}, test_size=test_size, validation_size=validation_size, seed=seed, groups=groups
    )


def split_dataset(
    data: Dataset,
    given: Mapping[str, Dataset],
    *,
    test_size: float,
    validation_size: float,
    seed: int,
    log: Log = lambda line: None,
    groups: NDArray[Any] | None = None,
) -> Splits:
    """Draw the parts that are not `given` ("validation", "test") from the rows of `data`.

    Rows in memory that are left for training are mixed by the seed; rows in files keep their order.
    """
    sources = [f"training rows from {data.source}"]
    sources += [f"{role} rows from {part.source}" for role, part in given.items()]
    how = "stratified" if groups is None else "stratified in whole groups"
    parts, rows = dict(given), np.arange(data.rows)
    for role, fraction in (("test", test_size), ("validation", validation_size)):
        if role in given:
            continue
        kept, cut = cut_fraction(
            data.y[rows], fraction, seed, data.name, None if groups is None else groups[rows]
        )
        parts[role], rows = _part(data, rows[cut], role), rows[kept]
        sources.append(f"{role} rows a fraction of {fraction:g}, {how}, with seed {seed}")
    train = data
    if len(rows) < data.rows:
        if stored_rows(data.X) is None:
            rows = rows[stratified_order(data.y[rows], seed)]
            if data.X.nbytes > _LARGE_BYTES:
                log(
                    f"{data.name}: splitting copies {data.X.nbytes / 1e9:.1f} GB into memory; to "
                    "avoid that, give the test and validation rows as separate files, or leave the "
                    "rows on disk with stream (--stream)."
                )
        train = _part(data, rows, "training")
    source = "; ".join(sources) + "."
    return Splits(train, parts["validation"], parts["test"], _short(data.name), source)


def cut_fraction(
    y: Indices, fraction: float, seed: int, where: str, groups: NDArray[Any] | None = None
) -> tuple[Indices, Indices]:
    """The rows that are kept, and a fraction that is cut off, as `split` does; both ascending.

    With groups, whole groups are cut off, and every class keeps at least one.
    """
    rng = np.random.default_rng(seed)
    if groups is not None:
        chosen = _deal_groups(y, groups, np.array([1 - fraction, fraction]), rng, cut=True) == 1
        why = "no group can be spared without losing a class"
    else:
        chosen = np.zeros(len(y), bool)
        why = f"each of the {len(y)} rows is the only one of its class"
        for rows in _shuffled_classes(y, rng):
            chosen[rows[: min(len(rows) - 1, max(1, int(fraction * len(rows) + 0.5)))]] = True
    if not chosen.any():
        raise DataError(
            f"{where}: cannot hold out a fraction, because {why}; add rows, or give the test and "
            "validation rows separately."
        )
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def stratified_folds(
    y: Indices, folds: int, seed: int = 0, groups: NDArray[Any] | None = None
) -> list[tuple[Indices, Indices]]:
    """For each fold the rows to train on and those held out, both ascending.

    Each class is dealt evenly, to within one row; with groups, whole groups are dealt.
    """
    units, what = (len(y), "rows") if groups is None else (len(np.unique(groups)), "groups")
    if not 2 <= folds <= units:
        raise SettingsError(
            f"folds must be from 2 to the number of {what}, {units}, but {folds} was given."
        )
    rng = np.random.default_rng(seed)
    if groups is not None:
        fold = _deal_groups(y, groups, np.full(folds, 1 / folds), rng)
    else:
        by_class = np.lexsort((rng.permutation(len(y)), y))
        fold = np.empty(len(y), np.int64)
        fold[by_class] = np.arange(len(y)) % folds
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(folds)]


def stratified_order(y: Indices, seed: int) -> Indices:
    """A random order of the rows in which every stretch holds each class by its fraction.

    A class's rows are spread evenly over [0, 1), in random order and from a random start; the order
    is that of their places.
    """
    rng = np.random.default_rng(seed)
    place = np.empty(len(y))
    for rows in _shuffled_classes(y, rng):
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(place, kind="stable")


def check_split(test_size: object, validation_size: object, seed: object) -> None:
    """Raise `SettingsError` for a fraction outside (0, 1) or a seed below 0."""
    what = "a fraction above 0 and below 1"
    require_number("test_size (--test-size)", test_size, what, above=0, below=1)
    require_number("validation_size (--validation-size)", validation_size, what, above=0, below=1)
    require_whole("split_seed (--split-seed)", seed, 0)


def _shuffled_classes(y: Indices, rng: np.random.Generator) -> Iterator[Indices]:
    """The rows of each class in random order; classes ascending."""
    for label in np.unique(y):
        yield rng.permutation(np.flatnonzero(y == label))


def _deal_groups(
    y: Indices,
    groups: NDArray[Any],
    fractions: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    cut: bool = False,
) -> Indices:
    """The part of each row: whole groups, each part near its fraction of every class.

    Groups are dealt from the largest on, each to the part whose squared distance from its goal then
    grows least. With `cut` part 0 is what is kept, so that it gets the last group of any class that
    it lacks, and part 1 gets a group wherever one can be spared.
    """
    names, group = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(y.max()) + 1))
    np.add.at(counts, (group, y), 1.0)
    counts = counts[:, counts.any(axis=0)]
    totals = counts.sum(axis=0)
    goal, filled = fractions[:, None] * totals, np.zeros((len(fractions), len(totals)))
    part, left = np.zeros(len(names), np.int64), np.count_nonzero(counts, axis=0)
    shuffled = rng.permutation(len(names))
    order = shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]
    for one in order:
        growth = (counts[one] * (counts[one] + 2.0 * (filled - goal)) / totals).sum(axis=1)
        last = (counts[one] > 0) & (left == 1) & (filled[0] == 0)
        part[one] = 0 if cut and last.any() else int(np.argmin(growth))
        filled[part[one]] += counts[one]
        left -= counts[one] > 0
    if cut and not part.any():
        spare = [g for g in order if (filled[0] > counts[g])[counts[g] > 0].all()]
        part[spare[-1:]] = 1
    return part[group]


def _part(data: Dataset, rows: Indices, role: str) -> Dataset:
    return replace(data.take(rows), name=f"{data.name}, {role} rows")


def _short(where: str) -> str:
    """A name for what a path or a pattern names: shards/*.npy are the shards."""
    path = Path(where)
    while is_pattern(path) and glob.has_magic(path.stem) and path.name:
        path = path.parent
    return path.stem or "rows"
