"""`Table`: what every file is read into, and how its numbers become features.

What a damaged or missing file raises, turned into one sentence.
"""

from __future__ import annotations

import glob
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import DataError

if TYPE_CHECKING:
    pass


def is_pattern(path: Path) -> bool:
    """Whether a path is a pattern of file names, and not one of a file that is there.

    Example:
        >>> is_pattern(Path("shards/*.npy")), is_pattern(Path("shards/1.npy"))
        (True, False)
    """
    return glob.has_magic(str(path)) and not os.path.exists(path)


# Names that a column or array of labels is known by when none is given.
LABEL_NAMES = ("label", "labels", "y", "target", "class")

_EXACT_FLOAT32 = 1 << 24

_EXACT_FLOAT64 = 1 << 53


@dataclass(frozen=True)
class Wanted:
    """Where the labels of a file are.

    Attributes:
        column: the name of their column or array; None looks for one of the usual names.
        elsewhere: they are in another file, so that this one holds features alone.
        option: how the user names the place, for messages.
        features: the columns that are features, in this order; None are all that can be.
    """

    column: str | None = None
    elsewhere: bool = False
    option: str = "labels (--labels)"
    features: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """A file's rows before its labels are numbered.

    Attributes:
        X: (N, D) features of one type, mapped where the file allows it.
        labels: (N,) text, whole numbers or booleans as the file has them; None when elsewhere.
        where: the file, for messages.
        labels_where: where in it the labels are, for messages.
        feature_names: names of the columns, if they have any.
        image_shape: (channels, height, width) of pictures.
        max_value: the largest value that a feature can have.
    """

    X: NDArray[Any]
    labels: NDArray[Any] | None
    where: str
    labels_where: str
    feature_names: tuple[str, ...] | None = None
    image_shape: tuple[int, int, int] | None = None
    max_value: float = 1.0


def choose_labels(names: Sequence[str], wanted: Wanted, where: str, what: str) -> str | None:
    """Choose the column or array that holds the labels.

    Args:
        names: of all there are.
        wanted: what the user said.
        where: the file, for messages.
        what: "column", "array" or "tensor".

    Returns:
        One of the names; None when the labels are in another file.

    Raises:
        DataError: when there is none of that name, or none or several of the usual names.

    Example:
        >>> choose_labels(["a", "y"], Wanted(), "x.csv", "column")
        'y'
    """
    if wanted.elsewhere:
        return None
    if not names:
        raise DataError(f"{where} holds no {what} at all; write features and labels into it.")
    listed = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
    if wanted.column is not None:
        if wanted.column in names:
            return wanted.column
        raise DataError(
            f"{where} has no {what} {wanted.column!r}, only {listed}; name the one that holds the "
            f"labels, or a file of labels, with {wanted.option}."
        )
    found = [name for name in names if name.lower() in LABEL_NAMES]
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"{where}: it must be said which {what} holds the labels, because "
        f"{'none' if not found else 'more than one'} is called {', '.join(LABEL_NAMES)}; name one "
        f"of {listed}, or a file of labels, with {wanted.option}."
    )


def as_features(values: NDArray[Any], place: Callable[[int], str]) -> NDArray[Any]:
    """Turn numbers of any type into a type that features can have, without changing any.

    Args:
        values: (N,) or (N, D) numbers or booleans.
        place: names where the value at a flat position is, for messages.

    Returns:
        uint8, float16, float32 and float64 as they are; booleans as uint8; other whole numbers as
        float32 where that holds each of them exactly, else as float64.

    Raises:
        DataError: for numbers that are no real ones, or too large to be held exactly.

    Example:
        >>> as_features(np.array([1, 2**24 + 1]), str).dtype
        dtype('float64')
    """
    if values.dtype == bool:
        return values.view(np.uint8)
    # Of either byte order; `Dataset` turns a foreign one round.
    if values.dtype == np.uint8 or (values.dtype.kind == "f" and values.dtype.itemsize <= 8):
        return values
    if values.dtype.kind not in "iu":
        raise DataError(
            f"{place(0)} must be a number, but its type is {values.dtype}; convert it to float32."
        )
    if _largest(values) <= _EXACT_FLOAT32:
        return values.astype(np.float32)
    converted = values.astype(np.float64)
    if _largest(values) > _EXACT_FLOAT64:
        at = int(np.argmax(np.abs(converted)))
        raise DataError(
            f"{place(at)} is {values.flat[at]}, more than float64 can hold exactly; scale the "
            "column down, or leave it out when it is an identifier."
        )
    return converted


def features_type(stored: np.dtype[Any], where: str) -> np.dtype[Any]:
    """The type that numbers become which are too many to be looked at first.

    Args:
        stored: their type.
        where: where they are, for messages.

    Returns:
        As `as_features`, but that whole numbers of 32 bits and more become float64, whatever they
        are.

    Raises:
        DataError: for numbers that are no real ones.

    Example:
        >>> features_type(np.dtype("int16"), "x.npy"), features_type(np.dtype("int64"), "x.npy")
        (dtype('float32'), dtype('float64'))
    """
    if stored.kind in "iu" and stored.itemsize > 2:
        return np.dtype(np.float64)
    # The same rule on a single number of that type.
    return as_features(np.zeros(1, stored), lambda at: where).dtype.newbyteorder("=")


def as_streamed(
    values: NDArray[Any], dtype: np.dtype[Any], place: Callable[[int], str]
) -> NDArray[Any]:
    """Numbers in their `features_type`, some of them at a time.

    Args:
        values: (n, D) numbers.
        dtype: their features_type.
        place: names where the value at a flat position is, for messages.

    Returns:
        The numbers in that type.

    Raises:
        DataError: for a whole number that is too large to be held exactly.
    """
    return as_features(values, place).astype(dtype, copy=False)


def _largest(values: NDArray[Any]) -> int:
    """The largest absolute value; Python's whole numbers do not overflow at −2⁶³."""
    return max(abs(int(values.min())), abs(int(values.max()))) if values.size else 0


def largest_value(X: NDArray[Any]) -> float:
    """The largest value that a stored feature can have: 255 for bytes, else taken as 1.

    Example:
        >>> largest_value(np.zeros((1, 1), np.uint8))
        255.0
    """
    return 255.0 if X.dtype == np.uint8 else 1.0


MOST_LETTERS = 200

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,  # pyarrow's ArrowInvalid, json's and Unicode's errors are of this kind
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
)


@contextmanager
def damage_of(path: Path, kind: str, *others: type[Exception]) -> Iterator[None]:
    """Raise a DataError for whatever reading a damaged file raises.

    Args:
        path: the file.
        kind: what it should be, with its article.
        others: further errors that the reading library raises.

    Yields:
        Nothing; the file is read in the block.

    Raises:
        DataError: that names the file, what it should be and what is wrong.

    Example:
        >>> with damage_of(Path("a.npz"), "a .npz file"):
        ...     raise ValueError("it is cut short")
        Traceback (most recent call last):
        onelayer.errors.DataError: a.npz is not a .npz file, or not a whole one (it is cut \
short); get or write it again.
    """
    try:
        yield
    except DataError:
        raise
    except _DAMAGE + others as error:
        if isinstance(error, OSError) and error.errno is not None and error.strerror:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        raise DataError(
            f"{path} is not {kind}, or not a whole one ({first_line(error)}); get or write it "
            "again."
        ) from error


def first_line(error: BaseException) -> str:
    r"""The first line of what an error says, without its full stop; its type when it says nothing.

    What of it cannot be printed, as bytes of a file that is not what it seems, ends it.

    Example:
        >>> first_line(ValueError("cut short.\nmore"))
        'cut short'
        >>> first_line(ValueError("Expected 5 columns, got 1: l\x00\x93"))
        'Expected 5 columns, got 1: l …'
    """
    said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    strange = (at for at, letter in enumerate(said) if not _readable(letter))
    end = min(next(strange, len(said)), MOST_LETTERS)
    return said if end == len(said) else f"{said[:end].rstrip()} …"


def _readable(letter: str) -> bool:
    return letter.isprintable() and letter != "\N{REPLACEMENT CHARACTER}"
