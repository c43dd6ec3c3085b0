"""A tiny CIFAR-10 with its own sums, in every form that the real one is handed out in."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import struct
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from onelayer.data.datasets.layout import CIFAR10, Layout, RecordFile, Records

ROWS = 12
STEMS = tuple(part.stem for part in CIFAR10.parts)
NOWHERE = "http://127.0.0.1:9/cifar-10-binary.tar.gz"  # nothing listens there: refused at once


@dataclass(frozen=True)
class TinyCifar:
    """The set: its layout with pinned sums, and its records by stem."""

    layout: Layout
    records: Mapping[str, Records]

    def at(self, url: str, archive: bytes) -> Layout:
        """The layout whose official archive lies at a URL."""
        sha256 = hashlib.sha256(archive).hexdigest()
        return replace(self.layout, archive_url=url, archive_sha256=sha256)

    def binary_files(self) -> dict[str, bytes]:
        return {f"{stem}.bin": self.records[stem].tobytes() for stem in STEMS}

    def python_files(self, flavour: str = "python 2") -> dict[str, bytes]:
        return {stem: pickled(self.content(stem), flavour) for stem in STEMS}

    def content(self, stem: str) -> dict[str, object]:
        records = self.records[stem]
        return {
            "batch_label": f"tiny {stem}",
            "labels": [int(label) for label in records[:, 0]],
            "data": np.ascontiguousarray(records[:, 1:]),
            "filenames": [f"image_{i}.png" for i in range(ROWS)],
        }

    def strip_files(self) -> dict[str, bytes]:
        files = {f"{stem}.png": png(self.records[stem][:, 1:]) for stem in STEMS}
        train = np.concatenate([self.records[stem][:, 0] for stem in STEMS[:-1]])
        files["train_lables.json"] = json.dumps(train.tolist()).encode()
        files["test_lables.json"] = json.dumps(self.records[STEMS[-1]][:, 0].tolist()).encode()
        return files

    def binary_archive(self) -> bytes:
        return tar_gz(under("cifar-10-batches-bin", self.binary_files()))

    def npm_archive(self) -> bytes:
        return tar_gz(under("package", {"index.js": b"// not wanted", **self.strip_files()}))


def make_tiny_cifar() -> TinyCifar:
    """Records of random bytes; labels differ from file to file."""
    rng = np.random.default_rng(0)
    records = {}
    for index, stem in enumerate(STEMS):
        records[stem] = rng.integers(0, 256, (ROWS, 3073), np.uint8)
        records[stem][:, 0] = (np.arange(ROWS) + index) % 10
    parts = [RecordFile(s, hashlib.sha256(records[s].tobytes()).hexdigest(), ROWS) for s in STEMS]
    layout = replace(
        CIFAR10,
        batches=tuple(parts[:-1]),
        test=parts[-1],
        archive_url=NOWHERE,
        archive_sha256="0" * 64,
        connect_seconds=2.0,
        npm_seconds=30.0,
    )
    return TinyCifar(layout, records)


def png(pixels: Records) -> bytes:
    """Channel planes (rows, 3072) as a strip: one image a row, row-major RGB."""
    strip = np.ascontiguousarray(pixels.reshape(len(pixels), 3, 1024).transpose(0, 2, 1))
    return png_bytes(Image.fromarray(strip))


def png_bytes(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


def tar_gz(files: Mapping[str, bytes], extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for member in extra:
            tar.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def under(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


class _Python2(pickle._Pickler):
    """Writes text and bytes as Python 2 did, whose str was bytes: the official files are so."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def _save_str(self, obj: str | bytes) -> None:
        raw = obj if isinstance(obj, bytes) else obj.encode("latin-1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)  # type: ignore[attr-defined]
        self.memoize(obj)  # type: ignore[attr-defined]

    dispatch[str] = _save_str
    dispatch[bytes] = _save_str


def pickled(content: object, flavour: str) -> bytes:
    """Pickle as "python 2" (with NumPy 1's names) or as "protocol N" of this Python."""
    if flavour != "python 2":
        return pickle.dumps(content, protocol=int(flavour.split()[1]))
    out: Any = io.BytesIO()
    _Python2(out, protocol=2).dump(content)
    raw: bytes = out.getvalue()
    return raw.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
