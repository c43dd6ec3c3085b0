"""Files and run folders that appear whole or not at all: written beside their place, then moved.

While it is trained for, a run folder holds checkpoints/ and maybe an earlier run, which stays until
the new one takes its place. A run folder is replaced file by file, so that it stays the same folder
and keeps what others put there; `onelayer.files.manifest` says how that is all or none.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from onelayer.errors import DataError, SaveError, one_line, refusal_words
from onelayer.files.lock import run_lock, try_lock, write_errors
from onelayer.files.manifest import (
    CHARTS_FOLDER,
    CHECKPOINTS,
    COMMITTED,
    MANIFEST_FILE,
    PAGE_FILE,
    RECORDS,
    STAGING,
    FileSum,
    Manifest,
    own_checkpoints,
    read_file,
    read_manifest,
)

# Begins the name of a folder, beside a target, in which a file is made.
_WORK = ".onelayer.tmp-"


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """Yield a path of the same name, whose file takes the place of `target` at the block's end.

    It has the permissions of the file that it replaces. A link stays, and what it names is
    replaced; a device or a pipe, "-" and /dev/stdout are written to. An error leaves nothing
    behind, and an older file as it was; the system's become a `SaveError`.
    """
    if target.is_dir():
        raise SaveError(f"{target} cannot be written, because it is a folder; name a file.")
    if target.is_socket() or target.is_block_device():
        raise SaveError(f"{target} cannot be written, because it is no file; name a file.")
    with write_errors(target, "another place"):
        real = Path(os.path.realpath(target))
        if is_stream(target):
            with tempfile.TemporaryDirectory(prefix="onelayer-") as beside:
                yield (staging := Path(beside) / target.name)
                with staging.open("rb") as content, _open_stream(target) as stream:
                    shutil.copyfileobj(content, stream)
            return
        real.parent.mkdir(parents=True, exist_ok=True)
        with _workplace(real.parent) as beside:
            yield (staging := beside / target.name)
            keep_mode(staging, real)
            replace_file(staging, real)


def is_stream(target: Path) -> bool:
    """Whether a target is a stream, which is written to and not replaced."""
    open_files = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")
    of_process = str(target) == "-" or os.path.abspath(target).startswith(open_files)
    return of_process or target.is_char_device() or target.is_fifo()


def _open_stream(target: Path) -> BinaryIO:
    own = {"-": sys.stdout, "/dev/stdout": sys.stdout, "/dev/stderr": sys.stderr}.get(str(target))
    if own is None:
        return target.open("wb")
    own.flush()
    return open(own.fileno(), "wb", closefd=False)  # also where it is a file


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A folder in a folder, for files that will be moved; those of killed processes are removed."""
    for left in folder.glob(f"{_WORK}*"):
        with suppress(OSError):
            file = _open_folder(left)
            try:
                if try_lock(file):
                    shutil.rmtree(left)
            finally:
                os.close(file)
    place, file = _new_workplace(folder)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(file)


def _new_workplace(folder: Path) -> tuple[Path, int]:
    """A folder and the open file whose lock says, until its process ends, that it is in use."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=_WORK, dir=folder))
        with suppress(FileNotFoundError):  # another has just removed it
            file = _open_folder(place)
            if try_lock(file) is not False and place.exists():
                return place, file
            os.close(file)


def _open_folder(folder: Path) -> int:
    """A folder as an open file; where the system opens no folders, nothing that can be locked."""
    return os.open(os.devnull if os.name == "nt" else folder, os.O_RDONLY)


@contextmanager
def durable_file(target: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose content is at `target`, and on the disk, after the block; one writer."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        with part.open("xb") as stream:
            yield stream
        replace_file(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def staged_folder(
    target: Path,
    manifest: Manifest | None = None,
    *,
    keeps: Callable[[str], bool] = lambda _: False,
) -> Iterator[Path]:
    """Yield an empty folder whose files move into a run folder when the block ends: all or none.

    They replace the files that onelayer wrote there but those that `keeps` names, and a run that
    has finished for good its checkpoints; every other file stays. The manifest says what is given,
    or what it said. An error leaves what there was, and is a `SaveError` where it is the system's.
    """
    folder = Path(os.path.realpath(target))
    with writing(target):
        staging, is_new = folder / STAGING, not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            staging.mkdir()
            yield staging
            old = read_manifest(folder) or Manifest(finished=False)
            files = {name: old.files[name] for name in filter(keeps, old.files)}
            for path in staging.rglob("*"):
                if path.is_file():
                    files[path.relative_to(staging).as_posix()] = FileSum.of(path.read_bytes())
            check_not_foreign(target, files)
            new = replace(manifest or old, files=files)
            (staging / MANIFEST_FILE).write_bytes(new.encode())
            for path in staging.iterdir():
                if path.name in (*RECORDS, MANIFEST_FILE):  # a page can be drawn again
                    _sync(path)
            _sync(staging)
            staging.rename(folder / COMMITTED)
            _sync(folder)
            _move_committed(folder)
        except OSError as error:
            why = refusal_words(error, "choose another folder")
            raise SaveError(f"{target} could not be written: {why}.{_kept(folder)}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            if is_new:
                with suppress(OSError):  # which a folder that holds something raises
                    folder.rmdir()


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Hold a run folder's lock, once what a killed process left in it is put in order."""
    with run_lock(target):
        folder = Path(os.path.realpath(target))
        shutil.rmtree(folder / STAGING, ignore_errors=True)
        if (folder / COMMITTED).exists():
            try:
                _move_committed(folder)
            except OSError as error:
                raise SaveError(
                    f"{target} holds files of a killed command that cannot be moved into place: "
                    f"{refusal_words(error, 'choose another folder')}."
                ) from error
        yield


def _move_committed(folder: Path) -> None:
    """Move the files that wait in a run folder to their places, its manifest last."""
    committed = folder / COMMITTED
    new, old = _manifest_in(committed), _manifest_in(folder)
    if new is not None:
        before = old.files if old else {}
        for name in before.keys() - new.files.keys():
            _place(folder, name).unlink(missing_ok=True)
        for name in new.files:
            if (staged := _place(committed, name)).exists():
                goal = _place(folder, name)
                goal.parent.mkdir(exist_ok=True)
                keep_mode(staged, goal)
                os.replace(staged, goal)
        leaves = new.finished and not new.further
        if leaves and any(before.get(name) != new.files.get(name) for name in RECORDS):
            remove_checkpoints(folder)
        with suppress(OSError):
            (folder / CHARTS_FOLDER).rmdir()  # if it is empty
        _sync(folder)
        keep_mode(committed / MANIFEST_FILE, folder / MANIFEST_FILE)
        os.replace(committed / MANIFEST_FILE, folder / MANIFEST_FILE)
    shutil.rmtree(committed)
    _sync(folder)


def _manifest_in(folder: Path) -> Manifest | None:
    path = folder / MANIFEST_FILE
    try:
        return Manifest.decode(read_file(path)) if path.exists() else None
    except DataError as error:
        raise SaveError(
            f"{path} cannot be read ({one_line(error).rstrip('.')}); name another folder."
        ) from error


def _place(folder: Path, name: str) -> Path:
    """Where a file of a run folder is; a `SaveError` where a link would lead out of the folder."""
    path = folder / name
    for parent in (folder / part for part in Path(name).parents):
        if parent.is_symlink():
            raise SaveError(f"{parent} is a link; replace it by a folder or name another one.")
    return path


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints that onelayer wrote, and their folder if nothing else is in it."""
    for file in own_checkpoints(folder):
        file.unlink(missing_ok=True)
    with suppress(OSError):
        (folder / CHECKPOINTS).rmdir()


def check_replaceable(target: Path, *, overwrite: bool = False, begun: bool = False) -> None:
    """Raise `SaveError` unless a run can be saved in a folder without loss.

    A finished run is replaced only to `overwrite`. Files that onelayer did not write stay where
    they are; a folder that holds nothing else, unless the work for it has `begun`, and one of them
    in the place of a record are refused.
    """
    try:
        if not target.exists():
            return
        if not target.is_dir():
            what = "a file" if target.is_file() else "neither a file nor a folder"
            raise SaveError(f"{target} is {what}; name a folder for the run.")
        foreign = any(path.name not in (CHECKPOINTS, STAGING) for path in target.iterdir())
        if (target / CHECKPOINTS).is_dir() and not own_checkpoints(target):
            foreign |= any((target / CHECKPOINTS).iterdir())
    except OSError as error:
        raise SaveError(
            f"{target} cannot be read: {error.strerror}; name another folder."
        ) from error
    manifest = read_manifest(target)
    for name in (CHECKPOINTS, CHARTS_FOLDER):
        path = target / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise SaveError(f"{path} is not a folder, or is a link; name another folder.")
    if manifest is None and foreign and not begun and not own_checkpoints(target):
        raise SaveError(f"{target} holds other files than a run; name another folder.")
    check_not_foreign(target, (*RECORDS, PAGE_FILE))
    if manifest is not None and manifest.finished and not overwrite:
        raise SaveError(
            f"{target} holds a finished run; name another folder, or pass --overwrite "
            "(overwrite=True) to replace it."
        )


def check_not_foreign(target: Path, names: Iterable[str]) -> None:
    """Raise `SaveError` where a file that would be written is there and not onelayer's."""
    found = filter(None, (_manifest_in(place) for place in (target / COMMITTED, target)))
    own = {name for manifest in found for name in manifest.files}
    for name in names:
        if os.path.lexists(target / name) and name not in own:
            raise SaveError(
                f"{target / name} was not written by onelayer and would be replaced; move it away "
                f"or name another folder.{_kept(target)}"
            )


def _kept(folder: Path) -> str:
    """How to go on with a run that could not be saved, where that is possible."""
    return " The checkpoints are kept: --resume." if own_checkpoints(folder) else ""


def replace_file(staging: Path, target: Path) -> None:
    """Give a file on the same disk the target's name, once its content is on the disk."""
    _sync(staging)
    os.replace(staging, target)
    _sync(target.parent)


def keep_mode(staging: Path, target: Path) -> None:
    """Give a file the permissions of the one that it will replace."""
    with suppress(FileNotFoundError):
        staging.chmod(target.stat().st_mode & 0o7777)


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
