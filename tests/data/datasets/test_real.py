"""The real CIFAR-10, from wherever this machine can have it, in a cache of this session's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from onelayer.data import cached, fetch, load
from onelayer.data.datasets.layout import CLASS_NAMES
from onelayer.errors import SourceError


@pytest.fixture(scope="module")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "ONELAYER_CACHE", str(folder))
        try:
            fetch(progress=False)
        except SourceError as error:
            pytest.skip(f"THE REAL CIFAR-10 WAS NOT TESTED: {error}")
        yield folder


@pytest.mark.usefixtures("real_cache")
def test_all_six_files_have_the_official_sums() -> None:
    assert [record.state for record in cached()] == ["verified"] * 6


@pytest.mark.usefixtures("real_cache")
def test_the_default_splits_are_those_of_the_report() -> None:
    splits = load()
    assert splits.name == "cifar10"
    for part in (splits.train, splits.validation, splits.test):
        assert part.X.shape == (10_000, 3072)
        assert part.X.dtype == np.uint8
        assert (part.class_names, part.max_value) == (CLASS_NAMES, 255.0)
    assert splits.train.y[:5].tolist() == [6, 9, 9, 4, 1]
    assert splits.test.y[:5].tolist() == [3, 8, 8, 0, 6]


@pytest.mark.usefixtures("real_cache")
def test_channel_means_of_all_training_rows_are_the_known_ones() -> None:
    splits = load(train_batches=(1, 3, 4, 5), validation_batches=(2,))
    planes = [part.X.reshape(part.rows, 3, 1024) for part in (splits.train, splits.validation)]
    sums = sum(p.sum(axis=(0, 2), dtype=np.int64) for p in planes)
    np.testing.assert_allclose(
        sums / (50_000 * 1024 * 255.0), [0.49139968, 0.48215841, 0.44653091], atol=5e-9
    )
