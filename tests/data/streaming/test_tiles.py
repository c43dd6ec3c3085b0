"""Walking over rows in files: the same rows as from memory, each read as seldom as can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelayer.data.streaming import block_order, iter_tiles, stored_rows

from .counted_rows import CountedRows, even

N = 60
X = np.arange(2.0 * N).reshape(N, 2)


def visited(rows: CountedRows, **how: object) -> np.ndarray:
    parts = []
    for tile, held in iter_tiles(rows, **how):  # type: ignore[arg-type]
        parts.append(held.copy() if tile.order is None else held[tile.order])
        assert len(held) == tile.rows
    return np.concatenate(parts)


@given(
    st.lists(st.integers(0, N - 1), min_size=1, max_size=90),
    st.integers(1, 20), st.integers(1, 7), st.integers(1, 30),
)  # fmt: skip
def test_any_order_is_followed(order: list[int], most: int, batch: int, block: int) -> None:
    """Rows may come twice, or not at all."""
    rows = CountedRows(X, even(N, block))
    wanted = np.array(order)
    np.testing.assert_array_equal(visited(rows, order=wanted, most=most, batch=batch), X[wanted])
    np.testing.assert_array_equal(visited(rows, most=most), X)


@given(st.integers(1, 9), st.integers(1, 25), st.integers(1, 9))
def test_every_stretch_but_the_last_holds_whole_batches(block: int, most: int, batch: int) -> None:
    rows = CountedRows(X, even(N, block))
    for order in (None, block_order(rows.blocks, 20, 0, 1)):
        tiles = [s for s, _ in iter_tiles(rows, order, most=most, batch=batch)]
        assert all((s.stop - s.start) % batch == 0 for s in tiles[:-1])
        assert [s.start for s in tiles] == [0, *(s.stop for s in tiles[:-1])]
        assert tiles[-1].stop == N


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))
def test_a_shuffle_by_blocks_reads_each_row_once(block: int, batch: int, seed: int) -> None:
    """Also the rows that fill a batch with some of the next window: they are carried over."""
    rows = CountedRows(X, even(N, block))
    window = 18
    order = block_order(rows.blocks, window, seed, 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("onelayer.data.streaming.GAP_BYTES", 0)  # these rows are tiny
        got = visited(rows, order=order, most=window + batch - 1, batch=batch)
    np.testing.assert_array_equal(got, X[order])
    assert rows.read_rows == N


def test_the_walk_of_an_epoch_has_a_window_and_a_batch_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("onelayer.data.streaming.TILE_BYTES", 12 * 16)  # of 12 rows
    monkeypatch.setattr("onelayer.data.streaming.GAP_BYTES", 0)
    rows = CountedRows(X, even(N, 4))
    order = block_order(rows.blocks, rows.window_rows, 0, 1)
    held = [len(held) for _, held in iter_tiles(rows, order, batch=5)]
    assert max(held) <= 12 + 4
    assert rows.read_rows == N


def test_a_share_reads_its_rows_alone() -> None:
    wide = np.zeros((N, 1 << 16))  # a row is larger than a gap that is read over
    rows = CountedRows(wide, even(N, 4))
    share = rows.take(np.array([3, 4, 20, 59]))
    assert [len(held) for _, held in iter_tiles(share)] == [4]
    assert rows.reads == [(3, 5), (20, 21), (59, 60)]


def test_a_share_has_the_blocks_that_its_rows_lie_in() -> None:
    share = CountedRows(X, even(N, 10)).take(np.array([1, 2, 3, 15, 41, 49]))
    assert share.blocks.tolist() == [0, 3, 4, 6]
    assert share.take(np.array([0, 4])).blocks.tolist() == [0, 1, 2]


@given(st.lists(st.integers(-N, N - 1), max_size=20))
def test_an_index_gives_what_it_gives_of_an_array(index: list[int]) -> None:
    rows, chosen = CountedRows(X, even(N, 7)), np.array(index, int)
    np.testing.assert_array_equal(rows[chosen], X[chosen])
    np.testing.assert_array_equal(rows[10:33], X[10:33])
    np.testing.assert_array_equal(rows[X[:, 0] > 50], X[X[:, 0] > 50])
    share = rows.take(np.arange(0, N, 3))
    np.testing.assert_array_equal(share[-5:], X[::3][-5:])


def test_no_array_is_made_of_rows_in_files_by_accident() -> None:
    with pytest.raises(TypeError, match=r"made stays in its files: read some .* X\[:100\]"):
        np.asarray(CountedRows(X))
    assert stored_rows(X) is None
