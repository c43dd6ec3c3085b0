"""Files and run folders that appear whole or not at all: written beside their place, then moved.

While it is trained for, a run folder holds checkpoints/ and maybe an earlier run, which stays until
the new one takes its place, in one step where the system has one for that.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from onelayer.errors import SaveError
from onelayer.files.lock import run_lock

# The record that makes a folder a run folder; only such a folder is ever replaced.
SETTINGS_FILE = "settings.json"

# Where training keeps what it needs to resume.
CHECKPOINTS = "checkpoints"

# Charts and pages can be drawn again; these cannot.
_RECORDS = (".json", ".parquet", ".safetensors")

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """Yield a path of the same name, whose file takes the place of `target` at the block's end.

    An error leaves nothing behind, and an older file as it was; the system's become a `SaveError`.
    """
    if target.is_dir():
        raise SaveError(f"{target} cannot be written, because it is a folder; name a file.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as beside:
            staging = Path(beside) / target.name
            yield staging
            replace_file(staging, target)
    except OSError as error:
        raise SaveError(
            f"{target} could not be written: {error.strerror or error}; free some space or choose "
            "another place."
        ) from error


@contextmanager
def durable_file(target: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose content is at `target`, and on the disk, when the block has ended.

    For a folder of one writer: a killed process leaves .NAME.part, which the next one overwrites.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as stream:
            yield stream
        replace_file(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def staged_folder(target: Path, *, keep_checkpoints: bool = False) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends without error.

    An older run folder is replaced, with its checkpoints unless they are to be kept. Any other file
    or non-empty folder is refused. An error leaves nothing behind, and is a `SaveError` where it is
    the system's.
    """
    check_replaceable(target)
    with writing(target):
        staging: Path | None = None
        try:
            staging = target.with_name(f".{target.name}.new-{secrets.token_hex(4)}")
            staging.mkdir()  # as readable as any folder, which mkdtemp's are not
            yield staging
            if keep_checkpoints and (target / CHECKPOINTS).is_dir():
                shutil.copytree(
                    target / CHECKPOINTS, staging / CHECKPOINTS, copy_function=_link_or_copy
                )
            for path in staging.iterdir():
                if path.suffix in _RECORDS:
                    _sync(path)
            _sync(staging)
            _swap_in(staging, target)
            _sync(target.parent)
        except OSError as error:
            kept = any((target / CHECKPOINTS).glob("*.safetensors"))
            raise SaveError(
                f"{target} could not be written: {error.strerror or error}; free some space or "
                f"choose another folder.{' The checkpoints are kept: --resume.' if kept else ''}"
            ) from error
        finally:
            if staging is not None:
                shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Hold a run folder's lock, once what a killed process left beside it is put in order."""
    with run_lock(target):
        ours = re.compile(re.escape(f".{target.name}.") + r"(new|old)-[a-z0-9_]{8}")
        for path in target.parent.glob(".*"):
            match = ours.fullmatch(path.name)
            if match is None:
                continue
            if match[1] == "old" and (path / target.name).is_dir() and not target.exists():
                (path / target.name).rename(target)  # it was being replaced
            shutil.rmtree(path, ignore_errors=True)
        yield


def check_replaceable(target: Path) -> None:
    """Raise `SaveError` where a target is a file, or a folder with content that is not a run."""
    if not target.exists():
        return
    if not target.is_dir():
        raise SaveError(f"{target} is a file; name a folder for the run.")
    held = {path.name for path in target.iterdir()}
    if held - {CHECKPOINTS} and SETTINGS_FILE not in held:
        raise SaveError(
            f"{target} holds other files than a run, which would be lost; name another folder."
        )


def replace_file(staging: Path, target: Path) -> None:
    """Give a file on the same disk the target's name, once its content is on the disk."""
    _sync(staging)
    os.replace(staging, target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Have the disk hold a file's content, or a folder's names, before going on."""
    if os.name == "nt":  # which opens no folder, and syncs only what is open for writing
        return
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of network disks that cannot sync a folder
            raise
    finally:
        os.close(file)


def _link_or_copy(source: str, goal: str) -> None:
    """The same file under another name, so that at no moment it is under neither."""
    try:
        os.link(source, goal)
    except OSError:
        shutil.copy2(source, goal)


def _swap_in(staging: Path, target: Path) -> None:
    """Give the staged folder the target's name; what had it is removed, or stays on an error."""
    if not target.exists():
        staging.rename(target)
        return
    if _exchange(staging, target):
        return
    retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
    target.rename(retired / target.name)
    try:
        staging.rename(target)
    except OSError:
        (retired / target.name).rename(target)
        raise
    finally:
        shutil.rmtree(retired, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap the names of two folders in one step; False where the system cannot."""
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    names = os.fsencode(first), os.fsencode(second)
    return bool(swap(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
