"""The manifest of a run folder: the files that onelayer wrote there, with sizes and SHA-256.

Only these are ever replaced or removed, and only with these sums are they read. manifest.json is
written last. New files wait in .onelayer-committed, manifest and all, until each has taken its
place: readers look there first, and the next writer moves what a killed one left.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from onelayer.errors import DataError, SaveError, one_line, require_file
from onelayer.files.records import from_plain, read_json, to_plain, write_json
from onelayer.files.tensors import is_sealed

MANIFEST_FILE, KIND, VERSION = "manifest.json", "onelayer.manifest", 1

# The records of a run, and its page.
SETTINGS_FILE, WEIGHTS_FILE = "settings.json", "weights.safetensors"
HISTORY_FILE, PATH_FILE, HELD_OUT_FILE = "history.parquet", "path.parquet", "held_out.parquet"
HEADS_FILE, SHOTS_FILE = "heads.parquet", "few_shots.parquet"
RECORDS = (
    SETTINGS_FILE, WEIGHTS_FILE, HISTORY_FILE, PATH_FILE, HELD_OUT_FILE, HEADS_FILE, SHOTS_FILE,
)  # fmt: skip
PAGE_FILE, CHARTS_FOLDER = "report.html", "charts"

# Where training keeps what it needs to resume.
CHECKPOINTS = "checkpoints"

# Files that are being written, and files that are whole and wait to be moved into place.
STAGING, COMMITTED = ".onelayer-staging", ".onelayer-committed"

# A name in the folder or in one within it; a forged manifest can name nothing outside.
_NAME = re.compile(r"(?!\.)[^/\\\0]+(/(?!\.)[^/\\\0]+)?")

_CHECKPOINT_NAME = re.compile(r".+-\d+\.safetensors")


@dataclass(frozen=True)
class FileSum:
    """Size and SHA-256 of a file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> FileSum:
        """Those of a content."""
        return cls(len(content), sha256(content).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """What onelayer wrote in a run folder."""

    finished: bool  # False for an interrupted run
    files: Mapping[str, FileSum] = field(default_factory=dict)
    further: bool = False  # checkpoints of a finished run stay: more epochs may go on from them
    data: Mapping[str, int | str] = field(default_factory=dict)  # sizes and hashes of its rows

    def encode(self) -> bytes:
        """The content of manifest.json, with its own SHA-256."""
        body = {"format": KIND, "version": VERSION} | to_plain(self)
        body["sha256"] = sha256(write_json(body).encode()).hexdigest()
        return (write_json(body, indent=2) + "\n").encode()

    @classmethod
    def decode(cls, content: bytes) -> Manifest:
        """The manifest that has this very content; the `DataError` begins with "it" or "its"."""
        body = from_plain(dict[str, Any], read_json(content))
        if body.pop("format", None) != KIND:
            raise DataError("it was not written by onelayer")
        if (version := body.pop("version", None)) != VERSION:
            raise DataError(f"its version is {one_line(version)}, not {VERSION}")
        body.pop("sha256", None)
        manifest = from_plain(cls, body)
        if not all(_NAME.fullmatch(name) for name in manifest.files):
            raise DataError("it names files outside of the run folder")
        if manifest.encode() != content:
            raise DataError("its content changed since it was written")
        return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a run folder; None where there is none, `SaveError` for one not valid."""
    for path in (folder / COMMITTED / MANIFEST_FILE, folder / MANIFEST_FILE):
        try:
            return Manifest.decode(read_file(path))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, DataError) as error:
            reason = error.strerror if isinstance(error, OSError) else one_line(error).rstrip(".")
            raise SaveError(
                f"{path} cannot be read ({reason}); restore it from a backup or name another "
                "folder."
            ) from error
    return None


def read_file(path: Path) -> bytes:
    """The content of a file; a pipe or a device is an OSError, and not waited for."""
    if os.path.islink(path) and not os.path.exists(path):
        raise OSError(errno.EINVAL, "it is no file")
    require_file(path)
    return path.read_bytes()


def read_listed(folder: Path, wanted: Callable[[str], bool]) -> dict[str, bytes] | None:
    """The contents of files of a manifest, each with its sum; None where there is no manifest."""
    while (manifest := read_manifest(folder)) is not None:
        contents: dict[str, bytes] = {}
        try:
            for name in filter(wanted, manifest.files):
                contents[name] = _read_checked(folder, name, manifest.files[name])
        except SaveError:
            if read_manifest(folder) == manifest:
                raise
            continue  # another run was saved in the meantime
        return contents
    return None


def _read_checked(folder: Path, name: str, expected: FileSum) -> bytes:
    for path in (folder / COMMITTED / name, folder / name):
        try:
            content = read_file(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise SaveError(f"{path} cannot be read: {error.strerror or error}.") from error
        if FileSum.of(content) == expected:
            return content
        raise SaveError(
            f"{path} cannot be read (its content changed since it was written); make it again or "
            "restore the file from a backup."
        )
    raise SaveError(
        f"{folder / name} is missing; make the run again or restore the file from a backup."
    )


def own_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, whole and half written, that onelayer wrote."""
    place = folder / CHECKPOINTS
    return [
        file
        for file in (() if place.is_symlink() or not place.is_dir() else place.iterdir())
        if file.is_file() and not file.is_symlink() and _is_checkpoint(file)
    ]


def _is_checkpoint(file: Path) -> bool:
    half = file.name.startswith(".") and file.name.endswith(".part")
    name = file.name[1:].removesuffix(".part") if half else file.name
    return bool(_CHECKPOINT_NAME.fullmatch(name)) and (half or is_sealed(file))
