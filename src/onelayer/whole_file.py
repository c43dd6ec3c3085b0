"""A file appears whole or not at all: it is written beside its place and then moved there."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from onelayer.errors import SaveError


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
