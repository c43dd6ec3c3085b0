"""Rows on their way to a device: the stream, and which rows are held for which arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onelayer.data.streaming import TileBuffer
from onelayer.engines.torch import rows as storage
from onelayer.engines.torch.rows import Storage, stream

CPU = torch.device("cpu")


def choices(N: int) -> list[slice | np.ndarray]:
    rng = np.random.default_rng(0)
    return [slice(0, 3), rng.integers(0, N, 5), slice(3, 3), slice(2, N), rng.permutation(N)]


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", ">f4", "int32"])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_stream_brings_the_rows_that_were_asked_for(dtype: str, count: int) -> None:
    X = np.random.default_rng(1).integers(0, 200, (20, 4)).astype(dtype)
    brought = [tile.numpy().copy() for tile in stream(X, choices(20)[:count], CPU)]
    assert len(brought) == count
    for tile, choice in zip(brought, choices(20), strict=False):
        np.testing.assert_array_equal(tile, X[choice])


def test_a_stream_holds_a_tile_until_the_next_is_asked_for() -> None:
    X = np.arange(40.0).reshape(20, 2)
    tiles = stream(X, [slice(i, i + 4) for i in range(0, 20, 4)], CPU)
    for i, tile in enumerate(tiles):
        np.testing.assert_array_equal(tile.numpy(), X[4 * i : 4 * i + 4])


def test_a_stream_that_is_left_ends_its_thread() -> None:
    import threading

    before = threading.active_count()
    tiles = stream(np.zeros((10, 2)), [slice(0, 2)] * 5, CPU)
    next(tiles)
    assert threading.active_count() > before
    assert isinstance(tiles, Iterator)
    tiles.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_in_the_reading_thread_reaches_the_caller() -> None:
    with pytest.raises(IndexError):
        list(stream(np.zeros((3, 2)), [np.array([0, 7])], CPU))


class _Device:
    """A device that is none: tensors lie on the CPU, but rows count as being brought to it."""

    type = "mps"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Storage:
    made = Storage(torch.device("cpu"))
    monkeypatch.setattr(made, "_device", _Device())
    monkeypatch.setattr(storage, "storable_bytes", lambda device: 1e6)
    monkeypatch.setattr(torch.Tensor, "to", _staying(torch.Tensor.to))
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, device=None, **k: empty(*a, **k))
    return made


def _staying(to: Any) -> Any:
    return lambda self, place: self if isinstance(place, _Device) else to(self, place)


def test_rows_are_brought_once_and_parts_are_found_in_them(elsewhere: Storage) -> None:
    X = np.arange(60, dtype=np.float32).reshape(20, 3)
    first = next(elsewhere.tiles(X, [slice(0, 20)]))
    part = next(elsewhere.tiles(X[5:9], [slice(0, 4)]))
    assert part.data_ptr() == first[5:].data_ptr()
    np.testing.assert_array_equal(part.numpy(), X[5:9])
    gathered = next(elsewhere.tiles(X, [np.array([7, 1])]))
    np.testing.assert_array_equal(gathered.numpy(), X[[7, 1]])
    assert len(elsewhere._held) == 1


def test_rows_are_held_as_long_as_their_memory_and_not_a_look_at_it(elsewhere: Storage) -> None:
    X = np.arange(60, dtype=np.float32).reshape(20, 3)
    first, second = (next(elsewhere.tiles(X[2:], [slice(0, 3)])) for _ in range(2))
    assert first.data_ptr() == second.data_ptr()


def test_rows_of_another_layout_are_not_taken_for_those_held(elsewhere: Storage) -> None:
    X = np.arange(60, dtype=np.float32).reshape(20, 3)
    for other in (X, X.view(np.int32), X[::2], X[:, :2], X.view(np.uint8), X[::-1]):
        tile = next(elsewhere.tiles(other, [slice(0, len(other))]))
        np.testing.assert_array_equal(tile.numpy(), other)


def test_a_whole_takes_the_place_of_its_parts(elsewhere: Storage) -> None:
    X = np.arange(60, dtype=np.float32).reshape(20, 3)
    for part in (X[:5], X[5:9], X):
        next(elsewhere.tiles(part, [slice(0, 1)]))
    assert [len(held.rows) for held in elsewhere._held] == [20]


def test_rows_are_let_go_with_their_array(elsewhere: Storage) -> None:
    X = np.ones((20, 3), np.float32)
    next(elsewhere.tiles(X[2:], [slice(0, 1)]))
    del X
    next(elsewhere.tiles(np.zeros((4, 3), np.float32), [slice(0, 1)]))
    assert [len(held.rows) for held in elsewhere._held] == [4]


def test_rows_that_do_not_fit_are_read_tile_by_tile(elsewhere: Storage) -> None:
    X = np.ones((100_000, 3), np.float32)
    next(elsewhere.tiles(X, [slice(0, 5)]))
    assert not elsewhere._held


def test_of_a_mapped_file_only_the_rows_asked_for_are_read(tmp_path: Path) -> None:
    path = tmp_path / "X.npy"
    np.save(path, np.arange(60.0).reshape(20, 3))
    X = np.load(path, mmap_mode="r")
    tiles = list(Storage(CPU).tiles(X, [slice(2, 4), np.array([9, 0])]))
    np.testing.assert_array_equal(tiles[0].numpy(), X[2:4])
    np.testing.assert_array_equal(tiles[1].numpy(), X[[9, 0]])


def test_rows_read_ahead_from_files_are_never_held(elsewhere: Storage) -> None:
    """Their memory is overwritten, so what lies there is another tile by then."""
    memory = np.asarray(TileBuffer((4, 3), np.float32))
    for value in (1.0, 2.0):
        memory[:] = value
        tile = next(elsewhere.tiles(memory[1:3], [slice(0, 2)]))
        np.testing.assert_array_equal(tile.numpy(), np.full((2, 3), value, np.float32))
    assert not elsewhere._held
