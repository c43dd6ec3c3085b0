"""Rows, labels and what they mean: `Dataset`, and the three `Splits` that training needs."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from operator import attrgetter
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onelayer.data.classes import (
    INDEX,
    MANY,
    LabelType,
    check_label_matrix,
    check_label_type,
    label_values,
)
from onelayer.data.fingerprints import Fingerprints, distinct, row_fingerprints
from onelayer.data.formats.base import to_array
from onelayer.data.identity import column_names, match_columns, take_columns
from onelayer.data.mapped import check_mapped
from onelayer.data.progress import Log, print_line
from onelayer.data.sparse import SparseRows, is_sparse, sparse_rows
from onelayer.data.streaming import (
    first_not_finite,
    iter_tiles,
    join_stored,
    not_finite,
    stored_rows,
)
from onelayer.data.weights import check_weights, near_one, numbers
from onelayer.errors import DataError, SettingsError
from onelayer.files.records import MAY_LACK, MaybeNone

# What rows have besides X and y.
OF_ROWS = ("ids", "weights", "groups", "offsets")

SUPPORTED_DTYPES = ("uint8", "float16", "float32", "float64")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled rows, kept as they are stored.

    Attributes:
        X: (N, D) features, uint8, float16, float32 or float64; only an array that is not
            C-contiguous is copied. Or `StoredRows`, which read from files what is sliced. Or
            `SparseRows`, or a sparse array or matrix of SciPy, which becomes some.
        y: (N,) labels, integers from 0 to K − 1; kept as int64. Or of many labels a row (N, K), 1
            where the row has the label and 0 where not; kept as uint8.
        class_names: names of the K ≥ 2 classes.
        image_shape: (channels, height, width) when the D features are an image's channel planes
            one after another, else None.
        max_value: the largest value that a feature can have, > 0; "unit" scaling divides by it.
        name: short name, for messages.
        source: where the rows came from, a sentence.
        feature_names: names of the D features, as a file's columns have them, or None. Default: the
            columns of a data frame.
        ids: (N,) what names each row, to join predictions by, or None.
        label_type: what the labels were before they became indices: "text", "integer" or "boolean",
            by which the classes are named, or "index". `labels` gives them back. "many" of many
            labels a row.
        weights: (N,) weight of each row, finite and ≥ 0, some above 0; None is one each. Means over
            rows are Σ w (·) / Σ w, in training as in evaluation: an integer repeats a row.
        groups: (N,) what each row belongs to, such as its patient, or None: rows of one group are
            in one part and one fold, and are drawn together by the bootstrap.
        offsets: (N, K) what is added to the scores, s = W x + b + o, in `solve`, evaluation and
            prediction; (N,) of two classes is the second's. None is 0. Kept as float32 or float64.

    Raises:
        DataError: for an empty set, an unsupported dtype, lengths that differ, a label outside
            the classes, a NaN or an infinity, a negative weight, or an image shape of another size
            than D.

    Example:
        >>> d = Dataset(np.zeros((4, 12), np.uint8), np.array([0, 1, 1, 0]), ("cat", "dog"))
        >>> d.rows, d.features, d.classes
        (4, 12, 2)
    """

    X: NDArray[np.generic]
    y: NDArray[Any]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None = None
    max_value: float = 1.0
    name: str = "data"
    source: str = "made in memory"
    feature_names: tuple[str, ...] | MaybeNone = None
    ids: NDArray[Any] | MaybeNone = None
    label_type: LabelType = INDEX
    weights: NDArray[np.float64] | MaybeNone = None
    groups: NDArray[Any] | MaybeNone = None
    offsets: NDArray[np.floating] | MaybeNone = None

    def __post_init__(self) -> None:
        names = self.feature_names or column_names(self.X)
        names = names and tuple(names)
        object.__setattr__(self, "feature_names", names)
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if is_sparse(self.X):
            object.__setattr__(self, "X", SparseRows.of(self.X, self.name))
        kept = stored_rows(self.X) is not None or sparse_rows(self.X) is not None
        X = self.X if kept else to_array(self.X, f"{self.name}: X")
        if X.ndim != 2:
            raise self._error(f"X must have two dimensions, (N, D), but its shape is {X.shape}")
        if X.dtype.name not in SUPPORTED_DTYPES:
            known = ", ".join(SUPPORTED_DTYPES)
            raise self._error(f"X must be {known}, but it is {X.dtype}; convert it with X.astype")
        if 0 in X.shape:
            raise self._error(
                f"the data set is empty, X has shape {X.shape}; give at least one row and feature"
            )
        if not kept:  # numbers in files are checked as they are read, sparse ones were
            # A byte order that is not the machine's would reach the C++ kernel as other numbers.
            X = np.ascontiguousarray(X, X.dtype.newbyteorder("="))
            if (found := first_not_finite(X)) is not None:
                raise not_finite(self.name, *found, X[found], names)
        object.__setattr__(self, "X", X)
        if np.ndim(self.y) == 2:
            object.__setattr__(self, "label_type", MANY)
        self._check_meaning()
        object.__setattr__(self, "y", self._checked_labels(to_array(self.y, f"{self.name}: y")))
        if self.weights is not None:
            what = f"{self.name}: weights"
            checked = check_weights(to_array(self.weights, what), self.rows, what)
            object.__setattr__(self, "weights", near_one(checked))
        if self.offsets is not None:
            given = to_array(self.offsets, f"{self.name}: offsets")
            object.__setattr__(self, "offsets", self._checked_offsets(given))

    def __repr__(self) -> str:
        return f"{self.name}: {self.rows} rows, {self._columns}"

    @property
    def _columns(self) -> str:
        weighted = "" if self.weights is None else ", weighted rows"
        weighted += "" if self.offsets is None else ", offsets"
        what = "labels, many a row" if self.many_labels else "classes"
        sparse = sparse_rows(self.X)
        form = "" if sparse is None else f", sparse: {sparse.nnz / self.rows:.3g} values a row"
        return f"{self.features} features ({self.X.dtype}{form}), {self.classes} {what}{weighted}"

    @property
    def rows(self) -> int:
        """N, how many rows."""
        return int(self.X.shape[0])

    @property
    def features(self) -> int:
        """D, how many features a row has."""
        return int(self.X.shape[1])

    @property
    def classes(self) -> int:
        """K, how many classes."""
        return len(self.class_names)

    @property
    def many_labels(self) -> bool:
        """Whether a row has any number of labels, and y is (N, K)."""
        return self.y.ndim == 2

    @property
    def labels(self) -> NDArray[Any]:
        """The label of each row as it was given, (N,): what `Model.predict` returns.

        Of many labels a row it is y, (N, K).

        Example:
            >>> from onelayer import split
            >>> sorted(split(np.eye(6), ["cat", "dog"] * 3).train.labels.tolist())
            ['cat', 'dog']
        """
        if self.many_labels:
            return self.y
        return np.asarray(label_values(self.class_names, self.label_type)[self.y])

    @property
    def fingerprints(self) -> Fingerprints | None:
        """64 bits of each row's values, (N,); None for rows in files that were not yet read."""
        return self._known_fingerprints(slice(None))

    def _read_fingerprints(self) -> Fingerprints | None:
        """The same, after rows in files are read, unless they were."""
        stored = stored_rows(self.X)
        if stored is not None and self.fingerprints is None:
            for _ in iter_tiles(stored):
                pass
        return self.fingerprints

    def _known_fingerprints(self, rows: slice) -> Fingerprints | None:
        """Those of some rows; None where one of them is in a file and was not yet read."""
        stored = stored_rows(self.X)
        return self._fingerprints[rows] if stored is None else stored.known_fingerprints(rows)

    @cached_property
    def _fingerprints(self) -> Fingerprints:
        sparse = sparse_rows(self.X)
        return row_fingerprints(self.X) if sparse is None else sparse.fingerprints()

    @property
    def distinct_fingerprints(self) -> Fingerprints | None:
        """The same, ascending, each once."""
        if stored_rows(self.X) is None:
            return self._distinct
        known = self.fingerprints
        return None if known is None else distinct(known)

    @cached_property
    def _distinct(self) -> Fingerprints:
        return distinct(self._fingerprints)

    def take(self, rows: slice | ArrayLike) -> Dataset:
        """Choose rows, with the same classes.

        Args:
            rows: a slice (no copy is made), row numbers in −N to N − 1, or N booleans. Of rows in
                files they must be ascending, and none is copied.

        Raises:
            DataError: when no row is chosen, or a row number is out of range.

        Example:
            >>> d = Dataset(np.arange(6.0).reshape(3, 2), np.array([0, 1, 0]), ("a", "b"))
            >>> d.take([2, 0]).X.tolist()
            [[4.0, 5.0], [0.0, 1.0]]
        """
        index = rows if isinstance(rows, slice) else np.atleast_1d(np.asarray(rows))
        try:
            own = {name: getattr(self, name) for name in OF_ROWS}
            chosen: dict[str, Any] = {n: None if of is None else of[index] for n, of in own.items()}
            taken = replace(self, X=self._chosen(index), y=self.y[index], **chosen)
        except IndexError as error:
            raise self._error(
                f"rows must be numbers from 0 to {self.rows - 1}, a slice or {self.rows} booleans, "
                f"but the choice does not fit ({error})"
            ) from error
        taken._keep_fingerprints(self, index)
        return taken

    def _keep_fingerprints(self, of: Dataset, rows: Any = slice(None)) -> None:
        """Take over what is known of the fingerprints of the same rows of another data set."""
        if (known := vars(of).get("_fingerprints")) is not None:
            vars(self)["_fingerprints"] = known[rows]

    def with_features(
        self, names: Sequence[str] | None, whose: str, log: Log | None = None
    ) -> Dataset:
        """The same rows with the features of these names, in this order, whatever theirs is.

        Args:
            names: the features to have; None, or rows without names, leaves all in their places.
            whose: whose features they are, for messages, as in "the model".
            log: callback for the one-line message about columns that are left out; None prints it.

        Raises:
            DataError: when a feature is missing.

        Example:
            >>> d = Dataset([[1.0, 2.0]], [0], ("a", "b"), feature_names=("width", "height"))
            >>> d.with_features(("height", "width"), "the model").X.tolist()
            [[2.0, 1.0]]
        """
        places = match_columns(self.feature_names, names, self.name, whose, log or print_line)
        if places is None:
            return self
        X, shape = take_columns(self.X, places), self.image_shape
        shape = shape if shape and prod(shape) == len(places) else None
        return replace(self, X=X, image_shape=shape, feature_names=tuple(names or ()))

    def _chosen(self, index: slice | NDArray[np.generic]) -> NDArray[np.generic]:
        stored = stored_rows(self.X)
        if stored is None and (isinstance(index, slice) or sparse_rows(self.X) is not None):
            return self.X[index]
        numbers = np.arange(self.rows)[index]
        if stored is None:
            return copy_rows(self.X, numbers)
        if (np.diff(numbers) <= 0).any():
            raise self._error(
                "rows that stay in files are chosen in their own order, but the choice is not "
                "ascending; sort it, or read them with X[rows]"
            )
        return cast(NDArray[np.generic], stored.take(numbers))

    def _check_meaning(self) -> None:
        shape, names = self.image_shape, self.feature_names
        if self.classes < 2:
            raise self._error(
                "a classifier needs at least 2 classes or labels, but class_names holds "
                f"{self.classes}; name every class"
            )
        if not 0 < self.max_value < np.inf:
            raise self._error(
                f"max_value must be a finite number above 0, but it is {self.max_value}"
            )
        check_label_type(self.class_names, self.label_type)
        if shape is not None and (len(shape) != 3 or prod(shape) != self.features):
            raise self._error(
                "image_shape must be (channels, height, width) with a product of "
                f"{self.features} features, but it is {shape}"
            )
        if names is not None and len(names) != self.features:
            raise self._error(
                f"feature_names must name each of the {self.features} features, but there are "
                f"{len(names)} names"
            )

        if self.ids is not None and len(self.ids) != self.rows:
            raise self._error(f"ids must name each of the {self.rows} rows, not {len(self.ids)}")
        if self.groups is not None:
            groups = to_array(self.groups, f"{self.name}: groups")
            if groups.shape != (self.rows,):
                raise self._error(
                    f"groups must hold one group for each of the {self.rows} rows, but its shape "
                    f"is {groups.shape}"
                )
            object.__setattr__(self, "groups", groups)

    def _checked_labels(self, y: NDArray[Any]) -> NDArray[Any]:
        top = self.classes - 1
        if y.ndim == 2 and len(y) == self.rows and y.dtype.kind in "biuf":
            return check_label_matrix(y, self.classes, self.name)
        if self.label_type == MANY and y.ndim == 1:
            raise self._error(
                f"many labels a row need y of shape (N, {self.classes}), of 0 and 1, but its shape "
                f"is {y.shape}"
            )
        if y.shape != (self.rows,):
            raise self._error(
                f"y must hold one label for each of the {self.rows} rows of X, but its shape is "
                f"{y.shape}"
            )
        if y.dtype.kind not in "iu":
            raise self._error(
                f"labels must be integers from 0 to {top}, but y is {y.dtype}; encode them first, "
                "or use onelayer.split, which takes labels of any type"
            )
        wrong = (y < 0) | (y > top)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise self._error(
                f"labels must be 0 to {top} for {self.classes} classes, but row {row} has label "
                f"{y[row]}; correct the label or name every class"
            )
        return np.ascontiguousarray(y, dtype=np.int64)

    def _checked_offsets(self, given: NDArray[Any]) -> NDArray[np.floating]:
        if self.many_labels:
            raise self._error("offsets are for rows of one class, but these have many labels")
        offsets = numbers(given)
        shape = (self.rows, self.classes)
        if offsets.dtype.kind not in "biuf" or offsets.shape not in (shape, shape[: 3 - shape[1]]):
            of_two = f", or ({self.rows},) for the second class" if self.classes == 2 else ""
            raise self._error(
                f"offsets must be numbers for each row and class, of shape {shape}{of_two}, but "
                f"they are {offsets.dtype} of shape {offsets.shape}"
            )
        kept = offsets.astype(offsets.dtype if offsets.dtype.name == "float32" else np.float64)
        if kept.ndim == 1:
            kept = np.stack([np.zeros_like(kept), kept], axis=1)
        if not np.isfinite(kept).all():
            row = int(np.argmin(np.isfinite(kept).all(axis=1)))
            raise self._error(f"offsets must be finite, but row {row} has NaN or infinity")
        return np.ascontiguousarray(kept)

    def refuse_offsets(self, what: str) -> None:
        """Raise `DataError` where rows have offsets."""
        if self.offsets is not None:
            raise self._error(f"rows have offsets, which {what} does not take; solve does")

    def _error(self, what: str) -> DataError:
        return DataError(f"{self.name}: {what}.")


By = Literal["rows", "groups", "identical", "id"]


@dataclass(frozen=True, eq=False)
class SplitCard:
    """How rows were split, and which of them a model is fitted to.

    Attributes:
        by: what had to stay on one side: "rows" nothing, "groups" the groups that were given,
            "identical" rows of the same values, "id" rows of the same id. None: nothing was drawn.
        seed: of the draw.
        test_size: fraction of the rows that was held out for testing; None where test rows were
            given.
        validation_size: of the rows that were left, likewise.
        rows: fingerprints of the training rows, (n,) ascending, each once; None where unknown.
    """

    by: By | None = None
    seed: int | None = None
    test_size: float | None = None
    validation_size: float | None = None
    rows: Fingerprints | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        rows = self.rows
        if rows is not None and (rows.ndim != 1 or (rows[1:] <= rows[:-1]).any()):
            raise DataError("fingerprints of training rows must ascend.")

    def holds(self, rows: Fingerprints) -> NDArray[np.bool_]:
        """Which of some rows are among the training rows."""
        if self.rows is None or not len(self.rows):
            return np.zeros(len(rows), np.bool_)
        places = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        return np.asarray(self.rows[places] == rows)


@dataclass(frozen=True)
class Splits:
    """Training, validation and test rows that belong together.

    Features are met by their names: parts with the training part's columns in another order are put
    in order, and what it does not have is left out with a message.

    Attributes:
        train: rows that W and b are fitted to.
        validation: rows that settings are chosen by.
        test: rows that the chosen setting is judged by.
        name: name of the data set: "cifar10", "digits", …
        source: where it came from, a sentence.
        split: how they were split; None where they were given.

    Raises:
        DataError: when a part lacks a feature of the training rows, or they differ in the number of
            features, dtype, classes, image shape or max_value.

    Example:
        >>> d = Dataset(np.eye(3), np.array([0, 1, 0]), ("a", "b"))
        >>> Splits(d, d, d, name="made", source="made in memory").test.rows
        3
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    name: str
    source: str
    split: SplitCard | None = field(default=None, compare=False, repr=False)

    def __repr__(self) -> str:
        held_out = f"{self.validation.rows} validation, {self.test.rows} test rows"
        return f"{self.name}: {self.train.rows} training, {held_out}, {self.train._columns}"

    def __post_init__(self) -> None:
        for part in (self.train, self.validation, self.test):
            require_rows("Splits", part)
        for role in ("validation", "test"):
            whose = f"{self.train.name}"
            other = getattr(self, role).with_features(self.train.feature_names, whose)
            object.__setattr__(self, role, other)
            for what in ("features", "class_names", "image_shape", "max_value", "X.dtype"):
                expected, got = attrgetter(what)(self.train), attrgetter(what)(other)
                if expected != got:
                    raise DataError(
                        f"{self.name}: training and {role} rows must agree in {what}, but they "
                        f"have {expected} and {got}."
                    )
            if (other.offsets is None) != (self.train.offsets is None):
                raise DataError(
                    f"{self.name}: training and {role} rows must both have offsets, or none of "
                    "them; zeros are offsets too."
                )
            if (sparse_rows(other.X) is None) != (sparse_rows(self.train.X) is None):
                raise DataError(
                    f"{self.name}: training and {role} rows must both be sparse, or none of them; "
                    "convert one with toarray() or scipy.sparse.csr_array."
                )

    @property
    def train_and_validation(self) -> Dataset:
        """Both parts as one data set, copied; rows in files stay there."""
        parts, weights = (self.train, self.validation), None
        if any(part.weights is not None for part in parts):
            each = (np.ones(p.rows) if p.weights is None else p.weights for p in parts)
            weights = np.concatenate([*each])

        def both(name: str) -> Any:
            values = [getattr(part, name) for part in parts]
            if any(value is None for value in values):
                return None
            return (np.concatenate if sparse_rows(values[0]) is None else SparseRows.stack)(values)

        in_files = [one for part in parts if (one := stored_rows(part.X)) is not None]
        if len(in_files) == 1:
            raise DataError(
                f"{self.name}: training and validation rows cannot be joined, because only one of "
                "them stays in its files; load both alike with stream (--stream, --no-stream)."
            )
        X: Any
        order: Any
        X, order = join_stored(in_files) if len(in_files) == 2 else (both("X"), slice(None))
        own = {name: both(name) for name in ("y", "ids", "groups", "offsets")}
        own |= {"weights": weights}
        own = {name: None if values is None else values[order] for name, values in own.items()}
        return replace(self.train, X=X, **own, name=f"{self.train.name} and validation rows")


@dataclass(frozen=True)
class DataCard:
    """Which data a result was trained on: names and sizes, no rows."""

    name: str
    source: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    train_rows: int
    validation_rows: int
    test_rows: int
    feature_names: tuple[str, ...] | None = None
    split: SplitCard | None = field(default=None, compare=False, repr=False, metadata=MAY_LACK)
    label_type: LabelType = field(default=INDEX, metadata=MAY_LACK)
    first_index: int | None = field(default=None, metadata=MAY_LACK)  # `SparseRows.first_index`
    weighted: bool = field(default=False, metadata=MAY_LACK)  # whether rows have weights

    @property
    def many_labels(self) -> bool:
        """Whether a row has any number of labels."""
        return self.label_type == MANY


def require_rows(function: str, data: object) -> None:
    """Raise `SettingsError` unless `data` are rows with labels: a `Dataset` or `Splits`."""
    if not isinstance(data, Dataset | Splits):
        raise _no_rows(function, "splits or a Dataset", data)


def require_splits(function: str, data: object) -> None:
    """Raise `SettingsError` unless `data` are `Splits`."""
    if not isinstance(data, Splits):
        raise _no_rows(function, "splits, with validation and test rows", data)


def _no_rows(function: str, needed: str, given: object) -> SettingsError:
    named = isinstance(given, str | os.PathLike)
    hint = "load(path) reads them" if named else "split(X, y) makes them of arrays"
    return SettingsError(
        f"{function} needs {needed}, but {type(given).__name__} was given; onelayer.{hint}."
    )


def training_rows(data: Dataset | Splits) -> Dataset:
    """The rows that a model is fitted to: a data set, or the training part of splits."""
    return data.train if isinstance(data, Splits) else data


def data_card(data: Dataset | Splits) -> DataCard:
    """The card of the data."""
    train = training_rows(data)
    drawn = data.split if isinstance(data, Splits) else None
    return DataCard(
        name=data.name,
        source=data.source,
        class_names=train.class_names,
        image_shape=train.image_shape,
        train_rows=train.rows,
        validation_rows=data.validation.rows if isinstance(data, Splits) else 0,
        test_rows=data.test.rows if isinstance(data, Splits) else 0,
        feature_names=train.feature_names,
        split=replace(drawn or SplitCard(), rows=train.distinct_fingerprints),
        label_type=train.label_type,
        first_index=getattr(train.X, "first_index", None),
        weighted=train.weights is not None,
    )


def copy_rows(X: NDArray[Any], indices: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """X[indices] as a new array, read in the file's order where X is mapped, a piece at a time."""
    base: object = X
    while isinstance(base, np.ndarray):
        base = base.base
    copies = np.empty((len(indices), X.shape[1]), X.dtype)
    order = np.argsort(indices, kind="stable")
    each = max(1, (2 << 20) // (X.shape[1] * X.itemsize))
    for start in range(0, len(order), each):
        places = order[start : start + each]
        copies[places] = X[indices[places]]
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)  # read again where it is touched again
    check_mapped(X)
    return copies
