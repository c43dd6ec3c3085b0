"""The cache: official binary files that are checked when written and again whenever they are read.

Everything unfinished lies in a work folder inside the cache's folder and reaches its name by one
rename, so that a killed process leaves nothing that is later believed. The next process that holds
the lock removes the work folders of killed ones.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from onelayer.data.datasets.decode import read_binary
from onelayer.data.datasets.layout import CIFAR10, Layout, RecordFile, Records
from onelayer.data.progress import Log
from onelayer.errors import DataError, SourceError
from onelayer.files.atomic import replace_file
from onelayer.files.lock import try_lock

ENVIRONMENT = "ONELAYER_CACHE"
_WORK = ".work-"


class NotCachedError(DataError):
    """A file is missing in the cache, or is not what it should be."""


@dataclass(frozen=True)
class CacheRecord:
    """One file of the cache."""

    file: str
    path: Path  # where it lies, or would lie
    bytes: int  # 0 when it is missing
    state: str  # "verified" against the pinned SHA-256, "damaged" or "missing"

    def __str__(self) -> str:
        return f"{self.state:<8}  {self.bytes:>10,} bytes  {self.path}"


def cache_folder(data: str = "cifar10") -> Path:
    """The folder of a cached data set's files, which need not exist.

    It lies in the folder that the environment variable ONELAYER_CACHE names, or else in the
    platform's cache folder for onelayer.
    """
    moved = os.environ.get(ENVIRONMENT)
    if moved:
        return Path(moved).expanduser() / data
    from platformdirs import user_cache_path

    return user_cache_path("onelayer", appauthor=False) / data


def cached(layout: Layout = CIFAR10) -> list[CacheRecord]:
    """Every file of a data set in the cache, checked now, the missing ones too."""
    folder, records = cache_folder(layout.folder_name), []
    for part in layout.parts:
        path, state = folder / part.file_name, "verified"
        there = os.path.exists(path)
        try:
            read_cached(folder, part, layout)
        except NotCachedError:
            state = "damaged" if there else "missing"
        size = path.stat().st_size if there else 0
        records.append(CacheRecord(part.file_name, path, size, state))
    return records


def read_cached(folder: Path, part: RecordFile, layout: Layout) -> Records:
    """The records of a cached file, checked; `NotCachedError` where it is not what it should be."""
    try:
        return read_binary(folder, part, layout)
    except DataError as error:
        raise NotCachedError(str(error)) from error


def store(folder: Path, part: RecordFile, records: Records) -> None:
    """Put one checked file into the cache, whose lock is held."""
    with _cache_errors(folder), work_folder(folder) as work:
        unfinished = work / part.file_name
        with unfinished.open("xb") as file:
            file.write(records.data)
        replace_file(unfinished, folder / part.file_name)


def discard_damaged(folder: Path, layout: Layout, log: Log) -> list[RecordFile]:
    """Remove damaged files from the cache, whose lock is held; returns the files missing now."""
    missing = []
    for part in layout.parts:
        try:
            read_cached(folder, part, layout)
        except NotCachedError as error:
            missing.append(part)
            if os.path.exists(folder / part.file_name):
                log(f"cache: {error} It is removed and downloaded again.")
                with _cache_errors(folder):
                    (folder / part.file_name).unlink()
    return missing


@contextmanager
def locked(folder: Path, log: Log) -> Iterator[None]:
    """Hold the cache for this process alone; others wait while the block runs."""
    with _cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("ab")
    with lock:
        # Without locks (Windows, some network disks) two processes may both download; each still
        # puts whole files into place, so only time is lost.
        with suppress(OSError):
            held = try_lock(lock.fileno())
            if held is False:
                log("cache: another process is filling it; waiting for that one.")
                held = try_lock(lock.fileno(), wait=True)
            if held:
                for leftover in folder.glob(_WORK + "*"):
                    shutil.rmtree(leftover, ignore_errors=True)
        yield


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """An empty folder for unfinished files, on the cache's disk, gone when the block ends."""
    with _cache_errors(folder):
        work = tempfile.TemporaryDirectory(prefix=_WORK, dir=folder, ignore_cleanup_errors=True)
    with work as path:
        yield Path(path)


@contextmanager
def _cache_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"the data set cannot be kept in the cache {folder}: {error.strerror or error}; free "
            f"some space or set {ENVIRONMENT} to a folder that can be written, or name a folder "
            "that holds its files with --data DIR, or use --data digits."
        ) from error
