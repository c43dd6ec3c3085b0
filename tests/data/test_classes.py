"""Labels as people write them become class indices, by an example each."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from onelayer import split
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
        (np.array(["2024-05-01", "NaT"], "M8[D]"), "row 1 has none; fill it or drop the row"),
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


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series([0, 1, None, 1], dtype="Int64"),
        pd.Series([True, False, None, True], dtype="boolean"),
        pd.Series(["a", "b", None, "a"], dtype="string"),
        pd.Series(["a", "b", None, "a"], dtype="category"),
        np.array([0.0, 1.0, np.nan, 1.0]),
        [0, 1, None, 1],
        ["a", "b", float("nan"), "a"],
        ["a", "b", " ", "a"],
        np.array([date(2024, 5, 1), date(2024, 5, 2), pd.NaT, date(2024, 5, 1)], object),
        [Decimal(0), Decimal(1), Decimal("nan"), Decimal(1)],
        [b"a", b"b", b"", b"a"],
    ],
)
def test_a_row_without_a_label_is_named_whatever_stands_in_its_place(labels: Any) -> None:
    with pytest.raises(DataError, match="every row needs a label, but row 2 has none; fill it"):
        split(np.eye(4), labels)
