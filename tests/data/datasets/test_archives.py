"""An archive puts nothing where it does not belong, and does not blow up."""

from __future__ import annotations

import gzip
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from onelayer.data.datasets.decode import unpack
from onelayer.errors import DataError

from .tiny_cifar import tar_gz

WANTED = frozenset({"a.bin", "b.bin"})
FILES = {"set/a.bin": b"A" * 1000, "set/b.bin": b"B" * 1000}


def unpacked(tmp_path: Path, archive: bytes, max_total: int = 1 << 16) -> Path:
    (tmp_path / "x.tar.gz").write_bytes(archive)
    into = tmp_path / "into"
    into.mkdir()
    unpack(tmp_path / "x.tar.gz", WANTED, into, max_file=2000, max_total=max_total)
    return into


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_only_wanted_files_are_unpacked(tmp_path: Path) -> None:
    raw = gzip.decompress(tar_gz(FILES | {"set/readme.html": b"no"}, (member("set", b"5"),)))
    into = unpacked(tmp_path, gzip.compress(raw + b"more zeros than tar reads".ljust(20_000)))
    assert {p.name: p.read_bytes() for p in into.iterdir()} == {
        "a.bin": b"A" * 1000,
        "b.bin": b"B" * 1000,
    }


@pytest.mark.parametrize(
    "name",
    ["../a.bin", "set/../../a.bin", "/tmp/a.bin", "..\\a.bin", "C:/a.bin", "../unwanted", ".."],
)
def test_a_member_outside_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lies outside its folder; nothing of it is used"):
        unpacked(tmp_path, tar_gz(FILES | {name: b"evil"}))
    assert {p.name for p in tmp_path.iterdir()} == {"x.tar.gz", "into"}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
@pytest.mark.parametrize("name", ["set/a.bin", "set/unwanted"])
def test_a_link_or_device_is_refused(kind: bytes, name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"'{name}', which is a link or a device and not a file"):
        unpacked(tmp_path, tar_gz(FILES, (member(name, kind, "/etc/passwd"),)))
    assert not (tmp_path / "into" / "a.bin").exists()


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not hold b\.bin"):
        unpacked(tmp_path, tar_gz({"set/a.bin": b"A"}))


def test_a_folder_does_not_pass_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not hold b\.bin"):
        unpacked(tmp_path, tar_gz({"set/a.bin": b"A"}, (member("set/b.bin", b"5"),)))


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds a\.bin twice"):
        unpacked(tmp_path, tar_gz(FILES | {"other/a.bin": b"another"}))


def test_a_wanted_member_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.bin of 2001 bytes where at most 2000"):
        unpacked(tmp_path, tar_gz(FILES | {"set/a.bin": b"A" * 2001}))


@pytest.mark.parametrize("name", ["set/unwanted", "set/a.bin"])
def test_a_decompression_bomb_is_stopped_early(name: str, tmp_path: Path) -> None:
    archive = tar_gz(FILES | {name: bytes(1 << 24)})
    assert len(archive) < 1 << 18
    tracemalloc.start()
    with pytest.raises(DataError, match=r"far more than it should hold|at most 2000"):
        unpacked(tmp_path, archive)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22


def test_a_bomb_in_a_header_is_stopped_early(tmp_path: Path) -> None:
    header = member("PaxHeader", tarfile.XHDTYPE)
    header.size = 1 << 30
    raw = gzip.compress(header.tobuf() + bytes(1 << 24))
    with pytest.raises(DataError, match="far more than it should hold"):
        unpacked(tmp_path, raw)


def test_a_bomb_behind_the_last_member_is_stopped_early(tmp_path: Path) -> None:
    raw = gzip.decompress(tar_gz(FILES)) + bytes(1 << 24)
    with pytest.raises(DataError, match="far more than it should hold"):
        unpacked(tmp_path, gzip.compress(raw))


@pytest.mark.parametrize("cut", [0, 10, 40, -8])
def test_a_truncated_archive_is_refused(cut: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.tar\.gz cannot be unpacked: it is truncated"):
        unpacked(tmp_path, tar_gz(FILES)[:cut])


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.tar\.gz; download it again"):
        unpacked(tmp_path, b"<html>login first</html>")


def test_damaged_compression_is_refused(tmp_path: Path) -> None:
    raw = bytearray(tar_gz(FILES))
    raw[20:30] = b"\xff" * 10
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpacked(tmp_path, bytes(raw))


def sparse(fields: dict[str, str], content: bytes) -> bytes:
    """A member with an extended header, as of a sparse file."""
    records = b""
    for key, value in fields.items():
        length = len(key) + len(value) + 3
        length += len(str(length + len(str(length))))
        records += f"{length} {key}={value}\n".encode()
    header, body = member("PaxHeader", tarfile.XHDTYPE), member("set/a.bin")
    header.size, body.size = len(records), len(content)
    parts = (header.tobuf(), records, body.tobuf(), content)
    return b"".join(part + bytes(-len(part) % 512) for part in parts)


FORM = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "set/a.bin"}


@pytest.mark.parametrize(
    ("size", "content", "message"),
    [
        ("100", b"1000000000000\n1\n", "cannot be unpacked: it is truncated"),
        (str(2**60), b"1\n0\n5\n", "a.bin of 1152921504606846976 bytes where at most 2000"),
    ],
)
def test_a_sparse_file_without_end_is_refused_at_once(
    size: str, content: bytes, message: str, tmp_path: Path
) -> None:
    """tarfile alone reads on for ever where a file's map is longer than the archive."""
    fields = FORM | {"GNU.sparse.realsize": size}
    with pytest.raises(DataError, match=message):
        unpacked(tmp_path, gzip.compress(sparse(fields, content)))


def test_an_archive_of_a_million_files_is_refused_early(tmp_path: Path) -> None:
    many = b"".join(member(f"set/{i}").tobuf() for i in range(2000))
    with pytest.raises(DataError, match="holds too many files"):
        unpacked(tmp_path, gzip.compress(many), max_total=1 << 30)
