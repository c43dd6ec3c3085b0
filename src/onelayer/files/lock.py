"""Locks that end with their process, however that ends; one writer for each run folder.

A run folder's lock is on the file .NAME.lock beside it, which says who holds it; one that a killed
process left behind locks nothing.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import stat
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from onelayer.errors import CheckpointWarning, SaveError, refusal_words

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, where nothing keeps a second writer away
    fcntl = None

# Seconds until a writer is believed to stay: a killed process takes a moment to let go.
PATIENCE = 0.2

# Folders that a thread holds, and how often: what it holds already it need not wait for.
_held: dict[tuple[Path, int], int] = {}


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other writers from a run folder while the block runs; `SaveError` where one is at it.

    The same thread may lock it again. Without locks it runs all the same, with a warning.
    """
    key = (Path(os.path.realpath(folder)), threading.get_ident())
    made = [parent for parent in key[0].parents if not parent.exists()]
    file = None if key in _held else _acquire(folder)
    try:
        with lent_lock(folder):
            yield
    finally:
        if file is not None:
            # Unlinked while it is held: who opened it before sees in `_acquire` that it is gone.
            with suppress(PermissionError):  # of Windows, for a file that is open
                _place(folder).unlink(missing_ok=True)
            os.close(file)
        with suppress(OSError):  # which a folder that holds something raises
            for parent in made:
                parent.rmdir()


@contextmanager
def lent_lock(folder: Path) -> Iterator[None]:
    """Let this thread write a run folder whose lock is held by another, which waits for it."""
    key = (Path(os.path.realpath(folder)), threading.get_ident())
    _held[key] = _held.get(key, 0) + 1
    try:
        yield
    finally:
        _held[key] -= 1
        if not _held[key]:
            del _held[key]


def holder(folder: Path) -> str | None:
    """Who is writing a run folder: "process 123", with its machine if that is another, or None."""
    try:
        file = _open(_place(folder))
    except OSError:
        return None
    try:
        return _owner(file) if try_lock(file) is False else None
    finally:
        os.close(file)


def try_lock(file: int, *, wait: bool = False) -> bool | None:
    """Lock an open file: True, or False where another holds it; None where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (AttributeError, OSError):  # of Windows, and of some network disks
        return None
    return True


def _acquire(folder: Path) -> int:
    place, patience = _place(folder), PATIENCE
    while True:
        with write_errors(folder):
            place.parent.mkdir(parents=True, exist_ok=True)
            file = _open(place, os.O_CREAT)
        locked = try_lock(file)
        if locked is None:
            warnings.warn(
                "the file system has no locks; nothing keeps a second process from writing this "
                "run folder.",
                CheckpointWarning,
                stacklevel=2,
            )
        if locked is not False and _is_there(place, file):
            owner_record = {"process": os.getpid(), "machine": platform.node()}
            with write_errors(folder):
                try:
                    os.ftruncate(file, 0)
                    os.write(file, json.dumps(owner_record).encode())
                except OSError:
                    place.unlink(missing_ok=True)
                    os.close(file)
                    raise
            return file
        owner = _owner(file)
        os.close(file)
        if locked is False and patience <= 0:
            raise SaveError(
                f"{folder} is being written by {owner}; wait until it has ended, or choose another "
                "folder."
            )
        if locked is False:
            time.sleep(PATIENCE / 10)
            patience -= PATIENCE / 10


@contextmanager
def write_errors(target: Path, choose: str = "another folder") -> Iterator[None]:
    """Raise a `SaveError` for what the system refuses."""
    try:
        yield
    except OSError as error:
        why = refusal_words(error, f"choose {choose}")
        raise SaveError(f"{target} could not be written: {why}.") from error


def _open(place: Path, flags: int = 0) -> int:
    """Open a lock file, which is no link and no device."""
    if place.is_symlink():
        raise OSError(errno.ELOOP, f"{place} is a link")
    file = os.open(place, os.O_RDWR | flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise OSError(errno.EINVAL, f"{place} is not a file")


def _place(folder: Path) -> Path:
    whole = Path(os.path.realpath(folder))
    return whole.with_name(f".{whole.name}.lock")


def _owner(file: int) -> str:
    try:
        os.lseek(file, 0, os.SEEK_SET)
        owner = json.loads(os.read(file, 10_000))
        here = owner["machine"] == platform.node()
        return f"process {owner['process']}" + ("" if here else f" on {owner['machine']}")
    except (ValueError, KeyError, TypeError):
        return "another process"  # which has not yet written who it is


def _is_there(place: Path, file: int) -> bool:
    """Whether that place still names the file that was opened."""
    try:
        return os.path.samestat(os.stat(place), os.fstat(file))
    except FileNotFoundError:
        return False
