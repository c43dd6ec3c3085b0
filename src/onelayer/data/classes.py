"""Labels as people write them, text, numbers or booleans, become class indices.

Of many labels a row they become a matrix (N, K) of 0 and 1. They are written as one, as K columns,
or as a list of labels in each row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from onelayer.data.progress import Log
from onelayer.errors import DataError, one_line

# What labels were before they became class indices: what classes are named by, or the indices.
# "many": a row has any number of them.
LabelType = Literal["index", "text", "integer", "boolean", "many"]

INDEX: LabelType = "index"

MANY: LabelType = "many"


def label_values(class_names: Sequence[str], kind: LabelType) -> NDArray[Any]:
    """The label that each class was named by, (K,), or its index."""
    if kind == INDEX:
        return np.arange(len(class_names))
    if kind == "integer":
        return np.array([int(name) for name in class_names])
    names = np.array(class_names)
    return names == "true" if kind == "boolean" else names


def label_type(labels: NDArray[Any], class_names: Sequence[str]) -> LabelType:
    """What labels are that `name_classes` named these classes by; "text" for names of another."""
    if are_many(labels):
        return MANY
    kind = _checked(labels, "labels").dtype.kind
    found: LabelType = "boolean" if kind == "b" else "integer" if kind in "iu" else "text"
    return found if _are(class_names, found) else "text"


def check_label_type(class_names: Sequence[str], kind: LabelType) -> None:
    """Raise `DataError` unless classes of these names can have labels of that type."""
    if kind not in get_args(LabelType) or not _are(class_names, kind):
        raise DataError(
            f"label_type must be {', '.join(get_args(LabelType))}, and the class names labels of "
            f"that type, but {kind!r} was given for classes such as {class_names[0]!r}."
        )


def _are(class_names: Sequence[str], kind: LabelType) -> bool:
    """Whether class names are labels of that type."""
    if kind == "integer":
        return all(re.fullmatch("0|-?[1-9][0-9]*", name) for name in class_names)
    return kind != "boolean" or set(class_names) <= {"true", "false"}


def name_classes(labels: NDArray[Any], where: str, known: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The K ≥ 2 classes of labels (N,), after those known: numbers by size, text by its letters.

    Of a matrix (N, K) of many labels they are those known, or the numbers of its columns.
    """
    if are_many(labels):
        return _name_many(labels, where, known)
    found = [_name(value) for value in _distinct(_checked(labels, where))]
    names = (*known, *(name for name in found if name not in known))
    if len(names) < 2:
        held = f"every row is of class {names[0]!r}" if names else "there are no rows"
        raise DataError(
            f"{where}: a classifier needs rows of at least 2 classes, but {held}; add rows of "
            "another class, or name another column or file of labels."
        )
    return names


def note_spaces(class_names: Sequence[str], where: str, log: Log) -> None:
    """Tell of classes whose names differ only by spaces around them."""
    known: dict[str, str] = {}
    for name in class_names:
        if (first := known.setdefault(name.strip(), name)) is not name:
            log(
                f"{where}: the classes {first!r} and {name!r} differ only by spaces; strip the "
                "labels if they are one class."
            )
            return


def join_labels(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The labels of several files as those of one: where some are text, all are."""
    kinds = {part.dtype.kind for part in parts}
    if len(kinds) > 1 and kinds & {"O", "U"}:
        parts = [np.array([_name(value) for value in part.tolist()], object) for part in parts]
    return np.concatenate(parts)


def one_a_row(labels: NDArray[Any], where: str, log: Log) -> NDArray[Any]:
    """Labels (N,), also those of shape (N, 1), which are taken with a message."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        log(f"{where}: the labels of shape {labels.shape} are taken as one a row.")
        return labels[:, 0]
    return labels


def number_labels(labels: NDArray[Any], class_names: tuple[str, ...], where: str) -> NDArray[Any]:
    """The class index of each label, (N,), 0 … K − 1; many labels a row as (N, K) of 0 and 1."""
    if are_many(labels):
        return _label_matrix(labels, class_names, where)
    labels = _checked(labels, where)
    index = {name: i for i, name in enumerate(class_names)}
    if labels.dtype.kind == "O":
        y = np.fromiter((index.get(name, -1) for name in labels.tolist()), np.int64, len(labels))
    else:
        values, inverse = np.unique(labels, return_inverse=True)
        y = np.array([index.get(_name(value), -1) for value in values.tolist()], np.int64)[inverse]
    if (y < 0).any():
        row = int(np.argmax(y < 0))
        known = ", ".join(class_names[:8]) + (", …" if len(class_names) > 8 else "")
        raise DataError(
            f"{where}: row {row} has the label {_name(labels[row])!r}, which no training row has "
            f"(classes: {known}); drop the row, or add such rows to the training set."
        )
    return y


def are_many(labels: NDArray[Any]) -> bool:
    """Whether rows have many labels: columns of them, or a list in each row.

    Example:
        >>> are_many(np.eye(2)), are_many(np.array([0, 1])), are_many(lists_of([["a"], []]))
        (True, False, True)
    """
    if labels.ndim == 2:
        return int(labels.shape[1]) > 1
    if labels.dtype.names is not None:  # a field for each label
        return True
    if labels.ndim != 1 or labels.dtype.kind != "O":
        return False
    return isinstance(next((v for v in labels if v is not None), None), _LISTS)


_LISTS = (list, tuple, set, frozenset, np.ndarray)


def lists_of(values: Any) -> Any:
    """Lists of labels, one a row and of any length, as an array (N,); other values as they are.

    A list of text and NaN keeps both, which NumPy would join to text.
    """
    if isinstance(values, list | tuple) and set(map(type, values)) == {str, float}:
        return np.array(values, object)
    if not isinstance(values, list | tuple) or not all(isinstance(v, _LISTS) for v in values):
        return values
    if len({len(value) for value in values}) == 1:
        return values
    rows = np.empty(len(values), object)
    rows[:] = [list(value) for value in values]
    return rows


def _rows_of_lists(labels: NDArray[Any], where: str) -> list[list[Any]]:
    """The labels of each row as Python's values, where a list of them is written in each row."""
    rows = []
    for i, held in enumerate(labels):
        if not isinstance(held, _LISTS):
            raise DataError(
                f"{where}: every row needs a list of labels, but row {i} is {held!r}; write [] "
                "for none."
            )
        row = held.tolist() if isinstance(held, np.ndarray) else list(held)
        wrong = [v for v in row if not isinstance(v, str | int | np.integer) or v == ""]
        if wrong:
            raise DataError(
                f"{where}: labels must be text or integers, but row {i} holds {wrong[0]!r}; "
                "correct the row."
            )
        rows.append(row)
    return rows


def _as_matrix(labels: NDArray[Any], where: str) -> NDArray[Any] | None:
    """Labels that are written as 0 and 1, (N, K); None where they are written as lists of names."""
    if (names := labels.dtype.names) is not None:
        if not names:
            raise DataError(f"{where}: the labels have no columns; give each label one of 0 and 1.")
        for name in names:
            if labels[name].dtype.kind not in "biuf":
                raise DataError(
                    f"{where}: a column for each of many labels holds 0 and 1, but {name!r} is "
                    f"{labels[name].dtype}; choose the columns of labels alone."
                )
        return np.column_stack([labels[name] for name in names])
    if labels.ndim == 2 and labels.dtype.kind in "biuf":
        return labels
    if labels.ndim == 2 and labels.dtype.kind != "O":
        return None
    rows = _rows_of_lists(labels, where)
    # A list of names repeats none, and one of 0 and 1 for each label does.
    alike = len({len(row) for row in rows}) == 1 and len(rows[0]) > 1
    plain = alike and all(v in (0, 1) and not isinstance(v, str) for row in rows for v in row)
    return np.array(rows) if plain and any(len(set(row)) < len(row) for row in rows) else None


def _name_many(labels: NDArray[Any], where: str, known: tuple[str, ...]) -> tuple[str, ...]:
    matrix = _as_matrix(labels, where)
    if matrix is not None:
        own = labels.dtype.names or tuple(map(str, range(matrix.shape[1])))
        names = known or own
        if len(names) != matrix.shape[1]:
            raise DataError(
                f"{where}: the labels have {matrix.shape[1]} columns, but {len(names)} labels are "
                "known; give each label a column."
            )
        return names
    held = {value for row in _rows_of_lists(labels, where) for value in row}
    numbers = all(isinstance(value, int | np.integer) for value in held)
    found = [_name(value) for value in sorted(held, key=None if numbers else str)]
    names = (*known, *(name for name in found if name not in known))
    if len(names) < 2:
        raise DataError(
            f"{where}: rows of many labels need at least 2 of them, but there is "
            f"{'only ' + repr(names[0]) if names else 'none'}; add rows, or give one label a row."
        )
    return names


def _label_matrix(
    labels: NDArray[Any], class_names: tuple[str, ...], where: str
) -> NDArray[np.uint8]:
    """Which of the labels each row has, (N, K) of 0 and 1."""
    if labels.dtype.names is not None:
        if missing := [name for name in class_names if name not in labels.dtype.names]:
            raise DataError(
                f"{where}: every part needs the same labels, but there is no column {missing[0]!r}."
            )
        labels = labels[list(class_names)]
    matrix = _as_matrix(labels, where)
    if matrix is not None:
        return check_label_matrix(matrix, len(class_names), where)
    places = {name: k for k, name in enumerate(class_names)}
    found = np.zeros((len(labels), len(class_names)), np.uint8)
    for i, row in enumerate(_rows_of_lists(labels, where)):
        for value in row:
            if _name(value) not in places:
                known = ", ".join(class_names[:8]) + (", …" if len(class_names) > 8 else "")
                raise DataError(
                    f"{where}: row {i} has the label {_name(value)!r}, which no training row has "
                    f"(labels: {known}); drop it, or add such rows to the training set."
                )
            found[i, places[_name(value)]] = 1
    return found


def check_label_matrix(matrix: NDArray[Any], labels: int, where: str) -> NDArray[np.uint8]:
    """Labels of 0 and 1, (N, K), as uint8."""
    if matrix.shape[1] != labels:
        raise DataError(
            f"{where}: many labels a row must have a column for each of the {labels} labels, but "
            f"their shape is {matrix.shape}."
        )
    wrong = (matrix != 0) & (matrix != 1)
    if wrong.any():
        row, column = (int(at) for at in np.argwhere(wrong)[0])
        raise DataError(
            f"{where}: many labels a row are 0 or 1, but row {row}, column {column} is "
            f"{matrix[row, column]}; give one label a row, or a column of 0 and 1 for each label."
        )
    return np.ascontiguousarray(matrix, np.uint8)


def strata(y: NDArray[Any]) -> NDArray[np.int64]:
    """What rows are stratified by, (N,): the class; of many labels the rarest one of the row.

    Rows without a label are a stratum of their own. It is the first step of Sechidis, Tsoumakas &
    Vlahavas (2011), On the stratification of multi-label data.

    Example:
        >>> strata(np.array([[1, 1], [1, 0], [0, 0]])).tolist()
        [1, 0, 2]
    """
    if y.ndim == 1:
        return y
    K = y.shape[1]
    rank = np.empty(K, np.int64)
    order = np.argsort(y.sum(axis=0, dtype=np.int64), kind="stable")
    rank[order] = np.arange(K)
    least = np.where(y == 1, rank, K).min(axis=1)
    return np.asarray(np.append(order, K)[least])


def _name(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _distinct(labels: NDArray[Any]) -> list[Any]:
    """The values of checked labels, in order. A set of text is ten times as fast as sorting all."""
    return sorted(set(labels.tolist())) if labels.dtype.kind == "O" else np.unique(labels).tolist()


def _checked(labels: NDArray[Any], where: str) -> NDArray[Any]:
    """Labels of one type: text as objects, integers or booleans."""
    if labels.ndim != 1:
        raise DataError(
            f"{where}: labels must be one value a row, or a column of 0 and 1 for each of many "
            f"labels, but their shape is {labels.shape}."
        )
    only_text = labels.dtype.kind == "O" and {str}.issuperset(map(type, labels))
    if only_text and all(map(str.strip, _distinct(labels))):
        return labels  # what text nearly always is, told without looking at each row
    _refuse_missing(labels, where)
    labels = _as_known(labels, where)
    if labels.dtype.kind == "O" and np.array(labels.tolist()).dtype.kind in "iub":
        return np.array(labels.tolist())  # numbers or booleans as Python objects
    held = None if labels.dtype.kind in "OUiub" else f"they are {labels.dtype}"
    if labels.dtype.kind == "f":
        wide = labels.astype(np.float64)  # integers that were stored as floats
        # Beyond 2⁵³ float64 has no odd numbers.
        right = (np.abs(wide) <= 2.0**53) & (np.floor(wide) == wide)
        if right.all():
            return wide.astype(np.int64)
        row = int(np.argmin(right))
        held = f"row {row} is {wide[row]:g}"
    if held is not None:
        raise DataError(
            f"{where}: labels must be text, integers or booleans, but {held}; name another column, "
            "or write the classes as integers."
        )
    if labels.dtype.kind == "U":
        labels = labels.astype(object)
    for row, value in enumerate(labels if labels.dtype.kind == "O" else ()):
        if not isinstance(value, str):
            raise DataError(
                f"{where}: labels must be all text, all integers or all booleans, but row {row} is "
                f"{one_line(repr(value))}; write them as text."
            )
    return labels


def _refuse_missing(labels: NDArray[Any], where: str) -> None:
    """Raise `DataError` for the first row without a label, whatever stands in its place."""
    if labels.dtype.kind in "fM":
        missing = np.isnan(labels) if labels.dtype.kind == "f" else np.isnat(labels)
        row = int(np.argmax(missing)) if missing.any() else None
    else:
        values = labels.tolist() if labels.dtype.kind in "OUS" else ()
        row = next((row for row, value in enumerate(values) if _is_missing(value)), None)
    if row is not None:
        raise DataError(
            f"{where}: every row needs a label, but row {row} has none; fill it or drop the row."
        )


def _is_missing(value: object) -> bool:
    """Whether a value is None, NaN, pandas's NA or NaT, or text without letters."""
    if isinstance(value, str | bytes):
        return not value.strip()
    if isinstance(value, float | Decimal):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _as_known(labels: NDArray[Any], where: str) -> NDArray[Any]:
    """Times and bytes as text, and decimal numbers as floats; other labels as they are."""
    kinds = set(map(type, labels)) if labels.dtype.kind == "O" else set()
    if labels.dtype.kind == "M" or (kinds and all(issubclass(kind, date) for kind in kinds)):
        return np.array([time_name(str(value)) for value in labels], object)
    if labels.dtype.kind == "S" or kinds == {bytes}:
        try:
            return np.array([value.decode() for value in labels.tolist()], object)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where}: labels of bytes must be text in UTF-8, but one is {error.object!r:.80}; "
                "write them as text."
            ) from error
    return labels.astype(np.float64) if kinds == {Decimal} else labels


def time_name(text: str) -> str:
    """The name of a class that is a time, whatever wrote it.

    Example:
        >>> time_name("2024-05-01T06:30:00.500"), time_name("2024-05-01 06:30:00.000000Z")
        ('2024-05-01 06:30:00.5', '2024-05-01 06:30:00Z')
    """
    return (
        re.sub(r"(\.\d*?)0*(Z?)$", r"\1\2", text.replace("T", " ")).replace(".Z", "Z").rstrip(".")
    )
