"""The cache: official binary files that are checked when written and again whenever they are read.

Everything unfinished lies in a work folder inside the cache's folder and reaches its name by one
rename, so that a killed process leaves nothing that is later believed. Work folders of killed
processes are cleared by the next one that holds the lock.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from onelayer.data.datasets.layout import (
    CIFAR10,
    Layout,
    RecordFile,
    Records,
    checked_records,
    read_bounded,
)
from onelayer.errors import DataError, SourceError

ENVIRONMENT = "ONELAYER_CACHE"

_WORK = ".work-"


class NotCachedError(DataError):
    """A file is missing in the cache, or is not what it should be."""


@dataclass(frozen=True)
class CacheRecord:
    """One file of the cache.

    Attributes:
        file: its name.
        path: where it lies, or would lie.
        bytes: its size; 0 when it is missing.
        state: "verified" against the pinned SHA-256, "damaged" or "missing".
    """

    file: str
    path: Path
    bytes: int
    state: Literal["verified", "damaged", "missing"]

    @property
    def verified(self) -> bool:
        """Whether its bytes are the official ones."""
        return self.state == "verified"

    def __str__(self) -> str:
        return f"{self.state:<8}  {self.bytes:>10,} bytes  {self.path}"


def cache_folder(data: str = "cifar10") -> Path:
    """Find the folder of a cached data set's files; it need not exist.

    Args:
        data: cifar10 or cifar100.

    Returns:
        The sub-folder of that name of the folder in the environment variable ONELAYER_CACHE, or
        else of the platform's cache folder for onelayer.

    Example:
        >>> cache_folder().name
        'cifar10'
    """
    moved = os.environ.get(ENVIRONMENT)
    if moved:
        return Path(moved).expanduser() / data
    from platformdirs import user_cache_path

    return user_cache_path("onelayer", appauthor=False) / data


def cached(layout: Layout = CIFAR10) -> list[CacheRecord]:
    """List the six files of CIFAR-10 in the cache, each checked now.

    Args:
        layout: names, sizes and sums.

    Returns:
        One record for each file, the missing ones too.

    Example:
        >>> [record.file for record in cached()][-1]
        'test_batch.bin'
    """
    return [_look_at(cache_folder() / part.file_name, part, layout) for part in layout.parts]


def _look_at(path: Path, part: RecordFile, layout: Layout) -> CacheRecord:
    if not os.path.exists(path):
        return CacheRecord(part.file_name, path, 0, "missing")
    try:
        read_cached(path.parent, part, layout)
    except NotCachedError:
        return CacheRecord(part.file_name, path, path.stat().st_size, "damaged")
    return CacheRecord(part.file_name, path, layout.file_bytes, "verified")


def read_cached(folder: Path, part: RecordFile, layout: Layout) -> Records:
    """Read one file from the cache, checked against its pinned sum.

    Args:
        folder: the cache's folder.
        part: which of the six.
        layout: sizes and sums.

    Returns:
        (rows, 3073) uint8.

    Raises:
        NotCachedError: when it is missing or not what it should be.
    """
    path = folder / part.file_name
    try:
        raw = read_bounded(path, layout.most_file_bytes)
        return checked_records(raw, part, layout, f"the cached {path}")
    except DataError as error:
        raise NotCachedError(str(error)) from error


def store(folder: Path, part: RecordFile, records: Records) -> None:
    """Put one checked file into the cache, whole or not at all.

    Args:
        folder: the cache's folder, whose lock is held.
        part: which of the six.
        records: (rows, 3073) uint8, checked.

    Raises:
        SourceError: when it cannot be written: disk full, read-only.
    """
    with _writing(folder), work_folder(folder) as work:
        unfinished = work / part.file_name
        with unfinished.open("xb") as file:
            file.write(records.data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(folder / part.file_name)


def discard_damaged(folder: Path, layout: Layout, log: Callable[[str], None]) -> list[RecordFile]:
    """Remove cached files that are not what they should be.

    Args:
        folder: the cache's folder, whose lock is held.
        layout: sizes and sums.
        log: told of each removed file in one line.

    Returns:
        The files that are missing now.

    Raises:
        SourceError: when a damaged file cannot be removed.
    """
    missing = []
    for part in layout.parts:
        try:
            read_cached(folder, part, layout)
        except NotCachedError as error:
            missing.append(part)
            if os.path.exists(folder / part.file_name):
                log(f"cache: {error} It is removed and fetched again.")
                with _writing(folder):
                    (folder / part.file_name).unlink()
    return missing


@contextmanager
def locked(folder: Path, log: Callable[[str], None]) -> Iterator[None]:
    """Hold the cache for this process alone; the lock ends with the process, however it ends.

    Args:
        folder: the cache's folder; it is made.
        log: told in one line when another process is waited for.

    Yields:
        Nothing; other processes wait while the block runs.

    Raises:
        SourceError: when the folder cannot be written.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("ab")
    with lock:
        if _lock(lock, log):
            for leftover in folder.glob(_WORK + "*"):
                shutil.rmtree(leftover, ignore_errors=True)
        yield


def _lock(lock: IO[bytes], log: Callable[[str], None]) -> bool:
    # Without locks (Windows, some network file systems) two processes may both fetch; each still
    # puts whole files into place, so only time is lost.
    try:
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("cache: another process is filling it; waiting for that one.")
            fcntl.flock(lock, fcntl.LOCK_EX)
    except (ImportError, OSError):
        return False
    return True


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Make a folder for unfinished files, on the cache's own disk so that a rename can finish them.

    Args:
        folder: the cache's folder.

    Yields:
        An empty folder, gone with all it holds when the block ends.

    Raises:
        SourceError: when it cannot be made.
    """
    with _writing(folder):
        work = Path(tempfile.mkdtemp(prefix=_WORK, dir=folder))
    try:
        yield work
    finally:
        with suppress(OSError):
            shutil.rmtree(work)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"CIFAR cannot be kept in the cache {folder}: {error.strerror or error}; free some "
            f"space or set {ENVIRONMENT} to a folder that can be written, or name a folder that "
            "holds its files with --data DIR, or use --data digits."
        ) from error
