"""HDF5 files, by h5py: data sets of numbers or text; contiguous ones are mapped.

A data set is called by its path in the file, without the first slash. Those whose numbers lie in
other files, which the file names, are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from onelayer.data.formats import base
from onelayer.data.formats.arrays import ArraysFile, FileArray, Located, SlicedArray, StoredArray
from onelayer.errors import DataError


class Hdf5File(ArraysFile):
    """An HDF5 file."""

    kind, what, streams = "HDF5 file", "data set", True

    @classmethod
    def arrays(cls, path: Path) -> Located:
        names: list[Any] = []

        def note(name: Any, found: Any) -> None:
            if hasattr(found, "shape"):  # and no group
                names.append(name)

        with _opened(path) as file:
            file.visititems(note)
        # A name that is not UTF-8 comes as bytes.
        return {os.fsdecode(name): partial(_locate, path, name) for name in names}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    h5py = base.require_package("h5py", f"{path} is an HDF5 file", "onelayer[hdf5]")
    with h5py.File(os.fsencode(path), "r", locking=False) as file:
        yield file


def _locate(path: Path, name: str | bytes) -> FileArray:
    where = f"{path}: the data set {os.fsdecode(name)!r}"
    with _opened(path) as file:
        found = file[name]
        if found.is_virtual or found.external:
            raise DataError(f"{where} lies in other files; copy it into this one.")
        if found.shape is None:
            raise DataError(f"{where} is empty; write rows into it.")
        offset, shape, dtype = found.id.get_offset(), tuple(found.shape), found.dtype
        if offset is not None and dtype.kind in "biuf" and dtype.itemsize <= 8:
            return StoredArray(path, where, shape, np.dtype(dtype.str), offset)
        chunk = found.chunks[0] if found.chunks else max(1, shape[0] if shape else 1)
        return SlicedArray(path, where, shape, dtype, partial(_data_set, path, name), chunk)


@contextmanager
def _data_set(path: Path, name: str | bytes) -> Iterator[Any]:
    import h5py

    with _opened(path) as file:
        found = file[name]
        yield found if h5py.check_string_dtype(found.dtype) is None else found.asstr()
