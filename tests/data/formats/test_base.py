"""The rules that all formats share, each by an example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onelayer.data.formats.base import (
    ColumnSpec,
    as_features,
    choose_labels,
    file_errors,
    first_line,
    is_pattern,
    largest_value,
    streamed_dtype,
)
from onelayer.data.formats.images import parse_size, parts_of
from onelayer.data.formats.registry import names_file
from onelayer.errors import DataError


def test_a_pattern_has_wildcards() -> None:
    assert is_pattern(Path("shards/*.npy"))
    assert not is_pattern(Path("shards/1.npy"))


def test_labels_are_named_by_a_file_where_the_suffix_is_one_of_labels() -> None:
    assert names_file("y.npy")
    assert not names_file("species")


def test_labels_are_found_by_a_usual_name() -> None:
    assert choose_labels(["a", "y"], ColumnSpec(), "x.csv", "column") == "y"


def test_integers_become_the_smallest_float_that_holds_them() -> None:
    assert as_features(np.array([1, 2**24]), str).dtype == np.float32
    assert as_features(np.array([1, 2**24 + 1]), str).dtype == np.float64


def test_integers_in_files_become_floats_by_their_type_alone() -> None:
    assert streamed_dtype(np.dtype("int16"), "x.npy") == np.float32
    assert streamed_dtype(np.dtype("int64"), "x.npy") == np.float64


def test_the_range_of_bytes_is_known() -> None:
    assert largest_value(np.dtype("uint8")) == 255.0
    assert largest_value(np.dtype("bool")) == largest_value(np.dtype("float32")) == 1.0


def test_a_damaged_file_is_named_with_its_kind_and_what_to_do() -> None:
    said = r"^a.npz is not a valid .npz file \(it is cut short\); download or write it again.$"
    with pytest.raises(DataError, match=said), file_errors(Path("a.npz"), ".npz file"):
        raise ValueError("it is cut short")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("cut short.\nmore", "cut short"),
        ("Expected 5 columns, got 1: l\x00\x93", "Expected 5 columns, got 1: l …"),
        ("", "ValueError"),
    ],
)
def test_a_message_ends_before_what_cannot_be_printed(message: str, line: str) -> None:
    assert first_line(ValueError(message)) == line


def test_a_size_of_pictures_is_one_side_or_two() -> None:
    assert (parse_size("32x24"), parse_size(8), parse_size(None)) == ((32, 24), (8, 8), None)


def test_a_folder_that_is_missing_cannot_be_listed() -> None:
    with pytest.raises(DataError, match=r"^missing cannot be listed: No such file or directory.$"):
        parts_of(Path("missing"), print)
