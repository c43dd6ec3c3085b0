"""Folders of zarr, versions 2 and 3 of its format, by zarr-python 3: an array, or a group of some.

An array is called by its path in the group. Its codecs must be among those that only compress or
arrange numbers: others, such as pickle, can run code.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from onelayer.data.formats import base
from onelayer.data.formats.arrays import ArraysFile, Located, SlicedArray
from onelayer.errors import MAX_WHOLE, DataError

CODECS = {
    "bytes", "transpose", "sharding_indexed", "crc32c", "gzip", "zstd", "blosc", "zlib", "bz2",
    "lz4", "lzma", "delta", "shuffle", "bitround", "fixedscaleoffset", "vlen-utf8", "vlen-bytes",
    "adler32", "crc32", "fletcher32",
}  # fmt: skip


class ZarrFolder(ArraysFile):
    """A folder of zarr."""

    kind, streams = "zarr folder", True

    @classmethod
    def arrays(cls, path: Path) -> Located:
        base.require_package("zarr", f"{path} is a zarr folder", "onelayer[zarr]")
        return {name: partial(_locate, path, name) for name in _arrays_in(path)}


def _arrays_in(folder: Path, name: str = "") -> Iterator[str]:
    """Yield the paths of the arrays in a folder; its own, which is "", where it is one."""
    about = folder / "zarr.json"
    if (folder / ".zarray").is_file() or (
        about.is_file() and json.loads(about.read_bytes()).get("node_type") == "array"
    ):
        yield name
        return
    for entry in base.list_folder(folder):
        if entry.is_dir():
            yield from _arrays_in(entry, f"{name}/{entry.name}".lstrip("/"))


def _open(path: Path, name: str) -> Any:
    import zarr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of types that zarr's format does not settle yet
        return zarr.open_array(zarr.storage.LocalStore(path / name, read_only=True), mode="r")


def _locate(path: Path, name: str) -> SlicedArray:
    found, where = _open(path, name), f"{path}, array {name!r}" if name else str(path)
    metadata = found.metadata.to_dict()
    used = [*(metadata.get("codecs") or ()), *(metadata.get("filters") or ())]
    used += [metadata["compressor"]] if metadata.get("compressor") else []
    if unknown := sorted(set(_names(used)) - CODECS):
        raise DataError(
            f"{where} is stored with {', '.join(map(repr, unknown))}, which is not read; write it "
            "with zstd, blosc, gzip or no compressor."
        )
    if any(size >= MAX_WHOLE for size in (*found.shape, *found.chunks)):
        raise DataError(f"{where} has a shape of more than 2⁶³, so it is damaged; write it again.")
    chunk = found.chunks[0] if found.chunks else 1
    return SlicedArray(
        path, where, tuple(found.shape), found.dtype, partial(_array, path, name), max(1, chunk)
    )


def _names(codecs: Iterable[Any]) -> Iterator[str]:
    """Yield the names of codecs, and of those within them."""
    for codec in codecs:
        about = codec if isinstance(codec, dict) else codec.to_dict()
        yield str(about.get("name", about.get("id"))).removeprefix("numcodecs.")
        inner = about.get("configuration") or {}
        for key in ("codecs", "index_codecs"):
            yield from _names(inner.get(key) or ())


@contextmanager
def _array(path: Path, name: str) -> Iterator[Any]:
    yield _open(path, name)
