"""A run folder appears whole or not at all: it is built beside its place and then moved there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onelayer.errors import SaveError

# The record that makes a folder a run folder; only such a folder is ever replaced.
SETTINGS_FILE = "settings.json"


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends without error.

    Args:
        target: where the run folder shall be. An older run folder there is replaced; any other
            non-empty folder or file is left alone and refused.

    Yields:
        A folder beside the target, to be filled.

    Raises:
        SaveError: when the target is something else than a run folder, or the disk is full,
            read-only or not ours to write; nothing is left behind then.

    Example:
        >>> with tempfile.TemporaryDirectory() as place:
        ...     with staged_folder(Path(place) / "run") as folder:
        ...         _ = (folder / SETTINGS_FILE).write_text("{}")
        ...     os.listdir(place)
        ['run']
    """
    check_replaceable(target)
    staging: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        staging.chmod(0o777 & ~_umask())
        yield staging
        _move_into_place(staging, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SaveError(
            f"the run could not be saved in {target}: {reason}; nothing was left there. "
            "Free some space or choose another folder."
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


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
    if any(target.iterdir()) and not (target / SETTINGS_FILE).is_file():
        raise SaveError(
            f"{target} should be empty or an earlier run, but it holds other files; "
            "name another folder so that they are not lost."
        )


def _move_into_place(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    retired = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    target.rename(retired / target.name)
    try:
        staging.rename(target)
    except OSError:
        (retired / target.name).rename(target)
        raise
    finally:
        shutil.rmtree(retired, ignore_errors=True)


def _umask() -> int:
    """The process's umask, which mkdtemp ignores: a run folder should be as readable as any."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
