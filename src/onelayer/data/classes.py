"""Labels as people write them, text, numbers or booleans, become class indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import DataError

# Beyond this float64 has no odd numbers.
_EXACT = 2.0**53


def name_classes(labels: NDArray[Any], where: str) -> tuple[str, ...]:
    """Find the classes of a training set.

    Args:
        labels: (N,) text, whole numbers (floats too) or booleans.
        where: where they are, for messages.

    Returns:
        The K class names: numbers by size, text by its letters.

    Raises:
        DataError: for labels of another type, an empty one, or fewer than two classes.

    Example:
        >>> name_classes(np.array([10, 9, 10]), "y.npy")
        ('9', '10')
    """
    names = tuple(_name(value) for value in np.unique(_checked(labels, where)).tolist())
    if len(names) < 2:
        held = f"every row is of class {names[0]!r}" if names else "there are no rows"
        raise DataError(
            f"{where}: a classifier needs rows of at least 2 classes, but {held}; add rows of "
            "another class, or name another column or file of labels."
        )
    return names


def number_labels(
    labels: NDArray[Any], class_names: tuple[str, ...], where: str
) -> NDArray[np.int64]:
    """Number labels by the classes of the training set.

    Args:
        labels: (N,) text, whole numbers or booleans.
        class_names: the K classes.
        where: where they are, for messages.

    Returns:
        (N,) class indices, 0 to K − 1.

    Raises:
        DataError: for a label that is none of the classes, with its row.

    Example:
        >>> number_labels(np.array(["b", "a"], object), ("a", "b"), "y.txt").tolist()
        [1, 0]
    """
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
            f"(the classes are {known}); drop the row, or add such rows to the training set."
        )
    return y


def _name(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _checked(labels: NDArray[Any], where: str) -> NDArray[Any]:
    if labels.ndim != 1:
        raise DataError(
            f"{where}: labels must be one value a row, but their shape is {labels.shape}; give a "
            "single column, and the class of each row in it."
        )
    if labels.dtype.kind == "O" and np.array(labels.tolist()).dtype.kind in "iub":
        labels = np.array(labels.tolist())  # a column of objects that are all numbers
    if labels.dtype.kind == "O":
        for row, value in enumerate(labels):
            if not isinstance(value, str) or not value.strip():
                held = "empty" if value is None or isinstance(value, str) else repr(value)
                raise DataError(
                    f"{where}: every row needs a label of text, but row {row} is {held}; fill it "
                    "or drop the row."
                )
    elif labels.dtype.kind == "U":
        return _checked(labels.astype(object), where)
    elif labels.dtype.kind == "f":
        return _whole(labels, where)
    elif labels.dtype.kind not in "iub":
        raise DataError(
            f"{where}: labels must be text, whole numbers or true and false, but they are "
            f"{labels.dtype}; name another column, or write the classes as whole numbers."
        )
    return labels


def _whole(labels: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Numbers that were stored as floats but are whole, as whole ones."""
    wide = labels.astype(np.float64)
    right = np.abs(wide) <= _EXACT  # a NaN is not
    right &= np.floor(wide) == wide
    if not right.all():
        row = int(np.argmin(right))
        raise DataError(
            f"{where}: labels must be text, whole numbers or true and false, but row {row} is "
            f"{wide[row]:g}; name another column, or write the classes as whole numbers."
        )
    return wide.astype(np.int64)
