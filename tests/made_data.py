"""Small data sets that the tests train on."""

from __future__ import annotations

import numpy as np

from onelayer.data import Dataset, Splits

CLASSES = 3
FEATURES = 12


def make_dataset(rows: int, seed: int, dtype: type = np.uint8, classes: int = CLASSES) -> Dataset:
    """Rows of bytes around a centre of their class: learnable, not separable."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).uniform(60, 200, (classes, FEATURES))
    y = rng.integers(0, classes, rows)
    y[:classes] = np.arange(classes)
    X = np.clip(centres[y] + rng.normal(0, 40, (rows, FEATURES)), 0, 255)
    return Dataset(
        X=X.astype(np.uint8).astype(dtype),
        y=y.astype(np.int64),
        class_names=tuple("abcdefghij"[:classes]),
        image_shape=(1, 3, 4),
        max_value=255.0,
        name="made",
        source="made by the tests",
    )


def make_splits(rows: int = 90, dtype: type = np.uint8, classes: int = CLASSES) -> Splits:
    """Training, validation and test rows from different seeds."""
    train, validation, test = (make_dataset(rows, s, dtype, classes) for s in (1, 2, 3))
    return Splits(train=train, validation=validation, test=test, name="made", source="made")
