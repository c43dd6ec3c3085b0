"""Training, validation and test rows, and folds: stratified, by a seed, and no group on two sides.

Stratified: every part holds each class by its fraction. The same seed gives the same parts of the
same rows. Rows with ids, or those of which identical ones stay together, are drawn one by one: the
side of a row depends on the seed and on its id or values alone, whatever rows are added to it.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.classes import (
    INDEX,
    label_type,
    lists_of,
    name_classes,
    note_spaces,
    number_labels,
    one_a_row,
    strata,
)
from onelayer.data.dataset import By, Dataset, SplitCard, Splits
from onelayer.data.fingerprints import (
    Fingerprints,
    chances,
    count_known,
    count_shared,
    text_fingerprints,
)
from onelayer.data.formats.base import PARTS, as_features, is_pattern, largest_value, to_array
from onelayer.data.formats.tables import frame_table, is_frame, note_other_order
from onelayer.data.progress import Log, print_line
from onelayer.data.sparse import SparseRows, is_sparse, sparse_rows
from onelayer.data.streaming import stored_rows
from onelayer.errors import (
    DataError,
    SettingsError,
    is_number,
    known_options,
    require_number,
    require_whole,
)

TEST_SIZE = VALIDATION_SIZE = 0.2

# Rows of more bytes than this are not copied into memory without a message.
_LARGE_BYTES = 1 << 30

# Rows of which identical ones are on one side.
IDENTICAL = "identical"

_HOW: dict[By, str] = {
    "rows": "stratified",
    "groups": "stratified in whole groups",
    "identical": "by the rows' values",
    "id": "by the rows' ids",
}

# Classes that a message names.
_MOST_NAMED = 8

Indices = NDArray[np.int64]


@known_options
def split(
    X: Any,
    y: ArrayLike,
    *,
    groups: ArrayLike | Literal["identical"] | None = None,
    split: ArrayLike | None = None,
    ids: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    offsets: ArrayLike | None = None,
    test_size: float = TEST_SIZE,
    validation_size: float = VALIDATION_SIZE,
    seed: int = 0,
    feature_names: Sequence[str] | NDArray[Any] | None = None,
    class_names: Sequence[str] | None = None,
    image_shape: tuple[int, int, int] | None = None,
    name: str = "rows",
) -> Splits:
    """Split rows in memory into training, validation and test rows.

    Each part holds each class by its fraction, to within half a row. A class of two rows or more
    gives at least one row to each part; a class of a single row stays in training. With ids, or
    with groups="identical", the part of each row is drawn by itself, from the seed and its id or
    its values: no row changes sides when others are added, and fractions are met only on average.

    Args:
        X: features, (N, D) numbers: an array, a data frame with a column for each feature, or
            sparse rows, an array or matrix of SciPy.
        y: labels, (N,): text, integers or booleans. Many labels a row: (N, K) of 0 and 1, or a list
            of labels for each row; each row is then stratified by the rarest of its labels.
        groups: a group of each row, (N,), such as its patient or its video. All rows of a group
            are in one part, so classes have their fractions only as far as the groups allow. Or
            "identical": rows of the same values are in one part. Groups become `Dataset.groups`,
            which folds and the bootstrap heed too.
        split: "train", "validation" or "test" for each row, (N,). A part that it does not name is
            held out of the training rows.
        ids: what names each row, (N,): `Dataset.ids`.
        weights: weight of each row, (N,), ≥ 0: `Dataset.weights`. Rows of weight 0 are left out.
        offsets: what is added to each row's scores, (N, K), or (N,) of two classes:
            `Dataset.offsets`.
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
    of_rows = {"y": y, "groups": groups, "split": split, "ids": ids}
    for option, values in (of_rows | {"weights": weights, "offsets": offsets}).items():
        note_other_order(X, values, option, name, print_line)
    labels = one_a_row(to_array(lists_of(y), f"{name}, y"), f"{name}, y", print_line)
    if is_frame(X):
        table = frame_table(X, labels, name, print_line)
        X = table.X
        feature_names = table.feature_names if feature_names is None else feature_names
    names = name_classes(labels, f"{name}, y") if class_names is None else tuple(class_names)
    note_spaces(names, f"{name}, y", print_line)
    kind = INDEX
    if class_names is None or labels.dtype.kind not in "iu":
        kind = label_type(labels, names)
        labels = number_labels(labels, names, f"{name}, y")
    X = SparseRows.of(X, f"{name}, X") if is_sparse(X) else X
    kept = stored_rows(X) is not None or sparse_rows(X) is not None
    X = X if kept else to_array(X, f"{name}, X")
    max_value = largest_value(X.dtype)
    X = X if kept else as_features(X, lambda at: f"{name}: X.flat[{at}]")
    ids = None if ids is None else to_array(ids, f"{name}, ids")
    known = None if feature_names is None else tuple(feature_names)
    source = "arrays in memory"
    own: dict[str, Any] = {"weights": weights, "offsets": offsets}
    data = Dataset(X, labels, names, image_shape, max_value, name, source, known, ids, kind, **own)
    identical = isinstance(groups, str)
    if identical and groups != IDENTICAL:
        raise SettingsError(
            f"groups must be {IDENTICAL!r} or hold one group for each row, but {groups!r} was "
            "given."
        )
    if groups is not None and not identical:
        data = replace(data, groups=to_array(groups, f"{name}, groups"))
    words = None if split is None else to_array(split, f"{name}, split")
    data, parts = take_parts(data, words, {})
    how: dict[str, Any] = {"test_size": test_size, "validation_size": validation_size}
    return split_dataset(data, parts, print_line, **how | {"seed": seed, "identical": identical})


def split_dataset(
    data: Dataset,
    given: Mapping[str, Dataset],
    log: Log = lambda line: None,
    *,
    test_size: float,
    validation_size: float,
    seed: int,
    identical: bool = False,
    by_id: bool = True,
) -> Splits:
    """Draw the parts that are not `given` ("validation", "test") from the rows of `data`.

    Rows in memory that are left for training are mixed by the seed; rows in files keep their order.
    Rows with groups are drawn in whole groups; where rows of the same values are to stay together,
    by these. Rows with ids are drawn by them unless `by_id` is false, as of pictures, whose files
    name them.
    """
    if data.weights is not None and not (weighty := data.weights > 0.0).all():
        log(f"{data.name}: {int((~weighty).sum()):,} rows of weight 0 are left out.")
        data = data.take(weighty)
    sources = [f"training rows from {data.source}"]
    sources += [f"{role} rows from {part.source}" for role, part in given.items()]
    sizes: dict[str, float] = {}
    parts, rows = dict(given), np.arange(data.rows)
    by, keys = _keys_of(data, identical, by_id)
    y = strata(data.y)
    for role, fraction in (("test", test_size), ("validation", validation_size)):
        if role in given:
            continue
        cut_before = len(rows) < data.rows
        left = f" that are left of {data.rows} after the test rows" if cut_before else ""
        if keys is not None:
            drawn = chances(keys[rows], seed, 1 if role == "test" else 2)
            kept, cut = _cut_by_chance(drawn, fraction, data.name, role, left)
        else:
            of_rows = None if data.groups is None else data.groups[rows]
            kept, cut = cut_fraction(y[rows], fraction, seed, data.name, of_rows, role, left)
        parts[role], rows = _part(data, rows[cut], role), rows[kept]
        sizes[role] = fraction
        sources.append(f"{role} rows a fraction of {fraction:g}, {_HOW[by]}, with seed {seed}")
    train = data
    if len(rows) < data.rows:
        if stored_rows(data.X) is None:
            rows = rows[stratified_order(y[rows], seed)]
            if data.X.nbytes > _LARGE_BYTES:
                log(
                    f"{data.name}: splitting copies {data.X.nbytes / 1e9:.1f} GB into memory; to "
                    "avoid that, give the test and validation rows as separate files, or leave the "
                    "rows on disk with stream (--stream)."
                )
        train = _part(data, rows, "training")
    card = SplitCard(by, seed, sizes.get("test"), sizes.get("validation")) if sizes else SplitCard()
    source = "; ".join(sources) + "."
    splits = Splits(train, parts["validation"], parts["test"], _short(data.name), source, card)
    _check_apart(splits)
    for line in (_small_classes(data, splits, given), shared_rows(splits, given)):
        if line:
            log(f"{data.name}: {line}.")
    return splits


def redraw(data: Dataset, card: SplitCard) -> Splits | None:
    """The splits of a model's card, where these rows are the ones that were split; else None."""
    how: dict[str, Any] = {name: getattr(card, name) for name in ("test_size", "validation_size")}
    how |= {"seed": card.seed}
    if card.rows is None or None in how.values() or card.by == "groups":
        return None
    how |= {"identical": card.by == IDENTICAL, "by_id": card.by == "id"}
    try:
        splits = split_dataset(data, {}, **how)
    except DataError:  # of rows that are too few to be split
        return None
    if splits.train.rows < len(card.rows):
        return None
    found = splits.train._read_fingerprints()
    return splits if found is not None and np.array_equal(card.rows, np.unique(found)) else None


def take_parts(
    data: Dataset, names: NDArray[Any] | None, given: Mapping[str, Dataset]
) -> tuple[Dataset, dict[str, Dataset]]:
    """The training rows by the part that names each row, and the other parts with those given."""
    if names is None:
        return data, dict(given)
    if names.shape != (data.rows,):
        raise DataError(
            f"{data.name}: split (--split) must hold one word for each of the {data.rows} rows, "
            f"but its shape is {names.shape}."
        )
    found, place = np.unique(names.astype(str), return_inverse=True)
    roles = [PARTS.get(name.strip().lower()) for name in found.tolist()]
    if None in roles:
        raise DataError(
            f"{data.name}: split (--split) must say train, validation or test of each row, but row "
            f"{int(np.argmax(place == roles.index(None)))} has {str(found[roles.index(None)])!r}."
        )
    of_row = np.array(roles)[place]
    if "train" not in roles:
        raise DataError(
            f"{data.name}: split (--split) must name training rows, but there are none."
        )
    if twice := [role for role in given if role in roles]:
        raise SettingsError(
            f"split (--split) names {twice[0]} rows, and {twice[0]} (--{twice[0]}) others; give "
            "one of them."
        )
    parts = dict(given)
    for role in ("validation", "test"):
        if role in roles:
            parts[role] = _part(data, np.flatnonzero(of_row == role), role)
    train = _part(data, np.flatnonzero(of_row == "train"), "training")
    return replace(train, name=data.name), parts


def _check_apart(splits: Splits) -> None:
    """Raise `DataError` for a group with rows in two parts."""
    parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    known = {
        role: np.unique(part.groups) for role, part in parts.items() if part.groups is not None
    }
    for (one, groups), (other, others) in combinations(known.items(), 2):
        if len(both := np.intersect1d(groups, others)):
            raise DataError(
                f"{splits.name}: the group {both[0]!s} has {one} rows and {other} rows; keep each "
                "group in one part."
            )


def _keys_of(data: Dataset, identical: bool, by_id: bool) -> tuple[By, Fingerprints | None]:
    """What stays on one side, and the numbers that rows are drawn by one by one, if they are."""
    if identical:
        return "identical", data._read_fingerprints()
    if data.groups is not None:
        return "groups", None
    return ("id", text_fingerprints(data.ids)) if by_id and data.ids is not None else ("rows", None)


def _cut_by_chance(
    drawn: NDArray[np.float64], fraction: float, where: str, role: str, left: str
) -> tuple[Indices, Indices]:
    """Cut off rows whose number in [0, 1) is below the fraction: never none or all of them."""
    chosen = drawn < min(max(fraction, np.nextafter(drawn.min(), 1.0)), drawn.max())
    if not chosen.any():
        raise DataError(
            f"{where}: cannot hold out {role} rows, because all of the {len(drawn)} rows{left} are "
            "the same; add rows, or give the test and validation rows separately."
        )
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _counts(data: Dataset) -> Indices:
    """Rows of each class or label, (K,)."""
    if data.many_labels:
        return np.asarray(data.y.sum(axis=0, dtype=np.int64))
    return np.bincount(data.y, minlength=data.classes)


def _small_classes(data: Dataset, splits: Splits, given: Mapping[str, Dataset]) -> str:
    """Which classes have too few rows for each part that was drawn, in words."""
    if len(given) == 2:
        return ""
    roles = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    counts = {role: _counts(part) for role, part in roles.items() if role not in given}
    whole = _counts(data)
    found = []
    for k, (name, rows) in enumerate(zip(data.class_names, whole, strict=True)):
        lacking = [role for role, count in counts.items() if not count[k]]
        if rows and lacking:
            held = f"{rows} row{'s' if rows > 1 else ''}"
            found.append(f"{name!r} ({held}, no {' or '.join(lacking)} rows)")
    if not found:
        return ""
    more = f", … ({len(found)})" if len(found) > _MOST_NAMED else ""
    several = "classes are" if len(found) > 1 else "a class is"
    return f"{several} too small to be split: {', '.join(found[:_MOST_NAMED])}{more}"


def shared_rows(splits: Splits, given: Collection[str]) -> str:
    """How many rows are on two sides of the split, in words, and what to do about it."""
    parts = (splits.train, splits.validation, splits.test)
    if any(stored_rows(part.X) is not None for part in parts):
        return (
            "rows that stay in their files are not checked for identical ones in two parts"
            if len(given) < 2 and (splits.split and splits.split.by != IDENTICAL)
            else ""
        )
    if any(sparse_rows(part.X) is not None for part in parts):
        of_validation, of_test = count_known(part._fingerprints for part in parts)
    else:
        of_validation, of_test = count_shared(*(part.X for part in parts))
    found = [
        f"{count:,} of {part.rows:,} {role} rows are identical to {others} rows"
        for count, part, role, others in (
            (of_test, splits.test, "test", "training or validation"),
            (of_validation, splits.validation, "validation", "training"),
        )
        if count
    ]
    if not found:
        return ""
    remedy = (
        "remove them from one of the files"
        if given
        else 'groups="identical" (--groups identical) keeps identical rows in one part'
    )
    return f"{', '.join(found)}; {remedy}"


def cut_fraction(
    y: Indices,
    fraction: float,
    seed: int,
    where: str,
    groups: NDArray[Any] | None = None,
    role: str = "any",
    left: str = "",
) -> tuple[Indices, Indices]:
    """Rows kept, and a fraction cut off, ascending; whole groups, if given, from every class.

    An error names the part that the rows are for, its `role`, and what was cut off before.
    """
    rng = np.random.default_rng(seed)
    if groups is not None:
        chosen = _deal_groups(y, groups, np.array([1 - fraction, fraction]), rng, cut=True) == 1
        why = f"no group of the {len(y)} rows{left} can be spared without losing a class"
    else:
        chosen = np.zeros(len(y), bool)
        why = f"each of the {len(y)} rows{left} is the only one of its class"
        for rows in _shuffled_classes(y, rng):
            chosen[rows[: min(len(rows) - 1, max(1, int(fraction * len(rows) + 0.5)))]] = True
    if not chosen.any():
        raise DataError(
            f"{where}: cannot hold out {role} rows, because {why}; add rows, or give the test "
            "and validation rows separately."
        )
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def stratified_folds(
    y: NDArray[Any], folds: int, seed: int = 0, groups: NDArray[Any] | None = None
) -> list[tuple[Indices, Indices]]:
    """Rows to train on and held out for each fold, ascending; classes, or groups, dealt evenly."""
    y = strata(y)
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


def folds_of(data: Splits, folds: Any) -> list[tuple[Indices, Indices]]:
    """Training rows to fit and to hold out for each fold: so many that are drawn, or those given.

    Given are the number of the fold that each training row is held out by (−1 for none), or pairs
    of indices (to fit, to hold out), as scikit-learn's splitters give them.
    """
    y, groups = data.train.y, fold_groups(data)
    if is_number(folds):
        require_whole("folds", folds, 0)
        return stratified_folds(y, folds, groups=groups) if folds else []
    pairs = fold_pairs(folds, len(y))
    for i, (kept, held_out) in enumerate(pairs):
        if not len(kept) or not len(held_out) or np.isin(held_out, kept).any():
            raise DataError(
                f"fold {i} must hold out rows, and be fitted to others, but it has {len(held_out)} "
                f"rows to hold out and {len(kept)} to fit, "
                f"{np.isin(held_out, kept).sum()} of them both."
            )
        if groups is not None and len(both := np.intersect1d(groups[kept], groups[held_out])):
            raise DataError(
                f"fold {i} is fitted to rows of the group {both[0]!s}, which it also holds out; "
                "keep each group on one side."
            )
        missing = np.setdiff1d(y, y[kept])
        if y.ndim == 2:
            missing = np.flatnonzero(y.any(axis=0) & ~y[kept].any(axis=0))
        if len(missing):
            raise DataError(
                f"fold {i} is fitted to no rows of the class "
                f"{data.train.class_names[missing[0]]!r}; give each fold rows of every class."
            )
    return pairs


def fold_pairs(folds: Any, rows: int) -> list[tuple[Indices, Indices]]:
    """Pairs of indices of folds that are given as such or as the fold of each of so many rows."""
    wanted = (
        f"folds must be a number, hold the fold of each of the {rows} training rows, or be pairs "
        "of row numbers to fit and to hold out"
    )
    try:
        given = folds if isinstance(folds, np.ndarray) else list(folds)
        if len(given) and all(isinstance(one, tuple | list) and len(one) == 2 for one in given):
            numbers = np.arange(rows)
            sides = ([side if len(side) else slice(0) for side in pair] for pair in given)
            return [(numbers[fit], numbers[held_out]) for fit, held_out in sides]
        fold = to_array(given, "folds")
    except (IndexError, TypeError) as error:
        raise SettingsError(f"{wanted} ({error}).") from error
    if fold.shape != (rows,):
        raise SettingsError(f"{wanted}, but the shape is {fold.shape}.")
    names = [name for name in np.unique(fold).tolist() if name != -1]
    return [(np.flatnonzero(fold != name), np.flatnonzero(fold == name)) for name in names]


def folds_among(folds: Any, chosen: Indices, rows: int) -> Any:
    """Given folds of so many rows as those of the chosen ones, in their order."""
    if is_number(folds):
        return folds
    place = np.full(rows, -1)
    place[chosen] = np.arange(len(chosen))
    sides = [[place[side] for side in pair] for pair in fold_pairs(folds, rows)]
    return [tuple(side[side >= 0] for side in pair) for pair in sides]


def fold_setting(folds: Any, pairs: Sequence[tuple[Indices, Indices]]) -> int | str:
    """For records, the number of folds that were drawn, or a hash of those that were given."""
    if is_number(folds):
        return int(folds)
    digest = hashlib.sha256()
    for side in (side for pair in pairs for side in pair):
        digest.update(np.asarray(side, np.int64).tobytes() + b";")
    return f"sha256:{digest.hexdigest()}"


def fold_groups(data: Splits) -> NDArray[Any] | None:
    """What keeps together in folds of the training rows, as it did when they were split."""
    by, train = data.split and data.split.by, data.train
    if train.groups is not None:
        return train.groups
    keys = train._read_fingerprints() if by == "identical" else None
    if by == "id" and train.ids is not None:
        keys = text_fingerprints(train.ids)
    return None if keys is None or len(np.unique(keys)) == len(keys) else keys


def nested_subsets(
    y: NDArray[Any],
    sizes: Sequence[float],
    seed: int | Sequence[int],
    groups: NDArray[Any] | None = None,
) -> list[Indices]:
    """For each size so many rows of each class, or a fraction of it, ascending.

    A whole number counts rows, as many as there are at most, and of rows of many labels those that
    have each label; rows of one group come after rows of as many groups as there are. Another
    number is a fraction, of which each class gives at least a row, or, with groups, of whole
    groups. The smaller ones are part of the larger ones.
    """
    rng = np.random.default_rng(seed)
    if groups is not None and not all(isinstance(size, int) for size in sizes):
        return _nested_groups(strata(y), groups, sizes, rng)
    if y.ndim == 2 and all(isinstance(size, int) for size in sizes):
        return _nested_labels(y, _apart(rng.permutation(len(y)), groups), sizes)
    classes = [_apart(rows, groups) for rows in _shuffled_classes(strata(y), rng)]
    found = []
    for size in sizes:
        whole = isinstance(size, int)
        counts = (size if whole else max(1, int(size * len(rows) + 0.5)) for rows in classes)
        parts = [rows[:count] for rows, count in zip(classes, counts, strict=True)]
        found.append(np.sort(np.concatenate(parts)))
    return found


def _apart(rows: Indices, groups: NDArray[Any] | None) -> Indices:
    """The rows in their order, but for the second of a group, which come after all first ones."""
    if groups is None:
        return rows
    member = np.unique(groups[rows], return_inverse=True)[1]
    order = np.argsort(member, kind="stable")
    starts = np.flatnonzero(np.diff(member[order], prepend=-1))
    before = np.empty(len(rows), np.int64)  # rows of its group that come before
    before[order] = np.arange(len(rows)) - np.repeat(starts, np.bincount(member))
    return rows[np.argsort(before, kind="stable")]


def _nested_labels(y: NDArray[Any], order: Indices, sizes: Sequence[float]) -> list[Indices]:
    """For each size rows in this order, until so many have each label; rare labels first."""
    chosen, found = np.zeros(len(y), bool), []
    for size in sizes:
        for k in np.argsort(y.sum(axis=0, dtype=np.int64), kind="stable"):
            left = order[(y[order, k] == 1) & ~chosen[order]]
            chosen[left[: max(0, int(size) - int(y[chosen, k].sum()))]] = True
        found.append(np.flatnonzero(chosen))
    return found


def _nested_groups(
    y: Indices, groups: NDArray[Any], sizes: Sequence[float], rng: np.random.Generator
) -> list[Indices]:
    """For each fraction of the rows about so many in whole groups, first one of each class."""
    member = np.unique(groups, return_inverse=True)[1]
    place = rng.permutation(int(member.max()) + 1)[member]  # of each row's group in the order
    first = np.unique([place[y == label].min() for label in np.unique(y)])
    place = np.where(np.isin(place, first), place, place + len(place))
    filled = np.cumsum(np.unique(place, return_counts=True)[1])
    found = []
    for size in sizes:
        count = max(len(first), int(np.argmin(np.abs(filled - size * len(y)))) + 1)
        found.append(np.flatnonzero(place <= np.unique(place)[count - 1]))
    return found


def stratified_order(y: Indices, seed: int) -> Indices:
    """A random order in which every stretch holds each class by its fraction."""
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
    part = replace(taken := data.take(rows), name=f"{data.name}, {role} rows")
    part._keep_fingerprints(taken)
    return part


def _short(where: str) -> str:
    """A name for what a path or a pattern names: shards/*.npy are the shards."""
    path = Path(where)
    while is_pattern(path) and glob.has_magic(path.stem) and path.name:
        path = path.parent
    return path.stem or "rows"
