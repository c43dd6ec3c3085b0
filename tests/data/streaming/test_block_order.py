"""The order that rows in files are shuffled into."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onelayer.data.streaming import block_order

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=30)


def ends(sizes: list[int]) -> NDArray[np.int64]:
    return np.cumsum([0, *sizes])


@given(SIZES, st.integers(1, 40), st.integers(0, 5), st.integers(1, 5))
def test_every_row_is_visited_once(sizes: list[int], window: int, seed: int, epoch: int) -> None:
    order = block_order(ends(sizes), window, seed, epoch)
    assert sorted(order.tolist()) == list(range(sum(sizes)))


@given(SIZES, st.integers(1, 40), st.integers(0, 5))
def test_a_window_of_whole_blocks_is_done_before_the_next_begins(
    sizes: list[int], window: int, seed: int
) -> None:
    """So that at most a window, or one larger block, has to be in memory."""
    blocks = ends(sizes)
    order = block_order(blocks, window, seed, 1)
    started: set[int] = set()
    held = 0
    for row in order.tolist():
        block = int(np.searchsorted(blocks, row, "right")) - 1
        if block not in started:
            if not held:
                started.clear()
            started.add(block)
            held += sizes[block]
        held -= 1
        assert sum(sizes[b] for b in started) <= max(window, *(sizes[b] for b in started))


def test_the_seed_and_the_epoch_decide_and_nothing_else() -> None:
    blocks = ends([7] * 50)
    first = block_order(blocks, 70, 3, 1)
    np.testing.assert_array_equal(first, block_order(blocks, 70, 3, 1))
    for other in (block_order(blocks, 70, 3, 2), block_order(blocks, 70, 4, 1)):
        assert (first != other).mean() > 0.9


def test_blocks_come_from_anywhere_and_rows_are_mixed_inside_a_window() -> None:
    blocks = ends([8] * 128)
    order = block_order(blocks, 256, 0, 1)
    window = order[:256]
    assert window.max() - window.min() > 512
    assert (np.diff(window) == 1).mean() < 0.1


def test_blocks_of_one_row_are_a_full_shuffle() -> None:
    """Each row comes to each place about as often: a chi-squared of 99 degrees, its mean ± 5σ."""
    orders = np.stack([block_order(np.arange(11), 3, seed, 1) for seed in range(4000)])
    counts = np.stack([np.bincount(column, minlength=10) for column in orders.T])
    chi = float(((counts - 400.0) ** 2 / 400.0).sum())
    assert abs(chi - 81.0) < 5 * np.sqrt(2 * 81.0)
