"""Labels as files hold them: lists of whole numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onelayer.data.layout import CLASS_NAMES
from onelayer.errors import DataError


def checked_labels(
    labels: object, rows: int, path: Path, classes: int = len(CLASS_NAMES)
) -> NDArray[np.uint8]:
    """Check a list of labels from a file.

    Args:
        labels: what the file holds.
        rows: how many labels there should be.
        path: the file, for the message.
        classes: K, at most 256.

    Returns:
        (rows,) uint8, 0 to K − 1.

    Raises:
        DataError: when it is not a list of `rows` whole numbers from 0 to K − 1.

    Example:
        >>> checked_labels([3, 10], 2, Path("labels.json"))
        Traceback (most recent call last):
        onelayer.errors.DataError: labels.json: labels must be whole numbers from 0 to 9, but row \
1 has 10; get the file again.
    """
    if not isinstance(labels, list) or len(labels) != rows:
        raise DataError(f"{path} must hold a list of {rows} labels, but it does not; get it again.")
    for row, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < classes:
            raise DataError(
                f"{path}: labels must be whole numbers from 0 to {classes - 1}, but row "
                f"{row} has {label!r}; get the file again."
            )
    return np.array(labels, np.uint8)
