"""CIFAR-100 with its 100 fine classes, from a named folder, the cache or the official archive."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onelayer.data import cache
from onelayer.data.archives import unpack
from onelayer.data.choices import Choices
from onelayer.data.dataset import Dataset, Splits
from onelayer.data.download import download_archive
from onelayer.data.labels import checked_labels
from onelayer.data.layout import IMAGE_SHAPE
from onelayer.data.layout100 import CIFAR100, FINE_NAMES, RECORD_BYTES, Layout100, Part100
from onelayer.data.own import share_out
from onelayer.data.pickles import checked_pixels, read_fields
from onelayer.data.records import read_bounded
from onelayer.data.telling import Report
from onelayer.errors import DataError, SettingsError, SourceError

_BINARY, _PYTHON = "cifar-100-binary", "cifar-100-python"
_SUFFIX = {_BINARY: ".bin", _PYTHON: ""}


def load_cifar100(
    folder: Path | None,
    choices: Choices,
    tell: Report,
    *,
    progress: bool = True,
    layout: Layout100 = CIFAR100,
) -> Splits:
    """Load CIFAR-100: its 10 000 test rows, and its 50 000 others in training and validation.

    Args:
        folder: where train.bin and test.bin, the python files train and test, or an archive of
            them lie; nothing is cached then. None: the cache, which is filled when it has to be.
        choices: validation share and seed.
        tell: told where it came from.
        progress: whether to show bars.
        layout: names, sizes and sums.

    Returns:
        X (N, 3072) uint8 in red, green and blue planes; y 0 to 99, the fine classes.

    Raises:
        SettingsError: for validation rows of another file.
        DataError: when the named folder is not as it should be.
        SourceError: when it cannot be fetched.
    """
    if isinstance(choices.validation, Path):
        raise SettingsError(
            "validation (--validation) of CIFAR-100 must be a share of its training rows, but it "
            f"is {choices.validation}."
        )
    if folder is None:
        folder = _cached(tell, layout, progress=progress)
    with _opened(folder, layout) as (place, form):
        train, test = (_dataset(place, form, part, folder) for part in layout.parts)
    splits = share_out(train, {"test": test}, choices, tell)
    return replace(splits, name="cifar100")


def holds_cifar100(folder: Path) -> bool:
    """Whether a folder holds files or an archive of CIFAR-100.

    Example:
        >>> holds_cifar100(Path("missing"))
        False
    """
    return _find(folder) is not None or _archive(folder) is not None


def _find(folder: Path) -> tuple[Path, str] | None:
    for form, suffix in _SUFFIX.items():
        for place in (folder, folder / form):
            if all(os.path.isfile(place / (stem + suffix)) for stem in ("train", "test")):
                return place, form
    return None


def _archive(folder: Path) -> tuple[Path, str] | None:
    found = [(folder / f"{form}.tar.gz", form) for form in _SUFFIX]
    return next((pair for pair in found if os.path.isfile(pair[0])), None)


@contextmanager
def _opened(folder: Path, layout: Layout100) -> Iterator[tuple[Path, str]]:
    """The place of the files and their form; an archive is unpacked while the block runs."""
    found, archive = _find(folder), _archive(folder)
    if found is not None:
        yield found
        return
    if archive is None:
        raise DataError(
            f"{folder} holds nothing of CIFAR-100: it should hold train.bin and test.bin, the "
            f"python files train and test, or {_BINARY}.tar.gz or {_PYTHON}.tar.gz."
        )
    with ExitStack() as stack:
        try:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onelayer-")))
            _unpack(archive[0], archive[1], place, layout)
        except OSError as error:
            raise DataError(
                f"{archive[0]} cannot be unpacked to {tempfile.gettempdir()}: "
                f"{error.strerror or error}; free some space there or set TMPDIR."
            ) from error
        yield place, archive[1]


def _unpack(archive: Path, form: str, into: Path, layout: Layout100) -> None:
    wanted = frozenset(part.stem + _SUFFIX[form] for part in layout.parts)
    most = max(part.most_file_bytes for part in layout.parts)
    unpack(archive, wanted, into, most_file=most, most_total=layout.most_archive_bytes)


def _dataset(place: Path, form: str, part: Part100, origin: Path) -> Dataset:
    read = _read_binary if form == _BINARY else _read_python
    X, y = read(place / (part.stem + _SUFFIX[form]), part)
    return Dataset(
        X=X,
        y=y.astype(np.int64),
        class_names=FINE_NAMES,
        image_shape=IMAGE_SHAPE,
        max_value=255.0,
        name=f"CIFAR-100 {part.stem}",
        source=f"CIFAR-100, {part.stem}, from {origin}; its sum is as pinned",
    )


def _read_binary(path: Path, part: Part100) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    raw = read_bounded(path, part.most_file_bytes)
    if len(raw) != part.file_bytes:
        raise DataError(
            f"{path} holds {len(raw)} bytes where CIFAR-100's {part.file_name} has "
            f"{part.file_bytes}: it is truncated or another file; get it again."
        )
    _check_sum(path, "SHA-256", hashlib.sha256(raw).hexdigest(), part.sha256)
    records = np.frombuffer(raw, np.uint8).reshape(part.rows, RECORD_BYTES)
    labels = checked_labels(records[:, 1].tolist(), part.rows, path, len(FINE_NAMES))
    return np.ascontiguousarray(records[:, 2:]), labels


def _read_python(path: Path, part: Part100) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    raw = read_bounded(path, part.most_file_bytes)
    fields = read_fields(raw, path)  # first, because it says more of what is wrong
    pixels = checked_pixels(fields.get("data"), part.rows, path)
    labels = checked_labels(fields.get("fine_labels"), part.rows, path, len(FINE_NAMES))
    _check_sum(path, "MD5", hashlib.md5(raw, usedforsecurity=False).hexdigest(), part.md5)
    return np.ascontiguousarray(pixels), labels


def _check_sum(path: Path, kind: str, got: str, expected: str) -> None:
    if got != expected:
        raise DataError(
            f"{path} is not CIFAR-100's: its {kind} is {got[:12]}…, the official one "
            f"{expected[:12]}…; get it again."
        )


def _cached(tell: Report, layout: Layout100, *, progress: bool) -> Path:
    """The cache's folder, filled from the official archive as far as it must be."""
    folder = cache.cache_folder("cifar100")
    if _whole(folder, layout):
        return folder
    with cache.locked(folder, tell):
        if _whole(folder, layout):  # another process was faster
            return folder
        with cache.work_folder(folder) as work:
            try:
                name = f"{_BINARY}.tar.gz"
                got = download_archive(work, name, "CIFAR-100", layout, progress=progress)
                _unpack(got, _BINARY, work, layout)
                for part in layout.parts:
                    _read_binary(work / part.file_name, part)
                    os.replace(work / part.file_name, folder / part.file_name)
            except (DataError, OSError) as error:
                reason = getattr(error, "strerror", None) or str(error).rstrip(".")
                raise SourceError(
                    f"CIFAR-100 could not be had from the official archive {layout.archive_url}: "
                    f"{reason}. Ways out: name a folder that holds train.bin and test.bin, or "
                    f"{name}, with --data DIR; or set {cache.ENVIRONMENT} to a folder whose "
                    "sub-folder cifar100 holds them."
                ) from error
    tell(
        f"CIFAR-100 came from {layout.archive_url}, has the right SHA-256, and is kept in {folder}."
    )
    return folder


def _whole(folder: Path, layout: Layout100) -> bool:
    try:
        for part in layout.parts:
            _read_binary(folder / part.file_name, part)
    except DataError:
        return False
    return True
