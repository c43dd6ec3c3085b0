"""Official binary records: what every source is turned into, and checked as."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from onelayer.data.layout import PIXEL_BYTES, RECORD_BYTES, Layout, RecordFile
from onelayer.errors import DataError

Records: TypeAlias = NDArray[np.uint8]
"""(rows, 3073) uint8: a label byte, then the pixels' 3072 bytes."""


def encode_records(pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Records:
    """Join pixels and labels to official records.

    Args:
        pixels: (rows, 3072) uint8, red, green and blue planes.
        labels: (rows,) uint8, 0 to 9.

    Returns:
        (rows, 3073) uint8.

    Example:
        >>> encode_records(np.zeros((2, 3072), np.uint8), np.array([7, 8], np.uint8))[:, 0].tolist()
        [7, 8]
    """
    records = np.empty((len(pixels), RECORD_BYTES), np.uint8)
    records[:, 0] = labels
    records[:, 1:] = pixels
    return records


def decode_records(parts: list[Records]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Split official records into pixels and labels, several files one after another.

    Args:
        parts: (rows, 3073) uint8 each.

    Returns:
        X (N, 3072) uint8 and y (N,) int64.

    Example:
        >>> X, y = decode_records([np.ones((2, 3073), np.uint8)])
        >>> X.shape, y.tolist()
        ((2, 3072), [1, 1])
    """
    X = np.empty((sum(len(part) for part in parts), PIXEL_BYTES), np.uint8)
    np.concatenate([part[:, 1:] for part in parts], out=X)
    return X, np.concatenate([part[:, 0] for part in parts]).astype(np.int64)


def checked_records(raw: bytes | Records, part: RecordFile, layout: Layout, where: str) -> Records:
    """Check a part's records against its pinned sum.

    Args:
        raw: the official binary bytes, or records decoded from another form.
        part: which of the six files this should be.
        layout: rows and sums.
        where: what was read, for the message.

    Returns:
        (rows, 3073) uint8, bit for bit the official records.

    Raises:
        DataError: for another length (truncated) or another sum.

    Example:
        >>> from onelayer.data.layout import CIFAR10
        >>> checked_records(b"cut", CIFAR10.test, CIFAR10, "my.bin")
        Traceback (most recent call last):
        onelayer.errors.DataError: my.bin holds 3 bytes where test_batch has 30730000: it is \
truncated or another file; get it again.
    """
    content = memoryview(raw) if isinstance(raw, bytes) else raw.data
    if content.nbytes != layout.file_bytes:
        raise DataError(
            f"{where} holds {content.nbytes} bytes where {part.stem} has {layout.file_bytes}: it "
            "is truncated or another file; get it again."
        )
    got = hashlib.sha256(content).hexdigest()
    if got != part.sha256:
        raise DataError(
            f"{where} is not {part.stem}: the SHA-256 of its records is {got[:12]}…, the official "
            f"one {part.sha256[:12]}…; get it again."
        )
    return np.frombuffer(raw, np.uint8).reshape(layout.rows, RECORD_BYTES)


def read_bounded(path: Path, most: int) -> bytes:
    """Read a file that should be small enough to be held.

    Args:
        path: the file.
        most: bytes that it may have.

    Returns:
        All its bytes.

    Raises:
        DataError: when it cannot be read or is larger.

    Example:
        >>> read_bounded(Path("missing.bin"), 10)
        Traceback (most recent call last):
        onelayer.errors.DataError: missing.bin cannot be read: No such file or directory.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(raw) > most:
        raise DataError(f"{path} is larger than the {most} bytes that such a file may have.")
    return raw
