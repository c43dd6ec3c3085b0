"""Arrays and texts in one safetensors file, with the SHA-256 of the file in its own header.

A file with a single other bit is refused, and none can run code. docs/reference/model-file.md
describes the layout byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from onelayer.errors import DataError, one_line, require_file, writable
from onelayer.files.records import from_plain, read_json

Arrays = Mapping[str, NDArray[Any]]

TYPES = {"bool": "BOOL", "uint8": "U8", "int64": "I64", "uint64": "U64"} | {
    f"float{n}": f"F{n}" for n in (16, 32, 64)
}

# Where the sum is, which counts as zeros when it is taken; quotes within JSON texts are escaped.
PLACE = b'"sha256":"'
ZEROS = "0" * 64

# Of the header, in which the kind is the first text.
_BEGINNING = b'{"__metadata__":{"format":"onelayer.'

# safetensors allows no larger header either.
MAX_HEADER_BYTES = 100_000_000


def write_sealed(
    stream: BinaryIO, kind: str, version: str, texts: Mapping[str, str], arrays: Arrays
) -> None:
    """Write arrays and texts with their sum to a new stream; equal content gives equal bytes."""
    head = _head(arrays, {"format": kind, "version": version, "sha256": ZEROS} | dict(texts))
    digest = sha256(head)
    stream.write(head)
    for array in arrays.values():
        data = _little_endian(array).reshape(-1).view(np.uint8).data
        digest.update(data)
        stream.write(data)
    stream.seek(head.index(PLACE) + len(PLACE))
    stream.write(digest.hexdigest().encode())


def read_sealed(path: Path, kind: str, version: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The texts and arrays of a file; the `DataError` for another begins with "it" or "its"."""
    require_file(path)
    with path.open("rb") as file:
        _read_head(file, kind, version)  # a large foreign file is not read
        file.seek(0)
        return unseal(file.read(), kind, version)


def unseal(content: bytes, kind: str, version: str) -> tuple[dict[str, str], dict[str, Any]]:
    """As `read_sealed`, of a content."""
    from safetensors.numpy import load

    texts = _read_head(BytesIO(content), kind, version)
    _check_sum(content, texts.get("sha256", ""))
    try:
        return texts, load(content)
    except MemoryError:
        raise
    except Exception as error:  # the library's own, for shapes and places that do not fit
        raise DataError(f"its tensors cannot be read ({one_line(error)}).") from error


def is_sealed(path: Path) -> bool:
    """Whether a file begins as those that `write_sealed` writes."""
    try:
        require_file(path)
        with path.open("rb") as file:
            return file.read(8 + len(_BEGINNING))[8:] == _BEGINNING
    except OSError:
        return False


def read_texts(path: Path, kind: str, version: str) -> dict[str, str]:
    """As `read_sealed`, but the texts alone, without checking the sum."""
    require_file(path)
    with path.open("rb") as file:
        return _read_head(file, kind, version)


def safetensors_bytes(arrays: Arrays, metadata: Mapping[str, str]) -> bytes:
    """Arrays as a safetensors file, in their order, the same bytes for the same content."""
    return b"".join(
        [_head(arrays, metadata), *(_little_endian(array).tobytes() for array in arrays.values())]
    )


def _head(arrays: Arrays, metadata: Mapping[str, str]) -> bytes:
    """The length of the header, and the header."""
    texts = {name: writable(text) for name, text in metadata.items()}
    header: dict[str, Any] = {"__metadata__": texts} if texts else {}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        places = {"shape": list(array.shape), "data_offsets": [start, end]}
        header[name] = {"dtype": TYPES[array.dtype.name]} | places
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _read_head(file: BinaryIO, kind: str, version: str) -> dict[str, str]:
    """The texts of the header; foreign files are refused here."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    text = file.read(length) if len(start) == 8 and 2 <= length <= MAX_HEADER_BYTES else b""
    if not text.startswith(b"{"):
        raise DataError("it is not a safetensors file; name a file that onelayer saved.")
    if len(text) < length:
        raise DataError("it ends within its header; copy it again or restore it from a backup.")
    header = from_plain(dict[str, Any], read_json(text), place="header")
    metadata = from_plain(dict[str, str], header.get("__metadata__", {}), place="header")
    if metadata.get("format") != kind:
        raise DataError("it is a safetensors file of something else.")
    if metadata.get("version") != version:
        raise DataError(
            f"its format is {one_line(metadata.get('version'))}, and this onelayer reads "
            f"{version}; update onelayer."
        )
    return metadata


def _check_sum(content: bytes, expected: str) -> None:
    start = content.find(PLACE + expected.encode()) + len(PLACE)
    digest = sha256(content[:start])
    digest.update(ZEROS.encode())
    digest.update(memoryview(content)[start + len(ZEROS) :])
    if digest.hexdigest() != expected:
        raise DataError(
            "its content changed since it was written (another SHA-256); copy it again or restore "
            "it from a backup."
        )
