"""What a damaged or missing file raises, turned into one sentence."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onelayer.errors import DataError

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
