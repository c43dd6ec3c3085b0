"""Labels as people write them become class indices, by an example each."""

from __future__ import annotations

import numpy as np

from onelayer.data.classes import name_classes, number_labels


def test_classes_that_are_numbers_are_sorted_by_size() -> None:
    assert name_classes(np.array([10, 9, 10]), "y.npy") == ("9", "10")


def test_labels_are_numbered_in_the_order_of_the_classes() -> None:
    assert number_labels(np.array(["b", "a"], object), ("a", "b"), "y.txt").tolist() == [1, 0]


def test_known_classes_come_first_and_others_follow() -> None:
    assert name_classes(np.array([3, 1]), "y", ("1", "2")) == ("1", "2", "3")
    assert name_classes(np.array(["b"]), "y", ("a", "b")) == ("a", "b")
