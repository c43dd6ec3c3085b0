"""Files that hold the labels alone: one for each row of another file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.arrow_files import open_arrow, open_csv, open_parquet
from onelayer.data.columns import read_label_column
from onelayer.data.damage import damage_of
from onelayer.data.npy import map_npy
from onelayer.data.shards import find_files, is_pattern
from onelayer.errors import DataError

_OPENERS = {
    ".csv": open_csv,
    ".parquet": open_parquet,
    ".arrow": open_arrow,
    ".feather": open_arrow,
}
LABEL_SUFFIXES = (".npy", ".txt", *_OPENERS)


def read_label_file(path: Path) -> NDArray[Any]:
    """Read the labels of a file's rows.

    Args:
        path: .npy with one label a row; .txt with one label a line, numbers if all of them are;
            .csv, .parquet or .arrow with a single column, or one called label. A pattern stands
            for the files that match it, one after another.

    Returns:
        (N,) text, whole numbers or booleans.

    Raises:
        DataError: when it is damaged, empty or of another kind.

    Example:
        >>> read_label_file(Path("missing.txt"))
        Traceback (most recent call last):
        onelayer.errors.DataError: missing.txt cannot be read: No such file or directory.
    """
    if is_pattern(path):
        return np.concatenate([np.atleast_1d(read_label_file(file)) for file in find_files(path)])
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return np.array(map_npy(path))
    if suffix == ".txt":
        return _lines(path)
    if suffix in _OPENERS:
        return read_label_column(_OPENERS[suffix](path), path)
    raise DataError(
        f"{path} is not a kind of file that labels are read from: {', '.join(LABEL_SUFFIXES)}."
    )


def _lines(path: Path) -> NDArray[Any]:
    with damage_of(path, "a text file in UTF-8"):
        lines = [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
    try:
        # Only what is written back alike is a number: "01" and "1_0" are text.
        numbers = [int(line) for line in lines]
        if [str(number) for number in numbers] == lines:
            return np.array(numbers, np.int64)
    except (ValueError, OverflowError):
        pass
    return np.array(lines, object)
