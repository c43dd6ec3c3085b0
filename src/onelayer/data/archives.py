"""Unpacking an archive that someone else made: only what is expected, only where it belongs."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from onelayer.errors import DataError

_CHUNK = 1 << 16


def unpack(
    archive: Path, wanted: frozenset[str], into: Path, *, most_file: int, most_total: int
) -> None:
    """Unpack the wanted files of a .tar.gz flat into a folder.

    Args:
        archive: the file.
        wanted: base names of the files to unpack, such as "data_batch_1.bin"; others are left.
        into: an empty folder.
        most_file: bytes that one wanted file may have.
        most_total: bytes that all of the archive may unpack to.

    Raises:
        DataError: when a member is a link or a device or lies outside the archive's folder, a
            wanted one is missing, twice there or too large, all are too large together, or the
            archive is truncated.
        OSError: when a file cannot be written.

    Example:
        >>> unpack(Path("x.tgz"), frozenset(), Path("."), most_file=1, most_total=1)
        Traceback (most recent call last):
        onelayer.errors.DataError: x.tgz cannot be unpacked: No such file or directory.
    """
    missing = set(wanted)
    for name, raw in _read_members(archive, wanted, most_file, most_total):
        if name not in missing:
            raise DataError(f"{archive.name} holds {name} twice; get it again.")
        missing.remove(name)
        (into / name).write_bytes(raw)
    if missing:
        raise DataError(f"{archive.name} does not hold {', '.join(sorted(missing))}; get it again.")


def _read_members(
    archive: Path, wanted: frozenset[str], most_file: int, most_total: int
) -> Iterator[tuple[str, bytes]]:
    try:
        # A stream asks for one byte after the other, so that the bound below is a bound on
        # everything: headers, members that are skipped, and what gzip blows up.
        with (
            gzip.open(archive) as unzipped,
            _Bounded(unzipped, most_total, archive) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            for member in tar:
                name = _safe_name(member, archive)
                if name not in wanted or not member.isfile():
                    continue
                if member.size > most_file:
                    raise DataError(
                        f"{archive.name} holds a {name} of {member.size} bytes where at most "
                        f"{most_file} are expected; get it again."
                    )
                content = tar.extractfile(member)
                yield name, content.read() if content else b""
            # gzip's own checksum comes last, after what tar asks for.
            while stream.read(_CHUNK):
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is truncated or no .tar.gz, get it again"
        raise DataError(f"{archive.name} cannot be unpacked: {reason}.") from error


def _safe_name(member: tarfile.TarInfo, archive: Path) -> str:
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or re.search(r"[\\:\0]", member.name)
    if outside:
        raise DataError(
            f"{archive.name} holds {member.name!r}, which lies outside its folder; nothing of it "
            "is used. Get it again from a source that you trust."
        )
    if not (member.isfile() or member.isdir()):
        raise DataError(
            f"{archive.name} holds {member.name!r}, which is a link or a device and not a file; "
            "nothing of it is used. Get it again from a source that you trust."
        )
    return path.name


class _Bounded(io.RawIOBase):
    """A stream that ends with an error once more than `most` bytes were read."""

    def __init__(self, stream: gzip.GzipFile, most: int, archive: Path) -> None:
        super().__init__()
        self._stream, self._left, self._archive = stream, most, archive

    def read(self, size: int = -1, /) -> bytes:
        raw = self._stream.read(size)
        self._left -= len(raw)
        if self._left < 0:
            raise DataError(
                f"{self._archive.name} unpacks to far more than it should hold; nothing of it "
                "is used. Get it again from a source that you trust."
            )
        return raw
