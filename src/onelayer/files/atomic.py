"""A file appears whole or not at all: it is written beside its place and then moved there.

A run folder appears whole or not at all: it is built beside its place and then moved there.

While it is trained for, the folder holds checkpoints/ and maybe an earlier run, which stays until
the new one takes its place, in one step where the system has one for that.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from onelayer.errors import SaveError
from onelayer.files.lock import run_lock


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """Yield a path that takes the place of `target` when the block ends without error.

    Args:
        target: where the file shall be; a file that is there is replaced, a folder is refused.

    Yields:
        A path in a new folder beside the target, with the target's name; nothing is there yet.

    Raises:
        SaveError: when the target is a folder, or the disk is full, read-only or not ours to
            write; nothing is left behind then, and an older file is as it was.

    Example:
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with staged_file(Path(place) / "model.onnx") as path:
        ...         _ = path.write_bytes(b"whole")
        ...     os.listdir(place)
        ['model.onnx']
    """
    if target.is_dir():
        raise SaveError(f"{target} should be a file to write, but it is a folder; name another.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as beside:
            staging = Path(beside) / target.name
            yield staging
            os.replace(staging, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SaveError(
            f"{target} could not be written: {reason}; nothing was left there. "
            "Free some space or choose another place."
        ) from error


@contextmanager
def durable_file(target: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose content is at `target`, and on the disk, when the block has ended.

    Args:
        target: where the file shall be, in an existing folder that has one writer at a time.

    Yields:
        An empty file beside the target, .NAME.part, open for writing.

    Raises:
        OSError: when the disk refuses; an older file is as it was. Only a process that is killed
            leaves .NAME.part behind, and the next one writes over it.

    Example:
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with durable_file(Path(place) / "one") as stream:
        ...         _ = stream.write(b"whole")
        ...     os.listdir(place)
        ['one']
    """
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, target)
        sync(target.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Have the disk hold a file's content, or a folder's names, before going on.

    Args:
        path: of the file or folder.

    Raises:
        OSError: when the disk refuses what was written.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what network disks say that cannot sync a folder
            raise
    finally:
        os.close(file)


# The record that makes a folder a run folder; only such a folder is ever replaced.
SETTINGS_FILE = "settings.json"

# Where training keeps what it needs to go on after its process has ended.
CHECKPOINTS = "checkpoints"

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def staged_folder(target: Path, *, keep_checkpoints: bool = False) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends without error.

    Args:
        target: where the run folder shall be. An older run folder there is replaced; any other
            non-empty folder or file is left alone and refused.
        keep_checkpoints: whether checkpoints that are there stay: training can still go on.

    Yields:
        A folder beside the target, to be filled.

    Raises:
        SaveError: when the target is something else than a run folder, another process is writing
            it, or the disk is full, read-only or not ours to write; nothing is left behind then.

    Example:
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with staged_folder(Path(place) / "run") as folder:
        ...         _ = (folder / SETTINGS_FILE).write_text("{}")
        ...     os.listdir(place)
        ['run']
    """
    check_replaceable(target)
    with writing(target):
        staging: Path | None = None
        try:
            staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
            staging.chmod(0o777 & ~_umask())
            yield staging
            if keep_checkpoints and (target / CHECKPOINTS).is_dir():
                _link_folder(target / CHECKPOINTS, staging / CHECKPOINTS)
            _sync_records(staging)
            _move_into_place(staging, target)
            sync(target.parent)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SaveError(
                f"the run could not be saved in {target}: {reason}; {_what_is_left(target)} "
                "Free some space or choose another folder."
            ) from error
        finally:
            if staging is not None:
                shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Hold a run folder's lock, once what a killed process left beside it is put in order.

    Args:
        target: the run folder, which need not exist.

    Raises:
        SaveError: when another process holds it.
    """
    with run_lock(target):
        _put_in_order(target)
        yield


def check_replaceable(target: Path) -> None:
    """Refuse a target that holds something other than an earlier run.

    Args:
        target: where a run folder shall be.

    Raises:
        SaveError: when it is a file, or a folder with content that is not a run.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise SaveError(f"{target} should be a folder for the run, but it is a file; name another.")
    held = {path.name for path in target.iterdir()}
    if held - {CHECKPOINTS} and SETTINGS_FILE not in held:
        raise SaveError(
            f"{target} should be empty or an earlier run, but it holds other files; "
            "name another folder so that they are not lost."
        )


def _what_is_left(target: Path) -> str:
    if any((target / CHECKPOINTS).glob("*.safetensors")):
        return "its checkpoints are there, and --resume goes on from the last."
    return "nothing was left there."


def _put_in_order(target: Path) -> None:
    """Put back a run that was being replaced, and remove what was being built."""
    ours = re.compile(re.escape(f".{target.name}.") + r"(new|old)-[a-z0-9_]{8}")
    for path in target.parent.glob(".*"):
        match = ours.fullmatch(path.name)
        if match is None:
            continue
        if match[1] == "old" and (path / target.name).is_dir() and not target.exists():
            (path / target.name).rename(target)
        shutil.rmtree(path, ignore_errors=True)


def _link_folder(source: Path, goal: Path) -> None:
    """The same files under another name, so that at no moment they are under neither."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)

    shutil.copytree(source, goal, copy_function=link)


def _sync_records(folder: Path) -> None:
    """Charts and pages can be drawn anew; the records cannot."""
    for path in folder.iterdir():
        if path.suffix in (".json", ".parquet", ".safetensors"):
            sync(path)
    sync(folder)


def _move_into_place(staging: Path, target: Path) -> None:
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


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap their names in one step; whether the system can."""
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(swap(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)


def _umask() -> int:
    """The process's umask, which mkdtemp ignores: a run folder should be as readable as any."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
