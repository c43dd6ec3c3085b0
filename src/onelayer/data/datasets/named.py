"""Data sets by name: CIFAR-10, CIFAR-100 and the digits that scikit-learn has too.

CIFAR comes from a named folder, the cache, or the first source that works. The digits are 1797
handwritten ones of 8 × 8 pixels and come with onelayer (digits.npz), in scikit-learn's order.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998, the test set; licensed CC BY 4.0.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onelayer.data.dataset import Dataset, Splits
from onelayer.data.datasets import cache
from onelayer.data.datasets.decode import Reader, open_folder, read_binary
from onelayer.data.datasets.layout import CIFAR10, CIFAR100, Layout, RecordFile, Records
from onelayer.data.progress import Log
from onelayer.data.split import TEST_SIZE, VALIDATION_SIZE, split_dataset, stratified_order
from onelayer.errors import DataError, SettingsError

# Rows of the digits to train on and to validate by; the other 400 are the test.
DIGITS_TRAIN, DIGITS_VALIDATION, DIGITS_SEED = 1000, 397, 0


def load_cifar10(
    folder: Path | None = None,
    *,
    train_batches: tuple[int, ...] = (1,),
    validation_batches: tuple[int, ...] = (2,),
    progress: bool = True,
    log: Log | None = None,
    layout: Layout = CIFAR10,
) -> Splits:
    """CIFAR-10 from a folder that holds it in any form, or the cache; all give the same bits."""
    train = layout.choose_batches("train_batches", train_batches)
    validation = layout.choose_batches("validation_batches", validation_batches)
    if set(train) & set(validation):
        raise SettingsError(
            f"train_batches and validation_batches must share no batch, but they are "
            f"{train_batches} and {validation_batches}."
        )
    parts = {"training": train, "validation": validation, "test": (layout.test,)}
    (first, second, test), origin = _load(list(parts.values()), folder, layout, log, progress)
    used = ", ".join(f"{role} {_stems(files)}" for role, files in parts.items())
    source = f"{layout.name} from {origin}: {used}; SHA-256 as pinned."
    return Splits(first, second, test, layout.folder_name, source)


def load_cifar100(
    folder: Path | None,
    *,
    validation_size: float = VALIDATION_SIZE,
    split_seed: int = 0,
    log: Log | None = None,
    progress: bool = True,
    layout: Layout = CIFAR100,
) -> Splits:
    """CIFAR-100's fine classes: its 10 000 test rows, and its 50 000 others split by a seed."""
    (train, test), _ = _load([(part,) for part in layout.parts], folder, layout, log, progress)
    splits = split_dataset(
        train, {"test": test}, test_size=TEST_SIZE, validation_size=validation_size, seed=split_seed
    )
    return replace(splits, name=layout.folder_name)


def _load(
    parts: list[tuple[RecordFile, ...]],
    folder: Path | None,
    layout: Layout,
    log: Log | None,
    progress: bool,
) -> tuple[list[Dataset], str]:
    """A data set of each list of files, and where they come from."""

    def read_all(read: Reader, origin: str) -> tuple[list[Dataset], str]:
        return [_dataset(files, read, origin, layout) for files in parts], origin

    def read_cache(part: RecordFile) -> Records:
        return read_binary(cache.cache_folder(layout.folder_name), part, layout)

    if folder is not None:
        with open_folder(folder, layout) as read:
            return read_all(read, f"the folder {folder}")
    try:
        return read_all(read_cache, "the cache")
    except DataError:
        cache.fetch(layout, progress=progress, log=log)
    return read_all(read_cache, "the cache")


def _dataset(files: tuple[RecordFile, ...], read: Reader, origin: str, layout: Layout) -> Dataset:
    records, labels = [read(part) for part in files], layout.label_bytes
    X = np.concatenate([part[:, labels:] for part in records])
    y = np.concatenate([part[:, labels - 1] for part in records])
    name = f"{layout.name} {_stems(files)}"
    source = f"{layout.name}, {_stems(files)}, from {origin}; checksums as pinned"
    return Dataset(X, y, layout.class_names, (3, 32, 32), 255.0, name, source)


def _stems(files: tuple[RecordFile, ...]) -> str:
    return " + ".join(part.stem for part in files)


def load_digits() -> Splits:
    """The digits, split by a fixed seed into 1000, 397 and 400 rows, stratified."""
    with np.load(Path(__file__).with_name("digits.npz")) as arrays:
        X, y = arrays["X"], arrays["y"].astype(np.int64)
    order = stratified_order(y, DIGITS_SEED)
    cuts = (DIGITS_TRAIN, DIGITS_TRAIN + DIGITS_VALIDATION)

    def part(role: str, rows: NDArray[np.int64]) -> Dataset:
        source = f"scikit-learn's digits, {role} rows of the split with seed {DIGITS_SEED}."
        names = tuple("0123456789")
        return Dataset(X[rows], y[rows], names, (1, 8, 8), 16.0, f"digits {role}", source)

    roles = ("training", "validation", "test")
    train, validation, test = map(part, roles, np.split(order, cuts))
    source = f"scikit-learn's digits, a stratified split with seed {DIGITS_SEED}."
    return Splits(train, validation, test, name="digits", source=source)
