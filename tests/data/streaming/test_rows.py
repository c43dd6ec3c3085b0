"""The parts that rows in files are read by, each by an example."""

from __future__ import annotations

import numpy as np

from onelayer.data.dataset import copy_rows
from onelayer.data.memory import format_bytes
from onelayer.data.streaming import block_order, even_blocks, first_not_finite, stored_rows


def test_an_array_is_no_rows_in_files() -> None:
    assert stored_rows(np.zeros((2, 3))) is None


def test_blocks_of_rows_have_one_size_but_for_the_last() -> None:
    assert even_blocks(rows=5, row_bytes=100_000).tolist() == [0, 2, 4, 5]


def test_the_first_number_that_is_none_is_found_by_row_and_column() -> None:
    assert first_not_finite(np.array([[0.0, 1.0], [2.0, np.nan]])) == (1, 1)


def test_bytes_have_a_unit() -> None:
    assert (format_bytes(12_288_000_000), format_bytes(45_000)) == ("12.3 GB", "45 kB")


def test_each_window_of_blocks_is_visited_as_a_whole() -> None:
    order = block_order(np.array([0, 2, 4, 6]), window_rows=4, seed=0, epoch=1)
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4, 5]
    assert sorted((order[:4] // 2).tolist()) == [0, 0, 2, 2]


def test_rows_are_copied_in_the_order_asked_for() -> None:
    copied = copy_rows(np.arange(6).reshape(3, 2), np.array([2, 0]))
    assert copied.tolist() == [[4, 5], [0, 1]]
