"""CIFAR's files: what is asked for and what is found is checked, each by an example."""

from __future__ import annotations

from pathlib import Path

import pytest

from onelayer.data.datasets.layout import CIFAR10, check_labels, check_records, read_bounded
from onelayer.errors import DataError


def test_batches_are_chosen_by_number_in_the_order_asked_for() -> None:
    chosen = CIFAR10.choose_batches("train_batches", (3, 1))
    assert [part.stem for part in chosen] == ["data_batch_3", "data_batch_1"]


def test_a_label_outside_the_classes_is_named_with_its_row() -> None:
    said = r"^labels.json must hold integers from 0 to 9 as labels, but row 1 has 10; download"
    with pytest.raises(DataError, match=said):
        check_labels([3, 10], 2, Path("labels.json"), 10)


def test_records_of_another_size_are_refused() -> None:
    said = r"^my.bin holds 3 bytes where test_batch.bin has 30730000: it is truncated or another"
    with pytest.raises(DataError, match=said):
        check_records(b"cut", CIFAR10.test, CIFAR10, "my.bin")


def test_a_missing_file_cannot_be_read() -> None:
    said = r"^missing.bin cannot be read: No such file or directory.$"
    with pytest.raises(DataError, match=said):
        read_bounded(Path("missing.bin"), 10)
