"""PNG strips and their labels: another picture or another list is refused."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from onelayer.data.datasets.decode import read_strip
from onelayer.errors import DataError

from .tiny_cifar import ROWS, TinyCifar, png_bytes, write_files


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("RGB", (1023, ROWS)), f"RGB strip of 1024 × {ROWS} .* RGB of 1023 × {ROWS}"),
        (Image.new("RGB", (1024, ROWS + 1)), f"it is RGB of 1024 × {ROWS + 1}"),
        (Image.new("RGBA", (1024, ROWS)), "it is RGBA"),
        (Image.new("P", (1024, ROWS)), "it is P"),
    ],
)
def test_another_picture_is_refused(
    picture: Image.Image, message: str, tiny: TinyCifar, tmp_path: Path
) -> None:
    write_files(tmp_path, tiny.strip_files() | {"test_batch.png": png_bytes(picture)})
    with pytest.raises(DataError, match=message):
        read_strip(tmp_path, tiny.layout.test, tiny.layout)


def _claiming(width: int, height: int) -> bytes:
    """A PNG that says it is large and holds next to nothing: what a bomb looks like."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [10_000, 100_000])
def test_a_decompression_bomb_is_refused_unread(side: int, tiny: TinyCifar, tmp_path: Path) -> None:
    write_files(tmp_path, tiny.strip_files() | {"test_batch.png": _claiming(side, side)})
    with pytest.raises(DataError, match=r"not a valid PNG strip .*decompression bomb"):
        read_strip(tmp_path, tiny.layout.test, tiny.layout)


@pytest.mark.parametrize("raw", [b"", b"GIF89a", _claiming(1024, ROWS)])
def test_a_damaged_picture_is_refused(raw: bytes, tiny: TinyCifar, tmp_path: Path) -> None:
    write_files(tmp_path, tiny.strip_files() | {"test_batch.png": raw})
    with pytest.raises(DataError, match=r"test_batch\.png is not a valid PNG strip"):
        read_strip(tmp_path, tiny.layout.test, tiny.layout)


def test_a_truncated_picture_is_refused(tiny: TinyCifar, tmp_path: Path) -> None:
    files = tiny.strip_files()
    files["test_batch.png"] = files["test_batch.png"][: len(files["test_batch.png"]) // 2]
    write_files(tmp_path, files)
    with pytest.raises(DataError, match="not a valid PNG strip"):
        read_strip(tmp_path, tiny.layout.test, tiny.layout)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (b"[1, 2", "test_lables.json is not a JSON list of labels"),
        (b"\xff\xfe\x00", "not a JSON list"),
        (b"[" * 100_000, "not a JSON list"),
        (b"{}", f"must hold a list of {ROWS} labels"),
        (json.dumps([0] * (ROWS - 1)).encode(), f"must hold a list of {ROWS} labels"),
        (json.dumps([3, 10] + [0] * (ROWS - 2)).encode(), "row 1 has 10"),
        (json.dumps([None] * ROWS).encode(), "row 0 has None"),
    ],
)
def test_other_labels_are_refused(
    labels: bytes, message: str, tiny: TinyCifar, tmp_path: Path
) -> None:
    write_files(tmp_path, tiny.strip_files() | {"test_lables.json": labels})
    with pytest.raises(DataError, match=message):
        read_strip(tmp_path, tiny.layout.test, tiny.layout)
