"""Labels as people write them become class indices, by an example each."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from onelayer.data.classes import name_classes, number_labels
from onelayer.errors import DataError


def test_classes_that_are_numbers_are_sorted_by_size() -> None:
    assert name_classes(np.array([10, 9, 10]), "y.npy") == ("9", "10")


def test_labels_are_numbered_in_the_order_of_the_classes() -> None:
    assert number_labels(np.array(["b", "a"], object), ("a", "b"), "y.txt").tolist() == [1, 0]


def test_known_classes_come_first_and_others_follow() -> None:
    assert name_classes(np.array([3, 1]), "y", ("1", "2")) == ("1", "2", "3")
    assert name_classes(np.array(["b"]), "y", ("a", "b")) == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([date(2024, 5, 2), date(2024, 5, 1)], ("2024-05-01", "2024-05-02")),
        ([b"dog", b"cat"], ("cat", "dog")),
        ([Decimal("2.00"), Decimal("10")], ("2", "10")),
    ],
)
def test_dates_bytes_and_whole_decimals_are_labels(labels: list[Any], names: tuple[str]) -> None:
    given = np.array(labels * 3, object)
    assert name_classes(given, "y") == names
    places = [1, 0] if labels[0] > labels[1] else [0, 1]
    assert number_labels(given, names, "y").tolist() == places * 3


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array(["2024-05-01", "NaT"], "M8[D]"), "row 1 is NaT; fill it or drop the row"),
        (
            np.array([Decimal("0.5"), Decimal(1)], object),
            r"integers or booleans, but row 0 is 0\.5",
        ),
        (np.array([b"a", b"\xff"], object), "labels of bytes must be text in UTF-8"),
        (np.array(["a", {1}], object), r"but row 1 is \{1\}; write them as text"),
        (np.array([1, 2], "m8[s]"), r"but they are timedelta64\[s\]"),
    ],
)
def test_what_cannot_be_a_label_is_refused_in_one_sentence(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        name_classes(labels, "y")
