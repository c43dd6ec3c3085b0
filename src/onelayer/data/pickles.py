"""CIFAR-10's python files, read without running anything that they ask for.

They are pickles, and a pickle can name any function to be called. This unpickler knows three names
that build an array, hands out inert stand-ins for them, and refuses every other name: no code
outside this file runs, NumPy's own included.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onelayer.data.labels import checked_labels
from onelayer.data.layout import PIXEL_BYTES, Layout, RecordFile
from onelayer.data.records import Records, encode_records, read_bounded
from onelayer.errors import DataError


class _ArrayType:
    """Stands for the name numpy.ndarray: it is passed on, never called."""


class _State:
    """Takes whatever state a pickle sets, and does nothing with it."""

    def __init__(self, *made_from: object) -> None:
        self.made_from = made_from
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Array(_State):
    """What an array's pickle says about it."""


class _Dtype(_State):
    """What a dtype's pickle says about it."""


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes must be latin-1 text")
    return text.encode("latin-1")


_ADMITTED: Mapping[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _ForbiddenError(Exception):
    """A pickle asked for a name that these files do not hold."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise _ForbiddenError(f"{module}.{name}") from None


def decode_python(folder: Path, part: RecordFile, layout: Layout) -> Records:
    """Decode an official python file to official records.

    Args:
        folder: where the file lies.
        part: which file; its name is the stem alone.
        layout: rows, and the most bytes it may have.

    Returns:
        (rows, 3073) uint8, not yet checked against the pinned sum.

    Raises:
        DataError: when it is not such a pickle, names anything that these files do not hold
            (nothing is run), or holds other rows or labels than it should.

    Example:
        >>> from onelayer.data.layout import CIFAR10
        >>> decode_python(Path("missing"), CIFAR10.test, CIFAR10)
        Traceback (most recent call last):
        onelayer.errors.DataError: missing/test_batch cannot be read: No such file or directory.
    """
    path = folder / part.stem
    fields = read_fields(read_bounded(path, layout.most_file_bytes), path)
    pixels = checked_pixels(fields.get("data"), layout.rows, path)
    return encode_records(pixels, checked_labels(fields.get("labels"), layout.rows, path))


def read_fields(raw: bytes, path: Path) -> dict[object, object]:
    """Unpickle the dictionary that a python file of CIFAR holds, running nothing.

    Args:
        raw: the file's bytes.
        path: the file, for messages.

    Returns:
        Its fields, such as data and labels; arrays are inert stand-ins.

    Raises:
        DataError: when it is no such pickle, or asks for anything that these files do not hold.
    """
    content = _unpickle(raw, path)
    if not isinstance(content, dict):
        raise DataError(
            f"{path} must hold a dictionary of data and labels, but it holds "
            f"{type(content).__name__}; get the file again."
        )
    # Python 2 wrote the official files, so that their keys are read as bytes.
    return {k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in content.items()}


def _unpickle(raw: bytes, path: Path) -> object:
    try:
        return _Unpickler(io.BytesIO(raw), encoding="bytes").load()
    except _ForbiddenError as forbidden:
        raise DataError(
            f"{path} asks for {forbidden}, which CIFAR-10's python files do not hold; nothing was "
            "run. Do not trust this file: get it again from the official archive."
        ) from None
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{path} is not a python file of CIFAR-10: it cannot be unpickled "
            f"({type(error).__name__}: {error}); get it again."
        ) from error


def checked_pixels(array: object, rows: int, path: Path) -> NDArray[np.uint8]:
    """Take the pixels out of a stand-in for an array.

    Args:
        array: what `read_fields` gave for the field data.
        rows: how many there should be.
        path: the file, for messages.

    Returns:
        (rows, 3072) uint8.

    Raises:
        DataError: when it is anything else.
    """
    match array:
        case _Array(
            state=(_, shape, _Dtype(made_from=("u1" | b"u1", *_)), fortran, bytes(raw))
        ) if shape == (rows, PIXEL_BYTES) and len(raw) == rows * PIXEL_BYTES:
            return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")
    raise DataError(
        f"{path} must hold data of {rows} rows of {PIXEL_BYTES} bytes, but it holds something "
        "else; get the file again."
    )
