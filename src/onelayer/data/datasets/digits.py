"""scikit-learn's digits: 1797 handwritten digits of 8 × 8 pixels that need no network.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998, the test set; scikit-learn carries it with its code.
"""

from __future__ import annotations

import numpy as np

from onelayer.data.dataset import Dataset, Splits
from onelayer.data.split import stratified_order
from onelayer.errors import SourceError

TRAIN_ROWS, VALIDATION_ROWS = 1000, 397
SEED = 0


def load_digits() -> Splits:
    """The digits in random order, split by a fixed seed into 1000, 397 and 400 rows, stratified.

    X (N, 64) uint8, 0 to 16, one plane of 8 × 8; y 0 to 9.
    """
    try:
        from sklearn.datasets import load_digits as load_bundled
    except ImportError as error:
        raise SourceError(
            "the digits come with scikit-learn, which is not installed: pip install scikit-learn."
        ) from error
    pixels, labels = load_bundled(return_X_y=True)
    X, y = pixels.astype(np.uint8), labels.astype(np.int64)
    order = stratified_order(y, SEED)
    cuts = (TRAIN_ROWS, TRAIN_ROWS + VALIDATION_ROWS)
    train, validation, test = (
        Dataset(
            X=X[rows],
            y=y[rows],
            class_names=tuple("0123456789"),
            image_shape=(1, 8, 8),
            max_value=16.0,
            name=f"digits {role}",
            source=f"scikit-learn's digits, {role} rows of the split with seed {SEED}.",
        )
        for role, rows in zip(
            ("training", "validation", "test"), np.split(order, cuts), strict=True
        )
    )
    source = f"scikit-learn's digits, a stratified split with seed {SEED}."
    return Splits(train, validation, test, name="digits", source=source)
