"""Labels as people write them, text, numbers or booleans, become class indices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from onelayer.data.progress import Log
from onelayer.errors import DataError

# What labels were before they became class indices: what classes are named by, or the indices.
LabelType = Literal["index", "text", "integer", "boolean"]

INDEX: LabelType = "index"


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
    """The K ≥ 2 classes of labels (N,), after those known: numbers by size, text by its letters."""
    found = [_name(value) for value in np.unique(_checked(labels, where)).tolist()]
    names = (*known, *(name for name in found if name not in known))
    if len(names) < 2:
        held = f"every row is of class {names[0]!r}" if names else "there are no rows"
        raise DataError(
            f"{where}: a classifier needs rows of at least 2 classes, but {held}; add rows of "
            "another class, or name another column or file of labels."
        )
    return names


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


def number_labels(
    labels: NDArray[Any], class_names: tuple[str, ...], where: str
) -> NDArray[np.int64]:
    """The class index of each label, (N,), 0 … K − 1."""
    labels = _checked(labels, where)
    values, inverse = np.unique(labels, return_inverse=True)
    index = {name: i for i, name in enumerate(class_names)}
    numbers = np.array([index.get(_name(value), -1) for value in values.tolist()], np.int64)
    y: NDArray[np.int64] = numbers[inverse]
    if (y < 0).any():
        row = int(np.argmax(y < 0))
        known = ", ".join(class_names[:8]) + (", …" if len(class_names) > 8 else "")
        raise DataError(
            f"{where}: row {row} has the label {_name(labels[row])!r}, which no training row has "
            f"(classes: {known}); drop the row, or add such rows to the training set."
        )
    return y


def _name(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _checked(labels: NDArray[Any], where: str) -> NDArray[Any]:
    """Labels of one type: text as objects, integers or booleans."""
    if labels.ndim != 1:
        raise DataError(
            f"{where}: labels must be one value a row, but their shape is {labels.shape}; give a "
            "single column with the class of each row."
        )
    if labels.dtype.kind in "Mm":  # classes that are times
        labels = labels.astype(str)
    if labels.dtype.kind == "O" and np.array(labels.tolist()).dtype.kind in "iub":
        return np.array(labels.tolist())  # numbers or booleans as Python objects
    held = None if labels.dtype.kind in "OUiub" else f"they are {labels.dtype}"
    if labels.dtype.kind == "f":
        wide = labels.astype(np.float64)  # integers that were stored as floats
        # Beyond 2⁵³ float64 has no odd numbers; a NaN is neither.
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
        if not isinstance(value, str) or not value.strip():
            held = "empty" if value is None or isinstance(value, str) else repr(value)
            raise DataError(
                f"{where}: every row needs a label of text, but row {row} is {held}; fill it or "
                "drop the row."
            )
    return labels
