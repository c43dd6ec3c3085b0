"""Rows that are mapped from a file: whether the file is still as long as they need.

Behind a file's end the rest of its last page reads as zeros, without a word from the system. What
lies further on ends the process by SIGBUS (native/python/bus_error.cpp).
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import DataError

# Arrays that look into a file, with its path, its device and number, and the bytes they need.
_mapped: list[tuple[weakref.ref[Any], Path, tuple[int, int], int]] = []


def note_mapped(array: NDArray[Any], path: Path, size: int) -> None:
    """Remember that an array may look into the first bytes of a file, as may every view of it."""
    status, owner = os.stat(path), _owner(array)
    _mapped[:] = [entry for entry in _mapped if entry[0]() is not None]
    _mapped.append((weakref.ref(owner), path, (status.st_dev, status.st_ino), size))
    check_mapped(array)
    if owner.base is None:  # a copy of what was mapped
        del _mapped[-1]


def check_mapped(*arrays: Any) -> None:
    """Raise `DataError` where arrays look into a file that is shorter than they need by now."""
    owners = [_owner(array) for array in arrays if isinstance(array, np.ndarray)]
    for of, path, number, size in _mapped:
        if not any(of() is owner for owner in owners):
            continue
        try:
            status = os.stat(path)
        except OSError:
            continue  # removed: what is mapped stays
        if (status.st_dev, status.st_ino) == number and status.st_size < size:
            raise DataError(
                f"{path} became shorter while it was read: what was computed since is not of its "
                "rows; restore the file and begin again, or resume from the checkpoints."
            )


def _owner(array: NDArray[Any]) -> NDArray[Any]:
    """The array that this one is a view of, or the array itself."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
