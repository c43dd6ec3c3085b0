"""One writer a run folder: a lock that ends with its process, however that ends.

The lock is on the file .NAME.lock beside the folder, which says who holds it. A file that a killed
process left behind locks nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onelayer.errors import CheckpointWarning, SaveError

# Seconds until a writer is believed to stay: a killed process takes a moment to let go.
PATIENCE = 0.2

# Folders that a thread holds, and how often: what it holds already it need not wait for.
_held: dict[tuple[Path, int], int] = {}


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other writers from a run folder while the block runs.

    Args:
        folder: the run folder, which need not exist; nor need its parents, which are removed
            again when they are still empty at the end. A block within a block of the same thread
            may lock it again.

    Raises:
        SaveError: when another process, or another thread, holds it; or the place cannot be
            written.

    Warns:
        CheckpointWarning: where the file system has no locks; the block runs all the same.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with run_lock(Path(place) / "run"):
        ...         print(holder(Path(place) / "run") == f"process {os.getpid()}")
        ...     os.listdir(place)
        True
        []
    """
    key = (Path(os.path.abspath(folder)), threading.get_ident())
    made = [parent for parent in key[0].parents if not parent.exists()]
    file = None if key in _held else _acquire(folder)
    _held[key] = _held.get(key, 0) + 1
    try:
        yield
    finally:
        _held[key] -= 1
        if not _held[key]:
            del _held[key]
        if file is not None:
            # Unlinked while it is held: who opened it before sees below that it is gone.
            _place(folder).unlink(missing_ok=True)
            os.close(file)
        with suppress(OSError):  # which a folder that holds something raises
            for parent in made:
                parent.rmdir()


def holder(folder: Path) -> str | None:
    """Tell who is writing a run folder.

    Args:
        folder: a run folder.

    Returns:
        "process 123", with its machine when that is another; None when nobody is.
    """
    try:
        file = os.open(_place(folder), os.O_RDWR)
    except OSError:
        return None
    try:
        return None if _locked(file) else _said(file)
    finally:
        os.close(file)


def _acquire(folder: Path) -> int:
    place, waited = _place(folder), 0.0
    while True:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SaveError(
                f"the run could not be saved in {folder}: {reason}; choose another folder."
            ) from error
        if not _locked(file):
            said = _said(file)
            os.close(file)
            if waited < PATIENCE:
                time.sleep(PATIENCE / 10)
                waited += PATIENCE / 10
                continue
            raise SaveError(
                f"{folder} is being written by {said}; wait until that has ended, or choose "
                "another folder."
            )
        if _is_there(place, file):
            owner = {"process": os.getpid(), "machine": platform.node()}
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(owner).encode(), 0)
            return file
        os.close(file)


def _place(folder: Path) -> Path:
    whole = Path(os.path.abspath(folder))
    return whole.with_name(f".{whole.name}.lock")


def _locked(file: int) -> bool:
    """Lock an open file, and say whether that was possible."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        warnings.warn(
            f"the file system has no locks ({error.strerror}), so nothing keeps a second writer "
            "from this run folder.",
            CheckpointWarning,
            stacklevel=2,
        )
    return True


def _said(file: int) -> str:
    try:
        owner = json.loads(os.pread(file, 10_000, 0))
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
