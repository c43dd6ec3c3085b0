"""The digits: embedded, complete, split by a fixed seed with each class in its share."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits as load_bundled

from onelayer.data import load
from onelayer.errors import SettingsError


def test_the_split_holds_every_digit_of_scikit_learn_once_with_its_label() -> None:
    splits = load("digits")
    parts = (splits.train, splits.validation, splits.test)
    ours = [(bytes(x), y) for part in parts for x, y in zip(part.X, part.y.tolist(), strict=True)]
    pixels, labels = load_bundled(return_X_y=True)
    theirs = zip(map(bytes, pixels.astype(np.uint8)), labels.tolist(), strict=True)
    assert sorted(ours) == sorted(theirs)


def test_each_class_has_its_share_of_each_part_to_within_two_rows() -> None:
    splits = load("digits")
    parts = (splits.train, splits.validation, splits.test)
    counts = np.array([np.bincount(part.y, minlength=10) for part in parts])
    shares = np.outer([part.rows / 1797 for part in parts], counts.sum(axis=0))
    assert np.abs(counts - shares).max() < 2


def test_the_split_is_the_same_every_time() -> None:
    np.testing.assert_array_equal(load("digits").train.X, load("digits").train.X)
    assert load("digits").train.y[:10].tolist() == [1, 9, 8, 4, 5, 2, 6, 0, 7, 3]


def test_values_names_and_shape_are_documented_ones() -> None:
    train = load("digits").train
    assert (int(train.X.max()), train.max_value) == (16, 16.0)
    assert train.image_shape == (1, 8, 8)
    assert train.class_names == tuple("0123456789")


def test_batches_of_the_digits_are_refused() -> None:
    with pytest.raises(SettingsError, match="have no effect on digits"):
        load("digits", train_batches=(2,))
