"""`Dataset` and `Splits` refuse what cannot be trained on, and keep the rest as it is stored."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.data import Dataset, Splits
from onelayer.errors import DataError


def dataset(**changes: Any) -> Dataset:
    fields: dict[str, Any] = {
        "X": np.arange(24, dtype=np.uint8).reshape(4, 6),
        "y": np.array([0, 1, 2, 1]),
        "class_names": ("a", "b", "c"),
        "name": "made",
    }
    return Dataset(**(fields | changes))


def test_contiguous_rows_are_not_copied() -> None:
    X = np.zeros((3, 4), np.uint8)
    assert dataset(X=X, y=np.array([0, 1, 2])).X.base is X or np.shares_memory(
        dataset(X=X, y=np.array([0, 1, 2])).X, X
    )


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_every_supported_dtype_is_kept(dtype: str) -> None:
    assert dataset(X=np.ones((4, 6), dtype)).X.dtype == dtype


def test_rows_become_contiguous_and_native() -> None:
    X = np.asfortranarray(np.arange(24.0).reshape(4, 6)).astype(">f4")
    kept = dataset(X=X)
    assert kept.X.flags.c_contiguous
    assert kept.X.dtype.isnative
    np.testing.assert_array_equal(kept.X, X)


def test_labels_of_any_integer_type_become_int64() -> None:
    assert dataset(y=np.array([0, 1, 2, 1], np.uint16)).y.dtype == np.int64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": np.zeros(4, np.uint8)}, r"made: X must have two dimensions.*\(4,\)"),
        ({"X": np.zeros((4, 6), np.int32)}, "X must be uint8, .*but it is int32; convert"),
        ({"X": np.zeros((0, 6)), "y": np.array([], int)}, r"is empty, X has shape \(0, 6\)"),
        ({"X": np.zeros((4, 0))}, r"is empty.*\(4, 0\)"),
        ({"y": np.array([0, 1])}, r"one label for each of the 4 rows .*\(2,\)"),
        ({"y": np.zeros((4, 2), int)}, r"a column for each of the 3 labels, .*\(4, 2\)"),
        ({"y": np.array([0.0, 1, 2, 1])}, "integers from 0 to 2, but y is float64"),
        ({"y": np.array([True] * 4)}, "integers from 0 to 2, but y is bool"),
        ({"y": np.array([0, 1, 3, 7])}, "0 to 2 for 3 classes, but row 2 has label 3"),
        ({"y": np.array([0, -1, 2, 1])}, "row 1 has label -1"),
        ({"y": np.array([0, 2**63, 2, 1], np.uint64)}, "row 1 has label 9223372036854775808"),
        ({"class_names": ("a",), "y": np.zeros(4, int)}, "at least 2 classes.*holds 1"),
        ({"image_shape": (3, 2, 2)}, r"product of 6 features, but it is \(3, 2, 2\)"),
        ({"image_shape": (2, 3)}, r"\(channels, height, width\).*\(2, 3\)"),
        ({"max_value": 0.0}, "max_value must be a finite number above 0, but it is 0.0"),
        ({"max_value": float("nan")}, "max_value must be .* nan"),
        ({"max_value": float("inf")}, "max_value must be .* inf"),
    ],
)
def test_bad_input_is_refused_with_its_place(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset(**changes)


@given(
    row=st.integers(0, 2999),
    column=st.integers(0, 399),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_a_value_that_is_not_finite_is_found_in_every_block(
    row: int, column: int, value: float
) -> None:
    X = np.zeros((3000, 400))
    X[row, column] = value
    with pytest.raises(DataError, match=f"row {row}, column {column} is {value}"):
        Dataset(X, np.zeros(3000, int), ("a", "b"))


def test_looking_for_nan_makes_no_copy_of_the_whole() -> None:
    X = np.zeros((4000, 1000), np.float16)
    y = np.zeros(4000, np.int64)
    tracemalloc.start()
    Dataset(X, y, ("a", "b"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < X.nbytes / 2.5


def test_take_by_slice_is_a_view() -> None:
    whole = dataset()
    part = whole.take(slice(1, 3))
    assert np.shares_memory(part.X, whole.X)
    assert part.y.tolist() == [1, 2]
    assert part.class_names == whole.class_names


def test_take_by_numbers_and_booleans_agree() -> None:
    by_numbers = dataset().take([0, -1])
    by_booleans = dataset().take([True, False, False, True])
    np.testing.assert_array_equal(by_numbers.X, by_booleans.X)
    np.testing.assert_array_equal(by_numbers.y, by_booleans.y)


def test_take_of_one_number_is_one_row() -> None:
    assert dataset().take(2).rows == 1


@pytest.mark.parametrize("rows", [[4], [True, False], ["a"], [0.5]])
def test_take_refuses_rows_that_are_not_there(rows: list[Any]) -> None:
    with pytest.raises(DataError, match="rows must be numbers from 0 to 3, a slice or 4 booleans"):
        dataset().take(rows)


def test_take_of_nothing_is_an_empty_set() -> None:
    with pytest.raises(DataError, match="data set is empty"):
        dataset().take(slice(0, 0))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"X": np.zeros((4, 5), np.uint8)}, "features, but they have 6 and 5"),
        ({"class_names": ("a", "b", "z")}, "class_names"),
        ({"image_shape": (1, 2, 3)}, r"image_shape, but they have None and \(1, 2, 3\)"),
        ({"max_value": 2.0}, "max_value"),
        ({"X": np.zeros((4, 6))}, "agree in X.dtype, but they have uint8 and float64"),
    ],
)
@pytest.mark.parametrize("role", ["validation", "test"])
def test_splits_refuse_parts_that_do_not_belong_together(
    role: str, changes: dict[str, Any], what: str
) -> None:
    parts: dict[str, Any] = dict.fromkeys(("train", "validation", "test"), dataset())
    parts[role] = dataset(**changes)
    with pytest.raises(DataError, match=f"training and {role} rows must .*{what}"):
        Splits(**parts, name="made", source="made")


def test_a_dataset_and_its_splits_print_their_sizes_and_not_their_rows(splits: Splits) -> None:
    assert re.fullmatch(r".*: \d+ rows, \d+ features \(\w+\), \d+ classes", repr(splits.train))
    assert re.fullmatch(
        r"\w+: \d+ training, \d+ validation, \d+ test rows, \d+ features \(\w+\), \d+ classes",
        repr(splits),
    )
